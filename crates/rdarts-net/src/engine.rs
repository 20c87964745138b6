//! What computes.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use burn::tensor::Device;
use rdarts_kernels::{Isa, Kernels};

use crate::devices::Gpu;

/// Where tensors live and in which memory they are computed. A clone is the same one; two that were made apart share
/// nothing.
#[derive(Clone, Debug)]
pub struct Engine {
    /// Where Burn's tensors live (without autodiff).
    pub device: Device,
    /// Of single precision on the CPU.
    pub kernels: Kernels,
    /// The graphics card, unless this is the CPU.
    pub gpu: Option<Arc<Gpu>>,
}

impl Engine {
    /// The CPU with an instruction set, and a workspace of its own.
    ///
    /// # Panics
    /// If this processor does not have the instruction set.
    pub fn cpu_with(isa: Isa) -> Self {
        Self { device: Device::flex(), kernels: Kernels::new(isa), gpu: None }
    }

    /// The CPU with the fastest instruction set that it has.
    pub fn cpu() -> Self {
        Self::cpu_with(Isa::best())
    }

    /// A graphics card; the CPU does what is not computed there.
    ///
    /// # Errors
    /// Why the card cannot be used, as its driver says it.
    #[cfg(feature = "gpu")]
    pub fn gpu(gpu: &Gpu) -> Result<Self, String> {
        Ok(Self { device: crate::devices::open(gpu)?, gpu: Some(Arc::new(gpu.clone())), ..Self::cpu() })
    }

    /// The same device with a workspace of its own.
    pub fn apart(&self) -> Self {
        Self { kernels: Kernels::new(self.kernels.isa()), ..self.clone() }
    }

    /// Whether this is the CPU.
    pub fn is_cpu(&self) -> bool {
        self.gpu.is_none()
    }

    /// `cpu`, or `gpu:0 (NVIDIA H100 PCIe)`.
    pub fn place(&self) -> String {
        self.gpu.as_ref().map_or_else(|| "cpu".into(), |gpu| format!("gpu:{} ({})", gpu.number, gpu.name))
    }

    /// Runs work on this engine; a card that was lost meanwhile, or has no memory left, is an error and no panic.
    ///
    /// # Errors
    /// What the framework or the driver says.
    pub fn guarded<T>(&self, work: impl FnOnce() -> T) -> Result<T, String> {
        if self.is_cpu() {
            return Ok(work());
        }
        let before = IS_GUARDED.replace(true);
        let done = catch_unwind(AssertUnwindSafe(work));
        IS_GUARDED.set(before);
        done.map_err(|panic| text_of(panic.as_ref()))
    }

    /// The same with a tape.
    pub(crate) fn tracked(&self) -> Self {
        Self { device: self.device.clone().autodiff(), ..self.clone() }
    }
}

/// What a panic says, in a few words: of a card that was lost, or is full, the framework's own are long.
pub fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    short(text.unwrap_or("no reason given"))
}

fn short(text: &str) -> String {
    let lower = text.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if has(&["out of memory", "outofmemory", "out of device memory", "not enough memory"]) {
        return "its memory is full".into();
    }
    // A card that is lost while something comes down from it shows in the last of these.
    if has(&["device is poisoned", "device is lost", "device was lost", "devicelost", "buffer could not be mapped"]) {
        return "it was lost, as by a reset of its driver".into();
    }
    const MOST: usize = 200;
    let line = text.lines().next().unwrap_or_default();
    let cut: String = line.chars().take(MOST).collect();
    if cut.len() < line.len() { format!("{cut}…") } else { cut }
}

thread_local! {
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of this thread will become an error of [`Engine::guarded`], so that it need not be told twice.
pub fn is_guarded() -> bool {
    IS_GUARDED.get()
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn a_card_that_failed_is_told_in_a_few_words() {
        let lost = "a tensor reads: StorageAccess(Read(\"The device is poisoned\\nCaused by:\\n  Destroyed\"))";
        assert_eq!(short(lost), "it was lost, as by a reset of its driver");
        let mapped =
            "a tensor reads: StorageAccess(Read(\"An error happened\\nthe staging buffer could not be mapped: \"))";
        assert_eq!(short(mapped), "it was lost, as by a reset of its driver");
        assert_eq!(short("wgpu error: Out of Memory"), "its memory is full");
        assert_eq!(short("one\ntwo"), "one");
        assert_eq!(short(&"x".repeat(300)).chars().count(), 201);
    }
}
