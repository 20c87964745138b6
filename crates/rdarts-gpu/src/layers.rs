//! Layers on a card: the four derivatives of [`Layer`], in single precision, by the same names.
//!
//! What is added to must be there; what is made is new. Weights are parts of a flat buffer, by their place in it. Kinds that
//! only the supernet of partial channels has are not here: see [`knows`].

use cubecl::client::Client;
use cubecl::prelude::*;
use rdarts_kernels::dense::{ConvSpec, CorrelationSpec, DepthwiseSpec, Layer, PoolSpec, Shape, TransposedSpec};

use crate::kernels::layers::{self, NOWHERE, WindowLaunch};
use crate::kernels::{PARTS, UNITS};
use crate::launch::Numbers;

/// PyTorch's, of a norm.
const EPSILON: f32 = 1e-5;

/// The most cubes of a launch.
const CUBES: usize = 4096;

/// Whether a card computes a layer.
pub fn knows(layer: &Layer) -> bool {
    let partial = matches!(
        layer,
        Layer::Linear(_) | Layer::Scale(_) | Layer::Channels { .. } | Layer::Shuffle(_) | Layer::Shift | Layer::Mean
    );
    !partial
}

/// A part of a buffer.
#[derive(Clone, Debug)]
pub struct Part {
    /// The buffer.
    pub numbers: Numbers,
    /// Where the part begins.
    pub at: usize,
}

/// What a layer is applied to.
#[derive(Clone)]
pub struct At<'a> {
    /// Of the card.
    pub client: &'a Client,
    /// Of the states.
    pub shapes: &'a [Shape],
    /// The states.
    pub xs: Vec<&'a Numbers>,
    /// Mixing weights of the layer's type of cell; empty for layers that do not mix.
    pub p: &'a [f64],
    /// The layer's weights; none for layers without.
    pub w: Option<Part>,
}

/// A direction: what does not move is none.
#[derive(Clone, Debug)]
pub struct Direction<'a> {
    /// Of the states.
    pub xs: Vec<Option<&'a Numbers>>,
    /// Of the mixing weights.
    pub p: Option<&'a [f64]>,
    /// Of the weights.
    pub w: Option<Part>,
}

/// Where gradients are added: what is not wanted is none.
#[derive(Clone, Debug)]
pub struct Bars<'a> {
    /// Of the states.
    pub xs: Vec<Option<&'a Numbers>>,
    /// Of the mixing weights of the layer's type of cell.
    pub p: Option<&'a Numbers>,
    /// Of the weights.
    pub w: Option<Part>,
}

/// What a forward pass leaves for the derivatives.
#[derive(Clone, Debug, Default)]
pub struct Saved {
    /// Of a norm: one over the deviation of each channel.
    rate: Option<Numbers>,
    /// Of a maximum: which of its window each output is.
    place: Option<Numbers>,
}

/// Value.
///
/// # Panics
/// If the card does not know the layer, or it cannot be applied to these states; so do the others.
pub fn forward(layer: &Layer, at: &At<'_>) -> (Numbers, Saved) {
    let out = Numbers::zeros(at.client, shape_of(layer, at).len());
    let mut saved = Saved::default();
    match layer {
        Layer::Norm => saved.rate = Some(at.normalize(&out)),
        Layer::LeakyRelu | Layer::Relu => at.gate(layer, at.xs[0], at.xs[0], &out),
        _ => {
            if let Layer::Pool(spec) = layer
                && spec.max
            {
                saved.place = Some(at.places(spec));
            }
            at.apply(layer, &saved, &at.xs.iter().map(|x| Some(*x)).collect::<Vec<_>>(), true, &out);
        }
    }
    (out, saved)
}

