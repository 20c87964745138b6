//! What is measured when an epoch is over: the accuracy of the supernet and of its discretised child, and the
//! dominant eigenvalue of the alpha-Hessian.
//!
//! The supernet is evaluated with the statistics of each batch, as it was trained; there is no other state in it.
//! The child keeps, of each node, the two edges and the operations that the genotype takes, with weight one, and
//! the supernet's weights: the drop from the supernet's accuracy to its child's is what the paper's figure 5
//! relates to the eigenvalue.

use std::sync::atomic::{AtomicBool, Ordering};

use rdarts_net::{AlphaHessian, Alphas, Point, forward, forward_mixed};
use rdarts_rng::Stream;
use rdarts_run::HessianMode;
use rdarts_space::{Genotype, Selection, derive, selection};

use crate::error::SearchError;
use crate::lanczos::{Dominant, SymmetricOperator, dominant};
use crate::problem::{Problem, as_batch};
use crate::state::State;

/// Mean loss and fraction of correct images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Mean cross-entropy.
    pub loss: f64,
    /// Fraction in [0, 1].
    pub accuracy: f64,
}

/// The genotype that the alphas stand for.
pub fn genotype(problem: &Problem, state: &State) -> Genotype {
    let (normal, reduce) = state.alphas.split_at(problem.n_alphas()[0]);
    derive(&problem.space, normal, reduce)
}

/// The supernet on the images that train the alphas; `None` if `stop` was set meanwhile.
///
/// # Errors
/// One sentence if the images are in a file that cannot be read any more.
pub fn score_supernet(
    problem: &Problem,
    state: &State,
    epoch: usize,
    stop: &AtomicBool,
) -> Result<Option<Score>, SearchError> {
    let alphas = state.network_alphas(problem);
    score(problem, state, epoch, stop, |at, batch| forward(Point { alphas: &alphas, ..at }, batch))
}

/// The child of the present alphas on the same images.
///
/// # Errors
/// As for [`score_supernet`].
pub fn score_child(
    problem: &Problem,
    state: &State,
    epoch: usize,
    stop: &AtomicBool,
) -> Result<Option<Score>, SearchError> {
    let child = genotype(problem, state);
    let (normal, reduce) = selection(&problem.space, &child).expect("a derived genotype lies in its space");
    let p = Alphas { normal: one_hot(&problem.space.normal, &normal), reduce: one_hot(&problem.space.reduce, &reduce) };
    score(problem, state, epoch, stop, |at, batch| forward_mixed(at.net, at.device, at.weights, &p, batch))
}

fn score(
    problem: &Problem,
    state: &State,
    epoch: usize,
    stop: &AtomicBool,
    evaluate: impl Fn(Point<'_, f32>, rdarts_net::Batch<'_, f32>) -> rdarts_net::Evaluation,
) -> Result<Option<Score>, SearchError> {
    let spec = &problem.spec;
    let mut range = problem.split.valid.clone();
    if spec.data.valid_limit > 0 {
        range.end = range.end.min(range.start + spec.data.valid_limit);
    }
    let unused = Alphas::zeros(&problem.net);
    let at = Point { net: &problem.net, device: &problem.device, weights: &state.weights, alphas: &unused };
    let norm = problem.data.norm();
    let (mut loss, mut correct, mut seen) = (0.0, 0, 0);
    for (i, batch) in rdarts_data::eval_batches(&problem.data.train, range, spec.search.batch, &norm).enumerate() {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let batch = batch.map_err(SearchError::failed)?;
        let position = (epoch << 20) as u64 + i as u64;
        let noise = problem.noise(state.at.attempt, None, "noise-eval", position, batch.n);
        let evaluation = evaluate(at, as_batch(&batch, &noise));
        loss += evaluation.loss * batch.n as f64;
        correct += evaluation.correct;
        seen += batch.n;
    }
    Ok(Some(Score { loss: loss / seen as f64, accuracy: correct as f64 / seen as f64 }))
}

