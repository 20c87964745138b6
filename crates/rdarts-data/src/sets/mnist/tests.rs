//! Tests of the sets like MNIST: whose files they are, in which form, and what is read of them.

use std::sync::Mutex;

use super::published::{ALL, DEBIAN_DIR, DIGITS, LETTERS, MERGED, PLAIN};
use super::*;
use crate::dataset::Silent;
use crate::{open, open_with, recognise};

const NAME: &str = "fashion-mnist";
const FILES: [(&str, &str); 4] =
    [("train-images", IMAGES), ("train-labels", LABELS), ("t10k-images", IMAGES), ("t10k-labels", LABELS)];

/// The installed data set, or None with a line that says why a test did nothing.
pub fn installed() -> Option<Dataset> {
    if !Path::new(DEBIAN_DIR).is_dir() {
        crate::skip::skip("no dataset-fashion-mnist", FASHION_MNIST.advice);
        return None;
    }
    Some(FASHION_MNIST.read(Path::new(DEBIAN_DIR), &Silent).unwrap())
}

fn write_set(dir: &Path, name: impl Fn(&str, &str) -> String, side: u32, n_labels: u32) {
    std::fs::create_dir_all(dir).unwrap();
    for (part, kind) in FILES {
        let n = if part.starts_with("train") { 3u32 } else { 2 };
        let bytes = if kind == "idx3-ubyte" {
            let dims = [n, side, side].map(u32::to_be_bytes).concat();
            // Images of one colour alone would be refused.
            let mut pixels = vec![n as u8; (n * side * side) as usize];
            if let Some(last) = pixels.last_mut().filter(|_| n == 3) {
                *last = 0;
            }
            [&[0, 0, 8, 3], &dims[..], &pixels].concat()
        } else {
            let n = if n == 3 { n_labels } else { n };
            [&[0, 0, 8, 1], &n.to_be_bytes()[..], &vec![7; n as usize]].concat()
        };
        std::fs::write(dir.join(name(part, kind)), bytes).unwrap();
    }
}

#[test]
fn both_spellings_are_read_from_the_directory_or_its_child() {
    let root = tempfile::tempdir().unwrap();
    let (dashed, dotted) = (root.path().join("dashed"), root.path().join("dotted"));
    write_set(&dashed, |part, kind| format!("{part}-{kind}"), 28, 3);
    write_set(&dotted.join(NAME), |part, kind| format!("{part}.{kind}"), 28, 3);
    for dir in [dashed, dotted] {
        let data = open(NAME, Some(&dir)).unwrap();
        assert_eq!((data.train.n, data.test.n, data.classes.len()), (3, 2, 10));
        assert_eq!((data.train.labels, data.test.pixels), (vec![7; 3], vec![2; 2 * 28 * 28].into()));
    }
}

#[test]
fn a_given_directory_is_the_only_one_and_the_environment_precedes_the_system() {
    let root = tempfile::tempdir().unwrap();
    let [given, env, system] = ["given", "env", "system"].map(|name| root.path().join(name));
    let find = |given, env| {
        let roots = Roots { given, env, user: None };
        FASHION_MNIST.first_of(locate::candidates(&roots, FASHION_MNIST.directories, Some(&system)))
    };
    write_set(&system, |part, kind| format!("{part}-{kind}"), 28, 3);
    assert_eq!(find(None, None).unwrap(), system);
    assert_eq!(find(None, Some(&*env)).unwrap(), system);
    write_set(&env.join(NAME), |part, kind| format!("{part}-{kind}"), 28, 3);
    assert_eq!(find(None, Some(&*env)).unwrap(), env.join(NAME));
    let error = find(Some(&*given), Some(&*env)).unwrap_err().to_string();
    let given = given.display();
    assert_eq!(
        error,
        format!(
            "fashion-mnist is not in {given} or {given}/fashion-mnist or {given}/FashionMNIST/raw or \
             {given}/FashionMNIST or {given}/raw: fetch it with `rdarts data fetch \
             fashion-mnist`, run `apt-get install dataset-fashion-mnist` (Debian) or name its directory with \
             --data-dir"
        )
    );
}

