//! `rdarts train` of a network that estimates disparity.

use std::path::Path;
use std::process::ExitCode;

use rdarts_data::shown;
use rdarts_net::Engine;
use rdarts_run::{DisparityRobustSpec, DisparitySearchSpec, DisparityTrainSpec, RunView, Spec, for_shell};
use rdarts_space::disparity::{DisparityGenotype, NAMES, is_of_disparity, named};
use rdarts_train::disparity::DisparityTraining;
use rdarts_train::start;

use super::Args;
use crate::conduct::conduct;
use crate::disparities::{self, StereoSets};
use crate::disparity_trainings::{DisparityTrainingRun, announce};
use crate::exit::Exit;
use crate::given::{Flag, flag_of, quote, reserve, set};
use crate::progress::Reading;

/// What the argument names.
pub enum Given {
    /// A spec file: its name and text.
    Spec(String, String),
    /// A genotype.
    Genotype(DisparityGenotype),
    /// A finished search: what it found, and on which pairs.
    Search(DisparityGenotype, Box<DisparitySearchSpec>),
    /// A finished training or portfolio: what it trained, and how.
    Training(DisparityGenotype, Box<DisparityTrainSpec>),
}

impl Given {
    /// The genotype alone.
    pub fn genotype(self) -> Result<DisparityGenotype, Exit> {
        match self {
            Self::Genotype(genotype) | Self::Search(genotype, _) | Self::Training(genotype, _) => Ok(genotype),
            Self::Spec(name, _) => Err(Exit::Input(format!("{name} is a spec, not a genotype"))),
        }
    }
}

/// The preset of a training that says nothing.
pub const DEMO: &str = "disparity-train-demo";

/// The names of genotypes for disparity, for help texts.
pub fn names() -> String {
    NAMES.join(", ")
}

/// Whether a preset is one of trainings for disparity.
pub fn is_preset(name: &str) -> bool {
    DisparityTrainSpec::PRESETS.iter().any(|preset| preset.name == name)
}

/// What a run directory has found or trained, if it is one of disparity.
pub fn of_run(view: &RunView, path: &Path) -> Result<Option<Given>, Exit> {
    if ![DisparitySearchSpec::KIND, DisparityTrainSpec::KIND, DisparityRobustSpec::KIND].contains(&view.kind()) {
        return Ok(None);
    }
    let text = view.genotype()?.ok_or_else(|| {
        let path = for_shell(path);
        Exit::Input(format!("the run {path} has not found a genotype yet: finish it with `rdarts resume {path}`"))
    })?;
    let genotype = of_text(&text, &shown(path.join("genotype.txt")))?;
    Ok(Some(match view.kind() {
        DisparitySearchSpec::KIND => Given::Search(genotype, Box::new(view.spec()?)),
        DisparityRobustSpec::KIND => {
            let spec = view.spec::<DisparityRobustSpec>()?.train_spec(&genotype.to_string(), false);
            Given::Training(genotype, Box::new(spec))
        }
        _ => Given::Training(genotype, Box::new(view.spec()?)),
    }))
}

/// Whether a text that people give is of disparity: the contents of a file, the notation, or a name.
pub fn is_text(text: &str) -> bool {
    text.contains("upsample") || is_of_disparity(text)
}

/// The genotype of a text, which stood in `origin`.
pub fn of_text(text: &str, origin: &str) -> Result<DisparityGenotype, Exit> {
    let found = match text.contains(['(', '{', '[']) {
        true => DisparityGenotype::read(text),
        false => named(text.trim()),
    };
    found.map_err(|e| Exit::Input(format!("{origin}: {e}")))
}

/// Trains it.
pub fn run(args: &Args, given: &Given, engine: Engine, threads: usize) -> Result<ExitCode, Exit> {
    if args.cells.is_some() {
        return Err(Exit::Input("--cells is for classification: a network for disparity has 11 cells".into()));
    }
    let spec = resolve(args, given)?;
    let reserved = reserve(args.out.as_deref(), &format!("train-{}-{}", spec.data.pairs.name, spec.seed))?;
    let path = reserved.path().to_path_buf();
    let reading = Reading::new(args.json);
    let training = DisparityTraining::new(spec, engine, &reading)?;
    reading.end();
    let mut dir = reserved.fill(&training.spec)?;
    if !args.json {
        announce(&training, &path, threads);
    }
    conduct(&DisparityTrainingRun(&training), &mut dir, threads, args.json, &args.pages, |dir, shown, stop| {
        start(&training, dir, shown, stop)
    })
}

/// The arguments that set a key of the spec.
const FLAGS: [Flag; 3] = [("--seed", "seed"), ("--epochs", "train.epochs"), ("--channels", "network.channels")];

fn resolve(args: &Args, given: &Given) -> Result<DisparityTrainSpec, Exit> {
    let (mut overrides, of_run);
    let mut file = None;
    match given {
        Given::Spec(name, text) => {
            overrides = Vec::new();
            file = Some((name.as_str(), text.as_str()));
        }
        Given::Genotype(genotype) => overrides = vec![network(genotype)],
        Given::Search(genotype, spec) => {
            overrides = vec![network(genotype)];
            if args.data.is_none() {
                overrides.extend(pairs_of(spec));
            }
        }
        // With other pairs or another preset only the network is taken; else the whole spec lies below.
        Given::Training(_, spec) if args.data.is_none() && args.preset.is_none() => {
            overrides = Vec::new();
            of_run = spec.to_toml();
            file = Some(("the spec of the run", of_run.as_str()));
        }
        Given::Training(genotype, _) => overrides = vec![network(genotype)],
    }
    overrides.extend(args.overrides.iter().cloned());
    overrides.extend(disparities::flags(args.data.as_deref(), args.data_dir.as_deref())?);
    overrides.extend(set(&FLAGS, [args.seed, args.epochs, args.channels].map(|v| v.map(|v| v.to_string()))));
    let preset = args.preset.as_deref().or(if file.is_none() { Some(DEMO) } else { None });
    let resolved = DisparityTrainSpec::resolve_text(preset, file, &overrides, &StereoSets);
    let mut spec = resolved.map_err(|e| e.of_flags(|text| flag_of(&FLAGS, &args.overrides, text)))?;
    // A recorded spec holds the notation itself.
    spec.network.genotype = of_text(&spec.network.genotype, "network.genotype")?.to_string();
    spec.data.pairs.dir = disparities::directory(&spec.data.pairs)?;
    Ok(spec)
}

fn network(genotype: &DisparityGenotype) -> String {
    format!("network.genotype={}", quote(&genotype.to_string()))
}

/// The pairs that a search saw. Whether they are halved and how many scenes there are is the training's to say.
fn pairs_of(spec: &DisparitySearchSpec) -> Vec<String> {
    let pairs = &spec.data.pairs;
    vec![
        format!("data.name={}", quote(&pairs.name)),
        format!("data.dir={}", quote(&pairs.dir)),
        format!("data.height={}", pairs.height),
        format!("data.width={}", pairs.width),
        format!("data.max_disparity={:?}", pairs.max_disparity),
        format!("data.scenes_seed={}", pairs.scenes_seed),
        format!("data.limit={}", pairs.limit),
    ]
}
