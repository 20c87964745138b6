//! `rdarts sweep`: many runs of one plan, on this machine or on a cluster.

mod check;

mod work;

mod run;

mod member;

mod submit;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rdarts_data::shown;
use rdarts_run::{RunView, for_shell};
use rdarts_sweep::plan::Kind;
use rdarts_sweep::{Folder, Member, Plan, Standing, State, members};
use rdarts_train::KnownSets;
use serde_json::json;

use super::report;
use crate::exit::{Exit, out};

/// Many runs of one plan: on this machine, or on a cluster with Slurm
///
/// A plan is a TOML file: the kind of its members (search, train, robust,
/// table, disparity-search, disparity-training or disparity-robust), what they
/// have in common, and what they differ in:
///
///   kind = "search"
///   preset = "demo"            # or spec = "my.toml", a file beside the plan
///   seeds = 3                  # 1, 2 and 3; or a list, [1, 7]
///   [set]                      # keys of the spec that all members have
///   search.epochs = 20
///   [grid]                     # every combination of these lists
///   search.method = ["darts", "darts-ada"]
///   [list]                     # lists of one length, gone through together
///   network.channels = [8, 16]
///   network.cells = [5, 8]
///   name = ["small", "large"]  # names of the rows, if wanted
///   [slurm]                    # partition, account, qos, time, memory, cpus,
///   time = "12:00:00"          # gpus, device, at_once, save_before, setup,
///   cpus = 4                   # options, and a section environment
///
/// Also threads (of a member), max_members (1000), of robust and table jobs
/// (runs side by side within a member), of table space and workers (processes
/// that build one table together). Each portfolio of a plan of kind robust is
/// one member, whose searches and trainings go through one after another, or
/// `jobs` of them side by side.
///
/// Examples:
///   rdarts sweep plan.toml
///       what its members are, and whether anything is wrong with them
///   rdarts sweep run plan.toml --jobs 2
///       all that is not finished; Ctrl-C saves, the same command goes on
///   rdarts sweep submit plan.toml
///       the same as one array of Slurm
///   rdarts sweep status plan.toml
///   rdarts sweep report plan.toml
///
/// What became of a member is read from its run directory alone. In place of
/// the plan every command takes the directory of the sweep.
#[derive(clap::Args)]
#[command(verbatim_doc_comment, args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    list: StatusArgs,
}

#[derive(clap::Subcommand)]
enum Verb {
    Run(run::Args),
    Submit(submit::Args),
    Status(StatusArgs),
    Retry(run::RetryArgs),
    Cancel(submit::CancelArgs),
    Report(ReportArgs),
    #[command(hide = true)]
    Member(member::Args),
}

/// The sweep of a verb.
#[derive(clap::Args)]
pub struct Given {
    /// The plan (TOML), or the directory of a sweep that has begun
    plan: Option<PathBuf>,
    /// The directory of the sweep [default: runs/NAME of NAME.toml]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// What became of every member
#[derive(clap::Args)]
pub struct StatusArgs {
    #[command(flatten)]
    given: Given,
    /// Print it as one JSON object and nothing else
    #[arg(long)]
    json: bool,
}

/// One page over all members that have begun, finished or not
#[derive(clap::Args)]
pub struct ReportArgs {
    #[command(flatten)]
    given: Given,
    /// These members only
    #[arg(long, value_name = "NAME", num_args = 1..)]
    only: Vec<String>,
    /// The page [default: report.html in the directory of the sweep]
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
    /// A directory for every figure as SVG and PNG, and its numbers as CSV
    #[arg(long, value_name = "DIR")]
    figures: Option<PathBuf>,
    /// A directory for TensorBoard
    #[arg(long, value_name = "DIR")]
    tensorboard: Option<PathBuf>,
    /// Print the tables behind the page as one JSON object, and write no page
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(args: Args) -> Result<ExitCode, Exit> {
    match args.verb {
        None => status(&args.list),
        Some(Verb::Run(args)) => run::run(args),
        Some(Verb::Submit(args)) => submit::run(args),
        Some(Verb::Status(args)) => status(&args),
        Some(Verb::Retry(args)) => run::retry(args),
        Some(Verb::Cancel(args)) => submit::cancel(args),
        Some(Verb::Report(args)) => report(args),
        Some(Verb::Member(args)) => member::run(args),
    }
}

/// A plan with its members and its directory, which need not be there yet.
pub struct Sweep {
    plan: Plan,
    members: Vec<Member>,
    folder: Folder,
    /// What has changed since it was begun.
    news: Option<String>,
}

impl Given {
    fn open(&self) -> Result<Sweep, Exit> {
        match &self.plan {
            Some(plan) => open(plan, self.out.as_deref()),
            None => Err(Exit::Input("which sweep? Name its plan, a TOML file, or its directory".into())),
        }
    }
}

/// Reads a plan, or the one of a sweep's directory, and looks at all of its specs.
fn open(path: &Path, out: Option<&Path>) -> Result<Sweep, Exit> {
    // The copy in a sweep's directory is that sweep, wherever it lies.
    let copy = path.file_name().is_some_and(|name| name == "plan.toml").then(|| path.parent()).flatten();
    let dir = copy.filter(|dir| Folder::is_one(dir)).or(Some(path).filter(|path| path.is_dir()));
    let (plan, folder) = match dir {
        Some(_) if out.is_some() => {
            return Err(Exit::Input(format!("`{}` is a sweep with its directory: leave --out out", shown(path))));
        }
        Some(dir) if !Folder::is_one(dir) => {
            return Err(Exit::Input(format!("the directory `{}` is no sweep: name a plan, a TOML file", shown(dir))));
        }
        Some(dir) => {
            let folder = Folder { path: dir.to_path_buf() };
            (folder.plan()?, folder)
        }
        None => {
            let plan = Plan::read(path)?;
            let stem = path.file_stem().unwrap_or(path.as_os_str());
            (plan, Folder { path: out.map_or_else(|| Path::new("runs").join(stem), Path::to_path_buf) })
        }
    };
    let members = members(&plan, &KnownSets)?;
    let news = folder.check(&plan, &members, &KnownSets)?;
    Ok(Sweep { plan, members, folder, news })
}

impl Sweep {
    fn standing(&self, member: &Member) -> Standing {
        Standing::of(&self.folder, &self.plan, member)
    }

