//! The loop on tiny searches: saved and resumed anywhere it gives the same bits, whatever the number of threads,
//! and each method does what its name says.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rdarts_net::Engine;
use rdarts_run::{CheckpointName, Decision, DecisionKind, EpochRecord, Event, RunDir, RunView, SearchSpec, Spec};
use rdarts_search::{Found, Search, open_space};
use rdarts_train::{KnownSets, Observer, Progress, resume, start};

type Outcome = rdarts_train::Outcome<Found>;

const SMALL: &str = r#"
preset = "demo"
[data]
limit = 96
valid_limit = 32
size = 14
[network]
channels = 2
cells = 3
[search]
epochs = 5
batch = 16
[hessian]
batches = 1
images = "last"
[monitor]
window = 1
threshold = 0.999
"#;

fn search(overrides: &[&str]) -> Search {
    let overrides: Vec<String> = overrides.iter().map(|s| s.to_string()).collect();
    let spec = SearchSpec::resolve_text(None, Some(("test", SMALL)), &overrides, &KnownSets).unwrap();
    let space = open_space(&spec.space.name).unwrap();
    Search::new(spec, space, Engine::cpu()).unwrap()
}

/// Stops after a number of steps.
struct StopAfter<'a> {
    left: Option<usize>,
    /// Stops when this is measured for the first time.
    at_phase: Option<&'static str>,
    stop: &'a AtomicBool,
    steps: usize,
    /// Stops after the first step that follows a rollback.
    at_rollback: bool,
}

