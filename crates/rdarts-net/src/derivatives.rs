//! First derivatives of the supernet's loss on flat buffers, and the unrolled architecture gradient.
//!
//! Each function is one pass over one batch and computes what its name says and nothing else: the weights stay
//! off the tape in [`alpha_gradient`], the mixing weights in [`weight_gradient`]. Softmax and losses
//! live outside the tape in double precision ([`crate::mixing`], [`crate::task`]); the tape is seeded with dL/dz.
//!
//! The unrolled gradient (DARTS paper, equations 5 to 8) of L_valid(w'(alpha), alpha), with
//! w' = w - xi (mu b + dL_train/dw + l2 w), is
//!
//! ```text
//! dL_valid/dalpha (w', alpha) - xi d2L_train/(dalpha dw) dL_valid/dw'
//! ```
//!
//! exact in [`unrolled_gradient`] (the mixed product is a reverse pass over a dual program), by the published
//! finite difference in [`unrolled_gradient_difference`]. Regularisation of alpha belongs to its optimiser.

use std::marker::PhantomData;
use std::sync::Arc;

use burn::tensor::Tensor;
use rdarts_kernels::cell::in_pool;
use rdarts_kernels::spec::CellNoise;

use crate::calls::{GivenStatistics, Statistics};
use crate::chain::{Chain, NEVER};
use crate::curvature::mixed_product;
use crate::engine::Engine;
use crate::flow::{Asked, Laid, flow};
use crate::graph::{Network, Node};
use crate::held::{Held, Made, Values, View};
use crate::point::{Batch, Evaluation, Here, Point};
use crate::tape::{
    Collected, Forward, Inputs, Tracked, copied, download, evaluate, seeded_backward, take_p_bar, upload_images,
    upload_reals,
};
use crate::values::{Alphas, Real};

/// A network that is only evaluated: its weights are laid out once, for any number of batches.
pub struct Evaluator<R: Real> {
    net: Network,
    engine: Engine,
    /// Taken when this is dropped; none of a network of layers.
    inputs: Option<Inputs>,
    /// Of a network of layers.
    layers: Option<Laid<R>>,
    /// Of a discrete network, node by node.
    statistics: Vec<Statistics>,
    real: PhantomData<R>,
}

impl<R: Real> Evaluator<R> {
    /// The supernet, mixed by the softmax of its alphas.
    pub fn supernet<V: Values<R> + ?Sized>(at: Point<V>) -> Self {
        Self::of(at.net.clone(), at.engine, at.weights.view(), &at.alphas.softmax(at.net))
    }

    /// For mixing weights `p` as they are, without softmax: one-hot ones evaluate a discrete network with the
    /// supernet's weights. An operation of weight zero is not computed. `weights` are all of the supernet, flat.
    pub fn mixed<V: Values<R> + ?Sized>(net: &Network, engine: &Engine, weights: &V, p: &Alphas) -> Self {
        let workspace = engine.kernels.workspace();
        let (pruned, p, weights) = net.pruned_view(workspace, p, weights.view());
        let evaluator = Self::of(pruned, engine, weights.view(), &p);
        weights.give_back(workspace);
        evaluator
    }

    /// For mixing weights `p` as they are.
    fn of(net: Network, engine: &Engine, weights: View<R>, p: &Alphas) -> Self {
        let is_dense = net.is_dense();
        let inputs = (!is_dense).then(|| Inputs::of(&net, p, weights, engine, Tracked::Nothing));
        let layers = is_dense.then(|| Laid::of(&net, engine, weights, p));
        Self { net, engine: engine.clone(), inputs, layers, statistics: Vec::new(), real: PhantomData }
    }

    /// A discrete network with running statistics in place of the batch's; its auxiliary head, if it has one, is left out.
    /// `weights` and `running` may be those of the network with that head.
    pub fn discrete<V: Values<R> + ?Sized>(net: &Network, engine: &Engine, weights: &V, running: &[f64]) -> Self {
        let (weights, n_with_head, net) = (weights.view(), net.n_parameters(), net.without_auxiliary());
        assert!([n_with_head, net.n_parameters()].contains(&weights.len()), "the flat weights do not fit the network");
        if net.is_dense() {
            let (net, weights) = net.with_given_norms(weights.slice(), running);
            let p = net.ones();
            return Self::of(net, engine, View::Slice(&weights), &p);
        }
        let inputs = Inputs::of_first(&net, &net.ones(), weights, engine, Tracked::Nothing);
        let of = |node: &Node| Statistics::Given(Arc::new(GivenStatistics::of(node.running_part(running).to_vec())));
        let statistics = net.nodes().iter().map(of).collect();
        Self { net, engine: engine.clone(), inputs: Some(inputs), layers: None, statistics, real: PhantomData }
    }

