//! The spec of a training from scratch of one network that estimates disparity.
//!
//! As in a training for classification, no preset names a network: `network.genotype` is a text to this crate, which whoever
//! trains resolves before the spec is recorded.

use serde::{Deserialize, Serialize};

use super::checks::{Bad, count, float, positive, quoted, real};
use super::sections::DataSpec;
use super::stereo::{PairsSpec, StereoAugmentSpec, check_windows};
use super::{Spec, Top, lines, section};
use crate::presets::{DISPARITY_TRAIN, Preset};

/// All values of a training for disparity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DisparityTrainSpec {
    /// [`DisparityTrainSpec::KIND`], as it stands in the file.
    pub kind: String,
    /// Name of the preset that the spec was based on; a record, read only while a spec is put together.
    pub preset: String,
    /// Seed of all random streams; at most 2^63 - 1, the largest whole number of TOML.
    pub seed: u64,
    /// Which pairs, how many are held out, and how many are tested.
    pub data: StereoTrainDataSpec,
    /// How training pairs are changed at random.
    pub augment: StereoAugmentSpec,
    /// Which network.
    pub network: DisparityTrainNetworkSpec,
    /// Length, batch and windows.
    pub train: DisparityTrainLoopSpec,
    /// The optimiser of the network weights: Adam.
    pub weights: AdamSpec,
}

/// Section `[data]` of a training for disparity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StereoTrainDataSpec {
    /// Which pairs.
    #[serde(flatten)]
    pub pairs: PairsSpec,
    /// Fraction of the training pairs, the last ones, that is held out to choose the best epoch; 0: none, and the result is
    /// the last epoch.
    pub valid_fraction: f64,
    /// Number of synthetic scenes to test on.
    pub test_pairs: usize,
    /// Number of test pairs that are looked at, the first ones; 0: all.
    pub test_limit: usize,
}

/// Section `[network]` of a training for disparity: which network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DisparityTrainNetworkSpec {
    /// The three cells; a user may name a known genotype instead, such as `AutoDispNet`.
    pub genotype: String,
    /// Channels of the last cell of the decoder; all others are multiples.
    pub channels: usize,
    /// Channels of the stem's first convolution; its second has twice as many. 0: twice `channels`.
    pub stem: usize,
    /// The largest shift of the correlation, in pixels of an eighth of the size; 0: a quarter of the windows' width there.
    pub displacement: usize,
}

/// Section `[train]` of a training for disparity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DisparityTrainLoopSpec {
    /// Number of epochs.
    pub epochs: usize,
    /// Pairs in a batch.
    pub batch: usize,
    /// Rows of the windows that are trained on.
    pub crop_height: usize,
    /// Columns of these windows.
    pub crop_width: usize,
    /// Epochs without a smaller held-out error after which the training ends; 0: never.
    pub patience: usize,
}

/// Section `[weights]` of a training for disparity: Adam.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdamSpec {
    /// Learning rate of the first epoch.
    pub lr: f64,
    /// Learning rate that the cosine ends at.
    pub lr_min: f64,
    /// Decay of the mean of the gradient.
    pub beta1: f64,
    /// Decay of the mean of its square.
    pub beta2: f64,
    /// L2 factor (weight decay).
    pub l2: f64,
    /// Largest global norm of the gradient.
    pub clip: f64,
}

