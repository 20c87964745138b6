//! The contract of the fused cell against the float64 reference: value, vjp, jvp and vjp of the jvp, for every
//! operation, instruction set, odd sizes, one pixel, one channel and one image.

mod common;

use proptest::prelude::*;
use rdarts_kernels::backward::{Want, vjp, vjp_last, vjp_of_jvp};
use rdarts_kernels::cell::{CellInput, CellTangent, forward, jvp};
use rdarts_kernels::reference::{self, Dual};
use rdarts_kernels::spec::{CellDims, CellNoise, CellSpec, HeadSpec, StemSpec, weights_len};
use rdarts_kernels::{Isa, Kernels};
use rdarts_kernels::{head, stem};
use rdarts_space::Op;

use common::values;

/// The gate's second run of these tests sets RDARTS_CHECKED=1; without its profile it would check nothing.
#[test]
fn the_checked_run_checks() {
    if std::env::var_os("RDARTS_CHECKED").is_none() {
        return;
    }
    let byte = std::hint::black_box(255_u8);
    let overflows = std::panic::catch_unwind(|| byte + 1).is_err();
    assert!(cfg!(debug_assertions) && overflows, "not in the profile `checked`");
}

#[derive(Clone, Debug)]
struct Case {
    spec: CellSpec,
    dims: CellDims,
    seed: u64,
    drop_path: bool,
    with_w: bool,
    /// Whether the direction leaves s0, s1, and the mixing weights of the first half of the edges alone.
    still: [bool; 3],
}

struct Tensors {
    s0: Vec<f32>,
    s1: Vec<f32>,
    p: Vec<f32>,
    w: Vec<f32>,
}

impl Case {
    fn tensors(&self, seed: u64) -> Tensors {
        let (s, d) = (&self.spec, &self.dims);
        let seed = self.seed * 1000 + seed * 10;
        Tensors {
            s0: values(seed, d.n * d.side0[0] * d.side0[1] * s.c_prev_prev),
            s1: values(seed + 1, d.n * d.side1[0] * d.side1[1] * s.c_prev),
            p: values(seed + 2, s.n_alphas()),
            w: values(seed + 3, weights_len(&s.weights())),
        }
    }

    /// The direction of the jvp.
    fn direction(&self) -> Tensors {
        let mut direction = self.tensors(2);
        let half = self.spec.alpha_offset(self.spec.edges.len() / 2);
        let groups = [&mut direction.s0[..], &mut direction.s1, &mut direction.p[..half]];
        groups.into_iter().zip(self.still).filter(|(_, still)| *still).for_each(|(v, _)| v.fill(0.0));
        direction
    }

    /// How many times larger the change of the value or of the jvp is than that of the inputs, each relative to its largest entry.
    /// A batch norm multiplies by up to 1 / sqrt(epsilon), 316: of few values that hardly differ, such as the largest of a
    /// tiny image, single precision leaves nothing to be compared.
    fn amplification(&self) -> f64 {
        const STEP: f64 = 1e-6;
        let (at, along, signs) = (self.tensors(1), self.direction(), self.tensors(5));
        let of = |step: f64| {
            let moved = |v: &[f32], d: &[f32], sign: &[f32]| -> Vec<Dual<f64>> {
                let one = |((v, d), sign): ((&f32, &f32), &f32)| {
                    let change = 1.0 + step * f64::from(sign.signum());
                    Dual { re: f64::from(*v) * change, du: f64::from(*d) }
                };
                v.iter().zip(d).zip(sign).map(one).collect()
            };
            reference::cell(
                &self.spec,
                self.dims,
                &moved(&at.s0, &along.s0, &signs.s0),
                &moved(&at.s1, &along.s1, &signs.s1),
                &moved(&at.p, &along.p, &signs.p),
                &moved(&at.w, &along.w, &signs.w),
                &self.noise(),
            )
        };
        let (here, there) = (of(0.0), of(STEP));
        let change = |part: fn(&Dual<f64>) -> f64| {
            let scale = here.iter().fold(f64::MIN_POSITIVE, |m, v| m.max(part(v).abs()));
            here.iter().zip(&there).fold(0f64, |m, (a, b)| m.max((part(a) - part(b)).abs())) / scale
        };
        change(|v| v.re).max(change(|v| v.du)) / STEP
    }