impl Observer for StopAfter<'_> {
    fn step(&mut self, _: &Progress) {
        self.steps += 1;
        if let Some(left) = &mut self.left {
            *left -= 1;
            self.stop.store(*left == 0, Ordering::Relaxed);
        }
    }
    fn phase(&mut self, name: &'static str) {
        if self.at_phase.take_if(|wanted| *wanted == name).is_some() {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
    fn event(&mut self, event: &Event) {
        let is_rollback = matches!(event, Event::Decision(d) if d.kind == DecisionKind::Rollback);
        if self.at_rollback && is_rollback {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
    fn news(&mut self, _: usize, _: &str) {}
}

/// Runs to the end, stopping after each of the given numbers of steps.
fn run(search: &Search, dir: &Path, stops: &[usize], threads: &[usize]) -> Outcome {
    let mut run_dir = Some(RunDir::create(dir, &search.spec).unwrap());
    for (i, left) in stops.iter().map(|s| Some(*s)).chain([None]).enumerate() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads[i % threads.len()]).build().unwrap();
        let stop = AtomicBool::new(false);
        let mut observer = StopAfter { left, at_phase: None, stop: &stop, steps: 0, at_rollback: false };
        let mut open = run_dir.take().unwrap_or_else(|| RunDir::open::<SearchSpec>(dir).unwrap());
        let outcome = pool.install(|| {
            if i == 0 {
                start(search, &mut open, &mut observer, &stop)
            } else {
                resume(search, &mut open, &mut observer, &stop, &mut |text| {
                    assert!(!text.contains("warning"), "{text}")
                })
            }
        });
        match outcome.unwrap() {
            Outcome::Interrupted { .. } => assert!(left.is_some()),
            finished => return finished,
        }
    }
    unreachable!("the last round does not stop")
}

/// Events and the newest checkpoint, byte for byte.
fn result(dir: &Path) -> (String, Vec<u8>) {
    let events = std::fs::read_to_string(dir.join("events.jsonl")).unwrap();
    let mut names = RunView::open(dir).unwrap().checkpoints().unwrap();
    names.sort_by_key(|n| n.sequence);
    let newest = dir.join("checkpoints").join(names.last().unwrap().file_name());
    (events, std::fs::read(newest).unwrap())
}

/// Turns one bit of a checkpoint.
fn damage(dir: &Path, name: &CheckpointName) {
    let path = dir.join("checkpoints").join(name.file_name());
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

fn decisions(dir: &Path) -> Vec<Decision> {
    let events = RunView::open(dir).unwrap().events().unwrap();
    events.into_iter().filter_map(|e| if let Event::Decision(d) = e { Some(d) } else { None }).collect()
}

fn same_bits_when_stopped(overrides: &[&str]) {
    let search = search(overrides);
    let tmp = tempfile::tempdir().unwrap();
    let (whole, parts) = (tmp.path().join("whole"), tmp.path().join("parts"));
    run(&search, &whole, &[], &[1]);
    // In the middle of an epoch, after its last step, after its first, twice in a row.
    run(&search, &parts, &[2, 1, 1, 2, 3, 1], &[2, 1, 3]);
    let (a, b) = (result(&whole), result(&parts));
    assert_eq!(a.0, b.0);
    assert!(a.1 == b.1, "the last checkpoints differ");
    assert_eq!(std::fs::read(whole.join("genotype.txt")).unwrap(), std::fs::read(parts.join("genotype.txt")).unwrap());
}

#[test]
fn a_first_order_search_with_rollbacks_is_resumed_to_the_bit_on_other_numbers_of_threads() {
    same_bits_when_stopped(&[]);
}

#[test]
fn an_exact_second_order_search_with_drop_path_and_cutout_is_resumed_to_the_bit() {
    same_bits_when_stopped(&[
        "search.order=second",
        "search.drop_path=0.4",
        "augment.cutout_length=8",
        "augment.cutout_schedule=linear",
        "search.epochs=3",
    ]);
}

#[test]
fn a_finite_difference_search_with_noise_operations_is_resumed_to_the_bit() {
    same_bits_when_stopped(&["search.order=second-fd", "space.name=s4", "search.epochs=3", "search.method=darts"]);
}

#[test]
fn each_method_does_what_its_name_says() {
    let tmp = tempfile::tempdir().unwrap();
    // With a window of 1 and this threshold any growth from one epoch to the next is a trigger.
    let mut found = Vec::new();
    for method in ["darts", "darts-es", "darts-ada"] {
        let dir = tmp.path().join(method);
        let outcome = run(&search(&[&format!("search.method={method}")]), &dir, &[], &[2]);
        let Outcome::Finished(f) = outcome else { panic!("not finished") };
        found.push((f, decisions(&dir), RunView::open(&dir).unwrap().events().unwrap()));
    }
    let (plain, es, ada) = (&found[0], &found[1], &found[2]);
    assert!(plain.1.is_empty() && plain.0.epoch == 4);
    assert_eq!(es.1.len(), 1, "this seed shows growth; otherwise the test shows nothing");
    assert_eq!(es.0.epoch, es.1[0].return_to);
    assert_eq!(es.0.epoch + 1, es.1[0].epoch);
    // The same run up to the trigger, and the architecture of the epoch before it.
    let epoch = |events: &[Event], epoch: usize| -> EpochRecord {
        let find = |e: &Event| if let Event::Epoch(r) = e { (r.epoch == epoch).then(|| (**r).clone()) } else { None };
        events.iter().find_map(find).unwrap()
    };
    assert_eq!(epoch(&es.2, es.0.epoch), epoch(&plain.2, es.0.epoch));
    assert_eq!(es.0.genotype.to_string(), epoch(&plain.2, es.0.epoch).genotype);
    // ADA goes back twice at most, ten times the L2 each time, and then to the end.
    assert_eq!(ada.1[0].return_to, es.1[0].return_to);
    assert!((1..=2).contains(&ada.1.len()));
    for (i, d) in ada.1.iter().enumerate() {
        assert!((d.l2_new / (3e-4 * 10f64.powi(i as i32 + 1)) - 1.0).abs() < 1e-9, "{}", d.l2_new);
    }
    assert_eq!(ada.0.epoch, 4);
}

#[test]
fn damaged_checkpoints_right_after_a_rollback_cost_one_epoch_and_no_bit() {
    let search = search(&["monitor.window=2", "search.epochs=6"]);
    let tmp = tempfile::tempdir().unwrap();
    let (whole, hurt) = (tmp.path().join("whole"), tmp.path().join("hurt"));
    run(&search, &whole, &[], &[2]);
    let rollback = decisions(&whole).first().cloned().expect("this seed goes back; otherwise the test shows nothing");
    let stop = AtomicBool::new(false);
    let mut observer = StopAfter { left: None, at_phase: None, stop: &stop, steps: 0, at_rollback: true };
    let mut dir = RunDir::create(&hurt, &search.spec).unwrap();
    let outcome = start(&search, &mut dir, &mut observer, &stop).unwrap();
    assert!(matches!(outcome, Outcome::Interrupted { epoch, .. } if epoch == rollback.return_to + 1), "{outcome:?}");
    let mut names = dir.view().checkpoints().unwrap();
    names.sort_by_key(|n| std::cmp::Reverse(n.sequence));
    drop(dir);
    // The one of the step and the one that the rollback left.
    assert_eq!((names[1].epoch, names[1].step), (rollback.return_to, None));
    for name in &names[..2] {
        damage(&hurt, name);
    }
    stop.store(false, Ordering::Relaxed);
    let mut observer = StopAfter { left: None, at_phase: None, stop: &stop, steps: 0, at_rollback: false };
    let mut said = Vec::new();
    let mut dir = RunDir::open::<SearchSpec>(&hurt).unwrap();
    resume(&search, &mut dir, &mut observer, &stop, &mut |text| said.push(text.to_string())).unwrap();
    assert_eq!(said.iter().filter(|t| t.contains("warning")).count(), 2, "{said:?}");
    let (a, b) = (result(&whole), result(&hurt));
    assert_eq!(a.0, b.0);
    assert!(a.1 == b.1, "the last checkpoints differ");
}

#[test]
fn a_changed_spec_or_other_images_are_not_resumed() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("run");
    let original = search(&[]);
    let stop = AtomicBool::new(false);
    let mut observer = StopAfter { left: Some(2), at_phase: None, stop: &stop, steps: 0, at_rollback: false };
    start(&original, &mut RunDir::create(&path, &original.spec).unwrap(), &mut observer, &stop).unwrap();
    let refused = |search: &Search| {
        let mut observer = StopAfter { left: None, at_phase: None, stop: &stop, steps: 0, at_rollback: false };
        resume(search, &mut RunDir::open::<SearchSpec>(&path).unwrap(), &mut observer, &stop, &mut |_| ())
            .unwrap_err()
            .to_string()
    };
    assert!(refused(&search(&["seed=7"])).contains("spec.toml has been changed"));
    let mut other = search(&[]);
    other.images.fingerprint = "0123456789abcdef".into();
    assert!(refused(&other).contains("images"));
}

#[test]
fn a_diverged_search_stops_names_the_step_and_keeps_its_checkpoint() {
    let search = search(&["weights.lr=1e30", "weights.clip=1e30", "weights.lr_min=1"]);
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("run");
    let mut dir = RunDir::create(&path, &search.spec).unwrap();
    let stop = AtomicBool::new(false);
    let mut observer = StopAfter { left: None, at_phase: None, stop: &stop, steps: 0, at_rollback: false };
    let error = start(&search, &mut dir, &mut observer, &stop).unwrap_err().to_string();
    assert!(error.contains("not a finite number") && error.contains("epoch 0, step"), "{error}");
    assert_eq!(dir.view().checkpoints().unwrap().len(), 1);
    assert!(!dir.view().is_done());
}

#[test]
fn a_search_stops_while_it_measures_and_measures_again_when_it_is_resumed() {
    let search = search(&["hessian.batches=2", "search.epochs=2", "search.method=darts"]);
    let tmp = tempfile::tempdir().unwrap();
    let whole = tmp.path().join("whole");
    run(&search, &whole, &[], &[2]);
    for phase in ["eigenvalue", "accuracy of the supernet", "accuracy of its child"] {
        let path = tmp.path().join(phase);
        let stop = AtomicBool::new(false);
        let mut observer = StopAfter { left: None, at_phase: Some(phase), stop: &stop, steps: 0, at_rollback: false };
        let outcome = start(&search, &mut RunDir::create(&path, &search.spec).unwrap(), &mut observer, &stop).unwrap();
        let n_steps = search.steps_per_epoch();
        assert!(matches!(outcome, Outcome::Interrupted { epoch: 0, step } if step == n_steps), "{phase}: {outcome:?}");
        assert!(!std::fs::read_to_string(path.join("events.jsonl")).unwrap().contains("\"epoch\":0,"), "{phase}");
        stop.store(false, Ordering::Relaxed);
        resume(&search, &mut RunDir::open::<SearchSpec>(&path).unwrap(), &mut observer, &stop, &mut |_| ()).unwrap();
        assert!(result(&path) == result(&whole), "{phase}");
        // The time that was spent before is kept, of what was measured too.
        let timings = RunView::open(&path).unwrap().timings().unwrap();
        assert_eq!(timings.iter().map(|timing| timing.epoch).collect::<Vec<_>>(), [0, 0, 1], "{phase}");
        let parts: Vec<&str> = timings[0].seconds.keys().map(String::as_str).collect();
        assert!(parts.contains(&"measuring that was stopped") && timings[0].seconds["train"] > 0.0, "{parts:?}");
        assert!(timings[0].seconds.values().all(|seconds| *seconds >= 0.0), "{:?}", timings[0]);
    }
}

#[test]
fn the_time_before_a_stop_is_counted() {
    /// Makes every step last, and stops after the second one.
    struct Slow<'a> {
        stop: &'a AtomicBool,
        left: usize,
    }
    impl Observer for Slow<'_> {
        fn step(&mut self, _: &Progress) {
            std::thread::sleep(std::time::Duration::from_millis(30));
            self.left = self.left.saturating_sub(1);
            if self.left == 0 {
                self.stop.store(true, Ordering::Relaxed);
            }
        }
        fn phase(&mut self, _: &'static str) {}
        fn event(&mut self, _: &Event) {}
        fn news(&mut self, _: usize, _: &str) {}
    }
    let search = search(&["search.epochs=1", "search.method=darts"]);
    let n_steps = search.steps_per_epoch();
    assert!(n_steps > 2);
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("run");
    let stop = AtomicBool::new(false);
    let mut observer = Slow { stop: &stop, left: 2 };
    let mut dir = RunDir::create(&path, &search.spec).unwrap();
    let outcome = start(&search, &mut dir, &mut observer, &stop).unwrap();
    assert!(matches!(outcome, Outcome::Interrupted { epoch: 0, step: 2 }), "{outcome:?}");
    drop(dir);
    stop.store(false, Ordering::Relaxed);
    observer.left = usize::MAX;
    resume(&search, &mut RunDir::open::<SearchSpec>(&path).unwrap(), &mut observer, &stop, &mut |_| ()).unwrap();
    let timings = RunView::open(&path).unwrap().timings().unwrap();
    let train: Vec<f64> = timings.iter().map(|timing| timing.seconds["train"]).collect();
    // At least what the observer slept, in each of the two parts.
    assert!(train.len() == 2 && train[0] >= 0.06 && train[1] >= 0.03 * (n_steps - 2) as f64, "{train:?}");
}

