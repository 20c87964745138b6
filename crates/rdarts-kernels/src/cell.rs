//! One cell of the supernet, fused: value and tangent of all its edges, unit by unit (see `plan.rs`).
//!
//! With states h_0, h_1 (preprocessed inputs) and h_(2+i) (nodes), mixing weights p and drop-path factors m,
//!
//! h_(2+i) = sum over edges e = (j, i) of m_e * sum_k p_ek * o_ek(h_j),   output = concat of all nodes.
//!
//! * [`forward`] leaves in [`Saved`] the output of every stage before its batch norm, and the statistics.
//! * [`jvp`] moves along (s0', s1', p', w') and leaves the tangents in [`SavedDot`].
//! * `vjp` in `backward.rs` is the transpose of the first and, given a [`SavedDot`], of both at once.
//!
//! A pass over the images ends where the next one needs the statistics of the whole batch. A stage's output stays
//! in the second cache level between the linear map that makes it and the sums over it.

use rayon::prelude::*;

use crate::buffers::{self, Buffer};
use crate::norm::{Affine, Moments, Norm, NormTangent};
use crate::plan::{Part, Plan, Span, Summand, chunk_images};
use crate::reading::{DotReading, Group, Reading, Step, first_stages, second_stages};
use crate::simd::Isa;
use crate::simd::aligned::Aligned;
use crate::simd::blend::{Source, add_dots, add_moments, blend};
use crate::spec::{CellDims, CellNoise, CellSpec};
use crate::stage::{Gating, Of, Scratch};

/// Tensors a cell is evaluated at.
#[derive(Clone, Copy, Debug)]
pub struct CellInput<'a> {
    /// Output of the cell before the last, (n, h0, w0, c_prev_prev).
    pub s0: &'a [f32],
    /// Output of the last cell, (n, h1, w1, c_prev).
    pub s1: &'a [f32],
    /// Mixing weights, one per operation of each edge, in edge order.
    pub p: &'a [f32],
    /// All weights, in the order of [`CellSpec::weights`].
    pub w: &'a [f32],
}

/// A direction of the same shapes.
#[derive(Clone, Copy, Debug)]
pub struct CellTangent<'a> {
    /// Tangent of s0; `None`: zero.
    pub s0: Option<&'a [f32]>,
    /// Tangent of s1; `None`: zero.
    pub s1: Option<&'a [f32]>,
    /// Tangent of p.
    pub p: &'a [f32],
    /// Tangent of w; `None`: zero.
    pub w: Option<&'a [f32]>,
}

/// What the forward pass leaves for the others.
#[derive(Debug)]
pub struct Saved {
    pub(crate) plan: Plan,
    /// Per group of images, per buffer of the plan; those of nodes are empty, nodes lie in the output.
    pub(crate) chunks: Vec<Vec<Buffer>>,
    pub(crate) norms: Vec<Norm>,
}

/// What the jvp leaves for its vjp.
#[derive(Debug)]
pub struct SavedDot {
    /// As in [`Saved`], but none of noise, and empty where nothing moves, as for nodes, whose tangents lie in `out_dot`.
    pub(crate) chunks: Vec<Vec<Buffer>>,
    pub(crate) norms: Vec<NormTangent>,
    /// Per buffer.
    pub(crate) moves: Vec<bool>,
    /// The node tangents, as in the output.
    pub(crate) out_dot: Buffer,
}

/// Value of the cell into `out`, (n, h_out, w_out, nodes * c). [`jvp`] and `vjp` read the nodes there: `out` must be as
/// it is then for as long as what is returned.
///
/// # Panics
/// If a slice has not the length its shape says.
pub fn forward(
    isa: Isa,
    spec: &CellSpec,
    dims: CellDims,
    input: CellInput<'_>,
    noise: &CellNoise,
    out: &mut [f32],
) -> Saved {
    in_pool(|| forward_in_pool(Plan::new(spec, dims, isa), input, noise, out))
}

/// Runs f on a thread of the pool. The passes follow each other in microseconds: begun from outside, every one of
/// them would put the caller to sleep and wake it up again (a third of the time on a busy machine, see LOG.md).
pub(crate) fn in_pool<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| f())
}

