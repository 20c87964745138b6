//! A contact sheet: a picture with a row of training images for each class, its name and its number of images beside
//! them, to see at a glance whether the labels and the pixels are what they should be.
//!
//! ```text
//! NAME: N training images of HxWxC in K classes
//! class 0      5000  [ ][ ][ ][ ]...      the first images of the class, in the order of the data set
//! class 1      5000  [ ][ ][ ][ ]...
//! ```
//!
//! Small images are enlarged by a whole number without blurring, large ones made to fit. One channel is shown as gray,
//! two as the first of them, more as the first three. Letters outside of Latin-1 are shown as `?`.

use std::convert::Infallible;
use std::io::{self, Cursor, Write};
use std::path::Path;

use embedded_graphics::mono_font::iso_8859_1::{FONT_7X13, FONT_7X13_BOLD};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::prelude::*;
use embedded_graphics::{Pixel, pixelcolor::Rgb888, text::Baseline, text::Text};
use image::imageops::{self, FilterType};
use image::{ImageFormat, Rgb, RgbImage};
use rdarts_text::shown;

use crate::dataset::Dataset;
use crate::error::DataError;
use crate::images::Images;

/// Side of a shown image in pixels, if its shape allows: large enough to see 28x28, small enough for ten in a row.
const SHOWN: u32 = 64;

/// The largest side of a picture that stands in a page.
const LARGE: u32 = 96;
/// Rows of one sheet: a picture of more is for no eye.
const MAX_ROWS: usize = 250;
/// Letters of a class name.
const MAX_LETTERS: usize = 28;
pub(crate) const GAP: u32 = 2;
pub(crate) const MARGIN: u32 = 8;
pub(crate) const LETTER: u32 = 7;
pub(crate) const LINE: u32 = 20;
const COUNT_LETTERS: u32 = 8;

/// Writes the PNG file `path` with the first `per_class` training images of each class.
///
/// # Errors
/// If images come from a file that cannot be read, or the picture cannot be written; an old one then stays.
pub fn contact_sheet(data: &Dataset, per_class: usize, path: &Path) -> Result<(), DataError> {
    let png = draw(data, per_class)?;
    write(path, &png).map_err(|e| DataError::Sheet { file: shown(path), reason: e.to_string() })
}

/// The file as a whole or not at all.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".unfinished-");
    // Temporary files are private by default; a finished one gets the permissions of any other new file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(dir)?;
    file.write_all(bytes)?;
    file.persist(path).map(|_| ()).map_err(|e| e.error)
}

/// The picture as a PNG file's bytes.
fn draw(data: &Dataset, per_class: usize) -> Result<Vec<u8>, DataError> {
    let images = &data.train;
    let n_rows = data.classes.len().min(MAX_ROWS);
    let names: Vec<String> = data.classes.iter().take(n_rows).map(|class| shown_name(&shown(class))).collect();
    let letters = names.iter().map(|name| name.chars().count()).max().unwrap_or(0) as u32;
    let left = MARGIN + LETTER * (letters + COUNT_LETTERS) + MARGIN;
    let (width, height) = shown_size(images);
    let n_columns = per_class.max(1) as u32;
    let title = title(data, n_rows);
    let row_height = (height + GAP).max(LINE);
    let mut canvas = Canvas(RgbImage::from_pixel(
        (left + n_columns * (width + GAP) + MARGIN).max(2 * MARGIN + LETTER * title.chars().count() as u32),
        MARGIN + LINE + n_rows as u32 * row_height + MARGIN,
        Rgb([255; 3]),
    ));
    canvas.text(&title, MARGIN, MARGIN, &FONT_7X13_BOLD);
    let counts = images.counts(data.classes.len());
    for (row, name) in names.iter().enumerate() {
        let top = MARGIN + LINE + row as u32 * row_height;
        let middle = top + (row_height - LINE) / 2;
        canvas.text(name, MARGIN, middle, &FONT_7X13);
        let count = format!("{:>7}", counts[row]);
        canvas.text(&count, MARGIN + LETTER * letters, middle, &FONT_7X13);
    }
    let mut placed = vec![0; n_rows];
    let mut n_left = counts.iter().take(n_rows).map(|&n| n.min(per_class)).sum::<usize>();
    for (i, &label) in images.labels.iter().enumerate() {
        if n_left == 0 {
            break;
        }
        let Some(column) = placed.get_mut(usize::from(label)).filter(|n| **n < per_class) else { continue };
        let x = left + *column as u32 * (width + GAP);
        let y = MARGIN + LINE + u32::from(label) * row_height;
        imageops::replace(&mut canvas.0, &thumbnail(images, i, width, height)?, x.into(), y.into());
        (*column, n_left) = (*column + 1, n_left - 1);
    }
    let mut png = Cursor::new(Vec::new());
    canvas.0.write_to(&mut png, ImageFormat::Png).map_err(|e| {
        // There is no file yet to name.
        DataError::Sheet { file: "the contact sheet".to_owned(), reason: e.to_string() }
    })?;
    Ok(png.into_inner())
}

