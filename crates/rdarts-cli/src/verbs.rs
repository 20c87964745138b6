//! The verbs, one file each.

pub mod robust;

pub mod search;

pub mod train;

pub mod resume;

pub mod hessian;

pub mod report;

pub mod watch;

pub mod draw;

pub mod bench;

pub mod devices;

pub mod data;

pub mod predict;

pub mod test;

pub mod export;

pub mod import;

pub mod table;

pub mod sweep;

pub mod completions;

pub mod man;
