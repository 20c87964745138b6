//! Maxima: the value, the tangent at their places, and the way back to these.

use std::ops::Range;

use super::{Pool, To, of_row, of_three, rings, strided};
use crate::{AHEAD, Simd, kernel};

kernel!(pub(super) fn max_kernel = max_body(pool: Pool, r: &[f32], rows: Range<usize>, scratch: &mut [f32], y: &mut [f32]));

#[inline(always)]
unsafe fn max_body<S: Simd>(pool: Pool, r: &[f32], rows: Range<usize>, scratch: &mut [f32], y: &mut [f32]) {
    // SAFETY: `forward` checked the window, the scratch and the output; n stays within the w c values of a row.
    unsafe {
        let (c, w, [max, _]) = (pool.win.c, pool.side_out()[1], rings(pool, scratch));
        for o in rows.clone() {
            for p in pool.new_rows(o) {
                let r = r.as_ptr().add(p * pool.win.pitch() * c);
                strided!(of_row[true], pool.stride, (w, c, r, max.row(p)));
            }
            let (max, y) = (max.three(pool.stride * o), y.as_mut_ptr().add((o - rows.start) * w * c));
            for at in (0..w * c).step_by(S::L) {
                let n = S::L.min(w * c - at);
                S::prefetch(y.wrapping_add(at + AHEAD));
                S::put(y.add(at), of_three::<S, true>(max.map(|max| S::get(max.add(at), n))), n);
            }
        }
    }
}

kernel!(pub(super) fn max_at_kernel = max_at_body(pool: Pool, r: &[f32], v: &[f32], rows: Range<usize>, scratch: &mut [f32], y: &mut [f32]));

#[inline(always)]
unsafe fn max_at_body<S: Simd>(
    pool: Pool,
    r: &[f32],
    v: &[f32],
    rows: Range<usize>,
    scratch: &mut [f32],
    y: &mut [f32],
) {
    // SAFETY: as `max_body`.
    unsafe {
        let (c, w, [max, there]) = (pool.win.c, pool.side_out()[1], rings(pool, scratch));
        for o in rows.clone() {
            for p in pool.new_rows(o) {
                let at = p * pool.win.pitch() * c;
                let (r, v) = (r.as_ptr().add(at), v.as_ptr().add(at));
                strided!(max_of_row_at, pool.stride, (w, c, r, v, max.row(p), there.row(p)));
            }
            let (max, there) = (max.three(pool.stride * o), there.three(pool.stride * o));
            let y = y.as_mut_ptr().add((o - rows.start) * w * c);
            for at in (0..w * c).step_by(S::L) {
                let n = S::L.min(w * c - at);
                let row = |k: usize| (S::get(max[k].add(at), n), S::get(there[k].add(at), n));
                let (_, moved) = larger_at::<S>(larger_at::<S>(row(0), row(1)), row(2));
                S::prefetch(y.wrapping_add(at + AHEAD));
                S::put(y.add(at), moved, n);
            }
        }
    }
}

kernel!(pub(super) fn max_vjp_kernel = max_vjp_body(pool: Pool, r: &[f32], g: &[f32], rows: Range<usize>, scratch: &mut [f32], out: &mut [f32], stride: usize, accumulate: bool));

#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn max_vjp_body<S: Simd>(
    pool: Pool,
    r: &[f32],
    g: &[f32],
    rows: Range<usize>,
    scratch: &mut [f32],
    out: &mut [f32],
    stride: usize,
    accumulate: bool,
) {
    // SAFETY: `vjp` checked the lengths; n stays within the w c values of a row.
    unsafe {
        let (c, w, [max, taken]) = (pool.win.c, pool.side_out()[1], rings(pool, scratch));
        let to = To { data: out.as_mut_ptr(), row: pool.win.w * stride, stride, accumulate };
        for o in rows.clone() {
            let row = |p: usize| r.as_ptr().add(p * pool.win.pitch() * c);
            for p in pool.new_rows(o) {
                strided!(of_row[true], pool.stride, (w, c, row(p), max.row(p)));
                std::slice::from_raw_parts_mut(taken.row(p), w * c).fill(0.0);
            }
            let (rows_max, rows_taken) = (max.three(pool.stride * o), taken.three(pool.stride * o));
            let g = g.as_ptr().add((o - rows.start) * w * c);
            for at in (0..w * c).step_by(S::L) {
                let n = S::L.min(w * c - at);
                let maxima = rows_max.map(|max| S::get(max.add(at), n));
                let shares = first_of_three::<S>(maxima, of_three::<S, true>(maxima), S::get(g.add(at), n));
                for (taken, share) in rows_taken.iter().zip(shares) {
                    let taken = taken.add(at);
                    S::put(taken, S::add(S::get(taken, n), share), n);
                }
            }
            for y in pool.rows_done(o)..pool.rows_done(o + 1) {
                let from = (row(y + 1), max.row(y + 1).cast_const(), taken.row(y + 1).cast_const());
                strided!(spread_maxima, pool.stride, (pool.win.w, c, from, to.row(y)));
            }
        }
    }
}

