//! Everything that changes during a run. The generators are not here: they are functions of (seed, attempt, epoch, step),
//! see [`crate::streams`].

use rdarts_net::{Count, Held};
use rdarts_run::{Checkpoint, CheckpointName, TensorData};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::TrainError;
use crate::optim::Sgd;

/// A run between two steps; `X` is what a job learns beside the weights.
#[derive(Clone, Debug, PartialEq)]
pub struct State<X> {
    /// Counters and sums.
    pub at: Position,
    /// All weights of the network.
    pub weights: Held,
    /// Their optimiser; without a buffer where a job has one of its own.
    pub sgd: Sgd,
    /// What follows the batches without being a parameter, such as the running statistics of a norm; empty if the network
    /// has none.
    pub running: Held,
    /// What the job learns beside.
    pub extra: X,
}

/// Where a run is, and what it has added up in this epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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
    /// Steps so far, those that were rolled back included.
    pub total_steps: u64,
    /// Whether the last epoch is over.
    pub finished: bool,
    /// Sum of the losses of the steps of this epoch, times their images.
    pub train_loss: f64,
    /// What the task counted of them.
    pub train_correct: f64,
    /// SplitImages of them.
    pub train_seen: usize,
    /// What was counted over, where that are not the images: pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_counted: Option<usize>,
    /// Sum of the other losses of the steps, such as those that alphas follow.
    #[serde(alias = "alpha_loss")]
    pub side_loss: f64,
    /// What was measured after epochs and decides how the run goes on; `None`: it was not a finite number.
    pub history: Vec<(usize, Option<f64>)>,
    /// Standard errors of the history, by epoch, where they decide too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<(usize, f64)>,
}

impl Position {
    /// Adds a step.
    pub fn add(&mut self, step: &Step) {
        if step.count.n != step.n || self.train_counted.is_some() {
            *self.train_counted.get_or_insert(self.train_seen) += step.count.n;
        }
        self.train_loss += step.loss * step.n as f64;
        self.train_correct += step.count.total;
        self.train_seen += step.n;
        self.side_loss += step.side_loss.unwrap_or(0.0);
        self.step += 1;
        self.total_steps += 1;
    }

    /// Mean loss of the epoch so far, over images.
    pub fn mean_loss(&self) -> f64 {
        self.train_loss / self.train_seen as f64
    }

    /// What the task counted in the epoch so far.
    pub fn count(&self) -> Count {
        Count { total: self.train_correct, n: self.train_counted.unwrap_or(self.train_seen) }
    }

    /// Forgets the sums of an epoch and begins another.
    pub fn begin_epoch(&mut self, epoch: usize) {
        (self.epoch, self.step) = (epoch, 0);
        (self.train_loss, self.train_correct, self.side_loss) = (0.0, 0.0, 0.0);
        (self.train_seen, self.train_counted) = (0, None);
    }

    /// The name of the checkpoint here: of the epoch that is over, or of the one that is under way.
    pub fn name(&self) -> CheckpointName {
        let (epoch, step) = if self.finished {
            (self.epoch, None)
        } else if self.step == 0 && self.epoch > 0 {
            (self.epoch - 1, None)
        } else {
            (self.epoch, Some(self.step))
        };
        CheckpointName { sequence: self.total_steps, epoch, step }
    }
}

/// What came out of a step.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Images of the step, or pairs of views.
    pub n: usize,
    /// Loss that the weights followed.
    pub loss: f64,
    /// What the task counted over them, or over their pixels.
    pub count: Count,
    /// Loss that something else followed.
    pub side_loss: Option<f64>,
}

/// What a job puts into a checkpoint beside the weights.
#[derive(Default)]
pub struct Packed<'a> {
    /// Numbers, by name.
    pub scalars: Map<String, Value>,
    /// Tensors, by name.
    pub tensors: Vec<(&'static str, &'a [f32])>,
}

/// What a job finds in a checkpoint beside the weights.
pub struct Unpacked<'a> {
    pub(crate) name: &'a str,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) scalars: Map<String, Value>,
}

impl Unpacked<'_> {
    /// Takes a tensor of so many values.
    ///
    /// # Errors
    /// If it is not there or has another length.
    pub fn tensor(&mut self, key: &str, len: usize) -> Result<Vec<f32>, TrainError> {
        let Some(tensor) = self.checkpoint.tensors.remove(key) else {
            return Err(self.wrong(&format!("it has no tensor `{key}`")));
        };
        match tensor.into_data() {
            TensorData::F32(v) if v.len() == len => Ok(v),
            _ => Err(self.wrong(&format!(
                "its tensor `{key}` does not hold {len} numbers, so the space or the network has been changed"
            ))),
        }
    }

    /// Takes a whole number.
    ///
    /// # Errors
    /// If it is not there.
    pub fn count(&mut self, key: &str) -> Result<u64, TrainError> {
        let value = self.scalars.remove(key).and_then(|value| value.as_u64());
        value.ok_or_else(|| self.wrong(&format!("its state has no whole number `{key}`")))
    }

    /// Takes a list of so many whole numbers.
    ///
    /// # Errors
    /// If it is not there or has another length.
    pub fn numbers(&mut self, key: &str, len: usize) -> Result<Vec<i64>, TrainError> {
        let value = self.scalars.remove(key);
        let numbers =
            value.as_ref().and_then(Value::as_array).map(|list| list.iter().filter_map(Value::as_i64).collect());
        let numbers: Option<Vec<i64>> = numbers.filter(|numbers: &Vec<i64>| numbers.len() == len);
        numbers.ok_or_else(|| self.wrong(&format!("its state has no list `{key}` of {len} whole numbers")))
    }

    pub(crate) fn wrong(&self, what: &str) -> TrainError {
        TrainError::Input(format!("the checkpoint {} does not belong to this run: {what}", self.name))
    }
}
