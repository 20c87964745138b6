//! What bytes look like: the formats of files, whatever set they are of.
//!
//! Nothing that a file declares is believed: memory grows with the bytes that arrive, and every reader knows where it
//! has to end.

pub mod read;
pub mod sniff;

pub mod idx;
pub mod mat;

pub mod records;

pub mod cifar;

pub mod facts;
pub mod jpeg;
pub mod picture;

pub mod calib;
pub mod pfm;
pub mod pnm;

pub mod disparity;
