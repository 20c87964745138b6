//! The functions that normal values are made with, and that every instruction set makes the same.

use rdarts_simd::Isa;
use rdarts_simd::normal::{PAIRS, ln, normal_pairs, sin_cos_of_turns};

#[test]
fn the_functions_are_those_of_the_library() {
    for i in 0..200_000 {
        let u = (i as f32 + 0.5) / 200_000.0;
        let exact = f64::from(u).ln();
        assert!((f64::from(ln(u)) - exact).abs() < 2e-7 * (1.0 + exact.abs()), "ln {u}");
        let angle = std::f64::consts::TAU * f64::from(u);
        let (sin, cos) = sin_cos_of_turns(u);
        assert!((f64::from(sin) - angle.sin()).abs() < 3e-7 && (f64::from(cos) - angle.cos()).abs() < 3e-7, "{u}");
    }
}

#[test]
fn every_instruction_set_makes_the_same_bits() {
    let make = |isa| {
        let mut out = [0.0; 2 * PAIRS];
        normal_pairs(isa, 0x0123_4567_89AB_CDEF, 77, &mut out);
        out.map(f32::to_bits)
    };
    let first = make(Isa::Portable);
    assert!(Isa::available().into_iter().all(|isa| make(isa) == first));
}