/// The larger value with what comes with it, the first if they are equal.
#[inline(always)]
unsafe fn larger_at<S: Simd>(a: (S::V, S::V), b: (S::V, S::V)) -> (S::V, S::V) {
    // SAFETY: no memory is touched.
    unsafe { (S::max(b.0, a.0), S::select_gt(b.0, a.0, b.1, a.1)) }
}

/// g for the first of three values that is the largest, zero for the others.
#[inline(always)]
unsafe fn first_of_three<S: Simd>([a, b, _]: [S::V; 3], largest: S::V, g: S::V) -> [S::V; 3] {
    // SAFETY: no memory is touched.
    unsafe {
        let of_a = S::select_eq(a, largest, g);
        let left = S::sub(g, of_a);
        let of_b = S::select_eq(b, largest, left);
        [of_a, of_b, S::sub(left, of_b)]
    }
}

/// The maximum of three columns as [`of_row`] takes it, and v where it lies.
#[inline(always)]
unsafe fn max_of_row_at<S: Simd, const T: usize>(
    w: usize,
    c: usize,
    r: *const f32,
    v: *const f32,
    max: *mut f32,
    there: *mut f32,
) {
    // SAFETY: as `of_row`.
    unsafe {
        for cb in (0..c).step_by(S::L) {
            let n = S::L.min(c - cb);
            let column = |x: usize| (S::get(r.add(x * c + cb), n), S::get(v.add(x * c + cb), n));
            for x in 0..w {
                let at = T * x;
                let (value, moved) = larger_at::<S>(larger_at::<S>(column(at), column(at + 1)), column(at + 2));
                S::put(max.add(x * c + cb), value, n);
                S::put(there.add(x * c + cb), moved, n);
            }
        }
    }
}

/// A row of the image's gradient, of w pixels, from what its outputs have `taken` of it: for each the first of its three
/// columns that is their maximum.
#[inline(always)]
unsafe fn spread_maxima<S: Simd, const T: usize>(
    w: usize,
    c: usize,
    (r, max, taken): (*const f32, *const f32, *const f32),
    to: To,
) {
    // SAFETY: the outputs of a row of w pixels are as `of_row` says. Column x of the window is pixel x - 1 of the image.
    unsafe {
        for cb in (0..c).step_by(S::L) {
            let n = S::L.min(c - cb);
            let column = |x: usize| S::get(r.add(x * c + cb), n);
            let (mut a, mut b) = (column(0), column(1));
            // What columns T x and T x + 1 have of the outputs before x.
            let (mut here, mut next) = (S::zero(), S::zero());
            for x in 0..w.div_ceil(T) {
                let d = column(T * x + 2);
                if T == 2 {
                    b = column(2 * x + 1);
                }
                let (largest, g) = (S::get(max.add(x * c + cb), n), S::get(taken.add(x * c + cb), n));
                let [of_a, of_b, of_d] = first_of_three::<S>([a, b, d], largest, g);
                if x > 0 {
                    to.put::<S>(T * x - 1, cb, S::add(here, of_a), n);
                }
                if T == 1 {
                    (here, next) = (S::add(next, of_b), of_d);
                    (a, b) = (b, d);
                } else {
                    to.put::<S>(2 * x, cb, of_b, n);
                    (here, a) = (of_d, d);
                }
            }
            if w.is_multiple_of(T) {
                to.put::<S>(w - 1, cb, here, n);
            }
        }
    }
}
