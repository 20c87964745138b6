//! The page of a portfolio.

use rdarts_run::DisparityErrors;

use super::{
    Body, Field, Row, Section, Table, begin, chosen, disparity_training, end, maps, number, training, view, words,
};
use crate::figure::Figure;
use crate::number::{count, percent, pixels};
use crate::table::portfolio::MemberRow;
use crate::table::{Head, PortfolioTable};
use crate::task::Task;

pub(super) fn body(head: &Head, table: &PortfolioTable, figures: &[Figure]) -> Body {
    let mut members = Section {
        id: "members",
        title: "The members side by side",
        figures: chosen(figures, &["members", "member-eigenvalues"]),
        ..Section::default()
    };
    if let Some(chosen) = &table.chosen {
        members.paragraphs.push(chosen.reason.as_str().into());
    }
    if !table.members.is_empty() {
        members.tables.push(member_table(table));
    }
    let cells = figures.iter().filter(|figure| figure.name.starts_with("member-cell")).map(view).collect();
    let cells = Section { id: "cells", title: "What they found", figures: cells, ..Section::default() };
    let searches = Section {
        id: "searches",
        title: "How their searches went",
        tables: searches(table).into_iter().collect(),
        ..Section::default()
    };
    let mut sections = vec![members, baselines(table), cells, searches];
    if let Some(trained) = &table.training {
        let mut result = training::result(trained);
        (result.id, result.title) = ("result", "The chosen network");
        let curves = Section {
            id: "curves",
            title: "Its training",
            figures: chosen(figures, &["training-accuracy", "training-loss"]),
            ..Section::default()
        };
        sections.extend([result, curves, training::mistakes(trained, figures)]);
    }
    if let Some(trained) = &table.disparity_training {
        let mut result = disparity_training::result(trained);
        (result.id, result.title) = ("result", "The chosen network");
        let curves = Section {
            id: "curves",
            title: "Its training",
            figures: chosen(figures, &["training-error", "training-loss"]),
            ..Section::default()
        };
        sections.extend([result, curves, maps::section(&trained.maps, "As the chosen network sees test pairs.")]);
    }
    sections.extend(end(head));
    sections.retain(|section| !section.is_empty());
    let title = match table.space.is_empty() {
        true => "Portfolio".to_string(),
        false => {
            let what = if table.task == Task::Disparity { " for disparity" } else { "" };
            format!("Portfolio{what} in {} on {}, seed {}", table.space, table.data, table.seed)
        }
    };
    Body {
        title: title.into(),
        sections,
        missing: table.missing.iter().map(|line| line.as_str().into()).collect(),
        ..begin(head)
    }
}

fn member_table(table: &PortfolioTable) -> Table {
    let outcome = |member: &MemberRow| match (&member.refused, member.is_chosen) {
        (Some(reason), _) => format!("refused: {reason}"),
        (None, true) => "\u{2605} chosen".to_string(),
        (None, false) if member.worth().is_some() => "not chosen".to_string(),
        (None, false) if member.genotype.is_some() => "not trained yet".to_string(),
        (None, false) => "searching, or not begun".to_string(),
    };
    let is_of_disparity = table.task == Task::Disparity;
    let skips = |n: Option<usize>| number(n.map(|n| n.to_string()));
    let row = |member: &MemberRow| {
        let mut cells = vec![words(member.label.as_str()), number(member.worth().map(|v| table.task.worded(v)))];
        cells.extend([skips(member.skips_normal), skips(member.skips_reduce)]);
        cells.extend(is_of_disparity.then(|| skips(member.skips_upsample)));
        cells.extend([
            number(member.n_params.map(|n| count(n as u64))),
            number(member.macs.map(count)),
            number(member.epoch.map(|epoch| epoch.to_string())),
            words(outcome(member)),
        ]);
        Row { is_marked: member.is_chosen, cells }
    };
    let mut headers = vec!["Member", held_out(table.task), "Skips, normal", "Skips, reduction"];
    headers.extend(is_of_disparity.then_some("Skips, upsampling"));
    headers.extend(["Weights", "Multiply-adds", "Epoch", "Outcome"]);
    Table {
        caption: "Each member, its short training, and what became of it".into(),
        headers: headers.into_iter().map(Into::into).collect(),
        rows: table.members.iter().map(row).collect(),
    }
}

/// What is measured on what is held out.
const fn held_out(task: Task) -> &'static str {
    match task {
        Task::Classification => "Held-out accuracy",
        Task::Disparity => "Held-out error",
    }
}

fn baselines(table: &PortfolioTable) -> Section {
    let mut rows = Vec::new();
    if let Some(result) = &table.result {
        rows.push(Row {
            is_marked: true,
            cells: vec![
                words("chosen"),
                number(Some(percent(result.valid_accuracy))),
                number(Some(percent(result.test_accuracy))),
                number(Some(count(result.n_params as u64))),
            ],
        });
    }
    if let Some(result) = &table.disparity_result {
        let cells = cells_of("chosen", Some(result.valid_error), result.test.as_ref(), result.n_params);
        rows.push(Row { is_marked: true, cells });
    }
    rows.extend(table.baselines.iter().map(|baseline| Row {
        is_marked: false,
        cells: match table.task {
            Task::Disparity => {
                cells_of(&baseline.name, baseline.valid_error, baseline.test.as_ref(), baseline.n_params)
            }
            Task::Classification => vec![
                words(baseline.name.as_str()),
                number(baseline.valid_accuracy.map(percent)),
                number(baseline.test_accuracy.map(percent)),
                number(Some(count(baseline.n_params as u64))),
            ],
        },
    }));
    let mut section = Section { id: "gain", title: "What the search gained", ..Section::default() };
    if !rows.is_empty() {
        section.tables.push(Table {
            caption: "The chosen network and cells that no search found, trained alike".into(),
            headers: match table.task {
                Task::Classification => vec!["Cell", held_out(table.task), "Test accuracy", "Weights"],
                Task::Disparity => {
                    vec!["Cells", held_out(table.task), "Test error", "Off by > 1 px", "Off by > 3 px", "Weights"]
                }
            }
            .into_iter()
            .map(Into::into)
            .collect(),
            rows,
        });
    }
    section
}

/// A network for disparity among those it is compared with.
fn cells_of(name: &str, valid: Option<f64>, test: Option<&DisparityErrors>, n_params: usize) -> Vec<Field> {
    vec![
        words(name),
        number(valid.map(pixels)),
        number(test.map(|errors| pixels(errors.error))),
        number(test.map(|errors| percent(errors.bad1))),
        number(test.map(|errors| percent(errors.bad3))),
        number(Some(count(n_params as u64))),
    ]
}

fn searches(table: &PortfolioTable) -> Option<Table> {
    let row = |member: &MemberRow| {
        let search = member.search.as_ref()?;
        Some(Row { is_marked: member.is_chosen, cells: vec![words(member.label.as_str()), words(search.verdict())] })
    };
    let rows: Vec<Row> = table.members.iter().filter_map(row).collect();
    let headers = vec!["Member".into(), "Its search".into()];
    (!rows.is_empty()).then(|| Table { caption: "The verdict on each search".into(), headers, rows })
}
