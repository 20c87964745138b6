//! A stage: the linear part of an operation between two batch norms, for one image or a few.
//!
//! | stage | gate | linear part |
//! |---|---|---|
//! | `Half` | relu | depthwise k x k, pointwise: a dilated convolution, or half of a separable one |
//! | `Pointwise` | relu | pointwise: the ordinary preprocess block |
//! | `Factorized` | relu | two pointwise products on the even and the odd pixels: FactorizedReduce |
//! | `Seven` | relu | 1x7, then 7x1 convolution |
//! | `Pool` | place of the maximum, or none | 3x3 pooling |
//!
//! With the gate fixed by the input x, a stage is y = L_w(gate(x) v), linear in v and in each of its one or two
//! weights. Everything is made of [`Stage::forward`] (v = x: the value; v = x': the tangent), [`Stage::forward_dual`] (the
//! tangent of w too) and their transposes [`Stage::vjp`] and [`Stage::vjp_dual`]. An image comes as a [`Feed`], what goes
//! back as a [`Cotangent`]: both are made row by row where the stage uses them, so that batch norm and relu cost no pass of
//! their own.

use crate::simd::Isa;
use crate::simd::aligned::Aligned;
use crate::simd::depthwise::{self, Filling, Half, InputGradient, WeightGradient};
use crate::simd::pointwise::{product, weight_gradient};
use crate::simd::pool::{self, Kind, Pool};
use crate::simd::window::{Feed, Framed, Window, add_inside};

pub(crate) use crate::simd::depthwise::Cotangent;

/// See the module's page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Half(Half),
    Pointwise { win: Window, c_out: usize },
    Factorized { win: Window, c_out: usize },
    Seven { win: Window, stride: usize },
    Pool(Pool),
}

/// The one or two weights of a stage; absent ones are empty.
#[derive(Clone, Copy)]
pub(crate) struct Factors<'a>(pub &'a [f32], pub &'a [f32]);

/// Where the gradient of the input goes: added to pixels `stride` values apart.
pub(crate) struct Destination<'a> {
    pub out: &'a mut [f32],
    pub stride: usize,
    pub accumulate: bool,
    /// Per channel, of a `Half` alone: the sum of the gradient and of its product with the input are added here.
    pub sums: Option<&'a mut [f32]>,
}

/// What a stage has read, for its way back.
#[derive(Clone, Copy)]
pub(crate) struct Read<'a> {
    pub feed: Feed<'a>,
    /// Whether the stage before it has filled this window. Stages that share one all fill it or none does: those with relu
    /// where weight gradients are wanted, maxima always.
    pub ready: bool,
}

impl Read<'_> {
    /// What there is to fill.
    fn unless_ready(&self) -> Option<&Feed<'_>> {
        (!self.ready).then_some(&self.feed)
    }
}

/// Which of the two windows of [`Scratch`] a stage reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    Value,
    Tangent,
}

/// Room for one image's windows and intermediate rows, kept per thread.
#[derive(Default)]
pub(crate) struct Scratch {
    /// The window of the input and that of its tangent.
    windows: [Framed; 2],
    /// Those of the gradients that come through a half's product.
    gradients: [Framed; 2],
    rows: Aligned,
    /// The window of another stage's gradient, or what lies between two products.
    between: Aligned,
    /// A whole gradient.
    dense: Aligned,
}

impl Scratch {
    fn grow(buffer: &mut Aligned, len: usize) {
        if buffer.len() < len {
            buffer.resize(len);
        }
    }
}

/// Output a stage has just made, with the first of its pixels.
pub(crate) type Seen<'a> = dyn FnMut(usize, &[f32]) + 'a;

impl Stage {
    pub fn half(h: usize, w: usize, c: usize, k: usize, stride: usize, dilation: usize) -> Self {
        let win = Window { images: 1, h, w, c, pad: dilation * (k - 1) / 2 };
        Self::Half(Half { win, k, stride, dilation, c_out: c })
    }

    /// The same for several images.
    pub fn of_images(mut self, images: usize) -> Self {
        match &mut self {
            Self::Half(Half { win, .. }) => win.images = images,
            Self::Pointwise { win, .. } | Self::Factorized { win, .. } | Self::Seven { win, .. } => win.images = images,
            Self::Pool(Pool { win, .. }) => win.images = images,
        }
        self
    }

