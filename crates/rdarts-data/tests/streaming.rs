//! A folder larger than the memory it may take: measured by the high-water mark of a process of its own.

use std::path::Path;
use std::sync::Arc;

use rdarts_data::{Augment, Cache, Loader, Options, open_with};

#[path = "../../../tests/skip.rs"]
mod skip;

fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse().ok())
}

/// Links to a few small pictures, which become large ones: n of them in each of two classes.
fn write_folder(root: &Path, n: usize) {
    let image = |v: u8| image::RgbImage::from_fn(8, 8, |x, y| image::Rgb([v, (x * 30) as u8, (y * 30) as u8]));
    for (class, value) in [("dark", 10), ("light", 240)] {
        std::fs::create_dir(root.join(class)).unwrap();
        let first = root.join(class).join("0.png");
        image(value).save(&first).unwrap();
        (1..n).for_each(|i| std::fs::hard_link(&first, root.join(class).join(format!("{i}.png"))).unwrap());
    }
}

#[test]
fn images_of_many_times_the_memory_are_decoded_and_read_in_little() {
    let root = tempfile::tempdir().unwrap();
    let images = root.path().join("images");
    std::fs::create_dir(&images).unwrap();
    write_folder(&images, 2000);
    let cache = root.path().join("cache");
    let options = Options { size: 128, channels: 3, memory: Some(1 << 20), cache: Cache::At(cache), ..Options::USUAL };
    let Some(before) = peak_kib() else {
        return skip::skip("no /proc", "the system does not tell the most memory used");
    };
    let total = 4000 * 128 * 128 * 3 / 1024;
    for _ in 0..2 {
        // The second time from the cache.
        let data = Arc::new(open_with("folder", Some(&images), &options).unwrap());
        assert_eq!((data.train.n, data.test.n, data.train.is_in_memory()), (3200, 800, false));
        let augment = Some(Augment { crop_padding: 16, flip: true, ..Augment::NONE });
        let loader = Loader::new(data.clone(), 0..data.train.n, 32, 1, "train");
        assert_eq!(loader.epoch(0, 0, augment).map(|batch| batch.unwrap().n).sum::<usize>(), 3200);
        let grown = peak_kib().unwrap() - before;
        println!("{grown} KiB of {total} KiB of images");
        // A block of decoded images and a batch; a quarter leaves room for allocators.
        assert!(grown < total / 4, "{grown} KiB of {total} KiB of images");
    }
}
