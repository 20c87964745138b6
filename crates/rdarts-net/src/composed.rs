//! Stem, cell and head composed of Burn's primitives: the portable reference of [`crate::ops`].
//!
//! Every body is generic over the backend and the float type and serves the plain and the dual call. A value
//! travels with its tangent as a `Pair`; the rules of the tangents are
//!
//! ```text
//! convolution   y' = conv(x', w) + conv(x, w')
//! relu          y' = [x > 0] x'                       (the mask is a constant)
//! batch norm    y' = (x' - mean(x') - y mean(y x')) / sigma,   y = (x - mu) / sigma
//! max pool      y' = x' at the argmax                 (first in row-major order)
//! mixed edge    y' = sum_k p_k o_k' + p_k' o_k
//! ```
//!
//! written with primitives whose reverse pass is exact, so that the reverse pass of a dual call is an exact
//! second derivative. Reverse passes run the forward again on a tape of their own: simple, not fast.
//!
//! Inside, activations are (n, c, h, w) and weights have PyTorch's layout, as Burn's convolutions want them.

use burn::backend::ops::{ConvOptions, FloatTensorOps};
use burn::backend::tensor::{BoolTensor, FloatTensor, IntTensor};
use burn::backend::{Autodiff, AutodiffBackend, Backend, TensorMetadata, get_or_init_device_settings};
use burn::tensor::{Shape, Slice, TensorData, read_sync};
use rdarts_kernels::spec::{AuxiliarySpec, BN_EPS, CellDims, Weight, WeightKind, weights_len};
use rdarts_kernels::{Kernels, noise};
use rdarts_space::Op;

use crate::calls::{AuxiliaryCall, CellCall, CellWant, HeadCall, HeadWant, Mode, OfBatch, Statistics, StemCall};
use crate::devices::{came_down, went_up};

type F<B> = FloatTensor<B>;

/// See [`crate::ops::SearchOps::stem`].
pub fn stem<B: Backend>(x: F<B>, w: F<B>, call: &StemCall) -> F<B> {
    let mut weights = Weights::<B>::new(w, call.spec.weights(), &call.mode, true);
    let x = Pair::unstack(x, call.mode.dual).map(to_nchw::<B>);
    let y = conv(x, &weights.next(), [1; 2], [1; 2], [1; 2]);
    let y = weights.norm(y);
    weights.finish();
    y.map(to_nhwc::<B>).stack()
}

/// See [`crate::ops::SearchOps::stem_vjp`].
pub fn stem_vjp<B: Backend>(x: F<B>, w: F<B>, g: F<B>, call: &StemCall) -> F<B> {
    let [_, gw] = reverse::<B, 2>([(x, false), (w, true)], g, |[x, w]| stem::<Autodiff<B>>(x, w, call));
    gw
}

