//! Which training images train the weights, and which the architecture or nothing.
//!
//! As in DARTS and the paper: the first floor(fraction * n) images train the weights of a search, the rest the
//! alphas, **without shuffling** (36,628 and 36,629 of SVHN's 73,257). A training from scratch has no alphas and may hold
//! the last images out, by the same rule, to choose its best epoch. Test images are never part of it.

use std::ops::Range;

use crate::error::DataError;

/// The two sides of a search or a training, as ranges of the training images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Images that train the weights.
    pub train: Range<usize>,
    /// Images that train the architecture, the "validation" images of the DARTS papers; those that a training holds out,
    /// perhaps none.
    pub valid: Range<usize>,
}

/// Splits `n` training images, or the first `limit` of them. Each side must fill at least one batch.
pub fn split(n: usize, fraction: f64, limit: Option<usize>, batch_size: usize) -> Result<Split, DataError> {
    if !(fraction > 0.0 && fraction < 1.0) {
        return Err(DataError::Fraction(fraction));
    }
    let n_used = used(n, limit, batch_size)?;
    let n_train = (fraction * n_used as f64).floor() as usize;
    let n_valid = n_used - n_train;
    if n_train.min(n_valid) < batch_size {
        return Err(DataError::SmallSplit { n: n_used, n_train, n_valid, batch_size });
    }
    Ok(Split { train: 0..n_train, valid: n_train..n_used })
}

/// Holds the last `fraction` of `n` training images, or of the first `limit` of them, out of a training, rounded up; 0:
/// none. Those that are left must fill at least one batch.
pub fn hold_out(n: usize, fraction: f64, limit: Option<usize>, batch_size: usize) -> Result<Split, DataError> {
    if !(0.0..1.0).contains(&fraction) {
        return Err(DataError::HeldOut(fraction));
    }
    let n_used = used(n, limit, batch_size)?;
    // Less by far more than rounding errors and by far less than an image: 0.07 of 1000 images are 70, whichever way
    // the product was rounded.
    let n_valid = (fraction * n_used as f64 * (1.0 - 1e-12)).ceil() as usize;
    let n_train = n_used - n_valid;
    if n_train < batch_size {
        return Err(DataError::SmallTraining { n: n_used, n_train, n_valid, batch_size });
    }
    Ok(Split { train: 0..n_train, valid: n_train..n_used })
}

/// The number of images that there are to split.
fn used(n: usize, limit: Option<usize>, batch_size: usize) -> Result<usize, DataError> {
    if batch_size == 0 {
        return Err(DataError::EmptyBatch);
    }
    let n_used = limit.unwrap_or(n);
    if n_used > n {
        return Err(DataError::Limit { limit: n_used, n });
    }
    Ok(n_used)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn halves_are_those_of_the_paper() {
        assert_eq!(split(50_000, 0.5, None, 64).unwrap(), Split { train: 0..25_000, valid: 25_000..50_000 });
        assert_eq!(split(73_257, 0.5, None, 64).unwrap(), Split { train: 0..36_628, valid: 36_628..73_257 });
        assert_eq!(split(6000, 0.75, Some(200), 50).unwrap(), Split { train: 0..150, valid: 150..200 });
    }

    #[test]
    fn splits_that_cannot_be_are_sentences() {
        let message = |n, fraction, limit, batch| split(n, fraction, limit, batch).unwrap_err().to_string();
        for fraction in [0.0, 1.0, -0.5, f64::NAN, f64::INFINITY] {
            let expected = format!("the split fraction {fraction} should lie between 0 and 1");
            assert_eq!(message(100, fraction, None, 1), expected);
        }
        assert_eq!(message(100, 0.5, None, 0), "the batch size should be at least 1");
        assert_eq!(
            message(100, 0.5, Some(101), 1),
            "the limit of 101 images should be at most the 100 training images there are"
        );
        assert_eq!(
            message(100, 0.9, None, 11),
            "of 100 images 90 are for the weights and 10 for the alphas, but each part should fill a batch of 11: take \
             more images, a batch of at most 10, or a fraction nearer to 0.5"
        );
        assert!(message(100, 0.5, Some(0), 1).starts_with("of 0 images 0 are for "));
    }

    #[test]
    fn a_training_holds_out_the_last_images_or_none() {
        assert_eq!(hold_out(50_000, 0.0, None, 96).unwrap(), Split { train: 0..50_000, valid: 50_000..50_000 });
        assert_eq!(hold_out(50_000, 0.1, None, 96).unwrap(), Split { train: 0..45_000, valid: 45_000..50_000 });
        assert_eq!(hold_out(6000, 0.25, Some(200), 50).unwrap(), Split { train: 0..150, valid: 150..200 });
        // What is held out is rounded up, so that it is never nothing; whole numbers are met.
        assert_eq!(hold_out(101, 0.1, None, 8).unwrap().valid, 90..101);
        assert_eq!(hold_out(100, 1e-300, None, 8).unwrap().valid, 99..100);
        for n in [100, 1000, 6000, 50_000, 60_000, 73_300] {
            for percent in 0..=99 {
                let split = hold_out(n, percent as f64 / 100.0, None, 1).unwrap();
                assert_eq!(split.valid.len(), n * percent / 100, "{percent} % of {n}");
            }
        }
    }

    #[test]
    fn what_cannot_be_held_out_is_a_sentence() {
        let message = |n, fraction, limit, batch| hold_out(n, fraction, limit, batch).unwrap_err().to_string();
        for fraction in [1.0, -0.5, f64::NAN, f64::INFINITY] {
            let expected = format!("the held-out fraction {fraction} should be at least 0 and below 1");
            assert_eq!(message(100, fraction, None, 1), expected);
        }
        assert_eq!(message(100, 0.0, None, 0), "the batch size should be at least 1");
        assert_eq!(
            message(100, 0.5, Some(101), 1),
            "the limit of 101 images should be at most the 100 training images there are"
        );
        assert_eq!(
            message(100, 0.9, None, 11),
            "of 100 images 10 are to train on and 90 are held out, but those to train on should fill a batch of 11: take \
             more images, a smaller batch, or hold out a smaller part"
        );
        assert!(message(100, 0.0, Some(0), 1).starts_with("of 0 images 0 are to train on "));
    }

    proptest! {
        #[test]
        fn a_training_keeps_what_a_search_would_give_the_weights(n in 2usize..100_000, fraction in 0.001f64..0.999) {
            if let (Ok(training), Ok(search)) = (hold_out(n, fraction, None, 1), split(n, 1.0 - fraction, None, 1)) {
                prop_assert_eq!(training, search);
            }
        }

        #[test]
        fn sides_touch_and_cover(n in 2usize..100_000, fraction in 0.001f64..0.999) {
            if let Ok(Split { train, valid }) = split(n, fraction, None, 1) {
                prop_assert_eq!((train.start, train.end, valid.end), (0, valid.start, n));
                prop_assert!((train.len() as f64 - fraction * n as f64).abs() <= 1.0);
            }
        }
    }
}
