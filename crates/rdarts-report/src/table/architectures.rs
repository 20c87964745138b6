//! All architectures of a space, each trained, and where searches stand among them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use rdarts_run::DecisionKind;
use rdarts_space::{CellType, Genotype, Op};
use rdarts_table::{Fault, Optimum, Table, Unmeasured};
use rdarts_text::shown;
use serde::Serialize;

use super::many::{Named, names};
use super::search::{EpochRow, SearchTable};
use super::{Content, RunTable};
use crate::number::{listed, percent, points, some};
use crate::statistics::{Correlation, Summary, correlation, summary};
use crate::task::Architecture;

/// All architectures of a space, each trained, and where searches stand among them.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ArchitecturesTable {
    /// The file, in one line of text.
    pub name: String,
    /// Lines of it that could not be read, one sentence each.
    pub faults: Vec<String>,
    /// Name of the space.
    pub space: String,
    /// Name of the data set that the architectures were trained on.
    pub data: String,
    /// Epochs of each training.
    pub n_epochs: usize,
    /// Seeds that each was trained with.
    pub n_seeds: usize,
    /// How many architectures the space has.
    pub n: usize,
    /// Those that were trained with every seed, the best first.
    pub rows: Vec<ArchitectureRow>,
    /// The median of their mean test errors.
    pub median: Option<f64>,
    /// Standard deviation between seeds of the same architecture; of more than one seed.
    pub between_seeds: Option<f64>,
    /// How many architectures the seeds do not tell apart from the best, itself included.
    pub not_worse: Option<usize>,
    /// What goes with the test error: the number of skip connections.
    pub with_skips: Option<Correlation>,
    /// The number of pools.
    pub with_pools: Option<Correlation>,
    /// The number of all operations that are no convolution.
    pub with_parameterless: Option<Correlation>,
    /// Where the searches of the report ended.
    pub ends: Vec<EndRow>,
    /// How far they were from the best, over the epochs.
    pub lines: Vec<RegretLine>,
    /// What the table and these runs cannot show, one sentence each on what would show it.
    pub missing: Vec<String>,
}

/// An architecture.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ArchitectureRow {
    /// Its number in the space.
    pub architecture: u64,
    /// Itself, in the notation of the DARTS code.
    pub genotype: String,
    /// Mean test error over the seeds.
    pub test_error: f64,
    /// Its standard deviation, of more than one seed.
    pub deviation: Option<f64>,
    /// The test error with the best seed.
    pub lowest: f64,
    /// That with the worst one.
    pub highest: f64,
    /// Number of weights.
    pub n_params: usize,
    /// Skip connections of its cells.
    pub skips: usize,
    /// Their pools.
    pub pools: usize,
    /// All of their operations that are no convolution.
    pub parameterless: usize,
}

/// Where a search ended.
#[derive(Clone, Debug, Serialize)]
pub struct EndRow {
    /// The run.
    pub run: String,
    /// Its method, with what tells it from others.
    pub label: String,
    /// Whether it has ended; else this is what it holds best now.
    pub has_ended: bool,
    /// The architecture's number.
    pub architecture: u64,
    /// Its rank, 1 for the best.
    pub rank: usize,
    /// Its mean test error.
    pub test_error: f64,
    /// That less the one of the best architecture.
    pub regret: f64,
}

/// How far a search was from the best architecture over the epochs, or the mean of several searches alike.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RegretLine {
    /// The method, with what tells it from others, or the run.
    pub label: String,
    /// Number of searches.
    pub n: usize,
    /// After each epoch; empty of random search, which holds none best before its end.
    pub points: Vec<RegretPoint>,
    /// What a single search gave up by going back, one list of (epoch, regret) an attempt.
    pub given_up: Vec<Vec<(usize, f64)>>,
    /// Where the monitor stopped searches: epoch, and regret then.
    pub stops: Vec<(usize, f64)>,
    /// What they returned: the epoch that it is of, and its regret.
    pub returned: Vec<(usize, f64)>,
}

