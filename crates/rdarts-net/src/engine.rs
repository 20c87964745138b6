//! What computes.

use burn::tensor::Device;
use rdarts_kernels::{Isa, Kernels};

/// Where tensors live and in which memory they are computed. A clone is the same one; two that were made apart share
/// nothing.
#[derive(Clone, Debug)]
pub struct Engine {
    /// Where Burn's tensors live (without autodiff).
    pub device: Device,
    /// Of single precision on the CPU.
    pub kernels: Kernels,
}

impl Engine {
    /// An engine with a workspace of its own.
    ///
    /// # Panics
    /// If this processor does not have the instruction set.
    pub fn new(device: Device, isa: Isa) -> Self {
        Self { device, kernels: Kernels::new(isa) }
    }

    /// The CPU with the fastest instruction set that it has.
    pub fn cpu() -> Self {
        Self::new(Device::flex(), Isa::best())
    }

    /// The same with a tape.
    pub(crate) fn tracked(&self) -> Self {
        Self { device: self.device.clone().autodiff(), kernels: self.kernels.clone() }
    }
}
