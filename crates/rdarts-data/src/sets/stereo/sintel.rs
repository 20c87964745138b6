//! MPI Sintel stereo.
//!
//! ```text
//! training/{clean,final}_{left,right}/SCENE/frame_NNNN.png
//! training/{disparities,occlusions,outofframe}/SCENE/frame_NNNN.png
//! ```
//!
//! Both masks are set where the right view does not show a point. The set has no part for tests with ground truth; all of
//! it is mostly used for tests. What is kept for training instead is whole scenes.

use std::path::{Path, PathBuf};

use super::files::{Mask, PairFiles, Sign};
use super::{Listed, entries, must_have, no_pairs, pictures};
use crate::error::DataError;
use crate::formats::disparity::Coding;

/// The directory with the directories of a pass.
pub fn root(dir: &Path, pass: &str) -> Option<PathBuf> {
    let is_root = |dir: &PathBuf| dir.join(format!("{pass}_left")).is_dir() && dir.join("disparities").is_dir();
    [dir.join("training"), dir.to_owned()].into_iter().find(is_root)
}

/// The pairs of a pass.
pub fn list(dir: &Path, pass: &str) -> Result<Listed, DataError> {
    let expected = "training/clean_left, clean_right and disparities with SCENE/frame_NNNN.png";
    let root = root(dir, pass).ok_or_else(|| no_pairs(dir, expected))?;
    let mut pairs = Vec::new();
    for (scene, path) in entries(&root.join(format!("{pass}_left"))) {
        for (frame, left) in pictures(&path) {
            let name = format!("{scene}/{frame}");
            let in_scene = |what: &str| root.join(what).join(&scene);
            let right = must_have(&in_scene(&format!("{pass}_right")), &frame, "right view", &name)?;
            let truth = must_have(&in_scene("disparities"), &frame, "disparities", &name)?;
            let masks = ["occlusions", "outofframe"].into_iter().filter(|what| root.join(what).is_dir());
            let masks: Vec<PathBuf> =
                masks.map(|what| must_have(&in_scene(what), &frame, "mask", &name)).collect::<Result<_, _>>()?;
            let mask = if masks.is_empty() { Mask::None } else { Mask::Zero(masks) };
            let (group, coding, sign) = (scene.clone(), Coding::Sintel, Sign::Positive);
            pairs.push(PairFiles { name, group, left, right, truth, coding, sign, mask, calib: None });
        }
    }
    match pairs.is_empty() {
        true => Err(no_pairs(dir, expected)),
        false => Ok(Listed { train: pairs, test: Vec::new(), test_fraction: Some(1.0) }),
    }
}
