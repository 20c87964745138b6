//! Batches of stereo pairs as pure functions of (pairs, seed, epoch or step), as `batch` makes those of images.
//!
//! ```text
//! "order-stereo-<name>"      index = epoch            the permutation of an epoch
//! "stereo-<name>-draw"       index = step             the pairs of a draw
//! "window-stereo-<name>"     index = pairs before     the window of a pair, and its zoom
//! "colours-stereo-<name>"    index = pairs before     the colours of a pair
//! "noise-stereo-<name>"      index = pairs before     the noise of a pair
//! ```
//!
//! A loader is used one way or the other, by epochs or by draws: used both ways it would repeat augmentations.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::augment::{Look, Out, StereoAugment, Window, show};
use crate::batch::{draw_distinct, epoch_order};
use crate::error::DataError;
use crate::pair::Pair;
use crate::sets::stereo::Pairs;

/// What a network is given at once.
#[derive(Clone, Debug, PartialEq)]
pub struct StereoBatch {
    /// Number of pairs.
    pub n: usize,
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
    /// Values / 255 - 0.4, (n, height, width, 6): red, green and blue of the left view, then of the right one.
    pub views: Vec<f32>,
    /// Disparity of the left view in pixels, (n, height, width): positive, NaN where it is not known.
    pub disparity: Vec<f32>,
    /// Whether the right view shows a left pixel's point, (n, height, width); `None` where that is not known of each pair.
    pub visible: Option<Vec<bool>>,
}

/// Makes the batches of one range of pairs: windows of equal size, whatever the sizes of the pairs.
#[derive(Clone, Debug)]
pub struct StereoLoader {
    pairs: Arc<Pairs>,
    range: Range<usize>,
    batch_size: usize,
    crop: [usize; 2],
    seed: u64,
    name: &'static str,
    halved: bool,
}

impl StereoLoader {
    /// Batches of `batch_size` of the pairs in `range`, windows of `crop` pixels (height, width). `name` names the streams
    /// of randomness: "train" for the pairs that train weights, "valid" for those that train the architecture.
    ///
    /// # Panics
    /// If the batch size or a side is 0, or the range is empty or not one of pairs.
    pub fn new(
        pairs: Arc<Pairs>,
        range: Range<usize>,
        batch_size: usize,
        crop: [usize; 2],
        seed: u64,
        name: &'static str,
    ) -> Self {
        assert!(batch_size > 0 && crop[0] > 0 && crop[1] > 0, "a batch of {batch_size} pairs of {crop:?}");
        assert!(!range.is_empty() && range.end <= pairs.n(), "{range:?} of {} pairs", pairs.n());
        Self { pairs, range, batch_size, crop, seed, name, halved: false }
    }

    /// The same, but pairs are halved in size before a window is taken, disparities with them, as the paper's search has it.
    pub fn halved(self) -> Self {
        Self { halved: true, ..self }
    }

    /// The number of pairs.
    pub fn n_pairs(&self) -> usize {
        self.range.len()
    }

    /// The number of batches in an epoch, the last one perhaps smaller.
    pub fn n_batches(&self) -> usize {
        self.range.len().div_ceil(self.batch_size)
    }

