//! Augmentation of stereo pairs: random windows, zoom and colours that leave the geometry of stereo right.
//!
//! ```text
//! out (x, y)  shows  in (x0 + (x + 1/2) / zx - 1/2,  y0 + (y + 1/2) / zy - 1/2)     in both views, so
//! d_out = zx d_in,     zx = zoom squeeze,     zy = zoom / squeeze
//! ```
//!
//! What moves the views against each other is not here: a rotation or a shear of rows lets matches leave their row, a
//! mirrored pair has them on the other side. A window is placed evenly over all places at which it lies within the picture;
//! a shared translation is nothing else.
//!
//! **Numbers.** A training of DispNet draws zoom, squeeze and colours as [`StereoAugment::PAPER`] says; there colours are
//! changed along the principal axes of the colours of all images, here in RGB: gain and power of all channels, of single
//! channels, and the distance from gray. R-DARTS (appendix E.3) multiplies the variance of every distribution by a factor:
//! the strength, so that spreads grow with its square root. Means go with them, so that strength 0 changes nothing.
//!
//! **Ground truth is taken from the nearest pixel.** A mean over an edge would be a disparity at which nothing is, and one
//! unknown pixel would make all around it unknown.

use rdarts_rng::Stream;

use crate::error::DataError;
use crate::pair::Pair;

/// How one number is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Its middle.
    pub mean: f64,
    /// Half the width of a uniform distribution, the standard deviation of a Gaussian one.
    pub spread: f64,
    /// Which of the two.
    pub is_gaussian: bool,
}

/// Random transformations of a pair. Values that come from a user go through [`StereoAugment::check`] first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StereoAugment {
    /// Multiplies the variances of all distributions; 0 turns everything off but the place of the window.
    pub strength: f64,
    /// Logarithm of the enlargement.
    pub zoom: Spread,
    /// Logarithm of the enlargement to the side over the root of both.
    pub squeeze: Spread,
    /// Logarithm of the power of values in 0..=1.
    pub gamma: Spread,
    /// Logarithm of the factor of all channels.
    pub contrast: Spread,
    /// Added to values in 0..=1.
    pub brightness: Spread,
    /// Logarithm of the factor of a pixel's distance from its own gray.
    pub saturation: Spread,
    /// Logarithm of the factor of one channel, drawn for each.
    pub colour: Spread,
    /// Standard deviation of Gaussian noise, drawn once for a pair, added to each value by itself.
    pub noise: Spread,
    /// The same as `gamma`, of the right view alone.
    pub right_gamma: Spread,
    /// The same as `contrast`, of the right view alone.
    pub right_contrast: Spread,
    /// The same as `brightness`, of the right view alone.
    pub right_brightness: Spread,
    /// The same as `colour`, of the right view alone.
    pub right_colour: Spread,
}

const fn uniform(mean: f64, spread: f64) -> Spread {
    Spread { mean, spread, is_gaussian: false }
}

const fn gaussian(spread: f64) -> Spread {
    Spread { mean: 0.0, spread, is_gaussian: true }
}

impl StereoAugment {
    /// The numbers of a training of DispNet, at strength 1.
    pub const PAPER: Self = Self {
        strength: 1.0,
        zoom: uniform(0.2, 0.4),
        squeeze: uniform(0.0, 0.3),
        gamma: uniform(-0.2, 0.4),
        contrast: uniform(0.0, 0.4),
        brightness: uniform(0.0, 0.03),
        saturation: uniform(-0.3, 0.5),
        colour: gaussian(0.2),
        noise: uniform(0.03, 0.03),
        right_gamma: gaussian(0.01),
        right_contrast: gaussian(0.01),
        right_brightness: gaussian(0.01),
        right_colour: gaussian(0.01),
    };

    /// The same with another strength.
    pub const fn with_strength(self, strength: f64) -> Self {
        Self { strength, ..self }
    }

    /// An error if the strength makes no sense.
    pub fn check(&self) -> Result<(), DataError> {
        match (0.0..=MAX_STRENGTH).contains(&self.strength) {
            true => Ok(()),
            false => Err(DataError::StereoStrength { strength: self.strength, limit: MAX_STRENGTH }),
        }
    }
}

