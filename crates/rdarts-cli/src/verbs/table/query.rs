//! `rdarts table query`: how good an architecture is.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use crate::exit::{Exit, out};
use crate::genotypes::genotype;
use crate::trainings::millions;

/// How good an architecture is: its test error with each seed, and its rank
#[derive(clap::Args)]
pub struct Args {
    /// The table
    #[arg(value_name = "TABLE")]
    table: PathBuf,
    /// A genotype, a file that holds one, the directory of a finished run, or the number of an architecture
    #[arg(value_name = "GENOTYPE|RUN|FILE|NUMBER")]
    genotype: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(args: Args) -> Result<ExitCode, Exit> {
    let table = super::filled(&args.table)?;
    let row = match args.genotype.parse::<u64>() {
        Ok(number) if number < table.n_architectures() as u64 => table.of(number),
        Ok(number) => {
            let last = table.n_architectures() - 1;
            return Err(Exit::Input(format!(
                "architecture {number} is none of the table's, which go from 0 to {last}"
            )));
        }
        Err(_) => {
            let genotype = genotype(&args.genotype, "GENOTYPE")?;
            table.query(&genotype).map_err(|e| Exit::Input(format!("the table does not hold it: {e}")))?
        }
    };
    let Some(row) = row else {
        return Err(Exit::Input("this architecture is of the table's space, but has not been trained yet".into()));
    };
    let ranked = table.ranked();
    let rank = ranked.iter().position(|other| other.architecture() == row.architecture()).map(|at| at + 1);
    let best = ranked.first();
    if args.json {
        let mut value = super::row_json(&row);
        value["rank"] = json!(rank);
        value["of"] = json!(ranked.len());
        value["regret"] = json!(rank.and(best).map(|best| row.mean - best.mean));
        out!("{value:#}");
        return Ok(ExitCode::SUCCESS);
    }
    out!("architecture {}: {}", row.architecture(), row.genotype());
    let size = &row.entries[0];
    out!("test error {}; {} weights, {} multiply-adds", super::error(&row), size.n_params, millions(size.macs));
    for e in row.entries {
        let diverged = if e.has_diverged() { ", diverged" } else { "" };
        out!("  seed {}: {:.2} %{diverged}", e.seed, 100.0 * e.test_error());
    }
    match (rank, best) {
        (Some(rank), Some(best)) => out!(
            "rank {rank} of {}, {:.2} points behind the best{}",
            ranked.len(),
            100.0 * (row.mean - best.mean),
            match table.n_architectures() - ranked.len() {
                0 => String::new(),
                n => format!("; {n} others are not done yet"),
            }
        ),
        _ => out!("not all seeds are done: no rank yet"),
    }
    Ok(ExitCode::SUCCESS)
}
