//! What a caller holds of this crate: the loops of one instruction set, and the memory they work in.

use std::sync::Arc;

use crate::workspace::Workspace;
use rdarts_simd::Isa;

/// Who computes and in which memory. A clone is the same one; two that were made apart share nothing.
#[derive(Clone, Debug)]
pub struct Kernels {
    isa: Isa,
    workspace: Arc<Workspace>,
}

impl Kernels {
    /// Kernels with a workspace of their own.
    ///
    /// # Panics
    /// If this processor does not have the instruction set.
    pub fn new(isa: Isa) -> Self {
        isa.check();
        Self { isa, workspace: Arc::default() }
    }

    /// The instruction set.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The memory that calls use again.
    pub fn workspace(&self) -> &Arc<Workspace> {
        &self.workspace
    }
}
