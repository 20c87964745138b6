//! A training over its epochs.

use rdarts_run::TrainEpoch;

use super::{Figure, LEFT, WIDTH, epochs_axis, frame};
use crate::csv::csv;
use crate::number::{percent, short};
use crate::svg::{Axis, Entry, Panel, Shape, chart, key};
use crate::table::TrainTable;

pub(super) fn accuracy(table: &TrainTable) -> Option<Figure> {
    curves(
        table,
        ("training-accuracy", "Accuracy", "Of the images of the steps, augmented, and of those held out."),
        &[("training images", "c7 d1", |e| Some(e.train_accuracy)), ("held-out images", "c4", |e| e.valid_accuracy)],
        true,
    )
}

pub(super) fn loss(table: &TrainTable) -> Option<Figure> {
    curves(
        table,
        ("training-loss", "Loss", "The loss of the steps is what is minimised, with that of the auxiliary head."),
        &[("training images", "c7 d1", |e| Some(e.train_loss)), ("held-out images", "c4", |e| e.valid_loss)],
        false,
    )
}

pub(super) fn regularisation(table: &TrainTable) -> Option<Figure> {
    let last = table.epochs.last()?;
    let entries = [("learning rate", "c4 d1"), ("drop path", "c2"), ("Cutout", "c1 d2")].map(|(label, class)| Entry {
        label: label.into(),
        class: class.into(),
        shape: Shape::Line,
    });
    let (key, top) = key(&entries, 0.0);
    let of = |value: fn(&TrainEpoch) -> f64| -> Vec<(f64, f64)> {
        table.epochs.iter().map(|e| (e.epoch as f64, value(e))).collect()
    };
    let mut x = epochs_axis(table.epochs.iter().map(|e| e.epoch));
    let rates = Axis::of("learning rate", table.epochs.iter().map(|e| e.lr), Some(0.0));
    let shares = table.epochs.iter().flat_map(|e| [e.drop_path, e.cutout_prob]);
    let lower_x = x.clone();
    x.label.clear();
    let mut upper = Panel::new((LEFT, top + 20.0, WIDTH, 70.0), x, rates);
    upper.line("c4 d1", &of(|e| e.lr));
    let y = Axis::of("probability", shares.chain([0.1]), Some(0.0));
    let mut lower = Panel::new((LEFT, top + 138.0, WIDTH, 60.0), lower_x, y);
    lower.line("c2", &of(|e| e.drop_path));
    lower.line("c1 d2", &of(|e| e.cutout_prob));
    upper.cursor("epoch");
    lower.cursor("epoch");
    let title = "Regularisation over time".to_string();
    let description = format!(
        "At the end learning rate {}, drop path {}, Cutout {}.",
        short(last.lr),
        short(last.drop_path),
        short(last.cutout_prob)
    );
    Some(Figure {
        drawing: None,
        name: "training-regularisation".to_string(),
        svg: chart("training-regularisation", &title, &description, top + 236.0, &key, &[upper, lower]),
        csv: csv(
            &["attempt", "epoch", "learning rate", "drop path", "Cutout probability"],
            table
                .epochs
                .iter()
                .map(|e| vec![e.attempt.into(), e.epoch.into(), e.lr.into(), e.drop_path.into(), e.cutout_prob.into()]),
        ),
        title,
        caption: description,
    })
}

/// A series: its name, its class, and its value.
type Series = (&'static str, &'static str, fn(&TrainEpoch) -> Option<f64>);

fn curves(
    table: &TrainTable,
    (name, title, caption): (&str, &str, &str),
    series: &[Series],
    is_percent: bool,
) -> Option<Figure> {
    let last = table.epochs.last()?;
    let has = |value: fn(&TrainEpoch) -> Option<f64>| table.epochs.iter().any(|e| value(e).is_some());
    let series: Vec<&Series> = series.iter().filter(|(_, _, value)| has(*value)).collect();
    let entry =
        |(label, class, _): &&Series| Entry { label: (*label).into(), class: (*class).into(), shape: Shape::Line };
    let mut entries: Vec<Entry> = series.iter().map(entry).collect();
    let best = table.result.as_ref().map(|result| result.epoch);
    if best.is_some() {
        entries.push(Entry { label: "epoch of the result".into(), class: "c2 d2".into(), shape: Shape::Line });
    }
    let (key, key_height) = key(&entries, 0.0);
    let (frame, height) = frame(key_height);
    let values = series.iter().flat_map(|(_, _, value)| table.epochs.iter().filter_map(value));
    let y = match is_percent {
        true => Axis::of("accuracy, %", values, None).percent(),
        false => Axis::of("loss", values, None),
    };
    let mut panel = Panel::new(frame, epochs_axis(table.epochs.iter().map(|e| e.epoch)), y);
    if let Some(best) = best {
        panel.vertical("c2 d2", best as f64);
    }
    for (_, class, value) in &series {
        let points: Vec<(f64, f64)> = table.epochs.iter().filter_map(|e| Some((e.epoch as f64, value(e)?))).collect();
        panel.line(class, &points);
    }
    panel.cursor("epoch");
    let show = |value: f64| if is_percent { percent(value) } else { short(value) };
    let ends: Vec<String> =
        series.iter().filter_map(|(label, _, value)| Some(format!("{label} {}", show(value(last)?)))).collect();
    let headers: Vec<&str> = ["attempt", "epoch"].into_iter().chain(series.iter().map(|s| s.0)).collect();
    let rows = table.epochs.iter().map(|e| {
        let begin = [e.attempt.into(), e.epoch.into()].into_iter();
        begin.chain(series.iter().map(|(_, _, value)| value(e).into())).collect()
    });
    let description = format!("After epoch {}: {}.", last.epoch, ends.join(", "));
    Some(Figure {
        drawing: None,
        name: name.to_string(),
        title: title.to_string(),
        caption: caption.to_string(),
        svg: chart(name, title, &description, height, &key, &[panel]),
        csv: csv(&headers, rows),
    })
}
