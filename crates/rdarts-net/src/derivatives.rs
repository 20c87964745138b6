//! First derivatives of the supernet's loss on flat buffers, and the unrolled architecture gradient.
//!
//! Each function is one pass over one batch and computes what its name says and nothing else: the weights stay
//! off the tape in [`alpha_gradient`], the mixing weights in [`weight_gradient`]. Softmax and cross entropy
//! live outside the tape in double precision ([`crate::mixing`], [`rdarts_kernels::loss`]); the tape is seeded with dL/dz.
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

use burn::tensor::{DType, Device, Element, Gradients, Tensor, TensorData};
use rdarts_kernels::buffers;
use rdarts_kernels::loss::CrossEntropy;
use rdarts_kernels::spec::CellNoise;

use crate::chain::Chain;
use crate::curvature::mixed_hvp;
use crate::mixing::{jacobian, softmax};
use crate::ops::{self, CellCall, HeadCall, Ledger, Mode, Slot, StemCall};
use crate::supernet::{CellKind, Module, ModuleSpec, Supernet};

/// The float types weights and images may have: `f32` to search, `f64` to check.
pub trait Real: Element + Copy + Send + Sync + 'static {
    /// Widens.
    fn to_f64(self) -> f64;
    /// Rounds.
    fn from_f64(value: f64) -> Self;
    /// A vector of `len` values with unspecified contents.
    fn take(len: usize) -> Vec<Self> {
        vec![Self::from_f64(0.0); len]
    }
    /// Where a vector goes that nobody needs any more.
    fn give_back(_: Vec<Self>) {}
}

impl Real for f32 {
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
    fn from_f64(value: f64) -> Self {
        value as f32
    }
    fn take(len: usize) -> Vec<Self> {
        buffers::take_vec(len)
    }
    fn give_back(values: Vec<Self>) {
        buffers::give_back(values);
    }
}

impl Real for f64 {
    fn to_f64(self) -> f64 {
        self
    }
    fn from_f64(value: f64) -> Self {
        value
    }
}

/// Architecture parameters, or anything that has one value for each (a gradient, a direction): flat in edge order.
#[derive(Clone, Debug, PartialEq)]
pub struct Alphas {
    /// Of the normal cells.
    pub normal: Vec<f64>,
    /// Of the reduction cells.
    pub reduce: Vec<f64>,
}

impl Alphas {
    /// Zeros for a supernet.
    pub fn zeros(net: &Supernet) -> Self {
        let [normal, reduce] = net.n_alphas();
        Self { normal: vec![0.0; normal], reduce: vec![0.0; reduce] }
    }

    /// Normal, then reduce.
    pub fn flat(&self) -> Vec<f64> {
        [&self.normal[..], &self.reduce].concat()
    }

    /// The inverse of [`Alphas::flat`].
    pub fn from_flat(net: &Supernet, flat: &[f64]) -> Self {
        let [normal, reduce] = net.n_alphas();
        assert_eq!(flat.len(), normal + reduce, "the supernet has {normal} + {reduce} architecture parameters");
        Self { normal: flat[..normal].to_vec(), reduce: flat[normal..].to_vec() }
    }

    /// The values of one kind of cell.
    pub fn of(&self, kind: CellKind) -> &[f64] {
        match kind {
            CellKind::Normal => &self.normal,
            CellKind::Reduce => &self.reduce,
        }
    }

    fn map(&self, net: &Supernet, f: impl Fn(CellKind, &[f64], &[usize]) -> Vec<f64>) -> Self {
        let of = |kind| f(kind, self.of(kind), &net.edge_sizes(kind));
        Self { normal: of(CellKind::Normal), reduce: of(CellKind::Reduce) }
    }

    /// p = softmax(alpha) of every edge.
    pub fn softmax(&self, net: &Supernet) -> Self {
        self.map(net, |_, alpha, sizes| softmax(alpha, sizes))
    }

    /// With `self` as mixing weights p: the softmax's Jacobian times `v`.
    pub fn jacobian(&self, net: &Supernet, v: &Self) -> Self {
        self.map(net, |kind, p, sizes| jacobian(p, v.of(kind), sizes))
    }
}

