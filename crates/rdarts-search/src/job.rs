//! A search as the epoch loop runs it: the bilevel step, what is measured after an epoch, and what the monitor says; or the
//! step of random search with weight sharing, and its choice at the end.

use rdarts_data::DataError;
use rdarts_net::{Engine, Held};
use rdarts_run::{
    DecisionKind, EVENT_FORMAT, EXTENDED_EVENT_FORMAT, EpochRecord, Event, Finished, Method, RunDir, SearchSpec, Spec,
    Started,
};
use rdarts_space::{CellType, Genotype, Op};
use rdarts_train::images::{as_made_batch, augment};
use rdarts_train::optim::Sgd;
use rdarts_train::state::{Packed, Unpacked};
use rdarts_train::{Job, Length, Measured, Measuring, Position, Step, TrainError, Verdict};

use crate::State;
use crate::architecture::Architecture;
use crate::batches::{StepBatches, step_batches, within};
use crate::bilevel::diverged;
use crate::hessian::eigenvalue;
use crate::methods;
use crate::projection::Projection;
use crate::random_ws;
use crate::rules::{decide_after, earliest_after, is_measured, told};
use crate::score::{score_child, score_mixed, score_supernet};
use crate::search::Search;
use crate::selection;

/// What a search found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The architecture.
    pub genotype: Genotype,
    /// The epoch it is from.
    pub epoch: usize,
    /// Why the search ended.
    pub reason: String,
}

impl Job for Search {
    type Extra = Architecture;
    type Batch = StepBatches;
    type Found = Found;