    /// The outputs for images (n, h, w, c_image), (n, values of an image): of a classification the logits.
    pub fn outputs(&self, images: &[R], n: usize, side: [usize; 2]) -> Vec<f64> {
        if let Some(laid) = &self.layers {
            return laid.outputs(&self.net, images, n, side);
        }
        let size = [n, side[0], side[1], self.net.c_image()];
        assert_eq!(images.len(), size.iter().product::<usize>(), "the images are not {size:?}");
        let images = copied(self.engine.kernels.workspace(), images);
        download(self.forward(upload_reals::<R, 4>(images, size, &self.engine.device), &[]).into_data())
    }

    fn forward(&self, images: Tensor<4>, noise: &[Arc<CellNoise>]) -> Tensor<2> {
        let inputs = self.inputs.as_ref().expect("there until this is dropped");
        let mut forward = Forward::plain(&self.engine.kernels, &self.net, noise, false);
        forward.statistics.clone_from(&self.statistics);
        if !self.engine.is_cpu() {
            return forward.run(images, inputs).0;
        }
        // All cells on one thread of the pool: begun from outside, each of them would wake one up.
        in_pool(|| forward.run(images, inputs).0)
    }

    /// The loss of a batch; its noise is that of the unpruned cells.
    pub fn evaluate(&self, batch: Batch<R>) -> Evaluation {
        if self.layers.is_some() {
            let outputs = self.outputs(batch.images.slice(), batch.targets.n(), batch.side);
            let loss = batch.targets.loss(&outputs);
            return Evaluation::new(outputs, &*loss);
        }
        let images = upload_images(&self.net, batch, &self.engine);
        evaluate(&self.forward(images, batch.noise), batch.targets).0
    }
}

impl<R: Real> Drop for Evaluator<R> {
    fn drop(&mut self) {
        if let Some(inputs) = self.inputs.take() {
            inputs.recycle::<R>(&self.engine);
        }
    }
}

/// The loss of one batch without derivatives.
pub fn forward<R: Real, V: Values<R> + ?Sized>(at: Point<V>, batch: Batch<R>) -> Evaluation {
    Evaluator::supernet(at).evaluate(batch)
}

/// Like [`Evaluator::mixed`], for one batch.
pub fn forward_mixed<R: Real, V: Values<R> + ?Sized>(
    net: &Network,
    engine: &Engine,
    weights: &V,
    p: &Alphas,
    batch: Batch<R>,
) -> Evaluation {
    Evaluator::mixed(net, engine, weights, p).evaluate(batch)
}

/// dL/dalpha. The weights stay off the tape.
pub fn alpha_gradient<R: Real, V: Values<R> + ?Sized>(at: Point<V>, batch: Batch<R>) -> (Evaluation, Alphas) {
    let (evaluation, alphas, _) = gradients(at.here(), batch, Tracked::Alphas);
    (evaluation, alphas)
}

/// dL/dw, flat. The mixing weights stay off the tape. Who is done with the gradient may hand it to
/// [`Real::give_back`], for the next step to take.
pub fn weight_gradient<R: Real, V: Values<R> + ?Sized>(at: Point<V>, batch: Batch<R>) -> (Evaluation, Vec<R>) {
    let (evaluation, _, weights) = gradients(at.here(), batch, Tracked::Weights);
    (evaluation, weights.into_vec())
}

/// The same where the weights lie.
pub fn held_weight_gradient(at: Point<Held>, batch: Batch<f32>) -> (Evaluation, Held) {
    let (evaluation, _, weights) = gradients(at.here(), batch, Tracked::Weights);
    (evaluation, weights.into_held())
}

/// dL/dw, flat, for mixing weights `p` as they are, without softmax. An operation of weight zero is not computed: its
/// weights have no part in the loss, so their gradient is zero. The noise of the batch is that of the unpruned cells.
pub fn weight_gradient_mixed<R: Real, V: Values<R> + ?Sized>(
    net: &Network,
    engine: &Engine,
    weights: &V,
    p: &Alphas,
    batch: Batch<R>,
) -> (Evaluation, Vec<R>) {
    let (evaluation, gradient) = of_pruned(net, engine, weights.view(), p, batch);
    (evaluation, gradient.into_vec())
}

