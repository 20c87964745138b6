//! How many skip connections and pools an architecture has, against its test error.

use super::{Figure, LEFT, every};
use crate::csv::{Cell, csv};
use crate::number::{percent, some};
use crate::statistics::{Correlation, Summary, summary};
use crate::svg::{Axis, Entry, Panel, Shape, chart, key};
use crate::table::ArchitecturesTable;
use crate::table::architectures::ArchitectureRow;

/// More architectures with the same number than these are thinned.
const MOST_DOTS: usize = 60;

type Count = fn(&ArchitectureRow) -> usize;

/// A panel: what is counted, and what goes with it.
struct Side<'a> {
    what: &'static str,
    count: Count,
    correlation: &'a Option<Correlation>,
}

pub(super) fn figure(table: &ArchitecturesTable) -> Option<Figure> {
    let sides: [(&str, Count, &Option<Correlation>); 3] = [
        ("skip connections", |row| row.skips, &table.with_skips),
        ("pools", |row| row.pools, &table.with_pools),
        ("parameterless operations", |row| row.parameterless, &table.with_parameterless),
    ];
    let differs = |count: Count| table.rows.iter().any(|row| count(row) != count(&table.rows[0]));
    let sides: Vec<Side<'_>> = sides
        .into_iter()
        .filter(|(_, count, _)| differs(*count))
        .map(|(what, count, correlation)| Side { what, count, correlation })
        .collect();
    sides.first()?;
    let entries = [
        Entry { label: "an architecture".into(), class: "c7".into(), shape: Shape::Mark(0) },
        Entry { label: "mean of those with as many".into(), class: "c4".into(), shape: Shape::Line },
    ];
    let (key, key_height) = key(&entries, 0.0);
    let (top, height, gap) = (key_height + 20.0, 120.0, 26.0);
    // Whatever the number of panels, they fill the chart.
    let width = (super::WIDTH - gap * (sides.len() - 1) as f64) / sides.len() as f64;
    let errors = || table.rows.iter().map(|row| row.test_error);
    let mut panels = Vec::new();
    for (i, side) in sides.iter().enumerate() {
        let most = table.rows.iter().map(side.count).max().unwrap_or(0);
        let label = if i == 0 { "test error, %" } else { "" };
        let y = Axis::of(label, errors(), None).percent();
        let what = if sides.len() > 2 && side.what.starts_with("parameterless") { "parameterless" } else { side.what };
        let mut x = Axis::whole(what, 0, most);
        x.range = (-0.6, most as f64 + 0.6);
        let frame = (LEFT + i as f64 * (width + gap), top, width, height);
        let mut panel = Panel::with_ticks(frame, x, y, 16.0);
        let groups = groups(table, side.count);
        for (n, rows) in &groups {
            let dot = |(i, at): (usize, &usize)| {
                // Steps of the golden ratio leave no two beside each other.
                let aside = 0.5 * ((0.618_034 * i as f64).fract() - 0.5);
                (*n as f64 + aside, rows[*at].test_error)
            };
            panel.dots("c7", &every(rows.len(), MOST_DOTS).iter().enumerate().map(dot).collect::<Vec<_>>());
        }
        let means: Vec<(f64, f64)> =
            groups.iter().filter_map(|(n, rows)| Some((*n as f64, mean(rows)?.mean))).collect();
        panel.line("c4", &means);
        panel.marks("c4", 0, &means);
        panels.push(panel);
    }
    let name = "parameterless";
    let title = "Skip connections and pools against test error".to_string();
    let correlated: Vec<String> = sides
        .iter()
        .filter_map(|side| Some(format!("{} for {}", in_words(side.correlation.as_ref()?), side.what)))
        .collect();
    let told = match correlated.is_empty() {
        true => String::new(),
        false => format!(" Pearson's correlation with the test error: {}.", correlated.join("; ")),
    };
    let caption = format!(
        "Each dot is one of {}; across stands how many of the operations of its cells are such.{told}",
        some(table.rows.len(), "architecture")
    );
    let of_group = |(n, rows): &(usize, Vec<&ArchitectureRow>), what: &str| {
        Some(format!("{n} {what}: mean {} of {}", percent(mean(rows)?.mean), some(rows.len(), "architecture")))
    };
    let described: Vec<String> = sides
        .iter()
        .flat_map(|side| {
            groups(table, side.count).iter().filter_map(|group| of_group(group, side.what)).collect::<Vec<_>>()
        })
        .collect();
    let rows = sides.iter().flat_map(|side| {
        groups(table, side.count)
            .into_iter()
            .filter_map(|(n, rows)| {
                let (best, worst, error) = (rows.first()?.test_error, rows.last()?.test_error, mean(&rows)?);
                Some(vec![
                    Cell::from(side.what),
                    n.into(),
                    rows.len().into(),
                    error.mean.into(),
                    error.deviation.into(),
                    best.into(),
                    worst.into(),
                ])
            })
            .collect::<Vec<_>>()
    });
    Some(Figure {
        drawing: None,
        name: name.to_string(),
        svg: chart(name, &title, &described.join(", "), top + height + 36.0, &key, &panels),
        csv: csv(&["what", "number", "architectures", "mean test error", "its deviation", "best", "worst"], rows),
        title,
        caption,
    })
}

/// The architectures with each number of something, the best first.
fn groups(table: &ArchitecturesTable, count: Count) -> Vec<(usize, Vec<&ArchitectureRow>)> {
    let most = table.rows.iter().map(count).max().unwrap_or(0);
    let of = |n: usize| table.rows.iter().filter(|row| count(row) == n).collect::<Vec<_>>();
    (0..=most).map(|n| (n, of(n))).filter(|(_, rows)| !rows.is_empty()).collect()
}

fn mean(rows: &[&ArchitectureRow]) -> Option<Summary> {
    summary(rows.iter().map(|row| row.test_error))
}

fn in_words(found: &Correlation) -> String {
    let interval = found.interval.map_or(String::new(), |(low, high)| format!(" ({low:.2} to {high:.2})"));
    format!("{:.2}{interval}", found.r).replace('-', "\u{2212}")
}
