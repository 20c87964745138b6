//! `rdarts table best`: the best architectures, and whether the seeds can tell.

use std::path::PathBuf;
use std::process::ExitCode;

use rdarts_space::{CellType, Genotype, Op};
use rdarts_table::{Row, Table};
use serde_json::json;

use crate::conduct::count;
use crate::exit::{Exit, out, whole};

/// The best architectures of a table, how all are spread, and how far the seeds allow "best" to be said
#[derive(clap::Args)]
pub struct Args {
    /// The table
    #[arg(value_name = "TABLE")]
    table: PathBuf,
    /// How many to list
    #[arg(long, allow_negative_numbers = true, default_value = "10", value_parser = |text: &str| whole(text, 1, 10_000))]
    n: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(args: Args) -> Result<ExitCode, Exit> {
    let table = super::filled(&args.table)?;
    if args.json {
        let spread = table.spread();
        out!(
            "{:#}",
            json!({
                "space": table.space().name, "seeds": table.header().seeds, "missing": table.missing().len(),
                "of": table.n_architectures() * table.header().seeds.len(),
                "best": table.ranked().iter().take(args.n as usize).map(super::row_json).collect::<Vec<_>>(),
                "spread": spread.map(|s| json!({
                    "architectures": s.n, "best": s.best, "median": s.median, "worst": s.worst,
                    "between_seeds": s.between_seeds, "not_worse_than_the_best": s.not_worse,
                })),
            })
        );
    } else {
        tell(&table, args.n as usize);
    }
    Ok(ExitCode::SUCCESS)
}

/// The account for people, of the best `n`.
pub fn tell(table: &Table, n: usize) {
    let ranked = table.ranked();
    let Some(spread) = table.spread() else {
        return out!(
            "No architecture has been trained with every seed yet; {} of {} trainings are missing.",
            table.missing().len(),
            table.n_architectures() * table.header().seeds.len()
        );
    };
    out!("{:>4} {:>12} {:>18} {:>10}   skips pools others", "rank", "architecture", "test error", "weights");
    for (at, row) in ranked.iter().take(n).enumerate() {
        print_row(at + 1, row);
    }
    if ranked.len() > n {
        out!("  …");
        print_row(ranked.len(), &ranked[ranked.len() - 1]);
    }
    out!("");
    let percent = |v: f64| format!("{:.2} %", 100.0 * v);
    out!(
        "{} with {}: best {}, median {}, worst {}.",
        count(spread.n, "architecture"),
        count(table.header().seeds.len(), "seed"),
        percent(spread.best),
        percent(spread.median),
        percent(spread.worst)
    );
    if let Some(sentence) = super::unfinished(table) {
        out!("{sentence}");
    }
    match (spread.between_seeds, spread.not_worse) {
        (Some(between), Some(n)) => out!(
            "Seeds of one architecture deviate by {:.2} points; {} not told apart from the best (t of the pooled deviation, 5 % for all comparisons together).",
            100.0 * between,
            match n.saturating_sub(1) {
                0 => "no other is".to_string(),
                1 => "1 other is".to_string(),
                n => format!("{n} others are"),
            }
        ),
        _ => out!("With one seed nothing can be said of how sure the order is."),
    }
    out!("`rdarts table query TABLE NUMBER` shows an architecture.");
}

fn print_row(rank: usize, row: &Row<'_>) {
    let uses = row.genotype().parse::<Genotype>().map(|g| {
        let of = |op| CellType::ALL.iter().map(|cell| g.n_uses(*cell, op)).sum::<usize>();
        let pools = of(Op::MaxPool3x3) + of(Op::AvgPool3x3);
        let all: usize = CellType::ALL.iter().map(|cell| g.cell(*cell).len()).sum();
        let skips = of(Op::SkipConnect);
        format!("{skips:>5} {pools:>5} {:>6}", all - skips - pools)
    });
    out!(
        "{rank:>4} {:>12} {:>18} {:>10}   {}",
        row.architecture(),
        super::error(row),
        row.entries[0].n_params,
        uses.unwrap_or_default()
    );
}