/// The alpha-Hessian after `epoch`: on its last batch of alphas, drop path active, as in the released code.
///
/// # Errors
/// As for [`score_supernet`].
pub fn hessian(problem: &Problem, state: &State, epoch: usize) -> Result<AlphaHessian, SearchError> {
    let attempt = state.at.trained_attempt;
    let batch = problem.last_alpha_batch(attempt, epoch)?;
    let noise = problem.noise(attempt, Some(epoch), "noise-hessian", epoch as u64, batch.n);
    let alphas = state.network_alphas(problem);
    let at = Point { net: &problem.net, device: &problem.device, weights: &state.weights, alphas: &alphas };
    Ok(AlphaHessian::new(at, as_batch(&batch, &noise)))
}

/// Dominant eigenvalue with its bound, to the relative tolerance of the spec.
///
/// # Errors
/// As for [`score_supernet`].
pub fn eigenvalue(problem: &Problem, state: &State, epoch: usize, tolerance: f64) -> Result<Dominant, SearchError> {
    let hessian = hessian(problem, state, epoch)?;
    let mut stream = Stream::new(problem.seed(state.at.trained_attempt), "lanczos", epoch as u64);
    let mut found = largest_eigenvalue(&hessian, tolerance, &mut stream);
    found.value += diagonal(problem);
    Ok(found)
}

/// What the mode of the spec adds to the diagonal: the weight decay of the alphas in `reference`, as in the
/// released code, nothing in `plain`.
pub fn diagonal(problem: &Problem) -> f64 {
    match problem.spec.hessian.mode {
        HessianMode::Reference => problem.spec.alphas.l2,
        HessianMode::Plain => 0.0,
    }
}

/// Rounding of single-precision Hessian-vector products, relative to the largest eigenvalue in absolute value. On the
/// 24 random supernets of `tests/curvature.rs`, Lanczos run to the end and the full matrix differ by up to 4e-7.
pub const ROUNDING: f64 = 1e-5;

/// The largest eigenvalue of an alpha-Hessian, by Lanczos among the directions in which the loss can change
/// ([`AlphaHessian::range`]). Along the others it is zero, which is the largest where all those are negative.
pub fn largest_eigenvalue(hessian: &AlphaHessian, tolerance: f64, stream: &mut Stream) -> Dominant {
    let operator = InRange { hessian, basis: hessian.range() };
    let zero = Dominant { value: 0.0, bound: 0.0, n_products: 0, vector: vec![0.0; hessian.n()] };
    if operator.basis.is_empty() {
        return zero;
    }
    let found = dominant(&operator, tolerance, stream);
    if found.value < 0.0 {
        let bound = (found.value + found.bound).max(0.0);
        return Dominant { bound, n_products: found.n_products, ..zero };
    }
    Dominant { vector: operator.expand(&found.vector), ..found }
}

/// An [`AlphaHessian`] in the coordinates of its range.
struct InRange<'a> {
    hessian: &'a AlphaHessian,
    /// Orthonormal.
    basis: Vec<Vec<f64>>,
}

impl InRange<'_> {
    fn expand(&self, coordinates: &[f64]) -> Vec<f64> {
        let mut v = vec![0.0; self.hessian.n()];
        for (b, x) in self.basis.iter().zip(coordinates) {
            v.iter_mut().zip(b).for_each(|(v, b)| *v += x * b);
        }
        v
    }
}

impl SymmetricOperator for InRange<'_> {
    fn n(&self) -> usize {
        self.basis.len()
    }
    fn apply(&self, v: &[f64]) -> Vec<f64> {
        let product = self.hessian.apply(&self.expand(v));
        self.basis.iter().map(|b| b.iter().zip(&product).map(|(b, p)| b * p).sum()).collect()
    }
    fn rounding(&self) -> f64 {
        ROUNDING
    }
}

/// Mixing weights that take only what is selected.
fn one_hot(edges: &[Vec<rdarts_space::Op>], selected: &Selection) -> Vec<f64> {
    let pick = |(ops, chosen): (&Vec<rdarts_space::Op>, &Option<usize>)| -> Vec<f64> {
        (0..ops.len()).map(|k| if *chosen == Some(k) { 1.0 } else { 0.0 }).collect()
    };
    edges.iter().zip(selected).flat_map(pick).collect()
}
