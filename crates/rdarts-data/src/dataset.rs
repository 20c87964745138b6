//! Data sets: their types, their names, and the one function that opens them.
//!
//! Images are bytes in (n, h, w, c) layout with any height, width and number of channels; every value that
//! a network sees is made from them batch by batch. Mean and standard deviation are the
//! published ones where the papers' code has some, else those of the training images, computed exactly from their
//! bytes.

use crate::augment::Norm;
use crate::cifar::{CIFAR10, CIFAR100, CIFAR100_COARSE};
use crate::error::DataError;
use crate::images::{Images, channel_statistics, constant_channels};
use crate::split::{Split, split};
use crate::svhn::{SVHN, SVHN_EXTRA};
use crate::{embedded, fashion_mnist, folder};
use std::path::{Path, PathBuf};

/// The names that [`open`] knows: first the one that needs no files, last the one for anybody's folder of images.
pub const NAMES: &[&str] = &[
    embedded::NAME,
    fashion_mnist::NAME,
    CIFAR10.name,
    CIFAR100.name,
    CIFAR100_COARSE.name,
    SVHN.name,
    SVHN_EXTRA.name,
    folder::NAME,
];

/// How a data set is opened. All but `watch` and the limit of memory concern folders of images only.
#[derive(Clone)]
pub struct Options<'a> {
    /// Side of the squares that images are made into, in pixels; 0: decided from the images.
    pub size: usize,
    /// 1 for gray, 3 for colour; 0: gray if all files are.
    pub channels: usize,
    /// Part of each class that is kept for tests, where a folder does not say which images are.
    pub test_fraction: f64,
    /// Seed of the order of the images, and thus of what is kept for tests and of the halves of a search.
    pub split_seed: u64,
    /// Whether decoded images are kept in a file.
    pub cache: Cache,
    /// Bytes that images may take in memory, beyond which they are read from the cache as they are needed; `None`:
    /// half of what the machine has free.
    pub memory: Option<u64>,
    /// Who is told what takes long and what was noticed.
    pub watch: &'a dyn Watch,
}

/// Whether, and where, a folder's decoded images are kept in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cache {
    /// Only if they need more memory than they may take.
    IfNeeded,
    /// In the user's directory of caches.
    Usual,
    /// In this file.
    At(PathBuf),
}

impl Options<'static> {
    /// What [`open`] takes: everything decided from the images, a fifth of each class for tests.
    pub const USUAL: Self = Self {
        size: 0,
        channels: 0,
        test_fraction: 0.2,
        split_seed: 1,
        cache: Cache::IfNeeded,
        memory: None,
        watch: &Silent,
    };
}

/// One who is told what takes long and what was noticed, from the thread that opens.
pub trait Watch: Sync {
    /// So many of so many files are done.
    fn progress(&self, done: usize, total: usize);
    /// Something worth a line.
    fn note(&self, text: &str);
}

/// Nobody.
pub struct Silent;

impl Watch for Silent {
    fn progress(&self, _done: usize, _total: usize) {}
    fn note(&self, _text: &str) {}
}

/// What [`check`] found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checked {
    /// Files that were looked into, right or wrong.
    pub n_files: usize,
    /// Files and directories that were left out because they are no images of a class.
    pub n_ignored: usize,
    /// Sentences on these, and on what else is worth a line.
    pub left_out: Vec<String>,
    /// All that is wrong.
    pub problems: Vec<DataError>,
}

/// A data set with all that a search needs to know of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// Its name, one of [`NAMES`].
    pub name: String,
    /// The name of each class, by label.
    pub classes: Vec<String>,
    /// Images to train on; a search splits them in two.
    pub train: Images,
    /// Images to test on; a search never touches them.
    pub test: Images,
    /// Mean of the training images' values / 255, one per channel, as published or as computed.
    pub mean: Vec<f32>,
    /// Standard deviation of the same.
    pub std: Vec<f32>,
    /// Whether the training images stand in an order in which every stretch has its share of each class. The known
    /// sets keep the order of their files, as the papers' code does.
    pub stratified: bool,
}

impl Dataset {
    /// The normalization by [`Dataset::mean`] and [`Dataset::std`].
    pub fn norm(&self) -> Norm {
        Norm::new(&self.mean, &self.std)
    }

    /// The two sides of a search. Where the images are stratified, each side holds each class.
    pub fn split(&self, fraction: f64, limit: Option<usize>, batch_size: usize) -> Result<Split, DataError> {
        let split = split(self.train.n, fraction, limit, batch_size)?;
        if self.stratified {
            for (side, range) in [("the weights", &split.train), ("the architecture", &split.valid)] {
                let labels = &self.train.labels[range.clone()];
                let lacks = |label: &usize| labels.iter().all(|&other| usize::from(other) != *label);
                if let Some(label) = (0..self.classes.len()).find(lacks) {
                    let (class, n) = (self.classes[label].clone(), self.train.counts(self.classes.len())[label]);
                    return Err(DataError::OneSided { class, n, side });
                }
            }
        }
        Ok(split)
    }

    pub(crate) fn new(name: &str, classes: &[&str], train: Images, test: Images) -> Result<Self, DataError> {
        let (mean, std) = channel_statistics(&train)?;
        let classes = classes.iter().map(|&class| class.to_owned()).collect();
        Ok(Self { name: name.to_owned(), classes, train, test, mean, std, stratified: false })
    }
}

/// Opens a data set by name. `dir` is where its files are; without it they are looked for where the data
/// set's own documentation says. `fashion-mini` has no files and takes no notice of `dir`.
pub fn open(name: &str, dir: Option<&Path>) -> Result<Dataset, DataError> {
    open_with(name, dir, &Options::USUAL)
}

