//! R-DARTS as one run: searches, short trainings, the choice, the whole training, baselines.
//!
//! What has been done is read from the directories of the runs, so a study that was killed goes on where it was: a run
//! that is done is not touched again, and one that was under way goes on from its last checkpoint. The events of the
//! portfolio are written in the order of its members, whichever ends first.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use rdarts_data::{Silent, Watch};
use rdarts_net::{DiscreteSpec, Engine, Network};
use rdarts_rng::Stream;
use rdarts_run::{
    BaselineTrained, Chosen, Environment, Event, Finished, MemberFound, MemberTrained, ROBUST_EVENT_FORMAT,
    RobustFinished, RobustSpec, RobustStarted, RunDir, RunView, TrainFinished, TrainSpec,
};
use rdarts_search::Search;
use rdarts_space::{Genotype, Op, Space, sample, uniform};
use rdarts_train::{Observer, SplitImages, TrainError, Training};

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
    /// The images.
    pub sizes: Sizes,
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
    /// What it found.
    pub found: MemberFound,
    /// Its short training.
    pub short: MemberTrained,
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
    /// Looks at the images.
    ///
    /// # Errors
    /// One sentence if they are unknown, damaged or too few.
    pub fn new(spec: RobustSpec, space: Space, engine: Engine, watch: &dyn Watch) -> Result<Self, TrainError> {
        let train = spec.train_spec("DARTS_V2", false);
        let images = SplitImages::hold_out(&train.data.images, train.data.valid_fraction, train.train.batch, watch)?;
        let sizes = Sizes::of(&images);
        Ok(Self { spec, space, engine, sizes })
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
        while has_noise(&random) {
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
        let study = Study { portfolio: self, hands, audience, stop };
        study.carry_out(dir)
    }
}

fn has_noise(genotype: &Genotype) -> bool {
    genotype.normal.iter().chain(&genotype.reduce).any(|(op, _)| *op == Op::Noise)
}

/// A portfolio at work.
struct Study<'a> {
    portfolio: &'a Portfolio,
    hands: Hands,
    audience: &'a dyn Audience,
    stop: &'a AtomicBool,
}

/// A piece of work.
type Work<'w> = Box<dyn FnOnce() -> Result<bool, TrainError> + Send + 'w>;

