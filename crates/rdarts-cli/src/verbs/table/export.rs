//! `rdarts table export`: a table as CSV.

use std::path::PathBuf;
use std::process::ExitCode;

use rdarts_run::{for_shell, write_file};
use serde_json::json;

use crate::exit::{Exit, out};

/// Write a table as CSV, a line for each training
#[derive(clap::Args)]
pub struct Args {
    /// The table
    #[arg(value_name = "TABLE")]
    table: PathBuf,
    /// The file [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Say where it was written as one JSON object (with --out)
    #[arg(long, requires = "out")]
    json: bool,
}

/// Runs the verb.
pub fn run(args: Args) -> Result<ExitCode, Exit> {
    let table = super::filled(&args.table)?;
    let whole = |path: &PathBuf| path.canonicalize().ok();
    if args.out.as_ref().and_then(whole).is_some_and(|out| Some(out) == whole(&args.table)) {
        return Err(Exit::Input("--out is the table itself, which CSV would replace".into()));
    }
    let csv = table.to_csv();
    let Some(path) = &args.out else {
        out!("{}", csv.trim_end());
        return Ok(ExitCode::SUCCESS);
    };
    write_file(path, csv.as_bytes())?;
    match args.json {
        true => out!("{}", json!({ "csv": path.display().to_string(), "trainings": table.entries().len() })),
        false => out!("{} trainings written to {}", table.entries().len(), for_shell(path)),
    }
    Ok(ExitCode::SUCCESS)
}
