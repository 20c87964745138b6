//! A pass over the network on Burn's tape: leaves, the walk, the way back.

use std::sync::Arc;

use burn::tensor::{DType, Device, Gradients, Tensor, TensorData};
use rdarts_kernels::Kernels;
use rdarts_kernels::spec::CellNoise;
use rdarts_kernels::workspace::Workspace;

use crate::calls::{AuxiliaryCall, CellCall, HeadCall, Ledger, Mode, Slot, Statistics, StemCall};
use crate::devices::{came_down, went_up};
use crate::engine::Engine;
use crate::graph::{Module, Network};
#[cfg(feature = "gpu")]
use crate::held::Held;
use crate::held::{Made, View};
use crate::ops;
use crate::point::{Batch, Evaluation};
use crate::task::{Loss, Targets};
use crate::values::{Alphas, Real};

/// What a pass puts on the tape.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tracked {
    Nothing,
    Alphas,
    Weights,
    Both,
}

impl Tracked {
    pub(crate) fn alphas(self) -> bool {
        matches!(self, Self::Alphas | Self::Both)
    }

    pub(crate) fn weights(self) -> bool {
        matches!(self, Self::Weights | Self::Both)
    }
}

/// The leaves of a pass: mixing weights of each type of cell and the weights of each node.
pub(crate) struct Inputs {
    pub(crate) p: Vec<Tensor<1>>,
    pub(crate) w: Vec<Tensor<1>>,
}

impl Inputs {
    /// With mixing weights as they are.
    pub(crate) fn of<R: Real>(net: &Network, p: &Alphas, weights: View<R>, engine: &Engine, tracked: Tracked) -> Self {
        assert_eq!(weights.len(), net.n_parameters(), "the flat weights do not fit the network");
        Self::of_first(net, p, weights, engine, tracked)
    }

    /// The same of weights that others may follow.
    pub(crate) fn of_first<R: Real>(
        net: &Network,
        p: &Alphas,
        weights: View<R>,
        engine: &Engine,
        tracked: Tracked,
    ) -> Self {
        let device = &engine.device;
        let p = p.each().iter().map(|p| {
            let p = upload::<1>(p, [p.len()], device, R::dtype());
            if tracked.alphas() { p.require_grad() } else { p }
        });
        let w = (0..net.nodes().len()).map(|at| {
            let w = leaf(net, at, weights, engine);
            if tracked.weights() { w.require_grad() } else { w }
        });
        Self { p: p.collect(), w: w.collect() }
    }

    /// Gives back the memory of the weights, once the tape has let go of them; that of a card is none of ours.
    pub(crate) fn recycle<R: Real>(self, engine: &Engine) {
        let workspace = engine.kernels.workspace();
        if !engine.is_cpu() {
            return;
        }
        for w in self.w {
            let values = w.into_data().try_into_vec::<R>().expect("weights have the type they were made with");
            R::give_back(workspace, values);
        }
    }
}

/// The weights of a node; on a card a part of all that lies there.
pub(crate) fn leaf<R: Real>(net: &Network, at: usize, weights: View<R>, engine: &Engine) -> Tensor<1> {
    let node = &net.nodes()[at];
    #[cfg(feature = "gpu")]
    if let Some(flat) = weights.card() {
        return crate::resident::leaf(flat, at, node.len, &engine.device);
    }
    upload_reals::<R, 1>(copied(engine.kernels.workspace(), node.part(weights.slice())), [node.len], &engine.device)
}

/// The gradient of the weights as it is made: weights that lie on a card have theirs there, and each node writes its part.
pub(crate) struct Collected {
    #[cfg(feature = "gpu")]
    card: Option<rdarts_gpu::Flat>,
    /// Of each node, where on the card its part goes.
    pub(crate) slots: Vec<Arc<Slot>>,
}

impl Collected {
    /// Of weights that are there, if their gradient is wanted.
    pub(crate) fn of<R: Real>(net: &Network, weights: View<R>, is_wanted: bool) -> Self {
        #[cfg(feature = "gpu")]
        if let Some(weights) = weights.card().filter(|_| is_wanted) {
            let flat = rdarts_gpu::Flat::zeros(weights.client(), weights.layout());
            let slot = |at: usize| {
                let slot = Slot::open();
                slot.put(flat.part(at));
                slot
            };
            return Self { slots: (0..net.nodes().len()).map(slot).collect(), card: Some(flat) };
        }
        let _ = (net, weights, is_wanted);
        Self {
            #[cfg(feature = "gpu")]
            card: None,
            slots: Vec::new(),
        }
    }

    /// The gradient, once the tape has been gone back.
    pub(crate) fn take<R: Real>(
        self,
        net: &Network,
        inputs: &Inputs,
        grads: &mut Gradients,
        workspace: &Workspace,
    ) -> Made<R> {
        #[cfg(feature = "gpu")]
        if let Some(mut flat) = self.card {
            for (at, (w, node)) in inputs.w.iter().zip(net.nodes()).enumerate().filter(|(_, (_, node))| node.len > 0) {
                let g = w.grad_remove(grads).expect("every node is on the way to the loss");
                // A composed body has made it somewhere else.
                if self.slots[at].take::<rdarts_gpu::Numbers>().is_some() {
                    let to = flat.layout().start(at);
                    flat.copy(&crate::resident::numbers_of(g), &[(0, to, node.len)]);
                }
            }
            return Made::Card(Held::on_card(flat));
        }
        Made::Host(take_w_bar(net, inputs, grads, workspace))
    }
}

