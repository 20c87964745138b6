//! Random search with weight sharing on tiny searches: what it finds is the best of its samples, and it is resumed to the
//! bit wherever it was stopped, also while it chooses.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdarts_net::{Alphas, Engine, forward_mixed};
use rdarts_run::{EpochRecord, Event, RunDir, RunView, SearchSpec, Spec};
use rdarts_search::random_ws::{draw, draw_sample, genotype};
use rdarts_search::{Found, Search, State, open_space};
use rdarts_train::images::as_batch;
use rdarts_train::{KnownSets, Observer, Progress, Streams, resume, start};

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
method = "rs-ws"
epochs = 3
batch = 16
samples = 40
sample_batches = 1
"#;

const CHOOSING: &str = "accuracies of random architectures";

fn search(overrides: &[&str]) -> Search {
    let overrides: Vec<String> = overrides.iter().map(|s| s.to_string()).collect();
    let spec = SearchSpec::resolve_text(None, Some(("test", SMALL)), &overrides, &KnownSets).unwrap();
    let space = open_space(&spec.space.name).unwrap();
    Search::new(spec, space, Engine::cpu()).unwrap()
}

/// When to stop.
#[derive(Clone, Copy)]
enum Stop {
    Never,
    /// After so many steps.
    Steps(usize),
    /// So long after this phase has begun.
    Phase(&'static str, Duration),
}

struct Stopping(Stop, Arc<AtomicBool>);

impl Observer for Stopping {
    fn step(&mut self, _: &Progress) {
        if let Stop::Steps(left) = &mut self.0 {
            *left -= 1;
            self.1.store(*left == 0, Ordering::Relaxed);
        }
    }
    fn phase(&mut self, name: &'static str) {
        let Stop::Phase(wanted, after) = self.0 else { return };
        if name == wanted {
            let stop = self.1.clone();
            let set = move || {
                std::thread::sleep(after);
                stop.store(true, Ordering::Relaxed);
            };
            if after.is_zero() { set() } else { drop(std::thread::spawn(set)) }
        }
    }
    fn event(&mut self, _: &Event) {}
    fn news(&mut self, _: usize, _: &str) {}
}

/// Begins or goes on.
fn go(search: &Search, path: &Path, stop: Stop, threads: usize) -> Outcome {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let flag = Arc::new(AtomicBool::new(false));
    let mut observer = Stopping(stop, flag.clone());
    pool.install(|| match path.exists() {
        false => start(search, &mut RunDir::create(path, &search.spec).unwrap(), &mut observer, &flag),
        true => {
            let mut dir = RunDir::open::<SearchSpec>(path).unwrap();
            resume(search, &mut dir, &mut observer, &flag, &mut |text| assert!(!text.contains("warning"), "{text}"))
        }
    })
    .unwrap()
}

fn finished(outcome: Outcome) -> Found {
    let Outcome::Finished(found) = outcome else { panic!("{outcome:?}") };
    found
}

/// Events, genotype and the newest checkpoint, byte for byte.
fn result(path: &Path) -> [Vec<u8>; 3] {
    let name = RunView::open(path).unwrap().checkpoints().unwrap()[0].file_name();
    ["events.jsonl", "genotype.json", &format!("checkpoints/{name}")]
        .map(|file| std::fs::read(path.join(file)).unwrap())
}

fn last_state(search: &Search, path: &Path) -> State {
    let view = RunView::open(path).unwrap();
    let checkpoint = view.load_checkpoint(&view.checkpoints().unwrap()[0]).unwrap();
    State::from_checkpoint(search, "the last", checkpoint).unwrap()
}

fn epochs(path: &Path) -> Vec<EpochRecord> {
    let events = RunView::open(path).unwrap().events().unwrap();
    events.into_iter().filter_map(|e| if let Event::Epoch(r) = e { Some(*r) } else { None }).collect()
}

fn by_type<'a>(search: &Search, p: &'a [f32]) -> [&'a [f32]; 2] {
    let (normal, reduce) = p.split_at(search.n_alphas()[0]);
    [normal, reduce]
}

