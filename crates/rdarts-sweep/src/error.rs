//! Why a plan or the directory of a sweep is refused.

use std::io;
use std::path::PathBuf;

use rdarts_run::{RunError, SpecError, TextError, is_system};
use rdarts_text::shown;

/// Why a sweep is refused, in one sentence.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// Something in the plan.
    #[error("{file}, line {line}: {problem}")]
    Line {
        /// The plan as sentences call it.
        file: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// The plan as a whole, or a member of it.
    #[error("{file}: {problem}")]
    Plan {
        /// The plan as sentences call it.
        file: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// The directory of the sweep.
    #[error("{0}")]
    Folder(String),
    /// The spec of a member.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A file that cannot be read.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A directory of a member.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The system refuses.
    #[error("cannot {action} `{}`: {source}", shown(path))]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl SweepError {
    /// Whether the system refuses, and not what the user has written.
    pub fn is_system(&self) -> bool {
        match self {
            Self::Io { source, .. } => is_system(source),
            Self::Spec(e) => e.is_system(),
            Self::Text(e) => e.is_system(),
            Self::Run(e) => e.is_system(),
            _ => false,
        }
    }
}
