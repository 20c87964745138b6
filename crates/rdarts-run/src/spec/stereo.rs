//! The sections that all runs on stereo pairs have: the pairs, and how they are changed at random.

use serde::{Deserialize, Serialize};

use super::checks::{Bad, count, named, positive, real};

/// Of section `[data]`, what every run on stereo pairs has: which pairs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairsSpec {
    /// Name of the set of pairs.
    pub name: String,
    /// Directory of the set; empty: search the usual places.
    pub dir: String,
    /// Whether pairs are halved in size, disparities with them.
    pub halved: bool,
    /// Height of synthetic scenes in pixels.
    pub height: usize,
    /// Width of synthetic scenes in pixels.
    pub width: usize,
    /// Largest disparity of synthetic scenes in pixels.
    pub max_disparity: f64,
    /// Number of synthetic scenes to train on.
    #[serde(rename = "pairs")]
    pub n_scenes: usize,
    /// Seed of the synthetic scenes.
    pub scenes_seed: u64,
    /// Number of training pairs used; 0: all.
    pub limit: usize,
}

/// Section `[augment]` of a run on stereo pairs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StereoAugmentSpec {
    /// What the variances of all random changes are multiplied by; 0: none but the place of the window.
    pub strength: f64,
}

impl PairsSpec {
    /// Forgets what may differ between two machines: the directory.
    pub fn clear_places(&mut self) {
        self.dir.clear();
    }

    pub(super) fn check(&self) -> Result<(), Bad> {
        named("data.name", &self.name)?;
        count("data.height", self.height as u64, 32..=4096)?;
        count("data.width", self.width as u64, 32..=4096)?;
        real("data.max_disparity", self.max_disparity, positive())?;
        count("data.pairs", self.n_scenes as u64, 2..=1_000_000)?;
        count("data.scenes_seed", self.scenes_seed, 0..=i64::MAX as u64)
    }
}

impl StereoAugmentSpec {
    pub(super) fn check(&self) -> Result<(), Bad> {
        real("augment.strength", self.strength, 0.0..=16.0)
    }
}

/// Whether a network that halves its images down to one of `stride` pixels can be trained on windows of these sides, each
/// with its key.
pub(super) fn check_windows(sides: [(&'static str, usize); 2], stride: usize) -> Result<(), Bad> {
    for (key, side) in sides {
        count(key, side as u64, stride as u64..=8192)?;
        if !side.is_multiple_of(stride) {
            let wanted = format!("a multiple of {stride}, by which the network makes it smaller");
            return Err(Bad { key, value: side.to_string(), wanted });
        }
    }
    Ok(())
}
