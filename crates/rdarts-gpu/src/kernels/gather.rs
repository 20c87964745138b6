//! The gradient of a state: its part of the output's gradient, skip connections, and what comes back through the windows
//! of all branches of a kind that start there; and where it is complete, the sums that the norms need that end there.

use cubecl::prelude::*;

use super::{PART_BACK, Shape, UNITS};
use crate::table::{NONE, ROW};

/// Row: 0 state, 1 distance of its pixels, 2 its coefficients or none, 3 its gradient, 4 whether it is added, 5 number of
/// branches, 6 of skip connections, 7 its part of the output's gradient or none, 8 distance of its pixels, 9 number of
/// sums. List: of each branch the gradient behind its window and its weights; of each skip connection the gradient of its
/// node, its mixing weight, its drop path; of each sum the tensor, the distance of its pixels, the drop path, the partial
/// sums.
#[cube(launch)]
pub fn gather(
    output: &[f32],
    arena: &[f32],
    gradients: &mut [f32],
    coefs: &[f32],
    p: &[f32],
    w: &[f32],
    drop: &[f32],
    table: &[u32],
    partials: &mut [f32],
    rows_at: u32,
    n_px: u32,
    n_images: u32,
    stretch: u32,
    #[comptime] s: Shape,
) {
    let row = rows_at as usize + CUBE_POS_Y as usize * ROW;
    let from = table[row] as usize;
    let pitch = table[row + 1] as usize;
    let coef = table[row + 2];
    let dst = table[row + 3] as usize;
    let is_added = table[row + 4];
    let n_branches = table[row + 5] as usize;
    let n_skips = table[row + 6] as usize;
    let output_at = table[row + 7];
    let output_pitch = table[row + 8] as usize;
    let n_sums = table[row + 9] as usize;
    let list = table[row + ROW - 1] as usize;
    let skips = list + 2 * n_branches;
    let sums = skips + 3 * n_skips;
    let unit = UNIT_POS as usize;
    let lanes = comptime!(UNITS / s.c_in);
    let lane = unit / s.c_in;
    let ch = unit % s.c_in;
    let first = CUBE_POS_X as usize * stretch as usize;
    let end = min(first + stretch as usize, n_px as usize);
    if lane < lanes {
        let mut a = 1.0f32;
        let mut b = 0.0f32;
        if coef != NONE {
            a = coefs[coef as usize + 2 * s.c_in + ch];
            b = coefs[coef as usize + 3 * s.c_in + ch];
        }
        for px in range_stepped(first + lane, end, lanes) {
            let image = px / comptime!(s.wd * s.h);
            let mut sum = 0.0f32;
            if output_at != NONE {
                sum = output[output_at as usize + px * output_pitch + ch];
            }
            for skip in 0..n_skips {
                let at = skips + 3 * skip;
                let path = table[at + 2];
                let mut weight = p[table[at + 1] as usize];
                if path != NONE {
                    weight *= drop[path as usize * n_images as usize + image];
                }
                sum += weight * gradients[table[at] as usize + px * s.c_in + ch];
            }
            if comptime!(s.k > 0) {
                if a * arena[from + px * pitch + ch] + b > 0.0f32 {
                    let ix = px % s.wd;
                    let iy = (px / s.wd) % s.h;
                    let pad = comptime!(s.dilation * (s.k - 1) / 2);
                    for branch in 0..n_branches {
                        let mid = table[list + 2 * branch] as usize;
                        let w_at = table[list + 2 * branch + 1] as usize;
                        #[unroll]
                        for tap in 0..comptime!(s.k * s.k) {
                            // y * stride + tap * dilation = iy + pad.
                            let yy = iy + pad;
                            let xx = ix + pad;
                            let dy = (tap / s.k) * s.dilation;
                            let dx = (tap % s.k) * s.dilation;
                            if yy >= dy && xx >= dx {
                                let oy = (yy - dy) / s.stride;
                                let ox = (xx - dx) / s.stride;
                                if (yy - dy) % s.stride == 0 && (xx - dx) % s.stride == 0 && oy < s.ho && ox < s.wo {
                                    let g = gradients[mid + ((image * s.ho + oy) * s.wo + ox) * s.c_in + ch];
                                    sum += g * w[w_at + tap * s.c_in + ch];
                                }
                            }
                        }
                    }
                }
            }
            let at = dst + px * s.c_in + ch;
            if is_added == 1 {
                gradients[at] += sum;
            } else {
                gradients[at] = sum;
            }
        }
    }
    let mut of_g = Shared::<[f32]>::new_slice(UNITS);
    let mut of_gy = Shared::<[f32]>::new_slice(UNITS);
    for k in 0..n_sums {
        let at = sums + 4 * k;
        let y_at = table[at] as usize;
        let y_pitch = table[at + 1] as usize;
        let path = table[at + 2];
        let part = table[at + 3] as usize + CUBE_POS_X as usize * comptime!(PART_BACK * s.c_in);
        let mut sum = 0.0f32;
        let mut product = 0.0f32;
        if lane < lanes {
            for px in range_stepped(first + lane, end, lanes) {
                let mut m = 1.0f32;
                if path != NONE {
                    m = drop[path as usize * n_images as usize + px / comptime!(s.wd * s.h)];
                }
                let g = m * gradients[dst + px * s.c_in + ch];
                sum += g;
                product += g * arena[y_at + px * y_pitch + ch];
            }
        }
        sync_cube();
        of_g[unit] = sum;
        of_gy[unit] = product;
        sync_cube();
        if unit < s.c_in {
            for other in 1..lanes {
                sum += of_g[other * s.c_in + unit];
                product += of_gy[other * s.c_in + unit];
            }
            partials[part + ch] = sum;
            partials[part + s.c_in + ch] = product;
        }
    }
}
