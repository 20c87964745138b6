//! What surfaces look like: noise at several scales, so that every place can be found again in the other view.
//!
//! Value noise: whole places of a lattice have colours from a hash, places between them smooth mixtures. An octave whose
//! lattice is finer than three pixels of the picture fades away, since it could be matched with nothing; how large a pixel
//! is depends on the depth only, which is the same from both cameras.

use rdarts_rng::Stream;

/// A texture in the coordinates of its surface.
#[derive(Clone, Debug)]
pub struct Texture {
    key: u64,
    /// Width of the coarsest lattice, in the unit of the coordinates.
    spacing: f64,
    /// Octaves, each half as wide as the one before.
    n_octaves: usize,
    /// Colour in the middle, 0..=255.
    base: [f64; 3],
    /// How far each channel goes from it.
    contrast: [f64; 3],
}

/// Octaves below this many pixels are gone, and whole from half as much again.
const FINEST: f64 = 2.0;

impl Texture {
    /// A texture whose finest octave is about three pixels wide where a pixel has the size `pixel`.
    pub fn new(stream: &mut Stream, pixel: f64) -> Self {
        let finest = 3.0 + 2.0 * stream.uniform();
        let n_octaves = 3 + stream.below(2);
        let base = [0; 3].map(|_| 60.0 + 135.0 * stream.uniform());
        let strength = 25.0 + 65.0 * stream.uniform();
        let contrast = [0; 3].map(|_| strength * (0.6 + 0.8 * stream.uniform()));
        let spacing = finest * pixel * (1u32 << (n_octaves - 1)) as f64;
        Self { key: stream.next_u64(), spacing, n_octaves, base, contrast }
    }

    /// The colour at a place of a flat surface; a pixel there has the size `pixel`.
    pub fn flat(&self, at: [f64; 2], pixel: f64, light: f64) -> [u8; 3] {
        self.colour(pixel, light, |key, scale| {
            let ([x, y], [u, v]) = split(at.map(|value| value * scale));
            let corner = |dx: i64, dy: i64| three(hash(key, [x + dx, y + dy, 0]));
            mix(mix(corner(0, 0), corner(1, 0), u), mix(corner(0, 1), corner(1, 1), u), v)
        })
    }

    /// The same in space, for curved surfaces.
    pub fn curved(&self, at: [f64; 3], pixel: f64, light: f64) -> [u8; 3] {
        self.colour(pixel, light, |key, scale| {
            let ([x, y, z], [u, v, w]) = split(at.map(|value| value * scale));
            let corner = |dx: i64, dy: i64, dz: i64| three(hash(key, [x + dx, y + dy, z + dz]));
            let side = |dz: i64| {
                mix(mix(corner(0, 0, dz), corner(1, 0, dz), u), mix(corner(0, 1, dz), corner(1, 1, dz), u), v)
            };
            mix(side(0), side(1), w)
        })
    }

    fn colour(&self, pixel: f64, light: f64, noise: impl Fn(u64, f64) -> [f64; 3]) -> [u8; 3] {
        let mut sum = [0.0; 3];
        let (mut spacing, mut key) = (self.spacing, self.key);
        for _ in 0..self.n_octaves {
            let weight = ((spacing / pixel - FINEST) / (FINEST / 2.0)).clamp(0.0, 1.0);
            if weight == 0.0 {
                break;
            }
            let value = noise(key, 1.0 / spacing);
            sum.iter_mut().zip(value).for_each(|(sum, value)| *sum += weight * value);
            (spacing, key) = (spacing / 2.0, key.wrapping_add(0x9e37_79b9_7f4a_7c15));
        }
        // Octaves of [-1, 1] that are independent: their sum seldom goes beyond 2.
        [0, 1, 2].map(|c| ((self.base[c] + self.contrast[c] * sum[c]) * light + 0.5).clamp(0.0, 255.0) as u8)
    }
}

/// Whole parts, and the smooth weights of the next whole place.
fn split<const N: usize>(at: [f64; N]) -> ([i64; N], [f64; N]) {
    let floor = at.map(f64::floor);
    let mut weights = [0.0; N];
    for i in 0..N {
        let part = at[i] - floor[i];
        weights[i] = part * part * (3.0 - 2.0 * part);
    }
    (floor.map(|value| value as i64), weights)
}

fn mix(a: [f64; 3], b: [f64; 3], part: f64) -> [f64; 3] {
    [0, 1, 2].map(|c| a[c] + (b[c] - a[c]) * part)
}

/// Three values in [-1, 1] of one hash; the second and third go half with the first, as colours do.
fn three(hash: u64) -> [f64; 3] {
    let part = |shift: u32| ((hash >> shift) & 0xffff) as f64 / 32_767.5 - 1.0;
    let [a, b, c] = [part(48), part(32), part(16)];
    [a, 0.5 * (a + b), 0.5 * (a + c)]
}

/// Spreads a place of the lattice over 64 bits; the upper ones are the better ones.
fn hash(key: u64, at: [i64; 3]) -> u64 {
    const FACTORS: [u64; 3] = [0x9e37_79b9_7f4a_7c15, 0xc2b2_ae3d_27d4_eb4f, 0x1656_67b1_9e37_79f9];
    let sum =
        at.into_iter().zip(FACTORS).fold(key, |sum, (at, factor)| sum.wrapping_add((at as u64).wrapping_mul(factor)));
    let mixed = (sum ^ (sum >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed ^ (mixed >> 32)
}
