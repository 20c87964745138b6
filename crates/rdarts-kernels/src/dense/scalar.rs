//! The float types of layers, and the loops that differ between them.

use std::fmt::Debug;
use std::ops::{Add, AddAssign, Mul, Sub};

use crate::workspace::Workspace;
use rdarts_simd::{Isa, pointwise};

/// `f32` to search and train, `f64` to check.
pub trait Scalar:
    Copy
    + Debug
    + Default
    + PartialOrd
    + Send
    + Sync
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + AddAssign
    + 'static
{
    /// Rounds.
    fn of(value: f64) -> Self;
    /// Widens.
    fn wide(self) -> f64;
    /// A vector of `len` values with unspecified contents.
    fn vector(_: &Workspace, len: usize) -> Vec<Self> {
        vec![Self::default(); len]
    }
    /// Where a vector goes that nobody needs any more.
    fn release(_: &Workspace, _: Vec<Self>) {}

    /// `out[p][co] (+)= sum over ci of x[p][ci] w[ci][co]`, for `px` dense pixels.
    fn product(
        isa: Isa,
        px: usize,
        (c_in, c_out): (usize, usize),
        x: &[Self],
        w: &[Self],
        out: &mut [Self],
        accumulate: bool,
    ) {
        let _ = isa;
        for (x, out) in x.chunks_exact(c_in).zip(out.chunks_exact_mut(c_out)).take(px) {
            if !accumulate {
                out.fill(Self::default());
            }
            for (x, w) in x.iter().zip(w.chunks_exact(c_out)) {
                out.iter_mut().zip(w).for_each(|(out, w)| *out += *x * *w);
            }
        }
    }

    /// `dw[ci][co] += sum over pixels of x[p][ci] g[p][co]`.
    fn weight_gradient(isa: Isa, px: usize, (c_in, c_out): (usize, usize), x: &[Self], g: &[Self], dw: &mut [Self]) {
        let _ = isa;
        for (x, g) in x.chunks_exact(c_in).zip(g.chunks_exact(c_out)).take(px) {
            for (x, dw) in x.iter().zip(dw.chunks_exact_mut(c_out)) {
                dw.iter_mut().zip(g).for_each(|(dw, g)| *dw += *x * *g);
            }
        }
    }
}

impl Scalar for f64 {
    fn of(value: f64) -> Self {
        value
    }
    fn wide(self) -> f64 {
        self
    }
}

impl Scalar for f32 {
    fn of(value: f64) -> Self {
        value as f32
    }
    fn wide(self) -> f64 {
        f64::from(self)
    }
    fn vector(workspace: &Workspace, len: usize) -> Vec<Self> {
        workspace.take_vec(len)
    }
    fn release(workspace: &Workspace, values: Vec<Self>) {
        workspace.give_back(values);
    }
    fn product(
        isa: Isa,
        px: usize,
        (c_in, c_out): (usize, usize),
        x: &[Self],
        w: &[Self],
        out: &mut [Self],
        accumulate: bool,
    ) {
        pointwise::product(isa, px, (c_in, c_out), x, c_in, w, out, c_out, accumulate);
    }
    fn weight_gradient(isa: Isa, px: usize, (c_in, c_out): (usize, usize), x: &[Self], g: &[Self], dw: &mut [Self]) {
        pointwise::weight_gradient(isa, px, (c_in, c_out), x, c_in, g, c_out, dw);
    }
}
