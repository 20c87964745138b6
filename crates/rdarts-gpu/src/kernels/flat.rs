//! What works on flat buffers of weights: their optimiser, and what follows them.
//!
//! SGD and Adam are those of `rdarts-train/src/optim.rs`, in single precision, with a gradient g that has been scaled by
//! max_norm / (norm + 1e-6) if that is below 1. The norm is summed in parts, each by a tree, and every cube of the step adds the
//! parts in the same order.

use cubecl::prelude::*;

use super::{UNITS, cube};
use crate::table::ROW;

/// The most parts of a norm: units that a cube has, so that each adds one.
pub const NORM_PARTS: usize = 256;

/// Every value the same.
#[cube(launch)]
pub fn fill(out: &mut [f32], value: f32, n: u32) {
    let step = CUBE_COUNT_X as usize * UNITS;
    for i in range_stepped(CUBE_POS_X as usize * UNITS + UNIT_POS as usize, n as usize, step) {
        out[i] = value;
    }
}

/// Stretches of one buffer to another. Row: 0 from, 1 to, 2 how many.
#[cube(launch)]
pub fn copy(from: &[f32], to: &mut [f32], table: &[u32], rows_at: u32) {
    let row = rows_at as usize + CUBE_POS_Y as usize * ROW;
    let i = cube() * UNITS + UNIT_POS as usize;
    if i < table[row + 2] as usize {
        to[table[row + 1] as usize + i] = from[table[row] as usize + i];
    }
}

/// Adds what the units of a cube have; the first one gets the sum.
#[cube]
fn tree(sums: &mut Shared<[f32]>) {
    let unit = UNIT_POS as usize;
    sync_cube();
    for level in 1..9u32 {
        // Half of the units, a quarter, ...
        let width = 256u32 >> level;
        if UNIT_POS < width {
            sums[unit] = sums[unit] + sums[unit + width as usize];
        }
        sync_cube();
    }
}

/// Each cube's part of the sum of squares.
#[cube(launch)]
pub fn squares(g: &[f32], parts: &mut [f32], n: u32) {
    let mut sums = Shared::<[f32]>::new_slice(UNITS);
    let unit = UNIT_POS as usize;
    let mut sum = 0.0f32;
    for i in range_stepped(CUBE_POS_X as usize * UNITS + unit, n as usize, CUBE_COUNT_X as usize * UNITS) {
        sum += g[i] * g[i];
    }
    sums[unit] = sum;
    tree(&mut sums);
    if unit == 0 {
        parts[CUBE_POS_X as usize] = sums[0];
    }
}

/// The norm of which `squares` has left parts, for all units of a cube.
#[cube]
fn norm_of(parts: &[f32], n_parts: u32) -> f32 {
    let mut sums = Shared::<[f32]>::new_slice(UNITS);
    let unit = UNIT_POS as usize;
    let mut part = 0.0f32;
    if UNIT_POS < n_parts {
        part = parts[unit];
    }
    sums[unit] = part;
    tree(&mut sums);
    f32::sqrt(sums[0])
}

/// The norm alone.
#[cube(launch)]
pub fn norm(parts: &[f32], out: &mut [f32], n_parts: u32) {
    let norm = norm_of(parts, n_parts);
    if UNIT_POS == 0 {
        out[0] = norm;
    }
}

/// What the gradient is scaled by so that its norm is at most `max_norm`; leaves the norm as it was.
#[cube]
fn clipping(parts: &[f32], out: &mut [f32], n_parts: u32, max_norm: f32) -> f32 {
    let norm = norm_of(parts, n_parts);
    if CUBE_POS_X == 0 && UNIT_POS == 0 {
        out[0] = norm;
    }
    let mut factor = max_norm / (norm + 1e-6f32);
    if factor > 1.0f32 {
        factor = 1.0f32;
    }
    factor
}

/// A clipped step of SGD: b <- mu b + g + l2 w, w <- w - lr b.
#[cube(launch)]
pub fn sgd(
    w: &mut [f32],
    b: &mut [f32],
    g: &[f32],
    parts: &[f32],
    out: &mut [f32],
    n: u32,
    n_parts: u32,
    lr: f32,
    mu: f32,
    l2: f32,
    max_norm: f32,
) {
    let factor = clipping(parts, out, n_parts, max_norm);
    let step = CUBE_COUNT_X as usize * UNITS;
    for i in range_stepped(CUBE_POS_X as usize * UNITS + UNIT_POS as usize, n as usize, step) {
        let x = w[i];
        let moved = mu * b[i] + (factor * g[i] + l2 * x);
        b[i] = moved;
        w[i] = x - lr * moved;
    }
}

