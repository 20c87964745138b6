//! The supernet on slices: the fused kernels one after the other, without a tape, for second derivatives.
//!
//! Let d be the gradient of the loss on its way back through the network. The tangent of the loss in a direction v is
//! <d, tangents of the inputs>, and its gradient, H v, comes from sending two things back: d, along the tangents, and
//! g, along the values. d is the same for every v, so a chain sends it back once, keeps what it meets
//! ([`rdarts_kernels::backward::Kept`]), and each product costs the tangents and g. Where nothing moves nothing is
//! computed: in front of the first cell whose mixing weights move, and in all that such a cell makes of its inputs.

use std::sync::Arc;

use burn::tensor::{DType, Device};
use rayon::prelude::*;
use rdarts_kernels::backward::{CellGradient, Dual, Kept, Want, vjp};
use rdarts_kernels::buffers::{give_back, take_vec};
use rdarts_kernels::cell::{CellInput, CellTangent, Saved, SavedDot, forward, jvp};
use rdarts_kernels::loss::CrossEntropy;
use rdarts_kernels::spec::{CellDims, CellNoise, CellSpec, HeadSpec, StemSpec};
use rdarts_kernels::stem::StemSaved;
use rdarts_kernels::{Isa, head, stem};

use crate::derivatives::{Alphas, Batch, Evaluation, Point, Real};
use crate::supernet::{Module, ModuleSpec, Supernet};

/// A forward pass and the way back of its loss.
pub(crate) struct Chain {
    net: Supernet,
    noise: Vec<Arc<CellNoise>>,
    weights: Vec<f32>,
    /// Mixing weights of normal and of reduction cells.
    p: [Vec<f32>; 2],
    images: Vec<f32>,
    stem: StemSaved,
    /// The output of the stem, then of each cell.
    states: Vec<Vec<f32>>,
    cells: Vec<Saved>,
    means: Vec<f32>,
    ce: CrossEntropy,
    evaluation: Evaluation,
    /// What the gradient of the loss left in each cell.
    kept: Vec<Kept>,
    /// The gradient of p.
    p_bar: [Vec<f64>; 2],
    /// The gradient of the weights, if it was asked for.
    w_bar: Vec<f32>,
}

/// A direction in the inputs; the mixing weights' part may be zero.
struct Direction<'a> {
    p: [&'a [f32]; 2],
    w: Option<&'a [f32]>,
}

/// Tangents along a direction; `None` where nothing moves.
struct Tangents {
    stem: Option<Vec<f32>>,
    cells: Vec<Option<SavedDot>>,
    logits: Vec<f64>,
}

impl Chain {
    /// Whether the fused kernels run on this device and type.
    pub fn fits<R: Real>(device: &Device) -> bool {
        R::dtype() == DType::F32 && *device == Device::flex()
    }

