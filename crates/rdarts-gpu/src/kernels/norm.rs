//! Batch norms: what cubes have summed becomes coefficients per channel (the algebra of `rdarts-kernels/src/norm.rs`).
//!
//! Coefficients of a norm, each for all channels: mean, 1 / sqrt(variance + eps), and z = a y + b as a, b. Those of the
//! gradient at its input, a g + b y + c, as a, b, c. Every kernel that needs some makes them from the sums itself, so that
//! nothing need be launched in between.

use cubecl::prelude::*;

use super::{PART, PART_BACK, Shape, UNITS};
use crate::table::{NONE, ROW};

/// One value more that a unit has seen of its channel: see [`part_of`].
#[cube]
pub fn see(value: f32, count: &mut f32, pivot: &mut f32, sum: &mut f32, square: &mut f32) {
    if *count == 0.0f32 {
        *pivot = value;
    }
    let d = value - *pivot;
    *count += 1.0f32;
    *sum += d;
    *square += d * d;
}

/// Merges what the lanes of a cube have seen of their channels into a part: count, mean, sum of squared deviations. A unit
/// has seen `count` values; `sum` and `square` are of their distances to `pivot`, one of them. All units take part; `at` is
/// where the part of this cube begins.
#[cube]
pub fn part_of(count: f32, pivot: f32, sum: f32, square: f32, partials: &mut [f32], at: usize, #[comptime] c: usize) {
    let lanes = comptime!(UNITS / c);
    let unit = UNIT_POS as usize;
    let mut counts = Shared::<[f32]>::new_slice(UNITS);
    let mut means = Shared::<[f32]>::new_slice(UNITS);
    let mut squares = Shared::<[f32]>::new_slice(UNITS);
    let share = sum / max(count, 1.0f32);
    counts[unit] = count;
    means[unit] = pivot + share;
    squares[unit] = square - sum * share;
    sync_cube();
    if unit < c {
        let middle = means[unit];
        let mut n_all = 0.0f32;
        let mut off = 0.0f32;
        let mut squared = 0.0f32;
        for other in 0..lanes {
            let from = other * c + unit;
            let n = counts[from];
            if n > 0.0f32 {
                let d = means[from] - middle;
                n_all += n;
                off += n * d;
                squared += squares[from] + n * d * d;
            }
        }
        let share = off / max(n_all, 1.0f32);
        partials[at + unit] = n_all;
        partials[at + c + unit] = middle + share;
        partials[at + 2 * c + unit] = max(squared - off * share, 0.0f32);
    }
}

/// Merges the parts of a norm and keeps its a and b; with `is_first` also in memory, for the way back. Without parts they
/// are there, or it is no norm. All units take part.
#[cube]
pub fn coefficients(
    partials: &[f32],
    coefs: &mut [f32],
    w: &[f32],
    scale: &mut Shared<[f32]>,
    shift: &mut Shared<[f32]>,
    at: usize,
    coef: u32,
    part: u32,
    n_parts: u32,
    factors: u32,
    is_first: u32,
    eps: f32,
    #[comptime] c: usize,
) {
    let width = comptime!(if c < UNITS { c } else { UNITS });
    let lanes = comptime!(if c < UNITS { UNITS / c } else { 1 });
    let unit = UNIT_POS as usize;
    let lane = unit / width;
    let mut counts = Shared::<[f32]>::new_slice(UNITS);
    let mut sums = Shared::<[f32]>::new_slice(UNITS);
    let mut squares = Shared::<[f32]>::new_slice(UNITS);
    for base in range_stepped(0, c, width) {
        let ch = base + unit % width;
        sync_cube();
        let mut count = 0.0f32;
        let mut sum = 0.0f32;
        let mut square = 0.0f32;
        if part != NONE && lane < lanes && ch < c {
            let pivot = partials[part as usize + c + ch];
            for k in range_stepped(lane, n_parts as usize, lanes) {
                let from = part as usize + k * PART * c + ch;
                let n = partials[from];
                let d = partials[from + c] - pivot;
                count += n;
                sum += n * d;
                square += partials[from + 2 * c] + n * d * d;
            }
        }
        counts[unit] = count;
        sums[unit] = sum;
        squares[unit] = square;
        sync_cube();
        if lane == 0 && ch < c {
            let mut a = 1.0f32;
            let mut b = 0.0f32;
            if part != NONE {
                for other in 1..lanes {
                    count += counts[other * width + unit];
                    sum += sums[other * width + unit];
                    square += squares[other * width + unit];
                }
                let off = sum / count;
                let mean = partials[part as usize + c + ch] + off;
                let inv = 1.0f32 / f32::sqrt(max(square - sum * off, 0.0f32) / count + eps);
                let mut factor = 1.0f32;
                let mut shifted = 0.0f32;
                if factors != NONE {
                    factor = w[factors as usize + ch];
                    shifted = w[factors as usize + c + ch];
                }
                a = factor * inv;
                b = shifted - factor * inv * mean;
                if is_first == 1 {
                    coefs[coef as usize + ch] = mean;
                    coefs[coef as usize + c + ch] = inv;
                    coefs[coef as usize + 2 * c + ch] = a;
                    coefs[coef as usize + 3 * c + ch] = b;
                }
            } else if coef != NONE {
                a = coefs[coef as usize + 2 * c + ch];
                b = coefs[coef as usize + 3 * c + ch];
            }
            scale[at + ch] = a;
            shift[at + ch] = b;
        }
    }
    sync_cube();
}

