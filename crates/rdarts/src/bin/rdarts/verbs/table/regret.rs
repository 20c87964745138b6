//! `rdarts table regret`: how far a search was from the best architecture, epoch by epoch.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rdarts::data::shown;
use rdarts::run::{Event, Method, RunView, SearchSpec};
use rdarts::space::Genotype;
use rdarts::table::{Optimum, Standing, Unmeasured};
use serde_json::{Value, json};

use crate::exit::{Exit, out, say};

/// How far a search was from the best architecture: at each epoch the true test error of what it held best
///
/// Regret is the mean test error of an architecture less that of the best one, in the table. Random search (rs-ws) holds
/// none best before its end, so only what it returned is measured.
#[derive(clap::Args)]
pub struct Args {
    /// The table
    #[arg(value_name = "TABLE")]
    table: PathBuf,
    /// Run directories of searches in the table's space
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// An epoch of a search.
struct Point {
    attempt: usize,
    epoch: usize,
    test_error: f64,
    regret: f64,
    eigenvalue: Option<f64>,
    valid_accuracy: Option<f64>,
}

/// Runs the verb.
pub fn run(args: Args) -> Result<ExitCode, Exit> {
    let table = super::filled(&args.table)?;
    let Some(optimum) = table.optimum() else {
        return Err(Exit::Input("no architecture of the table has been trained with every seed yet".into()));
    };
    let mut all = Vec::new();
    let mut shown_any = false;
    for path in &args.runs {
        let (points, found) = match points(&optimum, &table.space().name, path) {
            Ok(points) => points,
            // Of many the others are shown all the same.
            Err(e) if args.runs.len() > 1 => {
                say!("warning: {e}");
                continue;
            }
            Err(e) => return Err(e),
        };
        shown_any = true;
        let least = points.iter().min_by(|a, b| a.regret.total_cmp(&b.regret));
        if args.json {
            all.push(as_json(path, &points, found));
            continue;
        }
        out!("{}", shown(path));
        if !points.is_empty() {
            out!(
                "{:>7} {:>6} {:>12} {:>8} {:>12} {:>16}",
                "attempt",
                "epoch",
                "test error",
                "regret",
                "eigenvalue",
                "one-shot accuracy"
            );
        }
        for p in &points {
            let number = |v: Option<f64>, digits: usize| v.map_or("-".into(), |v| format!("{v:.digits$}"));
            let accuracy = p.valid_accuracy.map_or("-".into(), |v| format!("{:.1} %", 100.0 * v));
            out!(
                "{:>7} {:>6} {:>10.2} % {:>8.2} {:>12} {accuracy:>16}",
                p.attempt,
                p.epoch,
                100.0 * p.test_error,
                100.0 * p.regret,
                number(p.eigenvalue, 4)
            );
        }
        if let (Some(least), Some(last)) = (least, points.last()) {
            out!(
                "Least regret {:.2} points after epoch {}, {:.2} after the last; the best architecture has {:.2} %.",
                100.0 * least.regret,
                least.epoch,
                100.0 * last.regret,
                100.0 * optimum.best.mean
            );
        }
        if let Some(found) = found {
            out!("What the search returned has a regret of {:.2} points.", 100.0 * found);
        }
        out!("");
    }
    if !shown_any {
        return Err(Exit::Input("none of the runs is a search in the table's space".into()));
    }
    if args.json {
        let best = super::row_json(&optimum.best);
        out!("{:#}", json!({ "best": best, "runs": all }));
    }
    Ok(ExitCode::SUCCESS)
}

/// What a search held best after each epoch, and the regret of what it returned.
fn points(optimum: &Optimum<'_>, space: &str, path: &Path) -> Result<(Vec<Point>, Option<f64>), Exit> {
    let view = RunView::open(path)?;
    let events = view.events()?;
    // It chooses among random architectures at its end; before that it holds none best.
    let is_random = view.spec::<SearchSpec>().is_ok_and(|spec| spec.search.method == Method::RsWs);
    let standing = |text: &str| -> Result<Standing, Exit> {
        let genotype: Genotype = text.parse().map_err(|e| Exit::Input(format!("{}: {e}", shown(path))))?;
        optimum.standing(&genotype).map_err(|e| match e {
            Unmeasured::Elsewhere(e) => {
                Exit::Input(format!("{} is no search of the table's space {space}: {e}", shown(path)))
            }
            Unmeasured::Untrained => {
                Exit::Input(format!("{text} has not been trained with every seed yet: build the table further"))
            }
        })
    };
    let (mut points, mut found) = (Vec::new(), None);
    for event in &events {
        match event {
            Event::Epoch(e) if !is_random => {
                let Standing { test_error, regret, .. } = standing(&e.genotype)?;
                points.push(Point {
                    attempt: e.attempt,
                    epoch: e.epoch,
                    test_error,
                    regret,
                    eigenvalue: e.eigenvalue,
                    valid_accuracy: e.valid_accuracy,
                });
            }
            Event::Finished(f) => found = Some(standing(&f.genotype)?.regret),
            _ => {}
        }
    }
    if points.is_empty() && found.is_none() {
        return Err(Exit::Input(format!("{} is no search that has finished an epoch", shown(path))));
    }
    Ok((points, found))
}

fn as_json(path: &Path, points: &[Point], found: Option<f64>) -> Value {
    let epochs: Vec<Value> = points
        .iter()
        .map(|p| {
            json!({
                "attempt": p.attempt, "epoch": p.epoch, "test_error": p.test_error, "regret": p.regret,
                "eigenvalue": p.eigenvalue, "one_shot_accuracy": p.valid_accuracy,
            })
        })
        .collect();
    json!({ "run": path.display().to_string(), "epochs": epochs, "regret_of_found": found })
}
