//! A spec made concrete: the space, the images, the network.

use std::path::Path;

use rdarts_data::{Silent, Watch};
use rdarts_net::{Engine, Network, PartialSpec, SupernetSpec, Work};
use rdarts_run::{HessianSpec, Method, Order, SearchSpec};
use rdarts_space::{CellType, Op, Space, Topology, reductions_or_default};
use rdarts_train::images::{OnCard, augment};
use rdarts_train::memory::Needed;
use rdarts_train::schedule::{cosine_lr, drop_path_probability};
use rdarts_train::{ImageSet, SplitImages, Streams, TrainError};

use crate::State;
use crate::batches::{
    NoisyBatch, check_hessian_batches, few_hessian_batches, hessian_batches, most_hessian_batches, within,
};
use crate::bilevel::Bilevel;

/// A search: what does not change while it runs.
pub struct Search {
    /// The resolved spec; with method `rs-ws`, which has no alphas, `hessian.every` is 0 here.
    pub spec: SearchSpec,
    /// The search space.
    pub space: Space,
    /// The images.
    pub images: SplitImages,
    /// The network.
    pub net: Network,
    /// What computes.
    pub engine: Engine,
    /// The images where it computes.
    pub(crate) on_card: OnCard,
}

impl Search {
    /// Reads the data and lays out the network.
    ///
    /// # Errors
    /// One sentence if the space or the data set is unknown or damaged, if the split leaves too few images, or if
    /// a search step would need more memory than the machine has.
    pub fn new(spec: SearchSpec, space: Space, engine: Engine) -> Result<Self, TrainError> {
        Self::watched(spec, space, engine, &Silent)
    }

    /// Like [`Search::new`], telling `watch` what takes long and what was noticed while the data is read.
    ///
    /// # Errors
    /// As for `new`.
    pub fn watched(spec: SearchSpec, space: Space, engine: Engine, watch: &dyn Watch) -> Result<Self, TrainError> {
        check_topology(&spec, &space, &engine)?;
        let images = ImageSet::open(&spec.data.images, watch)?;
        Self::on(spec, space, engine, &images)
    }

    /// Like [`Search::watched`] for a spec whose `hessian.batches` is a preset's: it is lowered to what the images
    /// fill.
    ///
    /// # Errors
    /// As for `new`.
    pub fn fitted(mut spec: SearchSpec, space: Space, engine: Engine, watch: &dyn Watch) -> Result<Self, TrainError> {
        check_topology(&spec, &space, &engine)?;
        let images = ImageSet::open(&spec.data.images, watch)?;
        fit_hessian_batches(&mut spec, &images)?;
        Self::on(spec, space, engine, &images)
    }

    /// Like [`Search::new`] on images that are read already.
    ///
    /// # Errors
    /// As for `new`.
    pub fn on(mut spec: SearchSpec, space: Space, engine: Engine, images: &ImageSet) -> Result<Self, TrainError> {
        let images = images.split(&spec.data.images, spec.data.train_fraction, spec.search.batch)?;
        match spec.search.method {
            Method::RsWs => spec.hessian.every = 0,
            _ => check_hessian_batches(&spec, &images.split)?,
        }
        if spec.search.method == Method::DartsEsNoise && spec.hessian.batches < 2 {
            return Err(TrainError::Input(format!(
                "method darts-es-noise learns the noise of the eigenvalue from at least 2 batches, but {}",
                few_hessian_batches(&spec, &images.split)
            )));
        }
        let train = &images.data.train;
        augment(&spec.augment, 0, spec.search.epochs)
            .check(train.height, train.width)
            .map_err(|e| TrainError::Input(format!("{e} (section [augment] of the spec)")))?;
        let (channels, classes) = (train.channels, images.data.classes.len());
        check_topology(&spec, &space, &engine)?;
        let mixed = space_of_network(spec.search.method, &space);
        let supernet = SupernetSpec {
            stem_multiplier: spec.network.stem_multiplier,
            reductions: reductions_or_default(&spec.network.reductions, spec.network.cells),
            ..SupernetSpec::from_space(&mixed, spec.network.cells, spec.network.channels, channels, classes)
        };
        let net = match spec.search.method {
            Method::PcDarts => partial(supernet, &spec, &space, &engine)?,
            _ => Network::of_space(&mixed, supernet),
        };
        let search = Self { spec, space, images, net, engine, on_card: OnCard::default() };
        search.memory().check(&search.engine)?;
        Ok(search)
    }

