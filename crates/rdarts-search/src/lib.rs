//! The bilevel search (DARTS), the alpha-Hessian, and what the monitor makes of it (DARTS-ES, DARTS-ADA); beside it random
//! search with weight sharing (RS-ws).
//!
//! Reading order: [`dirichlet`] (draws that move with their concentrations), [`projection`] (what a selection has decided), [`architecture`] (what a search learns beside the weights), [`batches`] (which images a step and a
//! measurement see), [`Search`] (a spec made concrete), `bilevel` (the step), [`methods`] (others that share the loop), [`score`] (accuracies after an epoch), [`selection`] (the decisions of DARTS-PT),
//! [`random_ws`] (architectures drawn at random, trained and chosen from), [`lanczos`] (the dominant eigenvalue), [`hessian`] (of the mean loss of several batches), [`landscape`] (the loss along lines), [`rules`] (of the monitor,
//! from a spec), [`job`] (all this for the loop of `rdarts-train`), [`branch`] (on from what another search has computed), [`disparity`] (the same for stereo pairs).

pub mod dirichlet;

pub mod projection;

pub mod architecture;

pub mod batches;

mod bilevel;

mod search;

pub mod methods;

pub mod score;

pub mod selection;

pub mod random_ws;

pub mod lanczos;

pub mod hessian;

pub mod rules;

pub mod landscape;

pub mod job;

pub mod branch;

pub mod disparity;

pub use architecture::{Architecture, Scores};
pub use disparity::{DisparityFound, DisparitySearch};
pub use job::Found;
pub use search::{Search, fit_hessian_batches, open_space};

/// A search between two steps.
pub type State = rdarts_train::State<Architecture>;
