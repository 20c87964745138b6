//! SVHN, cropped digits (Netzer et al. 2011): 73,257 training and 26,032 test images of 32x32 colour pixels in
//! ten classes, as two MAT-files, `train_32x32.mat` and `test_32x32.mat`.
//!
//! ```text
//! X   (32, 32, 3, n)    uint8, the first dimension fastest: row, column, channel, image
//! y   (n, 1)            1..=9 for these digits and 10 for the digit 0, in any numeric class
//! ```
//!
//! Looked for in the directory given, else in `$RDARTS_DATA`, or in a child `svhn` of it. Images are normalized by
//! the constants of the paper's code. That code also mirrors them; the presets do not, since a mirrored digit is
//! another sign. The paper uses no `extra_32x32.mat`, and it is not read.

use crate::cifar::{IMAGE, MAX_IMAGES, Records, SIDE};
use crate::dataset::Dataset;
use crate::error::DataError;
use crate::locate::{self, OtherForm};
use crate::mat::{self, Array, Values};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// The name of the data set.
pub const NAME: &str = "svhn";

const FILES: [&str; 2] = ["train_32x32.mat", "test_32x32.mat"];
const MEAN: [f32; 3] = [0.4377, 0.4438, 0.4728];
const STD: [f32; 3] = [0.1980, 0.2010, 0.1970];
const ADVICE: &str =
    "put train_32x32.mat and test_32x32.mat (format 2, cropped digits) of http://ufldl.stanford.edu/housenumbers there";
const OTHER_FORMS: &[OtherForm] = &[
    ("train.tar.gz", "format 1 (full numbers)", "rdarts reads format 2, train_32x32.mat and test_32x32.mat"),
    ("train/digitStruct.mat", "format 1 (full numbers)", "rdarts reads format 2, train_32x32.mat and test_32x32.mat"),
];

/// Reads the data set from `dir`, or from where it is found.
pub fn open(dir: Option<&Path>) -> Result<Dataset, DataError> {
    read(&find(dir, locate::from_env().as_deref())?)
}

/// Reads each file by itself.
pub fn check(dir: Option<&Path>) -> Result<Vec<Result<(), DataError>>, DataError> {
    let dir = find(dir, locate::from_env().as_deref())?;
    Ok(FILES.iter().map(|file| read_file(&locate::file_in(&dir, file)?).map(drop)).collect())
}

fn find(dir: Option<&Path>, from_env: Option<&Path>) -> Result<PathBuf, DataError> {
    let candidates = locate::candidates(dir, from_env, &[NAME], None);
    let holds_some = |dir: &&PathBuf| FILES.iter().any(|file| dir.join(file).is_file());
    candidates.iter().find(holds_some).cloned().ok_or_else(|| {
        locate::other_form(NAME, &candidates, OTHER_FORMS).unwrap_or_else(|| locate::absent(NAME, &candidates, ADVICE))
    })
}

fn read(dir: &Path) -> Result<Dataset, DataError> {
    // Both files are looked for before the first is read, so that a missing one is told at once.
    let [train, test] = FILES.map(|file| locate::file_in(dir, file));
    let (train, test) = (train?, test?);
    let [train, test] = [train, test].map(|path| read_file(&path));
    let (train, test) = (train?.into_images(), test?.into_images());
    let classes = (0..10).map(|digit| digit.to_string()).collect();
    let (mean, std) = (MEAN.to_vec(), STD.to_vec());
    Ok(Dataset { name: NAME.to_owned(), classes, train, test, mean, std, stratified: false })
}

fn read_file(path: &Path) -> Result<Records, DataError> {
    let file = path.display().to_string();
    let stream = File::open(path).map_err(|e| DataError::Unreadable { file: file.clone(), reason: e.to_string() })?;
    take_records(&mut BufReader::with_capacity(1 << 16, stream), &file)
}

