//! `rdarts robust` and `rdarts train` as their users run them: to the end, killed in every stage, on a full disk, twice in
//! one directory.

#![cfg(unix)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

mod common;

use common::{rdarts, run, text};

/// Two searches and five trainings of a second or two together.
const TINY: [&str; 30] = [
    "--values",
    "0.0003,0.0081",
    "--threads",
    "2",
    "--set",
    "network.channels=2",
    "--set",
    "network.cells=3",
    "--set",
    "search.batch=16",
    "--set",
    "search.epochs=3",
    "--set",
    "data.limit=96",
    "--set",
    "data.size=8",
    "--set",
    "hessian.batches=1",
    "--set",
    "train_network.channels=2",
    "--set",
    "train_network.cells=3",
    "--set",
    "train.batch=16",
    "--set",
    "train.short_epochs=2",
    "--set",
    "train.epochs=3",
    "--set",
    "data.valid_limit=32",
];

fn robust(dir: &Path, out: &str, more: &[&str]) -> std::process::Output {
    run(dir, &[&["robust", "--out", out], &TINY[..], more].concat())
}

/// All files whose bits count: the events and results of the portfolio and of every run in it.
fn result(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut add = |dir: &Path, prefix: &Path| {
        for name in ["events.jsonl", "model.safetensors", "genotype.txt", "DONE"] {
            if let Ok(bytes) = std::fs::read(dir.join(name)) {
                files.insert(prefix.join(name), bytes);
            }
        }
    };
    add(dir, Path::new(""));
    for member in std::fs::read_dir(dir.join("members")).unwrap() {
        let member = member.unwrap().path();
        add(&member, Path::new(member.file_name().unwrap()));
    }
    files
}

/// When each run in a portfolio was marked as done.
fn done(dir: &Path) -> BTreeMap<PathBuf, SystemTime> {
    let members = std::fs::read_dir(dir.join("members")).into_iter().flatten();
    let file = members.map(|member| member.unwrap().path().join("DONE"));
    file.filter_map(|file| Some((file.clone(), file.metadata().ok()?.modified().ok()?))).collect()
}

