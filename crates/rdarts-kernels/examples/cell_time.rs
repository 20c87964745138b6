//! Times the cells of the two usual spaces at the sizes of a search: forward, backward with and without weight
//! gradients, tangent, and backward of the tangent. The last line adds them up to the cells of one search step.
//!
//! `cargo run --release --example cell_time [s2|darts] [repetitions] [which|small|all] [batch]`, `which` a shape by its
//! position, `small` those of a small network. With a batch of 4 everything lies in the caches: what is slower per image
//! with 64 is memory.
use rdarts_kernels::backward::{Pushforward, Want, vjp, vjp_last};
use rdarts_kernels::cell::{CellInput, CellTangent, forward, jvp};
use rdarts_kernels::spec::{CellDims, CellNoise, CellSpec, weights_len};
use rdarts_kernels::{Isa, Kernels};
use rdarts_space::Space;
use std::time::Instant;

/// (channels, side of the inputs, channels of s0 and of s1, reduction, reduction before, how many of them there are).
type Shape = (usize, usize, usize, usize, bool, bool, usize);

/// 16 channels, 8 cells, 32x32: the search.
const SHAPES: [Shape; 8] = [
    (16, 32, 48, 48, false, false, 1),
    (16, 32, 48, 64, false, false, 1),
    (32, 32, 64, 64, true, false, 1),
    (32, 16, 64, 128, false, true, 1),
    (32, 16, 128, 128, false, false, 1),
    (64, 16, 128, 128, true, false, 1),
    (64, 8, 128, 256, false, true, 1),
    (64, 8, 256, 256, false, false, 1),
];

/// 8 channels, 5 cells, 16x16: the full Hessian of bench/peer.
const SMALL: [Shape; 5] = [
    (8, 16, 24, 24, false, false, 1),
    (16, 16, 24, 32, true, false, 1),
    (16, 8, 32, 64, false, true, 1),
    (32, 8, 64, 64, true, false, 1),
    (32, 4, 64, 128, false, true, 1),
];

const NAMES: [&str; 5] = ["forward", "backward alpha", "backward weights", "tangent", "backward of tangent"];

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let full = args.get(1).is_some_and(|a| a == "darts");
    let repetitions: usize = args.get(2).and_then(|a| a.parse().ok()).unwrap_or(7);
    let small = args.get(3).is_some_and(|a| a == "small");
    let shapes: &[Shape] = if small { &SMALL } else { &SHAPES };
    let which: Option<usize> = args.get(3).and_then(|a| a.parse().ok());
    let batch: usize = args.get(4).and_then(|a| a.parse().ok()).unwrap_or(64);
    let space = Space::builtin(if full { "darts" } else { "s2" }).expect("a built-in space");
    let ops = space.normal[0].clone();
    let kernels = Kernels::new(Isa::best());
    let give_back = |gradient| kernels.workspace().give_back(gradient);
    let mut total = [0.0; 5];
    for (at, (c, side, c_prev_prev, c_prev, reduction, reduction_prev, count)) in shapes.iter().copied().enumerate() {
        if which.is_some_and(|w| w != at) {
            continue;
        }
        let spec = CellSpec {
            nodes: 4,
            c,
            c_prev_prev,
            c_prev,
            reduction,
            reduction_prev,
            edges: vec![ops.clone(); 14],
            discrete: None,
        };
        let side0 = if reduction_prev { 2 * side } else { side };
        let dims = CellDims { n: batch, side0: [side0; 2], side1: [side; 2] };
        let fill = |n: usize| {
            let mut values = kernels.workspace().buffer(n);
            let value = |i: usize| ((i * 7919 % 1000) as f32 - 500.0) / 1000.0;
            values.iter_mut().enumerate().for_each(|(i, v)| *v = value(i));
            values
        };
        let s0 = fill(batch * side0 * side0 * c_prev_prev);
        let s1 = fill(batch * side * side * c_prev);
        let (p, w) = (fill(spec.n_alphas()), fill(weights_len(&spec.weights())));
        let input = CellInput { s0: &s0, s1: &s1, p: &p, w: &w, running: None };
        let [h, wd] = dims.side_out(&spec);
        let mut out = fill(batch * h * wd * 4 * c);
        let (mut g, mut d) = (fill(out.len()), fill(out.len()));
        let noise = CellNoise::default();
        let mut best = [f64::INFINITY; 5];
        for _ in 0..repetitions {
            let mut lap = |k: usize, t: Instant| best[k] = best[k].min(t.elapsed().as_secs_f64() * 1e3);
            let t = Instant::now();
            let saved = forward(&kernels, &spec, dims, input, &noise, &mut out);
            lap(0, t);
            for (k, weights) in [false, true].into_iter().enumerate() {
                g.copy_from_slice(&out);
                let want = Want { s0: true, s1: true, p: !weights, w: weights, keep: false };
                let saved = forward(&kernels, &spec, dims, input, &noise, &mut out);
                let t = Instant::now();
                let grads = vjp_last(input, &out, &noise, saved, &g, want);
                lap(1 + k, t);
                [grads.s0, grads.s1, grads.w].into_iter().for_each(give_back);
            }
            let tangent = CellTangent { s0: Some(&s0), s1: Some(&s1), p: &p, w: None };
            let t = Instant::now();
            let saved_dot = jvp(input, &out, tangent, &noise, &saved);
            lap(3, t);
            g.copy_from_slice(&out);
            d.copy_from_slice(saved_dot.out_dot());
            let want = Want { s0: true, s1: true, p: true, ..Want::default() };
            let keep = Want { keep: true, ..want };
            let kept = vjp(input, &out, &noise, &saved, &d, None, keep).kept.expect("it was asked for");
            let t = Instant::now();
            let pushed = Pushforward { tangent, saved: &saved_dot, kept: &kept };
            let grads = vjp(input, &out, &noise, &saved, &g, Some(pushed), want);
            lap(4, t);
            [grads.s0, grads.s1].into_iter().for_each(give_back);
        }
        let parts: Vec<String> = NAMES.iter().zip(best).map(|(n, ms)| format!("{n} {ms:.1}")).collect();
        println!(
            "c {c:2} side {side:2} {}: {} ms",
            if reduction { "reduction" } else { "normal   " },
            parts.join(", ")
        );
        total.iter_mut().zip(best).for_each(|(t, ms)| *t += count as f64 * ms);
    }
    let step = 2.0 * total[0] + total[1] + total[2];
    println!(
        "sum: {:.0?}; search step {step:.0} ms, with one exact second derivative {:.0} ms",
        total,
        step + total[3] + total[4]
    );
}
