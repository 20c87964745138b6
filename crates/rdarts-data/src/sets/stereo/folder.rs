//! Anybody's folder of stereo pairs.
//!
//! ```text
//! left/NAME.png  right/NAME.png  disp/NAME.pfm (or .png)  [occ/NAME.png]
//! ```
//!
//! or the same in `train/` and in `test/`. Views are PNG, JPEG or WebP; disparities are PFM, 16-bit PNG as KITTI's or
//! colour PNG as Sintel's; `occ` is set where the right view does not show a point. Without `test/` a fifth of the pairs is
//! kept for tests.

use std::path::Path;

use super::files::{Mask, PairFiles, Sign};
use super::{Listed, missing, must_have, no_pairs, picture, pictures};
use crate::error::DataError;
use crate::formats::disparity::Coding;

/// What a folder should hold, in words.
pub const EXPECTED: &str = "left/, right/ and disp/ with files of the same names, or train/ and test/ with these";

fn has_pairs(dir: &Path) -> bool {
    ["left", "disp"].iter().all(|name| dir.join(name).is_dir())
}

/// Whether a directory is one.
pub fn is_at(dir: &Path) -> bool {
    has_pairs(dir) || has_pairs(&dir.join("train"))
}

/// Its pairs.
pub fn list(dir: &Path) -> Result<Listed, DataError> {
    let listed = match has_pairs(dir) {
        true => Listed { train: part(dir, "")?, test: Vec::new(), test_fraction: Some(0.2) },
        false => {
            let (train, test) = (dir.join("train"), dir.join("test"));
            let train = part(&train, "train/")?;
            match has_pairs(&test) {
                true => Listed { train, test: part(&test, "test/")?, test_fraction: None },
                false => Listed { train, test: Vec::new(), test_fraction: Some(0.2) },
            }
        }
    };
    match listed.train.is_empty() {
        true => Err(no_pairs(dir, EXPECTED)),
        false => Ok(listed),
    }
}

fn part(dir: &Path, prefix: &str) -> Result<Vec<PairFiles>, DataError> {
    let with_masks = dir.join("occ").is_dir();
    let mut pairs = Vec::new();
    for (stem, left) in pictures(&dir.join("left")) {
        let name = format!("{prefix}{stem}");
        let right = must_have(&dir.join("right"), &stem, "right view", &name)?;
        let floats = dir.join("disp").join(format!("{stem}.pfm"));
        let truth = Some(floats.clone()).filter(|path| path.is_file()).or_else(|| picture(&dir.join("disp"), &stem));
        let truth = truth.ok_or_else(|| missing(&name, "disparities", &floats))?;
        let mask = match with_masks {
            true => Mask::Zero(vec![must_have(&dir.join("occ"), &stem, "mask", &name)?]),
            false => Mask::None,
        };
        let (group, coding, sign) = (name.clone(), Coding::Any, Sign::Same);
        pairs.push(PairFiles { name, group, left, right, truth, coding, sign, mask, calib: None });
    }
    Ok(pairs)
}
