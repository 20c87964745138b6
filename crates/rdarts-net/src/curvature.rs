//! Exact second derivatives of the supernet's loss: products with the Hessian, by reverse over forward.
//!
//! A dual pass carries (x, x-dot) through the network in a direction v and yields <grad L, v>; one reverse pass
//! over it yields the derivative of that scalar, H v, without finite differences. With v in alpha space it is
//! the Hessian whose dominant eigenvalue "Understanding and Robustifying Differentiable Architecture Search"
//! tracks (section 4); with v in weight space and the gradient taken with respect to alpha it is the mixed
//! product of the unrolled step (DARTS paper, equation 7).
//!
//! In single precision on the CPU the kernels run one after the other, without a tape (`chain.rs`).

use std::cmp::Ordering;
use std::sync::Arc;
use std::sync::atomic::{self, AtomicBool};

use burn::tensor::{DType, Tensor};
use rdarts_kernels::spec::CellNoise;
use rdarts_kernels::workspace::Workspace;

use crate::calls::Slot;
use crate::chain::{Chain, NEVER};
use crate::engine::Engine;
use crate::flow::{Asked, Products, flow};
use crate::graph::{Network, Node};
use crate::held::{Values, View};
use crate::mixing::dual_vjp;
use crate::point::{Batch, Evaluation, Here, Point};
use crate::tape::{
    Forward, Inputs, download, evaluate, leaf, seeded_backward, take_p_bar, upload, upload_images, upload_reals,
};
use crate::task::Loss;
use crate::values::{Alphas, Real};

/// The Hessian of the loss of one batch with respect to alpha, as an operator v -> H v.
///
/// What does not depend on v (the plain pass, and in single precision its way back) is computed once.
pub struct AlphaHessian<'s> {
    net: Network,
    p: Alphas,
    evaluation: Evaluation,
    route: Route<'s>,
    stop: &'s AtomicBool,
}

/// The fused kernels, or a tape of any backend and float type.
enum Route<'s> {
    Chain(Box<Chain<'s>>),
    Flow(Box<dyn Products + 's>),
    Tape(Box<Tape>),
}

/// A full Hessian.
#[derive(Clone, Debug, PartialEq)]
pub struct FullHessian {
    /// Side.
    pub n: usize,
    /// (n, n), row-major, exactly symmetric: (H + H^T) / 2 of the computed columns.
    pub values: Vec<f64>,
    /// Largest |H_ij - H_ji| / 2 before, for i and j of the same type of cell: a measure of the rounding error.
    pub asymmetry: f64,
    /// Products taken.
    pub n_products: usize,
}

impl AlphaHessian<'static> {
    /// Runs the plain pass of the batch.
    pub fn new<R: Real, V: Values<R> + ?Sized>(at: Point<V>, batch: Batch<R>) -> Self {
        Self::until(at, batch, &NEVER)
    }
}

impl<'s> AlphaHessian<'s> {
    /// Like [`AlphaHessian::new`]; once `stop` is set, what follows the plain pass ends soon and means nothing: whoever sets
    /// it must not use a result from then on. On a tape only [`AlphaHessian::full`] looks at it.
    pub fn until<R: Real, V: Values<R> + ?Sized>(at: Point<V>, batch: Batch<R>, stop: &'s AtomicBool) -> Self {
        let at = at.here();
        let (net, p) = (at.net.clone(), at.alphas.softmax(at.net));
        let (route, evaluation) = if net.is_dense() {
            let asked = Asked { alphas: true, weights: false, keep: true };
            let flow = flow(at.net, at.engine, at.weights, &p, batch, asked, stop);
            let evaluation = flow.evaluation().clone();
            (Route::Flow(flow), evaluation)
        } else if Chain::fits::<R>(at) {
            let chain = Chain::new(at, batch, false, stop);
            let evaluation = chain.evaluation().clone();
            (Route::Chain(Box::new(chain)), evaluation)
        } else {
            let (tape, evaluation) = Tape::new(at, batch, &p);
            (Route::Tape(Box::new(tape)), evaluation)
        };
        Self { net, p, evaluation, route, stop }
    }

