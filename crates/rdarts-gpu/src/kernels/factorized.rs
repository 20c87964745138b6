//! FactorizedReduce: relu, then two products of the even pixels (2 y, 2 x) and of the odd ones (2 y + 1, 2 x + 1), whose
//! outputs lie beside one another. Rows as in `half`.

use cubecl::prelude::*;

use super::{PART, Shape, UNITS, cube};
use crate::kernels::norm::{before_norm, coefficients, gradient_coefficients, part_of, see};
use crate::table::{NONE, ROW};

/// An even pixel of the input, or an odd one, of a pixel of the output, behind relu; the last odd ones may lie outside.
#[cube]
fn pixel(
    input: &[f32],
    arena: &[f32],
    from: usize,
    pitch: usize,
    a: f32,
    b: f32,
    px: usize,
    odd: usize,
    ch: usize,
    #[comptime] s: Shape,
) -> f32 {
    let x = 2 * (px % s.wo) + odd;
    let y = 2 * ((px / s.wo) % s.ho) + odd;
    let image = px / comptime!(s.wo * s.ho);
    let mut v = 0.0f32;
    if y < s.h && x < s.wd {
        let at = from + ((image * s.h + y) * s.wd + x) * pitch + ch;
        let raw = if comptime!(s.from_input) { input[at] } else { arena[at] };
        v = max(a * raw + b, 0.0f32);
    }
    v
}

/// The output before the batch norm, and each cube's part of the moments.
#[cube(launch)]
pub fn forward(
    input: &[f32],
    arena: &mut [f32],
    coefs: &mut [f32],
    w: &[f32],
    table: &[u32],
    partials: &mut [f32],
    rows_at: u32,
    n_px: u32,
    eps: f32,
    #[comptime] s: Shape,
) {
    let row = rows_at as usize + CUBE_POS_Y as usize * ROW;
    let from = table[row] as usize;
    let pitch = table[row + 1] as usize;
    let w_at = table[row + 6] as usize;
    let dst = table[row + 7] as usize;
    let part = table[row + 8] as usize;
    let n_px = n_px as usize;
    let unit = UNIT_POS as usize;
    let mut scale = Shared::<[f32]>::new_slice(comptime!(if s.from_input { 1 } else { s.c_in }));
    let mut shift = Shared::<[f32]>::new_slice(comptime!(if s.from_input { 1 } else { s.c_in }));
    if comptime!(!s.from_input) {
        let is_first = u32::cast_from(CUBE_POS_X == 0);
        coefficients(
            &*partials,
            coefs,
            w,
            &mut scale,
            &mut shift,
            0,
            table[row + 2],
            table[row + 3],
            table[row + 4],
            table[row + 5],
            is_first,
            eps,
            s.c_in,
        );
    }
    let half = comptime!(s.c_out / 2);
    let other = comptime!(s.c_out - s.c_out / 2);
    // Even pixels, then odd ones.
    let mut mid = Shared::<[f32]>::new_slice(comptime!(2 * s.tile * s.c_in));
    let lanes = comptime!(UNITS / s.c_out);
    let lane = unit / s.c_out;
    let co = unit % s.c_out;
    let n_tiles = (n_px + comptime!(s.tile - 1)) / s.tile;
    let mut count = 0.0f32;
    let mut pivot = 0.0f32;
    let mut sum = 0.0f32;
    let mut square = 0.0f32;
    for at_tile in range_stepped(CUBE_POS_X as usize, n_tiles, CUBE_COUNT_X as usize) {
        let first = at_tile * s.tile;
        sync_cube();
        for i in range_stepped(unit, comptime!(2 * s.tile * s.c_in), UNITS) {
            let odd = i / comptime!(s.tile * s.c_in);
            let px = first + (i / s.c_in) % s.tile;
            let ch = i % s.c_in;
            let mut a = 1.0f32;
            let mut b = 0.0f32;
            if comptime!(!s.from_input) {
                a = scale[ch];
                b = shift[ch];
            }
            let mut v = 0.0f32;
            if px < n_px {
                v = pixel(input, &*arena, from, pitch, a, b, px, odd, ch, s);
            }
            mid[i] = v;
        }
        sync_cube();
        if lane < lanes {
            // The products of even and of odd pixels lie behind one another.
            let is_even = co < half;
            let tile_at = select(is_even, 0usize, comptime!(s.tile * s.c_in).runtime());
            let w_first = select(is_even, w_at + co, w_at + s.c_in * half + co - half);
            let w_step = select(is_even, half.runtime(), other.runtime());
            for local in range_stepped(lane, s.tile, lanes) {
                if first + local < n_px {
                    let mut v = 0.0f32;
                    for ci in 0..s.c_in {
                        v += mid[tile_at + local * s.c_in + ci] * w[w_first + ci * w_step];
                    }
                    arena[dst + (first + local) * s.c_out + co] = v;
                    see(v, &mut count, &mut pivot, &mut sum, &mut square);
                }
            }
        }
    }
    part_of(count, pivot, sum, square, partials, part + CUBE_POS_X as usize * comptime!(PART * s.c_out), s.c_out);
}

