//! R-DARTS as one run: searches, short trainings, the choice, the whole training, baselines, whatever the task is.
//!
//! What has been done is read from the directories of the runs, so a study that was killed goes on where it was: a run
//! that is done is not touched again, and one that was under way goes on from its last checkpoint. The events of the
//! portfolio are written in the order of its members, whichever ends first.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use rdarts_net::Engine;
use rdarts_run::{
    Chosen, Environment, Event, Finished, MemberFound, MemberRefused, RobustStarted, RunDir, RunView, Spec,
};
use rdarts_train::memory::Needed;
use rdarts_train::{Job, Observer, TrainError};
use serde::Serialize;
use serde_json::Value;

use crate::members::{Place, carry_out, is_done, side_by_side};

/// The searches and trainings of one task, and what is measured on its networks.
pub trait Task: Sync {
    /// What it learns from.
    const DATA: &'static str;

    /// How the short training of a member ended.
    type Short: Clone + Debug + Serialize + Into<Event>;
    /// How a training ended.
    type Trained: Clone + Debug + Serialize;
    /// How that of cells ended that no search found.
    type Baseline: Clone + Debug + Serialize + Into<Event>;
    /// How good the chosen network is.
    type Finished: Clone + Debug + Serialize + Into<Event>;

    /// What computes.
    fn engine(&self) -> &Engine;

    /// What the largest of its runs needs.
    fn needed(&self) -> &Needed;

    /// What the log begins with.
    fn started(&self) -> RobustStarted;

    /// Checksums of the spec as versions wrote it that did not know some of its keys yet, if it can have been written by one.
    fn older_specs(&self) -> Vec<String> {
        Vec::new()
    }

    /// Carries out the search of a member, or goes on with it; false if it was stopped.
    ///
    /// # Errors
    /// One sentence.
    fn search(&self, member: usize, at: &RunAt<'_>) -> Result<bool, TrainError>;

    /// Carries out the short or the whole training of a genotype, or goes on with it; false if it was stopped.
    ///
    /// # Errors
    /// One sentence.
    fn training(&self, genotype: &str, short: bool, at: &RunAt<'_>) -> Result<bool, TrainError>;

    /// Weights and multiply-adds of the network that is trained of a genotype; `None` if that cannot be read.
    fn size(&self, genotype: &str) -> Option<(usize, u64)>;

    /// Why a genotype cannot be trained, if it cannot.
    fn untrainable(&self, genotype: &str) -> Option<String>;

    /// The most weights and multiply-adds of what may be chosen; 0: any.
    fn bounds(&self) -> [u64; 2];

    /// A genotype as data.
    fn as_json(&self, genotype: &str) -> Option<Value>;

    /// The cells that the chosen ones are compared with, by name.
    fn baselines(&self) -> Vec<(&'static str, String)>;

    /// How the training of these events ended; `None` if they do not say.
    fn trained(&self, event: &Event) -> Option<Self::Trained>;

    /// The short training of a member; `None` if nothing was held out.
    fn short(&self, member: usize, trained: &Self::Trained) -> Option<Self::Short>;

    /// What the choice goes by: the larger the better.
    fn rank(&self, short: &Self::Short) -> f64;

    /// Why the best of so many was chosen, in one sentence.
    fn choice(&self, label: &str, n: usize, short: &Self::Short) -> String;

    /// The training of a baseline of so many weights; without an end if it diverged.
    fn baseline(&self, name: &str, genotype: &str, n_params: usize, trained: Option<&Self::Trained>) -> Self::Baseline;

    /// The whole training of what was chosen; `None` if nothing was held out.
    fn finished(&self, chosen: &MemberFound, trained: &Self::Trained) -> Option<Self::Finished>;

    /// Why it ended.
    fn reason<'t>(&self, trained: &'t Self::Trained) -> &'t str;

    /// Refuses more runs side by side than there is memory for.
    ///
    /// # Errors
    /// One sentence.
    fn check_jobs(&self, jobs: usize) -> Result<(), TrainError> {
        let Needed { bytes, what } = self.needed();
        let what = if jobs > 1 { "--jobs".to_string() } else { what.clone() };
        Needed { bytes: bytes.saturating_mul(jobs as u64), what }.check(self.engine())
    }

    /// Carries the portfolio out in its directory, from wherever it is; `None` if `stop` was set.
    ///
    /// # Errors
    /// One sentence if a run within it fails, if none of the cells may be chosen, or if the directory cannot be written.
    fn carry_out(
        &self,
        dir: &mut RunDir,
        hands: Hands,
        audience: &dyn Audience,
        stop: &AtomicBool,
    ) -> Result<Option<Report<Self>>, TrainError>
    where
        Self: Sized,
    {
        // More runs than threads would take more processors than were given.
        let hands = Hands { jobs: hands.jobs.clamp(1, hands.threads.max(1)), ..hands };
        let view = dir.view().clone();
        Study { task: self, hands, audience, stop, view, diverged: Mutex::default() }.carry_out(dir)
    }
}

/// Told what happens.
pub trait Audience: Sync {
    /// A search or a training begins, or goes on.
    fn begin(&self, name: &str, steps: usize) -> Box<dyn Observer + Send + '_>;
    /// Something that people want to read.
    fn say(&self, text: &str);
}

/// A member of the portfolio.
#[derive(Clone, Debug)]
pub struct Member<S> {
    /// What tells it from the others.
    pub label: String,
    /// What it found, if its search came to an end.
    pub found: Option<MemberFound>,
    /// Its short training, if what it found may be chosen.
    pub short: Option<S>,
    /// Why it could not be chosen, if it could not.
    pub refused: Option<String>,
}

/// What a portfolio has made.
#[derive(Clone, Debug)]
pub struct Report<T: Task> {
    /// All members.
    pub members: Vec<Member<T::Short>>,
    /// Which was chosen, and why.
    pub chosen: Chosen,
    /// Its whole training.
    pub finished: T::Finished,
    /// The test of the whole training.
    pub test: T::Trained,
    /// What it is compared with.
    pub baselines: Vec<T::Baseline>,
}

/// How a portfolio is carried out; no result depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Hands {
    /// Runs side by side.
    pub jobs: usize,
    /// Threads of all of them together.
    pub threads: usize,
}

/// Where and by what one of its runs is carried out.
pub struct RunAt<'a> {
    /// What computes.
    pub engine: Engine,
    /// What people call it.
    name: &'a str,
    audience: &'a dyn Audience,
    place: Place<'a>,
}

