//! The spec of an architecture search.

use std::ops::Bound;

use serde::{Deserialize, Serialize};

use super::checks::{Bad, count, named, positive, real};
use super::choice::choice;
use super::sections::{AugmentSpec, CutoutSchedule, DataSpec, Statistics, WeightsSpec};
use super::{Spec, Top, lines, section};
use crate::presets::{Preset, SEARCH};

/// All values of an architecture search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchSpec {
    /// [`SearchSpec::KIND`], as it stands in the file.
    pub kind: String,
    /// Name of the preset that the spec was based on; a record, read only while a spec is put together.
    pub preset: String,
    /// Seed of all random streams; at most 2^63 - 1, the largest whole number of TOML.
    pub seed: u64,
    /// Which images, and how they are split.
    pub data: SearchDataSpec,
    /// How training images are changed at random.
    pub augment: AugmentSpec,
    /// The search space.
    pub space: SpaceSpec,
    /// The size of the supernet.
    pub network: NetworkSpec,
    /// Method, length and batch.
    pub search: LoopSpec,
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

/// Section `[data]` of a search: which images, and how they are split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchDataSpec {
    /// Which images.
    #[serde(flatten)]
    pub images: DataSpec,
    /// Fraction of the training images that trains the weights; the rest trains the alphas.
    pub train_fraction: f64,
    /// Number of images of the alpha split used for the accuracy of an epoch; 0: all.
    pub valid_limit: usize,
}

/// Section `[space]`: the search space.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpaceSpec {
    /// A built-in name such as `s2`, or the path of a TOML file.
    pub name: String,
}

/// Section `[network]`: the size of the supernet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkSpec {
    /// Channels of the first cell.
    pub channels: usize,
    /// Number of cells.
    pub cells: usize,
    /// Channels of the stem as a multiple of `channels`.
    pub stem_multiplier: usize,
}

/// Section `[search]`: method, length and batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoopSpec {
    /// What is done with the measured curvature, or random search instead of all that.
    pub method: Method,
    /// The gradient of the alphas.
    pub order: Order,
    /// Number of epochs.
    pub epochs: usize,
    /// Images in a batch, for the weights and for the alphas.
    pub batch: usize,
    /// Drop path probability of the last epoch, reached linearly from 0.
    pub drop_path: f64,
    /// Architectures that method `rs-ws` draws after the last epoch, to choose from.
    pub samples: usize,
    /// Batches of the split of the alphas that each of them is scored on; the best ten are then on the whole split.
    pub sample_batches: usize,
}

/// Section `[alphas]`: the optimiser of the architecture parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlphasSpec {
    /// Learning rate of Adam.
    pub lr: f64,
    /// Decay of the mean of the gradient.
    pub beta1: f64,
    /// Decay of the mean of the squared gradient.
    pub beta2: f64,
    /// L2 factor (weight decay).
    pub l2: f64,
    /// Standard deviation of the first alphas.
    pub init_std: f64,
}

/// Section `[hessian]`: how the curvature is measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HessianSpec {
    /// Epochs from one measurement to the next; 0: never, which `darts-es` and `darts-ada` do not allow. Method `rs-ws` has
    /// no alphas to measure it of, so that a search with it never does, whatever is said here.
    pub every: usize,
    /// Which matrix is measured.
    pub mode: HessianMode,
    /// Relative error at which the dominant eigenvalue is accepted.
    pub tolerance: f64,
    /// Batches whose mean loss is measured; with more than one, the eigenvalue has a standard error.
    pub batches: usize,
    /// Which images these batches hold.
    pub images: HessianImages,
}

/// Section `[monitor]`: when the curvature stops a search or raises its regularisation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MonitorSpec {
    /// The paper's rule or that of its released code.
    pub form: MonitorForm,
    /// Number of measurements that are averaged.
    pub window: usize,
    /// Form `paper` decides when the earlier mean divided by the present one is below this.
    pub threshold: f64,
    /// DARTS-ADA multiplies the L2 factor of the weights by this at a rollback.
    pub l2_factor: f64,
    /// DARTS-ADA never raises the L2 factor above this.
    pub l2_max: f64,
    /// Form `released` decides when the present mean divided by the earlier one is above this.
    pub growth: f64,
}

/// Section `[eval]`: what is evaluated at the end of each epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalSpec {
    /// Whether the validation accuracy of the supernet is taken.
    pub oneshot: bool,
    /// Whether that of its discretised child is taken, with the weights of the supernet.
    pub child: bool,
    /// Whether the checkpoint of every epoch is kept, instead of those that a rollback or a damaged file can need.
    pub keep_checkpoints: bool,
}

choice!(
    /// What is done with the measured curvature, or random search instead of all that.
    Method {
        /// Nothing: the search runs to its last epoch.
        Darts = "darts",
        /// Stop, and return the architecture from before the curvature grew (section 4.3).
        DartsEs = "darts-es",
        /// Go back to that epoch, raise the L2 factor and search on (appendix D.1).
        DartsAda = "darts-ada",
        /// Random search with weight sharing (RS-ws in table 3): each step trains the weights of one architecture drawn at
        /// random, and the best of [`LoopSpec::samples`] is the result. There are no alphas, so that `search.order` and
        /// the sections `[alphas]`, `[hessian]` and `[monitor]` have no effect.
        RsWs = "rs-ws",
    }
);

