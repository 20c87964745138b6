//! Why runs cannot be followed. What is wrong with a run is no error: the page and the view say it.

use std::io;

/// Why runs cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The port is taken, or may not be used.
    #[error("cannot serve a page on 127.0.0.1, port {port}: {source}")]
    Bind {
        /// The port that was asked for; 0: any.
        port: u16,
        /// The system's reason.
        source: io::Error,
    },
    /// The system starts no thread.
    #[error("cannot start a thread that follows the runs: {source}")]
    Thread {
        /// The system's reason.
        source: io::Error,
    },
    /// Input or output is no terminal.
    #[error(
        "the view in the terminal needs one for both input and output, and {stream} is none: leave out `--tui` for a \
         page in a browser, or write one with `rdarts report`"
    )]
    NoTerminal {
        /// Which one is none.
        stream: &'static str,
    },
    /// The terminal does not work.
    #[error("cannot use the terminal: {source}")]
    Terminal {
        /// The system's reason.
        source: io::Error,
    },
    /// The thread that reads has panicked.
    #[error("the runs can no longer be read, by a fault of this program: its message stands above")]
    Reader,
}
