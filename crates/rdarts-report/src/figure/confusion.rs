//! Which classes a network takes for which, and how good it is at each.

use super::Figure;
use crate::csv::{Cell, csv};
use crate::number::percent;
use crate::svg::{WIDTH, escape, picture, write};
use crate::table::TrainTable;

/// With more classes than this numbers would not fit into their fields.
const MOST_NUMBERS: usize = 12;

/// With more classes than this names would not fit beside their lines.
const MOST_NAMES: usize = 24;

/// With more classes than this the best and the worst ones are drawn.
const MOST_BARS: usize = 40;

pub(super) fn figure(table: &TrainTable) -> Option<Figure> {
    let matrix = &table.result.as_ref()?.confusion;
    let n = matrix.len();
    if n == 0 {
        return None;
    }
    let has_names = n <= MOST_NAMES;
    let (left, top) = if has_names { (76.0, 24.0) } else { (24.0, 24.0) };
    let side = (WIDTH - left - 4.0) / n as f64;
    let mut body = String::from("<text class=\"note\" x=\"2\" y=\"12\">true class (row), given class (column)</text>");
    for (truth, row) in matrix.iter().enumerate() {
        let of: usize = row.iter().sum();
        let y = top + side * truth as f64;
        if has_names {
            let name = escape(&cut(&table.class(truth), 12));
            let (right, middle) = (left - 5.0, y + side / 2.0 + 3.5);
            write(&mut body, format_args!("<text class=\"end\" x=\"{right:.1}\" y=\"{middle:.1}\">{name}</text>"));
        }
        for (given, &count) in row.iter().take(n).enumerate().filter(|(_, count)| **count > 0) {
            let share = count as f64 / of as f64;
            let x = left + side * given as f64;
            let class = if given == truth { "right" } else { "wrong" };
            write(
                &mut body,
                format_args!(
                    "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" \
                     fill-opacity=\"{:.2}\"/>",
                    side - 0.5,
                    side - 0.5,
                    0.12 + 0.48 * share
                ),
            );
            if n <= MOST_NUMBERS {
                let (x, y) = (x + side / 2.0, y + side / 2.0 + 3.5);
                write(&mut body, format_args!("<text class=\"mid small\" x=\"{x:.1}\" y=\"{y:.1}\">{count}</text>"));
            }
        }
    }
    let bottom = top + side * n as f64;
    write(
        &mut body,
        format_args!("<path class=\"axis\" d=\"M{left:.1} {top:.1}V{bottom:.1}H{:.1}\"/>", left + side * n as f64),
    );
    let mut height = bottom + 8.0;
    if has_names {
        for given in 0..n {
            let name = escape(&cut(&table.class(given), 12));
            let (x, y) = (left + side * (given as f64 + 0.5) + 3.0, bottom + 6.0);
            write(
                &mut body,
                format_args!(
                    "<text class=\"end\" x=\"{x:.1}\" y=\"{y:.1}\" \
                     transform=\"rotate(-60 {x:.1} {y:.1})\">{name}</text>"
                ),
            );
        }
        height += 66.0;
    }
    let title = "Confusion matrix of the test images".to_string();
    let description: Vec<String> = table
        .confusions
        .iter()
        .take(3)
        .map(|c| format!("{} taken for {} {} times of {}", table.class(c.truth), table.class(c.given), c.n, c.of))
        .collect();
    let names: Vec<String> = (0..n).map(|label| table.class(label)).collect();
    let headers: Vec<&str> = ["true class"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let rows = matrix.iter().enumerate().map(|(truth, row)| {
        [Cell::from(&names[truth][..])].into_iter().chain(row.iter().map(|&count| count.into())).collect()
    });
    Some(Figure {
        drawing: None,
        name: "confusion".to_string(),
        svg: picture("confusion", &title, &format!("Most often {}.", description.join("; ")), (WIDTH, height), &body),
        csv: csv(&headers, rows),
        title,
        caption: "Darker is more of the row; mistakes have another colour than what is right.".to_string(),
    })
}

/// How many test images of each class are classified correctly.
pub(super) fn per_class(table: &TrainTable) -> Option<Figure> {
    let result = table.result.as_ref()?;
    let mut classes: Vec<(usize, f64)> =
        result.per_class.iter().enumerate().filter_map(|(label, share)| Some((label, (*share)?))).collect();
    if classes.is_empty() {
        return None;
    }
    classes.sort_by(|a, b| b.1.total_cmp(&a.1));
    let rows: Vec<(usize, f64)> = classes.clone();
    let is_cut = MOST_BARS < classes.len();
    if is_cut {
        classes.drain(MOST_BARS / 2..classes.len() - MOST_BARS / 2);
    }
    let (left, width, step) = (100.0, 204.0, 15.0);
    let mut body = String::new();
    for (i, (label, share)) in classes.iter().enumerate() {
        let y = 6.0 + step * i as f64;
        let (name, text) = (escape(&cut(&table.class(*label), 16)), y + 10.0);
        let (bar, right) = (width * share.clamp(0.0, 1.0), left - 5.0);
        write(&mut body, format_args!("<text class=\"end\" x=\"{right:.1}\" y=\"{text:.1}\">{name}</text>"));
        write(
            &mut body,
            format_args!("<path class=\"fill c4\" d=\"M{left:.1} {:.1}h{bar:.1}v9h{:.1}Z\"/>", y + 2.0, -bar),
        );
        let after = left + bar + 5.0;
        write(&mut body, format_args!("<text x=\"{after:.1}\" y=\"{text:.1}\">{}</text>", percent(*share)));
    }
    let title = "Accuracy of each class".to_string();
    let caption = match is_cut {
        true => format!("The {} best and the {} worst of {} classes.", MOST_BARS / 2, MOST_BARS / 2, rows.len()),
        false => "Fraction of the test images of each class that are classified correctly.".to_string(),
    };
    let (best, worst) = (rows[0], rows[rows.len() - 1]);
    let description = format!(
        "From {} with {} down to {} with {}.",
        table.class(best.0),
        percent(best.1),
        table.class(worst.0),
        percent(worst.1)
    );
    Some(Figure {
        drawing: None,
        name: "classes".to_string(),
        svg: picture("classes", &title, &description, (WIDTH, 12.0 + step * classes.len() as f64), &body),
        csv: csv(
            &["class", "accuracy"],
            rows.iter().map(|(label, share)| vec![Cell::from(&table.class(*label)[..]), (*share).into()]),
        ),
        title,
        caption,
    })
}

/// A name that is not longer than there is room for.
fn cut(name: &str, most: usize) -> String {
    if name.chars().count() <= most {
        name.to_string()
    } else {
        name.chars().take(most - 1).chain(['\u{2026}']).collect()
    }
}
