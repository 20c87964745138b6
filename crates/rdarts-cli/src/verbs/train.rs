//! `rdarts train`: one network from scratch, in a new run directory.

pub mod disparity;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rdarts_data::shown;
use rdarts_run::spec::{kind_of, preset_of};
use rdarts_run::{DisparityTrainSpec, RobustSpec, RunView, SearchSpec, Spec, SpecError, TrainSpec, read_text};
use rdarts_space::{Genotype, named};
use rdarts_train::{KnownSets, Training, start};

use crate::conduct::{conduct, set_threads};
use crate::device::OnDevice;
use crate::disparities::{CLASSIFICATION, DISPARITY};
use crate::exit::{Exit, whole};
use crate::genotypes::{genotype, names, of_run};
use crate::given::{
    Flag, cache_file, data, data_directory, data_help, data_name, decide_shape, flag_of, is_within, preset_help, quote,
    reserve, set,
};
use crate::pages::Pages;
use crate::progress::Reading;
use crate::trainings::{TrainingRun, announce};
use crate::verbs::search::of_both;

/// Train the network of a genotype from scratch and test it
///
/// NETWORK is a genotype in the notation of DARTS, the name of one, a file that
/// holds one, the run directory of a finished search (then its images are
/// taken too) or of a training or portfolio (then all of its training, which
/// begins anew), or a spec file of a training (TOML).
///
/// Examples:
///   rdarts train runs/s2-fashion-mini-darts-ada-1
///       what a search has found, shortly, on the same images
///   rdarts train DARTS_V2 --preset train-paper --data cifar10
///       the paper's evaluation: 600 epochs, days on a CPU
///   rdarts train all-skip --data ./my-images --epochs 30
///       a baseline on your pictures
///   rdarts train runs/dispnet-stereo-scenes-darts-1
///       what a search for disparity has found, on its pairs
///   rdarts train AutoDispNet --preset disparity-train --data ./FlyingThings3D
///   rdarts train genotype.txt --channels 16 --cells 8 --set train.label_smoothing=0.1
///
/// Ctrl-C ends the step, saves and says how to go on with `rdarts resume`; a
/// second Ctrl-C stops at once. The run directory then holds the trained
/// network in model.safetensors.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[arg(value_name = "NETWORK", help = network_help())]
    network: String,
    #[arg(long, help = of_both(preset_help::<TrainSpec>(DEMO), preset_help::<DisparityTrainSpec>(disparity::DEMO)))]
    preset: Option<String>,
    /// What the network is for, where NETWORK does not tell: all-skip and all-sep-conv
    #[arg(long, value_name = "TASK", value_parser = [CLASSIFICATION, DISPARITY])]
    task: Option<String>,
    /// Sets one key of the spec, for example train.drop_path=0.1; may be given often
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    #[arg(long, help = data_help())]
    data: Option<String>,
    /// Directory of the data set (data.dir)
    #[arg(long)]
    data_dir: Option<String>,
    /// Seed of everything random (seed)
    #[arg(long, allow_negative_numbers = true, value_parser = |text: &str| whole(text, 0, i64::MAX as u64))]
    seed: Option<u64>,
    /// Number of epochs (train.epochs)
    #[arg(long, allow_negative_numbers = true, value_parser = |text: &str| whole(text, 1, 1_000_000))]
    epochs: Option<u64>,
    /// Channels of the first cell (network.channels)
    #[arg(long, allow_negative_numbers = true, value_parser = |text: &str| whole(text, 1, 4096))]
    channels: Option<u64>,
    /// Number of cells (network.cells)
    #[arg(long, allow_negative_numbers = true, value_parser = |text: &str| whole(text, 1, 1000))]
    cells: Option<u64>,
    /// Threads that compute; changes the speed, never the result [default: all processors]
    #[arg(long)]
    threads: Option<usize>,
    #[command(flatten)]
    on: OnDevice,
    #[command(flatten)]
    pages: Pages,
    /// The run directory itself, new or empty [default: runs/train-DATA-SEED, numbered if taken]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print the result as one JSON object and nothing else
    #[arg(long)]
    json: bool,
}

/// The preset of a training that says nothing.
const DEMO: &str = "train-demo";

