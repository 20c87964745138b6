//! Which runs have changed since the last look, and what they hold now.
//!
//! A look is a question to the system for the length and time of about ten files a run; only runs that have changed are
//! read again. Whether a process works on a run is part of it, since that changes by itself: a process that was killed
//! seems to work for some minutes more.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rdarts_report::{Run, read};
use rdarts_run::RunView;

/// Some runs, as they were when they were last read.
#[derive(Debug)]
pub struct Runs {
    looks: Looks,
    /// Of each run what the last look before it was read has seen.
    seen: Vec<Stamp>,
    runs: Vec<Run>,
}

impl Runs {
    /// Runs of which nothing was read yet.
    pub fn new(paths: &[PathBuf]) -> Runs {
        Runs { looks: Looks::new(paths), seen: Vec::new(), runs: Vec::new() }
    }

    /// Reads what has changed, and says which runs these are: all of them the first time.
    pub fn refresh(&mut self) -> Vec<usize> {
        let now = self.looks.look();
        let changed: Vec<usize> = (0..now.len()).filter(|&i| self.seen.get(i) != Some(&now[i])).collect();
        for &i in &changed {
            // What is written from here on has another stamp, so that it is seen by the next look.
            let Some(run) = read(std::slice::from_ref(&self.looks.followed[i].path)).pop() else { continue };
            match self.runs.get_mut(i) {
                Some(old) => *old = run,
                None => self.runs.push(run),
            }
        }
        self.seen = now;
        changed
    }

    /// The runs in their order.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// A word for what was last read: another one once anything is different.
    pub fn version(&self) -> String {
        version(&self.seen)
    }
}

/// Looks at runs without reading them.
#[derive(Debug)]
pub struct Looks {
    followed: Vec<Followed>,
}

impl Looks {
    /// Looks at these directories.
    pub fn new(paths: &[PathBuf]) -> Looks {
        Looks { followed: paths.iter().map(|path| Followed { path: path.clone(), view: None }).collect() }
    }

    /// The word of [`Runs::version`] for what is there now.
    pub fn version(&mut self) -> String {
        version(&self.look())
    }

    fn look(&mut self) -> Vec<Stamp> {
        self.followed.iter_mut().map(Followed::look).collect()
    }
}

/// A directory that is followed, whether it is a run or not yet one.
#[derive(Debug)]
struct Followed {
    path: PathBuf,
    /// The run as it was opened, and its spec then: a spec never changes, unless the directory is another one.
    view: Option<(FileStamp, RunView)>,
}

/// What a look sees of a run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Stamp {
    is_directory: bool,
    is_at_work: bool,
    files: Vec<FileStamp>,
}

/// Length and time of a file; `None`: there is none.
type FileStamp = Option<(u64, Option<SystemTime>)>;

/// The files of a run that a page shows something of.
const FILES: [&str; 11] = [
    "spec.toml",
    "format",
    "space.toml",
    "env.json",
    "events.jsonl",
    "timings.jsonl",
    "spectra.jsonl",
    "landscapes.jsonl",
    "mistakes/mistakes.jsonl",
    "maps/maps.jsonl",
    "DONE",
];

/// Those of them that change in a run within a portfolio.
const FILES_OF_MEMBERS: [&str; 3] = ["events.jsonl", "timings.jsonl", "DONE"];

/// More runs than any portfolio has within it.
const MOST_MEMBERS: usize = 1000;

impl Followed {
    fn look(&mut self) -> Stamp {
        let mut files: Vec<FileStamp> = FILES.iter().map(|name| stamp(&self.path.join(name))).collect();
        let spec = files[0];
        if self.view.as_ref().is_none_or(|(of, _)| *of != spec) {
            self.view = RunView::open(&self.path).ok().map(|view| (spec, view));
        }
        let view = self.view.as_ref().map(|(_, view)| view);
        if let Some(view) = view.filter(|view| ["robust", "disparity-robust"].contains(&view.kind())) {
            for member in members(view) {
                files.extend(FILES_OF_MEMBERS.iter().map(|name| stamp(&member.join(name))));
            }
        }
        Stamp { is_directory: self.path.is_dir(), is_at_work: view.is_some_and(RunView::seems_at_work), files }
    }
}

/// The directories of the runs within a portfolio, in the order of their names.
fn members(view: &RunView) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(view.member_path("")) else { return Vec::new() };
    let mut members: Vec<PathBuf> = entries.take(MOST_MEMBERS).flatten().map(|entry| entry.path()).collect();
    members.sort_unstable();
    members
}

fn stamp(path: &Path) -> FileStamp {
    std::fs::metadata(path).ok().map(|about| (about.len(), about.modified().ok()))
}

fn version(stamps: &[Stamp]) -> String {
    let mut hasher = DefaultHasher::new();
    stamps.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_changed_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["a", "b"].map(|name| dir.path().join(name));
        let mut runs = Runs::new(&paths);
        assert_eq!(runs.refresh(), [0, 1]);
        assert_eq!(runs.refresh(), [0usize; 0]);
        let (before, mut looks) = (runs.version(), Looks::new(&paths));
        assert_eq!(looks.version(), before);
        std::fs::create_dir(&paths[1]).unwrap();
        assert_ne!(looks.version(), before);
        assert_eq!(runs.version(), before);
        assert_eq!(runs.refresh(), [1]);
        assert_eq!(runs.version(), looks.version());
        for (name, at) in FILES.iter().zip(1..) {
            let path = paths[0].join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            if at == 1 {
                // The first one also makes the directory a directory.
                runs.refresh();
            }
            std::fs::write(&path, "x").unwrap();
            assert_eq!(runs.refresh(), [0], "{name} appears");
            std::fs::File::options().append(true).open(&path).unwrap().set_len(3).unwrap();
            assert_eq!(runs.refresh(), [0], "{name} grows");
        }
        assert_eq!(runs.runs().len(), 2);
        std::fs::remove_dir_all(&paths[0]).unwrap();
        assert_eq!(runs.refresh(), [0]);
        assert!(Runs::new(&[]).refresh().is_empty());
    }
}
