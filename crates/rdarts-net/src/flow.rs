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

use rdarts_kernels::Kernels;
use rdarts_kernels::dense::{At, Bars, Direction, Layer, Saved, Shape};
use rdarts_kernels::spec::WeightKind;

use crate::engine::Engine;
use crate::graph::{Module, Network, Node, Source};
use crate::point::{Batch, Evaluation};
use crate::task::Loss;
use crate::values::{Alphas, Real};

/// The forward pass of a batch, and the gradients that went back.
pub(crate) struct Flow<'s, R: Real> {
    kernels: Kernels,
    net: Network,
    /// Once it is set, passes compute nothing more, and all results are meaningless.
    stop: &'s AtomicBool,
    weights: Vec<R>,
    p: Alphas,
    images: Vec<R>,
    of_images: Shape,
    shapes: Vec<Shape>,
    states: Vec<Vec<R>>,
    saved: Vec<Saved>,
    loss: Box<dyn Loss>,
    evaluation: Evaluation,
    /// The gradient of the loss at every node; empty where it is not wanted, or before it went back.
    kept: Vec<Vec<R>>,
    /// The gradient of the mixing weights.
    p_bar: Alphas,
    /// The gradient of the weights, if it was asked for.
    w_bar: Vec<R>,
}

/// What gradients are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) alphas: bool,
    pub(crate) weights: bool,
    /// For products to come.
    pub(crate) keep: bool,
}

impl<'s, R: Real> Flow<'s, R> {
    /// Forward and back. `p` are mixing weights.
    pub(crate) fn new(
        net: &Network,
        engine: &Engine,
        weights: &[R],
        p: &Alphas,
        batch: Batch<R>,
        asked: Asked,
        stop: &'s AtomicBool,
    ) -> Self {
        assert_eq!(weights.len(), net.n_parameters(), "the flat weights do not fit the network");
        let kernels = engine.kernels.clone();
        let of_images = image_shape(net, batch.targets.n(), batch.side, batch.images.slice());
        let shapes = net.layer_shapes(of_images);
        let (mut states, mut saved) = (Vec::<Vec<R>>::new(), Vec::new());
        for (at, node) in net.nodes().iter().enumerate() {
            let reads = |source: &Source| match *source {
                Source::Images => batch.images.slice(),
                Source::Node(read) => &states[read],
            };
            let xs = node.inputs.iter().map(reads).collect();
            let mut out = R::take(kernels.workspace(), shapes[at].len());
            let layer = layer(node);
            let at = At {
                kernels: &kernels,
                shapes: shapes_of(node, of_images, &shapes),
                xs,
                p: mixing(layer, p),
                w: node.part(weights),
            };
            saved.push(layer.forward(&at, &mut out));
            states.push(out);
        }
        let outputs: Vec<f64> = states[net.output_node()].iter().map(|v| v.wide()).collect();
        let loss = batch.targets.loss(&outputs);
        let mut flow = Self {
            evaluation: Evaluation::new(outputs, &*loss),
            net: net.clone(),
            stop,
            weights: weights.to_vec(),
            p: p.clone(),
            images: batch.images.slice().to_vec(),
            of_images,
            kept: shapes.iter().map(|_| Vec::new()).collect(),
            shapes,
            states,
            saved,
            loss,
            p_bar: Alphas::zeros(net),
            w_bar: Vec::new(),
            kernels,
        };
        if asked.alphas || asked.weights || asked.keep {
            flow.send_back(asked);
        }
        flow
    }

    pub(crate) fn evaluation(&self) -> &Evaluation {
        &self.evaluation
    }

    /// The gradient of the mixing weights.
    pub(crate) fn p_bar(&self) -> &Alphas {
        &self.p_bar
    }

    /// Hands over the gradient of the weights.
    pub(crate) fn take_w_bar(&mut self) -> Vec<R> {
        std::mem::take(&mut self.w_bar)
    }

    /// The gradients of p and of p' of the tangent of the loss along p' = `p_dot`, right for types of cells from `first` on.
    pub(crate) fn product(&self, p_dot: &Alphas, first: usize) -> [Alphas; 2] {
        [self.along(Some(p_dot), None, first), self.p_bar.clone()]
    }

    /// The gradient of p of the tangent of the loss along a direction in the weights.
    pub(crate) fn mixed(&self, v: &[R]) -> Alphas {
        self.along(None, Some(v), 0)
    }

