//! Run directories for tests: copies of the one that a program wrote for the tests of the report, cut where it was still
//! running, and what can be made of these.

#![allow(dead_code, reason = "each test uses some of them")]

use std::io::Write;
use std::path::{Path, PathBuf};

/// Lines of the log: one at the beginning, 12 epochs, 2 decisions, one at the end.
pub const LINES: usize = 16;

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../rdarts-report/tests/samples/went-back")
}

/// The lines of a log of the sample.
pub fn lines(name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(sample().join(name)).unwrap();
    text.lines().map(|line| format!("{line}\n")).collect()
}

/// Makes the directory of a search that has written so many lines: finished, running, or not begun.
pub fn search(path: &Path, n_lines: usize) {
    std::fs::create_dir_all(path).unwrap();
    for name in ["env.json", "format", "space.toml", "spec.toml"] {
        std::fs::copy(sample().join(name), path.join(name)).unwrap();
    }
    let lines = lines("events.jsonl");
    assert_eq!(lines.len(), LINES);
    let n_epochs = lines[..n_lines].iter().filter(|line| line.starts_with("{\"event\":\"epoch\"")).count();
    std::fs::write(path.join("events.jsonl"), lines[..n_lines].concat()).unwrap();
    std::fs::write(path.join("timings.jsonl"), self::lines("timings.jsonl")[..n_epochs].concat()).unwrap();
    // What a process renews while it works, and what it leaves at the end.
    let name = if n_lines == LINES { "DONE" } else { "owner" };
    std::fs::write(path.join(name), "").unwrap();
}

/// Appends the next line to a log.
pub fn append(path: &Path, line: &str) {
    std::fs::File::options().append(true).open(path.join("events.jsonl")).unwrap().write_all(line.as_bytes()).unwrap();
}
