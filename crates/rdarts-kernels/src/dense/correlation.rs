//! The one-dimensional correlation of two views (DispNetC; AutoDispNet, section 5):
//! y[row][x][d + s] = <l[row][x], r[row][x + s]> / c for the shifts s in -d..=d, zero where x + s lies outside.

use super::rows::{by_channel, costly_images, image, in_eight};
use super::{At, Bars, Direction, Kind, Saved, Scalar, Shape};

/// Sizes of a correlation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CorrelationSpec {
    /// The largest shift d to either side, in pixels of the views.
    pub displacement: usize,
}

impl CorrelationSpec {
    pub(super) fn shape(&self, inputs: &[Shape]) -> Result<Shape, String> {
        if inputs[0] != inputs[1] {
            return Err(format!("a correlation got views of {:?} and {:?}", inputs[0], inputs[1]));
        }
        Ok(Shape { c: self.shifts(), ..inputs[0] })
    }

    fn shifts(&self) -> usize {
        2 * self.displacement + 1
    }

    /// Calls f with (position of the output, pixel of the left view, pixel of the right view) for all that are inside.
    #[inline(always)]
    fn each(&self, shape: Shape, mut f: impl FnMut(usize, usize, usize)) {
        let d = self.displacement;
        for left in 0..shape.px() {
            let (row, x) = (left / shape.w * shape.w, left % shape.w);
            for other in x.saturating_sub(d)..(x + d + 1).min(shape.w) {
                f(left * self.shifts() + d + other - x, left, row + other);
            }
        }
    }

    fn add<T: Scalar>(&self, at: &At<T>, l: &[T], r: &[T], out: &mut [T]) {
        let (shape, c) = (at.shapes[0], at.shapes[0].c);
        let share = T::of(1.0 / c as f64);
        costly_images(at.kernels, (shape.n, c), out, |isa, i, out| {
            let (l, r) = (image(l, shape.n, i), image(r, shape.n, i));
            compiled!(
                T,
                isa,
                self.each(shape, |o, left, right| {
                    let (l, r) = (&l[left * c..(left + 1) * c], &r[right * c..(right + 1) * c]);
                    out[o] += share * in_eight(l, r, T::default(), |sum, l, r| sum + l * r);
                })
            )
        });
    }

    /// Adds the gradients of <correlation of (l, r), g>.
    fn add_back<T: Scalar>(&self, at: &At<T>, [l, r]: [Option<&[T]>; 2], g: &[T], bars: &mut Bars<T>) {
        let (shape, c) = (at.shapes[0], at.shapes[0].c);
        let share = T::of(1.0 / c as f64);
        let [l_bar, r_bar] = &mut bars.xs[..] else { unreachable!("a correlation reads two views") };
        if let (Some(l_bar), Some(r)) = (l_bar, r) {
            costly_images(at.kernels, (shape.n, self.shifts()), l_bar, |isa, i, l_bar| {
                let (g, r) = (image(g, shape.n, i), image(r, shape.n, i));
                compiled!(
                    T,
                    isa,
                    self.each(shape, |o, left, right| {
                        let g = share * g[o];
                        by_channel(&mut l_bar[left * c..(left + 1) * c], [&r[right * c..]], |to, [r]| *to += g * r);
                    })
                )
            });
        }
        if let (Some(r_bar), Some(l)) = (r_bar, l) {
            costly_images(at.kernels, (shape.n, self.shifts()), r_bar, |isa, i, r_bar| {
                let (g, l) = (image(g, shape.n, i), image(l, shape.n, i));
                compiled!(
                    T,
                    isa,
                    self.each(shape, |o, left, right| {
                        let g = share * g[o];
                        by_channel(&mut r_bar[right * c..(right + 1) * c], [&l[left * c..]], |to, [l]| *to += g * l);
                    })
                )
            });
        }
    }
}

impl<T: Scalar> Kind<T> for CorrelationSpec {
    fn forward(&self, at: &At<T>, out: &mut [T]) -> Saved {
        out.fill(T::default());
        self.add(at, at.xs[0], at.xs[1], out);
        Saved::default()
    }

    fn vjp(&self, at: &At<T>, _: &Saved, _: &[T], g: &[T], bars: &mut Bars<T>) {
        self.add_back(at, [Some(at.xs[0]), Some(at.xs[1])], g, bars);
    }

    fn jvp(&self, at: &At<T>, _: &Saved, _: &[T], dot: &Direction<T>, out_dot: &mut [T]) {
        out_dot.fill(T::default());
        if let Some(l_dot) = dot.xs[0] {
            self.add(at, l_dot, at.xs[1], out_dot);
        }
        if let Some(r_dot) = dot.xs[1] {
            self.add(at, at.xs[0], r_dot, out_dot);
        }
    }

    fn cross(&self, at: &At<T>, _: &Saved, _: &[T], dot: &Direction<T>, d: &[T], bars: &mut Bars<T>) {
        self.add_back(at, [dot.xs[0], dot.xs[1]], d, bars);
    }
}
