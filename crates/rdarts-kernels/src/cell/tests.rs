//! What a split into units changes, and what it does not.

use super::value::forward_in_pool;
use super::{CellInput, CellTangent, jvp};
use crate::backward::{CellGradient, Pushforward, Want, vjp, vjp_last};
use crate::plan::Plan;
use crate::spec::{CellDims, CellNoise, CellSpec, weights_len};
use crate::{Isa, Kernels};
use rdarts_space::Op;
use rdarts_space::Op::{AvgPool3x3, DilConv3x3, MaxPool3x3, Noise, None as Zero, SepConv3x3, SepConv5x5, SkipConnect};

fn values(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| (((i * 7919 + seed * 104_729) % 2003) as f32 - 1001.0) / 1001.0).collect()
}

fn close(name: &str, a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len(), "{name}");
    let scale = a.iter().fold(1e-3f32, |m, v| m.max(v.abs()));
    for (a, b) in a.iter().zip(b) {
        // False for NaN too.
        assert!((a - b).abs() <= 2e-4 * scale, "{name}: {a} or {b}, of {scale}");
    }
}

/// A cell with everything at hand, for one split into units.
struct Case {
    spec: CellSpec,
    dims: CellDims,
    noise: CellNoise,
    tensors: [Vec<f32>; 9],
}

impl Case {
    fn new(edges: Vec<Vec<Op>>, n: usize, reduction: bool, dropped: bool) -> Self {
        let spec = CellSpec {
            nodes: 3,
            c: 8,
            c_prev_prev: 6,
            c_prev: 5,
            reduction,
            reduction_prev: false,
            edges,
            discrete: None,
        };
        let dims = CellDims { n, side0: [7, 9], side1: [7, 9] };
        let drop_path = if dropped { (0..9 * dims.n).map(|i| [0.0, 1.25][i % 2]).collect() } else { Vec::new() };
        let [h, w] = dims.side_out(&spec);
        let lens =
            [dims.n * 63 * 6, dims.n * 63 * 5, spec.n_alphas(), weights_len(&spec.weights()), dims.n * h * w * 24];
        let of = |k: usize, seed: usize| values(lens[k], seed);
        let tensors = [of(0, 1), of(1, 2), of(2, 3), of(3, 4), of(0, 5), of(1, 6), of(2, 7), of(4, 8), of(3, 9)];
        Self { spec, dims, noise: CellNoise { drop_path, noise_key: 3 }, tensors }
    }

    fn run(&self, limits: Option<(usize, usize)>, want: Want) -> (Vec<f32>, Vec<f32>, [CellGradient; 3]) {
        let kernels = Kernels::new(Isa::best());
        let [s0, s1, p, w, d0, d1, dp, g, dw] = &self.tensors;
        let mut plan = Plan::new(&self.spec, self.dims);
        if let Some((large, unit)) = limits {
            plan.units = plan.split(large, unit);
        }
        let input = CellInput { s0, s1, p, w, running: None };
        let mut out = vec![f32::NAN; g.len()];
        let saved = forward_in_pool(&kernels, plan, input, &self.noise, &mut out);
        let tangent = CellTangent { s0: Some(d0), s1: Some(d1), p: dp, w: Some(dw) };
        let dot = jvp(input, &out, tangent, &self.noise, &saved);
        let keep = Want { keep: true, ..want };
        let kept = vjp(input, &out, &self.noise, &saved, g, None, keep);
        let plain = vjp(input, &out, &self.noise, &saved, g, None, want);
        let kept_of = kept.kept.as_ref().expect("it was asked for");
        let pushed = Pushforward { tangent, saved: &dot, kept: kept_of };
        let of_dual = vjp(input, &out, &self.noise, &saved, g, Some(pushed), Want { w: false, ..want });
        let last = vjp_last(input, &out, &self.noise, saved, g, want);
        for (a, b) in [(&plain.s0, &last.s0), (&plain.s1, &last.s1), (&plain.p, &last.p), (&plain.w, &last.w)] {
            assert!(a.iter().map(|v| v.to_bits()).eq(b.iter().map(|v| v.to_bits())), "the last pass differs");
        }
        (out, dot.out_dot().to_vec(), [plain, of_dual, kept])
    }
}

fn cases() -> Vec<Case> {
    let all = |ops: &[Op]| vec![ops.to_vec(); 9];
    let mut first_empty = all(&[SkipConnect, SepConv3x3]);
    (first_empty[0], first_empty[1]) = (vec![], vec![]);
    let mut last_empty = all(&[DilConv3x3]);
    last_empty[5..].fill(vec![]);
    let mut only_none = all(&[Zero]);
    only_none[2] = vec![SepConv3x3, Noise];
    let mut mixed = all(&[SepConv3x3, SepConv5x5]);
    mixed[3] = vec![SkipConnect, MaxPool3x3, SepConv3x3, Noise];
    let pools = all(&[MaxPool3x3, AvgPool3x3, SkipConnect]);
    let specs = [all(&[SkipConnect, SepConv3x3]), mixed, all(&[]), first_empty, last_empty, only_none, pools];
    let both = specs.into_iter().flat_map(|edges| [(edges.clone(), false), (edges, true)]);
    // Of 35 images three go through the stages together, unless paths are dropped.
    both.flat_map(|(edges, reduction)| {
        [(5, true), (35, false)].map(|(n, drop)| Case::new(edges.clone(), n, reduction, drop))
    })
    .collect()
}

const ALL: Want = Want { s0: true, s1: true, p: true, w: true, keep: false };

#[test]
fn the_split_into_units_changes_no_value_and_only_the_rounding_of_gradients() {
    for case in cases() {
        let (out, dot, grads) = case.run(None, ALL);
        // In reduction cells, of which states 0 and 1 are larger than this and nodes smaller.
        let mixed = (case.dims.n * 40 * 8 * 4, 0);
        for limits in [(0, 0), mixed, (usize::MAX, 0), (usize::MAX, usize::MAX)] {
            let (out2, dot2, grads2) = case.run(Some(limits), ALL);
            assert!(out.iter().zip(&out2).all(|(a, b)| a.to_bits() == b.to_bits()), "{limits:?}");
            close("tangent", &dot, &dot2);
            for (a, b) in grads.iter().zip(&grads2) {
                close("s0", &a.s0, &b.s0);
                close("s1", &a.s1, &b.s1);
                close("p", &a.p, &b.p);
                close("w", &a.w, &b.w);
            }
        }
    }
}

#[test]
fn a_gradient_does_not_depend_on_which_others_are_wanted() {
    for case in cases() {
        let (_, _, all) = case.run(None, ALL);
        for (k, limits) in [(0, 0), (0, 0), (usize::MAX, usize::MAX), (0, 0)].into_iter().enumerate() {
            // A vjp of a jvp needs the kept gradients of the states that are wanted, or of all for w.
            let want = Want { s0: k == 0, s1: k == 1, p: k == 2, w: k == 3, keep: false };
            let (_, _, some) = case.run(Some(limits), want);
            for (a, b) in all.iter().zip(&some) {
                for (name, wanted, a, b) in
                    [("s0", want.s0, &a.s0, &b.s0), ("s1", want.s1, &a.s1, &b.s1), ("p", want.p, &a.p, &b.p)]
                {
                    assert!(wanted || b.is_empty());
                    if wanted {
                        close(name, a, b);
                    }
                }
                if want.w {
                    close("w", &a.w, &b.w);
                }
            }
        }
    }
}
