//! The sections that several kinds of specs have: images, their augmentation, the weights' optimiser.

use std::ops::Bound;

use serde::{Deserialize, Serialize};

use super::DataSets;
use super::checks::{Bad, count, float, named, positive, real};
use super::choice::choice;

/// Of section `[data]`, what every kind of run has: which images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataSpec {
    /// Name of the data set.
    pub name: String,
    /// Directory of the data set; empty: search the usual places.
    pub dir: String,
    /// Side of the squares that images are made into, in pixels; 0: those of a named data set as they are, those of a
    /// folder as they decide. A named set is made smaller only, by the mean of the area that each pixel covers; the
    /// padding of the crop in a preset then shrinks in proportion, and the statistics are those of the smaller images.
    pub size: usize,
    /// Values per pixel of a folder's images, 1 or 3; 0: 1 if all of them are gray.
    pub channels: usize,
    /// Fraction of each class of a folder that is kept for tests, if it has no directory for them.
    pub test_fraction: f64,
    /// Seed of the order of a folder's images, and so of what is kept for tests.
    pub split_seed: u64,
    /// File of a folder's decoded images; `auto`: in the user's caches; empty: only if they do not fit into memory.
    pub cache: String,
    /// Where mean and deviation for the normalization come from.
    pub statistics: Statistics,
    /// Number of training images used; 0: all.
    pub limit: usize,
}

/// Section `[augment]`: how training images are changed at random.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AugmentSpec {
    /// Padding before the random crop, in pixels; 0: no crop.
    pub crop_padding: usize,
    /// Whether images are flipped left to right with probability one half.
    pub flip: bool,
    /// Side of the square that Cutout blanks, in pixels; 0: no Cutout.
    pub cutout_length: usize,
    /// Largest probability of Cutout for one image.
    pub cutout_prob: f64,
    /// How the probability of Cutout grows over the epochs.
    pub cutout_schedule: CutoutSchedule,
}

/// Section `[weights]`: the optimiser of the network weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightsSpec {
    /// Learning rate of the first epoch.
    pub lr: f64,
    /// Learning rate that the cosine ends at.
    pub lr_min: f64,
    /// Momentum of SGD.
    pub momentum: f64,
    /// L2 factor (weight decay).
    pub l2: f64,
    /// Largest global norm of the gradient.
    pub clip: f64,
}

choice!(
    /// Where mean and deviation for the normalization come from.
    Statistics {
        /// The constants of the papers' code where it has some and the images have their own size, else computed.
        Published = "published",
        /// From the training images.
        Computed = "computed",
    }
);

choice!(
    /// How the probability of Cutout grows over the epochs.
    CutoutSchedule {
        /// From 0 in the first epoch to `cutout_prob` in the last.
        Linear = "linear",
        /// `cutout_prob` from the first epoch on.
        Constant = "constant",
    }
);

/// Where networks reduce, of specs from before it could be said.
pub(super) const ADDED_REDUCTIONS: &[(&str, &str)] = &[("network.reductions", "[]")];

/// Key `network.reductions`: cells of a network of so many, in their order.
pub(super) fn check_reductions(reductions: &[usize], cells: usize) -> Result<(), Bad> {
    // Each doubles the channels and halves the side; ten make one pixel of the largest images.
    let is_right = reductions.len() <= 10
        && reductions.iter().all(|&at| at < cells)
        && reductions.is_sorted_by(|before, at| before < at);
    if is_right {
        return Ok(());
    }
    let wanted = format!(
        "at most 10 different cells in their order, counted from 0 to {}, or [] for those at a third and two thirds",
        cells - 1
    );
    Err(Bad { key: "network.reductions", value: format!("{reductions:?}"), wanted })
}

impl DataSpec {
    /// Forgets what may differ between two machines: the directory and the cache.
    pub fn clear_places(&mut self) {
        self.dir.clear();
        self.cache.clear();
    }

    pub(super) fn check(&self) -> Result<(), Bad> {
        named("data.name", &self.name)?;
        if ![0, 1, 3].contains(&self.channels) {
            let wanted = "1 for gray, 3 for colour, or 0 to decide it from the images".to_string();
            return Err(Bad { key: "data.channels", value: self.channels.to_string(), wanted });
        }
        if self.size != 0 {
            count("data.size", self.size as u64, 8..=1024)?;
        }
        real("data.test_fraction", self.test_fraction, (Bound::Excluded(0.0), Bound::Excluded(1.0)))?;
        count("data.split_seed", self.split_seed, 0..=i64::MAX as u64)
    }

    /// Whether the data set can be had in this shape.
    pub(super) fn check_shape(&self, sets: &dyn DataSets) -> Result<(), Bad> {
        if self.channels != 0 && !sets.has_free_channels(&self.name) {
            let wanted = "0, since only the images of a folder are made gray or coloured".to_string();
            return Err(Bad { key: "data.channels", value: self.channels.to_string(), wanted });
        }
        match sets.side(&self.name) {
            Some(side) if self.size != 0 && !(8..=side).contains(&self.size) => {
                let name = &self.name;
                let wanted =
                    format!("a whole number from 8 to {side}, the side of the images of {name}, or 0 for that");
                Err(Bad { key: "data.size", value: self.size.to_string(), wanted })
            }
            _ => Ok(()),
        }
    }
}

impl AugmentSpec {
    pub(super) fn check(&self) -> Result<(), Bad> {
        count("augment.crop_padding", self.crop_padding as u64, 0..=1024)?;
        count("augment.cutout_length", self.cutout_length as u64, 0..=1024)?;
        real("augment.cutout_prob", self.cutout_prob, 0.0..=1.0)
    }
}

impl WeightsSpec {
    pub(super) fn check(&self) -> Result<(), Bad> {
        real("weights.lr", self.lr, positive())?;
        real("weights.lr_min", self.lr_min, 0.0..)?;
        if self.lr_min > self.lr {
            let wanted = format!("at most `weights.lr`, which is {}", float(self.lr));
            return Err(Bad { key: "weights.lr_min", value: float(self.lr_min), wanted });
        }
        real("weights.momentum", self.momentum, 0.0..1.0)?;
        real("weights.l2", self.l2, 0.0..)?;
        real("weights.clip", self.clip, positive())
    }
}