fn forward_in_pool(plan: Plan, input: CellInput<'_>, noise: &CellNoise, out: &mut [f32]) -> Saved {
    check(&plan, &input, noise);
    assert_eq!(out.len(), plan.n * plan.out_len(), "output");
    let per_chunk = chunk_images(plan.n);
    let images = |chunk: usize| (chunk * per_chunk..((chunk + 1) * per_chunk).min(plan.n)).len();
    let longest = (0..=2).map(|state| plan.px(state) * plan.c).max().unwrap_or(0) * per_chunk;
    buffers::announce(longest.max(plan.n_weights), plan.n * plan.input_len(0).max(plan.input_len(1)));
    let chunks = (0..plan.n.div_ceil(per_chunk))
        .map(|chunk| plan.buffer_lens.iter().map(|len| Buffer::take(len * images(chunk))).collect())
        .collect();
    let mut saved = Saved { norms: vec![Norm::default(); plan.n_norms], plan, chunks };
    let plan = saved.plan.clone();

    // States 0 and 1.
    let pre: Vec<Step<'_, Reading<'_>>> = [input.s0, input.s1]
        .iter()
        .enumerate()
        .map(|(j, s)| Step { placed: &plan.pre[j], reading: Reading::input(&plan, j, s), ready: false })
        .collect();
    stage_pass(&mut saved, &pre, out, input.w, noise, |_, _, _| {});
    // The sum of a node is written in the first pass after its last unit, in front of what reads it, image by image.
    let mut sums: Vec<NodeSum<'_>> =
        plan.empty_nodes().map(|part| NodeSum::new(&saved, &part, input.p, noise)).collect();
    let mut affines: Vec<Affine> = vec![Affine::default(); plan.n_norms];
    (0..2).for_each(|j| affines[j] = saved.norms[j].affine());
    for unit in &plan.units {
        let first = first_stages(&plan, unit, |b| Reading::state(&plan, &affines, b.state, &b.stages[0].stage));
        stage_pass(&mut saved, &first, out, input.w, noise, |ctx, span, work| {
            sums.iter().for_each(|sum| sum.write(&plan, ctx, span, work));
            for b in unit.first.iter().map(|b| &plan.branches[*b]) {
                if let Summand::Noise { buffer } = b.summand {
                    let len = plan.buffer_lens[buffer];
                    let start = (ctx.first + span.first) * len;
                    crate::noise::fill(noise.noise_key, b.edge, start, &mut ctx.bufs[buffer][span.of(len)]);
                }
            }
        });
        for first in unit.first.iter().filter_map(|b| plan.branches[*b].first_of_two()) {
            affines[first.norm] = saved.norms[first.norm].affine();
        }
        let second = second_stages(&plan, unit, |first| Reading::inner(&plan, &affines, first));
        if !second.is_empty() {
            stage_pass(&mut saved, &second, out, input.w, noise, |_, _, _| {});
        }
        sums = unit.ends.iter().map(|part| NodeSum::new(&saved, part, input.p, noise)).collect();
    }
    stage_pass(&mut saved, &[], out, input.w, noise, |ctx, span, work| {
        sums.iter().for_each(|sum| sum.write(&plan, ctx, span, work));
    });
    saved
}

/// Tangent of the cell, whose output is kept in the result; `out` is what [`forward`] has written.
///
/// # Panics
/// If a slice has not the length its shape says.
pub fn jvp(input: CellInput<'_>, out: &[f32], tangent: CellTangent<'_>, noise: &CellNoise, saved: &Saved) -> SavedDot {
    in_pool(|| jvp_in_pool(input, out, tangent, noise, saved))
}

