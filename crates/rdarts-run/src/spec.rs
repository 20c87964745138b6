//! Everything that can change the result of a run, and nothing else.
//!
//! Each kind of run has its spec, made of four layers, each a TOML table laid over the one before:
//!
//! 1. a preset (the first one of the kind unless another is named),
//! 2. the preset of the data set, if it has one,
//! 3. the user's file, which may name only what it changes,
//! 4. overrides of the form `search.epochs=20`.
//!
//! The keys of the kind's first preset are the only known keys: any other is refused, with its line and the nearest known
//! one. Types are checked against the same preset and ranges by [`Spec::validate`]. A run directory keeps the
//! complete spec ([`Spec::to_toml`]), and reading it back ([`Spec::from_complete`]) uses no preset, so a
//! later change of a preset cannot change an old run.
//!
//! Invariants: no value has a default in code; `from_complete(to_toml(s)) == s`; the number of threads, paths of
//! output and colours are not here, since they cannot change a result. Which data sets there are is the caller's to know
//! ([`DataSets`]).

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use rdarts_text::{escaped, shown};
use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use self::checks::{Bad, one_of, quoted};
use self::layer::{ALSO, Layer, first_missing};
use crate::presets::{self, Preset};
use crate::text::{TextError, read_text};

mod choice;

mod checks;

mod sections;

mod layer;

mod search;

mod stereo;

mod disparity;

mod train;

mod disparity_train;

mod robust;

mod disparity_robust;

#[cfg(test)]
mod tests;

pub use disparity::{DisparityLoopSpec, DisparityNetworkSpec, DisparitySearchSpec, StereoDataSpec};
pub use disparity_robust::{
    DisparityNetworksSpec, DisparityPortfolioSpec, DisparityRobustSpec, DisparityTrainingsSpec, StereoRobustDataSpec,
};
pub use disparity_train::{
    AdamSpec, DisparityTrainLoopSpec, DisparityTrainNetworkSpec, DisparityTrainSpec, StereoTrainDataSpec,
};
pub use robust::{PortfolioSpec, RobustNetworkSpec, RobustSpec, RobustTrainSpec, Vary};
pub use search::{
    AlphasSpec, EvalSpec, HessianImages, HessianMode, HessianSpec, LoopSpec, Method, MethodSpec, MonitorForm,
    MonitorSpec, NetworkSpec, Order, SearchDataSpec, SearchSpec, SpaceSpec,
};
pub use sections::{AugmentSpec, CutoutSchedule, DataSpec, Statistics, WeightsSpec};
pub use stereo::{PairsSpec, StereoAugmentSpec};
pub use train::{TrainDataSpec, TrainLoopSpec, TrainNetworkSpec, TrainSpec};

