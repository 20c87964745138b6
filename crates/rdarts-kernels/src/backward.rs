//! The transpose of a cell, and of a cell with its tangent.
//!
//! [`vjp`] takes the gradient g of the output and returns those of s0, s1, p and w. Given what [`jvp`] left and
//! the gradient d of the tangent output, it returns the gradients of all six: the vjp of the jvp. There w stays a
//! constant: second derivatives of the search end in p (alpha), never in w.
//!
//! Groups of branches go from last to first; per group two passes over the images, since each batch norm's gradient
//! needs sums over the whole batch: one through the outer stages, one through the inner ones, which also takes the
//! sums of the next group.
//!
//! [`jvp`]: crate::cell::jvp

use rayon::prelude::*;

use crate::buffers::{Buffer, take_vec};
use crate::cell::{CellInput, CellTangent, Saved, SavedDot, Work, factor, in_pool, term, with_scratch};
use crate::norm::{Affine, Gradient, Norm, Sums, gradient, weight_gradient, weight_gradient_dual};
use crate::plan::{Action, Branch, Direction, Placed, Plan, chunk_images};
use crate::simd::blend::{Source, blend, dots};
use crate::simd::window::{Mode, fill};
use crate::spec::CellNoise;
use crate::stage::{Destination, Stage};

/// Which gradients [`vjp`] shall compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// Of s0.
    pub s0: bool,
    /// Of s1.
    pub s1: bool,
    /// Of p.
    pub p: bool,
    /// Of w; not together with a tangent.
    pub w: bool,
}

/// The tangent that a vjp of the jvp differentiates.
#[derive(Debug)]
pub struct Dual<'a> {
    /// The direction [`jvp`](crate::cell::jvp) was given.
    pub tangent: CellTangent<'a>,
    /// What it left.
    pub saved: &'a SavedDot,
    /// Gradient of its output.
    pub d: &'a mut [f32],
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
    /// Of the tangent of s0.
    pub s0_dot: Vec<f32>,
    /// Of the tangent of s1.
    pub s1_dot: Vec<f32>,
    /// Of the tangent of p.
    pub p_dot: Vec<f32>,
}

/// A group of images on its way back.
struct Chunk<'a> {
    first: usize,
    n: usize,
    bufs: &'a [Buffer],
    /// Gradient of the output.
    g: &'a [f32],
    /// Gradient of every state. Those of the nodes start as their part of the output's.
    state_g: Vec<Buffer>,
    /// `[state][image]` for states 0 and 1: nothing has been written to their gradients yet.
    fresh: [Vec<bool>; 2],
    /// Gradient of the inner batch norm of each branch with two stages, by its place in the group.
    inner_g: Vec<Buffer>,
    dw: Buffer,
    dual: Option<DualChunk<'a>>,
}

struct DualChunk<'a> {
    dots: &'a [Buffer],
    d: &'a [f32],
    state_d: Vec<Buffer>,
    inner_d: Vec<Buffer>,
}

/// Everything constant during the call.
struct Context<'a> {
    plan: &'a Plan,
    input: CellInput<'a>,
    tangent: Option<CellTangent<'a>>,
    noise: &'a CellNoise,
    norms: &'a [Norm],
    dot: Option<&'a SavedDot>,
    w_t: Vec<f32>,
    /// The transposed weights with their tangents in the place of one factor.
    w_dot_t: Option<Vec<f32>>,
    affines: Vec<Affine>,
    want: Want,
    /// Whether the gradient of state 0 and 1 is needed.
    needs: [bool; 2],
}

/// Gradients of the cell at `input`; g is the gradient of its output `out`.
///
/// # Panics
/// If weight gradients are asked for together with a tangent, or a slice is too short.
pub fn vjp(
    input: CellInput<'_>,
    out: &[f32],
    noise: &CellNoise,
    saved: &Saved,
    g: &mut [f32],
    dual: Option<Dual<'_>>,
    want: Want,
) -> CellGradient {
    in_pool(|| vjp_in_pool(input, out, noise, saved, g, dual, want))
}