fn title(data: &Dataset, n_rows: usize) -> String {
    let Images { n, height, width, channels, .. } = data.train;
    let classes = data.classes.len();
    let part = if n_rows < classes { format!(", the first {n_rows} of them here") } else { String::new() };
    format!("{}: {n} training images of {height}x{width}x{channels} in {classes} classes{part}", shown(&data.name))
}

/// A name that fits.
fn shown_name(class: &str) -> String {
    match class.chars().count() {
        n if n <= MAX_LETTERS => class.to_owned(),
        _ => class.chars().take(MAX_LETTERS - 2).chain("..".chars()).collect(),
    }
}

/// Width and height that images are shown in.
fn shown_size(images: &Images) -> (u32, u32) {
    let (width, height) = (images.width.max(1) as u32, images.height.max(1) as u32);
    let side = width.max(height);
    if side <= SHOWN {
        let scale = SHOWN / side;
        return (width * scale, height * scale);
    }
    let fit = |length: u32| (u64::from(length) * u64::from(SHOWN) / u64::from(side)).max(1) as u32;
    (fit(width), fit(height))
}

fn thumbnail(images: &Images, i: usize, width: u32, height: u32) -> Result<RgbImage, DataError> {
    let (bytes, channels) = (images.image(i)?, images.channels);
    let whole = RgbImage::from_fn(images.width as u32, images.height as u32, |x, y| {
        let at = (y as usize * images.width + x as usize) * channels;
        match channels {
            1 | 2 => Rgb([bytes[at]; 3]),
            _ => Rgb([bytes[at], bytes[at + 1], bytes[at + 2]]),
        }
    });
    let is_enlarged = width >= whole.width();
    let filter = if is_enlarged { FilterType::Nearest } else { FilterType::Triangle };
    Ok(imageops::resize(&whole, width, height, filter))
}

/// A picture that text can be drawn on.
pub(crate) struct Canvas(pub(crate) RgbImage);

impl Canvas {
    pub(crate) fn text(&mut self, text: &str, x: u32, y: u32, font: &MonoFont) {
        let at = Point::new(x as i32, y as i32);
        // Pixels beyond the picture are dropped, and nothing else can go wrong.
        let _ = Text::with_baseline(text, at, MonoTextStyle::new(font, Rgb888::BLACK), Baseline::Top).draw(self);
    }
}

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        Size::new(self.0.width(), self.0.height())
    }
}

impl DrawTarget for Canvas {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(at, color) in pixels {
            if let (Ok(x), Ok(y)) = (u32::try_from(at.x), u32::try_from(at.y))
                && let Some(pixel) = self.0.get_pixel_mut_checked(x, y)
            {
                *pixel = Rgb([color.r(), color.g(), color.b()]);
            }
        }
        Ok(())
    }
}

