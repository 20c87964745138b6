//! Sets of stereo pairs by name or path: what there is, opened, and looked through.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use rdarts_text::shown;

use crate::catalog;
use crate::dataset::{Checked, Silent, Watch};
use crate::error::DataError;
use crate::pair::Pair;
use crate::scenes::Scenes;
use crate::sets::stereo::files::PairFiles;
use crate::sets::stereo::{FOLDER, Listed, Pairs, SCENES, SETS, StereoDataset, StereoSet, folder, names, recognise};

/// How a set of stereo pairs is opened.
#[derive(Clone)]
pub struct StereoOptions<'a> {
    /// Height of synthetic scenes in pixels.
    pub height: usize,
    /// Width of synthetic scenes in pixels.
    pub width: usize,
    /// Largest disparity of synthetic scenes in pixels.
    pub max_disparity: f64,
    /// Number of synthetic scenes to train on.
    pub n_train: usize,
    /// Number of synthetic scenes to test on.
    pub n_test: usize,
    /// Chooses the synthetic scenes.
    pub scenes_seed: u64,
    /// Part of the pairs that is kept for tests, where a set does not say which are; `None`: as the set is mostly used.
    pub test_fraction: Option<f64>,
    /// Chooses them.
    pub split_seed: u64,
    /// Who is told what was noticed.
    pub watch: &'a dyn Watch,
}

impl StereoOptions<'static> {
    /// What [`open`] takes: small scenes that a CPU can learn from, whose disparities are still several pixels at an eighth of
    /// the size, where networks match.
    pub const USUAL: Self = Self {
        height: 128,
        width: 256,
        max_disparity: 64.0,
        n_train: 4096,
        n_test: 256,
        scenes_seed: 1,
        test_fraction: None,
        split_seed: 1,
        watch: &Silent,
    };
}

/// Test scenes have numbers from here on, training scenes those below.
const FIRST_TEST: u64 = 1 << 32;

/// Pairs that are looked at when a set is opened: enough to see a wrong sign or a wrong scale.
const LOOKED_AT: usize = 3;

/// The named stereo set; none for the synthetic scenes and for folders, which have no entry.
pub fn stereo_set(name: &str) -> Result<Option<&'static StereoSet>, DataError> {
    if name == SCENES || name == FOLDER {
        return Ok(None);
    }
    if let Some(set) = SETS.iter().find(|set| set.name == name) {
        return Ok(Some(set));
    }
    if catalog::entry(name).is_ok() || name == catalog::FOLDER {
        return Err(not_stereo(name.to_owned()));
    }
    let nearest = rdarts_text::nearest(name, &names());
    let nearest = nearest.map_or(String::new(), |known| format!("the nearest name is '{known}' and "));
    Err(DataError::UnknownStereo { name: shown(name), nearest, known: names().join(", ") })
}

fn not_stereo(what: String) -> DataError {
    DataError::NotStereo { what, known: names().join(", ") }
}

/// The name of the stereo set whose files lie in `dir`: of a named one, or of a folder of pairs.
///
/// # Errors
/// One sentence if it holds images with classes, or no pairs.
pub fn stereo_at(dir: &Path) -> Result<&'static str, DataError> {
    if let Some(name) = recognise(dir) {
        return Ok(name);
    }
    match catalog::recognise(dir) {
        Ok(Some(name)) => Err(not_stereo(format!("{} ({name})", shown(dir)))),
        _ => Err(DataError::StereoLayout {
            dir: dir.to_owned(),
            problem: format!(
                "holds no stereo pairs, it should hold {} or be the directory of a stereo set",
                folder::EXPECTED
            ),
        }),
    }
}

/// Opens a set of stereo pairs by name. `dir` is where its files are; without it they are looked for in the usual places.
/// `stereo-scenes` has no files and takes no notice of it; `stereo-folder` needs it.
pub fn open(name: &str, dir: Option<&Path>) -> Result<StereoDataset, DataError> {
    open_with(name, dir, &StereoOptions::USUAL)
}

