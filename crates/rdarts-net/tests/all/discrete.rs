//! The discrete network of a training, held to PyTorch, to itself in double precision, and to the supernet.
//!
//! Golden values lie in the directory RDARTS_GOLDEN (or `shared/golden` beside the workspace): weights, images, logits of
//! both heads, the loss, all gradients, running statistics after a step, logits with these. In single precision the
//! gradients are held to what PyTorch's own single precision is off by on the same file: batch norm over the two or three
//! images that reach the auxiliary head leaves little of a gradient but its rounding.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rdarts_kernels::reference;
use rdarts_kernels::spec::{CellDims, CellNoise, Weight, WeightKind};
use rdarts_net::{
    Alphas, Batch, DiscreteSpec, Engine, Evaluator, Module, Network, Real, Source, SupernetSpec, Targets,
    forward_mixed, training_gradient,
};
use rdarts_rng::Stream;
use rdarts_space::{CellType, Genotype, Op, Space, Topology, published, uniform};
use safetensors::{Dtype, SafeTensors};

use crate::{engine, skip};

#[test]
fn golden_networks_agree_with_pytorch_in_double_precision() {
    golden().iter().for_each(|(file, _)| compare::<f64>(file, 1e-9, 1e-9));
}

#[test]
fn golden_networks_agree_with_pytorch_in_single_precision() {
    // PyTorch in single precision is itself 7.4e-4 off its own double precision; a card adds up in another order.
    let least = if engine::engine::<f32>().is_cpu() { 0.0 } else { 1e-3 };
    golden().iter().for_each(|(file, of_gradients)| compare::<f32>(file, 1e-4, of_gradients.max(least)));
}

#[test]
fn the_published_cells_have_the_published_numbers_of_parameters() {
    let count = |genotype: Genotype, c: usize, cells: usize, auxiliary: bool| {
        Network::discrete(&DiscreteSpec {
            genotype,
            cells,
            reductions: Vec::new(),
            c,
            c_image: 3,
            classes: 10,
            auxiliary,
        })
        .n_parameters()
    };
    assert_eq!(count(published("DARTS_V2").unwrap(), 36, 20, false), 3_349_342);
    assert_eq!(count(published("DARTS_V1").unwrap(), 36, 20, false), 3_169_414);
    let separable = count(all_sep_conv(), 16, 20, true);
    assert_eq!((separable as f64 / 1e6 * 1000.0).round() / 1000.0, 1.443);
    let net = Network::discrete(&DiscreteSpec { cells: 8, ..spec(all_sep_conv(), 16, true) });
    assert!(net.has_auxiliary() && !net.without_auxiliary().has_auxiliary());
    assert_eq!(net.without_auxiliary().norms(), &net.norms()[..net.norms().len() - 2]);
}

