//! What lies below a folder: directories, the pictures in them, and what was passed over.
//!
//! A file is a picture if its ending says so, or else if its first bytes do. What systems and programs make for
//! themselves is passed over and counted. What this program makes is passed over without a word: a run directory is
//! known by its file `format`, and so is a directory that holds nothing but these.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rdarts_text::shown;

use crate::error::DataError;
use crate::formats::sniff;

/// A picture.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where it is.
    pub path: PathBuf,
    /// Its size in bytes, and when it was changed, in seconds and nanoseconds.
    pub stamp: (u64, i64, i64),
}

/// A directory.
#[derive(Clone, Debug, Default)]
pub struct Dir {
    /// Where it is.
    pub path: PathBuf,
    /// The directories in it, sorted by name.
    pub dirs: Vec<Dir>,
    /// The pictures in it.
    pub pictures: Vec<Found>,
    /// Pictures of formats that are not read, and what they are.
    pub foreign: Vec<(PathBuf, &'static str)>,
    /// Everything else in it.
    pub others: Vec<PathBuf>,
    /// Whether it is a link that leads to a directory above it.
    pub is_loop: bool,
    /// Whether it holds runs of this program and no picture.
    only_runs: bool,
}

impl Dir {
    /// Its name as text.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Pictures in it and in all below it.
    pub fn n_pictures(&self) -> usize {
        self.pictures.len() + self.dirs.iter().map(Dir::n_pictures).sum::<usize>()
    }

    /// Whether anything in it or below it is a picture, of whatever format.
    pub fn has_any(&self) -> bool {
        !self.pictures.is_empty() || !self.foreign.is_empty() || self.dirs.iter().any(Dir::has_any)
    }

    /// The first directory at or below it that is a link to one above.
    pub fn first_loop(&self) -> Option<&Path> {
        if self.is_loop { Some(&self.path) } else { self.dirs.iter().find_map(Dir::first_loop) }
    }
}

/// What a scan passes over, and what it cannot read.
#[derive(Debug, Default)]
pub struct Passed {
    /// Files and directories that systems and programs make: how many, and the first.
    pub system: (usize, Option<PathBuf>),
    /// What could not be read.
    pub problems: Vec<DataError>,
}

/// No directory of images is deeper: wrappers, a part, classes, and what lies wrongly in them.
const DEPTH: usize = 8;

const ENDINGS: [&str; 10] = ["png", "jpg", "jpeg", "jpe", "jfif", "jif", "jfi", "pjpeg", "pjp", "webp"];

/// Endings of files that are no picture of their own, whatever is in them: copies, and what is still being fetched.
const UNFINISHED: [&str; 8] = ["bak", "tmp", "part", "partial", "crdownload", "download", "orig", "old"];

const SYSTEM_DIRS: [&str; 16] = [
    "@eadir",
    "@tmp",
    "@recycle",
    "@recently-snapshot",
    "#recycle",
    "#snapshot",
    "__macosx",
    "lost+found",
    "$recycle.bin",
    "recycler",
    "system volume information",
    "found.000",
    "__pycache__",
    "node_modules",
    "network trash folder",
    "temporary items",
];

const SYSTEM_FILES: [&str; 7] =
    ["thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r", "autorun.inf", "picasa.ini"];

/// Everything below `root`; an error says that `root` itself cannot be read.
pub fn scan(root: &Path, passed: &mut Passed) -> Result<Dir, DataError> {
    let children = read_dir(root)?;
    let mut above = vec![identity(root)];
    Ok(fill(root, children, &mut above, passed))
}

/// Whether a directory is a run of this program.
pub fn is_run(dir: &Path) -> bool {
    let mut head = [0; 11];
    let read = File::open(dir.join("format")).and_then(|mut file| file.read_exact(&mut head));
    read.is_ok() && &head == b"rdarts-run " && dir.join("spec.toml").is_file()
}

/// What tells a directory from all others, however it is reached.
#[cfg(unix)]
fn identity(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|data| (data.dev(), data.ino()))
}

#[cfg(unix)]
type Identity = (u64, u64);

/// Where directories have no numbers, by its path without links.
#[cfg(not(unix))]
fn identity(path: &Path) -> Option<Identity> {
    path.canonicalize().ok()
}

#[cfg(not(unix))]
type Identity = PathBuf;

/// Seconds since 1970, and the nanoseconds of the next one; 0 where the system keeps no times.
fn changed(data: &std::fs::Metadata) -> (i64, i64) {
    let Ok(time) = data.modified() else { return (0, 0) };
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => (since.as_secs() as i64, i64::from(since.subsec_nanos())),
        Err(before) => {
            let nanos = before.duration().as_nanos() as i128;
            (-((nanos + 999_999_999) / 1_000_000_000) as i64, (-nanos).rem_euclid(1_000_000_000) as i64)
        }
    }
}

