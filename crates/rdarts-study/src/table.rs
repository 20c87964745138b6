//! A table is built: every architecture of a small space trained from scratch with every seed.
//!
//! What is finished stands in the table's file ([`rdarts_table`]), what is under way in a directory beside it, `NAME.work`:
//! of each training a run directory, which goes on where it was stopped, and a lock. So several processes build one table:
//! who holds the lock of a training looks once more whether it is in the table, trains, appends, and clears its directory.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rdarts_net::{DiscreteSpec, Engine, Network};
use rdarts_run::{Environment, Event, RunView, TrainSpec};
use rdarts_space::nth;
use rdarts_table::{Appender, Entry, Table, TableError};
use rdarts_train::memory::Needed;
use rdarts_train::{ImageSet, TrainError, Training};

use crate::members::{Place, carry_out, is_done, side_by_side};
use crate::portfolio::Hands;

/// A table in the making.
pub struct TableBuild {
    path: PathBuf,
    /// How each is trained, with the places of files.
    spec: TrainSpec,
    images: ImageSet,
    engine: Engine,
    table: Table,
}

/// What goes on, told in between.
#[derive(Clone, Debug)]
pub struct Built {
    /// The training that has finished.
    pub entry: Entry,
    /// How many are in the table now, of how many.
    pub done: usize,
    /// See `done`.
    pub of: usize,
    /// Seconds until all are done, at the rate of this process since it began.
    pub left: f64,
}

/// How a build ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ended {
    /// Every training is in the table.
    Complete,
    /// The others are being done by other processes.
    ByOthers(usize),
    /// It was stopped.
    Interrupted,
}

impl TableBuild {
    /// Goes on with a table, given how its architectures are trained with the places of files.
    ///
    /// # Errors
    /// One sentence if the training or the images are not those of the table.
    pub fn new(
        path: PathBuf,
        table: Table,
        spec: TrainSpec,
        images: ImageSet,
        engine: Engine,
    ) -> Result<Self, TrainError> {
        if let Some((key, there, here)) = table.differs_in(&spec) {
            return Err(TrainError::Input(format!(
                "the architectures of {} are trained with {key} = {there}, not {here}",
                rdarts_data::shown(&path)
            )));
        }
        if table.header().images != images.fingerprint() {
            return Err(TrainError::Input(format!(
                "the images are not those that {} was begun with, although their set has the same name",
                rdarts_data::shown(&path)
            )));
        }
        let build = Self { path, spec, images, engine, table };
        // What is wrong with a training is said before the first one begins.
        build.training(0, 1, &build.engine)?;
        Ok(build)
    }

    /// Writes the table's file, unless it is there.
    ///
    /// # Errors
    /// If it cannot be written, or if another process began it otherwise.
    pub fn begin(&self) -> Result<(), TrainError> {
        if !self.path.exists() && self.table.create(&self.path).map_err(of_table)? {
            return Ok(());
        }
        // Another process may have begun it in the meantime.
        let there = self.read()?;
        let (a, b) = (there.header(), self.table.header());
        if (&a.space, &a.images, &a.seeds) != (&b.space, &b.images, &b.seeds) || there.differs_in(&self.spec).is_some()
        {
            return Err(TrainError::Input(format!(
                "another process has begun {} with other settings in the meantime",
                rdarts_data::shown(&self.path)
            )));
        }
        Ok(())
    }

    /// Refuses more trainings side by side than there is memory for.
    ///
    /// # Errors
    /// One sentence.
    pub fn check_jobs(&self, jobs: usize) -> Result<(), TrainError> {
        let one = self.training(0, 1, &self.engine)?.memory();
        let what = if jobs > 1 { "--jobs".to_string() } else { one.what.clone() };
        Needed { bytes: one.bytes.saturating_mul(jobs as u64), what }.check(&self.engine)
    }

    /// Trainings of the whole table.
    pub fn n_trainings(&self) -> usize {
        self.table.n_architectures() * self.table.header().seeds.len()
    }

