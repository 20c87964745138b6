//! One cell of the supernet, fused: value and tangent of all its edges, node by node.
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

use crate::buffers::Buffer;
use crate::norm::{Affine, Moments, Norm, NormTangent};
use crate::plan::{Action, Branch, Direction, Group, Placed, Plan, chunk_images};
use crate::simd::Isa;
use crate::simd::aligned::Aligned;
use crate::simd::blend::{Source, blend, dots, moments};
use crate::simd::window::{Mode, fill};
use crate::spec::{CellDims, CellNoise, CellSpec};
use crate::stage::Scratch;

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
    /// Per group of images, per buffer of the plan.
    pub(crate) chunks: Vec<Vec<Buffer>>,
    pub(crate) norms: Vec<Norm>,
}

/// What the jvp leaves for its vjp.
#[derive(Debug)]
pub struct SavedDot {
    pub(crate) chunks: Vec<Vec<Buffer>>,
    pub(crate) norms: Vec<NormTangent>,
    /// The node tangents, as in the output.
    pub(crate) out_dot: Buffer,
}

/// Value of the cell into `out`, (n, h_out, w_out, nodes * c).
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
    in_pool(|| forward_in_pool(isa, spec, dims, input, noise, out))
}

/// Runs f on a thread of the pool. The passes follow each other in microseconds: begun from outside, every one of
/// them would put the caller to sleep and wake it up again (a third of the time on a busy machine, see LOG.md).
pub(crate) fn in_pool<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| f())
}

fn forward_in_pool(
    isa: Isa,
    spec: &CellSpec,
    dims: CellDims,
    input: CellInput<'_>,
    noise: &CellNoise,
    out: &mut [f32],
) -> Saved {
    let plan = Plan::new(spec, dims, isa);
    check(&plan, &input, noise);
    assert_eq!(out.len(), plan.n * plan.out_len(), "output");
    let per_chunk = chunk_images(plan.n);
    let images = |chunk: usize| (chunk * per_chunk..((chunk + 1) * per_chunk).min(plan.n)).len();
    let chunks = (0..plan.n.div_ceil(per_chunk))
        .map(|chunk| plan.buffer_lens.iter().map(|len| Buffer::take(len * images(chunk))).collect())
        .collect();
    let mut saved = Saved { norms: vec![Norm::default(); plan.n_norms], plan, chunks };
    let plan = saved.plan.clone();

    let mut direction = Direction::default();
    // States 0 and 1.
    let pre: Vec<&Placed> = plan.pre.iter().collect();
    stage_pass(
        direction.turn(),
        &mut saved,
        &pre,
        out,
        |ctx, placed, i, window, _| {
            let (s, c) = ([input.s0, input.s1][placed.norm], plan.inputs[placed.norm].0);
            let len = plan.input_len(placed.norm);
            let image = &s[(ctx.first + i) * len..][..len];
            placed.stage.window().fill_border(window, 0.0);
            fill(isa, placed.stage.window(), &[Source::new(image, c, &[])], &[], Mode::Relu, window);
        },
        input.w,
        |_, _| {},
    );
    // The sum of a group is written in front of the next group, which may start from it.
    let mut sum: Option<NodeSum<'_>> = None;
    let affines: Vec<Affine> = (0..2).map(|j| saved.norms[j].affine()).collect();
    let early = plan.early();
    if !early.is_empty() {
        let first: Vec<&Placed> = early.iter().map(|b| &b.placed()[0]).collect();
        let window = |ctx: &Chunk<'_>, _: &Placed, i, window: &mut [f32], at| {
            ctx.first_window(&plan, &affines, &early, at, i, window)
        };
        stage_pass(direction.turn(), &mut saved, &first, out, window, input.w, |_, _| {});
    }
    for group in &plan.groups {
        let branches = &plan.branches[group.branches.clone()];
        let late = plan.late(group);
        let first: Vec<&Placed> = late.iter().map(|b| &b.placed()[0]).collect();
        stage_pass(
            direction.turn(),
            &mut saved,
            &first,
            out,
            |ctx, _, i, window, at| ctx.first_window(&plan, &affines, &late, at, i, window),
            input.w,
            |ctx, i| {
                if let Some(sum) = &sum {
                    sum.write(&plan, ctx, i);
                }
                for b in branches {
                    if let Action::Noise { buffer } = b.action {
                        let len = plan.buffer_lens[buffer];
                        let start = (ctx.first + i) * len;
                        crate::noise::fill(noise.noise_key, b.edge, start, &mut ctx.bufs[buffer][i * len..][..len]);
                    }
                }
            },
        );
        let second: Vec<(&Placed, usize)> =
            branches.iter().filter(|b| b.placed().len() == 2).map(|b| (&b.placed()[1], b.placed()[0].norm)).collect();
        if !second.is_empty() {
            let inner: Vec<Affine> = second.iter().map(|(_, norm)| saved.norms[*norm].affine()).collect();
            let placed: Vec<&Placed> = second.iter().map(|(p, _)| *p).collect();
            stage_pass(
                direction.turn(),
                &mut saved,
                &placed,
                out,
                |ctx, placed, i, window, at| {
                    let win = placed.stage.window();
                    if at == 0 || win != second[at - 1].0.stage.window() {
                        win.fill_border(window, 0.0);
                    }
                    let len = plan.buffer_lens[second[at].1];
                    let y = &ctx.bufs[second[at].1][i * len..][..len];
                    fill(isa, win, &[Source::new(y, plan.c, &inner[at].of_y)], &inner[at].shift, Mode::Relu, window);
                },
                input.w,
                |_, _| {},
            );
        }
        sum = Some(NodeSum::new(&saved, group, input.p, noise));
    }
    stage_pass(
        direction.turn(),
        &mut saved,
        &[],
        out,
        |_, _, _, _, _| {},
        input.w,
        |ctx, i| {
            if let Some(sum) = &sum {
                sum.write(&plan, ctx, i);
            }
            for node in 0..plan.nodes {
                let from = Source::new(&ctx.bufs[plan.n_norms + node][i * plan.px(2) * plan.c..], plan.c, &[]);
                let to = &mut ctx.out[i * plan.out_len() + node * plan.c..];
                blend(plan.isa, plan.px(2), plan.c, &[from], &[], false, to, plan.nodes * plan.c);
            }
        },
    );
    saved
}

