//! Second derivatives of whole supernets in double precision against central differences of first ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rdarts_kernels::spec::CellNoise;
use rdarts_net::{
    AlphaHessian, Alphas, Batch, Engine, InnerStep, Network, PUBLISHED_RADIUS, Point, SupernetSpec, Targets,
    alpha_gradient, forward, mixed_hvp, unrolled_gradient, unrolled_gradient_difference, weight_gradient,
};
use rdarts_rng::Stream;

/// A supernet with ragged edges on odd images, with drop path and noise.
struct Case {
    net: Network,
    engine: Engine,
    weights: Vec<f64>,
    alphas: Alphas,
    images: [Vec<f64>; 2],
    labels: [Vec<u32>; 2],
    noise: Vec<Arc<CellNoise>>,
    stream: Stream,
}

const N: usize = 4;
const SIDE: [usize; 2] = [7, 9];

impl Case {
    fn new(reductions: Vec<usize>, seed: u64) -> Self {
        use rdarts_space::Op::{
            AvgPool3x3, Conv7x1_1x7, DilConv3x3, DilConv5x5, MaxPool3x3, Noise, None, SepConv3x3, SepConv5x5,
            SkipConnect,
        };
        let net = Network::supernet(SupernetSpec {
            cells: 3,
            c: 3,
            stem_multiplier: 2,
            reductions,
            nodes: 2,
            normal: vec![
                vec![SepConv3x3, SkipConnect],
                vec![MaxPool3x3],
                vec![None, DilConv3x3, Noise],
                vec![AvgPool3x3, SkipConnect],
                vec![SepConv3x3, Conv7x1_1x7],
            ],
            reduce: vec![
                vec![SkipConnect, AvgPool3x3, MaxPool3x3],
                vec![SepConv5x5, DilConv5x5],
                vec![Conv7x1_1x7, Noise],
                vec![SkipConnect, None],
                vec![SkipConnect, SepConv3x3],
            ],
            c_image: 2,
            classes: 3,
        });
        let mut stream = Stream::new(seed, "test", 0);
        let mut normals = |n: usize, scale: f64| -> Vec<f64> { (0..n).map(|_| scale * stream.normal()).collect() };
        let [normal, reduce] = net.n_alphas()[..] else { unreachable!("a supernet has two types of cells") };
        let alphas = Alphas::from([normals(normal, 0.5), normals(reduce, 0.5)]);
        let images = [0; 2].map(|_| normals(N * SIDE[0] * SIDE[1] * 2, 1.0));
        let noise = (0..3)
            .map(|i| {
                let drop_path = (0..5 * N).map(|k| if (k + i) % 4 == 0 { 0.0 } else { 4.0 / 3.0 }).collect();
                Arc::new(CellNoise { drop_path, noise_key: i as u64 })
            })
            .collect();
        let weights = net.init(seed).into_iter().map(f64::from).collect();
        let labels = [vec![0, 1, 2, 1], vec![2, 2, 0, 1]];
        Self { net, engine: Engine::cpu(), weights, alphas, images, labels, noise, stream }
    }

    fn at<'a>(&'a self, weights: &'a [f64], alphas: &'a Alphas) -> Point<'a, [f64]> {
        Point { net: &self.net, engine: &self.engine, weights, alphas }
    }

    fn here(&self) -> Point<'_, [f64]> {
        self.at(&self.weights, &self.alphas)
    }

    fn batch(&self, i: usize) -> Batch<'_, f64> {
        Batch {
            images: (&self.images[i]).into(),
            side: SIDE,
            targets: Targets::Labels(&self.labels[i]),
            noise: &self.noise,
        }
    }

    fn direction(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.stream.normal()).collect()
    }

    fn n_alphas(&self) -> usize {
        self.net.n_alphas().iter().sum()
    }

    fn alphas_along(&self, h: f64, v: &[f64]) -> Alphas {
        let flat: Vec<f64> = self.alphas.flat().iter().zip(v).map(|(a, v)| a + h * v).collect();
        Alphas::from_flat(&self.net, &flat)
    }

    fn weights_along(&self, h: f64, v: &[f64]) -> Vec<f64> {
        self.weights.iter().zip(v).map(|(w, v)| w + h * v).collect()
    }
}

