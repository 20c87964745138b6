//! What can go wrong, in two kinds: what the user can mend before the search, and what failed during it.

use std::fmt;

/// A failure, one sentence.
#[derive(Debug)]
pub enum SearchError {
    /// A spec, file or directory is not as it should be; nothing was done.
    Input(String),
    /// The search could not go on; what it had done is on the disk.
    Failed(String),
}

impl SearchError {
    /// From anything that says in a sentence what is wrong with the user's input.
    pub fn input(e: impl fmt::Display) -> Self {
        Self::Input(e.to_string())
    }

    /// From anything that says in a sentence why the search could not go on.
    pub fn failed(e: impl fmt::Display) -> Self {
        Self::Failed(e.to_string())
    }
}

impl fmt::Display for SearchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(text) | Self::Failed(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for SearchError {}
