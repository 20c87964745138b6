//! Where the states of a network of layers lie, and what computes its layers there: the memory of the CPU with the loops of
//! `rdarts-kernels/src/dense`, or a card with the kernels of `rdarts-gpu`. The walks over the network are [`crate::flow`]'s.

use std::ops::Range;

use rdarts_kernels::Kernels;
use rdarts_kernels::cell::in_pool;
use rdarts_kernels::dense::{At, Bars, Direction, Layer, Saved, Shape};

use crate::held::{Made, View};
use crate::values::Real;

/// A place.
pub(crate) trait Place<R: Real>: Send + Sync + Sized {
    /// A state, its tangent or its gradient.
    type State: Send + Sync;
    /// All weights, or anything that has one value for each.
    type Weights: Send + Sync;
    /// The gradient of the mixing weights of a type of cell.
    type Mixing;
    /// What a forward pass leaves for the derivatives.
    type Saved: Send + Sync;

    /// Does work on the thread from which a layer is begun fastest.
    fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        work()
    }

    /// Values of the CPU.
    fn state(&self, values: &[R]) -> Self::State;
    /// To the CPU.
    fn values(&self, state: &Self::State) -> Vec<f64>;
    fn zeros(&self, len: usize) -> Self::State;
    fn add(&self, total: &mut Self::State, sum: &Self::State);
    /// Takes back what nobody needs any more.
    fn release(&self, state: Self::State);

    fn weights(&self, values: View<R>) -> Self::Weights;
    fn zero_weights(&self) -> Self::Weights;
    fn made(&self, weights: Self::Weights) -> Made<R>;

    fn zero_mixing(&self, n: usize) -> Self::Mixing;
    fn mixing(&self, gradient: &Self::Mixing) -> Vec<f64>;

    /// Value, of so many values.
    fn forward(&self, layer: &Layer, at: &Spot<'_, R, Self>, len: usize) -> (Self::State, Self::Saved);
    /// [`Saved::statistics`] of a norm.
    fn statistics(&self, saved: &Self::Saved, pixels: usize) -> Vec<f64>;
    /// [`Layer::vjp`].
    fn vjp(
        &self,
        layer: &Layer,
        at: &Spot<'_, R, Self>,
        saved: &Self::Saved,
        out: &Self::State,
        g: &Self::State,
        onto: &mut Onto<'_, R, Self>,
    );
    /// [`Layer::jvp`], of so many values.
    fn jvp(
        &self,
        layer: &Layer,
        at: &Spot<'_, R, Self>,
        saved: &Self::Saved,
        out: &Self::State,
        along: &Along<'_, R, Self>,
        len: usize,
    ) -> Self::State;
    /// [`Layer::cross`].
    #[allow(clippy::too_many_arguments)]
    fn cross(
        &self,
        layer: &Layer,
        at: &Spot<'_, R, Self>,
        saved: &Self::Saved,
        out: &Self::State,
        along: &Along<'_, R, Self>,
        d: &Self::State,
        onto: &mut Onto<'_, R, Self>,
    );
}

/// What a layer is applied to.
pub(crate) struct Spot<'a, R: Real, P: Place<R>> {
    pub(crate) shapes: Vec<Shape>,
    pub(crate) xs: Vec<&'a P::State>,
    pub(crate) p: &'a [f64],
    pub(crate) w: &'a P::Weights,
    /// The node, by which weights on a card are found.
    #[cfg_attr(not(feature = "gpu"), expect(dead_code))]
    pub(crate) node: usize,
    /// Its part of the flat weights.
    pub(crate) part: Range<usize>,
}

/// A direction: what does not move is none.
pub(crate) struct Along<'a, R: Real, P: Place<R>> {
    pub(crate) xs: Vec<Option<&'a P::State>>,
    pub(crate) p: Option<&'a [f64]>,
    pub(crate) w: Option<&'a P::Weights>,
}

/// Where gradients are added: what is not wanted is none.
pub(crate) struct Onto<'a, R: Real, P: Place<R>> {
    pub(crate) xs: Vec<Option<&'a mut P::State>>,
    pub(crate) p: Option<&'a mut P::Mixing>,
    pub(crate) w: Option<&'a mut P::Weights>,
}

impl<R: Real, P: Place<R>> Along<'_, R, P> {
    /// Whether anything does.
    pub(crate) fn moves(&self) -> bool {
        self.p.is_some() || self.w.is_some() || self.xs.iter().any(Option::is_some)
    }
}

