//! What a pass sees: the point in the space of weights and alphas, the batch, and what comes out.

use std::sync::Arc;

use rdarts_kernels::spec::CellNoise;

use crate::engine::Engine;
use crate::graph::Network;
use crate::task::{Count, Loss, Targets};
use crate::values::Alphas;

/// Where derivatives are taken.
#[derive(Clone, Copy, Debug)]
pub struct Point<'a, R> {
    /// The network.
    pub net: &'a Network,
    /// What computes.
    pub engine: &'a Engine,
    /// All weights, flat.
    pub weights: &'a [R],
    /// The architecture parameters.
    pub alphas: &'a Alphas,
}

/// Images, their targets and the constants of the step that sees them.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a, R> {
    /// (n, h, w, c_image).
    pub images: &'a [R],
    /// Rows and columns of an image.
    pub side: [usize; 2],
    /// Of n images.
    pub targets: Targets<'a>,
    /// Drop path and noise of each cell; empty for none.
    pub noise: &'a [Arc<CellNoise>],
}

/// What a forward pass says about a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// The network's outputs, (n, values of an image): of a classification the logits.
    pub outputs: Vec<f64>,
    /// Mean over the batch.
    pub loss: f64,
    /// What the task counts.
    pub count: Count,
}

impl Evaluation {
    /// Of outputs and their loss.
    pub fn new(outputs: Vec<f64>, loss: &dyn Loss) -> Self {
        Self { outputs, loss: loss.value(), count: loss.count() }
    }
}
