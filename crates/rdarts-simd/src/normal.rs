//! Standard normal values by Box-Muller, in loops that every instruction set vectorises.
//!
//! Logarithm, sine and cosine are polynomials of our own range (errors below 2e-7): a system's library would be called
//! value by value, and its bits differ between systems. No operation here rounds differently on another instruction set.

use super::{Simd, kernel};

/// Pairs of values that are made together.
pub const PAIRS: usize = 32;

/// `out[j]` and `out[PAIRS + j]`: the two values of pair `first + j`, under a key.
pub fn normal_pairs(isa: super::Isa, key: u64, first: u32, out: &mut [f32; 2 * PAIRS]) {
    normal_kernel(isa, PAIRS, key, first, out);
}

kernel!(fn normal_kernel = normal_body(key: u64, first: u32, out: &mut [f32; 2 * PAIRS]));

/// # Safety
/// None is needed: `S` only names the instruction set that this is compiled for.
#[inline(always)]
unsafe fn normal_body<S: Simd>(key: u64, first: u32, out: &mut [f32; 2 * PAIRS]) {
    const UNIT: f32 = 1.0 / (1 << 24) as f32;
    let (low, high) = (key as u32, (key >> 32) as u32);
    let (one, two) = out.split_at_mut(PAIRS);
    for (j, (one, two)) in one.iter_mut().zip(two).enumerate() {
        let pair = first.wrapping_add(j as u32);
        let a = mix32(pair.wrapping_mul(0x9E37_79B1).wrapping_add(low));
        let b = mix32(a ^ pair.wrapping_mul(0x85EB_CA77).wrapping_add(high));
        // 24 bits each, the first shifted by a half so that the logarithm never sees zero.
        let radius = (-2.0 * ln(((a >> 8) as i32 as f32 + 0.5) * UNIT)).sqrt();
        let (sin, cos) = sin_cos_of_turns((b >> 8) as i32 as f32 * UNIT);
        *one = radius * cos;
        *two = radius * sin;
    }
}

/// Every bit of the input changes every bit of the output with probability near one half.
#[inline(always)]
fn mix32(mut x: u32) -> u32 {
    x = (x ^ (x >> 16)).wrapping_mul(0x7FEB_352D);
    x = (x ^ (x >> 15)).wrapping_mul(0x846C_A68B);
    x ^ (x >> 16)
}

/// The natural logarithm of a positive normal number: with x = m 2^e, m in (sqrt(1/2), sqrt(2)], a polynomial in m - 1.
#[inline(always)]
pub fn ln(x: f32) -> f32 {
    const COEFFICIENTS: [f32; 9] = [
        7.037_683_6e-2,
        -1.151_461e-1,
        1.167_699_9e-1,
        -1.242_014_1e-1,
        1.424_932_3e-1,
        -1.666_805_8e-1,
        2.000_071_5e-1,
        -2.499_999_4e-1,
        3.333_333e-1,
    ];
    let bits = x.to_bits();
    let m = f32::from_bits((bits & 0x007F_FFFF) | 0x3F80_0000);
    let large = m > std::f32::consts::SQRT_2;
    let m = if large { 0.5 * m } else { m };
    let e = ((bits >> 23) as i32 - 127 + i32::from(large)) as f32;
    let f = m - 1.0;
    let z = f * f;
    let series = COEFFICIENTS.into_iter().fold(0.0, |sum, c| sum * f + c) * f * z;
    // ln 2 in two parts, the first exact in few bits.
    f + (series - 0.5 * z - 2.121_944_4e-4 * e) + 0.693_359_4 * e
}

/// Sine and cosine of 2 pi v, v in [0, 1): by quadrants, polynomials on a half of one to each side.
#[inline(always)]
pub fn sin_cos_of_turns(v: f32) -> (f32, f32) {
    let quadrant = (4.0 * v + 0.5) as i32;
    let x = (4.0 * v - quadrant as f32) * std::f32::consts::FRAC_PI_2;
    let z = x * x;
    let sin = x + x * z * (-1.666_665_5e-1 + z * (8.332_161e-3 - 1.951_529_6e-4 * z));
    let cos = 1.0 - 0.5 * z + z * z * (4.166_664_6e-2 + z * (-1.388_731_6e-3 + 2.443_315_7e-5 * z));
    let (s, c) = if quadrant & 1 == 0 { (sin, cos) } else { (cos, sin) };
    (if quadrant & 2 == 0 { s } else { -s }, if (quadrant + 1) & 2 == 0 { c } else { -c })
}
