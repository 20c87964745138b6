//! Disparity: the end-point error of predictions at several scales, on the pixels whose disparity is known.
//!
//! The network's outputs of an image are its predictions one after another, from the coarsest to the finest, in pixels of
//! the images; a prediction at scale s has h / s rows and w / s columns. With t_s the mean of the known disparities of a
//! block of s x s pixels, and the mean over all blocks of the batch that have any,
//!
//! ```text
//! L = sum over scales of weight_s mean |d_s - t_s|    (AutoDispNet, section 5)
//! ```
//!
//! What is counted is the end-point error at full size: that of the finest prediction, resampled bilinearly.

use super::{Count, Loss};

/// The truth of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Truth {
    /// Rows and columns of the images.
    pub side: [usize; 2],
    /// (n, h, w), in pixels; NaN where unknown.
    pub disparity: Vec<f32>,
    /// Of each prediction its scale and its weight in the loss, from the coarsest to the finest.
    pub levels: Vec<Level>,
}

/// A prediction's place in the loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// Pixels of an image to a pixel of the prediction, along an axis.
    pub scale: usize,
    /// Weight in the loss.
    pub weight: f64,
}

impl Truth {
    /// Images.
    pub fn n(&self) -> usize {
        self.disparity.len() / (self.side[0] * self.side[1])
    }

    /// Values of all predictions of an image.
    pub fn outputs(&self) -> usize {
        self.levels.iter().map(|level| self.px(level.scale)).sum()
    }

    fn px(&self, scale: usize) -> usize {
        (self.side[0] / scale) * (self.side[1] / scale)
    }

    /// The means of the known disparities of blocks, of an image; NaN where none is known.
    pub fn blocks(&self, image: usize, scale: usize) -> Vec<f64> {
        let [h, w] = self.side;
        let truth = &self.disparity[image * h * w..(image + 1) * h * w];
        let block = |i: usize| {
            let (y, x) = (i / (w / scale) * scale, i % (w / scale) * scale);
            let rows = (y..y + scale).flat_map(|y| &truth[y * w + x..][..scale]);
            let (sum, n) = rows.filter(|d| d.is_finite()).fold((0.0, 0), |(sum, n), d| (sum + f64::from(*d), n + 1));
            sum / f64::from(n)
        };
        (0..self.px(scale)).map(block).collect()
    }
}

/// A prediction (h / scale, w / scale) at full size, (h, w): bilinear, pixels as squares.
///
/// # Panics
/// If the prediction has not that size.
pub fn at_full_size(prediction: &[f64], side: [usize; 2], scale: usize) -> Vec<f64> {
    let [h, w] = side.map(|side| side / scale);
    assert_eq!(prediction.len(), h * w, "a prediction of {h} x {w}");
    let place = |o: usize, side: usize| {
        let at = ((o as f64 + 0.5) / scale as f64 - 0.5).clamp(0.0, (side - 1) as f64);
        let low = at as usize;
        (low, (low + 1).min(side - 1), at - low as f64)
    };
    let columns: Vec<_> = (0..side[1]).map(|x| place(x, w)).collect();
    let mut out = Vec::with_capacity(side[0] * side[1]);
    for y in 0..side[0] {
        let (y0, y1, b) = place(y, h);
        out.extend(columns.iter().map(|&(x0, x1, a)| {
            let row = |y: usize| prediction[y * w + x0] * (1.0 - a) + prediction[y * w + x1] * a;
            row(y0) * (1.0 - b) + row(y1) * b
        }));
    }
    out
}

/// The loss at some outputs.
#[derive(Clone, Debug)]
pub struct EndPointError {
    value: f64,
    gradient: Vec<f64>,
    count: Count,
}

impl EndPointError {
    /// At outputs (n, [`Truth::outputs`]).
    ///
    /// # Panics
    /// If there is another number of outputs.
    pub fn new(outputs: &[f64], truth: &Truth) -> Self {
        let (n, each) = (truth.n(), truth.outputs());
        assert_eq!(outputs.len(), n * each, "{each} outputs of each of {n} images");
        let (mut value, mut gradient, mut first) = (0.0, vec![0.0; outputs.len()], 0);
        for level in &truth.levels {
            let px = truth.px(level.scale);
            let blocks: Vec<Vec<f64>> = (0..n).map(|image| truth.blocks(image, level.scale)).collect();
            let known = blocks.iter().flatten().filter(|t| t.is_finite()).count();
            let share = level.weight / known.max(1) as f64;
            for (image, blocks) in blocks.iter().enumerate() {
                let at = image * each + first;
                for (i, t) in blocks.iter().enumerate().filter(|(_, t)| t.is_finite()) {
                    let off = outputs[at + i] - t;
                    value += share * off.abs();
                    // At the truth itself neither side is steeper.
                    gradient[at + i] = if off == 0.0 { 0.0 } else { share * off.signum() };
                }
            }
            first += px;
        }
        Self { value, gradient, count: count(outputs, truth) }
    }
}

