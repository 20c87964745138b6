//! The networks are held to the published numbers of parameters, to slopes, and to each other.

use rdarts_kernels::dense::Shape;

use super::*;
use crate::graph::Module;
use crate::{AlphaHessian, Alphas, Batch, Engine, InnerStep, Point, Targets, Truth};
use crate::{alpha_gradient, both_gradients, forward, unrolled_gradient, weight_gradient_mixed};

/// In millions.
fn parameters(genotype: &str, c: usize, stem: usize) -> f64 {
    let genotype: DisparityGenotype = genotype.parse().unwrap();
    Network::disparity(&DisparitySpec::training(genotype, c, stem, 40)).n_parameters() as f64 / 1e6
}

/// A cell written shortly: s, k, p for sep_conv_3x3, skip_connect, max_pool_3x3, then the state.
fn short(normal: &str, reduce: &str, upsample: &str) -> String {
    let list = |text: &str| {
        let entry = |entry: &str| {
            let op = match &entry[..1] {
                "s" => "sep_conv_3x3",
                "k" => "skip_connect",
                _ => "max_pool_3x3",
            };
            format!("('{op}', {})", &entry[1..])
        };
        text.split(' ').map(entry).collect::<Vec<_>>().join(", ")
    };
    format!("Genotype(normal=[{}], reduce=[{}], upsample=[{}])", list(normal), list(reduce), list(upsample))
}

#[test]
fn the_published_networks_have_their_published_numbers_of_parameters() {
    let released = DisparityGenotype::autodispnet().to_string();
    let close = |found: f64, expected: f64| assert!((found - expected).abs() < 0.005, "{found} for {expected}");
    close(parameters(&released, 42, 64), 36.99);
    close(parameters(&released, 18, 36), 6.93);
    // Table 2 of Zela et al. and its figures 25 to 28: augmentation 2.0, L2 3e-4, L2 81e-4.
    let of = |normal, reduce, upsample| parameters(&short(normal, reduce, upsample), 24, 48);
    close(of("s0 k1 s0 s2 s0 k1", "k0 s1 k0 s2 s3 s2", "s0 s3 k1 s2 k0 s4 s5 s4"), 12.256);
    close(of("s0 s1 s0 s2 s3 s2", "s0 k1 s0 s2 s3 s2", "s2 s0 s1 k3 s4 k3 s4 k3"), 11.001);
    close(of("s0 s1 s2 s1 s0 s3", "k0 p1 s2 k1 s2 s3", "s3 s2 k0 s1 s4 s3 s5 s1"), 12.162);
}

#[test]
fn predictions_lie_at_their_scales_and_sides_that_do_not_fit_are_refused() {
    let spec = DisparitySpec::search(DisparitySpace::builtin("autodispnet").unwrap(), 4, 64);
    assert_eq!((spec.displacement, spec.stride()), (2, 32));
    assert_eq!(spec.levels().iter().map(|level| level.scale).collect::<Vec<_>>(), [32, 16, 8, 4]);
    let net = Network::disparity(&spec);
    let shapes = net.layer_shapes(Shape { n: 2, h: 32, w: 64, c: 6 });
    assert_eq!(shapes[net.output_node()].c, 2 + 8 + 32 + 128);
    assert_eq!(net.n_alphas(), [9 * 8, 9 * 8, 15 * 8]);
    assert!(spec.check_side([32, 64]).is_ok());
    assert!(spec.check_side([32, 48]).unwrap_err().contains("48 x 32 pixels, but this network needs multiples of 32"));
    // An architecture whose cells leave an input alone.
    let one_sided = short("s0 k0 s0 s2 s0 k0", "k0 s0 k0 s2 s3 s2", "s3 s3 k3 s3 k0 s4 s5 s4");
    let spec = DisparitySpec::training(one_sided.parse().unwrap(), 4, 4, 2);
    assert!(Network::disparity(&spec).try_layer_shapes(Shape { n: 1, h: 64, w: 128, c: 6 }).is_ok());
}

