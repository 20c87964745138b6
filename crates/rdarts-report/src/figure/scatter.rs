//! What goes with the eigenvalue: the test error, and what discretisation costs.

use super::{Figure, frame};
use crate::csv::{Cell, csv};
use crate::svg::{Axis, Entry, N_MARKS, Panel, Shape, chart, key};
use crate::table::ManyTable;
use crate::table::many::{Scatter, ScatterPoint};
use crate::task::Task;

const CLASSES: [&str; 6] = ["c4", "c5", "c2", "c1", "c6", "c3"];

pub(super) fn figures(many: &ManyTable) -> Vec<Figure> {
    many.scatters.iter().map(|scatter| figure(many, scatter)).collect()
}

fn figure(many: &ManyTable, scatter: &Scatter) -> Figure {
    let mut methods: Vec<&str> = scatter.points.iter().map(|point| &point.method[..]).collect();
    methods.sort_unstable();
    methods.dedup();
    let class = |i: usize| CLASSES[i % CLASSES.len()];
    let entry = |(i, method): (usize, &&str)| Entry {
        label: (*method).into(),
        class: class(i).into(),
        shape: Shape::Mark(i % N_MARKS),
    };
    let (key, key_height) = key(&methods.iter().enumerate().map(entry).collect::<Vec<_>>(), 0.0);
    let (frame, height) = frame(key_height);
    let x = Axis::of_eigenvalues(scatter.x, scatter.points.iter().map(|p| p.x));
    let ys = scatter.points.iter().map(|p| p.y);
    let y = match scatter.task {
        Task::Classification => Axis::of(&format!("{}, %", scatter.y), ys, None).percent(),
        Task::Disparity => Axis::of(&format!("{}, px", scatter.y), ys, None),
    };
    let mut panel = Panel::new(frame, x, y);
    for (i, method) in methods.iter().enumerate() {
        let is_of = |point: &&ScatterPoint| point.method == *method;
        let points: Vec<(f64, f64)> = scatter.points.iter().filter(is_of).map(|p| (p.x, p.y)).collect();
        panel.marks(class(i), i % N_MARKS, &points);
    }
    let caption = match &scatter.correlation {
        Some(found) => {
            let rank =
                scatter.rank.map_or(String::new(), |rank| format!("; Spearman's rank correlation {}", rank.in_words()));
            format!("Pearson's r = {}{rank}; n = {} runs.", found.in_words(), found.n)
        }
        None => format!("{} runs, too few for a correlation.", scatter.points.len()),
    };
    let title = format!("{} against {}", capital(scatter.y), scatter.x);
    let rows = scatter.points.iter().map(|point| {
        let run = many.rows.get(point.run).map_or("", |row| &row.name);
        vec![Cell::from(run), Cell::from(&point.method[..]), point.x.into(), point.y.into()]
    });
    Figure {
        drawing: None,
        name: scatter.name.to_string(),
        svg: chart(scatter.name, &title, &caption, height, &key, &[panel]),
        csv: csv(&["run", "method", scatter.x, scatter.y], rows),
        title,
        caption,
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}
