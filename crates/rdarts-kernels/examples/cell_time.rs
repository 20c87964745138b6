//! Times one cell of S2: forward, and backward with and without weight gradients.
use rdarts_kernels::Isa;
use rdarts_kernels::backward::{Want, vjp};
use rdarts_kernels::cell::{CellInput, forward};
use rdarts_kernels::spec::{CellDims, CellNoise, CellSpec, OpKind, weights_len};
use std::time::Instant;

fn main() {
    let full = std::env::args().nth(1).as_deref() == Some("darts");
    let ops = if full {
        vec![OpKind::None, OpKind::MaxPool3, OpKind::AvgPool3, OpKind::Skip, OpKind::SepConv(3), OpKind::SepConv(5), OpKind::DilConv(3), OpKind::DilConv(5)]
    } else {
        vec![OpKind::Skip, OpKind::SepConv(3)]
    };
    for (c, side, reduction) in [(16, 32, false), (32, 32, true), (32, 16, false), (64, 16, true), (64, 8, false)] {
        let spec = CellSpec { nodes: 4, c, c_prev_prev: 4 * c, c_prev: 4 * c, reduction, reduction_prev: false, edges: vec![ops.clone(); 14] };
        let dims = CellDims { n: 64, side0: [side; 2], side1: [side; 2] };
        let fill = |n: usize| (0..n).map(|i| ((i * 7919 % 1000) as f32 - 500.0) / 1000.0).collect::<Vec<_>>();
        let s = fill(64 * side * side * 4 * c);
        let (p, w) = (fill(spec.n_alphas()), fill(weights_len(&spec.weights())));
        let input = CellInput { s0: &s, s1: &s, p: &p, w: &w };
        let [h, wd] = dims.side_out(&spec);
        let mut out = vec![0f32; 64 * h * wd * 4 * c];
        let noise = CellNoise::default();
        let mut times = [vec![], vec![], vec![]];
        for _ in 0..7 {
            let t = Instant::now();
            let saved = forward(Isa::best(), &spec, dims, input, &noise, &mut out);
            times[0].push(t.elapsed().as_secs_f64() * 1e3);
            for (k, weights) in [false, true].into_iter().enumerate() {
                let mut g = out.clone();
                let t = Instant::now();
                let want = Want { s0: true, s1: true, p: !weights, w: weights };
                let grads = vjp(input, &out, &noise, &saved, &mut g, None, want);
                times[k + 1].push(t.elapsed().as_secs_f64() * 1e3);
                for v in [grads.s0, grads.s1, grads.w] {
                    rdarts_kernels::buffers::give_back(v);
                }
            }
        }
        times.iter_mut().for_each(|t| t.sort_by(f64::total_cmp));
        println!("c {c} side {side} reduction {reduction}: forward {:.1} ms, backward alpha {:.1} ms, backward weights {:.1} ms", times[0][3], times[1][3], times[2][3]);
    }
}
