use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;

use serde_json::json;

use super::*;
use crate::checkpoint::Tensor;
use crate::event::tests::{epoch, found};
use crate::spec::{DataSets, RobustSpec, SearchSpec};

/// For a spec that asks nothing of its data set.
struct NoSets;

impl DataSets for NoSets {
    fn preset(&self, _: &str) -> Option<&'static str> {
        None
    }
    fn side(&self, _: &str) -> Option<usize> {
        None
    }
    fn has_free_channels(&self, _: &str) -> bool {
        false
    }
}

fn spec() -> SearchSpec {
    SearchSpec::resolve(Some("demo"), None, &[], &NoSets).unwrap()
}

/// A run directory within a directory that is removed at the end.
fn new_run() -> (tempfile::TempDir, PathBuf, RunDir) {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("runs/first");
    let run = RunDir::create(&path, &spec()).unwrap();
    (parent, path, run)
}

fn state(epoch: usize) -> Checkpoint {
    let tensors = BTreeMap::from([("w".to_string(), Tensor::f32([2], vec![epoch as f32, 0.5]))]);
    Checkpoint { events_bytes: 0, events_lines: String::new(), state: json!({ "epoch": epoch }), tensors }
}

fn name(sequence: u64, epoch: usize) -> CheckpointName {
    CheckpointName { sequence, epoch, step: None }
}

/// Epochs as a search would run them, from `from` on.
fn search(run: &mut RunDir, from: usize, to: usize) {
    for index in from..to {
        run.append_event(&epoch(index)).unwrap();
        run.save_checkpoint(&name(10 * (index as u64 + 1), index), state(index)).unwrap();
    }
}

fn entries(path: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_new_run_has_its_spec_and_reads_back() {
    let (_parent, path, run) = new_run();
    assert_eq!(
        entries(&path),
        ["checkpoints", "events.jsonl", "format", "lock", "owner", "spec.toml", "timings.jsonl"]
    );
    assert_eq!(std::fs::read_to_string(path.join("format")).unwrap(), "rdarts-run 2\n");
    assert!(run.warnings().is_empty());
    let view = RunView::open(&path).unwrap();
    assert_eq!(view.spec::<SearchSpec>().unwrap(), spec());
    assert_eq!((view.events().unwrap(), view.genotype().unwrap(), view.is_done()), (vec![], None, false));
    assert_eq!(view.environment().unwrap(), None);
}

#[test]
fn a_resumed_search_leaves_the_same_bytes_as_one_that_ran_through() {
    let (_parent, through_path, mut through) = new_run();
    search(&mut through, 0, 4);

    let (_parent, path, mut run) = new_run();
    search(&mut run, 0, 2);
    // Killed after an event, within the next one, before its checkpoint.
    run.append_event(&epoch(2)).unwrap();
    drop(run);
    let mut file = OpenOptions::new().append(true).open(path.join("events.jsonl")).unwrap();
    file.write_all(b"{\"event\":\"epo").unwrap();
    std::fs::write(path.join("checkpoints/.unfinished-1"), b"half").unwrap();
    std::fs::write(path.join(".unfinished-2"), b"half").unwrap();

    let mut run = RunDir::open::<SearchSpec>(&path).unwrap();
    let recovered = run.recover().unwrap();
    assert!(recovered.warnings.is_empty());
    let (found, checkpoint) = recovered.checkpoint.unwrap();
    assert_eq!((found, &checkpoint.state), (name(20, 1), &json!({ "epoch": 1 })));
    assert_eq!(run.events_bytes(), checkpoint.events_bytes);
    search(&mut run, 2, 4);

    assert_eq!(entries(&path), entries(&through_path));
    let checkpoints = entries(&path.join("checkpoints"));
    assert_eq!(checkpoints, entries(&through_path.join("checkpoints")));
    let files = checkpoints.iter().map(|name| format!("checkpoints/{name}"));
    for file in files.chain(["events.jsonl".to_string(), "spec.toml".to_string()]) {
        assert_eq!(
            std::fs::read(path.join(&file)).unwrap(),
            std::fs::read(through_path.join(&file)).unwrap(),
            "{file}"
        );
    }
}

#[test]
fn recovery_passes_over_damaged_checkpoints_and_sets_them_aside() {
    let (_parent, path, mut run) = new_run();
    search(&mut run, 0, 3);
    drop(run);
    let damaged = path.join("checkpoints").join(name(30, 2).file_name());
    std::fs::write(&damaged, b"{}").unwrap();

    let mut run = RunDir::open::<SearchSpec>(&path).unwrap();
    let recovered = run.recover().unwrap();
    assert_eq!(recovered.checkpoint.unwrap().0, name(20, 1));
    let sentence = format!("the checkpoint `{}` is damaged: it is shorter than any checkpoint", damaged.display());
    assert_eq!(recovered.warnings, [sentence]);
    assert_eq!(run.view().events().unwrap(), [epoch(0), epoch(1)]);
    assert_eq!(run.view().checkpoints().unwrap(), [name(20, 1), name(10, 0)]);
    assert!(path.join("checkpoints/00000030-epoch-2.safetensors.damaged").exists());
    search(&mut run, 2, 3);
    assert_eq!(run.view().events().unwrap(), [epoch(0), epoch(1), epoch(2)]);
}

/// All files of a directory and its bytes, the lock aside.
fn contents(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else if !path.ends_with(LOCK) {
            all.insert(path.clone(), std::fs::read(path).unwrap());
        }
    }
    all
}

