//! The rows of many runs, and in what they differ.

use std::collections::BTreeMap;

use rdarts_run::{Method, Vary};

use super::{RunRow, copies};
use crate::number::short;
use crate::statistics::summary;
use crate::table::search::EpochRow;
use crate::table::{Content, RunTable};
use crate::task::{Architecture, Task};

/// The directory that all runs are in, with a slash at its end.
pub(super) fn base(runs: &[RunTable]) -> String {
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
pub(super) fn rows(runs: &[RunTable], base: usize) -> Vec<RunRow> {
    let row = |run: &RunTable| {
        let mut row = RunRow {
            name: run.head.name[base..].to_string(),
            state: run.head.state,
            task: Task::Classification,
            method: String::new(),
            space: String::new(),
            data: String::new(),
            seed: 0,
            l2: None,
            drop_path: None,
            augmentation: None,
            supernet_error: None,
            child_error: None,
            drop: None,
            eigenvalue: None,
            mean_eigenvalue: None,
            last_eigenvalue: None,
            last_drop: None,
            skips_normal: None,
            trained_valid_error: None,
            test_error: None,
            genotype: None,
            copy_of: None,
            trajectory: 0,
            n_epochs: 0,
            is_search: matches!(run.content, Content::Search(_)),
            settings: settings(run),
        };
        match &run.content {
            Content::Search(table) => {
                (row.method, row.space, row.data) = (table.method.clone(), table.space.clone(), table.data.clone());
                (row.seed, row.task) = (table.seed, table.task);
                // A damaged spec tells none.
                let known = table.rule.is_some();
                row.l2 = known.then_some(table.l2);
                match table.task {
                    Task::Classification => row.drop_path = known.then_some(table.drop_path),
                    Task::Disparity => row.augmentation = strength(run),
                }
                if let Some(returned) = &table.returned {
                    let of = |accuracy: Option<f64>, error| accuracy.map(|accuracy| 1.0 - accuracy).or(error);
                    row.supernet_error = of(returned.valid_accuracy, returned.valid_error);
                    row.child_error = of(returned.child_accuracy, returned.child_error);
                    row.drop = row.child_error.zip(row.supernet_error).map(|(child, supernet)| child - supernet);
                    row.eigenvalue = returned.eigenvalue;
                    row.skips_normal = returned.skips_normal;
                }
                let eigenvalues =
                    || table.kept().filter_map(|epoch| epoch.eigenvalue).filter(|value| value.is_finite());
                row.mean_eigenvalue = summary(eigenvalues()).map(|found| found.mean);
                row.last_eigenvalue = eigenvalues().last();
                row.last_drop = table.kept().filter_map(EpochRow::drop).filter(|drop| drop.is_finite()).last();
                (row.genotype, row.n_epochs) = (table.genotype(), table.kept().count());
            }
            Content::Train(table) => {
                row.method = "train".to_string();
                if let Some(started) = &table.started {
                    (row.data, row.seed) = (started.data.clone(), started.seed);
                    row.genotype = Architecture::read(&started.genotype);
                }
                row.test_error = table.result.as_ref().map(|result| 1.0 - result.test_accuracy);
                let valid = table.result.as_ref().and_then(|result| result.valid_accuracy);
                row.trained_valid_error = valid.map(|accuracy| 1.0 - accuracy);
            }
            Content::DisparityTrain(table) => {
                (row.method, row.task) = ("train".to_string(), Task::Disparity);
                if let Some(started) = &table.started {
                    (row.data, row.seed) = (started.data.clone(), started.seed);
                    row.genotype = Architecture::read(&started.genotype);
                }
                row.augmentation = strength(run);
                (row.trained_valid_error, row.test_error) = errors_of(run).unwrap_or_default();
            }
            Content::Robust(table) => {
                row.method = match table.vary {
                    Some(Vary::L2) => "r-darts(l2)",
                    Some(Vary::DropPath) => "r-darts(dp)",
                    Some(Vary::Augment) => "r-darts(augment)",
                    Some(Vary::Seed) => "r-darts(seed)",
                    None => "",
                }
                .to_string();
                (row.space, row.data, row.seed) = (table.space.clone(), table.data.clone(), table.seed);
                row.test_error = table.result.as_ref().map(|result| 1.0 - result.test_accuracy);
                row.trained_valid_error = table.result.as_ref().map(|result| 1.0 - result.valid_accuracy);
                row.genotype = table.result.as_ref().and_then(|result| Architecture::read(&result.genotype));
                row.task = table.task;
                if let Some(result) = &table.disparity_result {
                    row.test_error = result.test.as_ref().map(|errors| errors.error);
                    row.trained_valid_error = Some(result.valid_error);
                    row.genotype = Architecture::read(&result.genotype);
                }
                let chosen = table.members.iter().find(|member| member.is_chosen);
                row.skips_normal = chosen.and_then(|member| member.skips_normal);
            }
            Content::Nothing => {}
        }
        row
    };
    let mut rows: Vec<RunRow> = runs.iter().map(row).collect();
    copies::find(runs, &mut rows);
    add_trainings(runs, &mut rows);
    rows
}

/// Adds to searches what trainings say of their genotypes on their data sets; of several trainings their mean.
fn add_trainings(runs: &[RunTable], rows: &mut [RunRow]) {
    // Errors on held-out and on test images.
    type Errors = (Option<f64>, Option<f64>);
    let mut trained: BTreeMap<(String, String), Vec<Errors>> = BTreeMap::new();
    let key = |genotype: &Architecture, data: &str| (genotype.canonical(), data.to_string());
    for (run, row) in runs.iter().zip(rows.iter()).filter(|(_, row)| row.copy_of.is_none()) {
        let (Some(genotype), Some(errors)) = (&row.genotype, errors_of(run)) else { continue };
        trained.entry(key(genotype, &row.data)).or_default().push(errors);
    }
    for row in rows.iter_mut().filter(|row| row.is_search) {
        let Some(found) = row.genotype.as_ref().and_then(|genotype| trained.get(&key(genotype, &row.data))) else {
            continue;
        };
        row.trained_valid_error = summary(found.iter().filter_map(|errors| errors.0)).map(|s| s.mean);
        row.test_error = summary(found.iter().filter_map(|errors| errors.1)).map(|s| s.mean);
    }
}

/// The errors of a finished training on held-out and on test images or pairs.
fn errors_of(run: &RunTable) -> Option<(Option<f64>, Option<f64>)> {
    match &run.content {
        Content::Train(table) => {
            let result = table.result.as_ref()?;
            Some((result.valid_accuracy.map(|accuracy| 1.0 - accuracy), Some(1.0 - result.test_accuracy)))
        }
        Content::DisparityTrain(table) => {
            let result = table.result.as_ref()?;
            Some((result.valid_error, result.test.as_ref().map(|test| test.error)))
        }
        _ => None,
    }
}

/// Keys that have a column of their own, name a place, or change only what is shown of a run.
const NO_SETTINGS: [&str; 12] = [
    "kind",
    "preset",
    "seed",
    "data.name",
    "data.dir",
    "data.cache",
    "space.name",
    "search.method",
    "weights.l2",
    "search.drop_path",
    "augment.strength",
    "network.genotype",
];

fn settings(run: &RunTable) -> BTreeMap<String, String> {
    let rows = run.head.spec.iter().flat_map(|spec| &spec.rows);
    let method = match &run.content {
        Content::Search(table) => Method::ALL.iter().find(|method| method.as_str() == table.method),
        _ => None,
    };
    // What only other methods look at changes nothing.
    let is_of_others = |key: &str| {
        let is_of_some = ["monitor.", "method.", "search.sample"].iter().any(|begin| key.starts_with(begin));
        is_of_some && method.is_some_and(|method| !method.keys().contains(&key))
    };
    let is_setting = |key: &str| !NO_SETTINGS.contains(&key) && !key.starts_with("eval.") && !is_of_others(key);
    rows.filter(|row| is_setting(&row.key)).map(|row| (row.key.clone(), row.value.clone())).collect()
}

/// The keys whose values are not the same in all of some runs.
pub(super) fn differing<'a>(rows: &[&'a RunRow]) -> Vec<&'a str> {
    let Some(first) = rows.first() else { return Vec::new() };
    // A run whose spec is damaged has no values to differ in.
    let known = || rows.iter().filter(|row| !row.settings.is_empty());
    let first = known().next().unwrap_or(first);
    let differs = |key: &&String| known().any(|row| row.settings.get(*key) != first.settings.get(*key));
    first.settings.keys().filter(differs).map(String::as_str).collect()
}