fn jvp_in_pool(
    input: CellInput<'_>,
    out: &[f32],
    tangent: CellTangent<'_>,
    noise: &CellNoise,
    saved: &Saved,
) -> SavedDot {
    let plan = &saved.plan;
    let isa = plan.isa;
    check(plan, &input, noise);
    assert_eq!(out.len(), plan.n * plan.out_len(), "output");
    let per_chunk = chunk_images(plan.n);
    let inputs = [tangent.s0.is_some(), tangent.s1.is_some()];
    let moves = moving_buffers(plan, inputs, tangent.w.is_some(), |alpha| tangent.p[alpha] != 0.0);
    let take = |(b, moves): (&Buffer, &bool)| Buffer::take(if *moves { b.len() } else { 0 });
    let mut dot = SavedDot {
        chunks: saved.chunks.iter().map(|bufs| bufs.iter().zip(&moves).map(take).collect()).collect(),
        norms: saved.norms.iter().map(|norm| NormTangent::zeros(norm.mean.len())).collect(),
        moves: moves.clone(),
        out_dot: Buffer::take(out.len()),
    };
    let affines: Vec<Affine> = saved.norms.iter().map(Norm::affine).collect();

    // One pass over the images: the tangent of every stage, and the sums that the tangent of its batch norm takes.
    let pass = |dot: &mut SavedDot,
                steps: &[Step<'_, DotReading<'_>>],
                before: &(dyn Fn(&mut DotChunk<'_>, Span, &mut Work) + Sync)| {
        let SavedDot { chunks, out_dot, .. } = &mut *dot;
        let items = chunks
            .par_iter_mut()
            .zip(out_dot.par_chunks_mut(per_chunk * plan.out_len()))
            .zip(saved.chunks.par_iter().zip(out.par_chunks(per_chunk * plan.out_len())))
            .enumerate();
        let sums: Vec<Vec<[Vec<f64>; 2]>> = items
            .map(|(index, ((dots, out_dot), (bufs, out)))| {
                let value = Group { first: index * per_chunk, bufs, out };
                let mut chunk = DotChunk { value, out_dot, dots };
                let mut sums: Vec<[Vec<f64>; 2]> =
                    steps.iter().map(|s| [0, 1].map(|_| vec![0.0; s.placed.stage.c_out])).collect();
                with_scratch(|work| {
                    for span in plan.spans(chunk.out_dot.len() / plan.out_len(), &noise.drop_path) {
                        before(&mut chunk, span, work);
                        for (step, sums) in steps.iter().zip(&mut sums) {
                            let mut y_dot = std::mem::take(&mut chunk.dots[step.placed.norm]);
                            chunk.stage(isa, step, span, &input, &tangent, work, &mut y_dot);
                            chunk.dots[step.placed.norm] = y_dot;
                            for (sum, part) in sums.iter_mut().zip(work.sums.chunks(step.placed.stage.c_out)) {
                                sum.iter_mut().zip(part).for_each(|(s, v)| *s += f64::from(*v));
                            }
                        }
                    }
                });
                sums
            })
            .collect();
        for (at, step) in steps.iter().enumerate() {
            let mut total = [0, 1].map(|_| vec![0.0; step.placed.stage.c_out]);
            for chunk in &sums {
                for (total, part) in total.iter_mut().zip(&chunk[at]) {
                    total.iter_mut().zip(part).for_each(|(t, v)| *t += v);
                }
            }
            dot.norms[step.placed.norm] = saved.norms[step.placed.norm].tangent(&total[0], &total[1]);
        }
    };

    let pre: Vec<Step<'_, DotReading<'_>>> = [(input.s0, tangent.s0), (input.s1, tangent.s1)]
        .into_iter()
        .enumerate()
        .map(|(j, (s, s_dot))| Step {
            placed: &plan.pre[j],
            reading: DotReading::input(plan, j, s, s_dot),
            ready: false,
        })
        .collect();
    pass(&mut dot, &moving(&moves, pre), &|_, _, _| {});
    let node_tangent = |part: &Part, dot: &SavedDot| NodeTangent::new(saved, dot, part, input.p, tangent.p, noise);
    let mut sums: Vec<NodeTangent<'_>> = plan.empty_nodes().map(|part| node_tangent(&part, &dot)).collect();
    let state_dots: Vec<Affine> = (0..2).map(|j| saved.norms[j].tangent_affine(&dot.norms[j], 1.0, 0.0)).collect();
    let mut inner_dots: Vec<Affine> = vec![Affine::default(); plan.n_norms];
    for unit in &plan.units {
        let first =
            first_stages(plan, unit, |b| DotReading::state(plan, &affines, &state_dots, b.state, &b.stages[0].stage));
        let first = moving(&moves, first);
        if !(first.is_empty() && sums.is_empty()) {
            pass(&mut dot, &first, &|chunk, span, work| sums.iter().for_each(|sum| sum.write(plan, chunk, span, work)));
        }
        for first in unit.first.iter().filter_map(|b| plan.branches[*b].first_of_two()) {
            inner_dots[first.norm] = saved.norms[first.norm].tangent_affine(&dot.norms[first.norm], 1.0, 0.0);
        }
        let second =
            second_stages(plan, unit, |first| DotReading::inner(plan, &affines, &inner_dots[first.norm], first));
        let second = moving(&moves, second);
        if !second.is_empty() {
            pass(&mut dot, &second, &|_, _, _| {});
        }
        sums = unit.ends.iter().map(|part| node_tangent(part, &dot)).collect();
    }
    pass(&mut dot, &[], &|chunk, span, work| sums.iter().for_each(|sum| sum.write(plan, chunk, span, work)));
    dot
}

/// A group of images in a forward pass.
pub(crate) struct Chunk<'a> {
    /// Its first image.
    pub first: usize,
    /// Its part of the output.
    pub out: &'a mut [f32],
    pub bufs: &'a mut [Buffer],
}

