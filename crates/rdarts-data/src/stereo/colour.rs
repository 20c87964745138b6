//! Disparities as colours, from dark blue (far) over green to yellow (near).
//!
//! The colours are those of viridis (van der Walt and Smith): equal steps look equally large, lightness grows all the way,
//! so that the order is seen on a gray print and by those who do not tell red from green. What is unknown is gray, which is
//! none of the colours.

use std::io::Cursor;

use image::{ImageFormat, RgbImage};

/// Eleven colours of viridis, evenly apart; between two of them in proportion.
const COLOURS: [[u8; 3]; 11] = [
    [0x44, 0x01, 0x54],
    [0x48, 0x24, 0x75],
    [0x41, 0x44, 0x87],
    [0x35, 0x5f, 0x8d],
    [0x2a, 0x78, 0x8e],
    [0x21, 0x91, 0x8c],
    [0x22, 0xa8, 0x84],
    [0x44, 0xbf, 0x70],
    [0x7a, 0xd1, 0x51],
    [0xbd, 0xdf, 0x26],
    [0xfd, 0xe7, 0x25],
];

/// The colour of what is not known.
pub const UNKNOWN: [u8; 3] = [0x80; 3];

/// A map of disparities as red, green and blue, (n, 3): `low` and below is dark blue, `high` and above yellow, NaN gray.
pub fn coloured(disparity: &[f32], low: f32, high: f32) -> Vec<u8> {
    disparity.iter().flat_map(|&d| colour(d, low, high)).collect()
}

/// The PNG of such a picture, in rows of `width`.
///
/// # Panics
/// If the values are no rows of `width`.
pub fn coloured_png(width: usize, disparity: &[f32], low: f32, high: f32) -> Vec<u8> {
    assert!(width > 0 && disparity.len().is_multiple_of(width), "{} values in rows of {width}", disparity.len());
    let (columns, rows) = (width as u32, (disparity.len() / width) as u32);
    let picture = RgbImage::from_raw(columns, rows, coloured(disparity, low, high)).expect("three bytes a pixel");
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).expect("memory takes all that is written");
    bytes.into_inner()
}

fn colour(d: f32, low: f32, high: f32) -> [u8; 3] {
    if d.is_nan() {
        return UNKNOWN;
    }
    let last = COLOURS.len() - 1;
    let part = if high > low { ((d - low) / (high - low)).clamp(0.0, 1.0) } else { 0.5 };
    let place = part * last as f32;
    let first = (place as usize).min(last - 1);
    let share = place - first as f32;
    let (a, b) = (COLOURS[first], COLOURS[first + 1]);
    [0, 1, 2].map(|c| (f32::from(a[c]) + (f32::from(b[c]) - f32::from(a[c])) * share).round() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lightness_grows_in_even_steps_and_gray_is_no_colour() {
        let values: Vec<f32> = (0..=100).map(|i| i as f32).collect();
        let colours = coloured(&values, 0.0, 100.0);
        // CIE L* of sRGB.
        let lightness = |colour: &[u8]| {
            let linear = |v: u8| {
                let v = f64::from(v) / 255.0;
                if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
            };
            let y = 0.2126 * linear(colour[0]) + 0.7152 * linear(colour[1]) + 0.0722 * linear(colour[2]);
            if y > 0.008_856 { 116.0 * y.cbrt() - 16.0 } else { 903.3 * y }
        };
        let lightness: Vec<f64> = colours.chunks(3).map(lightness).collect();
        assert!(lightness.is_sorted(), "{lightness:?}");
        // Over a tenth of the range, where the rounding to bytes is nothing.
        let steps: Vec<f64> = lightness.iter().zip(&lightness[10..]).map(|(low, high)| high - low).collect();
        assert!(steps.iter().all(|step| (6.5..9.0).contains(step)), "{steps:?}");
        assert!(colours.chunks(3).all(|colour| colour != UNKNOWN));
        assert_eq!(
            coloured(&[f32::NAN, -5.0, 500.0, f32::INFINITY], 0.0, 100.0)[..9],
            [128, 128, 128, 68, 1, 84, 253, 231, 37]
        );
        assert_eq!(coloured(&[3.0], 3.0, 3.0), [33, 145, 140]);
        let png = image::load_from_memory(&coloured_png(2, &[0.0, f32::NAN, 100.0, 1.0], 0.0, 100.0)).unwrap();
        assert_eq!((png.width(), png.height()), (2, 2));
        assert_eq!(png.to_rgb8().get_pixel(1, 0).0, UNKNOWN);
    }
}
