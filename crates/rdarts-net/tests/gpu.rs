//! The operations on the graphics card that RDARTS_TEST_DEVICE names, a software driver where there is none, and what stays
//! there from one step to the next.
#![cfg(feature = "gpu")]

use std::sync::{Mutex, MutexGuard, PoisonError};

use rdarts_net::contract::{Compared, compare, compare_layers, large_subjects, subjects};
use rdarts_net::devices::{Counted, counted};
use rdarts_net::disparity::DisparitySpec;
use rdarts_net::{
    AdamStep, AlphaHessian, Alphas, Batch, CardImages, DiscreteSpec, Engine, Evaluator, Held, InnerStep, Network,
    PUBLISHED_RADIUS, Point, SgdStep, SupernetSpec, Targets, Truth, Values, alpha_gradient, drawn_gradient,
    held_training_gradient, held_weight_gradient, held_weight_gradient_mixed, training_gradient, unrolled_gradient,
    unrolled_gradient_difference, weight_gradient, weight_gradient_mixed,
};
use rdarts_rng::Stream;
use rdarts_space::{DisparitySpace, Op, published};

#[path = "../../../tests/engine.rs"]
mod engine;

#[path = "../../../tests/skip.rs"]
mod skip;

/// One test at a time: bytes that cross are counted for the whole process.
static ALONE: Mutex<()> = Mutex::new(());

fn card() -> Option<(Engine, MutexGuard<'static, ()>)> {
    if std::env::var_os("RDARTS_TEST_DEVICE").is_none() {
        skip::skip("RDARTS_TEST_DEVICE unset", "it names the graphics card to test, such as gpu:0");
        return None;
    }
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    Some((engine::engine::<f32>(), alone))
}

#[test]
fn every_operation_keeps_its_contract() {
    let Some((engine, _alone)) = card() else { return };
    let mut n = 0;
    for subject in subjects().into_iter().chain(large_subjects()) {
        let compared: Vec<Compared> = compare(&subject, &engine);
        n += compared.len();
        let worst = compared.iter().map(|one| one.error).fold(0.0, f64::max);
        println!("{}: {} results, largest error {worst:.1e}", subject.operation(), compared.len());
        for one in &compared {
            assert!(one.holds(), "{one:?}");
        }
    }
    assert!(n > 200, "{n}");
}

#[test]
fn every_layer_keeps_its_contract() {
    let Some((engine, _alone)) = card() else { return };
    let compared = compare_layers(&engine);
    for one in &compared {
        // A sum of hundreds of pixels has hundreds of roundings.
        assert!(one.error < 1e-4, "{one:?}");
    }
    assert!(compared.len() > 100, "{}", compared.len());
}

fn normals(n: usize, scale: f64, seed: u64) -> Vec<f32> {
    let mut stream = Stream::new(seed, "test", 0);
    (0..n).map(|_| (scale * stream.normal()) as f32).collect()
}

/// The largest difference, in units of the largest entry.
fn off(got: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let largest = expected.iter().fold(0f64, |m, v| m.max(v.abs()));
    got.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max) / largest
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

#[test]
fn a_step_of_sgd_is_that_of_the_formula_clipped_or_not() {
    let Some((engine, _alone)) = card() else { return };
    // Parts that end anywhere, one of them empty, and more values than units.
    let parts = || vec![3, 64, 0, 300_001, 65];
    let n = parts().iter().sum();
    for (max_norm, is_clipped) in [(5.0, true), (1e6, false)] {
        let step = SgdStep { lr: 0.025, momentum: 0.9, l2: 3e-2, max_norm };
        let run = || {
            let (mut w, mut b) = (Held::from(normals(n, 1.0, 1)), Held::from(vec![0.0; n]));
            let (mut exact_w, mut exact_b) = (wide(&w), wide(&b));
            for t in 0..3 {
                let mut g = Held::from(normals(n, 0.1, 10 + t));
                let exact_g = wide(&g);
                let exact = exact_g.iter().map(|g| g * g).sum::<f64>().sqrt();
                [&mut w, &mut b, &mut g].into_iter().for_each(|held| held.place(&engine, parts));
                let norm = w.sgd_on_card(&mut b, &g, step).expect("all three are on the card");
                assert!((norm / exact - 1.0).abs() < 1e-6, "{norm} for {exact}");
                let factor = (max_norm / (exact + 1e-6)).min(1.0);
                assert_eq!(factor < 1.0, is_clipped);
                for ((w, b), g) in exact_w.iter_mut().zip(&mut exact_b).zip(exact_g) {
                    *b = 0.9 * *b + factor * g + 3e-2 * *w;
                    *w -= 0.025 * *b;
                }
            }
            assert!(w.is_on_card() && off(&w, &exact_w) < 2e-7 && off(&b, &exact_b) < 1e-6);
            (w, b)
        };
        assert!(run() == run(), "a card repeats itself");
    }
}