    fn length(&self) -> Length {
        Length { epochs: self.n_epochs(), steps: self.steps_per_epoch() }
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

    /// Compared as values: an earlier program may have written fewer keys.
    fn is_of(&self, spec: &str) -> bool {
        SearchSpec::from_complete("its spec", spec).ok() == Some(self.spec_without_places())
    }

    fn begin(&self) -> (Event, State) {
        let spec = &self.spec;
        let is_extended = spec.search.method.selects() || spec.search.method == Method::PcDarts;
        let started = Started {
            format: if is_extended { EXTENDED_EVENT_FORMAT } else { EVENT_FORMAT },
            rdarts: env!("CARGO_PKG_VERSION").into(),
            space: self.space.name.clone(),
            data: spec.data.images.name.clone(),
            seed: spec.seed,
            n_alphas: self.n_learned().iter().sum(),
            n_weights: self.net.n_parameters(),
            n_train: self.images.split.train.len(),
            n_valid: self.images.split.valid.len(),
            steps_per_epoch: self.steps_per_epoch(),
        };
        let mut state = State { weights: self.net.init(spec.seed).into(), ..self.blank() };
        if spec.search.method != Method::RsWs {
            let projection = state.extra.projection.take();
            state.extra = Architecture::new(&spec.alphas, spec.seed, self.n_learned());
            state.extra.projection = projection;
        }
        (Event::Started(started), state)
    }

    fn blank(&self) -> State {
        let n = self.net.n_parameters();
        State {
            at: Position::default(),
            weights: vec![0.0; n].into(),
            sgd: Sgd::new(n, self.spec.weights.momentum, self.spec.weights.l2),
            // The norms of a search take their statistics from each batch.
            running: Held::default(),
            extra: match self.spec.search.method {
                Method::RsWs => Architecture::sampled(&self.spec.alphas, self.n_learned()),
                method => {
                    let mut blank = Architecture::blank(&self.spec.alphas, self.n_learned());
                    blank.projection = method.selects().then(|| Projection::new(&self.space));
                    blank
                }
            },
        }
    }

    fn pack<'a>(&self, extra: &'a Architecture) -> Packed<'a> {
        extra.pack()
    }

    fn unpack(&self, extra: &mut Architecture, file: &mut Unpacked<'_>) -> Result<(), TrainError> {
        extra.unpack(file)
    }

    fn batches(&self, at: &Position) -> Box<dyn Iterator<Item = Result<StepBatches, DataError>> + Send> {
        let recipes = self.on_card.is_there(&self.engine, &self.images.data);
        Box::new(step_batches(&self.images, &self.spec, at, recipes))
    }

    fn step(&self, state: &mut State, (train, valid): StepBatches) -> Result<Step, TrainError> {
        for held in [&mut state.weights, &mut state.sgd.buffer] {
            held.place(&self.engine, || self.net.weight_parts());
        }
        let (at, streams) = (&state.at, self.streams(state.at.attempt));
        let (position, p) = ((at.epoch * self.steps_per_epoch() + at.step) as u64, self.drop_path(at.epoch));
        let noise = |name, n| streams.noise(&self.net, p, name, position, n);
        let train_noise = noise("noise-train", train.n);
        let (train_made, valid_made) =
            (self.on_card.make(&train), valid.as_ref().and_then(|valid| self.on_card.make(valid)));
        let train = as_made_batch(&train, train_made.as_ref(), &train_noise);
        let valid_noise = valid.as_ref().map_or(Vec::new(), |valid| noise("noise-valid", valid.n));
        let valid = valid.as_ref().map(|valid| as_made_batch(valid, valid_made.as_ref(), &valid_noise));
        if self.spec.search.method == Method::RsWs {
            return random_ws::step(self, state, train, position);
        }
        methods::step(self, state, train, valid, position)
    }

    fn measure(&self, state: &State, measuring: &mut Measuring<'_>) -> Result<Option<Measured>, TrainError> {
        let (spec, epoch) = (&self.spec, state.at.epoch);
        let evaluated = methods::evaluated(self, state);
        // That of random search is its own child.
        let is_drawn = spec.search.method == Method::RsWs;
        let (mut found, mut oneshot, mut child) = (None, None, None);
        if is_measured(spec, epoch) {
            found = measuring.phase("eigenvalue", "eigenvalue", |stop| {
                eigenvalue(self, state, epoch, spec.hessian.tolerance, stop)
            })?;
        }
        if spec.eval.oneshot {
            oneshot = measuring.phase("accuracy of the supernet", "supernet accuracy", |stop| match &evaluated {
                Some(p) => score_mixed(self, state, epoch, stop, p),
                None => score_supernet(self, state, epoch, stop),
            })?;
        }
        let decided = match spec.search.method.selects() {
            true => selection::decide(self, state, measuring)?,
            false => Some(Vec::new()),
        };
        let Some(decided) = decided.filter(|_| !measuring.is_stopped()) else { return Ok(None) };
        let at = &state.at;
        let genotype = match is_drawn {
            true => random_ws::genotype(&self.space, state.extra.by_type()),
            false => selection::genotype(self, state, &decided),
        };
        if spec.eval.child && !is_drawn {
            child = measuring.phase("accuracy of its child", "child accuracy", |stop| {
                score_child(self, state, &genotype, epoch, stop)
            })?;
            if measuring.is_stopped() {
                return Ok(None);
            }
        }
        let is_learned = spec.search.method.learns_alphas() && !methods::warms_up(self, epoch);
        let alpha_loss = is_learned.then(|| at.side_loss / at.step as f64);
        let [normal, reduce] = state.extra.by_type().map(<[f32]>::to_vec);
        let [betas_normal, betas_reduce] = state.extra.betas().unwrap_or_default().map(<[f32]>::to_vec);
        let has_reduction = self.space.topology.has_reduction_cells();
        let [eigenvalue, eigenvalue_bound, eigenvalue_error] = found.map_or([None; 3], |found| found.recorded());
        let record = EpochRecord {
            attempt: at.attempt,
            epoch,
            lr: self.lr(epoch),
            l2: state.sgd.l2,
            drop_path: self.drop_path(epoch),
            cutout_prob: match spec.augment.cutout_length {
                0 => 0.0,
                _ => augment(&spec.augment, within(spec, epoch), spec.search.epochs).cutout_prob,
            },
            train_loss: at.mean_loss(),
            train_accuracy: at.count().mean(),
            alpha_loss: alpha_loss.unwrap_or(f64::NAN),
            valid_loss: oneshot.map(|s| s.loss),
            valid_accuracy: oneshot.map(|s| s.accuracy),
            child_loss: child.map(|s| s.loss),
            child_accuracy: child.map(|s| s.accuracy),
            eigenvalue,
            eigenvalue_bound,
            eigenvalue_error,
            skip_connects_normal: genotype.n_uses(CellType::Normal, Op::SkipConnect),
            skip_connects_reduce: has_reduction.then(|| genotype.n_uses(CellType::Reduce, Op::SkipConnect)),
            parameterless_normal: Some(genotype.n_parameterless(CellType::Normal)),
            parameterless_reduce: has_reduction.then(|| genotype.n_parameterless(CellType::Reduce)),
            genotype: genotype.to_string(),
            alphas_normal: normal,
            alphas_reduce: reduce,
            betas_normal,
            betas_reduce,
        };
        // Before the state is saved over the last good one.
        let losses = [Some(record.train_loss), alpha_loss, record.valid_loss, record.child_loss];
        if !losses.iter().flatten().all(|l| l.is_finite())
            || !state.weights.iter().chain(&state.extra.alphas).all(|v| v.is_finite())
        {
            return Err(diverged("validation", &state.at));
        }
        let history = is_measured(spec, epoch).then_some(record.eigenvalue);
        let error = record.eigenvalue_error;
        let decided = decided.into_iter().map(|selected| {
            let reason = selected.reason.clone();
            (Event::Selected(selected), reason)
        });
        Ok(Some(Measured { event: Event::Epoch(Box::new(record)), history, error, decided: decided.collect() }))
    }

    fn keep(&self, state: &mut State, measured: &Measured) {
        if self.spec.search.method.selects() {
            selection::keep(self, state, measured.decided.iter().map(|(event, _)| event));
        }
    }

    fn judge(&self, state: &State) -> Verdict {
        if let Some(verdict) = methods::verdict(self, state) {
            return verdict;
        }
        let decision = decide_after(&self.spec, state, state.at.epoch);
        told(&decision, &state.at, state.sgd.l2)
    }

    fn earliest_return(&self, state: &State) -> Option<usize> {
        earliest_after(&self.spec, state)
    }

    fn keeps_all(&self) -> bool {
        self.spec.eval.keep_checkpoints
    }

    fn finish(
        &self,
        dir: &mut RunDir,
        state: &State,
        stop: Option<(usize, String)>,
        measuring: &mut Measuring<'_>,
    ) -> Result<Option<Found>, TrainError> {
        let found = match self.spec.search.method {
            Method::RsWs => self.choose(dir, state, measuring)?,
            _ => Some(self.look_up(dir, state, stop)?),
        };
        let Some(found) = found else { return Ok(None) };
        let Found { genotype, epoch, reason } = &found;
        let json = serde_json::to_value(genotype).expect("a genotype is JSON");
        dir.write_genotype(&genotype.to_string(), &json).map_err(TrainError::failed)?;
        let attempt = state.at.attempt;
        let finished = Finished { reason: reason.clone(), attempt, epoch: *epoch, genotype: genotype.to_string() };
        dir.append_event(&Event::Finished(finished)).map_err(TrainError::failed)?;
        dir.mark_done(reason).map_err(TrainError::failed)?;
        Ok(Some(found))
    }
}

