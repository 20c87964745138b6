//! Half of a separable convolution on a window: y = PW(DW(r)), tile by tile, and its transposed maps.
//!
//! DW[y][x][c] = sum_(ky,kx) w[ky * k + kx][c] * r[y * s + ky * d][x * s + kx * d][c] on the window r, whose border
//! makes the padding. The rows of DW never leave the first cache level: the pointwise product follows at once.
//!
//! The transposed depthwise map runs over a window of PW'(g). At stride 1 it is the same loop with the weights turned
//! round. At stride 2 a pixel of the input has only every second tap (and none at all between the taps of a dilated
//! window), so that rows and columns are taken by parity, each with the list of its taps.

use super::pointwise::{product, weight_gradient};
use super::window::Window;
use super::{Simd, in_blocks, kernel};

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
    /// Output rows and columns.
    pub fn side_out(&self) -> [usize; 2] {
        [self.win.h.div_ceil(self.stride), self.win.w.div_ceil(self.stride)]
    }

    /// Rows of DW that are held together. A tile of 8 KiB leaves the first cache level (32 to 48 KiB) to the weights
    /// and the rows of the window; 64 pixels make up for loading and adding the sums of the weight gradient.
    fn tile(&self) -> usize {
        (2048 / self.win.c).max(64).div_ceil(self.side_out()[1])
    }

    /// Values of scratch for DW.
    pub fn scratch(&self) -> usize {
        self.tile() * self.side_out()[1] * self.win.c
    }

    /// The window that PW'(g) is laid in: as wide a border as the transposed taps reach over.
    fn gradient_window(&self) -> Window {
        let [h, w] = self.side_out();
        Window { h, w, c: self.win.c, pad: self.win.pad.div_ceil(self.stride) }
    }

    /// (first row, number of rows) of every tile.
    fn tiles(&self) -> impl Iterator<Item = (usize, usize)> {
        let ([h, _], tile) = (self.side_out(), self.tile());
        (0..h).step_by(tile).map(move |y0| (y0, tile.min(h - y0)))
    }
}

/// y (+)= PW(DW(r)); y is dense, (h_out, w_out, c_out).
#[allow(clippy::too_many_arguments)]
pub(crate) fn forward(
    isa: super::Isa,
    half: Half,
    r: &[f32],
    w_dw: &[f32],
    w_pw: &[f32],
    accumulate: bool,
    t: &mut [f32],
    y: &mut [f32],
) {
    let ([_, w], c, c_out) = (half.side_out(), half.win.c, half.c_out);
    // The product runs one tile behind the window sums rather than one row: a value out of a register that is still
    // on its way to the cache would have to wait (8.9 instead of 5.0 ns a pixel with 16 channels).
    for (y0, n) in half.tiles() {
        rows(isa, half, r, w_dw, y0, n, t);
        product(isa, n * w, (c, c_out), t, c, w_pw, &mut y[y0 * w * c_out..], c_out, accumulate);
    }
}

/// Where the gradient of the input goes.
pub(crate) struct InputGradient<'a> {
    /// Only where this window (the relu of the input) is positive goes the gradient through.
    pub gate: &'a [f32],
    /// (h, w) pixels of c channels, `stride` values apart.
    pub out: &'a mut [f32],
    pub stride: usize,
    pub accumulate: bool,
}

