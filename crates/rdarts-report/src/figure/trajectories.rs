//! The mean trajectory of the eigenvalue by method, with a band of one standard deviation over runs.

use super::{Figure, epochs_axis, frame, line_class};
use crate::csv::{Cell, csv};
use crate::number::short;
use crate::svg::{Axis, Entry, Panel, Shape, chart, key};
use crate::table::ManyTable;
use crate::table::many::Trajectories;

/// More figures of this kind than these a page does not show.
const MOST: usize = 12;

pub(super) fn figures(many: &ManyTable) -> Vec<Figure> {
    many.trajectories.iter().take(MOST).enumerate().map(|(i, of)| figure(i, of)).collect()
}

fn figure(i: usize, of: &Trajectories) -> Figure {
    let class = line_class;
    let n_runs = |values: &[crate::statistics::Summary]| values.iter().map(|v| v.n).max().unwrap_or(0);
    let entries: Vec<Entry> = of
        .lines
        .iter()
        .enumerate()
        .map(|(i, line)| Entry {
            label: format!("{} (n = {})", line.label, n_runs(&line.values)),
            class: class(i),
            shape: Shape::Line,
        })
        .collect();
    let (key, key_height) = key(&entries, 0.0);
    let (frame, height) = frame(key_height);
    let ends = of.lines.iter().flat_map(|line| &line.values).flat_map(|value| {
        let deviation = value.deviation.unwrap_or(0.0);
        [value.mean - deviation, value.mean + deviation]
    });
    let epochs: Vec<usize> = of.lines.iter().flat_map(|line| line.epochs.iter().copied()).collect();
    let y = Axis::of("dominant eigenvalue", ends, Some(0.0));
    let mut panel = Panel::new(frame, epochs_axis(epochs.iter().copied()), y);
    for (i, line) in of.lines.iter().enumerate() {
        let at = || line.epochs.iter().zip(&line.values);
        let band: Vec<(f64, f64, f64)> =
            at().filter_map(|(epoch, v)| Some((*epoch as f64, v.mean - v.deviation?, v.mean + v.deviation?))).collect();
        panel.band(&class(i), &band);
    }
    for (i, line) in of.lines.iter().enumerate() {
        let mean: Vec<(f64, f64)> = line.epochs.iter().zip(&line.values).map(|(e, v)| (*e as f64, v.mean)).collect();
        panel.line(&class(i), &mean);
    }
    let name = format!("trajectories-{}", i + 1);
    let title = format!("Dominant eigenvalue in {} on {}", of.space, of.data);
    let ends: Vec<String> = of
        .lines
        .iter()
        .filter_map(|line| Some(format!("{} ends at {}", line.label, short(line.values.last()?.mean))))
        .collect();
    let rows = of.lines.iter().flat_map(|line| {
        line.epochs.iter().zip(&line.values).map(|(epoch, v)| {
            vec![Cell::from(&line.label[..]), (*epoch).into(), v.n.into(), v.mean.into(), v.deviation.into()]
        })
    });
    Figure {
        drawing: None,
        svg: chart(&name, &title, &ends.join(", "), height, &key, &[panel]),
        csv: csv(&["method", "epoch", "runs", "mean", "standard deviation"], rows),
        name,
        title,
        caption: "Mean over runs; the band is one standard deviation, and there is none of a single run.".to_string(),
    }
}