/// All values of a kind of run; the kinds are those of this crate.
pub trait Spec: Sized + Serialize + DeserializeOwned + PartialEq {
    /// The kind, as the key `kind` names it.
    const KIND: &'static str;
    /// Its presets; the first one is complete: the base of the others, and the list of the known keys.
    const PRESETS: &'static [Preset];
    /// The keys whose value is one of a few names.
    const CHOICES: &'static [(&'static str, &'static [&'static str])];
    /// Keys that came later than the first recorded specs: the value that stands for what was done then, as TOML; in lists,
    /// since kinds share some.
    const ADDED: &'static [&'static [(&'static str, &'static str)]];
    /// Sections that came later as a whole.
    const ADDED_SECTIONS: &'static [&'static str] = &[];
    /// An override, as the sentence on a bad one shows it.
    const EXAMPLE: &'static str;
    /// Whether such a run writes checkpoints; one that does not goes on from its events.
    const HAS_CHECKPOINTS: bool;

    /// Section `[data]` of a run on images to be classified.
    fn data(&self) -> Option<&DataSpec>;

    /// The complete spec as TOML, a comment above each section.
    fn to_toml(&self) -> String;

    /// Checks every value against its range.
    fn check(&self) -> Result<(), Bad>;

    /// Puts a spec together from a preset, the user's file and overrides `key=value`.
    ///
    /// The preset is the one of an override `preset=...`, else `preset`, else the one that the file names, else
    /// the first of the kind.
    fn resolve(
        preset: Option<&str>,
        file: Option<&Path>,
        overrides: &[String],
        sets: &dyn DataSets,
    ) -> Result<Self, SpecError> {
        let file = match file {
            None => None,
            Some(path) => Some((shown(path), read_text("spec", path)?)),
        };
        let file = file.as_ref().map(|(name, text)| (name.as_str(), text.as_str()));
        Self::resolve_text(preset, file, overrides, sets)
    }

    /// Whether the user's file, given as its name and its text, or an override names a key such as `hessian.batches`;
    /// else its value is a preset's.
    fn is_named(key: &str, file: Option<(&str, &str)>, overrides: &[String]) -> Result<bool, SpecError> {
        Ok(users_layers::<Self>(None, file, overrides)?.iter().any(|layer| layer.names(key)))
    }

    /// Like [`Spec::resolve`], with the file given as its name and its text.
    fn resolve_text(
        preset: Option<&str>,
        file: Option<(&str, &str)>,
        overrides: &[String],
        sets: &dyn DataSets,
    ) -> Result<Self, SpecError> {
        let mut layers = users_layers::<Self>(preset, file, overrides)?;
        let mut resolved = Layer::base::<Self>();
        if resolved.table.contains_key(ALSO.1) && !layers.iter().any(|layer| layer.names("train_augment.flip")) {
            layers.iter_mut().for_each(Layer::flip_also);
        }
        // The preset is chosen by the topmost layer that names one.
        if let Some((name, origin)) = layers.iter().rev().find_map(Layer::preset) {
            let chosen = presets::find(Self::PRESETS, name).ok_or_else(|| SpecError::BadValue {
                origin,
                key: "preset".to_string(),
                value: quoted(name),
                wanted: one_of(&Self::PRESETS.iter().map(|preset| preset.name).collect::<Vec<_>>()),
            })?;
            resolved.lay(Layer::from_preset(chosen));
        }
        if let Some(layer) = Layer::of_data(&resolved, &layers, sets) {
            resolved.lay(layer);
        }
        resolved.shrink_lengths(&layers, sets);
        for layer in layers {
            resolved.lay(layer);
        }
        resolved.into_spec(Some(sets))
    }

    /// Reads a spec that names every key, such as the one in a run directory; no preset takes part. Keys that the
    /// first programs did not have ([`Spec::ADDED`]) may be missing.
    ///
    /// `name` is what errors call the text.
    fn from_complete(name: &str, text: &str) -> Result<Self, SpecError> {
        Self::from_recorded(name, text, None)
    }

    /// Like [`Spec::from_complete`], also held to what its data set is like, if `sets` are known.
    fn from_recorded(name: &str, text: &str, sets: Option<&dyn DataSets>) -> Result<Self, SpecError> {
        let mut layer = Layer::from_text::<Self>(name, text)?;
        for (key, value) in Self::ADDED.iter().copied().flatten() {
            let value: Value = value.parse().expect("a value of TOML");
            let place = match key.split_once('.') {
                None => Some((&mut layer.table, *key)),
                Some((section, key)) => {
                    // A section that came later is missing as a whole.
                    let is_new = Self::ADDED_SECTIONS.contains(&section);
                    if is_new && !layer.table.contains_key(section) {
                        layer.table.insert(section.to_string(), Value::Table(Table::new()));
                    }
                    match layer.table.get_mut(section) {
                        Some(Value::Table(table)) => Some((table, key)),
                        _ => None,
                    }
                }
            };
            if let Some((table, key)) = place {
                table.entry(key).or_insert(value);
            }
        }
        if let Some(key) = first_missing(&layer.table, &Layer::base::<Self>().table, "") {
            return Err(SpecError::MissingKey { origin: Origin::File(name.to_string()), key });
        }
        layer.into_spec(sets)
    }

    /// Checks every value against its range; whose value was refused is named as made by a program.
    fn validate(&self) -> Result<(), SpecError> {
        self.check().map_err(|bad| bad.at(Origin::Program))
    }
}

/// The first key in which two complete specs, as TOML, differ, and its value in both.
pub fn difference(a: &str, b: &str) -> Option<(String, String, String)> {
    let lines = |text: &str| -> Vec<(String, String)> {
        let mut section = String::new();
        let mut all = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            match line.split_once(" = ") {
                Some((key, value)) => all.push((format!("{section}{key}"), value.to_string())),
                None => section = format!("{}.", line.trim_matches(['[', ']'])),
            }
        }
        all
    };
    let (a, b) = (lines(a), lines(b));
    let missing = || "nothing".to_string();
    let of = |all: &[(String, String)], key: &str| {
        all.iter().find(|(other, _)| other == key).map_or_else(missing, |(_, value)| value.clone())
    };
    // Which preset a spec was made from says nothing of what it is.
    let keys = a.iter().chain(&b).map(|(key, _)| key.clone()).filter(|key| key != "preset");
    keys.map(|key| (of(&a, &key), of(&b, &key), key)).find(|(a, b, _)| a != b).map(|(a, b, key)| (key, a, b))
}

