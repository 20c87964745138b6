//! Batch norms: what the tiles have summed becomes coefficients per channel (the algebra of `rdarts-kernels/src/norm.rs`).
//!
//! Coefficients of a norm, each for all channels: mean, 1 / sqrt(variance + eps), and z = a y + b as a, b. Those of the
//! gradient at its input, a g + b y + c, as a, b, c.

use cubecl::prelude::*;

use super::{Shape, UNITS, cube};
use crate::table::{NONE, ROW};

/// Of a tile: the mean of every channel, then the sum of its squared deviations.
#[cube]
pub fn moments(
    out: &Shared<[f32]>,
    partials: &mut [f32],
    at: usize,
    first: usize,
    n_px: usize,
    #[comptime] c: usize,
    #[comptime] tile: usize,
) {
    if first < n_px {
        let n = min(tile, n_px - first);
        let share = 1.0f32 / f32::cast_from(n as u32);
        for ch in range_stepped(UNIT_POS as usize, c, UNITS) {
            let mut sum = 0.0f32;
            for px in 0..n {
                sum += out[px * c + ch];
            }
            let mean = sum * share;
            let mut squares = 0.0f32;
            for px in 0..n {
                let d = out[px * c + ch] - mean;
                squares += d * d;
            }
            partials[at + ch] = mean;
            partials[at + c + ch] = squares;
        }
    }
}

/// The gradient at the input of the norm behind a stage, for a pixel and a channel of its output. Row: as in `half`.
#[cube]
pub fn before_norm(
    arena: &[f32],
    gradients: &[f32],
    coefs: &[f32],
    drop: &[f32],
    table: &[u32],
    row: usize,
    px: usize,
    ch: usize,
    n_images: u32,
    #[comptime] s: Shape,
) -> f32 {
    let y_at = table[row + 9] as usize;
    let of_norm = table[row + 11] as usize;
    let g_at = table[row + 12] as usize;
    let g_pitch = table[row + 13] as usize;
    let path = table[row + 14];
    let mut m = 1.0f32;
    if path != NONE {
        let px_of_image = table[row + 6] as usize * table[row + 7] as usize;
        m = drop[path as usize * n_images as usize + px / px_of_image];
    }
    coefs[of_norm + ch] * m * gradients[g_at + px * g_pitch + ch]
        + coefs[of_norm + s.c_out + ch] * arena[y_at + px * s.c_out + ch]
        + coefs[of_norm + 2 * s.c_out + ch]
}

/// Merges the moments of the tiles: lane by lane, then the lanes in their order.
///
/// Row: 0 partial sums, 1 tiles, 2 coefficients, 3 scale in the weights or none, 4 pixels of a tile.
#[cube(launch)]
pub fn learn(
    partials: &[f32],
    coefs: &mut [f32],
    w: &[f32],
    table: &[u32],
    rows_at: u32,
    n_px: u32,
    eps: f32,
    #[comptime] c: usize,
) {
    let row = rows_at as usize + CUBE_POS_X as usize * ROW;
    let part = table[row] as usize;
    let tiles = table[row + 1] as usize;
    let dst = table[row + 2] as usize;
    let factors = table[row + 3];
    let tile = table[row + 4] as usize;
    let n_px = n_px as usize;
    let width = comptime!(if c < UNITS { c } else { UNITS });
    let lanes = comptime!(if c < UNITS { UNITS / c } else { 1 });
    let unit = UNIT_POS as usize;
    let mut counts = Shared::<[f32]>::new_slice(UNITS);
    let mut means = Shared::<[f32]>::new_slice(UNITS);
    let mut squares = Shared::<[f32]>::new_slice(UNITS);
    let lane = unit / width;
    for base in range_stepped(0, c, width) {
        let ch = base + unit % width;
        sync_cube();
        if lane < lanes && ch < c {
            let mut count = 0.0f32;
            let mut mean = 0.0f32;
            let mut square = 0.0f32;
            for at in range_stepped(lane, tiles, lanes) {
                let n = f32::cast_from(min(tile, n_px - at * tile) as u32);
                let total = count + n;
                let delta = partials[part + at * 2 * c + ch] - mean;
                square += partials[part + at * 2 * c + c + ch] + delta * delta * (count * n / total);
                mean += delta * (n / total);
                count = total;
            }
            counts[unit] = count;
            means[unit] = mean;
            squares[unit] = square;
        }
        sync_cube();
        if lane == 0 && ch < c {
            let mut count = counts[unit];
            let mut mean = means[unit];
            let mut square = squares[unit];
            for other in 1..lanes {
                let at = other * width + unit;
                let n = counts[at];
                if n > 0.0f32 {
                    let total = count + n;
                    let delta = means[at] - mean;
                    square += squares[at] + delta * delta * (count * n / total);
                    mean += delta * (n / total);
                    count = total;
                }
            }
            let inv = 1.0f32 / f32::sqrt(square / count + eps);
            let mut scale = 1.0f32;
            let mut shift = 0.0f32;
            if factors != NONE {
                scale = w[factors as usize + ch];
                shift = w[factors as usize + c + ch];
            }
            coefs[dst + ch] = mean;
            coefs[dst + c + ch] = inv;
            coefs[dst + 2 * c + ch] = scale * inv;
            coefs[dst + 3 * c + ch] = shift - scale * inv * mean;
        }
    }
}

