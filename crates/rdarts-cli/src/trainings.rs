//! A training as the program tells of it: opened again, announced, and how it ended.

use std::path::Path;
use std::time::Instant;

use rdarts_data::{escaped, shown};
use rdarts_net::Engine;
use rdarts_run::{Event, RunDir, RunView, TrainFinished, TrainSpec, for_shell};
use rdarts_space::Topology;
use rdarts_train::training::Trained;
use rdarts_train::{KnownSets, Model, Training};
use serde_json::json;

use crate::conduct::{Conducted, cells, count, warn_of_cells};
use crate::exit::{Exit, out, say};
use crate::given::{data_name, images};
use crate::progress::Reading;

/// A training that is conducted.
pub struct TrainingRun<'a>(pub &'a Training);

impl Conducted for TrainingRun<'_> {
    type Found = Trained;
    const WHAT: &'static str = "training";

    fn steps(&self) -> Option<usize> {
        Some(self.0.spec.train.epochs * self.0.steps_per_epoch())
    }

    fn engine(&self) -> &Engine {
        &self.0.engine
    }

    fn data_dirs(&self, dir: &RunDir) -> Result<[String; 2], Exit> {
        Ok([self.0.spec.data.images.dir.clone(), dir.view().spec::<TrainSpec>()?.data.images.dir])
    }

    fn tell(&self, path: &Path, found: &Trained, _: &[Event]) {
        tell(self.0, path, found);
    }

    fn as_json(&self, path: &Path, found: &Trained, events: &[Event]) -> serde_json::Value {
        let value = |e: &Event| serde_json::to_value(e).expect("events are JSON");
        let epochs: Vec<_> = events.iter().filter(|e| matches!(e, Event::TrainEpoch(_))).map(value).collect();
        json!({
            "directory": path.display().to_string(),
            "model": path.join("model.safetensors").display().to_string(),
            "genotype_text": self.0.genotype.to_string(),
            "n_params": self.0.net.without_auxiliary().n_parameters(),
            "n_params_with_auxiliary": self.0.net.n_parameters(),
            "macs": self.0.macs(),
            "classes": self.0.images.data.classes,
            "result": found.finished,
            "epochs": epochs,
        })
    }
}

/// The training of a run as the run recorded it, with its images from `data_dir` if they are not where they were.
pub fn reopen(view: &RunView, data_dir: Option<&Path>, engine: Engine, quiet: bool) -> Result<Training, Exit> {
    let mut spec: TrainSpec = view.spec_of_sets(&KnownSets)?;
    if let Some(dir) = data_dir {
        spec.data.images.dir = dir.display().to_string();
    }
    let reading = Reading::new(quiet);
    let training = Training::watched(spec, engine, &reading)?;
    reading.end();
    Ok(training)
}

/// What is trained, before the first step.
pub fn announce(training: &Training, path: &Path, threads: usize) {
    let (spec, split) = (&training.spec, &training.images.split);
    let own = training.net.without_auxiliary().n_parameters();
    let with = match training.net.n_parameters() {
        all if all == own => String::new(),
        all => format!(" ({all} with the auxiliary head)"),
    };
    say!(
        "Training on {} (preset {}): {} of {}, {} channels, {}, {own} weights{with}, {} multiply-adds an image",
        data_name(&spec.data.images),
        spec.preset,
        count(spec.train.epochs, "epoch"),
        count(training.steps_per_epoch(), "step"),
        spec.network.channels,
        cells(spec.network.cells, &spec.network.reductions),
        millions(training.macs()),
    );
    if training.genotype.topology == Topology::Darts && !training.genotype.reduce.is_empty() {
        warn_of_cells(&spec.network.reductions, spec.network.cells, "network", "the network");
    }
    say!("{}", images(&training.images));
    let held_out = match split.valid.len() {
        0 => "none are held out: the result is the last epoch".to_string(),
        n => format!("{n} are held out and choose the epoch that is the result"),
    };
    say!(
        "{} images are trained on, {held_out}; {} ({}); run directory {}",
        split.train.len(),
        count(threads, "thread"),
        training.engine.kernels.isa().name(),
        shown(path),
    );
}

