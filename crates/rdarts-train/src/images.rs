//! The images that a spec names: opened, normalised, split, and how they are augmented.

use std::path::Path;
use std::sync::Arc;

use rdarts_data::{Augment, Batch as ImageBatch, Cache, Dataset, Options, Split, Watch};
use rdarts_net::{Batch, CellNoise, Targets};
use rdarts_run::{AugmentSpec, CutoutSchedule, DataSpec, Statistics};

use crate::error::TrainError;
use crate::schedule::cutout_probability;

/// The images of a run.
pub struct SplitImages {
    /// All of them.
    pub data: Arc<Dataset>,
    /// Which of the training images train what.
    pub split: Split,
    /// Of the training images: the same on other files with the same contents only.
    pub fingerprint: String,
}

impl SplitImages {
    /// Opens the images of section `[data]` and splits them, a fraction for training, for batches of so many; `batch_key`
    /// is the key that says so.
    ///
    /// # Errors
    /// One sentence if the data set is unknown or damaged, or if the split leaves too few images.
    pub fn open(
        spec: &DataSpec,
        train_fraction: f64,
        batch: usize,
        batch_key: &str,
        watch: &dyn Watch,
    ) -> Result<Self, TrainError> {
        let data = read(spec, watch)?;
        let split = data.split(train_fraction, limit(spec), batch).map_err(|e| {
            TrainError::Input(format!("{e} (data.limit, data.train_fraction and {batch_key} decide this)"))
        })?;
        Ok(Self::new(data, split))
    }

    /// Opens the images of a training from scratch, of which the last `valid_fraction` are held out.
    ///
    /// # Errors
    /// As [`SplitImages::open`].
    pub fn hold_out(spec: &DataSpec, valid_fraction: f64, batch: usize, watch: &dyn Watch) -> Result<Self, TrainError> {
        let data = read(spec, watch)?;
        let split = data.hold_out(valid_fraction, limit(spec), batch).map_err(|e| {
            TrainError::Input(format!("{e} (data.limit, data.valid_fraction and train.batch decide this)"))
        })?;
        Ok(Self::new(data, split))
    }

    fn new(data: Dataset, split: Split) -> Self {
        let fingerprint = format!("{:016x}", data.train.fingerprint());
        Self { data: Arc::new(data), split, fingerprint }
    }

    /// Rows and columns of an image.
    pub fn side(&self) -> [usize; 2] {
        [self.data.train.height, self.data.train.width]
    }

    /// Batches of so many in which every image that trains the weights comes once.
    pub fn steps(&self, batch: usize) -> usize {
        self.split.train.len().div_ceil(batch)
    }
}

fn read(spec: &DataSpec, watch: &dyn Watch) -> Result<Dataset, TrainError> {
    let mut data = rdarts_data::open_with(&spec.name, data_dir(spec), &data_options(spec, watch))?;
    if spec.statistics == Statistics::Computed {
        (data.mean, data.std) = rdarts_data::channel_statistics(&data.train)?;
    }
    Ok(data)
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
    let targets = Targets::Labels(&images.labels);
    Batch { images: &images.images, side: [images.height, images.width], targets, noise }
}