/// A supernet with weights, alphas, images and truth of a fixed sequence.
fn example(space: &str) -> (Network, Vec<f64>, Alphas, Vec<f64>, Truth) {
    let spec = DisparitySpec::search(DisparitySpace::builtin(space).unwrap(), 2, 64);
    let net = Network::disparity(&spec);
    let mut s = rdarts_rng::Stream::new(3, "test", 0);
    let mut weights: Vec<f64> = net.init(5).into_iter().map(f64::from).collect();
    weights.iter_mut().for_each(|w| *w += 0.05 * s.normal());
    let alphas = net.n_alphas().into_iter().map(|n| (0..n).map(|_| 0.3 * s.normal()).collect()).collect();
    let images = (0..2 * 32 * 64 * 6).map(|_| s.uniform() - 0.4).collect();
    let mut disparity: Vec<f32> = (0..2 * 32 * 64).map(|_| (4.0 * s.uniform()) as f32).collect();
    disparity[..100].fill(f32::NAN);
    (net, weights, alphas, images, Truth { side: [32, 64], disparity, levels: spec.levels() })
}

#[test]
fn gradients_products_and_the_unrolled_step_are_slopes() {
    for space in ["dispnet", "autodispnet"] {
        let (net, weights, alphas, images, truth) = example(space);
        let engine = Engine::cpu();
        let at = Point { net: &net, engine: &engine, weights: &weights[..], alphas: &alphas };
        let batch =
            Batch { images: (&images[..]).into(), side: [32, 64], targets: Targets::Disparity(&truth), noise: &[] };
        let (evaluation, of_alphas, of_weights) = both_gradients(at, batch);
        assert_eq!(forward(at, batch).outputs, evaluation.outputs);
        // Along a direction in alphas and weights.
        let mut s = rdarts_rng::Stream::new(4, "test", 0);
        let v = Alphas::from_flat(&net, &of_alphas.flat().iter().map(|_| s.normal()).collect::<Vec<_>>());
        let u: Vec<f64> = weights.iter().map(|_| 0.1 * s.normal()).collect();
        let moved = |h: f64| {
            let weights: Vec<f64> = weights.iter().zip(&u).map(|(w, u)| w + h * u).collect();
            let alphas = alphas.combined(1.0, &v, h);
            let (evaluation, gradient) = alpha_gradient(Point { weights: &weights[..], alphas: &alphas, ..at }, batch);
            (evaluation.loss, gradient.flat())
        };
        let h = 1e-7;
        let (plus, minus) = (moved(h), moved(-h));
        let slope = (plus.0 - minus.0) / (2.0 * h);
        let inner = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let expected = inner(&of_alphas.flat(), &v.flat()) + inner(&of_weights, &u);
        assert!((slope - expected).abs() < 2e-4 * expected.abs(), "{space}: {slope} for {expected}");
        // Second derivatives: the slope of the gradient of the alphas.
        let hessian = AlphaHessian::new(at, batch);
        let product = Alphas::from_flat(&net, &hessian.apply(&v.flat()));
        let mixed = crate::mixed_hvp(at, batch, &u);
        let expected = product.combined(1.0, &mixed, 1.0).flat();
        let largest = expected.iter().fold(0f64, |m, v| m.max(v.abs()));
        for ((plus, minus), expected) in plus.1.iter().zip(&minus.1).zip(&expected) {
            let slope = (plus - minus) / (2.0 * h);
            assert!((slope - expected).abs() < 1e-3 * largest, "{space}: {slope} for {expected} of {largest}");
        }
        // The mixed product is not so small that the comparison would not see it.
        assert!(mixed.flat().iter().fold(0f64, |m, v| m.max(v.abs())) > 0.05 * largest);
        // Products are symmetric.
        let other: Vec<f64> = v.flat().iter().map(|_| s.normal()).collect();
        let (one, two) = (inner(&hessian.apply(&other), &v.flat()), inner(&product.flat(), &other));
        assert!((one - two).abs() < 1e-10 * one.abs().max(1.0), "{one} {two}");
        // The unrolled step by its definition.
        let step = InnerStep { xi: 0.01, l2: 0.1, momentum: 0.0, buffer: None };
        let (_, unrolled) = unrolled_gradient(at, batch, batch, step);
        let moved: Vec<f64> = weights.iter().zip(&of_weights).map(|(w, g)| w - 0.01 * (g + 0.1 * w)).collect();
        let (_, direct, v) = both_gradients(Point { weights: &moved[..], ..at }, batch);
        let expected = direct.combined(1.0, &crate::mixed_hvp(at, batch, &v), -0.01).flat();
        for (a, b) in unrolled.flat().iter().zip(&expected) {
            assert!((a - b).abs() < 1e-12, "{a} {b}");
        }
    }
}

