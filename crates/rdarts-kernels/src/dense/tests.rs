//! The contract of every layer: the jvp is the slope of the value, the vjp its transpose, the cross term the slope of the
//! jvp's product with a cotangent; single precision and every instruction set agree with double precision.

use super::*;
use rdarts_simd::Isa;

/// Values of a fixed sequence in (-1, 1).
struct Sequence(u64);

impl Sequence {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    fn values(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.next()).collect()
    }
}

/// A layer at a point with a direction and a cotangent.
struct Case {
    layer: Layer,
    shapes: Vec<Shape>,
    xs: Vec<Vec<f64>>,
    p: Vec<f64>,
    w: Vec<f64>,
    xs_dot: Vec<Vec<f64>>,
    p_dot: Vec<f64>,
    w_dot: Vec<f64>,
    g: Vec<f64>,
    d: Vec<f64>,
}

/// All gradients in a row: of the states, of p, of w.
type Gradient = Vec<f64>;

impl Case {
    fn new(layer: Layer, shapes: &[Shape]) -> Self {
        let mut s = Sequence(7);
        let out = layer.shape(shapes).unwrap().len();
        let n_p = if layer.cell_type().is_some() { 5 } else { 0 };
        let n_w = crate::spec::weights_len(&layer.weights());
        let states = |s: &mut Sequence| shapes.iter().map(|shape| s.values(shape.len())).collect();
        Self {
            xs: states(&mut s),
            xs_dot: states(&mut s),
            p: s.values(n_p),
            p_dot: s.values(n_p),
            w: s.values(n_w),
            w_dot: s.values(n_w),
            g: s.values(out),
            d: s.values(out),
            layer,
            shapes: shapes.to_vec(),
        }
    }

    /// Moved along its direction.
    fn moved(&self, by: f64) -> Self {
        let step = |x: &Vec<f64>, dot: &Vec<f64>| x.iter().zip(dot).map(|(x, dot)| x + by * dot).collect();
        Self {
            xs: self.xs.iter().zip(&self.xs_dot).map(|(x, dot)| step(x, dot)).collect(),
            p: step(&self.p, &self.p_dot),
            w: step(&self.w, &self.w_dot),
            layer: self.layer.clone(),
            shapes: self.shapes.clone(),
            xs_dot: self.xs_dot.clone(),
            p_dot: self.p_dot.clone(),
            w_dot: self.w_dot.clone(),
            g: self.g.clone(),
            d: self.d.clone(),
        }
    }

    /// Value, tangent, gradient of <y, g>, and the same with the cross term of d, computed in T.
    fn all<T: Scalar>(&self, kernels: &Kernels) -> [Vec<f64>; 4] {
        let narrow = |v: &Vec<f64>| v.iter().map(|v| T::of(*v)).collect::<Vec<T>>();
        let wide = |v: &[T]| v.iter().map(|v| v.wide()).collect::<Vec<f64>>();
        let xs: Vec<Vec<T>> = self.xs.iter().map(narrow).collect();
        let (w, w_dot, g, d) = (narrow(&self.w), narrow(&self.w_dot), narrow(&self.g), narrow(&self.d));
        let xs_dot: Vec<Vec<T>> = self.xs_dot.iter().map(narrow).collect();
        let xs = xs.iter().map(|x| &x[..]).collect();
        let at = At { kernels, shapes: self.shapes.clone(), xs, p: &self.p, w: &w };
        let dot =
            Direction { xs: xs_dot.iter().map(|x| Some(&x[..])).collect(), p: Some(&self.p_dot), w: Some(&w_dot) };
        let (mut out, mut out_dot) = (vec![T::of(7.0); g.len()], vec![T::of(7.0); g.len()]);
        let saved = self.layer.forward(&at, &mut out);
        self.layer.jvp(&at, &saved, &out, &dot, &mut out_dot);
        let gradient = |with_cross: bool| {
            let mut xs: Vec<Vec<T>> = self.shapes.iter().map(|shape| vec![T::default(); shape.len()]).collect();
            let (mut p, mut w) = (vec![0.0; self.p.len()], vec![T::default(); self.w.len()]);
            let mut bars =
                Bars { xs: xs.iter_mut().map(|x| Some(&mut x[..])).collect(), p: Some(&mut p), w: Some(&mut w) };
            self.layer.vjp(&at, &saved, &out, &g, &mut bars);
            if with_cross {
                self.layer.cross(&at, &saved, &out, &dot, &d, &mut bars);
            }
            let mut all: Gradient = xs.iter().flat_map(|x| wide(x)).collect();
            all.extend(p);
            all.extend(wide(&w));
            all
        };
        [wide(&out), wide(&out_dot), gradient(false), gradient(true)]
    }

