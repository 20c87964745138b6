//! Derivatives of stem, cell and head in double precision, on small odd shapes with every operation.
//!
//! The tangent of a dual call is held against central differences of the plain call, the reverse pass of a plain
//! call against the tangent (<g, J v> = <J^T g, v>), and the reverse pass of a dual call, the second derivative,
//! against central differences of the dual call.

use std::sync::Arc;

use burn::tensor::{DType, Device, Tensor, TensorData};
use rdarts_kernels::spec::{CellNoise, CellSpec, HeadSpec, StemSpec, weights_len};
use rdarts_kernels::{Isa, Kernels};
use rdarts_net::calls::{CellCall, HeadCall, Mode, Slot, StemCall};
use rdarts_net::ops;
use rdarts_rng::Stream;
use rdarts_space::Op;

enum Module {
    Stem(StemSpec),
    Cell(Arc<CellSpec>, Arc<CellNoise>),
    Head(HeadSpec),
}

/// A module and the shapes of its inputs.
struct Subject {
    module: Module,
    shapes: Vec<Vec<usize>>,
    /// The images of the stem are data: no tangent, no gradient.
    first_differentiable: usize,
}

impl Subject {
    fn stem() -> Self {
        let spec = StemSpec { c_in: 2, c_out: 3 };
        let shapes = vec![vec![2, 5, 4, 2], vec![weights_len(&spec.weights())]];
        Self { module: Module::Stem(spec), shapes, first_differentiable: 1 }
    }

    fn head() -> Self {
        let spec = HeadSpec { c_in: 3, classes: 4 };
        let shapes = vec![vec![2, 3, 5, 3], vec![weights_len(&spec.weights())]];
        Self { module: Module::Head(spec), shapes, first_differentiable: 0 }
    }

    /// Two nodes, every operation on every edge, a dropped and a scaled path.
    fn cell(c: usize, side1: [usize; 2], reduction: bool, reduction_prev: bool) -> Self {
        let (n, side0) = (2, if reduction_prev { side1.map(|s| 2 * s - 1) } else { side1 });
        let edges = vec![Op::OF_DARTS.to_vec(); 5];
        let spec =
            CellSpec { nodes: 2, c, c_prev_prev: 3, c_prev: 5, reduction, reduction_prev, edges, discrete: None };
        let drop_path = vec![1.25, 0.0, 1.0, 1.25, 1.0, 1.25, 0.0, 1.0, 1.25, 1.0];
        let noise = CellNoise { drop_path, noise_key: 9 };
        let shapes = vec![
            vec![n, side0[0], side0[1], 3],
            vec![n, side1[0], side1[1], 5],
            vec![spec.n_alphas()],
            vec![weights_len(&spec.weights())],
        ];
        Self { module: Module::Cell(Arc::new(spec), Arc::new(noise)), shapes, first_differentiable: 0 }
    }

    fn draw(&self, s: &mut Stream) -> Vec<Vec<f64>> {
        self.shapes.iter().map(|shape| (0..shape.iter().product()).map(|_| s.normal()).collect()).collect()
    }

    /// A random direction, zero for what is not differentiable.
    fn direction(&self, s: &mut Stream) -> Vec<Vec<f64>> {
        let mut v = self.draw(s);
        v[..self.first_differentiable].iter_mut().for_each(|v| v.fill(0.0));
        v
    }