/// The transposed maps of [`forward`], for the gradient g of y, (h_out, w_out, c_out):
/// input (+)= gate * DW'(PW'(g)), dw_dw += d<g, y>/dw_dw, dw_pw += d<g, y>/dw_pw at the window r.
/// `w_pw_t` is `[c_out][c]`; `gt` is scratch for a window, `t` for rows.
#[allow(clippy::too_many_arguments)]
pub(crate) fn vjp(
    isa: super::Isa,
    half: Half,
    r: &[f32],
    w_dw: &[f32],
    w_pw_t: &[f32],
    g: &[f32],
    input: Option<InputGradient<'_>>,
    weights: Option<(&mut [f32], &mut [f32])>,
    t: &mut [f32],
    gt: &mut [f32],
) {
    let ([h, w], c, c_out, win) = (half.side_out(), half.win.c, half.c_out, half.gradient_window());
    win.fill_border(gt, 0.0);
    for y in 0..h {
        product(isa, w, (c_out, c), &g[y * w * c_out..], c_out, w_pw_t, &mut gt[win.at(y, 0)..], c, false);
    }
    if let Some((dw_dw, dw_pw)) = weights {
        for (y0, n) in half.tiles() {
            rows(isa, half, r, w_dw, y0, n, t);
            weight_gradient(isa, n * w, (c, c_out), t, c, &g[y0 * w * c_out..], c_out, dw_pw);
        }
        gradient(isa, half, r, gt, dw_dw);
    }
    if let Some(input) = input {
        transposed(isa, half, gt, w_dw, input);
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

/// Rows y0.. of DW(r), dense, into t.
fn rows(isa: super::Isa, half: Half, r: &[f32], w_dw: &[f32], y0: usize, n_rows: usize, t: &mut [f32]) {
    let ([h, w], c) = (half.side_out(), half.win.c);
    assert!(y0 + n_rows <= h && r.len() >= half.win.len());
    assert!(w_dw.len() >= half.k * half.k * c && t.len() >= n_rows * w * c);
    rows_kernel(isa, c, half, r, w_dw, y0, n_rows, t);
}

kernel!(fn rows_kernel = rows_body(half: Half, r: &[f32], w_dw: &[f32], y0: usize, n_rows: usize, t: &mut [f32]));

#[inline(always)]
unsafe fn rows_body<S: Simd>(half: Half, r: &[f32], w_dw: &[f32], y0: usize, n_rows: usize, t: &mut [f32]) {
    // SAFETY: `rows` checked the lengths.
    unsafe { instance!(rows_of, half, (r.as_ptr(), w_dw.as_ptr(), y0, n_rows, t.as_mut_ptr())) }
}

#[inline(always)]
unsafe fn rows_of<S: Simd, const K: usize, const D: usize, const C: usize>(
    half: Half,
    r: *const f32,
    w_dw: *const f32,
    y0: usize,
    n_rows: usize,
    t: *mut f32,
) {
    // SAFETY: the caller's lengths hold; n stays within the c channels of a pixel.
    unsafe {
        let ([_, w], c, d) = (half.side_out(), or(C, half.win.c), or(D, half.dilation));
        let (pitch, step) = (half.win.pitch() * c, half.stride * c);
        for cb in (0..c).step_by(S::L) {
            let n = S::L.min(c - cb);
            let weights = (w_dw.add(cb), c as isize);
            for row in 0..n_rows {
                let from = r.add((y0 + row) * half.stride * pitch + cb);
                let to = t.add(row * w * c + cb);
                if half.stride == 1 {
                    in_blocks!(w, x, B => {
                        let acc = taps::<S, K, B>(from.add(x * c), pitch * d, c * d, c, weights, n);
                        for (j, acc) in acc.iter().enumerate() {
                            S::put(to.add((x + j) * c), *acc, n);
                        }
                    });
                } else {
                    in_blocks!(w, x, B => {
                        let acc = taps::<S, K, B>(from.add(x * step), pitch * d, c * d, step, weights, n);
                        for (j, acc) in acc.iter().enumerate() {
                            S::put(to.add((x + j) * c), *acc, n);
                        }
                    });
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

/// input (+)= gate * DW'(gt).
fn transposed(isa: super::Isa, half: Half, gt: &[f32], w_dw: &[f32], input: InputGradient<'_>) {
    let win = half.win;
    assert!(gt.len() >= half.gradient_window().len() && w_dw.len() >= half.k * half.k * win.c);
    assert!(input.gate.len() >= win.len() && input.stride >= win.c);
    assert!(input.out.len() >= (win.h * win.w - 1) * input.stride + win.c);
    assert!(half.stride <= 2, "no transposed depthwise kernel for stride {}", half.stride);
    transposed_kernel(isa, win.c, half, gt, w_dw, input);
}

kernel!(fn transposed_kernel = transposed_body(half: Half, gt: &[f32], w_dw: &[f32], input: InputGradient<'_>));

#[inline(always)]
unsafe fn transposed_body<S: Simd>(half: Half, gt: &[f32], w_dw: &[f32], input: InputGradient<'_>) {
    // SAFETY: `transposed` checked the lengths.
    unsafe {
        if half.stride == 1 {
            instance!(transposed_of, half, (gt.as_ptr(), w_dw.as_ptr(), input))
        } else {
            transposed_strided::<S>(half, gt.as_ptr(), w_dw.as_ptr(), input)
        }
    }
}

#[inline(always)]
unsafe fn transposed_of<S: Simd, const K: usize, const D: usize, const C: usize>(
    half: Half,
    gt: *const f32,
    w_dw: *const f32,
    input: InputGradient<'_>,
) {
    // SAFETY: the caller's lengths hold; n stays within the c channels of a pixel.
    unsafe {
        let (win, c, d) = (half.win, or(C, half.win.c), or(D, half.dilation));
        let pitch = win.pitch() * c;
        for cb in (0..c).step_by(S::L) {
            let n = S::L.min(c - cb);
            let weights = (w_dw.add((K * K - 1) * c + cb), -(c as isize));
            for y in 0..win.h {
                let from = gt.add(y * pitch + cb);
                let gate = input.gate.as_ptr().add((y + win.pad) * pitch + win.pad * c + cb);
                let to = input.out.as_mut_ptr().add(y * win.w * input.stride + cb);
                in_blocks!(win.w, x, B => {
                    let acc = taps::<S, K, B>(from.add(x * c), pitch * d, c * d, c, weights, n);
                    emit::<S, B>(acc, gate.add(x * c), c, to.add(x * input.stride), input.stride, input.accumulate, n);
                });
            }
        }
    }
}

/// to (+)= gate * acc for B pixels.
#[inline(always)]
unsafe fn emit<S: Simd, const B: usize>(
    acc: [S::V; B],
    gate: *const f32,
    gate_step: usize,
    to: *mut f32,
    step: usize,
    accumulate: bool,
    n: usize,
) {
    // SAFETY: the caller's lengths hold.
    unsafe {
        for (j, acc) in acc.iter().enumerate() {
            let v = S::gate(S::get(gate.add(j * gate_step), n), *acc);
            let to = to.add(j * step);
            S::put(to, if accumulate { S::add(v, S::get(to, n)) } else { v }, n);
        }
    }
}

/// The transposed map at stride 2, by the parity of rows and columns.
#[inline(always)]
unsafe fn transposed_strided<S: Simd>(half: Half, gt: *const f32, w_dw: *const f32, input: InputGradient<'_>) {
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
                for y in (py..win.h).step_by(2) {
                    let from = gt.add(y / 2 * g_win.pitch() * c);
                    let gate = input.gate.as_ptr().add(win.at(y, px) + cb);
                    let to = input.out.as_mut_ptr().add((y * win.w + px) * input.stride + cb);
                    in_blocks!(columns, x, B => {
                        let mut acc = [S::zero(); B];
                        for (at, weight) in &list[..len] {
                            let wv = S::get(w_dw.add(*weight), n);
                            let from = from.add(x * c + at);
                            for (j, acc) in acc.iter_mut().enumerate() {
                                *acc = S::fma(S::get(from.add(j * c), n), wv, *acc);
                            }
                        }
                        let step = 2 * input.stride;
                        emit::<S, B>(acc, gate.add(2 * x * c), 2 * c, to.add(x * step), step, input.accumulate, n);
                    });
                }
            }
        }
    }
}

/// dw[tap] += sum over output pixels of r[shifted by the tap] * gt.
fn gradient(isa: super::Isa, half: Half, r: &[f32], gt: &[f32], dw: &mut [f32]) {
    assert!(r.len() >= half.win.len() && gt.len() >= half.gradient_window().len());
    assert!(dw.len() >= half.k * half.k * half.win.c);
    gradient_kernel(isa, half.win.c, half, r, gt, dw);
}

kernel!(fn gradient_kernel = gradient_body(half: Half, r: &[f32], gt: &[f32], dw: &mut [f32]));

#[inline(always)]
unsafe fn gradient_body<S: Simd>(half: Half, r: &[f32], gt: &[f32], dw: &mut [f32]) {
    // SAFETY: `gradient` checked the lengths.
    unsafe { instance!(gradient_of, half, (r.as_ptr(), gt.as_ptr(), dw.as_mut_ptr())) }
}

#[inline(always)]
unsafe fn gradient_of<S: Simd, const K: usize, const D: usize, const C: usize>(
    half: Half,
    r: *const f32,
    gt: *const f32,
    dw: *mut f32,
) {
    // SAFETY: the caller's lengths hold; n stays within the c channels of a pixel.
    unsafe {
        let ([h, w], c, d) = (half.side_out(), or(C, half.win.c), or(D, half.dilation));
        let (g_win, pitch, step) = (half.gradient_window(), half.win.pitch() * c, half.stride * c);
        for cb in (0..c).step_by(S::L) {
            let n = S::L.min(c - cb);
            let g_row = |y: usize| gt.add(g_win.at(y, 0) + cb);
            let r_row = |y: usize| r.add(y * half.stride * pitch + cb);
            // All taps at once read the gradient once; more than 25 sums do not fit in the registers.
            if K == 3 || (K == 5 && S::L == 16) {
                let mut acc = [[S::zero(); K]; K];
                for y in 0..h {
                    let (g, r) = (g_row(y), r_row(y));
                    for x in 0..w {
                        let gv = S::get(g.add(x * c), n);
                        let base = r.add(x * step);
                        for (ky, acc) in acc.iter_mut().enumerate() {
                            for (kx, acc) in acc.iter_mut().enumerate() {
                                *acc = S::fma(S::get(base.add(ky * d * pitch + kx * d * c), n), gv, *acc);
                            }
                        }
                    }
                }
                for (ky, acc) in acc.iter().enumerate() {
                    add_taps::<S, K>(acc, dw.add(ky * K * c + cb), c, n);
                }
            } else {
                for ky in 0..K {
                    let mut acc = [S::zero(); K];
                    for y in 0..h {
                        let (g, r) = (g_row(y), r_row(y).add(ky * d * pitch));
                        for x in 0..w {
                            let gv = S::get(g.add(x * c), n);
                            let base = r.add(x * step);
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
