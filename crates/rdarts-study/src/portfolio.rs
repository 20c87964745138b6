//! R-DARTS as one run: searches, short trainings, the choice, the whole training, baselines.
//!
//! What has been done is read from the directories of the runs, so a study that was killed goes on where it was: a run
//! that is done is not touched again, and one that was under way goes on from its last checkpoint. The events of the
//! portfolio are written in the order of its members, whichever ends first.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use rdarts_net::{DiscreteSpec, Engine, Network};
use rdarts_rng::Stream;
use rdarts_run::{
    BaselineTrained, Chosen, Environment, Event, Finished, MemberFound, MemberRefused, MemberTrained, PortfolioSpec,
    ROBUST_EVENT_FORMAT, RobustFinished, RobustSpec, RobustStarted, RunDir, RunView, Spec, TrainFinished, TrainSpec,
    checksum,
};
use rdarts_search::{Search, fit_hessian_batches};
use rdarts_space::{CellType, Genotype, Op, Space, sample, uniform};
use rdarts_train::memory::Needed;
use rdarts_train::{ImageSet, Observer, TrainError, Training};

use crate::members::{Place, carry_out, is_done, side_by_side};
use crate::plan::Sizes;

/// A portfolio: what does not change while it runs.
pub struct Portfolio {
    /// The resolved spec.
    pub spec: RobustSpec,
    /// The search space.
    pub space: Space,
    /// What computes; runs side by side have memory of their own.
    pub engine: Engine,
    /// The images, read once for all runs.
    pub images: ImageSet,
    /// What they are.
    pub sizes: Sizes,
    /// What the largest of its runs needs.
    needed: Needed,
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
pub struct Member {
    /// What tells it from the others.
    pub label: String,
    /// What it found, if its search came to an end.
    pub found: Option<MemberFound>,
    /// Its short training, if what it found may be chosen.
    pub short: Option<MemberTrained>,
    /// Why it could not be chosen, if it could not.
    pub refused: Option<String>,
}

/// A cell that was trained like the chosen one.
pub type Baseline = BaselineTrained;

/// What a portfolio has made.
#[derive(Clone, Debug)]
pub struct Report {
    /// All members.
    pub members: Vec<Member>,
    /// Which was chosen, and why.
    pub chosen: Chosen,
    /// Its whole training.
    pub finished: RobustFinished,
    /// The test of the whole training.
    pub test: TrainFinished,
    /// What it is compared with.
    pub baselines: Vec<Baseline>,
}

/// How a portfolio is carried out; no result depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Hands {
    /// Runs side by side.
    pub jobs: usize,
    /// Threads of all of them together.
    pub threads: usize,
}

impl Portfolio {
    /// Looks at all that could be wrong with any of its runs before the first one begins.
    ///
    /// # Errors
    /// One sentence if the images are too few, if a run would need more memory than the machine has, or if no cell of the
    /// space is as small as what may be chosen.
    pub fn new(spec: RobustSpec, space: Space, engine: Engine, images: ImageSet) -> Result<Self, TrainError> {
        let mut needed: Option<Needed> = None;
        let mut take = |other: Needed| {
            if needed.as_ref().is_none_or(|most| other.bytes > most.bytes) {
                needed = Some(other);
            }
        };
        for member in 0..spec.members() {
            take(Search::on(spec.search_spec(member), space.clone(), engine.clone(), &images)?.memory());
        }
        let genotype = uniform(Op::SepConv3x3, space.nodes).to_string();
        let training = Training::on(spec.train_spec(&genotype, false), engine.clone(), &images);
        let training = training.map_err(|e| e.map(|text| of_training(&text)))?;
        take(Needed { what: of_training(&training.memory().what), ..training.memory() });
        let sizes = Sizes::of(&training.images);
        let needed = needed.expect("a training was looked at");
        let portfolio = Self { spec, space, engine, images, sizes, needed };
        portfolio.check_bounds()?;
        Ok(portfolio)
    }

    /// Lowers `hessian.batches` of a spec to what the images fill.
    ///
    /// # Errors
    /// One sentence if there are too few images for a search.
    pub fn fit_hessian_batches(spec: &mut RobustSpec, images: &ImageSet) -> Result<(), TrainError> {
        let mut search = spec.search_spec(0);
        fit_hessian_batches(&mut search, images)?;
        spec.hessian.batches = search.hessian.batches;
        Ok(())
    }

