//! Times what a search is made of, on S2 with 16 channels, 8 cells and a batch of 64 images of 32x32: an
//! architecture step and a weight step, the second-order step, one Hessian-vector product, an evaluation of the
//! supernet and one of a discrete network inside it.
//!
//! `cargo run --release -p rdarts-net --example search_step -- [rounds] [channels] [cells] [batch] [side] [space]`
//! prints medians, the page faults of a search step, and after each kind of work the peak memory of the process so
//! far beside the estimate for that work alone.

use std::time::Instant;

use rdarts_net::{
    AlphaHessian, Alphas, Batch, Engine, InnerStep, Network, Point, SupernetSpec, Targets, Work, alpha_gradient,
    forward, forward_mixed, unrolled_gradient, weight_gradient,
};
use rdarts_rng::Stream;
use rdarts_space::{CellType, Space};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, default: usize| args.get(i).map_or(default, |a| a.parse().expect("a number"));
    let (rounds, c, cells, n, side) = (number(0, 9), number(1, 16), number(2, 8), number(3, 64), number(4, 32));
    let space = Space::builtin(args.get(5).map_or("s2", String::as_str)).expect("a built-in space");
    let net = Network::supernet(SupernetSpec::from_space(&space, cells, c, 3, 10));

    let mut stream = Stream::new(1, "example", 0);
    let images: Vec<f32> = (0..n * side * side * 3).map(|_| stream.normal() as f32).collect();
    let labels: Vec<u32> = (0..n).map(|_| stream.below(10) as u32).collect();
    let (weights, mut alphas) = (net.init(1), Alphas::zeros(&net));
    alphas.each_mut().iter_mut().flatten().for_each(|a| *a = 1e-3 * stream.normal());
    let at = Point { net: &net, engine: &Engine::cpu(), weights: &weights, alphas: &alphas };
    let batch = Batch { images: (&images).into(), side: [side; 2], targets: Targets::Labels(&labels), noise: &[] };

    println!("{} parameters, {} threads", net.n_parameters(), rayon::current_num_threads());
    let step = InnerStep { xi: 0.025, l2: 3e-4, momentum: 0.9, buffer: None };
    let (mut alpha, mut weight, mut faults) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let before = minor_faults();
        alpha.push(seconds(|| alpha_gradient(at, batch)));
        weight.push(seconds(|| weight_gradient(at, batch)));
        faults.push((minor_faults() - before) as f64);
    }
    println!("alpha gradient    {:8.1} ms", 1e3 * median(&mut alpha));
    println!("weight gradient   {:8.1} ms", 1e3 * median(&mut weight));
    println!("page faults       {:8.0} (both together)", median(&mut faults));
    let memory = |work: Work| {
        let estimate = net.memory_estimate(n, [side; 2], work) as f64;
        println!("peak memory       {:8.0} MB, {:.0} MB estimated for {work:?}", peak_memory() / 1e6, estimate / 1e6);
    };
    memory(Work::Gradient);
    let time = |what: &str, f: &mut dyn FnMut()| {
        let mut times: Vec<f64> = (0..rounds.div_ceil(2)).map(|_| seconds(&mut *f)).collect();
        println!("{what:<17} {:8.1} ms", 1e3 * median(&mut times));
    };
    time("forward only", &mut || drop(forward(at, batch)));
    // The first operation of the first two edges of every node, as in a derived network.
    let mut child = Alphas::zeros(&net);
    for cell in CellType::ALL {
        let p = &mut child[cell];
        for (edge, _, _) in space.edges().filter(|(_, _, input)| *input < 2) {
            p[space.offset(cell, edge)] = 1.0;
        }
    }
    time("discrete network", &mut || drop(forward_mixed(&net, at.engine, &weights, &child, batch)));
    time("unrolled gradient", &mut || drop(unrolled_gradient(at, batch, batch, step)));
    memory(Work::SecondOrderStep);
    let hessian = AlphaHessian::new(at, batch);
    let mut v = vec![0.0; hessian.n()];
    v[0] = 1.0;
    time("Hessian product", &mut || drop(hessian.apply(&v)));
    memory(Work::HessianProduct);
}

fn seconds<T>(f: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    let result = f();
    let elapsed = start.elapsed().as_secs_f64();
    drop(result);
    elapsed
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Page faults of this process that needed no disk (Linux; 0 elsewhere).
fn minor_faults() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind_name = stat.rsplit(") ").next().unwrap_or_default();
    behind_name.split(' ').nth(7).and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Largest resident size of this process in bytes (Linux; 0 elsewhere).
fn peak_memory() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find_map(|l| l.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kib.unwrap_or(0.0) * 1024.0
}