/// Fills the windows of a stage, by its place in the pass, and of its tangent for an image.
type FillWindows<'a> = dyn Fn(&DotChunk<'_>, usize, usize, &mut [f32], &mut [f32]) + Sync + 'a;

/// Tangent of the cell into `out_dot`, which is also kept in the result.
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
    let mut dot = SavedDot {
        chunks: saved
            .chunks
            .iter()
            .map(|bufs| bufs[..plan.n_moving()].iter().map(|b| Buffer::take(b.len())).collect())
            .collect(),
        norms: vec![NormTangent::default(); plan.n_norms],
        out_dot: Buffer::take(out.len()),
    };
    let moves = [tangent.s0, tangent.s1];
    let affines: Vec<Affine> = saved.norms.iter().map(Norm::affine).collect();

    // One pass over the images: for each placed stage its primal and tangent windows, then its tangent.
    let mut direction = Direction::default();
    let mut pass = |dot: &mut SavedDot,
                    placed: &[&Placed],
                    windows: &FillWindows<'_>,
                    before: &(dyn Fn(&mut DotChunk<'_>, usize) + Sync)| {
        let SavedDot { chunks, out_dot, .. } = &mut *dot;
        let direction = direction.turn();
        let items = chunks
            .par_iter_mut()
            .zip(out_dot.par_chunks_mut(per_chunk * plan.out_len()))
            .zip(saved.chunks.par_iter())
            .enumerate();
        let sums: Vec<Vec<[Vec<f64>; 2]>> = direction.map(items, |(index, ((dots_bufs, out_dot), bufs))| {
            let first = index * per_chunk;
            let mut chunk = DotChunk { first, out_dot, bufs, dots: dots_bufs };
            let mut sums: Vec<[Vec<f64>; 2]> =
                placed.iter().map(|p| [0, 1].map(|_| vec![0.0; p.stage.c_out()])).collect();
            with_scratch(plan, |work| {
                let mut pair = vec![0f32; 2 * plan.c];
                for i in direction.images(chunk.out_dot.len() / plan.out_len()) {
                    before(&mut chunk, i);
                    for (at, p) in placed.iter().enumerate() {
                        windows(&chunk, at, i, &mut work.window, &mut work.window_dot);
                        let len = p.stage.len_out();
                        let mut all = std::mem::take(&mut chunk.dots[p.norm]);
                        let y_dot = &mut all[i * len..][..len];
                        let w = p.stage.factors(&input.w[p.weights..]);
                        let (r, v) = (&work.window, &work.window_dot);
                        p.stage.forward(isa, r, v, w, false, &mut work.scratch, y_dot);
                        if let Some(w_dot) = tangent.w {
                            let w_dot = p.stage.factors(&w_dot[p.weights..]);
                            p.stage.tangent_w(isa, r, w, w_dot, &mut work.scratch, y_dot);
                        }
                        let y = &chunk.bufs[p.norm][i * len..][..len];
                        let c = p.stage.c_out();
                        dots(isa, len / c, c, (y_dot, c), &[(y, c)], &mut pair);
                        for (sum, part) in sums[at].iter_mut().zip(pair.chunks(c)) {
                            sum.iter_mut().zip(part).for_each(|(s, v)| *s += f64::from(*v));
                        }
                        chunk.dots[p.norm] = all;
                    }
                }
            });
            sums
        });
        for (at, p) in placed.iter().enumerate() {
            let mut total = [0, 1].map(|_| vec![0.0; p.stage.c_out()]);
            for chunk in &sums {
                for (total, part) in total.iter_mut().zip(&chunk[at]) {
                    total.iter_mut().zip(part).for_each(|(t, v)| *t += v);
                }
            }
            dot.norms[p.norm] = saved.norms[p.norm].tangent(&total[0], &total[1]);
        }
    };

    let pre: Vec<&Placed> = plan.pre.iter().collect();
    let pre_windows = |chunk: &DotChunk<'_>, at: usize, i: usize, r: &mut [f32], v: &mut [f32]| {
        let (s, c, win) = ([input.s0, input.s1][at], plan.inputs[at].0, plan.pre[at].stage.window());
        let image = (chunk.first + i) * plan.input_len(at)..(chunk.first + i + 1) * plan.input_len(at);
        win.fill_border(r, 0.0);
        fill(isa, win, &[Source::new(&s[image.clone()], c, &[])], &[], Mode::Relu, r);
        match moves[at] {
            None => v[..win.len()].fill(0.0),
            Some(s_dot) => {
                win.fill_border(v, 0.0);
                fill(isa, win, &[Source::new(&s_dot[image], c, &[])], &[], Mode::Gate(r), v);
            }
        }
    };
    pass(&mut dot, &pre, &pre_windows, &|_, _| {});
    let mut sum: Option<NodeTangent<'_>> = None;
    let state_dots: Vec<Affine> = (0..2).map(|j| saved.norms[j].tangent_affine(&dot.norms[j], 1.0, 0.0)).collect();
    let first_windows =
        |branches: &[&Branch], chunk: &DotChunk<'_>, at: usize, i: usize, r: &mut [f32], v: &mut [f32]| {
            let b = branches[at];
            if at == 0 || !b.shares_window(branches[at - 1]) {
                state_windows(plan, chunk, &affines, &state_dots, b.state, &b.placed()[0].stage, i, r, v);
            }
        };
    let early = plan.early();
    if !early.is_empty() {
        let first: Vec<&Placed> = early.iter().map(|b| &b.placed()[0]).collect();
        let windows = |chunk: &DotChunk<'_>, at: usize, i: usize, r: &mut [f32], v: &mut [f32]| {
            first_windows(&early, chunk, at, i, r, v);
        };
        pass(&mut dot, &first, &windows, &|_, _| {});
    }
    for group in &plan.groups {
        let late = plan.late(group);
        let first: Vec<&Placed> = late.iter().map(|b| &b.placed()[0]).collect();
        let windows = |chunk: &DotChunk<'_>, at: usize, i: usize, r: &mut [f32], v: &mut [f32]| {
            first_windows(&late, chunk, at, i, r, v);
        };
        pass(&mut dot, &first, &windows, &|chunk, i| {
            if let Some(sum) = &sum {
                sum.write(plan, chunk, i);
            }
        });
        let staged = &plan.branches[group.branches.clone()];
        let second: Vec<&Branch> = staged.iter().filter(|b| b.placed().len() == 2).collect();
        if !second.is_empty() {
            let placed: Vec<&Placed> = second.iter().map(|b| &b.placed()[1]).collect();
            let inner_dots: Vec<Affine> = second
                .iter()
                .map(|b| b.placed()[0].norm)
                .map(|norm| saved.norms[norm].tangent_affine(&dot.norms[norm], 1.0, 0.0))
                .collect();
            let windows = |chunk: &DotChunk<'_>, at: usize, i: usize, r: &mut [f32], v: &mut [f32]| {
                let inner = &second[at].placed()[0];
                inner_windows(plan, chunk, &affines[inner.norm], &inner_dots[at], inner, &placed[at].stage, i, r, v);
            };
            pass(&mut dot, &placed, &windows, &|_, _| {});
        }
        sum = Some(NodeTangent::new(saved, &dot, group, input.p, tangent.p, noise));
    }
    pass(&mut dot, &[], &|_, _, _, _, _| {}, &|chunk, i| {
        if let Some(sum) = &sum {
            sum.write(plan, chunk, i);
        }
        for node in 0..plan.nodes {
            let from = Source::new(&chunk.dots[plan.n_norms + node][i * plan.px(2) * plan.c..], plan.c, &[]);
            let to = &mut chunk.out_dot[i * plan.out_len() + node * plan.c..];
            blend(plan.isa, plan.px(2), plan.c, &[from], &[], false, to, plan.nodes * plan.c);
        }
    });
    dot
}

