//! y = x a + b, a scale and a shift for each channel: what follows the norm of a stem.

use super::rows::{by_pixel, image, images, sum_products, sum_values, summed};
use super::{At, Bars, Direction, Kind, Saved, Scalar};
use crate::spec::{Weight, WeightKind, weight_list};

/// The kind, of so many channels.
pub(super) struct Scale(pub usize);

pub(super) fn weights(c: usize) -> Vec<Weight> {
    let of = |ones| WeightKind::Vector { c, ones };
    weight_list([("weight".into(), of(true)), ("bias".into(), of(false))])
}

impl Scale {
    /// to += from times a of each channel.
    fn add<T: Scalar>(&self, at: &At<T>, from: &[T], a: &[T], to: &mut [T]) {
        let n = at.shapes[0].n;
        images(at.kernels, n, to, |isa, i, to| {
            let from = image(from, n, i);
            compiled!(T, isa, by_pixel(to, [from], [a], |to, [from], [a]| *to += from * a))
        });
    }

    /// For each channel the sums of x g, and of g.
    fn add_sums<T: Scalar>(&self, at: &At<T>, x: &[T], g: &[T], to: &mut [T], with_shift: bool) {
        let (n, c) = (at.shapes[0].n, self.0);
        let mut sums = vec![0.0; 2 * c];
        summed(at.kernels, (n, x.len() / n), &mut sums, |isa, i, sums: &mut [f64]| {
            let (of_scale, of_shift) = sums.split_at_mut(c);
            let (x, g) = (image(x, n, i), image(g, n, i));
            compiled!(T, isa, {
                sum_products(x, g, of_scale);
                sum_values(g, of_shift);
            })
        });
        let len = if with_shift { 2 * c } else { c };
        to[..len].iter_mut().zip(sums).for_each(|(to, sum)| *to += T::of(sum));
    }
}

impl<T: Scalar> Kind<T> for Scale {
    fn forward(&self, at: &At<T>, out: &mut [T]) -> Saved {
        let (a, b) = at.w.split_at(self.0);
        for out in out.chunks_exact_mut(self.0) {
            out.copy_from_slice(b);
        }
        self.add(at, at.xs[0], a, out);
        Saved::default()
    }

    fn vjp(&self, at: &At<T>, _: &Saved, _: &[T], g: &[T], bars: &mut Bars<T>) {
        if let Some(x_bar) = &mut bars.xs[0] {
            self.add(at, g, &at.w[..self.0], x_bar);
        }
        if let Some(w_bar) = &mut bars.w {
            self.add_sums(at, at.xs[0], g, w_bar, true);
        }
    }

    fn jvp(&self, at: &At<T>, _: &Saved, _: &[T], dot: &Direction<T>, out_dot: &mut [T]) {
        out_dot.fill(T::default());
        if let Some(w_dot) = dot.w {
            let (a, b) = w_dot.split_at(self.0);
            for out in out_dot.chunks_exact_mut(self.0) {
                out.copy_from_slice(b);
            }
            self.add(at, at.xs[0], a, out_dot);
        }
        if let Some(x_dot) = dot.xs[0] {
            self.add(at, x_dot, &at.w[..self.0], out_dot);
        }
    }

    fn cross(&self, at: &At<T>, _: &Saved, _: &[T], dot: &Direction<T>, d: &[T], bars: &mut Bars<T>) {
        if let (Some(x_bar), Some(w_dot)) = (&mut bars.xs[0], dot.w) {
            self.add(at, d, &w_dot[..self.0], x_bar);
        }
        if let (Some(w_bar), Some(x_dot)) = (&mut bars.w, dot.xs[0]) {
            self.add_sums(at, x_dot, d, w_bar, false);
        }
    }
}
