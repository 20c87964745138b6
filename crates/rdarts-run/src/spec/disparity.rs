//! The spec of an architecture search for disparity estimation.

use std::ops::Bound;

use serde::{Deserialize, Serialize};

use super::checks::{Bad, count, named, one_of, quoted, real};
use super::search::{
    AlphasSpec, EvalSpec, HessianImages, HessianMode, HessianSpec, Method, MonitorForm, MonitorSpec, Order, SpaceSpec,
};
use super::sections::{DataSpec, WeightsSpec};
use super::stereo::{PairsSpec, StereoAugmentSpec, check_windows};
use super::{Spec, Top, lines, section};
use crate::presets::{DISPARITY, Preset};

/// All values of a search for disparity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DisparitySearchSpec {
    /// [`DisparitySearchSpec::KIND`], as it stands in the file.
    pub kind: String,
    /// Name of the preset that the spec was based on; a record, read only while a spec is put together.
    pub preset: String,
    /// Seed of all random streams; at most 2^63 - 1, the largest whole number of TOML.
    pub seed: u64,
    /// Which pairs, and how they are split.
    pub data: StereoDataSpec,
    /// How training pairs are changed at random.
    pub augment: StereoAugmentSpec,
    /// The search space.
    pub space: SpaceSpec,
    /// The size of the supernet.
    pub network: DisparityNetworkSpec,
    /// Method, length and batch.
    pub search: DisparityLoopSpec,
    /// The optimiser of the network weights: SGD.
    pub weights: WeightsSpec,
    /// The optimiser of the architecture parameters: Adam.
    pub alphas: AlphasSpec,
    /// How the curvature is measured.
    pub hessian: HessianSpec,
    /// When the curvature stops a search or raises its regularisation.
    pub monitor: MonitorSpec,
    /// What is evaluated at the end of each epoch.
    pub eval: EvalSpec,
}

/// Section `[data]` of a search for disparity: which pairs, and how they are split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StereoDataSpec {
    /// Which pairs.
    #[serde(flatten)]
    pub pairs: PairsSpec,
    /// Fraction of the training pairs that trains the weights; the rest trains the alphas.
    pub train_fraction: f64,
    /// Number of pairs of the alphas' split that an epoch is evaluated on; 0: all.
    pub valid_limit: usize,
}

/// Section `[network]` of a search for disparity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DisparityNetworkSpec {
    /// Channels of the last cell of the decoder; all others are multiples.
    pub channels: usize,
    /// The largest shift of the correlation, in pixels of an eighth of the size; 0: a quarter of the width there.
    pub displacement: usize,
}

/// Section `[search]` of a search for disparity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DisparityLoopSpec {
    /// What is done with the measured curvature.
    pub method: Method,
    /// The gradient of the alphas.
    pub order: Order,
    /// Number of epochs.
    pub epochs: usize,
    /// Pairs in a batch, for the weights and for the alphas.
    pub batch: usize,
    /// Rows of the windows that are trained on.
    pub crop_height: usize,
    /// Columns of these windows.
    pub crop_width: usize,
    /// Epochs at first in which the weights alone learn.
    pub warm_start: usize,
}

/// The methods that such a search knows.
const METHODS: [Method; 3] = [Method::Darts, Method::DartsEs, Method::DartsAda];

impl Spec for DisparitySearchSpec {
    const KIND: &'static str = "disparity-search";
    const PRESETS: &'static [Preset] = DISPARITY;
    const CHOICES: &'static [(&'static str, &'static [&'static str])] = &[
        ("kind", &[Self::KIND]),
        ("search.method", Method::NAMES),
        ("search.order", Order::NAMES),
        ("hessian.mode", HessianMode::NAMES),
        ("hessian.images", HessianImages::NAMES),
        ("monitor.form", MonitorForm::NAMES),
    ];
    const ADDED: &'static [&'static [(&'static str, &'static str)]] = &[];
    const EXAMPLE: &'static str = "search.epochs=20";
    const HAS_CHECKPOINTS: bool = true;

    fn data(&self) -> Option<&DataSpec> {
        None
    }

    fn to_toml(&self) -> String {
        let mut out =
            String::from("# A search of rdarts for disparity, complete: every value that can change its result.\n\n");
        let top = Top { kind: Self::KIND, preset: &self.preset, seed: self.seed };
        out.push_str(&lines(&top));
        section(&mut out, "data", "Which pairs, and how they are split.", &self.data);
        section(&mut out, "augment", "How training pairs are changed at random.", &self.augment);
        section(&mut out, "space", "The search space.", &self.space);
        section(&mut out, "network", "The size of the supernet.", &self.network);
        section(&mut out, "search", "Method, length and batch.", &self.search);
        section(&mut out, "weights", "SGD on the network weights.", &self.weights);
        section(&mut out, "alphas", "Adam on the architecture parameters.", &self.alphas);
        section(&mut out, "hessian", "How the curvature is measured; `every` in epochs.", &self.hessian);
        section(&mut out, "monitor", "When the curvature stops the search or raises its L2 factor.", &self.monitor);
        section(&mut out, "eval", "What is evaluated at the end of each epoch.", &self.eval);
        out
    }

    fn check(&self) -> Result<(), Bad> {
        count("seed", self.seed, 0..=i64::MAX as u64)?;
        self.data.pairs.check()?;
        real("data.train_fraction", self.data.train_fraction, (Bound::Excluded(0.0), Bound::Excluded(1.0)))?;
        self.augment.check()?;
        named("space.name", &self.space.name)?;
        count("network.channels", self.network.channels as u64, 1..=1024)?;
        count("network.displacement", self.network.displacement as u64, 0..=1024)?;
        if !METHODS.contains(&self.search.method) {
            let wanted = format!("{} in a search for disparity", one_of(&METHODS.map(Method::as_str)));
            return Err(Bad { key: "search.method", value: quoted(self.search.method.as_str()), wanted });
        }
        count("search.epochs", self.search.epochs as u64, 1..=1_000_000)?;
        count("search.batch", self.search.batch as u64, 2..=4096)?;
        check_windows(
            [("search.crop_height", self.search.crop_height), ("search.crop_width", self.search.crop_width)],
            32,
        )?;
        count("search.warm_start", self.search.warm_start as u64, 0..=1_000_000)?;
        self.weights.check()?;
        self.alphas.check()?;
        self.hessian.check(self.search.method)?;
        self.monitor.check()
    }
}
