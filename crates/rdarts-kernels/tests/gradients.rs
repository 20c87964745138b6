//! Gradients of the fused cell entry by entry, against exact derivatives of the float64 reference along each unit
//! vector; and the reference's own derivatives against central differences.

mod common;

use rdarts_kernels::backward::{Want, vjp, vjp_of_jvp};
use rdarts_kernels::cell::{CellInput, CellTangent, forward, jvp};
use rdarts_kernels::reference::{self, Dual};
use rdarts_kernels::spec::{CellDims, CellNoise, CellSpec, weights_len};
use rdarts_kernels::{Isa, Kernels};
use rdarts_space::Op;

use common::values;

const OPS: [Op; 9] = [
    Op::Noise,
    Op::MaxPool3x3,
    Op::AvgPool3x3,
    Op::SkipConnect,
    Op::SepConv3x3,
    Op::SepConv5x5,
    Op::DilConv3x3,
    Op::DilConv5x5,
    Op::Conv7x1_1x7,
];

/// s0, s1, p, w.
type Inputs = [Vec<f32>; 4];

struct Case {
    spec: CellSpec,
    dims: CellDims,
    noise: CellNoise,
}

impl Case {
    fn new(op: Op, c: usize, reduction: bool, reduction_prev: bool) -> Self {
        let side = [4, 3];
        let side0 = if reduction_prev { [7, 6] } else { side };
        let edges = vec![vec![op, Op::SkipConnect], vec![op], vec![op], vec![Op::SkipConnect], vec![op]];
        let noise = CellNoise { drop_path: values(5, 15).iter().map(|v| v.abs() + 0.5).collect(), noise_key: 9 };
        let spec =
            CellSpec { nodes: 2, c, c_prev_prev: 2, c_prev: 3, reduction, reduction_prev, edges, discrete: None };
        Self { spec, dims: CellDims { n: 3, side0, side1: side }, noise }
    }

    fn inputs(&self, seed: u64) -> Inputs {
        let (s, d) = (&self.spec, &self.dims);
        [
            values(seed, d.n * d.side0[0] * d.side0[1] * s.c_prev_prev),
            values(seed + 1, d.n * d.side1[0] * d.side1[1] * s.c_prev),
            values(seed + 2, s.n_alphas()),
            values(seed + 3, weights_len(&s.weights())),
        ]
    }

    fn reference<T: reference::Number>(&self, at: &[Vec<T>; 4]) -> Vec<T> {
        reference::cell(&self.spec, self.dims, &at[0], &at[1], &at[2], &at[3], &self.noise)
    }
}

fn f64s(v: &[f32]) -> Vec<f64> {
    v.iter().map(|v| f64::from(*v)).collect()
}

/// Entry by entry, relative to the largest entry.
fn compare(got: &[f32], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let scale = want.iter().fold(1e-2f64, |m, v| m.max(v.abs()));
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((f64::from(*g) - w).abs() < tolerance * scale, "{what}[{i}]: {g} instead of {w} (largest {scale})");
    }
}

