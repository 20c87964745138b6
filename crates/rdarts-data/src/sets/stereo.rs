//! Sets of stereo pairs: which files each is made of, and where its pairs come from.
//!
//! A set is a row of [`SETS`]: how its directory is recognised and how its pairs are listed. Pairs are read one by one as
//! they are asked for (`files`), since the large sets fit into no memory.

pub mod files;
pub mod folder;

mod flyingthings;
mod kitti;
mod middlebury;
mod sintel;

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rdarts_rng::Stream;

use self::files::PairFiles;
pub use self::middlebury::read_truth;
use super::folder::is_run;
use crate::error::DataError;
use crate::images::image_sum;
use crate::locate::{self, Roots};
use crate::pair::Pair;
use crate::scenes::Scenes;

/// The name of the synthetic scenes.
pub const SCENES: &str = "stereo-scenes";

/// The name of anybody's folder of pairs.
pub const FOLDER: &str = "stereo-folder";

/// A named set of stereo pairs as it was published.
pub struct StereoSet {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub about: &'static str,
    /// Pairs with ground truth as published: to train on and to test on, or 0 and all where that is not said.
    pub n: [usize; 2],
    /// Where to get it.
    pub advice: &'static str,
    /// What directories of it are usually called.
    children: &'static [&'static str],
    /// Whether a directory is one of it.
    is_at: fn(&Path) -> bool,
    /// Its pairs.
    list: fn(&Path) -> Result<Listed, DataError>,
}

/// The pairs of a directory.
pub struct Listed {
    /// To train on; all, where a set does not say which are for tests.
    pub train: Vec<PairFiles>,
    /// To test on.
    pub test: Vec<PairFiles>,
    /// The part of all that is kept for tests unless somebody says otherwise; `None` where the set says which are.
    pub test_fraction: Option<f64>,
}

/// All sets of files; where two are found in a directory, the first is meant.
pub static SETS: [StereoSet; 8] = [
    StereoSet {
        name: "flyingthings3d",
        about: "FlyingThings3D, clean pass, PNG or WebP",
        n: [22_390, 4_370],
        advice: "unpack frames_cleanpass and disparity from lmb.informatik.uni-freiburg.de/resources/datasets",
        children: &["FlyingThings3D", "flyingthings3d"],
        is_at: |dir| flyingthings::frames(dir, "cleanpass").is_some(),
        list: |dir| flyingthings::list(dir, "cleanpass"),
    },
    StereoSet {
        name: "flyingthings3d-final",
        about: "FlyingThings3D, final pass",
        n: [22_390, 4_370],
        advice: "unpack frames_finalpass and disparity from lmb.informatik.uni-freiburg.de/resources/datasets",
        children: &["FlyingThings3D", "flyingthings3d"],
        is_at: |dir| flyingthings::frames(dir, "finalpass").is_some(),
        list: |dir| flyingthings::list(dir, "finalpass"),
    },
    StereoSet {
        name: "flyingthings3d-subset",
        about: "FlyingThings3D without its extreme pairs, clean pass, with occlusions",
        n: [21_818, 4_248],
        advice: "unpack image_clean, disparity and disparity_occlusions from \
                 lmb.informatik.uni-freiburg.de/resources/datasets",
        children: &["FlyingThings3D_subset", "flyingthings3d-subset"],
        is_at: |dir| flyingthings::subset(dir, "train").is_some() || flyingthings::subset(dir, "val").is_some(),
        list: flyingthings::list_subset,
    },
    StereoSet {
        name: "sintel-stereo",
        about: "MPI Sintel stereo, clean pass, with occlusions",
        n: [0, 1_064],
        advice: "unpack it from sintel.is.tue.mpg.de/stereo",
        children: &["MPI-Sintel-stereo", "sintel-stereo", "Sintel"],
        is_at: |dir| sintel::root(dir, "clean").is_some(),
        list: |dir| sintel::list(dir, "clean"),
    },
    StereoSet {
        name: "sintel-stereo-final",
        about: "MPI Sintel stereo, final pass",
        n: [0, 1_064],
        advice: "unpack it from sintel.is.tue.mpg.de/stereo",
        children: &["MPI-Sintel-stereo", "sintel-stereo", "Sintel"],
        is_at: |dir| sintel::root(dir, "final").is_some(),
        list: |dir| sintel::list(dir, "final"),
    },
    StereoSet {
        name: "kitti2015",
        about: "KITTI 2015, roads, sparse",
        n: [0, 200],
        advice: "unpack data_scene_flow from www.cvlibs.net/datasets/kitti",
        children: &["kitti2015", "KITTI2015", "data_scene_flow"],
        is_at: |dir| kitti::is_at(dir, &kitti::KITTI2015),
        list: |dir| kitti::list(dir, &kitti::KITTI2015),
    },
    StereoSet {
        name: "kitti2012",
        about: "KITTI 2012, roads, sparse",
        n: [0, 194],
        advice: "unpack data_stereo_flow from www.cvlibs.net/datasets/kitti",
        children: &["kitti2012", "KITTI2012", "data_stereo_flow"],
        is_at: |dir| kitti::is_at(dir, &kitti::KITTI2012),
        list: |dir| kitti::list(dir, &kitti::KITTI2012),
    },
    StereoSet {
        name: "middlebury",
        about: "Middlebury 2001, 2003, 2005, 2006 and 2014: a directory a scene",
        n: [0, 0],
        advice: "unpack scenes of it from vision.middlebury.edu/stereo/data",
        children: &["middlebury", "Middlebury", "MiddEval3"],
        is_at: |dir| !middlebury::scenes(dir).is_empty(),
        list: middlebury::list,
    },
];

