//! The page of many runs.

use super::{Body, Field, FigureView, Row, Section, Table, data, number, view, words};
use crate::figure::{Figure, figures_of_many};
use crate::number::{short, some};
use crate::read::State;
use crate::statistics::{Correlation, Summary};
use crate::table::many::{CorrelationRow, GroupRow, RunRow};
use crate::table::{ManyTable, RunTable};
use crate::task::Task;

/// What the intervals of correlations leave out.
const POOLED: &str = "Over all searches together, whatever their method, space and data set. The intervals take runs as \
                      independent; those that differ in their seed alone are more alike than others, so that the \
                      coefficients are less sure than that.";

pub(super) fn body(many: &ManyTable, runs: &[RunTable]) -> Body {
    let figures = figures_of_many(many);
    let of = |prefix: &str| -> Vec<FigureView> {
        figures.iter().filter(|figure: &&Figure| figure.name.starts_with(prefix)).map(view).collect()
    };
    let mut results = Section { id: "results", title: "Methods, spaces and data sets", ..Section::default() };
    if !many.groups.is_empty() {
        results.paragraphs.push(
            "Mean and standard deviation over runs whose specs differ in their seed alone. The chosen run is the one \
             with the lowest held-out error after training, as in the paper's tables."
                .into(),
        );
        results.paragraphs.extend(many.uncounted.iter().map(|line| line.as_str().into()));
        results.tables.push(groups(many));
    }
    let below = (!many.base.is_empty()).then(|| format!("Their names are those below `{}`.", many.base).into());
    let sections = [
        results,
        Section {
            id: "trajectories",
            title: "Trajectories by method",
            figures: of("trajectories"),
            ..Section::default()
        },
        Section {
            id: "goes-with",
            title: "What goes with the eigenvalue",
            figures: of("eigenvalue"),
            tables: if many.correlations.is_empty() { Vec::new() } else { vec![correlations(many)] },
            paragraphs: if many.correlations.is_empty() { Vec::new() } else { vec![POOLED.into()] },
            ..Section::default()
        },
        Section { id: "sweeps", title: "Sweeps", figures: of("sweep"), ..Section::default() },
        Section { id: "spaces", title: "Skip connections in each space", figures: of("space"), ..Section::default() },
        Section {
            id: "runs",
            title: "The runs",
            paragraphs: below.into_iter().collect(),
            tables: vec![rows(many)],
            ..Section::default()
        },
    ];
    let n_finished = many.rows.iter().filter(|row| row.state == State::Finished).count();
    let faults = runs.iter().flat_map(|run| run.head.faults.iter().map(|fault| fault.as_str().into())).collect();
    Body {
        title: some(runs.len(), "run").into(),
        verdict: verdict(many, n_finished).into(),
        faults,
        sections: sections.into_iter().filter(|section| !section.is_empty()).collect(),
        missing: many.missing.iter().map(|line| line.as_str().into()).collect(),
        data: data::of_many(many),
        ..Body::default()
    }
}

/// What there is, and the best of it, in one sentence.
fn verdict(many: &ManyTable, n_finished: usize) -> String {
    let copies = many.rows.iter().filter(|row| row.copy_of.is_some()).count();
    let copies = match copies {
        0 => String::new(),
        1 => ", 1 a copy of another".to_string(),
        n => format!(", {n} copies of others"),
    };
    let groups = match many.groups.len() {
        0 => String::new(),
        n => format!("; {} that differ in more than the seed", some(n, "group")),
    };
    let best = many.best().map_or(String::new(), |best| format!("; {best}"));
    format!("{}, {n_finished} of them finished{copies}{groups}{best}.", some(many.rows.len(), "run"))
}

/// How closely the eigenvalue goes with what is wanted of it.
fn correlations(many: &ManyTable) -> Table {
    let is_mixed = many.correlations.windows(2).any(|pair| pair[0].task != pair[1].task);
    let told = |found: Option<Correlation>| number(found.map(|found| found.in_words()));
    let row = |row: &CorrelationRow| Row {
        is_marked: false,
        cells: vec![
            words(match row.task {
                Task::Disparity if is_mixed => format!("{}, disparity", row.y),
                _ => row.y.to_string(),
            }),
            words(row.x),
            number(Some(row.n.to_string())),
            told(row.rank),
            told(row.linear),
        ],
    };
    let headers = ["What", "Dominant eigenvalue", "Searches", "Spearman's rank correlation", "Pearson's r"];
    Table {
        caption: "What goes with the dominant eigenvalue".into(),
        headers: headers.map(Into::into).to_vec(),
        rows: many.correlations.iter().map(row).collect(),
    }
}