/// Every operation, both orders of inputs, two operations that read one state, two equal ones.
#[test]
fn the_fused_network_agrees_with_the_composed_one_in_double_precision() {
    let mut s = Stream::new(3, "genotypes", 0);
    // A card compiles its kernels anew for each network, on a software driver for minutes.
    let (cases, nodes) = if engine::engine::<f32>().is_cpu() { (4, 3) } else { (1, 2) };
    for (at, side) in [[8, 8], [7, 9], [5, 6], [8, 8]].into_iter().enumerate().take(cases) {
        let (auxiliary, classes, c_image) = (at % 2 == 0, 4, [3, 1][at % 2]);
        let mut genotype = random(&mut s, &ALL_BUT_NOISE, nodes);
        if at == 3 {
            (genotype.normal_concat, genotype.reduce_concat) = (vec![4, 2], vec![3, 4]);
            (genotype.normal[2], genotype.normal[3]) = ((Op::MaxPool3x3, 1), (Op::MaxPool3x3, 1));
        }
        let net = Network::discrete(&DiscreteSpec {
            genotype,
            cells: 3,
            reductions: Vec::new(),
            c: 4,
            c_image,
            classes,
            auxiliary,
        });
        let n = 5;
        let images: Vec<f32> = (0..n * side[0] * side[1] * c_image).map(|_| s.normal() as f32).collect();
        let labels: Vec<u32> = (0..n as u32).map(|i| i % 4).collect();
        let noise: Vec<Arc<CellNoise>> = net.cells().map(|cell| dropped(&mut s, &cell.spec, n)).collect();
        let mut weights = net.init(7);
        weights.iter_mut().for_each(|w| *w += 0.1 * s.normal() as f32);
        let single = Batch { images: (&images).into(), side, targets: Targets::Labels(&labels), noise: &noise };
        let wide = |values: &[f32]| -> Vec<f64> { values.iter().map(|v| f64::from(*v)).collect() };
        let (images64, weights64) = (wide(&images), wide(&weights));
        let double = Batch { images: (&images64).into(), side, targets: Targets::Labels(&labels), noise: &noise };
        let (engine, exact) = (engine::engine::<f32>(), Engine::cpu());
        let got = training_gradient(&net, &engine, &weights, single, 0.4);
        let expected = training_gradient(&net, &exact, &weights64, double, 0.4);
        assert_close(&got.evaluation.outputs, &expected.evaluation.outputs, 1e-4, "logits");
        assert_eq!(got.auxiliary_loss.is_some(), auxiliary);
        assert_close(&got.statistics, &expected.statistics, 1e-4, "statistics");
        for p in net.weights() {
            let range = p.offset..p.offset + p.kind.len();
            let largest = expected.weights.iter().fold(0f64, |m, v| m.max(v.abs()));
            for (a, b) in got.weights[range.clone()].iter().zip(&expected.weights[range]) {
                assert!((f64::from(*a) - b).abs() < 2e-4 * largest, "{} {a} {b}", p.name);
            }
        }
        let [plain, composed] = [
            Evaluator::discrete(&net, &engine, &weights, &expected.statistics).outputs(&images, n, side),
            Evaluator::discrete(&net, &exact, &weights64, &expected.statistics).outputs(&images64, n, side),
        ];
        assert_close(&plain, &composed, 1e-4, "evaluation");
    }
}

#[test]
fn the_gradient_is_that_of_finite_differences() {
    let mut s = Stream::new(5, "differences", 0);
    let net = Network::discrete(&DiscreteSpec { cells: 2, c: 2, ..spec(random(&mut s, &ALL_BUT_NOISE, 2), 2, true) });
    let (n, side) = (4, [8, 8]);
    let images: Vec<f64> = (0..n * 64 * 3).map(|_| s.normal()).collect();
    let batch = Batch { images: (&images).into(), side, targets: Targets::Labels(&[0, 3, 1, 2]), noise: &[] };
    let weights: Vec<f64> = net.init(1).into_iter().map(f64::from).collect();
    let engine = Engine::cpu();
    let exact = training_gradient(&net, &engine, &weights, batch, 0.4).weights;
    let direction: Vec<f64> = weights.iter().map(|_| s.normal()).collect();
    let loss = |h: f64| {
        let moved: Vec<f64> = weights.iter().zip(&direction).map(|(w, d)| w + h * d).collect();
        let made = training_gradient(&net, &engine, &moved, batch, 0.4);
        made.evaluation.loss + 0.4 * made.auxiliary_loss.unwrap()
    };
    let h = 1e-7;
    let difference = (loss(h) - loss(-h)) / (2.0 * h);
    let product: f64 = exact.iter().zip(&direction).map(|(g, d)| g * d).sum();
    assert!((difference - product).abs() < 1e-5 * product.abs().max(1.0), "{difference} {product}");
}

/// A genotype as a discrete network, with scale 1 and shift 0 behind its batch norms, and as a supernet with the same
/// weights and mixing weights 1 on what the genotype keeps and 0 elsewhere.
struct Pair {
    net: Network,
    weights: Vec<f32>,
    supernet: Network,
    all: Vec<f32>,
    p: Alphas,
}

