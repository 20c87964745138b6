//! Half of a separable convolution on a window: y = PW(DW(r)), fused row by row, and its transposed maps.
//!
//! DW[y][x][c] = sum_(ky,kx) w[ky * k + kx][c] * r[y * s + ky * d][x * s + kx * d][c] on the window r, whose border
//! makes the padding. The rows of DW never leave the first cache level: the pointwise product follows at once.
//!
//! The transposed depthwise map is the same loop with the window turned round, on a window of the gradient in
//! which the outputs of a strided map lie `s` pixels apart.

use super::pointwise::{gradient_rows, rows};
use super::window::Window;
use super::{Simd, in_blocks, kernel};

/// The shape of one half: a window of the input, k, stride, dilation, output channels.
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

    /// Rows of DW that are held together: enough pixels to fill the registers of the pointwise product.
    fn tile(&self) -> usize {
        32usize.div_ceil(self.side_out()[1]).max(1)
    }

    /// Values of scratch for DW.
    pub fn scratch(&self) -> usize {
        self.tile() * self.side_out()[1] * self.win.c
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
    let [h, w] = half.side_out();
    assert!(r.len() >= half.win.len() && w_dw.len() >= half.k * half.k * half.win.c);
    assert!(w_pw.len() >= half.win.c * half.c_out && t.len() >= half.scratch() && y.len() >= h * w * half.c_out);
    match half.k {
        3 => forward3(isa, half.win.c, half, r, w_dw, w_pw, accumulate, t, y),
        5 => forward5(isa, half.win.c, half, r, w_dw, w_pw, accumulate, t, y),
        7 => forward7(isa, half.win.c, half, r, w_dw, w_pw, accumulate, t, y),
        k => panic!("no depthwise kernel for k = {k}"),
    }
}

kernel!(fn forward3 = forward_3(half: Half, r: &[f32], w_dw: &[f32], w_pw: &[f32], accumulate: bool, t: &mut [f32], y: &mut [f32]));
kernel!(fn forward5 = forward_5(half: Half, r: &[f32], w_dw: &[f32], w_pw: &[f32], accumulate: bool, t: &mut [f32], y: &mut [f32]));
kernel!(fn forward7 = forward_7(half: Half, r: &[f32], w_dw: &[f32], w_pw: &[f32], accumulate: bool, t: &mut [f32], y: &mut [f32]));

/// Names the instance of a generic body for one window side, since [`kernel!`] passes only the instruction set.
macro_rules! for_side {
    ($name:ident, $body:ident, $k:literal, $($arg:ident : $ty:ty),*) => {
        #[inline(always)]
        #[allow(clippy::too_many_arguments)]
        unsafe fn $name<S: Simd>($($arg: $ty),*) {
            // SAFETY: passed on.
            unsafe { $body::<S, $k>($($arg),*) }
        }
    };
}
for_side!(forward_3, forward_body, 3, half: Half, r: &[f32], w_dw: &[f32], w_pw: &[f32], accumulate: bool, t: &mut [f32], y: &mut [f32]);
for_side!(forward_5, forward_body, 5, half: Half, r: &[f32], w_dw: &[f32], w_pw: &[f32], accumulate: bool, t: &mut [f32], y: &mut [f32]);
for_side!(forward_7, forward_body, 7, half: Half, r: &[f32], w_dw: &[f32], w_pw: &[f32], accumulate: bool, t: &mut [f32], y: &mut [f32]);

#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn forward_body<S: Simd, const K: usize>(
    half: Half,
    r: &[f32],
    w_dw: &[f32],
    w_pw: &[f32],
    accumulate: bool,
    t: &mut [f32],
    y: &mut [f32],
) {
    // SAFETY: `forward` checked every length; the last row of a tile ends with the image.
    unsafe {
        let ([h, w], c, tile) = (half.side_out(), half.win.c, half.tile());
        let mut y0 = 0;
        while y0 < h {
            let n_rows = tile.min(h - y0);
            dw_rows::<S, K>(half, r.as_ptr(), w_dw.as_ptr(), y0, n_rows, t.as_mut_ptr());
            let to = y.as_mut_ptr().add(y0 * w * half.c_out);
            rows::<S>(n_rows * w, c, half.c_out, t.as_ptr(), c, w_pw.as_ptr(), to, half.c_out, accumulate);
            y0 += n_rows;
        }
    }
}

