//! Sets of stereo pairs opened by name.

use std::path::Path;

use crate::dataset::{Silent, Watch};
use crate::error::DataError;
use crate::scenes::Scenes;
use crate::sets::stereo::{Pairs, SCENES, StereoDataset};

/// How a set of stereo pairs is opened.
#[derive(Clone)]
pub struct StereoOptions<'a> {
    /// Height of synthetic scenes in pixels.
    pub height: usize,
    /// Width of synthetic scenes in pixels.
    pub width: usize,
    /// Largest disparity of synthetic scenes in pixels.
    pub max_disparity: f64,
    /// Number of synthetic scenes to train on.
    pub n_train: usize,
    /// Number of synthetic scenes to test on.
    pub n_test: usize,
    /// Chooses the synthetic scenes.
    pub scenes_seed: u64,
    /// Part of the pairs that is kept for tests, where a set does not say which are; `None`: as the set is mostly used.
    pub test_fraction: Option<f64>,
    /// Chooses them.
    pub split_seed: u64,
    /// Who is told what was noticed.
    pub watch: &'a dyn Watch,
}

impl StereoOptions<'static> {
    /// What [`open`] takes: small scenes that a CPU can learn from.
    pub const USUAL: Self = Self {
        height: 64,
        width: 128,
        max_disparity: 24.0,
        n_train: 4096,
        n_test: 256,
        scenes_seed: 1,
        test_fraction: None,
        split_seed: 1,
        watch: &Silent,
    };
}

/// Test scenes have numbers from here on, training scenes those below.
const FIRST_TEST: u64 = 1 << 32;

/// Opens a set of stereo pairs by name. `dir` is where its files are; `stereo-scenes` has none and takes no notice of it.
pub fn open(name: &str, dir: Option<&Path>) -> Result<StereoDataset, DataError> {
    open_with(name, dir, &StereoOptions::USUAL)
}

/// Like [`open`], as `options` say.
pub fn open_with(name: &str, dir: Option<&Path>, options: &StereoOptions) -> Result<StereoDataset, DataError> {
    let _ = dir;
    if name == SCENES {
        let scenes = Scenes::new(options.height, options.width, options.max_disparity, options.scenes_seed)?;
        let train = Pairs::of_scenes(scenes, 0, options.n_train);
        let test = Pairs::of_scenes(scenes, FIRST_TEST, options.n_test);
        return Ok(StereoDataset { name: name.to_owned(), train, test });
    }
    crate::catalog::entry(name).map(|_| panic!("no set of files is read yet"))
}
