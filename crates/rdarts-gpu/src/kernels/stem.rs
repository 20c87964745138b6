//! The stem: a 3 x 3 convolution of the images, then a batch norm with scale and shift. The images are data: of them there
//! is no gradient.
//!
//! The weights are those of the convolution, (row, column, channel in, channel out), the scale, the shift.

use cubecl::prelude::*;

use super::{PART, PART_BACK, Shape, UNITS};
use crate::kernels::norm::{coefficients, gradient_coefficients, part_of, see};
use crate::table::NONE;

/// The convolution, and each cube's part of the moments.
#[cube(launch)]
pub fn forward(images: &[f32], w: &[f32], y: &mut [f32], partials: &mut [f32], n_px: u32, #[comptime] s: Shape) {
    let n_px = n_px as usize;
    let unit = UNIT_POS as usize;
    let n_taps = comptime!(9 * s.c_in);
    let mut window = Shared::<[f32]>::new_slice(comptime!(s.tile * 9 * s.c_in));
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
        fill(images, &mut window, first, n_px, s);
        sync_cube();
        if lane < lanes {
            for local in range_stepped(lane, s.tile, lanes) {
                if first + local < n_px {
                    let mut v = 0.0f32;
                    for tap in 0..n_taps {
                        v += window[local * n_taps + tap] * w[tap * s.c_out + co];
                    }
                    y[(first + local) * s.c_out + co] = v;
                    see(v, &mut count, &mut pivot, &mut sum, &mut square);
                }
            }
        }
    }
    part_of(count, pivot, sum, square, partials, CUBE_POS_X as usize * comptime!(PART * s.c_out), s.c_out);
}

/// The windows of a tile's pixels: (row, column, channel) of each.
#[cube]
fn fill(images: &[f32], window: &mut Shared<[f32]>, first: usize, n_px: usize, #[comptime] s: Shape) {
    for i in range_stepped(UNIT_POS as usize, comptime!(s.tile * 9 * s.c_in), UNITS) {
        let px = first + i / comptime!(9 * s.c_in);
        let tap = (i / s.c_in) % 9;
        let ch = i % s.c_in;
        let iy = (px / s.wd) % s.h + tap / 3;
        let ix = px % s.wd + tap % 3;
        let image = px / comptime!(s.wd * s.h);
        let mut v = 0.0f32;
        if px < n_px && iy >= 1 && iy < s.h + 1 && ix >= 1 && ix < s.wd + 1 {
            v = images[((image * s.h + iy - 1) * s.wd + ix - 1) * s.c_in + ch];
        }
        window[i] = v;
    }
}

/// The batch norm behind it; `n_parts` is 0 if its coefficients are there.
#[cube(launch)]
pub fn apply(
    y: &[f32],
    w: &[f32],
    coefs: &mut [f32],
    partials: &[f32],
    out: &mut [f32],
    n_px: u32,
    n_parts: u32,
    eps: f32,
    #[comptime] s: Shape,
) {
    let c = s.c_out;
    let mut scale = Shared::<[f32]>::new_slice(c);
    let mut shift = Shared::<[f32]>::new_slice(c);
    let part = select(n_parts == 0, NONE, 0u32);
    let factors = comptime!(9 * s.c_in * s.c_out) as u32;
    let is_first = u32::cast_from(CUBE_POS_X == 0);
    coefficients(partials, coefs, w, &mut scale, &mut shift, 0, 0u32, part, n_parts, factors, is_first, eps, c);
    let n = n_px as usize * c;
    for i in range_stepped(CUBE_POS_X as usize * UNITS + UNIT_POS as usize, n, CUBE_COUNT_X as usize * UNITS) {
        let ch = i % c;
        out[i] = scale[ch] * y[i] + shift[ch];
    }
}

/// Each cube's part of the sums of the gradient and of its product with the convolution.
#[cube(launch)]
pub fn sums(g: &[f32], y: &[f32], partials: &mut [f32], n_px: u32, #[comptime] c: usize) {
    let unit = UNIT_POS as usize;
    let lanes = comptime!(UNITS / c);
    let lane = unit / c;
    let ch = unit % c;
    let mut of_g = Shared::<[f32]>::new_slice(UNITS);
    let mut of_gy = Shared::<[f32]>::new_slice(UNITS);
    let mut sum = 0.0f32;
    let mut product = 0.0f32;
    if lane < lanes {
        for px in range_stepped(CUBE_POS_X as usize * lanes + lane, n_px as usize, CUBE_COUNT_X as usize * lanes) {
            sum += g[px * c + ch];
            product += g[px * c + ch] * y[px * c + ch];
        }
    }
    of_g[unit] = sum;
    of_gy[unit] = product;
    sync_cube();
    if unit < c {
        for other in 1..lanes {
            sum += of_g[other * c + unit];
            product += of_gy[other * c + unit];
        }
        let part = CUBE_POS_X as usize * comptime!(PART_BACK * c);
        partials[part + ch] = sum;
        partials[part + c + ch] = product;
    }
}

/// Each cube's part of the gradient of the convolution's weights. The table's only row is as in
/// [`gradient_coefficients`].
#[cube(launch)]
pub fn back_weights(
    images: &[f32],
    g: &[f32],
    y: &[f32],
    coefs: &[f32],
    partials: &[f32],
    w: &[f32],
    table: &[u32],
    parts: &mut [f32],
    n_px: u32,
    #[comptime] s: Shape,
) {
    let unit = UNIT_POS as usize;
    let mut ga = Shared::<[f32]>::new_slice(s.c_out);
    let mut gb = Shared::<[f32]>::new_slice(s.c_out);
    let mut gc = Shared::<[f32]>::new_slice(s.c_out);
    // No mixing weight: the weights stand in for them.
    gradient_coefficients(partials, coefs, w, w, table, &mut ga, &mut gb, &mut gc, 0, n_px, s.c_out);
    let n_px = n_px as usize;
    let n_taps = comptime!(9 * s.c_in);
    let mut window = Shared::<[f32]>::new_slice(comptime!(s.tile * 9 * s.c_in));
    let mut ghat = Shared::<[f32]>::new_slice(comptime!(s.tile * s.c_out));
    let len = comptime!(9 * s.c_in * s.c_out);
    let own = CUBE_POS_X as usize * len;
    for i in range_stepped(unit, len, UNITS) {
        parts[own + i] = 0.0f32;
    }
    let n_tiles = (n_px + comptime!(s.tile - 1)) / s.tile;
    for at_tile in range_stepped(CUBE_POS_X as usize, n_tiles, CUBE_COUNT_X as usize) {
        let first = at_tile * s.tile;
        sync_cube();
        fill(images, &mut window, first, n_px, s);
        for i in range_stepped(unit, comptime!(s.tile * s.c_out), UNITS) {
            let co = i % s.c_out;
            let at = first * s.c_out + i;
            let mut v = 0.0f32;
            if at < n_px * s.c_out {
                v = ga[co] * g[at] + gb[co] * y[at] + gc[co];
            }
            ghat[i] = v;
        }
        sync_cube();
        for i in range_stepped(unit, len, UNITS) {
            let tap = i / s.c_out;
            let co = i % s.c_out;
            let mut sum = 0.0f32;
            for local in 0..s.tile {
                sum += window[local * n_taps + tap] * ghat[local * s.c_out + co];
            }
            parts[own + i] += sum;
        }
    }
}