/// Windows of a state, relu or plain, and of its tangent, gated.
#[allow(clippy::too_many_arguments)]
pub(crate) fn state_windows(
    plan: &Plan,
    chunk: &DotChunk<'_>,
    affines: &[Affine],
    state_dots: &[Affine],
    state: usize,
    stage: &crate::stage::Stage,
    i: usize,
    r: &mut [f32],
    v: &mut [f32],
) {
    let (isa, c, win) = (plan.isa, plan.c, stage.window());
    win.fill_border(r, stage.border());
    win.fill_border(v, 0.0);
    let relu = stage.has_relu();
    let mode = if relu { Mode::Relu } else { Mode::Plain };
    let buffer = plan.state_buffer(state);
    let len = plan.buffer_lens[buffer];
    let (y, y_dot) = (&chunk.bufs[buffer][i * len..][..len], &chunk.dots[buffer][i * len..][..len]);
    if state < 2 {
        let d = &state_dots[state];
        fill(isa, win, &[Source::new(y, c, &affines[state].of_y)], &affines[state].shift, mode, r);
        let sources = [Source::new(y_dot, c, &d.of_dot), Source::new(y, c, &d.of_y)];
        fill(isa, win, &sources, &d.shift, if relu { Mode::Gate(r) } else { Mode::Plain }, v);
    } else {
        fill(isa, win, &[Source::new(y, c, &[])], &[], mode, r);
        fill(isa, win, &[Source::new(y_dot, c, &[])], &[], if relu { Mode::Gate(r) } else { Mode::Plain }, v);
    }
}

