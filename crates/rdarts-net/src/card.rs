//! The operations of the network on a graphics card.
//!
//! Value and gradient of a cell, of the stem and of the head are the kernels of `rdarts-gpu`; everything else, and cells with operations
//! that these do not have, is the composed body of [`crate::composed`].

use std::sync::Arc;

use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Cube, TensorMetadata};
use burn::tensor::{DType, Shape, Slice};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use rdarts_gpu::cubecl::client::Client;
use rdarts_gpu::{Flat, Head, HeadSaved, Input, Norms, Numbers, Saved, Stem, StemSaved, Want, backward, fits, forward};
use rdarts_kernels::outline::Outline;
use rdarts_kernels::spec::{CellDims, CellSpec};

use crate::calls::{CellCall, CellWant, HeadCall, HeadWant, OfBatch, Slot, Statistics, StemCall};
use crate::composed;
use crate::ops::SearchOps;

type T = FloatTensor<Cube>;

impl SearchOps for Cube {
    fn stem(x: T, w: T, call: StemCall) -> T {
        let [n, h, wd, _] = x.shape().dims::<4>();
        let stem = Stem { spec: call.spec, n, side: [h, wd] };
        if x.dtype() != DType::F32 || call.mode.dual || !stem.fits() {
            return composed::stem::<Self>(x, w, &call);
        }
        let [x, w] = [x, w].map(into_contiguous);
        let client = x.client.clone();
        let running = running(&call.mode.statistics, &client);
        let (out, saved) = stem.forward(&client, &numbers(&x), &numbers(&w), running.as_ref());
        if let Statistics::OfBatch(slot) = &call.mode.statistics
            && slot.is_open()
        {
            leave(slot, saved.norms(), &client);
        }
        call.mode.slot.put(saved);
        tensor(&x, out, vec![n, h, wd, call.spec.c_out])
    }

    fn stem_vjp(x: T, w: T, g: T, call: StemCall) -> T {
        let Some(saved) = call.mode.slot.take::<StemSaved>() else {
            return composed::stem_vjp::<Self>(x, w, g, &call);
        };
        let [x, w, g] = [x, w, g].map(into_contiguous);
        let client = g.client.clone();
        let into = call.mode.gradient.take::<Numbers>().map(Arc::unwrap_or_clone);
        let made = saved.backward(&client, &numbers(&x), &numbers(&w), &numbers(&g), into);
        let sizes = sizes(&w);
        tensor(&g, made, sizes)
    }

    fn head(s: T, w: T, call: HeadCall) -> T {
        let [n, h, wd, _] = s.shape().dims::<4>();
        let head = Head { spec: call.spec, n, n_px: h * wd };
        if s.dtype() != DType::F32 || call.mode.dual || !head.fits() {
            return composed::head::<Self>(s, w, &call);
        }
        let [s, w] = [s, w].map(into_contiguous);
        let (out, saved) = head.forward(&s.client, &numbers(&s), &numbers(&w));
        call.mode.slot.put(saved);
        tensor(&s, out, vec![n, call.spec.classes])
    }

    fn head_vjp(s: T, w: T, g: T, call: HeadCall, want: HeadWant) -> (T, T) {
        let Some(saved) = call.mode.slot.take::<HeadSaved>() else {
            return composed::head_vjp::<Self>(s, w, g, &call, want);
        };
        let [w, g] = [w, g].map(into_contiguous);
        let client = g.client.clone();
        let nothing = || tensor(&g, Numbers::empty(&client, 1), vec![1]);
        let of_s = want.s.then(|| saved.backward_state(&client, &numbers(&w), &numbers(&g)));
        let into = || call.mode.gradient.take::<Numbers>().map(Arc::unwrap_or_clone);
        let of_w = want.w.then(|| saved.backward_weights(&client, &numbers(&g), into()));
        (
            of_s.map_or_else(nothing, |of| tensor(&g, of, sizes(&s))),
            of_w.map_or_else(nothing, |of| tensor(&g, of, sizes(&w))),
        )
    }

    fn cell(s0: T, s1: T, p: T, w: T, call: CellCall) -> T {
        let Some(outline) = outline(&s0, &s1, &call) else {
            return composed::cell::<Self>(s0, s1, p, w, &call);
        };
        let [s0, s1, p, w] = [s0, s1, p, w].map(into_contiguous);
        let client = s0.client.clone();
        let drop = &call.noise.drop_path;
        let input = Input {
            states: [numbers(&s0), numbers(&s1)],
            p: numbers(&p),
            w: numbers(&w),
            drop: (!drop.is_empty()).then(|| Numbers::upload(&client, drop)),
        };
        let running = running(&call.mode.statistics, &client);
        let (out, saved) = forward(&client, &outline, input, running.as_ref());
        if let Statistics::OfBatch(slot) = &call.mode.statistics
            && slot.is_open()
        {
            leave(slot, saved.norms(), &client);
        }
        let [h, w] = outline.side_out;
        call.mode.slot.put(saved);
        concat(&call.spec, tensor(&s0, out, vec![outline.n, h, w, outline.nodes * outline.c]))
    }

