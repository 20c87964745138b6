//! The fused CPU kernels against the composed bodies, through the tape: one function, two implementations.
//!
//! The composed body in double precision is the truth, at values that single precision holds exactly; it was
//! itself held against finite differences (`operations.rs`). Errors are measured against the largest entry of
//! each tensor.

use std::sync::Arc;

use burn::tensor::{DType, Device, Tensor, TensorData};
use rdarts_kernels::spec::{CellDims, CellNoise, CellSpec, HeadSpec, StemSpec, weights_len};
use rdarts_kernels::{Isa, Kernels};
use rdarts_net::calls::{CellCall, HeadCall, Ledger, Mode, Slot, StemCall};
use rdarts_net::ops;
use rdarts_net::{
    AlphaHessian, Alphas, Batch, Engine, InnerStep, Network, Point, SupernetSpec, Targets, alpha_gradient, forward,
    forward_mixed, graph, mixed_hvp, unrolled_gradient, weight_gradient,
};
use rdarts_rng::Stream;
use rdarts_space::Op;

/// Rounding in single precision, after sums over up to some hundred pixels and one division by a deviation.
const TOLERANCE: f64 = 2e-4;

#[derive(Clone)]
enum Module {
    Stem(StemSpec),
    Cell(Arc<CellSpec>, Arc<CellNoise>),
    Head(HeadSpec),
}

/// A module at a point, in a direction, and with a cotangent of its stacked output.
struct Subject {
    name: String,
    module: Module,
    shapes: Vec<Vec<usize>>,
    n_out: usize,
    values: Vec<Vec<f64>>,
    tangents: Vec<Vec<f64>>,
    g: Vec<f64>,
}

/// Normal values that single precision holds exactly.
fn normals(s: &mut Stream, n: usize) -> Vec<f64> {
    (0..n).map(|_| f64::from(s.normal() as f32)).collect()
}

impl Subject {
    fn new(name: String, module: Module, shapes: Vec<Vec<usize>>, n_out: usize, seed: u64) -> Self {
        let mut s = Stream::new(seed, "test", 0);
        let mut draw = || shapes.iter().map(|shape| normals(&mut s, shape.iter().product())).collect();
        let (values, tangents) = (draw(), draw());
        let g = normals(&mut s, 2 * n_out);
        Self { name, module, shapes, n_out, values, tangents, g }
    }

    fn cell(ops: &[Op], side1: [usize; 2], reduction: bool, reduction_prev: bool, seed: u64) -> Self {
        let (n, c, nodes) = (3, 5, 2);
        let side0 = if reduction_prev { [2 * side1[0] - 1, 2 * side1[1]] } else { side1 };
        let edges: Vec<Vec<Op>> =
            (0..5).map(|e| ops.iter().cycle().skip(e).take(ops.len()).copied().collect()).collect();
        let drop_path = (0..5 * n).map(|i| if i % 4 == 1 { 0.0 } else { 1.25 }).collect();
        let spec = CellSpec { nodes, c, c_prev_prev: 3, c_prev: 7, reduction, reduction_prev, edges, discrete: None };
        let [h, w] = CellDims { n, side0, side1 }.side_out(&spec);
        let shapes = vec![
            vec![n, side0[0], side0[1], 3],
            vec![n, side1[0], side1[1], 7],
            vec![spec.n_alphas()],
            vec![weights_len(&spec.weights())],
        ];
        let noise = CellNoise { drop_path, noise_key: seed };
        let name = format!("{ops:?} on {side1:?}, reduction {reduction}, behind a reduction {reduction_prev}");
        let n_out = n * h * w * spec.c_out();
        Self::new(name, Module::Cell(Arc::new(spec), Arc::new(noise)), shapes, n_out, seed)
    }

    fn stem() -> Self {
        let spec = StemSpec { c_in: 3, c_out: 10 };
        let shapes = vec![vec![3, 5, 6, 3], vec![weights_len(&spec.weights())]];
        Self::new("stem".into(), Module::Stem(spec), shapes, 3 * 5 * 6 * 10, 1)
    }

    fn head() -> Self {
        let spec = HeadSpec { c_in: 6, classes: 4 };
        let shapes = vec![vec![3, 5, 3, 6], vec![weights_len(&spec.weights())]];
        Self::new("head".into(), Module::Head(spec), shapes, 3 * 4, 2)
    }