#[track_caller]
fn check_refused(path: &Path, sentence: &str) {
    let before = contents(path);
    let had_lock = path.join(LOCK).exists();
    let err = RunDir::open::<SearchSpec>(path).unwrap_err();
    assert_eq!((err.to_string().as_str(), err.is_system()), (sentence, false));
    assert!(contents(path) == before && path.join(LOCK).exists() == had_lock, "something was changed");
}

#[test]
fn a_log_that_does_not_fit_its_checkpoint_is_named_with_its_line_and_nothing_is_changed() {
    let (_parent, path, mut run) = new_run();
    search(&mut run, 0, 3);
    drop(run);
    let log = path.join("events.jsonl");
    let sentence = |line: usize, problem: &str| {
        let (log, path) = (log.display(), path.display());
        format!(
            "`{log}`, line {line}, {problem}, so the log does not fit the checkpoint 00000030-epoch-2: put the file \
             back as it was written, or begin a new run with `rdarts search {path}/spec.toml`"
        )
    };
    let whole = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    for (text, line, problem) in [
        (whole.replace('\n', "\r\n"), 1, "has the line end of another system (CR LF)"),
        (format!("\u{feff}{whole}"), 1, "is not as it was written"),
        (whole[..whole.len() - 1].to_string(), 3, "is cut short"),
        (lines[..2].concat(), 3, "is missing"),
        (lines[1..].concat(), 1, "is not as it was written"),
        (String::new(), 1, "is missing"),
        // One digit, which keeps the length and is as good a number.
        ([lines[0], &lines[1].replace("0.025", "0.026"), lines[2]].concat(), 2, "is not as it was written"),
    ] {
        std::fs::write(&log, text).unwrap();
        check_refused(&path, &sentence(line, problem));
    }
    std::fs::remove_file(&log).unwrap();
    std::fs::remove_file(path.join(LOCK)).unwrap();
    check_refused(&path, &sentence(1, "is missing"));
    // Put back, it goes on, and lines after the checkpoint's are cut as ever.
    std::fs::write(&log, format!("{whole}half")).unwrap();
    let mut run = RunDir::open::<SearchSpec>(&path).unwrap();
    assert_eq!(run.recover().unwrap().checkpoint.unwrap().0, name(30, 2));
    assert_eq!(std::fs::read_to_string(&log).unwrap(), whole);
}

#[test]
fn a_checkpoint_of_format_1_is_gone_on_from() {
    let (_parent, path, mut run) = new_run();
    search(&mut run, 0, 2);
    drop(run);
    let file = path.join("checkpoints").join(name(20, 1).file_name());
    let checkpoint = Checkpoint::load(&file).unwrap();
    assert_eq!(checkpoint.events_lines.len(), 16);
    std::fs::write(&file, checkpoint::tests::format_1(&checkpoint)).unwrap();
    let log = path.join("events.jsonl");
    let whole = std::fs::read_to_string(&log).unwrap();
    std::fs::write(&log, whole.replace('\n', "\r\n")).unwrap();
    let err = RunDir::open::<SearchSpec>(&path).unwrap_err().to_string();
    assert!(err.contains("line 1, has the line end of another system (CR LF), so the log does not fit"), "{err}");
    std::fs::write(&log, &whole).unwrap();
    let mut run = RunDir::open::<SearchSpec>(&path).unwrap();
    assert_eq!(run.recover().unwrap().checkpoint.unwrap().0, name(20, 1));
    search(&mut run, 2, 3);
    drop(run);
    // What is saved from now on knows all lines, as if it had from the beginning.
    let (_other, through_path, mut through) = new_run();
    search(&mut through, 0, 3);
    let newest = Path::new("checkpoints").join(name(30, 2).file_name());
    assert!(std::fs::read(path.join(&newest)).unwrap() == std::fs::read(through_path.join(&newest)).unwrap());
}

