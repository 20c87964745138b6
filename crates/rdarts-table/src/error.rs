//! What can be wrong with a table.

use std::io;
use std::path::PathBuf;

use rdarts_text::shown;

/// Why a table cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The system refuses.
    #[error("cannot {what} `{}`: {error}", shown(path))]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It is no table, or one of another version, or its space or spec is not right.
    #[error("`{}` {problem}", shown(path))]
    NotATable {
        /// The file.
        path: PathBuf,
        /// What is wrong: `is no table: …`.
        problem: String,
    },
    /// Two tables do not belong together.
    #[error("the tables do not belong together: {0}")]
    Differ(String),
}

impl TableError {
    /// Whether the system is the reason, and not a name that leads nowhere.
    pub fn is_system(&self) -> bool {
        matches!(self, Self::Io { error, .. } if rdarts_run::is_system(error))
    }
}
