//! How `search` and `resume` are conducted: threads, signals, and the account of how it ended.

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use rdarts::data::{FOLDER, shown};
use rdarts::kernels::Isa;
use rdarts::net::{Device, Engine};
use rdarts::run::{
    Environment, EpochRecord, Event, HessianImages, HessianSpec, RunDir, RunView, SearchSpec, Spec, for_shell,
};
use rdarts::search::rules::rule_of;
use rdarts::search::{Found, Search, open_space};
use rdarts::space::Space;
use rdarts::train::{KnownSets, Outcome, TrainError};
use serde_json::json;

use crate::exit::{Exit, INTERRUPTED, out, say};
use crate::plot::{self, Point};
use crate::progress::{Reading, Shown};
use crate::signals::stop_flag;

/// More than any machine has processors: a slip of the finger must not start a million threads.
const MAX_THREADS: usize = 1024;

/// Threads that compute: as many as asked for, else as many as there are processors.
pub fn set_threads(wanted: Option<usize>) -> Result<usize, Exit> {
    if let Some(n) = wanted.filter(|n| !(1..=MAX_THREADS).contains(n)) {
        return Err(Exit::Input(format!("--threads is {n}, but must be from 1 to {MAX_THREADS}")));
    }
    let n = wanted.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    rayon::ThreadPoolBuilder::new()
        .num_threads(n)
        .build_global()
        .map_err(|e| Exit::Failed(format!("cannot start {n} threads: {e}")))?;
    Ok(n)
}

/// What computes: the CPU with the instruction set that RDARTS_ISA names, else the fastest; an unknown name is refused.
pub fn engine() -> Result<Engine, Exit> {
    let available = Isa::available();
    let names: Vec<&str> = available.iter().map(|isa| isa.name()).collect();
    let wanted = std::env::var("RDARTS_ISA").unwrap_or_default();
    let isa = match available.iter().find(|isa| wanted.is_empty() || isa.name() == wanted) {
        Some(isa) => *isa,
        None => {
            let names = names.join(", ");
            return Err(Exit::Input(format!(
                "RDARTS_ISA is `{wanted}`, but must be one that this processor has: {names}"
            )));
        }
    };
    Ok(Engine::new(Device::flex(), isa))
}

/// `3 epochs`, `1 epoch`.
pub fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// `darts, darts-es or darts-ada`.
pub fn one_of(names: &[&str]) -> String {
    match names {
        [names @ .., last] if !names.is_empty() => format!("{} or {last}", names.join(", ")),
        _ => names.concat(),
    }
}

/// The search of a run as the run recorded it: its spec, its space (the one its spec names if it was stopped before
/// that), and its images, from `data_dir` if they are not where they were; `quiet` tells nothing of their reading.
pub fn reopen(view: &RunView, data_dir: Option<&Path>, engine: Engine, quiet: bool) -> Result<Search, Exit> {
    let mut spec: SearchSpec = view.spec_of_sets(&KnownSets)?;
    if let Some(dir) = data_dir {
        spec.data.images.dir = dir.display().to_string();
    }
    let space = match view.space()? {
        Some(text) => {
            let name = shown(view.path().join("space.toml"));
            Space::from_toml(&text, &name).map_err(Exit::input)?
        }
        None => open_space(&spec.space.name)?,
    };
    let reading = Reading::new(quiet);
    let search = Search::watched(spec, space, engine, &reading)?;
    reading.end();
    Ok(search)
}

