//! The operations of the supernet on the CPU.
//!
//! Single precision is the place of the fused kernels; every other float type runs the composed reference of
//! [`crate::composed`], which double precision trusts for golden values. Second derivatives of the search end in
//! the mixing weights: the gradient of a dual call with respect to weights is the composed body's as well.
//!
//! What a forward pass leaves for its backward pass travels in the call's slot. Large tensors come from
//! the workspace of the call's kernels. Whichever operation holds the last handle of one gives it back, so a step takes
//! what the step before it has left and asks the system for nothing.

use std::sync::Arc;

use burn::backend::Flex;
use burn::backend::TensorMetadata;
use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::tensor::{Bytes, DType, Shape};
use rayon::prelude::*;
use rdarts_kernels::Kernels;
use rdarts_kernels::auxiliary::{self, AuxiliarySaved};
use rdarts_kernels::backward::{self, CellGradient, Want};
use rdarts_kernels::cell::{self, CellInput, CellTangent, Saved, SavedDot};
use rdarts_kernels::spec::{CellDims, CellSpec};
use rdarts_kernels::stem::StemSaved;
use rdarts_kernels::workspace::Workspace;
use rdarts_kernels::{head, stem};

use crate::calls::{AuxiliaryCall, CellCall, CellWant, HeadCall, HeadWant, Mode, OfBatch, Statistics, StemCall};
use crate::composed;
use crate::ops::SearchOps;

type T = FloatTensor<Flex>;

impl SearchOps for Flex {
    fn stem(x: T, w: T, call: StemCall) -> T {
        if x.dtype() != DType::F32 {
            return composed::stem::<Self>(x, w, &call);
        }
        let [images, weights] = contiguous([x, w]);
        let ([n, h, wd, _], spec, mode) = (images.shape().dims(), call.spec, &call.mode);
        let (x, _) = split(floats(&images), mode);
        let (w, w_dot) = split(floats(&weights), mode);
        let n_images = if mode.dual { n / 2 } else { n };
        let workspace = mode.kernels.workspace();
        let mut out = workspace.take_vec(n * h * wd * spec.c_out);
        if let Statistics::Given(running) = &mode.statistics {
            stem::infer(&mode.kernels, spec, n, [h, wd], x, w, &narrow(running), &mut out);
            recycle(workspace, [images, weights]);
            return wrap(out, &[n, h, wd, spec.c_out]);
        }
        let (value, tangent) = out.split_at_mut(n_images * h * wd * spec.c_out);
        let saved = stem::forward(&mode.kernels, spec, n_images, [h, wd], x, w, value);
        if mode.dual {
            if mode.weights_move { stem::jvp(x, w, w_dot, &saved, tangent) } else { tangent.fill(0.0) }
        } else {
            leave(&mode.statistics, || saved.statistics());
            mode.slot.put(saved);
        }
        recycle(workspace, [images, weights]);
        wrap(out, &[n, h, wd, spec.c_out])
    }

    fn stem_vjp(x: T, w: T, g: T, call: StemCall) -> T {
        let saved = if call.mode.dual { None } else { call.mode.slot.take::<StemSaved>() };
        let Some(saved) = saved else { return composed::stem_vjp::<Self>(x, w, g, &call) };
        let inputs = contiguous([x, w, g]);
        let [x, w, g] = inputs.each_ref().map(floats);
        let dw = stem::vjp(x, w, &saved, g);
        recycle(call.mode.kernels.workspace(), inputs);
        let len = dw.len();
        wrap(dw, &[len])
    }

