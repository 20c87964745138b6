//! The spec of an architecture search.

use std::ops::Bound;

use serde::{Deserialize, Serialize};

use super::checks::{Bad, count, named, positive, real};
use super::choice::choice;
use super::sections::{
    ADDED_REDUCTIONS, AugmentSpec, CutoutSchedule, DataSpec, Statistics, WeightsSpec, check_reductions,
};
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
    /// Settings that belong to one method each.
    pub method: MethodSpec,
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
    /// The cells that reduce, counted from 0; none named: those at a third and at two thirds.
    pub reductions: Vec<usize>,
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

/// Section `[method]`: settings that belong to one method each; the others do not look at them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MethodSpec {
    /// Skip connections in the normal cell that end a search with `darts-plus`.
    pub max_skips: usize,
    /// How far `sdarts-rs` and `sdarts-adv` move a mixing weight at first.
    pub epsilon_first: f64,
    /// And at last; it grows linearly between.
    pub epsilon: f64,
    /// Steps of the attack of `sdarts-adv`.
    pub attack_steps: usize,
    /// Mixing weight of the skip connection that `darts-minus` adds to each edge, at first; it falls linearly to 0.
    pub auxiliary_skip: f64,
    /// Temperature at which `gdas` draws at first.
    pub temperature_first: f64,
    /// And at last; it falls linearly between.
    pub temperature_last: f64,
    /// How far along its gradient `a2m` looks at the validation loss.
    pub rho: f64,
    /// Epochs that train the supernet from one decision of `darts-pt` to the next.
    pub selection_epochs: usize,
    /// The learning rate of the weights meanwhile, as a part of `weights.lr`.
    pub selection_lr: f64,
    /// One of so many channels goes through the operations of `pc-darts`.
    pub channel_share: usize,
    /// Epochs in which `pc-darts` and `drnas` train the weights alone.
    pub warm_up: usize,
    /// How hard `drnas` holds its distributions to the uniform one, beside `alphas.l2`.
    pub anchor: f64,
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
    /// Method `darts-es-noise` acts in at most so large a share of searches whose curvature does not grow.
    pub risk: f64,
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
        /// Stop like `darts-es`, but only at a growth that is larger than the noise of the eigenvalue explains.
        DartsEsNoise = "darts-es-noise",
        /// Random search with weight sharing (RS-ws in table 3): each step trains the weights of one architecture drawn at
        /// random, and the best of [`LoopSpec::samples`] is the result. There are no alphas, so that `search.order` and
        /// the sections `[alphas]`, `[hessian]` and `[monitor]` have no effect.
        RsWs = "rs-ws",
        /// End when the normal cell has two skip connections (DARTS+).
        DartsPlus = "darts-plus",
        /// Train the weights at mixing weights that are moved at random (SDARTS-RS).
        SdartsRs = "sdarts-rs",
        /// Train them where the training loss is largest nearby (SDARTS-ADV).
        SdartsAdv = "sdarts-adv",
        /// Help each edge with a skip connection that fades, so that the alphas need none (DARTS-).
        DartsMinus = "darts-minus",
        /// Draw one operation of each edge in each step, the likelier the larger its alpha (GDAS).
        Gdas = "gdas",
        /// Take the alphas to where the validation loss is flat (A2M).
        A2m = "a2m",
        /// After the search, keep on each edge the operation without which the supernet is worst (DARTS-PT).
        DartsPt = "darts-pt",
        /// The same of a supernet whose alphas stay as they were drawn.
        DartsPtFixed = "darts-pt-fixed",
        /// Take one part of the channels through the operations, and learn a weight for each edge (PC-DARTS).
        PcDarts = "pc-darts",
        /// Draw the mixing weights of each edge from a Dirichlet distribution (DrNAS).
        Drnas = "drnas",
    }
);