/// Runs the verb.
pub fn run(args: Args) -> Result<ExitCode, Exit> {
    let engine = args.on.engine()?;
    let threads = set_threads(args.threads)?;
    let given = Given::read(&args)?;
    if let Given::Disparity(given) = &given {
        return disparity::run(&args, given, engine, threads);
    }
    let mut overrides = overrides(&args, &given)?;
    let mut spec = resolve(&args, &given, &overrides)?;
    // Before images are read, which may take long; all that follows may fail and leaves nothing behind then.
    let mut reserved = Some(reserve(args.out.as_deref(), &run_name(&spec))?);
    let path = reserved.as_ref().map_or_else(PathBuf::new, |reserved| reserved.path().to_path_buf());
    if is_within(&path, &spec.data.images.dir) {
        // An empty directory among those of the images would be taken for a class.
        reserved = None;
    }
    if decide_shape(&mut overrides, &spec.data.images, args.json)? {
        spec = resolve(&args, &given, &overrides)?;
    }
    let reading = Reading::new(args.json);
    let training = Training::watched(spec, engine, &reading)?;
    reading.end();
    let reserved = match reserved {
        Some(reserved) => reserved,
        None => reserve(args.out.as_deref(), &run_name(&training.spec))?,
    };
    let path = reserved.path().to_path_buf();
    let mut dir = reserved.fill(&training.spec)?;
    if !args.json {
        announce(&training, &path, threads);
    }
    conduct(&TrainingRun(&training), &mut dir, threads, args.json, &args.pages, |dir, shown, stop| {
        start(&training, dir, shown, stop)
    })
}

/// What the argument names.
enum Given {
    /// Something of disparity.
    Disparity(disparity::Given),
    /// A spec file: its name and text.
    Spec(String, String),
    /// A genotype.
    Genotype(Box<Genotype>),
    /// A finished search: what it found, and on which images.
    Search(Box<Genotype>, Box<SearchSpec>),
    /// A finished training or portfolio: what it found or trained, and the training of it.
    Training(Box<Genotype>, Box<TrainSpec>),
}

impl Given {
    fn read(args: &Args) -> Result<Self, Exit> {
        let (text, path) = (&args.network[..], Path::new(&args.network));
        let task = args.task.as_deref().or(args
            .preset
            .as_deref()
            .filter(|name| disparity::is_preset(name))
            .map(|_| DISPARITY));
        let found = Self::of_path(text, path, task)?;
        match (&found, args.task.as_deref()) {
            (Self::Disparity(_), Some(CLASSIFICATION)) => {
                Err(Exit::Input("--task is classification, but NETWORK estimates disparity".into()))
            }
            (Self::Disparity(_), _) | (_, None | Some(CLASSIFICATION)) => Ok(found),
            _ => Err(Exit::Input("--task is disparity, but NETWORK classifies".into())),
        }
    }

    fn of_path(text: &str, path: &Path, task: Option<&str>) -> Result<Self, Exit> {
        if path.is_dir() {
            return Self::of_run(path);
        }
        let is_disparity = task == Some(DISPARITY);
        if path.extension().is_some_and(|extension| extension == "toml") {
            let (name, spec) = (shown(path), read_text("spec", path).map_err(SpecError::from)?);
            let names_one = is_disparity_spec(&name, &spec)?;
            return Ok(match is_disparity || names_one {
                true => Self::Disparity(disparity::Given::Spec(name, spec)),
                false => Self::Spec(name, spec),
            });
        }
        let held = path.is_file().then(|| std::fs::read_to_string(path).ok()).flatten();
        if held.as_deref().is_some_and(|held| is_disparity || disparity::is_text(held)) {
            let genotype = disparity::of_text(held.as_deref().unwrap_or_default(), &shown(path))?;
            return Ok(Self::Disparity(disparity::Given::Genotype(genotype)));
        }
        if held.is_none() && (is_disparity || disparity::is_text(text)) {
            return Ok(Self::Disparity(disparity::Given::Genotype(disparity::of_text(text, "NETWORK")?)));
        }
        Ok(Self::Genotype(Box::new(genotype(text, "NETWORK")?)))
    }

    fn of_run(path: &Path) -> Result<Self, Exit> {
        let view = RunView::open(path)?;
        if let Some(given) = disparity::of_run(&view, path)? {
            return Ok(Self::Disparity(given));
        }
        let genotype = Box::new(of_run(&view, path)?);
        match view.kind() {
            RobustSpec::KIND => {
                let spec = view.spec::<RobustSpec>()?.train_spec(&genotype.to_string(), false);
                Ok(Self::Training(genotype, Box::new(spec)))
            }
            TrainSpec::KIND => Ok(Self::Training(genotype, Box::new(view.spec()?))),
            _ => Ok(Self::Search(genotype, Box::new(view.spec()?))),
        }
    }
}

