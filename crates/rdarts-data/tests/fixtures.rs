//! Files that an independent program wrote (`fixtures/make.py`: Python with numpy and scipy) are read pixel by pixel.

use std::path::{Path, PathBuf};

use rdarts_data::{Images, check_files, open};

#[path = "../../../tests/skip.rs"]
mod skip;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// The value that `make.py` gives to a pixel of image `i` of file `f`.
fn value(f: usize, i: usize, row: usize, column: usize, channel: usize) -> u8 {
    (f * 101 + i * 53 + channel * 85 + row * 7 + column * 3) as u8
}

/// Compares images with `files`: the number of each file and how many images it holds, in their order.
fn compare(images: &Images, files: &[(usize, usize)], label: impl Fn(usize, usize) -> usize) {
    let places: Vec<(usize, usize)> = files.iter().flat_map(|&(f, n)| (0..n).map(move |i| (f, i))).collect();
    assert_eq!((images.n, images.height, images.width, images.channels), (places.len(), 32, 32, 3));
    for (k, &(f, i)) in places.iter().enumerate() {
        assert_eq!(usize::from(images.labels[k]), label(f, i), "label {i} of file {f}");
        let image = images.image(k).unwrap();
        assert_eq!(image.len(), 32 * 32 * 3);
        for (at, &byte) in image.iter().enumerate() {
            let (row, column, channel) = (at / 96, at / 3 % 32, at % 3);
            assert_eq!(byte, value(f, i, row, column, channel), "file {f}, image {i}, ({row}, {column}, {channel})");
        }
    }
}

/// y is (f * 3 + i * 4) mod 10 + 1, where 10 is the digit 0.
fn digit(f: usize, i: usize) -> usize {
    (f * 3 + i * 4 + 1) % 10
}

#[test]
fn svhn_packed_and_plain_with_digits_as_doubles_and_bytes() {
    for (dir, train, test) in [("svhn-a", (0, 3), (1, 2)), ("svhn-b", (2, 2), (3, 4))] {
        let data = open("svhn", Some(&fixtures().join(dir))).unwrap();
        compare(&data.train, &[train], digit);
        compare(&data.test, &[test], digit);
        assert_eq!((data.classes.len(), data.mean[0]), (10, 0.4377));
    }
}

#[test]
fn the_extra_images_of_svhn_come_after_the_others_when_asked_for() {
    let dir = fixtures().join("svhn-b");
    let data = open("svhn-extra", Some(&dir)).unwrap();
    assert_eq!((data.name.as_str(), data.train.n), ("svhn-extra", 5));
    compare(&data.train, &[(2, 2), (4, 3)], digit);
    compare(&data.test, &[(3, 4)], digit);
    let without = fixtures().join("svhn-a");
    let expected =
        format!("{} lacks the file extra_32x32.mat, copy it there from the other files' source", without.display());
    assert_eq!(open("svhn-extra", Some(&without)).unwrap_err().to_string(), expected);
}

#[test]
fn cifar10() {
    let label = |f: usize, i: usize| (f * 3 + i * 7) % 10;
    let data = open("cifar10", Some(&fixtures())).unwrap();
    compare(&data.train, &[(0, 2), (1, 2), (2, 2), (3, 2), (4, 2)], label);
    compare(&data.test, &[(5, 2)], label);
    assert_eq!(data.classes[9], "class_9");
}

#[test]
fn cifar100_fine_and_coarse() {
    let data = open("cifar100", Some(&fixtures())).unwrap();
    compare(&data.train, &[(0, 4)], |f, i| (f * 31 + i * 77) % 100);
    compare(&data.test, &[(1, 3)], |f, i| (f * 31 + i * 77) % 100);
    assert_eq!(data.classes[99], "fine_99");
    let data = open("cifar100-coarse", Some(&fixtures().join("cifar-100-binary"))).unwrap();
    compare(&data.train, &[(0, 4)], |f, i| (f * 3 + i * 7) % 20);
    compare(&data.test, &[(1, 3)], |f, i| (f * 3 + i * 7) % 20);
    assert_eq!(data.classes[19], "coarse_19");
}

/// The name of each file and the images in it, or the error of each that is bad.
fn checked(name: &str, dir: &Path) -> Vec<(String, Result<usize, String>)> {
    let rows = check_files(name, Some(dir)).unwrap().into_iter();
    rows.map(|row| {
        let file = row.path.strip_prefix(dir).unwrap().display().to_string();
        (file, row.images.map_err(|e| e.to_string()))
    })
    .collect()
}

#[test]
fn every_file_is_checked() {
    let ok = |file: &str, n| (file.to_owned(), Ok(n));
    assert_eq!(
        checked("svhn-extra", &fixtures().join("svhn-b")),
        [ok("train_32x32.mat", 2), ok("extra_32x32.mat", 3), ok("test_32x32.mat", 4)]
    );
    assert_eq!(
        checked("cifar100", &fixtures().join("cifar-100-binary")),
        [ok("train.bin", 4), ok("test.bin", 3), ok("fine_label_names.txt", 0)]
    );
}

