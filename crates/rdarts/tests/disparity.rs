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

#[test]
fn a_search_leaves_its_page_its_pairs_and_its_numbers_for_tensorboard_and_its_cells_are_drawn() {
    let tmp = tempfile::tempdir().unwrap();
    let args: Vec<&str> = SMALL.iter().copied().filter(|arg| *arg != "--no-report").collect();
    let out = run(tmp.path(), &[&args[..], &["--out", "run", "--tensorboard"]].concat());
    assert!(out.status.success(), "{}", text(&out));
    let told = text(&out);
    assert!(told.contains("Page: run/report.html") && told.contains("What each rule would have done"), "{told}");
    assert!(!told.contains("DARTS+"), "{told}");
    let page = std::fs::read_to_string(tmp.path().join("run/report.html")).unwrap();
    assert!(page.contains("Upsampling cell") && page.contains("predicted disparity"));
    assert!(!page.split("<script").next().unwrap().contains("ccuracy"));
    let boards: Vec<_> = std::fs::read_dir(tmp.path().join("run/tensorboard")).unwrap().collect();
    assert_eq!(boards.len(), 1);
    let board = std::fs::read(boards[0].as_ref().unwrap().path()).unwrap();
    assert!(board.windows(17).any(|part| part == b"error/valid_error"));
    // Pairs of the alphas' half, each in four pictures.
    let maps = std::fs::read_to_string(tmp.path().join("run/maps/maps.jsonl")).unwrap();
    let pairs: Vec<u64> = maps
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["pair"].as_u64().unwrap())
        .collect();
    assert_eq!(pairs, [12, 14, 16, 18, 20, 22]);
    assert_eq!(std::fs::read_dir(tmp.path().join("run/maps")).unwrap().count(), 25);
    // Their error is what the views' own scale says: none is nothing, and none is farther off than any disparity.
    for line in maps.lines() {
        let error = serde_json::from_str::<serde_json::Value>(line).unwrap()["error"].as_f64().unwrap();
        assert!(error > 0.0 && error < 64.0, "{line}");
    }

    for (args, cells) in [(&["draw", "run"][..], 3), (&["draw", "AutoDispNet", "--cell", "upsample"], 1)] {
        let out = run(tmp.path(), &[args, &["--out", "cells.svg", "--force"]].concat());
        assert!(out.status.success(), "{}", text(&out));
        let svg = std::fs::read_to_string(tmp.path().join("cells.svg")).unwrap();
        assert_eq!(svg.matches(" cell</text>").count(), cells, "{args:?}");
        assert!(svg.contains(">prediction</text>"));
    }
    let none = run(tmp.path(), &["draw", "DARTS_V2", "--cell", "upsample"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(text(&none).contains("no cell of the type upsample"), "{}", text(&none));

    // What is of classification is told in a sentence.
    for (args, expected) in [
        (&["hessian", "run"][..], "is a search for disparity"),
        (&["bench", "--task", "disparity", "--cells", "5"], "--cells is of classification"),
        (&["bench", "--task", "disparity", "--genotype", "DARTS_V2"], "--genotype is of classification"),
        (&["search", "run"], "begins another"),
        (
            &["search", "--task", "classification", "--preset", "disparity-demo"],
            "--preset disparity-demo is of disparity",
        ),
    ] {
        let out = run(tmp.path(), args);
        assert_eq!(out.status.code(), Some(2), "{args:?}: {}", text(&out));
        assert!(text(&out).contains(expected), "{args:?}: {}", text(&out));
    }
    let rates = run(
        tmp.path(),
        &[
            "bench",
            "--task",
            "disparity",
            "--channels",
            "1",
            "--batch",
            "2",
            "--size",
            "32",
            "--steps",
            "1",
            "--only",
            "first",
        ],
    );
    assert!(text(&rates).contains("pairs/s") && !text(&rates).contains("images/s"), "{}", text(&rates));
    // The recorded spec tells the task.
    let again = run(
        tmp.path(),
        &["search", "run/spec.toml", "--epochs", "1", "--no-report", "--threads", "1", "--out", "again"],
    );
    assert!(again.status.success(), "{}", text(&again));
    assert!(events(&tmp.path().join("again")).starts_with("{\"event\":\"disparity_started\""));
}

#[test]
fn a_sweep_searches_and_trains_what_was_found_and_reports_errors_in_pixels() {
    let tmp = tempfile::tempdir().unwrap();
    let common = "data.height = 64\ndata.width = 64\ndata.max_disparity = 8\ndata.pairs = 16\nnetwork.channels = 1\n";
    let search = format!(
        "kind = \"disparity-search\"\npreset = \"disparity-demo\"\nthreads = 1\n[set]\n{common}data.valid_limit = 4\n\
         search.epochs = 1\nsearch.batch = 4\nsearch.crop_width = 64\nhessian.batches = 2\n[grid]\nweights.l2 = [3e-4, 27e-4]\n"
    );
    std::fs::write(tmp.path().join("search.toml"), search).unwrap();
    let train = format!(
        "kind = \"disparity-training\"\npreset = \"disparity-train-demo\"\nthreads = 1\n[set]\n{common}train.epochs = 1\n\
         train.crop_width = 64\ndata.test_pairs = 2\n[list]\n\
         network.genotype = [\"runs/search/members/l2=0.0003\", \"runs/search/members/l2=0.0027\"]\nname = [\"a\", \"b\"]\n"
    );
    std::fs::write(tmp.path().join("train.toml"), train).unwrap();
    // Nothing was found yet that could be trained.
    let early = run(tmp.path(), &["sweep", "run", "train.toml"]);
    assert_eq!(early.status.code(), Some(2), "{}", text(&early));
    for plan in ["search.toml", "train.toml"] {
        let out = run(tmp.path(), &["sweep", "run", plan]);
        assert!(out.status.success(), "{plan}: {}", text(&out));
        let status = run(tmp.path(), &["sweep", "status", plan, "--json"]);
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
        for member in status["members"].as_array().unwrap() {
            assert_eq!(
                (&member["state"], &member["done"], &member["of"]),
                (&"done".into(), &1.into(), &1.into()),
                "{member}"
            );
        }
    }
    let members: Vec<String> =
        ["search/members/l2=0.0003", "search/members/l2=0.0027", "train/members/a", "train/members/b"]
            .iter()
            .map(|name| format!("runs/{name}"))
            .collect();
    let members: Vec<&str> = members.iter().map(String::as_str).collect();
    let out = run(tmp.path(), &[&["report", "--json"], &members[..]].concat());
    let report: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let rows = report["many"]["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 4);
    for row in rows {
        assert_eq!(row["task"], "disparity");
        // Of a search it is that of the training of what it found.
        assert!(row["test_error"].is_f64(), "{row}");
    }
    assert!(rows[0]["eigenvalue"].is_f64() && rows[0]["supernet_error"].is_f64(), "{}", rows[0]);
    assert_eq!(report["many"]["sweeps"][0]["what"], "L2");
    // A training's page and pairs, too.
    let trained = tmp.path().join("runs/train/members/a");
    assert!(std::fs::read_to_string(trained.join("report.html")).unwrap().contains("Off by"));
    assert!(trained.join("maps/01-error.png").exists());
}
