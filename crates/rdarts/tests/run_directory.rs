//! Run directories at the program's border: what the system refuses, what does not fit, and what is left behind.

#![cfg(unix)]

use std::path::Path;
use std::process::{Command, Output};

mod common;

use common::run;

/// A search of a second.
const TINY: [&str; 14] = [
    "--space",
    "tiny",
    "--set",
    "network.channels=2",
    "--set",
    "network.cells=3",
    "--set",
    "search.batch=8",
    "--set",
    "data.limit=32",
    "--epochs",
    "3",
    "--threads",
    "1",
];

fn search(dir: &Path, more: &[&str]) -> Output {
    run(dir, &[&["search"], &TINY[..], more].concat())
}

/// The exit code and the sentence of a refusal.
fn refusal(out: &Output) -> (Option<i32>, String) {
    let said = String::from_utf8_lossy(&out.stderr);
    let sentences: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("error: ")).collect();
    assert_eq!(sentences.len(), 1, "{said}");
    (out.status.code(), sentences[0].to_string())
}

fn entries(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_refused_search_leaves_nothing_behind_and_looks_at_its_directory_first() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    std::fs::create_dir(dir.join("full")).unwrap();
    std::fs::write(dir.join("full/thesis.tex"), "x").unwrap();
    // Both the directory and the data are wrong: the directory is told, since the data would have to be read.
    let both = ["--data", "svhn", "--data-dir", "absent"];
    assert_eq!(
        refusal(&search(dir, &[&["--out", "full"], &both[..]].concat())),
        (Some(2), "`full` is not empty (it holds `thesis.tex`): name a new directory for the run".to_string())
    );
    let (code, said) = refusal(&search(dir, &[&["--out", "a/b/c"], &both[..]].concat()));
    assert!(code == Some(2) && said.contains("absent"), "{said}");
    let (code, said) = refusal(&search(dir, &both));
    assert!(code == Some(2) && said.contains("absent"), "{said}");
    assert_eq!(refusal(&search(dir, &["--out", ""])).0, Some(2));
    assert_eq!(entries(dir), ["full"]);
    // The system refuses.
    let (code, said) = refusal(&search(dir, &["--out", "/proc/self/fd/run"]));
    assert!(said.starts_with("cannot create the run directory `/proc/self/fd/run`: "), "{said}");
    assert!(code == Some(1) || said.contains("No such file"), "{said}");
}

#[test]
fn a_log_with_other_line_ends_is_refused_and_nothing_is_changed() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    assert!(search(dir, &["--out", "r"]).status.success());
    std::fs::remove_file(dir.join("r/DONE")).unwrap();
    let log = dir.join("r/events.jsonl");
    let whole = std::fs::read_to_string(&log).unwrap();
    std::fs::write(&log, whole.replace('\n', "\r\n")).unwrap();
    let (environment, checkpoints) =
        (std::fs::read(dir.join("r/env.json")).unwrap(), entries(&dir.join("r/checkpoints")));
    let (code, said) = refusal(&run(dir, &["resume", "r"]));
    assert_eq!(code, Some(2));
    let start = "`r/events.jsonl`, line 1, has the line end of another system (CR LF), so the log does not fit the \
                 checkpoint ";
    assert!(said.starts_with(start) && said.contains("rdarts search r/spec.toml"), "{said}");
    assert_eq!(std::fs::read_to_string(&log).unwrap(), whole.replace('\n', "\r\n"));
    assert_eq!(std::fs::read(dir.join("r/env.json")).unwrap(), environment);
    assert_eq!(entries(&dir.join("r/checkpoints")), checkpoints);
    // Put back, it goes on.
    std::fs::write(&log, &whole).unwrap();
    assert!(run(dir, &["resume", "r"]).status.success());
    assert_eq!(std::fs::read_to_string(&log).unwrap(), whole);
}

