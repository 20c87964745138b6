//! The value of a cell: [`forward`], and [`infer`] with given statistics.

use rayon::prelude::*;

use super::{CellInput, Saved, ThreadBuffers, check, copy_to_output, factor, in_pool, sum_node};
use crate::Kernels;
use crate::noise;
use crate::norm::{Affine, Moments, Norm};
use crate::passes::{self, StageStep, Step};
use crate::plan::{NormKind, Part, Plan, Span, chunk_images};
use crate::reading::{Group, Reading, Staged};
use crate::spec::{CellDims, CellNoise, CellSpec};
use crate::stage::{Call, Of};
use crate::workspace::Buffer;
use rdarts_simd::Isa;
use rdarts_simd::blend::{Source, add_moments};

/// Value of the cell into `out`, (n, h_out, w_out, nodes * c). [`jvp`](super::jvp) and `vjp` read the nodes there: `out`
/// must be as it is then for as long as what is returned.
///
/// # Panics
/// If a slice has not the length its shape says.
pub fn forward(
    kernels: &Kernels,
    spec: &CellSpec,
    dims: CellDims,
    input: CellInput<'_>,
    noise: &CellNoise,
    out: &mut [f32],
) -> Saved {
    in_pool(|| forward_in_pool(kernels, Plan::new(spec, dims), input, noise, out))
}

pub(super) fn forward_in_pool(
    kernels: &Kernels,
    plan: Plan,
    input: CellInput<'_>,
    noise: &CellNoise,
    out: &mut [f32],
) -> Saved {
    check(&plan, &input, noise);
    assert_eq!(out.len(), plan.n * plan.out_len(), "output");
    let per_chunk = chunk_images(plan.n);
    let images = |chunk: usize| (chunk * per_chunk..((chunk + 1) * per_chunk).min(plan.n)).len();
    let longest = (0..=2).map(|state| plan.px(state) * plan.c).max().unwrap_or(0) * per_chunk;
    let workspace = kernels.workspace();
    workspace.announce(longest.max(plan.n_weights), plan.n * plan.input_len(0).max(plan.input_len(1)));
    let mut chunks: Vec<Vec<Buffer>> = (0..plan.n.div_ceil(per_chunk))
        .map(|chunk| plan.buffer_lens.iter().map(|len| workspace.buffer(len * images(chunk))).collect())
        .collect();
    let mut norms = vec![Norm::default(); plan.n_norms];
    let mut affines = vec![Affine::default(); plan.n_norms];
    for pass in passes::forward(&plan) {
        let tasks: Vec<Task<'_>> =
            pass.iter().map(|step| Task::new(step, &plan, &norms, &affines, &input, noise)).collect();
        let items = chunks.par_iter_mut().zip(out.par_chunks_mut(per_chunk * plan.out_len())).enumerate();
        let parts: Vec<Vec<Moments>> = items
            .map(|(index, (bufs, out))| {
                let mut chunk = Chunk { first: index * per_chunk, out, bufs };
                let mut parts: Vec<Moments> = pass.iter().map(|step| Moments::new(step.channels())).collect();
                workspace.with_work(|work| {
                    for span in plan.spans(chunk.out.len() / plan.out_len(), &noise.drop_path) {
                        for (task, part) in tasks.iter().zip(&mut parts) {
                            match task {
                                Task::Node(sum) => sum.write(kernels.isa(), &plan, &mut chunk, span, work),
                                Task::Noise { edge, buffer } => {
                                    chunk.noise(kernels, &plan, noise, (*edge, *buffer), span)
                                }
                                Task::Stage(stage) => {
                                    chunk.stage(kernels.isa(), stage, span, input.w, work, Some(part))
                                }
                            }
                        }
                    }
                });
                parts
            })
            .collect();
        for (at, StageStep { placed, .. }) in passes::stages(&pass) {
            let mut total = Moments::new(placed.stage.c_out);
            parts.iter().for_each(|part| total.merge(&part[at]));
            norms[placed.norm] = match placed.kind {
                NormKind::Plain => Norm::from_moments(&total),
                NormKind::Affine { at, .. } => Norm::from_moments(&total).with_factors(&input.w[at..]),
                NormKind::Identity => Norm::identity(placed.stage.c_out),
            };
            affines[placed.norm] = norms[placed.norm].affine();
        }
    }
    Saved { kernels: kernels.clone(), plan, chunks, norms }
}