    fn direction(&self) -> Vec<f64> {
        [self.xs_dot.concat(), self.p_dot.clone(), self.w_dot.clone()].concat()
    }
}

fn inner(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |m: f64, v| m.max(v.abs()))
}

fn cases() -> Vec<Case> {
    let conv = |k, stride, dilation| Layer::Conv(ConvSpec { c_in: 5, c_out: 3, k, stride, dilation, bias: true });
    let depthwise = |k, stride, dilation| Layer::Depthwise(DepthwiseSpec { c: 5, k, stride, dilation });
    // Channels that are no block of eight, and two of those with a rest.
    let mut list = of_one_state([5, 3], shape(3, 6, 7, 5));
    list.extend(of_one_state([19, 11], shape(2, 4, 5, 19)));
    // Rows that are wider than a strip's share, and windows wider than the image.
    list.push(Case::new(conv(7, 1, 1), &[shape(1, 2, 150, 5)]));
    list.push(Case::new(conv(7, 1, 1), &[shape(2, 3, 1, 5)]));
    list.push(Case::new(depthwise(5, 1, 2), &[shape(2, 2, 1, 5)]));
    list.push(Case::new(Layer::Views, &[shape(3, 2, 4, 6)]));
    list.push(Case::new(Layer::View(false), &[shape(4, 2, 4, 3)]));
    list.push(Case::new(Layer::View(true), &[shape(4, 2, 4, 3)]));
    for displacement in [0, 2, 9] {
        let correlation = Layer::Correlation(CorrelationSpec { displacement });
        list.push(Case::new(correlation, &[shape(2, 3, 6, 11); 2]));
    }
    list.push(Case::new(Layer::Shuffle(3), &[shape(2, 3, 4, 6)]));
    list.push(Case::new(Layer::Concat, &[shape(2, 3, 4, 5), shape(2, 3, 4, 1), shape(2, 3, 4, 10)]));
    list.push(Case::new(Layer::Outputs, &[shape(2, 3, 4, 1), shape(2, 6, 8, 1)]));
    list.push(Case::new(Layer::Sum, &[shape(2, 3, 4, 5); 3]));
    list.push(Case::new(Layer::Mix { cell_type: 1, alphas: vec![4, 1, 2] }, &[shape(2, 3, 4, 5); 3]));
    list
}

/// So large that images, groups of them and the weights of a strip are shared among threads.
fn large_cases() -> Vec<Case> {
    let large = shape(3, 24, 32, 24);
    let mut list: Vec<Case> = [
        Layer::Conv(ConvSpec { c_in: 24, c_out: 24, k: 3, stride: 1, dilation: 1, bias: true }),
        Layer::Depthwise(DepthwiseSpec { c: 24, k: 3, stride: 2, dilation: 1 }),
        Layer::Norm,
        Layer::LeakyRelu,
        Layer::Pool(PoolSpec { max: true, stride: 1, k: 3 }),
        Layer::Pool(PoolSpec { max: false, stride: 1, k: 3 }),
        Layer::Upsample,
        Layer::Scale(24),
    ]
    .map(|layer| Case::new(layer, &[large]))
    .into();
    list.push(Case::new(Layer::Correlation(CorrelationSpec { displacement: 4 }), &[large; 2]));
    list.push(Case::new(Layer::Mix { cell_type: 1, alphas: vec![4, 1] }, &[large; 2]));
    list
}

fn shape(n: usize, h: usize, w: usize, c: usize) -> Shape {
    Shape { n, h, w, c }
}

