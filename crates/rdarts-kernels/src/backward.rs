//! The transpose of a cell, and of a cell with its tangent.
//!
//! [`vjp`] takes the gradient g of the output and returns those of s0, s1, p and w. Let d be the gradient of the
//! tangent output, which goes back to the gradients of the tangents of s0, s1 and p as g goes to those of the values,
//! whatever the direction. So d is sent through once by a `vjp` that keeps what it made ([`Kept`]), and given that and
//! what [`jvp`] left for a direction, `vjp` returns the gradients of s0, s1 and p that come from g and from d: the vjp
//! of the jvp. There w stays a constant: second derivatives of the search end in p (alpha), never in w.
//!
//! The units of the plan go from last to first, in two passes over the images each, since every batch norm's gradient
//! needs sums over the whole batch. One sends the branches of the unit before through their first stages, to the gradients
//! of the states where they start, and takes the sums of this one at the gradients of the nodes it leads to, complete by
//! then (those of skip connections later, where their state's gradient begins); one goes through the second stages. The
//! gradient between two stages takes the place of the branch's output where nobody needs that again ([`vjp_last`]);
//! otherwise it is held from one stage to the other, or kept.
//!
//! [`jvp`]: crate::cell::jvp

use std::ops::{Deref, Range};

use rayon::prelude::*;

use crate::buffers::{Buffer, take_gradient, take_vec};
use crate::cell::{CellInput, CellTangent, Saved, SavedDot, Work, factor, in_pool, with_scratch};
use crate::norm::{Affine, Gradient, Norm, Sums, Tangent, gradient, weight_gradient, weight_gradient_dual};
use crate::plan::{Branch, Part, Placed, Plan, Span, Summand, chunk_images};
use crate::reading::{Group, Reading};
use crate::simd::blend::{Source, blend, dots};
use crate::spec::CellNoise;
use crate::stage::{Cotangent, Destination, Read, Scratch};

/// Which gradients [`vjp`] shall compute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Want {
    /// Of s0.
    pub s0: bool,
    /// Of s1.
    pub s1: bool,
    /// Of p.
    pub p: bool,
    /// Of w; not together with a tangent.
    pub w: bool,
    /// Whether [`CellGradient::kept`] is filled; not together with a tangent.
    pub keep: bool,
}

/// The tangent that a vjp of the jvp differentiates.
#[derive(Clone, Copy, Debug)]
pub struct Dual<'a> {
    /// The direction [`jvp`](crate::cell::jvp) was given.
    pub tangent: CellTangent<'a>,
    /// What it left.
    pub saved: &'a SavedDot,
    /// What the gradient d of its output left on its way back. It must have been asked for the gradients of s0 and s1
    /// if these are wanted here, or for that of w.
    pub kept: &'a Kept,
}

/// Gradients; those not asked for are empty.
#[derive(Debug, Default)]
pub struct CellGradient {
    /// Of s0, (n, h0, w0, c_prev_prev).
    pub s0: Vec<f32>,
    /// Of s1.
    pub s1: Vec<f32>,
    /// Of p.
    pub p: Vec<f32>,
    /// Of w.
    pub w: Vec<f32>,
    /// What a vjp of a jvp needs to know of this gradient.
    pub kept: Option<Kept>,
}

/// What a vjp leaves for those of tangents.
#[derive(Debug, Default)]
pub struct Kept {
    chunks: Vec<Inside>,
    /// Sums at the batch norm that feeds the node, and at the one before that, of each branch.
    outer: Vec<Sums>,
    inner: Vec<Sums>,
    /// Those at the preprocess blocks.
    pre: Vec<Sums>,
}

/// Gradients inside a cell, of a group of images.
#[derive(Debug)]
struct Inside {
    /// Of every state. Those of the nodes start as their part of the output's.
    states: Vec<Buffer>,
    /// Of inner batch norms: of every branch if they are kept, else where `inner_places` says; none where they take the place
    /// of outputs.
    inner: Vec<Buffer>,
}

/// The buffers of a group of images.
enum Bufs<'a> {
    Shared(&'a [Buffer]),
    /// Nobody else needs them: the gradient at an inner batch norm takes the place of the branch's output.
    Own(&'a mut [Buffer]),
}

impl Deref for Bufs<'_> {
    type Target = [Buffer];
    fn deref(&self) -> &[Buffer] {
        match self {
            Self::Shared(bufs) => bufs,
            Self::Own(bufs) => bufs,
        }
    }
}

/// A group of images on its way back.
struct Chunk<'a> {
    n: usize,
    /// The first of them.
    first: usize,
    bufs: Bufs<'a>,
    /// Their part of the output.
    out: &'a [f32],
    /// Gradient of the output.
    g: &'a [f32],
    inside: Inside,
    /// Its part of the gradient of the weights, unspecified until the first images come by.
    dw: Buffer,
    dual: Option<DualChunk<'a>>,
}

#[derive(Clone, Copy)]
struct DualChunk<'a> {
    tangent: Group<'a>,
    saved: &'a SavedDot,
    d: &'a Inside,
}

