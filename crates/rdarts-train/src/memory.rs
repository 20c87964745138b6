//! Work that needs more memory than the machine has is refused before it begins.

use crate::error::TrainError;

/// What a run needs while it works.
#[derive(Clone, Debug)]
pub struct Needed {
    /// Bytes beside the images.
    pub bytes: u64,
    /// The values to lower for less.
    pub what: String,
}

impl Needed {
    /// Refuses it if the machine has not so much free.
    ///
    /// # Errors
    /// One sentence.
    pub fn check(&self) -> Result<(), TrainError> {
        check_memory(self.bytes, &self.what)
    }
}

/// Refuses work that needs more bytes than the machine has free; `what` names the values to lower.
///
/// # Errors
/// One sentence.
pub fn check_memory(needed: u64, what: &str) -> Result<(), TrainError> {
    let Some(available) = rdarts_data::available_memory() else { return Ok(()) };
    if needed <= available {
        return Ok(());
    }
    let gib = |bytes: u64| bytes as f64 / (1u64 << 30) as f64;
    Err(TrainError::Input(format!(
        "this needs about {:.1} GiB of memory and this process has {:.1} GiB free: lower {what}",
        gib(needed),
        gib(available),
    )))
}