    /// The images of the stem are data.
    fn is_data(&self, input: usize) -> bool {
        matches!(self.module, Module::Stem(_)) && input == 0
    }

    fn tensors(&self, dtype: DType, mode: &Mode, tracked: &[usize]) -> Vec<Tensor<1>> {
        let device = if tracked.is_empty() { Device::flex() } else { Device::flex().autodiff() };
        let leaf = |i: usize| {
            let mut all = self.values[i].clone();
            if mode.dual {
                let dot = if self.is_data(i) { vec![0.0; all.len()] } else { self.tangents[i].clone() };
                all.extend(dot);
            }
            let t = flat(&all, &device, dtype);
            if tracked.contains(&i) { t.require_grad() } else { t }
        };
        (0..self.shapes.len()).map(leaf).collect()
    }

    fn call(&self, leaves: &[Tensor<1>], mode: &Mode) -> Tensor<1> {
        let image = |i: usize| -> Tensor<4> {
            let mut shape: [usize; 4] = self.shapes[i][..].try_into().unwrap();
            shape[0] *= if mode.dual { 2 } else { 1 };
            leaves[i].clone().reshape(shape)
        };
        let mode = mode.clone();
        match &self.module {
            Module::Stem(spec) => ops::stem(image(0), leaves[1].clone(), StemCall { spec: *spec, mode }).flatten(0, 3),
            Module::Cell(spec, noise) => {
                let call = CellCall { spec: spec.clone(), noise: noise.clone(), mode };
                ops::cell(image(0), image(1), leaves[2].clone(), leaves[3].clone(), call).flatten(0, 3)
            }
            Module::Head(spec) => ops::head(image(0), leaves[1].clone(), HeadCall { spec: *spec, mode }).flatten(0, 1),
        }
    }

    /// Whether the fused forward pass leaves something for the backward pass.
    fn leaves_state(&self, mode: &Mode) -> bool {
        match self.module {
            Module::Stem(_) => !mode.dual,
            Module::Cell(..) => true,
            Module::Head(_) => false,
        }
    }

    /// The output and the gradients of the tracked inputs.
    fn run(&self, dtype: DType, mode: &Mode, tracked: &[usize]) -> (Vec<f64>, Vec<Vec<f64>>) {
        let leaves = self.tensors(dtype, mode, tracked);
        let out = self.call(&leaves, mode);
        let values = read(out.clone());
        // The composed bodies leave nothing, and the fused backward pass takes what the forward pass has left.
        let state = if dtype == DType::F32 && self.leaves_state(mode) { "Slot(full)" } else { "Slot(empty)" };
        assert_eq!(format!("{:?}", mode.slot), state, "{}: after the forward pass", self.name);
        let g = flat(&self.g[..values.len()], &Device::flex().autodiff(), dtype);
        let grads = (out * g).sum().backward();
        assert_eq!(format!("{:?}", mode.slot), "Slot(empty)", "{}: after the backward pass", self.name);
        (values, tracked.iter().map(|&i| read(leaves[i].grad(&grads).unwrap())).collect())
    }

    /// Both implementations in one mode.
    fn check(&self, mode: impl Fn() -> Mode, tracked: &[usize], what: &str) {
        let (fused, composed) = (self.run(DType::F32, &mode(), tracked), self.run(DType::F64, &mode(), tracked));
        assert_close(&fused.0, &composed.0, &format!("{}, {what}: output", self.name));
        for ((fused, composed), i) in fused.1.iter().zip(&composed.1).zip(tracked) {
            assert_close(fused, composed, &format!("{}, {what}: gradient of input {i}", self.name));
        }
    }

