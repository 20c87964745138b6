//! The gradient of the depthwise window.

use std::ops::Range;

use super::{Half, instance, or};
use crate::window::parts;
use crate::{Isa, Simd, in_blocks, kernel};

/// dw[tap] += sum over the pixels of output rows of r[shifted by the tap] * gt.
pub(super) fn gradient(isa: Isa, half: Half, r: &[f32], gt: &[f32], rows: Range<usize>, dw: &mut [f32]) {
    half.check();
    assert!(r.len() >= half.win.len() && gt.len() >= half.gradient_window().len());
    assert!(dw.len() >= half.k * half.k * half.win.c && rows.end <= half.rows());
    gradient_kernel(isa, half.win.c, half, r, gt, rows, dw);
}

kernel!(fn gradient_kernel = gradient_body(half: Half, r: &[f32], gt: &[f32], rows: Range<usize>, dw: &mut [f32]));

#[inline(always)]
unsafe fn gradient_body<S: Simd>(half: Half, r: &[f32], gt: &[f32], rows: Range<usize>, dw: &mut [f32]) {
    // SAFETY: `gradient` checked the lengths.
    unsafe { instance!(gradient_of, half, (r.as_ptr(), gt.as_ptr(), rows, dw.as_mut_ptr())) }
}

#[inline(always)]
unsafe fn gradient_of<S: Simd, const K: usize, const D: usize, const C: usize>(
    half: Half,
    r: *const f32,
    gt: *const f32,
    rows: Range<usize>,
    dw: *mut f32,
) {
    // SAFETY: the caller's lengths hold; n stays within the c channels of a pixel.
    unsafe {
        let ([h, w], c, d) = (half.side_out(), or(C, half.win.c), or(D, half.dilation));
        let (g_win, pitch) = (half.gradient_window(), half.win.pitch() * c);
        for cb in (0..c).step_by(S::L) {
            let n = S::L.min(c - cb);
            let g_row = |image: usize, y: usize| gt.add(g_win.image(image) + g_win.at(y, 0) + cb);
            let r_row = |image: usize, y: usize| r.add(half.win.image(image) + y * half.stride * pitch + cb);
            let all = || parts(h, rows.clone()).flat_map(|(image, rows)| rows.map(move |y| (image, y)));
            // All taps at once read the gradient once; more than 25 sums do not fit in the registers.
            if K == 3 || (K == 5 && S::L == 16) {
                let mut acc = [[S::zero(); K]; K];
                for (image, y) in all() {
                    let (g, r) = (g_row(image, y), r_row(image, y));
                    // Twice the same, with the step between pixels as a constant where it is one.
                    if half.stride == 1 {
                        add_row::<S, K>(&mut acc, (g, r), (w, c), (d * pitch, d * c), c, n);
                    } else {
                        add_row::<S, K>(&mut acc, (g, r), (w, c), (d * pitch, d * c), 2 * c, n);
                    }
                }
                for (ky, acc) in acc.iter().enumerate() {
                    add_taps::<S, K>(acc, dw.add(ky * K * c + cb), c, n);
                }
            } else {
                for ky in 0..K {
                    let mut acc = [S::zero(); K];
                    for (image, y) in all() {
                        let (g, r) = (g_row(image, y), r_row(image, y).add(ky * d * pitch));
                        for x in 0..w {
                            let gv = S::get(g.add(x * c), n);
                            let base = r.add(x * half.stride * c);
                            for (kx, acc) in acc.iter_mut().enumerate() {
                                *acc = S::fma(S::get(base.add(kx * d * c), n), gv, *acc);
                            }
                        }
                    }
                    add_taps::<S, K>(&acc, dw.add(ky * K * c + cb), c, n);
                }
            }
        }
    }
}

/// Adds to the sums of all taps what w pixels of a row of the output bring, given its gradient and the first of its taps;
/// taps lie `dy` and `dx` values apart, those of neighbours `step`. Pixels are taken in pairs, so that what both look at is
/// loaded once.
#[inline(always)]
unsafe fn add_row<S: Simd, const K: usize>(
    acc: &mut [[S::V; K]; K],
    (g, r): (*const f32, *const f32),
    (w, c): (usize, usize),
    (dy, dx): (usize, usize),
    step: usize,
    n: usize,
) {
    // SAFETY: the caller's lengths hold.
    unsafe {
        in_blocks!([2, 1], w, x, B => {
            let (g, r) = (g.add(x * c), r.add(x * step));
            let mut gv = [S::zero(); B];
            for (j, gv) in gv.iter_mut().enumerate() {
                *gv = S::get(g.add(j * c), n);
            }
            for (ky, acc) in acc.iter_mut().enumerate() {
                for (kx, acc) in acc.iter_mut().enumerate() {
                    for (j, gv) in gv.iter().enumerate() {
                        *acc = S::fma(S::get(r.add(ky * dy + kx * dx + j * step), n), *gv, *acc);
                    }
                }
            }
        });
    }
}

/// Adds the sums of a row of taps to their weights.
#[inline(always)]
unsafe fn add_taps<S: Simd, const K: usize>(acc: &[S::V; K], dw: *mut f32, c: usize, n: usize) {
    // SAFETY: the caller's lengths hold.
    unsafe {
        for (kx, acc) in acc.iter().enumerate() {
            let to = dw.add(kx * c);
            S::put(to, S::add(S::get(to, n), *acc), n);
        }
    }
}
