//! A stage: the linear part of an operation between two batch norms, for one image or a few.
//!
//! With the gate (relu, or the place of a maximum) fixed by the input x, a stage is y = L_w(gate(x) v), linear in v and in
//! each of its one or two weights. Everything is made of four maps: [`Linear::forward`] (v = x: the value; v = x': the
//! tangent), [`Linear::forward_dual`] (the tangent of w too) and their transposes [`Linear::vjp`] and [`Linear::vjp_dual`].
//! Which stages there are, and what each does, stands in `ops`; here is what they share. Halves and pools go through an
//! image tile by tile and have their own four maps, all others are [`Dense`]: the maps of a whole window.
//!
//! An image comes as a [`Feed`], what goes back as a [`Cotangent`]: both are made row by row where the stage uses them, so
//! that batch norm and relu cost no pass of their own.

use crate::ops::StageKind;
use crate::spec::WeightKind;
use rdarts_simd::Isa;
use rdarts_simd::aligned::Aligned;
use rdarts_simd::window::{Feed, Framed, Window, add_inside};

pub(crate) use rdarts_simd::tile::Cotangent;

/// See the module's page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stage {
    /// The window of the input.
    pub win: Window,
    pub stride: usize,
    pub c_out: usize,
    pub kind: StageKind,
    /// PyTorch's names of its weights inside the operation.
    pub names: [&'static str; 2],
    /// That of the batch norm behind it; empty for a pool, which has one in supernets alone.
    pub norm: &'static str,
}

/// What lets values and gradients through a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Gating {
    Open,
    /// The place of the maximum.
    Maximum,
    Relu,
}

/// The one or two weights of a stage; absent ones are empty.
#[derive(Clone, Copy)]
pub(crate) struct Factors<'a>(pub &'a [f32], pub &'a [f32]);

/// Where the gradient of the input goes: added to pixels `stride` values apart.
pub(crate) struct Destination<'a> {
    pub out: &'a mut [f32],
    pub stride: usize,
    pub accumulate: bool,
    /// Per channel, of a half alone: the sum of the gradient and of its product with the input are added here.
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

impl<'a> Read<'a> {
    /// What there is to fill.
    pub fn unless_ready(&self) -> Option<&Feed<'a>> {
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
    pub windows: [Framed; 2],
    /// Those of the gradients that come through a half's product.
    pub gradients: [Framed; 2],
    pub rows: Aligned,
    /// The window of another stage's gradient, or what lies between two products.
    between: Aligned,
    /// A whole gradient.
    dense: Aligned,
}

impl Scratch {
    pub fn grow(buffer: &mut Aligned, len: usize) {
        if buffer.len() < len {
            buffer.resize(len);
        }
    }
}

/// Where the gradients go that are wanted.
pub(crate) struct Gradients<'a> {
    pub input: Option<Destination<'a>>,
    /// Added to.
    pub dw: Option<&'a mut [f32]>,
}

/// What every map needs.
pub(crate) struct Call<'a> {
    pub isa: Isa,
    /// Of a few images.
    pub stage: &'a Stage,
    pub scratch: &'a mut Scratch,
}

impl Call<'_> {
    fn again(&mut self) -> Call<'_> {
        Call { isa: self.isa, stage: self.stage, scratch: self.scratch }
    }
}

/// The value or the tangent of the input; without a feed the window has been filled already.
pub(crate) type Input<'a> = (Of, Option<&'a Feed<'a>>);

/// The value, and the tangent unless it rests, which too may have been filled already.
pub(crate) type Inputs<'a> = (&'a Feed<'a>, Option<Option<&'a Feed<'a>>>);

/// Output a stage has just made, with the first of its pixels.
pub(crate) type Seen<'a> = dyn FnMut(usize, &[f32]) + 'a;

impl Stage {
    /// What is particular to it.
    pub fn map(&self) -> &dyn Linear {
        self.kind.map()
    }

    /// The same for several images.
    pub fn of_images(mut self, images: usize) -> Self {
        self.win.images = images;
        self
    }

    /// What surrounds the image.
    pub fn border(&self) -> f32 {
        if self.map().gating() == Gating::Maximum { f32::NEG_INFINITY } else { 0.0 }
    }

    /// Output rows and columns of an image.
    pub fn side_out(&self) -> [usize; 2] {
        [self.win.h.div_ceil(self.stride), self.win.w.div_ceil(self.stride)]
    }