#[test]
fn without_a_usable_checkpoint_a_search_that_had_begun_does_not_start_over() {
    let (_parent, path, mut run) = new_run();
    search(&mut run, 0, 2);
    drop(run);
    let checkpoints = path.join("checkpoints");
    let new = format!("begin a new run with `rdarts search {}/spec.toml`", path.display());
    let damaged = |index: u64| {
        let file = checkpoints.join(name(10 * index, index as usize - 1).file_name());
        format!("the checkpoint `{}` is damaged: it is shorter than any checkpoint", file.display())
    };
    for index in [1, 2] {
        std::fs::write(checkpoints.join(name(10 * index, index as usize - 1).file_name()), b"").unwrap();
    }
    check_refused(&path, &format!("none of the 2 checkpoints can be used, {}, {}: {new}", damaged(2), damaged(1)));
    std::fs::remove_file(checkpoints.join(name(20, 1).file_name())).unwrap();
    check_refused(&path, &format!("the only checkpoint cannot be used, {}: {new}", damaged(1)));
    std::fs::remove_file(checkpoints.join(name(10, 0).file_name())).unwrap();
    let log = path.join("events.jsonl");
    let problem =
        format!("`{}` holds no checkpoint, although `{}` tells of epochs", checkpoints.display(), log.display());
    check_refused(&path, &format!("{problem}: {new}"));
    std::fs::remove_dir(&checkpoints).unwrap();
    check_refused(&path, &format!("`{}` is not there any more: {new}", checkpoints.display()));
}

#[test]
fn a_run_that_was_stopped_before_its_first_checkpoint_starts_from_the_beginning() {
    for half in ["", "{\"event\":\"star"] {
        let (_parent, path, mut run) = new_run();
        run.append_event(&epoch(0)).unwrap();
        drop(run);
        let log = path.join("events.jsonl");
        std::fs::write(&log, std::fs::read_to_string(&log).unwrap() + half).unwrap();
        let mut run = RunDir::open::<SearchSpec>(&path).unwrap();
        assert!(run.recover().unwrap().checkpoint.is_none());
        assert_eq!(std::fs::read(&log).unwrap(), b"");
        search(&mut run, 0, 1);
        assert_eq!(run.view().events().unwrap(), [epoch(0)]);
    }
}

#[test]
fn a_reservation_that_is_not_filled_leaves_nothing_behind() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("runs/a/b");
    let reservation = Reservation::new(&path).unwrap();
    assert_eq!((reservation.path(), entries(&path)), (path.as_path(), vec!["lock".to_string(), "owner".to_string()]));
    // Another search is told who is there, and takes nothing away.
    let err = Reservation::new(&path).unwrap_err().to_string();
    assert!(err.contains("is locked by another process (process "), "{err}");
    assert_eq!(entries(&path), ["lock", "owner"]);
    drop(reservation);
    assert!(entries(parent.path()).is_empty());
    // What was there stays.
    std::fs::create_dir_all(parent.path().join("runs/other")).unwrap();
    drop(Reservation::new(&path).unwrap());
    assert_eq!(entries(&parent.path().join("runs")), ["other"]);
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(path.join("lock"), b"").unwrap();
    drop(Reservation::new(&path).unwrap());
    assert_eq!(entries(&path), ["lock"]);
    // A spec that is none is refused before it is written.
    let mut wrong = spec();
    wrong.search.batch = 1;
    let other = parent.path().join("c");
    assert!(Reservation::new(&other).unwrap().fill(&wrong).is_err());
    assert!(!other.exists());
    assert!(Reservation::new(Path::new("")).unwrap_err().to_string().starts_with("the name of the run directory"));
    drop(Reservation::new(&other).unwrap().fill(&spec()).unwrap());
    assert!(RunView::open(&other).is_ok());
}

