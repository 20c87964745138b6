//! Several states into one: weighted sums, channels side by side, all values in a row.

use super::rows::{by_channel, dot, image, images};
use super::{At, Bars, Direction, Kind, Saved, Scalar, Shape};

/// y = sum of p_k x_k; without mixing weights all are 1.
pub(super) struct Mix<'a> {
    pub alphas: Option<&'a [usize]>,
}

/// y = (x_0, x_1, ...), channel after channel.
pub(super) struct Concat;

/// y = 0.
pub(super) struct Zero;

/// The values of an image, state after state.
pub(super) struct Outputs;

pub(super) fn sum_shape(inputs: &[Shape]) -> Result<Shape, String> {
    match inputs.iter().find(|shape| **shape != inputs[0]) {
        Some(other) => Err(format!("a sum got states of {:?} and {other:?}", inputs[0])),
        None => Ok(inputs[0]),
    }
}

pub(super) fn concat_shape(inputs: &[Shape]) -> Result<Shape, String> {
    let first = inputs[0];
    match inputs.iter().find(|shape| (shape.n, shape.h, shape.w) != (first.n, first.h, first.w)) {
        Some(other) => Err(format!("states of {first:?} and {other:?} cannot lie side by side")),
        None => Ok(Shape { c: inputs.iter().map(|shape| shape.c).sum(), ..first }),
    }
}

pub(super) fn outputs_shape(inputs: &[Shape]) -> Result<Shape, String> {
    match inputs.iter().find(|shape| shape.n != inputs[0].n) {
        Some(other) => Err(format!("outputs of {} and {} images", inputs[0].n, other.n)),
        None => Ok(Shape { n: inputs[0].n, h: 1, w: 1, c: inputs.iter().map(Shape::of_image).sum() }),
    }
}

impl Mix<'_> {
    fn weight(&self, p: &[f64], k: usize) -> f64 {
        self.alphas.map_or(1.0, |alphas| p[alphas[k]])
    }

    /// out (+)= sum of the states times their weights.
    fn apply<'a, T: Scalar>(
        &self,
        at: &At<T>,
        terms: impl Iterator<Item = (f64, &'a [T])>,
        accumulate: bool,
        out: &mut [T],
    ) {
        let terms: Vec<(T, &[T])> = terms.map(|(p, x)| (T::of(p), x)).collect();
        let n = at.shapes[0].n;
        images(at.kernels, n, out, |isa, i, out| {
            compiled!(T, isa, {
                if !accumulate {
                    out.fill(T::default());
                }
                for (p, x) in &terms {
                    out.iter_mut().zip(image(x, n, i)).for_each(|(out, x)| *out += *p * *x);
                }
            })
        });
    }
}

impl<T: Scalar> Kind<T> for Mix<'_> {
    fn forward(&self, at: &At<T>, out: &mut [T]) -> Saved {
        self.apply(at, at.xs.iter().enumerate().map(|(k, x)| (self.weight(at.p, k), *x)), false, out);
        Saved::default()
    }

    fn vjp(&self, at: &At<T>, _: &Saved, _: &[T], g: &[T], bars: &mut Bars<T>) {
        for (k, x_bar) in bars.xs.iter_mut().enumerate() {
            if let Some(x_bar) = x_bar {
                self.apply(at, std::iter::once((self.weight(at.p, k), g)), true, x_bar);
            }
        }
        if let (Some(p_bar), Some(alphas)) = (&mut bars.p, self.alphas) {
            for (k, x) in at.xs.iter().enumerate() {
                p_bar[alphas[k]] += dot(at.kernels, at.shapes[0].n, x, g);
            }
        }
    }

    fn jvp(&self, at: &At<T>, _: &Saved, _: &[T], direction: &Direction<T>, out_dot: &mut [T]) {
        let of_states = direction.xs.iter().enumerate().filter_map(|(k, x)| Some((self.weight(at.p, k), (*x)?)));
        let p_dot = direction.p.filter(|_| self.alphas.is_some());
        let of_p = p_dot.into_iter().flat_map(|p| at.xs.iter().enumerate().map(|(k, x)| (self.weight(p, k), *x)));
        self.apply(at, of_states.chain(of_p), false, out_dot);
    }

    fn cross(&self, at: &At<T>, _: &Saved, _: &[T], direction: &Direction<T>, d: &[T], bars: &mut Bars<T>) {
        let Some(alphas) = self.alphas else { return };
        if let Some(p_dot) = direction.p {
            for (k, x_bar) in bars.xs.iter_mut().enumerate() {
                if let Some(x_bar) = x_bar {
                    self.apply(at, std::iter::once((self.weight(p_dot, k), d)), true, x_bar);
                }
            }
        }
        if let Some(p_bar) = &mut bars.p {
            for (k, x_dot) in direction.xs.iter().enumerate() {
                if let Some(x_dot) = x_dot {
                    p_bar[alphas[k]] += dot(at.kernels, at.shapes[0].n, x_dot, d);
                }
            }
        }
    }
}

