//! `fashion-mini`, built into the program: the first 600 training and 100 test images of each class of
//! Fashion-MNIST, so that a first search needs no download.
//!
//! One gzip stream of four IDX files in a row: train images, train labels, test images, test labels. Every
//! ten images in a row hold each class once, in shuffled order, so both halves of a search's split have
//! equal classes. Made by `scripts/make-fashion-mini.py`; licence in `assets/LICENSE-fashion-mnist`.

use crate::dataset::Dataset;
use crate::error::DataError;
use crate::idx;
use crate::images::Images;
use crate::mnist::{self, FASHION_MNIST};
use std::io::Read;

/// The name of the data set.
pub const NAME: &str = "fashion-mini";

/// Unpacks the data set.
pub fn open() -> Result<Dataset, DataError> {
    let (train, test) = idx::whole(ASSET, FILE, |reader| Ok((part(reader)?, part(reader)?)))?;
    Dataset::new(NAME, FASHION_MNIST.classes, train, test)
}

const ASSET: &[u8] = include_bytes!("../assets/fashion-mini.idx.gz");
/// What it is called where a file is named.
pub const FILE: &str = "the built-in fashion-mini.idx.gz";

fn part(reader: &mut dyn Read) -> Result<Images, DataError> {
    let images = idx::take_images(reader, FILE)?;
    let labels = idx::take_labels(reader, FILE, FASHION_MNIST.classes.len())?;
    mnist::join(NAME, images, FILE, labels, FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ten_images_hold_each_class_once_in_no_fixed_order() {
        let data = open().unwrap();
        assert_eq!((data.train.n, data.test.n), (6000, 1000));
        for images in [&data.train, &data.test] {
            for ten in images.labels.chunks(10) {
                let mut sorted = ten.to_vec();
                sorted.sort_unstable();
                assert_eq!(sorted, (0..10).collect::<Vec<_>>());
            }
        }
        let (first, second) = (&data.train.labels[..10], &data.train.labels[10..20]);
        assert_ne!(first, second);
    }

    #[test]
    fn mean_and_deviation_are_near_those_of_the_whole_set() {
        let data = open().unwrap();
        assert!((data.mean[0] - 0.2860).abs() < 0.01, "{:?}", data.mean);
        assert!((data.std[0] - 0.3530).abs() < 0.01, "{:?}", data.std);
    }

    #[test]
    fn images_are_the_first_of_each_class_of_the_installed_set() {
        let Some(whole) = mnist::tests::installed() else { return };
        let mini = open().unwrap();
        let of_class = |images: &Images, class: u16, n: usize| -> Vec<Vec<u8>> {
            (0..images.n)
                .filter(|&i| images.labels[i] == class)
                .take(n)
                .map(|i| images.image(i).unwrap().to_vec())
                .collect()
        };
        for class in 0..10 {
            assert_eq!(of_class(&mini.train, class, 600), of_class(&whole.train, class, 600));
            assert_eq!(of_class(&mini.test, class, 100), of_class(&whole.test, class, 100));
        }
    }
}
