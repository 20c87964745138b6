//! A task: what a batch should come out as, the loss of what came out, and what is counted beside it.
//!
//! A loss is a function of the network's outputs z, outside the tape and in double precision:
//!
//! ```text
//! L(z),   dL/dz,   d<dL/dz, z-dot>/dz  (the gradient of its tangent along z-dot)
//! ```
//!
//! Gradients, exact products and evaluation know a loss by [`Loss`] alone, so that a new task is a new kind of
//! [`Targets`] with its loss in a file of its own.

mod classification;
mod disparity;

use std::fmt::Debug;
use std::ops::AddAssign;

pub use classification::{ClassLoss, CrossEntropy};
pub use disparity::{EndPointError, Level, Truth, at_full_size};

/// What a batch should come out as.
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a> {
    /// Classification: the class of each image.
    Labels(&'a [u32]),
    /// The same with classes that count differently, or smoothed labels.
    Weighted(&'a [u32], &'a ClassLoss),
    /// Disparity estimation: that of each pair.
    Disparity(&'a Truth),
}

impl Targets<'_> {
    /// Images of the batch.
    pub fn n(&self) -> usize {
        match self {
            Self::Labels(labels) | Self::Weighted(labels, _) => labels.len(),
            Self::Disparity(truth) => truth.n(),
        }
    }

    /// The loss at the network's outputs, (n, values of an image).
    ///
    /// # Panics
    /// If the outputs are not of these targets' size.
    pub fn loss(&self, outputs: &[f64]) -> Box<dyn Loss> {
        match self {
            Self::Labels(labels) => Box::new(CrossEntropy::new(outputs, labels)),
            Self::Weighted(labels, shape) => Box::new(CrossEntropy::weighted(outputs, labels, shape)),
            Self::Disparity(truth) => Box::new(EndPointError::new(outputs, truth)),
        }
    }
}

/// The loss of a batch at outputs z, and what its derivatives need.
pub trait Loss: Debug + Send + Sync {
    /// L, the mean over the batch.
    fn value(&self) -> f64;
    /// What is counted.
    fn count(&self) -> Count;
    /// dL/dz, of the size of z.
    fn gradient(&self) -> &[f64];
    /// For the tangent `z_dot` of z: the tangent of the loss and its gradient with respect to z (with respect to `z_dot`
    /// it is [`Loss::gradient`]).
    fn tangent(&self, z_dot: &[f64]) -> (f64, Vec<f64>);
}

/// What is counted beside the loss, as a sum that batches add to: of a classification, images whose class was found; of
/// disparities, errors in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Count {
    /// The sum.
    pub total: f64,
    /// Of so many.
    pub n: usize,
}

impl Count {
    /// The mean: of a classification, the accuracy in [0, 1]; of disparities, the end-point error in pixels.
    pub fn mean(&self) -> f64 {
        self.total / self.n as f64
    }
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.total += other.total;
        self.n += other.n;
    }
}