#[test]
fn a_step_of_adam_is_that_of_the_formula_clipped_or_not() {
    let Some((engine, _alone)) = card() else { return };
    let parts = || vec![3, 0, 300_001, 65];
    let n = parts().iter().sum();
    let (lr, [b1, b2], eps, l2) = (1e-2, [0.9f64, 0.999f64], 1e-8, 3e-2);
    for max_norm in [5.0, 1e6] {
        let run = || {
            let mut held = [normals(n, 1.0, 1), vec![0.0; n], vec![0.0; n]].map(Held::from);
            let [mut exact_w, mut exact_m, mut exact_v] = held.each_ref().map(|values| wide(values));
            for t in 1..4 {
                let mut g = Held::from(normals(n, 0.1, 10 + t as u64));
                let exact_g = wide(&g);
                held.iter_mut().chain([&mut g]).for_each(|held| held.place(&engine, parts));
                let (rate, root) = (lr / (1.0 - b1.powi(t)), (1.0 - b2.powi(t)).sqrt());
                let decay = |b: f64| [b as f32, (1.0 - b) as f32];
                let (first, second, max) = (decay(b1), decay(b2), max_norm as f32);
                let (l, eps32, rate32, root32) = (l2 as f32, eps as f32, rate as f32, root as f32);
                let step = AdamStep { rate: rate32, root: root32, first, second, eps: eps32, l2: l, max_norm: max };
                let [w, m, v] = &mut held;
                let norm = w.adam_on_card([m, v], &g, step).expect("all four are on the card");
                let exact = exact_g.iter().map(|g| g * g).sum::<f64>().sqrt();
                assert!((norm / exact - 1.0).abs() < 1e-6, "{norm} for {exact}");
                let factor = (max_norm / (exact + 1e-6)).min(1.0);
                for (((w, m), v), g) in exact_w.iter_mut().zip(&mut exact_m).zip(&mut exact_v).zip(exact_g) {
                    let g = factor * g + l2 * *w;
                    *m = b1 * *m + (1.0 - b1) * g;
                    *v = b2 * *v + (1.0 - b2) * g * g;
                    *w -= rate * *m / (v.sqrt() / root + eps);
                }
            }
            let [w, m, v] = held;
            let offs = [off(&w, &exact_w), off(&m, &exact_m), off(&v, &exact_v)];
            assert!(w.is_on_card() && offs.iter().all(|off| *off < 2e-6), "{offs:?}");
            [w, m, v]
        };
        assert!(run() == run(), "a card repeats itself");
    }
}

#[test]
fn a_gradient_that_is_no_number_is_told() {
    let Some((engine, _alone)) = card() else { return };
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut three = [vec![1.0; 300], vec![0.0; 300], vec![0.5; 300]].map(Held::from);
        three[2][299] = bad;
        three.iter_mut().for_each(|held| held.place(&engine, || vec![300]));
        let [w, b, g] = &mut three;
        let step = SgdStep { lr: 0.1, momentum: 0.9, l2: 0.0, max_norm: 5.0 };
        assert!(!w.sgd_on_card(b, g, step).unwrap().is_finite(), "{bad}");
    }
}

#[test]
fn what_is_held_is_where_it_was_written_last() {
    let Some((engine, _alone)) = card() else { return };
    let values = normals(200, 1.0, 3);
    let mut held = Held::from(values.clone());
    let Counted { up, down, .. } = counted(|| {
        held.place(&engine, || vec![70, 130]);
        held.place(&engine, || unreachable!("it is there"));
    });
    // Parts begin at multiples of 256 bytes.
    assert_eq!((up, down), (4 * (128 + 192), 0));
    assert_eq!((held.is_on_card(), &held[..]), (true, &values[..]));
    held[3] = 7.0;
    assert!(!held.is_on_card(), "the card's are the old ones");
    held.place(&engine, || vec![70, 130]);
    let mut other = Held::from(vec![1.0; 200]);
    other.place(&engine, || vec![70, 130]);
    let copy = held.clone();
    assert!(held.average_on_card(&other, 0.75));
    for (i, (now, before)) in held.iter().zip(&copy).enumerate() {
        assert!((now - (0.75 * before + 0.25)).abs() < 1e-6, "{i}");
    }
    assert_eq!((copy[3], copy[4]), (7.0, values[4]));
}

