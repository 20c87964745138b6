//! `rdarts table import`: takes over what another table has.

use std::path::PathBuf;
use std::process::ExitCode;

use rdarts_data::shown;
use rdarts_study::table::work_dir;
use serde_json::json;

use crate::exit::{Exit, out};

/// Take over the trainings of other tables, of the same space, training and images
///
/// Their seeds are added too: tables of different seeds, or of different machines, become one.
#[derive(clap::Args)]
pub struct Args {
    /// The table that takes over
    #[arg(value_name = "TABLE")]
    table: PathBuf,
    /// The others, which stay as they are
    #[arg(value_name = "OTHER", required = true)]
    others: Vec<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(args: Args) -> Result<ExitCode, Exit> {
    if work_dir(&args.table).exists() {
        return Err(Exit::Input(format!(
            "{} is being built, or its build was stopped: let `rdarts table build` end first, or import into a copy",
            shown(&args.table)
        )));
    }
    let mut table = super::read(&args.table, "it is left out")?;
    let mut added = 0;
    for path in &args.others {
        let other = super::read(path, "it is left out")?;
        added +=
            table.merge(&other).map_err(|e| Exit::Input(format!("{} and {}: {e}", shown(&args.table), shown(path))))?;
    }
    table.write(&args.table)?;
    let (n, missing) = (table.entries().len(), table.missing().len());
    match args.json {
        true => out!("{}", json!({ "added": added, "trainings": n, "missing": missing })),
        false => out!("{added} trainings taken over: {} holds {n}, {missing} are missing", shown(&args.table)),
    }
    Ok(ExitCode::SUCCESS)
}
