//! The figures: one file a figure, each a pure function of a table.
//!
//! A figure that its table cannot fill is `None`; what would fill it stands in the table's `missing`.

use rdarts_draw::{DrawError, Layout};
use serde::Serialize;

use crate::cells::as_file;
use crate::number::{percent, pixels, short};
use crate::pixels::{PRINT, still};
use crate::svg::{Axis, standalone};
use crate::table::search::EpochRow;
use crate::table::{ArchitecturesTable, Content, ManyTable, Report, RunTable, SearchTable};
use crate::task::CellKind;

mod eigenvalue;

mod accuracy;

mod operations;

mod weights;

mod spectrum;

pub(crate) mod landscape;

mod discretisation;

mod regularisation;

mod time;

mod found;

mod frames;

mod curves;

mod confusion;

mod members;

mod trajectories;

mod scatter;

mod sweep;

mod spaces;

mod architectures;

mod regret;

mod parameterless;

pub use frames::{animation, frames};

/// A figure: a picture, what it shows in words, and its numbers.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// What its files are called; of plain letters.
    pub name: String,
    /// Its title.
    pub title: String,
    /// What is to be seen in it.
    pub caption: String,
    /// The picture for a page, which has its style.
    pub svg: String,
    /// The same with all its places, if it is a cell.
    #[serde(skip)]
    pub drawing: Option<Layout>,
    /// Its numbers.
    pub csv: String,
}

impl Figure {
    /// The picture as a file, with its own style and the width of a column.
    pub fn file(&self) -> String {
        match &self.drawing {
            Some(layout) => as_file(layout),
            None => standalone(&self.svg),
        }
    }

    /// The same as PNG, with 300 dots an inch.
    ///
    /// # Errors
    /// If the figure is too large for pixels, as one of very many members would be.
    pub fn png(&self) -> Result<Vec<u8>, DrawError> {
        still(&self.file(), PRINT)
    }
}

/// All figures of a report: those of its one run, or those of all its runs together, and those of the table of all
/// architectures that it was given.
pub fn figures(report: &Report) -> Vec<Figure> {
    let mut figures = match (&report.many, &report.runs[..]) {
        (Some(many), _) => figures_of_many(many),
        (None, [run]) => of_run(run),
        (None, _) => Vec::new(),
    };
    figures.extend(report.architectures.iter().flat_map(figures_of_architectures));
    figures
}

/// The figures of all architectures of a space.
pub(crate) fn figures_of_architectures(table: &ArchitecturesTable) -> Vec<Figure> {
    let figures = [architectures::figure(table), regret::figure(table), parameterless::figure(table)];
    figures.into_iter().flatten().collect()
}

/// The figures of one run.
pub(crate) fn of_run(run: &RunTable) -> Vec<Figure> {
    let figures = match &run.content {
        Content::Search(table) => vec![
            found::figure(table, CellKind::Normal),
            found::figure(table, CellKind::Reduce),
            found::figure(table, CellKind::Upsample),
            eigenvalue::figure(table, None),
            accuracy::accuracy(table, None),
            accuracy::loss(table),
            operations::figure(table, None),
            spectrum::over_epochs(table),
            spectrum::at_epoch(table, None),
            landscape::figure(table),
            discretisation::figure(table),
            weights::figure(table, CellKind::Normal),
            weights::figure(table, CellKind::Reduce),
            weights::figure(table, CellKind::Upsample),
            regularisation::figure(table),
            time::figure(&run.head.time),
        ],
        Content::Train(table) => vec![
            curves::accuracy(table),
            curves::loss(table),
            curves::regularisation(table),
            confusion::figure(table),
            confusion::per_class(table),
            time::figure(&run.head.time),
        ],
        Content::DisparityTrain(table) => {
            vec![
                curves::error(table),
                curves::loss_of_disparity(table),
                curves::rate(table),
                time::figure(&run.head.time),
            ]
        }
        Content::Robust(table) => {
            let mut figures = vec![members::worth(table), members::trajectories(table)];
            figures.extend(members::cells(table));
            if let Some(training) = &table.training {
                figures.extend([curves::accuracy(training), curves::loss(training), confusion::figure(training)]);
            }
            if let Some(training) = &table.disparity_training {
                figures.extend([curves::error(training), curves::loss_of_disparity(training)]);
            }
            figures
        }
        Content::Nothing => Vec::new(),
    };
    figures.into_iter().flatten().collect()
}

