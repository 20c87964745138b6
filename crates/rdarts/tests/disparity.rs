//! Disparity as its user runs it: small searches and trainings on synthetic scenes, and what is done with a trained network.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::OnceLock;

use rdarts::data::stereo::{Coding, Pair, Scenes, encode, read_disparity};

#[path = "../../../tests/skip.rs"]
mod skip;

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

const TRAIN: &[&str] = &[
    "--threads",
    "1",
    "--no-report",
    "--set",
    "train.epochs=3",
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
        .args(["--out", "killed"])
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
    assert!(last["test"]["error"].as_f64().unwrap() > 0.0 && last["test"]["bad3"].as_f64().unwrap() <= 1.0);
}

#[test]
fn what_a_search_found_is_trained_on_its_pairs_and_a_training_trains_again() {
    let tmp = tempfile::tempdir().unwrap();
    let small = ["--set", "data.height=64", "--set", "hessian.every=0", "--method", "darts"];
    let out = search(tmp.path(), &[&["--out", "found", "--set", "data.scenes_seed=7"], &small[..]].concat());
    assert!(out.status.success(), "{}", text(&out));
    let short = ["--set", "train.epochs=1", "--set", "data.test_limit=1"];
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
    // Pairs smaller than the windows, which only their headers tell.
    let scenes = Scenes::new(64, 96, 8.0, 1).unwrap();
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
        let width = if i > 2 { 40 } else { 96 };
        save("left", &pair.left, width);
        save("right", &pair.right, width);
        let disparity: Vec<f32> = pair.disparity.chunks(96).flat_map(|row| row[..width].to_vec()).collect();
        let bytes = encode(width, &disparity, Coding::Pfm).unwrap();
        std::fs::write(tmp.path().join(format!("pairs/disp/{i}.pfm")), bytes).unwrap();
    }
    for (network, more, expected) in [
        ("cells.txt", &[][..], "cells.txt: skip_connect into node 2 of the upsample cell reads state 9"),
        ("random-dispnets-1", &["--task", "disparity"], "the nearest known one is `dispnet`"),
        ("AutoDispNet", &["--data", "cifar10"], "cifar10"),
        ("AutoDispNet", &["--cells", "3"], "--cells is for classification"),
        ("AutoDispNet", &["--task", "classification"], "NETWORK estimates disparity"),
        ("AutoDispNet", &["--set", "network.displacement=8"], "at most 7"),
        ("AutoDispNet", &["--set", "data.limit=2"], "2 pairs are left to train on"),
        ("AutoDispNet", &["--set", "weights.momentum=0.9"], "unknown key `weights.momentum`"),
        ("AutoDispNet", &["--set", "train.crop_width=96"], "a multiple of 64"),
        ("AutoDispNet", &["--set", "data.width=40"], "windows of 64x64"),
        ("AutoDispNet", &["--data", "pairs", "--set", "train.batch=2"], "64x40 pixels"),
    ] {
        let out = train(tmp.path(), network, &[&["--out", "run"], more].concat());
        assert_eq!(out.status.code(), Some(2), "{network} {more:?}: {}", text(&out));
        assert!(text(&out).contains(expected), "{network} {more:?}: {}", text(&out));
        assert!(!tmp.path().join("run").exists(), "{network} {more:?} left a directory");
    }
}

/// A trained network that several tests use, in a directory of its own.
fn trained() -> &'static Path {
    static TRAINED: OnceLock<tempfile::TempDir> = OnceLock::new();
    TRAINED
        .get_or_init(|| {
            let tmp = tempfile::tempdir().unwrap();
            let out = train(tmp.path(), GENOTYPE, &["--out", "run", "--set", "train.epochs=1"]);
            assert!(out.status.success(), "{}", text(&out));
            tmp
        })
        .path()
}

/// Writes views and truth of a pair as NAME.png and NAME.pfm into left, right and disp.
fn save(dir: &Path, name: &str, pair: &Pair) {
    for (side, view) in [("left", &pair.left), ("right", &pair.right)] {
        std::fs::create_dir_all(dir.join(side)).unwrap();
        let picture = image::RgbImage::from_raw(pair.width as u32, pair.height as u32, view.clone()).unwrap();
        picture.save(dir.join(side).join(format!("{name}.png"))).unwrap();
    }
    std::fs::create_dir_all(dir.join("disp")).unwrap();
    std::fs::write(dir.join(format!("disp/{name}.pfm")), encode(pair.width, &pair.disparity, Coding::Pfm).unwrap())
        .unwrap();
}

