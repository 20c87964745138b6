//! `rdarts search`: a search in a new run directory.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rdarts_data::shown;
use rdarts_net::Engine;
use rdarts_run::{DisparitySearchSpec, Method, Order, Reservation, RunView, SearchSpec, Spec, SpecError, read_text};
use rdarts_search::branch::{common, refused};
use rdarts_search::methods::darts_plus::expected_skips;
use rdarts_search::{DisparitySearch, Search, open_space};
use rdarts_space::{DisparitySpace, Space};
use rdarts_train::{ImageSet, KnownSets, resume, start};

use crate::conduct::{cells, conduct, count, one_of, set_threads, warn_of_cells};
use crate::device::OnDevice;
use crate::disparities::{self, CLASSIFICATION, DISPARITY, DisparityRun, StereoSets, Told};
use crate::exit::{Exit, say, whole};
use crate::given::{
    Flag, cache_file, data, data_directory, data_help, data_name, decide_shape, flag_of, images, is_within, no_spec,
    preset_help, quote, reserve, set,
};
use crate::pages::Pages;
use crate::progress::Reading;
use crate::searches::{Searching, learned, space_of};

/// Search an architecture; without arguments a small robust search on embedded images
///
/// What is searched is a spec: a preset such as demo, a TOML file that may
/// name only what it changes, and --set key=value. The complete spec is written
/// to the run directory; every key has a comment in the presets.
///
/// Examples:
///   rdarts search
///       one to three minutes on two cores: DARTS-ADA, space S2, fashion-mini
///   rdarts search --preset paper --space s3 --seed 2
///       the paper's settings on the full Fashion-MNIST
///   rdarts search --data ./my-images
///       your pictures: a directory a class
///   rdarts search my.toml --set search.epochs=20
///       your spec, shortened
///   rdarts search --method darts --set weights.l2=0.0243
///   rdarts search --method darts --set eval.keep_checkpoints=true --out all
///   rdarts search --from all --method darts-es
///       what DARTS-ES makes of what DARTS has searched
///   rdarts search --task disparity
///       a network that estimates disparity, on synthetic scenes
///
/// Progress lines give the images a second that have trained the weights since
/// the program was started, measuring aside; the time left counts both.
///
/// Ctrl-C ends the step, saves and says how to go on; a second Ctrl-C stops at
/// once.
#[derive(clap::Args)]
#[command(verbatim_doc_comment, after_long_help = methods())]
pub struct Args {
    /// Spec file (TOML); keys it does not name come from its `preset` (or from `paper`, for disparity `disparity`)
    spec: Option<PathBuf>,
    #[arg(long, help = of_both(preset_help::<SearchSpec>(DEMO), preset_help::<DisparitySearchSpec>(DISPARITY_DEMO)))]
    preset: Option<String>,
    /// Go on from what another search has computed, under another method or other keys of [hessian]; the epochs in common
    /// are taken over
    ///
    /// The new search has that run's spec, but for --method, the keys of [hessian], [monitor] and [method], and
    /// eval.keep_checkpoints. darts, darts-es,
    /// darts-ada, darts-es-noise, darts-plus and darts-pt make the same bits until they act. That run should keep its checkpoints
    /// (eval.keep_checkpoints): out of them the curvature is measured again where the new search measures it in another
    /// way, such as on more batches.
    #[arg(long, value_name = "RUN")]
    from: Option<PathBuf>,
    /// What is searched for: a network that classifies, or one that estimates disparity from pairs of views [default:
    /// classification, unless the preset, the spec, the space or the pairs tell]
    ///
    /// Disparity has presets of its own (disparity-demo, disparity), spaces (dispnet, autodispnet) and sets of pairs
    /// (`rdarts data list`), and the methods darts, darts-es and darts-ada.
    #[arg(long, value_name = "TASK", value_parser = [CLASSIFICATION, DISPARITY])]
    task: Option<String>,
    /// Sets one key of the spec, for example weights.l2=0.0027; may be given often
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    #[arg(long, help = format!("Search space: {}, or a TOML file; for disparity {} (space.name)", Space::NAMES.join(", "), one_of(&DisparitySpace::NAMES)))]
    space: Option<String>,
    #[arg(long, help = data_help())]
    data: Option<String>,
    /// Directory of the data set (data.dir)
    #[arg(long)]
    data_dir: Option<String>,
    #[arg(long, help = methods_help(), long_help = "How it searches (search.method): one of the methods listed below")]
    method: Option<String>,
    #[arg(long, help = format!("Gradient of the alphas: {}; second is exact, second-fd a finite difference (search.order)", one_of(Order::NAMES)))]
    order: Option<String>,
    /// Seed of everything random (seed)
    #[arg(long, allow_negative_numbers = true, value_parser = |text: &str| whole(text, 0, i64::MAX as u64))]
    seed: Option<u64>,
    /// Number of epochs (search.epochs)
    #[arg(long, allow_negative_numbers = true, value_parser = |text: &str| whole(text, 1, 1_000_000))]
    epochs: Option<u64>,
    /// Threads that compute; changes the speed, never the result [default: all processors]
    #[arg(long)]
    threads: Option<usize>,
    #[command(flatten)]
    on: OnDevice,
    #[command(flatten)]
    pages: Pages,
    /// The run directory itself, new or empty [default: runs/SPACE-DATA-METHOD-SEED, numbered if taken]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print the result as one JSON object and nothing else
    #[arg(long)]
    json: bool,
}

