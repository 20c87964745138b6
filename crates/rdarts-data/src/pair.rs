//! A stereo pair: two rectified views of one scene, and how far each point of the left one has moved in the right one.
//!
//! ```text
//! left (x, y)  shows what  right (x - d, y)  shows,      d > 0: the disparity, in pixels, NaN where it is not known
//! ```
//!
//! Warping takes the right view to the left one by that equation, between two pixels of a row in proportion; it is what
//! shows whether sign and scale of a ground truth are right.

/// A pair of views with the disparity of the left one.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
    /// The left view, (height, width, 3).
    pub left: Vec<u8>,
    /// The right view, (height, width, 3).
    pub right: Vec<u8>,
    /// Disparity of each left pixel in pixels, (height, width); NaN where it is not known.
    pub disparity: Vec<f32>,
    /// Whether the right view shows the point that a left pixel shows, (height, width); `None` where nobody knows.
    pub visible: Option<Vec<bool>>,
}

/// Mean absolute differences of the views over the same pixels, in steps of 255.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PhotoError {
    /// Without warping.
    pub unwarped: f64,
    /// Right view at x - d: what is right.
    pub warped: f64,
    /// Right view at x + d, where that is in the picture: what a wrong sign comes to. `None` if it nowhere is.
    pub opposite: Option<f64>,
    /// Pixels.
    pub n: usize,
}

impl Pair {
    /// The number of pixels whose disparity is known.
    pub fn n_valid(&self) -> usize {
        self.disparity.iter().filter(|d| !d.is_nan()).count()
    }

    /// Smallest and largest known disparity; `None` if none is known.
    pub fn range(&self) -> Option<(f32, f32)> {
        let known = self.disparity.iter().copied().filter(|d| !d.is_nan());
        known.fold(None, |range, d| {
            range.map_or(Some((d, d)), |(low, high): (f32, f32)| Some((low.min(d), high.max(d))))
        })
    }

    /// The right view's colour at (x, y) with x between pixels, as 0..=255; `None` outside of the picture.
    pub fn right_at(&self, x: f64, y: usize) -> Option<[f64; 3]> {
        // A NaN is outside too.
        if !(0.0..=(self.width - 1) as f64).contains(&x) {
            return None;
        }
        let first = (x as usize).min(self.width.saturating_sub(2));
        let second = (first + 1).min(self.width - 1);
        let part = x - first as f64;
        let row = y * self.width;
        let (a, b) = (3 * (row + first), 3 * (row + second));
        Some([0, 1, 2].map(|c| f64::from(self.right[a + c]) * (1.0 - part) + f64::from(self.right[b + c]) * part))
    }

    /// The right view as the left camera would see it, (height, width, 3): black where the disparity is not known or the
    /// match lies outside.
    pub fn warped(&self) -> Vec<u8> {
        let colour = |i: usize| {
            let x = (i % self.width) as f64 - f64::from(self.disparity[i]);
            self.right_at(x, i / self.width).map_or([0; 3], |colour| colour.map(|value| (value + 0.5) as u8))
        };
        (0..self.height * self.width).flat_map(colour).collect()
    }

    /// How much the views differ before and after warping, over the pixels whose match lies in the picture, of these only
    /// the visible ones if `only_visible` and it is known which are. `None` if there are none.
    pub fn photo_error(&self, only_visible: bool) -> Option<PhotoError> {
        let (mut sums, mut n, mut n_opposite) = ([0.0; 3], 0usize, 0usize);
        let mask = self.visible.as_deref().filter(|_| only_visible);
        for (i, &d) in self.disparity.iter().enumerate() {
            if mask.is_some_and(|visible| !visible[i]) {
                continue;
            }
            let (x, y, d) = ((i % self.width) as f64, i / self.width, f64::from(d));
            let left = &self.left[3 * i..3 * i + 3];
            let differs =
                |right: [f64; 3]| left.iter().zip(right).map(|(&l, r)| (f64::from(l) - r).abs()).sum::<f64>() / 3.0;
            let Some(right) = self.right_at(x - d, y) else { continue };
            n += 1;
            sums[0] += self.right_at(x, y).map_or(0.0, differs);
            sums[1] += differs(right);
            if let Some(right) = self.right_at(x + d, y) {
                sums[2] += differs(right);
                n_opposite += 1;
            }
        }
        (n > 0).then(|| PhotoError {
            unwarped: sums[0] / n as f64,
            warped: sums[1] / n as f64,
            opposite: (n_opposite > 0).then(|| sums[2] / n_opposite as f64),
            n,
        })
    }