/// The memory of the CPU.
pub(crate) struct OnCpu {
    kernels: Kernels,
    n_weights: usize,
}

impl OnCpu {
    /// For a network of so many weights.
    pub(crate) fn new(kernels: &Kernels, n_weights: usize) -> Self {
        Self { kernels: kernels.clone(), n_weights }
    }

    fn at<'a, R: Real>(&'a self, at: &Spot<'a, R, Self>) -> At<'a, R> {
        At {
            kernels: &self.kernels,
            shapes: at.shapes.clone(),
            xs: at.xs.iter().map(|x| &x[..]).collect(),
            p: at.p,
            w: &at.w[at.part.clone()],
        }
    }

    fn direction<'a, R: Real>(along: &Along<'a, R, Self>, part: &Range<usize>) -> Direction<'a, R> {
        Direction {
            xs: along.xs.iter().map(|x| x.map(|x| &x[..])).collect(),
            p: along.p,
            w: along.w.map(|w| &w[part.clone()]),
        }
    }

    fn bars<'b, R: Real>(onto: &'b mut Onto<'_, R, Self>, part: &Range<usize>) -> Bars<'b, R> {
        Bars {
            xs: onto.xs.iter_mut().map(|x| x.as_mut().map(|x| &mut x[..])).collect(),
            p: onto.p.as_mut().map(|p| &mut p[..]),
            w: onto.w.as_mut().map(|w| &mut w[part.clone()]),
        }
    }
}

impl<R: Real> Place<R> for OnCpu {
    type State = Vec<R>;
    type Weights = Vec<R>;
    type Mixing = Vec<f64>;
    type Saved = Saved;

    /// One of the pool: begun from outside, each layer would wake one up.
    fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        in_pool(work)
    }

    fn state(&self, values: &[R]) -> Vec<R> {
        values.to_vec()
    }

    fn values(&self, state: &Vec<R>) -> Vec<f64> {
        R::widened(state)
    }

    fn zeros(&self, len: usize) -> Vec<R> {
        R::zeros(self.kernels.workspace(), len)
    }

    fn add(&self, total: &mut Vec<R>, sum: &Vec<R>) {
        R::add_to(total, sum);
    }

    fn release(&self, state: Vec<R>) {
        R::give_back(self.kernels.workspace(), state);
    }

    fn weights(&self, values: View<R>) -> Vec<R> {
        values.slice().to_vec()
    }

    fn zero_weights(&self) -> Vec<R> {
        self.zeros(self.n_weights)
    }

    fn made(&self, weights: Vec<R>) -> Made<R> {
        Made::Host(weights)
    }

    fn zero_mixing(&self, n: usize) -> Vec<f64> {
        vec![0.0; n]
    }

    fn mixing(&self, gradient: &Vec<f64>) -> Vec<f64> {
        gradient.clone()
    }

    fn forward(&self, layer: &Layer, at: &Spot<'_, R, Self>, len: usize) -> (Vec<R>, Saved) {
        let mut out = R::take(self.kernels.workspace(), len);
        let saved = layer.forward(&self.at(at), &mut out);
        (out, saved)
    }

    fn statistics(&self, saved: &Saved, pixels: usize) -> Vec<f64> {
        saved.statistics(pixels)
    }

    fn vjp(
        &self,
        layer: &Layer,
        at: &Spot<'_, R, Self>,
        saved: &Saved,
        out: &Vec<R>,
        g: &Vec<R>,
        onto: &mut Onto<'_, R, Self>,
    ) {
        layer.vjp(&self.at(at), saved, out, g, &mut Self::bars(onto, &at.part));
    }

    fn jvp(
        &self,
        layer: &Layer,
        at: &Spot<'_, R, Self>,
        saved: &Saved,
        out: &Vec<R>,
        along: &Along<'_, R, Self>,
        len: usize,
    ) -> Vec<R> {
        let mut out_dot = R::take(self.kernels.workspace(), len);
        layer.jvp(&self.at(at), saved, out, &Self::direction(along, &at.part), &mut out_dot);
        out_dot
    }

    fn cross(
        &self,
        layer: &Layer,
        at: &Spot<'_, R, Self>,
        saved: &Saved,
        out: &Vec<R>,
        along: &Along<'_, R, Self>,
        d: &Vec<R>,
        onto: &mut Onto<'_, R, Self>,
    ) {
        let direction = Self::direction(along, &at.part);
        layer.cross(&self.at(at), saved, out, &direction, d, &mut Self::bars(onto, &at.part));
    }
}