/// Windows of the second half of a separable convolution and of its tangent.
#[allow(clippy::too_many_arguments)]
pub(crate) fn inner_windows(
    plan: &Plan,
    chunk: &DotChunk<'_>,
    affine: &Affine,
    affine_dot: &Affine,
    inner: &Placed,
    stage: &crate::stage::Stage,
    i: usize,
    r: &mut [f32],
    v: &mut [f32],
) {
    let (isa, c, win) = (plan.isa, plan.c, stage.window());
    let len = plan.buffer_lens[inner.norm];
    let (y, y_dot) = (&chunk.bufs[inner.norm][i * len..][..len], &chunk.dots[inner.norm][i * len..][..len]);
    win.fill_border(r, 0.0);
    win.fill_border(v, 0.0);
    fill(isa, win, &[Source::new(y, c, &affine.of_y)], &affine.shift, Mode::Relu, r);
    let sources = [Source::new(y_dot, c, &affine_dot.of_dot), Source::new(y, c, &affine_dot.of_y)];
    fill(isa, win, &sources, &affine_dot.shift, Mode::Gate(r), v);
}

/// A group of images in a forward pass.
pub(crate) struct Chunk<'a> {
    /// Its first image.
    pub first: usize,
    /// Its part of the output.
    pub out: &'a mut [f32],
    pub bufs: &'a mut [Buffer],
}

