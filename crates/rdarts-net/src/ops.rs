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

use std::any::Any;
use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex};

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;
use rdarts_kernels::spec::{CellNoise, CellSpec, HeadSpec, StemSpec};

use crate::composed;

/// A place on the tape where the forward pass of one call leaves what its backward pass can use: saved
/// statistics, masks, intermediate activations. What lies in it is the implementation's own business.
pub struct Slot {
    open: bool,
    content: Mutex<Option<Arc<dyn Any + Send + Sync>>>,
}

impl Slot {
    /// A slot that keeps what is put in.
    pub fn open() -> Arc<Self> {
        Arc::new(Self { open: true, content: Mutex::new(None) })
    }

    /// A slot that drops what is put in: no backward pass will follow.
    pub fn closed() -> Arc<Self> {
        Arc::new(Self { open: false, content: Mutex::new(None) })
    }

    /// Whether it is worth computing something only to put it here.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Leaves a value, in place of an earlier one.
    pub fn put<T: Any + Send + Sync>(&self, value: T) {
        if self.open {
            *self.lock() = Some(Arc::new(value));
        }
    }

    /// Leaves a value that is shared already.
    pub fn put_shared<T: Any + Send + Sync>(&self, value: Arc<T>) {
        if self.open {
            *self.lock() = Some(value);
        }
    }

    /// The value, shared; none if there is none or it is of another type.
    pub fn get<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.lock().clone()?.downcast().ok()
    }

    /// The value, leaving the slot empty; none, leaving it as it is, if there is none or it is of another type.
    pub fn take<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let mut content = self.lock();
        if !content.as_ref()?.is::<T>() {
            return None;
        }
        content.take()?.downcast().ok()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<dyn Any + Send + Sync>>> {
        // Nothing panics while the lock is held, and a value put in whole is valid even then.
        self.content.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if !self.open {
            "closed"
        } else if self.lock().is_some() {
            "full"
        } else {
            "empty"
        };
        write!(f, "Slot({state})")
    }
}

/// Which tensors of a pass have a gradient already. A state of the supernet feeds up to two cells, so its
/// gradient is a sum: the second cell looks here and adds with [`SearchOps::accumulate`], which is free to use all
/// threads and the memory of its arguments. Without an entry the tape adds, to the same values.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<HashSet<u64>>);

impl Ledger {
    /// Enters a node of the tape; whether it was there already.
    fn enter(&self, node: u64) -> bool {
        !self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(node)
    }
}

/// How a module is called: what is constant and what rides beside the tensors.
#[derive(Clone, Debug)]
pub struct Mode {
    /// Tensors carry values and tangents.
    pub dual: bool,
    /// The tangent of `w` is not zero (dual calls only).
    pub weights_move: bool,
    /// Left by the forward pass for the backward pass of the same call.
    pub slot: Arc<Slot>,
    /// The slot of an earlier plain forward pass of the same module at the same values, which a dual call may
    /// read instead of computing the values again.
    pub primal: Option<Arc<Slot>>,
    /// Shared by all calls of a pass.
    pub ledger: Arc<Ledger>,
}

impl Mode {
    /// A plain call, in a pass of its own.
    pub fn plain(slot: Arc<Slot>) -> Self {
        Self { dual: false, weights_move: false, slot, primal: None, ledger: Arc::default() }
    }

    /// A dual call, in a pass of its own.
    pub fn dual(weights_move: bool, slot: Arc<Slot>, primal: Option<Arc<Slot>>) -> Self {
        Self { dual: true, weights_move, slot, primal, ledger: Arc::default() }
    }

    /// The same call as part of a pass.
    pub fn in_pass(self, ledger: Arc<Ledger>) -> Self {
        Self { ledger, ..self }
    }

    /// The same call when no backward pass will follow.
    fn untracked(self) -> Self {
        Self { slot: Slot::closed(), ..self }
    }
}

/// What a call of the stem needs besides tensors.
#[derive(Clone, Debug)]
pub struct StemCall {
    /// Its sizes.
    pub spec: StemSpec,
    /// How it is called.
    pub mode: Mode,
}