#[test]
fn a_reservation_fails_where_the_system_or_a_file_is_in_the_way() {
    let parent = tempfile::tempdir().unwrap();
    // The directory that the spec must become a file in holds one of that name.
    let path = parent.path().join("run");
    let reservation = Reservation::new(&path).unwrap();
    std::fs::create_dir_all(path.join("spec.toml/x")).unwrap();
    let err = reservation.fill(&spec()).unwrap_err();
    assert!(err.to_string().starts_with(&format!("cannot write `{}/spec.toml`: ", path.display())), "{err}");
    assert_eq!(entries(&path), ["spec.toml"]);
    let err = Reservation::new(Path::new("/proc/run")).unwrap_err();
    assert!(err.to_string().starts_with("cannot create the run directory `/proc/run`: "), "{err}");
}

#[test]
fn what_keeps_a_search_from_writing_is_told_with_what_goes_on() {
    let file = Path::new("a run/events.jsonl");
    for (code, remedy) in [
        (28, "free some space on that disk"),
        (122, "free some of your quota there"),
        (27, "raise the limit of the size of files (`ulimit -f`)"),
        (5, "once that is mended"),
    ] {
        let source = io::Error::from_raw_os_error(code);
        let expected =
            format!("cannot write `a run/events.jsonl`: {source}: {remedy}, then `rdarts resume 'a run'` goes on");
        let err = io_error("write", file)(source).stopped(Path::new("a run"));
        assert_eq!((err.to_string(), err.is_system()), (expected, true));
    }
    let err = RunError::Finished { path: "x".into() }.stopped(Path::new("x"));
    assert!(matches!(err, RunError::Finished { .. }));
}

#[test]
fn where_there_are_no_locks_a_run_that_was_taken_over_is_not_written_to() {
    let (_parent, path, run) = new_run();
    drop(run);
    let means = Means {
        lock: std::sync::Arc::new(|_| Err(std::fs::TryLockError::Error(io::Error::from_raw_os_error(37)))),
        ..Means::system()
    };
    let mut run = RunDir::open_with::<SearchSpec>(&path, &means).unwrap();
    assert_eq!(run.warnings().len(), 1);
    run.append_event(&epoch(0)).unwrap();
    std::fs::write(path.join(OWNER), b"another").unwrap();
    let before = contents(&path);
    let sentence = format!(
        "the run in `{}` was taken over by another process, which goes on with it: this one ends",
        path.display()
    );
    assert_eq!(run.append_event(&epoch(1)).unwrap_err().to_string(), sentence);
    assert_eq!(run.save_checkpoint(&name(10, 0), state(0)).unwrap_err().to_string(), sentence);
    drop(run);
    assert!(contents(&path) == before);
}

#[test]
fn names_with_control_characters_stay_on_one_line() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("a\nb");
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("x\x1by"), b"").unwrap();
    let err = RunDir::create(&path, &spec()).unwrap_err().to_string();
    let shown = format!("{}/a\\nb", parent.path().display());
    assert_eq!(err, format!("`{shown}` is not empty (it holds `x\\u{{1b}}y`): name a new directory for the run"));
}

#[test]
fn a_half_written_duration_does_not_run_into_the_next() {
    let (_parent, path, mut run) = new_run();
    let timing = Timing {
        attempt: 0,
        epoch: 0,
        device: "cpu".into(),
        seconds: BTreeMap::from([("weights".to_string(), 0.1)]),
        peak_memory: None,
    };
    run.append_timing(&timing).unwrap();
    drop(run);
    let mut file = OpenOptions::new().append(true).open(path.join("timings.jsonl")).unwrap();
    file.write_all(b"{\"att").unwrap();
    let mut run = RunDir::open::<SearchSpec>(&path).unwrap();
    run.append_timing(&timing).unwrap();
    assert_eq!(run.view().timings().unwrap(), [timing.clone(), timing]);
}