/// What lies between two nodes.
#[derive(Clone)]
enum Value {
    /// Images or the output of a stem or a cell, (n, h, w, c).
    Maps(Tensor<4>),
    /// (n, classes).
    Logits(Tensor<2>),
}

impl Value {
    fn maps(self) -> Tensor<4> {
        match self {
            Self::Maps(maps) => maps,
            Self::Logits(_) => unreachable!("no node reads logits"),
        }
    }
}

/// How the modules of one pass are called.
pub(crate) struct Forward<'a> {
    pub(crate) kernels: &'a Kernels,
    pub(crate) net: &'a Network,
    pub(crate) noise: &'a [Arc<CellNoise>],
    pub(crate) dual: bool,
    pub(crate) weights_move: bool,
    /// Whether a backward or a dual pass will read the slots.
    pub(crate) keep: bool,
    /// The slots of an earlier plain pass, node by node.
    pub(crate) primal: Option<&'a [Arc<Slot>]>,
    pub(crate) ledger: Arc<Ledger>,
    /// Of a discrete network's modules, node by node; the batch's, which no one reads, if there are none.
    pub(crate) statistics: Vec<Statistics>,
    /// Where on a card the gradients of the weights go, node by node, if they do.
    pub(crate) gradients: Vec<Arc<Slot>>,
}

impl<'a> Forward<'a> {
    pub(crate) fn plain(kernels: &'a Kernels, net: &'a Network, noise: &'a [Arc<CellNoise>], keep: bool) -> Self {
        Self {
            kernels,
            net,
            noise,
            dual: false,
            weights_move: false,
            keep,
            primal: None,
            ledger: Arc::default(),
            statistics: Vec::new(),
            gradients: Vec::new(),
        }
    }

    /// Images (n, h, w, c_image) to logits (n, classes), and the slots of all nodes.
    pub(crate) fn run(&self, images: Tensor<4>, inputs: &Inputs) -> (Tensor<2>, Vec<Arc<Slot>>) {
        let (logits, _, slots) = self.walk(images, None, inputs);
        (logits, slots)
    }

    /// The logits, and those of the auxiliary head.
    pub(crate) fn run_both(&self, images: Tensor<4>, inputs: &Inputs) -> (Tensor<2>, Option<Tensor<2>>) {
        let (logits, auxiliary, _) = self.walk(images, None, inputs);
        (logits, auxiliary)
    }

    /// Like [`Forward::run`], given the output of the stem.
    pub(crate) fn run_after(&self, stem: &Tensor<4>, inputs: &Inputs) -> (Tensor<2>, Vec<Arc<Slot>>) {
        let (logits, _, slots) = self.walk(stem.clone(), Some(stem), inputs);
        (logits, slots)
    }

    /// Images (n, h, w, c_image) to the output of the stem (n, h, w, c).
    pub(crate) fn stem(&self, images: Tensor<4>, inputs: &Inputs) -> Tensor<4> {
        let (spec, at) = self.net.stem();
        ops::stem(images, inputs.w[at].clone(), StemCall { spec, mode: self.mode(at).0 })
    }

    fn walk(
        &self,
        images: Tensor<4>,
        stem: Option<&Tensor<4>>,
        inputs: &Inputs,
    ) -> (Tensor<2>, Option<Tensor<2>>, Vec<Arc<Slot>>) {
        let quiet = Arc::new(CellNoise::default());
        let mut slots = Vec::new();
        let (out, auxiliary) = self.net.walk(Value::Maps(images), |at, node, reads| {
            let (mode, slot) = self.mode(at);
            let w = inputs.w[at].clone();
            let mut reads = reads.into_iter().map(Value::maps);
            let mut next = || reads.next().expect("a node has the inputs of its module");
            // Nothing is read again from a stem's slot.
            slots.push(if matches!(node.module, Module::Stem(_)) { Slot::closed() } else { slot });
            match &node.module {
                Module::Stem(spec) => Value::Maps(match stem {
                    Some(stem) => stem.clone(),
                    None => ops::stem(next(), w, StemCall { spec: *spec, mode }),
                }),
                Module::Cell(cell) => {
                    let noise = self.noise.get(cell.index).unwrap_or(&quiet).clone();
                    let p = inputs.p[cell.cell_type].clone();
                    let call = CellCall { spec: cell.spec.clone(), noise, mode };
                    let (s0, s1) = (next(), next());
                    Value::Maps(ops::cell(s0, s1, p, w, call))
                }
                Module::Own(own) => Value::Maps(own.call(next(), w, self.dual)),
                Module::Layer(_) => unreachable!("a network of layers goes another way"),
                Module::Head(spec) => Value::Logits(ops::head(next(), w, HeadCall { spec: *spec, mode })),
                Module::Auxiliary(spec) => {
                    Value::Logits(ops::auxiliary(next(), w, AuxiliaryCall { spec: *spec, mode }))
                }
            }
        });
        let logits = |value| match value {
            Value::Logits(logits) => logits,
            Value::Maps(_) => unreachable!("a network ends with its heads"),
        };
        (logits(out), auxiliary.map(logits), slots)
    }

