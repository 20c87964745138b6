//! 8 lanes: AVX2 with FMA.
#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]

/// The marker of this instruction set.
#[derive(Clone, Copy)]
pub(crate) struct Avx2;

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Avx2;
    use crate::{FIXED, Simd};
    use std::arch::x86_64::*;

    /// Row n has its first n lanes set.
    static MASKS: [[i32; 8]; 9] = {
        let mut masks = [[0; 8]; 9];
        let mut n = 0;
        while n < 9 {
            let mut lane = 0;
            while lane < n {
                masks[n][lane] = -1;
                lane += 1;
            }
            n += 1;
        }
        masks
    };

    // SAFETY of every block below: the trait's contract, the instruction set is there and the pointer is valid.
    #[allow(clippy::undocumented_unsafe_blocks)]
    impl Simd for Avx2 {
        const L: usize = 8;
        const L8: bool = FIXED;
        type V = __m256;

        #[inline(always)]
        unsafe fn zero() -> __m256 {
            unsafe { _mm256_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> __m256 {
            unsafe { _mm256_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> __m256 {
            unsafe { _mm256_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut f32, v: __m256) {
            unsafe { _mm256_storeu_ps(p, v) }
        }
        #[inline(always)]
        unsafe fn load_n(p: *const f32, n: usize) -> __m256 {
            unsafe { _mm256_maskload_ps(p, _mm256_loadu_si256(MASKS[n].as_ptr().cast())) }
        }
        #[inline(always)]
        unsafe fn store_n(p: *mut f32, v: __m256, n: usize) {
            unsafe { _mm256_maskstore_ps(p, _mm256_loadu_si256(MASKS[n].as_ptr().cast()), v) }
        }
        #[inline(always)]
        unsafe fn add(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sub(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_sub_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_mul_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn max(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_max_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn gate(gate: __m256, v: __m256) -> __m256 {
            unsafe { _mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(gate, _mm256_setzero_ps()), v) }
        }
        #[inline(always)]
        unsafe fn select_gt(x: __m256, y: __m256, a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_blendv_ps(b, a, _mm256_cmp_ps::<_CMP_GT_OQ>(x, y)) }
        }
        #[inline(always)]
        unsafe fn select_eq(x: __m256, y: __m256, a: __m256) -> __m256 {
            unsafe { _mm256_and_ps(_mm256_cmp_ps::<_CMP_EQ_OQ>(x, y), a) }
        }
    }
}