    fn check_all(&self) {
        let last = self.shapes.len() - 1;
        let inputs: Vec<usize> = (0..=last).filter(|&i| !self.is_data(i)).collect();
        self.check(|| plain(Slot::open()), &inputs, "plain");
        // Second derivatives end in the mixing weights, so a dual call has no gradient of the weights.
        let states: Vec<usize> = inputs.iter().copied().filter(|&i| i != last).collect();
        if !states.is_empty() {
            self.check(|| dual(true, Slot::open(), None), &states, "dual");
            self.check(|| dual(false, Slot::open(), None), &states, "dual, still weights");
        }
        // Gradients asked for one by one are those of all together, to the bit.
        let all = self.run(DType::F32, &plain(Slot::open()), &inputs);
        for (k, &i) in inputs.iter().enumerate() {
            let alone = self.run(DType::F32, &plain(Slot::open()), &[i]);
            assert!(alone.1[0] == all.1[k] && alone.0 == all.0, "{}: gradient of input {i} alone", self.name);
        }
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

fn flat(values: &[f64], device: &Device, dtype: DType) -> Tensor<1> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]).convert_dtype(dtype), (device, dtype))
}

fn read(t: Tensor<1>) -> Vec<f64> {
    t.into_data().try_into_vec_as::<f64>().unwrap()
}

fn assert_close(got: &[f64], expected: &[f64], what: &str) {
    let largest = expected.iter().fold(0f64, |m, v| m.max(v.abs()));
    let difference = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert_eq!(got.len(), expected.len(), "{what}");
    assert!(largest > 1e-3, "{what}: a comparison of zeros");
    assert!(difference < TOLERANCE * largest, "{what}: off by {difference:.2e} of {largest:.2e}");
}

#[test]
fn every_operation_alone_is_the_composed_one() {
    for (i, op) in Op::OF_DARTS.into_iter().enumerate().skip(1) {
        // Next to a skip connection, so that noise alone does not leave the inputs without gradient.
        let ops = if op == Op::SkipConnect { vec![op] } else { vec![op, Op::SkipConnect] };
        Subject::cell(&ops, [5, 7], i % 2 == 0, false, i as u64).check_all();
        Subject::cell(&ops, [4, 3], i % 2 == 1, true, 20 + i as u64).check_all();
    }
}

#[test]
fn cells_of_all_operations_are_the_composed_ones() {
    for (seed, (reduction, reduction_prev)) in
        [(false, false), (true, false), (false, true), (true, true)].into_iter().enumerate()
    {
        Subject::cell(&Op::OF_DARTS, [7, 5], reduction, reduction_prev, 40 + seed as u64).check_all();
    }
}

#[test]
fn stem_and_head_are_the_composed_ones() {
    Subject::stem().check_all();
    Subject::head().check_all();
    let stem = Subject::stem();
    let dual = |dtype| {
        read(stem.call(&stem.tensors(dtype, &dual(true, Slot::closed(), None), &[]), &dual(true, Slot::closed(), None)))
    };
    assert_close(&dual(DType::F32), &dual(DType::F64), "stem, dual");
}

#[test]
fn a_shared_primal_gives_the_bits_of_one_computed_anew() {
    for reduction in [false, true] {
        let mut subject = Subject::cell(&Op::OF_DARTS, [6, 5], reduction, false, 50);
        let primal = Slot::open();
        let plain = plain(primal.clone());
        subject.call(&subject.tensors(DType::F32, &plain, &[]), &plain);
        assert_eq!(format!("{primal:?}"), "Slot(full)");
        for seed in 0..3 {
            let mut s = Stream::new(seed, "direction", 0);
            subject.tangents = subject.shapes.iter().map(|shape| normals(&mut s, shape.iter().product())).collect();
            for weights_move in [false, true] {
                let fresh = subject.run(DType::F32, &dual(weights_move, Slot::open(), None), &[0, 1, 2]);
                let shared =
                    subject.run(DType::F32, &dual(weights_move, Slot::open(), Some(primal.clone())), &[0, 1, 2]);
                assert!(fresh == shared, "direction {seed}");
                assert_eq!(format!("{primal:?}"), "Slot(full)", "the primal serves the next direction");
            }
            assert_eq!(subject.n_out, subject.g.len() / 2);
            subject.check(|| dual(true, Slot::open(), None), &[0, 1, 2], "another direction");
        }
    }
}