#[test]
fn missing_mismatched_and_missized_files_are_named() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let at = dir.display();
    write_set(dir, |part, kind| format!("{part}-{kind}"), 28, 4);
    assert_eq!(
        open(NAME, Some(dir)).unwrap_err().to_string(),
        format!(
            "{at}/train-images-idx3-ubyte holds 3 images and {at}/train-labels-idx1-ubyte 4 labels, the two should \
             be equal"
        )
    );
    write_set(dir, |part, kind| format!("{part}-{kind}"), 32, 3);
    assert_eq!(
        open(NAME, Some(dir)).unwrap_err().to_string(),
        format!("{at}/train-images-idx3-ubyte holds images of 32x32 pixels, those of fashion-mnist have 28x28")
    );
    std::fs::remove_file(dir.join("t10k-labels-idx1-ubyte")).unwrap();
    assert_eq!(
        open(NAME, Some(dir)).unwrap_err().to_string(),
        format!(
            "{at} lacks the file t10k-labels-idx1-ubyte (or t10k-labels-idx1-ubyte.gz), copy it there from the \
             other files' source"
        )
    );
}

#[test]
fn the_installed_set_has_the_published_statistics() {
    let Some(data) = installed() else { return };
    assert_eq!((data.train.n, data.test.n), (60_000, 10_000));
    assert!((data.mean[0] - 0.2860).abs() < 5e-5, "{:?}", data.mean);
    assert!((data.std[0] - 0.3530).abs() < 5e-5, "{:?}", data.std);
    for class in 0..10 {
        assert_eq!(data.train.labels.iter().filter(|&&label| label == class).count(), 6000);
    }
}

/// A set of four files with these labels and images that hold 0, 1, ... in rows.
fn write_files(dir: &Path, parts: [&str; 2], labels: [&[u8]; 2]) {
    std::fs::create_dir_all(dir).unwrap();
    for (part, labels) in parts.iter().zip(labels) {
        let n = (labels.len() as u32).to_be_bytes();
        let image: Vec<u8> = (0..28 * 28).map(|i| (i % 28) as u8).collect();
        let dims = [28u32; 2].map(u32::to_be_bytes).concat();
        let images = [&[0, 0, 8, 3], &n[..], &dims[..], &image.repeat(labels.len())].concat();
        std::fs::write(dir.join(format!("{part}-images-idx3-ubyte")), images).unwrap();
        std::fs::write(dir.join(format!("{part}-labels-idx1-ubyte")), [&[0, 0, 8, 1], &n[..], labels].concat())
            .unwrap();
    }
}

const OF_MNIST: [&[u8]; 2] = [&[5, 0, 4, 1, 9, 2, 1, 3, 1, 4, 3], &[7, 2, 1, 0, 4, 1, 4, 9, 5, 9]];
const OF_FASHION: [&[u8]; 2] = [&[9, 0, 0, 3, 0, 2, 7, 2, 5, 5], &[9, 2, 1, 1, 6, 1, 4, 6, 5, 7]];
const OF_NOBODY: [&[u8]; 2] = [&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], &[0, 1, 2]];

#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Watch for Notes {
    fn progress(&self, _: usize, _: usize) {}
    fn note(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

fn opened(name: &str, dir: &Path) -> (Result<Dataset, DataError>, Vec<String>) {
    let notes = Notes::default();
    let data = open_with(name, Some(dir), &crate::Options { watch: &notes, ..crate::Options::USUAL });
    (data, notes.0.into_inner().unwrap())
}

#[test]
fn another_set_s_files_are_refused_whatever_their_packing_or_number() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let at = dir.display();
    write_files(dir, PLAIN, OF_MNIST);
    let expected =
        |found, name| format!("the files in {at} are those of {found}, not those of {name}: use --data {found}");
    for name in ["fashion-mnist", "kmnist"] {
        assert_eq!(opened(name, dir).0.unwrap_err().to_string(), expected("mnist", name));
    }
    let (data, notes) = opened("mnist", dir);
    assert_eq!(data.unwrap().classes, DIGITS);
    let note = "hold 11 training and 10 test images, mnist was published with 60000 and 10000";
    assert_eq!(notes, [format!("the files in {at} {note}")]);
    // Packed, and the test labels alone.
    std::fs::remove_file(dir.join("train-labels-idx1-ubyte")).unwrap();
    let path = dir.join("t10k-labels-idx1-ubyte");
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut packed, &std::fs::read(&path).unwrap()).unwrap();
    std::fs::write(dir.join("t10k-labels-idx1-ubyte.gz"), packed.finish().unwrap()).unwrap();
    std::fs::remove_file(path).unwrap();
    assert_eq!(opened("fashion-mnist", dir).0.unwrap_err().to_string(), expected("mnist", "fashion-mnist"));
    write_files(dir, PLAIN, OF_FASHION);
    std::fs::remove_file(dir.join("t10k-labels-idx1-ubyte.gz")).unwrap();
    assert_eq!(opened("mnist", dir).0.unwrap_err().to_string(), expected("fashion-mnist", "mnist"));
    assert!(opened("fashion-mnist", dir).0.is_ok());
}

