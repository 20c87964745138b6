//! `rdarts search`: a search in a new run directory.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rdarts::run::{RunDir, SearchSpec};
use rdarts::search::problem::{Problem, open_space};
use rdarts::search::search::start;

use crate::exit::Exit;
use crate::session::{conduct, set_threads};

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
    /// Data set: fashion-mini or fashion-mnist (data.name)
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
    SearchSpec::resolve(preset, args.spec.as_deref(), &overrides).map_err(Exit::input)
}

fn announce(problem: &Problem, path: &Path, threads: usize) {
    let spec = &problem.spec;
    let small = if spec.preset == "demo" { " (preset demo: small and first order, to show the method)" } else { "" };
    eprintln!(
        "{} in space {} on {}{small}: {} epochs of {} steps, {} channels, {} cells, {} weights, {} alphas, {} order, L2 {:e}",
        spec.search.method,
        problem.space.name,
        spec.data.name,
        spec.search.epochs,
        problem.steps_per_epoch(),
        spec.network.channels,
        spec.network.cells,
        problem.net.n_parameters(),
        problem.n_alphas().iter().sum::<usize>(),
        spec.search.order,
        spec.weights.l2,
    );
    eprintln!(
        "{} images train the weights, {} the alphas; {threads} threads ({}); run directory {}",
        problem.split.train.len(),
        problem.split.valid.len(),
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
