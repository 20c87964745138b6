//! The tables: what the figures draw, what the page tells, and what the JSON holds. Plain structs, every number once.

use std::collections::HashMap;
use std::path::Path;

use rdarts_run::{Environment, Event, Timing, for_shell};
use rdarts_table::{Fault, Table};
use rdarts_text::shown;
use serde::Serialize;

use crate::number::some;
use crate::read::{Kind, PortfolioSpecs, Run, State};

mod spec;

pub mod maps;

pub mod search;

pub mod rules;

pub mod training;

pub mod disparity_training;

pub mod portfolio;

pub mod many;

pub mod architectures;

pub use architectures::ArchitecturesTable;
pub use disparity_training::DisparityTrainTable;
pub use many::ManyTable;
pub use maps::MapRow;
pub use portfolio::PortfolioTable;
pub use rules::{RuleOutcome, rules};
pub use search::SearchTable;
pub use spec::{SpecRow, SpecTable};
pub use training::TrainTable;

/// All that a report says.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The runs in their order.
    pub runs: Vec<RunTable>,
    /// What several runs say together; `None` of a single run.
    pub many: Option<ManyTable>,
    /// All architectures of a space, and where these runs stand among them; `None` without such a table.
    pub architectures: Option<ArchitecturesTable>,
}

/// One run.
#[derive(Clone, Debug, Serialize)]
pub struct RunTable {
    /// What every kind of run has.
    pub head: Head,
    /// What only its kind has.
    pub content: Content,
}

/// What only one kind of run has.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Content {
    /// A search.
    Search(Box<SearchTable>),
    /// A training from scratch.
    Train(Box<TrainTable>),
    /// A training from scratch for disparity.
    DisparityTrain(Box<DisparityTrainTable>),
    /// A portfolio.
    Robust(Box<PortfolioTable>),
    /// A directory that cannot be read, or that holds nothing yet.
    Nothing,
}

/// What every kind of run has.
#[derive(Clone, Debug, Serialize)]
pub struct Head {
    /// The directory, in one line of text.
    pub name: String,
    /// How far the run is.
    pub state: State,
    /// The same in one sentence.
    pub state_sentence: String,
    /// What came of it, in one sentence.
    pub verdict: String,
    /// What could not be read, one sentence each.
    pub faults: Vec<String>,
    /// Version of the program that began it.
    pub rdarts: Option<String>,
    /// The machine that it last ran on.
    pub machine: Option<Environment>,
    /// Every value that can change its result.
    pub spec: Option<SpecTable>,
    /// The command line that makes the same run again; `None` if the directory is no run.
    pub again: Option<String>,
    /// How long its parts took.
    pub time: TimeTable,
}

/// How long the parts of each epoch took.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TimeTable {
    /// The parts, in the order of their names.
    pub parts: Vec<String>,
    /// One row an epoch of each attempt, in the order in which they were begun, with all the time that it took: an epoch that
    /// was stopped within has that of all its parts, and what was done again counts twice.
    pub rows: Vec<TimeRow>,
    /// Seconds of each part in all.
    pub totals: Vec<f64>,
    /// Seconds in all.
    pub total: f64,
    /// The most bytes of memory of all epochs, if they are known of any.
    pub peak_memory: Option<u64>,
}

/// How long the parts of an epoch took.
#[derive(Clone, Debug, Serialize)]
pub struct TimeRow {
    /// How often the run had gone back before.
    pub attempt: usize,
    /// The epoch, counted from 0.
    pub epoch: usize,
    /// Seconds of each part; 0 of one that the epoch does not have.
    pub seconds: Vec<f64>,
    /// The most bytes of memory by its end, if they are known.
    pub peak_memory: Option<u64>,
}

impl Report {
    /// The tables of some runs.
    pub fn new(runs: &[Run]) -> Report {
        let tables: Vec<RunTable> = runs.iter().map(RunTable::new).collect();
        let many = (tables.len() > 1).then(|| ManyTable::new(&tables));
        Report { runs: tables, many, architectures: None }
    }

    /// The same with a table of all architectures of a space, in which the runs are looked up; the lines of its file that
    /// could not be read are told.
    pub fn with_table(mut self, table: &Table, path: &Path, faults: &[Fault]) -> Report {
        self.architectures = Some(ArchitecturesTable::new(table, path, faults, &self.runs));
        self
    }

    /// The tables as JSON.
    pub fn to_json(&self) -> String {
        // Numbers that are not finite become null, which is what JSON has for them.
        serde_json::to_string(self).expect("tables have text keys and no failing serialisers")
    }
}

