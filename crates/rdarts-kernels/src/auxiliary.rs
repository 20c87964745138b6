//! The auxiliary head of a training, which sends a second gradient into the middle of the network (DARTS code,
//! `AuxiliaryHeadCIFAR`): see [`AuxiliarySpec`] for its layers.
//!
//! With u the pooled relu of the input, (4 n, c): y1 = u W1, a1 = relu(BN(y1)), y2 = (n, 4 * 128) W2 of a1's four pixels,
//! a2 = relu(BN(y2)), logits = a2 W3 + b. A few large products, split by images or by rows of a weight, never by thread.

use rayon::prelude::*;

use crate::Kernels;
use crate::head;
use crate::norm::{Affine, Moments, Norm, Sums};
use crate::plan::chunk_images;
use crate::spec::{AuxiliarySpec, HeadSpec, weights_len};
use rdarts_simd::Isa;
use rdarts_simd::pointwise::{product, weight_gradient};

/// What the forward pass leaves.
#[derive(Debug)]
pub struct AuxiliarySaved {
    kernels: Kernels,
    spec: AuxiliarySpec,
    n: usize,
    side: [usize; 2],
    layers: [Layer; 2],
}

/// A convolution with its batch norm and relu.
#[derive(Debug)]
struct Layer {
    /// Rows and columns of the product's weight.
    shape: (usize, usize),
    /// The input without its mean over the rows, and the product's output for that: the norm takes a mean away anyway, and
    /// of a batch of a few images, which differ little, more digits remain.
    x: Vec<f32>,
    y: Vec<f32>,
    norm: Norm,
    /// The mean of the output for the input as it is.
    mean: Vec<f64>,
    /// relu(BN(y)).
    out: Vec<f32>,
}

/// Value of the head into `logits`, (n, classes), of a state x, (n, h, w, c_in), with the statistics of the batch.
///
/// # Panics
/// If a slice has not the length its shape says.
pub fn forward(
    kernels: &Kernels,
    spec: AuxiliarySpec,
    (n, side): (usize, [usize; 2]),
    x: &[f32],
    w: &[f32],
    logits: &mut [f32],
) -> AuxiliarySaved {
    assert!(x.len() == n * side[0] * side[1] * spec.c_in && logits.len() == n * spec.classes, "sizes of the state");
    assert_eq!(w.len(), weights_len(&spec.weights()), "weights");
    let parts = Parts::new(&spec, w);
    let pooled = pool(spec.c_in, side, x);
    let [narrow, wide] = AuxiliarySpec::WIDTHS;
    let first = Layer::new(kernels.isa(), (spec.c_in, narrow), &pooled, parts.convs[0], parts.factors[0]);
    let second = Layer::new(kernels.isa(), (4 * narrow, wide), &first.out, parts.convs[1], parts.factors[1]);
    head::apply(&last(&spec), &second.out, parts.linear, true, false, logits);
    AuxiliarySaved { kernels: kernels.clone(), spec, n, side, layers: [first, second] }
}

impl AuxiliarySaved {
    /// Means and unbiased variances of its batch norms, in the order of [`AuxiliarySpec::norms`].
    pub fn statistics(&self) -> Vec<f64> {
        let of =
            |layer: &Layer| -> Vec<f64> { layer.mean.iter().copied().chain(layer.norm.unbiased_variance()).collect() };
        self.layers.iter().flat_map(of).collect()
    }
}

/// The gradients of x, if it is wanted, and of w, for the gradient g of the logits.
pub fn vjp(x: &[f32], w: &[f32], saved: &AuxiliarySaved, g: &[f32], want_x: bool) -> (Vec<f32>, Vec<f32>) {
    let AuxiliarySaved { kernels, spec, n, side, layers: [first, second] } = saved;
    let (isa, parts) = (kernels.isa(), Parts::new(spec, w));
    let of_linear = head::weight_gradient(&last(spec), &second.out, g);
    let g_out = head::mean_gradient(&last(spec), parts.linear, g);
    let (g_first, [w2, f2]) = second.vjp(isa, (parts.convs[1], parts.factors[1]), g_out, true);
    let (g_pooled, [w1, f1]) = first.vjp(isa, (parts.convs[0], parts.factors[0]), g_first, want_x);
    let dw = [w1, f1, w2, f2, of_linear].concat();
    let dx = if want_x { unpool(kernels, spec.c_in, (*n, *side), x, &g_pooled) } else { Vec::new() };
    (dx, dw)
}

