//! The best epoch of a training, by what is measured after each on what is held out, and why a training ends.

use crate::error::TrainError;
use crate::job::{Next, Verdict};
use crate::state::{Packed, Position, Unpacked};

/// The network of an epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct Best {
    /// The epoch.
    pub epoch: usize,
    /// Its weights.
    pub weights: Vec<f32>,
    /// Its running statistics.
    pub running: Vec<f32>,
}

impl Best {
    /// The network, weights and running statistics, of the epoch that was just measured, if it is the best so far.
    pub fn of_epoch<'a>(better: Better, at: &Position, network: impl FnOnce() -> [&'a [f32]; 2]) -> Option<Self> {
        better.last(&at.history).filter(|(epoch, _)| *epoch == at.epoch).map(|(epoch, _)| {
            let [weights, running] = network().map(<[f32]>::to_vec);
            Self { epoch, weights, running }
        })
    }

    /// Puts it, or that there is none yet, into what is saved.
    pub fn pack<'a>(best: Option<&'a Self>, packed: &mut Packed<'a>) {
        // An epoch more than there is: none yet.
        packed.scalars.insert("best".into(), best.map_or(0, |best| best.epoch as u64 + 1).into());
        if let Some(best) = best {
            packed.tensors.push(("best weights", &best.weights));
            if !best.running.is_empty() {
                packed.tensors.push(("best running", &best.running));
            }
        }
    }

    /// Reads what [`Best::pack`] has saved, of a network of so many weights and running statistics.
    ///
    /// # Errors
    /// If it does not belong to this run.
    pub fn unpack(file: &mut Unpacked<'_>, n: usize, n_running: usize) -> Result<Option<Self>, TrainError> {
        let Some(epoch) = file.count("best")?.checked_sub(1) else { return Ok(None) };
        let weights = file.tensor("best weights", n)?;
        let running = if n_running > 0 { file.tensor("best running", n_running)? } else { Vec::new() };
        Ok(Some(Self { epoch: epoch as usize, weights, running }))
    }
}

/// Which of two measured values is the better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// The larger: an accuracy.
    Larger,
    /// The smaller: an error.
    Smaller,
}

impl Better {
    fn is_worse(self, a: f64, b: f64) -> bool {
        if self == Self::Larger { a < b } else { a > b }
    }

    /// The epoch with the best value so far, the last of equal ones: of a few held-out images accuracies tie often, and later
    /// epochs with their smaller steps have the smaller loss.
    pub fn last(self, history: &[(usize, Option<f64>)]) -> Option<(usize, f64)> {
        known(history).fold(None, |best, (epoch, value)| match best {
            Some((_, before)) if self.is_worse(value, before) => best,
            _ => Some((epoch, value)),
        })
    }

    /// The first of equal ones: no epoch since then has been better.
    pub fn first(self, history: &[(usize, Option<f64>)]) -> Option<(usize, f64)> {
        known(history).fold(None, |best, (epoch, value)| match best {
            Some((_, before)) if !self.is_worse(before, value) => best,
            _ => Some((epoch, value)),
        })
    }

    /// Whether a value is as good as all before it.
    pub fn is_best(self, history: &[(usize, Option<f64>)], value: f64) -> bool {
        self.last(history).is_none_or(|(_, best)| !self.is_worse(value, best))
    }
}

fn known(history: &[(usize, Option<f64>)]) -> impl Iterator<Item = (usize, f64)> {
    history.iter().filter_map(|(epoch, value)| Some((*epoch, (*value)?)))
}

/// What a training is about, in the words of its sentences.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    /// What is measured: `accuracy`.
    pub value: &'static str,
    /// On what: `images`.
    pub what: &'static str,
}

/// How a training goes on after an epoch: with patience, not after as many epochs without a better value.
pub fn judge(better: Better, history: &[(usize, Option<f64>)], epoch: usize, patience: usize, words: Words) -> Verdict {
    let best = better.first(history).map(|(epoch, _)| epoch);
    match best.filter(|best| patience > 0 && epoch - best >= patience) {
        Some(epoch) => {
            let reason = rested(epoch, patience, words);
            Verdict { next: Next::Stop { epoch }, event: None, reason, is_news: true }
        }
        None => Verdict { next: Next::On, event: None, reason: String::new(), is_news: false },
    }
}

/// Why a training of so many epochs has ended after one of them.
pub fn reason(
    better: Better,
    history: &[(usize, Option<f64>)],
    epoch: usize,
    epochs: usize,
    patience: usize,
    words: Words,
) -> String {
    match better.first(history) {
        Some((best, _)) if epoch + 1 < epochs => rested(best, patience, words),
        Some(_) => format!("All {epochs} epochs are done; the result is the best on the held-out {}.", words.what),
        None => format!("All {epochs} epochs are done; the result is the last."),
    }
}

fn rested(best: usize, patience: usize, words: Words) -> String {
    format!(
        "The held-out {} has been no better than in epoch {best} for {patience} epochs: the training ends.",
        words.value
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_of_an_epoch_is_taken_if_it_is_as_good_as_all_before_it() {
        let network = || [&[1.0, 2.0][..], &[3.0]];
        let at = |errors: &[Option<f64>]| Position {
            epoch: errors.len() - 1,
            history: errors.iter().copied().enumerate().collect(),
            ..Position::default()
        };
        let taken = |errors: &[Option<f64>]| Best::of_epoch(Better::Smaller, &at(errors), network);
        let best = Best { epoch: 2, weights: vec![1.0, 2.0], running: vec![3.0] };
        assert_eq!(taken(&[Some(4.0), Some(2.0), Some(2.0)]), Some(best));
        assert_eq!(taken(&[Some(4.0), Some(2.0), Some(2.5)]), None);
        assert_eq!(taken(&[Some(4.0), None]), None);
    }

    #[test]
    fn of_equal_epochs_the_last_is_kept_and_the_first_is_waited_from() {
        let history = [(0, Some(0.5)), (1, Some(0.75)), (2, None), (3, Some(0.75)), (4, Some(0.625))];
        let negative = history.map(|(epoch, value): (usize, Option<f64>)| (epoch, value.map(|v| -v)));
        for (better, history, sign) in [(Better::Larger, history, 1.0), (Better::Smaller, negative, -1.0)] {
            assert_eq!(better.last(&history), Some((3, sign * 0.75)));
            assert_eq!(better.first(&history), Some((1, sign * 0.75)));
            assert_eq!(better.last(&history[..1]), Some((0, sign * 0.5)));
            assert_eq!((better.last(&[]), better.first(&[(0, None)])), (None, None));
            assert!(better.is_best(&history, sign * 0.75) && !better.is_best(&history, sign * 0.7));
            assert!(better.is_best(&[], 1.0));
            let words = Words { value: "error", what: "pairs" };
            assert_eq!(judge(better, &history, 4, 4, words).next, Next::On);
            assert_eq!(judge(better, &history, 4, 3, words).next, Next::Stop { epoch: 1 });
            assert_eq!(judge(better, &history, 4, 0, words).next, Next::On);
        }
    }
}