    /// The output, and with a cotangent the gradient with respect to every differentiable input.
    fn run(&self, inputs: &[Vec<f64>], mode: &Mode, g: Option<&[f64]>) -> (Vec<f64>, Vec<Vec<f64>>) {
        let device = if g.is_some() { Device::flex().autodiff() } else { Device::flex() };
        let flat = |values: &[f64]| {
            Tensor::<1>::from_data(TensorData::new(values.to_vec(), [values.len()]), (&device, DType::F64))
        };
        let leaves: Vec<Tensor<1>> = inputs
            .iter()
            .enumerate()
            .map(|(i, values)| match g {
                Some(_) if i >= self.first_differentiable => flat(values).require_grad(),
                _ => flat(values),
            })
            .collect();
        let image = |i: usize| -> Tensor<4> {
            let mut shape: [usize; 4] = self.shapes[i][..].try_into().unwrap();
            shape[0] *= if mode.dual { 2 } else { 1 };
            leaves[i].clone().reshape(shape)
        };
        let mode = mode.clone();
        let out: Tensor<1> = match &self.module {
            Module::Stem(spec) => ops::stem(image(0), leaves[1].clone(), StemCall { spec: *spec, mode }).flatten(0, 3),
            Module::Cell(spec, noise) => {
                let call = CellCall { spec: spec.clone(), noise: noise.clone(), mode };
                ops::cell(image(0), image(1), leaves[2].clone(), leaves[3].clone(), call).flatten(0, 3)
            }
            Module::Head(spec) => ops::head(image(0), leaves[1].clone(), HeadCall { spec: *spec, mode }).flatten(0, 1),
        };
        let read = |t: Tensor<1>| t.into_data().try_into_vec::<f64>().unwrap();
        let values = read(out.clone());
        let Some(g) = g else { return (values, Vec::new()) };
        let grads = (out * flat(g)).sum().backward();
        (values, leaves[self.first_differentiable..].iter().map(|t| read(t.grad(&grads).unwrap())).collect())
    }

    fn plain(&self, inputs: &[Vec<f64>]) -> Vec<f64> {
        self.run(inputs, &plain(Slot::closed()), None).0
    }

    fn dual(&self, values: &[Vec<f64>], tangents: &[Vec<f64>], weights_move: bool) -> Vec<f64> {
        self.run(&stack(values, tangents), &dual(weights_move, Slot::closed(), None), None).0
    }
}

/// A plain call with kernels of its own.
fn plain(slot: Arc<Slot>) -> Mode {
    Mode::plain(Kernels::new(Isa::best()), slot)
}

/// A dual one.
fn dual(weights_move: bool, slot: Arc<Slot>, primal: Option<Arc<Slot>>) -> Mode {
    Mode::dual(Kernels::new(Isa::best()), weights_move, slot, primal)
}

fn stack(values: &[Vec<f64>], tangents: &[Vec<f64>]) -> Vec<Vec<f64>> {
    values.iter().zip(tangents).map(|(x, dot)| [&x[..], dot].concat()).collect()
}

