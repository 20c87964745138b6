//! The run directory: all that a run of whatever kind leaves behind, and the only thing that a report reads.
//!
//! ```text
//! format                  "rdarts-run 2": version of this layout; 1 held searches only and named no kind
//! spec.toml               the kind of run and the complete spec, written first; it never changes
//! space.toml              the search space of a search, every edge
//! env.json                program, machine and threads of the last start; not compared
//! events.jsonl            what happened, append only, deterministic
//! timings.jsonl           how long it took, append only; not compared
//! checkpoints/            00000012-epoch-3.safetensors, ...: one whole state each; none in a portfolio
//! members/                the searches and trainings of a portfolio, each a run directory
//! genotype.txt, .json     what a search has found
//! spectra.jsonl           whole spectra of the curvature, if they were computed; not compared
//! landscapes.jsonl        the loss along lines in alpha space, if it was computed; not compared
//! mistakes/               test pictures that a trained network is most wrong about; not compared
//! maps/                   pairs as a network for disparity sees them; not compared
//! DONE                    the run has finished
//! lock                    held by the process that works here; the text is its process number and its machine
//! owner                   there while a process works here, for those who get no lock from their system
//! ```
//!
//! Invariants: one process writes at a time; every file except the two appended ones is replaced as a whole; a
//! failed append is taken back; each checkpoint records how many bytes of `events.jsonl` belong to it and what its
//! lines are, and [`RunDir::recover`] cuts the file there, so that a resumed run goes on as if nothing had happened. A run
//! without checkpoints goes on from its events: each is on the disk before anything counts on it, and [`RunDir::open`]
//! cuts away a half-written last one.
//! A directory whose files do not fit each other is refused and left as it is, and a start that is refused leaves
//! nothing behind.
//!
//! [`RunView`] reads, also while a run goes on; [`RunDir`] holds the lock and writes.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rdarts_text::shown;

use crate::append::AppendFile;
use crate::atomic;
use crate::checkpoint::{self, Checkpoint, CheckpointError, CheckpointName, Newest};
use crate::environment::Environment;
use crate::error::{RunError, io_error};
use crate::event::{self, Event, EventError, LastLine, Timing};
use crate::extras::{
    LANDSCAPES, Landscape, MAP_NAMES, MAPS, MAPS_LIST, MISTAKES, MISTAKES_LIST, MOST_MAP_BYTES, MOST_MAPS,
    MOST_MISTAKES, MOST_PICTURE_BYTES, Mistake, PairMap, PairPictures, SPECTRA, Spectrum,
};
use crate::lock::{self, LOCK, Lock, Means, OWNER, STALE_AFTER};
use crate::log;
use crate::spec::{self, DataSets, Spec};
use crate::text::{TextError, for_shell, read_text};

/// Version of the layout of a run directory.
pub const RUN_FORMAT: u32 = 2;

/// A run directory that is read.
#[derive(Clone, Debug)]
pub struct RunView {
    path: PathBuf,
    kind: String,
    /// `spec.toml`.
    spec: String,
}

