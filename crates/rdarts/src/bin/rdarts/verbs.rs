//! The verbs, one file each.

pub mod search;

pub mod resume;

pub mod hessian;

pub mod bench;

pub mod data;

pub mod predict;

pub mod test;

pub mod export;

pub mod import;