    fn noise(&self) -> CellNoise {
        let edges = self.spec.edges.len();
        let drop_path = if self.drop_path {
            values(self.seed + 77, edges * self.dims.n).iter().map(|v| if *v > -0.3 { 1.25 } else { 0.0 }).collect()
        } else {
            Vec::new()
        };
        CellNoise { drop_path, noise_key: self.seed }
    }
}

/// Largest difference relative to the largest entry (or to `floor`, if all are small).
fn error(got: &[f32], want: &[f64], floor: f64) -> f64 {
    assert_eq!(got.len(), want.len());
    let scale = want.iter().fold(floor, |m, v| m.max(v.abs()));
    got.iter().zip(want).fold(0f64, |m, (g, w)| m.max((f64::from(*g) - w).abs())) / scale
}

fn lift(v: &[f32]) -> Vec<f64> {
    v.iter().map(|v| f64::from(*v)).collect()
}

fn dual(v: &[f32], d: &[f32]) -> Vec<Dual<f64>> {
    v.iter().zip(d).map(|(v, d)| Dual { re: f64::from(*v), du: f64::from(*d) }).collect()
}

type Hyper = Dual<Dual<f64>>;

/// Value, inner tangent (the jvp's direction), outer tangent (along which the scalar is differentiated), both's.
fn hyper(v: &[f32], inner: &[f32], outer: &[f32], outer_inner: &[f32]) -> Vec<Hyper> {
    (0..v.len())
        .map(|i| Dual {
            re: Dual { re: f64::from(v[i]), du: f64::from(inner[i]) },
            du: Dual { re: f64::from(outer[i]), du: f64::from(outer_inner[i]) },
        })
        .collect()
}

fn dot(a: &[f32], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * b).sum()
}

