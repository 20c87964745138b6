//! Half of a separable convolution on a window: y = PW(DW(r)), tile by tile, and its transposed maps.
//!
//! DW[y][x][c] = sum_(ky,kx) w[ky * k + kx][c] * r[y * s + ky * d][x * s + kx * d][c] on the window r, whose border
//! makes the padding. The rows of DW never leave the first cache level: the pointwise product follows at once.
//!
//! The transposed depthwise map runs over a window of PW'(g). At stride 1 it is the same loop with the weights turned
//! round. At stride 2 a pixel of the input has only every second tap (and none at all between the taps of a dilated
//! window), so that rows and columns are taken by parity, each with the list of its taps.

use std::ops::Range;

use super::blend::{Source, blend};
use super::pointwise::{Next, product, product_and_fetch, product_in_rows, weight_gradient};
use super::window::{Feed, Framed, Gate, Window, fill, parts};
use super::{AHEAD, Simd, in_blocks, kernel};

/// The shape of one half: a window of the input, k, stride (1 or 2), dilation, output channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Half {
    /// The input, with pad = dilation * (k - 1) / 2.
    pub win: Window,
    pub k: usize,
    pub stride: usize,
    pub dilation: usize,
    pub c_out: usize,
}

impl Half {
    /// Output rows and columns of an image.
    pub fn side_out(&self) -> [usize; 2] {
        [self.win.h.div_ceil(self.stride), self.win.w.div_ceil(self.stride)]
    }

    /// Rows of DW that are held together.
    fn tile(&self) -> usize {
        super::tile_pixels(self.win.c).div_ceil(self.side_out()[1]).min(self.rows())
    }

    /// Values of scratch for two tiles, of DW or of the gradient.
    pub fn scratch(&self) -> usize {
        2 * self.tile_len()
    }

    fn tile_len(&self) -> usize {
        self.tile() * self.side_out()[1] * self.win.c.max(self.c_out)
    }

    /// The window that PW'(g) is laid in: as wide a border as the transposed taps reach over.
    pub fn gradient_window(&self) -> Window {
        let [h, w] = self.side_out();
        Window { h, w, pad: self.win.pad.div_ceil(self.stride), ..self.win }
    }

    /// Output rows of all images.
    fn rows(&self) -> usize {
        self.win.images * self.side_out()[0]
    }

    /// (first row, number of rows) of every tile.
    fn tiles(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (rows, tile) = (self.rows(), self.tile());
        (0..rows).step_by(tile).map(move |y0| (y0, tile.min(rows - y0)))
    }

    /// Panics unless the taps stay inside the window.
    fn check(&self) {
        assert!(2 * self.win.pad == self.dilation * (self.k - 1) && (1..=2).contains(&self.stride), "{self:?}");
    }

    /// Rows of the input that the first `rows` rows of the output look at.
    fn rows_read(&self, rows: usize) -> usize {
        let [h, _] = self.side_out();
        let (image, last) = ((rows - 1) / h, (rows - 1) % h);
        let of_image = (last * self.stride + (self.k - 1) * self.dilation + 1).saturating_sub(self.win.pad);
        image * self.win.h + of_image.min(self.win.h)
    }

    /// Rows of the input whose whole gradient follows from the first `rows` rows of the output.
    fn rows_done(&self, rows: usize) -> usize {
        let [h, _] = self.side_out();
        rows / h * self.win.h + (rows % h * self.stride).saturating_sub(self.win.pad)
    }
}

/// An image in a window that is filled from above, as far as it is needed: what was just filled is still in the first
/// cache level when the taps read it.
pub(crate) struct Filling<'a> {
    isa: super::Isa,
    win: Window,
    /// `None`: the window is there already.
    feed: Option<&'a Feed<'a>>,
    window: &'a mut [f32],
    filled: usize,
}

impl<'a> Filling<'a> {
    pub fn new(isa: super::Isa, win: Window, feed: Option<&'a Feed<'a>>, window: &'a mut Framed) -> Self {
        let window = match feed {
            Some(feed) => window.of(win, feed.border),
            None => window.values_mut(),
        };
        Self { isa, win, feed, window, filled: 0 }
    }