#[test]
fn disparities_are_written_in_three_codings_at_the_size_of_the_views_and_held_to_their_truth() {
    let tmp = tempfile::tempdir().unwrap();
    let run_dir = trained().join("run");
    let model = run_dir.to_str().unwrap();
    // Sizes that are no multiples of what the network wants.
    let mut pairs = [Scenes::new(50, 70, 8.0, 1).unwrap().pair(0), Scenes::new(64, 128, 8.0, 1).unwrap().pair(1)];
    pairs[0].disparity[7] = f32::NAN;
    for (name, pair) in ["a", "b"].iter().zip(&pairs) {
        save(tmp.path(), name, pair);
    }
    let args = ["predict", model, "left/a.png", "right/a.png", "--truth", "disp/a.pfm", "--out", "made", "--json"];
    let out = run(tmp.path(), &args);
    assert!(out.status.success(), "{}", text(&out));
    let told: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let made = &told["pairs"][0];
    assert_eq!((&made["height"], &made["width"], &made["errors"]["pixels"]), (&50.into(), &70.into(), &3499.into()));
    let floats = read_disparity(&tmp.path().join("made/a-disparity.pfm"), Coding::Pfm).unwrap();
    let whole = read_disparity(&tmp.path().join("made/a-disparity.png"), Coding::Kitti).unwrap();
    assert_eq!((floats.height, floats.width, whole.height, whole.width), (50, 70, 50, 70));
    for (a, b) in floats.values.iter().zip(&whole.values) {
        // The smallest that KITTI's coding can say is 1/256.
        assert!((a.max(1.0 / 256.0) - b).abs() <= 0.5 / 256.0 + 1e-6, "{a} {b}");
    }
    let colours = image::open(tmp.path().join("made/a-disparity-colour.png")).unwrap();
    assert_eq!((colours.width(), colours.height(), colours.color()), (70, 50, image::ColorType::Rgb8));
    // What is told follows from what is written.
    let known: Vec<(f32, f32)> =
        floats.values.iter().copied().zip(pairs[0].disparity.iter().copied()).filter(|(_, t)| t.is_finite()).collect();
    let off = |(d, t): &(f32, f32)| f64::from((d - t).abs());
    let mean = known.iter().map(off).sum::<f64>() / known.len() as f64;
    let bad = known.iter().filter(|pair| off(pair) > 3.0).count() as f64 / known.len() as f64;
    assert!((made["errors"]["error"].as_f64().unwrap() - mean).abs() < 1e-5, "{made} {mean}");
    assert!((made["errors"]["bad3"].as_f64().unwrap() - bad).abs() < 1e-3, "{made} {bad}");
    let high = floats.values.iter().fold(0f32, |m, d| m.max(*d));
    assert_eq!(made["most"].as_f64().unwrap() as f32, high);
    // A directory gives the same for each pair; `test` says the same of all pixels.
    let out = run(tmp.path(), &["predict", model, ".", "--truth", "disp", "--out", "all", "--json"]);
    assert!(out.status.success(), "{}", text(&out));
    let all: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((&all["pairs"][0]["errors"], all["pairs"].as_array().unwrap().len()), (&made["errors"], 2));
    let same = |name: &str| {
        let read = |dir: &str| std::fs::read(tmp.path().join(dir).join(name)).unwrap();
        read("made") == read("all")
    };
    assert!(same("a-disparity.pfm") && same("a-disparity.png") && same("a-disparity-colour.png"));
    let out = run(tmp.path(), &["test", model, "--data", ".", "--part", "all", "--json"]);
    assert!(out.status.success(), "{}", text(&out));
    let tested: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((&tested["n"], &tested["errors"]["pixels"]), (&2.into(), &all["errors"]["pixels"]));
    let error = |v: &serde_json::Value| v["errors"]["error"].as_f64().unwrap();
    assert!((error(&tested) - error(&all)).abs() < 1e-9, "{tested} {all}");
    // The run's own test again.
    let out = run(tmp.path(), &["test", model]);
    assert!(out.status.success() && text(&out).contains("As reported at the end"), "{}", text(&out));
}

