//! How the program ends: 0 done, 1 failed while running, 2 the input was not right, 130 interrupted; and how it prints.

use std::fmt;
use std::process::ExitCode;

use rdarts::run::RunError;
use rdarts::search::SearchError;

/// Why a verb could not do what it was asked, in one sentence.
#[derive(Debug)]
pub enum Exit {
    /// Code 1.
    Failed(String),
    /// Code 2.
    Input(String),
}

/// Prints a line to standard output. A closed pipe or a full disk must not end a search, so failures are left to the
/// reader who closed it.
macro_rules! out {
    ($($arg:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stdout(), $($arg)*);
    }};
}
pub(crate) use out;

/// Prints a line to standard error, likewise.
macro_rules! say {
    ($($arg:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), $($arg)*);
    }};
}
pub(crate) use say;

/// Interrupted by Ctrl-C or SIGTERM after saving.
pub const INTERRUPTED: u8 = 130;

impl Exit {
    /// From a message about the user's input.
    pub fn input(e: impl fmt::Display) -> Self {
        Self::Input(e.to_string())
    }

    /// The process's exit code.
    pub fn code(&self) -> ExitCode {
        match self {
            Self::Failed(_) => ExitCode::from(1),
            Self::Input(_) => ExitCode::from(2),
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(text) | Self::Input(text) => f.write_str(text),
        }
    }
}

impl From<SearchError> for Exit {
    fn from(e: SearchError) -> Self {
        match e {
            SearchError::Input(text) => Self::Input(text),
            SearchError::Failed(text) => Self::Failed(text),
        }
    }
}

impl From<RunError> for Exit {
    fn from(e: RunError) -> Self {
        Self::input(e)
    }
}
