//! The definition: every operation as the plainest loops there are, over any number type.
//!
//! With `f64` it gives values, with [`Dual`] exact tangents, with `Dual<Dual<f64>>` exact second derivatives, so
//! that one short text checks forward, vjp, jvp and vjp of the jvp of the fused kernels. Slow on purpose.

use crate::spec::{BN_EPS, CellDims, CellNoise, CellSpec, HeadSpec, StemSpec};
use crate::{Isa, Kernels};
use rdarts_space::Op;

/// What the loops need of a number.
pub trait Number:
    Copy + std::ops::Add<Output = Self> + std::ops::Sub<Output = Self> + std::ops::Mul<Output = Self> + std::fmt::Debug
{
    /// A constant.
    fn constant(x: f64) -> Self;
    /// The value, without derivatives.
    fn value(self) -> f64;
    /// 1 / sqrt(x).
    fn inv_sqrt(self) -> Self;
}

impl Number for f64 {
    fn constant(x: f64) -> Self {
        x
    }
    fn value(self) -> f64 {
        self
    }
    fn inv_sqrt(self) -> Self {
        1.0 / self.sqrt()
    }
}

/// value + e * tangent with e * e = 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dual<T> {
    /// The value.
    pub re: T,
    /// The derivative along the direction the inputs carry.
    pub du: T,
}

impl<T: Number> std::ops::Add for Dual<T> {
    type Output = Self;
    fn add(self, o: Self) -> Self {
        Self { re: self.re + o.re, du: self.du + o.du }
    }
}

impl<T: Number> std::ops::Sub for Dual<T> {
    type Output = Self;
    fn sub(self, o: Self) -> Self {
        Self { re: self.re - o.re, du: self.du - o.du }
    }
}

impl<T: Number> std::ops::Mul for Dual<T> {
    type Output = Self;
    fn mul(self, o: Self) -> Self {
        Self { re: self.re * o.re, du: self.du * o.re + self.re * o.du }
    }
}

impl<T: Number> Number for Dual<T> {
    fn constant(x: f64) -> Self {
        Self { re: T::constant(x), du: T::constant(0.0) }
    }
    fn value(self) -> f64 {
        self.re.value()
    }
    fn inv_sqrt(self) -> Self {
        let y = self.re.inv_sqrt();
        Self { re: y, du: T::constant(-0.5) * y * y * y * self.du }
    }
}

/// A batch of images, (n, h, w, c).
#[derive(Clone, Debug)]
pub struct Maps<T> {
    /// Images.
    pub n: usize,
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
    /// Channels.
    pub c: usize,
    /// Values.
    pub data: Vec<T>,
}

impl<T: Number> Maps<T> {
    /// Zeros.
    pub fn zeros(n: usize, h: usize, w: usize, c: usize) -> Self {
        Self { n, h, w, c, data: vec![T::constant(0.0); n * h * w * c] }
    }

    fn at(&self, i: usize, y: usize, x: usize, ch: usize) -> usize {
        ((i * self.h + y) * self.w + x) * self.c + ch
    }

    /// The value at a place that may lie outside the image.
    fn get(&self, i: usize, y: isize, x: isize, ch: usize) -> Option<T> {
        let inside = y >= 0 && x >= 0 && (y as usize) < self.h && (x as usize) < self.w;
        inside.then(|| self.data[self.at(i, y as usize, x as usize, ch)])
    }

    fn map(&self, f: impl Fn(T) -> T) -> Self {
        Self { data: self.data.iter().map(|v| f(*v)).collect(), ..*self }
    }

    /// max(0, x).
    pub fn relu(&self) -> Self {
        self.map(|v| if v.value() > 0.0 { v } else { T::constant(0.0) })
    }

    fn add_scaled(&mut self, other: &Self, factor: impl Fn(usize) -> T) {
        let image = self.h * self.w * self.c;
        for (at, (a, b)) in self.data.iter_mut().zip(&other.data).enumerate() {
            *a = *a + factor(at / image) * *b;
        }
    }
}

