//! Nodes: the weighted sum of what leads there.

use cubecl::prelude::*;

use super::UNITS;
use crate::kernels::norm::coefficients;
use crate::table::{NONE, ROW};

/// Row: 0 number of terms, 1 node, 2 distance of its pixels; list of each term: 0 tensor, 1 distance of its pixels, 2 the
/// norm's coefficients or none, 3 mixing weight, 4 drop path, 5 the norm's partial sums or none, 6 how many, 7 its scale in
/// the weights or none. With `terms`, the number of them, what the norms have summed becomes coefficients first.
#[cube(launch)]
pub fn sum(
    arena: &mut [f32],
    coefs: &mut [f32],
    p: &[f32],
    w: &[f32],
    drop: &[f32],
    table: &[u32],
    partials: &[f32],
    rows_at: u32,
    n_px: u32,
    px_of_image: u32,
    n_images: u32,
    eps: f32,
    #[comptime] terms: usize,
    #[comptime] c: usize,
) {
    let row = rows_at as usize + CUBE_POS_Y as usize * ROW;
    let n_terms = table[row] as usize;
    let dst = table[row + 1] as usize;
    let dst_pitch = table[row + 2] as usize;
    let list = table[row + ROW - 1] as usize;
    let mut scale = Shared::<[f32]>::new_slice(comptime!(if terms > 0 { terms * c } else { 1 }));
    let mut shift = Shared::<[f32]>::new_slice(comptime!(if terms > 0 { terms * c } else { 1 }));
    if comptime!(terms > 0) {
        let is_first = u32::cast_from(CUBE_POS_X == 0);
        for term in 0..n_terms {
            let at = list + 8 * term;
            coefficients(
                partials,
                coefs,
                w,
                &mut scale,
                &mut shift,
                term * c,
                table[at + 2],
                table[at + 5],
                table[at + 6],
                table[at + 7],
                is_first,
                eps,
                c,
            );
        }
    }
    let n = n_px as usize * c;
    for i in range_stepped(CUBE_POS_X as usize * UNITS + UNIT_POS as usize, n, CUBE_COUNT_X as usize * UNITS) {
        let px = i / c;
        let ch = i % c;
        let mut sum = 0.0f32;
        for term in 0..n_terms {
            let at = list + 8 * term;
            let from = table[at] as usize;
            let pitch = table[at + 1] as usize;
            let coef = table[at + 2];
            let path = table[at + 4];
            let mut v = arena[from + px * pitch + ch];
            if comptime!(terms > 0) {
                v = scale[term * c + ch] * v + shift[term * c + ch];
            } else {
                if coef != NONE {
                    v = coefs[coef as usize + 2 * c + ch] * v + coefs[coef as usize + 3 * c + ch];
                }
            }
            let mut weight = p[table[at + 3] as usize];
            if path != NONE {
                weight *= drop[path as usize * n_images as usize + px / px_of_image as usize];
            }
            sum += weight * v;
        }
        arena[dst + px * dst_pitch + ch] = sum;
    }
}
