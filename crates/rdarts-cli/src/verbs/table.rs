//! `rdarts table`: all architectures of a small space, trained alike; built, asked, and a search measured against them.

mod best;

mod build;

mod export;

mod import;

mod query;

mod regret;

use std::path::Path;
use std::process::ExitCode;

use rdarts_data::shown;
use rdarts_table::{Fault, Row, Table, TableError};
use serde_json::{Value, json};

use crate::exit::{Exit, say};

/// Tables of all architectures of a small space: build one, ask it, measure a search against it
///
/// A table holds every architecture of a space of at most 10,000 (the space tiny has 81), each trained from scratch with
/// the same settings and one or more seeds. `best` says which are good and whether the seeds can tell, `query` how good one
/// is, `regret` how far a search was from the best at each of its epochs.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    Build(Box<build::Args>),
    Query(query::Args),
    Best(best::Args),
    Regret(regret::Args),
    Export(export::Args),
    Import(import::Args),
}

/// Runs the verb.
pub fn run(args: Args) -> Result<ExitCode, Exit> {
    match args.verb {
        Verb::Build(args) => build::run(*args),
        Verb::Query(args) => query::run(args),
        Verb::Best(args) => best::run(args),
        Verb::Regret(args) => regret::run(args),
        Verb::Export(args) => export::run(args),
        Verb::Import(args) => import::run(args),
    }
}

impl From<TableError> for Exit {
    fn from(e: TableError) -> Self {
        if e.is_system() { Self::Failed(e.to_string()) } else { Self::Input(e.to_string()) }
    }
}

/// A table, whose faults are told; `again` says what is done about them.
fn read(path: &Path, again: &str) -> Result<Table, Exit> {
    let (table, faults) = Table::read(path)?;
    tell(path, &faults, again);
    Ok(table)
}

/// Tells of lines that cannot be used, of many only the first.
fn tell(path: &Path, faults: &[Fault], again: &str) {
    const MOST: usize = 10;
    for Fault { line, problem } in faults.iter().take(MOST) {
        say!("warning: line {line} of {} {problem}; {again}", shown(path));
    }
    if faults.len() > MOST {
        say!("warning: so are {} other lines", faults.len() - MOST);
    }
}

/// A table that has something to say.
fn filled(path: &Path) -> Result<Table, Exit> {
    let table = read(path, "it is left out")?;
    if table.entries().is_empty() {
        let path = shown(path);
        return Err(Exit::Input(format!(
            "{path} holds no training yet: `rdarts table build --out {path}` goes on with it"
        )));
    }
    Ok(table)
}

/// What a table lacks, in a sentence; `None` if it is whole.
fn unfinished(table: &Table) -> Option<String> {
    let (n, done) = (table.n_architectures(), table.ranked().len());
    (done < n).then(|| {
        format!(
            "The table is not whole: {} of {n} architectures are not done yet, and `rdarts table build` goes on with it.",
            n - done
        )
    })
}

/// `12.34 % ± 0.21`, or without a deviation.
fn error(row: &Row<'_>) -> String {
    let deviation = row.deviation.map_or_else(String::new, |d| format!(" ± {:.2}", 100.0 * d));
    format!("{:.2} %{deviation}", 100.0 * row.mean)
}

fn row_json(row: &Row<'_>) -> Value {
    json!({
        "architecture": row.architecture(), "genotype": row.genotype(), "test_error": row.mean,
        "deviation": row.deviation, "n_params": row.entries[0].n_params, "macs": row.entries[0].macs,
        "seeds": row.entries.iter().map(|e| json!({
            "seed": e.seed, "test_accuracy": e.test_accuracy, "test_loss": e.test_loss,
            "valid_accuracy": e.valid_accuracy, "train_accuracy": e.train_accuracy, "seconds": e.seconds,
        })).collect::<Vec<_>>(),
    })
}