/// Like [`open`], as `options` say. Files are listed, and the first pairs are read and looked at; the others are read when
/// they are asked for.
pub fn open_with(name: &str, dir: Option<&Path>, options: &StereoOptions) -> Result<StereoDataset, DataError> {
    if name == SCENES {
        let scenes = Scenes::new(options.height, options.width, options.max_disparity, options.scenes_seed)?;
        let train = Pairs::of_scenes(scenes, 0, options.n_train);
        let test = Pairs::of_scenes(scenes, FIRST_TEST, options.n_test);
        return Ok(StereoDataset { name: name.to_owned(), train, test });
    }
    let (_, listed) = list(name, dir)?;
    let [train, test] = listed.split(options.test_fraction, options.split_seed)?.map(Pairs::of_files);
    for pairs in [&train, &test] {
        for i in 0..pairs.n().min(LOOKED_AT) {
            if let Some(note) = doubt(&pairs.name_of(i), &pairs.pair(i)?) {
                options.watch.note(&note);
            }
        }
    }
    Ok(StereoDataset { name: name.to_owned(), train, test })
}

/// The pairs of a set of files, and where they are.
fn list(name: &str, dir: Option<&Path>) -> Result<(PathBuf, Listed), DataError> {
    match (stereo_set(name)?, dir) {
        (Some(set), _) => {
            let place = match set.find(dir) {
                // Files of something else are told by name.
                Err(e) => match dir.and_then(recognise).filter(|found| *found != name && *found != FOLDER) {
                    Some(found) => {
                        return Err(DataError::OtherSet {
                            dir: dir.unwrap_or(Path::new("")).to_owned(),
                            found,
                            name: set.name,
                        });
                    }
                    None => return Err(e),
                },
                Ok(place) => place,
            };
            let listed = set.list(&place)?;
            Ok((place, listed))
        }
        (None, Some(dir)) if name == FOLDER => {
            stereo_at(dir)?;
            Ok((dir.to_owned(), folder::list(dir)?))
        }
        _ => Err(DataError::NoDirectory { name: FOLDER, advice: "give the path of a folder in place of a name" }),
    }
}

/// What is odd about a pair without being wrong for sure: its disparity seems to have the wrong sign, or to fit nothing.
pub fn doubt(name: &str, pair: &Pair) -> Option<String> {
    let error = pair.photo_error(true)?;
    let opposite = error.opposite?;
    // Clearly: by more than the grain of any picture.
    (opposite + 2.0 < error.warped && opposite < 0.8 * error.warped).then(|| {
        format!(
            "the disparity of the pair {} seems to have the wrong sign, or left and right to be exchanged: the views differ \
             by {opposite:.1} of 255 when left x is matched with right x + d, and by {:.1} with x - d, which should be less",
            shown(name),
            error.warped
        )
    })
}

/// Reads every pair of a stereo set and gives all that is wrong with them.
pub fn stereo_check(name: &str, dir: Option<&Path>, watch: &dyn Watch) -> Checked {
    if name == SCENES {
        return Checked { n_files: 0, ..Checked::default() };
    }
    let listed = match list(name, dir) {
        Ok((_, listed)) => listed,
        Err(problem) => return Checked { problems: vec![problem], ..Checked::default() },
    };
    let all: Vec<PairFiles> = listed.train.into_iter().chain(listed.test).collect();
    let mut checked = Checked::default();
    // A few at a time, so that progress is seen.
    for (block, files) in all.chunks(16).enumerate() {
        watch.progress(16 * block, all.len());
        let read: Vec<_> = files.par_iter().map(|files| files.read().map(|pair| doubt(&files.name, &pair))).collect();
        for found in read {
            checked.n_files += 3;
            match found {
                Ok(note) => checked.left_out.extend(note),
                Err(problem) => checked.problems.push(problem),
            }
        }
    }
    watch.progress(all.len(), all.len());
    checked
}