    /// The batches of an epoch from number `first` on; a run that goes on within an epoch begins there. Without
    /// augmentation windows are still placed at random.
    pub fn epoch(
        &self,
        epoch: u64,
        first: usize,
        augment: Option<StereoAugment>,
    ) -> impl Iterator<Item = Result<StereoBatch, DataError>> + Send + 'static + use<> {
        let loader = self.clone();
        let order = epoch_order(self.seed, &self.stream(), epoch, self.range.len());
        (first..self.n_batches()).map(move |i| {
            let start = i * loader.batch_size;
            let end = order.len().min(start + loader.batch_size);
            let n_before = epoch * order.len() as u64 + start as u64;
            loader.make(&order[start..end], augment, n_before)
        })
    }

    /// The batch of a step: a fresh draw of distinct pairs, or of all pairs if they are fewer than a batch.
    pub fn draw(&self, step: u64, augment: Option<StereoAugment>) -> Result<StereoBatch, DataError> {
        let batch_size = self.batch_size.min(self.range.len());
        let stream = format!("{}-draw", self.stream());
        let indices = draw_distinct(self.seed, &stream, step, self.range.len(), batch_size);
        self.make(&indices, augment, step * batch_size as u64)
    }

    /// Refuses pairs that are smaller than the windows, before any of them is looked at.
    ///
    /// # Errors
    /// One sentence that names the first such pair, or the first one whose size cannot be read.
    pub fn check(&self) -> Result<(), DataError> {
        let sizes = self.range.clone().into_par_iter().map(|place| {
            let size = self.pairs.size_of(place)?;
            self.check_size(place, if self.halved { size.map(|side| side / 2) } else { size })
        });
        sizes.collect::<Vec<Result<(), DataError>>>().into_iter().collect()
    }

    fn check_size(&self, place: usize, [height, width]: [usize; 2]) -> Result<(), DataError> {
        if height >= self.crop[0] && width >= self.crop[1] {
            return Ok(());
        }
        Err(DataError::StereoCrop {
            pair: self.pairs.name_of(place),
            found: format!("{height}x{width}"),
            crop: format!("{}x{}", self.crop[0], self.crop[1]),
        })
    }

    fn stream(&self) -> String {
        format!("stereo-{}", self.name)
    }

    fn make(&self, indices: &[u32], augment: Option<StereoAugment>, n_before: u64) -> Result<StereoBatch, DataError> {
        let (stream, [height, width]) = (self.stream(), self.crop);
        let area = height * width;
        let n = indices.len();
        let mut batch = StereoBatch {
            n,
            height,
            width,
            views: vec![0.0; n * area * 6],
            disparity: vec![0.0; n * area],
            visible: None,
        };
        let mut visible = vec![false; n * area];
        let places = batch.views.par_chunks_exact_mut(6 * area).zip(batch.disparity.par_chunks_exact_mut(area));
        // Each pair has draws of its own, so that it does not matter who makes it.
        let made = indices.par_iter().zip(places).zip(visible.par_chunks_exact_mut(area)).enumerate();
        let known = made.map(|(i, ((&of, (views, disparity)), visible))| {
            let place = self.range.start + of as usize;
            let pair = self.pair(place)?;
            self.check_size(place, [pair.height, pair.width])?;
            let index = n_before.wrapping_add(i as u64);
            let size = [pair.height, pair.width];
            let window = Window::new(augment.as_ref(), size, self.crop, self.seed, &stream, index);
            let look = augment.and_then(|augment| Look::new(&augment, self.seed, &stream, index));
            let out = Out { views, disparity, visible };
            show(&pair, window, look.as_ref(), (self.seed, &stream, index), width, out);
            Ok(pair.visible.is_some())
        });
        // In their order: of several errors the first pair's is told.
        let known =
            known.collect::<Vec<Result<bool, DataError>>>().into_iter().collect::<Result<Vec<bool>, DataError>>()?;
        batch.visible = known.iter().all(|&known| known).then_some(visible);
        Ok(batch)
    }

    fn pair(&self, i: usize) -> Result<Pair, DataError> {
        let pair = self.pairs.pair(i)?;
        Ok(if self.halved { pair.halved() } else { pair })
    }
}

/// What a network is evaluated on: whole pairs of one size, with rows below and columns to the right that repeat the last
/// ones, so that it can halve both sides often enough. Disparities are what they were, unlike in AutoDispNet's own
/// evaluation, which resizes.
#[derive(Clone, Debug, PartialEq)]
pub struct StereoEval {
    /// Number of pairs.
    pub n: usize,
    /// Height of the views.
    pub height: usize,
    /// Width of the views.
    pub width: usize,
    /// Values / 255 - 0.4, (n, height, width, 6).
    pub views: Vec<f32>,
    /// Height of the pairs.
    pub truth_height: usize,
    /// Width of the pairs.
    pub truth_width: usize,
    /// Disparity in pixels, (n, truth_height, truth_width); NaN where it is not known.
    pub disparity: Vec<f32>,
    /// Whether the right view shows a left pixel's point, (n, truth_height, truth_width), where known of each pair.
    pub visible: Option<Vec<bool>>,
}

