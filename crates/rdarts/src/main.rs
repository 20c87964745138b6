//! The `rdarts` program.
fn main() {}
