//! How long the parts of each epoch took.

use super::{Figure, LEFT, WIDTH, every, frame};
use crate::csv::csv;
use crate::number::{bytes, duration, megabytes};
use crate::svg::{Axis, Entry, Panel, Shape, chart, key};
use crate::table::{TimeRow, TimeTable};

const CLASSES: [&str; 6] = ["c4", "c1", "c2", "c6", "c5", "c7"];

pub(super) fn figure(table: &TimeTable) -> Option<Figure> {
    let n = table.rows.len();
    if n == 0 {
        return None;
    }
    let entries: Vec<Entry> = table
        .parts
        .iter()
        .zip(&table.totals)
        .enumerate()
        .map(|(i, (part, total))| Entry {
            label: format!("{part}, {} in all", duration(*total)),
            class: CLASSES[i % CLASSES.len()].into(),
            shape: Shape::Fill,
        })
        .collect();
    let (key, key_height) = key(&entries, 0.0);
    let (frame, height) = frame(key_height);
    let totals = table.rows.iter().map(|row| row.seconds.iter().sum::<f64>());
    // The outer columns need half of their width.
    let x = Axis { range: (-0.6, n as f64 - 0.4), ..Axis::whole("epochs done", 0, n - 1) };
    let mut panel = Panel::new(frame, x, Axis::of("seconds", totals, Some(0.0)));
    // Columns on top of each other, of every so many epochs if there are many.
    let shown = every(n, 150);
    let width = 0.8 * (n as f64 / shown.len() as f64).max(1.0);
    let mut below = vec![0.0; n];
    for i in 0..table.parts.len() {
        let columns: Vec<(f64, f64, f64)> = shown
            .iter()
            .map(|&row| {
                let low = below[row];
                below[row] += table.rows[row].seconds[i];
                (row as f64, low, below[row])
            })
            .collect();
        panel.columns(CLASSES[i % CLASSES.len()], width, &columns);
    }
    let mut description = format!(
        "{} in all, {} an epoch: its steps and what was measured after them, over all starts of the run; work that was done \
         again counts twice. Reading the data and the end of the run are not in it, nor steps that a kill has lost.",
        duration(table.total),
        duration(table.total / n as f64)
    );
    let mut title = "Time of each epoch".to_string();
    let mut panels = vec![panel];
    let mut height = height;
    if let Some(peak) = table.peak_memory {
        let known = |(at, row): (usize, &TimeRow)| Some((at as f64, megabytes(row.peak_memory?)));
        let points: Vec<(f64, f64)> = table.rows.iter().enumerate().filter_map(known).collect();
        let x = Axis { range: (-0.6, n as f64 - 0.4), ..Axis::whole("epochs done", 0, n - 1) };
        let y = Axis::of("MB", points.iter().map(|(_, mb)| *mb), Some(0.0));
        let mut memory = Panel::new((LEFT, height + 16.0, WIDTH, 60.0), x, y);
        memory.steps("c4", &points);
        panels.push(memory);
        height += 116.0;
        title = "Time and memory of each epoch".to_string();
        description += &format!(
            " Below, the most memory that the process had held by its end; {} at most. A card's own memory is not in it.",
            bytes(peak)
        );
    }
    let headers = ["attempt", "epoch"].into_iter().chain(table.parts.iter().map(String::as_str));
    let headers: Vec<&str> = headers.chain(table.peak_memory.map(|_| "peak memory, bytes")).collect();
    let rows = table.rows.iter().map(|row| {
        let begin = [row.attempt.into(), row.epoch.into()].into_iter();
        let all = begin.chain(row.seconds.iter().map(|seconds| (*seconds).into()));
        let memory = table.peak_memory.map(|_| row.peak_memory.map(|bytes| bytes as usize).into());
        all.chain(memory).collect()
    });
    Some(Figure {
        drawing: None,
        name: "time".to_string(),
        svg: chart("time", &title, &description, height, &key, &panels),
        csv: csv(&headers, rows),
        title,
        caption: description,
    })
}