fn groups(many: &ManyTable) -> Table {
    let differs = |value: fn(&GroupRow) -> Option<f64>| {
        many.groups.windows(2).any(|pair| value(&pair[0]).map(f64::to_bits) != value(&pair[1]).map(f64::to_bits))
    };
    let has = |value: fn(&GroupRow) -> bool| many.groups.iter().any(value);
    type Column = (&'static str, bool, Box<dyn Fn(&GroupRow) -> Field>);
    let chosen = |many: &ManyTable, group: &GroupRow| {
        let row = &many.rows[group.chosen?];
        Some(row.test_error.map_or("chosen".to_string(), |error| row.task.error(error)))
    };
    let chosen_errors: Vec<Option<String>> = many.groups.iter().map(|group| chosen(many, group)).collect();
    let columns: Vec<Column> = vec![
        ("Method", true, Box::new(|g| words(g.method.as_str()))),
        ("Space", true, Box::new(|g| words(g.space.as_str()))),
        ("Data set", true, Box::new(|g| words(g.data.as_str()))),
        ("L2", differs(|g| g.l2), Box::new(|g| number(g.l2.map(short)))),
        ("Drop path", differs(|g| g.drop_path), Box::new(|g| number(g.drop_path.map(short)))),
        ("Augmentation", differs(|g| g.augmentation), Box::new(|g| number(g.augmentation.map(short)))),
        ("Setting", has(|g| !g.setting.is_empty()), Box::new(|g| words(g.setting.as_str()))),
        ("Runs", true, Box::new(|g| number(Some(g.n.to_string())))),
        (
            "Test error",
            has(|g| g.test_error.is_some()),
            Box::new(|g| number(g.test_error.map(|s| g.task.spread(s.mean, s.deviation)))),
        ),
        (
            "Supernet error",
            has(|g| g.supernet_error.is_some()),
            Box::new(|g| number(g.supernet_error.map(|s| g.task.spread(s.mean, s.deviation)))),
        ),
        (
            drop_header(many),
            has(|g| g.drop.is_some()),
            Box::new(|g| number(g.drop.map(|s| g.task.spread_of_drops(s.mean, s.deviation)))),
        ),
        (
            "Measured eigenvalue",
            has(|g| g.eigenvalue.is_some()),
            Box::new(|g| spread(&g.eigenvalue, crate::number::spread)),
        ),
        (
            "Skips, normal",
            has(|g| g.skips_normal.is_some()),
            Box::new(|g| spread(&g.skips_normal, crate::number::spread)),
        ),
    ];
    let has_chosen = chosen_errors.iter().any(Option::is_some);
    let shown: Vec<&Column> = columns.iter().filter(|column| column.1).collect();
    let mut headers: Vec<super::Text> = shown.iter().map(|column| column.0.into()).collect();
    if has_chosen {
        headers.push("Test error of the chosen".into());
    }
    let row = |(group, chosen): (&GroupRow, &Option<String>)| {
        let mut cells: Vec<Field> = shown.iter().map(|column| column.2(group)).collect();
        if has_chosen {
            cells.push(number(chosen.clone()));
        }
        Row { is_marked: false, cells }
    };
    Table {
        caption: "Mean \u{b1} standard deviation".into(),
        headers,
        rows: many.groups.iter().zip(&chosen_errors).map(row).collect(),
    }
}

fn spread(summary: &Option<Summary>, text: fn(f64, Option<f64>) -> String) -> Field {
    number(summary.map(|s| text(s.mean, s.deviation)))
}

/// Points of percent have their name in the header, pixels in the cell.
fn drop_header(many: &ManyTable) -> &'static str {
    if many.rows.iter().any(|row| row.task == Task::Disparity) { "Drop" } else { "Drop, points" }
}

/// Whether some run has drop path, and whether some has augmentation of a strength.
fn varied(many: &ManyTable) -> [bool; 2] {
    let has_augmentation = many.rows.iter().any(|row| row.augmentation.is_some());
    [many.rows.iter().any(|row| row.drop_path.is_some()) || !has_augmentation, has_augmentation]
}

fn rows(many: &ManyTable) -> Table {
    let [has_drop_path, has_augmentation] = varied(many);

    let state = |row: &RunRow| {
        let state = match row.state {
            State::Finished => "finished",
            State::Running => "running",
            State::Stopped => "stopped",
            State::Unreadable => "unreadable",
        };
        match row.copy_of {
            Some(original) => format!("{state}, a copy of {}", many.rows[original].name),
            None => state.to_string(),
        }
    };
    let mut headers = vec!["Run", "State", "Method", "Space", "Data set", "Seed", "L2"];
    headers.extend(has_drop_path.then_some("Drop path"));
    headers.extend(has_augmentation.then_some("Augmentation"));
    headers.extend(["Supernet error", drop_header(many), "Measured eigenvalue", "Skips, normal", "Test error"]);
    let row = |row: &RunRow| {
        let mut cells = vec![
            words(row.name.as_str()),
            words(state(row)),
            words(row.method.as_str()),
            words(row.space.as_str()),
            words(row.data.as_str()),
            number(Some(row.seed.to_string())),
            number(row.l2.map(short)),
        ];
        cells.extend(has_drop_path.then(|| number(row.drop_path.map(short))));
        cells.extend(has_augmentation.then(|| number(row.augmentation.map(short))));
        cells.extend([
            number(row.supernet_error.map(|error| row.task.error(error))),
            number(row.drop.map(|drop| row.task.drop(drop))),
            number(row.eigenvalue.map(short)),
            number(row.skips_normal.map(|n| n.to_string())),
            number(row.test_error.map(|error| row.task.error(error))),
        ]);
        Row { is_marked: false, cells }
    };
    Table {
        caption: "Every run".into(),
        headers: headers.into_iter().map(Into::into).collect(),
        rows: many.rows.iter().map(row).collect(),
    }
}