impl Chunk<'_> {
    fn group(&self) -> Group<'_> {
        Group { first: self.first, bufs: self.bufs, out: self.out }
    }

    /// The output of a stage for a few images, and its moments.
    fn stage(
        &mut self,
        isa: Isa,
        step: &Step<'_, Reading<'_>>,
        span: Span,
        w: &[f32],
        work: &mut Work,
        moments: &mut Moments,
    ) {
        let (stage, norm) = (step.placed.stage.of_images(span.n), step.placed.norm);
        let c = stage.c_out;
        let Work { scratch, sums, .. } = work;
        sums.clear();
        sums.resize(3 * c, 0.0);
        let (pivot, rest) = sums.split_at_mut(c);
        let (sum, square) = rest.split_at_mut(c);
        let mut y = std::mem::take(&mut self.bufs[norm]);
        let feed = step.reading.feed(self.group(), span);
        let feed = (Of::Value, (!step.ready).then_some(&feed));
        let w = stage.factors(&w[step.placed.weights..]);
        let image = &mut y[span.of(step.placed.stage.len_out())];
        stage.map().forward(isa, &stage, feed, w, scratch, image, &mut |first, y| {
            if first == 0 {
                pivot.copy_from_slice(&y[..c]);
            }
            add_moments(isa, y.len() / c, c, y, pivot, sum, square);
        });
        moments.add_pixels(stage.len_out() / c, pivot, sum, square);
        self.bufs[norm] = y;
    }
}

/// A group of images in a tangent pass.
pub(crate) struct DotChunk<'a> {
    pub value: Group<'a>,
    pub out_dot: &'a mut [f32],
    pub dots: &'a mut [Buffer],
}

impl DotChunk<'_> {
    fn tangent(&self) -> Group<'_> {
        Group { first: self.value.first, bufs: self.dots, out: self.out_dot }
    }

    /// The tangent of a stage's output for a few images into `y_dot`, the buffer of the group, and into `work.sums` its
    /// sum and that of its product with the output, per channel.
    #[allow(clippy::too_many_arguments)]
    fn stage(
        &self,
        isa: Isa,
        step: &Step<'_, DotReading<'_>>,
        span: Span,
        input: &CellInput<'_>,
        tangent: &CellTangent<'_>,
        work: &mut Work,
        y_dot: &mut [f32],
    ) {
        let (stage, at) = (step.placed.stage.of_images(span.n), step.placed.weights);
        let (images, c) = (span.of(step.placed.stage.len_out()), stage.c_out);
        let y_dot = &mut y_dot[images.clone()];
        let y = &self.value.bufs[step.placed.norm][images];
        let Work { scratch, sums, .. } = work;
        sums.clear();
        sums.resize(2 * c, 0.0);
        let mut seen = |first: usize, y_dot: &[f32]| {
            add_dots(isa, y_dot.len() / c, c, (y_dot, c), &[(&y[first * c..], c)], sums);
        };
        let w = stage.factors(&input.w[at..]);
        let r = step.reading.value.feed(self.value, span);
        let w_dot = tangent
            .w
            .map(|w_dot| stage.factors(&w_dot[at..]))
            .filter(|w_dot| !(w_dot.0.is_empty() && w_dot.1.is_empty()));
        let feed = step.reading.feed(self.value, self.tangent(), span);
        let v = feed.as_ref().map(|feed| (!step.ready).then_some(feed));
        if let Some(w_dot) = w_dot {
            return stage.map().forward_dual(isa, &stage, &r, v, [w, w_dot], scratch, y_dot, &mut seen);
        }
        match v {
            Some(v) => {
                if stage.map().gating() == Gating::Maximum && !step.ready {
                    stage.fill(isa, Of::Value, &r, scratch);
                }
                stage.map().forward(isa, &stage, (Of::Tangent, v), w, scratch, y_dot, &mut seen);
            }
            // The sums stay zero.
            None => y_dot.fill(0.0),
        }
    }
}

