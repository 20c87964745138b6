//! The program as its user meets it: what it prints, what it leaves behind, and how it refuses.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

mod common;

use common::{rdarts, run, text};

#[path = "../../../tests/skip.rs"]
mod skip;

/// A search of a few seconds.
const SMALL: [&str; 20] = [
    "--set",
    "data.limit=128",
    "--set",
    "data.valid_limit=32",
    "--set",
    "network.channels=2",
    "--set",
    "network.cells=3",
    "--set",
    "search.batch=16",
    "--set",
    "search.epochs=5",
    "--set",
    "monitor.window=1",
    "--set",
    "monitor.threshold=0.999",
    "--set",
    "hessian.batches=1",
    "--threads",
    "2",
];

/// Runs a small search to its end, on images of half their side; those of a folder keep theirs.
fn small(dir: &Path, out: &str, more: &[&str]) -> Output {
    let half: &[&str] = if more.contains(&"--data") { &[] } else { &["--set", "data.size=14"] };
    let args: Vec<&str> = ["search", "--out", out].iter().chain(&SMALL).chain(half).chain(more).copied().collect();
    run(dir, &args)
}

/// Exit code 2, one sentence with all the given words, nothing on standard output.
fn refuses(dir: &Path, args: &[&str], words: &[&str]) {
    let out = run(dir, args);
    let message = text(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{args:?}: {message}");
    assert!(out.stdout.is_empty(), "{args:?}");
    let sentences: Vec<&str> = message.lines().filter(|l| l.starts_with("error: ")).collect();
    assert_eq!(sentences.len(), 1, "{args:?}: {message}");
    for word in words {
        assert!(message.contains(word), "{args:?}: `{word}` is not in: {message}");
    }
}

/// Everything that must not depend on when a search was killed, or on its threads.
fn result(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = ["events.jsonl", "genotype.txt", "genotype.json", "spec.toml", "DONE"]
        .iter()
        .map(|name| (name.to_string(), std::fs::read(dir.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))))
        .collect();
    let mut checkpoints: Vec<_> =
        std::fs::read_dir(dir.join("checkpoints")).unwrap().map(|e| e.unwrap().path()).collect();
    checkpoints.sort();
    let last = checkpoints.last().unwrap();
    files.push((last.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(last).unwrap()));
    files
}

#[test]
fn a_search_tells_what_it_found_what_the_monitor_decided_and_what_to_do_next() {
    let tmp = tempfile::tempdir().unwrap();
    let out = small(tmp.path(), "run", &[]);
    let (shown, progress) = (text(&out.stdout), text(&out.stderr));
    assert!(out.status.success(), "{progress}");
    for words in
        ["Genotype(normal=[('", "Dominant eigenvalue", "The monitor:", "Run directory: run", "rdarts hessian run"]
    {
        assert!(shown.contains(words), "`{words}` is not in:\n{shown}");
    }
    assert!(shown.contains("goes back to epoch"), "{shown}");
    assert!(
        progress.contains("one-shot acc") && progress.contains("images/s") && progress.contains("left"),
        "{progress}"
    );
    let genotype = std::fs::read_to_string(tmp.path().join("run/genotype.txt")).unwrap();
    assert!(shown.contains(genotype.trim()));

    // The same in JSON, and the curvature afterwards.
    let json: serde_json::Value = serde_json::from_slice(&small(tmp.path(), "again", &["--json"]).stdout).unwrap();
    assert_eq!(json["genotype_text"], genotype.trim());
    assert_eq!(json["epochs"].as_array().unwrap().last().unwrap()["epoch"], 4);
    let full: serde_json::Value =
        serde_json::from_slice(&run(tmp.path(), &["hessian", "run", "--full", "--json"]).stdout).unwrap();
    let fast: serde_json::Value =
        serde_json::from_slice(&run(tmp.path(), &["hessian", "run", "--json"]).stdout).unwrap();
    let (recorded, exact) = (full["recorded"].as_f64().unwrap(), full["eigenvalue"].as_f64().unwrap());
    assert_eq!(fast["eigenvalue"].as_f64().unwrap(), recorded, "the same products give the same bits");
    assert!((recorded - exact).abs() <= fast["bound"].as_f64().unwrap() + 1e-4 * exact.abs(), "{recorded} {exact}");
    let rows = full["hessian"].as_array().unwrap();
    assert_eq!((rows.len(), full["spectrum"].as_array().unwrap().len()), (56, 56));
    for (i, row) in rows.iter().enumerate() {
        for (j, entry) in row.as_array().unwrap().iter().enumerate() {
            assert_eq!(*entry, rows[j][i], "exactly symmetric");
        }
    }
    refuses(tmp.path(), &["hessian", "run", "--epoch", "77"], &["no checkpoint of epoch 77"]);
    refuses(tmp.path(), &["hessian", "run", "--epoch", "0"], &["no checkpoint of epoch 0", "keep_checkpoints"]);
    refuses(tmp.path(), &["resume", "run"], &["finished"]);
}

