//! The files of one pair, and what is doubted when they are read.

use std::path::PathBuf;

use rdarts_text::shown;

use crate::error::DataError;
use crate::formats::calib::{self, Calib};
use crate::formats::disparity::{self, Coding};
use crate::formats::picture;
use crate::pair::Pair;

/// Where a pair is.
#[derive(Clone, Debug, PartialEq)]
pub struct PairFiles {
    /// What it is called.
    pub name: String,
    /// Pairs of one group look alike and are never apart in a split.
    pub group: String,
    /// The left view.
    pub left: PathBuf,
    /// The right view.
    pub right: PathBuf,
    /// The disparity of the left view.
    pub truth: PathBuf,
    /// How that is stored.
    pub coding: Coding,
    /// What its signs mean.
    pub sign: Sign,
    /// What the right view does not show.
    pub mask: Mask,
    /// A file that says how large all of them are.
    pub calib: Option<PathBuf>,
}

/// What the sign of a stored disparity means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Positive: the match lies to the left. Negative ones are a mistake.
    Positive,
    /// Nothing: sets of one origin are published with either.
    Either,
    /// Nothing, but all have the same.
    Same,
}

/// How it is told which left pixels the right view shows.
#[derive(Clone, Debug, PartialEq)]
pub enum Mask {
    /// Not at all.
    None,
    /// Those that are 0 in all of these.
    Zero(Vec<PathBuf>),
    /// Those that are 255.
    Full(PathBuf),
    /// Those whose disparity is known here, of those whose disparity is known.
    Known(PathBuf, Coding),
}

impl PairFiles {
    /// Lengths of both views and of the truth, in bytes.
    pub fn lengths(&self) -> Result<[u64; 3], DataError> {
        let mut lengths = [0; 3];
        for (length, path) in lengths.iter_mut().zip([&self.left, &self.right, &self.truth]) {
            let found = std::fs::metadata(path).map_err(|e| DataError::unreadable(shown(path), &e))?;
            *length = found.len();
        }
        Ok(lengths)
    }

    /// Height and width of the left view.
    pub fn size(&self) -> Result<[usize; 2], DataError> {
        picture::size(&self.left)
    }

    /// Reads all of them.
    pub fn read(&self) -> Result<Pair, DataError> {
        let (height, width, left) = disparity::read_view(&self.left)?;
        let (other_height, other_width, right) = disparity::read_view(&self.right)?;
        let size = [height, width];
        self.fits(size, "a right view", [other_height, other_width])?;
        let truth = disparity::read(&self.truth, self.coding)?;
        self.fits(size, "disparities", [truth.height, truth.width])?;
        let values = self.doubted(truth.values, width)?;
        let visible = self.visible(size)?;
        if let Some(path) = &self.calib {
            self.check_calib(path, size)?;
        }
        Ok(Pair { height, width, left, right, disparity: values, visible })
    }

    /// Disparities with the right sign.
    fn doubted(&self, mut values: Vec<f32>, width: usize) -> Result<Vec<f32>, DataError> {
        let (mut n, mut n_negative, mut n_beyond) = (0usize, 0usize, 0usize);
        for d in values.iter_mut() {
            if d.is_nan() {
                continue;
            }
            n += 1;
            n_negative += usize::from(*d < 0.0);
            if d.abs() > width as f32 {
                // There is no such match; a few are the limits of a renderer.
                n_beyond += 1;
                *d = f32::NAN;
            } else if self.sign != Sign::Positive {
                *d = d.abs();
            }
        }
        let file = shown(&self.truth);
        if n == 0 {
            return Err(self.wrong(format!("has no pixel whose disparity is known in {file}: remove the pair")));
        }
        if 2 * n_beyond > n {
            return Err(self.wrong(format!(
                "has disparities beyond the width of {width} pixels at {n_beyond} of {n} pixels in {file}: they should be \
                 in pixels of the left view"
            )));
        }
        let is_mixed = self.sign == Sign::Same && n_negative > 0 && n_negative < n;
        if is_mixed || self.sign == Sign::Positive && n_negative > 0 {
            return Err(self.wrong(format!(
                "has negative disparities at {n_negative} of {n} pixels in {file}: left pixel x should match right pixel \
                 x - d with d above 0"
            )));
        }
        Ok(values)
    }

    fn fits(&self, [height, width]: [usize; 2], what: &str, found: [usize; 2]) -> Result<(), DataError> {
        match found == [height, width] {
            true => Ok(()),
            false => Err(self.wrong(format!(
                "has a left view of {height}x{width} and {what} of {}x{} pixels (height x width), they should be equal",
                found[0], found[1]
            ))),
        }
    }

    fn visible(&self, size: [usize; 2]) -> Result<Option<Vec<bool>>, DataError> {
        let read = |path: &PathBuf| {
            let (height, width, mask) = disparity::read_mask(path)?;
            self.fits(size, "a mask", [height, width]).map(|()| mask)
        };
        Ok(match &self.mask {
            Mask::None => None,
            Mask::Zero(paths) => {
                let mut visible = vec![true; size[0] * size[1]];
                for path in paths {
                    visible.iter_mut().zip(read(path)?).for_each(|(visible, value)| *visible &= value == 0);
                }
                Some(visible)
            }
            Mask::Full(path) => Some(read(path)?.into_iter().map(|value| value == 255).collect()),
            Mask::Known(path, coding) => {
                let known = disparity::read(path, *coding)?;
                self.fits(size, "a mask", [known.height, known.width])?;
                Some(known.values.iter().map(|d| !d.is_nan()).collect())
            }
        })
    }

    fn check_calib(&self, path: &PathBuf, [height, width]: [usize; 2]) -> Result<(), DataError> {
        let file = shown(path);
        let text = std::fs::read_to_string(path).map_err(|e| DataError::unreadable(&file, &e))?;
        let Calib { width: said_width, height: said_height } = calib::parse(&text, &file)?;
        if said_width.is_some_and(|said| said != width) || said_height.is_some_and(|said| said != height) {
            let of = |said: Option<usize>| said.map_or("?".to_owned(), |said| said.to_string());
            return Err(self.wrong(format!(
                "has views of {height}x{width} pixels (height x width) and {file} says {}x{}: they are of different sizes \
                 of the scene",
                of(said_height),
                of(said_width)
            )));
        }
        Ok(())
    }

    fn wrong(&self, problem: String) -> DataError {
        DataError::StereoPair { pair: shown(&self.name), problem }
    }
}
