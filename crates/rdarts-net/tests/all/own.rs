//! Operations from outside in a supernet: their derivatives are those of finite differences, in every function that the
//! library has, and one that does nothing changes nothing.

use std::sync::Arc;

use rdarts_kernels::spec::WeightKind;
use rdarts_net::burn::tensor::{Tensor, activation::sigmoid};
use rdarts_net::{
    AlphaHessian, Alphas, Batch, Engine, InnerStep, Network, Operation, Point, Real, SupernetSpec, Targets,
    alpha_gradient, both_gradients, forward, mixed_hvp, unrolled_gradient, unrolled_gradient_difference,
};
use rdarts_rng::Stream;
use rdarts_space::Space;

/// x sigmoid(b x) with one b for each channel.
#[derive(Debug)]
struct Swish(usize);

impl Operation for Swish {
    fn weights(&self) -> Vec<(String, WeightKind)> {
        vec![("slope".into(), WeightKind::Vector { c: self.0, ones: true })]
    }
    fn value(&self, x: Tensor<4>, b: Tensor<1>) -> Tensor<4> {
        let b = b.reshape([1, 1, 1, self.0]);
        x.clone() * sigmoid(x * b)
    }
    fn tangent(&self, x: Tensor<4>, x_dot: Tensor<4>, b: Tensor<1>, b_dot: Tensor<1>) -> Tensor<4> {
        let [b, b_dot] = [b, b_dot].map(|b| b.reshape([1, 1, 1, self.0]));
        let s = sigmoid(x.clone() * b.clone());
        let inner = b * x_dot.clone() + b_dot * x.clone();
        x_dot * s.clone() + x * s.clone() * (1.0 - s) * inner
    }
}

/// Does nothing and has no weights.
#[derive(Debug)]
struct Identity;

impl Operation for Identity {
    fn weights(&self) -> Vec<(String, WeightKind)> {
        Vec::new()
    }
    fn value(&self, x: Tensor<4>, _: Tensor<1>) -> Tensor<4> {
        x
    }
    fn tangent(&self, _: Tensor<4>, x_dot: Tensor<4>, _: Tensor<1>, _: Tensor<1>) -> Tensor<4> {
        x_dot
    }
}

/// A network, a point and a batch.
struct Case<R> {
    net: Network,
    engine: Engine,
    weights: Vec<R>,
    alphas: Alphas,
    images: Vec<R>,
}

impl<R: Real> Case<R> {
    /// `own` puts operations into the supernet.
    fn new(own: impl Fn(Network) -> Network) -> Self {
        let space = Space::builtin("s2").unwrap();
        let net = own(Network::supernet(SupernetSpec::from_space(&space, 3, 2, 1, 3)));
        let mut s = Stream::new(1, "test", 0);
        let alphas = net.n_alphas().into_iter().map(|n| (0..n).map(|_| 0.5 * s.normal()).collect()).collect();
        let images = (0..4 * 8 * 8).map(|_| R::from_f64(s.normal())).collect();
        // Slopes that are not all one.
        let weights = net.init(1).iter().map(|w| R::from_f64(f64::from(*w) * (1.0 + 0.1 * s.normal()))).collect();
        Self { net, engine: Engine::cpu(), weights, alphas, images }
    }

    fn swish() -> Self {
        Self::new(|net| net.with(Arc::new(Swish(6)), 0, "own.0.").with(Arc::new(Swish(8)), 2, "own.1."))
    }

    fn batch(&self) -> Batch<'_, R> {
        Batch { images: (&self.images).into(), side: [8, 8], targets: Targets::Labels(&[0, 2, 1, 1]), noise: &[] }
    }

    fn at<'a>(&'a self, weights: &'a [R], alphas: &'a Alphas) -> Point<'a, [R]> {
        Point { net: &self.net, engine: &self.engine, weights, alphas }
    }

    fn here(&self) -> Point<'_, [R]> {
        self.at(&self.weights, &self.alphas)
    }

    fn direction(&self, n: usize) -> Vec<f64> {
        let mut s = Stream::new(2, "test", 0);
        (0..n).map(|_| s.normal()).collect()
    }
}

impl Case<f64> {
    /// The central difference of something along the alphas and the weights, so short that no relu has its kink on the way.
    fn difference(&self, v: &[f64], w: &[f64], of: impl Fn(Point<[f64]>) -> Vec<f64>) -> Vec<f64> {
        let eps = 1e-7;
        let [above, below] = [eps, -eps].map(|eps| {
            let moved = |at: &[f64], v: &[f64]| at.iter().zip(v).map(|(a, v)| a + eps * v).collect::<Vec<f64>>();
            let alphas = Alphas::from_flat(&self.net, &moved(&self.alphas.flat(), v));
            of(self.at(&moved(&self.weights, w), &alphas))
        });
        above.iter().zip(below).map(|(a, b)| (a - b) / (2.0 * eps)).collect()
    }
}

fn check(what: &str, a: &[f64], b: &[f64], tolerance: f64) {
    let largest = b.iter().fold(0f64, |m, v| m.max(v.abs()));
    let off = a.iter().zip(b).fold(0f64, |m, (a, b)| m.max((a - b).abs()));
    assert!(a.len() == b.len() && largest > 0.0, "{what}");
    assert!(off < tolerance * largest, "{what}: {off:.1e} of {largest:.1e}");
}