/// Buffers of a few images, kept per thread.
#[derive(Default)]
pub(crate) struct Work {
    pub scratch: Scratch,
    /// Channel sums of them.
    pub sums: Vec<f32>,
    /// A node of them, dense: the output, where it goes, is also what some of its summands are read from.
    node: Aligned,
}

/// Calls f with this thread's buffers.
pub(crate) fn with_scratch<R>(f: impl FnOnce(&mut Work) -> R) -> R {
    thread_local! {
        static WORK: std::cell::RefCell<Work> = std::cell::RefCell::new(Work::default());
    }
    WORK.with_borrow_mut(f)
}

/// One pass over all images: `before`, then for each stage its output and the moments of that; the batch norms of all
/// stages are known afterwards.
fn stage_pass(
    saved: &mut Saved,
    steps: &[Step<'_, Reading<'_>>],
    out: &mut [f32],
    w: &[f32],
    noise: &CellNoise,
    before: impl Fn(&mut Chunk<'_>, Span, &mut Work) + Sync,
) {
    let plan = &saved.plan;
    let per_chunk = chunk_images(plan.n);
    let items = saved.chunks.par_iter_mut().zip(out.par_chunks_mut(per_chunk * plan.out_len())).enumerate();
    let parts: Vec<Vec<Moments>> = items
        .map(|(index, (bufs, out))| {
            let mut chunk = Chunk { first: index * per_chunk, out, bufs };
            let mut parts: Vec<Moments> = steps.iter().map(|s| Moments::new(s.placed.stage.c_out)).collect();
            with_scratch(|work| {
                for span in plan.spans(chunk.out.len() / plan.out_len(), &noise.drop_path) {
                    before(&mut chunk, span, work);
                    for (step, part) in steps.iter().zip(&mut parts) {
                        chunk.stage(plan.isa, step, span, w, work, part);
                    }
                }
            });
            parts
        })
        .collect();
    for (at, step) in steps.iter().enumerate() {
        let mut total = Moments::new(step.placed.stage.c_out);
        parts.iter().for_each(|part| total.merge(&part[at]));
        saved.norms[step.placed.norm] = Norm::from_moments(&total);
    }
}

/// The drop-path factor of an edge and an image.
pub(crate) fn factor(drop_path: &[f32], n: usize, edge: usize, image: usize) -> f32 {
    if drop_path.is_empty() { 1.0 } else { drop_path[edge * n + image] }
}

/// Sums up a node, or its tangent, of a few images, dense.
fn sum_node(plan: &Plan, sources: &[Source<'_>], shift: &[f32], span: Span, node: &mut Aligned) {
    let px = span.n * plan.px(2);
    node.resize(px * plan.c);
    blend(plan.isa, px, plan.c, sources, shift, false, node, plan.c);
}

/// Copies it to its place in the output.
fn copy_to_output(plan: &Plan, node: usize, images: &[f32], span: Span, out: &mut [f32]) {
    let (from, pitch) = plan.in_output(node, span);
    let images = Source::new(images, plan.c, &[]);
    blend(plan.isa, span.n * plan.px(2), plan.c, &[images], &[], false, &mut out[from..], pitch);
}

/// What a node is the sum of, with all coefficients ready.
struct NodeSum<'a> {
    node: usize,
    /// (buffer, edge, coefficients, weight); the coefficients are empty where no batch norm precedes.
    terms: Vec<(usize, usize, Affine, f32)>,
    drop_path: &'a [f32],
    n: usize,
}

impl<'a> NodeSum<'a> {
    fn new(saved: &Saved, part: &Part, p: &[f32], noise: &'a CellNoise) -> Self {
        let plan = &saved.plan;
        let terms = part
            .branches
            .iter()
            .filter_map(|b| {
                let b = &plan.branches[*b];
                let (from, norm) = b.summand.source()?;
                let p = p[b.alpha];
                let affine = norm.map_or_else(Affine::default, |norm| saved.norms[norm].scaled(f64::from(p)));
                Some((from, b.edge, affine, if norm.is_some() { 1.0 } else { p }))
            })
            .collect();
        Self { node: part.node, terms, drop_path: &noise.drop_path, n: plan.n }
    }

    /// Writes the node of a few images.
    fn write(&self, plan: &Plan, chunk: &mut Chunk<'_>, span: Span, work: &mut Work) {
        let mut shift = vec![0f32; plan.c];
        let mut sources = Vec::with_capacity(self.terms.len());
        for (from, edge, affine, weight) in &self.terms {
            let m = factor(self.drop_path, self.n, *edge, chunk.first + span.first);
            let (data, stride) = chunk.group().term(plan, *from, span);
            sources.push(Source { data, stride, coef: &affine.of_y, factor: m * weight });
            shift.iter_mut().zip(&affine.shift).for_each(|(s, a)| *s += m * a);
        }
        sum_node(plan, &sources, &shift, span, &mut work.node);
        copy_to_output(plan, self.node, &work.node, span, chunk.out);
    }
}

/// The tangent of that sum.
struct NodeTangent<'a> {
    node: usize,
    /// Otherwise it is zero, and nobody else reads it.
    moves: bool,
    /// (buffer, whether it moves, edge, coefficients, weight, tangent of the weight); the weights count where no batch
    /// norm precedes.
    terms: Vec<(usize, bool, usize, Affine, f32, f32)>,
    drop_path: &'a [f32],
    n: usize,
}

