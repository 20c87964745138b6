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
//! lock                    held by the process that works here; the text is its process number
//! ```
//!
//! Invariants: one process writes at a time; every file except the two appended ones is replaced as a whole; a
//! failed append is taken back; each checkpoint records how many bytes of `events.jsonl` belong to it, and
//! [`RunDir::recover`] cuts the file there, so that a resumed search goes on as if nothing had happened.
//!
//! [`RunView`] reads, also while a search is running; [`RunDir`] holds the lock and writes.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::atomic;
use crate::checkpoint::{self, Checkpoint, CheckpointError, CheckpointName};
use crate::event::{self, Event, EventError, LastLine, Timing};
use crate::spec::{SearchSpec, SpecError};

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
    timings: AppendFile,
    warnings: Vec<String>,
    /// Dropping the file gives the lock back.
    _lock: File,
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
    #[error("`{}` is not a run directory of rdarts: {problem}", path.display())]
    NotARun {
        /// The directory.
        path: PathBuf,
        /// What shows it.
        problem: String,
    },
    /// A new run needs an empty directory.
    #[error("`{}` is not empty (it holds `{found}`): name a new directory for the run", path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
        /// One of the entries.
        found: String,
    },
    /// There is a run already.
    #[error(
        "`{shown}` already holds a run: go on with `rdarts resume {shown}` or name a new directory",
        shown = path.display()
    )]
    IsARun {
        /// The directory.
        path: PathBuf,
    },
    /// The run has ended.
    #[error("the run in `{}` has finished, there is nothing to resume", path.display())]
    Finished {
        /// The directory.
        path: PathBuf,
    },
    /// Another process works in the directory.
    #[error("the run in `{}` is locked by another process{}", path.display(), process(*pid))]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The number of the process, if the lock file tells it.
        pid: Option<u32>,
    },
    /// A newer program made the directory.
    #[error("`{}` has format {found}, and this program knows up to {RUN_FORMAT}; use a newer rdarts", path.display())]
    TooNew {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The names of checkpoints must grow.
    #[error("the checkpoint {name} would not be the newest in `{}`, where {newest} is", path.display())]
    OldSequence {
        /// The directory of the checkpoints.
        path: PathBuf,
        /// The name that was refused.
        name: CheckpointName,
        /// The newest one.
        newest: CheckpointName,
    },
    /// The system cannot do it.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
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

impl RunView {
    /// Opens a run directory for reading.
    pub fn open(path: &Path) -> Result<RunView, RunError> {
        check_format(path)?;
        let spec_path = path.join(SPEC);
        let text = std::fs::read_to_string(&spec_path).map_err(io_error("read", &spec_path))?;
        let spec = SearchSpec::from_complete(&spec_path.display().to_string(), &text)?;
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
        serde_json::from_str(&text).map(Some).map_err(|err| io_error("read", &path)(err.into()))
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
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(io_error("read", &path)(e)),
        }
    }

    /// The genotype that was found, as text; `None` while the search runs.
    pub fn genotype(&self) -> Result<Option<String>, RunError> {
        let path = self.path.join(GENOTYPE_TEXT);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text.trim_end().to_string())),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(err) => Err(io_error("read", &path)(err)),
        }
    }

    /// Whether the search has finished.
    pub fn is_done(&self) -> bool {
        self.path.join(DONE).exists()
    }
}

impl RunDir {
    /// Makes a new run directory and takes its lock; fails before any work if that cannot be done.
    pub fn create(path: &Path, spec: &SearchSpec) -> Result<RunDir, RunError> {
        spec.validate()?;
        refuse_occupied(path)?;
        std::fs::create_dir_all(path).map_err(io_error("create", path))?;
        let (lock, warnings) = take_lock(path)?;
        // Another process may have come first between the look and the lock.
        refuse_occupied(path)?;
        remove_temporaries(path)?;
        let checkpoints = path.join(CHECKPOINTS);
        std::fs::create_dir_all(&checkpoints).map_err(io_error("create", &checkpoints))?;
        write(&path.join(FORMAT), format!("{FORMAT_WORD} {RUN_FORMAT}\n").as_bytes())?;
        write(&path.join(SPEC), spec.to_toml().as_bytes())?;
        let view = RunView { path: path.to_path_buf(), spec: spec.clone() };
        RunDir::with_lock(view, lock, warnings)
    }

    /// Opens a run directory for going on, takes its lock and clears away what a killed writer left half-written.
    ///
    /// The events are not touched; [`RunDir::recover`] brings them and the state together.
    pub fn open(path: &Path) -> Result<RunDir, RunError> {
        check_format(path)?;
        let (lock, warnings) = take_lock(path)?;
        remove_temporaries(path)?;
        let view = RunView::open(path)?;
        RunDir::with_lock(view, lock, warnings)
    }

