//! A convolution of each channel alone: y[oy][ox][c] = sum over taps of x[s oy + d dy - pad][s ox + d dx - pad][c] w[tap][c].

use super::rows::{costly_images, image, summed};
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

    fn pad(&self) -> usize {
        self.dilation * (self.k - 1) / 2
    }

    /// Along an axis, for each output the taps inside, with the input that each looks at; or for each input the taps that look
    /// at it, with their outputs.
    fn taps(&self, side: usize, back: bool) -> Taps {
        let n_out = side.div_ceil(self.stride);
        let look =
            |o: usize, t: usize| (o * self.stride + t * self.dilation).checked_sub(self.pad()).filter(|at| *at < side);
        let mut of = vec![Vec::new(); if back { side } else { n_out }];
        for o in 0..n_out {
            for t in 0..self.k {
                match (look(o, t), back) {
                    (Some(input), false) => of[o].push((t, input)),
                    (Some(input), true) => of[input].push((t, o)),
                    (None, _) => {}
                }
            }
        }
        Taps(of)
    }

    /// to += the sum over the taps of a pixel of from there times their weights; `back` goes from outputs to inputs.
    fn gather<T: Scalar>(&self, at: &At<T>, from: &[T], w: &[T], to: &mut [T], back: bool) {
        let (shape, c, out) = (at.shapes[0], self.c, self.out(at.shapes[0]));
        let (rows, columns) = (self.taps(shape.h, back), self.taps(shape.w, back));
        let (width, from_width) = if back { (shape.w, out.w) } else { (out.w, shape.w) };
        costly_images(at.kernels, (shape.n, self.k * self.k), to, |isa, i, to| {
            let from = image(from, shape.n, i);
            compiled!(T, isa, {
                for (row, to) in rows.0.iter().zip(to.chunks_exact_mut(width * c)) {
                    for (column, to) in columns.0.iter().zip(to.chunks_exact_mut(c)) {
                        let (blocks, rest) = to.as_chunks_mut::<8>();
                        let first = c - rest.len();
                        for (block, to) in blocks.iter_mut().enumerate() {
                            let mut sums = *to;
                            for (ky, y) in row {
                                for (kx, x) in column {
                                    let (tap, px) = (ky * self.k + kx, y * from_width + x);
                                    let (w, from) = (&w[tap * c + 8 * block..][..8], &from[px * c + 8 * block..][..8]);
                                    for i in 0..8 {
                                        sums[i] += from[i] * w[i];
                                    }
                                }
                            }
                            *to = sums;
                        }
                        for (i, to) in (first..).zip(rest) {
                            for (ky, y) in row {
                                for (kx, x) in column {
                                    *to += from[(y * from_width + x) * c + i] * w[(ky * self.k + kx) * c + i];
                                }
                            }
                        }
                    }
                }
            })
        });
    }

    fn add_weight_gradient<T: Scalar>(&self, at: &At<T>, x: &[T], g: &[T], w_bar: &mut [T]) {
        let (shape, c, out) = (at.shapes[0], self.c, self.out(at.shapes[0]));
        let (rows, columns) = (self.taps(shape.h, false), self.taps(shape.w, false));
        summed(at.kernels, (shape.n, self.k * self.k * shape.of_image()), w_bar, |isa, i, w_bar| {
            let (x, g) = (image(x, shape.n, i), image(g, shape.n, i));
            compiled!(T, isa, {
                for (tap, w) in w_bar.chunks_exact_mut(c).enumerate() {
                    let (of_rows, of_columns) = (rows.of(tap / self.k), columns.of(tap % self.k));
                    let (blocks, rest) = w.as_chunks_mut::<8>();
                    let first = c - rest.len();
                    for (block, w) in blocks.iter_mut().enumerate() {
                        let mut sums = *w;
                        for (oy, y) in of_rows.iter().copied() {
                            for (ox, at_x) in of_columns.iter().copied() {
                                let g = &g[(oy * out.w + ox) * c + 8 * block..][..8];
                                let x = &x[(y * shape.w + at_x) * c + 8 * block..][..8];
                                for i in 0..8 {
                                    sums[i] += g[i] * x[i];
                                }
                            }
                        }
                        *w = sums;
                    }
                    for (i, w) in rest.iter_mut().enumerate() {
                        for (oy, y) in of_rows.iter().copied() {
                            for (ox, at_x) in of_columns.iter().copied() {
                                *w += g[(oy * out.w + ox) * c + first + i] * x[(y * shape.w + at_x) * c + first + i];
                            }
                        }
                    }
                }
            })
        });
    }
}

/// For each pixel of an axis pairs of a tap and the pixel at its other end.
struct Taps(Vec<Vec<(usize, usize)>>);

impl Taps {
    /// Of one tap the pairs of both ends.
    fn of(&self, tap: usize) -> Vec<(usize, usize)> {
        let ends = self.0.iter().enumerate();
        ends.flat_map(|(o, taps)| taps.iter().filter(|pair| pair.0 == tap).map(move |pair| (o, pair.1))).collect()
    }
}

impl<T: Scalar> Kind<T> for DepthwiseSpec {
    fn forward(&self, at: &At<T>, out: &mut [T]) -> Saved {
        out.fill(T::default());
        self.gather(at, at.xs[0], at.w, out, false);
        Saved::default()
    }

    fn vjp(&self, at: &At<T>, _: &Saved, _: &[T], g: &[T], bars: &mut Bars<T>) {
        if let Some(x_bar) = &mut bars.xs[0] {
            self.gather(at, g, at.w, x_bar, true);
        }
        if let Some(w_bar) = &mut bars.w {
            self.add_weight_gradient(at, at.xs[0], g, w_bar);
        }
    }

    fn jvp(&self, at: &At<T>, _: &Saved, _: &[T], dot: &Direction<T>, out_dot: &mut [T]) {
        out_dot.fill(T::default());
        if let Some(x_dot) = dot.xs[0] {
            self.gather(at, x_dot, at.w, out_dot, false);
        }
        if let Some(w_dot) = dot.w {
            self.gather(at, at.xs[0], w_dot, out_dot, false);
        }
    }

    fn cross(&self, at: &At<T>, _: &Saved, _: &[T], dot: &Direction<T>, d: &[T], bars: &mut Bars<T>) {
        if let (Some(x_bar), Some(w_dot)) = (&mut bars.xs[0], dot.w) {
            self.gather(at, d, w_dot, x_bar, true);
        }
        if let (Some(w_bar), Some(x_dot)) = (&mut bars.w, dot.xs[0]) {
            self.add_weight_gradient(at, x_dot, d, w_bar);
        }
    }
}
