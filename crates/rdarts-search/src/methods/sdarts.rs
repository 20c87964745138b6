//! SDARTS: the weights are trained at perturbed mixing weights (Chen and Hsieh, "Stabilizing Differentiable Architecture
//! Search via Perturbation-based Regularization", ICML 2020), so that the loss changes little around the alphas.
//!
//! The alpha step is that of DARTS, at p = softmax(alpha). The weight step that follows is taken at mixing weights p + d with
//! every entry of d in [-e, e] before they are put back on the simplex:
//!
//! ```text
//! RS    d uniform in [-e, e]
//! ADV   d from the same start, then 7 times d <- clip(d + (2 e / 7) sign(dL_train/dp), -e, e): the largest training loss
//! e     0.03 + (0.3 - 0.03) epoch / epochs
//! ```
//!
//! To the simplex: entries below 0 become 0, those above 1 become 1, an edge that has nothing left keeps its largest entry, and
//! each edge is divided by its sum. One d for each type of cell, a new one in every step. An attack that has not raised the loss
//! is not used.
//!
//! Settings, those of the released code: `method.epsilon_first` 0.03, `method.epsilon` 0.3, `method.attack_steps` 7; all else as
//! DARTS, of the first order. One difference: the code attacks the network with running statistics in its batch norms;
//! those of a search here have none, so the attack sees the statistics of the batch, as the step does.

use rdarts_net::{Alphas, Batch, forward_mixed, held_weight_gradient_mixed, mixing_gradient};
use rdarts_rng::Stream;
use rdarts_run::Method;
use rdarts_train::{Step, TrainError};

use crate::State;
use crate::search::Search;

/// The alpha step, and the weight step at perturbed mixing weights.
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
    let of_valid = bilevel.alpha_step(state, train, valid)?;
    let p = state.extra.for_network().softmax(&search.net);
    let size = epsilon(search, state.at.epoch);
    let mut stream = search.streams(state.at.attempt).stream("mixing-weights", position);
    let start = to_simplex(search, &shaken(&p, size, &mut stream));
    let p = match search.spec.search.method {
        Method::SdartsAdv => attacked(search, state, &p, start, size, train),
        _ => start,
    };
    let made = held_weight_gradient_mixed(&search.net, &search.engine, &state.weights, &p, train);
    bilevel.update_weights(state, made, Some(of_valid.loss))
}

/// How far each mixing weight may be moved in an epoch.
pub fn epsilon(search: &Search, epoch: usize) -> f64 {
    let (spec, epochs) = (&search.spec.method, search.spec.search.epochs);
    spec.epsilon_first + (spec.epsilon - spec.epsilon_first) * epoch as f64 / epochs as f64
}

/// Each entry moved by a uniform variate of [-size, size].
fn shaken(p: &Alphas, size: f64, stream: &mut Stream) -> Alphas {
    let mut of_type = |p: &Vec<f64>| p.iter().map(|p| p + size * (2.0 * stream.uniform() - 1.0)).collect();
    p.each().iter().map(&mut of_type).collect()
}

/// The mixing weights near `p` at which the training loss is largest, as far as projected gradient ascent from `start` finds
/// them; `p` itself if it finds none.
fn attacked(search: &Search, state: &State, p: &Alphas, start: Alphas, size: f64, train: Batch<'_, f32>) -> Alphas {
    let (net, engine, weights) = (&search.net, &search.engine, &state.weights);
    let steps = search.spec.method.attack_steps;
    let mut at = start;
    for _ in 0..steps {
        let (_, gradient) = mixing_gradient(net, engine, weights, &at, train);
        let sign = |g: &f64| if *g == 0.0 { 0.0 } else { g.signum() };
        let of_type = |((at, g), p): ((&Vec<f64>, &Vec<f64>), &Vec<f64>)| -> Vec<f64> {
            let moved = at.iter().zip(g).map(|(at, g)| at + 2.0 * size / steps as f64 * sign(g));
            moved.zip(p).map(|(at, p)| p + (at - p).clamp(-size, size)).collect()
        };
        let moved: Alphas = at.each().iter().zip(gradient.each()).zip(p.each()).map(of_type).collect();
        at = to_simplex(search, &moved);
    }
    let loss = |p: &Alphas| forward_mixed(net, engine, weights, p, train).loss;
    if loss(p) > loss(&at) { p.clone() } else { at }
}

fn to_simplex(search: &Search, p: &Alphas) -> Alphas {
    p.map_edges(&search.net, edge_to_simplex)
}

/// Of the entries of one edge.
fn edge_to_simplex(edge: &[f64]) -> Vec<f64> {
    let largest = (0..edge.len()).fold(0, |best, i| if edge[i] > edge[best] { i } else { best });
    let mut edge: Vec<f64> = edge.iter().map(|p| p.clamp(0.0, 1.0)).collect();
    if edge.iter().all(|p| *p == 0.0) {
        edge[largest] = 1.0;
    }
    let sum: f64 = edge.iter().sum();
    edge.iter_mut().for_each(|p| *p /= sum);
    edge
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_comes_back_to_the_simplex() {
        let cases: [(&[f64], &[f64]); 5] = [
            (&[0.2, 0.3, 0.5], &[0.2, 0.3, 0.5]),
            (&[0.4, -0.1, 0.4], &[0.5, 0.0, 0.5]),
            (&[1.5, 0.25], &[0.8, 0.2]),
            (&[-0.1, -0.2], &[1.0, 0.0]),
            (&[-0.3], &[1.0]),
        ];
        for (before, after) in cases {
            let edge = edge_to_simplex(before);
            assert!(edge.iter().zip(after).all(|(a, b)| (a - b).abs() < 1e-15), "{before:?} became {edge:?}");
        }
    }
}
