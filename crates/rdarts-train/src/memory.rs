//! Work that needs more memory than the machine has is refused before it begins.

use rdarts_net::Engine;

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
    /// Refuses it if what computes has not so much memory free.
    ///
    /// # Errors
    /// One sentence.
    pub fn check(&self, engine: &Engine) -> Result<(), TrainError> {
        check_memory(engine, self.bytes, &self.what)
    }
}

/// Refuses work that needs more bytes than this process has free, or than a graphics card has at all; `what` names the
/// values to lower. What other programs use of a card it does not tell.
///
/// # Errors
/// One sentence.
pub fn check_memory(engine: &Engine, needed: u64, what: &str) -> Result<(), TrainError> {
    let (has, who) = match &engine.gpu {
        None => (rdarts_data::available_memory(), "this process has".to_string()),
        Some(gpu) => (gpu.memory, format!("the graphics card {} has", engine.place())),
    };
    let Some(has) = has.filter(|has| needed > *has) else { return Ok(()) };
    let gib = |bytes: u64| bytes as f64 / (1u64 << 30) as f64;
    let free = if engine.is_cpu() { " free" } else { "" };
    Err(TrainError::Input(format!(
        "this needs about {:.1} GiB of memory and {who} {:.1} GiB{free}: lower {what}",
        gib(needed),
        gib(has),
    )))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rdarts_net::devices::{Gpu, GpuKind};

    use super::*;

    #[test]
    fn a_card_is_asked_for_its_own_memory() {
        let gpu = Gpu {
            number: 1,
            name: "Small".into(),
            kind: GpuKind::Discrete,
            driver: String::new(),
            interface: String::new(),
            bus: String::new(),
            memory: Some(2 << 30),
            at: 0,
        };
        let engine = Engine { gpu: Some(Arc::new(gpu)), ..Engine::cpu() };
        assert!(check_memory(&engine, 1 << 30, "x").is_ok());
        let refused = check_memory(&engine, 3 << 30, "search.batch = 64").unwrap_err().to_string();
        assert_eq!(
            refused,
            "this needs about 3.0 GiB of memory and the graphics card gpu:1 (Small) has 2.0 GiB: lower search.batch = 64"
        );
    }
}
