//! `rdarts table regret`: how far a search was from the best architecture, epoch by epoch.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rdarts_data::shown;
use rdarts_run::{Event, Method, RunView, SearchSpec};
use rdarts_space::Genotype;
use rdarts_table::{Optimum, Standing, Unmeasured};
use serde_json::{Value, json};

use crate::conduct::count;
use crate::exit::{Exit, out, say};

/// How far a search was from the best architecture: at each epoch the true test error of what it held best
///
/// Regret is the mean test error of an architecture less that of the best one, in the table. Random search (rs-ws) holds
/// none best before its end, so only what it returned is measured. Of a table that is not whole, the best one is that of
/// the architectures that were trained with every seed so far, and `-` stands for those that were not.
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
    /// Where what it held best stands; `None` if that was not trained with every seed yet.
    standing: Option<Standing>,
    eigenvalue: Option<f64>,
    valid_accuracy: Option<f64>,
}

/// Runs the verb.
pub fn run(args: Args) -> Result<ExitCode, Exit> {
    let table = super::filled(&args.table)?;
    let Some(optimum) = table.optimum() else {
        return Err(Exit::Input("no architecture of the table has been trained with every seed yet".into()));
    };
    let unfinished = super::unfinished(&table);
    if let (Some(sentence), false) = (&unfinished, args.json) {
        out!("{sentence}");
        out!("Until then the best one is that of the {}.", count(table.ranked().len(), "architecture"));
        out!("");
    }
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
        let known = || points.iter().filter_map(|point| Some((point.epoch, point.standing?.regret)));
        let least = known().min_by(|a, b| a.1.total_cmp(&b.1));
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
                "{:>7} {:>6} {:>12} {:>8} {:>12} {accuracy:>16}",
                p.attempt,
                p.epoch,
                p.standing.map_or("-".into(), |at| format!("{:.2} %", 100.0 * at.test_error)),
                number(p.standing.map(|at| 100.0 * at.regret), 2),
                number(p.eigenvalue, 4)
            );
        }
        if let Some((epoch, least)) = least {
            let last = points.last().and_then(|point| point.standing);
            let last = last.map_or(String::new(), |at| format!(", {:.2} after the last", 100.0 * at.regret));
            let best = 100.0 * optimum.best.mean;
            out!(
                "Least regret {:.2} points after epoch {epoch}{last}; the best architecture has {best:.2} %.",
                100.0 * least
            );
        }
        match found {
            Some(Some(at)) => out!("What the search returned has a regret of {:.2} points.", 100.0 * at.regret),
            Some(None) => {
                out!("What the search returned was not trained with every seed yet, so its regret is not known.")
            }
            None => {}
        }
        out!("");
    }
    if !shown_any {
        return Err(Exit::Input("none of the runs is a search in the table's space that has finished an epoch".into()));
    }
    if args.json {
        let best = super::row_json(&optimum.best);
        let (n, done) = (table.n_architectures(), table.ranked().len());
        let whole = json!({ "best": best, "architectures": n, "missing_architectures": n - done, "runs": all });
        out!("{whole:#}");
    }
    Ok(ExitCode::SUCCESS)
}

/// What a search held best after each epoch, and what it returned, if it did.
type Measured = (Vec<Point>, Option<Option<Standing>>);

fn points(optimum: &Optimum<'_>, space: &str, path: &Path) -> Result<Measured, Exit> {
    let view = RunView::open(path)?;
    let events = view.events()?;
    // It chooses among random architectures at its end; before that it holds none best.
    let is_random = view.spec::<SearchSpec>().is_ok_and(|spec| spec.search.method == Method::RsWs);
    let standing = |text: &str| -> Result<Option<Standing>, Exit> {
        let genotype: Genotype = text.parse().map_err(|e| Exit::Input(format!("{}: {e}", shown(path))))?;
        match optimum.standing(&genotype) {
            Ok(standing) => Ok(Some(standing)),
            Err(Unmeasured::Untrained) => Ok(None),
            Err(Unmeasured::Elsewhere(e)) => {
                Err(Exit::Input(format!("{} is no search of the table's space {space}: {e}", shown(path))))
            }
        }
    };
    let (mut points, mut found) = (Vec::new(), None);
    for event in &events {
        match event {
            Event::Epoch(e) if !is_random => points.push(Point {
                attempt: e.attempt,
                epoch: e.epoch,
                standing: standing(&e.genotype)?,
                eigenvalue: e.eigenvalue,
                valid_accuracy: e.valid_accuracy,
            }),
            Event::Finished(f) => found = Some(standing(&f.genotype)?),
            _ => {}
        }
    }
    if points.is_empty() && found.is_none() {
        return Err(Exit::Input(format!("{} is no search that has finished an epoch", shown(path))));
    }
    Ok((points, found))
}

fn as_json(path: &Path, points: &[Point], found: Option<Option<Standing>>) -> Value {
    let epochs: Vec<Value> = points
        .iter()
        .map(|p| {
            json!({
                "attempt": p.attempt, "epoch": p.epoch, "test_error": p.standing.map(|at| at.test_error),
                "regret": p.standing.map(|at| at.regret),
                "eigenvalue": p.eigenvalue, "one_shot_accuracy": p.valid_accuracy,
            })
        })
        .collect();
    json!({ "run": path.display().to_string(), "epochs": epochs, "regret_of_found": found.flatten().map(|at| at.regret) })
}
