//! One process at a time in a run directory.
//!
//! The lock is that of the system on the file `lock`, whose text is the number of the process and its machine. It ends
//! with the process, however that ends.
//!
//! Some file systems of clusters have no such locks, or on one machine the lock daemon does not answer. So there is also
//! a file `owner` that only one process can make; it says who made it, and its time is renewed while the process works.
//! An `owner` left behind is taken over: at once if its process ran on this machine and has ended, or had the lock that is
//! ours now; after [`SILENT_AFTER`] if that process ran on another machine; else when it has not been renewed for
//! [`STALE_AFTER`], by the clock of the file system alone. A process whose file was taken over notices, and writes no more ([`Lock::is_lost`]).
//!
//! Invariant: a refused process leaves nothing behind that it did not find.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use crate::atomic;
use crate::error::RunError;
use rdarts_text::{escaped, shown};

/// The name of the locked file.
pub(crate) const LOCK: &str = "lock";

/// The name of the file that says who works here, for those who get no lock.
pub(crate) const OWNER: &str = "owner";

/// Longer than a busy file server takes to answer, shorter than what people wait before they resume elsewhere.
pub(crate) const STALE_AFTER: Duration = Duration::from_secs(300);

/// Several of these may be lost before a file counts as stale.
const RENEW_EVERY: Duration = Duration::from_secs(30);

/// An owner with a lock that has missed this many renewals has lost both. On some file systems every machine grants its
/// own locks, so that of another machine alone shows nothing.
const SILENT_AFTER: Duration = Duration::from_secs(90);

/// How long the system may take for a lock. A local one takes no time; a daemon that is not there never answers.
const PATIENCE: Duration = Duration::from_secs(10);

/// A directory that belongs to this process.
#[derive(Debug)]
pub(crate) struct Lock {
    /// Goes before the lock does: whoever gets that finds no file that is about to be removed.
    owner: Owner,
    /// Dropping it gives the lock back.
    _file: File,
    path: PathBuf,
    is_new: bool,
    warnings: Vec<String>,
}

type TryLock = dyn Fn(&File) -> Result<(), TryLockError> + Send + Sync;
type Clock = dyn Fn(&Path) -> io::Result<SystemTime> + Send + Sync;

/// What a lock is made with; tests put their own in its place.
#[derive(Clone)]
pub(crate) struct Means {
    /// The system's lock.
    pub(crate) lock: Arc<TryLock>,
    /// The present time of the file system of a directory.
    pub(crate) now: Arc<Clock>,
    /// How long `lock` may take.
    pub(crate) patience: Duration,
    /// How often an owner is renewed.
    pub(crate) renew_every: Duration,
}

impl Means {
    /// Those of the system.
    pub(crate) fn system() -> Means {
        Means { lock: Arc::new(File::try_lock), now: Arc::new(clock_of), patience: PATIENCE, renew_every: RENEW_EVERY }
    }
}

impl Lock {
    /// Takes the lock of a directory that exists.
    pub(crate) fn take(dir: &Path, means: &Means) -> Result<Lock, RunError> {
        let path = dir.join(LOCK);
        let write_error = |source| RunError::Io { action: "write", path: path.clone(), source };
        let mut tries = 0;
        let (mut file, is_new, locked) = loop {
            let (file, is_new) = open(&path).map_err(write_error)?;
            let locked = lock_in_time(&file, means);
            // Whoever gives up a new directory removes the file; a lock on a removed file keeps nobody out.
            if matches!(locked, Ok(true)) && !is_still(&file, &path) {
                tries += 1;
                if tries < 20 {
                    continue;
                }
                break (file, is_new, Err("it names a file in two ways".to_string()));
            }
            break (file, is_new, locked);
        };
        let refused = |error: RunError| {
            if is_new {
                let _ = std::fs::remove_file(&path);
            }
            error
        };
        let mut warnings = Vec::new();
        let owner = match locked {
            Ok(false) => {
                let mut text = String::new();
                // Some systems do not let a locked file be read; then the process stays unknown.
                let _ = file.read_to_string(&mut text);
                return Err(RunError::Locked { path: dir.to_path_buf(), by: described(&text), free_in: None });
            }
            // A process without locks, on another machine perhaps, may work here all the same.
            Ok(true) => Owner::make(dir, means, true, &mut warnings).map_err(refused)?,
            Err(reason) => {
                let owner = Owner::make(dir, means, false, &mut warnings).map_err(refused)?;
                warnings.push(format!(
                    "the file system of `{}` gives no locks ({reason}): the file `{OWNER}` in it keeps other processes out",
                    shown(dir)
                ));
                owner
            }
        };
        let lock = Lock { owner, _file: file, path: path.clone(), is_new, warnings };
        let record = |mut file: &File| -> io::Result<()> {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            file.write_all(format!("{} {}\n", std::process::id(), Process::own().host).as_bytes())
        };
        match record(&lock._file) {
            Ok(()) => Ok(lock),
            Err(err) => {
                lock.undo();
                Err(write_error(err))
            }
        }
    }

