//! `rdarts sweep run`: all members that are not finished, on this machine.

use std::collections::{BTreeMap, VecDeque};
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use rdarts_run::{for_shell, try_lock};
use rdarts_sweep::{Hands, Member, Standing, State};

use super::check::check;
use super::work::{Ended, Step, Worker, step};
use super::{Given, Sweep, counts, progress, submit};
use crate::conduct::{count, jobs};
use crate::device::{choice, is_there};
use crate::exit::{Exit, INTERRUPTED, out, say};
use crate::progress::duration;
use crate::signals::stop_signal;

/// Run all members that are not finished, each a process of its own
///
/// Members that failed before are left: `rdarts sweep retry` tries them again.
/// One that fails ends no other. Ctrl-C tells all members to save; the same
/// command goes on.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    given: Given,
    #[command(flatten)]
    how: How,
}

/// Run the members that failed again, or submit them
#[derive(clap::Args)]
pub struct RetryArgs {
    #[command(flatten)]
    given: Given,
    #[command(flatten)]
    how: How,
    /// Submit them to Slurm instead of running them here
    #[arg(long)]
    slurm: bool,
    /// As for `submit`: do not look at images and memory here
    #[arg(long, requires = "slurm")]
    no_images: bool,
    /// As for `submit`: write the script, but submit nothing
    #[arg(long, requires = "slurm")]
    dry_run: bool,
}

