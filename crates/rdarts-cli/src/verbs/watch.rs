//! `rdarts watch`: the page of runs while they go on.

use std::path::PathBuf;
use std::process::ExitCode;

use rdarts_data::shown;
use rdarts_watch::{serve, terminal};

use crate::exit::{Exit, out, say};
use crate::signals::stop_flag;

/// Follow runs while they go on, in a browser or in the terminal
///
/// The page of `rdarts report` is served on this machine alone, and follows what the
/// runs write; nothing is written anywhere. Over ssh, --tui shows the same in the
/// terminal.
///
/// Examples:
///   rdarts watch runs/search-s2-1
///   rdarts watch --tui runs/*
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Run directories, going on or not
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// The terminal in place of a browser
    #[arg(long)]
    tui: bool,
    /// The port of the page [default: one that is free]
    #[arg(long, conflicts_with = "tui", default_value_t = 0)]
    port: u16,
}

/// Runs the verb.
pub fn run(args: Args) -> Result<ExitCode, Exit> {
    if let Some(none) = args.runs.iter().find(|run| !run.exists()) {
        return Err(Exit::Input(format!("there is no run directory {}", shown(none))));
    }
    let stop = stop_flag("rdarts watch", |_: &str| {})?;
    let done = match args.tui {
        true => terminal(&args.runs, &stop),
        false => serve(&args.runs, args.port, &stop, |at| {
            out!("http://{at}/");
            say!("Ctrl-C ends it.");
        }),
    };
    done.map_err(|e| Exit::Failed(e.to_string()))?;
    Ok(ExitCode::SUCCESS)
}