/// An epoch of searches.
#[derive(Clone, Debug, Serialize)]
pub struct RegretPoint {
    /// The epoch, counted from 0.
    pub epoch: usize,
    /// The regret of what they hold best, over the searches that came so far.
    pub regret: Summary,
    /// Validation error of their supernets, of those that took it.
    pub valid_error: Option<Summary>,
}

/// More searches than these are lines of their methods, not of their own.
const MOST_LINES: usize = 4;

impl ArchitecturesTable {
    pub(super) fn new(table: &Table, path: &Path, faults: &[Fault], runs: &[RunTable]) -> ArchitecturesTable {
        let ranked = table.ranked();
        let rows: Vec<ArchitectureRow> = ranked.iter().map(row).collect();
        let with = |count: fn(&ArchitectureRow) -> usize| {
            correlation(rows.iter().map(|row| (count(row) as f64, row.test_error)))
        };
        let spread = table.spread();
        let mut of = ArchitecturesTable {
            name: shown(path),
            faults: in_sentences(faults),
            space: table.space().name.clone(),
            data: table.spec().data.images.name.clone(),
            n_epochs: table.spec().train.epochs,
            n_seeds: table.header().seeds.len(),
            n: table.n_architectures(),
            median: spread.map(|spread| spread.median),
            between_seeds: spread.and_then(|spread| spread.between_seeds),
            not_worse: spread.and_then(|spread| spread.not_worse),
            with_skips: with(|row| row.skips),
            with_pools: with(|row| row.pools),
            with_parameterless: with(|row| row.parameterless),
            rows,
            ..ArchitecturesTable::default()
        };
        let mut unmeasured = Unshown::default();
        if let Some(optimum) = table.optimum() {
            of.measure(&optimum, runs, &mut unmeasured);
        }
        of.missing = of.what_is_missing(&unmeasured);
        of
    }

    /// What the table says, in one sentence.
    pub fn verdict(&self) -> String {
        let (Some(best), Some(median), Some(worst)) = (self.rows.first(), self.median, self.rows.last()) else {
            return format!(
                "None of the {} of {} has been trained with every seed yet.",
                some(self.n, "architecture"),
                self.space
            );
        };
        // The best of all may still come.
        let of = match self.rows.len() == self.n {
            true => format!("{} of {}", some(self.n, "architecture"), self.space),
            false => format!(
                "{} of the {} of {}, those that were trained with every seed so far,",
                self.rows.len(),
                some(self.n, "architecture"),
                self.space
            ),
        };
        format!(
            "Of {of} the best has a test error of {}, the median {}, the worst {}; {}.",
            percent(best.test_error),
            percent(median),
            percent(worst.test_error),
            self.how_sure()
        )
    }

    /// How far the seeds allow "best" to be said.
    pub(crate) fn how_sure(&self) -> String {
        let (Some(between), Some(n)) = (self.between_seeds, self.not_worse) else {
            return "with one seed nothing can be said of how sure their order is".to_string();
        };
        let others = match n.saturating_sub(1) {
            0 => "all others are".to_string(),
            1 => "1 other is not".to_string(),
            n => format!("{n} others are not"),
        };
        format!(
            "seeds of one architecture deviate by {} points, and {others} told apart from the best (at a risk of 5 % for \
             all comparisons together)",
            points(between)
        )
    }