/// A run directory that this process alone writes to.
#[derive(Debug)]
pub struct RunDir {
    view: RunView,
    events: AppendFile,
    /// Digits of all lines of the events.
    events_lines: String,
    timings: AppendFile,
    /// Whether runs of this kind write checkpoints.
    has_checkpoints: bool,
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

/// Where a run goes on.
#[derive(Debug)]
pub struct Recovered {
    /// The newest usable checkpoint; `None`: start from the beginning.
    pub checkpoint: Option<(CheckpointName, Checkpoint)>,
    /// One sentence for each newer checkpoint that could not be used.
    pub warnings: Vec<String>,
}

impl RunView {
    /// Opens a run directory for reading.
    pub fn open(path: &Path) -> Result<RunView, RunError> {
        check_format(path)?;
        let spec_path = path.join(SPEC);
        let spec = read_text("spec", &spec_path)?;
        let kind = spec::kind_of(&shown(&spec_path), &spec)?;
        Ok(RunView { path: path.to_path_buf(), kind, spec })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The kind of run.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The complete spec of the run.
    ///
    /// # Errors
    /// If the run is of another kind, or its spec is damaged.
    pub fn spec<S: Spec>(&self) -> Result<S, RunError> {
        self.checked_spec(None)
    }

    /// Like [`RunView::spec`], also held to what its data set is like.
    ///
    /// # Errors
    /// As for `spec`.
    pub fn spec_of_sets<S: Spec>(&self, sets: &dyn DataSets) -> Result<S, RunError> {
        self.checked_spec(Some(sets))
    }

    fn checked_spec<S: Spec>(&self, sets: Option<&dyn DataSets>) -> Result<S, RunError> {
        if self.kind != S::KIND {
            let (path, found) = (self.path.clone(), self.kind.clone());
            return Err(RunError::OtherKind { path, found, wanted: S::KIND });
        }
        Ok(S::from_recorded(&shown(self.path.join(SPEC)), &self.spec, sets)?)
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

    /// All events before the first line that is damaged, and what is wrong with that; for those who only show them.
    ///
    /// # Errors
    /// If there is no log, or a newer program wrote it.
    pub fn good_events(&self) -> Result<(Vec<Event>, Option<EventError>), RunError> {
        Ok(event::read_good_events(&self.events_path())?)
    }

    /// The whole spectra that were computed, in the order of the file; none if there is no such file.
    ///
    /// # Errors
    /// If the file cannot be read or is damaged.
    pub fn spectra(&self) -> Result<Vec<Spectrum>, RunError> {
        let path = self.path.join(SPECTRA);
        Ok(event::parse_lines(&path, &read_log(&path)?, LastLine::MayBeHalf)?)
    }

    /// Adds a spectrum, in one piece: the run may be going on, and others may add theirs.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn add_spectrum(&self, spectrum: &Spectrum) -> Result<(), RunError> {
        self.add_line(SPECTRA, serde_json::to_string(spectrum).expect("a spectrum is JSON"))
    }

    /// The losses along lines in alpha space that were computed, in the order of the file; none if there is no such file.
    ///
    /// # Errors
    /// If the file cannot be read or is damaged.
    pub fn landscapes(&self) -> Result<Vec<Landscape>, RunError> {
        let path = self.path.join(LANDSCAPES);
        Ok(event::parse_lines(&path, &read_log(&path)?, LastLine::MayBeHalf)?)
    }

    /// Adds a landscape, like [`RunView::add_spectrum`].
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn add_landscape(&self, landscape: &Landscape) -> Result<(), RunError> {
        self.add_line(LANDSCAPES, serde_json::to_string(landscape).expect("a landscape is JSON"))
    }

    fn add_line(&self, name: &str, line: String) -> Result<(), RunError> {
        let path = self.path.join(name);
        let line = format!("{line}\n");
        let add = || {
            let mut file = std::fs::OpenOptions::new().append(true).create(true).open(&path)?;
            // What a writer left that was killed ends nowhere.
            let there = std::fs::read(&path)?;
            let whole = there.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            if whole < there.len() {
                file.set_len(whole as u64)?;
            }
            file.write_all(line.as_bytes())
        };
        add().map_err(io_error("write", &path))
    }

    /// The pictures that a trained network is most wrong about, each as a PNG file; none if a training left none.
    ///
    /// # Errors
    /// If the list or a picture cannot be read or is damaged.
    pub fn mistakes(&self) -> Result<Vec<(Mistake, Vec<u8>)>, RunError> {
        let dir = self.path.join(MISTAKES);
        let list = dir.join(MISTAKES_LIST);
        let mistakes: Vec<Mistake> = event::parse_lines(&list, &read_log(&list)?, LastLine::MayBeHalf)?;
        let picture =
            |(i, mistake): (usize, Mistake)| Ok((mistake, png(&dir.join(format!("{i:02}.png")), MOST_PICTURE_BYTES)?));
        mistakes.into_iter().take(MOST_MISTAKES).enumerate().map(picture).collect()
    }

    /// Pairs as a network for disparity sees them, each with its pictures as PNG files, in the order of [`MAP_NAMES`]; none
    /// if a run left none.
    ///
    /// # Errors
    /// If the list or a picture cannot be read or is damaged.
    pub fn maps(&self) -> Result<Vec<PairPictures>, RunError> {
        let dir = self.path.join(MAPS);
        let list = dir.join(MAPS_LIST);
        let maps: Vec<PairMap> = event::parse_lines(&list, &read_log(&list)?, LastLine::MayBeHalf)?;
        let pictures = |(i, about): (usize, PairMap)| {
            let mut all = PairPictures { about, png: Default::default() };
            for (bytes, name) in all.png.iter_mut().zip(MAP_NAMES) {
                *bytes = png(&dir.join(format!("{i:02}-{name}.png")), MOST_MAP_BYTES)?;
            }
            Ok(all)
        };
        maps.into_iter().take(MOST_MAPS).enumerate().map(pictures).collect()
    }

    /// Whether a process seems to work here. It looks at no lock, which would keep others out meanwhile: a process that was
    /// killed on another machine seems to work for some minutes more.
    pub fn seems_at_work(&self) -> bool {
        if lock::has_ended(&self.path) {
            return false;
        }
        let renewed = std::fs::metadata(self.path.join(OWNER)).and_then(|owner| owner.modified());
        renewed.is_ok_and(|at| at.elapsed().is_ok_and(|since| since < STALE_AFTER)) && !self.is_done()
    }

    /// All durations so far.
    pub fn timings(&self) -> Result<Vec<Timing>, RunError> {
        Ok(event::read_timings(&self.timings_path(), LastLine::MayBeHalf)?)
    }

    /// The machine that it last ran on; `None` if that was not recorded.
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

    /// The genotype that was found, as text; `None` while it runs.
    pub fn genotype(&self) -> Result<Option<String>, RunError> {
        let path = self.path.join(GENOTYPE_TEXT);
        match read_text("genotype", &path) {
            Ok(text) => Ok(Some(text.trim_end().to_string())),
            Err(TextError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(err) => Err(err.into()),
        }
    }

    /// The file that a finished training leaves its network in.
    pub fn model_path(&self) -> PathBuf {
        self.path.join(MODEL)
    }

    /// The directory of a run within this one.
    pub fn member_path(&self, name: &str) -> PathBuf {
        self.path.join(MEMBERS).join(name)
    }

    /// Whether the run has finished.
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
        if path.is_file() {
            return Err(RunError::IsAFile { path: path.to_path_buf() });
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
    pub fn fill<S: Spec>(mut self, spec: &S) -> Result<RunDir, RunError> {
        spec.validate()?;
        let text = spec.to_toml();
        self.write(&text, S::HAS_CHECKPOINTS).inspect_err(|_| self.clear())?;
        let lock = self.lock.take().expect("a reservation has its lock until it is filled");
        let view = RunView { path: self.path.clone(), kind: S::KIND.to_string(), spec: text };
        // From here on there is a run, which can be resumed.
        self.made.clear();
        RunDir::with_lock::<S>(view, lock, None)
    }

    fn write(&self, spec: &str, has_checkpoints: bool) -> Result<(), RunError> {
        remove_temporaries(&self.path)?;
        if has_checkpoints {
            let checkpoints = self.path.join(CHECKPOINTS);
            std::fs::create_dir_all(&checkpoints).map_err(io_error("create", &checkpoints))?;
        }
        write(&self.path.join(FORMAT), format!("{FORMAT_WORD} {RUN_FORMAT}\n").as_bytes())?;
        AppendFile::open(self.path.join(EVENTS))?;
        AppendFile::open(self.path.join(TIMINGS))?;
        // The last one: what has a spec is a run.
        write(&self.path.join(SPEC), spec.as_bytes())
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
    pub fn create(path: &Path, spec: &impl Spec) -> Result<RunDir, RunError> {
        spec.validate()?;
        Reservation::new(path)?.fill(spec)
    }

    /// Opens the directory of a kind of run for going on, takes its lock, finds what to go on from and clears away what a
    /// killed writer left half-written. Of a kind without checkpoints, what to go on from is all events.
    ///
    /// Refuses a directory whose files do not fit each other, with nothing changed there.
    pub fn open<S: Spec>(path: &Path) -> Result<RunDir, RunError> {
        RunDir::open_with::<S>(path, &Means::system())
    }

    fn open_with<S: Spec>(path: &Path, means: &Means) -> Result<RunDir, RunError> {
        let view = RunView::open(path)?;
        view.spec::<S>()?;
        if view.is_done() {
            return Err(RunError::Finished { path: path.to_path_buf() });
        }
        let lock = Lock::take(path, means)?;
        if !S::HAS_CHECKPOINTS {
            let whole = match find_whole_events(&view) {
                Ok(whole) => whole,
                Err(err) => {
                    lock.undo();
                    return Err(err);
                }
            };
            remove_temporaries(path)?;
            let mut events = AppendFile::open(view.events_path())?;
            if whole < events.length {
                events.cut(whole)?;
            }
            return RunDir::with_lock::<S>(view, lock, None);
        }
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
        RunDir::with_lock::<S>(view, lock, found)
    }

    fn with_lock<S: Spec>(view: RunView, lock: Lock, found: Option<Newest>) -> Result<RunDir, RunError> {
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
        Ok(RunDir { view, events, events_lines, timings, has_checkpoints: S::HAS_CHECKPOINTS, found, lock })
    }

    /// The reading side.
    pub fn view(&self) -> &RunView {
        &self.view
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
    /// has its events emptied and starts from the beginning. A run of a kind without checkpoints keeps its events.
    pub fn recover(&mut self) -> Result<Recovered, RunError> {
        if self.view.is_done() {
            return Err(RunError::Finished { path: self.view.path.clone() });
        }
        if !self.has_checkpoints {
            return Ok(Recovered { checkpoint: None, warnings: Vec::new() });
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
        if !self.has_checkpoints {
            // Else a checkpoint does this before it counts on them.
            self.events.sync().map_err(|err| err.stopped(&self.view.path))?;
        }
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
    ///
    /// # Panics
    /// If runs of this kind have no checkpoints, since none would be gone on from.
    pub fn save_checkpoint(&mut self, name: &CheckpointName, checkpoint: Checkpoint) -> Result<(), RunError> {
        assert!(self.has_checkpoints, "a run of kind {} has no checkpoints", self.view.kind);
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

    /// Writes a trained network.
    pub fn write_model(&mut self, bytes: &[u8]) -> Result<(), RunError> {
        write(&self.view.path.join(MODEL), bytes).map_err(|err| err.stopped(&self.view.path))
    }

    /// Writes the pictures that a trained network is most wrong about, the worst first, each as a PNG file.
    pub fn write_mistakes(&mut self, mistakes: &[(Mistake, Vec<u8>)]) -> Result<(), RunError> {
        let dir = self.view.path.join(MISTAKES);
        let all = || {
            std::fs::create_dir_all(&dir).map_err(io_error("create", &dir))?;
            let mut list = String::new();
            for (i, (mistake, png)) in mistakes.iter().enumerate().take(MOST_MISTAKES) {
                list.push_str(&serde_json::to_string(mistake).expect("a mistake is JSON"));
                list.push('\n');
                write(&dir.join(format!("{i:02}.png")), png)?;
            }
            write(&dir.join(MISTAKES_LIST), list.as_bytes())
        };
        all().map_err(|err: RunError| err.stopped(&self.view.path))
    }

    /// Writes pairs as a network for disparity sees them, each with its pictures as PNG files, in the order of
    /// [`MAP_NAMES`].
    pub fn write_maps(&mut self, maps: &[PairPictures]) -> Result<(), RunError> {
        let dir = self.view.path.join(MAPS);
        let all = || {
            std::fs::create_dir_all(&dir).map_err(io_error("create", &dir))?;
            let mut list = String::new();
            for (i, PairPictures { about, png }) in maps.iter().enumerate().take(MOST_MAPS) {
                list.push_str(&serde_json::to_string(about).expect("a map is JSON"));
                list.push('\n');
                for (png, name) in png.iter().zip(MAP_NAMES) {
                    write(&dir.join(format!("{i:02}-{name}.png")), png)?;
                }
            }
            write(&dir.join(MAPS_LIST), list.as_bytes())
        };
        all().map_err(|err: RunError| err.stopped(&self.view.path))
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

const FORMAT: &str = "format";
const FORMAT_WORD: &str = "rdarts-run";
const SPEC: &str = "spec.toml";
const MODEL: &str = "model.safetensors";
const ENVIRONMENT: &str = "env.json";
const EVENTS: &str = "events.jsonl";
const TIMINGS: &str = "timings.jsonl";
const CHECKPOINTS: &str = "checkpoints";
const MEMBERS: &str = "members";
const GENOTYPE_TEXT: &str = "genotype.txt";
const GENOTYPE_JSON: &str = "genotype.json";
const SPACE: &str = "space.toml";
const DONE: &str = "DONE";

/// The command line that begins another run like this one: a kind of run is also the verb that begins it.
fn again(view: &RunView) -> String {
    format!("rdarts {} {}", view.kind, for_shell(&view.path.join(SPEC)))
}

/// The log as it is; empty if there is none.
fn read_log(path: &Path) -> Result<Vec<u8>, RunError> {
    match std::fs::read(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        log => log.map_err(io_error("read", path)),
    }
}

/// The length of the events to go on from, of a run without checkpoints; changes nothing.
fn find_whole_events(view: &RunView) -> Result<u64, RunError> {
    // Finished by another process before the lock was taken.
    if view.is_done() {
        return Err(RunError::Finished { path: view.path.clone() });
    }
    let path = view.events_path();
    let log = read_log(&path)?;
    event::refuse_newer(&path, &log)?;
    log::check_whole(&log).map_err(|bad| {
        let again = again(view);
        RunError::Events { log: path, line: bad.line, problem: bad.problem, again }
    })
}

/// The checkpoint to go on from, which the log must fit; changes nothing.
fn find_newest(view: &RunView) -> Result<Newest, RunError> {
    let (dir, log_path) = (view.checkpoints_path(), view.events_path());
    let again = again(view);
    let newest = match checkpoint::load_newest_valid(&dir) {
        Err(CheckpointError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Err(RunError::NoCheckpoint { problem: format!("`{}` is not there any more", shown(&dir)), again });
        }
        newest => newest?,
    };
    let log = read_log(&log_path)?;
    match &newest.found {
        Some((name, checkpoint)) => {
            let fits = log::check(&log, checkpoint.events_bytes, &checkpoint.events_lines)
                .and_then(|()| log::check_rest(&log, checkpoint.events_bytes));
            fits.map_err(|bad| RunError::Log {
                log: log_path,
                line: bad.line,
                problem: bad.problem,
                checkpoint: name.clone(),
                again,
            })?;
        }
        None if !newest.passed_over.is_empty() => {
            let problem = match newest.passed_over.len() {
                1 => format!("the only checkpoint cannot be used, {}", newest.warnings[0]),
                n => format!("none of the {n} checkpoints can be used, {}", newest.warnings.join(", ")),
            };
            return Err(RunError::NoCheckpoint { problem, again });
        }
        // A run that was stopped before its first checkpoint has written its first line at most.
        None if log::n_lines(&log) > 1 => {
            let problem =
                format!("`{}` holds no checkpoint, although `{}` tells of epochs", shown(&dir), shown(&log_path));
            return Err(RunError::NoCheckpoint { problem, again });
        }
        None => {
            if let Err(bad) = log::check_rest(&log, 0) {
                let (dir, log) = (shown(&dir), shown(&log_path));
                let problem = format!("`{dir}` holds no checkpoint, and line {} of `{log}` {}", bad.line, bad.problem);
                return Err(RunError::NoCheckpoint { problem, again });
            }
        }
    }
    Ok(newest)
}

/// Whether a process could work in a directory now: takes its lock and gives it back. The sentences are what the user should
/// know, such as that the file system gives no locks.
///
/// # Errors
/// [`RunError::Locked`] if another process works there, or what the system says.
pub fn try_lock(dir: &Path) -> Result<Vec<String>, RunError> {
    let lock = Lock::take(dir, &Means::system())?;
    let warnings = lock.warnings().to_vec();
    lock.undo();
    Ok(warnings)
}

/// Refuses a path that no new run can be made at; changes nothing.
///
/// # Errors
/// One sentence that says what is there.
pub fn check_free(path: &Path) -> Result<(), RunError> {
    if path.is_file() {
        return Err(RunError::IsAFile { path: path.to_path_buf() });
    }
    refuse_occupied(path)
}

/// Writes a file that is there as a whole or not at all. What is no file, such as a pipe or a device, is written to; behind
/// a link the file is replaced that it leads to.
///
/// # Errors
/// If it cannot be written.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    match std::fs::metadata(path) {
        Ok(there) if !there.is_file() && !there.is_dir() => {
            let file = OpenOptions::new().write(true).open(path);
            file.and_then(|mut file| file.write_all(bytes)).map_err(io_error("write", path))
        }
        Ok(_) => write(&path.canonicalize().map_err(io_error("write", path))?, bytes),
        Err(_) => write(path, bytes),
    }
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
        return Err(RunError::IsARun { path: path.to_path_buf(), is_done: path.join(DONE).exists() });
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
        Some(found) if found > RUN_FORMAT => {
            Err(RunError::TooNew { path: path.to_path_buf(), found, known: RUN_FORMAT })
        }
        Some(_) if !path.join(SPEC).exists() => Err(not_a_run("it has no file `spec.toml`")),
        Some(_) => Ok(()),
    }
}

/// A picture as a PNG file of at most so many bytes.
fn png(path: &Path, most: u64) -> Result<Vec<u8>, RunError> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(io_error("read", path))?;
    file.take(most + 1).read_to_end(&mut bytes).map_err(io_error("read", path))?;
    if !bytes.starts_with(b"\x89PNG\r\n\x1a\n") || bytes.len() as u64 > most {
        return Err(RunError::Picture { path: path.to_path_buf(), most });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
