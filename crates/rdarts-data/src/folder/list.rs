//! The files of a folder of images, their classes, and which are kept for tests.
//!
//! Layouts, the first that fits:
//!
//! ```text
//! train/CLASS/*  and one of  test/CLASS/*  val/CLASS/*  valid/CLASS/*
//! train/CLASS/*  alone        tests are taken from it
//! CLASS/*                     tests are taken from each class
//! ```
//!
//! Classes are sorted by the bytes of their names, files by those of their paths. Links are followed. Names that
//! begin with a dot, files with other endings than png, jpg, jpeg and webp, and files beside the classes are left out
//! and counted. A directory within a class is refused: its images would be missed.

use crate::error::DataError;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A picture of a folder.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its path below the folder.
    pub path: PathBuf,
    /// Its class.
    pub label: u16,
    /// Whether its directory says that it is for tests.
    pub is_test: bool,
    /// Its size in bytes, and when it was changed, in seconds and nanoseconds.
    pub stamp: (u64, i64, i64),
}

/// The pictures of a folder.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// The folder.
    pub root: PathBuf,
    /// Names of the classes, by label.
    pub classes: Vec<OsString>,
    /// The pictures, sorted by path.
    pub entries: Vec<Entry>,
    /// Whether directories say which pictures are for tests.
    pub has_test: bool,
    /// How many files were left out, and one of them.
    pub ignored: (usize, Option<PathBuf>),
    /// All that is wrong.
    pub problems: Vec<DataError>,
}

const TEST_NAMES: [&str; 3] = ["test", "val", "valid"];
const ENDINGS: [&str; 4] = ["png", "jpg", "jpeg", "webp"];

/// Looks at every directory and file below `root`; what is wrong is in the listing.
pub fn list(root: &Path) -> Listing {
    let mut listing = Listing { root: root.to_owned(), ..Listing::default() };
    let children = match read_dir(root) {
        Ok(children) => children,
        Err(problem) => {
            listing.problems.push(problem);
            return listing;
        }
    };
    let (directories, others) = listing.divide(children);
    others.into_iter().for_each(|path| listing.leave_out(path));
    let named = |name: &str| directories.iter().find(|path| path.file_name() == Some(OsStr::new(name))).cloned();
    let test = TEST_NAMES.iter().find_map(|name| named(name));
    match (named("train"), test) {
        (Some(train), Some(test)) => {
            let beside: Vec<PathBuf> =
                directories.iter().filter(|&path| *path != train && *path != test).cloned().collect();
            beside.into_iter().for_each(|path| listing.leave_out(path));
            listing.has_test = true;
            let train_classes = listing.classes_of(&train);
            let test_classes = listing.classes_of(&test);
            listing.match_classes((&train, &train_classes), (&test, &test_classes));
            listing.enter(train_classes, false);
            listing.enter(test_classes, true);
        }
        (Some(train), None) if directories.len() == 1 => {
            let classes = listing.classes_of(&train);
            listing.enter(classes, false);
        }
        _ => {
            let classes = directories.into_iter().map(|path| (name_of(&path), path)).collect();
            listing.enter(classes, false);
        }
    }
    listing.entries.sort_by(|a, b| a.path.as_os_str().as_bytes().cmp(b.path.as_os_str().as_bytes()));
    listing.check_classes();
    listing
}

/// Directories of classes by name.
type Classes = BTreeMap<OsString, PathBuf>;

impl Listing {
    /// A sentence on what was left out.
    pub fn left_out(&self) -> Option<String> {
        let (n, example) = &self.ignored;
        let example = example.as_ref()?.display();
        Some(match n {
            1 => format!("{example} was left out: it is no PNG, JPEG or WebP image of a class"),
            _ => {
                format!("{n} entries such as {example} were left out: they are no PNG, JPEG or WebP images of a class")
            }
        })
    }

