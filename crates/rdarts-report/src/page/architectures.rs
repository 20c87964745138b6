//! The part of a page that a table of all architectures of a space fills, and the page of such a table alone.

use super::{Body, Row, Section, Table, number, view, words};
use crate::figure::figures_of_architectures;
use crate::number::{percent, points, some, spread_percent};
use crate::table::ArchitecturesTable;
use crate::table::architectures::ArchitectureRow;

/// How many of the best are listed.
const BEST: usize = 10;

/// The page of a table alone.
pub(super) fn body(table: &ArchitecturesTable) -> Body {
    let state = match table.n - table.rows.len() {
        0 => format!("Each of {} was trained with {}.", some(table.n, "architecture"), some(table.n_seeds, "seed")),
        missing => format!("The table is not whole yet: {missing} of {} are missing.", some(table.n, "architecture")),
    };
    Body {
        title: format!("Every architecture of {}, trained on {}", table.space, table.data).into(),
        name: Some(table.name.as_str().into()),
        state: Some(state.into()),
        verdict: table.verdict().into(),
        sections: vec![section(table)],
        ..Body::default()
    }
}

/// Adds what the table shows to the page of runs, before what such a page ends with.
pub(super) fn add(body: &mut Body, table: &ArchitecturesTable) {
    if !table.rows.is_empty() && body.sections.iter().all(|section| section.id != "every") {
        let is_of_end = |section: &Section| ["architecture", "time", "runs", "again", "spec"].contains(&section.id);
        let at = body.sections.iter().position(is_of_end).unwrap_or(body.sections.len());
        body.sections.insert(at, section(table));
    }
    body.sections.retain(|section| !section.is_empty());
    body.faults.extend(table.faults.iter().map(|fault| format!("{}: {fault}", table.name).into()));
    body.missing.extend(table.missing.iter().map(|line| line.as_str().into()));
}

fn section(table: &ArchitecturesTable) -> Section {
    let mut tables = Vec::new();
    if !table.ends.is_empty() {
        tables.push(ends(table));
    }
    if !table.rows.is_empty() {
        tables.push(best(table));
    }
    Section {
        id: "every",
        title: "Against every architecture of the space",
        figures: figures_of_architectures(table).iter().map(view).collect(),
        tables,
        ..Section::default()
    }
}

fn ends(table: &ArchitecturesTable) -> Table {
    let row = |end: &crate::table::architectures::EndRow| Row {
        is_marked: false,
        cells: vec![
            words(end.run.as_str()),
            words(end.label.as_str()),
            words(if end.has_ended { "ended" } else { "goes on" }),
            number(Some(end.architecture.to_string())),
            number(Some(end.rank.to_string())),
            number(Some(percent(end.test_error))),
            number(Some(points(end.regret))),
        ],
    };
    Table {
        caption: "Where searches ended, in the table".into(),
        headers: ["Run", "Method", "State", "Architecture", "Rank", "Test error", "Regret, points"]
            .map(Into::into)
            .to_vec(),
        rows: table.ends.iter().map(row).collect(),
    }
}

fn best(table: &ArchitecturesTable) -> Table {
    let row = |(at, row): (usize, &ArchitectureRow)| Row {
        is_marked: false,
        cells: vec![
            number(Some((at + 1).to_string())),
            number(Some(row.architecture.to_string())),
            number(Some(spread_percent(row.test_error, row.deviation))),
            number(Some(row.n_params.to_string())),
            number(Some(row.skips.to_string())),
            number(Some(row.pools.to_string())),
        ],
    };
    let last = table.rows.len().saturating_sub(1);
    let listed = |at: &usize| *at < BEST || *at == last;
    Table {
        caption: "The best architectures, and the worst".into(),
        headers: ["Rank", "Architecture", "Test error", "Weights", "Skips", "Pools"].map(Into::into).to_vec(),
        rows: table.rows.iter().enumerate().filter(|(at, _)| listed(at)).map(row).collect(),
    }
}