/// The names of all stereo sets, the one that needs no files first, but that of folders.
pub fn names() -> Vec<&'static str> {
    std::iter::once(SCENES).chain(SETS.iter().map(|set| set.name)).collect()
}

impl StereoSet {
    /// The directories it is looked for in: `dir`, or else the usual ones.
    pub fn places(&self, dir: Option<&Path>) -> Vec<PathBuf> {
        locate::with_roots(dir, |roots: &Roots| locate::candidates(roots, self.children, None))
    }

    /// The first of these that is one of it.
    pub fn find(&self, dir: Option<&Path>) -> Result<PathBuf, DataError> {
        let places = self.places(dir);
        let found = places.iter().find(|place| (self.is_at)(place)).cloned();
        found.ok_or_else(|| locate::absent(self.name, &places, self.advice))
    }

    /// The pairs of a directory that was found.
    pub fn list(&self, dir: &Path) -> Result<Listed, DataError> {
        (self.list)(dir)
    }
}

/// The set whose files lie in `dir`, or [`FOLDER`]; none if these are no stereo pairs.
pub fn recognise(dir: &Path) -> Option<&'static str> {
    let set = SETS.iter().find(|set| (set.is_at)(dir)).map(|set| set.name);
    set.or_else(|| folder::is_at(dir).then_some(FOLDER))
}

/// Pairs that are made or read one by one as they are asked for.
#[derive(Clone, Debug)]
pub struct Pairs {
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    /// Scenes `first`, `first + 1`, ...
    Scenes { scenes: Scenes, first: u64, n: usize },
    /// Files.
    Files(Arc<Vec<PairFiles>>),
    /// Pairs with their names.
    Memory(Arc<Vec<(String, Pair)>>),
}

/// A set of stereo pairs.
#[derive(Clone, Debug)]
pub struct StereoDataset {
    /// Its name.
    pub name: String,
    /// Pairs to train on; none in a set that is for tests.
    pub train: Pairs,
    /// Pairs to test on.
    pub test: Pairs,
}

impl Pairs {
    /// The scenes with the numbers `first`, `first + 1`, ...
    pub fn of_scenes(scenes: Scenes, first: u64, n: usize) -> Self {
        Self { source: Source::Scenes { scenes, first, n } }
    }

    /// Pairs in memory, each with a name.
    pub fn in_memory(pairs: Vec<(String, Pair)>) -> Self {
        Self { source: Source::Memory(Arc::new(pairs)) }
    }

    pub(crate) fn of_files(files: Vec<PairFiles>) -> Self {
        Self { source: Source::Files(Arc::new(files)) }
    }

    /// The same pairs, all made or read once and kept.
    pub fn kept(&self) -> Result<Self, DataError> {
        use rayon::prelude::*;
        let all = (0..self.n()).into_par_iter().map(|i| Ok((self.name_of(i), self.pair(i)?)));
        // In their order: of several errors the first pair's is told.
        let all: Vec<Result<(String, Pair), DataError>> = all.collect();
        all.into_iter().collect::<Result<_, _>>().map(Self::in_memory)
    }

    /// The number of pairs.
    pub fn n(&self) -> usize {
        match &self.source {
            Source::Scenes { n, .. } => *n,
            Source::Files(files) => files.len(),
            Source::Memory(pairs) => pairs.len(),
        }
    }

    /// What pair `i` is called.
    ///
    /// # Panics
    /// If there is no pair `i`.
    pub fn name_of(&self, i: usize) -> String {
        assert!(i < self.n(), "pair {i} of {}", self.n());
        match &self.source {
            Source::Scenes { first, .. } => format!("scene {}", first + i as u64),
            Source::Files(files) => files[i].name.clone(),
            Source::Memory(pairs) => pairs[i].0.clone(),
        }
    }

    /// Of pairs of a range: the same for the same scenes, or for files of the same names and lengths; files of large sets are
    /// too many to be read for it.
    ///
    /// # Errors
    /// If a file is not there any more.
    pub fn fingerprint(&self, range: Range<usize>) -> Result<String, DataError> {
        let mut text = String::new();
        match &self.source {
            Source::Scenes { scenes, first, .. } => text = format!("{scenes:?} {first} {range:?}"),
            Source::Files(files) => {
                for file in &files[range] {
                    text += &format!("{} {:?}\n", file.name, file.lengths()?);
                }
            }
            Source::Memory(pairs) => {
                for (name, pair) in &pairs[range] {
                    let sums = [&pair.left, &pair.right].map(|view| image_sum(view));
                    let disparity: Vec<u8> = pair.disparity.iter().flat_map(|d| d.to_le_bytes()).collect();
                    text += &format!("{name} {sums:?} {}\n", image_sum(&disparity));
                }
            }
        }
        Ok(format!("{:016x}", image_sum(text.as_bytes())))
    }

