//! The head: the mean of every channel over the pixels, then a linear map to the classes. The weights are the matrix,
//! (channel, class), and the shifts.

use cubecl::prelude::*;

use super::UNITS;

/// Means and outputs of an image, each cube of its own.
#[cube(launch)]
pub fn forward(
    s: &[f32],
    w: &[f32],
    means: &mut [f32],
    out: &mut [f32],
    n_px: u32,
    #[comptime] c: usize,
    #[comptime] classes: usize,
) {
    let image = CUBE_POS_X as usize;
    let unit = UNIT_POS as usize;
    let n_px = n_px as usize;
    let mut mean = Shared::<[f32]>::new_slice(c);
    let share = 1.0f32 / f32::cast_from(n_px as u32);
    for ch in range_stepped(unit, c, UNITS) {
        let mut sum = 0.0f32;
        for px in 0..n_px {
            sum += s[(image * n_px + px) * c + ch];
        }
        mean[ch] = sum * share;
        means[image * c + ch] = sum * share;
    }
    sync_cube();
    for class in range_stepped(unit, classes, UNITS) {
        let mut sum = w[c * classes + class];
        for ch in 0..c {
            sum += mean[ch] * w[ch * classes + class];
        }
        out[image * classes + class] = sum;
    }
}

/// The gradient of the state.
#[cube(launch)]
pub fn back_state(
    g: &[f32],
    w: &[f32],
    to: &mut [f32],
    n: u32,
    n_px: u32,
    #[comptime] c: usize,
    #[comptime] classes: usize,
) {
    let n_px = n_px as usize;
    let share = 1.0f32 / f32::cast_from(n_px as u32);
    let len = n as usize * c;
    // Each value is the same for all pixels of an image.
    for i in range_stepped(CUBE_POS_X as usize * UNITS + UNIT_POS as usize, len, CUBE_COUNT_X as usize * UNITS) {
        let image = i / c;
        let ch = i % c;
        let mut sum = 0.0f32;
        for class in 0..classes {
            sum += g[image * classes + class] * w[ch * classes + class];
        }
        for px in 0..n_px {
            to[(image * n_px + px) * c + ch] = sum * share;
        }
    }
}

/// The gradients of matrix and shifts.
#[cube(launch)]
pub fn back_weights(
    g: &[f32],
    means: &[f32],
    to: &mut [f32],
    n: u32,
    #[comptime] c: usize,
    #[comptime] classes: usize,
) {
    let i = CUBE_POS_X as usize * UNITS + UNIT_POS as usize;
    let ch = i / classes;
    let class = i % classes;
    if i < comptime!((c + 1) * classes) {
        let mut sum = 0.0f32;
        for image in 0..n as usize {
            let mut mean = 1.0f32;
            if ch < c {
                mean = means[image * c + ch];
            }
            sum += mean * g[image * classes + class];
        }
        to[i] = sum;
    }
}