    /// Looks up what each search held best and where it ended.
    fn measure(&mut self, optimum: &Optimum<'_>, runs: &[RunTable], unshown: &mut Unshown) {
        let ranks: HashMap<u64, usize> =
            self.rows.iter().enumerate().map(|(at, row)| (row.architecture, at + 1)).collect();
        let mut curves: Vec<Curve> = Vec::new();
        for (run, Named { name, label, is_copy }) in runs.iter().zip(names(runs)) {
            let name = if name.is_empty() { run.head.name.clone() } else { name };
            let mut end = |run: &str, label: &str, has_ended: bool, genotype: &Genotype| {
                let Ok(standing) = optimum.standing(genotype) else { return };
                let Some(&rank) = ranks.get(&standing.architecture) else { return };
                self.ends.push(EndRow {
                    run: run.to_string(),
                    label: label.to_string(),
                    has_ended,
                    architecture: standing.architecture,
                    rank,
                    test_error: standing.test_error,
                    regret: standing.regret,
                });
            };
            let mut search = |name: &str, label: &str, table: &SearchTable| {
                let Some(mut curve) = Curve::new(optimum, name, table, unshown) else { return };
                curve.label = label.to_string();
                if let Some(Architecture::Classification(genotype)) = table.genotype() {
                    end(name, label, table.found.is_some(), &genotype);
                }
                // A copy would count twice in the mean of its method.
                if !is_copy {
                    curves.push(curve);
                }
            };
            match &run.content {
                Content::Search(table) => search(&name, &label, table),
                Content::Robust(table) => {
                    for member in &table.members {
                        if let Some(table) = &member.search {
                            let label = [&label[..], &member.label[..]].join(", ");
                            search(&format!("{name}, {}", member.label), &label, table);
                        }
                    }
                    let chosen = table.members.iter().find(|member| member.is_chosen);
                    if let Some(genotype) = chosen.and_then(|member| member.cells.as_ref()?.of_classification()) {
                        end(&name, &label, true, genotype);
                    }
                }
                Content::Train(_) | Content::DisparityTrain(_) | Content::Nothing => {}
            }
        }
        for curve in &curves {
            if !curve.data.is_empty() && curve.data != self.data {
                unshown.other_data.push(format!("{} ({})", curve.name, curve.data));
            }
        }
        tell_apart(&mut curves);
        self.lines = lines(&curves);
    }

    fn what_is_missing(&self, unshown: &Unshown) -> Vec<String> {
        let mut missing = Vec::new();
        if self.rows.len() < self.n {
            missing.push(format!(
                "{} of {} have not been trained with every seed yet: `rdarts table build --out {}` goes on with it.",
                self.n - self.rows.len(),
                some(self.n, "architecture"),
                self.name
            ));
        }
        if self.rows.is_empty() {
            return missing;
        }
        if self.n_seeds < 2 {
            missing.push(
                "How sure the order of the architectures is: a table of more seeds (`rdarts table build --seeds \
                 1,2,3`) shows it."
                    .to_string(),
            );
        }
        if !unshown.elsewhere.is_empty() {
            missing.push(format!(
                "Not looked up in the table, since what they found is none of its space {}: {}.",
                self.space,
                listed(&unshown.elsewhere, "; ")
            ));
        }
        if !unshown.other_data.is_empty() {
            missing.push(format!(
                "The table was trained on {}, and these searched on other images: {}.",
                self.data,
                listed(&unshown.other_data, "; ")
            ));
        }
        let n_untrained = unshown.untrained.len();
        if n_untrained > 0 {
            missing.push(format!(
                "{} that searches held best {} left out, since the table has not all trainings of {} yet.",
                some(n_untrained, "architecture"),
                if n_untrained == 1 { "is" } else { "are" },
                if n_untrained == 1 { "it" } else { "them" }
            ));
        }
        if self.lines.is_empty() && n_untrained > 0 {
            missing.push(
                "Regret over the epochs is left out, since the table has all trainings of none of the architectures that \
                 these searches held best: it will show it when it is whole."
                    .to_string(),
            );
        } else if self.lines.is_empty() {
            missing.push(format!(
                "Regret over the epochs is left out: searches in the space {} (`rdarts search --space`), added to this \
                 command, show it.",
                self.space
            ));
        } else if self.lines.iter().all(|line| line.points.iter().all(|point| point.valid_error.is_none())) {
            missing.push(
                "The validation error of the search model, which may fall while the regret rises, is left out: \
                 searches with `eval.oneshot=true` show it."
                    .to_string(),
            );
        }
        if self.lines.iter().any(|line| line.points.is_empty()) {
            missing.push(
                "Random search holds no architecture best before its end, so only what it returned is shown."
                    .to_string(),
            );
        }
        missing
    }
}

