//! How runs are conducted: threads, signals, and the account of how they ended.

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use rdarts_net::Engine;
use rdarts_run::{Environment, Event, RunDir, for_shell};
use rdarts_train::{Outcome, TrainError};
use serde_json::json;

use crate::boards::Board;
use crate::exit::{Exit, INTERRUPTED, out, say};
use crate::pages::Pages;
use crate::progress::Shown;
use crate::signals::stop_flag;

/// More than any machine has processors: a slip of the finger must not start a million threads.
const MAX_THREADS: usize = 1024;

/// Threads that compute: as many as asked for, else as many as there are processors.
pub fn set_threads(wanted: Option<usize>) -> Result<usize, Exit> {
    if let Some(n) = wanted.filter(|n| !(1..=MAX_THREADS).contains(n)) {
        return Err(Exit::Input(format!("--threads is {n}, but must be from 1 to {MAX_THREADS}")));
    }
    let n = wanted.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    rayon::ThreadPoolBuilder::new()
        .num_threads(n)
        .build_global()
        .map_err(|e| Exit::Failed(format!("cannot start {n} threads: {e}")))?;
    Ok(n)
}

/// The value of `--jobs`.
pub fn jobs(text: &str) -> Result<usize, String> {
    crate::exit::whole(text, 1, 64).map(|n| n as usize)
}

/// `3 epochs`, `1 epoch`, `2 searches`.
pub fn count(n: usize, what: &str) -> String {
    let plural = if what.ends_with("search") || what.ends_with('s') { "es" } else { "s" };
    format!("{n} {what}{}", if n == 1 { "" } else { plural })
}

/// `4 cells`, `4 cells, of which 1 and 3 reduce` where these are named.
pub fn cells(n: usize, reductions: &[usize]) -> String {
    let at: Vec<String> = reductions.iter().map(usize::to_string).collect();
    match &at[..] {
        [] => count(n, "cell"),
        [one] => format!("{}, of which {one} reduces", count(n, "cell")),
        [first @ .., last] => format!("{}, of which {} and {last} reduce", count(n, "cell"), first.join(", ")),
    }
}

/// Warns where all cells reduce, so that there is no normal one; `section` has the keys, and `whose` network it is.
pub fn warn_of_cells(reductions: &[usize], cells: usize, section: &str, whose: &str) {
    if rdarts_space::reductions_or_default(reductions, cells).len() == cells {
        say!(
            "warning: every cell of {whose} reduces ({section}.cells = {cells}, {section}.reductions = {reductions:?}), so that \
             its normal cell is not in the network and says nothing"
        );
    }
}

/// `darts, darts-es or darts-ada`.
pub fn one_of(names: &[&str]) -> String {
    match names {
        [names @ .., last] if !names.is_empty() => format!("{} or {last}", names.join(", ")),
        _ => names.concat(),
    }
}

/// A kind of run, as people and programs are told of it.
pub trait Conducted {
    /// What a finished run has found.
    type Found;
    /// What it is called: `search`.
    const WHAT: &'static str;

    /// What its batches are made of.
    const OF: &'static str = "images";

    /// Its steps, of which a bar is shown; `None` if it shows its own.
    fn steps(&self) -> Option<usize>;

    /// What computes.
    fn engine(&self) -> &Engine;

    /// The directory of its data, and the one that its run directory names.
    fn data_dirs(&self, dir: &RunDir) -> Result<[String; 2], Exit>;

    /// The account for people.
    fn tell(&self, path: &Path, found: &Self::Found, events: &[Event]);

    /// The account for programs.
    fn as_json(&self, path: &Path, found: &Self::Found, events: &[Event]) -> serde_json::Value;
}

/// Records the machine in a run directory, runs `body` and tells how it ended.
pub fn conduct<C: Conducted>(
    run: &C,
    dir: &mut RunDir,
    threads: usize,
    json: bool,
    pages: &Pages,
    body: impl FnOnce(&mut RunDir, &mut Shown, &AtomicBool) -> Result<Outcome<C::Found>, TrainError>,
) -> Result<ExitCode, Exit> {
    let here = Environment::detect(threads, run.engine().kernels.isa().name(), run.engine().place());
    let [data_dir, recorded] = run.data_dirs(dir)?;
    let moved = match data_dir == recorded {
        true => String::new(),
        false => format!(" --data-dir {}", for_shell(Path::new(&data_dir))),
    };
    let board = if pages.board_dir(dir.path()).is_some() { " --tensorboard" } else { "" };
    let again = format!("rdarts resume {}{moved}{board}", for_shell(dir.path()));
    let mut shown = Shown::new(json, run.steps()).counting(C::OF);
    if let Some(to) = pages.board_dir(dir.path()) {
        shown.write_to(Board::create(&to));
    }
    let stop = stop_flag(&again, shown.say_above())?;
    if let Ok(Some(before)) = dir.view().environment() {
        let changes = [
            ("instruction set", &before.isa, &here.isa),
            ("version", &before.rdarts, &here.rdarts),
            ("device", &before.device, &here.device),
        ];
        for (what, old, new) in changes {
            if old != new {
                shown.line(&format!(
                    "warning: the {} ran with {what} {old} before and goes on with {new}: its last bits may differ",
                    C::WHAT
                ));
            }
        }
    }
    dir.write_environment(&here)?;
    dir.warnings().iter().for_each(|w| shown.line(&format!("warning: {w}")));
    let outcome = body(dir, &mut shown, &stop);
    shown.end();
    match outcome? {
        Outcome::Finished(found) => {
            let events = dir.view().events()?;
            shown.end_board(&events);
            if json {
                out!("{}", run.as_json(dir.path(), &found, &events))
            } else {
                run.tell(dir.path(), &found, &events)
            }
            pages.finish(dir.path(), json);
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Interrupted { epoch, step } => {
            // What shows no bar of its own has no epochs of its own.
            let (place, interrupted) = match run.steps() {
                Some(_) => (format!(" in epoch {epoch} after step {step}"), json!({ "epoch": epoch, "step": step })),
                None => (String::new(), json!({})),
            };
            if json {
                out!("{}", json!({ "interrupted": interrupted, "directory": dir.path().display().to_string() }));
            }
            say!("Stopped{place} and saved. Go on with `{again}`.");
            Ok(ExitCode::from(INTERRUPTED))
        }
    }
}
