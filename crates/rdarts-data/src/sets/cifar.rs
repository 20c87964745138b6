//! CIFAR-10 and CIFAR-100 (Krizhevsky 2009) in the binary version of their official page: 50,000 training
//! and 10,000 test images of 32x32 colour pixels in 10 classes, or in 100 that form 20 coarse ones.
//!
//! Looked for as `locate` says, in `cifar-10-batches-bin` or `cifar-100-binary`. Any number of images is read; the five
//! training files of CIFAR-10 should have equally many, so that one cut at the end of a record is noticed. Images are
//! normalized by the constants of the DARTS and the paper's code, not by those of the files.
//!
//! Not here: the python version, which is a pickle, a program rather than a file of data.

use std::path::{Path, PathBuf};

use super::{FileCheck, Files, Origin, Published};
use crate::dataset::{Dataset, Watch};
use crate::error::DataError;
use crate::formats::cifar::{LabelByte, Layout, read_names};
use crate::formats::records::Records;
use crate::locate::{self, OtherForm, Roots};

/// One of the data sets of these two families of files.
pub struct Cifar {
    /// The name of the data set.
    pub name: &'static str,
    directory: &'static str,
    archive: Published,
    train: &'static [&'static str],
    test: &'static str,
    /// What a record is.
    pub layout: Layout,
    /// Means of the papers' code.
    pub mean: [f32; 3],
    /// Deviations of the papers' code.
    pub std: [f32; 3],
    advice: &'static str,
    other_forms: &'static [OtherForm],
}