const SIDE: [usize; 2] = [10, 8];
const N: usize = 4;

/// Cells with operations that have kernels here; or one cell with an operation that has a composed body, which takes a software
/// driver long.
fn supernet(is_composed: bool) -> Network {
    let (seven, nodes) = if is_composed { (Op::SepConv7x7, 1) } else { (Op::SepConv3x3, 2) };
    let edges = vec![vec![Op::MaxPool3x3, Op::SkipConnect, seven, Op::DilConv5x5]; if is_composed { 2 } else { 5 }];
    Network::supernet(SupernetSpec {
        cells: if is_composed { 1 } else { 2 },
        c: 4,
        stem_multiplier: 3,
        reductions: if is_composed { Vec::new() } else { vec![1] },
        nodes,
        normal: edges.clone(),
        reduce: edges,
        c_image: 3,
        classes: 5,
    })
}

fn alphas(net: &Network) -> Alphas {
    let mut stream = Stream::new(4, "test", 0);
    net.n_alphas().into_iter().map(|n| (0..n).map(|_| 0.3 * stream.normal()).collect()).collect()
}

fn held(net: &Network, engine: &Engine, values: Vec<f32>) -> Held {
    let mut held = Held::from(values);
    held.place(engine, || net.weight_parts());
    held
}

fn check_alphas(got: &Alphas, expected: &Alphas, tolerance: f64) {
    let got: Vec<f32> = got.flat().iter().map(|v| *v as f32).collect();
    let off = off(&got, &expected.flat());
    assert!(off < tolerance, "{off:.1e}");
}

/// A network with its weights here and on the card, and two batches.
struct Case {
    net: Network,
    engine: Engine,
    alphas: Alphas,
    weights: Vec<f32>,
    there: Held,
    images: [Vec<f32>; 2],
}

impl Case {
    fn new(engine: &Engine, is_composed: bool) -> Self {
        let net = supernet(is_composed);
        let (weights, alphas) = (net.init(5), alphas(&net));
        let there = held(&net, engine, weights.clone());
        let images = [6, 7].map(|seed| normals(N * SIDE[0] * SIDE[1] * 3, 1.0, seed));
        Self { net, engine: engine.clone(), alphas, weights, there, images }
    }

    fn batch(&self, at: usize) -> Batch<'_, f32> {
        let targets = Targets::Labels(&[0, 3, 1, 4]);
        Batch { images: (&self.images[at]).into(), side: SIDE, targets, noise: &[] }
    }

    fn here(&self) -> Point<'_, [f32]> {
        Point { net: &self.net, engine: &self.engine, weights: &self.weights, alphas: &self.alphas }
    }

    fn there(&self) -> Point<'_, Held> {
        Point { net: &self.net, engine: &self.engine, weights: &self.there, alphas: &self.alphas }
    }
}

#[test]
fn gradients_are_the_same_where_the_weights_lie() {
    let Some((engine, _alone)) = card() else { return };
    for case in [Case::new(&engine, false), Case::new(&engine, true)] {
        let (train, valid, net) = (case.batch(0), case.batch(1), &case.net);
        let (of_here, expected) = weight_gradient(case.here(), train);
        let (of_there, got) = held_weight_gradient(case.there(), train);
        assert!(got.is_on_card() && of_here == of_there && got[..] == expected[..]);
        assert!(expected.iter().filter(|g| **g != 0.0).count() > expected.len() / 2);
        assert_eq!(alpha_gradient(case.there(), valid), alpha_gradient(case.here(), valid));
        // What is left of the network where most mixing weights are zero.
        let one = |edge: &[f64]| (0..edge.len()).map(|i| f64::from(u8::from(i == 2))).collect();
        let p = case.alphas.map_edges(net, one);
        let (of_here, expected) = weight_gradient_mixed(net, &engine, &case.weights, &p, train);
        let (of_there, got) = held_weight_gradient_mixed(net, &engine, &case.there, &p, train);
        assert!(got.is_on_card() && of_here == of_there && got[..] == expected[..]);
        assert!(expected.iter().filter(|g| **g == 0.0).count() > 100, "what is left out has no gradient");
        assert_eq!(
            drawn_gradient(net, &engine, &case.there, &p, train),
            drawn_gradient(net, &engine, &case.weights, &p, train)
        );
        let outputs = |evaluator: Evaluator<f32>| evaluator.outputs(&case.images[0], N, SIDE);
        assert_eq!(
            outputs(Evaluator::mixed(net, &engine, &case.there, &p)),
            outputs(Evaluator::mixed(net, &engine, &case.weights, &p))
        );
    }
}