/// Adds the gradients of <y, g>, given the output.
pub fn vjp(layer: &Layer, at: &At<'_>, saved: &Saved, out: &Numbers, g: &Numbers, bars: &Bars<'_>) {
    at.back(layer, saved, out, g, bars);
    let x = at.xs.first().copied();
    match (layer, &bars.w, x) {
        (Layer::Conv(spec), Some(w_bar), Some(x)) => {
            at.conv_weights(spec, x, g, w_bar);
            if spec.bias {
                at.bias(g, spec.c_out, w_bar, spec.k * spec.k * spec.c_in * spec.c_out);
            }
        }
        (Layer::Depthwise(spec), Some(w_bar), Some(x)) => at.depthwise_weights(spec, x, g, w_bar),
        (Layer::Transposed(spec), Some(w_bar), Some(x)) => {
            at.transposed_weights(spec, x, g, w_bar);
            at.bias(g, spec.c_out, w_bar, 16 * spec.c_in * spec.c_out);
        }
        _ => {}
    }
    if let (Layer::Mix { alphas, .. }, Some(p_bar)) = (layer, bars.p) {
        for (x, alpha) in at.xs.iter().zip(alphas) {
            at.dot(x, g, p_bar, *alpha);
        }
    }
}

/// The tangent of the output.
pub fn jvp(layer: &Layer, at: &At<'_>, saved: &Saved, out: &Numbers, dot: &Direction<'_>) -> Numbers {
    let out_dot = Numbers::zeros(at.client, shape_of(layer, at).len());
    match (layer, dot.xs[0]) {
        (Layer::Norm, Some(u)) => at.project(saved, out, u, &out_dot),
        (Layer::LeakyRelu | Layer::Relu, Some(u)) => at.gate(layer, out, u, &out_dot),
        (Layer::Norm | Layer::LeakyRelu | Layer::Relu, None) => {}
        (Layer::Correlation(spec), _) => {
            for (i, u) in dot.xs.iter().enumerate() {
                if let Some(u) = *u {
                    let [l, r] = if i == 0 { [u, at.xs[1]] } else { [at.xs[0], u] };
                    at.correlate(spec, l, r, &out_dot);
                }
            }
        }
        _ => {
            at.apply(layer, saved, &dot.xs, false, &out_dot);
            if let Some(w_dot) = &dot.w {
                at.with(w_dot).apply_weights(layer, at.xs[0], true, &out_dot);
            }
            if let (Layer::Mix { alphas, .. }, Some(p_dot)) = (layer, dot.p) {
                for (x, alpha) in at.xs.iter().zip(alphas) {
                    add(at.client, x, p_dot[*alpha], &out_dot);
                }
            }
        }
    }
    out_dot
}

/// Adds the gradients of <J dot, d> with respect to the point: with [`vjp`] of the gradient of the value it is the vjp of the
/// jvp.
pub fn cross(
    layer: &Layer,
    at: &At<'_>,
    saved: &Saved,
    out: &Numbers,
    dot: &Direction<'_>,
    d: &Numbers,
    bars: &Bars<'_>,
) {
    let (x_bar, u) = (bars.xs.first().copied().flatten(), dot.xs.first().copied().flatten());
    match layer {
        Layer::Conv(_) | Layer::Depthwise(_) | Layer::Transposed(_) => {
            if let (Some(_), Some(w_dot)) = (x_bar, &dot.w) {
                at.with(w_dot).back(layer, saved, out, d, bars);
            }
            if let (Some(w_bar), Some(u)) = (&bars.w, u) {
                match layer {
                    Layer::Conv(spec) => at.conv_weights(spec, u, d, w_bar),
                    Layer::Depthwise(spec) => at.depthwise_weights(spec, u, d, w_bar),
                    Layer::Transposed(spec) => at.transposed_weights(spec, u, d, w_bar),
                    _ => {}
                }
            }
        }
        Layer::Norm => {
            if let (Some(x_bar), Some(u)) = (x_bar, u) {
                at.bend(saved, out, u, d, x_bar);
            }
        }
        Layer::Correlation(spec) => {
            for i in 0..2 {
                if let (Some(to), Some(other)) = (bars.xs[i], dot.xs[1 - i]) {
                    at.correlate_back(spec, d, other, to, i == 0);
                }
            }
        }
        Layer::Mix { alphas, .. } => {
            if let Some(p_dot) = dot.p {
                for (to, alpha) in bars.xs.iter().zip(alphas) {
                    if let Some(to) = to {
                        add(at.client, d, p_dot[*alpha], to);
                    }
                }
            }
            if let Some(p_bar) = bars.p {
                for (u, alpha) in dot.xs.iter().zip(alphas) {
                    if let Some(u) = u {
                        at.dot(u, d, p_bar, *alpha);
                    }
                }
            }
        }
        _ => {}
    }
}

