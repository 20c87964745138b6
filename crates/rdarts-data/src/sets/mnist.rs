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

mod published;
#[cfg(test)]
pub mod tests;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use self::published::NAMED_ALIKE;
pub use self::published::{EMNIST, FASHION_MNIST, KMNIST, MNIST};
use super::{FileCheck, Files, Origin, Published};
use crate::dataset::{Dataset, Watch};
use crate::error::DataError;
use crate::formats::idx;
use crate::formats::read::{hex_of, is_gzip};
use crate::images::{Images, Pixels};
use crate::locate::{self, OtherForm, Roots};

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
    /// None for EMNIST, whose files' names tell the set, and which is one archive.
    release: Option<Release>,
    advice: &'static str,
    other_forms: &'static [OtherForm],
}

/// The files of a set as they were published, of those sets whose files have the same names.
struct Release {
    /// What the names of the files are appended to.
    base: &'static str,
    /// Training images, their labels, test images, their labels, in gzip.
    files: [Published; 4],
    /// The SHA-256 of what is unpacked from them, where somebody vouches for it.
    unpacked: Option<[&'static str; 4]>,
    /// The first labels for training and for tests; none where nobody vouches for them.
    begins: [&'static [u8]; 2],
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

const IMAGES: &str = "idx3-ubyte";
const LABELS: &str = "idx1-ubyte";

impl Files for Mnist {
    fn origin(&self) -> Origin {
        let by_hand = Origin::ByHand(published::GET_EMNIST);
        self.release.as_ref().map_or(by_hand, |release| Origin::Address {
            base: release.base,
            directory: self.directories[0],
            files: release.files.into(),
            contents: Vec::new(),
        })
    }

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
        if self.release.is_none() {
            return Owner::This;
        }
        let mut owner = Owner::Unknown;
        for part in 0..2 {
            let (stem, kind) = self.file(2 * part + 1);
            let Some(path) = file_in(dir, &stem, kind) else { continue };
            let (sum, begin) = (sum(&path), idx::first_labels(&path));
            let is_of = |set: &&Mnist| {
                set.release.as_ref().is_some_and(|Release { files, begins, .. }| {
                    sum.as_deref() == Some(files[2 * part + 1].2)
                        || !begins[part].is_empty() && begin.as_deref() == Some(begins[part])
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

    /// The names of the files that are not as they were published, of those that this can be told of; an error if one is
    /// another set's.
    fn unpublished(&self, paths: [&Path; 4], [train, test]: [&Images; 2]) -> Result<Vec<String>, DataError> {
        let mut names = Vec::new();
        let Some(own) = &self.release else { return Ok(names) };
        for (i, path) in paths.into_iter().enumerate() {
            let unpacked = content_sum([train, test][i / 2], i % 2 == 1);
            let packed = if is_gzip(path) { file_sum(path) } else { None };
            let is_of = |set: &&Mnist| match &set.release {
                Some(Release { unpacked: Some(sums), .. }) => unpacked.as_deref() == Some(sums[i]),
                Some(Release { files, .. }) => packed.as_deref() == Some(files[i].2),
                None => false,
            };
            match NAMED_ALIKE.into_iter().find(is_of) {
                Some(set) if set.name == self.name => {}
                Some(set) => {
                    return Err(DataError::MixedSets { file: path.to_owned(), found: set.name, name: self.name });
                }
                // What was unpacked of a file whose sum is known in gzip only tells nothing.
                None if own.unpacked.is_none() && packed.is_none() => {}
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
    File::open(path).ok()?.take(LIMIT).read_to_end(&mut bytes).ok()?;
    Some(hex_of(Sha256::new_with_prefix(&bytes)))
}

/// The SHA-256 of a file of any length.
fn file_sum(path: &Path) -> Option<String> {
    let mut hasher = Sha256::new();
    std::io::copy(&mut File::open(path).ok()?, &mut hasher).ok()?;
    Some(hex_of(hasher))
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
    Some(hex_of(hasher))
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