    fn cell_vjp(s0: T, s1: T, p: T, w: T, g: T, call: CellCall, want: CellWant) -> (T, T, T, T) {
        let Some(saved) = call.mode.slot.take::<Saved>() else {
            return composed::cell_vjp::<Self>([s0, s1, p, w], g, &call, want);
        };
        let client = g.client.clone();
        let g = into_contiguous(spread(&call.spec, g));
        let wanted = Want { states: [want.s0, want.s1], p: want.p, w: want.w };
        let into = want.w.then(|| call.mode.gradient.take::<Numbers>().map(Arc::unwrap_or_clone)).flatten();
        let made = backward(&client, &saved, &numbers(&g), wanted, into);
        let nothing = || tensor(&g, Numbers::empty(&client, 1), vec![1]);
        let [d0, d1] = made.states;
        let state = |like: &T, of: Option<Numbers>| of.map_or_else(nothing, |of| tensor(&g, of, sizes(like)));
        (
            state(&s0, d0),
            state(&s1, d1),
            tensor(&g, made.p, sizes(&p)),
            made.w.map_or_else(nothing, |of| tensor(&g, of, sizes(&w))),
        )
    }
}

/// Leaves the statistics of a batch, to be read when the step is done.
fn leave(slot: &Slot, norms: Norms, client: &Client) {
    let client = client.clone();
    let there = norms.clone();
    slot.put(OfBatch::later(move || norms.statistics(&client)).lying(there));
}

/// Means and variances, if they are given; they go up with the first batch.
fn running(statistics: &Statistics, client: &Client) -> Option<Numbers> {
    let Statistics::Given(given) = statistics else { return None };
    let up = |values: &[f64]| {
        let values: Vec<f32> = values.iter().map(|v| *v as f32).collect();
        Numbers::upload(client, &values)
    };
    Some(given.kept(up).cloned().unwrap_or_else(|| up(given)))
}

/// Running statistics of a node follow those of a batch.
pub(crate) fn follow(running: &mut Flat, node: usize, of: &OfBatch, kept: f64) {
    let values = |t: &CubeTensor| numbers(&into_contiguous(t.clone()));
    if let Some(norms) = of.place::<Norms>() {
        running.follow(node, norms, kept);
    } else if let Some(Some(t)) = of.place::<Option<CubeTensor>>() {
        running.follow_values(node, &values(t), kept);
    } else if let Some(Some(t)) = of.place::<Option<FloatTensor<Autodiff<Cube>>>>() {
        running.follow_values(node, &values(&<Autodiff<Cube> as AutodiffBackend>::inner(t.clone())), kept);
    }
}

/// The cell as our kernels run it, if they do.
fn outline(s0: &T, s1: &T, call: &CellCall) -> Option<Outline> {
    if s0.dtype() != DType::F32 || call.mode.dual {
        return None;
    }
    let ([n, h0, w0, _], [_, h1, w1, _]) = (s0.shape().dims::<4>(), s1.shape().dims::<4>());
    let outline = Outline::new(&call.spec, CellDims { n, side0: [h0, w0], side1: [h1, w1] });
    fits(&outline).then_some(outline)
}

fn numbers(t: &CubeTensor) -> Numbers {
    Numbers { handle: t.handle.clone(), len: t.shape().num_elements() }
}

fn tensor(like: &CubeTensor, numbers: Numbers, sizes: Vec<usize>) -> CubeTensor {
    let shape = Shape::from(sizes);
    CubeTensor::new_contiguous(like.client.clone(), like.device.clone(), shape, numbers.handle, DType::F32)
}

fn sizes(t: &CubeTensor) -> Vec<usize> {
    t.shape().iter().copied().collect()
}

/// The output of a cell, given all its nodes.
fn concat(spec: &CellSpec, nodes: T) -> T {
    let Some(concat) = spec.concat() else { return nodes };
    let node = |at: &usize| part(nodes.clone(), at * spec.c, spec.c);
    Cube::float_cat(concat.iter().map(node).collect(), 3)
}

/// The gradient of all nodes of a cell, given that of its output.
fn spread(spec: &CellSpec, g: T) -> T {
    let Some(concat) = spec.concat() else { return g };
    let node = |node: usize| {
        let at = concat.iter().position(|at| *at == node);
        match at {
            Some(at) => part(g.clone(), at * spec.c, spec.c),
            None => {
                let one = part(g.clone(), 0, spec.c);
                Cube::float_mul_scalar(one, 0f32.into())
            }
        }
    };
    Cube::float_cat((0..spec.nodes).map(node).collect(), 3)
}

/// Channels `from..from + n`.
fn part(t: T, from: usize, n: usize) -> T {
    let [images, h, w, _] = t.shape().dims::<4>();
    let ranges: Vec<Slice> = vec![(0..images).into(), (0..h).into(), (0..w).into(), (from..from + n).into()];
    Cube::float_slice(t, &ranges)
}