#[test]
fn files_of_nobody_are_read_under_a_given_name_with_a_note_and_not_guessed_at() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let at = dir.display();
    write_files(dir, PLAIN, OF_NOBODY);
    let (data, notes) = opened("fashion-mnist", dir);
    assert_eq!(data.unwrap().train.n, 10);
    let note = format!(
        "the files in {at} are not those of fashion-mnist as it was published, as far as is known: they are read as \
         your own in the same form, with its names of classes"
    );
    assert_eq!(notes, [note]);
    let message = recognise(dir).unwrap_err().to_string();
    assert!(NAMED_ALIKE.iter().all(|set| plain_name(&message).contains(&plain_name(set.name))));
    assert_eq!(
        message,
        format!(
            "the IDX files in {at} are not those of MNIST, Fashion-MNIST or KMNIST as they were published: say which \
             of them they are like, as with --data mnist --data-dir {at}"
        )
    );
    // The name of the directory says it.
    let named = dir.join("KMNIST/raw");
    write_files(&named, PLAIN, OF_NOBODY);
    assert_eq!(recognise(&named), Ok(Some("kmnist")));
    assert_eq!(recognise(&dir.join("KMNIST")), Ok(Some("kmnist")));
    // Unless the labels say otherwise.
    write_files(&named, PLAIN, OF_MNIST);
    assert_eq!(recognise(&named), Ok(Some("mnist")));
}

#[test]
fn sets_are_found_where_other_programs_put_them() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    write_files(&dir.join("MNIST/raw"), PLAIN, OF_MNIST);
    assert_eq!(recognise(dir), Ok(Some("mnist")));
    write_files(&dir.join("FashionMNIST/raw"), PLAIN, OF_FASHION);
    assert!(opened("mnist", dir).0.unwrap().classes == DIGITS);
    assert_eq!(opened("fashion-mnist", dir).0.unwrap().classes, FASHION_MNIST.classes);
    assert_eq!(recognise(&dir.join("FashionMNIST")), Ok(Some("fashion-mnist")));
    let at = dir.display();
    assert_eq!(
        recognise(dir).unwrap_err().to_string(),
        format!(
            "{at} holds more than one data set, fashion-mnist, mnist: say which is meant, as with --data \
             fashion-mnist --data-dir {at}"
        )
    );
    let emnist = root.path().join("E");
    write_files(&emnist.join("EMNIST/raw/gzip"), ["emnist-digits-train", "emnist-digits-test"], [&[3], &[1]]);
    assert_eq!(recognise(&emnist), Ok(Some("emnist-digits")));
    let keras = root.path().join("keras");
    std::fs::create_dir(&keras).unwrap();
    std::fs::write(keras.join("mnist.npz"), "PK").unwrap();
    let expected = format!(
        "{} is the NumPy form of mnist: rdarts reads the IDX files, `rdarts data fetch mnist` gets them",
        keras.join("mnist.npz").display()
    );
    assert_eq!(recognise(&keras).unwrap_err().to_string(), expected);
    assert_eq!(opened("mnist", &keras).0.unwrap_err().to_string(), expected);
    assert_eq!(recognise(&root.path().join("nowhere")), Ok(None));
}

#[test]
fn emnist_is_turned_upright_and_its_letters_begin_at_a() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let parts = ["emnist-letters-train", "emnist-letters-test"];
    write_files(dir, parts, [&[1, 26, 3], &[2]]);
    let (data, notes) = opened("emnist-letters", dir);
    let data = data.unwrap();
    assert_eq!((data.train.labels.clone(), data.test.labels.clone()), (vec![0, 25, 2], vec![1]));
    assert_eq!((data.classes.len(), &*data.classes[25]), (26, "z"));
    assert!(notes[0].ends_with("emnist-letters was published with 124800 and 20800"), "{notes:?}");
    // Stored, the value is the place in the row; upright, it is the row.
    let image = data.train.image(1).unwrap();
    assert!((0..28 * 28).all(|i| usize::from(image[i]) == i / 28));
    write_files(dir, parts, [&[1, 0], &[2]]);
    let file = dir.join("emnist-letters-train-labels-idx1-ubyte");
    assert_eq!(
        opened("emnist-letters", dir).0.unwrap_err().to_string(),
        format!("{} has the label 0 in record 2 (counted from 1), it should be from 1 to 26", file.display())
    );
}