#[test]
fn a_finished_run_is_whole_and_not_resumed() {
    let (_parent, path, mut run) = new_run();
    search(&mut run, 0, 1);
    let environment = Environment::detect(2, "portable", "cpu".into());
    run.write_environment(&environment).unwrap();
    run.write_genotype("genotype text\n", &json!({ "normal": [1] })).unwrap();
    let timing = Timing {
        attempt: 0,
        epoch: 0,
        device: "cpu".into(),
        seconds: BTreeMap::from([("weights".to_string(), 0.1)]),
        peak_memory: None,
    };
    run.append_timing(&timing).unwrap();
    run.mark_done("all epochs done").unwrap();
    drop(run);

    let view = RunView::open(&path).unwrap();
    assert!(view.is_done());
    assert_eq!(view.genotype().unwrap().as_deref(), Some("genotype text"));
    assert_eq!(view.environment().unwrap(), Some(environment));
    assert_eq!(view.timings().unwrap(), [timing]);
    assert_eq!(std::fs::read_to_string(path.join("DONE")).unwrap(), "all epochs done\n");
    let json = std::fs::read_to_string(path.join("genotype.json")).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap(), json!({ "normal": [1] }));
    let err = RunDir::open::<SearchSpec>(&path).unwrap_err().to_string();
    assert_eq!(err, format!("the run in `{}` has finished, there is nothing to resume", path.display()));
    assert_eq!(view.events().unwrap(), [epoch(0)]);
}

#[test]
fn a_second_process_is_refused_while_the_first_works() {
    let (_parent, path, run) = new_run();
    let start =
        format!("the run in `{}` is locked by another process (process {} on ", path.display(), std::process::id());
    let err = RunDir::open::<SearchSpec>(&path).unwrap_err();
    assert!(err.to_string().starts_with(&start) && !err.is_system(), "{err}");
    // Reading needs no lock.
    assert!(RunView::open(&path).is_ok());
    std::fs::write(path.join("lock"), b"?").unwrap();
    let err = RunDir::open::<SearchSpec>(&path).unwrap_err().to_string();
    assert_eq!(err, format!("the run in `{}` is locked by another process", path.display()));
    drop(run);
    assert!(RunDir::open::<SearchSpec>(&path).is_ok());
}

#[test]
fn create_refuses_directories_that_hold_something() {
    let (_parent, path, run) = new_run();
    drop(run);
    let shown = path.display();
    let err = RunDir::create(&path, &spec()).unwrap_err().to_string();
    assert_eq!(
        err,
        format!("`{shown}` already holds a run that `rdarts resume {shown}` goes on with: name a new directory")
    );

    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("thesis.tex"), b"x").unwrap();
    let err = RunDir::create(other.path(), &spec()).unwrap_err().to_string();
    let shown = other.path().display();
    assert_eq!(err, format!("`{shown}` is not empty (it holds `thesis.tex`): name a new directory for the run"));
    // Nothing of ours was put there.
    assert_eq!(entries(other.path()), ["thesis.tex"]);
}

#[test]
fn create_uses_an_empty_directory_and_what_a_kill_before_the_spec_left() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("checkpoints")).unwrap();
    for file in ["lock", "format", ".unfinished-1"] {
        std::fs::write(dir.path().join(file), b"").unwrap();
    }
    drop(RunDir::create(dir.path(), &spec()).unwrap());
    assert!(!entries(dir.path()).contains(&".unfinished-1".to_string()));
    assert!(RunView::open(dir.path()).is_ok());
}

#[test]
fn create_fails_early_where_nothing_can_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, b"x").unwrap();
    let err = RunDir::create(&file, &spec()).unwrap_err().to_string();
    assert_eq!(err, format!("`{}` is a file: name a new directory for the run", file.display()));
    let below = file.join("run");
    let err = RunDir::create(&below, &spec()).unwrap_err().to_string();
    assert!(err.starts_with(&format!("cannot create the run directory `{}`: ", below.display())), "{err}");

    let mut wrong = spec();
    wrong.search.batch = 1;
    let path = dir.path().join("run");
    let err = RunDir::create(&path, &wrong).unwrap_err().to_string();
    assert_eq!(err, "spec: `search.batch` is 1, but must be a whole number from 2 to 65536");
    assert!(!path.exists());
}