impl<'a> NodeTangent<'a> {
    fn new(saved: &Saved, dot: &SavedDot, part: &Part, p: &[f32], p_dot: &[f32], noise: &'a CellNoise) -> Self {
        let plan = &saved.plan;
        let terms = part
            .branches
            .iter()
            .filter_map(|b| {
                let b = &plan.branches[*b];
                let (from, norm) = b.summand.source()?;
                let (p, p_dot) = (p[b.alpha], p_dot[b.alpha]);
                let moves = dot.is_moving(from);
                if p_dot == 0.0 && !moves {
                    return None;
                }
                Some(match norm {
                    Some(norm) => {
                        let affine = saved.norms[norm].tangent_affine(&dot.norms[norm], f64::from(p), f64::from(p_dot));
                        (from, moves, b.edge, affine, 1.0, 1.0)
                    }
                    None => (from, moves, b.edge, Affine::default(), p, p_dot),
                })
            })
            .collect();
        let moves = dot.is_moving(plan.state_buffer(2 + part.node));
        Self { node: part.node, moves, terms, drop_path: &noise.drop_path, n: plan.n }
    }

    fn write(&self, plan: &Plan, chunk: &mut DotChunk<'_>, span: Span, work: &mut Work) {
        let c = plan.c;
        if !self.moves {
            let (from, pitch) = plan.in_output(self.node, span);
            return blend(plan.isa, span.n * plan.px(2), c, &[], &[], false, &mut chunk.out_dot[from..], pitch);
        }
        let mut shift = vec![0f32; c];
        let mut sources = Vec::with_capacity(2 * self.terms.len());
        for (from, moves, edge, affine, p, p_dot) in &self.terms {
            let m = factor(self.drop_path, self.n, *edge, chunk.value.first + span.first);
            if *moves {
                let (data, stride) = chunk.tangent().term(plan, *from, span);
                sources.push(Source { data, stride, coef: &affine.of_dot, factor: m * p });
            }
            let (data, stride) = chunk.value.term(plan, *from, span);
            sources.push(Source { data, stride, coef: &affine.of_y, factor: m * p_dot });
            shift.iter_mut().zip(&affine.shift).for_each(|(s, a)| *s += m * a);
        }
        sum_node(plan, &sources, &shift, span, &mut work.node);
        copy_to_output(plan, self.node, &work.node, span, chunk.out_dot);
    }
}

fn check(plan: &Plan, input: &CellInput<'_>, noise: &CellNoise) {
    assert_eq!(input.s0.len(), plan.n * plan.input_len(0), "s0");
    assert_eq!(input.s1.len(), plan.n * plan.input_len(1), "s1");
    assert_eq!(input.p.len(), plan.n_alphas, "mixing weights");
    assert_eq!(input.w.len(), plan.n_weights, "weights");
    let edges = (0..plan.nodes).map(|i| 2 + i).sum::<usize>();
    assert!(noise.drop_path.is_empty() || noise.drop_path.len() == edges * plan.n, "drop path factors");
}

