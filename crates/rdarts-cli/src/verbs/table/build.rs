//! `rdarts table build`: trains every architecture that is not in the table yet.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;

use rdarts_data::shown;
use rdarts_run::{Spec, TrainSpec, for_shell};
use rdarts_search::open_space;
use rdarts_study::portfolio::Hands;
use rdarts_study::table::{Built, Ended, TableBuild};
use rdarts_table::{Table, n_architectures};
use rdarts_train::{ImageSet, KnownSets};
use serde_json::json;

use crate::conduct::{count, jobs, set_threads};
use crate::device::OnDevice;
use crate::exit::{Exit, INTERRUPTED, out, say, whole};
use crate::given::{
    Flag, cache_file, data, data_directory, data_help, data_name, decide_shape, flag_of, preset_help, quote, set,
};
use crate::progress::{Reading, duration};
use crate::signals::stop_flag;

/// Train all architectures of a small space, or go on with a table
///
/// A table that is there goes on as it was begun: what is missing is trained,
/// lines that were damaged are made again, and nothing is trained twice.
/// Several processes may build one table at once. What is under way lies in
/// FILE.work until the table is whole.
///
/// Examples:
///   rdarts table build --seeds 1,2,3
///       the 81 architectures of tiny on the embedded images
///   rdarts table build --space tiny --data cifar10 --set data.size=16 --epochs 20 --out cifar16.table
///   rdarts table build --out cifar16.table --jobs 2
///       goes on with it
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Search space of at most 10,000 architectures: tiny, or a TOML file [default: tiny]
    #[arg(long)]
    space: Option<String>,
    #[arg(long, help = preset_help::<TrainSpec>(DEMO))]
    preset: Option<String>,
    /// Sets one key of the training, for example train.drop_path=0.1; may be given often
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    #[arg(long, help = data_help())]
    data: Option<String>,
    /// Directory of the data set (data.dir)
    #[arg(long)]
    data_dir: Option<String>,
    /// Seeds that each architecture is trained with [default: 1]
    #[arg(long, value_delimiter = ',', value_name = "SEED,...", allow_negative_numbers = true, value_parser = seed)]
    seeds: Vec<u64>,
    /// Number of epochs (train.epochs)
    #[arg(long, allow_negative_numbers = true, value_parser = |text: &str| whole(text, 1, 1_000_000))]
    epochs: Option<u64>,
    /// Channels of the first cell (network.channels)
    #[arg(long, allow_negative_numbers = true, value_parser = |text: &str| whole(text, 1, 4096))]
    channels: Option<u64>,
    /// Number of cells (network.cells)
    #[arg(long, allow_negative_numbers = true, value_parser = |text: &str| whole(text, 1, 1000))]
    cells: Option<u64>,
    /// Trainings side by side, each with its share of the threads; changes no result
    #[arg(long, default_value = "1", value_parser = jobs)]
    jobs: usize,
    /// Threads that compute; changes the speed, never the result [default: all processors]
    #[arg(long)]
    threads: Option<usize>,
    #[command(flatten)]
    on: OnDevice,
    /// The table [default: SPACE-DATA.table]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print the result as one JSON object and nothing else
    #[arg(long)]
    json: bool,
}

/// The preset of a table that says nothing.
const DEMO: &str = "train-demo";

/// The arguments that set a key of the spec.
const FLAGS: [Flag; 5] = [
    ("--data", "data.name"),
    ("--data-dir", "data.dir"),
    ("--epochs", "train.epochs"),
    ("--channels", "network.channels"),
    ("--cells", "network.cells"),
];

