//! Everything that can change the result of a search, and nothing else.
//!
//! A [`SearchSpec`] is made of four layers, each a TOML table laid over the one before:
//!
//! 1. a preset (`preset = "paper"` unless another is named),
//! 2. the preset of the data set, if it has one,
//! 3. the user's file, which may name only what it changes,
//! 4. overrides of the form `search.epochs=20`.
//!
//! The keys of the preset `paper` are the only known keys: any other is refused, with its line and the nearest known
//! one. Types are checked against the same preset and ranges by [`SearchSpec::validate`]. A run directory keeps the
//! complete spec ([`SearchSpec::to_toml`]), and reading it back ([`SearchSpec::from_complete`]) uses no preset, so a
//! later change of a preset cannot change an old run.
//!
//! Invariants: no value has a default in code; `from_complete(to_toml(s)) == s`; the number of threads, paths of
//! output and colours are not here, since they cannot change a result.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::path::Path;

use rdarts_text::{escaped, shown};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use self::layer::{Layer, first_missing, schema};
use crate::presets::{self, PRESETS};
use crate::text::{TextError, read_text};

mod layer;

/// All values of an architecture search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchSpec {
    /// Name of the preset that the spec was based on; a record, read only while a spec is put together.
    pub preset: String,
    /// Seed of all random streams; at most 2^63 - 1, the largest whole number of TOML.
    pub seed: u64,
    /// Which images, and how they are split.
    pub data: DataSpec,
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

/// Section `[data]`: which images, and how they are split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
    /// Fraction of the training images that trains the weights; the rest trains the alphas.
    pub train_fraction: f64,
    /// Number of training images used; 0: all.
    pub limit: usize,
    /// Number of images of the alpha split used for the accuracy of an epoch; 0: all.
    pub valid_limit: usize,
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
    /// What is done with the measured curvature.
    pub method: Method,
    /// The gradient of the alphas.
    pub order: Order,
    /// Number of epochs.
    pub epochs: usize,
    /// Images in a batch, for the weights and for the alphas.
    pub batch: usize,
    /// Drop path probability of the last epoch, reached linearly from 0.
    pub drop_path: f64,
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
    /// Epochs from one measurement to the next; 0: never, which only method `darts` allows.
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