/// See [`crate::ops::SearchOps::cell`].
pub fn cell<B: Backend>(s0: F<B>, s1: F<B>, p: F<B>, w: F<B>, call: &CellCall) -> F<B> {
    let (spec, dual) = (&*call.spec, call.mode.dual);
    let mut weights = Weights::<B>::new(w, spec.weights(), &call.mode, spec.discrete.is_some());
    let s0 = Pair::<B>::unstack(s0, dual).map(to_nchw::<B>);
    let s1 = Pair::<B>::unstack(s1, dual).map(to_nchw::<B>);
    let ([n, _, h0, w0], [_, _, h1, w1]) = (dims4(&s0.x), dims4(&s1.x));
    let side = CellDims { n, side0: [h0, w0], side1: [h1, w1] }.side_out(spec);

    let s0 = if spec.reduction_prev {
        factorized_reduce(s0, &mut weights)
    } else {
        let y = conv(relu(s0), &weights.next(), [1; 2], [0; 2], [1; 2]);
        weights.norm(y)
    };
    let y = conv(relu(s1), &weights.next(), [1; 2], [0; 2], [1; 2]);
    let s1 = weights.norm(y);
    let mut states = vec![s0, s1];
    let mut node: Option<Pair<B>> = None;
    // Of an edge, or of an operation of a discrete cell.
    let dropped = |y: Pair<B>, path: usize| match call.noise.drop_path.get(path * n..(path + 1) * n) {
        Some(factors) if !call.noise.drop_path.is_empty() => {
            let factors = data::<B>(factors.to_vec(), vec![n, 1, 1, 1], &y.x);
            y.map(|t| B::float_mul(t, factors.clone()))
        }
        _ => y,
    };
    for (edge, i, state) in spec.edge_list() {
        let mut mixed: Option<Pair<B>> = None;
        for (o, op) in spec.edges[edge].iter().enumerate() {
            let x = states[state].clone();
            let y = match *op {
                Op::Noise => {
                    let (kernels, key) = (&call.mode.kernels, call.noise.noise_key);
                    Some(noise_like::<B>(kernels, &states[state], (key, edge), n, side, spec.c))
                }
                op => apply(op, x, spec.stride(state), &mut weights),
            };
            if let Some(y) = y {
                let at = spec.alpha_offset(edge) + o;
                let y = mul(y, mixing_weight::<B>(&p, at, spec.n_alphas(), dual));
                mixed = Some(sum(mixed, if weights.is_affine { dropped(y, at) } else { y }));
            }
        }
        if let Some(y) = mixed {
            node = Some(sum(node, if weights.is_affine { y } else { dropped(y, edge) }));
        }
        if state == 1 + i {
            let zero = || Pair::zeros(vec![n, spec.c, side[0], side[1]], &states[0]);
            states.push(node.take().unwrap_or_else(zero));
        }
    }
    weights.finish();
    let mut nodes = states.split_off(2);
    if let Some(concat) = spec.concat() {
        nodes = concat.iter().map(|node| nodes[*node].clone()).collect();
    }
    let dot = dual.then(|| B::float_cat(nodes.iter().filter_map(|s| s.dot.clone()).collect(), 1));
    let out = Pair::<B> { x: B::float_cat(nodes.into_iter().map(|s| s.x).collect(), 1), dot };
    out.map(to_nhwc::<B>).stack()
}

/// See [`crate::ops::SearchOps::cell_vjp`]; the inputs are (s0, s1, p, w).
pub fn cell_vjp<B: Backend>(inputs: [F<B>; 4], g: F<B>, call: &CellCall, want: CellWant) -> (F<B>, F<B>, F<B>, F<B>) {
    let [s0, s1, p, w] = inputs;
    let [g0, g1, gp, gw] =
        reverse::<B, 4>([(s0, want.s0), (s1, want.s1), (p, want.p), (w, want.w)], g, |[s0, s1, p, w]| {
            cell::<Autodiff<B>>(s0, s1, p, w, call)
        });
    (g0, g1, gp, gw)
}

/// See [`crate::ops::SearchOps::head`].
pub fn head<B: Backend>(s: F<B>, w: F<B>, call: &HeadCall) -> F<B> {
    let mut weights = Weights::<B>::new(w, call.spec.weights(), &call.mode, false);
    let (matrix, bias) = (weights.next(), weights.next());
    weights.finish();
    let [_, _, _, c] = dims4(&s);
    let mean = Pair::<B>::unstack(s, call.mode.dual).map(|s| {
        let n = s.shape()[0];
        B::float_reshape(B::float_mean_dim(B::float_mean_dim(s, 1), 2), shape(vec![n, c]))
    });
    let product = bilinear(mean, &matrix.value, B::float_matmul);
    add(product, bias.value.map(|b| B::float_reshape(b, shape(vec![1, call.spec.classes])))).stack()
}

/// See [`crate::ops::SearchOps::head_vjp`].
pub fn head_vjp<B: Backend>(s: F<B>, w: F<B>, g: F<B>, call: &HeadCall, want: HeadWant) -> (F<B>, F<B>) {
    let [gs, gw] = reverse::<B, 2>([(s, want.s), (w, want.w)], g, |[s, w]| head::<Autodiff<B>>(s, w, call));
    (gs, gw)
}

