//! 3x3 pooling with padding 1, row by row.
//!
//! Max: the border holds -infinity and is never chosen; ties go to the first in row-major order, as in PyTorch. The map is
//! linear once the places of the maxima are known. Average: the border holds zero and is not counted.
//!
//! What three columns of a row come to, their sum or their maximum, is found once and serves the outputs above one another:
//! three rows of that are held in a ring. On the way back the gradient of a maximum goes to the first of three rows that has
//! it, then to the first of three columns: the first place in row-major order. That of an average goes to three columns, then
//! to three rows.

use std::ops::Range;

use super::depthwise::{Cotangent, Filling};
use super::window::Window;
use super::{AHEAD, Simd, kernel};

/// What a pool makes of its nine values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Max,
    Average,
}

/// The shape of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pool {
    pub kind: Kind,
    /// The input, with a border of one pixel.
    pub win: Window,
    /// 1 or 2.
    pub stride: usize,
}

/// One over the number of pixels. (A quotient would be computed for every pixel, however it is written.)
const SHARES: [f32; 10] = [0.0, 1.0, 1.0 / 2.0, 1.0 / 3.0, 1.0 / 4.0, 0.0, 1.0 / 6.0, 0.0, 0.0, 1.0 / 9.0];

impl Pool {
    /// Output rows and columns of an image.
    pub fn side_out(&self) -> [usize; 2] {
        [self.win.h.div_ceil(self.stride), self.win.w.div_ceil(self.stride)]
    }

    /// Values of scratch.
    pub fn scratch(&self) -> usize {
        self.ring() + self.tile() * self.side_out()[1] * self.win.c
    }

    /// Two rings of three rows.
    fn ring(&self) -> usize {
        6 * self.row()
    }

    /// A row of either side of the pool fits.
    fn row(&self) -> usize {
        self.win.w * self.win.c
    }

    /// Output rows of a tile, so few that what follows finds them in the first cache level.
    fn tile(&self) -> usize {
        let [h, w] = self.side_out();
        super::tile_pixels(self.win.c).div_ceil(w).min(h)
    }

    /// (image, its output rows, the first of their pixels) of every tile.
    fn tiles(&self) -> impl Iterator<Item = (usize, Range<usize>, usize)> + use<> {
        let ([h, w], tile) = (self.side_out(), self.tile());
        let of_image = move |image| (0..h).step_by(tile).map(move |y| (image, y..h.min(y + tile), (image * h + y) * w));
        (0..self.win.images).flat_map(of_image)
    }

    /// Rows of the input of all images that the first `rows` output rows of an image look at.
    fn rows_read(&self, image: usize, rows: usize) -> usize {
        image * self.win.h + (self.stride * (rows - 1) + 2).min(self.win.h)
    }

    /// Rows of an image's input whose whole gradient follows from its first `rows` output rows.
    fn rows_done(&self, rows: usize) -> usize {
        if rows == self.side_out()[0] { self.win.h } else { (self.stride * rows).saturating_sub(1) }
    }

    /// Rows of the window, the border's included, that an output row is the first to look at.
    fn new_rows(&self, o: usize) -> Range<usize> {
        let end = self.stride * o + 3;
        (if o == 0 { 0 } else { end - self.stride })..end
    }

    /// One over the pixels of the image that the first, the inner and the last outputs of row y look at.
    fn shares(&self, y: usize) -> [f32; 3] {
        let inside = |o: usize, side: usize| (self.stride * o + 2).min(side) + 1 - (self.stride * o).max(1);
        let (rows, last) = (inside(y, self.win.h), inside(self.side_out()[1] - 1, self.win.w));
        [inside(0, self.win.w), 3, last].map(|columns| SHARES[rows * columns])
    }

    /// Panics unless the shape is one of a pool and the scratch is enough.
    fn check(&self, scratch: &[f32]) {
        assert!(self.win.pad == 1 && (1..=2).contains(&self.stride), "{self:?}");
        assert!(scratch.len() >= self.scratch(), "scratch");
    }

    /// The window of an image, of which all is there.
    fn image<'a>(&self, window: &'a [f32], image: usize) -> &'a [f32] {
        assert!(image < self.win.images && window.len() >= self.win.len(), "window");
        &window[self.win.image(image)..]
    }
}