#[test]
fn a_check_goes_on_after_every_bad_file_and_names_all() {
    let dir = tempfile::tempdir().unwrap();
    let from = fixtures().join("cifar-10-batches-bin");
    for entry in std::fs::read_dir(&from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    let batch = |n: usize| dir.path().join(format!("data_batch_{n}.bin"));
    let good = std::fs::read(batch(1)).unwrap();
    std::fs::write(batch(1), &good[..3073]).unwrap();
    std::fs::write(batch(2), &good[..5000]).unwrap();
    std::fs::write(batch(3), "<!doctype html>").unwrap();
    std::fs::write(batch(4), [&[77], &good[1..]].concat()).unwrap();
    std::fs::remove_file(batch(5)).unwrap();
    std::fs::write(dir.path().join("batches.meta.txt"), "cat\ndog\n").unwrap();
    let rows = checked("cifar10", dir.path());
    let expected = [
        ("data_batch_1.bin", ""),
        ("data_batch_2.bin", "is cut short or no file of its data set"),
        ("data_batch_3.bin", "is not a file of CIFAR records, it is an HTML page, perhaps of a failed download"),
        ("data_batch_4.bin", "has the label 77 in record 1 (counted from 1), it should be below 10"),
        ("data_batch_5.bin", "lacks the file data_batch_5.bin"),
        ("test_batch.bin", ""),
        ("batches.meta.txt", "holds 2 names of classes, it should hold 10"),
    ];
    assert_eq!(rows.len(), expected.len());
    for ((file, result), (name, words)) in rows.iter().zip(expected) {
        assert_eq!(file, name);
        match result {
            Ok(n) => assert!(words.is_empty() && *n == if name == "test_batch.bin" { 2 } else { 1 }, "{name}: {n}"),
            Err(message) => assert!(!words.is_empty() && message.contains(words), "{name}: {message}"),
        }
    }
    // Cut at the end of a record: told by comparison with the first.
    std::fs::write(batch(1), &good).unwrap();
    std::fs::write(batch(2), &good[..3073]).unwrap();
    let message = checked("cifar10", dir.path())[1].1.clone().unwrap_err();
    assert!(message.contains("holds 1 records and") && message.contains("data_batch_1.bin 2"), "{message}");
}

#[test]
fn bad_files_of_svhn_and_fashion_mnist_are_all_named() {
    let dir = tempfile::tempdir().unwrap();
    let good = std::fs::read(fixtures().join("svhn-b/test_32x32.mat")).unwrap();
    std::fs::write(dir.path().join("train_32x32.mat"), "<html><body>Moved</body></html>").unwrap();
    std::fs::write(dir.path().join("test_32x32.mat"), &good[..good.len() / 2]).unwrap();
    let rows = checked("svhn", dir.path());
    assert!(rows[0].1.as_ref().unwrap_err().contains("it is an HTML page, perhaps of a failed download"), "{rows:?}");
    assert!(rows[1].1.as_ref().unwrap_err().contains("is a damaged MAT-file"), "{rows:?}");

    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
    let images =
        |n: u8| [&[0, 0, 8, 3, 0, 0, 0, n, 0, 0, 0, 28, 0, 0, 0, 28], &vec![5; 784 * usize::from(n)][..]].concat();
    write("train-images-idx3-ubyte", &images(2));
    write("train-labels-idx1-ubyte", &[0, 0, 8, 1, 0, 0, 0, 3, 1, 2, 3]);
    write("t10k-images-idx3-ubyte", &images(1)[..100]);
    let rows = checked("fashion-mnist", dir.path());
    assert_eq!(rows[0], ("train-images-idx3-ubyte".to_owned(), Ok(2)));
    assert!(rows[1].1.as_ref().unwrap_err().contains("holds 2 images and"), "{rows:?}");
    assert!(rows[2].1.as_ref().unwrap_err().contains("is cut short"), "{rows:?}");
    assert!(rows[3].1.as_ref().unwrap_err().contains("lacks the file t10k-labels-idx1-ubyte"), "{rows:?}");
    write("t10k-labels-idx1-ubyte", &[0, 0, 8, 1, 0, 0, 0, 1, 10]);
    let message = checked("fashion-mnist", dir.path())[3].1.clone().unwrap_err();
    assert!(message.contains("has the label 10 at offset 8"), "{message}");
}

#[cfg(unix)]
#[test]
fn a_file_that_cannot_be_read_is_named() {
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().unwrap();
    for name in ["train_32x32.mat", "test_32x32.mat"] {
        std::fs::copy(fixtures().join("svhn-a").join(name), dir.path().join(name)).unwrap();
    }
    let path = dir.path().join("train_32x32.mat");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o0)).unwrap();
    let rows = checked("svhn", dir.path());
    if std::fs::File::open(&path).is_err() {
        assert!(rows[0].1.as_ref().unwrap_err().starts_with(&format!("cannot read {}: ", path.display())), "{rows:?}");
    } else {
        skip::skip("running as root", "this user reads files without permission to");
    }
    assert_eq!(rows[1].1, Ok(2));
    // A file that the system refuses to read to everybody.
    let memory = Path::new("/proc/self/mem");
    if memory.exists() {
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(memory, &path).unwrap();
        let message = checked("svhn", dir.path())[0].1.clone().unwrap_err();
        assert!(message.starts_with(&format!("cannot read {}: ", path.display())), "{message}");
    }
}
