//! SVHN, cropped digits (Netzer et al. 2011): 73,257 training and 26,032 test images of 32x32 colour pixels in
//! ten classes, as two MAT-files, `train_32x32.mat` and `test_32x32.mat`.
//!
//! ```text
//! X   (32, 32, 3, n)    uint8, the first dimension fastest: row, column, channel, image
//! y   (n, 1)            1..=9 for these digits and 10 for the digit 0, in any numeric class
//! ```
//!
//! `svhn-extra` has the 531,131 easier images of `extra_32x32.mat` after those of `train_32x32.mat`, 1.9 GB in memory;
//! the paper does not use them. Looked for as `locate` says, in `svhn`. Images are normalized by the constants of the
//! paper's code. That code also mirrors them; the presets do not, since a mirrored digit is another sign.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use super::{FileCheck, Files, Origin, Published};
use crate::dataset::{Dataset, Watch};
use crate::error::DataError;
use crate::formats::mat::{self, Array, Values};
use crate::formats::read::open;
use crate::formats::records::{IMAGE, MAX_IMAGES, Records, SIDE};
use crate::locate::{self, OtherForm, Roots};

/// One of the two choices of training images.
pub struct Svhn {
    /// The name of the data set.
    pub name: &'static str,
    /// Files of training images besides [`TRAIN`].
    extra: &'static [Published],
    advice: &'static str,
}

/// The training images of the paper.
pub const SVHN: Svhn = Svhn {
    name: "svhn",
    extra: &[],
    advice: "fetch it with `rdarts data fetch svhn`, put train_32x32.mat and test_32x32.mat (format 2, cropped digits) of \
             http://ufldl.stanford.edu/housenumbers there",
};

/// These and the extra ones.
pub const SVHN_EXTRA: Svhn = Svhn {
    name: "svhn-extra",
    extra: &[EXTRA],
    advice: "fetch it with `rdarts data fetch svhn-extra`, put train_32x32.mat, extra_32x32.mat and test_32x32.mat \
             (format 2, cropped digits) of http://ufldl.stanford.edu/housenumbers there",
};

/// Means of the paper's code.
pub const MEAN: [f32; 3] = [0.4377, 0.4438, 0.4728];
/// Deviations of the paper's code.
pub const STD: [f32; 3] = [0.1980, 0.2010, 0.1970];

const DIRECTORY: &str = "svhn";
const TRAIN: Published =
    ("train_32x32.mat", 182_040_794, "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8");
const TEST: Published =
    ("test_32x32.mat", 64_275_384, "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b");
const EXTRA: Published =
    ("extra_32x32.mat", 1_329_278_602, "a133a4beb38a00fcdda90c9489e0c04f900b660ce8a316a5e854838379a71eb3");
const OTHER_FORMS: &[OtherForm] = &[
    ("train.tar.gz", "format 1 (full numbers)", "rdarts reads format 2, train_32x32.mat and test_32x32.mat"),
    ("train/digitStruct.mat", "format 1 (full numbers)", "rdarts reads format 2, train_32x32.mat and test_32x32.mat"),
];

impl Files for Svhn {
    fn origin(&self) -> Origin {
        Origin::Address {
            base: "http://ufldl.stanford.edu/housenumbers",
            directory: DIRECTORY,
            files: [&TRAIN, &TEST].into_iter().chain(self.extra).copied().collect(),
            contents: Vec::new(),
        }
    }

    fn places(&self, roots: &Roots) -> Vec<PathBuf> {
        locate::candidates(roots, &[DIRECTORY], None)
    }

    fn find(&self, roots: &Roots) -> Result<Option<PathBuf>, DataError> {
        let candidates = self.places(roots);
        let holds_some = |dir: &&PathBuf| self.files().any(|file| dir.join(file).is_file());
        candidates.iter().find(holds_some).cloned().map(Some).ok_or_else(|| {
            locate::other_form(self.name, &candidates, OTHER_FORMS)
                .unwrap_or_else(|| locate::absent(self.name, &candidates, self.advice))
        })
    }

    fn check(&self, dir: &Path) -> Vec<FileCheck> {
        let read = |path: &Path| {
            let mut records = Records::default();
            read_file(path, &mut records).map(|()| records.labels.len())
        };
        self.files().map(|file| FileCheck::of(dir, file, read)).collect()
    }

