//! A training for disparity as the epoch loop runs it.

use std::sync::atomic::AtomicBool;

use rdarts_data::DataError;
use rdarts_data::stereo::{Pair, Scenes, StereoAugment, StereoBatch, StereoEval};
use rdarts_net::{Alphas, Engine, Held, Point, Real, held_weight_gradient, unit_variance};
use rdarts_run::{
    DISPARITY_TRAIN_EVENT_FORMAT, DisparityTrainEpoch, DisparityTrainFinished, DisparityTrainSpec,
    DisparityTrainStarted, Event, PairPictures, RunDir, Spec,
};

use super::DisparityTraining;
use super::assess::{Assessment, assess};
use super::model::{DisparityAbout, DisparityModel, FORMAT, TASK, evaluator};
use crate::best::{Best, Better, Words, judge, reason};
use crate::error::TrainError;
use crate::job::{Job, Length, Measured, Measuring, Verdict};
use crate::maps::{ShownPairs, pair_pictures};
use crate::optim::{Adam, Sgd};
use crate::pairs::PairBatch;
use crate::schedule::cosine_lr;
use crate::state::{Packed, Position, State, Step, Unpacked};
use crate::streams::Streams;

/// What a training for disparity keeps beside the weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Learned {
    /// The optimiser of the weights.
    pub adam: Adam,
    /// The best epoch so far, if pairs are held out.
    pub best: Option<Best>,
}

/// What a training has made.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The network that can be used.
    pub model: DisparityModel,
    /// How it ended.
    pub finished: DisparityTrainFinished,
}

/// Rows and columns of the scenes by which fresh weights are scaled.
const SCENES: [usize; 2] = [128, 256];

/// What is measured on held-out pairs.
const BETTER: Better = Better::Smaller;
const WORDS: Words = Words { value: "error", what: "pairs" };

impl Job for DisparityTraining {
    type Extra = Learned;
    type Batch = StereoBatch;
    type Found = Trained;

    fn length(&self) -> Length {
        Length { epochs: self.spec.train.epochs, steps: self.steps_per_epoch() }
    }

    fn engine(&self) -> Option<&Engine> {
        Some(&self.engine)
    }

