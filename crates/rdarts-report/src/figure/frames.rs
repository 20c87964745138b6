//! The search as frames of an animation: at each epoch its normal cell beside curvature, accuracy and spectrum, or
//! parameterless operations where no spectrum was computed.

use rdarts_draw::{COLUMN_WIDTH, DrawError, Layout};

use super::{accuracy, eigenvalue, every, operations, spectrum};
use crate::cells::{Moving, as_file};
use crate::number::short;
use crate::pixels::animated;
use crate::svg::{WIDTH, escape, picture, standalone, write};
use crate::table::SearchTable;
use crate::task::CellKind;

/// Height of one of the four pictures of a frame.
const HEIGHT: f64 = 240.0;

/// One picture an epoch of the line that the search ended with, each a whole SVG file of the same size; no more than
/// `most`.
pub fn frames(table: &SearchTable, most: usize) -> Vec<String> {
    let kept: Vec<usize> = (0..table.epochs.len()).filter(|&i| table.epochs[i].is_kept).collect();
    // Random search holds none of the architectures that it draws.
    let genotypes = table.genotypes.iter().filter(|_| !table.is_random());
    let cell = Moving::new(genotypes.map(|row| row.genotype.as_ref()), CellKind::Normal);
    every(kept.len(), most).into_iter().map(|i| frame(table, kept[i], cell.as_ref())).collect()
}

/// The search as an animated PNG for slides, 1200 pixels wide, of no more than 60 epochs.
///
/// # Errors
/// If no epoch is done.
pub fn animation(table: &SearchTable) -> Result<Vec<u8>, DrawError> {
    animated(&frames(table, 60), SLIDE, 180, 2500)
}

/// Pixels of a slide for each of a screen: a frame is two columns wide and what is between them.
const SLIDE: f64 = 1.79;

fn frame(table: &SearchTable, step: usize, cell: Option<&Moving>) -> String {
    let row = &table.epochs[step];
    let at = Some(row.epoch);
    let pictures = [
        cell.map(|cell| inside(&cell.of(row.genotype))),
        eigenvalue::figure(table, at).map(|figure| figure.svg),
        accuracy::accuracy(table, at).map(|figure| figure.svg),
        spectrum::at_epoch(table, at).or(operations::figure(table, at)).map(|figure| figure.svg),
    ];
    let title = format!("{} on {}, {}", table.space, table.data, table.method);
    let words = format!("epoch {}, L2 {}", row.epoch, short(row.l2));
    let mut body = String::new();
    let heading = format!("{}: {words}", escape(&title));
    write(&mut body, format_args!("<text class=\"strong\" x=\"10\" y=\"20\">{heading}</text>"));
    for (i, svg) in pictures.iter().flatten().enumerate() {
        let (x, y) = (10.0 + (WIDTH + 20.0) * (i % 2) as f64, 32.0 + (HEIGHT + 10.0) * (i / 2) as f64);
        let place = format!("<svg x=\"{x:.0}\" y=\"{y:.0}\" width=\"{WIDTH:.0}\" height=\"{HEIGHT:.0}\" ");
        body += &svg.replacen("<svg ", &place, 1);
    }
    let size = (2.0 * WIDTH + 40.0, 2.0 * HEIGHT + 60.0);
    standalone(&picture("frame", &title, &words, size, &body))
}

/// A cell as large as its picture of a frame allows.
fn inside(layout: &Layout) -> String {
    // As a file it has a size of its own, in points: three for every four units.
    let size = [COLUMN_WIDTH, layout.height * (COLUMN_WIDTH / layout.width).min(1.0)].map(|points| points / 0.75);
    let scale = (WIDTH / size[0]).min(HEIGHT / size[1]);
    let shift = (WIDTH - scale * size[0]) / 2.0;
    format!(
        "<svg viewBox=\"0 0 {WIDTH:.0} {HEIGHT:.0}\"><g transform=\"translate({shift:.1} 0) scale({scale:.4})\">{}</g></svg>",
        as_file(layout)
    )
}
