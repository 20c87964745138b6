//! Every operation of the spaces at every shape of a search of 16 channels at 32x32: forward, backward to the mixing
//! weights, backward to the weights, tangent, and backward of the tangent.
//!
//! `cargo bench -p rdarts-kernels [-- FILTER]`, for example `-- "forward.*sep_conv_3x3"`.
//!
//! A cell of one node with the operation on both of its edges, batch 64. Both preprocess blocks are part of it: what
//! they take is the row of `none`.

use std::fmt;

use divan::Bencher;
use divan::counter::ItemsCount;
use rdarts_kernels::backward::{Pushforward, Want, vjp};
use rdarts_kernels::cell::{CellInput, CellTangent, forward, jvp};
use rdarts_kernels::spec::{CellDims, CellNoise, CellSpec, weights_len};
use rdarts_kernels::{Isa, Kernels};
use rdarts_space::Op;

fn main() {
    divan::main();
}

const BATCH: usize = 64;

/// (name, channels, side of the states, reduction).
const SHAPES: [(&str, usize, usize, bool); 5] = [
    ("16 channels 32x32", 16, 32, false),
    ("32 channels 32x32 to 16x16", 32, 32, true),
    ("32 channels 16x16", 32, 16, false),
    ("64 channels 16x16 to 8x8", 64, 16, true),
    ("64 channels 8x8", 64, 8, false),
];

/// An operation at a shape.
#[derive(Clone, Copy)]
struct Case {
    op: Op,
    shape: (&'static str, usize, usize, bool),
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.op.as_str(), self.shape.0)
    }
}

fn cases() -> impl Iterator<Item = Case> {
    Op::OF_DARTS.into_iter().flat_map(|op| SHAPES.into_iter().map(move |shape| Case { op, shape }))
}

/// The tensors of a case.
struct World {
    kernels: Kernels,
    spec: CellSpec,
    dims: CellDims,
    s: [Vec<f32>; 2],
    p: Vec<f32>,
    w: Vec<f32>,
    noise: CellNoise,
    out: Vec<f32>,
}

impl World {
    fn new(Case { op, shape: (_, c, side, reduction) }: Case) -> Self {
        let c_in = if reduction { 2 * c } else { 4 * c };
        let edges = vec![vec![op]; 2];
        let spec = CellSpec {
            nodes: 1,
            c,
            c_prev_prev: c_in,
            c_prev: c_in,
            reduction,
            reduction_prev: false,
            edges,
            discrete: None,
        };
        let dims = CellDims { n: BATCH, side0: [side; 2], side1: [side; 2] };
        let [h, wd] = dims.side_out(&spec);
        let state = values(BATCH * side * side * c_in);
        Self {
            kernels: Kernels::new(Isa::best()),
            s: [state.clone(), state],
            p: values(spec.n_alphas()),
            w: values(weights_len(&spec.weights())),
            noise: CellNoise { noise_key: 1, ..CellNoise::default() },
            out: values(BATCH * h * wd * c),
            spec,
            dims,
        }
    }

    fn input(&self) -> CellInput<'_> {
        CellInput { s0: &self.s[0], s1: &self.s[1], p: &self.p, w: &self.w, running: None }
    }

    fn tangent(&self) -> CellTangent<'_> {
        CellTangent { s0: Some(&self.s[0]), s1: Some(&self.s[1]), p: &self.p, w: None }
    }
}

fn values(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 % 1000) as f32 - 500.0) / 1000.0).collect()
}

#[divan::bench(name = "1 forward", args = cases())]
fn value(bencher: Bencher<'_, '_>, case: Case) {
    let world = World::new(case);
    let mut out = world.out.clone();
    bencher
        .counter(ItemsCount::new(BATCH))
        .bench_local(|| forward(&world.kernels, &world.spec, world.dims, world.input(), &world.noise, &mut out));
}

#[divan::bench(name = "2 backward to alpha", args = cases())]
fn backward_to_alpha(bencher: Bencher<'_, '_>, case: Case) {
    backward(bencher, case, Want { s0: true, s1: true, p: true, ..Want::default() });
}

#[divan::bench(name = "3 backward to weights", args = cases())]
fn backward_to_weights(bencher: Bencher<'_, '_>, case: Case) {
    backward(bencher, case, Want { s0: true, s1: true, w: true, ..Want::default() });
}

fn backward(bencher: Bencher<'_, '_>, case: Case, want: Want) {
    let world = World::new(case);
    let mut out = world.out.clone();
    let saved = forward(&world.kernels, &world.spec, world.dims, world.input(), &world.noise, &mut out);
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        let grads = vjp(world.input(), &out, &world.noise, &saved, &out, None, want);
        [grads.s0, grads.s1, grads.w].into_iter().for_each(|g| world.kernels.workspace().give_back(g));
    });
}

#[divan::bench(name = "4 tangent", args = cases())]
fn tangent(bencher: Bencher<'_, '_>, case: Case) {
    let world = World::new(case);
    let mut out = world.out.clone();
    let saved = forward(&world.kernels, &world.spec, world.dims, world.input(), &world.noise, &mut out);
    bencher
        .counter(ItemsCount::new(BATCH))
        .bench_local(|| jvp(world.input(), &out, world.tangent(), &world.noise, &saved));
}

#[divan::bench(name = "5 backward of the tangent", args = cases())]
fn backward_of_tangent(bencher: Bencher<'_, '_>, case: Case) {
    let world = World::new(case);
    let mut out = world.out.clone();
    let saved = forward(&world.kernels, &world.spec, world.dims, world.input(), &world.noise, &mut out);
    let dot = jvp(world.input(), &out, world.tangent(), &world.noise, &saved);
    let want = Want { s0: true, s1: true, p: true, ..Want::default() };
    let keep = Want { keep: true, ..want };
    let kept =
        vjp(world.input(), &out, &world.noise, &saved, dot.out_dot(), None, keep).kept.expect("it was asked for");
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        let pushed = Pushforward { tangent: world.tangent(), saved: &dot, kept: &kept };
        let grads = vjp(world.input(), &out, &world.noise, &saved, &out, Some(pushed), want);
        [grads.s0, grads.s1].into_iter().for_each(|g| world.kernels.workspace().give_back(g));
    });
}