/// The gradient of the output before its batch norm, and the weight gradients, each cube those of the tiles it takes.
#[cube(launch)]
pub fn back_product(
    input: &[f32],
    arena: &[f32],
    gradients: &mut [f32],
    coefs: &[f32],
    partials: &[f32],
    p: &[f32],
    w: &[f32],
    drop: &[f32],
    table: &[u32],
    parts: &mut [f32],
    rows_at: u32,
    n_px: u32,
    n_images: u32,
    #[comptime] s: Shape,
) {
    let row = rows_at as usize + CUBE_POS_Y as usize * ROW;
    let from = table[row] as usize;
    let pitch = table[row + 1] as usize;
    let coef = table[row + 2];
    let to = table[row + 7] as usize;
    let part = table[row + 8] as usize;
    let unit = UNIT_POS as usize;
    let mut ga = Shared::<[f32]>::new_slice(s.c_out);
    let mut gb = Shared::<[f32]>::new_slice(s.c_out);
    let mut gc = Shared::<[f32]>::new_slice(s.c_out);
    let list = table[row + ROW - 1] as usize;
    gradient_coefficients(partials, coefs, p, w, table, &mut ga, &mut gb, &mut gc, list, n_px, s.c_out);
    let n_px = n_px as usize;
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
                let g = table[row + 5];
                let path = table[row + 6];
                v = before_norm(arena, &*gradients, drop, &ga, &gb, &gc, table[row + 4], g, path, px, co, n_images, s);
                gradients[to + px * s.c_out + co] = v;
            }
            ghat[i] = v;
        }
        if comptime!(s.weights) {
            for i in range_stepped(unit, comptime!(2 * s.tile * s.c_in), UNITS) {
                let odd = i / comptime!(s.tile * s.c_in);
                let px = first + (i / s.c_in) % s.tile;
                let ch = i % s.c_in;
                let mut v = 0.0f32;
                if px < n_px {
                    let mut a = 1.0f32;
                    let mut b = 0.0f32;
                    if coef != NONE {
                        a = coefs[coef as usize + 2 * s.c_in + ch];
                        b = coefs[coef as usize + 3 * s.c_in + ch];
                    }
                    v = pixel(input, arena, from, pitch, a, b, px, odd, ch, s);
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

/// The gradient of the input.
///
/// Row: 0 input, 1 distance of its pixels, 2 its coefficients or none, 3 where the gradient goes, 4 whether it is added,
/// 5 number of branches; list: gradient of the output before its batch norm, weights.
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
    let dst = table[row + 3] as usize;
    let is_added = table[row + 4];
    let n_branches = table[row + 5] as usize;
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
        let ix = px % s.wd;
        let iy = (px / s.wd) % s.h;
        let image = px / comptime!(s.wd * s.h);
        let mut sum = 0.0f32;
        if v > 0.0f32 && ix % 2 == iy % 2 {
            let at = ((image * s.ho + iy / 2) * s.wo + ix / 2) * s.c_out;
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
