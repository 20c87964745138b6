//! The bilevel search (DARTS), its optimisers, the alpha-Hessian and the monitor (DARTS-ES, DARTS-ADA).
//!
//! Reading order: [`problem`] (a spec made concrete), [`state`] (what changes), [`search`] (the loop), [`measure`]
//! (what an epoch ends with), [`lanczos`] (the dominant eigenvalue), [`monitor`] (the decision), [`retention`] (what it
//! may still ask for), [`optim`].

pub mod problem;

pub mod state;

pub mod search;

pub mod measure;

pub mod lanczos;

pub mod monitor;

pub mod retention;

pub mod optim;

mod error;

#[cfg(test)]
#[path = "../../../tests/skip.rs"]
mod skip;

pub use error::SearchError;
