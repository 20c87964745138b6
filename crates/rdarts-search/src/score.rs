//! What the supernet and its discretised child make of the images that train the alphas, after an epoch.
//!
//! The supernet is evaluated with the statistics of each batch, as it was trained; there is no other state in it.
//! The child keeps, of each node, the two edges and the operations that the genotype takes, with weight one, and
//! the supernet's weights: the drop from the supernet's accuracy to its child's is what the paper's figure 5
//! relates to the eigenvalue.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rdarts_net::{Alphas, CellNoise, Count, Evaluator, Point};
use rdarts_space::{Genotype, Op, Selection, selection};
use rdarts_train::TrainError;
use rdarts_train::images::as_batch;

use crate::State;
use crate::methods::for_network;
use crate::search::Search;

/// Mean loss and fraction of correct images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Mean cross-entropy.
    pub loss: f64,
    /// Fraction in [0, 1].
    pub accuracy: f64,
}

/// The supernet on the images that train the alphas; `None` if `stop` was set meanwhile.
///
/// # Errors
/// One sentence if the images are in a file that cannot be read any more.
pub fn score_supernet(
    search: &Search,
    state: &State,
    epoch: usize,
    stop: &AtomicBool,
) -> Result<Option<Score>, TrainError> {
    let alphas = state.extra.for_network();
    let at = Point { net: &search.net, engine: &search.engine, weights: &state.weights, alphas: &alphas };
    score_limited(search, state, epoch, stop, &Evaluator::supernet(at))
}

/// An architecture of the space with the supernet's weights on the same images.
///
/// # Errors
/// As for [`score_supernet`].
pub fn score_child(
    search: &Search,
    state: &State,
    child: &Genotype,
    epoch: usize,
    stop: &AtomicBool,
) -> Result<Option<Score>, TrainError> {
    let (normal, reduce) = selection(&search.space, child).expect("a derived genotype lies in its space");
    let p = Alphas::from([one_hot(&search.space.normal, &normal), one_hot(&search.space.reduce, &reduce)]);
    score_mixed(search, state, epoch, stop, &for_network(search, p))
}

/// An architecture with the supernet's weights on the same images; `p` are its mixing weights.
///
/// # Errors
/// As for [`score_supernet`].
pub(crate) fn score_mixed(
    search: &Search,
    state: &State,
    epoch: usize,
    stop: &AtomicBool,
    p: &Alphas,
) -> Result<Option<Score>, TrainError> {
    score_limited(search, state, epoch, stop, &Evaluator::mixed(&search.net, &search.engine, &state.weights, p))
}

fn score_limited(
    search: &Search,
    state: &State,
    epoch: usize,
    stop: &AtomicBool,
    evaluator: &Evaluator<f32>,
) -> Result<Option<Score>, TrainError> {
    let streams = search.streams(state.at.attempt);
    score(search, valid_images(search, search.spec.data.valid_limit), evaluator, stop, |i, n| {
        streams.noise(&search.net, 0.0, "noise-eval", (epoch << 20) as u64 + i, n)
    })
}

/// The first so many of the images that train the alphas; 0: all.
pub fn valid_images(search: &Search, limit: usize) -> Range<usize> {
    let all = search.images.split.valid.clone();
    let limit = if limit > 0 { limit.min(all.len()) } else { all.len() };
    all.start..all.start + limit
}

/// On a range of the training images, as they are; `noise` gives that of batch number i, of n images.
pub(crate) fn score(
    search: &Search,
    range: Range<usize>,
    evaluator: &Evaluator<f32>,
    stop: &AtomicBool,
    noise: impl Fn(u64, usize) -> Vec<Arc<CellNoise>>,
) -> Result<Option<Score>, TrainError> {
    let (images, norm) = (&search.images.data.train, search.images.data.norm());
    let (mut loss, mut count) = (0.0, Count::default());
    for (i, batch) in (0..).zip(rdarts_data::eval_batches(images, range, search.spec.search.batch, &norm)) {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let batch = batch.map_err(TrainError::failed)?;
        let noise = noise(i, batch.n);
        let evaluation = evaluator.evaluate(as_batch(&batch, &noise));
        loss += evaluation.loss * batch.n as f64;
        count += evaluation.count;
    }
    Ok(Some(Score { loss: loss / count.n as f64, accuracy: count.mean() }))
}

/// Mixing weights that take only what is selected.
fn one_hot(edges: &[Vec<Op>], selected: &Selection) -> Vec<f64> {
    let pick = |(ops, chosen): (&Vec<Op>, &Option<usize>)| -> Vec<f64> {
        (0..ops.len()).map(|k| if *chosen == Some(k) { 1.0 } else { 0.0 }).collect()
    };
    edges.iter().zip(selected).flat_map(pick).collect()
}
