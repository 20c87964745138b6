//! Vector registers and the loops that use them: the only `unsafe` code of what computes on the processor.
//!
//! A loop is written once, generic over `Simd`, and compiled once per instruction set by `kernel!`, which
//! picks the variant at run time. Every kernel is a safe function on slices: it checks once, at its entry, that
//! the slices are as long as the shape says, and the loops below rely on that.
//!
//! | [`Isa`] | lanes | where |
//! |---|---|---|
//! | `Avx512` | 16 (8 for up to 8 channels) | x86-64 with AVX-512 F and VL |
//! | `Avx2` | 8 | x86-64 with AVX2 and FMA |
//! | `Portable` | 8 | everywhere; the compiler vectorises it for the target's baseline (SSE2, NEON) |

pub mod aligned;

mod portable;

mod avx2;

mod avx512;

pub mod blend;

pub mod window;

pub mod pointwise;

pub mod tile;

pub mod depthwise;

pub mod pool;

pub mod normal;

pub mod fma;

pub(crate) use avx2::Avx2;
pub(crate) use avx512::Avx512;
pub(crate) use portable::Portable;

/// An instruction set the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// AVX-512 F and VL with FMA.
    Avx512,
    /// AVX2 with FMA.
    Avx2,
    /// No more than the target's baseline.
    Portable,
}

impl Isa {
    /// Every instruction set this processor has, fastest first.
    pub fn available() -> Vec<Self> {
        [Self::Avx512, Self::Avx2, Self::Portable].into_iter().filter(|isa| isa.is_available()).collect()
    }

    /// The fastest of them.
    pub fn best() -> Self {
        Self::available()[0]
    }

    /// Panics unless this processor has it.
    pub fn check(self) {
        assert!(self.is_available(), "this processor has no {}", self.name());
    }

    /// `avx512`, `avx2` or `portable`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn is_available(self) -> bool {
        match self {
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") && Self::Avx2.is_available()
            }
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            Self::Portable => true,
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn is_available(self) -> bool {
        self == Self::Portable
    }

    /// Calls f compiled for AVX-512, as far as it is inlined; see [`compiled_for!`].
    #[doc(hidden)]
    pub fn with_avx512<R>(f: impl FnOnce() -> R) -> R {
        Self::Avx512.check();
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
        fn compiled<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has it, or `check` has panicked.
        return unsafe { compiled(f) };
        #[cfg(not(target_arch = "x86_64"))]
        f()
    }

    /// The same for AVX2.
    #[doc(hidden)]
    pub fn with_avx2<R>(f: impl FnOnce() -> R) -> R {
        Self::Avx2.check();
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        fn compiled<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        return unsafe { compiled(f) };
        #[cfg(not(target_arch = "x86_64"))]
        f()
    }

    /// Half-empty registers help nobody: up to 8 channels take the 8-lane code.
    fn for_channels(self, c: usize) -> Self {
        if self == Self::Avx512 && c <= 8 { Self::Avx2 } else { self }
    }
}

/// Work compiled for an instruction set: for loops that the compiler vectorises. It is written out for each of them, since
/// the compiler inlines what is called at one place, and leaves a function that several share as it is, compiled for none.
#[macro_export]
macro_rules! compiled_for {
    ($isa:expr, $work:expr) => {
        match $isa {
            $crate::Isa::Avx512 => $crate::Isa::with_avx512(|| $work),
            $crate::Isa::Avx2 => $crate::Isa::with_avx2(|| $work),
            _ => $work,
        }
    };
}

/// One vector register of [`Simd::L`] floats.
///
/// # Safety
/// All functions may only be called where the instruction set is available, which [`kernel!`] sees to; pointers
/// must be valid for the lanes read or written.
pub(crate) trait Simd: Copy {
    /// Lanes.
    const L: usize;
    /// Whether loops with distances compiled in are worth their code: registers of 16 lanes, or of 8. A constant of its own,
    /// since the compiler leaves out what stands behind one that is false, but not what stands behind a comparison.
    const L16: bool = false;
    /// As `L16`.
    const L8: bool = false;
    /// A register.
    type V: Copy;

