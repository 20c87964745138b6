//! A method that comes from outside: a job that wraps a search and has another rule for its end. The loop, its checkpoints
//! and `train::resume` are the same for all jobs.
//!
//! The rule is the first one of DARTS+ (Liang et al. 2019): the search ends when a normal cell has so many skip connections;
//! there two, in the space of DARTS, here four, in space S2, where a random cell has four.
//!
//! `cargo run --release -p rdarts --example method`

use std::error::Error;
use std::sync::atomic::AtomicBool;

use rdarts::data::DataError;
use rdarts::net::Engine;
use rdarts::run::{Decision, DecisionKind, Event, RunDir, SearchSpec, Spec};
use rdarts::search::batches::StepBatches;
use rdarts::search::{Architecture, Found, Search, State, open_space};
use rdarts::space::{CellType, Op};
use rdarts::train::state::{Packed, Unpacked};
use rdarts::train::{
    Job, KnownSets, Length, Measured, Measuring, Next, Outcome, Position, Step, TrainError, Verdict, start,
};

/// A search that ends at so many skip connections.
struct DartsPlus {
    search: Search,
    skips: usize,
}

impl Job for DartsPlus {
    type Extra = Architecture;
    type Batch = StepBatches;
    type Found = Found;

    /// A function of the state alone, like everything that decides how a run goes on: so a run that was killed goes on to
    /// the same end.
    fn judge(&self, state: &State) -> Verdict {
        let (epoch, l2) = (state.at.epoch, state.sgd.l2);
        let skips = state.extra.genotype(&self.search.space).n_uses(CellType::Normal, Op::SkipConnect);
        if skips < self.skips {
            return self.search.judge(state);
        }
        let reason = format!("The normal cell has {skips} skip connections, and {} end the search.", self.skips);
        let event = Event::Decision(Decision {
            attempt: state.at.attempt,
            epoch,
            kind: DecisionKind::Stop,
            return_to: epoch,
            // No eigenvalue has a part in it.
            smoothed_now: f64::NAN,
            smoothed_before: f64::NAN,
            ratio: f64::NAN,
            l2_old: l2,
            l2_new: l2,
            reason: reason.clone(),
        });
        Verdict { next: Next::Stop { epoch }, event: Some(event), reason, is_news: true }
    }

    // All else is the search's.

    fn length(&self) -> Length {
        self.search.length()
    }
    fn spec_text(&self) -> String {
        self.search.spec_text()
    }
    fn fingerprint(&self) -> &str {
        self.search.fingerprint()
    }
    fn is_of(&self, spec: &str) -> bool {
        self.search.is_of(spec)
    }
    fn begin(&self) -> (Event, State) {
        self.search.begin()
    }
    fn blank(&self) -> State {
        self.search.blank()
    }
    fn pack<'a>(&self, extra: &'a Architecture) -> Packed<'a> {
        self.search.pack(extra)
    }
    fn unpack(&self, extra: &mut Architecture, file: &mut Unpacked<'_>) -> Result<(), TrainError> {
        self.search.unpack(extra, file)
    }
    fn batches(&self, at: &Position) -> Box<dyn Iterator<Item = Result<StepBatches, DataError>> + Send> {
        self.search.batches(at)
    }
    fn step(&self, state: &mut State, batch: StepBatches) -> Result<Step, TrainError> {
        self.search.step(state, batch)
    }
    fn measure(&self, state: &State, measuring: &mut Measuring<'_>) -> Result<Option<Measured>, TrainError> {
        self.search.measure(state, measuring)
    }
    fn keep(&self, state: &mut State, measured: &Measured) {
        self.search.keep(state, measured);
    }
    fn earliest_return(&self, state: &State) -> Option<usize> {
        self.search.earliest_return(state)
    }
    fn keeps_all(&self) -> bool {
        self.search.keeps_all()
    }
    fn finish(
        &self,
        dir: &mut RunDir,
        state: &State,
        stop: Option<(usize, String)>,
        measuring: &mut Measuring<'_>,
    ) -> Result<Option<Found>, TrainError> {
        self.search.finish(dir, state, stop, measuring)
    }
}

/// What a spec has in place of the preset's values: steps of the alphas that are large enough to change a genotype within
/// seconds, and no eigenvalues, which the rule does not need.
const SMALL: [&str; 9] = [
    "seed=2",
    "search.method=darts",
    "hessian.every=0",
    "alphas.lr=0.05",
    "data.limit=160",
    "data.valid_limit=64",
    "network.channels=2",
    "network.cells=3",
    "search.batch=16",
];

/// What the search found, and how many epochs it would have had.
pub fn run() -> Result<(Found, usize), Box<dyn Error>> {
    let spec = SearchSpec::resolve(Some("demo"), None, &SMALL.map(String::from), &KnownSets)?;
    let space = open_space(&spec.space.name)?;
    let method = DartsPlus { search: Search::new(spec, space, Engine::cpu())?, skips: 4 };
    let tmp = tempfile::tempdir()?;
    let mut dir = RunDir::create(&tmp.path().join("run"), &method.search.spec)?;
    match start(&method, &mut dir, &mut (), &AtomicBool::new(false))? {
        Outcome::Finished(found) => Ok((found, method.length().epochs)),
        Outcome::Interrupted { .. } => unreachable!("nobody sets the flag"),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let (found, epochs) = run()?;
    println!("Epoch {} of {epochs}: {}", found.epoch, found.reason);
    println!("{}", found.genotype);
    Ok(())
}
