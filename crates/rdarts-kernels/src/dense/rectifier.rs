//! y = x where x > 0, slope x elsewhere. The gate is read off the output, whose sign is the input's.

use super::rows::{image, images};
use super::{At, Bars, Direction, Kind, Saved, Scalar};

/// Leaky ReLU; with slope 0 ReLU.
pub(super) struct Rectifier {
    pub slope: f64,
}

impl Rectifier {
    /// to (+)= from where y is positive, slope from elsewhere.
    fn gate<T: Scalar>(&self, at: &At<T>, y: &[T], from: &[T], to: &mut [T], accumulate: bool) {
        let (n, slope, zero) = (at.shapes[0].n, T::of(self.slope), T::default());
        images(at.kernels, n, to, |isa, i, to| {
            let values = to.iter_mut().zip(image(from, n, i).iter().zip(image(y, n, i)));
            let of = |from: T, y: T| if y > zero { from } else { slope * from };
            compiled!(
                T,
                isa,
                if accumulate {
                    values.for_each(|(to, (from, y))| *to += of(*from, *y));
                } else {
                    values.for_each(|(to, (from, y))| *to = of(*from, *y));
                }
            )
        });
    }
}

impl<T: Scalar> Kind<T> for Rectifier {
    fn forward(&self, at: &At<T>, out: &mut [T]) -> Saved {
        self.gate(at, at.xs[0], at.xs[0], out, false);
        Saved::default()
    }

    fn vjp(&self, at: &At<T>, _: &Saved, out: &[T], g: &[T], bars: &mut Bars<T>) {
        if let Some(x_bar) = &mut bars.xs[0] {
            self.gate(at, out, g, x_bar, true);
        }
    }

    fn jvp(&self, at: &At<T>, _: &Saved, out: &[T], dot: &Direction<T>, out_dot: &mut [T]) {
        match dot.xs[0] {
            Some(x_dot) => self.gate(at, out, x_dot, out_dot, false),
            None => out_dot.fill(T::default()),
        }
    }
}