#[test]
fn other_directories_and_newer_runs_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let shown = dir.path().display().to_string();
    #[track_caller]
    fn check(path: &Path, sentence: String) {
        assert_eq!(RunDir::open::<SearchSpec>(path).unwrap_err().to_string(), sentence);
        assert_eq!(RunView::open(path).unwrap_err().to_string(), sentence);
    }
    check(
        Path::new("/no/such/run"),
        "`/no/such/run` is not a run directory of rdarts: there is no such directory".to_string(),
    );
    check(dir.path(), format!("`{shown}` is not a run directory of rdarts: it has no file `format`"));
    std::fs::write(dir.path().join("format"), b"something else").unwrap();
    check(
        dir.path(),
        format!("`{shown}` is not a run directory of rdarts: its file `format` does not say `rdarts-run` and a number"),
    );
    std::fs::write(dir.path().join("format"), b"rdarts-run 2\n").unwrap();
    check(dir.path(), format!("`{shown}` is not a run directory of rdarts: it has no file `spec.toml`"));
    std::fs::write(dir.path().join("format"), b"rdarts-run 3\n").unwrap();
    check(dir.path(), format!("`{shown}` has format 3, and this program knows up to 2; use a newer rdarts"));
    // Looking at a foreign directory leaves nothing there.
    assert_eq!(entries(dir.path()), ["format"]);
}

#[test]
fn a_changed_spec_names_its_file_and_line() {
    let (_parent, path, run) = new_run();
    drop(run);
    let file = path.join("spec.toml");
    let text = std::fs::read_to_string(&file).unwrap().replace("momentum = ", "momentun = ");
    let line = 1 + text.lines().position(|line| line.starts_with("momentun")).unwrap();
    std::fs::write(&file, text).unwrap();
    let err = RunDir::open::<SearchSpec>(&path).unwrap_err().to_string();
    let key = "unknown key `weights.momentun`; did you mean `weights.momentum`?";
    assert_eq!(err, format!("{}, line {line}: {key}", file.display()));
}

#[test]
fn checkpoints_only_grow_and_the_same_number_is_replaced() {
    let (_parent, _path, mut run) = new_run();
    search(&mut run, 0, 2);
    let err = run.save_checkpoint(&name(15, 0), state(0)).unwrap_err().to_string();
    assert!(err.starts_with("the checkpoint 00000015-epoch-0 would not be the newest in `"), "{err}");
    assert!(err.ends_with("`, where 00000020-epoch-1 is"), "{err}");
    // A stop within an epoch, right at its end, and then the end itself.
    let stopped = CheckpointName { sequence: 30, epoch: 2, step: Some(10) };
    run.save_checkpoint(&stopped, state(2)).unwrap();
    run.save_checkpoint(&name(30, 2), state(3)).unwrap();
    assert_eq!(run.view().checkpoints().unwrap(), [name(30, 2), name(20, 1), name(10, 0)]);
    assert_eq!(run.view().load_checkpoint(&name(30, 2)).unwrap().state, json!({ "epoch": 3 }));
    assert_eq!(run.prune_checkpoints(|name| name.epoch == 0).unwrap(), [name(20, 1)]);
    assert_eq!(run.view().checkpoints().unwrap(), [name(30, 2), name(10, 0)]);
}

#[test]
fn a_run_of_another_kind_is_held_too_and_not_taken_for_a_search() {
    let (_parent, path, run) = new_run();
    drop(run);
    let file = path.join(SPEC);
    let text = std::fs::read_to_string(&file).unwrap().replace("kind = \"search\"", "kind = \"other\"");
    std::fs::write(&file, text).unwrap();
    assert_eq!(RunView::open(&path).unwrap().kind(), "other");
    let before = entries(&path);
    let err = RunDir::open::<SearchSpec>(&path).unwrap_err().to_string();
    assert!(err.ends_with("holds a run of kind `other`, but this needs one of kind `search`"), "{err}");
    assert_eq!(entries(&path), before);
}

/// The directory of a portfolio with so many events, which no process works in.
fn portfolio(n_events: usize) -> (tempfile::TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("runs/first");
    let spec = RobustSpec::resolve(Some("demo"), None, &[], &NoSets).unwrap();
    let mut run = RunDir::create(&path, &spec).unwrap();
    (0..n_events).for_each(|member| run.append_event(&found(member)).unwrap());
    (parent, path)
}