/// The preset of a search that says nothing.
const DEMO: &str = "demo";

/// What both tasks have of a flag.
pub fn of_both(classification: String, disparity: String) -> String {
    let disparity = disparity.strip_prefix("Preset to start from: ").map_or(disparity.clone(), str::to_string);
    format!("{classification}; for disparity: {disparity}")
}

fn methods_help() -> String {
    format!("How it searches: {} (search.method); `rdarts search --help` says what each does", one_of(Method::NAMES))
}

/// The methods, each with what it does, who published it, and the keys that belong to it.
fn methods() -> String {
    let of = |method: &Method| {
        let mut lines = wrapped(&format!("{} ({})", method.about(), method.paper()));
        if method.is_first_order() {
            lines.extend(wrapped("Takes --order first alone."));
        }
        if *method == Method::RsWs {
            lines.extend(wrapped("Has no use for --order and for the keys of [alphas], [hessian] and [monitor]."));
        }
        if *method == Method::PcDarts {
            let limits = "Computes on the CPU alone, without drop path, and not in spaces with noise or conv_7x1_1x7.";
            lines.extend(wrapped(limits));
        }
        if *method == Method::DartsPtFixed {
            lines.extend(wrapped("Has no use for --order."));
        }
        if !method.keys().is_empty() {
            lines.extend(wrapped(&format!("Its keys: {}.", method.keys().join(", "))));
        }
        format!("  {method}\n      {}\n", lines.join("\n      "))
    };
    let all: String = Method::ALL.iter().map(of).collect();
    format!("Methods, with what the others do not have; unless it is said, each takes every --order:\n{all}")
}

/// A text in lines that leave room for their indent on a terminal of 80 columns.
fn wrapped(text: &str) -> Vec<String> {
    const WIDTH: usize = 72;
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => *line += &format!(" {word}"),
            _ => lines.push(word.to_string()),
        }
    }
    lines
}