    /// Number of architecture parameters, of one type of cell after another.
    pub fn n(&self) -> usize {
        self.net.n_alphas().iter().sum()
    }

    /// An orthonormal basis of the directions in which the loss can change: of the sums that are zero over every
    /// edge, for softmax does not see a constant, of the types of cells that the network has. H is zero on all
    /// others.
    pub fn range(&self) -> Vec<Vec<f64>> {
        let mut basis = Vec::new();
        for (start, size, _) in self.edges() {
            // Helmert's rows: j ones, then -j.
            for j in 1..size {
                let mut v = vec![0.0; self.n()];
                let scale = 1.0 / ((j * (j + 1)) as f64).sqrt();
                v[start..start + j].fill(scale);
                v[start + j] = -(j as f64) * scale;
                basis.push(v);
            }
        }
        basis
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
        self.product(v, 0)
    }

    /// H v; its entries need only be right for types of cells from `first` on.
    fn product(&self, v: &[f64], first: usize) -> Vec<f64> {
        let v = Alphas::from_flat(&self.net, v);
        let p_dot = self.p.jacobian(&self.net, &v);
        let [p_bar, p_dot_bar] = match &self.route {
            Route::Chain(chain) => chain.product(&p_dot, first),
            Route::Flow(flow) => flow.product(&p_dot, first),
            Route::Tape(tape) => tape.product(&self.net, &self.p, &p_dot),
        };
        let chain = |at| dual_vjp(self.p.of(at), v.of(at), p_bar.of(at), p_dot_bar.of(at), &self.net.edge_sizes(at));
        (0..self.net.n_cell_types()).flat_map(chain).collect()
    }

    /// All of H, one product for each unit vector but the last of every edge: the columns of an edge add up to zero.
    /// Rows and columns of a type of cell that the network does not have are zero. In the columns of a type the rows of
    /// earlier types follow by symmetry, so those products stop at the first cell of it or of a later type.
    pub fn full(&self) -> FullHessian {
        let n = self.n();
        let type_of: Vec<usize> =
            self.p.n_each().into_iter().enumerate().flat_map(|(at, n)| std::iter::repeat_n(at, n)).collect();
        let mut columns = vec![vec![0.0; n]; n];
        let mut n_products = 0;
        for (start, size, cell_type) in self.edges() {
            for i in start..start + size - 1 {
                if self.stop.load(atomic::Ordering::Relaxed) {
                    break;
                }
                let mut unit = vec![0.0; n];
                unit[i] = 1.0;
                columns[i] = self.product(&unit, cell_type);
                n_products += 1;
            }
            for i in 0..n {
                columns[start + size - 1][i] = 0.0 - columns[start..start + size - 1].iter().map(|c| c[i]).sum::<f64>();
            }
        }
        let (mut values, mut asymmetry) = (vec![0.0; n * n], 0f64);
        for i in 0..n {
            for j in 0..n {
                let (a, b) = match type_of[i].cmp(&type_of[j]) {
                    Ordering::Less => (columns[i][j], columns[i][j]),
                    Ordering::Greater => (columns[j][i], columns[j][i]),
                    Ordering::Equal => (columns[i][j], columns[j][i]),
                };
                values[i * n + j] = 0.5 * (a + b);
                asymmetry = asymmetry.max(0.5 * (a - b).abs());
            }
        }
        FullHessian { n, values, asymmetry, n_products }
    }

    /// (position of the first, number, type of cell) of the alphas of every edge of the types of cells that there are.
    fn edges(&self) -> Vec<(usize, usize, usize)> {
        let mut start = 0;
        let mut edges = Vec::new();
        for cell_type in 0..self.net.n_cell_types() {
            let present = self.net.has(cell_type);
            for size in self.net.edge_sizes(cell_type) {
                if present && size > 0 {
                    edges.push((start, size, cell_type));
                }
                start += size;
            }
        }
        edges
    }
}