    /// The passes of a batch, with the gradient of the weights if `weights`.
    pub fn new<R: Real>(at: Point<R>, batch: Batch<R>, weights: bool) -> Self {
        let (net, isa, n) = (at.net.clone(), Isa::best(), batch.labels.len());
        let p = at.alphas.softmax(&net);
        let p = [&p.normal, &p.reduce].map(|p| p.iter().map(|v| *v as f32).collect::<Vec<f32>>());
        let (images, w) = (narrow(batch.images), narrow(at.weights));
        let part = |m: &Module| &w[m.offset..m.offset + m.len];

        let spec = stem_spec(&net);
        let mut out = take_vec(n * batch.side[0] * batch.side[1] * spec.c_out);
        let stem = stem::forward(isa, spec, n, batch.side, &images, part(&net.modules()[0]), &mut out);
        let (mut states, mut cells) = (vec![out], Vec::new());
        let (mut side0, mut side1) = (batch.side, batch.side);
        for (k, (module, spec)) in cells_of(&net).enumerate() {
            let dims = CellDims { n, side0, side1 };
            let side = dims.side_out(spec);
            let input = CellInput {
                s0: &states[k.saturating_sub(1)],
                s1: &states[k],
                p: &p[usize::from(spec.reduction)],
                w: part(module),
            };
            let mut out = take_vec(n * side[0] * side[1] * spec.c_out());
            cells.push(forward(isa, spec, dims, input, noise_of(batch.noise, k), &mut out));
            states.push(out);
            (side0, side1) = (side1, side);
        }
        let (module, spec) = head_of(&net);
        let means = head::pool(isa, n, spec.c_in, &states[states.len() - 1]);
        let mut logits = vec![0.0; n * spec.classes];
        head::apply(&spec, &means, part(module), true, false, &mut logits);
        let logits: Vec<f64> = logits.into_iter().map(f64::from).collect();
        let ce = CrossEntropy::new(&logits, batch.labels);
        let evaluation = Evaluation { logits, loss: ce.loss, correct: ce.correct };
        let p_bar = p.each_ref().map(|p| vec![0.0; p.len()]);
        let noise = batch.noise.to_vec();
        let (kept, w_bar) = (Vec::new(), Vec::new());
        let mut chain =
            Self { net, noise, weights: w, p, images, stem, states, cells, means, ce, evaluation, kept, p_bar, w_bar };
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

    /// The gradients of p and p' of the tangent of the loss along p' = `p_dot`. Those of p are right for cells from
    /// `first` on; the others may be missing.
    pub fn product(&self, p_dot: &Alphas, first: usize) -> [Alphas; 2] {
        let p = [&p_dot.normal, &p_dot.reduce].map(|p| p.iter().map(|v| *v as f32).collect::<Vec<f32>>());
        let of_p = self.along(Direction { p: p.each_ref().map(|p| &p[..]), w: None }, first);
        let [normal, reduce] = self.p_bar.clone();
        [of_p, Alphas { normal, reduce }]
    }

    /// The gradient of p of the tangent of the loss along v in the weights.
    pub fn mixed<R: Real>(&self, v: &[R]) -> Alphas {
        let (v, still) = (narrow(v), self.p.each_ref().map(|p| vec![0.0; p.len()]));
        let of_p = self.along(Direction { p: still.each_ref().map(|p| &p[..]), w: Some(&v) }, 0);
        give_back(v);
        of_p
    }

    fn input(&self, k: usize) -> CellInput<'_> {
        let (module, spec) = self.cell(k);
        CellInput {
            s0: &self.states[k.saturating_sub(1)],
            s1: &self.states[k],
            p: &self.p[usize::from(spec.reduction)],
            w: self.part(module),
        }
    }

    fn cell(&self, k: usize) -> (&Module, &CellSpec) {
        cells_of(&self.net).nth(k).expect("there is a saved pass of each cell")
    }

    fn part(&self, module: &Module) -> &[f32] {
        &self.weights[module.offset..module.offset + module.len]
    }

    /// The gradient of the loss, with what products need of it.
    fn send_back(&mut self, weights: bool) {
        let (module, spec) = head_of(&self.net);
        let g: Vec<f32> = self.ce.gradient.iter().map(|v| *v as f32).collect();
        let px = self.states[self.states.len() - 1].len() / (spec.c_in * self.evaluation.logits.len() / spec.classes);
        let last = head::input_gradient(&spec, px, &[(self.part(module), &g)]);
        let mut w_bar = if weights { take_vec(self.weights.len()) } else { Vec::new() };
        if weights {
            w_bar[module.offset..][..module.len].copy_from_slice(&head::weight_gradient(&spec, &self.means, &g));
        }
        let (mut kept, mut p_bar) = (Vec::new(), std::mem::take(&mut self.p_bar));
        let of_stem = self.back(last, if weights { None } else { Some(0) }, |k, g, [s0, s1]| {
            let want = Want { s0, s1, p: true, w: weights, keep: true };
            let (module, spec) = self.cell(k);
            let noise = noise_of(&self.noise, k);
            let mut grads = vjp(self.input(k), &self.states[k + 1], noise, &self.cells[k], g, None, want);
            add_p(&mut p_bar[usize::from(spec.reduction)], &grads.p);
            if weights {
                w_bar[module.offset..][..module.len].copy_from_slice(&grads.w);
                give_back(std::mem::take(&mut grads.w));
            }
            kept.push(grads.kept.take().expect("it was asked for"));
            grads
        });
        if let Some(g) = of_stem {
            let module = &self.net.modules()[0];
            let dw = stem::vjp(&self.images, self.part(module), &self.stem, &g);
            w_bar[module.offset..][..module.len].copy_from_slice(&dw);
            give_back(dw);
            give_back(g);
        }
        kept.reverse();
        (self.kept, self.p_bar, self.w_bar) = (kept, p_bar, w_bar);
    }

