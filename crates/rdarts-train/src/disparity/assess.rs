//! How far the disparities of a network are off.
//!
//! Over the pixels whose disparity d* is known, of all pairs alike:
//!
//! ```text
//! end-point error   mean |d - d*|
//! bad 1, bad 3      share of |d - d*| > 1, > 3
//! D1                share of |d - d*| > 3 and > 0.05 d*      (KITTI 2015)
//! ```
//!
//! and the same over those of them alone whose point the right view shows, where that is known.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use rdarts_data::stereo::{Pairs, stereo_eval_batches};
use rdarts_net::Evaluator;
use rdarts_net::disparity::DisparitySpec;
use rdarts_run::DisparityErrors;

use crate::error::TrainError;
use crate::pairs::estimate;

/// Sums over pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ErrorSums {
    /// Pixels.
    pub pixels: u64,
    /// Of their end-point errors.
    pub total: f64,
    /// Those that are off by more than 1 pixel, by more than 3, and by KITTI's D1.
    pub bad: [u64; 3],
}

impl ErrorSums {
    /// Adds a pixel; none if its disparity is not known.
    pub fn add(&mut self, found: f32, truth: f32) {
        if !truth.is_finite() {
            return;
        }
        let (off, truth) = ((f64::from(found) - f64::from(truth)).abs(), f64::from(truth));
        // What is no number is off by more than anything.
        let is_above = |limit: f64| off > limit || off.is_nan();
        let is_bad = [is_above(1.0), is_above(3.0), is_above(3.0) && is_above(0.05 * truth.abs())];
        self.pixels += 1;
        self.total += off;
        self.bad.iter_mut().zip(is_bad).for_each(|(n, is_bad)| *n += u64::from(is_bad));
    }

    /// Adds those of other pixels.
    pub fn merge(&mut self, other: &Self) {
        self.pixels += other.pixels;
        self.total += other.total;
        self.bad.iter_mut().zip(other.bad).for_each(|(n, other)| *n += other);
    }

    /// The means; none of no pixel.
    pub fn errors(&self) -> Option<DisparityErrors> {
        let share = |n: u64| n as f64 / self.pixels as f64;
        let [bad1, bad3, d1] = self.bad.map(share);
        let error = self.total / self.pixels as f64;
        (self.pixels > 0).then_some(DisparityErrors { pixels: self.pixels, error, bad1, bad3, d1 })
    }
}

/// What a network makes of pairs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Assessment {
    /// Pairs.
    pub n: usize,
    /// Over all pixels whose disparity is known.
    pub all: ErrorSums,
    /// Over those that both views show.
    pub visible: ErrorSums,
    /// Pairs of which it is known what both views show.
    pub n_masks: usize,
}

impl Assessment {
    /// Adds maps (n, height, width) of disparities with their truth and, where known, what both views show.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn add(&mut self, n: usize, found: &[f32], truth: &[f32], visible: Option<&[bool]>) {
        assert_eq!(found.len(), truth.len(), "a disparity for each true one");
        let (mut all, mut seen) = (ErrorSums::default(), ErrorSums::default());
        for (i, (d, t)) in found.iter().zip(truth).enumerate() {
            all.add(*d, *t);
            if visible.is_some_and(|visible| visible[i]) {
                seen.add(*d, *t);
            }
        }
        self.all.merge(&all);
        self.visible.merge(&seen);
        self.n += n;
        self.n_masks += if visible.is_some() { n } else { 0 };
    }

    /// Errors over all pixels.
    pub fn errors(&self) -> Option<DisparityErrors> {
        self.all.errors()
    }

    /// Errors over the pixels that both views show; none if that is not known of each pair.
    pub fn visible_errors(&self) -> Option<DisparityErrors> {
        self.visible.errors().filter(|_| self.n_masks == self.n)
    }
}

/// Assesses a network on a range of pairs, so many at a time; `None` if `stop` was set meanwhile.
///
/// # Errors
/// One sentence if a pair cannot be read.
pub fn assess(
    evaluator: &Evaluator<f32>,
    sizes: &DisparitySpec,
    (pairs, range, halved): (&Pairs, Range<usize>, bool),
    batch: usize,
    stop: &AtomicBool,
) -> Result<Option<Assessment>, TrainError> {
    let mut total = Assessment::default();
    for made in stereo_eval_batches(pairs, range, batch, sizes.stride(), halved) {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let made = made.map_err(TrainError::failed)?;
        let found = estimate(evaluator, sizes, &made);
        total.add(made.n, &found, &made.disparity, made.visible.as_deref());
    }
    Ok(Some(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_a_map_made_by_hand_are_those_by_hand() {
        // Off by 0, 1 (not more than 1), 1.5, 3 (not more than 3), 3.5 of 10, 3.5 of 100 (3.5 %), 6 of 100, not known.
        let truth = [5.0, 5.0, 5.0, 5.0, 10.0, 100.0, 100.0, f32::NAN];
        let found = [5.0, 6.0, 3.5, 8.0, 13.5, 96.5, 106.0, 3.0];
        let visible = [true, true, false, false, true, true, true, true];
        let mut made = Assessment::default();
        made.add(1, &found, &truth, Some(&visible));
        let errors = made.errors().unwrap();
        assert_eq!(errors.pixels, 7);
        assert!((errors.error - 18.5 / 7.0).abs() < 1e-12);
        let close = |found: f64, n: f64, of: f64| assert!((found - n / of).abs() < 1e-12, "{found} {n} / {of}");
        close(errors.bad1, 5.0, 7.0);
        close(errors.bad3, 3.0, 7.0);
        close(errors.d1, 2.0, 7.0);
        let seen = made.visible_errors().unwrap();
        assert_eq!(seen.pixels, 5);
        close(seen.error, 14.0, 5.0);
        close(seen.bad1, 3.0, 5.0);
        // A pair without a mask: nothing can be said of those that both views show.
        made.add(1, &[1.0], &[1.5], None);
        assert_eq!((made.n, made.errors().unwrap().pixels, made.visible_errors()), (2, 8, None));
    }

    #[test]
    fn what_is_no_number_is_bad_and_what_is_not_known_is_nothing() {
        let mut sums = ErrorSums::default();
        sums.add(f32::NAN, f32::INFINITY);
        sums.add(4.0, f32::NAN);
        assert_eq!((sums, sums.errors()), (ErrorSums::default(), None));
        sums.add(f32::NAN, 4.0);
        assert_eq!((sums.pixels, sums.bad), (1, [1; 3]));
        assert!(sums.errors().unwrap().error.is_nan());
    }
}