/// Where derivatives are taken.
#[derive(Clone, Copy, Debug)]
pub struct Point<'a, R> {
    /// The network.
    pub net: &'a Supernet,
    /// Where tensors live (without autodiff).
    pub device: &'a Device,
    /// All weights, flat.
    pub weights: &'a [R],
    /// The architecture parameters.
    pub alphas: &'a Alphas,
}

/// Images, labels and the constants of the step that sees them.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a, R> {
    /// (n, h, w, c_image).
    pub images: &'a [R],
    /// Rows and columns of an image.
    pub side: [usize; 2],
    /// n classes.
    pub labels: &'a [u32],
    /// Drop path and noise of each cell; empty for none.
    pub noise: &'a [Arc<CellNoise>],
}

/// What a forward pass says about a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// (n, classes).
    pub logits: Vec<f64>,
    /// Mean cross entropy.
    pub loss: f64,
    /// Images classified correctly.
    pub correct: usize,
}

/// A network that is only evaluated: its weights are laid out once, for any number of batches.
pub struct Evaluator<R: Real> {
    net: Supernet,
    device: Device,
    /// Taken when this is dropped.
    inputs: Option<Inputs>,
    real: PhantomData<R>,
}

impl<R: Real> Evaluator<R> {
    /// The supernet, mixed by the softmax of its alphas.
    pub fn supernet(at: Point<R>) -> Self {
        let inputs = Inputs::upload(at, at.device, Tracked::Nothing);
        Self { net: at.net.clone(), device: at.device.clone(), inputs: Some(inputs), real: PhantomData }
    }

    /// For mixing weights `p` as they are, without softmax: one-hot ones evaluate a discrete network with the
    /// supernet's weights. An operation of weight zero is not computed. `weights` are all of the supernet, flat.
    pub fn mixed(net: &Supernet, device: &Device, weights: &[R], p: &Alphas) -> Self {
        let (pruned, p, weights) = net.pruned(p, weights);
        let inputs = Inputs::of(&pruned, &p, &weights, device, Tracked::Nothing);
        R::give_back(weights);
        Self { net: pruned, device: device.clone(), inputs: Some(inputs), real: PhantomData }
    }

    /// The loss of a batch; its noise is that of the unpruned cells.
    pub fn evaluate(&self, batch: Batch<R>) -> Evaluation {
        let images = upload_images(&self.net, batch, &self.device);
        let inputs = self.inputs.as_ref().expect("there until this is dropped");
        let logits = Pass::plain(&self.net, batch.noise, false).run(images, inputs).0;
        evaluate(&logits, batch.labels).0
    }
}

impl<R: Real> Drop for Evaluator<R> {
    fn drop(&mut self) {
        if let Some(inputs) = self.inputs.take() {
            inputs.recycle::<R>();
        }
    }
}

/// The loss of one batch without derivatives.
pub fn forward<R: Real>(at: Point<R>, batch: Batch<R>) -> Evaluation {
    Evaluator::supernet(at).evaluate(batch)
}

/// Like [`Evaluator::mixed`], for one batch.
pub fn forward_mixed<R: Real>(
    net: &Supernet,
    device: &Device,
    weights: &[R],
    p: &Alphas,
    batch: Batch<R>,
) -> Evaluation {
    Evaluator::mixed(net, device, weights, p).evaluate(batch)
}

/// dL/dalpha. The weights stay off the tape.
pub fn alpha_gradient<R: Real>(at: Point<R>, batch: Batch<R>) -> (Evaluation, Alphas) {
    let (evaluation, alphas, _) = gradients(at, batch, Tracked::Alphas);
    (evaluation, alphas)
}

/// dL/dw, flat. The mixing weights stay off the tape. Who is done with the gradient may hand it to
/// [`Real::give_back`], for the next step to take.
pub fn weight_gradient<R: Real>(at: Point<R>, batch: Batch<R>) -> (Evaluation, Vec<R>) {
    let (evaluation, _, weights) = gradients(at, batch, Tracked::Weights);
    (evaluation, weights)
}

