//! The largest or the mean of 3 x 3 values, pad 1, or of 2 x 2 without; what lies outside does not count.

use super::rows::{image, images};
use super::{At, Bars, Direction, Kind, Saved, Scalar, Shape};

/// Sizes of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSpec {
    /// The largest value; else the mean.
    pub max: bool,
    /// 1 or 2.
    pub stride: usize,
    /// Side of the window: 3, or 2 at stride 2.
    pub k: usize,
}

impl PoolSpec {
    pub(super) fn shape(&self, x: Shape) -> Shape {
        Shape { h: x.h.div_ceil(self.stride), w: x.w.div_ceil(self.stride), ..x }
    }

    /// Pixel `tap` of those that output (oy, ox) looks at, if it is inside.
    #[inline(always)]
    fn pixel(&self, x: Shape, oy: usize, ox: usize, tap: usize) -> Option<usize> {
        let inside = |o: usize, t: usize, side: usize| {
            (o * self.stride + t).checked_sub((self.k - 1) / 2).filter(|at| *at < side)
        };
        Some(inside(oy, tap / self.k, x.h)? * x.w + inside(ox, tap % self.k, x.w)?)
    }

    /// Calls f for each output pixel with (output, row, column).
    #[inline(always)]
    fn each(&self, x: Shape, mut f: impl FnMut(usize, usize, usize)) {
        let out = self.shape(x);
        (0..out.h).for_each(|oy| (0..out.w).for_each(|ox| f(oy * out.w + ox, oy, ox)));
    }

    /// One over the pixels that an output looks at.
    fn share(&self, x: Shape, oy: usize, ox: usize) -> f64 {
        1.0 / (0..self.k * self.k).filter(|tap| self.pixel(x, oy, ox, *tap).is_some()).count() as f64
    }

    /// out = the mean, or the value at the places of the maxima.
    fn gather<T: Scalar>(&self, at: &At<T>, saved: &Saved, x: &[T], out: &mut [T]) {
        let (shape, c) = (at.shapes[0], at.shapes[0].c);
        images(at.kernels, shape.n, out, |i, out| {
            let x = image(x, shape.n, i);
            self.each(shape, |o, oy, ox| {
                let out = &mut out[o * c..(o + 1) * c];
                if self.max {
                    let place = &image(&saved.place, shape.n, i)[o * c..(o + 1) * c];
                    for (ch, (out, tap)) in out.iter_mut().zip(place).enumerate() {
                        let px = self.pixel(shape, oy, ox, usize::from(*tap)).expect("a maximum is inside");
                        *out = x[px * c + ch];
                    }
                } else {
                    out.fill(T::default());
                    let share = T::of(self.share(shape, oy, ox));
                    for px in (0..self.k * self.k).filter_map(|tap| self.pixel(shape, oy, ox, tap)) {
                        out.iter_mut().zip(&x[px * c..]).for_each(|(out, x)| *out += *x * share);
                    }
                }
            });
        });
    }
}

impl<T: Scalar> Kind<T> for PoolSpec {
    fn forward(&self, at: &At<T>, out: &mut [T]) -> Saved {
        let (shape, c, x) = (at.shapes[0], at.shapes[0].c, at.xs[0]);
        let mut saved = Saved::default();
        if self.max {
            saved.place = vec![0; out.len()];
            let len = out.len() / shape.n;
            use rayon::prelude::*;
            saved.place.par_chunks_mut(len).enumerate().for_each(|(i, place)| {
                let x = image(x, shape.n, i);
                let mut largest = vec![T::default(); c];
                self.each(shape, |o, oy, ox| {
                    let place = &mut place[o * c..(o + 1) * c];
                    let mut is_first = true;
                    for (tap, px) in (0..self.k * self.k).filter_map(|tap| Some((tap, self.pixel(shape, oy, ox, tap)?)))
                    {
                        let values = &x[px * c..(px + 1) * c];
                        for ((best, place), value) in largest.iter_mut().zip(&mut *place).zip(values) {
                            if is_first || *value > *best {
                                (*best, *place) = (*value, tap as u8);
                            }
                        }
                        is_first = false;
                    }
                });
            });
        }
        self.gather(at, &saved, x, out);
        saved
    }

    fn vjp(&self, at: &At<T>, saved: &Saved, _: &[T], g: &[T], bars: &mut Bars<T>) {
        let Some(x_bar) = &mut bars.xs[0] else { return };
        let (shape, c) = (at.shapes[0], at.shapes[0].c);
        images(at.kernels, shape.n, x_bar, |i, x_bar| {
            let g = image(g, shape.n, i);
            self.each(shape, |o, oy, ox| {
                let g = &g[o * c..(o + 1) * c];
                if self.max {
                    let place = &image(&saved.place, shape.n, i)[o * c..(o + 1) * c];
                    for (ch, (g, tap)) in g.iter().zip(place).enumerate() {
                        let px = self.pixel(shape, oy, ox, usize::from(*tap)).expect("a maximum is inside");
                        x_bar[px * c + ch] += *g;
                    }
                } else {
                    let share = T::of(self.share(shape, oy, ox));
                    for px in (0..self.k * self.k).filter_map(|tap| self.pixel(shape, oy, ox, tap)) {
                        x_bar[px * c..].iter_mut().zip(g).for_each(|(x, g)| *x += *g * share);
                    }
                }
            });
        });
    }

    fn jvp(&self, at: &At<T>, saved: &Saved, _: &[T], dot: &Direction<T>, out_dot: &mut [T]) {
        match dot.xs[0] {
            Some(x_dot) => self.gather(at, saved, x_dot, out_dot),
            None => out_dot.fill(T::default()),
        }
    }
}