    fn cell(s0: T, s1: T, p: T, w: T, call: CellCall) -> T {
        if s0.dtype() != DType::F32 {
            return composed::cell::<Self>(s0, s1, p, w, &call);
        }
        let inputs = contiguous([s0, s1, p, w]);
        let (mode, workspace) = (&call.mode, call.mode.kernels.workspace());
        let dims = dims(&inputs, mode);
        let [h, wd] = dims.side_out(&call.spec);
        let shape = [dims.n, h, wd, call.spec.c_nodes()];
        let at = split_input(&inputs, mode);
        if let Statistics::Given(running) = &mode.statistics {
            let (running, mut out) = (narrow(running), workspace.take_vec(shape.iter().product()));
            let input = CellInput { running: Some(&running), ..at.value };
            cell::infer(&mode.kernels, &call.spec, dims, input, &mut out);
            recycle(workspace, inputs);
            return concat(&call.spec, wrap(out, &shape), workspace);
        }
        let primal = mode.primal.as_ref().and_then(|slot| slot.get::<CellTape>());
        let tape = primal.unwrap_or_else(|| {
            let mut out = workspace.take_vec(shape.iter().product());
            let saved = cell::forward(&mode.kernels, &call.spec, dims, at.value, &call.noise, &mut out);
            Arc::new(CellTape { saved, out: Output { tensor: wrap(out, &shape), workspace: workspace.clone() } })
        });
        if !mode.dual {
            let out = concat(&call.spec, tape.out.tensor.clone(), workspace);
            leave(&mode.statistics, || tape.saved.statistics());
            mode.slot.put_shared(tape);
            recycle(workspace, inputs);
            return out;
        }
        let dot = cell::jvp(at.value, floats(&tape.out.tensor), at.tangent, &call.noise, &tape.saved);
        let out = stacked(workspace, floats(&tape.out.tensor), dot.out_dot());
        mode.slot.put(DualTape { value: tape, dot });
        recycle(workspace, inputs);
        wrap(out, &[2 * dims.n, h, wd, call.spec.c_out()])
    }

    fn cell_vjp(s0: T, s1: T, p: T, w: T, g: T, call: CellCall, want: CellWant) -> (T, T, T, T) {
        let (mode, workspace) = (&call.mode, call.mode.kernels.workspace());
        let (plain, dual) = (mode.slot.take::<CellTape>(), mode.slot.take::<DualTape>());
        let tape = match (plain, &dual) {
            (Some(tape), None) => tape,
            (None, Some(dual)) if !want.w => dual.value.clone(),
            _ => return composed::cell_vjp::<Self>([s0, s1, p, w], g, &call, want),
        };
        let inputs = contiguous([s0, s1, p, w]);
        let dims = dims(&inputs, mode);
        let at = split_input(&inputs, mode);
        let [g] = contiguous([spread(&call.spec, g, workspace)]);
        let (g_value, g_dot) = floats(&g).split_at(floats(&tape.out.tensor).len());
        let is_dual = dual.is_some();
        let want_all = Want { s0: want.s0, s1: want.s1, p: want.p, w: want.w, keep: false };
        let [grads, dots] = match &dual {
            None => {
                let grads = match Arc::try_unwrap(tape) {
                    Ok(CellTape { saved, out }) => {
                        backward::vjp_last(at.value, floats(&out.tensor), &call.noise, saved, g_value, want_all)
                    }
                    // Second derivatives will need it again.
                    Err(tape) => {
                        let CellTape { saved, out } = &*tape;
                        backward::vjp(at.value, floats(&out.tensor), &call.noise, saved, g_value, None, want_all)
                    }
                };
                [grads, CellGradient::default()]
            }
            Some(d) => {
                let out = floats(&tape.out.tensor);
                let both = (g_value, g_dot);
                backward::vjp_of_jvp(at.value, out, &call.noise, &tape.saved, at.tangent, &d.dot, both, want_all)
            }
        };
        recycle(workspace, [g]);
        recycle(workspace, inputs);
        let state = |wanted: bool, value: Vec<f32>, dot: Vec<f32>, side: [usize; 2], c: usize| {
            if !wanted {
                return unwanted();
            }
            let n = if is_dual { 2 * dims.n } else { dims.n };
            wrap(join(workspace, value, dot), &[n, side[0], side[1], c])
        };
        let flat = |wanted: bool, value: Vec<f32>, dot: Vec<f32>| {
            let all = join(workspace, value, dot);
            let len = all.len();
            if wanted { wrap(all, &[len]) } else { unwanted() }
        };
        let spec = &call.spec;
        (
            state(want.s0, grads.s0, dots.s0, dims.side0, spec.c_prev_prev),
            state(want.s1, grads.s1, dots.s1, dims.side1, spec.c_prev),
            flat(want.p, grads.p, dots.p),
            flat(want.w, grads.w, Vec::new()),
        )
    }

