//! Half of a separable convolution, or a dilated one: relu, depthwise k x k, pointwise; and the ordinary preprocess block,
//! which is the same without a window.
//!
//! Row: 0 input, 1 distance of its pixels, 2 its coefficients, 3 rows, 4 columns, 5 stride, 6 rows out, 7 columns out,
//! 8 weights, 9 output or gradient behind the product, 10 partial sums, 11 the norm's gradient coefficients, 12 gradient of
//! the node, 13 distance of its pixels, 14 drop path.

use cubecl::prelude::*;

use super::{Shape, UNITS, cube};
use crate::kernels::norm::{before_norm, moments};
use crate::table::{NONE, ROW};

/// A value behind the depthwise window, or behind relu without one: of a pixel of the output, from the input of a row.
#[cube]
fn behind_window(
    input: &[f32],
    arena: &[f32],
    coefs: &[f32],
    w: &[f32],
    table: &[u32],
    row: usize,
    px: usize,
    ch: usize,
    #[comptime] s: Shape,
) -> f32 {
    let from = table[row] as usize;
    let pitch = table[row + 1] as usize;
    let coef = table[row + 2];
    let h = table[row + 3] as usize;
    let wd = table[row + 4] as usize;
    let stride = table[row + 5] as usize;
    let ho = table[row + 6] as usize;
    let wo = table[row + 7] as usize;
    let w_at = table[row + 8] as usize;
    let k = comptime!(if s.k == 0 { 1 } else { s.k });
    let pad = comptime!(if s.k == 0 { 0 } else { s.dilation * (s.k - 1) / 2 });
    let mut scale = 1.0f32;
    let mut shift = 0.0f32;
    if coef != NONE {
        scale = coefs[coef as usize + 2 * s.c_in + ch];
        shift = coefs[coef as usize + 3 * s.c_in + ch];
    }
    let x = px % wo;
    let y = (px / wo) % ho;
    let image = px / (wo * ho);
    let mut sum = 0.0f32;
    for tap in 0..comptime!(k * k) {
        let iy = y * stride + (tap / k) * s.dilation;
        let ix = x * stride + (tap % k) * s.dilation;
        if iy >= pad && iy < h + pad && ix >= pad && ix < wd + pad {
            let at = from + ((image * h + iy - pad) * wd + ix - pad) * pitch + ch;
            let raw = if comptime!(s.from_input) { input[at] } else { arena[at] };
            let v = max(scale * raw + shift, 0.0f32);
            if comptime!(s.k == 0) {
                sum += v;
            } else {
                sum += v * w[w_at + tap * s.c_in + ch];
            }
        }
    }
    sum
}

/// The output of a stage before its batch norm, and the moments of every tile: means, then sums of squared deviations.
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
    let unit = UNIT_POS as usize;
    let mut mid = Shared::<[f32]>::new_slice(comptime!(s.tile * s.c_in));
    let mut out = Shared::<[f32]>::new_slice(comptime!(s.tile * s.c_out));
    for i in range_stepped(unit, comptime!(s.tile * s.c_in), UNITS) {
        let px = first + i / s.c_in;
        let ch = i % s.c_in;
        let mut sum = 0.0f32;
        if px < n_px {
            sum = behind_window(input, &*arena, coefs, w, table, row, px, ch, s);
        }
        mid[i] = sum;
    }
    sync_cube();
    let pw = w_at + comptime!(s.k * s.k * s.c_in);
    for i in range_stepped(unit, comptime!(s.tile * s.c_out), UNITS) {
        let local = i / s.c_out;
        let co = i % s.c_out;
        let mut sum = 0.0f32;
        for ci in 0..s.c_in {
            sum += mid[local * s.c_in + ci] * w[pw + ci * s.c_out + co];
        }
        out[i] = sum;
        if first + local < n_px {
            arena[dst + (first + local) * s.c_out + co] = sum;
        }
    }
    sync_cube();
    moments(&out, partials, part + cube() * 2 * s.c_out, first, n_px, s.c_out, s.tile);
}

/// The gradient behind the depthwise window (or, without one, that of the input before its gate), and of the product the
/// weight gradients, each cube those of the tiles it takes.
#[cube(launch)]
pub fn back_product(
    input: &[f32],
    arena: &[f32],
    gradients: &mut [f32],
    coefs: &[f32],
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
    let w_at = table[row + 8] as usize;
    let part = table[row + 10] as usize;
    let list = table[row + ROW - 1] as usize;
    let to = table[list] as usize;
    let n_px = n_px as usize;
    let unit = UNIT_POS as usize;
    let mut ghat = Shared::<[f32]>::new_slice(comptime!(s.tile * s.c_out));
    let mut mid = Shared::<[f32]>::new_slice(comptime!(if s.weights { s.tile * s.c_in } else { 1 }));
    let pw = w_at + comptime!(s.k * s.k * s.c_in);
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
            }
            ghat[i] = v;
        }
        if comptime!(s.weights) {
            for i in range_stepped(unit, comptime!(s.tile * s.c_in), UNITS) {
                let px = first + i / s.c_in;
                let ch = i % s.c_in;
                let mut sum = 0.0f32;
                if px < n_px {
                    sum = behind_window(input, arena, coefs, w, table, row, px, ch, s);
                }
                mid[i] = sum;
            }
        }
        sync_cube();
        if comptime!(s.input) {
            for i in range_stepped(unit, comptime!(s.tile * s.c_in), UNITS) {
                let local = i / s.c_in;
                let ci = i % s.c_in;
                let px = first + local;
                if px < n_px {
                    let mut sum = 0.0f32;
                    for co in 0..s.c_out {
                        sum += ghat[local * s.c_out + co] * w[pw + ci * s.c_out + co];
                    }
                    gradients[to + px * s.c_in + ci] = sum;
                }
            }
        }
        if comptime!(s.weights) {
            for i in range_stepped(unit, comptime!(s.c_in * s.c_out), UNITS) {
                let ci = i / s.c_out;
                let co = i % s.c_out;
                let mut sum = 0.0f32;
                for local in 0..s.tile {
                    sum += mid[local * s.c_in + ci] * ghat[local * s.c_out + co];
                }
                parts[own + i] += sum;
            }
        }
    }
}

