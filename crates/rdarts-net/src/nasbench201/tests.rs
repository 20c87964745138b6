//! The network is held to published counts, to slopes, and to what its norms should do.

use rdarts_rng::Stream;

use super::*;
use crate::discrete::DiscreteSpec;
use crate::partial::tests::{N, SIDE, alphas, batch, check_unrolled, example};
use crate::{AlphaHessian, Alphas, Engine, Evaluator, Point};
use crate::{alpha_gradient, both_gradients, forward, training_gradient};

fn supernet(cells: usize, c: usize) -> Network {
    let space = Space::builtin("nasbench201").unwrap();
    Network::nas_bench_201(&NasBench201Spec {
        edges: Edges::Mixed(&space),
        cells,
        reductions: &SupernetSpec::default_reductions(cells),
        c,
        c_image: 3,
        classes: 5,
    })
}

fn discrete(text: &str, cells: usize, c: usize, classes: usize) -> Network {
    let genotype = text.parse().unwrap();
    Network::discrete(&DiscreteSpec {
        genotype,
        cells,
        reductions: Vec::new(),
        c,
        c_image: 3,
        classes,
        auxiliary: false,
    })
}

fn all(op: &str) -> String {
    format!("|{op}~0|+|{op}~0|{op}~1|+|{op}~0|{op}~1|{op}~2|")
}

const MANY: &str = "|nor_conv_1x1~0|+|avg_pool_3x3~0|nor_conv_3x3~1|+|skip_connect~0|none~1|nor_conv_3x3~2|";

/// The smallest and the largest network of the benchmark for CIFAR-10: 0.073306 and 1.531546 million weights, 7.78 and 220.12
/// million multiply-adds (Dong et al. 2021, table 2 and the files of the benchmark).
#[test]
fn counts_are_those_of_the_benchmark() {
    for (op, n_weights, macs) in [("skip_connect", 73_306, 7.78), ("nor_conv_3x3", 1_531_546, 220.12)] {
        let net = discrete(&all(op), 17, 16, 10);
        let counted = net.forward_cost(1, [32, 32]).macs as f64 / 1e6;
        // They count a multiply-add for each value of a norm and of a pool too.
        assert_eq!(net.n_parameters(), n_weights, "{op}");
        assert!((counted - macs).abs() < 0.03 * macs, "{op}: {counted} for {macs}");
    }
}

/// As in PyTorch, the classifier of a network of layers begins with a bias too.
#[test]
fn fresh_classifiers_have_a_bias() {
    let space = rdarts_space::Space::builtin("s2").unwrap();
    let partial = crate::PartialSpec { supernet: crate::SupernetSpec::from_space(&space, 3, 4, 3, 5), share: 2 };
    for net in [supernet(3, 4), discrete(MANY, 3, 4, 5), Network::partial(&partial)] {
        let flat = net.init(1);
        let named = |name: &str| net.weights().iter().find(|p| p.name == name).unwrap();
        let (weight, bias) = (named("classifier.weight"), named("classifier.bias"));
        let bound = 1.0 / (weight.kind.fan_in() as f32).sqrt();
        let values = &flat[bias.offset..bias.offset + bias.kind.len()];
        assert!(values.iter().all(|v| *v != 0.0 && v.abs() <= bound), "{values:?} of {bound}");
    }
}

#[test]
fn names_and_sizes_are_those_of_the_authors() {
    let net = supernet(3, 4);
    let kind = |net: &Network, name: &str| {
        net.weights().iter().find(|w| w.name == name).map(|weight| weight.kind.torch_shape())
    };
    assert_eq!(net.n_alphas(), [30, 0]);
    assert_eq!(kind(&net, "stem.0.weight"), Some(vec![4, 3, 3, 3]));
    assert_eq!(kind(&net, "cells.0.edges.2<-1.3.op.1.weight"), Some(vec![4, 4, 3, 3]));
    assert_eq!(kind(&net, "cells.0.edges.3<-2.2.op.1.weight"), Some(vec![4, 4, 1, 1]));
    assert_eq!(kind(&net, "cells.1.conv_a.op.1.weight"), Some(vec![8, 4, 3, 3]));
    assert_eq!(kind(&net, "cells.1.conv_b.op.2.weight"), Some(vec![8]));
    assert_eq!(kind(&net, "cells.2.downsample.1.weight"), Some(vec![16, 8, 1, 1]));
    assert_eq!(kind(&net, "lastact.0.bias"), Some(vec![16]));
    assert_eq!(kind(&net, "classifier.weight"), Some(vec![5, 16]));
    assert!(net.norms().is_empty());
    let net = discrete(MANY, 3, 4, 5);
    assert_eq!(kind(&net, "cells.0.layers.0.op.1.weight"), Some(vec![4, 4, 1, 1]));
    assert_eq!(kind(&net, "cells.0.layers.5.op.2.weight"), Some(vec![4]));
    let norms: Vec<&str> = net.norms().iter().map(|norm| norm.name.as_str()).collect();
    assert_eq!(norms[..3], ["stem.1", "cells.0.layers.0.op.2", "cells.0.layers.2.op.2"]);
    assert!(norms.contains(&"cells.2.conv_a.op.2") && norms.contains(&"lastact.0"));
    assert_eq!(net.n_running(), net.norms().iter().map(|norm| 2 * norm.c).sum::<usize>());
}

