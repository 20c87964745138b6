//! Fashion-MNIST (Xiao, Rasul and Vollgraf 2017): 60,000 training and 10,000 test images of 28x28 gray
//! pixels in ten classes, as four IDX files.
//!
//! Looked for as `locate` says, in `fashion-mnist` and last where Debian's package `dataset-fashion-mnist` puts it. The
//! files may be packed or not, `train-images-idx3-ubyte.gz` or `train-images.idx3-ubyte`, and may hold any number of
//! images.

use crate::check::FileCheck;
use crate::dataset::Dataset;
use crate::error::DataError;
use crate::idx;
use crate::images::Images;
use crate::locate::{self, Roots};
use std::path::{Path, PathBuf};

/// The name of the whole data set.
pub const NAME: &str = "fashion-mnist";

/// Height and width of every image.
pub const SIDE: usize = 28;

/// The classes, in the order of their labels.
pub const CLASSES: [&str; 10] =
    ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"];

/// Reads the data set from `dir`, or from where it is found.
pub fn open(dir: Option<&Path>) -> Result<Dataset, DataError> {
    read(&locate::with_roots(dir, find)?)
}

const DEBIAN_DIR: &str = "/usr/share/datasets/fashion-mnist";
const ADVICE: &str =
    "fetch it with `rdarts data fetch fashion-mnist`, run `apt-get install dataset-fashion-mnist` (Debian)";
const IMAGES: &str = "idx3-ubyte";
const LABELS: &str = "idx1-ubyte";
const FILES: [(&str, &str); 4] =
    [("train-images", IMAGES), ("train-labels", LABELS), ("t10k-images", IMAGES), ("t10k-labels", LABELS)];

/// The directories it is looked for in.
pub fn places(roots: &Roots) -> Vec<PathBuf> {
    locate::candidates(roots, NAME, Some(Path::new(DEBIAN_DIR)))
}

/// The first directory that holds at least one of the files.
pub fn find(roots: &Roots) -> Result<PathBuf, DataError> {
    first_of(places(roots))
}

fn first_of(candidates: Vec<PathBuf>) -> Result<PathBuf, DataError> {
    let holds_some = |dir: &&PathBuf| FILES.iter().any(|(part, kind)| file_in(dir, part, kind).is_some());
    candidates.iter().find(holds_some).cloned().ok_or_else(|| locate::absent(NAME, &candidates, ADVICE))
}

fn file_in(dir: &Path, part: &str, kind: &str) -> Option<PathBuf> {
    ["-", "."]
        .iter()
        .flat_map(|joint| [".gz", ""].map(|end| dir.join(format!("{part}{joint}{kind}{end}"))))
        .find(|path| path.is_file())
}

/// The file number `i`, packed or not.
fn path_of(dir: &Path, i: usize) -> Result<PathBuf, DataError> {
    let (part, kind) = FILES[i];
    file_in(dir, part, kind).ok_or_else(|| DataError::MissingFile {
        dir: dir.to_owned(),
        file: format!("{part}-{kind} (or {part}-{kind}.gz)"),
    })
}

fn read(dir: &Path) -> Result<Dataset, DataError> {
    let path = |i: usize| path_of(dir, i);
    // All four are looked for before the first is read, so that a missing one is told at once.
    let [train_images, train_labels, test_images, test_labels] = [path(0)?, path(1)?, path(2)?, path(3)?];
    let train = part(&train_images, &train_labels)?;
    let test = part(&test_images, &test_labels)?;
    Dataset::new(NAME, &CLASSES, train, test)
}

/// What is in each of its files, or what is wrong with it, whatever is wrong with the others.
pub fn check(dir: &Path) -> Vec<FileCheck> {
    let mut n_images = None;
    let checked = |&(part, kind): &(&str, &str)| {
        let found = file_in(dir, part, kind).and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
        FileCheck::of(dir, &found.unwrap_or_else(|| format!("{part}-{kind}.gz")), |path| {
            let file = path.display().to_string();
            if kind == IMAGES {
                let images = idx::read_images(path)?;
                let n = images.n;
                n_images = Some((n, file.clone()));
                return join(images, &file, vec![0; n], &file).map(|images| images.n);
            }
            let n_labels = idx::read_labels(path, CLASSES.len())?.len();
            match n_images.take() {
                Some((n_images, images_file)) if n_images != n_labels => {
                    Err(DataError::Counts { images_file, n_images, labels_file: file, n_labels })
                }
                _ => Ok(0),
            }
        })
    };
    FILES.iter().map(checked).collect()
}

fn part(images_path: &Path, labels_path: &Path) -> Result<Images, DataError> {
    let labels = idx::read_labels(labels_path, CLASSES.len())?;
    let images = idx::read_images(images_path)?;
    join(images, &images_path.display().to_string(), labels, &labels_path.display().to_string())
}

/// Images with their labels, when both have the right sizes.
pub fn join(
    images: idx::IdxImages,
    images_file: &str,
    labels: Vec<u8>,
    labels_file: &str,
) -> Result<Images, DataError> {
    let idx::IdxImages { n, height, width, pixels } = images;
    if (height, width) != (SIDE, SIDE) {
        return Err(DataError::ImageSize {
            file: images_file.to_owned(),
            name: NAME,
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
    use crate::dataset;

    /// The installed data set, or None with a line that says why a test did nothing.
    pub fn installed() -> Option<Dataset> {
        if !Path::new(DEBIAN_DIR).is_dir() {
            crate::skip::skip("no dataset-fashion-mnist", ADVICE);
            return None;
        }
        Some(read(Path::new(DEBIAN_DIR)).unwrap())
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
        let find = |given, env| first_of(locate::candidates(&Roots { given, env, user: None }, NAME, Some(&system)));
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
                "fashion-mnist is not in {given} or {given}/fashion-mnist: fetch it with `rdarts data fetch \
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
}
