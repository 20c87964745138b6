//! GDAS: one operation of each edge is drawn in each step (Dong and Yang, "Searching for a Robust Neural Architecture in Four
//! GPU Hours", CVPR 2019).
//!
//! For each edge of each type of cell, with g standard Gumbel variates and a temperature t:
//!
//! ```text
//! q = softmax((alpha + g) / t)        k = argmax q        the edge computes op_k alone, with mixing weight 1
//! dL/dalpha_j = (1 / t) s q_k ([j = k] - q_j),   s = dL/d(mixing weight of op_k)
//! t = first - (first - last) epoch / (epochs - 1)
//! ```
//!
//! Alphas and weights draw separately, once in a step each; all cells of a type share a draw. Momentum and L2 act on all
//! weights, also of what was not drawn. A step is about as fast as one of random search.
//!
//! Settings, those of the authors' later code: `method.temperature_first` 10, `method.temperature_last` 0.1 (their paper ends
//! higher). Its lengths are 250 epochs of batches of 256; the rest is as DARTS. Two differences: the later code takes the step of the
//! weights before that of the alphas (the earlier one does as here), and lets a node take one input twice; here the
//! genotype is derived as in DARTS. After an epoch the supernet is evaluated with the likeliest operation of each edge; the
//! curvature is that of the mixture, as for DARTS.

use rdarts_net::{Alphas, Batch, drawn_gradient, held_weight_gradient_mixed};
use rdarts_rng::Stream;
use rdarts_train::{Step, TrainError};

use crate::State;
use crate::search::Search;

/// An alpha step and a weight step, each on an architecture drawn for it.
///
/// # Errors
/// If a loss or a gradient is no number any more.
pub(crate) fn step(
    search: &Search,
    state: &mut State,
    train: Batch<'_, f32>,
    valid: Batch<'_, f32>,
    position: u64,
) -> Result<Step, TrainError> {
    let bilevel = search.bilevel(state);
    let mut stream = search.streams(state.at.attempt).stream("gumbel", position);
    let (net, engine, t) = (&search.net, &search.engine, temperature(search, state.at.epoch));
    let (q, drawn) = draw(search, &state.extra.for_network(), t, &mut stream);
    let (of_valid, p_bar) = drawn_gradient(net, engine, &state.weights, &drawn, valid);
    // q is a softmax at temperature t: its Jacobian on the gradient of the one entry.
    let gradient = q.jacobian(net, &p_bar);
    let of_valid = bilevel.update_alphas(state, (of_valid, gradient.combined(1.0 / t, &gradient, 0.0)))?;
    let (_, drawn) = draw(search, &state.extra.for_network(), t, &mut stream);
    let made = held_weight_gradient_mixed(net, engine, &state.weights, &drawn, train);
    bilevel.update_weights(state, made, Some(of_valid.loss))
}

/// The temperature of an epoch.
pub fn temperature(search: &Search, epoch: usize) -> f64 {
    let (spec, epochs) = (&search.spec.method, search.spec.search.epochs);
    let passed = if epochs > 1 { epoch as f64 / (epochs - 1) as f64 } else { 0.0 };
    spec.temperature_first - (spec.temperature_first - spec.temperature_last) * passed
}

/// q, and one-hot mixing weights of its largest entries.
fn draw(search: &Search, alphas: &Alphas, t: f64, stream: &mut Stream) -> (Alphas, Alphas) {
    let mut gumbel = || {
        // Above zero, so that both logarithms are finite.
        let u = stream.uniform().max(f64::MIN_POSITIVE);
        -(-u.ln()).max(f64::MIN_POSITIVE).ln()
    };
    let mut of_type = |alpha: &Vec<f64>| alpha.iter().map(|alpha| (alpha + gumbel()) / t).collect();
    let scores: Alphas = alphas.each().iter().map(&mut of_type).collect();
    (scores.softmax(&search.net), largest(search, &scores))
}

/// The operation of each edge that is drawn most often, as mixing weights.
pub(crate) fn likeliest(search: &Search, state: &State) -> Alphas {
    largest(search, &state.extra.for_network())
}

/// One for the largest entry of each edge, zero for all others.
fn largest(search: &Search, scores: &Alphas) -> Alphas {
    scores.map_edges(&search.net, |edge| {
        let best = (0..edge.len()).fold(0, |best, i| if edge[i] > edge[best] { i } else { best });
        (0..edge.len()).map(|i| if i == best { 1.0 } else { 0.0 }).collect()
    })
}
