//! The numbers of what a search returned.

use serde::Serialize;

use super::{EpochRow, SearchTable};
use crate::task::CellKind;

/// The numbers of what a search returned, or of what it holds after its last epoch so far.
#[derive(Clone, Debug, Serialize)]
pub struct Returned {
    /// The epoch that it is of; `None` of random search, which draws what it chooses from after the last one.
    pub epoch: Option<usize>,
    /// Fraction of the images of the alphas that the supernet classifies correctly; of random search that of the chosen
    /// architecture with the shared weights, of all images that train no weights.
    pub valid_accuracy: Option<f64>,
    /// That of the discretised child.
    pub child_accuracy: Option<f64>,
    /// End-point error of the supernet on the pairs of the alphas, in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_error: Option<f64>,
    /// That of the discretised child.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub child_error: Option<f64>,
    /// Dominant eigenvalue of the alpha-Hessian, as it was measured.
    pub eigenvalue: Option<f64>,
    /// Its standard error over batches.
    pub eigenvalue_error: Option<f64>,
    /// The mean that the stopping rule compares.
    pub smoothed: Option<f64>,
    /// Skip connections of the normal cell.
    pub skips_normal: Option<usize>,
    /// Skip connections of the reduction cell.
    pub skips_reduce: Option<usize>,
    /// Skip connections of the upsampling cell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skips_upsample: Option<usize>,
    /// L2 factor of the weights.
    pub l2: f64,
}

impl Returned {
    /// `chosen_accuracy` is what random search chose by.
    pub(super) fn new(table: &SearchTable, chosen_accuracy: Option<f64>) -> Option<Returned> {
        let last = table.last()?;
        match table.is_random() {
            false => Some(Returned::of_epoch(last)),
            true => {
                let found = table.found.as_ref().and_then(|_| table.genotype());
                let skips = |cell| found.as_ref().and_then(|genotype| genotype.skips(cell));
                table.found.as_ref().map(|_| Returned {
                    epoch: None,
                    valid_accuracy: chosen_accuracy,
                    child_accuracy: None,
                    valid_error: None,
                    child_error: None,
                    eigenvalue: None,
                    eigenvalue_error: None,
                    smoothed: None,
                    skips_normal: skips(CellKind::Normal),
                    skips_reduce: skips(CellKind::Reduce),
                    skips_upsample: None,
                    l2: last.l2,
                })
            }
        }
    }

    fn of_epoch(row: &EpochRow) -> Returned {
        Returned {
            epoch: Some(row.epoch),
            valid_accuracy: row.valid_accuracy,
            child_accuracy: row.child_accuracy,
            valid_error: row.valid_error,
            child_error: row.child_error,
            eigenvalue: row.eigenvalue,
            eigenvalue_error: row.eigenvalue_error,
            smoothed: row.smoothed,
            skips_normal: Some(row.skip_connects_normal),
            skips_reduce: row.skip_connects_reduce,
            skips_upsample: row.skip_connects_upsample,
            l2: row.l2,
        }
    }

    /// What discretisation costs: how much worse the child is than the supernet.
    pub fn drop(&self) -> Option<f64> {
        let accuracies = self.valid_accuracy.zip(self.child_accuracy).map(|(supernet, child)| supernet - child);
        accuracies.or(self.valid_error.zip(self.child_error).map(|(supernet, child)| child - supernet))
    }
}