/// See [`crate::ops::SearchOps::auxiliary`].
pub fn auxiliary<B: Backend>(s: F<B>, w: F<B>, call: &AuxiliaryCall) -> F<B> {
    assert!(!call.mode.dual, "the auxiliary head has no tangents: it is there for first derivatives of a training");
    let mut weights = Weights::<B>::new(w, call.spec.weights(), &call.mode, true);
    let x = relu(Pair::<B> { x: to_nchw::<B>(s), dot: None });
    let [n, c, h, wd] = dims4(&x.x);
    let [rows, columns] = AuxiliarySpec::windows([h, wd]);
    let mean = |rows: std::ops::Range<usize>, columns: std::ops::Range<usize>| {
        let window = slice::<B>(x.x.clone(), [0..n, 0..c, rows, columns]);
        B::float_mean_dim(B::float_mean_dim(window, 3), 2)
    };
    let row = |rows: &std::ops::Range<usize>| {
        B::float_cat(columns.iter().map(|columns| mean(rows.clone(), columns.clone())).collect(), 3)
    };
    let pooled = Pair::<B> { x: B::float_cat(rows.iter().map(row).collect(), 2), dot: None };
    let y = conv(pooled, &weights.next(), [1; 2], [0; 2], [1; 2]);
    let y = relu(weights.norm(y));
    let y = conv(y, &weights.next(), [1; 2], [0; 2], [1; 2]);
    let y = relu(weights.norm(y)).map(|t| B::float_reshape(t, shape(vec![n, AuxiliarySpec::WIDTHS[1]])));
    let (matrix, bias) = (weights.next(), weights.next());
    weights.finish();
    let product = bilinear(y, &matrix.value, B::float_matmul);
    add(product, bias.value.map(|b| B::float_reshape(b, shape(vec![1, call.spec.classes])))).x
}

/// See [`crate::ops::SearchOps::auxiliary_vjp`].
pub fn auxiliary_vjp<B: Backend>(s: F<B>, w: F<B>, g: F<B>, call: &AuxiliaryCall, want: HeadWant) -> (F<B>, F<B>) {
    let [gs, gw] = reverse::<B, 2>([(s, want.s), (w, want.w)], g, |[s, w]| auxiliary::<Autodiff<B>>(s, w, call));
    (gs, gw)
}

/// The gradients of `<f(inputs), g>` with respect to the inputs marked as wanted, by a tape of its own. A wanted
/// input that `f` does not depend on gets zeros, an unwanted one a single zero.
fn reverse<B: Backend, const N: usize>(
    inputs: [(F<B>, bool); N],
    g: F<B>,
    f: impl FnOnce([F<Autodiff<B>>; N]) -> F<Autodiff<B>>,
) -> [F<B>; N] {
    let leaves = inputs.map(|(t, wanted)| {
        let t = <Autodiff<B> as AutodiffBackend>::from_inner(t);
        if wanted { t.require_grad() } else { t }
    });
    let out = f(leaves.clone());
    let mut grads = out.is_tracked().then(|| {
        let g = <Autodiff<B> as AutodiffBackend>::from_inner(g);
        <Autodiff<B> as AutodiffBackend>::backward(Autodiff::<B>::float_sum(Autodiff::<B>::float_mul(out, g)))
    });
    leaves.map(|leaf| {
        let grad = grads.as_mut().and_then(|grads| leaf.grad_remove(grads));
        let size = if leaf.is_tracked() { leaf.shape() } else { shape(vec![1]) };
        grad.unwrap_or_else(|| zeros::<B>(size, leaf.primitive()))
    })
}

/// A value and, in a dual call, its tangent.
#[derive(Clone)]
struct Pair<B: Backend> {
    x: F<B>,
    dot: Option<F<B>>,
}

impl<B: Backend> Pair<B> {
    /// Splits a stacked tensor along its first axis.
    fn unstack(t: F<B>, dual: bool) -> Self {
        if !dual {
            return Self { x: t, dot: None };
        }
        let n = t.shape()[0] / 2;
        Self { x: rows::<B>(t.clone(), 0, n), dot: Some(rows::<B>(t, n, 2 * n)) }
    }

