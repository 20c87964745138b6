//! Exact second derivatives of the supernet's loss: products with the Hessian, by reverse over forward.
//!
//! A dual pass carries (x, x-dot) through the network in a direction v and yields <grad L, v>; one reverse pass
//! over it yields the derivative of that scalar, H v, without finite differences. With v in alpha space it is
//! the Hessian whose dominant eigenvalue "Understanding and Robustifying Differentiable Architecture Search"
//! tracks (section 4); with v in weight space and the gradient taken with respect to alpha it is the mixed
//! product of the unrolled step (DARTS paper, equation 7).

use std::sync::Arc;

use burn::tensor::{DType, Device, Tensor};
use rdarts_kernels::loss::CrossEntropy;
use rdarts_kernels::spec::CellNoise;

use crate::derivatives::{
    Alphas, Batch, Evaluation, Inputs, Pass, Point, Real, copied, download, evaluate, seeded_backward, take_p_bar,
    upload, upload_images, upload_reals,
};
use crate::mixing::dual_vjp;
use crate::ops::Slot;
use crate::supernet::{CellKind, Supernet};

/// The Hessian of the loss of one batch with respect to alpha, as an operator v -> H v.
///
/// What does not depend on v (the plain forward pass, the stem) is computed once.
pub struct AlphaHessian {
    net: Supernet,
    device: Device,
    dtype: DType,
    noise: Vec<Arc<CellNoise>>,
    p: Alphas,
    /// Weights of each module with tangent zero, [2 len].
    w: Vec<Tensor<1>>,
    /// The stem's output with tangent zero, (2n, h, w, c).
    stem: Tensor<4>,
    primal: Vec<Arc<Slot>>,
    evaluation: Evaluation,
    ce: CrossEntropy,
}

/// A full Hessian.
#[derive(Clone, Debug, PartialEq)]
pub struct FullHessian {
    /// Side.
    pub n: usize,
    /// (n, n), row-major, exactly symmetric: (H + H^T) / 2 of the computed columns.
    pub values: Vec<f64>,
    /// Largest |H_ij - H_ji| / 2 before: a measure of the rounding error.
    pub asymmetry: f64,
}

impl AlphaHessian {
    /// Runs the plain forward pass of the batch.
    pub fn new<R: Real>(at: Point<R>, batch: Batch<R>) -> Self {
        let (net, dtype) = (at.net.clone(), R::dtype());
        let device = at.device.clone().autodiff();
        let p = at.alphas.softmax(&net);
        let module = |m: usize| &at.weights[net.modules()[m].offset..][..net.modules()[m].len];

        let plain = |values: &[R]| upload_reals::<R, 1>(copied(values), [values.len()], at.device);
        let inputs = Inputs {
            p: [&p.normal, &p.reduce].map(|p| upload::<1>(p, [p.len()], at.device, dtype)),
            w: (0..net.modules().len()).map(|m| plain(module(m))).collect(),
        };
        let pass = Pass::plain(&net, batch.noise, true);
        let stem = pass.stem(upload_images(&net, batch, at.device), inputs.w[0].clone());
        let (logits, primal) = pass.body(stem.clone(), &inputs);
        let (evaluation, ce) = evaluate(&logits, batch.labels);

        let w = (0..net.modules().len()).map(|m| upload_dual::<R>(module(m), None, &device)).collect();
        let stem = Tensor::cat(vec![stem.clone(), stem.zeros_like()], 0).autodiff();
        Self { net, device, dtype, noise: batch.noise.to_vec(), p, w, stem, primal, evaluation, ce }
    }

    /// Number of architecture parameters: normal, then reduce.
    pub fn n(&self) -> usize {
        self.net.n_alphas().iter().sum()
    }

    /// The plain forward pass at the point of the Hessian.
    pub fn evaluation(&self) -> &Evaluation {
        &self.evaluation
    }

    /// H v.
    ///
    /// # Panics
    /// If v has not [`AlphaHessian::n`] values.
    pub fn apply(&self, v: &[f64]) -> Vec<f64> {
        let v = Alphas::from_flat(&self.net, v);
        let p_dot = self.p.jacobian(&self.net, &v);
        let stack = |kind| {
            let (p, p_dot) = (self.p.of(kind), p_dot.of(kind));
            upload::<1>(&[p, p_dot].concat(), [2 * p.len()], &self.device, self.dtype).require_grad()
        };
        let inputs = Inputs { p: [stack(CellKind::Normal), stack(CellKind::Reduce)], w: self.w.clone() };
        let pass = Pass { dual: true, primal: Some(&self.primal), ..Pass::plain(&self.net, &self.noise, true) };
        let (logits, _) = pass.body(self.stem.clone(), &inputs);
        let bars = dual_backward(logits, &self.ce, &inputs, &self.p);
        let chain = |kind: CellKind| {
            let (p_bar, p_dot_bar) = bars.of(kind).split_at(self.p.of(kind).len());
            dual_vjp(self.p.of(kind), v.of(kind), p_bar, p_dot_bar, &self.net.edge_sizes(kind))
        };
        [chain(CellKind::Normal), chain(CellKind::Reduce)].concat()
    }