/// All layers of one state that take any number of channels.
fn of_one_state([c, c_out]: [usize; 2], state: Shape) -> Vec<Case> {
    let conv = |k, stride, dilation| Layer::Conv(ConvSpec { c_in: c, c_out, k, stride, dilation, bias: true });
    let depthwise = |k, stride, dilation| Layer::Depthwise(DepthwiseSpec { c, k, stride, dilation });
    let pool = |max, stride| Layer::Pool(PoolSpec { max, stride, k: 3 });
    let list = [
        conv(1, 1, 1),
        conv(3, 1, 1),
        conv(3, 2, 1),
        conv(5, 1, 2),
        conv(7, 2, 1),
        depthwise(3, 1, 1),
        depthwise(3, 2, 1),
        depthwise(5, 1, 2),
        depthwise(3, 2, 2),
        depthwise(7, 1, 2),
        Layer::Transposed(TransposedSpec { c_in: c, c_out }),
        Layer::LeakyRelu,
        Layer::Relu,
        Layer::Norm,
        pool(true, 1),
        pool(true, 2),
        pool(false, 1),
        pool(false, 2),
        Layer::Upsample,
        Layer::Conv(ConvSpec { c_in: c, c_out, k: 3, stride: 2, dilation: 1, bias: false }),
        Layer::Pool(PoolSpec { max: true, stride: 2, k: 2 }),
        Layer::Pool(PoolSpec { max: false, stride: 2, k: 2 }),
        Layer::Scale(c),
        Layer::Channels { first: 1, len: 3 },
        Layer::Shuffle(1),
        Layer::Shift,
        Layer::Mean,
    ];
    list.into_iter().map(|layer| Case::new(layer, &[state])).collect()
}

#[test]
fn tangents_are_slopes_and_gradients_their_transposes() {
    let kernels = Kernels::new(Isa::best());
    for case in cases() {
        let name = format!("{:?} on {:?}", case.layer, case.shapes);
        let [_, out_dot, gradient, _] = case.all::<f64>(&kernels);
        let h = 1e-6;
        let [[plus, ..], [minus, ..]] = [h, -h].map(|h| case.moved(h).all::<f64>(&kernels));
        for ((plus, minus), dot) in plus.iter().zip(&minus).zip(&out_dot) {
            assert!(
                ((plus - minus) / (2.0 * h) - dot).abs() < 1e-6,
                "{name}: {} for {dot}",
                (plus - minus) / (2.0 * h)
            );
        }
        assert!(largest(&out_dot) > 0.1, "{name}: nothing moves");
        let (one, other) = (inner(&out_dot, &case.g), inner(&gradient, &case.direction()));
        assert!((one - other).abs() < 1e-10 * one.abs().max(1.0), "{name}: {one} and {other}");
    }
}

#[test]
fn the_cross_term_is_the_slope_of_the_tangents_product() {
    let kernels = Kernels::new(Isa::best());
    for case in cases() {
        let name = format!("{:?} on {:?}", case.layer, case.shapes);
        let [_, _, plain, with_cross] = case.all::<f64>(&kernels);
        let cross: Vec<f64> = with_cross.iter().zip(&plain).map(|(a, b)| a - b).collect();
        // Along the direction u of another sequence: d/dt <J(x + t u) dot, d> = <cross, u>.
        let other = Case::new(case.layer.clone(), &case.shapes).moved(0.5);
        let (u_xs, u_p, u_w) = (other.xs, other.p, other.w);
        let moved = |h: f64| {
            let step = |x: &Vec<f64>, u: &Vec<f64>| x.iter().zip(u).map(|(x, u)| x + h * u).collect::<Vec<f64>>();
            let mut at = case.moved(0.0);
            at.xs = case.xs.iter().zip(&u_xs).map(|(x, u)| step(x, u)).collect();
            at.p = step(&case.p, &u_p);
            at.w = step(&case.w, &u_w);
            inner(&at.all::<f64>(&kernels)[1], &case.d)
        };
        let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
        let u = [u_xs.concat(), u_p, u_w].concat();
        let expected = inner(&cross, &u);
        let is_linear = largest(&cross) == 0.0;
        let bends = matches!(
            case.layer,
            Layer::Conv(_)
                | Layer::Depthwise(_)
                | Layer::Transposed(_)
                | Layer::Norm
                | Layer::Scale(_)
                | Layer::Correlation(_)
                | Layer::Mix { .. }
        );
        assert_eq!(bends, !is_linear, "{name}");
        assert!((slope - expected).abs() < 1e-6 * expected.abs().max(1.0), "{name}: {slope} for {expected}");
    }
}