#[test]
fn composed_single_precision_is_fused_single_precision() {
    for (reduction, reduction_prev) in [(false, false), (true, true)] {
        let subject = Subject::cell(&Op::OF_DARTS[1..], [5, 6], reduction, reduction_prev, 60);
        let mode = plain(Slot::open());
        let device = Device::flex().autodiff();
        let leaves: Vec<Tensor<1>> =
            subject.values.iter().map(|v| flat(v, &device, DType::F32).require_grad()).collect();
        let out = subject.call(&leaves, &mode);
        // Without what the forward pass left, the backward pass is the composed one.
        mode.slot.put(());
        let g = flat(&subject.g[..subject.n_out], &device, DType::F32);
        let grads = (out * g).sum().backward();
        let fused = subject.run(DType::F32, &plain(Slot::open()), &[0, 1, 2, 3]);
        for (i, (leaf, fused)) in leaves.iter().zip(&fused.1).enumerate() {
            assert_close(fused, &read(leaf.grad(&grads).unwrap()), &format!("input {i}"));
        }
    }
}

#[test]
fn a_state_of_two_cells_has_the_sum_of_their_gradients_whether_leaf_or_not() {
    let Module::Cell(spec, noise) = Subject::cell(&Op::OF_DARTS, [5, 4], false, false, 70).module else {
        unreachable!()
    };
    let spec = Arc::new(CellSpec { c_prev_prev: 6, c_prev: 6, ..(*spec).clone() });
    let mut s = Stream::new(9, "test", 0);
    let [x, p, w] = [3 * 5 * 4 * 6, spec.n_alphas(), weights_len(&spec.weights())].map(|n| normals(&mut s, n));
    let g = normals(&mut s, 3 * 5 * 4 * spec.c_out());
    let device = Device::flex().autodiff();
    // The gradient of x, which feeds two cells twice each.
    let gradient = |dtype: DType, is_leaf: bool, one_pass: bool| {
        let leaf = flat(&x, &device, dtype).reshape([3, 5, 4, 6]).require_grad();
        let state = if is_leaf { leaf.clone() } else { leaf.clone().mul_scalar(1.0) };
        let ledger = Arc::new(Ledger::default());
        let cell = || {
            let mode = plain(Slot::open());
            let mode = if one_pass { mode.in_pass(ledger.clone()) } else { mode };
            let call = CellCall { spec: spec.clone(), noise: noise.clone(), mode };
            ops::cell(state.clone(), state.clone(), flat(&p, &device, dtype), flat(&w, &device, dtype), call)
        };
        let out: Tensor<1> = (cell() + cell().mul_scalar(0.5)).flatten(0, 3);
        let grads = (out * flat(&g, &device, dtype)).sum().backward();
        read(leaf.grad(&grads).unwrap().flatten(0, 3))
    };
    let truth = gradient(DType::F64, true, false);
    for is_leaf in [true, false] {
        let fused = gradient(DType::F32, is_leaf, true);
        assert_close(&fused, &truth, &format!("leaf {is_leaf}"));
        assert_close(&gradient(DType::F64, is_leaf, true), &truth, &format!("leaf {is_leaf}, double precision"));
        let by_tape = gradient(DType::F32, is_leaf, false);
        assert!(fused == by_tape, "leaf {is_leaf}: the tape's own sum has other bits");
    }
}

/// A supernet with every operation somewhere, in single precision.
struct Case {
    net: Network,
    engine: Engine,
    weights: Vec<f32>,
    alphas: Alphas,
    images: Vec<f32>,
    labels: Vec<u32>,
    noise: Vec<Arc<CellNoise>>,
}

const N: usize = 19;
const SIDE: [usize; 2] = [9, 7];

impl Case {
    fn new() -> Self {
        let edges = |first: usize| {
            (0..5)
                .map(|e| {
                    vec![Op::OF_DARTS[(first + 2 * e) % 11], Op::OF_DARTS[(first + 2 * e + 1) % 11], Op::SkipConnect]
                })
                .collect()
        };
        let net = Network::supernet(SupernetSpec {
            cells: 4,
            c: 4,
            stem_multiplier: 3,
            reductions: vec![1],
            nodes: 2,
            normal: edges(1),
            reduce: edges(4),
            c_image: 3,
            classes: 5,
        });
        let mut s = Stream::new(3, "test", 0);
        let images = normals(&mut s, N * SIDE[0] * SIDE[1] * 3).into_iter().map(|v| v as f32).collect();
        let labels = (0..N).map(|_| s.below(5) as u32).collect();
        let [normal, reduce] = net.n_alphas()[..] else { unreachable!("a supernet has two types of cells") };
        let alphas = Alphas::from([normals(&mut s, normal), normals(&mut s, reduce)]);
        let noise = (0..4)
            .map(|k| {
                let drop_path = (0..5 * N).map(|i| if (i + k) % 5 == 0 { 0.0 } else { 1.25 }).collect();
                Arc::new(CellNoise { drop_path, noise_key: k as u64 })
            })
            .collect();
        Self { weights: net.init(3), net, engine: Engine::cpu(), alphas, images, labels, noise }
    }

