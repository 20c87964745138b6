//! Dense convolution: y[oy][ox] = b + sum over taps of x[s oy + dy - pad][s ox + dx - pad] w[tap], zeros outside.
//!
//! Strips of output rows are laid out as columns, (pixels, taps x c_in), and multiplied at once. With d the dilation and k
//! the side of the window, pad = d (k - 1) / 2, which keeps the side at stride 1.

use std::ops::Range;

use rayon::prelude::*;

use super::rows::{by_channel, by_pixel, costly_images, image, sum_values, summed, transpose};
use super::{At, Bars, Direction, Kind, Saved, Scalar, Shape};
use crate::spec::{HeadSpec, Weight, WeightKind, weight_list};
use rdarts_simd::Isa;

/// Sizes of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvSpec {
    /// Input channels.
    pub c_in: usize,
    /// Output channels.
    pub c_out: usize,
    /// Side of the window, odd.
    pub k: usize,
    /// 1 or 2.
    pub stride: usize,
    /// Pixels between taps.
    pub dilation: usize,
    /// Whether it adds b; else that is zero.
    pub bias: bool,
}

/// Values of the columns of a strip: they stay in the second cache level.
const STRIP: usize = 1 << 15;

impl ConvSpec {
    /// What computes a linear layer, whose weights lie alike.
    pub(super) fn linear(spec: &HeadSpec) -> Self {
        Self { c_in: spec.c_in, c_out: spec.classes, k: 1, stride: 1, dilation: 1, bias: true }
    }

    pub(super) fn weights(&self) -> Vec<Weight> {
        let &Self { c_in, c_out, k, .. } = self;
        let bias = self.bias.then_some(("bias".into(), WeightKind::Vector { c: c_out, ones: false }));
        let weight = ("weight".into(), WeightKind::Conv { kh: k, kw: k, c_in, c_out });
        weight_list(std::iter::once(weight).chain(bias))
    }

    pub(super) fn shape(&self, x: Shape) -> Result<Shape, String> {
        if x.c != self.c_in {
            return Err(format!("a convolution of {} channels got {}", self.c_in, x.c));
        }
        Ok(Shape { c: self.c_out, ..self.grid().shape(x) })
    }

    fn grid(&self) -> Grid {
        Grid { k: self.k, stride: self.stride, dilation: self.dilation, pad: self.dilation * (self.k - 1) / 2 }
    }

    /// The weights, and the bias or nothing.
    fn split<'a, T>(&self, w: &'a [T]) -> (&'a [T], &'a [T]) {
        w.split_at(if self.bias { w.len() - self.c_out } else { w.len() })
    }
}

impl<T: Scalar> Kind<T> for ConvSpec {
    fn forward(&self, at: &At<T>, out: &mut [T]) -> Saved {
        let (w, b) = self.split(at.w);
        apply(at, self.grid(), self.c_out, at.xs[0], w, Some(b), false, out);
        Saved::default()
    }

    fn vjp(&self, at: &At<T>, _: &Saved, _: &[T], g: &[T], bars: &mut Bars<T>) {
        let (w, _) = self.split(at.w);
        if let Some(x_bar) = &mut bars.xs[0] {
            apply_transposed(at, self.grid(), self.c_out, g, w, x_bar);
        }
        if let Some(w_bar) = &mut bars.w {
            let (w_bar, b_bar) = w_bar.split_at_mut(w.len());
            add_weight_gradient(at, self.grid(), self.c_out, at.xs[0], g, w_bar);
            if !self.bias {
                return;
            }
            let n = at.shapes[0].n;
            let mut sums = vec![0.0; self.c_out];
            summed(at.kernels, (n, g.len() / n), &mut sums, |isa, i, sums| {
                compiled!(T, isa, sum_values(image(g, n, i), sums))
            });
            b_bar.iter_mut().zip(sums).for_each(|(bar, sum)| *bar += T::of(sum));
        }
    }

    fn jvp(&self, at: &At<T>, _: &Saved, _: &[T], dot: &Direction<T>, out_dot: &mut [T]) {
        let (w, _) = self.split(at.w);
        match dot.xs[0] {
            Some(x_dot) => apply(at, self.grid(), self.c_out, x_dot, w, None, false, out_dot),
            None => out_dot.fill(T::default()),
        }
        if let Some(w_dot) = dot.w {
            let (w_dot, b_dot) = self.split(w_dot);
            apply(at, self.grid(), self.c_out, at.xs[0], w_dot, Some(b_dot), true, out_dot);
        }
    }

