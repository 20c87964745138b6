//! Weight gradients: the sums of what the cubes have found, in their order.

use cubecl::prelude::*;

use super::{UNITS, cube};
use crate::table::ROW;

/// Row: 0 parts, 1 how many, 2 values of each, 3 where their sum goes.
#[cube(launch)]
pub fn reduce(parts: &[f32], w_bar: &mut [f32], table: &[u32], rows_at: u32) {
    let row = rows_at as usize + CUBE_POS_Y as usize * ROW;
    let part = table[row] as usize;
    let n = table[row + 1] as usize;
    let len = table[row + 2] as usize;
    let dst = table[row + 3] as usize;
    let i = cube() * UNITS + UNIT_POS as usize;
    if i < len {
        let mut sum = 0.0f32;
        for k in 0..n {
            sum += parts[part + k * len + i];
        }
        w_bar[dst + i] = sum;
    }
}