    /// The gradient of p of the tangent of the loss along a direction.
    fn along(&self, direction: Direction<'_>, first: usize) -> Alphas {
        let mut tangents = self.tangents(&direction);
        let (module, spec) = head_of(&self.net);
        let narrow = |v: &[f64]| v.iter().map(|v| *v as f32).collect::<Vec<f32>>();
        let (g, d) = (narrow(&self.ce.tangent(&tangents.logits).1), narrow(&self.ce.gradient));
        let px = self.states[self.states.len() - 1].len() / (spec.c_in * self.evaluation.logits.len() / spec.classes);
        let mut terms = vec![(self.part(module), &g[..])];
        if let Some(w) = direction.w {
            terms.push((&w[module.offset..][..module.len], &d[..]));
        }
        let last = head::input_gradient(&spec, px, &terms);
        let mut p_bar = self.p.each_ref().map(|p| vec![0.0; p.len()]);
        self.back(last, Some(first), |k, g, [s0, s1]| {
            let want = Want { s0, s1, p: true, ..Want::default() };
            let (module, spec) = self.cell(k);
            let dot = tangents.cells[k].take();
            let dual = dot.as_ref().map(|saved| {
                let stem = || tangents.stem.as_deref();
                let of = |state: usize| match state {
                    0 => stem(),
                    state => tangents.cells[state - 1].as_ref().map(SavedDot::out_dot),
                };
                let tangent = self.tangent(k, &direction, of, module, spec);
                Dual { tangent, saved, kept: &self.kept[k] }
            });
            let noise = noise_of(&self.noise, k);
            let grads = vjp(self.input(k), &self.states[k + 1], noise, &self.cells[k], g, dual, want);
            add_p(&mut p_bar[usize::from(spec.reduction)], &grads.p);
            grads
        });
        tangents.stem.into_iter().for_each(give_back);
        let [normal, reduce] = p_bar;
        Alphas { normal, reduce }
    }

