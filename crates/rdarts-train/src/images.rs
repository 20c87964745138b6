//! The images that a spec names: opened, normalised, split, and how they are augmented.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rdarts_data::{Augment, Batch as ImageBatch, Cache, Dataset, Images, Options, Pixels, Split, Watch};
use rdarts_net::{Batch, CardImages, CellNoise, Engine, Held, Targets};
use rdarts_run::{AugmentSpec, CutoutSchedule, DataSpec, Statistics};

use crate::error::TrainError;
use crate::schedule::cutout_probability;

/// The images that a spec names, read and not yet split: several runs may share them.
#[derive(Clone)]
pub struct ImageSet {
    /// All of them.
    pub data: Arc<Dataset>,
    /// Of the training images: the same on other files with the same contents only.
    train_fingerprint: String,
    /// Of all images and the names of the classes.
    fingerprint: String,
}

/// The images of a run.
pub struct SplitImages {
    /// All of them.
    pub data: Arc<Dataset>,
    /// Which of the training images train what.
    pub split: Split,
    /// Of what the run reads: the same on other files with the same contents only.
    pub fingerprint: String,
}

impl ImageSet {
    /// Opens the images of section `[data]`.
    ///
    /// # Errors
    /// One sentence if the data set is unknown or damaged.
    pub fn open(spec: &DataSpec, watch: &dyn Watch) -> Result<Self, TrainError> {
        let mut data = rdarts_data::open_with(&spec.name, data_dir(spec), &data_options(spec, watch))?;
        if spec.statistics == Statistics::Computed {
            (data.mean, data.std) = rdarts_data::channel_statistics(&data.train)?;
        }
        let train_fingerprint = format!("{:016x}", data.train.fingerprint());
        let fingerprint = format!("{:016x}", data.fingerprint());
        Ok(Self { data: Arc::new(data), train_fingerprint, fingerprint })
    }

    /// Changes with any image, label or class, those of the test part too.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The images of a search: a fraction of the training images for the weights, the rest for the alphas, in batches of
    /// so many. A search never reads the test images.
    ///
    /// # Errors
    /// One sentence if too few images are left.
    pub fn split(&self, spec: &DataSpec, train_fraction: f64, batch: usize) -> Result<SplitImages, TrainError> {
        let split = self.data.split(train_fraction, limit(spec), batch).map_err(|e| {
            TrainError::Input(format!("{e} (data.limit, data.train_fraction and search.batch decide this)"))
        })?;
        Ok(SplitImages { data: self.data.clone(), split, fingerprint: self.train_fingerprint.clone() })
    }

    /// The images of a training from scratch, of which the last `valid_fraction` are held out.
    ///
    /// # Errors
    /// As [`ImageSet::split`].
    pub fn hold_out(&self, spec: &DataSpec, valid_fraction: f64, batch: usize) -> Result<SplitImages, TrainError> {
        let split = self.data.hold_out(valid_fraction, limit(spec), batch).map_err(|e| {
            TrainError::Input(format!("{e} (data.limit, data.valid_fraction and train.batch decide this)"))
        })?;
        Ok(SplitImages { data: self.data.clone(), split, fingerprint: self.fingerprint.clone() })
    }
}

impl SplitImages {
    /// Rows and columns of an image.
    pub fn side(&self) -> [usize; 2] {
        [self.data.train.height, self.data.train.width]
    }

    /// Batches of so many in which every image that trains the weights comes once.
    pub fn steps(&self, batch: usize) -> usize {
        self.split.train.len().div_ceil(batch)
    }
}

/// So many of the training images, if not all.
fn limit(spec: &DataSpec) -> Option<usize> {
    (spec.limit > 0).then_some(spec.limit)
}

/// The directory of a spec's data, if it names one.
pub fn data_dir(data: &DataSpec) -> Option<&Path> {
    (!data.dir.is_empty()).then(|| Path::new(&data.dir))
}

/// How a spec's data is opened.
pub fn data_options<'a>(data: &DataSpec, watch: &'a dyn Watch) -> Options<'a> {
    let cache = match data.cache.as_str() {
        "" => Cache::IfNeeded,
        "auto" => Cache::Usual,
        path => Cache::At(path.into()),
    };
    let DataSpec { size, channels, test_fraction, split_seed, .. } = *data;
    Options { size, channels, test_fraction, split_seed, cache, memory: None, watch }
}

/// The augmentation of an epoch.
pub fn augment(spec: &AugmentSpec, epoch: usize, n_epochs: usize) -> Augment {
    let cutout_prob = match spec.cutout_schedule {
        CutoutSchedule::Constant => spec.cutout_prob,
        CutoutSchedule::Linear => cutout_probability(spec.cutout_prob, epoch, n_epochs),
    };
    Augment { crop_padding: spec.crop_padding, flip: spec.flip, cutout_length: spec.cutout_length, cutout_prob }
}

/// A batch as a network wants it.
pub fn as_batch<'a>(images: &'a ImageBatch, noise: &'a [Arc<CellNoise>]) -> Batch<'a, f32> {
    as_made_batch(images, None, noise)
}

/// The same of a batch that a card has made, if it is a recipe: see [`OnCard::make`].
pub fn as_made_batch<'a>(
    images: &'a ImageBatch,
    made: Option<&'a Held>,
    noise: &'a [Arc<CellNoise>],
) -> Batch<'a, f32> {
    let (side, targets) = ([images.height, images.width], Targets::Labels(&images.labels));
    Batch { images: made.map_or_else(|| (&images.images).into(), Into::into), side, targets, noise }
}

/// The training images of a run on the card that computes it, once a batch has been asked for: as bytes, if they fit.
#[derive(Debug, Default)]
pub struct OnCard(OnceLock<Option<CardImages>>);

impl OnCard {
    /// Whether they are there; sends them up the first time.
    pub fn is_there(&self, engine: &Engine, data: &Dataset) -> bool {
        let up = || {
            let Images { height, width, channels, .. } = data.train;
            let Pixels::Memory(bytes) = &data.train.pixels else { return None };
            CardImages::upload(engine, bytes, data.norm().table(), [height, width, channels])
        };
        self.0.get_or_init(up).is_some()
    }

    /// Makes a batch of a recipe; of one that is made already there is nothing to do.
    pub fn make(&self, batch: &ImageBatch) -> Option<Held> {
        let recipe = batch.recipe.as_ref()?;
        let images = self.0.get().and_then(Option::as_ref).expect("recipes are for images that are on the card");
        Some(images.make(&recipe.records, recipe.padding))
    }
}