#[test]
fn the_bytes_of_middleburys_older_scenes_are_truth_too() {
    let tmp = tempfile::tempdir().unwrap();
    let run_dir = trained().join("run");
    let model = run_dir.to_str().unwrap();
    // As wide as the scenes of 2003 in quarter size, whose bytes are quarters of a pixel.
    let mut pair = Scenes::new(64, 450, 60.0, 1).unwrap().pair(0);
    let bytes: Vec<u8> =
        pair.disparity.iter().enumerate().map(|(i, d)| if i < 9 { 0 } else { (4.0 * d) as u8 }).collect();
    image::GrayImage::from_raw(450, 64, bytes.clone()).unwrap().save(tmp.path().join("disp2.png")).unwrap();
    let quarters = |v: u8| if v == 0 { f32::NAN } else { f32::from(v) / 4.0 };
    pair.disparity = bytes.into_iter().map(quarters).collect();
    save(tmp.path(), "im2", &pair);
    let told = |truth: &str| {
        let args = ["predict", model, "left/im2.png", "right/im2.png", "--truth", truth, "--force", "--json"];
        let out = run(tmp.path(), &args);
        assert!(out.status.success(), "{}", text(&out));
        serde_json::from_slice::<serde_json::Value>(&out.stdout).unwrap()["errors"].clone()
    };
    let (of_bytes, of_floats) = (told("disp2.png"), told("disp/im2.pfm"));
    assert_eq!((&of_bytes, &of_bytes["pixels"]), (&of_floats, &(64 * 450 - 9).into()));
    // Of any other size nothing says what a byte is.
    image::GrayImage::new(70, 50).save(tmp.path().join("other.png")).unwrap();
    let out = run(tmp.path(), &["predict", model, "left/im2.png", "right/im2.png", "--truth", "other.png", "--force"]);
    assert!(
        out.status.code() == Some(2) && text(&out).contains("the width 70, from which the scale"),
        "{}",
        text(&out)
    );
}

#[test]
fn pairs_and_models_that_cannot_be_used_are_told_in_a_sentence() {
    let tmp = tempfile::tempdir().unwrap();
    let run_dir = trained().join("run");
    let model = run_dir.to_str().unwrap();
    let pair = Scenes::new(50, 70, 8.0, 1).unwrap().pair(0);
    save(tmp.path(), "a", &pair);
    save(&tmp.path().join("wide"), "a", &Scenes::new(50, 80, 8.0, 1).unwrap().pair(0));
    save(&tmp.path().join("lonely"), "a", &pair);
    std::fs::remove_file(tmp.path().join("lonely/right/a.png")).unwrap();
    let nothing = encode(70, &[f32::NAN; 50 * 70], Coding::Pfm).unwrap();
    std::fs::write(tmp.path().join("nothing.pfm"), nothing).unwrap();
    std::fs::write(tmp.path().join("broken.png"), b"\x89PNG\r\n\x1a\nno more").unwrap();
    let bytes = std::fs::read(run_dir.join("model.safetensors")).unwrap();
    std::fs::write(tmp.path().join("half.safetensors"), &bytes[..bytes.len() / 2]).unwrap();
    let views = ["left/a.png", "right/a.png"];
    for (args, expected) in [
        (&["predict", model, "left/a.png"][..], "name the left and the right view"),
        (&["predict", model, "left/a.png", "wide/right/a.png"], "70x50 pixels and wide/right/a.png has 80x50"),
        (&["predict", model, "left/a.png", "none.png"], "none.png"),
        (&["predict", model, "left/a.png", "broken.png"], "broken.png"),
        (&["predict", model, "lonely"], "has no picture a for"),
        (&["predict", model, "left"], "should hold left/ and right/"),
        (&["predict", model, views[0], views[1], "--truth", "wide/disp/a.pfm"], "80x50"),
        (&["predict", model, views[0], views[1], "--csv"], "--csv"),
        (&["predict", "half.safetensors", views[0], views[1]], "cut short"),
        (&["test", "half.safetensors"], "cut short"),
        (&["test", model, "--data", "cifar10"], "cifar10"),
        (&["export", model, "--to", "onyx"], "onnx"),
    ] {
        let out = run(tmp.path(), args);
        assert_eq!(out.status.code(), Some(2), "{args:?}: {}", text(&out));
        assert!(text(&out).contains(expected), "{args:?}: {}", text(&out));
    }
    assert!(!tmp.path().join("a-disparity.pfm").exists());
    let out = run(tmp.path(), &["predict", model, views[0], views[1], "--truth", "nothing.pfm"]);
    assert!(out.status.success() && text(&out).contains("no pixel of its truth is known"), "{}", text(&out));
    // What is there stays.
    let out = run(tmp.path(), &["predict", model, views[0], views[1]]);
    assert!(out.status.code() == Some(2) && text(&out).contains("is there already: --force"), "{}", text(&out));
    let out = run(tmp.path(), &["predict", model, views[0], views[1], "--force"]);
    assert!(out.status.success(), "{}", text(&out));
}