    /// Height and width of pair `i`, of which as little is read as tells it.
    ///
    /// # Errors
    /// If its left view cannot be read.
    ///
    /// # Panics
    /// If there is no pair `i`.
    pub fn size_of(&self, i: usize) -> Result<[usize; 2], DataError> {
        assert!(i < self.n(), "pair {i} of {}", self.n());
        match &self.source {
            Source::Scenes { scenes, .. } => Ok([scenes.height, scenes.width]),
            Source::Files(files) => files[i].size(),
            Source::Memory(pairs) => Ok([pairs[i].1.height, pairs[i].1.width]),
        }
    }

    /// Makes or reads pair `i`; an error only if it comes from files.
    ///
    /// # Panics
    /// If there is no pair `i`.
    pub fn pair(&self, i: usize) -> Result<Pair, DataError> {
        assert!(i < self.n(), "pair {i} of {}", self.n());
        match &self.source {
            Source::Scenes { scenes, first, .. } => Ok(scenes.pair(first + i as u64)),
            Source::Files(files) => files[i].read(),
            Source::Memory(pairs) => Ok(pairs[i].1.clone()),
        }
    }
}

impl Listed {
    /// Training pairs and test pairs; where the set does not say which are, a part of all that the seed chooses, whole
    /// groups of pairs that look alike.
    pub fn split(self, test_fraction: Option<f64>, seed: u64) -> Result<[Vec<PairFiles>; 2], DataError> {
        let Some(usual) = self.test_fraction else { return Ok([self.train, self.test]) };
        let fraction = test_fraction.unwrap_or(usual);
        if !(0.0..=1.0).contains(&fraction) {
            let (what, value) = ("part of the pairs that is kept for tests,", fraction.to_string());
            return Err(DataError::FolderOption { what, value, expected: "from 0 to 1" });
        }
        let mut sizes = BTreeMap::<&str, usize>::new();
        self.train.iter().for_each(|files| *sizes.entry(&files.group).or_default() += 1);
        let mut groups: Vec<(&str, usize)> = sizes.into_iter().collect();
        Stream::new(seed, "stereo-test", 0).shuffle(&mut groups);
        let wanted = (fraction * self.train.len() as f64).round() as usize;
        let (mut chosen, mut n) = (HashSet::new(), 0);
        for (group, size) in groups {
            // What brings their number nearer to what is wanted.
            if 2 * n + size < 2 * wanted {
                n += size;
                chosen.insert(group.to_owned());
            }
        }
        let (test, train) = self.train.into_iter().partition(|files| chosen.contains(&files.group));
        Ok([train, test])
    }
}

/// The entries of a directory by name, in their order, without run directories; none if it cannot be read.
fn entries(dir: &Path) -> Vec<(String, PathBuf)> {
    let Ok(read) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut found: Vec<(String, PathBuf)> = read
        .filter_map(|entry| entry.ok())
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()) || !is_run(&entry.path()))
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
        .filter(|(name, _)| !name.starts_with('.'))
        .collect();
    found.sort();
    found
}

/// The pictures of a directory by their names without the ending, in their order.
fn pictures(dir: &Path) -> Vec<(String, PathBuf)> {
    let named = |(name, path): (String, PathBuf)| {
        let (stem, ending) = name.rsplit_once('.')?;
        let is_picture = ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known));
        (is_picture && path.is_file()).then(|| (stem.to_owned(), path.clone()))
    };
    entries(dir).into_iter().filter_map(named).collect()
}

const ENDINGS: [&str; 6] = ["png", "webp", "jpg", "jpeg", "ppm", "pgm"];

/// The picture of this name in a directory, whatever its format.
fn picture(dir: &Path, stem: &str) -> Option<PathBuf> {
    ENDINGS.iter().map(|ending| dir.join(format!("{stem}.{ending}"))).find(|path| path.is_file())
}

/// The same where it has to be: `what` of `pair`.
fn must_have(dir: &Path, stem: &str, what: &str, pair: &str) -> Result<PathBuf, DataError> {
    picture(dir, stem).ok_or_else(|| missing(pair, what, &dir.join(stem)))
}

/// The sentence for a pair that lacks a file.
fn missing(pair: &str, what: &str, path: &Path) -> DataError {
    let problem = format!("has no {what}: {} is missing, copy it there or remove the pair", rdarts_text::shown(path));
    DataError::StereoPair { pair: rdarts_text::shown(pair), problem }
}

/// The sentence for a directory without pairs.
fn no_pairs(dir: &Path, expected: &str) -> DataError {
    DataError::StereoLayout {
        dir: dir.to_owned(),
        problem: format!("holds no stereo pairs, it should hold {expected}"),
    }
}
