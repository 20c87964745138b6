//! Linear maps without weights: some channels, channels in another order, pixels moved by one, the mean over the pixels.

use super::rows::{image, images};
use super::{At, Bars, Direction, Kind, Saved, Scalar, Shape};

/// The channels from one on, so many.
pub(super) struct Channels {
    pub first: usize,
    pub len: usize,
}

/// Channel g (c / groups) + i becomes channel i groups + g (Zhang et al. 2018, "ShuffleNet").
pub(super) struct Shuffle {
    pub groups: usize,
}

/// Each pixel is the one below it to the right; zero where that is outside.
pub(super) struct Shift;

/// The mean over the pixels of an image: (n, 1, 1, c).
pub(super) struct Mean;

pub(super) fn channels_shape(x: Shape, first: usize, len: usize) -> Result<Shape, String> {
    match first + len <= x.c {
        true => Ok(Shape { c: len, ..x }),
        false => Err(format!("channels {first} to {} of {}", first + len, x.c)),
    }
}

pub(super) fn shuffle_shape(x: Shape, groups: usize) -> Result<Shape, String> {
    match x.c.is_multiple_of(groups) {
        true => Ok(x),
        false => Err(format!("{} channels are no {groups} groups of equal size", x.c)),
    }
}

/// A map whose outputs are sums of inputs, all times one factor.
trait Linear: Sync {
    /// Calls f with (output, input) of every term, for an image of this shape.
    fn terms(&self, x: Shape, f: impl FnMut(usize, usize));

    /// What every term is multiplied by.
    fn factor(&self, _: Shape) -> f64 {
        1.0
    }

    /// out = the map of x.
    fn apply<T: Scalar>(&self, at: &At<T>, x: &[T], out: &mut [T]) {
        let shape = at.shapes[0];
        let factor = T::of(self.factor(shape));
        images(at.kernels, shape.n, out, |_, i, out| {
            let x = image(x, shape.n, i);
            out.fill(T::default());
            self.terms(shape, |to, from| out[to] += factor * x[from]);
        });
    }

    /// x_bar += the transpose of g.
    fn add_back<T: Scalar>(&self, at: &At<T>, g: &[T], x_bar: &mut [T]) {
        let shape = at.shapes[0];
        let factor = T::of(self.factor(shape));
        images(at.kernels, shape.n, x_bar, |_, i, x_bar| {
            let g = image(g, shape.n, i);
            self.terms(shape, |to, from| x_bar[from] += factor * g[to]);
        });
    }
}

impl Linear for Channels {
    #[inline(always)]
    fn terms(&self, x: Shape, mut f: impl FnMut(usize, usize)) {
        for px in 0..x.px() {
            (0..self.len).for_each(|c| f(px * self.len + c, px * x.c + self.first + c));
        }
    }
}

impl Linear for Shuffle {
    #[inline(always)]
    fn terms(&self, x: Shape, mut f: impl FnMut(usize, usize)) {
        let each = x.c / self.groups;
        for px in 0..x.px() {
            for g in 0..self.groups {
                (0..each).for_each(|i| f(px * x.c + i * self.groups + g, px * x.c + g * each + i));
            }
        }
    }
}

impl Linear for Shift {
    #[inline(always)]
    fn terms(&self, x: Shape, mut f: impl FnMut(usize, usize)) {
        for row in 1..x.h {
            for column in 1..x.w {
                let [to, from] = [(row - 1) * x.w + column - 1, row * x.w + column].map(|px| px * x.c);
                (0..x.c).for_each(|c| f(to + c, from + c));
            }
        }
    }
}

impl Linear for Mean {
    #[inline(always)]
    fn terms(&self, x: Shape, mut f: impl FnMut(usize, usize)) {
        for px in 0..x.px() {
            (0..x.c).for_each(|c| f(c, px * x.c + c));
        }
    }

    fn factor(&self, x: Shape) -> f64 {
        1.0 / x.px() as f64
    }
}

macro_rules! kinds {
    ($($map:ty),+) => {$(
        impl<T: Scalar> Kind<T> for $map {
            fn forward(&self, at: &At<T>, out: &mut [T]) -> Saved {
                self.apply(at, at.xs[0], out);
                Saved::default()
            }

            fn vjp(&self, at: &At<T>, _: &Saved, _: &[T], g: &[T], bars: &mut Bars<T>) {
                if let Some(x_bar) = &mut bars.xs[0] {
                    self.add_back(at, g, x_bar);
                }
            }

            fn jvp(&self, at: &At<T>, _: &Saved, _: &[T], dot: &Direction<T>, out_dot: &mut [T]) {
                match dot.xs[0] {
                    Some(x_dot) => self.apply(at, x_dot, out_dot),
                    None => out_dot.fill(T::default()),
                }
            }
        }
    )+};
}

kinds!(Channels, Shuffle, Shift, Mean);
