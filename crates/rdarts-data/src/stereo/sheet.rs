//! A sheet of stereo pairs, to see at a glance whether views and ground truth belong together.
//!
//! ```text
//! NAME: N training and M test pairs
//! left | right | disparity | right view warped to the left one        a row for each pair, its name and range above it
//! ```
//!
//! Where left and warped view differ other than beside objects, the ground truth is wrong.

use std::io::Cursor;
use std::path::Path;

use embedded_graphics::mono_font::iso_8859_1::{FONT_7X13, FONT_7X13_BOLD};
use image::imageops::{self, FilterType};
use image::{ImageFormat, Rgb, RgbImage};
use rdarts_text::shown;

use super::colour::coloured;
use crate::error::DataError;
use crate::pair::Pair;
use crate::sets::stereo::StereoDataset;
use crate::sheet::{Canvas, GAP, LETTER, LINE, MARGIN, write};

/// The largest width of a view on the sheet.
const WIDE: u32 = 320;

/// Writes the PNG file `path` with `n` pairs, evenly apart among those to train on, or among those to test on where there
/// are no others.
///
/// # Errors
/// If a pair cannot be read, or the picture cannot be written; an old one then stays.
pub fn stereo_sheet(data: &StereoDataset, n: usize, path: &Path) -> Result<(), DataError> {
    let png = draw(data, n)?;
    write(path, &png).map_err(|e| DataError::Sheet { file: shown(path), reason: e.to_string() })
}

/// The picture as a PNG file's bytes.
fn draw(data: &StereoDataset, n: usize) -> Result<Vec<u8>, DataError> {
    let pairs = if data.train.n() > 0 { &data.train } else { &data.test };
    let n = n.clamp(1, pairs.n().max(1)).min(pairs.n());
    let mut rows = Vec::new();
    for i in (0..n).map(|i| i * pairs.n() / n) {
        let pair = pairs.pair(i)?;
        let range =
            pair.range().map_or("nothing known".to_owned(), |(low, high)| format!("disparity {low:.1}..{high:.1}"));
        let percent = 100.0 * pair.n_valid() as f64 / (pair.height * pair.width) as f64;
        let caption =
            format!("{}: {}x{}, {range}, {percent:.1} % known", shown(pairs.name_of(i)), pair.height, pair.width);
        rows.push((caption, columns(&pair)));
    }
    let title = format!("{}: {} training and {} test pairs", shown(&data.name), data.train.n(), data.test.n());
    let letters = rows.iter().map(|(caption, _)| caption.chars().count()).chain([title.chars().count() + 20]).max();
    let wide = rows.iter().map(|(_, views)| 4 * (views[0].width() + GAP)).max().unwrap_or(0);
    let width = wide.max(LETTER * letters.unwrap_or(0) as u32) + 2 * MARGIN;
    let height = rows.iter().map(|(_, views)| LINE + views[0].height() + 2 * GAP).sum::<u32>() + LINE + 2 * MARGIN;
    let mut canvas = Canvas(RgbImage::from_pixel(width, height, Rgb([255; 3])));
    canvas.text(&format!("{title}; left, right, disparity, right warped to left"), MARGIN, MARGIN, &FONT_7X13_BOLD);
    let mut top = MARGIN + LINE;
    for (caption, views) in rows {
        canvas.text(&caption, MARGIN, top + 3, &FONT_7X13);
        for (column, view) in views.iter().enumerate() {
            let x = MARGIN + column as u32 * (view.width() + GAP);
            imageops::replace(&mut canvas.0, view, x.into(), (top + LINE).into());
        }
        top += LINE + views[0].height() + 2 * GAP;
    }
    let mut png = Cursor::new(Vec::new());
    canvas.0.write_to(&mut png, ImageFormat::Png).map_err(|e| {
        // There is no file yet to name.
        DataError::Sheet { file: "the sheet of pairs".to_owned(), reason: e.to_string() }
    })?;
    Ok(png.into_inner())
}

fn columns(pair: &Pair) -> [RgbImage; 4] {
    let (low, high) = pair.range().unwrap_or((0.0, 1.0));
    let (width, height) = (pair.width as u32, pair.height as u32);
    let shown = |bytes: Vec<u8>, is_map: bool| {
        let whole = RgbImage::from_raw(width, height, bytes).expect("a view has three bytes a pixel");
        match width {
            // Mixed colours of a map mean nothing.
            _ if width > WIDE => {
                let filter = if is_map { FilterType::Nearest } else { FilterType::Triangle };
                imageops::resize(
                    &whole,
                    WIDE,
                    (u64::from(height) * u64::from(WIDE) / u64::from(width)).max(1) as u32,
                    filter,
                )
            }
            _ => imageops::resize(
                &whole,
                width * (WIDE / width).min(2),
                height * (WIDE / width).min(2),
                FilterType::Nearest,
            ),
        }
    };
    [
        shown(pair.left.clone(), false),
        shown(pair.right.clone(), false),
        shown(coloured(&pair.disparity, low, high), true),
        shown(pair.warped(), false),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenes::Scenes;
    use crate::sets::stereo::Pairs;

    #[test]
    fn a_row_shows_the_views_the_map_and_the_warped_view() {
        let pairs = Pairs::of_scenes(Scenes::new(40, 80, 16.0, 1).unwrap(), 0, 5);
        let data = StereoDataset { name: "s".to_owned(), train: pairs.clone(), test: pairs.clone() };
        let png = draw(&data, 2).unwrap();
        let sheet = image::load_from_memory_with_format(&png, ImageFormat::Png).unwrap().into_rgb8();
        assert_eq!(sheet.height(), LINE + 2 * MARGIN + 2 * (LINE + 80 + 2 * GAP));
        // The second row is pair 2 of five, twice as large.
        let pair = pairs.pair(2).unwrap();
        let (low, high) = pair.range().unwrap();
        let top = MARGIN + LINE + (LINE + 80 + 2 * GAP) + LINE;
        for (column, bytes) in
            [pair.left.clone(), pair.right.clone(), coloured(&pair.disparity, low, high), pair.warped()]
                .iter()
                .enumerate()
        {
            for (x, y) in [(0, 0), (31, 17), (79, 39)] {
                let at = 3 * (y * 80 + x);
                let shown = sheet.get_pixel(MARGIN + column as u32 * (160 + GAP) + 2 * x as u32, top + 2 * y as u32);
                assert_eq!(shown.0, bytes[at..at + 3], "{column}: {x}, {y}");
            }
        }
    }
}
