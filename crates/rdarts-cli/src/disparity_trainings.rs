//! A training for disparity as the program tells of it: opened again, announced, and how it ended.

use std::path::Path;
use std::time::Instant;

use rdarts_data::shown;
use rdarts_data::stereo::{Pair, StereoEval};
use rdarts_net::Engine;
use rdarts_run::{DisparityErrors, DisparityTrainSpec, Event, RunDir, RunView, for_shell};
use rdarts_train::disparity::{DisparityModel, DisparityTraining, Trained};
use serde_json::json;

use crate::conduct::{Conducted, count};
use crate::disparities::StereoSets;
use crate::exit::{Exit, out, say};
use crate::progress::Reading;
use crate::trainings::millions;

/// A training for disparity that is conducted.
pub struct DisparityTrainingRun<'a>(pub &'a DisparityTraining);

impl Conducted for DisparityTrainingRun<'_> {
    type Found = Trained;
    const WHAT: &'static str = "training";
    const OF: &'static str = "pairs";

    fn steps(&self) -> Option<usize> {
        Some(self.0.spec.train.epochs * self.0.steps_per_epoch())
    }

    fn engine(&self) -> &Engine {
        &self.0.engine
    }

    fn data_dirs(&self, dir: &RunDir) -> Result<[String; 2], Exit> {
        Ok([self.0.spec.data.pairs.dir.clone(), dir.view().spec::<DisparityTrainSpec>()?.data.pairs.dir])
    }

    fn tell(&self, path: &Path, found: &Trained, _: &[Event]) {
        let (training, result) = (self.0, &found.finished);
        out!("");
        out!("{}", result.reason);
        out!("");
        let held_out = match result.valid_error {
            Some(error) => format!(", end-point error on the held-out pairs {error:.3} px"),
            None => String::new(),
        };
        out!("Epoch {}{held_out}.", result.epoch);
        out!("");
        let pairs = count(result.n_test, "test pair");
        match &result.test {
            Some(test) => table(&pairs, test, result.test_visible.as_ref()),
            None => out!("There are no test pairs whose disparity is known."),
        }
        out!("");
        let [h, w] = training.window();
        out!(
            "{} weights, {} multiply-adds a pair of {w}x{h} pixels, which takes {:.1} ms.",
            found.model.net.n_parameters(),
            millions(training.macs()),
            milliseconds(&found.model, &training.engine, [h, w]),
        );
        out!("");
        let path = for_shell(path);
        out!("Run directory: {path} (model.safetensors is the trained network; events.jsonl, checkpoints)");
    }

    fn as_json(&self, path: &Path, found: &Trained, events: &[Event]) -> serde_json::Value {
        let value = |e: &Event| serde_json::to_value(e).expect("events are JSON");
        let epochs: Vec<_> = events.iter().filter(|e| matches!(e, Event::DisparityTrainEpoch(_))).map(value).collect();
        json!({
            "directory": path.display().to_string(),
            "model": path.join("model.safetensors").display().to_string(),
            "genotype_text": self.0.genotype.to_string(),
            "n_params": self.0.net.n_parameters(),
            "macs": self.0.macs(),
            "ms_per_pair": milliseconds(&found.model, &self.0.engine, self.0.window()),
            "result": found.finished,
            "epochs": epochs,
        })
    }
}

/// Errors over all pixels and over those that both views show, of what is said in the head.
pub fn table(head: &str, all: &DisparityErrors, visible: Option<&DisparityErrors>) {
    let width = head.chars().count().max("seen by both views".len());
    out!("{head:<width$}  {:>11}  {:>15}  {:>7}  {:>7}  {:>7}", "pixels", "end-point error", "> 1 px", "> 3 px", "D1");
    let percent = |share: f64| format!("{:.2} %", 100.0 * share);
    for (name, errors) in [("all that are known", Some(all)), ("seen by both views", visible)] {
        let Some(e) = errors else { continue };
        let shares = [e.bad1, e.bad3, e.d1].map(percent);
        out!(
            "{name:<width$}  {:>11}  {:>12.3} px  {:>7}  {:>7}  {:>7}",
            e.pixels,
            e.error,
            shares[0],
            shares[1],
            shares[2]
        );
    }
}

/// Milliseconds of one pair of views of so many rows and columns, the median of a few.
fn milliseconds(model: &DisparityModel, engine: &Engine, [height, width]: [usize; 2]) -> f64 {
    let view = vec![128; 3 * height * width];
    let disparity = vec![f32::NAN; height * width];
    let pair = Pair { height, width, left: view.clone(), right: view, disparity, visible: None };
    let (evaluator, pair) = (model.evaluator(engine), StereoEval::new(&[pair], model.sizes.stride()));
    let mut all: Vec<f64> = (0..5)
        .map(|_| {
            let begin = Instant::now();
            assert_eq!(model.estimate(&evaluator, &pair).len(), height * width);
            1e3 * begin.elapsed().as_secs_f64()
        })
        .collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// The training of a run as the run recorded it, its pairs from `data_dir` if they are not where they were.
pub fn reopen(view: &RunView, data_dir: Option<&Path>, engine: Engine, quiet: bool) -> Result<DisparityTraining, Exit> {
    let mut spec: DisparityTrainSpec = view.spec_of_sets(&StereoSets)?;
    if let Some(dir) = data_dir {
        spec.data.pairs.dir = dir.display().to_string();
    }
    let reading = Reading::new(quiet);
    let training = DisparityTraining::new(spec, engine, &reading)?;
    reading.end();
    Ok(training)
}

/// What is trained, before the first step.
pub fn announce(training: &DisparityTraining, path: &Path, threads: usize) {
    let (spec, [n_train, n_valid], [h, w]) = (&training.spec, training.n_pairs, training.window());
    say!(
        "Training for disparity on {} (preset {}): {} of {}, {} channels, {} weights, {} multiply-adds a pair of {w}x{h} \
         pixels, augmentation {}",
        spec.data.pairs.name,
        spec.preset,
        count(spec.train.epochs, "epoch"),
        count(training.steps_per_epoch(), "step"),
        spec.network.channels,
        training.net.n_parameters(),
        millions(training.macs()),
        spec.augment.strength,
    );
    let held_out = match n_valid {
        0 => "none are held out: the result is the last epoch".to_string(),
        n => format!("{n} are held out and choose the epoch that is the result"),
    };
    say!(
        "{n_train} pairs are trained on in windows of {w}x{h} pixels, {held_out}; {} for tests; correlation over {} pixels to \
         either side at an eighth of the size; {}; run directory {}",
        training.n_test,
        training.sizes.displacement,
        count(threads, "thread"),
        shown(path),
    );
}
