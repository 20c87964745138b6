//! What pairs are like: sizes, how much of the ground truth is known, how well it matches the views.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::open::doubt;
use crate::error::DataError;
use crate::sets::stereo::Pairs;

/// Numbers of some pairs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StereoFacts {
    /// Pairs that were read.
    pub n: usize,
    /// How many of each height and width.
    pub sizes: BTreeMap<(usize, usize), usize>,
    /// Pixels.
    pub n_pixels: usize,
    /// Pixels whose disparity is known.
    pub n_valid: usize,
    /// Pixels of these that the right view shows, and of how many that is known.
    pub n_visible: Option<(usize, usize)>,
    /// The smallest and the largest disparity.
    pub range: Option<(f32, f32)>,
    /// The mean disparity.
    pub mean: Option<f64>,
    /// The mean difference of the views in steps of 255, before and after warping, over pairs; of visible pixels where it
    /// is known which are.
    pub photo: Option<(f64, f64)>,
    /// Sentences on pairs that are odd.
    pub doubts: Vec<String>,
}

impl StereoFacts {
    /// Of `most` pairs, evenly apart, or of all if they are fewer.
    pub fn of(pairs: &Pairs, most: usize) -> Result<Self, DataError> {
        let n = pairs.n().min(most);
        let indices: Vec<usize> = (0..n).map(|i| i * pairs.n() / n).collect();
        let made = indices.par_iter().map(|&i| Self::of_one(pairs, i)).collect::<Vec<_>>();
        let mut all = Self::default();
        let (mut sum, mut photo, mut n_photo) = (0.0, (0.0, 0.0), 0usize);
        for one in made {
            let one = one?;
            all.n += 1;
            all.n_pixels += one.n_pixels;
            all.n_valid += one.n_valid;
            one.sizes.into_iter().for_each(|(size, n)| *all.sizes.entry(size).or_default() += n);
            if let Some((visible, of)) = one.n_visible {
                let (all_visible, all_of) = all.n_visible.unwrap_or_default();
                all.n_visible = Some((all_visible + visible, all_of + of));
            }
            if let (Some((low, high)), Some(mean)) = (one.range, one.mean) {
                let (all_low, all_high) = all.range.unwrap_or((low, high));
                all.range = Some((low.min(all_low), high.max(all_high)));
                sum += mean * one.n_valid as f64;
            }
            if let Some((unwarped, warped)) = one.photo {
                (photo, n_photo) = ((photo.0 + unwarped, photo.1 + warped), n_photo + 1);
            }
            all.doubts.extend(one.doubts);
        }
        all.mean = (all.n_valid > 0).then(|| sum / all.n_valid as f64);
        all.photo = (n_photo > 0).then(|| (photo.0 / n_photo as f64, photo.1 / n_photo as f64));
        Ok(all)
    }

    fn of_one(pairs: &Pairs, i: usize) -> Result<Self, DataError> {
        let pair = pairs.pair(i)?;
        let n_valid = pair.n_valid();
        let sum: f64 = pair.disparity.iter().filter(|d| !d.is_nan()).map(|&d| f64::from(d)).sum();
        let n_visible = pair.visible.as_ref().map(|visible| {
            (visible.iter().zip(&pair.disparity).filter(|(visible, d)| **visible && !d.is_nan()).count(), n_valid)
        });
        Ok(Self {
            n: 1,
            sizes: [((pair.height, pair.width), 1)].into(),
            n_pixels: pair.height * pair.width,
            n_valid,
            n_visible,
            range: pair.range(),
            mean: (n_valid > 0).then(|| sum / n_valid as f64),
            photo: pair.photo_error(true).map(|error| (error.unwarped, error.warped)),
            doubts: doubt(&pairs.name_of(i), &pair).into_iter().collect(),
        })
    }
}
