//! The contract of the operations: what each of them computes on some engine, held against double precision on the CPU.
//!
//! Every operation stands in a cell of its own, once with stride 1 and once with stride 2, on sides that are odd; besides
//! there are a discrete cell, the stem and both heads. Of each the value is compared, the reverse pass, the tangent and the
//! reverse pass of the tangent, and where there are running statistics those of the batch and the value with given ones.
//! Double precision is the composed body of [`crate::composed`], which golden values and finite differences hold.

#[cfg(feature = "gpu")]
mod layers;

use std::sync::Arc;

use burn::tensor::{DType, Device, Tensor, TensorData};
use rdarts_kernels::spec::{
    AuxiliarySpec, CellDims, CellNoise, CellSpec, Discrete, HeadSpec, StemSpec, running_len, weights_len,
};
use rdarts_rng::Stream;
use rdarts_space::Op;

use crate::calls::{AuxiliaryCall, CellCall, GivenStatistics, HeadCall, Mode, OfBatch, Slot, Statistics, StemCall};
use crate::engine::Engine;
use crate::ops;

#[cfg(feature = "gpu")]
pub use layers::compare_layers;

/// In a build without cards there is nothing to compare.
#[cfg(not(feature = "gpu"))]
pub fn compare_layers(_: &Engine) -> Vec<Compared> {
    Vec::new()
}

/// The largest error that single precision may have, in units of the largest entry of a tensor: some hundred roundings, and
/// what is left of a batch norm over few pixels.
pub const TOLERANCE: f64 = 1e-3;

/// One result of one operation, compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// The operation, as the papers spell it, with its stride; or the module.
    pub operation: String,
    /// What was compared: `value`, `gradient of s1`.
    pub what: String,
    /// The largest difference in units of the largest entry; infinite if something is no number.
    pub error: f64,
}

impl Compared {
    /// Whether it is right.
    pub fn holds(&self) -> bool {
        self.error <= TOLERANCE
    }
}

/// An operation in a module, at a point, in a direction.
pub struct Subject {
    operation: String,
    module: Module,
    inputs: Vec<Input>,
    /// A cotangent of the output and one of its tangent.
    g: Vec<f64>,
    /// Given statistics, for the modules that may have them.
    running: Vec<f64>,
    is_discrete: bool,
}

enum Module {
    Stem(StemSpec),
    Cell(Arc<CellSpec>, Arc<CellNoise>),
    Head(HeadSpec),
    Auxiliary(AuxiliarySpec),
}

struct Input {
    name: &'static str,
    shape: Vec<usize>,
    value: Vec<f64>,
    tangent: Vec<f64>,
    /// Images are data: no tangent, no gradient.
    is_data: bool,
}

const N: usize = 3;

/// All operations.
pub fn subjects() -> Vec<Subject> {
    let mut subjects = Vec::from(Subject::stems());
    for (i, op) in Op::OF_DARTS.into_iter().enumerate().filter(|(_, op)| *op != Op::None) {
        // Beside a skip connection, or noise alone would leave the inputs without gradient.
        let ops = if op == Op::Noise { vec![op, Op::SkipConnect] } else { vec![op] };
        for reduction in [false, true] {
            let name = format!("{op}, stride {}", 1 + usize::from(reduction));
            subjects.push(Subject::cell(name, &ops, reduction, i as u64));
        }
    }
    subjects.extend([false, true].map(Subject::discrete));
    subjects.push(Subject::head());
    subjects.push(Subject::auxiliary());
    subjects
}

/// Cells on so many pixels that sums are taken in many parts, and one of many channels. They are for tests on a given driver: with so many values one
/// lies so near to zero that another rounding sends it through the other side of a relu.
pub fn large_subjects() -> Vec<Subject> {
    vec![Subject::large(false), Subject::large(true), Subject::wide()]
}

/// Compares one operation on an engine in single precision with double precision on the CPU.
pub fn compare(subject: &Subject, engine: &Engine) -> Vec<Compared> {
    let exact = subject.results(&Engine::cpu_with(engine.kernels.isa()), DType::F64);
    let got = subject.results(engine, DType::F32);
    let each = exact.into_iter().zip(got);
    each.map(|((what, exact), (_, got))| compared(&subject.operation, what, &exact, &got)).collect()
}