    /// The window, filled down to row `rows`.
    pub(super) fn down_to(&mut self, rows: usize) -> &[f32] {
        if let Some(feed) = self.feed
            && rows > self.filled
        {
            fill(self.isa, self.win, feed, self.filled..rows, self.window);
            self.filled = rows;
        }
        self.window
    }

    /// What will be filled next.
    fn next(&self) -> Next {
        let mut next = Next::default();
        if let Some(feed) = self.feed {
            let first = self.filled * self.win.w;
            next.add_if_dense(&feed.source, first, self.win.c);
            feed.second.iter().for_each(|s| next.add_if_dense(s, first, self.win.c));
        }
        next
    }
}

/// y (+)= PW(DW(r)); y is dense, (h_out, w_out, c_out). Every tile of y is shown to `seen` with its first pixel while
/// it is in the first cache level.
#[allow(clippy::too_many_arguments)]
pub(crate) fn forward(
    isa: super::Isa,
    half: Half,
    mut r: Filling<'_>,
    w_dw: &[f32],
    w_pw: &[f32],
    accumulate: bool,
    t: &mut [f32],
    y: &mut [f32],
    seen: &mut dyn FnMut(usize, &[f32]),
) {
    let ([_, w], c, c_out) = (half.side_out(), half.win.c, half.c_out);
    // The product runs a tile behind the window sums, not a row: a row was slower by three quarters (LOG.md).
    for (y0, n) in half.tiles() {
        let y = &mut y[y0 * w * c_out..(y0 + n) * w * c_out];
        rows(isa, half, r.down_to(half.rows_read(y0 + n)), w_dw, y0..y0 + n, t, y);
        product_and_fetch(isa, n * w, (c, c_out), t, c, w_pw, y, c_out, accumulate, &r.next());
        seen(y0 * w, y);
    }
}

/// y = PW(DW(v) + DW_dot(r)) + PW_dot(DW(r)), the tangent of [`forward`] along v in the input, unless it rests, and along
/// the second pair of weights; `t` as `scratch` says.
#[allow(clippy::too_many_arguments)]
pub(crate) fn forward_dual(
    isa: super::Isa,
    half: Half,
    mut r: Filling<'_>,
    mut v: Option<Filling<'_>>,
    [w_dw, w_pw]: [&[f32]; 2],
    [w_dw_dot, w_pw_dot]: [&[f32]; 2],
    t: &mut [f32],
    y: &mut [f32],
    seen: &mut dyn FnMut(usize, &[f32]),
) {
    let ([_, w], c, c_out) = (half.side_out(), half.win.c, half.c_out);
    let (t, of_v) = t.split_at_mut(half.tile_len());
    for (y0, n) in half.tiles() {
        let y = &mut y[y0 * w * c_out..(y0 + n) * w * c_out];
        let (px, read) = (n * w, half.rows_read(y0 + n));
        rows(isa, half, r.down_to(read), w_dw_dot, y0..y0 + n, t, y);
        if let Some(v) = &mut v {
            rows(isa, half, v.down_to(read), w_dw, y0..y0 + n, of_v, &[]);
            blend(isa, px, c, &[Source::new(of_v, c, &[])], &[], true, t, c);
        }
        product(isa, px, (c, c_out), t, c, w_pw, y, c_out, false);
        rows(isa, half, r.down_to(read), w_dw, y0..y0 + n, t, &[]);
        let mut next = r.next();
        v.iter().for_each(|v| next.extend(&v.next()));
        product_and_fetch(isa, px, (c, c_out), t, c, w_pw_dot, y, c_out, true, &next);
        seen(y0 * w, y);
    }
}

/// A gradient as a sum of tensors with coefficients: what a batch norm's vjp is. Made tile by tile.
#[derive(Clone, Copy)]
pub(crate) struct Cotangent<'a> {
    pub sources: &'a [Source<'a>],
    pub shift: &'a [f32],
    /// Which of the sources, given without data, lies where the gradient of the input will: every pixel is read before it
    /// is overwritten. Only for halves of stride 1.
    pub in_place: Option<usize>,
}

