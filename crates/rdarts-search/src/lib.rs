//! The bilevel search, its optimisers, the alpha-Hessian and the monitor

pub mod monitor;
pub mod optim;
