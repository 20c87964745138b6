//! The spec of a training from scratch of one discrete network.
//!
//! No preset names a network, so `network.genotype` is the one key that a user must give. What stands there is a text to
//! this crate; whoever trains resolves names and files before the spec is recorded, so that a recorded spec holds the
//! notation itself.

use serde::{Deserialize, Serialize};

use super::checks::{Bad, count, float, quoted, real};
use super::sections::{
    ADDED_REDUCTIONS, AugmentSpec, CutoutSchedule, DataSpec, Statistics, WeightsSpec, check_reductions,
};
use super::{Spec, Top, lines, section};
use crate::presets::{Preset, TRAIN};

#[cfg(test)]
mod tests;

/// All values of a training from scratch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainSpec {
    /// [`TrainSpec::KIND`], as it stands in the file.
    pub kind: String,
    /// Name of the preset that the spec was based on; a record, read only while a spec is put together.
    pub preset: String,
    /// Seed of all random streams; at most 2^63 - 1, the largest whole number of TOML.
    pub seed: u64,
    /// Which images, and how many are held out.
    pub data: TrainDataSpec,
    /// How training images are changed at random.
    pub augment: AugmentSpec,
    /// Which network.
    pub network: TrainNetworkSpec,
    /// Length, batch, loss and what chooses the result.
    pub train: TrainLoopSpec,
    /// The optimiser of the network weights: SGD.
    pub weights: WeightsSpec,
}

/// Section `[data]` of a training: which images, and how many are held out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainDataSpec {
    /// Which images.
    #[serde(flatten)]
    pub images: DataSpec,
    /// Fraction of the training images, the last ones, that is held out to choose the best epoch; 0: none, and the result
    /// is the last epoch.
    pub valid_fraction: f64,
}

/// Section `[network]` of a training: which network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainNetworkSpec {
    /// The cells, in the notation of the DARTS code; a user may name a known genotype instead, such as `DARTS_V2`.
    pub genotype: String,
    /// Channels of the first cell.
    pub channels: usize,
    /// Number of cells.
    pub cells: usize,
    /// Whether a second classifier after two thirds of the cells, the auxiliary head, takes part in the training.
    pub auxiliary: bool,
    /// The cells that reduce, counted from 0; none named: those at a third and at two thirds.
    pub reductions: Vec<usize>,
}

/// Section `[train]`: length, batch, loss and what chooses the result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainLoopSpec {
    /// Number of epochs.
    pub epochs: usize,
    /// Images in a batch.
    pub batch: usize,
    /// What the loss of the auxiliary head is multiplied by before it is added to that of the network.
    pub auxiliary_weight: f64,
    /// Drop path probability p: epoch e of n, counted from 0, has p * e / n.
    pub drop_path: f64,
    /// Part of the target that is shared out over all classes alike; 0: none.
    pub label_smoothing: f64,
    /// Decay, at each step, of an exponential average of the weights, which is evaluated in their place; 0: none. After t
    /// steps it is at most (1 + t) / (10 + t), or the average would begin with the initial weights for long.
    pub ema: f64,
    /// The loss of an image is weighted with the frequency of its class to the power of minus this; 0: all alike, 1: all
    /// classes have the same weight in total.
    pub class_weights: f64,
    /// Whether the classes are drawn equally often; epochs keep their length.
    pub balanced: bool,
    /// Epochs without a better held-out accuracy after which the training ends; 0: never.
    pub patience: usize,
}

impl Spec for TrainSpec {
    const KIND: &'static str = "train";
    const PRESETS: &'static [Preset] = TRAIN;
    const CHOICES: &'static [(&'static str, &'static [&'static str])] = &[
        ("kind", &[Self::KIND]),
        ("data.statistics", Statistics::NAMES),
        ("augment.cutout_schedule", CutoutSchedule::NAMES),
    ];
    const ADDED: &'static [&'static [(&'static str, &'static str)]] = &[ADDED_REDUCTIONS];
    const EXAMPLE: &'static str = "train.epochs=20";
    const HAS_CHECKPOINTS: bool = true;

    fn data(&self) -> Option<&DataSpec> {
        Some(&self.data.images)
    }

    fn to_toml(&self) -> String {
        let mut out = String::from("# A training of rdarts, complete: every value that can change its result.\n\n");
        let top = Top { kind: Self::KIND, preset: &self.preset, seed: self.seed };
        out.push_str(&lines(&top));
        section(&mut out, "data", "Which images, and how many are held out.", &self.data);
        section(&mut out, "augment", "How training images are changed at random; lengths in pixels.", &self.augment);
        section(&mut out, "network", "Which network.", &self.network);
        section(&mut out, "train", "Length, batch, loss and what chooses the result.", &self.train);
        section(&mut out, "weights", "SGD on the network weights.", &self.weights);
        out
    }

    fn check(&self) -> Result<(), Bad> {
        // Upper limits of counts keep a slip of the finger from asking for more memory than any machine has.
        count("seed", self.seed, 0..=i64::MAX as u64)?;
        self.data.images.check()?;
        real("data.valid_fraction", self.data.valid_fraction, 0.0..1.0)?;
        self.augment.check()?;
        if self.network.genotype.trim().is_empty() {
            let wanted =
                "a genotype in the notation of DARTS or the name of one, such as DARTS_V2, and no preset has one";
            let value = quoted(&self.network.genotype);
            return Err(Bad { key: "network.genotype", value, wanted: wanted.to_string() });
        }
        count("network.channels", self.network.channels as u64, 1..=4096)?;
        count("network.cells", self.network.cells as u64, 1..=1000)?;
        check_reductions(&self.network.reductions, self.network.cells)?;
        count("train.epochs", self.train.epochs as u64, 1..=1_000_000)?;
        // Batch statistics of a single image have no variance to speak of, hence two.
        count("train.batch", self.train.batch as u64, 2..=65_536)?;
        real("train.auxiliary_weight", self.train.auxiliary_weight, 0.0..)?;
        real("train.drop_path", self.train.drop_path, 0.0..1.0)?;
        real("train.label_smoothing", self.train.label_smoothing, 0.0..1.0)?;
        real("train.ema", self.train.ema, 0.0..1.0)?;
        // Of classes of 1 and of a million images, higher powers leave single precision.
        real("train.class_weights", self.train.class_weights, 0.0..=4.0)?;
        if self.train.balanced && self.train.class_weights > 0.0 {
            let wanted = "0 while `train.balanced` is true, which makes all classes count alike already";
            let value = float(self.train.class_weights);
            return Err(Bad { key: "train.class_weights", value, wanted: wanted.to_string() });
        }
        count("train.patience", self.train.patience as u64, 0..=1_000_000)?;
        if self.train.patience > 0 && self.data.valid_fraction == 0.0 {
            let wanted = format!(
                "0 while `data.valid_fraction` is {}, since it waits for the accuracy on held-out images",
                float(self.data.valid_fraction)
            );
            return Err(Bad { key: "train.patience", value: self.train.patience.to_string(), wanted });
        }
        self.weights.check()
    }
}
