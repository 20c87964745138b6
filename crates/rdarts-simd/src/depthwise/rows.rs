//! The window sums DW(r), row by row.

use std::ops::Range;

use super::{Half, instance, or, taps};
use crate::window::parts;
use crate::{Isa, Simd, in_blocks, kernel};

/// Rows of DW(r), dense, into t. `next` is what will be written after it, pixel by pixel of at least as many channels,
/// or empty: the stores of a product come in bursts and would wait for lines that nobody has asked for.
pub(super) fn rows(isa: Isa, half: Half, r: &[f32], w_dw: &[f32], rows: Range<usize>, t: &mut [f32], next: &[f32]) {
    half.check();
    let ([_, w], c) = (half.side_out(), half.win.c);
    assert!(rows.end <= half.rows() && r.len() >= half.win.len());
    assert!(w_dw.len() >= half.k * half.k * c && t.len() >= rows.len() * w * c);
    rows_kernel(isa, c, half, r, w_dw, rows, t, next);
}

kernel!(fn rows_kernel = rows_body(half: Half, r: &[f32], w_dw: &[f32], rows: Range<usize>, t: &mut [f32], next: &[f32]));

#[inline(always)]
unsafe fn rows_body<S: Simd>(half: Half, r: &[f32], w_dw: &[f32], rows: Range<usize>, t: &mut [f32], next: &[f32]) {
    // SAFETY: `rows` checked the lengths.
    unsafe { instance!(rows_of, half, (r.as_ptr(), w_dw.as_ptr(), rows, t.as_mut_ptr(), next)) }
}

#[inline(always)]
unsafe fn rows_of<S: Simd, const K: usize, const D: usize, const C: usize>(
    half: Half,
    r: *const f32,
    w_dw: *const f32,
    rows: Range<usize>,
    t: *mut f32,
    next: &[f32],
) {
    // SAFETY: the caller's lengths hold; n stays within the c channels of a pixel.
    unsafe {
        let ([h, w], c, d) = (half.side_out(), or(C, half.win.c), or(D, half.dilation));
        let (pitch, step) = (half.win.pitch() * c, half.stride * c);
        let write = !next.is_empty();
        for cb in (0..c).step_by(S::L) {
            let n = S::L.min(c - cb);
            let weights = (w_dw.add(cb), c as isize);
            let mut at = cb;
            for (image, rows) in parts(h, rows.clone()) {
                let r = r.add(half.win.image(image) + cb);
                for y in rows {
                    let from = r.add(y * half.stride * pitch);
                    let to = t.add(at);
                    let next = next.as_ptr().wrapping_add(at);
                    // Twice the same, with the step between pixels as a constant where it is one.
                    if half.stride == 1 {
                        in_blocks!(w, x, B => {
                            let acc = taps::<S, K, B>(from.add(x * c), pitch * d, c * d, c, weights, n);
                            for (j, acc) in acc.iter().enumerate() {
                                if write {
                                    S::prefetch(next.wrapping_add((x + j) * c));
                                }
                                S::put(to.add((x + j) * c), *acc, n);
                            }
                        });
                    } else {
                        in_blocks!(w, x, B => {
                            let acc = taps::<S, K, B>(from.add(x * step), pitch * d, c * d, step, weights, n);
                            for (j, acc) in acc.iter().enumerate() {
                                if write {
                                    S::prefetch(next.wrapping_add((x + j) * c));
                                }
                                S::put(to.add((x + j) * c), *acc, n);
                            }
                        });
                    }
                    at += w * c;
                }
            }
        }
    }
}
