//! The stereo pairs of a run on disparity, opened as its spec says, and what a network is given of them.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use rdarts_data::stereo::{self, Pairs, StereoBatch, StereoEval, StereoLoader, StereoOptions};
use rdarts_data::{Watch, shown};
use rdarts_net::disparity::DisparitySpec;
use rdarts_net::task::at_full_size;
use rdarts_net::{Batch, Evaluator, Level, Targets, Truth};
use rdarts_run::PairsSpec;

use crate::error::TrainError;

/// The pairs of a run.
#[derive(Clone, Debug)]
pub struct PairSet {
    /// Those that training may see.
    pub train: Arc<Pairs>,
    /// Those for tests.
    pub test: Arc<Pairs>,
    /// How many of the training pairs are used, the first ones.
    pub n: usize,
    /// Whether all are halved in size.
    pub halved: bool,
}

impl PairSet {
    /// Opens the pairs of a spec, of synthetic scenes `n_test` for tests, and tells `watch` what was noticed.
    ///
    /// # Errors
    /// One sentence if the set is unknown or damaged, or has nothing to train on.
    pub fn open(spec: &PairsSpec, n_test: usize, watch: &dyn Watch) -> Result<Self, TrainError> {
        let options = StereoOptions {
            height: spec.height,
            width: spec.width,
            max_disparity: spec.max_disparity,
            n_train: spec.n_scenes,
            n_test,
            scenes_seed: spec.scenes_seed,
            watch,
            ..StereoOptions::USUAL
        };
        let dir = Some(Path::new(&spec.dir)).filter(|dir| !dir.as_os_str().is_empty());
        let set = stereo::open_with(&spec.name, dir, &options)?;
        if set.train.n() == 0 {
            let name = shown(&spec.name);
            return Err(TrainError::Input(format!("{name} has no pairs to train on: all of them are for tests")));
        }
        let n = match spec.limit {
            0 => set.train.n(),
            limit => limit.min(set.train.n()),
        };
        Ok(Self { train: Arc::new(set.train), test: Arc::new(set.test), n, halved: spec.halved })
    }

    /// Of the training pairs that are used.
    ///
    /// # Errors
    /// If a file is not there any more.
    pub fn fingerprint(&self) -> Result<String, TrainError> {
        Ok(self.train.fingerprint(0..self.n)?)
    }

    /// Batches of windows of training pairs; `name` names the streams of randomness.
    pub fn loader(
        &self,
        range: Range<usize>,
        batch: usize,
        window: [usize; 2],
        seed: u64,
        name: &'static str,
    ) -> StereoLoader {
        let loader = StereoLoader::new(self.train.clone(), range, batch, window, seed, name);
        if self.halved { loader.halved() } else { loader }
    }
}

/// Windows of pairs as a network wants them, with their truth.
#[derive(Clone, Debug)]
pub struct PairBatch {
    views: Vec<f32>,
    truth: Truth,
}

impl PairBatch {
    /// Of what a loader has made, for a network that predicts at some levels.
    pub fn new(made: StereoBatch, levels: Vec<Level>) -> Self {
        let side = [made.height, made.width];
        Self { views: made.views, truth: Truth { side, disparity: made.disparity, levels } }
    }

    /// Pairs.
    pub fn n(&self) -> usize {
        self.truth.n()
    }

    /// What the network is given.
    pub fn as_batch(&self) -> Batch<'_, f32> {
        Batch {
            images: (&self.views).into(),
            side: self.truth.side,
            targets: Targets::Disparity(&self.truth),
            noise: &[],
        }
    }
}

/// Refuses a correlation that reaches beyond the windows.
///
/// # Errors
/// One sentence that names the key.
pub fn check_displacement(displacement: usize, width: usize) -> Result<(), TrainError> {
    let columns = width / 8;
    if displacement < columns {
        return Ok(());
    }
    Err(TrainError::Input(format!(
        "network.displacement is {displacement}, but windows of {width} columns have {columns} at an eighth of the size: at \
         most {}",
        columns - 1
    )))
}

/// Disparities (n, truth_height, truth_width) of pairs: the finest prediction, resampled to full size.
pub fn estimate(evaluator: &Evaluator<f32>, sizes: &DisparitySpec, pairs: &StereoEval) -> Vec<f32> {
    let side @ [h, w] = [pairs.height, pairs.width];
    let outputs = evaluator.outputs(&pairs.views, pairs.n, side);
    let scale = sizes.levels().last().expect("a network predicts something").scale;
    let finest = (h / scale) * (w / scale);
    let whole = outputs.chunks_exact(outputs.len() / pairs.n).flat_map(|outputs| {
        at_full_size(&outputs[outputs.len() - finest..], side, scale).into_iter().map(|d| d as f32)
    });
    pairs.at_truth(&whole.collect::<Vec<f32>>())
}