impl Cotangent<'_> {
    /// Pixels from `first` on into `out`, dense.
    pub fn make(&self, isa: super::Isa, first: usize, px: usize, c: usize, out: &mut [f32]) {
        self.make_at(isa, &[], first, px, c, out);
    }

    /// The same, where the gradient of the input will lie at `destination`.
    fn make_at(&self, isa: super::Isa, destination: &[f32], first: usize, px: usize, c: usize, out: &mut [f32]) {
        // As many as the blend takes at once, so that they need no vector.
        const FEW: usize = 4;
        debug_assert!(!self.sources.is_empty(), "a gradient of nothing");
        for begin in (0..self.sources.len()).step_by(FEW) {
            let mut few = [Source::new(&[], 0, &[]); FEW];
            let n = FEW.min(self.sources.len() - begin);
            for (k, to) in few.iter_mut().enumerate().take(n) {
                let from = self.source(begin + k, destination);
                *to = Source { data: &from.data[first * from.stride..], ..from };
            }
            let shift = if begin == 0 { self.shift } else { &[] };
            blend(isa, px, c, &few[..n], shift, begin > 0, out, c);
        }
    }

    fn source<'b>(&'b self, k: usize, destination: &'b [f32]) -> Source<'b> {
        let source = self.sources[k];
        if self.in_place == Some(k) { Source { data: destination, ..source } } else { source }
    }

    /// What lies at pixel `first`.
    fn next(&self, destination: &[f32], first: usize) -> Next {
        let mut next = Next::default();
        (0..self.sources.len()).for_each(|k| next.add(&self.source(k, destination), first));
        next
    }
}

/// Where the gradient of the input goes.
pub(crate) struct InputGradient<'a> {
    /// The input, which is also what `sums` multiplies with.
    pub gate: Gate<'a>,
    /// (h, w) pixels of c channels, `stride` values apart.
    pub out: &'a mut [f32],
    pub stride: usize,
    pub accumulate: bool,
    /// Per channel: the sum of the gradient and the sum of its product with the input are added here.
    pub sums: Option<&'a mut [f32]>,
}

/// Gradients of the two weights, which are added to, and the window of the input that they need.
pub(crate) struct WeightGradient<'a> {
    pub r: Filling<'a>,
    pub dw: &'a mut [f32],
    pub pw: &'a mut [f32],
}

/// The transposed maps of [`forward`], for the gradient g of y, (h_out, w_out, c_out):
/// input (+)= gate * DW'(PW'(g)), dw_dw += d<g, y>/dw_dw, dw_pw += d<g, y>/dw_pw at the window r.
/// `w_pw_t` is `[c_out][c]`; `gt` is scratch for a window, `t` for tiles.
#[allow(clippy::too_many_arguments)]
pub(crate) fn vjp(
    isa: super::Isa,
    half: Half,
    w_dw: &[f32],
    w_pw_t: &[f32],
    g: &Cotangent<'_>,
    mut input: Option<InputGradient<'_>>,
    mut weights: Option<WeightGradient<'_>>,
    t: &mut [f32],
    gt: &mut Framed,
) {
    let ([_, w], c, c_out, win) = (half.side_out(), half.win.c, half.c_out, half.gradient_window());
    let (t, g_tile) = t.split_at_mut(half.tile_len());
    // The rows that a tile makes ready are no more than those read.
    assert!(g.in_place.is_none() || half.stride == 1 && c == c_out && input.as_ref().is_some_and(|i| i.stride == c));
    let gt = gt.of(win, 0.0);
    let mut done = 0;
    for (y0, n) in half.tiles() {
        let destination = input.as_ref().map_or(&[][..], |input| &*input.out);
        g.make_at(isa, destination, y0 * w, n * w, c_out, g_tile);
        let mut next = g.next(destination, (y0 + n) * w);
        if let Some(input) = &input {
            next.add_if_dense(&input.gate.source, half.rows_done(y0 + n) * half.win.w, c);
        }
        spread(isa, half, y0..y0 + n, g_tile, w_pw_t, false, gt, &next);
        if let Some(WeightGradient { r, dw, pw }) = &mut weights {
            let r = r.down_to(half.rows_read(y0 + n));
            rows(isa, half, r, w_dw, y0..y0 + n, t, &[]);
            weight_gradient(isa, n * w, (c, c_out), t, c, g_tile, c_out, pw);
            gradient(isa, half, r, gt, y0..y0 + n, dw);
        }
        if let Some(input) = &mut input {
            let ready = half.rows_done(y0 + n);
            transposed(isa, half, gt, w_dw, done..ready, input);
            done = ready;
        }
    }
}

