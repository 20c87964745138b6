//! Operations, search spaces and genotypes: pure data.
//!
//! A cell has two inputs (the outputs of the two cells before it) and `nodes` intermediate nodes. Node j may
//! read from inputs 0 and 1 and from every earlier node, which are inputs 2, 3, ..., so it has 2 + j incoming
//! edges. Edges are numbered node by node: node 0 has edges 0 and 1, node 1 has edges 2, 3 and 4, and so on. Cells of
//! NAS-Bench-201 are wired otherwise: [`Topology`].
//! A [`Space`] lists the operations of each edge in the order of the architecture parameters alpha; a
//! [`Genotype`] is one architecture out of it, with two incoming operations per node.
//!
//! - [`op`]: the closed set of operations
//! - [`topology`]: how the states of a cell are connected
//! - [`space`]: the paper's spaces S1 to S4, the space of 81 architectures, DARTS, and spaces from TOML
//! - [`genotype`]: one architecture, in the notation of the DARTS code and in JSON
//! - [`mod@derive`]: from alphas to a genotype
//! - [`mod@enumerate`]: all architectures of a space, their number, uniform samples
//! - [`mod@published`]: genotypes that have a name
//! - [`disparity`]: spaces and architectures of an encoder-decoder for disparity, of three types of cells
//! - [`mod@reductions`]: which cells of a network reduce
//! - [`select`]: which operation of which edge a genotype uses
//!
//! Nothing here reads a file, a clock or a global generator.

pub mod op;

pub mod topology;

pub mod space;

mod space_toml;

pub mod genotype;

mod parse;

pub mod derive;

pub mod select;

pub mod enumerate;

pub mod published;

pub mod disparity;

pub mod reductions;

pub use derive::{derive, derive_with_edges};
pub use disparity::{DisparityCell, DisparityGenotype, DisparitySpace};
pub use enumerate::{Architectures, count, enumerate, index_of, nth, sample};
pub use genotype::{Genotype, GenotypeError, GenotypeFault, GenotypeReadError};
pub use op::{Op, UnknownOp};
pub use parse::Found;
pub use published::{PLAIN, PUBLISHED, Published, named, published, uniform};
pub use reductions::{MAX_REDUCTIONS, can_reduce_at, default_reductions, reductions_or_default};
pub use select::{Mismatch, Selection, selection};
pub use space::{CellType, MAX_NODES, Space, SpaceError, SpaceFault};
pub use topology::Topology;
