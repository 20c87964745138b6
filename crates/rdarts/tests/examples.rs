//! The examples of the library run, and come to what their pages say.

#![allow(dead_code)] // Their `main`s only print.

#[path = "../examples/hessian.rs"]
mod hessian;
#[path = "../examples/method.rs"]
mod method;
#[path = "../examples/operation.rs"]
mod operation;
#[path = "../examples/search.rs"]
mod search;
#[path = "../examples/training.rs"]
mod training;

use rdarts::space::{CellType, Op};

#[test]
fn a_search_finds_a_genotype_and_an_eigenvalue_for_each_epoch() {
    let (found, eigenvalues) = search::run().unwrap();
    assert_eq!((found.genotype.n_nodes(CellType::Normal), eigenvalues.len()), (4, 3));
    assert!(eigenvalues.iter().all(|v| v.is_finite()));
}

#[test]
fn the_largest_eigenvalue_is_that_of_the_spectrum_and_products_are_differences_of_gradients() {
    let found = hessian::run().unwrap();
    assert_eq!(found.spectrum.len(), 56);
    let apart = (found.spectrum[0] - found.dominant.value).abs();
    assert!(apart <= found.dominant.bound, "{apart:.1e} {:.1e}", found.dominant.bound);
    assert!(found.off < 1e-3, "{:.1e}", found.off);
}

#[test]
fn a_model_that_is_read_again_has_the_accuracy_that_was_reported() {
    let (reported, again) = training::run().unwrap();
    assert!(reported == again && reported > 0.15, "{reported} {again}");
}

#[test]
fn a_method_from_outside_ends_a_search_by_its_own_rule() {
    let (found, epochs) = method::run().unwrap();
    assert!(found.reason.contains("skip connections"), "{}", found.reason);
    assert!(found.epoch + 1 < epochs, "epoch {} of {epochs}", found.epoch);
    assert!(found.genotype.n_uses(CellType::Normal, Op::SkipConnect) >= 4);
}

#[test]
fn an_operation_from_outside_takes_part_in_a_search_of_second_order() {
    let (found, eigenvalues) = operation::run().unwrap();
    assert_eq!((found.genotype.n_nodes(CellType::Normal), eigenvalues.len()), (4, 2));
    assert!(eigenvalues.iter().all(|v| v.is_finite() && *v != 0.0), "{eigenvalues:?}");
}
