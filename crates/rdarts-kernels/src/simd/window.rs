//! One image as a window: (h + 2 pad, w + 2 pad, c), the border filled. The linear kernels read nothing else,
//! so neither borders nor relu nor batch norm appear in them.
//!
//! * [`fill`]: window = mode(shift + sum of coefficient * source), mode = plain, relu or gated by another window.
//! * [`add_inside`]: destination (+)= the inside of a window, gated by another.

use super::blend::Source;
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
        let (c, w) = (win.c, win.w);
        let out = window.as_mut_ptr();
        for cb in (0..c).step_by(S::L) {
            let n = S::L.min(c - cb);
            let base = if shift.is_empty() { S::zero() } else { S::get(shift.as_ptr().add(cb), n) };
            let a = sources[0].coef::<S>(cb, n);
            let b = if sources.len() > 1 { sources[1].coef::<S>(cb, n) } else { S::zero() };
            for y in 0..win.h {
                let src = sources[0].data.as_ptr().add(y * w * sources[0].stride + cb);
                let src_stride = sources[0].stride;
                let at = win.at(y, 0) + cb;
                in_blocks!(w, x, B => {
                    let mut v = [base; B];
                    for (j, v) in v.iter_mut().enumerate() {
                        *v = S::fma(S::get(src.add((x + j) * src_stride), n), a, *v);
                    }
                    if sources.len() > 1 {
                        let second = sources[1].data.as_ptr().add((y * w + x) * sources[1].stride + cb);
                        for (j, v) in v.iter_mut().enumerate() {
                            *v = S::fma(S::get(second.add(j * sources[1].stride), n), b, *v);
                        }
                    }
                    match mode {
                        Mode::Plain => {}
                        Mode::Relu => v.iter_mut().for_each(|v| *v = S::max(*v, S::zero())),
                        Mode::Gate(gate) => {
                            for (j, v) in v.iter_mut().enumerate() {
                                *v = S::gate(S::get(gate.as_ptr().add(at + (x + j) * c), n), *v);
                            }
                        }
                    }
                    for (j, v) in v.iter().enumerate() {
                        S::put(out.add(at + (x + j) * c), *v, n);
                    }
                });
            }
        }
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
        for cb in (0..win.c).step_by(S::L) {
            let n = S::L.min(win.c - cb);
            for y in 0..win.h {
                for x in 0..win.w {
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
