//! Data sets, splits, augmentation and deterministic batches.
//!
//! The way of an image: `formats` knows what bytes look like, `sets` which files a data set is made of, and `catalog`
//! opens each by its name and makes it smaller if that is asked for (`shrink`). That is a `Dataset` of raw bytes in
//! (n, h, w, c) layout (`images`). `split` says which images train the weights, which train the architecture and which are
//! held out, `batch` chooses the images of a step, and `augment` turns each into normalized floats.
//!
//! Pairs of views for estimating disparity go the same way beside them, see [`stereo`]: `pair`, `scenes` (rendered ones),
//! the layouts in `sets`, batches of their own.
//!
//! Modules stand in the order in which they can be read: each uses only those before it.
//!
//! Every batch is a pure function of (data, seed, epoch or step): a run that stops and goes on sees the
//! same images with the same augmentation, and making batches ahead on another thread changes nothing.
//!
//! ```
//! use rdarts_data::{Augment, Loader, open};
//! use std::sync::Arc;
//!
//! let data = Arc::new(open("fashion-mini", None)?);
//! let halves = data.split(0.5, None, 64)?;
//! let weights = Loader::new(data.clone(), halves.train, 64, 1, "train");
//! let alphas = Loader::new(data.clone(), halves.valid, 64, 1, "valid");
//! let augment = Some(Augment { crop_padding: 4, flip: true, ..Augment::NONE });
//! let first = weights.epoch(0, 0, augment).next().unwrap()?;
//! assert_eq!((first.n, first.height, first.width, first.channels), (64, 28, 28, 1));
//! assert_eq!(alphas.draw(0, augment)?.labels.len(), 64);
//! # Ok::<(), rdarts_data::DataError>(())
//! ```

mod error;
mod positioned;

mod images;
mod shrink;
mod split;
mod statistics;

mod dataset;

mod pair;
mod scenes;

mod formats;
mod locate;
mod memory;
mod sets;

mod catalog;
pub mod fetch;

mod augment;
mod batch;
mod prefetch;
mod sheet;

pub mod stereo;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
#[path = "../../../tests/skip.rs"]
mod skip;

pub use rdarts_text::{escaped, shown};

pub use crate::augment::{Augment, Record};
pub use crate::batch::{
    Batch, Loader, Recipe, balanced_order, draw_distinct, epoch_order, eval_batches, make_batch, n_joined,
};
pub use crate::catalog::{
    Entry, FOLDER, NAMES, Outline, Place, catalog, check, check_files, entry, open, open_with, outline, recognise,
};
pub use crate::dataset::{Cache, Checked, Dataset, Options, Shape, Silent, Watch};
pub use crate::error::DataError;
pub use crate::formats::picture::Picture;
pub use crate::images::{Images, Pixels, Stored};
pub use crate::memory::available as available_memory;
pub use crate::prefetch::Prefetch;
pub use crate::sets::FileCheck;
pub use crate::sets::folder::{pictures, read_picture, shape};
pub use crate::sheet::{contact_sheet, png_of};
pub use crate::split::{Split, hold_out, split};
pub use crate::statistics::{Norm, channel_statistics, imbalance};
