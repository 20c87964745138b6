//! What the processor can do at most: fused multiply-adds on registers alone.

use super::{Simd, kernel};

/// Multiply-adds of one call of [`chains`].
pub(crate) const CHAIN_LENGTH: usize = 1 << 16;

/// 12 independent chains of multiply-adds (latency 4, two a cycle: 8 would do), written to `out` so that they happen.
/// Returns through `macs` how many multiply-adds it made.
pub(crate) fn chains(isa: super::Isa, out: &mut [f32], macs: &mut usize) {
    assert!(out.len() >= 16);
    // More than 8 channels: the widest registers.
    chains_kernel(isa, 16, out, macs);
}

kernel!(fn chains_kernel = chains_body(out: &mut [f32], macs: &mut usize));

#[inline(always)]
unsafe fn chains_body<S: Simd>(out: &mut [f32], macs: &mut usize) {
    // SAFETY: register arithmetic, and `chains` checked that `out` holds a register.
    unsafe {
        let (a, b) = (S::splat(0.999_999), S::splat(1e-9));
        let mut acc = [S::splat(out[0]); 12];
        for _ in 0..CHAIN_LENGTH / 12 {
            for v in &mut acc {
                *v = S::fma(*v, a, b);
            }
        }
        let mut sum = S::zero();
        for v in acc {
            sum = S::add(sum, v);
        }
        S::store(out.as_mut_ptr(), sum);
        *macs = CHAIN_LENGTH / 12 * 12 * S::L;
    }
}
