//! Many runs together: what methods reach in spaces on data sets, and what goes with what.
//!
//! Runs whose specs differ in their seed alone are a group; what else of their specs differs is said. The test error of
//! what a search found comes from a training of the same genotype on the same data set, if one is among the runs; a
//! portfolio has its own. Errors of runs for classification are fractions of images, those of runs for disparity pixels;
//! nothing is computed over both.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Content, RunTable};
use crate::read::State;
use crate::statistics::{Correlation, Summary, correlation, rank_correlation, summary};
use crate::task::{Architecture, Task};

mod copies;

mod rows;

use rows::{Varied, alike, base, bits, differing, fingerprint, in_words, is_of_cutout, label_of, rows};

/// Many runs together.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ManyTable {
    /// The directory that all runs are in; empty if there is none.
    pub base: String,
    /// The runs, one row each.
    pub rows: Vec<RunRow>,
    /// Which runs do not count in what, and why, one sentence each.
    pub uncounted: Vec<String>,
    /// The groups of runs that differ in their seed alone.
    pub groups: Vec<GroupRow>,
    /// Mean trajectories of the eigenvalue by method, for each space and data set.
    pub trajectories: Vec<Trajectories>,
    /// What goes with what, over all runs.
    pub scatters: Vec<Scatter>,
    /// How closely the eigenvalue, as a number of each search, goes with what is wanted of it.
    pub correlations: Vec<CorrelationRow>,
    /// What changes with one value of the spec.
    pub sweeps: Vec<Sweep>,
    /// The cell with the most skip connections in each space.
    pub spaces: Vec<SpaceRow>,
    /// What these runs cannot show, one sentence each on what would show it.
    pub missing: Vec<String>,
}

/// A run among many.
#[derive(Clone, Debug, Serialize)]
pub struct RunRow {
    /// The directory below the base, in one line of text.
    pub name: String,
    /// How far it is.
    pub state: State,
    /// What it is for: its errors are fractions of images, or pixels.
    pub task: Task,
    /// The method of a search, `r-darts(l2)` and the like of a portfolio, `train` of a training; empty if unknown.
    pub method: String,
    /// The search space.
    pub space: String,
    /// The data set.
    pub data: String,
    /// The seed.
    pub seed: u64,
    /// L2 factor of the weights that a search began with.
    pub l2: Option<f64>,
    /// Drop path probability of its last epoch.
    pub drop_path: Option<f64>,
    /// Strength of the augmentation of a search for disparity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub augmentation: Option<f64>,
    /// Validation error of the supernet at the epoch that was returned.
    pub supernet_error: Option<f64>,
    /// That of the discretised child.
    pub child_error: Option<f64>,
    /// What discretisation costs: the error of the child minus that of the supernet.
    pub drop: Option<f64>,
    /// The dominant eigenvalue there, as it was measured.
    pub eigenvalue: Option<f64>,
    /// The mean of the dominant eigenvalue over the epochs of a search that count.
    pub mean_eigenvalue: Option<f64>,
    /// The last of these.
    pub last_eigenvalue: Option<f64>,
    /// What discretisation costs after the last of these epochs in which it is known.
    pub last_drop: Option<f64>,
    /// Skip connections of the normal cell.
    pub skips_normal: Option<usize>,
    /// Validation error of what was found after its training, if it was trained.
    pub trained_valid_error: Option<f64>,
    /// Its test error.
    pub test_error: Option<f64>,
    /// What was found.
    pub genotype: Option<Architecture>,
    /// The run that this one is a copy of, by its place among the rows: it has the same spec and seed, and the same events
    /// as far as both go. A copy counts in nothing else.
    pub copy_of: Option<usize>,
    /// Runs of one trajectory, which have the same epochs until their methods act, have the same number here.
    pub trajectory: usize,
    /// Epochs of a search that count.
    pub n_epochs: usize,
    /// Whether it is a search.
    pub is_search: bool,
    /// Every other value of the spec that can change what is found, by key; empty if the spec is damaged.
    #[serde(skip)]
    pub settings: BTreeMap<String, String>,
}