fn shifted(x: &[Vec<f64>], h: f64, v: &[Vec<f64>]) -> Vec<Vec<f64>> {
    x.iter().zip(v).map(|(x, v)| x.iter().zip(v).map(|(x, v)| x + h * v).collect()).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn assert_close(got: &[f64], expected: &[f64], what: &str) {
    let largest = expected.iter().fold(0f64, |m, v| m.max(v.abs()));
    let difference = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(largest > 1e-3, "{what}: a comparison of zeros");
    assert_eq!(got.len(), expected.len());
    assert!(difference < 1e-6 * largest, "{what}: off by {difference:.2e} of {largest:.2e}");
}

fn check(subject: &Subject, seed: u64, what: &str) {
    let h = 1e-6;
    let mut s = Stream::new(seed, "test", 0);
    let (x, v, u, r) =
        (subject.draw(&mut s), subject.direction(&mut s), subject.direction(&mut s), subject.direction(&mut s));

    // The tangent against central differences; the value is the plain one to the bit.
    let out = subject.dual(&x, &v, true);
    let (value, tangent) = out.split_at(out.len() / 2);
    assert_eq!(value, subject.plain(&x), "{what}: the value of a dual call");
    let difference =
        |up: Vec<f64>, down: Vec<f64>| -> Vec<f64> { up.iter().zip(&down).map(|(a, b)| (a - b) / (2.0 * h)).collect() };
    let fd = difference(subject.plain(&shifted(&x, h, &v)), subject.plain(&shifted(&x, -h, &v)));
    assert_close(tangent, &fd, &format!("{what}: tangent"));

    // Weights that stand still.
    let mut still = v.clone();
    still.last_mut().unwrap().fill(0.0);
    if subject.first_differentiable == 0 {
        assert_close(&subject.dual(&x, &v, false), &subject.dual(&x, &still, true), &format!("{what}: still weights"));
    }

    // The reverse pass of the plain call is the transpose of the tangent map.
    let g: Vec<f64> = (0..value.len()).map(|_| s.normal()).collect();
    let (_, grads) = subject.run(&x, &plain(Slot::open()), Some(&g));
    let backward: f64 = grads.iter().zip(&v[subject.first_differentiable..]).map(|(g, v)| dot(g, v)).sum();
    assert_close(&[backward], &[dot(&g, tangent)], &format!("{what}: reverse"));

    // The reverse pass of the dual call against central differences of the dual call along (u, r), and one input
    // after the other, so that no input hides behind a larger one.
    let g: Vec<f64> = (0..out.len()).map(|_| s.normal()).collect();
    let (_, grads) = subject.run(&stack(&x, &v), &dual(true, Slot::open(), None), Some(&g));
    for i in subject.first_differentiable..x.len() {
        let only = |d: &[Vec<f64>]| -> Vec<Vec<f64>> {
            d.iter().enumerate().map(|(j, d)| if i == j { d.clone() } else { vec![0.0; d.len()] }).collect()
        };
        let (u, r) = (only(&u), only(&r));
        let at = |h: f64| subject.dual(&shifted(&x, h, &u), &shifted(&v, h, &r), true);
        let fd = dot(&g, &difference(at(h), at(-h)));
        let backward = dot(&grads[i - subject.first_differentiable], &[&u[i][..], &r[i]].concat());
        assert_close(&[backward], &[fd], &format!("{what}: reverse of dual, input {i}"));
    }
}

#[test]
fn derivatives_of_the_stem_are_exact() {
    check(&Subject::stem(), 1, "stem");
}

#[test]
fn derivatives_of_the_head_are_exact() {
    check(&Subject::head(), 2, "head");
}

#[test]
fn derivatives_of_a_normal_cell_are_exact() {
    check(&Subject::cell(3, [5, 7], false, false), 3, "normal cell");
}

#[test]
fn derivatives_of_a_reduction_cell_are_exact_for_odd_and_even_sides() {
    check(&Subject::cell(3, [5, 7], true, false), 4, "reduction cell");
    check(&Subject::cell(4, [6, 5], true, false), 5, "reduction cell, mixed side");
}

#[test]
fn derivatives_of_a_cell_behind_a_reduction_are_exact() {
    check(&Subject::cell(2, [3, 4], false, true), 6, "cell behind a reduction");
}

#[test]
fn derivatives_of_a_reduction_behind_a_reduction_are_exact() {
    check(&Subject::cell(3, [5, 3], true, true), 7, "reduction behind a reduction");
}

#[test]
fn a_cell_of_nothing_but_zeros_has_zero_gradients() {
    let mut subject = Subject::cell(3, [4, 4], false, false);
    let spec = CellSpec {
        nodes: 1,
        edges: vec![vec![Op::None]; 2],
        c: 3,
        c_prev_prev: 3,
        c_prev: 5,
        reduction: false,
        reduction_prev: false,
        discrete: None,
    };
    subject.shapes[2] = vec![2];
    subject.shapes[3] = vec![weights_len(&spec.weights())];
    subject.module = Module::Cell(Arc::new(spec), Arc::new(CellNoise::default()));
    let x = subject.draw(&mut Stream::new(8, "test", 0));
    let (out, grads) = subject.run(&x, &plain(Slot::open()), Some(&vec![1.0; 2 * 4 * 4 * 3]));
    assert!(out.iter().all(|&v| v == 0.0));
    for (g, shape) in grads.iter().zip(&subject.shapes) {
        assert_eq!(g.len(), shape.iter().product::<usize>());
        assert!(g.iter().all(|&v| v == 0.0));
    }
}
