//! The states of a network of layers on a card.

use std::sync::Arc;

use rdarts_gpu::cubecl::client::Client;
use rdarts_gpu::layers::{self, At, Bars, Direction, Part, Saved};
use rdarts_gpu::{Flat, Layout, Numbers};
use rdarts_kernels::dense::Layer;

use crate::engine::Engine;
use crate::graph::Network;
use crate::held::{Held, Made, View};
use crate::place::{Along, Onto, Place, Spot};
use crate::resident::client;
use crate::values::Real;

/// A card.
pub(crate) struct OnCard {
    client: Client,
    /// How weights lie there, node by node.
    layout: Arc<Layout>,
}

impl OnCard {
    /// For a network on the card of an engine.
    pub(crate) fn new(net: &Network, engine: &Engine) -> Self {
        Self { client: client(&engine.device), layout: Arc::new(Layout::new(net.weight_parts())) }
    }

    /// Whether a card computes all layers of a network.
    pub(crate) fn knows(net: &Network) -> bool {
        net.nodes().iter().all(|node| layers::knows(node.layer()))
    }

    fn up<R: Real>(&self, values: &[R]) -> Vec<f32> {
        values.iter().map(|v| v.wide() as f32).collect()
    }

    fn at<'a, R: Real>(&'a self, at: &'a Spot<'a, R, Self>) -> At<'a> {
        At { client: &self.client, shapes: &at.shapes, xs: at.xs.clone(), p: at.p, w: part(at.w, at) }
    }

    fn direction<'a, R: Real>(along: &Along<'a, R, Self>, at: &Spot<'_, R, Self>) -> Direction<'a> {
        Direction { xs: along.xs.clone(), p: along.p, w: along.w.and_then(|w| part(w, at)) }
    }

    fn bars<'b, R: Real>(onto: &'b Onto<'_, R, Self>, at: &Spot<'_, R, Self>) -> Bars<'b> {
        Bars {
            xs: onto.xs.iter().map(Option::as_deref).collect(),
            p: onto.p.as_deref(),
            w: onto.w.as_deref().and_then(|w| part(w, at)),
        }
    }
}

/// The weights of a node, if it has some.
fn part<R: Real>(w: &Flat, at: &Spot<'_, R, OnCard>) -> Option<Part> {
    (!at.part.is_empty()).then(|| Part { numbers: w.part(at.node), at: 0 })
}

impl<R: Real> Place<R> for OnCard {
    type State = Numbers;
    type Weights = Flat;
    type Mixing = Numbers;
    type Saved = Saved;

    fn state(&self, values: &[R]) -> Numbers {
        Numbers::upload(&self.client, &self.up(values))
    }

    fn values(&self, state: &Numbers) -> Vec<f64> {
        state.download(&self.client).iter().map(|v| f64::from(*v)).collect()
    }

    fn zeros(&self, len: usize) -> Numbers {
        Numbers::zeros(&self.client, len)
    }

    fn add(&self, total: &mut Numbers, sum: &Numbers) {
        layers::add(&self.client, sum, 1.0, total);
    }

    fn release(&self, _: Numbers) {}

    fn weights(&self, values: View<R>) -> Flat {
        match values.card() {
            Some(flat) if *flat.layout() == self.layout => flat.clone(),
            _ => Flat::upload(&self.client, &self.layout, &self.up(values.slice())),
        }
    }

    fn zero_weights(&self) -> Flat {
        Flat::zeros(&self.client, &self.layout)
    }

    fn made(&self, weights: Flat) -> Made<R> {
        Made::Card(Held::on_card(weights))
    }

    fn zero_mixing(&self, n: usize) -> Numbers {
        Numbers::zeros(&self.client, n)
    }

    fn mixing(&self, gradient: &Numbers) -> Vec<f64> {
        Place::<R>::values(self, gradient)
    }

    fn forward(&self, layer: &Layer, at: &Spot<'_, R, Self>, _: usize) -> (Numbers, Saved) {
        layers::forward(layer, &self.at(at))
    }

    fn statistics(&self, _: &Self::Saved, _: usize) -> Vec<f64> {
        unreachable!("no network of layers that a card knows has running statistics")
    }

    fn vjp(
        &self,
        layer: &Layer,
        at: &Spot<'_, R, Self>,
        saved: &Saved,
        out: &Numbers,
        g: &Numbers,
        onto: &mut Onto<'_, R, Self>,
    ) {
        layers::vjp(layer, &self.at(at), saved, out, g, &Self::bars(onto, at));
    }

    fn jvp(
        &self,
        layer: &Layer,
        at: &Spot<'_, R, Self>,
        saved: &Saved,
        out: &Numbers,
        along: &Along<'_, R, Self>,
        _: usize,
    ) -> Numbers {
        layers::jvp(layer, &self.at(at), saved, out, &Self::direction(along, at))
    }

    fn cross(
        &self,
        layer: &Layer,
        at: &Spot<'_, R, Self>,
        saved: &Saved,
        out: &Numbers,
        along: &Along<'_, R, Self>,
        d: &Numbers,
        onto: &mut Onto<'_, R, Self>,
    ) {
        let direction = Self::direction(along, at);
        layers::cross(layer, &self.at(at), saved, out, &direction, d, &Self::bars(onto, at));
    }
}