    /// The spec without what may differ between two machines: the directory and the cache of the data, and the place of
    /// the space's file. The contents of both are recorded by themselves.
    pub fn spec_without_places(&self) -> SearchSpec {
        let mut spec = self.spec.clone();
        spec.data.images.clear_places();
        spec.space.name.clone_from(&self.space.name);
        spec
    }

    /// Epochs of the whole search, those between the decisions of a selection included.
    pub fn n_epochs(&self) -> usize {
        self.spec.n_epochs(self.space.n_decisions())
    }

    /// Weight steps of an epoch.
    pub fn steps_per_epoch(&self) -> usize {
        self.images.steps(self.spec.search.batch)
    }

    /// Number of architecture parameters, normal and reduction cells.
    pub fn n_alphas(&self) -> [usize; 2] {
        [self.space.n_alphas(CellType::Normal), self.space.n_alphas(CellType::Reduce)]
    }

    /// Number of parameters of each list that is learned: the alphas of both types of cells, and where a method has them their
    /// betas.
    pub fn n_learned(&self) -> Vec<usize> {
        let betas = if self.spec.search.method == Method::PcDarts { vec![self.space.n_edges(); 2] } else { Vec::new() };
        self.n_alphas().into_iter().chain(betas).collect()
    }

    /// All that is random after so many rollbacks.
    pub fn streams(&self, attempt: usize) -> Streams {
        Streams::new(self.spec.seed, attempt)
    }

    /// The learning rate of the weights in an epoch.
    pub fn lr(&self, epoch: usize) -> f64 {
        let epochs = self.spec.search.epochs;
        match epoch < epochs {
            true => cosine_lr(self.spec.weights.lr, self.spec.weights.lr_min, epoch, epochs),
            // Between the decisions of a selection.
            false => self.spec.method.selection_lr * self.spec.weights.lr,
        }
    }

    /// Probability of drop path in an epoch.
    pub fn drop_path(&self, epoch: usize) -> f64 {
        drop_path_probability(self.spec.search.drop_path, within(&self.spec, epoch), self.spec.search.epochs)
    }

    /// What a step needs beside the state.
    pub(crate) fn bilevel(&self, state: &State) -> Bilevel<'_> {
        Bilevel {
            net: &self.net,
            engine: &self.engine,
            order: self.spec.search.order,
            lr: self.lr(state.at.epoch),
            clip: self.spec.weights.clip,
        }
    }

    /// The batches that the curvature after an epoch is measured on, each with its noise.
    ///
    /// # Errors
    /// One sentence if the images are in a file that cannot be read any more.
    pub fn hessian_batches(&self, attempt: usize, epoch: usize) -> Result<Vec<NoisyBatch>, TrainError> {
        hessian_batches(&self.images, &self.net, &self.spec, attempt, epoch)
    }

    /// How many batches the curvature can be measured on at most, of the images that the spec names.
    pub fn most_hessian_batches(&self) -> usize {
        most_hessian_batches(&self.spec, &self.images.split)
    }

    /// How many that is, in words: `an epoch has only 5 batches of 64 images`.
    pub fn few_hessian_batches(&self) -> String {
        few_hessian_batches(&self.spec, &self.images.split)
    }

    /// Measures the curvature on other batches than the spec says; nothing else changes.
    ///
    /// # Errors
    /// One sentence if there are not so many, or if the search has no alphas.
    pub fn measure_on(&mut self, hessian: HessianSpec) -> Result<(), TrainError> {
        if self.spec.search.method == Method::RsWs {
            let why = "a search with method rs-ws learns no alphas, so there is no curvature with respect to them";
            return Err(TrainError::Input(why.into()));
        }
        self.spec.hessian = hessian;
        check_hessian_batches(&self.spec, &self.images.split)?;
        self.memory().check(&self.engine)
    }

    /// What a step and a measurement of the curvature need.
    pub fn memory(&self) -> Needed {
        let (spec, batch, side) = (&self.spec, self.spec.search.batch, self.images.side());
        let mut works = vec![Work::Gradient];
        if spec.search.order != Order::First && spec.search.method.learns_alphas() {
            works.push(Work::SecondOrderStep);
        }
        if spec.hessian.every > 0 || spec.search.method == Method::A2m {
            works.push(Work::HessianProduct);
        }
        let estimate = |work| self.net.memory_estimate(batch, side, work);
        let mut step = works.into_iter().map(estimate).max().unwrap_or(0);
        let many = spec.hessian.every > 0 && spec.hessian.batches > 1;
        if many {
            // All batches, and of their passes one that is kept and one that is made again.
            let images = batch * side.iter().product::<usize>() * self.images.data.train.channels;
            step = step.max(2 * estimate(Work::HessianProduct) + (4 * images * spec.hessian.batches) as u64);
        }
        // The images are read already; their batches, the program and the checkpoint in the making come on top.
        let bytes = step + 100 * (1 << 20) + 4 * 4 * self.net.n_parameters() as u64;
        let batches = if many { format!("hessian.batches = {}, ", spec.hessian.batches) } else { String::new() };
        let what = format!(
            "{batches}search.batch = {batch}, network.channels = {} or network.cells = {}",
            spec.network.channels, spec.network.cells
        );
        Needed { bytes, what }
    }
}

