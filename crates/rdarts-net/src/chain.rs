//! The network on slices: the fused kernels one after the other, without a tape, for second derivatives.
//!
//! Let d be the gradient of the loss on its way back through the network. The tangent of the loss in a direction v is
//! <d, tangents of the inputs>, and its gradient, H v, comes from sending two things back: d, along the tangents, and
//! g, along the values. d is the same for every v, so a chain sends it back once, keeps what it meets
//! ([`rdarts_kernels::backward::Kept`]), and each product costs the tangents and g. Where nothing moves nothing is
//! computed: in front of the first cell whose mixing weights move, and in all that such a cell makes of its inputs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::DType;
use rayon::prelude::*;
use rdarts_kernels::backward::{Kept, Pushforward, Want, vjp};
use rdarts_kernels::cell::{CellInput, CellTangent, Saved, SavedDot, forward, jvp};
use rdarts_kernels::spec::{CellDims, CellNoise};
use rdarts_kernels::stem::StemSaved;
use rdarts_kernels::workspace::Workspace;
use rdarts_kernels::{Kernels, head, stem};

use crate::graph::{CellModule, Module, Network, Node, Source};
use crate::point::{Batch, Evaluation, Here};
use crate::task::Loss;
use crate::values::{Alphas, Real};

/// For who never stops.
pub(crate) static NEVER: AtomicBool = AtomicBool::new(false);

/// A forward pass and the way back of its loss.
pub(crate) struct Chain<'s> {
    kernels: Kernels,
    net: Network,
    /// Once it is set, ways back and products compute nothing more, and all results are meaningless.
    stop: &'s AtomicBool,
    noise: Vec<Arc<CellNoise>>,
    weights: Vec<f32>,
    /// Mixing weights of each type of cell.
    p: Vec<Vec<f32>>,
    /// Images and sides of what each node reads.
    dims: Vec<CellDims>,
    images: State,
    /// Of every node.
    states: Vec<State>,
    loss: Box<dyn Loss>,
    evaluation: Evaluation,
    /// What the gradient of the loss left in each cell, node by node.
    kept: Vec<Option<Kept>>,
    /// The gradient of p.
    p_bar: Alphas,
    /// The gradient of the weights, if it was asked for.
    w_bar: Vec<f32>,
}

/// What a node has made, or the images.
struct State {
    out: Vec<f32>,
    saved: Made,
}

/// What a node keeps for its derivatives.
enum Made {
    Images,
    Stem(StemSaved),
    Cell(Box<Saved>),
    /// Means over the pixels.
    Head(Vec<f32>),
}

/// A direction in the inputs; the mixing weights' part may be zero.
struct Direction<'a> {
    p: &'a [Vec<f32>],
    w: Option<&'a [f32]>,
}

/// The tangent of what a node has made.
enum StateDot {
    /// Nothing moves.
    Still,
    Stem(Vec<f32>),
    Cell(Box<SavedDot>),
    Head(Vec<f32>),
}

impl StateDot {
    fn out(&self) -> Option<&[f32]> {
        match self {
            Self::Still => None,
            Self::Stem(out) | Self::Head(out) => Some(out),
            Self::Cell(saved) => Some(saved.out_dot()),
        }
    }
}

impl<'s> Chain<'s> {
    /// Whether the fused kernels run this network on this engine and type.
    pub fn fits<R: Real>(at: Here<R>) -> bool {
        R::dtype() == DType::F32 && at.engine.is_cpu() && at.net.is_fused()
    }

