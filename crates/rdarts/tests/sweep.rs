//! `rdarts sweep` as its users run it: a plan that goes through, interrupted again and again; members that fail; plans that
//! are not right; an array of a Slurm that is played by scripts (`.ci/slurm` goes through a real one).

#![cfg(unix)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

mod common;

use common::{rdarts, run, text};

const TINY: &str = "preset = \"demo\"\nthreads = 1\n[set]\ndata.limit = 96\ndata.size = 8\ndata.valid_limit = 32\n\
    network.channels = 2\nnetwork.cells = 3\nsearch.batch = 16\nhessian.batches = 1\n";

fn plan(dir: &Path, name: &str, more: &str) {
    std::fs::write(dir.join(name), format!("kind = \"search\"\n{TINY}{more}")).unwrap();
}

fn json(out: &Output) -> serde_json::Value {
    serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {}{}", text(&out.stdout), text(&out.stderr)))
}

fn states(dir: &Path, sweep: &str) -> BTreeMap<String, String> {
    let status = json(&run(dir, &["sweep", "status", sweep, "--json"]));
    let of = |member: &serde_json::Value, key: &str| member[key].as_str().unwrap().to_string();
    status["members"].as_array().unwrap().iter().map(|m| (of(m, "name"), of(m, "state"))).collect()
}

fn events(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let members = std::fs::read_dir(dir.join("members")).unwrap().map(|member| member.unwrap());
    let name = |member: &std::fs::DirEntry| member.file_name().to_str().unwrap().to_string();
    members.map(|member| (name(&member), std::fs::read(member.path().join("events.jsonl")).unwrap())).collect()
}

