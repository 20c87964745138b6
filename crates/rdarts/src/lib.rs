//! Robust differentiable architecture search: the library behind the `rdarts` program, under one name.
//!
//! | module | what |
//! |---|---|
//! | [`space`] | operations, search spaces, genotypes |
//! | [`data`] | data sets, splits, augmentation, batches |
//! | [`kernels`] | fused operations on slices, with their first and second derivatives |
//! | [`net`] | the supernet, its gradients and Hessian-vector products |
//! | [`train`] | optimisers, schedules, the epoch loop |
//! | [`search`] | the bilevel search, the dominant eigenvalue |
//! | [`study`] | portfolios of searches and trainings (R-DARTS) |
//! | [`export`] | trained networks for other programs, and checkpoints of theirs |
//! | [`monitor`] | the stopping rules |
//! | [`run`] | specs, events, run directories, checkpoints |
//! | [`rng`] | named random streams |
//!
//! ```
//! use rdarts::space::{Space, count};
//! assert_eq!(count(&Space::builtin("tiny").unwrap()), Some(81));
//! ```

pub use rdarts_data as data;
pub use rdarts_export as export;
pub use rdarts_kernels as kernels;
pub use rdarts_monitor as monitor;
pub use rdarts_net as net;
pub use rdarts_rng as rng;
pub use rdarts_run as run;
pub use rdarts_search as search;
pub use rdarts_space as space;
pub use rdarts_study as study;
pub use rdarts_train as train;
