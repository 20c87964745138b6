//! A network of layers on slices: value, gradients and exact second derivatives, in either float type.
//!
//! Each node is a [`Layer`] with its four derivatives, so the passes are the walks over the network and nothing else. As in
//! [`crate::chain`], the gradient d of the loss goes back once and stays at every node; a product in a direction v is the
//! tangents along v, then one way back in which a node sends the gradient g of its value, and adds what its derivative
//! itself changes by along the tangents, times d:
//!
//! ```text
//! H v = gradient of <d, J v> = sum over the nodes of vjp(g) + cross(tangents, d)
//! ```
//!
//! Mixing weights and their gradients are in double precision.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rdarts_kernels::cell::in_pool;
use rdarts_kernels::dense::{At, Layer, Shape};
use rdarts_kernels::spec::WeightKind;

use crate::engine::Engine;
use crate::graph::{Network, Node, Source};
use crate::held::{Made, View};
use crate::place::{Along, OnCpu, Onto, Place, Spot};
#[cfg(feature = "gpu")]
use crate::place_card::OnCard;
use crate::point::{Batch, Evaluation};
use crate::task::Loss;
use crate::values::{Alphas, Real};

/// What a forward pass and the gradients that went back are asked for.
pub(crate) trait Flowing<R: Real>: Products {
    fn evaluation(&self) -> &Evaluation;

    /// The gradient of the mixing weights.
    fn p_bar(&self) -> &Alphas;

    /// Hands over the gradient of the weights.
    fn take_w_bar(&mut self) -> Made<R>;

    /// Of each node with running statistics those of the batch: means, then unbiased variances.
    fn statistics(&self) -> Vec<Option<Vec<f64>>>;

    /// The gradient of p of the tangent of the loss along a direction in the weights.
    fn mixed(&self, v: View<R>) -> Alphas;
}

/// Products of a flow of either float type.
pub(crate) trait Products: Send + Sync {
    /// The gradients of p and of p' of the tangent of the loss along p' = `p_dot`, right for types of cells from `first` on.
    fn product(&self, p_dot: &Alphas, first: usize) -> [Alphas; 2];
}

/// What gradients are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) alphas: bool,
    pub(crate) weights: bool,
    /// For products to come.
    pub(crate) keep: bool,
}

/// Forward and back on an engine. `p` are mixing weights. Once `stop` is set, passes compute nothing more, and all results are
/// meaningless.
pub(crate) fn flow<'s, R: Real>(
    net: &Network,
    engine: &Engine,
    weights: View<R>,
    p: &Alphas,
    batch: Batch<R>,
    asked: Asked,
    stop: &'s AtomicBool,
) -> Box<dyn Flowing<R> + 's> {
    #[cfg(feature = "gpu")]
    if !engine.is_cpu() && OnCard::knows(net) {
        return Box::new(Flow::new(OnCard::new(net, engine), net, weights, p, batch, asked, stop));
    }
    let place = OnCpu::new(&engine.kernels, net.n_parameters());
    // All layers on one thread of the pool: begun from outside, each of them would wake one up.
    Box::new(in_pool(|| Flow::new(place, net, weights, p, batch, asked, stop)))
}

/// The forward pass of a batch, and the gradients that went back.
struct Flow<'s, R: Real, P: Place<R>> {
    place: P,
    net: Network,
    stop: &'s AtomicBool,
    weights: P::Weights,
    p: Alphas,
    images: P::State,
    of_images: Shape,
    shapes: Vec<Shape>,
    /// All there until this is dropped.
    states: Vec<P::State>,
    saved: Vec<P::Saved>,
    loss: Box<dyn Loss>,
    evaluation: Evaluation,
    /// The gradient of the loss at every node; none where it is not wanted, or before it went back.
    kept: Vec<Option<P::State>>,
    p_bar: Alphas,
    /// The gradient of the weights, if it was asked for.
    w_bar: Option<P::Weights>,
}