    fn spec_text(&self) -> String {
        self.spec_without_places().to_toml()
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn is_of(&self, spec: &str) -> bool {
        DisparityTrainSpec::from_complete("its spec", spec).ok() == Some(self.spec_without_places())
    }

    fn begin(&self) -> (Event, State<Learned>) {
        let [n_train, n_valid] = self.n_pairs;
        let started = DisparityTrainStarted {
            format: DISPARITY_TRAIN_EVENT_FORMAT,
            rdarts: env!("CARGO_PKG_VERSION").into(),
            data: self.spec.data.pairs.name.clone(),
            seed: self.spec.seed,
            genotype: self.genotype.to_string(),
            n_weights: self.net.n_parameters(),
            macs: self.macs(),
            n_train,
            n_valid,
            n_test: self.n_test,
            steps_per_epoch: self.steps_per_epoch(),
        };
        let weights = self.init();
        (Event::DisparityTrainStarted(started), State { weights: weights.into(), ..self.blank() })
    }

    fn blank(&self) -> State<Learned> {
        let (n, weights) = (self.net.n_parameters(), &self.spec.weights);
        let mut adam = Adam::new(n, weights.lr, weights.l2);
        (adam.beta1, adam.beta2) = (weights.beta1, weights.beta2);
        State {
            at: Position::default(),
            weights: vec![0.0; n].into(),
            // Adam is in its place.
            sgd: Sgd::new(0, 0.0, weights.l2),
            running: Held::default(),
            extra: Learned { adam, best: None },
        }
    }

    fn pack<'a>(&self, extra: &'a Learned) -> Packed<'a> {
        let mut packed = Packed::default();
        packed.tensors.extend([("adam_m", &extra.adam.m[..]), ("adam_v", &extra.adam.v[..])]);
        packed.scalars.insert("adam_t".into(), extra.adam.t.into());
        Best::pack(extra.best.as_ref(), &mut packed);
        packed
    }

    fn unpack(&self, extra: &mut Learned, file: &mut Unpacked<'_>) -> Result<(), TrainError> {
        let n = self.net.n_parameters();
        extra.adam.t = file.count("adam_t")?;
        (extra.adam.m, extra.adam.v) = (file.tensor("adam_m", n)?.into(), file.tensor("adam_v", n)?.into());
        extra.best = Best::unpack(file, n, 0)?;
        Ok(())
    }

    fn batches(&self, at: &Position) -> Box<dyn Iterator<Item = Result<StereoBatch, DataError>> + Send> {
        let seed = Streams::new(self.spec.seed, at.attempt).seed();
        let augment = StereoAugment::PAPER.with_strength(self.spec.augment.strength);
        Box::new(self.loader(seed).epoch(at.epoch as u64, at.step, Some(augment)))
    }

    fn step(&self, state: &mut State<Learned>, made: StereoBatch) -> Result<Step, TrainError> {
        let (pairs, none) = (PairBatch::new(made, self.sizes.levels()), Alphas::zeros(&self.net));
        let lr = self.lr(state.at.epoch);
        let (weights, adam) = (&mut state.weights, &mut state.extra.adam);
        for held in [&mut *weights, &mut adam.m, &mut adam.v] {
            held.place(&self.engine, || self.net.weight_parts());
        }
        let at = Point { net: &self.net, engine: &self.engine, weights: &*weights, alphas: &none };
        let (evaluation, mut gradient) = held_weight_gradient(at, pairs.as_batch());
        adam.lr = lr;
        let norm = adam.clipped_step(weights, &mut gradient, self.spec.weights.clip);
        if !(evaluation.loss + norm).is_finite() {
            return Err(self.diverged(&state.at));
        }
        if self.engine.is_cpu() {
            f32::give_back(self.engine.kernels.workspace(), gradient.into_vec());
        }
        Ok(Step { n: pairs.n(), loss: evaluation.loss, count: evaluation.count, side_loss: None })
    }

    fn measure(&self, state: &State<Learned>, measuring: &mut Measuring<'_>) -> Result<Option<Measured>, TrainError> {
        let at = &state.at;
        let mut made = None;
        if self.n_pairs[1] > 0 {
            made = measuring.phase("error on the held-out pairs", "held-out error", |stop| {
                let (evaluator, [n_train, n_valid]) =
                    (evaluator(&self.net, &self.engine, &state.weights), self.n_pairs);
                let pairs = (&*self.pairs.train, n_train..n_train + n_valid, self.pairs.halved);
                assess(&evaluator, &self.sizes, pairs, self.spec.train.batch, stop)
            })?;
            if made.is_none() || measuring.is_stopped() {
                return Ok(None);
            }
        }
        let valid_error = made.as_ref().and_then(Assessment::errors).map(|errors| errors.error);
        let record = DisparityTrainEpoch {
            attempt: at.attempt,
            epoch: at.epoch,
            lr: self.lr(at.epoch),
            train_loss: at.mean_loss(),
            train_error: at.count().mean(),
            valid_error,
            is_best: valid_error.is_none_or(|error| BETTER.is_best(&at.history, error)),
        };
        let finite = state.weights.iter().all(|v| v.is_finite());
        if !finite || !record.train_loss.is_finite() || valid_error.is_some_and(|error| !error.is_finite()) {
            return Err(self.diverged(at));
        }
        let event = Event::DisparityTrainEpoch(record);
        Ok(Some(Measured { event, history: valid_error.map(Some), error: None, decided: Vec::new() }))
    }

    fn keep(&self, state: &mut State<Learned>, _measured: &Measured) {
        if let Some(best) = Best::of_epoch(BETTER, &state.at, || [&state.weights[..], &[]]) {
            state.extra.best = Some(best);
        }
    }

    fn judge(&self, state: &State<Learned>) -> Verdict {
        judge(BETTER, &state.at.history, state.at.epoch, self.spec.train.patience, WORDS)
    }

    fn finish(
        &self,
        dir: &mut RunDir,
        state: &State<Learned>,
        _: Option<(usize, String)>,
        measuring: &mut Measuring<'_>,
    ) -> Result<Option<Trained>, TrainError> {
        let (epoch, weights) = match &state.extra.best {
            Some(best) => (best.epoch, &best.weights[..]),
            None => (state.at.epoch, &state.weights[..]),
        };
        let made = measuring.phase("error on the test pairs", "test error", |stop| {
            let evaluator = evaluator(&self.net, &self.engine, weights);
            let pairs = (&*self.pairs.test, 0..self.n_test, self.pairs.halved);
            assess(&evaluator, &self.sizes, pairs, self.spec.train.batch, stop)
        })?;
        let Some(test) = made else { return Ok(None) };
        let made = measuring.phase("pictures of pairs", "pictures", |stop| self.pictures(weights, stop))?;
        let Some(pictures) = made else { return Ok(None) };
        let (epochs, patience) = (self.spec.train.epochs, self.spec.train.patience);
        let reason = reason(BETTER, &state.at.history, state.at.epoch, epochs, patience, WORDS);
        let finished = DisparityTrainFinished {
            reason: reason.clone(),
            epoch,
            valid_error: BETTER.last(&state.at.history).map(|(_, error)| error),
            n_test: test.n,
            test: test.errors(),
            test_visible: test.visible_errors(),
        };
        let model = DisparityModel::new(self.about(&finished), weights);
        dir.write_model(&model.to_bytes()).map_err(TrainError::failed)?;
        let json = serde_json::to_value(&self.genotype).expect("a genotype is JSON");
        dir.write_genotype(&self.genotype.to_string(), &json).map_err(TrainError::failed)?;
        dir.write_maps(&pictures).map_err(TrainError::failed)?;
        dir.append_event(&Event::DisparityTrainFinished(finished.clone())).map_err(TrainError::failed)?;
        dir.mark_done(&reason).map_err(TrainError::failed)?;
        Ok(Some(Trained { model, finished }))
    }
}

