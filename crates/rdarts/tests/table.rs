//! `rdarts table` as its users run it: to the end, killed at any time, by two processes at once, damaged, merged, asked.

#![cfg(unix)]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

mod common;

use common::{rdarts, run, text};

/// One node, two operations on each edge: 16 architectures, of which each takes some hundredths of a second.
const SPACE: &str = "name = \"mini\"\nnodes = 1\nops = [\"sep_conv_3x3\", \"skip_connect\"]\n";

const SMALL: [&str; 16] = [
    "--space",
    "mini.toml",
    "--threads",
    "2",
    "--epochs",
    "2",
    "--channels",
    "2",
    "--cells",
    "3",
    "--set",
    "data.limit=64",
    "--set",
    "train.batch=16",
    "--set",
    "data.size=14",
];

fn build(dir: &Path, out: &str, more: &[&str]) -> std::process::Output {
    run(dir, &[&["table", "build", "--out", out], &SMALL[..], more].concat())
}

/// What was measured, in the order of architecture and seed: all but the seconds.
fn results(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut all: Vec<Value> = text.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect();
    for one in &mut all {
        let one = one.as_object_mut().unwrap();
        one.remove("seconds");
        one.remove("check");
    }
    all.sort_by_key(|one| (one["architecture"].as_u64(), one["seed"].as_u64()));
    all
}

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("mini.toml"), SPACE).unwrap();
    dir
}

#[test]
fn a_table_is_the_same_however_often_it_is_killed_and_however_many_build_it() {
    let dir = folder();
    let whole = build(dir.path(), "whole.table", &["--seeds", "1,2", "--json"]);
    assert_eq!(whole.status.code(), Some(0), "{}", text(&whole.stderr));
    let told: Value = serde_json::from_slice(&whole.stdout).unwrap();
    assert_eq!((&told["state"], &told["done"], &told["of"]), (&"complete".into(), &32.into(), &32.into()));
    let expected = results(&dir.path().join("whole.table"));
    assert_eq!(expected.len(), 32);
    assert!(!dir.path().join("whole.table.work").exists());

    // Two processes at a time, each killed again and again.
    let args = [&["table", "build", "--out", "killed.table", "--seeds", "1,2", "--json"], &SMALL[..]].concat();
    let path = dir.path().join("killed.table");
    let (mut kills, mut at_once) = (0, 0);
    while kills < 20 && !(path.exists() && results_whole(&path) == 32) {
        let start = || {
            let mut command = rdarts(dir.path());
            command.args(&args).stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn().unwrap()
        };
        let mut both = [start(), start()];
        std::thread::sleep(Duration::from_millis(250 + 37 * kills));
        at_once += usize::from(both.iter_mut().all(|one| one.try_wait().unwrap().is_none()));
        for one in &mut both {
            let _ = one.kill();
            one.wait().unwrap();
        }
        kills += 1;
    }
    assert!(kills > 1 && at_once > 0, "{kills} kills, {at_once} of two at once");
    let last = build(dir.path(), "killed.table", &["--jobs", "2"]);
    assert_eq!(last.status.code(), Some(0), "{}", text(&last.stderr));
    assert_eq!(results(&path), expected);
    assert!(text(&last.stdout).contains("16 architectures with 2 seeds"), "{}", text(&last.stdout));

    // A digit changed on the disk: named, and only that training made again.
    let damaged = std::fs::read_to_string(&path).unwrap().replacen("\"seed\":2", "\"seed\":7", 1);
    std::fs::write(&path, damaged).unwrap();
    let again = build(dir.path(), "killed.table", &[]);
    assert_eq!(again.status.code(), Some(0), "{}", text(&again.stderr));
    let said = text(&again.stderr);
    assert!(said.contains("was changed or damaged: its checksum does not fit; what it held is made again"), "{said}");
    assert!(said.contains("31 of 32 trainings there already") && said.contains("32 of 32: architecture "), "{said}");
    assert_eq!(said.matches(" of 32: architecture ").count(), 1, "{said}");
    assert_eq!(results(&path), expected);

    // Nothing is left to do.
    let idle = build(dir.path(), "killed.table", &[]);
    assert!(!text(&idle.stderr).contains(": architecture "), "{}", text(&idle.stderr));
}

/// Whole lines behind the header.
fn results_whole(path: &Path) -> usize {
    std::fs::read_to_string(path).unwrap().lines().skip(1).filter(|line| line.ends_with("\"}")).count()
}

