//! A spec made concrete: the space, the images and their split, the supernet, and all that is random in a step.
//!
//! Everything random is a pure function of (seed, name, position): batches, augmentation, drop-path factors and
//! noise of step t are the same whether the search got there in one go or was killed on the way. After a rollback
//! of DARTS-ADA the seed is another one, so that the repeated epochs see other batches.

use std::path::Path;
use std::sync::Arc;

use rdarts_data::{Augment, Batch as Images, Cache, DataError, Dataset, Loader, Options, Silent, Split, Watch};
use rdarts_kernels::spec::CellNoise;
use rdarts_net::{Batch, Device, Network, SupernetSpec, Targets};
use rdarts_rng::Stream;
use rdarts_run::{CutoutSchedule, DataSpec, HessianImages, HessianSpec, SearchSpec, Statistics};
use rdarts_space::{CellType, Space};

use crate::error::SearchError;
use crate::optim::drop_path_probability;

/// Everything a search needs that does not change while it runs.
pub struct Problem {
    /// The resolved spec.
    pub spec: SearchSpec,
    /// The search space.
    pub space: Space,
    /// The images.
    pub data: Arc<Dataset>,
    /// Which of them train the weights and which the alphas.
    pub split: Split,
    /// The network.
    pub net: Network,
    /// Where tensors live.
    pub device: Device,
    /// Of the training images: the same on other files with the same contents only.
    pub fingerprint: String,
}

/// The images of one weight step and one alpha step.
pub type StepBatches = (Images, Images);

/// A batch with the drop-path factors and the noise of every cell.
pub type NoisyBatch = (Images, Vec<Arc<CellNoise>>);

impl Problem {
    /// Reads the data and lays out the network.
    ///
    /// # Errors
    /// One sentence if the space or the data set is unknown or damaged, if the split leaves too few images, or if
    /// a search step would need more memory than the machine has.
    pub fn new(spec: SearchSpec, space: Space) -> Result<Self, SearchError> {
        Self::watched(spec, space, &Silent)
    }

    /// Like [`Problem::new`], telling `watch` what takes long and what was noticed while the data is read.
    ///
    /// # Errors
    /// As for `new`.
    pub fn watched(spec: SearchSpec, space: Space, watch: &dyn Watch) -> Result<Self, SearchError> {
        Self::build(spec, space, watch, false)
    }

    /// Like [`Problem::watched`] for a spec whose `hessian.batches` is a preset's: it is lowered to what the images
    /// fill.
    ///
    /// # Errors
    /// As for `new`.
    pub fn fitted(spec: SearchSpec, space: Space, watch: &dyn Watch) -> Result<Self, SearchError> {
        Self::build(spec, space, watch, true)
    }

    fn build(mut spec: SearchSpec, space: Space, watch: &dyn Watch, fit: bool) -> Result<Self, SearchError> {
        let mut data = rdarts_data::open_with(&spec.data.name, data_dir(&spec.data), &data_options(&spec.data, watch))?;
        if spec.data.statistics == Statistics::Computed {
            (data.mean, data.std) = rdarts_data::channel_statistics(&data.train)?;
        }
        let limit = (spec.data.limit > 0).then_some(spec.data.limit);
        let split = data.split(spec.data.train_fraction, limit, spec.search.batch).map_err(|e| {
            SearchError::Input(format!("{e} (data.limit, data.train_fraction and search.batch decide this)"))
        })?;
        if fit {
            spec.hessian.batches = spec.hessian.batches.min(most_hessian_batches(&spec, &split)).max(1);
        }
        check_hessian_batches(&spec, &split)?;
        augment(&spec, 0)
            .check(data.train.height, data.train.width)
            .map_err(|e| SearchError::Input(format!("{e} (section [augment] of the spec)")))?;
        let (channels, classes) = (data.train.channels, data.classes.len());
        let net = Network::supernet(SupernetSpec {
            stem_multiplier: spec.network.stem_multiplier,
            ..SupernetSpec::from_space(&space, spec.network.cells, spec.network.channels, channels, classes)
        });
        let fingerprint = format!("{:016x}", data.train.fingerprint());
        let problem = Self { spec, space, data: Arc::new(data), split, net, device: Device::flex(), fingerprint };
        problem.check_memory()?;
        Ok(problem)
    }

    /// The spec without what may differ between two machines: the directory and the cache of the data, and the place of
    /// the space's file. The contents of both are recorded by themselves.
    pub fn spec_without_places(&self) -> SearchSpec {
        let mut spec = self.spec.clone();
        spec.data.dir.clear();
        spec.data.cache.clear();
        spec.space.name.clone_from(&self.space.name);
        spec
    }

    /// Rows and columns of the images.
    pub fn side(&self) -> [usize; 2] {
        [self.data.train.height, self.data.train.width]
    }

