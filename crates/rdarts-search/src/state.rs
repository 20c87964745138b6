//! Everything that changes during a search, and its checkpoint.
//!
//! The generators are not here: they are functions of (seed, attempt, epoch, step). Tensors in the file: `weights`,
//! `momentum`, `alphas_normal`, `alphas_reduce`, `adam_m`, `adam_v`; all else is JSON. A state read from a file
//! that was written from a state equals it bit for bit.

use std::collections::BTreeMap;

use rdarts_net::Alphas;
use rdarts_rng::Stream;
use rdarts_run::{Checkpoint, CheckpointName, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::SearchError;
use crate::monitor::Measurement;
use crate::optim::{Adam, Sgd};
use crate::problem::Problem;

/// A search between two steps.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Counters and sums.
    pub at: Position,
    /// All weights of the supernet.
    pub weights: Vec<f32>,
    /// Architecture parameters, normal then reduce.
    pub alphas: Vec<f32>,
    /// Optimiser of the weights; its `l2` is what DARTS-ADA raises.
    pub sgd: Sgd,
    /// Optimiser of the alphas.
    pub adam: Adam,
}

/// Where a search is, and what it has added up in this epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Rollbacks so far.
    pub attempt: usize,
    /// Rollbacks before the newest epoch of these weights was trained: one less right after a rollback.
    pub trained_attempt: usize,
    /// The epoch, counted from 0: begun, or next if `step` is 0.
    pub epoch: usize,
    /// Steps made in it.
    pub step: usize,
    /// Weight steps so far, those that were rolled back included.
    pub total_steps: u64,
    /// Whether the last epoch is over.
    pub finished: bool,
    /// Sum of the losses of the weight steps of this epoch, times their images.
    pub train_loss: f64,
    /// Images of them classified correctly.
    pub train_correct: usize,
    /// Images of them.
    pub train_seen: usize,
    /// Sum of the losses of the alpha steps of this epoch.
    pub alpha_loss: f64,
    /// Epochs and eigenvalues measured so far; `None`: it was not a finite number.
    pub history: Vec<(usize, Option<f64>)>,
}

/// The rest of the optimisers, as JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scalars {
    at: Position,
    l2: f64,
    adam_t: u64,
    /// The spec that the state belongs to, as text.
    spec: String,
    /// Fingerprint of the images.
    data: String,
}

impl State {
    /// The beginning of a search.
    pub fn new(problem: &Problem) -> Self {
        let (spec, [normal, reduce]) = (&problem.spec, problem.n_alphas());
        let mut stream = Stream::new(spec.seed, "alphas", 0);
        let alphas: Vec<f32> = (0..normal + reduce).map(|_| (spec.alphas.init_std * stream.normal()) as f32).collect();
        let weights = problem.net.init(spec.seed);
        let at = Position {
            attempt: 0,
            trained_attempt: 0,
            epoch: 0,
            step: 0,
            total_steps: 0,
            finished: false,
            train_loss: 0.0,
            train_correct: 0,
            train_seen: 0,
            alpha_loss: 0.0,
            history: Vec::new(),
        };
        let sgd = Sgd::new(weights.len(), spec.weights.momentum, spec.weights.l2);
        let adam = adam(problem, alphas.len());
        Self { at, weights, alphas, sgd, adam }
    }

    /// The alphas as the network wants them.
    pub fn network_alphas(&self, problem: &Problem) -> Alphas {
        let (normal, reduce) = self.alphas.split_at(problem.n_alphas()[0]);
        let widen = |v: &[f32]| v.iter().map(|v| f64::from(*v)).collect();
        Alphas::from([widen(normal), widen(reduce)])
    }

    /// The measurements so far.
    pub fn measurements(&self) -> Vec<Measurement> {
        let measurement = |(epoch, value): &(usize, Option<f64>)| Measurement {
            epoch: *epoch,
            eigenvalue: value.unwrap_or(f64::NAN),
        };
        self.at.history.iter().map(measurement).collect()
    }