    /// Trains what is missing; `told` hears of every training that this process has finished.
    ///
    /// # Errors
    /// One sentence if a training fails, or something cannot be written.
    pub fn run(&self, hands: Hands, told: &(dyn Fn(&Built) + Sync), stop: &AtomicBool) -> Result<Ended, TrainError> {
        let work_dir = self.work_dir();
        std::fs::create_dir_all(&work_dir).map_err(|e| io("make", &work_dir, &e))?;
        let taken: Mutex<BTreeMap<(u64, u64), File>> = Mutex::default();
        let (begin, finished) = (Instant::now(), Mutex::new(0usize));
        let one_hand = || -> Result<bool, TrainError> {
            let engine = if hands.jobs > 1 { self.engine.apart() } else { self.engine.clone() };
            let here = Environment::detect(
                (hands.threads / hands.jobs.max(1)).max(1),
                engine.kernels.isa().name(),
                engine.place(),
            );
            while let Some((architecture, seed)) = self.take(&taken)? {
                if stop.load(Ordering::Relaxed) {
                    return Ok(false);
                }
                let Some(entry) = self.train(architecture, seed, &engine, &here, stop)? else { return Ok(false) };
                Appender::open(&self.path).and_then(|mut table| table.append(&entry)).map_err(of_table)?;
                self.clear(architecture, seed)?;
                taken.lock().expect("no one panics while holding it").remove(&(architecture, seed));
                let there = self.read()?;
                let (done, of) = (there.entries().len(), self.n_trainings());
                let mut n = finished.lock().expect("no one panics while holding it");
                *n += 1;
                let left = begin.elapsed().as_secs_f64() / *n as f64 * of.saturating_sub(done) as f64;
                told(&Built { entry, done, of, left });
            }
            Ok(true)
        };
        let hand = |_| -> Box<dyn FnOnce() -> Result<bool, TrainError> + Send + '_> { Box::new(one_hand) };
        let work = (0..hands.jobs.max(1)).map(hand).collect();
        if !side_by_side(hands.jobs, (hands.threads / hands.jobs.max(1)).max(1), stop, work)? {
            return Ok(Ended::Interrupted);
        }
        let (table, faults) = Table::read(&self.path).map_err(of_table)?;
        match table.missing().len() {
            0 => {
                // In order, and without the lines that were damaged. Nothing is appended to a whole table any more.
                let text = table.to_text();
                if !faults.is_empty() || std::fs::read(&self.path).is_ok_and(|there| there != text.as_bytes()) {
                    table.write(&self.path).map_err(of_table)?;
                }
                self.clear_work();
                Ok(Ended::Complete)
            }
            n => Ok(Ended::ByOthers(n)),
        }
    }

    /// Takes away the locks of all trainings, and the directory if nothing else is in it.
    fn clear_work(&self) {
        for seed in &self.table.header().seeds {
            for architecture in 0..self.table.n_architectures() as u64 {
                let _ = std::fs::remove_file(self.place(architecture, *seed).with_extension("lock"));
            }
        }
        let _ = std::fs::remove_dir(self.work_dir());
    }

    fn work_dir(&self) -> PathBuf {
        work_dir(&self.path)
    }

    fn place(&self, architecture: u64, seed: u64) -> PathBuf {
        self.work_dir().join(format!("{architecture}-{seed}"))
    }

    fn read(&self) -> Result<Table, TrainError> {
        Ok(Table::read(&self.path).map_err(of_table)?.0)
    }