impl Study<'_> {
    fn carry_out(&self, dir: &mut RunDir) -> Result<Option<Report>, TrainError> {
        let spec = &self.portfolio.spec;
        let mut log = Log::new(dir.view().events().map_err(TrainError::from)?);
        let labels: Vec<String> = (0..spec.members()).map(|member| spec.label(member)).collect();
        log.write(dir, || {
            Event::RobustStarted(RobustStarted {
                format: ROBUST_EVENT_FORMAT,
                rdarts: env!("CARGO_PKG_VERSION").into(),
                data: spec.data.images.name.clone(),
                seed: spec.seed,
                space: self.portfolio.space.name.clone(),
                vary: spec.portfolio.vary,
                members: labels.clone(),
            })
        })?;

        let path = |name: &str| dir.view().member_path(name);
        let searches: Vec<PathBuf> = (0..spec.members()).map(|member| path(&format!("search-{member}"))).collect();
        let work = searches.iter().enumerate().filter(|(_, path)| !is_done(path));
        let work = work.map(|(member, path)| -> Work<'_> { Box::new(move || self.search(member, path)) });
        if !self.all(work.collect())? {
            return Ok(None);
        }
        let mut founds = Vec::new();
        for (member, path) in searches.iter().enumerate() {
            let found = self.found(member, &labels[member], path)?;
            log.write(dir, || Event::MemberFound(found.clone()))?;
            founds.push(found);
        }

        let path = |name: &str| dir.view().member_path(name);
        let shorts: Vec<PathBuf> = (0..spec.members()).map(|member| path(&format!("short-{member}"))).collect();
        // Two members may have found the same: it is trained once, and the other directory says where.
        let first = |member: usize| {
            founds.iter().position(|f| f.genotype == founds[member].genotype).expect("its own is one of them")
        };
        let refused: Vec<Option<String>> = founds.iter().map(|found| self.refused(found)).collect();
        let work = shorts
            .iter()
            .enumerate()
            .filter(|(member, path)| !is_done(path) && first(*member) == *member && !self.has_noise(&founds[*member]));
        let work = work.map(|(member, path)| -> Work<'_> {
            let (name, spec) =
                (format!("short training, {}", labels[member]), spec.train_spec(&founds[member].genotype, true));
            Box::new(move || self.training(&name, spec, path))
        });
        if !self.all(work.collect())? {
            return Ok(None);
        }
        let mut members = Vec::new();
        for (member, found) in founds.iter().enumerate() {
            let short = match self.has_noise(found) {
                true => MemberTrained { member, valid_accuracy: 0.0, epoch: 0 },
                false => {
                    let trained = trained(&shorts[first(member)])?;
                    let valid_accuracy = trained.valid_accuracy.unwrap_or(trained.test_accuracy);
                    MemberTrained { member, valid_accuracy, epoch: trained.epoch }
                }
            };
            log.write(dir, || Event::MemberTrained(short.clone()))?;
            members.push(Member { found: found.clone(), short, refused: refused[member].clone() });
        }
        let chosen = choose(&members)?;
        if log.write(dir, || Event::Chosen(chosen.clone()))? {
            self.audience.say(&chosen.reason);
        }

        let winner = &members[chosen.member].found;
        let path = |name: &str| dir.view().member_path(name);
        let baselines = self.portfolio.baselines();
        let mut whole = vec![("chosen", winner.genotype.clone(), path("chosen"))];
        whole.extend(baselines.iter().map(|(name, genotype)| (*name, genotype.to_string(), path(name))));
        let work = whole.iter().filter(|(_, _, path)| !is_done(path)).map(|(name, genotype, path)| -> Work<'_> {
            let (name, spec) = (format!("training, {name}"), spec.train_spec(genotype, false));
            Box::new(move || self.training(&name, spec, path))
        });
        if !self.all(work.collect())? {
            return Ok(None);
        }
        let mut rows = Vec::new();
        for ((name, genotype), (_, text, path)) in baselines.iter().zip(&whole[1..]) {
            let trained = trained(path)?;
            let row = BaselineTrained {
                name: name.to_string(),
                genotype: text.clone(),
                n_params: self.portfolio.network(genotype).n_parameters(),
                valid_accuracy: trained.valid_accuracy.unwrap_or(trained.test_accuracy),
                test_accuracy: trained.test_accuracy,
            };
            log.write(dir, || Event::BaselineTrained(row.clone()))?;
            rows.push(row);
        }
        let test = trained(&whole[0].2)?;
        let finished = RobustFinished {
            member: chosen.member,
            genotype: winner.genotype.clone(),
            n_params: winner.n_params,
            macs: winner.macs,
            valid_accuracy: test.valid_accuracy.unwrap_or(test.test_accuracy),
            test_accuracy: test.test_accuracy,
            reason: test.reason.clone(),
        };
        let model = RunView::open(&whole[0].2)?.model_path();
        let bytes = std::fs::read(&model)
            .map_err(|e| TrainError::Failed(format!("cannot read {}: {e}", rdarts_data::shown(&model))))?;
        dir.write_model(&bytes).map_err(TrainError::failed)?;
        let genotype: Genotype = winner.genotype.parse().map_err(TrainError::failed)?;
        let json = serde_json::to_value(&genotype).expect("a genotype is JSON");
        dir.write_genotype(&winner.genotype, &json).map_err(TrainError::failed)?;
        log.write(dir, || Event::RobustFinished(finished.clone()))?;
        dir.mark_done(&finished.reason).map_err(TrainError::failed)?;
        Ok(Some(Report { members, chosen, finished, test, baselines: rows }))
    }

    fn all(&self, work: Vec<Work<'_>>) -> Result<bool, TrainError> {
        let jobs = self.hands.jobs.clamp(1, work.len().max(1));
        side_by_side(jobs, (self.hands.threads / jobs).max(1), self.stop, work)
    }

    /// An engine with memory of its own, if several work at once.
    fn engine(&self) -> Engine {
        let engine = &self.portfolio.engine;
        if self.hands.jobs > 1 { Engine::new(engine.device.clone(), engine.kernels.isa()) } else { engine.clone() }
    }

    fn here(&self) -> Environment {
        let threads = (self.hands.threads / self.hands.jobs.max(1)).max(1);
        Environment::detect(threads, self.portfolio.engine.kernels.isa().name())
    }

    fn search(&self, member: usize, path: &std::path::Path) -> Result<bool, TrainError> {
        let (portfolio, spec) = (self.portfolio, self.portfolio.spec.search_spec(member));
        let search = Search::fitted(spec, portfolio.space.clone(), self.engine(), &Silent)?;
        let name = format!("search, {}", portfolio.spec.label(member));
        let mut observer = self.audience.begin(&name, search.spec.search.epochs * search.steps_per_epoch());
        let place = Place { path, here: &self.here(), stop: self.stop };
        let text = portfolio.space.to_toml();
        let prepare = |dir: &mut RunDir| dir.write_space(&text);
        carry_out(&search, &search.spec, &place, &mut *observer, prepare, &mut |text| {
            self.audience.say(&format!("{name}: {text}"));
        })
    }

    fn training(&self, name: &str, spec: TrainSpec, path: &std::path::Path) -> Result<bool, TrainError> {
        let training = Training::new(spec, self.engine())?;
        let mut observer = self.audience.begin(name, training.spec.train.epochs * training.steps_per_epoch());
        let place = Place { path, here: &self.here(), stop: self.stop };
        carry_out(&training, &training.spec, &place, &mut *observer, |_| Ok(()), &mut |text| {
            self.audience.say(&format!("{name}: {text}"));
        })
    }

    /// What the search in a directory has found.
    fn found(&self, member: usize, label: &str, path: &std::path::Path) -> Result<MemberFound, TrainError> {
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

    fn has_noise(&self, found: &MemberFound) -> bool {
        found.genotype.parse::<Genotype>().is_ok_and(|genotype| has_noise(&genotype))
    }

    /// Why a cell may not be chosen.
    fn refused(&self, found: &MemberFound) -> Option<String> {
        let bounds = &self.portfolio.spec.portfolio;
        if self.has_noise(found) {
            return Some("it has the operation noise, which cannot be trained from scratch".into());
        }
        if bounds.max_params > 0 && found.n_params as u64 > bounds.max_params {
            return Some(format!("it has {} weights, more than portfolio.max_params", found.n_params));
        }
        (bounds.max_macs > 0 && found.macs > bounds.max_macs)
            .then(|| format!("it has {} multiply-adds, more than portfolio.max_macs", found.macs))
    }
}

