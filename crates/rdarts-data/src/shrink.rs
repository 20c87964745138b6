//! Smaller images: each pixel is the mean of the area it covers.
//!
//! An image of side `n` becomes one of side `m`. In units of 1/m of a pixel, old pixel j covers `j m .. (j + 1) m` and new
//! pixel i covers `i n .. (i + 1) n`; what both cover is the weight of the one in the other, a whole number, and the
//! weights of a new pixel are n along each side:
//!
//! ```text
//! new[y][x] = sum of weight(y, v) weight(x, u) old[v][u] / (n n), rounded half up
//! ```
//!
//! Whole numbers all the way, so that every machine makes the same bytes. Where m divides n this is the mean of blocks.

use std::ops::RangeInclusive;

use rayon::prelude::*;

use crate::images::{Images, Pixels};

/// The smallest and the largest size that images are made into.
pub const SIZES: RangeInclusive<usize> = 8..=1024;

/// Squares of `size` pixels made of the larger squares in `images`, which are in memory; theirs is used again.
///
/// # Panics
/// If the images are no squares, are smaller, or are not in memory.
pub fn shrink(images: &mut Images, size: usize) {
    let (side, channels) = (images.height, images.channels);
    assert!(images.width == side && (1..=side).contains(&size), "{side}x{} to {size}", images.width);
    let Pixels::Memory(bytes) = &mut images.pixels else { panic!("only images in memory are made smaller") };
    let parts = parts(side, size);
    let (before, after) = (side * side * channels, size * size * channels);
    // Enough for all threads; nothing that is still to be read is written over, since what is written is smaller.
    const BLOCK: usize = 4096;
    let mut made = vec![0; BLOCK.min(images.n) * after];
    for first in (0..images.n).step_by(BLOCK) {
        let n = BLOCK.min(images.n - first);
        let old = bytes[first * before..(first + n) * before].par_chunks_exact(before);
        made[..n * after].par_chunks_exact_mut(after).zip(old).for_each_init(Vec::new, |rows, (new, old)| {
            shrink_one(old, side, channels, &parts, rows, new);
        });
        bytes[first * after..(first + n) * after].copy_from_slice(&made[..n * after]);
    }
    bytes.truncate(images.n * after);
    bytes.shrink_to_fit();
    (images.height, images.width) = (size, size);
}

/// The old pixels of a new one along one side: the first of them, and the weight of each.
type Part = (usize, Vec<u64>);

fn parts(side: usize, size: usize) -> Vec<Part> {
    let part = |i: usize| {
        let (start, end) = (i * side, (i + 1) * side);
        let covered = start / size..end.div_ceil(size);
        let weight = |j: usize| (end.min((j + 1) * size) - start.max(j * size)) as u64;
        (covered.start, covered.map(weight).collect())
    };
    (0..size).map(part).collect()
}