impl<'a> Chunk<'a> {
    /// The window of the first stage of branch `at`, unless the branch before has left it there.
    fn first_window(
        &self,
        plan: &Plan,
        affines: &[Affine],
        branches: &[&Branch],
        at: usize,
        i: usize,
        window: &mut [f32],
    ) {
        let b = branches[at];
        if at > 0 && b.shares_window(branches[at - 1]) {
            return;
        }
        let (stage, win) = (&b.placed()[0].stage, b.placed()[0].stage.window());
        win.fill_border(window, stage.border());
        let mode = if stage.has_relu() { Mode::Relu } else { Mode::Plain };
        let (source, shift) = self.state(plan, affines, b.state, i);
        fill(plan.isa, win, &[source], shift, mode, window);
    }

    /// State j of image i as a source, with its shift.
    pub fn state<'b>(&'b self, plan: &Plan, affines: &'b [Affine], state: usize, i: usize) -> (Source<'b>, &'b [f32]) {
        let buffer = plan.state_buffer(state);
        let len = plan.buffer_lens[buffer];
        let y = &self.bufs[buffer][i * len..][..len];
        if state < 2 {
            (Source::new(y, plan.c, &affines[state].of_y), &affines[state].shift)
        } else {
            (Source::new(y, plan.c, &[]), &[])
        }
    }
}

/// A group of images in a tangent pass.
pub(crate) struct DotChunk<'a> {
    pub first: usize,
    pub out_dot: &'a mut [f32],
    pub bufs: &'a [Buffer],
    pub dots: &'a mut [Buffer],
}

/// Buffers of one image, kept per thread.
#[derive(Default)]
pub(crate) struct Work {
    pub scratch: Scratch,
    pub window: Aligned,
    pub window_dot: Aligned,
    pub dense: Aligned,
    pub dense_dot: Aligned,
    /// Channel sums of one image.
    pub sums: Vec<f32>,
}

/// Calls f with this thread's buffers, large enough for the plan.
pub(crate) fn with_scratch<R>(plan: &Plan, f: impl FnOnce(&mut Work) -> R) -> R {
    thread_local! {
        static WORK: std::cell::RefCell<Work> = std::cell::RefCell::new(Work::default());
    }
    WORK.with_borrow_mut(|work| {
        let (window, dense) = (plan.max_window(), plan.max_out());
        for (buffer, len) in [
            (&mut work.window, window),
            (&mut work.window_dot, window),
            (&mut work.dense, dense),
            (&mut work.dense_dot, dense),
        ] {
            if buffer.len() < len {
                buffer.resize(len);
            }
        }
        f(work)
    })
}

