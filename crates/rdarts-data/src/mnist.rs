//! MNIST and the sets made like it: images of 28x28 gray pixels as four IDX files.
//!
//! | set             | of                                                   |                                         |
//! |-----------------|------------------------------------------------------|-----------------------------------------|
//! | `mnist`         | LeCun, Cortes and Burges 1998                        | digits                                  |
//! | `fashion-mnist` | Xiao, Rasul and Vollgraf 2017                        | clothes                                 |
//! | `kmnist`        | Clanuwat, Bober-Irizar, Kitamoto and others 2018     | ten characters of cursive Japanese      |
//! | `emnist-SPLIT`  | Cohen, Afshar, Tapson and van Schaik 2017            | digits and letters, in six splits       |
//!
//! Looked for as `locate` says, in the directories that torchvision and Keras make too, and that of Debian's package
//! `dataset-fashion-mnist`. The files may be packed or not, `train-images-idx3-ubyte.gz` or `train-images.idx3-ubyte`,
//! and may hold any number of images.
//!
//! The first three have files of the same names. They are told apart by their labels: the SHA-256 of the published
//! file, or the first labels, which stay the same in a file that was unpacked, packed again or cut. Files of another
//! set are refused; those of none are read, as somebody's own in this form, with a note. So are files whose labels are
//! a set's and whose images are not.
//!
//! EMNIST's images are stored with rows for columns, and its letters' labels begin at 1: both are put right here.

use crate::catalog::Files;
use crate::check::FileCheck;
use crate::dataset::{Dataset, Watch};
use crate::error::DataError;
use crate::idx;
use crate::images::{Images, Pixels};
use crate::locate::{self, OtherForm, Roots};
use flate2::bufread::GzDecoder;
use sha2::{Digest, Sha256};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// One of these data sets.
pub struct Mnist {
    /// The name of the data set.
    pub name: &'static str,
    /// The classes, in the order of their labels.
    pub classes: &'static [&'static str],
    /// Training and test images as published.
    pub n: [usize; 2],
    /// Mean and deviation of the training images' values / 255, as everybody's code has them, where it does.
    pub published: Option<(&'static [f32], &'static [f32])>,
    /// What the names of the files begin with, for training and for tests.
    parts: [&'static str; 2],
    /// The usual directories; `fetch` makes the first.
    directories: &'static [&'static str],
    system: Option<&'static str>,
    /// The label of the first class.
    first: u8,
    /// Whether images are stored with rows for columns.
    transposed: bool,
    /// How the labels are known where their files' names do not tell the set.
    marks: Option<[Mark; 2]>,
    sums: Option<Sums>,
    advice: &'static str,
    other_forms: &'static [OtherForm],
}

/// What tells one set's labels from another's.
struct Mark {
    /// The SHA-256 of the file as it is published, in gzip.
    sum: &'static str,
    /// The first labels; none where nobody vouches for them.
    begin: &'static [u8],
}

