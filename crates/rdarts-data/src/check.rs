//! What is in each file of a data set, or what is wrong with it: reading that goes on after a bad file.

use crate::error::DataError;
use crate::{catalog, locate};
use std::path::{Path, PathBuf};

/// One file of a data set, read to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct FileCheck {
    /// The file.
    pub path: PathBuf,
    /// The images it holds (0 for a file of labels or names), or what is wrong.
    pub images: Result<usize, DataError>,
}

impl FileCheck {
    /// Reads `file` of `dir` with `read`, if it is there.
    pub(crate) fn of(dir: &Path, file: &str, read: impl FnOnce(&Path) -> Result<usize, DataError>) -> Self {
        Self { path: dir.join(file), images: locate::file_in(dir, file).and_then(|path| read(&path)) }
    }
}

/// Reads every file of the named data set (not of a folder) in `dir`, or where it is found, and goes on after each
/// that is bad.
///
/// One file is in memory at a time. An error says that there is no such data set, or that no directory holds any of it.
pub fn check_files(name: &str, dir: Option<&Path>) -> Result<Vec<FileCheck>, DataError> {
    let entry = catalog::entry(name)?;
    Ok(entry.check(&entry.find(dir)?.unwrap_or_default()))
}