impl DisparityTraining {
    /// The learning rate of an epoch.
    fn lr(&self, epoch: usize) -> f64 {
        cosine_lr(self.spec.weights.lr, self.spec.weights.lr_min, epoch, self.spec.train.epochs)
    }

    /// Test pairs as the network of some weights sees them, or held-out ones where there are none; `None` if `stop` was set
    /// meanwhile.
    fn pictures(&self, weights: &[f32], stop: &AtomicBool) -> Result<Option<Vec<PairPictures>>, TrainError> {
        let [n_train, n_valid] = self.n_pairs;
        let (pairs, range) = match self.n_test {
            0 => (&self.pairs.train, n_train..n_train + n_valid),
            n_test => (&self.pairs.test, 0..n_test),
        };
        // Whole pairs are what it was tested on.
        let (most_pixels, window) = (usize::MAX, self.window());
        let of = ShownPairs { pairs, range, halved: self.pairs.halved, most_pixels, window };
        pair_pictures(&of, &self.sizes, &evaluator(&self.net, &self.engine, weights), stop)
    }

    /// Fresh weights, scaled by what they make of some synthetic scenes, whatever the pairs are.
    fn init(&self) -> Vec<f32> {
        let scenes =
            Scenes::new(SCENES[0], SCENES[1], SCENES[1] as f64 / 8.0, self.spec.seed).expect("sizes that scenes have");
        let pairs: Vec<Pair> = (0..4).map(|i| scenes.pair(i)).collect();
        let made = StereoEval::new(&pairs, self.sizes.stride());
        let mut weights = self.net.init(self.spec.seed);
        unit_variance(&self.net, &self.engine, &mut weights, &made.views, made.n, [made.height, made.width]);
        weights
    }

    /// What the file of a model says of itself.
    fn about(&self, finished: &DisparityTrainFinished) -> DisparityAbout {
        DisparityAbout {
            format: FORMAT,
            task: TASK.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            genotype: self.genotype.clone(),
            channels: self.sizes.c,
            stem: self.sizes.stem,
            displacement: self.sizes.displacement,
            data: self.spec.data.pairs.name.clone(),
            epoch: Some(finished.epoch),
            valid_error: finished.valid_error,
            n_test: Some(finished.n_test),
            test: finished.test.clone(),
            test_visible: finished.test_visible.clone(),
        }
    }

    fn diverged(&self, at: &Position) -> TrainError {
        TrainError::Diverged(format!(
            "the loss is no number any more in epoch {} after step {}: the training has diverged; the checkpoint before it is \
             kept, lower weights.lr or tighten weights.clip and start again",
            at.epoch, at.step
        ))
    }
}
