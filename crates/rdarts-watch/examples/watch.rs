//! Follows some run directories, for looking at it: `cargo run -p rdarts-watch --example watch -- RUN...`, or with `--tui`
//! in the terminal. It is ended by what ends it: Ctrl-C, or q in the terminal.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use rdarts_watch::{WatchError, serve, terminal};

fn main() -> Result<(), WatchError> {
    let (options, paths): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|arg| arg == "--tui");
    let paths: Vec<PathBuf> = paths.into_iter().map(PathBuf::from).collect();
    let stop = AtomicBool::new(false);
    if options.is_empty() {
        serve(&paths, 0, &stop, |address| println!("http://{address}/"))
    } else {
        terminal(&paths, &stop)
    }
}