impl RunAt<'_> {
    /// Begins a run of so many steps or goes on with it until it is done; false if it was stopped. `prepare` writes what the
    /// directory needs beside the spec.
    pub(crate) fn carry_out<J: Job, S: Spec>(
        &self,
        job: &J,
        spec: &S,
        steps: usize,
        prepare: impl FnOnce(&mut RunDir) -> Result<(), rdarts_run::RunError>,
    ) -> Result<bool, TrainError> {
        let mut observer = self.audience.begin(self.name, steps);
        carry_out(job, spec, &self.place, &mut *observer, prepare, &mut |text| {
            self.audience.say(&format!("{}: {text}", self.name));
        })
    }
}

/// Refuses bounds of weights and multiply-adds that nothing keeps: `least` are those of the smallest, `cells` who that is, and
/// `network` in what.
pub(crate) fn refuse_bounds(bounds: [u64; 2], least: [u64; 2], cells: &str, network: &str) -> Result<(), TrainError> {
    let keys = [("portfolio.max_params", "weights"), ("portfolio.max_macs", "multiply-adds")];
    for ((key, what), (bound, least)) in keys.into_iter().zip(bounds.into_iter().zip(least)) {
        if bound > 0 && bound < least {
            return Err(TrainError::Input(format!(
                "{key} is {bound}, but {cells} fewer than {least} {what} in a network of {network}"
            )));
        }
    }
    Ok(())
}

/// What needs the most.
pub(crate) fn largest(all: impl IntoIterator<Item = Needed>) -> Option<Needed> {
    all.into_iter().reduce(|most, other| if other.bytes > most.bytes { other } else { most })
}

