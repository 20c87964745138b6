//! Standard normal values as a pure function of (key, edge, position): the `noise` operation of space S4.
//!
//! A mixing function of the position gives the bits, Box-Muller the values: position 2i and 2i + 1 of an edge share
//! one draw. Any image, in any order, on any thread and instruction set, sees the same values.

use super::Action;
use crate::Kernels;
use rdarts_simd::normal::{PAIRS, normal_pairs};

pub(super) fn action() -> Action {
    Action::Noise
}

/// Fills `out` with the noise of `edge` from position `start` on.
pub fn fill(kernels: &Kernels, key: u64, edge: usize, start: usize, out: &mut [f32]) {
    let key = mix64(key ^ (edge as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mut block = [0.0; 2 * PAIRS];
    let mut at = start;
    while at < start + out.len() {
        // Blocks begin at multiples of their length, so that cuts change nothing.
        let begin = at / block.len() * block.len();
        normal_pairs(kernels.isa(), key, (begin / 2) as u32, &mut block);
        let end = (begin + block.len()).min(start + out.len());
        for (position, value) in (at..end).zip(&mut out[at - start..]) {
            let pair = (position - begin) / 2;
            *value = block[if position % 2 == 0 { pair } else { PAIRS + pair }];
        }
        at = end;
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
        let kernels = Kernels::new(crate::Isa::best());
        let mut whole = vec![0.0; 200_001];
        fill(&kernels, 7, 3, 0, &mut whole);
        let mut part = vec![0.0; 1001];
        fill(&kernels, 7, 3, 777, &mut part);
        assert_eq!(part, whole[777..1778]);
        let n = whole.len() as f64;
        let moment = |k: i32| whole.iter().map(|v| f64::from(*v).powi(k)).sum::<f64>() / n;
        assert!(moment(1).abs() < 0.01, "{}", moment(1));
        assert!((moment(2) - 1.0).abs() < 0.015, "{}", moment(2));
        assert!(moment(3).abs() < 0.03, "{}", moment(3));
        assert!((moment(4) - 3.0).abs() < 0.1, "{}", moment(4));
    }
}