/// One pass over all images: `before`, then for each stage its window, its output and the moments of that; the
/// batch norms of all stages are known afterwards.
fn stage_pass(
    direction: Direction,
    saved: &mut Saved,
    placed: &[&Placed],
    out: &mut [f32],
    window: impl Fn(&Chunk<'_>, &Placed, usize, &mut [f32], usize) + Sync,
    w: &[f32],
    before: impl Fn(&mut Chunk<'_>, usize) + Sync,
) {
    let plan = &saved.plan;
    let per_chunk = chunk_images(plan.n);
    let items = saved.chunks.par_iter_mut().zip(out.par_chunks_mut(per_chunk * plan.out_len())).enumerate();
    let parts: Vec<Vec<Moments>> = direction.map(items, |(index, (bufs, out))| {
        let mut chunk = Chunk { first: index * per_chunk, out, bufs };
        let mut parts: Vec<Moments> = placed.iter().map(|p| Moments::new(p.stage.c_out())).collect();
        with_scratch(plan, |work| {
            let mut triple = vec![0f32; 3 * plan.c];
            let (pivot, rest) = triple.split_at_mut(plan.c);
            let (sum, square) = rest.split_at_mut(plan.c);
            for i in direction.images(chunk.out.len() / plan.out_len()) {
                before(&mut chunk, i);
                for (at, p) in placed.iter().enumerate() {
                    window(&chunk, p, i, &mut work.window, at);
                    let (len, c) = (p.stage.len_out(), p.stage.c_out());
                    let y = &mut chunk.bufs[p.norm][i * len..][..len];
                    let w = p.stage.factors(&w[p.weights..]);
                    p.stage.forward(plan.isa, &work.window, &work.window, w, false, &mut work.scratch, y);
                    moments(plan.isa, len / c, c, y, pivot, sum, square);
                    parts[at].add_image(len / c, pivot, sum, square);
                }
            }
        });
        parts
    });
    for (at, p) in placed.iter().enumerate() {
        let mut total = Moments::new(p.stage.c_out());
        parts.iter().for_each(|part| total.merge(&part[at]));
        saved.norms[p.norm] = Norm::from_moments(&total);
    }
}

/// The buffer of a branch's summand and, if a batch norm precedes, which.
pub(crate) fn term(plan: &Plan, branch: &Branch) -> Option<(usize, Option<usize>)> {
    match &branch.action {
        Action::Zero => None,
        Action::Identity => Some((plan.state_buffer(branch.state), (branch.state < 2).then_some(branch.state))),
        Action::Noise { buffer } => Some((*buffer, None)),
        Action::Stages(stages) => stages.last().map(|p| (p.norm, Some(p.norm))),
    }
}

/// The drop-path factor of an edge and an image.
pub(crate) fn factor(drop_path: &[f32], n: usize, edge: usize, image: usize) -> f32 {
    if drop_path.is_empty() { 1.0 } else { drop_path[edge * n + image] }
}

/// What a group adds to its node, with all coefficients ready.
struct NodeSum<'a> {
    /// The node's buffer.
    to: usize,
    /// Added to what the groups before have left.
    accumulate: bool,
    /// (buffer, edge, coefficients, weight); the coefficients are empty where no batch norm precedes.
    terms: Vec<(usize, usize, Affine, f32)>,
    drop_path: &'a [f32],
    n: usize,
}

impl<'a> NodeSum<'a> {
    fn new(saved: &Saved, group: &Group, p: &[f32], noise: &'a CellNoise) -> Self {
        let plan = &saved.plan;
        let terms = plan.branches[group.branches.clone()]
            .iter()
            .filter_map(|b| {
                let (from, norm) = term(plan, b)?;
                let p = p[b.alpha];
                let affine = norm.map_or_else(Affine::default, |norm| saved.norms[norm].scaled(f64::from(p)));
                Some((from, b.edge, affine, if norm.is_some() { 1.0 } else { p }))
            })
            .collect();
        let to = plan.state_buffer(2 + group.node);
        Self { to, accumulate: !group.first, terms, drop_path: &noise.drop_path, n: plan.n }
    }

    /// Writes or adds to the node of image i.
    fn write(&self, plan: &Plan, chunk: &mut Chunk<'_>, i: usize) {
        let (c, px) = (plan.c, plan.px(2));
        let image = i * px * c..(i + 1) * px * c;
        let mut node = std::mem::take(&mut chunk.bufs[self.to]);
        let mut shift = vec![0f32; c];
        let mut sources = Vec::with_capacity(self.terms.len());
        for (from, edge, affine, weight) in &self.terms {
            let m = factor(self.drop_path, self.n, *edge, chunk.first + i);
            let data = &chunk.bufs[*from][image.clone()];
            sources.push(Source { data, stride: c, coef: &affine.of_y, factor: m * weight });
            shift.iter_mut().zip(&affine.shift).for_each(|(s, a)| *s += m * a);
        }
        blend(plan.isa, px, c, &sources, &shift, self.accumulate, &mut node[image], c);
        chunk.bufs[self.to] = node;
    }
}

/// The tangent of what a group adds to its node.
struct NodeTangent<'a> {
    to: usize,
    accumulate: bool,
    /// (buffer, edge, coefficients, weight, tangent of the weight); the weights count where no batch norm precedes.
    terms: Vec<(usize, usize, Affine, f32, f32)>,
    drop_path: &'a [f32],
    n: usize,
}

