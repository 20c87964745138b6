//! The spec of a portfolio for disparity: searches that differ in one value, a short training of what each of them finds, the
//! choice of the best on held-out pairs, and its whole training.
//!
//! The paper (Zela et al. 2020, section 5.2 and table 2) varies the L2 factor and the strength of the augmentation in such
//! searches and compares them; this is R-DARTS of its section 5.3 made of them. As in a portfolio on images the sections of a
//! search are those of [`DisparitySearchSpec`] with the same keys, and those of the trainings begin with `train`.

use std::ops::Bound;

use serde::{Deserialize, Serialize};

use super::checks::{Bad, count, real};
use super::disparity::{DisparityLoopSpec, DisparityNetworkSpec, DisparitySearchSpec, StereoDataSpec};
use super::disparity_train::{
    AdamSpec, DisparityTrainLoopSpec, DisparityTrainNetworkSpec, DisparityTrainSpec, StereoTrainDataSpec,
};
use super::robust::{Vary, known, of_values};
use super::search::{
    AlphasSpec, EvalSpec, HessianImages, HessianMode, HessianSpec, Method, MonitorForm, MonitorSpec, Order, SpaceSpec,
};
use super::sections::{DataSpec, WeightsSpec};
use super::stereo::{PairsSpec, StereoAugmentSpec};
use super::{Spec, Top, lines, section};
use crate::presets::{DISPARITY, DISPARITY_ROBUST, DISPARITY_TRAIN, Preset};

/// All values of a portfolio for disparity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DisparityRobustSpec {
    /// [`DisparityRobustSpec::KIND`], as it stands in the file.
    pub kind: String,
    /// Name of the preset that the spec was based on; a record, read only while a spec is put together.
    pub preset: String,
    /// Seed of all random streams of every search and training, unless the members vary it; at most 2^63 - 1.
    pub seed: u64,
    /// What the members differ in, and how one of them is chosen.
    pub portfolio: DisparityPortfolioSpec,
    /// Which pairs, and how a search splits them.
    pub data: StereoRobustDataSpec,
    /// How a search changes its pairs at random.
    pub augment: StereoAugmentSpec,
    /// The search space.
    pub space: SpaceSpec,
    /// The size of the supernet.
    pub network: DisparityNetworkSpec,
    /// Method, length and batch of a search.
    pub search: DisparityLoopSpec,
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
    /// How a training changes its pairs at random.
    pub train_augment: StereoAugmentSpec,
    /// The size of the trained networks.
    pub train_network: DisparityNetworksSpec,
    /// Length, batch and windows of the trainings.
    pub train: DisparityTrainingsSpec,
    /// The optimiser of the trainings: Adam.
    pub train_weights: AdamSpec,
}

/// Section `[portfolio]`: what the members differ in, and how one of them is chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DisparityPortfolioSpec {
    /// What the members differ in.
    pub vary: Vary,
    /// Its value in each member: the L2 factor of the weights, the strength of the augmentation, or the seed.
    pub values: Vec<f64>,
    /// Fraction of the training pairs, the last ones, that every training holds out: they choose the member and the epoch.
    pub valid_fraction: f64,
    /// Whether random cells, cells of skip connections alone and of separable convolutions alone are trained like the chosen
    /// ones.
    pub baselines: bool,
    /// Largest number of weights of what may be chosen; 0: any.
    pub max_params: u64,
    /// Largest number of multiply-adds of a pair of the windows' size of what may be chosen; 0: any.
    pub max_macs: u64,
}

/// Section `[data]` of a portfolio for disparity: which pairs, and how a search splits them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StereoRobustDataSpec {
    /// Which pairs; `halved` is of the searches.
    #[serde(flatten)]
    pub pairs: PairsSpec,
    /// Whether the trainings halve them too.
    pub train_halved: bool,
    /// Number of training pairs that a search uses, the first ones; 0: as many as a training.
    pub search_limit: usize,
    /// Fraction of a search's pairs that trains the weights; the rest trains the alphas.
    pub train_fraction: f64,
    /// Number of pairs of the alphas' split that an epoch of a search is evaluated on; 0: all.
    pub valid_limit: usize,
    /// Number of synthetic scenes to test on.
    pub test_pairs: usize,
    /// Number of test pairs that are looked at, the first ones; 0: all.
    pub test_limit: usize,
}

/// Section `[train_network]`: the size of the trained networks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DisparityNetworksSpec {
    /// Channels of the last cell of the decoder; all others are multiples.
    pub channels: usize,
    /// Channels of the stem's first convolution; its second has twice as many. 0: twice `channels`.
    pub stem: usize,
    /// The largest shift of the correlation, in pixels of an eighth of the size; 0: a quarter of the windows' width there.
    pub displacement: usize,
}

/// Section `[train]` of a portfolio for disparity: length, batch and windows of the trainings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DisparityTrainingsSpec {
    /// Number of epochs of the trainings that choose; all else is as in the whole training.
    pub short_epochs: usize,
    /// The whole training.
    #[serde(flatten)]
    pub whole: DisparityTrainLoopSpec,
}