    fn read(&self, dir: &Path, _: &dyn Watch) -> Result<Dataset, DataError> {
        // All files are looked for before the first is read, so that a missing one is told at once.
        self.files().try_for_each(|file| locate::file_in(dir, file).map(drop))?;
        let (mut train, mut test) = (Records::default(), Records::default());
        for (file, ..) in [&TRAIN].into_iter().chain(self.extra) {
            read_file(&dir.join(file), &mut train)?;
        }
        read_file(&dir.join(TEST.0), &mut test)?;
        let (train, test) = (train.into_images(), test.into_images());
        let classes = (0..10).map(|digit| digit.to_string()).collect();
        let (mean, std) = (MEAN.to_vec(), STD.to_vec());
        Ok(Dataset { name: self.name.to_owned(), classes, train, test, mean, std, stratified: false })
    }
}

impl Svhn {
    fn files(&self) -> impl Iterator<Item = &'static str> {
        [&TRAIN].into_iter().chain(self.extra).chain([&TEST]).map(|&(file, ..)| file)
    }
}

fn read_file(path: &Path, records: &mut Records) -> Result<(), DataError> {
    take_records(&mut open(path)?, &path.display().to_string(), records)
}

/// Adds the images and digits of a whole stream.
fn take_records(reader: &mut dyn BufRead, file: &str, records: &mut Records) -> Result<(), DataError> {
    let (mut n_images, mut labels, mut others) = (None, None, Vec::new());
    mat::read_arrays(reader, file, &mut |array, values| {
        let is_twice = match array.name.as_str() {
            "X" => n_images.replace(take_pixels(array, values, file, records)?).is_some(),
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
    let n_images = n_images.ok_or_else(|| lacks("X"))?;
    let labels: Vec<u16> = labels.ok_or_else(|| lacks("y"))?;
    if n_images != labels.len() {
        let (images_file, labels_file) = (format!("X of {file}"), format!("y of {file}"));
        return Err(DataError::Counts { images_file, n_images, labels_file, n_labels: labels.len() });
    }
    records.labels.extend(labels);
    Ok(())
}

/// Adds images and gives their number.
fn take_pixels(array: &Array, values: &mut Values, file: &str, records: &mut Records) -> Result<usize, DataError> {
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
    records.make_room(n);
    let mut image = [0; IMAGE];
    for _ in 0..n {
        values.read_bytes(&mut image)?;
        let (rows, columns) = (SIDE, SIDE);
        records.push_pixels(|pixel, channel| image[(channel * columns + pixel % columns) * rows + pixel / columns]);
    }
    Ok(n)
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
pub mod tests {
    use super::*;

    /// Written by `tests/fixtures/make.py` with scipy: packed with y as double, plain with uint8, and the other way.
    pub const FIXTURES: [&[u8]; 4] = [
        include_bytes!("../../tests/fixtures/svhn-a/train_32x32.mat"),
        include_bytes!("../../tests/fixtures/svhn-a/test_32x32.mat"),
        include_bytes!("../../tests/fixtures/svhn-b/train_32x32.mat"),
        include_bytes!("../../tests/fixtures/svhn-b/test_32x32.mat"),
    ];

    pub fn element(kind: u32, content: &[u8]) -> Vec<u8> {
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

    pub fn file(parts: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = format!("{:<124}", "MATLAB 5.0 MAT-file").into_bytes();
        bytes.extend([0, 1, b'I', b'M']);
        bytes.extend(parts.concat());
        bytes
    }

    fn pixels(n: u32) -> Vec<u8> {
        matrix("X", 9, &[32, 32, 3, n], 2, &vec![7; IMAGE * n as usize])
    }

    pub fn take(bytes: &[u8], file: &str) -> Result<Records, DataError> {
        let mut records = Records::default();
        take_records(&mut &bytes[..], file, &mut records).map(|()| records)
    }

    fn error(bytes: &[u8]) -> String {
        take(bytes, "f.mat").unwrap_err().to_string()
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
            let records = take(&file(&parts), "f").unwrap();
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
        for bytes in FIXTURES {
            for end in (0..bytes.len()).step_by(41).chain([bytes.len() - 1]) {
                assert!(take(&bytes[..end], "f").is_err(), "{end} of {}", bytes.len());
            }
        }
        // The packed files end with the checksum of y.
        let mut bytes = FIXTURES[0].to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        assert!(error(&bytes).contains("cannot be unpacked"), "{}", error(&bytes));
    }
}