    /// The pair at half its size, odd rows and columns at the end left out: views by the mean of four pixels, disparities
    /// halved. Of four disparities the first that is known is taken, in the order in which they are read: a mean of two
    /// surfaces would belong to neither.
    pub fn halved(&self) -> Self {
        let (height, width) = (self.height / 2, self.width / 2);
        let four = |i: usize| {
            let (y, x) = (2 * (i / width), 2 * (i % width));
            [(y, x), (y, x + 1), (y + 1, x), (y + 1, x + 1)].map(|(y, x)| y * self.width + x)
        };
        let view = |of: &[u8]| -> Vec<u8> {
            let mean =
                |i: usize| [0, 1, 2].map(|c| (four(i).map(|at| u16::from(of[3 * at + c])).iter().sum::<u16>() + 2) / 4);
            (0..height * width).flat_map(|i| mean(i).map(|value| value as u8)).collect()
        };
        let chosen: Vec<usize> = (0..height * width)
            .map(|i| four(i).into_iter().find(|&at| !self.disparity[at].is_nan()).unwrap_or(four(i)[0]))
            .collect();
        Self {
            height,
            width,
            left: view(&self.left),
            right: view(&self.right),
            disparity: chosen.iter().map(|&at| 0.5 * self.disparity[at]).collect(),
            visible: self.visible.as_ref().map(|visible| chosen.iter().map(|&at| visible[at]).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ramp with steps, moved by two pixels and a half.
    fn moved() -> Pair {
        let (height, width) = (4, 20);
        let ramp = |x: f64| (10.0 * x) as u8;
        let view = |by: f64| -> Vec<u8> {
            (0..height * width)
                .flat_map(|i| [ramp((i % width) as f64 + by), 7, ramp((i % width) as f64 + by)])
                .collect()
        };
        let disparity = vec![2.5; height * width];
        Pair { height, width, left: view(0.0), right: view(2.5), disparity, visible: None }
    }

    #[test]
    fn the_right_sign_takes_the_right_view_onto_the_left_one() {
        let pair = moved();
        let error = pair.photo_error(false).unwrap();
        assert_eq!((error.n, error.warped), (4 * 17, 0.0));
        assert!((error.unwarped - 50.0 / 3.0).abs() < 1e-9 && (error.opposite.unwrap() - 100.0 / 3.0).abs() < 1e-9);
        let warped = pair.warped();
        assert_eq!(warped[3 * 5..3 * 20], pair.left[3 * 5..3 * 20]);
        assert_eq!(warped[..9], [0; 9]);
        let nothing = Pair { disparity: vec![f32::NAN; 80], ..moved() };
        assert_eq!((nothing.photo_error(false), nothing.n_valid(), nothing.range()), (None, 0, None));
    }

    #[test]
    fn half_the_size_has_half_the_disparity_and_takes_a_known_one() {
        let mut pair = moved();
        pair.visible = Some((0..80).map(|i| i != 1).collect());
        pair.disparity[0] = f32::NAN;
        let half = pair.halved();
        assert_eq!((half.height, half.width, half.left.len()), (2, 10, 60));
        assert_eq!((half.n_valid(), half.range()), (20, Some((1.25, 1.25))));
        assert_eq!(half.left[..6], [5, 7, 5, 25, 7, 25]);
        assert_eq!(half.visible.unwrap().iter().position(|v| !v), Some(0));
    }
}
