//! Many runs together: what methods reach in spaces on data sets, and what goes with what.
//!
//! Runs that differ in their seed alone are a group. The test error of what a search found comes from a training of the
//! same genotype on the same data set, if one is among the runs; a portfolio has its own.

use std::collections::BTreeMap;

use rdarts_run::Vary;
use rdarts_space::Genotype;
use serde::Serialize;

use super::{Content, RunTable};
use crate::number::{short, spread_percent};
use crate::read::State;
use crate::statistics::{Correlation, Summary, correlation, summary};

/// Many runs together.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ManyTable {
    /// The directory that all runs are in; empty if there is none.
    pub base: String,
    /// The runs, one row each.
    pub rows: Vec<RunRow>,
    /// The groups of runs that differ in their seed alone.
    pub groups: Vec<GroupRow>,
    /// Mean trajectories of the eigenvalue by method, for each space and data set.
    pub trajectories: Vec<Trajectories>,
    /// What goes with what, over all runs.
    pub scatters: Vec<Scatter>,
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
    /// Validation error of the supernet at the epoch that was returned.
    pub supernet_error: Option<f64>,
    /// That of the discretised child.
    pub child_error: Option<f64>,
    /// What discretisation costs: the error of the child minus that of the supernet.
    pub drop: Option<f64>,
    /// The smoothed dominant eigenvalue there, or the plain one where it has no smoothed one.
    pub eigenvalue: Option<f64>,
    /// Skip connections of the normal cell.
    pub skips_normal: Option<usize>,
    /// Validation error of what was found after its training, if it was trained.
    pub trained_valid_error: Option<f64>,
    /// Its test error.
    pub test_error: Option<f64>,
    /// What was found.
    pub genotype: Option<Genotype>,
}

/// Runs that differ in their seed alone.
#[derive(Clone, Debug, Serialize)]
pub struct GroupRow {
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
    /// Number of runs.
    pub n: usize,
    /// Number of them that have finished.
    pub n_finished: usize,
    /// Validation error of the supernet.
    pub supernet_error: Option<Summary>,
    /// What discretisation costs.
    pub drop: Option<Summary>,
    /// The dominant eigenvalue.
    pub eigenvalue: Option<Summary>,
    /// Skip connections of the normal cell.
    pub skips_normal: Option<Summary>,
    /// Test error after training.
    pub test_error: Option<Summary>,
    /// The run with the best validation error after training, by its place among the rows: the one that the paper reports.
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
    /// What its figure is called.
    pub name: &'static str,
    /// What stands on the horizontal axis.
    pub x: &'static str,
    /// What stands on the vertical axis.
    pub y: &'static str,
    /// One point a run.
    pub points: Vec<ScatterPoint>,
    /// The correlation; `None` of too few points.
    pub correlation: Option<Correlation>,
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
    /// `L2` or `drop path`.
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
    pub genotype: Genotype,
}

impl ManyTable {
    pub(super) fn new(runs: &[RunTable]) -> ManyTable {
        let base = base(runs);
        let rows = rows(runs, base.len());
        let mut table = ManyTable {
            base,
            groups: groups(&rows),
            trajectories: trajectories(runs, &rows),
            scatters: scatters(&rows),
            sweeps: [sweeps(&rows, "L2", l2_of, drop_path_of), sweeps(&rows, "drop path", drop_path_of, l2_of)]
                .concat(),
            spaces: spaces(&rows),
            rows,
            missing: Vec::new(),
        };
        table.missing = table.what_is_missing();
        table
    }

    /// The group with the lowest mean test error, in words; `None` if none has one.
    pub(crate) fn best(&self) -> Option<String> {
        let trained = self.groups.iter().filter_map(|group| Some((group, group.test_error?)));
        let (group, error) = trained.min_by(|a, b| a.1.mean.total_cmp(&b.1.mean))?;
        Some(format!(
            "the lowest mean test error is {}, of {} in {} on {} (n = {})",
            spread_percent(error.mean, error.deviation),
            group.method,
            group.space,
            group.data,
            error.n
        ))
    }

