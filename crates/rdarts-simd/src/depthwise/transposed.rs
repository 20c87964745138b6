//! The transposed window sums: gate * DW'(gt) into the gradient of the input.

use std::ops::Range;

use super::{Half, InputGradient, instance, or, taps};
use crate::window::parts;
use crate::{AHEAD, Isa, Simd, in_blocks, kernel, reach};

/// input (+)= gate * DW'(gt) for rows of the input.
pub(super) fn transposed(
    isa: Isa,
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
    assert!(input.out.len() >= reach(win.px(), input.stride, win.c));
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
