//! The page of a portfolio.

use super::{Body, Row, Section, Table, begin, chosen, end, number, training, view, words};
use crate::figure::Figure;
use crate::number::{count, percent};
use crate::table::portfolio::MemberRow;
use crate::table::{Head, PortfolioTable};

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
    sections.extend(end(head));
    sections.retain(|section| !section.is_empty());
    let title = match table.space.is_empty() {
        true => "Portfolio".to_string(),
        false => format!("Portfolio in {} on {}, seed {}", table.space, table.data, table.seed),
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
        (None, false) if member.valid_accuracy.is_some() => "not chosen".to_string(),
        (None, false) if member.genotype.is_some() => "not trained yet".to_string(),
        (None, false) => "searching, or not begun".to_string(),
    };
    let row = |member: &MemberRow| Row {
        is_marked: member.is_chosen,
        cells: vec![
            words(member.label.as_str()),
            number(member.valid_accuracy.map(percent)),
            number(member.skips_normal.map(|n| n.to_string())),
            number(member.skips_reduce.map(|n| n.to_string())),
            number(member.n_params.map(|n| count(n as u64))),
            number(member.macs.map(count)),
            number(member.epoch.map(|epoch| epoch.to_string())),
            words(outcome(member)),
        ],
    };
    Table {
        caption: "Each member, its short training, and what became of it".into(),
        headers: [
            "Member",
            "Held-out accuracy",
            "Skips, normal",
            "Skips, reduction",
            "Weights",
            "Multiply-adds",
            "Epoch",
            "Outcome",
        ]
        .map(Into::into)
        .to_vec(),
        rows: table.members.iter().map(row).collect(),
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
    rows.extend(table.baselines.iter().map(|baseline| Row {
        is_marked: false,
        cells: vec![
            words(baseline.name.as_str()),
            number(baseline.valid_accuracy.map(percent)),
            number(baseline.test_accuracy.map(percent)),
            number(Some(count(baseline.n_params as u64))),
        ],
    }));
    let mut section = Section { id: "gain", title: "What the search gained", ..Section::default() };
    if !rows.is_empty() {
        section.tables.push(Table {
            caption: "The chosen network and cells that no search found, trained alike".into(),
            headers: ["Cell", "Held-out accuracy", "Test accuracy", "Weights"].map(Into::into).to_vec(),
            rows,
        });
    }
    section
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
