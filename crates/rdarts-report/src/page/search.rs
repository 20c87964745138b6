//! The page of a search.

use rdarts_space::CellType;

use super::{Body, Readout, Row, Section, Table, begin, chosen, data, end, number, took, words};
use crate::cells::{Moving, in_page};
use crate::figure::Figure;
use crate::number::{count, percent, short};
use crate::table::{Head, RuleOutcome, SearchTable};

/// The figures of curvature, accuracy and loss.
const TRAJECTORY: [&str; 7] =
    ["eigenvalue", "accuracy", "loss", "discretisation", "spectrum", "spectrum-epoch", "landscape"];

pub(super) fn body(head: &Head, table: &SearchTable, figures: &[Figure]) -> Body {
    let cells = CellType::ALL.map(|cell| Moving::new(table.genotypes.iter().map(|row| row.genotype.as_ref()), cell));
    let mut found = Section {
        id: "found",
        title: "What was found",
        figures: chosen(figures, &["cell-normal", "cell-reduce"]),
        ..Section::default()
    };
    if let Some(finished) = &table.found {
        found.paragraphs.push(finished.reason.as_str().into());
        found.codes.push(("Genotype".into(), finished.genotype.as_str().into()));
    }
    found.aside = result(table);
    let mut rules = Section { id: "rules", title: "What every rule would have done", ..Section::default() };
    if !table.rules.is_empty() {
        rules.paragraphs.push(
            "On this trajectory, whatever method ran. A rule is judged up to the first time that the search went \
             back; what came after had another L2 factor, and no other rule would have seen it."
                .into(),
        );
        rules.tables.push(rule_table(table));
        rules.lines = table.rules.iter().map(|outcome| outcome.sentence.as_str().into()).collect();
    }
    let acts = table.decisions.iter().map(|decision| decision.reason.as_str().into()).collect::<Vec<_>>();
    let trajectory = Section {
        id: "trajectory",
        title: "Curvature, accuracy and loss",
        // More sentences than these nobody reads; a table has them all.
        paragraphs: if acts.len() <= 6 { acts } else { Vec::new() },
        figures: chosen(figures, &TRAJECTORY),
        tables: if table.decisions.len() > 6 { vec![decisions(table)] } else { Vec::new() },
        ..Section::default()
    };
    let architecture = Section {
        id: "architecture",
        title: "The architecture over the epochs",
        figures: chosen(figures, &["operations", "weights-normal", "weights-reduce"]),
        ..Section::default()
    };
    let mut time = Section {
        id: "time",
        title: "Regularisation, time and memory",
        figures: chosen(figures, &["regularisation", "time"]),
        ..Section::default()
    };
    if !table.epochs.is_empty() {
        time.paragraphs.push(
            format!(
                "{} weights and {} architecture parameters; {} images train the weights and {} the alphas.",
                count(table.n_weights as u64),
                count(table.n_alphas as u64),
                count(table.n_train as u64),
                count(table.n_valid as u64)
            )
            .into(),
        );
    }
    time.paragraphs.extend(took(&head.time));
    let mut sections = vec![found, trajectory, rules, architecture, time];
    sections.extend(end(head));
    sections.retain(|section| !section.is_empty());
    let title = match table.space.is_empty() {
        true => "Search".to_string(),
        false => format!("Search in {} on {}, seed {}", table.space, table.data, table.seed),
    };
    Body {
        title: title.into(),
        readouts: readouts(table),
        sections,
        missing: table.missing.iter().map(|line| line.as_str().into()).collect(),
        data: data::of_search(table, &cells),
        cells: cells.iter().flatten().map(|cell| in_page(&cell.layout)).collect(),
        ..begin(head)
    }
}

