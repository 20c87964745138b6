//! A training as the epoch loop runs it.

use rdarts_data::{Batch, DataError, Loader, png_of};
use rdarts_net::{Engine, Evaluator, Held, Real, held_training_gradient};
use rdarts_run::{Event, RunDir, Spec, TRAIN_EVENT_FORMAT, TrainEpoch, TrainFinished, TrainSpec, TrainStarted};

use super::assess::{Assessment, assess};
use super::{KEPT, Training};
use crate::best::{Best, Better, Words, judge, reason};
use crate::error::TrainError;
use crate::images::{as_made_batch, augment};
use crate::job::{Job, Length, Measured, Measuring, Verdict};
use crate::model::{About, FORMAT, Model};
use crate::optim::Sgd;
use crate::schedule::cosine_lr;
use crate::state::{Packed, Position, State, Step, Unpacked};
use crate::streams::Streams;

/// What a training keeps beside weights and momentum.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Learned {
    /// The exponential average of weights and running statistics; empty if there is none.
    pub average: [Held; 2],
    /// The best epoch so far, if images are held out.
    pub best: Option<Best>,
}

/// What a training has made.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The network that can be used.
    pub model: Model,
    /// What it makes of the test images.
    pub test: Assessment,
    /// How it ended.
    pub finished: TrainFinished,
}