#[test]
fn single_precision_and_every_instruction_set_agree_with_double_precision() {
    for isa in Isa::available() {
        let kernels = Kernels::new(isa);
        for case in cases().into_iter().chain(large_cases()) {
            let wide = case.all::<f64>(&kernels);
            let narrow = case.all::<f32>(&kernels);
            for (what, (wide, narrow)) in
                ["value", "tangent", "gradient", "second"].iter().zip(wide.iter().zip(&narrow))
            {
                let off = wide.iter().zip(narrow).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                let scale = largest(wide).max(1.0);
                assert!(off < 2e-5 * scale, "{what} of {:?} with {}: {off:.1e} of {scale:.1e}", case.layer, isa.name());
            }
        }
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let kernels = Kernels::new(Isa::best());
    for case in cases().into_iter().chain(large_cases()) {
        let of = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| case.all::<f32>(&kernels))
        };
        assert_eq!(of(1), of(3), "{:?}", case.layer);
    }
}

#[test]
fn loops_that_do_not_multiply_matrices_have_the_same_bits_with_every_instruction_set() {
    for case in cases().into_iter().chain(large_cases()) {
        if matches!(case.layer, Layer::Conv(_) | Layer::Transposed(_)) {
            continue;
        }
        let expected = case.all::<f32>(&Kernels::new(Isa::Portable));
        for isa in Isa::available() {
            assert_eq!(case.all::<f32>(&Kernels::new(isa)), expected, "{:?} with {}", case.layer, isa.name());
        }
    }
}

#[test]
fn layers_that_do_not_fit_their_states_say_so() {
    let shape = Shape { n: 1, h: 2, w: 2, c: 3 };
    let conv = Layer::Conv(ConvSpec { c_in: 4, c_out: 1, k: 1, stride: 1, dilation: 1, bias: true });
    assert!(conv.shape(&[shape]).unwrap_err().contains("4 channels got 3"));
    assert!(Layer::Views.shape(&[shape]).unwrap_err().contains("3 channels"));
    assert!(Layer::View(true).shape(&[shape]).unwrap_err().contains("no pairs"));
    assert!(Layer::Channels { first: 2, len: 2 }.shape(&[shape]).unwrap_err().contains("2 to 4 of 3"));
    assert!(Layer::Shuffle(2).shape(&[shape]).is_err() && Layer::Scale(4).shape(&[shape]).is_err());
    assert!(Layer::Sum.shape(&[]).is_err() && Layer::Norm.shape(&[shape; 2]).is_err());
    assert!(Layer::Sum.shape(&[shape, Shape { h: 1, ..shape }]).is_err());
    assert!(Layer::Concat.shape(&[shape, Shape { h: 1, ..shape }]).is_err());
    assert!(Layer::Correlation(CorrelationSpec { displacement: 1 }).shape(&[shape, Shape { c: 1, ..shape }]).is_err());
}

#[test]
fn a_correlation_finds_the_shift_of_a_view() {
    // A right view that lies 2 pixels to the left of the left one: right[x - 2] = left[x].
    let (w, c, displacement) = (8, 16, 3);
    let left = Sequence(3).values(w * c);
    let mut right = vec![0.0; w * c];
    right[..(w - 2) * c].copy_from_slice(&left[2 * c..]);
    let kernels = Kernels::new(Isa::best());
    let shape = Shape { n: 1, h: 1, w, c };
    let at = At { kernels: &kernels, shapes: vec![shape; 2], xs: vec![&left, &right], p: &[], w: &[] };
    let mut out = vec![0.0; w * 7];
    Layer::Correlation(CorrelationSpec { displacement }).forward(&at, &mut out);
    for x in 2..w {
        let of_pixel = &out[x * 7..(x + 1) * 7];
        let best = (0..7).max_by(|a, b| of_pixel[*a].total_cmp(&of_pixel[*b])).unwrap();
        assert_eq!(best, displacement - 2, "{of_pixel:?}");
    }
}

#[test]
fn upsampling_keeps_a_plane_but_for_its_border() {
    let kernels = Kernels::new(Isa::best());
    let shape = Shape { n: 1, h: 3, w: 5, c: 1 };
    let x: Vec<f64> = (0..15).map(|i| (i % 5) as f64 + 10.0 * (i / 5) as f64).collect();
    let at = At { kernels: &kernels, shapes: vec![shape], xs: vec![&x], p: &[], w: &[] };
    let mut out = vec![0.0; 60];
    Layer::Upsample.forward(&at, &mut out);
    for oy in 1..5 {
        for ox in 1..9 {
            let expected = (ox as f64 + 0.5) / 2.0 - 0.5 + 10.0 * ((oy as f64 + 0.5) / 2.0 - 0.5);
            assert!((out[oy * 10 + ox] - expected).abs() < 1e-12, "{oy} {ox}");
        }
    }
}