/// Beyond this nothing is left of a picture.
const MAX_STRENGTH: f64 = 16.0;

/// A window that would leave the picture is drawn again, so often at most; then it is enlarged until it fits.
const TRIES: usize = 20;

/// The part of a pair that is shown, and how much larger.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Window {
    /// Upper left corner in the picture.
    x0: f64,
    y0: f64,
    /// Enlargement to the side and downward.
    zx: f64,
    zy: f64,
}

/// What is done to the colours of a pair.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    /// The value in 0..=1 of each byte, by view and channel.
    tables: [[Vec<f32>; 3]; 2],
    saturation: f32,
    noise: f64,
}

impl Spread {
    fn draw(self, stream: &mut Stream, root: f64) -> f64 {
        let unit = if self.is_gaussian { stream.normal() } else { 2.0 * stream.uniform() - 1.0 };
        root * (self.mean + self.spread * unit)
    }
}

impl Window {
    /// The window of pair number `index` of the stream `name`, `crop` pixels high and wide, in a picture of `size`.
    pub(crate) fn new(
        augment: Option<&StereoAugment>,
        size: [usize; 2],
        crop: [usize; 2],
        seed: u64,
        name: &str,
        index: u64,
    ) -> Self {
        let mut stream = Stream::new(seed, &format!("window-{name}"), index);
        let [place_y, place_x] = [stream.uniform(), stream.uniform()];
        let least = [0, 1].map(|i| crop[i] as f64 / size[i] as f64);
        let (mut zy, mut zx) = (1.0, 1.0);
        if let Some(augment) = augment.filter(|augment| augment.strength > 0.0) {
            let root = augment.strength.sqrt();
            for _ in 0..TRIES {
                let zoom = augment.zoom.draw(&mut stream, root).exp();
                let squeeze = augment.squeeze.draw(&mut stream, root).exp();
                (zy, zx) = (zoom / squeeze, zoom * squeeze);
                if zy >= least[0] && zx >= least[1] {
                    break;
                }
            }
            (zy, zx) = (zy.max(least[0]), zx.max(least[1]));
        }
        let room = |size: usize, crop: usize, z: f64| (size as f64 - crop as f64 / z).max(0.0);
        let (mut y0, mut x0) = (room(size[0], crop[0], zy) * place_y, room(size[1], crop[1], zx) * place_x);
        if (zy, zx) == (1.0, 1.0) {
            // Nothing is resampled: whole places, each as likely.
            let whole = |size: usize, crop: usize, place: f64| ((size - crop + 1) as f64 * place).floor();
            (y0, x0) = (whole(size[0], crop[0], place_y), whole(size[1], crop[1], place_x));
        }
        Self { x0, y0, zx, zy }
    }

    /// Pixels on both sides of each place of the output along an axis, and how much of the second.
    pub(crate) fn taps(start: f64, z: f64, size: usize, n: usize) -> Vec<(usize, usize, f32)> {
        let last = size - 1;
        let tap = |i: usize| {
            let at = (start + (i as f64 + 0.5) / z - 0.5).clamp(0.0, last as f64);
            let first = (at as usize).min(last);
            (first, (first + 1).min(last), (at - first as f64) as f32)
        };
        (0..n).map(tap).collect()
    }
}

