//! From the bytes of one image to the normalized, augmented floats that a network sees.
//!
//! In this order, as in the DARTS code: random crop with zero padding, horizontal flip, normalization
//! (x/255 - mean)/std, Cutout. The padding is of raw pixels, so a padded pixel is black, (0 - mean)/std, and
//! not 0; Cutout comes after normalization and its pixels are 0. An image keeps its size.
//!
//! All draws of an image come from one stream and are always drawn, all six, so turning one transformation
//! on or off, or raising the Cutout probability during a search, never changes another.

use std::ops::Range;

use rdarts_rng::Stream;

use crate::error::DataError;
use crate::statistics::{Norm, blacken, normalize};

/// Random transformations of an image. Values that come from a user go through [`Augment::check`] first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Augment {
    /// Black pixels added on each side before a crop of the image's own size; 0 crops nothing.
    pub crop_padding: usize,
    /// Whether half of the images are mirrored left to right.
    pub flip: bool,
    /// Side in pixels of the square that Cutout sets to 0, clipped at the border.
    pub cutout_length: usize,
    /// Probability that an image gets a Cutout; 0 turns it off.
    pub cutout_prob: f64,
}

impl Augment {
    /// No change to any image.
    pub const NONE: Self = Self { crop_padding: 0, flip: false, cutout_length: 0, cutout_prob: 0.0 };

    /// An error if these values make no sense for images of this size.
    pub fn check(&self, height: usize, width: usize) -> Result<(), DataError> {
        if !(0.0..=1.0).contains(&self.cutout_prob) {
            return Err(DataError::CutoutProbability(self.cutout_prob));
        }
        if self.crop_padding > 0 && self.crop_padding >= height.min(width) {
            return Err(DataError::CropPadding { padding: self.crop_padding, height, width });
        }
        Ok(())
    }
}

/// What one image's stream decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Draw {
    /// Place of the crop's upper left pixel in the padded image.
    crop: (usize, usize),
    flip: bool,
    /// Center of the Cutout square.
    cutout: Option<(usize, usize)>,
}

impl Draw {
    /// The draws of image number `index` of the stream `name`.
    pub(crate) fn new(augment: &Augment, height: usize, width: usize, seed: u64, name: &str, index: u64) -> Self {
        let mut stream = Stream::new(seed, name, index);
        let n_offsets = 2 * augment.crop_padding + 1;
        let crop = (stream.below(n_offsets), stream.below(n_offsets));
        let flip = stream.chance(0.5);
        let with_cutout = stream.chance(augment.cutout_prob);
        let center = (stream.below(height), stream.below(width));
        Self { crop, flip: augment.flip && flip, cutout: with_cutout.then_some(center) }
    }
}

impl Draw {
    /// No change.
    pub(crate) const NONE: Self = Self { crop: (0, 0), flip: false, cutout: None };

    /// What is done with image number `of`, for whoever makes it elsewhere.
    pub(crate) fn record(&self, of: u32, augment: &Augment, height: usize, width: usize) -> Record {
        let of_center = |(y, x)| [square(y, augment.cutout_length, height), square(x, augment.cutout_length, width)];
        let [rows, columns] = self.cutout.map_or([0..0, 0..0], of_center);
        let number = |value: usize| u32::try_from(value).expect("an image has fewer than 2^32 rows and columns");
        let [top, bottom, left, right] = [rows.start, rows.end, columns.start, columns.end].map(number);
        [of, number(self.crop.0), number(self.crop.1), u32::from(self.flip), top, bottom, left, right]
    }
}

/// What is done with an image: 0 which one, 1 and 2 row and column of the crop's first pixel in the padded image, 3 whether it
/// is mirrored after that, 4 to 7 the rows and the columns that Cutout sets to zero, the first of each and the one behind the
/// last.
pub type Record = [u32; 8];

/// Crops, flips, normalizes and cuts one image of `width` pixels a row as `draw` says.
pub(crate) fn transform(raw: &[u8], width: usize, norm: &Norm, augment: &Augment, draw: Draw, out: &mut [f32]) {
    let n_channels = norm.channels();
    let row_len = width * n_channels;
    let height = raw.len() / row_len;
    let padding = augment.crop_padding;
    for (y, out_row) in out.chunks_exact_mut(row_len).enumerate() {
        // The rows and columns of the output that lie within the image; the rest is padding.
        let columns = inside(draw.crop.1, padding, width);
        let rows = inside(draw.crop.0, padding, height);
        if rows.contains(&y) && !columns.is_empty() {
            let raw_y = y + draw.crop.0 - padding;
            let raw_x = columns.start + draw.crop.1 - padding;
            let start = raw_y * row_len + raw_x * n_channels;
            let (left, rest) = out_row.split_at_mut(columns.start * n_channels);
            let (middle, right) = rest.split_at_mut(columns.len() * n_channels);
            normalize(&raw[start..start + middle.len()], norm, middle);
            blacken(left, norm);
            blacken(right, norm);
        } else {
            blacken(out_row, norm);
        }
        if draw.flip {
            mirror(out_row, n_channels);
        }
    }
    if let Some((center_y, center_x)) = draw.cutout {
        let columns = square(center_x, augment.cutout_length, width);
        for y in square(center_y, augment.cutout_length, height) {
            let row = y * row_len;
            out[row + columns.start * n_channels..row + columns.end * n_channels].fill(0.0);
        }
    }
}

