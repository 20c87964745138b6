//! What discretisation costs against the curvature, over the epochs of one search.

use super::{Figure, frame};
use crate::csv::csv;
use crate::number::short;
use crate::svg::{Axis, Entry, Panel, Shape, WIDTH, chart, key};
use crate::table::SearchTable;
use crate::table::search::DropRow;
use crate::task::Task;

pub(super) fn figure(table: &SearchTable) -> Option<Figure> {
    let rows = &table.discretisation.rows;
    let [first, .., last] = &rows[..] else { return None };
    let returned = table.found.as_ref().and_then(|found| rows.iter().find(|row| row.epoch == found.epoch));
    let mark = |label: &str, class: &str, n| Entry { label: label.into(), class: class.into(), shape: Shape::Mark(n) };
    let mut entries = vec![
        mark("an epoch", "c4", 0),
        Entry { label: "their order".into(), class: "c7 thin faint".into(), shape: Shape::Line },
    ];
    if returned.is_some() {
        entries.push(mark("returned epoch", "c5", 3));
    }
    let (key, key_height) = key(&entries, 0.0);
    let (frame, height) = frame(key_height);
    let drops = rows.iter().map(|row| row.drop);
    let y = match table.task {
        Task::Classification => Axis::of("drop at discretisation, points", drops, None).percent(),
        Task::Disparity => Axis::of("drop at discretisation, px", drops, None),
    };
    let mut panel =
        Panel::new(frame, Axis::of_eigenvalues("dominant eigenvalue", rows.iter().map(|row| row.eigenvalue)), y);
    let at = |row: &DropRow| (row.eigenvalue, row.drop);
    let all: Vec<(f64, f64)> = rows.iter().map(at).collect();
    panel.line("c7 thin faint", &all);
    for row in [first, last] {
        let is_right = panel.at(row.eigenvalue, row.drop).0 > WIDTH / 2.0;
        let (class, right) = if is_right { ("small end", -6.0) } else { ("small", 6.0) };
        panel.text(class, at(row), (right, -4.0), &format!("epoch {}", row.epoch));
    }
    panel.marks("c4", 0, &all);
    panel.marks("c5", 3, &returned.map(at).into_iter().collect::<Vec<_>>());
    let title = "Drop at discretisation against the dominant eigenvalue".to_string();
    let ends = |row: &DropRow| {
        let points = if table.task == Task::Classification { " points" } else { "" };
        format!(
            "{}{points} at eigenvalue {} after epoch {}",
            table.task.drop(row.drop),
            short(row.eigenvalue),
            row.epoch
        )
    };
    let correlation = match &table.discretisation.rank {
        Some(found) => format!(
            "Spearman's rank correlation {} over {} epochs; neighbouring epochs are not independent, so that it is less \
             sure than that.",
            found.in_words(),
            found.n
        ),
        None => format!("{} epochs, too few or too much alike for a correlation.", rows.len()),
    };
    let description = format!("From {} to {}. {correlation}", ends(first), ends(last));
    Some(Figure {
        drawing: None,
        name: "discretisation".to_string(),
        svg: chart("discretisation", &title, &description, height, &key, &[panel]),
        csv: csv(
            &["epoch", "eigenvalue", "drop at discretisation"],
            rows.iter().map(|row| vec![row.epoch.into(), row.eigenvalue.into(), row.drop.into()]),
        ),
        title,
        caption: match table.task {
            Task::Classification => {
                format!("Accuracy of the supernet less that of its child after each epoch. {correlation}")
            }
            Task::Disparity => {
                format!("End-point error of the child less that of its supernet after each epoch. {correlation}")
            }
        },
    })
}
