//! One image as a window: (h + 2 pad, w + 2 pad, c), the border filled. The linear kernels read nothing else,
//! so neither borders nor relu nor batch norm appear in them.
//!
//! * [`fill`]: window = mode(shift + sum of coefficient * source), mode = plain, relu or gated by another window.
//! * [`add_inside`]: destination (+)= the inside of a window, gated by another.

use super::blend::{Source, registers};
use super::{Simd, in_blocks, kernel};

/// The shape of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub h: usize,
    pub w: usize,
    pub c: usize,
    pub pad: usize,
}

impl Window {
    /// Pixels of a row, the border included.
    pub fn pitch(&self) -> usize {
        self.w + 2 * self.pad
    }

    /// Values.
    pub fn len(&self) -> usize {
        (self.h + 2 * self.pad) * self.pitch() * self.c
    }

    /// Position of the inside's pixel (y, x).
    pub fn at(&self, y: usize, x: usize) -> usize {
        ((y + self.pad) * self.pitch() + x + self.pad) * self.c
    }

    /// Fills the border.
    pub fn fill_border(&self, window: &mut [f32], value: f32) {
        let row = self.pitch() * self.c;
        let side = self.pad * self.c;
        window[..self.pad * row].fill(value);
        window[(self.pad + self.h) * row..self.len()].fill(value);
        for y in self.pad..self.pad + self.h {
            window[y * row..y * row + side].fill(value);
            window[(y + 1) * row - side..(y + 1) * row].fill(value);
        }
    }
}

/// What [`fill`] does with the combined value.
#[derive(Clone, Copy)]
pub(crate) enum Mode<'a> {
    /// Keeps it.
    Plain,
    /// max(0, value).
    Relu,
    /// Keeps it where the given window of the same shape is positive.
    Gate(&'a [f32]),
}