    /// Sends the gradient of the loss back.
    fn send_back(&mut self, asked: Asked) {
        let wanted = self.wanted(asked.weights, 0);
        let workspace = self.kernels.workspace().clone();
        let mut w_bar = if asked.weights { R::take(&workspace, self.net.n_parameters()) } else { Vec::new() };
        w_bar.fill(R::default());
        let mut p_bar = Alphas::zeros(&self.net);
        let mut g = Gradients::new(self, self.loss.gradient());
        for at in (0..self.shapes.len()).rev() {
            if self.is_stopped() {
                break;
            }
            let Some(of_node) = g.take(at) else { continue };
            let node = &self.net.nodes()[at];
            let w = asked.weights.then(|| node.part_mut(&mut w_bar)).filter(|w| !w.is_empty());
            self.back(at, &wanted, &mut g, w, &mut p_bar, |layer, at, saved, out, bars| {
                layer.vjp(at, saved, out, &of_node, bars);
            });
            if asked.keep && wanted[at] {
                self.kept[at] = of_node;
            } else {
                R::give_back(&workspace, of_node);
            }
        }
        (self.p_bar, self.w_bar) = (p_bar, w_bar);
    }

    /// The gradient of p of the tangent of the loss.
    fn along(&self, p_dot: Option<&Alphas>, w_dot: Option<&[R]>, first: usize) -> Alphas {
        let dots = self.tangents(p_dot, w_dot);
        let z_dot: Vec<f64> = match &dots[self.net.output_node()] {
            Some(dot) => dot.iter().map(|v| v.wide()).collect(),
            None => vec![0.0; self.evaluation.outputs.len()],
        };
        let wanted = self.wanted(false, first);
        let mut p_bar = Alphas::zeros(&self.net);
        let mut g = Gradients::new(self, &self.loss.tangent(&z_dot).1);
        for at in (0..self.shapes.len()).rev() {
            if self.is_stopped() {
                break;
            }
            let (node, of_node, d) = (&self.net.nodes()[at], g.take(at), &self.kept[at]);
            if !wanted[at] || (of_node.is_none() && d.is_empty()) {
                continue;
            }
            let direction = self.direction(node, &dots, p_dot, w_dot);
            let moves = direction.p.is_some() || direction.w.is_some() || direction.xs.iter().any(Option::is_some);
            self.back(at, &wanted, &mut g, None, &mut p_bar, |layer, at, saved, out, bars| {
                if let Some(of_node) = &of_node {
                    layer.vjp(at, saved, out, of_node, bars);
                }
                if moves && !d.is_empty() {
                    layer.cross(at, saved, out, &direction, d, bars);
                }
            });
            if let Some(of_node) = of_node {
                R::give_back(self.kernels.workspace(), of_node);
            }
        }
        g.release(&self.kernels);
        dots.into_iter().flatten().for_each(|dot| R::give_back(self.kernels.workspace(), dot));
        p_bar
    }

    /// Tangents of all nodes; none where nothing moves.
    fn tangents(&self, p_dot: Option<&Alphas>, w_dot: Option<&[R]>) -> Vec<Option<Vec<R>>> {
        let mut dots: Vec<Option<Vec<R>>> = Vec::new();
        for (at, node) in self.net.nodes().iter().enumerate() {
            let direction = self.direction(node, &dots, p_dot, w_dot);
            let moves = direction.p.is_some() || direction.w.is_some() || direction.xs.iter().any(Option::is_some);
            let dot = (moves && !self.is_stopped()).then(|| {
                let mut out_dot = R::take(self.kernels.workspace(), self.shapes[at].len());
                layer(node).jvp(&self.at(node), &self.saved[at], &self.states[at], &direction, &mut out_dot);
                out_dot
            });
            dots.push(dot);
        }
        dots
    }

    fn direction<'a>(
        &self,
        node: &Node,
        dots: &'a [Option<Vec<R>>],
        p_dot: Option<&'a Alphas>,
        w_dot: Option<&'a [R]>,
    ) -> Direction<'a, R> {
        let of = |source: &Source| match *source {
            Source::Images => None,
            Source::Node(read) => dots[read].as_deref(),
        };
        let p = layer(node).cell_type().zip(p_dot).map(|(cell_type, p)| p.of(cell_type));
        Direction {
            xs: node.inputs.iter().map(of).collect(),
            p: p.filter(|p| p.iter().any(|p| *p != 0.0)),
            w: w_dot.map(|w| node.part(w)).filter(|w| !w.is_empty()),
        }
    }

    /// Calls f with where the gradients of a node's inputs, of p and of its weights are added.
    fn back(
        &self,
        at: usize,
        wanted: &[bool],
        g: &mut Gradients<R>,
        w: Option<&mut [R]>,
        p_bar: &mut Alphas,
        f: impl FnOnce(&Layer, &At<R>, &Saved, &[R], &mut Bars<R>),
    ) {
        let node = &self.net.nodes()[at];
        let mut taken: Vec<Option<Vec<R>>> = node
            .inputs
            .iter()
            .map(|source| match *source {
                Source::Node(read) if wanted[read] => Some(g.take(read).unwrap_or_else(|| self.zeros(read))),
                _ => None,
            })
            .collect();
        let p = layer(node).cell_type().map(|cell_type| &mut p_bar.each_mut()[cell_type][..]);
        if taken.iter().any(Option::is_some) || p.is_some() || w.is_some() {
            let mut bars = Bars { xs: taken.iter_mut().map(Option::as_deref_mut).collect(), p, w };
            f(layer(node), &self.at(node), &self.saved[at], &self.states[at], &mut bars);
        }
        for (source, sum) in node.inputs.iter().zip(taken) {
            if let (Source::Node(read), Some(sum)) = (*source, sum) {
                g.put(read, sum, &self.kernels);
            }
        }
    }

    fn zeros(&self, node: usize) -> Vec<R> {
        let mut zeros = R::take(self.kernels.workspace(), self.shapes[node].len());
        zeros.fill(R::default());
        zeros
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

    fn at<'a>(&'a self, node: &Node) -> At<'a, R> {
        let of = |source: &Source| match *source {
            Source::Images => &self.images[..],
            Source::Node(read) => &self.states[read][..],
        };
        // The parts of the flat buffer live as long as it does.
        let w = &self.weights[node.offset..node.offset + node.len];
        At {
            kernels: &self.kernels,
            shapes: shapes_of(node, self.of_images, &self.shapes),
            xs: node.inputs.iter().map(of).collect(),
            p: layer(node).cell_type().map_or(&[], |cell_type| self.p.of(cell_type)),
            w,
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

impl<R: Real> Drop for Flow<'_, R> {
    fn drop(&mut self) {
        let lists = self.states.iter_mut().chain(&mut self.kept);
        let workspace = self.kernels.workspace().clone();
        lists.for_each(|values| R::give_back(&workspace, std::mem::take(values)));
    }
}

