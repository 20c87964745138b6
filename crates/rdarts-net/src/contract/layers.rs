//! The contract of layers on a card: value, tangent, gradient of <y, g>, and with the cross term of d the reverse pass of the
//! tangent, of every kind that a network for disparity has, against double precision on the CPU.

use rdarts_gpu::cubecl::client::Client;
use rdarts_gpu::{Numbers, layers};
use rdarts_kernels::Kernels;
use rdarts_kernels::dense::{
    At, Bars, ConvSpec, CorrelationSpec, DepthwiseSpec, Direction, Layer, PoolSpec, Shape, TransposedSpec,
};
use rdarts_kernels::spec::weights_len;
use rdarts_rng::Stream;

use super::{Compared, compared};
use crate::engine::Engine;
use crate::resident::client;

/// A layer at a point, in a direction, with a cotangent of its output and one of its tangent.
struct Case {
    layer: Layer,
    shapes: Vec<Shape>,
    xs: [Vec<Vec<f64>>; 2],
    p: [Vec<f64>; 2],
    w: [Vec<f64>; 2],
    g: Vec<f64>,
    d: Vec<f64>,
}

/// Mixing weights of a type of cell.
const N_P: usize = 5;

/// What is compared.
const WHAT: [&str; 4] = ["value", "tangent", "gradient", "gradient of the tangent"];

/// Compares every kind of layer on a card in single precision with double precision on the CPU.
pub fn compare_layers(engine: &Engine) -> Vec<Compared> {
    let (client, kernels) = (client(&engine.device), &engine.kernels);
    let of = |case: &Case| {
        let name = format!("{:?}", case.layer);
        let (exact, got) = (case.on_cpu(kernels), case.on_card(&client));
        let each = WHAT.iter().zip(exact.into_iter().zip(got));
        each.map(move |(what, (exact, got))| compared(&name, what.to_string(), &exact, &got)).collect::<Vec<_>>()
    };
    cases().iter().flat_map(of).collect()
}

fn cases() -> Vec<Case> {
    let shape = |n, h, w, c| Shape { n, h, w, c };
    let one = [shape(3, 6, 7, 5)];
    let conv = |k, stride, dilation, bias| Layer::Conv(ConvSpec { c_in: 5, c_out: 3, k, stride, dilation, bias });
    let depthwise = |k, stride, dilation| Layer::Depthwise(DepthwiseSpec { c: 5, k, stride, dilation });
    let pool = |max, stride, k| Layer::Pool(PoolSpec { max, stride, k });
    let mut list = vec![
        conv(1, 1, 1, true),
        conv(3, 1, 1, true),
        conv(3, 2, 1, false),
        conv(5, 1, 2, true),
        conv(7, 2, 1, true),
        depthwise(3, 1, 1),
        depthwise(3, 2, 1),
        depthwise(5, 1, 2),
        Layer::Transposed(TransposedSpec { c_in: 5, c_out: 3 }),
        Layer::LeakyRelu,
        Layer::Relu,
        Layer::Norm,
        pool(true, 1, 3),
        pool(true, 2, 3),
        pool(false, 1, 3),
        pool(false, 2, 3),
        pool(true, 2, 2),
        pool(false, 2, 2),
        Layer::Upsample,
        Layer::Zero,
    ]
    .into_iter()
    .map(|layer| Case::new(layer, &one))
    .collect::<Vec<_>>();
    // More pixels than one part of a sum, more channels than units.
    list.push(Case::new(conv(3, 1, 1, true), &[shape(2, 33, 40, 5)]));
    list.push(Case::new(Layer::Norm, &[shape(2, 9, 40, 300)]));
    list.push(Case::new(Layer::Views, &[shape(3, 2, 4, 6)]));
    list.push(Case::new(Layer::View(false), &[shape(4, 2, 4, 3)]));
    list.push(Case::new(Layer::View(true), &[shape(4, 2, 4, 3)]));
    for displacement in [0, 2, 9] {
        let correlation = Layer::Correlation(CorrelationSpec { displacement });
        list.push(Case::new(correlation, &[shape(2, 3, 6, 11); 2]));
    }
    list.push(Case::new(Layer::Concat, &[shape(2, 3, 4, 5), shape(2, 3, 4, 1), shape(2, 3, 4, 2)]));
    list.push(Case::new(Layer::Outputs, &[shape(2, 3, 4, 1), shape(2, 6, 8, 1)]));
    list.push(Case::new(Layer::Sum, &[shape(2, 3, 4, 5); 3]));
    list.push(Case::new(Layer::Mix { cell_type: 1, alphas: vec![4, 1, 2] }, &[shape(2, 13, 40, 5); 3]));
    list
}