/// The images and digits of a whole stream.
fn take_records(reader: &mut dyn BufRead, file: &str) -> Result<Records, DataError> {
    let (mut pixels, mut labels, mut others) = (None, None, Vec::new());
    mat::read_arrays(reader, file, &mut |array, values| {
        let is_twice = match array.name.as_str() {
            "X" => pixels.replace(take_pixels(array, values, file)?).is_some(),
            "y" => labels.replace(take_digits(array, values, file)?).is_some(),
            _ => {
                // Enough of them to see which file this is.
                others.extend((others.len() < 8).then(|| array.name.clone()));
                false
            }
        };
        match is_twice {
            true => Err(DataError::Mat { file: file.to_owned(), problem: format!("it holds {} twice", array.name) }),
            false => Ok(()),
        }
    })?;
    let lacks = |variable| {
        let others = if others.is_empty() { "no other".to_owned() } else { others.join(", ") };
        DataError::MatLacks { file: file.to_owned(), variable, others }
    };
    let Records { pixels, .. } = pixels.ok_or_else(|| lacks("X"))?;
    let labels: Vec<u16> = labels.ok_or_else(|| lacks("y"))?;
    let n_images = pixels.len() / IMAGE;
    if n_images != labels.len() {
        let (images_file, labels_file) = (format!("X of {file}"), format!("y of {file}"));
        return Err(DataError::Counts { images_file, n_images, labels_file, n_labels: labels.len() });
    }
    Ok(Records { pixels, labels })
}

fn take_pixels(array: &Array, values: &mut Values, file: &str) -> Result<Records, DataError> {
    // MATLAB drops a last dimension of 1.
    let n = match array.dims[..] {
        [32, 32, 3] => 1,
        [32, 32, 3, n] => n as usize,
        _ => 0,
    };
    let is_right = array.class == "uint8" && !array.is_complex && values.are_bytes();
    if !is_right || !(1..=MAX_IMAGES).contains(&n) {
        return Err(wrong(array, file, "32 x 32 x 3 x n of class uint8"));
    }
    let mut records = Records::default();
    let mut image = [0; IMAGE];
    for _ in 0..n {
        values.read_bytes(&mut image)?;
        let (rows, columns) = (SIDE, SIDE);
        records.push_pixels(|pixel, channel| image[(channel * columns + pixel % columns) * rows + pixel / columns]);
    }
    Ok(records)
}

fn take_digits(array: &Array, values: &mut Values, file: &str) -> Result<Vec<u16>, DataError> {
    let n = match array.dims[..] {
        [n, 1] | [1, n] => n as usize,
        _ => 0,
    };
    let is_numeric = !matches!(array.class, "cell" | "struct" | "object" | "char" | "sparse" | "unknown");
    if !is_numeric || array.is_complex || !(1..=MAX_IMAGES).contains(&n) {
        return Err(wrong(array, file, "n x 1 of class double or uint8"));
    }
    let mut digits = Vec::new();
    for i in 0..n {
        let label = values.read_number()?;
        if label.fract() != 0.0 || !(1.0..=10.0).contains(&label) {
            return Err(DataError::RecordLabel {
                file: file.to_owned(),
                what: "label",
                label: label.to_string(),
                record: i + 1,
                expected: "a whole number from 1 to 10".to_owned(),
            });
        }
        digits.push(label as u16 % 10);
    }
    Ok(digits)
}

