//! A search and a training on the graphics card that RDARTS_TEST_DEVICE names, beside the same on the CPU.
#![cfg(feature = "gpu")]

use std::sync::atomic::AtomicBool;

use rdarts_data::Silent;
use rdarts_net::Engine;
use rdarts_run::{DisparityTrainSpec, RunDir, SearchSpec, Spec, TrainSpec};
use rdarts_search::{Search, open_space};
use rdarts_space::{DisparityGenotype, published};
use rdarts_train::disparity::DisparityTraining;
use rdarts_train::training::assess;
use rdarts_train::{Job, KnownSets, Model, Observer, Outcome, Progress, Training, resume, start};

#[path = "../../../tests/engine.rs"]
mod engine;

#[path = "../../../tests/skip.rs"]
mod skip;

const SEARCH: &str = r#"
preset = "demo"
[data]
limit = 512
valid_limit = 64
[network]
channels = 4
cells = 3
[search]
method = "darts"
epochs = 2
batch = 32
[weights]
lr = 0.005
lr_min = 0.001
[hessian]
every = 0
batches = 1
[eval]
oneshot = false
child = false
"#;

/// A card sums batch norms in single precision: its gradients are some 1e-6 off, and every step makes that larger, by ten
/// times at the learning rates of the presets, which is why those here are small.
const TOLERANCE: f64 = 1e-3;

/// The losses of the steps.
#[derive(Default)]
struct Losses(Vec<f64>);

impl Observer for Losses {
    fn step(&mut self, progress: &Progress) {
        self.0.extend([Some(progress.last.loss), progress.last.side_loss].into_iter().flatten());
    }
}

fn card() -> Option<Engine> {
    if std::env::var_os("RDARTS_TEST_DEVICE").is_none() {
        skip::skip("RDARTS_TEST_DEVICE unset", "it names the graphics card to test, such as gpu:0");
        return None;
    }
    Some(engine::engine::<f32>())
}

fn check_near(got: &[f64], expected: &[f64]) {
    assert!(got.len() >= 20 && got.len() == expected.len(), "{} losses, {} on the CPU", got.len(), expected.len());
    let off: Vec<f64> = got.iter().zip(expected).map(|(a, b)| (a - b).abs() / b.abs()).take(20).collect();
    println!("off by {}", off.iter().map(|v| format!("{v:.0e}")).collect::<Vec<_>>().join(" "));
    assert!(off[0] < 1e-6 && off.iter().all(|off| *off < TOLERANCE), "{off:?}");
}

fn run<J: Job, S: Spec>(job: &J, spec: &S) -> (J::Found, Vec<f64>, RunDir, tempfile::TempDir) {
    let tmp = tempfile::tempdir().unwrap();
    let mut dir = RunDir::create(&tmp.path().join("run"), spec).unwrap();
    let mut losses = Losses::default();
    let Outcome::Finished(found) = start(job, &mut dir, &mut losses, &AtomicBool::new(false)).unwrap() else {
        unreachable!("nobody sets the flag");
    };
    (found, losses.0, dir, tmp)
}

#[test]
fn a_search_has_the_losses_of_the_cpu() {
    let Some(card) = card() else { return };
    let of = |engine: Engine| {
        let spec = SearchSpec::resolve_text(None, Some(("spec", SEARCH)), &[], &KnownSets).unwrap();
        let search = Search::new(spec, open_space("s2").unwrap(), engine).unwrap();
        let (_, losses, dir, _tmp) = run(&search, &search.spec);
        (losses, dir.view().timings().unwrap())
    };
    let (got, timings) = of(card);
    check_near(&got, &of(Engine::cpu()).0);
    assert!(timings.iter().all(|timing| timing.device.starts_with("gpu:")), "{timings:?}");
}

#[test]
fn a_training_has_the_losses_of_the_cpu_and_its_model_the_accuracy_it_reported() {
    let Some(card) = card() else { return };
    let of = |engine: &Engine| {
        let keys = [
            "network.channels=4",
            "network.cells=3",
            "data.limit=352",
            "train.epochs=2",
            "train.batch=32",
            "weights.lr=0.002",
        ];
        let genotype = format!("network.genotype=\"{}\"", published("DARTS_V2").unwrap());
        let keys: Vec<String> = std::iter::once(genotype).chain(keys.map(String::from)).collect();
        let spec = TrainSpec::resolve(Some("train-demo"), None, &keys, &KnownSets).unwrap();
        let training = Training::new(spec, engine.clone()).unwrap();
        let (trained, losses, dir, tmp) = run(&training, &training.spec);
        (losses, trained.finished.test_accuracy, dir, tmp)
    };
    let (got, reported, dir, _tmp) = of(&card);
    check_near(&got, &of(&Engine::cpu()).0);
    // The same model on both devices.
    let model = Model::load(&dir.view().model_path()).unwrap();
    let data = rdarts_data::open(&model.about.data, None).unwrap();
    for engine in [card, Engine::cpu()] {
        let (evaluator, stop) = (model.evaluator(&engine), AtomicBool::new(false));
        let test = assess(&evaluator, (&data.test, 0..data.test.n), 100, &data.norm(), data.classes.len(), &stop);
        let accuracy = test.unwrap().unwrap().accuracy();
        assert!((accuracy - reported).abs() <= 2.0 / data.test.n as f64, "{accuracy}, reported {reported}");
    }
}

/// Stops after some steps.
struct Until<'a>(usize, &'a AtomicBool);