impl RunTable {
    /// The tables of one run.
    pub fn new(run: &Run) -> RunTable {
        let spec = match &run.kind {
            Some(Kind::Search { spec: Some(spec), .. }) => Some(SpecTable::new(spec.as_ref(), &spec.preset)),
            Some(Kind::DisparitySearch { spec: Some(spec), .. }) => Some(SpecTable::new(spec.as_ref(), &spec.preset)),
            Some(Kind::Train { spec: Some(spec), .. }) => Some(SpecTable::new(spec.as_ref(), &spec.preset)),
            Some(Kind::DisparityTraining { spec: Some(spec), .. }) => Some(SpecTable::new(spec.as_ref(), &spec.preset)),
            Some(Kind::Robust { spec: Some(PortfolioSpecs::Images(spec)), .. }) => {
                Some(SpecTable::new(spec.as_ref(), &spec.preset))
            }
            Some(Kind::Robust { spec: Some(PortfolioSpecs::Pairs(spec)), .. }) => {
                Some(SpecTable::new(spec.as_ref(), &spec.preset))
            }
            _ => None,
        };
        let content = match &run.kind {
            Some(kind @ (Kind::Search { .. } | Kind::DisparitySearch { .. })) => {
                Content::Search(Box::new(SearchTable::new(run, kind)))
            }
            Some(Kind::Train { spec, mistakes }) => {
                Content::Train(Box::new(TrainTable::new(run, spec.as_deref(), mistakes)))
            }
            Some(Kind::DisparityTraining { spec, maps }) => {
                Content::DisparityTrain(Box::new(DisparityTrainTable::new(run, spec.as_deref(), maps)))
            }
            Some(kind @ Kind::Robust { .. }) => Content::Robust(Box::new(PortfolioTable::new(run, kind))),
            None => Content::Nothing,
        };
        let verdict = match &content {
            Content::Search(table) => table.verdict(),
            Content::Train(table) => table.verdict(),
            Content::DisparityTrain(table) => table.verdict(),
            Content::Robust(table) => table.verdict(),
            Content::Nothing => "This directory cannot be read as a run.".to_string(),
        };
        let is_cut = match &content {
            Content::Search(table) => table.found.is_none(),
            Content::Train(table) => table.result.is_none(),
            Content::DisparityTrain(table) => table.result.is_none(),
            Content::Robust(table) => !table.is_finished(),
            Content::Nothing => false,
        };
        let verdict = match is_cut && run.state == State::Finished {
            true => format!("The log of this run cannot be read to its end, where its result stands. {verdict}"),
            false => verdict,
        };
        let verb = match content {
            Content::Search(_) => Some("search"),
            Content::Train(_) | Content::DisparityTrain(_) => Some("train"),
            Content::Robust(_) => Some("robust"),
            Content::Nothing => None,
        };
        let head = Head {
            name: shown(&run.path),
            state: run.state,
            state_sentence: state_sentence(run),
            verdict,
            faults: run.faults.clone(),
            rdarts: run.events.iter().find_map(version),
            machine: run.environment.clone(),
            spec,
            again: verb.map(|verb| format!("rdarts {verb} {}", for_shell(&run.path.join("spec.toml")))),
            time: TimeTable::new(&run.timings),
        };
        RunTable { head, content }
    }
}

impl TimeTable {
    fn new(timings: &[Timing]) -> TimeTable {
        let mut parts: Vec<String> = timings.iter().flat_map(|timing| timing.seconds.keys().cloned()).collect();
        parts.sort_unstable();
        parts.dedup();
        let seconds = |timing: &Timing, part: &str| {
            let of = |part: &str| timing.seconds.get(part).copied().unwrap_or(0.0);
            // The steps wait for their batches, so that the one holds the other.
            if part == TRAIN { (of(TRAIN) - of(WAITING)).max(0.0) } else { of(part) }
        };
        let mut rows: Vec<TimeRow> = Vec::new();
        let mut places: HashMap<(usize, usize), usize> = HashMap::new();
        for timing in timings {
            let (attempt, epoch, peak_memory) = (timing.attempt, timing.epoch, timing.peak_memory);
            let seconds: Vec<f64> = parts.iter().map(|part| seconds(timing, part)).collect();
            let place = *places.entry((attempt, epoch)).or_insert(rows.len());
            match rows.get_mut(place) {
                None => rows.push(TimeRow { attempt, epoch, seconds, peak_memory }),
                Some(row) => {
                    row.seconds.iter_mut().zip(seconds).for_each(|(all, more)| *all += more);
                    row.peak_memory = row.peak_memory.max(peak_memory);
                }
            }
        }
        let totals: Vec<f64> = (0..parts.len()).map(|i| rows.iter().map(|row| row.seconds[i]).sum()).collect();
        let peak_memory = rows.iter().filter_map(|row| row.peak_memory).max();
        TimeTable { total: totals.iter().sum(), parts, rows, totals, peak_memory }
    }
}

/// The steps of an epoch, as the loop calls them in its timings.
const TRAIN: &str = "train";

/// What they wait for, as it calls that.
const WAITING: &str = "waiting for data";

fn state_sentence(run: &Run) -> String {
    let resume = || format!("`rdarts resume {}` goes on with it", for_shell(&run.path));
    match run.state {
        State::Finished => "The run has finished.".to_string(),
        State::Running => "The run has not finished: a process seems to be at work on it.".to_string(),
        State::Stopped if run.events.is_empty() => {
            format!("The run was stopped before its first event was written: {}.", resume())
        }
        State::Stopped => format!("The run was stopped before its end: {}.", resume()),
        State::Unreadable => {
            let faults = &run.faults;
            format!("Nothing of this directory is shown, for {} below.", some(faults.len().max(1), "reason"))
        }
    }
}

fn version(event: &Event) -> Option<String> {
    match event {
        Event::Started(started) => Some(started.rdarts.clone()),
        Event::DisparityStarted(started) => Some(started.rdarts.clone()),
        Event::TrainStarted(started) => Some(started.rdarts.clone()),
        Event::DisparityTrainStarted(started) => Some(started.rdarts.clone()),
        Event::RobustStarted(started) => Some(started.rdarts.clone()),
        _ => None,
    }
}