#[test]
fn a_sweep_that_is_interrupted_again_and_again_ends_with_the_same_bits() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    let grid = "[grid]\nsearch.method = [\"darts\", \"darts-es\"]\nsearch.epochs = [12, 20]\n";
    plan(dir, "my plan.toml", grid);
    let listed = run(dir, &["sweep", "my plan.toml"]);
    assert!(text(&listed.stdout).contains("4 members: 4 waiting"), "{}{}", text(&listed.stdout), text(&listed.stderr));
    assert!(!dir.join("runs").exists(), "looking at a plan left something behind");
    let (mut interruptions, mut interrupted) = (0, 0);
    let deadline = Instant::now() + Duration::from_secs(240);
    loop {
        let written = || {
            let runs = std::fs::read_dir(dir.join("runs/my plan/members")).into_iter().flatten().flatten();
            let length = |run: std::fs::DirEntry| std::fs::read(run.path().join("events.jsonl")).map_or(0, |b| b.len());
            runs.map(length).sum::<usize>()
        };
        let before = written();
        let mut command = rdarts(dir);
        command.args(["sweep", "run", "my plan.toml", "--jobs", "2"]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        if interruptions < 3 {
            // Once members are at work, at another place each time.
            while written() < before + 1500 && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(20));
            }
            let id = child.id().to_string();
            std::process::Command::new("kill").args(["-INT", &id]).status().unwrap();
            interruptions += 1;
        }
        let out = child.wait_with_output().unwrap();
        match out.status.code() {
            Some(130) => {
                interrupted += 1;
                assert!(text(&out.stderr).contains("Go on with `rdarts sweep run"), "{}", text(&out.stderr));
            }
            code => {
                assert_eq!(code, Some(0), "{}{}", text(&out.stdout), text(&out.stderr));
                assert!(text(&out.stdout).contains("4 members: 4 done"), "{}", text(&out.stdout));
                break;
            }
        }
        assert!(Instant::now() < deadline);
    }
    assert!(interrupted >= 2, "{interrupted} of 3 interruptions came in time");
    plan(dir, "plain.toml", grid);
    let out = run(dir, &["sweep", "run", "plain.toml", "--json"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert!(json(&out)["members"].as_array().unwrap().iter().all(|member| member["state"] == "done"));
    assert!(events(&dir.join("runs/plain")) == events(&dir.join("runs/my plan")), "the bits are not the same");
    // Nothing is left to do, in whatever words.
    let out = run(dir, &["sweep", "run", "runs/my plan"]);
    assert!(out.status.success() && text(&out.stderr).contains("0 to be done"), "{}", text(&out.stderr));
    let out = run(dir, &["sweep", "report", "my plan.toml"]);
    assert!(out.status.success() && dir.join("runs/my plan/report.html").is_file(), "{}", text(&out.stderr));
}

#[test]
fn a_member_that_fails_ends_no_other_and_retry_tries_it_again() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    plan(dir, "p.toml", "[grid]\nsearch.epochs = [1, 2, 3]\n");
    let bad = dir.join("runs/p/members/epochs=2");
    std::fs::create_dir_all(&bad).unwrap();
    // Not yet a sweep, and something in its place.
    let out = run(dir, &["sweep", "run", "p.toml"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("holds `members` and is no sweep"), "{}", text(&out.stderr));
    std::fs::remove_dir_all(dir.join("runs")).unwrap();
    assert!(run(dir, &["sweep", "run", "p.toml", "--only", "epochs=1"]).status.success());
    std::fs::create_dir_all(&bad).unwrap();
    std::fs::write(bad.join("cat.png"), "").unwrap();
    let out = run(dir, &["sweep", "run", "p.toml"]);
    assert_eq!(out.status.code(), Some(1), "{}{}", text(&out.stdout), text(&out.stderr));
    let expected = [("epochs=1", "done"), ("epochs=2", "failed"), ("epochs=3", "done")];
    assert_eq!(states(dir, "p.toml"), expected.map(|(a, b)| (a.to_string(), b.to_string())).into());
    let shown = text(&run(dir, &["sweep", "status", "p.toml"]).stdout);
    assert!(shown.contains("holds `cat.png`") && shown.contains("3 members: 2 done, 1 failed"), "{shown}");
    // The others are in the report.
    let out = run(dir, &["sweep", "report", "p.toml", "--json"]);
    assert!(out.status.success() && text(&out.stdout).contains("epochs=3"), "{}", text(&out.stderr));
    std::fs::remove_file(bad.join("cat.png")).unwrap();
    // What a full disk leaves.
    std::fs::write(dir.join("runs/p/logs/epochs=2.log"), "error: cannot write: No space left on device\n").unwrap();
    assert_eq!(states(dir, "p.toml")["epochs=2"], "failed");
    assert!(text(&run(dir, &["sweep", "run", "p.toml"]).stderr).contains("0 to be done"));
    assert!(run(dir, &["sweep", "retry", "p.toml"]).status.success());
    assert_eq!(states(dir, "p.toml")["epochs=2"], "done");
}

#[test]
fn what_is_wrong_with_a_plan_is_found_before_anything_runs() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    let rows = [
        ("[grid]\nsearch.epocs = [1]\n", "p.toml, line 13: unknown key `search.epocs`; did you mean `search.epochs`?"),
        ("[grid]\nspace.name = [\"s2\", \"s22\"]\n", "member `s22`"),
        ("[grid]\ndata.limit = [96]\n", "`data.limit` has its values in line 5 already"),
        ("[grid]\ndata.name = [\"cifar10\"]\n", "member `cifar10`"),
        ("[grid]\ndata.train_fraction = [0.5, 0.01]\n", "member `train_fraction=0.01`"),
        ("[grid]\nnetwork.stem_multiplier = [3, 900000000]\n", "stem_multiplier"),
    ];
    for (more, expected) in rows {
        plan(dir, "p.toml", more);
        let out = run(dir, &["sweep", "run", "p.toml"]);
        assert_eq!(out.status.code(), Some(2), "{more}: {}", text(&out.stderr));
        assert!(text(&out.stderr).contains(expected), "{more}: {}", text(&out.stderr));
        assert_eq!(text(&out.stderr).trim().lines().count(), 1, "{}", text(&out.stderr));
        assert!(!dir.join("runs").exists(), "{more} left something behind");
    }
    let refuses = |args: &[&str], expected: &str| {
        let out = run(dir, args);
        assert_eq!(out.status.code(), Some(2), "{args:?}: {}", text(&out.stderr));
        assert!(text(&out.stderr).contains(expected), "{args:?}: {}", text(&out.stderr));
    };
    plan(dir, "p.toml", "[grid]\nsearch.epochs = [1, 2]\n");
    refuses(&["sweep", "run", "p.toml", "--only", "epochs=11"], "the nearest known one is `epochs=1`");
    refuses(&["sweep", "run", "none.toml"], "none.toml");
    refuses(&["sweep", "status", "."], "is no sweep");
    refuses(&["sweep", "report", "p.toml"], "no member of the sweep has begun");
    refuses(&["sweep", "cancel", "p.toml"], "was never submitted");
    std::fs::write(dir.join("thesis"), "").unwrap();
    refuses(&["sweep", "run", "p.toml", "--out", "thesis"], "is a file");
}