#[test]
fn a_search_that_rolls_back_by_small_steps_never_misses_a_checkpoint() {
    // A window of 2 and a small factor: many rollbacks, some right after one another.
    let search = search(&[
        "space.name=tiny",
        "monitor.window=2",
        "monitor.threshold=0.999",
        "monitor.l2_factor=1.5",
        "search.epochs=9",
        "data.limit=64",
        "eval.oneshot=false",
        "eval.child=false",
    ]);
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("run");
    run(&search, &path, &[], &[2]);
    let decisions = decisions(&path);
    assert!(decisions.len() >= 3, "{} rollbacks show too little", decisions.len());
    // Nothing but what a decision could still have asked for is left.
    let left = RunView::open(&path).unwrap().checkpoints().unwrap().len();
    assert!(left <= 2 * 9, "{left} checkpoints");
}

#[test]
fn a_damaged_checkpoint_that_a_rollback_needs_is_named_and_what_is_advised_gives_the_same_bits() {
    let search = search(&["monitor.window=2", "search.epochs=6"]);
    let tmp = tempfile::tempdir().unwrap();
    let (whole, hurt) = (tmp.path().join("whole"), tmp.path().join("hurt"));
    run(&search, &whole, &[], &[2]);
    let rollback = decisions(&whole).first().cloned().expect("this seed goes back; otherwise the test shows nothing");
    // Stopped in the epoch after which the search goes back.
    let stop = AtomicBool::new(false);
    let steps = rollback.epoch * search.steps_per_epoch() + 1;
    let mut observer = StopAfter { left: Some(steps), at_phase: None, stop: &stop, steps: 0, at_rollback: false };
    start(&search, &mut RunDir::create(&hurt, &search.spec).unwrap(), &mut observer, &stop).unwrap();
    let names = RunView::open(&hurt).unwrap().checkpoints().unwrap();
    let wanted = names.iter().find(|n| n.epoch == rollback.return_to && n.step.is_none()).unwrap();
    damage(&hurt, wanted);
    stop.store(false, Ordering::Relaxed);
    let go_on = || {
        let mut observer = StopAfter { left: None, at_phase: None, stop: &stop, steps: 0, at_rollback: false };
        let mut dir = RunDir::open::<SearchSpec>(&hurt).unwrap();
        resume(&search, &mut dir, &mut observer, &stop, &mut |_| ())
    };
    let error = go_on().unwrap_err().to_string();
    assert!(
        error.contains(&format!("must go back to epoch {}, but its checkpoint cannot be used", rollback.return_to))
    );
    for name in RunView::open(&hurt).unwrap().checkpoints().unwrap() {
        if name.epoch >= rollback.return_to {
            std::fs::remove_file(hurt.join("checkpoints").join(name.file_name())).unwrap();
        }
    }
    go_on().unwrap();
    let (a, b) = (result(&whole), result(&hurt));
    assert_eq!(a.0, b.0);
    assert!(a.1 == b.1, "the last checkpoints differ");
}