/// Runs that differ in their seed alone.
#[derive(Clone, Debug, Serialize)]
pub struct GroupRow {
    /// What its runs are for.
    pub task: Task,
    /// The method.
    pub method: String,
    /// The search space.
    pub space: String,
    /// The data set.
    pub data: String,
    /// L2 factor of the weights.
    pub l2: Option<f64>,
    /// Drop path probability of the last epoch.
    pub drop_path: Option<f64>,
    /// Strength of the augmentation of searches for disparity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub augmentation: Option<f64>,
    /// In what other values of the spec it differs from groups of the same method, space and data set; empty if in
    /// none.
    pub setting: String,
    /// Number of runs.
    pub n: usize,
    /// Number of them that have finished.
    pub n_finished: usize,
    /// Validation error of the supernet.
    pub supernet_error: Option<Summary>,
    /// What discretisation costs.
    pub drop: Option<Summary>,
    /// The dominant eigenvalue as it was measured at the epoch that was returned.
    pub eigenvalue: Option<Summary>,
    /// Skip connections of the normal cell.
    pub skips_normal: Option<Summary>,
    /// Test error after training.
    pub test_error: Option<Summary>,
    /// The run with the best validation error after training, by its place among the rows: the one that the paper
    /// reports.
    pub chosen: Option<usize>,
}

/// Mean trajectories of the eigenvalue in a space on a data set.
#[derive(Clone, Debug, Serialize)]
pub struct Trajectories {
    /// The search space.
    pub space: String,
    /// The data set.
    pub data: String,
    /// One line a method.
    pub lines: Vec<Trajectory>,
}

/// The mean trajectory of a method.
#[derive(Clone, Debug, Serialize)]
pub struct Trajectory {
    /// The method, with the L2 factor and the drop path probability where methods differ in them.
    pub label: String,
    /// The epochs.
    pub epochs: Vec<usize>,
    /// The eigenvalue after each of them, over the runs that measured it.
    pub values: Vec<Summary>,
}

/// What goes with what.
#[derive(Clone, Debug, Serialize)]
pub struct Scatter {
    /// What its runs are for.
    pub task: Task,
    /// What its figure is called.
    pub name: &'static str,
    /// What stands on the horizontal axis.
    pub x: &'static str,
    /// What stands on the vertical axis.
    pub y: &'static str,
    /// One point a run.
    pub points: Vec<ScatterPoint>,
    /// The correlation, Pearson's; `None` of too few points.
    pub correlation: Option<Correlation>,
    /// That of the ranks, Spearman's.
    pub rank: Option<Correlation>,
}

/// How closely two numbers of searches go together.
#[derive(Clone, Debug, Serialize)]
pub struct CorrelationRow {
    /// What the searches are for.
    pub task: Task,
    /// What the eigenvalue is taken of.
    pub x: &'static str,
    /// What it may go with.
    pub y: &'static str,
    /// Number of searches of which both are known.
    pub n: usize,
    /// Pearson's correlation.
    pub linear: Option<Correlation>,
    /// Spearman's.
    pub rank: Option<Correlation>,
}

/// A run in a scatter.
#[derive(Clone, Debug, Serialize)]
pub struct ScatterPoint {
    /// Its place among the rows.
    pub run: usize,
    /// Its method.
    pub method: String,
    /// The horizontal value.
    pub x: f64,
    /// The vertical value.
    pub y: f64,
}

/// What changes with one value of the spec.
#[derive(Clone, Debug, Serialize)]
pub struct Sweep {
    /// What its runs are for.
    pub task: Task,
    /// `L2`, `drop path` or `augmentation`.
    pub what: &'static str,
    /// The method, space and data set, all else being equal.
    pub label: String,
    /// One row a value.
    pub rows: Vec<SweepRow>,
}

/// The runs with one value.
#[derive(Clone, Debug, Serialize)]
pub struct SweepRow {
    /// The value.
    pub value: f64,
    /// Number of runs.
    pub n: usize,
    /// Validation error of the supernet.
    pub supernet_error: Option<Summary>,
    /// Validation error of the child.
    pub child_error: Option<Summary>,
    /// Test error after training.
    pub test_error: Option<Summary>,
    /// Skip connections of the normal cell.
    pub skips_normal: Option<Summary>,
}

/// A space, and the cell with the most skip connections that a search found in it.
#[derive(Clone, Debug, Serialize)]
pub struct SpaceRow {
    /// The search space.
    pub space: String,
    /// Number of searches in it.
    pub n: usize,
    /// Skip connections of their normal cells.
    pub skips_normal: Option<Summary>,
    /// The search that found the cell, by its place among the rows.
    pub run: usize,
    /// The cell.
    pub genotype: Architecture,
}

impl ManyTable {
    pub(super) fn new(runs: &[RunTable]) -> ManyTable {
        let base = base(runs);
        let rows = rows(runs, base.len());
        let mut table = ManyTable {
            base,
            groups: groups(&rows),
            trajectories: trajectories(runs, &rows),
            scatters: TASKS.into_iter().flat_map(|task| scatters(&rows, task)).collect(),
            correlations: TASKS.into_iter().flat_map(|task| correlations(&rows, task)).collect(),
            sweeps: Varied::ALL.into_iter().flat_map(|what| sweeps(&rows, what)).collect(),
            spaces: spaces(&rows),
            uncounted: copies::in_words(&rows),
            rows,
            missing: Vec::new(),
        };
        table.missing = table.what_is_missing();
        table
    }

