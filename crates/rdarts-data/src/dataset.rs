//! Data sets in memory, and how they are asked for.
//!
//! Images are bytes in (n, h, w, c) layout with any height, width and number of channels; every value that
//! a network sees is made from them batch by batch. Mean and standard deviation are the
//! published ones where the papers' code has some, else those of the training images, computed exactly from their
//! bytes. Published ones hold for images as they were published: where these are made smaller, computed ones are taken.

use std::ops::Range;
use std::path::PathBuf;

use crate::error::DataError;
use crate::images::{Images, image_sum, mix};
use crate::split::{Split, hold_out, split};
use crate::statistics::{Norm, channel_statistics};

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
    /// What [`open`](crate::open) takes: everything decided from the images, a fifth of each class for tests.
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

/// The size and the channels of the images made of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Height and width in pixels.
    pub size: usize,
    /// 1 or 3.
    pub channels: usize,
}

impl Shape {
    /// Bytes of an image.
    pub fn image_size(self) -> usize {
        self.size * self.size * self.channels
    }
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

/// What [`check`](crate::check) found.
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

/// A data set with all that a search or a training needs to know of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// Its name, one of [`NAMES`](crate::NAMES).
    pub name: String,
    /// The name of each class, by label.
    pub classes: Vec<String>,
    /// Images to train on; a search splits them in two, a training may hold some of them out.
    pub train: Images,
    /// Images to test on; a search never touches them, a training only at its end.
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

    /// The same on other files only if images, labels and the names of the classes are, those of the test part too.
    pub fn fingerprint(&self) -> u64 {
        let names = self.classes.iter().map(|name| image_sum(name.as_bytes()));
        [self.train.fingerprint(), self.test.fingerprint()].into_iter().chain(names).fold(0, mix)
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

    /// The images that a training from scratch trains on, and the last `fraction` of them, perhaps none, that it holds out.
    /// Where the images are stratified, each class is trained; a class of few images may have none that is held out.
    pub fn hold_out(&self, fraction: f64, limit: Option<usize>, batch_size: usize) -> Result<Split, DataError> {
        let split = hold_out(self.train.n, fraction, limit, batch_size)?;
        let counts = self.class_counts(split.train.clone());
        match counts.iter().position(|&n| n == 0).filter(|_| self.stratified) {
            None => Ok(split),
            Some(label) => {
                let (class, n) = (self.classes[label].clone(), self.train.counts(self.classes.len())[label]);
                Err(DataError::Untrained { class, n })
            }
        }
    }

    /// The number of images of each class, by label, in a range of the training images.
    ///
    /// # Panics
    /// If the range leaves the training images.
    pub fn class_counts(&self, range: Range<usize>) -> Vec<usize> {
        self.train.counts_in(range, self.classes.len())
    }

    pub(crate) fn new(name: &str, classes: &[&str], train: Images, test: Images) -> Result<Self, DataError> {
        let (mean, std) = channel_statistics(&train)?;
        let classes = classes.iter().map(|&class| class.to_owned()).collect();
        Ok(Self { name: name.to_owned(), classes, train, test, mean, std, stratified: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dataset(labels: &[u16]) -> Dataset {
        let n = labels.len();
        let pixels = (0..n as u8).collect::<Vec<u8>>().into();
        let images = Images { n, height: 1, width: 1, channels: 1, pixels, labels: labels.to_vec() };
        Dataset::new("test", &["cat", "dog"], images.clone(), images).unwrap()
    }

    #[test]
    fn a_training_on_stratified_images_needs_each_class_and_may_hold_out_fewer() {
        let mut data = dataset(&[0, 0, 1, 0, 0, 0]);
        data.stratified = true;
        assert_eq!(data.hold_out(0.5, None, 2).unwrap(), Split { train: 0..3, valid: 3..6 });
        assert_eq!(data.hold_out(0.0, None, 2).unwrap(), Split { train: 0..6, valid: 6..6 });
        for split in [data.hold_out(0.6, None, 2), data.hold_out(0.0, Some(2), 2)] {
            assert_eq!(
                split.unwrap_err().to_string(),
                "the class 'dog', of which there are 1 in training, has no image among those to train on: add images of \
                 it, take more of all, or hold out a smaller part"
            );
        }
        // The order of the known sets is that of their files, and what they lack is theirs.
        data.stratified = false;
        assert!(data.hold_out(0.6, None, 2).is_ok());
    }
}