/// The same where the weights lie.
pub fn held_weight_gradient_mixed(
    net: &Network,
    engine: &Engine,
    weights: &Held,
    p: &Alphas,
    batch: Batch<f32>,
) -> (Evaluation, Held) {
    let (evaluation, gradient) = of_pruned(net, engine, weights.view(), p, batch);
    (evaluation, gradient.into_held())
}

fn of_pruned<R: Real>(
    net: &Network,
    engine: &Engine,
    weights: View<R>,
    p: &Alphas,
    batch: Batch<R>,
) -> (Evaluation, Made<R>) {
    let workspace = engine.kernels.workspace();
    let (pruned, pruned_p, kept) = net.pruned_view(workspace, p, weights);
    let (evaluation, _, of_kept) = mixed_gradients(&pruned, engine, kept.view(), &pruned_p, batch, Tracked::Weights);
    let gradient = net.unpruned(workspace, p, &pruned, of_kept.view(), weights);
    kept.give_back(workspace);
    of_kept.give_back(workspace);
    (evaluation, gradient)
}

/// dL/dp for mixing weights `p` as they are, without softmax, of all operations: also of those of weight zero.
pub fn mixing_gradient<R: Real, V: Values<R> + ?Sized>(
    net: &Network,
    engine: &Engine,
    weights: &V,
    p: &Alphas,
    batch: Batch<R>,
) -> (Evaluation, Alphas) {
    let (evaluation, p_bar, _) = mixed_gradients(net, engine, weights.view(), p, batch, Tracked::Alphas);
    (evaluation, p_bar)
}

/// Like [`mixing_gradient`], but operations of weight zero are not computed: their part of the gradient is left zero. The
/// noise of the batch is that of the unpruned cells.
pub fn drawn_gradient<R: Real, V: Values<R> + ?Sized>(
    net: &Network,
    engine: &Engine,
    weights: &V,
    p: &Alphas,
    batch: Batch<R>,
) -> (Evaluation, Alphas) {
    let workspace = engine.kernels.workspace();
    let (pruned, pruned_p, kept) = net.pruned_view(workspace, p, weights.view());
    let (evaluation, of_kept, _) = mixed_gradients(&pruned, engine, kept.view(), &pruned_p, batch, Tracked::Alphas);
    kept.give_back(workspace);
    let spread = |(p, of_kept): (&Vec<f64>, &Vec<f64>)| {
        let mut of_kept = of_kept.iter();
        p.iter().map(|p| if *p == 0.0 { 0.0 } else { *of_kept.next().expect("one for each that is kept") }).collect()
    };
    (evaluation, p.each().iter().zip(of_kept.each()).map(spread).collect())
}

/// dL/dalpha and dL/dw of one pass.
pub fn both_gradients<R: Real, V: Values<R> + ?Sized>(at: Point<V>, batch: Batch<R>) -> (Evaluation, Alphas, Vec<R>) {
    let (evaluation, alphas, weights) = gradients(at.here(), batch, Tracked::Both);
    (evaluation, alphas, weights.into_vec())
}

/// The step of the weights that the unrolled gradient looks through:
/// w' = w - xi (mu b + dL_train/dw + l2 w).
#[derive(Clone, Copy, Debug)]
pub struct InnerStep<'a, R> {
    /// Learning rate.
    pub xi: f64,
    /// Weight decay.
    pub l2: f64,
    /// Momentum mu.
    pub momentum: f64,
    /// Momentum buffer b; none before the first step.
    pub buffer: Option<View<'a, R>>,
}

/// The gradient of L_valid(w'(alpha), alpha), exactly. The evaluation is that of the validation batch at w'.
pub fn unrolled_gradient<R: Real, V: Values<R> + ?Sized>(
    at: Point<V>,
    train: Batch<R>,
    valid: Batch<R>,
    step: InnerStep<R>,
) -> (Evaluation, Alphas) {
    let at = at.here();
    if at.net.is_dense() {
        let asked = Asked { alphas: false, weights: true, keep: true };
        let p = at.alphas.softmax(at.net);
        let mut flow = flow(at.net, at.engine, at.weights, &p, train, asked, &NEVER);
        let grad = flow.take_w_bar();
        return unrolled(at, grad.view(), valid, step, |v| p.jacobian(at.net, &flow.mixed(v)));
    }
    if Chain::fits::<R>(at) {
        // The gradient of the training loss has been sent back already when its mixed product is due.
        let chain = Chain::new(at, train, true, &NEVER);
        let grad: Vec<R> = chain.weight_gradient().iter().map(|g| R::from_f64(f64::from(*g))).collect();
        let p = at.alphas.softmax(at.net);
        return unrolled(at, View::Slice(&grad), valid, step, |v| p.jacobian(at.net, &chain.mixed(v.slice())));
    }
    let (_, _, grad) = gradients(at, train, Tracked::Weights);
    unrolled(at, grad.view(), valid, step, |v| mixed_product(at, train, v))
}

