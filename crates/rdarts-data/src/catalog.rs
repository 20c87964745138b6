//! The catalogue: the one table of all data sets, and all that is done with one by its name.

use std::path::{Path, PathBuf};

use crate::dataset::{Checked, Dataset, Options, Watch};
use crate::error::DataError;
use crate::formats::records::SIDE;
use crate::locate::with_roots;
use crate::sets::cifar::{CIFAR10, CIFAR100, CIFAR100_COARSE, Cifar};
use crate::sets::embedded::{self, Embedded};
use crate::sets::folder;
use crate::sets::mnist::{self, EMNIST, FASHION_MNIST, KMNIST, MNIST, Mnist};
use crate::sets::stereo;
use crate::sets::svhn::{self, SVHN, SVHN_EXTRA, Svhn};
use crate::sets::{FileCheck, Files, Origin};
use crate::shrink::{SIZES, shrink};
use crate::statistics::{channel_statistics, constant_channels};

/// The name of anybody's folder of images, which is no entry of the table: nothing is known of it before it is read.
pub const FOLDER: &str = folder::NAME;

/// The names that [`open`] knows: those of the table, the first of which needs no files, and [`FOLDER`].
pub const NAMES: &[&str] = &names();

/// A named data set as it was published.
pub struct Entry {
    /// Its name, one of [`NAMES`].
    pub name: &'static str,
    /// Training images.
    pub n_train: usize,
    /// Test images.
    pub n_test: usize,
    /// Height and width of every image, and its channels.
    pub shape: [usize; 3],
    /// Number of classes.
    pub n_classes: usize,
    /// Means and deviations per channel of the values / 255, where papers' codes agree on some.
    pub published: Option<(&'static [f32], &'static [f32])>,
    files: &'static dyn Files,
}

impl Entry {
    /// The directories it is looked for in: `dir`, or else the usual ones; empty if it is part of the program.
    pub fn places(&self, dir: Option<&Path>) -> Vec<PathBuf> {
        with_roots(dir, |roots| self.files.places(roots))
    }

    /// The first of these that holds some of its files; `Ok(None)` if it is part of the program and has none.
    pub fn find(&self, dir: Option<&Path>) -> Result<Option<PathBuf>, DataError> {
        with_roots(dir, |roots| self.files.find(roots))
    }

    /// Where its files come from.
    pub(crate) fn origin(&self) -> Origin {
        self.files.origin()
    }
}

/// What the name of a data set tells. None: a folder's images decide, or who asks for them ([`Options`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outline {
    /// The name.
    pub name: &'static str,
    /// Height and width of the images, which are not changed unless that is asked for.
    pub side: Option<usize>,
    /// Values per pixel.
    pub channels: Option<usize>,
    /// Number of classes.
    pub n_classes: Option<usize>,
    /// Where the files are.
    pub place: Place,
}

/// Where the files of a data set are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the program: a directory means nothing.
    Program,
    /// In a usual directory, or in one that is named.
    Usual,
    /// In a directory that has to be named.
    Named,
}

/// All named data sets, in the order of [`NAMES`].
pub fn catalog() -> &'static [Entry] {
    &TABLE
}

/// The data set of this name.
pub fn entry(name: &str) -> Result<&'static Entry, DataError> {
    TABLE.iter().find(|entry| entry.name == name).ok_or_else(|| unknown(name))
}

/// What the name of a data set tells, for a caller who does not look at its files.
pub fn outline(name: &str) -> Result<Outline, DataError> {
    if name == FOLDER {
        return Ok(Outline { name: FOLDER, side: None, channels: None, n_classes: None, place: Place::Named });
    }
    let &Entry { name, shape: [side, _, channels], n_classes, files, .. } = entry(name)?;
    let place = if let Origin::Program = files.origin() { Place::Program } else { Place::Usual };
    Ok(Outline { name, side: Some(side), channels: Some(channels), n_classes: Some(n_classes), place })
}