#[derive(clap::Args)]
struct How {
    /// Members side by side [default: one, with --devices one for each]
    #[arg(long, value_parser = jobs)]
    jobs: Option<usize>,
    /// Threads of each member [default: `threads` of the plan, else all processors shared by the jobs]
    #[arg(long, value_parser = |text: &str| crate::exit::whole(text, 1, 1024).map(|n| n as usize))]
    threads: Option<usize>,
    /// Devices that members compute on in turn, separated by commas: gpu:0,gpu:1
    #[arg(long, value_name = "DEVICE,...", value_delimiter = ',', value_parser = |text: &str| choice(text).map(|_| text.to_string()))]
    devices: Vec<String>,
    /// These members only
    #[arg(long, value_name = "NAME", num_args = 1..)]
    only: Vec<String>,
    /// Print what became of all members as one JSON object and nothing else
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(args: Args) -> Result<ExitCode, Exit> {
    carry_out(&args.given, &args.how, false)
}

/// The same for members that failed.
pub fn retry(args: RetryArgs) -> Result<ExitCode, Exit> {
    let how = &args.how;
    if args.slurm && (how.jobs.is_some() || how.threads.is_some() || !how.devices.is_empty()) {
        let why = "--jobs, --threads and --devices are of members that run here: with --slurm the section [slurm] of the plan";
        return Err(Exit::Input(format!("{why} has `at_once`, `cpus` and `device`")));
    }
    match args.slurm {
        true => submit::submit_failed(&args.given, &args.how.only, !args.no_images, args.dry_run, args.how.json),
        false => carry_out(&args.given, &args.how, true),
    }
}

fn carry_out(given: &Given, how: &How, failed: bool) -> Result<ExitCode, Exit> {
    let sweep = given.open()?;
    how.devices.iter().filter_map(|device| choice(device).ok()).try_for_each(is_there)?;
    let is_wanted = |member: &&Member| match sweep.standing(member).state {
        State::Done => false,
        State::Failed(_) => failed,
        _ => !failed,
    };
    let wanted: Vec<&Member> = sweep.only(&how.only)?.into_iter().filter(is_wanted).collect();
    let begins = |member: &&&Member| sweep.standing(member).state == State::Waiting;
    check(&sweep, &wanted.iter().filter(begins).copied().collect::<Vec<_>>(), how.json)?;
    sweep.folder.begin(&sweep.plan)?;
    if let Some(news) = sweep.news.as_ref().filter(|_| !how.json) {
        say!("{news}");
    }
    // Told once for all members, which lie on the same disk; somebody else may be looking at the same moment.
    if let Ok(warnings) = try_lock(&sweep.folder.path) {
        warnings.iter().for_each(|warning| say!("warning: {warning}"));
    }
    let n_jobs = how.jobs.unwrap_or(how.devices.len().max(1));
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = how.threads.or(sweep.plan.threads).unwrap_or((processors / n_jobs).max(1));
    let all = count(sweep.members.len(), "member");
    if !how.json {
        let dir = for_shell(&sweep.folder.path);
        let left = wanted.len();
        say!("{all}, {left} to be done, {n_jobs} side by side with {}; sweep in {dir}", count(threads, "thread"));
    }
    let again = format!("rdarts sweep run {}", for_shell(&sweep.folder.path));
    let mut pool = Pool::new(&sweep, wanted, how, threads);
    let say_above = pool.say_above();
    let stop = stop_signal("All members are told to save", &again, move |text| say_above(text))?;
    pool.work(n_jobs, &|| stop.load(Ordering::Relaxed) != 0);
    let (problems, interrupted) = (pool.problems.len(), stop.load(Ordering::Relaxed) != 0);
    drop(pool);
    let standings: Vec<Standing> = sweep.members.iter().map(|member| sweep.standing(member)).collect();
    let states = standings.iter().map(|standing| &standing.state);
    if how.json {
        out!("{:#}", sweep.as_json());
    } else {
        out!("{all}: {}", counts(states.clone()));
        if !interrupted {
            out!("Page: rdarts sweep report {}", for_shell(&sweep.folder.path));
        }
    }
    if interrupted {
        say!("Stopped and saved. Go on with `{again}`.");
        return Ok(ExitCode::from(INTERRUPTED));
    }
    let failed = states.filter(|state| matches!(state, State::Failed(_))).count();
    if failed > 0 && !how.json {
        say!(
            "{} failed; `rdarts sweep status {dir}` says why, `rdarts sweep retry {dir}` tries again.",
            count(failed, "member"),
            dir = for_shell(&sweep.folder.path)
        );
    }
    Ok(ExitCode::from(u8::from(failed + problems > 0)))
}

/// Members at work side by side.
struct Pool<'a> {
    sweep: &'a Sweep,
    how: &'a How,
    threads: usize,
    queue: VecDeque<&'a Member>,
    /// Those whose directory another process has, with when they are looked at next and how long.
    taken: Vec<(Instant, Instant, &'a Member)>,
    running: Vec<(usize, &'a Member, Worker, Instant)>,
    /// What went wrong, by the names of the members.
    problems: BTreeMap<String, String>,
    n: usize,
    done: usize,
    began: Instant,
    bar: Option<ProgressBar>,
    shown_at: Instant,
}

/// Without a terminal, a line says this often how far members are.
const LINE_EVERY: Duration = Duration::from_secs(60);

/// A directory that another process has is looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(5);

impl<'a> Pool<'a> {
    fn new(sweep: &'a Sweep, wanted: Vec<&'a Member>, how: &'a How, threads: usize) -> Self {
        let bar = (std::io::stderr().is_terminal() && !how.json).then(|| {
            let bar = ProgressBar::new(wanted.len() as u64);
            let style = ProgressStyle::with_template("{bar:20} {pos}/{len} members  {wide_msg}");
            bar.set_style(style.expect("the template is fixed"));
            bar.enable_steady_tick(Duration::from_millis(500));
            bar
        });
        let now = Instant::now();
        Pool {
            sweep,
            how,
            threads,
            n: wanted.len(),
            queue: wanted.into(),
            taken: Vec::new(),
            running: Vec::new(),
            problems: BTreeMap::new(),
            done: 0,
            began: now,
            bar,
            shown_at: now,
        }
    }

    fn say_above(&self) -> impl Fn(&str) + Send + use<> {
        let bar = self.bar.clone();
        move |text| match &bar {
            Some(bar) => bar.suspend(|| say!("{text}")),
            None => say!("{text}"),
        }
    }

    fn line(&self, text: &str) {
        if !self.how.json {
            self.say_above()(text);
        }
    }

    fn work(&mut self, n_jobs: usize, is_stopped: &dyn Fn() -> bool) {
        let mut is_told = false;
        loop {
            if is_stopped() {
                if !is_told {
                    is_told = true;
                    self.running.iter().for_each(|(_, _, worker, _)| worker.stop());
                }
                (self.queue, self.taken) = (VecDeque::new(), Vec::new());
            }
            while self.running.len() < n_jobs {
                let Some(member) = self.next() else { break };
                let slot = (0..n_jobs).find(|slot| self.running.iter().all(|(other, ..)| other != slot)).unwrap_or(0);
                self.start(slot, member);
            }
            if self.running.is_empty() && self.queue.is_empty() && self.taken.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
            let ended: Vec<usize> = (0..self.running.len()).rev().filter(|i| self.running[*i].2.has_ended()).collect();
            for i in ended {
                let (_, member, worker, since) = self.running.swap_remove(i);
                self.ended(member, worker.end(), since);
            }
            self.show();
        }
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// The next one that may be looked at now.
    fn next(&mut self) -> Option<&'a Member> {
        if let Some(member) = self.queue.pop_front() {
            return Some(member);
        }
        let now = Instant::now();
        let ready = self.taken.iter().position(|(next, _, _)| *next <= now)?;
        Some(self.taken[ready].2)
    }

    fn start(&mut self, slot: usize, member: &'a Member) {
        let known = self.taken.iter().position(|(_, _, other)| other.name == member.name).map(|i| self.taken.remove(i));
        let device = self.how.devices.get(slot % self.how.devices.len().max(1)).cloned();
        let hands = Hands { threads: Some(self.threads), device };
        match step(self.sweep, member, &hands) {
            Step::Done => self.finished(member, "has finished elsewhere"),
            Step::Refused(why) => self.failed(member, why),
            Step::Taken(why, free_in) => {
                let now = Instant::now();
                let until = known.map_or_else(|| now + free_in.unwrap_or_default() + LOOK_EVERY, |(_, until, _)| until);
                if known.is_none() {
                    self.line(&format!("{}: {why}", member.name));
                }
                match now >= until {
                    true => self.finished(member, "is left to that process"),
                    false => self.taken.push((now + LOOK_EVERY, until, member)),
                }
            }
            Step::Start(args) => match Worker::start(&args, &self.sweep.folder.log_path(member), false) {
                Err(e) => self.failed(member, format!("cannot be started: {e}")),
                Ok(worker) => {
                    let how_far = progress(self.sweep.plan.kind, &self.sweep.standing(member));
                    let goes_on = args.first().is_some_and(|verb| verb == "resume");
                    let what = if goes_on { format!("goes on, {how_far} done") } else { "begins".to_string() };
                    self.line(&format!("{}: {what}", member.name));
                    self.running.push((slot, member, worker, Instant::now()));
                }
            },
        }
    }

    fn ended(&mut self, member: &Member, how: Ended, since: Instant) {
        let standing = self.sweep.standing(member);
        let took = duration(since.elapsed().as_secs_f64());
        match how {
            Ended::Well if standing.state == State::Done => self.finished(member, &format!("done in {took}")),
            Ended::Well => self.finished(member, "the rest of it is done by other processes"),
            Ended::Saved => {
                self.line(&format!("{}: saved, {}", member.name, progress(self.sweep.plan.kind, &standing)))
            }
            Ended::Badly(why) | Ended::Killed(why) => self.failed(member, why),
        }
    }

    fn finished(&mut self, member: &Member, how: &str) {
        self.done += 1;
        self.line(&format!("{}: {how}  ({} of {})", member.name, self.done, self.n));
    }

    fn failed(&mut self, member: &Member, why: String) {
        self.done += 1;
        self.line(&format!("{}: failed: {why}  ({} of {})", member.name, self.done, self.n));
        self.problems.insert(member.name.clone(), why);
    }

    /// How far the members at work are, and the time left at the rate of those that have ended.
    fn show(&mut self) {
        let every = if self.bar.is_some() { Duration::from_secs(1) } else { LINE_EVERY };
        if self.shown_at.elapsed() < every || self.how.json {
            return;
        }
        self.shown_at = Instant::now();
        let kind = self.sweep.plan.kind;
        let standings: Vec<(&str, Standing)> =
            self.running.iter().map(|(_, member, ..)| (member.name.as_str(), self.sweep.standing(member))).collect();
        let part = |s: &Standing| s.of.filter(|of| *of > 0).map_or(0.0, |of| s.done as f64 / of as f64);
        let done = self.done as f64 + standings.iter().map(|(_, s)| part(s)).sum::<f64>();
        let left = match done > 0.0 {
            true => duration(self.began.elapsed().as_secs_f64() / done * (self.n as f64 - done)),
            false => "unknown".to_string(),
        };
        let each: Vec<String> = standings.iter().map(|(name, s)| format!("{name} {}", progress(kind, s))).collect();
        let text = format!("{left} left  {}", each.join(", "));
        match &self.bar {
            Some(bar) => {
                bar.set_position(self.done as u64);
                bar.set_message(text);
            }
            None => self.line(&format!("  {} of {} members  {text}", self.done, self.n)),
        }
    }
}
