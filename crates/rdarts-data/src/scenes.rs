//! Synthetic stereo scenes with exact ground truth: nothing to download, as many as anybody wants.
//!
//! A scene is a far wall, often a floor, and objects before them at random depths: flat cards, lattices, rings and bars
//! seen at a slant, spheres, ellipsoids and thin poles. Both views are rendered from the same geometry, each by a ray
//! through each of its pixels against every surface, of which the nearest is seen. With cameras at (0, 0, 0) and (1, 0, 0)
//! that look along z, and a focal length of f pixels, a point at depth z has the disparity
//!
//! ```text
//! d = f / z
//! ```
//!
//! in the left view, exactly and between pixels too. A left pixel is visible if its point projects into the right picture
//! and the ray to it from there meets nothing nearer.
//!
//! **The same on every machine.** A scene is a function of (seed, index) by streams of `rdarts-rng`, and all arithmetic is
//! additions, products, divisions and square roots in double precision, which IEEE 754 defines to the last bit: rotations
//! come from random quaternions instead of angles, textures from a hash of whole numbers.

mod solid;
mod texture;

use rdarts_rng::Stream;

use crate::error::DataError;
use crate::pair::Pair;
use solid::{Hit, Ray, Solid};

/// Scenes of one kind: scene `index` is [`Scenes::pair`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scenes {
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
    /// The largest disparity, in pixels; objects come as near as it allows.
    pub max_disparity: f64,
    /// Chooses the scenes.
    pub seed: u64,
}

/// The smallest side of a scene and the largest.
const SIDES: std::ops::RangeInclusive<usize> = 8..=4096;

/// A background that is nearer than this part of the largest disparity leaves no room before it.
const FAR: (f64, f64) = (0.06, 0.25);

impl Scenes {
    /// Scenes of this size.
    ///
    /// # Errors
    /// One sentence if a side is not within 8..=4096 or the disparity not within 1..=width / 2.
    pub fn new(height: usize, width: usize, max_disparity: f64, seed: u64) -> Result<Self, DataError> {
        let refuse = |what, value, expected| Err(DataError::Scenes { what, value, expected });
        for (what, side) in [("height", height), ("width", width)] {
            if !SIDES.contains(&side) {
                return refuse(what, side.to_string(), "from 8 to 4096 pixels".to_owned());
            }
        }
        if !(1.0..=width as f64 / 2.0).contains(&max_disparity) {
            let expected = format!("from 1 to {} pixels, half the width", width as f64 / 2.0);
            return refuse("largest disparity", max_disparity.to_string(), expected);
        }
        Ok(Self { height, width, max_disparity, seed })
    }

    /// Scene number `index`.
    pub fn pair(&self, index: u64) -> Pair {
        let scene = Scene::new(self, index);
        let (height, width) = (self.height, self.width);
        let mut pair = Pair {
            height,
            width,
            left: Vec::with_capacity(3 * height * width),
            right: Vec::with_capacity(3 * height * width),
            disparity: Vec::with_capacity(height * width),
            visible: None,
        };
        let mut visible = Vec::with_capacity(height * width);
        for y in 0..height {
            let row = scene.row(y);
            for x in 0..width {
                let x = x as f64;
                let (solid, hit) = scene.nearest(&row, 0.0, x, y);
                pair.left.extend(solid.colour(&hit, scene.focal));
                let d = scene.focal / hit.z;
                pair.disparity.push(d as f32);
                visible.push(scene.is_seen(&row, x - d, y, hit.z));
                let (solid, hit) = scene.nearest(&row, 1.0, x, y);
                pair.right.extend(solid.colour(&hit, scene.focal));
            }
        }
        pair.visible = Some(visible);
        pair
    }
}

/// The geometry of one scene.
struct Scene {
    /// Focal length in pixels.
    focal: f64,
    /// The principal point.
    center: (f64, f64),
    width: usize,
    solids: Vec<Solid>,
}

impl Scene {
    fn new(of: &Scenes, index: u64) -> Self {
        let mut stream = Stream::new(of.seed, "stereo-scene", index);
        let focal = of.width as f64;
        let center = ((of.width - 1) as f64 / 2.0, (of.height - 1) as f64 / 2.0);
        let short = of.height.min(of.width) as f64;
        let mut solids = vec![wall(&mut stream, of, focal)];
        if stream.chance(0.5) {
            solids.push(floor(&mut stream, of, focal));
        }
        let n = 5 + stream.below(9);
        for _ in 0..n {
            solids.push(object(&mut stream, of, focal, short));
        }
        Self { focal, center, width: of.width, solids }
    }