fn vjp_in_pool(
    input: CellInput<'_>,
    out: &[f32],
    noise: &CellNoise,
    saved: &Saved,
    g: &[f32],
    dual: Option<Dual<'_>>,
    want: Want,
) -> CellGradient {
    let plan = &saved.plan;
    assert!(g.len() == plan.n * plan.out_len() && out.len() == g.len(), "gradient of the output");
    assert!(!(want.w && dual.is_some()), "second derivatives end in the mixing weights");
    let per_chunk = chunk_images(plan.n);
    let (tangent, dot) = (dual.as_ref().map(|d| d.tangent), dual.as_ref().map(|d| d.saved));
    let ctx = Context {
        plan,
        input,
        tangent,
        noise,
        norms: &saved.norms,
        dot,
        w_t: plan.transpose_weights(input.w),
        w_dot_t: tangent.and_then(|t| t.w).map(|w| plan.transpose_weights(w)),
        affines: saved.norms.iter().map(Norm::affine).collect(),
        want,
        needs: [want.s0 || want.w, want.s1 || want.w],
    };

    let stride = per_chunk * plan.out_len();
    let mut d_chunks = dual.map(|d| d.d.chunks(stride));
    let mut chunks: Vec<Chunk<'_>> = g
        .chunks(stride)
        .enumerate()
        .map(|(index, g)| {
            let n = g.len() / plan.out_len();
            let states = || {
                let needed = |state: usize| state >= 2 || ctx.needs[state];
                let len = |state: usize| if needed(state) { n * plan.px(state) * plan.c } else { 0 };
                (0..2 + plan.nodes).map(|state| Buffer::take(len(state))).collect()
            };
            Chunk {
                first: index * per_chunk,
                n,
                bufs: &saved.chunks[index],
                g,
                state_g: states(),
                fresh: [vec![true; n], vec![true; n]],
                inner_g: Vec::new(),
                dw: Buffer::zeros(if want.w { plan.n_weights } else { 0 }),
                dual: d_chunks.as_mut().and_then(Iterator::next).zip(dot).map(|(d, dot)| DualChunk {
                    dots: &dot.chunks[index],
                    d,
                    state_d: states(),
                    inner_d: Vec::new(),
                }),
            }
        })
        .collect();

    let n_alphas = if want.p { plan.n_alphas } else { 0 };
    let mut gradient_out = CellGradient { p: vec![0.0; n_alphas], ..CellGradient::default() };
    if ctx.dot.is_some() {
        gradient_out.p_dot = vec![0.0; n_alphas];
    }
    let mut inner: Option<Inner<'_>> = None;
    let mut direction = Direction::default();
    for group in plan.groups.iter().rev() {
        let branches: Vec<&Branch> =
            plan.branches[group.branches.clone()].iter().filter(|b| !matches!(b.action, Action::Zero)).collect();
        // Inner stages of the group after this one, then this group's sums.
        direction.turn();
        let parts: Vec<Vec<Sums>> = direction.map(chunks.par_iter_mut(), |chunk| {
            with_scratch(plan, |work| {
                let mut sums = vec![Sums::new(plan.c, ctx.dot.is_some()); branches.len()];
                for i in direction.images(chunk.n) {
                    if let Some(inner) = &inner {
                        ctx.inner_stages(chunk, inner, i, work);
                    }
                    if group.last && group.node + 1 == plan.nodes {
                        ctx.take_output(chunk, i);
                    }
                    ctx.node_sums(chunk, group.node, &branches, i, work, &mut sums);
                }
                sums
            })
        });
        let sums = add_up(parts, branches.len(), plan.c, ctx.dot.is_some());
        ctx.mixing_gradients(&branches, &sums, &mut gradient_out);
        let outer: Vec<Gradient> = branches.iter().zip(&sums).map(|(b, s)| ctx.outer_gradient(b, s)).collect();
        let twice: Vec<usize> = (0..branches.len()).filter(|at| branches[*at].placed().len() == 2).collect();
        direction.turn();
        let parts: Vec<Vec<Sums>> = direction.map(chunks.par_iter_mut(), |chunk| {
            let len = chunk.n * plan.px(2) * plan.c;
            let more = |buffers: &mut Vec<Buffer>| {
                while buffers.len() < twice.len() {
                    buffers.push(Buffer::take(len));
                }
            };
            more(&mut chunk.inner_g);
            if let Some(dual) = &mut chunk.dual {
                more(&mut dual.inner_d);
            }
            with_scratch(plan, |work| {
                let mut sums = vec![Sums::new(plan.c, ctx.dot.is_some()); twice.len()];
                for i in direction.images(chunk.n) {
                    ctx.outer_stages(chunk, group.node, &branches, &outer, i, work, &mut sums);
                }
                sums
            })
        });
        let sums = add_up(parts, twice.len(), plan.c, ctx.dot.is_some());
        let branches: Vec<&Branch> = twice.iter().map(|at| branches[*at]).collect();
        let gradients = branches.iter().zip(&sums).map(|(b, s)| ctx.plain_gradient(b.placed()[0].norm, s)).collect();
        inner = Some(Inner { branches, gradients });
    }

    // The first node's inner stages, then the sums of the preprocess blocks.
    direction.turn();
    let parts: Vec<Vec<Sums>> = direction.map(chunks.par_iter_mut(), |chunk| {
        with_scratch(plan, |work| {
            let mut sums = vec![Sums::new(plan.c, ctx.dot.is_some()); 2];
            for i in direction.images(chunk.n) {
                if let Some(inner) = &inner {
                    ctx.inner_stages(chunk, inner, i, work);
                }
                ctx.pre_sums(chunk, i, work, &mut sums);
            }
            sums
        })
    });
    let sums = add_up(parts, 2, plan.c, ctx.dot.is_some());
    let pre = [0, 1].map(|i| ctx.plain_gradient(plan.pre[i].norm, &sums[i]));
    let wanted = [want.s0, want.s1];
    let make = |dual: bool, i: usize| {
        let len = if wanted[i] && (!dual || ctx.dot.is_some()) { plan.n * plan.input_len(i) } else { 0 };
        take_vec(len)
    };
    let mut ds = [make(false, 0), make(false, 1), make(true, 0), make(true, 1)];
    {
        let [a, b, c, d] = &mut ds;
        let mut parts: Vec<[Option<&mut [f32]>; 4]> = (0..chunks.len()).map(|_| [None, None, None, None]).collect();
        for (slot, (v, i)) in [(a, 0), (b, 1), (c, 0), (d, 1)].into_iter().enumerate() {
            if !v.is_empty() {
                for (part, piece) in parts.iter_mut().zip(v.chunks_mut(per_chunk * plan.input_len(i))) {
                    part[slot] = Some(piece);
                }
            }
        }
        direction.turn();
        direction.map(chunks.par_iter_mut().zip(parts), |(chunk, mut parts)| {
            with_scratch(plan, |work| {
                for i in direction.images(chunk.n) {
                    ctx.pre_stages(chunk, &pre, i, work, &mut parts);
                }
            });
        });
    }
    let [s0, s1, s0_dot, s1_dot] = ds;
    (gradient_out.s0, gradient_out.s1, gradient_out.s0_dot, gradient_out.s1_dot) = (s0, s1, s0_dot, s1_dot);
    if want.w {
        let mut w = take_vec(plan.n_weights);
        w.par_chunks_mut(4096).enumerate().for_each(|(at, w)| {
            w.fill(0.0);
            for chunk in &chunks {
                let part = &chunk.dw[at * 4096..][..w.len()];
                w.iter_mut().zip(part).for_each(|(w, d)| *w += d);
            }
        });
        gradient_out.w = w;
    }
    gradient_out
}

