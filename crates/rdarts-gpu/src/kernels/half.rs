//! Half of a separable convolution, or a dilated one: relu, depthwise k x k, pointwise; and the ordinary preprocess block,
//! which is the same without a window.

use cubecl::prelude::*;

use super::{PART, Shape, UNITS};
use crate::kernels::norm::{before_norm, coefficients, gradient_coefficients, part_of, see};
use crate::table::ROW;

/// A value behind the depthwise window, or behind relu without one, of a pixel of the output.
#[cube]
fn behind_window(
    input0: &[f32],
    input1: &[f32],
    which: u32,
    arena: &[f32],
    taps: &Array<f32>,
    from: usize,
    pitch: usize,
    a: f32,
    b: f32,
    px: usize,
    ch: usize,
    #[comptime] s: Shape,
) -> f32 {
    let mut sum = 0.0f32;
    if comptime!(s.k == 0) {
        let at = from + px * pitch + ch;
        sum = max(a * raw(input0, input1, which, arena, at, s) + b, 0.0f32);
    } else {
        let pad = comptime!(s.dilation * (s.k - 1) / 2);
        let y = (px / s.wo) % s.ho * s.stride;
        let x = px % s.wo * s.stride;
        let image = px / comptime!(s.wo * s.ho);
        #[unroll]
        for tap in 0..comptime!(s.k * s.k) {
            let iy = y + (tap / s.k) * s.dilation;
            let ix = x + (tap % s.k) * s.dilation;
            if iy >= pad && iy < s.h + pad && ix >= pad && ix < s.wd + pad {
                let at = from + ((image * s.h + iy - pad) * s.wd + ix - pad) * pitch + ch;
                sum += max(a * arena[at] + b, 0.0f32) * taps[tap];
            }
        }
    }
    sum
}

/// A value of the cell's buffers, or of the input that a row names.
#[cube]
fn raw(input0: &[f32], input1: &[f32], which: u32, arena: &[f32], at: usize, #[comptime] s: Shape) -> f32 {
    let mut v = 0.0f32;
    if comptime!(s.from_input) {
        if which == 0 {
            v += input0[at];
        } else {
            v += input1[at];
        }
    } else {
        v += arena[at];
    }
    v
}

/// The weights of a window, of one channel.
#[cube]
fn load_taps(w: &[f32], at: usize, ch: usize, #[comptime] s: Shape) -> Array<f32> {
    let mut taps = Array::<f32>::new(comptime!(if s.k == 0 { 1 } else { s.k * s.k }));
    #[unroll]
    for tap in 0..comptime!(s.k * s.k) {
        taps[tap] = w[at + tap * s.c_in + ch];
    }
    taps
}

/// The output of a stage before its batch norm, and each cube's part of the moments.
///
/// Row: 0 input, 1 distance of its pixels, 2 coefficients of its norm or none, 3 their partial sums or none, 4 how many,
/// 5 scale in the weights or none, 6 weights, 7 output, 8 partial sums, 9 which input, if it is one.
#[cube(launch)]
pub fn forward(
    input0: &[f32],
    input1: &[f32],
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
    let which = table[row + 9];
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
    let mut mid = Shared::<[f32]>::new_slice(comptime!(s.tile * s.c_in));
    let width_in = comptime!(if s.c_in < UNITS { s.c_in } else { UNITS });
    let lanes_in = comptime!(if s.c_in < UNITS { UNITS / s.c_in } else { 1 });
    let lanes = comptime!(UNITS / s.c_out);
    let lane = unit / s.c_out;
    let co = unit % s.c_out;
    let pw = w_at + comptime!(s.k * s.k * s.c_in);
    let n_tiles = (n_px + comptime!(s.tile - 1)) / s.tile;
    let mut count = 0.0f32;
    let mut pivot = 0.0f32;
    let mut sum = 0.0f32;
    let mut square = 0.0f32;
    for at_tile in range_stepped(CUBE_POS_X as usize, n_tiles, CUBE_COUNT_X as usize) {
        let first = at_tile * s.tile;
        sync_cube();
        for base in range_stepped(0, s.c_in, width_in) {
            let lane_in = unit / width_in;
            let ch = base + unit % width_in;
            if lane_in < lanes_in && ch < s.c_in {
                let taps = load_taps(w, w_at, ch, s);
                let mut a = 1.0f32;
                let mut b = 0.0f32;
                if comptime!(!s.from_input) {
                    a = scale[ch];
                    b = shift[ch];
                }
                for local in range_stepped(lane_in, s.tile, lanes_in) {
                    let mut v = 0.0f32;
                    if first + local < n_px {
                        let px = first + local;
                        v = behind_window(input0, input1, which, &*arena, &taps, from, pitch, a, b, px, ch, s);
                    }
                    mid[local * s.c_in + ch] = v;
                }
            }
        }
        sync_cube();
        if lane < lanes {
            for block in range_stepped(lane, s.tile, comptime!(4 * lanes)) {
                // Four pixels share a weight.
                let mut of = Array::<f32>::new(4usize);
                #[unroll]
                for j in 0..4usize {
                    of[j] = 0.0f32;
                }
                for ci in 0..s.c_in {
                    let weight = w[pw + ci * s.c_out + co];
                    #[unroll]
                    for j in 0..4usize {
                        of[j] += mid[min(block + j * lanes, comptime!(s.tile - 1)) * s.c_in + ci] * weight;
                    }
                }
                #[unroll]
                for j in 0..4usize {
                    let local = block + j * lanes;
                    if local < s.tile && first + local < n_px {
                        let v = of[j];
                        arena[dst + (first + local) * s.c_out + co] = v;
                        see(v, &mut count, &mut pivot, &mut sum, &mut square);
                    }
                }
            }
        }
    }
    part_of(count, pivot, sum, square, partials, part + CUBE_POS_X as usize * comptime!(PART * s.c_out), s.c_out);
}

