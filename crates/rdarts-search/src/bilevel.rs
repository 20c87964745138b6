//! The bilevel step (DARTS, algorithm 1).
//!
//! Alpha follows the gradient of the validation loss by Adam, first order at w or second order at
//! w' = w - xi (mu b + dL_train/dw + l2 w); then w follows that of the training loss by SGD with the gradient's global
//! norm clipped.

use rdarts_net::{
    Alphas, Batch, Engine, Evaluation, Held, InnerStep, Network, PUBLISHED_RADIUS, Point, Real, Values, alpha_gradient,
    held_weight_gradient, unrolled_gradient, unrolled_gradient_difference,
};
use rdarts_run::Order;
use rdarts_train::{Position, State, Step, TrainError};

use crate::architecture::Learned;

/// What a step needs beside the state and the images.
pub(crate) struct Bilevel<'a> {
    pub(crate) net: &'a Network,
    pub(crate) engine: &'a Engine,
    pub(crate) order: Order,
    /// Learning rate of the weights.
    pub(crate) lr: f64,
    /// Largest global norm of their gradient.
    pub(crate) clip: f64,
}

impl Bilevel<'_> {
    /// One alpha step and one weight step.
    ///
    /// # Errors
    /// If a loss or a gradient is no number any more.
    pub(crate) fn step<X: Learned>(
        &self,
        state: &mut State<X>,
        train: Batch<'_, f32>,
        valid: Batch<'_, f32>,
    ) -> Result<Step, TrainError> {
        let of_valid = self.alpha_step(state, train, valid)?;
        let alphas = state.extra.for_network();
        let made = held_weight_gradient(self.at(state, &alphas), train);
        self.update_weights(state, made, Some(of_valid.loss))
    }

    /// The alpha step alone, with the loss of the validation batch before it.
    ///
    /// # Errors
    /// As for [`Bilevel::step`].
    pub(crate) fn alpha_step<X: Learned>(
        &self,
        state: &mut State<X>,
        train: Batch<'_, f32>,
        valid: Batch<'_, f32>,
    ) -> Result<Evaluation, TrainError> {
        let alphas = state.extra.for_network();
        let (at, sgd) = (self.at(state, &alphas), &state.sgd);
        let inner = InnerStep { xi: self.lr, l2: sgd.l2, momentum: sgd.momentum, buffer: Some(sgd.buffer.view()) };
        let made = match self.order {
            Order::First => alpha_gradient(at, valid),
            Order::Second => unrolled_gradient(at, train, valid, inner),
            Order::SecondFd => unrolled_gradient_difference(at, train, valid, inner, PUBLISHED_RADIUS),
        };
        self.update_alphas(state, made)
    }

    /// Moves the alphas along a gradient of the validation loss.
    ///
    /// # Errors
    /// If the loss or the gradient is no number any more.
    pub(crate) fn update_alphas<X: Learned>(
        &self,
        state: &mut State<X>,
        (of_valid, gradient): (Evaluation, Alphas),
    ) -> Result<Evaluation, TrainError> {
        let gradient: Vec<f32> = gradient.flat().iter().map(|g| *g as f32).collect();
        if !(of_valid.loss.is_finite() && gradient.iter().all(|g| g.is_finite())) {
            return Err(diverged("validation", &state.at));
        }
        state.extra.learn(&gradient);
        Ok(of_valid)
    }

    /// Moves the weights along a gradient of the training loss; `side_loss` is the validation loss of the step.
    ///
    /// # Errors
    /// If the loss or the gradient is no number any more.
    pub(crate) fn update_weights<X>(
        &self,
        state: &mut State<X>,
        (of_train, mut gradient): (Evaluation, Held),
        side_loss: Option<f64>,
    ) -> Result<Step, TrainError> {
        let norm = state.sgd.clipped_step(&mut state.weights, &mut gradient, self.lr, self.clip);
        if !(of_train.loss + norm).is_finite() {
            return Err(diverged("training", &state.at));
        }
        if self.engine.is_cpu() {
            f32::give_back(self.engine.kernels.workspace(), gradient.into_vec());
        }
        // A task that counts something else says so.
        Ok(Step { n: of_train.count.n, loss: of_train.loss, count: of_train.count, side_loss })
    }

    pub(crate) fn at<'b, X>(&'b self, state: &'b State<X>, alphas: &'b Alphas) -> Point<'b, Held> {
        Point { net: self.net, engine: self.engine, weights: &state.weights, alphas }
    }
}

/// A spec that makes the loss grow without bounds is one that the user can mend: the checkpoint before is the last good
/// state.
pub(crate) fn diverged(which: &str, at: &Position) -> TrainError {
    TrainError::Diverged(format!(
        "the {which} loss or its gradient is not a finite number any more at epoch {}, step {}: the search has \
         diverged; the checkpoint before it is kept, lower weights.lr or alphas.lr or tighten weights.clip and start again",
        at.epoch, at.step
    ))
}
