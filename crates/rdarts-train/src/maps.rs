//! A few pairs as a network for disparity sees them, for the directory of its run.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use rdarts_data::stereo::{Pair, Pairs, StereoEval, pair_shown};
use rdarts_net::Evaluator;
use rdarts_net::disparity::DisparitySpec;
use rdarts_run::{MOST_MAPS, PairMap, PairPictures};

use crate::error::TrainError;
use crate::pairs::estimate;

/// The pairs that pictures may be made of.
#[derive(Clone, Debug)]
pub struct ShownPairs<'a> {
    /// The pairs of a set.
    pub pairs: &'a Pairs,
    /// Which of them, by their numbers: evenly apart some are taken.
    pub range: Range<usize>,
    /// Whether they are halved in size.
    pub halved: bool,
    /// Pairs of more pixels than this are too large.
    pub most_pixels: usize,
    /// The rows and columns of their middle that is taken then.
    pub window: [usize; 2],
}

/// Pictures of at most six pairs and of what a network of some sizes predicts for them; `None` if `stop` was set meanwhile.
///
/// # Errors
/// If a pair cannot be read.
pub fn pair_pictures(
    of: &ShownPairs<'_>,
    sizes: &DisparitySpec,
    evaluator: &Evaluator<f32>,
    stop: &AtomicBool,
) -> Result<Option<Vec<PairPictures>>, TrainError> {
    let n = of.range.len().min(MOST_MAPS);
    let mut made = Vec::with_capacity(n);
    for i in (0..n).map(|i| of.range.start + i * of.range.len() / n) {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let pair = of.pairs.pair(i)?;
        let mut pair = if of.halved { pair.halved() } else { pair };
        if pair.height * pair.width > of.most_pixels {
            pair = middle(&pair, of.window);
        }
        // A pair of which nothing is known shows no error.
        let eval = StereoEval::new(std::slice::from_ref(&pair), sizes.stride());
        let Some(shown) = pair_shown(&pair, &estimate(evaluator, sizes, &eval)) else { continue };
        let about = PairMap {
            pair: i,
            name: of.pairs.name_of(i),
            error: shown.error,
            range: (shown.range.0.into(), shown.range.1.into()),
            most_error: shown.most_error.into(),
        };
        made.push(PairPictures { about, png: shown.png });
    }
    Ok(Some(made))
}

/// The middle of a pair, no larger than a window.
fn middle(pair: &Pair, window: [usize; 2]) -> Pair {
    let [height, width] = [window[0].min(pair.height), window[1].min(pair.width)];
    let (top, left) = ((pair.height - height) / 2, (pair.width - width) / 2);
    fn cut<T: Copy>(of: &[T], [top, left, height, width]: [usize; 4], columns: usize) -> Vec<T> {
        of.chunks_exact(columns)
            .skip(top)
            .take(height)
            .flat_map(|row| row[left..left + width].iter().copied())
            .collect()
    }
    let at = [top, left, height, width];
    let colours = [top, 3 * left, height, 3 * width];
    Pair {
        height,
        width,
        left: cut(&pair.left, colours, 3 * pair.width),
        right: cut(&pair.right, colours, 3 * pair.width),
        disparity: cut(&pair.disparity, at, pair.width),
        visible: pair.visible.as_ref().map(|visible| cut(visible, at, pair.width)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_a_pair_has_its_rows_and_columns() {
        let (height, width) = (4, 6);
        let left: Vec<u8> = (0..72).collect();
        let pair = Pair {
            height,
            width,
            right: left.iter().map(|v| 100 + v).collect(),
            left,
            disparity: (0..24).map(|i| i as f32).collect(),
            visible: Some((0..24).map(|i| i % 2 == 0).collect()),
        };
        let cut = middle(&pair, [2, 4]);
        assert_eq!((cut.height, cut.width), (2, 4));
        assert_eq!(cut.disparity, [7.0, 8.0, 9.0, 10.0, 13.0, 14.0, 15.0, 16.0]);
        assert_eq!((cut.left[..3].to_vec(), cut.right[12..15].to_vec()), (vec![21, 22, 23], vec![139, 140, 141]));
        assert_eq!(cut.visible, Some((0..2).flat_map(|_| [false, true, false, true]).collect()));
        assert_eq!(middle(&pair, [9, 9]), pair);
    }
}