/// Small enough not to cross a kink of relu, large enough for double precision.
const H: f64 = 1e-6;

fn central(up: Vec<f64>, down: Vec<f64>) -> Vec<f64> {
    up.iter().zip(&down).map(|(a, b)| (a - b) / (2.0 * H)).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn assert_close(got: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    let largest = expected.iter().fold(0f64, |m, v| m.max(v.abs()));
    let difference = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert_eq!(got.len(), expected.len());
    assert!(largest > 1e-5, "{what}: a comparison of zeros");
    assert!(difference < tolerance * largest, "{what}: off by {difference:.2e} of {largest:.2e}");
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let mut case = Case::new(vec![1], 1);
    let (v, u) = (case.direction(case.n_alphas()), case.direction(case.net.n_parameters()));
    let (up, down) = (case.alphas_along(H, &v), case.alphas_along(-H, &v));
    let loss = |weights: &[f64], alphas: &Alphas| vec![forward(case.at(weights, alphas), case.batch(0)).loss];
    let fd = central(loss(&case.weights, &up), loss(&case.weights, &down));
    let (evaluation, gradient) = alpha_gradient(case.here(), case.batch(0));
    assert_close(&[dot(&gradient.flat(), &v)], &fd, 1e-6, "alpha gradient");
    assert_eq!(evaluation, forward(case.here(), case.batch(0)), "with or without a tape");

    let (up, down) = (case.weights_along(H, &u), case.weights_along(-H, &u));
    let fd = central(loss(&up, &case.alphas), loss(&down, &case.alphas));
    let (_, gradient) = weight_gradient(case.here(), case.batch(0));
    assert_close(&[dot(&gradient, &u)], &fd, 1e-6, "weight gradient");
}

#[test]
fn the_hessian_is_symmetric_and_its_products_are_those_of_finite_differences() {
    let mut case = Case::new(vec![1], 2);
    let (n, v) = (case.n_alphas(), case.direction(case.n_alphas()));
    let hessian = AlphaHessian::new(case.here(), case.batch(1));
    assert_eq!(hessian.n(), n);
    assert_eq!(hessian.evaluation().loss, forward(case.here(), case.batch(1)).loss);
    let hv = hessian.apply(&v);
    let gradient = |alphas: &Alphas| alpha_gradient(case.at(&case.weights, alphas), case.batch(1)).1.flat();
    let fd = central(gradient(&case.alphas_along(H, &v)), gradient(&case.alphas_along(-H, &v)));
    assert_close(&hv, &fd, 1e-6, "Hessian product");

    let full = hessian.full();
    let largest = full.values.iter().fold(0f64, |m, v| m.max(v.abs()));
    assert!(full.asymmetry < 1e-13 * largest.max(1.0), "asymmetry {}", full.asymmetry);
    for i in 0..n {
        assert!((0..n).all(|j| full.values[i * n + j] == full.values[j * n + i]));
    }
    let product: Vec<f64> = full.values.chunks(n).map(|row| dot(row, &v)).collect();
    assert_close(&hv, &product, 1e-12, "product with the full matrix");
}

#[test]
fn a_network_without_reduction_cells_has_no_curvature_in_their_alphas() {
    let case = Case::new(vec![], 3);
    let normal = case.alphas.of(0).len();
    let (_, gradient) = alpha_gradient(case.here(), case.batch(0));
    assert!(gradient.of(1).iter().all(|&g| g == 0.0));
    assert!(gradient.of(0).iter().any(|&g| g.abs() > 1e-4));
    let full = AlphaHessian::new(case.here(), case.batch(0)).full();
    for (i, row) in full.values.chunks(full.n).enumerate() {
        assert!(row[normal..].iter().all(|&h| h == 0.0));
        assert!(i < normal || row.iter().all(|&h| h == 0.0));
    }
    assert!(full.values.iter().any(|h| h.abs() > 1e-4));
}

#[test]
fn the_mixed_product_is_that_of_finite_differences() {
    let mut case = Case::new(vec![1, 2], 4);
    let v = case.direction(case.net.n_parameters());
    let mixed = mixed_hvp(case.here(), case.batch(0), &v).flat();
    let gradient = |h: f64| {
        let weights = case.weights_along(h, &v);
        alpha_gradient(case.at(&weights, &case.alphas), case.batch(0)).1.flat()
    };
    assert_close(&mixed, &central(gradient(H), gradient(-H)), 1e-5, "mixed product");
}

#[test]
fn the_unrolled_gradient_is_that_of_the_loss_after_the_step() {
    let mut case = Case::new(vec![1], 5);
    let buffer: Vec<f64> = case.direction(case.net.n_parameters()).iter().map(|b| 0.1 * b).collect();
    let step = InnerStep { xi: 0.1, l2: 1e-2, momentum: 0.9, buffer: Some((&buffer).into()) };
    let loss_after = |alphas: &Alphas| {
        let (_, g) = weight_gradient(case.at(&case.weights, alphas), case.batch(0));
        let moved: Vec<f64> =
            (0..g.len()).map(|i| case.weights[i] - 0.1 * (0.9 * buffer[i] + g[i] + 1e-2 * case.weights[i])).collect();
        forward(case.at(&moved, alphas), case.batch(1)).loss
    };
    let (evaluation, exact) = unrolled_gradient(case.here(), case.batch(0), case.batch(1), step);
    assert!((evaluation.loss - loss_after(&case.alphas)).abs() < 1e-12);
    let n = case.n_alphas();
    let unit = |i: usize| (0..n).map(|j| if i == j { 1.0 } else { 0.0 }).collect::<Vec<f64>>();
    let fd: Vec<f64> = (0..n)
        .map(|i| {
            let (up, down) = (case.alphas_along(H, &unit(i)), case.alphas_along(-H, &unit(i)));
            (loss_after(&up) - loss_after(&down)) / (2.0 * H)
        })
        .collect();
    assert_close(&exact.flat(), &fd, 1e-5, "unrolled gradient");

    // Finite differences of the mixed product approach the exact one as their radius shrinks.
    let (_, first_order) = alpha_gradient(case.here(), case.batch(1));
    let gap =
        |a: &Alphas| -> f64 { a.flat().iter().zip(exact.flat()).map(|(a, e)| (a - e).powi(2)).sum::<f64>().sqrt() };
    let [wide, narrow] = [PUBLISHED_RADIUS, 1e-6]
        .map(|radius| gap(&unrolled_gradient_difference(case.here(), case.batch(0), case.batch(1), step, radius).1));
    println!(
        "distance from the exact unrolled gradient: first order {:.1e}, published {wide:.1e}, narrow {narrow:.1e}",
        gap(&first_order)
    );
    assert!(narrow < 1e-6 * gap(&first_order));
}

#[test]
fn a_stopped_product_computes_nothing_more() {
    let case = Case::new(vec![1], 5);
    let narrow = |v: &[f64]| v.iter().map(|v| *v as f32).collect::<Vec<f32>>();
    let (weights, images) = (narrow(&case.weights), narrow(&case.images[0]));
    let at = Point { net: &case.net, engine: &case.engine, weights: &weights, alphas: &case.alphas };
    let batch =
        Batch { images: (&images).into(), side: SIDE, targets: Targets::Labels(&case.labels[0]), noise: &case.noise };
    let stop = AtomicBool::new(false);
    let hessian = AlphaHessian::until(at, batch, &stop);
    let v: Vec<f64> = (0..hessian.n()).map(|i| if i == 0 { 1.0 } else { 0.0 }).collect();
    assert!(hessian.apply(&v).iter().any(|h| *h != 0.0));
    stop.store(true, Ordering::Relaxed);
    assert_eq!(hessian.full().n_products, 0);
    // Stopped before the way back of its loss: no product may ask for what that leaves.
    assert_eq!(AlphaHessian::until(at, batch, &stop).apply(&v).len(), hessian.n());
}