impl Look {
    /// The colours of pair number `index` of the stream `name`; `None` if they stay as they are.
    pub(crate) fn new(augment: &StereoAugment, seed: u64, name: &str, index: u64) -> Option<Self> {
        if augment.strength <= 0.0 {
            return None;
        }
        let mut stream = Stream::new(seed, &format!("colours-{name}"), index);
        let root = augment.strength.sqrt();
        // In this order and always all of them.
        let mut draw = |spread: Spread| spread.draw(&mut stream, root);
        let gammas = draw(augment.gamma);
        let gammas = [gammas, gammas + draw(augment.right_gamma)].map(f64::exp);
        let contrast = draw(augment.contrast);
        let contrasts = [contrast, contrast + draw(augment.right_contrast)];
        let brightness = draw(augment.brightness);
        let brightnesses = [brightness, brightness + draw(augment.right_brightness)];
        let saturation = draw(augment.saturation).exp() as f32;
        let colours = [0; 3].map(|_| draw(augment.colour));
        let colours = [colours, colours.map(|colour| colour + draw(augment.right_colour))];
        let noise = draw(augment.noise).max(0.0);
        let table = |view: usize, c: usize| {
            let factor = (contrasts[view] + colours[view][c]).exp();
            let value = |byte: u32| (f64::from(byte) / 255.0).powf(gammas[view]) * factor + brightnesses[view];
            (0..256).map(|byte| value(byte) as f32).collect()
        };
        let tables = [0, 1].map(|view| [0, 1, 2].map(|c| table(view, c)));
        Some(Self { tables, saturation, noise })
    }
}

/// Where a pair of a batch goes: `views` (height, width, 6), `disparity` and `visible` (height, width).
pub(crate) struct Out<'a> {
    pub views: &'a mut [f32],
    pub disparity: &'a mut [f32],
    pub visible: &'a mut [bool],
}

/// What a network is given of a byte: value / 255 - 0.4.
pub(crate) const SHIFT: f32 = 0.4;

/// Shows a window of a pair, in the colours of a look; noise comes from number `index` of the stream `name`.
pub(crate) fn show(
    pair: &Pair,
    window: Window,
    look: Option<&Look>,
    (seed, name, index): (u64, &str, u64),
    width: usize,
    out: Out,
) {
    let height = out.disparity.len() / width;
    let columns = Window::taps(window.x0, window.zx, pair.width, width);
    let rows = Window::taps(window.y0, window.zy, pair.height, height);
    for (&(top, bottom, down), out) in rows.iter().zip(out.views.chunks_exact_mut(6 * width)) {
        for (&(left, right, across), out) in columns.iter().zip(out.chunks_exact_mut(6)) {
            for (view, (bytes, out)) in [&pair.left, &pair.right].into_iter().zip(out.chunks_exact_mut(3)).enumerate() {
                for (c, out) in out.iter_mut().enumerate() {
                    let value = |y: usize, x: usize| {
                        let byte = bytes[3 * (y * pair.width + x) + c];
                        look.map_or_else(|| f32::from(byte) / 255.0, |look| look.tables[view][c][usize::from(byte)])
                    };
                    let row = |y: usize| {
                        let first = value(y, left);
                        if across == 0.0 { first } else { first + (value(y, right) - first) * across }
                    };
                    let first = row(top);
                    *out = if down == 0.0 { first } else { first + (row(bottom) - first) * down };
                }
                if let Some(look) = look {
                    let gray = (out[0] + out[1] + out[2]) / 3.0;
                    out.iter_mut().for_each(|value| *value = gray + (*value - gray) * look.saturation);
                }
            }
        }
    }
    match look {
        Some(look) if look.noise > 0.0 => {
            let mut stream = Stream::new(seed, &format!("noise-{name}"), index);
            let noisy =
                |value: &mut f32| *value = (*value + (look.noise * stream.normal()) as f32).clamp(0.0, 1.0) - SHIFT;
            out.views.iter_mut().for_each(noisy);
        }
        Some(_) => out.views.iter_mut().for_each(|value| *value = value.clamp(0.0, 1.0) - SHIFT),
        None => out.views.iter_mut().for_each(|value| *value -= SHIFT),
    }
    let nearest = |(first, second, part): (usize, usize, f32)| if part < 0.5 { first } else { second };
    for (i, (disparity, visible)) in out.disparity.iter_mut().zip(out.visible).enumerate() {
        let (y, x) = (i / width, i % width);
        let at = nearest(rows[y]) * pair.width + nearest(columns[x]);
        *disparity = (f64::from(pair.disparity[at]) * window.zx) as f32;
        // A match beyond the window's edge is out of sight now.
        let shown = x as f32 - *disparity >= 0.0;
        *visible = shown && pair.visible.as_ref().is_none_or(|visible| visible[at]);
    }
}