/// The named set whose files lie in `dir` or in a directory of it with a usual name; none if there are none.
///
/// # Errors
/// One sentence if there are several sets, if one is in a form that is not read, or if IDX files do not tell whose
/// they are.
pub fn recognise(dir: &Path) -> Result<Option<&'static str>, DataError> {
    if let Some(name) = stereo::recognise(dir) {
        return Err(is_stereo(format!("{} ({name})", rdarts_text::shown(dir))));
    }
    let (mut found, mut other_form) = (Vec::<&'static str>::new(), None);
    for entry in catalog() {
        // What is made of the same files as a smaller set is asked for by name.
        if found.contains(&entry.name.trim_end_matches("-coarse").trim_end_matches("-extra")) {
            continue;
        }
        match entry.files.recognise(dir) {
            Ok(Some(_)) => found.push(entry.name),
            Ok(None) => {}
            Err(e) => other_form = other_form.or(Some(e)),
        }
    }
    match found[..] {
        [name] => Ok(Some(name)),
        [] => match other_form {
            Some(e) => Err(e),
            None if [dir.to_owned(), dir.join("raw")].iter().any(|dir| mnist::holds_plain(dir)) => {
                Err(DataError::UnknownIdx { dir: dir.to_owned() })
            }
            None => Ok(None),
        },
        [first, ..] => Err(DataError::SeveralSets { dir: dir.to_owned(), names: found.join(", "), first }),
    }
}

/// Opens a data set by name. `dir` is where its files are; without it they are looked for where the data
/// set's own documentation says. `fashion-mini` has no files and takes no notice of `dir`.
pub fn open(name: &str, dir: Option<&Path>) -> Result<Dataset, DataError> {
    open_with(name, dir, &Options::USUAL)
}

/// Like [`open`], as `options` say.
pub fn open_with(name: &str, dir: Option<&Path>, options: &Options) -> Result<Dataset, DataError> {
    if name == FOLDER {
        let data = folder::open(dir, options)?;
        check_content(&data, options.watch)?;
        return Ok(data);
    }
    let entry = entry(name)?;
    let (side, size) = (entry.shape[0], options.size);
    if size != 0 && !(*SIZES.start()..=side).contains(&size) {
        return Err(DataError::Size { name: entry.name, side, least: *SIZES.start(), size });
    }
    let mut data = entry.files.read(&entry.find(dir)?.unwrap_or_default(), options.watch)?;
    if size != 0 && size != side {
        shrink(&mut data.train, size);
        shrink(&mut data.test, size);
        (data.mean, data.std) = channel_statistics(&data.train)?;
    }
    check_content(&data, options.watch)?;
    Ok(data)
}

/// Reads every file of a data set and gives all that is wrong with them; [`open`] gives the first.
pub fn check(name: &str, dir: Option<&Path>, watch: &dyn Watch) -> Checked {
    match name {
        FOLDER => folder::check(dir, watch),
        _ => match check_files(name, dir) {
            Ok(files) => Checked {
                n_files: files.len(),
                problems: files.into_iter().filter_map(|file| file.images.err()).collect(),
                ..Checked::default()
            },
            Err(problem) => Checked { problems: vec![problem], ..Checked::default() },
        },
    }
}

/// Reads every file of the named data set (not of a folder) in `dir`, or where it is found, and goes on after each
/// that is bad.
///
/// One file is in memory at a time. An error says that there is no such data set, or that no directory holds any of it.
pub fn check_files(name: &str, dir: Option<&Path>) -> Result<Vec<FileCheck>, DataError> {
    let entry = entry(name)?;
    Ok(entry.files.check(&entry.find(dir)?.unwrap_or_default()))
}

static TABLE: [Entry; 15] = [
    EMBEDDED,
    mnist(&FASHION_MNIST),
    mnist(&MNIST),
    mnist(&KMNIST),
    mnist(&EMNIST[0]),
    mnist(&EMNIST[1]),
    mnist(&EMNIST[2]),
    mnist(&EMNIST[3]),
    mnist(&EMNIST[4]),
    mnist(&EMNIST[5]),
    cifar(&CIFAR10),
    cifar(&CIFAR100),
    cifar(&CIFAR100_COARSE),
    svhn(&SVHN, 73_257),
    svhn(&SVHN_EXTRA, 73_257 + 531_131),
];

const EMBEDDED: Entry = Entry {
    name: embedded::NAME,
    n_train: 6_000,
    n_test: 1_000,
    shape: [mnist::SIDE, mnist::SIDE, 1],
    n_classes: FASHION_MNIST.classes.len(),
    published: None,
    files: &Embedded,
};

const fn mnist(set: &'static Mnist) -> Entry {
    Entry {
        name: set.name,
        n_train: set.n[0],
        n_test: set.n[1],
        shape: [mnist::SIDE, mnist::SIDE, 1],
        n_classes: set.classes.len(),
        published: set.published,
        files: set,
    }
}

const fn cifar(set: &'static Cifar) -> Entry {
    Entry {
        name: set.name,
        n_train: 50_000,
        n_test: 10_000,
        shape: [SIDE, SIDE, 3],
        n_classes: set.layout.class().n_classes,
        published: Some((&set.mean, &set.std)),
        files: set,
    }
}