    fn head(s: T, w: T, call: HeadCall) -> T {
        if s.dtype() != DType::F32 {
            return composed::head::<Self>(s, w, &call);
        }
        let [state, weights] = contiguous([s, w]);
        let (n, spec, mode) = (state.shape()[0], call.spec, &call.mode);
        let (w, w_dot) = split(floats(&weights), mode);
        let means = head::pool(&mode.kernels, n, spec.c_in, floats(&state));
        let mut logits = vec![0.0; n * spec.classes];
        if mode.dual {
            let (m, m_dot) = means.split_at(means.len() / 2);
            let (value, tangent) = logits.split_at_mut(n / 2 * spec.classes);
            head::apply(&spec, m, w, true, false, value);
            head::apply(&spec, m_dot, w, false, false, tangent);
            if mode.weights_move {
                head::apply(&spec, m, w_dot, true, true, tangent);
            }
        } else {
            head::apply(&spec, &means, w, true, false, &mut logits);
        }
        recycle(mode.kernels.workspace(), [state, weights]);
        wrap(logits, &[n, spec.classes])
    }

    fn head_vjp(s: T, w: T, g: T, call: HeadCall, want: HeadWant) -> (T, T) {
        let (mode, kernels) = (&call.mode, &call.mode.kernels);
        if s.dtype() != DType::F32 || (mode.dual && want.w) {
            return composed::head_vjp::<Self>(s, w, g, &call, want);
        }
        let inputs = contiguous([s, w, g]);
        let [s, w, g] = inputs.each_ref().map(floats);
        let ([n, h, wd, c], spec) = (inputs[0].shape().dims::<4>(), call.spec);
        let ((w, w_dot), px) = (split(w, mode), h * wd);
        let ds = want.s.then(|| {
            if !mode.dual {
                return wrap(head::input_gradient(kernels, &spec, px, &[(w, g)]), &[n, h, wd, c]);
            }
            let (g, d) = g.split_at(g.len() / 2);
            let terms = [(w, g), (w_dot, d)];
            let value = head::input_gradient(kernels, &spec, px, if mode.weights_move { &terms } else { &terms[..1] });
            wrap(join(kernels.workspace(), value, head::input_gradient(kernels, &spec, px, &[(w, d)])), &[n, h, wd, c])
        });
        let dw = want.w.then(|| {
            let dw = head::weight_gradient(&spec, &head::pool(kernels, n, c, s), g);
            let len = dw.len();
            wrap(dw, &[len])
        });
        recycle(kernels.workspace(), inputs);
        (ds.unwrap_or_else(unwanted), dw.unwrap_or_else(unwanted))
    }

    fn auxiliary(s: T, w: T, call: AuxiliaryCall) -> T {
        if s.dtype() != DType::F32 {
            return composed::auxiliary::<Self>(s, w, &call);
        }
        let inputs = contiguous([s, w]);
        let ([n, h, wd, _], spec, mode) = (inputs[0].shape().dims::<4>(), call.spec, &call.mode);
        let mut logits = vec![0.0; n * spec.classes];
        let [state, w] = inputs.each_ref().map(floats);
        let saved = auxiliary::forward(&mode.kernels, spec, (n, [h, wd]), state, w, &mut logits);
        leave(&mode.statistics, || saved.statistics());
        mode.slot.put(saved);
        recycle(mode.kernels.workspace(), inputs);
        wrap(logits, &[n, spec.classes])
    }

