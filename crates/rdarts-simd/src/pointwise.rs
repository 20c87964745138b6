//! Pointwise products: `out[p][co] (+)= sum_ci x[p][ci] w[ci][co]`, and the gradient of w. Rows of x and of out may
//! lie any distance apart, so that strided, windowed and full convolutions are made of the same two loops.

use super::blend::Source;
use super::{Simd, in_blocks, kernel, reach};

/// Dense tensors of as many channels as a product reads, which will be read after it. While it computes it asks for as
/// many of their pixels as it has itself: memory works while the multipliers do.
#[derive(Clone, Copy, Default)]
pub struct Next {
    streams: [usize; Self::MOST],
    n: usize,
}

impl Next {
    /// The sources and the gate of a vjp of a jvp, of a stage that one tensor reads: shared ones are pools.
    const MOST: usize = 5;

    /// Adds a source from a pixel on, which may lie behind the end of the slice: the next image does.
    pub fn add(&mut self, source: &Source<'_>, pixel: usize) {
        self.push(source.at(pixel) as usize);
    }

    /// The same, unless its pixels of c channels lie further apart.
    pub fn add_if_dense(&mut self, source: &Source<'_>, pixel: usize, c: usize) {
        if source.stride == c {
            self.add(source, pixel);
        }
    }

    /// Adds those of another.
    pub fn extend(&mut self, other: &Self) {
        other.streams[..other.n].iter().for_each(|s| self.push(*s));
    }

    fn push(&mut self, stream: usize) {
        self.streams[self.n] = stream;
        self.n += 1;
    }

    /// The same, `by` values further on.
    pub fn shifted(&self, by: usize) -> Self {
        Self { streams: self.streams.map(|s| s.wrapping_add(by * size_of::<f32>())), n: self.n }
    }
}

/// Values of weights; half of one channel is none.
fn weights(c_in: usize, c_out: usize) -> usize {
    c_in.checked_mul(c_out).expect("weights that fit into memory")
}

/// `out[p * out_stride + co] (+)= sum_ci x[p * x_stride + ci] * w[ci * c_out + co]` for px pixels.
///
/// # Panics
/// If there is no pixel, or a slice is shorter than these.
#[allow(clippy::too_many_arguments)]
pub fn product(
    isa: super::Isa,
    px: usize,
    shape: (usize, usize),
    x: &[f32],
    x_stride: usize,
    w: &[f32],
    out: &mut [f32],
    out_stride: usize,
    accumulate: bool,
) {
    product_and_fetch(isa, px, shape, x, x_stride, w, out, out_stride, accumulate, &Next::default());
}

/// [`product`], and what comes after it on its way.
#[allow(clippy::too_many_arguments)]
pub fn product_and_fetch(
    isa: super::Isa,
    px: usize,
    (c_in, c_out): (usize, usize),
    x: &[f32],
    x_stride: usize,
    w: &[f32],
    out: &mut [f32],
    out_stride: usize,
    accumulate: bool,
    next: &Next,
) {
    if px == 0 || c_out == 0 {
        return;
    }
    assert!(x.len() >= reach(px, x_stride, c_in) && w.len() >= weights(c_in, c_out));
    assert!(out_stride >= c_out && out.len() >= reach(px, out_stride, c_out));
    product_kernel(isa, c_out, (1, px), (c_in, c_out), (x, x_stride, 0), w, (out, out_stride, 0), accumulate, next);
}

/// The same for rows of pixels, dense in x, `pitch` values apart in out.
#[allow(clippy::too_many_arguments)]
pub fn product_in_rows(
    isa: super::Isa,
    (rows, px): (usize, usize),
    (c_in, c_out): (usize, usize),
    x: &[f32],
    w: &[f32],
    out: &mut [f32],
    pitch: usize,
    accumulate: bool,
    next: &Next,
) {
    let (row, row_out) = (reach(px, c_in, c_in), reach(px, c_out, c_out));
    assert!(x.len() >= reach(rows, row, row) && w.len() >= weights(c_in, c_out));
    assert!(pitch >= row_out && out.len() >= reach(rows, pitch, row_out));
    let (x, out) = ((x, c_in, px * c_in), (out, c_out, pitch));
    product_kernel(isa, c_out, (rows, px), (c_in, c_out), x, w, out, accumulate, next);
}

kernel!(fn product_kernel = product_body(size: (usize, usize), shape: (usize, usize), x: (&[f32], usize, usize), w: &[f32], out: (&mut [f32], usize, usize), accumulate: bool, next: &Next));