#[test]
fn a_portfolio_goes_on_from_its_events_and_writes_no_checkpoint() {
    let (_parent, path) = portfolio(2);
    assert_eq!(entries(&path), ["events.jsonl", "format", "lock", "spec.toml", "timings.jsonl"]);
    let mut run = RunDir::open::<RobustSpec>(&path).unwrap();
    assert_eq!((run.view().kind(), run.view().events().unwrap()), ("robust", vec![found(0), found(1)]));
    let start = format!("the run in `{}` is locked by another process (process ", path.display());
    let err = RunDir::open::<RobustSpec>(&path).unwrap_err().to_string();
    assert!(err.starts_with(&start), "{err}");
    // Asked what to go on from, it loses nothing.
    assert!(run.recover().unwrap().checkpoint.is_none());
    run.append_event(&found(2)).unwrap();
    run.write_environment(&Environment::detect(2, "portable", "cpu".into())).unwrap();
    run.mark_done("All is done.").unwrap();
    assert!(run.recover().is_err());
    drop(run);
    let view = RunView::open(&path).unwrap();
    assert_eq!((view.is_done(), view.events().unwrap()), (true, vec![found(0), found(1), found(2)]));
    assert_eq!(view.spec::<RobustSpec>().unwrap().members(), 3);
    let err = RunDir::open::<RobustSpec>(&path).unwrap_err().to_string();
    assert_eq!(err, format!("the run in `{}` has finished, there is nothing to resume", path.display()));
    assert!(!path.join("checkpoints").exists());
}

#[test]
fn what_a_kill_or_a_power_cut_leaves_of_a_portfolios_last_event_is_cut_when_it_is_opened() {
    let (_parent, through) = portfolio(3);
    let line = crate::event::to_line(&found(2));
    let halves = ["", "{", &line[..line.len() - 1], "\0\0\0\0", "\0\0lost\n"];
    for half in halves {
        let (_parent, path) = portfolio(2);
        let log = path.join("events.jsonl");
        let whole = std::fs::read_to_string(&log).unwrap();
        std::fs::write(&log, whole.clone() + half).unwrap();
        std::fs::write(path.join(".unfinished-1"), b"half").unwrap();
        let mut run = RunDir::open::<RobustSpec>(&path).unwrap();
        assert_eq!((std::fs::read_to_string(&log).unwrap(), run.events_bytes()), (whole.clone(), whole.len() as u64));
        assert_eq!(run.view().events().unwrap(), [found(0), found(1)]);
        run.append_event(&found(2)).unwrap();
        drop(run);
        assert_eq!(std::fs::read(&log).unwrap(), std::fs::read(through.join("events.jsonl")).unwrap(), "{half}");
        assert_eq!(entries(&path), entries(&through));
    }
    // Killed before its first event, or even without the file of them.
    for text in [Some("{\"eve"), None] {
        let (_parent, path) = portfolio(0);
        let log = path.join("events.jsonl");
        match text {
            Some(text) => std::fs::write(&log, text).unwrap(),
            None => std::fs::remove_file(&log).unwrap(),
        }
        let mut run = RunDir::open::<RobustSpec>(&path).unwrap();
        assert_eq!(run.view().events().unwrap(), []);
        run.append_event(&found(0)).unwrap();
        assert_eq!(run.view().events().unwrap(), [found(0)]);
    }
}

#[test]
fn a_portfolio_whose_events_were_changed_is_refused_with_the_line_and_nothing_is_changed() {
    let (_parent, path) = portfolio(3);
    let log = path.join("events.jsonl");
    let whole = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    let newer = "{\"event\":\"robust_started\",\"format\":99}\n".to_string();
    for (text, line, problem) in [
        (whole.replace('\n', "\r\n"), 1, Some("has the line end of another system (CR LF)")),
        ([lines[0], "note\n", lines[1]].concat(), 2, Some("is not a record of this program")),
        (
            [lines[0], lines[1], &lines[2].replace("member\"", "number\"")].concat(),
            3,
            Some("is not a record of this program"),
        ),
        (newer + lines[0], 1, None),
    ] {
        std::fs::write(&log, text).unwrap();
        let sentence = match problem {
            Some(problem) => format!(
                "`{}`, line {line}, {problem}: put the file back as it was written, or begin a new run with `rdarts robust \
                 {}/spec.toml`",
                log.display(),
                path.display()
            ),
            None => format!(
                "`{}`, line 1: events of format 99, and this program knows up to 8; use a newer rdarts",
                log.display()
            ),
        };
        let before = contents(&path);
        let err = RunDir::open::<RobustSpec>(&path).unwrap_err();
        assert_eq!((err.to_string(), err.is_system()), (sentence, false));
        assert!(contents(&path) == before, "something was changed");
    }
    std::fs::write(&log, whole).unwrap();
    assert!(RunDir::open::<RobustSpec>(&path).is_ok());
}