/// Runs the verb.
pub fn run(args: Args) -> Result<ExitCode, Exit> {
    let engine = args.on.engine()?;
    let threads = set_threads(args.threads)?;
    // Read once: it may be a pipe, or change meanwhile.
    let file = match &args.spec {
        Some(path) if path.is_dir() => return Err(no_spec(path, "search")),
        Some(path) => Some((shown(path), read_text("spec", path).map_err(SpecError::from)?)),
        None => None,
    };
    let file = file.as_ref().map(|(name, text)| (name.as_str(), text.as_str()));
    let [preset, space, data, task] = [&args.preset, &args.space, &args.data, &args.task].map(Option::as_deref);
    if disparities::is_wanted::<DisparitySearchSpec>(task, Told { preset, file, space, data })? {
        return disparity(&args, file, engine, threads);
    }
    let mut overrides = overrides(&args)?;
    if let Some(from) = &args.from {
        return branch(&args, from, &overrides, engine, threads);
    }
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
    // A preset's number of batches gives way to few images; the user's own is refused if they do not fill it.
    let asked = spec.hessian.batches;
    let search = match SearchSpec::is_named("hessian.batches", file, &overrides)? {
        true => Search::watched(spec, space, engine, &reading)?,
        false => Search::fitted(spec, space, engine, &reading)?,
    };
    reading.end();
    let reserved = match reserved {
        Some(reserved) => reserved,
        // Another search may have taken the name meanwhile.
        None if args.out.is_none() => reserve(None, &run_name(&search.spec))?,
        None => Reservation::new(&path)?,
    };
    let path = reserved.path().to_path_buf();
    let mut dir = reserved.fill(&search.spec)?;
    dir.write_space(&search.space.to_toml())?;
    if !args.json {
        announce(&search, &path, threads);
        let batches = search.spec.hessian.batches;
        if batches < asked {
            say!(
                "The curvature is measured on {batches} {} of {} images, not on {asked}: there are no more.",
                if batches == 1 { "batch" } else { "batches" },
                search.spec.search.batch
            );
        }
    }
    conduct(&Searching(&search), &mut dir, threads, args.json, &args.pages, |dir, shown, stop| {
        start(&search, dir, shown, stop)
    })
}

/// How often what takes long before a search begins says how far it is.
const SAID_EVERY: Duration = Duration::from_secs(5);

/// The preset of a search for disparity that says nothing.
const DISPARITY_DEMO: &str = "disparity-demo";

/// A search for disparity.
fn disparity(args: &Args, file: Option<(&str, &str)>, engine: Engine, threads: usize) -> Result<ExitCode, Exit> {
    if args.from.is_some() {
        return Err(Exit::Input("--from goes on from searches for classification only".into()));
    }
    let overrides = [args.overrides.clone(), disparities::flags(args.data.as_deref(), args.data_dir.as_deref())?];
    let values = [&args.space, &args.method, &args.order].map(|value| value.as_deref().map(quote));
    let [space, method, order] = values;
    let values =
        [space, None, None, method, order, args.seed.map(|v| v.to_string()), args.epochs.map(|v| v.to_string())];
    let overrides = [overrides.concat(), set(&FLAGS, values)].concat();
    let preset = args.preset.as_deref().or(if file.is_none() { Some(DISPARITY_DEMO) } else { None });
    let resolved = DisparitySearchSpec::resolve_text(preset, file, &overrides, &StereoSets);
    let mut spec = resolved.map_err(|e| e.of_flags(|text| flag_of(&FLAGS, &args.overrides, text)))?;
    spec.data.pairs.dir = disparities::directory(&spec.data.pairs)?;
    let reserved = reserve(args.out.as_deref(), &disparities::run_name(&spec))?;
    let path = reserved.path().to_path_buf();
    let reading = Reading::new(args.json);
    let search = DisparitySearch::new(spec, engine, &reading)?;
    reading.end();
    let mut dir = reserved.fill(&search.spec)?;
    if !args.json {
        disparities::announce(&search, &path, threads);
    }
    conduct(&DisparityRun(&search), &mut dir, threads, args.json, &args.pages, |dir, shown, stop| {
        start(&search, dir, shown, stop)
    })
}