/// One image as a PNG file, as a network sees it, but no larger than 96 pixels; `None` if it has neither one channel nor
/// three.
///
/// # Errors
/// One sentence if the images are in a file that cannot be read any more.
pub fn png_of(images: &Images, index: usize) -> Result<Option<Vec<u8>>, DataError> {
    let (width, height, pixels) = (images.width as u32, images.height as u32, images.image(index)?.into_owned());
    let picture = match images.channels {
        1 => image::GrayImage::from_raw(width, height, pixels).map(image::DynamicImage::ImageLuma8),
        3 => RgbImage::from_raw(width, height, pixels).map(image::DynamicImage::ImageRgb8),
        _ => None,
    };
    let mut png = Cursor::new(Vec::new());
    let small = picture.map(|picture| match picture.width().max(picture.height()) > LARGE {
        true => picture.resize(LARGE, LARGE, FilterType::Triangle),
        false => picture,
    });
    // A picture in memory has nothing that could fail.
    let encoded = small.map(|picture| picture.write_to(&mut png, ImageFormat::Png));
    Ok(matches!(encoded, Some(Ok(()))).then(|| png.into_inner()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::Pixels;

    fn data(n: usize, [height, width, channels]: [usize; 3], classes: &[&str]) -> Dataset {
        let labels = (0..n).map(|i| (i % classes.len()) as u16).collect();
        let pixels = (0..n).flat_map(|i| vec![(10 * i) as u8; height * width * channels]).collect();
        let images = Images { n, height, width, channels, pixels: Pixels::Memory(pixels), labels };
        Dataset::new("d", classes, images.clone(), images).unwrap()
    }

    fn decoded(png: &[u8]) -> RgbImage {
        image::load_from_memory_with_format(png, ImageFormat::Png).unwrap().into_rgb8()
    }

    #[test]
    fn each_class_has_its_row_of_its_own_images_in_their_order() {
        let sheet = decoded(&draw(&data(5, [28, 20, 1], &["cat", "dog"]), 3).unwrap());
        let left = MARGIN + LETTER * (3 + COUNT_LETTERS) + MARGIN;
        let at = |row: u32, column: u32| {
            let (x, y) = (left + column * (40 + GAP), MARGIN + LINE + row * (56 + GAP));
            let corners = [(0, 0), (39, 0), (0, 55), (39, 55)].map(|(dx, dy)| sheet.get_pixel(x + dx, y + dy).0);
            assert!(corners.iter().all(|c| *c == corners[0]), "{corners:?}");
            corners[0][0]
        };
        // Images 0, 2, 4 are cats, 1 and 3 dogs, and after these comes white.
        assert_eq!([at(0, 0), at(0, 1), at(0, 2)], [0, 20, 40]);
        assert_eq!([at(1, 0), at(1, 1), at(1, 2)], [10, 30, 255]);
        // The names are there: black letters left of the images.
        let inked = |top: u32| (0..left).any(|x| (top..top + 56).any(|y| sheet.get_pixel(x, y).0 == [0; 3]));
        assert!(inked(MARGIN + LINE) && inked(MARGIN + LINE + 56 + GAP));
    }

    #[test]
    fn any_shape_number_of_channels_and_name_is_shown() {
        let long = "a name that is much longer than any class should have";
        for shape in [[1, 1, 1], [3, 500, 3], [500, 2, 2], [9, 9, 5], [200, 300, 4]] {
            let sheet = decoded(&draw(&data(4, shape, &["", long, "\u{732b}", "e\u{301}t\u{e9}"]), 2).unwrap());
            assert!(sheet.width() > 200 && sheet.height() > 80, "{shape:?}");
        }
        let many: Vec<String> = (0..400).map(|i| i.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let sheet = decoded(&draw(&data(400, [2, 2, 3], &many), 1).unwrap());
        assert_eq!(sheet.height(), 2 * MARGIN + LINE + MAX_ROWS as u32 * (64 + GAP));
    }

    #[test]
    fn the_file_replaces_an_old_one_as_a_whole_and_a_place_that_is_none_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sheet.png");
        std::fs::write(&path, b"old").unwrap();
        let data = data(2, [8, 8, 3], &["a", "b"]);
        contact_sheet(&data, 1, &path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), draw(&data, 1).unwrap());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        let nowhere = dir.path().join("no/such/sheet.png");
        let message = contact_sheet(&data, 1, &nowhere).unwrap_err().to_string();
        assert!(message.starts_with(&format!("cannot write {}: ", nowhere.display())), "{message}");
    }
}
