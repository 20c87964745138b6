//! Golden values of the supernet, computed by PyTorch in double precision.
//!
//! `tests/golden` holds small supernets of every space, which `make.py` there made: weights, data and
//! what PyTorch makes of them, which is logits, losses, all gradients, the full alpha-Hessian by double backward and
//! the gradient of the unrolled step. Larger ones lie in the directory RDARTS_GOLDEN (or `shared/golden` beside the
//! workspace); where that names one, Hessians are compared column by column in double precision too. Double precision must
//! agree to rounding, single precision to what 24 bits can carry; both are measured against the largest entry of each tensor.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use rdarts_kernels::spec::CellNoise;
use rdarts_net::{
    AlphaHessian, Alphas, Batch, InnerStep, Network, Point, Real, SupernetSpec, Targets, alpha_gradient,
    both_gradients, forward, unrolled_gradient, weight_gradient,
};
use rdarts_rng::Stream;
use rdarts_space::{Space, Topology};
use safetensors::{Dtype, SafeTensors};

use crate::{engine, skip};

/// The largest relative error double precision may have.
const TOLERANCE_F64: f64 = 1e-9;
/// The largest relative error single precision may have.
const TOLERANCE_F32: f64 = 1e-4;

#[test]
fn every_space_agrees_with_pytorch_in_double_precision() {
    check_all::<f64>(committed(), TOLERANCE_F64);
}

#[test]
fn every_space_agrees_with_pytorch_in_single_precision() {
    check_all::<f32>(committed(), TOLERANCE_F32);
}

#[test]
fn larger_supernets_agree_with_pytorch_in_double_precision() {
    check_all::<f64>(larger(), TOLERANCE_F64);
}

#[test]
fn larger_supernets_agree_with_pytorch_in_single_precision() {
    check_all::<f32>(larger(), TOLERANCE_F32);
}

/// The files in the repository, one for each space with cells of DARTS, or for those that RDARTS_GOLDEN_SPACES names: software drivers of
/// graphics cards are slow.
fn committed() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let of_darts = |name: &&str| Space::builtin(name).unwrap().topology == Topology::Darts;
    let all = || Space::NAMES.into_iter().filter(of_darts).collect::<Vec<_>>().join(",");
    let wanted = std::env::var("RDARTS_GOLDEN_SPACES").unwrap_or_else(|_| all());
    wanted.split(',').map(|name| dir.join(format!("supernet-{name}.safetensors"))).collect()
}

fn check_all<R: Real>(files: Vec<PathBuf>, tolerance: f64) {
    for file in files {
        let (start, name) = (Instant::now(), file.file_name().unwrap().to_string_lossy().into_owned());
        let errors = Case::read(&file).compare::<R>();
        let (worst, at) = errors.iter().fold((0.0, ""), |m, (tensor, e)| if *e >= m.0 { (*e, tensor) } else { m });
        let seconds = start.elapsed().as_secs_f64();
        let type_name = std::any::type_name::<R>();
        println!("{name} {type_name}: {} tensors, largest error {worst:.1e} ({at}), {seconds:.1} s", errors.len());
        for (tensor, error) in &errors {
            assert!(*error < tolerance, "{name} {type_name}: {tensor} is off by {error:.2e} of its largest entry");
        }
    }
}

/// The files outside the repository.
fn larger() -> Vec<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden");
    let named = std::env::var_os("RDARTS_GOLDEN");
    let dir = named.clone().map_or_else(default, PathBuf::from);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&dir)
        .map(|entries| entries.filter_map(|e| Some(e.ok()?.path())).collect())
        .unwrap_or_default();
    files.retain(|f| {
        let name = f.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("supernet-") && name.ends_with(".safetensors")
    });
    files.sort();
    if files.is_empty() {
        assert!(named.is_none(), "RDARTS_GOLDEN holds no supernet-*.safetensors");
        skip::skip("../shared absent", "no larger golden values; RDARTS_GOLDEN may name their directory");
    }
    files
}

/// One file: metadata and tensors in double precision.
struct Case {
    meta: HashMap<String, String>,
    tensors: HashMap<String, (Vec<f64>, Vec<usize>)>,
}

