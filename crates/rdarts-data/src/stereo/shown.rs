//! A pair as a network sees it, in four small pictures: left view, truth, prediction, and how far that is off.

use std::io::Cursor;

use image::imageops::{self, FilterType};
use image::{ImageFormat, RgbImage};

use super::colour::coloured;
use crate::pair::Pair;

/// The largest width of a picture: four of them fit side by side on a page.
const WIDE: u32 = 256;

/// The ends of the scale of errors in pixels, of which the least that most errors of a pair stay below is taken.
const ENDS: [f32; 8] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0];

/// The share of the pixels whose errors stay below the end of the scale.
const BELOW: f64 = 0.95;

/// A pair as a network sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct PairShown {
    /// Mean end-point error over the pixels whose disparity is known.
    pub error: f64,
    /// The disparities of the first and the last colour: the least and the largest that are known.
    pub range: (f32, f32),
    /// The error of the last colour.
    pub most_error: f32,
    /// Left view, truth, prediction and error as PNG files, no wider than 256 pixels.
    pub png: [Vec<u8>; 4],
}

/// The pictures of a pair and of a prediction for it, (height, width) in pixels; `None` if no disparity of it is known.
///
/// # Panics
/// If the prediction has another size than the pair.
pub fn pair_shown(pair: &Pair, prediction: &[f32]) -> Option<PairShown> {
    assert_eq!(prediction.len(), pair.disparity.len(), "a prediction of {}x{}", pair.height, pair.width);
    let range @ (low, high) = pair.range()?;
    // Unknown truth has an unknown error.
    let errors: Vec<f32> = pair.disparity.iter().zip(prediction).map(|(truth, d)| (d - truth).abs()).collect();
    let mut known: Vec<f32> = errors.iter().copied().filter(|error| error.is_finite()).collect();
    known.sort_by(f32::total_cmp);
    let error = known.iter().map(|error| f64::from(*error)).sum::<f64>() / known.len() as f64;
    let most = known.get(((known.len() as f64 * BELOW) as usize).min(known.len().saturating_sub(1)))?;
    let most_error = ENDS.into_iter().find(|end| most <= end).unwrap_or(ENDS[ENDS.len() - 1]);
    let [height, width] = [pair.height, pair.width].map(|side| side as u32);
    let picture = |bytes: Vec<u8>, filter: FilterType| {
        let whole = RgbImage::from_raw(width, height, bytes).expect("three bytes a pixel");
        let small = match width > WIDE {
            true => imageops::resize(&whole, WIDE, (height * WIDE / width).max(1), filter),
            false => whole,
        };
        let mut png = Cursor::new(Vec::new());
        small.write_to(&mut png, ImageFormat::Png).expect("a picture in memory has nothing that could fail");
        png.into_inner()
    };
    // Mixed colours of a map mean nothing.
    let map = |values: &[f32], low, high| picture(coloured(values, low, high), FilterType::Nearest);
    Some(PairShown {
        error,
        range,
        most_error,
        png: [
            picture(pair.left.clone(), FilterType::Triangle),
            map(&pair.disparity, low, high),
            map(prediction, low, high),
            map(&errors, 0.0, most_error),
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stereo::UNKNOWN;

    fn read(png: &[u8]) -> RgbImage {
        image::load_from_memory_with_format(png, ImageFormat::Png).unwrap().into_rgb8()
    }

    #[test]
    fn the_pictures_show_the_view_both_maps_on_one_scale_and_the_error() {
        let (height, width) = (4, 8);
        let disparity: Vec<f32> = (0..32).map(|i| if i == 5 { f32::NAN } else { i as f32 }).collect();
        let left: Vec<u8> = (0..96).map(|i| 2 * i as u8).collect();
        let pair = Pair { height, width, left: left.clone(), right: vec![0; 96], disparity, visible: None };
        // Off by three pixels everywhere, and by 40 in one place.
        let prediction: Vec<f32> = (0..32).map(|i| if i == 9 { 49.0 } else { i as f32 + 3.0 }).collect();
        let shown = pair_shown(&pair, &prediction).unwrap();
        assert_eq!((shown.range, shown.most_error), ((0.0, 31.0), 5.0));
        assert!((shown.error - (30.0 * 3.0 + 40.0) / 31.0).abs() < 1e-6, "{}", shown.error);
        let [view, truth, guess, error] = shown.png.each_ref().map(|png| read(png));
        assert_eq!(view.into_raw(), left);
        let colour = |value: f32, most: f32| coloured(&[value], 0.0, most);
        assert_eq!(truth.get_pixel(3, 2).0.to_vec(), colour(19.0, 31.0));
        assert_eq!(guess.get_pixel(3, 2).0.to_vec(), colour(22.0, 31.0));
        assert_eq!(error.get_pixel(3, 2).0.to_vec(), colour(3.0, 5.0));
        assert_eq!(error.get_pixel(1, 1).0.to_vec(), colour(5.0, 5.0));
        assert_eq!((truth.get_pixel(5, 0).0, error.get_pixel(5, 0).0), (UNKNOWN, UNKNOWN));
        assert_eq!(guess.get_pixel(5, 0).0.to_vec(), colour(8.0, 31.0));
        let blank = Pair { disparity: vec![f32::NAN; 32], ..pair };
        assert_eq!(pair_shown(&blank, &prediction), None);
    }

    #[test]
    fn large_pairs_become_small_pictures() {
        let (height, width) = (100, 1024);
        let disparity = vec![7.0; height * width];
        let n = height * width * 3;
        let pair =
            Pair { height, width, left: vec![9; n], right: vec![9; n], disparity: disparity.clone(), visible: None };
        let shown = pair_shown(&pair, &disparity).unwrap();
        assert!(shown.png.iter().all(|png| read(png).dimensions() == (256, 25)));
        assert_eq!((shown.error, shown.most_error), (0.0, 1.0));
    }
}
