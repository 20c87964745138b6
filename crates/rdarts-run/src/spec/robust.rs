//! The spec of a portfolio, R-DARTS: searches that differ in one value, a short training of what each of them finds, the
//! choice of the best on held-out images, and its whole training.
//!
//! The sections of a search are those of [`SearchSpec`] with the same keys, and those of the trainings begin with `train`.
//! What a member of the portfolio or a training is given is a spec of its own kind ([`RobustSpec::search_spec`],
//! [`RobustSpec::train_spec`]), complete and checked as if it stood alone. All trainings hold out the same images, so that
//! their accuracies can be compared.

use std::ops::Bound;

use serde::{Deserialize, Serialize};

use super::checks::{Bad, count, float, real};
use super::choice::choice;
use super::search::{
    ADDED_WITH_METHODS, AlphasSpec, EvalSpec, HessianImages, HessianMode, HessianSpec, LoopSpec, Method, MethodSpec,
    MonitorForm, MonitorSpec, NetworkSpec, Order, SearchDataSpec, SearchSpec, SpaceSpec,
};
use super::sections::{ADDED_REDUCTIONS, AugmentSpec, CutoutSchedule, DataSpec, Statistics, WeightsSpec};
use super::train::{TrainDataSpec, TrainLoopSpec, TrainNetworkSpec, TrainSpec};
use super::{Spec, Top, lines, section};
use crate::presets::{self, Preset, ROBUST, SEARCH, TRAIN};

#[cfg(test)]
mod tests;

/// All values of a portfolio.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RobustSpec {
    /// [`RobustSpec::KIND`], as it stands in the file.
    pub kind: String,
    /// Name of the preset that the spec was based on; a record, read only while a spec is put together.
    pub preset: String,
    /// Seed of all random streams of every search and training, unless the members vary it; at most 2^63 - 1, the largest
    /// whole number of TOML.
    pub seed: u64,
    /// What the members differ in, and how one of them is chosen.
    pub portfolio: PortfolioSpec,
    /// Which images, and how a search splits them.
    pub data: SearchDataSpec,
    /// How a search changes its images at random.
    pub augment: AugmentSpec,
    /// The search space.
    pub space: SpaceSpec,
    /// The size of the supernet.
    pub network: NetworkSpec,
    /// Method, length and batch of a search.
    pub search: LoopSpec,
    /// Settings of a search that belong to one method each.
    pub method: MethodSpec,
    /// The optimiser of the weights of a search: SGD.
    pub weights: WeightsSpec,
    /// The optimiser of the architecture parameters: Adam.
    pub alphas: AlphasSpec,
    /// How the curvature is measured.
    pub hessian: HessianSpec,
    /// When the curvature stops a search or raises its regularisation.
    pub monitor: MonitorSpec,
    /// What a search evaluates at the end of each epoch.
    pub eval: EvalSpec,
    /// How a training changes its images at random.
    pub train_augment: AugmentSpec,
    /// The size of the trained networks.
    pub train_network: RobustNetworkSpec,
    /// Length, batch and loss of the trainings.
    pub train: RobustTrainSpec,
    /// The optimiser of the trainings: SGD.
    pub train_weights: WeightsSpec,
}

/// Section `[portfolio]`: what the members differ in, and how one of them is chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortfolioSpec {
    /// What the members differ in.
    pub vary: Vary,
    /// Its value in each member: the L2 factor of the weights, the drop path probability of the last epoch, or the seed.
    pub values: Vec<f64>,
    /// Side of the square that Cutout blanks in members with drop path, in pixels; 0: no Cutout. Its probability grows
    /// linearly, as that of drop path does. Used only where drop path is varied.
    pub cutout_length: usize,
    /// Fraction of the training images, the last ones, that every training holds out: they choose the member and the epoch.
    pub valid_fraction: f64,
    /// Whether a random cell, one of skip connections alone and one of separable convolutions alone are trained like the
    /// chosen one.
    pub baselines: bool,
    /// Largest number of weights, without those of the auxiliary head, of what may be chosen; 0: any.
    pub max_params: u64,
    /// Largest number of multiply-adds of one image, without the auxiliary head, of what may be chosen; 0: any.
    pub max_macs: u64,
}