/// A portfolio at work.
struct Study<'a, T> {
    task: &'a T,
    hands: Hands,
    audience: &'a dyn Audience,
    stop: &'a AtomicBool,
    /// The directory of the portfolio.
    view: RunView,
    /// Runs whose loss grew without bounds, by the names of their directories; the others go on.
    diverged: Mutex<BTreeSet<String>>,
}

/// How the chosen training ended, and the baselines.
type Whole<T> = (<T as Task>::Trained, Vec<<T as Task>::Baseline>);

/// A piece of work.
type Work<'w> = Box<dyn FnOnce() -> Result<bool, TrainError> + Send + 'w>;

impl<T: Task> Study<'_, T> {
    fn carry_out(&self, dir: &mut RunDir) -> Result<Option<Report<T>>, TrainError> {
        let mut log = Log::new(dir.view().events().map_err(TrainError::from)?);
        let started = self.task.started();
        let labels = started.members.clone();
        log.begin(dir, started, &self.task.older_specs(), T::DATA)?;
        let Some(mut members) = self.searches(dir, &mut log, &labels)? else { return Ok(None) };
        if !self.short_trainings(dir, &mut log, &mut members)? {
            return Ok(None);
        }
        let because = |label: &str, n: usize, short: &T::Short| self.task.choice(label, n, short);
        let chosen = choose(&members, |short| self.task.rank(short), because)?;
        if log.write(dir, Event::Chosen(chosen.clone()))? {
            self.audience.say(&chosen.reason);
        }
        let winner = members[chosen.member].found.clone().expect("what was chosen was found");
        let Some((test, baselines)) = self.whole_trainings(dir, &mut log, &winner)? else { return Ok(None) };
        let place = self.member("chosen");
        let finished = self.task.finished(&winner, &test).ok_or_else(|| lost(&place))?;
        let model = RunView::open(&place)?.model_path();
        let bytes = std::fs::read(&model)
            .map_err(|e| TrainError::Failed(format!("cannot read {}: {e}", rdarts_data::shown(&model))))?;
        dir.write_model(&bytes).map_err(TrainError::failed)?;
        let json = self.task.as_json(&winner.genotype).ok_or_else(|| lost(&place))?;
        dir.write_genotype(&winner.genotype, &json).map_err(TrainError::failed)?;
        log.write(dir, finished.clone().into())?;
        dir.mark_done(self.task.reason(&test)).map_err(TrainError::failed)?;
        Ok(Some(Report { members, chosen, finished, test, baselines }))
    }

    /// All members as their searches have left them; `None` if it was stopped.
    fn searches(
        &self,
        dir: &mut RunDir,
        log: &mut Log,
        labels: &[String],
    ) -> Result<Option<Vec<Member<T::Short>>>, TrainError> {
        let name = |member: usize| format!("search-{member}");
        let open = (0..labels.len()).filter(|&member| !is_done(&self.member(&name(member))));
        let work = open.map(|member| -> Work<'_> {
            let title = format!("search, {}", labels[member]);
            Box::new(move || {
                let run = |path: &Path| self.at(&title, path, |at| self.task.search(member, at));
                self.unless_diverged(&name(member), run)
            })
        });
        if !self.all(work.collect())? {
            return Ok(None);
        }
        let mut members = Vec::new();
        for (member, label) in labels.iter().cloned().enumerate() {
            let mut made = Member { label: label.clone(), found: None, short: None, refused: None };
            if self.has_diverged(&name(member)) {
                made.refused = Some("its search has diverged".into());
            } else {
                let found = self.found(member, &label, &self.member(&name(member)))?;
                made.refused = self.refused(&found);
                log.write(dir, Event::MemberFound(found.clone()))?;
                made.found = Some(found);
            }
            if let Some(reason) = made.refused.clone() {
                log.write(dir, Event::MemberRefused(MemberRefused { member, label, reason }))?;
            }
            members.push(made);
        }
        Ok(Some(members))
    }

    /// Trains what may be chosen, each cell once if two members have found it; false if it was stopped.
    fn short_trainings(
        &self,
        dir: &mut RunDir,
        log: &mut Log,
        members: &mut [Member<T::Short>],
    ) -> Result<bool, TrainError> {
        let name = |member: usize| format!("short-{member}");
        let mut first: BTreeMap<&str, usize> = BTreeMap::new();
        let mut trained_at = vec![None; members.len()];
        for (at, member) in members.iter().enumerate().filter(|(_, member)| member.refused.is_none()) {
            let genotype = &member.found.as_ref().expect("it found what is not refused").genotype;
            trained_at[at] = Some(*first.entry(genotype).or_insert(at));
        }
        let open = first.into_iter().map(|(genotype, at)| (at, genotype));
        let open: BTreeMap<usize, &str> = open.filter(|(at, _)| !is_done(&self.member(&name(*at)))).collect();
        let work = open.into_iter().map(|(at, genotype)| -> Work<'_> {
            let title = format!("short training, {}", members[at].label);
            let genotype = genotype.to_string();
            Box::new(move || {
                let run = |path: &Path| self.at(&title, path, |at| self.task.training(&genotype, true, at));
                self.unless_diverged(&name(at), run)
            })
        });
        if !self.all(work.collect())? {
            return Ok(false);
        }
        for (member, at) in trained_at.iter().enumerate().filter_map(|(member, at)| Some((member, (*at)?))) {
            let made = &mut members[member];
            if self.has_diverged(&name(at)) {
                let reason = "its training has diverged".to_string();
                made.refused = Some(reason.clone());
                log.write(dir, Event::MemberRefused(MemberRefused { member, label: made.label.clone(), reason }))?;
                continue;
            }
            let path = self.member(&name(at));
            let short = self.task.short(member, &self.trained(&path)?).ok_or_else(|| lost(&path))?;
            log.write(dir, short.clone().into())?;
            made.short = Some(short);
        }
        Ok(true)
    }

    /// Trains what was chosen and the baselines in full; `None` if it was stopped.
    fn whole_trainings(
        &self,
        dir: &mut RunDir,
        log: &mut Log,
        winner: &MemberFound,
    ) -> Result<Option<Whole<T>>, TrainError> {
        let baselines = self.task.baselines();
        let mut whole = vec![("chosen", winner.genotype.clone())];
        whole.extend(baselines.iter().cloned());
        let open = whole.iter().filter(|(name, _)| !is_done(&self.member(name)));
        let work = open.map(|(name, genotype)| -> Work<'_> {
            let title = format!("training, {name}");
            Box::new(move || {
                let run = |path: &Path| self.at(&title, path, |at| self.task.training(genotype, false, at));
                if *name == "chosen" { run(&self.member(name)) } else { self.unless_diverged(name, run) }
            })
        });
        if !self.all(work.collect())? {
            return Ok(None);
        }
        let mut rows = Vec::new();
        for (name, genotype) in &baselines {
            let trained = match self.has_diverged(name) {
                true => None,
                false => Some(self.trained(&self.member(name))?),
            };
            let (n_params, _) = self.task.size(genotype).expect("a baseline is a genotype");
            let row = self.task.baseline(name, genotype, n_params, trained.as_ref());
            log.write(dir, row.clone().into())?;
            rows.push(row);
        }
        Ok(Some((self.trained(&self.member("chosen"))?, rows)))
    }

    /// The directory of one of its runs.
    fn member(&self, name: &str) -> PathBuf {
        self.view.member_path(name)
    }

    /// A run that may diverge without harm to the others.
    fn unless_diverged(
        &self,
        name: &str,
        run: impl FnOnce(&Path) -> Result<bool, TrainError>,
    ) -> Result<bool, TrainError> {
        match run(&self.member(name)) {
            Err(TrainError::Diverged(text)) => {
                self.audience.say(&format!("{name}: {text}"));
                self.diverged.lock().expect("no one panics while holding it").insert(name.to_string());
                Ok(true)
            }
            other => other,
        }
    }

    fn has_diverged(&self, name: &str) -> bool {
        self.diverged.lock().expect("no one panics while holding it").contains(name)
    }

    fn all(&self, work: Vec<Work<'_>>) -> Result<bool, TrainError> {
        let jobs = self.hands.jobs.clamp(1, work.len().max(1));
        side_by_side(jobs, (self.hands.threads / jobs).max(1), self.stop, work)
    }

    /// An engine with memory of its own, if several work at once.
    fn engine(&self) -> Engine {
        let engine = self.task.engine();
        if self.hands.jobs > 1 { engine.apart() } else { engine.clone() }
    }

    fn here(&self) -> Environment {
        let threads = (self.hands.threads / self.hands.jobs.max(1)).max(1);
        let engine = self.task.engine();
        Environment::detect(threads, engine.kernels.isa().name(), engine.place())
    }

    /// Carries out one of its runs.
    fn at(
        &self,
        name: &str,
        path: &Path,
        run: impl FnOnce(&RunAt<'_>) -> Result<bool, TrainError>,
    ) -> Result<bool, TrainError> {
        let place = Place { path, study: self.view.path(), here: &self.here(), stop: self.stop };
        run(&RunAt { engine: self.engine(), name, audience: self.audience, place })
    }

    /// How the training in a directory ended.
    fn trained(&self, path: &Path) -> Result<T::Trained, TrainError> {
        let events = RunView::open(path)?.events()?;
        events.iter().rev().find_map(|event| self.task.trained(event)).ok_or_else(|| lost(path))
    }

    /// What the search in a directory has found.
    fn found(&self, member: usize, label: &str, path: &Path) -> Result<MemberFound, TrainError> {
        let events = RunView::open(path)?.events()?;
        let finished = events.iter().rev().find_map(|e| if let Event::Finished(f) = e { Some(f) } else { None });
        let Finished { genotype, epoch, reason, .. } = finished.ok_or_else(|| lost(path))?;
        let (n_params, macs) = self.task.size(genotype).ok_or_else(|| lost(path))?;
        Ok(MemberFound {
            member,
            label: label.into(),
            genotype: genotype.clone(),
            epoch: *epoch,
            reason: reason.clone(),
            n_params,
            macs,
        })
    }

    /// Why a cell may not be chosen.
    fn refused(&self, found: &MemberFound) -> Option<String> {
        if let Some(why) = self.task.untrainable(&found.genotype) {
            return Some(why);
        }
        let [max_params, max_macs] = self.task.bounds();
        let (params, macs) = (found.n_params as u64, found.macs);
        let over = |what: &str, has: u64, bound: u64| format!("its cell has {has} {what}, more than {bound}");
        match () {
            () if max_params > 0 && params > max_params => Some(over("weights", params, max_params)),
            () if max_macs > 0 && macs > max_macs => Some(over("multiply-adds", macs, max_macs)),
            () => None,
        }
    }
}