#[test]
fn the_plan_of_the_readme_is_right() {
    let tmp = tempfile::tempdir().unwrap();
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md")).unwrap();
    let section = readme.split("## `rdarts sweep`").nth(1).unwrap();
    let example = section.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    std::fs::write(tmp.path().join("plan.toml"), example).unwrap();
    let out = run(tmp.path(), &["sweep", "plan.toml"]);
    let shown = text(&out.stdout);
    assert!(shown.contains("8 members: 8 waiting"), "{shown}{}", text(&out.stderr));
    assert!(shown.contains("   1  small_darts_seed=1 ") && shown.contains("   8  large_darts-ada_seed=2 "), "{shown}");
    let out = with_slurm(tmp.path(), &["sweep", "submit", "plan.toml", "--dry-run"]);
    assert!(text(&out.stdout).contains("--array=1-8"), "{}{}", text(&out.stdout), text(&out.stderr));
}

/// A Slurm of scripts: sbatch writes down what it was called with, squeue says what is in a file, and so does scontrol.
fn with_slurm(dir: &Path, args: &[&str]) -> Output {
    use std::os::unix::fs::PermissionsExt;
    let bin = dir.join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let root = dir.display();
    for (name, script) in [
        ("sbatch", format!("printf '%s\\n' \"$@\" > '{root}/sbatch'; echo 4711")),
        ("squeue", format!("cat '{root}/squeue' 2> /dev/null")),
        ("scancel", format!("printf '%s\\n' \"$@\" > '{root}/scancel'")),
        (
            "scontrol",
            format!("if [ $1 = show ]; then echo 'MaxArraySize = 1001'; else echo \"$@\" >> '{root}/scontrol'; fi"),
        ),
    ] {
        let path = bin.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    rdarts(dir).args(args).env("PATH", path).output().unwrap()
}

#[test]
fn exactly_what_is_not_finished_is_submitted_as_one_array() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    let slurm = "[slurm]\ntime = \"10\"\nat_once = 2\noptions = [\"--exclude=node7\"]\n";
    plan(dir, "p.toml", &format!("[grid]\nsearch.epochs = [1, 2, 3, 4, 5]\n{slurm}"));
    assert!(run(dir, &["sweep", "run", "p.toml", "--only", "epochs=2"]).status.success());
    let called = || std::fs::read_to_string(dir.join("sbatch")).unwrap();
    let out = with_slurm(dir, &["sweep", "submit", "p.toml"]);
    assert!(
        text(&out.stdout).contains("Array 4711: 4 members (1,3-5%2)"),
        "{}{}",
        text(&out.stdout),
        text(&out.stderr)
    );
    assert!(called().contains("--array=1,3-5%2\n") && called().contains("--exclude=node7\n"), "{}", called());
    // What is queued is not submitted twice.
    std::fs::write(dir.join("squeue"), "1\n3\n4\n").unwrap();
    with_slurm(dir, &["sweep", "submit", "p.toml"]);
    assert!(called().contains("--array=5%2\n"), "{}", called());
    std::fs::write(dir.join("squeue"), "1\n3\n4\n5\n").unwrap();
    let out = with_slurm(dir, &["sweep", "submit", "p.toml"]);
    assert!(text(&out.stdout).contains("nothing to submit"), "{}", text(&out.stdout));
    assert!(with_slurm(dir, &["sweep", "cancel", "p.toml"]).status.success());
    assert!(std::fs::read_to_string(dir.join("scancel")).unwrap().contains("4711"));
    let script = std::fs::read_to_string(dir.join("runs/p/array.sh")).unwrap();
    assert!(script.contains("#SBATCH --signal=B:USR1@120\n") && script.contains("#SBATCH --requeue\n"), "{script}");
    // More members than an array of the cluster has room for.
    plan(dir, "large.toml", "[grid]\nsearch.epochs = [1]\n");
    let large = std::fs::read_to_string(dir.join("large.toml"))
        .unwrap()
        .replace("threads = 1\n", "max_members = 2000\nseeds = 1200\n");
    std::fs::write(dir.join("large.toml"), large).unwrap();
    let out = with_slurm(dir, &["sweep", "submit", "large.toml"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("goes to 1000 (MaxArraySize)"), "{}", text(&out.stderr));
}

#[cfg(not(feature = "gpu"))]
#[test]
fn cards_that_are_not_there_are_refused_before_anything_begins() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    plan(dir, "p.toml", "[grid]\nsearch.epochs = [1]\n[slurm]\ndevice = \"gpu\"\n");
    for line in [["sweep", "run", "p.toml", "--devices", "gpu:0,gpu:1"].as_slice(), &["sweep", "submit", "p.toml"]] {
        let out = with_slurm(dir, line);
        assert_eq!(out.status.code(), Some(2), "{}", text(&out.stderr));
        assert!(text(&out.stderr).contains("built without graphics cards"), "{}", text(&out.stderr));
        assert!(!dir.join("runs").exists());
    }
}

