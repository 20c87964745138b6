//! A convolution of each channel alone: y[oy][ox][c] = sum over taps of x[s oy + d dy - pad][s ox + d dx - pad][c] w[tap][c].

use super::rows::{image, images, summed};
use super::{At, Bars, Direction, Kind, Saved, Scalar, Shape};
use crate::spec::{Weight, WeightKind, weight_list};

/// Sizes of a depthwise convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DepthwiseSpec {
    /// Channels.
    pub c: usize,
    /// Side of the window, odd.
    pub k: usize,
    /// 1 or 2.
    pub stride: usize,
    /// Pixels between taps.
    pub dilation: usize,
}

impl DepthwiseSpec {
    pub(super) fn weights(&self) -> Vec<Weight> {
        weight_list([("weight".into(), WeightKind::Depthwise { k: self.k, c: self.c })])
    }

    pub(super) fn shape(&self, x: Shape) -> Result<Shape, String> {
        if x.c != self.c {
            return Err(format!("a depthwise convolution of {} channels got {}", self.c, x.c));
        }
        Ok(self.out(x))
    }

    fn out(&self, x: Shape) -> Shape {
        Shape { h: x.h.div_ceil(self.stride), w: x.w.div_ceil(self.stride), ..x }
    }

    /// Calls f for every tap of every output row with (tap, first output of the row, first input, outputs): the outputs whose
    /// tap is inside. Positions count pixels; inputs lie `stride` pixels apart.
    #[inline(always)]
    fn each_tap(&self, x: Shape, mut f: impl FnMut(usize, usize, usize, usize)) {
        let (out, pad, s) = (self.out(x), self.dilation * (self.k - 1) / 2, self.stride);
        for oy in 0..out.h {
            for ky in 0..self.k {
                let Some(y) = (oy * s + ky * self.dilation).checked_sub(pad).filter(|y| *y < x.h) else { continue };
                for kx in 0..self.k {
                    let shift = kx * self.dilation;
                    // s ox + shift - pad lies in 0..w.
                    let first = pad.saturating_sub(shift).div_ceil(s);
                    let end = if x.w + pad > shift { ((x.w + pad - shift - 1) / s + 1).min(out.w) } else { 0 };
                    if first < end {
                        let from = y * x.w + first * s + shift - pad;
                        f(ky * self.k + kx, oy * out.w + first, from, end - first);
                    }
                }
            }
        }
    }

    fn add<T: Scalar>(&self, at: &At<T>, x: &[T], w: &[T], out: &mut [T]) {
        let (shape, c, step) = (at.shapes[0], self.c, self.stride * self.c);
        images(at.kernels, shape.n, out, |i, out| {
            let x = image(x, shape.n, i);
            self.each_tap(shape, |tap, to, from, n| {
                let w = &w[tap * c..(tap + 1) * c];
                let (out, x) = (&mut out[to * c..(to + n) * c], &x[from * c..]);
                for (out, x) in out.chunks_exact_mut(c).zip(x.chunks(step)) {
                    out.iter_mut().zip(x.iter().zip(w)).for_each(|(out, (x, w))| *out += *x * *w);
                }
            });
        });
    }

    fn add_back<T: Scalar>(&self, at: &At<T>, g: &[T], w: &[T], x_bar: &mut [T]) {
        let (shape, c, step) = (at.shapes[0], self.c, self.stride * self.c);
        images(at.kernels, shape.n, x_bar, |i, x_bar| {
            let g = image(g, shape.n, i);
            self.each_tap(shape, |tap, to, from, n| {
                let w = &w[tap * c..(tap + 1) * c];
                let (g, x) = (&g[to * c..(to + n) * c], &mut x_bar[from * c..]);
                for (g, x) in g.chunks_exact(c).zip(x.chunks_mut(step)) {
                    x.iter_mut().zip(g.iter().zip(w)).for_each(|(x, (g, w))| *x += *g * *w);
                }
            });
        });
    }

    fn add_weight_gradient<T: Scalar>(&self, at: &At<T>, x: &[T], g: &[T], w_bar: &mut [T]) {
        let (shape, c, step) = (at.shapes[0], self.c, self.stride * self.c);
        summed(at.kernels, shape.n, w_bar, |i, w_bar| {
            let (x, g) = (image(x, shape.n, i), image(g, shape.n, i));
            self.each_tap(shape, |tap, to, from, n| {
                let w = &mut w_bar[tap * c..(tap + 1) * c];
                let (g, x) = (&g[to * c..(to + n) * c], &x[from * c..]);
                for (g, x) in g.chunks_exact(c).zip(x.chunks(step)) {
                    w.iter_mut().zip(g.iter().zip(x)).for_each(|(w, (g, x))| *w += *g * *x);
                }
            });
        });
    }
}

impl<T: Scalar> Kind<T> for DepthwiseSpec {
    fn forward(&self, at: &At<T>, out: &mut [T]) -> Saved {
        out.fill(T::default());
        self.add(at, at.xs[0], at.w, out);
        Saved::default()
    }

    fn vjp(&self, at: &At<T>, _: &Saved, _: &[T], g: &[T], bars: &mut Bars<T>) {
        if let Some(x_bar) = &mut bars.xs[0] {
            self.add_back(at, g, at.w, x_bar);
        }
        if let Some(w_bar) = &mut bars.w {
            self.add_weight_gradient(at, at.xs[0], g, w_bar);
        }
    }

    fn jvp(&self, at: &At<T>, _: &Saved, _: &[T], dot: &Direction<T>, out_dot: &mut [T]) {
        out_dot.fill(T::default());
        if let Some(x_dot) = dot.xs[0] {
            self.add(at, x_dot, at.w, out_dot);
        }
        if let Some(w_dot) = dot.w {
            self.add(at, at.xs[0], w_dot, out_dot);
        }
    }

    fn cross(&self, at: &At<T>, _: &Saved, _: &[T], dot: &Direction<T>, d: &[T], bars: &mut Bars<T>) {
        if let (Some(x_bar), Some(w_dot)) = (&mut bars.xs[0], dot.w) {
            self.add_back(at, d, w_dot, x_bar);
        }
        if let (Some(w_bar), Some(x_dot)) = (&mut bars.w, dot.xs[0]) {
            self.add_weight_gradient(at, x_dot, d, w_bar);
        }
    }
}