/// The same as a launch of its own, for norms that many kernels need, and for nodes where many end.
///
/// Row: 0 partial sums, 1 how many, 2 coefficients, 3 scale in the weights or none.
#[cube(launch)]
pub fn learn(
    partials: &[f32],
    coefs: &mut [f32],
    w: &[f32],
    table: &[u32],
    rows_at: u32,
    eps: f32,
    #[comptime] c: usize,
) {
    let row = rows_at as usize + CUBE_POS_X as usize * ROW;
    let mut scale = Shared::<[f32]>::new_slice(c);
    let mut shift = Shared::<[f32]>::new_slice(c);
    let part = table[row];
    let coef = table[row + 2];
    let factors = table[row + 3];
    coefficients(partials, coefs, w, &mut scale, &mut shift, 0, coef, part, table[row + 1], factors, 1u32, eps, c);
}

/// The sums of a gradient and of its product with a tensor, merged from their parts, of the channels from `base` on. All
/// units take part; the first lane has them.
#[cube]
fn merge(
    partials: &[f32],
    of_g: &mut Shared<[f32]>,
    of_gy: &mut Shared<[f32]>,
    part: usize,
    n_parts: usize,
    base: usize,
    #[comptime] c: usize,
) {
    let width = comptime!(if c < UNITS { c } else { UNITS });
    let lanes = comptime!(if c < UNITS { UNITS / c } else { 1 });
    let unit = UNIT_POS as usize;
    let lane = unit / width;
    let ch = base + unit % width;
    sync_cube();
    let mut sum = 0.0f32;
    let mut product = 0.0f32;
    if lane < lanes && ch < c {
        for k in range_stepped(lane, n_parts, lanes) {
            sum += partials[part + k * PART_BACK * c + ch];
            product += partials[part + k * PART_BACK * c + c + ch];
        }
    }
    of_g[unit] = sum;
    of_gy[unit] = product;
    sync_cube();
    if lane == 0 && ch < c {
        for other in 1..lanes {
            sum += of_g[other * width + unit];
            product += of_gy[other * width + unit];
        }
        of_g[unit] = sum;
        of_gy[unit] = product;
    }
}