/// Batch norm over (n, h, w) with biased variance, without scale and shift.
pub fn batch_norm<T: Number>(x: &Maps<T>) -> Maps<T> {
    let mut y = x.clone();
    let count = T::constant(1.0 / (x.data.len() / x.c) as f64);
    for ch in 0..x.c {
        let values = || x.data.iter().skip(ch).step_by(x.c).copied();
        let mean = values().fold(T::constant(0.0), |a, v| a + v) * count;
        let variance = values().fold(T::constant(0.0), |a, v| a + (v - mean) * (v - mean)) * count;
        let inv = (variance + T::constant(BN_EPS)).inv_sqrt();
        for v in y.data.iter_mut().skip(ch).step_by(x.c) {
            *v = (*v - mean) * inv;
        }
    }
    y
}

/// Full convolution, weights `[kh * kw * c_in][c_out]`, ceil(side / stride) outputs a side.
fn conv<T: Number>(
    x: &Maps<T>,
    w: &[T],
    (kh, kw): (usize, usize),
    (sy, sx): (usize, usize),
    pad: (usize, usize),
) -> Maps<T> {
    let c_out = w.len() / (kh * kw * x.c);
    let mut y = Maps::zeros(x.n, x.h.div_ceil(sy), x.w.div_ceil(sx), c_out);
    for i in 0..x.n {
        for oy in 0..y.h {
            for ox in 0..y.w {
                for tap in 0..kh * kw {
                    let (iy, ix) = (oy * sy + tap / kw, ox * sx + tap % kw);
                    for ci in 0..x.c {
                        let Some(v) = x.get(i, iy as isize - pad.0 as isize, ix as isize - pad.1 as isize, ci) else {
                            continue;
                        };
                        for co in 0..c_out {
                            let at = y.at(i, oy, ox, co);
                            y.data[at] = y.data[at] + v * w[(tap * x.c + ci) * c_out + co];
                        }
                    }
                }
            }
        }
    }
    y
}

/// Depthwise convolution, weights `[k * k][c]`, same padding.
fn depthwise<T: Number>(x: &Maps<T>, w: &[T], k: usize, stride: usize, dilation: usize) -> Maps<T> {
    let pad = (dilation * (k - 1) / 2) as isize;
    let mut y = Maps::zeros(x.n, x.h.div_ceil(stride), x.w.div_ceil(stride), x.c);
    for i in 0..x.n {
        for oy in 0..y.h {
            for ox in 0..y.w {
                for tap in 0..k * k {
                    let iy = (oy * stride + tap / k * dilation) as isize - pad;
                    let ix = (ox * stride + tap % k * dilation) as isize - pad;
                    for ch in 0..x.c {
                        if let Some(v) = x.get(i, iy, ix, ch) {
                            let at = y.at(i, oy, ox, ch);
                            y.data[at] = y.data[at] + v * w[tap * x.c + ch];
                        }
                    }
                }
            }
        }
    }
    y
}

/// 3x3 pooling with padding 1.
fn pool<T: Number>(x: &Maps<T>, stride: usize, max: bool) -> Maps<T> {
    let mut y = Maps::zeros(x.n, x.h.div_ceil(stride), x.w.div_ceil(stride), x.c);
    for i in 0..x.n {
        for oy in 0..y.h {
            for ox in 0..y.w {
                for ch in 0..x.c {
                    let inside: Vec<T> = (0..9)
                        .filter_map(|t| {
                            x.get(i, (oy * stride + t / 3) as isize - 1, (ox * stride + t % 3) as isize - 1, ch)
                        })
                        .collect();
                    let at = y.at(i, oy, ox, ch);
                    y.data[at] = if max {
                        inside
                            .iter()
                            .copied()
                            .reduce(|a, b| if b.value() > a.value() { b } else { a })
                            .expect("the centre")
                    } else {
                        let share = T::constant(1.0 / inside.len() as f64);
                        inside.iter().fold(T::constant(0.0), |a, b| a + *b) * share
                    };
                }
            }
        }
    }
    y
}

