//! Randomness as a value: named streams of a counter-based generator (ChaCha with 8 rounds).
//!
//! A stream is a pure function of (seed, name, index), so a program that knows its epoch and step knows
//! its generators: nothing has to be stored to go on with the same numbers after a stop, and no draw in
//! one place can shift the draws in another.
//!
//! ```
//! use rdarts_rng::Stream;
//! let mut a = Stream::new(1, "augment", 7);
//! let mut b = Stream::new(1, "augment", 7);
//! assert_eq!(a.next_u64(), b.next_u64());
//! ```

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// One stream of random numbers.
#[derive(Clone, Debug)]
pub struct Stream {
    chacha: ChaCha8Rng,
    spare_normal: Option<f64>,
}

impl Stream {
    /// The stream `name` of `seed` at position `index` (a step, an epoch, an image: whatever the name counts).
    pub fn new(seed: u64, name: &str, index: u64) -> Self {
        let mut key = [0u8; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&fnv1a(name).to_le_bytes());
        key[16..24].copy_from_slice(&index.to_le_bytes());
        Self { chacha: ChaCha8Rng::from_seed(key), spare_normal: None }
    }

    /// 32 uniform bits.
    pub fn next_u32(&mut self) -> u32 {
        self.chacha.next_u32()
    }

    /// 64 uniform bits.
    pub fn next_u64(&mut self) -> u64 {
        self.chacha.next_u64()
    }

    /// Uniform in [0, 1), 53 bits.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform integer in 0..n, without bias.
    ///
    /// # Panics
    /// If n is 0.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "below(0) has no value to return");
        let n = n as u64;
        // Values at or above the largest multiple of n are drawn again.
        let limit = u64::MAX - u64::MAX % n;
        loop {
            let value = self.next_u64();
            if value < limit {
                return (value % n) as usize;
            }
        }
    }

    /// True with probability p.
    pub fn chance(&mut self, p: f64) -> bool {
        self.uniform() < p
    }

    /// Standard normal (Box-Muller; the second value of a pair is kept for the next call).
    pub fn normal(&mut self) -> f64 {
        if let Some(value) = self.spare_normal.take() {
            return value;
        }
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * self.uniform()).sin_cos();
        self.spare_normal = Some(radius * sin);
        radius * cos
    }

    /// Fisher-Yates.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

/// FNV-1a, 64 bits: spreads a stream's name over the key.
fn fnv1a(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_with_different_names_indices_or_seeds_differ() {
        let first = |seed, name, index| Stream::new(seed, name, index).next_u64();
        let base = first(1, "init", 0);
        assert_eq!(base, first(1, "init", 0));
        assert_ne!(base, first(2, "init", 0));
        assert_ne!(base, first(1, "augment", 0));
        assert_ne!(base, first(1, "init", 1));
    }

    #[test]
    fn moments_are_those_of_the_named_distributions() {
        let mut s = Stream::new(3, "test", 0);
        let n = 100_000;
        let uniform: Vec<f64> = (0..n).map(|_| s.uniform()).collect();
        let normal: Vec<f64> = (0..n).map(|_| s.normal()).collect();
        let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
        let square = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>() / v.len() as f64;
        assert!((mean(&uniform) - 0.5).abs() < 0.005);
        assert!((square(&uniform) - 1.0 / 3.0).abs() < 0.005);
        assert!(mean(&normal).abs() < 0.015);
        assert!((square(&normal) - 1.0).abs() < 0.02);
    }

    #[test]
    fn shuffle_keeps_every_item_and_below_reaches_every_value() {
        let mut s = Stream::new(5, "test", 1);
        let mut items: Vec<usize> = (0..100).collect();
        s.shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
        let mut seen = [0; 7];
        (0..7000).for_each(|_| seen[s.below(7)] += 1);
        assert!(seen.iter().all(|&n| n > 850 && n < 1150), "{seen:?}");
    }
}
