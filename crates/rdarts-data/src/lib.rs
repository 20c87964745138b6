//! Data sets, splits, augmentation and deterministic batches.
//!
//! The way of an image: a file format (`idx` and `mnist`, `cifar`, `svhn`), the built-in subset (`embedded`) or a folder of
//! pictures (`folder`) gives raw bytes in (n, h, w, c) layout (`images`), `dataset` opens them by name and makes them
//! smaller if that is asked for (`shrink`), `split` says
//! which images train the weights and which train the architecture, `batch` chooses the images of a step, and `augment`
//! turns each into normalized floats.
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

mod augment;
mod batch;
mod catalog;
mod check;
mod cifar;
mod dataset;
mod describe;
mod embedded;
mod error;
pub mod fetch;
mod folder;
#[cfg(test)]
mod fuzz;
mod idx;
mod images;
mod locate;
mod mat;
mod memory;
mod mnist;
mod prefetch;
mod sheet;
mod shrink;
#[cfg(test)]
#[path = "../../../tests/skip.rs"]
mod skip;
mod sniff;
mod split;
mod svhn;

pub use augment::{Augment, Norm};
pub use batch::{Batch, Loader, draw_distinct, epoch_order, eval_batches, make_batch};
pub use catalog::{Entry, catalog, entry, recognise};
pub use check::{FileCheck, check_files};
pub use dataset::{Cache, Checked, Dataset, NAMES, Options, Silent, Watch, check, open, open_with};
pub use describe::imbalance;
pub use error::DataError;
pub use folder::{NAME as FOLDER, Shape, shape};
pub use images::{Images, Pixels, Stored, channel_statistics};
pub use memory::available as available_memory;
pub use prefetch::Prefetch;
pub use rdarts_text::{escaped, shown};
pub use sheet::contact_sheet;
pub use split::{Split, split};