impl Concat {
    /// Writes or adds states into their channels of the output, zeros for those that are none.
    fn apply<T: Scalar>(&self, at: &At<T>, states: &[Option<&[T]>], out: &mut [T]) {
        let (n, total) = (at.shapes[0].n, at.shapes.iter().map(|shape| shape.c).sum());
        images(at.kernels, n, out, |_, i, out| {
            let mut first = 0;
            for (x, shape) in states.iter().zip(&at.shapes) {
                let channels = out.chunks_exact_mut(total).map(|out| &mut out[first..first + shape.c]);
                match x {
                    Some(x) => {
                        channels.zip(image(x, n, i).chunks_exact(shape.c)).for_each(|(to, x)| to.copy_from_slice(x));
                    }
                    None => channels.for_each(|to| to.fill(T::default())),
                }
                first += shape.c;
            }
        });
    }
}

impl<T: Scalar> Kind<T> for Concat {
    fn forward(&self, at: &At<T>, out: &mut [T]) -> Saved {
        self.apply(at, &at.xs.iter().map(|x| Some(*x)).collect::<Vec<_>>(), out);
        Saved::default()
    }

    fn vjp(&self, at: &At<T>, _: &Saved, _: &[T], g: &[T], bars: &mut Bars<T>) {
        let (n, total): (_, usize) = (at.shapes[0].n, at.shapes.iter().map(|shape| shape.c).sum());
        let mut first = 0;
        for (x_bar, shape) in bars.xs.iter_mut().zip(&at.shapes) {
            if let Some(x_bar) = x_bar {
                images(at.kernels, n, x_bar, |isa, i, x_bar| {
                    let g = image(g, n, i).chunks_exact(total).map(|g| &g[first..first + shape.c]);
                    let pixels = x_bar.chunks_exact_mut(shape.c).zip(g);
                    compiled!(T, isa, pixels.for_each(|(x, g)| by_channel(x, [g], |x, [g]| *x += g)))
                });
            }
            first += shape.c;
        }
    }

    fn jvp(&self, at: &At<T>, _: &Saved, _: &[T], dot: &Direction<T>, out_dot: &mut [T]) {
        self.apply(at, &dot.xs, out_dot);
    }
}

impl<T: Scalar> Kind<T> for Zero {
    fn forward(&self, _: &At<T>, out: &mut [T]) -> Saved {
        out.fill(T::default());
        Saved::default()
    }

    fn vjp(&self, _: &At<T>, _: &Saved, _: &[T], _: &[T], _: &mut Bars<T>) {}

    fn jvp(&self, _: &At<T>, _: &Saved, _: &[T], _: &Direction<T>, out_dot: &mut [T]) {
        out_dot.fill(T::default());
    }
}

/// An image's values are as those of pixels with as many channels: the outputs are states side by side.
fn in_a_row<'a, T: Scalar>(at: &At<'a, T>) -> At<'a, T> {
    let shapes = at.shapes.iter().map(|shape| Shape { n: shape.n, h: 1, w: 1, c: shape.of_image() }).collect();
    At { shapes, ..at.clone() }
}

impl<T: Scalar> Kind<T> for Outputs {
    fn forward(&self, at: &At<T>, out: &mut [T]) -> Saved {
        Concat.forward(&in_a_row(at), out)
    }

    fn vjp(&self, at: &At<T>, saved: &Saved, out: &[T], g: &[T], bars: &mut Bars<T>) {
        Concat.vjp(&in_a_row(at), saved, out, g, bars);
    }

    fn jvp(&self, at: &At<T>, saved: &Saved, out: &[T], dot: &Direction<T>, out_dot: &mut [T]) {
        Concat.jvp(&in_a_row(at), saved, out, dot, out_dot);
    }
}