/// The plain pass on the tape of any backend.
struct Tape {
    /// With a tape.
    engine: Engine,
    dtype: DType,
    noise: Vec<Arc<CellNoise>>,
    /// Weights of each module with tangent zero, [2 len].
    w: Vec<Tensor<1>>,
    /// The stem's output with tangent zero, (2n, h, w, c).
    stem: Tensor<4>,
    primal: Vec<Arc<Slot>>,
    loss: Box<dyn Loss>,
}

impl Tape {
    fn new<R: Real>(at: Here<R>, batch: Batch<R>, p: &Alphas) -> (Self, Evaluation) {
        let (net, dtype) = (at.net, R::dtype());
        let (engine, device) = (at.engine.tracked(), &at.engine.device);
        let inputs = Inputs {
            p: p.each().iter().map(|p| upload::<1>(p, [p.len()], device, dtype)).collect(),
            w: (0..net.nodes().len()).map(|node| leaf(net, node, at.weights, at.engine)).collect(),
        };
        let pass = Forward::plain(&at.engine.kernels, net, batch.noise, true);
        let stem = pass.stem(upload_images(net, batch, at.engine), &inputs);
        let (logits, primal) = pass.run_after(&stem, &inputs);
        let (evaluation, loss) = evaluate(&logits, batch.targets);

        let w = dual_leaves(net, at.weights, None, &engine);
        let stem = Tensor::cat(vec![stem.clone(), stem.zeros_like()], 0).autodiff();
        (Self { engine, dtype, noise: batch.noise.to_vec(), w, stem, primal, loss }, evaluation)
    }

    /// The gradients of p and p' of the tangent of the loss along p' = `p_dot`.
    fn product(&self, net: &Network, p: &Alphas, p_dot: &Alphas) -> [Alphas; 2] {
        let stack = |(p, p_dot): (&Vec<f64>, &Vec<f64>)| {
            upload::<1>(&[&p[..], p_dot].concat(), [2 * p.len()], &self.engine.device, self.dtype).require_grad()
        };
        let inputs = Inputs { p: p.each().iter().zip(p_dot.each()).map(stack).collect(), w: self.w.clone() };
        let pass = Forward {
            dual: true,
            primal: Some(&self.primal),
            ..Forward::plain(&self.engine.kernels, net, &self.noise, true)
        };
        let (logits, _) = pass.run_after(&self.stem, &inputs);
        let bars = dual_backward(logits, &*self.loss, &inputs, p);
        [0, 1].map(|part| {
            bars.each().iter().map(|bars| bars[part * bars.len() / 2..][..bars.len() / 2].to_vec()).collect()
        })
    }
}

/// d/dalpha <dL/dw (w, alpha), v>: the mixed second derivative times a direction v in weight space, exactly.
///
/// # Panics
/// If v has not the length of the weights.
pub fn mixed_hvp<R: Real, V: Values<R> + ?Sized>(at: Point<V>, batch: Batch<R>, v: &[R]) -> Alphas {
    mixed_product(at.here(), batch, View::Slice(v))
}