    /// The group with the lowest mean test error, in words; `None` if none has one.
    pub(crate) fn best(&self) -> Option<String> {
        let best = |task: Task| {
            let trained = self.groups.iter().filter(|group| group.task == task);
            let trained = trained.filter_map(|group| Some((group, group.test_error?)));
            let (group, error) = trained.min_by(|a, b| a.1.mean.total_cmp(&b.1.mean))?;
            let what = if task == Task::Disparity { "end-point error of the test" } else { "test error" };
            Some(format!(
                "the lowest mean {what} is {}, of {} in {} on {} (n = {})",
                task.spread(error.mean, error.deviation),
                group.method,
                group.space,
                group.data,
                error.n
            ))
        };
        let best: Vec<String> = TASKS.into_iter().filter_map(best).collect();
        (!best.is_empty()).then(|| best.join("; "))
    }

    fn what_is_missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        let searches = || self.rows.iter().filter(|row| is_search(row));
        if searches().next().is_none() {
            return vec!["No search is among these runs, so they are only listed.".to_string()];
        }
        if searches().all(|row| row.test_error.is_none()) {
            missing.push(
                "Test errors, the chosen run of each group and what goes with them are left out: trainings (`rdarts \
                 train`) of what the searches found, added to this command, show them."
                    .to_string(),
            );
        }
        let trainings: Vec<&RunRow> = self.rows.iter().filter(|row| row.method == "train").collect();
        let keys = differing(&trainings);
        if !keys.is_empty() {
            missing.push(format!(
                "The trainings are not all alike (`{}`), so that test errors of one table may not be comparable: \
                 trainings of one spec are.",
                keys.join("`, `")
            ));
        }
        if searches().all(|row| row.child_error.is_none()) {
            missing.push(
                "The drop at discretisation is left out: searches with `eval.child=true` and `eval.oneshot=true` show \
                 it."
                .to_string(),
            );
        }
        if searches().all(|row| row.eigenvalue.is_none()) {
            missing.push("Trajectories are left out: searches with `hessian.every=1` show them.".to_string());
        }
        if self.groups.iter().all(|group| group.n < 2) {
            missing.push(
                "There are no deviations: the same search with other seeds, such as `--set seed=2`, shows them."
                    .to_string(),
            );
        }
        for what in Varied::ALL {
            // Drop path is of one task, the strength of augmentation of the other.
            let is_asked = searches().any(|row| what.of(row).is_some());
            if is_asked && !self.sweeps.iter().any(|sweep| sweep.what == what.as_str()) {
                missing.push(format!(
                    "A sweep of {} is left out: searches that differ in `{}` alone show it.",
                    what.as_str(),
                    what.key()
                ));
            }
        }
        if self.spaces.len() < 2 {
            missing.push("Spaces are not compared: searches in several spaces show that.".to_string());
        }
        missing
    }
}

/// Whether a row is that of a search.
pub(crate) fn is_search(row: &RunRow) -> bool {
    row.is_search
}

/// What a run is called among others.
pub(super) struct Named {
    /// Its name below the directory of all.
    pub name: String,
    /// Its method with what tells it from others.
    pub label: String,
    /// Whether it is a copy of another one.
    pub is_copy: bool,
}

/// What each run is called.
pub(super) fn names(runs: &[RunTable]) -> Vec<Named> {
    let rows = rows(runs, base(runs).len());
    let named =
        |row: &RunRow| Named { name: row.name.clone(), label: label_of(row, &rows), is_copy: row.copy_of.is_some() };
    rows.iter().map(named).collect()
}