#[test]
fn single_precision_agrees_and_a_chosen_child_is_the_supernet_with_one_hot_weights() {
    let (net, weights, alphas, images, truth) = example("dispnet");
    let engine = Engine::cpu();
    let narrow = |v: &[f64]| v.iter().map(|v| *v as f32).collect::<Vec<f32>>();
    let (weights32, images32) = (narrow(&weights), narrow(&images));
    let at = Point { net: &net, engine: &engine, weights: &weights[..], alphas: &alphas };
    let at32 = Point { net: &net, engine: &engine, weights: &weights32[..], alphas: &alphas };
    let targets = Targets::Disparity(&truth);
    let batch = Batch { images: (&images[..]).into(), side: [32, 64], targets, noise: &[] };
    let batch32 = Batch { images: (&images32[..]).into(), side: [32, 64], targets, noise: &[] };
    let (wide, narrow) = (alpha_gradient(at, batch), alpha_gradient(at32, batch32));
    assert!((wide.0.loss - narrow.0.loss).abs() < 1e-5);
    let largest = wide.1.flat().iter().fold(0f64, |m, v| m.max(v.abs()));
    for (a, b) in wide.1.flat().iter().zip(narrow.1.flat()) {
        assert!((a - b).abs() < 1e-3 * largest, "{a} {b}");
    }
    // One operation on every edge, on some none.
    let p: Alphas = net
        .n_alphas()
        .into_iter()
        .enumerate()
        .map(|(cell, n)| {
            (0..n).map(|i| f64::from(u8::from(i % 3 == (i / 3 + cell) % 3 && !(i / 3).is_multiple_of(4)))).collect()
        })
        .collect();
    let evaluator = crate::Evaluator::mixed(&net, &engine, &weights, &p);
    let whole = crate::mixing_gradient(&net, &engine, &weights, &p, batch).0;
    let pruned = evaluator.evaluate(batch);
    assert!((whole.loss - pruned.loss).abs() < 1e-12, "{} {}", whole.loss, pruned.loss);
    let (_, of_pruned) = weight_gradient_mixed(&net, &engine, &weights, &p, batch);
    let mut zeros = 0;
    for (parameter, at) in net.weights().iter().map(|parameter| (parameter, parameter.offset)) {
        let part = &of_pruned[at..at + parameter.kind.len()];
        zeros += usize::from(part.iter().all(|g| *g == 0.0));
    }
    assert!(zeros > 50, "{zeros} weight tensors have no part");
}

#[test]
fn a_network_of_an_architecture_is_the_supernet_with_one_hot_weights() {
    let space = DisparitySpace::builtin("autodispnet").unwrap();
    let (net, weights, _, images, truth) = example("autodispnet");
    let engine = Engine::cpu();
    let batch = Batch { images: (&images[..]).into(), side: [32, 64], targets: Targets::Disparity(&truth), noise: &[] };
    for seed in 0..3 {
        let genotype = rdarts_space::disparity::sample(&space, &mut rdarts_rng::Stream::new(seed, "test", 0));
        let spec = DisparitySpec {
            cells: DisparityCells::Chosen(genotype.clone()),
            ..DisparitySpec::search(space.clone(), 2, 64)
        };
        let child = Network::disparity(&spec);
        // Where an entry of the architecture lies in the supernet.
        let place = |cell: DisparityCell, entry: usize| {
            let (node, op, state) = genotype.entries(cell).nth(entry).unwrap();
            let edge = cell.edges().position(|edge| edge == (node, state)).unwrap();
            (edge, space.ops.iter().position(|of| *of == op).unwrap())
        };
        let cells = "RNRNRNUUU".chars().map(|c| match c {
            'N' => DisparityCell::Normal,
            'R' => DisparityCell::Reduce,
            _ => DisparityCell::Upsample,
        });
        let cells: Vec<DisparityCell> = cells.collect();
        let mut own = vec![0.0; child.n_parameters()];
        for parameter in child.weights() {
            let parts: Vec<&str> = parameter.name.split('.').collect();
            let name = match parts[..] {
                ["cells", cell, "_ops", entry, ..] => {
                    let (edge, op) = place(cells[cell.parse::<usize>().unwrap()], entry.parse().unwrap());
                    format!("cells.{cell}._ops.{edge}._ops.{op}.{}", parts[4..].join("."))
                }
                _ => parameter.name.clone(),
            };
            let (values, shape) = net.read(&weights, &name).unwrap();
            child.write(&mut own, &parameter.name, &values, &shape).unwrap();
        }
        let p: Alphas = DisparityCell::ALL
            .into_iter()
            .map(|cell| {
                let mut p = vec![0.0; cell.n_edges() * space.ops.len()];
                for entry in 0..genotype.cell(cell).len() {
                    let (edge, op) = place(cell, entry);
                    p[edge * space.ops.len() + op] = 1.0;
                }
                p
            })
            .collect();
        let expected = crate::Evaluator::mixed(&net, &engine, &weights, &p).evaluate(batch);
        let none = Alphas::zeros(&child);
        let at = Point { net: &child, engine: &engine, weights: &own[..], alphas: &none };
        let (found, gradient) = crate::weight_gradient(at, batch);
        for (a, b) in found.outputs.iter().zip(&expected.outputs) {
            assert!((a - b).abs() < 1e-12, "{a} {b}");
        }
        // The gradient that a training follows is a slope.
        let mut s = rdarts_rng::Stream::new(seed, "direction", 0);
        let v: Vec<f64> = own.iter().map(|_| 0.1 * s.normal()).collect();
        let loss = |h: f64| {
            let moved: Vec<f64> = own.iter().zip(&v).map(|(w, v)| w + h * v).collect();
            forward(Point { weights: &moved[..], ..at }, batch).loss
        };
        let slope = (loss(1e-7) - loss(-1e-7)) / 2e-7;
        let expected: f64 = gradient.iter().zip(&v).map(|(g, v)| g * v).sum();
        assert!((slope - expected).abs() < 1e-3 * expected.abs().max(0.1), "{slope} for {expected}");
    }
}

