//! Batch norm without scale and shift: y = (x - m) r, r = 1 / sqrt(v + 1e-5), m and v of a channel over the batch.
//!
//! With <.> the mean over the pixels of a channel, and J the derivative, which is symmetric:
//!
//! ```text
//! J u = r (u - <u> - y <y u>)
//! gradient of N <d, J u> with respect to x
//!     = r^2 (y (3 a b - A) - b (d - <d>) - a (u - <u>)),  a = <y d>, b = <y u>, A = <d u> - <d> <u>
//! ```

use super::rows::{by_pixel, image, images, means};
use super::{At, Bars, Direction, Kind, Saved, Scalar};
use crate::spec::BN_EPS;

/// The kind.
pub(super) struct Norm;

impl Norm {
    /// to (+)= J u.
    fn project<T: Scalar>(&self, at: &At<T>, saved: &Saved, y: &[T], u: &[T], to: &mut [T], accumulate: bool) {
        let (n, c) = (at.shapes[0].n, at.shapes[0].c);
        let of = means(at.kernels, n, c, &[(u, None), (u, Some(y))]);
        let [r, shift, of_y] =
            channels(c, |i| [saved.rate[i], -saved.rate[i] * of[i], -saved.rate[i] * of[c + i]].map(T::of));
        combine(at, [u, y], to, accumulate, [&r, &shift, &of_y], |u, y, [r, shift, of_y]| r * u + shift + of_y * y);
    }
}

impl<T: Scalar> Kind<T> for Norm {
    fn forward(&self, at: &At<T>, out: &mut [T]) -> Saved {
        let (n, c, x) = (at.shapes[0].n, at.shapes[0].c, at.xs[0]);
        let first = means(at.kernels, n, c, &[(x, None)]);
        // Differences to the mean first: the square of a large mean would hide a small variance.
        let [shift] = channels(c, |i| [T::of(-first[i])]);
        combine(at, [x, x], out, false, [&shift], |x, _, [shift]| x + shift);
        let of = means(at.kernels, n, c, &[(&*out, Some(&*out)), (&*out, None)]);
        let rate: Vec<f64> = (0..c).map(|i| 1.0 / (of[i] - of[c + i] * of[c + i] + BN_EPS).sqrt()).collect();
        let [r, shift] = channels(c, |i| [rate[i], -rate[i] * of[c + i]].map(T::of));
        images(at.kernels, n, out, |isa, _, out| {
            compiled!(T, isa, by_pixel(out, [], [&r, &shift], |out, [], [r, shift]| *out = r * *out + shift))
        });
        Saved { mean: (0..c).map(|i| first[i] + of[c + i]).collect(), rate, ..Saved::default() }
    }

    fn vjp(&self, at: &At<T>, saved: &Saved, out: &[T], g: &[T], bars: &mut Bars<T>) {
        if let Some(x_bar) = &mut bars.xs[0] {
            self.project(at, saved, out, g, x_bar, true);
        }
    }

    fn jvp(&self, at: &At<T>, saved: &Saved, out: &[T], dot: &Direction<T>, out_dot: &mut [T]) {
        match dot.xs[0] {
            Some(x_dot) => self.project(at, saved, out, x_dot, out_dot, false),
            None => out_dot.fill(T::default()),
        }
    }

    fn cross(&self, at: &At<T>, saved: &Saved, out: &[T], dot: &Direction<T>, d: &[T], bars: &mut Bars<T>) {
        let (Some(x_bar), Some(u)) = (&mut bars.xs[0], dot.xs[0]) else { return };
        let (n, c) = (at.shapes[0].n, at.shapes[0].c);
        let of = means(at.kernels, n, c, &[(d, None), (u, None), (d, Some(out)), (u, Some(out)), (d, Some(u))]);
        let [of_y, of_d, of_u, shift] = channels(c, |i| {
            let [d_mean, u_mean, a, b, both] = [0, 1, 2, 3, 4].map(|k| of[k * c + i]);
            let (r2, spread) = (saved.rate[i].powi(2), both - d_mean * u_mean);
            [r2 * (3.0 * a * b - spread), -r2 * b, -r2 * a, r2 * (b * d_mean + a * u_mean)].map(T::of)
        });
        let of_both = [&of_d[..], &of_u, &shift];
        combine(at, [d, u], x_bar, true, of_both, |d, u, [of_d, of_u, shift]| of_d * d + of_u * u + shift);
        combine(at, [out, out], x_bar, true, [&of_y], |y, _, [of_y]| of_y * y);
    }
}

/// Factors of each channel, kind by kind.
fn channels<T: Scalar, const N: usize>(c: usize, of: impl Fn(usize) -> [T; N]) -> [Vec<T>; N] {
    let all: Vec<[T; N]> = (0..c).map(of).collect();
    std::array::from_fn(|kind| all.iter().map(|of| of[kind]).collect())
}

/// to (+)= f(a, b, factors of the channel).
fn combine<T: Scalar, const N: usize>(
    at: &At<T>,
    [a, b]: [&[T]; 2],
    to: &mut [T],
    accumulate: bool,
    factors: [&[T]; N],
    f: impl Fn(T, T, [T; N]) -> T + Sync,
) {
    let n = at.shapes[0].n;
    images(at.kernels, n, to, |isa, i, to| {
        let from = [a, b].map(|values| image(values, n, i));
        compiled!(
            T,
            isa,
            if accumulate {
                by_pixel(to, from, factors, |to, [a, b], of| *to += f(a, b, of));
            } else {
                by_pixel(to, from, factors, |to, [a, b], of| *to = f(a, b, of));
            }
        )
    });
}
