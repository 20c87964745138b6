//! Trainings from scratch on tiny networks: the same bits wherever they are stopped and on any number of threads, a model
//! that is what was reported, and each key of the loop does what its sentence says.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rdarts_net::Engine;
use rdarts_run::{Event, RunDir, RunView, Spec, TrainEpoch, TrainSpec};
use rdarts_train::training::{Trained, assess};
use rdarts_train::{KnownSets, Model, Observer, Outcome, Progress, Training, resume, start};

const SMALL: &str = r#"
preset = "train-demo"
[data]
limit = 96
valid_fraction = 0.25
[network]
genotype = "Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1), ('max_pool_3x3', 1), ('dil_conv_3x3', 2)], normal_concat=range(2, 4), reduce=[('avg_pool_3x3', 0), ('skip_connect', 1), ('sep_conv_5x5', 0), ('skip_connect', 2)], reduce_concat=range(2, 4))"
channels = 2
cells = 3
auxiliary = true
[train]
epochs = 3
batch = 16
drop_path = 0.3
"#;

fn training(overrides: &[&str]) -> Training {
    let overrides: Vec<String> = overrides.iter().map(|s| s.to_string()).collect();
    let spec = TrainSpec::resolve_text(None, Some(("test", SMALL)), &overrides, &KnownSets).unwrap();
    Training::new(spec, Engine::cpu()).unwrap()
}

/// Stops after so many steps, or when this is measured for the first time.
struct StopAfter<'a> {
    left: usize,
    at_phase: Option<&'static str>,
    stop: &'a AtomicBool,
}

