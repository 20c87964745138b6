//! Studies: many searches and trainings as one run.
//!
//! A [`portfolio`] is R-DARTS ("Understanding and Robustifying Differentiable Architecture Search", section 5.3): several
//! searches with different regularisation, a short training of what each has found, the choice of the best on held-out
//! images, and its whole training beside baselines. Every search and training is a run of its own in the directory
//! `members`, which can be read, resumed and trained further by itself.
//!
//! Its searches and trainings are those of a classifier ([`Portfolio`]) or of a network for disparity
//! ([`DisparityPortfolio`]).
//!
//! A [`table`] is every architecture of a small space, trained alike: the truth that searches are measured against.
//!
//! Reading order: `members` (one run within the study), [`portfolio`], its tasks `images` and `disparity`, [`plan`] (how long it
//! takes).

mod members;

pub mod portfolio;

mod images;

mod disparity;

pub mod plan;

pub mod table;

pub use disparity::{DisparityPairs, DisparityPortfolio};
pub use images::{Portfolio, Sizes};
pub use portfolio::{Audience, Member, Report, Task};
