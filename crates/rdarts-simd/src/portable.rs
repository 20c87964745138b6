//! 8 lanes as an array: plain Rust that the compiler vectorises for whatever the target has (SSE2, NEON).

use super::Simd;

/// The marker of this instruction set.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

/// Lane by lane.
#[inline(always)]
fn map(f: impl Fn(usize) -> f32) -> [f32; 8] {
    std::array::from_fn(f)
}

// SAFETY of every block below: the trait's contract, the pointer is valid for the lanes read or written.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd for Portable {
    const L: usize = 8;
    type V = [f32; 8];

    #[inline(always)]
    unsafe fn zero() -> [f32; 8] {
        [0.0; 8]
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> [f32; 8] {
        [x; 8]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> [f32; 8] {
        unsafe { p.cast::<[f32; 8]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: [f32; 8]) {
        unsafe { p.cast::<[f32; 8]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn load_n(p: *const f32, n: usize) -> [f32; 8] {
        let mut v = [0.0; 8];
        unsafe { std::ptr::copy_nonoverlapping(p, v.as_mut_ptr(), n) };
        v
    }
    #[inline(always)]
    unsafe fn store_n(p: *mut f32, v: [f32; 8], n: usize) {
        unsafe { std::ptr::copy_nonoverlapping(v.as_ptr(), p, n) };
    }
    #[inline(always)]
    unsafe fn add(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        map(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn sub(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        map(|i| a[i] - b[i])
    }
    #[inline(always)]
    unsafe fn mul(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        map(|i| a[i] * b[i])
    }
    #[inline(always)]
    unsafe fn fma(a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        // Two roundings: without the instruction a fused product would be a library call per lane.
        map(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    unsafe fn max(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        map(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn gate(gate: [f32; 8], v: [f32; 8]) -> [f32; 8] {
        map(|i| if gate[i] > 0.0 { v[i] } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn select_gt(x: [f32; 8], y: [f32; 8], a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        map(|i| if x[i] > y[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn select_eq(x: [f32; 8], y: [f32; 8], a: [f32; 8]) -> [f32; 8] {
        map(|i| if x[i] == y[i] { a[i] } else { 0.0 })
    }
}