impl<'s, R: Real, P: Place<R>> Flow<'s, R, P> {
    fn new(
        place: P,
        net: &Network,
        weights: View<R>,
        p: &Alphas,
        batch: Batch<R>,
        asked: Asked,
        stop: &'s AtomicBool,
    ) -> Self {
        assert_eq!(weights.len(), net.n_parameters(), "the flat weights do not fit the network");
        let of_images = image_shape(net, batch.targets.n(), batch.side, batch.images.slice());
        let shapes = net.layer_shapes(of_images);
        let (weights, images) = (place.weights(weights), place.state(batch.images.slice()));
        let (mut states, mut saved) = (Vec::<P::State>::new(), Vec::new());
        for (at, node) in net.nodes().iter().enumerate() {
            let reads = |source: &Source| match *source {
                Source::Images => &images,
                Source::Node(read) => &states[read],
            };
            let layer = node.layer();
            let spot = Spot {
                shapes: shapes_of(node, of_images, &shapes),
                xs: node.inputs.iter().map(reads).collect(),
                p: mixing(layer, p),
                w: &weights,
                node: at,
                part: node.offset..node.offset + node.len,
            };
            let (out, left) = place.forward(layer, &spot, shapes[at].len());
            saved.push(left);
            states.push(out);
        }
        let outputs = place.values(&states[net.output_node()]);
        let loss = batch.targets.loss(&outputs);
        let mut flow = Self {
            evaluation: Evaluation::new(outputs, &*loss),
            net: net.clone(),
            stop,
            weights,
            p: p.clone(),
            images,
            of_images,
            kept: shapes.iter().map(|_| None).collect(),
            shapes,
            states,
            saved,
            loss,
            p_bar: Alphas::zeros(net),
            w_bar: None,
            place,
        };
        if asked.alphas || asked.weights || asked.keep {
            flow.send_back(asked);
        }
        flow
    }

    /// Sends the gradient of the loss back.
    fn send_back(&mut self, asked: Asked) {
        let wanted = self.wanted(asked.weights, 0);
        let mut w_bar = asked.weights.then(|| self.place.zero_weights());
        let mut p_bar = self.zero_mixing();
        let mut g = self.gradients(self.loss.gradient());
        for at in (0..self.shapes.len()).rev() {
            if self.is_stopped() {
                break;
            }
            let Some(of_node) = g[at].take() else { continue };
            let w = w_bar.as_mut().filter(|_| self.net.nodes()[at].len > 0);
            self.back(at, &wanted, &mut g, w, &mut p_bar, |layer, spot, onto| {
                self.place.vjp(layer, spot, &self.saved[at], &self.states[at], &of_node, onto);
            });
            if asked.keep && wanted[at] {
                self.kept[at] = Some(of_node);
            } else {
                self.place.release(of_node);
            }
        }
        (self.p_bar, self.w_bar) = (self.down(&p_bar), w_bar);
    }

    /// The gradient of p of the tangent of the loss.
    fn along(&self, p_dot: Option<&Alphas>, w_dot: Option<&P::Weights>, first: usize) -> Alphas {
        let dots = self.tangents(p_dot, w_dot);
        let z_dot: Vec<f64> = match &dots[self.net.output_node()] {
            Some(dot) => self.place.values(dot),
            None => vec![0.0; self.evaluation.outputs.len()],
        };
        let wanted = self.wanted(false, first);
        let mut p_bar = self.zero_mixing();
        let mut g = self.gradients(&self.loss.tangent(&z_dot).1);
        for at in (0..self.shapes.len()).rev() {
            if self.is_stopped() {
                break;
            }
            let (node, of_node, d) = (&self.net.nodes()[at], g[at].take(), &self.kept[at]);
            if !wanted[at] || (of_node.is_none() && d.is_none()) {
                continue;
            }
            let direction = self.direction(node, &dots, p_dot, w_dot);
            self.back(at, &wanted, &mut g, None, &mut p_bar, |layer, spot, onto| {
                let (saved, out) = (&self.saved[at], &self.states[at]);
                if let Some(of_node) = &of_node {
                    self.place.vjp(layer, spot, saved, out, of_node, onto);
                }
                if let Some(d) = d.as_ref().filter(|_| direction.moves()) {
                    self.place.cross(layer, spot, saved, out, &direction, d, onto);
                }
            });
            if let Some(of_node) = of_node {
                self.place.release(of_node);
            }
        }
        g.into_iter().chain(dots).flatten().for_each(|state| self.place.release(state));
        self.down(&p_bar)
    }

    /// Tangents of all nodes; none where nothing moves.
    fn tangents(&self, p_dot: Option<&Alphas>, w_dot: Option<&P::Weights>) -> Vec<Option<P::State>> {
        let mut dots: Vec<Option<P::State>> = Vec::new();
        for (at, node) in self.net.nodes().iter().enumerate() {
            let direction = self.direction(node, &dots, p_dot, w_dot);
            let dot = (direction.moves() && !self.is_stopped()).then(|| {
                let (spot, saved, out) = (self.spot(at), &self.saved[at], &self.states[at]);
                self.place.jvp(node.layer(), &spot, saved, out, &direction, self.shapes[at].len())
            });
            dots.push(dot);
        }
        dots
    }