    /// The members of these names, all if there are none.
    fn only(&self, names: &[String]) -> Result<Vec<&Member>, Exit> {
        for name in names {
            if !self.members.iter().any(|member| member.name == *name) {
                let known: Vec<&str> = self.members.iter().map(|member| member.name.as_str()).collect();
                let near = rdarts_sweep::members::nearest(name, &known);
                return Err(Exit::Input(format!("--only {name}: {} has no such member{near}", self.plan.file)));
            }
        }
        Ok(self.members.iter().filter(|member| names.is_empty() || names.contains(&member.name)).collect())
    }

    /// Every member as programs are told.
    fn as_json(&self) -> serde_json::Value {
        let one = |member: &Member| {
            let standing = self.standing(member);
            let problem = if let State::Failed(problem) = &standing.state { Some(problem.clone()) } else { None };
            json!({
                "name": member.name,
                "number": member.number,
                "state": standing.state.name(),
                "run": self.folder.run_path(&self.plan, member).display().to_string(),
                "log": self.folder.log_path(member).display().to_string(),
                "done": standing.done,
                "of": standing.of,
                "problem": problem,
            })
        };
        json!({
            "sweep": self.folder.path.display().to_string(),
            "kind": self.plan.kind.name(),
            "arrays": self.folder.arrays(),
            "members": self.members.iter().map(one).collect::<Vec<_>>(),
        })
    }
}

/// What the numbers of a standing count.
fn unit(kind: Kind) -> &'static str {
    match kind {
        Kind::Search | Kind::Train | Kind::DisparitySearch | Kind::DisparityTraining => "epochs",
        Kind::Robust | Kind::DisparityRobust => "runs",
        Kind::Table => "trainings",
    }
}

/// `3 of 20 epochs`.
fn progress(kind: Kind, standing: &Standing) -> String {
    match (standing.done, standing.of) {
        (0, None) => String::new(),
        (done, None) => format!("{done} {}", unit(kind)),
        (done, Some(of)) => format!("{done} of {of} {}", unit(kind)),
    }
}

/// How many are in which state: `3 done, 1 failed`.
fn counts<'a>(states: impl Iterator<Item = &'a State> + Clone) -> String {
    let names = ["done", "at work", "to be resumed", "failed", "waiting"];
    let n = |name: &str| states.clone().filter(|state| state.name() == name).count();
    let parts: Vec<String> = names
        .iter()
        .map(|name| (n(name), name))
        .filter(|(n, _)| *n > 0)
        .map(|(n, name)| format!("{n} {name}"))
        .collect();
    parts.join(", ")
}

fn status(args: &StatusArgs) -> Result<ExitCode, Exit> {
    let sweep = args.given.open()?;
    if args.json {
        out!("{:#}", sweep.as_json());
        return Ok(ExitCode::SUCCESS);
    }
    let standings: Vec<Standing> = sweep.members.iter().map(|member| sweep.standing(member)).collect();
    let width = sweep.members.iter().map(|member| member.name.len()).max().unwrap_or(0);
    for (member, standing) in sweep.members.iter().zip(&standings) {
        let problem = if let State::Failed(problem) = &standing.state { problem } else { "" };
        let line = format!(
            "{:>4}  {:width$}  {:13}  {:18}  {problem}",
            member.number,
            member.name,
            standing.state.name(),
            progress(sweep.plan.kind, standing)
        );
        out!("{}", line.trim_end());
    }
    let n = crate::conduct::count(sweep.members.len(), "member");
    out!("{n}: {}; sweep in {}", counts(standings.iter().map(|s| &s.state)), for_shell(&sweep.folder.path));
    Ok(ExitCode::SUCCESS)
}

fn report(args: ReportArgs) -> Result<ExitCode, Exit> {
    let sweep = args.given.open()?;
    let mut runs: Vec<PathBuf> = Vec::new();
    for member in sweep.only(&args.only)? {
        let path = sweep.folder.run_path(&sweep.plan, member);
        let has_begun = if sweep.plan.kind == Kind::Table { path.is_file() } else { RunView::open(&path).is_ok() };
        if has_begun && !runs.contains(&path) {
            runs.push(path);
        }
    }
    if runs.is_empty() {
        let plan = args.given.plan.as_deref().map(for_shell).unwrap_or_default();
        return Err(Exit::Input(format!("no member of the sweep has begun: `rdarts sweep run {plan}` begins them")));
    }
    let page = args.page.unwrap_or_else(|| sweep.folder.path.join("report.html"));
    report::run(report::Args::of_sweep(runs, page, args.figures, args.tensorboard, args.json))
}