impl DisparityRobustSpec {
    /// What its members may differ in.
    pub const VARY: &'static [&'static str] = &[Vary::L2.as_str(), Vary::Augment.as_str(), Vary::Seed.as_str()];

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
    pub fn search_spec(&self, member: usize) -> DisparitySearchSpec {
        let value = self.portfolio.values[member];
        let mut spec = self.unvaried();
        match self.portfolio.vary {
            Vary::L2 => spec.weights.l2 = value,
            Vary::Augment => spec.augment.strength = value,
            // Refused where it stands in a spec.
            Vary::DropPath => {}
            Vary::Seed => spec.seed = value as u64,
        }
        spec
    }

    /// The training of a genotype: the short one that chooses, or the whole one.
    pub fn train_spec(&self, genotype: &str, short: bool) -> DisparityTrainSpec {
        let (data, network) = (&self.data, &self.train_network);
        let mut train = self.train.whole.clone();
        if short {
            train.epochs = self.train.short_epochs;
        }
        DisparityTrainSpec {
            kind: DisparityTrainSpec::KIND.to_string(),
            preset: known(DISPARITY_TRAIN, &self.preset.replacen("disparity", "disparity-train", 1)),
            seed: self.seed,
            data: StereoTrainDataSpec {
                pairs: PairsSpec { halved: data.train_halved, ..data.pairs.clone() },
                valid_fraction: self.portfolio.valid_fraction,
                test_pairs: data.test_pairs,
                test_limit: data.test_limit,
            },
            augment: self.train_augment.clone(),
            network: DisparityTrainNetworkSpec {
                genotype: genotype.to_string(),
                channels: network.channels,
                stem: network.stem,
                displacement: network.displacement,
            },
            train,
            weights: self.train_weights.clone(),
        }
    }

    /// The search before a member's value is put in.
    fn unvaried(&self) -> DisparitySearchSpec {
        let data = &self.data;
        let limit = match (data.search_limit, data.pairs.limit) {
            (0, limit) | (limit, 0) => limit,
            (own, all) => own.min(all),
        };
        DisparitySearchSpec {
            kind: DisparitySearchSpec::KIND.to_string(),
            preset: known(DISPARITY, &self.preset),
            seed: self.seed,
            data: StereoDataSpec {
                pairs: PairsSpec { limit, ..data.pairs.clone() },
                train_fraction: data.train_fraction,
                valid_limit: data.valid_limit,
            },
            augment: self.augment.clone(),
            space: self.space.clone(),
            network: self.network.clone(),
            search: self.search.clone(),
            weights: self.weights.clone(),
            alphas: self.alphas.clone(),
            hessian: self.hessian.clone(),
            monitor: self.monitor.clone(),
            eval: self.eval.clone(),
        }
    }
}

impl Spec for DisparityRobustSpec {
    const KIND: &'static str = "disparity-robust";
    const PRESETS: &'static [Preset] = DISPARITY_ROBUST;
    const CHOICES: &'static [(&'static str, &'static [&'static str])] = &[
        ("kind", &[Self::KIND]),
        ("portfolio.vary", Self::VARY),
        ("search.method", Method::NAMES),
        ("search.order", Order::NAMES),
        ("hessian.mode", HessianMode::NAMES),
        ("hessian.images", HessianImages::NAMES),
        ("monitor.form", MonitorForm::NAMES),
    ];
    const ADDED: &'static [&'static [(&'static str, &'static str)]] = &[];
    const EXAMPLE: &'static str = "portfolio.values=[0.0003,0.0009]";
    const HAS_CHECKPOINTS: bool = false;

    fn data(&self) -> Option<&DataSpec> {
        None
    }

    fn to_toml(&self) -> String {
        let mut out = String::from(
            "# A portfolio of rdarts for disparity, complete: every value that can change its result.\n\n",
        );
        let top = Top { kind: Self::KIND, preset: &self.preset, seed: self.seed };
        out.push_str(&lines(&top));
        section(&mut out, "portfolio", "What the searches differ in, and how one is chosen.", &self.portfolio);
        section(&mut out, "data", "Which pairs, and how a search splits them.", &self.data);
        section(&mut out, "augment", "How a search changes its pairs at random.", &self.augment);
        section(&mut out, "space", "The search space.", &self.space);
        section(&mut out, "network", "The size of the supernet.", &self.network);
        section(&mut out, "search", "Method, length and batch of a search.", &self.search);
        section(&mut out, "weights", "SGD on the weights of the supernet.", &self.weights);
        section(&mut out, "alphas", "Adam on the architecture parameters.", &self.alphas);
        section(&mut out, "hessian", "How the curvature is measured; `every` in epochs.", &self.hessian);
        section(&mut out, "monitor", "When the curvature stops a search or raises its L2 factor.", &self.monitor);
        section(&mut out, "eval", "What a search evaluates at the end of each epoch.", &self.eval);
        section(&mut out, "train_augment", "How a training changes its pairs at random.", &self.train_augment);
        section(&mut out, "train_network", "The size of the trained networks.", &self.train_network);
        section(&mut out, "train", "Length, batch and windows of the trainings.", &self.train);
        section(&mut out, "train_weights", "Adam on the weights of the trained networks.", &self.train_weights);
        out
    }

    fn check(&self) -> Result<(), Bad> {
        self.unvaried().check()?;
        self.portfolio.vary.check(&self.portfolio.values)?;
        let open = (Bound::Excluded(0.0), Bound::Excluded(1.0));
        real("portfolio.valid_fraction", self.portfolio.valid_fraction, open)?;
        count("portfolio.max_params", self.portfolio.max_params, 0..=i64::MAX as u64)?;
        count("portfolio.max_macs", self.portfolio.max_macs, 0..=i64::MAX as u64)?;
        for (member, &value) in self.portfolio.values.iter().enumerate() {
            // All but what is varied has been checked.
            self.search_spec(member)
                .check()
                .map_err(|bad| of_values(value, &format!("of which each is {}", bad.wanted)))?;
        }
        for short in [true, false] {
            self.train_spec("AutoDispNet", short).check().map_err(|bad| of_training(bad, short))?;
        }
        Ok(())
    }
}