/// Runs the verb.
pub fn run(args: Args) -> Result<ExitCode, Exit> {
    let engine = args.on.engine()?;
    let threads = set_threads(args.threads)?;
    let mut overrides = overrides(&args)?;
    // Without a name the table is that of the space and the images.
    let path = match &args.out {
        Some(path) => path.clone(),
        None => {
            let space = open_space(args.space.as_deref().unwrap_or("tiny"))?;
            let spec = resolve(&args, None, &overrides)?;
            PathBuf::from(format!("{}-{}.table", space.name, data_name(&spec.data.images)))
        }
    };
    let there = if path.exists() { Some(super::read(&path, "what it held is made again")?) } else { None };
    let mut spec = resolve(&args, there.as_ref(), &overrides)?;
    if there.is_none() && decide_shape(&mut overrides, &spec.data.images, args.json)? {
        spec = resolve(&args, None, &overrides)?;
    }
    let space = match (&there, &args.space) {
        (Some(table), None) => table.space().clone(),
        (_, name) => open_space(name.as_deref().unwrap_or("tiny"))?,
    };
    n_architectures(&space).map_err(Exit::Input)?;
    let reading = Reading::new(args.json);
    let images = ImageSet::open(&spec.data.images, &reading)?;
    reading.end();
    let table = match there {
        Some(table) => {
            check(&args, &table, &space, &path)?;
            table
        }
        None => {
            let seeds = if args.seeds.is_empty() { vec![1] } else { distinct(&args.seeds)? };
            let version = env!("CARGO_PKG_VERSION").to_string();
            Table::begin(space, &spec, images.fingerprint().to_string(), seeds, version).map_err(Exit::Input)?
        }
    };
    let (dir, gpu) = (spec.data.images.dir.clone(), engine.gpu.as_ref().map(|gpu| gpu.number));
    let n_there = table.entries().len();
    let n_seeds = table.header().seeds.len();
    let (name, n_architectures) = (table.space().name.clone(), table.n_architectures());
    let build = TableBuild::new(path.clone(), table, spec, images, engine)?;
    // Only now: nothing is left behind by what was refused.
    build.check_jobs(args.jobs)?;
    build.begin()?;
    let all = build.n_trainings();
    if !args.json {
        say!(
            "{n_architectures} architectures of the space {name}, {}, {n_there} of {all} trainings there already; table {}",
            count(n_seeds, "seed"),
            shown(&path)
        );
    }
    let mut again = format!("rdarts table build --out {}", for_shell(&path));
    if !dir.is_empty() {
        again += &format!(" --data-dir {}", for_shell(Path::new(&dir)));
    }
    if let Some(gpu) = gpu {
        again += &format!(" --device gpu:{gpu}");
    }
    if args.jobs > 1 {
        again += &format!(" --jobs {}", args.jobs);
    }
    let stop = stop_flag(&again, |text: &str| say!("{text}"))?;
    let told = Mutex::new(());
    let tell = |built: &Built| {
        let _one_at_a_time = told.lock();
        if !args.json {
            let Built { entry, done, of, left } = built;
            say!(
                "{done} of {of}: architecture {}, seed {}, test error {:.2} % in {}; {} left",
                entry.architecture,
                entry.seed,
                100.0 * entry.test_error(),
                duration(entry.seconds),
                duration(*left)
            );
        }
    };
    let ended = build.run(Hands { jobs: args.jobs, threads }, &tell, &stop)?;
    let (table, _) = Table::read(&path)?;
    let done = table.entries().len();
    if args.json {
        let state = match ended {
            Ended::Complete => "complete",
            Ended::ByOthers(_) => "others are at work",
            Ended::Interrupted => "interrupted",
        };
        out!("{}", json!({ "table": path.display().to_string(), "state": state, "done": done, "of": all }));
    }
    match ended {
        Ended::Interrupted => {
            say!("Stopped and saved. Go on with `{again}`.");
            return Ok(ExitCode::from(INTERRUPTED));
        }
        Ended::ByOthers(n) if !args.json => {
            let rest = if n == 1 { "the last one" } else { "the rest" };
            out!("{done} of {all} trainings are done; other processes are at work on {rest}.");
        }
        Ended::Complete if !args.json => {
            super::best::tell(&table, 5);
            out!("");
            out!("Table: {}", for_shell(&path));
        }
        _ => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// What the flags say of a table that is there must be what it was begun with.
fn check(args: &Args, table: &Table, space: &rdarts_space::Space, path: &Path) -> Result<(), Exit> {
    let path = shown(path);
    if space != table.space() {
        let (is, was) = (&space.name, &table.space().name);
        let how = if is == was { ", which has other operations" } else { "" };
        return Err(Exit::Input(format!("{path} is a table of the space {was}, not of {is}{how}")));
    }
    if args.preset.is_some() {
        return Err(Exit::Input(format!(
            "{path} is there already, with all its settings: --preset changes none of them"
        )));
    }
    let sorted = |seeds: &[u64]| {
        let mut seeds = seeds.to_vec();
        seeds.sort_unstable();
        seeds
    };
    if !args.seeds.is_empty() && sorted(&args.seeds) != sorted(&table.header().seeds) {
        return Err(Exit::Input(format!(
            "{path} was begun with the seeds {}, not {}: a table of the others can be built beside it and imported",
            list(&table.header().seeds),
            list(&args.seeds)
        )));
    }
    Ok(())
}

fn seed(text: &str) -> Result<u64, String> {
    whole(text, 0, i64::MAX as u64).map_err(|why| format!("{why}, or several as in 1,2,3"))
}

fn distinct(seeds: &[u64]) -> Result<Vec<u64>, Exit> {
    let mut sorted = seeds.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    if sorted.len() < seeds.len() {
        return Err(Exit::Input(format!("--seeds {} names a seed twice", list(seeds))));
    }
    Ok(seeds.to_vec())
}

fn list(seeds: &[u64]) -> String {
    seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
}

fn overrides(args: &Args) -> Result<Vec<String>, Exit> {
    let (name, dir) = data(args.data.as_ref(), args.data_dir.as_ref())?;
    let is_own = |text: &&String| ["seed=", "network.genotype="].iter().any(|key| text.trim_start().starts_with(key));
    if let Some(text) = args.overrides.iter().find(is_own) {
        return Err(Exit::Input(format!(
            "--set {text}: every training of a table has its own; --seeds names the seeds"
        )));
    }
    // Every training is of another; only the table knows.
    let mut all = vec![format!("network.genotype={}", quote(rdarts_table::EACH)), "seed=0".to_string()];
    all.extend(args.overrides.iter().cloned());
    let values = [
        name.as_deref().map(quote),
        dir.as_deref().map(quote),
        args.epochs.map(|v| v.to_string()),
        args.channels.map(|v| v.to_string()),
        args.cells.map(|v| v.to_string()),
    ];
    all.extend(set(&FLAGS, values));
    Ok(all)
}

fn resolve(args: &Args, there: Option<&Table>, overrides: &[String]) -> Result<TrainSpec, Exit> {
    let file = there.map(|table| ("the spec of the table", table.header().spec.as_str()));
    let preset = args.preset.as_deref().or(if file.is_none() { Some(DEMO) } else { None });
    let resolved = TrainSpec::resolve_text(preset, file, overrides, &KnownSets);
    let mut spec = resolved.map_err(|e| e.of_flags(|text| flag_of(&FLAGS, &args.overrides, text)))?;
    spec.data.images.dir = data_directory(&spec.data.images)?;
    spec.data.images.cache = cache_file(&spec.data.images.cache)?;
    Ok(spec)
}