/// Value of a discrete cell with given statistics into `out`, (n, h_out, w_out, nodes * c). Nothing is kept: a few images
/// at a time go through the whole cell and stay in the second cache level.
///
/// # Panics
/// If a slice has not the length its shape says, or `input` has no running statistics.
pub fn infer(kernels: &Kernels, spec: &CellSpec, dims: CellDims, input: CellInput<'_>, out: &mut [f32]) {
    in_pool(|| infer_in_pool(kernels, Plan::new(spec, dims), input, out));
}

fn infer_in_pool(kernels: &Kernels, plan: Plan, input: CellInput<'_>, out: &mut [f32]) {
    let noise = CellNoise::default();
    check(&plan, &input, &noise);
    assert_eq!(out.len(), plan.n * plan.out_len(), "output");
    let running = input.running.expect("statistics are given");
    let norm = |(kind, c): &(NormKind, usize)| match *kind {
        NormKind::Affine { at, running: of } => {
            Norm::given(&running[of..of + c], &running[of + c..of + 2 * c]).with_factors(&input.w[at..])
        }
        NormKind::Identity => Norm::identity(*c),
        NormKind::Plain => unreachable!("only discrete cells have running statistics"),
    };
    let norms: Vec<Norm> = plan.norms.iter().map(norm).collect();
    let affines: Vec<Affine> = norms.iter().map(Norm::affine).collect();
    let steps: Vec<Step> = passes::forward(&plan).into_iter().flatten().collect();
    let tasks: Vec<Task<'_>> =
        steps.iter().map(|step| Task::new(step, &plan, &norms, &affines, &input, &noise)).collect();
    let (per_chunk, workspace) = (chunk_images(plan.n), kernels.workspace());
    out.par_chunks_mut(per_chunk * plan.out_len()).enumerate().for_each(|(index, out)| {
        workspace.with_work(|work| {
            let n = out.len() / plan.out_len();
            let together = plan.spans(n, &[]).next().map_or(1, |span| span.n);
            let mut bufs: Vec<Buffer> = plan.buffer_lens.iter().map(|len| workspace.scratch(len * together)).collect();
            for (at, out) in out.chunks_mut(together * plan.out_len()).enumerate() {
                let span = Span { first: 0, n: out.len() / plan.out_len() };
                let mut chunk = Chunk { first: index * per_chunk + at * together, out, bufs: &mut bufs };
                for task in &tasks {
                    match task {
                        Task::Node(sum) => sum.write(kernels.isa(), &plan, &mut chunk, span, work),
                        Task::Noise { edge, buffer } => chunk.noise(kernels, &plan, &noise, (*edge, *buffer), span),
                        Task::Stage(stage) => chunk.stage(kernels.isa(), stage, span, input.w, work, None),
                    }
                }
            }
        });
    });
}

/// A step with all coefficients ready.
enum Task<'a> {
    Node(NodeSum<'a>),
    Noise { edge: usize, buffer: usize },
    Stage(Staged<'a, Reading<'a>>),
}

impl<'a> Task<'a> {
    fn new(
        step: &'a Step,
        plan: &Plan,
        norms: &[Norm],
        affines: &'a [Affine],
        input: &CellInput<'a>,
        noise: &'a CellNoise,
    ) -> Self {
        match step {
            Step::Node(part) => Self::Node(NodeSum::new(plan, norms, part, input.p, noise)),
            Step::Noise { edge, buffer } => Self::Noise { edge: *edge, buffer: *buffer },
            Step::Stage(step) => {
                let reading = Reading::new(plan, [input.s0, input.s1], affines, step.from, &step.placed.stage);
                Self::Stage(Staged { step, reading })
            }
        }
    }
}

/// A group of images in a forward pass.
struct Chunk<'a> {
    /// Its first image.
    first: usize,
    /// Its part of the output.
    out: &'a mut [f32],
    bufs: &'a mut [Buffer],
}

