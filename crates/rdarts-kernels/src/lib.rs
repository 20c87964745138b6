//! Fused operations of the DARTS search spaces on slices: forward, vjp, jvp and vjp of the jvp.

pub mod backward;
pub mod buffers;
pub mod cell;
pub mod head;
pub mod loss;
mod norm;
mod ops;
mod passes;
mod plan;
mod reading;
pub mod reference;
mod simd;
pub mod spec;
mod stage;
pub mod stem;
pub mod traffic;

pub use ops::noise;
pub use simd::Isa;
pub use simd::fma::multiply_adds;
