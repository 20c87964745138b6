//! `rdarts robust`: a portfolio of searches, the choice, and the training of what was chosen, in a new run directory.

mod disparity;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rdarts_data::{FOLDER, shown};
use rdarts_run::{DisparityRobustSpec, Method, RobustSpec, Spec, SpecError, read_text};
use rdarts_search::open_space;
use rdarts_space::{DisparitySpace, Space};
use rdarts_study::plan::{self, Paces};
use rdarts_study::portfolio::Hands;
use rdarts_study::{Portfolio, Task};
use rdarts_train::{ImageSet, KnownSets};

use crate::conduct::{cells, count, jobs, one_of, set_threads, warn_of_cells};
use crate::device::OnDevice;
use crate::disparities::{self, CLASSIFICATION, DISPARITY, Told};
use crate::exit::{Exit, say, whole};
use crate::given::{
    Flag, cache_file, data, data_directory, data_help, data_name, decide_shape, flag_of, is_within, no_spec,
    preset_help, quote, reserve, set,
};
use crate::pages::Pages;
use crate::portfolios::carry_out;
use crate::progress::{Reading, duration};
use crate::verbs::search::of_both;

/// From images to a trained network: several searches, the best of what they find, its training
///
/// R-DARTS: searches that differ in their regularisation (or seed), a short
/// training of each cell that they find, the choice of the best on held-out
/// images, and its training in full, beside a random, an all-skip and an
/// all-sep-conv cell of the same size. Without arguments small, on embedded
/// images, a few minutes on two cores.
///
/// Examples:
///   rdarts robust
///       some minutes on two cores: three searches in space S2, fashion-mini
///   rdarts robust --data ./my-images
///       your pictures, a directory a class; then `rdarts predict` and `export`
///   rdarts robust --data ./my-images --hours 2
///       as much as two hours allow
///   rdarts robust --preset paper --data cifar10
///       R-DARTS(L2) as published: weeks on a CPU
///   rdarts robust --vary seed --values 1,2,3,4
///   rdarts robust --set search.epochs=10 --set train.epochs=30
///   rdarts robust --task disparity
///       a network that estimates disparity, on synthetic scenes
///
/// Ctrl-C saves; `rdarts resume` goes on with whatever was under way, to the
/// same bits. Every search and training is a run of its own in the directory
/// `members`.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Spec file (TOML); keys it does not name come from its `preset` (or from `paper`, for disparity `disparity`)
    spec: Option<PathBuf>,
    #[arg(long, help = of_both(preset_help::<RobustSpec>(DEMO), preset_help::<DisparityRobustSpec>(disparity::DEMO)))]
    preset: Option<String>,
    /// What the networks are for: to classify, or to estimate disparity from pairs of views [default: classification, unless
    /// the preset, the spec, the space or the pairs tell]
    #[arg(long, value_name = "TASK", value_parser = [CLASSIFICATION, DISPARITY])]
    task: Option<String>,
    /// Sets one key of the spec, for example portfolio.valid_fraction=0.2; may be given often
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    #[arg(long, help = format!("Search space: {}, or a TOML file; for disparity {} (space.name)", Space::NAMES.join(", "), one_of(&DisparitySpace::NAMES)))]
    space: Option<String>,
    #[arg(long, help = data_help())]
    data: Option<String>,
    /// Directory of the data set (data.dir)
    #[arg(long)]
    data_dir: Option<String>,
    #[arg(long, help = format!("What the searches differ in: {}; for disparity {} (portfolio.vary)", one_of(RobustSpec::VARY), one_of(DisparityRobustSpec::VARY)))]
    vary: Option<String>,
    /// Its value in each search, separated by commas (portfolio.values)
    #[arg(long, allow_negative_numbers = true)]
    values: Option<String>,
    /// Seed of everything random (seed)
    #[arg(long, allow_negative_numbers = true, value_parser = |text: &str| whole(text, 0, i64::MAX as u64))]
    seed: Option<u64>,
    /// Fits the epochs of searches and trainings to so many hours on this machine; says so and starts all the same where
    /// even the smallest plan takes longer
    #[arg(long, allow_negative_numbers = true, value_parser = hours)]
    hours: Option<f64>,
    /// Largest number of weights that may be chosen (portfolio.max_params)
    #[arg(long, allow_negative_numbers = true, value_parser = |text: &str| whole(text, 1, i64::MAX as u64))]
    max_params: Option<u64>,
    /// Largest number of multiply-adds of an image that may be chosen (portfolio.max_macs)
    #[arg(long, allow_negative_numbers = true, value_parser = |text: &str| whole(text, 1, i64::MAX as u64))]
    max_macs: Option<u64>,
    /// Runs side by side, each with its share of the threads; changes the speed, never the result
    #[arg(long, default_value_t = 1, value_parser = jobs)]
    jobs: usize,
    /// Threads that compute; changes the speed, never the result [default: all processors]
    #[arg(long)]
    threads: Option<usize>,
    #[command(flatten)]
    on: OnDevice,
    #[command(flatten)]
    pages: Pages,
    /// The run directory itself, new or empty [default: runs/robust-DATA-SEED, numbered if taken]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print the result as one JSON object and nothing else
    #[arg(long)]
    json: bool,
}