    /// Refuses more runs side by side than there is memory for.
    ///
    /// # Errors
    /// One sentence.
    pub fn check_jobs(&self, jobs: usize) -> Result<(), TrainError> {
        let bytes = self.needed.bytes.saturating_mul(jobs as u64);
        let what = if jobs > 1 { "--jobs".to_string() } else { self.needed.what.clone() };
        Needed { bytes, what }.check(&self.engine)
    }

    /// Refuses bounds that no cell of the space keeps.
    fn check_bounds(&self) -> Result<(), TrainError> {
        let PortfolioSpec { max_params, max_macs, .. } = self.spec.portfolio;
        if max_params == 0 && max_macs == 0 {
            return Ok(());
        }
        let ops = |cell: CellType| {
            let mut ops: Vec<Op> = self.space.cell(cell).iter().flatten().copied().collect();
            ops.sort_unstable();
            ops.dedup();
            ops.retain(|op| !matches!(op, Op::None | Op::Noise));
            ops
        };
        let cell = |op: Op| uniform(op, self.space.nodes).normal;
        let (mut params, mut macs) = (u64::MAX, u64::MAX);
        for normal in ops(CellType::Normal) {
            for reduce in ops(CellType::Reduce) {
                let genotype = Genotype::new(cell(normal), cell(reduce)).map_err(TrainError::failed)?;
                let net = self.network(&genotype);
                params = params.min(net.n_parameters() as u64);
                macs = macs.min(net.macs(self.sizes.side));
            }
        }
        for (key, bound, least, what) in [
            ("portfolio.max_params", max_params, params, "weights"),
            ("portfolio.max_macs", max_macs, macs, "multiply-adds"),
        ] {
            if bound > 0 && bound < least {
                return Err(TrainError::Input(format!(
                    "{key} is {bound}, but no cell of the space {} has fewer than {least} {what} in a network of \
                     train_network.channels = {} and train_network.cells = {}",
                    self.space.name, self.spec.train_network.channels, self.spec.train_network.cells
                )));
            }
        }
        Ok(())
    }

    /// The network that is trained of a genotype, without its auxiliary head.
    pub fn network(&self, genotype: &Genotype) -> Network {
        let size = &self.spec.train_network;
        Network::discrete(&DiscreteSpec {
            genotype: genotype.clone(),
            cells: size.cells,
            c: size.channels,
            c_image: self.sizes.channels,
            classes: self.sizes.classes,
            auxiliary: false,
        })
    }

    /// The cells that the chosen one is compared with, by name.
    pub fn baselines(&self) -> Vec<(&'static str, Genotype)> {
        if !self.spec.portfolio.baselines {
            return Vec::new();
        }
        let mut stream = Stream::new(self.spec.seed, "random baseline", 0);
        let mut random = sample(&self.space, &mut stream);
        // Noise cannot be trained from scratch; most draws of other spaces have none.
        while random.has_noise() {
            random = sample(&self.space, &mut stream);
        }
        let nodes = self.space.nodes;
        vec![
            ("random", random),
            ("all-skip", uniform(Op::SkipConnect, nodes)),
            ("all-sep-conv", uniform(Op::SepConv3x3, nodes)),
        ]
    }

    /// Carries the portfolio out in its directory, from wherever it is; `None` if `stop` was set.
    ///
    /// # Errors
    /// One sentence if a run within it fails, if none of the cells may be chosen, or if the directory cannot be written.
    pub fn carry_out(
        &self,
        dir: &mut RunDir,
        hands: Hands,
        audience: &dyn Audience,
        stop: &AtomicBool,
    ) -> Result<Option<Report>, TrainError> {
        // More runs than threads would take more processors than were given.
        let hands = Hands { jobs: hands.jobs.clamp(1, hands.threads.max(1)), ..hands };
        let view = dir.view().clone();
        let study = Study { portfolio: self, hands, audience, stop, view, diverged: Mutex::default() };
        study.carry_out(dir)
    }

    /// What its log begins with.
    fn started(&self) -> RobustStarted {
        let spec = &self.spec;
        let mut placeless = spec.clone();
        placeless.data.images.clear_places();
        placeless.space.name.clone_from(&self.space.name);
        RobustStarted {
            format: ROBUST_EVENT_FORMAT,
            rdarts: env!("CARGO_PKG_VERSION").into(),
            data: spec.data.images.name.clone(),
            images: self.images.fingerprint().into(),
            spec: checksum(placeless.to_toml().as_bytes()),
            seed: spec.seed,
            space: self.space.name.clone(),
            vary: spec.portfolio.vary,
            members: (0..spec.members()).map(|member| spec.label(member)).collect(),
        }
    }
}