/// What is left out, and of whom.
#[derive(Default)]
struct Unshown {
    /// Searches that found what is none of the space.
    elsewhere: Vec<String>,
    /// Searches on other images.
    other_data: Vec<String>,
    /// Architectures that searches held best and that are not trained with every seed.
    untrained: BTreeSet<String>,
}

impl RegretLine {
    /// The first epoch of the least regret.
    pub fn least(&self) -> Option<&RegretPoint> {
        self.points.iter().min_by(|a, b| a.regret.mean.total_cmp(&b.regret.mean))
    }
}

/// A search in the table's space.
#[derive(Clone, Debug, Default)]
struct Curve {
    name: String,
    label: String,
    space: String,
    data: String,
    /// Epoch, regret, and validation error of the supernet.
    points: Vec<(usize, f64, Option<f64>)>,
    given_up: Vec<Vec<(usize, f64)>>,
    stop: Option<(usize, f64)>,
    returned: Option<(usize, f64)>,
}

impl Curve {
    /// None of a search that is in another space or holds nothing yet.
    fn new(optimum: &Optimum<'_>, name: &str, table: &SearchTable, unshown: &mut Unshown) -> Option<Curve> {
        let standings: Vec<Option<Result<f64, Unmeasured>>> = table
            .genotypes
            .iter()
            .map(|row| {
                row.genotype
                    .as_ref()
                    .and_then(Architecture::of_classification)
                    .map(|g| optimum.standing(g).map(|standing| standing.regret))
            })
            .collect();
        if standings.iter().flatten().any(|standing| matches!(standing, Err(Unmeasured::Elsewhere(_)))) {
            unshown.elsewhere.push(name.to_string());
            return None;
        }
        let untrained = table.genotypes.iter().zip(&standings).filter(|(_, standing)| matches!(standing, Some(Err(_))));
        unshown.untrained.extend(untrained.filter_map(|(row, _)| Some(row.genotype.as_ref()?.canonical())));
        let mut curve =
            Curve { name: name.to_string(), space: table.space.clone(), data: table.data.clone(), ..Curve::default() };
        let regret = |row: &EpochRow| standings.get(row.genotype)?.as_ref()?.as_ref().ok().copied();
        if !table.is_random() {
            let mut attempt = None;
            for row in &table.epochs {
                let Some(regret) = regret(row) else { continue };
                if row.is_kept {
                    let error = row.valid_accuracy.map(|accuracy| 1.0 - accuracy).filter(|error| error.is_finite());
                    curve.points.push((row.epoch, regret, error));
                    continue;
                }
                if attempt != Some(row.attempt) {
                    attempt = Some(row.attempt);
                    curve.given_up.push(Vec::new());
                }
                curve.given_up.iter_mut().last()?.push((row.epoch, regret));
            }
        }
        let stop = table.decisions.iter().find(|decision| decision.kind == DecisionKind::Stop);
        curve.stop = stop.and_then(|stop| {
            let point = curve.points.iter().find(|point| point.0 == stop.epoch)?;
            Some((stop.epoch, point.1))
        });
        curve.returned = table.found.as_ref().and_then(|found| {
            let genotype: Genotype = found.genotype.parse().ok()?;
            Some((found.epoch, optimum.standing(&genotype).ok()?.regret))
        });
        (!curve.points.is_empty() || curve.returned.is_some()).then_some(curve)
    }
}