/// Of a tile: the sum of the gradient of every channel, then that of its product with a tensor.
///
/// Row: 0 gradient, 1 distance of its pixels, 2 tensor, 3 distance of its pixels, 4 drop path, 5 partial sums.
#[cube(launch)]
pub fn sums(
    arena: &[f32],
    gradients: &[f32],
    drop: &[f32],
    table: &[u32],
    partials: &mut [f32],
    rows_at: u32,
    n_px: u32,
    px_of_image: u32,
    n_images: u32,
    #[comptime] c: usize,
    #[comptime] tile: usize,
) {
    let row = rows_at as usize + CUBE_POS_Y as usize * ROW;
    let g_at = table[row] as usize;
    let g_pitch = table[row + 1] as usize;
    let y_at = table[row + 2] as usize;
    let y_pitch = table[row + 3] as usize;
    let path = table[row + 4];
    let part = table[row + 5] as usize + cube() * 2 * c;
    let first = cube() * tile;
    let end = min(first + tile, n_px as usize);
    let width = comptime!(if c < UNITS { c } else { UNITS });
    let lanes = comptime!(if c < UNITS { UNITS / c } else { 1 });
    let unit = UNIT_POS as usize;
    let lane = unit / width;
    let mut of_g = Shared::<[f32]>::new_slice(UNITS);
    let mut of_gy = Shared::<[f32]>::new_slice(UNITS);
    for base in range_stepped(0, c, width) {
        let ch = base + unit % width;
        sync_cube();
        if lane < lanes && ch < c {
            let mut sum = 0.0f32;
            let mut product = 0.0f32;
            for px in range_stepped(first + lane, end, lanes) {
                let mut m = 1.0f32;
                if path != NONE {
                    m = drop[path as usize * n_images as usize + px / px_of_image as usize];
                }
                let g = m * gradients[g_at + px * g_pitch + ch];
                sum += g;
                product += g * arena[y_at + px * y_pitch + ch];
            }
            of_g[unit] = sum;
            of_gy[unit] = product;
        }
        sync_cube();
        if lane == 0 && ch < c && first < n_px as usize {
            let mut sum = of_g[unit];
            let mut product = of_gy[unit];
            for other in 1..lanes {
                sum += of_g[other * width + unit];
                product += of_gy[other * width + unit];
            }
            partials[part + ch] = sum;
            partials[part + c + ch] = product;
        }
    }
}

/// What these sums tell: the coefficients of the gradient at a norm's input, the gradients of its scale and shift, and that
/// of the mixing weight behind it.
///
/// Row: 0 partial sums, 1 tiles, 2 the norm's coefficients, or none, 3 where those of the gradient go, or nowhere, 4 mixing
/// weight, or 1, 5 scale in the weights, or 1, 6 whether the norm changes nothing.
#[cube(launch)]
pub fn learn_gradient(
    partials: &[f32],
    coefs: &mut [f32],
    p: &[f32],
    w: &[f32],
    table: &[u32],
    p_bar: &mut [f32],
    w_bar: &mut [f32],
    rows_at: u32,
    n_px: u32,
    #[comptime] c: usize,
) {
    let row = rows_at as usize + CUBE_POS_X as usize * ROW;
    let part = table[row] as usize;
    let tiles = table[row + 1] as usize;
    let norm = table[row + 2];
    let dst = table[row + 3];
    let alpha = table[row + 4];
    let factors = table[row + 5];
    let is_identity = table[row + 6];
    let share = 1.0f32 / f32::cast_from(n_px);
    let width = comptime!(if c < UNITS { c } else { UNITS });
    let lanes = comptime!(if c < UNITS { UNITS / c } else { 1 });
    let unit = UNIT_POS as usize;
    let lane = unit / width;
    let mut of_g = Shared::<[f32]>::new_slice(UNITS);
    let mut of_gy = Shared::<[f32]>::new_slice(UNITS);
    let mut of_p = Shared::<[f32]>::new_slice(c);
    for base in range_stepped(0, c, width) {
        let ch = base + unit % width;
        sync_cube();
        if lane < lanes && ch < c {
            let mut sum = 0.0f32;
            let mut product = 0.0f32;
            for at in range_stepped(lane, tiles, lanes) {
                sum += partials[part + at * 2 * c + ch];
                product += partials[part + at * 2 * c + c + ch];
            }
            of_g[unit] = sum;
            of_gy[unit] = product;
        }
        sync_cube();
        if lane == 0 && ch < c {
            let mut g = of_g[unit];
            let mut gy = of_gy[unit];
            for other in 1..lanes {
                g += of_g[other * width + unit];
                gy += of_gy[other * width + unit];
            }
            let mut weight = 1.0f32;
            if alpha != NONE {
                weight = p[alpha as usize];
            }
            let mut mean = 0.0f32;
            let mut inv = 1.0f32;
            if norm != NONE {
                mean = coefs[norm as usize + ch];
                inv = coefs[norm as usize + c + ch];
            }
            let g_yhat = inv * (gy - mean * g);
            of_p[ch] = g_yhat;
            if factors != NONE {
                w_bar[factors as usize + ch] = weight * g_yhat;
                w_bar[factors as usize + c + ch] = weight * g;
                weight *= w[factors as usize + ch];
            }
            if dst != NONE {
                let at = dst as usize;
                if is_identity == 1 {
                    coefs[at + ch] = weight;
                    coefs[at + c + ch] = 0.0f32;
                    coefs[at + 2 * c + ch] = 0.0f32;
                } else {
                    let mean_a = weight * g * share;
                    let mean_a_yhat = weight * g_yhat * share;
                    coefs[at + ch] = inv * weight;
                    coefs[at + c + ch] = -inv * inv * mean_a_yhat;
                    coefs[at + 2 * c + ch] = inv * (inv * mean * mean_a_yhat - mean_a);
                }
            }
        }
    }
    sync_cube();
    if unit == 0 && alpha != NONE {
        let mut sum = 0.0f32;
        for ch in 0..c {
            sum += of_p[ch];
        }
        p_bar[alpha as usize] = sum;
    }
}
