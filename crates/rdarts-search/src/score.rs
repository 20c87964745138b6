//! What the supernet and its discretised child make of the images that train the alphas, after an epoch.
//!
//! The supernet is evaluated with the statistics of each batch, as it was trained; there is no other state in it.
//! The child keeps, of each node, the two edges and the operations that the genotype takes, with weight one, and
//! the supernet's weights: the drop from the supernet's accuracy to its child's is what the paper's figure 5
//! relates to the eigenvalue.

use std::sync::atomic::{AtomicBool, Ordering};

use rdarts_net::{Alphas, Count, Evaluator, Point};
use rdarts_space::{Op, Selection, selection};
use rdarts_train::TrainError;
use rdarts_train::images::as_batch;

use crate::State;
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
    score(search, state.at.attempt, epoch, stop, &Evaluator::supernet(at))
}

/// The child of the present alphas on the same images.
///
/// # Errors
/// As for [`score_supernet`].
pub fn score_child(
    search: &Search,
    state: &State,
    epoch: usize,
    stop: &AtomicBool,
) -> Result<Option<Score>, TrainError> {
    let child = state.extra.genotype(&search.space);
    let (normal, reduce) = selection(&search.space, &child).expect("a derived genotype lies in its space");
    let p = Alphas::from([one_hot(&search.space.normal, &normal), one_hot(&search.space.reduce, &reduce)]);
    score(search, state.at.attempt, epoch, stop, &Evaluator::mixed(&search.net, &search.engine, &state.weights, &p))
}

fn score(
    search: &Search,
    attempt: usize,
    epoch: usize,
    stop: &AtomicBool,
    evaluator: &Evaluator<f32>,
) -> Result<Option<Score>, TrainError> {
    let (spec, images, streams) = (&search.spec, &search.images, search.streams(attempt));
    let mut range = images.split.valid.clone();
    if spec.data.valid_limit > 0 {
        range.end = range.end.min(range.start + spec.data.valid_limit);
    }
    let norm = images.data.norm();
    let (mut loss, mut count) = (0.0, Count::default());
    for (i, batch) in rdarts_data::eval_batches(&images.data.train, range, spec.search.batch, &norm).enumerate() {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let batch = batch.map_err(TrainError::failed)?;
        let position = (epoch << 20) as u64 + i as u64;
        let noise = streams.noise(&search.net, 0.0, "noise-eval", position, batch.n);
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
