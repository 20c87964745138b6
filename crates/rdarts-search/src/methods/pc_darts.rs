//! PC-DARTS: mixed operations see a part of the channels, and edges have weights of their own (Xu et al., "PC-DARTS: Partial Channel
//! Connections for Memory-Efficient Architecture Search", ICLR 2020).
//!
//! [`rdarts_net::partial`] has the network and its equation. Alphas and betas are learned alike, by one Adam; the curvature is that of
//! the loss with respect to both. An edge of the genotype is as strong as softmax(beta) of its node times softmax(alpha) of its strongest
//! operation but `none`:
//!
//! ```text
//! strength_e = softmax(beta)_e max_{o not none} softmax(alpha_e)_o
//! ```
//!
//! Settings, of the released code: `method.channel_share` 4 (one channel in 4), `method.warm_up` 15 epochs without alpha steps; its rates
//! are 0.1 of the weights and 6e-4 of the alphas, its batches of 256, its order the first. It takes always the same channels, the first ones, as here;
//! the paper says that they are drawn. The child is evaluated with its two edges of each node at weight one.

use rdarts_net::{Alphas, Batch, held_weight_gradient};
use rdarts_space::CellType;
use rdarts_train::{Step, TrainError};

use crate::State;
use crate::search::Search;

/// A step of DARTS; in the first epochs of the weights alone.
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
    if state.at.epoch >= search.spec.method.warm_up {
        return bilevel.step(state, train, valid);
    }
    let alphas = state.extra.for_network();
    let made = held_weight_gradient(bilevel.at(state, &alphas), train);
    bilevel.update_weights(state, made, None)
}

/// Mixing weights of the operations with those of the edges: one where an edge has an operation, else zero.
pub(crate) fn with_edges(search: &Search, p: &Alphas) -> Alphas {
    let of_type = |(at, p): (usize, &Vec<f64>)| -> Vec<f64> {
        let cell = CellType::ALL[at];
        let is_there = |edge: usize| {
            let start = search.space.offset(cell, edge);
            p[start..start + search.space.cell(cell)[edge].len()].iter().any(|p| *p != 0.0)
        };
        search.space.edges().map(|(edge, ..)| f64::from(u8::from(is_there(edge)))).collect()
    };
    let edges: Vec<Vec<f64>> = p.each().iter().enumerate().map(of_type).collect();
    p.each().iter().cloned().chain(edges).collect()
}