/// Declares an enum of named choices together with the list of its names.
macro_rules! choice {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name { $($(#[$doc])* #[serde(rename = $text)] $variant,)+ }

        impl $name {
            /// The names as they stand in a spec.
            pub const NAMES: &[&str] = &[$($text),+];
            /// All choices, in the order of the names.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name as it stands in a spec.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

choice!(
    /// What is done with the measured curvature.
    Method {
        /// Nothing: the search runs to its last epoch.
        Darts = "darts",
        /// Stop, and return the architecture from before the curvature grew (section 4.3).
        DartsEs = "darts-es",
        /// Go back to that epoch, raise the L2 factor and search on (appendix D.1).
        DartsAda = "darts-ada",
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

/// Why a spec was refused.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The file cannot be read.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The text is not TOML.
    #[error("{origin}: not valid TOML: {message}")]
    Syntax {
        /// Where it was found.
        origin: Origin,
        /// What the parser says.
        message: String,
    },
    /// A key that no spec has.
    #[error("{origin}: unknown key `{}`; {hint}", escaped(key))]
    UnknownKey {
        /// Where it was found.
        origin: Origin,
        /// The full key.
        key: String,
        /// The nearest known key, or the known ones.
        hint: String,
    },
    /// A value of the wrong type or outside of its range.
    #[error("{origin}: `{key}` is {value}, but must be {wanted}")]
    BadValue {
        /// Where it was found.
        origin: Origin,
        /// The full key.
        key: String,
        /// The value, as TOML.
        value: String,
        /// What would be right.
        wanted: String,
    },
    /// A complete spec lacks a key.
    #[error("{origin}: the key `{key}` is missing; a recorded spec must be complete")]
    MissingKey {
        /// Where it was looked for.
        origin: Origin,
        /// The full key.
        key: String,
    },
    /// An override without a value.
    #[error("--set {}: write an override as key=value, such as search.epochs=20", escaped(text))]
    BadOverride {
        /// The override.
        text: String,
    },
}

impl SpecError {
    /// Whether the system refuses, and not the content of the spec.
    pub fn is_system(&self) -> bool {
        matches!(self, SpecError::Text(err) if err.is_system())
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A built-in preset.
    Preset(String),
    /// A line of a file, counted from 1.
    Line(String, usize),
    /// A file as a whole.
    File(String),
    /// An override.
    Override(String),
    /// The argument that names the preset.
    Argument,
    /// A spec made by a program.
    Program,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Preset(name) => write!(f, "preset {name}"),
            Origin::Line(file, line) => write!(f, "{file}, line {line}"),
            Origin::File(file) => write!(f, "{file}"),
            Origin::Override(text) => write!(f, "--set {}", escaped(text)),
            Origin::Argument => write!(f, "--preset"),
            Origin::Program => write!(f, "spec"),
        }
    }
}

impl SearchSpec {
    /// Puts a spec together from a preset, the user's file and overrides `key=value`.
    ///
    /// The preset is the one of an override `preset=...`, else `preset`, else the one that the file names, else
    /// `paper`.
    pub fn resolve(preset: Option<&str>, file: Option<&Path>, overrides: &[String]) -> Result<SearchSpec, SpecError> {
        let file = match file {
            None => None,
            Some(path) => Some((shown(path), read_text("spec", path)?)),
        };
        Self::resolve_text(preset, file.as_ref().map(|(name, text)| (name.as_str(), text.as_str())), overrides)
    }

    /// Whether the user's file, given as its name and its text, or an override names a key such as `hessian.batches`;
    /// else its value is a preset's.
    pub fn is_named(key: &str, file: Option<(&str, &str)>, overrides: &[String]) -> Result<bool, SpecError> {
        let mut layers = Vec::new();
        if let Some((name, text)) = file {
            layers.push(Layer::from_text(name, text)?);
        }
        for text in overrides {
            layers.push(Layer::from_override(text)?);
        }
        Ok(layers.iter().any(|layer| layer.origins.contains_key(key)))
    }

    /// Like [`SearchSpec::resolve`], with the file given as its name and its text.
    pub fn resolve_text(
        preset: Option<&str>,
        file: Option<(&str, &str)>,
        overrides: &[String],
    ) -> Result<SearchSpec, SpecError> {
        let mut layers = Vec::new();
        if let Some((name, text)) = file {
            layers.push(Layer::from_text(name, text)?);
        }
        if let Some(name) = preset {
            let table = Table::from_iter([("preset".to_string(), Value::String(name.to_string()))]);
            layers.push(Layer { table, origins: BTreeMap::from([("preset".to_string(), Origin::Argument)]) });
        }
        for text in overrides {
            layers.push(Layer::from_override(text)?);
        }
        let mut resolved = Layer::base();
        // The preset is chosen by the topmost layer that names one.
        if let Some((name, origin)) = layers.iter().rev().find_map(Layer::preset) {
            let chosen = presets::find(name).ok_or_else(|| SpecError::BadValue {
                origin,
                key: "preset".to_string(),
                value: quoted(name),
                wanted: one_of(&PRESETS.iter().map(|preset| preset.name).collect::<Vec<_>>()),
            })?;
            resolved.lay(Layer::from_preset(chosen));
        }
        if let Some(layer) = Layer::of_data(&resolved, &layers) {
            resolved.lay(layer);
        }
        resolved.shrink_lengths(&layers);
        for layer in layers {
            resolved.lay(layer);
        }
        resolved.into_spec()
    }

    /// Reads a spec that names every key, such as the one in a run directory; no preset takes part. Keys that the
    /// first programs did not have (`ADDED`) may be missing.
    ///
    /// `name` is what errors call the text.
    pub fn from_complete(name: &str, text: &str) -> Result<SearchSpec, SpecError> {
        let mut layer = Layer::from_text(name, text)?;
        for (section, key, value) in ADDED {
            if let Some(Value::Table(table)) = layer.table.get_mut(*section) {
                table.entry(*key).or_insert_with(|| value.parse().expect("a value of TOML"));
            }
        }
        if let Some(key) = first_missing(&layer.table, &schema(), "") {
            return Err(SpecError::MissingKey { origin: Origin::File(name.to_string()), key });
        }
        layer.into_spec()
    }

    /// The complete spec as TOML, a comment above each section.
    pub fn to_toml(&self) -> String {
        // Strings, bools, 63-bit whole numbers and floats: TOML has them all, so writing cannot fail for a valid spec.
        fn section(out: &mut String, name: &str, about: &str, values: &impl Serialize) {
            let body = toml::to_string(values).expect("every value of a valid spec exists in TOML");
            out.push_str(&format!("\n# {about}\n[{name}]\n{body}"));
        }
        let mut out = String::from("# A search of rdarts, complete: every value that can change its result.\n\n");
        let top = Top { preset: &self.preset, seed: self.seed };
        out.push_str(&toml::to_string(&top).expect("every value of a valid spec exists in TOML"));
        section(&mut out, "data", "Which images, and how they are split.", &self.data);
        let augment = match presets::DATA.iter().any(|preset| preset.name == self.data.name) {
            true => {
                "How training images are changed at random; lengths in pixels. From the preset of the data set, or set."
            }
            false => "How training images are changed at random; lengths in pixels.",
        };
        section(&mut out, "augment", augment, &self.augment);
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

    /// Checks every value against its range.
    pub fn validate(&self) -> Result<(), SpecError> {
        self.check().map_err(|bad| bad.at(Origin::Program))
    }

    fn check(&self) -> Result<(), Bad> {
        // Upper limits of counts keep a slip of the finger from asking for more memory than any machine has.
        count("seed", self.seed, 0..=i64::MAX as u64)?;
        named("data.name", &self.data.name)?;
        const FOLDER: &str = "folder";
        if self.data.channels != 0 && self.data.name != FOLDER {
            let wanted = "0, since only the images of a folder are made gray or coloured".to_string();
            return Err(Bad { key: "data.channels", value: self.data.channels.to_string(), wanted });
        }
        if ![0, 1, 3].contains(&self.data.channels) {
            let wanted = "1 for gray, 3 for colour, or 0 to decide it from the images".to_string();
            return Err(Bad { key: "data.channels", value: self.data.channels.to_string(), wanted });
        }
        match (self.data.size, presets::side(&self.data.name)) {
            (0, _) => {}
            (size, Some(side)) if !(8..=side).contains(&size) => {
                let name = &self.data.name;
                let wanted =
                    format!("a whole number from 8 to {side}, the side of the images of {name}, or 0 for that");
                return Err(Bad { key: "data.size", value: size.to_string(), wanted });
            }
            (size, _) => count("data.size", size as u64, 8..=1024)?,
        }
        real("data.test_fraction", self.data.test_fraction, (Bound::Excluded(0.0), Bound::Excluded(1.0)))?;
        count("data.split_seed", self.data.split_seed, 0..=i64::MAX as u64)?;
        real("data.train_fraction", self.data.train_fraction, (Bound::Excluded(0.0), Bound::Excluded(1.0)))?;
        count("augment.crop_padding", self.augment.crop_padding as u64, 0..=1024)?;
        count("augment.cutout_length", self.augment.cutout_length as u64, 0..=1024)?;
        real("augment.cutout_prob", self.augment.cutout_prob, 0.0..=1.0)?;
        named("space.name", &self.space.name)?;
        count("network.channels", self.network.channels as u64, 1..=4096)?;
        count("network.cells", self.network.cells as u64, 1..=1000)?;
        count("network.stem_multiplier", self.network.stem_multiplier as u64, 1..=64)?;
        count("search.epochs", self.search.epochs as u64, 1..=1_000_000)?;
        // Batch statistics of a single image have no variance to speak of, hence two.
        count("search.batch", self.search.batch as u64, 2..=65_536)?;
        real("search.drop_path", self.search.drop_path, 0.0..1.0)?;
        real("weights.lr", self.weights.lr, positive())?;
        real("weights.lr_min", self.weights.lr_min, 0.0..)?;
        if self.weights.lr_min > self.weights.lr {
            let wanted = format!("at most `weights.lr`, which is {}", float(self.weights.lr));
            return Err(Bad { key: "weights.lr_min", value: float(self.weights.lr_min), wanted });
        }
        real("weights.momentum", self.weights.momentum, 0.0..1.0)?;
        real("weights.l2", self.weights.l2, 0.0..)?;
        real("weights.clip", self.weights.clip, positive())?;
        real("alphas.lr", self.alphas.lr, positive())?;
        real("alphas.beta1", self.alphas.beta1, 0.0..1.0)?;
        real("alphas.beta2", self.alphas.beta2, 0.0..1.0)?;
        real("alphas.l2", self.alphas.l2, 0.0..)?;
        real("alphas.init_std", self.alphas.init_std, 0.0..)?;
        if self.hessian.every == 0 && self.search.method != Method::Darts {
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

/// The keys outside of all sections, in the order they are written.
#[derive(Serialize)]
struct Top<'a> {
    preset: &'a str,
    seed: u64,
}

/// Keys that came later than the first recorded specs: section, key, and the value that stands for what was done then.
const ADDED: &[(&str, &str, &str)] = &[("hessian", "batches", "1"), ("hessian", "images", "'last'")];

/// The keys whose value is one of a few names.
const CHOICES: &[(&str, &[&str])] = &[
    ("data.statistics", Statistics::NAMES),
    ("augment.cutout_schedule", CutoutSchedule::NAMES),
    ("search.method", Method::NAMES),
    ("search.order", Order::NAMES),
    ("hessian.mode", HessianMode::NAMES),
    ("hessian.images", HessianImages::NAMES),
    ("monitor.form", MonitorForm::NAMES),
];

/// A value that was refused, before its origin is known.
struct Bad {
    key: &'static str,
    value: String,
    wanted: String,
}

impl Bad {
    fn at(self, origin: Origin) -> SpecError {
        SpecError::BadValue { origin, key: self.key.to_string(), value: self.value, wanted: self.wanted }
    }
}

fn quoted(text: &str) -> String {
    format!("{text:?}")
}

/// A float as TOML shows it; `{:?}` keeps the point or the exponent.
fn float(value: f64) -> String {
    format!("{value:?}")
}

fn one_of(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| quoted(name)).collect();
    format!("one of {}", quoted.join(", "))
}

fn named(key: &'static str, value: &str) -> Result<(), Bad> {
    if !value.is_empty() {
        return Ok(());
    }
    Err(Bad { key, value: quoted(value), wanted: "a name".to_string() })
}

fn count(key: &'static str, value: u64, range: std::ops::RangeInclusive<u64>) -> Result<(), Bad> {
    if range.contains(&value) {
        return Ok(());
    }
    let wanted = format!("a whole number from {} to {}", range.start(), range.end());
    Err(Bad { key, value: value.to_string(), wanted })
}

fn positive() -> (Bound<f64>, Bound<f64>) {
    (Bound::Excluded(0.0), Bound::Unbounded)
}

/// Not a number is in no range, and infinity is refused even where there is no upper limit.
fn real(key: &'static str, value: f64, range: impl RangeBounds<f64>) -> Result<(), Bad> {
    if value.is_finite() && range.contains(&value) {
        return Ok(());
    }
    let low = match range.start_bound() {
        Bound::Included(low) => Some(format!("at least {low}")),
        Bound::Excluded(low) => Some(format!("above {low}")),
        Bound::Unbounded => None,
    };
    let high = match range.end_bound() {
        Bound::Included(high) => Some(format!("at most {high}")),
        Bound::Excluded(high) => Some(format!("below {high}")),
        Bound::Unbounded => None,
    };
    let limits: Vec<String> = low.into_iter().chain(high).collect();
    Err(Bad { key, value: float(value), wanted: format!("a number {}", limits.join(" and ")) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::layer::leaf_keys;
    use super::*;

    fn paper() -> SearchSpec {
        SearchSpec::resolve(None, None, &[]).unwrap()
    }

    fn from_file(text: &str) -> Result<SearchSpec, SpecError> {
        SearchSpec::resolve_text(None, Some(("spec.toml", text)), &[])
    }

    fn with(set: &str) -> Result<SearchSpec, SpecError> {
        SearchSpec::resolve(None, None, &[set.to_string()])
    }

    #[track_caller]
    fn check_sentence(result: Result<SearchSpec, SpecError>, sentence: &str) {
        assert_eq!(result.unwrap_err().to_string(), sentence);
    }

    #[test]
    fn without_arguments_a_spec_is_the_paper() {
        let spec = paper();
        assert_eq!(spec.preset, "paper");
        assert_eq!(spec.space.name, "s2");
        assert_eq!((spec.search.method, spec.search.order), (Method::DartsAda, Order::Second));
        assert_eq!((spec.search.epochs, spec.search.batch), (50, 64));
        assert_eq!((spec.weights.lr, spec.weights.lr_min, spec.weights.l2), (0.025, 0.001, 3e-4));
        assert_eq!((spec.alphas.lr, spec.alphas.beta1, spec.alphas.l2), (3e-4, 0.5, 1e-3));
        assert_eq!((spec.monitor.window, spec.monitor.threshold, spec.monitor.l2_max), (5, 0.75, 0.03));
    }

    #[test]
    fn the_preset_paper_names_every_key_of_the_struct() {
        let written: Table = paper().to_toml().parse().unwrap();
        assert_eq!(leaf_keys(&written), leaf_keys(&schema()));
        assert_eq!(written, schema());
    }

    #[test]
    fn a_recorded_spec_without_the_keys_that_came_later_is_read_as_what_was_done_then() {
        let spec = paper();
        let text = spec.to_toml();
        let old: String = text
            .lines()
            .filter(|l| !l.starts_with("batches =") && !l.starts_with("images ="))
            .fold(String::new(), |t, l| t + l + "\n");
        assert!(old.len() < text.len());
        assert_eq!(SearchSpec::from_complete("spec.toml", &old).unwrap(), spec);
        let other = old.replace("mode = \"reference\"\n", "");
        let sentence = "spec.toml: the key `hessian.mode` is missing; a recorded spec must be complete";
        check_sentence(SearchSpec::from_complete("spec.toml", &other), sentence);
    }

    #[test]
    fn overrides_beat_the_file_and_the_file_beats_the_preset() {
        let text = "preset = 'demo'\n[search]\nepochs = 7\nbatch = 32\n";
        let sets = ["search.batch=16".to_string()];
        let spec = SearchSpec::resolve_text(None, Some(("spec.toml", text)), &sets).unwrap();
        assert_eq!((spec.preset.as_str(), spec.network.channels), ("demo", 8));
        assert_eq!((spec.search.epochs, spec.search.batch), (7, 16));
        // The argument beats the file's preset, and an override beats both.
        let spec = SearchSpec::resolve_text(Some("paper"), Some(("spec.toml", text)), &sets).unwrap();
        assert_eq!((spec.preset.as_str(), spec.network.channels), ("paper", 16));
        assert_eq!(spec.search.epochs, 7);
        let sets = ["preset=demo".to_string()];
        let spec = SearchSpec::resolve_text(Some("paper"), None, &sets).unwrap();
        assert_eq!((spec.preset.as_str(), spec.network.channels), ("demo", 8));
    }

    #[test]
    fn a_data_set_with_a_preset_lies_between_the_preset_and_the_user() {
        let spec = |sets: &[&str]| {
            let sets: Vec<String> = sets.iter().map(|set| set.to_string()).collect();
            let spec = SearchSpec::resolve(None, None, &sets).unwrap();
            (spec.augment.crop_padding, spec.augment.flip)
        };
        assert_eq!(spec(&["data.name=svhn"]), (4, false));
        assert_eq!(spec(&["data.name=svhn", "augment.flip=true"]), (4, true));
        assert_eq!(spec(&["augment.flip=false", "data.name=cifar100-coarse"]), (4, false));
        // The preset demo halves the padding for its own data set, not for others.
        assert_eq!(spec(&["preset=demo"]), (2, true));
        assert_eq!(spec(&["preset=demo", "data.name=cifar10"]), (4, true));
        // The padding of a folder follows the size of its images once that is known.
        assert_eq!(spec(&["data.name=folder", "data.size=96"]), (12, true));
        assert_eq!(spec(&["data.name=folder", "data.size=96", "augment.crop_padding=3"]), (3, true));
        assert_eq!(spec(&["data.name=folder"]), (4, true));
        // So does that of a named set, from what the presets say of its own size, but not what the user says.
        assert_eq!(spec(&["data.name=svhn", "data.size=16"]), (2, false));
        assert_eq!(spec(&["data.name=svhn", "data.size=20"]), (2, false));
        assert_eq!(spec(&["data.name=svhn", "data.size=32"]), (4, false));
        assert_eq!(spec(&["preset=demo", "data.size=14"]), (1, true));
        assert_eq!(spec(&["data.size=14"]), (2, true));
        assert_eq!(spec(&["data.size=14", "augment.crop_padding=4"]), (4, true));
        let file = Some(("spec.toml", "[data]\nname = 'svhn'\n"));
        assert!(!SearchSpec::resolve_text(Some("demo"), file, &[]).unwrap().augment.flip);
        // A recorded spec says it all, whatever the presets have become.
        let text = SearchSpec::resolve_text(None, file, &[]).unwrap().to_toml().replace("flip = false", "flip = true");
        assert!(SearchSpec::from_complete("run/spec.toml", &text).unwrap().augment.flip);
        assert!(text.contains("From the preset of the data set"));
    }

    #[test]
    fn overrides_need_no_quotes_and_take_them() {
        for (set, name) in [
            ("data.name=cifar10", "cifar10"),
            ("data.name = \"cifar10\"", "cifar10"),
            ("data.name=10", "10"),
            ("data.name=true", "true"),
            ("data.name=a=b", "a=b"),
            ("data.name=/x y/[z]", "/x y/[z]"),
            ("data.name=1\nlimit = 3", "1\nlimit = 3"),
        ] {
            let spec = with(set).unwrap();
            assert_eq!((spec.data.name.as_str(), spec.data.limit), (name, 0), "{set}");
        }
        assert_eq!(with("weights.l2=1").unwrap().weights.l2, 1.0);
        assert!(!with("augment.flip=false").unwrap().augment.flip);
    }

    #[test]
    fn a_number_that_is_too_large_for_toml_is_told_the_largest() {
        let most = "must be a whole number from 0 to 9223372036854775807";
        for number in ["9223372036854775808", "18446744073709551615", "99999999999999999999"] {
            check_sentence(
                with(&format!("seed={number}")),
                &format!("--set seed={number}: `seed` is {number}, but {most}"),
            );
            check_sentence(
                from_file(&format!("# a comment\nseed = {number}\n")),
                &format!("spec.toml, line 2: `seed` is {number}, but {most}"),
            );
            check_sentence(
                from_file(&format!("seed = 1\n[ search ] # of it\nepochs = 3\nbatch = {number} # many\n")),
                &format!("spec.toml, line 4: `search.batch` is {number}, but {most}"),
            );
        }
        assert_eq!(with("seed=9223372036854775807").unwrap().seed, i64::MAX as u64);
    }

    #[test]
    fn unknown_keys_name_the_line_and_the_nearest_key() {
        for (text, sentence) in [
            ("sed = 3", "spec.toml, line 1: unknown key `sed`; did you mean `seed`?"),
            (
                "seed = 3\n\n[weights]\n# comment\nlrr = 0.1\n",
                "spec.toml, line 5: unknown key `weights.lrr`; did you mean `weights.lr`?",
            ),
            ("[wieghts]\nlr = 0.1", "spec.toml, line 1: unknown key `wieghts`; did you mean `weights`?"),
            ("epochs = 5", "spec.toml, line 1: unknown key `epochs`; did you mean `search.epochs`?"),
            (
                "weights.lrate = 5",
                "spec.toml, line 1: unknown key `weights.lrate`; the keys of [weights] are clip, l2, lr, lr_min, momentum",
            ),
            (
                "[eval]\nzzz = 5",
                "spec.toml, line 2: unknown key `eval.zzz`; the keys of [eval] are child, keep_checkpoints, oneshot",
            ),
        ] {
            check_sentence(from_file(text), sentence);
        }
        check_sentence(
            with("search.epoch=3"),
            "--set search.epoch=3: unknown key `search.epoch`; did you mean `search.epochs`?",
        );
        check_sentence(
            with("search.epochs.x=3"),
            "--set search.epochs.x=3: `search.epochs` is a section, but must be a whole number without a sign, such as 50",
        );
    }

    #[test]
    fn wrong_types_name_the_key_the_value_and_what_would_be_right() {
        for (text, sentence) in [
            (
                "[search]\nepochs = 'fifty'",
                "spec.toml, line 2: `search.epochs` is \"fifty\", but must be a whole number without a sign, such as 50",
            ),
            (
                "[search]\nepochs = 2.5",
                "spec.toml, line 2: `search.epochs` is 2.5, but must be a whole number without a sign, such as 50",
            ),
            (
                "[search]\nbatch = -3",
                "spec.toml, line 2: `search.batch` is -3, but must be a whole number without a sign, such as 64",
            ),
            ("weights.lr = true", "spec.toml, line 1: `weights.lr` is true, but must be a number, such as 0.025"),
            ("eval.child = 1", "spec.toml, line 1: `eval.child` is 1, but must be true or false"),
            (
                "data.name = ['a']",
                "spec.toml, line 1: `data.name` is a list, but must be a text in quotes, such as \"fashion-mnist\"",
            ),
            ("data = 'x'", "spec.toml, line 1: `data` is \"x\", but must be a section [data]"),
            ("[[data]]\nname = 'x'", "spec.toml, line 1: `data` is a list, but must be a section [data]"),
            (
                "seed = 1979-05-27",
                "spec.toml, line 1: `seed` is 1979-05-27, but must be a whole number without a sign, such as 1",
            ),
        ] {
            check_sentence(from_file(text), sentence);
        }
        check_sentence(
            with("search.epochs=many"),
            "--set search.epochs=many: `search.epochs` is \"many\", but must be a whole number without a sign, such as 50",
        );
        check_sentence(with("seed"), "--set seed: write an override as key=value, such as search.epochs=20");
        check_sentence(with(".=1"), "--set .=1: write an override as key=value, such as search.epochs=20");
    }

    #[test]
    fn values_out_of_range_are_refused_in_one_sentence() {
        for (set, tail) in [
            ("data.name=", "`data.name` is \"\", but must be a name"),
            (
                "data.size=32",
                "`data.size` is 32, but must be a whole number from 8 to 28, the side of the images of fashion-mnist, or \
                 0 for that",
            ),
            (
                "data.size=7",
                "`data.size` is 7, but must be a whole number from 8 to 28, the side of the images of fashion-mnist, or \
                 0 for that",
            ),
            (
                "data.channels=3",
                "`data.channels` is 3, but must be 0, since only the images of a folder are made gray or coloured",
            ),
            ("data.test_fraction=1", "`data.test_fraction` is 1.0, but must be a number above 0 and below 1"),
            ("data.train_fraction=0.0", "`data.train_fraction` is 0.0, but must be a number above 0 and below 1"),
            ("data.train_fraction=1", "`data.train_fraction` is 1.0, but must be a number above 0 and below 1"),
            ("augment.crop_padding=2000", "`augment.crop_padding` is 2000, but must be a whole number from 0 to 1024"),
            ("augment.cutout_prob=1.5", "`augment.cutout_prob` is 1.5, but must be a number at least 0 and at most 1"),
            (
                "augment.cutout_length=2000",
                "`augment.cutout_length` is 2000, but must be a whole number from 0 to 1024",
            ),
            (
                "augment.cutout_schedule=cosine",
                "`augment.cutout_schedule` is \"cosine\", but must be one of \"linear\", \"constant\"",
            ),
            ("space.name=''", "`space.name` is \"\", but must be a name"),
            ("network.channels=0", "`network.channels` is 0, but must be a whole number from 1 to 4096"),
            ("network.cells=0", "`network.cells` is 0, but must be a whole number from 1 to 1000"),
            ("network.stem_multiplier=0", "`network.stem_multiplier` is 0, but must be a whole number from 1 to 64"),
            (
                "search.method=enas",
                "`search.method` is \"enas\", but must be one of \"darts\", \"darts-es\", \"darts-ada\"",
            ),
            (
                "search.order=third",
                "`search.order` is \"third\", but must be one of \"first\", \"second\", \"second-fd\"",
            ),
            ("search.epochs=0", "`search.epochs` is 0, but must be a whole number from 1 to 1000000"),
            ("search.batch=1", "`search.batch` is 1, but must be a whole number from 2 to 65536"),
            ("search.drop_path=1.0", "`search.drop_path` is 1.0, but must be a number at least 0 and below 1"),
            ("weights.lr=nan", "`weights.lr` is NaN, but must be a number above 0"),
            ("weights.lr=inf", "`weights.lr` is inf, but must be a number above 0"),
            ("weights.lr_min=-1e-3", "`weights.lr_min` is -0.001, but must be a number at least 0"),
            ("weights.lr_min=0.5", "`weights.lr_min` is 0.5, but must be at most `weights.lr`, which is 0.025"),
            ("weights.momentum=1.0", "`weights.momentum` is 1.0, but must be a number at least 0 and below 1"),
            ("weights.l2=-1.0", "`weights.l2` is -1.0, but must be a number at least 0"),
            ("weights.clip=0.0", "`weights.clip` is 0.0, but must be a number above 0"),
            ("alphas.lr=0.0", "`alphas.lr` is 0.0, but must be a number above 0"),
            ("alphas.beta1=1.0", "`alphas.beta1` is 1.0, but must be a number at least 0 and below 1"),
            ("alphas.beta2=-0.1", "`alphas.beta2` is -0.1, but must be a number at least 0 and below 1"),
            ("alphas.l2=nan", "`alphas.l2` is NaN, but must be a number at least 0"),
            ("alphas.init_std=-1.0", "`alphas.init_std` is -1.0, but must be a number at least 0"),
            (
                "hessian.every=0",
                "`hessian.every` is 0, but must be at least 1, since method darts-ada needs the eigenvalue",
            ),
            ("hessian.mode=full", "`hessian.mode` is \"full\", but must be one of \"reference\", \"plain\""),
            ("hessian.tolerance=0.0", "`hessian.tolerance` is 0.0, but must be a number above 0 and below 1"),
            ("monitor.form=code", "`monitor.form` is \"code\", but must be one of \"paper\", \"released\""),
            ("monitor.window=0", "`monitor.window` is 0, but must be a whole number from 1 to 1000000"),
            ("monitor.threshold=0.0", "`monitor.threshold` is 0.0, but must be a number above 0 and at most 1"),
            ("monitor.l2_factor=1.0", "`monitor.l2_factor` is 1.0, but must be a number above 1"),
            ("monitor.l2_max=0.0", "`monitor.l2_max` is 0.0, but must be a number above 0"),
            ("monitor.growth=0.9", "`monitor.growth` is 0.9, but must be a number at least 1"),
            ("preset=papers", "`preset` is \"papers\", but must be one of \"paper\", \"demo\""),
        ] {
            check_sentence(with(set), &format!("--set {set}: {tail}"));
        }
        check_sentence(
            from_file("[search]\nbatch = 1"),
            "spec.toml, line 2: `search.batch` is 1, but must be a whole number from 2 to 65536",
        );
        check_sentence(
            SearchSpec::resolve(Some("papr"), None, &[]),
            "--preset: `preset` is \"papr\", but must be one of \"paper\", \"demo\"",
        );
        // A search without a monitor needs no eigenvalue.
        assert!(SearchSpec::resolve(None, None, &["search.method=darts".into(), "hessian.every=0".into()]).is_ok());
    }

    #[test]
    fn a_spec_made_by_a_program_is_checked_too() {
        let mut spec = paper();
        spec.seed = u64::MAX;
        let sentence = "spec: `seed` is 18446744073709551615, but must be a whole number from 0 to 9223372036854775807";
        assert_eq!(spec.validate().unwrap_err().to_string(), sentence);
    }

    #[test]
    fn broken_toml_names_the_line() {
        let err = from_file("seed = 1\n[data\n").unwrap_err().to_string();
        assert!(err.starts_with("spec.toml, line 2: not valid TOML: "), "{err}");
        assert!(!err.contains('\n'), "{err}");
        let err = from_file("seed = 1\nseed = 2\n").unwrap_err().to_string();
        assert!(err.starts_with("spec.toml, line 2: not valid TOML: "), "{err}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let err = SearchSpec::resolve(None, Some(Path::new("/no/such/spec.toml")), &[]).unwrap_err().to_string();
        assert!(err.starts_with("cannot read the spec `/no/such/spec.toml`: "), "{err}");
    }

    #[test]
    fn a_recorded_spec_must_be_complete_and_ignores_presets() {
        let text = paper().to_toml().replace("preset = \"paper\"", "preset = \"gone\"");
        assert_eq!(SearchSpec::from_complete("run/spec.toml", &text).unwrap().preset, "gone");
        let text = text.replace("momentum = 0.9\n", "");
        check_sentence(
            SearchSpec::from_complete("run/spec.toml", &text),
            "run/spec.toml: the key `weights.momentum` is missing; a recorded spec must be complete",
        );
    }

    #[test]
    fn every_choice_is_in_the_table_of_choices_and_deserialises() {
        fn check<T: for<'de> Deserialize<'de> + PartialEq + fmt::Debug>(names: &[&str], all: &[T]) {
            assert!(CHOICES.iter().any(|(_, listed)| *listed == names), "{names:?}");
            for (name, choice) in names.iter().zip(all) {
                assert_eq!(&serde_json::from_value::<T>(serde_json::json!(name)).unwrap(), choice);
            }
        }
        check(Method::NAMES, Method::ALL);
        check(Order::NAMES, Order::ALL);
        check(Statistics::NAMES, Statistics::ALL);
        check(CutoutSchedule::NAMES, CutoutSchedule::ALL);
        check(HessianMode::NAMES, HessianMode::ALL);
        check(MonitorForm::NAMES, MonitorForm::ALL);
    }

    prop_compose! {
        fn any_spec()(
            texts in ("[a-z0-9\n\\[\\]\"'=.é]{1,20}", ".{1,20}", ".{0,20}", "(?s).{1,20}"),
            seed in 0..=i64::MAX as u64,
            counts in (any::<u32>(), any::<u32>(), 0usize..=1024, 0usize..=1024, 1usize..=4096, 1usize..=1000,
                       1usize..=64, 1usize..=1_000_000, 2usize..=65_536),
            more in (1usize..1000, 1usize..=1_000_000, any::<bool>(), any::<bool>(), any::<bool>()),
            unit in proptest::array::uniform8(1e-12f64..0.999_999),
            positive in proptest::array::uniform8(1e-300f64..1e300),
            picks in (0usize..3, 0usize..3, 0usize..2, 0usize..2, 0usize..2),
        ) -> SearchSpec {
            SearchSpec {
                preset: texts.0,
                seed,
                data: DataSpec {
                    name: texts.1,
                    dir: texts.2,
                    train_fraction: unit[0],
                    size: 0,
                    channels: 0,
                    test_fraction: 0.25,
                    split_seed: counts.0 as u64,
                    cache: "auto".to_string(),
                    statistics: Statistics::Computed,
                    limit: counts.0 as usize,
                    valid_limit: counts.1 as usize,
                },
                augment: AugmentSpec {
                    crop_padding: counts.2,
                    flip: more.2,
                    cutout_length: counts.3,
                    cutout_prob: unit[1],
                    cutout_schedule: CutoutSchedule::ALL[picks.2],
                },
                space: SpaceSpec { name: texts.3 },
                network: NetworkSpec { channels: counts.4, cells: counts.5, stem_multiplier: counts.6 },
                search: LoopSpec {
                    method: Method::ALL[picks.0],
                    order: Order::ALL[picks.1],
                    epochs: counts.7,
                    batch: counts.8,
                    drop_path: unit[2],
                },
                weights: WeightsSpec {
                    lr: positive[0],
                    lr_min: positive[0] * unit[7],
                    momentum: unit[3],
                    l2: positive[1],
                    clip: positive[2],
                },
                alphas: AlphasSpec {
                    lr: positive[3],
                    beta1: unit[4],
                    beta2: unit[5],
                    l2: positive[4],
                    init_std: positive[5],
                },
                hessian: HessianSpec {
                    every: more.0,
                    mode: HessianMode::ALL[picks.3],
                    tolerance: unit[6],
                    batches: 1 + more.0,
                    images: HessianImages::ALL[picks.3],
                },
                monitor: MonitorSpec {
                    form: MonitorForm::ALL[picks.4],
                    window: more.1,
                    threshold: unit[7],
                    l2_factor: 1.0 + unit[0],
                    l2_max: positive[6],
                    growth: 1.0 + unit[1],
                },
                eval: EvalSpec { oneshot: more.3, child: more.4, keep_checkpoints: more.3 != more.4 },
            }
        }
    }

    proptest! {
        #[test]
        fn a_written_spec_reads_back_equal(spec in any_spec()) {
            spec.validate().unwrap();
            prop_assert_eq!(SearchSpec::from_complete("spec.toml", &spec.to_toml()).unwrap(), spec);
        }

        #[test]
        fn no_text_makes_the_parser_panic_and_every_error_is_escaped(text in "(?s).{0,200}", set in "(?s).{0,40}") {
            for result in [from_file(&text), with(&set), SearchSpec::from_complete("spec.toml", &text)] {
                if let Err(err) = result {
                    prop_assert!(!err.to_string().contains(char::is_control), "{:?}", err);
                }
            }
        }

        #[test]
        fn odd_keys_and_values_are_refused_in_escaped(key in "[a-z\\n\\t.=\u{7}]{1,8}", value in "(?s).{0,8}") {
            let text = format!("{:?} = 1\n", key);
            for result in [from_file(&text), with(&format!("{key}={value}")), with(&format!("seed={value}"))] {
                if let Err(err) = result {
                    prop_assert!(!err.to_string().contains(char::is_control), "{:?}", err);
                }
            }
        }

        #[test]
        fn no_damage_to_a_spec_makes_the_parser_panic(at in any::<prop::sample::Index>(), cut in 0usize..30, put in "[\\[\\]=\"'.{}#\n a-z0-9-]{0,6}") {
            let mut text = paper().to_toml();
            let from = at.index(text.len());
            let to = (from + cut).min(text.len());
            text.replace_range(from..to, &put);
            if let Err(err) = from_file(&text) {
                // A value that became wrong beside one that was cut away is told where the other comes from.
                let begins = ["spec.toml", "preset paper"].iter().any(|start| err.to_string().starts_with(start));
                prop_assert!(begins, "{}", err);
            }
        }
    }
}