/// What a call of a cell needs besides tensors.
#[derive(Clone, Debug)]
pub struct CellCall {
    /// Its operations and sizes.
    pub spec: Arc<CellSpec>,
    /// Drop path and noise of this step.
    pub noise: Arc<CellNoise>,
    /// How it is called.
    pub mode: Mode,
}

/// What a call of the head needs besides tensors.
#[derive(Clone, Debug)]
pub struct HeadCall {
    /// Its sizes.
    pub spec: HeadSpec,
    /// How it is called.
    pub mode: Mode,
}

/// Which gradients of a cell are asked for; an unwanted one may come back as any tensor of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellWant {
    /// With respect to s0.
    pub s0: bool,
    /// With respect to s1.
    pub s1: bool,
    /// With respect to the mixing weights.
    pub p: bool,
    /// With respect to the weights.
    pub w: bool,
}

/// Which gradients of the head are asked for; an unwanted one may come back as any tensor of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadWant {
    /// With respect to the state.
    pub s: bool,
    /// With respect to the weights.
    pub w: bool,
}

/// The differentiable operations of the supernet.
#[backend_extension(Flex, Autodiff)]
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

    /// The sum of two gradients of the same shape.
    fn accumulate(total: FloatTensor<Self>, g: FloatTensor<Self>) -> FloatTensor<Self> {
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
            OpsKind::UnTracked(prep) => prep.finish(B::stem(x, w, StemCall { mode: call.mode.untracked(), ..call })),
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
                let ledger = call.mode.ledger.clone();
                let (g0, g1, gp, gw) = B::cell_vjp(s0, s1, p, w, g, call, want);
                let [s0, s1, p, w] = ops.parents;
                for (node, g) in [(s0, g0), (s1, g1)] {
                    let Some(node) = node else { continue };
                    // A leaf keeps its gradient when it is consumed, so the tape must add to it.
                    let is_leaf = node.parents.is_empty();
                    let g = if !is_leaf && ledger.enter(node.id.value) {
                        B::accumulate(grads.consume::<B>(&node), g)
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
        #[derive(Debug)]
        struct Head;
        impl<B: SearchOps> Backward<B, 2> for Head {
            type State = (FloatTensor<B>, FloatTensor<B>, HeadCall);
            fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
                let [node_s, node_w] = ops.parents;
                let g = grads.consume::<B>(&ops.node);
                let (s, w, call) = ops.state;
                let want = HeadWant { s: node_s.is_some(), w: node_w.is_some() };
                let (gs, gw) = B::head_vjp(s, w, g, call, want);
                for (node, g) in [(node_s, gs), (node_w, gw)] {
                    if let Some(node) = node {
                        grads.register::<B>(node.id, g);
                    }
                }
            }
        }
        let nodes = [s.node(), w.node()];
        let (s, w) = (s.into_primitive(), w.into_primitive());
        match Head.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let out = B::head(s.clone(), w.clone(), call.clone());
                prep.finish((s, w, call), out)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::head(s, w, HeadCall { mode: call.mode.untracked(), ..call })),
        }
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
}

/// A tensor that no gradient flows through.
fn constant<B: Backend, C: CheckpointStrategy>(t: FloatTensor<B>) -> FloatTensor<Autodiff<B, C>> {
    <Autodiff<B, C> as burn::backend::AutodiffBackend>::from_inner(t)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_shares_or_hands_over_what_was_put_in_and_a_closed_one_drops_it() {
        let slot = Slot::open();
        assert_eq!((slot.get::<u32>(), format!("{slot:?}").as_str()), (None, "Slot(empty)"));
        slot.put(7u32);
        assert_eq!(slot.get::<u32>().as_deref(), Some(&7));
        assert_eq!((slot.get::<u64>(), slot.take::<u64>()), (None, None));
        assert_eq!(slot.take::<u32>().as_deref(), Some(&7));
        assert_eq!(slot.take::<u32>(), None);
        let closed = Slot::closed();
        closed.put(7u32);
        assert!(!closed.is_open() && closed.get::<u32>().is_none());
    }
}