impl Chunk<'_> {
    fn group(&self) -> Group<'_> {
        Group { first: self.first, bufs: self.bufs, out: self.out }
    }

    /// The noise of an edge for a few images.
    fn noise(&mut self, kernels: &Kernels, plan: &Plan, noise: &CellNoise, (edge, buffer): (usize, usize), span: Span) {
        let len = plan.buffer_lens[buffer];
        let start = (self.first + span.first) * len;
        noise::fill(kernels, noise.noise_key, edge, start, &mut self.bufs[buffer][span.of(len)]);
    }

    /// The output of a stage for a few images, and its moments if they are asked for.
    fn stage(
        &mut self,
        isa: Isa,
        stage: &Staged<'_, Reading<'_>>,
        span: Span,
        w: &[f32],
        work: &mut ThreadBuffers,
        moments: Option<&mut Moments>,
    ) {
        let Staged { step: StageStep { placed, ready, .. }, reading } = stage;
        let (stage, norm) = (placed.stage.of_images(span.n), placed.norm);
        let c = stage.c_out;
        let ThreadBuffers { scratch, sums, .. } = work;
        sums.clear();
        sums.resize(3 * c, 0.0);
        let (pivot, rest) = sums.split_at_mut(c);
        let (sum, square) = rest.split_at_mut(c);
        let mut y = std::mem::take(&mut self.bufs[norm]);
        let feed = reading.feed(self.group(), span);
        let feed = (Of::Value, (!ready).then_some(&feed));
        let w = stage.factors(&w[placed.weights..]);
        let image = &mut y[span.of(placed.stage.len_out())];
        let call = Call { isa, stage: &stage, scratch };
        match moments.filter(|_| placed.kind != NormKind::Identity) {
            Some(moments) => {
                stage.map().forward(call, feed, w, image, &mut |first, y| {
                    if first == 0 {
                        pivot.copy_from_slice(&y[..c]);
                    }
                    add_moments(isa, y.len() / c, c, y, pivot, sum, square);
                });
                moments.add_pixels(stage.len_out() / c, pivot, sum, square);
            }
            None => stage.map().forward(call, feed, w, image, &mut |_, _| {}),
        }
        self.bufs[norm] = y;
    }
}

/// What a node is the sum of, with all coefficients ready.
struct NodeSum<'a> {
    node: usize,
    /// (buffer, drop path, coefficients, weight); the coefficients are empty where no batch norm precedes.
    terms: Vec<(usize, usize, Affine, f32)>,
    drop_path: &'a [f32],
    n: usize,
}

impl<'a> NodeSum<'a> {
    fn new(plan: &Plan, norms: &[Norm], part: &Part, p: &[f32], noise: &'a CellNoise) -> Self {
        let terms = part
            .branches
            .iter()
            .filter_map(|b| {
                let b = &plan.branches[*b];
                let (from, norm) = b.summand.source()?;
                let p = p[b.alpha];
                let affine = norm.map_or_else(Affine::default, |norm| norms[norm].scaled(f64::from(p)));
                Some((from, b.path, affine, if norm.is_some() { 1.0 } else { p }))
            })
            .collect();
        Self { node: part.node, terms, drop_path: &noise.drop_path, n: plan.n }
    }

    /// Writes the node of a few images.
    fn write(&self, isa: Isa, plan: &Plan, chunk: &mut Chunk<'_>, span: Span, work: &mut ThreadBuffers) {
        let mut shift = vec![0f32; plan.c];
        let mut sources = Vec::with_capacity(self.terms.len());
        for (from, path, affine, weight) in &self.terms {
            let m = factor(self.drop_path, self.n, *path, chunk.first + span.first);
            let (data, stride) = chunk.group().term(plan, *from, span);
            sources.push(Source { data, stride, coef: &affine.of_y, factor: m * weight });
            shift.iter_mut().zip(&affine.shift).for_each(|(s, a)| *s += m * a);
        }
        sum_node(isa, plan, &sources, &shift, span, &mut work.node);
        copy_to_output(isa, plan, self.node, &work.node, span, chunk.out);
    }
}