/// The weights, one after the other.
struct Parts<'a> {
    convs: [&'a [f32]; 2],
    /// Scale and shift behind one another.
    factors: [&'a [f32]; 2],
    linear: &'a [f32],
}

impl<'a> Parts<'a> {
    fn new(spec: &AuxiliarySpec, w: &'a [f32]) -> Self {
        let [narrow, wide] = AuxiliarySpec::WIDTHS;
        let (w1, rest) = w.split_at(spec.c_in * narrow);
        let (f1, rest) = rest.split_at(2 * narrow);
        let (w2, rest) = rest.split_at(4 * narrow * wide);
        let (f2, linear) = rest.split_at(2 * wide);
        Self { convs: [w1, w2], factors: [f1, f2], linear }
    }
}

/// Its linear layer, as a head of means.
fn last(spec: &AuxiliarySpec) -> HeadSpec {
    HeadSpec { c_in: AuxiliarySpec::WIDTHS[1], classes: spec.classes }
}

/// Rows of a weight whose gradients are one task.
const ROWS: usize = 32;

impl Layer {
    fn new(isa: Isa, shape: (usize, usize), x: &[f32], w: &[f32], factors: &[f32]) -> Self {
        let (rows, c) = shape;
        let m = (x.len() / rows) as f64;
        let mut mean_x = vec![0f64; rows];
        x.iter().enumerate().for_each(|(i, x)| mean_x[i % rows] += f64::from(*x) / m);
        let x: Vec<f32> = x.iter().enumerate().map(|(i, x)| (f64::from(*x) - mean_x[i % rows]) as f32).collect();
        let y = multiply(isa, shape, &x, w);
        let mut moments = Moments::new(c);
        for rows in y.chunks(chunk_images(y.len() / c) * c) {
            let mut sums = vec![0f32; 2 * c];
            let pivot = &rows[..c];
            for row in rows.chunks(c) {
                for i in 0..c {
                    let d = row[i] - pivot[i];
                    sums[i] += d;
                    sums[c + i] += d * d;
                }
            }
            moments.add_pixels(rows.len() / c, pivot, &sums[..c], &sums[c..]);
        }
        let norm = Norm::from_moments(&moments).with_factors(factors);
        let Affine { of_y, shift, .. } = norm.affine();
        let out = y.iter().enumerate().map(|(i, y)| (of_y[i % c] * y + shift[i % c]).max(0.0)).collect();
        let mut mean = norm.mean.clone();
        for (w, x) in w.chunks(c).zip(&mean_x) {
            mean.iter_mut().zip(w).for_each(|(mean, w)| *mean += x * f64::from(*w));
        }
        Self { shape, x, y, norm, mean, out }
    }

    /// The gradients of x, if it is wanted, and of w and of scale and shift, for that of `out`.
    fn vjp(
        &self,
        isa: Isa,
        (w, factors_in): (&[f32], &[f32]),
        mut g: Vec<f32>,
        want_x: bool,
    ) -> (Vec<f32>, [Vec<f32>; 2]) {
        let (rows, c) = self.shape;
        g.iter_mut().zip(&self.out).filter(|(_, out)| **out <= 0.0).for_each(|(g, _)| *g = 0.0);
        let mut sums = Sums::new(c);
        for (i, (g, y)) in g.iter().zip(&self.y).enumerate() {
            sums.g[i % c] += f64::from(*g);
            sums.g_y[i % c] += f64::from(*g) * f64::from(*y);
        }
        let factors = self.norm.factor_gradients(&sums, 1.0);
        // In double precision: of a batch of a few images hardly anything is left of a gradient behind a batch norm.
        let Norm { count, mean, inv, .. } = &self.norm;
        let of_channel = |i: usize| {
            let scale = f64::from(factors_in[i]) * inv[i];
            let along = inv[i] * (sums.g_y[i] - mean[i] * sums.g[i]) / count;
            (scale, sums.g[i] / count, along)
        };
        let coef: Vec<_> = (0..c).map(of_channel).collect();
        for (i, (g, y)) in g.iter_mut().zip(&self.y).enumerate() {
            let ((scale, mean_g, along), at) = (coef[i % c], i % c);
            let yhat = inv[at] * (f64::from(*y) - mean[at]);
            *g = (scale * (f64::from(*g) - mean_g - yhat * along)) as f32;
        }
        let mut dw = vec![0f32; rows * c];
        dw.par_chunks_mut(ROWS * c).enumerate().for_each(|(at, dw)| {
            weight_gradient(isa, g.len() / c, (dw.len() / c, c), &self.x[at * ROWS..], rows, &g, c, dw);
        });
        let dx = if want_x { multiply(isa, (c, rows), &g, &transposed(rows, c, w)) } else { Vec::new() };
        (dx, [dw, factors])
    }
}

/// x w of x, (m, rows), and w, (rows, columns).
fn multiply(isa: Isa, (rows, columns): (usize, usize), x: &[f32], w: &[f32]) -> Vec<f32> {
    let m = x.len() / rows;
    let (mut y, per_chunk) = (vec![0f32; m * columns], chunk_images(m));
    y.par_chunks_mut(per_chunk * columns).zip(x.par_chunks(per_chunk * rows)).for_each(|(y, x)| {
        product(isa, y.len() / columns, (rows, columns), x, rows, w, y, columns, false);
    });
    y
}

fn transposed(rows: usize, columns: usize, w: &[f32]) -> Vec<f32> {
    let mut out = vec![0f32; w.len()];
    out.par_chunks_mut(rows).enumerate().for_each(|(j, out)| {
        out.iter_mut().enumerate().for_each(|(i, out)| *out = w[i * columns + j]);
    });
    out
}

/// The mean of relu(x) over each of the four windows, (4 n, c).
fn pool(c: usize, side: [usize; 2], x: &[f32]) -> Vec<f32> {
    let image = side[0] * side[1] * c;
    let mut out = vec![0f32; x.len() / image * 4 * c];
    out.par_chunks_mut(4 * c).zip(x.par_chunks(image)).for_each(|(out, x)| {
        each_window(side, |window, share, pixel| {
            let out = &mut out[window * c..][..c];
            out.iter_mut().zip(&x[pixel * c..]).for_each(|(out, x)| *out += share * x.max(0.0));
        });
    });
    out
}

/// The transpose of [`pool`].
fn unpool(kernels: &Kernels, c: usize, (n, side): (usize, [usize; 2]), x: &[f32], g: &[f32]) -> Vec<f32> {
    let image = side[0] * side[1] * c;
    let mut out = kernels.workspace().take_gradient(n * image);
    out.par_chunks_mut(image).zip(x.par_chunks(image)).zip(g.par_chunks(4 * c)).for_each(|((out, x), g)| {
        out.fill(0.0);
        each_window(side, |window, share, pixel| {
            let out = &mut out[pixel * c..][..c];
            out.iter_mut().zip(&g[window * c..]).for_each(|(out, g)| *out += share * g);
        });
        out.iter_mut().zip(x).filter(|(_, x)| **x <= 0.0).for_each(|(out, _)| *out = 0.0);
    });
    out
}

/// (window, one over its pixels, pixel) of every pixel of every window.
fn each_window(side: [usize; 2], mut visit: impl FnMut(usize, f32, usize)) {
    let [rows, columns] = AuxiliarySpec::windows(side);
    for (i, rows) in rows.iter().enumerate() {
        for (j, columns) in columns.iter().enumerate() {
            let share = 1.0 / (rows.len() * columns.len()) as f32;
            for row in rows.clone() {
                columns.clone().for_each(|column| visit(2 * i + j, share, row * side[1] + column));
            }
        }
    }
}