    /// Output values of its images.
    pub fn len_out(&self) -> usize {
        let [h, w] = self.side_out();
        self.win.images * h * w * self.c_out
    }

    /// Its weights, which lie one after the other.
    pub fn weights(&self) -> [Option<WeightKind>; 2] {
        self.map().weights(self.win.c, self.c_out)
    }

    /// Their lengths.
    pub fn weight_lens(&self) -> [usize; 2] {
        self.weights().map(|kind| kind.map_or(0, |kind| kind.len()))
    }

    /// Multiply-adds of one image.
    pub fn macs(&self) -> usize {
        self.map().macs(self)
    }

    /// The two weights of a packed slice.
    pub fn factors<'a>(&self, w: &'a [f32]) -> Factors<'a> {
        let [a, b] = self.weight_lens();
        Factors(&w[..a], &w[a..a + b])
    }

    /// The weights as [`Linear::vjp`] wants them: every product transposed, depthwise windows as they are.
    pub fn transpose(&self, mut w: &[f32], mut out: &mut [f32]) {
        for kind in self.weights().into_iter().flatten() {
            let (from, rest) = w.split_at(kind.len());
            let (to, out_rest) = out.split_at_mut(kind.len());
            match kind {
                WeightKind::Conv { c_in, c_out, .. } => {
                    // One channel is reduced by the second product alone.
                    let len = (c_in * c_out).max(1);
                    let products = from.chunks(len).zip(to.chunks_mut(len));
                    products.for_each(|(from, to)| transpose(from, c_in, c_out, to));
                }
                _ => to.copy_from_slice(from),
            }
            (w, out) = (rest, out_rest);
        }
    }

    /// Fills a window of the scratch.
    pub fn fill(&self, isa: Isa, of: Of, feed: &Feed<'_>, scratch: &mut Scratch) {
        scratch.windows[of as usize].fill(isa, self.win, feed);
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

/// What a kind of stage is.
pub(crate) trait Map {
    fn gating(&self) -> Gating {
        Gating::Relu
    }

    fn weights(&self, c_in: usize, c_out: usize) -> [Option<WeightKind>; 2];

    /// Every weight multiplies once for each pixel of the output.
    fn macs(&self, stage: &Stage) -> usize {
        stage.weight_lens().iter().sum::<usize>() * stage.side_out().iter().product::<usize>()
    }
}

/// The maps of a stage.
pub(crate) trait Linear: Map {
    /// y = L_w(v), where v is the value or the tangent of the input. A tangent's max pooling finds the value in the other
    /// window.
    fn forward(&self, call: Call<'_>, v: Input<'_>, w: Factors<'_>, y: &mut [f32], seen: &mut Seen<'_>);

    /// y = the tangent along v in the input, unless it rests, and along the second weights. Only for stages that have some.
    fn forward_dual(&self, call: Call<'_>, rv: Inputs<'_>, w: [Factors<'_>; 2], y: &mut [f32], seen: &mut Seen<'_>);

    /// Transposes of [`Linear::forward`] for the gradient g of y: input (+)= gate L_w'(g), dw += d<g, L_w(r)>/dw.
    /// The second weights come from [`Stage::transpose`]; r is the input.
    fn vjp(&self, call: Call<'_>, r: Read<'_>, w: [Factors<'_>; 2], g: &Cotangent<'_>, to: Gradients<'_>);

    /// The gradient of the input, of a stage whose weights move, for the gradients of its value and of its tangent. The
    /// second pair of weights is that of the tangents.
    fn vjp_dual(
        &self,
        call: Call<'_>,
        r: Read<'_>,
        w: [[Factors<'_>; 2]; 2],
        g: [&Cotangent<'_>; 2],
        to: Destination<'_>,
    );
}

/// The maps of a stage that takes an image as a whole.
pub(crate) trait Dense: Map {
    /// Whether `image_vjp` overwrites all of the gradient of the window.
    const OVERWRITES: bool = false;

    /// y (+)= L_w(v) of the window of one image.
    fn image(&self, one: Image<'_>, v: &[f32], w: Factors<'_>, accumulate: bool, y: &mut [f32]);

    /// The transposes up to the gate, added to the gradients of the window and of w; v is the window, if the latter is
    /// wanted.
    fn image_vjp(&self, one: Image<'_>, v: &[f32], w: [Factors<'_>; 2], g: &[f32], to: [Option<&mut [f32]>; 2]);

    /// The weights with one replaced by its tangent, for each of those that act one after the other. As they are here, two
    /// act side by side.
    fn moving<'a>(&self, _: Factors<'a>, w_dot: Factors<'a>) -> Vec<Factors<'a>> {
        vec![w_dot]
    }
}

/// A stage of one image, with room for what lies between two products.
pub(crate) struct Image<'a> {
    pub isa: Isa,
    pub stage: &'a Stage,
    pub room: &'a mut Aligned,
}

/// y (+)= L_w(v) of all images of a stage.
fn images(map: &impl Dense, call: Call<'_>, (of, feed): Input<'_>, w: Factors<'_>, accumulate: bool, y: &mut [f32]) {
    let Call { isa, stage, scratch } = call;
    if let Some(feed) = feed {
        stage.fill(isa, of, feed, scratch);
    }
    let Scratch { windows, between, .. } = scratch;
    let one = stage.of_images(1);
    for (image, y) in y[..stage.len_out()].chunks_mut(one.len_out()).enumerate() {
        let v = &windows[of as usize].values()[stage.win.image(image)..];
        map.image(Image { isa, stage: &one, room: between }, v, w, accumulate, y);
    }
}

impl<D: Dense> Linear for D {
    fn forward(&self, call: Call<'_>, v: Input<'_>, w: Factors<'_>, y: &mut [f32], seen: &mut Seen<'_>) {
        let len = call.stage.len_out();
        images(self, call, v, w, false, y);
        seen(0, &y[..len]);
    }

    fn forward_dual(
        &self,
        mut call: Call<'_>,
        (r, v): Inputs<'_>,
        [w, w_dot]: [Factors<'_>; 2],
        y: &mut [f32],
        seen: &mut Seen<'_>,
    ) {
        match v {
            Some(feed) => images(self, call.again(), (Of::Tangent, feed), w, false, y),
            None => y.fill(0.0),
        }
        for (at, moved) in self.moving(w, w_dot).into_iter().enumerate() {
            images(self, call.again(), (Of::Value, (at == 0).then_some(r)), moved, true, y);
        }
        seen(0, &y[..call.stage.len_out()]);
    }

    fn vjp(&self, call: Call<'_>, r: Read<'_>, w: [Factors<'_>; 2], g: &Cotangent<'_>, to: Gradients<'_>) {
        let (Call { isa, stage, scratch }, Gradients { input, mut dw }) = (call, to);
        debug_assert!(input.as_ref().is_none_or(|d| d.sums.is_none()), "only a half takes sums");
        if input.is_none() && dw.is_none() {
            return;
        }
        let (one, win, len) = (stage.of_images(1), stage.win, stage.len_out());
        let Scratch { windows: [window, _], rows, between, dense, .. } = scratch;
        Scratch::grow(dense, len);
        g.make(isa, 0, len / stage.c_out, stage.c_out, dense);
        if let (Some(_), Some(feed)) = (&dw, r.unless_ready()) {
            window.fill(isa, win, feed);
        }
        Scratch::grow(between, win.len());
        if input.is_some() && !Self::OVERWRITES {
            between[..win.len()].fill(0.0);
        }
        for (image, g) in dense[..len].chunks(one.len_out()).enumerate() {
            let at = win.image(image);
            let v = window.values().get(at..).unwrap_or_default();
            let dv = input.is_some().then(|| &mut between[at..]);
            self.image_vjp(Image { isa, stage: &one, room: rows }, v, w, g, [dv, dw.as_deref_mut()]);
        }
        if let Some(Destination { out, stride, accumulate, .. }) = input {
            add_inside(isa, win, between, r.feed.gate(), out, stride, accumulate);
        }
    }

    fn vjp_dual(
        &self,
        mut call: Call<'_>,
        r: Read<'_>,
        [[w, w_t], [w_dot, w_dot_t]]: [[Factors<'_>; 2]; 2],
        [g, d]: [&Cotangent<'_>; 2],
        to: Destination<'_>,
    ) {
        let Destination { out, stride, accumulate, sums } = to;
        debug_assert!(sums.is_none(), "only a half takes sums");
        let moving = self.moving(w, w_dot).into_iter().zip(self.moving(w_t, w_dot_t));
        let all = std::iter::once((g, w, w_t)).chain(moving.map(|(w, w_t)| (d, w, w_t)));
        for (k, (g, w, w_t)) in all.enumerate() {
            let to = Destination { out: &mut *out, stride, accumulate: accumulate || k > 0, sums: None };
            self.vjp(call.again(), r, [w, w_t], g, Gradients { input: Some(to), dw: None });
        }
    }
}