/// Section `[train_network]`: the size of the trained networks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RobustNetworkSpec {
    /// Channels of the first cell.
    pub channels: usize,
    /// Number of cells.
    pub cells: usize,
    /// Whether a second classifier after two thirds of the cells, the auxiliary head, takes part in the training.
    pub auxiliary: bool,
    /// The cells that reduce, counted from 0; none named: those at a third and at two thirds.
    pub reductions: Vec<usize>,
}

/// Section `[train]` of a portfolio: length, batch and loss of the trainings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RobustTrainSpec {
    /// Number of epochs of the trainings that choose; all else is as in the whole training.
    pub short_epochs: usize,
    /// The whole training.
    #[serde(flatten)]
    pub whole: TrainLoopSpec,
}

choice!(
    /// What the members of a portfolio differ in.
    Vary {
        /// The L2 factor of the weights in the search: R-DARTS(L2).
        L2 = "l2",
        /// The drop path probability of the search, with Cutout where there is any: R-DARTS(DP); of images alone.
        DropPath = "drop_path",
        /// The strength of the augmentation of the search; of pairs alone.
        Augment = "augment",
        /// The seed of the search.
        Seed = "seed",
    }
);

impl Vary {
    /// What tells the member with a value from the others, such as "L2 0.0009".
    pub(super) fn label(self, value: f64) -> String {
        match self {
            Vary::L2 => format!("L2 {}", float(value)),
            Vary::DropPath => format!("drop path {}", float(value)),
            Vary::Augment => format!("augmentation {}", float(value)),
            Vary::Seed => format!("seed {}", value as u64),
        }
    }

    /// What varies, as sentences say it.
    pub fn in_words(self) -> &'static str {
        match self {
            Vary::L2 => "the L2 factor of the weights",
            Vary::DropPath => "drop path",
            Vary::Augment => "the strength of the augmentation",
            Vary::Seed => "their seed",
        }
    }

    /// Checks the values of the members, which must be different ones of the kind that varies.
    pub(super) fn check(self, values: &[f64]) -> Result<(), Bad> {
        let key = "portfolio.values";
        // As many as fit a table that a person reads.
        if !(1..=100).contains(&values.len()) {
            let value = format!("a list of {}", values.len());
            return Err(Bad { key, value, wanted: "a list of 1 to 100 numbers".to_string() });
        }
        for (i, &value) in values.iter().enumerate() {
            let each = match self {
                // A larger one need not have a place of its own among double-precision numbers.
                Vary::Seed if !(value.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&value)) => {
                    "of whole numbers from 0 to 9007199254740991, such as [1, 2, 3]"
                }
                // An L2 factor would be a probability too, but is hardly meant to be one.
                Vary::DropPath if value != 0.0 && !(0.01..1.0).contains(&value) => {
                    "of which each is 0 or a number at least 0.01 and below 1, such as [0.0, 0.2, 0.4, 0.6]"
                }
                _ if values[..i].contains(&value) => "of different numbers",
                _ => continue,
            };
            return Err(of_values(value, &format!("{each}, while `portfolio.vary` is \"{self}\"")));
        }
        Ok(())
    }
}

