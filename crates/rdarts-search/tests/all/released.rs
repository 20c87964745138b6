//! The eigen-solvers on the Hessians that were released with the paper: three 56 x 56 matrices of one search in S1
//! on CIFAR-10, whose dominant eigenvalues stand in the released trajectories. The directory is RDARTS_RELEASED,
//! by default `shared/data` beside the workspace; without it the test says so and passes.

use std::path::PathBuf;

use nalgebra::DMatrix;
use rdarts_rng::Stream;
use rdarts_search::lanczos::{dominant, spectrum};
use serde_json::Value;

use crate::skip;

#[test]
fn dominant_eigenvalues_of_the_released_hessians_come_out() {
    let named = std::env::var_os("RDARTS_RELEASED");
    let dir = named
        .clone()
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")), PathBuf::from);
    let read =
        |name: &str| -> Option<Value> { serde_json::from_str(&std::fs::read_to_string(dir.join(name)).ok()?).ok() };
    let (Some(hessians), Some(runs)) = (read("released-hessians-s1.json"), read("released-eigenvalues-s1.json")) else {
        assert!(named.is_none(), "RDARTS_RELEASED names {}, which holds no released Hessians", dir.display());
        return skip::skip("../shared absent", "no released Hessians");
    };
    let run =
        runs.as_array().unwrap().iter().find(|r| r["l2"] == 3e-4 && r["seed"] == 1 && r["drop_path"] == 0.0).unwrap();
    let mut checked = 0;
    for h in hessians.as_array().unwrap() {
        let rows: Vec<Vec<f64>> = serde_json::from_value(h["hessian"].clone()).unwrap();
        let n = rows.len();
        let at = run["epochs"].as_array().unwrap().iter().position(|e| *e == h["epoch"]).unwrap();
        let recorded = run["eigenvalue"][at].as_f64().unwrap();
        let flat = rows.concat();
        let all = spectrum(n, &flat);
        assert!((all[0] - recorded).abs() < 1e-4 * recorded, "epoch {}: {} {recorded}", h["epoch"], all[0]);
        let matrix = DMatrix::from_row_slice(n, n, &flat);
        let symmetric = (&matrix + matrix.transpose()) * 0.5;
        let found = dominant(&symmetric, 1e-6, &mut Stream::new(1, "lanczos", 0)).unwrap();
        assert!((found.value - recorded).abs() < 1e-4 * recorded, "epoch {}: {found:?} {recorded}", h["epoch"]);
        checked += 1;
    }
    assert_eq!(checked, 3);
}