/// The member with the best accuracy on the held-out images, among equal ones that with the fewest weights.
fn choose(members: &[Member]) -> Result<Chosen, TrainError> {
    let allowed: Vec<&Member> = members.iter().filter(|m| m.refused.is_none()).collect();
    let better = |a: &&&Member, b: &&&Member| {
        let by_accuracy = a.short.valid_accuracy.total_cmp(&b.short.valid_accuracy);
        by_accuracy.then(b.found.n_params.cmp(&a.found.n_params)).then(b.found.member.cmp(&a.found.member))
    };
    let Some(best) = allowed.iter().max_by(better) else {
        let smallest = members.iter().map(|m| m.found.n_params).min().unwrap_or(0);
        return Err(TrainError::Input(format!(
            "none of the {} cells that were found may be chosen: {} (the smallest has {smallest} weights); their searches \
             stay, `rdarts train` trains one of them in any size",
            members.len(),
            members[0].refused.clone().unwrap_or_default()
        )));
    };
    let percent = 100.0 * best.short.valid_accuracy;
    let reason = match allowed.len() {
        1 => format!("Chosen: {}, the only one that may be ({percent:.2} % of the held-out images).", best.found.label),
        n => format!("Chosen: {}, the best of {n} on the held-out images ({percent:.2} %).", best.found.label),
    };
    Ok(Chosen { member: best.found.member, reason })
}

/// How the training in a directory ended.
fn trained(path: &std::path::Path) -> Result<TrainFinished, TrainError> {
    let events = RunView::open(path)?.events()?;
    let finished = events.into_iter().rev().find_map(|e| if let Event::TrainFinished(f) = e { Some(f) } else { None });
    finished.ok_or_else(|| lost(path))
}

fn lost(path: &std::path::Path) -> TrainError {
    TrainError::Failed(format!(
        "{} is marked as done, but its events do not say how it ended: delete it, then `rdarts resume` makes it again",
        rdarts_data::shown(path)
    ))
}

/// The events of the portfolio: what is there already is not written again.
struct Log {
    there: BTreeMap<String, usize>,
}

impl Log {
    fn new(events: Vec<Event>) -> Self {
        let mut there = BTreeMap::new();
        for event in &events {
            *there.entry(kind(event)).or_insert(0) += 1;
        }
        Self { there }
    }

    /// Writes the next event of its kind, unless it is there; whether it did.
    fn write(&mut self, dir: &mut RunDir, event: impl FnOnce() -> Event) -> Result<bool, TrainError> {
        let event = event();
        if let Some(left) = self.there.get_mut(&kind(&event)).filter(|left| **left > 0) {
            *left -= 1;
            return Ok(false);
        }
        dir.append_event(&event).map_err(TrainError::failed)?;
        Ok(true)
    }
}

fn kind(event: &Event) -> String {
    format!("{:?}", std::mem::discriminant(event))
}