    fn cross(&self, at: &At<T>, _: &Saved, _: &[T], dot: &Direction<T>, d: &[T], bars: &mut Bars<T>) {
        if let (Some(x_bar), Some(w_dot)) = (&mut bars.xs[0], dot.w) {
            apply_transposed(at, self.grid(), self.c_out, d, self.split(w_dot).0, x_bar);
        }
        if let (Some(w_bar), Some(x_dot)) = (&mut bars.w, dot.xs[0]) {
            let n_weights = self.split(w_bar).0.len();
            add_weight_gradient(at, self.grid(), self.c_out, x_dot, d, &mut w_bar[..n_weights]);
        }
    }
}

/// Which pixels of the input an output looks at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    pub k: usize,
    pub stride: usize,
    pub dilation: usize,
    pub pad: usize,
}

impl Grid {
    /// The output's, of as many channels as the input.
    pub fn shape(&self, x: Shape) -> Shape {
        let side = |side: usize| (side + 2 * self.pad - self.dilation * (self.k - 1) - 1) / self.stride + 1;
        Shape { h: side(x.h), w: side(x.w), ..x }
    }

    fn is_pointwise(&self) -> bool {
        self.k == 1 && self.stride == 1
    }

    /// Output rows of a strip.
    fn strip(&self, x: Shape) -> usize {
        let of_row = self.shape(x).w * self.k * self.k * x.c;
        (STRIP / of_row).clamp(1, self.shape(x).h)
    }

    fn strips(&self, x: Shape) -> impl Iterator<Item = Range<usize>> + use<> {
        let (h, each) = (self.shape(x).h, self.strip(x));
        (0..h).step_by(each).map(move |y| y..(y + each).min(h))
    }

    /// The position in the input of tap t of output o, if it is inside.
    fn inside(&self, o: usize, t: usize, side: usize) -> Option<usize> {
        (o * self.stride + t * self.dilation).checked_sub(self.pad).filter(|at| *at < side)
    }

    /// Output rows of an image as columns, (pixels, k k c).
    #[inline(always)]
    fn lay_out<T: Scalar>(&self, shape: Shape, x: &[T], rows: Range<usize>, columns: &mut [T]) {
        self.each_run(shape, rows, |at, from, len| {
            let to = &mut columns[at];
            match from {
                Some(from) => to.copy_from_slice(&x[from..from + len]),
                None => to.fill(T::default()),
            }
        });
    }

    /// Calls f for each stretch of the columns with where it lies, and if it is inside with where it begins in the image and
    /// its length: taps that follow one another in a row are one stretch.
    #[inline(always)]
    fn each_run(&self, shape: Shape, rows: Range<usize>, mut f: impl FnMut(Range<usize>, Option<usize>, usize)) {
        let (w_out, c, k) = (self.shape(shape).w, shape.c, self.k);
        let mut at = 0;
        let mut next = |n: usize, from: Option<usize>| {
            if n > 0 {
                f(at..at + n * c, from, n * c);
            }
            at += n * c;
        };
        for oy in rows {
            for ox in 0..w_out {
                // Taps to the left of the image, inside, and to its right.
                let (first, d) = (ox * self.stride, self.dilation);
                let left = self.pad.saturating_sub(first).div_ceil(d).min(k);
                let inside = (shape.w + self.pad).saturating_sub(first).div_ceil(d).min(k).max(left);
                for ky in 0..k {
                    let Some(y) = self.inside(oy, ky, shape.h) else {
                        next(k, None);
                        continue;
                    };
                    next(left, None);
                    let of_tap = |kx: usize| (y * shape.w + first + kx * d - self.pad) * c;
                    if d == 1 {
                        next(inside - left, (inside > left).then(|| of_tap(left)));
                    } else {
                        (left..inside).for_each(|kx| next(1, Some(of_tap(kx))));
                    }
                    next(k - inside, None);
                }
            }
        }
    }

    /// Adds columns to the pixels that they were laid out from.
    #[inline(always)]
    fn fold<T: Scalar>(&self, shape: Shape, columns: &[T], rows: Range<usize>, x: &mut [T]) {
        self.each_run(shape, rows, |at, to, len| {
            if let Some(to) = to {
                by_channel(&mut x[to..to + len], [&columns[at]], |to, [from]| *to += from);
            }
        });
    }
}