/// y = the pooled v; every tile of y is shown to `seen` with its first pixel. With `at` a maximum is that of its values, a
/// whole window, and v is taken where it lies.
pub(crate) fn forward(
    isa: super::Isa,
    pool: Pool,
    at: Option<&[f32]>,
    mut v: Filling<'_>,
    scratch: &mut [f32],
    y: &mut [f32],
    seen: &mut dyn FnMut(usize, &[f32]),
) {
    pool.check(scratch);
    let ([_, w], c) = (pool.side_out(), pool.win.c);
    for (image, rows, first) in pool.tiles() {
        let v = pool.image(v.down_to(pool.rows_read(image, rows.end)), image);
        let y = &mut y[first * c..][..rows.len() * w * c];
        match (pool.kind, at) {
            (Kind::Average, _) => average_kernel(isa, c, pool, v, rows, scratch, y),
            (Kind::Max, None) => max_kernel(isa, c, pool, v, rows, scratch, y),
            (Kind::Max, Some(at)) => max_at_kernel(isa, c, pool, pool.image(at, image), v, rows, scratch, y),
        }
        seen(first, y);
    }
}

/// The transpose for the gradient g of y: out (+)= it, pixels `stride` values apart. `r` is the input,
/// which only a maximum needs.
#[allow(clippy::too_many_arguments)]
pub(crate) fn vjp(
    isa: super::Isa,
    pool: Pool,
    mut r: Option<Filling<'_>>,
    g: &Cotangent<'_>,
    scratch: &mut [f32],
    out: &mut [f32],
    stride: usize,
    accumulate: bool,
) {
    pool.check(scratch);
    let ([_, w], win, c) = (pool.side_out(), pool.win, pool.win.c);
    assert!(stride >= c && out.len() >= (win.px() - 1) * stride + c, "destination");
    let (ring, tile) = scratch.split_at_mut(pool.ring());
    for (image, rows, first) in pool.tiles() {
        let tile = &mut tile[..rows.len() * w * c];
        g.make(isa, first, rows.len() * w, c, tile);
        let out = &mut out[image * win.h * win.w * stride..];
        match (pool.kind, &mut r) {
            (Kind::Average, _) => average_vjp_kernel(isa, c, pool, tile, rows, ring, out, stride, accumulate),
            (Kind::Max, None) => unreachable!("a maximum needs its input"),
            (Kind::Max, Some(r)) => {
                let r = pool.image(r.down_to(pool.rows_read(image, rows.end)), image);
                max_vjp_kernel(isa, c, pool, r, tile, rows, ring, out, stride, accumulate);
            }
        }
    }
}

/// The rows of a ring.
#[derive(Clone, Copy)]
struct Ring {
    data: *mut f32,
    row: usize,
}

impl Ring {
    /// # Safety
    /// The ring has three rows.
    #[inline(always)]
    unsafe fn row(self, y: usize) -> *mut f32 {
        // SAFETY: one of the three.
        unsafe { self.data.add(y % 3 * self.row) }
    }

    /// # Safety
    /// As [`Ring::row`].
    #[inline(always)]
    unsafe fn three(self, y: usize) -> [*mut f32; 3] {
        // SAFETY: as above.
        unsafe { [self.row(y), self.row(y + 1), self.row(y + 2)] }
    }
}

/// Both rings of the scratch.
#[inline(always)]
fn rings(pool: Pool, scratch: &mut [f32]) -> [Ring; 2] {
    let (data, row) = (scratch.as_mut_ptr(), pool.row());
    [Ring { data, row }, Ring { data: data.wrapping_add(3 * row), row }]
}

/// Calls `$body` with the stride as a constant, and what stands in brackets as another.
macro_rules! strided {
    ($body:ident $([$more:literal])?, $stride:expr, ($($arg:expr),*)) => {
        if $stride == 1 { $body::<S, 1, $($more)?>($($arg),*) } else { $body::<S, 2, $($more)?>($($arg),*) }
    };
}

kernel!(fn max_kernel = max_body(pool: Pool, r: &[f32], rows: Range<usize>, scratch: &mut [f32], y: &mut [f32]));

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

kernel!(fn max_at_kernel = max_at_body(pool: Pool, r: &[f32], v: &[f32], rows: Range<usize>, scratch: &mut [f32], y: &mut [f32]));

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

