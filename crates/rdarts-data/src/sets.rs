//! The named data sets and the folder: which files each is made of, where they come from, and what is read of them.

pub mod cifar;
pub mod folder;
pub mod mnist;
pub mod svhn;

pub mod embedded;

pub mod stereo;

use std::path::{Path, PathBuf};

use crate::dataset::{Dataset, Watch};
use crate::error::DataError;
use crate::locate::{self, Roots};

/// A named set as the catalogue sees it.
pub trait Files: Sync {
    /// Where its files come from.
    fn origin(&self) -> Origin;
    /// The directories they are looked for in.
    fn places(&self, roots: &Roots) -> Vec<PathBuf>;
    /// The first directory that holds some of them; None if there are none to look for.
    fn find(&self, roots: &Roots) -> Result<Option<PathBuf>, DataError>;
    /// The directory at or in `dir` that holds files which are this set's beyond doubt.
    fn recognise(&self, dir: &Path) -> Result<Option<PathBuf>, DataError> {
        match self.find(&Roots { given: Some(dir), ..Roots::default() }) {
            Err(e @ DataError::OtherForm { .. }) => Err(e),
            found => Ok(found.ok().flatten()),
        }
    }
    /// Reads them from the directory where they were found.
    fn read(&self, dir: &Path, watch: &dyn Watch) -> Result<Dataset, DataError>;
    /// What is in each of them, or what is wrong with it, whatever is wrong with the others.
    fn check(&self, dir: &Path) -> Vec<FileCheck>;
}

/// Where the files of a set come from.
pub enum Origin {
    /// They are part of the program.
    Program,
    /// A place that this program does not fetch from, and what to do there.
    ByHand(&'static str),
    /// An address.
    Address {
        /// What the names of the files are appended to.
        base: &'static str,
        /// The directory that they are in when all is done.
        directory: &'static str,
        /// What is fetched.
        files: Vec<Published>,
        /// If that is an archive, the files in it that the set is read from.
        contents: Vec<&'static str>,
    },
}

/// The name of a file as it is published, its size in bytes and its SHA-256.
///
/// Sizes and sums are those of TensorFlow Datasets (tensorflow/datasets, files
/// `tensorflow_datasets/url_checksums/{cifar10,cifar100,svhn_cropped,fashion_mnist,mnist,kmnist}.txt`). A test compares
/// those of Fashion-MNIST with Debian's files, which are the official ones without the name and the time in their gzip
/// header.
pub type Published = (&'static str, u64, &'static str);

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
    fn of(dir: &Path, file: &str, read: impl FnOnce(&Path) -> Result<usize, DataError>) -> Self {
        Self { path: dir.join(file), images: locate::file_in(dir, file).and_then(|path| read(&path)) }
    }
}