/// The values of some keys in words.
pub(super) fn in_words(row: &RunRow, keys: &[&str]) -> String {
    if row.settings.is_empty() {
        return "its spec is damaged".to_string();
    }
    let value = |key: &&str| Some(format!("{key} {}", row.settings.get(*key)?));
    keys.iter().filter_map(value).collect::<Vec<_>>().join(", ")
}

/// All settings as one key, but for those of Cutout if `but_cutout`: it goes with drop path.
pub(super) fn fingerprint(row: &RunRow, but_cutout: bool) -> String {
    let is_used = |key: &str| !(but_cutout && is_of_cutout(key));
    row.settings.iter().filter(|(key, _)| is_used(key)).map(|(key, value)| format!("{key}={value};")).collect()
}

/// Whether a key is one of Cutout's.
pub(super) fn is_of_cutout(key: &str) -> bool {
    key.starts_with("augment.cutout")
}

/// The runs of the same method in the same space on the same data set as one of them.
pub(super) fn alike<'a>(rows: &'a [RunRow], of: &RunRow) -> Vec<&'a RunRow> {
    let is_alike = |row: &&RunRow| row.method == of.method && row.space == of.space && row.data == of.data;
    rows.iter().filter(is_alike).collect()
}

/// The method of a run, with what tells it from others of the same method in the same space on the same data set.
pub(super) fn label_of(row: &RunRow, rows: &[RunRow]) -> String {
    let alike = alike(rows, row);
    let mut label = vec![row.method.clone()];
    label.extend(Varied::ALL.into_iter().filter_map(|what| what.where_differing(row, &alike)));
    label.push(in_words(row, &differing(&alike)));
    label.retain(|part| !part.is_empty());
    label.join(", ")
}