/// The preset of a portfolio that says nothing.
const DEMO: &str = "demo";

fn hours(text: &str) -> Result<f64, String> {
    let value = text.parse::<f64>().ok().filter(|hours| (0.001..=100_000.0).contains(hours));
    value.ok_or_else(|| "a number of hours from 0.001 to 100000, such as 1.5".to_string())
}

/// Runs the verb.
pub fn run(args: Args) -> Result<ExitCode, Exit> {
    let engine = args.on.engine()?;
    let threads = set_threads(args.threads)?;
    let file = match &args.spec {
        Some(path) if path.is_dir() => return Err(no_spec(path, "robust")),
        Some(path) => Some((shown(path), read_text("spec", path).map_err(SpecError::from)?)),
        None => None,
    };
    let file = file.as_ref().map(|(name, text)| (name.as_str(), text.as_str()));
    let [preset, space, data, task] = [&args.preset, &args.space, &args.data, &args.task].map(Option::as_deref);
    if disparities::is_wanted::<DisparityRobustSpec>(task, Told { preset, file, space, data })? {
        return disparity::run(&args, file, engine, threads);
    }
    let mut overrides = overrides(&args)?;
    let mut spec = resolve(&args, file, &overrides)?;
    let space = open_space(&spec.space.name)?;
    // Before images are read, which may take long; all that follows may fail and leaves nothing behind then.
    let mut reserved = Some(reserve(args.out.as_deref(), &run_name(&spec))?);
    let path = reserved.as_ref().map_or_else(PathBuf::new, |reserved| reserved.path().to_path_buf());
    if is_within(&path, &spec.data.images.dir) {
        // An empty directory among those of the images would be taken for a class.
        reserved = None;
    }
    if decide_shape(&mut overrides, &spec.data.images, args.json)? {
        spec = resolve(&args, file, &overrides)?;
    }
    let reading = Reading::new(args.json);
    let images = ImageSet::open(&spec.data.images, &reading)?;
    reading.end();
    if !RobustSpec::is_named("hessian.batches", file, &overrides)? {
        Portfolio::fit_hessian_batches(&mut spec, &images)?;
    }
    let mut portfolio = Portfolio::new(spec, space, engine, images)?;
    portfolio.check_jobs(args.jobs.min(threads))?;
    plan(&args, file, &overrides, &mut portfolio)?;
    let reserved = match reserved {
        Some(reserved) => reserved,
        None => reserve(args.out.as_deref(), &run_name(&portfolio.spec))?,
    };
    let path = reserved.path().to_path_buf();
    let mut dir = reserved.fill(&portfolio.spec)?;
    if !args.json {
        announce(&portfolio, &path, threads);
    }
    carry_out(&portfolio, &mut dir, Hands { jobs: args.jobs, threads }, args.json, &args.pages)
}

/// The keys that say how long a portfolio is.
const LENGTHS: [&str; 3] = ["search.epochs", "train.short_epochs", "train.epochs"];

/// Fits the plan to the images and to the hours that are asked for; it is fixed then.
fn plan(args: &Args, file: Option<(&str, &str)>, overrides: &[String], portfolio: &mut Portfolio) -> Result<(), Exit> {
    let named = |key: &&str| RobustSpec::is_named(key, file, overrides);
    let mut theirs = Vec::new();
    for key in &LENGTHS {
        if named(key)? {
            theirs.push(*key);
        }
    }
    let keeps_every = named(&"hessian.every")?;
    let every = portfolio.spec.hessian.every;
    if portfolio.spec.preset == DEMO
        && theirs.is_empty()
        && args.hours.is_none()
        && plan::fit_to_images(&mut portfolio.spec, portfolio.sizes, keeps_every)
        && !args.json
    {
        let seldom = match portfolio.spec.hessian.every {
            same if same == every => String::new(),
            now => format!("; the curvature is measured after every {now}"),
        };
        say!(
            "There are only {} training images, so that epochs are short: there are more of them{seldom}.",
            portfolio.sizes.n
        );
    }
    let Some(hours) = args.hours else { return Ok(()) };
    if let Some(key) = theirs.first() {
        return Err(too_many_lengths(key));
    }
    let Portfolio { spec, space, engine, images, sizes, .. } = portfolio;
    let paces = plan::measure(spec, space, engine, images)?;
    let takes = plan::fit_to_budget(spec, *sizes, &paces, 3600.0 * hours, keeps_every);
    if !args.json {
        say_plan(&paces, hours, takes, spec.search.method);
    }
    Ok(())
}

