//! A table of all architectures of a small space, each trained from scratch with one or more seeds: the truth that a
//! search is measured against (Zela et al., ICLR 2020, section 3: 81 architectures; NAS-Bench-101, Ying et al., ICML
//! 2019).
//!
//! # The format
//!
//! One text file, a line of JSON for each fact. The first line is the [`Header`]:
//!
//! ```text
//! {"table":1,"rdarts":"0.1.0","space":"…","spec":"…","images":"…","seeds":[1,2,3],"check":"…"}
//! ```
//!
//! `space` is the space as TOML, `spec` the training as TOML, with neither genotype nor seed nor the places of files; `images`
//! is the fingerprint of the images. Every other line is an [`Entry`], the training of one architecture with one seed, in the order in which they were finished:
//!
//! ```text
//! {"architecture":17,"genotype":"Genotype(…)","seed":1,"n_params":3112,…,"check":"9f2c41d07a6be815"}
//! ```
//!
//! `architecture` is its number in [`rdarts_space::enumerate()`]. `check` is the beginning of the BLAKE3 hash of the line up
//! to that key: a line that was changed, damaged or written half is known by it, and what it held is made again.

mod error;

mod entry;

mod query;

mod regret;

mod file;

pub use entry::{EACH, Entry, Header, n_architectures};
pub use error::TableError;
pub use file::{Appender, Fault};
pub use query::{Row, Spread, Table};
pub use regret::{Optimum, Standing, Unmeasured};

/// The version of the format.
pub const FORMAT: u32 = 1;

/// The most architectures of a space that a table is made of.
pub const MOST: u128 = 10_000;