    /// The next training that is neither in the table nor at work anywhere, with its lock.
    fn take(&self, taken: &Mutex<BTreeMap<(u64, u64), File>>) -> Result<Option<(u64, u64)>, TrainError> {
        let mut taken = taken.lock().expect("no one panics while holding it");
        for (architecture, seed) in self.read()?.missing() {
            if taken.contains_key(&(architecture, seed)) {
                continue;
            }
            let path = self.place(architecture, seed).with_extension("lock");
            let file = match OpenOptions::new().create(true).append(true).open(&path) {
                // The process that made the table whole has cleared the directory.
                Err(e) if e.kind() == ErrorKind::NotFound && self.read()?.missing().is_empty() => return Ok(None),
                file => file.map_err(|e| io("open", &path, &e))?,
            };
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(e)) if e.kind() != ErrorKind::Unsupported => return Err(io("lock", &path, &e)),
                _ => {}
            }
            // Another process may have finished it since the table was read.
            if self.read()?.has(architecture, seed) {
                continue;
            }
            taken.insert((architecture, seed), file);
            return Ok(Some((architecture, seed)));
        }
        Ok(None)
    }

    fn training(&self, architecture: u64, seed: u64, engine: &Engine) -> Result<Training, TrainError> {
        let genotype = nth(self.table.space(), architecture.into()).expect("the table counts its architectures");
        // That of the table, or a run would not go on that was begun by other words for the same.
        let mut spec = self.table.spec().clone();
        spec.data.images.dir.clone_from(&self.spec.data.images.dir);
        spec.data.images.cache.clone_from(&self.spec.data.images.cache);
        spec.seed = seed;
        spec.network.genotype = genotype.to_string();
        Training::on(spec, engine.clone(), &self.images)
    }

    /// Trains one, or goes on with it; none if it was stopped.
    fn train(
        &self,
        architecture: u64,
        seed: u64,
        engine: &Engine,
        here: &Environment,
        stop: &AtomicBool,
    ) -> Result<Option<Entry>, TrainError> {
        let training = self.training(architecture, seed, engine)?;
        let path = self.place(architecture, seed);
        let place = Place { path: &path, study: &self.path, here, stop };
        // Of another table of this name, or damaged: it is made again.
        let is_this = |view: RunView| view.spec::<TrainSpec>().is_ok_and(|spec| spec == training.spec);
        if path.exists() && !RunView::open(&path).is_ok_and(is_this) {
            self.clear(architecture, seed)?;
        }
        if !is_done(&path) {
            let done = carry_out(&training, &training.spec, &place, &mut (), |_| Ok(()), &mut |_| {});
            match done.map_err(|e| e.map(|text| text.replace("rdarts resume ", "rdarts table build --out "))) {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(TrainError::Diverged(_)) => {
                    return Ok(Some(self.entry(&training, architecture, seed, &path, here, true)?));
                }
                Err(e) => return Err(e),
            }
        }
        self.entry(&training, architecture, seed, &path, here, false).map(Some)
    }

    fn entry(
        &self,
        training: &Training,
        architecture: u64,
        seed: u64,
        path: &Path,
        here: &Environment,
        has_diverged: bool,
    ) -> Result<Entry, TrainError> {
        let view = RunView::open(path)?;
        let events = view.events()?;
        let classes = self.images.data.classes.len();
        let net = Network::discrete(&DiscreteSpec {
            genotype: training.genotype.clone(),
            cells: self.spec.network.cells,
            reductions: self.spec.network.reductions.clone(),
            c: self.spec.network.channels,
            c_image: self.images.data.train.channels,
            classes,
            auxiliary: false,
        });
        let timings = view.timings().unwrap_or_default();
        // The steps wait for their batches, so that the one holds the other.
        let parts = timings.iter().flat_map(|t| &t.seconds).filter(|(part, _)| *part != "waiting for data");
        let seconds = parts.map(|(_, seconds)| seconds).sum();
        let mut entry = Entry {
            architecture,
            genotype: training.genotype.to_string(),
            seed,
            n_params: net.n_parameters(),
            macs: net.macs(training.images.side()),
            epoch: 0,
            train_loss: None,
            train_accuracy: None,
            valid_accuracy: None,
            test_accuracy: 1.0 / classes as f64,
            test_loss: None,
            seconds,
            by: format!("{}, {}, {}", here.rdarts, here.isa, here.device),
        };
        if has_diverged {
            return Ok(entry);
        }
        let finished = events.iter().rev().find_map(|e| if let Event::TrainFinished(f) = e { Some(f) } else { None });
        let finished = finished.ok_or_else(|| {
            TrainError::Failed(format!(
                "{} is marked as done, but its events do not say how it ended: delete it, and it is trained again",
                rdarts_data::shown(path)
            ))
        })?;
        let of_epoch = |e: &&Event| matches!(e, Event::TrainEpoch(e) if e.epoch == finished.epoch);
        if let Some(Event::TrainEpoch(epoch)) = events.iter().rev().find(of_epoch) {
            (entry.train_loss, entry.train_accuracy) = (Some(epoch.train_loss), Some(epoch.train_accuracy));
        }
        entry.epoch = finished.epoch;
        entry.valid_accuracy = finished.valid_accuracy;
        (entry.test_accuracy, entry.test_loss) = (finished.test_accuracy, Some(finished.test_loss));
        Ok(entry)
    }

    /// Takes away what a finished training has left; its lock stays, others may be waiting for it.
    fn clear(&self, architecture: u64, seed: u64) -> Result<(), TrainError> {
        let path = self.place(architecture, seed);
        match std::fs::remove_dir_all(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(io("clear", &path, &e)),
            _ => Ok(()),
        }
    }
}

/// Where lies what is under way of the table in a file.
pub fn work_dir(table: &Path) -> PathBuf {
    let mut name = table.as_os_str().to_os_string();
    name.push(".work");
    PathBuf::from(name)
}

fn of_table(e: TableError) -> TrainError {
    if e.is_system() { TrainError::Failed(e.to_string()) } else { TrainError::Input(e.to_string()) }
}

fn io(what: &str, path: &Path, e: &std::io::Error) -> TrainError {
    TrainError::Failed(format!("cannot {what} `{}`: {e}", rdarts_data::shown(path)))
}