    unsafe fn zero() -> Self::V;
    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn load(p: *const f32) -> Self::V;
    unsafe fn store(p: *mut f32, v: Self::V);
    /// The first n lanes from memory, zero in the others.
    unsafe fn load_n(p: *const f32, n: usize) -> Self::V;
    /// Writes the first n lanes.
    unsafe fn store_n(p: *mut f32, v: Self::V, n: usize);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// a * b + c.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// v where gate > 0, else zero.
    unsafe fn gate(gate: Self::V, v: Self::V) -> Self::V;
    /// a where x > y, else b.
    unsafe fn select_gt(x: Self::V, y: Self::V, a: Self::V, b: Self::V) -> Self::V;
    /// a where x == y, else zero.
    unsafe fn select_eq(x: Self::V, y: Self::V, a: Self::V) -> Self::V;

    /// Asks for the cache line at p, which may lie anywhere, in the second cache level. In the first, the lines that a
    /// loop asks for [`AHEAD`] of time would displace those it uses.
    #[inline(always)]
    fn prefetch(p: *const f32) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch of any address is harmless; SSE is part of x86-64.
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(p.cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = p;
    }

    /// `load_n`, the full register without a mask.
    #[inline(always)]
    unsafe fn get(p: *const f32, n: usize) -> Self::V {
        // SAFETY: as the trait asks.
        unsafe { if n == Self::L { Self::load(p) } else { Self::load_n(p, n) } }
    }

    /// `store_n`, the full register without a mask.
    #[inline(always)]
    unsafe fn put(p: *mut f32, v: Self::V, n: usize) {
        // SAFETY: as the trait asks.
        unsafe { if n == Self::L { Self::store(p, v) } else { Self::store_n(p, v, n) } }
    }
}

/// Defines `$name(isa, channels, args)`: calls the generic `$body::<S>(args)` compiled for the instruction set.
macro_rules! kernel {
    ($(#[$doc:meta])* $vis:vis fn $name:ident = $body:ident ( $($arg:ident : $ty:ty),* $(,)? )) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name(isa: $crate::Isa, channels: usize, $($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
            fn avx512($($arg: $ty),*) {
                // SAFETY: compiled for AVX-512, which the caller has checked.
                unsafe { $body::<$crate::Avx512>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $ty),*) {
                // SAFETY: compiled for AVX2 and FMA, which the caller has checked.
                unsafe { $body::<$crate::Avx2>($($arg),*) }
            }
            isa.check();
            match isa.for_channels(channels) {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the processor has it, or `check` has panicked.
                $crate::Isa::Avx512 => unsafe { avx512($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                $crate::Isa::Avx2 => unsafe { avx2($($arg),*) },
                // SAFETY: the portable code needs no instruction set.
                _ => unsafe { $body::<$crate::Portable>($($arg),*) },
            }
        }
    };
}
pub(crate) use kernel;

/// How many values ahead a loop asks for what it will read or write: 256 cache lines. The hardware fetches ahead by
/// itself, but stops at the end of every page of 4 KiB, which is one to four rows of an image here, and starts again
/// with a miss of the translation and of the cache. See LOG.md for what other distances gave.
pub(crate) const AHEAD: usize = 256 * 16;

/// Loops with distances compiled in are the others over again, with numbers in the place of names: a build with debug
/// assertions leaves them out and compiles in a fraction of the time.
const FIXED: bool = !cfg!(debug_assertions);

/// Values from the first of `px` pixels of c channels, `stride` values apart, to the end of the last one: what a slice of them
/// has at least. The loops rely on it, so that no product may wrap around.
///
/// # Panics
/// If there is no pixel, or memory could not hold them.
fn reach(px: usize, stride: usize, c: usize) -> usize {
    let before = px.checked_sub(1).and_then(|n| n.checked_mul(stride));
    before.and_then(|n| n.checked_add(c)).expect("pixels that fit into memory")
}

/// Pixels of a tile. 8 KiB leave the first cache level (32 to 48 KiB) to the weights and the rows of a window; 64 pixels make
/// up for loading and adding sums.
pub fn tile_pixels(c: usize) -> usize {
    (2048 / c).max(64)
}

/// Runs `$body` for blocks that cover 0..$n, with the position in `$at` and the number of steps in the constant
/// `$block`: 8, 4, 2 and 1, or first the sizes that stand in brackets.
macro_rules! in_blocks {
    ($n:expr, $at:ident, $block:ident => $body:expr) => { $crate::in_blocks!([8, 4, 2, 1], $n, $at, $block => $body) };
    ([$($size:literal),*], $n:expr, $at:ident, $block:ident => $body:expr) => {{
        let n: usize = $n;
        let mut $at = 0;
        $(while $size <= n - $at {
            const $block: usize = $size;
            $body;
            $at += $size;
        })*
    }};
}
pub(crate) use in_blocks;
