//! Data sets: their types, their names, and the one function that opens them.
//!
//! Images are bytes in (n, h, w, c) layout with any height, width and number of channels; every value that
//! a network sees is made from them batch by batch. Mean and standard deviation are the
//! published ones where the papers' code has some, else those of the training images, computed exactly from their
//! bytes. Published ones hold for images as they were published: where these are made smaller, computed ones are taken.

use crate::augment::Norm;
use crate::catalog::entry;
use crate::cifar::{CIFAR10, CIFAR100, CIFAR100_COARSE};
use crate::error::DataError;
use crate::images::{Images, channel_statistics, constant_channels};
use crate::shrink::{SIZES, shrink};
use crate::split::{Split, split};
use crate::svhn::{SVHN, SVHN_EXTRA};
use crate::{embedded, folder};
use std::path::{Path, PathBuf};

/// The names that [`open`] knows: first the one that needs no files, last the one for anybody's folder of images.
pub const NAMES: &[&str] = &[
    embedded::NAME,
    "fashion-mnist",
    "mnist",
    "kmnist",
    "emnist-byclass",
    "emnist-bymerge",
    "emnist-balanced",
    "emnist-letters",
    "emnist-digits",
    "emnist-mnist",
    CIFAR10.name,
    CIFAR100.name,
    CIFAR100_COARSE.name,
    SVHN.name,
    SVHN_EXTRA.name,
    folder::NAME,
];

/// How a data set is opened. All but `size` and `watch` concern folders of images only.
#[derive(Clone)]
pub struct Options<'a> {
    /// Side of the squares that images are made into, in pixels: at most the own of a named set, by the mean of the area
    /// that each pixel covers. 0: a named set as it is, a folder as its images decide.
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
    if name == folder::NAME {
        let data = folder::open(dir, options)?;
        check_content(&data, options.watch)?;
        return Ok(data);
    }
    let entry = entry(name)?;
    let (side, size) = (entry.shape[0], options.size);
    if size != 0 && !(*SIZES.start()..=side).contains(&size) {
        return Err(DataError::Size { name: entry.name, side, least: *SIZES.start(), size });
    }
    let mut data = entry.open(dir, options.watch)?;
    if size != 0 && size != side {
        shrink(&mut data.train, size);
        shrink(&mut data.test, size);
        (data.mean, data.std) = channel_statistics(&data.train)?;
    }
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
    let nearest = rdarts_text::nearest(name, NAMES);
    let nearest = nearest.map_or(String::new(), |known| format!("the nearest name is '{known}' and "));
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
             fashion-mnist, mnist, kmnist, emnist-byclass, emnist-bymerge, emnist-balanced, emnist-letters, \
             emnist-digits, emnist-mnist, cifar10, cifar100, cifar100-coarse, svhn, svhn-extra, folder"
        );
        assert!(message("Fashion-Mini").contains("the nearest name is 'fashion-mini'"));
        assert!(message("").contains("no data set is called '', all names are: fashion-mini, fashion-mnist, mnist"));
        assert!(message("cifar-10").contains("the nearest name is 'cifar10'"));
        for (given, meant) in [
            ("FashionMNIST", "fashion-mnist"),
            ("cifar_100", "cifar100"),
            ("CIFAR-10", "cifar10"),
            ("EMNIST_Letters", "emnist-letters"),
            ("MNIST", "mnist"),
            ("SVHN", "svhn"),
        ] {
            assert!(message(given).contains(&format!("the nearest name is '{meant}'")), "{given}");
        }
        for far in ["imagenet", "x", "coco", "caltech101"] {
            assert!(!message(far).contains("nearest"), "{far}: {}", message(far));
        }
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
    fn a_named_set_is_made_smaller_with_statistics_and_a_fingerprint_of_its_own() {
        let of = |size| open_with("fashion-mini", None, &Options { size, ..Options::USUAL });
        let (whole, half) = (of(0).unwrap(), of(14).unwrap());
        for (whole, half) in [(&whole.train, &half.train), (&whole.test, &half.test)] {
            assert_eq!((half.n, half.height, half.width, half.channels), (whole.n, 14, 14, 1));
            assert_eq!(half.labels, whole.labels);
            assert_ne!(half.fingerprint(), whole.fingerprint());
            let (old, new) = (whole.image(77).unwrap(), half.image(77).unwrap());
            let block =
                |y: usize, x: usize| [0, 1, 28, 29].map(|i| u32::from(old[2 * y * 28 + 2 * x + i])).iter().sum::<u32>();
            assert!((0..14 * 14).all(|i| u32::from(new[i]) == (block(i / 14, i % 14) + 2) / 4));
        }
        assert_eq!((half.mean.clone(), half.std.clone()), channel_statistics(&half.train).unwrap());
        // Means of areas keep the mean and take of the deviation.
        assert!((half.mean[0] - whole.mean[0]).abs() < 0.002 && half.std[0] < whole.std[0] - 0.01, "{half:?}");
        // Its own size is the set as it is.
        assert_eq!(of(28).unwrap(), whole);
        for size in [7, 29, 1024, usize::MAX] {
            assert_eq!(
                of(size).unwrap_err().to_string(),
                format!(
                    "the images of fashion-mini have 28x28 pixels, their size should be from 8 to 28 and not {size}"
                )
            );
        }
    }

    #[test]
    fn published_statistics_are_not_those_of_smaller_images() {
        let dir = tempfile::tempdir().unwrap();
        let record = |label: u8| [&[label][..], &(0..3072).map(|i| (i % 251) as u8).collect::<Vec<u8>>()].concat();
        let file = [record(3), record(7)].concat();
        for name in CIFAR10.files() {
            let names = "x\n".repeat(10);
            std::fs::write(dir.path().join(name), if name.ends_with(".txt") { names.as_bytes() } else { &file })
                .unwrap();
        }
        let of = |size| open_with("cifar10", Some(dir.path()), &Options { size, ..Options::USUAL }).unwrap();
        assert_eq!([of(0).mean, of(32).mean], [CIFAR10.mean; 2]);
        let small = of(16);
        assert_eq!((small.mean.clone(), small.std.clone()), channel_statistics(&small.train).unwrap());
        assert_ne!(small.mean, CIFAR10.mean);
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