/// A value of the spec that has a column of its own, since the paper varies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Varied {
    L2,
    DropPath,
    Augmentation,
}

impl Varied {
    pub(super) const ALL: [Self; 3] = [Self::L2, Self::DropPath, Self::Augmentation];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::L2 => "L2",
            Self::DropPath => "drop path",
            Self::Augmentation => "augmentation",
        }
    }

    /// Its key in the spec of a search.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::L2 => "weights.l2",
            Self::DropPath => "search.drop_path",
            Self::Augmentation => "augment.strength",
        }
    }

    /// Its value; `None` of a run that has none, or whose spec is damaged.
    pub(super) const fn of(self, row: &RunRow) -> Option<f64> {
        match self {
            Self::L2 => row.l2,
            Self::DropPath => row.drop_path,
            Self::Augmentation => row.augmentation,
        }
    }

    /// Its name and value, if it is not the same in all of some runs.
    pub(super) fn where_differing(self, row: &RunRow, alike: &[&RunRow]) -> Option<String> {
        let differs = alike.iter().any(|other| bits(self.of(other)) != bits(self.of(row)));
        differs.then(|| format!("{} {}", self.as_str(), self.of(row).map_or("unknown".to_string(), short)))
    }
}

/// The strength of the augmentation, as the spec of a run has it.
fn strength(run: &RunTable) -> Option<f64> {
    let row = run.head.spec.as_ref()?.rows.iter().find(|row| row.key == Varied::Augmentation.key())?;
    row.value.parse().ok()
}

/// A value as a key: the same number is the same key.
pub(super) fn bits(value: Option<f64>) -> u64 {
    value.map_or(0, |value| (value + 0.0).to_bits())
}
