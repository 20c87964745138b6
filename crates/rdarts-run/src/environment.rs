//! The machine of a run, which nothing compares.

use serde::{Deserialize, Serialize};

/// The machine of a run; only the instruction set and the device can change a result, in its last bits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Version of the program.
    pub rdarts: String,
    /// Operating system.
    pub os: String,
    /// Processor architecture.
    pub arch: String,
    /// Model of the processor, if the system tells it.
    pub cpu: String,
    /// Number of threads that compute.
    pub threads: usize,
    /// Instruction set of the kernels; another one rounds differently.
    pub isa: String,
    /// What computes: `cpu`, or `gpu:0 (NVIDIA H100 PCIe)`.
    #[serde(default = "cpu")]
    pub device: String,
}

/// The most bytes of memory that the process has held so far, if the system tells (Linux).
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

/// What computed before there was a choice.
pub(crate) fn cpu() -> String {
    "cpu".into()
}

impl Environment {
    /// Describes this machine.
    pub fn detect(threads: usize, isa: &str, device: String) -> Environment {
        // Only Linux has this file; elsewhere the model stays unknown, which harms nothing.
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(':'));
        Environment {
            rdarts: env!("CARGO_PKG_VERSION").to_string(),
            os: std::env::consts::OS.to_string(),
            arch: std::env::consts::ARCH.to_string(),
            cpu: model.map_or("unknown", |(_, name)| name.trim()).to_string(),
            threads,
            isa: isa.to_string(),
            device,
        }
    }
}