#[test]
fn gradients_and_products_of_the_supernet_are_slopes() {
    let net = supernet(5, 3);
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
        assert!((found - slope).abs() < 1e-4 * slope.abs().max(1e-2), "{what}: {found} for {slope}");
    };
    let loss = |by: f64| forward(Point { alphas: &moved(by), ..at }, batch(&images)).loss;
    close("alphas", inner(&gradient.flat(), &v), (loss(h) - loss(-h)) / (2.0 * h));
    let loss = |by: f64| {
        let weights: Vec<f64> = weights.iter().zip(&w).map(|(a, b)| a + by * b).collect();
        forward(Point { weights: &weights[..], ..at }, batch(&images)).loss
    };
    close("weights", inner(&of_weights, &w), (loss(1e-7) - loss(-1e-7)) / 2e-7);
    let of = |by: f64| alpha_gradient(Point { alphas: &moved(by), ..at }, batch(&images)).1.flat();
    let product = AlphaHessian::new(at, batch(&images)).apply(&v);
    let (plus, minus) = (of(h), of(-h));
    let largest = product.iter().fold(0f64, |m, v| m.max(v.abs()));
    for (i, product) in product.iter().enumerate() {
        let slope = (plus[i] - minus[i]) / (2.0 * h);
        assert!((product - slope).abs() < 1e-4 * largest, "entry {i} is {product}, not {slope}");
    }
    assert_eq!(AlphaHessian::new(at, batch(&images)).full().n, 30);
}

#[test]
fn the_unrolled_step_is_a_slope() {
    check_unrolled(&supernet(3, 3));
}

/// With scales of one and shifts of zero it computes what the supernet does where its operations have weight one.
#[test]
fn a_discrete_network_is_a_part_of_the_supernet() {
    let (net, whole) = (discrete(MANY, 3, 4, 5), supernet(3, 4));
    let (weights, images) = example(&whole);
    let mut own: Vec<f64> = net.init(1).into_iter().map(f64::from).collect();
    // The operations of MANY among the five of each edge.
    for (edge, (name, op)) in
        [("1<-0", 2), ("2<-0", 4), ("2<-1", 3), ("3<-0", 1), ("3<-1", 0), ("3<-2", 3)].iter().enumerate()
    {
        for weight in net.weights().iter().filter(|weight| weight.name.contains(&format!("layers.{edge}.op.1"))) {
            let theirs = weight.name.replace(&format!("layers.{edge}."), &format!("edges.{name}.{op}."));
            let (values, shape) = whole.read(&weights, &theirs).unwrap();
            net.write(&mut own, &weight.name, &values, &shape).unwrap();
        }
    }
    for weight in net.weights().iter().filter(|weight| !weight.name.contains("layers.")) {
        let (values, shape) = whole.read(&weights, &weight.name).unwrap();
        net.write(&mut own, &weight.name, &values, &shape).unwrap();
    }
    let space = Space::builtin("nasbench201").unwrap();
    let (chosen, _) = rdarts_space::selection(&space, &MANY.parse().unwrap()).unwrap();
    let one_hot = |op: &Option<usize>| (0..5).map(|i| f64::from(u8::from(Some(i) == *op))).collect::<Vec<f64>>();
    let p = Alphas::from([chosen.iter().flat_map(one_hot).collect(), Vec::new()]);
    let engine = Engine::cpu();
    let theirs = Evaluator::mixed(&whole, &engine, &weights[..], &p).evaluate(batch(&images));
    let ours = training_gradient(&net, &engine, &own[..], batch(&images), 0.0).evaluation;
    let off = ours.outputs.iter().zip(&theirs.outputs).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(off < 1e-10, "{off:.1e}");
}

#[test]
fn a_training_step_has_slopes_and_leaves_the_statistics_that_evaluation_uses() {
    for text in [MANY, &all("none"), &all("nor_conv_3x3")] {
        let net = discrete(text, 3, 4, 5);
        let (weights, images) = example(&net);
        let engine = Engine::cpu();
        let made = training_gradient(&net, &engine, &weights[..], batch(&images), 0.0);
        let mut s = Stream::new(9, "test", 0);
        let v: Vec<f64> = weights.iter().map(|_| s.normal()).collect();
        let loss = |by: f64| {
            let weights: Vec<f64> = weights.iter().zip(&v).map(|(a, b)| a + by * b).collect();
            training_gradient(&net, &engine, &weights[..], batch(&images), 0.0).evaluation.loss
        };
        let slope = (loss(1e-7) - loss(-1e-7)) / 2e-7;
        let found: f64 = made.weights.iter().zip(&v).map(|(g, v)| g * v).sum();
        assert!((found - slope).abs() < 1e-4 * slope.abs().max(1e-2), "{text}: {found} for {slope}");

        // Biased variances of the batch as running ones make the batch's own outputs.
        assert_eq!(made.statistics.len(), net.n_running());
        let mut running = made.statistics.clone();
        for norm in net.norms() {
            let pixels = pixels_of(&norm.name) as f64;
            running[norm.offset + norm.c..][..norm.c].iter_mut().for_each(|v| *v *= (pixels - 1.0) / pixels);
        }
        let evaluator = Evaluator::discrete(&net, &engine, &weights[..], &running);
        let outputs = evaluator.outputs(&images, N, SIDE);
        let off = outputs.iter().zip(&made.evaluation.outputs).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(off < 1e-9, "{text}: {off:.1e}");
    }
}

/// Pixels over which a norm takes its statistics: cell 0 is a normal one, 1 and 2 halve the size.
fn pixels_of(name: &str) -> usize {
    let halvings = match name {
        name if name.starts_with("cells.1.") => 1,
        name if name.starts_with("cells.2.") || name.starts_with("lastact") => 2,
        _ => 0,
    };
    (N * SIDE[0] * SIDE[1]) >> (2 * halvings)
}