    /// Joins value and tangent along the first axis.
    fn stack(self) -> F<B> {
        match self.dot {
            Some(dot) => B::float_cat(vec![self.x, dot], 0),
            None => self.x,
        }
    }

    /// A linear function of both.
    fn map(self, f: impl Fn(F<B>) -> F<B>) -> Self {
        Self { x: f(self.x), dot: self.dot.map(&f) }
    }

    /// Zeros with a tangent if `like` has one.
    fn zeros(size: Vec<usize>, like: &Self) -> Self {
        let zero = zeros::<B>(shape(size), &like.x);
        Self { dot: like.dot.as_ref().map(|_| zero.clone()), x: zero }
    }
}

/// A weight tensor in PyTorch's layout.
struct Kernel<B: Backend> {
    value: Pair<B>,
    groups: usize,
}

impl<B: Backend> Kernel<B> {
    /// (c) as (1, c, 1, 1).
    fn per_channel(self) -> Pair<B> {
        self.value.map(|t| {
            let c = t.shape()[0];
            B::float_reshape(t, shape(vec![1, c, 1, 1]))
        })
    }
}

/// Hands out the weights of a module in their order, and the batch norms that go with them.
struct Weights<'a, B: Backend> {
    flat: Pair<B>,
    list: std::vec::IntoIter<Weight>,
    /// Whether batch norms behind weights have scale and shift, and those behind pools are left out.
    is_affine: bool,
    statistics: &'a Statistics,
    /// Those of the batch so far, each flat, or how many of the given ones have been used.
    seen: Vec<F<B>>,
    used: usize,
}

impl<'a, B: Backend> Weights<'a, B> {
    fn new(flat: F<B>, list: Vec<Weight>, mode: &'a Mode, is_affine: bool) -> Self {
        let flat = Pair::<B>::unstack(flat, mode.dual);
        assert_eq!(flat.x.shape()[0], weights_len(&list), "the flat weights do not fit the module");
        let flat = Pair { dot: flat.dot.filter(|_| mode.weights_move), x: flat.x };
        let statistics = &mode.statistics;
        Self { flat, list: list.into_iter(), is_affine, statistics, seen: Vec::new(), used: 0 }
    }

    /// The batch norm behind a convolution.
    fn norm(&mut self, x: Pair<B>) -> Pair<B> {
        if !self.is_affine {
            return batch_norm(x);
        }
        let y = match self.statistics {
            Statistics::Given(given) => {
                let c = dims4(&x.x)[1];
                let (mean, variance) = given[self.used..self.used + 2 * c].split_at(c);
                self.used += 2 * c;
                let per_channel = |values: Vec<f64>| constants::<B>(values, vec![1, c, 1, 1], &x.x);
                let inv = per_channel(variance.iter().map(|v| 1.0 / (v + BN_EPS).sqrt()).collect());
                let centered = B::float_sub(x.x.clone(), per_channel(mean.to_vec()));
                let dot = x.dot.map(|dot| B::float_mul(dot, inv.clone()));
                Pair { x: B::float_mul(centered, inv), dot }
            }
            Statistics::OfBatch(slot) => {
                if slot.is_open() {
                    let [n, _, h, w] = dims4(&x.x);
                    let count = (n * h * w) as f64;
                    let (mean, _, variance) = moments::<B>(x.x.clone());
                    let unbiased = B::float_mul_scalar(variance, (count / (count - 1.0).max(1.0)).into());
                    self.seen.extend([mean, unbiased].map(|t| {
                        let c = t.shape().num_elements();
                        B::float_reshape(B::float_detach(t), shape(vec![c]))
                    }));
                }
                batch_norm(x)
            }
        };
        let (scale, shift) = (self.next(), self.next());
        add(mul(y, scale.per_channel()), shift.per_channel())
    }

    /// The batch norm behind a pool.
    fn pool_norm(&self, x: Pair<B>) -> Pair<B> {
        if self.is_affine { x } else { batch_norm(x) }
    }

