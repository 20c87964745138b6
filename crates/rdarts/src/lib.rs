//! Robust differentiable architecture search: the library behind the `rdarts` program, under one name.
//!
//! What a researcher does from Rust, each a page under `examples/` that runs within seconds
//! (`cargo run --release -p rdarts --example search`).
//!
//! # A search
//!
//! A spec is a preset, a file and keys laid over one another; a run directory keeps all that happens; an [`train::Observer`]
//! is told of it. Here nobody watches.
//!
//! ```
//! use std::sync::atomic::AtomicBool;
//!
//! use rdarts::net::Engine;
//! use rdarts::run::{RunDir, SearchSpec, Spec};
//! use rdarts::search::{Search, open_space};
//! use rdarts::train::{KnownSets, Outcome, start};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let small = ["data.limit=96", "data.valid_limit=32", "network.channels=2", "network.cells=3", "search.epochs=2"];
//! # let small = [&small[..], &["search.batch=16", "hessian.batches=1"]].concat();
//! let keys: Vec<String> = small.iter().map(|key| key.to_string()).collect();
//! let spec = SearchSpec::resolve(Some("demo"), None, &keys, &KnownSets)?;
//! let search = Search::new(spec, open_space("s2")?, Engine::cpu())?;
//! # let tmp = tempfile::tempdir()?;
//! # let path = tmp.path().join("run");
//! let mut dir = RunDir::create(&path, &search.spec)?;
//! let Outcome::Finished(found) = start(&search, &mut dir, &mut (), &AtomicBool::new(false))? else { panic!() };
//! println!("{} {}", found.genotype, found.reason);
//! # Ok(())
//! # }
//! ```
//!
//! # A Hessian
//!
//! Of any [`net::Network`] at any weights, alphas and batch: products, the whole matrix, the dominant eigenvalue with a bound
//! of its error. `examples/hessian.rs` holds a product beside a finite difference.
//!
//! ```
//! use rdarts::net::{AlphaHessian, Alphas, Engine, Network, Point, SupernetSpec};
//! use rdarts::search::{hessian::largest_eigenvalue, lanczos::spectrum};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let data = rdarts::data::open("fashion-mini", None)?;
//! let space = rdarts::space::Space::builtin("tiny")?;
//! let net = Network::supernet(SupernetSpec::from_space(&space, 2, 4, 1, 10));
//! let (weights, alphas) = (net.init(1), Alphas::zeros(&net));
//! let images = rdarts::data::eval_batches(&data.train, 0..16, 16, &data.norm()).next().unwrap()?;
//!
//! let at = Point { net: &net, engine: &Engine::cpu(), weights: &weights, alphas: &alphas };
//! let hessian = AlphaHessian::new(at, rdarts::train::images::as_batch(&images, &[]));
//! let full = hessian.full();
//! let dominant = largest_eigenvalue(&hessian, 1e-3, &mut rdarts::rng::Stream::new(1, "lanczos", 0));
//! assert!((dominant.value - spectrum(full.n, &full.values)[0]).abs() <= dominant.bound);
//! # Ok(())
//! # }
//! ```
//!
//! # A training from scratch
//!
//! The same loop, another job. The file it leaves has all that is needed to use the network.
//!
//! ```
//! # use std::sync::atomic::AtomicBool;
//! # use rdarts::net::Engine;
//! # use rdarts::run::{RunDir, Spec};
//! use rdarts::run::TrainSpec;
//! use rdarts::train::{KnownSets, Model, Outcome, Training, start};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let genotype = rdarts::space::published("DARTS_V2")?;
//! let small = ["network.channels=2", "network.cells=3", "data.limit=96"];
//! # let small = [&small[..], &["train.batch=16", "train.epochs=1"]].concat();
//! let mut keys: Vec<String> = small.iter().map(|key| key.to_string()).collect();
//! keys.push(format!("network.genotype=\"{genotype}\""));
//! let spec = TrainSpec::resolve(Some("train-demo"), None, &keys, &KnownSets)?;
//! let training = Training::new(spec, Engine::cpu())?;
//! # let tmp = tempfile::tempdir()?;
//! # let path = tmp.path().join("run");
//! let mut dir = RunDir::create(&path, &training.spec)?;
//! let Outcome::Finished(trained) = start(&training, &mut dir, &mut (), &AtomicBool::new(false))? else { panic!() };
//!
//! let model = Model::load(&dir.view().model_path())?;
//! assert_eq!(model.about.test_accuracy, Some(trained.finished.test_accuracy));
//! # Ok(())
//! # }
//! ```
//!
//! # A method of one's own
//!
//! A method is a [`train::Job`]: batches, a step, what is measured after an epoch, what follows from it. This one is a
//! search with another end; everything but [`judge`](train::Job::judge) it hands on to the search.
//!
//! ```
//! # use rdarts::data::DataError;
//! # use rdarts::run::{Event, RunDir};
//! # use rdarts::search::{Architecture, Found, batches::StepBatches};
//! # use rdarts::train::{Length, Measured, Measuring, Position, Step, TrainError};
//! # use rdarts::train::state::{Packed, Unpacked};
//! use rdarts::search::{Search, State};
//! use rdarts::space::{CellType, Op};
//! use rdarts::train::{Job, Next, Verdict};
//!
//! struct FewSkips(Search);
//!
//! impl Job for FewSkips {
//! #   type Extra = Architecture;
//! #   type Batch = StepBatches;
//! #   type Found = Found;
//!     fn judge(&self, state: &State) -> Verdict {
//!         let skips = state.extra.genotype(&self.0.space).n_uses(CellType::Normal, Op::SkipConnect);
//!         if skips < 2 {
//!             return self.0.judge(state);
//!         }
//!         let (next, reason) = (Next::Stop { epoch: state.at.epoch }, format!("There are {skips} skip connections."));
//!         Verdict { next, event: None, reason, is_news: true }
//!     }
//!     fn step(&self, state: &mut State, batch: StepBatches) -> Result<Step, TrainError> {
//!         self.0.step(state, batch)
//!     }
//!     // And so on.
//! #   fn length(&self) -> Length { self.0.length() }
//! #   fn spec_text(&self) -> String { self.0.spec_text() }
//! #   fn fingerprint(&self) -> &str { self.0.fingerprint() }
//! #   fn is_of(&self, spec: &str) -> bool { self.0.is_of(spec) }
//! #   fn begin(&self) -> (Event, State) { self.0.begin() }
//! #   fn blank(&self) -> State { self.0.blank() }
//! #   fn pack<'a>(&self, extra: &'a Architecture) -> Packed<'a> { self.0.pack(extra) }
//! #   fn unpack(&self, extra: &mut Architecture, file: &mut Unpacked<'_>) -> Result<(), TrainError> {
//! #       self.0.unpack(extra, file)
//! #   }
//! #   fn batches(&self, at: &Position) -> Box<dyn Iterator<Item = Result<StepBatches, DataError>> + Send> {
//! #       self.0.batches(at)
//! #   }
//! #   fn measure(&self, state: &State, measuring: &mut Measuring<'_>) -> Result<Option<Measured>, TrainError> {
//! #       self.0.measure(state, measuring)
//! #   }
//! #   fn earliest_return(&self, state: &State) -> Option<usize> { self.0.earliest_return(state) }
//! #   fn keeps_all(&self) -> bool { self.0.keeps_all() }
//! #   fn finish(
//! #       &self,
//! #       dir: &mut RunDir,
//! #       state: &State,
//! #       stop: Option<(usize, String)>,
//! #       measuring: &mut Measuring<'_>,
//! #   ) -> Result<Option<Found>, TrainError> {
//! #       self.0.finish(dir, state, stop, measuring)
//! #   }
//! }
//! ```
//!
//! [`train::start`] runs it like a search. `examples/method.rs` also writes the decision down, so that a run that was killed
//! between its end and its last line goes on to the same result.
//!
//! # An operation of one's own
//!
//! An [`net::Operation`] says its value and its tangent in Burn's tensors; [`net::Network::with`] puts it behind the stem or a
//! cell, where it takes part in gradients, Hessians and the unrolled step. `examples/operation.rs` searches with one. It is
//! no candidate on the edges of a cell: those are the ones of [`space::Op`], which the fused kernels know.
//!
//! # Modules
//!
//! | module | what |
//! |---|---|
//! | [`space`] | operations, search spaces, genotypes |
//! | [`data`] | data sets, splits, augmentation, batches |
//! | [`kernels`] | fused operations on slices, with their first and second derivatives |
//! | [`net`] | supernets and discrete networks, their gradients and Hessian-vector products |
//! | [`train`] | optimisers, schedules, the epoch loop over jobs, trainings from scratch, model files |
//! | [`search`] | the bilevel search, the dominant eigenvalue |
//! | [`study`] | portfolios of searches and trainings (R-DARTS) |
//! | [`sweep`] | plans of many runs, and what became of each |
//! | [`export`] | trained networks for other programs, and checkpoints of theirs |
//! | [`draw`] | genotypes as pictures |
//! | [`report`] | run directories as tables, figures and a page |
//! | [`watch`] | that page while runs go on, and a view for terminals |
//! | [`monitor`] | the stopping rules |
//! | [`run`] | specs, events, run directories, checkpoints |
//! | [`rng`] | named random streams |

pub use rdarts_data as data;
pub use rdarts_draw as draw;
pub use rdarts_export as export;
pub use rdarts_kernels as kernels;
pub use rdarts_monitor as monitor;
pub use rdarts_net as net;
pub use rdarts_report as report;
pub use rdarts_rng as rng;
pub use rdarts_run as run;
pub use rdarts_search as search;
pub use rdarts_space as space;
pub use rdarts_study as study;
pub use rdarts_sweep as sweep;
pub use rdarts_table as table;
pub use rdarts_train as train;
pub use rdarts_watch as watch;