fn wrong(array: &Array, file: &str, expected: &'static str) -> DataError {
    let (file, variable, found) = (file.to_owned(), array.name.clone(), array.describe());
    DataError::MatVariable { file, variable, found, expected }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset;
    use proptest::prelude::*;

    /// Written by `tests/fixtures/make.py` with scipy: packed with y as double, plain with uint8, and the other way.
    const FIXTURES: [(&[u8], usize, usize); 4] = [
        (include_bytes!("../tests/fixtures/svhn-a/train_32x32.mat"), 0, 3),
        (include_bytes!("../tests/fixtures/svhn-a/test_32x32.mat"), 1, 2),
        (include_bytes!("../tests/fixtures/svhn-b/train_32x32.mat"), 2, 2),
        (include_bytes!("../tests/fixtures/svhn-b/test_32x32.mat"), 3, 4),
    ];

    fn value(file: usize, i: usize, row: usize, column: usize, channel: usize) -> u8 {
        (file * 101 + i * 53 + channel * 85 + row * 7 + column * 3) as u8
    }

    fn element(kind: u32, content: &[u8]) -> Vec<u8> {
        let mut bytes = [kind.to_le_bytes(), (content.len() as u32).to_le_bytes()].concat();
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    fn matrix(name: &str, class: u8, dims: &[u32], kind: u32, values: &[u8]) -> Vec<u8> {
        let dims: Vec<u8> = dims.iter().flat_map(|dim| dim.to_le_bytes()).collect();
        let flags = element(6, &[class, 0, 0, 0, 0, 0, 0, 0]);
        let parts = [flags, element(5, &dims), element(1, name.as_bytes()), element(kind, values)];
        element(14, &parts.concat())
    }

    fn file(parts: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = format!("{:<124}", "MATLAB 5.0 MAT-file").into_bytes();
        bytes.extend([0, 1, b'I', b'M']);
        bytes.extend(parts.concat());
        bytes
    }

    fn pixels(n: u32) -> Vec<u8> {
        matrix("X", 9, &[32, 32, 3, n], 2, &vec![7; IMAGE * n as usize])
    }

    fn error(bytes: &[u8]) -> String {
        take_records(&mut &bytes[..], "f.mat").unwrap_err().to_string()
    }

    #[test]
    fn files_of_an_independent_program_are_read_pixel_by_pixel() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        for (dir, numbers) in [("svhn-a", [0, 1]), ("svhn-b", [2, 3])] {
            let data = dataset::open(NAME, Some(&root.join(dir))).unwrap();
            assert_eq!((data.mean[0], data.std[2]), (0.4377, 0.1970));
            assert_eq!((data.classes.len(), data.classes[3].as_str()), (10, "3"));
            for (images, number) in [&data.train, &data.test].into_iter().zip(numbers) {
                assert_eq!(images.n, FIXTURES[number].2);
                for i in 0..images.n {
                    // Label 10, which is (file * 3 + i * 4) % 10 = 9, is the digit 0.
                    assert_eq!(usize::from(images.labels[i]), (number * 3 + i * 4 + 1) % 10);
                    for (at, &pixel) in images.image(i).unwrap().iter().enumerate() {
                        assert_eq!(
                            pixel,
                            value(number, i, at / 96, at / 3 % 32, at % 3),
                            "{dir}, image {i}, byte {at}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn doubles_in_small_elements_single_images_and_other_variables_are_read_too() {
        // As MATLAB itself writes: a double stored as a byte, within its tag, and no last dimension of 1.
        let small = [element(6, &[6, 0, 0, 0, 0, 0, 0, 0]), element(5, &[1, 0, 0, 0, 1, 0, 0, 0])].concat();
        let tags = [1, 0, 1, 0, b'y', 0, 0, 0, 2, 0, 1, 0, 10, 0, 0, 0];
        let y = element(14, &[&small[..], &tags].concat());
        let x = matrix("X", 9, &[32, 32, 3], 2, &[7; IMAGE]);
        let other = matrix("note", 4, &[1, 2], 4, &[65, 0, 66, 0]);
        for parts in [[x.clone(), other.clone(), y.clone()], [y, x, other]] {
            let records = take_records(&mut &file(&parts)[..], "f").unwrap();
            assert_eq!((records.labels, records.pixels), (vec![0], vec![7; IMAGE]));
        }
    }

    #[test]
    fn foreign_files_are_named_for_what_they_are() {
        let with_end = |text: &str, end: [u8; 4]| [format!("{text:<124}").as_bytes(), &end].concat();
        let rows: [(&[u8], &str); 6] = [
            (b"", "empty"),
            (b"<!DOCTYPE html><html><body>404</body></html>", "an HTML page, perhaps of a failed download"),
            (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as MATLAB 7.3 writes them"),
            (
                &with_end("MATLAB 7.3 MAT-file", [0, 2, b'I', b'M']),
                "a MATLAB 7.3 file (HDF5), to be saved again with -v7",
            ),
            (&with_end("MATLAB 5.0 MAT-file", [1, 0, b'M', b'I']), "a MAT-file in big endian order"),
            (b"404: Not Found", "a text file"),
        ];
        for (bytes, kind) in rows {
            let expected = format!("f.mat is not a MAT-file of MATLAB 5 in little endian order, it is {kind}");
            assert_eq!(error(bytes), expected);
        }
    }

    #[test]
    fn wrong_variables_shapes_classes_and_labels_are_named() {
        let y = |values: &[u8]| matrix("y", 9, &[values.len() as u32, 1], 2, values);
        let expected_x = "it should be 32 x 32 x 3 x n of class uint8";
        let doubles = vec![0; 8 * IMAGE];
        let rows = [
            (vec![pixels(1)], "f.mat lacks the variable y, it should hold X and y and holds besides these: no other"),
            (
                vec![pixels(1), matrix("labels", 9, &[1, 1], 2, &[1])],
                "f.mat lacks the variable y, it should hold X and y and holds besides these: labels",
            ),
            (
                vec![matrix("X", 6, &[32, 32, 3, 1], 9, &doubles)],
                &format!("f.mat holds the variable X as 32 x 32 x 3 x 1 of class double, {expected_x}"),
            ),
            (
                vec![matrix("X", 9, &[1, 32, 32, 3], 2, &[0; IMAGE])],
                &format!("f.mat holds the variable X as 1 x 32 x 32 x 3 of class uint8, {expected_x}"),
            ),
            (
                vec![matrix("y", 1, &[2, 1], 2, &[])],
                "f.mat holds the variable y as 2 x 1 of class cell, it should be n x 1 of class double or uint8",
            ),
            (vec![pixels(2), y(&[1])], "X of f.mat holds 2 images and y of f.mat 1 labels, the two should be equal"),
            (vec![y(&[1]), y(&[1])], "f.mat is a damaged MAT-file, fetch it again: it holds y twice"),
            (
                vec![y(&[10, 1, 0])],
                "f.mat has the label 0 in record 3 (counted from 1), it should be a whole number from 1 to 10",
            ),
            (
                vec![matrix("y", 6, &[1, 1], 9, &1.5f64.to_le_bytes())],
                "f.mat has the label 1.5 in record 1 (counted from 1), it should be a whole number from 1 to 10",
            ),
            (
                vec![matrix("y", 9, &[1 << 20, 1], 2, &[1])],
                "f.mat is a damaged MAT-file, fetch it again: y is 1048576 x 1 of class uint8 and declares 1 bytes of \
                 type 2",
            ),
        ];
        for (parts, message) in rows {
            assert_eq!(error(&file(&parts)), message);
        }
    }

    #[test]
    fn every_cut_and_a_wrong_checksum_are_errors() {
        for (bytes, ..) in FIXTURES {
            for end in (0..bytes.len()).step_by(41).chain([bytes.len() - 1]) {
                assert!(take_records(&mut &bytes[..end], "f").is_err(), "{end} of {}", bytes.len());
            }
        }
        // The packed files end with the checksum of y.
        let mut bytes = FIXTURES[0].0.to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        assert!(error(&bytes).contains("cannot be unpacked"), "{}", error(&bytes));
    }

    proptest! {
        #[test]
        fn damaged_files_never_panic_and_give_whole_records(
            which in 0usize..4, changes in prop::collection::vec((any::<u16>(), any::<u8>()), 0..6), end in any::<u16>(),
        ) {
            let mut bytes = FIXTURES[which].0.to_vec();
            let n = bytes.len();
            // Most of a file is pixels: every other change goes to a header.
            for (i, (at, byte)) in changes.into_iter().enumerate() {
                let at = usize::from(at);
                bytes[if i % 2 == 0 { 128 + at % 64 } else { at % n }] = byte;
            }
            bytes.truncate(if end % 4 == 0 { usize::from(end) % n } else { n });
            if let Ok(records) = take_records(&mut &bytes[..], "f") {
                prop_assert_eq!(records.pixels.len(), records.labels.len() * IMAGE);
                prop_assert!(records.labels.iter().all(|&digit| digit < 10));
            }
        }

        #[test]
        fn arbitrary_elements_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0u32..18) {
            let _ = take_records(&mut &file(std::slice::from_ref(&bytes))[..], "f");
            let _ = take_records(&mut &file(&[element(kind, &bytes)])[..], "f");
            let _ = take_records(&mut &bytes[..], "f");
        }
    }
}
