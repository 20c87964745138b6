//! What `search` and `resume` share: threads, signals, and the account of how it ended.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rdarts::run::{Environment, EpochRecord, Event, RunDir, RunView};
use rdarts::search::SearchError;
use rdarts::search::problem::Problem;
use rdarts::search::search::{Found, Outcome};
use serde_json::json;

use crate::exit::{Exit, INTERRUPTED};
use crate::plot::{self, Point};
use crate::progress::Shown;

/// Threads that compute: as many as asked for, else as many as there are processors.
pub fn set_threads(wanted: Option<usize>) -> Result<usize, Exit> {
    if wanted == Some(0) {
        return Err(Exit::Input("--threads is 0, but must be at least 1".into()));
    }
    let n = wanted.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    rayon::ThreadPoolBuilder::new()
        .num_threads(n)
        .build_global()
        .map_err(|e| Exit::Failed(format!("cannot start {n} threads: {e}")))?;
    Ok(n)
}

/// A flag that the first Ctrl-C or SIGTERM sets; the second ends the process at once.
pub fn stop_flag() -> Result<Arc<AtomicBool>, Exit> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // In this order: the shutdown looks at the flag before the second handler sets it.
        signal_hook::flag::register_conditional_shutdown(signal, i32::from(INTERRUPTED), stop.clone())
            .and_then(|_| signal_hook::flag::register(signal, stop.clone()))
            .map_err(|e| Exit::Failed(format!("cannot wait for signals: {e}")))?;
    }
    Ok(stop)
}

/// Records the machine in a run directory, runs `body` and tells how it ended.
pub fn conduct(
    problem: &Problem,
    dir: &mut RunDir,
    threads: usize,
    json: bool,
    body: impl FnOnce(&mut RunDir, &mut Shown, &AtomicBool) -> Result<Outcome, SearchError>,
) -> Result<ExitCode, Exit> {
    let stop = stop_flag()?;
    dir.write_environment(&Environment::detect(threads))?;
    let mut shown = Shown::new(json);
    dir.warnings().iter().for_each(|w| shown.line(&format!("warning: {w}")));
    let outcome = body(dir, &mut shown, &stop);
    shown.end();
    match outcome? {
        Outcome::Finished(found) => {
            let events = dir.view().events()?;
            if json {
                println!("{}", as_json(dir.view(), &found, &events))
            } else {
                tell(problem, dir.path(), &found, &events)
            }
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Interrupted { epoch, step } => {
            let path = dir.path().display();
            if json {
                println!(
                    "{}",
                    json!({ "interrupted": { "epoch": epoch, "step": step }, "directory": path.to_string() })
                );
            }
            eprintln!(
                "Stopped in epoch {epoch} after step {step} and saved. Go on with `rdarts resume {}`.",
                quoted(dir.path())
            );
            Ok(ExitCode::from(INTERRUPTED))
        }
    }
}

/// A path as a shell takes it.
pub fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./+:@%".contains(c));
    if plain { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

fn epochs(events: &[Event]) -> impl Iterator<Item = &EpochRecord> {
    events.iter().filter_map(|e| match e {
        Event::Epoch(record) => Some(&**record),
        _ => None,
    })
}

/// The account for people.
fn tell(problem: &Problem, path: &Path, found: &Found, events: &[Event]) {
    let spec = &problem.spec;
    println!();
    println!(
        "{} on {} in space {}: the architecture of epoch {}",
        spec.search.method, spec.data.name, problem.space.name, found.epoch
    );
    println!();
    println!("{}", found.genotype);
    println!();
    let points: Vec<Point> = epochs(events)
        .filter_map(|r| r.eigenvalue.map(|value| Point { epoch: r.epoch, attempt: r.attempt, value }))
        .collect();
    println!("Dominant eigenvalue of the alpha-Hessian of the validation loss");
    print!("{}", plot::draw(&points, 10, 60));
    println!();
    println!("The monitor:");
    let mut decided = false;
    for event in events {
        if let Event::Decision(d) = event {
            println!("  After epoch {}: {}", d.epoch, d.reason);
            decided = true;
        }
    }
    if !decided {
        println!("  {}", never(problem));
    }
    println!("  {}", found.reason);
    let record = epochs(events).filter(|r| r.epoch == found.epoch).last();
    if let Some(r) = record {
        let mut facts = vec![format!("{} skip connections in the normal cell", r.skip_connects_normal)];
        if let Some(a) = r.valid_accuracy {
            facts.push(format!("one-shot accuracy {:.1} %", 100.0 * a));
        }
        if let Some(a) = r.child_accuracy {
            facts.push(format!("its child with the supernet's weights {:.1} %", 100.0 * a));
        }
        println!();
        println!("That epoch: {}.", facts.join(", "));
    }
    let path = quoted(path);
    println!();
    println!("Run directory: {path} (genotype.txt and .json, events.jsonl, checkpoints)");
    println!("Next:");
    println!("  rdarts hessian {path} --full        all eigenvalues at the end of the search");
    if spec.preset == "demo" {
        println!(
            "  rdarts search --preset paper       the paper's settings on the full Fashion-MNIST (hours; see README)"
        );
    } else {
        println!(
            "  rdarts search --seed {}             the same with other random numbers, to see how far it varies",
            spec.seed + 1
        );
    }
}

/// Why the monitor never acted.
fn never(problem: &Problem) -> String {
    match problem.spec.search.method {
        rdarts::run::Method::Darts => "Method darts only watches.".into(),
        _ => "The smoothed eigenvalue never grew enough for it to act.".into(),
    }
}

/// The account for programs.
fn as_json(view: &RunView, found: &Found, events: &[Event]) -> serde_json::Value {
    let of = |kind: &str| -> Vec<serde_json::Value> {
        let values = events.iter().map(|e| serde_json::to_value(e).expect("events are JSON"));
        values.filter(|v| v["event"] == kind).collect()
    };
    json!({
        "directory": view.path().display().to_string(),
        "genotype": found.genotype,
        "genotype_text": found.genotype.to_string(),
        "epoch": found.epoch,
        "reason": found.reason,
        "decisions": of("decision"),
        "epochs": of("epoch"),
    })
}
