//! A search for disparity as the epoch loop runs it.

use rdarts_data::DataError;
use rdarts_monitor::{AdaRule, Measurement, Method, Rule, decide, earliest_return};
use rdarts_net::{Engine, Held, Point, held_weight_gradient};
use rdarts_run::{
    self as run, DISPARITY_EVENT_FORMAT, DecisionKind, DisparityEpoch, DisparitySearchSpec, DisparityStarted, Event,
    Finished, RunDir, Spec,
};
use rdarts_space::Op;
use rdarts_space::disparity::DisparityCell;
use rdarts_train::optim::Sgd;
use rdarts_train::state::{Packed, Unpacked};
use rdarts_train::{Job, Length, Measured, Measuring, Position, Step, TrainError, Verdict};

use super::{DisparityAlphas, DisparityFound, DisparitySearch, DisparityState, StepPairs};
use crate::architecture::Learned;
use crate::bilevel::diverged;
use crate::rules::{rule_of, told};

impl Job for DisparitySearch {
    type Extra = DisparityAlphas;
    type Batch = StepPairs;
    type Found = DisparityFound;

    fn length(&self) -> Length {
        Length { epochs: self.spec.search.epochs, steps: self.steps_per_epoch() }
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
        DisparitySearchSpec::from_complete("its spec", spec).ok() == Some(self.spec_without_places())
    }

    fn begin(&self) -> (Event, DisparityState) {
        let (spec, n_alphas) = (&self.spec, self.n_alphas());
        let started = DisparityStarted {
            format: DISPARITY_EVENT_FORMAT,
            rdarts: env!("CARGO_PKG_VERSION").into(),
            space: self.space.name.clone(),
            data: spec.data.pairs.name.clone(),
            seed: spec.seed,
            n_alphas: n_alphas.iter().sum(),
            n_weights: self.net.n_parameters(),
            n_train: self.n_pairs[0],
            n_valid: self.n_pairs[1],
            steps_per_epoch: self.steps_per_epoch(),
        };
        let extra = DisparityAlphas::new(&spec.alphas, spec.seed, n_alphas);
        (
            Event::DisparityStarted(started),
            DisparityState { weights: self.net.init(spec.seed).into(), extra, ..self.blank() },
        )
    }

    fn blank(&self) -> DisparityState {
        let n = self.net.n_parameters();
        DisparityState {
            at: Position::default(),
            weights: vec![0.0; n].into(),
            sgd: Sgd::new(n, self.spec.weights.momentum, self.spec.weights.l2),
            // The norms of a search take their statistics from each batch.
            running: Held::default(),
            extra: DisparityAlphas::blank(&self.spec.alphas, self.n_alphas()),
        }
    }

