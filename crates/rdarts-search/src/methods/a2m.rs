//! A2M: the alphas go to a flat minimum (Gambella, Pittorino and Roveri, "Architecture-Aware Minimization: How to Find Flat
//! Minima in Neural Architecture Search", arXiv 2503.10404).
//!
//! The alpha step minimises the validation loss L where its own gradient leads uphill, for the present weights:
//!
//! ```text
//! alpha' = alpha + rho dL/dalpha
//! d/dalpha L(alpha') = (I + rho H) dL/dalpha (alpha'),   H = d2L/dalpha2 at alpha
//! ```
//!
//! The released code takes the product with H as a finite difference of radius 0.01 around alpha'; here it is exact, and at
//! alpha, where the chain rule has it. One step costs two gradients and one Hessian product. The weight step is that of DARTS.
//!
//! Setting: `method.rho` 0.1, of the released scripts for the space of DARTS (0.01 for NAS-Bench-201). First order: their code
//! does not unroll either. Not taken over: their code returns the architecture of the epoch with the lowest validation
//! loss and stops ten epochs after it; here the last one counts, as in DARTS.

use rdarts_net::{AlphaHessian, Alphas, Batch, Point, alpha_gradient, held_weight_gradient};
use rdarts_train::{Step, TrainError};

use crate::State;
use crate::search::Search;

/// The alpha step towards flatness, and the weight step.
///
/// # Errors
/// If a loss or a gradient is no number any more.
pub(crate) fn step(
    search: &Search,
    state: &mut State,
    train: Batch<'_, f32>,
    valid: Batch<'_, f32>,
) -> Result<Step, TrainError> {
    let (bilevel, rho, net) = (search.bilevel(state), search.spec.method.rho, &search.net);
    let alphas = state.extra.for_network();
    let at = Point { net, engine: &search.engine, weights: &state.weights, alphas: &alphas };
    let (of_valid, uphill) = alpha_gradient(at, valid);
    let moved = alphas.combined(1.0, &uphill, rho);
    let (_, gradient) = alpha_gradient(Point { alphas: &moved, ..at }, valid);
    let bent = AlphaHessian::new(at, valid).apply(&gradient.flat());
    let gradient = gradient.combined(1.0, &Alphas::from_flat(net, &bent), rho);
    let of_valid = bilevel.update_alphas(state, (of_valid, gradient))?;
    let alphas = state.extra.for_network();
    let at = Point { net, engine: &search.engine, weights: &state.weights, alphas: &alphas };
    let made = held_weight_gradient(at, train);
    bilevel.update_weights(state, made, Some(of_valid.loss))
}