/// What a spec has to know of data sets; which there are is the caller's to know.
pub trait DataSets {
    /// The preset of a data set: what its images need, whatever is done with them. TOML, with sections only; a length may
    /// be given as a part of the size of the images, `"data.size / 8"`.
    fn preset(&self, name: &str) -> Option<&'static str>;

    /// The side of a data set's images, which lengths in presets are written for; none if they may have any.
    fn side(&self, name: &str) -> Option<usize>;

    /// Whether the number of values per pixel can be chosen.
    fn has_free_channels(&self, name: &str) -> bool;
}

/// The kind of run that a recorded spec is for; `name` is what errors call the text.
///
/// # Errors
/// If it is no TOML.
pub fn kind_of(name: &str, text: &str) -> Result<String, SpecError> {
    let table = layer::parse(name, text)?;
    // The first programs recorded searches only, and no kind.
    Ok(table.get("kind").and_then(Value::as_str).unwrap_or(SearchSpec::KIND).to_string())
}

/// The preset that a spec names, which tells its kind too where no kind is named; `name` is what errors call the text.
///
/// # Errors
/// If it is no TOML.
pub fn preset_of(name: &str, text: &str) -> Result<Option<String>, SpecError> {
    Ok(layer::parse(name, text)?.get("preset").and_then(Value::as_str).map(str::to_string))
}

/// What the user says, the lowest first.
fn users_layers<S: Spec>(
    preset: Option<&str>,
    file: Option<(&str, &str)>,
    overrides: &[String],
) -> Result<Vec<Layer>, SpecError> {
    let mut layers = Vec::new();
    if let Some((name, text)) = file {
        layers.push(Layer::from_text::<S>(name, text)?);
    }
    if let Some(name) = preset {
        let table = Table::from_iter([("preset".to_string(), Value::String(name.to_string()))]);
        layers.push(Layer { table, origins: BTreeMap::from([("preset".to_string(), Origin::Argument)]) });
    }
    for text in overrides {
        layers.push(Layer::from_override::<S>(text)?);
    }
    Ok(layers)
}

/// The keys outside of all sections, in the order they are written.
#[derive(Serialize)]
struct Top<'a> {
    kind: &'a str,
    preset: &'a str,
    seed: u64,
}

/// Writes a section.
fn section(out: &mut String, name: &str, about: &str, values: &impl Serialize) {
    out.push_str(&format!("\n# {about}\n[{name}]\n{}", lines(values)));
}

/// Strings, bools, 63-bit whole numbers, floats and lists of them: TOML has them all, so writing cannot fail for a valid spec.
fn lines(values: &impl Serialize) -> String {
    toml::to_string(values).expect("every value of a valid spec exists in TOML")
}

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
    #[error("--set {}: write an override as key=value, such as {example}", escaped(text))]
    BadOverride {
        /// The override.
        text: String,
        /// A right one.
        example: &'static str,
    },
}

impl SpecError {
    /// The same error where an override is one that `flag` knows as the text of an argument.
    pub fn of_flags(mut self, flag: impl Fn(&str) -> Option<&'static str>) -> Self {
        if let SpecError::BadValue { origin, .. } = &mut self
            && let Origin::Override(text) = origin
            && let Some(name) = flag(text)
        {
            *origin = Origin::Flag(name);
        }
        self
    }

    /// The same error where an override is one that `origin` knows a better place of.
    pub fn of_overrides(mut self, origin_of: impl Fn(&str) -> Option<Origin>) -> Self {
        match &mut self {
            SpecError::BadValue { origin, .. }
            | SpecError::UnknownKey { origin, .. }
            | SpecError::MissingKey { origin, .. }
            | SpecError::Syntax { origin, .. } => {
                if let Origin::Override(text) = origin
                    && let Some(place) = origin_of(text)
                {
                    *origin = place;
                }
            }
            SpecError::BadOverride { .. } | SpecError::Text(_) => {}
        }
        self
    }

    /// Whether it names a line of a file.
    pub fn is_of_line(&self) -> bool {
        matches!(
            self,
            SpecError::BadValue { origin: Origin::Line(..), .. }
                | SpecError::UnknownKey { origin: Origin::Line(..), .. }
                | SpecError::MissingKey { origin: Origin::Line(..), .. }
                | SpecError::Syntax { origin: Origin::Line(..), .. }
        )
    }

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
    /// An argument that sets a key, such as `--method`.
    Flag(&'static str),
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
            Origin::Flag(name) => f.write_str(name),
            Origin::Program => write!(f, "spec"),
        }
    }
}
