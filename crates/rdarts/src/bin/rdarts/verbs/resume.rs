//! `rdarts resume`: a search goes on where it was saved.

use std::path::PathBuf;
use std::process::ExitCode;

use rdarts::data::shown;
use rdarts::run::{RunDir, RunError, SearchSpec};
use rdarts::train::resume;

use crate::conduct::{conduct, data_name, engine, reopen, set_threads};
use crate::exit::{Exit, say};

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
    /// Print the result as one JSON object and nothing else
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(args: Args) -> Result<ExitCode, Exit> {
    let mut dir = RunDir::open::<SearchSpec>(&args.dir)?;
    if dir.view().is_done() {
        return Err(RunError::Finished { path: args.dir }.into());
    }
    let engine = engine()?;
    let threads = set_threads(args.threads)?;
    let search = reopen(dir.view(), args.data_dir.as_deref(), engine, args.json)?;
    if !args.json {
        say!(
            "{} in space {} on {}: resuming {}",
            search.spec.search.method,
            search.space.name,
            data_name(&search.spec),
            shown(&args.dir)
        );
    }
    if dir.view().space()?.is_none() {
        dir.write_space(&search.space.to_toml())?;
    }
    conduct(&search, &mut dir, threads, args.json, |dir, shown, stop| {
        let say_above = shown.say_above();
        resume(&search, dir, shown, stop, &mut |text| say_above(text))
    })
}
