//! What is known of each named data set before it is read: where it is, and how it was published.

use crate::check::FileCheck;
use crate::cifar::{CIFAR10, CIFAR100, CIFAR100_COARSE, Cifar};
use crate::dataset::{Dataset, Watch};
use crate::error::DataError;
use crate::locate::{Roots, with_roots};
use crate::mnist::{self, EMNIST, FASHION_MNIST, KMNIST, MNIST, Mnist};
use crate::svhn::{self, SVHN, SVHN_EXTRA, Svhn};
use crate::{dataset, embedded};
use std::path::{Path, PathBuf};

/// A named data set as it was published.
pub struct Entry {
    /// Its name, one of [`crate::NAMES`].
    pub name: &'static str,
    /// Training images.
    pub n_train: usize,
    /// Test images.
    pub n_test: usize,
    /// Height and width of every image, and its channels.
    pub shape: [usize; 3],
    /// Number of classes.
    pub n_classes: usize,
    /// Means and deviations per channel of the values / 255, where papers' codes agree on some.
    pub published: Option<(&'static [f32], &'static [f32])>,
    files: &'static dyn Files,
}

/// Where the files of a data set are, and what is in them.
pub(crate) trait Files: Sync {
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
    /// Reads them from `dir`, or from where they are found.
    fn open(&self, dir: Option<&Path>, watch: &dyn Watch) -> Result<Dataset, DataError>;
    /// What is in each of them.
    fn check(&self, dir: &Path) -> Vec<FileCheck>;
}

impl Entry {
    /// The directories it is looked for in: `dir`, or else the usual ones; empty if it is part of the program.
    pub fn places(&self, dir: Option<&Path>) -> Vec<PathBuf> {
        with_roots(dir, |roots| self.files.places(roots))
    }

    /// The first of these that holds some of its files; `Ok(None)` if it is part of the program and has none.
    pub fn find(&self, dir: Option<&Path>) -> Result<Option<PathBuf>, DataError> {
        with_roots(dir, |roots| self.files.find(roots))
    }

    pub(crate) fn open(&self, dir: Option<&Path>, watch: &dyn Watch) -> Result<Dataset, DataError> {
        self.files.open(dir, watch)
    }

    pub(crate) fn check(&self, dir: &Path) -> Vec<FileCheck> {
        self.files.check(dir)
    }
}

/// All named data sets, in the order of [`crate::NAMES`]; a folder of images is none.
pub fn catalog() -> &'static [Entry] {
    &CATALOG
}

/// The data set of this name.
pub fn entry(name: &str) -> Result<&'static Entry, DataError> {
    CATALOG.iter().find(|entry| entry.name == name).ok_or_else(|| dataset::unknown(name))
}

/// The named set whose files lie in `dir` or in a directory of it with a usual name; none if there are none.
///
/// # Errors
/// One sentence if there are several sets, if one is in a form that is not read, or if IDX files do not tell whose
/// they are.
pub fn recognise(dir: &Path) -> Result<Option<&'static str>, DataError> {
    let (mut found, mut other_form) = (Vec::<&'static str>::new(), None);
    for entry in catalog() {
        // What is made of the same files as a smaller set is asked for by name.
        if found.contains(&entry.name.trim_end_matches("-coarse").trim_end_matches("-extra")) {
            continue;
        }
        match entry.files.recognise(dir) {
            Ok(Some(_)) => found.push(entry.name),
            Ok(None) => {}
            Err(e) => other_form = other_form.or(Some(e)),
        }
    }
    match found[..] {
        [name] => Ok(Some(name)),
        [] => match other_form {
            Some(e) => Err(e),
            None if [dir.to_owned(), dir.join("raw")].iter().any(|dir| mnist::holds_plain(dir)) => {
                Err(DataError::UnknownIdx { dir: dir.to_owned() })
            }
            None => Ok(None),
        },
        [first, ..] => Err(DataError::SeveralSets { dir: dir.to_owned(), names: found.join(", "), first }),
    }
}

const fn mnist(set: &'static Mnist) -> Entry {
    Entry {
        name: set.name,
        n_train: set.n[0],
        n_test: set.n[1],
        shape: [mnist::SIDE, mnist::SIDE, 1],
        n_classes: set.classes.len(),
        published: set.published,
        files: set,
    }
}

const fn cifar(set: &'static Cifar, n_classes: usize) -> Entry {
    Entry {
        name: set.name,
        n_train: 50_000,
        n_test: 10_000,
        shape: [32, 32, 3],
        n_classes,
        published: Some((&set.mean, &set.std)),
        files: set,
    }
}

const fn svhn(set: &'static Svhn, n_train: usize) -> Entry {
    Entry {
        name: set.name,
        n_train,
        n_test: 26_032,
        shape: [32, 32, 3],
        n_classes: 10,
        published: Some((&svhn::MEAN, &svhn::STD)),
        files: set,
    }
}

/// A set that is one of several constants of its type.
macro_rules! files {
    ($set:ty) => {
        impl Files for $set {
            fn places(&self, roots: &Roots) -> Vec<PathBuf> {
                Self::places(self, roots)
            }
            fn find(&self, roots: &Roots) -> Result<Option<PathBuf>, DataError> {
                Self::find(self, roots).map(Some)
            }
            fn open(&self, dir: Option<&Path>, _: &dyn Watch) -> Result<Dataset, DataError> {
                Self::open(self, dir)
            }
            fn check(&self, dir: &Path) -> Vec<FileCheck> {
                Self::check(self, dir)
            }
        }
    };
}
files!(Cifar);
files!(Svhn);

struct BuiltIn;

impl Files for BuiltIn {
    fn places(&self, _: &Roots) -> Vec<PathBuf> {
        Vec::new()
    }
    fn find(&self, _: &Roots) -> Result<Option<PathBuf>, DataError> {
        Ok(None)
    }
    fn open(&self, _: Option<&Path>, _: &dyn Watch) -> Result<Dataset, DataError> {
        embedded::open()
    }
    fn check(&self, _: &Path) -> Vec<FileCheck> {
        let images = embedded::open().map(|data| data.train.n + data.test.n);
        vec![FileCheck { path: embedded::FILE.into(), images }]
    }
}

static CATALOG: [Entry; 15] = [
    Entry {
        name: embedded::NAME,
        n_train: 6_000,
        n_test: 1_000,
        shape: [28, 28, 1],
        n_classes: 10,
        published: None,
        files: &BuiltIn,
    },
    mnist(&FASHION_MNIST),
    mnist(&MNIST),
    mnist(&KMNIST),
    mnist(&EMNIST[0]),
    mnist(&EMNIST[1]),
    mnist(&EMNIST[2]),
    mnist(&EMNIST[3]),
    mnist(&EMNIST[4]),
    mnist(&EMNIST[5]),
    cifar(&CIFAR10, 10),
    cifar(&CIFAR100, 100),
    cifar(&CIFAR100_COARSE, 20),
    svhn(&SVHN, 73_257),
    svhn(&SVHN_EXTRA, 73_257 + 531_131),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_of_the_catalog_and_the_folder_in_this_order() {
        let names = catalog().iter().map(|entry| entry.name).chain([crate::FOLDER]);
        assert!(names.eq(crate::NAMES.iter().copied()));
    }
}