/// Fills the inside of a window from one or two sources of h * w pixels; the border is the caller's.
pub(crate) fn fill(
    isa: super::Isa,
    win: Window,
    sources: &[Source<'_>],
    shift: &[f32],
    mode: Mode<'_>,
    window: &mut [f32],
) {
    assert!((1..=2).contains(&sources.len()) && window.len() >= win.len());
    assert!(shift.is_empty() || shift.len() >= win.c);
    for s in sources {
        s.check(win.h * win.w, win.c);
    }
    if let Mode::Gate(gate) = mode {
        assert!(gate.len() >= win.len());
    }
    fill_kernel(isa, win.c, win, sources, shift, mode, window);
}

kernel!(fn fill_kernel = fill_body(win: Window, sources: &[Source<'_>], shift: &[f32], mode: Mode<'_>, window: &mut [f32]));

#[inline(always)]
unsafe fn fill_body<S: Simd>(win: Window, sources: &[Source<'_>], shift: &[f32], mode: Mode<'_>, window: &mut [f32]) {
    // SAFETY: `fill` checked that every source holds h * w pixels and every window its full length; n stays
    // within the c channels of a pixel.
    unsafe {
        let out = window.as_mut_ptr();
        match (registers::<S>(win.c), sources.len()) {
            (1, 1) => return fill_pixels::<S, 1, 1>(win, sources, shift, mode, out),
            (1, 2) => return fill_pixels::<S, 1, 2>(win, sources, shift, mode, out),
            (2, 1) => return fill_pixels::<S, 2, 1>(win, sources, shift, mode, out),
            (2, 2) => return fill_pixels::<S, 2, 2>(win, sources, shift, mode, out),
            (4, 1) => return fill_pixels::<S, 4, 1>(win, sources, shift, mode, out),
            (4, 2) => return fill_pixels::<S, 4, 2>(win, sources, shift, mode, out),
            _ => {}
        }
        let (c, w) = (win.c, win.w);
        // Row by row, so that a row is in the first cache level when its next channels come.
        for y in 0..win.h {
            for cb in (0..c).step_by(S::L) {
                let n = S::L.min(c - cb);
                let base = if shift.is_empty() { S::zero() } else { S::get(shift.as_ptr().add(cb), n) };
                let at = win.at(y, 0) + cb;
                in_blocks!(w, x, B => {
                    let mut v = [base; B];
                    for s in sources {
                        let coef = s.coef::<S>(cb, n);
                        let from = s.data.as_ptr().add((y * w + x) * s.stride + cb);
                        for (j, v) in v.iter_mut().enumerate() {
                            *v = S::fma(S::get(from.add(j * s.stride), n), coef, *v);
                        }
                    }
                    for (j, v) in v.iter().enumerate() {
                        let at = at + (x + j) * c;
                        let v = match mode {
                            Mode::Plain => *v,
                            Mode::Relu => S::max(*v, S::zero()),
                            Mode::Gate(gate) => S::gate(S::get(gate.as_ptr().add(at), n), *v),
                        };
                        S::put(out.add(at), v, n);
                    }
                });
            }
        }
    }
}

/// [`fill`] from N sources for pixels of R registers.
#[inline(always)]
unsafe fn fill_pixels<S: Simd, const R: usize, const N: usize>(
    win: Window,
    sources: &[Source<'_>],
    shift: &[f32],
    mode: Mode<'_>,
    out: *mut f32,
) {
    // SAFETY: as `fill_body`, for pixels of R full registers.
    unsafe {
        let mut base = [S::zero(); R];
        if !shift.is_empty() {
            for (r, base) in base.iter_mut().enumerate() {
                *base = S::load(shift.as_ptr().add(r * S::L));
            }
        }
        let mut coef = [[S::zero(); R]; N];
        let mut from = [std::ptr::null::<f32>(); N];
        let mut stride = [0; N];
        for (k, source) in sources.iter().enumerate().take(N) {
            for (r, coef) in coef[k].iter_mut().enumerate() {
                *coef = source.coef::<S>(r * S::L, S::L);
            }
            from[k] = source.data.as_ptr();
            stride[k] = source.stride;
        }
        for y in 0..win.h {
            let at = win.at(y, 0);
            let mut row = from;
            for (row, stride) in row.iter_mut().zip(stride) {
                *row = row.add(y * win.w * stride);
            }
            match mode {
                Mode::Plain => fill_row::<S, R, N>(win.w, row, stride, &coef, base, None, false, out.add(at)),
                Mode::Relu => fill_row::<S, R, N>(win.w, row, stride, &coef, base, None, true, out.add(at)),
                Mode::Gate(gate) => {
                    let gate = Some(gate.as_ptr().add(at));
                    fill_row::<S, R, N>(win.w, row, stride, &coef, base, gate, false, out.add(at));
                }
            }
        }
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn fill_row<S: Simd, const R: usize, const N: usize>(
    w: usize,
    from: [*const f32; N],
    stride: [usize; N],
    coef: &[[S::V; R]; N],
    base: [S::V; R],
    gate: Option<*const f32>,
    relu: bool,
    out: *mut f32,
) {
    // SAFETY: as `fill_body`.
    unsafe {
        in_blocks!([4, 1], w, x, B => {
            for j in 0..B {
                for r in 0..R {
                    let at = ((x + j) * R + r) * S::L;
                    let mut v = base[r];
                    for k in 0..N {
                        v = S::fma(S::load(from[k].add((x + j) * stride[k] + r * S::L)), coef[k][r], v);
                    }
                    if relu {
                        v = S::max(v, S::zero());
                    }
                    if let Some(gate) = gate {
                        v = S::gate(S::load(gate.add(at)), v);
                    }
                    S::store(out.add(at), v);
                }
            }
        });
    }
}

/// destination (+)= the inside of `window`, only where `gate` (a window of the same shape) is positive.
pub(crate) fn add_inside(
    isa: super::Isa,
    win: Window,
    window: &[f32],
    gate: Option<&[f32]>,
    destination: &mut [f32],
    stride: usize,
    accumulate: bool,
) {
    assert!(window.len() >= win.len() && gate.is_none_or(|g| g.len() >= win.len()));
    assert!(stride >= win.c && destination.len() >= (win.h * win.w - 1) * stride + win.c);
    add_inside_kernel(isa, win.c, win, window, gate, destination, stride, accumulate);
}

kernel!(fn add_inside_kernel = add_inside_body(win: Window, window: &[f32], gate: Option<&[f32]>, destination: &mut [f32], stride: usize, accumulate: bool));

#[inline(always)]
unsafe fn add_inside_body<S: Simd>(
    win: Window,
    window: &[f32],
    gate: Option<&[f32]>,
    destination: &mut [f32],
    stride: usize,
    accumulate: bool,
) {
    // SAFETY: `add_inside` checked the lengths; n stays within the c channels of a pixel.
    unsafe {
        for y in 0..win.h {
            for x in 0..win.w {
                for cb in (0..win.c).step_by(S::L) {
                    let n = S::L.min(win.c - cb);
                    let at = win.at(y, x) + cb;
                    let mut v = S::get(window.as_ptr().add(at), n);
                    if let Some(gate) = gate {
                        v = S::gate(S::get(gate.as_ptr().add(at), n), v);
                    }
                    let to = destination.as_mut_ptr().add((y * win.w + x) * stride + cb);
                    if accumulate {
                        v = S::add(v, S::get(to, n));
                    }
                    S::put(to, v, n);
                }
            }
        }
    }
}