impl Chunk<'_> {
    fn value(&self) -> Group<'_> {
        Group { first: self.first, bufs: &self.bufs, out: self.out }
    }

    /// The gradient at the inner batch norm of a branch, given its place in [`Inside::inner`] and its last batch norm.
    fn inner(&self, place: usize, last: usize) -> &Buffer {
        match &self.bufs {
            Bufs::Shared(_) => &self.inside.inner[place],
            Bufs::Own(bufs) => &bufs[last],
        }
    }

    fn inner_mut(&mut self, place: usize, last: usize) -> &mut Buffer {
        match &mut self.bufs {
            Bufs::Shared(_) => &mut self.inside.inner[place],
            Bufs::Own(bufs) => &mut bufs[last],
        }
    }
}

impl<'a> DualChunk<'a> {
    /// A few images of the tangent of a stage's output; `None`: it is zero.
    fn dot(&self, norm: usize, images: Range<usize>) -> Option<&'a [f32]> {
        self.saved.is_moving(norm).then(|| &self.tangent.bufs[norm][images])
    }
}

/// Everything constant during the call.
struct Context<'a> {
    plan: &'a Plan,
    input: CellInput<'a>,
    noise: &'a CellNoise,
    norms: &'a [Norm],
    dual: Option<Dual<'a>>,
    w_t: Vec<f32>,
    /// The tangents of the weights, transposed.
    w_dot_t: Option<Vec<f32>>,
    affines: Vec<Affine>,
    want: Want,
    /// Whether the gradient of state 0 and 1 is needed.
    needs: [bool; 2],
    /// See [`inner_places`].
    inner_places: Vec<usize>,
}

/// Gradients of the cell at `input`; g is the gradient of its output `out`, which must be as
/// [`forward`](crate::cell::forward) has written it together with `saved`.
///
/// # Panics
/// If weight gradients are asked for together with a tangent, or a slice is too short.
pub fn vjp(
    input: CellInput<'_>,
    out: &[f32],
    noise: &CellNoise,
    saved: &Saved,
    g: &[f32],
    dual: Option<Dual<'_>>,
    want: Want,
) -> CellGradient {
    let bufs = saved.chunks.iter().map(|bufs| Bufs::Shared(bufs)).collect();
    in_pool(|| vjp_in_pool(input, out, noise, (&saved.plan, &saved.norms), bufs, g, dual, want))
}

/// [`vjp`] for the last time: with less memory, as gradients take the place of what `saved` holds.
///
/// # Panics
/// As [`vjp`]; if gradients shall be kept.
pub fn vjp_last(
    input: CellInput<'_>,
    out: &[f32],
    noise: &CellNoise,
    mut saved: Saved,
    g: &[f32],
    want: Want,
) -> CellGradient {
    assert!(!want.keep, "kept gradients are for further passes");
    let bufs = saved.chunks.iter_mut().map(|bufs| Bufs::Own(bufs)).collect();
    in_pool(|| vjp_in_pool(input, out, noise, (&saved.plan, &saved.norms), bufs, g, None, want))
}

/// The vjp of the jvp for a single direction, given what [`jvp`](crate::cell::jvp) left for it and the gradients (g, d) of
/// the output and its tangent: the gradients of s0, s1 and p, then those of their tangents.
///
/// # Panics
/// As [`vjp`].
#[allow(clippy::too_many_arguments)]
pub fn vjp_of_jvp(
    input: CellInput<'_>,
    out: &[f32],
    noise: &CellNoise,
    saved: &Saved,
    tangent: CellTangent<'_>,
    dot: &SavedDot,
    (g, d): (&[f32], &[f32]),
    want: Want,
) -> [CellGradient; 2] {
    let of_tangent = vjp(input, out, noise, saved, d, None, Want { keep: true, ..want });
    let kept = of_tangent.kept.as_ref().expect("it was asked for");
    let of_value = vjp(input, out, noise, saved, g, Some(Dual { tangent, saved: dot, kept }), want);
    [of_value, of_tangent]
}