    /// Forgets the sums of an epoch.
    pub fn begin_epoch(&mut self, epoch: usize) {
        let at = &mut self.at;
        (at.epoch, at.step) = (epoch, 0);
        (at.train_loss, at.train_correct, at.train_seen, at.alpha_loss) = (0.0, 0, 0, 0.0);
    }

    /// The name of this state's checkpoint: of the epoch that is over, or of the one that is under way.
    pub fn name(&self) -> CheckpointName {
        let at = &self.at;
        let (epoch, step) = if at.finished {
            (at.epoch, None)
        } else if at.step == 0 && at.epoch > 0 {
            (at.epoch - 1, None)
        } else {
            (at.epoch, Some(at.step))
        };
        CheckpointName { sequence: at.total_steps, epoch, step }
    }

    /// The file's contents.
    pub fn to_checkpoint(&self, problem: &Problem) -> Checkpoint {
        let scalars = Scalars {
            at: self.at.clone(),
            l2: self.sgd.l2,
            adam_t: self.adam.t,
            spec: problem.spec_without_places().to_toml(),
            data: problem.fingerprint.clone(),
        };
        let (normal, reduce) = self.alphas.split_at(problem.n_alphas()[0]);
        let tensors = [
            ("weights", &self.weights[..]),
            ("momentum", &self.sgd.buffer),
            ("alphas_normal", normal),
            ("alphas_reduce", reduce),
            ("adam_m", &self.adam.m),
            ("adam_v", &self.adam.v),
        ];
        let tensors: BTreeMap<String, Tensor> =
            tensors.into_iter().map(|(name, v)| (name.to_string(), Tensor::f32([v.len()], v.to_vec()))).collect();
        let state = serde_json::to_value(scalars).expect("counters and finite sums are JSON");
        Checkpoint { events_bytes: 0, events_lines: String::new(), state, tensors }
    }

    /// The state that was written.
    ///
    /// # Errors
    /// If the file does not belong to this problem; `name` is named then.
    pub fn from_checkpoint(problem: &Problem, name: &str, checkpoint: Checkpoint) -> Result<Self, SearchError> {
        let wrong =
            |what: &str| SearchError::Input(format!("the checkpoint {name} does not belong to this run: {what}"));
        let Scalars { at, l2, adam_t, spec, data } = serde_json::from_value(checkpoint.state)
            .map_err(|e| wrong(&format!("its state is not a search's ({e})")))?;
        // Compared as values: an earlier program may have written fewer keys.
        if rdarts_run::SearchSpec::from_complete("its spec", &spec).ok() != Some(problem.spec_without_places()) {
            return Err(wrong(
                "spec.toml has been changed since the search began; start a new search with the new spec",
            ));
        }
        if data != problem.fingerprint {
            return Err(wrong("the images of the data set are not those that the search began with"));
        }
        let mut tensors = checkpoint.tensors;
        let mut take = |key: &str, len: usize| {
            let tensor = tensors.remove(key).ok_or_else(|| wrong(&format!("it has no tensor `{key}`")))?;
            match tensor.into_data() {
                rdarts_run::TensorData::F32(v) if v.len() == len => Ok(v),
                _ => Err(wrong(&format!(
                    "its tensor `{key}` does not hold {len} numbers, so the space or the network has been changed"
                ))),
            }
        };
        let ([normal, reduce], n) = (problem.n_alphas(), problem.net.n_parameters());
        let weights = take("weights", n)?;
        let mut sgd = Sgd::new(0, problem.spec.weights.momentum, l2);
        sgd.buffer = take("momentum", n)?;
        let mut alphas = take("alphas_normal", normal)?;
        alphas.extend(take("alphas_reduce", reduce)?);
        let mut adam = adam(problem, 0);
        (adam.t, adam.m, adam.v) = (adam_t, take("adam_m", normal + reduce)?, take("adam_v", normal + reduce)?);
        Ok(Self { at, weights, alphas, sgd, adam })
    }
}

fn adam(problem: &Problem, n: usize) -> Adam {
    let spec = &problem.spec.alphas;
    let mut adam = Adam::new(n, spec.lr, spec.l2);
    (adam.beta1, adam.beta2) = (spec.beta1, spec.beta2);
    adam
}