#[test]
fn a_search_that_meets_a_limit_of_file_sizes_says_how_it_goes_on_and_ends_with_the_same_bits() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    assert!(search(dir, &["--out", "whole"]).status.success());
    let largest = std::fs::read_dir(dir.join("whole/checkpoints"))
        .unwrap()
        .map(|e| e.unwrap().metadata().unwrap().len())
        .max()
        .unwrap();
    let log = std::fs::read(dir.join("whole/events.jsonl")).unwrap();
    let (mut met, program) = (0, env!("CARGO_BIN_EXE_rdarts"));
    // From what lets nothing be written to what lets almost all be.
    for blocks in (0..=largest / 512).step_by(1 + largest as usize / 512 / 6) {
        let name = format!("limited-{blocks}");
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
        let args: Vec<&str> = [&["-c", &script, "sh", program, "search", "--out", &name][..], &TINY].concat();
        let out = Command::new("sh").current_dir(dir).args(&args).output().unwrap();
        if out.status.success() {
            continue;
        }
        met += 1;
        let (code, said) = refusal(&out);
        assert_eq!(code, Some(1), "{blocks}: {said}");
        assert!(said.contains("File too large"), "{blocks}: {said}");
        if !dir.join(&name).exists() {
            continue;
        }
        let advice =
            format!(": raise the limit of the size of files (`ulimit -f`), then `rdarts resume {name}` goes on");
        assert!(said.ends_with(&advice), "{blocks}: {said}");
        let resumed = run(dir, &["resume", &name]);
        assert!(resumed.status.success(), "{blocks}: {}", String::from_utf8_lossy(&resumed.stderr));
        assert!(std::fs::read(dir.join(&name).join("events.jsonl")).unwrap() == log, "{blocks}");
    }
    assert!(met > 1, "no limit was met");
}

#[test]
fn numbers_and_encodings_are_told_by_name() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    for (args, words) in [
        (["--seed", "18446744073709551615"], "must be a whole number from 0 to 9223372036854775807"),
        (["--epochs", "99999999999999999999"], "must be a whole number from 1 to 1000000"),
        (["--set", "seed=9223372036854775808"], "must be a whole number from 0 to 9223372036854775807"),
    ] {
        let out = run(dir, &["search", args[0], args[1]]);
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.code() == Some(2) && said.contains(words), "{said}");
    }
    let utf16: Vec<u8> = "seed = 1\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(dir.join("a.toml"), utf16).unwrap();
    let sentence = |what: &str| (Some(2), format!("the {what} `a.toml` is encoded in UTF-16: save it as UTF-8"));
    assert_eq!(refusal(&run(dir, &["search", "a.toml"])), sentence("spec"));
    assert_eq!(refusal(&run(dir, &["search", "--space", "a.toml"])), sentence("search space"));
    std::fs::write(dir.join("b.toml"), b"\xef\xbb\xbf[data]\nname = \"nothing\"\n").unwrap();
    let (code, said) = refusal(&run(dir, &["search", "b.toml"]));
    assert!(code == Some(2) && said.contains("nothing"), "{said}");
    assert_eq!(entries(dir), ["a.toml", "b.toml"]);
}

#[test]
fn a_run_whose_spec_is_damaged_or_of_another_kind_is_left_as_it_is() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    assert!(search(dir, &["--out", "run"]).status.success());
    let path = dir.join("run");
    std::fs::remove_file(path.join("DONE")).unwrap();
    // What a killed writer leaves, and what going on would clear away.
    std::fs::write(path.join("timings.jsonl"), "{\"half\":").unwrap();
    let (before, spec) = (entries(&path), std::fs::read_to_string(path.join("spec.toml")).unwrap());
    for (old, new, said) in [
        (
            "kind = \"search\"",
            "kind = \"other\"",
            "`run` holds a run of kind `other`, but this needs one of kind `search`",
        ),
        ("channels = 2", "channels = 'two'", "`network.channels` is \"two\", but must be a whole number"),
    ] {
        assert!(spec.contains(old));
        std::fs::write(path.join("spec.toml"), spec.replace(old, new)).unwrap();
        for verb in ["resume", "hessian"] {
            let (code, sentence) = refusal(&run(dir, &[verb, "run"]));
            assert_eq!(code, Some(2), "{sentence}");
            assert!(sentence.contains(said), "{verb}: {sentence}");
        }
        assert_eq!(entries(&path), before);
        assert_eq!(std::fs::read_to_string(path.join("timings.jsonl")).unwrap(), "{\"half\":");
    }
}