/// to += factor from, of as many values.
pub fn add(client: &Client, from: &Numbers, factor: f64, to: &Numbers) {
    add_rows(client, [from, to], [1, to.len], [0, to.len], [0, to.len], factor);
}

/// Adds rows of values of one buffer, times a factor, to those of another.
fn add_rows(
    client: &Client,
    [from, to]: [&Numbers; 2],
    [rows, len]: [usize; 2],
    from_rows: [usize; 2],
    to_rows: [usize; 2],
    factor: f64,
) {
    let (n, [from, to]) = (rows * len, [from, to].map(Numbers::arg));
    let [from_at, from_step] = from_rows.map(|at| at as u32);
    let [to_at, to_step] = to_rows.map(|at| at as u32);
    layers::add_rows::launch(
        client,
        cubes(n),
        units(),
        from,
        to,
        n as u32,
        len as u32,
        from_at,
        from_step,
        to_at,
        to_step,
        factor as f32,
    );
}

fn cubes(n: usize) -> CubeCount {
    CubeCount::Static(n.div_ceil(UNITS).clamp(1, CUBES) as u32, 1, 1)
}

fn units() -> CubeDim {
    CubeDim::new_1d(UNITS as u32)
}

fn shape_of(layer: &Layer, at: &At<'_>) -> Shape {
    assert!(knows(layer), "{layer:?} is not computed on a card");
    layer.shape(at.shapes).unwrap_or_else(|why| panic!("{why}"))
}

/// What a convolution of x looks at.
fn window(x: Shape, out: Shape, k: usize, stride: usize, dilation: usize, pad: usize) -> [u32; 10] {
    [x.h, x.w, x.c, out.h, out.w, out.c, k, stride, dilation, pad].map(|size| size as u32)
}

fn launched([h, wd, ci, ho, wo, co, k, stride, dilation, pad]: [u32; 10]) -> WindowLaunch {
    WindowLaunch::new(h, wd, ci, ho, wo, co, k, stride, dilation, pad)
}

