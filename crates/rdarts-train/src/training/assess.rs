//! How good a trained network is on images with labels.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use rdarts_data::{Images, Norm};
use rdarts_net::{Evaluator, Targets};
use rdarts_run::Mistake;

use crate::error::TrainError;

/// What a network makes of images.
#[derive(Clone, Debug, PartialEq)]
pub struct Assessment {
    /// Images.
    pub n: usize,
    /// Mean cross entropy.
    pub loss: f64,
    /// Images whose class is among the five likeliest.
    pub in_five: usize,
    /// Images by true class (the row) and by the class that they were given.
    pub confusion: Vec<Vec<usize>>,
    /// The images that it is most wrong about, the surest first: at most 24.
    pub mistakes: Vec<Mistake>,
}

/// How many mistakes are kept.
pub const MOST_MISTAKES: usize = 24;

impl Assessment {
    /// Fraction of the images that are classified correctly.
    pub fn accuracy(&self) -> f64 {
        (0..self.confusion.len()).map(|k| self.confusion[k][k]).sum::<usize>() as f64 / self.n as f64
    }

    /// Fraction whose class is among the five likeliest; `None` where five classes are all there are.
    pub fn top5(&self) -> Option<f64> {
        (self.confusion.len() > 5).then(|| self.in_five as f64 / self.n as f64)
    }

    /// Fraction of the images of each class that are classified correctly; `None` for a class without images.
    pub fn per_class(&self) -> Vec<Option<f64>> {
        let of = |(k, row): (usize, &Vec<usize>)| {
            let n: usize = row.iter().sum();
            (n > 0).then(|| row[k] as f64 / n as f64)
        };
        self.confusion.iter().enumerate().map(of).collect()
    }
}

impl Assessment {
    /// Keeps a mistake if it is among the surest; of equal ones the first.
    fn add(&mut self, mistake: Mistake) {
        let at = self.mistakes.partition_point(|other| other.probability >= mistake.probability);
        if at < MOST_MISTAKES {
            self.mistakes.insert(at, mistake);
            self.mistakes.truncate(MOST_MISTAKES);
        }
    }
}

/// The probability of a class, by the softmax of the logits.
fn likelihood(z: &[f64], class: usize) -> f64 {
    1.0 / z.iter().map(|other| (other - z[class]).exp()).sum::<f64>()
}

/// Assesses a network of so many classes on a range of images, a batch at a time; `None` if `stop` was set meanwhile.
///
/// # Errors
/// One sentence if the images are in a file that cannot be read any more.
///
/// # Panics
/// If the range is empty.
pub fn assess(
    evaluator: &Evaluator<f32>,
    (images, range): (&Images, Range<usize>),
    batch: usize,
    norm: &Norm,
    classes: usize,
    stop: &AtomicBool,
) -> Result<Option<Assessment>, TrainError> {
    assert!(!range.is_empty(), "an assessment needs images");
    let confusion = vec![vec![0; classes]; classes];
    let mut total = Assessment { n: 0, loss: 0.0, in_five: 0, confusion, mistakes: Vec::new() };
    let first = range.start;
    for images in rdarts_data::eval_batches(images, range, batch, norm) {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let images = images.map_err(TrainError::failed)?;
        let outputs = evaluator.outputs(&images.images, images.n, [images.height, images.width]);
        total.loss += Targets::Labels(&images.labels).loss(&outputs).value() * images.n as f64;
        for (i, (z, label)) in outputs.chunks(classes).zip(&images.labels).enumerate() {
            let label = *label as usize;
            let order = ranked(z);
            if order[0] != label {
                let image = first + total.n + i;
                total.add(Mistake { image, truth: label, given: order[0], probability: likelihood(z, order[0]) });
            }
            total.confusion[label][order[0]] += 1;
            total.in_five += usize::from(order.iter().take(5).any(|k| *k == label));
        }
        total.n += images.n;
    }
    total.loss /= total.n as f64;
    Ok(Some(total))
}

/// The classes from the largest value to the smallest, the first of equal ones first.
pub(crate) fn ranked(z: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..z.len()).collect();
    order.sort_by(|a, b| z[*b].total_cmp(&z[*a]));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accuracies_follow_from_the_confusion_matrix() {
        let confusion = vec![vec![3, 1, 0], vec![0, 0, 0], vec![1, 0, 5]];
        let mut made = Assessment { n: 10, loss: 0.5, in_five: 10, confusion, mistakes: Vec::new() };
        assert_eq!((made.accuracy(), made.top5()), (0.8, None));
        assert_eq!(made.per_class(), [Some(0.75), None, Some(5.0 / 6.0)]);
        assert_eq!(ranked(&[1.0, 3.0, 3.0, -1.0]), [1, 2, 0, 3]);
        for image in 0..40 {
            made.add(Mistake { image, truth: 0, given: 1, probability: f64::from((image * 7 % 40) as u32 / 2) / 20.0 });
        }
        let kept: Vec<f64> = made.mistakes.iter().map(|m| m.probability).collect();
        assert!(kept.len() == MOST_MISTAKES && kept.is_sorted_by(|a, b| a >= b) && kept[0] == 0.95, "{kept:?}");
        assert!((likelihood(&[0.0, 3f64.ln()], 1) - 0.75).abs() < 1e-12);
    }
}
