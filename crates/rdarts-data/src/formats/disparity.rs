//! Disparities as the stereo sets store them, and their masks.
//!
//! ```text
//! PFM            the value; infinite or NaN: unknown
//! Sintel         PNG of 8 bits: d = 4 R + G / 64 + B / 16384; all are known
//! KITTI          PNG of 16 bits: d = v / 256; 0: unknown
//! scaled         PNG or PGM of 8 bits: d = v / scale; 0: unknown
//! ```

use std::fs::File;
use std::io::{BufReader, Cursor};
use std::path::Path;

use image::{DynamicImage, ImageBuffer, ImageFormat, Luma, RgbImage};
use rdarts_text::shown;

use super::{pfm, picture};
use crate::error::DataError;

/// Disparities of a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Map {
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
    /// Pixels to the left, NaN where unknown, (height, width); with the sign of the file.
    pub values: Vec<f32>,
}

/// How a file stores disparities.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Coding {
    /// As floats.
    Pfm,
    /// In three channels.
    Sintel,
    /// In 256ths.
    Kitti,
    /// In parts of a pixel, so many as this.
    Scaled(f32),
    /// As one of the others that have no scale, by the kind of the file.
    Any,
}

/// Reads a file of disparities.
pub fn read(path: &Path, coding: Coding) -> Result<Map, DataError> {
    let file = shown(path);
    if coding == Coding::Pfm || coding == Coding::Any && is_pfm(path) {
        let stream = File::open(path).map_err(|e| DataError::unreadable(&file, &e))?;
        let map = pfm::read(&mut BufReader::new(stream), &file)?;
        if map.channels != 1 {
            return Err(DataError::StereoFile {
                file,
                problem: "holds three values a pixel, disparities are one".to_owned(),
            });
        }
        let known = |value: f32| if value.is_finite() { value } else { f32::NAN };
        return Ok(Map { height: map.height, width: map.width, values: map.values.into_iter().map(known).collect() });
    }
    of_picture(&picture::stored(path)?, coding, &file)
}

/// The disparities that a picture stores, which messages call `file`.
pub fn of_picture(picture: &DynamicImage, coding: Coding, file: &str) -> Result<Map, DataError> {
    let (height, width) = (picture.height() as usize, picture.width() as usize);
    let wrong = |expected: &str| DataError::StereoFile {
        problem: format!("is stored as {}, {expected}", kind(picture)),
        file: file.to_owned(),
    };
    let values = match (coding, picture) {
        (Coding::Sintel | Coding::Any, DynamicImage::ImageRgb8(picture)) => sintel(picture.as_raw()),
        (Coding::Kitti | Coding::Any, DynamicImage::ImageLuma16(picture)) => kitti(picture.as_raw()),
        (Coding::Scaled(scale), DynamicImage::ImageLuma8(picture)) => scaled(picture.as_raw(), scale),
        // Some are published as colour pictures of gray pixels.
        (Coding::Scaled(scale), DynamicImage::ImageRgb8(_)) => scaled(picture.to_luma8().as_raw(), scale),
        (Coding::Sintel, _) => return Err(wrong("disparities of Sintel are colour of 8 bits")),
        (Coding::Kitti, _) => return Err(wrong("disparities of KITTI are gray of 16 bits")),
        (Coding::Scaled(_), _) => return Err(wrong("disparities of these scenes are gray of 8 bits")),
        (_, _) => {
            return Err(wrong(
                "disparities should be a PFM file, gray of 16 bits (256 for each pixel) or colour of 8 bits \
                              (as Sintel's)",
            ));
        }
    };
    Ok(Map { height, width, values })
}

/// Whether a file is named as PFM.
pub fn is_pfm(path: &Path) -> bool {
    path.extension().is_some_and(|end| end.eq_ignore_ascii_case("pfm"))
}

/// Whether a picture holds gray bytes, which some publish as colour.
pub fn is_bytes(picture: &DynamicImage) -> bool {
    match picture {
        DynamicImage::ImageLuma8(_) => true,
        DynamicImage::ImageRgb8(picture) => picture.pixels().all(|pixel| pixel.0 == [pixel.0[0]; 3]),
        _ => false,
    }
}

/// Reads a mask, or any picture, as gray: its height, its width, its values.
pub fn read_mask(path: &Path) -> Result<(usize, usize, Vec<u8>), DataError> {
    let picture = picture::stored(path)?;
    let (height, width) = (picture.height() as usize, picture.width() as usize);
    Ok((height, width, picture.into_luma8().into_raw()))
}

fn kind(picture: &DynamicImage) -> String {
    let color = picture.color();
    let what = if color.has_color() { "colour" } else { "gray" };
    format!("{what} of {} bits", 8 * color.bytes_per_pixel() / color.channel_count())
}

/// What the bytes (n, 3) of a Sintel picture mean.
pub fn sintel(pixels: &[u8]) -> Vec<f32> {
    let value = |pixel: &[u8]| {
        let [r, g, b] = [0, 1, 2].map(|c| u32::from(pixel[c]));
        // 24 bits: exact.
        ((r << 16) + (g << 8) + b) as f32 / 16_384.0
    };
    pixels.chunks_exact(3).map(value).collect()
}

/// The bytes (n, 3) of a Sintel picture, to 1/16384 of a pixel; it has none for what is unknown, which becomes 0.
pub fn to_sintel(values: &[f32]) -> Vec<u8> {
    let pixel = |&d: &f32| {
        let whole = (f64::from(d) * 16_384.0).round().clamp(0.0, f64::from((1u32 << 24) - 1)) as u32;
        [whole >> 16, whole >> 8, whole].map(|value| (value & 255) as u8)
    };
    values.iter().flat_map(pixel).collect()
}

