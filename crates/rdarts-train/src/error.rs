//! What can go wrong: what the user can mend, a run whose loss grew without bounds, and what failed during a run.

use std::fmt;

use rdarts_data::DataError;
use rdarts_run::{RunError, TextError};

/// A failure, one sentence.
#[derive(Debug)]
pub enum TrainError {
    /// A spec, file or directory is not as it should be.
    Input(String),
    /// The values of the spec make the loss grow without bounds; the checkpoint before is the last good state.
    Diverged(String),
    /// The system refuses, or the run could not go on; what it had done is on the disk.
    Failed(String),
}

impl TrainError {
    /// From anything that says in a sentence what is wrong with the user's input.
    pub fn input(e: impl fmt::Display) -> Self {
        Self::Input(e.to_string())
    }

    /// The same with other words.
    pub fn map(self, words: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::Input(text) => Self::Input(words(text)),
            Self::Diverged(text) => Self::Diverged(words(text)),
            Self::Failed(text) => Self::Failed(words(text)),
        }
    }

    /// From anything that says in a sentence why the run could not go on.
    pub fn failed(e: impl fmt::Display) -> Self {
        Self::Failed(e.to_string())
    }
}

impl fmt::Display for TrainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(text) | Self::Diverged(text) | Self::Failed(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for TrainError {}

/// The two kinds of an error that knows its own.
fn of_kind(is_system: bool, e: impl fmt::Display) -> TrainError {
    if is_system { TrainError::failed(e) } else { TrainError::input(e) }
}

impl From<RunError> for TrainError {
    fn from(e: RunError) -> Self {
        of_kind(e.is_system(), e)
    }
}

impl From<TextError> for TrainError {
    fn from(e: TextError) -> Self {
        of_kind(e.is_system(), e)
    }
}

impl From<DataError> for TrainError {
    fn from(e: DataError) -> Self {
        of_kind(e.is_system(), e)
    }
}