    /// The window of the input.
    pub fn window(&self) -> Window {
        match self {
            Self::Half(half) => half.win,
            Self::Pointwise { win, .. } | Self::Factorized { win, .. } | Self::Seven { win, .. } => *win,
            Self::Pool(pool) => pool.win,
        }
    }

    /// Whether relu is the gate.
    pub fn has_relu(&self) -> bool {
        !matches!(self, Self::Pool(_))
    }

    /// Whether the place of a maximum is the gate.
    pub fn is_max(&self) -> bool {
        matches!(self, Self::Pool(pool) if pool.kind == Kind::Max)
    }

    /// What surrounds the image.
    pub fn border(&self) -> f32 {
        if self.is_max() { f32::NEG_INFINITY } else { 0.0 }
    }

    /// Output rows and columns of an image.
    pub fn side_out(&self) -> [usize; 2] {
        let win = self.window();
        let stride = match self {
            Self::Half(half) => half.stride,
            Self::Pointwise { .. } => 1,
            Self::Factorized { .. } => 2,
            Self::Seven { stride, .. } | Self::Pool(Pool { stride, .. }) => *stride,
        };
        [win.h.div_ceil(stride), win.w.div_ceil(stride)]
    }

    /// Output channels.
    pub fn c_out(&self) -> usize {
        match self {
            Self::Half(half) => half.c_out,
            Self::Pointwise { c_out, .. } | Self::Factorized { c_out, .. } => *c_out,
            Self::Seven { win, .. } | Self::Pool(Pool { win, .. }) => win.c,
        }
    }

    /// Output values of its images.
    pub fn len_out(&self) -> usize {
        let [h, w] = self.side_out();
        self.window().images * h * w * self.c_out()
    }

    /// Lengths of the one or two weights, which lie one after the other.
    pub fn weight_lens(&self) -> [usize; 2] {
        match self {
            Self::Half(h) => [h.k * h.k * h.win.c, h.win.c * h.c_out],
            Self::Pointwise { win, c_out } => [win.c * c_out, 0],
            Self::Factorized { win, c_out } => [win.c * (c_out / 2), win.c * (c_out - c_out / 2)],
            Self::Seven { win, .. } => [7 * win.c * win.c; 2],
            Self::Pool(_) => [0, 0],
        }
    }

