//! The network for disparity beside the same one in PyTorch in double precision (`bench/peer/disparity.py`, carried out by the
//! Python that RDARTS_PYTHON names): outputs, loss, gradients, the Hessian of the alphas, the unrolled gradient.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rdarts_net::disparity::DisparitySpec;
use rdarts_net::{
    AlphaHessian, Alphas, Batch, Engine, InnerStep, Network, Point, Real, Targets, Truth, both_gradients,
    unrolled_gradient, weight_gradient,
};
use rdarts_rng::Stream;
use rdarts_space::{DisparityGenotype, DisparitySpace};
use serde_json::{Map, Value, json};

use crate::skip;

const N: usize = 2;

/// A network at a point, with a batch.
struct Case {
    spec: DisparitySpec,
    net: Network,
    side: [usize; 2],
    weights: Vec<f64>,
    alphas: Alphas,
    pairs: Vec<f64>,
    truth: Truth,
}

/// Learning rate and weight decay of the unrolled step: so small that single precision stays on its side of the kinks.
const STEP: [f64; 2] = [1e-3, 0.1];

/// Of so many alphas the row of one is compared: theirs is a pass each.
const ROWS: usize = 7;

impl Case {
    fn new(spec: DisparitySpec, side: [usize; 2]) -> Self {
        let net = Network::disparity(&spec);
        let mut s = Stream::new(3, "test", 0);
        let mut weights: Vec<f64> = net.init(5).into_iter().map(f64::from).collect();
        weights.iter_mut().for_each(|w| *w += 0.05 * s.normal());
        let alphas = net.n_alphas().into_iter().map(|n| (0..n).map(|_| 0.3 * s.normal()).collect()).collect();
        let pixels = N * side[0] * side[1];
        let pairs = (0..6 * pixels).map(|_| s.uniform() - 0.4).collect();
        let mut disparity: Vec<f32> = (0..pixels).map(|_| (4.0 * s.uniform()) as f32).collect();
        disparity[..900].fill(f32::NAN);
        let truth = Truth { side, disparity, levels: spec.levels() };
        Self { spec, net, side, weights, alphas, pairs, truth }
    }

    /// As the peer reads it.
    fn json(&self, space: &str, genotype: Option<&DisparityGenotype>) -> Value {
        let weights: Map<String, Value> = self
            .net
            .weights()
            .iter()
            .map(|weight| (weight.name.clone(), json!(self.net.read(&self.weights, &weight.name).unwrap().0)))
            .collect();
        let disparity: Vec<Option<f32>> = self.truth.disparity.iter().map(|d| d.is_finite().then_some(*d)).collect();
        let levels: Vec<Value> = self.truth.levels.iter().map(|level| json!([level.scale, level.weight])).collect();
        json!({
            "space": space, "channels": self.spec.c, "stem": self.spec.stem, "deep": self.spec.deep,
            "norm": self.spec.norm, "displacement": self.spec.displacement, "genotype": genotype,
            "height": self.side[0], "width": self.side[1], "weights": weights, "alphas": self.alphas.each(),
            "pairs": self.pairs, "disparity": disparity, "levels": levels, "step": STEP, "rows": ROWS,
        })
    }

    /// All gradients in the peer's order of names.
    fn by_name<R: Real>(&self, flat: &[R], name: &str) -> Vec<f64> {
        self.net.read(flat, name).unwrap().0.into_iter().map(Real::to_f64).collect()
    }
}

fn python() -> Option<PathBuf> {
    let python = std::env::var_os("RDARTS_PYTHON").map(PathBuf::from);
    if python.is_none() {
        skip::skip("RDARTS_PYTHON unset", "the network for disparity is not held against PyTorch");
    }
    python
}

fn peer(python: &Path, point: &Value) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench/peer/disparity.py");
    let mut child = Command::new(python)
        .arg(script)
        .arg("check")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("RDARTS_PYTHON runs");
    child.stdin.take().unwrap().write_all(point.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "the peer failed");
    serde_json::from_slice(&output.stdout).expect("the peer prints JSON")
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// The largest difference, of the largest entry.
fn off(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0f64, |m, v| m.max(v.abs()));
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / largest.max(1e-9)
}

