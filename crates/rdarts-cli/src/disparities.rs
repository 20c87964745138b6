//! A search for disparity as the program tells of it.

use std::path::{Path, PathBuf};

use rdarts_data::shown;
use rdarts_data::stereo::stereo_at;
use rdarts_net::Engine;
use rdarts_run::spec::{kind_of, preset_of};
use rdarts_run::{DataSets, DisparityEpoch, DisparitySearchSpec, Event, PairsSpec, RunDir, RunView, Spec, for_shell};
use rdarts_search::{DisparityFound, DisparitySearch};
use rdarts_space::DisparitySpace;
use serde_json::json;

use crate::conduct::{Conducted, count};
use crate::exit::{Exit, out, say};
use crate::given::quote;
use crate::plot::{self, Point};
use crate::progress::Reading;
use crate::searches::json_of_search;

/// A search for disparity that is conducted.
pub struct DisparityRun<'a>(pub &'a DisparitySearch);

impl Conducted for DisparityRun<'_> {
    type Found = DisparityFound;
    const WHAT: &'static str = "search";
    const OF: &'static str = "pairs";

    fn steps(&self) -> Option<usize> {
        Some(self.0.spec.search.epochs * self.0.steps_per_epoch())
    }

    fn engine(&self) -> &Engine {
        &self.0.engine
    }

    fn data_dirs(&self, dir: &RunDir) -> Result<[String; 2], Exit> {
        Ok([self.0.spec.data.pairs.dir.clone(), dir.view().spec::<DisparitySearchSpec>()?.data.pairs.dir])
    }

    fn tell(&self, path: &Path, found: &DisparityFound, events: &[Event]) {
        let spec = &self.0.spec;
        out!("");
        out!(
            "{} for disparity on {} in space {}: the architecture of epoch {}",
            spec.search.method,
            spec.data.pairs.name,
            self.0.space.name,
            found.epoch
        );
        out!("");
        out!("{}", found.genotype);
        out!("");
        let point = |r: &DisparityEpoch| r.eigenvalue.map(|value| Point { epoch: r.epoch, attempt: r.attempt, value });
        let points: Vec<Point> = epochs(events).filter_map(point).collect();
        if !points.is_empty() {
            out!("Dominant eigenvalue of the alpha-Hessian of the validation loss");
            out!("{}", plot::draw(&points, 10, 60));
        }
        for event in events {
            if let Event::Decision(d) = event {
                out!("After epoch {}: {}", d.epoch, d.reason);
            }
        }
        out!("{}", found.reason);
        if let Some(r) = epochs(events).filter(|r| r.epoch == found.epoch).last() {
            let pixels = |v: Option<f64>| v.map_or("not measured".into(), |v| format!("{v:.2} px"));
            out!("");
            out!(
                "That epoch: end-point error of the supernet {}, of its child with the supernet's weights {}; skip \
                 connections {} in the normal, {} in the reduction and {} in the upsampling cell.",
                pixels(r.valid_error),
                pixels(r.child_error),
                r.skip_connects[0],
                r.skip_connects[1],
                r.skip_connects[2]
            );
        }
        out!("");
        out!("Run directory: {} (genotype.txt and .json, events.jsonl, checkpoints)", for_shell(path));
    }

    fn as_json(&self, path: &Path, found: &DisparityFound, events: &[Event]) -> serde_json::Value {
        json_of_search(
            path,
            (json!(found.genotype), found.genotype.to_string(), found.epoch, &found.reason),
            "disparity_epoch",
            events,
        )
    }
}

fn epochs(events: &[Event]) -> impl Iterator<Item = &DisparityEpoch> {
    events.iter().filter_map(|event| match event {
        Event::DisparityEpoch(record) => Some(&**record),
        _ => None,
    })
}

/// The search of a run as the run recorded it, its pairs from `data_dir` if they are not where they were.
pub fn reopen(view: &RunView, data_dir: Option<&Path>, engine: Engine, quiet: bool) -> Result<DisparitySearch, Exit> {
    let mut spec: DisparitySearchSpec = view.spec_of_sets(&StereoSets)?;
    if let Some(dir) = data_dir {
        spec.data.pairs.dir = dir.display().to_string();
    }
    let reading = Reading::new(quiet);
    let search = DisparitySearch::new(spec, engine, &reading)?;
    reading.end();
    Ok(search)
}

/// What specs have to know of sets of pairs: nothing. The presets of image sets are none of theirs.
pub struct StereoSets;

impl DataSets for StereoSets {
    fn preset(&self, _: &str) -> Option<&'static str> {
        None
    }

    fn side(&self, _: &str) -> Option<usize> {
        None
    }

    fn has_free_channels(&self, _: &str) -> bool {
        false
    }
}

/// The tasks, as `--task` names them.
pub const CLASSIFICATION: &str = "classification";
/// The other one.
pub const DISPARITY: &str = "disparity";

