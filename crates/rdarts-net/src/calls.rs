//! How a module of the network is called: what rides beside the tensors, and what is asked for.

use std::any::Any;
use std::collections::HashSet;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, OnceLock};

use rdarts_kernels::Kernels;
use rdarts_kernels::spec::{AuxiliarySpec, CellNoise, CellSpec, HeadSpec, StemSpec};

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
/// gradient is a sum: the second cell looks here and adds with [`crate::ops::SearchOps::accumulate`], which is free to use all
/// threads and the memory of its arguments. Without an entry the tape adds, to the same values.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<HashSet<u64>>);

impl Ledger {
    /// Enters a node of the tape; whether it was there already.
    pub(crate) fn enter(&self, node: u64) -> bool {
        !self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(node)
    }
}

/// Statistics of a batch, of each norm the means, then the unbiased variances. Those of a card are read when they are asked
/// for: to read is to wait for all that was launched before.
pub struct OfBatch {
    read: Box<dyn Fn() -> Vec<f64> + Send + Sync>,
    /// Where they lie on a card.
    place: Option<Box<dyn Any + Send + Sync>>,
}

impl OfBatch {
    /// Statistics that are there.
    pub fn of(values: Vec<f64>) -> Self {
        Self::later(move || values.clone())
    }

    /// Statistics that are read later.
    pub fn later(read: impl Fn() -> Vec<f64> + Send + Sync + 'static) -> Self {
        Self { read: Box::new(read), place: None }
    }

    /// The same, with what stands for them on a card.
    pub fn lying(self, place: impl Any + Send + Sync) -> Self {
        Self { place: Some(Box::new(place)), ..self }
    }

    /// Where they lie on a card, if they do, as this type.
    pub fn place<T: Any>(&self) -> Option<&T> {
        self.place.as_ref()?.downcast_ref()
    }

    /// The statistics.
    pub fn read(&self) -> Vec<f64> {
        (self.read)()
    }
}

impl fmt::Debug for OfBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OfBatch")
    }
}

/// Which statistics the batch norms of a discrete network's module use.
#[derive(Clone, Debug)]
pub enum Statistics {
    /// Those of the batch. They are left here as [`OfBatch`].
    OfBatch(Arc<Slot>),
    /// These, in the same order.
    Given(Arc<GivenStatistics>),
}

/// Means and variances to be used, and what a card keeps of them from one batch to the next.
#[derive(Default)]
pub struct GivenStatistics {
    values: Vec<f64>,
    kept: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl GivenStatistics {
    /// Of values.
    pub fn of(values: Vec<f64>) -> Self {
        Self { values, kept: OnceLock::new() }
    }

    /// What was made of them the first time; `None` if that was of another type.
    pub fn kept<T: Any + Send + Sync>(&self, make: impl FnOnce(&[f64]) -> T) -> Option<&T> {
        self.kept.get_or_init(|| Box::new(make(&self.values))).downcast_ref()
    }
}

impl Deref for GivenStatistics {
    type Target = [f64];

    fn deref(&self) -> &[f64] {
        &self.values
    }
}

impl fmt::Debug for GivenStatistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GivenStatistics").field(&self.values).finish()
    }
}

/// How a module is called: what is constant and what rides beside the tensors.
#[derive(Clone, Debug)]
pub struct Mode {
    /// What the fused operations compute with.
    pub kernels: Kernels,
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
    /// Of its batch norms.
    pub statistics: Statistics,
    /// Where on a card the gradient of the weights goes: whoever writes it there takes what lies here.
    pub gradient: Arc<Slot>,
}

impl Mode {
    /// A plain call, in a pass of its own.
    pub fn plain(kernels: Kernels, slot: Arc<Slot>) -> Self {
        Self {
            kernels,
            dual: false,
            weights_move: false,
            slot,
            primal: None,
            ledger: Arc::default(),
            statistics: Statistics::OfBatch(Slot::closed()),
            gradient: Slot::closed(),
        }
    }

    /// A dual call, in a pass of its own.
    pub fn dual(kernels: Kernels, weights_move: bool, slot: Arc<Slot>, primal: Option<Arc<Slot>>) -> Self {
        Self {
            kernels,
            dual: true,
            weights_move,
            slot,
            primal,
            ledger: Arc::default(),
            statistics: Statistics::OfBatch(Slot::closed()),
            gradient: Slot::closed(),
        }
    }

    /// The same call as part of a pass.
    pub fn in_pass(self, ledger: Arc<Ledger>) -> Self {
        Self { ledger, ..self }
    }

    /// The same call when no backward pass will follow.
    pub(crate) fn untracked(self) -> Self {
        Self { slot: Slot::closed(), ..self }
    }
}

/// What a call of the stem or of a head needs besides tensors.
#[derive(Clone, Debug)]
pub struct Call<S> {
    /// Its sizes.
    pub spec: S,
    /// How it is called.
    pub mode: Mode,
}

impl<S> Call<S> {
    /// The same call when no backward pass will follow.
    pub(crate) fn untracked(self) -> Self {
        Self { mode: self.mode.untracked(), ..self }
    }
}

/// A call of the stem.
pub type StemCall = Call<StemSpec>;

/// A call of the head.
pub type HeadCall = Call<HeadSpec>;

/// A call of the auxiliary head.
pub type AuxiliaryCall = Call<AuxiliarySpec>;

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

/// Which gradients of the head, or of the auxiliary head, are asked for; an unwanted one may come back as any tensor of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadWant {
    /// With respect to the state.
    pub s: bool,
    /// With respect to the weights.
    pub w: bool,
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