/// The gradient of the input where the weights move, for the gradients g of the value and d of the tangent:
/// input (+)= gate * (DW'(PW'(g) + PW_dot'(d)) + DW_dot'(PW'(d))). The products are transposed; gt and dt are scratch
/// for a window each, `t` for tiles.
#[allow(clippy::too_many_arguments)]
pub(crate) fn vjp_dual(
    isa: super::Isa,
    half: Half,
    [w_dw, w_pw_t]: [&[f32]; 2],
    [w_dw_dot, w_pw_dot_t]: [&[f32]; 2],
    [g, d]: [&Cotangent<'_>; 2],
    mut input: InputGradient<'_>,
    t: &mut [f32],
    [gt, dt]: [&mut Framed; 2],
) {
    let ([_, w], c_out, win) = (half.side_out(), half.c_out, half.gradient_window());
    let (g_tile, d_tile) = t.split_at_mut(half.tile_len());
    let (gt, dt) = (gt.of(win, 0.0), dt.of(win, 0.0));
    let (mut done, accumulate) = (0, input.accumulate);
    for (y0, n) in half.tiles() {
        g.make(isa, y0 * w, n * w, c_out, g_tile);
        d.make(isa, y0 * w, n * w, c_out, d_tile);
        spread(isa, half, y0..y0 + n, g_tile, w_pw_t, false, gt, &g.next(&[], (y0 + n) * w));
        spread(isa, half, y0..y0 + n, d_tile, w_pw_dot_t, true, gt, &d.next(&[], (y0 + n) * w));
        spread(isa, half, y0..y0 + n, d_tile, w_pw_t, false, dt, &Next::default());
        let ready = half.rows_done(y0 + n);
        input.accumulate = accumulate;
        transposed(isa, half, gt, w_dw, done..ready, &mut input);
        input.accumulate = true;
        transposed(isa, half, dt, w_dw_dot, done..ready, &mut input);
        done = ready;
    }
}

/// gt (+)= PW'(g) for a tile of rows, in the window of the gradient.
#[allow(clippy::too_many_arguments)]
fn spread(
    isa: super::Isa,
    half: Half,
    rows: Range<usize>,
    g_tile: &[f32],
    w_pw_t: &[f32],
    accumulate: bool,
    gt: &mut [f32],
    next: &Next,
) {
    let ([_, w], c, c_out, win) = (half.side_out(), half.win.c, half.c_out, half.gradient_window());
    for (image, part) in parts(win.h, rows.clone()) {
        let first = image * win.h + part.start - rows.start;
        let (g, gt) = (&g_tile[first * w * c_out..], &mut gt[win.image(image) + win.at(part.start, 0)..]);
        let next = next.shifted(first * w * c_out);
        product_in_rows(isa, (part.len(), w), (c_out, c), g, w_pw_t, gt, win.pitch() * c, accumulate, &next);
    }
}

/// Calls the instance of `$body` for the shapes of the spaces, with the window side, the channels and the dilation as
/// constants (all offsets then are constants too), or else the one that reads them from the shape (zeros).
macro_rules! instance {
    ($body:ident, $half:expr, ($($arg:expr),*)) => {
        match ($half.k, $half.dilation, $half.win.c) {
            (3, 1, 16) if S::L == 16 => $body::<S, 3, 1, 16>($half, $($arg),*),
            (3, 1, 32) if S::L == 16 => $body::<S, 3, 1, 32>($half, $($arg),*),
            (3, 1, 64) if S::L == 16 => $body::<S, 3, 1, 64>($half, $($arg),*),
            (5, 1, 16) if S::L == 16 => $body::<S, 5, 1, 16>($half, $($arg),*),
            (5, 1, 32) if S::L == 16 => $body::<S, 5, 1, 32>($half, $($arg),*),
            (5, 1, 64) if S::L == 16 => $body::<S, 5, 1, 64>($half, $($arg),*),
            (3, 2, 16) if S::L == 16 => $body::<S, 3, 2, 16>($half, $($arg),*),
            (3, 2, 32) if S::L == 16 => $body::<S, 3, 2, 32>($half, $($arg),*),
            (3, 2, 64) if S::L == 16 => $body::<S, 3, 2, 64>($half, $($arg),*),
            (5, 2, 16) if S::L == 16 => $body::<S, 5, 2, 16>($half, $($arg),*),
            (5, 2, 32) if S::L == 16 => $body::<S, 5, 2, 32>($half, $($arg),*),
            (5, 2, 64) if S::L == 16 => $body::<S, 5, 2, 64>($half, $($arg),*),
            (3, 1, 8) if S::L == 8 => $body::<S, 3, 1, 8>($half, $($arg),*),
            (3, 1, 16) if S::L == 8 => $body::<S, 3, 1, 16>($half, $($arg),*),
            (3, _, _) => $body::<S, 3, 0, 0>($half, $($arg),*),
            (5, _, _) => $body::<S, 5, 0, 0>($half, $($arg),*),
            (7, _, _) => $body::<S, 7, 0, 0>($half, $($arg),*),
            (k, ..) => panic!("no depthwise kernel for k = {k}"),
        }
    };
}

/// A constant, or the value it stands for if it is zero.
#[inline(always)]
fn or(constant: usize, value: usize) -> usize {
    if constant > 0 { constant } else { value }
}

/// Rows of DW(r), dense, into t. `next` is what will be written after it, pixel by pixel of at least as many channels,
/// or empty: the stores of a product come in bursts and would wait for lines that nobody has asked for.
fn rows(isa: super::Isa, half: Half, r: &[f32], w_dw: &[f32], rows: Range<usize>, t: &mut [f32], next: &[f32]) {
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

/// The window sums of B pixels that lie `step` values apart; taps lie `dy` and `dx` values apart, their weights as many
/// values as the second part says (less than zero: the window is turned round).
#[inline(always)]
unsafe fn taps<S: Simd, const K: usize, const B: usize>(
    from: *const f32,
    dy: usize,
    dx: usize,
    step: usize,
    weights: (*const f32, isize),
    n: usize,
) -> [S::V; B] {
    // SAFETY: the caller's lengths hold.
    unsafe {
        let mut acc = [S::zero(); B];
        for ky in 0..K {
            let row = from.add(ky * dy);
            for kx in 0..K {
                let wv = S::get(weights.0.offset((ky * K + kx) as isize * weights.1), n);
                for (j, acc) in acc.iter_mut().enumerate() {
                    *acc = S::fma(S::get(row.add(kx * dx + j * step), n), wv, *acc);
                }
            }
        }
        acc
    }
}

/// input (+)= gate * DW'(gt) for rows of the input.
fn transposed(
    isa: super::Isa,
    half: Half,
    gt: &[f32],
    w_dw: &[f32],
    rows: Range<usize>,
    input: &mut InputGradient<'_>,
) {
    half.check();
    let win = half.win;
    assert!(gt.len() >= half.gradient_window().len() && w_dw.len() >= half.k * half.k * win.c);
    assert!(rows.end <= win.images * win.h && input.stride >= win.c);
    assert!(input.out.len() >= (win.px() - 1) * input.stride + win.c);
    assert!(input.sums.as_ref().is_none_or(|sums| sums.len() >= 2 * win.c));
    input.gate.check(win.px(), win.c);
    transposed_kernel(isa, win.c, half, gt, w_dw, rows, input);
}

kernel!(fn transposed_kernel = transposed_body(half: Half, gt: &[f32], w_dw: &[f32], rows: Range<usize>, input: &mut InputGradient<'_>));

#[inline(always)]
unsafe fn transposed_body<S: Simd>(
    half: Half,
    gt: &[f32],
    w_dw: &[f32],
    rows: Range<usize>,
    input: &mut InputGradient<'_>,
) {
    // SAFETY: `transposed` checked the lengths.
    unsafe {
        if half.stride == 1 {
            instance!(transposed_of, half, (gt.as_ptr(), w_dw.as_ptr(), rows, input))
        } else {
            transposed_strided::<S>(half, gt.as_ptr(), w_dw.as_ptr(), rows, input)
        }
    }
}

#[inline(always)]
unsafe fn transposed_of<S: Simd, const K: usize, const D: usize, const C: usize>(
    half: Half,
    gt: *const f32,
    w_dw: *const f32,
    rows: Range<usize>,
    input: &mut InputGradient<'_>,
) {
    // SAFETY: the caller's lengths hold; n stays within the c channels of a pixel.
    unsafe {
        let (win, c, d) = (half.win, or(C, half.win.c), or(D, half.dilation));
        let pitch = win.pitch() * c;
        for cb in (0..c).step_by(S::L) {
            let n = S::L.min(c - cb);
            let weights = (w_dw.add((K * K - 1) * c + cb), -(c as isize));
            let mut out = Emit::<S>::new(input, cb, n);
            macro_rules! emit {
                ($sums:literal, $add:literal, $gate:expr, $to:expr) => {
                    for (image, rows) in parts(win.h, rows.clone()) {
                        // At stride 1 the window of the gradient has the shape of that of the input.
                        let gt = gt.add(win.image(image) + cb);
                        for y in rows {
                            let from = gt.add(y * pitch);
                            in_blocks!(win.w, x, B => {
                                let acc = taps::<S, K, B>(from.add(x * c), pitch * d, c * d, c, weights, n);
                                let at = (image * win.h + y) * win.w + x;
                                out.pixels::<B, $sums, $add>(acc, at, 1, $gate, $to);
                            });
                        }
                    }
                };
            }
            // Dense pixels: all distances are constants.
            let dense = C > 0 && (out.gate.1, out.to.1) == (c, c);
            match (dense, out.sums.is_some(), out.accumulate) {
                (true, true, true) => emit!(true, true, c, c),
                (true, true, false) => emit!(true, false, c, c),
                (true, false, true) => emit!(false, true, c, c),
                (true, false, false) => emit!(false, false, c, c),
                (false, true, true) => emit!(true, true, out.gate.1, out.to.1),
                (false, true, false) => emit!(true, false, out.gate.1, out.to.1),
                (false, false, true) => emit!(false, true, out.gate.1, out.to.1),
                (false, false, false) => emit!(false, false, out.gate.1, out.to.1),
            }
            out.add_sums(input, c);
        }
    }
}

/// The way of n channels of the input's gradient from the registers to the memory.
struct Emit<S: Simd> {
    gate: (*const f32, usize),
    affine: (S::V, S::V),
    to: (*mut f32, usize),
    accumulate: bool,
    cb: usize,
    n: usize,
    /// Of the gradient and of its product with the input, if anyone wants them.
    sums: Option<[S::V; 2]>,
}

impl<S: Simd> Emit<S> {
    /// # Safety
    /// As `transposed` checks.
    #[inline(always)]
    unsafe fn new(input: &mut InputGradient<'_>, cb: usize, n: usize) -> Self {
        // SAFETY: the caller's lengths hold.
        unsafe {
            Self {
                gate: (input.gate.source.data.as_ptr().add(cb), input.gate.source.stride),
                affine: input.gate.affine::<S>(cb, n),
                to: (input.out.as_mut_ptr().add(cb), input.stride),
                accumulate: input.accumulate,
                cb,
                n,
                sums: input.sums.is_some().then(|| [S::zero(); 2]),
            }
        }
    }

    /// to (+)= gate * acc for B pixels from `first` on, `step` apart, with or without sums. The distances of pixels are
    /// those of the gate and of the destination, given again as they may be constants.
    ///
    /// # Safety
    /// The pixels lie inside the image, and the distances are those that `new` found.
    #[inline(always)]
    unsafe fn pixels<const B: usize, const SUMS: bool, const ADD: bool>(
        &mut self,
        acc: [S::V; B],
        first: usize,
        step: usize,
        gate_stride: usize,
        to_stride: usize,
    ) {
        // SAFETY: the caller's lengths hold.
        unsafe {
            let (n, (coef, shift)) = (self.n, self.affine);
            let gate = self.gate.0.wrapping_add(first * gate_stride);
            let to = self.to.0.wrapping_add(first * to_stride);
            let mut sums = self.sums.unwrap_or([S::zero(); 2]);
            for (j, acc) in acc.iter().enumerate() {
                let (gate, to) = (gate.add(j * step * gate_stride), to.add(j * step * to_stride));
                S::prefetch(gate.wrapping_add(AHEAD));
                S::prefetch(to.wrapping_add(AHEAD));
                let y = S::get(gate, n);
                let v = S::gate(S::fma(y, coef, shift), *acc);
                if SUMS {
                    sums[0] = S::add(sums[0], v);
                    sums[1] = S::fma(v, y, sums[1]);
                }
                S::put(to, if ADD { S::add(v, S::get(to, n)) } else { v }, n);
            }
            if SUMS {
                self.sums = Some(sums);
            }
        }
    }

    /// Adds the sums of this call to those of the image.
    ///
    /// # Safety
    /// As [`Emit::new`].
    #[inline(always)]
    unsafe fn add_sums(self, input: &mut InputGradient<'_>, c: usize) {
        if let (Some(sums), Some(to)) = (self.sums, &mut input.sums) {
            for (k, sum) in sums.into_iter().enumerate() {
                // SAFETY: the sums hold 2 c values.
                unsafe {
                    let to = to.as_mut_ptr().add(k * c + self.cb);
                    S::put(to, S::add(S::get(to, self.n), sum), self.n);
                }
            }
        }
    }
}

/// The transposed map at stride 2, by the parity of rows and columns.
#[inline(always)]
unsafe fn transposed_strided<S: Simd>(
    half: Half,
    gt: *const f32,
    w_dw: *const f32,
    rows: Range<usize>,
    input: &mut InputGradient<'_>,
) {
    // SAFETY: the caller's lengths hold. Tap k meets input i at output o with 2 o + k d = i + pad, so that o lies in
    // -pad / 2 ..= (i + pad) / 2, which the border of the gradient's window covers.
    unsafe {
        let (win, c, k, d) = (half.win, half.win.c, half.k, half.dilation);
        let g_win = half.gradient_window();
        // The taps of one parity: (tap, output - input / 2 + border).
        let reach = |parity: usize| {
            let taps = (0..k).filter(move |tap| (parity + win.pad + tap * d).is_multiple_of(2));
            taps.map(move |tap| (tap, (parity + win.pad + 2 * g_win.pad - tap * d) / 2))
        };
        for cb in (0..c).step_by(S::L) {
            let n = S::L.min(c - cb);
            let mut out = Emit::<S>::new(input, cb, n);
            for parity in 0..4 {
                let (py, px) = (parity / 2, parity % 2);
                let (mut list, mut len) = ([(0usize, 0usize); 49], 0);
                for (ky, oy) in reach(py) {
                    for (kx, ox) in reach(px) {
                        list[len] = ((oy * g_win.pitch() + ox) * c + cb, (ky * k + kx) * c + cb);
                        len += 1;
                    }
                }
                let columns = (win.w + 1 - px) / 2;
                for (image, rows) in parts(win.h, rows.clone()) {
                    let gt = gt.add(g_win.image(image));
                    let first = rows.start + (rows.start + py) % 2;
                    for y in (first..rows.end).step_by(2) {
                        let from = gt.add(y / 2 * g_win.pitch() * c);
                        in_blocks!(columns, x, B => {
                            let mut acc = [S::zero(); B];
                            for (at, weight) in &list[..len] {
                                let wv = S::get(w_dw.add(*weight), n);
                                let from = from.add(x * c + at);
                                for (j, acc) in acc.iter_mut().enumerate() {
                                    *acc = S::fma(S::get(from.add(j * c), n), wv, *acc);
                                }
                            }
                            let (at, gate, to) = ((image * win.h + y) * win.w + px + 2 * x, out.gate.1, out.to.1);
                            match (out.sums.is_some(), out.accumulate) {
                                (true, true) => out.pixels::<B, true, true>(acc, at, 2, gate, to),
                                (true, false) => out.pixels::<B, true, false>(acc, at, 2, gate, to),
                                (false, true) => out.pixels::<B, false, true>(acc, at, 2, gate, to),
                                (false, false) => out.pixels::<B, false, false>(acc, at, 2, gate, to),
                            }
                        });
                    }
                }
            }
            out.add_sums(input, c);
        }
    }
}

/// dw[tap] += sum over the pixels of output rows of r[shifted by the tap] * gt.
fn gradient(isa: super::Isa, half: Half, r: &[f32], gt: &[f32], rows: Range<usize>, dw: &mut [f32]) {
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
