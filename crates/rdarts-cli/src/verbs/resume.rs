//! `rdarts resume`: a run goes on where it was saved, whatever its kind.

use std::path::PathBuf;
use std::process::ExitCode;

use rdarts_data::shown;
use rdarts_run::{
    DisparityRobustSpec, DisparitySearchSpec, DisparityTrainSpec, RobustSpec, RunDir, RunError, RunView, SearchSpec,
    Spec, TrainSpec,
};
use rdarts_study::Task;
use rdarts_study::portfolio::Hands;
use rdarts_train::resume;

use crate::conduct::{conduct, jobs, set_threads};
use crate::device::OnDevice;
use crate::disparities::{self, DisparityRun};
use crate::disparity_portfolios;
use crate::disparity_trainings::{self, DisparityTrainingRun};
use crate::exit::{Exit, say};
use crate::given::data_name;
use crate::pages::Pages;
use crate::portfolios;
use crate::searches::{Searching, reopen};
use crate::trainings::{self, TrainingRun};

/// Go on after a stop, a kill or a crash, with the same bits as if nothing had happened
///
/// Takes the newest checkpoint that is whole, says which damaged ones it passed over, and continues. The number of
/// threads may be another one.
#[derive(clap::Args)]
pub struct Args {
    /// The run directory
    dir: PathBuf,
    /// Directory of the data set, if it is not where it was
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Threads that compute [default: all processors]
    #[arg(long)]
    threads: Option<usize>,
    #[command(flatten)]
    on: OnDevice,
    #[command(flatten)]
    pages: Pages,
    /// Runs of a portfolio side by side, each with its share of the threads
    #[arg(long, default_value_t = 1, value_parser = jobs)]
    jobs: usize,
    /// Print the result as one JSON object and nothing else
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(args: Args) -> Result<ExitCode, Exit> {
    match RunView::open(&args.dir)?.kind() {
        TrainSpec::KIND => training(args),
        RobustSpec::KIND => robust(args),
        DisparitySearchSpec::KIND => disparity(args),
        DisparityTrainSpec::KIND => disparity_training(args),
        DisparityRobustSpec::KIND => disparity_robust(args),
        _ => search(args),
    }
}

/// Takes a directory to go on in.
fn open<S: Spec>(args: &Args) -> Result<RunDir, Exit> {
    let dir = RunDir::open::<S>(&args.dir)?;
    if dir.view().is_done() {
        return Err(RunError::Finished { path: args.dir.clone() }.into());
    }
    Ok(dir)
}

/// What the run was computed on before.
fn recorded(dir: &RunDir) -> String {
    dir.view().environment().ok().flatten().map_or_else(|| "cpu".into(), |before| before.device)
}

fn robust(args: Args) -> Result<ExitCode, Exit> {
    let mut dir = open::<RobustSpec>(&args)?;
    let engine = args.on.engine_or(&recorded(&dir))?;
    let threads = set_threads(args.threads)?;
    let portfolio = portfolios::reopen(dir.view(), args.data_dir.as_deref(), engine, args.json)?;
    portfolio.check_jobs(args.jobs.min(threads))?;
    if !args.json {
        say!("Portfolio on {}: resuming {}", data_name(&portfolio.spec.data.images), shown(&args.dir));
    }
    portfolios::carry_out(&portfolio, &mut dir, Hands { jobs: args.jobs, threads }, args.json, &args.pages)
}

fn disparity_robust(args: Args) -> Result<ExitCode, Exit> {
    let mut dir = open::<DisparityRobustSpec>(&args)?;
    let engine = args.on.engine_or(&recorded(&dir))?;
    let threads = set_threads(args.threads)?;
    let portfolio = disparity_portfolios::reopen(dir.view(), args.data_dir.as_deref(), engine, args.json)?;
    portfolio.check_jobs(args.jobs.min(threads))?;
    if !args.json {
        say!("Portfolio for disparity on {}: resuming {}", portfolio.spec.data.pairs.name, shown(&args.dir));
    }
    disparity_portfolios::carry_out(&portfolio, &mut dir, Hands { jobs: args.jobs, threads }, args.json, &args.pages)
}

fn training(args: Args) -> Result<ExitCode, Exit> {
    let mut dir = open::<TrainSpec>(&args)?;
    let engine = args.on.engine_or(&recorded(&dir))?;
    let threads = set_threads(args.threads)?;
    let training = trainings::reopen(dir.view(), args.data_dir.as_deref(), engine, args.json)?;
    if !args.json {
        say!("Training on {}: resuming {}", data_name(&training.spec.data.images), shown(&args.dir));
    }
    conduct(&TrainingRun(&training), &mut dir, threads, args.json, &args.pages, |dir, shown, stop| {
        let say_above = shown.say_above();
        resume(&training, dir, shown, stop, &mut |text| say_above(text))
    })
}

fn disparity(args: Args) -> Result<ExitCode, Exit> {
    let mut dir = open::<DisparitySearchSpec>(&args)?;
    let engine = args.on.engine_or(&recorded(&dir))?;
    let threads = set_threads(args.threads)?;
    let search = disparities::reopen(dir.view(), args.data_dir.as_deref(), engine, args.json)?;
    if !args.json {
        say!("Search for disparity on {}: resuming {}", search.spec.data.pairs.name, shown(&args.dir));
    }
    conduct(&DisparityRun(&search), &mut dir, threads, args.json, &args.pages, |dir, shown, stop| {
        let say_above = shown.say_above();
        resume(&search, dir, shown, stop, &mut |text| say_above(text))
    })
}

fn disparity_training(args: Args) -> Result<ExitCode, Exit> {
    let mut dir = open::<DisparityTrainSpec>(&args)?;
    let engine = args.on.engine_or(&recorded(&dir))?;
    let threads = set_threads(args.threads)?;
    let training = disparity_trainings::reopen(dir.view(), args.data_dir.as_deref(), engine, args.json)?;
    if !args.json {
        say!("Training for disparity on {}: resuming {}", training.spec.data.pairs.name, shown(&args.dir));
    }
    conduct(&DisparityTrainingRun(&training), &mut dir, threads, args.json, &args.pages, |dir, shown, stop| {
        let say_above = shown.say_above();
        resume(&training, dir, shown, stop, &mut |text| say_above(text))
    })
}

fn search(args: Args) -> Result<ExitCode, Exit> {
    let mut dir = open::<SearchSpec>(&args)?;
    let engine = args.on.engine_or(&recorded(&dir))?;
    let threads = set_threads(args.threads)?;
    let search = reopen(dir.view(), args.data_dir.as_deref(), engine, args.json)?;
    if !args.json {
        say!(
            "{} in space {} on {}: resuming {}",
            search.spec.search.method,
            search.space.name,
            data_name(&search.spec.data.images),
            shown(&args.dir)
        );
    }
    if dir.view().space()?.is_none() {
        dir.write_space(&search.space.to_toml())?;
    }
    conduct(&Searching(&search), &mut dir, threads, args.json, &args.pages, |dir, shown, stop| {
        let say_above = shown.say_above();
        resume(&search, dir, shown, stop, &mut |text| say_above(text))
    })
}