fn network_help() -> String {
    format!(
        "A genotype, a file with one, a run directory, a spec file (TOML), or a name: {}; for disparity {}",
        names(),
        disparity::names()
    )
}

/// Whether a spec says that it is one of a training for disparity, by its kind or its preset.
fn is_disparity_spec(name: &str, text: &str) -> Result<bool, Exit> {
    let preset = preset_of(name, text)?;
    Ok(kind_of(name, text)? == DisparityTrainSpec::KIND || preset.as_deref().is_some_and(disparity::is_preset))
}

/// What the argument and the flags set, the last one counts.
fn overrides(args: &Args, given: &Given) -> Result<Vec<String>, Exit> {
    let mut overrides = Vec::new();
    let (name, dir) = data(args.data.as_ref(), args.data_dir.as_ref())?;
    match given {
        Given::Spec(..) | Given::Disparity(_) => {}
        Given::Genotype(genotype) => overrides.push(network(genotype)),
        // With other images or another preset only the network is taken; else the whole spec lies below.
        Given::Training(genotype, _) if !goes_on(args) => overrides.push(network(genotype)),
        Given::Training(..) => {}
        Given::Search(genotype, spec) => {
            overrides.push(network(genotype));
            if name.is_none() {
                let (images, flip) = (&spec.data.images, spec.augment.flip);
                overrides.push(format!("augment.flip={flip}"));
                overrides.push(format!("data.statistics={}", quote(&images.statistics.to_string())));
                overrides.push(format!("data.limit={}", images.limit));
                overrides.push(format!("data.name={}", quote(&images.name)));
                overrides.push(format!("data.dir={}", quote(&images.dir)));
                overrides.push(format!("data.size={}", images.size));
                overrides.push(format!("data.channels={}", images.channels));
                overrides.push(format!("data.cache={}", quote(&images.cache)));
                overrides.push(format!("data.split_seed={}", images.split_seed));
                overrides.push(format!("data.test_fraction={:?}", images.test_fraction));
            }
        }
    }
    overrides.extend(args.overrides.iter().cloned());
    let values = [
        name.as_deref().map(quote),
        dir.as_deref().map(quote),
        args.seed.map(|v| v.to_string()),
        args.epochs.map(|v| v.to_string()),
        args.channels.map(|v| v.to_string()),
        args.cells.map(|v| v.to_string()),
    ];
    overrides.extend(set(&FLAGS, values));
    Ok(overrides)
}

/// Whether a training of the same images with the same preset is wanted.
fn goes_on(args: &Args) -> bool {
    args.data.is_none() && args.preset.is_none()
}

fn network(genotype: &Genotype) -> String {
    format!("network.genotype={}", quote(&genotype.to_string()))
}

/// The arguments that set a key of the spec.
const FLAGS: [Flag; 6] = [
    ("--data", "data.name"),
    ("--data-dir", "data.dir"),
    ("--seed", "seed"),
    ("--epochs", "train.epochs"),
    ("--channels", "network.channels"),
    ("--cells", "network.cells"),
];

fn resolve(args: &Args, given: &Given, overrides: &[String]) -> Result<TrainSpec, Exit> {
    let of_run;
    let file = match given {
        Given::Spec(name, text) => Some((name.as_str(), text.as_str())),
        Given::Training(_, spec) if goes_on(args) => {
            of_run = spec.to_toml();
            Some(("the spec of the run", of_run.as_str()))
        }
        _ => None,
    };
    let preset = args.preset.as_deref().or(if file.is_none() { Some(DEMO) } else { None });
    let resolved = TrainSpec::resolve_text(preset, file, overrides, &KnownSets);
    let mut spec = resolved.map_err(|e| e.of_flags(|text| flag_of(&FLAGS, &args.overrides, text)))?;
    if let Ok(genotype) = named(spec.network.genotype.trim()) {
        spec.network.genotype = genotype.to_string();
    }
    spec.data.images.dir = data_directory(&spec.data.images)?;
    spec.data.images.cache = cache_file(&spec.data.images.cache)?;
    Ok(spec)
}

/// train-DATA-SEED.
fn run_name(spec: &TrainSpec) -> String {
    format!("train-{}-{}", data_name(&spec.data.images), spec.seed)
}
