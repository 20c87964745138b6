//! `rdarts search`: a search in a new run directory.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rdarts::run::{RunDir, SearchSpec};
use rdarts::search::problem::{Problem, open_space};
use rdarts::search::search::start;

use crate::conduct::{conduct, count, isa, set_threads};
use crate::exit::{Exit, say};

/// Search an architecture; without arguments a small robust search on embedded images
///
/// What is searched is a spec: a preset (demo or paper), a TOML file that may name only what it changes, and
/// --set key=value. The complete spec is written to the run directory; every key has a comment in the presets.
///
/// Examples:
///   rdarts search                                      two minutes on two cores: DARTS-ADA, space S2, fashion-mini
///   rdarts search --preset paper --space s3 --seed 2   the paper's settings on the full Fashion-MNIST
///   rdarts search my.toml --set search.epochs=20       your spec, shortened
///   rdarts search --method darts --set weights.l2=0.0243
///
/// Ctrl-C ends the step, saves and says how to go on; a second Ctrl-C stops at once.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Spec file (TOML); keys it does not name come from its `preset` (or from `paper`)
    spec: Option<PathBuf>,
    /// Preset to start from: demo (the default without a spec file) or paper
    #[arg(long)]
    preset: Option<String>,
    /// Sets one key of the spec, for example weights.l2=0.0027; may be given often
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Search space: s1, s2, s3, s4, darts, darts-no-none, tiny, or a TOML file (space.name)
    #[arg(long)]
    space: Option<String>,
    /// Data set: fashion-mini, fashion-mnist, cifar10, cifar100, cifar100-coarse or svhn (data.name)
    #[arg(long)]
    data: Option<String>,
    /// Directory of the data set (data.dir)
    #[arg(long)]
    data_dir: Option<String>,
    /// darts, darts-es or darts-ada (search.method)
    #[arg(long)]
    method: Option<String>,
    /// Gradient of the alphas: first, second (exact) or second-fd (search.order)
    #[arg(long)]
    order: Option<String>,
    /// Seed of everything random (seed)
    #[arg(long)]
    #[arg(value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: Option<u64>,
    /// Number of epochs (search.epochs)
    #[arg(long)]
    epochs: Option<usize>,
    /// Threads that compute; changes the speed, never the result [default: all processors]
    #[arg(long)]
    threads: Option<usize>,
    /// The run directory itself, new or empty [default: runs/SPACE-DATA-METHOD-SEED, numbered if taken]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print the result as one JSON object and nothing else
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(args: Args) -> Result<ExitCode, Exit> {
    isa()?;
    let spec = resolve(&args)?;
    let space = open_space(&spec.space.name)?;
    let threads = set_threads(args.threads)?;
    let problem = Problem::new(spec, space)?;
    let path = args.out.unwrap_or_else(|| free_directory(&problem.spec));
    let mut dir = RunDir::create(&path, &problem.spec)?;
    dir.write_space(&problem.space.to_toml())?;
    if !args.json {
        announce(&problem, &path, threads);
    }
    conduct(&problem, &mut dir, threads, args.json, |dir, shown, stop| start(&problem, dir, shown, stop))
}

fn resolve(args: &Args) -> Result<SearchSpec, Exit> {
    let preset = args.preset.as_deref().or(if args.spec.is_none() { Some("demo") } else { None });
    let quote = |v: &String| format!("\"{}\"", v.replace('\\', "\\\\").replace('"', "\\\""));
    let flags = [
        ("space.name", args.space.as_ref().map(quote)),
        ("data.name", args.data.as_ref().map(quote)),
        ("data.dir", args.data_dir.as_ref().map(quote)),
        ("search.method", args.method.as_ref().map(quote)),
        ("search.order", args.order.as_ref().map(quote)),
        ("seed", args.seed.map(|v| v.to_string())),
        ("search.epochs", args.epochs.map(|v| v.to_string())),
    ];
    let mut overrides = args.overrides.clone();
    overrides.extend(flags.into_iter().filter_map(|(key, value)| value.map(|v| format!("{key}={v}"))));
    let mut spec = SearchSpec::resolve(preset, args.spec.as_deref(), &overrides).map_err(Exit::input)?;
    spec.data.dir = data_directory(&spec)?;
    Ok(spec)
}

/// The directory of the data as it can be found again from anywhere, by `resume` and `hessian` too.
fn data_directory(spec: &SearchSpec) -> Result<String, Exit> {
    let from_environment = || std::env::var("RDARTS_DATA").unwrap_or_default();
    let (dir, embedded) = (&spec.data.dir, spec.data.name == "fashion-mini");
    if embedded && !dir.is_empty() {
        return Err(Exit::Input(format!(
            "data.dir is `{dir}`, but fashion-mini is part of the program: leave it out or name another data set"
        )));
    }
    let dir = if dir.is_empty() && !embedded { from_environment() } else { dir.clone() };
    match Path::new(&dir).canonicalize() {
        Ok(whole) if !dir.is_empty() => Ok(whole.display().to_string()),
        // Where it cannot be found, opening the data says so in its own words.
        _ => Ok(dir),
    }
}

fn announce(problem: &Problem, path: &Path, threads: usize) {
    let spec = &problem.spec;
    let small = match spec.preset.as_str() {
        "demo" => " (preset demo: small and first order, to show the method)".to_string(),
        other => format!(" (preset {other})"),
    };
    say!(
        "{} in space {} on {}{small}: {} of {}, {} channels, {} cells, {} weights, {} alphas, {} order, L2 {:e}",
        spec.search.method,
        problem.space.name,
        spec.data.name,
        count(spec.search.epochs, "epoch"),
        count(problem.steps_per_epoch(), "step"),
        spec.network.channels,
        spec.network.cells,
        problem.net.n_parameters(),
        problem.n_alphas().iter().sum::<usize>(),
        spec.search.order,
        spec.weights.l2,
    );
    say!(
        "{} images train the weights, {} the alphas; {} ({}); run directory {}",
        problem.split.train.len(),
        problem.split.valid.len(),
        count(threads, "thread"),
        rdarts::kernels::Isa::best().name(),
        path.display(),
    );
}

/// runs/SPACE-DATA-METHOD-SEED, numbered from the second on.
fn free_directory(spec: &SearchSpec) -> PathBuf {
    let space = Path::new(&spec.space.name).file_stem().map_or("space".into(), |s| s.to_string_lossy().into_owned());
    let name = format!("{space}-{}-{}-{}", spec.data.name, spec.search.method, spec.seed);
    let first = Path::new("runs").join(&name);
    let numbered = (2..).map(|n| Path::new("runs").join(format!("{name}-{n}")));
    std::iter::once(first).chain(numbered).find(|p| !p.exists()).expect("one of infinitely many names is free")
}