/// Which buffers have a tangent that is not zero: a state if it is given one, a stage if its state or the weights move,
/// a node if what it sums or a mixing weight does.
pub(crate) fn moving_buffers(
    plan: &Plan,
    inputs: [bool; 2],
    weights: bool,
    mixing_weight: impl Fn(usize) -> bool,
) -> Vec<bool> {
    let mut moves = vec![weights; plan.n_moving()];
    (0..2).for_each(|i| moves[i] |= inputs[i]);
    for b in &plan.branches {
        let state = moves[plan.state_buffer(b.state)];
        b.stages.iter().for_each(|placed| moves[placed.norm] |= state);
        if let Some((from, _)) = b.summand.source() {
            let moving = moves.get(from).is_some_and(|m| *m);
            moves[plan.state_buffer(2 + b.node)] |= moving || mixing_weight(b.alpha);
        }
    }
    moves
}

/// The stages whose output moves.
fn moving<'a, 'b>(moves: &[bool], steps: Vec<Step<'a, DotReading<'b>>>) -> Vec<Step<'a, DotReading<'b>>> {
    steps.into_iter().filter(|s| moves[s.placed.norm]).collect()
}

impl SavedDot {
    pub(crate) fn is_moving(&self, buffer: usize) -> bool {
        self.moves.get(buffer).is_some_and(|m| *m)
    }

    /// Tangent of the output.
    pub fn out_dot(&self) -> &[f32] {
        &self.out_dot
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backward::{CellGradient, Dual, Want, vjp, vjp_last};
    use crate::spec::{OpKind, weights_len};
    use OpKind::{AvgPool3, DilConv, MaxPool3, Noise, None as Zero, SepConv, Skip};

    fn values(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| (((i * 7919 + seed * 104_729) % 2003) as f32 - 1001.0) / 1001.0).collect()
    }

    fn close(name: &str, a: &[f32], b: &[f32]) {
        assert_eq!(a.len(), b.len(), "{name}");
        let scale = a.iter().fold(1e-3f32, |m, v| m.max(v.abs()));
        for (a, b) in a.iter().zip(b) {
            // False for NaN too.
            assert!((a - b).abs() <= 2e-4 * scale, "{name}: {a} or {b}, of {scale}");
        }
    }

    /// A cell with everything at hand, for one split into units.
    struct Case {
        spec: CellSpec,
        dims: CellDims,
        noise: CellNoise,
        tensors: [Vec<f32>; 9],
    }

    impl Case {
        fn new(edges: Vec<Vec<OpKind>>, n: usize, reduction: bool, dropped: bool) -> Self {
            let spec = CellSpec { nodes: 3, c: 8, c_prev_prev: 6, c_prev: 5, reduction, reduction_prev: false, edges };
            let dims = CellDims { n, side0: [7, 9], side1: [7, 9] };
            let drop_path = if dropped { (0..9 * dims.n).map(|i| [0.0, 1.25][i % 2]).collect() } else { Vec::new() };
            let [h, w] = dims.side_out(&spec);
            let lens =
                [dims.n * 63 * 6, dims.n * 63 * 5, spec.n_alphas(), weights_len(&spec.weights()), dims.n * h * w * 24];
            let of = |k: usize, seed: usize| values(lens[k], seed);
            let tensors = [of(0, 1), of(1, 2), of(2, 3), of(3, 4), of(0, 5), of(1, 6), of(2, 7), of(4, 8), of(3, 9)];
            Self { spec, dims, noise: CellNoise { drop_path, noise_key: 3 }, tensors }
        }