/// One image, first along its rows, into `rows`, then along its columns.
fn shrink_one(old: &[u8], side: usize, channels: usize, parts: &[Part], rows: &mut Vec<u64>, new: &mut [u8]) {
    let row_len = parts.len() * channels;
    rows.clear();
    for row in old.chunks_exact(side * channels) {
        for (first, weights) in parts {
            let pixels = |channel: usize| row[first * channels + channel..].iter().step_by(channels);
            rows.extend((0..channels).map(|channel| {
                weights.iter().zip(pixels(channel)).map(|(weight, &value)| weight * u64::from(value)).sum::<u64>()
            }));
        }
    }
    let area = (side * side) as u64;
    for (new_row, (first, weights)) in new.chunks_exact_mut(row_len).zip(parts) {
        for (x, new) in new_row.iter_mut().enumerate() {
            let column = rows[first * row_len + x..].iter().step_by(row_len);
            let sum: u64 = weights.iter().zip(column).map(|(weight, value)| weight * value).sum();
            *new = ((2 * sum + area) / (2 * area)) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn squares(n: usize, side: usize, channels: usize, value: impl Fn(usize) -> u8) -> Images {
        let pixels: Vec<u8> = (0..n * side * side * channels).map(value).collect();
        Images { n, height: side, width: side, channels, pixels: pixels.into(), labels: vec![0; n] }
    }

    fn shrunk(mut images: Images, size: usize) -> Vec<u8> {
        shrink(&mut images, size);
        assert_eq!((images.height, images.width), (size, size));
        let Pixels::Memory(bytes) = images.pixels else { panic!("in memory before and after") };
        bytes
    }

    /// The definition in floats: the integral of the old image over the area of a new pixel.
    fn reference(old: &[u8], side: usize, channels: usize, size: usize) -> Vec<f64> {
        let scale = side as f64 / size as f64;
        let share = |i: usize, j: usize| {
            let (start, end) = (i as f64 * scale, (i + 1) as f64 * scale);
            (end.min((j + 1) as f64) - start.max(j as f64)).max(0.0) / scale
        };
        let mut new = Vec::new();
        for (y, x, channel) in
            (0..size * size * channels).map(|i| (i / (size * channels), i / channels % size, i % channels))
        {
            let mut sum = 0.0;
            for (v, u) in (0..side * side).map(|i| (i / side, i % side)) {
                sum += share(y, v) * share(x, u) * f64::from(old[(v * side + u) * channels + channel]);
            }
            new.push(sum);
        }
        new
    }

    fn noise(i: usize) -> u8 {
        ((i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
    }

    #[test]
    fn a_constant_image_stays_constant_at_every_size() {
        for size in 1..=28 {
            assert_eq!(shrunk(squares(2, 28, 1, |_| 201), size), vec![201; 2 * size * size], "{size}");
        }
    }

    #[test]
    fn half_of_the_side_is_the_mean_of_blocks_rounded_half_up() {
        let image = squares(1, 32, 3, noise);
        let Pixels::Memory(old) = image.pixels.clone() else { panic!() };
        let new = shrunk(image, 16);
        for (y, x, channel) in (0..16 * 16 * 3).map(|i| (i / 48, i / 3 % 16, i % 3)) {
            let at = |v: usize, u: usize| u32::from(old[((2 * y + v) * 32 + 2 * x + u) * 3 + channel]);
            let sum = at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1);
            assert_eq!(u32::from(new[(y * 16 + x) * 3 + channel]), (sum + 2) / 4);
        }
        // Sums of 1, 2 and 3 of four pixels: a quarter, a half and three quarters.
        let block = |ones: usize| shrunk(squares(1, 2, 1, |i| u8::from(i < ones)), 1)[0];
        assert_eq!([0, 1, 2, 3, 4].map(block), [0, 0, 1, 1, 1]);
    }

    #[test]
    fn the_own_size_changes_nothing() {
        assert_eq!(shrunk(squares(3, 28, 1, noise), 28), (0..3 * 28 * 28).map(noise).collect::<Vec<u8>>());
    }

    #[test]
    fn a_size_that_does_not_divide_the_side_weighs_by_area() {
        let image = squares(1, 28, 1, noise);
        let Pixels::Memory(old) = image.pixels.clone() else { panic!() };
        let exact = reference(&old, 28, 1, 20);
        let new = shrunk(image, 20);
        for (exact, new) in exact.iter().zip(&new) {
            assert!((exact - f64::from(*new)).abs() < 0.5 + 1e-9, "{exact} {new}");
        }
        assert!(exact.iter().any(|value| value.fract() > 0.1), "a test of whole numbers shows no rounding");
        // Of three pixels two: a pixel and a half of each, so 2/3 and 1/3 along a side.
        let stripes = shrunk(squares(1, 3, 1, |i| [0, 90, 255][i % 3]), 2);
        assert_eq!(stripes, [30, 200, 30, 200]);
    }

    #[test]
    fn more_images_than_a_block_are_each_their_own() {
        let images = squares(5000, 4, 1, noise);
        let Pixels::Memory(old) = images.pixels.clone() else { panic!() };
        let one = |old: &[u8]| shrunk(squares(1, 4, 1, |i| old[i]), 3);
        assert_eq!(shrunk(images, 3), old.chunks(16).flat_map(one).collect::<Vec<u8>>());
    }

    proptest! {
        #[test]
        fn every_size_is_the_mean_of_areas(side in 1usize..12, less in 0usize..11, channels in 1usize..4, seed in any::<u16>()) {
            let size = side.saturating_sub(less).max(1);
            let image = squares(1, side, channels, |i| noise(i + usize::from(seed)));
            let Pixels::Memory(old) = image.pixels.clone() else { panic!() };
            let exact = reference(&old, side, channels, size);
            for (exact, new) in exact.iter().zip(shrunk(image, size)) {
                prop_assert!((exact - f64::from(new)).abs() < 0.5 + 1e-9, "{} {}", exact, new);
            }
        }
    }
}