/// relu, two pointwise products on the pixels (2y, 2x) and (2y + 1, 2x + 1) (zero outside), batch norm.
fn factorized_reduce<T: Number>(x: &Maps<T>, c: usize, w: &mut Packed<'_, T>) -> Maps<T> {
    let x = x.relu();
    let (c1, c2) = (c / 2, c - c / 2);
    let (w1, w2) = (w.take(x.c * c1), w.take(x.c * c2));
    let mut y = Maps::zeros(x.n, x.h.div_ceil(2), x.w.div_ceil(2), c1 + c2);
    for i in 0..x.n {
        for oy in 0..y.h {
            for ox in 0..y.w {
                for co in 0..c1 + c2 {
                    let (shift, w, cols, co_in) = if co < c1 { (0, w1, c1, co) } else { (1, w2, c2, co - c1) };
                    let at = y.at(i, oy, ox, co);
                    for ci in 0..x.c {
                        if let Some(v) = x.get(i, (2 * oy + shift) as isize, (2 * ox + shift) as isize, ci) {
                            y.data[at] = y.data[at] + v * w[ci * cols + co_in];
                        }
                    }
                }
            }
        }
    }
    w.norm(&y)
}

/// Takes the next weights of a packed slice.
struct Packed<'a, T> {
    left: &'a [T],
    /// Whether batch norms behind weights have scale and shift, and those behind pools are left out.
    is_affine: bool,
}

impl<'a, T: Number> Packed<'a, T> {
    fn take(&mut self, n: usize) -> &'a [T] {
        let (head, tail) = self.left.split_at(n);
        self.left = tail;
        head
    }

    /// The batch norm behind weights.
    fn norm(&mut self, x: &Maps<T>) -> Maps<T> {
        let mut y = batch_norm(x);
        if self.is_affine {
            let (scale, shift) = (self.take(x.c), self.take(x.c));
            y.data.iter_mut().enumerate().for_each(|(at, v)| *v = *v * scale[at % x.c] + shift[at % x.c]);
        }
        y
    }

    /// The batch norm behind a pool.
    fn pool_norm(&self, x: Maps<T>) -> Maps<T> {
        if self.is_affine { x } else { batch_norm(&x) }
    }
}

/// A convolution 1x1 to c channels, batch norm.
fn pointwise<T: Number>(x: &Maps<T>, c: usize, w: &mut Packed<'_, T>) -> Maps<T> {
    let y = conv(x, w.take(x.c * c), (1, 1), (1, 1), (0, 0));
    w.norm(&y)
}

/// One candidate operation; `None` for `none`.
fn operation<T: Number>(
    op: Op,
    x: &Maps<T>,
    stride: usize,
    w: &mut Packed<'_, T>,
    edge: usize,
    key: u64,
) -> Option<Maps<T>> {
    let c = x.c;
    Some(match op {
        Op::None => return None,
        Op::Noise => {
            let mut y = Maps::zeros(x.n, x.h.div_ceil(stride), x.w.div_ceil(stride), c);
            let mut values = vec![0f32; y.data.len()];
            // The same values on every instruction set.
            crate::noise::fill(&Kernels::new(Isa::Portable), key, edge, 0, &mut values);
            y.data.iter_mut().zip(values).for_each(|(y, v)| *y = T::constant(f64::from(v)));
            y
        }
        Op::MaxPool3x3 => w.pool_norm(pool(x, stride, true)),
        Op::AvgPool3x3 => w.pool_norm(pool(x, stride, false)),
        Op::SkipConnect if stride == 1 => x.clone(),
        Op::SkipConnect => factorized_reduce(x, c, w),
        Op::SepConv3x3 | Op::SepConv5x5 | Op::SepConv7x7 => {
            let k = op.window();
            let mut y = x.clone();
            for s in [stride, 1] {
                let t = depthwise(&y.relu(), w.take(k * k * c), k, s, 1);
                y = pointwise(&t, c, w);
            }
            y
        }
        Op::DilConv3x3 | Op::DilConv5x5 => {
            let k = op.window();
            let t = depthwise(&x.relu(), w.take(k * k * c), k, stride, 2);
            pointwise(&t, c, w)
        }
        Op::Conv7x1_1x7 => {
            let t = conv(&x.relu(), w.take(7 * c * c), (1, 7), (1, stride), (0, 3));
            let t = conv(&t, w.take(7 * c * c), (7, 1), (stride, 1), (3, 0));
            w.norm(&t)
        }
        Op::NorConv1x1 | Op::NorConv3x3 => panic!("{op} is no operation of a fused cell"),
    })
}