    /// The passes of a batch, with the gradient of the weights if `weights`.
    pub fn new<R: Real>(at: Here<R>, batch: Batch<R>, weights: bool, stop: &'s AtomicBool) -> Self {
        let (net, n) = (at.net.clone(), batch.targets.n());
        let kernels = at.engine.kernels.clone();
        let workspace = kernels.workspace();
        let p = at.alphas.softmax(&net).narrow();
        let images = State { out: narrow(workspace, batch.images.slice()), saved: Made::Images };
        let (w, dims) = (narrow(workspace, at.weights.slice()), net.dims(n, batch.side));
        let states = net.walk_all(&images, |at, node, reads| {
            let part = node.part(&w);
            let px = |side: [usize; 2]| n * side[0] * side[1];
            match &node.module {
                Module::Stem(spec) => {
                    let mut out = workspace.take_vec(px(dims[at].side1) * spec.c_out);
                    let saved = stem::forward(&kernels, *spec, n, dims[at].side1, &reads[0].out, part, &mut out);
                    State { out, saved: Made::Stem(saved) }
                }
                Module::Cell(CellModule { spec, cell_type, index }) => {
                    let input =
                        CellInput { s0: &reads[0].out, s1: &reads[1].out, p: &p[*cell_type], w: part, running: None };
                    let mut out = workspace.take_vec(px(dims[at].side_out(spec)) * spec.c_out());
                    let saved = forward(&kernels, spec, dims[at], input, noise_of(batch.noise, *index), &mut out);
                    State { out, saved: Made::Cell(Box::new(saved)) }
                }
                Module::Head(spec) => {
                    let means = head::pool(&kernels, n, spec.c_in, &reads[0].out);
                    let mut out = vec![0.0; n * spec.classes];
                    head::apply(spec, &means, part, true, false, &mut out);
                    State { out, saved: Made::Head(means) }
                }
                Module::Own(_) => unreachable!("the kernels know no operation from outside"),
                Module::Layer(_) => unreachable!("a network of layers goes another way"),
                Module::Auxiliary(_) => unreachable!("second derivatives are those of a supernet"),
            }
        });
        let outputs: Vec<f64> = net.output(&states).out.iter().map(|v| f64::from(*v)).collect();
        let loss = batch.targets.loss(&outputs);
        let evaluation = Evaluation::new(outputs, &*loss);
        let (p_bar, noise) = (Alphas::zeros(&net), batch.noise.to_vec());
        let (kept, w_bar) = (Vec::new(), Vec::new());
        let mut chain = Self {
            kernels,
            net,
            stop,
            noise,
            weights: w,
            p,
            dims,
            images,
            states,
            loss,
            evaluation,
            kept,
            p_bar,
            w_bar,
        };
        chain.send_back(weights);
        chain
    }

    pub fn evaluation(&self) -> &Evaluation {
        &self.evaluation
    }

    /// The gradient of the weights, flat; empty if it was not asked for.
    pub fn weight_gradient(&self) -> &[f32] {
        &self.w_bar
    }

    /// The gradients of p and p' of the tangent of the loss along p' = `p_dot`. Those of p are right for types of cells
    /// from `first` on; the others may be missing.
    pub fn product(&self, p_dot: &Alphas, first: usize) -> [Alphas; 2] {
        let of_p = self.along(Direction { p: &p_dot.narrow(), w: None }, first);
        [of_p, self.p_bar.clone()]
    }

    /// The gradient of p of the tangent of the loss along v in the weights.
    pub fn mixed<R: Real>(&self, v: &[R]) -> Alphas {
        let (v, still) = (narrow(self.kernels.workspace(), v), Alphas::zeros(&self.net).narrow());
        let of_p = self.along(Direction { p: &still, w: Some(&v) }, 0);
        self.kernels.workspace().give_back(v);
        of_p
    }

    fn state(&self, source: Source) -> &State {
        match source {
            Source::Images => &self.images,
            Source::Node(read) => &self.states[read],
        }
    }