#[test]
fn a_task_is_saved_before_its_time_limit_and_goes_back_into_the_queue() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path();
    plan(dir, "p.toml", "[grid]\nsearch.epochs = [3000]\n[slurm]\ntime = \"10\"\n");
    assert!(with_slurm(dir, &["sweep", "submit", "p.toml"]).status.success());
    let path = format!("{}:{}", dir.join("bin").display(), std::env::var("PATH").unwrap());
    let task = |signal: &str, path: &str| {
        let log = dir.join("runs/p/members/epochs=3000/events.jsonl");
        let before = std::fs::metadata(&log).map_or(0, |m| m.len());
        let mut command = rdarts(dir);
        command.args(["sweep", "member", "runs/p", "1"]).env("PATH", path);
        command.env("SLURM_ARRAY_JOB_ID", "4711").env("SLURM_ARRAY_TASK_ID", "1").env("SLURM_JOB_ID", "4715");
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while std::fs::metadata(&log).map_or(0, |m| m.len()) <= before && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        std::process::Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        let out = child.wait_with_output().unwrap();
        assert_eq!(out.status.code(), Some(130), "{}", text(&out.stderr));
        text(&out.stderr)
    };
    let said = task("-USR1", &path);
    assert!(said.contains("task 4711_1 goes back into the queue"), "{said}");
    assert_eq!(std::fs::read_to_string(dir.join("scontrol")).unwrap(), "requeue 4711_1\n");
    // What a person cancels does not come back.
    task("-TERM", &path);
    assert_eq!(std::fs::read_to_string(dir.join("scontrol")).unwrap(), "requeue 4711_1\n");
    // A node without scontrol.
    std::fs::remove_file(dir.join("bin/scontrol")).unwrap();
    let said = task("-USR1", &path);
    assert!(said.contains("there is no scontrol here") && said.contains("`rdarts sweep submit"), "{said}");
    assert_eq!(states(dir, "p.toml")["epochs=3000"], "to be resumed");
}
