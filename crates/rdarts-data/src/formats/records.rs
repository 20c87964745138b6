//! Colour images of 32x32 pixels, as they are collected from the files of CIFAR and SVHN.

use crate::images::Images;

/// Height and width of every image.
pub const SIDE: usize = 32;

/// Bytes of an image.
pub const IMAGE: usize = 3 * SIDE * SIDE;

/// The most images of one file: twenty times CIFAR, and 3 GiB.
pub const MAX_IMAGES: usize = 1 << 20;

/// Colour images of 32x32 pixels that are being collected; memory grows with those that arrive.
#[derive(Debug, Default)]
pub struct Records {
    /// Bytes, (n, row, column, channel).
    pub pixels: Vec<u8>,
    /// Classes.
    pub labels: Vec<u16>,
}

impl Records {
    /// Reserves memory for `n` images more, so that a large file is never held twice. It is not touched before its
    /// images arrive, so a file that declares more than it holds costs none; where it is refused, it grows as needed.
    pub fn make_room(&mut self, n: usize) {
        let _ = self.pixels.try_reserve_exact(n.min(MAX_IMAGES) * IMAGE);
    }

    /// Adds an image whose byte of pixel `row * 32 + column` and channel is `value(pixel, channel)`.
    pub fn push_pixels(&mut self, value: impl Fn(usize, usize) -> u8) {
        let start = self.pixels.len();
        self.pixels.resize(start + IMAGE, 0);
        for (i, pixel) in self.pixels[start..].chunks_exact_mut(3).enumerate() {
            pixel.iter_mut().enumerate().for_each(|(channel, byte)| *byte = value(i, channel));
        }
    }

    /// The images, when each has its label.
    pub fn into_images(mut self) -> Images {
        self.pixels.shrink_to_fit();
        let n = self.labels.len();
        Images { n, height: SIDE, width: SIDE, channels: 3, pixels: self.pixels.into(), labels: self.labels }
    }
}
