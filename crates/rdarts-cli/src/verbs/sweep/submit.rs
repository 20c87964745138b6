//! `rdarts sweep submit` and `cancel`: the members as one array of Slurm.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, ExitCode, Output};

use rdarts_net::devices::HAS_GPUS;
use rdarts_run::{for_shell, try_lock, write_file};
use rdarts_sweep::array::{in_pattern, numbers, ranges, script};
use rdarts_sweep::{Member, State};
use serde_json::json;

use super::check::check;
use super::{Given, Sweep};
use crate::conduct::count;
use crate::device::NOT_BUILT;
use crate::exit::{Exit, out, say};

/// Submit all members that are not finished as one array of Slurm
///
/// Members that are queued or at work already are left out, and so are those
/// that failed: `rdarts sweep retry --slurm` submits them. A task that comes
/// near its time limit saves and goes back into the queue; where a node has no
/// scontrol, the same command submits what is left.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    given: Given,
    /// These members only
    #[arg(long, value_name = "NAME", num_args = 1..)]
    only: Vec<String>,
    /// Do not look at images and memory here, where they are not those of the nodes
    #[arg(long)]
    no_images: bool,
    /// Write the script and say what would be submitted, but submit nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the array and its members as one JSON object and nothing else
    #[arg(long)]
    json: bool,
}

/// Cancel all tasks of the sweep that are queued or at work; these save first
#[derive(clap::Args)]
pub struct CancelArgs {
    #[command(flatten)]
    given: Given,
}

/// Runs the verb.
pub fn run(args: Args) -> Result<ExitCode, Exit> {
    let how = How { failed: false, images: !args.no_images, dry: args.dry_run, json: args.json };
    submit_as(&args.given, &args.only, &how)
}

/// Submits the members that failed.
pub fn submit_failed(given: &Given, only: &[String], images: bool, dry: bool, json: bool) -> Result<ExitCode, Exit> {
    submit_as(given, only, &How { failed: true, images, dry, json })
}

struct How {
    failed: bool,
    images: bool,
    dry: bool,
    json: bool,
}

