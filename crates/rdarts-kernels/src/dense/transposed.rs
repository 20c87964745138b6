//! Transposed convolution of 4 x 4 at stride 2: twice the rows and columns.
//!
//! It is the transpose of a convolution from c_out to c_in channels with pad 1: y = C' x + b. So its value is that one's way
//! back, and its way back that one's value.

use super::conv::{Grid, image_weight_gradient, strips_transposed};
use super::rows::{costly_images, image, sum_values, summed, transpose};
use super::{At, Bars, Direction, Kind, Saved, Scalar, Shape};
use crate::spec::{Weight, WeightKind, weight_list};

/// Sizes of a transposed convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransposedSpec {
    /// Input channels.
    pub c_in: usize,
    /// Output channels.
    pub c_out: usize,
}

const GRID: Grid = Grid { k: 4, stride: 2, dilation: 1, pad: 1 };

impl TransposedSpec {
    /// The weights are those of the convolution that it is the transpose of; PyTorch (c_in, c_out, 4, 4).
    pub(super) fn weights(&self) -> Vec<Weight> {
        let kind = WeightKind::Conv { kh: GRID.k, kw: GRID.k, c_in: self.c_out, c_out: self.c_in };
        let bias = WeightKind::Vector { c: self.c_out, ones: false };
        weight_list([("weight".into(), kind), ("bias".into(), bias)])
    }

    pub(super) fn shape(&self, x: Shape) -> Result<Shape, String> {
        if x.c != self.c_in {
            return Err(format!("a transposed convolution of {} channels got {}", self.c_in, x.c));
        }
        Ok(self.out(x))
    }

    fn out(&self, x: Shape) -> Shape {
        Shape { h: 2 * x.h, w: 2 * x.w, c: self.c_out, ..x }
    }

    /// out += C' x.
    fn add<T: Scalar>(&self, at: &At<T>, x: &[T], w: &[T], out: &mut [T]) {
        let shape = at.shapes[0];
        let (w_t, large) = (transpose(w, self.c_in), self.out(shape));
        costly_images(at.kernels, (shape.n, 4 * self.c_in), out, |isa, i, out| {
            let x = image(x, shape.n, i);
            compiled!(T, isa, strips_transposed(isa, GRID, large, self.c_in, x, &w_t, out))
        });
    }

    /// x_bar += C g.
    fn add_back<T: Scalar>(&self, at: &At<T>, g: &[T], w: &[T], x_bar: &mut [T]) {
        let large = At { shapes: vec![self.out(at.shapes[0])], ..at.clone() };
        super::conv::apply(&large, GRID, self.c_in, g, w, None, true, x_bar);
    }

    fn add_weight_gradient<T: Scalar>(&self, at: &At<T>, x: &[T], g: &[T], w_bar: &mut [T]) {
        let (shape, large) = (at.shapes[0], self.out(at.shapes[0]));
        let of_image = shape.px() * GRID.k * GRID.k * self.c_out;
        summed(at.kernels, (shape.n, of_image), w_bar, |isa, i, part| {
            let (x, g) = (image(x, shape.n, i), image(g, shape.n, i));
            compiled!(T, isa, image_weight_gradient(isa, GRID, large, self.c_in, g, x, part))
        });
    }

    fn fill_bias<T: Scalar>(&self, bias: &[T], out: &mut [T]) {
        out.chunks_exact_mut(self.c_out).for_each(|out| out.copy_from_slice(bias));
    }

    fn split<'a, T>(&self, w: &'a [T]) -> (&'a [T], &'a [T]) {
        w.split_at(w.len() - self.c_out)
    }
}

impl<T: Scalar> Kind<T> for TransposedSpec {
    fn forward(&self, at: &At<T>, out: &mut [T]) -> Saved {
        let (w, b) = self.split(at.w);
        self.fill_bias(b, out);
        self.add(at, at.xs[0], w, out);
        Saved::default()
    }

    fn vjp(&self, at: &At<T>, _: &Saved, _: &[T], g: &[T], bars: &mut Bars<T>) {
        let (w, _) = self.split(at.w);
        if let Some(x_bar) = &mut bars.xs[0] {
            self.add_back(at, g, w, x_bar);
        }
        if let Some(w_bar) = &mut bars.w {
            let (w_bar, b_bar) = w_bar.split_at_mut(w.len());
            self.add_weight_gradient(at, at.xs[0], g, w_bar);
            let n = at.shapes[0].n;
            let mut sums = vec![0.0; self.c_out];
            summed(at.kernels, (n, g.len() / n), &mut sums, |isa, i, sums| {
                compiled!(T, isa, sum_values(image(g, n, i), sums))
            });
            b_bar.iter_mut().zip(sums).for_each(|(bar, sum)| *bar += T::of(sum));
        }
    }

    fn jvp(&self, at: &At<T>, _: &Saved, _: &[T], dot: &Direction<T>, out_dot: &mut [T]) {
        match dot.w {
            Some(w_dot) => {
                let (w_dot, b_dot) = self.split(w_dot);
                self.fill_bias(b_dot, out_dot);
                self.add(at, at.xs[0], w_dot, out_dot);
            }
            None => out_dot.fill(T::default()),
        }
        if let Some(x_dot) = dot.xs[0] {
            self.add(at, x_dot, self.split(at.w).0, out_dot);
        }
    }

    fn cross(&self, at: &At<T>, _: &Saved, _: &[T], dot: &Direction<T>, d: &[T], bars: &mut Bars<T>) {
        if let (Some(x_bar), Some(w_dot)) = (&mut bars.xs[0], dot.w) {
            self.add_back(at, d, self.split(w_dot).0, x_bar);
        }
        if let (Some(w_bar), Some(x_dot)) = (&mut bars.w, dot.xs[0]) {
            let n_weights = w_bar.len() - self.c_out;
            self.add_weight_gradient(at, x_dot, d, &mut w_bar[..n_weights]);
        }
    }
}