impl Job for Training {
    type Extra = Learned;
    type Batch = Batch;
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
        &self.images.fingerprint
    }

    fn is_of(&self, spec: &str) -> bool {
        TrainSpec::from_complete("its spec", spec).ok() == Some(self.spec_without_places())
    }

    fn begin(&self) -> (Event, State<Learned>) {
        let (spec, data) = (&self.spec, &self.images.data);
        let started = TrainStarted {
            format: TRAIN_EVENT_FORMAT,
            rdarts: env!("CARGO_PKG_VERSION").into(),
            data: spec.data.images.name.clone(),
            seed: spec.seed,
            genotype: self.genotype.to_string(),
            n_weights: self.net.n_parameters(),
            n_weights_without_auxiliary: self.net.without_auxiliary().n_parameters(),
            macs: self.macs(),
            n_train: self.images.split.train.len(),
            n_valid: self.images.split.valid.len(),
            n_test: data.test.n,
            steps_per_epoch: self.steps_per_epoch(),
            classes: data.classes.clone(),
        };
        let (weights, running) = (self.net.init(spec.seed).into(), self.net.init_running().into());
        let mut state = State { weights, running, ..self.blank() };
        if spec.train.ema > 0.0 {
            state.extra.average = [state.weights.clone(), state.running.clone()];
        }
        (Event::TrainStarted(started), state)
    }

    fn blank(&self) -> State<Learned> {
        let (n, n_running) = (self.net.n_parameters(), self.net.n_running());
        State {
            at: Position::default(),
            weights: vec![0.0; n].into(),
            sgd: Sgd::new(n, self.spec.weights.momentum, self.spec.weights.l2),
            running: vec![0.0; n_running].into(),
            extra: Learned::default(),
        }
    }

    fn pack<'a>(&self, extra: &'a Learned) -> Packed<'a> {
        let mut packed = Packed::default();
        if self.spec.train.ema > 0.0 {
            packed.tensors.push(("average weights", &extra.average[0]));
            packed.tensors.push(("average running", &extra.average[1]));
        }
        Best::pack(extra.best.as_ref(), &mut packed);
        packed
    }

    fn unpack(&self, extra: &mut Learned, file: &mut Unpacked<'_>) -> Result<(), TrainError> {
        let (n, n_running) = (self.net.n_parameters(), self.net.n_running());
        if self.spec.train.ema > 0.0 {
            extra.average =
                [file.tensor("average weights", n)?.into(), file.tensor("average running", n_running)?.into()];
        }
        extra.best = Best::unpack(file, n, n_running)?;
        Ok(())
    }

    fn batches(&self, at: &Position) -> Box<dyn Iterator<Item = Result<Batch, DataError>> + Send> {
        let (spec, images) = (&self.spec, &self.images);
        let seed = Streams::new(spec.seed, at.attempt).seed();
        let loader =
            Loader::new(images.data.clone(), images.split.train.clone(), spec.train.batch, seed, "train").joined();
        let loader = if spec.train.balanced { loader.balanced() } else { loader };
        let loader = loader.as_recipes(self.on_card.is_there(&self.engine, &images.data));
        let augment = augment(&spec.augment, at.epoch, spec.train.epochs);
        Box::new(loader.epoch(at.epoch as u64, at.step, Some(augment)))
    }

    fn step(&self, state: &mut State<Learned>, images: Batch) -> Result<Step, TrainError> {
        self.place(state);
        let (at, spec) = (&state.at, &self.spec);
        let position = (at.epoch * self.steps_per_epoch() + at.step) as u64;
        let p = self.drop_path(at.epoch);
        let noise = match p > 0.0 {
            true => Streams::new(spec.seed, at.attempt).noise(&self.net, p, "drop-path", position, images.n),
            false => Vec::new(),
        };
        let made = self.on_card.make(&images);
        let batch = as_made_batch(&images, made.as_ref(), &noise);
        let batch = rdarts_net::Batch { targets: self.targets(&images.labels), ..batch };
        let weight = spec.train.auxiliary_weight;
        let mut made = held_training_gradient(&self.net, &self.engine, &state.weights, batch, weight);
        let loss = made.evaluation.loss + made.auxiliary_loss.map_or(0.0, |loss| weight * loss);
        let norm = state.sgd.clipped_step(&mut state.weights, &mut made.weights, self.lr(at.epoch), spec.weights.clip);
        if !loss.is_finite() || !norm.is_finite() {
            return Err(self.diverged(at));
        }
        if self.engine.is_cpu() {
            f32::give_back(self.engine.kernels.workspace(), made.weights.into_vec());
        }
        made.statistics.lead(&mut state.running, KEPT);
        if spec.train.ema > 0.0 {
            // The first steps count more, or the average would begin with the initial weights for thousands of steps.
            let t = at.total_steps as f64;
            let decay = spec.train.ema.min((1.0 + t) / (10.0 + t)) as f32;
            for (average, values) in state.extra.average.iter_mut().zip([&state.weights, &state.running]) {
                if average.average_on_card(values, f64::from(decay)) {
                    continue;
                }
                average.iter_mut().zip(values).for_each(|(a, v)| *a = decay * *a + (1.0 - decay) * v);
            }
        }
        Ok(Step { n: images.n, loss, count: made.evaluation.count, side_loss: made.auxiliary_loss })
    }

    fn measure(&self, state: &State<Learned>, measuring: &mut Measuring<'_>) -> Result<Option<Measured>, TrainError> {
        let (spec, at, valid) = (&self.spec, &state.at, self.images.split.valid.clone());
        let mut made = None;
        if !valid.is_empty() {
            made = measuring.phase("accuracy on the held-out images", "held-out accuracy", |stop| {
                let (evaluator, data) = (self.evaluator(self.candidate(state)), &self.images.data);
                assess(&evaluator, (&data.train, valid), spec.train.batch, &data.norm(), data.classes.len(), stop)
            })?;
            if made.is_none() || measuring.is_stopped() {
                return Ok(None);
            }
        }
        let accuracy = made.as_ref().map(Assessment::accuracy);
        let record = TrainEpoch {
            attempt: at.attempt,
            epoch: at.epoch,
            lr: self.lr(at.epoch),
            drop_path: self.drop_path(at.epoch),
            cutout_prob: match spec.augment.cutout_length {
                0 => 0.0,
                _ => augment(&spec.augment, at.epoch, spec.train.epochs).cutout_prob,
            },
            train_loss: at.mean_loss(),
            train_accuracy: at.count().mean(),
            valid_loss: made.as_ref().map(|made| made.loss),
            valid_accuracy: accuracy,
            is_best: accuracy.is_none_or(|accuracy| BETTER.is_best(&at.history, accuracy)),
        };
        let finite = state.weights.iter().chain(&state.running).all(|v| v.is_finite());
        if !finite || !record.train_loss.is_finite() || record.valid_loss.is_some_and(|loss| !loss.is_finite()) {
            return Err(self.diverged(at));
        }
        Ok(Some(Measured {
            event: Event::TrainEpoch(record),
            history: accuracy.map(Some),
            error: None,
            decided: Vec::new(),
        }))
    }

    fn keep(&self, state: &mut State<Learned>, _measured: &Measured) {
        let network = || <[&[f32]; 2]>::from(self.candidate(state));
        if let Some(best) = Best::of_epoch(BETTER, &state.at, network) {
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
        let data = &self.images.data;
        let (epoch, network) = match &state.extra.best {
            Some(best) => (best.epoch, (&best.weights[..], &best.running[..])),
            None => (state.at.epoch, self.candidate(state)),
        };
        let made = measuring.phase("accuracy on the test images", "test accuracy", |stop| {
            let range = (&data.test, 0..data.test.n);
            assess(&self.evaluator(network), range, self.spec.train.batch, &data.norm(), data.classes.len(), stop)
        })?;
        let Some(test) = made else { return Ok(None) };
        let (epochs, patience) = (self.spec.train.epochs, self.spec.train.patience);
        let reason = reason(BETTER, &state.at.history, state.at.epoch, epochs, patience, WORDS);
        let finished = TrainFinished {
            reason: reason.clone(),
            epoch,
            valid_accuracy: BETTER.last(&state.at.history).map(|(_, accuracy)| accuracy),
            n_test: test.n,
            test_loss: test.loss,
            test_accuracy: test.accuracy(),
            test_top5: test.top5(),
            per_class: test.per_class(),
            confusion: test.confusion.clone(),
        };
        let model = Model::new(self.about(&finished), network.0, network.1);
        dir.write_model(&model.to_bytes()).map_err(TrainError::failed)?;
        let json = serde_json::to_value(&self.genotype).expect("a genotype is JSON");
        dir.write_genotype(&self.genotype.to_string(), &json).map_err(TrainError::failed)?;
        let mut pictures = Vec::new();
        for mistake in &test.mistakes {
            if let Some(png) = png_of(&data.test, mistake.image).map_err(TrainError::failed)? {
                pictures.push((mistake.clone(), png));
            }
        }
        dir.write_mistakes(&pictures).map_err(TrainError::failed)?;
        dir.append_event(&Event::TrainFinished(finished.clone())).map_err(TrainError::failed)?;
        dir.mark_done(&reason).map_err(TrainError::failed)?;
        Ok(Some(Trained { model, test, finished }))
    }
}