/// What tells the task of a new run beside `--task`.
pub struct Told<'a> {
    /// `--preset`.
    pub preset: Option<&'a str>,
    /// The spec: its name and text.
    pub file: Option<(&'a str, &'a str)>,
    /// `--space`.
    pub space: Option<&'a str>,
    /// `--data`.
    pub data: Option<&'a str>,
}

/// Whether a run for disparity is wanted, whose kind is `S`: `--task` says so, or the preset, the spec, the space or the pairs
/// do.
pub fn is_wanted<S: Spec>(task: Option<&str>, by: Told<'_>) -> Result<bool, Exit> {
    let is_preset = |name: &str| S::PRESETS.iter().any(|preset| preset.name == name);
    let mut told = Vec::new();
    if let Some(preset) = by.preset.filter(|name| is_preset(name)) {
        told.push(format!("--preset {preset}"));
    }
    if let Some((name, text)) = by.file {
        let preset = preset_of(name, text)?;
        if kind_of(name, text)? == S::KIND || preset.as_deref().is_some_and(is_preset) {
            told.push(name.to_string());
        }
    }
    if let Some(space) = by.space.filter(|name| DisparitySpace::NAMES.contains(name)) {
        told.push(format!("--space {space}"));
    }
    if let Some(data) = by.data.filter(|name| rdarts_data::stereo::names().contains(name)) {
        told.push(format!("--data {data}"));
    }
    match (task, told.first()) {
        (Some(CLASSIFICATION), Some(told)) => {
            Err(Exit::Input(format!("--task is classification, but {told} is of disparity")))
        }
        (task, told) => Ok(task == Some(DISPARITY) || told.is_some()),
    }
}

/// The name and the directory of a set of pairs as `--data` and `--data-dir` give them: a name, or a path whose files say
/// which set it is.
pub fn flags_of(data: &str, dir: Option<&Path>) -> Result<(String, Option<PathBuf>), Exit> {
    if data.contains(['/', '\\']) || Path::new(data).is_dir() {
        return Ok((stereo_at(Path::new(data)).map_err(Exit::input)?.to_string(), Some(PathBuf::from(data))));
    }
    Ok((data.to_string(), dir.map(Path::to_path_buf)))
}

/// The keys that `--data` and `--data-dir` set: the name of a set, or the path of one, whose files say which it is.
pub fn flags(data: Option<&str>, dir: Option<&str>) -> Result<Vec<String>, Exit> {
    let mut keys = Vec::new();
    let mut dir = dir.map(PathBuf::from);
    if let Some(data) = data {
        let (name, own) = flags_of(data, dir.as_deref())?;
        keys.push(format!("data.name={}", quote(&name)));
        dir = own;
    }
    if let Some(dir) = dir {
        keys.push(format!("data.dir={}", quote(&dir.to_string_lossy())));
    }
    Ok(keys)
}

/// The directory of the pairs as it is recorded: whole, so that a run goes on from anywhere.
pub fn directory(data: &PairsSpec) -> Result<String, Exit> {
    if data.dir.is_empty() {
        return Ok(String::new());
    }
    if data.name == SCENES {
        return Err(Exit::Input(format!("{SCENES} are made as they are needed: there is no directory of them")));
    }
    let whole = std::path::absolute(&data.dir).map_err(|e| Exit::Input(format!("`{}`: {e}", shown(&data.dir))))?;
    Ok(whole.display().to_string())
}

/// The set that has no files.
const SCENES: &str = "stereo-scenes";

/// Says what begins.
pub fn announce(search: &DisparitySearch, path: &Path, threads: usize) {
    let spec = &search.spec;
    say!(
        "{} for disparity in space {} on {} (preset {}): {} of {}, {} channels, {} weights, {} alphas, {} order, L2 {:e}, \
         augmentation {}",
        spec.search.method,
        search.space.name,
        spec.data.pairs.name,
        spec.preset,
        count(spec.search.epochs, "epoch"),
        count(search.steps_per_epoch(), "step"),
        spec.network.channels,
        search.net.n_parameters(),
        search.n_alphas().iter().sum::<usize>(),
        spec.search.order,
        spec.weights.l2,
        spec.augment.strength,
    );
    say!(
        "{} pairs train the weights, {} the alphas, in windows of {}x{} pixels; correlation over {} pixels to either side \
         at an eighth of the size; {}; run directory {}",
        search.n_pairs[0],
        search.n_pairs[1],
        spec.search.crop_width,
        spec.search.crop_height,
        search.sizes.displacement,
        count(threads, "thread"),
        shown(path),
    );
}

/// SPACE-DATA-METHOD-SEED.
pub fn run_name(spec: &DisparitySearchSpec) -> String {
    format!("{}-{}-{}-{}", spec.space.name, spec.data.pairs.name, spec.search.method, spec.seed)
}