fn submit_as(given: &Given, only: &[String], how: &How) -> Result<ExitCode, Exit> {
    let sweep = given.open()?;
    // Which cards the nodes have is not known here, but that this program knows none is.
    if let Some(asked) = sweep.plan.slurm.device.as_deref().filter(|device| *device != "cpu")
        && !HAS_GPUS
    {
        return Err(Exit::Input(format!("`slurm.device` is {asked}, and {NOT_BUILT}")));
    }
    let queued = queued(&sweep);
    let is_wanted = |member: &&Member| match sweep.standing(member).state {
        State::Done | State::AtWork => false,
        State::Failed(_) => how.failed,
        State::Waiting | State::ToBeResumed => !how.failed,
    };
    let chosen = sweep.only(only)?;
    let wanted: Vec<&Member> = chosen.iter().copied().filter(is_wanted).collect();
    let (there, wanted): (Vec<&Member>, Vec<&Member>) =
        wanted.into_iter().partition(|member| queued.contains(&member.number));
    if !how.json && !there.is_empty() {
        say!("{} in the queue already, left out", count(there.len(), "member"));
    }
    if wanted.is_empty() {
        if how.json {
            out!("{}", json!({ "array": null, "members": [] }));
        } else {
            out!("There is nothing to submit: `rdarts sweep status {}` says why.", for_shell(&sweep.folder.path));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let most = most_number();
    if let Some(member) = wanted.iter().find(|member| most.is_some_and(|most| member.number >= most)) {
        return Err(Exit::Input(format!(
            "member {} has the number {}, but an array of this cluster goes to {} (MaxArraySize): make several plans of \
             this one, or run the rest with `rdarts sweep run --only`",
            member.name,
            member.number,
            most.unwrap_or(1) - 1
        )));
    }
    if how.images {
        let waiting = |member: &&&Member| sweep.standing(member).state == State::Waiting;
        check(&sweep, &wanted.iter().filter(waiting).copied().collect::<Vec<_>>(), how.json)?;
    }
    sweep.folder.begin(&sweep.plan)?;
    if let Some(news) = sweep.news.as_ref().filter(|_| !how.json) {
        say!("{news}");
    }
    if let Ok(warnings) = try_lock(&sweep.folder.path) {
        warnings.iter().for_each(|warning| say!("warning: {warning}"));
    }
    let failed = |e: std::io::Error| Exit::Failed(format!("cannot submit: {e}"));
    let dir = sweep.folder.path.canonicalize().map_err(failed)?;
    let program = std::env::current_exe().map_err(failed)?;
    let name = dir.file_name().map_or("sweep".into(), |name| name.to_string_lossy().into_owned());
    let path = dir.join("array.sh");
    write_file(&path, script(&sweep.plan.slurm, &name, &program, &dir).as_bytes())?;
    let mut array = ranges(&wanted.iter().map(|member| member.number).collect::<Vec<_>>());
    if let Some(n) = sweep.plan.slurm.at_once {
        array += &format!("%{n}");
    }
    let mut command = Command::new("sbatch");
    let log = in_pattern(&dir.join("logs")) + "/slurm-%A_%a.log";
    command.args(["--parsable", &format!("--array={array}"), &format!("--output={log}")]);
    command.args(&sweep.plan.slurm.options).arg(&path);
    if how.dry {
        let args: Vec<String> = command.get_args().map(|arg| for_shell(Path::new(arg))).collect();
        out!("sbatch {}", args.join(" "));
        return Ok(ExitCode::SUCCESS);
    }
    let output = command.output().map_err(|e| {
        Exit::Failed(format!(
            "cannot start sbatch ({e}): `rdarts sweep run` needs no Slurm; the script is {}",
            for_shell(&path)
        ))
    })?;
    if !output.status.success() {
        return Err(Exit::Failed(format!("sbatch refuses the array: {}", said(&output))));
    }
    // With several clusters `number;cluster`.
    let id = String::from_utf8_lossy(&output.stdout).trim().to_string();
    let kept = sweep.folder.add_array(&id);
    if let Err(e) = kept {
        say!("warning: array {id} is submitted, but its number is not written down ({e}): `scancel {id}` cancels it");
    }
    if how.json {
        let members: Vec<&str> = wanted.iter().map(|member| member.name.as_str()).collect();
        out!("{}", json!({ "array": id, "indices": array, "members": members }));
    } else {
        out!("Array {id}: {} ({array})", count(wanted.len(), "member"));
        out!("rdarts sweep status {}", for_shell(&sweep.folder.path));
    }
    Ok(ExitCode::SUCCESS)
}

/// The numbers of members that tasks of earlier arrays are queued or at work for; none where Slurm does not answer.
fn queued(sweep: &Sweep) -> BTreeSet<usize> {
    let tasks = |id: &String| {
        let (id, cluster) = id.split_once(';').unwrap_or((id, ""));
        let mut command = Command::new("squeue");
        command.args(["--noheader", "--array", "--format=%K", &format!("--jobs={id}")]);
        if !cluster.is_empty() {
            command.arg(format!("--clusters={cluster}"));
        }
        // An array that has left the queue is no job any more.
        let output = command.output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).lines().flat_map(numbers).collect::<Vec<_>>())
    };
    sweep.folder.arrays().iter().filter_map(tasks).flatten().collect()
}

/// MaxArraySize, which is one more than the largest number; `None` where Slurm does not tell.
fn most_number() -> Option<usize> {
    let output = Command::new("scontrol").args(["show", "config"]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|line| line.trim_start().starts_with("MaxArraySize"))?;
    line.split('=').nth(1)?.trim().parse().ok()
}

/// What a command of Slurm says, as a part of a sentence.
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("; ")
}

/// Runs the verb.
pub fn cancel(args: CancelArgs) -> Result<ExitCode, Exit> {
    let sweep = args.given.open()?;
    let arrays = sweep.folder.arrays();
    if arrays.is_empty() {
        return Err(Exit::Input("the sweep was never submitted to Slurm; Ctrl-C stops `rdarts sweep run`".into()));
    }
    for id in &arrays {
        let (id, cluster) = id.split_once(';').unwrap_or((id, ""));
        let mut command = Command::new("scancel");
        if !cluster.is_empty() {
            command.arg(format!("--clusters={cluster}"));
        }
        // What has left the queue cannot be cancelled any more, and need not be; the shell's place is the program's.
        let output = command.args(["--full", "--quiet", id]).output();
        let output = output.map_err(|e| Exit::Failed(format!("cannot start scancel: {e}")))?;
        if !output.status.success() && !said(&output).contains("Invalid job id") {
            return Err(Exit::Failed(format!("scancel refuses array {id}: {}", said(&output))));
        }
    }
    out!(
        "Cancelled; members at work save first. `rdarts sweep submit {}` goes on with them.",
        for_shell(&sweep.folder.path)
    );
    Ok(ExitCode::SUCCESS)
}