fn groups(rows: &[RunRow]) -> Vec<GroupRow> {
    let mut groups: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    let is_counted = |row: &RunRow| row.copy_of.is_none() && !row.method.is_empty() && row.method != "train";
    for (i, row) in rows.iter().enumerate().filter(|(_, row)| is_counted(row)) {
        let names = (row.space.clone(), row.data.clone(), row.method.clone());
        let key = (names, Varied::ALL.map(|what| bits(what.of(row))), fingerprint(row, false));
        groups.entry(key).or_default().push(i);
    }
    groups
        .into_values()
        .map(|members| {
            let of = |value: fn(&RunRow) -> Option<f64>| summary(members.iter().filter_map(|&i| value(&rows[i])));
            let first = &rows[members[0]];
            let error = |i: &usize| rows[*i].trained_valid_error.filter(|error| error.is_finite());
            let rank = |a: &&usize, b: &&usize| error(a).unwrap_or(f64::MAX).total_cmp(&error(b).unwrap_or(f64::MAX));
            GroupRow {
                task: first.task,
                method: first.method.clone(),
                space: first.space.clone(),
                data: first.data.clone(),
                l2: first.l2,
                drop_path: first.drop_path,
                augmentation: first.augmentation,
                setting: in_words(first, &differing(&alike(rows, first))),
                n: members.len(),
                n_finished: members.iter().filter(|&&i| rows[i].state == State::Finished).count(),
                supernet_error: of(|row| row.supernet_error),
                drop: of(|row| row.drop),
                eigenvalue: of(|row| row.eigenvalue),
                skips_normal: of(|row| row.skips_normal.map(|n| n as f64)),
                test_error: of(|row| row.test_error),
                chosen: members.iter().filter(|i| error(i).is_some()).min_by(rank).copied(),
            }
        })
        .collect()
}

fn trajectories(runs: &[RunTable], rows: &[RunRow]) -> Vec<Trajectories> {
    // Space and data set, then method with its values, which tell its label, then epoch.
    type Lines = BTreeMap<(String, [u64; 3], String), (String, BTreeMap<usize, Vec<f64>>)>;
    let mut found: BTreeMap<(String, String), Lines> = BTreeMap::new();
    for (run, row) in runs.iter().zip(rows).filter(|(_, row)| row.copy_of.is_none()) {
        let Content::Search(table) = &run.content else { continue };
        let lines = found.entry((row.space.clone(), row.data.clone())).or_default();
        let key = (row.method.clone(), Varied::ALL.map(|what| bits(what.of(row))), fingerprint(row, false));
        let (_, line) = lines.entry(key).or_insert_with(|| (label_of(row, rows), BTreeMap::new()));
        for epoch in table.kept() {
            if let Some(value) = epoch.eigenvalue {
                line.entry(epoch.epoch).or_default().push(value);
            }
        }
    }
    let line = |(label, epochs): (String, BTreeMap<usize, Vec<f64>>)| {
        let (epochs, values) = epochs.into_iter().filter_map(|(epoch, values)| Some((epoch, summary(values)?))).unzip();
        Trajectory { label, epochs, values }
    };
    found
        .into_iter()
        .map(|((space, data), lines)| Trajectories {
            space,
            data,
            lines: lines.into_values().map(line).filter(|line| !line.epochs.is_empty()).collect(),
        })
        .filter(|trajectories| !trajectories.lines.is_empty())
        .collect()
}

type Value = fn(&RunRow) -> Option<f64>;

/// What runs are for.
const TASKS: [Task; 2] = [Task::Classification, Task::Disparity];

/// Two values of each search for a task that knows both, by its place among the rows; of each trajectory once.
fn pairs(rows: &[RunRow], task: Task, x_of: Value, y_of: Value) -> Vec<(usize, (f64, f64))> {
    let pair = |row: &RunRow| x_of(row).zip(y_of(row)).filter(|(x, y)| x.is_finite() && y.is_finite());
    copies::once(rows, |row| pair(row).filter(|_| is_search(row) && row.task == task))
}

fn scatters(rows: &[RunRow], task: Task) -> Vec<Scatter> {
    let scatter = |name, x: &'static str, x_of: Value, y: &'static str, y_of: Value| {
        let point = |(run, (x, y)): (usize, (f64, f64))| ScatterPoint { run, method: rows[run].method.clone(), x, y };
        let points: Vec<ScatterPoint> = pairs(rows, task, x_of, y_of).into_iter().map(point).collect();
        let pairs = || points.iter().map(|p| (p.x, p.y));
        Scatter { task, name, x, y, correlation: correlation(pairs()), rank: rank_correlation(pairs()), points }
    };
    let eigenvalue: Value = |row| row.eigenvalue;
    let [name_test, name_drop, test] = match task {
        Task::Classification => ["eigenvalue-test", "eigenvalue-drop", "test error after training"],
        Task::Disparity => ["eigenvalue-test-disparity", "eigenvalue-drop-disparity", "end-point error of the test"],
    };
    [
        scatter(name_test, "dominant eigenvalue", eigenvalue, test, |row| row.test_error),
        scatter(name_drop, "dominant eigenvalue", eigenvalue, "drop at discretisation", |row| row.drop),
    ]
    .into_iter()
    .filter(|scatter| 1 < scatter.points.len())
    .collect()
}

