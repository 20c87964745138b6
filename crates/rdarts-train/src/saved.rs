//! The checkpoint of a state.
//!
//! Tensors in the file: `weights`, `momentum`, `running` where a network has running state, and those of the job; all else
//! is JSON. A state read from a file that was written from a state equals it bit for bit.

use rdarts_run::{Checkpoint, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::TrainError;
use crate::job::Job;
use crate::state::{Position, State, Unpacked};

impl<X> State<X> {
    /// The file's contents.
    pub fn to_checkpoint(&self, job: &(impl Job<Extra = X> + ?Sized)) -> Checkpoint {
        let (spec, data) = (job.spec_text(), job.fingerprint().to_string());
        let packed = job.pack(&self.extra);
        let scalars = Scalars { at: self.at.clone(), l2: self.sgd.l2, spec, data, extra: packed.scalars };
        let own = [("weights", &self.weights), ("momentum", &self.sgd.buffer), ("running", &self.running)];
        let own = own.into_iter().filter(|(name, v)| *name != "running" || !v.is_empty());
        let tensors = own.map(|(name, v)| (name, &v[..])).chain(packed.tensors);
        let tensors = tensors.map(|(name, v)| (name.to_string(), Tensor::f32([v.len()], v.to_vec()))).collect();
        let state = serde_json::to_value(scalars).expect("counters and finite sums are JSON");
        Checkpoint { events_bytes: 0, events_lines: String::new(), state, tensors }
    }

    /// The state that was written.
    ///
    /// # Errors
    /// If the file does not belong to this run; `name` is named then.
    pub fn from_checkpoint(
        job: &(impl Job<Extra = X> + ?Sized),
        name: &str,
        mut checkpoint: Checkpoint,
    ) -> Result<Self, TrainError> {
        let scalars = serde_json::from_value::<Scalars>(checkpoint.state.take());
        let mut file = Unpacked { name, checkpoint, scalars: Map::new() };
        let Scalars { at, l2, spec, data, extra } =
            scalars.map_err(|e| file.wrong(&format!("its state is that of another kind of run ({e})")))?;
        file.scalars = extra;
        if !job.is_of(&spec) {
            return Err(file.wrong("spec.toml has been changed since the run began; start a new one with the new spec"));
        }
        if data != job.fingerprint() {
            return Err(file.wrong("the images of the data set are not those that the run began with"));
        }
        let mut state = job.blank();
        let (n, n_momentum) = (state.weights.len(), state.sgd.buffer.len());
        (state.at, state.sgd.l2) = (at, l2);
        state.weights = file.tensor("weights", n)?.into();
        state.sgd.buffer = file.tensor("momentum", n_momentum)?.into();
        if !state.running.is_empty() {
            state.running = file.tensor("running", state.running.len())?.into();
        }
        job.unpack(&mut state.extra, &mut file)?;
        match file.scalars.keys().next() {
            Some(key) => Err(file.wrong(&format!("its state has the key `{key}`, which this program does not know"))),
            None => Ok(state),
        }
    }
}

/// What every state has in JSON; a job's own keys stand beside them.
#[derive(Serialize, Deserialize)]
struct Scalars {
    at: Position,
    l2: f64,
    /// The spec that the state belongs to, as text.
    spec: String,
    /// Fingerprint of the images.
    data: String,
    #[serde(flatten)]
    extra: Map<String, Value>,
}