    fn next(&mut self) -> Kernel<B> {
        let weight = self.list.next().expect("a module uses no more weights than it lists");
        let value = self.flat.clone().map(|t| {
            let t = rows::<B>(t, weight.offset, weight.offset + weight.kind.len());
            // [kh][kw][c_in][c_out] to (c_out, c_in, kh, kw).
            let torch = |t, sizes: [usize; 4]| B::float_permute(B::float_reshape(t, Shape::from(sizes)), &[3, 2, 0, 1]);
            match weight.kind {
                WeightKind::Depthwise { k, c } => torch(t, [k, k, 1, c]),
                WeightKind::Conv { kh, kw, c_in, c_out } => torch(t, [kh, kw, c_in, c_out]),
                WeightKind::Linear { c_in, c_out } => B::float_reshape(t, shape(vec![c_in, c_out])),
                WeightKind::Vector { .. } => t,
            }
        });
        let groups = if let WeightKind::Depthwise { c, .. } = weight.kind { c } else { 1 };
        Kernel { value, groups }
    }

    fn finish(mut self) {
        assert!(self.list.next().is_none(), "a module uses every weight that it lists");
        if let Statistics::OfBatch(slot) = self.statistics
            && slot.is_open()
        {
            // Read together: each reading waits for the device.
            let all = (!self.seen.is_empty()).then(|| B::float_cat(self.seen, 0));
            let there = all.clone();
            slot.put(OfBatch::later(move || all.clone().map_or_else(Vec::new, read::<B>)).lying(there));
        }
    }
}

/// One candidate operation; none for the operation `none`.
fn apply<B: Backend>(op: Op, x: Pair<B>, stride: usize, weights: &mut Weights<'_, B>) -> Option<Pair<B>> {
    let s = [stride; 2];
    Some(match op {
        Op::None | Op::Noise => return None,
        Op::MaxPool3x3 => weights.pool_norm(max_pool(x, stride)),
        Op::AvgPool3x3 => weights.pool_norm(x.map(|t| B::avg_pool2d(t, [3; 2], s, [1; 2], false, false))),
        Op::SkipConnect if stride == 1 => x,
        Op::SkipConnect => factorized_reduce(x, weights),
        Op::SepConv3x3 | Op::SepConv5x5 | Op::SepConv7x7 => {
            let k = op.window();
            let y = half(x, weights, s, k / 2, 1);
            half(y, weights, [1; 2], k / 2, 1)
        }
        Op::DilConv3x3 | Op::DilConv5x5 => half(x, weights, s, op.window() - 1, 2),
        Op::Conv7x1_1x7 => {
            let y = conv(relu(x), &weights.next(), [1, stride], [0, 3], [1; 2]);
            let y = conv(y, &weights.next(), [stride, 1], [3, 0], [1; 2]);
            weights.norm(y)
        }
        Op::NorConv1x1 | Op::NorConv3x3 => unreachable!("{op} is no operation of a fused cell"),
    })
}

/// relu, depthwise, pointwise, batch norm.
fn half<B: Backend>(
    x: Pair<B>,
    weights: &mut Weights<'_, B>,
    stride: [usize; 2],
    padding: usize,
    dilation: usize,
) -> Pair<B> {
    let y = conv(relu(x), &weights.next(), stride, [padding; 2], [dilation; 2]);
    let y = conv(y, &weights.next(), [1; 2], [0; 2], [1; 2]);
    weights.norm(y)
}

/// FactorizedReduce: relu, two pointwise products of stride 2, the second one pixel further down and right, joined
/// along the channels, batch norm. Of an odd side the second product sees one row or column of zeros at the end.
fn factorized_reduce<B: Backend>(x: Pair<B>, weights: &mut Weights<'_, B>) -> Pair<B> {
    let x = relu(x);
    let shifted = x.clone().map(|t| {
        let [n, c, h, w] = dims4(&t);
        let t = slice::<B>(t, [0..n, 0..c, 1..h, 1..w]);
        let below = zeros::<B>(shape(vec![n, c, 1, w - 1]), &t);
        let right = zeros::<B>(shape(vec![n, c, h, 1]), &t);
        B::float_cat(vec![B::float_cat(vec![t, below], 2), right], 3)
    });
    let a = conv(x, &weights.next(), [2; 2], [0; 2], [1; 2]);
    let b = conv(shifted, &weights.next(), [2; 2], [0; 2], [1; 2]);
    let dot = a.dot.zip(b.dot).map(|(a, b)| B::float_cat(vec![a, b], 1));
    weights.norm(Pair { x: B::float_cat(vec![a.x, b.x], 1), dot })
}