/// The places of 0..n that show image and not padding when the crop begins at `offset`.
fn inside(offset: usize, padding: usize, n: usize) -> Range<usize> {
    let start = padding.saturating_sub(offset).min(n);
    let end = (n + padding).saturating_sub(offset).min(n);
    start..end.max(start)
}

/// The places of 0..n that a square covers. An even length reaches from -length/2 to length/2 - 1, as in
/// the DARTS code, which would make an odd length one shorter.
fn square(center: usize, length: usize, n: usize) -> Range<usize> {
    let before = length / 2;
    center.saturating_sub(before)..center.saturating_add(length - before).min(n)
}

fn mirror(row: &mut [f32], n_channels: usize) {
    // Reversing everything and then each pixel mirrors the pixels and keeps their channels in order.
    row.reverse();
    if n_channels > 1 {
        row.chunks_exact_mut(n_channels).for_each(<[f32]>::reverse);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn raw(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 37 % 255 + 1) as u8).collect()
    }

    fn norm(n_channels: usize) -> Norm {
        let mean: Vec<f32> = (0..n_channels).map(|c| 0.2 + 0.1 * c as f32).collect();
        Norm::new(&mean, &vec![0.35; n_channels])
    }

    /// The definition, pixel by pixel: pad, crop, flip, normalize, cut.
    fn reference(raw: &[u8], (h, w, c): (usize, usize, usize), norm: &Norm, augment: &Augment, draw: Draw) -> Vec<f32> {
        let p = augment.crop_padding;
        let mut padded = vec![0u8; (h + 2 * p) * (w + 2 * p) * c];
        for (i, &value) in raw.iter().enumerate() {
            let (y, x, channel) = (i / (w * c), i / c % w, i % c);
            padded[((y + p) * (w + 2 * p) + x + p) * c + channel] = value;
        }
        let mut out = Vec::new();
        for (y, x, channel) in (0..h * w * c).map(|i| (i / (w * c), i / c % w, i % c)) {
            let from_x = draw.crop.1 + if draw.flip { w - 1 - x } else { x };
            let value = padded[((y + draw.crop.0) * (w + 2 * p) + from_x) * c + channel];
            let half = augment.cutout_length as i64 / 2;
            let covered = |at: usize, center: usize| {
                let distance = at as i64 - center as i64;
                -half <= distance && distance < augment.cutout_length as i64 - half
            };
            let is_cut = draw.cutout.is_some_and(|(cy, cx)| covered(y, cy) && covered(x, cx));
            out.push(if is_cut { 0.0 } else { norm.table[channel][usize::from(value)] });
        }
        out
    }

    #[test]
    fn crops_reach_every_offset_and_cutouts_every_pixel() {
        let augment = Augment { crop_padding: 2, flip: true, cutout_length: 3, cutout_prob: 1.0 };
        let draws: Vec<Draw> = (0..3000).map(|i| Draw::new(&augment, 6, 7, 1, "augment-train", i)).collect();
        let crops: HashSet<_> = draws.iter().map(|draw| draw.crop).collect();
        let centers: HashSet<_> = draws.iter().filter_map(|draw| draw.cutout).collect();
        assert_eq!(crops.len(), 25);
        assert!(crops.iter().all(|&(y, x)| y < 5 && x < 5));
        assert_eq!(centers.len(), 42);
        let n_flips = draws.iter().filter(|draw| draw.flip).count();
        assert!((1350..1650).contains(&n_flips), "{n_flips}");
    }

    #[test]
    fn turning_one_transformation_on_changes_no_other() {
        let all = Augment { crop_padding: 2, flip: true, cutout_length: 3, cutout_prob: 0.4 };
        let mut n_cutouts = 0;
        for i in 0..500 {
            let draw = |augment: &Augment| Draw::new(augment, 6, 7, 1, "augment-train", i);
            assert_eq!(draw(&Augment { flip: false, ..all }), Draw { flip: false, ..draw(&all) });
            assert_eq!(draw(&Augment { cutout_prob: 0.0, ..all }), Draw { cutout: None, ..draw(&all) });
            assert_eq!(draw(&Augment { crop_padding: 0, ..all }), Draw { crop: (0, 0), ..draw(&all) });
            n_cutouts += usize::from(draw(&all).cutout.is_some());
        }
        assert!((160..240).contains(&n_cutouts), "{n_cutouts}");
    }

    #[test]
    fn a_padded_pixel_is_black_and_not_zero() {
        let norm = norm(1);
        let augment = Augment { crop_padding: 1, ..Augment::NONE };
        let mut out = vec![9.0; 4];
        transform(&[255; 4], 2, &norm, &augment, Draw { crop: (0, 2), flip: false, cutout: None }, &mut out);
        let (black, white) = (norm.table[0][0], norm.table[0][255]);
        assert_eq!(out, [black, black, white, black]);
        assert!(black < -0.5);
    }

    #[test]
    fn a_crop_beside_the_image_is_black() {
        let norm = norm(1);
        let augment = Augment { crop_padding: 6, ..Augment::NONE };
        for crop in [(0, 6), (6, 0), (6, 12), (12, 6), (12, 12)] {
            let mut out = vec![9.0; 3];
            transform(&[255; 3], 1, &norm, &augment, Draw { crop, flip: false, cutout: None }, &mut out);
            assert_eq!(out, [norm.table[0][0]; 3], "{crop:?}");
        }
    }

    #[test]
    fn a_cutout_covers_its_square_clipped_at_the_border() {
        let norm = norm(3);
        let cut = |length, center| {
            let augment = Augment { cutout_length: length, cutout_prob: 1.0, ..Augment::NONE };
            let mut out = vec![9.0; 8 * 8 * 3];
            let draw = Draw { crop: (0, 0), flip: false, cutout: Some(center) };
            transform(&raw(8 * 8 * 3), 8, &norm, &augment, draw, &mut out);
            out.chunks(3).filter(|pixel| pixel.iter().all(|&x| x == 0.0)).count()
        };
        assert_eq!(cut(4, (4, 4)), 16);
        assert_eq!(cut(3, (4, 4)), 9);
        assert_eq!(cut(4, (0, 0)), 4);
        assert_eq!(cut(4, (7, 4)), 3 * 4);
        assert_eq!(cut(0, (4, 4)), 0);
        assert_eq!(cut(usize::MAX, (3, 3)), 64);
    }

    #[test]
    fn values_that_make_no_sense_are_sentences() {
        let message = |augment: Augment| augment.check(28, 32).unwrap_err().to_string();
        for cutout_prob in [-0.1, 1.1, f64::NAN] {
            let expected = format!("the cutout probability {cutout_prob} should lie between 0 and 1");
            assert_eq!(message(Augment { cutout_prob, ..Augment::NONE }), expected);
        }
        assert_eq!(
            message(Augment { crop_padding: 28, ..Augment::NONE }),
            "the crop padding of 28 pixels should be smaller than the images of 28x32"
        );
        assert!(Augment { crop_padding: 27, flip: true, cutout_length: 99, cutout_prob: 1.0 }.check(28, 32).is_ok());
        assert!(Augment::NONE.check(0, 0).is_ok());
    }

    proptest! {
        #[test]
        fn every_transformation_is_the_one_defined(
            h in 1usize..9, w in 1usize..9, c in 1usize..5, padding in 0usize..12, flip in any::<bool>(),
            cutout_length in 0usize..12, prob in 0.0f64..=1.0, index in any::<u64>(),
        ) {
            let augment = Augment { crop_padding: padding, flip, cutout_length, cutout_prob: prob };
            let (raw, norm) = (raw(h * w * c), norm(c));
            let draw = Draw::new(&augment, h, w, 3, "augment-valid", index);
            let mut out = vec![9.0; raw.len()];
            transform(&raw, w, &norm, &augment, draw, &mut out);
            prop_assert_eq!(out, reference(&raw, (h, w, c), &norm, &augment, draw));
        }

        #[test]
        fn no_augmentation_is_plain_normalization(
            h in 1usize..9, w in 1usize..9, c in 1usize..5, index in any::<u64>(),
        ) {
            let (raw, norm) = (raw(h * w * c), norm(c));
            let (mut out, mut plain) = (vec![9.0; raw.len()], vec![8.0; raw.len()]);
            let draw = Draw::new(&Augment::NONE, h, w, 3, "augment-train", index);
            transform(&raw, w, &norm, &Augment::NONE, draw, &mut out);
            normalize(&raw, &norm, &mut plain);
            prop_assert_eq!(out, plain);
        }

        #[test]
        fn two_flips_are_none(w in 1usize..9, c in 1usize..5) {
            let original: Vec<f32> = (0..w * c).map(|i| i as f32).collect();
            let mut row = original.clone();
            mirror(&mut row, c);
            prop_assert!(w < 2 || row != original);
            prop_assert_eq!(&row[..c], &original[(w - 1) * c..]);
            mirror(&mut row, c);
            prop_assert_eq!(row, original);
        }
    }
}