#[test]
fn the_runs_of_a_portfolio_are_run_directories_within_its_own() {
    let (_parent, path) = portfolio(1);
    let run = RunDir::open::<RobustSpec>(&path).unwrap();
    let portfolio: RobustSpec = run.view().spec().unwrap();
    let member = run.view().member_path("2-search");
    assert_eq!(member, path.join("members/2-search"));
    let mut inner = RunDir::create(&member, &portfolio.search_spec(2)).unwrap();
    search(&mut inner, 0, 1);
    // Each has its own lock.
    assert!(RunDir::open::<SearchSpec>(&member).is_err());
    drop(inner);
    assert!(RunDir::open::<SearchSpec>(&member).unwrap().recover().unwrap().checkpoint.is_some());
    assert_eq!(RunView::open(&member).unwrap().spec::<SearchSpec>().unwrap(), portfolio.search_spec(2));
    drop(run);
    assert_eq!(RunDir::open::<RobustSpec>(&path).unwrap().view().events().unwrap(), [found(0)]);
    // Neither is taken for the other.
    let err = RunDir::open::<SearchSpec>(&path).unwrap_err().to_string();
    assert!(err.ends_with("holds a run of kind `robust`, but this needs one of kind `search`"), "{err}");
}

#[test]
fn spectra_mistakes_and_maps_are_read_if_they_are_there() {
    let (_parent, path, mut run) = new_run();
    let view = RunView::open(&path).unwrap();
    assert_eq!((view.spectra().unwrap(), view.mistakes().unwrap()), (Vec::new(), Vec::new()));
    let spectrum = "{\"attempt\":0,\"epoch\":3,\"mode\":\"plain\",\"batches\":4,\"images\":\"fixed\",\
                    \"eigenvalues\":[0.5,-0.25]}\n";
    std::fs::write(path.join("spectra.jsonl"), spectrum).unwrap();
    let spectra = view.spectra().unwrap();
    assert_eq!((spectra[0].epoch, &spectra[0].eigenvalues[..]), (3, &[0.5, -0.25][..]));
    assert_eq!(serde_json::to_string(&spectra[0]).unwrap() + "\n", spectrum);
    std::fs::create_dir(path.join("mistakes")).unwrap();
    let mistake = "{\"image\":17,\"truth\":0,\"given\":2,\"probability\":0.75}\n";
    std::fs::write(path.join("mistakes/mistakes.jsonl"), mistake).unwrap();
    assert!(view.mistakes().unwrap_err().to_string().contains("cannot read"));
    std::fs::write(path.join("mistakes/00.png"), "GIF89a").unwrap();
    assert!(view.mistakes().unwrap_err().to_string().contains("00.png` is no PNG file of at most 65536 bytes"));
    std::fs::write(path.join("mistakes/00.png"), b"\x89PNG\r\n\x1a\n...").unwrap();
    let mistakes = view.mistakes().unwrap();
    assert_eq!((mistakes.len(), mistakes[0].0.given, mistakes[0].1.len()), (1, 2, 11));
    assert_eq!(view.maps().unwrap(), Vec::new());
    let map = |pair| PairMap { pair, name: format!("scene {pair}"), error: 1.5, range: (2.0, 9.0), most_error: 4.0 };
    let png = |pair: u8| [1u8, 2, 3, 4].map(|i| [b"\x89PNG\r\n\x1a\n", &[pair, i][..]].concat());
    let maps: Vec<_> = (0..9).map(|pair| PairPictures { about: map(pair), png: png(pair as u8) }).collect();
    run.write_maps(&maps).unwrap();
    assert_eq!(view.maps().unwrap(), maps[..MOST_MAPS]);
    std::fs::remove_file(path.join("maps/02-error.png")).unwrap();
    assert!(view.maps().unwrap_err().to_string().contains("02-error.png"));
}

#[test]
fn a_run_seems_at_work_while_its_owner_is_renewed() {
    let (_parent, path, mut run) = new_run();
    let view = RunView::open(&path).unwrap();
    assert!(view.seems_at_work());
    run.mark_done("done").unwrap();
    assert!(!view.seems_at_work());
    drop(run);
    std::fs::remove_file(path.join("DONE")).unwrap();
    assert!(!view.seems_at_work(), "its owner has gone");
}