/// The gradient of the input: through the windows of all branches that start there, and the gate.
///
/// Row: 0 input, 1 distance of its pixels, 2 its coefficients, 3 rows, 4 columns, 5 stride, 6 rows out, 7 columns out,
/// 8 where the gradient goes, 9 whether it is added, 10 number of branches; list: gradient behind the window, weights.
#[cube(launch)]
pub fn back_window(
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
    let stride = table[row + 5] as usize;
    let ho = table[row + 6] as usize;
    let wo = table[row + 7] as usize;
    let dst = table[row + 8] as usize;
    let is_added = table[row + 9];
    let n_branches = table[row + 10] as usize;
    let list = table[row + ROW - 1] as usize;
    let i = cube() * UNITS + UNIT_POS as usize;
    let px = i / s.c_in;
    let ch = i % s.c_in;
    if px < n_px as usize {
        let raw = if comptime!(s.from_input) { input[from + px * pitch + ch] } else { arena[from + px * pitch + ch] };
        let mut x = raw;
        if coef != NONE {
            x = coefs[coef as usize + 2 * s.c_in + ch] * raw + coefs[coef as usize + 3 * s.c_in + ch];
        }
        let mut sum = 0.0f32;
        if x > 0.0f32 {
            let ix = px % wd;
            let iy = (px / wd) % h;
            let image = px / (wd * h);
            let k = comptime!(if s.k == 0 { 1 } else { s.k });
            let pad = comptime!(if s.k == 0 { 0 } else { s.dilation * (s.k - 1) / 2 });
            for b in 0..n_branches {
                let mid = table[list + 2 * b] as usize;
                let w_at = table[list + 2 * b + 1] as usize;
                for tap in 0..comptime!(k * k) {
                    // y * stride + tap * dilation = iy + pad.
                    let dy = (tap / k) * s.dilation;
                    let dx = (tap % k) * s.dilation;
                    let yy = iy + pad;
                    let xx = ix + pad;
                    if yy >= dy && xx >= dx {
                        let oy = (yy - dy) / stride;
                        let ox = (xx - dx) / stride;
                        if (yy - dy) % stride == 0 && (xx - dx) % stride == 0 && oy < ho && ox < wo {
                            let g = gradients[mid + ((image * ho + oy) * wo + ox) * s.c_in + ch];
                            if comptime!(s.k == 0) {
                                sum += g;
                            } else {
                                sum += g * w[w_at + tap * s.c_in + ch];
                            }
                        }
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

/// The gradients of the depthwise windows: each cube those of its stretch of the output's pixels.
///
/// Row: 0 input, 1 distance of its pixels, 2 its coefficients, 3 rows, 4 columns, 5 stride, 6 rows out, 7 columns out,
/// 8 gradient behind the window, 9 pixels of a stretch, 10 partial sums.
#[cube(launch)]
pub fn window_weights(
    arena: &[f32],
    gradients: &[f32],
    coefs: &[f32],
    table: &[u32],
    parts: &mut [f32],
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
    let stride = table[row + 5] as usize;
    let ho = table[row + 6] as usize;
    let wo = table[row + 7] as usize;
    let mid = table[row + 8] as usize;
    let stretch = table[row + 9] as usize;
    let part = table[row + 10] as usize;
    let first = CUBE_POS_X as usize * stretch;
    let end = min(first + stretch, n_px as usize);
    let pad = comptime!(s.dilation * (s.k - 1) / 2);
    for i in range_stepped(UNIT_POS as usize, comptime!(s.k * s.k * s.c_in), UNITS) {
        let tap = i / s.c_in;
        let ch = i % s.c_in;
        let dy = (tap / s.k) * s.dilation;
        let dx = (tap % s.k) * s.dilation;
        let mut scale = 1.0f32;
        let mut shift = 0.0f32;
        if coef != NONE {
            scale = coefs[coef as usize + 2 * s.c_in + ch];
            shift = coefs[coef as usize + 3 * s.c_in + ch];
        }
        let mut sum = 0.0f32;
        for px in first..end {
            let x = px % wo;
            let y = (px / wo) % ho;
            let image = px / (wo * ho);
            let iy = y * stride + dy;
            let ix = x * stride + dx;
            if iy >= pad && iy < h + pad && ix >= pad && ix < wd + pad {
                let raw = arena[from + ((image * h + iy - pad) * wd + ix - pad) * pitch + ch];
                sum += max(scale * raw + shift, 0.0f32) * gradients[mid + px * s.c_in + ch];
            }
        }
        parts[part + CUBE_POS_X as usize * comptime!(s.k * s.k * s.c_in) + i] = sum;
    }
}
