//! `rdarts report` and `--tensorboard` as their users run them.

#![cfg(unix)]

mod common;

use common::{run, text};

const SMALL: [&str; 16] = [
    "--set",
    "network.channels=2",
    "--set",
    "network.cells=3",
    "--set",
    "search.batch=16",
    "--set",
    "search.epochs=2",
    "--set",
    "data.limit=64",
    "--set",
    "data.valid_limit=32",
    "--set",
    "hessian.batches=1",
    "--threads",
    "1",
];

#[test]
fn a_run_named_twice_is_one_and_what_is_no_run_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let searched = run(dir.path(), &[&["search", "--out", "one", "--tensorboard"], &SMALL[..]].concat());
    assert_eq!(searched.status.code(), Some(0), "{}", text(&searched.stderr));

    // What TensorBoard followed holds both epochs.
    let files: Vec<_> = std::fs::read_dir(dir.path().join("one/tensorboard")).unwrap().collect();
    assert_eq!(files.len(), 1);
    let bytes = std::fs::read(files[0].as_ref().unwrap().path()).unwrap();
    let count = |what: &[u8]| bytes.windows(what.len()).filter(|w| *w == what).count();
    assert_eq!(count(b"loss/train_loss"), 2);

    let twice = run(dir.path(), &["report", "one", "one/", "--json"]);
    assert_eq!(twice.status.code(), Some(0), "{}", text(&twice.stderr));
    let told: serde_json::Value = serde_json::from_slice(&twice.stdout).unwrap();
    assert_eq!(told["runs"].as_array().unwrap().len(), 1);

    std::fs::create_dir(dir.path().join("none")).unwrap();
    let refused = run(dir.path(), &["report", "none"]);
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(
        said.starts_with("error: `none` is not a run directory of rdarts: ") && said.lines().count() == 1,
        "{said}"
    );
    assert_eq!(std::fs::read_dir(dir.path().join("none")).unwrap().count(), 0);
    // Beside a run it is a warning.
    let both = run(dir.path(), &["report", "one", "none", "--out", "page.html"]);
    assert_eq!(both.status.code(), Some(0), "{}", text(&both.stderr));
    assert!(text(&both.stderr).contains("is not a run directory of rdarts"), "{}", text(&both.stderr));
}

#[test]
fn a_page_takes_the_place_of_nothing_but_a_page() {
    let dir = tempfile::tempdir().unwrap();
    let ok = |args: &[&str]| {
        let done = run(dir.path(), args);
        assert_eq!(done.status.code(), Some(0), "{args:?}: {}", text(&done.stderr));
        text(&done.stdout)
    };
    let keeping = ["--method", "darts", "--set", "eval.keep_checkpoints=true"];
    ok(&[&["search", "--out", "base"], &keeping[..], &SMALL[..]].concat());
    let refused = |args: &[&str], words: &str| {
        let before = std::fs::read_dir(dir.path()).unwrap().count();
        let done = run(dir.path(), args);
        assert_eq!(done.status.code(), Some(2), "{args:?}: {}", text(&done.stderr));
        assert!(text(&done.stderr).contains(words), "{args:?}: {}", text(&done.stderr));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), before, "{args:?} leaves something behind");
    };

    std::fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    refused(&["report", "base", "--out", "notes.txt"], "notes.txt is there already and is no page");
    assert_eq!(std::fs::read_to_string(dir.path().join("notes.txt")).unwrap(), "mine");
    ok(&["report", "base"]);

    // The loss along lines, and the page that draws it.
    ok(&["hessian", "base", "--landscape", "--reach", "1"]);
    let lines = std::fs::read_to_string(dir.path().join("base/landscapes.jsonl")).unwrap();
    assert_eq!((lines.lines().count(), lines.contains("dominant eigenvector")), (1, true));
    ok(&["report", "base"]);
    let page = std::fs::read_to_string(dir.path().join("base/report.html")).unwrap();
    assert!(page.contains("landscape") && !page.contains("rdarts hessian base --landscape"));

    // On from it under another method.
    ok(&["search", "--from", "base", "--method", "darts-es", "--out", "es", "--threads", "1"]);
    let events = |run: &str| std::fs::read_to_string(dir.path().join(run).join("events.jsonl")).unwrap();
    let epochs = |run: &str| events(run).lines().filter(|line| line.contains("\"epoch\"")).count();
    assert_eq!(epochs("es"), epochs("base"));
    refused(&["search", "--from", "base", "--method", "gdas", "--set", "search.order=first"], "takes steps of its own");
    refused(
        &["search", "--from", "base", "--method", "darts-es", "--set", "space.name=s3"],
        "in the space s2, not in s3",
    );
    refused(&["search", "--from", "base", "--method", "darts-es", "--set", "weights.l2=0.1"], "with weights.l2 =");
    for more in
        [&["--space", "s3"][..], &["--order", "first"], &["--seed", "2"], &["--preset", "paper"], &["base/spec.toml"]]
    {
        refused(
            &[&["search", "--from", "base", "--method", "darts-es"], more].concat(),
            " do not go together: epochs can be",
        );
    }
    ok(&[&["search", "--out", "random", "--method", "rs-ws", "--set", "search.samples=4"], &SMALL[..]].concat());
    refused(
        &["search", "--from", "random", "--method", "darts-es"],
        "random was searched with rs-ws, which takes steps of its own, so that no other method shares its epochs",
    );
    for reach in ["0", "-1", "1e30", "1001", "nan"] {
        refused(
            &["hessian", "base", "--landscape", &format!("--reach={reach}")],
            "must be a number above 0 and at most 100",
        );
    }
    refused(&["search", "--from", "nowhere", "--method", "darts-es"], "nowhere");
}
