//! Folders of images: layouts, pictures, the cache, and what can be wrong with them.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Cursor, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use flate2::{Compression, Crc, write::ZlibEncoder};
use image::{DynamicImage, GrayImage, ImageBuffer, ImageFormat, Luma, Rgb, RgbImage, Rgba};
use rdarts_data::{
    Augment, Cache, DataError, Dataset, Loader, Options, Shape, Silent, Watch, channel_statistics, check, open,
    open_with, pictures, read_picture, shape,
};
use tempfile::{TempDir, tempdir};

/// A colour picture that no other number gives.
fn colour(number: usize, width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let at = (x * 7 + y * 3) as usize;
        Rgb([(number * 101 + at) as u8, (number * 53 + at * 2 + 85) as u8, (number * 29 + at * 5 + 170) as u8])
    })
}

fn encoded(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn png(number: usize) -> Vec<u8> {
    encoded(colour(number, 12, 12), ImageFormat::Png)
}

fn write(root: &Path, name: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Pictures of 12x12 pixels, so many of each class.
fn folder(classes: &[(&str, usize)]) -> TempDir {
    let root = tempdir().unwrap();
    for (c, (class, n)) in classes.iter().enumerate() {
        for i in 0..*n {
            write(root.path(), format!("{class}/{i:03}.png"), png(c * 1000 + i));
        }
    }
    root
}

fn opened(root: &Path) -> Dataset {
    open("folder", Some(root)).unwrap()
}

fn refused(root: &Path) -> String {
    open("folder", Some(root)).unwrap_err().to_string()
}

/// The sentence begins with the folder, which is left out here.
#[track_caller]
fn refuses(root: &Path, sentence: &str) {
    assert_eq!(refused(root).replace(&format!("{}/", root.display()), ""), sentence);
}

#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Watch for Notes {
    fn progress(&self, done: usize, total: usize) {
        assert!(done <= total);
    }
    fn note(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

/// Opens with a cache at `cache` and gives what was said meanwhile.
fn cached(root: &Path, cache: &Path, memory: Option<u64>) -> (Result<Dataset, DataError>, Vec<String>) {
    let notes = Notes::default();
    let options = Options { cache: Cache::At(cache.to_owned()), memory, watch: &notes, ..Options::USUAL };
    let data = open_with("folder", Some(root), &options);
    (data, notes.0.into_inner().unwrap())
}

fn bytes_of(data: &Dataset) -> Vec<Vec<u8>> {
    (0..data.train.n).map(|i| data.train.image(i).unwrap().to_vec()).collect()
}

#[test]
fn each_layout_gives_its_classes_and_tests() {
    let flat = folder(&[("b", 10), ("a", 20)]);
    let data = opened(flat.path());
    assert_eq!((data.classes.clone(), data.stratified), (vec!["a".to_owned(), "b".to_owned()], true));
    assert_eq!((data.train.counts(2), data.test.counts(2)), (vec![16, 8], vec![4, 2]));
    assert_eq!((data.train.height, data.train.width, data.train.channels), (12, 12, 3));

    for test in ["test", "val", "valid"] {
        let root = folder(&[("train/a", 5), ("train/b", 3)]);
        write(root.path(), format!("{test}/a/x.png"), png(9));
        write(root.path(), format!("{test}/b/y.png"), png(8));
        let data = opened(root.path());
        assert_eq!((data.train.counts(2), data.test.counts(2)), (vec![5, 3], vec![1, 1]), "{test}");
        assert_eq!(data.test.image(0).unwrap().to_vec(), colour(9, 12, 12).into_raw());
    }
    let only = folder(&[("train/a", 5), ("train/b", 5)]);
    assert_eq!((opened(only.path()).train.n, opened(only.path()).test.n), (8, 2));
    // Beside other classes, "train" is one of them.
    let vehicles = folder(&[("train", 5), ("bus", 5)]);
    assert_eq!(opened(vehicles.path()).classes, ["bus", "train"]);
}

#[test]
fn the_order_is_a_function_of_the_seed_and_every_stretch_has_its_share_of_each_class() {
    let root = folder(&[("a", 60), ("b", 20), ("c", 10)]);
    let with = |split_seed| open_with("folder", Some(root.path()), &Options { split_seed, ..Options::USUAL }).unwrap();
    let (first, again, other) = (with(1), with(1), with(2));
    assert_eq!(first, again);
    assert_ne!(first.train.fingerprint(), other.train.fingerprint());
    assert_ne!(first.test.fingerprint(), other.test.fingerprint());
    let set = |data: &Dataset| bytes_of(data).into_iter().collect::<BTreeSet<_>>();
    assert_eq!(set(&first).len(), first.train.n, "no picture twice");
    assert_eq!(first.train.counts(3), [48, 16, 8]);
    for stretch in first.train.labels.chunks_exact(9) {
        for (label, share) in [(0, 6), (1, 2), (2, 1)] {
            let n = stretch.iter().filter(|&&l| l == label).count() as i64;
            assert!((n - share).abs() <= 1, "{stretch:?}");
        }
    }
    for fraction in [0.25, 0.5, 0.75] {
        let split = first.split(fraction, None, 8).unwrap();
        let of = |range: std::ops::Range<usize>, label| {
            first.train.labels[range].iter().filter(|&&l| l == label).count() as f64
        };
        for (label, n) in [(0, 48.0), (1, 16.0), (2, 8.0)] {
            assert!((of(split.train.clone(), label) - fraction * n).abs() <= 1.0);
        }
    }
}

#[test]
fn a_side_without_a_class_is_refused_where_files_are_sorted_by_class() {
    let root = folder(&[("many", 40), ("few", 2)]);
    let data = opened(root.path());
    assert_eq!(data.train.counts(2), [1, 32]);
    let message = data.split(0.5, None, 4).unwrap_err().to_string();
    assert!(
        message.starts_with("the class 'few', of which there are 1 in training, has no image among those for"),
        "{message}"
    );
    let enough = folder(&[("many", 40), ("few", 3)]);
    assert!(opened(enough.path()).split(0.5, None, 4).is_ok());
}

#[test]
fn size_and_channels_are_decided_from_the_images_or_asked_for() {
    let decided = |pictures: &[DynamicImage]| {
        let root = tempdir().unwrap();
        for (i, picture) in pictures.iter().enumerate() {
            write(root.path(), format!("{}/{i}.png", i % 2), encoded(picture.clone(), ImageFormat::Png));
        }
        let found = shape(Some(root.path()), &Options::USUAL).unwrap();
        if pictures.len() > 3 {
            let data = opened(root.path());
            assert_eq!(
                (data.train.height, data.train.width, data.train.channels),
                (found.size, found.size, found.channels)
            );
        }
        (found.size, found.channels)
    };
    let rgb = |width, height| DynamicImage::from(colour(1, width, height));
    let gray = |side| DynamicImage::from(GrayImage::from_fn(side, side, |x, _| Luma([x as u8 * 3])));
    assert_eq!(decided(&[rgb(28, 28), rgb(28, 28), rgb(28, 28), rgb(28, 28)]), (28, 3));
    assert_eq!(decided(&[gray(64), gray(64), gray(64), gray(64)]), (64, 1));
    assert_eq!(decided(&[gray(40), gray(40), gray(40), rgb(40, 40)]), (40, 3));
    assert_eq!(decided(&[rgb(20, 30), rgb(40, 20)]), (20, 3));
    assert_eq!(decided(&[rgb(65, 65), rgb(65, 65)]), (64, 3));
    assert_eq!(decided(&[rgb(30, 30), rgb(31, 31)]), (32, 3));
    assert_eq!(decided(&[rgb(200, 90), rgb(300, 90), rgb(64, 10)]), (64, 3));
    assert_eq!(decided(&[rgb(3, 3), rgb(3, 3)]), (8, 3));

    let root = folder(&[("a", 3), ("b", 3)]);
    let options = Options { size: 9, channels: 1, ..Options::USUAL };
    let data = open_with("folder", Some(root.path()), &options).unwrap();
    assert_eq!((data.train.height, data.train.width, data.train.channels), (9, 9, 1));
    let wrong = |options| open_with("folder", Some(root.path()), &options).unwrap_err().to_string();
    assert_eq!(
        wrong(Options { size: 7, ..Options::USUAL }),
        "the size of images 7 should be from 8 to 1024 pixels, or 0 to decide it from them"
    );
    assert!(
        wrong(Options { channels: 2, ..Options::USUAL }).starts_with("the number of channels 2 should be 1 for gray")
    );
    assert!(wrong(Options { test_fraction: 1.0, ..Options::USUAL }).contains("fraction of test images 1 should be"));
}

/// The training image made of one file, among others that keep the folder whole.
fn made(name: &str, bytes: &[u8], options: &Options) -> Vec<u8> {
    let root = folder(&[("train/b", 1), ("test/a", 1), ("test/b", 1)]);
    write(root.path(), format!("train/a/{name}"), bytes);
    let data = open_with("folder", Some(root.path()), options).unwrap();
    let i = data.train.labels.iter().position(|&label| label == 0).unwrap();
    data.train.image(i).unwrap().to_vec()
}

const AT_12: Options = Options { size: 12, channels: 3, ..Options::USUAL };

#[test]
fn pictures_of_the_right_size_are_taken_byte_by_byte_whatever_their_file() {
    let picture = colour(5, 12, 12);
    let expected = picture.as_raw().clone();
    assert_eq!(made("a.PNG", &encoded(picture.clone(), ImageFormat::Png), &AT_12), expected);
    assert_eq!(made("a.webp", &encoded(picture.clone(), ImageFormat::WebP), &AT_12), expected);
    // Told by content: a PNG that is called JPEG is a PNG.
    assert_eq!(made("a.jpeg", &encoded(picture.clone(), ImageFormat::Png), &AT_12), expected);
    // Alpha is dropped: the colour below it is what is stored, transparent or not.
    let veiled: ImageBuffer<Rgba<u8>, Vec<u8>> = ImageBuffer::from_fn(12, 12, |x, y| {
        let Rgb([r, g, b]) = *picture.get_pixel(x, y);
        Rgba([r, g, b, (x * 20) as u8])
    });
    assert_eq!(made("a.png", &encoded(veiled, ImageFormat::Png), &AT_12), expected);
    let deep: ImageBuffer<Rgb<u16>, Vec<u16>> =
        ImageBuffer::from_fn(12, 12, |x, y| Rgb(picture.get_pixel(x, y).0.map(|v| u16::from(v) * 257)));
    assert_eq!(made("a.png", &encoded(deep, ImageFormat::Png), &AT_12), expected);
    let gray = GrayImage::from_fn(12, 12, |x, y| Luma([(x * 12 + y) as u8]));
    let tripled: Vec<u8> = gray.as_raw().iter().flat_map(|&v| [v; 3]).collect();
    assert_eq!(made("a.png", &encoded(gray.clone(), ImageFormat::Png), &AT_12), tripled);
    assert_eq!(
        made("a.png", &encoded(gray.clone(), ImageFormat::Png), &Options { channels: 1, ..AT_12 }),
        *gray.as_raw()
    );
    // A palette of two colours, one byte a pixel.
    let rows: Vec<u8> = (0..12u8).flat_map(|y| [0].into_iter().chain((0..12).map(move |x| (x + y) % 2))).collect();
    let chunks = [(*b"PLTE", vec![10, 20, 30, 200, 100, 0]), (*b"IDAT", zlib(&rows))];
    let checks: Vec<u8> = (0..144).flat_map(|i| [[10, 20, 30], [200, 100, 0]][(i / 12 + i % 12) % 2]).collect();
    assert_eq!(made("a.png", &raw_png(12, 12, 3, &chunks), &AT_12), checks);
}

#[test]
fn jpeg_comes_near_and_is_turned_as_its_camera_says() {
    // Left half dark, right half light.
    let picture = RgbImage::from_fn(16, 16, |x, _| if x < 8 { Rgb([20; 3]) } else { Rgb([220; 3]) });
    let jpeg = encoded(picture, ImageFormat::Jpeg);
    let with = |orientation: u8| {
        let exif =
            [&b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0"[..], &[orientation], &[0; 6]].concat();
        [&jpeg[..2], &[0xff, 0xe1, 0, exif.len() as u8 + 2], &exif, &jpeg[2..]].concat()
    };
    let options = Options { size: 16, channels: 1, ..Options::USUAL };
    // Where the dark half is: (left, top) pixels of the middles of the sides.
    let dark = |bytes: &[u8]| {
        let pixels = made("a.jpg", bytes, &options);
        let at = |x: usize, y: usize| pixels[y * 16 + x] < 120;
        [at(2, 8), at(8, 2), at(13, 8), at(8, 13)]
    };
    assert_eq!(dark(&jpeg), dark(&with(1)));
    assert_eq!([dark(&with(1))[0], dark(&with(1))[2]], [true, false]);
    assert_eq!([dark(&with(3))[0], dark(&with(3))[2]], [false, true]);
    assert_eq!([dark(&with(6))[1], dark(&with(6))[3]], [true, false]);
    assert_eq!([dark(&with(8))[1], dark(&with(8))[3]], [false, true]);
}

#[test]
fn other_sizes_are_cut_to_the_middle_and_resampled() {
    // Only the middle third of a wide picture is seen.
    let wide = RgbImage::from_fn(120, 40, |x, _| if (40..80).contains(&x) { Rgb([9, 99, 199]) } else { Rgb([255; 3]) });
    let expected: Vec<u8> = [9, 99, 199].repeat(144);
    assert_eq!(made("a.png", &encoded(wide.clone(), ImageFormat::Png), &AT_12), expected);
    let tall = image::imageops::rotate90(&wide);
    assert_eq!(made("a.png", &encoded(tall, ImageFormat::Png), &AT_12), expected);
    // Smaller ones grow.
    assert_eq!(
        made("a.png", &encoded(RgbImage::from_pixel(3, 5, Rgb([9, 99, 199])), ImageFormat::Png), &AT_12),
        expected
    );
    // A checkerboard of pixels becomes gray and no pattern: the filter is as wide as the reduction.
    let board = RgbImage::from_fn(96, 96, |x, y| Rgb([if (x + y) % 2 == 0 { 0 } else { 254 }; 3]));
    let pixels = made("a.png", &encoded(board, ImageFormat::Png), &AT_12);
    assert!(pixels.iter().all(|&v| (125..=129).contains(&v)), "{pixels:?}");
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A PNG file of 8 bits with any header and chunks.
fn raw_png(width: u32, height: u32, colour_type: u8, chunks: &[([u8; 4], Vec<u8>)]) -> Vec<u8> {
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, colour_type, 0, 0, 0]].concat();
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, content) in std::iter::once(&(*b"IHDR", header)).chain(chunks).chain([&(*b"IEND", Vec::new())]) {
        let body = [&kind[..], content].concat();
        let mut crc = Crc::new();
        crc.update(&body);
        bytes.extend((content.len() as u32).to_be_bytes());
        bytes.extend(body);
        bytes.extend(crc.sum().to_be_bytes());
    }
    bytes
}

#[test]
fn every_bad_file_is_a_sentence_that_names_it_and_check_lists_them_all() {
    let jpeg = encoded(colour(1, 64, 64), ImageFormat::Jpeg);
    let webp = encoded(colour(1, 64, 64), ImageFormat::WebP);
    let whole = encoded(colour(1, 64, 64), ImageFormat::Png);
    let bomb = raw_png(100_000, 100_000, 2, &[(*b"IDAT", zlib(&[0; 1000]))]);
    // 65,500 pixels are the most that a JPEG header can declare.
    let mut jpeg_bomb = jpeg.clone();
    let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    jpeg_bomb[frame + 5..frame + 9].copy_from_slice(&[0xff, 0xdc, 0xff, 0xdc]);
    let cut = "cannot be read as a picture: it ends before the picture does, so copy it again or remove it";
    let not_a = "is not a PNG, JPEG or WebP image, it is";
    let damaged = [&whole[..60], &[0; 40], &whole[100..]].concat();
    let cases: [(&str, &[u8], &str); 13] = [
        ("00.jpg", b"", &format!("{not_a} empty")),
        ("01.jpg", &jpeg[..jpeg.len() / 2], cut),
        ("02.jpg", &[&jpeg[..jpeg.len() / 2], b"\xff\xd9"].concat(), cut),
        ("03.jpg", &jpeg[..30], cut),
        ("04.png", &whole[..whole.len() / 2], cut),
        ("05.webp", &webp[..webp.len() / 2], cut),
        ("06.png", &bomb, "is too large: it declares"),
        ("07.jpg", &jpeg_bomb, "is too large: it declares 65500x65500 pixels, a picture should have at most 134217728"),
        ("08.png", b"<!DOCTYPE html><html>404", &format!("{not_a} an HTML page, perhaps of a failed download")),
        ("09.jpg", b"GIF89a\x01\0\x01\0", "is a GIF; convert it to PNG, JPEG or WebP"),
        ("10.jpg", b"version https://git-lfs", &format!("{not_a} a Git LFS pointer instead of the file itself")),
        ("11.webp", b"just words", &format!("{not_a} a text file")),
        ("12.png", &damaged, "cannot be read as a picture: it is damaged, so copy it again or remove it"),
    ];
    let all = folder(&[("a", 2), ("z", 2)]);
    for (name, bytes, sentence) in cases {
        let root = folder(&[("a", 2), ("z", 2)]);
        write(root.path(), format!("b/{name}"), bytes);
        write(root.path(), "b/good.png", png(1));
        let expected = format!("{}/b/{name} {sentence}", root.path().display());
        let message = refused(root.path());
        assert!(message.starts_with(&expected), "{message}\n{expected}");
        assert!(!message.contains('\n'));
        // The shape asked for, nothing else looks at the file before it is decoded.
        let message = open_with("folder", Some(root.path()), &AT_12).unwrap_err().to_string();
        assert!(message.starts_with(&expected), "{message}\n{expected}");
        write(all.path(), format!("b/{name}"), bytes);
    }
    // Reading this file fails whoever asks.
    symlink("/proc/self/mem", all.path().join("b/unreadable.png")).unwrap();
    symlink("loop.png", all.path().join("b/loop.png")).unwrap();
    let checked = check("folder", Some(all.path()), &Silent);
    assert_eq!((checked.problems.len(), checked.n_files), (15, 18));
    for name in cases.map(|(name, ..)| name).into_iter().chain(["loop.png", "unreadable.png"]) {
        let path = all.path().join("b").join(name).display().to_string();
        let n = checked.problems.iter().filter(|problem| problem.to_string().contains(&path)).count();
        assert_eq!(n, 1, "{name}: {:?}", checked.problems);
    }
    // The first in the order of the paths is the one that opening tells, a file that cannot even be found before all.
    assert!(refused(all.path()).contains("b/loop.png: "), "{}", refused(all.path()));
    fs::remove_file(all.path().join("b/loop.png")).unwrap();
    assert!(refused(all.path()).contains("b/00.jpg "), "{}", refused(all.path()));
}

#[test]
fn directories_that_are_no_folder_of_classes_are_told_apart() {
    let layout = "a folder of images should be train/CLASS/* with test/CLASS/*, or CLASS/*";
    let root = tempdir().unwrap();
    assert_eq!(refused(root.path()), format!("{} holds no directory of a class, {layout}", root.path().display()));
    write(root.path(), "one/a.png", png(1));
    write(root.path(), "one/b.png", png(2));
    assert_eq!(
        refused(root.path()),
        format!("{} holds one class where a search needs at least two, {layout}", root.path().display())
    );
    let nowhere = root.path().join("nowhere");
    let message = refused(&nowhere);
    assert!(message.starts_with(&format!("cannot read {}: No such file", nowhere.display())), "{message}");
    assert!(message.ends_with("; if the images have moved, name their directory with --data-dir"), "{message}");
    assert!(refused(&root.path().join("one/a.png")).contains("a.png: Not a directory"));
    let error = open("folder", None).unwrap_err().to_string();
    assert!(error.starts_with("folder needs files and no directory is named: name one with --data-dir"), "{error}");

    let empty = folder(&[("a", 2), ("b", 2)]);
    fs::create_dir(empty.path().join("c")).unwrap();
    refuses(empty.path(), "c holds no image for its class (PNG, JPEG or WebP): fill it or remove it");
    write(empty.path(), "c/notes.txt", "x");
    write(empty.path(), "c/table.csv", "a,b");
    refuses(empty.path(), "c holds no image for its class (PNG, JPEG or WebP) but 2 other files: fill it or remove it");

    let single = folder(&[("a", 2), ("b", 1)]);
    refuses(
        single.path(),
        "b holds a single image, a class should have at least 2 so that one can be kept for tests: add images or remove \
         the class",
    );
    // With tests of its own a class of one image opens, and the split says what it lacks.
    let one_each = folder(&[("train/a", 1), ("train/b", 1), ("test/a", 1), ("test/b", 1)]);
    let error = opened(one_each.path()).split(0.5, None, 1).unwrap_err().to_string();
    assert!(
        error.starts_with("the class 'b', of which there are 1 in training, has no image among those for the weights")
    );

    let similar = folder(&[("cat", 2), ("Cat", 2)]);
    let (first, second) = (similar.path().join("Cat"), similar.path().join("cat"));
    assert_eq!(
        refused(similar.path()),
        format!(
            "{} and {} are classes whose names differ only in case: rename one or merge them",
            first.display(),
            second.display()
        )
    );
    let nested = folder(&[("a", 2), ("b", 2)]);
    write(nested.path(), "b/more/x.png", png(1));
    refuses(nested.path(), "b/more is a directory within a class, its images should lie in the class's own directory");
    let unmatched = folder(&[("train/a", 2), ("train/b", 2), ("test/a", 1), ("test/c", 1)]);
    let test = unmatched.path().join("test");
    refuses(
        unmatched.path(),
        &format!("train/b has no counterpart in {}, both should have the same classes", test.display())
            .replace(&format!("{}/", unmatched.path().display()), ""),
    );
    // Checking goes on: both classes without a counterpart are told.
    assert_eq!(check("folder", Some(unmatched.path()), &Silent).problems.len(), 2);
    assert_eq!(check("folder", Some(&nowhere), &Silent).problems.len(), 1);
    assert_eq!(check("folder", Some(folder(&[("a", 2), ("b", 2)]).path()), &Silent).n_files, 4);
}

#[test]
fn links_are_followed_and_a_loop_of_them_is_told() {
    let root = folder(&[("a", 3), ("b", 3)]);
    let elsewhere = folder(&[("x", 4)]);
    symlink(elsewhere.path().join("x"), root.path().join("c")).unwrap();
    symlink(elsewhere.path().join("x/000.png"), root.path().join("a/link.png")).unwrap();
    let data = opened(root.path());
    let counts: Vec<usize> = data.train.counts(3).iter().zip(data.test.counts(3)).map(|(a, b)| a + b).collect();
    assert_eq!(counts, [4, 3, 4]);
    // A directory that is the folder itself, and one that is nothing but itself.
    let leads_back = "is a link to a directory that it lies in, so that it would hold itself: remove the link";
    symlink(root.path(), root.path().join("b/self")).unwrap();
    refuses(root.path(), &format!("b/self {leads_back}"));
    fs::remove_file(root.path().join("b/self")).unwrap();
    symlink("d", root.path().join("d")).unwrap();
    let message = refused(root.path());
    assert!(message.starts_with(&format!("cannot read {}: ", root.path().join("d").display())), "{message}");
    fs::remove_file(root.path().join("d")).unwrap();
    symlink(".", root.path().join("e")).unwrap();
    refuses(root.path(), &format!("e {leads_back}"));
}

#[test]
fn names_that_are_no_text_work_and_are_shown_as_well_as_can_be() {
    let name = |bytes: &'static [u8]| PathBuf::from(std::ffi::OsStr::from_bytes(bytes));
    let root = folder(&[("a", 3)]);
    let class = name(b"caf\xe9");
    for i in 0..3 {
        write(root.path(), class.join(format!("{i}.png")), png(50 + i));
    }
    write(root.path(), class.join(name(b"\xff\xfe.png")), png(60));
    let data = opened(root.path());
    assert_eq!(data.classes, ["a", "caf\\xe9"]);
    assert_eq!(data.train.n + data.test.n, 7);
    write(root.path(), class.join(name(b"\xff\xff.png")), b"no picture");
    assert!(refused(root.path()).contains("caf\\xe9/\\xff\\xff.png is not a PNG"), "{}", refused(root.path()));
    fs::remove_file(root.path().join(&class).join(name(b"\xff\xff.png"))).unwrap();
    // Another byte is another class.
    write(root.path(), name(b"caf\xea").join("x.png"), png(1));
    write(root.path(), name(b"caf\xea").join("y.png"), png(2));
    assert_eq!(opened(root.path()).classes, ["a", "caf\\xe9", "caf\\xea"]);
}

#[test]
fn other_files_are_left_out_counted_and_told() {
    let root = folder(&[("a", 3), ("b", 3)]);
    let others = ["a/Thumbs.db", "a/.DS_Store", "a/._000.png", "b/notes.txt", "README", ".hidden/x.png"];
    others.iter().for_each(|name| write(root.path(), name, "x"));
    let notes = Notes::default();
    let data = open_with("folder", Some(root.path()), &Options { watch: &notes, ..Options::USUAL }).unwrap();
    assert_eq!(data.train.n + data.test.n, 6);
    let notes = notes.0.into_inner().unwrap();
    let path = |name: &str| root.path().join(name).display().to_string();
    assert_eq!(
        notes,
        [
            format!(
                "2 entries such as {} were left out: they are no PNG, JPEG or WebP images of a class",
                path("README")
            ),
            format!(
                "4 entries such as {} were left out: they are hidden or made by a system or a program",
                path(".hidden")
            ),
        ]
    );
    let checked = check("folder", Some(root.path()), &Silent);
    assert_eq!((checked.n_ignored, &checked.left_out), (6, &notes));
}

#[test]
fn statistics_are_those_of_the_training_images() {
    for channels in [1, 3] {
        let root = folder(&[("a", 9), ("b", 5)]);
        let data = open_with("folder", Some(root.path()), &Options { channels, ..Options::USUAL }).unwrap();
        assert_eq!((data.mean.len(), data.std.len()), (channels, channels));
        assert_eq!((data.mean.clone(), data.std.clone()), channel_statistics(&data.train).unwrap());
        // By the definition, in two passes.
        let values: Vec<f64> = bytes_of(&data).concat().chunks(channels).map(|p| f64::from(p[0]) / 255.0).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / values.len() as f64;
        assert!(
            (f64::from(data.mean[0]) - mean).abs() < 1e-7 && (f64::from(data.std[0]) - variance.sqrt()).abs() < 1e-7
        );
    }
}

#[test]
fn a_cache_gives_the_same_and_spares_decoding_and_is_made_again_when_it_must() {
    let root = folder(&[("a", 9), ("b", 5)]);
    let place = tempdir().unwrap();
    let cache = place.path().join("deep/er/images.cache");
    let plain = opened(root.path());
    let (first, notes) = cached(root.path(), &cache, None);
    assert_eq!((first.unwrap(), notes.is_empty()), (plain.clone(), true));
    assert_eq!(fs::read_dir(cache.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");

    // A file that changes without anybody being able to notice: what is seen is from the cache.
    let file = root.path().join("a/000.png");
    let (bytes, time) = (fs::read(&file).unwrap(), fs::metadata(&file).unwrap().modified().unwrap());
    fs::write(&file, vec![7; bytes.len()]).unwrap();
    let touch = |time| fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
    touch(time);
    // The shape is decided from headers, so it is given.
    let options = |watch| Options { cache: Cache::At(cache.clone()), size: 12, channels: 3, watch, ..Options::USUAL };
    assert_eq!(open_with("folder", Some(root.path()), &options(&Silent)).unwrap(), plain);
    fs::write(&file, &bytes).unwrap();
    touch(time);

    let remade = |what: &str| {
        let (data, notes) = cached(root.path(), &cache, None);
        assert_eq!(notes.len(), 1, "{what}: {notes:?}");
        assert!(notes[0].contains(what) && notes[0].contains("made again"), "{what}: {notes:?}");
        assert_eq!(data.unwrap(), plain);
        assert!(cached(root.path(), &cache, None).1.is_empty(), "{what}: it is whole now");
    };
    let damage = |at: usize| {
        let mut bytes = fs::read(&cache).unwrap();
        let at = at.min(bytes.len() - 1);
        bytes[at] ^= 1;
        fs::write(&cache, bytes).unwrap();
    };
    touch(time + std::time::Duration::from_nanos(1));
    remade("the folder has changed");
    // Somebody else's file is not written over.
    damage(0);
    let error = cached(root.path(), &cache, None).0.unwrap_err().to_string();
    assert!(error.contains("cannot be used (it is another kind of file): delete it, or choose another"), "{error}");
    damage(0);
    // Nor is a directory, and nothing is decoded before that is told: it would be a bad image.
    let aside = place.path().join("elsewhere");
    fs::create_dir(&aside).unwrap();
    fs::write(&file, b"no image").unwrap();
    let in_directory = Options { cache: Cache::At(aside.clone()), ..options(&Silent) };
    let error = open_with("folder", Some(root.path()), &in_directory).unwrap_err().to_string();
    let inside = aside.join("images.cache");
    assert_eq!(
        error,
        format!(
            "the cache of decoded images {} is a directory: name a file with data.cache, such as {}",
            aside.display(),
            inside.display()
        )
    );
    fs::remove_dir(&aside).unwrap();
    fs::write(&file, &bytes).unwrap();
    touch(time + std::time::Duration::from_nanos(1));
    damage(70);
    remade("its header is damaged");
    damage(100);
    remade("its header is damaged");
    damage(usize::MAX);
    remade("is not the one that was written");
    let length = fs::metadata(&cache).unwrap().len();
    fs::File::options().write(true).open(&cache).unwrap().set_len(length - 1).unwrap();
    remade("it is cut short or too long");
    fs::write(&cache, "").unwrap();
    remade("it is cut short");

    write(root.path(), "a/new.png", png(77));
    let (data, notes) = cached(root.path(), &cache, None);
    assert_eq!((data.unwrap().train.n, notes.len()), (plain.train.n + 1, 1));
    // Another size is another cache.
    let small = Options { size: 8, ..options(&Silent) };
    assert_eq!(open_with("folder", Some(root.path()), &small).unwrap().train.height, 8);

    let blocked = cache.join("below-a-file");
    let (data, notes) = cached(root.path(), &blocked, None);
    assert_eq!((data.unwrap().train.n, notes.len()), (plain.train.n + 1, 1));
    assert!(notes[0].ends_with("; this time the images are only decoded"), "{notes:?}");
    let error = cached(root.path(), &blocked, Some(0)).0.unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("the cache of decoded images {} cannot be used (", blocked.display())),
        "{error}"
    );
    assert!(!root.path().join(".rdarts").exists(), "nothing is written into the folder");
}

#[test]
fn images_that_do_not_fit_are_read_as_they_are_needed_and_are_the_same() {
    let root = folder(&[("a", 30), ("b", 15)]);
    let place = tempdir().unwrap();
    let cache = place.path().join("images.cache");
    let memory = Arc::new(opened(root.path()));
    let (data, notes) = cached(root.path(), &cache, Some(1000));
    let streamed = Arc::new(data.unwrap());
    assert!(
        notes[0].starts_with("the decoded images need 0.0 MiB and 0.0 MiB may be used: they are read from "),
        "{notes:?}"
    );
    assert!(memory.train.is_in_memory() && !streamed.train.is_in_memory() && !streamed.test.is_in_memory());
    assert_eq!(streamed.train.fingerprint(), memory.train.fingerprint());
    assert_eq!(streamed.test.fingerprint(), memory.test.fingerprint());
    assert_eq!((&streamed.mean, &streamed.std), (&memory.mean, &memory.std));
    assert_eq!(channel_statistics(&streamed.train), channel_statistics(&memory.train));
    let augment = Some(Augment { crop_padding: 2, flip: true, cutout_length: 4, cutout_prob: 0.5 });
    let split = memory.split(0.5, None, 4).unwrap();
    let batches = |data: &Arc<Dataset>| -> Vec<_> {
        let weights = Loader::new(data.clone(), split.train.clone(), 4, 7, "train");
        let alphas = Loader::new(data.clone(), split.valid.clone(), 4, 7, "valid");
        let draws = (0..5).map(move |step| alphas.draw(step, augment));
        weights.epoch(3, 0, augment).chain(draws).map(Result::unwrap).collect()
    };
    assert_eq!(batches(&streamed), batches(&memory));
    // Opened again, nothing is decoded and nothing but the header is read.
    assert_eq!(cached(root.path(), &cache, Some(1000)).0.unwrap(), *streamed);
    // Damage after opening is an error of the batch that needs the image, never another picture.
    let mut bytes = fs::read(&cache).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&cache, bytes).unwrap();
    let errors: Vec<_> = (0..streamed.train.n).filter_map(|i| streamed.train.image(i).err()).collect();
    let tests: Vec<_> = (0..streamed.test.n).filter_map(|i| streamed.test.image(i).err()).collect();
    assert_eq!(errors.len() + tests.len(), 1);
    assert!(errors.iter().chain(&tests).all(|e| e.to_string().contains("image 44 is not the one that was written")));
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let root = folder(&[("a", 300), ("b", 40)]);
    let with = |n| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
        pool.install(|| opened(root.path()))
    };
    let one = with(1);
    assert!(one == with(2) && one == with(7));
    // Nor which of two bad files is told.
    for name in ["a/020.png", "a/280.png", "b/001.png"] {
        write(root.path(), name, "no picture");
    }
    for n in [1, 2, 7] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
        assert!(pool.install(|| refused(root.path())).contains("a/020.png"));
    }
}