    fn auxiliary_vjp(s: T, w: T, g: T, call: AuxiliaryCall, want: HeadWant) -> (T, T) {
        let Some(saved) = call.mode.slot.take::<AuxiliarySaved>() else {
            return composed::auxiliary_vjp::<Self>(s, w, g, &call, want);
        };
        let inputs = contiguous([s, w, g]);
        let [s, w, g] = inputs.each_ref().map(floats);
        let (ds, dw) = auxiliary::vjp(s, w, &saved, g, want.s);
        let len = dw.len();
        let ds = if want.s { wrap(ds, &inputs[0].shape().dims::<4>()) } else { unwanted() };
        recycle(call.mode.kernels.workspace(), inputs);
        (ds, wrap(dw, &[len]))
    }

    fn accumulate(total: T, g: T, kernels: Kernels) -> T {
        if total.dtype() != DType::F32 || total.shape() != g.shape() {
            return Self::float_add(total, g);
        }
        let (shape, [g]) = (total.shape(), contiguous([g]));
        let mut total = owned(kernels.workspace(), total);
        total
            .par_chunks_mut(PIECE)
            .zip(floats(&g).par_chunks(PIECE))
            .for_each(|(total, g)| total.iter_mut().zip(g).for_each(|(t, g)| *t += g));
        recycle(kernels.workspace(), [g]);
        FlexTensor::new(Bytes::from_elems(total), Layout::contiguous(shape), DType::F32)
    }
}

/// Values that one task adds or copies: enough to be worth a task, few enough to stay in a cache.
const PIECE: usize = 1 << 14;

/// What a plain call of a cell leaves.
struct CellTape {
    saved: Saved,
    out: Output,
}

/// Of a cell; its memory goes back to the workspace if no one else holds it then.
struct Output {
    tensor: FlexTensor,
    workspace: Arc<Workspace>,
}

impl Drop for Output {
    fn drop(&mut self) {
        recycle(&self.workspace, [std::mem::replace(&mut self.tensor, unwanted())]);
    }
}

/// What a dual call of a cell leaves.
struct DualTape {
    value: Arc<CellTape>,
    dot: SavedDot,
}

/// A cell's arguments, value and tangent.
struct SplitInput<'a> {
    value: CellInput<'a>,
    tangent: CellTangent<'a>,
}

fn split_input<'a>(inputs: &'a [T; 4], mode: &Mode) -> SplitInput<'a> {
    let [s0, s1, p, w] = inputs.each_ref().map(|t| split(floats(t), mode));
    SplitInput {
        value: CellInput { s0: s0.0, s1: s1.0, p: p.0, w: w.0, running: None },
        tangent: CellTangent { s0: Some(s0.1), s1: Some(s1.1), p: p.1, w: mode.weights_move.then_some(w.1) },
    }
}

/// Leaves the statistics of a batch, if someone asks for them.
fn leave(statistics: &Statistics, of_batch: impl FnOnce() -> Vec<f64>) {
    if let Statistics::OfBatch(slot) = statistics
        && slot.is_open()
    {
        slot.put(OfBatch::of(of_batch()));
    }
}

fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|v| *v as f32).collect()
}

/// The output of a cell, given all its nodes.
fn concat(spec: &CellSpec, nodes: T, workspace: &Workspace) -> T {
    let Some(concat) = spec.concat() else { return nodes };
    let [n, h, w, _] = nodes.shape().dims();
    let mut out = workspace.take_vec(n * h * w * spec.c_out());
    for (out, nodes) in out.chunks_mut(spec.c_out()).zip(floats(&nodes).chunks(spec.c_nodes())) {
        for (out, node) in out.chunks_mut(spec.c).zip(concat) {
            out.copy_from_slice(&nodes[node * spec.c..][..spec.c]);
        }
    }
    wrap(out, &[n, h, w, spec.c_out()])
}