    fn direction<'a>(
        &self,
        node: &Node,
        dots: &'a [Option<P::State>],
        p_dot: Option<&'a Alphas>,
        w_dot: Option<&'a P::Weights>,
    ) -> Along<'a, R, P> {
        let of = |source: &Source| match *source {
            Source::Images => None,
            Source::Node(read) => dots[read].as_ref(),
        };
        let p = node.layer().cell_type().zip(p_dot).map(|(cell_type, p)| p.of(cell_type));
        Along {
            xs: node.inputs.iter().map(of).collect(),
            p: p.filter(|p| p.iter().any(|p| *p != 0.0)),
            w: w_dot.filter(|_| node.len > 0),
        }
    }

    /// Calls f with where the gradients of a node's inputs, of p and of its weights are added.
    fn back(
        &self,
        at: usize,
        wanted: &[bool],
        g: &mut [Option<P::State>],
        w: Option<&mut P::Weights>,
        p_bar: &mut [P::Mixing],
        f: impl FnOnce(&Layer, &Spot<'_, R, P>, &mut Onto<'_, R, P>),
    ) {
        let node = &self.net.nodes()[at];
        let mut taken: Vec<Option<P::State>> = node
            .inputs
            .iter()
            .map(|source| match *source {
                Source::Node(read) if wanted[read] => {
                    Some(g[read].take().unwrap_or_else(|| self.place.zeros(self.shapes[read].len())))
                }
                _ => None,
            })
            .collect();
        let p = node.layer().cell_type().map(|cell_type| &mut p_bar[cell_type]);
        if taken.iter().any(Option::is_some) || p.is_some() || w.is_some() {
            let mut onto = Onto { xs: taken.iter_mut().map(Option::as_mut).collect(), p, w };
            f(node.layer(), &self.spot(at), &mut onto);
        }
        for (source, sum) in node.inputs.iter().zip(taken) {
            if let (Source::Node(read), Some(sum)) = (*source, sum) {
                // What a second reading of the same state has left is there already.
                match &mut g[read] {
                    Some(total) => {
                        self.place.add(total, &sum);
                        self.place.release(sum);
                    }
                    slot => *slot = Some(sum),
                }
            }
        }
    }

    /// Gradients on their way back, node by node: that of the output.
    fn gradients(&self, last: &[f64]) -> Vec<Option<P::State>> {
        let mut list: Vec<Option<P::State>> = self.shapes.iter().map(|_| None).collect();
        let last: Vec<R> = last.iter().map(|v| R::of(*v)).collect();
        list[self.net.output_node()] = Some(self.place.state(&last));
        list
    }

    fn zero_mixing(&self) -> Vec<P::Mixing> {
        self.p.n_each().into_iter().map(|n| self.place.zero_mixing(n)).collect()
    }

    fn down(&self, p_bar: &[P::Mixing]) -> Alphas {
        let of = |(p_bar, n): (&P::Mixing, usize)| {
            let mut values = self.place.mixing(p_bar);
            values.truncate(n);
            values
        };
        p_bar.iter().zip(self.p.n_each()).map(of).collect()
    }

    /// Which nodes a gradient passes on its way to the mixing weights of types of cells from `first` on, or to the weights.
    fn wanted(&self, weights: bool, first: usize) -> Vec<bool> {
        let mut wanted = self.net.behind(|cell_type| cell_type >= first);
        if weights {
            for (at, node) in self.net.nodes().iter().enumerate() {
                let reads = |source: &Source| matches!(source, Source::Node(read) if wanted[*read]);
                wanted[at] = wanted[at] || node.len > 0 || node.inputs.iter().any(reads);
            }
        }
        wanted
    }

    fn spot(&self, at: usize) -> Spot<'_, R, P> {
        let node = &self.net.nodes()[at];
        let of = |source: &Source| match *source {
            Source::Images => &self.images,
            Source::Node(read) => &self.states[read],
        };
        Spot {
            shapes: shapes_of(node, self.of_images, &self.shapes),
            xs: node.inputs.iter().map(of).collect(),
            p: mixing(node.layer(), &self.p),
            w: &self.weights,
            node: at,
            part: node.offset..node.offset + node.len,
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

impl<R: Real, P: Place<R>> Products for Flow<'_, R, P> {
    fn product(&self, p_dot: &Alphas, first: usize) -> [Alphas; 2] {
        [self.place.within(|| self.along(Some(p_dot), None, first)), self.p_bar.clone()]
    }
}

