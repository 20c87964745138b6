//! Nodes: the weighted sum of what leads there, and the beginning of a state's gradient.

use cubecl::prelude::*;

use super::{UNITS, cube};
use crate::table::{NONE, ROW};

/// Row: 0 number of terms, 1 node, 2 distance of its pixels; list of each term: tensor, distance of its pixels, the norm's
/// coefficients or none, mixing weight, drop path.
#[cube(launch)]
pub fn sum(
    arena: &mut [f32],
    coefs: &[f32],
    p: &[f32],
    drop: &[f32],
    table: &[u32],
    rows_at: u32,
    n_px: u32,
    px_of_image: u32,
    n_images: u32,
    #[comptime] c: usize,
) {
    let row = rows_at as usize + CUBE_POS_Y as usize * ROW;
    let n_terms = table[row] as usize;
    let dst = table[row + 1] as usize;
    let dst_pitch = table[row + 2] as usize;
    let list = table[row + ROW - 1] as usize;
    let i = cube() * UNITS + UNIT_POS as usize;
    let px = i / c;
    let ch = i % c;
    if px < n_px as usize {
        let mut sum = 0.0f32;
        for term in 0..n_terms {
            let at = list + 5 * term;
            let from = table[at] as usize;
            let pitch = table[at + 1] as usize;
            let coef = table[at + 2];
            let path = table[at + 4];
            let mut v = arena[from + px * pitch + ch];
            if coef != NONE {
                v = coefs[coef as usize + 2 * c + ch] * v + coefs[coef as usize + 3 * c + ch];
            }
            let mut weight = p[table[at + 3] as usize];
            if path != NONE {
                weight *= drop[path as usize * n_images as usize + px / px_of_image as usize];
            }
            sum += weight * v;
        }
        arena[dst + px * dst_pitch + ch] = sum;
    }
}

/// What reaches the gradient of a state without a stage: its part of the output's gradient, and skip connections.
///
/// Row: 0 number of terms, 1 the state's gradient, 2 its part of the output's gradient or none, 3 distance of its pixels;
/// list of each term: gradient of a node, mixing weight, drop path.
#[cube(launch)]
pub fn begin(
    output: &[f32],
    gradients: &mut [f32],
    p: &[f32],
    drop: &[f32],
    table: &[u32],
    rows_at: u32,
    n_px: u32,
    px_of_image: u32,
    n_images: u32,
    #[comptime] c: usize,
) {
    let row = rows_at as usize + CUBE_POS_Y as usize * ROW;
    let n_terms = table[row] as usize;
    let dst = table[row + 1] as usize;
    let from = table[row + 2];
    let pitch = table[row + 3] as usize;
    let list = table[row + ROW - 1] as usize;
    let i = cube() * UNITS + UNIT_POS as usize;
    let px = i / c;
    let ch = i % c;
    if px < n_px as usize {
        let mut sum = 0.0f32;
        if from != NONE {
            sum = output[from as usize + px * pitch + ch];
        }
        for term in 0..n_terms {
            let at = list + 3 * term;
            let path = table[at + 2];
            let mut weight = p[table[at + 1] as usize];
            if path != NONE {
                weight *= drop[path as usize * n_images as usize + px / px_of_image as usize];
            }
            sum += weight * gradients[table[at] as usize + i];
        }
        gradients[dst + i] = sum;
    }
}