/// x and out are (values, stride of pixels, pitch of rows).
#[inline(always)]
unsafe fn product_body<S: Simd>(
    (rows, px): (usize, usize),
    (c_in, c_out): (usize, usize),
    (x, x_stride, x_pitch): (&[f32], usize, usize),
    w: &[f32],
    (out, out_stride, out_pitch): (&mut [f32], usize, usize),
    accumulate: bool,
    next: &Next,
) {
    // SAFETY: the callers of the kernel checked the lengths.
    unsafe {
        let (x, w, out) = (x.as_ptr(), w.as_ptr(), out.as_mut_ptr());
        for row in 0..rows {
            let (x, out, next) = (x.add(row * x_pitch), out.add(row * out_pitch), next.shifted(row * px * c_in));
            product_row::<S>(px, c_in, c_out, x, x_stride, w, out, out_stride, accumulate, &next);
        }
    }
}

/// A row of pixels.
///
/// # Safety
/// x, w and out are valid for the pixels and strides given.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn product_row<S: Simd>(
    px: usize,
    c_in: usize,
    c_out: usize,
    x: *const f32,
    x_stride: usize,
    w: *const f32,
    out: *mut f32,
    out_stride: usize,
    accumulate: bool,
    next: &Next,
) {
    // SAFETY: the caller's pointers hold; n stays within the c_out channels of a pixel.
    unsafe {
        // Blocks of pixels by registers of channels: as many sums as hide the latency of the multiply-add (8), and no
        // more than stay in the 32 or 16 registers together with the weights.
        let mut co = 0;
        let nothing = Next::default();
        while co + 2 * S::L <= c_out {
            let (w, out) = (w.add(co), out.add(co));
            let ahead = if co == 0 { next } else { &nothing };
            if S::L == 16 {
                in_blocks!([8, 4, 2, 1], px, p, B => {
                    block::<S, B, 2>(c_in, c_out, x.add(p * x_stride), x_stride, w, out.add(p * out_stride), out_stride, accumulate, S::L, &ahead.shifted(p * c_in))
                });
            } else {
                in_blocks!([4, 2, 1], px, p, B => {
                    block::<S, B, 2>(c_in, c_out, x.add(p * x_stride), x_stride, w, out.add(p * out_stride), out_stride, accumulate, S::L, &ahead.shifted(p * c_in))
                });
            }
            co += 2 * S::L;
        }
        if co + S::L <= c_out {
            let (w, out) = (w.add(co), out.add(co));
            let ahead = if co == 0 { next } else { &nothing };
            if S::L == 16 {
                in_blocks!([16, 8, 4, 2, 1], px, p, B => {
                    block::<S, B, 1>(c_in, c_out, x.add(p * x_stride), x_stride, w, out.add(p * out_stride), out_stride, accumulate, S::L, &ahead.shifted(p * c_in))
                });
            } else {
                in_blocks!([8, 4, 2, 1], px, p, B => {
                    block::<S, B, 1>(c_in, c_out, x.add(p * x_stride), x_stride, w, out.add(p * out_stride), out_stride, accumulate, S::L, &ahead.shifted(p * c_in))
                });
            }
            co += S::L;
        }
        if co < c_out {
            let (w, out, n) = (w.add(co), out.add(co), c_out - co);
            let ahead = if co == 0 { next } else { &nothing };
            in_blocks!([8, 4, 2, 1], px, p, B => {
                block::<S, B, 1>(c_in, c_out, x.add(p * x_stride), x_stride, w, out.add(p * out_stride), out_stride, accumulate, n, &ahead.shifted(p * c_in))
            });
        }
    }
}

/// B pixels by NV registers of output channels; n: channels in the last register.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn block<S: Simd, const B: usize, const NV: usize>(
    c_in: usize,
    c_out: usize,
    x: *const f32,
    x_stride: usize,
    w: *const f32,
    out: *mut f32,
    out_stride: usize,
    accumulate: bool,
    n: usize,
    next: &Next,
) {
    // SAFETY: as `product_row`.
    unsafe {
        let mut acc = [[S::zero(); NV]; B];
        if accumulate {
            for (j, acc) in acc.iter_mut().enumerate() {
                for (v, acc) in acc.iter_mut().enumerate() {
                    *acc = S::get(out.add(j * out_stride + v * S::L), n);
                }
            }
        }
        // One cache line of every stream with each input channel: B pixels of c_in channels are fewer lines than c_in.
        let lines = (B * c_in).div_ceil(16).min(c_in);
        let streams = &next.streams[..next.n];
        for ci in 0..c_in {
            if ci < lines {
                for stream in streams {
                    S::prefetch(std::ptr::without_provenance::<f32>(stream.wrapping_add(64 * ci)));
                }
            }
            let mut wv = [S::zero(); NV];
            for (v, wv) in wv.iter_mut().enumerate() {
                *wv = S::get(w.add(ci * c_out + v * S::L), n);
            }
            for (j, acc) in acc.iter_mut().enumerate() {
                let xv = S::splat(*x.add(j * x_stride + ci));
                for (acc, wv) in acc.iter_mut().zip(wv) {
                    *acc = S::fma(xv, wv, *acc);
                }
            }
        }
        for (j, acc) in acc.iter().enumerate() {
            for (v, acc) in acc.iter().enumerate() {
                S::put(out.add(j * out_stride + v * S::L), *acc, n);
            }
        }
    }
}