/// A result beside the exact one.
fn compared(operation: &str, what: String, exact: &[f64], got: &[f64]) -> Compared {
    let largest = exact.iter().fold(0f64, |m, v| m.max(v.abs())).max(1e-6);
    let off = got.iter().zip(exact).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / largest;
    let is_sound = got.len() == exact.len() && got.iter().all(|v| v.is_finite());
    Compared { operation: operation.to_string(), what, error: if is_sound { off } else { f64::INFINITY } }
}

impl Subject {
    /// The operation, as in [`Compared::operation`].
    pub fn operation(&self) -> &str {
        &self.operation
    }

    fn new(
        operation: String,
        module: Module,
        inputs: &[(&'static str, Vec<usize>)],
        n_out: usize,
        n_running: usize,
        seed: u64,
    ) -> Self {
        let mut s = Stream::new(seed, "contract", 0);
        let mut normals = |n: usize| -> Vec<f64> { (0..n).map(|_| f64::from(s.normal() as f32)).collect() };
        let mut input = |(name, shape): &(&'static str, Vec<usize>)| {
            let len = shape.iter().product();
            let is_data = *name == "images";
            let tangent = if is_data { vec![0.0; len] } else { normals(len) };
            Input { name, shape: shape.clone(), value: normals(len), tangent, is_data }
        };
        let inputs: Vec<Input> = inputs.iter().map(&mut input).collect();
        let g = normals(2 * n_out);
        // Means, then variances: positive ones serve as both.
        let running: Vec<f64> = normals(n_running).into_iter().map(|v| 0.5 + v.abs()).collect();
        // A training has first derivatives alone, and no mixing weights to learn.
        let is_discrete = !running.is_empty();
        Self { operation, module, inputs, g, running, is_discrete }
    }

    /// That of a search; as that of a training it has running statistics.
    fn stems() -> [Self; 2] {
        let spec = StemSpec { c_in: 3, c_out: 10 };
        let inputs = [("images", vec![N, 5, 6, 3]), ("w", vec![weights_len(&spec.weights())])];
        [("stem", 0), ("stem of a training", running_len(&spec.norms()))]
            .map(|(name, n_running)| Self::new(name.into(), Module::Stem(spec), &inputs, N * 5 * 6 * 10, n_running, 1))
    }

    fn cell(name: String, ops: &[Op], reduction: bool, seed: u64) -> Self {
        let edges = vec![ops.to_vec(); 2];
        let spec = CellSpec {
            nodes: 1,
            c: 6,
            c_prev_prev: 3,
            c_prev: 7,
            reduction,
            reduction_prev: false,
            edges,
            discrete: None,
        };
        // As in most searches there is none at stride 2.
        let n_factors = if reduction { 0 } else { 2 * N };
        let drop_path = (0..n_factors).map(|i| if i == 1 { 0.0 } else { 1.25 }).collect();
        Self::of_cell(name, spec, CellNoise { drop_path, noise_key: seed }, [7, 5], [7, 5], seed)
    }

    /// Two nodes, and every kind of stage: more than 128 tiles of 64 pixels.
    fn large(reduction: bool) -> Self {
        const SIDE: [usize; 2] = [61, 46];
        let edges = vec![vec![Op::SkipConnect, Op::MaxPool3x3, Op::SepConv3x3, Op::DilConv3x3]; 5];
        // Once behind a reduction, once with two inputs of one shape.
        let (c_prev_prev, side0) = if reduction { (9, SIDE) } else { (5, [2 * SIDE[0], 2 * SIDE[1]]) };
        let (c_prev, reduction_prev) = (9, !reduction);
        let spec = CellSpec { nodes: 2, c: 8, c_prev_prev, c_prev, reduction, reduction_prev, edges, discrete: None };
        let name = format!("large cell, stride {}", 1 + usize::from(reduction));
        Self::of_cell(name, spec, CellNoise { drop_path: Vec::new(), noise_key: 0 }, side0, SIDE, 40)
    }

    /// Channels that are no power of two, and more inputs than a cube of a card has units.
    fn wide() -> Self {
        let edges = vec![vec![Op::SkipConnect, Op::SepConv3x3, Op::AvgPool3x3]; 2];
        let (c_prev_prev, c_prev) = (260, 48);
        let (reduction, reduction_prev) = (false, false);
        let spec = CellSpec { nodes: 1, c: 48, c_prev_prev, c_prev, reduction, reduction_prev, edges, discrete: None };
        let noise = CellNoise { drop_path: Vec::new(), noise_key: 0 };
        Self::of_cell("wide cell".into(), spec, noise, [7, 5], [7, 5], 41)
    }

    /// A discrete cell of two nodes behind a reduction.
    fn discrete(reduction: bool) -> Self {
        let edges =
            vec![vec![Op::SepConv3x3], vec![Op::MaxPool3x3], vec![Op::DilConv5x5], vec![], vec![Op::SkipConnect]];
        let discrete = Some(Discrete { order: vec![0, 1, 2, 3], concat: vec![0, 1] });
        let spec =
            CellSpec { nodes: 2, c: 6, c_prev_prev: 3, c_prev: 7, reduction, reduction_prev: true, edges, discrete };
        let n_factors = if reduction { 0 } else { spec.n_paths() * N };
        let drop_path = (0..n_factors).map(|i| if i % 4 == 1 { 0.0 } else { 1.25 }).collect();
        let name = format!("discrete cell, stride {}", 1 + usize::from(reduction));
        Self::of_cell(name, spec, CellNoise { drop_path, noise_key: 0 }, [13, 10], [7, 5], 30)
    }

    fn of_cell(
        name: String,
        spec: CellSpec,
        noise: CellNoise,
        side0: [usize; 2],
        side1: [usize; 2],
        seed: u64,
    ) -> Self {
        let [h, w] = CellDims { n: N, side0, side1 }.side_out(&spec);
        let inputs = [
            ("s0", vec![N, side0[0], side0[1], spec.c_prev_prev]),
            ("s1", vec![N, side1[0], side1[1], spec.c_prev]),
            ("p", vec![spec.n_alphas()]),
            ("w", vec![weights_len(&spec.weights())]),
        ];
        let n_running = if spec.discrete.is_some() { running_len(&spec.norms()) } else { 0 };
        let n_out = N * h * w * spec.c_out();
        Self::new(name, Module::Cell(Arc::new(spec), Arc::new(noise)), &inputs, n_out, n_running, seed)
    }

    fn head() -> Self {
        let spec = HeadSpec { c_in: 6, classes: 4 };
        let inputs = [("s", vec![N, 5, 3, 6]), ("w", vec![weights_len(&spec.weights())])];
        Self::new("head".into(), Module::Head(spec), &inputs, N * 4, 0, 2)
    }

    fn auxiliary() -> Self {
        let spec = AuxiliarySpec { c_in: 6, classes: 4 };
        let inputs = [("s", vec![N, 7, 7, 6]), ("w", vec![weights_len(&spec.weights())])];
        Self::new("auxiliary head".into(), Module::Auxiliary(spec), &inputs, N * 4, running_len(&spec.norms()), 3)
    }

    /// Everything that is compared, on an engine in a precision.
    fn results(&self, engine: &Engine, dtype: DType) -> Vec<(String, Vec<f64>)> {
        let kernels = || engine.kernels.clone();
        let statistics = Slot::open();
        let plain = Mode {
            statistics: Statistics::OfBatch(if self.running.is_empty() { Slot::closed() } else { statistics.clone() }),
            ..Mode::plain(kernels(), Slot::open())
        };
        let is_fixed = |input: &Input| input.is_data || (self.is_discrete && input.name == "p");
        let all: Vec<usize> = (0..self.inputs.len()).filter(|i| !is_fixed(&self.inputs[*i])).collect();
        let mut results = Vec::new();
        self.pass(engine, dtype, &plain, &all, ["value", "gradient"], &mut results);
        if !self.running.is_empty() {
            let of_batch = statistics.take::<OfBatch>().map_or_else(Vec::new, |of| of.read());
            results.push(("statistics of the batch".into(), of_batch));
            // The auxiliary head is left out of evaluations.
            if !matches!(self.module, Module::Auxiliary(_)) {
                let given = Mode {
                    statistics: Statistics::Given(Arc::new(GivenStatistics::of(self.running.clone()))),
                    ..Mode::plain(kernels(), Slot::closed())
                };
                self.pass(engine, dtype, &given, &[], ["value with given statistics", ""], &mut results);
            }
        }
        if !self.is_discrete {
            // Second derivatives end in the mixing weights: there is no gradient of the weights.
            let states: Vec<usize> = all.into_iter().filter(|i| self.inputs[*i].name != "w").collect();
            let names = ["tangent", "second derivative"];
            self.pass(engine, dtype, &Mode::dual(kernels(), true, Slot::open(), None), &states, names, &mut results);
        }
        results
    }

    /// The output and the gradients of the tracked inputs.
    fn pass(
        &self,
        engine: &Engine,
        dtype: DType,
        mode: &Mode,
        tracked: &[usize],
        [value, gradient]: [&str; 2],
        results: &mut Vec<(String, Vec<f64>)>,
    ) {
        let device = if tracked.is_empty() { engine.device.clone() } else { engine.device.clone().autodiff() };
        let leaves: Vec<Tensor<1>> = self
            .inputs
            .iter()
            .enumerate()
            .map(|(i, input)| {
                let values = if mode.dual { [&input.value[..], &input.tangent].concat() } else { input.value.clone() };
                let t = flat(values, &device, dtype);
                if tracked.contains(&i) { t.require_grad() } else { t }
            })
            .collect();
        let out = self.call(&leaves, mode);
        let values = read(out.clone());
        let n = values.len();
        results.push((value.into(), values));
        if tracked.is_empty() {
            return;
        }
        let mut grads = (out * flat(self.g[..n].to_vec(), &device, dtype)).sum().backward();
        for &i in tracked {
            let of = leaves[i].grad_remove(&mut grads).map_or_else(Vec::new, read);
            results.push((format!("{gradient} of {}", self.inputs[i].name), of));
        }
    }

    fn call(&self, leaves: &[Tensor<1>], mode: &Mode) -> Tensor<1> {
        let image = |i: usize| -> Tensor<4> {
            let mut shape: [usize; 4] = self.inputs[i].shape[..].try_into().expect("activations have four axes");
            shape[0] *= if mode.dual { 2 } else { 1 };
            leaves[i].clone().reshape(shape)
        };
        let (w, mode) = (leaves[leaves.len() - 1].clone(), mode.clone());
        match &self.module {
            Module::Stem(spec) => ops::stem(image(0), w, StemCall { spec: *spec, mode }).flatten(0, 3),
            Module::Cell(spec, noise) => {
                // Who gives statistics evaluates: nothing is dropped.
                let evaluates = matches!(mode.statistics, Statistics::Given(_));
                let noise = if evaluates { Arc::default() } else { noise.clone() };
                let call = CellCall { spec: spec.clone(), noise, mode };
                ops::cell(image(0), image(1), leaves[2].clone(), w, call).flatten(0, 3)
            }
            Module::Head(spec) => ops::head(image(0), w, HeadCall { spec: *spec, mode }).flatten(0, 1),
            Module::Auxiliary(spec) => ops::auxiliary(image(0), w, AuxiliaryCall { spec: *spec, mode }).flatten(0, 1),
        }
    }
}

fn flat(values: Vec<f64>, device: &Device, dtype: DType) -> Tensor<1> {
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [n]).convert_dtype(dtype), (device, dtype))
}

fn read(t: Tensor<1>) -> Vec<f64> {
    t.into_data().try_into_vec_as::<f64>().expect("a float tensor reads as double precision")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fused_kernels_keep_the_contract() {
        let engine = Engine::cpu();
        let compared: Vec<Compared> = subjects().iter().flat_map(|subject| compare(subject, &engine)).collect();
        assert!(compared.len() > 200, "{}", compared.len());
        for one in &compared {
            assert!(one.holds(), "{one:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_found() {
        let wrong = |error| Compared { operation: "stem".into(), what: "value".into(), error };
        assert!(!wrong(2e-3).holds() && !wrong(f64::INFINITY).holds() && !wrong(f64::NAN).holds());
        assert!(wrong(1e-4).holds());
    }
}