/// The member that is best on what is held out, among equal ones that with the fewest weights.
fn choose<S>(
    members: &[Member<S>],
    rank: impl Fn(&S) -> f64,
    because: impl Fn(&str, usize, &S) -> String,
) -> Result<Chosen, TrainError> {
    let allowed: Vec<(&S, &MemberFound)> = members
        .iter()
        .filter(|member| member.refused.is_none())
        .filter_map(|member| Some((member.short.as_ref()?, member.found.as_ref()?)))
        .collect();
    let best = allowed.iter().max_by(|(a, of_a), (b, of_b)| {
        let smaller = of_b.n_params.cmp(&of_a.n_params);
        rank(a).total_cmp(&rank(b)).then(smaller).then(of_b.member.cmp(&of_a.member))
    });
    let Some((short, found)) = best else {
        let mut reasons: Vec<String> = members
            .iter()
            .map(|member| format!("{}: {}", member.label, member.refused.as_deref().unwrap_or_default()))
            .collect();
        let more = reasons.len().saturating_sub(3);
        reasons.truncate(3);
        return Err(TrainError::Input(format!(
            "none of the {} members may be chosen ({}{}); what their searches have found stays, and `rdarts train` trains it \
             in any size",
            members.len(),
            reasons.join("; "),
            if more > 0 { format!("; and {more} more") } else { String::new() }
        )));
    };
    let reason = because(&found.label, allowed.len(), short);
    Ok(Chosen { member: found.member, reason })
}