/// What the values of a KITTI picture mean.
pub fn kitti(pixels: &[u16]) -> Vec<f32> {
    pixels.iter().map(|&v| if v == 0 { f32::NAN } else { f32::from(v) / 256.0 }).collect()
}

/// The values of a KITTI picture, to 1/256 of a pixel and at least that; 0 for what is unknown.
pub fn to_kitti(values: &[f32]) -> Vec<u16> {
    let value = |&d: &f32| if d.is_nan() { 0 } else { (f64::from(d) * 256.0).round().clamp(1.0, 65_535.0) as u16 };
    values.iter().map(value).collect()
}

/// What the values of a picture with a scale mean.
pub fn scaled(pixels: &[u8], scale: f32) -> Vec<f32> {
    pixels.iter().map(|&v| if v == 0 { f32::NAN } else { f32::from(v) / scale }).collect()
}

/// The bytes of a file of disparities: PFM, or PNG as Sintel's or KITTI's. `None` for a coding that is only read.
///
/// # Panics
/// If the values are no rows of `width`.
pub fn encode(width: usize, values: &[f32], coding: Coding) -> Option<Vec<u8>> {
    assert!(width > 0 && values.len().is_multiple_of(width), "{} values in rows of {width}", values.len());
    let (columns, rows) = (width as u32, (values.len() / width) as u32);
    let picture: DynamicImage = match coding {
        Coding::Pfm => {
            let mut bytes = Vec::new();
            // Memory takes all that is written.
            return pfm::write(&mut bytes, width, values).ok().map(|()| bytes);
        }
        Coding::Sintel => RgbImage::from_raw(columns, rows, to_sintel(values))?.into(),
        Coding::Kitti => ImageBuffer::<Luma<u16>, _>::from_raw(columns, rows, to_kitti(values))?.into(),
        Coding::Scaled(_) | Coding::Any => return None,
    };
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).ok().map(|()| bytes.into_inner())
}

/// A picture in red, green and blue, (height, width, 3): PNG, WebP, JPEG, or PPM.
pub fn read_view(path: &Path) -> Result<(usize, usize, Vec<u8>), DataError> {
    let picture = picture::stored(path)?;
    Ok((picture.height() as usize, picture.width() as usize, picture.into_rgb8().into_raw()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_those_of_the_devkits() {
        assert_eq!(sintel(&[1, 64, 0, 255, 255, 255, 0, 0, 1]), [5.0, 1024.0 - 1.0 / 16_384.0, 1.0 / 16_384.0]);
        // The devkit's writer: R = floor(d / 4), G = floor(64 d) mod 256.
        assert_eq!(to_sintel(&[5.25, 1500.0, f32::NAN]), [1, 80, 0, 255, 255, 255, 0, 0, 0]);
        let read = kitti(&[0, 1, 256, 65_535]);
        assert!(read[0].is_nan());
        assert_eq!(read[1..], [1.0 / 256.0, 1.0, 65_535.0 / 256.0]);
        assert_eq!(to_kitti(&[f32::NAN, 0.0, 1.5, 1e9]), [0, 1, 384, 65_535]);
        assert!(scaled(&[0, 16], 4.0)[0].is_nan() && scaled(&[0, 16], 4.0)[1] == 4.0);
    }

    #[test]
    fn files_that_are_written_are_read_and_others_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let values = [0.5, 3.25, 7.0, 100.75, 1.0, 255.5];
        for (coding, name) in [(Coding::Pfm, "a.pfm"), (Coding::Sintel, "b.png"), (Coding::Kitti, "c.png")] {
            let path = dir.path().join(name);
            std::fs::write(&path, encode(3, &values, coding).unwrap()).unwrap();
            for coding in [coding, Coding::Any] {
                assert_eq!(read(&path, coding), Ok(Map { height: 2, width: 3, values: values.to_vec() }), "{name}");
            }
        }
        let message = |name: &str, coding| read(&dir.path().join(name), coding).unwrap_err().to_string();
        assert!(
            message("b.png", Coding::Kitti)
                .ends_with("is stored as colour of 8 bits, disparities of KITTI are gray of 16 bits")
        );
        assert!(
            message("c.png", Coding::Sintel)
                .ends_with("is stored as gray of 16 bits, disparities of Sintel are colour of 8 bits")
        );
        image::GrayImage::new(3, 2).save(dir.path().join("d.png")).unwrap();
        assert!(
            message("d.png", Coding::Any).contains("is stored as gray of 8 bits, disparities should be a PFM file")
        );
        std::fs::write(dir.path().join("e.pfm"), b"PF\n1 1\n-1\n............").unwrap();
        assert!(message("e.pfm", Coding::Pfm).ends_with("holds three values a pixel, disparities are one"));
        assert!(message("none.pfm", Coding::Pfm).starts_with("cannot read "));
        assert_eq!(encode(3, &values, Coding::Scaled(4.0)), None);
    }

    proptest! {
        #[test]
        fn codings_lose_no_more_than_their_step(d in 0.01f32..255.0, whole in any::<[u8; 3]>(), v in any::<u16>()) {
            prop_assert!((sintel(&to_sintel(&[d]))[0] - d).abs() <= 0.5 / 16_384.0 + 1e-5);
            prop_assert!((kitti(&to_kitti(&[d]))[0] - d).abs() <= 0.5 / 256.0 + 1e-5);
            prop_assert_eq!(to_sintel(&sintel(&whole)), whole);
            prop_assert_eq!(to_kitti(&kitti(&[v])), [v]);
        }
    }
}
