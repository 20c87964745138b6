//! What may be added to a run directory beside its log: spectra of the curvature, the loss along lines in alpha space,
//! pictures that a network is wrong about, and maps of disparity. Nothing goes on from them, so a run is whole without.
//!
//! ```text
//! spectra.jsonl           one Spectrum a line, appended by `rdarts hessian RUN --full`
//! landscapes.jsonl        one Landscape a line, appended by `rdarts hessian RUN --landscape`
//! mistakes/mistakes.jsonl one Mistake a line, the worst first, written at the end of a training
//! mistakes/00.png, ...    the picture of each line, as the network saw it, without augmentation
//! maps/maps.jsonl         one PairMap a line, written at the end of a run for disparity
//! maps/00-left.png, ...   of the pair of each line `left`, `truth`, `prediction` and `error`
//! ```
//!
//! The pictures are files of their own so that anyone can look at them; they are named by the number of their line, so
//! that no name in a file leads anywhere.

use serde::{Deserialize, Serialize};

/// The file of the spectra.
pub(crate) const SPECTRA: &str = "spectra.jsonl";

/// The file of the landscapes.
pub(crate) const LANDSCAPES: &str = "landscapes.jsonl";

/// The directory of the pictures.
pub(crate) const MISTAKES: &str = "mistakes";

/// The file that describes them.
pub(crate) const MISTAKES_LIST: &str = "mistakes.jsonl";

/// No more pictures than this are read, and none of more bytes: a page shows them all.
pub(crate) const MOST_MISTAKES: usize = 24;
pub(crate) const MOST_PICTURE_BYTES: u64 = 64 << 10;

/// The directory of the maps.
pub(crate) const MAPS: &str = "maps";

/// The file that describes them.
pub(crate) const MAPS_LIST: &str = "maps.jsonl";

/// The pictures of a pair, in their order.
pub const MAP_NAMES: [&str; 4] = ["left", "truth", "prediction", "error"];

/// No more pairs than this are kept and read, and no picture of more bytes: a page shows them all.
pub const MOST_MAPS: usize = 6;
pub(crate) const MOST_MAP_BYTES: u64 = 512 << 10;

/// All eigenvalues of the alpha-Hessian after an epoch.
///
/// Of several lines of one epoch and attempt, the last one counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spectrum {
    /// How often the search had gone back before this epoch.
    pub attempt: usize,
    /// The epoch, counted from 0.
    pub epoch: usize,
    /// Which matrix was measured: `hessian.mode` of the spec or of the command.
    pub mode: String,
    /// On how many batches.
    pub batches: usize,
    /// On which images.
    pub images: String,
    /// The eigenvalues, the largest first.
    pub eigenvalues: Vec<f64>,
}

/// The validation loss around the alphas of an epoch, along lines through them.
///
/// Of several of one epoch and attempt, the last one counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Landscape {
    /// How often the search had gone back before this epoch.
    pub attempt: usize,
    /// The epoch, counted from 0.
    pub epoch: usize,
    /// On how many batches.
    pub batches: usize,
    /// On which images.
    pub images: String,
    /// Where on a line the loss was taken: multiples of its direction, which has norm one; the middle one is 0.
    pub distances: Vec<f64>,
    /// The lines: first that of the dominant eigenvector, then random ones.
    pub lines: Vec<LandscapeLine>,
}

/// A line through the alphas.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LandscapeLine {
    /// `dominant eigenvector`, `random 1` and so on.
    pub name: String,
    /// First derivative of the loss at 0.
    pub slope: f64,
    /// Second derivative of the loss at 0: v' H v.
    pub curvature: f64,
    /// The validation loss at each distance.
    pub losses: Vec<f64>,
}

/// A pair as a network sees it. Of colours, the first is `range.0` pixels and below, the last `range.1` and above; in the
/// picture of the error the first is no error and the last `most_error` pixels and above.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairMap {
    /// The number of the pair in its set.
    pub pair: usize,
    /// What the set calls it.
    pub name: String,
    /// Mean end-point error over the pixels whose disparity is known, in pixels.
    pub error: f64,
    /// The disparities of the first and of the last colour, in pixels.
    pub range: (f64, f64),
    /// The error of the last colour, in pixels.
    pub most_error: f64,
}

/// A pair with its pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct PairPictures {
    /// What is to be seen.
    pub about: PairMap,
    /// The pictures as PNG files, in the order of [`MAP_NAMES`].
    pub png: [Vec<u8>; 4],
}

/// A test picture that the trained network is wrong about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mistake {
    /// The number of the picture in the test set.
    pub image: usize,
    /// The label of its class.
    pub truth: usize,
    /// The label that the network gives it.
    pub given: usize,
    /// The probability that the network gives that label.
    pub probability: f64,
}