/// What a search in a space of cells as in NAS-Bench-201 cannot do; it can be said before images are read.
fn check_topology(spec: &SearchSpec, space: &Space, engine: &Engine) -> Result<(), TrainError> {
    let why = match spec.search.method {
        _ if space.topology != Topology::NasBench201 => return Ok(()),
        Method::PcDarts => "method pc-darts knows cells of the topology darts alone: take another method",
        _ if spec.search.drop_path > 0.0 => "its networks have no drop path: search.drop_path must be 0.0",
        _ if !engine.is_cpu() => "its networks compute on the CPU: take --device cpu",
        _ => return Ok(()),
    };
    Err(TrainError::Input(format!(
        "the space {} has cells of the topology {}, and {why}",
        rdarts_text::shown(&space.name),
        space.topology
    )))
}

/// The network of partial channels.
fn partial(supernet: SupernetSpec, spec: &SearchSpec, space: &Space, engine: &Engine) -> Result<Network, TrainError> {
    if !engine.is_cpu() {
        let why = "method pc-darts computes on the CPU: take --device cpu, or another method for the graphics card";
        return Err(TrainError::Input(why.into()));
    }
    let partial = PartialSpec { supernet, share: spec.method.channel_share };
    let in_space =
        |why| TrainError::Input(format!("method pc-darts in the space {}: {why}", rdarts_text::shown(&space.name)));
    partial.check().map_err(in_space)?;
    Ok(Network::partial(&partial))
}

/// The space whose operations the network has: with DARTS- there is a skip connection more at the end of each edge.
fn space_of_network(method: Method, space: &Space) -> Space {
    let mut space = space.clone();
    if method == Method::DartsMinus {
        let edges = space.normal.iter_mut().chain(&mut space.reduce);
        edges.for_each(|ops| ops.push(Op::SkipConnect));
    }
    space
}

/// Lowers `hessian.batches` to what the images fill.
///
/// # Errors
/// One sentence if there are too few images for a search.
pub fn fit_hessian_batches(spec: &mut SearchSpec, images: &ImageSet) -> Result<(), TrainError> {
    let images = images.split(&spec.data.images, spec.data.train_fraction, spec.search.batch)?;
    spec.hessian.batches = spec.hessian.batches.min(most_hessian_batches(spec, &images.split)).max(1);
    Ok(())
}

/// The space that a spec names: a built-in one or a file.
///
/// # Errors
/// One sentence if there is no such space or the file is damaged.
pub fn open_space(name: &str) -> Result<Space, TrainError> {
    let is_file = name.ends_with(".toml") || name.contains(std::path::MAIN_SEPARATOR);
    if !is_file {
        return Space::builtin(name).map_err(TrainError::input);
    }
    let text = rdarts_run::read_text("search space", Path::new(name))?;
    Space::from_toml(&text, name).map_err(TrainError::input)
}