impl Pair {
    fn new(space: &Space, genotype: &Genotype, reductions: &[usize]) -> Self {
        let mut sizes = SupernetSpec::from_space(space, 3, 4, 3, 5);
        sizes.reductions = rdarts_space::reductions_or_default(reductions, 3);
        let supernet = Network::supernet(sizes);
        let reductions = reductions.to_vec();
        let sizes = DiscreteSpec { cells: 3, reductions, c: 4, classes: 5, ..spec(genotype.clone(), 4, false) };
        let net = Network::discrete(&sizes);
        let all = supernet.init(2);
        let mut weights = net.init(3);
        for p in net.weights() {
            let Some(name) = own_name(space, genotype, &net, &p.name) else { continue };
            let (values, shape) = supernet.read(&all, &name).unwrap();
            net.write(&mut weights, &p.name, &values, &shape).unwrap();
        }
        let selected = rdarts_space::selection(space, genotype).unwrap();
        let one_hot = |edges: &[Vec<Op>], chosen: &[Option<usize>]| -> Vec<f64> {
            let of = |(ops, chosen): (&Vec<Op>, &Option<usize>)| -> Vec<f64> {
                (0..ops.len()).map(|k| f64::from(u8::from(*chosen == Some(k)))).collect()
            };
            edges.iter().zip(chosen).flat_map(of).collect()
        };
        let p = Alphas::from([one_hot(&space.normal, &selected.0), one_hot(&space.reduce, &selected.1)]);
        Self { net, weights, supernet, all, p }
    }

    /// The logits of the discrete network and of the supernet, with the statistics of the batch.
    fn outputs<R: Real>(&self, images: &[f64]) -> [Vec<f64>; 2] {
        let of = |values: &[f32]| -> Vec<R> { values.iter().map(|v| R::from_f64(f64::from(*v))).collect() };
        let images: Vec<R> = images.iter().map(|v| R::from_f64(*v)).collect();
        let batch = Batch { images: (&images).into(), side: [8, 8], targets: Targets::Labels(&[0, 1, 2]), noise: &[] };
        let discrete = training_gradient(&self.net, &engine::engine::<R>(), &of(&self.weights), batch, 0.0);
        let mixed = forward_mixed(&self.supernet, &engine::engine::<R>(), &of(&self.all), &self.p, batch);
        [discrete.evaluation.outputs, mixed.outputs]
    }

    /// The logits of the discrete network by the plain loops that define its modules, as it is, or with a batch norm
    /// without scale and shift behind each pool. That is the cell of a supernet that has these operations alone; the scales
    /// and shifts behind convolutions, 1 and 0, are left out of its weights.
    fn by_definition(&self, images: &[f64], has_pool_norms: bool) -> Vec<f64> {
        let weights: Vec<f64> = self.weights.iter().map(|w| f64::from(*w)).collect();
        let (n, side) = (3, [8, 8]);
        let mut made: Vec<(Vec<f64>, [usize; 2])> = Vec::new();
        for node in self.net.nodes() {
            let of = |source: &Source| match *source {
                Source::Images => (images, side),
                Source::Node(at) => (&made[at].0[..], made[at].1),
            };
            let (reads, w): (Vec<_>, _) = (node.inputs.iter().map(of).collect(), node.part(&weights));
            let (x, side) = *reads.last().unwrap();
            let value = match &node.module {
                Module::Stem(spec) => (reference::stem(spec, n, side, x, w), side),
                Module::Cell(cell) => {
                    let (mut spec, mut w) = ((*cell.spec).clone(), w.to_vec());
                    if has_pool_norms {
                        let is_factor = |p: &Weight| matches!(p.kind, WeightKind::Vector { .. });
                        let of = |p: Weight| w[p.offset..p.offset + p.kind.len()].to_vec();
                        w = spec.weights().into_iter().filter(|p| !is_factor(p)).flat_map(of).collect();
                        spec.discrete = None;
                    }
                    let dims = CellDims { n, side0: reads[0].1, side1: side };
                    let (p, noise) = (vec![1.0; spec.n_alphas()], CellNoise::default());
                    let nodes = reference::cell(&spec, dims, reads[0].0, x, &p, &w, &noise);
                    (nodes, dims.side_out(&spec))
                }
                Module::Head(spec) => (reference::head(spec, n, side[0] * side[1], x, w), [1, 1]),
                other => panic!("no discrete network without auxiliary head has {other:?}"),
            };
            made.push(value);
        }
        made.pop().unwrap().0
    }
}