impl Search {
    /// The result of a search with alphas: the genotype of the record of the epoch, in this lineage.
    fn look_up(&self, dir: &RunDir, state: &State, stop: Option<(usize, String)>) -> Result<Found, TrainError> {
        let events = dir.view().events().map_err(TrainError::failed)?;
        let (epoch, reason) = match (stop, events.last()) {
            (Some(stop), _) => stop,
            (None, Some(Event::Decision(d))) if d.kind == DecisionKind::Stop => (d.return_to, d.reason.clone()),
            (None, _) => (state.at.epoch, self.all_done()),
        };
        let record = events.iter().rev().find_map(|e| match e {
            Event::Epoch(record) if record.epoch == epoch => Some(record),
            _ => None,
        });
        let record = record.ok_or_else(|| TrainError::Failed(format!("the events of epoch {epoch} are gone")))?;
        let genotype = match state.extra.projection {
            Some(_) => state.extra.genotype(&self.space),
            None if !record.betas_normal.is_empty() => rdarts_space::derive_with_edges(
                &self.space,
                [&record.alphas_normal, &record.alphas_reduce],
                [&record.betas_normal, &record.betas_reduce],
            ),
            None => rdarts_space::derive(&self.space, &record.alphas_normal, &record.alphas_reduce),
        };
        Ok(Found { genotype, epoch, reason })
    }

    /// The result of random search with weight sharing. What the samples are worth is saved with the last state, so that
    /// none is scored again.
    fn choose(
        &self,
        dir: &mut RunDir,
        state: &State,
        measuring: &mut Measuring<'_>,
    ) -> Result<Option<Found>, TrainError> {
        let mut save = |state: &State| {
            dir.save_checkpoint(&state.at.name(), state.to_checkpoint(self)).map_err(TrainError::failed)
        };
        let chosen = measuring.phase("accuracies of random architectures", "random architectures", |stop| {
            random_ws::choose(self, &mut state.clone(), stop, &mut save)
        })?;
        Ok(chosen.map(|chosen| Found {
            genotype: chosen.genotype,
            epoch: state.at.epoch,
            reason: format!("{} {}", self.all_done(), chosen.reason),
        }))
    }

    fn all_done(&self) -> String {
        let n = self.space.n_decisions();
        let all = match self.spec.search.epochs {
            1 => "The only epoch is done".to_string(),
            epochs => format!("All {epochs} epochs are done"),
        };
        match self.spec.search.method.selects() {
            true if self.space.cell_types().len() == 1 => format!("{all}, and then {n} decisions."),
            true => format!("{all}, and then {n} decisions on each of the two cells."),
            false => format!("{all}."),
        }
    }
}
