//! The estimate of the memory that a computation needs against the peak that the system reports.
//!
//! Each case runs in a process of its own, so that nothing else counts: the test starts itself again.

use std::process::Command;

use rdarts_net::{
    AlphaHessian, Alphas, Batch, Engine, InnerStep, Network, Point, SupernetSpec, Targets, Work, alpha_gradient,
    unrolled_gradient, weight_gradient,
};
use rdarts_space::Space;

#[path = "../../../tests/skip.rs"]
mod skip;

/// Space, channels, cells, batch and side.
const CASES: [(&str, usize, usize, usize, [usize; 2]); 2] =
    [("s2", 16, 5, 32, [32, 32]), ("darts", 8, 4, 48, [23, 28])];
const WORKS: [Work; 3] = [Work::Gradient, Work::SecondOrderStep, Work::HessianProduct];
const CHILD: &str = "RDARTS_TEST_MEMORY_CASE";

fn net(case: usize) -> Network {
    let (space, c, cells, ..) = CASES[case];
    Network::supernet(SupernetSpec::from_space(&Space::builtin(space).unwrap(), cells, c, 3, 10))
}

#[test]
fn the_peak_of_a_computation_is_what_was_estimated() {
    if let Ok(which) = std::env::var(CHILD) {
        let which: usize = which.parse().unwrap();
        return run(which / WORKS.len(), WORKS[which % WORKS.len()]);
    }
    if !std::path::Path::new("/proc/self/status").exists() {
        return skip::skip("no /proc", "this system does not say how much memory a process has used");
    }
    for which in 0..CASES.len() * WORKS.len() {
        let (case, work) = (which / WORKS.len(), WORKS[which % WORKS.len()]);
        let (.., n, side) = CASES[case];
        let estimate = net(case).memory_estimate(n, side, work) as f64;
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_peak_of_a_computation_is_what_was_estimated", "--nocapture"])
            .env(CHILD, which.to_string())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let peak = text.lines().find_map(|l| l.split("peak ").nth(1)?.strip_suffix(" kB"));
        let peak = 1024.0 * peak.unwrap_or_else(|| panic!("{text}")).parse::<f64>().unwrap();
        let ratio = estimate / peak;
        println!(
            "{} {work:?}: {:.0} MB estimated, {:.0} MB used: {ratio:.2}",
            CASES[case].0,
            estimate / 1e6,
            peak / 1e6
        );
        assert!(
            (1.0 / 1.5..1.5).contains(&ratio),
            "{:?} {work:?}: {estimate} bytes estimated, {peak} used",
            CASES[case]
        );
    }
}

/// The computation twice, as a search repeats it, then the peak.
fn run(case: usize, work: Work) {
    let (net, (.., n, side)) = (net(case), CASES[case]);
    let images: Vec<f32> = (0..n * side[0] * side[1] * 3).map(|i| (i as f32 * 0.7).sin()).collect();
    let labels: Vec<u32> = (0..n as u32).map(|i| i % 10).collect();
    let (weights, alphas) = (net.init(1), Alphas::zeros(&net));
    let at = Point { net: &net, engine: &Engine::cpu(), weights: &weights, alphas: &alphas };
    let batch = Batch { images: (&images).into(), side, targets: Targets::Labels(&labels), noise: &[] };
    let hessian = (work == Work::HessianProduct).then(|| AlphaHessian::new(at, batch));
    for _ in 0..2 {
        match &hessian {
            Some(hessian) => drop(hessian.apply(&(0..hessian.n()).map(|i| (i as f64).cos()).collect::<Vec<_>>())),
            None if work == Work::Gradient => drop((alpha_gradient(at, batch), weight_gradient(at, batch))),
            None => {
                let step = InnerStep { xi: 0.025, l2: 3e-4, momentum: 0.9, buffer: None };
                drop(unrolled_gradient(at, batch, batch, step));
            }
        }
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    println!("peak {}", peak.trim());
}
