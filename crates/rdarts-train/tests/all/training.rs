//! Trainings from scratch on tiny networks: the same bits wherever they are stopped and on any number of threads, a model
//! that is what was reported, and each key of the loop does what its sentence says.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rdarts_data::{Batch, Dataset};
use rdarts_net::{Engine, Evaluator, Targets, training_gradient};
use rdarts_run::{Event, RunDir, RunView, Spec, TrainEpoch, TrainSpec};
use rdarts_train::images::as_batch;
use rdarts_train::training::{Assessment, Learned, Trained, assess};
use rdarts_train::{
    Job, KnownSets, Model, Observer, Outcome, Pace, Progress, State, TrainError, Training, pace, resume, start,
};

const SMALL: &str = r#"
preset = "train-demo"
[data]
limit = 96
size = 14
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
    let most = ["train.ema=0.9", "train.label_smoothing=0.1", "train.balanced=true"];
    let weighted = ["train.class_weights=0.5", "train.label_smoothing=0.1"];
    for keys in [&[][..], &most, &weighted] {
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
    // The header, whose length stands before it, with one key more.
    let reducing = |cells: &str| {
        let key = format!("\\\"format\\\":1,\\\"reductions\\\":{cells}   ");
        let mut made = replaced(&bytes, b"\\\"format\\\":1", key.as_bytes());
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) + (made.len() - bytes.len()) as u64;
        made[..8].copy_from_slice(&length.to_le_bytes());
        made
    };
    assert!(Model::from_bytes(&reducing("[1,2]")).is_ok(), "those that it had anyway");
    for (damaged, part) in [
        (bytes[..bytes.len() / 2].to_vec(), "cut short"),
        (replaced(&bytes, b"\\\"format\\\":1", b"\\\"format\\\":9"), "newer rdarts"),
        (replaced(&bytes, b"sep_conv_3x3", b"dil_conv_3x3"), "tensor"),
        (replaced(&bytes, b"\\\"cells\\\":3", b"\\\"cells\\\":0"), "damaged"),
        (reducing("[2,1]"), "damaged: a network of 3 cells that reduces at [2, 1]"),
        (reducing("[1,3]"), "damaged: a network of 3 cells that reduces at [1, 3]"),
        // Its tensors are those of a network that reduces elsewhere.
        (reducing("[0,1]"), "tensor"),
    ] {
        let error = Model::from_bytes(&damaged).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
    // A header whose length begins with the bytes of a pickle: spaces behind it are part of it.
    let (header, length) = (u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize, 0x1_0280_usize);
    assert!(header < length && (length as u64).to_le_bytes().starts_with(b"\x80\x02"));
    let spaces = vec![b' '; length - header];
    let padded = [&(length as u64).to_le_bytes(), &bytes[8..8 + header], &spaces, &bytes[8 + header..]].concat();
    assert_eq!(Model::from_bytes(&padded).unwrap().tensors(), model.tensors());
    let error = Model::from_bytes(b"\x80\x02\x8a\x0a of a checkpoint").unwrap_err();
    assert!(error.contains("checkpoint of PyTorch"), "{error}");
}

#[test]
fn a_training_recognises_its_test_images_and_classes_too() {
    let training = training(&[]);
    let of = |change: &dyn Fn(&mut Dataset)| {
        let mut data = (*training.images.data).clone();
        change(&mut data);
        data.fingerprint()
    };
    let same = of(&|_| {});
    assert_eq!(format!("{same:016x}"), training.images.fingerprint);
    assert_ne!(of(&|data| data.test.labels[0] ^= 1), same);
    assert_ne!(of(&|data| data.train.labels[0] ^= 1), same);
    assert_ne!(of(&|data| data.classes.swap(0, 1)), same);
}

#[test]
fn a_pace_is_that_of_steps_and_of_measuring() {
    let training = training(&[]);
    let Pace { step, measuring } = pace(&training).unwrap();
    assert!(step > 0.0 && measuring > 0.0, "{step} {measuring}");
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|part| part == from).expect("it is there");
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