fn check(case: &Case, what: &str) {
    let (at, direction) = (case.inputs(1), case.inputs(20));
    let input = CellInput { s0: &at[0], s1: &at[1], p: &at[2], w: &at[3], running: None };
    let [h, w] = case.dims.side_out(&case.spec);
    let len = case.dims.n * h * w * case.spec.c_out();
    let (g, d) = (values(40, len), values(41, len));
    // d <g, out> / d input, one unit vector at a time.
    let unit = |group: usize, i: usize| -> [Vec<Dual<f64>>; 4] {
        std::array::from_fn(|k| {
            let du = |j: usize| if k == group && j == i { 1.0 } else { 0.0 };
            at[k].iter().enumerate().map(|(j, v)| Dual { re: f64::from(*v), du: du(j) }).collect()
        })
    };
    let gradient = |group: usize| -> Vec<f64> {
        let entry = |i: usize| case.reference(&unit(group, i)).iter().zip(&g).map(|(t, g)| t.du * f64::from(*g)).sum();
        (0..at[group].len()).map(entry).collect()
    };
    // d (<g, out> + <d, out'>) / d (input or tangent), the tangent of w fixed.
    let second = |group: usize, of_tangent: bool| -> Vec<f64> {
        (0..at[group].len())
            .map(|i| {
                let inputs: [Vec<Dual<Dual<f64>>>; 4] = std::array::from_fn(|k| {
                    (0..at[k].len())
                        .map(|j| {
                            let hit = if k == group && j == i { 1.0 } else { 0.0 };
                            let (outer, both) = if of_tangent { (0.0, hit) } else { (hit, 0.0) };
                            Dual {
                                re: Dual { re: f64::from(at[k][j]), du: f64::from(direction[k][j]) },
                                du: Dual { re: outer, du: both },
                            }
                        })
                        .collect()
                });
                let out = case.reference(&inputs);
                out.iter()
                    .zip(g.iter().zip(&d))
                    .map(|(t, (g, d))| t.du.re * f64::from(*g) + t.du.du * f64::from(*d))
                    .sum()
            })
            .collect()
    };
    let first: Vec<Vec<f64>> = (0..4).map(gradient).collect();
    let seconds: Vec<Vec<f64>> = (0..3).flat_map(|k| [second(k, false), second(k, true)]).collect();
    for isa in Isa::available() {
        let name = |part: &str| format!("{}, {what}: {part}", isa.name());
        let mut out = vec![f32::NAN; len];
        let saved = forward(&Kernels::new(isa), &case.spec, case.dims, input, &case.noise, &mut out);
        let want = Want { s0: true, s1: true, p: true, w: true, keep: false };
        let got = vjp(input, &out, &case.noise, &saved, &g, None, want);
        for (group, (got, part)) in
            [(&got.s0, "s0"), (&got.s1, "s1"), (&got.p, "p"), (&got.w, "w")].into_iter().enumerate()
        {
            compare(got, &first[group], 3e-4, &name(part));
        }
        let tangent =
            CellTangent { s0: Some(&direction[0]), s1: Some(&direction[1]), p: &direction[2], w: Some(&direction[3]) };
        let dot = jvp(input, &out, tangent, &case.noise, &saved);
        let want = Want { w: false, ..want };
        let [got, dots] = vjp_of_jvp(input, &out, &case.noise, &saved, tangent, &dot, (&g, &d), want);
        let parts = [
            (&got.s0, "s0 of the jvp"),
            (&dots.s0, "s0'"),
            (&got.s1, "s1 of the jvp"),
            (&dots.s1, "s1'"),
            (&got.p, "p of the jvp"),
            (&dots.p, "p'"),
        ];
        for (at, (got, part)) in parts.into_iter().enumerate() {
            compare(got, &seconds[at], 3e-3, &name(part));
        }
    }
}

#[test]
fn every_entry_of_every_gradient_agrees_with_the_reference() {
    for (at, op) in OPS.into_iter().enumerate() {
        let (reduction, reduction_prev) = (at % 2 == 0, at % 3 == 0);
        check(&Case::new(op, 3, reduction, reduction_prev), &format!("{op:?} reduction {reduction} {reduction_prev}"));
        check(
            &Case::new(op, 3, !reduction, !reduction_prev),
            &format!("{op:?} reduction {} {}", !reduction, !reduction_prev),
        );
    }
    check(&Case::new(Op::SepConv3x3, 17, true, true), "17 channels");
}

#[test]
fn the_reference_itself_agrees_with_central_differences() {
    for op in OPS {
        let case = Case::new(op, 2, true, true);
        let (at, direction) = (case.inputs(1), case.inputs(20));
        let truth = case.reference(&std::array::from_fn(|k| {
            at[k].iter().zip(&direction[k]).map(|(v, d)| Dual { re: f64::from(*v), du: f64::from(*d) }).collect()
        }));
        let shifted = |e: f64| -> Vec<f64> {
            case.reference(&std::array::from_fn(|k| {
                f64s(&at[k]).iter().zip(f64s(&direction[k])).map(|(v, d)| v + e * d).collect()
            }))
        };
        let e = 1e-6;
        let scale = truth.iter().fold(0f64, |m, v| m.max(v.du.abs()));
        for ((t, up), down) in truth.iter().zip(shifted(e)).zip(shifted(-e)) {
            assert!(
                (t.du - (up - down) / (2.0 * e)).abs() < 1e-6 * scale,
                "{op:?}: {} {}",
                t.du,
                (up - down) / (2.0 * e)
            );
        }
    }
}
