//! Fused operations of the DARTS search spaces on slices: forward, vjp, jvp and vjp of the jvp.
//!
//! No clock, no file, no environment: what a call does follows from its arguments, among which [`Kernels`] are: the
//! instruction set, and the memory to work in. The crate has no state of its own.

pub mod spec;

mod ops;

mod stage;

mod plan;

mod passes;

pub mod cell;

pub mod backward;

mod reading;

mod norm;

pub mod traffic;

pub mod outline;

pub mod stem;

pub mod head;

pub mod auxiliary;

pub mod workspace;

mod kernels;

pub mod dense;

pub mod reference;

pub use kernels::Kernels;
pub use ops::noise;
pub use rdarts_simd::Isa;
pub use rdarts_simd::fma::multiply_adds;
