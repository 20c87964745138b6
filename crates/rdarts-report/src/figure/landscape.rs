//! The validation loss along lines through the alphas of an epoch, and the parabola that slope and curvature at 0 make of
//! the line of the dominant eigenvector: where the two part, the curvature says nothing any more.

use rdarts_run::{Landscape, LandscapeLine};
use rdarts_text::escaped;
use serde::Serialize;

use super::{Figure, frame};
use crate::csv::{Cell, csv};
use crate::number::{short, some};
use crate::svg::{Axis, Entry, Panel, Shape, chart, key};
use crate::table::SearchTable;

/// More lines than these a chart cannot tell apart.
const MOST_LINES: usize = 12;

/// Points of the parabola on each side of 0.
const STEPS: usize = 40;

/// The parabola fits where it is no farther from the loss than this share of the range of the losses of its line.
const TOLERANCE: f64 = 0.05;

/// A landscape as the page's script shows it.
#[derive(Debug, Serialize)]
pub(crate) struct Moving {
    epoch: usize,
    attempt: usize,
    /// The paths of all lines of the figure, in its order.
    paths: Vec<String>,
    /// What is to be seen.
    says: String,
}

/// Classes of the three kinds of lines.
const RANDOM: &str = "c7 thin";
const DOMINANT: &str = "c5";
const MODEL: &str = "c0 d1";

/// The figure of the last landscape; a page's script puts that of another epoch in its place.
pub(super) fn figure(table: &SearchTable) -> Option<Figure> {
    let landscape = table.landscapes.last()?;
    let (mut panel, key, height) = empty(table);
    panel.vertical("c7 thin faint", 0.0);
    let n_random = most_lines(table).saturating_sub(1);
    let classes = std::iter::repeat_n(RANDOM, n_random).chain([DOMINANT, MODEL]);
    for (class, path) in classes.zip(paths(table, &panel, landscape)) {
        panel.moving_line(class, &path);
    }
    let title = "Validation loss around the alphas".to_string();
    let caption = in_words(landscape, diagonal_of(table));
    let rows = table.landscapes.iter().flat_map(|landscape| {
        landscape.lines.iter().flat_map(move |line| {
            landscape.distances.iter().zip(&line.losses).map(move |(distance, loss)| {
                vec![
                    landscape.epoch.into(),
                    landscape.attempt.into(),
                    Cell::from(&line.name[..]),
                    (*distance).into(),
                    (*loss).into(),
                    line.slope.into(),
                    line.curvature.into(),
                ]
            })
        })
    });
    Some(Figure {
        drawing: None,
        name: "landscape".to_string(),
        svg: chart("landscape", &title, &caption, height, &key, &[panel]),
        csv: csv(&["epoch", "attempt", "line", "distance", "loss", "slope", "curvature"], rows),
        title,
        caption,
    })
}

/// Some of the landscapes, by their places, for the page's script.
pub(crate) fn moving(table: &SearchTable, places: &[usize]) -> Vec<Moving> {
    let (panel, ..) = empty(table);
    let of = |landscape: &Landscape| Moving {
        epoch: landscape.epoch,
        attempt: landscape.attempt,
        paths: paths(table, &panel, landscape),
        says: escaped(&in_words(landscape, diagonal_of(table))),
    };
    places.iter().map(|&i| of(&table.landscapes[i])).collect()
}

/// How many losses a landscape holds.
pub(crate) fn n_losses(landscape: &Landscape) -> usize {
    landscape.distances.len() * landscape.lines.len().min(MOST_LINES)
}

/// The panel without its lines, its key, and the height of the chart. Its axes are those of all epochs, so that a page can
/// move through them.
fn empty(table: &SearchTable) -> (Panel, String, f64) {
    let line = |label: &str, class: &str| Entry { label: label.into(), class: class.into(), shape: Shape::Line };
    let mut entries = vec![line("dominant eigenvector", DOMINANT), line("its slope and curvature at 0", MODEL)];
    if most_lines(table) > 1 {
        entries.push(line("random directions", RANDOM));
    }
    let (key, key_height) = key(&entries, 0.0);
    let (frame, height) = frame(key_height);
    let distances = table.landscapes.iter().flat_map(|landscape| landscape.distances.iter().copied());
    let x = Axis::of("distance from the alphas", distances, None);
    (Panel::new(frame, x, losses_axis(table)), key, height)
}

