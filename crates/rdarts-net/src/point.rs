//! What a pass sees: the point in the space of weights and alphas, the batch, and what comes out.

use std::sync::Arc;

use rdarts_kernels::spec::CellNoise;

use crate::engine::Engine;
use crate::graph::Network;
use crate::held::{Values, View};
use crate::task::{Count, Loss, Targets};
use crate::values::Alphas;

/// Where derivatives are taken.
#[derive(Debug)]
pub struct Point<'a, V: ?Sized> {
    /// The network.
    pub net: &'a Network,
    /// What computes.
    pub engine: &'a Engine,
    /// All weights, flat: a slice, or what is [`Held`](crate::Held) where it lies.
    pub weights: &'a V,
    /// The architecture parameters.
    pub alphas: &'a Alphas,
}

impl<V: ?Sized> Clone for Point<'_, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V: ?Sized> Copy for Point<'_, V> {}

impl<'a, V: ?Sized> Point<'a, V> {
    pub(crate) fn here<R>(self) -> Here<'a, R>
    where
        V: Values<R>,
    {
        Here { net: self.net, engine: self.engine, weights: self.weights.view(), alphas: self.alphas }
    }
}

/// The same, given how the weights are read.
#[derive(Debug)]
pub(crate) struct Here<'a, R> {
    pub(crate) net: &'a Network,
    pub(crate) engine: &'a Engine,
    pub(crate) weights: View<'a, R>,
    pub(crate) alphas: &'a Alphas,
}

impl<R> Clone for Here<'_, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Here<'_, R> {}

/// Images, their targets and the constants of the step that sees them.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a, R> {
    /// (n, h, w, c_image): a slice, or what a card has made of its own images.
    pub images: View<'a, R>,
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