/// All maps of one case on one instruction set.
fn check(case: &Case, isa: Isa) {
    let (spec, dims, noise) = (&case.spec, case.dims, case.noise());
    let at = case.tensors(1);
    let direction = case.direction();
    let input = CellInput { s0: &at.s0, s1: &at.s1, p: &at.p, w: &at.w, running: None };
    let [h, w] = dims.side_out(spec);
    let len = dims.n * h * w * spec.c_out();

    // Value and jvp: the reference carries the direction.
    let zeros = vec![0f32; at.w.len()];
    let w_dot = if case.with_w { &direction.w } else { &zeros };
    let truth = reference::cell(
        spec,
        dims,
        &dual(&at.s0, &direction.s0),
        &dual(&at.s1, &direction.s1),
        &dual(&at.p, &direction.p),
        &dual(&at.w, w_dot),
        &noise,
    );
    let value: Vec<f64> = truth.iter().map(|v| v.re).collect();
    let moved: Vec<f64> = truth.iter().map(|v| v.du).collect();
    let mut out = vec![f32::NAN; len];
    let saved = forward(&Kernels::new(isa), spec, dims, input, &noise, &mut out);
    let e = error(&out, &value, 1e-3);
    assert!(e < 2e-4, "{}: forward differs by {e:.1e} in {case:?}", isa.name());
    let tangent = CellTangent {
        s0: (!case.still[0]).then_some(&direction.s0[..]),
        s1: (!case.still[1]).then_some(&direction.s1[..]),
        p: &direction.p,
        w: case.with_w.then_some(&direction.w[..]),
    };
    let saved_dot = jvp(input, &out, tangent, &noise, &saved);
    let e = error(saved_dot.out_dot(), &moved, 1e-2);
    assert!(e < 2e-3, "{}: jvp differs by {e:.1e} in {case:?}", isa.name());

    // vjp: <g, J v> = <J' g, v> for the direction of each input alone.
    let g = values(case.seed + 5, len);
    let want = Want { s0: true, s1: true, p: true, w: true, keep: false };
    let grads = vjp(input, &out, &noise, &saved, &g, None, want);
    let along = case.tensors(4);
    let groups: [(&str, &[f32], &[f32]); 4] = [
        ("s0", &grads.s0, &along.s0),
        ("s1", &grads.s1, &along.s1),
        ("p", &grads.p, &along.p),
        ("w", &grads.w, &along.w),
    ];
    for (k, (name, grad, moves)) in groups.iter().enumerate() {
        let pick = |i: usize, v: &[f32], d: &[f32]| if i == k { dual(v, d) } else { dual(v, &vec![0.0; v.len()]) };
        let truth = reference::cell(
            spec,
            dims,
            &pick(0, &at.s0, &along.s0),
            &pick(1, &at.s1, &along.s1),
            &pick(2, &at.p, &along.p),
            &pick(3, &at.w, &along.w),
            &noise,
        );
        let left: f64 = truth.iter().zip(&g).map(|(t, g)| t.du * f64::from(*g)).sum();
        let right = dot(moves, &lift(grad));
        let scale = dot_scale(moves, grad) + 1e-3 * (1.0 + dot_scale(moves, &g));
        assert!((left - right).abs() < 2e-3 * scale, "{}: vjp of {name}: {left} {right} in {case:?}", isa.name());
    }

    // vjp of the jvp: the derivative of <g, out> + <d, out'> along each of the six inputs.
    let d = values(case.seed + 6, len);
    let want = Want { w: false, ..want };
    let [second, dots] = vjp_of_jvp(input, &out, &noise, &saved, tangent, &saved_dot, (&g, &d), want);
    // Overwriting what it has read changes no bit, of images of many tiles too.
    let last = vjp_last(input, &out, &noise, saved, &g, Want { w: true, ..want });
    for (a, b) in [(&grads.s0, &last.s0), (&grads.s1, &last.s1), (&grads.p, &last.p), (&grads.w, &last.w)] {
        assert!(a.iter().map(|v| v.to_bits()).eq(b.iter().map(|v| v.to_bits())), "{}: {case:?}", isa.name());
    }
    let grads = second;
    let along = case.tensors(3);
    let groups: [(&str, &[f32], &[f32]); 6] = [
        ("s0", &grads.s0, &along.s0),
        ("s1", &grads.s1, &along.s1),
        ("p", &grads.p, &along.p),
        ("s0'", &dots.s0, &along.s0),
        ("s1'", &dots.s1, &along.s1),
        ("p'", &dots.p, &along.p),
    ];
    for (k, (name, grad, moves)) in groups.iter().enumerate() {
        let pick = |i: usize, v: &[f32], inner: &[f32], a: &[f32]| {
            let zero = vec![0f32; v.len()];
            hyper(v, inner, if i == k { a } else { &zero }, if i + 3 == k { a } else { &zero })
        };
        let zero = vec![0f32; at.w.len()];
        let truth = reference::cell(
            spec,
            dims,
            &pick(0, &at.s0, &direction.s0, &along.s0),
            &pick(1, &at.s1, &direction.s1, &along.s1),
            &pick(2, &at.p, &direction.p, &along.p),
            &hyper(&at.w, w_dot, &zero, &zero),
            &noise,
        );
        let left: f64 = truth
            .iter()
            .zip(g.iter().zip(&d))
            .map(|(t, (g, d))| t.du.re * f64::from(*g) + t.du.du * f64::from(*d))
            .sum();
        let right = dot(moves, &lift(grad));
        let scale = dot_scale(moves, grad) + 1e-2 * (1.0 + dot_scale(moves, &g));
        assert!((left - right).abs() < 5e-3 * scale, "{}: vjp of jvp, {name}: {left} {right} in {case:?}", isa.name());
    }
}

/// |a| |b|: what rounding in a dot product is relative to. A gradient can be exactly zero by cancellation (batch norm of
/// a channel that takes two values does not see them): then a thousandth of that of g is allowed for.
fn dot_scale(a: &[f32], b: &[f32]) -> f64 {
    let norm = |v: &[f32]| v.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
    norm(a) * norm(b)
}

#[allow(clippy::too_many_arguments)]
fn case(
    ops: Vec<Op>,
    nodes: usize,
    c: usize,
    n: usize,
    side: [usize; 2],
    reduction: bool,
    reduction_prev: bool,
    seed: u64,
) -> Case {
    let n_edges = (0..nodes).map(|i| 2 + i).sum();
    // Different edges see the operations in different order.
    let edges = (0..n_edges).map(|e| ops.iter().cycle().skip(e).take(ops.len()).copied().collect()).collect();
    let side0 = if reduction_prev { [2 * side[0], 2 * side[1] - 1] } else { side };
    Case {
        spec: CellSpec { nodes, c, c_prev_prev: 3, c_prev: 5, reduction, reduction_prev, edges, discrete: None },
        dims: CellDims { n, side0, side1: side },
        seed,
        drop_path: seed % 2 == 1,
        with_w: !seed.is_multiple_of(3),
        still: [false; 3],
    }
}

