//! How fast batches are made: `cargo run --release -p rdarts-data --example throughput [FOLDER [SIZE]]`.
//!
//! With a folder of images, also how fast it is decoded, opened from its cache, and read batch by batch from there.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rdarts_data::{Augment, Cache, DataError, Dataset, Loader, Options, open, open_with, shape};

fn main() -> Result<(), DataError> {
    let mut times: Vec<f64> = Vec::new();
    for _ in 0..11 {
        let start = Instant::now();
        black_box(open("fashion-mini", None)?);
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    println!("open fashion-mini: median {:.1} ms, best {:.1} ms of {}", times[5], times[0], times.len());

    let start = Instant::now();
    match open("fashion-mnist", None) {
        Ok(_) => println!("open fashion-mnist: {:.0} ms", start.elapsed().as_secs_f64() * 1e3),
        Err(error) => println!("open fashion-mnist: not measured, {error}"),
    }
    make_batches("fashion-mini", Arc::new(open("fashion-mini", None)?))?;
    let mut args = std::env::args().skip(1);
    match args.next() {
        Some(dir) => measure_folder(Path::new(&dir), args.next().and_then(|size| size.parse().ok()).unwrap_or(0)),
        None => Ok(()),
    }
}

fn measure_folder(dir: &Path, size: usize) -> Result<(), DataError> {
    let cache = std::env::temp_dir().join(format!("throughput-{}.images", std::process::id()));
    let usual = Options { size, ..Options::USUAL };
    let found = timed("headers", || shape(Some(dir), &usual))?;
    let options = Options { size: found.size, channels: found.channels, cache: Cache::IfNeeded, ..usual };
    let with_cache = Options { cache: Cache::At(cache.clone()), ..options.clone() };
    let opened = |options: &Options| open_with("folder", Some(dir), options).map(Arc::new);
    let in_memory = timed("decode into memory", || opened(&options))?;
    let n = in_memory.train.n + in_memory.test.n;
    println!("  ({n} images of {0}x{0}x{1})", found.size, found.channels);
    timed("decode into a cache, then memory", || opened(&with_cache))?;
    timed("open from the cache into memory", || opened(&with_cache))?;
    let streamed =
        timed("open from the cache to stream", || opened(&Options { memory: Some(0), ..with_cache.clone() }))?;
    make_batches("folder in memory", in_memory)?;
    make_batches("folder streamed", streamed)?;
    // The file is this program's own.
    let _ = std::fs::remove_file(cache);
    Ok(())
}

fn timed<T>(what: &str, body: impl FnOnce() -> Result<T, DataError>) -> Result<T, DataError> {
    let start = Instant::now();
    let result = body()?;
    println!("{what}: {:.3} s", start.elapsed().as_secs_f64());
    Ok(result)
}

fn make_batches(name: &str, data: Arc<Dataset>) -> Result<(), DataError> {
    let loader = Loader::new(data.clone(), 0..data.train.n, 64, 1, "train");
    let (padding, half) = (data.train.height / 8, data.train.height / 2);
    let augment = Augment { crop_padding: padding, flip: true, cutout_length: half, cutout_prob: 1.0 };
    for (what, augment) in [("normalize", None), ("crop, flip, cutout", Some(augment))] {
        let n_epochs = 120_000_usize.div_ceil(data.train.n);
        let start = Instant::now();
        for epoch in 0..n_epochs {
            for batch in loader.epoch(epoch as u64, 0, augment) {
                black_box(batch?);
            }
        }
        let per_second = (n_epochs * data.train.n) as f64 / start.elapsed().as_secs_f64();
        println!("{name}, batches of 64, {what}: {per_second:.0} images/s");
    }
    Ok(())
}
