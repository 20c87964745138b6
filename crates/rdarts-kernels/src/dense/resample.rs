//! Bilinear resampling to twice the rows and columns, pixels as squares: along an axis output o lies at (o + 0.5) / 2 - 0.5,
//! between its pixel and the next one on its side, with weights 0.75 and 0.25; at the border that one is its pixel itself.

use super::rows::{by_channel, image, images};
use super::{At, Bars, Direction, Kind, Saved, Scalar, Shape};

/// The kind.
pub(super) struct Upsample;

/// The pixel that output o belongs to, and the other one.
fn sources(o: usize, side: usize) -> [usize; 2] {
    let at = o / 2;
    [at, if o.is_multiple_of(2) { at.saturating_sub(1) } else { (at + 1).min(side - 1) }]
}

/// Calls f with (output, input, weight).
#[inline(always)]
fn each(shape: Shape, mut f: impl FnMut(usize, usize, f64)) {
    for oy in 0..2 * shape.h {
        for ox in 0..2 * shape.w {
            for (y, a) in sources(oy, shape.h).into_iter().zip([0.75, 0.25]) {
                for (x, b) in sources(ox, shape.w).into_iter().zip([0.75, 0.25]) {
                    f(oy * 2 * shape.w + ox, y * shape.w + x, a * b);
                }
            }
        }
    }
}

impl Upsample {
    fn apply<T: Scalar>(&self, at: &At<T>, x: &[T], out: &mut [T]) {
        let (shape, c) = (at.shapes[0], at.shapes[0].c);
        images(at.kernels, shape.n, out, |isa, i, out| {
            let x = image(x, shape.n, i);
            out.fill(T::default());
            compiled!(
                T,
                isa,
                each(shape, |o, px, share| {
                    let share = T::of(share);
                    by_channel(&mut out[o * c..(o + 1) * c], [&x[px * c..]], |out, [x]| *out += share * x);
                })
            )
        });
    }
}

impl<T: Scalar> Kind<T> for Upsample {
    fn forward(&self, at: &At<T>, out: &mut [T]) -> Saved {
        self.apply(at, at.xs[0], out);
        Saved::default()
    }

    fn vjp(&self, at: &At<T>, _: &Saved, _: &[T], g: &[T], bars: &mut Bars<T>) {
        let Some(x_bar) = &mut bars.xs[0] else { return };
        let (shape, c) = (at.shapes[0], at.shapes[0].c);
        images(at.kernels, shape.n, x_bar, |isa, i, x_bar| {
            let g = image(g, shape.n, i);
            compiled!(
                T,
                isa,
                each(shape, |o, px, share| {
                    let share = T::of(share);
                    by_channel(&mut x_bar[px * c..(px + 1) * c], [&g[o * c..]], |x, [g]| *x += share * g);
                })
            )
        });
    }

    fn jvp(&self, at: &At<T>, _: &Saved, _: &[T], dot: &Direction<T>, out_dot: &mut [T]) {
        match dot.xs[0] {
            Some(x_dot) => self.apply(at, x_dot, out_dot),
            None => out_dot.fill(T::default()),
        }
    }
}