fn on_all(case: &Case) {
    for isa in Isa::available() {
        check(case, isa);
    }
}

#[test]
fn every_operation_alone_agrees_with_the_reference() {
    for (at, op) in Op::OF_DARTS.into_iter().enumerate() {
        for reduction in [false, true] {
            on_all(&case(vec![op], 1, 6, 3, [6, 5], reduction, false, at as u64 + 1));
        }
    }
}

#[test]
fn all_operations_together_agree_on_two_nodes() {
    for (reduction, reduction_prev) in [(false, false), (true, false), (false, true), (true, true)] {
        on_all(&case(Op::OF_DARTS.to_vec(), 2, 5, 3, [7, 6], reduction, reduction_prev, 21));
    }
}

/// What does not move has no tangent: neither computed nor read.
#[test]
fn directions_that_leave_something_alone_agree() {
    for still in 1..8 {
        for (reduction, seed) in [(false, 3), (true, 6), (false, 4)] {
            let case = case(Op::OF_DARTS.to_vec(), 3, 5, 3, [5, 6], reduction, false, seed);
            on_all(&Case { still: [1, 2, 4].map(|bit| still & bit > 0), ..case });
        }
    }
}

#[test]
fn every_number_of_channels_up_to_two_registers_and_a_half_agrees() {
    for c in [1, 2, 3, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 40, 48] {
        on_all(&case(
            vec![Op::SepConv3x3, Op::SkipConnect, Op::MaxPool3x3],
            1,
            c,
            2,
            [4, 5],
            c % 2 == 0,
            false,
            c as u64,
        ));
    }
}

#[test]
fn one_pixel_one_image_and_one_channel_work() {
    // One value per channel has no variance: only the values are defined, and they are zero.
    for op in Op::OF_DARTS {
        let case = case(vec![op], 1, 1, 1, [1, 1], false, false, 5);
        let (input, noise) = (case.tensors(1), case.noise());
        let call = CellInput { s0: &input.s0, s1: &input.s1, p: &input.p, w: &input.w, running: None };
        for isa in Isa::available() {
            let mut out = vec![f32::NAN; 1];
            let saved = forward(&Kernels::new(isa), &case.spec, case.dims, call, &noise, &mut out);
            let truth = reference::cell(
                &case.spec,
                case.dims,
                &lift(&input.s0),
                &lift(&input.s1),
                &lift(&input.p),
                &lift(&input.w),
                &noise,
            );
            assert!((f64::from(out[0]) - truth[0]).abs() < 1e-5, "{op:?}: {out:?} {truth:?}");
            let want = Want { s0: true, s1: true, p: true, w: true, keep: false };
            let grads = vjp(call, &out.clone(), &noise, &saved, &[1.0], None, want);
            assert!(grads.w.iter().chain(&grads.s0).chain(&grads.p).all(|v| v.is_finite()));
        }
    }
    on_all(&case(Op::OF_DARTS.to_vec(), 1, 1, 4, [1, 3], false, false, 8));
    on_all(&case(Op::OF_DARTS.to_vec(), 1, 4, 1, [5, 5], true, false, 9));
}

/// From 17 images on a group has several, and small ones go through the stages together: those of odd sides, of more
/// rows than a tile, and a short last group.
#[test]
fn images_that_go_together_agree() {
    for (at, (n, c, side)) in
        [(35, 3, [3, 5]), (50, 5, [2, 4]), (40, 16, [1, 3]), (35, 17, [5, 2])].into_iter().enumerate()
    {
        for (reduction, reduction_prev) in [(false, false), (true, false), (false, true), (true, true)] {
            let seed = if reduction { 6 } else { 4 + 4 * at as u64 };
            on_all(&case(Op::OF_DARTS.to_vec(), 2, c, n, side, reduction, reduction_prev, seed));
        }
    }
    let ops = vec![Op::SepConv3x3, Op::SepConv5x5, Op::DilConv3x3, Op::DilConv5x5, Op::SkipConnect];
    for (c, n, side) in [(8, 64, [16, 2]), (16, 64, [8, 4]), (32, 80, [9, 3]), (64, 48, [4, 4])] {
        for reduction in [false, true] {
            on_all(&case(ops.clone(), 1, c, n, side, reduction, false, 6));
        }
    }
}