    fn what_is_missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        let searches = || self.rows.iter().filter(|row| is_search(row));
        if searches().next().is_none() {
            return vec!["No search is among these runs, so they are only listed.".to_string()];
        }
        if searches().all(|row| row.test_error.is_none()) {
            missing.push(
                "Test errors, the chosen run of each group and what goes with them are left out: trainings (`rdarts train`) \
                 of what the searches found, added to this command, show them."
                    .to_string(),
            );
        }
        if searches().all(|row| row.child_error.is_none()) {
            missing.push(
                "The drop at discretisation is left out: searches with `eval.child=true` and `eval.oneshot=true` show it."
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
        for what in ["L2", "drop path"] {
            if !self.sweeps.iter().any(|sweep| sweep.what == what) {
                let key = if what == "L2" { "weights.l2" } else { "search.drop_path" };
                missing.push(format!("A sweep of {what} is left out: searches that differ in `{key}` alone show it."));
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
    row.l2.is_some()
}

/// The directory that all runs are in, with a slash at its end.
fn base(runs: &[RunTable]) -> String {
    let parent = |name: &str| name.rfind('/').map_or(0, |slash| slash + 1);
    let Some(first) = runs.first().map(|run| &run.head.name) else { return String::new() };
    let mut base = &first[..parent(first)];
    for run in runs {
        while !run.head.name.starts_with(base) {
            base = &base[..parent(&base[..base.len() - 1])];
        }
    }
    base.to_string()
}

/// One row a run; names begin after so many bytes.
fn rows(runs: &[RunTable], base: usize) -> Vec<RunRow> {
    // What trainings say of a genotype on a data set, of held-out and of test images; of several trainings their mean.
    type Errors = (Option<f64>, f64);
    let mut trained: BTreeMap<(String, String), Vec<Errors>> = BTreeMap::new();
    let key = |genotype: &Genotype, data: &str| (genotype.clone().canonical().to_string(), data.to_string());
    for run in runs {
        let Content::Train(table) = &run.content else { continue };
        let (Some(started), Some(result)) = (&table.started, &table.result) else { continue };
        if let Ok(genotype) = started.genotype.parse::<Genotype>() {
            let errors = (result.valid_accuracy.map(|accuracy| 1.0 - accuracy), 1.0 - result.test_accuracy);
            trained.entry(key(&genotype, &started.data)).or_default().push(errors);
        }
    }
    let row = |run: &RunTable| {
        let mut row = RunRow {
            name: run.head.name[base..].to_string(),
            state: run.head.state,
            method: String::new(),
            space: String::new(),
            data: String::new(),
            seed: 0,
            l2: None,
            drop_path: None,
            supernet_error: None,
            child_error: None,
            drop: None,
            eigenvalue: None,
            skips_normal: None,
            trained_valid_error: None,
            test_error: None,
            genotype: None,
        };
        match &run.content {
            Content::Search(table) => {
                (row.method, row.space, row.data) = (table.method.clone(), table.space.clone(), table.data.clone());
                row.seed = table.seed;
                (row.l2, row.drop_path) = (Some(table.l2), Some(table.drop_path));
                if let Some(result) = table.result() {
                    row.supernet_error = result.valid_accuracy.map(|accuracy| 1.0 - accuracy);
                    row.child_error = result.child_accuracy.map(|accuracy| 1.0 - accuracy);
                    row.drop = row.child_error.zip(row.supernet_error).map(|(child, supernet)| child - supernet);
                    row.eigenvalue = result.smoothed.or(result.eigenvalue);
                    row.skips_normal = Some(result.skip_connects_normal);
                }
                row.genotype = table.genotype();
                if let Some(found) = row.genotype.as_ref().and_then(|g| trained.get(&key(g, &row.data))) {
                    row.trained_valid_error = summary(found.iter().filter_map(|errors| errors.0)).map(|s| s.mean);
                    row.test_error = summary(found.iter().map(|errors| errors.1)).map(|s| s.mean);
                }
            }
            Content::Train(table) => {
                row.method = "train".to_string();
                if let Some(started) = &table.started {
                    (row.data, row.seed) = (started.data.clone(), started.seed);
                    row.genotype = started.genotype.parse().ok();
                }
                row.test_error = table.result.as_ref().map(|result| 1.0 - result.test_accuracy);
                let valid = table.result.as_ref().and_then(|result| result.valid_accuracy);
                row.trained_valid_error = valid.map(|accuracy| 1.0 - accuracy);
            }
            Content::Robust(table) => {
                row.method = match table.vary {
                    Some(Vary::L2) => "r-darts(l2)",
                    Some(Vary::DropPath) => "r-darts(dp)",
                    Some(Vary::Seed) => "r-darts(seed)",
                    None => "",
                }
                .to_string();
                (row.space, row.data, row.seed) = (table.space.clone(), table.data.clone(), table.seed);
                row.test_error = table.result.as_ref().map(|result| 1.0 - result.test_accuracy);
                row.trained_valid_error = table.result.as_ref().map(|result| 1.0 - result.valid_accuracy);
                row.genotype = table.result.as_ref().and_then(|result| result.genotype.parse().ok());
                let chosen = table.members.iter().find(|member| member.is_chosen);
                row.skips_normal = chosen.and_then(|member| member.skips_normal);
            }
            Content::Nothing => {}
        }
        row
    };
    runs.iter().map(row).collect()
}

fn groups(rows: &[RunRow]) -> Vec<GroupRow> {
    let mut groups: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (i, row) in rows.iter().enumerate().filter(|(_, row)| !row.method.is_empty() && row.method != "train") {
        let key = (row.space.clone(), row.data.clone(), row.method.clone(), bits(row.l2), bits(row.drop_path));
        groups.entry(key).or_default().push(i);
    }
    groups
        .into_values()
        .map(|members| {
            let of = |value: fn(&RunRow) -> Option<f64>| summary(members.iter().filter_map(|&i| value(&rows[i])));
            let first = &rows[members[0]];
            let error = |i: &usize| rows[*i].trained_valid_error.filter(|error| error.is_finite());
            let rank = |a: &&usize, b: &&usize| error(a).unwrap_or(9.0).total_cmp(&error(b).unwrap_or(9.0));
            GroupRow {
                method: first.method.clone(),
                space: first.space.clone(),
                data: first.data.clone(),
                l2: first.l2,
                drop_path: first.drop_path,
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
    type Lines = BTreeMap<(String, u64, u64), (String, BTreeMap<usize, Vec<f64>>)>;
    let mut found: BTreeMap<(String, String), Lines> = BTreeMap::new();
    for (run, row) in runs.iter().zip(rows) {
        let Content::Search(table) = &run.content else { continue };
        let is_same = |value: fn(&RunRow) -> Option<f64>| {
            let mut others = rows.iter().filter(|other| is_search(other) && other.method == row.method);
            others.all(|other| bits(value(other)) == bits(value(row)))
        };
        let mut label = row.method.clone();
        if !is_same(l2_of) {
            label += &format!(", L2 {}", short(row.l2.unwrap_or(0.0)));
        }
        if !is_same(drop_path_of) {
            label += &format!(", drop path {}", short(row.drop_path.unwrap_or(0.0)));
        }
        let lines = found.entry((row.space.clone(), row.data.clone())).or_default();
        let key = (row.method.clone(), bits(row.l2), bits(row.drop_path));
        let (_, line) = lines.entry(key).or_insert_with(|| (label, BTreeMap::new()));
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

fn scatters(rows: &[RunRow]) -> Vec<Scatter> {
    type Value = fn(&RunRow) -> Option<f64>;
    let scatter = |name, x: &'static str, x_of: Value, y: &'static str, y_of: Value| {
        let point = |(run, row): (usize, &RunRow)| {
            let (x, y) = (x_of(row)?, y_of(row)?);
            let method = row.method.clone();
            (x.is_finite() && y.is_finite()).then_some(ScatterPoint { run, method, x, y })
        };
        let points: Vec<ScatterPoint> = rows.iter().enumerate().filter_map(point).collect();
        Scatter { name, x, y, correlation: correlation(points.iter().map(|p| (p.x, p.y))), points }
    };
    let eigenvalue: Value = |row| row.eigenvalue;
    [
        scatter("eigenvalue-test", "dominant eigenvalue", eigenvalue, "test error after training", |row| {
            row.test_error
        }),
        scatter("eigenvalue-drop", "dominant eigenvalue", eigenvalue, "drop at discretisation", |row| row.drop),
    ]
    .into_iter()
    .filter(|scatter| 1 < scatter.points.len())
    .collect()
}

fn sweeps(
    rows: &[RunRow],
    what: &'static str,
    value: fn(&RunRow) -> Option<f64>,
    other: fn(&RunRow) -> Option<f64>,
) -> Vec<Sweep> {
    let mut found: BTreeMap<_, BTreeMap<u64, Vec<&RunRow>>> = BTreeMap::new();
    for row in rows.iter().filter(|row| is_search(row)) {
        let key = (row.space.clone(), row.data.clone(), row.method.clone(), bits(other(row)));
        // Values are not negative, so that their bits have their order.
        found.entry(key).or_default().entry(bits(value(row))).or_default().push(row);
    }
    found
        .into_iter()
        .filter(|(_, values)| 1 < values.len())
        .map(|((space, data, method, _), values)| Sweep {
            what,
            label: format!("{method} in {space} on {data}"),
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

fn spaces(rows: &[RunRow]) -> Vec<SpaceRow> {
    let mut found: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, row) in rows.iter().enumerate() {
        if is_search(row) && row.genotype.is_some() && row.skips_normal.is_some() {
            found.entry(&row.space).or_default().push(i);
        }
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

fn l2_of(row: &RunRow) -> Option<f64> {
    row.l2
}

fn drop_path_of(row: &RunRow) -> Option<f64> {
    row.drop_path
}

/// A value as a key: the same number is the same key.
fn bits(value: Option<f64>) -> u64 {
    value.map_or(0, |value| (value + 0.0).to_bits())
}