/// out (+)= the convolution of x, plus the bias.
#[allow(clippy::too_many_arguments)]
pub(super) fn apply<T: Scalar>(
    at: &At<T>,
    grid: Grid,
    c_out: usize,
    x: &[T],
    w: &[T],
    bias: Option<&[T]>,
    accumulate: bool,
    out: &mut [T],
) {
    let shape = at.shapes[0];
    let of_each = grid.k * grid.k * shape.c;
    costly_images(at.kernels, (shape.n, of_each), out, |isa, i, out| {
        compiled!(T, isa, {
            strips(isa, grid, shape, c_out, image(x, shape.n, i), w, accumulate, out);
            if let Some(bias) = bias.filter(|bias| !bias.is_empty()) {
                by_pixel(out, [], [bias], |out, [], [b]| *out += b);
            }
        })
    });
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn strips<T: Scalar>(
    isa: Isa,
    grid: Grid,
    shape: Shape,
    c_out: usize,
    x: &[T],
    w: &[T],
    accumulate: bool,
    out: &mut [T],
) {
    if grid.is_pointwise() {
        return T::product(isa, shape.px(), (shape.c, c_out), x, w, out, accumulate);
    }
    let (w_out, taps) = (grid.shape(shape).w, grid.k * grid.k * shape.c);
    let mut columns = vec![T::default(); grid.strip(shape) * w_out * taps];
    for rows in grid.strips(shape) {
        let px = rows.len() * w_out;
        grid.lay_out(shape, x, rows.clone(), &mut columns[..px * taps]);
        let out = &mut out[rows.start * w_out * c_out..rows.end * w_out * c_out];
        T::product(isa, px, (taps, c_out), &columns, w, out, accumulate);
    }
}

/// x_bar += the transpose of the convolution of g.
pub(super) fn apply_transposed<T: Scalar>(at: &At<T>, grid: Grid, c_out: usize, g: &[T], w: &[T], x_bar: &mut [T]) {
    let (shape, w_t) = (at.shapes[0], transpose(w, c_out));
    let of_each = grid.k * grid.k * c_out;
    costly_images(at.kernels, (shape.n, of_each), x_bar, |isa, i, x_bar| {
        compiled!(T, isa, strips_transposed(isa, grid, shape, c_out, image(g, shape.n, i), &w_t, x_bar))
    });
}

/// The same for an image, of a shape of the input's, with transposed weights.
#[inline(always)]
pub(super) fn strips_transposed<T: Scalar>(
    isa: Isa,
    grid: Grid,
    shape: Shape,
    c_out: usize,
    g: &[T],
    w_t: &[T],
    x_bar: &mut [T],
) {
    if grid.is_pointwise() {
        return T::product(isa, shape.px(), (c_out, shape.c), g, w_t, x_bar, true);
    }
    let (w_out, taps) = (grid.shape(shape).w, grid.k * grid.k * shape.c);
    let mut columns = vec![T::default(); grid.strip(shape) * w_out * taps];
    for rows in grid.strips(shape) {
        let px = rows.len() * w_out;
        let g = &g[rows.start * w_out * c_out..rows.end * w_out * c_out];
        T::product(isa, px, (c_out, taps), g, w_t, &mut columns, false);
        grid.fold(shape, &columns[..px * taps], rows, x_bar);
    }
}

/// w_bar += the gradient of <convolution of x, g>.
fn add_weight_gradient<T: Scalar>(at: &At<T>, grid: Grid, c_out: usize, x: &[T], g: &[T], w_bar: &mut [T]) {
    let shape = at.shapes[0];
    // Every pixel is multiplied with all weights of its taps.
    let of_image = grid.shape(shape).px() * grid.k * grid.k * shape.c;
    summed(at.kernels, (shape.n, of_image), w_bar, |isa, i, part| {
        let (x, g) = (image(x, shape.n, i), image(g, shape.n, i));
        compiled!(T, isa, image_weight_gradient(isa, grid, shape, c_out, x, g, part))
    });
}

/// The same for an image.
#[inline(always)]
pub(super) fn image_weight_gradient<T: Scalar>(
    isa: Isa,
    grid: Grid,
    shape: Shape,
    c_out: usize,
    x: &[T],
    g: &[T],
    w_bar: &mut [T],
) {
    if grid.is_pointwise() {
        return of_weights(isa, shape.px(), (shape.c, c_out), x, g, w_bar);
    }
    let (w_out, taps) = (grid.shape(shape).w, grid.k * grid.k * shape.c);
    let mut columns = vec![T::default(); grid.strip(shape) * w_out * taps];
    for rows in grid.strips(shape) {
        let px = rows.len() * w_out;
        grid.lay_out(shape, x, rows.clone(), &mut columns[..px * taps]);
        let g = &g[rows.start * w_out * c_out..rows.end * w_out * c_out];
        of_weights(isa, px, (taps, c_out), &columns, g, w_bar);
    }
}

/// w_bar += the gradient of a product; many weights are shared among threads.
fn of_weights<T: Scalar>(isa: Isa, px: usize, (taps, c_out): (usize, usize), x: &[T], g: &[T], w_bar: &mut [T]) {
    /// Taps that a thread takes.
    const EACH: usize = 96;
    /// Products that are worth another thread.
    const WORTH: usize = 1 << 19;
    if px * taps * c_out < WORTH {
        return T::weight_gradient(isa, px, (taps, c_out), x, taps, g, w_bar);
    }
    w_bar.par_chunks_mut(EACH * c_out).enumerate().for_each(|(i, w_bar)| {
        T::weight_gradient(isa, px, (w_bar.len() / c_out, c_out), &x[i * EACH..], taps, g, w_bar);
    });
}
