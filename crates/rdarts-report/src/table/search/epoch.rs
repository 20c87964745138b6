//! An epoch of a search for either task.

use rdarts_run::{DisparityEpoch, EpochRecord};
use serde::Serialize;

/// An epoch.
#[derive(Clone, Debug, Serialize)]
pub struct EpochRow {
    /// How often the search had gone back before.
    pub attempt: usize,
    /// The epoch, counted from 0.
    pub epoch: usize,
    /// Whether it belongs to the line that the search ended with, or was given up by going back.
    pub is_kept: bool,
    /// Learning rate of the weights.
    pub lr: f64,
    /// L2 factor of the weights.
    pub l2: f64,
    /// Drop path probability.
    pub drop_path: f64,
    /// Probability of Cutout.
    pub cutout_prob: f64,
    /// Mean loss of the weight steps.
    pub train_loss: f64,
    /// Fraction of the images of the weight steps that were classified correctly; `None` of a search for disparity.
    pub train_accuracy: Option<f64>,
    /// End-point error of the weight steps in pixels; `None` of a search for classification, as the other errors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train_error: Option<f64>,
    /// Mean loss of the alpha steps.
    pub alpha_loss: f64,
    /// Loss of the supernet on the split of the alphas.
    pub valid_loss: Option<f64>,
    /// Its accuracy there.
    pub valid_accuracy: Option<f64>,
    /// Its end-point error there, in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_error: Option<f64>,
    /// Loss of the discretised child there.
    pub child_loss: Option<f64>,
    /// Its accuracy there.
    pub child_accuracy: Option<f64>,
    /// Its end-point error there, in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub child_error: Option<f64>,
    /// Dominant eigenvalue of the alpha-Hessian.
    pub eigenvalue: Option<f64>,
    /// Bound of its numerical error.
    pub eigenvalue_bound: Option<f64>,
    /// Its standard error over batches.
    pub eigenvalue_error: Option<f64>,
    /// The mean that the stopping rule compares.
    pub smoothed: Option<f64>,
    /// The smoothed eigenvalue beyond which the rule acts.
    pub limit: Option<f64>,
    /// Skip connections of the normal cell.
    pub skip_connects_normal: usize,
    /// Skip connections of the reduction cell.
    pub skip_connects_reduce: Option<usize>,
    /// Skip connections of the upsampling cell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip_connects_upsample: Option<usize>,
    /// Parameterless operations of the normal cell.
    pub parameterless_normal: Option<usize>,
    /// Parameterless operations of the reduction cell.
    pub parameterless_reduce: Option<usize>,
    /// Parameterless operations of the upsampling cell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameterless_upsample: Option<usize>,
    /// Which of the genotypes the alphas stand for.
    pub genotype: usize,
}

impl EpochRow {
    pub(super) fn of_classification(record: &EpochRecord, genotype: usize) -> EpochRow {
        EpochRow {
            attempt: record.attempt,
            epoch: record.epoch,
            is_kept: false,
            lr: record.lr,
            l2: record.l2,
            drop_path: record.drop_path,
            cutout_prob: record.cutout_prob,
            train_loss: record.train_loss,
            train_accuracy: Some(record.train_accuracy),
            train_error: None,
            alpha_loss: record.alpha_loss,
            valid_loss: record.valid_loss,
            valid_accuracy: record.valid_accuracy,
            valid_error: None,
            child_loss: record.child_loss,
            child_accuracy: record.child_accuracy,
            child_error: None,
            eigenvalue: record.eigenvalue,
            eigenvalue_bound: record.eigenvalue_bound,
            eigenvalue_error: record.eigenvalue_error,
            smoothed: None,
            limit: None,
            skip_connects_normal: record.skip_connects_normal,
            skip_connects_reduce: record.skip_connects_reduce,
            skip_connects_upsample: None,
            parameterless_normal: record.parameterless_normal,
            parameterless_reduce: record.parameterless_reduce,
            parameterless_upsample: None,
            genotype,
        }
    }

    pub(super) fn of_disparity(record: &DisparityEpoch, genotype: usize) -> EpochRow {
        EpochRow {
            attempt: record.attempt,
            epoch: record.epoch,
            is_kept: false,
            lr: record.lr,
            l2: record.l2,
            drop_path: 0.0,
            cutout_prob: 0.0,
            train_loss: record.train_loss,
            train_accuracy: None,
            train_error: Some(record.train_error),
            // While the weights learn alone there is none.
            alpha_loss: record.alpha_loss.unwrap_or(f64::NAN),
            valid_loss: record.valid_loss,
            valid_accuracy: None,
            valid_error: record.valid_error,
            child_loss: record.child_loss,
            child_accuracy: None,
            child_error: record.child_error,
            eigenvalue: record.eigenvalue,
            eigenvalue_bound: record.eigenvalue_bound,
            eigenvalue_error: record.eigenvalue_error,
            smoothed: None,
            limit: None,
            skip_connects_normal: record.skip_connects[0],
            skip_connects_reduce: Some(record.skip_connects[1]),
            skip_connects_upsample: Some(record.skip_connects[2]),
            parameterless_normal: Some(record.parameterless[0]),
            parameterless_reduce: Some(record.parameterless[1]),
            parameterless_upsample: Some(record.parameterless[2]),
            genotype,
        }
    }

    /// Accuracy or end-point error of the weight steps.
    pub fn of_steps(&self) -> Option<f64> {
        self.train_accuracy.or(self.train_error)
    }

    /// Accuracy or end-point error of the supernet on the split of the alphas.
    pub fn of_supernet(&self) -> Option<f64> {
        self.valid_accuracy.or(self.valid_error)
    }

    /// That of the discretised child.
    pub fn of_child(&self) -> Option<f64> {
        self.child_accuracy.or(self.child_error)
    }

    /// What discretisation costs: how much worse the child is than the supernet.
    pub fn drop(&self) -> Option<f64> {
        let accuracies = self.valid_accuracy.zip(self.child_accuracy).map(|(supernet, child)| supernet - child);
        accuracies.or(self.valid_error.zip(self.child_error).map(|(supernet, child)| child - supernet))
    }
}
