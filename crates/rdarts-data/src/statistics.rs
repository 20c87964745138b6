//! What is computed of all images of a set: mean and deviation of each channel, and how they are spread over classes;
//! and the normalization by them.

use crate::error::DataError;
use crate::images::Images;

/// The normalization (x/255 - mean)/std as a table of the 256 values of each channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Norm {
    pub(crate) table: Vec<[f32; 256]>,
}

impl Norm {
    /// The normalization with these means and deviations, one each per channel.
    ///
    /// # Panics
    /// If the two differ in length.
    pub fn new(mean: &[f32], std: &[f32]) -> Self {
        assert_eq!(mean.len(), std.len(), "means and deviations per channel");
        let row = |(&mean, &std): (&f32, &f32)| std::array::from_fn(|x| (x as f32 / 255.0 - mean) / std);
        Self { table: mean.iter().zip(std).map(row).collect() }
    }

    /// The values of the 256 bytes of each channel.
    pub fn table(&self) -> &[[f32; 256]] {
        &self.table
    }

    /// The number of channels.
    pub fn channels(&self) -> usize {
        self.table.len()
    }
}

/// Normalizes one image: `raw` and `out` are (height, width, channels).
pub fn normalize(raw: &[u8], norm: &Norm, out: &mut [f32]) {
    match norm.table.as_slice() {
        [gray] => out.iter_mut().zip(raw).for_each(|(y, &x)| *y = gray[usize::from(x)]),
        table => {
            let n_channels = table.len();
            for (out, raw) in out.chunks_exact_mut(n_channels).zip(raw.chunks_exact(n_channels)) {
                for ((y, &x), row) in out.iter_mut().zip(raw).zip(table) {
                    *y = row[usize::from(x)];
                }
            }
        }
    }
}

/// Makes all pixels those of a black image.
pub fn blacken(out: &mut [f32], norm: &Norm) {
    for pixel in out.chunks_exact_mut(norm.channels()) {
        pixel.iter_mut().zip(&norm.table).for_each(|(y, row)| *y = row[0]);
    }
}

/// The sum of one channel's values and the sum of their squares.
pub type Moments = (u64, u128);

/// Adds the values of an image to the sums of its channels.
pub fn add_moments(moments: &mut [Moments], image: &[u8]) {
    let n_channels = moments.len();
    for (channel, (sum, squares)) in moments.iter_mut().enumerate() {
        let values = || image.iter().skip(channel).step_by(n_channels).map(|&value| u64::from(value));
        *sum += values().sum::<u64>();
        *squares += u128::from(values().map(|value| value * value).sum::<u64>());
    }
}

/// Mean and standard deviation of `n` values / 255 with these sums, rounded once. A channel of one constant value has
/// the deviation 1, so that it can be divided by.
pub fn mean_and_deviation(n: u64, (sum, squares): Moments) -> (f32, f32) {
    let n = n.max(1);
    let mean = sum as f64 / (255.0 * n as f64);
    // n squares - sum^2, in whole numbers; 2^52 values need less than 120 bits.
    let spread = u128::from(n) * squares - u128::from(sum) * u128::from(sum);
    let std = (spread as f64).sqrt() / (255.0 * n as f64);
    (mean as f32, if std > 1e-6 { std as f32 } else { 1.0 })
}

/// Mean and standard deviation of the values / 255, one each per channel.
pub fn channel_statistics(images: &Images) -> Result<(Vec<f32>, Vec<f32>), DataError> {
    let mut moments = vec![(0, 0); images.channels];
    for i in 0..images.n {
        add_moments(&mut moments, &images.image(i)?);
    }
    let n = (images.n * images.height * images.width) as u64;
    Ok(moments.into_iter().map(|moments| mean_and_deviation(n, moments)).unzip())
}

/// The channels in which all images have one and the same value, counted from 0. It reads no further than it must.
pub fn constant_channels(images: &Images) -> Result<Vec<usize>, DataError> {
    let mut firsts = Vec::new();
    let mut constant: Vec<usize> = (0..images.channels).collect();
    for i in 0..images.n {
        if constant.is_empty() {
            break;
        }
        let image = images.image(i)?;
        if firsts.is_empty() {
            firsts = image[..images.channels.min(image.len())].to_vec();
        }
        constant.retain(|&channel| image.iter().skip(channel).step_by(images.channels).all(|v| *v == firsts[channel]));
    }
    Ok(constant)
}

/// How many times as many images the largest class has as the smallest, if that is worth a word: above 1.5, or
/// infinite if a class has none.
pub fn imbalance(counts: &[usize]) -> Option<f64> {
    const UNEQUAL: f64 = 1.5;
    let (least, most) = (*counts.iter().min()?, *counts.iter().max()?);
    (most as f64 > UNEQUAL * least as f64).then_some(most as f64 / least as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_the_formula() {
        let norm = Norm::new(&[0.2860, 0.5], &[0.3530, 0.25]);
        let mut out = [0.0; 4];
        normalize(&[0, 255, 128, 0], &norm, &mut out);
        let expected = [-0.2860 / 0.3530, 0.5 / 0.25, (128.0 / 255.0 - 0.2860) / 0.3530, -0.5 / 0.25];
        assert!(out.iter().zip(expected).all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-6), "{out:?} {expected:?}");
    }

    #[test]
    fn statistics_are_kept_apart_by_channel() {
        let pixels = vec![0, 51, 255, 51, 0, 51, 255, 51].into();
        let images = Images { n: 2, height: 1, width: 2, channels: 2, pixels, labels: vec![0, 0] };
        assert_eq!(channel_statistics(&images).unwrap(), (vec![0.5, 0.2], vec![0.5, 1.0]));
    }

    #[test]
    fn unequal_classes_are_told() {
        assert_eq!(imbalance(&[2, 3]), None);
        assert_eq!(imbalance(&[2, 4, 3]), Some(2.0));
        assert_eq!(imbalance(&[0, 3]), Some(f64::INFINITY));
        assert_eq!((imbalance(&[]), imbalance(&[0, 0])), (None, None));
    }
}