    /// Directories and everything else; names that begin with a dot are never directories of images.
    fn divide(&mut self, children: Vec<PathBuf>) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let mut divided = (Vec::new(), Vec::new());
        for path in children {
            match std::fs::metadata(&path) {
                Ok(data) if data.is_dir() && !is_hidden(&path) => divided.0.push(path),
                Ok(_) => divided.1.push(path),
                Err(_) if is_hidden(&path) => divided.1.push(path),
                Err(e) => self.problems.push(unreadable(&path, &e)),
            }
        }
        divided
    }

    fn leave_out(&mut self, path: PathBuf) {
        self.ignored.0 += 1;
        self.ignored.1.get_or_insert(path);
    }

    fn classes_of(&mut self, dir: &Path) -> Classes {
        let children = read_dir(dir).unwrap_or_else(|problem| {
            self.problems.push(problem);
            Vec::new()
        });
        let (directories, others) = self.divide(children);
        others.into_iter().for_each(|path| self.leave_out(path));
        directories.into_iter().map(|path| (name_of(&path), path)).collect()
    }

    /// Notes the classes that only one of two directories has.
    fn match_classes(&mut self, a: (&Path, &Classes), b: (&Path, &Classes)) {
        for ((_, classes), (other_dir, others)) in [(a, b), (b, a)] {
            let alone = classes.iter().filter(|(name, _)| !others.contains_key(*name));
            self.problems.extend(
                alone.map(|(_, path)| DataError::Unmatched { class: path.clone(), other: other_dir.to_owned() }),
            );
        }
    }

    /// Enters the pictures of all classes.
    fn enter(&mut self, classes: Classes, is_test: bool) {
        if self.classes.is_empty() {
            self.classes = classes.keys().cloned().collect();
            // Names that differ only in case would be one directory elsewhere, and one name in a table.
            let mut seen: BTreeMap<String, &PathBuf> = BTreeMap::new();
            for (name, path) in &classes {
                if let Some(first) = seen.insert(name.to_string_lossy().to_lowercase(), path) {
                    let (first, second) = (first.clone(), path.clone());
                    self.problems.push(DataError::SimilarClasses { first, second });
                }
            }
        }
        for (name, dir) in classes {
            // A class that the training images lack is a problem that was noted already.
            let Ok(label) = self.classes.binary_search(&name) else { continue };
            let children = read_dir(&dir).unwrap_or_else(|problem| {
                self.problems.push(problem);
                Vec::new()
            });
            let (n_before, n_ignored, n_problems) = (self.entries.len(), self.ignored.0, self.problems.len());
            for path in children {
                self.enter_file(path, label as u16, is_test);
            }
            if self.entries.len() == n_before && self.problems.len() == n_problems {
                let others = match self.ignored.0 - n_ignored {
                    0 => String::new(),
                    1 => " but 1 other file".to_owned(),
                    n => format!(" but {n} other files"),
                };
                self.problems.push(DataError::EmptyClass { dir, others });
            }
        }
    }

    fn enter_file(&mut self, path: PathBuf, label: u16, is_test: bool) {
        let ending = path.extension().and_then(OsStr::to_str).unwrap_or_default().to_ascii_lowercase();
        let is_picture = ENDINGS.contains(&ending.as_str()) && !is_hidden(&path);
        match std::fs::metadata(&path) {
            Ok(data) if data.is_dir() && !is_hidden(&path) => self.problems.push(DataError::Nested { dir: path }),
            Ok(data) if is_picture && data.is_file() => {
                let path = path.strip_prefix(&self.root).map(Path::to_owned).unwrap_or(path);
                let stamp = (data.len(), data.mtime(), data.mtime_nsec());
                self.entries.push(Entry { path, label, is_test, stamp });
            }
            Err(e) if is_picture => self.problems.push(unreadable(&path, &e)),
            _ => self.leave_out(path),
        }
    }

    fn check_classes(&mut self) {
        let layout = |problem: &str| DataError::Layout { dir: self.root.clone(), problem: problem.to_owned() };
        let problem = match self.classes.len() {
            _ if !self.problems.is_empty() => return,
            0 => layout("holds no directory of a class"),
            1 => layout("holds one class where a search needs at least two"),
            n if n > usize::from(u16::MAX) => layout("holds more than 65535 classes"),
            _ if u32::try_from(self.entries.len()).is_err() => layout("holds more than 4294967295 images"),
            _ => return,
        };
        self.problems.push(problem);
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_bytes().starts_with(b"."))
}

fn name_of(path: &Path) -> OsString {
    path.file_name().unwrap_or_default().to_owned()
}

/// What a directory holds, sorted by the bytes of the names.
fn read_dir(dir: &Path) -> Result<Vec<PathBuf>, DataError> {
    let entries = std::fs::read_dir(dir).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => DataError::NoFolder { dir: dir.to_owned(), reason: e.to_string() },
        _ => unreadable(dir, &e),
    })?;
    let paths: std::io::Result<Vec<PathBuf>> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(|e| unreadable(dir, &e))?;
    paths.sort_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
    Ok(paths)
}

fn unreadable(path: &Path, error: &std::io::Error) -> DataError {
    DataError::Unreadable { file: path.display().to_string(), reason: error.to_string() }
}