/// A whole cell, of a supernet or of a discrete network with the statistics of the batch: all its nodes, (n, h_out, w_out,
/// nodes * c).
pub fn cell<T: Number>(
    spec: &CellSpec,
    dims: CellDims,
    s0: &[T],
    s1: &[T],
    p: &[T],
    w: &[T],
    noise: &CellNoise,
) -> Vec<T> {
    let maps = |side: [usize; 2], c, data: &[T]| Maps { n: dims.n, h: side[0], w: side[1], c, data: data.to_vec() };
    let (s0, s1) = (maps(dims.side0, spec.c_prev_prev, s0), maps(dims.side1, spec.c_prev, s1));
    let mut w = Packed { left: w, is_affine: spec.discrete.is_some() };
    let c = spec.c;
    let first = if spec.reduction_prev { factorized_reduce(&s0, c, &mut w) } else { pointwise(&s0.relu(), c, &mut w) };
    let second = pointwise(&s1.relu(), c, &mut w);
    let mut states = vec![first, second];
    let [h, wd] = dims.side_out(spec);
    let (mut edge, mut alpha) = (0, 0);
    for _ in 0..spec.nodes {
        let mut sum = Maps::zeros(dims.n, h, wd, c);
        for (state, x) in states.iter().enumerate() {
            for op in &spec.edges[edge] {
                if let Some(y) = operation(*op, x, spec.stride(state), &mut w, edge, noise.noise_key) {
                    let path = if w.is_affine { alpha } else { edge };
                    sum.add_scaled(&y, |image| {
                        let m = noise.drop_path.get(path * dims.n + image).map_or(1.0, |m| f64::from(*m));
                        p[alpha] * T::constant(m)
                    });
                }
                alpha += 1;
            }
            edge += 1;
        }
        states.push(sum);
    }
    let mut out = vec![T::constant(0.0); dims.n * h * wd * spec.nodes * c];
    for (node, state) in states[2..].iter().enumerate() {
        for (pixel, values) in state.data.chunks(c).enumerate() {
            out[(pixel * spec.nodes + node) * c..][..c].copy_from_slice(values);
        }
    }
    out
}

/// The stem: (n, h, w, c_out).
pub fn stem<T: Number>(spec: &StemSpec, n: usize, [h, w]: [usize; 2], x: &[T], weights: &[T]) -> Vec<T> {
    let x = Maps { n, h, w, c: spec.c_in, data: x.to_vec() };
    let mut w = Packed { left: weights, is_affine: true };
    let y = conv(&x, w.take(9 * spec.c_in * spec.c_out), (3, 3), (1, 1), (1, 1));
    w.norm(&y).data
}

/// The head: logits (n, classes) of (n, px, c_in).
pub fn head<T: Number>(spec: &HeadSpec, n: usize, px: usize, x: &[T], weights: &[T]) -> Vec<T> {
    let (w, bias) = weights.split_at(spec.c_in * spec.classes);
    let mut logits = Vec::new();
    for image in x.chunks(px * spec.c_in).take(n) {
        let mean: Vec<T> = (0..spec.c_in)
            .map(|c| {
                image.iter().skip(c).step_by(spec.c_in).fold(T::constant(0.0), |a, v| a + *v)
                    * T::constant(1.0 / px as f64)
            })
            .collect();
        for k in 0..spec.classes {
            logits.push((0..spec.c_in).fold(bias[k], |a, c| a + mean[c] * w[c * spec.classes + k]));
        }
    }
    logits
}
