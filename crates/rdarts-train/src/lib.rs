//! A network is trained over epochs: optimisers, schedules, and the loop over a step, whatever the step is.
//!
//! Nothing here knows what is learned beside the weights, or why: a search is a [`Job`] with a bilevel step, a training
//! from scratch one with a plain step. The loop makes batches ahead, counts, saves, goes back, goes on after a crash, and
//! deletes what no one can ask for any more.
//!
//! Reading order: [`error`](TrainError), [`memory`], [`schedule`], [`optim`], [`known_sets`] (what specs know of
//! data sets), [`images`] and [`pairs`] (the data of a spec),
//! [`streams`] (what is random), [`state`] (what changes), [`retention`] (which checkpoints stay), [`job`] (what a run
//! does), [`best`] (which epoch is the result), `saved` (its checkpoints), [`epochs`] (the loop); then
//! [`tensors`] and [`model`] (a trained network in one file) and the jobs that live here: [`training`] (a network from
//! scratch) and [`disparity`] (one that estimates disparity).

mod error;

pub mod memory;

pub mod schedule;

pub mod optim;

pub mod known_sets;

pub mod images;

pub mod pairs;

pub mod maps;

pub mod streams;

pub mod state;

pub mod retention;

pub mod job;

pub mod best;

mod saved;

pub mod epochs;

pub mod tensors;

pub mod model;

pub mod training;

pub mod disparity;

pub use epochs::{Pace, pace, resume, start};
pub use error::TrainError;
pub use images::{ImageSet, SplitImages};
pub use job::{Job, Length, Measured, Measuring, Next, Observer, Outcome, Progress, Verdict};
pub use known_sets::KnownSets;
pub use maps::{ShownPairs, pair_pictures};
pub use model::Model;
pub use pairs::{PairBatch, PairSet};
pub use state::{Position, State, Step};
pub use streams::Streams;
pub use training::Training;