    /// Weight steps of an epoch.
    pub fn steps_per_epoch(&self) -> usize {
        self.split.train.len().div_ceil(self.spec.search.batch)
    }

    /// Number of architecture parameters, normal and reduction cells.
    pub fn n_alphas(&self) -> [usize; 2] {
        [self.space.n_alphas(CellType::Normal), self.space.n_alphas(CellType::Reduce)]
    }

    /// The batches of an epoch from its step `first` on.
    pub fn batches(
        &self,
        attempt: usize,
        epoch: usize,
        first: usize,
    ) -> impl Iterator<Item = Result<StepBatches, DataError>> + Send + 'static {
        let (seed, augment) = (self.seed(attempt), augment(&self.spec, epoch));
        let batch = self.spec.search.batch;
        let weights = Loader::new(self.data.clone(), self.split.train.clone(), batch, seed, "train");
        let alphas = Loader::new(self.data.clone(), self.split.valid.clone(), batch, seed, "valid");
        let start = (epoch * self.steps_per_epoch() + first) as u64;
        weights
            .epoch(epoch as u64, first, Some(augment))
            .zip(start..)
            .map(move |(train, step)| Ok((train?, alphas.draw(step, Some(augment))?)))
    }

    /// The batches that the curvature after an epoch is measured on, each with its noise: the last of the epoch, as the
    /// released code takes one, or the same after every epoch.
    ///
    /// # Errors
    /// One sentence if the images are in a file that cannot be read any more.
    pub fn hessian_batches(&self, attempt: usize, epoch: usize) -> Result<Vec<NoisyBatch>, SearchError> {
        let (n, batch) = (self.spec.hessian.batches, self.spec.search.batch);
        let valid = &self.split.valid;
        match self.spec.hessian.images {
            HessianImages::Last => {
                let alphas = Loader::new(self.data.clone(), valid.clone(), batch, self.seed(attempt), "valid");
                let end = (epoch + 1) * self.steps_per_epoch();
                let of = |step: usize| {
                    let images =
                        alphas.draw(step as u64, Some(augment(&self.spec, epoch))).map_err(SearchError::failed)?;
                    // The last one's noise has a name of its own, whatever their number.
                    let (name, position) =
                        if step + 1 == end { ("noise-hessian", epoch) } else { ("noise-hessian-earlier", step) };
                    let noise = self.noise(attempt, Some(epoch), name, position as u64, images.n);
                    Ok((images, noise))
                };
                (end - n..end).map(of).collect()
            }
            HessianImages::Fixed => {
                let (norm, range) = (self.data.norm(), valid.start..valid.start + n * batch);
                let images = rdarts_data::eval_batches(&self.data.train, range, batch, &norm);
                let of = |(i, images): (usize, Result<Images, DataError>)| {
                    let images = images.map_err(SearchError::failed)?;
                    // Of the first attempt, so that drop path draws the same after a rollback.
                    let noise = self.noise(0, Some(epoch), "noise-hessian-fixed", i as u64, images.n);
                    Ok((images, noise))
                };
                images.enumerate().map(of).collect()
            }
        }
    }

    /// How many batches the curvature can be measured on at most, of the images that the spec names.
    pub fn most_hessian_batches(&self) -> usize {
        most_hessian_batches(&self.spec, &self.split)
    }

    /// Measures the curvature on other batches than the spec says; nothing else changes.
    ///
    /// # Errors
    /// One sentence if there are not so many.
    pub fn measure_on(&mut self, hessian: HessianSpec) -> Result<(), SearchError> {
        self.spec.hessian = hessian;
        check_hessian_batches(&self.spec, &self.split)?;
        self.check_memory()
    }

    /// Drop-path factors and noise keys of all cells for a batch of n images; `name` and `position` say which.
    pub fn noise(
        &self,
        attempt: usize,
        epoch: Option<usize>,
        name: &str,
        position: u64,
        n: usize,
    ) -> Vec<Arc<CellNoise>> {
        let p = epoch.map_or(0.0, |e| drop_path_probability(self.spec.search.drop_path, e, self.spec.search.epochs));
        let mut stream = Stream::new(self.seed(attempt), name, position);
        self.net
            .cells()
            .map(|cell| {
                let n_factors = if p > 0.0 { cell.spec.edges.len() * n } else { 0 };
                let keep = (1.0 / (1.0 - p)) as f32;
                let drop_path = (0..n_factors).map(|_| if stream.chance(p) { 0.0 } else { keep }).collect();
                Arc::new(CellNoise { drop_path, noise_key: stream.next_u64() })
            })
            .collect()
    }

    /// Probability of drop path in an epoch.
    pub fn drop_path(&self, epoch: usize) -> f64 {
        drop_path_probability(self.spec.search.drop_path, epoch, self.spec.search.epochs)
    }

    /// Probability of Cutout in an epoch.
    pub fn cutout(&self, epoch: usize) -> f64 {
        augment(&self.spec, epoch).cutout_prob
    }

    /// The seed of everything random after so many rollbacks.
    pub fn seed(&self, attempt: usize) -> u64 {
        if attempt == 0 { self.spec.seed } else { Stream::new(self.spec.seed, "attempt", attempt as u64).next_u64() }
    }

    fn check_memory(&self) -> Result<(), SearchError> {
        let (spec, batch) = (&self.spec, self.spec.search.batch);
        let mut works = vec![rdarts_net::Work::Gradient];
        if spec.search.order != rdarts_run::Order::First {
            works.push(rdarts_net::Work::SecondOrderStep);
        }
        if spec.hessian.every > 0 {
            works.push(rdarts_net::Work::HessianProduct);
        }
        let estimate = |work| self.net.memory_estimate(batch, self.side(), work);
        let mut step = works.into_iter().map(estimate).max().unwrap_or(0);
        let many = spec.hessian.every > 0 && spec.hessian.batches > 1;
        if many {
            // All batches, and of their passes one that is kept and one that is made again.
            let images = batch * self.side().iter().product::<usize>() * self.data.train.channels;
            step =
                step.max(2 * estimate(rdarts_net::Work::HessianProduct) + (4 * images * spec.hessian.batches) as u64);
        }
        // The images are read already; their batches, the program and the checkpoint in the making come on top.
        let needed = step + 100 * (1 << 20) + 4 * 4 * self.net.n_parameters() as u64;
        let batches = if many { format!("hessian.batches = {}, ", spec.hessian.batches) } else { String::new() };
        let what = format!(
            "{batches}search.batch = {}, network.channels = {} or network.cells = {}",
            self.spec.search.batch, self.spec.network.channels, self.spec.network.cells
        );
        check_memory(needed, &what)
    }
}