    fn input(&self, node: &Node, cell: &CellModule) -> CellInput<'_> {
        let [s0, s1] = [0, 1].map(|i| &self.state(node.inputs[i]).out[..]);
        CellInput { s0, s1, p: &self.p[cell.cell_type], w: node.part(&self.weights), running: None }
    }

    /// The gradient of the loss, with what products need of it.
    fn send_back(&mut self, weights: bool) {
        let last: Vec<f32> = self.loss.gradient().iter().map(|v| *v as f32).collect();
        let workspace = self.kernels.workspace();
        let mut w_bar = if weights { workspace.take_vec(self.weights.len()) } else { Vec::new() };
        let mut kept: Vec<Option<Kept>> = self.states.iter().map(|_| None).collect();
        let mut p_bar = Alphas::zeros(&self.net);
        let wanted = if weights { vec![true; self.states.len()] } else { self.net.behind(|_| true) };
        let back = |at: usize, node: &Node, g: Vec<f32>, wants: &[bool]| {
            let part = node.part(&self.weights);
            if self.is_stopped() {
                return Vec::new();
            }
            match (&node.module, &self.states[at].saved) {
                (Module::Head(spec), Made::Head(means)) => {
                    if weights {
                        node.part_mut(&mut w_bar).copy_from_slice(&head::weight_gradient(spec, means, &g));
                    }
                    vec![Some(head::input_gradient(&self.kernels, spec, self.px(at), &[(part, &g)]))]
                }
                (Module::Cell(cell), Made::Cell(saved)) => {
                    let want = Want { s0: wants[0], s1: wants[1], p: true, w: weights, keep: true };
                    let noise = noise_of(&self.noise, cell.index);
                    let grads = vjp(self.input(node, cell), &self.states[at].out, noise, saved, &g, None, want);
                    add_p(&mut p_bar.each_mut()[cell.cell_type], &grads.p);
                    if weights {
                        node.part_mut(&mut w_bar).copy_from_slice(&grads.w);
                        workspace.give_back(grads.w);
                    }
                    kept[at] = Some(grads.kept.expect("it was asked for"));
                    workspace.give_back(g);
                    vec![wants[0].then_some(grads.s0), wants[1].then_some(grads.s1)]
                }
                (Module::Stem(_), Made::Stem(saved)) => {
                    let dw = stem::vjp(&self.state(node.inputs[0]).out, part, saved, &g);
                    node.part_mut(&mut w_bar).copy_from_slice(&dw);
                    workspace.give_back(dw);
                    workspace.give_back(g);
                    vec![None]
                }
                _ => unreachable!("a node has made what its module makes"),
            }
        };
        self.net.walk_back(last, &wanted, back, |total, part| add(workspace, total, part));
        (self.kept, self.p_bar, self.w_bar) = (kept, p_bar, w_bar);
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Pixels of an image that a node reads.
    fn px(&self, node: usize) -> usize {
        self.dims[node].side1.iter().product()
    }

    /// The gradient of p of the tangent of the loss along a direction, right for types of cells from `first` on.
    fn along(&self, direction: Direction<'_>, first: usize) -> Alphas {
        let workspace = self.kernels.workspace();
        let mut dots = self.tangents(&direction);
        let narrow = |v: &[f64]| v.iter().map(|v| *v as f32).collect::<Vec<f32>>();
        let z_dot: Vec<f64> = match self.net.output(&dots).out() {
            Some(dot) => dot.iter().map(|v| f64::from(*v)).collect(),
            None => vec![0.0; self.evaluation.outputs.len()],
        };
        let (last, d) = (narrow(&self.loss.tangent(&z_dot).1), narrow(self.loss.gradient()));
        let mut p_bar = Alphas::zeros(&self.net);
        let wanted = self.net.behind(|cell_type| cell_type >= first);
        let back = |at: usize, node: &Node, g: Vec<f32>, wants: &[bool]| match (&node.module, &self.states[at].saved) {
            _ if self.is_stopped() => Vec::new(),
            (Module::Head(spec), _) => {
                let mut terms = vec![(node.part(&self.weights), &g[..])];
                terms.extend(direction.w.map(|w| (node.part(w), &d[..])));
                vec![Some(head::input_gradient(&self.kernels, spec, self.px(at), &terms))]
            }
            (Module::Cell(cell), Made::Cell(saved)) => {
                let want = Want { s0: wants[0], s1: wants[1], p: true, ..Want::default() };
                let dot = match std::mem::replace(&mut dots[at], StateDot::Still) {
                    StateDot::Cell(dot) => Some(*dot),
                    _ => None,
                };
                let dual = dot.as_ref().map(|saved| {
                    let of = |source| if let Source::Node(read) = source { dots[read].out() } else { None };
                    let tangent = tangent(node, cell, &direction, [of(node.inputs[0]), of(node.inputs[1])]);
                    let kept = self.kept[at].as_ref().expect("the gradient of the loss has passed here");
                    Pushforward { tangent, saved, kept }
                });
                let noise = noise_of(&self.noise, cell.index);
                let grads = vjp(self.input(node, cell), &self.states[at].out, noise, saved, &g, dual, want);
                add_p(&mut p_bar.each_mut()[cell.cell_type], &grads.p);
                workspace.give_back(g);
                vec![wants[0].then_some(grads.s0), wants[1].then_some(grads.s1)]
            }
            _ => unreachable!("no mixing weights lie before a stem"),
        };
        self.net.walk_back(last, &wanted, back, |total, part| add(workspace, total, part));
        for dot in dots {
            if let StateDot::Stem(out) = dot {
                workspace.give_back(out);
            }
        }
        p_bar
    }

    /// Tangents of all nodes.
    fn tangents(&self, direction: &Direction<'_>) -> Vec<StateDot> {
        self.net.walk_all(&StateDot::Still, |at, node, reads| {
            let (part, part_dot) = (node.part(&self.weights), direction.w.map(|w| node.part(w)));
            match (&node.module, &self.states[at].saved) {
                _ if self.is_stopped() => StateDot::Still,
                (Module::Stem(_), Made::Stem(saved)) => match part_dot {
                    Some(part_dot) => {
                        let mut out = self.kernels.workspace().take_vec(self.states[at].out.len());
                        stem::jvp(&self.state(node.inputs[0]).out, part, part_dot, saved, &mut out);
                        StateDot::Stem(out)
                    }
                    None => StateDot::Still,
                },
                (Module::Cell(cell), Made::Cell(saved)) => {
                    let tangent = tangent(node, cell, direction, [reads[0].out(), reads[1].out()]);
                    let moves = tangent.s0.is_some() || tangent.s1.is_some() || tangent.w.is_some();
                    if !moves && tangent.p.iter().all(|p| *p == 0.0) {
                        return StateDot::Still;
                    }
                    let noise = noise_of(&self.noise, cell.index);
                    let dot = jvp(self.input(node, cell), &self.states[at].out, tangent, noise, saved);
                    StateDot::Cell(Box::new(dot))
                }
                (Module::Head(spec), Made::Head(means)) => {
                    let n = self.dims[at].n;
                    let mut out = vec![0.0; n * spec.classes];
                    if let Some(dot) = reads[0].out() {
                        let means = head::pool(&self.kernels, n, spec.c_in, dot);
                        head::apply(spec, &means, part, false, false, &mut out);
                    }
                    if let Some(part_dot) = part_dot {
                        head::apply(spec, means, part_dot, true, true, &mut out);
                    }
                    StateDot::Head(out)
                }
                _ => unreachable!("a node has made what its module makes"),
            }
        })
    }
}