/// A product of a flow of either float type.
pub(crate) trait Products: Send + Sync {
    /// [`Flow::product`].
    fn product(&self, p_dot: &Alphas, first: usize) -> [Alphas; 2];
}

impl<R: Real> Products for Flow<'_, R> {
    fn product(&self, p_dot: &Alphas, first: usize) -> [Alphas; 2] {
        Flow::product(self, p_dot, first)
    }
}

/// Gradients on their way back, node by node.
struct Gradients<R>(Vec<Option<Vec<R>>>);

impl<R: Real> Gradients<R> {
    /// That of the output.
    fn new(flow: &Flow<'_, R>, last: &[f64]) -> Self {
        let mut list: Vec<Option<Vec<R>>> = flow.shapes.iter().map(|_| None).collect();
        list[flow.net.output_node()] = Some(last.iter().map(|v| R::of(*v)).collect());
        Self(list)
    }

    fn take(&mut self, node: usize) -> Option<Vec<R>> {
        self.0[node].take()
    }

    /// Puts a sum back, or adds it to what a second reading of the same state has left.
    fn put(&mut self, node: usize, sum: Vec<R>, kernels: &Kernels) {
        match &mut self.0[node] {
            Some(total) => {
                total.iter_mut().zip(&sum).for_each(|(total, v)| *total += *v);
                R::give_back(kernels.workspace(), sum);
            }
            slot => *slot = Some(sum),
        }
    }

    fn release(self, kernels: &Kernels) {
        self.0.into_iter().flatten().for_each(|values| R::give_back(kernels.workspace(), values));
    }
}

/// The outputs of images (n, h, w, c_image), (n, values of an image), without anything kept. `p` are mixing weights.
pub(crate) fn outputs<R: Real>(
    net: &Network,
    engine: &Engine,
    weights: &[R],
    p: &Alphas,
    images: &[R],
    n: usize,
    side: [usize; 2],
) -> Vec<f64> {
    let (kernels, workspace) = (&engine.kernels, engine.kernels.workspace());
    let of_images = image_shape(net, n, side, images);
    let shapes = net.layer_shapes(of_images);
    let images = Arc::new(images.to_vec());
    let (out, _) = net.walk(images, |at, node, reads| {
        let mut out = R::take(workspace, shapes[at].len());
        let layer = layer(node);
        let point = At {
            kernels,
            shapes: shapes_of(node, of_images, &shapes),
            xs: reads.iter().map(|x| &x[..]).collect(),
            p: mixing(layer, p),
            w: node.part(weights),
        };
        layer.forward(&point, &mut out);
        // Whoever reads a state last gives its memory back.
        reads.into_iter().filter_map(|x| Arc::try_unwrap(x).ok()).for_each(|x| R::give_back(workspace, x));
        Arc::new(out)
    });
    out.iter().map(|v| v.wide()).collect()
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
        let layer = layer(node);
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
            let shape = layer(node).shape(&shapes_of(node, images, &shapes));
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

fn layer(node: &Node) -> &Layer {
    match &node.module {
        Module::Layer(layer) => layer,
        _ => unreachable!("a network of layers has no other module"),
    }
}

fn mixing<'a>(layer: &Layer, p: &'a Alphas) -> &'a [f64] {
    layer.cell_type().map_or(&[], |cell_type| p.of(cell_type))
}