    fn at(&self) -> Point<'_, [f32]> {
        Point { net: &self.net, engine: &self.engine, weights: &self.weights, alphas: &self.alphas }
    }

    fn batch(&self) -> Batch<'_, f32> {
        Batch { images: (&self.images).into(), side: SIDE, targets: Targets::Labels(&self.labels), noise: &self.noise }
    }

    /// The logits of all operations with given mixing weights, in double precision, module by module.
    fn unpruned(&self, weights: &[f64], images: &[f64], p: &Alphas) -> Vec<f64> {
        let tensor = |values: &[f64]| flat(values, &self.engine.device, DType::F64);
        let mode = || plain(Slot::closed());
        let mut states = Vec::new();
        for (at, node) in self.net.nodes().iter().enumerate() {
            let w = tensor(node.part(weights));
            match &node.module {
                graph::Module::Stem(spec) => {
                    let x = tensor(images).reshape([N, SIDE[0], SIDE[1], 3]);
                    let out = ops::stem(x, w, StemCall { spec: *spec, mode: mode() });
                    states = vec![out.clone(), out];
                }
                graph::Module::Cell(cell) => {
                    let p = tensor(p.of(cell.cell_type));
                    let call = CellCall { spec: cell.spec.clone(), noise: self.noise[at - 1].clone(), mode: mode() };
                    let [s0, s1] = [at - 1, at].map(|i| states[i].clone());
                    states.push(ops::cell(s0, s1, p, w, call));
                }
                graph::Module::Head(spec) => {
                    let s = states[at].clone();
                    return read(ops::head(s, w, HeadCall { spec: *spec, mode: mode() }).flatten(0, 1));
                }
                graph::Module::Own(_) | graph::Module::Layer(_) => unreachable!("a supernet of the kernels"),
                graph::Module::Auxiliary(_) => unreachable!("a supernet has one head"),
            }
        }
        unreachable!("a supernet ends with its head")
    }

    fn direction(&self, n: usize) -> Vec<f64> {
        normals(&mut Stream::new(8, "direction", 0), n)
    }
}

#[test]
fn the_number_of_threads_changes_no_bit_of_any_derivative() {
    let case = Case::new();
    let run = |threads: usize| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
            let (at, batch) = (case.at(), case.batch());
            let hessian = AlphaHessian::new(at, batch);
            let v = case.direction(hessian.n());
            let w: Vec<f32> = case.direction(case.net.n_parameters()).iter().map(|v| *v as f32).collect();
            let step = InnerStep { xi: 0.1, l2: 1e-3, momentum: 0.0, buffer: None };
            let mut bits: Vec<u64> = Vec::new();
            let mut add = |values: &[f64]| bits.extend(values.iter().map(|v| v.to_bits()));
            add(&forward(at, batch).outputs);
            add(&alpha_gradient(at, batch).1.flat());
            add(&weight_gradient(at, batch).1.iter().map(|v| f64::from(*v)).collect::<Vec<_>>());
            add(&hessian.apply(&v));
            add(&mixed_hvp(at, batch, &w).flat());
            add(&unrolled_gradient(at, batch, batch, step).1.flat());
            bits
        })
    };
    let one = run(1);
    assert!(one.iter().any(|b| *b != 0) && one.iter().all(|b| f64::from_bits(*b).is_finite()));
    for threads in [2, 3] {
        assert!(run(threads) == one, "{threads} threads");
    }
}