choice!(
    /// The gradient of the alphas.
    Order {
        /// The weights are taken as constant.
        First = "first",
        /// One weight step is unrolled; the mixed second derivative is exact.
        Second = "second",
        /// One weight step is unrolled; the mixed second derivative is a finite difference, as in the released code.
        SecondFd = "second-fd",
    }
);

choice!(
    /// Which matrix is measured.
    HessianMode {
        /// The Hessian plus the L2 factor of the alphas on its diagonal, as in the released code.
        Reference = "reference",
        /// The Hessian of the validation loss alone.
        Plain = "plain",
    }
);

choice!(
    /// The images that the curvature is measured on; all are images that train the alphas.
    HessianImages {
        /// The last batches of the epoch, augmented as the search saw them; one of them, as in the released code.
        Last = "last",
        /// The first ones of the split of the alphas, the same after every epoch and without augmentation.
        Fixed = "fixed",
    }
);

choice!(
    /// The rule of decision.
    MonitorForm {
        /// Section 4.3 of the paper.
        Paper = "paper",
        /// The released code, which compares overlapping windows from a minimal epoch on.
        Released = "released",
    }
);

impl Spec for SearchSpec {
    const KIND: &'static str = "search";
    const PRESETS: &'static [Preset] = SEARCH;
    const CHOICES: &'static [(&'static str, &'static [&'static str])] = &[
        ("kind", &[Self::KIND]),
        ("data.statistics", Statistics::NAMES),
        ("augment.cutout_schedule", CutoutSchedule::NAMES),
        ("search.method", Method::NAMES),
        ("search.order", Order::NAMES),
        ("hessian.mode", HessianMode::NAMES),
        ("hessian.images", HessianImages::NAMES),
        ("monitor.form", MonitorForm::NAMES),
    ];
    const ADDED: &'static [(&'static str, &'static str)] = &[
        ("kind", "'search'"),
        ("hessian.batches", "1"),
        ("hessian.images", "'last'"),
        ("search.samples", "1000"),
        ("search.sample_batches", "10"),
    ];
    const EXAMPLE: &'static str = "search.epochs=20";
    const HAS_CHECKPOINTS: bool = true;

    fn data(&self) -> &DataSpec {
        &self.data.images
    }

    fn to_toml(&self) -> String {
        let mut out = String::from("# A search of rdarts, complete: every value that can change its result.\n\n");
        let top = Top { kind: Self::KIND, preset: &self.preset, seed: self.seed };
        out.push_str(&lines(&top));
        section(&mut out, "data", "Which images, and how they are split.", &self.data);
        section(&mut out, "augment", "How training images are changed at random; lengths in pixels.", &self.augment);
        section(&mut out, "space", "The search space: a built-in name or a TOML file.", &self.space);
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
        // Upper limits of counts keep a slip of the finger from asking for more memory than any machine has.
        count("seed", self.seed, 0..=i64::MAX as u64)?;
        self.data.images.check()?;
        real("data.train_fraction", self.data.train_fraction, (Bound::Excluded(0.0), Bound::Excluded(1.0)))?;
        self.augment.check()?;
        named("space.name", &self.space.name)?;
        count("network.channels", self.network.channels as u64, 1..=4096)?;
        count("network.cells", self.network.cells as u64, 1..=1000)?;
        count("network.stem_multiplier", self.network.stem_multiplier as u64, 1..=64)?;
        count("search.epochs", self.search.epochs as u64, 1..=1_000_000)?;
        // Batch statistics of a single image have no variance to speak of, hence two.
        count("search.batch", self.search.batch as u64, 2..=65_536)?;
        real("search.drop_path", self.search.drop_path, 0.0..1.0)?;
        count("search.samples", self.search.samples as u64, 1..=1_000_000)?;
        count("search.sample_batches", self.search.sample_batches as u64, 1..=1_000_000)?;
        self.weights.check()?;
        real("alphas.lr", self.alphas.lr, positive())?;
        real("alphas.beta1", self.alphas.beta1, 0.0..1.0)?;
        real("alphas.beta2", self.alphas.beta2, 0.0..1.0)?;
        real("alphas.l2", self.alphas.l2, 0.0..)?;
        real("alphas.init_std", self.alphas.init_std, 0.0..)?;
        if self.hessian.every == 0 && matches!(self.search.method, Method::DartsEs | Method::DartsAda) {
            let wanted = format!("at least 1, since method {} needs the eigenvalue", self.search.method);
            return Err(Bad { key: "hessian.every", value: "0".to_string(), wanted });
        }
        real("hessian.tolerance", self.hessian.tolerance, (Bound::Excluded(0.0), Bound::Excluded(1.0)))?;
        count("hessian.batches", self.hessian.batches as u64, 1..=65_536)?;
        count("monitor.window", self.monitor.window as u64, 1..=1_000_000)?;
        real("monitor.threshold", self.monitor.threshold, (Bound::Excluded(0.0), Bound::Included(1.0)))?;
        real("monitor.l2_factor", self.monitor.l2_factor, (Bound::Excluded(1.0), Bound::Unbounded))?;
        real("monitor.l2_max", self.monitor.l2_max, positive())?;
        real("monitor.growth", self.monitor.growth, 1.0..)
    }
}