#[allow(clippy::too_many_arguments)]
fn vjp_in_pool(
    input: CellInput<'_>,
    out: &[f32],
    noise: &CellNoise,
    (plan, norms): (&Plan, &[Norm]),
    bufs: Vec<Bufs<'_>>,
    g: &[f32],
    dual: Option<Dual<'_>>,
    want: Want,
) -> CellGradient {
    assert!(g.len() == plan.n * plan.out_len() && out.len() == g.len(), "gradient of the output");
    assert!(!((want.w || want.keep) && dual.is_some()), "second derivatives end in the mixing weights");
    let needs = [want.s0 || want.w, want.s1 || want.w];
    let ctx = Context {
        plan,
        input,
        noise,
        norms,
        dual,
        w_t: plan.transpose_weights(input.w),
        w_dot_t: dual.and_then(|d| d.tangent.w).map(|w| plan.transpose_weights(w)),
        affines: norms.iter().map(Norm::affine).collect(),
        want,
        needs,
        inner_places: inner_places(plan, needs, want.keep),
    };
    let mut chunks = ctx.chunks(bufs, out, g);
    let mut p = vec![0.0; if want.p { plan.n_alphas } else { 0 }];
    let mut kept = Kept { inner: vec![Sums::default(); plan.branches.len()], ..Kept::default() };
    kept.outer.clone_from(&kept.inner);

    // The gradients at the batch norms, as they become known.
    let mut known: Vec<Gradient> = vec![Gradient::default(); plan.n_norms];
    let mut begun = vec![false; 2 + plan.nodes];
    let mut before: &[usize] = &[];
    for unit in plan.units.iter().rev() {
        // The gradients of the states where the branches of the unit before start, then the sums of this one's.
        let mut first = ctx.first_vjps(before, &mut begun);
        ctx.learn_shared(&first, &mut known, &kept.outer);
        let nodes = unit.parts.iter().map(|part| 2 + part.node);
        let new = nodes.filter(|state| !std::mem::replace(&mut begun[*state], true));
        first.begin.extend(new.map(|state| Begin { state, is_new: true, identities: Vec::new() }));
        let (early, late) = (ctx.early(&unit.parts), ctx.late(&first));
        let parts: Vec<&Part> = late.iter().chain(&early).collect();
        let n = parts.iter().map(|part| part.branches.len()).sum();
        let sums = ctx.sum_pass(&mut chunks, n, |chunk, span, work, sums| {
            let sums = ctx.part_sums(chunk, &late, span, work, sums);
            ctx.state_gradients(chunk, &first, &known, span, work);
            ctx.part_sums(chunk, &early, span, work, sums);
        });
        let summed = parts.iter().flat_map(|part| part.branches.iter().copied());
        summed.zip(sums).for_each(|(at, sums)| ctx.learn(at, sums, &mut p, &mut known, &mut kept));
        before = &unit.first;
        // Through the second stages.
        let twice: Vec<usize> = unit.second.iter().copied().filter(|b| ctx.is_inner(&plan.branches[*b])).collect();
        if twice.is_empty() {
            continue;
        }
        let sums = ctx.sum_pass(&mut chunks, twice.len(), |chunk, span, work, sums| {
            for (b, sums) in twice.iter().zip(sums) {
                ctx.inner_gradient(chunk, *b, &known, span, work, sums);
            }
        });
        for (at, sums) in twice.into_iter().zip(sums) {
            let norm = plan.branches[at].stages[0].norm;
            known[norm] = ctx.gradient(norm, |kept| &kept.inner[at], &sums, (1.0, 0.0));
            kept.inner[at] = sums;
        }
    }

    // The gradients of states 0 and 1 are complete then; the sums of the preprocess blocks.
    let first = ctx.first_vjps(before, &mut begun);
    ctx.learn_shared(&first, &mut known, &kept.outer);
    let untouched: Vec<usize> = (0..2).filter(|state| ctx.needs[*state] && !begun[*state]).collect();
    let late = ctx.late(&first);
    kept.pre = ctx.sum_pass(&mut chunks, 2 + late.len(), |chunk, span, work, sums| {
        let (sums, of_late) = sums.split_at_mut(2);
        ctx.part_sums(chunk, &late, span, work, of_late);
        ctx.state_gradients(chunk, &first, &known, span, work);
        for state in &untouched {
            chunk.inside.states[*state][span.of(plan.px(*state) * plan.c)].fill(0.0);
        }
        for state in (0..2).filter(|s| ctx.needs[*s]) {
            ctx.pre_sums(chunk, state, span, work, &mut sums[state]);
        }
    });
    let of_late = kept.pre.split_off(2);
    let summed = late.iter().flat_map(|part| part.branches.iter().copied());
    summed.zip(of_late).for_each(|(at, sums)| ctx.learn(at, sums, &mut p, &mut known, &mut kept));
    let pre = [0, 1].map(|i| ctx.gradient(plan.pre[i].norm, |kept| &kept.pre[i], &kept.pre[i], (1.0, 0.0)));
    let per_chunk = chunk_images(plan.n);
    let mut states = [want.s0, want.s1].map(|_| Vec::new());
    for (i, wanted) in [want.s0, want.s1].into_iter().enumerate() {
        if wanted {
            states[i] = take_gradient(plan.n * plan.input_len(i));
        }
    }
    let mut parts: Vec<[Option<&mut [f32]>; 2]> = (0..chunks.len()).map(|_| [None, None]).collect();
    for (i, state) in states.iter_mut().enumerate() {
        for (part, piece) in parts.iter_mut().zip(state.chunks_mut(per_chunk * plan.input_len(i))) {
            part[i] = Some(piece);
        }
    }
    chunks.par_iter_mut().zip(parts).for_each(|(chunk, mut parts)| {
        with_scratch(|work| {
            for span in ctx.spans(chunk.n) {
                for state in (0..2).filter(|s| ctx.needs[*s]) {
                    ctx.pre_stage(chunk, state, &pre[state], span, work, parts[state].as_deref_mut());
                }
            }
        });
    });
    let w = if want.w { ctx.weights(&chunks) } else { Vec::new() };
    kept.chunks = chunks.into_iter().map(|chunk| chunk.inside).collect();
    let [s0, s1] = states;
    CellGradient { s0, s1, p, w, kept: want.keep.then_some(kept) }
}

/// The cotangents of what a batch norm made, and the coefficients of its vjp.
struct AtNorm<'a> {
    /// What it took in; `None`: it lies where the gradient will.
    y: Option<&'a [f32]>,
    /// Of all that reads it; one, unless branches share it.
    from: &'a [Behind<'a>],
    coef: &'a Gradient,
}

/// A tensor that is m times (p times) what a batch norm made, and its gradients.
struct Behind<'a> {
    /// Of its value.
    g: &'a [f32],
    /// Of its tangent.
    d: Option<&'a [f32]>,
    /// The drop-path factor m, times p unless the coefficients hold that, and the tangent of the latter.
    weight: f32,
    weight_dot: f32,
}

impl<'a> Behind<'a> {
    /// With p = 1, or in the coefficients.
    fn new(g: &'a [f32], d: Option<&'a [f32]>, m: f32) -> Self {
        Self { g, d, weight: m, weight_dot: 0.0 }
    }
}