impl At<'_> {
    fn first(&self) -> Shape {
        self.shapes[0]
    }

    fn conv_window(&self, spec: &ConvSpec) -> ([u32; 10], Shape) {
        let out = Layer::Conv(*spec).shape(self.shapes).expect("it was applied");
        (window(self.first(), out, spec.k, spec.stride, spec.dilation, spec.dilation * (spec.k - 1) / 2), out)
    }

    fn depthwise_window(&self, spec: &DepthwiseSpec) -> ([u32; 10], Shape) {
        let out = Layer::Depthwise(*spec).shape(self.shapes).expect("it was applied");
        (window(self.first(), out, spec.k, spec.stride, spec.dilation, spec.dilation * (spec.k - 1) / 2), out)
    }

    /// Of the convolution from the large to the small side, which a transposed one is the transpose of.
    fn transposed_window(&self, spec: &TransposedSpec) -> ([u32; 10], Shape) {
        let large = Layer::Transposed(*spec).shape(self.shapes).expect("it was applied");
        (window(large, self.first(), 4, 2, 1, 1), large)
    }

    fn pool_window(&self, spec: &PoolSpec) -> ([u32; 10], Shape) {
        let out = Layer::Pool(*spec).shape(self.shapes).expect("it was applied");
        (window(self.first(), out, spec.k, spec.stride, 1, (spec.k - 1) / 2), out)
    }

    fn weights(&self) -> &Part {
        self.w.as_ref().expect("a layer with weights has them")
    }

    /// The same at other weights.
    fn with(&self, w: &Part) -> Self {
        Self { w: Some(w.clone()), ..self.clone() }
    }

    /// Adds what is linear in the states to zeros, nothing for those that are none; with `bias` it is the value, not a tangent.
    fn apply(&self, layer: &Layer, saved: &Saved, xs: &[Option<&Numbers>], bias: bool, out: &Numbers) {
        match layer {
            Layer::Correlation(spec) => {
                let [l, r] = [xs[0], xs[1]].map(|x| x.expect("a value has both views"));
                return self.correlate(spec, l, r, out);
            }
            Layer::Concat | Layer::Outputs => {
                let (rows, lens) = self.in_a_row(layer);
                let (total, mut first) = (lens.iter().sum(), 0);
                for (x, len) in xs.iter().zip(lens) {
                    if let Some(x) = x {
                        self.copy([x, out], [rows, len], [0, len], [first, total]);
                    }
                    first += len;
                }
                return;
            }
            Layer::Sum | Layer::Mix { .. } => {
                let moving = xs.iter().enumerate().filter_map(|(k, x)| Some((k, (*x)?)));
                return moving.for_each(|(k, x)| add(self.client, x, self.mixing(layer, k), out));
            }
            _ => {}
        }
        let Some(x) = xs[0] else { return };
        match layer {
            Layer::Pool(spec) => {
                let (s, shape) = self.pool_window(spec);
                let (len, place) = (shape.len(), saved.place.as_ref().unwrap_or(x));
                let [x, place, out] = [x, place, out].map(Numbers::arg);
                let (client, n) = (self.client, len as u32);
                layers::pool::launch(client, cubes(len), units(), x, place, out, n, launched(s), spec.max);
            }
            Layer::Upsample => {
                let (len, [h, w, c]) = (4 * self.first().len(), sides(self.first()));
                layers::upsample::launch(self.client, cubes(len), units(), x.arg(), out.arg(), len as u32, h, w, c);
            }
            Layer::Views => {
                let (rows, c) = (self.first().n * self.first().px(), self.first().c / 2);
                for side in 0..2 {
                    self.copy([x, out], [rows, c], [side * c, 2 * c], [side * rows * c, c]);
                }
            }
            Layer::View(right) => {
                let len = self.first().len() / 2;
                self.copy([x, out], [1, len], [usize::from(*right) * len, len], [0, len]);
            }
            _ => self.apply_weights(layer, x, bias, out),
        }
    }

    /// Adds the convolution of a state with the weights, and with `bias` what they have for each channel.
    fn apply_weights(&self, layer: &Layer, x: &Numbers, bias: bool, out: &Numbers) {
        let Some(w) = &self.w else { return };
        match layer {
            Layer::Conv(spec) => {
                let (s, shape) = self.conv_window(spec);
                let bias = (spec.bias && bias).then_some(spec.k * spec.k * spec.c_in * spec.c_out);
                self.convolve([x, out], w, bias, shape.len(), s, false);
            }
            Layer::Depthwise(spec) => {
                let (s, shape) = self.depthwise_window(spec);
                self.convolve([x, out], w, None, shape.len(), s, true);
            }
            Layer::Transposed(spec) => {
                let (s, large) = self.transposed_window(spec);
                let bias = bias.then_some(16 * spec.c_in * spec.c_out);
                self.convolve_back([x, out], w, bias, large.len(), s, false);
            }
            _ => {}
        }
    }

    /// Adds the gradients of the states.
    fn back(&self, layer: &Layer, saved: &Saved, out: &Numbers, g: &Numbers, bars: &Bars<'_>) {
        if let Layer::Concat | Layer::Outputs = layer {
            let (rows, lens) = self.in_a_row(layer);
            let (total, mut first) = (lens.iter().sum(), 0);
            for (to, len) in bars.xs.iter().zip(lens) {
                if let Some(to) = to {
                    self.copy([g, to], [rows, len], [first, total], [0, len]);
                }
                first += len;
            }
            return;
        }
        let (client, shape) = (self.client, self.first());
        let len = shape.len();
        for (k, to) in bars.xs.iter().enumerate() {
            let Some(to) = *to else { continue };
            match layer {
                Layer::Conv(spec) => {
                    self.convolve_back([g, to], self.weights(), None, len, self.conv_window(spec).0, false);
                }
                Layer::Depthwise(spec) => {
                    self.convolve_back([g, to], self.weights(), None, len, self.depthwise_window(spec).0, true);
                }
                Layer::Transposed(spec) => {
                    self.convolve([g, to], self.weights(), None, len, self.transposed_window(spec).0, false);
                }
                Layer::LeakyRelu | Layer::Relu => self.gate(layer, out, g, to),
                Layer::Norm => self.project(saved, out, g, to),
                Layer::Pool(spec) => {
                    let (s, place) = (launched(self.pool_window(spec).0), saved.place.as_ref().unwrap_or(g));
                    let [g, place, to] = [g, place, to].map(Numbers::arg);
                    layers::pool_back::launch(client, cubes(len), units(), g, place, to, len as u32, s, spec.max);
                }
                Layer::Correlation(spec) => self.correlate_back(spec, g, self.xs[1 - k], to, k == 0),
                Layer::Upsample => {
                    let [h, w, c] = sides(shape);
                    let [g, to] = [g, to].map(Numbers::arg);
                    layers::upsample_back::launch(client, cubes(len), units(), g, to, len as u32, h, w, c);
                }
                Layer::Views => {
                    let (rows, c) = (shape.n * shape.px(), shape.c / 2);
                    for side in 0..2 {
                        self.copy([g, to], [rows, c], [side * rows * c, c], [side * c, 2 * c]);
                    }
                }
                Layer::View(right) => {
                    self.copy([g, to], [1, len / 2], [0, len / 2], [usize::from(*right) * (len / 2), len / 2]);
                }
                Layer::Sum | Layer::Mix { .. } => add(client, g, self.mixing(layer, k), to),
                _ => {}
            }
        }
    }

    /// The weight of a state in a sum.
    fn mixing(&self, layer: &Layer, k: usize) -> f64 {
        if let Layer::Mix { alphas, .. } = layer { self.p[alphas[k]] } else { 1.0 }
    }

    /// Rows of a layer that puts its states side by side, and what each state has of one.
    fn in_a_row(&self, layer: &Layer) -> (usize, Vec<usize>) {
        match layer {
            Layer::Outputs => (self.first().n, self.shapes.iter().map(Shape::of_image).collect()),
            _ => (self.first().n * self.first().px(), self.shapes.iter().map(|shape| shape.c).collect()),
        }
    }

    /// Adds rows of values: how many and how long, and of both buffers where they begin and how far they are apart.
    fn copy(&self, buffers: [&Numbers; 2], sizes: [usize; 2], from: [usize; 2], to: [usize; 2]) {
        add_rows(self.client, buffers, sizes, from, to, 1.0);
    }

    fn convolve(&self, [x, out]: [&Numbers; 2], w: &Part, bias: Option<usize>, len: usize, s: [u32; 10], alone: bool) {
        let (w_at, bias_at) = (w.at as u32, bias.map_or(NOWHERE, |bias| (w.at + bias) as u32));
        let [x, w, out] = [x, &w.numbers, out].map(Numbers::arg);
        let (client, n, s) = (self.client, len as u32, launched(s));
        layers::convolve::launch(client, cubes(len), units(), x, w, out, n, s, w_at, bias_at, alone);
    }

    fn convolve_back(
        &self,
        [g, x]: [&Numbers; 2],
        w: &Part,
        bias: Option<usize>,
        len: usize,
        s: [u32; 10],
        alone: bool,
    ) {
        let (w_at, bias_at) = (w.at as u32, bias.map_or(NOWHERE, |bias| (w.at + bias) as u32));
        let [g, w, x] = [g, &w.numbers, x].map(Numbers::arg);
        let (client, n, s) = (self.client, len as u32, launched(s));
        layers::convolve_back::launch(client, cubes(len), units(), g, w, x, n, s, w_at, bias_at, alone);
    }

    fn conv_weights(&self, spec: &ConvSpec, x: &Numbers, g: &Numbers, w_bar: &Part) {
        let (s, out) = self.conv_window(spec);
        self.convolve_weights([x, g], w_bar, spec.k * spec.k * spec.c_in * spec.c_out, out.n * out.px(), s, false);
    }

    fn depthwise_weights(&self, spec: &DepthwiseSpec, x: &Numbers, g: &Numbers, w_bar: &Part) {
        let (s, out) = self.depthwise_window(spec);
        self.convolve_weights([x, g], w_bar, spec.k * spec.k * spec.c, out.n * out.px(), s, true);
    }

    /// The gradient of the large side is what the convolution reads, the state what it makes.
    fn transposed_weights(&self, spec: &TransposedSpec, x: &Numbers, g: &Numbers, w_bar: &Part) {
        let (s, small) = (self.transposed_window(spec).0, self.first());
        self.convolve_weights([g, x], w_bar, 16 * spec.c_in * spec.c_out, small.n * small.px(), s, false);
    }

    fn convolve_weights(
        &self,
        [x, g]: [&Numbers; 2],
        w_bar: &Part,
        n_weights: usize,
        n_px: usize,
        s: [u32; 10],
        alone: bool,
    ) {
        let (stretch, n_parts) = parts(n_px);
        let sums = Numbers::empty(self.client, n_parts * n_weights);
        let count = CubeCount::Static(n_weights.div_ceil(UNITS).clamp(1, CUBES) as u32, n_parts as u32, 1);
        let [x, g] = [x, g].map(Numbers::arg);
        let (client, sizes) = (self.client, [n_weights, n_px, stretch].map(|size| size as u32));
        let [n, px, stretch] = sizes;
        layers::convolve_weights::launch(client, count, units(), x, g, sums.arg(), n, px, stretch, launched(s), alone);
        self.gather(&sums, n_parts, n_weights, &w_bar.numbers, w_bar.at, 1.0, true);
    }

    /// Adds what a bias of so many channels gets of a gradient, behind the other weights.
    fn bias(&self, g: &Numbers, c: usize, w_bar: &Part, behind: usize) {
        self.sums(g, None, c, &w_bar.numbers, w_bar.at + behind, 1.0, true);
    }

    /// to[at] += <a, b>.
    fn dot(&self, a: &Numbers, b: &Numbers, to: &Numbers, at: usize) {
        // Sums of 64 channels, which then are summed.
        let c = [64, 32, 16, 8, 4, 2, 1].into_iter().find(|c| a.len.is_multiple_of(*c)).unwrap_or(1);
        let sums = Numbers::zeros(self.client, c);
        self.sums(a, Some(b), c, &sums, 0, 1.0, false);
        self.gather(&sums, c, 1, to, at, 1.0, true);
    }

    /// For each channel the sum of a, or of a b, times a factor, into or onto a place of a buffer.
    #[allow(clippy::too_many_arguments)]
    fn sums(&self, a: &Numbers, b: Option<&Numbers>, c: usize, to: &Numbers, at: usize, factor: f64, add: bool) {
        let n_px = a.len / c;
        let (stretch, n_parts) = parts(n_px);
        let sums = Numbers::empty(self.client, n_parts * c);
        let count = CubeCount::Static(n_parts as u32, 1, 1);
        let (client, [n_px, channels, stretch]) = (self.client, [n_px, c, stretch].map(|size| size as u32));
        let (is_product, [a, b]) = (b.is_some(), [a, b.unwrap_or(a)].map(Numbers::arg));
        layers::sums::launch(client, count, units(), a, b, sums.arg(), n_px, channels, stretch, is_product);
        self.gather(&sums, n_parts, c, to, at, factor, add);
    }

    #[allow(clippy::too_many_arguments)]
    fn gather(&self, sums: &Numbers, n_parts: usize, len: usize, to: &Numbers, at: usize, factor: f64, add: bool) {
        let [n_parts, n, at] = [n_parts, len, at].map(|size| size as u32);
        let (client, add) = (self.client, u32::from(add));
        layers::gather::launch(client, cubes(len), units(), sums.arg(), to.arg(), n_parts, n, at, factor as f32, add);
    }

    /// For each channel the means of these products over all pixels: [products][c].
    fn means(&self, products: &[(&Numbers, Option<&Numbers>)]) -> Numbers {
        let (shape, c) = (self.first(), self.first().c);
        let means = Numbers::empty(self.client, products.len() * c);
        for (k, (a, b)) in products.iter().enumerate() {
            self.sums(a, *b, c, &means, k * c, 1.0 / (shape.n * shape.px()) as f64, false);
        }
        means
    }

    /// The norm's value into `out`; one over the deviations.
    fn normalize(&self, out: &Numbers) -> Numbers {
        let (x, len, c) = (self.xs[0], self.first().len(), self.first().c);
        let (client, n, channels) = (self.client, len as u32, c as u32);
        let means = self.means(&[(x, None)]);
        layers::centre::launch(client, cubes(len), units(), x.arg(), means.arg(), out.arg(), n, channels);
        // Of the differences: the square of a large mean would hide a small variance.
        let means = self.means(&[(out, Some(out)), (out, None)]);
        let rate = Numbers::empty(client, c);
        let [out, means] = [out, &means].map(Numbers::arg);
        layers::normalize::launch(client, cubes(len), units(), out, means, rate.arg(), n, channels, EPSILON);
        rate
    }

    /// to += the norm's derivative along u.
    fn project(&self, saved: &Saved, y: &Numbers, u: &Numbers, to: &Numbers) {
        let means = self.means(&[(u, None), (u, Some(y))]);
        let rate = saved.rate.as_ref().expect("a norm keeps its deviations");
        let (len, [u, y, means, rate, to]) = (self.first().len(), [u, y, &means, rate, to].map(Numbers::arg));
        let (client, n, c) = (self.client, len as u32, self.first().c as u32);
        layers::project::launch(client, cubes(len), units(), u, y, means, rate, to, n, c);
    }

    /// x_bar += the gradient of <d, the norm's derivative along u>.
    fn bend(&self, saved: &Saved, y: &Numbers, u: &Numbers, d: &Numbers, x_bar: &Numbers) {
        let means = self.means(&[(d, None), (u, None), (d, Some(y)), (u, Some(y)), (d, Some(u))]);
        let rate = saved.rate.as_ref().expect("a norm keeps its deviations");
        let (len, [d, u, y, means, rate, x]) = (self.first().len(), [d, u, y, &means, rate, x_bar].map(Numbers::arg));
        let (client, n, c) = (self.client, len as u32, self.first().c as u32);
        layers::bend::launch(client, cubes(len), units(), d, u, y, means, rate, x, n, c);
    }

    /// to += from where y is positive, and its share elsewhere.
    fn gate(&self, layer: &Layer, y: &Numbers, from: &Numbers, to: &Numbers) {
        let slope = if *layer == Layer::Relu { 0.0 } else { 0.1 };
        let (client, len, [y, from, to]) = (self.client, self.first().len(), [y, from, to].map(Numbers::arg));
        layers::gate::launch(client, cubes(len), units(), y, from, to, len as u32, slope);
    }

    fn places(&self, spec: &PoolSpec) -> Numbers {
        let (s, shape) = self.pool_window(spec);
        let (client, len, place) = (self.client, shape.len(), Numbers::empty(self.client, shape.len()));
        layers::places::launch(client, cubes(len), units(), self.xs[0].arg(), place.arg(), len as u32, launched(s));
        place
    }

    fn correlate(&self, spec: &CorrelationSpec, l: &Numbers, r: &Numbers, out: &Numbers) {
        let (shape, len) = (self.first(), out.len);
        let [w, c, d] = [shape.w, shape.c, spec.displacement].map(|size| size as u32);
        let (client, [l, r, out]) = (self.client, [l, r, out].map(Numbers::arg));
        layers::correlate::launch(client, cubes(len), units(), l, r, out, len as u32, w, c, d);
    }

    fn correlate_back(&self, spec: &CorrelationSpec, g: &Numbers, other: &Numbers, to: &Numbers, is_left: bool) {
        let (shape, len) = (self.first(), self.first().len());
        let [w, c, d] = [shape.w, shape.c, spec.displacement].map(|size| size as u32);
        let (client, [g, other, to]) = (self.client, [g, other, to].map(Numbers::arg));
        layers::correlate_back::launch(client, cubes(len), units(), g, other, to, len as u32, w, c, d, is_left);
    }
}

/// Rows, columns and channels.
fn sides(shape: Shape) -> [u32; 3] {
    [shape.h, shape.w, shape.c].map(|size| size as u32)
}

/// Pixels of each of the parts that a sum over so many is taken in, and how many parts.
fn parts(n_px: usize) -> (usize, usize) {
    let stretch = n_px.div_ceil(PARTS).max(32).min(n_px.max(1));
    (stretch, n_px.div_ceil(stretch).max(1))
}
