//! The page of a search.

use super::{Body, Paragraph, Readout, Row, Section, Table, begin, chosen, data, end, maps, number, took, words};
use crate::cells::{Moving, in_page};
use crate::figure::Figure;
use crate::number::{count, percent, pixels, short};
use crate::table::{Head, RuleOutcome, SearchTable};
use crate::task::{CellKind, Task};

/// The figures of curvature, accuracy or error, and loss.
const TRAJECTORY: [&str; 8] =
    ["eigenvalue", "accuracy", "error", "loss", "discretisation", "spectrum", "spectrum-epoch", "landscape"];

pub(super) fn body(head: &Head, table: &SearchTable, figures: &[Figure]) -> Body {
    // The architectures that random search draws for a step each are nothing that it holds.
    let genotypes = || table.genotypes.iter().filter(|_| !table.is_random()).map(|row| row.genotype.as_ref());
    let cells = CellKind::ALL.map(|cell| Moving::new(genotypes(), cell));
    let mut found = Section {
        id: "found",
        title: "What was found",
        figures: chosen(figures, &["cell-normal", "cell-reduce", "cell-upsample"]),
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
    let mut trajectory = Section {
        id: "trajectory",
        title: match table.task {
            Task::Classification => "Curvature, accuracy and loss",
            Task::Disparity => "Curvature, error and loss",
        },
        // More sentences than these nobody reads; a table has them all.
        paragraphs: if acts.len() <= 6 { acts } else { Vec::new() },
        figures: chosen(figures, &TRAJECTORY),
        tables: if table.decisions.len() > 6 { vec![decisions(table)] } else { Vec::new() },
        ..Section::default()
    };
    trajectory.paragraphs.extend(landscapes(table));
    let mut selection = Section { id: "selection", title: "What the selection decided", ..Section::default() };
    if !table.selected.is_empty() {
        selection.paragraphs.push(
            "After the search one candidate after the other is left out of the supernet, and what it misses most stays: of each \
             edge one operation, then of each node two inputs. Between two turns the supernet is trained on."
                .into(),
        );
        selection.tables.push(selected(table));
    }
    let architecture = Section {
        id: "architecture",
        title: "The architecture over the epochs",
        figures: chosen(figures, &["operations", "weights-normal", "weights-reduce", "weights-upsample"]),
        ..Section::default()
    };
    let mut time = Section {
        id: "time",
        title: "Regularisation, time and memory",
        figures: chosen(figures, &["regularisation", "time"]),
        ..Section::default()
    };
    if !table.epochs.is_empty() {
        let [weights, alphas, train, valid] =
            [table.n_weights, table.n_alphas, table.n_train, table.n_valid].map(|n| count(n as u64));
        time.paragraphs.push(match table.is_random() {
            true => format!("{weights} weights; {train} images train them, and by {valid} others it chooses.").into(),
            false => format!(
                "{weights} weights and {alphas} architecture parameters; {train} {} train the weights and {valid} the \
                 alphas.",
                table.task.examples()
            )
            .into(),
        });
    }
    time.paragraphs.extend(took(&head.time));
    let pairs = maps::section(&table.maps, MAPS);
    let mut sections = vec![found, trajectory, rules, selection, architecture, pairs, time];
    sections.extend(end(head));
    sections.retain(|section| !section.is_empty());
    let title = match table.space.is_empty() {
        true => "Search".to_string(),
        false => {
            let what = if table.task == Task::Disparity { "Search for disparity" } else { "Search" };
            format!("{what} in {} on {}, seed {}", table.space, table.data, table.seed)
        }
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

/// Whose predictions the pictures of pairs show.
const MAPS: &str = "As the supernet sees pairs of the alphas' split after the last epoch of the search, with all operations \
                    mixed.";

/// Of which epochs there are landscapes, if of several, and which of them is to be seen.
fn landscapes(table: &SearchTable) -> Option<Paragraph> {
    let (n, last) = (table.landscapes.len(), table.landscapes.last()?);
    let epochs: Vec<String> = table.landscapes.iter().map(|landscape| landscape.epoch.to_string()).collect();
    let which = match n {
        // Of one the caption says it.
        1 => return None,
        2..=12 => format!("epochs {}", epochs.join(", ")),
        _ => format!("{n} epochs up to epoch {}", last.epoch),
    };
    Some(
        format!(
            "The validation loss around the alphas was computed after {which}: the slider below shows that of the epoch it \
             stands at, or of the last one before that; without it the last one is shown."
        )
        .into(),
    )
}

/// The numbers of the epoch that the result is from.
fn result(table: &SearchTable) -> Option<Table> {
    let returned = table.returned.as_ref()?;
    let mut rows = Vec::new();
    let mut fact = |name: &str, value: Option<String>| {
        if value.is_some() {
            rows.push(Row { is_marked: false, cells: vec![words(name), number(value)] });
        }
    };
    let has_order = !table.order.is_empty() && !table.is_random();
    let method = if has_order { format!("{}, {} order", table.method, table.order) } else { table.method.clone() };
    fact("Method", Some(method).filter(|method| !method.is_empty()));
    fact("Epoch", returned.epoch.map(|epoch| epoch.to_string()));
    let accuracy = if table.is_random() { "Accuracy with the shared weights" } else { "Accuracy of the supernet" };
    fact(accuracy, returned.valid_accuracy.map(percent));
    fact("Accuracy of the discretised child", returned.child_accuracy.map(percent));
    fact("End-point error of the supernet", returned.valid_error.map(pixels));
    fact("End-point error of the discretised child", returned.child_error.map(pixels));
    let drop = match table.task {
        Task::Classification => "Drop at discretisation, points",
        Task::Disparity => "Drop at discretisation",
    };
    fact(drop, returned.drop().map(|drop| table.task.drop(drop)));
    fact("Dominant eigenvalue, measured", returned.eigenvalue.map(short));
    fact("Its standard error", returned.eigenvalue_error.map(short));
    fact("Smoothed over the window", returned.smoothed.map(short));
    fact("Skip connections, normal cell", returned.skips_normal.map(|n| n.to_string()));
    fact("Skip connections, reduction cell", returned.skips_reduce.map(|n| n.to_string()));
    fact("Skip connections, upsampling cell", returned.skips_upsample.map(|n| n.to_string()));
    fact("L2 factor of the weights", Some(short(returned.l2)));
    let caption = match (&table.found, returned.epoch) {
        (Some(_), Some(_)) => "At the epoch that was returned",
        (Some(_), None) => "What was chosen",
        (None, _) => "At the last epoch so far",
    };
    Some(Table { caption: caption.into(), headers: vec!["What".into(), "Value".into()], rows })
}

fn rule_table(table: &SearchTable) -> Table {
    let acts = |outcome: &RuleOutcome| match (outcome.acts_after, outcome.is_whole) {
        _ if !outcome.is_judged => "not judged".to_string(),
        (Some(epoch), _) => epoch.to_string(),
        (None, true) => "never".to_string(),
        (None, false) => format!("not up to {}", outcome.judged_to),
    };
    let has_upsample = table.task == Task::Disparity;
    let row = |outcome: &RuleOutcome| {
        let mut cells = vec![
            words(outcome.rule.as_str()),
            number(Some(acts(outcome))),
            number(outcome.returns.map(|epoch| epoch.to_string())),
            number(outcome.skips_normal.map(|n| n.to_string())),
            number(outcome.skips_reduce.map(|n| n.to_string())),
        ];
        cells.extend(has_upsample.then(|| number(outcome.skips_upsample.map(|n| n.to_string()))));
        cells.push(words(outcome.numbers.as_str()));
        Row { is_marked: false, cells }
    };
    let mut headers = vec!["Rule", "Acts after epoch", "Returns epoch", "Skips, normal", "Skips, reduction"];
    headers.extend(has_upsample.then_some("Skips, upsampling"));
    headers.push("Its numbers");
    Table {
        caption: "Each rule on the first attempt of this search".into(),
        headers: headers.into_iter().map(Into::into).collect(),
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

fn selected(table: &SearchTable) -> Table {
    let row = |selected: &rdarts_run::Selected| {
        let name = |k: &usize| selected.candidates[*k].clone();
        let kept: Vec<String> = selected.kept.iter().map(name).collect();
        let without = selected.candidates.iter().zip(&selected.accuracy);
        let without: Vec<String> = without.map(|(name, accuracy)| format!("{name} {}", percent(*accuracy))).collect();
        Row {
            is_marked: false,
            cells: vec![
                number(Some(selected.epoch.to_string())),
                words(selected.cell.as_str()),
                words(match selected.input {
                    Some(input) => format!("{input} to node {}", selected.node),
                    None => format!("inputs of node {}", selected.node),
                }),
                words(kept.join(" and ")),
                words(without.join(", ")),
            ],
        }
    };
    Table {
        caption: "Decisions in their order, with the supernet's accuracy without each candidate".into(),
        headers: ["After epoch", "Cell", "Edge", "Keeps", "Accuracy without"].map(Into::into).to_vec(),
        rows: table.selected.iter().map(row).collect(),
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
    let supernet = if table.is_random() { "architecture of the last step" } else { "supernet" };
    readout(has(|row| row.valid_accuracy.is_some()), supernet, "valid_accuracy", "percent");
    readout(has(|row| row.child_accuracy.is_some()), "child", "child_accuracy", "percent");
    readout(has(|row| row.valid_error.is_some()), supernet, "valid_error", "pixels");
    readout(has(|row| row.child_error.is_some()), "child", "child_error", "pixels");
    let skips = if table.is_random() { "its skips, normal cell" } else { "skips, normal cell" };
    readout(true, skips, "skip_connects_normal", "count");
    readout(true, "L2", "l2", "short");
    readouts
}