/// What [`Context::state_gradients`] does.
#[derive(Default)]
struct FirstVjps {
    begin: Vec<Begin>,
    stages: Vec<FirstVjp>,
}

/// What the gradient of a state takes in without a stage.
struct Begin {
    state: usize,
    /// Whether nothing is there yet: then that of a node starts as its part of the output's.
    is_new: bool,
    /// The skip connections, by their places in the plan.
    identities: Vec<usize>,
}

/// A branch on its way back through its first stage.
struct FirstVjp {
    /// Its place in the plan.
    at: usize,
    /// Whether it adds to what is there.
    accumulate: bool,
    /// Whether it reads the same window as the one before it (`Read::ready`).
    ready: bool,
}

/// Adds float32 sums over a few images, times the drop-path factor.
fn accumulate(target: &mut [f64], part: &[f32], m: f32) {
    target.iter_mut().zip(part).for_each(|(t, v)| *t += f64::from(m) * f64::from(*v));
}

/// Adds the gradients of tangents to the sources of a cotangent, those that count.
fn add_tangents<'a>(
    sources: &mut Vec<Source<'a>>,
    c: usize,
    from: &[Behind<'a>],
    coef: &'a [f32],
    weight: impl Fn(&Behind<'_>) -> f32,
) {
    if coef.iter().any(|v| *v != 0.0) {
        let source = |b: &Behind<'a>| b.d.map(|data| Source { data, stride: c, coef, factor: weight(b) });
        sources.extend(from.iter().filter(|b| weight(b) != 0.0).filter_map(source));
    }
}

/// Whether a gradient goes through the second stage of a branch.
fn is_inner(needs: [bool; 2], b: &Branch) -> bool {
    b.stages.len() == 2 && (b.state >= 2 || needs[b.state])
}

/// Where in [`Inside::inner`] the gradient at the inner batch norm of every branch that has one lies: in its own place if
/// they are kept, else in one that is free from its second stage to its first.
fn inner_places(plan: &Plan, needs: [bool; 2], keep: bool) -> Vec<usize> {
    if keep {
        return (0..plan.branches.len()).collect();
    }
    let (mut places, mut taken) = (vec![0; plan.branches.len()], Vec::new());
    let mut before: &[usize] = &[];
    let is_inner = |at: &&usize| is_inner(needs, &plan.branches[**at]);
    for unit in plan.units.iter().rev() {
        for at in before.iter().filter(is_inner) {
            taken[places[*at]] = false;
        }
        before = &unit.first;
        for at in unit.second.iter().filter(is_inner) {
            let place = taken.iter().position(|taken| !taken).unwrap_or(taken.len());
            taken.resize(taken.len().max(place + 1), false);
            taken[place] = true;
            places[*at] = place;
        }
    }
    places
}

impl<'a> Context<'a> {
    fn chunks(&self, bufs: Vec<Bufs<'a>>, out: &'a [f32], g: &'a [f32]) -> Vec<Chunk<'a>> {
        let (plan, per_chunk) = (self.plan, chunk_images(self.plan.n));
        let used =
            plan.branches.iter().enumerate().filter(|(_, b)| self.is_inner(b)).map(|(at, _)| self.inner_places[at]);
        let mut slots = Vec::new();
        for place in used.filter(|_| matches!(bufs[0], Bufs::Shared(_))) {
            slots.resize(slots.len().max(place + 1), false);
            slots[place] = true;
        }
        // What is kept outlives the pass; all else is shared with those of other cells.
        let take = if self.want.keep { Buffer::take } else { Buffer::scratch };
        let chunk = |index: usize, g: &'a [f32], out: &'a [f32], bufs: Bufs<'a>| {
            let (n, first) = (g.len() / plan.out_len(), index * per_chunk);
            let state = |state: usize| {
                let needed = state >= 2 || self.needs[state];
                take(if needed { n * plan.px(state) * plan.c } else { 0 })
            };
            let inner = |used: bool| take(if used { n * plan.px(2) * plan.c } else { 0 });
            Chunk {
                n,
                first,
                bufs,
                out,
                g,
                inside: Inside {
                    states: (0..2 + plan.nodes).map(state).collect(),
                    inner: slots.iter().copied().map(inner).collect(),
                },
                dw: Buffer::scratch(if self.want.w { plan.n_weights } else { 0 }),
                dual: self.dual.map(|d| {
                    let out = &d.saved.out_dot[first * plan.out_len()..][..g.len()];
                    let tangent = Group { first, bufs: &d.saved.chunks[index], out };
                    DualChunk { tangent, saved: d.saved, d: &d.kept.chunks[index] }
                }),
            }
        };
        let pieces = |all: &'a [f32]| all.chunks(per_chunk * plan.out_len());
        let all = pieces(g).zip(pieces(out)).zip(bufs).enumerate();
        all.map(|(index, ((g, out), bufs))| chunk(index, g, out, bufs)).collect()
    }

    fn spans(&self, n: usize) -> impl Iterator<Item = Span> + use<> {
        self.plan.spans(n, &self.noise.drop_path)
    }

    /// One pass over all images: n sums, which `f` adds the part of a few images to, of all groups in their order.
    fn sum_pass(
        &self,
        chunks: &mut [Chunk<'a>],
        n: usize,
        f: impl Fn(&mut Chunk<'a>, Span, &mut Work, &mut [Sums]) + Sync,
    ) -> Vec<Sums> {
        let new = || vec![Sums::new(self.plan.c); n];
        let of_chunk = |chunk: &mut Chunk<'a>| {
            let mut sums = new();
            with_scratch(|work| self.spans(chunk.n).for_each(|span| f(chunk, span, work, &mut sums)));
            sums
        };
        let parts: Vec<Vec<Sums>> = chunks.par_iter_mut().map(of_chunk).collect();
        let mut total = new();
        for part in &parts {
            total.iter_mut().zip(part).for_each(|(t, p)| t.merge(p));
        }
        total
    }

    /// The weight gradients of all groups.
    fn weights(&self, chunks: &[Chunk<'_>]) -> Vec<f32> {
        const PIECE: usize = 4096;
        let mut w = take_vec(self.plan.n_weights);
        w.par_chunks_mut(PIECE).enumerate().for_each(|(at, w)| {
            w.fill(0.0);
            for chunk in chunks {
                let part = &chunk.dw[at * PIECE..][..w.len()];
                w.iter_mut().zip(part).for_each(|(w, d)| *w += d);
            }
        });
        w
    }

    fn is_inner(&self, b: &Branch) -> bool {
        is_inner(self.needs, b)
    }

    /// What [`Context::state_gradients`] does for these branches.
    fn first_vjps(&self, branches: &[usize], begun: &mut [bool]) -> FirstVjps {
        let mut all = FirstVjps::default();
        for at in branches.iter().copied() {
            let b = &self.plan.branches[at];
            let identity = matches!(b.summand, Summand::State { .. });
            let goes_back = b.runs() && matches!(b.summand, Summand::State { .. } | Summand::Norm(_));
            if !goes_back || (b.state < 2 && !self.needs[b.state]) {
                continue;
            }
            // A stage can write the first part itself, but for a node, which starts as its part of the output's. Skip
            // connections come before the stages of their state (`Plan::split`), as they do in `state_gradients`.
            let is_new = !begun[b.state];
            if identity || (is_new && b.state >= 2) {
                match all.begin.iter_mut().find(|begin| begin.state == b.state) {
                    Some(begin) => begin.identities.extend(identity.then_some(at)),
                    None => {
                        let identities = identity.then_some(at).into_iter().collect();
                        all.begin.push(Begin { state: b.state, is_new, identities });
                    }
                }
            }
            if !identity {
                let accumulate = !is_new || b.state >= 2;
                let ready = all.stages.last().is_some_and(|last| b.shares_window(&self.plan.branches[last.at]));
                all.stages.push(FirstVjp { at, accumulate, ready });
            }
            begun[b.state] = true;
        }
        all
    }

    /// Sums up what the gradient of a state takes in without a stage: its part of the output's gradient, if it is a node
    /// and new, and those of the nodes that skip connections lead to, weighted.
    fn begin(&self, chunk: &mut Chunk<'_>, begin: &Begin, span: Span) {
        let (plan, c, px) = (self.plan, self.plan.c, self.plan.px(begin.state));
        let images = span.of(px * c);
        // A node's state comes after those it sums.
        let (states, nodes) = chunk.inside.states.split_at_mut(begin.state + 1);
        let mut sources = Vec::with_capacity(1 + 2 * begin.identities.len());
        if begin.is_new && begin.state >= 2 {
            let (from, pitch) = plan.in_output(begin.state - 2, span);
            sources.push(Source::new(&chunk.g[from..], pitch, &[]));
        }
        for b in begin.identities.iter().map(|at| &plan.branches[*at]) {
            let (p, p_dot) = self.weights_of(b);
            let m = factor(&self.noise.drop_path, plan.n, b.edge, chunk.first + span.first);
            let weighted = |data, weight: f64| Source { data, stride: c, coef: &[], factor: m * weight as f32 };
            sources.push(weighted(&nodes[1 + b.node - begin.state][images.clone()], p));
            if let Some(dual) = chunk.dual.filter(|_| p_dot != 0.0) {
                sources.push(weighted(&dual.d.states[2 + b.node][images.clone()], p_dot));
            }
        }
        let to = &mut states[begin.state][images];
        blend(plan.isa, span.n * px, c, &sources, &[], !begin.is_new, to, c);
    }

    /// Adds to the gradients of states what comes through the first stages of a unit that reads them.
    fn state_gradients(
        &self,
        chunk: &mut Chunk<'_>,
        first: &FirstVjps,
        known: &[Gradient],
        span: Span,
        work: &mut Work,
    ) {
        let (plan, c, px) = (self.plan, self.plan.c, self.plan.px(2));
        let images = span.of(px * c);
        first.begin.iter().for_each(|begin| self.begin(chunk, begin, span));
        for FirstVjp { at, accumulate, ready } in &first.stages {
            let b = &plan.branches[*at];
            let placed = &b.stages[0];
            // Behind the first of two stages lies the branch's own gradient, behind an only one those of nodes.
            let mut to = std::mem::take(&mut chunk.inside.states[b.state]);
            let len = plan.px(b.state) * c;
            let destination =
                Destination { out: &mut to[span.of(len)], stride: c, accumulate: *accumulate, sums: None };
            let reading = Reading::state(plan, &self.affines, b.state, &placed.stage);
            let mut dw = std::mem::take(&mut chunk.dw);
            let from: Vec<Behind<'_>> = match &b.stages[..] {
                [_, last] => {
                    let d = chunk.dual.map(|dual| &dual.d.inner[*at][images.clone()]);
                    vec![Behind::new(&chunk.inner(self.inner_places[*at], last.norm)[images.clone()], d, 1.0)]
                }
                _ => b.serves.iter().map(|at| self.at_node(chunk, &plan.branches[*at], span)).collect(),
            };
            let y = Some(&chunk.bufs[placed.norm][images.clone()]);
            let at_norm = AtNorm { y, from: &from, coef: &known[placed.norm] };
            let r = Read { feed: reading.feed(chunk.value(), span), ready: *ready };
            self.stage_vjp(chunk, placed, span, r, &at_norm, Some(destination), &mut dw, &mut work.scratch);
            (chunk.inside.states[b.state], chunk.dw) = (to, dw);
        }
    }

    /// A few images of the gradients of the node that a branch leads to.
    fn at_node<'c>(&self, chunk: &'c Chunk<'_>, b: &Branch, span: Span) -> Behind<'c> {
        let images = span.of(self.plan.px(2) * self.plan.c);
        let m = factor(&self.noise.drop_path, self.plan.n, b.edge, chunk.first + span.first);
        let g = &chunk.inside.states[2 + b.node][images.clone()];
        let own = Behind::new(g, chunk.dual.map(|dual| &dual.d.states[2 + b.node][images]), m);
        if !b.is_shared() {
            return own;
        }
        let (p, p_dot) = self.weights_of(b);
        Behind { weight: m * p as f32, weight_dot: m * p_dot as f32, ..own }
    }

    /// The branches whose sums are taken as soon as the gradient of their node is complete: batch norms need them. Those of
    /// a skip connection only its mixing weight needs.
    fn early(&self, parts: &[Part]) -> Vec<Part> {
        let early = |at: &usize| !self.is_late(&self.plan.branches[*at]);
        let of_part = |part: &Part| Part { branches: part.branches.iter().copied().filter(early).collect(), ..*part };
        parts.iter().map(of_part).collect()
    }

    /// The skip connections whose sums are taken with this turn: state and gradient of the node are read then anyway.
    fn late(&self, first: &FirstVjps) -> Vec<Part> {
        let places = first.begin.iter().flat_map(|begin| begin.identities.iter().copied());
        places.map(|at| Part { node: self.plan.branches[at].node, branches: vec![at] }).collect()
    }

    fn is_late(&self, b: &Branch) -> bool {
        matches!(b.summand, Summand::State { .. }) && (b.state >= 2 || self.needs[b.state])
    }

    /// Adds a few images to the sums of parts, which lie behind one another; what lies behind those is returned.
    fn part_sums<'s>(
        &self,
        chunk: &Chunk<'_>,
        parts: &[Part],
        span: Span,
        work: &mut Work,
        mut sums: &'s mut [Sums],
    ) -> &'s mut [Sums] {
        for part in parts {
            let (of_part, behind) = sums.split_at_mut(part.branches.len());
            self.node_sums(chunk, part, span, work, of_part);
            sums = behind;
        }
        sums
    }

    /// Adds a few images to the sums of every branch of a part.
    fn node_sums(&self, chunk: &Chunk<'_>, part: &Part, span: Span, work: &mut Work, sums: &mut [Sums]) {
        let (plan, isa, c, px) = (self.plan, self.plan.isa, self.plan.c, self.plan.px(2));
        let (node, branches) = (part.node, part.branches.iter().map(|b| &plan.branches[*b]));
        let images = span.of(px * c);
        // (branch, buffer of what it adds to the node, drop-path factor) of those that add something: without
        // gradients of p, only batch norms need sums.
        let used: Vec<(usize, usize, f32)> = branches
            .enumerate()
            .filter(|(_, b)| self.want.p || !b.stages.is_empty())
            .filter_map(|(k, b)| {
                let m = factor(&self.noise.drop_path, plan.n, b.edge, chunk.first + span.first);
                b.summand.source().map(|(buffer, _)| (k, buffer, m))
            })
            .collect();
        if used.is_empty() {
            return;
        }
        work.sums.resize((1 + part.branches.len()) * c, 0.0);
        let ys: Vec<(&[f32], usize)> = used.iter().map(|(_, b, _)| chunk.value().term(plan, *b, span)).collect();
        dots(isa, span.n * px, c, (&chunk.inside.states[2 + node][images.clone()], c), &ys, &mut work.sums);
        for (j, (k, _, m)) in used.iter().enumerate() {
            accumulate(&mut sums[*k].g, &work.sums[..c], *m);
            accumulate(&mut sums[*k].g_y, &work.sums[(1 + j) * c..][..c], *m);
        }
        let Some(dual) = chunk.dual else { return };
        let moving: Vec<_> = used.into_iter().filter(|(_, b, _)| dual.saved.is_moving(*b)).collect();
        if !moving.is_empty() {
            let y_dots: Vec<(&[f32], usize)> =
                moving.iter().map(|(_, b, _)| dual.tangent.term(plan, *b, span)).collect();
            dots(isa, span.n * px, c, (&dual.d.states[2 + node][images], c), &y_dots, &mut work.sums);
            for (j, (k, _, m)) in moving.into_iter().enumerate() {
                accumulate(&mut sums[k].d_dot, &work.sums[(1 + j) * c..][..c], m);
            }
        }
    }

    /// What the sums of a branch at its node tell: the gradient of its mixing weight, if that is wanted, and the coefficients
    /// of the batch norm in front of it, if there is one.
    fn learn(&self, at: usize, sums: Sums, p: &mut [f32], known: &mut [Gradient], kept: &mut Kept) {
        let b = &self.plan.branches[at];
        if self.want.p {
            p[b.alpha] = self.mixing_gradient(at, &sums) as f32;
        }
        if let Some(placed) = b.last().filter(|_| !b.is_shared()) {
            known[placed.norm] = self.gradient(placed.norm, |kept| &kept.outer[at], &sums, self.weights_of(b));
        }
        kept.outer[at] = sums;
    }

    /// The coefficients of the batch norms of shared stages, once all is learned of the branches that they serve.
    fn learn_shared(&self, first: &FirstVjps, known: &mut [Gradient], outer: &[Sums]) {
        let serving = first.stages.iter().map(|stage| &self.plan.branches[stage.at]).filter(|b| b.is_shared());
        for b in serving {
            let (norm, mut sums, mut of_d) = (b.stages[0].norm, Sums::new(self.plan.c), Sums::new(self.plan.c));
            for at in &b.serves {
                let (p, p_dot) = self.weights_of(&self.plan.branches[*at]);
                sums.add(&outer[*at], p);
                if let Some(dual) = self.dual {
                    sums.add(&dual.kept.outer[*at], p_dot);
                    of_d.add(&dual.kept.outer[*at], p);
                }
            }
            let tangent = self.dual.map(|dual| (&dual.saved.norms[norm], &of_d));
            known[norm] = gradient(&self.norms[norm], tangent, &sums, |_| (1.0, 0.0));
        }
    }

    /// The gradient of the mixing weight of a branch.
    fn mixing_gradient(&self, branch: usize, sums: &Sums) -> f64 {
        let of = |sums: &[f64]| sums.iter().sum::<f64>();
        match self.plan.branches[branch].summand.source() {
            None => 0.0,
            Some((_, None)) => of(&sums.g_y) + self.dual.map_or(0.0, |_| of(&sums.d_dot)),
            Some((_, Some(norm))) => {
                let tangent = self.tangent_of(norm, |kept| &kept.outer[branch]);
                let of_dual = tangent.map_or(0.0, |t| weight_gradient_dual(&self.norms[norm], t, sums));
                weight_gradient(&self.norms[norm], sums) + of_dual
            }
        }
    }

    /// (p, p') of a branch.
    fn weights_of(&self, b: &Branch) -> (f64, f64) {
        (f64::from(self.input.p[b.alpha]), self.dual.map_or(0.0, |d| f64::from(d.tangent.p[b.alpha])))
    }

    /// The tangent at a batch norm and the sums of d there.
    fn tangent_of(&self, norm: usize, d: impl Fn(&'a Kept) -> &'a Sums) -> Option<Tangent<'a>> {
        self.dual.map(|dual| (&dual.saved.norms[norm], d(dual.kept)))
    }

    /// The gradient at a batch norm that is multiplied with (p, p') behind it.
    fn gradient(&self, norm: usize, d: impl Fn(&'a Kept) -> &'a Sums, sums: &Sums, (p, p_dot): (f64, f64)) -> Gradient {
        gradient(&self.norms[norm], self.tangent_of(norm, d), sums, |_| (p, p_dot))
    }

    /// From a node's gradient through the second stage of a branch to the batch norm behind its first, with the sums of
    /// that one.
    fn inner_gradient(
        &self,
        chunk: &mut Chunk<'_>,
        at: usize,
        known: &[Gradient],
        span: Span,
        work: &mut Work,
        sums: &mut Sums,
    ) {
        let (plan, c, px) = (self.plan, self.plan.c, self.plan.px(2));
        let b = &plan.branches[at];
        let inner = self.inner_places[at];
        let [first, second] = &b.stages[..] else { return };
        let images = span.of(px * c);
        let Work { scratch, sums: both, .. } = work;
        both.clear();
        both.resize(2 * c, 0.0);
        let mut to = std::mem::take(chunk.inner_mut(inner, second.norm));
        let mut dw = std::mem::take(&mut chunk.dw);
        let destination =
            Destination { out: &mut to[images.clone()], stride: c, accumulate: false, sums: Some(&mut both[..]) };
        let reading = Reading::inner(plan, &self.affines, first);
        let at_norm = AtNorm {
            y: matches!(chunk.bufs, Bufs::Shared(_)).then(|| &chunk.bufs[second.norm][images.clone()]),
            from: &[self.at_node(chunk, b, span)],
            coef: &known[second.norm],
        };
        let r = Read { feed: reading.feed(chunk.value(), span), ready: false };
        self.stage_vjp(chunk, second, span, r, &at_norm, Some(destination), &mut dw, scratch);
        *chunk.inner_mut(inner, second.norm) = to;
        chunk.dw = dw;
        accumulate(&mut sums.g, &both[..c], 1.0);
        accumulate(&mut sums.g_y, &both[c..], 1.0);
        self.add_d_dot(chunk.dual, first.norm, |d| &d.inner[at], images, both, sums);
    }

    /// Adds sum d y' of a few images of a state or an inner batch norm.
    fn add_d_dot(
        &self,
        dual: Option<DualChunk<'_>>,
        norm: usize,
        d: impl Fn(&Inside) -> &Buffer,
        images: Range<usize>,
        both: &mut Vec<f32>,
        sums: &mut Sums,
    ) {
        let c = self.plan.c;
        if let Some(dual) = dual
            && let Some(dot) = dual.dot(norm, images.clone())
        {
            both.resize(2 * c, 0.0);
            dots(self.plan.isa, images.len() / c, c, (&d(dual.d)[images], c), &[(dot, c)], both);
            accumulate(&mut sums.d_dot, &both[c..], 1.0);
        }
    }

    /// Transposes a stage and the batch norm behind it, for a few images.
    #[allow(clippy::too_many_arguments)]
    fn stage_vjp(
        &self,
        chunk: &Chunk<'_>,
        placed: &Placed,
        span: Span,
        r: Read<'_>,
        behind: &AtNorm<'_>,
        to: Option<Destination<'_>>,
        dw: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let (isa, stage, at) = (self.plan.isa, placed.stage.of_images(span.n), placed.weights);
        let c = stage.c_out;
        let images = span.of(placed.stage.len_out());
        let AtNorm { y, from, coef } = *behind;
        let (w, w_t) = (stage.factors(&self.input.w[at..]), stage.factors(&self.w_t[at..]));
        let n_weights: usize = stage.weight_lens().iter().sum();
        let mut dw = (self.want.w && n_weights > 0).then(|| &mut dw[at..at + n_weights]);
        if let Some(dw) = dw.as_mut().filter(|_| span.first == 0) {
            // Here, where they stay in the caches until they are added to, and every thread those of its groups.
            dw.fill(0.0);
        }
        let (in_place, y) = (y.is_none().then_some(from.len()), y.unwrap_or_default());
        let mut sources = Vec::with_capacity(3 * from.len() + 2);
        sources.extend(from.iter().map(|b| Source { data: b.g, stride: c, coef: &coef.of_g, factor: b.weight }));
        sources.push(Source::new(y, c, &coef.of_y));
        add_tangents(&mut sources, c, from, &coef.of_d, |b| b.weight);
        add_tangents(&mut sources, c, from, &coef.of_g, |b| b.weight_dot);
        if let Some(dot) = chunk.dual.and_then(|dual| dual.dot(placed.norm, images)) {
            sources.push(Source::new(dot, c, &coef.of_dot));
        }
        let g = Cotangent { sources: &sources, shift: &coef.shift, in_place };
        let weights_move = self.w_dot_t.as_ref().zip(self.dual.and_then(|d| d.tangent.w));
        let ((w_dot_t, w_dot), to) = match (weights_move, to) {
            (Some(moving), Some(to)) => (moving, to),
            (_, to) => return stage.map().vjp(isa, &stage, r, [w, w_t], &g, to, dw, scratch),
        };
        let mut sources = Vec::with_capacity(from.len() + 1);
        add_tangents(&mut sources, c, from, &coef.dot_of_d, |b| b.weight);
        sources.push(Source::new(y, c, &coef.dot_of_y));
        let g_dot = Cotangent { sources: &sources, shift: &coef.dot_shift, in_place: None };
        let (w_dot, w_dot_t) = (stage.factors(&w_dot[at..]), stage.factors(&w_dot_t[at..]));
        stage.map().vjp_dual(isa, &stage, r, [w, w_t], [w_dot, w_dot_t], [&g, &g_dot], to, scratch);
    }

    /// Adds a few images to the sums of a preprocess block.
    fn pre_sums(&self, chunk: &Chunk<'_>, state: usize, span: Span, work: &mut Work, sums: &mut Sums) {
        let (isa, c, px) = (self.plan.isa, self.plan.c, self.plan.px(state));
        let images = span.of(px * c);
        let y = (&chunk.value().bufs[state][images.clone()], c);
        work.sums.resize(2 * c, 0.0);
        dots(isa, span.n * px, c, (&chunk.inside.states[state][images.clone()], c), &[y], &mut work.sums);
        accumulate(&mut sums.g, &work.sums[..c], 1.0);
        accumulate(&mut sums.g_y, &work.sums[c..2 * c], 1.0);
        self.add_d_dot(chunk.dual, state, |d| &d.states[state], images, &mut work.sums, sums);
    }

    /// Through a preprocess block into its part of the gradient of s0 or s1.
    fn pre_stage(
        &self,
        chunk: &mut Chunk<'_>,
        state: usize,
        coef: &Gradient,
        span: Span,
        work: &mut Work,
        part: Option<&mut [f32]>,
    ) {
        let plan = self.plan;
        let (c_in, len) = (plan.inputs[state].0, plan.input_len(state));
        let mut dw = std::mem::take(&mut chunk.dw);
        let range = span.of(plan.px(state) * plan.c);
        let at_norm = AtNorm {
            y: Some(&chunk.bufs[plan.pre[state].norm][range.clone()]),
            from: &[Behind::new(
                &chunk.inside.states[state][range.clone()],
                chunk.dual.map(|dual| &dual.d.states[state][range]),
                1.0,
            )],
            coef,
        };
        let reading = Reading::input(plan, state, [self.input.s0, self.input.s1][state]);
        let to = part.map(|all| {
            let out = &mut all[span.of(len)];
            Destination { out, stride: c_in, accumulate: false, sums: None }
        });
        let r = Read { feed: reading.feed(chunk.value(), span), ready: false };
        self.stage_vjp(chunk, &plan.pre[state], span, r, &at_norm, to, &mut dw, &mut work.scratch);
        chunk.dw = dw;
    }
}