impl Drop for Chain<'_> {
    fn drop(&mut self) {
        let outputs = self.states.iter_mut().filter(|state| !matches!(state.saved, Made::Head(_)));
        let vectors = [&mut self.weights, &mut self.images.out, &mut self.w_bar];
        let vectors = vectors.into_iter().chain(outputs.map(|state| &mut state.out));
        vectors.for_each(|v| self.kernels.workspace().give_back(std::mem::take(v)));
    }
}

/// The direction of a cell, given that of the states it reads.
fn tangent<'a>(
    node: &Node,
    cell: &CellModule,
    direction: &Direction<'a>,
    [s0, s1]: [Option<&'a [f32]>; 2],
) -> CellTangent<'a> {
    CellTangent { s0, s1, p: &direction.p[cell.cell_type], w: direction.w.map(|w| node.part(w)) }
}

fn noise_of(noise: &[Arc<CellNoise>], k: usize) -> &CellNoise {
    static QUIET: CellNoise = CellNoise { drop_path: Vec::new(), noise_key: 0 };
    noise.get(k).map_or(&QUIET, |noise| noise)
}

/// In single precision, in memory of the workspace.
fn narrow<R: Real>(workspace: &Workspace, values: &[R]) -> Vec<f32> {
    let mut out = workspace.take_vec(values.len());
    out.iter_mut().zip(values).for_each(|(out, v)| *out = v.to_f64() as f32);
    out
}

fn add_p(total: &mut [f64], part: &[f32]) {
    total.iter_mut().zip(part).for_each(|(t, v)| *t += f64::from(*v));
}

fn add(workspace: &Workspace, mut total: Vec<f32>, part: Vec<f32>) -> Vec<f32> {
    const PIECE: usize = 1 << 14;
    total
        .par_chunks_mut(PIECE)
        .zip(part.par_chunks(PIECE))
        .for_each(|(total, part)| total.iter_mut().zip(part).for_each(|(t, v)| *t += v));
    workspace.give_back(part);
    total
}
