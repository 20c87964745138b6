//! Images as bytes in (n, h, w, c) layout, in memory or in a file that batches read piece by piece.
//!
//! A file is read at positions, an image at a time, and never as a whole, so what it holds costs no memory. Each
//! image that is read is compared with the sum taken when it was written: a file that was damaged since is an error,
//! never a wrong picture.

use std::borrow::Cow;
use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::DataError;
use crate::positioned::read_exact_at;

/// Labelled images of one size.
#[derive(Clone, Debug, PartialEq)]
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
    pub pixels: Pixels,
    /// The class of each image.
    pub labels: Vec<u16>,
}

/// Where the values of images are.
#[derive(Clone, Debug, PartialEq)]
pub enum Pixels {
    /// In memory, one image after another.
    Memory(Vec<u8>),
    /// In a file.
    File(Stored),
}

/// Images in a file, all of one size, in an order of their own.
#[derive(Clone, Debug)]
pub struct Stored {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<File>,
    /// Where the first image of the file begins.
    pub(crate) offset: u64,
    /// The place in the file of each image.
    pub(crate) places: Vec<u32>,
    /// The sum of each image, by its place in the file.
    pub(crate) sums: Arc<Vec<u64>>,
}

impl Images {
    /// The bytes of image `i`, (height, width, channels); an error only if they come from a file.
    ///
    /// # Panics
    /// If there is no image `i`.
    pub fn image(&self, i: usize) -> Result<Cow<'_, [u8]>, DataError> {
        assert!(i < self.n, "image {i} of {}", self.n);
        let size = self.image_size();
        match &self.pixels {
            Pixels::Memory(bytes) => Ok(Cow::Borrowed(&bytes[i * size..(i + 1) * size])),
            Pixels::File(stored) => stored.read(i, size).map(Cow::Owned),
        }
    }

    /// Bytes of one image.
    pub fn image_size(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// Whether the values are in memory.
    pub fn is_in_memory(&self) -> bool {
        matches!(self.pixels, Pixels::Memory(_))
    }

    /// The number of images of each of `n_classes` classes.
    pub fn counts(&self, n_classes: usize) -> Vec<usize> {
        self.counts_in(0..self.labels.len(), n_classes)
    }

    /// The number of images of each of `n_classes` classes in a range of the images.
    ///
    /// # Panics
    /// If the range leaves the images.
    pub fn counts_in(&self, range: Range<usize>, n_classes: usize) -> Vec<usize> {
        let mut counts = vec![0; n_classes];
        self.labels[range].iter().for_each(|&label| counts[usize::from(label)] += 1);
        counts
    }

    /// A number that changes with any pixel, label, shape, or the order of the images.
    pub fn fingerprint(&self) -> u64 {
        let shape = [self.n, self.height, self.width, self.channels].map(|v| v as u64);
        let mut hash = shape.into_iter().fold(BASIS, mix);
        match &self.pixels {
            Pixels::Memory(bytes) => {
                for image in bytes.chunks_exact(self.image_size().max(1)) {
                    hash = mix(hash, image_sum(image));
                }
            }
            // Reading an image compares it with its sum, so the sums stand for the images.
            Pixels::File(stored) => hash = stored.places.iter().fold(hash, |h, &at| mix(h, stored.sums[at as usize])),
        }
        self.labels.iter().fold(hash, |h, label| mix(h, u64::from(*label)))
    }
}

impl From<Vec<u8>> for Pixels {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Memory(bytes)
    }
}

/// Equal images in an equal order, wherever the file lies.
impl PartialEq for Stored {
    fn eq(&self, other: &Self) -> bool {
        let sums = |stored: &Self| -> Vec<u64> { stored.places.iter().map(|&at| stored.sums[at as usize]).collect() };
        sums(self) == sums(other)
    }
}

impl Stored {
    pub(crate) fn read(&self, i: usize, size: usize) -> Result<Vec<u8>, DataError> {
        let place = self.places[i] as usize;
        let mut bytes = vec![0; size];
        let at = self.offset + place as u64 * size as u64;
        let damaged = |reason| DataError::Cache { file: self.path.display().to_string(), reason };
        read_exact_at(&self.file, &mut bytes, at).map_err(|e| damaged(e.to_string()))?;
        match image_sum(&bytes) == self.sums[place] {
            true => Ok(bytes),
            false => Err(damaged(format!("image {place} is not the one that was written"))),
        }
    }
}

/// A number that changes with any byte of an image (FNV-1a over 8 bytes at a time).
pub fn image_sum(image: &[u8]) -> u64 {
    image.chunks(8).fold(BASIS, |hash, bytes| {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        mix(hash, u64::from_le_bytes(word))
    })
}

const BASIS: u64 = 0xcbf2_9ce4_8422_2325;

/// A hash with one more word in it.
pub(crate) fn mix(hash: u64, word: u64) -> u64 {
    (hash ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(29)
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom, Write};

    use super::*;
    use crate::statistics::channel_statistics;

    fn images(pixels: impl Into<Pixels>) -> Images {
        Images { n: 2, height: 3, width: 3, channels: 1, pixels: pixels.into(), labels: vec![0, 1] }
    }

    #[test]
    fn the_fingerprint_changes_with_every_pixel_label_and_shape() {
        let changed = |change: fn(&mut Vec<u8>, &mut Images)| {
            let mut bytes: Vec<u8> = (0..18).collect();
            let mut images = images(Vec::new());
            change(&mut bytes, &mut images);
            images.pixels = Pixels::Memory(bytes);
            images.fingerprint()
        };
        let base = changed(|_, _| ());
        assert_eq!(base, changed(|_, _| ()));
        assert_ne!(base, changed(|bytes, _| bytes[17] = 99));
        assert_ne!(base, changed(|bytes, _| bytes.swap(0, 8)));
        assert_ne!(base, changed(|bytes, _| bytes.rotate_left(9)));
        assert_ne!(base, changed(|_, images| images.labels[0] = 3));
        assert_ne!(base, changed(|_, images| (images.height, images.width) = (1, 9)));
    }

    #[test]
    fn images_in_a_file_are_those_in_memory_and_damage_is_told() {
        let bytes: Vec<u8> = (0..18).collect();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"head").unwrap();
        file.write_all(&bytes).unwrap();
        let sums = Arc::new(bytes.chunks(9).map(image_sum).collect());
        let stored = |places| {
            let (path, file) = (file.path().to_owned(), Arc::new(File::open(file.path()).unwrap()));
            Stored { path, file, offset: 4, places, sums: Arc::clone(&sums) }
        };
        let (memory, streamed) = (images(bytes.clone()), images(Pixels::File(stored(vec![0, 1]))));
        let turned = images(Pixels::File(stored(vec![1, 0])));
        assert_eq!(streamed.image(1).unwrap(), memory.image(1).unwrap());
        assert_eq!(turned.image(0).unwrap(), memory.image(1).unwrap());
        assert_eq!(streamed.fingerprint(), memory.fingerprint());
        assert_ne!(turned.fingerprint(), memory.fingerprint());
        assert_eq!(channel_statistics(&streamed), channel_statistics(&memory));
        file.as_file().seek(SeekFrom::Start(4 + 12)).unwrap();
        file.as_file().write_all(&[77]).unwrap();
        assert!(streamed.image(0).is_ok());
        let error = streamed.image(1).unwrap_err().to_string();
        assert!(error.contains("image 1 is not the one that was written"), "{error}");
        file.as_file().set_len(4 + 17).unwrap();
        assert!(streamed.image(1).is_err());
    }
}