#[test]
fn the_result_is_the_best_epoch_on_held_out_images_or_the_last() {
    let tmp = tempfile::tempdir().unwrap();
    let mut earlier = 0;
    for seed in 0..4 {
        let path = tmp.path().join(format!("held-out-{seed}"));
        let training = self::training(&["train.epochs=6", "weights.lr=0.5", &format!("seed={seed}")]);
        let (found, _) = run(&training, &path, usize::MAX, None);
        let records = epochs(&path);
        let accuracy = |r: &TrainEpoch| r.valid_accuracy.unwrap();
        let best = records.iter().map(accuracy).fold(0.0, f64::max);
        let kept = records.iter().rev().find(|r| accuracy(r) == best).unwrap();
        assert!(kept.is_best && found.finished.epoch == kept.epoch && found.finished.valid_accuracy == Some(best));
        assert_eq!(training.images.split.valid.len(), 24);
        let again = held_out(&training, &found.model.evaluator(&training.engine));
        assert_eq!(again.accuracy(), best);
        assert!((again.loss - kept.valid_loss.unwrap()).abs() < 1e-12, "it is the network of that epoch");
        earlier += usize::from(accuracy(records.last().unwrap()) < best);
    }
    assert!(earlier > 0, "one of these trainings has another best epoch than the last");

    let path = tmp.path().join("whole");
    let (found, _) = run(&self::training(&["data.valid_fraction=0"]), &path, usize::MAX, None);
    assert_eq!((found.finished.epoch, found.finished.valid_accuracy), (2, None));
    assert!(epochs(&path).iter().all(|r| r.is_best && r.valid_accuracy.is_none()));
}

fn held_out(training: &Training, evaluator: &Evaluator<f32>) -> Assessment {
    let (data, batch, never) = (&training.images.data, training.spec.train.batch, AtomicBool::new(false));
    let images = (&data.train, training.images.split.valid.clone());
    assess(evaluator, images, batch, &data.norm(), data.classes.len(), &never).unwrap().unwrap()
}

/// The batch that a state is about to take.
fn next_batch(training: &Training, state: &State<Learned>) -> Batch {
    training.batches(&state.at).next().unwrap().unwrap()
}

#[test]
fn the_average_follows_the_weights_at_once_and_then_ever_slower() {
    let training = training(&["train.ema=0.9"]);
    let (_, mut state) = training.begin();
    assert_eq!(state.extra.average, [state.weights.clone(), state.running.clone()]);
    // After t steps min(ema, (1 + t) / (10 + t)).
    for (t, decay) in [(0, 0.1), (1, 2.0 / 11.0), (2, 0.25), (1000, 0.9)] {
        state.at.total_steps = t;
        let (before, batch) = (state.extra.average.clone(), next_batch(&training, &state));
        let step = training.step(&mut state, batch).unwrap();
        for ((average, before), now) in state.extra.average.iter().zip(&before).zip([&state.weights, &state.running]) {
            assert_ne!(before, now);
            for ((average, before), now) in average.iter().zip(before).zip(now) {
                let expected = decay * f64::from(*before) + (1.0 - decay) * f64::from(*now);
                assert!((f64::from(*average) - expected).abs() < 1e-6, "after {t} steps: {average} {expected}");
            }
        }
        state.at.add(&step);
    }
}

#[test]
fn the_average_is_what_is_evaluated_and_kept() {
    let tmp = tempfile::tempdir().unwrap();
    for fraction in ["0.25", "0"] {
        let training = training(&["train.ema=0.9", "train.epochs=1", &format!("data.valid_fraction={fraction}")]);
        let path = tmp.path().join(fraction);
        let (found, _) = run(&training, &path, usize::MAX, None);
        let (_, mut state) = training.begin();
        for batch in training.batches(&state.at) {
            let step = training.step(&mut state, batch.unwrap()).unwrap();
            state.at.add(&step);
        }
        let (n, n_running) = (found.model.net.n_parameters(), found.model.net.n_running());
        assert_eq!(found.model.weights, state.extra.average[0][..n]);
        assert_eq!(found.model.running, state.extra.average[1][..n_running]);
        assert_ne!(found.model.weights, state.weights[..n]);
        if let Some(loss) = epochs(&path)[0].valid_loss {
            let running: Vec<f64> = state.running.iter().map(|v| f64::from(*v)).collect();
            let raw = Evaluator::discrete(&training.net, &training.engine, &state.weights, &running);
            let off = |evaluator: &Evaluator<f32>| (held_out(&training, evaluator).loss - loss).abs();
            assert!(off(&found.model.evaluator(&training.engine)) < 1e-12);
            assert!(off(&raw) > 1e-6);
        }
    }
}