impl RobustSpec {
    /// What its members may differ in.
    pub const VARY: &'static [&'static str] = &[Vary::L2.as_str(), Vary::DropPath.as_str(), Vary::Seed.as_str()];

    /// The number of searches.
    pub fn members(&self) -> usize {
        self.portfolio.values.len()
    }

    /// What tells a member from the others, such as "L2 0.0009".
    ///
    /// # Panics
    /// If there is no such member.
    pub fn label(&self, member: usize) -> String {
        self.portfolio.vary.label(self.portfolio.values[member])
    }

    /// The search of a member.
    ///
    /// # Panics
    /// If there is no such member.
    pub fn search_spec(&self, member: usize) -> SearchSpec {
        let value = self.portfolio.values[member];
        let mut spec = self.unvaried();
        match self.portfolio.vary {
            Vary::L2 => spec.weights.l2 = value,
            Vary::DropPath => {
                spec.search.drop_path = value;
                // Section 5.1 of the paper; where drop path is off, its released code takes Cutout away too.
                if value > 0.0 {
                    spec.augment.cutout_length = self.portfolio.cutout_length;
                    spec.augment.cutout_schedule = CutoutSchedule::Linear;
                }
            }
            // Refused where it stands in a spec.
            Vary::Augment => {}
            Vary::Seed => spec.seed = value as u64,
        }
        spec
    }

    /// The training of a genotype, in the notation of the DARTS code: the short one that chooses, or the whole one.
    pub fn train_spec(&self, genotype: &str, short: bool) -> TrainSpec {
        let RobustNetworkSpec { channels, cells, auxiliary, reductions } = self.train_network.clone();
        let mut train = self.train.whole.clone();
        if short {
            train.epochs = self.train.short_epochs;
        }
        TrainSpec {
            kind: TrainSpec::KIND.to_string(),
            preset: known(TRAIN, &format!("train-{}", self.preset)),
            seed: self.seed,
            data: TrainDataSpec { images: self.data.images.clone(), valid_fraction: self.portfolio.valid_fraction },
            augment: self.train_augment.clone(),
            network: TrainNetworkSpec { genotype: genotype.to_string(), channels, cells, auxiliary, reductions },
            train,
            weights: self.train_weights.clone(),
        }
    }

    /// The search before a member's value is put in.
    fn unvaried(&self) -> SearchSpec {
        SearchSpec {
            kind: SearchSpec::KIND.to_string(),
            preset: known(SEARCH, &self.preset),
            seed: self.seed,
            data: self.data.clone(),
            augment: self.augment.clone(),
            space: self.space.clone(),
            network: self.network.clone(),
            search: self.search.clone(),
            method: self.method.clone(),
            weights: self.weights.clone(),
            alphas: self.alphas.clone(),
            hessian: self.hessian.clone(),
            monitor: self.monitor.clone(),
            eval: self.eval.clone(),
        }
    }
}