    fn mode(&self, node: usize) -> (Mode, Arc<Slot>) {
        let slot = if self.keep { Slot::open() } else { Slot::closed() };
        let kernels = self.kernels.clone();
        let mode = if self.dual {
            let primal = self.primal.map(|slots| slots[node].clone());
            Mode::dual(kernels, self.weights_move, slot.clone(), primal)
        } else {
            Mode::plain(kernels, slot.clone())
        };
        let mode = match self.statistics.get(node) {
            Some(statistics) => Mode { statistics: statistics.clone(), ..mode },
            None => mode,
        };
        let mode = match self.gradients.get(node) {
            Some(gradient) => Mode { gradient: gradient.clone(), ..mode },
            None => mode,
        };
        (mode.in_pass(self.ledger.clone()), slot)
    }
}

/// The gradients with respect to the mixing weights; zeros, `n_each` of them, where no cell of that type exists.
pub(crate) fn take_p_bar(inputs: &Inputs, grads: &mut Gradients, n_each: &[usize]) -> Alphas {
    let take = |(p, n): (&Tensor<1>, &usize)| match p.grad_remove(grads) {
        Some(g) => download(g.into_data()),
        None => vec![0.0; *n],
    };
    inputs.p.iter().zip(n_each).map(take).collect()
}

/// The gradient with respect to the weights, flat.
fn take_w_bar<R: Real>(net: &Network, inputs: &Inputs, grads: &mut Gradients, workspace: &Workspace) -> Vec<R> {
    let mut gradient = R::take(workspace, net.n_parameters());
    // An operation from outside may have no weights.
    for (w, node) in inputs.w.iter().zip(net.nodes()).filter(|(_, node)| node.len > 0) {
        let g = w.grad_remove(grads).expect("every node is on the way to the loss");
        let g = g.into_data();
        came_down(g.bytes().len());
        let g = g.try_into_vec::<R>().expect("a gradient has the type of its tensor");
        node.part_mut(&mut gradient).copy_from_slice(&g);
        R::give_back(workspace, g);
    }
    gradient
}

/// The reverse pass from the logits with a given cotangent.
pub(crate) fn seeded_backward(logits: Tensor<2>, cotangent: &[f64]) -> Gradients {
    seeded(logits, cotangent).backward()
}

/// `<logits, cotangent>`, to be sent back.
pub(crate) fn seeded(logits: Tensor<2>, cotangent: &[f64]) -> Tensor<1> {
    let seed = upload::<2>(cotangent, logits.dims(), &logits.device(), logits.dtype());
    (logits * seed).sum()
}

pub(crate) fn evaluate(outputs: &Tensor<2>, targets: Targets) -> (Evaluation, Box<dyn Loss>) {
    let outputs = download(outputs.clone().into_data());
    let loss = targets.loss(&outputs);
    (Evaluation::new(outputs, &*loss), loss)
}

pub(crate) fn upload_images<R: Real>(net: &Network, batch: Batch<R>, engine: &Engine) -> Tensor<4> {
    let size = [batch.targets.n(), batch.side[0], batch.side[1], net.c_image()];
    assert_eq!(batch.images.len(), size.iter().product::<usize>(), "the images are not {size:?}");
    #[cfg(feature = "gpu")]
    if let Some(flat) = batch.images.card() {
        return crate::resident::lying(flat.part(0), flat.client(), size, &engine.device);
    }
    upload_reals::<R, 4>(copied(engine.kernels.workspace(), batch.images.slice()), size, &engine.device)
}

/// A copy in memory that an earlier step has left.
pub(crate) fn copied<R: Real>(workspace: &Workspace, values: &[R]) -> Vec<R> {
    let mut out = R::take(workspace, values.len());
    out.copy_from_slice(values);
    out
}

/// A tensor of the type of its values.
pub(crate) fn upload_reals<R: Real, const D: usize>(values: Vec<R>, size: [usize; D], device: &Device) -> Tensor<D> {
    went_up(size_of_val(&values[..]));
    Tensor::from_data(TensorData::new(values, size), (device, R::dtype()))
}

/// A tensor of a given type.
pub(crate) fn upload<const D: usize>(values: &[f64], size: [usize; D], device: &Device, dtype: DType) -> Tensor<D> {
    let data = TensorData::new(values.to_vec(), size).convert_dtype(dtype);
    went_up(data.bytes().len());
    Tensor::from_data(data, (device, dtype))
}

pub(crate) fn download(data: TensorData) -> Vec<f64> {
    came_down(data.bytes().len());
    data.try_into_vec_as::<f64>().expect("a float tensor reads as double precision")
}