/// The SHA-256 of the four files as they were published.
enum Sums {
    /// Of what is unpacked from them.
    Unpacked([&'static str; 4]),
    /// Of the files in gzip, where nobody vouches for a sum of what is in them.
    Packed([&'static str; 4]),
}

/// Whose files they are.
#[derive(Debug, PartialEq, Eq)]
enum Owner {
    This,
    Other(&'static str),
    Unknown,
    /// One file is of the set `found`, another of `name`.
    Mixed {
        file: PathBuf,
        found: &'static str,
        name: &'static str,
    },
}

/// Height and width of every image.
pub const SIDE: usize = 28;

/// Fashion-MNIST.
pub static FASHION_MNIST: Mnist = Mnist {
    name: "fashion-mnist",
    classes: &[
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ],
    n: [60_000, 10_000],
    published: Some((&[0.2860], &[0.3530])),
    parts: PLAIN,
    directories: &["fashion-mnist", "FashionMNIST/raw", "FashionMNIST", "raw"],
    system: Some(DEBIAN_DIR),
    first: 0,
    transposed: false,
    marks: Some([
        Mark {
            sum: "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            begin: &[9, 0, 0, 3, 0, 2, 7, 2, 5, 5],
        },
        Mark {
            sum: "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            begin: &[9, 2, 1, 1, 6, 1, 4, 6, 5, 7],
        },
    ]),
    // Of Debian's files; a test compares them.
    sums: Some(Sums::Unpacked([
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ])),
    advice: "fetch it with `rdarts data fetch fashion-mnist`, run `apt-get install dataset-fashion-mnist` (Debian)",
    other_forms: &[],
};

/// MNIST.
pub static MNIST: Mnist = Mnist {
    name: "mnist",
    classes: &DIGITS,
    n: [60_000, 10_000],
    published: Some((&[0.1307], &[0.3081])),
    parts: PLAIN,
    directories: &["mnist", "MNIST/raw", "MNIST", "raw"],
    system: None,
    first: 0,
    transposed: false,
    marks: Some([
        Mark {
            sum: "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            begin: &[5, 0, 4, 1, 9, 2, 1, 3, 1, 4],
        },
        Mark {
            sum: "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            begin: &[7, 2, 1, 0, 4, 1, 4, 9, 5, 9],
        },
    ]),
    // As many independent projects pin them.
    sums: Some(Sums::Unpacked([
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ])),
    advice: "fetch it with `rdarts data fetch mnist`",
    other_forms: &[("mnist.npz", "the NumPy form", "rdarts reads the IDX files, `rdarts data fetch mnist` gets them")],
};

/// Kuzushiji-MNIST.
pub static KMNIST: Mnist = Mnist {
    name: "kmnist",
    classes: &["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"],
    n: [60_000, 10_000],
    published: None,
    parts: PLAIN,
    directories: &["kmnist", "KMNIST/raw", "KMNIST", "raw"],
    system: None,
    first: 0,
    transposed: false,
    marks: Some([
        Mark { sum: "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17", begin: &[] },
        Mark { sum: "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c", begin: &[] },
    ]),
    sums: Some(Sums::Packed([
        "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
        "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
        "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
        "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
    ])),
    advice: "fetch it with `rdarts data fetch kmnist`",
    other_forms: &[(
        "kmnist-train-imgs.npz",
        "the NumPy form",
        "rdarts reads the IDX files, `rdarts data fetch kmnist` gets them",
    )],
};

/// EMNIST in its six splits, the largest first.
pub static EMNIST: [Mnist; 6] = [
    emnist("emnist-byclass", ["emnist-byclass-train", "emnist-byclass-test"], &ALL, [697_932, 116_323]),
    emnist("emnist-bymerge", ["emnist-bymerge-train", "emnist-bymerge-test"], MERGED, [697_932, 116_323]),
    emnist("emnist-balanced", ["emnist-balanced-train", "emnist-balanced-test"], MERGED, [112_800, 18_800]),
    Mnist {
        first: 1,
        ..emnist("emnist-letters", ["emnist-letters-train", "emnist-letters-test"], &LETTERS, [124_800, 20_800])
    },
    emnist("emnist-digits", ["emnist-digits-train", "emnist-digits-test"], &DIGITS, [240_000, 40_000]),
    emnist("emnist-mnist", ["emnist-mnist-train", "emnist-mnist-test"], &DIGITS, [60_000, 10_000]),
];

/// Where EMNIST is had; it is one zip archive, which `fetch` does not unpack.
pub const GET_EMNIST: &str = "unpack gzip.zip of https://www.nist.gov/itl/products-and-services/emnist-dataset";

/// The sets whose files have the same names.
const NAMED_ALIKE: [&Mnist; 3] = [&MNIST, &FASHION_MNIST, &KMNIST];

const DEBIAN_DIR: &str = "/usr/share/datasets/fashion-mnist";
const IMAGES: &str = "idx3-ubyte";
const LABELS: &str = "idx1-ubyte";
const PLAIN: [&str; 2] = ["train", "t10k"];
const DIGITS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
const LETTERS: [&str; 26] = [
    "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t", "u", "v", "w",
    "x", "y", "z",
];
/// As `emnist-byclass-mapping.txt` has them: digits, capitals, small letters.
const ALL: [&str; 62] = [
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L", "M",
    "N", "O", "P", "Q", "R", "S", "T", "U", "V", "W", "X", "Y", "Z", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j",
    "k", "l", "m", "n", "o", "p", "q", "r", "s", "t", "u", "v", "w", "x", "y", "z",
];
/// As `emnist-bymerge-mapping.txt` and `emnist-balanced-mapping.txt` have them: without the small letters that look
/// like their capitals.
const MERGED: &[&str] = &[
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L", "M",
    "N", "O", "P", "Q", "R", "S", "T", "U", "V", "W", "X", "Y", "Z", "a", "b", "d", "e", "f", "g", "h", "n", "q", "r",
    "t",
];

const fn emnist(
    name: &'static str,
    parts: [&'static str; 2],
    classes: &'static [&'static str],
    n: [usize; 2],
) -> Mnist {
    Mnist {
        name,
        classes,
        n,
        published: None,
        parts,
        directories: &["emnist", "EMNIST/raw", "EMNIST/raw/gzip", "EMNIST", "raw", "raw/gzip", "gzip"],
        system: None,
        first: 0,
        transposed: true,
        marks: None,
        sums: None,
        advice: "unpack gzip.zip of https://www.nist.gov/itl/products-and-services/emnist-dataset there",
        other_forms: &[
            ("gzip.zip", "the packed archive", "unpack it with `unzip`"),
            ("EMNIST/raw/gzip.zip", "the packed archive", "unpack it with `unzip`"),
            ("emnist-balanced.mat", "the MATLAB form", "rdarts reads the IDX files in gzip.zip"),
            ("matlab.zip", "the MATLAB form", "rdarts reads the IDX files in gzip.zip"),
        ],
    }
}

impl Files for Mnist {
    fn places(&self, roots: &Roots) -> Vec<PathBuf> {
        locate::candidates(roots, self.directories, self.system.map(Path::new))
    }

    fn find(&self, roots: &Roots) -> Result<Option<PathBuf>, DataError> {
        self.first_of(self.places(roots)).map(Some)
    }

    fn recognise(&self, dir: &Path) -> Result<Option<PathBuf>, DataError> {
        let candidates = self.places(&Roots { given: Some(dir), ..Roots::default() });
        for dir in candidates.iter().filter(|dir| self.holds_some(dir)) {
            match self.owner(dir) {
                Owner::This => return Ok(Some(dir.clone())),
                Owner::Unknown if self.is_named_by(dir) => return Ok(Some(dir.clone())),
                Owner::Mixed { file, found, name } => return Err(DataError::MixedSets { file, found, name }),
                Owner::Unknown | Owner::Other(_) => {}
            }
        }
        locate::other_form(self.name, &candidates, self.other_forms).map_or(Ok(None), Err)
    }

    fn open(&self, dir: Option<&Path>, watch: &dyn Watch) -> Result<Dataset, DataError> {
        self.read(&locate::with_roots(dir, |roots| self.first_of(self.places(roots)))?, watch)
    }

    /// What is in each of its files, or what is wrong with it, whatever is wrong with the others.
    fn check(&self, dir: &Path) -> Vec<FileCheck> {
        let mut n_images = None;
        let checked = |i: usize| {
            let (stem, kind) = self.file(i);
            let found = file_in(dir, &stem, kind).and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
            FileCheck::of(dir, &found.unwrap_or_else(|| format!("{stem}-{kind}.gz")), |path| {
                let file = path.display().to_string();
                if kind == IMAGES {
                    let images = idx::read_images(path)?;
                    let n = images.n;
                    n_images = Some((n, file.clone()));
                    return join(self.name, images, &file, vec![0; n], &file).map(|images| images.n);
                }
                let n_labels = self.labels(path)?.len();
                match n_images.take() {
                    Some((n_images, images_file)) if n_images != n_labels => {
                        Err(DataError::Counts { images_file, n_images, labels_file: file, n_labels })
                    }
                    _ => Ok(0),
                }
            })
        };
        (0..4).map(checked).collect()
    }
}

/// Whether there are files here that the names of several sets fit.
pub fn holds_plain(dir: &Path) -> bool {
    MNIST.holds_some(dir)
}

impl Mnist {
    /// Stem and kind of file number `i`: training images, their labels, test images, their labels.
    fn file(&self, i: usize) -> (String, &'static str) {
        let (what, kind) = [("images", IMAGES), ("labels", LABELS)][i % 2];
        (format!("{}-{what}", self.parts[i / 2]), kind)
    }

    fn holds_some(&self, dir: &Path) -> bool {
        (0..4).map(|i| self.file(i)).any(|(stem, kind)| file_in(dir, &stem, kind).is_some())
    }

    /// The first directory that holds at least one of the files, unless they are another set's.
    fn first_of(&self, candidates: Vec<PathBuf>) -> Result<PathBuf, DataError> {
        let mut other = None;
        for dir in candidates.iter().filter(|dir| self.holds_some(dir)) {
            match self.owner(dir) {
                Owner::Other(found) => {
                    other.get_or_insert(DataError::OtherSet { dir: dir.clone(), found, name: self.name });
                }
                Owner::Mixed { file, found, name } => {
                    other.get_or_insert(DataError::MixedSets { file, found, name });
                }
                Owner::This | Owner::Unknown => return Ok(dir.clone()),
            }
        }
        let absent = || locate::absent(self.name, &candidates, self.advice);
        Err(other.or_else(|| locate::other_form(self.name, &candidates, self.other_forms)).unwrap_or_else(absent))
    }

    /// Whether the directory, or the one above it, has the set's name.
    fn is_named_by(&self, dir: &Path) -> bool {
        let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
        let mut names = dir.iter().rev().take(2).map(|name| plain_name(&name.to_string_lossy()));
        names.any(|name| name == plain_name(self.name))
    }

    /// Whose labels lie in the directory.
    fn owner(&self, dir: &Path) -> Owner {
        if self.marks.is_none() {
            return Owner::This;
        }
        let mut owner = Owner::Unknown;
        for part in 0..2 {
            let (stem, kind) = self.file(2 * part + 1);
            let Some(path) = file_in(dir, &stem, kind) else { continue };
            let (sum, begin) = (sum(&path), begin(&path));
            let is_of = |set: &&Mnist| {
                let mark = set.marks.as_ref().map(|marks| &marks[part]);
                mark.is_some_and(|mark| {
                    sum.as_deref() == Some(mark.sum) || !mark.begin.is_empty() && begin.as_deref() == Some(mark.begin)
                })
            };
            let Some(found) = NAMED_ALIKE.into_iter().find(is_of).map(|set| set.name) else { continue };
            owner = match owner {
                Owner::This if found != self.name => return Owner::Mixed { file: path, found, name: self.name },
                Owner::Other(name) if found != name => return Owner::Mixed { file: path, found, name },
                _ if found == self.name => Owner::This,
                _ => Owner::Other(found),
            };
        }
        owner
    }

    fn read(&self, dir: &Path, watch: &dyn Watch) -> Result<Dataset, DataError> {
        let path = |i: usize| {
            let (stem, kind) = self.file(i);
            file_in(dir, &stem, kind).ok_or_else(|| DataError::MissingFile {
                dir: dir.to_owned(),
                file: format!("{stem}-{kind} (or {stem}-{kind}.gz)"),
            })
        };
        // All four are looked for before the first is read, so that a missing one is told at once.
        let [train_images, train_labels, test_images, test_labels] = [path(0)?, path(1)?, path(2)?, path(3)?];
        let train = self.part(&train_images, &train_labels)?;
        let test = self.part(&test_images, &test_labels)?;
        let paths = [&train_images, &train_labels, &test_images, &test_labels].map(|path| path.as_path());
        let unpublished = self.unpublished(paths, [&train, &test])?;
        let (dir_, name) = (dir.display(), self.name);
        if self.owner(dir) == Owner::Unknown {
            watch.note(&format!(
                "the files in {dir_} are not those of {name} as it was published, as far as is known: they are read as \
                 your own in the same form, with its names of classes"
            ));
        } else if [train.n, test.n] != self.n {
            let [n_train, n_test] = self.n;
            watch.note(&format!(
                "the files in {dir_} hold {} training and {} test images, {name} was published with {n_train} and \
                 {n_test}",
                train.n, test.n
            ));
        } else if !unpublished.is_empty() {
            let (is, its, it) = if unpublished.len() == 1 {
                ("is not the published file", "its SHA-256 is another", "it is")
            } else {
                ("are not the published files", "their SHA-256 are others", "they are")
            };
            let files = unpublished.join(", ");
            watch.note(&format!("{files} in {dir_} {is} of {name} ({its}): {it} read with its names of classes"));
        }
        Dataset::new(self.name, self.classes, train, test)
    }

    /// The names of the files that are not as they were published, of those that this can be told of; an error if one is
    /// another set's.
    fn unpublished(&self, paths: [&Path; 4], [train, test]: [&Images; 2]) -> Result<Vec<String>, DataError> {
        let mut names = Vec::new();
        let Some(own) = &self.sums else { return Ok(names) };
        for (i, path) in paths.into_iter().enumerate() {
            let unpacked = content_sum([train, test][i / 2], i % 2 == 1);
            let packed = if begins_as_gzip(path) { file_sum(path) } else { None };
            let is_of = |set: &&Mnist| match &set.sums {
                Some(Sums::Unpacked(sums)) => unpacked.as_deref() == Some(sums[i]),
                Some(Sums::Packed(sums)) => packed.as_deref() == Some(sums[i]),
                None => false,
            };
            match NAMED_ALIKE.into_iter().find(is_of) {
                Some(set) if set.name == self.name => {}
                Some(set) => {
                    return Err(DataError::MixedSets { file: path.to_owned(), found: set.name, name: self.name });
                }
                // What was unpacked of a file whose sum is known in gzip only tells nothing.
                None if matches!(own, Sums::Packed(_)) && packed.is_none() => {}
                None => names.extend(path.file_name().map(|name| name.to_string_lossy().into_owned())),
            }
        }
        Ok(names)
    }

    fn part(&self, images_path: &Path, labels_path: &Path) -> Result<Images, DataError> {
        let labels = self.labels(labels_path)?;
        let mut images = idx::read_images(images_path)?;
        if self.transposed && images.height == images.width && images.height > 0 {
            let side = images.height;
            images.pixels.chunks_exact_mut(side * side).for_each(|image| transpose(image, side));
        }
        join(self.name, images, &images_path.display().to_string(), labels, &labels_path.display().to_string())
    }

    /// The labels, counted from 0.
    fn labels(&self, path: &Path) -> Result<Vec<u8>, DataError> {
        let mut labels = idx::read_labels(path, self.classes.len() + usize::from(self.first))?;
        if let Some(i) = labels.iter().position(|&label| label < self.first) {
            return Err(DataError::RecordLabel {
                file: path.display().to_string(),
                what: "label",
                label: labels[i].to_string(),
                record: i + 1,
                expected: format!("from {} to {}", self.first, self.classes.len()),
            });
        }
        labels.iter_mut().for_each(|label| *label -= self.first);
        Ok(labels)
    }
}

fn file_in(dir: &Path, stem: &str, kind: &str) -> Option<PathBuf> {
    ["-", "."]
        .iter()
        .flat_map(|joint| [".gz", ""].map(|end| dir.join(format!("{stem}{joint}{kind}{end}"))))
        .find(|path| path.is_file())
}

/// Letters and digits only, in small letters.
fn plain_name(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The SHA-256 of a file no longer than one of labels is.
fn sum(path: &Path) -> Option<String> {
    const LIMIT: u64 = 1 << 17;
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(LIMIT).read_to_end(&mut bytes).ok()?;
    Some(hex(Sha256::new_with_prefix(&bytes)))
}

/// The SHA-256 of a file of any length.
fn file_sum(path: &Path) -> Option<String> {
    let mut hasher = Sha256::new();
    std::io::copy(&mut std::fs::File::open(path).ok()?, &mut hasher).ok()?;
    Some(hex(hasher))
}

/// The SHA-256 of the IDX file that these images, or their labels, are in when it is not packed.
fn content_sum(images: &Images, of_labels: bool) -> Option<String> {
    let (n, side) = (images.n as u32, SIDE as u32);
    let mut hasher = Sha256::new();
    if of_labels {
        hasher.update([0, 0, 8, 1]);
        hasher.update(n.to_be_bytes());
        hasher.update(images.labels.iter().map(|&label| label as u8).collect::<Vec<u8>>());
    } else {
        let Pixels::Memory(pixels) = &images.pixels else { return None };
        hasher.update([0, 0, 8, 3]);
        [n, side, side].iter().for_each(|dim| hasher.update(dim.to_be_bytes()));
        hasher.update(pixels);
    }
    Some(hex(hasher))
}

fn hex(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn begins_as_gzip(path: &Path) -> bool {
    let mut magic = [0; 2];
    std::fs::File::open(path).is_ok_and(|mut file| file.read_exact(&mut magic).is_ok()) && magic == [0x1f, 0x8b]
}

/// The first ten labels of a file, packed or not.
fn begin(path: &Path) -> Option<Vec<u8>> {
    let file = BufReader::new(std::fs::File::open(path).ok()?);
    let mut head = [0; 18];
    match begins_as_gzip(path) {
        true => GzDecoder::new(file).read_exact(&mut head).ok()?,
        false => file.take(18).read_exact(&mut head).ok()?,
    }
    Some(head[8..].to_vec())
}

/// Rows for columns, of a square.
fn transpose(image: &mut [u8], side: usize) {
    for y in 0..side {
        for x in 0..y {
            image.swap(y * side + x, x * side + y);
        }
    }
}

/// Images with their labels, when both have the right sizes.
pub fn join(
    name: &'static str,
    images: idx::IdxImages,
    images_file: &str,
    labels: Vec<u8>,
    labels_file: &str,
) -> Result<Images, DataError> {
    let idx::IdxImages { n, height, width, pixels } = images;
    if (height, width) != (SIDE, SIDE) {
        return Err(DataError::ImageSize {
            file: images_file.to_owned(),
            name,
            found: format!("{height}x{width}"),
            expected: format!("{SIDE}x{SIDE}"),
        });
    }
    if n != labels.len() {
        return Err(DataError::Counts {
            images_file: images_file.to_owned(),
            n_images: n,
            labels_file: labels_file.to_owned(),
            n_labels: labels.len(),
        });
    }
    let labels = labels.into_iter().map(u16::from).collect();
    Ok(Images { n, height, width, channels: 1, pixels: pixels.into(), labels })
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::dataset::{self, Silent};
    use std::sync::Mutex;

    const NAME: &str = "fashion-mnist";
    const FILES: [(&str, &str); 4] =
        [("train-images", IMAGES), ("train-labels", LABELS), ("t10k-images", IMAGES), ("t10k-labels", LABELS)];

    /// The installed data set, or None with a line that says why a test did nothing.
    pub fn installed() -> Option<Dataset> {
        if !Path::new(DEBIAN_DIR).is_dir() {
            println!("SKIPPED: {DEBIAN_DIR} is absent; {} for this test", FASHION_MNIST.advice);
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
                [&[0, 0, 8, 3], &dims[..], &vec![n as u8; (n * side * side) as usize]].concat()
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
            let data = dataset::open(NAME, Some(&dir)).unwrap();
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
            dataset::open(NAME, Some(dir)).unwrap_err().to_string(),
            format!(
                "{at}/train-images-idx3-ubyte holds 3 images and {at}/train-labels-idx1-ubyte 4 labels, the two should \
                 be equal"
            )
        );
        write_set(dir, |part, kind| format!("{part}-{kind}"), 32, 3);
        assert_eq!(
            dataset::open(NAME, Some(dir)).unwrap_err().to_string(),
            format!("{at}/train-images-idx3-ubyte holds images of 32x32 pixels, those of fashion-mnist have 28x28")
        );
        std::fs::remove_file(dir.join("t10k-labels-idx1-ubyte")).unwrap();
        assert_eq!(
            dataset::open(NAME, Some(dir)).unwrap_err().to_string(),
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
        let data = dataset::open_with(name, Some(dir), &dataset::Options { watch: &notes, ..dataset::Options::USUAL });
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
        assert_eq!(
            crate::recognise(dir).unwrap_err().to_string(),
            format!(
                "the IDX files in {at} are not those of MNIST, Fashion-MNIST or KMNIST as they were published: say which \
                 of them they are like, as with --data mnist --data-dir {at}"
            )
        );
        // The name of the directory says it.
        let named = dir.join("KMNIST/raw");
        write_files(&named, PLAIN, OF_NOBODY);
        assert_eq!(crate::recognise(&named), Ok(Some("kmnist")));
        assert_eq!(crate::recognise(&dir.join("KMNIST")), Ok(Some("kmnist")));
        // Unless the labels say otherwise.
        write_files(&named, PLAIN, OF_MNIST);
        assert_eq!(crate::recognise(&named), Ok(Some("mnist")));
    }

    #[test]
    fn sets_are_found_where_other_programs_put_them() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path();
        write_files(&dir.join("MNIST/raw"), PLAIN, OF_MNIST);
        assert_eq!(crate::recognise(dir), Ok(Some("mnist")));
        write_files(&dir.join("FashionMNIST/raw"), PLAIN, OF_FASHION);
        assert!(opened("mnist", dir).0.unwrap().classes == DIGITS);
        assert_eq!(opened("fashion-mnist", dir).0.unwrap().classes, FASHION_MNIST.classes);
        assert_eq!(crate::recognise(&dir.join("FashionMNIST")), Ok(Some("fashion-mnist")));
        let at = dir.display();
        assert_eq!(
            crate::recognise(dir).unwrap_err().to_string(),
            format!(
                "{at} holds more than one data set, fashion-mnist, mnist: say which is meant, as with --data \
                 fashion-mnist --data-dir {at}"
            )
        );
        let emnist = root.path().join("E");
        write_files(&emnist.join("EMNIST/raw/gzip"), ["emnist-digits-train", "emnist-digits-test"], [&[3], &[1]]);
        assert_eq!(crate::recognise(&emnist), Ok(Some("emnist-digits")));
        let keras = root.path().join("keras");
        std::fs::create_dir(&keras).unwrap();
        std::fs::write(keras.join("mnist.npz"), "PK").unwrap();
        let expected = format!(
            "{} is the NumPy form of mnist: rdarts reads the IDX files, `rdarts data fetch mnist` gets them",
            keras.join("mnist.npz").display()
        );
        assert_eq!(crate::recognise(&keras).unwrap_err().to_string(), expected);
        assert_eq!(opened("mnist", &keras).0.unwrap_err().to_string(), expected);
        assert_eq!(crate::recognise(&root.path().join("nowhere")), Ok(None));
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
        let expected =
            [("byclass", 62), ("bymerge", 47), ("balanced", 47), ("letters", 26), ("digits", 10), ("mnist", 10)];
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
        assert_eq!(crate::recognise(dir).unwrap_err().to_string(), expected);
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
        std::fs::write(dir.join("t10k-images-idx3-ubyte"), [&[0, 0, 8, 3], &dims[..], &images.pixels].concat())
            .unwrap();
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
            let labels: Vec<u8> =
                labels.iter().copied().cycle().take(10).chain(std::iter::repeat_n(0, n - 10)).collect();
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

    #[test]
    fn the_sums_that_tell_sets_apart_are_those_that_fetch_compares() {
        for set in [&MNIST, &FASHION_MNIST, &KMNIST] {
            let source = crate::fetch::source(set.name).unwrap();
            for (part, mark) in PLAIN.iter().zip(set.marks.as_ref().unwrap()) {
                let file = source.files.iter().find(|file| file.name == format!("{part}-labels-idx1-ubyte.gz"));
                assert_eq!(file.unwrap().sha256, mark.sum);
            }
            if let Some(Sums::Packed(sums)) = &set.sums {
                assert!(source.files.iter().map(|file| file.sha256.as_str()).eq(sums.iter().copied()));
            }
        }
    }
}