/// The built-in spaces whose cells are wired as those of DARTS; `nasbench201` has the same test beside its networks.
fn darts_spaces() -> impl Iterator<Item = (&'static str, Space)> {
    let all = Space::NAMES.into_iter().map(|name| (name, Space::builtin(name).unwrap()));
    all.filter(|(_, space)| space.topology == Topology::Darts)
}

/// The pools of a supernet have a batch norm that those of a discrete network lack, so genotypes with pools are left to the
/// next test.
#[test]
fn the_supernet_with_one_hot_mixing_weights_is_the_discrete_network() {
    let mut s = Stream::new(9, "agreement", 0);
    for (name, space) in darts_spaces() {
        for _ in 0..4 {
            let Some(genotype) = drawn(&space, &mut s, |op| !is_pool(op)) else { continue };
            let images: Vec<f64> = (0..3 * 64 * 3).map(|_| s.normal()).collect();
            let [discrete, mixed] = Pair::new(&space, &genotype, &[0, 2]).outputs::<f32>(&images);
            assert_close(&discrete, &mixed, 1e-5, name);
        }
    }
}

/// What is compared here: the discrete network with the plain loops that define it, and the supernet with these same loops
/// and a batch norm behind each pool. So the two networks differ in these norms and in nothing else.
#[test]
fn with_pools_the_two_networks_differ_in_the_batch_norms_behind_these_alone() {
    let mut s = Stream::new(10, "agreement", 0);
    let mut with_pools = Vec::new();
    for (name, space) in darts_spaces() {
        let all: Vec<Genotype> = (0..30).filter_map(|_| drawn(&space, &mut s, |_| true)).collect();
        let has_pool =
            |genotype: &&Genotype| genotype.normal.iter().chain(&genotype.reduce).any(|(op, _)| is_pool(*op));
        for genotype in all.iter().filter(has_pool).take(4) {
            let pair = Pair::new(&space, genotype, &[]);
            let images: Vec<f64> = (0..3 * 64 * 3).map(|_| f64::from(s.normal() as f32)).collect();
            let [as_it_is, with_norms] = [false, true].map(|norms| pair.by_definition(&images, norms));
            for ([discrete, mixed], tolerance) in
                [(pair.outputs::<f64>(&images), 1e-9), (pair.outputs::<f32>(&images), 1e-4)]
            {
                assert_close(&discrete, &as_it_is, tolerance, &format!("discrete network, {name}, {genotype}"));
                assert_close(&mixed, &with_norms, tolerance, &format!("supernet, {name}, {genotype}"));
            }
            with_pools.push(name);
        }
    }
    let spaces = ["s1", "darts", "darts-no-none", "tiny"];
    assert_eq!(with_pools, spaces.iter().flat_map(|name| [*name; 4]).collect::<Vec<_>>());
}

/// The name in the supernet of a weight of the discrete network; none of a batch norm's.
fn own_name(space: &Space, genotype: &Genotype, net: &Network, name: &str) -> Option<String> {
    let Some((cell, rest)) = name.split_once("._ops.") else {
        let is_norm = name.contains("bn.") || name.contains("preprocess") && name.contains("op.2.");
        return (!is_norm).then(|| name.to_string());
    };
    let (at, rest) = rest.split_once('.').unwrap();
    if ["op.3.", "op.7.", "bn."].iter().any(|norm| rest.starts_with(norm)) {
        return None;
    }
    let (at, index): (usize, usize) = (at.parse().unwrap(), cell.trim_start_matches("cells.").parse().unwrap());
    let cell_type = CellType::ALL[net.cells().nth(index).unwrap().cell_type];
    let (op, state) = genotype.cell(cell_type)[at];
    let edge = (0..at / 2).map(|i| 2 + i).sum::<usize>() + state;
    let edges = if cell_type == CellType::Normal { &space.normal } else { &space.reduce };
    let o = edges[edge].iter().position(|candidate| *candidate == op).unwrap();
    Some(format!("{cell}._ops.{edge}._ops.{o}.{rest}"))
}