/// A stage with a depthwise window, or a pool, takes an image in tiles of at least 64 pixels and 2048 values: narrow images
/// of many rows have several, the last one short, at stride 1 and 2 and every dilation.
#[test]
fn images_of_several_tiles_agree() {
    let ops = vec![
        Op::SepConv3x3,
        Op::SepConv5x5,
        Op::SepConv7x7,
        Op::DilConv3x3,
        Op::DilConv5x5,
        Op::MaxPool3x3,
        Op::AvgPool3x3,
        Op::SkipConnect,
    ];
    for (c, side) in [(8, [130, 2]), (16, [70, 2]), (32, [45, 3]), (33, [23, 3]), (40, [45, 3]), (64, [45, 3])] {
        on_all(&case(ops.clone(), 1, c, 2, side, false, false, c as u64 + 1));
        let twice = [2 * side[0], 2 * side[1] - 1];
        on_all(&case(ops.clone(), 1, c, 2, twice, true, false, c as u64 + 2));
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for case in [
        case(Op::OF_DARTS.to_vec(), 2, 16, 19, [8, 8], true, true, 11),
        case(Op::OF_DARTS.to_vec(), 2, 32, 17, [45, 3], false, false, 11),
    ] {
        let (input, dot, noise) = (case.tensors(1), case.tensors(2), case.noise());
        let call = CellInput { s0: &input.s0, s1: &input.s1, p: &input.p, w: &input.w, running: None };
        let tangent = CellTangent { s0: Some(&dot.s0), s1: Some(&dot.s1), p: &dot.p, w: Some(&dot.w) };
        // Of all pools.
        let kernels = Kernels::new(Isa::best());
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let [h, w] = case.dims.side_out(&case.spec);
                let mut out = vec![0f32; case.dims.n * h * w * case.spec.c_out()];
                let saved = forward(&kernels, &case.spec, case.dims, call, &noise, &mut out);
                let (g, d) = (values(3, out.len()), values(4, out.len()));
                let want = Want { s0: true, s1: true, p: true, w: true, keep: false };
                let grads = vjp(call, &out, &noise, &saved, &g, None, want);
                let moved = jvp(call, &out, tangent, &noise, &saved);
                let want = Want { w: false, ..want };
                let [second, dots] = vjp_of_jvp(call, &out, &noise, &saved, tangent, &moved, (&g, &d), want);
                let first = [out, grads.s0, grads.s1, grads.p, grads.w, moved.out_dot().to_vec()];
                let second = [second.s0, second.s1, second.p, dots.s0, dots.s1, dots.p];
                first.into_iter().chain(second).flatten().map(f32::to_bits).collect::<Vec<_>>()
            })
        };
        let one = run(1);
        for threads in [2, 3, 7] {
            assert!(run(threads) == one, "{threads} threads");
        }
    }
}