/// The radius of the published finite difference (DARTS paper, equation 8 and its footnote).
pub const PUBLISHED_RADIUS: f64 = 0.01;

/// The same with a finite difference for the mixed product: dL_train/dalpha at w +- eps v, eps = radius / |v|,
/// as published with [`PUBLISHED_RADIUS`]. A radius that wide steps over kinks of relu and max pool.
pub fn unrolled_gradient_difference<R: Real, V: Values<R> + ?Sized>(
    at: Point<V>,
    train: Batch<R>,
    valid: Batch<R>,
    step: InnerStep<R>,
    radius: f64,
) -> (Evaluation, Alphas) {
    let at = at.here();
    let (_, _, grad) = gradients(at, train, Tracked::Weights);
    unrolled(at, grad.view(), valid, step, |v| {
        let eps = radius / norm(v).max(f64::MIN_POSITIVE);
        let shifted = |eps: f64| {
            let weights = shifted(at.weights, v, eps);
            gradients(Here { weights: weights.view(), ..at }, train, Tracked::Alphas).1
        };
        shifted(eps).combined(0.5 / eps, &shifted(-eps), -0.5 / eps)
    })
}

/// The 2-norm.
fn norm<R: Real>(v: View<R>) -> f64 {
    #[cfg(feature = "gpu")]
    if let Some(v) = v.card() {
        return v.norm();
    }
    v.slice().iter().map(|v| v.to_f64().powi(2)).sum::<f64>().sqrt()
}

/// w + eps v.
fn shifted<R: Real>(weights: View<R>, v: View<R>, eps: f64) -> Made<R> {
    #[cfg(feature = "gpu")]
    if let (Some(w), Some(v)) = (weights.card(), v.card()) {
        return Made::Card(Held::on_card(w.moved(v, None, [-eps, 0.0, 0.0])));
    }
    let of = |(w, v): (&R, &R)| R::from_f64(w.to_f64() + eps * v.to_f64());
    Made::Host(weights.slice().iter().zip(v.slice()).map(of).collect())
}

/// w - xi (mu b + g + l2 w).
fn stepped<R: Real>(weights: View<R>, grad: View<R>, step: InnerStep<R>) -> Made<R> {
    #[cfg(feature = "gpu")]
    if let (Some(w), Some(g)) = (weights.card(), grad.card()) {
        let up = |b: View<R>| {
            let values: Vec<f32> = b.slice().iter().map(|b| b.to_f64() as f32).collect();
            rdarts_gpu::Flat::upload(w.client(), w.layout(), &values)
        };
        let b = step.buffer.map(|b| b.card().cloned().unwrap_or_else(|| up(b)));
        return Made::Card(Held::on_card(w.moved(g, b.as_ref(), [step.xi, step.momentum, step.l2])));
    }
    let (weights, grad, buffer) = (weights.slice(), grad.slice(), step.buffer.map(View::slice));
    let of = |i: usize| {
        let w = weights[i].to_f64();
        let momentum = buffer.map_or(0.0, |b| step.momentum * b[i].to_f64());
        R::from_f64(w - step.xi * (momentum + grad[i].to_f64() + step.l2 * w))
    };
    Made::Host((0..grad.len()).map(of).collect())
}

/// Given the gradient of the training loss with respect to the weights.
fn unrolled<R: Real>(
    at: Here<R>,
    grad: View<R>,
    valid: Batch<R>,
    step: InnerStep<R>,
    mixed: impl FnOnce(View<R>) -> Alphas,
) -> (Evaluation, Alphas) {
    let moved = stepped(at.weights, grad, step);
    let (evaluation, direct, v) = gradients(Here { weights: moved.view(), ..at }, valid, Tracked::Both);
    (evaluation, direct.combined(1.0, &mixed(v.view()), -step.xi))
}