    /// All of H, one product for each unit vector. Rows and columns of a kind of cell that the network does not
    /// have are zero.
    pub fn full(&self) -> FullHessian {
        let n = self.n();
        let present = [false, true].map(|reduction| self.net.cells().any(|c| c.reduction == reduction));
        let mut columns = vec![vec![0.0; n]; n];
        for (i, column) in columns.iter_mut().enumerate() {
            if present[usize::from(i >= self.p.normal.len())] {
                let mut unit = vec![0.0; n];
                unit[i] = 1.0;
                *column = self.apply(&unit);
            }
        }
        let (mut values, mut asymmetry) = (vec![0.0; n * n], 0f64);
        for i in 0..n {
            for j in 0..n {
                let (a, b) = (columns[i][j], columns[j][i]);
                values[i * n + j] = 0.5 * (a + b);
                asymmetry = asymmetry.max(0.5 * (a - b).abs());
            }
        }
        FullHessian { n, values, asymmetry }
    }
}

/// d/dalpha <dL/dw (w, alpha), v>: the mixed second derivative times a direction v in weight space, exactly.
///
/// # Panics
/// If v has not the length of the weights.
pub fn mixed_hvp<R: Real>(at: Point<R>, batch: Batch<R>, v: &[R]) -> Alphas {
    let (net, dtype) = (at.net, R::dtype());
    assert_eq!(v.len(), net.n_parameters(), "a direction has one value for each weight");
    let device = at.device.clone().autodiff();
    let p = at.alphas.softmax(net);
    // p does not depend on the direction: its tangent is a constant zero.
    let still = |p: &Vec<f64>| {
        upload::<1>(&[&p[..], &vec![0.0; p.len()]].concat(), [2 * p.len()], &device, dtype).require_grad()
    };
    let w = net.modules().iter().map(|m| {
        let range = m.offset..m.offset + m.len;
        upload_dual::<R>(&at.weights[range.clone()], Some(&v[range]), &device)
    });
    let inputs = Inputs { p: [&p.normal, &p.reduce].map(still), w: w.collect() };
    let pass = Pass { dual: true, weights_move: true, ..Pass::plain(net, batch.noise, true) };
    let size = [2 * batch.labels.len(), batch.side[0], batch.side[1], net.spec().c_image];
    let images = stack_with_zeros(batch.images);
    let stem = pass.stem(upload_reals::<R, 4>(images, size, &device), inputs.w[0].clone());
    let (logits, _) = pass.body(stem, &inputs);
    let n = batch.labels.len();
    let value = logits.clone().narrow(0, 0, n);
    let ce = CrossEntropy::new(&download(value.into_data()), batch.labels);
    let bars = dual_backward(logits, &ce, &inputs, &p);
    inputs.recycle::<R>();
    let p_bar =
        Alphas { normal: bars.normal[..p.normal.len()].to_vec(), reduce: bars.reduce[..p.reduce.len()].to_vec() };
    p.jacobian(net, &p_bar)
}

/// The reverse pass over a dual pass, from the tangent of the loss to the stacked mixing weights.
fn dual_backward(logits: Tensor<2>, ce: &CrossEntropy, inputs: &Inputs, p: &Alphas) -> Alphas {
    let stacked = download(logits.clone().into_data());
    let (_, z_bar) = ce.tangent(&stacked[stacked.len() / 2..]);
    let mut grads = seeded_backward(logits, &[&z_bar[..], &ce.gradient].concat());
    let doubled = Alphas { normal: vec![0.0; 2 * p.normal.len()], reduce: vec![0.0; 2 * p.reduce.len()] };
    take_p_bar(inputs, &mut grads, &doubled)
}

/// Values and a tangent of zeros, in shelf memory: it is given back there, so it must come from there.
fn stack_with_zeros<R: Real>(values: &[R]) -> Vec<R> {
    let mut stacked = R::take(2 * values.len());
    stacked[..values.len()].copy_from_slice(values);
    stacked[values.len()..].fill(R::from_f64(0.0));
    stacked
}

/// Weights and their direction, or zeros, [2 len].
fn upload_dual<R: Real>(w: &[R], v: Option<&[R]>, device: &Device) -> Tensor<1> {
    let mut values = R::take(2 * w.len());
    let (value, tangent) = values.split_at_mut(w.len());
    value.copy_from_slice(w);
    match v {
        Some(v) => tangent.copy_from_slice(v),
        None => tangent.fill(R::from_f64(0.0)),
    }
    upload_reals::<R, 1>(values, [2 * w.len()], device)
}
