//! Synthetic stereo scenes: how many a second one core renders, and a sheet of some if a PNG file is named.
//!
//! `cargo run --release -p rdarts-data --example stereo_scenes -- [FILE.png]`

use std::path::PathBuf;
use std::time::Instant;

use rdarts_data::DataError;
use rdarts_data::stereo::{Scenes, StereoOptions, open_with, stereo_sheet};

fn main() -> Result<(), DataError> {
    for (height, width, n) in [(64, 128, 200), (128, 256, 50), (384, 768, 5)] {
        let scenes = Scenes::new(height, width, width as f64 / 6.0, 1)?;
        let begin = Instant::now();
        (0..n).for_each(|index| drop(scenes.pair(index)));
        let rate = n as f64 / begin.elapsed().as_secs_f64();
        println!("{height}x{width}: {rate:.0} scenes/s on one core");
    }
    if let Some(path) = std::env::args_os().nth(1).map(PathBuf::from) {
        let options = StereoOptions { n_train: 12, ..StereoOptions::USUAL };
        stereo_sheet(&open_with("stereo-scenes", None, &options)?, 12, &path)?;
    }
    Ok(())
}