fn gradients<R: Real>(at: Here<R>, batch: Batch<R>, tracked: Tracked) -> (Evaluation, Alphas, Made<R>) {
    let p = at.alphas.softmax(at.net);
    let (evaluation, p_bar, weights) = mixed_gradients(at.net, at.engine, at.weights, &p, batch, tracked);
    let alphas = if tracked.alphas() { p.jacobian(at.net, &p_bar) } else { p_bar };
    (evaluation, alphas, weights)
}

/// The loss, dL/dp and dL/dw; zeros for dL/dp and nothing for dL/dw where they are not tracked.
fn mixed_gradients<R: Real>(
    net: &Network,
    engine: &Engine,
    weights: View<R>,
    p: &Alphas,
    batch: Batch<R>,
    tracked: Tracked,
) -> (Evaluation, Alphas, Made<R>) {
    if net.is_dense() {
        let asked = Asked { alphas: tracked.alphas(), weights: tracked.weights(), keep: false };
        let mut flow = flow(net, engine, weights, p, batch, asked, &NEVER);
        let p_bar = if tracked.alphas() { flow.p_bar().clone() } else { Alphas::zeros(net) };
        return (flow.evaluation().clone(), p_bar, flow.take_w_bar());
    }
    let (engine, workspace) = (engine.tracked(), engine.kernels.workspace());
    let inputs = Inputs::of(net, p, weights, &engine, tracked);
    let images = upload_images(net, batch, &engine);
    let collected = Collected::of(net, weights, tracked.weights());
    let mut forward = Forward::plain(&engine.kernels, net, batch.noise, true);
    forward.gradients.clone_from(&collected.slots);
    let logits = forward.run(images, &inputs).0;
    let (evaluation, loss) = evaluate(&logits, batch.targets);
    let mut grads = seeded_backward(logits, loss.gradient());
    let p_bar = match tracked.alphas() {
        true => take_p_bar(&inputs, &mut grads, &p.n_each()),
        false => Alphas::zeros(net),
    };
    let gradient = match tracked.weights() {
        true => collected.take(net, &inputs, &mut grads, workspace),
        false => Made::Host(Vec::new()),
    };
    inputs.recycle::<R>(&engine);
    (evaluation, p_bar, gradient)
}

#[cfg(test)]
mod tests {
    use rdarts_rng::Stream;
    use rdarts_space::Op;

    use super::*;
    use crate::{SupernetSpec, Targets};

    const SIDE: [usize; 2] = [10, 8];
    const N: usize = 3;

    /// Two nodes and every kind of operation on each of the five edges.
    fn network() -> Network {
        let edges = vec![vec![Op::None, Op::Noise, Op::MaxPool3x3, Op::SkipConnect, Op::SepConv3x3, Op::DilConv5x5]; 5];
        Network::supernet(SupernetSpec {
            cells: 3,
            c: 4,
            stem_multiplier: 3,
            reductions: vec![1],
            nodes: 2,
            normal: edges.clone(),
            reduce: edges,
            c_image: 3,
            classes: 4,
        })
    }

    /// One-hot mixing weights of the operations on edges 0, 1, 2, 3, 4 of the normal and of the reduction cell.
    fn one_hot(chosen: [[Option<usize>; 5]; 2]) -> Alphas {
        let edge = |op: Option<usize>| (0..6).map(move |i| if op == Some(i) { 1.0 } else { 0.0 });
        chosen.into_iter().map(|cell| cell.into_iter().flat_map(edge).collect()).collect()
    }

    /// The gradient that leaves out operations of weight zero, and that of the whole supernet with the same weights.
    fn both<R: Real>(p: &Alphas) -> [(Evaluation, Vec<f64>); 2] {
        let (net, engine) = (network(), Engine::cpu());
        let mut s = Stream::new(5, "test", 0);
        let weights: Vec<R> = net.init(5).into_iter().map(|w| R::from_f64(f64::from(w))).collect();
        let images: Vec<R> = (0..N * SIDE[0] * SIDE[1] * 3).map(|_| R::from_f64(s.normal())).collect();
        let drop_path = (0..5 * N).map(|i| if i % 4 == 0 { 0.0 } else { 1.25 }).collect();
        let noise = Arc::new(CellNoise { drop_path, noise_key: 9 });
        let noise = vec![noise; 3];
        let batch = Batch { images: (&images).into(), side: SIDE, targets: Targets::Labels(&[0, 3, 1]), noise: &noise };
        let wide = |(evaluation, gradient): (Evaluation, Vec<R>)| {
            (evaluation, gradient.into_iter().map(Real::to_f64).collect::<Vec<f64>>())
        };
        let (evaluation, _, whole) = mixed_gradients(&net, &engine, View::Slice(&weights), p, batch, Tracked::Weights);
        [wide(weight_gradient_mixed(&net, &engine, &weights, p, batch)), wide((evaluation, whole.into_vec()))]
    }