/// The gradient behind the depthwise window, or, without one, that of the input; and the weight gradients, each cube its
/// part of them.
///
/// Row: 0 input, 1 distance of its pixels, 2 coefficients of its norm or none, 3 weights, 4 output, 5 gradient of the
/// node, 6 drop path, 7 gradient behind the window, 8 and 9 parts of the weight gradients, of the product and of the
/// window, 10 which input, if it is one. List: as in [`gradient_coefficients`].
#[cube(launch)]
pub fn back_product(
    input0: &[f32],
    input1: &[f32],
    arena: &[f32],
    gradients: &mut [f32],
    to_input0: &mut [f32],
    to_input1: &mut [f32],
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
    let w_at = table[row + 3] as usize;
    let to = table[row + 7] as usize;
    let which = table[row + 10];
    let unit = UNIT_POS as usize;
    let mut ga = Shared::<[f32]>::new_slice(s.c_out);
    let mut gb = Shared::<[f32]>::new_slice(s.c_out);
    let mut gc = Shared::<[f32]>::new_slice(s.c_out);
    let list = table[row + ROW - 1] as usize;
    gradient_coefficients(partials, coefs, p, w, table, &mut ga, &mut gb, &mut gc, list, n_px, s.c_out);
    let n_px = n_px as usize;
    let mut ghat = Shared::<[f32]>::new_slice(comptime!(s.tile * s.c_out));
    let mut mid = Shared::<[f32]>::new_slice(comptime!(if s.weights { s.tile * s.c_in } else { 1 }));
    let lanes = comptime!(UNITS / s.c_out);
    let lane = unit / s.c_out;
    let co = unit % s.c_out;
    let width_in = comptime!(if s.c_in < UNITS { s.c_in } else { UNITS });
    let lanes_in = comptime!(if s.c_in < UNITS { UNITS / s.c_in } else { 1 });
    let lane_in = unit / width_in;
    let pw = w_at + comptime!(s.k * s.k * s.c_in);
    let n_tiles = (n_px + comptime!(s.tile - 1)) / s.tile;
    let own = table[row + 8] as usize + CUBE_POS_X as usize * comptime!(s.c_in * s.c_out);
    let n_taps = comptime!(if s.k == 0 { 1 } else { s.k * s.k });
    let mut of_taps = Array::<f32>::new(n_taps);
    if comptime!(s.weights) {
        for i in range_stepped(unit, comptime!(s.c_in * s.c_out), UNITS) {
            parts[own + i] = 0.0f32;
        }
        #[unroll]
        for tap in 0..n_taps {
            of_taps[tap] = 0.0f32;
        }
    }
    for at_tile in range_stepped(CUBE_POS_X as usize, n_tiles, CUBE_COUNT_X as usize) {
        let first = at_tile * s.tile;
        sync_cube();
        if lane < lanes {
            for local in range_stepped(lane, s.tile, lanes) {
                let px = first + local;
                let mut v = 0.0f32;
                if px < n_px {
                    let g = table[row + 5];
                    v = before_norm(
                        arena,
                        &*gradients,
                        drop,
                        &ga,
                        &gb,
                        &gc,
                        table[row + 4],
                        g,
                        table[row + 6],
                        px,
                        co,
                        n_images,
                        s,
                    );
                }
                ghat[local * s.c_out + co] = v;
            }
        }
        sync_cube();
        for base in range_stepped(0, s.c_in, width_in) {
            let ci = base + unit % width_in;
            if lane_in < lanes_in && ci < s.c_in {
                let taps = load_taps(w, w_at, ci, s);
                let mut a = 1.0f32;
                let mut b = 0.0f32;
                if coef != crate::table::NONE {
                    a = coefs[coef as usize + 2 * s.c_in + ci];
                    b = coefs[coef as usize + 3 * s.c_in + ci];
                }
                for block in range_stepped(lane_in, s.tile, comptime!(4 * lanes_in)) {
                    let mut of = Array::<f32>::new(4usize);
                    #[unroll]
                    for j in 0..4usize {
                        of[j] = 0.0f32;
                    }
                    if comptime!(s.input || s.k > 0) {
                        for co in 0..s.c_out {
                            let weight = w[pw + ci * s.c_out + co];
                            #[unroll]
                            for j in 0..4usize {
                                of[j] += ghat[min(block + j * lanes_in, comptime!(s.tile - 1)) * s.c_out + co] * weight;
                            }
                        }
                    }
                    #[unroll]
                    for j in 0..4usize {
                        let local = block + j * lanes_in;
                        let px = first + local;
                        let mut value = 0.0f32;
                        if local < s.tile && px < n_px {
                            if comptime!(s.k == 0) {
                                let at = from + px * pitch + ci;
                                value = max(a * raw(input0, input1, which, arena, at, s) + b, 0.0f32);
                                if comptime!(s.input) {
                                    let gated = select(value > 0.0f32, of[j], 0.0f32);
                                    if which == 0 {
                                        to_input0[px * s.c_in + ci] = gated;
                                    } else {
                                        to_input1[px * s.c_in + ci] = gated;
                                    }
                                }
                            } else {
                                if comptime!(s.input) {
                                    gradients[to + px * s.c_in + ci] = of[j];
                                }
                                if comptime!(s.weights) {
                                    let pad = comptime!(s.dilation * (s.k - 1) / 2);
                                    let y = (px / s.wo) % s.ho * s.stride;
                                    let x = px % s.wo * s.stride;
                                    let image = px / comptime!(s.wo * s.ho);
                                    #[unroll]
                                    for tap in 0..comptime!(s.k * s.k) {
                                        let iy = y + (tap / s.k) * s.dilation;
                                        let ix = x + (tap % s.k) * s.dilation;
                                        if iy >= pad && iy < s.h + pad && ix >= pad && ix < s.wd + pad {
                                            let at = from + ((image * s.h + iy - pad) * s.wd + ix - pad) * pitch + ci;
                                            let v = max(a * arena[at] + b, 0.0f32);
                                            value += v * taps[tap];
                                            of_taps[tap] += v * of[j];
                                        }
                                    }
                                }
                            }
                        }
                        if comptime!(s.weights) {
                            if local < s.tile {
                                mid[local * s.c_in + ci] = value;
                            }
                        }
                    }
                }
            }
        }
        if comptime!(s.weights) {
            sync_cube();
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
    if comptime!(s.weights && s.k > 0) {
        let mut scratch = Shared::<[f32]>::new_slice(UNITS);
        let window = table[row + 9] as usize + CUBE_POS_X as usize * comptime!(s.k * s.k * s.c_in);
        #[unroll]
        for tap in 0..n_taps {
            sync_cube();
            scratch[unit] = of_taps[tap];
            sync_cube();
            if unit < s.c_in {
                let mut sum = 0.0f32;
                for other in 0..lanes_in {
                    sum += scratch[other * width_in + unit];
                }
                parts[window + tap * s.c_in + unit] = sum;
            }
        }
    }
}