#[test]
fn second_derivatives_are_the_same_where_the_weights_lie() {
    let Some((engine, _alone)) = card() else { return };
    let case = Case::new(&engine, false);
    let (train, valid, net) = (case.batch(0), case.batch(1), &case.net);
    let v: Vec<f64> = wide(&normals(case.alphas.flat().len(), 1.0, 9));
    assert_eq!(AlphaHessian::new(case.there(), valid).apply(&v), AlphaHessian::new(case.here(), valid).apply(&v));
    // The step that is looked through is rounded otherwise.
    let buffer = normals(case.weights.len(), 0.1, 8);
    let buffer_there = held(net, &engine, buffer.clone());
    let inner = |buffer| InnerStep { xi: 0.05, l2: 1e-2, momentum: 0.9, buffer };
    let expected = unrolled_gradient(case.here(), train, valid, inner(Some((&buffer).into()))).1;
    for buffer in [buffer_there.view(), (&buffer).into()] {
        check_alphas(&unrolled_gradient(case.there(), train, valid, inner(Some(buffer))).1, &expected, 1e-4);
    }
    let without = unrolled_gradient(case.here(), train, valid, inner(None)).1;
    check_alphas(&unrolled_gradient(case.there(), train, valid, inner(None)).1, &without, 1e-4);
    assert!(expected.flat().iter().zip(without.flat()).any(|(a, b)| (a - b).abs() > 1e-4), "momentum has a part in it");
    let expected = unrolled_gradient_difference(case.here(), train, valid, inner(None), PUBLISHED_RADIUS).1;
    let got = unrolled_gradient_difference(case.there(), train, valid, inner(None), PUBLISHED_RADIUS).1;
    check_alphas(&got, &expected, 1e-2);
}

/// A network for disparity: its weights here and on the card, a batch, and what the CPU makes of them in double precision.
#[test]
fn a_network_for_disparity_has_the_derivatives_of_the_cpu() {
    let Some((engine, _alone)) = card() else { return };
    let cpu = Engine::cpu();
    // More operations are a matter of layers, and a norm over fewer pixels hides what is right.
    let side = [32, 64];
    let spec = DisparitySpec::search(DisparitySpace::builtin("dispnet").unwrap(), 2, side[1]);
    let net = Network::disparity(&spec);
    let (weights, alphas) = (net.init(5), alphas(&net));
    let there = held(&net, &engine, weights.clone());
    let images = normals(2 * side[0] * side[1] * 6, 0.3, 6);
    let mut stream = Stream::new(8, "truth", 0);
    let disparity = (0..2 * side[0] * side[1]).map(|_| (4.0 * stream.uniform()) as f32).collect();
    let truth = Truth { side, disparity, levels: spec.levels() };
    let [wide_weights, wide_images] = [wide(&weights), wide(&images)];
    let batch = Batch { images: (&images[..]).into(), side, targets: Targets::Disparity(&truth), noise: &[] };
    let exact = Batch { images: (&wide_images[..]).into(), side, targets: Targets::Disparity(&truth), noise: &[] };
    let on_card = Point { net: &net, engine: &engine, weights: &there, alphas: &alphas };
    let on_cpu = Point { net: &net, engine: &cpu, weights: &wide_weights[..], alphas: &alphas };
    let (evaluation, got) = held_weight_gradient(on_card, batch);
    let (expected_evaluation, expected) = weight_gradient(on_cpu, exact);
    assert!(got.is_on_card() && (evaluation.loss - expected_evaluation.loss).abs() < 1e-4 * expected_evaluation.loss);
    let off_by = off(&got, &expected);
    assert!(off_by < 1e-3, "{off_by:.1e}");
    check_alphas(&alpha_gradient(on_card, batch).1, &alpha_gradient(on_cpu, exact).1, 1e-3);
    let v: Vec<f64> = wide(&normals(alphas.flat().len(), 1.0, 9));
    let [got, expected] = [AlphaHessian::new(on_card, batch).apply(&v), AlphaHessian::new(on_cpu, exact).apply(&v)];
    let got: Vec<f32> = got.iter().map(|v| *v as f32).collect();
    let off_by = off(&got, &expected);
    assert!(off_by < 2e-3, "Hessian product {off_by:.1e}");
    // A larger step would end where single precision knows little.
    let (xi, l2) = (1e-4, 1e-2);
    let inner = InnerStep { xi, l2, momentum: 0.0, buffer: None };
    let exact_inner = InnerStep { xi, l2, momentum: 0.0, buffer: None };
    let expected = unrolled_gradient(on_cpu, exact, exact, exact_inner).1;
    let direct: Vec<f32> = alpha_gradient(on_cpu, exact).1.flat().iter().map(|v| *v as f32).collect();
    assert!(off(&direct, &expected.flat()) > 0.1, "the step has a part in it");
    // Which single precision on the CPU knows no better.
    check_alphas(&unrolled_gradient(on_card, batch, batch, inner).1, &expected, 1e-2);
    // A value alone, and that of one architecture.
    let outputs = |evaluator: Evaluator<f32>| evaluator.outputs(&images, 2, side);
    let [got, expected] = [outputs(Evaluator::supernet(on_card)), evaluation.outputs.clone()];
    assert_eq!(got, expected, "the same passes");
    let one = |edge: &[f64]| (0..edge.len()).map(|i| f64::from(u8::from(i == 1))).collect();
    let p = alphas.map_edges(&net, one);
    let got: Vec<f32> = outputs(Evaluator::mixed(&net, &engine, &there, &p)).into_iter().map(|v| v as f32).collect();
    let expected = Evaluator::mixed(&net, &cpu, &wide_weights[..], &p).outputs(&wide_images, 2, side);
    let off_by = off(&got, &expected);
    assert!(off_by < 1e-3, "{off_by:.1e}");
}

