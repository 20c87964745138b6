//! How many operations of the cells are no convolutions, and how many are skip connections.

use super::{Figure, epochs_axis, frame, points_of};
use crate::csv::csv;
use crate::svg::{Axis, Entry, Panel, Shape, chart, key};
use crate::table::SearchTable;
use crate::table::search::EpochRow;

/// A series: its name, its class, and its value.
type Series = (&'static str, &'static str, fn(&EpochRow) -> Option<usize>);

const SERIES: [Series; 4] = [
    ("parameterless, normal", "c4", |row| row.parameterless_normal),
    ("skip connections, normal", "op-skip", |row| Some(row.skip_connects_normal)),
    ("parameterless, reduction", "c2", |row| row.parameterless_reduce),
    ("skip connections, reduction", "op-skip d2", |row| row.skip_connects_reduce),
];

/// The figure; with a line at an epoch if one is given.
pub(super) fn figure(table: &SearchTable, at: Option<usize>) -> Option<Figure> {
    let last = table.epochs.last()?;
    let series: Vec<&Series> =
        SERIES.iter().filter(|(_, _, value)| table.epochs.iter().any(|row| value(row).is_some())).collect();
    let entry =
        |(label, class, _): &&Series| Entry { label: (*label).into(), class: (*class).into(), shape: Shape::Line };
    let (key, key_height) = key(&series.iter().map(entry).collect::<Vec<_>>(), 0.0);
    let (frame, height) = frame(key_height);
    let most = table.health.parameterless.map_or(8, |(_, n)| n);
    let mut y = Axis::whole("operations", 0, most);
    y.range = (-0.3, most as f64 + 0.3);
    let mut panel = Panel::new(frame, epochs_axis(table.epochs.iter().map(|row| row.epoch)), y);
    for (i, (_, class, value)) in series.iter().enumerate() {
        // Equal numbers would hide each other.
        let shift = 0.08 * (i as f64 - 1.5);
        let points: Vec<(f64, f64)> = points_of(table, |row| value(row).map(|n| n as f64 + shift));
        panel.steps(class, &points);
    }
    panel.cursor_at("epoch", at);
    let title = "Parameterless operations of the cells".to_string();
    let ends: Vec<String> =
        series.iter().filter_map(|(label, _, value)| Some(format!("{} {label}", value(last)?))).collect();
    Some(Figure {
        drawing: None,
        name: "operations".to_string(),
        svg: chart(
            "operations",
            &title,
            &format!("After epoch {}: {}.", last.epoch, ends.join(", ")),
            height,
            &key,
            &[panel],
        ),
        csv: csv(
            &["attempt", "epoch", "parameterless normal", "skips normal", "parameterless reduce", "skips reduce"],
            table.epochs.iter().map(|row| {
                let begin = [row.attempt.into(), row.epoch.into()].into_iter();
                begin.chain(SERIES.iter().map(|(_, _, value)| value(row).into())).collect()
            }),
        ),
        title,
        caption: match table.is_random() {
            false => format!(
                "Of the {most} operations of each cell, were the supernet discretised after that epoch. Lines of equal \
                 value are drawn a little apart."
            ),
            true => format!(
                "Of the {most} operations of each cell of the architecture that was drawn for the last step of each epoch: \
                 chance, and nothing of what was chosen. Lines of equal value are drawn a little apart."
            ),
        },
    })
}
