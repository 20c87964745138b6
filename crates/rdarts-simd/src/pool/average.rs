//! Averages: the value, which is also the tangent, and the way back.

use std::ops::Range;

use super::{Pool, To, of_row, of_three, rings, strided};
use crate::{AHEAD, Simd, kernel};

kernel!(pub(super) fn average_kernel = average_body(pool: Pool, v: &[f32], rows: Range<usize>, scratch: &mut [f32], y: &mut [f32]));

#[inline(always)]
unsafe fn average_body<S: Simd>(pool: Pool, v: &[f32], rows: Range<usize>, scratch: &mut [f32], y: &mut [f32]) {
    // SAFETY: as `max_body`.
    unsafe {
        let (c, w, [sums, _]) = (pool.win.c, pool.side_out()[1], rings(pool, scratch));
        for o in rows.clone() {
            for p in pool.new_rows(o) {
                let v = v.as_ptr().add(p * pool.win.pitch() * c);
                strided!(of_row[false], pool.stride, (w, c, v, sums.row(p)));
            }
            let (sums, y) = (sums.three(pool.stride * o), y.as_mut_ptr().add((o - rows.start) * w * c));
            let shares = pool.shares(o);
            for x in 0..w {
                let share = S::splat(of_column(shares, x, w));
                for at in (x * c..(x + 1) * c).step_by(S::L) {
                    let n = S::L.min((x + 1) * c - at);
                    let sum = of_three::<S, false>(sums.map(|sums| S::get(sums.add(at), n)));
                    S::prefetch(y.wrapping_add(at + AHEAD));
                    S::put(y.add(at), S::mul(sum, share), n);
                }
            }
        }
    }
}

kernel!(pub(super) fn average_vjp_kernel = average_vjp_body(pool: Pool, g: &[f32], rows: Range<usize>, scratch: &mut [f32], out: &mut [f32], stride: usize, accumulate: bool));

#[inline(always)]
unsafe fn average_vjp_body<S: Simd>(
    pool: Pool,
    g: &[f32],
    rows: Range<usize>,
    scratch: &mut [f32],
    out: &mut [f32],
    stride: usize,
    accumulate: bool,
) {
    // SAFETY: as `max_vjp_body`.
    unsafe {
        let ([h_out, w_out], win, c) = (pool.side_out(), pool.win, pool.win.c);
        let [spread, _] = rings(pool, scratch);
        let to = To { data: out.as_mut_ptr(), row: win.w * stride, stride, accumulate };
        for o in rows.clone() {
            let g = g.as_ptr().add((o - rows.start) * w_out * c);
            strided!(spread_shares, pool.stride, (pool, o, g, spread.row(o)));
            for y in pool.rows_done(o)..pool.rows_done(o + 1) {
                // The outputs that look at row y + 1 of the window.
                let (first, last) = (y.saturating_sub(1).div_ceil(pool.stride), ((y + 1) / pool.stride).min(h_out - 1));
                let (from, to) = (spread.three(first), to.row(y));
                match last - first + 1 {
                    1 => sum_rows::<S, 1>(win.w, c, from, to),
                    2 => sum_rows::<S, 2>(win.w, c, from, to),
                    _ => sum_rows::<S, 3>(win.w, c, from, to),
                }
            }
        }
    }
}

/// Of the shares of a row of w outputs that of output x.
#[inline(always)]
fn of_column([first, inner, last]: [f32; 3], x: usize, w: usize) -> f32 {
    if x == 0 {
        first
    } else if x + 1 == w {
        last
    } else {
        inner
    }
}

/// Row o of the gradient of the outputs, divided by the pixels that they look at, on its way to the w pixels of a row.
#[inline(always)]
unsafe fn spread_shares<S: Simd, const T: usize>(pool: Pool, o: usize, g: *const f32, out: *mut f32) {
    // SAFETY: the ring's rows have the w pixels of the image's.
    unsafe {
        let (w, c, w_out, shares) = (pool.win.w, pool.win.c, pool.side_out()[1], pool.shares(o));
        for cb in (0..c).step_by(S::L) {
            let n = S::L.min(c - cb);
            let put = |x: usize, v: S::V| S::put(out.add(x * c + cb), v, n);
            let (mut here, mut next) = (S::zero(), S::zero());
            for x in 0..w_out {
                let v = S::mul(S::get(g.add(x * c + cb), n), S::splat(of_column(shares, x, w_out)));
                if x > 0 {
                    put(T * x - 1, S::add(here, v));
                }
                if T == 1 {
                    (here, next) = (S::add(next, v), v);
                } else {
                    put(2 * x, v);
                    here = v;
                }
            }
            if w.is_multiple_of(T) {
                put(w - 1, here);
            }
        }
    }
}

/// The sum of the first N of three rows of w pixels.
#[inline(always)]
unsafe fn sum_rows<S: Simd, const N: usize>(w: usize, c: usize, from: [*mut f32; 3], to: To) {
    // SAFETY: the ring's rows have w pixels.
    unsafe {
        for x in 0..w {
            for cb in (0..c).step_by(S::L) {
                let n = S::L.min(c - cb);
                let mut sum = S::get(from[0].add(x * c + cb), n);
                for from in &from[1..N] {
                    sum = S::add(sum, S::get(from.add(x * c + cb), n));
                }
                to.put::<S>(x, cb, sum, n);
            }
        }
    }
}
