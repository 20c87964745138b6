//! Half of a separable convolution on a window: y = PW(DW(r)), tile by tile, and its transposed maps.
//!
//! `DW[y][x][c] = sum_(ky,kx) w[ky * k + kx][c] * r[y * s + ky * d][x * s + kx * d][c]` on the window r, whose border
//! makes the padding. The rows of DW never leave the first cache level: the pointwise product follows at once.
//!
//! The transposed depthwise map runs over a window of PW'(g). At stride 1 it is the same loop with the weights turned
//! round. At stride 2 a pixel of the input has only every second tap (and none at all between the taps of a dilated
//! window), so that rows and columns are taken by parity, each with the list of its taps.

mod rows;

mod transposed;

mod gradient;

use std::ops::Range;

use super::Simd;
use super::blend::{Source, blend};
use super::pointwise::{Next, product, product_and_fetch, product_in_rows, weight_gradient};
use super::tile::{Cotangent, Filling};
use super::window::{Framed, Gate, Window, parts};
use gradient::gradient;
use rows::rows;
use transposed::transposed;

/// The shape of one half: a window of the input, k, stride (1 or 2), dilation, output channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Half {
    /// The input, with pad = dilation * (k - 1) / 2.
    pub win: Window,
    /// Taps to either side of the window: k x k.
    pub k: usize,
    /// 1 or 2.
    pub stride: usize,
    /// Pixels from one tap to the next.
    pub dilation: usize,
    /// Output channels.
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

/// y (+)= PW(DW(r)); y is dense, (h_out, w_out, c_out). Every tile of y is shown to `seen` with its first pixel while
/// it is in the first cache level.
#[allow(clippy::too_many_arguments)]
pub fn forward(
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
pub fn forward_dual(
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

/// Where the gradient of the input goes.
pub struct InputGradient<'a> {
    /// The input, which is also what `sums` multiplies with.
    pub gate: Gate<'a>,
    /// (h, w) pixels of c channels, `stride` values apart.
    pub out: &'a mut [f32],
    /// Values from one pixel of `out` to the next.
    pub stride: usize,
    /// Whether `out` is added to.
    pub accumulate: bool,
    /// Per channel: the sum of the gradient and the sum of its product with the input are added here.
    pub sums: Option<&'a mut [f32]>,
}

/// Gradients of the two weights, which are added to, and the window of the input that they need.
pub struct WeightGradient<'a> {
    /// The window of the input.
    pub r: Filling<'a>,
    /// The gradient of the depthwise weights, `[k * k][c]`.
    pub dw: &'a mut [f32],
    /// That of the pointwise weights, `[c][c_out]`.
    pub pw: &'a mut [f32],
}

/// The transposed maps of [`forward`], for the gradient g of y, (h_out, w_out, c_out):
/// input (+)= gate * DW'(PW'(g)), dw_dw += d<g, y>/dw_dw, dw_pw += d<g, y>/dw_pw at the window r.
/// `w_pw_t` is `[c_out][c]`; `gt` is scratch for a window, `t` for tiles.
#[allow(clippy::too_many_arguments)]
pub fn vjp(
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
pub fn vjp_dual(
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
            (3, 1, 16) if S::L16 => $body::<S, 3, 1, 16>($half, $($arg),*),
            (3, 1, 32) if S::L16 => $body::<S, 3, 1, 32>($half, $($arg),*),
            (3, 1, 64) if S::L16 => $body::<S, 3, 1, 64>($half, $($arg),*),
            (5, 1, 16) if S::L16 => $body::<S, 5, 1, 16>($half, $($arg),*),
            (5, 1, 32) if S::L16 => $body::<S, 5, 1, 32>($half, $($arg),*),
            (5, 1, 64) if S::L16 => $body::<S, 5, 1, 64>($half, $($arg),*),
            (3, 2, 16) if S::L16 => $body::<S, 3, 2, 16>($half, $($arg),*),
            (3, 2, 32) if S::L16 => $body::<S, 3, 2, 32>($half, $($arg),*),
            (3, 2, 64) if S::L16 => $body::<S, 3, 2, 64>($half, $($arg),*),
            (5, 2, 16) if S::L16 => $body::<S, 5, 2, 16>($half, $($arg),*),
            (5, 2, 32) if S::L16 => $body::<S, 5, 2, 32>($half, $($arg),*),
            (5, 2, 64) if S::L16 => $body::<S, 5, 2, 64>($half, $($arg),*),
            (3, 1, 8) if S::L8 => $body::<S, 3, 1, 8>($half, $($arg),*),
            (3, 1, 16) if S::L8 => $body::<S, 3, 1, 16>($half, $($arg),*),
            (3, _, _) => $body::<S, 3, 0, 0>($half, $($arg),*),
            (5, _, _) => $body::<S, 5, 0, 0>($half, $($arg),*),
            (7, _, _) => $body::<S, 7, 0, 0>($half, $($arg),*),
            (k, ..) => panic!("no depthwise kernel for k = {k}"),
        }
    };
}

use instance;

/// A constant, or the value it stands for if it is zero.
#[inline(always)]
fn or(constant: usize, value: usize) -> usize {
    if constant > 0 { constant } else { value }
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
