//! A training from scratch for disparity: its epochs, and how far the network's estimates are off.

use rdarts_run::{
    DisparityTrainEpoch, DisparityTrainFinished, DisparityTrainSpec, DisparityTrainStarted, Event, PairPictures,
};
use serde::Serialize;

use super::maps::MapRow;
use crate::number::{count, percent, pixels};
use crate::read::Run;

/// A training from scratch for disparity.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DisparityTrainTable {
    /// What is trained; `None` if nothing was written yet.
    pub started: Option<DisparityTrainStarted>,
    /// Epochs that it was to have; 0 if the spec is damaged.
    pub n_epochs: usize,
    /// The epochs in the order in which they were done.
    pub epochs: Vec<DisparityTrainEpoch>,
    /// How good the network is; `None` while it is trained.
    pub result: Option<DisparityTrainFinished>,
    /// Test pairs as the network sees them.
    pub maps: Vec<MapRow>,
    /// What this run cannot show, one sentence each on what would show it.
    pub missing: Vec<String>,
}

impl DisparityTrainTable {
    pub(super) fn new(run: &Run, spec: Option<&DisparityTrainSpec>, maps: &[PairPictures]) -> DisparityTrainTable {
        let n_epochs = spec.map_or(0, |spec| spec.train.epochs);
        let mut table = DisparityTrainTable { n_epochs, maps: MapRow::all(maps), ..DisparityTrainTable::default() };
        for event in &run.events {
            match event {
                Event::DisparityTrainStarted(started) => table.started = Some(started.clone()),
                Event::DisparityTrainEpoch(epoch) => table.epochs.push(epoch.clone()),
                Event::DisparityTrainFinished(finished) => table.result = Some(finished.clone()),
                _ => {}
            }
        }
        table.missing = table.what_is_missing();
        table
    }

    fn what_is_missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        if self.result.is_some() && self.maps.is_empty() {
            missing.push(
                "Pictures of pairs were not kept: a training that ends with this version keeps them.".to_string(),
            );
        }
        if self.epochs.iter().all(|epoch| epoch.valid_error.is_none()) && !self.epochs.is_empty() {
            let sentence = "No pairs were held out: a training with `data.valid_fraction=0.1` shows its error on them and \
                            takes the best epoch.";
            missing.push(sentence.to_string());
        }
        match &self.result {
            Some(result) if result.test.is_none() => {
                missing.push("Errors of a test are left out, since this set has no test pairs.".to_string());
            }
            Some(result) if result.test_visible.is_none() => missing.push(
                "Errors over what both views show are left out, since this set does not say which pixels these are."
                    .to_string(),
            ),
            _ => {}
        }
        missing
    }

    /// What came of it, in one sentence.
    pub fn verdict(&self) -> String {
        let (Some(started), Some(last)) = (&self.started, self.epochs.last()) else {
            return "The training has not ended its first epoch.".to_string();
        };
        let n = count(started.n_weights as u64);
        match &self.result {
            Some(result) => {
                let visible = result.test_visible.as_ref().map_or(String::new(), |visible| {
                    format!(" ({} where both views show the pixel)", pixels(visible.error))
                });
                let off = match (&result.test, result.valid_error) {
                    (Some(test), _) => format!(
                        "is off by {} on average{visible} and by more than 3 px in {} of the pixels of {} test pairs",
                        pixels(test.error),
                        percent(test.bad3),
                        count(result.n_test as u64)
                    ),
                    (None, Some(valid)) => format!("is off by {} on average on the held-out pairs", pixels(valid)),
                    (None, None) => "was tested on no pair".to_string(),
                };
                format!("The network of {n} weights {off}, with the weights of epoch {}.", result.epoch)
            }
            None => {
                let best = self.epochs.iter().filter_map(|epoch| epoch.valid_error).fold(f64::NAN, f64::min);
                let best = match best.is_finite() {
                    true => format!(", smallest held-out error {}", pixels(best)),
                    false => String::new(),
                };
                format!("The training of {n} weights stands at epoch {} of {}{best}.", last.epoch, self.n_epochs)
            }
        }
    }
}