/// The refusal of a plan that is decided twice.
fn too_many_lengths(key: &str) -> Exit {
    Exit::Input(format!("--hours decides how many epochs there are, but {key} is set too: leave one of the two out"))
}

/// Says what a budget has made of the plan.
fn say_plan(paces: &Paces, hours: f64, takes: f64, method: Method) {
    say!(
        "A search step takes {:.3} s here, the curvature {:.1} s and a training step {:.3} s: a plan for {hours} hours, which \
         should take {}{}.",
        paces.search.step,
        paces.curvature,
        paces.training.step,
        duration(takes),
        if method == Method::DartsAda { ", rollbacks not counted" } else { "" }
    );
    if takes > 3600.0 * hours {
        say!("warning: even the smallest plan is longer than that; fewer --values or smaller networks take less");
    }
}

impl Args {
    fn values_as_list(&self) -> Option<String> {
        self.values.as_ref().map(|values| format!("[{}]", values.trim_matches(['[', ']'])))
    }
}

/// What the flags set, the last one counts.
fn overrides(args: &Args) -> Result<Vec<String>, Exit> {
    let (name, dir) = data(args.data.as_ref(), args.data_dir.as_ref())?;
    let values = [
        args.space.as_deref().map(quote),
        name.as_deref().map(quote),
        dir.as_deref().map(quote),
        args.vary.as_deref().map(quote),
        args.values_as_list(),
        args.seed.map(|v| v.to_string()),
        args.max_params.map(|v| v.to_string()),
        args.max_macs.map(|v| v.to_string()),
    ];
    Ok([args.overrides.clone(), set(&FLAGS, values)].concat())
}

/// The arguments that set a key of the spec.
const FLAGS: [Flag; 8] = [
    ("--space", "space.name"),
    ("--data", "data.name"),
    ("--data-dir", "data.dir"),
    ("--vary", "portfolio.vary"),
    ("--values", "portfolio.values"),
    ("--seed", "seed"),
    ("--max-params", "portfolio.max_params"),
    ("--max-macs", "portfolio.max_macs"),
];

fn resolve(args: &Args, file: Option<(&str, &str)>, overrides: &[String]) -> Result<RobustSpec, Exit> {
    let preset = args.preset.as_deref().or(if args.spec.is_none() { Some(DEMO) } else { None });
    let resolved = RobustSpec::resolve_text(preset, file, overrides, &KnownSets);
    let mut spec = resolved.map_err(|e| e.of_flags(|text| flag_of(&FLAGS, &args.overrides, text)))?;
    spec.data.images.dir = data_directory(&spec.data.images)?;
    spec.data.images.cache = cache_file(&spec.data.images.cache)?;
    Ok(spec)
}

/// robust-DATA-SEED.
fn run_name(spec: &RobustSpec) -> String {
    format!("robust-{}-{}", data_name(&spec.data.images), spec.seed)
}

fn announce(portfolio: &Portfolio, path: &Path, threads: usize) {
    let (spec, sizes) = (&portfolio.spec, portfolio.sizes);
    let whole = if spec.portfolio.baselines { "it and three baselines" } else { "it" };
    say!(
        "{} of {} in space {} on {} (preset {}), which differ in {}; what they find is trained for {}, the best of it on \
         held-out images chosen, and {whole} trained for {}",
        if spec.members() == 1 { "One search".to_string() } else { format!("{} searches", spec.members()) },
        count(spec.search_spec(0).n_epochs(portfolio.space.n_decisions()), "epoch"),
        portfolio.space.name,
        data_name(&spec.data.images),
        spec.preset,
        spec.portfolio.vary.in_words(),
        count(spec.train.short_epochs, "epoch"),
        count(spec.train.whole.epochs, "epoch"),
    );
    warn_of_cells(&spec.network.reductions, spec.network.cells, "network", "the searches");
    warn_of_cells(&spec.train_network.reductions, spec.train_network.cells, "train_network", "the trainings");
    let what = if spec.data.images.name == FOLDER { "training pictures of the folder" } else { "training images" };
    let [h, w] = sizes.side;
    let network = &spec.train_network;
    let (cells, channels) = (cells(network.cells, &network.reductions), network.channels);
    say!(
        "{} {what} of {h}x{w} pixels in {}, of which the trainings hold out {}; networks of {channels} channels and {cells}; {} ({}); run directory {}",
        sizes.n,
        count(sizes.classes, "class"),
        sizes.n_valid,
        count(threads, "thread"),
        portfolio.engine.kernels.isa().name(),
        shown(path),
    );
}
