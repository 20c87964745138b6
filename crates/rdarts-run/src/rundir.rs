//! The run directory: all that a search leaves behind, and the only thing that a report reads.
//!
//! ```text
//! format                  "rdarts-run 1": version of this layout
//! spec.toml               the complete spec, written first; it never changes
//! space.toml              the search space, every edge
//! env.json                program, machine and threads of the last start; not compared
//! events.jsonl            what happened, append only, deterministic
//! timings.jsonl           how long it took, append only; not compared
//! checkpoints/            00000012-epoch-3.safetensors, ...: one whole state each
//! genotype.txt, .json     what was found
//! DONE                    the search has finished
//! lock                    held by the process that works here; the text is its process number and its machine
//! owner                   there while a process works here, for those who get no lock from their system
//! ```
//!
//! Invariants: one process writes at a time; every file except the two appended ones is replaced as a whole; a
//! failed append is taken back; each checkpoint records how many bytes of `events.jsonl` belong to it and what its
//! lines are, and [`RunDir::recover`] cuts the file there, so that a resumed search goes on as if nothing had happened.
//! A directory whose files do not fit each other is refused and left as it is, and a start that is refused leaves
//! nothing behind.
//!
//! [`RunView`] reads, also while a search is running; [`RunDir`] holds the lock and writes.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use rdarts_text::{escaped, shown};

use crate::atomic;
use crate::checkpoint::{self, Checkpoint, CheckpointError, CheckpointName, Newest};
use crate::event::{self, Event, EventError, LastLine, Timing};
use crate::lock::{self, LOCK, Lock, Means, OWNER};
use crate::log;
use crate::spec::{SearchSpec, SpecError};
use crate::text::{TextError, for_shell, is_system, read_text};

/// Version of the layout of a run directory.
pub const RUN_FORMAT: u32 = 1;

/// A run directory that is read.
#[derive(Clone, Debug)]
pub struct RunView {
    path: PathBuf,
    spec: SearchSpec,
}

/// A run directory that this process alone writes to.
#[derive(Debug)]
pub struct RunDir {
    view: RunView,
    events: AppendFile,
    /// Digits of all lines of the events.
    events_lines: String,
    timings: AppendFile,
    /// What the directory had to go on from when it was opened.
    found: Option<Newest>,
    lock: Lock,
}

/// A place for a new run: a directory that exists, is empty and is locked. What was made for it is removed again unless
/// it is filled.
#[derive(Debug)]
pub struct Reservation {
    path: PathBuf,
    lock: Option<Lock>,
    /// Directories that were not there before, the innermost first.
    made: Vec<PathBuf>,
}

/// Where a search goes on.
#[derive(Debug)]
pub struct Recovered {
    /// The newest usable checkpoint; `None`: start from the beginning.
    pub checkpoint: Option<(CheckpointName, Checkpoint)>,
    /// One sentence for each newer checkpoint that could not be used.
    pub warnings: Vec<String>,
}

/// The machine that a search runs on; only the instruction set can change a result, in its last bits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Version of the program.
    pub rdarts: String,
    /// Operating system.
    pub os: String,
    /// Processor architecture.
    pub arch: String,
    /// Model of the processor, if the system tells it.
    pub cpu: String,
    /// Number of threads that compute.
    pub threads: usize,
    /// Instruction set of the kernels; another one rounds differently.
    pub isa: String,
}