/// The keys of a training as they are called in a portfolio.
fn of_training(text: &str) -> String {
    text.replace("data.valid_fraction", "portfolio.valid_fraction")
        .replace("[augment]", "[train_augment]")
        .replace("network.", "train_network.")
}

/// A portfolio at work.
struct Study<'a> {
    portfolio: &'a Portfolio,
    hands: Hands,
    audience: &'a dyn Audience,
    stop: &'a AtomicBool,
    /// The directory of the portfolio.
    view: RunView,
    /// Runs whose loss grew without bounds, by the names of their directories; the others go on.
    diverged: Mutex<BTreeSet<String>>,
}

/// A piece of work.
type Work<'w> = Box<dyn FnOnce() -> Result<bool, TrainError> + Send + 'w>;

impl Study<'_> {
    fn carry_out(&self, dir: &mut RunDir) -> Result<Option<Report>, TrainError> {
        let mut log = Log::new(dir.view().events().map_err(TrainError::from)?);
        log.begin(dir, self.portfolio.started())?;
        let Some(mut members) = self.searches(dir, &mut log)? else { return Ok(None) };
        if !self.short_trainings(dir, &mut log, &mut members)? {
            return Ok(None);
        }
        let chosen = choose(&members)?;
        if log.write(dir, Event::Chosen(chosen.clone()))? {
            self.audience.say(&chosen.reason);
        }
        let winner = members[chosen.member].found.clone().expect("what was chosen was found");
        let Some((test, baselines)) = self.whole_trainings(dir, &mut log, &winner)? else { return Ok(None) };
        let finished = RobustFinished {
            member: chosen.member,
            genotype: winner.genotype.clone(),
            n_params: winner.n_params,
            macs: winner.macs,
            valid_accuracy: held_out(&test, &self.member("chosen"))?,
            test_accuracy: test.test_accuracy,
            reason: test.reason.clone(),
        };
        let model = RunView::open(&self.member("chosen"))?.model_path();
        let bytes = std::fs::read(&model)
            .map_err(|e| TrainError::Failed(format!("cannot read {}: {e}", rdarts_data::shown(&model))))?;
        dir.write_model(&bytes).map_err(TrainError::failed)?;
        let genotype: Genotype = winner.genotype.parse().map_err(TrainError::failed)?;
        let json = serde_json::to_value(&genotype).expect("a genotype is JSON");
        dir.write_genotype(&winner.genotype, &json).map_err(TrainError::failed)?;
        log.write(dir, Event::RobustFinished(finished.clone()))?;
        dir.mark_done(&finished.reason).map_err(TrainError::failed)?;
        Ok(Some(Report { members, chosen, finished, test, baselines }))
    }

    /// All members as their searches have left them; `None` if it was stopped.
    fn searches(&self, dir: &mut RunDir, log: &mut Log) -> Result<Option<Vec<Member>>, TrainError> {
        let spec = &self.portfolio.spec;
        let name = |member: usize| format!("search-{member}");
        let open = (0..spec.members()).filter(|&member| !is_done(&self.member(&name(member))));
        let work = open.map(|member| -> Work<'_> {
            Box::new(move || self.unless_diverged(&name(member), |path| self.search(member, path)))
        });
        if !self.all(work.collect())? {
            return Ok(None);
        }
        let mut members = Vec::new();
        for member in 0..spec.members() {
            let label = spec.label(member);
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
    fn short_trainings(&self, dir: &mut RunDir, log: &mut Log, members: &mut [Member]) -> Result<bool, TrainError> {
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
            let spec = self.portfolio.spec.train_spec(genotype, true);
            Box::new(move || self.unless_diverged(&name(at), |path| self.training(&title, spec, path)))
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
            let trained = trained(&path)?;
            let short = MemberTrained { member, valid_accuracy: held_out(&trained, &path)?, epoch: trained.epoch };
            log.write(dir, Event::MemberTrained(short.clone()))?;
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
    ) -> Result<Option<(TrainFinished, Vec<Baseline>)>, TrainError> {
        let baselines = self.portfolio.baselines();
        let mut whole = vec![("chosen", winner.genotype.clone())];
        whole.extend(baselines.iter().map(|(name, genotype)| (*name, genotype.to_string())));
        let work = whole.iter().filter(|(name, _)| !is_done(&self.member(name))).map(|(name, genotype)| -> Work<'_> {
            let (title, spec) = (format!("training, {name}"), self.portfolio.spec.train_spec(genotype, false));
            match *name {
                "chosen" => Box::new(move || self.training(&title, spec, &self.member(name))),
                _ => Box::new(move || self.unless_diverged(name, |path| self.training(&title, spec, path))),
            }
        });
        if !self.all(work.collect())? {
            return Ok(None);
        }
        let mut rows = Vec::new();
        for ((name, genotype), (_, text)) in baselines.iter().zip(&whole[1..]) {
            let (mut valid_accuracy, mut test_accuracy) = (None, None);
            if !self.has_diverged(name) {
                let trained = trained(&self.member(name))?;
                valid_accuracy = Some(held_out(&trained, &self.member(name))?);
                test_accuracy = Some(trained.test_accuracy);
            }
            let n_params = self.portfolio.network(genotype).n_parameters();
            let (name, genotype) = (name.to_string(), text.clone());
            let row = BaselineTrained { name, genotype, n_params, valid_accuracy, test_accuracy };
            log.write(dir, Event::BaselineTrained(row.clone()))?;
            rows.push(row);
        }
        Ok(Some((trained(&self.member("chosen"))?, rows)))
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
        let engine = &self.portfolio.engine;
        if self.hands.jobs > 1 { engine.apart() } else { engine.clone() }
    }

    fn here(&self) -> Environment {
        let threads = (self.hands.threads / self.hands.jobs.max(1)).max(1);
        let engine = &self.portfolio.engine;
        Environment::detect(threads, engine.kernels.isa().name(), engine.place())
    }

    fn search(&self, member: usize, path: &Path) -> Result<bool, TrainError> {
        let (portfolio, spec) = (self.portfolio, self.portfolio.spec.search_spec(member));
        let search = Search::on(spec, portfolio.space.clone(), self.engine(), &portfolio.images)?;
        let name = format!("search, {}", portfolio.spec.label(member));
        let mut observer = self.audience.begin(&name, search.n_epochs() * search.steps_per_epoch());
        let place = Place { path, study: self.view.path(), here: &self.here(), stop: self.stop };
        let text = portfolio.space.to_toml();
        let prepare = |dir: &mut RunDir| dir.write_space(&text);
        carry_out(&search, &search.spec, &place, &mut *observer, prepare, &mut |text| {
            self.audience.say(&format!("{name}: {text}"));
        })
    }

    fn training(&self, name: &str, spec: TrainSpec, path: &Path) -> Result<bool, TrainError> {
        let training = Training::on(spec, self.engine(), &self.portfolio.images)?;
        let mut observer = self.audience.begin(name, training.spec.train.epochs * training.steps_per_epoch());
        let place = Place { path, study: self.view.path(), here: &self.here(), stop: self.stop };
        carry_out(&training, &training.spec, &place, &mut *observer, |_| Ok(()), &mut |text| {
            self.audience.say(&format!("{name}: {text}"));
        })
    }

    /// What the search in a directory has found.
    fn found(&self, member: usize, label: &str, path: &Path) -> Result<MemberFound, TrainError> {
        let events = RunView::open(path)?.events()?;
        let finished = events.iter().rev().find_map(|e| if let Event::Finished(f) = e { Some(f) } else { None });
        let Finished { genotype, epoch, reason, .. } = finished.ok_or_else(|| lost(path))?;
        let read: Genotype = genotype.parse().map_err(|_| lost(path))?;
        let net = self.portfolio.network(&read);
        Ok(MemberFound {
            member,
            label: label.into(),
            genotype: genotype.clone(),
            epoch: *epoch,
            reason: reason.clone(),
            n_params: net.n_parameters(),
            macs: net.macs(self.portfolio.sizes.side),
        })
    }

    /// Why a cell may not be chosen.
    fn refused(&self, found: &MemberFound) -> Option<String> {
        let PortfolioSpec { max_params, max_macs, .. } = self.portfolio.spec.portfolio;
        if found.genotype.parse::<Genotype>().is_ok_and(|genotype| genotype.has_noise()) {
            return Some("its cell has the operation noise, which cannot be trained from scratch".into());
        }
        let (params, macs) = (found.n_params as u64, found.macs);
        let over = |what: &str, has: u64, bound: u64| format!("its cell has {has} {what}, more than {bound}");
        match () {
            () if max_params > 0 && params > max_params => Some(over("weights", params, max_params)),
            () if max_macs > 0 && macs > max_macs => Some(over("multiply-adds", macs, max_macs)),
            () => None,
        }
    }
}