#[test]
fn the_stem_agrees_with_the_reference() {
    for (c_in, c_out, n, side) in [(1, 3, 2, [1, 2]), (3, 12, 3, [5, 4]), (3, 48, 2, [6, 7]), (4, 17, 5, [3, 3])] {
        let spec = StemSpec { c_in, c_out };
        let px = side[0] * side[1];
        let (x, w, w_dot) = (
            values(1, n * px * c_in),
            values(2, weights_len(&spec.weights())),
            values(3, weights_len(&spec.weights())),
        );
        let zero = vec![0f32; x.len()];
        let truth = reference::stem(&spec, n, side, &dual(&x, &zero), &dual(&w, &w_dot));
        for isa in Isa::available() {
            let mut out = vec![0f32; n * px * c_out];
            let saved = stem::forward(&Kernels::new(isa), spec, n, side, &x, &w, &mut out);
            assert!(error(&out, &truth.iter().map(|v| v.re).collect::<Vec<_>>(), 1e-3) < 1e-4);
            let mut out_dot = vec![0f32; out.len()];
            stem::jvp(&x, &w, &w_dot, &saved, &mut out_dot);
            assert!(error(&out_dot, &truth.iter().map(|v| v.du).collect::<Vec<_>>(), 1e-3) < 1e-3);
            let g = values(4, out.len());
            let dw = stem::vjp(&x, &w, &saved, &g);
            // One weight at a time: the reference's derivative of <g, out>.
            for k in 0..w.len() {
                let mut along = vec![0f32; w.len()];
                along[k] = 1.0;
                let truth = reference::stem(&spec, n, side, &dual(&x, &zero), &dual(&w, &along));
                let left: f64 = truth.iter().zip(&g).map(|(t, g)| t.du * f64::from(*g)).sum();
                assert!((left - f64::from(dw[k])).abs() < 2e-3 * (1.0 + left.abs()), "{k}: {left} {}", dw[k]);
            }
        }
    }
}

#[test]
fn the_head_agrees_with_the_reference() {
    let spec = HeadSpec { c_in: 13, classes: 5 };
    let (n, px) = (3, 6);
    let (x, w) = (values(1, n * px * 13), values(2, 13 * 5 + 5));
    let (x_dot, w_dot) = (values(3, x.len()), values(4, w.len()));
    let truth = reference::head(&spec, n, px, &dual(&x, &x_dot), &dual(&w, &w_dot));
    for isa in Isa::available() {
        let kernels = Kernels::new(isa);
        let (means, means_dot) = (head::pool(&kernels, n, 13, &x), head::pool(&kernels, n, 13, &x_dot));
        let (mut logits, mut moved) = (vec![0f32; n * 5], vec![0f32; n * 5]);
        head::apply(&spec, &means, &w, true, false, &mut logits);
        head::apply(&spec, &means_dot, &w, false, false, &mut moved);
        head::apply(&spec, &means, &w_dot, true, true, &mut moved);
        assert!(error(&logits, &truth.iter().map(|v| v.re).collect::<Vec<_>>(), 1e-3) < 1e-5);
        assert!(error(&moved, &truth.iter().map(|v| v.du).collect::<Vec<_>>(), 1e-3) < 1e-5);
        // <g, J v> = <J' g, v>, and for the second term <d, W_dot x> = <W_dot' d, x>.
        let (g, d) = (values(5, n * 5), values(6, n * 5));
        let dx = head::input_gradient(&kernels, &spec, px, &[(&w, &g)]);
        let dw = head::weight_gradient(&spec, &means, &g);
        let left: f64 = truth.iter().zip(&g).map(|(t, g)| t.du * f64::from(*g)).sum();
        let right = dot(&x_dot, &lift(&dx)) + dot(&w_dot, &lift(&dw));
        assert!((left - right).abs() < 1e-5, "{left} {right}");
        let both = head::input_gradient(&kernels, &spec, px, &[(&w, &g), (&w_dot, &d)]);
        let only = head::input_gradient(&kernels, &spec, px, &[(&w_dot, &d)]);
        let sum: Vec<f64> = dx.iter().zip(&only).map(|(a, b)| f64::from(a + b)).collect();
        assert!(error(&both, &sum, 1e-3) < 1e-6);
        let mut plain = vec![0f32; n * 5];
        head::apply(&spec, &means, &w_dot, false, false, &mut plain);
        assert!((dot(&plain, &lift(&d)) - dot(&x, &lift(&only))).abs() < 1e-5);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn random_cells_agree_with_the_reference(
        ops in proptest::sample::subsequence(Op::OF_DARTS.to_vec(), 1..4),
        nodes in 1usize..3,
        c in 1usize..20,
        n in 2usize..5,
        h in 2usize..8,
        w in 2usize..8,
        reduction in any::<bool>(),
        reduction_prev in any::<bool>(),
        seed in 1u64..1000,
    ) {
        let case = case(ops, nodes, c, n, [h, w], reduction, reduction_prev, seed);
        prop_assume!(case.amplification() < 1e3);
        for isa in Isa::available() {
            check(&case, isa);
        }
    }
}