impl Spec for DisparityTrainSpec {
    const KIND: &'static str = "disparity-training";
    const PRESETS: &'static [Preset] = DISPARITY_TRAIN;
    const CHOICES: &'static [(&'static str, &'static [&'static str])] = &[("kind", &[Self::KIND])];
    const ADDED: &'static [&'static [(&'static str, &'static str)]] = &[];
    const EXAMPLE: &'static str = "train.epochs=20";
    const HAS_CHECKPOINTS: bool = true;

    fn data(&self) -> Option<&DataSpec> {
        None
    }

    fn to_toml(&self) -> String {
        let mut out =
            String::from("# A training of rdarts for disparity, complete: every value that can change its result.\n\n");
        let top = Top { kind: Self::KIND, preset: &self.preset, seed: self.seed };
        out.push_str(&lines(&top));
        section(&mut out, "data", "Which pairs, how many are held out, and how many are tested.", &self.data);
        section(&mut out, "augment", "How training pairs are changed at random.", &self.augment);
        section(&mut out, "network", "Which network.", &self.network);
        section(&mut out, "train", "Length, batch and windows.", &self.train);
        section(&mut out, "weights", "Adam on the network weights.", &self.weights);
        out
    }

    fn check(&self) -> Result<(), Bad> {
        count("seed", self.seed, 0..=i64::MAX as u64)?;
        self.data.pairs.check()?;
        real("data.valid_fraction", self.data.valid_fraction, 0.0..1.0)?;
        count("data.test_pairs", self.data.test_pairs as u64, 1..=1_000_000)?;
        self.augment.check()?;
        if self.network.genotype.trim().is_empty() {
            let wanted = "a genotype for disparity or the name of one, such as AutoDispNet, and no preset has one";
            let value = quoted(&self.network.genotype);
            return Err(Bad { key: "network.genotype", value, wanted: wanted.to_string() });
        }
        count("network.channels", self.network.channels as u64, 1..=1024)?;
        count("network.stem", self.network.stem as u64, 0..=4096)?;
        count("network.displacement", self.network.displacement as u64, 0..=1024)?;
        count("train.epochs", self.train.epochs as u64, 1..=1_000_000)?;
        count("train.batch", self.train.batch as u64, 1..=4096)?;
        let windows = [("train.crop_height", self.train.crop_height), ("train.crop_width", self.train.crop_width)];
        check_windows(windows, 64)?;
        count("train.patience", self.train.patience as u64, 0..=1_000_000)?;
        if self.train.patience > 0 && self.data.valid_fraction == 0.0 {
            let wanted = "0 while `data.valid_fraction` is 0.0, since it waits for the error on held-out pairs";
            let value = self.train.patience.to_string();
            return Err(Bad { key: "train.patience", value, wanted: wanted.to_string() });
        }
        self.weights.check()
    }
}

impl AdamSpec {
    fn check(&self) -> Result<(), Bad> {
        real("weights.lr", self.lr, positive())?;
        real("weights.lr_min", self.lr_min, 0.0..)?;
        if self.lr_min > self.lr {
            let wanted = format!("at most `weights.lr`, which is {}", float(self.lr));
            return Err(Bad { key: "weights.lr_min", value: float(self.lr_min), wanted });
        }
        real("weights.beta1", self.beta1, 0.0..1.0)?;
        real("weights.beta2", self.beta2, 0.0..1.0)?;
        real("weights.l2", self.l2, 0.0..)?;
        real("weights.clip", self.clip, positive())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DisparitySearchSpec;
    use crate::spec::tests::Sets;

    fn resolved(preset: &str, overrides: &[&str]) -> Result<DisparityTrainSpec, String> {
        let genotype = ["network.genotype=\"AutoDispNet\""];
        let overrides: Vec<String> = genotype.iter().chain(overrides).map(|text| text.to_string()).collect();
        DisparityTrainSpec::resolve_text(Some(preset), None, &overrides, &Sets).map_err(|e| e.to_string())
    }

    #[test]
    fn presets_are_complete_and_specs_are_read_back() {
        for preset in DISPARITY_TRAIN {
            let spec = resolved(preset.name, &[]).unwrap();
            assert_eq!(DisparityTrainSpec::from_complete("spec", &spec.to_toml()).unwrap(), spec);
            let searched = DisparitySearchSpec::resolve_text(None, None, &[], &Sets).unwrap();
            assert_eq!(DisparitySearchSpec::from_complete("spec", &searched.to_toml()).unwrap(), searched);
        }
        let nameless = DisparityTrainSpec::resolve_text(None, None, &[], &Sets).unwrap_err().to_string();
        assert!(nameless.contains("`network.genotype` is \"\"") && nameless.contains("AutoDispNet"), "{nameless}");
    }

    #[test]
    fn what_cannot_be_trained_is_named_with_its_key() {
        for (text, expected) in [
            ("train.crop_width=96", "a multiple of 64"),
            ("train.patience=2", "data.valid_fraction"),
            ("weights.lr_min=1.0", "at most `weights.lr`"),
            ("weights.momentum=0.9", "unknown key `weights.momentum`"),
            ("data.size=3", "unknown key `data.size`"),
            ("weights.beta1=1.0", "`weights.beta1` is 1.0"),
        ] {
            let found = resolved("disparity-train", &[text, "data.valid_fraction=0.0"]).unwrap_err();
            assert!(found.contains(expected), "{text}: {found}");
        }
    }
}
