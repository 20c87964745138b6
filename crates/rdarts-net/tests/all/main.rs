//! Networks against the float64 bodies, golden values and PyTorch; on a graphics card too. One program: each that has Burn inside
//! takes half a minute to compile and link. `tests/gpu.rs` counts what happens in its whole process, so it has one of its own.

mod curvature;
mod discrete;
mod disparity;
mod fused;
mod golden;
mod operations;
mod own;

#[path = "../../../../tests/engine.rs"]
mod engine;

#[path = "../../../../tests/skip.rs"]
mod skip;