/// A genotype of a space at random, of operations that are allowed and neither `none` nor noise; none if a node has not two
/// inputs with such operations.
fn drawn(space: &Space, s: &mut Stream, is_allowed: fn(Op) -> bool) -> Option<Genotype> {
    let is_usable = |op: &Op| !matches!(op, Op::None | Op::Noise) && is_allowed(*op);
    let cell = |edges: &[Vec<Op>], s: &mut Stream| -> Option<Vec<(Op, usize)>> {
        let mut ops = Vec::new();
        for node in 0..space.nodes {
            let first = (0..node).map(|i| 2 + i).sum::<usize>();
            let mut states: Vec<usize> =
                (0..2 + node).filter(|state| edges[first + state].iter().any(is_usable)).collect();
            if states.len() < 2 {
                return None;
            }
            for _ in 0..2 {
                let state = states.swap_remove(s.below(states.len()));
                let usable: Vec<Op> = edges[first + state].iter().copied().filter(is_usable).collect();
                ops.push((usable[s.below(usable.len())], state));
            }
        }
        Some(ops)
    };
    Genotype::new(cell(&space.normal, s)?, cell(&space.reduce, s)?).ok()
}

fn is_pool(op: Op) -> bool {
    matches!(op, Op::MaxPool3x3 | Op::AvgPool3x3)
}

const ALL_BUT_NOISE: [Op; 10] = [
    Op::None,
    Op::MaxPool3x3,
    Op::AvgPool3x3,
    Op::SkipConnect,
    Op::SepConv3x3,
    Op::SepConv5x5,
    Op::SepConv7x7,
    Op::DilConv3x3,
    Op::DilConv5x5,
    Op::Conv7x1_1x7,
];

/// Operations and inputs drawn alike; a node may read one input twice.
fn random(s: &mut Stream, ops: &[Op], nodes: usize) -> Genotype {
    let mut cell =
        || -> Vec<(Op, usize)> { (0..2 * nodes).map(|at| (ops[s.below(ops.len())], s.below(2 + at / 2))).collect() };
    let (normal, reduce) = (cell(), cell());
    Genotype::new(normal, reduce).unwrap()
}

fn dropped(s: &mut Stream, spec: &rdarts_kernels::spec::CellSpec, n: usize) -> Arc<CellNoise> {
    let factor = |droppable: bool, drop: bool| if droppable && drop { 0.0 } else { 1.25f32 };
    let drop_path = spec.droppable().iter().flat_map(|d| (0..n).map(|_| *d).collect::<Vec<_>>()).collect::<Vec<_>>();
    let drop_path = drop_path.into_iter().map(|d| if d { factor(d, s.chance(0.3)) } else { 1.0 }).collect();
    Arc::new(CellNoise { drop_path, noise_key: 0 })
}

fn all_sep_conv() -> Genotype {
    uniform(Op::SepConv3x3, 4)
}

fn spec(genotype: Genotype, c: usize, auxiliary: bool) -> DiscreteSpec {
    DiscreteSpec { genotype, cells: 20, reductions: Vec::new(), c, c_image: 3, classes: 10, auxiliary }
}

/// The files, with the largest error of a gradient of PyTorch 2.15 in single precision.
fn golden() -> Vec<(PathBuf, f64)> {
    let named = std::env::var_os("RDARTS_GOLDEN").map(PathBuf::from);
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden");
    let dir = named.clone().unwrap_or_else(default);
    let files = [("v1", 7.4e-4), ("v2", 1.9e-4)]
        .map(|(version, error)| (dir.join(format!("discrete-darts-{version}.safetensors")), error));
    if named.is_none() && !dir.exists() {
        skip::skip("../shared absent", "no golden values of discrete networks; RDARTS_GOLDEN may name their directory");
        return Vec::new();
    }
    for (file, _) in &files {
        assert!(file.exists(), "the golden values are there, but not {}", file.display());
    }
    files.to_vec()
}

type Tensors = HashMap<String, (Vec<f64>, Vec<usize>)>;

