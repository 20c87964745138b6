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

const TRAIN: &[&str] = &[
    "--threads",
    "1",
    "--no-report",
    "--epochs",
    "3",
    "--channels",
    "2",
    "--set",
    "data.pairs=24",
    "--set",
    "data.test_pairs=4",
    "--set",
    "data.valid_fraction=0.2",
    "--set",
    "data.height=64",
    "--set",
    "data.width=64",
    "--set",
    "data.max_disparity=8",
    "--set",
    "train.crop_height=64",
    "--set",
    "train.crop_width=64",
];

fn train(dir: &Path, network: &str, more: &[&str]) -> Output {
    run(dir, &[&["train", network], TRAIN, more].concat())
}

/// A genotype that the tests train.
const GENOTYPE: &str = "Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1), ('sep_conv_3x3', 2), ('max_pool_3x3', 1), \
                        ('skip_connect', 2), ('sep_conv_3x3', 3)], reduce=[('skip_connect', 0), ('sep_conv_3x3', 1), \
                        ('max_pool_3x3', 0), ('sep_conv_3x3', 2), ('skip_connect', 1), ('skip_connect', 3)], \
                        upsample=[('sep_conv_3x3', 0), ('skip_connect', 1), ('sep_conv_3x3', 2), ('skip_connect', 3), \
                        ('max_pool_3x3', 4), ('skip_connect', 2), ('sep_conv_3x3', 5), ('skip_connect', 0)])";