/// Like [`open`], as `options` say.
pub fn open_with(name: &str, dir: Option<&Path>, options: &Options) -> Result<Dataset, DataError> {
    let data = match name {
        folder::NAME => folder::open(dir, options),
        embedded::NAME => embedded::open(),
        fashion_mnist::NAME => fashion_mnist::open(dir),
        name if name == CIFAR10.name => CIFAR10.open(dir),
        name if name == CIFAR100.name => CIFAR100.open(dir),
        name if name == CIFAR100_COARSE.name => CIFAR100_COARSE.open(dir),
        name if name == SVHN.name => SVHN.open(dir),
        name if name == SVHN_EXTRA.name => SVHN_EXTRA.open(dir),
        _ => Err(unknown(name)),
    }?;
    check_content(&data, options.watch)?;
    Ok(data)
}

/// A deviation of zero is nothing to normalize by, and a channel without one nothing to learn from.
fn check_content(data: &Dataset, watch: &dyn Watch) -> Result<(), DataError> {
    let constant = constant_channels(&data.train)?;
    let n_channels = data.train.channels;
    if n_channels > 0 && constant.len() == n_channels {
        let what = format!(
            "all pixels of all {} training images of {} have the same colour, so there is nothing to learn from: get its \
             files again",
            data.train.n, data.name
        );
        return Err(DataError::NoContent { what });
    }
    for channel in constant {
        watch.note(&format!(
            "channel {channel} (of {n_channels}, counted from 0) has the same value in all training images, so nothing is \
             learned from it"
        ));
    }
    Ok(())
}

/// Reads every file of a data set and gives all that is wrong with them; [`open`] gives the first.
pub fn check(name: &str, dir: Option<&Path>, watch: &dyn Watch) -> Checked {
    match name {
        folder::NAME => folder::check(dir, watch),
        _ => match crate::check_files(name, dir) {
            Ok(files) => Checked {
                n_files: files.len(),
                problems: files.into_iter().filter_map(|file| file.images.err()).collect(),
                ..Checked::default()
            },
            Err(problem) => Checked { problems: vec![problem], ..Checked::default() },
        },
    }
}

/// The sentence for a name that is none of [`NAMES`].
pub(crate) fn unknown(name: &str) -> DataError {
    let likeness = |known: &&&str| strsim::jaro_winkler(name, known);
    let nearest = NAMES.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b))).unwrap_or(&embedded::NAME);
    DataError::UnknownDataset { name: name.to_owned(), nearest, known: NAMES.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest_and_all() {
        let message = |name| open(name, None).unwrap_err().to_string();
        assert_eq!(
            message("fashion-mnst"),
            "no data set is called 'fashion-mnst', the nearest name is 'fashion-mnist' and all names are: fashion-mini, \
             fashion-mnist, cifar10, cifar100, cifar100-coarse, svhn, svhn-extra, folder"
        );
        assert!(message("Fashion-Mini").contains("the nearest name is 'fashion-mini'"));
        assert!(message("").contains("all names are: fashion-mini, fashion-mnist, cifar10"));
        assert!(message("cifar-10").contains("the nearest name is 'cifar10'"));
        assert!(message("cifar100-corse").contains("the nearest name is 'cifar100-coarse'"));
    }

    #[test]
    fn every_name_is_opened_or_says_how_to_get_it() {
        for &name in NAMES {
            match open(name, None) {
                Ok(data) => assert_eq!(data.name, name),
                Err(error) => {
                    assert!(matches!(error, DataError::NotInstalled { .. } | DataError::NoDirectory { .. }), "{error}")
                }
            }
        }
    }

    #[test]
    fn checking_a_known_set_goes_on_after_a_bad_file() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
        let record = [&[3][..], &[7; 3072]].concat();
        for i in 1..=4 {
            write(&format!("data_batch_{i}.bin"), &record);
        }
        write("test_batch.bin", &record);
        write("batches.meta.txt", "x\n".repeat(10).as_bytes());
        let found = |name| {
            let Checked { n_files, problems, .. } = check(name, Some(dir.path()), &Silent);
            (n_files, problems.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        write("data_batch_2.bin", b"<html>no</html>");
        write("test_batch.bin", &record[1..]);
        let (n, problems) = found("cifar10");
        assert_eq!((n, problems.len()), (7, 3), "{problems:?}");
        let places =
            ["data_batch_2.bin is not a file", "lacks the file data_batch_5.bin", "test_batch.bin is cut short"];
        assert!(problems.iter().zip(places).all(|(problem, words)| problem.contains(words)), "{problems:?}");
        // Each by itself is right then, but one is shorter than the others.
        write("data_batch_2.bin", &record);
        write("data_batch_5.bin", &record.repeat(2));
        write("test_batch.bin", &record);
        let (_, problems) = found("cifar10");
        assert_eq!(problems.len(), 1);
        assert!(problems[0].contains("the two should be equal"), "{problems:?}");
        write("data_batch_5.bin", &record);
        assert_eq!(found("cifar10"), (7, Vec::new()));

        assert!(found("svhn").1[0].starts_with("svhn is not in "));
        write("train_32x32.mat", b"<html>");
        let (n, problems) = found("svhn");
        assert_eq!((n, problems.len()), (2, 2), "{problems:?}");
        write("train-images-idx3-ubyte", b"<html>");
        assert_eq!(found("fashion-mnist").1.len(), 4);
        assert_eq!(found("fashion-mini"), (1, Vec::new()));
        assert_eq!(found("nothing").1.len(), 1);
    }
}
