//! A training from scratch: its epochs, how good the network is, and what it is wrong about.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rdarts_run::{Event, Mistake, TrainEpoch, TrainFinished, TrainSpec, TrainStarted};
use rdarts_text::escaped;
use serde::Serialize;

use crate::number::{count, percent};
use crate::read::Run;

/// A training from scratch.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TrainTable {
    /// What is trained; `None` if nothing was written yet.
    pub started: Option<TrainStarted>,
    /// Epochs that it was to have; 0 if the spec is damaged.
    pub n_epochs: usize,
    /// The epochs in the order in which they were done.
    pub epochs: Vec<TrainEpoch>,
    /// How good the network is; `None` while it is trained.
    pub result: Option<TrainFinished>,
    /// The classes by label, in one line of text each.
    pub classes: Vec<String>,
    /// The classes that are taken for each other, most often first; ten at most.
    pub confusions: Vec<Confusion>,
    /// The test pictures that the network is most wrong about, the worst first.
    pub mistakes: Vec<MistakeRow>,
    /// What this run cannot show, one sentence each on what would show it.
    pub missing: Vec<String>,
}

/// A class that is taken for another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Confusion {
    /// The label of the class.
    pub truth: usize,
    /// The label that is given.
    pub given: usize,
    /// On how many test images.
    pub n: usize,
    /// Number of test images of the class.
    pub of: usize,
}

/// A picture that the network is wrong about.
#[derive(Clone, Debug, Serialize)]
pub struct MistakeRow {
    /// Its number in the test set.
    pub image: usize,
    /// The class that it is.
    pub truth: String,
    /// The class that it is taken for.
    pub given: String,
    /// The probability that the network gives that.
    pub probability: f64,
    /// The picture as a data URL of a PNG file.
    pub url: String,
}

impl TrainTable {
    pub(super) fn new(run: &Run, spec: Option<&TrainSpec>, mistakes: &[(Mistake, Vec<u8>)]) -> TrainTable {
        let mut table = TrainTable { n_epochs: spec.map_or(0, |spec| spec.train.epochs), ..TrainTable::default() };
        for event in &run.events {
            match event {
                Event::TrainStarted(started) => table.started = Some(started.clone()),
                Event::TrainEpoch(epoch) => table.epochs.push(epoch.clone()),
                Event::TrainFinished(finished) => table.result = Some(finished.clone()),
                _ => {}
            }
        }
        table.classes = table.started.iter().flat_map(|started| &started.classes).map(|name| escaped(name)).collect();
        table.confusions = table.result.as_ref().map_or(Vec::new(), |result| confusions(&result.confusion));
        table.mistakes = mistakes
            .iter()
            .map(|(mistake, png)| MistakeRow {
                image: mistake.image,
                truth: table.class(mistake.truth),
                given: table.class(mistake.given),
                probability: mistake.probability,
                url: format!("data:image/png;base64,{}", STANDARD.encode(png)),
            })
            .collect();
        if table.result.is_some() && table.mistakes.is_empty() {
            let sentence = "The pictures that it is most wrong about were not kept: a training that ends with this \
                            version keeps them.";
            table.missing.push(sentence.to_string());
        }
        if table.epochs.iter().all(|epoch| epoch.valid_accuracy.is_none()) && !table.epochs.is_empty() {
            let sentence = "No images were held out: a training with `data.valid_fraction=0.1` shows its accuracy on \
                            them and takes the best epoch.";
            table.missing.push(sentence.to_string());
        }
        table
    }

    /// The name of a class, or its label if it has none.
    pub fn class(&self, label: usize) -> String {
        self.classes.get(label).cloned().unwrap_or_else(|| format!("class {label}"))
    }

    /// What came of it, in one sentence.
    pub fn verdict(&self) -> String {
        let (Some(started), Some(last)) = (&self.started, self.epochs.last()) else {
            return "The training has not ended its first epoch.".to_string();
        };
        let n = count(started.n_weights_without_auxiliary as u64);
        match &self.result {
            Some(result) => {
                let worst = self.confusions.first().map_or(String::new(), |worst| {
                    let (truth, given) = (self.class(worst.truth), self.class(worst.given));
                    format!("; it most often takes {truth} for {given} ({} of {})", worst.n, worst.of)
                });
                format!(
                    "The network of {n} weights classifies {} of {} test images correctly, with the weights of epoch \
                     {}{worst}.",
                    percent(result.test_accuracy),
                    count(result.n_test as u64),
                    result.epoch
                )
            }
            None => {
                let best = self.epochs.iter().filter_map(|epoch| epoch.valid_accuracy).fold(f64::NAN, f64::max);
                let best = if best.is_finite() {
                    format!(", best held-out accuracy {}", percent(best))
                } else {
                    String::new()
                };
                format!("The training of {n} weights stands at epoch {} of {}{best}.", last.epoch, self.n_epochs)
            }
        }
    }
}

/// The off-diagonal entries of a confusion matrix, the largest first.
fn confusions(matrix: &[Vec<usize>]) -> Vec<Confusion> {
    let mut found: Vec<Confusion> = matrix
        .iter()
        .enumerate()
        .flat_map(|(truth, row)| {
            let of = row.iter().sum();
            row.iter().enumerate().map(move |(given, &n)| Confusion { truth, given, n, of })
        })
        .filter(|confusion| confusion.n > 0 && confusion.truth != confusion.given)
        .collect();
    found.sort_by_key(|confusion| std::cmp::Reverse(confusion.n));
    found.truncate(10);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_confusions_come_first_and_the_diagonal_never() {
        let found = confusions(&[vec![5, 3, 0], vec![1, 9, 0], vec![0, 4, 2]]);
        let expected = [
            Confusion { truth: 2, given: 1, n: 4, of: 6 },
            Confusion { truth: 0, given: 1, n: 3, of: 8 },
            Confusion { truth: 1, given: 0, n: 1, of: 10 },
        ];
        assert_eq!(found, expected);
        assert!(confusions(&[vec![5]]).is_empty());
    }
}