/// dL/dalpha and dL/dw of one pass.
pub fn both_gradients<R: Real>(at: Point<R>, batch: Batch<R>) -> (Evaluation, Alphas, Vec<R>) {
    gradients(at, batch, Tracked::Both)
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
    pub buffer: Option<&'a [R]>,
}

/// The gradient of L_valid(w'(alpha), alpha), exactly. The evaluation is that of the validation batch at w'.
pub fn unrolled_gradient<R: Real>(
    at: Point<R>,
    train: Batch<R>,
    valid: Batch<R>,
    step: InnerStep<R>,
) -> (Evaluation, Alphas) {
    if Chain::fits::<R>(at.device) {
        // The gradient of the training loss has been sent back already when its mixed product is due.
        let chain = Chain::new(at, train, true);
        let grad: Vec<R> = chain.weight_gradient().iter().map(|g| R::from_f64(f64::from(*g))).collect();
        let p = at.alphas.softmax(at.net);
        return unrolled(at, &grad, valid, step, |v| p.jacobian(at.net, &chain.mixed(v)));
    }
    let (_, grad) = weight_gradient(at, train);
    unrolled(at, &grad, valid, step, |v| mixed_hvp(at, train, v))
}

/// The radius of the published finite difference (DARTS paper, equation 8 and its footnote).
pub const PUBLISHED_RADIUS: f64 = 0.01;

/// The same with a finite difference for the mixed product: dL_train/dalpha at w +- eps v, eps = radius / |v|,
/// as published with [`PUBLISHED_RADIUS`]. A radius that wide steps over kinks of relu and max pool.
pub fn unrolled_gradient_difference<R: Real>(
    at: Point<R>,
    train: Batch<R>,
    valid: Batch<R>,
    step: InnerStep<R>,
    radius: f64,
) -> (Evaluation, Alphas) {
    let (_, grad) = weight_gradient(at, train);
    unrolled(at, &grad, valid, step, |v| {
        let norm = v.iter().map(|v| v.to_f64().powi(2)).sum::<f64>().sqrt();
        let eps = radius / norm.max(f64::MIN_POSITIVE);
        let shifted = |eps: f64| {
            let weights: Vec<R> =
                at.weights.iter().zip(v).map(|(w, v)| R::from_f64(w.to_f64() + eps * v.to_f64())).collect();
            alpha_gradient(Point { weights: &weights, ..at }, train).1
        };
        combine(&shifted(eps), 0.5 / eps, &shifted(-eps), -0.5 / eps)
    })
}

/// Given the gradient of the training loss with respect to the weights.
fn unrolled<R: Real>(
    at: Point<R>,
    grad: &[R],
    valid: Batch<R>,
    step: InnerStep<R>,
    mixed: impl FnOnce(&[R]) -> Alphas,
) -> (Evaluation, Alphas) {
    let moved: Vec<R> = (0..grad.len())
        .map(|i| {
            let w = at.weights[i].to_f64();
            let momentum = step.buffer.map_or(0.0, |b| step.momentum * b[i].to_f64());
            R::from_f64(w - step.xi * (momentum + grad[i].to_f64() + step.l2 * w))
        })
        .collect();
    let (evaluation, direct, v) = both_gradients(Point { weights: &moved, ..at }, valid);
    (evaluation, combine(&direct, 1.0, &mixed(&v), -step.xi))
}

/// a x + b y.
fn combine(x: &Alphas, a: f64, y: &Alphas, b: f64) -> Alphas {
    let line = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| a * x + b * y).collect();
    Alphas { normal: line(&x.normal, &y.normal), reduce: line(&x.reduce, &y.reduce) }
}

/// What a pass puts on the tape.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tracked {
    Nothing,
    Alphas,
    Weights,
    Both,
}

/// The leaves of a pass: mixing weights of (normal, reduction) cells and the weights of each module.
pub(crate) struct Inputs {
    pub(crate) p: [Tensor<1>; 2],
    pub(crate) w: Vec<Tensor<1>>,
}

impl Inputs {
    fn upload<R: Real>(at: Point<R>, device: &Device, tracked: Tracked) -> Self {
        Self::of(at.net, &at.alphas.softmax(at.net), at.weights, device, tracked)
    }

