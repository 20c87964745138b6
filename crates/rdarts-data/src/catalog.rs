//! What is known of each named data set before it is read: where it is, and how it was published.

use crate::check::FileCheck;
use crate::cifar::{CIFAR10, CIFAR100, CIFAR100_COARSE, Cifar};
use crate::error::DataError;
use crate::locate::{Roots, with_roots};
use crate::svhn::{self, SVHN, SVHN_EXTRA, Svhn};
use crate::{dataset, embedded, fashion_mnist};
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
            fn check(&self, dir: &Path) -> Vec<FileCheck> {
                Self::check(self, dir)
            }
        }
    };
}
files!(Cifar);
files!(Svhn);

struct FashionMnist;

impl Files for FashionMnist {
    fn places(&self, roots: &Roots) -> Vec<PathBuf> {
        fashion_mnist::places(roots)
    }
    fn find(&self, roots: &Roots) -> Result<Option<PathBuf>, DataError> {
        fashion_mnist::find(roots).map(Some)
    }
    fn check(&self, dir: &Path) -> Vec<FileCheck> {
        fashion_mnist::check(dir)
    }
}

struct BuiltIn;

impl Files for BuiltIn {
    fn places(&self, _: &Roots) -> Vec<PathBuf> {
        Vec::new()
    }
    fn find(&self, _: &Roots) -> Result<Option<PathBuf>, DataError> {
        Ok(None)
    }
    fn check(&self, _: &Path) -> Vec<FileCheck> {
        let images = embedded::open().map(|data| data.train.n + data.test.n);
        vec![FileCheck { path: embedded::FILE.into(), images }]
    }
}

static CATALOG: [Entry; 7] = [
    Entry {
        name: embedded::NAME,
        n_train: 6_000,
        n_test: 1_000,
        shape: [28, 28, 1],
        n_classes: 10,
        published: None,
        files: &BuiltIn,
    },
    Entry {
        name: fashion_mnist::NAME,
        n_train: 60_000,
        n_test: 10_000,
        shape: [28, 28, 1],
        n_classes: 10,
        // Rounded as everybody's code has them.
        published: Some((&[0.2860], &[0.3530])),
        files: &FashionMnist,
    },
    cifar(&CIFAR10, 10),
    cifar(&CIFAR100, 100),
    cifar(&CIFAR100_COARSE, 20),
    svhn(&SVHN, 73_257),
    svhn(&SVHN_EXTRA, 73_257 + 531_131),
];