const fn svhn(set: &'static Svhn, n_train: usize) -> Entry {
    Entry {
        name: set.name,
        n_train,
        n_test: 26_032,
        shape: [SIDE, SIDE, 3],
        n_classes: 10,
        published: Some((&svhn::MEAN, &svhn::STD)),
        files: set,
    }
}

const fn names() -> [&'static str; TABLE.len() + 1] {
    let mut names = [FOLDER; TABLE.len() + 1];
    let mut i = 0;
    while i < TABLE.len() {
        names[i] = TABLE[i].name;
        i += 1;
    }
    names
}

/// The sentence for a name that is none of [`NAMES`].
fn unknown(name: &str) -> DataError {
    if stereo::names().contains(&name) || name == stereo::FOLDER {
        return is_stereo(name.to_owned());
    }
    let nearest = rdarts_text::nearest(name, NAMES);
    let nearest = nearest.map_or(String::new(), |known| format!("the nearest name is '{known}' and "));
    DataError::UnknownDataset {
        name: name.to_owned(),
        nearest,
        known: catalog().iter().map(|entry| entry.name).collect::<Vec<_>>().join(", "),
    }
}

/// The sentence for stereo pairs where labelled images are asked for.
fn is_stereo(what: String) -> DataError {
    DataError::IsStereo { what, known: catalog().iter().map(|entry| entry.name).collect::<Vec<_>>().join(", ") }
}

