//! Which images a step sees, and which the curvature is measured on.

use std::sync::Arc;

use rdarts_data::{Batch as ImageBatch, DataError, Loader, Split};
use rdarts_net::{Batch, CellNoise, Network};
use rdarts_run::{HessianImages, SearchSpec};
use rdarts_train::images::{as_batch, augment};
use rdarts_train::schedule::drop_path_probability;
use rdarts_train::{Position, SplitImages, Streams, TrainError};

/// The images of one weight step and of one alpha step; methods that learn no alphas have none of these.
pub type StepBatches = (ImageBatch, Option<ImageBatch>);

/// A batch with the drop-path factors and the noise of every cell.
pub type NoisyBatch = (ImageBatch, Vec<Arc<CellNoise>>);

/// What a measurement can be made on.
pub trait AsBatch {
    /// As the network wants it.
    fn as_batch(&self) -> Batch<'_, f32>;
}

impl AsBatch for NoisyBatch {
    fn as_batch(&self) -> Batch<'_, f32> {
        as_batch(&self.0, &self.1)
    }
}

/// The epoch that schedules are at: a selection after the search leaves them where they end.
pub(crate) fn within(spec: &SearchSpec, epoch: usize) -> usize {
    epoch.min(spec.search.epochs - 1)
}

/// The batches of the epoch that are left, or with `recipes` how a card makes them.
pub fn step_batches(
    images: &SplitImages,
    spec: &SearchSpec,
    at: &Position,
    recipes: bool,
) -> impl Iterator<Item = Result<StepBatches, DataError>> + Send + 'static {
    let (epoch, batch) = (at.epoch, spec.search.batch);
    let (seed, augment) =
        (Streams::new(spec.seed, at.attempt).seed(), augment(&spec.augment, within(spec, epoch), spec.search.epochs));
    let weights =
        Loader::new(images.data.clone(), images.split.train.clone(), batch, seed, "train").as_recipes(recipes);
    let alphas = Loader::new(images.data.clone(), images.split.valid.clone(), batch, seed, "valid").as_recipes(recipes);
    let has_alphas = spec.search.method.learns_alphas();
    let start = (epoch * images.steps(batch) + at.step) as u64;
    weights
        .epoch(epoch as u64, at.step, Some(augment))
        .zip(start..)
        .map(move |(train, step)| Ok((train?, has_alphas.then(|| alphas.draw(step, Some(augment))).transpose()?)))
}

/// The batches that the curvature after an epoch is measured on, each with its noise: the last of the epoch, as the
/// released code takes one, or the same after every epoch.
///
/// # Errors
/// One sentence if the images are in a file that cannot be read any more.
pub fn hessian_batches(
    images: &SplitImages,
    net: &Network,
    spec: &SearchSpec,
    attempt: usize,
    epoch: usize,
) -> Result<Vec<NoisyBatch>, TrainError> {
    let (n, batch, valid) = (spec.hessian.batches, spec.search.batch, &images.split.valid);
    let drop_path = drop_path_probability(spec.search.drop_path, within(spec, epoch), spec.search.epochs);
    match spec.hessian.images {
        HessianImages::Last => {
            let streams = Streams::new(spec.seed, attempt);
            let alphas = Loader::new(images.data.clone(), valid.clone(), batch, streams.seed(), "valid");
            let end = (epoch + 1) * images.steps(batch);
            let augment = augment(&spec.augment, within(spec, epoch), spec.search.epochs);
            let of = |step: usize| {
                let images = alphas.draw(step as u64, Some(augment)).map_err(TrainError::failed)?;
                // The last one's noise has a name of its own, whatever their number.
                let (name, position) =
                    if step + 1 == end { ("noise-hessian", epoch) } else { ("noise-hessian-earlier", step) };
                let noise = streams.noise(net, drop_path, name, position as u64, images.n);
                Ok((images, noise))
            };
            (end - n..end).map(of).collect()
        }
        HessianImages::Fixed => {
            // Of the first attempt, so that drop path draws the same after a rollback.
            let streams = Streams::new(spec.seed, 0);
            let (norm, range) = (images.data.norm(), valid.start..valid.start + n * batch);
            let of = |(i, images): (usize, Result<ImageBatch, DataError>)| {
                let images = images.map_err(TrainError::failed)?;
                let noise = streams.noise(net, drop_path, "noise-hessian-fixed", i as u64, images.n);
                Ok((images, noise))
            };
            rdarts_data::eval_batches(&images.data.train, range, batch, &norm).enumerate().map(of).collect()
        }
    }
}

/// How many batches the curvature can be measured on at most, of the images that a spec names.
pub fn most_hessian_batches(spec: &SearchSpec, split: &Split) -> usize {
    match spec.hessian.images {
        HessianImages::Last => split.train.len().div_ceil(spec.search.batch),
        HessianImages::Fixed => split.valid.len() / spec.search.batch,
    }
}

/// Refuses to measure the curvature on more batches than there are.
pub(crate) fn check_hessian_batches(spec: &SearchSpec, split: &Split) -> Result<(), TrainError> {
    let n = spec.hessian.batches;
    if n <= most_hessian_batches(spec, split) {
        return Ok(());
    }
    let there_are = few_hessian_batches(spec, split);
    Err(TrainError::Input(format!("hessian.batches is {n}, but {there_are}: lower it or search.batch")))
}

/// `an epoch has only 5 batches of 64 images`.
pub(crate) fn few_hessian_batches(spec: &SearchSpec, split: &Split) -> String {
    let (most, batch) = (most_hessian_batches(spec, split), spec.search.batch);
    let what = match spec.hessian.images {
        HessianImages::Last => "an epoch has",
        HessianImages::Fixed => "the images that train the alphas fill",
    };
    let batches = if most == 1 { "batch" } else { "batches" };
    format!("{what} only {most} {batches} of {batch} images")
}