/// CIFAR-10.
pub const CIFAR10: Cifar = Cifar {
    name: "cifar10",
    directory: "cifar-10-batches-bin",
    archive: (
        "cifar-10-binary.tar.gz",
        170_052_171,
        "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    ),
    train: &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"],
    test: "test_batch.bin",
    layout: Layout { labels: &[LabelByte { what: "label", names: "batches.meta.txt", n_classes: 10 }], class: 0 },
    mean: [0.491_399_68, 0.482_158_27, 0.446_531_24],
    std: [0.247_032_33, 0.243_485_05, 0.261_587_68],
    advice: "fetch it with `rdarts data fetch cifar10`, unpack cifar-10-binary.tar.gz (the binary version) of \
             https://www.cs.toronto.edu/~kriz/cifar.html there",
    other_forms: &[
        ("cifar-10-binary.tar.gz", "the packed archive", "unpack it with `tar xzf`"),
        ("data_batch_1", "the python version", GET_CIFAR10),
        ("cifar-10-batches-py/data_batch_1", "the python version", GET_CIFAR10),
        ("cifar-10-python.tar.gz", "the python version", GET_CIFAR10),
    ],
};

/// CIFAR-100 with its 100 fine classes.
pub const CIFAR100: Cifar = Cifar {
    name: "cifar100",
    directory: "cifar-100-binary",
    archive: (
        "cifar-100-binary.tar.gz",
        168_513_733,
        "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    ),
    train: &["train.bin"],
    test: "test.bin",
    layout: Layout {
        labels: &[
            LabelByte { what: "coarse label", names: "coarse_label_names.txt", n_classes: 20 },
            LabelByte { what: "fine label", names: "fine_label_names.txt", n_classes: 100 },
        ],
        class: 1,
    },
    mean: [0.5071, 0.4865, 0.4409],
    std: [0.2673, 0.2564, 0.2762],
    advice: "fetch it with `rdarts data fetch cifar100`, unpack cifar-100-binary.tar.gz (the binary version) of \
             https://www.cs.toronto.edu/~kriz/cifar.html there",
    other_forms: &[
        ("cifar-100-binary.tar.gz", "the packed archive", "unpack it with `tar xzf`"),
        ("meta", "the python version", GET_CIFAR100),
        ("cifar-100-python/meta", "the python version", GET_CIFAR100),
        ("cifar-100-python/train", "the python version", GET_CIFAR100),
        ("cifar-100-python.tar.gz", "the python version", GET_CIFAR100),
    ],
};

/// CIFAR-100 with its 20 coarse classes.
pub const CIFAR100_COARSE: Cifar =
    Cifar { name: "cifar100-coarse", layout: Layout { class: 0, ..CIFAR100.layout }, ..CIFAR100 };

const GET_CIFAR10: &str = "rdarts reads the binary version, cifar-10-binary.tar.gz of \
                           https://www.cs.toronto.edu/~kriz/cifar.html";
const GET_CIFAR100: &str = "rdarts reads the binary version, cifar-100-binary.tar.gz of \
                            https://www.cs.toronto.edu/~kriz/cifar.html";

impl Files for Cifar {
    fn origin(&self) -> Origin {
        Origin::Address {
            base: "https://www.cs.toronto.edu/~kriz",
            directory: self.directory,
            files: vec![self.archive],
            contents: self.files(),
        }
    }

    fn places(&self, roots: &Roots) -> Vec<PathBuf> {
        locate::candidates(roots, &[self.directory], None)
    }

    fn find(&self, roots: &Roots) -> Result<Option<PathBuf>, DataError> {
        let candidates = self.places(roots);
        let holds_some = |dir: &&PathBuf| self.train.iter().chain([&self.test]).any(|file| dir.join(file).is_file());
        candidates.iter().find(holds_some).cloned().map(Some).ok_or_else(|| {
            roots
                .given
                .and_then(|_| self.sibling(&candidates))
                .or_else(|| locate::other_form(self.name, &candidates, self.other_forms))
                .unwrap_or_else(|| locate::absent(self.name, &candidates, self.advice))
        })
    }

    fn read(&self, dir: &Path, _: &dyn Watch) -> Result<Dataset, DataError> {
        let label = self.layout.class();
        // All files are looked for before the first is read, so that a missing one is told at once.
        for file in self.train.iter().chain([&self.test, &label.names]) {
            locate::file_in(dir, file)?;
        }
        let classes = read_names(&dir.join(label.names), label.n_classes)?;
        let mut train = Records::default();
        let first = dir.join(self.train[0]);
        let mut n_first = 0;
        for file in self.train {
            let path = dir.join(file);
            let before = train.labels.len();
            self.layout.read_file(&path, &mut train)?;
            let n = train.labels.len() - before;
            n_first = if before == 0 { n } else { n_first };
            if n != n_first {
                let (file, first) = (path.display().to_string(), first.display().to_string());
                return Err(DataError::UnequalFiles { file, n, first, n_first });
            }
        }
        let mut test = Records::default();
        self.layout.read_file(&dir.join(self.test), &mut test)?;
        let (mean, std) = (self.mean.to_vec(), self.std.to_vec());
        let (train, test) = (train.into_images(), test.into_images());
        Ok(Dataset { name: self.name.to_owned(), classes, train, test, mean, std, stratified: false })
    }

    fn check(&self, dir: &Path) -> Vec<FileCheck> {
        let label = self.layout.class();
        let first = dir.join(self.train[0]);
        let mut n_first = None;
        let mut files: Vec<FileCheck> = Vec::new();
        for file in self.train.iter().chain([&self.test]) {
            files.push(FileCheck::of(dir, file, |path| {
                let mut records = Records::default();
                self.layout.read_file(path, &mut records)?;
                let n = records.labels.len();
                if *file == self.test || n == *n_first.get_or_insert(n) {
                    return Ok(n);
                }
                let (file, first) = (path.display().to_string(), first.display().to_string());
                Err(DataError::UnequalFiles { file, n, first, n_first: n_first.unwrap_or(n) })
            }));
        }
        files.push(FileCheck::of(dir, label.names, |path| read_names(path, label.n_classes).map(|_| 0)));
        files
    }
}

impl Cifar {
    /// All files that it is read from, whatever labels are taken.
    pub fn files(&self) -> Vec<&'static str> {
        let names = self.layout.labels.iter().map(|label| label.names);
        self.train.iter().copied().chain([self.test]).chain(names).collect()
    }

    /// The sentence for the files of the other family of classes where this one's should be.
    fn sibling(&self, candidates: &[PathBuf]) -> Option<DataError> {
        let other = if self.directory == CIFAR10.directory { &CIFAR100 } else { &CIFAR10 };
        // `train.bin` may be anything; a file of records is as long as some of them.
        let record = other.layout.record_size() as u64;
        let is_records = |path: PathBuf| path.metadata().is_ok_and(|file| file.len() > 0 && file.len() % record == 0);
        let holds_all = |dir: &&PathBuf| other.train.iter().chain([&other.test]).all(|file| is_records(dir.join(file)));
        let dir = candidates.iter().find(holds_all)?;
        Some(DataError::OtherSet { dir: dir.clone(), found: other.name, name: self.name })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Read};
    use std::sync::Arc;

    use super::*;
    use crate::batch::Loader;
    use crate::formats::records::{IMAGE, SIDE};
    use crate::images::Images;
    use crate::{open, recognise};

    /// Pixel values that differ by file, record, channel, row and column.
    fn value(file: usize, record: usize, channel: usize, row: usize, column: usize) -> u8 {
        (file * 101 + record * 53 + channel * 85 + row * 7 + column * 3) as u8
    }

    fn file(number: usize, labels: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (record, labels) in labels.iter().enumerate() {
            bytes.extend(*labels);
            for channel in 0..3 {
                let plane = (0..SIDE * SIDE).map(|i| value(number, record, channel, i / SIDE, i % SIDE));
                bytes.extend(plane);
            }
        }
        bytes
    }

    fn write(dir: &Path, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::create_dir_all(dir).unwrap();
        std::fs::write(dir.join(name), bytes).unwrap();
    }

    fn lines(n: usize, stem: &str) -> String {
        (0..n).map(|i| format!("{stem}{i}\n")).collect::<String>() + "\n"
    }

    fn write_cifar10(dir: &Path) {
        for (i, name) in CIFAR10.train.iter().enumerate() {
            write(dir, name, file(i, &[&[i as u8], &[9 - i as u8]]));
        }
        write(dir, CIFAR10.test, file(5, &[&[7], &[0], &[9]]));
        write(dir, "batches.meta.txt", lines(10, "class"));
    }

    fn write_cifar100(dir: &Path) {
        write(dir, "train.bin", file(0, &[&[19, 99], &[0, 3]]));
        write(dir, "test.bin", file(1, &[&[4, 50]]));
        write(dir, "fine_label_names.txt", lines(100, "fine"));
        write(dir, "coarse_label_names.txt", lines(20, "coarse"));
    }

    fn check_pixels(images: &Images, place: impl Fn(usize) -> (usize, usize)) {
        assert_eq!((images.height, images.width, images.channels), (32, 32, 3));
        for i in 0..images.n {
            let (number, record) = place(i);
            for (at, &pixel) in images.image(i).unwrap().iter().enumerate() {
                let (row, column, channel) = (at / 96, at / 3 % 32, at % 3);
                assert_eq!(pixel, value(number, record, channel, row, column), "image {i} at {row},{column},{channel}");
            }
        }
    }

    fn error(name: &str, dir: &Path) -> String {
        open(name, Some(dir)).unwrap_err().to_string()
    }

    #[test]
    fn cifar10_is_read_pixel_by_pixel_in_the_order_of_its_files() {
        let root = tempfile::tempdir().unwrap();
        let child = root.path().join("cifar-10-batches-bin");
        write_cifar10(&child);
        for dir in [root.path(), &child] {
            let data = open("cifar10", Some(dir)).unwrap();
            assert_eq!((data.name.as_str(), data.train.n, data.test.n), ("cifar10", 10, 3));
            assert_eq!(data.train.labels, [0, 9, 1, 8, 2, 7, 3, 6, 4, 5]);
            assert_eq!(data.test.labels, [7, 0, 9]);
            assert_eq!((data.classes.len(), data.classes[9].as_str()), (10, "class9"));
            check_pixels(&data.train, |i| (i / 2, i % 2));
            check_pixels(&data.test, |i| (5, i));
            assert_eq!(data.mean, [0.49139968, 0.48215827, 0.44653124]);
            assert_eq!(data.std, [0.24703233, 0.24348505, 0.26158768]);
        }
    }

    #[test]
    fn cifar100_gives_its_fine_or_its_coarse_classes() {
        let root = tempfile::tempdir().unwrap();
        write_cifar100(&root.path().join("cifar-100-binary"));
        for (name, labels, test_label, last) in
            [("cifar100", [99, 3], 50, "fine99"), ("cifar100-coarse", [19, 0], 4, "coarse19")]
        {
            let data = open(name, Some(root.path())).unwrap();
            assert_eq!((data.name.as_str(), &data.train.labels[..]), (name, &labels[..]));
            assert_eq!((&data.test.labels[..], data.classes.last().unwrap().as_str()), (&[test_label][..], last));
            check_pixels(&data.train, |i| (0, i));
            check_pixels(&data.test, |_| (1, 0));
            assert_eq!((data.mean[1], data.std[2]), (0.4865, 0.2762));
        }
    }

    #[test]
    fn batches_of_colour_images_are_normalized_channel_by_channel() {
        let root = tempfile::tempdir().unwrap();
        write_cifar10(root.path());
        let data = Arc::new(open("cifar10", Some(root.path())).unwrap());
        let batch = Loader::new(data.clone(), 0..10, 10, 1, "train").epoch(0, 0, None).next().unwrap().unwrap();
        assert_eq!((batch.n, batch.height, batch.width, batch.channels), (10, 32, 32, 3));
        for (i, label) in batch.labels.iter().enumerate() {
            let of = data.train.labels.iter().position(|l| u32::from(*l) == *label).unwrap();
            for (at, &x) in data.train.image(of).unwrap().iter().enumerate() {
                let expected = (f32::from(x) / 255.0 - data.mean[at % 3]) / data.std[at % 3];
                assert!((batch.images[i * IMAGE + at] - expected).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn a_given_directory_precedes_the_environment_which_precedes_the_user_s_and_absence_says_what_to_get() {
        let root = tempfile::tempdir().unwrap();
        let [given, env, user] = ["given", "env", "user"].map(|name| root.path().join(name));
        let roots = Roots { given: None, env: Some(&env), user: Some(&user) };
        write_cifar10(&user.join("cifar-10-batches-bin"));
        assert_eq!(CIFAR10.find(&roots).unwrap().unwrap(), user.join("cifar-10-batches-bin"));
        write_cifar10(&env);
        assert_eq!(CIFAR10.find(&roots).unwrap().unwrap(), env);
        let at = given.display();
        assert_eq!(
            CIFAR10.find(&Roots { given: Some(&given), ..roots }).unwrap_err().to_string(),
            format!(
                "cifar10 is not in {at} or {at}/cifar-10-batches-bin: fetch it with `rdarts data fetch cifar10`, unpack \
                 cifar-10-binary.tar.gz (the binary version) of https://www.cs.toronto.edu/~kriz/cifar.html there or \
                 name its directory with --data-dir"
            )
        );
        assert_eq!(
            CIFAR100.find(&Roots::default()).unwrap_err().to_string(),
            "cifar100 needs files and no directory is named: name one with --data-dir or RDARTS_DATA, or fetch it with \
             `rdarts data fetch cifar100`, unpack cifar-100-binary.tar.gz (the binary version) of \
             https://www.cs.toronto.edu/~kriz/cifar.html there"
        );
    }

    #[test]
    fn the_python_version_and_packed_archives_are_named() {
        let root = tempfile::tempdir().unwrap();
        let rows = [
            ("cifar10", "a", "cifar-10-batches-py/data_batch_1", "the python version"),
            ("cifar10", "b", "data_batch_1", "the python version"),
            ("cifar10", "c", "cifar-10-binary.tar.gz", "the packed archive"),
            ("cifar100", "d", "cifar-100-python/train", "the python version"),
            ("cifar100-coarse", "e", "meta", "the python version"),
        ];
        for (name, dir, path, form) in rows {
            let dir = root.path().join(dir);
            let path = dir.join(path);
            write(path.parent().unwrap(), path.file_name().unwrap().to_str().unwrap(), b"\x80\x02");
            let message = error(name, &dir);
            assert!(message.starts_with(&format!("{} is {form} of {name}: ", path.display())), "{message}");
            assert!(!form.contains("python") || message.contains("reads the binary version, cifar-10"), "{message}");
        }
        // The binary version beside the python one is read.
        let both = root.path().join("b");
        write_cifar10(&both);
        assert!(open("cifar10", Some(&both)).is_ok());
    }

    #[test]
    fn one_family_is_not_taken_for_the_other() {
        let root = tempfile::tempdir().unwrap();
        let [ten, hundred] = ["ten", "hundred"].map(|name| root.path().join(name));
        write_cifar10(&ten);
        write_cifar100(&hundred);
        let expected = |dir: &Path, found, name| {
            format!("the files in {} are those of {found}, not those of {name}: use --data {found}", dir.display())
        };
        assert_eq!(error("cifar10", &hundred), expected(&hundred, "cifar100", "cifar10"));
        assert_eq!(error("cifar100", &ten), expected(&ten, "cifar10", "cifar100"));
        assert_eq!(error("cifar100-coarse", &ten), expected(&ten, "cifar10", "cifar100-coarse"));
        assert_eq!(recognise(&ten), Ok(Some("cifar10")));
        assert_eq!(recognise(&hundred), Ok(Some("cifar100")));
        // Files of such names that hold no records are nobody's.
        write(&hundred, "train.bin", b"tokens");
        assert!(error("cifar10", &hundred).starts_with("cifar10 is not in "));
    }

    #[test]
    fn files_of_the_wrong_size_or_kind_are_named() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path();
        let name = "data_batch_3.bin";
        let at = format!("{}/{name}", dir.display());
        let good = file(2, &[&[2], &[7]]);
        let kinds: [(&[u8], &str); 7] = [
            (b"", "empty"),
            (b"\t\r\n<!DOCTYPE html><html><body>Not Found</body></html>", "an HTML page, perhaps of a failed download"),
            (b"404: Not Found\n", "a text file"),
            (b"\t404: Not Found\n", "a text file"),
            (b"\x1f\x8b\x08rest", "a gzip file, to be unpacked first"),
            (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer instead of the file itself"),
            (b"\x80\x02}q\x01", "a Python pickle"),
        ];
        write_cifar10(dir);
        for (bytes, kind) in kinds {
            write(dir, name, bytes);
            assert_eq!(error("cifar10", dir), format!("{at} is not a file of CIFAR records, it is {kind}"));
        }
        write(dir, name, &good[..good.len() - 1]);
        assert_eq!(
            error("cifar10", dir),
            format!(
                "{at} is cut short or no file of its data set: its records have 3073 bytes each, and after 1 of them \
                 come 3072 bytes more, fetch it again"
            )
        );
        write(dir, name, [&good[..], &[1, 2]].concat());
        assert!(error("cifar10", dir).contains("records have 3073 bytes each, and after 2 of them come 2 bytes more"));
        // Cut at the end of a record.
        write(dir, name, &good[..3073]);
        let first = format!("{}/data_batch_1.bin", dir.display());
        let expected =
            format!("{at} holds 1 records and {first} 2, the two should be equal: fetch the shorter one again");
        assert_eq!(error("cifar10", dir), expected);
        std::fs::remove_file(dir.join(name)).unwrap();
        let expected = format!("{} lacks the file {name}, copy it there from the other files' source", dir.display());
        assert_eq!(error("cifar10", dir), expected);
    }

    #[test]
    fn labels_beyond_the_classes_are_named_with_their_record() {
        let root = tempfile::tempdir().unwrap();
        let (ten, hundred) = (root.path().join("10"), root.path().join("100"));
        write_cifar10(&ten);
        write(&ten, "test_batch.bin", file(5, &[&[1], &[10]]));
        let expected = "test_batch.bin has the label 10 in record 2 (counted from 1), it should be below 10";
        assert!(error("cifar10", &ten).ends_with(expected), "{}", error("cifar10", &ten));
        write_cifar100(&hundred);
        for (labels, expected) in [
            ([20, 0], "the coarse label 20 in record 2 (counted from 1), it should be below 20"),
            ([0, 100], "the fine label 100 in record 2 (counted from 1), it should be below 100"),
        ] {
            write(&hundred, "train.bin", file(0, &[&[0, 0], &labels]));
            // The label that is not used is checked too: where one byte is wrong, others may be.
            for name in ["cifar100", "cifar100-coarse"] {
                assert!(error(name, &hundred).ends_with(expected), "{}", error(name, &hundred));
            }
        }
        // The files of one set under the names of the other.
        write(&ten, "train.bin", file(0, &[&[1], &[2]]));
        std::fs::copy(ten.join("train.bin"), hundred.join("train.bin")).unwrap();
        assert!(
            error("cifar100", &hundred)
                .contains("records have 3074 bytes each, and after 1 of them come 3072 bytes more")
        );
    }

    #[test]
    fn lists_of_class_names_are_checked() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path();
        write_cifar10(dir);
        let at = format!("{}/batches.meta.txt", dir.display());
        write(dir, "batches.meta.txt", "cat\r\n\r\n dog \r\n");
        assert_eq!(error("cifar10", dir), format!("{at} holds 2 names of classes, it should hold 10, one a line"));
        write(dir, "batches.meta.txt", "<html></html>");
        let page = "an HTML page, perhaps of a failed download";
        assert_eq!(error("cifar10", dir), format!("{at} is not a list of class names, it is {page}"));
    }

    #[test]
    fn an_endless_file_is_given_up_after_the_most_images() {
        let mut endless = BufReader::with_capacity(3073, std::io::repeat(9).take(1 << 40));
        let mut records = Records::default();
        let message = CIFAR10.layout.take_records(&mut endless, "f", &mut records, 5).unwrap_err().to_string();
        assert_eq!(message, "f goes on after 5 records, where its content should end: fetch it again");
        assert_eq!(records.pixels.len(), 5 * IMAGE);
        assert_eq!(endless.get_ref().limit(), (1 << 40) - 6 * 3073);
    }
}
