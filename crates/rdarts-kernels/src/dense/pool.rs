//! The largest or the mean of 3 x 3 values, pad 1, or of 2 x 2 without; what lies outside does not count.

use std::ops::Range;

use rayon::prelude::*;

use super::rows::{WORTH, by_channel, image, images};
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

    /// Of the places of a window along an axis those that lie inside for output o.
    #[inline(always)]
    fn inside(&self, o: usize, side: usize) -> Range<usize> {
        let (first, pad) = (o * self.stride, self.pad());
        pad.saturating_sub(first)..self.k.min(side + pad - first)
    }

    fn pad(&self) -> usize {
        (self.k - 1) / 2
    }

    /// Calls f for each output pixel with the window that it looks at.
    #[inline(always)]
    fn each(&self, x: Shape, mut f: impl FnMut(usize, &Window)) {
        let out = self.shape(x);
        for oy in 0..out.h {
            let rows = self.inside(oy, x.h);
            for ox in 0..out.w {
                // The sum of both is what lies inside, though what is taken away may be more than the first.
                let corner = (oy * self.stride * x.w + ox * self.stride).wrapping_sub(self.pad() * (x.w + 1));
                let columns = self.inside(ox, x.w);
                f(oy * out.w + ox, &Window { k: self.k, width: x.w, rows: rows.clone(), columns, corner });
            }
        }
    }

    /// out = the mean, or the value at the places of the maxima.
    fn gather<T: Scalar>(&self, at: &At<T>, saved: &Saved, x: &[T], out: &mut [T]) {
        let (shape, c) = (at.shapes[0], at.shapes[0].c);
        images(at.kernels, shape.n, out, |isa, i, out| {
            let x = image(x, shape.n, i);
            compiled!(
                T,
                isa,
                self.each(shape, |o, window| {
                    let out = &mut out[o * c..(o + 1) * c];
                    if self.max {
                        let place = &image(&saved.place, shape.n, i)[o * c..(o + 1) * c];
                        window.each(|tap, px| select(out, place, tap, &x[px * c..(px + 1) * c]));
                    } else {
                        let share = T::of(window.share());
                        out.fill(T::default());
                        window.each(|_, px| by_channel(out, [&x[px * c..]], |out, [x]| *out += x * share));
                    }
                })
            )
        });
    }

    /// Maxima and their places.
    fn maxima<T: Scalar>(&self, at: &At<T>, out: &mut [T]) -> Vec<u8> {
        let (shape, c, isa) = (at.shapes[0], at.shapes[0].c, at.kernels.isa());
        let mut place = vec![0; out.len()];
        let len = (out.len() / shape.n).max(1);
        let of_image = |(i, (out, place)): (usize, (&mut [T], &mut [u8]))| {
            let x = image(at.xs[0], shape.n, i);
            compiled!(
                T,
                isa,
                self.each(shape, |o, window| {
                    let (out, place) = (&mut out[o * c..(o + 1) * c], &mut place[o * c..(o + 1) * c]);
                    let first = window.first();
                    window.each(|tap, px| {
                        let x = &x[px * c..(px + 1) * c];
                        if tap == first {
                            out.copy_from_slice(x);
                            place.fill(tap as u8);
                        } else {
                            keep_larger(out, place, tap, x);
                        }
                    });
                })
            )
        };
        if out.len() < WORTH {
            out.chunks_mut(len).zip(place.chunks_mut(len)).enumerate().for_each(of_image);
        } else {
            out.par_chunks_mut(len).zip(place.par_chunks_mut(len)).enumerate().for_each(of_image);
        }
        place
    }
}

/// The pixels that an output looks at.
struct Window {
    k: usize,
    /// Columns of the input.
    width: usize,
    rows: Range<usize>,
    columns: Range<usize>,
    /// The input pixel of its first place, which may lie outside.
    corner: usize,
}

impl Window {
    /// Calls f with (tap, input pixel) of those inside.
    #[inline(always)]
    fn each(&self, mut f: impl FnMut(usize, usize)) {
        for ky in self.rows.clone() {
            for kx in self.columns.clone() {
                f(ky * self.k + kx, self.corner.wrapping_add(ky * self.width + kx));
            }
        }
    }

    /// The first of their taps.
    fn first(&self) -> usize {
        self.rows.start * self.k + self.columns.start
    }

    /// One over their number.
    fn share(&self) -> f64 {
        1.0 / (self.rows.len() * self.columns.len()) as f64
    }
}

/// out = x where it has its maximum at `tap`.
#[inline(always)]
fn select<T: Scalar>(out: &mut [T], place: &[u8], tap: usize, x: &[T]) {
    for (out, (place, x)) in out.iter_mut().zip(place.iter().zip(x)) {
        *out = if *place == tap as u8 { *x } else { *out };
    }
}

/// x += g where the maximum is at `tap`, eight channels at a time.
#[inline(always)]
fn add_where<T: Scalar>(x: &mut [T], place: &[u8], tap: usize, g: &[T]) {
    let zero = T::default();
    let add = |x: &mut T, at: u8, g: T| *x += if at == tap as u8 { g } else { zero };
    let ((x, x_rest), (place, place_rest), (g, g_rest)) =
        (x.as_chunks_mut::<8>(), place.as_chunks::<8>(), g.as_chunks::<8>());
    for (x, (place, g)) in x.iter_mut().zip(place.iter().zip(g)) {
        for i in 0..8 {
            add(&mut x[i], place[i], g[i]);
        }
    }
    x_rest.iter_mut().zip(place_rest.iter().zip(g_rest)).for_each(|(x, (at, g))| add(x, *at, *g));
}

#[inline(always)]
fn keep_larger<T: Scalar>(largest: &mut [T], place: &mut [u8], tap: usize, x: &[T]) {
    for ((largest, place), x) in largest.iter_mut().zip(place).zip(x) {
        let is_larger = *x > *largest;
        *largest = if is_larger { *x } else { *largest };
        *place = if is_larger { tap as u8 } else { *place };
    }
}

impl<T: Scalar> Kind<T> for PoolSpec {
    fn forward(&self, at: &At<T>, out: &mut [T]) -> Saved {
        let mut saved = Saved::default();
        if self.max {
            saved.place = self.maxima(at, out);
        } else {
            self.gather(at, &saved, at.xs[0], out);
        }
        saved
    }

    fn vjp(&self, at: &At<T>, saved: &Saved, _: &[T], g: &[T], bars: &mut Bars<T>) {
        let Some(x_bar) = &mut bars.xs[0] else { return };
        let (shape, c) = (at.shapes[0], at.shapes[0].c);
        images(at.kernels, shape.n, x_bar, |isa, i, x_bar| {
            let g = image(g, shape.n, i);
            compiled!(
                T,
                isa,
                self.each(shape, |o, window| {
                    let g = &g[o * c..(o + 1) * c];
                    if self.max {
                        let place = &image(&saved.place, shape.n, i)[o * c..(o + 1) * c];
                        window.each(|tap, px| add_where(&mut x_bar[px * c..(px + 1) * c], place, tap, g));
                    } else {
                        let share = T::of(window.share());
                        let of = |x: &mut T, [g]: [T; 1]| *x += g * share;
                        window.each(|_, px| by_channel(&mut x_bar[px * c..(px + 1) * c], [g], of));
                    }
                })
            )
        });
    }

    fn jvp(&self, at: &At<T>, saved: &Saved, _: &[T], dot: &Direction<T>, out_dot: &mut [T]) {
        match dot.xs[0] {
            Some(x_dot) => self.gather(at, saved, x_dot, out_dot),
            None => out_dot.fill(T::default()),
        }
    }
}