    #[test]
    fn the_gradient_of_what_was_drawn_is_that_of_the_whole_supernet_there() {
        let (net, engine) = (network(), Engine::cpu());
        let mut s = Stream::new(6, "test", 0);
        let weights: Vec<f64> = net.init(5).into_iter().map(f64::from).collect();
        let images: Vec<f64> = (0..N * SIDE[0] * SIDE[1] * 3).map(|_| s.normal()).collect();
        let noise = Arc::new(CellNoise { drop_path: vec![1.0; 5 * N], noise_key: 9 });
        let noise = vec![noise; 3];
        let batch = Batch { images: (&images).into(), side: SIDE, targets: Targets::Labels(&[0, 3, 1]), noise: &noise };
        let mut p =
            one_hot([[Some(4), Some(2), Some(3), Some(5), Some(3)], [Some(5), Some(3), Some(4), Some(2), Some(1)]]);
        p.each_mut()[0][4] = 0.7;
        let (of_drawn, drawn) = drawn_gradient(&net, &engine, &weights, &p, batch);
        let (of_whole, whole) = mixing_gradient(&net, &engine, &weights, &p, batch);
        assert!((of_drawn.loss - of_whole.loss).abs() < 1e-12);
        for ((drawn, whole), p) in drawn.flat().into_iter().zip(whole.flat()).zip(p.flat()) {
            let expected = if p == 0.0 { 0.0 } else { whole };
            assert!((drawn - expected).abs() < 1e-12, "{drawn} for {expected}");
        }
        assert!(drawn.flat().iter().filter(|g| **g != 0.0).count() >= 8 && whole.flat().iter().all(|g| g.is_finite()));
        // And that is the slope of the loss, also where the weight is zero.
        for i in [4, 8, 20] {
            let moved = |h: f64| {
                let mut p = p.clone();
                p.each_mut()[0][i] += h;
                mixing_gradient(&net, &engine, &weights, &p, batch).0.loss
            };
            let slope = (moved(1e-6) - moved(-1e-6)) / 2e-6;
            assert!((slope - whole.of(0)[i]).abs() < 1e-5 * slope.abs().max(0.1), "{slope} for {}", whole.of(0)[i]);
        }
    }

    #[test]
    fn operations_of_weight_zero_have_no_part_in_the_gradient_of_the_weights() {
        let points = [
            // Two edges into each node: convolutions and pools, noise and `none` beside a convolution.
            [[Some(4), Some(2), None, Some(5), Some(3)], [Some(5), Some(3), Some(4), Some(2), None]],
            [[Some(1), Some(4), Some(0), None, Some(5)], [Some(4), Some(0), None, Some(4), Some(1)]],
            // A node of `none` alone; then cells of nothing else, which no gradient passes.
            [[Some(4), Some(3), Some(0), Some(0), None], [Some(0), Some(0), None, Some(4), Some(4)]],
            [[Some(0), Some(0), Some(0), None, Some(0)], [Some(4), Some(3), None, Some(4), Some(2)]],
        ];
        for chosen in points {
            let p = one_hot(chosen);
            check(both::<f64>(&p), 1e-12);
            check(both::<f32>(&p), 2e-5);
        }
    }

    fn check([(pruned, a), (whole, b)]: [(Evaluation, Vec<f64>); 2], tolerance: f64) {
        assert!((pruned.loss - whole.loss).abs() < tolerance, "{} {}", pruned.loss, whole.loss);
        assert_eq!(a.len(), b.len());
        let largest = b.iter().fold(0f64, |m, g| m.max(g.abs()));
        assert!(largest > 1e-3, "a comparison of zeros");
        let off = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / largest;
        assert!(off < tolerance, "{off:.1e}");
        assert!(a.iter().filter(|g| **g == 0.0).count() > a.len() / 2, "most operations are left out");
    }
}