/// Pairs (n, h, w, 6) of smooth spots on a ground that is brighter or darker; the right view shows all of it `shift` columns
/// further to the left.
fn spots(n: usize, [h, w]: [usize; 2], shift: usize) -> Vec<f32> {
    let mut images = vec![0.0; n * h * w * 6];
    for (i, image) in images.chunks_exact_mut(h * w * 6).enumerate() {
        let mut s = rdarts_rng::Stream::new(7, "spots", i as u64);
        let wide = w + shift;
        let mut ground: Vec<[f64; 3]> = vec![[0.8 * s.uniform() - 0.3; 3]; h * wide];
        for _ in 0..h * wide / 24 {
            let (y, x, radius) = (s.below(h) as f64, s.below(wide) as f64, 2.0 + 4.0 * s.uniform());
            let colour = [0; 3].map(|_| 0.5 * s.normal());
            for (at, to) in ground.iter_mut().enumerate() {
                let (dy, dx) = ((at / wide) as f64 - y, (at % wide) as f64 - x);
                let share = 1.0 - (dy * dy + dx * dx) / (radius * radius);
                to.iter_mut().zip(colour).for_each(|(to, c)| *to += c * share.max(0.0));
            }
        }
        for (at, pixel) in image.chunks_exact_mut(6).enumerate() {
            let (y, x) = (at / w, at % w);
            let views = [ground[y * wide + x], ground[y * wide + x + shift]];
            pixel.iter_mut().zip(views.as_flattened()).for_each(|(to, v)| *to = *v as f32);
        }
    }
    images
}

/// The values of all nodes in double precision.
fn states(net: &Network, weights: &[f32], images: &[f32], [n, h, w]: [usize; 3]) -> Vec<Vec<f64>> {
    let wide = |values: &[f32]| values.iter().map(|v| f64::from(*v)).collect::<Vec<f64>>();
    let (kernels, weights, images) = (Engine::cpu().kernels, wide(weights), wide(images));
    let shapes = net.layer_shapes(Shape { n, h, w, c: 6 });
    net.walk_all(&images, |at, node, reads| {
        let Module::Layer(layer) = &node.module else { unreachable!("a network of layers") };
        let of = |source: &Source| match *source {
            Source::Node(read) => shapes[read],
            Source::Images => Shape { n, h, w, c: 6 },
        };
        let mut out = vec![0.0; shapes[at].len()];
        layer.forward(
            &rdarts_kernels::dense::At {
                kernels: &kernels,
                shapes: node.inputs.iter().map(of).collect(),
                xs: reads.iter().map(|x| &x[..]).collect(),
                p: &[],
                w: node.part(&weights),
            },
            &mut out,
        );
        out
    })
}