/// Accuracy and loss on the first images that train no weights, without the code of the search.
fn direct(search: &Search, weights: &[f32], p: &[f32], n_images: usize) -> (f32, f32) {
    let alphas = Alphas::from(by_type(search, p).map(|p| p.iter().map(|p| f64::from(*p)).collect()));
    let (data, start) = (&search.images.data, search.images.split.valid.start);
    let (mut correct, mut loss) = (0.0, 0.0);
    for batch in rdarts_data::eval_batches(&data.train, start..start + n_images, 16, &data.norm()) {
        let batch = batch.unwrap();
        let made = forward_mixed(&search.net, &search.engine, weights, &alphas, as_batch(&batch, &[]));
        correct += made.count.total;
        loss += made.loss * batch.n as f64;
    }
    ((correct / n_images as f64) as f32, (loss / n_images as f64) as f32)
}

#[test]
fn what_is_found_is_the_best_of_the_samples_by_direct_evaluation() {
    let search = search(&["search.epochs=6"]);
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("run");
    let found = finished(go(&search, &path, Stop::Never, 2));
    let state = last_state(&search, &path);
    let n_valid = search.images.split.valid.len();
    assert!(n_valid > 32, "the whole split is more than what an epoch looks at");
    let better = |a: &(f32, f32), b: &(f32, f32)| b.0.total_cmp(&a.0).then(a.1.total_cmp(&b.1));
    let samples: Vec<Vec<f32>> = (0..40).map(|i| draw_sample(&search, i)).collect();
    let few: Vec<(f32, f32)> = samples.iter().map(|p| direct(&search, &state.weights, p, 16)).collect();
    let mut order: Vec<usize> = (0..40).collect();
    order.sort_by(|a, b| better(&few[*a], &few[*b]));
    let all: Vec<(f32, f32)> =
        order[..10].iter().map(|i| direct(&search, &state.weights, &samples[*i], n_valid)).collect();
    // What was scored is what was recorded.
    let scores = state.extra.scores.as_ref().unwrap();
    assert_eq!(scores.accuracy, few.iter().chain(&all).map(|s| s.0).collect::<Vec<_>>());
    assert_eq!(scores.loss, few.iter().chain(&all).map(|s| s.1).collect::<Vec<_>>());
    let best = (0..10).min_by(|a, b| better(&all[*a], &all[*b])).unwrap();
    assert_eq!(found.genotype, genotype(&search.space, by_type(&search, &samples[order[best]])));
    assert_ne!(best, 0, "the whole split chooses another one; otherwise the test shows less");
    let text = format!("{:.1} % of them right", 100.0 * all[best].0);
    assert!(found.reason.contains(&text) && found.reason.contains("no weights: the result gets"), "{}", found.reason);
    assert_eq!(found.epoch, 5);
}

#[test]
fn it_is_resumed_to_the_bit_from_any_step_and_while_it_measures() {
    let search = search(&["search.drop_path=0.3", "augment.cutout_length=8"]);
    let tmp = tempfile::tempdir().unwrap();
    let (whole, parts) = (tmp.path().join("whole"), tmp.path().join("parts"));
    finished(go(&search, &whole, Stop::Never, 1));
    let phase = |name| Stop::Phase(name, Duration::ZERO);
    for (i, stop) in
        [2, 1, 1].map(Stop::Steps).into_iter().chain([phase("accuracy of the supernet"), phase(CHOOSING)]).enumerate()
    {
        let outcome = go(&search, &parts, stop, 1 + i % 3);
        assert!(matches!(outcome, Outcome::Interrupted { .. }), "{outcome:?}");
    }
    assert_eq!(last_state(&search, &parts).extra.scores.unwrap().loss.len(), 0);
    finished(go(&search, &parts, Stop::Never, 2));
    assert!(result(&whole) == result(&parts));
}

