//! Standard normal values as a pure function of (key, edge, position): the `noise` operation of space S4.
//!
//! A 32-bit mixing function of the position gives the bits, Box-Muller the values: position 2i and 2i + 1 of
//! an edge share one draw. Any image, in any order, on any thread, sees the same values.

/// Fills `out` with the noise of `edge` from position `start` on.
pub fn fill(key: u64, edge: usize, start: usize, out: &mut [f32]) {
    let key = mix64(key ^ (edge as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    for (i, value) in out.iter_mut().enumerate() {
        let position = start + i;
        let bits = mix64(key.wrapping_add((position as u64 / 2).wrapping_mul(0xD1B5_4A32_D192_ED03)));
        // 24 bits each, shifted by a half so that the logarithm never sees zero.
        let u = ((bits >> 40) as f32 + 0.5) / (1u64 << 24) as f32;
        let v = ((bits >> 8) as u32 >> 8) as f32 / (1u64 << 24) as f32;
        let radius = (-2.0 * u.ln()).sqrt();
        let angle = std::f32::consts::TAU * v;
        *value = radius * if position.is_multiple_of(2) { angle.cos() } else { angle.sin() };
    }
}

/// The finaliser of SplitMix64: every input bit changes every output bit with probability near one half.
fn mix64(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_standard_normal_and_do_not_depend_on_how_they_are_cut() {
        let mut whole = vec![0.0; 200_001];
        fill(7, 3, 0, &mut whole);
        let mut part = vec![0.0; 1001];
        fill(7, 3, 777, &mut part);
        assert_eq!(part, whole[777..1778]);
        let n = whole.len() as f64;
        let moment = |k: i32| whole.iter().map(|v| f64::from(*v).powi(k)).sum::<f64>() / n;
        assert!(moment(1).abs() < 0.01, "{}", moment(1));
        assert!((moment(2) - 1.0).abs() < 0.015, "{}", moment(2));
        assert!(moment(3).abs() < 0.03, "{}", moment(3));
        assert!((moment(4) - 3.0).abs() < 0.1, "{}", moment(4));
    }
}