    /// The numbers of the solids that a row may show.
    fn row(&self, y: usize) -> Vec<usize> {
        let slope = (y as f64 - self.center.1) / self.focal;
        (0..self.solids.len()).filter(|&i| self.solids[i].may_meet_row(slope)).collect()
    }

    fn ray(&self, eye: f64, x: f64, y: usize) -> Ray {
        Ray { eye, dx: (x - self.center.0) / self.focal, dy: (y as f64 - self.center.1) / self.focal }
    }

    /// What is seen at a pixel from the camera at `eye`.
    fn nearest(&self, row: &[usize], eye: f64, x: f64, y: usize) -> (&Solid, Hit) {
        let ray = self.ray(eye, x, y);
        let mut nearest = (&self.solids[0], self.solids[0].meet(&ray).expect("the wall is behind every pixel"));
        for &i in &row[1..] {
            if self.solids[i].may_meet_column(&ray)
                && let Some(hit) = self.solids[i].meet(&ray)
                && hit.z < nearest.1.z
            {
                nearest = (&self.solids[i], hit);
            }
        }
        nearest
    }

    /// Whether the right view shows a point at depth `z` at (x, y).
    fn is_seen(&self, row: &[usize], x: f64, y: usize, z: f64) -> bool {
        if !(0.0..=(self.width - 1) as f64).contains(&x) {
            return false;
        }
        let ray = self.ray(1.0, x, y);
        // The point itself is met again up to rounding.
        let is_nearer = |hit: Hit| hit.z < z * (1.0 - 1e-9);
        !row.iter().any(|&i| self.solids[i].may_meet_column(&ray) && self.solids[i].meet(&ray).is_some_and(is_nearer))
    }
}

/// Uniform between two bounds.
fn between(stream: &mut Stream, low: f64, high: f64) -> f64 {
    low + (high - low) * stream.uniform()
}

/// The far wall, `d = base (1 + p x + q y)` with x and y in focal lengths: slanted, but behind every pixel of both views.
fn wall(stream: &mut Stream, of: &Scenes, focal: f64) -> Solid {
    let reach_x = 0.5 + of.max_disparity / focal;
    let reach_y = 0.5 * of.height as f64 / focal;
    let p = between(stream, -0.3, 0.3) / reach_x;
    let q = between(stream, -0.3, 0.3) / reach_y.max(0.25);
    let base = of.max_disparity * between(stream, FAR.0, FAR.1);
    Solid::plane([p * base, q * base, base], focal, stream)
}

/// A floor: its disparity is zero at the horizon and grows downward.
fn floor(stream: &mut Stream, of: &Scenes, focal: f64) -> Solid {
    let reach_y = 0.5 * of.height as f64 / focal;
    let at_bottom = of.max_disparity * between(stream, 0.35, 0.8);
    let tilt = between(stream, -0.15, 0.15) * at_bottom;
    let horizon = between(stream, -0.5, 0.2) * at_bottom;
    // d = horizon + tilt x + slope y, at most 0.95 of the largest at the lower corners.
    let slope = (at_bottom - horizon) / reach_y;
    Solid::plane([tilt, slope, horizon], focal, stream)
}

/// An object before the wall.
fn object(stream: &mut Stream, of: &Scenes, focal: f64, short: f64) -> Solid {
    // Uniform in disparity, so that the nearest depths are as frequent as the far ones.
    let disparity = of.max_disparity * between(stream, FAR.1, 1.0);
    let radius = short * between(stream, 0.08, 0.3) / focal;
    // Its nearest point keeps to the largest disparity: z (1 - radius) >= focal / max.
    let z = (focal / disparity).max(focal / (of.max_disparity * (1.0 - radius)) * (1.0 + 1e-6));
    let x = between(stream, -0.52, 0.52) + 0.5 / z;
    let y = between(stream, -0.52, 0.52) * of.height as f64 / focal;
    Solid::object([x * z, y * z, z], radius * z, focal, stream)
}

#[cfg(test)]
mod tests;
