//! The supernet as three differentiable operations: stem, cell, head.
//!
//! Each is a node of Burn's tape with a hand-registered backward: the tape sees one step for a whole cell,
//! so what a backend does inside (compose primitives, run fused kernels) costs the tape nothing. The default
//! bodies compose primitives and are exact on any backend and any float type ([`crate::composed`]).
//!
//! Activations are (n, h, w, c). The mixing weights `p` are softmaxed outside the tape and lie flat in edge
//! order; `w` is the flat weight slice of the module (`CellSpec::weights`).
//!
//! # Dual calls
//! With `dual` set every tensor carries a value and a tangent, and the operation computes
//! (f(x), J_f(x) x-dot): forward-mode differentiation written so that its own reverse pass is exact. Stacking:
//! activations and logits along the batch (n values, then n tangents), `p` and `w` along their only axis.
//! The reverse pass of a dual program is a Hessian-vector product: the curvature of the validation loss that
//! "Understanding and Robustifying Differentiable Architecture Search" watches (section 4).

use std::fmt::Debug;
use std::marker::PhantomData;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;
use rdarts_kernels::Kernels;

use crate::calls::{AuxiliaryCall, Call, CellCall, CellWant, HeadCall, HeadWant, StemCall};
use crate::composed;

/// The differentiable operations of the supernet.
#[backend_extension(Flex, Cube: cfg(feature = "gpu"), Autodiff)]
pub trait SearchOps: Backend {
    /// Convolution 3x3 and affine batch norm: images (n, h, w, c_in) to (n, h, w, c_out).
    fn stem(x: FloatTensor<Self>, w: FloatTensor<Self>, call: StemCall) -> FloatTensor<Self> {
        composed::stem::<Self>(x, w, &call)
    }

    /// The gradient of `<stem, g>` with respect to `w`; the images are data.
    fn stem_vjp(x: FloatTensor<Self>, w: FloatTensor<Self>, g: FloatTensor<Self>, call: StemCall) -> FloatTensor<Self> {
        composed::stem_vjp::<Self>(x, w, g, &call)
    }

    /// One cell: states (n, h, w, c_prev_prev) and (n, h, w, c_prev) to (n, ho, wo, nodes * c).
    fn cell(
        s0: FloatTensor<Self>,
        s1: FloatTensor<Self>,
        p: FloatTensor<Self>,
        w: FloatTensor<Self>,
        call: CellCall,
    ) -> FloatTensor<Self> {
        composed::cell::<Self>(s0, s1, p, w, &call)
    }

    /// The gradients of `<cell, g>` with respect to (s0, s1, p, w).
    fn cell_vjp(
        s0: FloatTensor<Self>,
        s1: FloatTensor<Self>,
        p: FloatTensor<Self>,
        w: FloatTensor<Self>,
        g: FloatTensor<Self>,
        call: CellCall,
        want: CellWant,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        composed::cell_vjp::<Self>([s0, s1, p, w], g, &call, want)
    }

    /// The mean over pixels and a linear layer: (n, h, w, c) to logits (n, classes).
    fn head(s: FloatTensor<Self>, w: FloatTensor<Self>, call: HeadCall) -> FloatTensor<Self> {
        composed::head::<Self>(s, w, &call)
    }

    /// The gradients of `<head, g>` with respect to (s, w).
    fn head_vjp(
        s: FloatTensor<Self>,
        w: FloatTensor<Self>,
        g: FloatTensor<Self>,
        call: HeadCall,
        want: HeadWant,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        composed::head_vjp::<Self>(s, w, g, &call, want)
    }

    /// The auxiliary head of a training: (n, h, w, c) to logits (n, classes). It has no dual call.
    fn auxiliary(s: FloatTensor<Self>, w: FloatTensor<Self>, call: AuxiliaryCall) -> FloatTensor<Self> {
        composed::auxiliary::<Self>(s, w, &call)
    }

    /// The gradients of `<auxiliary, g>` with respect to (s, w).
    fn auxiliary_vjp(
        s: FloatTensor<Self>,
        w: FloatTensor<Self>,
        g: FloatTensor<Self>,
        call: AuxiliaryCall,
        want: HeadWant,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        composed::auxiliary_vjp::<Self>(s, w, g, &call, want)
    }

    /// The sum of two gradients of the same shape.
    fn accumulate(total: FloatTensor<Self>, g: FloatTensor<Self>, _kernels: Kernels) -> FloatTensor<Self> {
        Self::float_add(total, g)
    }
}