impl<R: Real, P: Place<R>> Flowing<R> for Flow<'_, R, P> {
    fn evaluation(&self) -> &Evaluation {
        &self.evaluation
    }

    fn p_bar(&self) -> &Alphas {
        &self.p_bar
    }

    fn take_w_bar(&mut self) -> Made<R> {
        self.w_bar.take().map_or(Made::Host(Vec::new()), |w_bar| self.place.made(w_bar))
    }

    fn statistics(&self) -> Vec<Option<Vec<f64>>> {
        let of = |(node, (saved, shape)): (&Node, (&P::Saved, &Shape))| {
            (node.running.1 > 0).then(|| self.place.statistics(saved, shape.n * shape.px()))
        };
        self.net.nodes().iter().zip(self.saved.iter().zip(&self.shapes)).map(of).collect()
    }

    fn mixed(&self, v: View<R>) -> Alphas {
        let v = self.place.weights(v);
        self.place.within(|| self.along(None, Some(&v), 0))
    }
}

impl<R: Real, P: Place<R>> Drop for Flow<'_, R, P> {
    fn drop(&mut self) {
        let states = self.states.drain(..).chain(self.kept.drain(..).flatten());
        states.for_each(|state| self.place.release(state));
    }
}

/// A network of layers that is only evaluated: where that is done, its weights there, and its mixing weights.
pub(crate) enum Laid<R: Real> {
    Cpu(OnCpu, Vec<R>, Alphas),
    #[cfg(feature = "gpu")]
    Card(OnCard, rdarts_gpu::Flat, Alphas),
}

impl<R: Real> Laid<R> {
    /// Of all weights, and of mixing weights as they are.
    pub(crate) fn of(net: &Network, engine: &Engine, weights: View<R>, p: &Alphas) -> Self {
        #[cfg(feature = "gpu")]
        if !engine.is_cpu() && OnCard::knows(net) {
            let place = OnCard::new(net, engine);
            let weights = Place::<R>::weights(&place, weights);
            return Self::Card(place, weights, p.clone());
        }
        let place = OnCpu::new(&engine.kernels, net.n_parameters());
        let weights = place.weights(weights);
        Self::Cpu(place, weights, p.clone())
    }

    /// The outputs of images (n, h, w, c_image), (n, values of an image), without anything kept.
    pub(crate) fn outputs(&self, net: &Network, images: &[R], n: usize, side: [usize; 2]) -> Vec<f64> {
        let of_images = image_shape(net, n, side, images);
        match self {
            Self::Cpu(place, weights, p) => in_pool(|| outputs(place, net, weights, p, images, of_images)),
            #[cfg(feature = "gpu")]
            Self::Card(place, weights, p) => outputs(place, net, weights, p, images, of_images),
        }
    }
}

fn outputs<R: Real, P: Place<R>>(
    place: &P,
    net: &Network,
    weights: &P::Weights,
    p: &Alphas,
    images: &[R],
    of_images: Shape,
) -> Vec<f64> {
    let shapes = net.layer_shapes(of_images);
    let (out, _) = net.walk(Arc::new(place.state(images)), |at, node, reads| {
        let layer = node.layer();
        let spot = Spot {
            shapes: shapes_of(node, of_images, &shapes),
            xs: reads.iter().map(|x| &**x).collect(),
            p: mixing(layer, p),
            w: weights,
            node: at,
            part: node.offset..node.offset + node.len,
        };
        let (out, _) = place.forward(layer, &spot, shapes[at].len());
        drop(spot);
        // Whoever reads a state last gives its memory back.
        reads.into_iter().filter_map(|x| Arc::try_unwrap(x).ok()).for_each(|x| place.release(x));
        Arc::new(out)
    });
    place.values(&out)
}

