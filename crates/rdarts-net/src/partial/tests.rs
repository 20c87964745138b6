//! The network is held to the fused supernet, to slopes, and to its own numbers of channels.

use rdarts_rng::Stream;
use rdarts_space::Space;

use super::*;
use crate::{AlphaHessian, Alphas, Batch, Engine, InnerStep, Point, Targets};
use crate::{alpha_gradient, both_gradients, forward, forward_mixed, unrolled_gradient, weight_gradient_mixed};

fn spec(space: &str, c: usize, share: usize) -> PartialSpec {
    let space = Space::builtin(space).unwrap();
    PartialSpec { supernet: SupernetSpec::from_space(&space, 3, c, 3, 5), share }
}

pub(crate) const N: usize = 3;
pub(crate) const SIDE: [usize; 2] = [8, 12];

/// Weights of a network, moved away from their first values, and images.
pub(crate) fn example(net: &Network) -> (Vec<f64>, Vec<f64>) {
    let mut s = Stream::new(3, "test", 0);
    let mut weights: Vec<f64> = net.init(5).into_iter().map(f64::from).collect();
    weights.iter_mut().for_each(|w| *w += 0.05 * s.normal());
    let images = (0..N * SIDE[0] * SIDE[1] * 3).map(|_| s.uniform() - 0.4).collect();
    (weights, images)
}

pub(crate) fn alphas(net: &Network) -> Alphas {
    let mut s = Stream::new(4, "test", 0);
    net.n_alphas().into_iter().map(|n| (0..n).map(|_| 0.5 * s.normal()).collect()).collect()
}

pub(crate) fn batch(images: &[f64]) -> Batch<'_, f64> {
    Batch { images: images.into(), side: SIDE, targets: Targets::Labels(&[0, 3, 4]), noise: &[] }
}

#[test]
fn of_all_channels_it_is_the_fused_supernet() {
    for name in ["darts", "s1", "s3"] {
        let spec = spec(name, 4, 1);
        let (partial, fused) = (Network::partial(&spec), Network::supernet(spec.supernet));
        let (weights, images) = example(&partial);
        let mut same = vec![0.0; fused.n_parameters()];
        for weight in fused.weights() {
            let (values, shape) = partial.read(&weights, &weight.name).unwrap();
            fused.write(&mut same, &weight.name, &values, &shape).unwrap();
        }
        assert_eq!(fused.n_parameters(), partial.n_parameters(), "{name}");
        // Edges that are summed as they are.
        let mut p = alphas(&partial).softmax(&partial);
        p.each_mut()[2..].iter_mut().for_each(|edges| edges.fill(1.0));
        let engine = Engine::cpu();
        let ours = forward_mixed(&partial, &engine, &weights[..], &p, batch(&images));
        let p: Alphas = p.each()[..2].iter().cloned().collect();
        let theirs = forward_mixed(&fused, &engine, &same[..], &p, batch(&images));
        let off = ours.outputs.iter().zip(&theirs.outputs).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(off < 1e-10 && (ours.loss - theirs.loss).abs() < 1e-10, "{name}: {off:.1e}");
    }
}

#[test]
fn a_part_of_the_channels_has_a_part_of_the_weights() {
    let net = Network::partial(&spec("s2", 16, 4));
    let kind = |name: &str| net.weights().iter().find(|w| w.name == name).unwrap().kind.torch_shape();
    assert_eq!(kind("cells.0._ops.0._ops.1.op.1.weight"), [4, 1, 3, 3]);
    assert_eq!(kind("cells.2._ops.0._ops.0.conv_2.weight"), [8, 16, 1, 1]);
    assert_eq!(kind("cells.2.preprocess0.conv_1.weight"), [32, 64, 1, 1]);
    assert_eq!(net.n_alphas(), [28, 28, 14, 14]);
    let refused = |space: &str, c, share| spec(space, c, share).check().unwrap_err();
    assert_eq!(refused("s2", 6, 4), "6 channels cannot be divided into 4 equal parts");
    assert_eq!(refused("s4", 8, 4), "a supernet of partial channels has no operation noise");
}

