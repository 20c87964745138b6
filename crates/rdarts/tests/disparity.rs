//! `rdarts search --task disparity`, as its user runs it: small searches on synthetic scenes.

use std::path::Path;
use std::process::{Command, Output};

const SMALL: &[&str] = &[
    "search",
    "--task",
    "disparity",
    "--threads",
    "1",
    "--no-report",
    "--epochs",
    "3",
    "--set",
    "data.pairs=24",
    "--set",
    "data.valid_limit=4",
    "--set",
    "data.height=32",
    "--set",
    "data.width=64",
    "--set",
    "data.max_disparity=8",
    "--set",
    "search.crop_height=32",
    "--set",
    "search.crop_width=64",
    "--set",
    "search.batch=4",
    "--set",
    "network.channels=2",
    "--set",
    "hessian.batches=2",
    "--set",
    "monitor.window=1",
];

fn run(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rdarts")).args(args).current_dir(dir).output().unwrap()
}

fn search(dir: &Path, more: &[&str]) -> Output {
    run(dir, &[SMALL, more].concat())
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn events(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("events.jsonl")).unwrap()
}

#[test]
fn a_search_finds_three_cells_and_tells_errors_and_eigenvalues() {
    let tmp = tempfile::tempdir().unwrap();
    let out = search(tmp.path(), &["--out", "run", "--method", "darts-es"]);
    assert!(out.status.success(), "{}", text(&out));
    let told = text(&out);
    assert!(
        told.contains("upsample=[") && told.contains("one-shot error") && told.contains("Dominant eigenvalue"),
        "{told}"
    );
    let events = events(&tmp.path().join("run"));
    assert!(events.starts_with("{\"event\":\"disparity_started\""), "{events}");
    let epochs: Vec<serde_json::Value> = events
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|event: &serde_json::Value| event["event"] == "disparity_epoch")
        .collect();
    assert!(!epochs.is_empty() && epochs.iter().all(|e| e["eigenvalue"].is_f64() && e["valid_error"].is_f64()));
    let genotype = std::fs::read_to_string(tmp.path().join("run/genotype.txt")).unwrap();
    genotype.trim().parse::<rdarts::space::DisparityGenotype>().unwrap();
}

#[test]
fn a_search_that_was_stopped_goes_on_to_the_same_bytes_on_other_threads() {
    let tmp = tempfile::tempdir().unwrap();
    let second = ["--order", "second", "--set", "search.warm_start=1"];
    let whole = search(tmp.path(), &[&["--out", "whole"], &second[..]].concat());
    assert!(whole.status.success(), "{}", text(&whole));
    // The checkpoints of the same search, kept, as if it had been killed after its first epoch.
    let kept = search(tmp.path(), &[&["--out", "kept", "--set", "eval.keep_checkpoints=true"], &second[..]].concat());
    assert!(kept.status.success(), "{}", text(&kept));
    let dir = tmp.path().join("kept");
    let mut checkpoints: Vec<_> =
        std::fs::read_dir(dir.join("checkpoints")).unwrap().map(|entry| entry.unwrap().path()).collect();
    checkpoints.sort();
    checkpoints[1..].iter().for_each(|path| std::fs::remove_file(path).unwrap());
    for name in ["DONE", "genotype.txt", "genotype.json"] {
        std::fs::remove_file(dir.join(name)).unwrap();
    }
    let out = run(tmp.path(), &["resume", "kept", "--threads", "3", "--no-report"]);
    assert!(out.status.success(), "{}", text(&out));
    assert_eq!(events(&dir), events(&tmp.path().join("whole")));
}

#[test]
fn what_cannot_be_searched_is_told_in_a_sentence_and_leaves_nothing() {
    let tmp = tempfile::tempdir().unwrap();
    for (more, expected) in [
        (&["--space", "dispnett"][..], "the nearest known one is `dispnet`"),
        (&["--method", "gdas"], "darts-ada"),
        (&["--set", "search.crop_width=60"], "a multiple of 32"),
        (&["--set", "search.batch=16"], "less than a batch of 16"),
        (&["--set", "hessian.batches=9"], "only 3 of 4 pairs"),
        (&["--set", "network.chanels=9"], "did you mean `network.channels`"),
        (&["--data", "cifar10"], "cifar10"),
        (&["--from", "x"], "--from"),
        (&["--tensorboard"], "--tensorboard"),
        (&["--set", "search.warm_start=3"], "would never learn"),
        (&["--set", "network.displacement=8"], "at most 7"),
        (&["--data-dir", "x"], "no directory of them"),
        (&["--set", "search.crop_width=96"], "windows of 32x96"),
    ] {
        let out = search(tmp.path(), &[&["--out", "run"], more].concat());
        assert_eq!(out.status.code(), Some(2), "{more:?}: {}", text(&out));
        assert!(text(&out).contains(expected), "{more:?}: {}", text(&out));
        assert!(!tmp.path().join("run").exists(), "{more:?} left a directory");
    }
}
