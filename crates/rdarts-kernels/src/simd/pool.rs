//! 3x3 pooling with padding 1 on a window.
//!
//! Max: the border holds -infinity and is never chosen; ties go to the first in row-major order, as in PyTorch.
//! The map is linear once the places of the maxima are known, so [`max`] and [`max_vjp`] take the values that
//! decide and the values that move apart. Average: the border is not counted.

use super::window::Window;
use super::{Simd, kernel};

/// y[o] = v at the place of the largest r in the window of output pixel o. With v = r: max pooling.
pub(crate) fn max(isa: super::Isa, win: Window, stride: usize, r: &[f32], v: &[f32], y: &mut [f32]) {
    check(win, stride, &[r, v], y);
    max_kernel(isa, win.c, win, stride, r, v, y);
}

kernel!(fn max_kernel = max_body(win: Window, stride: usize, r: &[f32], v: &[f32], y: &mut [f32]));

#[inline(always)]
unsafe fn max_body<S: Simd>(win: Window, stride: usize, r: &[f32], v: &[f32], y: &mut [f32]) {
    // SAFETY: `check` saw full windows and outputs; n stays within the c channels of a pixel.
    unsafe {
        for_each_output::<S>(win, stride, |o, from, n| {
            let (mut best, mut moved) = (S::splat(f32::NEG_INFINITY), S::zero());
            for tap in 0..9 {
                let at = from + tap_offset(win, tap);
                let value = S::get(r.as_ptr().add(at), n);
                moved = S::select_gt(value, best, S::get(v.as_ptr().add(at), n), moved);
                best = S::select_gt(value, best, value, best);
            }
            S::put(y.as_mut_ptr().add(o), moved, n);
        });
    }
}

/// dv[place of the maximum of output o] += g[o], on a window.
pub(crate) fn max_vjp(isa: super::Isa, win: Window, stride: usize, r: &[f32], g: &[f32], dv: &mut [f32]) {
    check(win, stride, &[r, dv], g);
    max_vjp_kernel(isa, win.c, win, stride, r, g, dv);
}

kernel!(fn max_vjp_kernel = max_vjp_body(win: Window, stride: usize, r: &[f32], g: &[f32], dv: &mut [f32]));

#[inline(always)]
unsafe fn max_vjp_body<S: Simd>(win: Window, stride: usize, r: &[f32], g: &[f32], dv: &mut [f32]) {
    // SAFETY: as `max_body`.
    unsafe {
        for_each_output::<S>(win, stride, |o, from, n| {
            let mut best = S::splat(f32::NEG_INFINITY);
            for tap in 0..9 {
                let value = S::get(r.as_ptr().add(from + tap_offset(win, tap)), n);
                best = S::select_gt(value, best, value, best);
            }
            // What the first equal value takes is gone for the later ones.
            let mut left = S::get(g.as_ptr().add(o), n);
            for tap in 0..9 {
                let at = from + tap_offset(win, tap);
                let share = S::select_eq(S::get(r.as_ptr().add(at), n), best, left);
                left = S::sub(left, share);
                let to = dv.as_mut_ptr().add(at);
                S::put(to, S::add(S::get(to, n), share), n);
            }
        });
    }
}

/// y[o] = mean of v over the part of the window that lies inside the image. The border of v holds zero.
pub(crate) fn average(isa: super::Isa, win: Window, stride: usize, v: &[f32], y: &mut [f32]) {
    check(win, stride, &[v], y);
    average_kernel(isa, win.c, win, stride, v, y);
}

kernel!(fn average_kernel = average_body(win: Window, stride: usize, v: &[f32], y: &mut [f32]));

#[inline(always)]
unsafe fn average_body<S: Simd>(win: Window, stride: usize, v: &[f32], y: &mut [f32]) {
    // SAFETY: as `max_body`.
    unsafe {
        for_each_output::<S>(win, stride, |o, from, n| {
            let mut sum = S::zero();
            for tap in 0..9 {
                sum = S::add(sum, S::get(v.as_ptr().add(from + tap_offset(win, tap)), n));
            }
            S::put(y.as_mut_ptr().add(o), S::mul(sum, S::splat(share(win, from))), n);
        });
    }
}

/// dv[each pixel under output o] += g[o] / pixels under it, on a window (what falls on the border is meaningless).
pub(crate) fn average_vjp(isa: super::Isa, win: Window, stride: usize, g: &[f32], dv: &mut [f32]) {
    check(win, stride, &[dv], g);
    average_vjp_kernel(isa, win.c, win, stride, g, dv);
}

kernel!(fn average_vjp_kernel = average_vjp_body(win: Window, stride: usize, g: &[f32], dv: &mut [f32]));

#[inline(always)]
unsafe fn average_vjp_body<S: Simd>(win: Window, stride: usize, g: &[f32], dv: &mut [f32]) {
    // SAFETY: as `max_body`.
    unsafe {
        for_each_output::<S>(win, stride, |o, from, n| {
            let part = S::mul(S::get(g.as_ptr().add(o), n), S::splat(share(win, from)));
            for tap in 0..9 {
                let to = dv.as_mut_ptr().add(from + tap_offset(win, tap));
                S::put(to, S::add(S::get(to, n), part), n);
            }
        });
    }
}

fn check(win: Window, stride: usize, windows: &[&[f32]], dense: &[f32]) {
    assert!(win.pad == 1 && windows.iter().all(|v| v.len() >= win.len()));
    assert!(dense.len() >= win.h.div_ceil(stride) * win.w.div_ceil(stride) * win.c);
}

/// Calls f(position in the dense output, position of the first tap in the window, channels) register by register.
#[inline(always)]
fn for_each_output<S: Simd>(win: Window, stride: usize, mut f: impl FnMut(usize, usize, usize)) {
    let (h, w) = (win.h.div_ceil(stride), win.w.div_ceil(stride));
    for y in 0..h {
        for x in 0..w {
            for cb in (0..win.c).step_by(S::L) {
                let from = (y * stride * win.pitch() + x * stride) * win.c + cb;
                f((y * w + x) * win.c + cb, from, S::L.min(win.c - cb));
            }
        }
    }
}

#[inline(always)]
fn tap_offset(win: Window, tap: usize) -> usize {
    (tap / 3 * win.pitch() + tap % 3) * win.c
}

/// One over the pixels of the image under the window whose first tap lies at `from`.
#[inline(always)]
fn share(win: Window, from: usize) -> f32 {
    let pixel = from / win.c;
    let (y, x) = (pixel / win.pitch(), pixel % win.pitch());
    // Row y of the window is image row y - 1.
    let inside = |first: usize, side: usize| (first..first + 3).filter(|i| (1..=side).contains(i)).count();
    1.0 / (inside(y, win.h) * inside(x, win.w)) as f32
}