fn relu<B: Backend>(x: Pair<B>) -> Pair<B> {
    let settings = get_or_init_device_settings::<B>(&x.x.device());
    let mask: BoolTensor<B> = B::float_lower_equal_elem(x.x.clone(), 0f32.into(), settings.bool_dtype);
    x.map(|t| B::float_mask_fill(t, mask.clone(), 0f32.into()))
}

fn conv<B: Backend>(
    x: Pair<B>,
    kernel: &Kernel<B>,
    stride: [usize; 2],
    padding: [usize; 2],
    dilation: [usize; 2],
) -> Pair<B> {
    let options = ConvOptions::new(stride, padding, dilation, kernel.groups);
    bilinear(x, &kernel.value, |x, w| B::conv2d(x, w, None, options.clone()))
}

/// Batch norm without scale and shift over all axes but the channels.
fn batch_norm<B: Backend>(x: Pair<B>) -> Pair<B> {
    let centered = |t: F<B>| B::float_sub(t.clone(), mean::<B>(t));
    let (_, x_centered, variance) = moments::<B>(x.x);
    let sigma = B::float_sqrt(B::float_add_scalar(variance, BN_EPS.into()));
    let y = B::float_div(x_centered, sigma.clone());
    let dot = x.dot.map(|dot| {
        let along = B::float_mul(y.clone(), mean::<B>(B::float_mul(y.clone(), dot.clone())));
        B::float_div(B::float_sub(centered(dot), along), sigma.clone())
    });
    Pair { x: y, dot }
}

/// Of every channel, (1, c, 1, 1).
fn mean<B: Backend>(t: F<B>) -> F<B> {
    B::float_mean_dim(B::float_mean_dim(B::float_mean_dim(t, 3), 2), 0)
}

/// The mean, the difference to it, and the biased variance of every channel.
fn moments<B: Backend>(x: F<B>) -> (F<B>, F<B>, F<B>) {
    let of_mean = mean::<B>(x.clone());
    let centered = B::float_sub(x, of_mean.clone());
    let variance = mean::<B>(B::float_mul(centered.clone(), centered.clone()));
    (of_mean, centered, variance)
}

/// Max pool 3x3 with padding 1: value and tangent gathered at the argmax of the value.
fn max_pool<B: Backend>(x: Pair<B>, stride: usize) -> Pair<B> {
    let settings = get_or_init_device_settings::<B>(&x.x.device());
    let pooled = B::max_pool2d_with_indices(
        B::float_detach(x.x.clone()),
        [3; 2],
        [stride; 2],
        [1; 2],
        [1; 2],
        false,
        settings.int_dtype,
    );
    let ([n, c, h, w], [_, _, ho, wo]) = (dims4(&x.x), dims4(&pooled.output));
    let at: IntTensor<B> = B::int_reshape(pooled.indices, shape(vec![n, c, ho * wo]));
    x.map(|t| {
        let flat = B::float_reshape(t, shape(vec![n, c, h * w]));
        B::float_reshape(B::float_gather(2, flat, at.clone()), shape(vec![n, c, ho, wo]))
    })
}

/// The `noise` operation: values drawn in (n, h, w, c) order, tangent zero.
fn noise_like<B: Backend>(
    kernels: &Kernels,
    like: &Pair<B>,
    (key, edge): (u64, usize),
    n: usize,
    side: [usize; 2],
    c: usize,
) -> Pair<B> {
    let mut values = vec![0.0; n * side[0] * side[1] * c];
    noise::fill(kernels, key, edge, 0, &mut values);
    let x = to_nchw::<B>(data::<B>(values, vec![n, side[0], side[1], c], &like.x));
    Pair { dot: like.dot.as_ref().map(|_| zeros::<B>(x.shape(), &x)), x }
}

