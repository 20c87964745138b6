//! The trajectory of the dominant eigenvalue: how noisy it is, what the rule makes of it, and what the monitor did.

use rdarts_run::{DecisionKind, Method};

use super::{Figure, epochs_axis, frame, points_given_up, points_of};
use crate::csv::csv;
use crate::svg::{Axis, Entry, Panel, Shape, chart, key};
use crate::table::SearchTable;
use crate::table::rules::percent_of;
use crate::table::search::EpochRow;

/// The figure; with a line at an epoch if one is given.
pub(super) fn figure(table: &SearchTable, at: Option<usize>) -> Option<Figure> {
    let measured = || table.epochs.iter().filter(|row| row.eigenvalue.is_some());
    measured().next()?;
    let raw = points_of(table, |row| row.eigenvalue);
    let smoothed = points_of(table, |row| row.smoothed);
    let limit = points_of(table, |row| row.limit);
    let given_up = points_given_up(table, |row| row.eigenvalue);
    let spread: Vec<(f64, f64, f64)> = table.kept().filter_map(of_noise).collect();
    let has_error = measured().any(|row| row.eigenvalue_error.is_some());
    let of_kind = |kind| table.decisions.iter().filter(move |decision| decision.kind == kind);
    let stops = of_kind(DecisionKind::Stop).count();
    let backs = of_kind(DecisionKind::Rollback).count();

    let line = |label: &str, class: &str| Entry { label: label.into(), class: class.into(), shape: Shape::Line };
    let mark = |label: String, class: &str, n| Entry { label, class: class.into(), shape: Shape::Mark(n) };
    let noise = if has_error { "measured, with standard error" } else { "measured, with bound" };
    let mut entries = vec![mark(noise.to_string(), "c7", 0)];
    if !smoothed.is_empty() {
        entries.push(line("smoothed", "c4"));
    }
    if !limit.is_empty() {
        let whose = if acts_on_it(table) { "limit of the rule" } else { "limit of DARTS-ES" };
        entries.push(line(whose, "c5 d1"));
    }
    if !given_up.is_empty() {
        entries.push(line("given up", "c7 faint"));
    }
    if stops > 0 {
        entries.push(mark("stop".to_string(), "c5", 4));
    }
    if backs > 0 {
        entries.push(mark(format!("went back ({backs})"), "c1", 4));
    }
    if table.found.is_some() {
        entries.push(line("returned epoch", "c2 d2"));
    }
    let (key, key_height) = key(&entries, 0.0);
    let (frame, height) = frame(key_height);
    // The limit may be far beyond all that was measured: what was measured sets the axis.
    let values = measured().filter_map(|row| row.eigenvalue);
    let ends = spread.iter().flat_map(|(_, low, high)| [*low, *high]);
    let y = Axis::of("dominant eigenvalue", values.chain(ends).chain(limit.iter().map(|p| p.1)), Some(0.0));
    let mut panel = Panel::new(frame, epochs_axis(table.epochs.iter().map(|row| row.epoch)), y);
    given_up.iter().for_each(|points| panel.line("c7 faint", points));
    if let Some(found) = &table.found {
        panel.vertical("c2 d2", found.epoch as f64);
    }
    panel.line("c5 d1", &limit);
    panel.bars("c7", &spread);
    panel.marks("c7", 0, &raw);
    panel.line("c4", &smoothed);
    for decision in &table.decisions {
        let (class, from) = match decision.kind {
            DecisionKind::Stop => ("c5", (decision.epoch as f64, decision.smoothed_now)),
            DecisionKind::Rollback => ("c1", (decision.epoch as f64, decision.smoothed_now)),
        };
        // The rule of DARTS+ looks at no eigenvalue.
        if !(from.1.is_finite() && decision.smoothed_before.is_finite()) {
            continue;
        }
        panel.marks(class, 4, &[from]);
        // Many arcs hide what they point at.
        if table.decisions.len() <= 6 {
            panel.arc(class, from, (decision.return_to as f64, decision.smoothed_before));
        }
    }
    panel.cursor_at("epoch", at);
    let title = "Dominant eigenvalue of the alpha-Hessian".to_string();
    let what = if has_error {
        "Bars are its standard error over the batches that it was measured on."
    } else {
        "Bars are the bound of its numerical error; measured on one batch, its noise is not known."
    };
    let caption = format!("{what} {}", limit_in_words(table));
    let description = describe(table);
    Some(Figure {
        drawing: None,
        name: "eigenvalue".to_string(),
        svg: chart("eigenvalue", &title, &description, height, &key, &[panel]),
        csv: csv(
            &["attempt", "epoch", "counts", "eigenvalue", "bound", "standard error", "smoothed", "limit"],
            measured().map(|row| {
                vec![
                    row.attempt.into(),
                    row.epoch.into(),
                    usize::from(row.is_kept).into(),
                    row.eigenvalue.into(),
                    row.eigenvalue_bound.into(),
                    row.eigenvalue_error.into(),
                    row.smoothed.into(),
                    row.limit.into(),
                ]
            }),
        ),
        title,
        caption,
    })
}

/// Whether the method acts on the eigenvalue.
fn acts_on_it(table: &SearchTable) -> bool {
    let method = Method::ALL.iter().find(|method| method.as_str() == table.method);
    // Of a damaged spec it is not known, and there is no limit.
    method.is_none_or(|method| method.needs_eigenvalue())
}

/// What the limit is, and whose.
fn limit_in_words(table: &SearchTable) -> String {
    let growth = "the smoothed value of the earlier window times the growth allowed";
    let noisy = table.asked.filter(|_| table.method == Method::DartsEsNoise.as_str());
    if let Some(asked) = noisy {
        return format!(
            "The rule acts where the smoothed value is above its limit: {growth}, or times what the noise alone explains at a \
             risk of {}, where that is more.",
            percent_of(asked.risk)
        );
    }
    if acts_on_it(table) {
        return format!("The rule acts where the smoothed value is above its limit, which is {growth}.");
    }
    let does = match table.method == Method::DartsPlus.as_str() {
        true => "looks at skip connections",
        false => "only watches",
    };
    format!(
        "{} {does}: the limit is the one that DARTS-ES would have with the numbers of this spec, {growth}.",
        table.method
    )
}

/// How far an eigenvalue may be off.
fn of_noise(row: &EpochRow) -> Option<(f64, f64, f64)> {
    let (value, noise) = (row.eigenvalue?, row.eigenvalue_error.or(row.eigenvalue_bound)?);
    Some((row.epoch as f64, value - noise, value + noise))
}

fn describe(table: &SearchTable) -> String {
    let values: Vec<(usize, f64)> = table.kept().filter_map(|row| Some((row.epoch, row.eigenvalue?))).collect();
    let (Some(first), Some(last)) = (values.first(), values.last()) else { return String::new() };
    let largest = values.iter().fold(*first, |largest, value| if value.1 > largest.1 { *value } else { largest });
    let short = crate::number::short;
    format!(
        "From {} at epoch {} to {} at epoch {}, at most {} at epoch {}; the monitor acted {} times.",
        short(first.1),
        first.0,
        short(last.1),
        last.0,
        short(largest.1),
        largest.0,
        table.decisions.len()
    )
}
