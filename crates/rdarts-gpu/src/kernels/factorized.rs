//! FactorizedReduce: relu, then two products of the even pixels (2 y, 2 x) and of the odd ones (2 y + 1, 2 x + 1), whose
//! outputs lie beside one another. Rows as in `half`, without a window.

use cubecl::prelude::*;

use super::{Shape, UNITS, cube};
use crate::kernels::norm::{before_norm, moments};
use crate::table::{NONE, ROW};

/// An even pixel of the input, or an odd one, of a pixel of the output, behind relu; the last odd ones may lie outside.
#[cube]
fn pixel(
    input: &[f32],
    arena: &[f32],
    coefs: &[f32],
    table: &[u32],
    row: usize,
    px: usize,
    odd: usize,
    ch: usize,
    #[comptime] s: Shape,
) -> f32 {
    let from = table[row] as usize;
    let pitch = table[row + 1] as usize;
    let coef = table[row + 2];
    let h = table[row + 3] as usize;
    let wd = table[row + 4] as usize;
    let ho = table[row + 6] as usize;
    let wo = table[row + 7] as usize;
    let x = 2 * (px % wo) + odd;
    let y = 2 * ((px / wo) % ho) + odd;
    let image = px / (wo * ho);
    let mut v = 0.0f32;
    if y < h && x < wd {
        let at = from + ((image * h + y) * wd + x) * pitch + ch;
        v = if comptime!(s.from_input) { input[at] } else { arena[at] };
        if coef != NONE {
            v = coefs[coef as usize + 2 * s.c_in + ch] * v + coefs[coef as usize + 3 * s.c_in + ch];
        }
    }
    max(v, 0.0f32)
}

/// The output before the batch norm, and the moments of every tile.
#[cube(launch)]
pub fn forward(
    input: &[f32],
    arena: &mut [f32],
    coefs: &[f32],
    w: &[f32],
    table: &[u32],
    partials: &mut [f32],
    rows_at: u32,
    n_px: u32,
    #[comptime] s: Shape,
) {
    let row = rows_at as usize + CUBE_POS_Y as usize * ROW;
    let w_at = table[row + 8] as usize;
    let dst = table[row + 9] as usize;
    let part = table[row + 10] as usize;
    let first = cube() * s.tile;
    let n_px = n_px as usize;
    let half = comptime!(s.c_out / 2);
    let other = comptime!(s.c_out - s.c_out / 2);
    let mut mid = Shared::<[f32]>::new_slice(comptime!(2 * s.tile * s.c_in));
    let mut out = Shared::<[f32]>::new_slice(comptime!(s.tile * s.c_out));
    // Even pixels, then odd ones.
    for i in range_stepped(UNIT_POS as usize, comptime!(2 * s.tile * s.c_in), UNITS) {
        let odd = i / comptime!(s.tile * s.c_in);
        let px = first + (i / s.c_in) % s.tile;
        let mut v = 0.0f32;
        if px < n_px {
            v = pixel(input, &*arena, coefs, table, row, px, odd, i % s.c_in, s);
        }
        mid[i] = v;
    }
    sync_cube();
    for i in range_stepped(UNIT_POS as usize, comptime!(s.tile * s.c_out), UNITS) {
        let local = i / s.c_out;
        let co = i % s.c_out;
        let mut sum = 0.0f32;
        if co < half {
            for ci in 0..s.c_in {
                sum += mid[local * s.c_in + ci] * w[w_at + ci * half + co];
            }
        } else {
            let odd = comptime!(s.tile * s.c_in);
            let w_odd = w_at + s.c_in * half;
            for ci in 0..s.c_in {
                sum += mid[odd + local * s.c_in + ci] * w[w_odd + ci * other + (co - half)];
            }
        }
        out[i] = sum;
        if first + local < n_px {
            arena[dst + (first + local) * s.c_out + co] = sum;
        }
    }
    sync_cube();
    moments(&out, partials, part + cube() * 2 * s.c_out, first, n_px, s.c_out, s.tile);
}