/// The numbers of the epoch that the result is from.
fn result(table: &SearchTable) -> Option<Table> {
    let result = table.result()?;
    let mut rows = Vec::new();
    let mut fact = |name: &str, value: Option<String>| {
        if value.is_some() {
            rows.push(Row { is_marked: false, cells: vec![words(name), number(value)] });
        }
    };
    let method =
        if table.order.is_empty() { String::new() } else { format!("{}, {} order", table.method, table.order) };
    fact("Method", Some(method).filter(|method| !method.is_empty()));
    fact("Epoch", Some(result.epoch.to_string()));
    fact("Accuracy of the supernet", result.valid_accuracy.map(percent));
    fact("Accuracy of the discretised child", result.child_accuracy.map(percent));
    let drop = result.valid_accuracy.zip(result.child_accuracy).map(|(supernet, child)| percent(supernet - child));
    fact("Drop at discretisation", drop);
    fact("Dominant eigenvalue", result.eigenvalue.map(short));
    fact("Its standard error", result.eigenvalue_error.map(short));
    fact("Smoothed", result.smoothed.map(short));
    fact("Skip connections, normal cell", Some(result.skip_connects_normal.to_string()));
    fact("Skip connections, reduction cell", result.skip_connects_reduce.map(|n| n.to_string()));
    fact("L2 factor of the weights", Some(short(result.l2)));
    let caption = match &table.found {
        Some(_) => "At the epoch that was returned",
        None => "At the last epoch so far",
    };
    Some(Table { caption: caption.into(), headers: vec!["What".into(), "Value".into()], rows })
}

fn rule_table(table: &SearchTable) -> Table {
    let acts = |outcome: &RuleOutcome| match (outcome.acts_after, outcome.is_whole) {
        (Some(epoch), _) => epoch.to_string(),
        (None, true) => "never".to_string(),
        (None, false) => format!("not up to {}", outcome.judged_to),
    };
    let row = |outcome: &RuleOutcome| Row {
        is_marked: false,
        cells: vec![
            words(outcome.rule.as_str()),
            number(Some(acts(outcome))),
            number(outcome.returns.map(|epoch| epoch.to_string())),
            number(outcome.skips_normal.map(|n| n.to_string())),
            number(outcome.skips_reduce.map(|n| n.to_string())),
            words(outcome.numbers.as_str()),
        ],
    };
    Table {
        caption: "Each rule on the first attempt of this search".into(),
        headers: ["Rule", "Acts after epoch", "Returns epoch", "Skips, normal", "Skips, reduction", "Its numbers"]
            .map(Into::into)
            .to_vec(),
        rows: table.rules.iter().map(row).collect(),
    }
}

fn decisions(table: &SearchTable) -> Table {
    let row = |decision: &rdarts_run::Decision| Row {
        is_marked: false,
        cells: vec![
            number(Some((decision.attempt + 1).to_string())),
            number(Some(decision.epoch.to_string())),
            number(Some(decision.return_to.to_string())),
            number(Some(decision.ratio).filter(|ratio| ratio.is_finite()).map(short)),
            number(Some(short(decision.l2_old))),
            number(Some(short(decision.l2_new))),
        ],
    };
    Table {
        caption: "What the monitor did".into(),
        headers: ["Attempt", "After epoch", "Back to", "Growth", "L2 before", "L2 after"].map(Into::into).to_vec(),
        rows: table.decisions.iter().map(row).collect(),
    }
}

fn readouts(table: &SearchTable) -> Vec<Readout> {
    if table.epochs.len() < 2 {
        return Vec::new();
    }
    let has = |value: fn(&crate::table::search::EpochRow) -> bool| table.epochs.iter().any(value);
    let mut readouts = Vec::new();
    let mut readout = |is_there, label, column, format| {
        if is_there {
            readouts.push(Readout { label, column, format });
        }
    };
    readout(has(|row| row.eigenvalue.is_some()), "eigenvalue", "eigenvalue", "short");
    readout(has(|row| row.smoothed.is_some()), "smoothed", "smoothed", "short");
    readout(has(|row| row.valid_accuracy.is_some()), "supernet", "valid_accuracy", "percent");
    readout(has(|row| row.child_accuracy.is_some()), "child", "child_accuracy", "percent");
    readout(true, "skips", "skip_connects_normal", "count");
    readout(true, "L2", "l2", "short");
    readouts
}
