//! The tables that are no figures, as CSV files.

use crate::csv::{Cell, csv};
use crate::read::State;
use crate::table::architectures::EndRow;
use crate::table::many::{CorrelationRow, GroupRow, RunRow};
use crate::table::{ArchitecturesTable, Content, ManyTable, Report, RuleOutcome};

/// The tables of a report that are no figures: the name of each file, without its ending, and its text.
pub fn sheets(report: &Report) -> Vec<(String, String)> {
    let mut sheets = of_runs(report);
    if let Some(table) = report.architectures.as_ref().filter(|table| !table.ends.is_empty()) {
        sheets.push(("ends".to_string(), ends(table)));
    }
    sheets
}

fn of_runs(report: &Report) -> Vec<(String, String)> {
    if let Some(many) = &report.many {
        let mut sheets = vec![("runs".to_string(), runs(many)), ("groups".to_string(), groups(many))];
        if !many.correlations.is_empty() {
            sheets.push(("correlations".to_string(), correlations(many)));
        }
        return sheets;
    }
    let Some(run) = report.runs.first() else { return Vec::new() };
    let mut sheets = Vec::new();
    if let Content::Search(table) = &run.content {
        sheets.push(("rules".to_string(), rules(&table.rules)));
    }
    if let Some(spec) = &run.head.spec {
        let rows = spec
            .rows
            .iter()
            .map(|row| vec![Cell::from(&row.key[..]), Cell::from(&row.value[..]), Cell::from(row.preset.as_deref())]);
        sheets.push(("spec".to_string(), csv(&["key", "value", "value of the preset"], rows)));
    }
    sheets
}

fn ends(table: &ArchitecturesTable) -> String {
    let row = |end: &EndRow| {
        vec![
            Cell::from(&end.run[..]),
            end.label[..].into(),
            usize::from(end.has_ended).into(),
            (end.architecture as usize).into(),
            end.rank.into(),
            end.test_error.into(),
            end.regret.into(),
        ]
    };
    csv(&["run", "method", "has ended", "architecture", "rank", "test error", "regret"], table.ends.iter().map(row))
}

fn rules(rules: &[RuleOutcome]) -> String {
    // Networks that classify have no upsampling cells.
    let has_upsample = rules.iter().any(|outcome| outcome.skips_upsample.is_some());
    let row = |outcome: &RuleOutcome| {
        let mut cells = vec![
            Cell::from(&outcome.rule[..]),
            Cell::from(&outcome.numbers[..]),
            outcome.is_judged.then_some(outcome.judged_to).into(),
            outcome.acts_after.into(),
            outcome.returns.into(),
            outcome.skips_normal.into(),
            outcome.skips_reduce.into(),
        ];
        cells.extend(has_upsample.then(|| Cell::from(outcome.skips_upsample)));
        cells.push(outcome.genotype.as_deref().into());
        cells
    };
    let mut headers = vec!["rule", "numbers", "judged to epoch", "acts after epoch", "returns epoch", "skips normal"];
    headers.push("skips reduce");
    headers.extend(has_upsample.then_some("skips upsample"));
    headers.push("genotype");
    csv(&headers, rules.iter().map(row))
}

fn runs(many: &ManyTable) -> String {
    let headers = [
        "run",
        "state",
        "method",
        "space",
        "data",
        "seed",
        "L2",
        "drop path",
        "augmentation",
        "supernet error",
        "child error",
        "drop at discretisation",
        "measured eigenvalue",
        "mean eigenvalue",
        "last eigenvalue",
        "last drop",
        "skips normal",
        "validation error trained",
        "test error",
        "genotype",
        "copy of",
        "trajectory",
    ];
    let state = |state: State| match state {
        State::Finished => "finished",
        State::Running => "running",
        State::Stopped => "stopped",
        State::Unreadable => "unreadable",
    };
    let row = |row: &RunRow| {
        vec![
            Cell::from(&row.name[..]),
            state(row.state).into(),
            row.method[..].into(),
            row.space[..].into(),
            row.data[..].into(),
            Cell::Text(row.seed.to_string()),
            row.l2.into(),
            row.drop_path.into(),
            row.augmentation.into(),
            row.supernet_error.into(),
            row.child_error.into(),
            row.drop.into(),
            row.eigenvalue.into(),
            row.mean_eigenvalue.into(),
            row.last_eigenvalue.into(),
            row.last_drop.into(),
            row.skips_normal.into(),
            row.trained_valid_error.into(),
            row.test_error.into(),
            row.genotype.as_ref().map(|genotype| Cell::Text(genotype.to_string())).unwrap_or(Cell::Empty),
            row.copy_of.map(|original| Cell::from(&many.rows[original].name[..])).unwrap_or(Cell::Empty),
            row.trajectory.into(),
        ]
    };
    csv(&headers, many.rows.iter().map(row))
}

fn correlations(many: &ManyTable) -> String {
    let headers = [
        "what",
        "eigenvalue",
        "searches",
        "Spearman",
        "its low end",
        "its high end",
        "Pearson",
        "its low end",
        "its high end",
    ];
    let row = |row: &CorrelationRow| {
        let mut cells = vec![Cell::from(row.y), row.x.into(), row.n.into()];
        for found in [row.rank, row.linear] {
            let interval = found.and_then(|found| found.interval);
            cells.extend(
                [found.map(|found| found.r), interval.map(|ends| ends.0), interval.map(|ends| ends.1)].map(Cell::from),
            );
        }
        cells
    };
    csv(&headers, many.correlations.iter().map(row))
}

fn groups(many: &ManyTable) -> String {
    let headers = [
        "method",
        "space",
        "data",
        "L2",
        "drop path",
        "augmentation",
        "setting",
        "runs",
        "finished",
        "supernet error",
        "its deviation",
        "drop at discretisation",
        "its deviation",
        "eigenvalue",
        "its deviation",
        "skips normal",
        "its deviation",
        "test error",
        "its deviation",
        "chosen run",
        "its test error",
    ];
    let row = |group: &GroupRow| {
        let mut cells = vec![
            Cell::from(&group.method[..]),
            group.space[..].into(),
            group.data[..].into(),
            group.l2.into(),
            group.drop_path.into(),
            group.augmentation.into(),
            group.setting[..].into(),
            group.n.into(),
            group.n_finished.into(),
        ];
        for summary in [group.supernet_error, group.drop, group.eigenvalue, group.skips_normal, group.test_error] {
            cells.push(summary.map(|s| s.mean).into());
            cells.push(summary.and_then(|s| s.deviation).into());
        }
        let chosen = group.chosen.map(|i| &many.rows[i]);
        cells.push(chosen.map(|row| &row.name[..]).into());
        cells.push(chosen.and_then(|row| row.test_error).into());
        cells
    };
    csv(&headers, many.groups.iter().map(row))
}