fn dot(a: &[f64], b: &[f64]) -> Vec<f64> {
    vec![a.iter().zip(b).map(|(a, b)| a * b).sum()]
}

#[test]
fn all_derivatives_of_a_network_with_operations_from_outside_are_those_of_differences() {
    let case = Case::<f64>::swish();
    let names: Vec<&str> = case.net.weights().iter().map(|p| p.name.as_str()).collect();
    assert!(names.contains(&"own.0.slope") && names.contains(&"own.1.slope"));
    let (n, m) = (case.alphas.flat().len(), case.weights.len());
    let (v, w) = (case.direction(n), case.direction(m));
    let (zero_v, zero_w) = (vec![0.0; n], vec![0.0; m]);

    let (_, of_alphas, of_weights) = both_gradients(case.here(), case.batch());
    let loss = |at: Point<[f64]>| vec![forward(at, case.batch()).loss];
    check("alpha gradient", &dot(&of_alphas.flat(), &v), &case.difference(&v, &zero_w, loss), 1e-6);
    check("weight gradient", &dot(&of_weights, &w), &case.difference(&zero_v, &w, loss), 1e-5);
    // The slopes alone.
    let slopes: Vec<f64> = case
        .net
        .weights()
        .iter()
        .flat_map(|p| {
            let value = if p.name.starts_with("own.") { 1.0 } else { 0.0 };
            vec![value; p.kind.len()]
        })
        .collect();
    check("slopes", &dot(&of_weights, &slopes), &case.difference(&zero_v, &slopes, loss), 1e-5);

    let gradient = |at: Point<[f64]>| alpha_gradient(at, case.batch()).1.flat();
    let hessian = AlphaHessian::new(case.here(), case.batch());
    check("H v", &hessian.apply(&v), &case.difference(&v, &zero_w, gradient), 1e-5);
    let full = hessian.full();
    let by_rows: Vec<f64> = full.values.chunks(n).flat_map(|row| dot(row, &v)).collect();
    check("full H", &by_rows, &hessian.apply(&v), 1e-9);
    check("mixed", &mixed_hvp(case.here(), case.batch(), &w).flat(), &case.difference(&zero_v, &w, gradient), 1e-4);

    let step = InnerStep { xi: 0.02, l2: 3e-4, momentum: 0.9, buffer: Some((&w).into()) };
    let unrolled = unrolled_gradient(case.here(), case.batch(), case.batch(), step).1.flat();
    let by_difference = unrolled_gradient_difference(case.here(), case.batch(), case.batch(), step, 1e-6).1.flat();
    check("unrolled", &unrolled, &by_difference, 1e-5);
}

#[test]
fn single_precision_agrees_with_double() {
    let (single, double) = (Case::<f32>::swish(), Case::<f64>::swish());
    let v = single.direction(single.alphas.flat().len());
    let of = |flat: Alphas| flat.flat();
    check(
        "alpha gradient",
        &of(alpha_gradient(single.here(), single.batch()).1),
        &of(alpha_gradient(double.here(), double.batch()).1),
        1e-4,
    );
    let [a, b] = [
        AlphaHessian::new(single.here(), single.batch()).apply(&v),
        AlphaHessian::new(double.here(), double.batch()).apply(&v),
    ];
    check("H v", &a, &b, 1e-3);
}

#[test]
fn an_operation_that_does_nothing_changes_nothing() {
    let plain = Case::<f32>::new(|net| net);
    let with = Case::<f32>::new(|net| net.with(Arc::new(Identity), 1, "own.").with(Arc::new(Identity), 0, "own."));
    let v = plain.direction(plain.alphas.flat().len());
    let [(_, a, w), (_, b, u)] = [&plain, &with].map(|case| both_gradients(case.here(), case.batch()));
    assert_eq!((a, w), (b, u));
    // One by the kernels' chain, one on the tape.
    let [a, b] = [&plain, &with].map(|case| AlphaHessian::new(case.here(), case.batch()).apply(&v));
    check("H v", &a, &b, 1e-4);
    let [a, b] = [&plain, &with].map(|case| mixed_hvp(case.here(), case.batch(), &case.weights).flat());
    check("mixed", &a, &b, 1e-3);
}

#[test]
#[should_panic(expected = "has changed the shape of a state")]
fn an_operation_must_keep_the_shape_of_its_state() {
    #[derive(Debug)]
    struct Half;
    impl Operation for Half {
        fn weights(&self) -> Vec<(String, WeightKind)> {
            Vec::new()
        }
        fn value(&self, x: Tensor<4>, _: Tensor<1>) -> Tensor<4> {
            x.narrow(1, 0, 4)
        }
        fn tangent(&self, _: Tensor<4>, x_dot: Tensor<4>, _: Tensor<1>, _: Tensor<1>) -> Tensor<4> {
            x_dot.narrow(1, 0, 4)
        }
    }
    let case = Case::<f32>::new(|net| net.with(Arc::new(Half), 0, "own."));
    forward(case.here(), case.batch());
}
