//! One cell of the supernet, fused: value and tangent of all its edges, unit by unit (see `plan.rs`).
//!
//! With states h_0, h_1 (preprocessed inputs) and h_(2+i) (nodes), mixing weights p and drop-path factors m,
//!
//! h_(2+i) = sum over edges e = (j, i) of m_e * sum_k p_ek * o_ek(h_j),   output = concat of all nodes.
//!
//! A discrete cell is the same with p = 1 on the operations that it has and m for each of them by itself.
//!
//! * [`forward`] leaves in [`Saved`] the output of every stage before its batch norm, and the statistics.
//! * [`jvp`] moves along (s0', s1', p', w') and leaves the tangents in [`SavedDot`].
//! * `vjp` in `backward` is the transpose of the first and, given a [`SavedDot`], of both at once.
//!
//! [`infer`] gives the value of a discrete cell alone, a few images at a time through all of its steps.
//!
//! Forward and jvp take the steps that `passes.rs` lists. A stage's output stays in the second cache level between the linear map that
//! makes it and the sums over it.

mod value;

mod tangent;

#[cfg(test)]
mod tests;

pub use tangent::jvp;
pub use value::{forward, infer};

use crate::Kernels;
use crate::norm::{Norm, NormTangent};
use crate::passes::Moves;
use crate::plan::{NormKind, Plan, Span};
use crate::spec::CellNoise;
use crate::stage::Scratch;
use crate::workspace::Buffer;
use rdarts_simd::Isa;
use rdarts_simd::aligned::Aligned;
use rdarts_simd::blend::{Source, blend};

/// Tensors a cell is evaluated at.
#[derive(Clone, Copy, Debug)]
pub struct CellInput<'a> {
    /// Output of the cell before the last, (n, h0, w0, c_prev_prev).
    pub s0: &'a [f32],
    /// Output of the last cell, (n, h1, w1, c_prev).
    pub s1: &'a [f32],
    /// Mixing weights, one per operation of each edge, in edge order.
    pub p: &'a [f32],
    /// All weights, in the order of [`CellSpec::weights`](crate::spec::CellSpec::weights).
    pub w: &'a [f32],
    /// Means and variances that a discrete cell's batch norms use, in the order of
    /// [`CellSpec::norms`](crate::spec::CellSpec::norms), as [`infer`] does; `None`: those of the batch.
    pub running: Option<&'a [f32]>,
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
    /// Of that pass, and of those that follow it.
    pub(crate) kernels: Kernels,
    pub(crate) plan: Plan,
    /// Per group of images, per buffer of the plan; those of nodes are empty, nodes lie in the output.
    pub(crate) chunks: Vec<Vec<Buffer>>,
    pub(crate) norms: Vec<Norm>,
}

impl Saved {
    /// Means and unbiased variances of a discrete cell's batch norms, in the order of
    /// [`CellSpec::norms`](crate::spec::CellSpec::norms): what running statistics follow.
    pub fn statistics(&self) -> Vec<f64> {
        let own =
            self.plan.norms.iter().zip(&self.norms).filter(|((kind, _), _)| matches!(kind, NormKind::Affine { .. }));
        own.flat_map(|(_, norm)| norm.mean.iter().copied().chain(norm.unbiased_variance())).collect()
    }
}

/// What the jvp leaves for its vjp.
#[derive(Debug)]
pub struct SavedDot {
    /// As in [`Saved`], but none of noise, and empty where nothing moves, as for nodes, whose tangents lie in `out_dot`.
    pub(crate) chunks: Vec<Vec<Buffer>>,
    pub(crate) norms: Vec<NormTangent>,
    pub(crate) moves: Moves,
    /// The node tangents, as in the output.
    pub(crate) out_dot: Buffer,
}

impl SavedDot {
    /// Tangent of the output.
    pub fn out_dot(&self) -> &[f32] {
        &self.out_dot
    }
}

/// Runs f on a thread of the pool. The passes follow each other in microseconds: begun from outside, every one of
/// them would put the caller to sleep and wake it up again (a third of the time on a busy machine, see LOG.md).
pub fn in_pool<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| f())
}

/// Buffers of a few images, kept per thread.
#[derive(Default)]
pub(crate) struct ThreadBuffers {
    pub scratch: Scratch,
    /// Channel sums of them.
    pub sums: Vec<f32>,
    /// A node of them, dense: the output, where it goes, is also what some of its summands are read from.
    pub node: Aligned,
}

/// The drop-path factor of an edge, or of an operation of a discrete cell, and an image.
pub(crate) fn factor(drop_path: &[f32], n: usize, path: usize, image: usize) -> f32 {
    if drop_path.is_empty() { 1.0 } else { drop_path[path * n + image] }
}

/// Sums up a node, or its tangent, of a few images, dense.
fn sum_node(isa: Isa, plan: &Plan, sources: &[Source<'_>], shift: &[f32], span: Span, node: &mut Aligned) {
    let px = span.n * plan.px(2);
    node.resize(px * plan.c);
    blend(isa, px, plan.c, sources, shift, false, node, plan.c);
}

/// Copies it to its place in the output.
fn copy_to_output(isa: Isa, plan: &Plan, node: usize, images: &[f32], span: Span, out: &mut [f32]) {
    let (from, pitch) = plan.in_output(node, span);
    let images = Source::new(images, plan.c, &[]);
    blend(isa, span.n * plan.px(2), plan.c, &[images], &[], false, &mut out[from..], pitch);
}

fn check(plan: &Plan, input: &CellInput<'_>, noise: &CellNoise) {
    assert_eq!(input.s0.len(), plan.n * plan.input_len(0), "s0");
    assert_eq!(input.s1.len(), plan.n * plan.input_len(1), "s1");
    assert_eq!(input.p.len(), plan.n_alphas, "mixing weights");
    assert_eq!(input.w.len(), plan.n_weights, "weights");
    assert!(input.running.is_none_or(|running| running.len() == plan.n_running), "running statistics");
    assert!(noise.drop_path.is_empty() || noise.drop_path.len() == plan.n_paths * plan.n, "drop path factors");
}