/// dw[ci * c_out + co] += sum_p x[p * x_stride + ci] * g[p * g_stride + co].
#[allow(clippy::too_many_arguments)]
pub fn weight_gradient(
    isa: super::Isa,
    px: usize,
    (c_in, c_out): (usize, usize),
    x: &[f32],
    x_stride: usize,
    g: &[f32],
    g_stride: usize,
    dw: &mut [f32],
) {
    if px == 0 || c_out == 0 {
        return;
    }
    assert!(x.len() >= reach(px, x_stride, c_in) && g.len() >= reach(px, g_stride, c_out));
    assert!(dw.len() >= weights(c_in, c_out));
    weight_gradient_kernel(isa, c_out, px, c_in, c_out, x, x_stride, g, g_stride, dw);
}

kernel!(fn weight_gradient_kernel = weight_gradient_body(px: usize, c_in: usize, c_out: usize, x: &[f32], x_stride: usize, g: &[f32], g_stride: usize, dw: &mut [f32]));

#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn weight_gradient_body<S: Simd>(
    px: usize,
    c_in: usize,
    c_out: usize,
    x: &[f32],
    x_stride: usize,
    g: &[f32],
    g_stride: usize,
    dw: &mut [f32],
) {
    // SAFETY: `weight_gradient` checked the lengths.
    unsafe { gradient_rows::<S>(px, c_in, c_out, x.as_ptr(), x_stride, g.as_ptr(), g_stride, dw.as_mut_ptr()) }
}

/// The loop of [`weight_gradient`] on pointers.
///
/// # Safety
/// x, g and dw are valid for the pixels and strides given.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(super) unsafe fn gradient_rows<S: Simd>(
    px: usize,
    c_in: usize,
    c_out: usize,
    x: *const f32,
    x_stride: usize,
    g: *const f32,
    g_stride: usize,
    dw: *mut f32,
) {
    // SAFETY: the caller's pointers hold; n stays within the c_out channels of a pixel.
    unsafe {
        let mut co = 0;
        while co + 2 * S::L <= c_out {
            let (g, dw) = (g.add(co), dw.add(co));
            if S::L == 16 {
                in_blocks!([8, 4, 2, 1], c_in, ci, B => {
                    gradient_block::<S, B, 2>(px, c_out, x.add(ci), x_stride, g, g_stride, dw.add(ci * c_out), S::L)
                });
            } else {
                in_blocks!([4, 2, 1], c_in, ci, B => {
                    gradient_block::<S, B, 2>(px, c_out, x.add(ci), x_stride, g, g_stride, dw.add(ci * c_out), S::L)
                });
            }
            co += 2 * S::L;
        }
        if co + S::L <= c_out {
            let (g, dw) = (g.add(co), dw.add(co));
            if S::L == 16 {
                in_blocks!([16, 8, 4, 2, 1], c_in, ci, B => {
                    gradient_block::<S, B, 1>(px, c_out, x.add(ci), x_stride, g, g_stride, dw.add(ci * c_out), S::L)
                });
            } else {
                in_blocks!([8, 4, 2, 1], c_in, ci, B => {
                    gradient_block::<S, B, 1>(px, c_out, x.add(ci), x_stride, g, g_stride, dw.add(ci * c_out), S::L)
                });
            }
            co += S::L;
        }
        if co < c_out {
            let (g, dw, n) = (g.add(co), dw.add(co), c_out - co);
            in_blocks!([8, 4, 2, 1], c_in, ci, B => {
                gradient_block::<S, B, 1>(px, c_out, x.add(ci), x_stride, g, g_stride, dw.add(ci * c_out), n)
            });
        }
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn gradient_block<S: Simd, const B: usize, const NV: usize>(
    px: usize,
    c_out: usize,
    x: *const f32,
    x_stride: usize,
    g: *const f32,
    g_stride: usize,
    dw: *mut f32,
    n: usize,
) {
    // SAFETY: as `gradient_rows`.
    unsafe {
        let mut acc = [[S::zero(); NV]; B];
        for p in 0..px {
            let mut gv = [S::zero(); NV];
            for (v, gv) in gv.iter_mut().enumerate() {
                *gv = S::get(g.add(p * g_stride + v * S::L), n);
            }
            for (j, acc) in acc.iter_mut().enumerate() {
                let xv = S::splat(*x.add(p * x_stride + j));
                for (acc, gv) in acc.iter_mut().zip(gv) {
                    *acc = S::fma(xv, gv, *acc);
                }
            }
        }
        for (j, acc) in acc.iter().enumerate() {
            for (v, acc) in acc.iter().enumerate() {
                let to = dw.add(j * c_out + v * S::L);
                S::put(to, S::add(S::get(to, n), *acc), n);
            }
        }
    }
}