/// Goes on from what another search has computed.
fn branch(args: &Args, from: &Path, overrides: &[String], engine: Engine, threads: usize) -> Result<ExitCode, Exit> {
    let not_both = [
        (args.spec.is_some(), "a spec file"),
        (args.preset.is_some(), "--preset"),
        (args.space.is_some(), "--space"),
        (args.data.is_some(), "--data"),
        (args.order.is_some(), "--order"),
        (args.seed.is_some(), "--seed"),
        (args.epochs.is_some(), "--epochs"),
    ];
    if let Some((_, flag)) = not_both.iter().find(|(is_given, _)| *is_given) {
        return Err(Exit::Input(format!(
            "--from and {flag} do not go together: epochs can be taken over only into a search with the same spec as {}, but \
             for --method, the keys of [hessian], [monitor] and [method], and eval.keep_checkpoints",
            shown(from)
        )));
    }
    let view = RunView::open(from)?;
    let recorded: SearchSpec = view.spec_of_sets(&KnownSets)?;
    // Before the rest of the spec is looked at, of which another method may want something else.
    let asked = args.method.as_deref().and_then(|name| Method::ALL.iter().find(|method| method.as_str() == name));
    if let Some(refused) = refused(&view, recorded.search.method, *asked.unwrap_or(&Method::Darts)) {
        return Err(refused.into());
    }
    let name = shown(view.path().join("spec.toml"));
    let spec = resolve(args, Some((&name, &recorded.to_toml())), overrides).map_err(|e| match e {
        // Nobody should edit what another search has recorded.
        Exit::Input(text) if text.starts_with(&name) => {
            Exit::Input(format!("{text}; --set gives the new search a value of its own"))
        }
        e => e,
    })?;
    let space = space_of(&view, &recorded)?;
    let own = if spec.space.name == recorded.space.name { space.clone() } else { open_space(&spec.space.name)? };
    // Before images are read and the curvature is measured, which may take long.
    let reserved = reserve(args.out.as_deref(), &run_name(&spec))?;
    let path = reserved.path().to_path_buf();
    let reading = Reading::new(args.json);
    let images = ImageSet::open(&spec.data.images, &reading)?;
    reading.end();
    let mut theirs = recorded;
    theirs.data.images.dir.clone_from(&spec.data.images.dir);
    let other = Search::on(theirs, space, engine.clone(), &images)?;
    let search = Search::on(spec, own, engine, &images)?;
    let mut said = Instant::now();
    let common = common(&view, &other, &search, &mut |done, of| {
        if !args.json && done == 0 {
            say!(
                "The curvature of up to {} is measured again; stopped meanwhile, the same command begins anew.",
                count(of, "epoch")
            );
        }
        // A line now and then.
        if !args.json && said.elapsed() >= SAID_EVERY {
            said = Instant::now();
            say!("measuring the curvature again: {done} of {of} epochs");
        }
    })?;
    drop((other, images));
    let mut dir = reserved.fill(&search.spec)?;
    let filled = dir.write_space(&search.space.to_toml()).map_err(Exit::from);
    let filled = filled.and_then(|()| Ok(common.take_over(&view, &search, &mut dir)?));
    let filled = filled.and_then(|()| match view.environment()? {
        // So that another instruction set is told, as when a run goes on.
        Some(environment) => Ok(dir.write_environment(&environment)?),
        None => Ok(()),
    });
    if let Err(e) = filled {
        // It has nothing yet that could be gone on from.
        drop(dir);
        let _ = std::fs::remove_dir_all(&path);
        return Err(e);
    }
    if !args.json {
        announce(&search, &path, threads);
        for warning in &common.warnings {
            say!("warning: {warning}");
        }
        let (method, last) = (search.spec.search.method, common.last);
        let epochs = if last == 0 { "Epoch 0 is".to_string() } else { format!("Epochs 0 to {last} are") };
        let acts = match common.acts {
            Some(epoch) => format!("; {method} acts after epoch {epoch}"),
            None => format!(", in which {method} does not act"),
        };
        say!("{epochs} taken over from {}{acts}.", shown(from));
    }
    drop(common);
    conduct(&Searching(&search), &mut dir, threads, args.json, &args.pages, |dir, shown, stop| {
        let say_above = shown.say_above();
        resume(&search, dir, shown, stop, &mut |text| say_above(text))
    })
}