/// Scales and shifts fresh weights by what they make of images (n, h, w, c_image): layer by layer, so that
/// every channel of a convolution with a bias has mean 0 and deviation 1 there, and the output of one without the root mean
/// square 1 (Mishkin and Matas 2016; Krähenbühl et al. 2016). Without batch norms the values of a network whose nodes are sums
/// would grow from cell to cell, and predictions begin far from any disparity; and features whose mean is not 0 would make a
/// correlation that is nearly the same at every shift. A convolution of one channel, a prediction, has the mean 3: the
/// rectifier behind it might never open.
pub fn unit_variance(net: &Network, engine: &Engine, weights: &mut [f32], images: &[f32], n: usize, side: [usize; 2]) {
    let none = Alphas::zeros(net);
    let of_images = image_shape(net, n, side, images);
    let shapes = net.layer_shapes(of_images);
    net.walk(Arc::new(images.to_vec()), |at, node, reads| {
        let mut out = vec![0.0; shapes[at].len()];
        let layer = node.layer();
        let made = |w: &[f32], out: &mut [f32]| {
            let point = At {
                kernels: &engine.kernels,
                shapes: shapes_of(node, of_images, &shapes),
                xs: reads.iter().map(|x| &x[..]).collect(),
                p: mixing(layer, &none),
                w,
            };
            layer.forward(&point, out);
        };
        made(node.part(weights), &mut out);
        if node.len > 0 {
            adjust(layer, node.part_mut(weights), &out, shapes[at].c);
            made(node.part(weights), &mut out);
        }
        Arc::new(out)
    });
}

/// The mean of a fresh prediction, in its deviations.
const OPEN: f64 = 3.0;

/// Adjusts the weights of a layer by its output, of `c` channels.
fn adjust(layer: &Layer, weights: &mut [f32], out: &[f32], c: usize) {
    let parts = layer.weights();
    let bias = parts.iter().find(|part| matches!(part.kind, WeightKind::Vector { .. })).map(|part| part.offset);
    let n = (out.len() / c) as f64;
    let Some(bias) = bias else {
        let square = out.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / out.len() as f64;
        // What reads zeros alone stays as it is.
        let scale = if square > 0.0 { square.sqrt().recip() as f32 } else { 1.0 };
        return weights.iter_mut().for_each(|w| *w *= scale);
    };
    let (mut sums, mut squares) = (vec![0.0; c], vec![0.0; c]);
    for pixel in out.chunks_exact(c) {
        for ((sum, square), v) in sums.iter_mut().zip(&mut squares).zip(pixel.iter().map(|v| f64::from(*v))) {
            *sum += v;
            *square += v * v;
        }
    }
    let open = if c == 1 { OPEN } else { 0.0 };
    for channel in 0..c {
        let mean = sums[channel] / n;
        let variance = squares[channel] / n - mean * mean;
        // So does a channel that is the same everywhere, but for its mean.
        let scale = if variance > 1e-9 * (squares[channel] / n) { variance.sqrt().recip() } else { 1.0 };
        let kernel = &mut weights[..bias];
        match layer {
            // (taps, c_in, c_out), and (taps, c_out, c_in) of a transposed one.
            Layer::Transposed(spec) => {
                let rows = kernel.chunks_exact_mut(spec.c_in).skip(channel).step_by(c);
                rows.flatten().for_each(|w| *w *= scale as f32);
            }
            _ => kernel[channel..].iter_mut().step_by(c).for_each(|w| *w *= scale as f32),
        }
        let shift = &mut weights[bias + channel];
        *shift = ((f64::from(*shift) - mean) * scale + open) as f32;
    }
}

impl Network {
    /// Shapes of the states of a network of layers.
    ///
    /// # Panics
    /// If the images do not fit it.
    pub(crate) fn layer_shapes(&self, images: Shape) -> Vec<Shape> {
        self.try_layer_shapes(images).unwrap_or_else(|why| panic!("{why}"))
    }

    /// The same, or why the images do not fit.
    pub(crate) fn try_layer_shapes(&self, images: Shape) -> Result<Vec<Shape>, String> {
        let mut shapes = Vec::new();
        for node in self.nodes() {
            let shape = node.layer().shape(&shapes_of(node, images, &shapes));
            shapes.push(shape.map_err(|why| format!("{}: {why}", node.prefix))?);
        }
        Ok(shapes)
    }
}

fn image_shape<R>(net: &Network, n: usize, [h, w]: [usize; 2], images: &[R]) -> Shape {
    let shape = Shape { n, h, w, c: net.c_image() };
    assert_eq!(images.len(), shape.len(), "the images are not {shape:?}");
    shape
}

fn shapes_of(node: &Node, images: Shape, shapes: &[Shape]) -> Vec<Shape> {
    let of = |source: &Source| if let Source::Node(read) = *source { shapes[read] } else { images };
    node.inputs.iter().map(of).collect()
}

fn mixing<'a>(layer: &Layer, p: &'a Alphas) -> &'a [f64] {
    layer.cell_type().map_or(&[], |cell_type| p.of(cell_type))
}