/// The member with the best accuracy on the held-out images, among equal ones that with the fewest weights.
fn choose(members: &[Member]) -> Result<Chosen, TrainError> {
    let allowed: Vec<(f64, usize, &str, usize)> = members
        .iter()
        .filter(|member| member.refused.is_none())
        .filter_map(|member| {
            let (found, short) = (member.found.as_ref()?, member.short.as_ref()?);
            Some((short.valid_accuracy, found.n_params, member.label.as_str(), found.member))
        })
        .collect();
    let best = allowed.iter().max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)).then(b.3.cmp(&a.3)));
    let Some((accuracy, _, label, member)) = best else {
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
    let percent = 100.0 * accuracy;
    let reason = match allowed.len() {
        1 => format!("Chosen: {label}, the only one that may be ({percent:.2} % of the held-out images)."),
        n => format!("Chosen: {label}, the best of {n} on the held-out images ({percent:.2} %)."),
    };
    Ok(Chosen { member: *member, reason })
}

/// How the training in a directory ended.
fn trained(path: &Path) -> Result<TrainFinished, TrainError> {
    let events = RunView::open(path)?.events()?;
    let finished = events.into_iter().rev().find_map(|e| if let Event::TrainFinished(f) = e { Some(f) } else { None });
    finished.ok_or_else(|| lost(path))
}