/// A deviation of zero is nothing to normalize by, and a channel without one nothing to learn from.
fn check_content(data: &Dataset, watch: &dyn Watch) -> Result<(), DataError> {
    let constant = constant_channels(&data.train)?;
    let n_channels = data.train.channels;
    if n_channels > 0 && constant.len() == n_channels {
        let what = format!(
            "all pixels of all {} training images of {} have the same colour, so there is nothing to learn from: get its \
             files again",
            data.train.n, data.name
        );
        return Err(DataError::NoContent { what });
    }
    for channel in constant {
        watch.note(&format!(
            "channel {channel} (of {n_channels}, counted from 0) has the same value in all training images, so nothing is \
             learned from it"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Silent;

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest_and_all() {
        let message = |name| open(name, None).unwrap_err().to_string();
        assert_eq!(
            message("fashion-mnst"),
            "no data set is called 'fashion-mnst', the nearest name is 'fashion-mnist' and all names are: fashion-mini, \
             fashion-mnist, mnist, kmnist, emnist-byclass, emnist-bymerge, emnist-balanced, emnist-letters, \
             emnist-digits, emnist-mnist, cifar10, cifar100, cifar100-coarse, svhn, svhn-extra; a folder of images is \
             named by its path"
        );
        assert!(message("Fashion-Mini").contains("the nearest name is 'fashion-mini'"));
        assert!(message("").contains("no data set is called '', all names are: fashion-mini, fashion-mnist, mnist"));
        assert!(message("cifar-10").contains("the nearest name is 'cifar10'"));
        for (given, meant) in [
            ("FashionMNIST", "fashion-mnist"),
            ("cifar_100", "cifar100"),
            ("CIFAR-10", "cifar10"),
            ("EMNIST_Letters", "emnist-letters"),
            ("MNIST", "mnist"),
            ("SVHN", "svhn"),
        ] {
            assert!(message(given).contains(&format!("the nearest name is '{meant}'")), "{given}");
        }
        for far in ["imagenet", "x", "coco", "caltech101"] {
            assert!(!message(far).contains("nearest"), "{far}: {}", message(far));
        }
        assert!(message("cifar100-corse").contains("the nearest name is 'cifar100-coarse'"));
    }

    #[test]
    fn a_name_tells_the_images_and_whether_they_need_a_path() {
        let of = |name| outline(name).map(|o| (o.side, o.channels, o.n_classes, o.place));
        assert_eq!(of("fashion-mini"), Ok((Some(28), Some(1), Some(10), Place::Program)));
        assert_eq!(of("cifar100-coarse"), Ok((Some(32), Some(3), Some(20), Place::Usual)));
        assert_eq!(of(FOLDER), Ok((None, None, None, Place::Named)));
        assert!(NAMES.iter().all(|name| outline(name).is_ok_and(|outline| outline.name == *name)));
        assert_eq!(of("imagenet"), Err(unknown("imagenet")));
    }

    #[test]
    fn every_name_is_opened_or_says_how_to_get_it() {
        for &name in NAMES {
            match open(name, None) {
                Ok(data) => assert_eq!(data.name, name),
                Err(error) => {
                    assert!(matches!(error, DataError::NotInstalled { .. } | DataError::NoDirectory { .. }), "{error}")
                }
            }
        }
    }

    #[test]
    fn a_named_set_is_made_smaller_with_statistics_and_a_fingerprint_of_its_own() {
        let of = |size| open_with("fashion-mini", None, &Options { size, ..Options::USUAL });
        let (whole, half) = (of(0).unwrap(), of(14).unwrap());
        for (whole, half) in [(&whole.train, &half.train), (&whole.test, &half.test)] {
            assert_eq!((half.n, half.height, half.width, half.channels), (whole.n, 14, 14, 1));
            assert_eq!(half.labels, whole.labels);
            assert_ne!(half.fingerprint(), whole.fingerprint());
            let (old, new) = (whole.image(77).unwrap(), half.image(77).unwrap());
            let block =
                |y: usize, x: usize| [0, 1, 28, 29].map(|i| u32::from(old[2 * y * 28 + 2 * x + i])).iter().sum::<u32>();
            assert!((0..14 * 14).all(|i| u32::from(new[i]) == (block(i / 14, i % 14) + 2) / 4));
        }
        assert_eq!((half.mean.clone(), half.std.clone()), channel_statistics(&half.train).unwrap());
        // Means of areas keep the mean and take of the deviation.
        assert!((half.mean[0] - whole.mean[0]).abs() < 0.002 && half.std[0] < whole.std[0] - 0.01, "{half:?}");
        // Its own size is the set as it is.
        assert_eq!(of(28).unwrap(), whole);
        for size in [7, 29, 1024, usize::MAX] {
            assert_eq!(
                of(size).unwrap_err().to_string(),
                format!(
                    "the images of fashion-mini have 28x28 pixels, their size should be from 8 to 28 and not {size}"
                )
            );
        }
    }

    #[test]
    fn published_statistics_are_not_those_of_smaller_images() {
        let dir = tempfile::tempdir().unwrap();
        let record = |label: u8| [&[label][..], &(0..3072).map(|i| (i % 251) as u8).collect::<Vec<u8>>()].concat();
        let file = [record(3), record(7)].concat();
        for name in CIFAR10.files() {
            let names = "x\n".repeat(10);
            std::fs::write(dir.path().join(name), if name.ends_with(".txt") { names.as_bytes() } else { &file })
                .unwrap();
        }
        let of = |size| open_with("cifar10", Some(dir.path()), &Options { size, ..Options::USUAL }).unwrap();
        assert_eq!([of(0).mean, of(32).mean], [CIFAR10.mean; 2]);
        let small = of(16);
        assert_eq!((small.mean.clone(), small.std.clone()), channel_statistics(&small.train).unwrap());
        assert_ne!(small.mean, CIFAR10.mean);
    }

    #[test]
    fn checking_a_known_set_goes_on_after_a_bad_file() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
        let record = [&[3][..], &[7; 3072]].concat();
        for i in 1..=4 {
            write(&format!("data_batch_{i}.bin"), &record);
        }
        write("test_batch.bin", &record);
        write("batches.meta.txt", "x\n".repeat(10).as_bytes());
        let found = |name| {
            let Checked { n_files, problems, .. } = check(name, Some(dir.path()), &Silent);
            (n_files, problems.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        write("data_batch_2.bin", b"<html>no</html>");
        write("test_batch.bin", &record[1..]);
        let (n, problems) = found("cifar10");
        assert_eq!((n, problems.len()), (7, 3), "{problems:?}");
        let places =
            ["data_batch_2.bin is not a file", "lacks the file data_batch_5.bin", "test_batch.bin is cut short"];
        assert!(problems.iter().zip(places).all(|(problem, words)| problem.contains(words)), "{problems:?}");
        // Each by itself is right then, but one is shorter than the others.
        write("data_batch_2.bin", &record);
        write("data_batch_5.bin", &record.repeat(2));
        write("test_batch.bin", &record);
        let (_, problems) = found("cifar10");
        assert_eq!(problems.len(), 1);
        assert!(problems[0].contains("the two should be equal"), "{problems:?}");
        write("data_batch_5.bin", &record);
        assert_eq!(found("cifar10"), (7, Vec::new()));

        assert!(found("svhn").1[0].starts_with("svhn is not in "));
        write("train_32x32.mat", b"<html>");
        let (n, problems) = found("svhn");
        assert_eq!((n, problems.len()), (2, 2), "{problems:?}");
        write("train-images-idx3-ubyte", b"<html>");
        assert_eq!(found("fashion-mnist").1.len(), 4);
        assert_eq!(found("fashion-mini"), (1, Vec::new()));
        assert_eq!(found("nothing").1.len(), 1);
    }
}
