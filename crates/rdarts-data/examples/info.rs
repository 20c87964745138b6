//! What is in a data set: `cargo run --release -p rdarts-data --example info cifar10 [DIR]`.
//!
//! Prints the images of each class, and the mean and deviation of each channel beside those used, in units of 1/255.

use rdarts_data::{DataError, Images, channel_statistics, open};
use std::path::PathBuf;
use std::time::Instant;

fn main() -> Result<(), DataError> {
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or_else(|| "fashion-mini".to_owned());
    let dir = args.next().map(PathBuf::from);
    let start = Instant::now();
    let data = open(&name, dir.as_deref())?;
    println!("{} opened in {:.2} s", data.name, start.elapsed().as_secs_f64());
    for (part, images) in [("train", &data.train), ("test", &data.test)] {
        let Images { n, height, width, channels, .. } = *images;
        println!("{part}: {n} images of {height}x{width}x{channels}");
        data.classes
            .iter()
            .zip(images.counts(data.classes.len()))
            .for_each(|(class, count)| println!("  {count:6} {class}"));
    }
    let (mean, std) = channel_statistics(&data.train)?;
    for channel in 0..data.train.channels {
        let used = (255.0 * data.mean[channel], 255.0 * data.std[channel]);
        let (mean, std) = (255.0 * mean[channel], 255.0 * std[channel]);
        let off = (mean - used.0, std - used.1);
        println!("channel {channel}: mean {mean:.3} deviation {std:.3}, used {:.3} {:.3}", used.0, used.1);
        println!("  difference {:+.3} {:+.3}", off.0, off.1);
    }
    Ok(())
}