impl Method {
    /// What it does, in one clause.
    pub fn about(self) -> &'static str {
        match self {
            Self::Darts => "watches only",
            Self::DartsEs => "stops before the search degenerates",
            Self::DartsAda => "goes back and regularises harder",
            Self::DartsEsNoise => "stops at a growth that the noise of the eigenvalue does not explain",
            Self::RsWs => {
                "trains architectures drawn at random and chooses the best of `search.samples`: no alphas, no curvature"
            }
            Self::DartsPlus => "ends when the normal cell has `method.max_skips` skip connections",
            Self::SdartsRs => "trains the weights at mixing weights moved at random",
            Self::SdartsAdv => "trains the weights where the loss is largest near the mixing weights",
            Self::DartsMinus => "helps each edge with a skip connection that fades",
            Self::Gdas => "draws one operation of each edge in each step",
            Self::A2m => "takes the alphas to where the validation loss is flat",
            Self::DartsPt => "keeps, after the search, the operations and edges without which the supernet is worst",
            Self::DartsPtFixed => "the same, of a supernet whose alphas stay as they were drawn",
            Self::PcDarts => "takes a part of the channels through the operations, and learns a weight for each edge",
            Self::Drnas => "draws the mixing weights of each edge from a Dirichlet distribution",
        }
    }

    /// Where it was published.
    pub fn paper(self) -> &'static str {
        match self {
            Self::Darts => "Liu et al. 2019",
            Self::DartsEs | Self::DartsAda => "Zela et al. 2020",
            Self::DartsEsNoise => "this project",
            Self::RsWs => "Li and Talwalkar 2019",
            Self::DartsPlus => "Liang et al. 2019",
            Self::SdartsRs | Self::SdartsAdv => "Chen and Hsieh 2020",
            Self::DartsMinus => "Chu et al. 2021",
            Self::Gdas => "Dong and Yang 2019",
            Self::A2m => "Gambella et al. 2025",
            Self::DartsPt | Self::DartsPtFixed => "Wang et al. 2021",
            Self::PcDarts => "Xu et al. 2020",
            Self::Drnas => "Chen et al. 2021",
        }
    }

    /// The keys of the spec that it looks at and other methods do not, or not all of them.
    pub fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Darts => &[],
            Self::DartsEs => &["monitor.form", "monitor.window", "monitor.threshold", "monitor.growth"],
            Self::DartsAda => &[
                "monitor.form",
                "monitor.window",
                "monitor.threshold",
                "monitor.growth",
                "monitor.l2_factor",
                "monitor.l2_max",
            ],
            Self::DartsEsNoise => &[
                "monitor.form",
                "monitor.window",
                "monitor.threshold",
                "monitor.growth",
                "monitor.risk",
                "hessian.batches",
            ],
            Self::RsWs => &["search.samples", "search.sample_batches"],
            Self::DartsPlus => &["method.max_skips"],
            Self::SdartsRs => &["method.epsilon_first", "method.epsilon"],
            Self::SdartsAdv => &["method.epsilon_first", "method.epsilon", "method.attack_steps"],
            Self::DartsMinus => &["method.auxiliary_skip"],
            Self::Gdas => &["method.temperature_first", "method.temperature_last"],
            Self::A2m => &["method.rho"],
            Self::DartsPt | Self::DartsPtFixed => &["method.selection_epochs", "method.selection_lr"],
            Self::PcDarts => &["method.channel_share", "method.warm_up"],
            Self::Drnas => &["method.warm_up", "method.anchor"],
        }
    }

    /// Whether it takes the steps of plain DARTS until it acts, so that it shares its epochs with others that do.
    pub fn is_plain(self) -> bool {
        matches!(
            self,
            Self::Darts | Self::DartsEs | Self::DartsAda | Self::DartsEsNoise | Self::DartsPlus | Self::DartsPt
        )
    }

    /// Whether it needs the eigenvalue to act.
    pub fn needs_eigenvalue(self) -> bool {
        matches!(self, Self::DartsEs | Self::DartsAda | Self::DartsEsNoise)
    }

    /// Whether it learns alphas.
    pub fn learns_alphas(self) -> bool {
        !matches!(self, Self::RsWs | Self::DartsPtFixed)
    }

    /// Whether it selects operations after the search, one decision after another.
    pub fn selects(self) -> bool {
        matches!(self, Self::DartsPt | Self::DartsPtFixed)
    }

    /// Whether it trains the weights alone in its first epochs.
    pub fn warms_up(self) -> bool {
        matches!(self, Self::PcDarts | Self::Drnas)
    }

    /// Whether its alpha step is its own and knows the first order alone.
    pub fn is_first_order(self) -> bool {
        matches!(self, Self::DartsMinus | Self::Gdas | Self::A2m | Self::Drnas)
    }
}

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

impl MethodSpec {
    fn check(&self) -> Result<(), Bad> {
        count("method.max_skips", self.max_skips as u64, 1..=1000)?;
        real("method.epsilon_first", self.epsilon_first, 0.0..=1.0)?;
        real("method.epsilon", self.epsilon, 0.0..=1.0)?;
        count("method.attack_steps", self.attack_steps as u64, 1..=1000)?;
        real("method.auxiliary_skip", self.auxiliary_skip, 0.0..)?;
        real("method.temperature_first", self.temperature_first, positive())?;
        real("method.temperature_last", self.temperature_last, positive())?;
        real("method.rho", self.rho, 0.0..)?;
        count("method.selection_epochs", self.selection_epochs as u64, 1..=1_000_000)?;
        real("method.selection_lr", self.selection_lr, positive())?;
        count("method.channel_share", self.channel_share as u64, 1..=4096)?;
        count("method.warm_up", self.warm_up as u64, 0..=1_000_000)?;
        real("method.anchor", self.anchor, 0.0..)
    }
}