fn lost(path: &Path) -> TrainError {
    TrainError::Failed(format!(
        "{} is marked as done, but its events do not say how it ended: delete it, then `rdarts resume` makes it again",
        rdarts_data::shown(path)
    ))
}

/// The events of the portfolio: what is there already is not written again, and must be what would be written.
struct Log {
    there: Vec<Event>,
    /// How many of them have been met.
    met: usize,
}

impl Log {
    fn new(there: Vec<Event>) -> Self {
        Self { there, met: 0 }
    }

    /// The first line, which says what the portfolio is of.
    fn begin(
        &mut self,
        dir: &mut RunDir,
        mut started: RobustStarted,
        older_specs: &[String],
        data: &str,
    ) -> Result<(), TrainError> {
        if let Some(Event::RobustStarted(before)) = self.there.first() {
            let path = rdarts_data::shown(dir.path());
            if before.images != started.images {
                return Err(TrainError::Input(format!(
                    "the {data} are not those that {path} began with: put them back, name their place with --data-dir, or \
                     begin a new run"
                )));
            }
            if older_specs.contains(&before.spec) {
                started.spec.clone_from(&before.spec);
            }
            if before.spec != started.spec {
                return Err(TrainError::Input(format!(
                    "the spec of {path} is not the one that it began with: put spec.toml and space.toml back as they were, or \
                     begin a new run"
                )));
            }
            // Another version may go on with it, and says so.
            started.rdarts.clone_from(&before.rdarts);
        }
        self.write(dir, Event::RobustStarted(started)).map(drop)
    }

