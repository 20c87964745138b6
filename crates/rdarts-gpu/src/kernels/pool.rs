//! `max_pool_3x3` and `avg_pool_3x3`: padding 1, never chosen and not counted. Rows as in `half`.

use cubecl::prelude::*;

use super::{Shape, UNITS, cube};
use crate::kernels::norm::moments;
use crate::table::{NONE, ROW};

/// The output before the batch norm, and the moments of every tile.
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
    let h = table[row + 3] as usize;
    let wd = table[row + 4] as usize;
    let stride = table[row + 5] as usize;
    let ho = table[row + 6] as usize;
    let wo = table[row + 7] as usize;
    let dst = table[row + 9] as usize;
    let part = table[row + 10] as usize;
    let first = cube() * s.tile;
    let n_px = n_px as usize;
    let mut out = Shared::<[f32]>::new_slice(comptime!(s.tile * s.c_out));
    for i in range_stepped(UNIT_POS as usize, comptime!(s.tile * s.c_out), UNITS) {
        let px = first + i / s.c_out;
        let ch = i % s.c_out;
        let mut best = 0.0f32;
        let mut n = 0.0f32;
        if px < n_px {
            let mut scale = 1.0f32;
            let mut shift = 0.0f32;
            if coef != NONE {
                scale = coefs[coef as usize + 2 * s.c_out + ch];
                shift = coefs[coef as usize + 3 * s.c_out + ch];
            }
            let x = px % wo;
            let y = (px / wo) % ho;
            let image = px / (wo * ho);
            for tap in 0..9usize {
                let iy = y * stride + tap / 3;
                let ix = x * stride + tap % 3;
                if iy >= 1 && iy < h + 1 && ix >= 1 && ix < wd + 1 {
                    let v = scale * arena[from + ((image * h + iy - 1) * wd + ix - 1) * pitch + ch] + shift;
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
        }
        out[i] = best;
    }
    sync_cube();
    moments(&out, partials, part + cube() * 2 * s.c_out, first, n_px, s.c_out, s.tile);
}

/// The gradient of the state, of all pools of one kind that start there.
///
/// Row: 0 input, 1 distance of its pixels, 2 its coefficients, 3 rows, 4 columns, 5 stride, 6 rows out, 7 columns out,
/// 8 where the gradient goes, 9 whether it is added, 10 number of branches; list of each branch: the norm's gradient
/// coefficients, gradient of the node, distance of its pixels, drop path, output.
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
    let h = table[row + 3] as usize;
    let wd = table[row + 4] as usize;
    let stride = table[row + 5] as usize;
    let ho = table[row + 6] as usize;
    let wo = table[row + 7] as usize;
    let dst = table[row + 8] as usize;
    let is_added = table[row + 9];
    let n_branches = table[row + 10] as usize;
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
        let ix = px % wd;
        let iy = (px / wd) % h;
        let image = px / (wd * h);
        let mut sum = 0.0f32;
        for tap in 0..9usize {
            // y * stride + tap / 3 = iy + 1.
            let yy = iy + 1;
            let xx = ix + 1;
            let dy = tap / 3;
            let dx = tap % 3;
            if yy >= dy && xx >= dx && (yy - dy) % stride == 0 && (xx - dx) % stride == 0 {
                let oy = (yy - dy) / stride;
                let ox = (xx - dx) / stride;
                if oy < ho && ox < wo {
                    let out_px = (image * ho + oy) * wo + ox;
                    // Its share of the output's gradient.
                    let mut share = 0.0f32;
                    if comptime!(is_max) {
                        // The first largest in row-major order.
                        let mut best = 0.0f32;
                        let mut best_at = 9usize;
                        for other in 0..9usize {
                            let jy = oy * stride + other / 3;
                            let jx = ox * stride + other % 3;
                            if jy >= 1 && jy < h + 1 && jx >= 1 && jx < wd + 1 {
                                let at = from + ((image * h + jy - 1) * wd + jx - 1) * pitch + ch;
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
                            let jy = oy * stride + other / 3;
                            let jx = ox * stride + other % 3;
                            if jy >= 1 && jy < h + 1 && jx >= 1 && jx < wd + 1 {
                                n += 1.0f32;
                            }
                        }
                        share = 1.0f32 / n;
                    }
                    if share > 0.0f32 {
                        let mut g = 0.0f32;
                        for b in 0..n_branches {
                            let of_norm = table[list + 5 * b] as usize;
                            let g_at = table[list + 5 * b + 1] as usize;
                            let g_pitch = table[list + 5 * b + 2] as usize;
                            let path = table[list + 5 * b + 3];
                            let y_at = table[list + 5 * b + 4] as usize;
                            let mut m = 1.0f32;
                            if path != NONE {
                                m = drop[path as usize * n_images as usize + image];
                            }
                            g += coefs[of_norm + ch] * m * gradients[g_at + out_px * g_pitch + ch]
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