#[test]
fn a_training_that_was_killed_goes_on_to_the_same_bytes_and_its_best_epoch_is_the_model() {
    let tmp = tempfile::tempdir().unwrap();
    std::fs::write(tmp.path().join("cells.txt"), GENOTYPE).unwrap();
    let whole = train(tmp.path(), "cells.txt", &["--out", "whole"]);
    assert!(whole.status.success(), "{}", text(&whole));
    let told = text(&whole);
    assert!(
        told.contains("held-out error") && told.contains("seen by both views") && told.contains("> 3 px"),
        "{told}"
    );
    // The same training stopped in the middle of its second epoch, by its own signal, then gone on with.
    let mut child = Command::new(env!("CARGO_BIN_EXE_rdarts"))
        .args(["train", GENOTYPE])
        .args(TRAIN)
        .args(["--out", "killed", "--set", "train.epochs=3"])
        .current_dir(tmp.path())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let dir = tmp.path().join("killed");
    while !std::fs::read_to_string(dir.join("events.jsonl"))
        .is_ok_and(|events| events.contains("disparity_train_epoch"))
    {
        assert!(child.try_wait().unwrap().is_none_or(|status| status.success()), "it has failed");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    if !dir.join("DONE").exists() {
        let out = run(tmp.path(), &["resume", "killed", "--threads", "3", "--no-report"]);
        assert!(out.status.success(), "{}", text(&out));
    }
    let whole = tmp.path().join("whole");
    assert_eq!(events(&dir), events(&whole));
    let bytes = |dir: &Path| std::fs::read(dir.join("model.safetensors")).unwrap();
    assert!(bytes(&dir) == bytes(&whole), "the models differ");
    // What the last line says is what the records say.
    let lines: Vec<serde_json::Value> = events(&whole).lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let (last, epochs) = (lines.last().unwrap(), &lines[1..lines.len() - 1]);
    assert_eq!((epochs.len(), &lines[0]["n_valid"], &last["n_test"]), (3, &5.into(), &4.into()));
    let error = |e: &serde_json::Value| e["valid_error"].as_f64().unwrap();
    let best = epochs.iter().map(error).fold(f64::INFINITY, f64::min);
    assert_eq!(error(last), best);
    assert_eq!(error(&epochs[last["epoch"].as_u64().unwrap() as usize]), best);
    assert_eq!(last["test"]["pixels"], 4 * 64 * 64);
    assert!(last["test_visible"]["pixels"].as_u64().unwrap() < 4 * 64 * 64);
    assert!(last["test_visible"]["error"].as_f64().unwrap() < last["test"]["error"].as_f64().unwrap());
}

#[test]
fn what_a_search_found_is_trained_on_its_pairs_and_a_training_trains_again() {
    let tmp = tempfile::tempdir().unwrap();
    let small = ["--epochs", "1", "--set", "data.height=64", "--set", "hessian.every=0", "--method", "darts"];
    let out = search(tmp.path(), &[&["--out", "found", "--set", "data.scenes_seed=7"], &small[..]].concat());
    assert!(out.status.success(), "{}", text(&out));
    let short = ["--epochs", "1", "--set", "data.test_limit=1"];
    let out = train(tmp.path(), "found", &[&["--out", "first"], &short[..]].concat());
    assert!(out.status.success(), "{}", text(&out));
    let spec = std::fs::read_to_string(tmp.path().join("first/spec.toml")).unwrap();
    let found = std::fs::read_to_string(tmp.path().join("found/genotype.txt")).unwrap();
    assert!(spec.contains("scenes_seed = 7") && spec.contains(found.trim()), "{spec}");
    let out = run(tmp.path(), &["train", "first", "--out", "again", "--seed", "2", "--json", "--threads", "1"]);
    assert!(out.status.success(), "{}", text(&out));
    let told: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((told["epochs"].as_array().unwrap().len(), &told["result"]["n_test"]), (1, &1.into()));
    assert!(told["ms_per_pair"].as_f64().unwrap() > 0.0);
    // A spec file, and names that need --task.
    std::fs::write(
        tmp.path().join("my.toml"),
        "preset = \"disparity-train-demo\"\n[network]\ngenotype = \"all-skip\"\n",
    )
    .unwrap();
    for network in [&["my.toml"][..], &["all-sep-conv", "--task", "disparity"], &["random-dispnet-3"]] {
        let out = train(tmp.path(), network[0], &[&network[1..], &short[..], &["--set", "data.limit=5"]].concat());
        assert!(out.status.success(), "{network:?}: {}", text(&out));
    }
}

#[test]
fn what_cannot_be_trained_is_told_in_a_sentence_and_leaves_nothing() {
    let tmp = tempfile::tempdir().unwrap();
    std::fs::write(tmp.path().join("cells.txt"), GENOTYPE.replace("('skip_connect', 0)])", "('skip_connect', 9)])"))
        .unwrap();
    std::fs::write(tmp.path().join("images.txt"), "DARTS_V2").unwrap();
    // Pairs smaller than the windows, which only their headers tell.
    let scenes = rdarts::data::stereo::Scenes::new(64, 96, 8.0, 1).unwrap();
    for name in ["left", "right", "disp"] {
        std::fs::create_dir_all(tmp.path().join("pairs").join(name)).unwrap();
    }
    for i in 0..8 {
        let pair = scenes.pair(i);
        let save = |name: &str, view: &[u8], width: usize| {
            let rows: Vec<u8> = view.chunks(3 * 96).flat_map(|row| row[..3 * width].to_vec()).collect();
            let picture = image::RgbImage::from_raw(width as u32, 64, rows).unwrap();
            picture.save(tmp.path().join(format!("pairs/{name}/{i}.png"))).unwrap();
        };
        // The last ones: sets are looked at when they are opened, but only at their first pairs.
        let width = if i > 5 { 40 } else { 96 };
        save("left", &pair.left, width);
        save("right", &pair.right, width);
        let disparity: Vec<f32> = pair.disparity.chunks(96).flat_map(|row| row[..width].to_vec()).collect();
        let bytes = rdarts::data::stereo::encode(width, &disparity, rdarts::data::stereo::Coding::Pfm).unwrap();
        std::fs::write(tmp.path().join(format!("pairs/disp/{i}.pfm")), bytes).unwrap();
    }
    for (network, more, expected) in [
        ("cells.txt", &[][..], "cells.txt: skip_connect into node 2 of the upsample cell reads state 9"),
        ("random-dispnets-1", &["--task", "disparity"], "did you mean 'dispnet'"),
        ("AutoDispNet", &["--data", "cifar10"], "cifar10"),
        ("AutoDispNet", &["--cells", "3"], "--cells is for classification"),
        ("AutoDispNet", &["--task", "classification"], "NETWORK estimates disparity"),
        ("AutoDispNet", &["--set", "network.displacement=8"], "at most 7"),
        ("AutoDispNet", &["--set", "data.limit=2"], "2 pairs are left to train on"),
        ("AutoDispNet", &["--set", "weights.momentum=0.9"], "unknown key `weights.momentum`"),
        ("AutoDispNet", &["--set", "train.crop_width=96"], "a multiple of 64"),
        ("AutoDispNet", &["--set", "data.width=40"], "windows of 64x64"),
        ("AutoDispNet", &["--data", "pairs", "--set", "train.batch=2"], "64x40 pixels"),
        ("AutoDispNet", &["--tensorboard"], "--tensorboard"),
    ] {
        let out = train(tmp.path(), network, &[&["--out", "run"], more].concat());
        assert_eq!(out.status.code(), Some(2), "{network} {more:?}: {}", text(&out));
        assert!(text(&out).contains(expected), "{network} {more:?}: {}", text(&out));
        assert!(!tmp.path().join("run").exists(), "{network} {more:?} left a directory");
    }
}
