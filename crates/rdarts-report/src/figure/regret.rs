//! How far what a search holds best is from the best architecture of its space, over the epochs, and what the search's own
//! validation error says meanwhile.

use super::{Figure, LEFT, WIDTH, epochs_axis, line_class};
use crate::csv::{Cell, csv};
use crate::number::{percent, points};
use crate::statistics::Summary;
use crate::svg::{Axis, Entry, Panel, Shape, chart, key};
use crate::table::ArchitecturesTable;
use crate::table::architectures::{RegretLine, RegretPoint};

pub(super) fn figure(table: &ArchitecturesTable) -> Option<Figure> {
    let lines = &table.lines;
    lines.first()?;
    let class = line_class;
    let colour = |i: usize| class(i).split(' ').next().unwrap_or_default().to_string();
    let is_of_many = lines.iter().any(|line| line.n > 1);
    // What a search returned is seen in its line, but of random search, which has none.
    let returned =
        |line: &RegretLine| if line.n == 1 || line.points.is_empty() { line.returned.clone() } else { Vec::new() };

    let mut entries: Vec<Entry> = lines
        .iter()
        .enumerate()
        .map(|(i, line)| {
            let n = if is_of_many { format!(" (n = {})", line.n) } else { String::new() };
            // Of random search there is only what it returned.
            match line.points.is_empty() {
                true => {
                    Entry { label: format!("{}{n}, returned", line.label), class: colour(i), shape: Shape::Mark(3) }
                }
                false => Entry { label: format!("{}{n}", line.label), class: class(i), shape: Shape::Line },
            }
        })
        .collect();
    let mark = |label: &str, class: &str, n| Entry { label: label.into(), class: class.into(), shape: Shape::Mark(n) };
    entries.push(Entry { label: "the best architecture".into(), class: "c0 thin".into(), shape: Shape::Line });
    if lines.iter().any(|line| line.least().is_some()) {
        entries.push(mark("least regret", "c0", 2));
    }
    if lines.iter().any(|line| !line.stops.is_empty()) {
        entries.push(mark("stopped early", "c5", 4));
    }
    if lines.iter().any(|line| !line.points.is_empty() && !returned(line).is_empty()) {
        entries.push(mark("returned", "c6", 3));
    }
    let (key, key_height) = key(&entries, 0.0);

    let held = || lines.iter().flat_map(|line| &line.points);
    let marked = || lines.iter().flat_map(|line| [line.stops.clone(), returned(line)].concat());
    let given_up = || lines.iter().flat_map(|line| line.given_up.iter().flatten().copied());
    let regrets = held().flat_map(|point| ends(&point.regret));
    let others = marked().chain(given_up()).map(|(_, regret)| regret);
    let all = held().map(|point| point.epoch).chain(marked().chain(given_up()).map(|(epoch, _)| epoch));
    let epochs: Vec<usize> = all.collect();
    let x = epochs_axis(epochs.iter().copied());
    let errors: Vec<f64> = held().filter_map(|point| point.valid_error).flat_map(|error| ends(&error)).collect();
    let (mut above, below) = (x.clone(), x.clone());
    if !errors.is_empty() {
        above.label.clear();
    }
    let top = key_height + 20.0;
    let height = if errors.is_empty() { 150.0 } else { 110.0 };
    let y = Axis::of("regret in test error, points", regrets.chain(others).chain([0.0]), None).percent();
    let mut upper = Panel::new((LEFT, top, WIDTH, height), above, y);
    upper.line("c0 thin", &[(x.range.0, 0.0), (x.range.1, 0.0)]);
    for (i, line) in lines.iter().enumerate() {
        upper.band(&colour(i), &band(line, |point| Some(point.regret)));
        for points in &line.given_up {
            let points: Vec<(f64, f64)> = points.iter().map(|&(epoch, regret)| (epoch as f64, regret)).collect();
            upper.line(&format!("{} faint", class(i)), &points);
        }
    }
    for (i, line) in lines.iter().enumerate() {
        upper.line(&class(i), &mean(line, |point| Some(point.regret)));
    }
    let at = |marks: &[(usize, f64)]| -> Vec<(f64, f64)> { marks.iter().map(|&(x, y)| (x as f64, y)).collect() };
    for (i, line) in lines.iter().enumerate() {
        upper.marks(&if line.points.is_empty() { colour(i) } else { "c6".to_string() }, 3, &at(&returned(line)));
        upper.marks("c5", 4, &at(&line.stops));
        if let Some(least) = line.least() {
            upper.marks("c0", 2, &[(least.epoch as f64, least.regret.mean)]);
        }
    }
    let mut panels = vec![upper];
    let mut bottom = top + height;
    if !errors.is_empty() {
        let (top, height) = (bottom + 44.0, 76.0);
        let y = Axis::of("validation error of the search model, %", errors, None).percent();
        let mut lower = Panel::new((LEFT, top, WIDTH, height), below, y);
        for (i, line) in lines.iter().enumerate() {
            lower.band(&colour(i), &band(line, |point| point.valid_error));
        }
        for (i, line) in lines.iter().enumerate() {
            lower.line(&class(i), &mean(line, |point| point.valid_error));
        }
        panels.push(lower);
        bottom = top + height;
    }
    // The page of a single search steps through its epochs.
    if lines.len() == 1 {
        panels.iter_mut().for_each(|panel| panel.cursor("epoch"));
    }

    let name = "regret";
    let title = format!("Regret over the epochs in {}", table.space);
    let told: Vec<String> = lines.iter().map(in_words).collect();
    let mut caption =
        "True test error, in the table, of what the search holds best after each epoch, less that of the \
                       best architecture, which is zero."
            .to_string();
    if is_of_many {
        caption += " Mean over the searches that came so far; the band is one standard deviation.";
    }
    if lines.len() <= 4 {
        caption = format!("{caption} {}", told.join(" "));
    }
    let description = told.join(" ");
    let rows = lines.iter().flat_map(|line| {
        let least = line.least().map(|least| least.epoch);
        let stops = |epoch: usize| line.stops.iter().filter(|stop| stop.0 == epoch).count();
        let after = line.points.iter().map(move |point| {
            vec![
                Cell::from(&line.label[..]),
                "held best".into(),
                point.epoch.into(),
                point.regret.n.into(),
                point.regret.mean.into(),
                point.regret.deviation.into(),
                point.valid_error.map(|error| error.mean).into(),
                point.valid_error.and_then(|error| error.deviation).into(),
                usize::from(least == Some(point.epoch)).into(),
                stops(point.epoch).into(),
            ]
        });
        let returned = line.returned.iter().map(|&(epoch, regret)| {
            let begin = vec![Cell::from(&line.label[..]), "returned".into(), epoch.into(), 1.into(), regret.into()];
            [begin, vec![Cell::Empty; 5]].concat()
        });
        after.chain(returned)
    });
    Some(Figure {
        drawing: None,
        name: name.to_string(),
        svg: chart(name, &title, &description, bottom + 36.0, &key, &panels),
        csv: csv(
            &[
                "search",
                "what",
                "epoch",
                "searches",
                "regret",
                "its deviation",
                "validation error",
                "its deviation",
                "least regret",
                "monitor stopped",
            ],
            rows,
        ),
        title,
        caption,
    })
}