/// Adds to labels the space and the data set where searches differ in them.
fn tell_apart(curves: &mut [Curve]) {
    let differs = |of: fn(&Curve) -> &str| curves.windows(2).any(|pair| of(&pair[0]) != of(&pair[1]));
    let (spaces, data) = (differs(|curve| &curve.space), differs(|curve| &curve.data));
    for curve in curves {
        if spaces {
            curve.label = format!("{} in {}", curve.label, curve.space);
        }
        if data {
            curve.label = format!("{} on {}", curve.label, curve.data);
        }
    }
}

/// A line for each of a few searches, and one for each method of many.
fn lines(curves: &[Curve]) -> Vec<RegretLine> {
    let is_unique = |curve: &Curve| curves.iter().filter(|other| other.label == curve.label).count() == 1;
    if curves.len() <= MOST_LINES {
        let line = |curve: &Curve| RegretLine {
            label: if is_unique(curve) && !curve.label.is_empty() { &curve.label } else { &curve.name }.clone(),
            given_up: curve.given_up.clone(),
            ..mean_of(&[curve])
        };
        return curves.iter().map(line).collect();
    }
    let mut groups: BTreeMap<&str, Vec<&Curve>> = BTreeMap::new();
    for curve in curves {
        groups.entry(&curve.label).or_default().push(curve);
    }
    let line = |(label, curves): (&str, Vec<&Curve>)| RegretLine { label: label.to_string(), ..mean_of(&curves) };
    groups.into_iter().map(line).collect()
}

fn mean_of(curves: &[&Curve]) -> RegretLine {
    let mut epochs: BTreeMap<usize, (Vec<f64>, Vec<f64>)> = BTreeMap::new();
    for &(epoch, regret, error) in curves.iter().flat_map(|curve| &curve.points) {
        let (regrets, errors) = epochs.entry(epoch).or_default();
        regrets.push(regret);
        errors.extend(error);
    }
    let point = |(epoch, (regrets, errors)): (usize, (Vec<f64>, Vec<f64>))| {
        Some(RegretPoint { epoch, regret: summary(regrets)?, valid_error: summary(errors) })
    };
    RegretLine {
        label: String::new(),
        n: curves.len(),
        points: epochs.into_iter().filter_map(point).collect(),
        given_up: Vec::new(),
        stops: curves.iter().filter_map(|curve| curve.stop).collect(),
        returned: curves.iter().filter_map(|curve| curve.returned).collect(),
    }
}

fn row(row: &rdarts_table::Row<'_>) -> ArchitectureRow {
    let errors = || row.entries.iter().map(rdarts_table::Entry::test_error);
    let genotype: Option<Genotype> = row.genotype().parse().ok();
    let uses = |op: Op| -> usize { genotype.iter().flat_map(|g| CellType::ALL.map(|cell| g.n_uses(cell, op))).sum() };
    ArchitectureRow {
        architecture: row.architecture(),
        genotype: row.genotype().to_string(),
        test_error: row.mean,
        deviation: row.deviation,
        lowest: errors().fold(f64::INFINITY, f64::min),
        highest: errors().fold(f64::NEG_INFINITY, f64::max),
        n_params: row.entries.first().map_or(0, |entry| entry.n_params),
        skips: uses(Op::SkipConnect),
        pools: uses(Op::MaxPool3x3) + uses(Op::AvgPool3x3),
        parameterless: genotype.iter().flat_map(|g| CellType::ALL.map(|cell| g.n_parameterless(cell))).sum(),
    }
}

/// Faults of a file, of many only the first.
fn in_sentences(faults: &[Fault]) -> Vec<String> {
    const MOST: usize = 10;
    let told = faults.iter().take(MOST);
    let mut told: Vec<String> =
        told.map(|fault| format!("Line {} {}; it is left out.", fault.line, fault.problem)).collect();
    if faults.len() > MOST {
        told.push(format!("So are {} other lines.", faults.len() - MOST));
    }
    told
}