fn fill(dir: &Path, children: Vec<PathBuf>, above: &mut Vec<Option<Identity>>, passed: &mut Passed) -> Dir {
    let mut made = Dir { path: dir.to_owned(), ..Dir::default() };
    let mut n_runs = 0;
    for path in children {
        let name = path.file_name().unwrap_or_default().to_owned();
        let lower = name.to_string_lossy().to_lowercase();
        let is_hidden = name.as_encoded_bytes().starts_with(b".");
        let data = match std::fs::metadata(&path) {
            Ok(data) => data,
            Err(_) if is_hidden => {
                pass(passed, path);
                continue;
            }
            // A link to nothing is a lost picture or a lost class, unless its name says that it is something else.
            Err(e) if is_picture_name(&path) || path.extension().is_none() => {
                passed.problems.push(DataError::unreadable(shown(&path), &e));
                continue;
            }
            Err(_) => {
                made.others.push(path);
                continue;
            }
        };
        if data.is_dir() {
            if is_hidden || SYSTEM_DIRS.contains(&lower.as_str()) {
                pass(passed, path);
            } else if is_run(&path) {
                n_runs += 1;
            } else {
                enter(&mut made, path, &mut n_runs, above, passed);
            }
        } else if is_hidden || SYSTEM_FILES.contains(&lower.as_str()) {
            pass(passed, path);
        } else {
            enter_file(&mut made, path, &data);
        }
    }
    made.only_runs = n_runs > 0 && !made.has_any() && made.dirs.is_empty();
    made
}

fn enter(made: &mut Dir, path: PathBuf, n_runs: &mut usize, above: &mut Vec<Option<Identity>>, passed: &mut Passed) {
    let identity = identity(&path);
    if identity.is_some() && above.contains(&identity) {
        made.dirs.push(Dir { path, is_loop: true, ..Dir::default() });
        return;
    }
    if above.len() > DEPTH {
        made.others.push(path);
        return;
    }
    let children = match read_dir(&path) {
        Ok(children) => children,
        Err(problem) => return passed.problems.push(problem),
    };
    above.push(identity);
    let child = fill(&path, children, above, passed);
    above.pop();
    match child.only_runs {
        true => *n_runs += 1,
        false => made.dirs.push(child),
    }
}

fn enter_file(made: &mut Dir, path: PathBuf, data: &std::fs::Metadata) {
    let lower = ending(&path);
    let is_copy = UNFINISHED.contains(&lower.as_str()) || path.as_os_str().as_encoded_bytes().ends_with(b"~");
    let (seconds, nanos) = changed(data);
    let stamp = (data.len(), seconds, nanos);
    if !data.is_file() || is_copy {
        made.others.push(path);
    } else if ENDINGS.contains(&lower.as_str()) {
        made.pictures.push(Found { path, stamp });
    } else {
        let head = head(&path);
        match sniff::foreign_image(&head).or_else(|| sniff::foreign_ending(&lower)) {
            _ if sniff::is_picture(&head) => made.pictures.push(Found { path, stamp }),
            Some(kind) => made.foreign.push((path, kind)),
            None if head.starts_with(b"rdarts images ") => {}
            None => made.others.push(path),
        }
    }
}

fn ending(path: &Path) -> String {
    path.extension().and_then(OsStr::to_str).unwrap_or_default().to_ascii_lowercase()
}

fn is_picture_name(path: &Path) -> bool {
    ENDINGS.contains(&ending(path).as_str())
        && !path.file_name().unwrap_or_default().as_encoded_bytes().starts_with(b".")
}

/// The first bytes of a file; none if it cannot be read.
fn head(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = File::open(path).and_then(|file| file.take(sniff::HEAD as u64).read_to_end(&mut bytes));
    bytes
}

fn pass(passed: &mut Passed, path: PathBuf) {
    passed.system.0 += 1;
    passed.system.1.get_or_insert(path);
}

/// What a directory holds, sorted by the bytes of the names.
fn read_dir(dir: &Path) -> Result<Vec<PathBuf>, DataError> {
    let entries = std::fs::read_dir(dir).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => DataError::NoFolder { dir: dir.to_owned(), reason: e.to_string() },
        _ => DataError::unreadable(shown(dir), &e),
    })?;
    let paths: std::io::Result<Vec<PathBuf>> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(|e| DataError::unreadable(shown(dir), &e))?;
    paths.sort_by(|a, b| a.as_os_str().as_encoded_bytes().cmp(b.as_os_str().as_encoded_bytes()));
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_whole_seconds_and_what_comes_after_them_before_1970_too() {
        let file = tempfile::tempfile().unwrap();
        let early = SystemTime::UNIX_EPOCH - Duration::new(4, 250_000_000);
        for (time, expected) in [
            (SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 5), (1_700_000_000, 5)),
            (early, (-5, 750_000_000)),
            (SystemTime::UNIX_EPOCH - Duration::from_secs(4), (-4, 0)),
        ] {
            file.set_modified(time).unwrap();
            let data = file.metadata().unwrap();
            assert_eq!(changed(&data), expected);
            #[cfg(unix)]
            {
                use std::os::unix::fs::MetadataExt;
                assert_eq!((data.mtime(), data.mtime_nsec()), expected, "as this system says it");
            }
        }
    }
}