impl Spec for RobustSpec {
    const KIND: &'static str = "robust";
    const PRESETS: &'static [Preset] = ROBUST;
    const CHOICES: &'static [(&'static str, &'static [&'static str])] = &[
        ("kind", &[Self::KIND]),
        ("portfolio.vary", Self::VARY),
        ("data.statistics", Statistics::NAMES),
        ("augment.cutout_schedule", CutoutSchedule::NAMES),
        ("search.method", Method::NAMES),
        ("search.order", Order::NAMES),
        ("hessian.mode", HessianMode::NAMES),
        ("hessian.images", HessianImages::NAMES),
        ("monitor.form", MonitorForm::NAMES),
        ("train_augment.cutout_schedule", CutoutSchedule::NAMES),
    ];
    const ADDED: &'static [&'static [(&'static str, &'static str)]] =
        &[ADDED_WITH_METHODS, ADDED_REDUCTIONS, &[("train_network.reductions", "[]")]];
    const ADDED_SECTIONS: &'static [&'static str] = &["method"];
    const EXAMPLE: &'static str = "portfolio.values=[0.0003,0.0009]";
    const HAS_CHECKPOINTS: bool = false;

    fn data(&self) -> Option<&DataSpec> {
        Some(&self.data.images)
    }

    fn to_toml(&self) -> String {
        let mut out = String::from("# A portfolio of rdarts, complete: every value that can change its result.\n\n");
        let top = Top { kind: Self::KIND, preset: &self.preset, seed: self.seed };
        out.push_str(&lines(&top));
        section(&mut out, "portfolio", "What the searches differ in, and how one is chosen.", &self.portfolio);
        section(&mut out, "data", "Which images, and how a search splits them.", &self.data);
        section(&mut out, "augment", "How a search changes its images at random; lengths in pixels.", &self.augment);
        section(&mut out, "space", "The search space: a built-in name or a TOML file.", &self.space);
        section(&mut out, "network", "The size of the supernet.", &self.network);
        section(&mut out, "search", "Method, length and batch of a search.", &self.search);
        section(&mut out, "method", "Settings that belong to one method each.", &self.method);
        section(&mut out, "weights", "SGD on the weights of the supernet.", &self.weights);
        section(&mut out, "alphas", "Adam on the architecture parameters.", &self.alphas);
        section(&mut out, "hessian", "How the curvature is measured; `every` in epochs.", &self.hessian);
        section(&mut out, "monitor", "When the curvature stops a search or raises its L2 factor.", &self.monitor);
        section(&mut out, "eval", "What a search evaluates at the end of each epoch.", &self.eval);
        let about = "How a training changes its images at random; lengths in pixels.";
        section(&mut out, "train_augment", about, &self.train_augment);
        section(&mut out, "train_network", "The size of the trained networks.", &self.train_network);
        section(&mut out, "train", "Length, batch and loss of the trainings.", &self.train);
        section(&mut out, "train_weights", "SGD on the weights of the trained networks.", &self.train_weights);
        out
    }

    fn check(&self) -> Result<(), Bad> {
        self.unvaried().check()?;
        self.portfolio.check()?;
        for (member, &value) in self.portfolio.values.iter().enumerate() {
            // All but what is varied has been checked.
            self.search_spec(member)
                .check()
                .map_err(|bad| of_values(value, &format!("of which each is {}", bad.wanted)))?;
        }
        for short in [true, false] {
            self.train_spec("DARTS_V2", short).check().map_err(|bad| of_training(bad, short))?;
        }
        Ok(())
    }
}

impl PortfolioSpec {
    fn check(&self) -> Result<(), Bad> {
        self.vary.check(&self.values)?;
        count("portfolio.cutout_length", self.cutout_length as u64, 0..=1024)?;
        let open = (Bound::Excluded(0.0), Bound::Excluded(1.0));
        real("portfolio.valid_fraction", self.valid_fraction, open)?;
        count("portfolio.max_params", self.max_params, 0..=i64::MAX as u64)?;
        count("portfolio.max_macs", self.max_macs, 0..=i64::MAX as u64)
    }
}

/// The preset of a kind that is called like that of a portfolio, or else its first: the values are all here, but the verb
/// of that kind, which may be given the recorded spec of a member, knows its own presets alone.
pub(super) fn known(presets: &'static [Preset], name: &str) -> String {
    presets::find(presets, name).unwrap_or(&presets[0]).name.to_string()
}

/// A refused value of a member.
pub(super) fn of_values(value: f64, wanted: &str) -> Bad {
    let value = format!("a list with {}", float(value));
    Bad { key: "portfolio.values", value, wanted: format!("a list {wanted}") }
}

/// What a training refuses, by the key that it stands under here.
fn of_training(bad: Bad, short: bool) -> Bad {
    let key = match bad.key {
        "train.epochs" if short => "train.short_epochs",
        "data.valid_fraction" => "portfolio.valid_fraction",
        "augment.crop_padding" => "train_augment.crop_padding",
        "augment.cutout_length" => "train_augment.cutout_length",
        "augment.cutout_prob" => "train_augment.cutout_prob",
        "network.channels" => "train_network.channels",
        "network.cells" => "train_network.cells",
        "network.reductions" => "train_network.reductions",
        "weights.lr" => "train_weights.lr",
        "weights.lr_min" => "train_weights.lr_min",
        "weights.momentum" => "train_weights.momentum",
        "weights.l2" => "train_weights.l2",
        "weights.clip" => "train_weights.clip",
        same => same,
    };
    Bad { key, wanted: bad.wanted.replace("`weights.", "`train_weights."), ..bad }
}
