//! How good a trained network is on images with labels.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use rdarts_data::{Images, Norm};
use rdarts_net::{Evaluator, Targets};

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
}

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
    let mut total = Assessment { n: 0, loss: 0.0, in_five: 0, confusion: vec![vec![0; classes]; classes] };
    for images in rdarts_data::eval_batches(images, range, batch, norm) {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let images = images.map_err(TrainError::failed)?;
        let outputs = evaluator.outputs(&images.images, images.n, [images.height, images.width]);
        total.loss += Targets::Labels(&images.labels).loss(&outputs).value() * images.n as f64;
        for (z, label) in outputs.chunks(classes).zip(&images.labels) {
            let label = *label as usize;
            let order = ranked(z);
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
        let made = Assessment { n: 10, loss: 0.5, in_five: 10, confusion };
        assert_eq!((made.accuracy(), made.top5()), (0.8, None));
        assert_eq!(made.per_class(), [Some(0.75), None, Some(5.0 / 6.0)]);
        assert_eq!(ranked(&[1.0, 3.0, 3.0, -1.0]), [1, 2, 0, 3]);
    }
}
