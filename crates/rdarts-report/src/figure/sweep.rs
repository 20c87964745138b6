//! What changes with the L2 factor, the drop path probability or the augmentation of a search, all else being equal.

use super::{Figure, frame};
use crate::csv::csv;
use crate::number::short;
use crate::statistics::Summary;
use crate::svg::{Axis, Entry, Panel, Shape, chart, key};
use crate::table::ManyTable;
use crate::table::many::{Sweep, SweepRow};
use crate::task::Task;

/// A series: its name, its class, its mark and its value.
type Series = (&'static str, &'static str, usize, fn(&SweepRow) -> Option<Summary>);

const SERIES: [Series; 3] = [
    ("supernet, validation", "c4", 0, |row| row.supernet_error),
    ("discretised child, validation", "c5 d2", 1, |row| row.child_error),
    ("test, after training", "c2 d1", 2, |row| row.test_error),
];

/// More figures of this kind than these a page does not show.
const MOST: usize = 12;

pub(super) fn figures(many: &ManyTable) -> Vec<Figure> {
    many.sweeps.iter().take(MOST).enumerate().filter_map(|(i, sweep)| figure(i, sweep)).collect()
}

fn figure(i: usize, sweep: &Sweep) -> Option<Figure> {
    let series: Vec<&Series> =
        SERIES.iter().filter(|series| sweep.rows.iter().any(|row| series.3(row).is_some())).collect();
    series.first()?;
    let entry = |s: &&Series| Entry { label: s.0.into(), class: s.1.into(), shape: Shape::Line };
    let (key, key_height) = key(&series.iter().map(entry).collect::<Vec<_>>(), 0.0);
    let (frame, height) = frame(key_height);
    let ends = series.iter().flat_map(|series| sweep.rows.iter().filter_map(series.3)).flat_map(|value| {
        let deviation = value.deviation.unwrap_or(0.0);
        [value.mean - deviation, value.mean + deviation]
    });
    let values = sweep.rows.iter().map(|row| row.value);
    let is_log = sweep.what == "L2" && values.clone().all(|value| value > 0.0);
    let (label, whose) = match sweep.what {
        "L2" => ("L2 factor of the weights", "L2"),
        "augmentation" => ("strength of the augmentation", "Augmentation"),
        _ => ("drop path probability", "Drop path"),
    };
    let x = if is_log { Axis::log(label, values) } else { Axis::of(label, values, None) };
    let y = match sweep.task {
        Task::Classification => Axis::of("error, %", ends, None).percent(),
        Task::Disparity => Axis::of("end-point error, px", ends, None),
    };
    let mut panel = Panel::new(frame, x, y);
    for (_, class, mark, value) in &series {
        let at = || sweep.rows.iter().filter_map(|row| Some((row.value, value(row)?)));
        let colour = class.split(' ').next().unwrap_or(class);
        let bars: Vec<(f64, f64, f64)> =
            at().filter_map(|(x, v)| Some((x, v.mean - v.deviation?, v.mean + v.deviation?))).collect();
        let points: Vec<(f64, f64)> = at().map(|(x, v)| (x, v.mean)).collect();
        panel.line(class, &points);
        panel.bars(colour, &bars);
        panel.marks(colour, *mark, &points);
    }
    let n: usize = sweep.rows.iter().map(|row| row.n).sum();
    let name = format!("sweep-{}-{}", sweep.what.replace(' ', "-").to_lowercase(), i + 1);
    let title = format!("{whose} sweep: {}", sweep.label);
    let description: Vec<String> = sweep
        .rows
        .iter()
        .filter_map(|row| {
            Some(format!("{} {}: {}", sweep.what, short(row.value), sweep.task.error(series[0].3(row)?.mean)))
        })
        .collect();
    let rows = sweep.rows.iter().map(|row| {
        let mut cells = vec![row.value.into(), row.n.into()];
        for summary in [row.supernet_error, row.child_error, row.test_error, row.skips_normal] {
            cells.push(summary.map(|s| s.mean).into());
            cells.push(summary.and_then(|s| s.deviation).into());
        }
        cells
    });
    Some(Figure {
        drawing: None,
        svg: chart(&name, &title, &description.join(", "), height, &key, &[panel]),
        csv: csv(
            &[
                sweep.what,
                "runs",
                "supernet error",
                "its deviation",
                "child error",
                "its deviation",
                "test error",
                "its deviation",
                "skips normal",
                "its deviation",
            ],
            rows,
        ),
        name,
        title,
        caption: format!("Mean over runs, {n} in all; bars are one standard deviation."),
    })
}