#[test]
fn a_card_makes_the_batches_of_the_cpu() {
    let Some((engine, _alone)) = card() else { return };
    let (n, [h, w]) = (7u32, SIDE);
    let mut stream = Stream::new(3, "test", 0);
    for c in [1, 3] {
        let bytes: Vec<u8> = (0..n as usize * h * w * c).map(|_| stream.below(256) as u8).collect();
        let values: Vec<[f32; 256]> =
            (0..c).map(|c| std::array::from_fn(|x| (x as f32 / 255.0 - 0.4) / (0.3 + c as f32))).collect();
        let images = CardImages::upload(&engine, &bytes, &values, [h, w, c]).expect("they fit");
        // Crops that leave the image, mirrored ones, zeros from a border to another.
        let records: Vec<[u32; 8]> = (0..20)
            .map(|i| {
                let mut below = |n: usize| stream.below(n) as u32;
                let (top, left) = (below(h + 1), below(w + 1));
                [below(n as usize), below(7), below(7), i % 2, top, below(h + 1).max(top), left, below(w + 1).max(left)]
            })
            .collect();
        let mut made = Held::default();
        let Counted { up, down, .. } = counted(|| made = images.make(&records, 3));
        assert_eq!((up, down), (32 * 20, 0));
        let mut expected = Vec::new();
        for record in &records {
            let [of, crop_y, crop_x, flip, top, bottom, left, right] = record.map(|v| v as usize);
            for (y, x, ch) in (0..h * w * c).map(|i| (i / (w * c), i / c % w, i % c)) {
                let row = (y + crop_y).checked_sub(3).filter(|row| *row < h);
                let column = (crop_x + if flip == 1 { w - 1 - x } else { x }).checked_sub(3).filter(|x| *x < w);
                let byte = row.zip(column).map_or(0, |(row, column)| bytes[((of * h + row) * w + column) * c + ch]);
                let is_cut = (top..bottom).contains(&y) && (left..right).contains(&x);
                expected.push(if is_cut { 0.0 } else { values[ch][usize::from(byte)] });
            }
        }
        assert!(made[..] == expected[..] && expected.iter().any(|v| *v == 0.0), "{c} channels");
    }
}

