//! KITTI 2012 and 2015: roads, with disparities where a laser has measured some.
//!
//! ```text
//! 2015   training/{image_2,image_3}/IIIIII_10.png       training/{disp_occ_0,disp_noc_0}/IIIIII_10.png
//! 2012   training/{colored_0,colored_1}/IIIIII_10.png   training/{disp_occ,disp_noc}/IIIIII_10.png
//! ```
//!
//! `noc` holds the pixels of `occ` that the right view shows too. The images for tests come without ground truth, so a
//! fifth of the others is kept for tests.

use std::path::{Path, PathBuf};

use super::files::{Mask, PairFiles, Sign};
use super::{Listed, missing, must_have, no_pairs, picture, pictures};
use crate::error::DataError;
use crate::formats::disparity::Coding;

/// What directories a year's are called.
pub struct Names {
    views: &'static [[&'static str; 2]],
    truth: [&'static str; 2],
}

/// 2012 is published in colour and in gray.
pub const KITTI2012: Names =
    Names { views: &[["colored_0", "colored_1"], ["image_0", "image_1"]], truth: ["disp_occ", "disp_noc"] };

/// 2015.
pub const KITTI2015: Names = Names { views: &[["image_2", "image_3"]], truth: ["disp_occ_0", "disp_noc_0"] };

/// Whether a directory is of this year.
pub fn is_at(dir: &Path, names: &Names) -> bool {
    find(dir, names).is_some()
}

/// The directory of the pairs, and what those of the views are called.
fn find(dir: &Path, names: &Names) -> Option<(PathBuf, [&'static str; 2])> {
    let has = |dir: &Path, name: &str| dir.join(name).is_dir();
    [dir.join("training"), dir.to_owned()].into_iter().filter(|dir| has(dir, names.truth[0])).find_map(|dir| {
        let views = names.views.iter().find(|views| has(&dir, views[0])).copied()?;
        Some((dir, views))
    })
}

/// The pairs of this year.
pub fn list(dir: &Path, names: &Names) -> Result<Listed, DataError> {
    let expected = format!("training/{}, {} and {}", names.views[0][0], names.views[0][1], names.truth[0]);
    let (root, views) = find(dir, names).ok_or_else(|| no_pairs(dir, &expected))?;
    let mut pairs = Vec::new();
    // What has ground truth is a pair; the second frames of a sequence have none.
    for (name, truth) in pictures(&root.join(names.truth[0])) {
        let left = must_have(&root.join(views[0]), &name, "left view", &name)?;
        let right = must_have(&root.join(views[1]), &name, "right view", &name)?;
        let known = root.join(names.truth[1]);
        let mask = match (known.is_dir(), picture(&known, &name)) {
            (false, _) => Mask::None,
            (true, Some(path)) => Mask::Known(path, Coding::Kitti),
            (true, None) => return Err(missing(&name, "disparities of visible pixels", &known.join(&name))),
        };
        let (group, coding, sign) = (name.clone(), Coding::Kitti, Sign::Positive);
        pairs.push(PairFiles { name, group, left, right, truth, coding, sign, mask, calib: None });
    }
    match pairs.is_empty() {
        true => Err(no_pairs(dir, &expected)),
        false => Ok(Listed { train: pairs, test: Vec::new(), test_fraction: Some(0.2) }),
    }
}
