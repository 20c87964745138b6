//! A training over its epochs.

use rdarts_run::TrainEpoch;

use super::{Figure, LEFT, Unit, WIDTH, epochs_axis, frame};
use crate::csv::csv;
use crate::number::short;
use crate::svg::{Axis, Entry, Panel, Shape, chart, key};
use crate::table::{DisparityTrainTable, TrainTable};

pub(super) fn accuracy(table: &TrainTable) -> Option<Figure> {
    let caption = "Of the images of the steps, augmented, and of those held out.";
    let curves = Curves::of_classification(table, ["training-accuracy", "Accuracy", caption], Unit::Percent);
    let curves = curves.with("training images", "c7 d1", table.epochs.iter().map(|e| Some(e.train_accuracy)));
    curves.with("held-out images", "c4", table.epochs.iter().map(|e| e.valid_accuracy)).figure()
}

pub(super) fn loss(table: &TrainTable) -> Option<Figure> {
    let caption = "The loss of the steps is what is minimised, with that of the auxiliary head.";
    let curves = Curves::of_classification(table, ["training-loss", "Loss", caption], Unit::Loss);
    let curves = curves.with("training images", "c7 d1", table.epochs.iter().map(|e| Some(e.train_loss)));
    curves.with("held-out images", "c4", table.epochs.iter().map(|e| e.valid_loss)).figure()
}

/// The end-point error of a training for disparity.
pub(super) fn error(table: &DisparityTrainTable) -> Option<Figure> {
    let caption = "Mean distance of the estimated disparity from the truth, where that is known: of the windows of the steps, \
                   which are changed at random, and of the held-out pairs, whole and unchanged.";
    let curves = Curves::of_disparity(table, ["training-error", "End-point error", caption], Unit::Pixels);
    let curves = curves.with("training pairs", "c7 d1", table.epochs.iter().map(|e| Some(e.train_error)));
    curves.with("held-out pairs", "c4", table.epochs.iter().map(|e| e.valid_error)).figure()
}

/// Its loss.
pub(super) fn loss_of_disparity(table: &DisparityTrainTable) -> Option<Figure> {
    let caption = "What is minimised: the end-point errors of the predictions of all sizes, each with its weight.";
    let curves = Curves::of_disparity(table, ["training-loss", "Loss", caption], Unit::Loss);
    curves.with("training pairs", "c7 d1", table.epochs.iter().map(|e| Some(e.train_loss))).figure()
}

/// Its learning rate.
pub(super) fn rate(table: &DisparityTrainTable) -> Option<Figure> {
    let title = "Learning rate";
    let curves = Curves::of_disparity(table, ["training-rate", title, "Of Adam, over the epochs."], Unit::Loss);
    let mut curves = curves.with("learning rate", "c4", table.epochs.iter().map(|e| Some(e.lr)));
    curves.axis = Some(Axis::of("learning rate", table.epochs.iter().map(|e| e.lr), Some(0.0)));
    curves.figure()
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

/// Lines over the epochs of a training.
struct Curves<'a> {
    name: &'a str,
    title: &'a str,
    caption: &'a str,
    unit: Unit,
    /// Its vertical axis; `None`: that of the unit.
    axis: Option<Axis>,
    /// The attempt and the number of each epoch.
    epochs: Vec<(usize, usize)>,
    /// The epoch of the result.
    best: Option<usize>,
    /// Of each line its name, its class and its values.
    series: Vec<(&'static str, &'static str, Vec<Option<f64>>)>,
}

impl<'a> Curves<'a> {
    fn of_classification(table: &TrainTable, [name, title, caption]: [&'a str; 3], unit: Unit) -> Self {
        let epochs = table.epochs.iter().map(|e| (e.attempt, e.epoch)).collect();
        let best = table.result.as_ref().map(|result| result.epoch);
        Self { name, title, caption, unit, axis: None, epochs, best, series: Vec::new() }
    }

    fn of_disparity(table: &DisparityTrainTable, [name, title, caption]: [&'a str; 3], unit: Unit) -> Self {
        let epochs = table.epochs.iter().map(|e| (e.attempt, e.epoch)).collect();
        let best = table.result.as_ref().map(|result| result.epoch);
        Self { name, title, caption, unit, axis: None, epochs, best, series: Vec::new() }
    }

    /// The same with a line, if any of its values is known.
    fn with(mut self, label: &'static str, class: &'static str, values: impl Iterator<Item = Option<f64>>) -> Self {
        let values: Vec<Option<f64>> = values.collect();
        if values.iter().any(Option::is_some) {
            self.series.push((label, class, values));
        }
        self
    }

    fn figure(self) -> Option<Figure> {
        let last = self.epochs.last()?.1;
        let line = |label: &str, class: &str| Entry { label: label.into(), class: class.into(), shape: Shape::Line };
        let mut entries: Vec<Entry> = self.series.iter().map(|(label, class, _)| line(label, class)).collect();
        if self.best.is_some() {
            entries.push(line("epoch of the result", "c2 d2"));
        }
        let (key, key_height) = key(&entries, 0.0);
        let (frame, height) = frame(key_height);
        let values = self.series.iter().flat_map(|(_, _, values)| values.iter().flatten().copied());
        let y = self.axis.unwrap_or_else(|| self.unit.axis(values));
        let mut panel = Panel::new(frame, epochs_axis(self.epochs.iter().map(|e| e.1)), y);
        if let Some(best) = self.best {
            panel.vertical("c2 d2", best as f64);
        }
        for (_, class, values) in &self.series {
            let at = self.epochs.iter().zip(values);
            let points: Vec<(f64, f64)> = at.filter_map(|(e, value)| Some((e.1 as f64, (*value)?))).collect();
            panel.line(class, &points);
        }
        panel.cursor("epoch");
        let ends = self.series.iter().filter_map(|(label, _, values)| {
            let value = values.last().copied().flatten()?;
            Some(format!("{label} {}", self.unit.show(value)))
        });
        let description = format!("After epoch {last}: {}.", ends.collect::<Vec<_>>().join(", "));
        let headers: Vec<&str> = ["attempt", "epoch"].into_iter().chain(self.series.iter().map(|s| s.0)).collect();
        let rows = self.epochs.iter().enumerate().map(|(i, (attempt, epoch))| {
            let begin = [(*attempt).into(), (*epoch).into()].into_iter();
            begin.chain(self.series.iter().map(|(_, _, values)| values[i].into())).collect()
        });
        Some(Figure {
            drawing: None,
            name: self.name.to_string(),
            title: self.title.to_string(),
            caption: self.caption.to_string(),
            svg: chart(self.name, self.title, &description, height, &key, &[panel]),
            csv: csv(&headers, rows),
        })
    }
}
