//! The shelf of a workspace: what lies there is used again, by nobody else, and changes no result.

mod common;

use rdarts_kernels::backward::{CellGradient, Want, vjp, vjp_last, vjp_of_jvp};
use rdarts_kernels::cell::{CellInput, CellTangent, forward, jvp};
use rdarts_kernels::spec::{CellDims, CellNoise, CellSpec, weights_len};
use rdarts_kernels::{Isa, Kernels};

use common::values;

#[test]
fn scratch_and_gradients_of_any_size_share_their_memory() {
    let kernels = Kernels::new(Isa::best());
    let workspace = kernels.workspace();
    workspace.announce(300_000, 300_000);
    let small = workspace.scratch(100_000);
    let address = small.as_ptr();
    drop(small);
    // It grows where it is, up to what has been announced.
    let large = workspace.scratch(300_000);
    assert_eq!((large.as_ptr(), large.len()), (address, 300_000));
    drop(large);
    let small = workspace.scratch(5000);
    assert_eq!((small.as_ptr(), small.len()), (address, 5000));
    assert!(workspace.scratch(0).is_empty());
    let beside = workspace.scratch(5000);
    assert_ne!(beside.as_ptr(), address);
    drop((small, beside));

    let small = workspace.take_gradient(100_000);
    let address = small.as_ptr();
    workspace.give_back(small);
    let large = workspace.take_gradient(300_000);
    assert_eq!((large.as_ptr(), large.len()), (address, 300_000));
    workspace.give_back(large);

    // Beyond that it is made anew.
    assert_eq!(workspace.scratch(500_000).len(), 500_000);
    assert_eq!(workspace.take_gradient(500_000).len(), 500_000);

    assert!(workspace.idle() >= 600_000);
}

#[test]
fn two_workspaces_share_nothing() {
    let [one, other] = [0, 1].map(|_| Kernels::new(Isa::best()));
    let buffer = one.workspace().buffer(100_000);
    let address = buffer.as_ptr();
    one.workspace().announce(300_000, 300_000);
    drop(buffer);
    one.workspace().give_back(vec![0.0; 100_000]);
    let full = one.workspace().idle();
    assert!(full >= 200_000);
    assert_eq!(other.workspace().idle(), 0);
    // Neither what lies there nor what was announced there.
    assert_eq!(other.workspace().take_gradient(2000).capacity(), 2000);
    assert_ne!(other.workspace().buffer(100_000).as_ptr(), address);

    // A whole cell, its derivatives, and what they leave.
    let first = bits(&one, 9, 40, false);
    let (full, empty) = (one.workspace().idle(), other.workspace().idle());
    assert!(first == bits(&other, 9, 40, false));
    assert_eq!(one.workspace().idle(), full);
    assert!(other.workspace().idle() > empty);
    // A clone is the same one, and a buffer outlives whoever made its workspace.
    let buffer = one.clone().workspace().buffer(90_000);
    assert!(one.workspace().idle() < full);
    drop((one, other));
    assert_eq!(buffer.len(), 90_000);
}

/// Cells of several sizes are evaluated, then the same with NaN everywhere, then again.
#[test]
fn no_result_depends_on_what_lies_on_the_shelf() {
    for isa in Isa::available() {
        let kernels = Kernels::new(isa);
        let all = || [(4, 5), (9, 40), (4, 33)].map(|(c, n)| bits(&kernels, c, n, false));
        let first = all();
        for (c, n) in [(4, 5), (9, 40), (4, 33)] {
            bits(&kernels, c, n, true);
        }
        assert!(first == all(), "{}", isa.name());
    }
}

/// The bits of everything a cell has: value, tangent, gradients, and those of the tangent.
fn bits(kernels: &Kernels, c: usize, n: usize, poisoned: bool) -> Vec<u32> {
    use rdarts_space::Op::{
        AvgPool3x3, Conv7x1_1x7, DilConv3x3, MaxPool3x3, Noise, SepConv3x3, SepConv5x5, SkipConnect,
    };
    let ops = [
        vec![SkipConnect, SepConv3x3],
        vec![MaxPool3x3, SepConv5x5],
        vec![DilConv3x3, AvgPool3x3],
        vec![Noise, Conv7x1_1x7],
    ];
    let edges = (0..9).map(|edge| ops[edge % ops.len()].clone()).collect();
    let spec = CellSpec {
        nodes: 3,
        c,
        c_prev_prev: 5,
        c_prev: 3,
        reduction: n == 5,
        reduction_prev: false,
        edges,
        discrete: None,
    };
    let dims = CellDims { n, side0: [6, 7], side1: [6, 7] };
    let of = |seed, len| if poisoned { vec![f32::NAN; len] } else { values(seed, len) };
    let [s0, s1] = [(1, 5), (2, 3)].map(|(seed, c)| of(seed, n * 42 * c));
    let (p, w) = (of(3, spec.n_alphas()), of(4, weights_len(&spec.weights())));
    let input = CellInput { s0: &s0, s1: &s1, p: &p, w: &w, running: None };
    let [h, wd] = dims.side_out(&spec);
    let noise = CellNoise::default();
    let mut out = vec![0.0; n * h * wd * 3 * c];
    let saved = forward(kernels, &spec, dims, input, &noise, &mut out);
    let (g, d) = (of(5, out.len()), of(6, out.len()));
    let want = Want { s0: true, s1: true, p: true, ..Want::default() };
    let plain = vjp(input, &out, &noise, &saved, &g, None, Want { w: true, ..want });
    let s0_dot = of(7, s0.len());
    let tangent = CellTangent { s0: Some(&s0_dot), s1: None, p: &p, w: Some(&w) };
    let dot = jvp(input, &out, tangent, &noise, &saved);
    let both = vjp_of_jvp(input, &out, &noise, &saved, tangent, &dot, (&g, &d), want);
    let last = vjp_last(input, &out, &noise, saved, &g, Want { w: true, ..want });
    let mut all = vec![out.clone(), dot.out_dot().to_vec()];
    for CellGradient { s0, s1, p, w, .. } in [plain, last].into_iter().chain(both) {
        for values in [s0, s1, p, w] {
            all.push(values.clone());
            kernels.workspace().give_back(values);
        }
    }
    all.into_iter().flatten().map(f32::to_bits).collect()
}