#[test]
fn a_table_answers_and_a_search_is_measured_against_it() {
    let dir = folder();
    for (out, seed) in [("one.table", "1"), ("two.table", "2")] {
        let built = build(dir.path(), out, &["--seeds", seed]);
        assert_eq!(built.status.code(), Some(0), "{}", text(&built.stderr));
    }
    let json = |args: &[&str]| -> Value {
        let done = run(dir.path(), &[args, &["--json"]].concat());
        assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
        serde_json::from_slice(&done.stdout).unwrap()
    };
    let merged = json(&["table", "import", "one.table", "two.table"]);
    assert_eq!((&merged["added"], &merged["trainings"], &merged["missing"]), (&16.into(), &32.into(), &0.into()));
    let best = json(&["table", "best", "one.table", "--n", "16"]);
    let all = best["best"].as_array().unwrap();
    let errors: Vec<f64> = all.iter().map(|row| row["test_error"].as_f64().unwrap()).collect();
    assert!(errors.len() == 16 && errors.is_sorted() && best["spread"]["architectures"] == 16);
    for (at, row) in all.iter().enumerate().step_by(5) {
        let asked = json(&["table", "query", "one.table", row["genotype"].as_str().unwrap()]);
        assert_eq!((&asked["rank"], &asked["seeds"]), (&(at + 1).into(), &row["seeds"]));
    }
    let by_number = json(&["table", "query", "one.table", "3"]);
    assert_eq!(by_number["architecture"], 3);
    let csv = run(dir.path(), &["table", "export", "one.table"]);
    assert_eq!(text(&csv.stdout).lines().count(), 33);

    let keys = ["network.channels=2", "network.cells=3", "search.batch=16", "search.epochs=3", "data.limit=64"];
    let keys = keys.iter().chain(&["hessian.batches=1", "data.valid_limit=32"]).flat_map(|key| ["--set", key]);
    let search: Vec<&str> =
        ["search", "--space", "mini.toml", "--out", "run", "--no-report"].into_iter().chain(keys).collect();
    let searched = run(dir.path(), &search);
    assert_eq!(searched.status.code(), Some(0), "{}", text(&searched.stderr));
    let regret = json(&["table", "regret", "one.table", "run"]);
    let epochs = regret["runs"][0]["epochs"].as_array().unwrap();
    assert_eq!(epochs.len(), 3);
    let least = regret["best"]["test_error"].as_f64().unwrap();
    for epoch in epochs {
        let of = |key: &str| epoch[key].as_f64().unwrap();
        assert!(of("regret") >= 0.0 && (of("test_error") - least - of("regret")).abs() < 1e-12, "{epoch}");
    }
    assert!(regret["runs"][0]["regret_of_found"].as_f64().unwrap() >= 0.0);
    assert_eq!((&regret["architectures"], &regret["missing_architectures"]), (&16.into(), &0.into()));

    // Of a table that is not whole it says so, and shows what it knows.
    let held: Vec<String> = std::fs::read_to_string(dir.path().join("run/events.jsonl"))
        .unwrap()
        .lines()
        .filter_map(|line| Some(serde_json::from_str::<Value>(line).unwrap()["genotype"].as_str()?.to_string()))
        .collect();
    let last = json(&["table", "query", "one.table", held.last().unwrap()])["architecture"].as_u64().unwrap();
    let lines = std::fs::read_to_string(dir.path().join("one.table")).unwrap();
    let part = |is_kept: &dyn Fn(u64) -> bool| {
        let kept = lines.lines().enumerate().filter(|(i, line)| {
            let of: Value = serde_json::from_str(line).unwrap();
            *i == 0 || of["architecture"].as_u64().is_some_and(is_kept)
        });
        let text: String = kept.map(|(_, line)| format!("{line}\n")).collect();
        std::fs::write(dir.path().join("part.table"), text).unwrap();
    };
    part(&|architecture| architecture != last);
    let regret = json(&["table", "regret", "part.table", "run"]);
    assert_eq!((&regret["architectures"], &regret["missing_architectures"]), (&16.into(), &1.into()));
    let run_json = &regret["runs"][0];
    assert!(run_json["epochs"][2]["regret"].is_null() && run_json["regret_of_found"].is_null(), "{run_json}");
    let told = run(dir.path(), &["table", "regret", "part.table", "run"]);
    let told = (told.status.code(), text(&told.stdout));
    assert_eq!(told.0, Some(0));
    assert!(told.1.starts_with("The table is not whole: 1 of 16 architectures are not done yet"), "{}", told.1);
    assert!(told.1.contains("What the search returned was not trained with every seed yet"), "{}", told.1);
}

#[test]
fn bad_input_is_one_sentence_and_leaves_nothing() {
    let dir = folder();
    std::fs::write(dir.path().join("no.table"), "{\"event\":1}\n").unwrap();
    let built = build(dir.path(), "small.table", &["--seeds", "1", "--json"]);
    assert_eq!(built.status.code(), Some(0), "{}", text(&built.stderr));
    let whole = std::fs::read(dir.path().join("small.table")).unwrap();
    let refused = |args: &[&str], sentence: &str| {
        let done = run(dir.path(), args);
        let said = text(&done.stderr);
        assert_eq!(done.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.trim_end().ends_with(sentence) && said.trim_end().lines().count() == 1, "{args:?}: {said}");
    };
    refused(&["table", "best", "no.table"], "`no.table` is no table: its first line is not the header of one");
    refused(&["table", "build", "--space", "s2", "--out", "large.table"], "and a table holds at most 10000");
    assert!(!dir.path().join("large.table").exists());
    refused(
        &["table", "build", "--out", "small.table", "--epochs", "3"],
        "the architectures of small.table are trained with train.epochs = 2, not 3",
    );
    refused(&["table", "build", "--seeds", "1,1"], "--seeds 1,1 names a seed twice");
    refused(
        &["table", "build", "--out", "small.table", "--seeds", "2"],
        "a table of the others can be built beside it and imported",
    );
    refused(
        &["table", "query", "small.table", "DARTS_V2"],
        "the normal cell has 4 nodes, but a cell of the space `mini` has 1",
    );
    assert_eq!(std::fs::read(dir.path().join("small.table")).unwrap(), whole);
}
