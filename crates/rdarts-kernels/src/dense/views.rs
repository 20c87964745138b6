//! Pairs of views in one batch: the layers of a Siamese stem see 2 n images, the left views first.

use super::rows::{image, images};
use super::{At, Bars, Direction, Kind, Saved, Scalar, Shape};

/// Channels apart, into the batch.
pub(super) struct Views;

/// One half of the batch.
pub(super) struct View(pub bool);

pub(super) fn pair_shape(x: Shape) -> Result<Shape, String> {
    if !x.c.is_multiple_of(2) {
        return Err(format!("{} channels are no two views", x.c));
    }
    Ok(Shape { n: 2 * x.n, c: x.c / 2, ..x })
}

pub(super) fn view_shape(x: Shape) -> Result<Shape, String> {
    if !x.n.is_multiple_of(2) {
        return Err(format!("{} images are no pairs", x.n));
    }
    Ok(Shape { n: x.n / 2, ..x })
}

impl Views {
    fn apply<T: Scalar>(&self, at: &At<T>, x: &[T], out: &mut [T]) {
        let (n, c) = (at.shapes[0].n, at.shapes[0].c / 2);
        images(at.kernels, 2 * n, out, |_, i, out| {
            for (out, x) in out.chunks_exact_mut(c).zip(image(x, n, i % n).chunks_exact(2 * c)) {
                out.copy_from_slice(&x[i / n * c..][..c]);
            }
        });
    }
}

impl<T: Scalar> Kind<T> for Views {
    fn forward(&self, at: &At<T>, out: &mut [T]) -> Saved {
        self.apply(at, at.xs[0], out);
        Saved::default()
    }

    fn vjp(&self, at: &At<T>, _: &Saved, _: &[T], g: &[T], bars: &mut Bars<T>) {
        let Some(x_bar) = &mut bars.xs[0] else { return };
        let (n, c) = (at.shapes[0].n, at.shapes[0].c / 2);
        images(at.kernels, n, x_bar, |_, i, x_bar| {
            for side in 0..2 {
                let g = image(g, 2 * n, i + side * n).chunks_exact(c);
                for (x, g) in x_bar.chunks_exact_mut(2 * c).zip(g) {
                    x[side * c..][..c].iter_mut().zip(g).for_each(|(x, g)| *x += *g);
                }
            }
        });
    }

    fn jvp(&self, at: &At<T>, _: &Saved, _: &[T], dot: &Direction<T>, out_dot: &mut [T]) {
        match dot.xs[0] {
            Some(x_dot) => self.apply(at, x_dot, out_dot),
            None => out_dot.fill(T::default()),
        }
    }
}

impl View {
    fn half<'a, T>(&self, values: &'a [T]) -> &'a [T] {
        image(values, 2, usize::from(self.0))
    }
}

impl<T: Scalar> Kind<T> for View {
    fn forward(&self, at: &At<T>, out: &mut [T]) -> Saved {
        out.copy_from_slice(self.half(at.xs[0]));
        Saved::default()
    }

    fn vjp(&self, _: &At<T>, _: &Saved, _: &[T], g: &[T], bars: &mut Bars<T>) {
        if let Some(x_bar) = &mut bars.xs[0] {
            let first = usize::from(self.0) * g.len();
            x_bar[first..][..g.len()].iter_mut().zip(g).for_each(|(x, g)| *x += *g);
        }
    }

    fn jvp(&self, _: &At<T>, _: &Saved, _: &[T], dot: &Direction<T>, out_dot: &mut [T]) {
        match dot.xs[0] {
            Some(x_dot) => out_dot.copy_from_slice(self.half(x_dot)),
            None => out_dot.fill(T::default()),
        }
    }
}