/// Compares everything, computed in R.
fn compare<R: Real>(case: &Case, theirs: &Value, tolerance: f64) {
    let engine = Engine::cpu();
    let narrow = |v: &[f64]| v.iter().map(|v| R::from_f64(*v)).collect::<Vec<R>>();
    let (weights, pairs) = (narrow(&case.weights), narrow(&case.pairs));
    let at = Point { net: &case.net, engine: &engine, weights: &weights[..], alphas: &case.alphas };
    let batch =
        Batch { images: (&pairs[..]).into(), side: case.side, targets: Targets::Disparity(&case.truth), noise: &[] };
    let is_mixed = theirs.get("hessian").is_some();
    let (evaluation, of_alphas, of_weights) = match is_mixed {
        true => both_gradients(at, batch),
        false => {
            let (evaluation, gradient) = weight_gradient(at, batch);
            (evaluation, Alphas::zeros(&case.net), gradient)
        }
    };
    let check = |what: &str, off: f64| {
        println!("{what} of {}: {off:.1e}", R::dtype().name());
        assert!(off < tolerance, "{what} of {}: {off:.1e}", R::dtype().name());
    };
    check("outputs", off(&evaluation.outputs, &numbers(&theirs["outputs"])));
    check("loss", (evaluation.loss - theirs["loss"].as_f64().unwrap()).abs() / evaluation.loss);
    let all = theirs["weights"].as_object().unwrap();
    assert_eq!(all.len(), case.net.weights().len());
    let largest = all.values().flat_map(numbers).fold(0f64, |m, v| m.max(v.abs()));
    for (name, expected) in all {
        let differences =
            case.by_name(&of_weights, name).into_iter().zip(numbers(expected)).map(|(a, b)| (a - b).abs());
        check(name, differences.fold(0.0, f64::max) / largest);
    }
    if is_mixed {
        check("alphas", off(&of_alphas.flat(), &numbers(&theirs["alphas"])));
        let hessian = AlphaHessian::new(at, batch);
        let row =
            |i: usize| hessian.apply(&(0..hessian.n()).map(|k| f64::from(u8::from(k == i))).collect::<Vec<f64>>());
        let found: Vec<f64> = (0..hessian.n()).step_by(ROWS).flat_map(row).collect();
        let expected: Vec<f64> = theirs["hessian"].as_array().unwrap().iter().flat_map(numbers).collect();
        check("the Hessian", off(&found, &expected));
        let step = InnerStep { xi: STEP[0], l2: STEP[1], momentum: 0.0, buffer: None };
        let (_, unrolled) = unrolled_gradient(at, batch, batch, step);
        let off = off(&unrolled.flat(), &numbers(&theirs["unrolled"]));
        // The gradient at the moved weights jumps where a prediction passes the truth: single precision passes a few others.
        let allowed = if tolerance < 1e-6 { tolerance } else { 5e-2 };
        assert!(off < allowed, "the unrolled gradient of {}: {off:.1e}", R::dtype().name());
    }
}

#[test]
fn supernets_agree_with_pytorch() {
    let Some(python) = python() else { return };
    for name in DisparitySpace::NAMES {
        let spec = DisparitySpec::search(DisparitySpace::builtin(name).unwrap(), 2, 64);
        let case = Case::new(spec, [32, 64]);
        let theirs = peer(&python, &case.json(name, None));
        compare::<f64>(&case, &theirs, 1e-9);
        compare::<f32>(&case, &theirs, 2e-3);
    }
}

#[test]
fn an_architecture_agrees_with_pytorch() {
    let Some(python) = python() else { return };
    let genotype = DisparityGenotype::autodispnet();
    let case = Case::new(DisparitySpec::training(genotype.clone(), 2, 3, 3), [64, 128]);
    let theirs = peer(&python, &case.json("none", Some(&genotype)));
    compare::<f64>(&case, &theirs, 1e-9);
    compare::<f32>(&case, &theirs, 1e-4);
}
