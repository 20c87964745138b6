//! Why a run directory is refused or not written to.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rdarts_text::{escaped, shown};

use crate::checkpoint::{CheckpointError, CheckpointName};
use crate::event::EventError;
use crate::spec::SpecError;
use crate::text::{TextError, for_shell, is_system};

/// Why a run directory was refused or not written to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The directory does not hold a run.
    #[error("`{}` is not a run directory of rdarts: {problem}", shown(path))]
    NotARun {
        /// The directory.
        path: PathBuf,
        /// What shows it.
        problem: String,
    },
    /// A new run needs a directory.
    #[error("`{}` is a file: name a new directory for the run", shown(path))]
    IsAFile {
        /// The file.
        path: PathBuf,
    },
    /// A new run needs an empty directory.
    #[error("`{}` is not empty (it holds `{}`): name a new directory for the run", shown(path), escaped(found))]
    NotEmpty {
        /// The directory.
        path: PathBuf,
        /// One of the entries.
        found: String,
    },
    /// The run is of another kind than is needed.
    #[error("`{}` holds a run of kind `{}`, but this needs one of kind `{wanted}`", shown(path), escaped(found))]
    OtherKind {
        /// The directory.
        path: PathBuf,
        /// Its kind.
        found: String,
        /// The kind that is needed.
        wanted: &'static str,
    },
    /// There is a run already.
    #[error(
        "`{}` already holds a run{}: name a new directory",
        shown(path),
        if *is_done { ", which has finished".to_string() } else { format!(" that `rdarts resume {}` goes on with", for_shell(path)) }
    )]
    IsARun {
        /// The directory.
        path: PathBuf,
        /// Whether it has finished.
        is_done: bool,
    },
    /// The run has ended.
    #[error("the run in `{}` has finished, there is nothing to resume", shown(path))]
    Finished {
        /// The directory.
        path: PathBuf,
    },
    /// Another process works in the directory.
    #[error("the run in `{}` is locked by another process{}", shown(path), of_process(by.as_deref(), *free_in))]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The number of the process and its machine, if the lock file tells them.
        by: Option<String>,
        /// When a process that cannot be asked counts as ended, should it show no sign of life until then.
        free_in: Option<Duration>,
    },
    /// Another process has taken the directory from this one, which it took for ended.
    #[error("the run in `{}` was taken over by another process, which goes on with it: this one ends", shown(path))]
    TakenOver {
        /// The directory.
        path: PathBuf,
    },
    /// An empty name.
    #[error("the name of the run directory is empty: name a new directory")]
    NoName,
    /// The log is not the one that the newest checkpoint counts on.
    #[error(
        "`{}`, line {line}, {problem}, so the log does not fit the checkpoint {checkpoint}: put the file back as it \
         was written, or begin a new run with `{again}`",
        shown(log)
    )]
    Log {
        /// The log.
        log: PathBuf,
        /// Its first bad line, counted from 1.
        line: usize,
        /// What is wrong with the line.
        problem: String,
        /// The checkpoint.
        checkpoint: CheckpointName,
        /// The command line that begins another run like it.
        again: String,
    },
    /// The log, which alone tells how far the run is, is not as it was written.
    #[error(
        "`{}`, line {line}, {problem}: put the file back as it was written, or begin a new run with `{again}`",
        shown(log)
    )]
    Events {
        /// The log.
        log: PathBuf,
        /// Its first bad line, counted from 1.
        line: usize,
        /// What is wrong with the line.
        problem: String,
        /// The command line that begins another run like it.
        again: String,
    },
    /// There is nothing to go on from.
    #[error("{problem}: begin a new run with `{again}`")]
    NoCheckpoint {
        /// What there is instead.
        problem: String,
        /// The command line that begins another run like it.
        again: String,
    },
    /// A file of the directory that rdarts did not write like this.
    #[error("`{}` is not as it was written; it only records the machine, so it may be deleted", shown(path))]
    Environment {
        /// The file.
        path: PathBuf,
    },
    /// A picture of a run directory that is none.
    #[error("`{}` is no PNG file of at most {most} bytes: delete it and the others beside it", shown(path))]
    Picture {
        /// The file.
        path: PathBuf,
        /// The largest size of such a picture in bytes.
        most: u64,
    },
    /// A run cannot write any more.
    #[error("{reason}: {remedy}, then `rdarts resume {}` goes on", for_shell(path))]
    Stopped {
        /// The run directory.
        path: PathBuf,
        /// What could not be written.
        reason: Box<RunError>,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A newer program made the directory.
    #[error("`{}` has format {found}, and this program knows up to {known}; use a newer rdarts", shown(path))]
    TooNew {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The latest one that is known.
        known: u32,
    },
    /// The names of checkpoints must grow.
    #[error("the checkpoint {name} would not be the newest in `{}`, where {newest} is", shown(path))]
    OldSequence {
        /// The directory of the checkpoints.
        path: PathBuf,
        /// The name that was refused.
        name: CheckpointName,
        /// The newest one.
        newest: CheckpointName,
    },
    /// The system cannot do it.
    #[error("cannot {action} `{}`: {source}", shown(path))]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A text file was refused.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The spec was refused.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A checkpoint was refused or not written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A file of lines was refused.
    #[error(transparent)]
    Event(#[from] EventError),
}

impl RunError {
    /// Whether the system refuses, and not the content of a file or the name of a directory.
    pub fn is_system(&self) -> bool {
        match self {
            RunError::Io { source, .. } => is_system(source),
            RunError::Stopped { .. } | RunError::TakenOver { .. } => true,
            RunError::Text(err) => err.is_system(),
            RunError::Spec(err) => err.is_system(),
            RunError::Checkpoint(err) => err.is_system(),
            RunError::Event(err) => err.is_system(),
            _ => false,
        }
    }

    /// Says of what kept a run from writing how it goes on.
    pub(crate) fn stopped(self, path: &Path) -> RunError {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        let source = match &self {
            RunError::Io { source, .. } | RunError::Checkpoint(CheckpointError::Io { source, .. }) => source,
            _ => return self,
        };
        let remedy = match source.kind() {
            StorageFull => "free some space on that disk",
            QuotaExceeded => "free some of your quota there",
            FileTooLarge => "raise the limit of the size of files (`ulimit -f`)",
            _ => "once that is mended",
        };
        RunError::Stopped { path: path.to_path_buf(), reason: Box::new(self), remedy }
    }
}

/// A failure of the system while something was done with a file.
pub(crate) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RunError + use<> {
    let path = path.to_path_buf();
    move |source| RunError::Io { action, path, source }
}

/// Who has the lock, and when it counts as given up.
fn of_process(by: Option<&str>, free_in: Option<Duration>) -> String {
    let by = by.map_or(String::new(), |by| format!(" ({by})"));
    match free_in {
        None => by,
        Some(left) => format!("{by}; if that was killed, try again in {} min", left.as_secs().div_ceil(60).max(1)),
    }
}
