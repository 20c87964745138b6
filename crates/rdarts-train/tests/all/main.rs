//! The loop over epochs, and the training of a network. One program: each that has Burn inside takes half a minute to compile and
//! link.

mod epochs;
mod training;
