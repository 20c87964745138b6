//! What the processor can do at most: fused multiply-adds on registers alone.

use super::{Isa, Simd, kernel};

/// Multiply-adds of a lane in one call of the loop.
const CHAIN_LENGTH: usize = 1 << 16;

/// Does nothing but multiply-adds, for some milliseconds, and returns how many: what a thread reaches at most, for whoever
/// holds a clock beside it.
pub fn multiply_adds(isa: Isa) -> usize {
    let (mut out, mut one, mut total) = ([1.0; 16], 0, 0);
    for _ in 0..64 {
        // More than 8 channels: the widest registers.
        chains_kernel(isa, 16, &mut out, &mut one);
        total += one;
    }
    std::hint::black_box(out);
    total
}

// 12 independent chains of multiply-adds (latency 4, two a cycle: 8 would do), written to `out` so that they happen.
kernel!(fn chains_kernel = chains_body(out: &mut [f32; 16], macs: &mut usize));

#[inline(always)]
unsafe fn chains_body<S: Simd>(out: &mut [f32; 16], macs: &mut usize) {
    // SAFETY: register arithmetic, and `out` holds a register of 16 lanes.
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