#[test]
fn a_portfolio_tells_its_members_the_choice_and_the_baselines() {
    let tmp = tempfile::tempdir().unwrap();
    let out = robust(tmp.path(), "run", &[]);
    let shown = text(&out.stdout);
    assert!(out.status.success(), "{}", text(&out.stderr));
    for words in [
        "L2 0.0003",
        "L2 0.0081",
        "chosen",
        "random",
        "all-skip",
        "all-sep-conv",
        "rdarts predict run",
        "Genotype(normal",
    ] {
        assert!(shown.contains(words), "`{words}` is not in:\n{shown}");
    }
    let again = robust(tmp.path(), "json", &["--json", "--jobs", "2"]);
    let json: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    let members = json["members"].as_array().unwrap();
    let accuracy = |m: &serde_json::Value| m["short_training"]["valid_accuracy"].as_f64().unwrap();
    let best = members.iter().map(accuracy).fold(0.0, f64::max);
    assert_eq!(accuracy(&members[json["chosen"]["member"].as_u64().unwrap() as usize]), best);
    assert_eq!(json["baselines"].as_array().unwrap().len(), 3);
    // Side by side or one after the other: the same bits.
    assert!(result(&tmp.path().join("json")) == result(&tmp.path().join("run")));
    // What is chosen keeps to its bounds, and nothing that may not be chosen is trained.
    let sizes: Vec<u64> = members.iter().map(|m| m["found"]["n_params"].as_u64().unwrap()).collect();
    let (least, most) = (*sizes.iter().min().unwrap(), *sizes.iter().max().unwrap());
    assert!(least < most, "both members found cells of the same size: {sizes:?}");
    let out = robust(tmp.path(), "small", &["--max-params", &(most - 1).to_string(), "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(json["result"]["n_params"].as_u64(), Some(least));
    let refused = json["members"].as_array().unwrap().iter().position(|m| !m["refused"].is_null()).unwrap();
    assert!(!tmp.path().join(format!("small/members/short-{refused}")).exists());
    let out = robust(tmp.path(), "none", &["--max-macs", "1000"]);
    assert_eq!(out.status.code(), Some(2), "{}", text(&out.stderr));
    assert!(text(&out.stderr).contains("no cell of the space s2 has fewer than"), "{}", text(&out.stderr));
    assert!(!tmp.path().join("none").exists(), "a refused portfolio left something behind");
    // Any of its runs can be trained further by itself, and the chosen one on the same images in the same size.
    let out = run(tmp.path(), &["train", "run/members/search-1", "--epochs", "1", "--json"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let out = run(tmp.path(), &["train", "run", "--epochs", "1", "--out", "longer"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let spec = std::fs::read_to_string(tmp.path().join("longer/spec.toml")).unwrap();
    for line in ["size = 8", "limit = 96", "channels = 2", "epochs = 1", "batch = 16"] {
        assert!(spec.lines().any(|l| l == line), "`{line}` is not in:\n{spec}");
    }
}

/// As a version left it that did not know `reductions` yet.
#[test]
fn a_portfolio_from_before_a_key_was_there_goes_on() {
    let tmp = tempfile::tempdir().unwrap();
    assert!(robust(tmp.path(), "run", &[]).status.success());
    let dir = tmp.path().join("run");
    let file = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    let older = |text: &str| text.replace("reductions = []\n", "");
    let spec = file("spec.toml");
    assert_eq!(spec.matches("reductions = []\n").count(), 2);
    // What the log has is the checksum of the spec without the places of data.
    let text_of = |text: &str| {
        let places = ["dir = ", "cache = "];
        let placeless = |line: &str| match places.iter().find(|place| line.starts_with(**place)) {
            Some(place) => format!("{place}\"\"\n"),
            None => line.to_string(),
        };
        rdarts::run::checksum(text.split_inclusive('\n').map(placeless).collect::<String>().as_bytes())
    };
    let events = file("events.jsonl");
    assert!(events.contains(&text_of(&spec)), "the log begins with the checksum of the spec");
    let events = events.replace(&text_of(&spec), &text_of(&older(&spec)));
    std::fs::write(dir.join("events.jsonl"), &events).unwrap();
    std::fs::write(dir.join("spec.toml"), older(&spec)).unwrap();
    std::fs::remove_file(dir.join("DONE")).unwrap();
    let out = run(tmp.path(), &["resume", "run", "--no-report"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert_eq!(file("events.jsonl"), events);
}

#[test]
fn what_does_not_belong_to_a_portfolio_any_more_is_noticed() {
    let tmp = tempfile::tempdir().unwrap();
    assert!(robust(tmp.path(), "run", &[]).status.success());
    let dir = tmp.path().join("run");
    std::fs::remove_file(dir.join("DONE")).unwrap();
    let file = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    let (spec, events) = (file("spec.toml"), file("events.jsonl"));
    let fingerprint = events.split("\"images\":\"").nth(1).unwrap()[..16].to_string();
    for (name, from, to, words) in [
        ("spec.toml", "short_epochs = 2", "short_epochs = 3", "the spec of"),
        ("events.jsonl", fingerprint.as_str(), "0000000000000000", "the images are not those"),
        ("events.jsonl", "\"member\":1,\"label\"", "\"member\":0,\"label\"", "line 3 of"),
    ] {
        std::fs::write(dir.join(name), file(name).replace(from, to)).unwrap();
        let out = run(tmp.path(), &["resume", "run"]);
        let said = text(&out.stderr);
        assert!(out.status.code() == Some(2) && said.contains(words), "{name}: {said}");
        std::fs::write(dir.join("spec.toml"), &spec).unwrap();
        std::fs::write(dir.join("events.jsonl"), &events).unwrap();
    }
    let out = run(tmp.path(), &["resume", "run"]);
    assert!(out.status.success() && file("events.jsonl") == events, "{}", text(&out.stderr));
}

#[test]
fn a_member_that_diverges_leaves_the_others_alone() {
    let tmp = tempfile::tempdir().unwrap();
    let out = run(tmp.path(), &[&["robust", "--out", "run", "--values", "0.0003,1000000"], &TINY[2..]].concat());
    let shown = text(&out.stdout);
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert!(shown.contains("not chosen: its search has diverged"), "{shown}");
    assert!(shown.contains("the only one that may be"), "{shown}");
    let out = robust(tmp.path(), "none", &["--set", "train_weights.lr=1e30", "--set", "train_weights.clip=1e30"]);
    let said = text(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{said}");
    assert!(said.contains("none of the 2 members may be chosen (L2 0.0003: its training has diverged"), "{said}");
}

#[test]
fn hours_are_made_into_a_plan_before_the_first_step() {
    let tmp = tempfile::tempdir().unwrap();
    let mut args = vec!["robust", "--out", "run", "--hours", "0.001"];
    args.extend(TINY.chunks(2).filter(|pair| !pair[1].contains("epochs")).flatten());
    // Large enough that no machine does all of it in 3.6 seconds.
    args.extend(["--set", "network.channels=24", "--set", "data.size=28"]);
    let out = run(tmp.path(), &args);
    let said = text(&out.stderr);
    assert!(out.status.success(), "{said}");
    assert!(said.contains("a plan for 0.001 hours"), "{said}");
    let spec = std::fs::read_to_string(tmp.path().join("run/spec.toml")).unwrap();
    // The preset has 5 epochs of a search and 6 of a training.
    let epochs: Vec<&str> = spec.lines().filter_map(|line| line.strip_prefix("epochs = ")).collect();
    assert!(epochs.len() == 2 && epochs[1] != "6", "{epochs:?}");
    args.extend(["--set", "search.epochs=3", "--out", "other"]);
    args.drain(1..3);
    let out = run(tmp.path(), &args);
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("search.epochs is set too"), "{}", text(&out.stderr));
}

#[test]
fn killed_at_twenty_moments_a_portfolio_goes_on_to_the_same_bits_and_trains_nothing_twice() {
    let tmp = tempfile::tempdir().unwrap();
    killed(20, tmp.path(), &TINY);
}

#[test]
fn so_does_one_on_a_folder_of_pictures() {
    let tmp = tempfile::tempdir().unwrap();
    for (class, value) in [("bright", 200u8), ("dark", 20), ("middle", 90)] {
        let dir = tmp.path().join("pictures").join(class);
        std::fs::create_dir_all(&dir).unwrap();
        for i in 0..50u32 {
            let (width, height) = (18 + i % 7, 15 + i % 5);
            let pixel = |x: u32, y: u32| image::Rgb([value, value ^ (x * i) as u8, (y * 7 + i) as u8]);
            image::RgbImage::from_fn(width, height, pixel).save(dir.join(format!("{i}.png"))).unwrap();
        }
    }
    let of_folder = TINY.chunks(2).filter(|pair| !pair[1].starts_with("data.limit"));
    let args: Vec<&str> = of_folder.flatten().chain(&["--data", "pictures"]).copied().collect();
    killed(6, tmp.path(), &args);
}

/// Kills the portfolio of these arguments at so many moments, in all stages, and goes on with it, on other threads and jobs.
fn killed(moments: u32, tmp: &Path, args: &[&str]) {
    let begun = |name: &str| -> Vec<String> {
        ["robust", "--no-report", "--out", name].iter().chain(args).map(|arg| arg.to_string()).collect()
    };
    let begin = Instant::now();
    let out = rdarts(tmp).args(begun("whole")).output().unwrap();
    assert!(out.status.success(), "{}", text(&out.stderr));
    let whole_time = begin.elapsed();
    let whole = result(&tmp.join("whole"));
    for moment in 0..moments {
        let name = format!("killed-{moment}");
        let mut child = rdarts(tmp).args(begun(&name)).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let part = f64::from(moment) * 0.618_034 % 1.0;
        std::thread::sleep(whole_time.mul_f64(part));
        child.kill().unwrap();
        child.wait().unwrap();
        let dir = tmp.join(&name);
        let before = done(&dir);
        if !dir.join("spec.toml").exists() {
            let again = rdarts(tmp).args(begun(&name)).output().unwrap();
            assert!(again.status.success(), "{}", text(&again.stderr));
        } else if !dir.join("DONE").exists() {
            let threads = ["1", "2", "3"][moment as usize % 3];
            let jobs = ["1", "2"][moment as usize % 2];
            let resumed = run(tmp, &["resume", &name, "--threads", threads, "--jobs", jobs, "--no-report"]);
            assert!(resumed.status.success(), "moment {moment}: {}", text(&resumed.stderr));
        }
        assert!(result(&dir) == whole, "moment {moment} ({part:.2} of {whole_time:?}) differs");
        let after = done(&dir);
        assert!(
            before.iter().all(|(file, time)| after[file] == *time),
            "moment {moment}: a finished run was done again"
        );
        std::fs::remove_dir_all(&dir).unwrap();
    }
}

#[test]
fn a_second_process_is_refused_and_an_interrupted_portfolio_says_how_to_go_on() {
    let tmp = tempfile::tempdir().unwrap();
    let args: Vec<&str> =
        ["robust", "--out", "run"].iter().chain(&TINY).chain(&["--set", "search.epochs=500"]).copied().collect();
    let child = rdarts(tmp.path()).args(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begin = Instant::now();
    while !tmp.path().join("run/members/search-0/checkpoints").exists() {
        assert!(begin.elapsed() < Duration::from_secs(60), "the first search never began");
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(300));
    let second = run(tmp.path(), &["resume", "run"]);
    assert_eq!(second.status.code(), Some(2));
    assert!(text(&second.stderr).contains("locked by another process"), "{}", text(&second.stderr));
    assert!(std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(130), "{}", text(&out.stderr));
    assert!(text(&out.stderr).contains("Go on with `rdarts resume run`"), "{}", text(&out.stderr));
}

#[test]
fn a_full_disk_ends_a_portfolio_with_a_sentence_and_it_goes_on_afterwards() {
    let tmp = tempfile::tempdir().unwrap();
    assert!(robust(tmp.path(), "whole", &[]).status.success());
    let whole = result(&tmp.path().join("whole"));
    // Files may not be larger than so many blocks of 512 or 1024 bytes: a checkpoint, a model, the events.
    let mut n_full = 0;
    for (at, blocks) in [1, 8, 24, 64].into_iter().enumerate() {
        let name = format!("limited-{at}");
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_rdarts"), "robust", "--out", &name]).args(TINY);
        command.current_dir(tmp.path()).env("HOME", tmp.path()).env("XDG_DATA_HOME", tmp.path().join("share"));
        let out = command.output().unwrap();
        let said = text(&out.stderr);
        if out.status.success() {
            continue;
        }
        n_full += 1;
        assert!(!said.contains("members/search-0`"), "the advice resumes a member alone: {said}");
        let sentences = said.lines().filter(|line| line.starts_with("error: ")).count();
        assert_eq!((out.status.code(), sentences), (Some(1), 1), "{blocks} blocks: {said}");
        let dir = tmp.path().join(&name);
        let args: Vec<&str> = ["robust", "--out", &name].iter().chain(&TINY).copied().collect();
        let again = match dir.join("spec.toml").exists() {
            true => run(tmp.path(), &["resume", &name]),
            false => run(tmp.path(), &args),
        };
        assert!(again.status.success(), "{blocks} blocks: {}", text(&again.stderr));
        assert!(result(&dir) == whole, "{blocks} blocks: other bits");
    }
    assert!(n_full >= 2, "only {n_full} limits were met");
}

#[test]
fn networks_that_cannot_be_trained_are_refused_with_what_would_be_right() {
    let tmp = tempfile::tempdir().unwrap();
    let noise =
        "Genotype(normal=[('noise', 0), ('skip_connect', 1)], normal_concat=[2], reduce=None, reduce_concat=None)";
    let few = "Genotype(normal=[('skip_connect', 0)], normal_concat=[2], reduce=None, reduce_concat=None)";
    let unknown = "Genotype(normal=[('sep_conv_3x4', 0), ('skip_connect', 1)], normal_concat=[2], reduce=None)";
    std::fs::create_dir(tmp.path().join("empty")).unwrap();
    std::fs::write(tmp.path().join("file"), "").unwrap();
    for (args, words) in [
        (&["robust", "empty"][..], "say --data empty if it holds pictures"),
        (&["search", "empty"], "say --data empty if it holds pictures"),
        (&["robust", "--out", "file"], "`file` is a file: name a new directory"),
        (&["import", "empty"], "empty is a directory: name the checkpoint"),
    ] {
        let out = run(tmp.path(), args);
        let said = text(&out.stderr);
        assert!(out.status.code() == Some(2) && said.contains(words), "{args:?}: {said}");
    }
    for (network, words) in [
        (noise, &["noise"][..]),
        (few, &["two"]),
        (unknown, &["sep_conv_3x4", "sep_conv_3x3"]),
        ("DARTS_V3", &["DARTS_V3", "DARTS_V2", "all-skip"]),
        ("./absent", &["absent"]),
        ("empty", &["empty", "not a run directory"]),
        ("random-s9-1", &["s9"]),
    ] {
        let out = run(tmp.path(), &["train", network]);
        let said = text(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{network}: {said}");
        assert!(words.iter().all(|word| said.contains(word)), "{network}: {said}");
        assert!(!tmp.path().join("runs").exists(), "{network} left something behind");
    }
}