/// Rows y0.. of DW(r), dense, into t.
#[inline(always)]
unsafe fn dw_rows<S: Simd, const K: usize>(half: Half, r: *const f32, w_dw: *const f32, y0: usize, n_rows: usize, t: *mut f32) {
    // SAFETY: the caller's lengths hold; n stays within the c channels of a pixel.
    unsafe {
        let ([_, w], c) = (half.side_out(), half.win.c);
        let step = half.stride * c;
        for cb in (0..c).step_by(S::L) {
            let n = S::L.min(c - cb);
            for row in 0..n_rows {
                let from = r.add((y0 + row) * half.stride * half.win.pitch() * c + cb);
                let to = t.add(row * w * c + cb);
                in_blocks!(w, x, B => {
                    let acc = taps::<S, K, B>(half, from.add(x * step), step, w_dw.add(cb), n);
                    for (j, acc) in acc.iter().enumerate() {
                        S::put(to.add((x + j) * c), *acc, n);
                    }
                });
            }
        }
    }
}

/// The window sums of B pixels that lie `step` values apart.
#[inline(always)]
unsafe fn taps<S: Simd, const K: usize, const B: usize>(half: Half, from: *const f32, step: usize, w_dw: *const f32, n: usize) -> [S::V; B] {
    // SAFETY: the caller's lengths hold.
    unsafe {
        let (c, pitch, d) = (half.win.c, half.win.pitch(), half.dilation);
        let mut acc = [S::zero(); B];
        for ky in 0..K {
            for kx in 0..K {
                let wv = S::get(w_dw.add((ky * K + kx) * c), n);
                let base = from.add((ky * d * pitch + kx * d) * c);
                for (j, acc) in acc.iter_mut().enumerate() {
                    *acc = S::fma(S::get(base.add(j * step), n), wv, *acc);
                }
            }
        }
        acc
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
    let ([h, w], win) = (half.side_out(), half.win);
    assert!(r.len() >= win.len() && w_dw.len() >= half.k * half.k * win.c && w_pw_t.len() >= win.c * half.c_out);
    assert!(t.len() >= half.scratch() && gt.len() >= win.len() && g.len() >= h * w * half.c_out);
    if let Some(i) = &input {
        assert!(i.gate.len() >= win.len() && i.stride >= win.c);
        assert!(i.out.len() >= (win.h * win.w - 1) * i.stride + win.c);
    }
    if let Some((dw_dw, dw_pw)) = &weights {
        assert!(dw_dw.len() >= half.k * half.k * win.c && dw_pw.len() >= win.c * half.c_out);
    }
    if half.stride == 1 {
        win.fill_border(gt, 0.0);
    } else {
        gt[..win.len()].fill(0.0);
    }
    match half.k {
        3 => vjp3(isa, win.c, half, r, w_dw, w_pw_t, g, input, weights, t, gt),
        5 => vjp5(isa, win.c, half, r, w_dw, w_pw_t, g, input, weights, t, gt),
        7 => vjp7(isa, win.c, half, r, w_dw, w_pw_t, g, input, weights, t, gt),
        k => panic!("no depthwise kernel for k = {k}"),
    }
}

kernel!(fn vjp3 = vjp_3(half: Half, r: &[f32], w_dw: &[f32], w_pw_t: &[f32], g: &[f32], input: Option<InputGradient<'_>>, weights: Option<(&mut [f32], &mut [f32])>, t: &mut [f32], gt: &mut [f32]));
kernel!(fn vjp5 = vjp_5(half: Half, r: &[f32], w_dw: &[f32], w_pw_t: &[f32], g: &[f32], input: Option<InputGradient<'_>>, weights: Option<(&mut [f32], &mut [f32])>, t: &mut [f32], gt: &mut [f32]));
kernel!(fn vjp7 = vjp_7(half: Half, r: &[f32], w_dw: &[f32], w_pw_t: &[f32], g: &[f32], input: Option<InputGradient<'_>>, weights: Option<(&mut [f32], &mut [f32])>, t: &mut [f32], gt: &mut [f32]));
for_side!(vjp_3, vjp_body, 3, half: Half, r: &[f32], w_dw: &[f32], w_pw_t: &[f32], g: &[f32], input: Option<InputGradient<'_>>, weights: Option<(&mut [f32], &mut [f32])>, t: &mut [f32], gt: &mut [f32]);
for_side!(vjp_5, vjp_body, 5, half: Half, r: &[f32], w_dw: &[f32], w_pw_t: &[f32], g: &[f32], input: Option<InputGradient<'_>>, weights: Option<(&mut [f32], &mut [f32])>, t: &mut [f32], gt: &mut [f32]);
for_side!(vjp_7, vjp_body, 7, half: Half, r: &[f32], w_dw: &[f32], w_pw_t: &[f32], g: &[f32], input: Option<InputGradient<'_>>, weights: Option<(&mut [f32], &mut [f32])>, t: &mut [f32], gt: &mut [f32]);

#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn vjp_body<S: Simd, const K: usize>(
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
    // SAFETY: `vjp` checked every length.
    unsafe {
        let ([h, w], c, c_out, tile) = (half.side_out(), half.win.c, half.c_out, half.tile());
        let step = half.stride * c;
        // PW'(g), spread over a window.
        for y in 0..h {
            let to = gt.as_mut_ptr().add(half.win.at(y * half.stride, 0));
            rows::<S>(w, c_out, c, g.as_ptr().add(y * w * c_out), c_out, w_pw_t.as_ptr(), to, step, false);
        }
        if let Some((dw_dw, dw_pw)) = weights {
            let mut y0 = 0;
            while y0 < h {
                let n_rows = tile.min(h - y0);
                dw_rows::<S, K>(half, r.as_ptr(), w_dw.as_ptr(), y0, n_rows, t.as_mut_ptr());
                let gp = g.as_ptr().add(y0 * w * c_out);
                gradient_rows::<S>(n_rows * w, c, c_out, t.as_ptr(), c, gp, c_out, dw_pw.as_mut_ptr());
                y0 += n_rows;
            }
            dw_gradient::<S, K>(half, r.as_ptr(), gt.as_ptr(), dw_dw.as_mut_ptr());
        }
        if let Some(input) = input {
            // The window turned round; at most 7 * 7 taps.
            let flip = Half { stride: 1, ..half };
            for cb in (0..c).step_by(S::L) {
                let n = S::L.min(c - cb);
                let mut turned = [0f32; 49 * 16];
                for tap in 0..K * K {
                    S::store(turned.as_mut_ptr().add(tap * S::L), S::get(w_dw.as_ptr().add((K * K - 1 - tap) * c + cb), n));
                }
                for y in 0..half.win.h {
                    let from = gt.as_ptr().add(y * half.win.pitch() * c + cb);
                    let gate = input.gate.as_ptr().add(half.win.at(y, 0) + cb);
                    let to = input.out.as_mut_ptr().add(y * half.win.w * input.stride + cb);
                    in_blocks!(half.win.w, x, B => {
                        let acc = turned_taps::<S, K, B>(flip, from.add(x * c), turned.as_ptr(), n);
                        for (j, acc) in acc.iter().enumerate() {
                            let mut v = S::gate(S::get(gate.add((x + j) * c), n), *acc);
                            let to = to.add((x + j) * input.stride);
                            if input.accumulate {
                                v = S::add(v, S::get(to, n));
                            }
                            S::put(to, v, n);
                        }
                    });
                }
            }
        }
    }
}

/// [`taps`] at stride 1 with the weights of one register packed together.
#[inline(always)]
unsafe fn turned_taps<S: Simd, const K: usize, const B: usize>(half: Half, from: *const f32, w: *const f32, n: usize) -> [S::V; B] {
    // SAFETY: the caller's lengths hold.
    unsafe {
        let (c, pitch, d) = (half.win.c, half.win.pitch(), half.dilation);
        let mut acc = [S::zero(); B];
        for ky in 0..K {
            for kx in 0..K {
                let wv = S::load(w.add((ky * K + kx) * S::L));
                let base = from.add((ky * d * pitch + kx * d) * c);
                for (j, acc) in acc.iter_mut().enumerate() {
                    *acc = S::fma(S::get(base.add(j * c), n), wv, *acc);
                }
            }
        }
        acc
    }
}

/// dw_dw[tap] += sum over output pixels of r[shifted by the tap] * gt.
#[inline(always)]
unsafe fn dw_gradient<S: Simd, const K: usize>(half: Half, r: *const f32, gt: *const f32, dw_dw: *mut f32) {
    // SAFETY: the caller's lengths hold; n stays within the c channels of a pixel.
    unsafe {
        let ([h, w], c, pitch, d) = (half.side_out(), half.win.c, half.win.pitch(), half.dilation);
        let step = half.stride * c;
        for cb in (0..c).step_by(S::L) {
            let n = S::L.min(c - cb);
            for ky in 0..K {
                // Two sets of accumulators: one alone would wait for its own sums.
                let mut acc = [[S::zero(); K]; 2];
                for y in 0..h {
                    let g_row = gt.add(half.win.at(y * half.stride, 0) + cb);
                    let r_row = r.add(((y * half.stride + ky * d) * pitch) * c + cb);
                    for x in 0..w {
                        let gv = S::get(g_row.add(x * step), n);
                        let base = r_row.add(x * step);
                        let acc = &mut acc[x % 2];
                        for (kx, acc) in acc.iter_mut().enumerate() {
                            *acc = S::fma(S::get(base.add(kx * d * c), n), gv, *acc);
                        }
                    }
                }
                for kx in 0..K {
                    let to = dw_dw.add((ky * K + kx) * c + cb);
                    S::put(to, S::add(S::get(to, n), S::add(acc[0][kx], acc[1][kx])), n);
                }
            }
        }
    }
}