/// PyTorch's momentum of 0.1. The stem's are computed here; those of all norms are what the network says of its batch,
/// which the network's own tests hold to PyTorch.
#[test]
fn running_statistics_take_a_tenth_of_those_of_the_batch() {
    // Of two images the unbiased variance is not the biased one.
    let training = training(&["train.batch=2"]);
    let (_, mut state) = training.begin();
    assert_eq!(state.running[..], training.net.init_running()[..]);
    for _ in 0..2 {
        let (old, batch) = (state.running.clone(), next_batch(&training, &state));
        let of_stem = stem_statistics(&training, &state.weights, &batch);
        let of_all = training_gradient(&training.net, &training.engine, &state.weights, as_batch(&batch, &[]), 0.4);
        let step = training.step(&mut state, batch).unwrap();
        state.at.add(&step);
        assert_eq!(of_all.statistics.len(), state.running.len());
        for expected in [of_stem, of_all.statistics] {
            for ((now, old), new) in state.running.iter().zip(&old).zip(expected) {
                let expected = 0.9 * f64::from(*old) + 0.1 * new;
                assert!((f64::from(*now) - expected).abs() < 3e-6 * (1.0 + expected.abs()), "{now} {expected}");
            }
        }
    }
}

/// Mean and unbiased variance of each channel behind the stem's convolution.
fn stem_statistics(training: &Training, weights: &[f32], batch: &Batch) -> Vec<f64> {
    let (w, shape) = training.net.read(weights, "stem.0.weight").unwrap();
    let Batch { n, height, width, channels, .. } = *batch;
    let (mut means, mut variances) = (Vec::new(), Vec::new());
    for kernel in w.chunks(9 * channels).take(shape[0]) {
        let mut values = Vec::new();
        for (i, y, x) in places(n, height, width) {
            let mut sum = 0.0;
            for (c, ky, kx) in places(channels, 3, 3) {
                let (Some(y), Some(x)) = ((y + ky).checked_sub(1), (x + kx).checked_sub(1)) else { continue };
                if y < height && x < width {
                    let pixel = batch.images[((i * height + y) * width + x) * channels + c];
                    sum += f64::from(pixel) * f64::from(kernel[(c * 3 + ky) * 3 + kx]);
                }
            }
            values.push(sum);
        }
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        means.push(mean);
        variances.push(values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0));
    }
    [means, variances].concat()
}

fn places(a: usize, b: usize, c: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..a * b * c).map(move |at| (at / (b * c), at / c % b, at % c))
}

#[test]
fn an_image_of_a_rare_class_weighs_more_by_the_power_that_the_key_says() {
    let of_power = |power: f64| training(&["network.auxiliary=false", &format!("train.class_weights={power:?}")]);
    let plain = of_power(0.0);
    let (_, state) = plain.begin();
    let batch = next_batch(&plain, &state);
    let mut counts = [0.0; 10];
    let images = &plain.images;
    images.data.train.labels[images.split.train.clone()].iter().for_each(|label| counts[usize::from(*label)] += 1.0);
    let outputs =
        training_gradient(&plain.net, &plain.engine, &state.weights, as_batch(&batch, &[]), 0.0).evaluation.outputs;
    let losses: Vec<f64> = batch.labels.iter().zip(outputs.chunks(10)).map(|(l, z)| loss_of(*l, z)).collect();
    let mut seen = Vec::new();
    for power in [0.0, 0.5, 1.0, 2.0] {
        let training = of_power(power);
        let (_, mut state) = training.begin();
        let made = training.step(&mut state, batch.clone()).unwrap().loss;
        let weights: Vec<f64> = batch.labels.iter().map(|label| f64::powf(counts[*label as usize], -power)).collect();
        let sum: f64 = losses.iter().zip(&weights).map(|(loss, weight)| loss * weight).sum();
        let expected = sum / weights.iter().sum::<f64>();
        assert!((made - expected).abs() < 1e-9, "power {power}: {made} {expected}");
        assert!(seen.iter().all(|other: &f64| (other - made).abs() > 1e-4), "the classes are alike: {made} {seen:?}");
        seen.push(made);
    }
}

fn loss_of(label: u32, z: &[f64]) -> f64 {
    Targets::Labels(&[label]).loss(z).value()
}

#[test]
fn a_training_that_diverges_says_in_a_sentence_what_the_user_can_change() {
    let tmp = tempfile::tempdir().unwrap();
    let training = training(&["weights.lr=1e30", "weights.clip=1e30"]);
    let mut dir = RunDir::create(&tmp.path().join("run"), &training.spec).unwrap();
    let error = start(&training, &mut dir, &mut (), &AtomicBool::new(false)).expect_err("it cannot go on");
    let TrainError::Diverged(text) = &error else { panic!("no error of the user's: {error:?}") };
    assert!(text.contains("weights.lr") && text.contains("weights.clip"), "{text}");
    assert!(!text.contains('\n') && !text.contains(". "), "more than one sentence: {text}");
}

#[test]
fn a_training_ends_early_when_the_held_out_accuracy_rests() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("run");
    // So small a learning rate changes nothing that could be better.
    let training = training(&["train.epochs=50", "train.patience=2", "weights.lr=1e-9", "data.size=28"]);
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
