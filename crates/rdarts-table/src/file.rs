//! Tables as files: read, begun, appended to by several processes.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rdarts_run::{Spec, TrainSpec};
use rdarts_space::Space;

use crate::FORMAT;
use crate::entry::{Entry, Header, line, n_architectures, read};
use crate::error::TableError;
use crate::query::Table;

/// A line that is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its number in the file, from 1.
    pub line: usize,
    /// What is wrong with it: `is damaged: …`.
    pub problem: String,
}

impl Table {
    /// Reads a table. Lines that cannot be used are named, not refused: what they held can be made again. Of two entries of
    /// the same architecture and seed the first counts.
    ///
    /// # Errors
    /// If the file cannot be read, or its first line is not that of a table.
    pub fn read(path: &Path) -> Result<(Self, Vec<Fault>), TableError> {
        let text = std::fs::read(path).map_err(|error| TableError::Io { what: "read", path: path.into(), error })?;
        let text = String::from_utf8_lossy(&text);
        Self::parse(&text).map_err(|problem| TableError::NotATable { path: path.into(), problem })
    }

    /// Reads a table's text.
    ///
    /// # Errors
    /// What is wrong with its first line.
    pub fn parse(text: &str) -> Result<(Self, Vec<Fault>), String> {
        let mut lines = text.split_inclusive('\n').enumerate();
        let first = lines.next().map_or("", |(_, first)| first);
        let version = serde_json::from_str::<serde_json::Value>(first).ok().and_then(|v| v["table"].as_u64());
        match version {
            Some(version) if version == u64::from(FORMAT) => {}
            Some(version) => {
                return Err(format!("is a table of format {version}, and this program reads format {FORMAT}"));
            }
            None => return Err("is no table: its first line is not the header of one".into()),
        }
        let header: Header =
            read(first).map_err(|problem| format!("is no table any more: its first line {problem}"))?;
        let space = Space::from_toml(&header.space, "the table's space").map_err(|e| format!("is no table: {e}"))?;
        let spec =
            TrainSpec::from_complete("the table's training", &header.spec).map_err(|e| format!("is no table: {e}"))?;
        let n = n_architectures(&space).map_err(|e| format!("is no table: {e}"))?;
        let (mut entries, mut faults, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
        for (at, text) in lines {
            let mut fault = |problem: String| faults.push(Fault { line: at + 1, problem });
            if text.trim_end().is_empty() {
                continue;
            }
            let entry: Entry = match text.strip_suffix('\n').map(read) {
                Some(Ok(entry)) => entry,
                Some(Err(problem)) => {
                    fault(problem);
                    continue;
                }
                None => {
                    fault("is cut short".into());
                    continue;
                }
            };
            let fits = rdarts_space::nth(&space, entry.architecture.into());
            if entry.architecture >= n || fits.is_none_or(|g| g.to_string() != entry.genotype) {
                fault(format!("is not of this space: architecture {} is another", entry.architecture));
            } else if !seen.insert((entry.architecture, entry.seed)) {
                fault(format!("is the second of architecture {} with seed {}", entry.architecture, entry.seed));
            } else {
                entries.push(entry);
            }
        }
        Ok((Self::new(header, space, spec, entries), faults))
    }

    /// The whole table as text.
    pub fn to_text(&self) -> String {
        let mut text = line(self.header());
        text.push('\n');
        for entry in self.entries() {
            text.push_str(&line(entry));
            text.push('\n');
        }
        text
    }

    /// Writes the whole table where nothing is yet; false if another process was faster, whose table stays.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn create(&self, path: &Path) -> Result<bool, TableError> {
        let half = self.half(path)?;
        // A link, unlike a new name, replaces nothing.
        let linked = match std::fs::hard_link(&half, path) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(false),
            // Where there are no links; two processes would have to begin within the same moment.
            Err(_) if !path.exists() => std::fs::copy(&half, path).map(|_| true),
            Err(e) => Err(e),
        };
        let _ = std::fs::remove_file(&half);
        linked.map_err(|error| TableError::Io { what: "write", path: path.into(), error })
    }

    /// Writes the whole table, or nothing.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), TableError> {
        let half = self.half(path)?;
        std::fs::rename(&half, path).map_err(|error| {
            let _ = std::fs::remove_file(&half);
            TableError::Io { what: "write", path: path.into(), error }
        })
    }

    /// The whole table in a file beside `path`.
    fn half(&self, path: &Path) -> Result<PathBuf, TableError> {
        let mut half = path.as_os_str().to_os_string();
        half.push(format!(".unfinished-{}", std::process::id()));
        let half = PathBuf::from(half);
        let write = || {
            let mut file = File::create(&half)?;
            file.write_all(self.to_text().as_bytes()).and_then(|()| file.sync_all())
        };
        write().map_err(|error| {
            let _ = std::fs::remove_file(&half);
            TableError::Io { what: "write", path: path.into(), error }
        })?;
        Ok(half)
    }
}

/// A table that entries are appended to, by this process and by others.
#[derive(Debug)]
pub struct Appender {
    path: PathBuf,
    file: File,
}

impl Appender {
    /// Opens a table that is there.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, TableError> {
        let file = OpenOptions::new().read(true).append(true).open(path);
        let file = file.map_err(|error| TableError::Io { what: "open", path: path.into(), error })?;
        Ok(Self { path: path.into(), file })
    }

    /// Appends an entry as a line of its own; one that another process has left half is closed first.
    ///
    /// # Errors
    /// If it cannot be written; then nothing of it is left.
    pub fn append(&mut self, entry: &Entry) -> Result<(), TableError> {
        let failed = |error| TableError::Io { what: "append to", path: self.path.clone(), error };
        lock(&self.file).map_err(failed)?;
        let done = append(&mut self.file, &line(entry));
        let unlocked = self.file.unlock();
        done.and(unlocked.or_else(without_locks)).map_err(failed)
    }
}

fn append(file: &mut File, line: &str) -> io::Result<()> {
    let len = file.seek(SeekFrom::End(0))?;
    let mut last = [b'\n'];
    if len > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    let begin = if last == [b'\n'] { "" } else { "\n" };
    let written = file.write_all(format!("{begin}{line}\n").as_bytes()).and_then(|()| file.sync_data());
    if written.is_err() {
        // A full disk may have taken a part.
        let _ = file.set_len(len);
    }
    written
}

/// Waits for other processes; where a file system has no locks, writing at the end of the file is one call all the same.
fn lock(file: &File) -> io::Result<()> {
    file.lock().or_else(without_locks)
}

fn without_locks(e: io::Error) -> io::Result<()> {
    if e.kind() == ErrorKind::Unsupported { Ok(()) } else { Err(e) }
}
