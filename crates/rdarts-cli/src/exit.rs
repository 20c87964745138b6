//! How the program ends: 0 done, 1 failed while running, 2 the input was not right, 130 interrupted; and how it prints.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;
use std::sync::OnceLock;

use rdarts_data::{DataError, escaped};
use rdarts_run::{RunError, SpecError};
use rdarts_sweep::SweepError;
use rdarts_train::TrainError;

/// Why a verb could not do what it was asked, in one sentence.
#[derive(Debug)]
pub enum Exit {
    /// Code 1.
    Failed(String),
    /// Code 2.
    Input(String),
}

/// Prints a line to standard output. Neither a closed pipe nor a full disk ends a search; of the disk the program
/// tells when it ends, see [`lost_output`].
macro_rules! out {
    ($($arg:tt)*) => { $crate::exit::print_line(format_args!($($arg)*)) };
}
pub(crate) use out;

static LOST: OnceLock<String> = OnceLock::new();

/// The body of [`out`].
pub fn print_line(line: fmt::Arguments<'_>) {
    let mut to = std::io::stdout().lock();
    if let Err(e) = to.write_fmt(line).and_then(|()| to.write_all(b"\n")).and_then(|()| to.flush())
        && e.kind() != std::io::ErrorKind::BrokenPipe
    {
        let _ = LOST.set(e.to_string());
    }
}

/// What kept a line from standard output, if anything but a closed pipe did.
pub fn lost_output() -> Option<Exit> {
    LOST.get().map(|why| Exit::Failed(format!("not everything could be written to standard output: {why}")))
}

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
            // A name in it may be any bytes, and a sentence is one line.
            Self::Failed(text) | Self::Input(text) => f.write_str(&escaped(text)),
        }
    }
}

impl From<TrainError> for Exit {
    fn from(e: TrainError) -> Self {
        match e {
            TrainError::Input(text) | TrainError::Diverged(text) => Self::Input(text),
            TrainError::Failed(text) => Self::Failed(text),
        }
    }
}

/// What the system refuses is a failure; all else is something that the user can mend.
fn of_kind(is_system: bool, e: impl fmt::Display) -> Exit {
    if is_system { Exit::Failed(e.to_string()) } else { Exit::Input(e.to_string()) }
}

impl From<RunError> for Exit {
    fn from(e: RunError) -> Self {
        of_kind(e.is_system(), e)
    }
}

impl From<SpecError> for Exit {
    fn from(e: SpecError) -> Self {
        of_kind(e.is_system(), e)
    }
}

impl From<SweepError> for Exit {
    fn from(e: SweepError) -> Self {
        of_kind(e.is_system(), e)
    }
}

impl From<DataError> for Exit {
    fn from(e: DataError) -> Self {
        of_kind(e.is_system(), e)
    }
}

/// A whole number of a flag, which names its limits where the system's own sentence would not.
pub fn whole(text: &str, least: u64, most: u64) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("must be a whole number from {least} to {most}"))
}
