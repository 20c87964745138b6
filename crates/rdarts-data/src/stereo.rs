//! Stereo pairs on their way to a network that estimates disparity: augmentation, batches, pictures.
//!
//! ```
//! use rdarts_data::stereo::{StereoAugment, StereoLoader, open};
//! use std::sync::Arc;
//!
//! let data = open("stereo-scenes", None)?;
//! let train = StereoLoader::new(Arc::new(data.train), 0..64, 2, [32, 64], 1, "train");
//! let batch = train.epoch(0, 0, Some(StereoAugment::PAPER)).next().unwrap()?;
//! assert_eq!((batch.n, batch.height, batch.width, batch.views.len()), (2, 32, 64, 2 * 32 * 64 * 6));
//! # Ok::<(), rdarts_data::DataError>(())
//! ```

mod augment;
mod batch;
mod colour;
mod open;

mod facts;
mod sheet;
mod shown;

pub use self::augment::{Spread, StereoAugment};
pub use self::batch::{StereoBatch, StereoEval, StereoLoader, stereo_eval_batches};
pub use self::colour::{UNKNOWN, coloured, coloured_png};
pub use self::facts::StereoFacts;
pub use self::open::{StereoOptions, doubt, open, open_with, stereo_at, stereo_check, stereo_set};
pub use self::sheet::stereo_sheet;
pub use self::shown::{PairShown, pair_shown};
pub use crate::formats::disparity::{Coding, Map, encode, read as read_disparity, read_view};
pub use crate::pair::{Pair, PhotoError};
pub use crate::scenes::Scenes;
pub use crate::sets::stereo::{FOLDER, Pairs, SCENES, SETS, StereoDataset, StereoSet, names, read_truth, recognise};