/// What a training refuses, by the key that it stands under here.
fn of_training(bad: Bad, short: bool) -> Bad {
    let key = match bad.key {
        "train.epochs" if short => "train.short_epochs",
        "data.valid_fraction" => "portfolio.valid_fraction",
        "augment.strength" => "train_augment.strength",
        "network.channels" => "train_network.channels",
        "network.stem" => "train_network.stem",
        "network.displacement" => "train_network.displacement",
        "weights.lr" => "train_weights.lr",
        "weights.lr_min" => "train_weights.lr_min",
        "weights.beta1" => "train_weights.beta1",
        "weights.beta2" => "train_weights.beta2",
        "weights.l2" => "train_weights.l2",
        "weights.clip" => "train_weights.clip",
        same => same,
    };
    Bad { key, wanted: bad.wanted.replace("`weights.", "`train_weights."), ..bad }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::tests::Sets;

    fn resolved(preset: &str, overrides: &[&str]) -> Result<DisparityRobustSpec, String> {
        let overrides: Vec<String> = overrides.iter().map(|text| text.to_string()).collect();
        DisparityRobustSpec::resolve_text(Some(preset), None, &overrides, &Sets).map_err(|e| e.to_string())
    }

    #[test]
    fn presets_are_complete_and_specs_are_read_back() {
        for preset in DISPARITY_ROBUST {
            let spec = resolved(preset.name, &[]).unwrap();
            assert_eq!(DisparityRobustSpec::from_complete("spec", &spec.to_toml()).unwrap(), spec);
        }
    }

    #[test]
    fn members_and_trainings_are_specs_of_their_own_kinds() {
        let spec = resolved("disparity-demo", &["portfolio.vary=\"augment\"", "portfolio.values=[0.0,1.5]"]).unwrap();
        assert_eq!((spec.members(), &spec.label(1)[..]), (2, "augmentation 1.5"));
        let search = spec.search_spec(1);
        assert_eq!((search.augment.strength, search.preset.as_str()), (1.5, "disparity-demo"));
        assert_eq!(search.data.pairs.limit, spec.data.search_limit);
        assert_eq!(DisparitySearchSpec::from_complete("search", &search.to_toml()).unwrap(), search);
        let short = spec.train_spec("AutoDispNet", true);
        assert_eq!((short.train.epochs, short.preset.as_str()), (spec.train.short_epochs, "disparity-train-demo"));
        assert_eq!(short.augment.strength, spec.train_augment.strength);
        assert_eq!(DisparityTrainSpec::from_complete("training", &short.to_toml()).unwrap(), short);
        // The smaller of both limits is that of a search.
        let few = resolved("disparity-demo", &["data.limit=40", "data.search_limit=64"]).unwrap();
        assert_eq!((few.search_spec(0).data.pairs.limit, few.train_spec("x", false).data.pairs.limit), (40, 40));
    }

    #[test]
    fn what_cannot_be_is_named_with_its_key() {
        for (text, expected) in [
            (
                "portfolio.vary=\"drop_path\"",
                "`portfolio.vary` is \"drop_path\", but must be one of \"l2\", \"augment\", \"seed\"",
            ),
            ("portfolio.values=[0.0003,0.0003]", "of different numbers"),
            ("portfolio.values=[-1.0]", "of which each is"),
            ("portfolio.valid_fraction=0.0", "`portfolio.valid_fraction` is 0.0"),
            ("train.short_epochs=0", "`train.short_epochs` is 0"),
            ("train.crop_width=96", "a multiple of 64"),
            ("train_weights.lr_min=1.0", "at most `train_weights.lr`"),
            ("train_network.channels=0", "`train_network.channels` is 0"),
            ("search.method=\"gdas\"", "\"darts-ada\" in a search for disparity"),
            ("train_network.cells=3", "unknown key `train_network.cells`"),
        ] {
            let found = resolved("disparity-demo", &[text]).unwrap_err();
            assert!(found.contains(expected), "{text}: {found}");
        }
    }
}
