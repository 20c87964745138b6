//! The tangent of a cell: [`jvp`].

use rayon::prelude::*;

use super::{CellInput, CellTangent, Saved, SavedDot, ThreadBuffers, check, copy_to_output, factor, in_pool, sum_node};
use crate::norm::{Affine, Norm, NormTangent};
use crate::passes::{self, Moves, StageStep, Step};
use crate::plan::{Part, Plan, Span, chunk_images};
use crate::reading::{DotReading, Group, Staged};
use crate::spec::CellNoise;
use crate::stage::{Call, Gating, Of};
use crate::workspace::Buffer;
use rdarts_simd::Isa;
use rdarts_simd::blend::{Source, add_dots, blend};

/// Tangent of the cell, whose output is kept in the result; `out` is what [`forward`](super::forward) has written.
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
    let (plan, isa, workspace) = (&saved.plan, saved.kernels.isa(), saved.kernels.workspace());
    check(plan, &input, noise);
    assert_eq!(out.len(), plan.n * plan.out_len(), "output");
    let per_chunk = chunk_images(plan.n);
    let inputs = [tangent.s0.is_some(), tangent.s1.is_some()];
    let moves = Moves::new(plan, inputs, tangent.w.is_some(), |alpha| tangent.p[alpha] != 0.0);
    let take = |(at, b): (usize, &Buffer)| workspace.buffer(if moves.buffer(at) { b.len() } else { 0 });
    let mut chunks: Vec<Vec<Buffer>> =
        saved.chunks.iter().map(|bufs| bufs[..plan.n_moving()].iter().enumerate().map(take).collect()).collect();
    let mut norms: Vec<NormTangent> = saved.norms.iter().map(|norm| NormTangent::zeros(norm.mean.len())).collect();
    let mut out_dot = workspace.buffer(out.len());
    let affines: Vec<Affine> = saved.norms.iter().map(Norm::affine).collect();
    let mut affine_dots: Vec<Affine> = vec![Affine::default(); plan.n_norms];
    for pass in passes::tangent(plan, &moves) {
        let task = |step| Task::new(step, saved, (&moves, &norms), [&affines, &affine_dots], (&input, &tangent), noise);
        let tasks: Vec<Task<'_>> = pass.iter().map(task).collect();
        let items = chunks
            .par_iter_mut()
            .zip(out_dot.par_chunks_mut(per_chunk * plan.out_len()))
            .zip(saved.chunks.par_iter().zip(out.par_chunks(per_chunk * plan.out_len())))
            .enumerate();
        // Of the tangent of every stage, and of its product with the output: what the tangent of its batch norm takes.
        let sums: Vec<Vec<[Vec<f64>; 2]>> = items
            .map(|(index, ((dots, out_dot), (bufs, out)))| {
                let value = Group { first: index * per_chunk, bufs, out };
                let mut chunk = DotChunk { value, out_dot, dots };
                let mut sums: Vec<[Vec<f64>; 2]> =
                    pass.iter().map(|step| [0, 1].map(|_| vec![0.0; step.channels()])).collect();
                workspace.with_work(|work| {
                    for span in plan.spans(chunk.out_dot.len() / plan.out_len(), &noise.drop_path) {
                        for (task, sums) in tasks.iter().zip(&mut sums) {
                            match task {
                                Task::Node(sum) => sum.write(isa, plan, &mut chunk, span, work),
                                Task::Stage(stage) => {
                                    chunk.stage(isa, stage, span, &input, &tangent, work);
                                    for (sum, part) in sums.iter_mut().zip(work.sums.chunks(stage.channels())) {
                                        sum.iter_mut().zip(part).for_each(|(s, v)| *s += f64::from(*v));
                                    }
                                }
                            }
                        }
                    }
                });
                sums
            })
            .collect();
        for (at, StageStep { placed, .. }) in passes::stages(&pass) {
            let mut total = [0, 1].map(|_| vec![0.0; placed.stage.c_out]);
            for chunk in &sums {
                for (total, part) in total.iter_mut().zip(&chunk[at]) {
                    total.iter_mut().zip(part).for_each(|(t, v)| *t += v);
                }
            }
            let norm = &saved.norms[placed.norm];
            norms[placed.norm] = norm.tangent(&total[0], &total[1]);
            affine_dots[placed.norm] = norm.tangent_affine(&norms[placed.norm], 1.0, 0.0);
        }
    }
    SavedDot { chunks, norms, moves, out_dot }
}

/// A step with all coefficients ready.
enum Task<'a> {
    Node(NodeTangent<'a>),
    Stage(Staged<'a, DotReading<'a>>),
}