/// Its accuracy on the held-out images, which alone may choose.
fn held_out(finished: &TrainFinished, path: &Path) -> Result<f64, TrainError> {
    finished.valid_accuracy.ok_or_else(|| lost(path))
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
    fn begin(&mut self, dir: &mut RunDir, mut started: RobustStarted) -> Result<(), TrainError> {
        if let Some(Event::RobustStarted(before)) = self.there.first() {
            let path = rdarts_data::shown(dir.path());
            if before.images != started.images {
                return Err(TrainError::Input(format!(
                    "the images are not those that {path} began with: put them back, name their place with --data-dir, or \
                     begin a new run"
                )));
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

    fn member(member: usize, n_params: usize, valid_accuracy: Option<f64>) -> Member {
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
        let short = valid_accuracy.map(|valid_accuracy| MemberTrained { member, valid_accuracy, epoch: 0 });
        let refused = if short.is_none() { Some("its search has diverged".to_string()) } else { None };
        Member { label, found: Some(found), short, refused }
    }

    #[test]
    fn the_best_is_chosen_the_smallest_of_equal_ones_the_first_of_those() {
        let chosen = |members: &[Member]| choose(members).unwrap().member;
        assert_eq!(chosen(&[member(0, 9, Some(0.5)), member(1, 9, Some(0.75)), member(2, 1, Some(0.5))]), 1);
        assert_eq!(chosen(&[member(0, 9, Some(0.75)), member(1, 8, Some(0.75)), member(2, 8, Some(0.75))]), 1);
        assert_eq!(chosen(&[member(0, 1, None), member(1, 9, Some(0.25))]), 1);
        let mut over = member(0, 1, Some(0.9));
        over.refused = Some("its cell has 1 weights, more than 0".into());
        assert_eq!(chosen(&[over, member(1, 9, Some(0.25))]), 1);
    }

    #[test]
    fn if_none_may_be_chosen_the_sentence_says_why() {
        let members: Vec<Member> = (0..5).map(|m| member(m, 1, None)).collect();
        let sentence = choose(&members).unwrap_err().to_string();
        let begin = "none of the 5 members may be chosen (L2 0: its search has diverged; L2 1: its search has diverged; L2 2: \
                     its search has diverged; and 2 more)";
        assert!(sentence.starts_with(begin), "{sentence}");
    }

    #[test]
    fn keys_of_a_training_are_named_as_the_portfolio_has_them() {
        assert_eq!(
            of_training("data.valid_fraction, section [augment], network.channels = 8 or network.cells = 3"),
            "portfolio.valid_fraction, section [train_augment], train_network.channels = 8 or train_network.cells = 3"
        );
    }
}