/// The correlations of the eigenvalue over all searches, of those pairs of which three or more searches know both.
fn correlations(rows: &[RunRow], task: Task) -> Vec<CorrelationRow> {
    let eigenvalues: [(&str, Value); 3] = [
        ("mean over the trajectory", |row| row.mean_eigenvalue),
        ("last of the trajectory", |row| row.last_eigenvalue),
        ("measured, at the epoch that was returned", |row| row.eigenvalue),
    ];
    let others: [(&str, Value); 3] = [
        ("drop at discretisation after the last epoch", |row| row.last_drop),
        ("drop at discretisation at the epoch that was returned", |row| row.drop),
        (
            match task {
                Task::Classification => "test error after training",
                Task::Disparity => "end-point error of the test after training",
            },
            |row| row.test_error,
        ),
    ];
    let row = |(x, x_of): (&'static str, Value), (y, y_of): (&'static str, Value)| {
        let pairs: Vec<(f64, f64)> = pairs(rows, task, x_of, y_of).into_iter().map(|(_, pair)| pair).collect();
        let (linear, rank) = (correlation(pairs.iter().copied()), rank_correlation(pairs.iter().copied()));
        CorrelationRow { task, x, y, n: pairs.len(), linear, rank }
    };
    let all =
        others.into_iter().flat_map(|other| eigenvalues.into_iter().map(move |eigenvalue| row(eigenvalue, other)));
    all.filter(|row| row.rank.is_some()).collect()
}

fn sweeps(rows: &[RunRow], what: Varied) -> Vec<Sweep> {
    let mut found: BTreeMap<_, BTreeMap<u64, Vec<&RunRow>>> = BTreeMap::new();
    for row in rows.iter().filter(|row| is_search(row) && row.copy_of.is_none() && what.of(row).is_some()) {
        let names = (row.space.clone(), row.data.clone(), row.method.clone());
        let others = Varied::ALL.map(|other| if other == what { 0 } else { bits(other.of(row)) });
        let key = (names, others, fingerprint(row, what == Varied::DropPath));
        // Values are not negative, so that their bits have their order.
        found.entry(key).or_default().entry(bits(what.of(row))).or_default().push(row);
    }
    found
        .into_iter()
        .filter(|(_, values)| 1 < values.len())
        .map(|(((space, data, method), ..), values)| Sweep {
            task: values.values().flatten().next().map_or(Task::default(), |row| row.task),
            what: what.as_str(),
            label: format!("{method} in {space} on {data}{}", setting_of_sweep(&values, rows, what)),
            rows: values
                .into_iter()
                .map(|(bits, rows)| {
                    let of = |value: fn(&RunRow) -> Option<f64>| summary(rows.iter().filter_map(|row| value(row)));
                    SweepRow {
                        value: f64::from_bits(bits),
                        n: rows.len(),
                        supernet_error: of(|row| row.supernet_error),
                        child_error: of(|row| row.child_error),
                        test_error: of(|row| row.test_error),
                        skips_normal: of(|row| row.skips_normal.map(|n| n as f64)),
                    }
                })
                .collect(),
        })
        .collect()
}

/// What tells a sweep from others of the same method in the same space on the same data set.
fn setting_of_sweep(values: &BTreeMap<u64, Vec<&RunRow>>, rows: &[RunRow], what: Varied) -> String {
    let Some(row) = values.values().flatten().next() else { return String::new() };
    let alike = alike(rows, row);
    let mut keys = differing(&alike);
    keys.retain(|key| !is_of_cutout(key));
    let mut setting = vec![in_words(row, &keys)];
    for other in Varied::ALL.into_iter().filter(|other| *other != what) {
        setting.extend(other.where_differing(row, &alike));
    }
    setting.iter().filter(|part| !part.is_empty()).map(|part| format!(", {part}")).collect()
}

fn spaces(rows: &[RunRow]) -> Vec<SpaceRow> {
    let mut found: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let is_known = |row: &RunRow| is_search(row) && row.genotype.is_some() && row.skips_normal.is_some();
    for (i, ()) in copies::once(rows, |row| is_known(row).then_some(())) {
        found.entry(&rows[i].space).or_default().push(i);
    }
    let row = |(space, members): (&str, Vec<usize>)| {
        // The first of equals, so that the same runs make the same page.
        let run = members.iter().copied().rev().max_by_key(|&i| rows[i].skips_normal)?;
        Some(SpaceRow {
            space: space.to_string(),
            n: members.len(),
            skips_normal: summary(members.iter().filter_map(|&i| rows[i].skips_normal.map(|n| n as f64))),
            run,
            genotype: rows[run].genotype.clone()?,
        })
    };
    found.into_iter().filter_map(row).collect()
}
