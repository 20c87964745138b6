//! Per-channel arithmetic on pixels: everything that batch norm and weighted sums need, forward and backward.
//!
//! * [`blend`]: y (+)= shift + sum_k coef_k * x_k, all coefficients per channel.
//! * [`dots`]: per channel, sum g and sum g * y_k.
//! * [`add_moments`]: per channel, sum (y - pivot) and sum (y - pivot)^2.

use super::{AHEAD, Simd, in_blocks, kernel, reach};

/// One summand: pixels that lie `stride` values apart, a coefficient per channel, and a factor for all of them.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// Pixel after pixel, from the first on.
    pub data: &'a [f32],
    /// Values from one pixel to the next, at least the channels.
    pub stride: usize,
    /// Empty: one for every channel.
    pub coef: &'a [f32],
    /// What every coefficient is multiplied with.
    pub factor: f32,
}

impl<'a> Source<'a> {
    /// With coefficients and no factor.
    pub fn new(data: &'a [f32], stride: usize, coef: &'a [f32]) -> Self {
        Self { data, stride, coef, factor: 1.0 }
    }

    /// Where a pixel lies, or would: the next image begins where this one ends.
    pub fn at(&self, pixel: usize) -> *const f32 {
        self.data.as_ptr().wrapping_add(pixel * self.stride)
    }

    /// Panics unless there are `px` pixels of c channels.
    pub fn check(&self, px: usize, c: usize) {
        assert!(self.stride >= c && self.data.len() >= reach(px, self.stride, c), "a source is too short");
        assert!(self.coef.is_empty() || self.coef.len() >= c, "a source has too few coefficients");
    }

    /// Factor times the coefficients of n channels from cb on.
    #[inline(always)]
    pub(crate) unsafe fn coef<S: Simd>(&self, cb: usize, n: usize) -> S::V {
        // SAFETY: `check` saw at least c coefficients, and cb + n is at most c.
        unsafe {
            if self.coef.is_empty() {
                S::splat(self.factor)
            } else {
                S::mul(S::get(self.coef.as_ptr().add(cb), n), S::splat(self.factor))
            }
        }
    }
}