/// `12.3 million`, `1.2 billion`.
pub fn millions(n: u64) -> String {
    match n as f64 {
        n if n >= 1e9 => format!("{:.2} billion", n / 1e9),
        n if n >= 1e5 => format!("{:.2} million", n / 1e6),
        n => format!("{n}"),
    }
}

/// The account for people.
fn tell(training: &Training, path: &Path, found: &Trained) {
    let (result, classes) = (&found.finished, &training.images.data.classes);
    out!("");
    out!("{}", result.reason);
    out!("");
    let held_out = match result.valid_accuracy {
        Some(accuracy) => format!(", {:.2} % on the held-out ones", 100.0 * accuracy),
        None => String::new(),
    };
    let five = match result.test_top5 {
        Some(top5) if classes.len() > 20 => format!(", among the first five {:.2} %", 100.0 * top5),
        _ => String::new(),
    };
    out!(
        "Epoch {}: {:.2} % of {} test images right{five}{held_out} (cross entropy {:.4}).",
        result.epoch,
        100.0 * result.test_accuracy,
        result.n_test,
        result.test_loss
    );
    out!("");
    confusion(result, classes);
    let [one, batch] = times(&found.model, &training.engine);
    out!(
        "{} weights, {} multiply-adds an image; one image takes {one:.1} ms, one of a batch of {BATCH} {:.2} ms.",
        found.model.net.n_parameters(),
        millions(training.macs()),
        batch / BATCH as f64
    );
    let path_text = for_shell(path);
    out!("");
    out!("Run directory: {path_text} (model.safetensors is the trained network; events.jsonl, checkpoints)");
}

/// Classes up to which the whole matrix is shown.
const SHOWN_WHOLE: usize = 12;

/// Accuracies of the classes, and which are taken for which.
pub fn confusion(result: &TrainFinished, classes: &[String]) {
    let name = |k: usize| {
        let name = escaped(&classes[k]);
        if name.chars().count() > 14 { format!("{}…", name.chars().take(13).collect::<String>()) } else { name }
    };
    if classes.len() <= SHOWN_WHOLE {
        out!("Test images by true class (rows) and by the class they were given (columns, in the same order):");
        let width = result.confusion.iter().flatten().max().map_or(1, |n| n.to_string().len());
        for (k, row) in result.confusion.iter().enumerate() {
            let cells: Vec<String> = row.iter().map(|n| format!("{n:>width$}")).collect();
            let right = result.per_class[k].map_or("     -".into(), |v| format!("{:>5.1}%", 100.0 * v));
            out!("  {:<14}  {}  {right} right", name(k), cells.join(" "));
        }
    } else {
        let mut order: Vec<(usize, f64)> =
            result.per_class.iter().enumerate().filter_map(|(k, v)| Some((k, (*v)?))).collect();
        order.sort_by(|a, b| a.1.total_cmp(&b.1));
        out!("The classes that are hardest:");
        for (k, accuracy) in order.into_iter().take(5) {
            let other = (0..classes.len()).filter(|other| *other != k).max_by_key(|other| result.confusion[k][*other]);
            let most = other.filter(|other| result.confusion[k][*other] > 0);
            let taken = most.map_or(String::new(), |other| format!(", most often taken for {}", name(other)));
            out!("  {:<14}  {:>5.1}% right{taken}", name(k), 100.0 * accuracy);
        }
    }
    out!("");
}

/// Images of the batch that is timed.
const BATCH: usize = 96;

/// Milliseconds of one image and of a batch, the median of a few.
fn times(model: &Model, engine: &Engine) -> [f64; 2] {
    let evaluator = model.evaluator(engine);
    let side = model.about.side;
    [1, BATCH].map(|n| {
        let images = vec![0.5f32; n * side[0] * side[1] * model.about.mean.len()];
        let mut all: Vec<f64> = (0..5)
            .map(|_| {
                let begin = Instant::now();
                let outputs = evaluator.outputs(&images, n, side);
                assert_eq!(outputs.len(), n * model.about.classes.len());
                1e3 * begin.elapsed().as_secs_f64()
            })
            .collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    })
}