/// The gradient of all nodes of a cell, given that of its output.
fn spread(spec: &CellSpec, g: T, workspace: &Workspace) -> T {
    let Some(concat) = spec.concat() else { return g };
    let [g] = contiguous([g]);
    let [n, h, w, _] = g.shape().dims();
    let mut out = workspace.take_vec(n * h * w * spec.c_nodes());
    out.fill(0.0);
    for (out, g) in out.chunks_mut(spec.c_nodes()).zip(floats(&g).chunks(spec.c_out())) {
        for (g, node) in g.chunks(spec.c).zip(concat) {
            out[node * spec.c..][..spec.c].iter_mut().zip(g).for_each(|(out, g)| *out += g);
        }
    }
    wrap(out, &[n, h, w, spec.c_nodes()])
}

fn dims([s0, s1, ..]: &[T; 4], mode: &Mode) -> CellDims {
    let ([n, h0, w0, _], [_, h1, w1, _]) = (s0.shape().dims::<4>(), s1.shape().dims::<4>());
    CellDims { n: if mode.dual { n / 2 } else { n }, side0: [h0, w0], side1: [h1, w1] }
}

/// Value and tangent of a stacked slice; a plain one has no tangent.
fn split<'a>(all: &'a [f32], mode: &Mode) -> (&'a [f32], &'a [f32]) {
    if mode.dual { all.split_at(all.len() / 2) } else { (all, &[]) }
}

/// Value and tangent behind one another; a plain value alone.
fn join(workspace: &Workspace, value: Vec<f32>, tangent: Vec<f32>) -> Vec<f32> {
    if tangent.is_empty() {
        return value;
    }
    let all = stacked(workspace, &value, &tangent);
    workspace.give_back(value);
    workspace.give_back(tangent);
    all
}

fn stacked(workspace: &Workspace, value: &[f32], tangent: &[f32]) -> Vec<f32> {
    let mut all = workspace.take_vec(value.len() + tangent.len());
    let (first, second) = all.split_at_mut(value.len());
    copy(value, first);
    copy(tangent, second);
    all
}

/// On all threads: one alone cannot use the whole bandwidth of the memory.
fn copy(from: &[f32], to: &mut [f32]) {
    to.par_chunks_mut(PIECE).zip(from.par_chunks(PIECE)).for_each(|(to, from)| to.copy_from_slice(from));
}

fn contiguous<const N: usize>(tensors: [T; N]) -> [T; N] {
    tensors.map(|t| t.to_contiguous())
}

/// The values of a tensor as a vector: its own one if no one else holds it, else a copy.
fn owned(workspace: &Workspace, t: FlexTensor) -> Vec<f32> {
    let [t] = contiguous([t]);
    if is_whole_and_unique(&t) {
        return t.into_data().try_into_vec::<f32>().expect("a tensor of single precision");
    }
    let values = floats(&t);
    let mut out = workspace.take_vec(values.len());
    copy(values, &mut out);
    out
}

/// Gives the vectors of tensors back that no one else holds.
fn recycle<const N: usize>(workspace: &Workspace, tensors: [FlexTensor; N]) {
    for t in tensors {
        if t.dtype() == DType::F32
            && is_whole_and_unique(&t)
            && let Ok(values) = t.into_data().try_into_vec::<f32>()
        {
            workspace.give_back(values);
        }
    }
}

/// Whether a tensor is alone with its memory and uses all of it: then its vector comes out without a copy.
fn is_whole_and_unique(t: &FlexTensor) -> bool {
    t.is_unique() && t.is_contiguous() && t.bytes().len() == size_of::<f32>() * t.shape().num_elements()
}

fn floats(t: &FlexTensor) -> &[f32] {
    t.as_slice::<f32>().expect("a contiguous tensor of single precision")
}

fn wrap(values: Vec<f32>, shape: &[usize]) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(Shape::from(shape.to_vec())), DType::F32)
}

/// In the place of a gradient that nobody asked for.
fn unwanted() -> FlexTensor {
    wrap(vec![0.0], &[1])
}