/// out (+)= shift + sum of coefficient * source over `px` pixels of c channels.
#[allow(clippy::too_many_arguments)]
pub fn blend(
    isa: super::Isa,
    px: usize,
    c: usize,
    sources: &[Source<'_>],
    shift: &[f32],
    accumulate: bool,
    out: &mut [f32],
    out_stride: usize,
) {
    assert!(px > 0 && out_stride >= c && out.len() >= reach(px, out_stride, c));
    assert!(shift.is_empty() || shift.len() >= c);
    for s in sources {
        s.check(px, c);
    }
    blend_kernel(isa, c, px, c, sources, shift, accumulate, out, out_stride);
}

kernel!(fn blend_kernel = blend_body(px: usize, c: usize, sources: &[Source<'_>], shift: &[f32], accumulate: bool, out: &mut [f32], out_stride: usize));

/// Pixels that stay in the first cache level while all summands are added.
const TILE: usize = 64;

#[inline(always)]
unsafe fn blend_body<S: Simd>(
    px: usize,
    c: usize,
    sources: &[Source<'_>],
    shift: &[f32],
    accumulate: bool,
    out: &mut [f32],
    out_stride: usize,
) {
    // SAFETY: `blend` checked that all slices hold px pixels; n stays within the c channels of a pixel.
    unsafe {
        let to = out.as_mut_ptr();
        if blend_few::<S>(px, c, 0, sources, shift, accumulate, to, out_stride) {
            return;
        }
        if matches!(registers::<S>(c), 1 | 2) && sources.len() > 4 {
            for first in (0..px).step_by(TILE) {
                let (px, to) = (TILE.min(px - first), to.add(first * out_stride));
                for (k, sources) in sources.chunks(4).enumerate() {
                    let shift = if k == 0 { shift } else { &[] };
                    let done = blend_few::<S>(px, c, first, sources, shift, accumulate || k > 0, to, out_stride);
                    debug_assert!(done, "there is a loop for each number of summands up to four");
                }
            }
            return;
        }
        // Few pixels at a time and all their channels: each tensor is read in the order of memory.
        let mut p0 = 0;
        while p0 < px {
            let few = (px - p0).min(8);
            for cb in (0..c).step_by(S::L) {
                let n = S::L.min(c - cb);
                let base = if shift.is_empty() { S::zero() } else { S::get(shift.as_ptr().add(cb), n) };
                in_blocks!(few, p, B => {
                    let to = to.add((p0 + p) * out_stride + cb);
                    let mut v = [base; B];
                    if accumulate {
                        for (j, v) in v.iter_mut().enumerate() {
                            *v = S::add(*v, S::get(to.add(j * out_stride), n));
                        }
                    }
                    for s in sources {
                        let coef = s.coef::<S>(cb, n);
                        let from = s.data.as_ptr().add((p0 + p) * s.stride + cb);
                        for (j, v) in v.iter_mut().enumerate() {
                            S::prefetch(from.wrapping_add(j * s.stride + AHEAD));
                            *v = S::fma(S::get(from.add(j * s.stride), n), coef, *v);
                        }
                    }
                    for (j, v) in v.iter().enumerate() {
                        S::put(to.add(j * out_stride), *v, n);
                    }
                });
            }
            p0 += few;
        }
    }
}

/// [`blend`] of up to four summands, from pixel `first` of theirs on, which keeps their coefficients in registers;
/// false: there is no such loop.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn blend_few<S: Simd>(
    px: usize,
    c: usize,
    first: usize,
    sources: &[Source<'_>],
    shift: &[f32],
    accumulate: bool,
    to: *mut f32,
    out_stride: usize,
) -> bool {
    macro_rules! instances {
        ($($r:literal $n:literal),*) => {
            match (registers::<S>(c), sources.len(), accumulate) {
                $(
                    ($r, $n, false) => blend_pixels::<S, $r, $n, false>(px, first, sources, shift, to, out_stride),
                    ($r, $n, true) => blend_pixels::<S, $r, $n, true>(px, first, sources, shift, to, out_stride),
                )*
                _ => return false,
            }
        };
    }
    // SAFETY: as `blend_body`.
    unsafe { instances!(1 1, 1 2, 1 3, 1 4, 2 1, 2 2, 2 3, 2 4, 4 1, 4 2) }
    true
}

/// How many full registers a pixel is, 0 if it is not a whole number.
#[inline(always)]
pub(super) fn registers<S: Simd>(c: usize) -> usize {
    if c.is_multiple_of(S::L) { c / S::L } else { 0 }
}

/// [`blend`] of N summands and pixels of R registers, from pixel `first` of the sources on.
#[inline(always)]
unsafe fn blend_pixels<S: Simd, const R: usize, const N: usize, const ADD: bool>(
    px: usize,
    first: usize,
    sources: &[Source<'_>],
    shift: &[f32],
    out: *mut f32,
    out_stride: usize,
) {
    // SAFETY: as `blend_body`, for pixels of R full registers.
    unsafe {
        let mut base = [S::zero(); R];
        if !shift.is_empty() {
            for (r, base) in base.iter_mut().enumerate() {
                *base = S::load(shift.as_ptr().add(r * S::L));
            }
        }
        let mut coef = [[S::zero(); R]; N];
        let mut from = [std::ptr::null::<f32>(); N];
        let mut stride = [0; N];
        for (k, source) in sources.iter().enumerate().take(N) {
            for (r, coef) in coef[k].iter_mut().enumerate() {
                *coef = source.coef::<S>(r * S::L, S::L);
            }
            from[k] = source.data.as_ptr().add(first * source.stride);
            stride[k] = source.stride;
        }
        // Dense pixels: all distances are constants.
        let d = R * S::L;
        if out_stride == d && stride.iter().all(|s| *s == d) {
            blend_strides::<S, R, N, ADD>(px, from, [d; N], coef, base, out, d)
        } else {
            blend_strides::<S, R, N, ADD>(px, from, stride, coef, base, out, out_stride)
        }
    }
}

/// The loop of [`blend_pixels`].
#[inline(always)]
unsafe fn blend_strides<S: Simd, const R: usize, const N: usize, const ADD: bool>(
    px: usize,
    from: [*const f32; N],
    stride: [usize; N],
    coef: [[S::V; R]; N],
    base: [S::V; R],
    out: *mut f32,
    out_stride: usize,
) {
    // SAFETY: as `blend_pixels`.
    unsafe {
        in_blocks!([4, 1], px, p, B => {
            for j in 0..B {
                for r in 0..R {
                    let to = out.add((p + j) * out_stride + r * S::L);
                    S::prefetch(to.wrapping_add(AHEAD));
                    let mut v = base[r];
                    if ADD {
                        v = S::add(v, S::load(to));
                    }
                    for k in 0..N {
                        S::prefetch(from[k].wrapping_add((p + j) * stride[k] + r * S::L + AHEAD));
                        v = S::fma(S::load(from[k].add((p + j) * stride[k] + r * S::L)), coef[k][r], v);
                    }
                    S::store(to, v);
                }
            }
        });
    }
}

/// out[..c] = sum over pixels of g, out[(1 + k) * c..] = sum of g * y_k; each y is (values, stride).
pub fn dots(isa: super::Isa, px: usize, c: usize, g: (&[f32], usize), ys: &[(&[f32], usize)], out: &mut [f32]) {
    out[..(1 + ys.len()) * c].fill(0.0);
    add_dots(isa, px, c, g, ys, out);
}

/// Adds [`dots`] of further pixels to `out`.
pub fn add_dots(isa: super::Isa, px: usize, c: usize, g: (&[f32], usize), ys: &[(&[f32], usize)], out: &mut [f32]) {
    assert!(px > 0 && out.len() >= (1 + ys.len()) * c);
    for (y, stride) in ys.iter().chain([&g]) {
        assert!(*stride >= c && y.len() >= reach(px, *stride, c));
    }
    dots_kernel(isa, c, px, c, g, ys, out);
}

kernel!(fn dots_kernel = dots_body(px: usize, c: usize, g: (&[f32], usize), ys: &[(&[f32], usize)], out: &mut [f32]));

#[inline(always)]
unsafe fn dots_body<S: Simd>(px: usize, c: usize, g: (&[f32], usize), ys: &[(&[f32], usize)], out: &mut [f32]) {
    /// Values that stay in the first cache level while every y is multiplied with them.
    const TILE: usize = 1024;
    // SAFETY: `add_dots` checked that all slices hold px pixels; n stays within the c channels of a pixel.
    unsafe {
        let tile = (TILE / c).max(8);
        let mut start = 0;
        while start < px {
            let pixels = tile.min(px - start);
            let gp = g.0.as_ptr().add(start * g.1);
            let to = out.as_mut_ptr();
            match registers::<S>(c) {
                1 => sum_pixels::<S, 1>(pixels, gp, g.1, to),
                2 => sum_pixels::<S, 2>(pixels, gp, g.1, to),
                4 => sum_pixels::<S, 4>(pixels, gp, g.1, to),
                _ => sum_any::<S>(pixels, c, gp, g.1, to),
            }
            for (k, (y, stride)) in ys.iter().enumerate() {
                let (yp, to) = (y.as_ptr().add(start * stride), to.add((1 + k) * c));
                // Dense pixels: all distances are constants.
                macro_rules! dot {
                    ($r:literal) => {{
                        let d = $r * S::L;
                        if (g.1, *stride) == (d, d) {
                            dot_pixels::<S, $r>(pixels, gp, d, yp, d, to)
                        } else {
                            dot_pixels::<S, $r>(pixels, gp, g.1, yp, *stride, to)
                        }
                    }};
                }
                match registers::<S>(c) {
                    1 => dot!(1),
                    2 => dot!(2),
                    4 => dot!(4),
                    _ => dot_any::<S>(pixels, c, gp, g.1, yp, *stride, to),
                }
            }
            start += pixels;
        }
    }
}

/// out += sum of g, pixels of R registers; eight sums at a time hide the latency of the addition.
#[inline(always)]
unsafe fn sum_pixels<S: Simd, const R: usize>(px: usize, g: *const f32, g_stride: usize, out: *mut f32) {
    // SAFETY: as `dots_body`.
    unsafe {
        let mut acc = [[S::zero(); R]; 8];
        macro_rules! sum {
            ($p:expr, $block:expr) => {
                for (j, acc) in acc.iter_mut().enumerate().take($block) {
                    for (r, acc) in acc.iter_mut().enumerate() {
                        let g = g.wrapping_add(($p + j) * g_stride + r * S::L);
                        S::prefetch(g.wrapping_add(AHEAD));
                        *acc = S::add(*acc, S::load(g));
                    }
                }
            };
        }
        // Pixels of four registers need no more sums than two pixels have.
        if R == 4 {
            in_blocks!([2, 1], px, p, B => sum!(p, B));
        } else {
            in_blocks!([8, 1], px, p, B => sum!(p, B));
        }
        add_sums::<S, R>(&acc, out);
    }
}

/// out += sum of g * y, pixels of R registers.
#[inline(always)]
unsafe fn dot_pixels<S: Simd, const R: usize>(
    px: usize,
    g: *const f32,
    g_stride: usize,
    y: *const f32,
    y_stride: usize,
    out: *mut f32,
) {
    // SAFETY: as `dots_body`.
    unsafe {
        let mut acc = [[S::zero(); R]; 8];
        // Pixels of four registers need no more sums than two pixels have.
        if R == 4 {
            in_blocks!([2, 1], px, p, B => {
                for (j, acc) in acc.iter_mut().enumerate().take(B) {
                    for (r, acc) in acc.iter_mut().enumerate() {
                        let g = S::load(g.add((p + j) * g_stride + r * S::L));
                        S::prefetch(y.wrapping_add((p + j) * y_stride + r * S::L + AHEAD));
                        *acc = S::fma(g, S::load(y.add((p + j) * y_stride + r * S::L)), *acc);
                    }
                }
            });
        } else {
            in_blocks!([8, 1], px, p, B => {
                for (j, acc) in acc.iter_mut().enumerate().take(B) {
                    for (r, acc) in acc.iter_mut().enumerate() {
                        let g = S::load(g.add((p + j) * g_stride + r * S::L));
                        S::prefetch(y.wrapping_add((p + j) * y_stride + r * S::L + AHEAD));
                        *acc = S::fma(g, S::load(y.add((p + j) * y_stride + r * S::L)), *acc);
                    }
                }
            });
        }
        add_sums::<S, R>(&acc, out);
    }
}

/// out += the eight sums of every register, pairwise.
#[inline(always)]
unsafe fn add_sums<S: Simd, const R: usize>(acc: &[[S::V; R]; 8], out: *mut f32) {
    // SAFETY: out holds R registers.
    unsafe {
        for r in 0..R {
            let mut sums = [S::zero(); 8];
            for (sum, acc) in sums.iter_mut().zip(acc) {
                *sum = acc[r];
            }
            let to = out.add(r * S::L);
            S::store(to, S::add(S::load(to), tree::<S>(sums)));
        }
    }
}

/// [`sum_pixels`] for any number of channels.
#[inline(always)]
unsafe fn sum_any<S: Simd>(px: usize, c: usize, g: *const f32, g_stride: usize, out: *mut f32) {
    // SAFETY: as `dots_body`; n stays within the c channels of a pixel.
    unsafe {
        for cb in (0..c).step_by(S::L) {
            let n = S::L.min(c - cb);
            let mut acc = [S::zero(); 8];
            in_blocks!(px, p, B => {
                for (j, acc) in acc.iter_mut().enumerate().take(B) {
                    *acc = S::add(*acc, S::get(g.add((p + j) * g_stride + cb), n));
                }
            });
            let to = out.add(cb);
            S::put(to, S::add(S::get(to, n), tree::<S>(acc)), n);
        }
    }
}

/// [`dot_pixels`] for any number of channels.
#[inline(always)]
unsafe fn dot_any<S: Simd>(
    px: usize,
    c: usize,
    g: *const f32,
    g_stride: usize,
    y: *const f32,
    y_stride: usize,
    out: *mut f32,
) {
    // SAFETY: as `dots_body`; n stays within the c channels of a pixel.
    unsafe {
        for cb in (0..c).step_by(S::L) {
            let n = S::L.min(c - cb);
            let mut acc = [S::zero(); 8];
            in_blocks!(px, p, B => {
                for (j, acc) in acc.iter_mut().enumerate().take(B) {
                    let g = S::get(g.add((p + j) * g_stride + cb), n);
                    *acc = S::fma(g, S::get(y.add((p + j) * y_stride + cb), n), *acc);
                }
            });
            let to = out.add(cb);
            S::put(to, S::add(S::get(to, n), tree::<S>(acc)), n);
        }
    }
}

/// sum[..c] += sum over pixels of (y - pivot), square[..c] += sum of (y - pivot)^2. With the first pixel as pivot a
/// channel that is constant over the image gives exactly zero.
pub fn add_moments(
    isa: super::Isa,
    px: usize,
    c: usize,
    y: &[f32],
    pivot: &[f32],
    sum: &mut [f32],
    square: &mut [f32],
) {
    assert!(px > 0 && y.len() >= reach(px, c, c) && pivot.len() >= c && sum.len() >= c && square.len() >= c);
    moments_kernel(isa, c, px, c, y, pivot, sum, square);
}

kernel!(fn moments_kernel = moments_body(px: usize, c: usize, y: &[f32], pivot: &[f32], sum: &mut [f32], square: &mut [f32]));

#[inline(always)]
unsafe fn moments_body<S: Simd>(px: usize, c: usize, y: &[f32], pivot: &[f32], sum: &mut [f32], square: &mut [f32]) {
    // SAFETY: `add_moments` checked the lengths; n stays within the c channels of a pixel.
    unsafe {
        for cb in (0..c).step_by(S::L) {
            let n = S::L.min(c - cb);
            let p0 = y.as_ptr().add(cb);
            let pivot = S::get(pivot.as_ptr().add(cb), n);
            let (mut a, mut b) = ([S::zero(); 8], [S::zero(); 8]);
            in_blocks!(px, p, B => {
                for (j, (a, b)) in a.iter_mut().zip(&mut b).enumerate().take(B) {
                    let v = S::sub(S::get(p0.add((p + j) * c), n), pivot);
                    *a = S::add(*a, v);
                    *b = S::fma(v, v, *b);
                }
            });
            let (sum, square) = (sum.as_mut_ptr().add(cb), square.as_mut_ptr().add(cb));
            S::put(sum, S::add(S::get(sum, n), tree::<S>(a)), n);
            S::put(square, S::add(S::get(square, n), tree::<S>(b)), n);
        }
    }
}

/// The sum of eight registers, pairwise.
#[inline(always)]
unsafe fn tree<S: Simd>(a: [S::V; 8]) -> S::V {
    // SAFETY: register arithmetic only.
    unsafe { S::add(S::add(S::add(a[0], a[1]), S::add(a[2], a[3])), S::add(S::add(a[4], a[5]), S::add(a[6], a[7]))) }
}