fn ends(value: &Summary) -> [f64; 2] {
    let deviation = value.deviation.unwrap_or(0.0);
    [value.mean - deviation, value.mean + deviation]
}

fn band(line: &RegretLine, of: impl Fn(&RegretPoint) -> Option<Summary>) -> Vec<(f64, f64, f64)> {
    let point = |point: &RegretPoint| {
        let value = of(point)?;
        Some((point.epoch as f64, value.mean - value.deviation?, value.mean + value.deviation?))
    };
    line.points.iter().filter_map(point).collect()
}

fn mean(line: &RegretLine, of: impl Fn(&RegretPoint) -> Option<Summary>) -> Vec<(f64, f64)> {
    line.points.iter().filter_map(|point| Some((point.epoch as f64, of(point)?.mean))).collect()
}

fn in_words(line: &RegretLine) -> String {
    let label = &line.label;
    let (Some(first), Some(least), Some(last)) = (line.points.first(), line.least(), line.points.last()) else {
        let sum: f64 = line.returned.iter().map(|(_, regret)| regret).sum();
        return format!("{label} returned {} points of regret.", points(sum / line.returned.len().max(1) as f64));
    };
    let mut text = format!(
        "{label} is closest with {} points after epoch {}, and has {} after epoch {}",
        points(least.regret.mean),
        least.epoch,
        points(last.regret.mean),
        last.epoch
    );
    if let (Some(first), Some(last)) = (first.valid_error, last.valid_error) {
        let what = if last.mean < first.mean { "fell" } else { "went" };
        text += &format!(", while the validation error {what} from {} to {}", percent(first.mean), percent(last.mean));
    }
    match line.stops[..] {
        [] => {}
        [(epoch, regret)] => text += &format!("; it was stopped after epoch {epoch} at {} points", points(regret)),
        _ => text += &format!("; a rule stopped {} of {} searches", line.stops.len(), line.n),
    }
    text + "."
}