/// [`SearchOps::stem`] on tensors: images (n, h, w, c_in) and flat weights.
pub fn stem(x: Tensor<4>, w: Tensor<1>, call: StemCall) -> Tensor<4> {
    Tensor::from_dispatch(<Dispatch as SearchOps>::stem(x.into_dispatch(), w.into_dispatch(), call))
}

/// [`SearchOps::cell`] on tensors: two states (n, h, w, c), flat mixing weights and flat weights.
pub fn cell(s0: Tensor<4>, s1: Tensor<4>, p: Tensor<1>, w: Tensor<1>, call: CellCall) -> Tensor<4> {
    Tensor::from_dispatch(<Dispatch as SearchOps>::cell(
        s0.into_dispatch(),
        s1.into_dispatch(),
        p.into_dispatch(),
        w.into_dispatch(),
        call,
    ))
}

/// [`SearchOps::head`] on tensors: a state (n, h, w, c) and flat weights.
pub fn head(s: Tensor<4>, w: Tensor<1>, call: HeadCall) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as SearchOps>::head(s.into_dispatch(), w.into_dispatch(), call))
}

/// [`SearchOps::auxiliary`] on tensors: a state (n, h, w, c) and flat weights.
pub fn auxiliary(s: Tensor<4>, w: Tensor<1>, call: AuxiliaryCall) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as SearchOps>::auxiliary(s.into_dispatch(), w.into_dispatch(), call))
}

impl<B: SearchOps, C: CheckpointStrategy> SearchOps for Autodiff<B, C> {
    fn stem(x: FloatTensor<Self>, w: FloatTensor<Self>, call: StemCall) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Stem;
        impl<B: SearchOps> Backward<B, 1> for Stem {
            type State = (FloatTensor<B>, FloatTensor<B>, StemCall);
            fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
                let [node_w] = ops.parents;
                let g = grads.consume::<B>(&ops.node);
                let (x, w, call) = ops.state;
                if let Some(node) = node_w {
                    grads.register::<B>(node.id, B::stem_vjp(x, w, g, call));
                }
            }
        }
        let node = w.node();
        let (x, w) = (x.into_primitive(), w.into_primitive());
        match Stem.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let out = B::stem(x.clone(), w.clone(), call.clone());
                prep.finish((x, w, call), out)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::stem(x, w, call.untracked())),
        }
    }

    fn cell(
        s0: FloatTensor<Self>,
        s1: FloatTensor<Self>,
        p: FloatTensor<Self>,
        w: FloatTensor<Self>,
        call: CellCall,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Cell;
        impl<B: SearchOps> Backward<B, 4> for Cell {
            type State = ([FloatTensor<B>; 4], CellCall);
            fn backward(self, ops: Ops<Self::State, 4>, grads: &mut Gradients, _: &mut Checkpointer) {
                let g = grads.consume::<B>(&ops.node);
                let ([s0, s1, p, w], call) = ops.state;
                let tracked = ops.parents.each_ref().map(Option::is_some);
                let want = CellWant { s0: tracked[0], s1: tracked[1], p: tracked[2], w: tracked[3] };
                let (kernels, ledger) = (call.mode.kernels.clone(), call.mode.ledger.clone());
                let (g0, g1, gp, gw) = B::cell_vjp(s0, s1, p, w, g, call, want);
                let [s0, s1, p, w] = ops.parents;
                for (node, g) in [(s0, g0), (s1, g1)] {
                    let Some(node) = node else { continue };
                    // A leaf keeps its gradient when it is consumed, so the tape must add to it.
                    let is_leaf = node.parents.is_empty();
                    let g = if !is_leaf && ledger.enter(node.id.value) {
                        B::accumulate(grads.consume::<B>(&node), g, kernels.clone())
                    } else {
                        g
                    };
                    grads.register::<B>(node.id, g);
                }
                for (node, g) in [(p, gp), (w, gw)] {
                    if let Some(node) = node {
                        grads.register::<B>(node.id, g);
                    }
                }
            }
        }
        let nodes = [s0.node(), s1.node(), p.node(), w.node()];
        let [s0, s1, p, w] = [s0, s1, p, w].map(|t| t.into_primitive());
        match Cell.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let out = B::cell(s0.clone(), s1.clone(), p.clone(), w.clone(), call.clone());
                prep.finish(([s0, s1, p, w], call), out)
            }
            OpsKind::UnTracked(prep) => {
                prep.finish(B::cell(s0, s1, p, w, CellCall { mode: call.mode.untracked(), ..call }))
            }
        }
    }

    fn head(s: FloatTensor<Self>, w: FloatTensor<Self>, call: HeadCall) -> FloatTensor<Self> {
        head_step::<B, C, _>(s, w, call, B::head, B::head_vjp)
    }

    fn auxiliary(s: FloatTensor<Self>, w: FloatTensor<Self>, call: AuxiliaryCall) -> FloatTensor<Self> {
        head_step::<B, C, _>(s, w, call, B::auxiliary, B::auxiliary_vjp)
    }

    // The reverse passes run on the inner backend. A derivative of them is the reverse pass of a dual call,
    // so they are constants here, and overriding the default bodies also ends the tower of tapes.
    fn stem_vjp(x: FloatTensor<Self>, w: FloatTensor<Self>, g: FloatTensor<Self>, call: StemCall) -> FloatTensor<Self> {
        let [x, w, g] = [x, w, g].map(|t| t.into_primitive());
        constant::<B, C>(B::stem_vjp(x, w, g, call))
    }

    fn cell_vjp(
        s0: FloatTensor<Self>,
        s1: FloatTensor<Self>,
        p: FloatTensor<Self>,
        w: FloatTensor<Self>,
        g: FloatTensor<Self>,
        call: CellCall,
        want: CellWant,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let [s0, s1, p, w, g] = [s0, s1, p, w, g].map(|t| t.into_primitive());
        let (g0, g1, gp, gw) = B::cell_vjp(s0, s1, p, w, g, call, want);
        (constant::<B, C>(g0), constant::<B, C>(g1), constant::<B, C>(gp), constant::<B, C>(gw))
    }

    fn head_vjp(
        s: FloatTensor<Self>,
        w: FloatTensor<Self>,
        g: FloatTensor<Self>,
        call: HeadCall,
        want: HeadWant,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let [s, w, g] = [s, w, g].map(|t| t.into_primitive());
        let (gs, gw) = B::head_vjp(s, w, g, call, want);
        (constant::<B, C>(gs), constant::<B, C>(gw))
    }

    fn auxiliary_vjp(
        s: FloatTensor<Self>,
        w: FloatTensor<Self>,
        g: FloatTensor<Self>,
        call: AuxiliaryCall,
        want: HeadWant,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let [s, w, g] = [s, w, g].map(|t| t.into_primitive());
        let (gs, gw) = B::auxiliary_vjp(s, w, g, call, want);
        (constant::<B, C>(gs), constant::<B, C>(gw))
    }
}