impl<'a> NodeTangent<'a> {
    fn new(saved: &Saved, dot: &SavedDot, group: &Group, p: &[f32], p_dot: &[f32], noise: &'a CellNoise) -> Self {
        let plan = &saved.plan;
        let terms = plan.branches[group.branches.clone()]
            .iter()
            .filter_map(|b| {
                let (from, norm) = term(plan, b)?;
                let (p, p_dot) = (p[b.alpha], p_dot[b.alpha]);
                Some(match norm {
                    Some(norm) => {
                        let affine = saved.norms[norm].tangent_affine(&dot.norms[norm], f64::from(p), f64::from(p_dot));
                        (from, b.edge, affine, 1.0, 1.0)
                    }
                    None => (from, b.edge, Affine::default(), p, p_dot),
                })
            })
            .collect();
        let to = plan.state_buffer(2 + group.node);
        Self { to, accumulate: !group.first, terms, drop_path: &noise.drop_path, n: plan.n }
    }

    fn write(&self, plan: &Plan, chunk: &mut DotChunk<'_>, i: usize) {
        let (c, px) = (plan.c, plan.px(2));
        let image = i * px * c..(i + 1) * px * c;
        let mut node = std::mem::take(&mut chunk.dots[self.to]);
        let mut shift = vec![0f32; c];
        let mut sources = Vec::with_capacity(2 * self.terms.len());
        for (from, edge, affine, p, p_dot) in &self.terms {
            let m = factor(self.drop_path, self.n, *edge, chunk.first + i);
            // Noise has no tangent.
            if *from < plan.n_moving() {
                let data = &chunk.dots[*from][image.clone()];
                sources.push(Source { data, stride: c, coef: &affine.of_dot, factor: m * p });
            }
            let data = &chunk.bufs[*from][image.clone()];
            sources.push(Source { data, stride: c, coef: &affine.of_y, factor: m * p_dot });
            shift.iter_mut().zip(&affine.shift).for_each(|(s, a)| *s += m * a);
        }
        blend(plan.isa, px, c, &sources, &shift, self.accumulate, &mut node[image], c);
        chunk.dots[self.to] = node;
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

impl SavedDot {
    /// Tangent of the output.
    pub fn out_dot(&self) -> &[f32] {
        &self.out_dot
    }
}