    /// With mixing weights as they are.
    fn of<R: Real>(net: &Supernet, p: &Alphas, weights: &[R], device: &Device, tracked: Tracked) -> Self {
        assert_eq!(weights.len(), net.n_parameters(), "the flat weights do not fit the supernet");
        let p = [&p.normal, &p.reduce].map(|p| {
            let p = upload::<1>(p, [p.len()], device, R::dtype());
            if matches!(tracked, Tracked::Alphas | Tracked::Both) { p.require_grad() } else { p }
        });
        let w = net.modules().iter().map(|m| {
            let w = upload_reals::<R, 1>(copied(&weights[m.offset..m.offset + m.len]), [m.len], device);
            if matches!(tracked, Tracked::Weights | Tracked::Both) { w.require_grad() } else { w }
        });
        Self { p, w: w.collect() }
    }

    /// Gives back the memory of the weights, once the tape has let go of them.
    pub(crate) fn recycle<R: Real>(self) {
        for w in self.w {
            R::give_back(w.into_data().try_into_vec::<R>().expect("weights have the type they were made with"));
        }
    }
}

/// How the modules of one pass are called.
pub(crate) struct Pass<'a> {
    pub(crate) net: &'a Supernet,
    pub(crate) noise: &'a [Arc<CellNoise>],
    pub(crate) dual: bool,
    pub(crate) weights_move: bool,
    /// Whether a backward or a dual pass will read the slots.
    pub(crate) keep: bool,
    /// The slots of an earlier plain pass, module by module.
    pub(crate) primal: Option<&'a [Arc<Slot>]>,
    pub(crate) ledger: Arc<Ledger>,
}

impl<'a> Pass<'a> {
    pub(crate) fn plain(net: &'a Supernet, noise: &'a [Arc<CellNoise>], keep: bool) -> Self {
        Self { net, noise, dual: false, weights_move: false, keep, primal: None, ledger: Arc::default() }
    }

    /// Images to logits, and the slots of all modules.
    fn run(&self, images: Tensor<4>, inputs: &Inputs) -> (Tensor<2>, Vec<Arc<Slot>>) {
        let s = self.stem(images, inputs.w[0].clone());
        self.body(s, inputs)
    }

    /// Images (n, h, w, c_image) to (n, h, w, c).
    pub(crate) fn stem(&self, images: Tensor<4>, w: Tensor<1>) -> Tensor<4> {
        match &self.net.modules()[0].spec {
            ModuleSpec::Stem(spec) => ops::stem(images, w, StemCall { spec: *spec, mode: self.mode(0).0 }),
            other => unreachable!("a supernet begins with its stem, not {other:?}"),
        }
    }

    /// From the stem's output to the logits (n, classes), and the slots of all modules.
    pub(crate) fn body(&self, stem: Tensor<4>, inputs: &Inputs) -> (Tensor<2>, Vec<Arc<Slot>>) {
        let quiet = Arc::new(CellNoise::default());
        let mut slots = vec![Slot::closed()];
        let (mut s0, mut s1) = (stem.clone(), stem);
        for (at, Module { spec, .. }) in self.net.modules().iter().enumerate().skip(1) {
            let (mode, slot) = self.mode(at);
            slots.push(slot);
            let w = inputs.w[at].clone();
            match spec {
                ModuleSpec::Cell(spec) => {
                    let noise = self.noise.get(at - 1).unwrap_or(&quiet).clone();
                    let p = inputs.p[usize::from(spec.reduction)].clone();
                    let call = CellCall { spec: spec.clone(), noise, mode };
                    let out = ops::cell(s0, s1.clone(), p, w, call);
                    (s0, s1) = (s1, out);
                }
                ModuleSpec::Head(spec) => return (ops::head(s1, w, HeadCall { spec: *spec, mode }), slots),
                ModuleSpec::Stem(_) => unreachable!("a supernet has one stem"),
            }
        }
        unreachable!("a supernet ends with its head")
    }

