//! `rdarts sweep member`: one task of an array, which starts a member or goes on with it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdarts_run::for_shell;
use rdarts_sweep::Hands;

use super::work::{Ended, Step, Worker, step};
use super::{Sweep, open};
use crate::exit::{Exit, INTERRUPTED, say};
use crate::signals::{is_of_limit, stop_signal};

/// Start a member or go on with it: what a task of an array runs
#[derive(clap::Args)]
pub struct Args {
    /// The directory of the sweep
    sweep: PathBuf,
    /// The member's number, or its name
    member: String,
}

/// How long a task waits for a process that may still be saving; one that was killed elsewhere is waited for as long as its
/// directory is its own.
const WAIT: Duration = Duration::from_secs(60);

/// Runs the verb.
pub fn run(args: Args) -> Result<ExitCode, Exit> {
    let begun = Instant::now();
    let sweep = open(&args.sweep, None)?;
    let is_it = |number: usize, name: &str| args.member == name || args.member.parse() == Ok(number);
    let Some(member) = sweep.members.iter().find(|member| is_it(member.number, &member.name)) else {
        return Err(Exit::Input(format!("the sweep has no member {}: it has {}", args.member, sweep.members.len())));
    };
    let slurm = &sweep.plan.slurm;
    let given = std::env::var("SLURM_CPUS_PER_TASK").ok().and_then(|n| n.parse().ok());
    let hands = Hands { threads: slurm.cpus.or(given).or(sweep.plan.threads), device: slurm.device.clone() };
    let again = format!("rdarts sweep submit {}", for_shell(&args.sweep));
    let stop = stop_signal("The member is told to save", &again, |text: &str| say!("{text}"))?;
    let mut waits_until = None;
    let command = loop {
        match step(&sweep, member, &hands) {
            Step::Done => {
                say!("{} has finished.", member.name);
                return Ok(ExitCode::SUCCESS);
            }
            Step::Start(command) => break command,
            Step::Refused(why) => return Err(Exit::Failed(format!("{}: {why}", member.name))),
            Step::Taken(why, free_in) => {
                let until = *waits_until.get_or_insert_with(|| {
                    say!("{}: {why}", member.name);
                    Instant::now() + free_in.map_or(WAIT, |left| left + WAIT)
                });
                if stop.load(Ordering::Relaxed) != 0 || Instant::now() > until {
                    say!("{} is left to that process.", member.name);
                    return Ok(ExitCode::SUCCESS);
                }
                std::thread::sleep(Duration::from_secs(2));
            }
        }
    };
    let path = sweep.folder.run_path(&sweep.plan, member);
    let before = trace(&path);
    let failed = |e: std::io::Error| Exit::Failed(format!("cannot start {}: {e}", member.name));
    let mut worker = Worker::start(&command, &sweep.folder.log_path(member), true).map_err(failed)?;
    let mut is_told = false;
    while !worker.has_ended() {
        if stop.load(Ordering::Relaxed) != 0 && !is_told {
            is_told = true;
            worker.stop();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    match worker.end() {
        Ended::Well => Ok(ExitCode::SUCCESS),
        Ended::Badly(why) | Ended::Killed(why) => Err(Exit::Failed(format!("{}: {why}", member.name))),
        Ended::Saved => {
            let signal = stop.load(Ordering::Relaxed);
            let limit =
                slurm.time.as_ref().map(|(_, limit)| Duration::from_secs(limit.saturating_sub(slurm.save_before)));
            // TERM comes from those who cancel too, and what they cancel must not come back.
            let is_near = limit.is_some_and(|limit| begun.elapsed() + Duration::from_secs(5) > limit);
            if is_of_limit(signal) || (signal != 0 && is_near) {
                requeue(&sweep, &member.name, &before, &trace(&path));
            }
            Ok(ExitCode::from(INTERRUPTED))
        }
    }
}

/// Puts the task of this process back into the queue, or says what to do where that cannot be done.
fn requeue(sweep: &Sweep, name: &str, before: &[(PathBuf, u64)], after: &[(PathBuf, u64)]) {
    let again = format!("`rdarts sweep submit {}` goes on with it", for_shell(&sweep.folder.path));
    if before == after {
        say!(
            "warning: {name} has not come further in its time limit, so that it is not put into the queue again: a longer `slurm.time` is needed; {again}"
        );
        return;
    }
    // The job of a task alone is not known to all commands: it is named by its array.
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let task = match (variable("SLURM_ARRAY_JOB_ID"), variable("SLURM_ARRAY_TASK_ID")) {
        (Some(array), Some(task)) => format!("{array}_{task}"),
        _ => match variable("SLURM_JOB_ID") {
            Some(job) => job,
            None => {
                say!("{name} was told to save outside of Slurm: {again}.");
                return;
            }
        },
    };
    say!("{name} was saved before its time limit; task {task} goes back into the queue.");
    match Command::new("scontrol").args(["requeue", &task]).output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
            say!("warning: scontrol cannot put task {task} into the queue again ({why}): {again}");
        }
        Err(e) => say!("warning: there is no scontrol here ({e}): {again}"),
    }
}

/// All logs and checkpoints of a run and of those within it, with their lengths: what grows when it comes further.
fn trace(path: &Path) -> Vec<(PathBuf, u64)> {
    let mut files = Vec::new();
    let mut work = path.as_os_str().to_os_string();
    work.push(".work");
    let mut folders = vec![path.to_path_buf(), PathBuf::from(work)];
    if let Ok(table) = path.metadata().map(|m| m.len()) {
        files.push((path.to_path_buf(), table));
    }
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let is_counted = name == "events.jsonl" || path.extension().is_some_and(|ending| ending == "safetensors");
            match entry.metadata() {
                Ok(found) if found.is_dir() => folders.push(path),
                Ok(found) if is_counted => files.push((path, found.len())),
                _ => {}
            }
        }
    }
    files.sort();
    files
}