impl Case {
    fn new(layer: Layer, shapes: &[Shape]) -> Self {
        let mut s = Stream::new(7, "layers", 0);
        let mut normals = |n: usize| -> Vec<f64> { (0..n).map(|_| f64::from(s.normal() as f32)).collect() };
        let out = layer.shape(shapes).expect("a case fits").len();
        let n_p = if layer.cell_type().is_some() { N_P } else { 0 };
        let n_w = weights_len(&layer.weights());
        let mut twice = |n: usize| [normals(n), normals(n)];
        let (p, w, [g, d]) = (twice(n_p), twice(n_w), twice(out));
        let mut states = || shapes.iter().map(|shape| normals(shape.len())).collect();
        Self { xs: [states(), states()], p, w, g, d, layer, shapes: shapes.to_vec() }
    }

    fn on_cpu(&self, kernels: &Kernels) -> [Vec<f64>; 4] {
        let [xs, xs_dot] = &self.xs;
        let at = At {
            kernels,
            shapes: self.shapes.clone(),
            xs: xs.iter().map(|x| &x[..]).collect(),
            p: &self.p[0],
            w: &self.w[0],
        };
        let dot = Direction {
            xs: xs_dot.iter().map(|x| Some(&x[..])).collect(),
            p: Some(&self.p[1]),
            w: Some(&self.w[1][..]),
        };
        let (mut out, mut out_dot) = (vec![0.0; self.g.len()], vec![0.0; self.g.len()]);
        let saved = self.layer.forward(&at, &mut out);
        self.layer.jvp(&at, &saved, &out, &dot, &mut out_dot);
        let gradient = |with_cross: bool| {
            let mut xs: Vec<Vec<f64>> = self.shapes.iter().map(|shape| vec![0.0; shape.len()]).collect();
            let (mut p, mut w) = (vec![0.0; self.p[0].len()], vec![0.0; self.w[0].len()]);
            let mut bars =
                Bars { xs: xs.iter_mut().map(|x| Some(&mut x[..])).collect(), p: Some(&mut p), w: Some(&mut w) };
            self.layer.vjp(&at, &saved, &out, &self.g, &mut bars);
            if with_cross {
                self.layer.cross(&at, &saved, &out, &dot, &self.d, &mut bars);
            }
            [xs.concat(), p, w].concat()
        };
        let (plain, crossed) = (gradient(false), gradient(true));
        [out, out_dot, plain, crossed]
    }

    fn on_card(&self, client: &Client) -> [Vec<f64>; 4] {
        let up = |values: &[f64]| {
            let narrow: Vec<f32> = values.iter().map(|v| *v as f32).collect();
            Numbers::upload(client, &narrow)
        };
        let down = |numbers: &Numbers, len: usize| -> Vec<f64> {
            numbers.download(client)[..len].iter().map(|v| f64::from(*v)).collect()
        };
        // Weights lie somewhere in a larger buffer.
        let part = |values: &[f64]| {
            let numbers = up(&[&[9.0; 3][..], values].concat());
            (!values.is_empty()).then_some(layers::Part { numbers, at: 3 })
        };
        let states = |xs: &[Vec<f64>]| xs.iter().map(|x| up(x)).collect::<Vec<_>>();
        let [xs, xs_dot] = [states(&self.xs[0]), states(&self.xs[1])];
        let at =
            layers::At { client, shapes: &self.shapes, xs: xs.iter().collect(), p: &self.p[0], w: part(&self.w[0]) };
        let p_dot = (!self.p[1].is_empty()).then_some(&self.p[1][..]);
        let dot = layers::Direction { xs: xs_dot.iter().map(Some).collect(), p: p_dot, w: part(&self.w[1]) };
        let (out, saved) = layers::forward(&self.layer, &at);
        let out_dot = layers::jvp(&self.layer, &at, &saved, &out, &dot);
        let (g, d) = (up(&self.g), up(&self.d));
        let gradient = |with_cross: bool| {
            let xs: Vec<Numbers> = self.shapes.iter().map(|shape| Numbers::zeros(client, shape.len())).collect();
            let (n_p, n_w) = (self.p[0].len(), self.w[0].len());
            let (p, w) = (Numbers::zeros(client, n_p), Numbers::zeros(client, n_w));
            let bars = layers::Bars {
                xs: xs.iter().map(Some).collect(),
                p: (n_p > 0).then_some(&p),
                w: (n_w > 0).then(|| layers::Part { numbers: w.clone(), at: 0 }),
            };
            layers::vjp(&self.layer, &at, &saved, &out, &g, &bars);
            if with_cross {
                layers::cross(&self.layer, &at, &saved, &out, &dot, &d, &bars);
            }
            let mut all: Vec<f64> = xs.iter().zip(&self.shapes).flat_map(|(x, shape)| down(x, shape.len())).collect();
            all.extend(down(&p, n_p));
            all.extend(down(&w, n_w));
            all
        };
        [down(&out, self.g.len()), down(&out_dot, self.g.len()), gradient(false), gradient(true)]
    }
}