/// [`SearchOps::head_vjp`] or [`SearchOps::auxiliary_vjp`].
type HeadVjp<B, S> =
    fn(FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, Call<S>, HeadWant) -> (FloatTensor<B>, FloatTensor<B>);

/// A head as a step of the tape, whichever of the two it is.
fn head_step<B: SearchOps, C: CheckpointStrategy, S: Clone + Debug + Send + 'static>(
    s: FloatTensor<Autodiff<B, C>>,
    w: FloatTensor<Autodiff<B, C>>,
    call: Call<S>,
    forward: fn(FloatTensor<B>, FloatTensor<B>, Call<S>) -> FloatTensor<B>,
    vjp: HeadVjp<B, S>,
) -> FloatTensor<Autodiff<B, C>> {
    #[derive(Debug)]
    struct Head<S>(PhantomData<S>);
    impl<B: SearchOps, S: Clone + Debug + Send + 'static> Backward<B, 2> for Head<S> {
        type State = (FloatTensor<B>, FloatTensor<B>, Call<S>, HeadVjp<B, S>);
        fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
            let [node_s, node_w] = ops.parents;
            let g = grads.consume::<B>(&ops.node);
            let (s, w, call, vjp) = ops.state;
            let (gs, gw) = vjp(s, w, g, call, HeadWant { s: node_s.is_some(), w: node_w.is_some() });
            for (node, g) in [(node_s, gs), (node_w, gw)] {
                if let Some(node) = node {
                    grads.register::<B>(node.id, g);
                }
            }
        }
    }
    let nodes = [s.node(), w.node()];
    let (s, w) = (s.into_primitive(), w.into_primitive());
    match Head::<S>(PhantomData).prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let out = forward(s.clone(), w.clone(), call.clone());
            prep.finish((s, w, call, vjp), out)
        }
        OpsKind::UnTracked(prep) => prep.finish(forward(s, w, call.untracked())),
    }
}

/// A tensor that no gradient flows through.
fn constant<B: Backend, C: CheckpointStrategy>(t: FloatTensor<B>) -> FloatTensor<Autodiff<B, C>> {
    <Autodiff<B, C> as burn::backend::AutodiffBackend>::from_inner(t)
}