/// The coefficients of the gradient at a norm's input, from the sums: kept for a cube. All units take part.
#[cube]
pub fn gradient_coefficients(
    partials: &[f32],
    coefs: &[f32],
    p: &[f32],
    w: &[f32],
    table: &[u32],
    a: &mut Shared<[f32]>,
    b: &mut Shared<[f32]>,
    c_of: &mut Shared<[f32]>,
    list: usize,
    n_px: u32,
    #[comptime] c: usize,
) {
    let part = table[list] as usize;
    let n_parts = table[list + 1] as usize;
    let norm = table[list + 2];
    let alpha = table[list + 3];
    let factors = table[list + 4];
    let is_identity = table[list + 5];
    let mut of_g = Shared::<[f32]>::new_slice(UNITS);
    let mut of_gy = Shared::<[f32]>::new_slice(UNITS);
    let width = comptime!(if c < UNITS { c } else { UNITS });
    let unit = UNIT_POS as usize;
    let share = 1.0f32 / f32::cast_from(n_px);
    for base in range_stepped(0, c, width) {
        let ch = base + unit % width;
        merge(partials, &mut of_g, &mut of_gy, part, n_parts, base, c);
        if unit < width && ch < c {
            let g = of_g[unit];
            let gy = of_gy[unit];
            let mut weight = 1.0f32;
            if alpha != NONE {
                weight = p[alpha as usize];
            }
            if factors != NONE {
                weight *= w[factors as usize + ch];
            }
            a[ch] = weight;
            b[ch] = 0.0f32;
            c_of[ch] = 0.0f32;
            if is_identity == 0 {
                let mean = coefs[norm as usize + ch];
                let inv = coefs[norm as usize + c + ch];
                let mean_a = weight * g * share;
                let mean_a_yhat = weight * inv * (gy - mean * g) * share;
                a[ch] = inv * weight;
                b[ch] = -inv * inv * mean_a_yhat;
                c_of[ch] = inv * (inv * mean * mean_a_yhat - mean_a);
            }
        }
    }
    sync_cube();
}

/// The gradient at the input of the norm behind a stage, for a pixel and a channel of its output, with the coefficients
/// that a cube keeps.
#[cube]
pub fn before_norm(
    arena: &[f32],
    gradients: &[f32],
    drop: &[f32],
    a: &Shared<[f32]>,
    b: &Shared<[f32]>,
    c_of: &Shared<[f32]>,
    y_at: u32,
    g_at: u32,
    path: u32,
    px: usize,
    ch: usize,
    n_images: u32,
    #[comptime] s: Shape,
) -> f32 {
    let mut m = 1.0f32;
    if path != NONE {
        m = drop[path as usize * n_images as usize + px / comptime!(s.ho * s.wo)];
    }
    let i = px * s.c_out + ch;
    a[ch] * m * gradients[g_at as usize + i] + b[ch] * arena[y_at as usize + i] + c_of[ch]
}

/// What the sums tell of the norm's scale and shift, and of the mixing weight behind it; and for pools, which take the
/// gradients of several norms at once, the coefficients of the gradient.
///
/// Row: 0 partial sums, 1 how many, 2 the norm's coefficients, or none, 3 where those of the gradient go, or nowhere,
/// 4 mixing weight, or 1, 5 scale in the weights, or 1, 6 whether the norm changes nothing.
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
    let n_parts = table[row + 1] as usize;
    let norm = table[row + 2];
    let mut of_g = Shared::<[f32]>::new_slice(UNITS);
    let mut of_gy = Shared::<[f32]>::new_slice(UNITS);
    let dst = table[row + 3];
    let alpha = table[row + 4];
    let factors = table[row + 5];
    let is_identity = table[row + 6];
    let share = 1.0f32 / f32::cast_from(n_px);
    let width = comptime!(if c < UNITS { c } else { UNITS });
    let unit = UNIT_POS as usize;
    let mut of_p = Shared::<[f32]>::new_slice(c);
    for base in range_stepped(0, c, width) {
        let ch = base + unit % width;
        merge(partials, &mut of_g, &mut of_gy, part, n_parts, base, c);
        if unit < width && ch < c {
            let g = of_g[unit];
            let gy = of_gy[unit];
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
                coefs[at + ch] = weight;
                coefs[at + c + ch] = 0.0f32;
                coefs[at + 2 * c + ch] = 0.0f32;
                if is_identity == 0 {
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