fn losses_axis(table: &SearchTable) -> Axis {
    let lines = table.landscapes.iter().flat_map(|landscape| landscape.lines.iter().take(MOST_LINES));
    Axis::of("validation loss", lines.flat_map(|line| line.losses.iter().copied()), None)
}

/// The lines of the landscape that has the most.
fn most_lines(table: &SearchTable) -> usize {
    table.landscapes.iter().map(|landscape| landscape.lines.len().min(MOST_LINES)).max().unwrap_or(0)
}

/// The paths of the random lines, of the dominant one and of its parabola; those of lines that this landscape lacks are
/// empty.
fn paths(table: &SearchTable, panel: &Panel, landscape: &Landscape) -> Vec<String> {
    let range = losses_axis(table).range;
    let path = |points: &[(f64, f64)]| panel.path(&clipped(points, range));
    let of = |line: &LandscapeLine| {
        path(&landscape.distances.iter().copied().zip(line.losses.iter().copied()).collect::<Vec<_>>())
    };
    let lines = &landscape.lines[..landscape.lines.len().min(MOST_LINES)];
    let mut paths: Vec<String> = lines.iter().skip(1).map(of).collect();
    paths.resize(most_lines(table).saturating_sub(1), String::new());
    paths.push(lines.first().map(of).unwrap_or_default());
    paths.push(path(&parabola(landscape)));
    paths
}

/// What slope and curvature at 0 make of the dominant line, at a distance.
fn model(landscape: &Landscape, distance: f64) -> Option<f64> {
    let line = landscape.lines.first()?;
    let middle = landscape.distances.iter().position(|distance| *distance == 0.0)?;
    Some(line.losses.get(middle)? + distance * line.slope + distance * distance * line.curvature / 2.0)
}

/// The same between the ends of the distances.
fn parabola(landscape: &Landscape) -> Vec<(f64, f64)> {
    let (Some(first), Some(last)) = (landscape.distances.first(), landscape.distances.last()) else {
        return Vec::new();
    };
    let share = |i: usize| i as f64 / STEPS as f64;
    let distances = (1..=STEPS).rev().map(|i| first * share(i)).chain((0..=STEPS).map(|i| last * share(i)));
    distances.filter_map(|distance| Some((distance, model(landscape, distance)?))).collect()
}

/// Up to which distances on both sides the parabola fits the losses.
fn fits(landscape: &Landscape) -> Option<(f64, f64)> {
    let (line, distances) = (landscape.lines.first()?, &landscape.distances);
    let middle = distances.iter().position(|distance| *distance == 0.0)?;
    let (low, high) = ends(&line.losses);
    let does = |i: &usize| {
        model(landscape, distances[*i]).is_some_and(|model| (model - line.losses[*i]).abs() <= TOLERANCE * (high - low))
    };
    let left = (0..middle).rev().take_while(does).last().unwrap_or(middle);
    let right = (middle + 1..distances.len()).take_while(does).last().unwrap_or(middle);
    Some((distances[left], distances[right]))
}

/// The least and the largest of some values.
fn ends(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(*value), high.max(*value)))
}

/// A line with what is above or below a panel cut off.
fn clipped(points: &[(f64, f64)], (low, high): (f64, f64)) -> Vec<(f64, f64)> {
    let is_inside = |point: (f64, f64)| (low..=high).contains(&point.1);
    let crossing = |inside: (f64, f64), outside: (f64, f64)| {
        let edge = if outside.1 > high { high } else { low };
        (inside.0 + (edge - inside.1) / (outside.1 - inside.1) * (outside.0 - inside.0), edge)
    };
    let mut kept = Vec::new();
    for pair in points.windows(2) {
        match (is_inside(pair[0]), is_inside(pair[1])) {
            (true, true) => kept.push(pair[0]),
            (true, false) => kept.extend([pair[0], crossing(pair[0], pair[1]), (f64::NAN, f64::NAN)]),
            (false, true) => kept.push(crossing(pair[1], pair[0])),
            (false, false) => {}
        }
    }
    kept.extend(points.last().copied().filter(|last| is_inside(*last)));
    kept
}

/// What recorded eigenvalues have besides the curvature of the loss.
fn diagonal_of(table: &SearchTable) -> f64 {
    table.asked.map_or(0.0, |asked| asked.diagonal)
}