/// The sum of the errors of the finest prediction at full size, over the pixels that are known.
fn count(outputs: &[f64], truth: &Truth) -> Count {
    let (each, [h, w]) = (truth.outputs(), truth.side);
    let Some(finest) = truth.levels.last() else { return Count::default() };
    let mut count = Count::default();
    for (outputs, truth) in outputs.chunks_exact(each).zip(truth.disparity.chunks_exact(h * w)) {
        let full = at_full_size(&outputs[each - (h / finest.scale) * (w / finest.scale)..], [h, w], finest.scale);
        for (d, t) in full.iter().zip(truth).filter(|(_, t)| t.is_finite()) {
            count += Count { total: (d - f64::from(*t)).abs(), n: 1 };
        }
    }
    count
}

impl Loss for EndPointError {
    fn value(&self) -> f64 {
        self.value
    }

    fn count(&self) -> Count {
        self.count
    }

    fn gradient(&self) -> &[f64] {
        &self.gradient
    }

    /// The loss has no curvature of its own: the gradient of its tangent is zero.
    fn tangent(&self, z_dot: &[f64]) -> (f64, Vec<f64>) {
        (self.gradient.iter().zip(z_dot).map(|(g, dot)| g * dot).sum(), vec![0.0; z_dot.len()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truth() -> Truth {
        let mut disparity: Vec<f32> = (0..2 * 4 * 8).map(|i| (i % 7) as f32).collect();
        disparity[..10].fill(f32::NAN);
        let levels = vec![Level { scale: 4, weight: 0.5 }, Level { scale: 2, weight: 1.0 }];
        Truth { side: [4, 8], disparity, levels }
    }

    #[test]
    fn predictions_that_are_the_truth_have_no_loss_and_errors_are_in_pixels() {
        let mut truth = truth();
        truth.disparity.fill(5.0);
        truth.disparity[3] = f32::NAN;
        let exact = EndPointError::new(&[5.0; 2 * 10], &truth);
        assert_eq!((exact.value(), exact.count().mean()), (0.0, 0.0));
        assert!(exact.gradient().iter().all(|g| *g == 0.0));
        let off = EndPointError::new(&[7.0; 2 * 10], &truth);
        assert!((off.value() - 3.0).abs() < 1e-12 && (off.count().mean() - 2.0).abs() < 1e-12);
        assert_eq!(off.count().n, 63);
    }

    #[test]
    fn the_gradient_is_the_slope_and_unknown_blocks_have_no_part() {
        let truth = truth();
        let outputs: Vec<f64> = (0..20).map(|i| 3.0 + (1.7 * f64::from(i)).sin()).collect();
        let at = EndPointError::new(&outputs, &truth);
        for i in 0..outputs.len() {
            let moved = |h: f64| {
                let mut outputs = outputs.clone();
                outputs[i] += h;
                EndPointError::new(&outputs, &truth).value()
            };
            let slope = (moved(1e-7) - moved(-1e-7)) / 2e-7;
            assert!((slope - at.gradient()[i]).abs() < 1e-6, "{i}: {slope}");
        }
        // The first block of 2 x 2 pixels of the first image is unknown, the one beside it too; that of 4 x 4 is not.
        assert_eq!((at.gradient()[2], at.gradient()[0] != 0.0), (0.0, true));
        let mut unknown = truth.clone();
        unknown.disparity.fill(f32::NAN);
        let nothing = EndPointError::new(&outputs, &unknown);
        assert_eq!((nothing.value(), nothing.count().n), (0.0, 0));
    }

    #[test]
    fn a_plane_at_full_size_is_a_plane_but_for_its_border() {
        let plane: Vec<f64> = (0..3 * 5).map(|i| f64::from(i % 5) * 4.0).collect();
        let full = at_full_size(&plane, [12, 20], 4);
        for x in 2..18 {
            assert!((full[5 * 20 + x] - (x as f64 - 1.5)).abs() < 1e-12, "{x}");
        }
    }
}