    fn with_lock(view: RunView, lock: File, warnings: Vec<String>) -> Result<RunDir, RunError> {
        let events = AppendFile::open(view.events_path())?;
        let mut timings = AppendFile::open(view.timings_path())?;
        // Nothing ever cuts the durations back, so a half line of a killed writer would run into the next one.
        let bytes = std::fs::read(&timings.path).map_err(io_error("read", &timings.path))?;
        let whole = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |at| at as u64 + 1);
        if whole < timings.length {
            timings.cut(whole)?;
        }
        atomic::sync_dir(&view.path).map_err(io_error("write", &view.path))?;
        Ok(RunDir { view, events, timings, warnings, _lock: lock })
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
        &self.warnings
    }

    /// Finds the state to go on from and cuts `events.jsonl` to what belongs to it.
    ///
    /// Newer checkpoints that cannot be used are renamed to `*.damaged`. Without any usable checkpoint the events are
    /// emptied and the search starts from the beginning.
    pub fn recover(&mut self) -> Result<Recovered, RunError> {
        if self.view.is_done() {
            return Err(RunError::Finished { path: self.view.path.clone() });
        }
        let dir = self.view.checkpoints_path();
        let n_bytes = self.events.length;
        let events = std::fs::read(self.view.events_path()).map_err(io_error("read", &self.events.path))?;
        let newest = checkpoint::load_newest_where(&dir, |checkpoint| {
            let wanted = checkpoint.events_bytes;
            if wanted > n_bytes {
                return Err(format!("it belongs to {wanted} bytes of {EVENTS}, which has {n_bytes}"));
            }
            let ends_line = wanted == 0 || events.get(wanted as usize - 1) == Some(&b'\n');
            if ends_line { Ok(()) } else { Err(format!("byte {wanted} of {EVENTS} is not the end of a line")) }
        })?;
        for name in &newest.passed_over {
            let path = dir.join(name.file_name());
            let aside = dir.join(format!("{}.damaged", name.file_name()));
            std::fs::rename(&path, &aside).map_err(io_error("rename", &path))?;
        }
        atomic::sync_dir(&dir).map_err(io_error("write", &dir))?;
        self.events.cut(newest.found.as_ref().map_or(0, |(_, checkpoint)| checkpoint.events_bytes))?;
        Ok(Recovered { checkpoint: newest.found, warnings: newest.warnings })
    }

    /// Appends an event; on failure the file is as before.
    pub fn append_event(&mut self, event: &Event) -> Result<(), RunError> {
        self.events.append(event::to_line(event).as_bytes())
    }

    /// Appends a duration; on failure the file is as before.
    pub fn append_timing(&mut self, timing: &Timing) -> Result<(), RunError> {
        self.timings.append(event::to_line(timing).as_bytes())
    }

    /// Length of `events.jsonl` in bytes.
    pub fn events_bytes(&self) -> u64 {
        self.events.length
    }

    /// Writes a checkpoint of the present state; its `events_bytes` is filled in here.
    ///
    /// A checkpoint of the same sequence number is replaced, an older number is refused.
    pub fn save_checkpoint(&mut self, name: &CheckpointName, mut checkpoint: Checkpoint) -> Result<(), RunError> {
        let dir = self.view.checkpoints_path();
        let others = checkpoint::list(&dir)?;
        if let Some(newest) = others.first().filter(|newest| newest.sequence > name.sequence) {
            return Err(RunError::OldSequence { path: dir, name: name.clone(), newest: newest.clone() });
        }
        // The events must be on the disk before a checkpoint counts on them.
        self.events.sync()?;
        checkpoint.events_bytes = self.events.length;
        checkpoint.save(&dir.join(name.file_name()))?;
        for other in others.iter().filter(|other| other.sequence == name.sequence && *other != name) {
            let path = dir.join(other.file_name());
            std::fs::remove_file(&path).map_err(io_error("delete", &path))?;
        }
        Ok(())
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
        write(&self.view.path.join(ENVIRONMENT), text.as_bytes())
    }

    /// Writes what was found, as text and as JSON.
    pub fn write_genotype(&mut self, text: &str, json: &serde_json::Value) -> Result<(), RunError> {
        write(&self.view.path.join(GENOTYPE_JSON), format!("{json:#}\n").as_bytes())?;
        write(&self.view.path.join(GENOTYPE_TEXT), format!("{}\n", text.trim_end()).as_bytes())
    }

    /// Records the search space, so that a later change of its file cannot change this run.
    pub fn write_space(&mut self, text: &str) -> Result<(), RunError> {
        write(&self.view.path.join(SPACE), text.as_bytes())
    }

    /// Marks the run as finished; the last thing that is written.
    pub fn mark_done(&mut self, reason: &str) -> Result<(), RunError> {
        self.events.sync()?;
        self.timings.sync()?;
        write(&self.view.path.join(DONE), format!("{}\n", reason.trim_end()).as_bytes())
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
const LOCK: &str = "lock";

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

fn process(pid: Option<u32>) -> String {
    pid.map_or(String::new(), |pid| format!(" (process {pid})"))
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
        let is_ours = name == LOCK || name == FORMAT || (name == CHECKPOINTS && is_empty());
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

/// Takes the lock of a directory, and gives warnings where the file system has no locks.
fn take_lock(path: &Path) -> Result<(File, Vec<String>), RunError> {
    let lock_path = path.join(LOCK);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&lock_path)
        .map_err(io_error("write", &lock_path))?;
    let mut warnings = Vec::new();
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // Some systems do not let a locked file be read; then the number stays unknown.
            let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            return Err(RunError::Locked { path: path.to_path_buf(), pid });
        }
        Err(TryLockError::Error(err)) if err.kind() == io::ErrorKind::Unsupported => {
            // Network file systems without locks are common on clusters, so this is not a reason to stop.
            let path = path.display();
            warnings.push(format!("the file system of `{path}` has no locks: start only one process in it"));
        }
        Err(TryLockError::Error(err)) => return Err(io_error("lock", &lock_path)(err)),
    }
    let mut record = || -> io::Result<()> {
        file.set_len(0)?;
        file.write_all(format!("{}\n", std::process::id()).as_bytes())
    };
    record().map_err(io_error("write", &lock_path))?;
    Ok((file, warnings))
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
        Checkpoint { events_bytes: 0, state: json!({ "epoch": epoch }), tensors }
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
        assert_eq!(entries(&path), ["checkpoints", "events.jsonl", "format", "lock", "spec.toml", "timings.jsonl"]);
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

    #[test]
    fn recovery_does_not_use_a_checkpoint_whose_events_are_lost() {
        let (_parent, path, mut run) = new_run();
        search(&mut run, 0, 3);
        let n_bytes = run.events_bytes();
        drop(run);
        // The last line lost its end, so only two checkpoints have all of their events.
        let events = std::fs::read(path.join("events.jsonl")).unwrap();
        std::fs::write(path.join("events.jsonl"), &events[..events.len() - 1]).unwrap();
        let mut run = RunDir::open(&path).unwrap();
        let recovered = run.recover().unwrap();
        assert_eq!(recovered.checkpoint.unwrap().0, name(20, 1));
        let tail = format!("cannot be used: it belongs to {n_bytes} bytes of events.jsonl, which has {}", n_bytes - 1);
        assert!(recovered.warnings[0].ends_with(&tail), "{:?}", recovered.warnings);
        assert_eq!(run.view().events().unwrap(), [epoch(0), epoch(1)]);
        drop(run);

        // A changed file, in which the recorded length is in the middle of a line.
        let events = std::fs::read(path.join("events.jsonl")).unwrap();
        let changed = String::from_utf8(events).unwrap().replace("0.025", "0.02501234");
        std::fs::write(path.join("events.jsonl"), changed).unwrap();
        let mut run = RunDir::open(&path).unwrap();
        let recovered = run.recover().unwrap();
        assert!(recovered.checkpoint.is_none());
        assert!(
            recovered.warnings[0].ends_with("of events.jsonl is not the end of a line"),
            "{:?}",
            recovered.warnings
        );
        assert_eq!(run.events_bytes(), 0);
    }

    #[test]
    fn without_a_checkpoint_recovery_starts_from_the_beginning() {
        let (_parent, path, mut run) = new_run();
        run.append_event(&epoch(0)).unwrap();
        drop(run);
        let mut run = RunDir::open(&path).unwrap();
        assert!(run.recover().unwrap().checkpoint.is_none());
        assert_eq!(run.view().events().unwrap(), []);
        assert_eq!(std::fs::read(path.join("events.jsonl")).unwrap(), b"");
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
        let err = RunDir::open(&path).unwrap().recover().unwrap_err().to_string();
        assert_eq!(err, format!("the run in `{}` has finished, there is nothing to resume", path.display()));
        assert_eq!(view.events().unwrap(), [epoch(0)]);
    }

    #[test]
    fn a_second_process_is_refused_while_the_first_works() {
        let (_parent, path, run) = new_run();
        let sentence =
            format!("the run in `{}` is locked by another process (process {})", path.display(), std::process::id());
        assert_eq!(RunDir::open(&path).unwrap_err().to_string(), sentence);
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
        assert!(err.starts_with("cannot create ") && err.contains(&below.display().to_string()), "{err}");

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