fn in_words(landscape: &Landscape, diagonal: f64) -> String {
    let (Some(line), Some(at_alphas), Some((left, right))) =
        (landscape.lines.first(), model(landscape, 0.0), fits(landscape))
    else {
        return String::new();
    };
    let points = landscape.distances.iter().zip(&line.losses);
    let highest = points.max_by(|a, b| a.1.total_cmp(b.1)).map(|(distance, loss)| (*distance, *loss));
    let (far, most) = highest.unwrap_or_default();
    let random: Vec<f64> = landscape.lines[1..].iter().flat_map(|line| line.losses.iter().copied()).collect();
    let beside = match landscape.lines.len() - 1 {
        0 => String::new(),
        n => format!(", and {} at most along {}", short(ends(&random).1), some(n, "random direction")),
    };
    let is_whole = Some(&left) == landscape.distances.first() && Some(&right) == landscape.distances.last();
    let fit = match () {
        () if is_whole => format!("at all distances, from {} to {}", short(left), short(right)),
        () if left == right => "at none of the other distances".to_string(),
        () => format!("from {} to {}", short(left), short(right)),
    };
    let besides = match diagonal != 0.0 {
        true => format!(
            " This curvature is that of the loss alone; recorded eigenvalues have the weight decay of the alphas, {}, added.",
            short(diagonal)
        ),
        false => String::new(),
    };
    format!(
        "After epoch {}: {} at the alphas, {} at most along the dominant eigenvector (at {}){beside}. The dashed parabola \
         has the slope and the curvature of that line at 0, {} and {}; it follows the losses, to within {:.0} % of their \
         range, {fit}.{besides} Measured on {}, images {}.",
        landscape.epoch,
        short(at_alphas),
        short(most),
        short(far),
        short(line.slope),
        short(line.curvature),
        100.0 * TOLERANCE,
        if landscape.batches == 1 { "one batch".to_string() } else { format!("{} batches", landscape.batches) },
        landscape.images
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn landscape(distances: &[f64], slope: f64, curvature: f64, loss: impl Fn(f64) -> f64) -> Landscape {
        let losses = distances.iter().map(|t| loss(*t)).collect();
        let line = LandscapeLine { name: "dominant eigenvector".into(), slope, curvature, losses };
        Landscape {
            attempt: 0,
            epoch: 0,
            batches: 1,
            images: "fixed".into(),
            distances: distances.to_vec(),
            lines: vec![line],
        }
    }

    #[test]
    fn what_is_outside_of_a_panel_is_cut_off_where_it_leaves_it() {
        let points = [(0.0, 3.0), (1.0, 1.0), (2.0, 0.5), (3.0, -0.5), (4.0, -9.0), (5.0, f64::INFINITY), (6.0, 1.0)];
        let found = clipped(&points, (0.0, 2.0));
        let whole: Vec<(f64, f64)> = found.iter().copied().filter(|point| point.0.is_finite()).collect();
        assert_eq!(whole, [(0.5, 2.0), (1.0, 1.0), (2.0, 0.5), (2.5, 0.0), (6.0, 2.0), (6.0, 1.0)]);
        // Nothing joins what comes back to what left.
        assert!(found.iter().filter(|point| !point.0.is_finite()).count() >= 1, "{found:?}");
        assert_eq!(clipped(&points[..1], (0.0, 2.0)), []);
        assert!(clipped(&[], (0.0, 2.0)).is_empty());
    }

    #[test]
    fn a_parabola_fits_as_far_as_the_loss_is_one() {
        let distances = [-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0];
        let own = |t: f64| 1.0 + 0.1 * t + 0.25 * t * t;
        assert_eq!(fits(&landscape(&distances, 0.1, 0.5, own)), Some((-3.0, 4.0)));
        assert!(
            in_words(&landscape(&distances, 0.1, 0.5, own), 0.0)
                .contains("range, at all distances, from \u{2212}3 to 4.")
        );
        // Flat beyond 1 on the right, and beyond 2 on the left.
        let flat = |t: f64| own(t.clamp(-2.0, 1.0));
        assert_eq!(fits(&landscape(&distances, 0.1, 0.5, flat)), Some((-2.0, 1.0)));
        assert_eq!(fits(&landscape(&distances, 0.1, 50.0, own)), Some((0.0, 0.0)));
        // Of numbers near their end it is infinite, which is drawn as nothing.
        let far = landscape(&[-1e300, 0.0, 1e300], 1e300, 1e300, |t| t);
        assert!(!parabola(&far).is_empty() && fits(&far) == Some((0.0, 0.0)) && !in_words(&far, 0.0).is_empty());
    }
}