/// The same for a direction wherever it lies.
pub(crate) fn mixed_product<R: Real>(at: Here<R>, batch: Batch<R>, v: View<R>) -> Alphas {
    let (net, dtype) = (at.net, R::dtype());
    assert_eq!(v.len(), net.n_parameters(), "a direction has one value for each weight");
    let p = at.alphas.softmax(net);
    if net.is_dense() {
        let asked = Asked { alphas: false, weights: false, keep: true };
        let flow = flow(net, at.engine, at.weights, &p, batch, asked, &NEVER);
        return p.jacobian(net, &flow.mixed(v));
    }
    if Chain::fits::<R>(at) {
        return p.jacobian(net, &Chain::new(at, batch, false, &NEVER).mixed(v.slice()));
    }
    let (engine, workspace) = (at.engine.tracked(), at.engine.kernels.workspace());
    // p does not depend on the direction: its tangent is a constant zero.
    let still = |p: &Vec<f64>| {
        upload::<1>(&[&p[..], &vec![0.0; p.len()]].concat(), [2 * p.len()], &engine.device, dtype).require_grad()
    };
    let w = dual_leaves(net, at.weights, Some(v), &engine);
    let inputs = Inputs { p: p.each().iter().map(still).collect(), w };
    let pass = Forward { dual: true, weights_move: true, ..Forward::plain(&engine.kernels, net, batch.noise, true) };
    let n = batch.targets.n();
    let size = [2 * n, batch.side[0], batch.side[1], net.c_image()];
    let images = match at.engine.is_cpu() {
        true => upload_reals::<R, 4>(stack_with_zeros(workspace, batch.images.slice()), size, &engine.device),
        false => {
            let images = upload_images(net, batch, at.engine);
            Tensor::cat(vec![images.clone(), images.zeros_like()], 0).autodiff()
        }
    };
    let (logits, _) = pass.run(images, &inputs);
    let value = logits.clone().narrow(0, 0, n);
    let loss = batch.targets.loss(&download(value.into_data()));
    let bars = dual_backward(logits, &*loss, &inputs, &p);
    inputs.recycle::<R>(&engine);
    let p_bar: Alphas = bars.each().iter().map(|bars| bars[..bars.len() / 2].to_vec()).collect();
    p.jacobian(net, &p_bar)
}

/// The reverse pass over a dual pass, from the tangent of the loss to the stacked mixing weights.
fn dual_backward(logits: Tensor<2>, loss: &dyn Loss, inputs: &Inputs, p: &Alphas) -> Alphas {
    let stacked = download(logits.clone().into_data());
    let (_, z_bar) = loss.tangent(&stacked[stacked.len() / 2..]);
    let mut grads = seeded_backward(logits, &[&z_bar[..], loss.gradient()].concat());
    let doubled: Vec<usize> = p.n_each().into_iter().map(|n| 2 * n).collect();
    take_p_bar(inputs, &mut grads, &doubled)
}

/// Values and a tangent of zeros, in memory of the workspace: it is given back there, so it must come from there.
fn stack_with_zeros<R: Real>(workspace: &Workspace, values: &[R]) -> Vec<R> {
    let mut stacked = R::take(workspace, 2 * values.len());
    stacked[..values.len()].copy_from_slice(values);
    stacked[values.len()..].fill(R::from_f64(0.0));
    stacked
}

/// Weights of each node with their direction, or zeros, [2 len].
fn dual_leaves<R: Real>(net: &Network, weights: View<R>, v: Option<View<R>>, engine: &Engine) -> Vec<Tensor<1>> {
    #[cfg(feature = "gpu")]
    if let Some(w) = weights.card() {
        let v = v.map(|v| match v.card() {
            Some(v) => v.clone(),
            None => {
                let values: Vec<f32> = v.slice().iter().map(|v| v.to_f64() as f32).collect();
                rdarts_gpu::Flat::upload(w.client(), w.layout(), &values)
            }
        });
        return crate::resident::dual_leaves(&net.weight_parts(), w, v.as_ref(), &engine.device);
    }
    let of = |node: &Node| upload_dual::<R>(node.part(weights.slice()), v.map(|v| node.part(v.slice())), engine);
    net.nodes().iter().map(of).collect()
}

/// Weights and their direction, or zeros, [2 len].
fn upload_dual<R: Real>(w: &[R], v: Option<&[R]>, engine: &Engine) -> Tensor<1> {
    let mut values = R::take(engine.kernels.workspace(), 2 * w.len());
    let (value, tangent) = values.split_at_mut(w.len());
    value.copy_from_slice(w);
    match v {
        Some(v) => tangent.copy_from_slice(v),
        None => tangent.fill(R::from_f64(0.0)),
    }
    upload_reals::<R, 1>(values, [2 * w.len()], &engine.device)
}