    /// What the user should know, one sentence each.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Whether another process has taken the directory over.
    pub(crate) fn is_lost(&self) -> bool {
        renew(&self.owner.path, &self.owner.text).is_ok_and(|is_ours| !is_ours)
    }

    /// Gives the lock back and removes its file, if that was made for it.
    pub(crate) fn undo(self) {
        if self.is_new {
            // Before the lock ends, so that nobody else's file is removed.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Whether a text is that of a lock's file.
pub(crate) fn is_lock_text(text: &str) -> bool {
    text.is_empty() || described(text).is_some()
}

/// Whether a text is that of an owner's file.
pub(crate) fn is_owner_text(text: &str) -> bool {
    text.is_empty() || Process::parse(text).is_some()
}

/// Whether the owner of a directory is known to have ended; only one of this machine can be.
pub(crate) fn has_ended(dir: &Path) -> bool {
    let text = std::fs::read_to_string(dir.join(OWNER)).unwrap_or_default();
    Process::parse(&text).and_then(|process| process.has_ended()) == Some(true)
}

/// The file, and whether it is new.
fn open(path: &Path) -> io::Result<(File, bool)> {
    loop {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        match options.clone().create_new(true).open(path) {
            Ok(file) => return Ok((file, true)),
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
            Err(err) => return Err(err),
        }
        match options.open(path) {
            Ok(file) => return Ok((file, false)),
            // Removed in between.
            Err(err) if err.kind() == io::ErrorKind::NotFound && path.symlink_metadata().is_err() => {}
            Err(err) => return Err(err),
        }
    }
}

/// Whether the path still names the opened file.
fn is_still(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let place = |m: std::fs::Metadata| (m.dev(), m.ino());
        file.metadata().ok().map(place) == std::fs::metadata(path).ok().map(place)
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        path.exists()
    }
}

/// True: locked. False: another process has the lock. Else why there are no locks.
fn lock_in_time(file: &File, means: &Means) -> Result<bool, String> {
    let handle = file.try_clone().map_err(|err| err.to_string())?;
    let (lock, (answer, answered)) = (means.lock.clone(), mpsc::channel());
    let attempt = move || {
        let result = loop {
            match lock(&handle) {
                Err(TryLockError::Error(err)) if err.kind() == io::ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        // Nobody waits any more where this took too long.
        let _ = answer.send(result);
    };
    std::thread::Builder::new().name("lock".into()).spawn(attempt).map_err(|err| err.to_string())?;
    match answered.recv_timeout(means.patience) {
        Ok(Ok(())) => Ok(true),
        Ok(Err(TryLockError::WouldBlock)) => Ok(false),
        Ok(Err(TryLockError::Error(err))) => Err(err.to_string()),
        Err(_) => Err(format!("no answer in {} s", means.patience.as_secs_f64())),
    }
}

/// A file that says who works here, renewed by a thread until it is dropped; then it is removed.
#[derive(Debug)]
struct Owner {
    path: PathBuf,
    text: String,
    /// Dropping the sender ends the thread.
    renewing: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

impl Owner {
    /// `has_lock`: whether this process has the system's lock too.
    fn make(dir: &Path, means: &Means, has_lock: bool, warnings: &mut Vec<String>) -> Result<Owner, RunError> {
        let path = dir.join(OWNER);
        let text = Process { has_lock, ..Process::own() }.text();
        let write_error = |source| RunError::Io { action: "write", path: path.clone(), source };
        loop {
            match atomic::write_new(&path, text.as_bytes()) {
                Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {
                    if free_owner(dir, means, &text, has_lock, warnings)? {
                        break;
                    }
                }
                result => break result.map_err(write_error)?,
            }
        }
        let (sender, receiver) = mpsc::channel();
        let renewing = {
            let (path, text, every) = (path.clone(), text.clone(), means.renew_every);
            move || {
                // Once it is another's there is nothing to renew; a server that does not answer may answer again.
                while receiver.recv_timeout(every) == Err(mpsc::RecvTimeoutError::Timeout)
                    && renew(&path, &text).unwrap_or(true)
                {}
            }
        };
        let thread = std::thread::Builder::new().name("owner".into()).spawn(renewing);
        let mut owner = Owner { path: path.clone(), text, renewing: None };
        let thread = thread.map_err(|source| RunError::Io { action: "keep up", path, source })?;
        owner.renewing = Some((sender, thread));
        Ok(owner)
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.renewing.take() {
            drop(sender);
            let _ = thread.join();
        }
        if std::fs::read(&self.path).is_ok_and(|bytes| bytes == self.text.as_bytes()) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Writes the text again, for its time; false if the file is another's or gone.
fn renew(path: &Path, text: &str) -> io::Result<bool> {
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file?,
    };
    let mut found = String::new();
    file.read_to_string(&mut found)?;
    if found != text {
        return Ok(false);
    }
    file.seek(SeekFrom::Start(0))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(true)
}

/// Puts `next` into the place of an owner that has ended, with a sentence; an error if the owner works here still. False
/// if there was nothing to replace.
fn free_owner(
    dir: &Path,
    means: &Means,
    next: &str,
    has_lock: bool,
    warnings: &mut Vec<String>,
) -> Result<bool, RunError> {
    let path = dir.join(OWNER);
    let read_error = |source| RunError::Io { action: "read", path: path.clone(), source };
    let read = || match std::fs::read(&path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(read_error(err)),
    };
    let Some(text) = read()? else { return Ok(false) };
    let process = Process::parse(&text);
    let renewed = std::fs::metadata(&path).and_then(|m| m.modified()).map_err(read_error)?;
    let now = (means.now)(dir).map_err(|source| RunError::Io { action: "write", path: dir.to_path_buf(), source })?;
    let age = now.duration_since(renewed).unwrap_or_default();
    // Its lock is ours now; one that was killed before it wrote its name had ours or none.
    let is_silent = |process: &Process| process.machine == Process::own().machine || age > SILENT_AFTER;
    let has_lost_lock = has_lock
        && match &process {
            Some(process) => process.has_lock && is_silent(process),
            None => text.is_empty(),
        };
    let has_ended = if has_lost_lock { Some(true) } else { process.as_ref().and_then(Process::has_ended) };
    let wait = match &process {
        Some(process) if has_lock && process.has_lock => SILENT_AFTER,
        _ => STALE_AFTER,
    };
    let free_in = wait.checked_sub(age);
    if has_ended == Some(false) || (has_ended.is_none() && free_in.is_some()) {
        let free_in = free_in.filter(|_| has_ended.is_none());
        let by = process.map(|process| process.described());
        return Err(RunError::Locked { path: dir.to_path_buf(), by, free_in });
    }
    // Of several processes that come to this point one after another may look again and replace the file.
    let turn = dir.join(format!("{}{OWNER}", atomic::TEMPORARY_PREFIX));
    let take_error = |source| RunError::Io { action: "take over", path: path.clone(), source };
    match OpenOptions::new().write(true).create_new(true).open(&turn) {
        Ok(_) => {}
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {
            let begun = std::fs::metadata(&turn).and_then(|m| m.modified()).unwrap_or(now);
            let age = now.duration_since(begun).unwrap_or_default();
            // It takes no time to take a turn: this one was killed in it.
            if age > SILENT_AFTER {
                let _ = std::fs::remove_file(&turn);
                return free_owner(dir, means, next, has_lock, warnings);
            }
            return Err(RunError::Locked {
                path: dir.to_path_buf(),
                by: None,
                free_in: Some(SILENT_AFTER.saturating_sub(age)),
            });
        }
        Err(err) => return Err(take_error(err)),
    }
    let replaced = match read() {
        Ok(found) if found.as_ref() == Some(&text) => {
            atomic::write(&path, next.as_bytes()).map_err(take_error).map(|()| true)
        }
        other => other.map(|_| false),
    };
    let _ = std::fs::remove_file(&turn);
    if !replaced? {
        // It has changed hands in between.
        return free_owner(dir, means, next, has_lock, warnings);
    }
    if has_lost_lock && process.as_ref().is_none_or(|process| process.machine == Process::own().machine) {
        // Killed, and resumed: nothing that anyone need know.
        return Ok(true);
    }
    let who = process.map_or("another process".to_string(), |process| process.described());
    let why = match has_ended.is_some() {
        true => "has ended".to_string(),
        false => format!("has shown no sign of life for {} minutes", age.as_secs() / 60),
    };
    warnings.push(format!("`{}` belonged to {who}, which {why}: it is taken over", shown(dir)));
    Ok(true)
}

/// The time that a new file of a directory gets.
fn clock_of(dir: &Path) -> io::Result<SystemTime> {
    let temporary = tempfile::Builder::new().prefix(atomic::TEMPORARY_PREFIX).tempfile_in(dir)?;
    let mut file = temporary.as_file();
    file.write_all(b"\n")?;
    file.sync_all()?;
    file.metadata()?.modified()
}

/// A process as its file describes it.
#[derive(Clone, Debug, PartialEq)]
struct Process {
    /// The name of its machine, for people.
    host: String,
    number: u32,
    /// The start of that machine and its space of numbers, where the system tells: no two machines share it.
    machine: String,
    /// When the process began, so that a later one with its number is not taken for it.
    began: String,
    /// Whether it had the system's lock.
    has_lock: bool,
}

impl Process {
    fn own() -> Process {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_string();
        let space = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let boot = read("/proc/sys/kernel/random/boot_id");
        let host = [read("/proc/sys/kernel/hostname"), std::env::var("HOSTNAME").unwrap_or_default()];
        let host = host.into_iter().find(|name| !name.is_empty()).unwrap_or("an unnamed machine".to_string());
        Process {
            host: host.replace(char::is_whitespace, " "),
            number: std::process::id(),
            machine: if boot.is_empty() { String::new() } else { format!("{boot} {}", space.display()) },
            began: state_and_start(std::process::id()).map_or(String::new(), |(_, start)| start),
            has_lock: false,
        }
    }

    fn text(&self) -> String {
        let Process { host, number, machine, began, has_lock } = self;
        let lock = if *has_lock { "yes" } else { "no" };
        format!("host {host}\nprocess {number}\nmachine {machine}\nbegan {began}\nlock {lock}\n")
    }

    /// `None` if it is cut short or of another program.
    fn parse(text: &str) -> Option<Process> {
        let field = |name: &str| Some(text.lines().find_map(|line| line.strip_prefix(name))?.trim().to_string());
        Some(Process {
            host: field("host ")?,
            number: field("process ")?.parse().ok()?,
            machine: field("machine")?,
            began: field("began")?,
            has_lock: field("lock ")? == "yes",
        })
    }

    fn described(&self) -> String {
        format!("process {} on {}", self.number, escaped(&self.host))
    }

    /// Whether it has ended; `None` if it did not run on this machine, or the system does not tell.
    fn has_ended(&self) -> Option<bool> {
        let own = Process::own();
        if own.machine.is_empty() || own.began.is_empty() || own.machine != self.machine {
            return None;
        }
        // Where the processes of others are hidden, one that is not seen may be there.
        state_and_start(1)?;
        Some(state_and_start(self.number).is_none_or(|(state, start)| "ZX".contains(&state) || start != self.began))
    }
}

/// The state of a process of this machine and when it began, as Linux tells them.
fn state_and_start(number: u32) -> Option<(String, String)> {
    let stat = std::fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
    // The name in parentheses may hold anything; after it come the fields from the third on.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some((fields.first()?.to_string(), fields.get(19)?.to_string()))
}

/// Who holds the lock, from the text of its file.
fn described(text: &str) -> Option<String> {
    let (number, host) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    let number: u32 = number.parse().ok()?;
    Some(if host.is_empty() { format!("process {number}") } else { format!("process {number} on {}", escaped(host)) })
}

#[cfg(test)]
mod tests;