impl Observer for Until<'_> {
    fn step(&mut self, _: &Progress) {
        self.0 -= 1;
        self.1.store(self.0 == 0, std::sync::atomic::Ordering::Relaxed);
    }
}

#[test]
fn a_run_that_was_stopped_goes_on_from_the_state_that_lay_on_the_card() {
    let Some(card) = card() else { return };
    let small = SEARCH.replace("limit = 512", "limit = 256");
    let search = || {
        let spec = SearchSpec::resolve_text(None, Some(("spec", small.as_str())), &[], &KnownSets).unwrap();
        Search::new(spec, open_space("s2").unwrap(), card.clone()).unwrap()
    };
    let events = |dir: &RunDir| std::fs::read_to_string(dir.view().path().join("events.jsonl")).unwrap();
    let (_, _, whole, _tmp) = run(&search(), &search().spec);
    let tmp = tempfile::tempdir().unwrap();
    let mut dir = RunDir::create(&tmp.path().join("run"), &search().spec).unwrap();
    // Within the first epoch, and within the second.
    let stop = AtomicBool::new(false);
    let outcome = start(&search(), &mut dir, &mut Until(3, &stop), &stop).unwrap();
    assert!(matches!(outcome, Outcome::Interrupted { epoch: 0, step: 3 }), "{outcome:?}");
    stop.store(false, std::sync::atomic::Ordering::Relaxed);
    let outcome = resume(&search(), &mut dir, &mut Until(3, &stop), &stop, &mut |_| {}).unwrap();
    assert!(matches!(outcome, Outcome::Interrupted { epoch: 1, step: 2 }), "{outcome:?}");
    let outcome = resume(&search(), &mut dir, &mut (), &AtomicBool::new(false), &mut |_| {}).unwrap();
    assert!(matches!(outcome, Outcome::Finished(_)));
    assert_eq!(events(&dir), events(&whole));
}

#[test]
fn a_training_for_disparity_has_the_losses_of_the_cpu_and_goes_on_from_its_moments() {
    let Some(card) = card() else { return };
    let of = |engine: &Engine| {
        let keys = [
            "data.pairs=42",
            "data.valid_fraction=0.05",
            "data.test_pairs=2",
            "data.height=64",
            "data.width=64",
            "data.max_disparity=8",
            "network.channels=1",
            "train.epochs=1",
            "train.crop_height=64",
            "train.crop_width=64",
            "weights.lr=1e-4",
            "weights.lr_min=1e-5",
        ];
        let genotype = format!("network.genotype=\"{}\"", DisparityGenotype::autodispnet());
        let keys: Vec<String> = std::iter::once(genotype).chain(keys.map(String::from)).collect();
        let spec = DisparityTrainSpec::resolve(Some("disparity-train-demo"), None, &keys, &KnownSets).unwrap();
        DisparityTraining::new(spec, engine.clone(), &Silent).unwrap()
    };
    let training = of(&card);
    let (_, got, whole, _tmp) = run(&training, &training.spec);
    let on_cpu = of(&Engine::cpu());
    check_near(&got, &run(&on_cpu, &on_cpu.spec).1);
    let tmp = tempfile::tempdir().unwrap();
    let mut dir = RunDir::create(&tmp.path().join("run"), &training.spec).unwrap();
    let stop = AtomicBool::new(false);
    let outcome = start(&training, &mut dir, &mut Until(7, &stop), &stop).unwrap();
    assert!(matches!(outcome, Outcome::Interrupted { epoch: 0, step: 7 }), "{outcome:?}");
    let outcome = resume(&of(&card), &mut dir, &mut (), &AtomicBool::new(false), &mut |_| {}).unwrap();
    assert!(matches!(outcome, Outcome::Finished(_)));
    let file = |dir: &RunDir, name: &str| std::fs::read(dir.view().path().join(name)).unwrap();
    for name in ["events.jsonl", "model.safetensors"] {
        assert!(file(&dir, name) == file(&whole, name), "{name}");
    }
}

#[test]
fn a_run_may_change_its_device() {
    let Some(card) = card() else { return };
    let small = SEARCH.replace("limit = 512", "limit = 256");
    let search = |engine: Engine| {
        let spec = SearchSpec::resolve_text(None, Some(("spec", small.as_str())), &[], &KnownSets).unwrap();
        Search::new(spec, open_space("s2").unwrap(), engine).unwrap()
    };
    let tmp = tempfile::tempdir().unwrap();
    let on_card = search(card);
    let mut dir = RunDir::create(&tmp.path().join("run"), &on_card.spec).unwrap();
    let stop = AtomicBool::new(false);
    let outcome = start(&on_card, &mut dir, &mut Until(5, &stop), &stop).unwrap();
    assert!(matches!(outcome, Outcome::Interrupted { epoch: 1, step: 1 }), "{outcome:?}");
    let outcome = resume(&search(Engine::cpu()), &mut dir, &mut (), &AtomicBool::new(false), &mut |_| {}).unwrap();
    assert!(matches!(outcome, Outcome::Finished(_)));
    let devices: Vec<String> = dir.view().timings().unwrap().into_iter().map(|timing| timing.device).collect();
    // The first epoch, the step of the second before the stop, the rest of it.
    assert!(devices.len() == 3 && devices[..2].iter().all(|device| device.starts_with("gpu:")), "{devices:?}");
    assert_eq!(devices[2], "cpu");
}