/// Refuses work that needs more bytes than the machine has free; `what` names the values to lower.
///
/// # Errors
/// One sentence.
pub fn check_memory(needed: u64, what: &str) -> Result<(), SearchError> {
    let Some(available) = rdarts_data::available_memory() else { return Ok(()) };
    if needed <= available {
        return Ok(());
    }
    let gib = |bytes: u64| bytes as f64 / (1u64 << 30) as f64;
    Err(SearchError::Input(format!(
        "this needs about {:.1} GiB of memory and this process has {:.1} GiB free: lower {what}",
        gib(needed),
        gib(available),
    )))
}

/// The space that a spec names: a built-in one or a file.
///
/// # Errors
/// One sentence if there is no such space or the file is damaged.
pub fn open_space(name: &str) -> Result<Space, SearchError> {
    let is_file = name.ends_with(".toml") || name.contains(std::path::MAIN_SEPARATOR);
    if !is_file {
        return Space::builtin(name).map_err(SearchError::input);
    }
    let text = rdarts_run::read_text("search space", Path::new(name))?;
    Space::from_toml(&text, name).map_err(SearchError::input)
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

/// A batch as the network wants it.
pub fn as_batch<'a>(images: &'a Images, noise: &'a [Arc<CellNoise>]) -> Batch<'a, f32> {
    Batch {
        images: &images.images,
        side: [images.height, images.width],
        targets: Targets::Labels(&images.labels),
        noise,
    }
}

fn most_hessian_batches(spec: &SearchSpec, split: &Split) -> usize {
    match spec.hessian.images {
        HessianImages::Last => split.train.len().div_ceil(spec.search.batch),
        HessianImages::Fixed => split.valid.len() / spec.search.batch,
    }
}

/// Refuses to measure the curvature on more batches than there are.
fn check_hessian_batches(spec: &SearchSpec, split: &Split) -> Result<(), SearchError> {
    let (n, batch) = (spec.hessian.batches, spec.search.batch);
    let most = most_hessian_batches(spec, split);
    let what = match spec.hessian.images {
        HessianImages::Last => "an epoch has",
        HessianImages::Fixed => "the images that train the alphas fill",
    };
    if n <= most {
        return Ok(());
    }
    let batches = if most == 1 { "batch" } else { "batches" };
    Err(SearchError::Input(format!(
        "hessian.batches is {n}, but {what} only {most} {batches} of {batch} images: lower it or search.batch"
    )))
}

/// The augmentation of an epoch.
fn augment(spec: &SearchSpec, epoch: usize) -> Augment {
    let a = &spec.augment;
    let last = spec.search.epochs.saturating_sub(1).max(1) as f64;
    let cutout_prob = match a.cutout_schedule {
        CutoutSchedule::Constant => a.cutout_prob,
        CutoutSchedule::Linear => a.cutout_prob * epoch as f64 / last,
    };
    Augment { crop_padding: a.crop_padding, flip: a.flip, cutout_length: a.cutout_length, cutout_prob }
}