        fn run(&self, limits: Option<(usize, usize)>, want: Want) -> (Vec<f32>, Vec<f32>, [CellGradient; 3]) {
            let [s0, s1, p, w, d0, d1, dp, g, dw] = &self.tensors;
            let mut plan = Plan::new(&self.spec, self.dims, Isa::best());
            if let Some((large, unit)) = limits {
                plan.units = plan.split(large, unit);
            }
            let input = CellInput { s0, s1, p, w };
            let mut out = vec![f32::NAN; g.len()];
            let saved = forward_in_pool(plan, input, &self.noise, &mut out);
            let tangent = CellTangent { s0: Some(d0), s1: Some(d1), p: dp, w: Some(dw) };
            let dot = jvp(input, &out, tangent, &self.noise, &saved);
            let keep = Want { keep: true, ..want };
            let kept = vjp(input, &out, &self.noise, &saved, g, None, keep);
            let plain = vjp(input, &out, &self.noise, &saved, g, None, want);
            let kept_of = kept.kept.as_ref().expect("it was asked for");
            let dual = Dual { tangent, saved: &dot, kept: kept_of };
            let of_dual = vjp(input, &out, &self.noise, &saved, g, Some(dual), Want { w: false, ..want });
            let last = vjp_last(input, &out, &self.noise, saved, g, want);
            for (a, b) in [(&plain.s0, &last.s0), (&plain.s1, &last.s1), (&plain.p, &last.p), (&plain.w, &last.w)] {
                assert!(a.iter().map(|v| v.to_bits()).eq(b.iter().map(|v| v.to_bits())), "the last pass differs");
            }
            (out, dot.out_dot().to_vec(), [plain, of_dual, kept])
        }
    }

    fn cases() -> Vec<Case> {
        let all = |ops: &[OpKind]| vec![ops.to_vec(); 9];
        let mut first_empty = all(&[Skip, SepConv(3)]);
        (first_empty[0], first_empty[1]) = (vec![], vec![]);
        let mut last_empty = all(&[DilConv(3)]);
        last_empty[5..].fill(vec![]);
        let mut only_none = all(&[Zero]);
        only_none[2] = vec![SepConv(3), Noise];
        let mut mixed = all(&[SepConv(3), SepConv(5)]);
        mixed[3] = vec![Skip, MaxPool3, SepConv(3), Noise];
        let pools = all(&[MaxPool3, AvgPool3, Skip]);
        let specs = [all(&[Skip, SepConv(3)]), mixed, all(&[]), first_empty, last_empty, only_none, pools];
        let both = specs.into_iter().flat_map(|edges| [(edges.clone(), false), (edges, true)]);
        // Of 35 images three go through the stages together, unless paths are dropped.
        both.flat_map(|(edges, reduction)| {
            [(5, true), (35, false)].map(|(n, drop)| Case::new(edges.clone(), n, reduction, drop))
        })
        .collect()
    }

    const ALL: Want = Want { s0: true, s1: true, p: true, w: true, keep: false };

    #[test]
    fn the_split_into_units_changes_no_value_and_only_the_rounding_of_gradients() {
        for case in cases() {
            let (out, dot, grads) = case.run(None, ALL);
            // In reduction cells, of which states 0 and 1 are larger than this and nodes smaller.
            let mixed = (case.dims.n * 40 * 8 * 4, 0);
            for limits in [(0, 0), mixed, (usize::MAX, 0), (usize::MAX, usize::MAX)] {
                let (out2, dot2, grads2) = case.run(Some(limits), ALL);
                assert!(out.iter().zip(&out2).all(|(a, b)| a.to_bits() == b.to_bits()), "{limits:?}");
                close("tangent", &dot, &dot2);
                for (a, b) in grads.iter().zip(&grads2) {
                    close("s0", &a.s0, &b.s0);
                    close("s1", &a.s1, &b.s1);
                    close("p", &a.p, &b.p);
                    close("w", &a.w, &b.w);
                }
            }
        }
    }

    #[test]
    fn a_gradient_does_not_depend_on_which_others_are_wanted() {
        for case in cases() {
            let (_, _, all) = case.run(None, ALL);
            for (k, limits) in [(0, 0), (0, 0), (usize::MAX, usize::MAX), (0, 0)].into_iter().enumerate() {
                // A vjp of a jvp needs the kept gradients of the states that are wanted, or of all for w.
                let want = Want { s0: k == 0, s1: k == 1, p: k == 2, w: k == 3, keep: false };
                let (_, _, some) = case.run(Some(limits), want);
                for (a, b) in all.iter().zip(&some) {
                    for (name, wanted, a, b) in
                        [("s0", want.s0, &a.s0, &b.s0), ("s1", want.s1, &a.s1, &b.s1), ("p", want.p, &a.p, &b.p)]
                    {
                        assert!(wanted || b.is_empty());
                        if wanted {
                            close(name, a, b);
                        }
                    }
                    if want.w {
                        close("w", &a.w, &b.w);
                    }
                }
            }
        }
    }
}