#[test]
fn classes_are_those_of_the_official_mappings() {
    let n = EMNIST.each_ref().map(|set| (set.name, set.classes.len()));
    let expected = [("byclass", 62), ("bymerge", 47), ("balanced", 47), ("letters", 26), ("digits", 10), ("mnist", 10)];
    assert_eq!(n.map(|(name, n)| (name.trim_start_matches("emnist-"), n)), expected);
    // The characters by their codes, as the mapping files list them.
    let codes = |ranges: &[std::ops::RangeInclusive<u8>]| -> Vec<String> {
        ranges.iter().cloned().flatten().map(|code| char::from(code).to_string()).collect()
    };
    assert_eq!(codes(&[48..=57, 65..=90, 97..=122]), ALL);
    let merged = codes(&[48..=57, 65..=90, 97..=98, 100..=104, 110..=110, 113..=114, 116..=116]);
    assert_eq!(merged, MERGED);
    assert_eq!(codes(&[97..=122]), LETTERS);
}

#[test]
fn a_directory_of_two_sets_is_refused_under_every_name() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    write_files(dir, PLAIN, [OF_MNIST[0], OF_FASHION[1]]);
    let file = dir.join("t10k-labels-idx1-ubyte");
    let expected = format!(
        "{} is a file of fashion-mnist among files of mnist: put the files of each set into a directory of their own",
        file.display()
    );
    for name in ["mnist", "fashion-mnist", "kmnist"] {
        assert_eq!(opened(name, dir).0.unwrap_err().to_string(), expected);
    }
    assert_eq!(recognise(dir).unwrap_err().to_string(), expected);
}

#[test]
fn images_are_known_as_well_as_labels() {
    if installed().is_none() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let name = |i: usize| format!("{}-{}.gz", FASHION_MNIST.file(i).0, FASHION_MNIST.file(i).1);
    for i in 0..4 {
        std::fs::copy(Path::new(DEBIAN_DIR).join(name(i)), dir.join(name(i))).unwrap();
    }
    assert_eq!(opened("fashion-mnist", dir).1, Vec::<String>::new());
    // One pixel of one image is another.
    let mut images = idx::read_images(&dir.join(name(2))).unwrap();
    images.pixels[28 * 28 * 77 + 300] ^= 1;
    let dims = [images.n, 28, 28].map(|dim| (dim as u32).to_be_bytes()).concat();
    std::fs::write(dir.join("t10k-images-idx3-ubyte"), [&[0, 0, 8, 3], &dims[..], &images.pixels].concat()).unwrap();
    std::fs::remove_file(dir.join(name(2))).unwrap();
    let (data, notes) = opened("fashion-mnist", dir);
    assert!(data.is_ok());
    let expected = format!(
        "t10k-images-idx3-ubyte in {} is not the published file of fashion-mnist (its SHA-256 is another): it is read \
         with its names of classes",
        dir.display()
    );
    assert_eq!(notes, [expected]);
    // Images of clothes with labels of digits, as many as there are images.
    for (i, labels) in OF_MNIST.iter().enumerate() {
        let n = MNIST.n[i];
        let labels: Vec<u8> = labels.iter().copied().cycle().take(10).chain(std::iter::repeat_n(0, n - 10)).collect();
        let bytes = [&[0, 0, 8, 1], &(n as u32).to_be_bytes()[..], &labels].concat();
        std::fs::remove_file(dir.join(name(2 * i + 1))).unwrap();
        std::fs::write(dir.join(name(2 * i + 1).trim_end_matches(".gz")), bytes).unwrap();
    }
    assert_eq!(
        opened("mnist", dir).0.unwrap_err().to_string(),
        format!(
            "{} is a file of fashion-mnist among files of mnist: put the files of each set into a directory of their \
             own",
            dir.join(name(0)).display()
        )
    );
}