/// A file of CIFAR-10 records of these pictures.
fn cifar_file(pictures: &[(u16, RgbImage)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (label, picture) in pictures {
        bytes.push(*label as u8);
        (0..3).for_each(|channel| bytes.extend(picture.pixels().map(|pixel| pixel.0[channel])));
    }
    bytes
}

#[test]
fn the_same_pictures_as_cifar_10_and_as_a_folder_give_the_same_batches() {
    const NAMES: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let (cifar, root) = (tempdir().unwrap(), tempdir().unwrap());
    let picture = |number: usize| ((number % 10) as u16, colour(number, 32, 32));
    let train: Vec<(u16, RgbImage)> = (0..100).map(picture).collect();
    let test: Vec<(u16, RgbImage)> = (100..120).map(picture).collect();
    for (part, pictures) in [("train", &train), ("test", &test)] {
        for (i, (label, picture)) in pictures.iter().enumerate() {
            let bytes = encoded(picture.clone(), ImageFormat::Png);
            write(root.path(), format!("{part}/{}/{i:04}.png", NAMES[usize::from(*label)]), bytes);
        }
    }
    let folder = opened(root.path());
    // Where each image of the folder is among those of the batches: images are told apart by their bytes.
    let order: Vec<usize> = (0..folder.train.n)
        .map(|i| {
            let image = folder.train.image(i).unwrap();
            train.iter().position(|(_, picture)| picture.as_raw()[..] == *image).expect("byte by byte the same")
        })
        .collect();
    assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), 100);
    let sorted: Vec<(u16, RgbImage)> = order.iter().map(|&i| train[i].clone()).collect();
    for (i, pictures) in sorted.chunks(20).enumerate() {
        write(cifar.path(), format!("data_batch_{}.bin", i + 1), cifar_file(pictures));
    }
    write(cifar.path(), "test_batch.bin", cifar_file(&test));
    write(cifar.path(), "batches.meta.txt", NAMES.join("\n"));
    let binary = open("cifar10", Some(cifar.path())).unwrap();
    assert_eq!(binary.train, folder.train);
    assert_eq!(binary.train.fingerprint(), folder.train.fingerprint());
    assert_eq!(binary.classes, folder.classes);
    // Normalized alike, the batches are the same bits.
    let binary = Arc::new(binary);
    let folder = Arc::new(Dataset { mean: binary.mean.clone(), std: binary.std.clone(), ..folder });
    let augment = Some(Augment { crop_padding: 4, flip: true, cutout_length: 16, cutout_prob: 0.5 });
    for epoch in 0..3 {
        let batches = |data: &Arc<Dataset>| -> Vec<_> {
            let range = data.split(0.5, None, 16).unwrap().train;
            Loader::new(data.clone(), range, 16, 1, "train").epoch(epoch, 0, augment).map(Result::unwrap).collect()
        };
        assert_eq!(batches(&binary), batches(&folder));
    }
}

