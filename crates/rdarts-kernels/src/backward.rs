//! The transpose of a cell, and of a cell with its tangent.
//!
//! [`vjp`] takes the gradient g of the output and returns those of s0, s1, p and w. Given what [`jvp`] left and
//! the gradient d of the tangent output, it returns the gradients of all six: the vjp of the jvp. There w stays a
//! constant: second derivatives of the search end in p (alpha), never in w.
//!
//! Nodes go from last to first; per node two passes over the images, since each batch norm's gradient needs sums over
//! the whole batch. One makes the node's gradient out of all branches that start there and takes the sums of those that
//! end there; one goes through the second stages of the latter.
//!
//! [`jvp`]: crate::cell::jvp

use rayon::prelude::*;

use crate::buffers::{Buffer, take_vec};
use crate::cell::{CellInput, CellTangent, Saved, SavedDot, Work, factor, in_pool, term, with_scratch};
use crate::norm::{Affine, Gradient, Norm, Sums, gradient, weight_gradient, weight_gradient_dual};
use crate::plan::{Action, Branch, Placed, Plan, chunk_images};
use crate::reading::Reading;
use crate::simd::blend::{Source, blend, dots};
use crate::simd::window::Feed;
use crate::spec::CellNoise;
use crate::stage::{Cotangent, Destination, Scratch};

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
    pub d: &'a [f32],
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
    /// Gradient of the inner batch norm of each branch, empty for branches without one.
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
    g: &[f32],
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
            let inner = || {
                let len = |b: &Branch| if ctx.is_inner(b) { n * plan.px(2) * plan.c } else { 0 };
                plan.branches.iter().map(|b| Buffer::take(len(b))).collect()
            };
            Chunk {
                first: index * per_chunk,
                n,
                bufs: &saved.chunks[index],
                g,
                state_g: states(),
                inner_g: inner(),
                dw: Buffer::zeros(if want.w { plan.n_weights } else { 0 }),
                dual: d_chunks.as_mut().and_then(Iterator::next).zip(dot).map(|(d, dot)| DualChunk {
                    dots: &dot.chunks[index],
                    d,
                    state_d: states(),
                    inner_d: inner(),
                }),
            }
        })
        .collect();

    let n_alphas = if want.p { plan.n_alphas } else { 0 };
    let mut gradient_out = CellGradient { p: vec![0.0; n_alphas], ..CellGradient::default() };
    if ctx.dot.is_some() {
        gradient_out.p_dot = vec![0.0; n_alphas];
    }
    // The gradients at the batch norms, as they become known.
    let mut known: Vec<Gradient> = vec![Gradient::default(); plan.n_norms];
    for node in (0..plan.nodes).rev() {
        let into = plan.branches_into(node);
        // The node's gradient out of the nodes behind it, then the sums of the branches into it.
        let parts: Vec<Vec<Sums>> = chunks
            .par_iter_mut()
            .map(|chunk| {
                with_scratch(|work| {
                    let mut sums = vec![Sums::new(plan.c, ctx.dot.is_some()); into.len()];
                    for i in 0..chunk.n {
                        ctx.take_output(chunk, node, i);
                        ctx.state_gradient(chunk, 2 + node, &known, i, work);
                        ctx.node_sums(chunk, node, &plan.branches[into.clone()], i, work, &mut sums);
                    }
                    sums
                })
            })
            .collect();
        let sums = add_up(parts, into.len(), plan.c, ctx.dot.is_some());
        ctx.mixing_gradients(&plan.branches[into.clone()], &sums, &mut gradient_out);
        for (b, sums) in plan.branches[into.clone()].iter().zip(&sums) {
            if let Some(placed) = b.last() {
                known[placed.norm] = ctx.outer_gradient(b, placed.norm, sums);
            }
        }
        // Through the second stages.
        let twice: Vec<usize> = into.filter(|b| ctx.is_inner(&plan.branches[*b])).collect();
        if twice.is_empty() {
            continue;
        }
        let parts: Vec<Vec<Sums>> = chunks
            .par_iter_mut()
            .map(|chunk| {
                with_scratch(|work| {
                    let mut sums = vec![Sums::new(plan.c, ctx.dot.is_some()); twice.len()];
                    for i in 0..chunk.n {
                        for (b, sums) in twice.iter().zip(&mut sums) {
                            ctx.inner_gradient(chunk, *b, &known, i, work, sums);
                        }
                    }
                    sums
                })
            })
            .collect();
        for (b, sums) in twice.iter().zip(add_up(parts, twice.len(), plan.c, ctx.dot.is_some())) {
            let norm = plan.branches[*b].placed()[0].norm;
            known[norm] = ctx.plain_gradient(norm, &sums);
        }
    }

    // The gradients of states 0 and 1, then the sums of the preprocess blocks.
    let parts: Vec<Vec<Sums>> = chunks
        .par_iter_mut()
        .map(|chunk| {
            with_scratch(|work| {
                let mut sums = vec![Sums::new(plan.c, ctx.dot.is_some()); 2];
                for i in 0..chunk.n {
                    for state in (0..2).filter(|s| ctx.needs[*s]) {
                        ctx.state_gradient(chunk, state, &known, i, work);
                        ctx.pre_sums(chunk, state, i, work, &mut sums[state]);
                    }
                }
                sums
            })
        })
        .collect();
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
        chunks.par_iter_mut().zip(parts).for_each(|(chunk, mut parts)| {
            with_scratch(|work| {
                for i in 0..chunk.n {
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

/// The cotangents of what a batch norm made, and the coefficients of its vjp.
struct AtNorm<'a> {
    /// Of its value.
    g: &'a [f32],
    /// Of its tangent.
    d: Option<&'a [f32]>,
    coef: &'a Gradient,
    /// The drop-path factor.
    m: f32,
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
    /// Whether a gradient goes through the second stage of a branch.
    fn is_inner(&self, b: &Branch) -> bool {
        b.placed().len() == 2 && (b.state >= 2 || self.needs[b.state])
    }

    /// Copies the gradient of a node out of the output's.
    fn take_output(&self, chunk: &mut Chunk<'_>, node: usize, i: usize) {
        let (plan, c, px) = (self.plan, self.plan.c, self.plan.px(2));
        let image = i * px * c..(i + 1) * px * c;
        let at = i * plan.out_len() + node * c;
        let copy = |from: &[f32], to: &mut [f32]| {
            blend(plan.isa, px, c, &[Source::new(&from[at..], plan.nodes * c, &[])], &[], false, to, c);
        };
        copy(chunk.g, &mut chunk.state_g[2 + node][image.clone()]);
        if let Some(dual) = &mut chunk.dual {
            copy(dual.d, &mut dual.state_d[2 + node][image]);
        }
    }

    /// Adds to the gradient of a state what comes through all branches that start there. Those of states 0 and 1 are
    /// made here, those of nodes hold their part of the output's.
    fn state_gradient(&self, chunk: &mut Chunk<'_>, state: usize, known: &[Gradient], i: usize, work: &mut Work) {
        let (plan, c, px) = (self.plan, self.plan.c, self.plan.px(2));
        let image = i * px * c..(i + 1) * px * c;
        let mut touched = state >= 2;
        for at in plan.branches_from(state..state + 1) {
            let b = &plan.branches[at];
            let m = factor(&self.noise.drop_path, plan.n, b.edge, chunk.first + i);
            match b.placed() {
                [] if matches!(b.action, Action::Identity) => self.identity(chunk, b, m, touched, i),
                [] => continue,
                [placed] => {
                    let node_g = std::mem::take(&mut chunk.state_g[2 + b.node]);
                    let node_d = chunk.dual.as_mut().map(|d| std::mem::take(&mut d.state_d[2 + b.node]));
                    let behind = AtNorm {
                        g: &node_g[image.clone()],
                        d: node_d.as_ref().map(|d| &d[image.clone()]),
                        coef: &known[placed.norm],
                        m,
                    };
                    self.state_stage(chunk, state, placed, &behind, touched, i, work);
                    chunk.state_g[2 + b.node] = node_g;
                    if let (Some(dual), Some(d)) = (&mut chunk.dual, node_d) {
                        dual.state_d[2 + b.node] = d;
                    }
                }
                [first, ..] => {
                    let g = std::mem::take(&mut chunk.inner_g[at]);
                    let d = chunk.dual.as_mut().map(|dual| std::mem::take(&mut dual.inner_d[at]));
                    let behind = AtNorm {
                        g: &g[image.clone()],
                        d: d.as_ref().map(|d| &d[image.clone()]),
                        coef: &known[first.norm],
                        m: 1.0,
                    };
                    self.state_stage(chunk, state, first, &behind, touched, i, work);
                    chunk.inner_g[at] = g;
                    if let (Some(dual), Some(d)) = (&mut chunk.dual, d) {
                        dual.inner_d[at] = d;
                    }
                }
            }
            touched = true;
        }
        if !touched {
            let image = i * plan.px(state) * c..(i + 1) * plan.px(state) * c;
            chunk.state_g[state][image.clone()].fill(0.0);
            if let Some(dual) = &mut chunk.dual {
                dual.state_d[state][image].fill(0.0);
            }
        }
    }

    /// Adds this image to the sums of every branch.
    #[allow(clippy::too_many_arguments)]
    fn node_sums(
        &self,
        chunk: &mut Chunk<'_>,
        node: usize,
        branches: &[Branch],
        i: usize,
        work: &mut Work,
        sums: &mut [Sums],
    ) {
        let (plan, isa, c, px) = (self.plan, self.plan.isa, self.plan.c, self.plan.px(2));
        let image = i * px * c..(i + 1) * px * c;
        let node_g = &chunk.state_g[2 + node][image.clone()];
        let dual = chunk.dual.as_ref();
        // Those that add something: without gradients of p, only batch norms need sums.
        let used: Vec<usize> = (0..branches.len())
            .filter(|k| term(plan, &branches[*k]).is_some() && (self.want.p || !branches[*k].placed().is_empty()))
            .collect();
        // (value, tangent) of what a branch adds to the node; noise has no tangent.
        let data: Vec<(&[f32], Option<&[f32]>)> = used
            .iter()
            .filter_map(|k| term(plan, &branches[*k]))
            .map(|(b, _)| {
                let moving = dual.filter(|_| b < plan.n_moving());
                (&chunk.bufs[b][image.clone()], moving.map(|d| &d.dots[b][image.clone()]))
            })
            .collect();
        let mut ys: Vec<(&[f32], usize)> = data.iter().map(|(y, _)| (*y, c)).collect();
        work.sums.resize((1 + 2 * branches.len()) * c, 0.0);
        let factors: Vec<f32> =
            used.iter().map(|k| factor(&self.noise.drop_path, plan.n, branches[*k].edge, chunk.first + i)).collect();
        dots(isa, px, c, (node_g, c), &ys, &mut work.sums);
        for (j, (k, m)) in used.iter().zip(&factors).enumerate() {
            accumulate(&mut sums[*k].g, &work.sums[..c], *m);
            accumulate(&mut sums[*k].g_y, &work.sums[(1 + j) * c..][..c], *m);
        }
        if let Some(dual) = dual {
            let tangents: Vec<usize> = (0..used.len()).filter(|j| data[*j].1.is_some()).collect();
            ys.extend(data.iter().filter_map(|(_, y_dot)| y_dot.map(|y_dot| (y_dot, c))));
            dots(isa, px, c, (&dual.state_d[2 + node][image], c), &ys, &mut work.sums);
            for (j, (k, m)) in used.iter().zip(&factors).enumerate() {
                accumulate(&mut sums[*k].d, &work.sums[..c], *m);
                accumulate(&mut sums[*k].d_y, &work.sums[(1 + j) * c..][..c], *m);
                if let Some(t) = tangents.iter().position(|t| *t == j) {
                    accumulate(&mut sums[*k].d_dot, &work.sums[(1 + used.len() + t) * c..][..c], *m);
                }
            }
        }
    }

    /// Gradients of p and its tangent.
    fn mixing_gradients(&self, branches: &[Branch], sums: &[Sums], out: &mut CellGradient) {
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

    fn outer_gradient(&self, b: &Branch, norm: usize, sums: &Sums) -> Gradient {
        let weights = self.weights_of(b);
        gradient(&self.norms[norm], self.dot.map(|d| &d.norms[norm]), sums, |_| weights)
    }

    fn plain_gradient(&self, norm: usize, sums: &Sums) -> Gradient {
        gradient(&self.norms[norm], self.dot.map(|d| &d.norms[norm]), sums, |_| (1.0, 0.0))
    }

    /// From a node's gradient through the second stage of a branch to the batch norm behind its first, with the sums of
    /// that one.
    fn inner_gradient(
        &self,
        chunk: &mut Chunk<'_>,
        place: usize,
        known: &[Gradient],
        i: usize,
        work: &mut Work,
        sums: &mut Sums,
    ) {
        let (plan, isa, c, px) = (self.plan, self.plan.isa, self.plan.c, self.plan.px(2));
        let b = &plan.branches[place];
        let [first, second] = b.placed() else { return };
        let image = i * px * c..(i + 1) * px * c;
        let mut to_g = std::mem::take(&mut chunk.inner_g[place]);
        let mut to_d = chunk.dual.as_mut().map(|d| std::mem::take(&mut d.inner_d[place]));
        let Work { scratch, sums: both } = work;
        both.clear();
        both.resize(4 * c, 0.0);
        let (of_g, of_d) = both.split_at_mut(2 * c);
        let destination = |out, sums| Destination { out, stride: c, accumulate: false, sums: Some(sums) };
        let targets = (
            Some(destination(&mut to_g[image.clone()], &mut *of_g)),
            to_d.as_mut().map(|d| destination(&mut d[image.clone()], &mut *of_d)),
        );
        let reading = Reading::inner(plan, &self.affines, first);
        let r = reading.feed(chunk.bufs, chunk.first, i);
        let at_norm = self.at_norm(chunk, second, i);
        let node = 2 + b.node;
        let behind = AtNorm {
            g: &chunk.state_g[node][image.clone()],
            d: chunk.dual.as_ref().map(|d| &d.state_d[node][image.clone()]),
            coef: &known[second.norm],
            m: factor(&self.noise.drop_path, plan.n, b.edge, chunk.first + i),
        };
        self.stage_vjp(second, &r, &at_norm, &behind, targets, &mut chunk.dw, scratch);
        accumulate(&mut sums.g, &of_g[..c], 1.0);
        accumulate(&mut sums.g_y, &of_g[c..], 1.0);
        chunk.inner_g[place] = to_g;
        if let (Some(d), Some(dual)) = (to_d, &mut chunk.dual) {
            accumulate(&mut sums.d, &of_d[..c], 1.0);
            accumulate(&mut sums.d_y, &of_d[c..], 1.0);
            let y_dot = &dual.dots[first.norm][image.clone()];
            dots(isa, px, c, (&d[image], c), &[(y_dot, c)], of_g);
            accumulate(&mut sums.d_dot, &of_g[c..], 1.0);
            dual.inner_d[place] = d;
        }
    }

    /// Image i of what a stage gave to its batch norm, and of its tangent.
    fn at_norm<'b>(&self, chunk: &Chunk<'b>, placed: &Placed, i: usize) -> (&'b [f32], Option<&'b [f32]>) {
        let len = placed.stage.len_out();
        let image = i * len..(i + 1) * len;
        (&chunk.bufs[placed.norm][image.clone()], chunk.dual.as_ref().map(|d| &d.dots[placed.norm][image]))
    }

    /// Transposes a stage and the batch norm behind it.
    #[allow(clippy::too_many_arguments)]
    fn stage_vjp(
        &self,
        placed: &Placed,
        r: &Feed<'_>,
        (y, y_dot): &(&[f32], Option<&[f32]>),
        behind: &AtNorm<'_>,
        (to_g, to_d): (Option<Destination<'_>>, Option<Destination<'_>>),
        dw: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let (isa, stage, at, c) = (self.plan.isa, &placed.stage, placed.weights, placed.stage.c_out());
        let AtNorm { g, d, coef, m } = *behind;
        let (w, w_t) = (stage.factors(&self.input.w[at..]), stage.factors(&self.w_t[at..]));
        let n_weights: usize = stage.weight_lens().iter().sum();
        let dw = (self.want.w && n_weights > 0).then(|| &mut dw[at..at + n_weights]);
        let of_node = |data, coef| Source { data, stride: c, coef, factor: m };
        let of_g = of_node(g, &coef.of_g);
        let of_y = Source::new(y, c, &coef.of_y);
        let (Some(d), Some(y_dot)) = (d, y_dot) else {
            let g = Cotangent { sources: &[of_g, of_y], shift: &coef.shift };
            return stage.vjp(isa, r, w, w_t, &g, to_g, dw, scratch);
        };
        let sources = [of_g, of_node(d, &coef.of_d), Source::new(y_dot, c, &coef.of_dot), of_y];
        let g = Cotangent { sources: &sources, shift: &coef.shift };
        let sources = [of_node(d, &coef.dot_of_d), Source::new(y, c, &coef.dot_of_y)];
        let g_dot = Cotangent { sources: &sources, shift: &coef.dot_shift };
        let Some(Destination { out, stride, accumulate, mut sums }) = to_g else {
            return stage.vjp(isa, r, w, w_t, &g, None, dw, scratch);
        };
        let mut add = |g: &Cotangent<'_>, w, w_t, accumulate, dw: Option<&mut [f32]>| {
            let to = Destination { out: &mut *out, stride, accumulate, sums: sums.as_deref_mut() };
            stage.vjp(isa, r, w, w_t, g, Some(to), dw, scratch);
        };
        add(&g, w, w_t, accumulate, dw);
        if let (Some(w_dot_t), Some(w_dot)) = (&self.w_dot_t, self.tangent.and_then(|t| t.w)) {
            let (w_dot, w_dot_t) = (stage.factors(&w_dot[at..]), stage.factors(&w_dot_t[at..]));
            let pairs = stage.tangent_factors(w, w_dot).into_iter().zip(stage.tangent_factors(w_t, w_dot_t));
            for (w, w_t) in pairs {
                add(&g_dot, w, w_t, true, None);
            }
        }
        if let Some(to_d) = to_d {
            stage.vjp(isa, r, w, w_t, &g_dot, Some(to_d), None, scratch);
        }
    }

    /// Through the first stage of a branch into the gradient of its state.
    #[allow(clippy::too_many_arguments)]
    fn state_stage(
        &self,
        chunk: &mut Chunk<'_>,
        state: usize,
        placed: &Placed,
        behind: &AtNorm<'_>,
        accumulate: bool,
        i: usize,
        work: &mut Work,
    ) {
        let (plan, c) = (self.plan, self.plan.c);
        let len = plan.px(state) * c;
        let mut to_g = std::mem::take(&mut chunk.state_g[state]);
        let mut to_d = chunk.dual.as_mut().map(|d| std::mem::take(&mut d.state_d[state]));
        let range = i * len..(i + 1) * len;
        let destination = |out| Destination { out, stride: c, accumulate, sums: None };
        let targets = (Some(destination(&mut to_g[range.clone()])), to_d.as_mut().map(|d| destination(&mut d[range])));
        let reading = Reading::state(plan, &self.affines, state, &placed.stage);
        let r = reading.feed(chunk.bufs, chunk.first, i);
        let at_norm = self.at_norm(chunk, placed, i);
        self.stage_vjp(placed, &r, &at_norm, behind, targets, &mut chunk.dw, &mut work.scratch);
        chunk.state_g[state] = to_g;
        if let (Some(dual), Some(d)) = (&mut chunk.dual, to_d) {
            dual.state_d[state] = d;
        }
    }

    /// A skip connection: the state's gradient takes the node's, weighted.
    fn identity(&self, chunk: &mut Chunk<'_>, b: &Branch, m: f32, accumulate: bool, i: usize) {
        let (isa, c, px, node) = (self.plan.isa, self.plan.c, self.plan.px(2), b.node);
        let (p, p_dot) = self.weights_of(b);
        let image = i * px * c..(i + 1) * px * c;
        let weighted = |data, weight: f64| Source { data, stride: c, coef: &[], factor: m * weight as f32 };
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

    /// Adds this image to the sums of a preprocess block.
    fn pre_sums(&self, chunk: &Chunk<'_>, state: usize, i: usize, work: &mut Work, sums: &mut Sums) {
        let (isa, c, px) = (self.plan.isa, self.plan.c, self.plan.px(state));
        let image = i * px * c..(i + 1) * px * c;
        let y = (&chunk.bufs[state][image.clone()], c);
        work.sums.resize(3 * c, 0.0);
        dots(isa, px, c, (&chunk.state_g[state][image.clone()], c), &[y], &mut work.sums);
        accumulate(&mut sums.g, &work.sums[..c], 1.0);
        accumulate(&mut sums.g_y, &work.sums[c..2 * c], 1.0);
        if let Some(dual) = &chunk.dual {
            let y_dot = (&dual.dots[state][image.clone()], c);
            dots(isa, px, c, (&dual.state_d[state][image], c), &[y, y_dot], &mut work.sums);
            accumulate(&mut sums.d, &work.sums[..c], 1.0);
            accumulate(&mut sums.d_y, &work.sums[c..2 * c], 1.0);
            accumulate(&mut sums.d_dot, &work.sums[2 * c..3 * c], 1.0);
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
        let plan = self.plan;
        for state in (0..2).filter(|s| self.needs[*s]) {
            let placed = &plan.pre[state];
            let (c_in, len) = (plan.inputs[state].0, plan.input_len(state));
            let range = i * plan.px(state) * plan.c..(i + 1) * plan.px(state) * plan.c;
            let g = std::mem::take(&mut chunk.state_g[state]);
            let d = chunk.dual.as_mut().map(|dual| std::mem::take(&mut dual.state_d[state]));
            let behind =
                AtNorm { g: &g[range.clone()], d: d.as_ref().map(|d| &d[range.clone()]), coef: &pre[state], m: 1.0 };
            let reading = Reading::input(plan, state, [self.input.s0, self.input.s1][state]);
            let r = reading.feed(chunk.bufs, chunk.first, i);
            let [g0, g1, d0, d1] = &mut *parts;
            let (values, tangents) = ([g0, g1], [d0, d1]);
            let mut image_of = [values, tangents].map(|p| p.into_iter().nth(state).and_then(|p| p.as_deref_mut()));
            let [g_to, d_to] = image_of.each_mut().map(|p| {
                p.take().map(|all| Destination {
                    out: &mut all[i * len..(i + 1) * len],
                    stride: c_in,
                    accumulate: false,
                    sums: None,
                })
            });
            let at_norm = self.at_norm(chunk, placed, i);
            self.stage_vjp(placed, &r, &at_norm, &behind, (g_to, d_to), &mut chunk.dw, &mut work.scratch);
            chunk.state_g[state] = g;
            if let (Some(dual), Some(d)) = (&mut chunk.dual, d) {
                dual.state_d[state] = d;
            }
        }
    }
}
