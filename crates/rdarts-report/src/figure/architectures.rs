//! The test errors of all architectures of a space, the best first, and where searches ended among them.

use super::{Figure, LEFT, WIDTH};
use crate::csv::{Cell, csv};
use crate::number::{percent, some};
use crate::svg::{Axis, Entry, N_MARKS, Panel, Shape, chart, key};
use crate::table::ArchitecturesTable;
use crate::table::architectures::{ArchitectureRow, EndRow};

/// Colours that tell methods from each other, with the marks.
const CLASSES: [&str; 6] = ["c4", "c5", "c1", "c6", "c3", "c7"];

/// Of more architectures the spread between seeds is that of so many stretches of them.
const MOST: usize = 150;

pub(super) fn figure(table: &ArchitecturesTable) -> Option<Figure> {
    let (best, worst, median) = (table.rows.first()?, table.rows.last()?, table.median?);
    let n = table.rows.len();
    let place = |at: usize| (at + 1) as f64;
    let mut labels: Vec<&str> = table.ends.iter().map(|end| &end.label[..]).collect();
    labels.sort_unstable();
    labels.dedup();
    let look = |i: usize| (CLASSES[i % CLASSES.len()], i % N_MARKS);

    let has_seeds = table.between_seeds.is_some();
    let mut entries = vec![Entry { label: "mean over seeds".into(), class: "c0 thin".into(), shape: Shape::Line }];
    if has_seeds {
        entries.push(Entry { label: "best to worst seed".into(), class: "c7 faint".into(), shape: Shape::Fill });
    }
    if let Some(not_worse) = table.not_worse {
        let label = format!("not told apart from the best ({not_worse})");
        entries.push(Entry { label, class: "band c2".into(), shape: Shape::Fill });
    }
    for (i, label) in labels.iter().enumerate() {
        let (class, mark) = look(i);
        let n = table.ends.iter().filter(|end| end.label == *label).count();
        let label = format!("{} ended here", if n == 1 { (*label).to_string() } else { format!("{label} ({n})") });
        entries.push(Entry { label, class: class.into(), shape: Shape::Mark(mark) });
    }
    let (key, key_height) = key(&entries, 0.0);
    let (top, height) = (key_height + 20.0, 170.0);
    let ends = table.rows.iter().flat_map(|row| [row.lowest, row.highest]);
    let room = 0.1 * (worst.highest.max(worst.test_error) - best.lowest);
    let y = Axis::of("test error, %", ends.chain([best.lowest - room]), None).percent();
    let mut x = Axis::whole("architectures, the best first", 1, n);
    // So that neither end of the line lies on an edge.
    x.range = ((x.range.0 - 0.02 * n as f64).max(0.4), x.range.1 + 0.02 * n as f64);
    let (low, _) = y.range;
    let mut panel = Panel::new((LEFT, top, WIDTH, height), x, y);
    if let Some(not_worse) = table.not_worse {
        // Up to half of the way to the next one.
        let end = not_worse as f64 + 0.5;
        let high = panel.top();
        panel.band("c2", &[(0.5, low, high), (end, low, high)]);
    }
    let spread = |rows: &[ArchitectureRow]| {
        let low = rows.iter().map(|row| row.lowest).fold(f64::INFINITY, f64::min);
        let high = rows.iter().map(|row| row.highest).fold(f64::NEG_INFINITY, f64::max);
        (low, high)
    };
    if has_seeds && n <= MOST {
        let bar = |(at, row): (usize, &ArchitectureRow)| (place(at), row.lowest, row.highest);
        panel.bars("c7", &table.rows.iter().enumerate().map(bar).collect::<Vec<_>>());
    } else if has_seeds {
        let step = n.div_ceil(MOST);
        let stretch = |(i, rows): (usize, &[ArchitectureRow])| {
            let (low, high) = spread(rows);
            (place(i * step) + 0.5 * (rows.len() - 1) as f64, low, high)
        };
        panel.band("c7", &table.rows.chunks(step).enumerate().map(stretch).collect::<Vec<_>>());
    }
    let means: Vec<(f64, f64)> = table.rows.iter().enumerate().map(|(at, row)| (place(at), row.test_error)).collect();
    panel.line("c0 thin", &means);

    // Beside the line: below it at its begin, above it further on.
    let below = spread(&table.rows[..n.div_ceil(4)]).0;
    panel.text("start", (1.0, below), (-2.0, 13.0), &format!("best {}", percent(best.test_error)));
    if n > 2 {
        let above = spread(&table.rows[n / 4..=n / 2]).1;
        panel.marks("c0", 0, &[(0.5 * place(n), median)]);
        panel.text(
            "end",
            (0.5 * place(n), above),
            (0.0, -8.0 - lift(table, n / 4..n / 2 + 1)),
            &format!("median {}", percent(median)),
        );
    }
    if n > 1 {
        panel.text(
            "end",
            (place(n - 1), worst.test_error),
            (-8.0, 4.0),
            &format!("worst {}", percent(worst.test_error)),
        );
    }
    for (i, label) in labels.iter().enumerate() {
        let (class, mark) = look(i);
        let mut ranks: Vec<usize> = of_label(table, label).map(|end| end.rank).collect();
        ranks.sort_unstable();
        ranks.dedup();
        for rank in ranks {
            let n = of_label(table, label).filter(|end| end.rank == rank).count();
            let under = labels[..i].iter().filter(|other| of_label(table, other).any(|end| end.rank == rank)).count();
            let beside = if n > 1 { format!("\u{d7}{n}") } else { String::new() };
            let Some(row) = table.rows.get(rank - 1) else { continue };
            panel.lifted(class, mark, (rank as f64, row.test_error), STEP * under as f64, &beside);
        }
    }
    let name = "all-architectures";
    let title = format!("Every architecture of {}", table.space);
    let seeds = if has_seeds { " The spread is that from the best to the worst seed of each." } else { "" };
    let caption = format!(
        "Each of {} was trained {} on {} with {}. {}{seeds}",
        some(n, "architecture"),
        some(table.n_epochs, "epoch"),
        table.data,
        some(table.n_seeds, "seed"),
        table.verdict(),
    );
    let described: Vec<String> = table.ends.iter().take(20).map(end_in_words).collect();
    let description = [vec![table.verdict()], described].concat().join(" ");
    Some(Figure {
        drawing: None,
        name: name.to_string(),
        svg: chart(name, &title, &description, top + height + 36.0, &key, &[panel]),
        csv: csv(
            &[
                "rank",
                "architecture",
                "test error",
                "its deviation",
                "best seed",
                "worst seed",
                "weights",
                "skip connections",
                "pools",
                "parameterless operations",
                "searches that ended here",
                "genotype",
            ],
            table.rows.iter().enumerate().map(|(at, row)| {
                vec![
                    (at + 1).into(),
                    (row.architecture as usize).into(),
                    row.test_error.into(),
                    row.deviation.into(),
                    row.lowest.into(),
                    row.highest.into(),
                    row.n_params.into(),
                    row.skips.into(),
                    row.pools.into(),
                    row.parameterless.into(),
                    table.ends.iter().filter(|end| end.rank == at + 1).count().into(),
                    Cell::from(&row.genotype[..]),
                ]
            }),
        ),
        title,
        caption,
    })
}

/// How far the mark of one method is above that of another.
const STEP: f64 = 8.0;

/// How far the marks over some of the rows reach above the line.
fn lift(table: &ArchitecturesTable, rows: std::ops::Range<usize>) -> f64 {
    let methods = |at: usize| {
        let mut labels: Vec<&str> =
            table.ends.iter().filter(|end| end.rank == at + 1).map(|end| &end.label[..]).collect();
        labels.sort_unstable();
        labels.dedup();
        labels.len()
    };
    STEP * rows.map(methods).max().unwrap_or(0) as f64
}

fn of_label<'a>(table: &'a ArchitecturesTable, label: &'a str) -> impl Iterator<Item = &'a EndRow> {
    table.ends.iter().filter(move |end| end.label == label)
}

fn end_in_words(end: &EndRow) -> String {
    let ended = if end.has_ended { "ended" } else { "stands" };
    format!("{} ({}) {ended} at rank {} with {}.", end.run, end.label, end.rank, percent(end.test_error))
}