/// The mixing weight at position `at` as (1, 1, 1, 1).
fn mixing_weight<B: Backend>(p: &F<B>, at: usize, n_alphas: usize, dual: bool) -> Pair<B> {
    let pick = |at| B::float_reshape(rows::<B>(p.clone(), at, at + 1), shape(vec![1, 1, 1, 1]));
    Pair { x: pick(at), dot: dual.then(|| pick(n_alphas + at)) }
}

/// f(x, w) for a bilinear f, with the product rule; `w` may stand still.
fn bilinear<B: Backend>(x: Pair<B>, w: &Pair<B>, f: impl Fn(F<B>, F<B>) -> F<B>) -> Pair<B> {
    let y = f(x.x.clone(), w.x.clone());
    let dot = x.dot.map(|x_dot| {
        let dot = f(x_dot, w.x.clone());
        match &w.dot {
            Some(w_dot) => B::float_add(dot, f(x.x, w_dot.clone())),
            None => dot,
        }
    });
    Pair { x: y, dot }
}

/// Elementwise product with broadcasting.
fn mul<B: Backend>(x: Pair<B>, factor: Pair<B>) -> Pair<B> {
    bilinear(x, &factor, B::float_mul)
}

/// Elementwise sum with broadcasting; a summand without tangent stands still.
fn add<B: Backend>(a: Pair<B>, b: Pair<B>) -> Pair<B> {
    let dot = match (a.dot, b.dot) {
        (Some(a), Some(b)) => Some(B::float_add(a, b)),
        (dot, None) | (None, dot) => dot,
    };
    Pair { x: B::float_add(a.x, b.x), dot }
}

fn sum<B: Backend>(total: Option<Pair<B>>, y: Pair<B>) -> Pair<B> {
    match total {
        Some(total) => add(total, y),
        None => y,
    }
}

fn to_nchw<B: Backend>(t: F<B>) -> F<B> {
    B::float_permute(t, &[0, 3, 1, 2])
}

fn to_nhwc<B: Backend>(t: F<B>) -> F<B> {
    B::float_permute(t, &[0, 2, 3, 1])
}

fn dims4(t: &impl TensorMetadata) -> [usize; 4] {
    t.shape().dims()
}

fn shape(sizes: Vec<usize>) -> Shape {
    Shape::from(sizes)
}

/// Positions `from..to` of the first axis.
fn rows<B: Backend>(t: F<B>, from: usize, to: usize) -> F<B> {
    let slices: Vec<Slice> =
        t.shape().iter().enumerate().map(|(axis, &len)| if axis == 0 { from..to } else { 0..len }.into()).collect();
    B::float_slice(t, &slices)
}

fn slice<B: Backend>(t: F<B>, ranges: [std::ops::Range<usize>; 4]) -> F<B> {
    B::float_slice(t, &ranges.map(Slice::from))
}

/// Zeros of the type and on the device of `like`.
fn zeros<B: Backend>(size: Shape, like: &F<B>) -> F<B> {
    B::float_zeros(size, &like.device(), like.dtype().into())
}

/// The values of a tensor.
fn read<B: Backend>(t: F<B>) -> Vec<f64> {
    let data = read_sync(B::float_into_data(t)).expect("a tensor can be read");
    came_down(data.bytes().len());
    data.try_into_vec_as::<f64>().expect("a float tensor reads as double precision")
}

/// Constants of the type and on the device of `like`, from double precision.
fn constants<B: Backend>(values: Vec<f64>, size: Vec<usize>, like: &F<B>) -> F<B> {
    let data = TensorData::new(values, size).convert_dtype(like.dtype());
    went_up(data.bytes().len());
    B::float_from_data(data, &like.device())
}

/// Constants of the type and on the device of `like`.
fn data<B: Backend>(values: Vec<f32>, size: Vec<usize>, like: &F<B>) -> F<B> {
    let data = TensorData::new(values, size).convert_dtype(like.dtype());
    went_up(data.bytes().len());
    B::float_from_data(data, &like.device())
}
