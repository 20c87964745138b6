//! DARTS-PT: what stays is what the trained supernet misses most (Wang et al., "Rethinking Architecture Selection in
//! Differentiable NAS", ICLR 2021, algorithm 1).
//!
//! The supernet is searched as in DARTS, `search.epochs` long. After that, for an edge e drawn at random,
//!
//! ```text
//! o* = argmin_o  accuracy of the supernet with p_eo = 0    on the images that train the alphas
//! p_e = one-hot of o*,   then `method.selection_epochs` of training
//! ```
//!
//! until all edges are decided; and in the same way, for the nodes with more than two inputs in random order, the two inputs
//! without which it is worst. Normal and reduction cells decide one after the other in each turn. The step is here; [`crate::selection`]
//! evaluates and decides, [`crate::projection`] is what is decided.
//!
//! `darts-pt-fixed` leaves the alphas as they were drawn: the weights alone are trained, at nearly equal mixing weights.
//!
//! Settings, of the released code: 5 epochs between two decisions; the weights then have a tenth of the first learning rate,
//! without a schedule, and their momentum begins anew at the first decision; alphas of open edges go on learning, of the first
//! order. Where it does otherwise: its evaluations augment their images, each in its own way, here all candidates see the same
//! ones as they are; of equal accuracies the larger loss decides, and only then the order; it removes the inputs of a node one
//! by one, but without retraining, so that the ranking is the same; it trains once more after the last decision.
//! A curvature is not measured after `search.epochs`.

use rdarts_net::{Alphas, Batch, drawn_gradient, held_weight_gradient_mixed};
use rdarts_train::{Step, TrainError};

use crate::State;
use crate::search::Search;

/// A step of DARTS, or of what is not decided yet; without `valid` of the weights alone.
///
/// # Errors
/// If a loss or a gradient is no number any more.
pub(crate) fn step(
    search: &Search,
    state: &mut State,
    train: Batch<'_, f32>,
    valid: Option<Batch<'_, f32>>,
) -> Result<Step, TrainError> {
    let (bilevel, net, engine) = (search.bilevel(state), &search.net, &search.engine);
    let mut of_valid = None;
    if let Some(valid) = valid {
        if state.at.epoch < search.spec.search.epochs {
            return bilevel.step(state, train, valid);
        }
        let p = mixed(search, state);
        let (evaluation, p_bar) = drawn_gradient(net, engine, &state.weights, &p, valid);
        // Where p is one-hot the Jacobian is zero.
        of_valid = Some(bilevel.update_alphas(state, (evaluation, p.jacobian(net, &p_bar)))?);
    }
    let made = held_weight_gradient_mixed(net, engine, &state.weights, &mixed(search, state), train);
    bilevel.update_weights(state, made, of_valid.map(|of_valid| of_valid.loss))
}

/// The softmax of the alphas, with what is decided in place of it.
pub(crate) fn mixed(search: &Search, state: &State) -> Alphas {
    let p = state.extra.for_network().softmax(&search.net);
    state.extra.projection.as_ref().map_or(p.clone(), |projection| projection.mixed(&search.net, &p))
}
