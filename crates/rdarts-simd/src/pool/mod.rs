//! 3x3 pooling with padding 1, row by row.
//!
//! Max: the border holds -infinity and is never chosen; ties go to the first in row-major order, as in PyTorch. The map is
//! linear once the places of the maxima are known. Average: the border holds zero and is not counted.
//!
//! What three columns of a row come to, their sum or their maximum, is found once and serves the outputs above one another:
//! three rows of that are held in a ring. On the way back the gradient of a maximum goes to the first of three rows that has
//! it, then to the first of three columns: the first place in row-major order. That of an average goes to three columns, then
//! to three rows.

mod max;

mod average;

use std::ops::Range;

use super::tile::{Cotangent, Filling};
use super::window::Window;
use super::{AHEAD, Simd, reach};
use average::{average_kernel, average_vjp_kernel};
use max::{max_at_kernel, max_kernel, max_vjp_kernel};

/// What a pool makes of its nine values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The largest.
    Max,
    /// The mean of those inside the image.
    Average,
}

/// The shape of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Maximum or average.
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
pub fn forward(
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
pub fn vjp(
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
    assert!(stride >= c && out.len() >= reach(win.px(), stride, c), "destination");
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

use strided;

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