/// Why a run directory was refused or not written to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The directory does not hold a run.
    #[error("`{}` is not a run directory of rdarts: {problem}", shown(path))]
    NotARun {
        /// The directory.
        path: PathBuf,
        /// What shows it.
        problem: String,
    },
    /// A new run needs an empty directory.
    #[error("`{}` is not empty (it holds `{}`): name a new directory for the run", shown(path), escaped(found))]
    NotEmpty {
        /// The directory.
        path: PathBuf,
        /// One of the entries.
        found: String,
    },
    /// There is a run already.
    #[error(
        "`{}` already holds a run: go on with `rdarts resume {}` or name a new directory",
        shown(path),
        for_shell(path)
    )]
    IsARun {
        /// The directory.
        path: PathBuf,
    },
    /// The run has ended.
    #[error("the run in `{}` has finished, there is nothing to resume", shown(path))]
    Finished {
        /// The directory.
        path: PathBuf,
    },
    /// Another process works in the directory.
    #[error("the run in `{}` is locked by another process{}", shown(path), of_process(by.as_deref(), *free_in))]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The number of the process and its machine, if the lock file tells them.
        by: Option<String>,
        /// When a process that cannot be asked counts as ended, should it show no sign of life until then.
        free_in: Option<Duration>,
    },
    /// Another process has taken the directory from this one, which it took for ended.
    #[error("the run in `{}` was taken over by another process, which goes on with it: this one ends", shown(path))]
    TakenOver {
        /// The directory.
        path: PathBuf,
    },
    /// An empty name.
    #[error("the name of the run directory is empty: name a new directory")]
    NoName,
    /// The log is not the one that the newest checkpoint counts on.
    #[error(
        "`{}`, line {line}, {problem}, so the log does not fit the checkpoint {checkpoint}: put the file back as it \
         was written, or begin a new search with `rdarts search {}`",
        shown(log),
        for_shell(spec)
    )]
    Log {
        /// The log.
        log: PathBuf,
        /// Its first bad line, counted from 1.
        line: usize,
        /// What is wrong with the line.
        problem: String,
        /// The checkpoint.
        checkpoint: CheckpointName,
        /// The spec of the run.
        spec: PathBuf,
    },
    /// There is nothing to go on from.
    #[error("{problem}: begin a new search with `rdarts search {}`", for_shell(spec))]
    NoCheckpoint {
        /// What there is instead.
        problem: String,
        /// The spec of the run.
        spec: PathBuf,
    },
    /// A file of the directory that rdarts did not write like this.
    #[error("`{}` is not as it was written; it only records the machine, so it may be deleted", shown(path))]
    Environment {
        /// The file.
        path: PathBuf,
    },
    /// A search cannot write any more.
    #[error("{reason}: {remedy}, then `rdarts resume {}` goes on", for_shell(path))]
    Stopped {
        /// The run directory.
        path: PathBuf,
        /// What could not be written.
        reason: Box<RunError>,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A newer program made the directory.
    #[error("`{}` has format {found}, and this program knows up to {RUN_FORMAT}; use a newer rdarts", shown(path))]
    TooNew {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The names of checkpoints must grow.
    #[error("the checkpoint {name} would not be the newest in `{}`, where {newest} is", shown(path))]
    OldSequence {
        /// The directory of the checkpoints.
        path: PathBuf,
        /// The name that was refused.
        name: CheckpointName,
        /// The newest one.
        newest: CheckpointName,
    },
    /// The system cannot do it.
    #[error("cannot {action} `{}`: {source}", shown(path))]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A text file was refused.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The spec was refused.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A checkpoint was refused or not written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A file of lines was refused.
    #[error(transparent)]
    Event(#[from] EventError),
}

impl RunError {
    /// Whether the system refuses, and not the content of a file or the name of a directory.
    pub fn is_system(&self) -> bool {
        match self {
            RunError::Io { source, .. } => is_system(source),
            RunError::Stopped { .. } | RunError::TakenOver { .. } => true,
            RunError::Text(err) => err.is_system(),
            RunError::Spec(err) => err.is_system(),
            RunError::Checkpoint(err) => err.is_system(),
            RunError::Event(err) => err.is_system(),
            _ => false,
        }
    }

    /// Says of what kept a search from writing how it goes on.
    fn stopped(self, path: &Path) -> RunError {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        let source = match &self {
            RunError::Io { source, .. } | RunError::Checkpoint(CheckpointError::Io { source, .. }) => source,
            _ => return self,
        };
        let remedy = match source.kind() {
            StorageFull => "free some space on that disk",
            QuotaExceeded => "free some of your quota there",
            FileTooLarge => "raise the limit of the size of files (`ulimit -f`)",
            _ => "once that is mended",
        };
        RunError::Stopped { path: path.to_path_buf(), reason: Box::new(self), remedy }
    }
}

impl RunView {
    /// Opens a run directory for reading.
    pub fn open(path: &Path) -> Result<RunView, RunError> {
        check_format(path)?;
        let spec_path = path.join(SPEC);
        let spec = SearchSpec::from_complete(&shown(&spec_path), &read_text("spec", &spec_path)?)?;
        Ok(RunView { path: path.to_path_buf(), spec })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The complete spec of the run.
    pub fn spec(&self) -> &SearchSpec {
        &self.spec
    }

    /// `events.jsonl`.
    pub fn events_path(&self) -> PathBuf {
        self.path.join(EVENTS)
    }

    /// `timings.jsonl`.
    pub fn timings_path(&self) -> PathBuf {
        self.path.join(TIMINGS)
    }

    /// The directory of the checkpoints.
    pub fn checkpoints_path(&self) -> PathBuf {
        self.path.join(CHECKPOINTS)
    }

    /// All events so far; a line that is just being written is left out.
    pub fn events(&self) -> Result<Vec<Event>, RunError> {
        Ok(event::read_events(&self.events_path(), LastLine::MayBeHalf)?)
    }

    /// All durations so far.
    pub fn timings(&self) -> Result<Vec<Timing>, RunError> {
        Ok(event::read_timings(&self.timings_path(), LastLine::MayBeHalf)?)
    }

    /// The machine that the search last ran on; `None` if that was not recorded.
    pub fn environment(&self) -> Result<Option<Environment>, RunError> {
        let path = self.path.join(ENVIRONMENT);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(err) => return Err(io_error("read", &path)(err)),
        };
        serde_json::from_str(&text).map(Some).map_err(|_| RunError::Environment { path })
    }

    /// The names of the checkpoints, newest first.
    pub fn checkpoints(&self) -> Result<Vec<CheckpointName>, RunError> {
        Ok(checkpoint::list(&self.checkpoints_path())?)
    }

    /// Reads one checkpoint.
    pub fn load_checkpoint(&self, name: &CheckpointName) -> Result<Checkpoint, RunError> {
        Ok(Checkpoint::load(&self.checkpoints_path().join(name.file_name()))?)
    }

    /// The search space as the run recorded it; `None` if it was stopped before.
    pub fn space(&self) -> Result<Option<String>, RunError> {
        let path = self.path.join(SPACE);
        match read_text("search space", &path) {
            Ok(text) => Ok(Some(text)),
            Err(TextError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// The genotype that was found, as text; `None` while the search runs.
    pub fn genotype(&self) -> Result<Option<String>, RunError> {
        let path = self.path.join(GENOTYPE_TEXT);
        match read_text("genotype", &path) {
            Ok(text) => Ok(Some(text.trim_end().to_string())),
            Err(TextError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(err) => Err(err.into()),
        }
    }

    /// Whether the search has finished.
    pub fn is_done(&self) -> bool {
        self.path.join(DONE).exists()
    }
}

impl Reservation {
    /// Makes the directory and takes its lock, or says why no run can be there.
    pub fn new(path: &Path) -> Result<Reservation, RunError> {
        if path.as_os_str().is_empty() {
            return Err(RunError::NoName);
        }
        refuse_occupied(path)?;
        let mut reservation = Reservation { path: path.to_path_buf(), lock: None, made: Vec::new() };
        reservation.make_directories()?;
        reservation.lock = Some(Lock::take(path, &Means::system())?);
        // Another process may have come first between the look and the lock.
        refuse_occupied(path)?;
        Ok(reservation)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Begins a run there.
    pub fn fill(mut self, spec: &SearchSpec) -> Result<RunDir, RunError> {
        spec.validate()?;
        self.write(spec).inspect_err(|_| self.clear())?;
        let lock = self.lock.take().expect("a reservation has its lock until it is filled");
        let view = RunView { path: self.path.clone(), spec: spec.clone() };
        // From here on there is a run, which can be resumed.
        self.made.clear();
        RunDir::with_lock(view, lock, None)
    }

    fn write(&self, spec: &SearchSpec) -> Result<(), RunError> {
        remove_temporaries(&self.path)?;
        let checkpoints = self.path.join(CHECKPOINTS);
        std::fs::create_dir_all(&checkpoints).map_err(io_error("create", &checkpoints))?;
        write(&self.path.join(FORMAT), format!("{FORMAT_WORD} {RUN_FORMAT}\n").as_bytes())?;
        AppendFile::open(self.path.join(EVENTS))?;
        AppendFile::open(self.path.join(TIMINGS))?;
        // The last one: what has a spec is a run.
        write(&self.path.join(SPEC), spec.to_toml().as_bytes())
    }

    /// Removes what `write` has made so far.
    fn clear(&self) {
        for name in [SPEC, FORMAT, EVENTS, TIMINGS] {
            let _ = std::fs::remove_file(self.path.join(name));
        }
        let _ = std::fs::remove_dir(self.path.join(CHECKPOINTS));
    }

    fn make_directories(&mut self) -> Result<(), RunError> {
        let is_missing = |dir: &&Path| !dir.as_os_str().is_empty() && !dir.exists();
        let missing: Vec<PathBuf> = self.path.ancestors().take_while(is_missing).map(Path::to_path_buf).collect();
        for dir in missing.into_iter().rev() {
            match std::fs::create_dir(&dir) {
                Ok(()) => self.made.insert(0, dir),
                // Made by another process in between.
                Err(err) if err.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
                Err(err) => return Err(io_error("create the run directory", &self.path)(err)),
            }
        }
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(lock) = self.lock.take() {
            lock.undo();
        }
        // Only empty directories go.
        self.made.iter().for_each(|dir| drop(std::fs::remove_dir(dir)));
    }
}

impl RunDir {
    /// Makes a new run directory and takes its lock; fails before any work if that cannot be done.
    pub fn create(path: &Path, spec: &SearchSpec) -> Result<RunDir, RunError> {
        spec.validate()?;
        Reservation::new(path)?.fill(spec)
    }

    /// Opens a run directory for going on, takes its lock, finds what to go on from and clears away what a killed writer
    /// left half-written.
    ///
    /// Refuses a directory whose files do not fit each other, with nothing changed there.
    pub fn open(path: &Path) -> Result<RunDir, RunError> {
        RunDir::open_with(path, &Means::system())
    }

    fn open_with(path: &Path, means: &Means) -> Result<RunDir, RunError> {
        check_format(path)?;
        let view = RunView::open(path)?;
        if view.is_done() {
            return Err(RunError::Finished { path: path.to_path_buf() });
        }
        let lock = Lock::take(path, means)?;
        let found = match view.is_done() {
            true => None,
            false => match find_newest(&view) {
                Ok(newest) => Some(newest),
                Err(err) => {
                    lock.undo();
                    return Err(err);
                }
            },
        };
        remove_temporaries(path)?;
        RunDir::with_lock(view, lock, found)
    }

    fn with_lock(view: RunView, lock: Lock, found: Option<Newest>) -> Result<RunDir, RunError> {
        let events = AppendFile::open(view.events_path())?;
        let events_lines = log::digits(&std::fs::read(&events.path).map_err(io_error("read", &events.path))?);
        let mut timings = AppendFile::open(view.timings_path())?;
        // Nothing ever cuts the durations back, so a half line of a killed writer would run into the next one.
        let bytes = std::fs::read(&timings.path).map_err(io_error("read", &timings.path))?;
        let whole = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |at| at as u64 + 1);
        if whole < timings.length {
            timings.cut(whole)?;
        }
        atomic::sync_dir(&view.path).map_err(io_error("write", &view.path))?;
        Ok(RunDir { view, events, events_lines, timings, found, lock })
    }

    /// The reading side.
    pub fn view(&self) -> &RunView {
        &self.view
    }

    /// The complete spec of the run.
    pub fn spec(&self) -> &SearchSpec {
        &self.view.spec
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.view.path
    }

    /// What the user should know about this directory, one sentence each.
    pub fn warnings(&self) -> &[String] {
        self.lock.warnings()
    }

    /// Takes the state to go on from and cuts `events.jsonl` to what belongs to it.
    ///
    /// Newer checkpoints that are damaged are renamed to `*.damaged`. A run that was stopped before its first checkpoint
    /// has its events emptied and starts from the beginning.
    pub fn recover(&mut self) -> Result<Recovered, RunError> {
        if self.view.is_done() {
            return Err(RunError::Finished { path: self.view.path.clone() });
        }
        let newest = match self.found.take() {
            Some(newest) => newest,
            None => find_newest(&self.view)?,
        };
        let dir = self.view.checkpoints_path();
        for name in &newest.passed_over {
            let path = dir.join(name.file_name());
            let aside = dir.join(format!("{}.damaged", name.file_name()));
            std::fs::rename(&path, &aside).map_err(io_error("rename", &path))?;
        }
        atomic::sync_dir(&dir).map_err(io_error("write", &dir))?;
        let length = newest.found.as_ref().map_or(0, |(_, checkpoint)| checkpoint.events_bytes);
        let bytes = std::fs::read(&self.events.path).map_err(io_error("read", &self.events.path))?;
        self.events.cut(length)?;
        self.events_lines = log::digits_up_to(&self.events_lines, &bytes, length);
        Ok(Recovered { checkpoint: newest.found, warnings: newest.warnings })
    }

    /// Appends an event; on failure the file is as before.
    pub fn append_event(&mut self, event: &Event) -> Result<(), RunError> {
        self.refuse_if_lost()?;
        let line = event::to_line(event);
        self.events.append(line.as_bytes()).map_err(|err| err.stopped(&self.view.path))?;
        self.events_lines.push_str(&log::digits(line.as_bytes()));
        Ok(())
    }

    /// Appends a duration; on failure the file is as before.
    pub fn append_timing(&mut self, timing: &Timing) -> Result<(), RunError> {
        self.timings.append(event::to_line(timing).as_bytes()).map_err(|err| err.stopped(&self.view.path))
    }

    /// Length of `events.jsonl` in bytes.
    pub fn events_bytes(&self) -> u64 {
        self.events.length
    }

    /// Writes a checkpoint of the present state; its `events_bytes` is filled in here.
    ///
    /// A checkpoint of the same sequence number is replaced, an older number is refused.
    pub fn save_checkpoint(&mut self, name: &CheckpointName, checkpoint: Checkpoint) -> Result<(), RunError> {
        self.refuse_if_lost()?;
        self.try_save_checkpoint(name, checkpoint).map_err(|err| err.stopped(&self.view.path))
    }

    fn try_save_checkpoint(&mut self, name: &CheckpointName, mut checkpoint: Checkpoint) -> Result<(), RunError> {
        let dir = self.view.checkpoints_path();
        let others = checkpoint::list(&dir)?;
        if let Some(newest) = others.first().filter(|newest| newest.sequence > name.sequence) {
            return Err(RunError::OldSequence { path: dir, name: name.clone(), newest: newest.clone() });
        }
        // The events must be on the disk before a checkpoint counts on them.
        self.events.sync()?;
        checkpoint.events_bytes = self.events.length;
        checkpoint.events_lines.clone_from(&self.events_lines);
        checkpoint.save(&dir.join(name.file_name()))?;
        for other in others.iter().filter(|other| other.sequence == name.sequence && *other != name) {
            let path = dir.join(other.file_name());
            std::fs::remove_file(&path).map_err(io_error("delete", &path))?;
        }
        Ok(())
    }

    /// Where there are no locks, a process that had been taken for ended may come back to find another at work.
    fn refuse_if_lost(&self) -> Result<(), RunError> {
        if self.lock.is_lost() { Err(RunError::TakenOver { path: self.view.path.clone() }) } else { Ok(()) }
    }

    /// Deletes the checkpoints that `keep` does not want; the newest one always stays. Returns the deleted ones.
    pub fn prune_checkpoints(
        &mut self,
        keep: impl Fn(&CheckpointName) -> bool,
    ) -> Result<Vec<CheckpointName>, RunError> {
        Ok(checkpoint::prune(&self.view.checkpoints_path(), keep)?)
    }

    /// Records the machine.
    pub fn write_environment(&mut self, environment: &Environment) -> Result<(), RunError> {
        let mut text = serde_json::to_string_pretty(environment).expect("texts and numbers are JSON");
        text.push('\n');
        write(&self.view.path.join(ENVIRONMENT), text.as_bytes()).map_err(|err| err.stopped(&self.view.path))
    }

    /// Writes what was found, as text and as JSON.
    pub fn write_genotype(&mut self, text: &str, json: &serde_json::Value) -> Result<(), RunError> {
        write(&self.view.path.join(GENOTYPE_JSON), format!("{json:#}\n").as_bytes())
            .and_then(|()| write(&self.view.path.join(GENOTYPE_TEXT), format!("{}\n", text.trim_end()).as_bytes()))
            .map_err(|err| err.stopped(&self.view.path))
    }

    /// Records the search space, so that a later change of its file cannot change this run.
    pub fn write_space(&mut self, text: &str) -> Result<(), RunError> {
        write(&self.view.path.join(SPACE), text.as_bytes()).map_err(|err| err.stopped(&self.view.path))
    }

    /// Marks the run as finished; the last thing that is written.
    pub fn mark_done(&mut self, reason: &str) -> Result<(), RunError> {
        let done = || {
            self.events.sync()?;
            self.timings.sync()?;
            write(&self.view.path.join(DONE), format!("{}\n", reason.trim_end()).as_bytes())
        };
        done().map_err(|err: RunError| err.stopped(&self.view.path))
    }
}

impl Environment {
    /// Describes this machine.
    pub fn detect(threads: usize, isa: &str) -> Environment {
        // Only Linux has this file; elsewhere the model stays unknown, which harms nothing.
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(':'));
        Environment {
            rdarts: env!("CARGO_PKG_VERSION").to_string(),
            os: std::env::consts::OS.to_string(),
            arch: std::env::consts::ARCH.to_string(),
            cpu: model.map_or("unknown", |(_, name)| name.trim()).to_string(),
            threads,
            isa: isa.to_string(),
        }
    }
}

const FORMAT: &str = "format";
const FORMAT_WORD: &str = "rdarts-run";
const SPEC: &str = "spec.toml";
const ENVIRONMENT: &str = "env.json";
const EVENTS: &str = "events.jsonl";
const TIMINGS: &str = "timings.jsonl";
const CHECKPOINTS: &str = "checkpoints";
const GENOTYPE_TEXT: &str = "genotype.txt";
const GENOTYPE_JSON: &str = "genotype.json";
const SPACE: &str = "space.toml";
const DONE: &str = "DONE";

/// A file that grows by whole lines.
#[derive(Debug)]
struct AppendFile {
    path: PathBuf,
    file: File,
    length: u64,
}

impl AppendFile {
    fn open(path: PathBuf) -> Result<AppendFile, RunError> {
        // Not in append mode: `cut` must be able to set where the next line goes, and the lock keeps others out.
        let open = || -> io::Result<(File, u64)> {
            let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(&path)?;
            let length = file.seek(SeekFrom::End(0))?;
            Ok((file, length))
        };
        let (file, length) = open().map_err(io_error("open", &path))?;
        Ok(AppendFile { path, file, length })
    }

    fn append(&mut self, line: &[u8]) -> Result<(), RunError> {
        let result = append_or_undo(&mut self.file, self.length, line);
        result.map_err(io_error("write", &self.path))?;
        self.length += line.len() as u64;
        Ok(())
    }

    fn cut(&mut self, length: u64) -> Result<(), RunError> {
        let cut = || -> io::Result<()> {
            self.file.set_len(length)?;
            (&self.file).seek(SeekFrom::Start(length))?;
            self.file.sync_all()
        };
        cut().map_err(io_error("truncate", &self.path))?;
        self.length = length;
        Ok(())
    }

    fn sync(&self) -> Result<(), RunError> {
        self.file.sync_all().map_err(io_error("write", &self.path))
    }
}

/// What an append needs of a file, so that a test can stand in for a full disk.
trait Appendable: Write + Seek {
    fn set_len(&mut self, length: u64) -> io::Result<()>;
}

impl Appendable for File {
    fn set_len(&mut self, length: u64) -> io::Result<()> {
        File::set_len(self, length)
    }
}

/// Writes at the end, or leaves the end where it was.
fn append_or_undo(file: &mut impl Appendable, length: u64, line: &[u8]) -> io::Result<()> {
    file.write_all(line).inspect_err(|_| {
        // Should even this fail, then recovery cuts the half line away.
        let _ = file.set_len(length);
        let _ = file.seek(SeekFrom::Start(length));
    })
}

/// Who has the lock, and when it counts as given up.
fn of_process(by: Option<&str>, free_in: Option<Duration>) -> String {
    let by = by.map_or(String::new(), |by| format!(" ({by})"));
    match free_in {
        None => by,
        Some(left) => format!("{by}; if that was killed, try again in {} min", left.as_secs().div_ceil(60).max(1)),
    }
}

/// The checkpoint to go on from, which the log must fit; changes nothing.
fn find_newest(view: &RunView) -> Result<Newest, RunError> {
    let (dir, log_path, spec) = (view.checkpoints_path(), view.events_path(), view.path.join(SPEC));
    let newest = match checkpoint::load_newest_valid(&dir) {
        Err(CheckpointError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Err(RunError::NoCheckpoint { problem: format!("`{}` is not there any more", shown(&dir)), spec });
        }
        newest => newest?,
    };
    let log = match std::fs::read(&log_path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Vec::new(),
        log => log.map_err(io_error("read", &log_path))?,
    };
    match &newest.found {
        Some((name, checkpoint)) => {
            let fits = log::check(&log, checkpoint.events_bytes, &checkpoint.events_lines)
                .and_then(|()| log::check_rest(&log, checkpoint.events_bytes));
            fits.map_err(|bad| RunError::Log {
                log: log_path,
                line: bad.line,
                problem: bad.problem,
                checkpoint: name.clone(),
                spec,
            })?;
        }
        None if !newest.passed_over.is_empty() => {
            let problem = match newest.passed_over.len() {
                1 => format!("the only checkpoint cannot be used, {}", newest.warnings[0]),
                n => format!("none of the {n} checkpoints can be used, {}", newest.warnings.join(", ")),
            };
            return Err(RunError::NoCheckpoint { problem, spec });
        }
        // A run that was stopped before its first checkpoint has written its first line at most.
        None if log::n_lines(&log) > 1 => {
            let problem =
                format!("`{}` holds no checkpoint, although `{}` tells of epochs", shown(&dir), shown(&log_path));
            return Err(RunError::NoCheckpoint { problem, spec });
        }
        None => {
            if let Err(bad) = log::check_rest(&log, 0) {
                let (dir, log) = (shown(&dir), shown(&log_path));
                let problem = format!("`{dir}` holds no checkpoint, and line {} of `{log}` {}", bad.line, bad.problem);
                return Err(RunError::NoCheckpoint { problem, spec });
            }
        }
    }
    Ok(newest)
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RunError + use<> {
    let path = path.to_path_buf();
    move |source| RunError::Io { action, path, source }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    atomic::write(path, bytes).map_err(io_error("write", path))
}

/// Clears unfinished files; only for the holder of the lock.
fn remove_temporaries(path: &Path) -> Result<(), RunError> {
    for dir in [path.to_path_buf(), path.join(CHECKPOINTS)] {
        match atomic::remove_temporaries(&dir) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            result => result.map_err(io_error("clean up", &dir))?,
        }
    }
    Ok(())
}

/// Refuses a path that a new run must not use.
fn refuse_occupied(path: &Path) -> Result<(), RunError> {
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(err) => return Err(io_error("create the run directory", path)(err)),
    };
    if path.join(FORMAT).exists() && path.join(SPEC).exists() {
        return Err(RunError::IsARun { path: path.to_path_buf() });
    }
    for entry in entries {
        let entry = entry.map_err(io_error("list", path))?;
        let name = entry.file_name();
        // A process that was killed before it wrote the spec leaves these, and they hold nothing.
        let is_empty = || std::fs::read_dir(entry.path()).is_ok_and(|mut inner| inner.next().is_none());
        let is_line_less = || std::fs::metadata(entry.path()).is_ok_and(|m| m.is_file() && m.len() == 0);
        // By what they hold, since others have files of these names.
        let holds = |is_ours: fn(&str) -> bool| {
            std::fs::read(entry.path()).is_ok_and(|bytes| is_ours(&String::from_utf8_lossy(&bytes)))
        };
        let is_ours = (name == LOCK && holds(lock::is_lock_text))
            || (name == OWNER && holds(lock::is_owner_text))
            || (name == FORMAT && holds(|text| text.is_empty() || text.starts_with(FORMAT_WORD)))
            || (name == CHECKPOINTS && is_empty())
            || ((name == EVENTS || name == TIMINGS) && is_line_less());
        if !is_ours && !atomic::is_temporary(&name) {
            let found = name.to_string_lossy().into_owned();
            return Err(RunError::NotEmpty { path: path.to_path_buf(), found });
        }
    }
    Ok(())
}

/// Refuses what is not a run directory, or one of a newer program.
fn check_format(path: &Path) -> Result<(), RunError> {
    let not_a_run = |problem: &str| RunError::NotARun { path: path.to_path_buf(), problem: problem.to_string() };
    if !path.exists() {
        return Err(not_a_run("there is no such directory"));
    }
    let file = path.join(FORMAT);
    let text = match std::fs::read(&file) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(err) if matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Err(not_a_run("it has no file `format`"));
        }
        Err(err) => return Err(io_error("read", &file)(err)),
    };
    let number = text.trim_end().strip_prefix(FORMAT_WORD).and_then(|rest| rest.trim().parse::<u32>().ok());
    match number {
        None => Err(not_a_run("its file `format` does not say `rdarts-run` and a number")),
        Some(found) if found > RUN_FORMAT => Err(RunError::TooNew { path: path.to_path_buf(), found }),
        Some(_) if !path.join(SPEC).exists() => Err(not_a_run("it has no file `spec.toml`")),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::checkpoint::Tensor;
    use crate::event::tests::epoch;

    fn spec() -> SearchSpec {
        SearchSpec::resolve(Some("demo"), None, &[]).unwrap()
    }

    /// A run directory within a directory that is removed at the end.
    fn new_run() -> (tempfile::TempDir, PathBuf, RunDir) {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("runs/first");
        let run = RunDir::create(&path, &spec()).unwrap();
        (parent, path, run)
    }

    fn state(epoch: usize) -> Checkpoint {
        let tensors = BTreeMap::from([("w".to_string(), Tensor::f32([2], vec![epoch as f32, 0.5]))]);
        Checkpoint { events_bytes: 0, events_lines: String::new(), state: json!({ "epoch": epoch }), tensors }
    }

    fn name(sequence: u64, epoch: usize) -> CheckpointName {
        CheckpointName { sequence, epoch, step: None }
    }

    /// Epochs as a search would run them, from `from` on.
    fn search(run: &mut RunDir, from: usize, to: usize) {
        for index in from..to {
            run.append_event(&epoch(index)).unwrap();
            run.save_checkpoint(&name(10 * (index as u64 + 1), index), state(index)).unwrap();
        }
    }

    fn entries(path: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            std::fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_run_has_its_spec_and_reads_back() {
        let (_parent, path, run) = new_run();
        assert_eq!(
            entries(&path),
            ["checkpoints", "events.jsonl", "format", "lock", "owner", "spec.toml", "timings.jsonl"]
        );
        assert_eq!(std::fs::read_to_string(path.join("format")).unwrap(), "rdarts-run 1\n");
        assert!(run.warnings().is_empty());
        let view = RunView::open(&path).unwrap();
        assert_eq!(view.spec(), &spec());
        assert_eq!((view.events().unwrap(), view.genotype().unwrap(), view.is_done()), (vec![], None, false));
        assert_eq!(view.environment().unwrap(), None);
    }

    #[test]
    fn a_resumed_search_leaves_the_same_bytes_as_one_that_ran_through() {
        let (_parent, through_path, mut through) = new_run();
        search(&mut through, 0, 4);

        let (_parent, path, mut run) = new_run();
        search(&mut run, 0, 2);
        // Killed after an event, within the next one, before its checkpoint.
        run.append_event(&epoch(2)).unwrap();
        drop(run);
        let mut file = OpenOptions::new().append(true).open(path.join("events.jsonl")).unwrap();
        file.write_all(b"{\"event\":\"epo").unwrap();
        std::fs::write(path.join("checkpoints/.unfinished-1"), b"half").unwrap();
        std::fs::write(path.join(".unfinished-2"), b"half").unwrap();

        let mut run = RunDir::open(&path).unwrap();
        let recovered = run.recover().unwrap();
        assert!(recovered.warnings.is_empty());
        let (found, checkpoint) = recovered.checkpoint.unwrap();
        assert_eq!((found, &checkpoint.state), (name(20, 1), &json!({ "epoch": 1 })));
        assert_eq!(run.events_bytes(), checkpoint.events_bytes);
        search(&mut run, 2, 4);

        assert_eq!(entries(&path), entries(&through_path));
        let checkpoints = entries(&path.join("checkpoints"));
        assert_eq!(checkpoints, entries(&through_path.join("checkpoints")));
        let files = checkpoints.iter().map(|name| format!("checkpoints/{name}"));
        for file in files.chain(["events.jsonl".to_string(), "spec.toml".to_string()]) {
            assert_eq!(
                std::fs::read(path.join(&file)).unwrap(),
                std::fs::read(through_path.join(&file)).unwrap(),
                "{file}"
            );
        }
    }

    #[test]
    fn recovery_passes_over_damaged_checkpoints_and_sets_them_aside() {
        let (_parent, path, mut run) = new_run();
        search(&mut run, 0, 3);
        drop(run);
        let damaged = path.join("checkpoints").join(name(30, 2).file_name());
        std::fs::write(&damaged, b"{}").unwrap();

        let mut run = RunDir::open(&path).unwrap();
        let recovered = run.recover().unwrap();
        assert_eq!(recovered.checkpoint.unwrap().0, name(20, 1));
        let sentence = format!("the checkpoint `{}` is damaged: it is shorter than any checkpoint", damaged.display());
        assert_eq!(recovered.warnings, [sentence]);
        assert_eq!(run.view().events().unwrap(), [epoch(0), epoch(1)]);
        assert_eq!(run.view().checkpoints().unwrap(), [name(20, 1), name(10, 0)]);
        assert!(path.join("checkpoints/00000030-epoch-2.safetensors.damaged").exists());
        search(&mut run, 2, 3);
        assert_eq!(run.view().events().unwrap(), [epoch(0), epoch(1), epoch(2)]);
    }

    /// All files of a directory and its bytes, the lock aside.
    fn contents(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut all = BTreeMap::new();
        for entry in std::fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                all.extend(contents(&path));
            } else if !path.ends_with(LOCK) {
                all.insert(path.clone(), std::fs::read(path).unwrap());
            }
        }
        all
    }

    #[track_caller]
    fn check_refused(path: &Path, sentence: &str) {
        let before = contents(path);
        let had_lock = path.join(LOCK).exists();
        let err = RunDir::open(path).unwrap_err();
        assert_eq!((err.to_string().as_str(), err.is_system()), (sentence, false));
        assert!(contents(path) == before && path.join(LOCK).exists() == had_lock, "something was changed");
    }

    #[test]
    fn a_log_that_does_not_fit_its_checkpoint_is_named_with_its_line_and_nothing_is_changed() {
        let (_parent, path, mut run) = new_run();
        search(&mut run, 0, 3);
        drop(run);
        let log = path.join("events.jsonl");
        let sentence = |line: usize, problem: &str| {
            let (log, path) = (log.display(), path.display());
            format!(
                "`{log}`, line {line}, {problem}, so the log does not fit the checkpoint 00000030-epoch-2: put the file \
                 back as it was written, or begin a new search with `rdarts search {path}/spec.toml`"
            )
        };
        let whole = std::fs::read_to_string(&log).unwrap();
        let lines: Vec<&str> = whole.split_inclusive('\n').collect();
        for (text, line, problem) in [
            (whole.replace('\n', "\r\n"), 1, "has the line end of another system (CR LF)"),
            (format!("\u{feff}{whole}"), 1, "is not as it was written"),
            (whole[..whole.len() - 1].to_string(), 3, "is cut short"),
            (lines[..2].concat(), 3, "is missing"),
            (lines[1..].concat(), 1, "is not as it was written"),
            (String::new(), 1, "is missing"),
            // One digit, which keeps the length and is as good a number.
            ([lines[0], &lines[1].replace("0.025", "0.026"), lines[2]].concat(), 2, "is not as it was written"),
        ] {
            std::fs::write(&log, text).unwrap();
            check_refused(&path, &sentence(line, problem));
        }
        std::fs::remove_file(&log).unwrap();
        std::fs::remove_file(path.join(LOCK)).unwrap();
        check_refused(&path, &sentence(1, "is missing"));
        // Put back, it goes on, and lines after the checkpoint's are cut as ever.
        std::fs::write(&log, format!("{whole}half")).unwrap();
        let mut run = RunDir::open(&path).unwrap();
        assert_eq!(run.recover().unwrap().checkpoint.unwrap().0, name(30, 2));
        assert_eq!(std::fs::read_to_string(&log).unwrap(), whole);
    }

    #[test]
    fn a_checkpoint_of_format_1_is_gone_on_from() {
        let (_parent, path, mut run) = new_run();
        search(&mut run, 0, 2);
        drop(run);
        let file = path.join("checkpoints").join(name(20, 1).file_name());
        let checkpoint = Checkpoint::load(&file).unwrap();
        assert_eq!(checkpoint.events_lines.len(), 16);
        std::fs::write(&file, checkpoint::tests::format_1(&checkpoint)).unwrap();
        let log = path.join("events.jsonl");
        let whole = std::fs::read_to_string(&log).unwrap();
        std::fs::write(&log, whole.replace('\n', "\r\n")).unwrap();
        let err = RunDir::open(&path).unwrap_err().to_string();
        assert!(err.contains("line 1, has the line end of another system (CR LF), so the log does not fit"), "{err}");
        std::fs::write(&log, &whole).unwrap();
        let mut run = RunDir::open(&path).unwrap();
        assert_eq!(run.recover().unwrap().checkpoint.unwrap().0, name(20, 1));
        search(&mut run, 2, 3);
        drop(run);
        // What is saved from now on knows all lines, as if it had from the beginning.
        let (_other, through_path, mut through) = new_run();
        search(&mut through, 0, 3);
        let newest = Path::new("checkpoints").join(name(30, 2).file_name());
        assert!(std::fs::read(path.join(&newest)).unwrap() == std::fs::read(through_path.join(&newest)).unwrap());
    }

    #[test]
    fn without_a_usable_checkpoint_a_search_that_had_begun_does_not_start_over() {
        let (_parent, path, mut run) = new_run();
        search(&mut run, 0, 2);
        drop(run);
        let checkpoints = path.join("checkpoints");
        let new = format!("begin a new search with `rdarts search {}/spec.toml`", path.display());
        let damaged = |index: u64| {
            let file = checkpoints.join(name(10 * index, index as usize - 1).file_name());
            format!("the checkpoint `{}` is damaged: it is shorter than any checkpoint", file.display())
        };
        for index in [1, 2] {
            std::fs::write(checkpoints.join(name(10 * index, index as usize - 1).file_name()), b"").unwrap();
        }
        check_refused(&path, &format!("none of the 2 checkpoints can be used, {}, {}: {new}", damaged(2), damaged(1)));
        std::fs::remove_file(checkpoints.join(name(20, 1).file_name())).unwrap();
        check_refused(&path, &format!("the only checkpoint cannot be used, {}: {new}", damaged(1)));
        std::fs::remove_file(checkpoints.join(name(10, 0).file_name())).unwrap();
        let log = path.join("events.jsonl");
        let problem =
            format!("`{}` holds no checkpoint, although `{}` tells of epochs", checkpoints.display(), log.display());
        check_refused(&path, &format!("{problem}: {new}"));
        std::fs::remove_dir(&checkpoints).unwrap();
        check_refused(&path, &format!("`{}` is not there any more: {new}", checkpoints.display()));
    }

    #[test]
    fn a_run_that_was_stopped_before_its_first_checkpoint_starts_from_the_beginning() {
        for half in ["", "{\"event\":\"star"] {
            let (_parent, path, mut run) = new_run();
            run.append_event(&epoch(0)).unwrap();
            drop(run);
            let log = path.join("events.jsonl");
            std::fs::write(&log, std::fs::read_to_string(&log).unwrap() + half).unwrap();
            let mut run = RunDir::open(&path).unwrap();
            assert!(run.recover().unwrap().checkpoint.is_none());
            assert_eq!(std::fs::read(&log).unwrap(), b"");
            search(&mut run, 0, 1);
            assert_eq!(run.view().events().unwrap(), [epoch(0)]);
        }
    }

    #[test]
    fn a_reservation_that_is_not_filled_leaves_nothing_behind() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("runs/a/b");
        let reservation = Reservation::new(&path).unwrap();
        assert_eq!(
            (reservation.path(), entries(&path)),
            (path.as_path(), vec!["lock".to_string(), "owner".to_string()])
        );
        // Another search is told who is there, and takes nothing away.
        let err = Reservation::new(&path).unwrap_err().to_string();
        assert!(err.contains("is locked by another process (process "), "{err}");
        assert_eq!(entries(&path), ["lock", "owner"]);
        drop(reservation);
        assert!(entries(parent.path()).is_empty());
        // What was there stays.
        std::fs::create_dir_all(parent.path().join("runs/other")).unwrap();
        drop(Reservation::new(&path).unwrap());
        assert_eq!(entries(&parent.path().join("runs")), ["other"]);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("lock"), b"").unwrap();
        drop(Reservation::new(&path).unwrap());
        assert_eq!(entries(&path), ["lock"]);
        // A spec that is none is refused before it is written.
        let mut wrong = spec();
        wrong.search.batch = 1;
        let other = parent.path().join("c");
        assert!(Reservation::new(&other).unwrap().fill(&wrong).is_err());
        assert!(!other.exists());
        assert!(Reservation::new(Path::new("")).unwrap_err().to_string().starts_with("the name of the run directory"));
        drop(Reservation::new(&other).unwrap().fill(&spec()).unwrap());
        assert!(RunView::open(&other).is_ok());
    }

    #[test]
    fn a_reservation_fails_where_the_system_or_a_file_is_in_the_way() {
        let parent = tempfile::tempdir().unwrap();
        // The directory that the spec must become a file in holds one of that name.
        let path = parent.path().join("run");
        let reservation = Reservation::new(&path).unwrap();
        std::fs::create_dir_all(path.join("spec.toml/x")).unwrap();
        let err = reservation.fill(&spec()).unwrap_err();
        assert!(err.to_string().starts_with(&format!("cannot write `{}/spec.toml`: ", path.display())), "{err}");
        assert_eq!(entries(&path), ["spec.toml"]);
        let err = Reservation::new(Path::new("/proc/run")).unwrap_err();
        assert!(err.to_string().starts_with("cannot create the run directory `/proc/run`: "), "{err}");
    }

    #[test]
    fn what_keeps_a_search_from_writing_is_told_with_what_goes_on() {
        let file = Path::new("a run/events.jsonl");
        for (code, remedy) in [
            (28, "free some space on that disk"),
            (122, "free some of your quota there"),
            (27, "raise the limit of the size of files (`ulimit -f`)"),
            (5, "once that is mended"),
        ] {
            let source = io::Error::from_raw_os_error(code);
            let expected =
                format!("cannot write `a run/events.jsonl`: {source}: {remedy}, then `rdarts resume 'a run'` goes on");
            let err = io_error("write", file)(source).stopped(Path::new("a run"));
            assert_eq!((err.to_string(), err.is_system()), (expected, true));
        }
        let err = RunError::Finished { path: "x".into() }.stopped(Path::new("x"));
        assert!(matches!(err, RunError::Finished { .. }));
    }

    #[test]
    fn where_there_are_no_locks_a_run_that_was_taken_over_is_not_written_to() {
        let (_parent, path, run) = new_run();
        drop(run);
        let means = Means {
            lock: std::sync::Arc::new(|_| Err(std::fs::TryLockError::Error(io::Error::from_raw_os_error(37)))),
            ..Means::system()
        };
        let mut run = RunDir::open_with(&path, &means).unwrap();
        assert_eq!(run.warnings().len(), 1);
        run.append_event(&epoch(0)).unwrap();
        std::fs::write(path.join(OWNER), b"another").unwrap();
        let before = contents(&path);
        let sentence = format!(
            "the run in `{}` was taken over by another process, which goes on with it: this one ends",
            path.display()
        );
        assert_eq!(run.append_event(&epoch(1)).unwrap_err().to_string(), sentence);
        assert_eq!(run.save_checkpoint(&name(10, 0), state(0)).unwrap_err().to_string(), sentence);
        drop(run);
        assert!(contents(&path) == before);
    }

    #[test]
    fn names_with_control_characters_stay_on_one_line() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a\nb");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("x\x1by"), b"").unwrap();
        let err = RunDir::create(&path, &spec()).unwrap_err().to_string();
        let shown = format!("{}/a\\nb", parent.path().display());
        assert_eq!(err, format!("`{shown}` is not empty (it holds `x\\u{{1b}}y`): name a new directory for the run"));
    }

    #[test]
    fn a_half_written_duration_does_not_run_into_the_next() {
        let (_parent, path, mut run) = new_run();
        let timing = Timing { attempt: 0, epoch: 0, seconds: BTreeMap::from([("weights".to_string(), 0.1)]) };
        run.append_timing(&timing).unwrap();
        drop(run);
        let mut file = OpenOptions::new().append(true).open(path.join("timings.jsonl")).unwrap();
        file.write_all(b"{\"att").unwrap();
        let mut run = RunDir::open(&path).unwrap();
        run.append_timing(&timing).unwrap();
        assert_eq!(run.view().timings().unwrap(), [timing.clone(), timing]);
    }

    #[test]
    fn a_finished_run_is_whole_and_not_resumed() {
        let (_parent, path, mut run) = new_run();
        search(&mut run, 0, 1);
        let environment = Environment::detect(2, "portable");
        run.write_environment(&environment).unwrap();
        run.write_genotype("genotype text\n", &json!({ "normal": [1] })).unwrap();
        let timing = Timing { attempt: 0, epoch: 0, seconds: BTreeMap::from([("weights".to_string(), 0.1)]) };
        run.append_timing(&timing).unwrap();
        run.mark_done("all epochs done").unwrap();
        drop(run);

        let view = RunView::open(&path).unwrap();
        assert!(view.is_done());
        assert_eq!(view.genotype().unwrap().as_deref(), Some("genotype text"));
        assert_eq!(view.environment().unwrap(), Some(environment));
        assert_eq!(view.timings().unwrap(), [timing]);
        assert_eq!(std::fs::read_to_string(path.join("DONE")).unwrap(), "all epochs done\n");
        let json = std::fs::read_to_string(path.join("genotype.json")).unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap(), json!({ "normal": [1] }));
        let err = RunDir::open(&path).unwrap_err().to_string();
        assert_eq!(err, format!("the run in `{}` has finished, there is nothing to resume", path.display()));
        assert_eq!(view.events().unwrap(), [epoch(0)]);
    }

    #[test]
    fn a_second_process_is_refused_while_the_first_works() {
        let (_parent, path, run) = new_run();
        let start =
            format!("the run in `{}` is locked by another process (process {} on ", path.display(), std::process::id());
        let err = RunDir::open(&path).unwrap_err();
        assert!(err.to_string().starts_with(&start) && !err.is_system(), "{err}");
        // Reading needs no lock.
        assert!(RunView::open(&path).is_ok());
        std::fs::write(path.join("lock"), b"?").unwrap();
        let err = RunDir::open(&path).unwrap_err().to_string();
        assert_eq!(err, format!("the run in `{}` is locked by another process", path.display()));
        drop(run);
        assert!(RunDir::open(&path).is_ok());
    }

    #[test]
    fn create_refuses_directories_that_hold_something() {
        let (_parent, path, run) = new_run();
        drop(run);
        let shown = path.display();
        let err = RunDir::create(&path, &spec()).unwrap_err().to_string();
        assert_eq!(
            err,
            format!("`{shown}` already holds a run: go on with `rdarts resume {shown}` or name a new directory")
        );

        let other = tempfile::tempdir().unwrap();
        std::fs::write(other.path().join("thesis.tex"), b"x").unwrap();
        let err = RunDir::create(other.path(), &spec()).unwrap_err().to_string();
        let shown = other.path().display();
        assert_eq!(err, format!("`{shown}` is not empty (it holds `thesis.tex`): name a new directory for the run"));
        // Nothing of ours was put there.
        assert_eq!(entries(other.path()), ["thesis.tex"]);
    }

    #[test]
    fn create_uses_an_empty_directory_and_what_a_kill_before_the_spec_left() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("checkpoints")).unwrap();
        for file in ["lock", "format", ".unfinished-1"] {
            std::fs::write(dir.path().join(file), b"").unwrap();
        }
        drop(RunDir::create(dir.path(), &spec()).unwrap());
        assert!(!entries(dir.path()).contains(&".unfinished-1".to_string()));
        assert!(RunView::open(dir.path()).is_ok());
    }

    #[test]
    fn create_fails_early_where_nothing_can_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, b"x").unwrap();
        let err = RunDir::create(&file, &spec()).unwrap_err().to_string();
        assert!(err.starts_with(&format!("cannot create the run directory `{}`: ", file.display())), "{err}");
        let below = file.join("run");
        let err = RunDir::create(&below, &spec()).unwrap_err().to_string();
        assert!(err.starts_with(&format!("cannot create the run directory `{}`: ", below.display())), "{err}");

        let mut wrong = spec();
        wrong.search.batch = 1;
        let path = dir.path().join("run");
        let err = RunDir::create(&path, &wrong).unwrap_err().to_string();
        assert_eq!(err, "spec: `search.batch` is 1, but must be a whole number from 2 to 65536");
        assert!(!path.exists());
    }

    #[test]
    fn other_directories_and_newer_runs_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let shown = dir.path().display().to_string();
        #[track_caller]
        fn check(path: &Path, sentence: String) {
            assert_eq!(RunDir::open(path).unwrap_err().to_string(), sentence);
            assert_eq!(RunView::open(path).unwrap_err().to_string(), sentence);
        }
        check(
            Path::new("/no/such/run"),
            "`/no/such/run` is not a run directory of rdarts: there is no such directory".to_string(),
        );
        check(dir.path(), format!("`{shown}` is not a run directory of rdarts: it has no file `format`"));
        std::fs::write(dir.path().join("format"), b"something else").unwrap();
        check(
            dir.path(),
            format!(
                "`{shown}` is not a run directory of rdarts: its file `format` does not say `rdarts-run` and a number"
            ),
        );
        std::fs::write(dir.path().join("format"), b"rdarts-run 1\n").unwrap();
        check(dir.path(), format!("`{shown}` is not a run directory of rdarts: it has no file `spec.toml`"));
        std::fs::write(dir.path().join("format"), b"rdarts-run 2\n").unwrap();
        check(dir.path(), format!("`{shown}` has format 2, and this program knows up to 1; use a newer rdarts"));
        // Looking at a foreign directory leaves nothing there.
        assert_eq!(entries(dir.path()), ["format"]);
    }

    #[test]
    fn a_changed_spec_names_its_file_and_line() {
        let (_parent, path, run) = new_run();
        drop(run);
        let file = path.join("spec.toml");
        let text = std::fs::read_to_string(&file).unwrap().replace("momentum = ", "momentun = ");
        let line = 1 + text.lines().position(|line| line.starts_with("momentun")).unwrap();
        std::fs::write(&file, text).unwrap();
        let err = RunDir::open(&path).unwrap_err().to_string();
        let key = "unknown key `weights.momentun`; did you mean `weights.momentum`?";
        assert_eq!(err, format!("{}, line {line}: {key}", file.display()));
    }

    #[test]
    fn checkpoints_only_grow_and_the_same_number_is_replaced() {
        let (_parent, _path, mut run) = new_run();
        search(&mut run, 0, 2);
        let err = run.save_checkpoint(&name(15, 0), state(0)).unwrap_err().to_string();
        assert!(err.starts_with("the checkpoint 00000015-epoch-0 would not be the newest in `"), "{err}");
        assert!(err.ends_with("`, where 00000020-epoch-1 is"), "{err}");
        // A stop within an epoch, right at its end, and then the end itself.
        let stopped = CheckpointName { sequence: 30, epoch: 2, step: Some(10) };
        run.save_checkpoint(&stopped, state(2)).unwrap();
        run.save_checkpoint(&name(30, 2), state(3)).unwrap();
        assert_eq!(run.view().checkpoints().unwrap(), [name(30, 2), name(20, 1), name(10, 0)]);
        assert_eq!(run.view().load_checkpoint(&name(30, 2)).unwrap().state, json!({ "epoch": 3 }));
        assert_eq!(run.prune_checkpoints(|name| name.epoch == 0).unwrap(), [name(20, 1)]);
        assert_eq!(run.view().checkpoints().unwrap(), [name(30, 2), name(10, 0)]);
    }

    /// A file on a disk that is full after so many bytes.
    struct FullDisk {
        bytes: io::Cursor<Vec<u8>>,
        capacity: usize,
    }

    impl Write for FullDisk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let room = self.capacity - self.bytes.get_ref().len();
            if room == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.bytes.write(&bytes[..room.min(bytes.len())])
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Seek for FullDisk {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.bytes.seek(to)
        }
    }

    impl Appendable for FullDisk {
        fn set_len(&mut self, length: u64) -> io::Result<()> {
            self.bytes.get_mut().truncate(length as usize);
            Ok(())
        }
    }

    #[test]
    fn an_event_that_meets_a_full_disk_leaves_no_half_line() {
        let mut disk = FullDisk { bytes: io::Cursor::new(Vec::new()), capacity: 10 };
        append_or_undo(&mut disk, 0, b"first\n").unwrap();
        let err = append_or_undo(&mut disk, 6, b"second\n").unwrap_err();
        assert_eq!(err.kind(), io::ErrorKind::StorageFull);
        assert_eq!(disk.bytes.get_ref(), b"first\n");
        // There is room again: the next line goes where the half one was.
        disk.capacity = 20;
        append_or_undo(&mut disk, 6, b"second\n").unwrap();
        assert_eq!(disk.bytes.get_ref(), b"first\nsecond\n");
    }
}