#[test]
fn in_a_step_little_crosses_but_the_images() {
    let Some((engine, _alone)) = card() else { return };
    let net = supernet(false);
    let alphas = alphas(&net);
    let (mut w, mut b) = (held(&net, &engine, net.init(5)), held(&net, &engine, vec![0.0; net.n_parameters()]));
    let images = normals(N * SIDE[0] * SIDE[1] * 3, 1.0, 6);
    let batch = Batch { images: (&images).into(), side: SIDE, targets: Targets::Labels(&[0, 3, 1, 4]), noise: &[] };
    let mut step = || {
        let at = Point { net: &net, engine: &engine, weights: &w, alphas: &alphas };
        let g = held_weight_gradient(at, batch).1;
        w.sgd_on_card(&mut b, &g, SgdStep { lr: 0.1, momentum: 0.9, l2: 0.0, max_norm: 5.0 }).unwrap();
    };
    step();
    let Counted { launches, up, down } = counted(&mut step);
    let (of_images, of_alphas) = (4 * images.len() as u64, 4 * alphas.flat().len() as u64);
    // Mixing weights, the zeros that their gradient begins with in two cells, what the logits are sent back by.
    println!(
        "{up} bytes up, {of_images} of them images; {down} down; {} launches",
        launches.values().map(|of| of.n).sum::<usize>()
    );
    assert!(up <= of_images + 4 * of_alphas + 4 * 5 * N as u64 + 64, "{up} bytes up");
    // Logits and a norm.
    assert_eq!(down, 4 * (5 * N as u64 + 1));
}

#[test]
fn a_training_keeps_its_statistics_where_they_are() {
    let Some((engine, _alone)) = card() else { return };
    let genotype = published("DARTS_V2").unwrap();
    let net = Network::discrete(&DiscreteSpec {
        genotype,
        cells: 3,
        reductions: Vec::new(),
        c: 4,
        c_image: 3,
        classes: 5,
        auxiliary: true,
    });
    let (weights, running, side) = (net.init(5), net.init_running(), [16, 16]);
    let images = normals(N * side[0] * side[1] * 3, 1.0, 6);
    let batch = Batch { images: (&images).into(), side, targets: Targets::Labels(&[0, 3, 1, 4]), noise: &[] };
    let there = held(&net, &engine, weights.clone());
    let expected = training_gradient(&net, &engine, &weights, batch, 0.4);
    let got = held_training_gradient(&net, &engine, &there, batch, 0.4);
    assert!(got.weights.is_on_card() && got.weights[..] == expected.weights[..]);
    assert_eq!((&got.evaluation, got.auxiliary_loss), (&expected.evaluation, expected.auxiliary_loss));
    assert_eq!(got.statistics.read(), expected.statistics);
    let mut led = Held::from(running.clone());
    led.place(&engine, || net.running_parts());
    let mut exact = wide(&running);
    for _ in 0..3 {
        got.statistics.lead(&mut led, 0.9);
        exact.iter_mut().zip(&expected.statistics).for_each(|(r, s)| *r = 0.9 * *r + 0.1 * s);
    }
    assert!(led.is_on_card());
    for (i, (got, exact)) in led.iter().zip(&exact).enumerate() {
        assert!((f64::from(*got) - exact).abs() < 1e-5 * exact.abs().max(0.1), "statistic {i}: {got} for {exact}");
    }
    // Images up, and what the two heads are sent back by, twice: a composed body uploads it again; both logits down.
    let Counted { up, down, .. } = counted(|| {
        held_training_gradient(&net, &engine, &there, batch, 0.4).statistics.lead(&mut led, 0.9);
    });
    println!("a step: {up} bytes up, {} of them images; {down} down", 4 * images.len());
    assert!(up < 4 * images.len() as u64 + 2048 && down < 1024, "{up} and {down}");
    let (evaluator, cpu) = (
        Evaluator::discrete(&net, &engine, &there, &exact),
        Evaluator::discrete(&net, &Engine::cpu(), &weights, &exact),
    );
    let expected = cpu.outputs(&images, N, side);
    for at in 0..2 {
        let mut outputs = Vec::new();
        let Counted { up, down, .. } = counted(|| outputs = evaluator.outputs(&images, N, side));
        let outputs: Vec<f32> = outputs.into_iter().map(|v| v as f32).collect();
        assert!(off(&outputs, &expected) < 1e-4);
        // The first batch takes statistics and tables with it.
        println!("batch {at}: {up} bytes up, {} of them images; {down} down", 4 * images.len());
        assert!(at == 0 || (up - 4 * images.len() as u64 <= 64 && down == 4 * 5 * N as u64), "{up} and {down}");
    }
}