/// The branches with two stages of a node, and the gradients at their inner batch norms.
struct Inner<'a> {
    branches: Vec<&'a Branch>,
    gradients: Vec<Gradient>,
}

/// Adds the sums of all groups in their order.
fn add_up(parts: Vec<Vec<Sums>>, n: usize, c: usize, dual: bool) -> Vec<Sums> {
    let mut total = vec![Sums::new(c, dual); n];
    for part in &parts {
        total.iter_mut().zip(part).for_each(|(t, p)| t.merge(p));
    }
    total
}

/// Adds one image's float32 sums, times the drop-path factor.
fn accumulate(target: &mut [f64], part: &[f32], m: f32) {
    target.iter_mut().zip(part).for_each(|(t, v)| *t += f64::from(m) * f64::from(*v));
}

impl Context<'_> {
    /// Copies the gradients of the nodes out of the output's.
    fn take_output(&self, chunk: &mut Chunk<'_>, i: usize) {
        let (plan, c, px) = (self.plan, self.plan.c, self.plan.px(2));
        let image = i * px * c..(i + 1) * px * c;
        for node in 0..plan.nodes {
            let at = i * plan.out_len() + node * c;
            let copy = |from: &[f32], to: &mut [f32]| {
                blend(plan.isa, px, c, &[Source::new(&from[at..], plan.nodes * c, &[])], &[], false, to, c);
            };
            copy(chunk.g, &mut chunk.state_g[2 + node][image.clone()]);
            if let Some(dual) = &mut chunk.dual {
                copy(dual.d, &mut dual.state_d[2 + node][image.clone()]);
            }
        }
    }

    /// Adds this image to the sums of every branch.
    #[allow(clippy::too_many_arguments)]
    fn node_sums(
        &self,
        chunk: &mut Chunk<'_>,
        node: usize,
        branches: &[&Branch],
        i: usize,
        work: &mut Work,
        sums: &mut [Sums],
    ) {
        let (plan, isa, c, px) = (self.plan, self.plan.isa, self.plan.c, self.plan.px(2));
        let image = i * px * c..(i + 1) * px * c;
        let node_g = &chunk.state_g[2 + node][image.clone()];
        let dual = chunk.dual.as_ref();
        // (value, tangent) of what a branch adds to the node; noise has no tangent.
        let data: Vec<(&[f32], Option<&[f32]>)> = branches
            .iter()
            .filter_map(|b| term(plan, b))
            .map(|(b, _)| {
                let moving = dual.filter(|_| b < plan.n_moving());
                (&chunk.bufs[b][image.clone()], moving.map(|d| &d.dots[b][image.clone()]))
            })
            .collect();
        // Without gradients of p, only batch norms need sums.
        let used: Vec<usize> =
            (0..branches.len()).filter(|k| self.want.p || !branches[*k].placed().is_empty()).collect();
        let mut ys: Vec<(&[f32], usize)> = used.iter().map(|k| (data[*k].0, c)).collect();
        work.sums.resize((1 + 2 * branches.len()) * c, 0.0);
        let factors: Vec<f32> =
            used.iter().map(|k| factor(&self.noise.drop_path, plan.n, branches[*k].edge, chunk.first + i)).collect();
        dots(isa, px, c, (node_g, c), &ys, &mut work.sums);
        for (j, (k, m)) in used.iter().zip(&factors).enumerate() {
            accumulate(&mut sums[*k].g, &work.sums[..c], *m);
            accumulate(&mut sums[*k].g_y, &work.sums[(1 + j) * c..][..c], *m);
        }
        if let Some(dual) = dual {
            let tangents: Vec<usize> = used.iter().copied().filter(|k| data[*k].1.is_some()).collect();
            ys.extend(tangents.iter().filter_map(|k| data[*k].1.map(|y_dot| (y_dot, c))));
            dots(isa, px, c, (&dual.state_d[2 + node][image], c), &ys, &mut work.sums);
            for (j, (k, m)) in used.iter().zip(&factors).enumerate() {
                accumulate(&mut sums[*k].d, &work.sums[..c], *m);
                accumulate(&mut sums[*k].d_y, &work.sums[(1 + j) * c..][..c], *m);
                if let Some(t) = tangents.iter().position(|t| t == k) {
                    accumulate(&mut sums[*k].d_dot, &work.sums[(1 + used.len() + t) * c..][..c], *m);
                }
            }
        }
    }

    /// Gradients of p and its tangent.
    fn mixing_gradients(&self, branches: &[&Branch], sums: &[Sums], out: &mut CellGradient) {
        if !self.want.p {
            return;
        }
        for (b, sums) in branches.iter().zip(sums) {
            let norm = term(self.plan, b).and_then(|(_, norm)| norm);
            out.p[b.alpha] = match norm {
                Some(norm) => weight_gradient(&self.norms[norm], sums) as f32,
                None => sums.g_y.iter().sum::<f64>() as f32,
            };
            if let Some(dot) = self.dot {
                let (of_p, of_p_dot) = match norm {
                    Some(norm) => weight_gradient_dual(&self.norms[norm], &dot.norms[norm], sums),
                    None => (sums.d_dot.iter().sum(), sums.d_y.iter().sum()),
                };
                out.p[b.alpha] += of_p as f32;
                out.p_dot[b.alpha] = of_p_dot as f32;
            }
        }
    }

    /// (p, p') of a branch.
    fn weights_of(&self, b: &Branch) -> (f64, f64) {
        (f64::from(self.input.p[b.alpha]), self.tangent.map_or(0.0, |t| f64::from(t.p[b.alpha])))
    }

    fn outer_gradient(&self, b: &Branch, sums: &Sums) -> Gradient {
        match b.last() {
            None => Gradient::default(),
            Some(placed) => {
                let weights = self.weights_of(b);
                let tangent = self.dot.map(|d| &d.norms[placed.norm]);
                gradient(&self.norms[placed.norm], tangent, sums, |_| weights)
            }
        }
    }

    fn plain_gradient(&self, norm: usize, sums: &Sums) -> Gradient {
        gradient(&self.norms[norm], self.dot.map(|d| &d.norms[norm]), sums, |_| (1.0, 0.0))
    }

    /// From the node's gradient through the last stage of every branch.
    #[allow(clippy::too_many_arguments)]
    fn outer_stages(
        &self,
        chunk: &mut Chunk<'_>,
        node: usize,
        branches: &[&Branch],
        outer: &[Gradient],
        i: usize,
        work: &mut Work,
        sums: &mut [Sums],
    ) {
        let (plan, isa, c, px) = (self.plan, self.plan.isa, self.plan.c, self.plan.px(2));
        let image = i * px * c..(i + 1) * px * c;
        let mut two = 0;
        for (b, coef) in branches.iter().zip(outer) {
            let m = factor(&self.noise.drop_path, plan.n, b.edge, chunk.first + i);
            let Some(placed) = b.last() else {
                if matches!(b.action, Action::Identity) {
                    self.identity(chunk, node, b, m, i);
                }
                continue;
            };
            let is_inner = b.placed().len() == 2;
            if !is_inner && b.state < 2 && !self.needs[b.state] {
                continue;
            }
            let node_g = std::mem::take(&mut chunk.state_g[2 + node]);
            let node_d = chunk.dual.as_mut().map(|d| std::mem::take(&mut d.state_d[2 + node]));
            let cotangents = (&node_g[image.clone()], node_d.as_ref().map(|d| &d[image.clone()]));
            self.at_norm(chunk, placed, cotangents, coef, m, i, work);
            if is_inner {
                let first = &b.placed()[0];
                self.inner_window(chunk, first, &placed.stage, i, work);
                let mut to_g = std::mem::take(&mut chunk.inner_g[two]);
                let mut to_d = chunk.dual.as_mut().map(|d| std::mem::take(&mut d.inner_d[two]));
                let targets = (
                    Some(Destination { out: &mut to_g[image.clone()], stride: c, accumulate: false }),
                    to_d.as_mut().map(|d| Destination { out: &mut d[image.clone()], stride: c, accumulate: false }),
                );
                self.stage_vjp(placed, targets, &mut chunk.dw, work);
                let y = &chunk.bufs[first.norm][image.clone()];
                work.sums.resize(3 * c, 0.0);
                dots(isa, px, c, (&to_g[image.clone()], c), &[(y, c)], &mut work.sums);
                accumulate(&mut sums[two].g, &work.sums[..c], 1.0);
                accumulate(&mut sums[two].g_y, &work.sums[c..2 * c], 1.0);
                if let (Some(d), Some(dual)) = (&to_d, &chunk.dual) {
                    let y_dot = &dual.dots[first.norm][image.clone()];
                    dots(isa, px, c, (&d[image.clone()], c), &[(y, c), (y_dot, c)], &mut work.sums);
                    accumulate(&mut sums[two].d, &work.sums[..c], 1.0);
                    accumulate(&mut sums[two].d_y, &work.sums[c..2 * c], 1.0);
                    accumulate(&mut sums[two].d_dot, &work.sums[2 * c..3 * c], 1.0);
                }
                chunk.inner_g[two] = to_g;
                if let (Some(dual), Some(d)) = (&mut chunk.dual, to_d) {
                    dual.inner_d[two] = d;
                }
                two += 1;
            } else {
                self.state_stage(chunk, b.state, placed, i, work);
            }
            chunk.state_g[2 + node] = node_g;
            if let (Some(dual), Some(d)) = (&mut chunk.dual, node_d) {
                dual.state_d[2 + node] = d;
            }
        }
    }

    /// From the inner batch norms through the first stages into the states.
    fn inner_stages(&self, chunk: &mut Chunk<'_>, inner: &Inner<'_>, i: usize, work: &mut Work) {
        let (c, px) = (self.plan.c, self.plan.px(2));
        let image = i * px * c..(i + 1) * px * c;
        for (two, (b, coef)) in inner.branches.iter().zip(&inner.gradients).enumerate() {
            if b.state < 2 && !self.needs[b.state] {
                continue;
            }
            let placed = &b.placed()[0];
            let g = std::mem::take(&mut chunk.inner_g[two]);
            let d = chunk.dual.as_mut().map(|dual| std::mem::take(&mut dual.inner_d[two]));
            self.at_norm(chunk, placed, (&g[image.clone()], d.as_ref().map(|d| &d[image.clone()])), coef, 1.0, i, work);
            self.state_stage(chunk, b.state, placed, i, work);
            chunk.inner_g[two] = g;
            if let (Some(dual), Some(d)) = (&mut chunk.dual, d) {
                dual.inner_d[two] = d;
            }
        }
    }

    /// Gradient before a batch norm into `work.dense` (and of its tangent into `work.dense_dot`).
    #[allow(clippy::too_many_arguments)]
    fn at_norm(
        &self,
        chunk: &Chunk<'_>,
        placed: &Placed,
        (g, d): (&[f32], Option<&[f32]>),
        coef: &Gradient,
        m: f32,
        i: usize,
        work: &mut Work,
    ) {
        let (isa, len, c) = (self.plan.isa, placed.stage.len_out(), placed.stage.c_out());
        let image = i * len..(i + 1) * len;
        let y = &chunk.bufs[placed.norm][image.clone()];
        let g_source = Source { data: g, stride: c, coef: &coef.of_g, factor: m };
        let (Some(d), Some(dual)) = (d, &chunk.dual) else {
            let sources = [g_source, Source::new(y, c, &coef.of_y)];
            blend(isa, len / c, c, &sources, &coef.shift, false, &mut work.dense, c);
            return;
        };
        let y_dot = &dual.dots[placed.norm][image];
        let sources = [
            g_source,
            Source { data: d, stride: c, coef: &coef.of_d, factor: m },
            Source::new(y_dot, c, &coef.of_dot),
            Source::new(y, c, &coef.of_y),
        ];
        blend(isa, len / c, c, &sources, &coef.shift, false, &mut work.dense, c);
        let sources =
            [Source { data: d, stride: c, coef: &coef.dot_of_d, factor: m }, Source::new(y, c, &coef.dot_of_y)];
        blend(isa, len / c, c, &sources, &coef.dot_shift, false, &mut work.dense_dot, c);
    }

    /// Transposes a stage for the gradients in `work.dense` and `work.dense_dot` at the windows in `work`.
    fn stage_vjp(
        &self,
        placed: &Placed,
        (to_g, to_d): (Option<Destination<'_>>, Option<Destination<'_>>),
        dw: &mut [f32],
        work: &mut Work,
    ) {
        let (isa, stage, len) = (self.plan.isa, &placed.stage, placed.stage.len_out());
        let at = placed.weights;
        let (w, w_t) = (stage.factors(&self.input.w[at..]), stage.factors(&self.w_t[at..]));
        let n_weights: usize = stage.weight_lens().iter().sum();
        let dw = (self.want.w && n_weights > 0).then(|| &mut dw[at..at + n_weights]);
        let Work { scratch, window: r, dense, dense_dot, .. } = work;
        let Some(to_g) = to_g else {
            stage.vjp(isa, r, r, w, w_t, &dense[..len], None, dw, scratch);
            return;
        };
        let Destination { out, stride, accumulate } = to_g;
        let first = Destination { out: &mut *out, stride, accumulate };
        stage.vjp(isa, r, r, w, w_t, &dense[..len], Some(first), dw, scratch);
        if self.dot.is_none() {
            return;
        }
        if let (Some(w_dot_t), Some(w_dot)) = (&self.w_dot_t, self.tangent.and_then(|t| t.w)) {
            let (w_dot, w_dot_t) = (stage.factors(&w_dot[at..]), stage.factors(&w_dot_t[at..]));
            let pairs = stage.tangent_factors(w, w_dot).into_iter().zip(stage.tangent_factors(w_t, w_dot_t));
            for (w, w_t) in pairs {
                let again = Destination { out: &mut *out, stride, accumulate: true };
                stage.vjp(isa, r, r, w, w_t, &dense_dot[..len], Some(again), None, scratch);
            }
        }
        if let Some(to_d) = to_d {
            // Without weight gradients the moving window is not looked at.
            stage.vjp(isa, r, r, w, w_t, &dense_dot[..len], Some(to_d), None, scratch);
        }
    }

    /// The window of the second half of a separable convolution.
    fn inner_window(&self, chunk: &Chunk<'_>, first: &Placed, stage: &Stage, i: usize, work: &mut Work) {
        let (isa, c, win) = (self.plan.isa, self.plan.c, stage.window());
        let len = first.stage.len_out();
        let y = &chunk.bufs[first.norm][i * len..][..len];
        let affine = &self.affines[first.norm];
        win.fill_border(&mut work.window, 0.0);
        fill(isa, win, &[Source::new(y, c, &affine.of_y)], &affine.shift, Mode::Relu, &mut work.window);
    }

    /// Whether the gradient of a state already holds something for image i; from now on it does.
    fn is_touched(chunk: &mut Chunk<'_>, state: usize, i: usize) -> bool {
        state >= 2 || !std::mem::replace(&mut chunk.fresh[state][i], false)
    }

    /// The window of a state, then the stage's transpose into that state's gradient.
    fn state_stage(&self, chunk: &mut Chunk<'_>, state: usize, placed: &Placed, i: usize, work: &mut Work) {
        let (plan, isa, c, win) = (self.plan, self.plan.isa, self.plan.c, placed.stage.window());
        win.fill_border(&mut work.window, placed.stage.border());
        let mode = if placed.stage.has_relu() { Mode::Relu } else { Mode::Plain };
        let len = plan.px(state) * c;
        let y = &chunk.bufs[plan.state_buffer(state)][i * len..][..len];
        let none = Affine::default();
        let affine = if state < 2 { &self.affines[state] } else { &none };
        fill(isa, win, &[Source::new(y, c, &affine.of_y)], &affine.shift, mode, &mut work.window);
        let accumulate = Self::is_touched(chunk, state, i);
        let mut to_g = std::mem::take(&mut chunk.state_g[state]);
        let mut to_d = chunk.dual.as_mut().map(|d| std::mem::take(&mut d.state_d[state]));
        let range = i * len..(i + 1) * len;
        let targets = (
            Some(Destination { out: &mut to_g[range.clone()], stride: c, accumulate }),
            to_d.as_mut().map(|d| Destination { out: &mut d[range], stride: c, accumulate }),
        );
        self.stage_vjp(placed, targets, &mut chunk.dw, work);
        chunk.state_g[state] = to_g;
        if let (Some(dual), Some(d)) = (&mut chunk.dual, to_d) {
            dual.state_d[state] = d;
        }
    }

    /// A skip connection: the state's gradient takes the node's, weighted.
    fn identity(&self, chunk: &mut Chunk<'_>, node: usize, b: &Branch, m: f32, i: usize) {
        let (isa, c, px) = (self.plan.isa, self.plan.c, self.plan.px(2));
        if b.state < 2 && !self.needs[b.state] {
            return;
        }
        let (p, p_dot) = self.weights_of(b);
        let image = i * px * c..(i + 1) * px * c;
        let weighted = |data, weight: f64| Source { data, stride: c, coef: &[], factor: m * weight as f32 };
        let accumulate = Self::is_touched(chunk, b.state, i);
        // A node's state comes after those it sums.
        let (states, nodes) = chunk.state_g.split_at_mut(2 + node);
        let mut sources = vec![weighted(&nodes[0][image.clone()], p)];
        if let Some(dual) = &mut chunk.dual {
            let (states, nodes) = dual.state_d.split_at_mut(2 + node);
            let node_d = &nodes[0][image.clone()];
            sources.push(weighted(node_d, p_dot));
            blend(isa, px, c, &[weighted(node_d, p)], &[], accumulate, &mut states[b.state][image.clone()], c);
        }
        blend(isa, px, c, &sources, &[], accumulate, &mut states[b.state][image], c);
    }

    fn pre_sums(&self, chunk: &mut Chunk<'_>, i: usize, work: &mut Work, sums: &mut [Sums]) {
        let (plan, isa, c) = (self.plan, self.plan.isa, self.plan.c);
        for state in (0..2).filter(|s| self.needs[*s]) {
            let px = plan.px(state);
            let image = i * px * c..(i + 1) * px * c;
            if !Self::is_touched(chunk, state, i) {
                chunk.state_g[state][image.clone()].fill(0.0);
                if let Some(dual) = &mut chunk.dual {
                    dual.state_d[state][image.clone()].fill(0.0);
                }
            }
            let y = (&chunk.bufs[state][image.clone()], c);
            work.sums.resize(3 * c, 0.0);
            dots(isa, px, c, (&chunk.state_g[state][image.clone()], c), &[y], &mut work.sums);
            accumulate(&mut sums[state].g, &work.sums[..c], 1.0);
            accumulate(&mut sums[state].g_y, &work.sums[c..2 * c], 1.0);
            if let Some(dual) = &chunk.dual {
                let y_dot = (&dual.dots[state][image.clone()], c);
                dots(isa, px, c, (&dual.state_d[state][image], c), &[y, y_dot], &mut work.sums);
                accumulate(&mut sums[state].d, &work.sums[..c], 1.0);
                accumulate(&mut sums[state].d_y, &work.sums[c..2 * c], 1.0);
                accumulate(&mut sums[state].d_dot, &work.sums[2 * c..3 * c], 1.0);
            }
        }
    }

    /// Through the preprocess blocks into s0 and s1: parts are (s0, s1, tangent of s0, tangent of s1).
    fn pre_stages(
        &self,
        chunk: &mut Chunk<'_>,
        pre: &[Gradient; 2],
        i: usize,
        work: &mut Work,
        parts: &mut [Option<&mut [f32]>; 4],
    ) {
        let (plan, isa) = (self.plan, self.plan.isa);
        for state in (0..2).filter(|s| self.needs[*s]) {
            let placed = &plan.pre[state];
            let (c_in, len, win) = (plan.inputs[state].0, plan.input_len(state), placed.stage.window());
            let range = i * plan.px(state) * plan.c..(i + 1) * plan.px(state) * plan.c;
            let g = std::mem::take(&mut chunk.state_g[state]);
            let d = chunk.dual.as_mut().map(|dual| std::mem::take(&mut dual.state_d[state]));
            let cotangents = (&g[range.clone()], d.as_ref().map(|d| &d[range.clone()]));
            self.at_norm(chunk, placed, cotangents, &pre[state], 1.0, i, work);
            let s = [self.input.s0, self.input.s1][state];
            let image = &s[(chunk.first + i) * len..][..len];
            win.fill_border(&mut work.window, 0.0);
            fill(isa, win, &[Source::new(image, c_in, &[])], &[], Mode::Relu, &mut work.window);
            let [g0, g1, d0, d1] = &mut *parts;
            let (values, tangents) = ([g0, g1], [d0, d1]);
            let mut image_of = [values, tangents].map(|p| p.into_iter().nth(state).and_then(|p| p.as_deref_mut()));
            let [g_to, d_to] = image_of.each_mut().map(|p| {
                p.take().map(|all| Destination {
                    out: &mut all[i * len..(i + 1) * len],
                    stride: c_in,
                    accumulate: false,
                })
            });
            self.stage_vjp(placed, (g_to, d_to), &mut chunk.dw, work);
            chunk.state_g[state] = g;
            if let (Some(dual), Some(d)) = (&mut chunk.dual, d) {
                dual.state_d[state] = d;
            }
        }
    }
}