fn compare<R: Real>(file: &Path, tolerance: f64, of_gradients: f64) {
    let bytes = std::fs::read(file).unwrap();
    let meta = SafeTensors::read_metadata(&bytes).unwrap().1.metadata().clone().unwrap();
    let tensors: Tensors = SafeTensors::deserialize(&bytes)
        .unwrap()
        .iter()
        .map(|(name, view)| {
            let values = view.data().chunks(8).map(|b| match view.dtype() {
                Dtype::I64 => i64::from_le_bytes(b.try_into().unwrap()) as f64,
                _ => f64::from_le_bytes(b.try_into().unwrap()),
            });
            (name.to_string(), (values.collect(), view.shape().to_vec()))
        })
        .collect();
    let number = |key: &str| meta[key].parse::<usize>().unwrap();
    let genotype: Genotype =
        published(if meta["genotype"].contains("dil_conv") { "DARTS_V2" } else { "DARTS_V1" }).unwrap();
    let net = Network::discrete(&DiscreteSpec {
        genotype,
        cells: number("cells"),
        reductions: Vec::new(),
        c: number("channels"),
        c_image: 3,
        classes: number("classes"),
        auxiliary: true,
    });
    assert_eq!(net.n_parameters(), number("params"));
    assert_eq!(net.without_auxiliary().n_parameters(), number("params_without_auxiliary"));
    let mut weights = vec![R::from_f64(f64::NAN); net.n_parameters()];
    let given = tensors.keys().filter(|name| name.starts_with("param.")).count();
    assert_eq!(given, net.weights().len());
    for p in net.weights() {
        let (values, shape) = &tensors[&format!("param.{}", p.name)];
        let values: Vec<R> = values.iter().map(|v| R::from_f64(*v)).collect();
        net.write(&mut weights, &p.name, &values, shape).unwrap();
    }
    let (x, shape) = &tensors["x"];
    let [n, c, h, w] = shape[..].try_into().unwrap();
    let mut images = Vec::new();
    for at in 0..n * h * w {
        let (i, px) = (at / (h * w), at % (h * w));
        images.extend((0..c).map(|ch| R::from_f64(x[(i * c + ch) * h * w + px])));
    }
    let labels: Vec<u32> = tensors["y"].0.iter().map(|y| *y as u32).collect();
    let batch = Batch { images: (&images).into(), side: [h, w], targets: Targets::Labels(&labels), noise: &[] };
    let made = training_gradient(&net, &engine::engine::<R>(), &weights, batch, 0.4);
    assert_close(&made.evaluation.outputs, &tensors["logits_train"].0, tolerance, "logits_train");
    let loss = made.evaluation.loss + 0.4 * made.auxiliary_loss.unwrap();
    assert_close(&[loss], &tensors["loss"].0, tolerance, "loss");
    for p in net.weights() {
        let (values, _) = net.read(&made.weights, &p.name).unwrap();
        let values: Vec<f64> = values.into_iter().map(Real::to_f64).collect();
        let name = format!("grad.{}", p.name);
        assert_close(&values, &tensors[&name].0, of_gradients, &name);
    }
    // PyTorch's step of running statistics from mean 0 and variance 1.
    let running: Vec<f64> =
        net.init_running().iter().zip(&made.statistics).map(|(old, new)| 0.9 * f64::from(*old) + 0.1 * new).collect();
    for norm in net.norms() {
        let (mean, variance) = running[norm.offset..norm.offset + 2 * norm.c].split_at(norm.c);
        for (values, what) in [(mean, "running_mean"), (variance, "running_var")] {
            let name = format!("buffer.{}.{what}", norm.name);
            assert_close(values, &tensors[&name].0, tolerance, &name);
        }
    }
    let outputs = Evaluator::discrete(&net, &engine::engine::<R>(), &weights, &running).outputs(&images, n, [h, w]);
    assert_close(&outputs, &tensors["logits_eval"].0, tolerance, "logits_eval");
}

/// Differences in units of the largest entry.
fn assert_close(got: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0f64, |m, v| m.max(v.abs())).max(f64::MIN_POSITIVE);
    let worst = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(
        got.iter().all(|v| v.is_finite()) && worst < tolerance * largest,
        "{what} is off by {:.2e}",
        worst / largest
    );
}
