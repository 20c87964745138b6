//! Per-channel arithmetic on pixels: everything that batch norm and weighted sums need, forward and backward.
//!
//! * [`blend`]: y (+)= shift + sum_k coef_k * x_k, all coefficients per channel.
//! * [`dots`]: per channel, sum g and sum g * y_k.
//! * [`moments`]: per channel, sum (y - pivot) and sum (y - pivot)^2.

use super::{Simd, in_blocks, kernel};

/// One summand: pixels that lie `stride` values apart, a coefficient per channel, and a factor for all of them.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub data: &'a [f32],
    pub stride: usize,
    /// Empty: one for every channel.
    pub coef: &'a [f32],
    pub factor: f32,
}

impl<'a> Source<'a> {
    /// With coefficients and no factor.
    pub fn new(data: &'a [f32], stride: usize, coef: &'a [f32]) -> Self {
        Self { data, stride, coef, factor: 1.0 }
    }

    /// Panics unless there are `px` pixels of c channels.
    pub fn check(&self, px: usize, c: usize) {
        assert!(self.stride >= c && self.data.len() >= (px - 1) * self.stride + c, "a source is too short");
        assert!(self.coef.is_empty() || self.coef.len() >= c, "a source has too few coefficients");
    }

    /// Factor times the coefficients of n channels from cb on.
    #[inline(always)]
    pub unsafe fn coef<S: Simd>(&self, cb: usize, n: usize) -> S::V {
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
pub(crate) fn blend(
    isa: super::Isa,
    px: usize,
    c: usize,
    sources: &[Source<'_>],
    shift: &[f32],
    accumulate: bool,
    out: &mut [f32],
    out_stride: usize,
) {
    assert!(px > 0 && out_stride >= c && out.len() >= (px - 1) * out_stride + c);
    assert!(shift.is_empty() || shift.len() >= c);
    for s in sources {
        s.check(px, c);
    }
    blend_kernel(isa, c, px, c, sources, shift, accumulate, out, out_stride);
}

kernel!(fn blend_kernel = blend_body(px: usize, c: usize, sources: &[Source<'_>], shift: &[f32], accumulate: bool, out: &mut [f32], out_stride: usize));

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
        for cb in (0..c).step_by(S::L) {
            let n = S::L.min(c - cb);
            let base = if shift.is_empty() { S::zero() } else { S::get(shift.as_ptr().add(cb), n) };
            in_blocks!(px, p, B => {
                let to = out.as_mut_ptr().add(p * out_stride + cb);
                let mut v = [base; B];
                if accumulate {
                    for (j, v) in v.iter_mut().enumerate() {
                        *v = S::add(*v, S::get(to.add(j * out_stride), n));
                    }
                }
                for s in sources {
                    let coef = s.coef::<S>(cb, n);
                    let from = s.data.as_ptr().add(p * s.stride + cb);
                    for (j, v) in v.iter_mut().enumerate() {
                        *v = S::fma(S::get(from.add(j * s.stride), n), coef, *v);
                    }
                }
                for (j, v) in v.iter().enumerate() {
                    S::put(to.add(j * out_stride), *v, n);
                }
            });
        }
    }
}

/// out[..c] = sum over pixels of g, out[(1 + k) * c..] = sum of g * y_k; each y is (values, stride).
pub(crate) fn dots(isa: super::Isa, px: usize, c: usize, g: (&[f32], usize), ys: &[(&[f32], usize)], out: &mut [f32]) {
    assert!(px > 0 && out.len() >= (1 + ys.len()) * c);
    for (y, stride) in ys.iter().chain([&g]) {
        assert!(*stride >= c && y.len() >= (px - 1) * stride + c);
    }
    dots_kernel(isa, c, px, c, g, ys, out);
}

kernel!(fn dots_kernel = dots_body(px: usize, c: usize, g: (&[f32], usize), ys: &[(&[f32], usize)], out: &mut [f32]));

#[inline(always)]
unsafe fn dots_body<S: Simd>(px: usize, c: usize, g: (&[f32], usize), ys: &[(&[f32], usize)], out: &mut [f32]) {
    /// Pixels that stay in the first cache level while every y is multiplied with them.
    const TILE: usize = 64;
    // SAFETY: `dots` checked that all slices hold px pixels; n stays within the c channels of a pixel.
    unsafe {
        out[..(1 + ys.len()) * c].fill(0.0);
        let out = out.as_mut_ptr();
        for cb in (0..c).step_by(S::L) {
            let n = S::L.min(c - cb);
            let mut start = 0;
            while start < px {
                let tile = TILE.min(px - start);
                let gp = g.0.as_ptr().add(start * g.1 + cb);
                let mut acc = [S::zero(); 8];
                in_blocks!(tile, p, B => {
                    for j in 0..B {
                        acc[j] = S::add(acc[j], S::get(gp.add((p + j) * g.1), n));
                    }
                });
                let to = out.add(cb);
                S::put(to, S::add(S::get(to, n), tree::<S>(acc)), n);
                for (k, (y, stride)) in ys.iter().enumerate() {
                    let yp = y.as_ptr().add(start * stride + cb);
                    let mut acc = [S::zero(); 8];
                    in_blocks!(tile, p, B => {
                        for j in 0..B {
                            acc[j] = S::fma(S::get(gp.add((p + j) * g.1), n), S::get(yp.add((p + j) * stride), n), acc[j]);
                        }
                    });
                    let to = out.add((1 + k) * c + cb);
                    S::put(to, S::add(S::get(to, n), tree::<S>(acc)), n);
                }
                start += tile;
            }
        }
    }
}

/// sum[..c] = sum over pixels of (y - pivot), square[..c] = sum of (y - pivot)^2, pivot = the first pixel, written
/// to `pivot`: a channel that is constant over the image gives exactly zero.
pub(crate) fn moments(
    isa: super::Isa,
    px: usize,
    c: usize,
    y: &[f32],
    pivot: &mut [f32],
    sum: &mut [f32],
    square: &mut [f32],
) {
    assert!(px > 0 && y.len() >= px * c && pivot.len() >= c && sum.len() >= c && square.len() >= c);
    pivot[..c].copy_from_slice(&y[..c]);
    moments_kernel(isa, c, px, c, y, sum, square);
}

kernel!(fn moments_kernel = moments_body(px: usize, c: usize, y: &[f32], sum: &mut [f32], square: &mut [f32]));

#[inline(always)]
unsafe fn moments_body<S: Simd>(px: usize, c: usize, y: &[f32], sum: &mut [f32], square: &mut [f32]) {
    // SAFETY: `moments` checked the lengths; n stays within the c channels of a pixel.
    unsafe {
        for cb in (0..c).step_by(S::L) {
            let n = S::L.min(c - cb);
            let p0 = y.as_ptr().add(cb);
            let pivot = S::get(p0, n);
            let (mut a, mut b) = ([S::zero(); 8], [S::zero(); 8]);
            in_blocks!(px, p, B => {
                for j in 0..B {
                    let v = S::sub(S::get(p0.add((p + j) * c), n), pivot);
                    a[j] = S::add(a[j], v);
                    b[j] = S::fma(v, v, b[j]);
                }
            });
            S::put(sum.as_mut_ptr().add(cb), tree::<S>(a), n);
            S::put(square.as_mut_ptr().add(cb), tree::<S>(b), n);
        }
    }
}

/// The sum of eight registers, pairwise.
#[inline(always)]
unsafe fn tree<S: Simd>(a: [S::V; 8]) -> S::V {
    // SAFETY: register arithmetic only.
    unsafe { S::add(S::add(S::add(a[0], a[1]), S::add(a[2], a[3])), S::add(S::add(a[4], a[5]), S::add(a[6], a[7]))) }
}