#[test]
fn one_picture_is_read_as_those_of_a_folder_and_all_below_a_directory_are_found() {
    let root = folder(&[("cat", 3), ("dog", 3)]);
    let dir = root.path();
    write(dir, "cat/wide.jpg", encoded(colour(5, 30, 20), ImageFormat::Jpeg));
    let data = open_with("folder", Some(dir), &Options { size: 16, channels: 1, ..Options::USUAL }).unwrap();
    let images = [&data.train, &data.test].map(|part| (0..part.n).map(|i| part.image(i).unwrap().into_owned()));
    let images: BTreeSet<Vec<u8>> = images.into_iter().flatten().collect();
    let shape = Shape { size: 16, channels: 1 };
    let (paths, problems) = pictures(dir).unwrap();
    assert!(paths.len() == 7 && paths.is_sorted() && problems.is_empty(), "{paths:?}");
    let read: Vec<_> = paths.iter().map(|path| read_picture(path, shape).unwrap()).collect();
    assert_eq!(read.iter().map(|picture| picture.pixels.clone()).collect::<BTreeSet<_>>(), images);
    assert_eq!((read[3].height, read[3].width, read[3].is_gray), (20, 30, false));

    // Formats that are not read are there too, so that whoever reads them is told; what is hidden is not.
    write(dir, "anim.gif", b"GIF89a and so on");
    write(dir, ".hidden.png", png(1));
    write(dir, "note.txt", "no picture");
    write(dir, "a/b/c/d/e/f/g/h/i/j.png", png(2));
    symlink(dir, dir.join("cat/again")).unwrap();
    let (paths, problems) = pictures(dir).unwrap();
    assert_eq!((paths.len(), paths[0].file_name().unwrap().to_str()), (8, Some("anim.gif")));
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert!(problems.iter().any(|problem| problem.contains("lies too deep")), "{problems:?}");
    assert!(
        problems.iter().any(|problem| problem.contains("is a link to a directory that it lies in")),
        "{problems:?}"
    );
    assert!(read_picture(&paths[0], shape).unwrap_err().to_string().contains("convert it to PNG, JPEG or WebP"));
    assert!(pictures(&dir.join("absent")).is_err());
    let large = read_picture(&paths[1], Shape { size: 5000, channels: 1 }).unwrap_err().to_string();
    assert!(large.contains("from 8 to 1024 pixels"), "{large}");
}
