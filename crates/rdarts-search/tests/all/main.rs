//! The search over whole small networks. One program: each that has Burn inside takes half a minute to compile and link. Those
//! for graphics cards are programs of their own, since one of them takes all cards away from its process.

mod branch;
mod lanczos;
mod loop_;
mod methods;
mod old_state;
mod random_ws;
mod released;
mod retention;
mod shelf;

#[path = "../../../../tests/skip.rs"]
mod skip;
