//! `fashion-mini`, built into the program: the first 600 training and 100 test images of each class of
//! Fashion-MNIST, so that a first search needs no download.
//!
//! One gzip stream of four IDX files in a row: train images, train labels, test images, test labels. Every
//! ten images in a row hold each class once, in shuffled order, so both halves of a search's split have
//! equal classes. Made by `scripts/make-fashion-mini.py`; licence in `assets/LICENSE-fashion-mnist`.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::mnist::{self, FASHION_MNIST};
use super::{FileCheck, Files, Origin};
use crate::dataset::{Dataset, Watch};
use crate::error::DataError;
use crate::formats::idx;
use crate::images::Images;
use crate::locate::Roots;

/// The name of the data set.
pub const NAME: &str = "fashion-mini";

const ASSET: &[u8] = include_bytes!("../../assets/fashion-mini.idx.gz");
/// What it is called where a file is named.
const FILE: &str = "the built-in fashion-mini.idx.gz";

/// The one set that needs no files.
pub struct Embedded;

impl Files for Embedded {
    fn origin(&self) -> Origin {
        Origin::Program
    }

    fn places(&self, _: &Roots) -> Vec<PathBuf> {
        Vec::new()
    }

    fn find(&self, _: &Roots) -> Result<Option<PathBuf>, DataError> {
        Ok(None)
    }

    fn read(&self, _: &Path, _: &dyn Watch) -> Result<Dataset, DataError> {
        unpack()
    }

    fn check(&self, _: &Path) -> Vec<FileCheck> {
        let images = unpack().map(|data| data.train.n + data.test.n);
        vec![FileCheck { path: FILE.into(), images }]
    }
}

fn unpack() -> Result<Dataset, DataError> {
    let (train, test) = idx::whole(ASSET, FILE, |reader| Ok((part(reader)?, part(reader)?)))?;
    Dataset::new(NAME, FASHION_MNIST.classes, train, test)
}

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
        let data = unpack().unwrap();
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
        let data = unpack().unwrap();
        assert!((data.mean[0] - 0.2860).abs() < 0.01, "{:?}", data.mean);
        assert!((data.std[0] - 0.3530).abs() < 0.01, "{:?}", data.std);
    }

    #[test]
    fn images_are_the_first_of_each_class_of_the_installed_set() {
        let Some(whole) = mnist::tests::installed() else { return };
        let mini = unpack().unwrap();
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
