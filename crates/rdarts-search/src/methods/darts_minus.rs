//! DARTS-: each edge is helped by a skip connection of its own, so that the alpha of `skip_connect` need not grow to make
//! training easy (Chu et al., "DARTS-: Robustly Stepping out of Performance Collapse Without Indicators", ICLR 2021).
//!
//! ```text
//! edge(x) = b aux(x) + sum_o p_o o(x),   p = softmax(alpha)
//! b = method.auxiliary_skip (1 - epoch / epochs)
//! ```
//!
//! aux is the identity, on edges of stride 2 a factorized reduction with weights of its own. Every edge has it, also in spaces
//! without `skip_connect`, and both steps see it. It is no candidate: the alphas, the genotype and the child know nothing of
//! it. Setting, of the released code: `method.auxiliary_skip` 1, falling linearly, of the first order; at the last of 50 epochs b is
//! 0.02. After an epoch the supernet is evaluated with it, and the curvature is measured without it.
//!
//! In the network it is one operation more at the end of each edge, whose mixing weight is b.

use rdarts_net::{Alphas, Batch, held_weight_gradient_mixed, mixing_gradient};
use rdarts_train::{Step, TrainError};

use crate::State;
use crate::search::Search;

/// An alpha step and a weight step, both with the auxiliary skip connections.
///
/// # Errors
/// If a loss or a gradient is no number any more.
pub(crate) fn step(
    search: &Search,
    state: &mut State,
    train: Batch<'_, f32>,
    valid: Batch<'_, f32>,
) -> Result<Step, TrainError> {
    let bilevel = search.bilevel(state);
    let (net, engine) = (&search.net, &search.engine);
    let b = auxiliary(search, state.at.epoch);
    let p = softmax(search, state);
    let (of_valid, p_bar) = mixing_gradient(net, engine, &state.weights, &helped(search, &p, b), valid);
    // Of weight zero, the auxiliary operations have no part in the Jacobian.
    let gradient = without(search, &p.jacobian(net, &p_bar));
    let of_valid = bilevel.update_alphas(state, (of_valid, gradient))?;
    let p = helped(search, &softmax(search, state), b);
    let made = held_weight_gradient_mixed(net, engine, &state.weights, &p, train);
    bilevel.update_weights(state, made, Some(of_valid.loss))
}

/// The mixing weight of the auxiliary skip connections in an epoch.
pub fn auxiliary(search: &Search, epoch: usize) -> f64 {
    search.spec.method.auxiliary_skip * (1.0 - epoch as f64 / search.spec.search.epochs as f64)
}

/// The mixing weights that the supernet is evaluated with after an epoch.
pub(crate) fn mixed(search: &Search, state: &State) -> Alphas {
    helped(search, &softmax(search, state), auxiliary(search, state.at.epoch))
}

/// The softmax of the alphas, with weight zero for the auxiliary operations.
fn softmax(search: &Search, state: &State) -> Alphas {
    padded(search, &state.extra.for_network(), f64::NEG_INFINITY).softmax(&search.net)
}

/// Values of the space's operations, with one more for the auxiliary operation of each edge.
pub(crate) fn padded(search: &Search, values: &Alphas, auxiliary: f64) -> Alphas {
    let of_type = |(at, values): (usize, &Vec<f64>)| {
        let mut rest = &values[..];
        let mut all = Vec::new();
        for n in search.net.edge_sizes(at) {
            let (own, after) = rest.split_at(n - 1);
            all.extend_from_slice(own);
            all.push(auxiliary);
            rest = after;
        }
        all
    };
    values.each().iter().enumerate().map(of_type).collect()
}

/// Without those of the auxiliary operations.
fn without(search: &Search, values: &Alphas) -> Alphas {
    values.map_edges(&search.net, |edge| edge[..edge.len() - 1].to_vec())
}

/// With the auxiliary operations at `b`.
fn helped(search: &Search, p: &Alphas, b: f64) -> Alphas {
    p.map_edges(&search.net, |edge| [&edge[..edge.len() - 1], &[b]].concat())
}