/// The gradient of the output before its batch norm, and the weight gradients, each cube those of the tiles it takes.
#[cube(launch)]
pub fn back_product(
    input: &[f32],
    arena: &[f32],
    gradients: &mut [f32],
    coefs: &[f32],
    drop: &[f32],
    table: &[u32],
    parts: &mut [f32],
    rows_at: u32,
    n_px: u32,
    n_images: u32,
    #[comptime] s: Shape,
) {
    let row = rows_at as usize + CUBE_POS_Y as usize * ROW;
    let part = table[row + 10] as usize;
    let list = table[row + ROW - 1] as usize;
    let to = table[list] as usize;
    let n_px = n_px as usize;
    let unit = UNIT_POS as usize;
    let half = comptime!(s.c_out / 2);
    let other = comptime!(s.c_out - s.c_out / 2);
    let mut ghat = Shared::<[f32]>::new_slice(comptime!(s.tile * s.c_out));
    let mut mid = Shared::<[f32]>::new_slice(comptime!(if s.weights { 2 * s.tile * s.c_in } else { 1 }));
    let n_tiles = (n_px + comptime!(s.tile - 1)) / s.tile;
    let own = part + CUBE_POS_X as usize * comptime!(s.c_in * s.c_out);
    if comptime!(s.weights) {
        for i in range_stepped(unit, comptime!(s.c_in * s.c_out), UNITS) {
            parts[own + i] = 0.0f32;
        }
    }
    for at_tile in range_stepped(CUBE_POS_X as usize, n_tiles, CUBE_COUNT_X as usize) {
        let first = at_tile * s.tile;
        sync_cube();
        for i in range_stepped(unit, comptime!(s.tile * s.c_out), UNITS) {
            let px = first + i / s.c_out;
            let co = i % s.c_out;
            let mut v = 0.0f32;
            if px < n_px {
                v = before_norm(arena, &*gradients, coefs, drop, table, row, px, co, n_images, s);
                gradients[to + px * s.c_out + co] = v;
            }
            ghat[i] = v;
        }
        if comptime!(s.weights) {
            for i in range_stepped(unit, comptime!(2 * s.tile * s.c_in), UNITS) {
                let odd = i / comptime!(s.tile * s.c_in);
                let px = first + (i / s.c_in) % s.tile;
                let mut v = 0.0f32;
                if px < n_px {
                    v = pixel(input, arena, coefs, table, row, px, odd, i % s.c_in, s);
                }
                mid[i] = v;
            }
            sync_cube();
            // The two products lie behind one another.
            for i in range_stepped(unit, comptime!(s.c_in * s.c_out), UNITS) {
                let mut sum = 0.0f32;
                if i < comptime!(s.c_in * (s.c_out / 2)) {
                    let ci = i / comptime!(if s.c_out > 1 { s.c_out / 2 } else { 1 });
                    let co = i % comptime!(if s.c_out > 1 { s.c_out / 2 } else { 1 });
                    for local in 0..s.tile {
                        sum += mid[local * s.c_in + ci] * ghat[local * s.c_out + co];
                    }
                } else {
                    let behind = i - s.c_in * half;
                    let ci = behind / other;
                    let co = behind % other;
                    let odd = comptime!(s.tile * s.c_in);
                    for local in 0..s.tile {
                        sum += mid[odd + local * s.c_in + ci] * ghat[local * s.c_out + half + co];
                    }
                }
                parts[own + i] += sum;
            }
        }
    }
}

/// The gradient of the input. Row: as `half::back_window`; list: gradient of the output before its batch norm, weights.
#[cube(launch)]
pub fn back_pixels(
    input: &[f32],
    arena: &[f32],
    gradients: &mut [f32],
    to_input: &mut [f32],
    coefs: &[f32],
    w: &[f32],
    table: &[u32],
    rows_at: u32,
    n_px: u32,
    #[comptime] s: Shape,
) {
    let row = rows_at as usize + CUBE_POS_Y as usize * ROW;
    let from = table[row] as usize;
    let pitch = table[row + 1] as usize;
    let coef = table[row + 2];
    let h = table[row + 3] as usize;
    let wd = table[row + 4] as usize;
    let ho = table[row + 6] as usize;
    let wo = table[row + 7] as usize;
    let dst = table[row + 8] as usize;
    let is_added = table[row + 9];
    let n_branches = table[row + 10] as usize;
    let list = table[row + ROW - 1] as usize;
    let half = comptime!(s.c_out / 2);
    let other = comptime!(s.c_out - s.c_out / 2);
    let i = cube() * UNITS + UNIT_POS as usize;
    let px = i / s.c_in;
    let ch = i % s.c_in;
    if px < n_px as usize {
        let raw = if comptime!(s.from_input) { input[from + px * pitch + ch] } else { arena[from + px * pitch + ch] };
        let mut v = raw;
        if coef != NONE {
            v = coefs[coef as usize + 2 * s.c_in + ch] * raw + coefs[coef as usize + 3 * s.c_in + ch];
        }
        let ix = px % wd;
        let iy = (px / wd) % h;
        let image = px / (wd * h);
        let mut sum = 0.0f32;
        if v > 0.0f32 && ix % 2 == iy % 2 {
            let at = ((image * ho + iy / 2) * wo + ix / 2) * s.c_out;
            for b in 0..n_branches {
                let g = table[list + 2 * b] as usize + at;
                let w_at = table[list + 2 * b + 1] as usize;
                if ix % 2 == 0 {
                    for co in 0..half {
                        sum += gradients[g + co] * w[w_at + ch * half + co];
                    }
                } else {
                    for co in 0..other {
                        sum += gradients[g + half + co] * w[w_at + s.c_in * half + ch * other + co];
                    }
                }
            }
        }
        if comptime!(s.from_input) {
            to_input[i] = sum;
        } else {
            let at = dst + i;
            if is_added == 1 {
                gradients[at] += sum;
            } else {
                gradients[at] = sum;
            }
        }
    }
}
