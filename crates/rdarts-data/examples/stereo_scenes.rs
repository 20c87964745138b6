//! Synthetic stereo scenes: how many a second one core renders, and a sheet of some if a PNG file is named; or scenes as a
//! folder of pairs, for other programs.
//!
//! `cargo run --release --example stereo_scenes -- [FILE.png]`
//! `cargo run --release --example stereo_scenes -- DIR train|test N [HEIGHT WIDTH MAX_DISPARITY]`

use std::path::{Path, PathBuf};
use std::time::Instant;

use rdarts_data::stereo::{Coding, Scenes, StereoOptions, encode, open_with, stereo_sheet};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [dir, part, n, sizes @ ..] = &args[..] {
        let n = n.parse()?;
        let mut options = StereoOptions { n_train: n, n_test: n, ..StereoOptions::USUAL };
        if let [height, width, most] = sizes {
            (options.height, options.width, options.max_disparity) = (height.parse()?, width.parse()?, most.parse()?);
        }
        return folder(Path::new(dir), part, n, &options);
    }
    for (height, width, n) in [(64, 128, 200), (128, 256, 50), (384, 768, 5)] {
        let scenes = Scenes::new(height, width, width as f64 / 6.0, 1)?;
        let begin = Instant::now();
        (0..n).for_each(|index| drop(scenes.pair(index)));
        let rate = n as f64 / begin.elapsed().as_secs_f64();
        println!("{height}x{width}: {rate:.0} scenes/s on one core");
    }
    if let Some(path) = args.first().map(PathBuf::from) {
        let options = StereoOptions { n_train: 12, ..StereoOptions::USUAL };
        stereo_sheet(&open_with("stereo-scenes", None, &options)?, 12, &path)?;
    }
    Ok(())
}

/// The first scenes of a part: `left`, `right`, `disp` and `occ` in a directory.
fn folder(dir: &Path, part: &str, n: usize, options: &StereoOptions) -> Result<()> {
    let set = open_with("stereo-scenes", None, options)?;
    let pairs = if part == "test" { set.test } else { set.train };
    for name in ["left", "right", "disp", "occ"] {
        std::fs::create_dir_all(dir.join(name))?;
    }
    for i in 0..n {
        let pair = pairs.pair(i)?;
        let (height, width) = (pair.height as u32, pair.width as u32);
        let place = |name: &str, end: &str| dir.join(name).join(format!("{i:04}.{end}"));
        for (name, view) in [("left", &pair.left), ("right", &pair.right)] {
            let picture = image::RgbImage::from_raw(width, height, view.clone());
            picture.ok_or("a scene has all its pixels")?.save(place(name, "png"))?;
        }
        let floats = encode(pair.width, &pair.disparity, Coding::Pfm).unwrap_or_default();
        std::fs::write(place("disp", "pfm"), floats)?;
        let hidden = pair.visible.unwrap_or_default().iter().map(|visible| if *visible { 0 } else { 255 }).collect();
        image::GrayImage::from_raw(width, height, hidden)
            .ok_or("a scene has all its pixels")?
            .save(place("occ", "png"))?;
    }
    println!("{n} {part} scenes in {}", dir.display());
    Ok(())
}