impl Observer for StopAfter<'_> {
    fn step(&mut self, _: &Progress) {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
    fn phase(&mut self, name: &'static str) {
        if self.at_phase.take_if(|wanted| *wanted == name).is_some() {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
    fn event(&mut self, _: &Event) {}
    fn news(&mut self, _: usize, _: &str) {}
}

/// Runs to the end, stopping every so many steps and in a phase; how often it was stopped.
fn run(training: &Training, path: &Path, every: usize, mut at_phase: Option<&'static str>) -> (Trained, usize) {
    let mut dir = Some(RunDir::create(path, &training.spec).unwrap());
    let mut stops = 0;
    loop {
        let stop = AtomicBool::new(false);
        let mut observer = StopAfter { left: every, at_phase, stop: &stop };
        let mut open = dir.take().unwrap_or_else(|| RunDir::open::<TrainSpec>(path).unwrap());
        let threads = 1 + stops % 3;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let outcome = pool.install(|| match stops {
            0 => start(training, &mut open, &mut observer, &stop),
            _ => resume(training, &mut open, &mut observer, &stop, &mut |_| ()),
        });
        at_phase = observer.at_phase;
        match outcome.unwrap() {
            Outcome::Finished(found) => return (found, stops),
            Outcome::Interrupted { .. } => stops += 1,
        }
    }
}

fn epochs(path: &Path) -> Vec<TrainEpoch> {
    let events = RunView::open(path).unwrap().events().unwrap();
    events.into_iter().filter_map(|e| if let Event::TrainEpoch(r) = e { Some(r) } else { None }).collect()
}

#[test]
fn a_training_has_the_same_bits_wherever_it_is_stopped() {
    let tmp = tempfile::tempdir().unwrap();
    let file = |path: &Path, name: &str| std::fs::read(path.join(name)).unwrap();
    for keys in [&[][..], &["train.ema=0.9", "train.balanced=true", "train.label_smoothing=0.1"]] {
        let training = training(keys);
        let whole = tmp.path().join(format!("whole-{}", keys.len()));
        run(&training, &whole, usize::MAX, None);
        for (every, at_phase) in
            [(2, None), (3, Some("accuracy on the held-out images")), (usize::MAX, Some("accuracy on the test images"))]
        {
            let path = tmp.path().join(format!("{}-{every}", keys.len()));
            let (_, stops) = run(&training, &path, every, at_phase);
            assert!(stops > 0);
            for name in ["events.jsonl", "model.safetensors", "genotype.txt", "DONE"] {
                assert_eq!(
                    file(&path, name),
                    file(&whole, name),
                    "{name}, stopped every {every} steps and at {at_phase:?}"
                );
            }
        }
    }
}

#[test]
fn a_model_read_from_its_file_is_what_was_reported() {
    let tmp = tempfile::tempdir().unwrap();
    let training = training(&[]);
    let path = tmp.path().join("run");
    let (found, _) = run(&training, &path, usize::MAX, None);
    let model = Model::load(&path.join("model.safetensors")).unwrap();
    assert_eq!(model.tensors(), found.model.tensors());
    assert!(model.tensors().keys().all(|name| !name.starts_with("auxiliary_head")));
    let (data, never) = (&training.images.data, AtomicBool::new(false));
    let of = |model: &Model, batch| {
        let evaluator = model.evaluator(&Engine::cpu());
        assess(&evaluator, (&data.test, 0..data.test.n), batch, &data.norm(), 10, &never).unwrap().unwrap()
    };
    let again = of(&model, training.spec.train.batch);
    assert_eq!((again.accuracy(), again.loss), (found.finished.test_accuracy, found.finished.test_loss));
    // A batch of another size changes no image's outputs: nothing is taken from the batch.
    assert_eq!(of(&model, 7).confusion, again.confusion);
    let counts: usize = again.confusion.iter().flatten().sum();
    assert_eq!((counts, again.n), (1000, 1000));

    let bytes = std::fs::read(path.join("model.safetensors")).unwrap();
    let newer = String::from_utf8_lossy(&bytes).contains("\\\"format\\\":1");
    assert!(newer, "the header says its form");
    for (damaged, part) in [
        (bytes[..bytes.len() / 2].to_vec(), "cut short"),
        (replaced(&bytes, b"\\\"format\\\":1", b"\\\"format\\\":9"), "newer rdarts"),
        (replaced(&bytes, b"sep_conv_3x3", b"dil_conv_3x3"), "tensor"),
        (replaced(&bytes, b"\\\"cells\\\":3", b"\\\"cells\\\":0"), "damaged"),
    ] {
        let error = Model::from_bytes(&damaged).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|part| part == from).expect("it is there");
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

#[test]
fn the_result_is_the_best_epoch_on_held_out_images_or_the_last() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("held-out");
    let training = self::training(&["train.epochs=6", "weights.lr=0.5"]);
    let (found, _) = run(&training, &path, usize::MAX, None);
    let records = epochs(&path);
    let accuracy = |r: &TrainEpoch| r.valid_accuracy.unwrap();
    let best = records.iter().map(accuracy).fold(0.0, f64::max);
    let first = records.iter().find(|r| accuracy(r) == best).unwrap();
    assert!(first.is_best && found.finished.epoch == first.epoch && found.finished.valid_accuracy == Some(best));
    assert_eq!(training.images.split.valid.len(), 24);

    let path = tmp.path().join("whole");
    let (found, _) = run(&self::training(&["data.valid_fraction=0"]), &path, usize::MAX, None);
    assert_eq!((found.finished.epoch, found.finished.valid_accuracy), (2, None));
    assert!(epochs(&path).iter().all(|r| r.is_best && r.valid_accuracy.is_none()));
}

#[test]
fn a_training_ends_early_when_the_held_out_accuracy_rests() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("run");
    // So small a learning rate changes nothing that could be better.
    let training = training(&["train.epochs=50", "train.patience=2", "weights.lr=1e-9"]);
    let (found, _) = run(&training, &path, 4, None);
    let n = epochs(&path).len();
    assert_eq!(n, found.finished.epoch + 3);
    assert!(n < 50 && found.finished.reason.contains("no better"), "{}", found.finished.reason);
}

#[test]
fn a_network_with_noise_is_refused_with_the_key() {
    let text = "network.genotype=\"Genotype(normal=[('noise', 0), ('skip_connect', 1)], normal_concat=[2], reduce=None, \
                reduce_concat=None)\"";
    let spec = TrainSpec::resolve_text(None, Some(("test", SMALL)), &[text.to_string()], &KnownSets).unwrap();
    let error = Training::new(spec, Engine::cpu()).err().unwrap().to_string();
    assert!(error.contains("network.genotype") && error.contains("noise"), "{error}");
}