    /// The two weights of a packed slice.
    pub fn factors<'a>(&self, w: &'a [f32]) -> Factors<'a> {
        let [a, b] = self.weight_lens();
        Factors(&w[..a], &w[a..a + b])
    }

    /// The weights as [`Stage::vjp`] wants them: every product transposed, depthwise windows as they are.
    pub fn transpose(&self, w: &[f32], out: &mut [f32]) {
        let [a, b] = self.weight_lens();
        let (c_in, c_out) = (self.window().c, self.c_out());
        let (wa, wb) = (&w[..a], &w[a..a + b]);
        let (oa, ob) = out[..a + b].split_at_mut(a);
        match self {
            Self::Half(_) => {
                oa.copy_from_slice(wa);
                transpose(wb, c_in, c_out, ob);
            }
            Self::Pointwise { .. } => transpose(wa, c_in, c_out, oa),
            Self::Factorized { .. } => {
                transpose(wa, c_in, c_out / 2, oa);
                transpose(wb, c_in, c_out - c_out / 2, ob);
            }
            Self::Seven { .. } => {
                let tap = c_in * c_out;
                for i in 0..7 {
                    transpose(&wa[i * tap..(i + 1) * tap], c_in, c_out, &mut oa[i * tap..(i + 1) * tap]);
                    transpose(&wb[i * tap..(i + 1) * tap], c_in, c_out, &mut ob[i * tap..(i + 1) * tap]);
                }
            }
            Self::Pool(_) => {}
        }
    }

    /// Fills a window of the scratch.
    pub fn fill(&self, isa: Isa, of: Of, feed: &Feed<'_>, scratch: &mut Scratch) {
        scratch.windows[of as usize].fill(isa, self.window(), feed);
    }

    /// y (+)= L_w(v), where v is the value or the tangent of the input. It comes from `feed`, or the window has been
    /// filled already. A tangent's max pooling finds the value in the other window.
    #[allow(clippy::too_many_arguments)]
    pub fn forward(
        &self,
        isa: Isa,
        (of, feed): (Of, Option<&Feed<'_>>),
        w: Factors<'_>,
        accumulate: bool,
        scratch: &mut Scratch,
        y: &mut [f32],
        seen: &mut Seen<'_>,
    ) {
        if let Self::Half(half) = *self {
            Scratch::grow(&mut scratch.rows, half.scratch());
            let v = Filling::new(isa, half.win, feed, &mut scratch.windows[of as usize]);
            return depthwise::forward(isa, half, v, w.0, w.1, accumulate, &mut scratch.rows, y, seen);
        }
        if let Self::Pool(pool) = *self {
            debug_assert!(!accumulate, "pools have no weights, whose tangents are what is added");
            Scratch::grow(&mut scratch.rows, pool.scratch());
            let [of_value, of_tangent] = &mut scratch.windows;
            // Nobody may have filled the value's window yet, unless it is asked for.
            let (at, v) = match of {
                Of::Value => (None, of_value),
                Of::Tangent => (self.is_max().then(|| of_value.values()), of_tangent),
            };
            let v = Filling::new(isa, pool.win, feed, v);
            return pool::forward(isa, pool, at, v, &mut scratch.rows, y, seen);
        }
        if let Some(feed) = feed {
            self.fill(isa, of, feed, scratch);
        }
        let Scratch { windows, between, .. } = scratch;
        let (win, one) = (self.window(), self.of_images(1));
        for (image, y) in y[..self.len_out()].chunks_mut(one.len_out()).enumerate() {
            let v = &windows[of as usize].values()[win.image(image)..];
            one.linear(isa, v, w, accumulate, between, y);
        }
        seen(0, &y[..self.len_out()]);
    }

    /// [`Stage::forward`] of the window of one image, for all stages but a half and a pool.
    #[allow(clippy::too_many_arguments)]
    fn linear(&self, isa: Isa, v: &[f32], w: Factors<'_>, accumulate: bool, between: &mut Aligned, y: &mut [f32]) {
        let ([h_out, w_out], c) = (self.side_out(), self.window().c);
        match *self {
            Self::Half(_) | Self::Pool(_) => unreachable!("a half or pool takes its window row by row"),
            Self::Pointwise { win, c_out } => {
                product(isa, win.h * win.w, (c, c_out), v, c, w.0, y, c_out, accumulate);
            }
            Self::Factorized { win, c_out } => {
                let first = c_out / 2;
                for row in 0..h_out {
                    let y = &mut y[row * w_out * c_out..];
                    let even = &v[win.at(2 * row, 0)..];
                    let odd = &v[win.at(2 * row + 1, 1)..];
                    product(isa, w_out, (c, first), even, 2 * c, w.0, y, c_out, accumulate);
                    product(isa, w_out, (c, c_out - first), odd, 2 * c, w.1, &mut y[first..], c_out, accumulate);
                }
            }
            Self::Seven { win, stride } => {
                Scratch::grow(between, (win.h + 6) * w_out * c);
                let u = between;
                seven_rows(isa, win, stride, v, w.0, w_out, u);
                for row in 0..h_out {
                    let y = &mut y[row * w_out * c..];
                    for tap in 0..7 {
                        let u = &u[(row * stride + tap) * w_out * c..];
                        let w = &w.1[tap * c * c..];
                        product(isa, w_out, (c, c), u, c, w, y, c, accumulate || tap > 0);
                    }
                }
            }
        }
    }

    /// y = the tangent along v in the input, unless it rests, and along `w_dot` in the weights. The window of v comes from
    /// `feed` or has been filled already. Only for stages that have weights.
    #[allow(clippy::too_many_arguments)]
    pub fn forward_dual(
        &self,
        isa: Isa,
        r: &Feed<'_>,
        v: Option<Option<&Feed<'_>>>,
        w: Factors<'_>,
        w_dot: Factors<'_>,
        scratch: &mut Scratch,
        y: &mut [f32],
        seen: &mut Seen<'_>,
    ) {
        if let Self::Half(half) = *self {
            let Scratch { windows, rows, .. } = scratch;
            Scratch::grow(rows, half.scratch());
            let [of_r, of_v] = windows;
            let r = Filling::new(isa, half.win, Some(r), of_r);
            let v = v.map(|feed| Filling::new(isa, half.win, feed, of_v));
            return depthwise::forward_dual(isa, half, r, v, [w.0, w.1], [w_dot.0, w_dot.1], rows, y, seen);
        }
        // One channel is reduced by the second half alone.
        debug_assert!(self.weight_lens().iter().any(|len| *len > 0), "pooling has no weights that could move");
        match v {
            Some(feed) => self.forward(isa, (Of::Tangent, feed), w, false, scratch, y, &mut |_, _| {}),
            None => y.fill(0.0),
        }
        self.tangent_w(isa, r, w, w_dot, scratch, y, seen);
    }

    /// y += d L_w(r) / dw . w_dot: the tangent of the weights, one weight at a time, for all stages but a half.
    #[allow(clippy::too_many_arguments)]
    fn tangent_w(
        &self,
        isa: Isa,
        r: &Feed<'_>,
        w: Factors<'_>,
        w_dot: Factors<'_>,
        scratch: &mut Scratch,
        y: &mut [f32],
        seen: &mut Seen<'_>,
    ) {
        let all = self.tangent_factors(w, w_dot);
        for (at, factors) in all.iter().enumerate() {
            let input = (Of::Value, (at == 0).then_some(r));
            if at + 1 < all.len() {
                self.forward(isa, input, *factors, true, scratch, y, &mut |_, _| {});
            } else {
                self.forward(isa, input, *factors, true, scratch, y, seen);
            }
        }
    }

    /// The weights with one replaced by its tangent, as often as [`Stage::tangent_w`] needs it.
    fn tangent_factors<'a>(&self, w: Factors<'a>, w_dot: Factors<'a>) -> Vec<Factors<'a>> {
        match self {
            Self::Half(_) => unreachable!("a half takes both weights tile by tile"),
            Self::Seven { .. } => vec![Factors(w_dot.0, w.1), Factors(w.0, w_dot.1)],
            // Both weights act side by side, not one after the other.
            Self::Pointwise { .. } | Self::Factorized { .. } => vec![w_dot],
            Self::Pool(_) => vec![],
        }
    }

    /// Transposes of [`Stage::forward`] for the gradient g of y: input (+)= gate L_w'(g), dw += d<g, L_w(r)>/dw.
    /// `w_t` comes from [`Stage::transpose`]; r is the input.
    #[allow(clippy::too_many_arguments)]
    pub fn vjp(
        &self,
        isa: Isa,
        r: Read<'_>,
        w: Factors<'_>,
        w_t: Factors<'_>,
        g: &Cotangent<'_>,
        mut input: Option<Destination<'_>>,
        dw: Option<&mut [f32]>,
        scratch: &mut Scratch,
    ) {
        let ([h_out, w_out], win, c_out) = (self.side_out(), self.window(), self.c_out());
        let [len_a, _] = self.weight_lens();
        let Scratch { windows: [window, _], gradients: [gradient, _], rows, between, dense } = scratch;
        if let Self::Half(half) = *self {
            Scratch::grow(rows, half.scratch());
            let gate = r.feed.gate().expect("a half has a relu");
            let input = input.map(|d| {
                let Destination { out, stride, accumulate, sums } = d;
                InputGradient { gate, out, stride, accumulate, sums }
            });
            let weights = dw.map(|dw| {
                let (dw, pw) = dw.split_at_mut(len_a);
                WeightGradient { r: Filling::new(isa, win, r.unless_ready(), window), dw, pw }
            });
            return depthwise::vjp(isa, half, w.0, w_t.1, g, input, weights, rows, gradient);
        }
        debug_assert!(input.as_ref().is_none_or(|d| d.sums.is_none()), "only a half takes sums");
        if input.is_none() && dw.is_none() {
            return;
        }
        if let (Self::Pool(pool), Some(d)) = (*self, &mut input) {
            Scratch::grow(rows, pool.scratch());
            let r = self.is_max().then(|| Filling::new(isa, win, r.unless_ready(), window));
            return pool::vjp(isa, pool, r, g, rows, d.out, d.stride, d.accumulate);
        }
        let px = win.images * h_out * w_out;
        Scratch::grow(dense, px * c_out);
        g.make(isa, 0, px, c_out, dense);
        if let (Some(_), Some(feed)) = (&dw, r.unless_ready()) {
            window.fill(isa, win, feed);
        }
        Scratch::grow(between, win.len());
        if input.is_some() && !matches!(self, Self::Pointwise { .. }) {
            between[..win.len()].fill(0.0);
        }
        let (one, mut dw) = (self.of_images(1), dw);
        for (image, g) in dense[..px * c_out].chunks(one.len_out()).enumerate() {
            let at = win.image(image);
            let v = window.values().get(at..).unwrap_or_default();
            let dv = input.is_some().then(|| &mut between[at..]);
            one.linear_vjp(isa, v, w, w_t, g, dv, dw.as_deref_mut(), rows);
        }
        if let Some(Destination { out, stride, accumulate, .. }) = input {
            add_inside(isa, win, between, r.feed.gate(), out, stride, accumulate);
        }
    }

    /// The gradient of the input, of a stage whose weights move along `w_dot`: g is the gradient of its value, d that of
    /// its tangent. `w_t` and `w_dot_t` come from [`Stage::transpose`].
    #[allow(clippy::too_many_arguments)]
    pub fn vjp_dual(
        &self,
        isa: Isa,
        r: Read<'_>,
        [w, w_t]: [Factors<'_>; 2],
        [w_dot, w_dot_t]: [Factors<'_>; 2],
        [g, d]: [&Cotangent<'_>; 2],
        input: Destination<'_>,
        scratch: &mut Scratch,
    ) {
        let Destination { out, stride, accumulate, mut sums } = input;
        if let Self::Half(half) = *self {
            let Scratch { rows, gradients, .. } = scratch;
            Scratch::grow(rows, half.scratch());
            let gate = r.feed.gate().expect("a half has a relu");
            let input = InputGradient { gate, out, stride, accumulate, sums };
            let (w, w_dot) = ([w.0, w_t.1], [w_dot.0, w_dot_t.1]);
            return depthwise::vjp_dual(isa, half, w, w_dot, [g, d], input, rows, gradients.each_mut());
        }
        let moving = self.tangent_factors(w, w_dot).into_iter().zip(self.tangent_factors(w_t, w_dot_t));
        let all = std::iter::once((g, w, w_t)).chain(moving.map(|(w, w_t)| (d, w, w_t)));
        for (k, (g, w, w_t)) in all.enumerate() {
            let to = Destination { out: &mut *out, stride, accumulate: accumulate || k > 0, sums: sums.as_deref_mut() };
            self.vjp(isa, r, w, w_t, g, Some(to), None, scratch);
        }
    }

    /// [`Stage::vjp`] of one image up to the gate, for all stages but a half and a pool: v is the window of the input, if the
    /// stage needs it, dv what the gradient of that is added to.
    #[allow(clippy::too_many_arguments)]
    fn linear_vjp(
        &self,
        isa: Isa,
        v: &[f32],
        w: Factors<'_>,
        w_t: Factors<'_>,
        g: &[f32],
        dv: Option<&mut [f32]>,
        dw: Option<&mut [f32]>,
        rows: &mut Aligned,
    ) {
        let ([h_out, w_out], win, c_out) = (self.side_out(), self.window(), self.c_out());
        let (c, [len_a, _]) = (win.c, self.weight_lens());
        match *self {
            Self::Half(_) | Self::Pool(_) => unreachable!("a half or pool takes its gradient tile by tile"),
            Self::Pointwise { .. } => {
                let px = h_out * w_out;
                if let Some(dw) = dw {
                    weight_gradient(isa, px, (c, c_out), v, c, g, c_out, dw);
                }
                if let Some(dv) = dv {
                    product(isa, px, (c_out, c), g, c_out, w_t.0, dv, c, false);
                }
            }
            Self::Factorized { .. } => {
                let first = c_out / 2;
                if let Some(dw) = dw {
                    let (da, db) = dw.split_at_mut(len_a);
                    for row in 0..h_out {
                        let g = &g[row * w_out * c_out..];
                        let (even, odd) = (&v[win.at(2 * row, 0)..], &v[win.at(2 * row + 1, 1)..]);
                        weight_gradient(isa, w_out, (c, first), even, 2 * c, g, c_out, da);
                        weight_gradient(isa, w_out, (c, c_out - first), odd, 2 * c, &g[first..], c_out, db);
                    }
                }
                if let Some(dv) = dv {
                    for row in 0..h_out {
                        let g = &g[row * w_out * c_out..];
                        let (even, odd) = (win.at(2 * row, 0), win.at(2 * row + 1, 1));
                        let second = (c_out - first, c);
                        product(isa, w_out, (first, c), g, c_out, w_t.0, &mut dv[even..], 2 * c, false);
                        product(isa, w_out, second, &g[first..], c_out, w_t.1, &mut dv[odd..], 2 * c, false);
                    }
                }
            }
            Self::Seven { stride, .. } => {
                let len = (win.h + 6) * w_out * c;
                Scratch::grow(rows, 2 * len);
                let (u, du) = rows.split_at_mut(len);
                du[..len].fill(0.0);
                for row in 0..h_out {
                    let g = &g[row * w_out * c..];
                    for tap in 0..7 {
                        let du = &mut du[(row * stride + tap) * w_out * c..];
                        product(isa, w_out, (c, c), g, c, &w_t.1[tap * c * c..], du, c, true);
                    }
                }
                if let Some(dw) = dw {
                    seven_rows(isa, win, stride, v, w.0, w_out, u);
                    let (da, db) = dw.split_at_mut(len_a);
                    for row in 0..h_out {
                        let g = &g[row * w_out * c..];
                        for tap in 0..7 {
                            let u = &u[(row * stride + tap) * w_out * c..];
                            weight_gradient(isa, w_out, (c, c), u, c, g, c, &mut db[tap * c * c..]);
                        }
                    }
                    for row in 0..win.h {
                        let from = &v[win.at(row, 0) - 3 * c..];
                        let du = &du[(row + 3) * w_out * c..];
                        weight_gradient(isa, w_out, (7 * c, c), from, stride * c, du, c, da);
                    }
                }
                if let Some(dv) = dv {
                    for row in 0..win.h {
                        let du = &du[(row + 3) * w_out * c..];
                        // Tap by tap: the windows of neighbours overlap.
                        for tap in 0..7 {
                            let to = win.at(row, 0) - 3 * c + tap * c;
                            product(isa, w_out, (c, c), du, c, &w_t.0[tap * c * c..], &mut dv[to..], stride * c, true);
                        }
                    }
                }
            }
        }
    }
}

/// The 1x7 convolution of every row into u, which has three rows of zeros above and below. Seven pixels of c
/// channels are 7 c consecutive values of the window, so each row is one product.
fn seven_rows(isa: Isa, win: Window, stride: usize, v: &[f32], w: &[f32], w_out: usize, u: &mut [f32]) {
    let c = win.c;
    let row_len = w_out * c;
    u[..3 * row_len].fill(0.0);
    u[(win.h + 3) * row_len..(win.h + 6) * row_len].fill(0.0);
    for row in 0..win.h {
        let from = &v[win.at(row, 0) - 3 * c..];
        product(isa, w_out, (7 * c, c), from, stride * c, w, &mut u[(row + 3) * row_len..], c, false);
    }
}

/// out[j][i] = w[i][j].
fn transpose(w: &[f32], rows: usize, columns: usize, out: &mut [f32]) {
    for i in 0..rows {
        for j in 0..columns {
            out[j * rows + i] = w[i * columns + j];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::blend::Source;

    #[test]
    fn the_tangent_of_a_stage_needs_no_window_of_the_value_unless_it_is_a_maximum() {
        let win = Window { images: 3, h: 4, w: 4, c: 8, pad: 1 };
        let stage = Stage::Pool(Pool { kind: Kind::Average, win, stride: 1 });
        let x: Vec<f32> = (0..win.px() * win.c).map(|i| (i % 7) as f32).collect();
        let feed = Feed::plain(Source::new(&x, win.c, &[]));
        let of_value = |of| {
            let mut y = vec![0.0; stage.len_out()];
            let nothing = Factors(&[], &[]);
            let scratch = &mut Scratch::default();
            stage.forward(Isa::best(), (of, Some(&feed)), nothing, false, scratch, &mut y, &mut |_, _| {});
            y
        };
        assert_eq!(of_value(Of::Tangent), of_value(Of::Value));
    }
}
