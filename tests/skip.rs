//! The one way in which a test leaves work undone; test files take it in by `#[path]`.
//!
//! With RDARTS_NO_SKIP=1, which the gate sets, a test that would skip fails, unless its reason is one of
//! [`EXEMPT`] and is true here.

use std::path::Path;

type Holds = fn() -> bool;

/// Why a test may skip even under RDARTS_NO_SKIP=1, each with whether it holds on this machine.
const EXEMPT: [(&str, Holds); 4] = [
    // No file is unreadable to root.
    ("running as root", || {
        #[cfg(unix)]
        return std::fs::metadata("/proc/self").is_ok_and(|of| std::os::unix::fs::MetadataExt::uid(&of) == 0);
        #[cfg(not(unix))]
        false
    }),
    // Values too large for the repository, which lie beside it on some machines.
    ("../shared absent", || !Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared").exists()),
    // Python packages that no test can bring along.
    ("RDARTS_PYTHON unset", || std::env::var_os("RDARTS_PYTHON").is_none()),
    // A graphics card, or a software driver for one.
    ("RDARTS_TEST_DEVICE unset", || std::env::var_os("RDARTS_TEST_DEVICE").is_none()),
];

/// Says that a test skips, and why; panics where that is not allowed. The test returns after it.
pub fn skip(reason: &str, detail: &str) {
    let is_exempt = EXEMPT.iter().any(|(name, holds)| *name == reason && holds());
    let must_run = std::env::var("RDARTS_NO_SKIP").is_ok_and(|value| value == "1");
    assert!(is_exempt || !must_run, "skipped under RDARTS_NO_SKIP=1: {reason}: {detail}");
    println!("SKIPPED: {reason}: {detail}");
}
