//! The whole spectrum of the alpha-Hessian: over the epochs, and of one epoch by rank.

use super::{Figure, every, frame};
use crate::csv::csv;
use crate::number::short;
use crate::svg::{Axis, Entry, Panel, Shape, chart, key};
use crate::table::SearchTable;

/// More than these a chart cannot tell apart.
const MOST_EPOCHS: usize = 100;
const MOST_RANKS: usize = 64;

pub(super) fn over_epochs(table: &SearchTable) -> Option<Figure> {
    let (first, last) = (table.spectra.first()?, table.spectra.last()?);
    let entries = [
        Entry { label: "largest".into(), class: "c5".into(), shape: Shape::Line },
        Entry { label: "all others".into(), class: "c4".into(), shape: Shape::Mark(0) },
    ];
    let (key, key_height) = key(&entries, 0.0);
    let (frame, height) = frame(key_height);
    let values = table.spectra.iter().flat_map(|spectrum| spectrum.eigenvalues.iter().copied());
    let x = Axis::whole("epoch", first.epoch, last.epoch.max(table.epochs.last().map_or(0, |row| row.epoch)));
    let mut panel = Panel::new(frame, x, Axis::of("eigenvalues", values, Some(0.0)));
    let mut dots = Vec::new();
    for i in every(table.spectra.len(), MOST_EPOCHS) {
        let spectrum = &table.spectra[i];
        let n = spectrum.eigenvalues.len();
        dots.extend(every(n, MOST_RANKS).iter().skip(1).map(|&k| (spectrum.epoch as f64, spectrum.eigenvalues[k])));
    }
    panel.dots("c4", &dots);
    let top: Vec<(f64, f64)> = table.spectra.iter().map(|s| (s.epoch as f64, s.eigenvalues[0])).collect();
    panel.line("c5", &top);
    panel.cursor("epoch");
    let title = "Spectrum of the alpha-Hessian over the epochs".to_string();
    let negative = last.eigenvalues.iter().filter(|value| **value < 0.0).count();
    let description = format!(
        "After epoch {}: {} eigenvalues from {} to {}, {negative} of them negative.",
        last.epoch,
        last.eigenvalues.len(),
        short(last.eigenvalues.last().copied().unwrap_or(0.0)),
        short(last.eigenvalues[0])
    );
    let rows = table.spectra.iter().flat_map(|s| {
        s.eigenvalues.iter().enumerate().map(|(rank, value)| vec![s.epoch.into(), rank.into(), (*value).into()])
    });
    Some(Figure {
        drawing: None,
        name: "spectrum".to_string(),
        svg: chart("spectrum", &title, &description, height, &key, &[panel]),
        csv: csv(&["epoch", "rank", "eigenvalue"], rows),
        title,
        caption: format!(
            "{description} Measured on {}, images `{}`, mode `{}`.",
            if last.batches == 1 { "one batch".to_string() } else { format!("{} batches", last.batches) },
            last.images,
            last.mode
        ),
    })
}

/// The spectrum of the last epoch that has one, up to an epoch if that is given; a page's script puts that of another
/// in its place.
pub(super) fn at_epoch(table: &SearchTable, at: Option<usize>) -> Option<Figure> {
    let upto = table.spectra.iter().rev().find(|spectrum| at.is_none_or(|at| spectrum.epoch <= at));
    let spectrum = upto.or(table.spectra.first())?;
    let (frame, height) = frame(0.0);
    // The axes are those of all epochs, so that a page can move through them.
    let n = table.spectra.iter().map(|s| s.eigenvalues.len()).max().unwrap_or(1);
    let values = table.spectra.iter().flat_map(|spectrum| spectrum.eigenvalues.iter().copied());
    let mut panel = Panel::new(frame, Axis::whole("rank", 0, n - 1), Axis::of("eigenvalue", values, Some(0.0)));
    let points = spectrum.eigenvalues.iter().enumerate();
    panel.moving_dots("c4", &points.map(|(rank, value)| (rank as f64, *value)).collect::<Vec<_>>());
    let title = "Spectrum of one epoch".to_string();
    let description = format!("All eigenvalues after epoch {}, the largest first.", spectrum.epoch);
    let rows = spectrum.eigenvalues.iter().enumerate().map(|(rank, value)| vec![rank.into(), (*value).into()]);
    Some(Figure {
        drawing: None,
        name: "spectrum-epoch".to_string(),
        svg: chart("spectrum-epoch", &title, &description, height, "", &[panel]),
        csv: csv(&["rank", "eigenvalue"], rows),
        title,
        caption: description,
    })
}