    fn mode(&self, module: usize) -> (Mode, Arc<Slot>) {
        let slot = if self.keep { Slot::open() } else { Slot::closed() };
        let mode = if self.dual {
            let primal = self.primal.map(|slots| slots[module].clone());
            Mode::dual(self.weights_move, slot.clone(), primal)
        } else {
            Mode::plain(slot.clone())
        };
        (mode.in_pass(self.ledger.clone()), slot)
    }
}

fn gradients<R: Real>(at: Point<R>, batch: Batch<R>, tracked: Tracked) -> (Evaluation, Alphas, Vec<R>) {
    let device = at.device.clone().autodiff();
    let inputs = Inputs::upload(at, &device, tracked);
    let logits = Pass::plain(at.net, batch.noise, true).run(upload_images(at.net, batch, &device), &inputs).0;
    let (evaluation, ce) = evaluate(&logits, batch.labels);
    let mut grads = seeded_backward(logits, &ce.gradient);
    let alphas = if matches!(tracked, Tracked::Alphas | Tracked::Both) {
        let p_bar = take_p_bar(&inputs, &mut grads, at.alphas);
        at.alphas.softmax(at.net).jacobian(at.net, &p_bar)
    } else {
        Alphas::zeros(at.net)
    };
    let mut weights = Vec::new();
    if matches!(tracked, Tracked::Weights | Tracked::Both) {
        weights = R::take(at.net.n_parameters());
        for (w, m) in inputs.w.iter().zip(at.net.modules()) {
            let g = w.grad_remove(&mut grads).expect("every module is on the way to the loss");
            let g = g.into_data().try_into_vec::<R>().expect("a gradient has the type of its tensor");
            weights[m.offset..m.offset + m.len].copy_from_slice(&g);
            R::give_back(g);
        }
    }
    inputs.recycle::<R>();
    (evaluation, alphas, weights)
}

/// The gradients with respect to the mixing weights; zeros where no cell of that kind exists.
pub(crate) fn take_p_bar(inputs: &Inputs, grads: &mut Gradients, like: &Alphas) -> Alphas {
    let mut take = |i: usize, len: usize| match inputs.p[i].grad_remove(grads) {
        Some(g) => download(g.into_data()),
        None => vec![0.0; len],
    };
    Alphas { normal: take(0, like.normal.len()), reduce: take(1, like.reduce.len()) }
}

/// The reverse pass from the logits with a given cotangent.
pub(crate) fn seeded_backward(logits: Tensor<2>, cotangent: &[f64]) -> Gradients {
    let seed = upload::<2>(cotangent, logits.dims(), &logits.device(), logits.dtype());
    (logits * seed).sum().backward()
}

pub(crate) fn evaluate(logits: &Tensor<2>, labels: &[u32]) -> (Evaluation, CrossEntropy) {
    let logits = download(logits.clone().into_data());
    let ce = CrossEntropy::new(&logits, labels);
    (Evaluation { logits, loss: ce.loss, correct: ce.correct }, ce)
}

pub(crate) fn upload_images<R: Real>(net: &Supernet, batch: Batch<R>, device: &Device) -> Tensor<4> {
    let size = [batch.labels.len(), batch.side[0], batch.side[1], net.spec().c_image];
    assert_eq!(batch.images.len(), size.iter().product::<usize>(), "the images are not {size:?}");
    upload_reals::<R, 4>(copied(batch.images), size, device)
}

/// A copy in memory that an earlier step has left.
pub(crate) fn copied<R: Real>(values: &[R]) -> Vec<R> {
    let mut out = R::take(values.len());
    out.copy_from_slice(values);
    out
}

/// A tensor of the type of its values.
pub(crate) fn upload_reals<R: Real, const D: usize>(values: Vec<R>, size: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, size), (device, R::dtype()))
}

/// A tensor of a given type.
pub(crate) fn upload<const D: usize>(values: &[f64], size: [usize; D], device: &Device, dtype: DType) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), size).convert_dtype(dtype), (device, dtype))
}

pub(crate) fn download(data: TensorData) -> Vec<f64> {
    data.try_into_vec_as::<f64>().expect("a float tensor reads as double precision")
}
