//! The operations on the graphics card that RDARTS_TEST_DEVICE names, a software driver where there is none.
#![cfg(feature = "gpu")]

use rdarts_net::contract::{Compared, compare, large_subjects, subjects};

#[path = "../../../tests/engine.rs"]
mod engine;

#[path = "../../../tests/skip.rs"]
mod skip;

#[test]
fn every_operation_keeps_its_contract() {
    if std::env::var_os("RDARTS_TEST_DEVICE").is_none() {
        return skip::skip("RDARTS_TEST_DEVICE unset", "it names the graphics card to test, such as gpu:0");
    }
    let engine = engine::engine::<f32>();
    let mut n = 0;
    for subject in subjects().into_iter().chain(large_subjects()) {
        let compared: Vec<Compared> = compare(&subject, &engine);
        n += compared.len();
        let worst = compared.iter().map(|one| one.error).fold(0.0, f64::max);
        println!("{}: {} results, largest error {worst:.1e}", subject.operation(), compared.len());
        for one in &compared {
            assert!(one.holds(), "{one:?}");
        }
    }
    assert!(n > 200, "{n}");
}