/// Reads what an export gives for a pair and prints it as JSON: the ONNX file by onnxruntime, then the page by PyTorch.
const PYTHON: &str = r#"
import json, sys
import numpy, onnxruntime
from PIL import Image
sys.path.insert(0, "page")
import model, torch
views = [numpy.asarray(Image.open(f"{side}/b.png")).astype("float32").transpose(2, 0, 1) / 255 for side in ("left", "right")]
session = onnxruntime.InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
onnx = session.run(["disparity"], {side: view[None] for side, view in zip(("left", "right"), views)})[0]
torch_views = [torch.from_numpy(view) for view in views]
net = model.load()
page = model.disparity(net, *torch_views)
cut = model.disparity(net, *[view[:, :50, :70] for view in torch_views])
json.dump([onnx.ravel().tolist(), page.ravel().tolist(), list(cut.shape)], sys.stdout)
"#;

#[test]
fn exports_give_the_disparities_of_the_model() {
    let tmp = tempfile::tempdir().unwrap();
    let run_dir = trained().join("run");
    let model = run_dir.to_str().unwrap();
    let pair = Scenes::new(64, 128, 8.0, 1).unwrap().pair(1);
    save(tmp.path(), "b", &pair);
    for (to, name) in [("onnx", "net.onnx"), ("pytorch", "page"), ("safetensors", "w.safetensors")] {
        // Each is compared with the model before it is written.
        let out = run(tmp.path(), &["export", model, "--to", to, "--out", name, "--json"]);
        assert!(out.status.success(), "{to}: {}", text(&out));
        let told: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(told["pairs_compared"], 4);
        assert!(told["largest_difference"].as_f64().unwrap() < 1e-3, "{told}");
    }
    let out = run(tmp.path(), &["predict", model, "left/b.png", "right/b.png"]);
    assert!(out.status.success(), "{}", text(&out));
    let expected = read_disparity(&tmp.path().join("b-disparity.pfm"), Coding::Pfm).unwrap().values;
    assert!(expected.iter().any(|d| *d > 0.1), "a network that gives nothing shows nothing");
    let Some(python) = std::env::var_os("RDARTS_PYTHON") else {
        return skip::skip("RDARTS_PYTHON unset", "no Python with onnxruntime and torch is named");
    };
    let out = Command::new(python).args(["-c", PYTHON]).current_dir(tmp.path()).output().unwrap();
    assert!(out.status.success(), "{}", text(&out));
    let (onnx, page, cut): (Vec<f32>, Vec<f32>, [usize; 2]) = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((onnx.len(), page.len(), cut), (64 * 128, 64 * 128, [50, 70]));
    for (i, expected) in expected.iter().enumerate() {
        assert!((onnx[i] - expected).abs() < 1e-3 && (page[i] - expected).abs() < 1e-3, "{i}: {expected}");
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
    let none = run(tmp.path(), &["draw", "DARTS_V2", "--cell", "upsample", "--out", "none.svg"]);
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

/// Two searches and five trainings of small networks.
const ROBUST: &str = "robust --task disparity --threads 1 --no-report --set data.height=64 --set data.width=64 \
                      --set data.max_disparity=8 --set data.pairs=24 --set data.search_limit=8 --set data.valid_limit=4 \
                      --set data.test_pairs=2 --set search.epochs=2 --set search.batch=4 --set search.crop_width=64 \
                      --set hessian.batches=1 --set monitor.window=1 --set network.channels=1 \
                      --set train_network.channels=1 --set train.short_epochs=1 --set train.epochs=2 \
                      --set train.crop_width=64 --set portfolio.valid_fraction=0.2";

fn robust(dir: &Path, more: &[&str]) -> Output {
    let args: Vec<&str> = ROBUST.split_whitespace().collect();
    run(dir, &[&args[..], more].concat())
}

#[test]
fn a_portfolio_chooses_trains_and_goes_on_to_the_same_bytes_wherever_it_was_killed() {
    let tmp = tempfile::tempdir().unwrap();
    let out = robust(tmp.path(), &["--out", "whole"]);
    assert!(out.status.success(), "{}", text(&out));
    let told = text(&out);
    for part in
        ["the best of 2 on the held-out pairs", "all-sep-conv", "seen by both views", "rdarts predict whole LEFT"]
    {
        assert!(told.contains(part), "{part}: {told}");
    }
    let whole = tmp.path().join("whole");
    let log = events(&whole);
    let kinds: Vec<String> = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["event"].as_str().unwrap().to_string())
        .collect();
    let trained = ["disparity_member_trained"; 2];
    let baselines = ["disparity_baseline_trained"; 3];
    let expected = [&["robust_started", "member_found", "member_found"][..], &trained, &["chosen"], &baselines];
    assert_eq!(kinds[..kinds.len() - 1], expected.concat());
    assert_eq!(kinds.last().unwrap(), "disparity_robust_finished");
    // The chosen one is that with the smaller error on the pairs that all trainings hold out, and its model is that of the run.
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let errors = [3, 4].map(|line: usize| lines[line]["valid_error"].as_f64().unwrap());
    assert_eq!(lines[5]["member"], usize::from(errors[1] < errors[0]));
    let model = std::fs::read(whole.join("model.safetensors")).unwrap();
    assert_eq!(model, std::fs::read(whole.join("members/chosen/model.safetensors")).unwrap());
    // The same from each of a few places, two runs at a time and on other threads.
    for (name, lost) in [("early", &["search-1", "short-0", "short-1", "chosen"][..]), ("late", &["chosen", "random"])]
    {
        copy(&whole, &tmp.path().join(name));
        let dir = tmp.path().join(name);
        // Two members that find the same have one short training.
        for member in lost.iter().map(|member| dir.join("members").join(member)).filter(|member| member.exists()) {
            std::fs::remove_dir_all(member).unwrap();
        }
        let keep = if name == "early" { 2 } else { 6 };
        let cut: String = log.lines().take(keep).map(|line| format!("{line}\n")).collect();
        std::fs::write(dir.join("events.jsonl"), cut).unwrap();
        for file in ["DONE", "model.safetensors", "genotype.txt", "genotype.json"] {
            std::fs::remove_file(dir.join(file)).unwrap();
        }
        let out = run(tmp.path(), &["resume", name, "--threads", "2", "--jobs", "2", "--no-report"]);
        assert!(out.status.success(), "{}", text(&out));
        assert_eq!(events(&dir), log, "{name}");
        assert_eq!(std::fs::read(dir.join("model.safetensors")).unwrap(), model, "{name}");
    }
    // What it has made is a model as any other, and a network to be trained on.
    let out = run(tmp.path(), &["test", "whole", "--json"]);
    let tested: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(tested["errors"], lines.last().unwrap()["test"], "{}", text(&out));
    let out = run(tmp.path(), &["train", "whole", "--epochs", "1", "--out", "again", "--threads", "1", "--no-report"]);
    assert!(out.status.success(), "{}", text(&out));
    let genotype = std::fs::read_to_string(whole.join("genotype.txt")).unwrap();
    assert_eq!(std::fs::read_to_string(tmp.path().join("again/genotype.txt")).unwrap(), genotype);
}

/// A run directory and all that is in it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}

#[test]
fn what_no_portfolio_can_be_is_told_in_a_sentence_and_leaves_nothing() {
    let tmp = tempfile::tempdir().unwrap();
    for (more, expected) in [
        (&["--vary", "drop_path"][..], "\"augment\""),
        (&["--values", "0.0003,0.0003"], "different numbers"),
        (&["--space", "s2"], "the spaces for disparity are dispnet and autodispnet"),
        (&["--set", "portfolio.valid_fraction=0.01"], "portfolio.valid_fraction"),
        (&["--set", "data.search_limit=3"], "data.search_limit"),
        (&["--set", "train_network.displacement=9"], "train_network.displacement"),
        (&["--max-params", "10"], "no cells of the space dispnet have fewer than"),
        (&["--hours", "1"], "leave one of the two out"),
        (&["--set", "train_network.cells=9"], "unknown key"),
    ] {
        let out = robust(tmp.path(), &[&["--out", "run"], more].concat());
        assert_eq!(out.status.code(), Some(2), "{more:?}: {}", text(&out));
        assert!(text(&out).contains(expected), "{more:?}: {}", text(&out));
        assert!(!tmp.path().join("run").exists(), "{more:?} left a directory");
    }
    let out = run(tmp.path(), &["robust", "--task", "classification", "--space", "dispnet"]);
    assert!(text(&out).contains("--space dispnet is of disparity"), "{}", text(&out));
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