/// Records the machine in a run directory, runs `body` and tells how it ended.
pub fn conduct(
    search: &Search,
    dir: &mut RunDir,
    threads: usize,
    json: bool,
    body: impl FnOnce(&mut RunDir, &mut Shown, &AtomicBool) -> Result<Outcome<Found>, TrainError>,
) -> Result<ExitCode, Exit> {
    let here = Environment::detect(threads, search.engine.kernels.isa().name());
    let data_dir = &search.spec.data.images.dir;
    let moved = match *data_dir == dir.view().spec::<SearchSpec>()?.data.images.dir {
        true => String::new(),
        false => format!(" --data-dir {}", for_shell(Path::new(data_dir))),
    };
    let again = format!("rdarts resume {}{moved}", for_shell(dir.path()));
    let mut shown = Shown::new(json, search.spec.search.epochs * search.steps_per_epoch());
    let stop = stop_flag(&again, shown.say_above())?;
    if let Ok(Some(before)) = dir.view().environment() {
        for (what, old, new) in [("instruction set", &before.isa, &here.isa), ("version", &before.rdarts, &here.rdarts)]
        {
            if old != new {
                shown.line(&format!(
                    "warning: the search ran with {what} {old} before and goes on with {new}: its last bits may differ"
                ));
            }
        }
    }
    dir.write_environment(&here)?;
    dir.warnings().iter().for_each(|w| shown.line(&format!("warning: {w}")));
    let outcome = body(dir, &mut shown, &stop);
    shown.end();
    match outcome? {
        Outcome::Finished(found) => {
            let events = dir.view().events()?;
            if json {
                out!("{}", as_json(dir.view(), &found, &events))
            } else {
                tell(search, dir.path(), &found, &events)
            }
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Interrupted { epoch, step } => {
            let path = dir.path().display();
            if json {
                out!("{}", json!({ "interrupted": { "epoch": epoch, "step": step }, "directory": path.to_string() }));
            }
            say!("Stopped in epoch {epoch} after step {step} and saved. Go on with `{again}`.");
            Ok(ExitCode::from(INTERRUPTED))
        }
    }
}

/// The name of the data set, for a folder that of its directory.
pub fn data_name(spec: &SearchSpec) -> String {
    let dir = Path::new(&spec.data.images.dir).file_name().filter(|_| spec.data.images.name == FOLDER);
    dir.map_or(spec.data.images.name.clone(), shown)
}

fn epochs(events: &[Event]) -> impl Iterator<Item = &EpochRecord> {
    events.iter().filter_map(|e| match e {
        Event::Epoch(record) => Some(&**record),
        _ => None,
    })
}

/// The eigenvalues that were measured.
pub fn trajectory(events: &[Event]) -> Vec<Point> {
    let point = |r: &EpochRecord| r.eigenvalue.map(|value| Point { epoch: r.epoch, attempt: r.attempt, value });
    epochs(events).filter_map(point).collect()
}

/// The account for people.
fn tell(search: &Search, path: &Path, found: &Found, events: &[Event]) {
    let spec = &search.spec;
    out!("");
    out!(
        "{} on {} in space {}: the architecture of epoch {}",
        spec.search.method,
        data_name(spec),
        search.space.name,
        found.epoch
    );
    out!("");
    out!("{}", found.genotype);
    out!("");
    let points = trajectory(events);
    out!("Dominant eigenvalue of the alpha-Hessian of the validation loss");
    out!("{}", plot::draw(&points, 10, 60));
    out!("The monitor:");
    let mut decided = false;
    for event in events {
        if let Event::Decision(d) = event {
            out!("  After epoch {}: {}", d.epoch, d.reason);
            decided = true;
        }
    }
    if !decided {
        out!("  {}", never(search, points.len()));
    }
    if spec.hessian.every > 0 {
        out!("  {}", noise(search, events));
    }
    let is_told = events.iter().any(|e| matches!(e, Event::Decision(d) if d.reason == found.reason));
    if !is_told {
        out!("  {}", found.reason);
    }
    let record = epochs(events).filter(|r| r.epoch == found.epoch).last();
    if let Some(r) = record {
        let mut facts = vec![match (r.skip_connects_reduce, r.parameterless_normal, r.parameterless_reduce) {
            (Some(reduce), Some(free), Some(free_reduce)) => format!(
                "skip connections {} in the normal and {reduce} in the reduction cell, parameterless operations {free} and \
                 {free_reduce}",
                r.skip_connects_normal
            ),
            _ => format!("{} in the normal cell", count(r.skip_connects_normal, "skip connection")),
        }];
        if let Some(a) = r.valid_accuracy {
            facts.push(format!("one-shot accuracy {:.1} %", 100.0 * a));
        }
        if let Some(a) = r.child_accuracy {
            facts.push(format!(
                "its child with the supernet's weights, which were trained for the mixture, {:.1} %",
                100.0 * a
            ));
        }
        out!("");
        out!("That epoch: {}.", facts.join(", "));
    }
    let path = for_shell(path);
    out!("");
    out!("Run directory: {path} (genotype.txt and .json, events.jsonl, checkpoints)");
    out!("Next:");
    out!("  rdarts hessian {path} --full");
    out!("      all eigenvalues at the end of the search");
    if spec.preset == "demo" && spec.data.images.name == FOLDER {
        let paper = SearchSpec::resolve(None, None, &[], &KnownSets).expect("a test resolves every preset");
        let batch = match spec.search.batch {
            batch if batch == paper.search.batch => String::new(),
            batch => format!(" --set search.batch={batch}"),
        };
        out!("  rdarts search --preset paper --data {}{batch}", for_shell(Path::new(&spec.data.images.dir)));
        out!("      the paper's settings on these images");
    } else if spec.preset == "demo" {
        out!("  rdarts search --preset paper");
        out!("      the paper's settings on the full Fashion-MNIST: hours (README says how many)");
    } else {
        out!("  rdarts search {path}/spec.toml --seed {}", spec.seed + 1);
        out!("      the same with other random numbers, to see how far it varies");
    }
}

/// What the eigenvalues were measured on, and how sure that makes them.
fn noise(search: &Search, events: &[Event]) -> String {
    let (spec, batch) = (&search.spec.hessian, search.spec.search.batch);
    let mut shares: Vec<f64> = epochs(events)
        .filter_map(|r| Some(r.eigenvalue_error? / r.eigenvalue?.abs()))
        .filter(|s| s.is_finite())
        .collect();
    shares.sort_by(f64::total_cmp);
    match shares.get(shares.len() / 2) {
        Some(share) => format!(
            "Each eigenvalue is that of {} of {batch} images; its standard error over them was {:.0} % in the median.",
            measured_on(spec),
            100.0 * share
        ),
        None if spec.batches > 1 => format!("Each eigenvalue is that of {} of {batch} images.", measured_on(spec)),
        None => {
            let advice = match search.most_hessian_batches() {
                0 | 1 => String::new(),
                most => format!(" (--set hessian.batches={} does)", most.min(4)),
            };
            let measured = measured_on(spec);
            format!(
                "Each eigenvalue is that of {measured} of {batch} images, and nothing says how far it would move on \
                 others{advice}."
            )
        }
    }
}

/// `the last batch`, `16 fixed batches`.
pub fn measured_on(spec: &HessianSpec) -> String {
    match (spec.images, spec.batches) {
        (HessianImages::Last, 1) => "the last batch".into(),
        (HessianImages::Last, n) => format!("the last {n} batches"),
        (HessianImages::Fixed, 1) => "one fixed batch".into(),
        (HessianImages::Fixed, n) => format!("{n} fixed batches"),
    }
}

/// Why the monitor never acted, after so many measurements.
fn never(search: &Search, measured: usize) -> String {
    let rule = rule_of(&search.spec.monitor);
    let needed = rule.window + rule.lag;
    match search.spec.search.method {
        rdarts::run::Method::Darts => "Method darts only watches.".into(),
        _ if measured < needed => format!(
            "{} {} too few for it to compare: a window of {} needs {needed}.",
            count(measured, "measurement"),
            if measured == 1 { "is" } else { "are" },
            rule.window
        ),
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