impl<'a> Task<'a> {
    fn new(
        step: &'a Step,
        saved: &Saved,
        dot: (&Moves, &[NormTangent]),
        affines: [&'a [Affine]; 2],
        (input, tangent): (&CellInput<'a>, &CellTangent<'a>),
        noise: &'a CellNoise,
    ) -> Self {
        match step {
            Step::Noise { .. } => unreachable!("noise does not move"),
            Step::Node(part) => Self::Node(NodeTangent::new(saved, dot, part, [input.p, tangent.p], noise)),
            Step::Stage(step) => {
                let given = [(input.s0, tangent.s0), (input.s1, tangent.s1)];
                let reading = DotReading::new(&saved.plan, given, affines, step.from, &step.placed.stage);
                Self::Stage(Staged { step, reading })
            }
        }
    }
}

/// A group of images in a tangent pass.
struct DotChunk<'a> {
    value: Group<'a>,
    out_dot: &'a mut [f32],
    dots: &'a mut [Buffer],
}

impl DotChunk<'_> {
    fn tangent(&self) -> Group<'_> {
        Group { first: self.value.first, bufs: self.dots, out: self.out_dot }
    }

    /// The tangent of a stage's output for a few images, and into `work.sums` its sum and that of its product with the
    /// output, per channel.
    fn stage(
        &mut self,
        isa: Isa,
        stage: &Staged<'_, DotReading<'_>>,
        span: Span,
        input: &CellInput<'_>,
        tangent: &CellTangent<'_>,
        work: &mut ThreadBuffers,
    ) {
        let Staged { step: StageStep { placed, ready, .. }, reading } = stage;
        let (stage, at) = (placed.stage.of_images(span.n), placed.weights);
        let (images, c) = (span.of(placed.stage.len_out()), stage.c_out);
        let mut all = std::mem::take(&mut self.dots[placed.norm]);
        let y_dot = &mut all[images.clone()];
        let y = &self.value.bufs[placed.norm][images];
        let ThreadBuffers { scratch, sums, .. } = work;
        sums.clear();
        sums.resize(2 * c, 0.0);
        let mut seen = |first: usize, y_dot: &[f32]| {
            add_dots(isa, y_dot.len() / c, c, (y_dot, c), &[(&y[first * c..], c)], sums);
        };
        let w = stage.factors(&input.w[at..]);
        let r = reading.value.feed(self.value, span);
        let w_dot = tangent
            .w
            .map(|w_dot| stage.factors(&w_dot[at..]))
            .filter(|w_dot| !(w_dot.0.is_empty() && w_dot.1.is_empty()));
        let feed = reading.feed(self.value, self.tangent(), span);
        let v = feed.as_ref().map(|feed| (!ready).then_some(feed));
        match (v, w_dot) {
            (v, Some(w_dot)) => {
                let call = Call { isa, stage: &stage, scratch };
                stage.map().forward_dual(call, (&r, v), [w, w_dot], y_dot, &mut seen);
            }
            (Some(v), None) => {
                if stage.map().gating() == Gating::Maximum && !ready {
                    stage.fill(isa, Of::Value, &r, scratch);
                }
                let call = Call { isa, stage: &stage, scratch };
                stage.map().forward(call, (Of::Tangent, v), w, y_dot, &mut seen);
            }
            // The sums stay zero.
            (None, None) => y_dot.fill(0.0),
        }
        self.dots[placed.norm] = all;
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
    fn new(
        saved: &Saved,
        (moves, norms): (&Moves, &[NormTangent]),
        part: &Part,
        [p, p_dot]: [&[f32]; 2],
        noise: &'a CellNoise,
    ) -> Self {
        let plan = &saved.plan;
        let terms = part
            .branches
            .iter()
            .filter_map(|b| {
                let b = &plan.branches[*b];
                let (from, norm) = b.summand.source()?;
                let (p, p_dot) = (p[b.alpha], p_dot[b.alpha]);
                let moves = moves.buffer(from);
                if p_dot == 0.0 && !moves {
                    return None;
                }
                Some(match norm {
                    Some(norm) => {
                        let affine = saved.norms[norm].tangent_affine(&norms[norm], f64::from(p), f64::from(p_dot));
                        (from, moves, b.path, affine, 1.0, 1.0)
                    }
                    None => (from, moves, b.path, Affine::default(), p, p_dot),
                })
            })
            .collect();
        let moves = moves.buffer(plan.state_buffer(2 + part.node));
        Self { node: part.node, moves, terms, drop_path: &noise.drop_path, n: plan.n }
    }

    fn write(&self, isa: Isa, plan: &Plan, chunk: &mut DotChunk<'_>, span: Span, work: &mut ThreadBuffers) {
        let c = plan.c;
        if !self.moves {
            let (from, pitch) = plan.in_output(self.node, span);
            return blend(isa, span.n * plan.px(2), c, &[], &[], false, &mut chunk.out_dot[from..], pitch);
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
        sum_node(isa, plan, &sources, &shift, span, &mut work.node);
        copy_to_output(isa, plan, self.node, &work.node, span, chunk.out_dot);
    }
}