impl Case {
    fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let meta = header.metadata().clone().unwrap();
        let tensors = SafeTensors::deserialize(&bytes)
            .unwrap()
            .iter()
            .map(|(name, view)| {
                let word = |b: &[u8]| -> [u8; 8] { b.try_into().unwrap() };
                let width = if view.dtype() == Dtype::F32 { 4 } else { 8 };
                let values = view.data().chunks(width).map(|b| match view.dtype() {
                    Dtype::F32 => f64::from(f32::from_le_bytes(b.try_into().unwrap())),
                    Dtype::F64 => f64::from_le_bytes(word(b)),
                    Dtype::I64 => i64::from_le_bytes(word(b)) as f64,
                    other => panic!("{name} has the type {other:?}"),
                });
                (name.to_string(), (values.collect(), view.shape().to_vec()))
            })
            .collect();
        Self { meta, tensors }
    }

    fn number<T: std::str::FromStr>(&self, key: &str) -> T {
        self.meta[key].parse().unwrap_or_else(|_| panic!("{key} is {}", self.meta[key]))
    }

    fn values(&self, name: &str) -> &[f64] {
        &self.tensors[name].0
    }

    fn net(&self) -> Network {
        let space = Space::builtin(&self.meta["space"]).unwrap();
        assert_eq!(space.nodes, self.number::<usize>("nodes"));
        let (cells, c) = (self.number("cells"), self.number("channels"));
        Network::supernet(SupernetSpec {
            reductions: self.meta["reductions"].split(',').map(|r| r.parse().unwrap()).collect(),
            ..SupernetSpec::from_space(&space, cells, c, 3, self.number("classes"))
        })
    }

    /// (n, c, h, w) to (n, h, w, c), with the side.
    fn images<R: Real>(&self, name: &str) -> (Vec<R>, [usize; 2]) {
        let (values, shape) = &self.tensors[name];
        let [n, c, h, w] = shape[..].try_into().unwrap();
        let mut out = Vec::with_capacity(values.len());
        for i in 0..n {
            for y in 0..h {
                for x in 0..w {
                    out.extend((0..c).map(|ch| R::from_f64(values[((i * c + ch) * h + y) * w + x])));
                }
            }
        }
        (out, [h, w])
    }

    fn labels(&self, name: &str) -> Vec<u32> {
        self.values(name).iter().map(|&y| y as u32).collect()
    }

    /// The key of every cell's noise; none where no operation makes noise.
    fn noise(&self) -> Vec<Arc<CellNoise>> {
        let Some(keys) = self.meta.get("noise_keys") else { return Vec::new() };
        let of = |key: &str| Arc::new(CellNoise { drop_path: Vec::new(), noise_key: key.parse().unwrap() });
        keys.split(',').map(of).collect()
    }

    /// Values of every weight, with its shape: a tensor each under the prefix, or all in one in the order of their names.
    fn by_weight(&self, net: &Network, prefix: &str, together: &str) -> HashMap<String, (Vec<f64>, Vec<usize>)> {
        let mut names: Vec<&str> = net.weights().iter().map(|p| p.name.as_str()).collect();
        names.sort_unstable();
        let Some((all, _)) = self.tensors.get(together) else {
            let n_given = self.tensors.keys().filter(|name| name.starts_with(prefix)).count();
            assert_eq!(n_given, names.len(), "the supernet has other weights than the file");
            return names.iter().map(|n| (n.to_string(), self.tensors[&format!("{prefix}{n}")].clone())).collect();
        };
        assert_eq!((names.len(), net.n_parameters()), (self.number("weights"), all.len()));
        let zeros = vec![0f64; net.n_parameters()];
        let mut rest = &all[..];
        let mut of = HashMap::new();
        for name in names {
            let (values, shape) = net.read(&zeros, name).unwrap();
            let (one, after) = rest.split_at(values.len());
            of.insert(name.to_string(), (one.to_vec(), shape));
            rest = after;
        }
        of
    }

    /// The whole Hessian, or the rows of its upper triangle.
    fn hessian(&self, n: usize) -> Vec<f64> {
        let Some((upper, _)) = self.tensors.get("hessian_upper") else { return self.values("hessian").to_vec() };
        assert_eq!(upper.len(), n * (n + 1) / 2);
        let at = |i: usize, j: usize| i * n - i * (i + 1) / 2 + j;
        (0..n * n).map(|k| upper[at((k / n).min(k % n), (k / n).max(k % n))]).collect()
    }

    /// The relative error of every tensor of the file.
    fn compare<R: Real>(&self) -> Vec<(String, f64)> {
        let net = self.net();
        let mut weights = vec![R::from_f64(f64::NAN); net.n_parameters()];
        for (name, (values, shape)) in self.by_weight(&net, "param.", "params") {
            let values: Vec<R> = values.into_iter().map(R::from_f64).collect();
            net.write(&mut weights, &name, &values, &shape).unwrap();
        }
        let alphas = Alphas::from([self.values("alphas_normal").to_vec(), self.values("alphas_reduce").to_vec()]);
        let (train_images, side) = self.images::<R>("x_train");
        let (valid_images, _) = self.images::<R>("x_valid");
        let (train_labels, valid_labels) = (self.labels("y_train"), self.labels("y_valid"));
        let engine = engine::engine::<R>();
        let at = Point { net: &net, engine: &engine, weights: &weights, alphas: &alphas };
        let noise = self.noise();
        let train =
            Batch { images: (&train_images).into(), side, targets: Targets::Labels(&train_labels), noise: &noise };
        let valid = Batch { images: (&valid_images).into(), targets: Targets::Labels(&valid_labels), ..train };

        let (mut errors, mut products) = (Vec::new(), Vec::new());
        let gradients = self.by_weight(&net, "grad.", "grads");
        let n = alphas.flat().len();
        let mut check = |name: &str, got: &[f64]| {
            let expected = match name.strip_prefix("grad.") {
                Some(weight) => gradients[weight].0.clone(),
                None if name == "hessian" => self.hessian(n),
                None => self.values(name).to_vec(),
            };
            errors.push((name.to_string(), error(got, &expected)));
        };

        let plain = forward(at, valid);
        check("logits_valid", &plain.outputs);
        let (_, dw) = weight_gradient(at, train);
        for p in net.weights() {
            let (values, _) = net.read(&dw, &p.name).unwrap();
            let values: Vec<f64> = values.into_iter().map(Real::to_f64).collect();
            check(&format!("grad.{}", p.name), &values);
        }
        let (evaluation, dalpha) = alpha_gradient(at, valid);
        check("loss_valid", &[evaluation.loss]);
        check("dalpha.normal", dalpha.of(0));
        check("dalpha.reduce", dalpha.of(1));
        let (evaluation, together, dw_again) = both_gradients(at, train);
        check("loss_train", &[evaluation.loss]);
        assert!(dw_again.iter().zip(&dw).all(|(a, b)| a.to_f64() == b.to_f64()), "one tape or two, the same bits");
        assert_eq!(together.of(0).len(), dalpha.of(0).len());

        let hessian = AlphaHessian::new(at, valid);
        // In double precision a column is a second or two of what has no kernels, and on a software driver so is one of a space
        // of many operations: products with a few dense vectors see every entry as well. The smallest space has all of its columns.
        let is_small = self.meta["space"] == "tiny";
        let has_kernels = size_of::<R>() == size_of::<f32>() && (engine.is_cpu() || n <= 84);
        if is_small || has_kernels || std::env::var_os("RDARTS_GOLDEN").is_some() {
            check("hessian", &hessian.full().values);
        } else {
            let mut stream = Stream::new(1, "products", 0);
            let exact = self.hessian(n);
            for at in 0..4 {
                let v: Vec<f64> = (0..n).map(|_| stream.normal()).collect();
                let inner = |row: &[f64]| row.iter().zip(&v).map(|(h, v)| h * v).sum::<f64>();
                let expected: Vec<f64> = exact.chunks(n).map(inner).collect();
                products.push((format!("hessian product {at}"), error(&hessian.apply(&v), &expected)));
            }
        }

        let step = InnerStep { xi: self.number("xi"), l2: self.number("l2"), momentum: 0.0, buffer: None };
        let (_, unrolled) = unrolled_gradient(at, train, valid, step);
        check("unrolled.normal", unrolled.of(0));
        check("unrolled.reduce", unrolled.of(1));
        errors.extend(products);
        errors
    }
}

/// The largest difference in units of the largest entry.
fn error(got: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let largest = expected.iter().fold(0f64, |m, v| m.max(v.abs()));
    let difference = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(got.iter().all(|v| v.is_finite()), "not a number among the results");
    difference / largest.max(f64::MIN_POSITIVE)
}