/// What is measured on held-out images.
const BETTER: Better = Better::Larger;
const WORDS: Words = Words { value: "accuracy", what: "images" };

impl Training {
    /// Puts what a step changes on the card, if there is one.
    fn place(&self, state: &mut State<Learned>) {
        let (engine, net) = (&self.engine, &self.net);
        let [average, of_running] = &mut state.extra.average;
        for (held, is_there) in
            [(&mut state.weights, true), (&mut state.sgd.buffer, true), (average, self.spec.train.ema > 0.0)]
        {
            if is_there {
                held.place(engine, || net.weight_parts());
            }
        }
        state.running.place(engine, || net.running_parts());
        if self.spec.train.ema > 0.0 {
            of_running.place(engine, || net.running_parts());
        }
    }

    /// The learning rate of an epoch.
    fn lr(&self, epoch: usize) -> f64 {
        cosine_lr(self.spec.weights.lr, self.spec.weights.lr_min, epoch, self.spec.train.epochs)
    }

    /// The weights and statistics that are evaluated: the average, if there is one.
    fn candidate<'a>(&self, state: &'a State<Learned>) -> (&'a [f32], &'a [f32]) {
        match self.spec.train.ema > 0.0 {
            true => (&state.extra.average[0], &state.extra.average[1]),
            false => (&state.weights, &state.running),
        }
    }

    fn evaluator(&self, (weights, running): (&[f32], &[f32])) -> Evaluator<f32> {
        let running: Vec<f64> = running.iter().map(|v| f64::from(*v)).collect();
        Evaluator::discrete(&self.net, &self.engine, weights, &running)
    }

    /// What the file of a model says of itself.
    fn about(&self, finished: &TrainFinished) -> About {
        let (spec, data) = (&self.spec, &self.images.data);
        About {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            genotype: self.genotype.clone(),
            cells: spec.network.cells,
            channels: spec.network.channels,
            reductions: spec.network.reductions.clone(),
            classes: data.classes.clone(),
            side: self.images.side(),
            mean: data.mean.clone(),
            std: data.std.clone(),
            data: spec.data.images.name.clone(),
            epoch: Some(finished.epoch),
            valid_accuracy: finished.valid_accuracy,
            n_test: Some(finished.n_test),
            test_accuracy: Some(finished.test_accuracy),
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
