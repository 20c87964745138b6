//! The transpose of a cell, and of a cell with its tangent.
//!
//! [`vjp`] takes the gradient g of the output and returns those of s0, s1, p and w. Let d be the gradient of the
//! tangent output, which goes back to the gradients of the tangents of s0, s1 and p as g goes to those of the values,
//! whatever the direction. So d is sent through once by a `vjp` that keeps what it made ([`Kept`]), and given that and
//! what [`jvp`] left for a direction, `vjp` returns the gradients of s0, s1 and p that come from g and from d: the vjp
//! of the jvp. There w stays a constant: second derivatives of the search end in p (alpha), never in w.
//!
//! The steps of the way are those of `passes.rs`. The gradient between two stages takes the place of the branch's output
//! where nobody needs that again ([`vjp_last`]); otherwise it is held from one stage to the other, or kept.
//!
//! [`jvp`]: crate::cell::jvp

mod images;

mod norms;

mod steps;

use rayon::prelude::*;

use crate::Kernels;
use crate::cell::{CellInput, CellTangent, Saved, SavedDot, in_pool};
use crate::norm::{Affine, Gradient, Norm, Sums};
use crate::passes::{Back, BackStep, Pass};
use crate::plan::{NormKind, Plan};
use crate::spec::CellNoise;
use images::{Bufs, Chunk, Inside};

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
pub struct Pushforward<'a> {
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

/// Everything constant during the call.
struct Context<'a> {
    kernels: &'a Kernels,
    plan: &'a Plan,
    input: CellInput<'a>,
    noise: &'a CellNoise,
    norms: &'a [Norm],
    pushed: Option<Pushforward<'a>>,
    w_t: Vec<f32>,
    /// The tangents of the weights, transposed.
    w_dot_t: Option<Vec<f32>>,
    affines: Vec<Affine>,
    want: Want,
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
    pushed: Option<Pushforward<'_>>,
    want: Want,
) -> CellGradient {
    let bufs = saved.chunks.iter().map(|bufs| Bufs::Shared(bufs)).collect();
    in_pool(|| vjp_in_pool(&saved.kernels, input, out, noise, (&saved.plan, &saved.norms), bufs, g, pushed, want))
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
    in_pool(|| vjp_in_pool(&saved.kernels, input, out, noise, (&saved.plan, &saved.norms), bufs, g, None, want))
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
    let of_value = vjp(input, out, noise, saved, g, Some(Pushforward { tangent, saved: dot, kept }), want);
    [of_value, of_tangent]
}

#[allow(clippy::too_many_arguments)]
fn vjp_in_pool(
    kernels: &Kernels,
    input: CellInput<'_>,
    out: &[f32],
    noise: &CellNoise,
    (plan, norms): (&Plan, &[Norm]),
    bufs: Vec<Bufs<'_>>,
    g: &[f32],
    pushed: Option<Pushforward<'_>>,
    want: Want,
) -> CellGradient {
    assert!(g.len() == plan.n * plan.out_len() && out.len() == g.len(), "gradient of the output");
    assert!(!((want.w || want.keep) && pushed.is_some()), "second derivatives end in the mixing weights");
    let is_discrete = plan.norms.iter().any(|(kind, _)| *kind != NormKind::Plain);
    assert!(
        !(is_discrete && (want.p || want.keep || pushed.is_some())),
        "a discrete cell has gradients of its weights"
    );
    let ctx = Context {
        kernels,
        plan,
        input,
        noise,
        norms,
        pushed,
        w_t: plan.transpose_weights(input.w),
        w_dot_t: pushed.and_then(|d| d.tangent.w).map(|w| plan.transpose_weights(w)),
        affines: norms.iter().map(Norm::affine).collect(),
        want,
    };
    let in_place = matches!(bufs[0], Bufs::Own(_));
    let back = Back { plan, want, in_place, moves: pushed.map(|pushed| &pushed.saved.moves) };
    let passes = back.passes();
    let mut states = [want.s0, want.s1].map(|_| Vec::new());
    for (i, wanted) in [want.s0, want.s1].into_iter().enumerate() {
        if wanted {
            states[i] = kernels.workspace().take_gradient(plan.n * plan.input_len(i));
        }
    }
    let mut chunks = ctx.chunks(&back, &passes, bufs, (out, g), &mut states);
    let mut p = vec![0.0; if want.p { plan.n_alphas } else { 0 }];
    let mut kept = Kept::new(plan);
    // The gradients at the batch norms, as they become known.
    let mut known: Vec<Gradient> = vec![Gradient::default(); plan.n_norms];
    ctx.learn_identities(&mut known);
    // Of scales and shifts, as they become known.
    let mut factors = Vec::new();
    for pass in &passes {
        ctx.learn_shared(pass, &mut known, &kept.outer);
        let mut sums = ctx.run(&mut chunks, pass, &known).into_iter();
        pass.iter().for_each(|step| ctx.learn(step, &mut sums, &mut p, &mut known, &mut kept, &mut factors));
    }
    let mut w = if want.w { ctx.weights(&chunks) } else { Vec::new() };
    for (at, gradients) in factors {
        w[at..at + gradients.len()].copy_from_slice(&gradients);
    }
    kept.chunks = chunks.into_iter().map(|chunk| chunk.inside).collect();
    let [s0, s1] = states;
    CellGradient { s0, s1, p, w, kept: want.keep.then_some(kept) }
}

impl Kept {
    fn new(plan: &Plan) -> Self {
        let sums = |n: usize| vec![Sums::new(plan.c); n];
        let n = plan.branches.len();
        Self { chunks: Vec::new(), outer: sums(n), inner: sums(n), pre: sums(2) }
    }
}

impl<'a> Context<'a> {
    /// One pass over all images: the sums of its steps, of all groups in their order.
    fn run(&self, chunks: &mut [Chunk<'a>], pass: &Pass<BackStep>, known: &[Gradient]) -> Vec<Sums> {
        let new = || vec![Sums::new(self.plan.c); pass.iter().map(BackStep::n_sums).sum()];
        let of_chunk = |chunk: &mut Chunk<'a>| {
            let mut sums = new();
            self.kernels.workspace().with_work(|work| {
                for span in self.plan.spans(chunk.n, &self.noise.drop_path) {
                    let mut rest = &mut sums[..];
                    for step in pass {
                        let (own, behind) = rest.split_at_mut(step.n_sums());
                        self.step(chunk, step, known, span, work, own);
                        rest = behind;
                    }
                }
            });
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
        let mut w = self.kernels.workspace().take_vec(self.plan.n_weights);
        w.par_chunks_mut(PIECE).enumerate().for_each(|(at, w)| {
            w.fill(0.0);
            for chunk in chunks {
                let part = &chunk.dw[at * PIECE..][..w.len()];
                w.iter_mut().zip(part).for_each(|(w, d)| *w += d);
            }
        });
        w
    }
}
