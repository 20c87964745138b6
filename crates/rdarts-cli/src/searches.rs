//! A search as the program tells of it: opened again, and how it ended.

use std::path::Path;

use rdarts_data::{FOLDER, shown};
use rdarts_net::Engine;
use rdarts_run::{
    EpochRecord, Event, HessianImages, HessianSpec, Method, RunDir, RunView, SearchSpec, Spec, for_shell,
};
use rdarts_search::rules::rule_of;
use rdarts_search::{Found, Search, open_space};
use rdarts_space::Space;
use rdarts_train::KnownSets;
use serde_json::json;

use crate::conduct::{Conducted, count};
use crate::exit::{Exit, out};
use crate::given::data_name;
use crate::plot::{self, Point};
use crate::progress::Reading;

/// A search that is conducted.
pub struct Searching<'a>(pub &'a Search);

impl Conducted for Searching<'_> {
    type Found = Found;
    const WHAT: &'static str = "search";

    fn steps(&self) -> Option<usize> {
        Some(self.0.n_epochs() * self.0.steps_per_epoch())
    }

    fn engine(&self) -> &Engine {
        &self.0.engine
    }

    fn data_dirs(&self, dir: &RunDir) -> Result<[String; 2], Exit> {
        Ok([self.0.spec.data.images.dir.clone(), dir.view().spec::<SearchSpec>()?.data.images.dir])
    }

    fn tell(&self, path: &Path, found: &Found, events: &[Event]) {
        tell(self.0, path, found, events);
    }

    fn as_json(&self, path: &Path, found: &Found, events: &[Event]) -> serde_json::Value {
        as_json(path, found, events)
    }
}

/// The search of a run as the run recorded it: its spec, its space (the one its spec names if it was stopped before
/// that), and its images, from `data_dir` if they are not where they were; `quiet` tells nothing of their reading.
pub fn reopen(view: &RunView, data_dir: Option<&Path>, engine: Engine, quiet: bool) -> Result<Search, Exit> {
    let mut spec: SearchSpec = view.spec_of_sets(&KnownSets)?;
    if let Some(dir) = data_dir {
        spec.data.images.dir = dir.display().to_string();
    }
    let space = space_of(view, &spec)?;
    let reading = Reading::new(quiet);
    let search = Search::watched(spec, space, engine, &reading)?;
    reading.end();
    Ok(search)
}

/// The space of a run as the run recorded it, or the one that its spec names if it was stopped before that.
pub fn space_of(view: &RunView, spec: &SearchSpec) -> Result<Space, Exit> {
    match view.space()? {
        Some(text) => {
            let name = shown(view.path().join("space.toml"));
            Space::from_toml(&text, &name).map_err(Exit::input)
        }
        None => Ok(open_space(&spec.space.name)?),
    }
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
        data_name(&spec.data.images),
        search.space.name,
        found.epoch
    );
    out!("");
    out!("{}", found.genotype);
    out!("");
    let has_alphas = spec.search.method != Method::RsWs;
    match has_alphas {
        true => tell_of_the_monitor(search, found, events),
        false => out!("{}", found.reason),
    }
    // Without alphas the record of an epoch is not of what was found.
    let record = epochs(events).filter(|r| has_alphas && r.epoch == found.epoch).last();
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
    if has_alphas && !spec.search.method.selects() {
        out!("  rdarts hessian {path} --full");
        out!("      all eigenvalues at the end of the search");
    }
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

/// The eigenvalues, and what the monitor made of them.
fn tell_of_the_monitor(search: &Search, found: &Found, events: &[Event]) {
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
    if search.spec.hessian.every > 0 {
        out!("  {}", noise(search, events));
    }
    let is_told = events.iter().any(|e| matches!(e, Event::Decision(d) if d.reason == found.reason));
    if !is_told {
        out!("  {}", found.reason);
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

/// `14 alphas`, or where edges have parameters of their own `14 alphas and betas`.
pub fn learned(search: &Search) -> String {
    let n: usize = search.n_learned().iter().sum();
    format!("{n} alphas{}", if search.spec.search.method == Method::PcDarts { " and betas" } else { "" })
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
        method if !method.needs_eigenvalue() => format!("Method {method} only watches the eigenvalue."),
        _ if measured < needed => format!(
            "{} {} too few for it to compare: a window of {} needs {needed}.",
            count(measured, "measurement"),
            if measured == 1 { "is" } else { "are" },
            rule.window
        ),
        Method::DartsEsNoise => {
            "The smoothed eigenvalue never grew by more than its noise explains, and by enough to act.".into()
        }
        _ => "The smoothed eigenvalue never grew enough for it to act.".into(),
    }
}

/// The account for programs.
fn as_json(path: &Path, found: &Found, events: &[Event]) -> serde_json::Value {
    json_of_search(
        path,
        (json!(found.genotype), found.genotype.to_string(), found.epoch, &found.reason),
        "epoch",
        events,
    )
}

/// The account of any search for programs: its genotype, also as text, the epoch that it is from, why the search ended;
/// `epochs` is what its events call an epoch.
pub fn json_of_search(
    path: &Path,
    (genotype, genotype_text, epoch, reason): (serde_json::Value, String, usize, &str),
    epochs: &str,
    events: &[Event],
) -> serde_json::Value {
    let of = |kind: &str| -> Vec<serde_json::Value> {
        let values = events.iter().map(|e| serde_json::to_value(e).expect("events are JSON"));
        values.filter(|v| v["event"] == kind).collect()
    };
    let mut account = json!({
        "directory": path.display().to_string(),
        "genotype": genotype,
        "genotype_text": genotype_text,
        "epoch": epoch,
        "reason": reason,
        "decisions": of("decision"),
        "epochs": of(epochs),
    });
    // Of a method that selects after the search.
    let selected = of("selected");
    if !selected.is_empty() {
        account["selected"] = selected.into();
    }
    account
}