    /// Writes the next event, unless it is there; whether it did.
    fn write(&mut self, dir: &mut RunDir, event: Event) -> Result<bool, TrainError> {
        if let Some(there) = self.there.get(self.met) {
            if *there != event {
                return Err(TrainError::Input(format!(
                    "line {} of {} does not say what the runs in members/ have made: put them back as they were, or begin a \
                     new run",
                    self.met + 1,
                    rdarts_data::shown(dir.path().join("events.jsonl"))
                )));
            }
            self.met += 1;
            return Ok(false);
        }
        dir.append_event(&event).map_err(TrainError::failed)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(member: usize, n_params: usize, valid_accuracy: Option<f64>) -> Member<f64> {
        let label = format!("L2 {member}");
        let found = MemberFound {
            member,
            label: label.clone(),
            genotype: String::new(),
            epoch: 0,
            reason: String::new(),
            n_params,
            macs: 1,
        };
        let refused = if valid_accuracy.is_none() { Some("its search has diverged".to_string()) } else { None };
        Member { label, found: Some(found), short: valid_accuracy, refused }
    }

    fn choose(members: &[Member<f64>]) -> Result<Chosen, TrainError> {
        super::choose(members, |accuracy| *accuracy, |label, n, accuracy| format!("{label} of {n}: {accuracy}"))
    }

    #[test]
    fn the_best_is_chosen_the_smallest_of_equal_ones_the_first_of_those() {
        let chosen = |members: &[Member<f64>]| choose(members).unwrap().member;
        assert_eq!(chosen(&[member(0, 9, Some(0.5)), member(1, 9, Some(0.75)), member(2, 1, Some(0.5))]), 1);
        assert_eq!(chosen(&[member(0, 9, Some(0.75)), member(1, 8, Some(0.75)), member(2, 8, Some(0.75))]), 1);
        assert_eq!(chosen(&[member(0, 1, None), member(1, 9, Some(0.25))]), 1);
        let mut over = member(0, 1, Some(0.9));
        over.refused = Some("its cell has 1 weights, more than 0".into());
        assert_eq!(chosen(&[over, member(1, 9, Some(0.25))]), 1);
    }

    #[test]
    fn if_none_may_be_chosen_the_sentence_says_why() {
        let members: Vec<Member<f64>> = (0..5).map(|m| member(m, 1, None)).collect();
        let sentence = choose(&members).unwrap_err().to_string();
        let begin = "none of the 5 members may be chosen (L2 0: its search has diverged; L2 1: its search has diverged; L2 2: \
                     its search has diverged; and 2 more)";
        assert!(sentence.starts_with(begin), "{sentence}");
    }
}