kernel!(fn average_kernel = average_body(pool: Pool, v: &[f32], rows: Range<usize>, scratch: &mut [f32], y: &mut [f32]));

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

kernel!(fn max_vjp_kernel = max_vjp_body(pool: Pool, r: &[f32], g: &[f32], rows: Range<usize>, scratch: &mut [f32], out: &mut [f32], stride: usize, accumulate: bool));

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

kernel!(fn average_vjp_kernel = average_vjp_body(pool: Pool, g: &[f32], rows: Range<usize>, scratch: &mut [f32], out: &mut [f32], stride: usize, accumulate: bool));

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

/// Where the gradient of an image, or of a row of it, goes.
#[derive(Clone, Copy)]
struct To {
    data: *mut f32,
    /// Values from row to row and from pixel to pixel.
    row: usize,
    stride: usize,
    accumulate: bool,
}

impl To {
    /// # Safety
    /// The image has this row.
    #[inline(always)]
    unsafe fn row(self, y: usize) -> Self {
        // SAFETY: as the caller promises.
        Self { data: unsafe { self.data.add(y * self.row) }, ..self }
    }

    /// # Safety
    /// The row has this pixel, and the pixel n channels from cb on.
    #[inline(always)]
    unsafe fn put<S: Simd>(self, x: usize, cb: usize, v: S::V, n: usize) {
        // SAFETY: as the caller promises.
        unsafe {
            let to = self.data.add(x * self.stride + cb);
            S::prefetch(to.wrapping_add(AHEAD));
            S::put(to, if self.accumulate { S::add(v, S::get(to, n)) } else { v }, n);
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

/// The maximum or the sum of three.
#[inline(always)]
unsafe fn of_three<S: Simd, const MAX: bool>([a, b, d]: [S::V; 3]) -> S::V {
    // SAFETY: no memory is touched.
    unsafe { if MAX { S::max(S::max(a, b), d) } else { S::add(S::add(a, b), d) } }
}

/// The maximum or the sum of columns T x to T x + 2 of a row of the window, for the w outputs of that row.
#[inline(always)]
unsafe fn of_row<S: Simd, const T: usize, const MAX: bool>(w: usize, c: usize, r: *const f32, out: *mut f32) {
    // SAFETY: the last output looks at columns up to T (w - 1) + 2, which the border includes; the ring's rows have w
    // pixels, and n stays within the c channels of one.
    unsafe {
        for cb in (0..c).step_by(S::L) {
            let n = S::L.min(c - cb);
            let column = |x: usize| S::get(r.add(x * c + cb), n);
            let (mut a, mut b) = (column(0), column(1));
            for x in 0..w {
                let d = column(T * x + 2);
                if T == 2 {
                    b = column(2 * x + 1);
                }
                S::put(out.add(x * c + cb), of_three::<S, MAX>([a, b, d]), n);
                (a, b) = if T == 1 { (b, d) } else { (d, b) };
            }
        }
    }
}

/// The same, and v where that maximum lies.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Isa;
    use crate::simd::blend::Source;
    use crate::simd::window::{Feed, Framed};

    const SIDES: [[usize; 2]; 9] = [[1, 1], [1, 2], [2, 1], [2, 2], [3, 3], [7, 9], [8, 6], [4, 40], [33, 5]];

    /// Every pool of these sides, of one and of three images.
    fn pools() -> impl Iterator<Item = (Isa, Pool)> {
        let kinds = [Kind::Max, Kind::Average];
        let shapes = SIDES.into_iter().flat_map(|[h, w]| [(1, h, w, 5), (3, h, w, 8), (1, h, w, 24), (3, h, w, 64)]);
        let all = shapes.flat_map(move |(images, h, w, c)| {
            let win = Window { images, h, w, c, pad: 1 };
            kinds.into_iter().flat_map(move |kind| [1, 2].map(|stride| Pool { kind, win, stride }))
        });
        all.flat_map(|pool| Isa::available().into_iter().map(move |isa| (isa, pool)))
    }

    /// Few different values, so that maxima are reached several times.
    fn values(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 + seed * 104_729) % 2003 % 5) as f32 - 2.0).collect()
    }

    /// For each output (pixel of the input, share) of what it takes.
    fn taken(pool: Pool, x: &[f32]) -> Vec<Vec<(usize, f32)>> {
        let (Window { images, h, w, c, .. }, [h_out, w_out]) = (pool.win, pool.side_out());
        let mut all = Vec::new();
        for o in 0..images * h_out * w_out * c {
            let (channel, px) = (o % c, o / c);
            let (image, y, x_out) = (px / (h_out * w_out), px / w_out % h_out, px % w_out);
            let near = |o: usize, side: usize| (pool.stride * o).saturating_sub(1)..(pool.stride * o + 2).min(side);
            let under: Vec<usize> =
                near(y, h).flat_map(|y| near(x_out, w).map(move |x| ((image * h + y) * w + x) * c + channel)).collect();
            all.push(match pool.kind {
                Kind::Average => under.iter().map(|at| (*at, 1.0 / under.len() as f32)).collect(),
                Kind::Max => {
                    let first = under.iter().copied().reduce(|a, b| if x[b] > x[a] { b } else { a });
                    vec![(first.expect("every window has a pixel"), 1.0)]
                }
            });
        }
        all
    }

    fn close(a: &[f32], b: &[f32], what: &str, pool: Pool) {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).for_each(|(a, b)| assert!((a - b).abs() <= 1e-5, "{what}: {a} or {b}, {pool:?}"));
    }

    #[test]
    fn pools_and_their_tangents_take_what_lies_under_each_output() {
        for (isa, pool) in pools() {
            let (win, [h, w]) = (pool.win, pool.side_out());
            let (x, v) = (values(win.px() * win.c, 1), values(win.px() * win.c, 2));
            let border = if pool.kind == Kind::Max { f32::NEG_INFINITY } else { 0.0 };
            let feed = Feed { border, ..Feed::plain(Source::new(&x, win.c, &[])) };
            let feed_v = Feed::plain(Source::new(&v, win.c, &[]));
            let mut at = Framed::default();
            at.fill(isa, win, &feed);
            let taken = taken(pool, &x);
            let of = |x: &[f32]| -> Vec<f32> {
                taken.iter().map(|all| all.iter().map(|(at, share)| share * x[*at]).sum()).collect()
            };
            for (at, feed, expected) in [(None, &feed, of(&x)), (Some(at.values()), &feed_v, of(&v))] {
                if pool.kind == Kind::Average && at.is_some() {
                    continue;
                }
                let (mut window, mut y) = (Framed::default(), vec![f32::NAN; win.images * h * w * win.c]);
                let mut scratch = vec![f32::NAN; pool.scratch()];
                let mut shown = Vec::new();
                let v = Filling::new(isa, win, Some(feed), &mut window);
                forward(isa, pool, at, v, &mut scratch, &mut y, &mut |first, y| {
                    assert_eq!(first * win.c, shown.len());
                    shown.extend_from_slice(y);
                });
                close(&y, &expected, "output", pool);
                assert_eq!(y, shown);
            }
        }
    }

    #[test]
    fn gradients_go_where_outputs_were_taken() {
        for (isa, pool) in pools() {
            let (win, [h, w]) = (pool.win, pool.side_out());
            let (x, g) = (values(win.px() * win.c, 1), values(win.images * h * w * win.c, 3));
            let border = if pool.kind == Kind::Max { f32::NEG_INFINITY } else { 0.0 };
            let feed = Feed { border, ..Feed::plain(Source::new(&x, win.c, &[])) };
            // Pixels three values further apart than they must be.
            let stride = win.c + 3;
            for accumulate in [false, true] {
                let before = values(win.px() * stride, 4);
                let mut expected = before.clone();
                if !accumulate {
                    expected.chunks_mut(stride).for_each(|pixel| pixel[..win.c].fill(0.0));
                }
                for (g, taken) in g.iter().zip(taken(pool, &x)) {
                    taken.iter().for_each(|(at, share)| expected[at / win.c * stride + at % win.c] += share * g);
                }
                let sources = [Source::new(&g, win.c, &[])];
                let cotangent = Cotangent { sources: &sources, shift: &[], in_place: None };
                let (mut window, mut out) = (Framed::default(), before);
                let mut scratch = vec![f32::NAN; pool.scratch()];
                let r = (pool.kind == Kind::Max).then(|| Filling::new(isa, win, Some(&feed), &mut window));
                vjp(isa, pool, r, &cotangent, &mut scratch, &mut out, stride, accumulate);
                close(&out, &expected, "gradient", pool);
            }
        }
    }
}