#[test]
fn random_search_tells_of_its_samples_and_of_no_curvature() {
    let tmp = tempfile::tempdir().unwrap();
    let out = small(tmp.path(), "run", &["--method", "rs-ws", "--set", "search.samples=30"]);
    let (shown, progress) = (text(&out.stdout), text(&out.stderr));
    assert!(out.status.success(), "{progress}");
    for words in ["rs-ws on fashion-mini in space s2", "Genotype(normal=", "All 5 epochs are done. Of 30 random"] {
        assert!(shown.contains(words), "`{words}` is not in: {shown}");
    }
    for words in ["igenvalue", "monitor", "rdarts hessian", "That epoch"] {
        assert!(!shown.contains(words), "`{words}` is in: {shown}");
    }
    refuses(tmp.path(), &["hessian", "run"], &["rs-ws learns no alphas"]);
}

#[test]
fn killed_at_twenty_moments_and_resumed_with_other_threads_it_ends_with_the_same_bits() {
    let tmp = tempfile::tempdir().unwrap();
    // Two steps an epoch: there are enough moments in all it measures.
    let few = ["--set", "data.limit=64", "--set", "data.size=14", "--no-report"];
    let begin = Instant::now();
    assert!(small(tmp.path(), "whole", &few).status.success());
    let whole_time = begin.elapsed();
    let whole = result(&tmp.path().join("whole"));
    for moment in 0..20u32 {
        let name = format!("killed-{moment}");
        let args: Vec<&str> = ["search", "--out", &name].iter().chain(&SMALL).chain(&few).copied().collect();
        let mut child = rdarts(tmp.path()).args(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Spread over the whole run by the golden ratio, the very beginning included.
        let part = f64::from(moment) * 0.618_034 % 1.0;
        std::thread::sleep(whole_time.mul_f64(part));
        child.kill().unwrap();
        child.wait().unwrap();
        let dir = tmp.path().join(&name);
        if !dir.join("spec.toml").exists() {
            // Killed before there was a run: the directory may be used again.
            let again = run(tmp.path(), &args);
            assert!(again.status.success(), "{}", text(&again.stderr));
        } else if !dir.join("DONE").exists() {
            let threads = ["1", "2", "3"][moment as usize % 3];
            let resumed = run(tmp.path(), &["resume", &name, "--threads", threads, "--no-report"]);
            assert!(resumed.status.success(), "moment {moment}: {}", text(&resumed.stderr));
        }
        assert!(result(&dir) == whole, "moment {moment} ({part:.2} of {whole_time:?}) differs");
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_search_saves_says_how_to_go_on_and_ends_with_130() {
    let tmp = tempfile::tempdir().unwrap();
    let args: Vec<&str> =
        ["search", "--out", "run"].iter().chain(&SMALL).chain(&["--set", "search.epochs=500"]).copied().collect();
    let signal = |child: &std::process::Child, name: &str| {
        assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
    };
    let wait_for = |file: &Path| {
        let begin = Instant::now();
        while !file.exists() {
            assert!(begin.elapsed() < Duration::from_secs(60), "{} never came", file.display());
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    for (round, name) in ["-INT", "-TERM"].into_iter().enumerate() {
        let mut command = rdarts(tmp.path());
        let command = if round == 0 { command.args(&args) } else { command.args(["resume", "run"]) };
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        wait_for(&tmp.path().join("run/checkpoints"));
        std::thread::sleep(Duration::from_millis(700));
        // While it runs, nobody else may.
        refuses(tmp.path(), &["resume", "run"], &["locked", &child.id().to_string()]);
        signal(&child, name);
        let out = child.wait_with_output().unwrap();
        assert_eq!(out.status.code(), Some(130), "{}", text(&out.stderr));
        assert!(text(&out.stderr).contains("Go on with `rdarts resume run`"), "{}", text(&out.stderr));
    }
}

#[test]
fn a_damaged_newest_checkpoint_is_named_and_the_one_before_it_used() {
    let tmp = tempfile::tempdir().unwrap();
    assert!(small(tmp.path(), "run", &[]).status.success());
    let dir = tmp.path().join("run");
    let whole = result(&dir);
    std::fs::remove_file(dir.join("DONE")).unwrap();
    let mut checkpoints: Vec<_> =
        std::fs::read_dir(dir.join("checkpoints")).unwrap().map(|e| e.unwrap().path()).collect();
    checkpoints.sort();
    let newest = checkpoints.last().unwrap();
    let mut bytes = std::fs::read(newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(newest, bytes).unwrap();
    let out = run(tmp.path(), &["resume", "run"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert!(text(&out.stderr).contains(newest.file_name().unwrap().to_str().unwrap()), "{}", text(&out.stderr));
    std::fs::remove_file(newest.with_extension("safetensors.damaged")).unwrap();
    assert!(result(&dir) == whole);
}

/// Three classes of gray pictures that can be told apart, so many of each.
fn write_pictures(dir: &Path, n: usize) {
    for (class, period) in [("Apple", 2), ("birch leaf", 5), ("c", 9)] {
        std::fs::create_dir_all(dir.join(class)).unwrap();
        for i in 0..n {
            let value = |x: u32, y: u32| image::Luma([((x + y + i as u32) % period * 25) as u8]);
            image::GrayImage::from_fn(16, 16, value).save(dir.join(class).join(format!("{i}.png"))).unwrap();
        }
    }
}

#[test]
fn a_folder_of_images_is_searched_and_found_again_when_it_has_moved() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    write_pictures(&dir.join("my-images"), 60);
    std::fs::write(dir.join("my-images/c/notes.txt"), "x").unwrap();
    let more =
        ["--data", "./my-images", "--set", "search.epochs=1", "--set", "search.batch=8", "--set", "data.limit=90"];
    let out = small(dir, "run", &more);
    let said = text(&out.stderr);
    assert!(out.status.success(), "{said}");
    for words in [
        "on my-images",
        "144 training images of 16x16 pixels in gray, 48 of each of 3 classes; 36 test images",
        "notes.txt was left out",
        "45 images train the weights, 45 the alphas",
    ] {
        assert!(said.contains(words), "`{words}` is not in: {said}");
    }
    let spec = std::fs::read_to_string(dir.join("run/spec.toml")).unwrap();
    for line in ["name = \"folder\"", "size = 16", "channels = 1", "crop_padding = 2", "flip = true"] {
        assert!(spec.lines().any(|l| l == line), "`{line}` is not in: {spec}");
    }
    // What is recorded opens without deciding anything again, and what the user sets wins.
    let set =
        ["--data", "folder", "--data-dir", "my-images", "--set", "augment.crop_padding=1", "--set", "data.size=8"];
    let out = small(dir, "set", &[&more[2..], &set[..]].concat());
    assert!(out.status.success(), "{}", text(&out.stderr));
    let spec = std::fs::read_to_string(dir.join("set/spec.toml")).unwrap();
    assert!(spec.contains("size = 8") && spec.contains("crop_padding = 1"), "{spec}");

    // The default run directory is named after the folder.
    let named = run(dir, &[&["search"], &SMALL[..], &more[..]].concat());
    assert!(
        named.status.success() && dir.join("runs/s2-my-images-darts-ada-1/DONE").exists(),
        "{}",
        text(&named.stderr)
    );

    std::fs::rename(dir.join("my-images"), dir.join("moved")).unwrap();
    refuses(dir, &["hessian", "run"], &["my-images", "No such file"]);
    let moved = run(dir, &["hessian", "run", "--data-dir", "moved"]);
    assert!(moved.status.success(), "{}", text(&moved.stderr));
    // Other pictures are noticed; four of five are training images.
    for i in (0..60).step_by(2) {
        std::fs::copy(dir.join("moved/Apple/1.png"), dir.join(format!("moved/Apple/{i}.png"))).unwrap();
    }
    refuses(dir, &["hessian", "run", "--data-dir", "moved"], &["images"]);
}

#[test]
fn folders_and_their_flags_are_refused_in_one_sentence() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    write_pictures(&dir.join("images"), 12);
    refuses(dir, &["search", "--data", "./absent"], &["absent", "nothing of this name"]);
    refuses(dir, &["search", "--data", "folder"], &["--data-dir"]);
    refuses(dir, &["search", "--data", "./images", "--data-dir", "images"], &["--data", "--data-dir", "one place"]);
    refuses(dir, &["search", "--data", "images", "--set", "data.size=7"], &["data.size", "7", "from 8 to 1024"]);
    refuses(
        dir,
        &["search", "--set", "data.size=32"],
        &["data.size", "a whole number from 8 to 28, the side of the images of fashion-mini"],
    );
    refuses(dir, &["search", "--data", "images"], &["each part should fill a batch of 64"]);
    let jpeg = [0xff, 0xd8, 0xff, 0xe0, 0, 4, 0, 0];
    std::fs::write(dir.join("images/c/7.jpg"), jpeg).unwrap();
    refuses(dir, &["search", "--data", "images"], &["images/c/7.jpg"]);
    assert!(!dir.join("runs").exists(), "no refused search leaves anything behind");
}

#[test]
fn bad_input_gets_one_sentence_and_exit_code_2() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    let file = |name: &str, bytes: &[u8]| std::fs::write(dir.join(name), bytes).unwrap();
    refuses(dir, &["search", "--space", "s5"], &["`s5`", "s1"]);
    refuses(dir, &["search", "--data", "fashion-mnst"], &["fashion-mnst", "fashion-mnist"]);
    refuses(dir, &["search", "--set", "search.epoch=3"], &["search.epoch", "search.epochs"]);
    refuses(dir, &["search", "--set", "search.epochs=many"], &["search.epochs", "many"]);
    refuses(dir, &["search", "--set", "search.batch=1"], &["search.batch", "1"]);
    refuses(dir, &["search", "--method", "dart-es"], &["search.method", "darts-es"]);
    refuses(dir, &["search", "--preset", "papr"], &["papr", "paper"]);
    refuses(dir, &["search", "absent.toml"], &["absent.toml"]);
    file("typo.toml", b"[search]\nepochs = 3\nbacth = 5\n");
    refuses(dir, &["search", "typo.toml"], &["typo.toml", "line 3", "bacth", "search.batch"]);
    file("space.toml", b"name = \"mine\"\nnodes = 2\nops = [\"skip_connect\", \"sep_conv_3x4\"]\n");
    refuses(dir, &["search", "--space", "space.toml"], &["space.toml", "3", "sep_conv_3x4", "sep_conv_3x3"]);
    refuses(dir, &["search", "--space", "absent/space.toml"], &["absent/space.toml"]);
    refuses(dir, &["search", "--threads", "0"], &["--threads", "1024"]);
    refuses(dir, &["search", "--threads", "100000"], &["--threads", "1024"]);
    refuses(dir, &["search", "--data-dir", "somewhere"], &["data.dir", "fashion-mini"]);
    refuses(dir, &["search", "--set", "augment.crop_padding=1000"], &["1000", "[augment]"]);
    refuses(dir, &["bench", "--space", "s9"], &["s9", "s1"]);
    refuses(dir, &["search", "--set", "search.batch=30000"], &["batch of 30000", "6000 images"]);
    let huge = ["--set", "search.batch=3000", "--set", "network.channels=256", "--set", "network.cells=20"];
    refuses(dir, &[&["search"], &huge[..]].concat(), &["GiB", "search.batch = 3000"]);

    // Data files: absent, truncated, foreign.
    refuses(dir, &["search", "--data", "fashion-mnist", "--data-dir", "nowhere"], &["nowhere"]);
    std::fs::create_dir(dir.join("data")).unwrap();
    let mut header = vec![0, 0, 8, 3];
    header.extend([60_000u32, 28, 28].iter().flat_map(|v| v.to_be_bytes()));
    for (name, images, words) in [
        ("truncated", header, ["train-images-idx3-ubyte"]),
        ("foreign", b"<!DOCTYPE html><html></html>".to_vec(), ["train-images-idx3-ubyte"]),
    ] {
        for set in ["train", "t10k"] {
            std::fs::write(dir.join(format!("data/{set}-images-idx3-ubyte")), &images).unwrap();
            std::fs::write(dir.join(format!("data/{set}-labels-idx1-ubyte")), [0, 0, 8, 1, 0, 0, 0, 1, 0]).unwrap();
        }
        let _ = name;
        refuses(dir, &["search", "--data", "fashion-mnist", "--data-dir", "data"], &words);
    }

    // Run directories: not a run, not empty, not writable, of a newer version.
    refuses(dir, &["resume", "nowhere"], &["nowhere"]);
    refuses(dir, &["resume", "data"], &["data", "not a run directory"]);
    refuses(dir, &["search", "--out", "data"], &["data", "not empty"]);
    file("a-file", b"");
    refuses(dir, &["search", "--out", "a-file/run"], &["a-file/run"]);
    let out = small(dir, "run", &["--set", "search.epochs=1"]);
    // `search.epochs` stands twice then: the last one counts.
    assert!(out.status.success(), "{}", text(&out.stderr));
    refuses(dir, &["search", "run"], &["run is a run: `rdarts search run/spec.toml` begins another"]);
    refuses(
        dir,
        &["search", "--method", "DARTS"],
        &["--method: `search.method` is \"DARTS\", but must be one of \"darts\""],
    );
    refuses(
        dir,
        &["search", "--data", "./my-images"],
        &["--data is the path `./my-images`, but there is nothing of this name"],
    );
    let negative = run(dir, &["search", "--seed", "-1"]);
    assert!(String::from_utf8_lossy(&negative.stderr).contains("must be a whole number from 0 to"));
    refuses(dir, &["search", "--out", "run"], &["run", "already holds a run"]);
    std::fs::write(dir.join("run/format"), "rdarts-run 999\n").unwrap();
    refuses(dir, &["resume", "run"], &["999", "newer"]);
    refuses(dir, &["hessian", "run"], &["999", "newer"]);
    assert!(!dir.join("runs").exists(), "no refused search leaves anything behind");
}

#[test]
fn a_diverged_search_stops_at_once_names_epoch_and_step_and_keeps_its_checkpoint() {
    let tmp = tempfile::tempdir().unwrap();
    let out = small(tmp.path(), "run", &["--set", "weights.lr=1e30", "--set", "weights.clip=1e30"]);
    assert_eq!(out.status.code(), Some(2), "{}", text(&out.stderr));
    assert!(text(&out.stderr).contains("epoch 0, step"), "{}", text(&out.stderr));
    assert!(tmp.path().join("run/checkpoints").read_dir().unwrap().count() == 1);
}

#[test]
fn an_unknown_instruction_set_is_refused_and_a_known_one_used() {
    let tmp = tempfile::tempdir().unwrap();
    let out = rdarts(tmp.path()).env("RDARTS_ISA", "avx1024").arg("search").output().unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("avx1024") && text(&out.stderr).contains("portable"), "{}", text(&out.stderr));
    let args: Vec<&str> =
        ["search", "--out", "run"].iter().chain(&SMALL).chain(&["--set", "search.epochs=1"]).copied().collect();
    let out = rdarts(tmp.path()).env("RDARTS_ISA", "portable").args(&args).output().unwrap();
    assert!(out.status.success() && text(&out.stderr).contains("(portable)"), "{}", text(&out.stderr));
    assert!(std::fs::read_to_string(tmp.path().join("run/env.json")).unwrap().contains("portable"));
}

#[test]
fn a_reader_that_closes_the_pipe_ends_neither_a_search_nor_an_account_with_a_panic() {
    let tmp = tempfile::tempdir().unwrap();
    let args: Vec<&str> =
        ["search", "--out", "run"].iter().chain(&SMALL).chain(&["--set", "search.epochs=2"]).copied().collect();
    for (args, done) in [(args, "run/DONE"), (vec!["hessian", "run", "--full"], "run/DONE")] {
        let mut child = rdarts(tmp.path()).args(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        drop(child.stderr.take());
        assert_eq!(child.wait().unwrap().code(), Some(0), "{args:?}");
        assert!(tmp.path().join(done).exists(), "{args:?}");
    }
}

#[test]
fn a_second_signal_stops_at_once_and_the_search_can_still_be_resumed() {
    let tmp = tempfile::tempdir().unwrap();
    let more = [
        "--set",
        "search.epochs=2",
        "--set",
        "search.batch=60",
        "--set",
        "network.channels=12",
        "--set",
        "search.order=second",
        "--method",
        "darts",
        "--set",
        "hessian.every=0",
    ];
    let args: Vec<&str> = ["search", "--out", "run"].iter().chain(&SMALL).chain(&more).copied().collect();
    let child = rdarts(tmp.path()).args(&args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let begin = Instant::now();
    while !tmp.path().join("run/checkpoints").exists() {
        assert!(begin.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(300));
    let pid = child.id().to_string();
    for _ in 0..2 {
        Command::new("kill").args(["-INT", &pid]).status().unwrap();
        std::thread::sleep(Duration::from_millis(30));
    }
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(130), "{}", text(&out.stderr));
    let resumed = run(tmp.path(), &["resume", "run"]);
    assert!(resumed.status.success(), "{}", text(&resumed.stderr));
}

#[test]
fn bench_prints_every_row_for_people_and_for_programs() {
    let tmp = tempfile::tempdir().unwrap();
    let shape =
        ["bench", "--space", "tiny", "--channels", "4", "--cells", "3", "--batch", "4", "--size", "8", "--steps", "2"];
    let out = run(tmp.path(), &shape);
    let shown = text(&out.stdout);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let json: serde_json::Value =
        serde_json::from_slice(&run(tmp.path(), &[&shape[..], &["--json"]].concat()).stdout).unwrap();
    let rows = json["results"].as_array().unwrap();
    assert_eq!(rows.len(), 8);
    for row in rows {
        assert!(shown.contains(row["name"].as_str().unwrap()), "{shown}");
        assert!(row["seconds"].as_f64().unwrap() > 0.0 && row["images_per_second"].as_f64().unwrap() > 0.0);
    }
    assert!(json["machine"]["peak_gmac_per_s"].as_f64().unwrap() > 0.0);
    // The shares of what the table says in words.
    for (share, cost, rate) in
        [("share_of_peak", "gmac", "peak_gmac_per_s"), ("share_of_bandwidth", "bytes", "bandwidth_gb_per_s")]
    {
        let of = |value: &serde_json::Value| value.as_f64().unwrap();
        let scale = if cost == "bytes" { 1e9 } else { 1.0 };
        for row in rows {
            let expected = of(&row[cost]) / scale / of(&row["seconds"]) / of(&json["machine"][rate]);
            assert!((of(&row[share]) / expected - 1.0).abs() < 1e-6 && expected > 0.0, "{share}: {row}");
        }
    }
    assert!(shown.contains("Of peak: the") && text(&out.stderr).contains("search step, first order: "));
}

#[test]
fn help_texts_teach() {
    let tmp = tempfile::tempdir().unwrap();
    for (args, words) in [
        (&["--help"][..], &["search", "resume", "hessian", "eigenvalue"][..]),
        (&["search", "--help"], &["Examples:", "--set", "Ctrl-C", "fashion-mini", "darts-ada"]),
        (&["hessian", "--help"], &["--full", "Lanczos", "checkpoint"]),
        (&["resume", "--help"], &["same bits", "checkpoint"]),
    ] {
        let out = run(tmp.path(), args);
        assert!(out.status.success());
        for word in words {
            assert!(text(&out.stdout).contains(word), "{args:?}: {word}");
        }
    }
    assert_eq!(run(tmp.path(), &["serch"]).status.code(), Some(2));
}

#[test]
fn a_result_that_cannot_be_printed_is_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let Ok(full) = std::fs::File::create("/dev/full") else {
        return skip::skip("no /dev/full", "a full disk cannot be had");
    };
    let out = rdarts(dir.path()).args(["data", "list"]).stdout(full).output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("could be written to standard output"), "{}", text(&out.stderr));
}

#[test]
fn the_help_of_search_says_what_belongs_to_each_method() {
    let tmp = tempfile::tempdir().unwrap();
    let out = run(tmp.path(), &["search", "--help"]);
    let help = text(&out.stdout);
    let methods = help.split("\nMethods, ").nth(1).expect("the list of methods");
    for method in rdarts::run::Method::ALL {
        let own = methods.split(&format!("\n  {method}\n")).nth(1).unwrap_or_else(|| panic!("{method}"));
        let own = own.split("\n  ").take_while(|line| line.starts_with("    ")).collect::<Vec<_>>().join(" ");
        let own = own.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(own.starts_with(method.about()), "{method}: {own}");
        assert!(method.keys().iter().all(|key| own.contains(key)), "{method}: {own}");
        assert_eq!(own.contains("Takes --order first alone."), method.is_first_order(), "{method}: {own}");
    }
    for line in methods.lines() {
        assert!(line.chars().count() <= 80, "too long for a terminal: {line}");
    }
}

#[test]
fn a_cell_of_nas_bench_201_is_searched_trained_and_tested() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    let search = [&["search", "--space", "nasbench201", "--out", "cells"], &SMALL[..]].concat();
    let out = run(dir, &search);
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert!(text(&out.stderr).contains("operations are those of the cell."), "{}", text(&out.stderr));
    let genotype = std::fs::read_to_string(dir.join("cells/genotype.txt")).unwrap();
    assert!(genotype.starts_with('|') && dir.join("cells/report.html").is_file(), "{genotype}");
    let train = ["train", genotype.trim(), "--preset", "train-demo", "--out", "trained"];
    let small = ["data.limit=96", "network.channels=2", "network.cells=3", "train.epochs=1", "train.batch=16"];
    let small: Vec<&str> = small.iter().flat_map(|key| ["--set", key]).collect();
    let out = run(dir, &[&train[..], &small].concat());
    assert!(out.status.success(), "{}", text(&out.stderr));
    let out = run(dir, &["test", "trained", "--json"]);
    assert!(out.status.success() && text(&out.stdout).contains("\"accuracy\""), "{}", text(&out.stderr));
    let out = run(dir, &["export", "trained", "--to", "onnx"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let no_images = ["search", "--space", "nasbench201", "--data", "cifar10", "--data-dir", "nowhere"];
    let rows: [(&[&str], &str); 4] = [
        // It is told before images are looked for.
        (&[&no_images[..], &["--set", "search.drop_path=0.2"]].concat(), "its networks have no drop path"),
        (&["robust", "--space", "nasbench201"], "a portfolio has cells of the topology darts alone"),
        (&["search", "--space", "nasbench201", "--method", "pc-darts"], "take another method"),
        (&["train", "|noise~0|"], "a cell of the topology nasbench201 has no `noise`"),
    ];
    for (args, message) in rows {
        let out = run(dir, args);
        assert!(out.status.code() == Some(2) && text(&out.stderr).contains(message), "{}", text(&out.stderr));
    }
}