#[test]
fn a_choice_that_is_stopped_again_and_again_scores_no_sample_twice_and_ends_with_the_same_bits() {
    // S4: half of the operations are noise.
    let search = search(&["space.name=s4", "search.samples=400", "search.sample_batches=2", "search.epochs=1"]);
    let tmp = tempfile::tempdir().unwrap();
    let (whole, parts) = (tmp.path().join("whole"), tmp.path().join("parts"));
    let found = finished(go(&search, &whole, Stop::Never, 2));
    let mut scored = Vec::new();
    for round in 1.. {
        // Longer every time, so that the slowest machine comes to an end.
        let outcome =
            go(&search, &parts, Stop::Phase(CHOOSING, Duration::from_millis(10 * round)), 1 + round as usize % 2);
        match outcome {
            Outcome::Finished(again) => {
                assert_eq!(again.genotype, found.genotype);
                break;
            }
            Outcome::Interrupted { .. } => scored.push(last_state(&search, &parts).extra.scores.unwrap().loss.len()),
        }
    }
    assert!(scored.is_sorted() && scored.iter().any(|n| (1..400).contains(n)), "{scored:?} shows too little");
    assert!(result(&whole) == result(&parts));
}

#[test]
fn an_epoch_records_the_architecture_of_its_last_step_and_no_curvature() {
    // S3: `none` is drawn too.
    let search = search(&["space.name=s3", "hessian.every=1", "search.order=second", "hessian.batches=50"]);
    assert_eq!(search.spec.hessian.every, 0);
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("run");
    let found = finished(go(&search, &path, Stop::Never, 2));
    assert_eq!(RunView::open(&path).unwrap().spec::<SearchSpec>().unwrap(), search.spec);
    let records = epochs(&path);
    assert_eq!(records.len(), 3);
    for (epoch, record) in records.iter().enumerate() {
        let step = (epoch + 1) * search.steps_per_epoch() - 1;
        let p = draw(&search.space, &mut Streams::new(search.spec.seed, 0).stream("architecture", step as u64));
        let [normal, reduce] = by_type(&search, &p);
        assert_eq!(record.genotype, genotype(&search.space, [normal, reduce]).to_string());
        assert_eq!((&record.alphas_normal[..], &record.alphas_reduce[..]), (normal, reduce));
        assert!(record.eigenvalue.is_none() && record.child_loss.is_none() && record.alpha_loss.is_nan());
        assert_eq!(record.l2, search.spec.weights.l2);
        if epoch == 2 {
            let (accuracy, loss) = direct(&search, &last_state(&search, &path).weights, &p, 32);
            assert_eq!((record.valid_accuracy.unwrap() as f32, record.valid_loss.unwrap() as f32), (accuracy, loss));
        }
    }
    let nones = records.iter().filter(|r| r.genotype.contains("none")).count();
    assert!(nones > 0, "three cells of S3 without `none` are unlikely: {}", found.genotype);
}

#[test]
fn there_is_no_curvature_to_measure() {
    let mut search = search(&[]);
    let error = search.measure_on(search.spec.hessian.clone()).unwrap_err().to_string();
    assert!(error.contains("rs-ws learns no alphas"), "{error}");
}

#[test]
fn in_a_small_space_the_best_are_different_architectures() {
    let search = search(&["space.name=tiny", "search.samples=60", "search.epochs=1"]);
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("run");
    let found = finished(go(&search, &path, Stop::Never, 2));
    let mut different: Vec<Vec<f32>> = (0..60).map(|i| draw_sample(&search, i)).collect();
    different.sort_by(|a, b| a.partial_cmp(b).unwrap());
    different.dedup();
    assert!(different.len() < 60, "none comes twice");
    assert_eq!(last_state(&search, &path).extra.scores.unwrap().loss.len(), 60 + different.len().min(10));
    assert!(found.reason.contains("Of 60 random architectures, scored on 16 images, the best 10"), "{}", found.reason);
}
