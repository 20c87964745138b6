//! What TensorBoard follows while a run goes on.

use std::path::Path;
use std::time::SystemTime;

use rdarts_data::shown;
use rdarts_report::tensorboard::Writer;
use rdarts_run::Event;

use crate::exit::say;

/// A file of TensorBoard, or none. What cannot be written ends it with a warning: the run itself goes on.
#[derive(Default)]
pub struct Board(Option<Writer>);

impl Board {
    /// Begins a file in a directory, which is made if it is not there.
    pub fn create(dir: &Path) -> Self {
        let made = Writer::create(dir, SystemTime::now());
        Self(made.map_err(|e| say!("warning: cannot write for TensorBoard into `{}`: {e}", shown(dir))).ok())
    }

    /// Writes what an event says.
    pub fn event(&mut self, event: &Event) {
        let Some(writer) = &mut self.0 else { return };
        if let Err(e) = writer.event(event, SystemTime::now()) {
            say!("warning: nothing more is written for TensorBoard: {e}");
            self.0 = None;
        }
    }

    /// Writes what a run ended with, given all its events: those of epochs have been written.
    pub fn end(&mut self, events: &[Event]) {
        let is_written = |event: &&Event| {
            use Event::{DisparityEpoch, DisparityTrainEpoch, Epoch, TrainEpoch};
            matches!(event, Epoch(_) | TrainEpoch(_) | DisparityEpoch(_) | DisparityTrainEpoch(_))
        };
        events.iter().filter(|event| !is_written(event)).for_each(|event| self.event(event));
    }
}
