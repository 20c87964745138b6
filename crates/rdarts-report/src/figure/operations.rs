//! How many operations of the cells are no convolutions, and how many are skip connections.

use super::{Figure, epochs_axis, frame, points_of};
use crate::csv::csv;
use crate::svg::{Axis, Entry, Panel, Shape, chart, key};
use crate::table::SearchTable;
use crate::table::search::EpochRow;
use crate::task::{CellKind, Task};

/// A series: its name, its class, and its value.
type Series = (&'static str, &'static str, fn(&EpochRow) -> Option<usize>);

const SERIES: [Series; 6] = [
    ("parameterless, normal", "c4", |row| row.parameterless_normal),
    ("skip connections, normal", "op-skip", |row| Some(row.skip_connects_normal)),
    ("parameterless, reduction", "c2", |row| row.parameterless_reduce),
    ("skip connections, reduction", "op-skip d2", |row| row.skip_connects_reduce),
    ("parameterless, upsampling", "c5 d1", |row| row.parameterless_upsample),
    ("skip connections, upsampling", "op-skip d3", |row| row.skip_connects_upsample),
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
    let sizes = |found: &crate::task::Architecture| CellKind::ALL.map(|cell| found.entries(cell).len());
    let sizes = table.genotype().map_or([8; 3], |found| sizes(&found));
    let most = sizes.into_iter().max().unwrap_or(0);
    let mut y = Axis::whole("operations", 0, most);
    y.range = (-0.3, most as f64 + 0.3);
    let mut panel = Panel::new(frame, epochs_axis(table.epochs.iter().map(|row| row.epoch)), y);
    for (i, (_, class, value)) in series.iter().enumerate() {
        // Equal numbers would hide each other.
        let shift = 0.08 * (i as f64 - (series.len() as f64 - 1.0) / 2.0);
        let points: Vec<(f64, f64)> = points_of(table, |row| value(row).map(|n| n as f64 + shift));
        panel.steps(class, &points);
    }
    panel.cursor_at("epoch", at);
    let title = "Parameterless operations of the cells".to_string();
    let ends: Vec<String> =
        series.iter().filter_map(|(label, _, value)| Some(format!("{} {label}", value(last)?))).collect();
    // Networks that classify have no upsampling cells.
    let n_columns = if table.task == Task::Disparity { 6 } else { 4 };
    let headers = [
        "attempt",
        "epoch",
        "parameterless normal",
        "skips normal",
        "parameterless reduce",
        "skips reduce",
        "parameterless upsample",
        "skips upsample",
    ];
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
            &headers[..2 + n_columns],
            table.epochs.iter().map(|row| {
                let begin = [row.attempt.into(), row.epoch.into()].into_iter();
                begin.chain(SERIES[..n_columns].iter().map(|(_, _, value)| value(row).into())).collect()
            }),
        ),
        title,
        caption: match table.is_random() {
            _ if table.task == Task::Disparity => format!(
                "Of the {}, {} and {} operations of the normal, the reduction and the upsampling cell, were the supernet \
                 discretised after that epoch. Lines of equal value are drawn a little apart.",
                sizes[0], sizes[1], sizes[2]
            ),
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