/// The keys that came with methods, of every spec that holds a search.
pub(super) const ADDED_WITH_METHODS: &[(&str, &str)] = &[
    ("search.samples", "1000"),
    ("search.sample_batches", "10"),
    ("monitor.risk", "0.05"),
    ("method.max_skips", "2"),
    ("method.epsilon_first", "0.03"),
    ("method.epsilon", "0.3"),
    ("method.attack_steps", "7"),
    ("method.auxiliary_skip", "1.0"),
    ("method.temperature_first", "10.0"),
    ("method.temperature_last", "0.1"),
    ("method.rho", "0.1"),
    ("method.selection_epochs", "5"),
    ("method.selection_lr", "0.1"),
    ("method.channel_share", "4"),
    ("method.warm_up", "15"),
    ("method.anchor", "0.0"),
];

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
    const ADDED: &'static [&'static [(&'static str, &'static str)]] = &[
        &[("kind", "'search'"), ("hessian.batches", "1"), ("hessian.images", "'last'")],
        ADDED_WITH_METHODS,
        ADDED_REDUCTIONS,
    ];
    const ADDED_SECTIONS: &'static [&'static str] = &["method"];
    const EXAMPLE: &'static str = "search.epochs=20";
    const HAS_CHECKPOINTS: bool = true;

    fn data(&self) -> Option<&DataSpec> {
        Some(&self.data.images)
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
        section(&mut out, "method", "Settings that belong to one method each.", &self.method);
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
        check_reductions(&self.network.reductions, self.network.cells)?;
        count("search.epochs", self.search.epochs as u64, 1..=1_000_000)?;
        // Batch statistics of a single image have no variance to speak of, hence two.
        count("search.batch", self.search.batch as u64, 2..=65_536)?;
        real("search.drop_path", self.search.drop_path, 0.0..1.0)?;
        count("search.samples", self.search.samples as u64, 1..=1_000_000)?;
        count("search.sample_batches", self.search.sample_batches as u64, 1..=1_000_000)?;
        self.method.check()?;
        self.weights.check()?;
        self.alphas.check()?;
        if self.search.order != Order::First && self.search.method.is_first_order() {
            let wanted = format!("\"first\", the only one of method {}", self.search.method);
            return Err(Bad { key: "search.order", value: format!("\"{}\"", self.search.order), wanted });
        }
        if self.search.method.warms_up() && self.method.warm_up >= self.search.epochs {
            let wanted = format!("less than search.epochs, {}, or the alphas would never learn", self.search.epochs);
            return Err(Bad { key: "method.warm_up", value: self.method.warm_up.to_string(), wanted });
        }
        if self.search.method == Method::PcDarts {
            if !self.network.channels.is_multiple_of(self.method.channel_share) {
                let wanted = format!("a multiple of method.channel_share, {}", self.method.channel_share);
                return Err(Bad { key: "network.channels", value: self.network.channels.to_string(), wanted });
            }
            if self.search.drop_path > 0.0 {
                let wanted = "0.0 with method pc-darts, whose network has no drop path".to_string();
                return Err(Bad { key: "search.drop_path", value: self.search.drop_path.to_string(), wanted });
            }
        }
        self.hessian.check(self.search.method)?;
        if self.hessian.batches < 2 && self.search.method == Method::DartsEsNoise {
            let wanted =
                format!("at least 2, better 8, since method {} needs the noise of the eigenvalue", self.search.method);
            return Err(Bad { key: "hessian.batches", value: self.hessian.batches.to_string(), wanted });
        }
        self.monitor.check()
    }
}

impl SearchSpec {
    /// All epochs of a search whose method may take so many decisions after `search.epochs`.
    pub fn n_epochs(&self, n_decisions: usize) -> usize {
        let between = n_decisions.saturating_sub(1) * self.method.selection_epochs;
        self.search.epochs + if self.search.method.selects() { between } else { 0 }
    }
}

impl AlphasSpec {
    pub(super) fn check(&self) -> Result<(), Bad> {
        real("alphas.lr", self.lr, positive())?;
        real("alphas.beta1", self.beta1, 0.0..1.0)?;
        real("alphas.beta2", self.beta2, 0.0..1.0)?;
        real("alphas.l2", self.l2, 0.0..)?;
        real("alphas.init_std", self.init_std, 0.0..)
    }
}

impl HessianSpec {
    pub(super) fn check(&self, method: Method) -> Result<(), Bad> {
        if self.every == 0 && method.needs_eigenvalue() {
            let wanted = format!("at least 1, since method {method} needs the eigenvalue");
            return Err(Bad { key: "hessian.every", value: "0".to_string(), wanted });
        }
        real("hessian.tolerance", self.tolerance, (Bound::Excluded(0.0), Bound::Excluded(1.0)))?;
        count("hessian.batches", self.batches as u64, 1..=65_536)
    }
}

impl MonitorSpec {
    pub(super) fn check(&self) -> Result<(), Bad> {
        real("monitor.risk", self.risk, (Bound::Excluded(0.0), Bound::Included(0.5)))?;
        count("monitor.window", self.window as u64, 1..=1_000_000)?;
        real("monitor.threshold", self.threshold, (Bound::Excluded(0.0), Bound::Included(1.0)))?;
        real("monitor.l2_factor", self.l2_factor, (Bound::Excluded(1.0), Bound::Unbounded))?;
        real("monitor.l2_max", self.l2_max, positive())?;
        real("monitor.growth", self.growth, 1.0..)
    }
}