/// A clipped step of Adam, where rate and root hold what the number of the step makes of the learning rate and the second moment:
/// g <- g + l2 w, m <- b1 m + c1 g, v <- b2 v + c2 g^2, w <- w - rate m / (sqrt(v) / root + eps).
#[cube(launch)]
pub fn adam(
    w: &mut [f32],
    m: &mut [f32],
    v: &mut [f32],
    g: &[f32],
    parts: &[f32],
    out: &mut [f32],
    n: u32,
    n_parts: u32,
    rate: f32,
    root: f32,
    b1: f32,
    c1: f32,
    b2: f32,
    c2: f32,
    eps: f32,
    l2: f32,
    max_norm: f32,
) {
    let factor = clipping(parts, out, n_parts, max_norm);
    let step = CUBE_COUNT_X as usize * UNITS;
    for i in range_stepped(CUBE_POS_X as usize * UNITS + UNIT_POS as usize, n as usize, step) {
        let x = w[i];
        let along = factor * g[i] + l2 * x;
        let mean = b1 * m[i] + c1 * along;
        let square = b2 * v[i] + c2 * along * along;
        m[i] = mean;
        v[i] = square;
        w[i] = x - rate * (mean / (f32::sqrt(square) / root + eps));
    }
}

/// w - xi (mu b + g + l2 w), beside w.
#[cube(launch)]
pub fn moved(w: &[f32], b: &[f32], g: &[f32], out: &mut [f32], n: u32, xi: f32, mu: f32, l2: f32) {
    let step = CUBE_COUNT_X as usize * UNITS;
    for i in range_stepped(CUBE_POS_X as usize * UNITS + UNIT_POS as usize, n as usize, step) {
        out[i] = w[i] - xi * (mu * b[i] + (g[i] + l2 * w[i]));
    }
}

/// An exponential average: a <- kept a + (1 - kept) v.
#[cube(launch)]
pub fn average(a: &mut [f32], v: &[f32], n: u32, kept: f32) {
    let step = CUBE_COUNT_X as usize * UNITS;
    for i in range_stepped(CUBE_POS_X as usize * UNITS + UNIT_POS as usize, n as usize, step) {
        a[i] = kept * a[i] + (1.0f32 - kept) * v[i];
    }
}

/// Running statistics follow those of a batch, which the coefficients of norms hold: the mean, and the unbiased variance.
///
/// Row: 0 coefficients, 1 where the running mean is, 2 channels, 3 pixels.
#[cube(launch)]
pub fn follow(running: &mut [f32], coefs: &[f32], table: &[u32], rows_at: u32, kept: f32, eps: f32) {
    let row = rows_at as usize + CUBE_POS_Y as usize * ROW;
    let from = table[row] as usize;
    let to = table[row + 1] as usize;
    let c = table[row + 2] as usize;
    let count = f32::cast_from(table[row + 3]);
    let ch = cube() * UNITS + UNIT_POS as usize;
    if ch < c {
        let inv = coefs[from + c + ch];
        let variance = max(1.0f32 / (inv * inv) - eps, 0.0f32) * (count / max(count - 1.0f32, 1.0f32));
        running[to + ch] = kept * running[to + ch] + (1.0f32 - kept) * coefs[from + ch];
        running[to + c + ch] = kept * running[to + c + ch] + (1.0f32 - kept) * variance;
    }
}

/// The coefficients of norms with given statistics.
///
/// Row: 0 coefficients, 1 where the mean is, 2 channels, 3 scale in the weights.
#[cube(launch)]
pub fn given(coefs: &mut [f32], running: &[f32], w: &[f32], table: &[u32], rows_at: u32, eps: f32) {
    let row = rows_at as usize + CUBE_POS_Y as usize * ROW;
    let to = table[row] as usize;
    let from = table[row + 1] as usize;
    let c = table[row + 2] as usize;
    let factors = table[row + 3] as usize;
    let ch = cube() * UNITS + UNIT_POS as usize;
    if ch < c {
        let mean = running[from + ch];
        let inv = 1.0f32 / f32::sqrt(running[from + c + ch] + eps);
        let a = w[factors + ch] * inv;
        coefs[to + ch] = mean;
        coefs[to + c + ch] = inv;
        coefs[to + 2 * c + ch] = a;
        coefs[to + 3 * c + ch] = w[factors + c + ch] - a * mean;
    }
}
