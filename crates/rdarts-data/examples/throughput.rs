//! How fast batches are made: `cargo run --release -p rdarts-data --example throughput`.

use rdarts_data::{Augment, Loader, open};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

fn main() -> Result<(), rdarts_data::DataError> {
    let mut times: Vec<f64> = Vec::new();
    for _ in 0..11 {
        let start = Instant::now();
        black_box(open("fashion-mini", None)?);
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    println!("open fashion-mini: median {:.1} ms, best {:.1} ms of {}", times[5], times[0], times.len());

    let data = Arc::new(open("fashion-mini", None)?);
    let loader = Loader::new(data.clone(), 0..data.train.n, 64, 1, "train");
    let augment = Augment { crop_padding: 4, flip: true, cutout_length: 14, cutout_prob: 1.0 };
    let start = Instant::now();
    match open("fashion-mnist", None) {
        Ok(_) => println!("open fashion-mnist: {:.0} ms", start.elapsed().as_secs_f64() * 1e3),
        Err(error) => println!("open fashion-mnist: not measured, {error}"),
    }
    for (what, augment) in [("normalize", None), ("crop, flip, cutout", Some(augment))] {
        let n_epochs = 20;
        let start = Instant::now();
        for epoch in 0..n_epochs {
            loader.epoch(epoch, 0, augment).for_each(|batch| drop(black_box(batch.expect("they are in memory"))));
        }
        let per_second = (n_epochs as usize * data.train.n) as f64 / start.elapsed().as_secs_f64();
        println!("batches of 64, {what}: {per_second:.0} images/s on one thread");
    }
    Ok(())
}