#[test]
fn gradients_and_products_of_alphas_and_betas_are_slopes() {
    for name in ["darts", "s1"] {
        let net = Network::partial(&spec(name, 4, 2));
        let (weights, images) = example(&net);
        let (alphas, engine) = (alphas(&net), Engine::cpu());
        let at = Point { net: &net, engine: &engine, weights: &weights[..], alphas: &alphas };
        let (_, gradient, of_weights) = both_gradients(at, batch(&images));
        let mut s = Stream::new(9, "test", 0);
        let v: Vec<f64> = gradient.flat().iter().map(|_| s.normal()).collect();
        let w: Vec<f64> = weights.iter().map(|_| s.normal()).collect();
        let direction = Alphas::from_flat(&net, &v);
        let h = 1e-6;
        let moved = |by: f64| alphas.combined(1.0, &direction, by);
        let inner = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let close = |what: &str, found: f64, slope: f64| {
            assert!((found - slope).abs() < 1e-4 * slope.abs().max(1e-2), "{name}, {what}: {found} for {slope}");
        };
        // Along all alphas and betas, and along each of the four lists.
        for list in 0..5 {
            let only = |at: usize, v: &Vec<f64>| if list == 4 || at == list { v.clone() } else { vec![0.0; v.len()] };
            let direction: Alphas = direction.each().iter().enumerate().map(|(at, v)| only(at, v)).collect();
            let loss = |by: f64| {
                let alphas = alphas.combined(1.0, &direction, by);
                forward(Point { alphas: &alphas, ..at }, batch(&images)).loss
            };
            let slope = (loss(h) - loss(-h)) / (2.0 * h);
            close("gradient", inner(&gradient.flat(), &direction.flat()), slope);
            assert!(slope.abs() > 1e-6, "list {list} has no part in the loss");
        }
        let loss = |by: f64| {
            let weights: Vec<f64> = weights.iter().zip(&w).map(|(a, b)| a + by * b).collect();
            forward(Point { weights: &weights[..], ..at }, batch(&images)).loss
        };
        close("weights", inner(&of_weights, &w), (loss(1e-7) - loss(-1e-7)) / 2e-7);
        // The Hessian, entry by entry.
        let of = |by: f64| alpha_gradient(Point { alphas: &moved(by), ..at }, batch(&images)).1.flat();
        let product = AlphaHessian::new(at, batch(&images)).apply(&v);
        let (plus, minus) = (of(h), of(-h));
        let largest = product.iter().fold(0f64, |m, v| m.max(v.abs()));
        for (i, product) in product.iter().enumerate() {
            let slope = (plus[i] - minus[i]) / (2.0 * h);
            assert!((product - slope).abs() < 1e-4 * largest, "{name}: entry {i} is {product}, not {slope}");
        }
        let hessian = AlphaHessian::new(at, batch(&images));
        let full = hessian.full();
        let by_columns: Vec<f64> =
            (0..v.len()).map(|i| (0..v.len()).map(|j| full.values[i * v.len() + j] * v[j]).sum()).collect();
        for (a, b) in by_columns.iter().zip(&product) {
            assert!((a - b).abs() < 1e-9 * largest.max(1.0), "{name}: {a} and {b}");
        }
    }
}

#[test]
fn the_unrolled_step_is_a_slope() {
    check_unrolled(&Network::partial(&spec("s3", 4, 4)));
}

/// The gradient of the unrolled step is the slope of the loss behind the step.
pub(crate) fn check_unrolled(net: &Network) {
    let (weights, images) = example(net);
    let (alphas, engine) = (alphas(net), Engine::cpu());
    let other: Vec<f64> = images.iter().rev().copied().collect();
    let step = InnerStep { xi: 0.05, l2: 3e-4, momentum: 0.0, buffer: None };
    let at = Point { net, engine: &engine, weights: &weights[..], alphas: &alphas };
    let (_, gradient) = unrolled_gradient(at, batch(&images), batch(&other), step);
    let mut s = Stream::new(9, "test", 0);
    let v: Alphas = alphas.each().iter().map(|list| list.iter().map(|_| s.normal()).collect()).collect();
    let loss = |by: f64| {
        let moved = alphas.combined(1.0, &v, by);
        let at = Point { alphas: &moved, ..at };
        let p = moved.softmax(net);
        let (_, of_train) = weight_gradient_mixed(net, &engine, &weights[..], &p, batch(&images));
        let stepped: Vec<f64> = weights.iter().zip(of_train).map(|(w, g)| w - step.xi * (g + step.l2 * w)).collect();
        forward(Point { weights: &stepped[..], ..at }, batch(&other)).loss
    };
    let slope = (loss(1e-6) - loss(-1e-6)) / 2e-6;
    let found: f64 = gradient.flat().iter().zip(v.flat()).map(|(g, v)| g * v).sum();
    assert!((found - slope).abs() < 1e-4 * slope.abs(), "{found} for {slope}");
}