    /// The direction of cell k, given that of every state (the stem, then the cells).
    fn tangent<'a>(
        &self,
        k: usize,
        direction: &Direction<'a>,
        state: impl Fn(usize) -> Option<&'a [f32]>,
        module: &Module,
        spec: &CellSpec,
    ) -> CellTangent<'a> {
        CellTangent {
            s0: state(k.saturating_sub(1)),
            s1: state(k),
            p: direction.p[usize::from(spec.reduction)],
            w: direction.w.map(|w| &w[module.offset..][..module.len]),
        }
    }

    fn tangents(&self, direction: &Direction<'_>) -> Tangents {
        let stem = direction.w.map(|w| {
            let module = &self.net.modules()[0];
            let mut out = take_vec(self.states[0].len());
            stem::jvp(&self.images, self.part(module), &w[module.offset..][..module.len], &self.stem, &mut out);
            out
        });
        let mut cells: Vec<Option<SavedDot>> = Vec::new();
        for (k, (module, spec)) in cells_of(&self.net).enumerate() {
            let of = |state: usize| match state {
                0 => stem.as_deref(),
                state => cells[state - 1].as_ref().map(SavedDot::out_dot),
            };
            let tangent = self.tangent(k, direction, of, module, spec);
            let moves = tangent.s0.is_some() || tangent.s1.is_some() || tangent.w.is_some();
            let dot = (moves || tangent.p.iter().any(|p| *p != 0.0)).then(|| {
                let noise = noise_of(&self.noise, k);
                jvp(self.input(k), &self.states[k + 1], tangent, noise, &self.cells[k])
            });
            cells.push(dot);
        }
        let ((module, spec), n) = (head_of(&self.net), self.evaluation.logits.len());
        let mut logits = vec![0.0; n];
        if let Some(dot) = cells.last().and_then(Option::as_ref) {
            let means = head::pool(Isa::best(), n / spec.classes, spec.c_in, dot.out_dot());
            head::apply(&spec, &means, self.part(module), false, false, &mut logits);
        }
        if let Some(w) = direction.w {
            head::apply(&spec, &self.means, &w[module.offset..][..module.len], true, true, &mut logits);
        }
        Tangents { stem, cells, logits: logits.into_iter().map(f64::from).collect() }
    }

    /// Sends `last`, the gradient of the last cell's output, back to cell `first`, or to the stem, whose gradient is
    /// returned. `cell` maps (cell, gradient of its output, whether those of s0 and s1 are wanted).
    fn back(
        &self,
        last: Vec<f32>,
        first: Option<usize>,
        mut cell: impl FnMut(usize, &[f32], [bool; 2]) -> CellGradient,
    ) -> Option<Vec<f32>> {
        let mut states: Vec<Option<Vec<f32>>> = self.states.iter().map(|_| None).collect();
        states[self.cells.len()] = Some(last);
        for k in (first.unwrap_or(0)..self.cells.len()).rev() {
            let g = states[k + 1].take().expect("the cells behind it have made it");
            let inputs = [k.saturating_sub(1), k];
            // State j is the output of cell j - 1.
            let wanted = inputs.map(|j| first.is_none_or(|first| j > first));
            let grads = cell(k, &g, wanted);
            give_back(g);
            for ((j, wanted), grad) in inputs.into_iter().zip(wanted).zip([grads.s0, grads.s1]) {
                if wanted {
                    states[j] = Some(match states[j].take() {
                        Some(sum) => add(sum, grad),
                        None => grad,
                    });
                }
            }
        }
        states[0].take()
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        let vectors = [&mut self.weights, &mut self.images, &mut self.w_bar];
        vectors.into_iter().chain(&mut self.states).for_each(|v| give_back(std::mem::take(v)));
    }
}

fn cells_of(net: &Supernet) -> impl Iterator<Item = (&Module, &CellSpec)> {
    net.modules().iter().filter_map(|m| match &m.spec {
        ModuleSpec::Cell(spec) => Some((m, &**spec)),
        _ => None,
    })
}

fn stem_spec(net: &Supernet) -> StemSpec {
    match &net.modules()[0].spec {
        ModuleSpec::Stem(spec) => *spec,
        other => unreachable!("a supernet begins with its stem, not {other:?}"),
    }
}

fn head_of(net: &Supernet) -> (&Module, HeadSpec) {
    let module = &net.modules()[net.modules().len() - 1];
    match &module.spec {
        ModuleSpec::Head(spec) => (module, *spec),
        other => unreachable!("a supernet ends with its head, not {other:?}"),
    }
}

fn noise_of(noise: &[Arc<CellNoise>], k: usize) -> &CellNoise {
    static QUIET: CellNoise = CellNoise { drop_path: Vec::new(), noise_key: 0 };
    noise.get(k).map_or(&QUIET, |noise| noise)
}

/// In single precision, in memory from the shelf.
fn narrow<R: Real>(values: &[R]) -> Vec<f32> {
    let mut out = take_vec(values.len());
    out.iter_mut().zip(values).for_each(|(out, v)| *out = v.to_f64() as f32);
    out
}

fn add_p(total: &mut [f64], part: &[f32]) {
    total.iter_mut().zip(part).for_each(|(t, v)| *t += f64::from(*v));
}

fn add(mut total: Vec<f32>, part: Vec<f32>) -> Vec<f32> {
    const PIECE: usize = 1 << 14;
    total
        .par_chunks_mut(PIECE)
        .zip(part.par_chunks(PIECE))
        .for_each(|(total, part)| total.iter_mut().zip(part).for_each(|(t, v)| *t += v));
    give_back(part);
    total
}
