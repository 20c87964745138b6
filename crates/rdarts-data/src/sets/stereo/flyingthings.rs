//! FlyingThings3D, as a whole and as the subset without its extreme pairs.
//!
//! ```text
//! frames_cleanpass/{TRAIN,TEST}/{A,B,C}/NNNN/{left,right}/FFFF.{png,webp}
//! disparity/{TRAIN,TEST}/{A,B,C}/NNNN/left/FFFF.pfm
//!
//! {train,val}/image_clean/{left,right}/IIIIIII.{png,webp}
//! {train,val}/{disparity/left/IIIIIII.pfm,disparity_occlusions/left/IIIIIII.png}
//! ```
//!
//! The whole set stores positive disparities and the subset negative ones; both mean the same. The subset's masks are set
//! where the right view does not show a point. Archives of WebP images unpack into directories that end in `_webp`.

use std::path::{Path, PathBuf};

use super::files::{Mask, PairFiles, Sign};
use super::{Listed, entries, missing, must_have, no_pairs, pictures};
use crate::error::DataError;
use crate::formats::disparity::Coding;

/// The directory of a pass of the whole set.
pub fn frames(dir: &Path, pass: &str) -> Option<PathBuf> {
    if !dir.join("disparity").is_dir() {
        return None;
    }
    ["", "_webp"].iter().map(|end| dir.join(format!("frames_{pass}{end}"))).find(|path| path.is_dir())
}

/// The directory of the images of a part of the subset.
pub fn subset(dir: &Path, part: &str) -> Option<PathBuf> {
    let part = dir.join(part);
    if !part.join("disparity").is_dir() {
        return None;
    }
    ["", "_webp"].iter().map(|end| part.join(format!("image_clean{end}"))).find(|path| path.join("left").is_dir())
}

/// The pairs of a pass of the whole set.
pub fn list(dir: &Path, pass: &str) -> Result<Listed, DataError> {
    let expected = "frames_cleanpass (or frames_finalpass) and disparity with {TRAIN,TEST}/{A,B,C}/NNNN/left/FFFF";
    let frames = frames(dir, pass).ok_or_else(|| no_pairs(dir, expected))?;
    let part = |part: &str| {
        let mut pairs = Vec::new();
        for (letter, path) in entries(&frames.join(part)) {
            for (number, path) in entries(&path) {
                for (frame, left) in pictures(&path.join("left")) {
                    let name = format!("{part}/{letter}/{number}/{frame}");
                    let right = must_have(&path.join("right"), &frame, "right view", &name)?;
                    let truth = dir.join("disparity").join(part).join(&letter).join(&number).join("left");
                    let truth = truth.join(format!("{frame}.pfm"));
                    pairs.push(pair(name, [left, right, truth], Mask::None)?);
                }
            }
        }
        Ok::<_, DataError>(pairs)
    };
    let (train, test) = (part("TRAIN")?, part("TEST")?);
    match train.is_empty() && test.is_empty() {
        true => Err(no_pairs(dir, expected)),
        false => Ok(Listed { train, test, test_fraction: None }),
    }
}

/// The pairs of the subset.
pub fn list_subset(dir: &Path) -> Result<Listed, DataError> {
    let part = |part: &str| {
        let Some(images) = subset(dir, part) else { return Ok(Vec::new()) };
        let beside = |what: &str| dir.join(part).join(what).join("left");
        let with_masks = beside("disparity_occlusions").is_dir();
        let mut pairs = Vec::new();
        for (number, left) in pictures(&images.join("left")) {
            let name = format!("{part}/{number}");
            let right = must_have(&images.join("right"), &number, "right view", &name)?;
            let truth = beside("disparity").join(format!("{number}.pfm"));
            let mask = match with_masks {
                true => Mask::Zero(vec![must_have(&beside("disparity_occlusions"), &number, "mask", &name)?]),
                false => Mask::None,
            };
            pairs.push(pair(name, [left, right, truth], mask)?);
        }
        Ok::<_, DataError>(pairs)
    };
    let (train, test) = (part("train")?, part("val")?);
    match train.is_empty() && test.is_empty() {
        true => Err(no_pairs(dir, "{train,val}/image_clean/{left,right} and {train,val}/disparity/left")),
        false => Ok(Listed { train, test, test_fraction: None }),
    }
}

fn pair(name: String, [left, right, truth]: [PathBuf; 3], mask: Mask) -> Result<PairFiles, DataError> {
    if !truth.is_file() {
        return Err(missing(&name, "disparities", &truth));
    }
    let group = name.clone();
    Ok(PairFiles { name, group, left, right, truth, coding: Coding::Pfm, sign: Sign::Either, mask, calib: None })
}
