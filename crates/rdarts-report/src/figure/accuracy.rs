//! Accuracy or end-point error, and loss, of the supernet and of its discretised child.

use super::{Figure, Unit, epochs_axis, frame, points_given_up, points_of};
use crate::csv::csv;
use crate::svg::{Axis, Entry, Panel, Shape, chart, key};
use crate::table::SearchTable;
use crate::table::search::EpochRow;
use crate::task::Task;

type Value = fn(&EpochRow) -> Option<f64>;

/// A series: its name, its class, and its value.
type Series = (&'static str, &'static str, Value);

/// What the epochs of random search are of.
const DRAWN: &str = "Each weight step trains an architecture drawn at random; what stands for an epoch in validation is the \
                     architecture of its last step, and not what was chosen at the end.";

/// The figure of the accuracy; with a line at an epoch if one is given.
pub(super) fn accuracy(table: &SearchTable, at: Option<usize>) -> Option<Figure> {
    let series: [Series; 3] = [
        ("supernet, weight steps", "c7 d1", EpochRow::of_steps),
        ("supernet, validation", "c4", EpochRow::of_supernet),
        ("discretised child, validation", "c5 d2", EpochRow::of_child),
    ];
    if table.is_random() {
        let series: [Series; 2] = [
            ("weight steps", "c7 d1", EpochRow::of_steps),
            ("architecture of the last step, validation", "c4", |row| row.valid_accuracy),
        ];
        return figure(table, "accuracy", "Accuracy with the shared weights", (DRAWN, Unit::Percent), &series, at);
    }
    let caption = "The child has the operations that the alphas would choose now and the weights of the supernet; its \
                   distance from the supernet is the drop at discretisation.";
    if table.task == Task::Disparity {
        let caption = format!(
            "Mean end-point error in pixels: how far the disparity of a pixel is from the truth, where that is known. {caption}"
        );
        let title = "End-point error of the supernet and of its child";
        return figure(table, "error", title, (&caption, Unit::Pixels), &series, at);
    }
    figure(table, "accuracy", "Accuracy of the supernet and of its child", (caption, Unit::Percent), &series, at)
}

pub(super) fn loss(table: &SearchTable) -> Option<Figure> {
    let series: [Series; 4] = [
        ("weight steps", "c7 d1", |row| Some(row.train_loss)),
        ("alpha steps", "c2 d3", |row| Some(row.alpha_loss)),
        ("supernet, validation", "c4", |row| row.valid_loss),
        ("discretised child, validation", "c5 d2", |row| row.child_loss),
    ];
    if table.is_random() {
        let series: [Series; 2] = [
            ("weight steps", "c7 d1", |row| Some(row.train_loss)),
            ("architecture of the last step, validation", "c4", |row| row.valid_loss),
        ];
        return figure(table, "loss", "Loss with the shared weights", (DRAWN, Unit::Loss), &series, None);
    }
    let caption = match table.task {
        Task::Classification => "Mean cross-entropy of each epoch.",
        Task::Disparity => {
            "Mean over each epoch of the end-point errors of the predictions of all sizes, each with its weight."
        }
    };
    figure(table, "loss", "Loss of the supernet and of its child", (caption, Unit::Loss), &series, None)
}

fn figure(
    table: &SearchTable,
    name: &str,
    title: &str,
    (caption, unit): (&str, Unit),
    series: &[Series],
    at: Option<usize>,
) -> Option<Figure> {
    table.epochs.first()?;
    let has = |value: &Value| table.epochs.iter().any(|row| value(row).is_some_and(f64::is_finite));
    let series: Vec<&Series> = series.iter().filter(|(_, _, value)| has(value)).collect();
    let entry =
        |(label, class, _): &&Series| Entry { label: (*label).into(), class: (*class).into(), shape: Shape::Line };
    let (key, key_height) = key(&series.iter().map(entry).collect::<Vec<_>>(), 0.0);
    let (frame, height) = frame(key_height);
    let values = series.iter().flat_map(|(_, _, value)| table.epochs.iter().filter_map(value));
    let y = match (unit, table.task) {
        (Unit::Loss, Task::Classification) => Axis::of("cross-entropy", values, None),
        _ => unit.axis(values),
    };
    let mut panel = Panel::new(frame, epochs_axis(table.epochs.iter().map(|row| row.epoch)), y);
    for (_, class, value) in &series {
        for points in points_given_up(table, value) {
            panel.line(&format!("{class} faint"), &points);
        }
        panel.line(class, &points_of(table, value));
    }
    panel.cursor_at("epoch", at);
    let last = table.epochs.last()?;
    let ends: Vec<String> =
        series.iter().filter_map(|(label, _, value)| Some(format!("{label} {}", unit.show(value(last)?)))).collect();
    let description = format!("After epoch {}: {}.", last.epoch, ends.join(", "));
    let headers: Vec<&str> = ["attempt", "epoch"].into_iter().chain(series.iter().map(|s| s.0)).collect();
    let rows = table.epochs.iter().map(|row| {
        let begin = [row.attempt.into(), row.epoch.into()].into_iter();
        begin.chain(series.iter().map(|(_, _, value)| value(row).into())).collect()
    });
    Some(Figure {
        drawing: None,
        name: name.to_string(),
        title: title.to_string(),
        caption: caption.to_string(),
        svg: chart(name, title, &description, height, &key, &[panel]),
        csv: csv(&headers, rows),
    })
}
