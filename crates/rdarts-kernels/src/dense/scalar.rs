//! The float types of layers, and the loops that differ between them.

use std::fmt::Debug;
use std::ops::{Add, AddAssign, Mul, Sub};

use super::{At, Bars, Direction, Layer, Saved};
use crate::workspace::Workspace;
use rdarts_simd::{Isa, pointwise};

/// `f32` to search and train, `f64` to check.
///
/// The four derivatives of a layer are among what a type has of its own: so their loops are compiled here, with all passes,
/// and not in every crate that calls them.
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
    /// Whether its loops are compiled for each instruction set: what only checks may be slow.
    const IS_FAST: bool;

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

    /// [`Layer::forward`].
    fn forward(layer: &Layer, at: &At<Self>, out: &mut [Self]) -> Saved;
    /// [`Layer::vjp`].
    fn vjp(layer: &Layer, at: &At<Self>, saved: &Saved, out: &[Self], g: &[Self], bars: &mut Bars<Self>);
    /// [`Layer::jvp`].
    fn jvp(layer: &Layer, at: &At<Self>, saved: &Saved, out: &[Self], dot: &Direction<Self>, out_dot: &mut [Self]);
    /// [`Layer::cross`].
    fn cross(
        layer: &Layer,
        at: &At<Self>,
        saved: &Saved,
        out: &[Self],
        dot: &Direction<Self>,
        d: &[Self],
        bars: &mut Bars<Self>,
    );
    /// Zeros in a vector that somebody gave back.
    fn zeros(workspace: &Workspace, len: usize) -> Vec<Self>;
    /// In double precision.
    fn widened(values: &[Self]) -> Vec<f64>;
    /// Adds to a sum.
    fn add_to(total: &mut [Self], values: &[Self]);

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

    /// `dw[ci][co] += sum over pixels of x[p][ci] g[p][co]`, where pixels of x lie `stride` values apart.
    fn weight_gradient(
        isa: Isa,
        px: usize,
        (c_in, c_out): (usize, usize),
        x: &[Self],
        stride: usize,
        g: &[Self],
        dw: &mut [Self],
    ) {
        let _ = isa;
        for (x, g) in x.chunks(stride).map(|x| &x[..c_in]).zip(g.chunks_exact(c_out)).take(px) {
            for (x, dw) in x.iter().zip(dw.chunks_exact_mut(c_out)) {
                dw.iter_mut().zip(g).for_each(|(dw, g)| *dw += *x * *g);
            }
        }
    }
}

macro_rules! compiled_here {
    () => {
        fn forward(layer: &Layer, at: &At<Self>, out: &mut [Self]) -> Saved {
            layer.kind(|kind| kind.forward(at, out))
        }
        fn vjp(layer: &Layer, at: &At<Self>, saved: &Saved, out: &[Self], g: &[Self], bars: &mut Bars<Self>) {
            layer.kind(|kind| kind.vjp(at, saved, out, g, bars));
        }
        fn jvp(layer: &Layer, at: &At<Self>, saved: &Saved, out: &[Self], dot: &Direction<Self>, out_dot: &mut [Self]) {
            layer.kind(|kind| kind.jvp(at, saved, out, dot, out_dot));
        }
        fn cross(
            layer: &Layer,
            at: &At<Self>,
            saved: &Saved,
            out: &[Self],
            dot: &Direction<Self>,
            d: &[Self],
            bars: &mut Bars<Self>,
        ) {
            layer.kind(|kind| kind.cross(at, saved, out, dot, d, bars));
        }
        fn zeros(workspace: &Workspace, len: usize) -> Vec<Self> {
            let mut zeros = Self::vector(workspace, len);
            zeros.fill(0.0);
            zeros
        }
        fn widened(values: &[Self]) -> Vec<f64> {
            values.iter().map(|value| value.wide()).collect()
        }
        fn add_to(total: &mut [Self], values: &[Self]) {
            total.iter_mut().zip(values).for_each(|(total, value)| *total += *value);
        }
    };
}

impl Scalar for f64 {
    const IS_FAST: bool = false;
    compiled_here!();
    fn of(value: f64) -> Self {
        value
    }
    fn wide(self) -> f64 {
        self
    }
}

impl Scalar for f32 {
    const IS_FAST: bool = true;
    compiled_here!();
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
    fn weight_gradient(
        isa: Isa,
        px: usize,
        (c_in, c_out): (usize, usize),
        x: &[Self],
        stride: usize,
        g: &[Self],
        dw: &mut [Self],
    ) {
        pointwise::weight_gradient(isa, px, (c_in, c_out), x, stride, g, c_out, dw);
    }
}
