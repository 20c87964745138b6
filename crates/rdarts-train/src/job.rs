//! What a run does: the steps of an epoch, what is measured after it, and what follows from that.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rdarts_data::DataError;
use rdarts_net::Engine;
use rdarts_run::{Event, RunDir};

use crate::error::TrainError;
use crate::state::{Packed, Position, State, Step, Unpacked};

/// A kind of run, made concrete.
pub trait Job {
    /// What is learned beside the weights.
    type Extra;
    /// The images of one step.
    type Batch: Send + 'static;
    /// What a finished run has found.
    type Found;

    /// How long the run is.
    fn length(&self) -> Length;

    /// What computes; a job that does not say it computes on the CPU.
    fn engine(&self) -> Option<&Engine> {
        None
    }

    /// The spec as text, without what may differ between two machines; a checkpoint names it.
    fn spec_text(&self) -> String;

    /// Fingerprint of the images; a checkpoint names it.
    fn fingerprint(&self) -> &str;

    /// Whether a spec, as text, that a checkpoint names is the one of this run.
    fn is_of(&self, spec: &str) -> bool;

    /// The state before the first step, and the event that says so.
    fn begin(&self) -> (Event, State<Self::Extra>);

    /// A state of the right lengths, whose values mean nothing.
    fn blank(&self) -> State<Self::Extra>;

    /// What is saved of what is learned beside the weights.
    fn pack<'a>(&self, extra: &'a Self::Extra) -> Packed<'a>;

    /// Reads what [`Job::pack`] has saved.
    ///
    /// # Errors
    /// If it does not belong to this run.
    fn unpack(&self, extra: &mut Self::Extra, file: &mut Unpacked<'_>) -> Result<(), TrainError>;

    /// The batches of the epoch that are left.
    fn batches(&self, at: &Position) -> Box<dyn Iterator<Item = Result<Self::Batch, DataError>> + Send>;

    /// One step.
    ///
    /// # Errors
    /// If the loss is no number any more.
    fn step(&self, state: &mut State<Self::Extra>, batch: Self::Batch) -> Result<Step, TrainError>;

    /// Measures an epoch whose steps are done; `None` if the flag of `measuring` was set meanwhile.
    ///
    /// # Errors
    /// If the images cannot be read any more, or what came out is no number.
    fn measure(
        &self,
        state: &State<Self::Extra>,
        measuring: &mut Measuring<'_>,
    ) -> Result<Option<Measured>, TrainError>;

    /// Keeps what the state needs of an epoch that was just measured, which is the last of its history, and does what
    /// was decided on it.
    fn keep(&self, _state: &mut State<Self::Extra>, _measured: &Measured) {}

    /// What follows from what was measured so far.
    fn judge(&self, state: &State<Self::Extra>) -> Verdict;

    /// The earliest epoch that the run may still go back to; `None`: to none.
    fn earliest_return(&self, _state: &State<Self::Extra>) -> Option<usize> {
        None
    }

    /// Whether all checkpoints stay.
    fn keeps_all(&self) -> bool {
        false
    }

    /// Writes down what was found. `stop`: the epoch that is the result, and why; `None` if all epochs are done, or if
    /// the run was stopped before it could write down its end, which the last event tells then. `None` if the flag of
    /// `measuring` was set meanwhile: then it is called again when the run goes on.
    ///
    /// # Errors
    /// If the directory cannot be written, or the images cannot be read any more.
    fn finish(
        &self,
        dir: &mut RunDir,
        state: &State<Self::Extra>,
        stop: Option<(usize, String)>,
        measuring: &mut Measuring<'_>,
    ) -> Result<Option<Self::Found>, TrainError>;
}

/// How long a run is.
#[derive(Clone, Copy, Debug)]
pub struct Length {
    /// Epochs.
    pub epochs: usize,
    /// Steps of an epoch.
    pub steps: usize,
}

/// What was measured after an epoch.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The record.
    pub event: Event,
    /// What goes into [`Position::history`], if anything.
    pub history: Option<Option<f64>>,
    /// What goes into [`Position::errors`], if anything.
    pub error: Option<f64>,
    /// What was decided on other measurements, with the sentence for each: written down behind the record.
    pub decided: Vec<(Event, String)>,
}

/// What follows from an epoch.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// How the run goes on.
    pub next: Next,
    /// What is written down of it.
    pub event: Option<Event>,
    /// The sentence for it.
    pub reason: String,
    /// Whether people want to read it.
    pub is_news: bool,
}

/// How a run goes on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Next {
    /// With the next epoch.
    On,
    /// Not any more: an epoch is the result.
    Stop {
        /// The epoch.
        epoch: usize,
    },
    /// From the end of an earlier epoch, with another L2 factor and other random numbers.
    Back {
        /// The epoch.
        epoch: usize,
        /// The L2 factor of the weights from then on.
        l2: f64,
    },
}

/// How a call of the loop ended.
#[derive(Clone, Debug)]
pub enum Outcome<F> {
    /// The run is over.
    Finished(F),
    /// It was asked to stop and saved itself.
    Interrupted {
        /// The epoch it is in.
        epoch: usize,
        /// Steps made in it.
        step: usize,
    },
}

/// Told what happens, as it happens; what it is not interested in it need not hear.
pub trait Observer {
    /// A step was made.
    fn step(&mut self, _progress: &Progress) {}
    /// Something that takes longer than a step begins, for example `eigenvalue`.
    fn phase(&mut self, _name: &'static str) {}
    /// The record of an epoch, or what followed from it, was written down.
    fn event(&mut self, _event: &Event) {}
    /// A verdict that people want to read.
    fn news(&mut self, _epoch: usize, _reason: &str) {}
}

/// Nobody watches.
impl Observer for () {}

/// Where a run is after a step.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Rollbacks so far.
    pub attempt: usize,
    /// Epoch, from 0.
    pub epoch: usize,
    /// Steps made in the epoch.
    pub step: usize,
    /// How long the run is.
    pub length: Length,
    /// What came out of the step.
    pub last: Step,
}

/// Who measures tells what takes long, and stops when asked to.
pub struct Measuring<'a> {
    pub(crate) observer: &'a mut dyn Observer,
    /// Set from outside to end it.
    pub stop: &'a AtomicBool,
    pub(crate) seconds: &'a mut BTreeMap<String, f64>,
}

impl Measuring<'_> {
    /// Does something that takes longer than a step: `name` for those who watch, `key` for the record of times.
    pub fn phase<T>(&mut self, name: &'static str, key: &str, work: impl FnOnce(&AtomicBool) -> T) -> T {
        self.observer.phase(name);
        let begin = Instant::now();
        let done = work(self.stop);
        self.seconds.insert(key.into(), begin.elapsed().as_secs_f64());
        done
    }

    /// Whether the end was asked for.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
