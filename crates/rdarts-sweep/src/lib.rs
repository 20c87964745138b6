//! Many runs of one plan: what its members are, what became of each, and the script that gives them to a cluster.
//!
//! Nothing here computes or starts a process. A sweep has no state but its plan, a copy of which lies beside the members,
//! their run directories and logs, and the numbers of the arrays that were submitted: whoever wants to know how far it is
//! reads the run directories.
//!
//! - [`plan`]: the file that a user writes
//! - [`mod@members`]: the runs that it stands for, their names, specs and command lines
//! - [`folder`]: the directory of a sweep
//! - [`standing`]: what became of a member
//! - [`mod@array`]: the members as one array of Slurm

mod error;

pub mod plan;

pub mod members;

pub mod folder;

pub mod standing;

pub mod array;

pub use error::SweepError;
pub use folder::Folder;
pub use members::{Hands, Member, members};
pub use plan::{Kind, Plan};
pub use standing::{Standing, State};
