//! The cell's passes as kernels for graphics cards: value and reverse pass, in the kernel language of Burn (CubeCL); and what
//! stays on a card from one step to the next: weights with their optimiser, running statistics, the images of a set.
//!
//! The schedule is the CPU's ([`Outline`](rdarts_kernels::outline::Outline)): stages between batch norms, batch norms as
//! sums over the batch and coefficients per channel. A launch takes all branches of one kind that are ready; what it works
//! on stands in a table of numbers (`table.rs`), a row for each branch. Activations are (n, h, w, c), in one buffer for a
//! cell. Sums are taken tile by tile and added in a fixed order, so that a card repeats itself.
#![cfg(feature = "on")]

mod counted;

mod table;

mod kernels;

mod launch;

mod norms;

mod flat;

mod images;

mod places;

mod forward;

mod backward;

mod stem;

mod head;

pub mod layers;

pub use backward::{Gradients, Want, backward, n_launches as n_backward_launches};
pub use counted::{AllLaunches, Counted, Launches, came_down, counted, went_up};
pub use cubecl;
pub use flat::{AdamStep, Flat, Layout, SgdStep, Stretch};
pub use forward::{Saved, fits, forward, n_launches};
pub use head::{Head, HeadSaved};
pub use images::{Images, Record};
pub use launch::{Input, Numbers};
pub use norms::Norms;
pub use stem::{Stem, StemSaved};
