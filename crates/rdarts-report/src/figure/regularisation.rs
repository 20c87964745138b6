//! How hard a search was regularised over time, in the order in which its epochs were done.

use super::{Figure, LEFT, WIDTH};
use crate::csv::csv;
use crate::number::short;
use crate::svg::{Axis, Entry, Panel, Shape, chart, key};
use crate::table::SearchTable;
use crate::table::search::EpochRow;
use crate::task::Task;

pub(super) fn figure(table: &SearchTable) -> Option<Figure> {
    let last = table.epochs.last()?;
    let of = |value: fn(&EpochRow) -> f64| -> Vec<(f64, f64)> {
        table.epochs.iter().enumerate().map(|(i, row)| (i as f64, value(row))).collect()
    };
    // Searches for disparity have neither drop path nor Cutout.
    let has_shares = table.task == Task::Classification;
    let entries = [("L2 factor", "c5"), ("learning rate", "c4 d1"), ("drop path", "c2"), ("Cutout", "c1 d2")]
        .map(|(label, class)| Entry { label: label.into(), class: class.into(), shape: Shape::Line });
    let (key, top) = key(if has_shares { &entries } else { &entries[..2] }, 0.0);
    let n = table.epochs.len() - 1;
    let is_back = table.epochs.iter().any(|row| row.attempt > 0);
    let x = |label: &str| Axis::whole(label, 0, n);
    let x_label = if is_back { "epochs done, those after going back too" } else { "epoch" };
    let factors = table.epochs.iter().flat_map(|row| [row.l2, row.lr]);
    let mut upper = Panel::new(
        (LEFT, top + 20.0, WIDTH, 80.0),
        x(if has_shares { "" } else { x_label }),
        Axis::log("L2 and learning rate", factors),
    );
    upper.steps("c5", &of(|row| row.l2));
    upper.line("c4 d1", &of(|row| row.lr));
    let shares = table.epochs.iter().flat_map(|row| [row.drop_path, row.cutout_prob]);
    let y = Axis::of("probability", shares.chain([0.1]), Some(0.0));
    let mut lower = Panel::new((LEFT, top + 148.0, WIDTH, 50.0), x(x_label), y);
    lower.line("c2", &of(|row| row.drop_path));
    lower.line("c1 d2", &of(|row| row.cutout_prob));
    upper.cursor("step");
    lower.cursor("step");
    let title = "Regularisation over time".to_string();
    let shares = match has_shares {
        true => format!(", drop path {}, Cutout {}", short(last.drop_path), short(last.cutout_prob)),
        false => String::new(),
    };
    let description = format!("At the end L2 {}, learning rate {}{shares}.", short(last.l2), short(last.lr));
    let (panels, height) = match has_shares {
        true => (vec![upper, lower], top + 236.0),
        false => (vec![upper], top + 136.0),
    };
    let headers = ["attempt", "epoch", "L2", "learning rate", "drop path", "Cutout probability"];
    let n_numbers = if has_shares { 4 } else { 2 };
    Some(Figure {
        drawing: None,
        name: "regularisation".to_string(),
        svg: chart("regularisation", &title, &description, height, &key, &panels),
        csv: csv(
            &headers[..2 + n_numbers],
            table.epochs.iter().map(|row| {
                let numbers = [row.l2, row.lr, row.drop_path, row.cutout_prob];
                let begin = [row.attempt.into(), row.epoch.into()].into_iter();
                begin.chain(numbers[..n_numbers].iter().map(|&number| number.into())).collect()
            }),
        ),
        title,
        caption: description,
    })
}