impl StereoEval {
    /// Of pairs of one size, their views with sides that are multiples of `multiple`.
    ///
    /// # Panics
    /// If there is no pair, the sizes differ, or the multiple is 0.
    pub fn new(pairs: &[Pair], multiple: usize) -> Self {
        let size @ [truth_height, truth_width] = [pairs[0].height, pairs[0].width];
        assert!(pairs.iter().all(|pair| [pair.height, pair.width] == size), "pairs of one size");
        let [height, width] = size.map(|side| side.next_multiple_of(multiple));
        let mut views = vec![0.0; pairs.len() * height * width * 6];
        pairs.par_iter().zip(views.par_chunks_exact_mut(height * width * 6)).for_each(|(pair, out)| {
            for (i, out) in out.chunks_exact_mut(6).enumerate() {
                let (y, x) = ((i / width).min(truth_height - 1), (i % width).min(truth_width - 1));
                let from = 3 * (y * truth_width + x);
                for (view, out) in [&pair.left, &pair.right].into_iter().zip(out.chunks_exact_mut(3)) {
                    let bytes = view[from..from + 3].iter();
                    out.iter_mut().zip(bytes).for_each(|(out, v)| *out = f32::from(*v) / 255.0 - super::augment::SHIFT);
                }
            }
        });
        let masks = pairs.iter().map(|pair| pair.visible.as_deref()).collect::<Option<Vec<_>>>();
        Self {
            n: pairs.len(),
            height,
            width,
            views,
            truth_height,
            truth_width,
            disparity: pairs.iter().flat_map(|pair| pair.disparity.iter().copied()).collect(),
            visible: masks.map(|masks| masks.concat()),
        }
    }

    /// Of maps (n, height, width) what lies on the pairs, (n, truth_height, truth_width).
    ///
    /// # Panics
    /// If the maps have another size.
    pub fn at_truth<T: Copy>(&self, maps: &[T]) -> Vec<T> {
        let (height, width) = (self.height, self.width);
        assert_eq!(maps.len(), self.n * height * width, "{} maps of {height}x{width}", self.n);
        let rows = maps.chunks_exact(height * width).flat_map(|map| map.chunks_exact(width).take(self.truth_height));
        rows.flat_map(|row| row[..self.truth_width].iter().copied()).collect()
    }
}

/// Batches for evaluation, in order: whole pairs, their sides made multiples of `multiple` ([`StereoEval`]); a batch
/// ends where the next pair has another size. `halved`: pairs at half their size, as a search sees them.
///
/// # Panics
/// If the batch size or the multiple is 0, or when the range leaves the pairs.
pub fn stereo_eval_batches(
    pairs: &Pairs,
    range: Range<usize>,
    batch_size: usize,
    multiple: usize,
    halved: bool,
) -> impl Iterator<Item = Result<StereoEval, DataError>> + Send + '_ {
    assert!(batch_size > 0 && multiple > 0, "batches of {batch_size} with multiples of {multiple}");
    assert!(range.end <= pairs.n(), "{range:?} of {} pairs", pairs.n());
    let mut at = range.start;
    std::iter::from_fn(move || {
        if at >= range.end {
            return None;
        }
        let end = range.end.min(at + batch_size);
        let read: Vec<Result<Pair, DataError>> = (at..end)
            .into_par_iter()
            .map(|i| pairs.pair(i).map(|pair| if halved { pair.halved() } else { pair }))
            .collect();
        let first = at;
        let read = match read.into_iter().collect::<Result<Vec<Pair>, DataError>>() {
            Ok(read) => read,
            Err(e) => {
                at = range.end;
                return Some(Err(e));
            }
        };
        let size = [read[0].height, read[0].width];
        let n = read.iter().take_while(|pair| [pair.height, pair.width] == size).count();
        at = first + n;
        Some(Ok(StereoEval::new(&read[..n], multiple)))
    })
}
