//! Data sets: their types, their names, and the one function that opens them.
//!
//! Images are bytes in (n, h, w, c) layout with any height, width and number of channels; every value that
//! a network sees is made from them batch by batch. Mean and standard deviation are the
//! published ones where the papers' code has some, else those of the training images, computed exactly from the
//! histogram of the bytes.

use crate::augment::{Augment, Norm};
use crate::cifar::{CIFAR10, CIFAR100, CIFAR100_COARSE};
use crate::error::DataError;
use crate::{embedded, fashion_mnist, svhn};
use std::path::Path;

/// The names that [`open`] knows, the one that needs no files first.
pub const NAMES: &[&str] =
    &[embedded::NAME, fashion_mnist::NAME, CIFAR10.name, CIFAR100.name, CIFAR100_COARSE.name, svhn::NAME];

/// Labelled images of one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// Number of images.
    pub n: usize,
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
    /// Values per pixel: 1 for gray, 3 for colour.
    pub channels: usize,
    /// The values, (n, height, width, channels).
    pub pixels: Vec<u8>,
    /// The class of each image.
    pub labels: Vec<u16>,
}

impl Images {
    /// The bytes of image `i`, (height, width, channels).
    ///
    /// # Panics
    /// If there is no image `i`.
    pub fn image(&self, i: usize) -> &[u8] {
        assert!(i < self.n, "image {i} of {}", self.n);
        let size = self.height * self.width * self.channels;
        &self.pixels[i * size..(i + 1) * size]
    }

    /// A number that changes with any pixel, label or shape (FNV-1a over 8 bytes at a time).
    pub fn fingerprint(&self) -> u64 {
        let mix = |h: u64, word: u64| (h ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(29);
        let shape = [self.n, self.height, self.width, self.channels].map(|v| v as u64);
        let mut hash = shape.into_iter().fold(0xcbf2_9ce4_8422_2325, mix);
        for bytes in self.pixels.chunks(8) {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            hash = mix(hash, u64::from_le_bytes(word));
        }
        self.labels.iter().fold(hash, |h, label| mix(h, u64::from(*label)))
    }
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
    /// The augmentation suggested for this data set.
    pub augment: Augment,
}

impl Dataset {
    /// The normalization by [`Dataset::mean`] and [`Dataset::std`].
    pub fn norm(&self) -> Norm {
        Norm::new(&self.mean, &self.std)
    }

    pub(crate) fn new(name: &str, classes: &[&str], train: Images, test: Images, augment: Augment) -> Self {
        let (mean, std) = channel_statistics(&train);
        let classes = classes.iter().map(|&class| class.to_owned()).collect();
        Self { name: name.to_owned(), classes, train, test, mean, std, augment }
    }
}

/// Opens a data set by name. `dir` is where its files are; without it they are looked for where the data
/// set's own documentation says. `fashion-mini` has no files and takes no notice of `dir`.
pub fn open(name: &str, dir: Option<&Path>) -> Result<Dataset, DataError> {
    match name {
        embedded::NAME => embedded::open(),
        fashion_mnist::NAME => fashion_mnist::open(dir),
        svhn::NAME => svhn::open(dir),
        name if name == CIFAR10.name => CIFAR10.open(dir),
        name if name == CIFAR100.name => CIFAR100.open(dir),
        name if name == CIFAR100_COARSE.name => CIFAR100_COARSE.open(dir),
        _ => {
            let likeness = |known: &&&str| strsim::jaro_winkler(name, known);
            let nearest = NAMES.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b))).unwrap_or(&embedded::NAME);
            Err(DataError::UnknownDataset { name: name.to_owned(), nearest, known: NAMES.join(", ") })
        }
    }
}

/// Mean and standard deviation of the values / 255, one each per channel. A channel of one constant value
/// has the deviation 1, so that it can be divided by.
pub fn channel_statistics(images: &Images) -> (Vec<f32>, Vec<f32>) {
    let mut histograms = vec![[0u64; 256]; images.channels];
    for pixel in images.pixels.chunks_exact(images.channels) {
        for (histogram, &value) in histograms.iter_mut().zip(pixel) {
            histogram[usize::from(value)] += 1;
        }
    }
    let moments = |histogram: &[u64; 256]| {
        let sum = |f: &dyn Fn(f64) -> f64| -> f64 {
            histogram.iter().enumerate().map(|(value, &count)| count as f64 * f(value as f64 / 255.0)).sum()
        };
        let count = sum(&|_| 1.0).max(1.0);
        let mean = sum(&|x| x) / count;
        let std = (sum(&|x| (x - mean) * (x - mean)) / count).sqrt();
        (mean as f32, if std > 1e-6 { std as f32 } else { 1.0 })
    };
    histograms.iter().map(moments).unzip()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_changes_with_every_pixel_label_and_shape() {
        let images = |change: fn(&mut Images)| {
            let mut images =
                Images { n: 2, height: 3, width: 3, channels: 1, pixels: (0..18).collect(), labels: vec![0, 1] };
            change(&mut images);
            images.fingerprint()
        };
        let base = images(|_| ());
        assert_eq!(base, images(|_| ()));
        assert_ne!(base, images(|i| i.pixels[17] = 99));
        assert_ne!(base, images(|i| i.pixels.swap(0, 8)));
        assert_ne!(base, images(|i| i.labels[0] = 3));
        assert_ne!(base, images(|i| (i.height, i.width) = (1, 9)));
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest_and_all() {
        let message = |name| open(name, None).unwrap_err().to_string();
        assert_eq!(
            message("fashion-mnst"),
            "no data set is called 'fashion-mnst', the nearest name is 'fashion-mnist' and all names are: fashion-mini, \
             fashion-mnist, cifar10, cifar100, cifar100-coarse, svhn"
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
    fn statistics_are_kept_apart_by_channel() {
        let pixels = vec![0, 51, 255, 51, 0, 51, 255, 51];
        let images = Images { n: 2, height: 1, width: 2, channels: 2, pixels, labels: vec![0, 0] };
        assert_eq!(channel_statistics(&images), (vec![0.5, 0.2], vec![0.5, 1.0]));
    }
}