#[test]
fn adjusted_weights_give_channels_of_mean_zero_and_size_one_and_predictions_that_are_open() {
    let spec = DisparitySpec::training(DisparityGenotype::autodispnet(), 4, 8, 4);
    let net = Network::disparity(&spec);
    let engine = Engine::cpu();
    let side @ [h, w] = [128, 256];
    let images = spots(2, side, 16);
    let mut weights = net.init(1);
    crate::unit_variance(&net, &engine, &mut weights, &images, 2, side);
    let shapes = net.layer_shapes(Shape { n: 2, h, w, c: 6 });
    let (mut n_open, mut n_centred, mut n_plain) = (0, 0, 0);
    for ((node, values), shape) in net.nodes().iter().zip(states(&net, &weights, &images, [2, h, w])).zip(shapes) {
        let Module::Layer(layer) = &node.module else { unreachable!("a network of layers") };
        // Two passes over the values.
        let of_channel = |c: usize| {
            let channel = || values.iter().skip(c).step_by(shape.c);
            let n = (values.len() / shape.c) as f64;
            let mean = channel().sum::<f64>() / n;
            (mean, (channel().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt())
        };
        match layer.weights().len() {
            0 => {}
            1 => {
                let size = (values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64).sqrt();
                assert!((size - 1.0).abs() < 1e-3, "{}: {size}", node.prefix);
                n_plain += 1;
            }
            _ => {
                for (mean, deviation) in (0..shape.c).map(of_channel) {
                    let expected = if shape.c == 1 { 3.0 } else { 0.0 };
                    assert!((mean - expected).abs() < 1e-3, "{}: {mean}", node.prefix);
                    assert!((deviation - 1.0).abs() < 1e-3, "{}: {deviation}", node.prefix);
                    *(if shape.c == 1 { &mut n_open } else { &mut n_centred }) += 1;
                }
            }
        }
    }
    assert!(n_open == 5 && n_centred > 500 && n_plain > 20, "{n_open} {n_centred} {n_plain}");
    // Once adjusted there is nothing left to do.
    let before = weights.clone();
    crate::unit_variance(&net, &engine, &mut weights, &images, 2, side);
    for (a, b) in weights.iter().zip(&before) {
        assert!((a - b).abs() <= 1e-3 * a.abs().max(1.0), "{a} {b}");
    }
}

/// Where features have a mean, the correlation is largest where the right view's features are, whatever the left one's are.
#[test]
fn the_correlation_of_fresh_features_finds_a_shift() {
    let genotype = short("s0 s1 s0 s2 s3 s2", "s0 s1 s0 s2 s3 s2", "s0 s1 s2 s3 s4 s3 s5 s4").parse().unwrap();
    let spec = DisparitySpec::training(genotype, 8, 16, 8);
    let net = Network::disparity(&spec);
    let engine = Engine::cpu();
    let (side @ [h, w], shift) = ([64, 256], 24);
    let images = spots(2, side, shift);
    let of_correlation = |node: &crate::graph::Node| matches!(node.module, Module::Layer(Layer::Correlation(_)));
    let at = net.nodes().iter().position(of_correlation).unwrap();
    let (shifts, columns) = (2 * spec.displacement + 1, w / 8);
    // The share of the pixels at which the right shift is the best of those to the left that lie inside.
    let found = |weights: &[f32]| {
        let correlation = &states(&net, weights, &images, [2, h, w])[at];
        let pixels = correlation.chunks_exact(shifts).enumerate().filter(|(i, _)| i % columns >= spec.displacement);
        let (mut n, mut right) = (0, 0);
        for (_, values) in pixels {
            let best = (0..=spec.displacement).fold(0, |best, d| {
                let at = |d: usize| values[spec.displacement - d];
                if at(d) > at(best) { d } else { best }
            });
            n += 1;
            right += usize::from(best == shift / 8);
        }
        f64::from(right as u32) / f64::from(n)
    };
    let fresh = net.init(1);
    let mut adjusted = fresh.clone();
    crate::unit_variance(&net, &engine, &mut adjusted, &images, 2, side);
    let (fresh, adjusted) = (found(&fresh), found(&adjusted));
    println!("{fresh} {adjusted}");
    assert!(adjusted > 0.8 && adjusted > fresh + 0.1, "{fresh} {adjusted}");
}