/// The figures of many runs together.
pub(crate) fn figures_of_many(many: &ManyTable) -> Vec<Figure> {
    [trajectories::figures(many), scatter::figures(many), sweep::figures(many), spaces::figures(many)].concat()
}

/// What a curve is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// A fraction of images.
    Percent,
    /// A mean end-point error.
    Pixels,
    /// A loss.
    Loss,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Percent => percent(value),
            Self::Pixels => pixels(value),
            Self::Loss => short(value),
        }
    }

    fn axis(self, values: impl Iterator<Item = f64> + Clone) -> Axis {
        match self {
            Self::Percent => Axis::of("accuracy, %", values, None).percent(),
            Self::Pixels => Axis::of("end-point error, px", values, Some(0.0)),
            Self::Loss => Axis::of("loss", values, None),
        }
    }
}

/// Distance of a panel from the left edge, with room for the labels of its ticks.
const LEFT: f64 = 44.0;

/// Width of a panel that takes the whole chart.
const WIDTH: f64 = 304.0;

/// The frame of the one panel of a chart below a key, and the height of that chart.
fn frame(key_height: f64) -> ((f64, f64, f64, f64), f64) {
    let (top, height) = (key_height + 20.0, 150.0);
    ((LEFT, top, WIDTH, height), top + height + 36.0)
}

/// An axis of the epochs of some rows.
fn epochs_axis(epochs: impl Iterator<Item = usize> + Clone) -> Axis {
    Axis::whole("epoch", epochs.clone().min().unwrap_or(0), epochs.max().unwrap_or(0))
}

/// The class of one of several lines: its colour and its dashes, both others than those of its neighbours. Only after 42
/// lines they come again.
fn line_class(i: usize) -> String {
    const COLORS: [&str; 7] = ["c4", "c5", "c2", "c1", "c6", "c3", "c0"];
    // Without a common divisor of their numbers no pair comes twice before.
    const DASHES: [&str; 6] = ["", " d1", " d2", " d3", " d4", " d5"];
    format!("{}{}", COLORS[i % COLORS.len()], DASHES[i % DASHES.len()])
}

/// A value of the epochs that count, as points.
fn points_of(table: &SearchTable, value: impl Fn(&EpochRow) -> Option<f64>) -> Vec<(f64, f64)> {
    table.kept().filter_map(|row| Some((row.epoch as f64, value(row)?))).collect()
}

/// The same of the epochs that were given up, one line an attempt.
fn points_given_up(table: &SearchTable, value: impl Fn(&EpochRow) -> Option<f64>) -> Vec<Vec<(f64, f64)>> {
    let mut lines: Vec<(usize, Vec<(f64, f64)>)> = Vec::new();
    for row in table.epochs.iter().filter(|row| !row.is_kept) {
        let Some(value) = value(row) else { continue };
        match lines.last_mut() {
            Some((attempt, line)) if *attempt == row.attempt => line.push((row.epoch as f64, value)),
            _ => lines.push((row.attempt, vec![(row.epoch as f64, value)])),
        }
    }
    lines.into_iter().map(|(_, line)| line).collect()
}

/// The places of every so many of `n` things, so that no more than `most` are left; the last one always is.
pub(crate) fn every(n: usize, most: usize) -> Vec<usize> {
    let Some(last) = n.checked_sub(1) else { return Vec::new() };
    if most < 2 {
        return vec![last];
    }
    let step = last.div_ceil(most - 1).max(1);
    let mut kept: Vec<usize> = (0..n).step_by(step).collect();
    if !last.is_multiple_of(step) {
        kept.push(last);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forty_two_lines_are_told_apart() {
        let all: std::collections::BTreeSet<String> = (0..42).map(line_class).collect();
        assert_eq!((all.len(), line_class(42)), (42, line_class(0)));
    }

    #[test]
    fn of_many_things_no_more_than_wanted_are_left_with_the_last() {
        assert_eq!(every(12, 5), [0, 3, 6, 9, 11]);
        assert_eq!((every(0, 5), every(3, 5), every(7, 0)), (vec![], vec![0, 1, 2], vec![6]));
        for n in 1..60 {
            for most in 1..20 {
                let kept = every(n, most);
                assert!(kept.len() <= most && kept.last() == Some(&(n - 1)), "{n} {most} {kept:?}");
            }
        }
    }
}