/// What the flags set, the last one counts.
fn overrides(args: &Args) -> Result<Vec<String>, Exit> {
    let (name, dir) = data(args.data.as_ref(), args.data_dir.as_ref())?;
    let values = [
        args.space.as_deref().map(quote),
        name.as_deref().map(quote),
        dir.as_deref().map(quote),
        args.method.as_deref().map(quote),
        args.order.as_deref().map(quote),
        args.seed.map(|v| v.to_string()),
        args.epochs.map(|v| v.to_string()),
    ];
    Ok([args.overrides.clone(), set(&FLAGS, values)].concat())
}

/// The arguments that set a key of the spec.
const FLAGS: [Flag; 7] = [
    ("--space", "space.name"),
    ("--data", "data.name"),
    ("--data-dir", "data.dir"),
    ("--method", "search.method"),
    ("--order", "search.order"),
    ("--seed", "seed"),
    ("--epochs", "search.epochs"),
];

fn resolve(args: &Args, file: Option<(&str, &str)>, overrides: &[String]) -> Result<SearchSpec, Exit> {
    let preset = args.preset.as_deref().or(if file.is_none() { Some(DEMO) } else { None });
    let resolved = SearchSpec::resolve_text(preset, file, overrides, &KnownSets);
    let mut spec = resolved.map_err(|e| e.of_flags(|text| flag_of(&FLAGS, &args.overrides, text)))?;
    spec.data.images.dir = data_directory(&spec.data.images)?;
    spec.data.images.cache = cache_file(&spec.data.images.cache)?;
    Ok(spec)
}

fn announce(search: &Search, path: &Path, threads: usize) {
    let spec = &search.spec;
    let small = match spec.preset.as_str() {
        "demo" => " (preset demo: small, to show the method)".to_string(),
        other => format!(" (preset {other})"),
    };
    say!(
        "{} in space {} on {}{small}: {} of {}, {} channels, {}, {} weights, {}, {} order, L2 {:e}",
        spec.search.method,
        search.space.name,
        data_name(&spec.data.images),
        count(search.n_epochs(), "epoch"),
        count(search.steps_per_epoch(), "step"),
        spec.network.channels,
        cells(spec.network.cells, &spec.network.reductions),
        search.net.n_parameters(),
        learned(search),
        spec.search.order,
        spec.weights.l2,
    );
    let (expected, limit) = (expected_skips(&search.space), spec.method.max_skips);
    if spec.search.method == Method::DartsPlus && expected >= limit as f64 {
        say!(
            "warning: a cell drawn at random in space {} has {expected:.1} skip connections on average, and {limit} end this \
             search: --set method.max_skips={} lets it go on",
            search.space.name,
            expected.ceil() as usize + 1
        );
    }
    warn_of_cells(&spec.network.reductions, spec.network.cells, "network", "the search");
    say!("{}", images(&search.images));
    say!(
        "{} images train the weights, {} the alphas; {} ({}); run directory {}",
        search.images.split.train.len(),
        search.images.split.valid.len(),
        count(threads, "thread"),
        search.engine.kernels.isa().name(),
        shown(path),
    );
}

/// SPACE-DATA-METHOD-SEED.
fn run_name(spec: &SearchSpec) -> String {
    let space = Path::new(&spec.space.name).file_stem().map_or("space".into(), |s| s.to_string_lossy().into_owned());
    format!("{space}-{}-{}-{}", data_name(&spec.data.images), spec.search.method, spec.seed)
}