    fn pack<'a>(&self, extra: &'a DisparityAlphas) -> Packed<'a> {
        extra.pack()
    }

    fn unpack(&self, extra: &mut DisparityAlphas, file: &mut Unpacked<'_>) -> Result<(), TrainError> {
        extra.unpack(file)
    }

    fn batches(&self, at: &Position) -> Box<dyn Iterator<Item = Result<StepPairs, DataError>> + Send> {
        Box::new(self.step_batches(at))
    }

    fn step(&self, state: &mut DisparityState, (train, valid): StepPairs) -> Result<Step, TrainError> {
        for held in [&mut state.weights, &mut state.sgd.buffer] {
            held.place(&self.engine, || self.net.weight_parts());
        }
        let (bilevel, train) = (self.bilevel(state.at.epoch), self.batch(train));
        let step = match valid {
            Some(valid) => bilevel.step(state, train.as_batch(), self.batch(valid).as_batch())?,
            None => {
                let alphas = state.extra.for_network();
                let at = Point { net: &self.net, engine: &self.engine, weights: &state.weights, alphas: &alphas };
                let made = held_weight_gradient(at, train.as_batch());
                bilevel.update_weights(state, made, None)?
            }
        };
        // Errors are means over pixels, losses over pairs.
        Ok(Step { n: train.n(), ..step })
    }

    fn measure(&self, state: &DisparityState, measuring: &mut Measuring<'_>) -> Result<Option<Measured>, TrainError> {
        let (spec, at) = (&self.spec, &state.at);
        let epoch = at.epoch;
        let (mut found, mut supernet, mut child) = (None, None, None);
        let is_measured = self.is_measured(epoch);
        if is_measured {
            found = measuring.phase("eigenvalue", "eigenvalue", |stop| self.eigenvalue(state, epoch, stop))?;
        }
        if spec.eval.oneshot {
            supernet =
                measuring.phase("error of the supernet", "supernet error", |stop| self.score_supernet(state, stop))?;
        }
        if spec.eval.child {
            child = measuring.phase("error of its child", "child error", |stop| self.score_child(state, stop))?;
        }
        if measuring.is_stopped() {
            return Ok(None);
        }
        let genotype = self.genotype(state);
        let [normal, reduce, upsample] = state.extra.by_type().map(<[f32]>::to_vec);
        let finite = |v: Option<f64>| v.filter(|v| v.is_finite());
        let parameterless = |cell| genotype.cell(cell).iter().filter(|entry| entry.0.is_parameterless()).count();
        let record = DisparityEpoch {
            attempt: at.attempt,
            epoch,
            lr: self.lr(epoch),
            l2: state.sgd.l2,
            train_loss: at.mean_loss(),
            train_error: at.count().mean(),
            alpha_loss: (epoch >= spec.search.warm_start).then(|| at.side_loss / at.step as f64),
            valid_loss: supernet.map(|s| s[0]),
            valid_error: finite(supernet.map(|s| s[1])),
            child_loss: child.map(|s| s[0]),
            child_error: finite(child.map(|s| s[1])),
            eigenvalue: finite(found.as_ref().map(|c| c.dominant.value)),
            eigenvalue_bound: finite(found.as_ref().map(|c| c.dominant.bound)),
            eigenvalue_error: finite(found.as_ref().and_then(|c| c.error)),
            skip_connects: DisparityCell::ALL.map(|cell| genotype.n_uses(cell, Op::SkipConnect)),
            parameterless: DisparityCell::ALL.map(parameterless),
            genotype: genotype.to_string(),
            alphas_normal: normal,
            alphas_reduce: reduce,
            alphas_upsample: upsample,
        };
        // Before the state is saved over the last good one.
        let losses = [Some(record.train_loss), record.alpha_loss, record.valid_loss, record.child_loss];
        if !losses.iter().flatten().all(|l| l.is_finite())
            || !state.weights.iter().chain(&state.extra.alphas).all(|v| v.is_finite())
        {
            return Err(diverged("validation", at));
        }
        let history = is_measured.then_some(record.eigenvalue);
        let error = record.eigenvalue_error;
        Ok(Some(Measured { event: Event::DisparityEpoch(Box::new(record)), history, error, decided: Vec::new() }))
    }

    fn judge(&self, state: &DisparityState) -> Verdict {
        let (epoch, l2) = (state.at.epoch, state.sgd.l2);
        let (method, rule, ada) = self.monitor();
        let measurement = |(epoch, value): &(usize, Option<f64>)| Measurement {
            epoch: *epoch,
            eigenvalue: value.unwrap_or(f64::NAN),
        };
        let history: Vec<Measurement> = state.at.history.iter().map(measurement).collect();
        let decision = decide(method, &rule, &ada, &history, epoch, self.spec.search.epochs, l2);
        told(&decision, &state.at, l2)
    }

    fn earliest_return(&self, state: &DisparityState) -> Option<usize> {
        let (method, rule, ada) = self.monitor();
        let history: Vec<usize> = state.at.history.iter().map(|(epoch, _)| *epoch).collect();
        earliest_return(method, &rule, &ada, &history, state.sgd.l2)
    }

    fn keeps_all(&self) -> bool {
        self.spec.eval.keep_checkpoints
    }

    fn finish(
        &self,
        dir: &mut RunDir,
        state: &DisparityState,
        stop: Option<(usize, String)>,
        measuring: &mut Measuring<'_>,
    ) -> Result<Option<DisparityFound>, TrainError> {
        let events = dir.view().events().map_err(TrainError::failed)?;
        let (epoch, reason) = match (stop, events.last()) {
            (Some(stop), _) => stop,
            (None, Some(Event::Decision(d))) if d.kind == DecisionKind::Stop => (d.return_to, d.reason.clone()),
            (None, _) => (state.at.epoch, format!("All {} epochs are done.", self.spec.search.epochs)),
        };
        let record = events.iter().rev().find_map(|event| match event {
            Event::DisparityEpoch(record) if record.epoch == epoch => Some(record),
            _ => None,
        });
        let record = record.ok_or_else(|| TrainError::Failed(format!("the events of epoch {epoch} are gone")))?;
        let made = measuring.phase("pictures of pairs", "pictures", |stop| self.pictures(state, stop))?;
        let Some(pictures) = made else { return Ok(None) };
        dir.write_maps(&pictures).map_err(TrainError::failed)?;
        let genotype = self.space.derive([&record.alphas_normal[..], &record.alphas_reduce, &record.alphas_upsample]);
        let json = serde_json::to_value(&genotype).expect("a genotype is JSON");
        dir.write_genotype(&genotype.to_string(), &json).map_err(TrainError::failed)?;
        let (attempt, text) = (state.at.attempt, genotype.to_string());
        let finished = Finished { reason: reason.clone(), attempt, epoch, genotype: text };
        dir.append_event(&Event::Finished(finished)).map_err(TrainError::failed)?;
        dir.mark_done(&reason).map_err(TrainError::failed)?;
        Ok(Some(DisparityFound { genotype, epoch, reason }))
    }
}

impl DisparitySearch {
    /// The eigenvalue is measured after every so many epochs, and after the last; not while the alphas rest.
    fn is_measured(&self, epoch: usize) -> bool {
        let every = self.spec.hessian.every;
        let is_due = every > 0 && (epoch.is_multiple_of(every) || epoch + 1 == self.spec.search.epochs);
        is_due && epoch >= self.spec.search.warm_start
    }

    fn monitor(&self) -> (Method, Rule, AdaRule) {
        let method = match self.spec.search.method {
            run::Method::DartsEs => Method::Es,
            run::Method::DartsAda => Method::Ada,
            _ => Method::Darts,
        };
        let monitor = &self.spec.monitor;
        (method, rule_of(monitor), AdaRule { l2_factor: monitor.l2_factor, l2_max: monitor.l2_max })
    }
}
