//! `max_pool_3x3` and `avg_pool_3x3`: padding 1, never chosen and not counted. Rows as in `half`.

use cubecl::prelude::*;

use super::{PART, Shape, UNITS, cube};
use crate::kernels::norm::{part_of, see};
use crate::table::{NONE, ROW};

/// The output before the batch norm, and each cube's part of the moments. What it pools has coefficients in memory, or none.
#[cube(launch)]
pub fn forward(
    arena: &mut [f32],
    coefs: &[f32],
    table: &[u32],
    partials: &mut [f32],
    rows_at: u32,
    n_px: u32,
    #[comptime] is_max: bool,
    #[comptime] s: Shape,
) {
    let row = rows_at as usize + CUBE_POS_Y as usize * ROW;
    let from = table[row] as usize;
    let pitch = table[row + 1] as usize;
    let coef = table[row + 2];
    let dst = table[row + 7] as usize;
    let part = table[row + 8] as usize;
    let n_px = n_px as usize;
    let unit = UNIT_POS as usize;
    let lanes = comptime!(UNITS / s.c_out);
    let lane = unit / s.c_out;
    let ch = unit % s.c_out;
    let mut count = 0.0f32;
    let mut pivot = 0.0f32;
    let mut sum = 0.0f32;
    let mut square = 0.0f32;
    if lane < lanes {
        let mut scale = 1.0f32;
        let mut shift = 0.0f32;
        if coef != NONE {
            scale = coefs[coef as usize + 2 * s.c_out + ch];
            shift = coefs[coef as usize + 3 * s.c_out + ch];
        }
        for px in range_stepped(CUBE_POS_X as usize * lanes + lane, n_px, CUBE_COUNT_X as usize * lanes) {
            let x = px % s.wo * s.stride;
            let y = (px / s.wo) % s.ho * s.stride;
            let image = px / comptime!(s.wo * s.ho);
            let mut best = 0.0f32;
            let mut n = 0.0f32;
            for tap in 0..9usize {
                let iy = y + tap / 3;
                let ix = x + tap % 3;
                if iy >= 1 && iy < s.h + 1 && ix >= 1 && ix < s.wd + 1 {
                    let v = scale * arena[from + ((image * s.h + iy - 1) * s.wd + ix - 1) * pitch + ch] + shift;
                    if comptime!(is_max) {
                        if n == 0.0f32 || v > best {
                            best = v;
                        }
                    } else {
                        best += v;
                    }
                    n += 1.0f32;
                }
            }
            if comptime!(!is_max) {
                best /= n;
            }
            arena[dst + px * s.c_out + ch] = best;
            see(best, &mut count, &mut pivot, &mut sum, &mut square);
        }
    }
    part_of(count, pivot, sum, square, partials, part + CUBE_POS_X as usize * comptime!(PART * s.c_out), s.c_out);
}

/// The gradient of the state, of all pools of one kind that start there.
///
/// Row: 0 input, 1 distance of its pixels, 2 its coefficients or none, 3 where the gradient goes, 4 whether it is added,
/// 5 number of branches; list of each branch: the norm's gradient coefficients, gradient of the node, drop path, output.
#[cube(launch)]
pub fn back(
    arena: &[f32],
    gradients: &mut [f32],
    coefs: &[f32],
    drop: &[f32],
    table: &[u32],
    rows_at: u32,
    n_px: u32,
    n_images: u32,
    #[comptime] is_max: bool,
    #[comptime] s: Shape,
) {
    let row = rows_at as usize + CUBE_POS_Y as usize * ROW;
    let from = table[row] as usize;
    let pitch = table[row + 1] as usize;
    let coef = table[row + 2];
    let dst = table[row + 3] as usize;
    let is_added = table[row + 4];
    let n_branches = table[row + 5] as usize;
    let list = table[row + ROW - 1] as usize;
    let i = cube() * UNITS + UNIT_POS as usize;
    let px = i / s.c_out;
    let ch = i % s.c_out;
    if px < n_px as usize {
        let mut scale = 1.0f32;
        let mut shift = 0.0f32;
        if coef != NONE {
            scale = coefs[coef as usize + 2 * s.c_out + ch];
            shift = coefs[coef as usize + 3 * s.c_out + ch];
        }
        let ix = px % s.wd;
        let iy = (px / s.wd) % s.h;
        let image = px / comptime!(s.wd * s.h);
        let mut sum = 0.0f32;
        for tap in 0..9usize {
            // y * s.stride + tap / 3 = iy + 1.
            let yy = iy + 1;
            let xx = ix + 1;
            let dy = tap / 3;
            let dx = tap % 3;
            if yy >= dy && xx >= dx && (yy - dy) % s.stride == 0 && (xx - dx) % s.stride == 0 {
                let oy = (yy - dy) / s.stride;
                let ox = (xx - dx) / s.stride;
                if oy < s.ho && ox < s.wo {
                    let out_px = (image * s.ho + oy) * s.wo + ox;
                    // Its share of the output's gradient.
                    let mut share = 0.0f32;
                    if comptime!(is_max) {
                        // The first largest in row-major order.
                        let mut best = 0.0f32;
                        let mut best_at = 9usize;
                        for other in 0..9usize {
                            let jy = oy * s.stride + other / 3;
                            let jx = ox * s.stride + other % 3;
                            if jy >= 1 && jy < s.h + 1 && jx >= 1 && jx < s.wd + 1 {
                                let at = from + ((image * s.h + jy - 1) * s.wd + jx - 1) * pitch + ch;
                                let v = scale * arena[at] + shift;
                                if best_at == 9 || v > best {
                                    best = v;
                                    best_at = other;
                                }
                            }
                        }
                        if best_at == tap {
                            share = 1.0f32;
                        }
                    } else {
                        let mut n = 0.0f32;
                        for other in 0..9usize {
                            let jy = oy * s.stride + other / 3;
                            let jx = ox * s.stride + other % 3;
                            if jy >= 1 && jy < s.h + 1 && jx >= 1 && jx < s.wd + 1 {
                                n += 1.0f32;
                            }
                        }
                        share = 1.0f32 / n;
                    }
                    if share > 0.0f32 {
                        let mut g = 0.0f32;
                        for b in 0..n_branches {
                            let of_norm = table[list + 4 * b] as usize;
                            let g_at = table[list + 4 * b + 1] as usize;
                            let path = table[list + 4 * b + 2];
                            let y_at = table[list + 4 * b + 3] as usize;
                            let mut m = 1.0f32;
                            if path != NONE {
                                m = drop[path as usize * n_images as usize + image];
                            }
                            g += coefs[of_norm + ch] * m * gradients[g_at + out_px * s.c_out + ch]
                                + coefs[of_norm + s.c_out + ch] * arena[y_at + out_px * s.c_out + ch]
                                + coefs[of_norm + 2 * s.c_out + ch];
                        }
                        sum += share * g;
                    }
                }
            }
        }
        let at = dst + i;
        if is_added == 1 {
            gradients[at] += sum;
        } else {
            gradients[at] = sum;
        }
    }
}