#[test]
fn a_hessian_product_twice_has_the_same_bits() {
    let case = Case::new();
    let hessian = AlphaHessian::new(case.at(), case.batch());
    let v = case.direction(hessian.n());
    let first = hessian.apply(&v);
    let other = hessian.apply(&v.iter().map(|v| 0.5 - v).collect::<Vec<_>>());
    assert!(first != other);
    assert_eq!(hessian.apply(&v), first);
    let anew = AlphaHessian::new(case.at(), case.batch());
    assert_eq!(anew.apply(&v), first);
}

#[test]
fn operations_of_weight_zero_need_not_be_computed() {
    let case = Case::new();
    let wide = |v: &[f32]| v.iter().map(|v| f64::from(*v)).collect::<Vec<f64>>();
    let (weights, images) = (wide(&case.weights), wide(&case.images));
    let exact =
        Batch { images: (&images).into(), side: SIDE, targets: Targets::Labels(&case.labels), noise: &case.noise };
    let one_hot = |keep: &dyn Fn(usize) -> Option<usize>| {
        let of = |n: usize| (0..n).map(|i| if keep(i / 3) == Some(i % 3) { 1.0 } else { 0.0 }).collect();
        let [normal, reduce] = case.net.n_alphas()[..] else { unreachable!("a supernet has two types of cells") };
        Alphas::from([of(normal), of(reduce)])
    };
    let mut half = case.alphas.softmax(&case.net);
    half.each_mut()[0].iter_mut().step_by(2).for_each(|p| *p = 0.0);
    let points = [
        ("one operation an edge", one_hot(&|edge| Some(edge % 3))),
        ("two edges a node", one_hot(&|edge| (edge != 2).then_some(2 - edge % 3))),
        ("a node without operations", one_hot(&|edge| (edge > 1).then_some(edge % 2))),
        ("every second operation", half),
        ("all operations", case.alphas.softmax(&case.net)),
    ];
    for (what, p) in points {
        let (pruned, pruned_p, pruned_weights) = case.net.pruned(case.engine.kernels.workspace(), &p, &weights);
        let n_zeros = p.flat().iter().filter(|p| **p == 0.0).count();
        assert_eq!(pruned.n_alphas().iter().sum::<usize>() + n_zeros, p.flat().len(), "{what}");
        assert_eq!(pruned_weights.len(), pruned.n_parameters());
        assert!(pruned_p.flat().iter().all(|p| *p != 0.0));
        let unpruned = case.unpruned(&weights, &images, &p);
        let double = forward_mixed(&case.net, &case.engine, &weights, &p, exact);
        let single = forward_mixed(&case.net, &case.engine, &case.weights, &p, case.batch());
        let largest = unpruned.iter().fold(0f64, |m, v| m.max(v.abs()));
        let off =
            |logits: &[f64]| logits.iter().zip(&unpruned).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / largest;
        assert!(off(&double.outputs) < 1e-13, "{what}: {:.1e}", off(&double.outputs));
        assert!(off(&single.outputs) < TOLERANCE, "{what}: {:.1e}", off(&single.outputs));
        assert!((single.loss - double.loss).abs() < TOLERANCE);
    }
    let mixed = forward_mixed(&case.net, &case.engine, &case.weights, &case.alphas.softmax(&case.net), case.batch());
    assert_eq!(mixed, forward(case.at(), case.batch()));
}

#[test]
fn two_engines_share_nothing() {
    let case = Case::new();
    let all = |engine: &Engine| {
        let (at, batch) = (Point { engine, ..case.at() }, case.batch());
        let step = InnerStep { xi: 0.1, l2: 3e-4, momentum: 0.9, buffer: None };
        let (_, weights) = weight_gradient(at, batch);
        let (evaluation, alphas) = unrolled_gradient(at, batch, batch, step);
        let product = AlphaHessian::new(at, batch).apply(&alphas.flat());
        (weights, evaluation, alphas, product, forward_mixed(&case.net, engine, &case.weights, &case.alphas, batch))
    };
    let [one, other] = [0, 1].map(|_| Engine::cpu());
    let idle = |engine: &Engine| engine.kernels.workspace().idle();
    let first = all(&one);
    let left = idle(&one);
    assert!(left > 0);
    // No call has found a way to another engine.
    assert_eq!([idle(&case.engine), idle(&other)], [0, 0]);
    assert!(first == all(&other));
    assert_eq!([idle(&one), idle(&other)], [left, left]);
}
