//! A training from scratch made concrete: the discrete network of a genotype, its images, and how its loss counts them
//! ("Understanding and Robustifying Differentiable Architecture Search", Appendix C; DARTS paper, section 3.1.2).
//!
//! A step takes the gradient of the cross entropy, plus that of the auxiliary head, clips it and hands it to SGD; running
//! statistics follow those of the batch, r = 0.9 r + 0.1 s with the unbiased variance. With held-out images the result is
//! the epoch that is best on them; without, the last one. The test images are looked at once, at the end.

mod assess;

mod job;

pub use assess::{Assessment, assess};
pub use job::{Learned, Trained};

use rdarts_data::{Silent, Watch, n_joined};
use rdarts_net::{ClassLoss, DiscreteSpec, Engine, Network, Targets, Work};
use rdarts_run::TrainSpec;
use rdarts_space::{Genotype, Topology};

use crate::error::TrainError;
use crate::images::{ImageSet, OnCard, SplitImages, augment};
use crate::memory::Needed;
use crate::schedule::training_drop_path;

/// What running statistics keep of their old value in a step.
const KEPT: f64 = 0.9;

/// A training: what does not change while it runs.
pub struct Training {
    /// The resolved spec.
    pub spec: TrainSpec,
    /// The cells.
    pub genotype: Genotype,
    /// The images.
    pub images: SplitImages,
    /// The network, with its auxiliary head if it has one.
    pub net: Network,
    /// What computes.
    pub engine: Engine,
    /// How classes count.
    loss: Option<ClassLoss>,
    /// The images where it computes.
    on_card: OnCard,
}

impl Training {
    /// Reads the data and lays out the network.
    ///
    /// # Errors
    /// One sentence if the genotype cannot be read or trained, if the data set is unknown or damaged, if too few images
    /// are left to train, or if a step would need more memory than the machine has.
    pub fn new(spec: TrainSpec, engine: Engine) -> Result<Self, TrainError> {
        Self::watched(spec, engine, &Silent)
    }

    /// Like [`Training::new`], telling `watch` what takes long and what was noticed while the data is read.
    ///
    /// # Errors
    /// As for `new`.
    pub fn watched(spec: TrainSpec, engine: Engine, watch: &dyn Watch) -> Result<Self, TrainError> {
        // What costs nothing to refuse comes before the images, which may take long.
        check_topology(&spec, &genotype_of(&spec.network.genotype)?, &engine)?;
        let images = ImageSet::open(&spec.data.images, watch)?;
        Self::on(spec, engine, &images)
    }

    /// Like [`Training::new`] on images that are read already.
    ///
    /// # Errors
    /// As for `new`.
    pub fn on(spec: TrainSpec, engine: Engine, images: &ImageSet) -> Result<Self, TrainError> {
        let genotype = genotype_of(&spec.network.genotype)?;
        check_topology(&spec, &genotype, &engine)?;
        let images = images.hold_out(&spec.data.images, spec.data.valid_fraction, spec.train.batch)?;
        let train = &images.data.train;
        augment(&spec.augment, 0, spec.train.epochs)
            .check(train.height, train.width)
            .map_err(|e| TrainError::Input(format!("{e} (section [augment] of the spec)")))?;
        let net = Network::discrete(&DiscreteSpec {
            genotype: genotype.clone(),
            cells: spec.network.cells,
            reductions: spec.network.reductions.clone(),
            c: spec.network.channels,
            c_image: train.channels,
            classes: images.data.classes.len(),
            auxiliary: spec.network.auxiliary,
        });
        let loss = class_loss(&spec, &images);
        let training = Self { spec, genotype, images, net, engine, loss, on_card: OnCard::default() };
        training.memory().check(&training.engine)?;
        Ok(training)
    }

    /// The spec without what may differ between two machines: the directory and the cache of the data.
    pub fn spec_without_places(&self) -> TrainSpec {
        let mut spec = self.spec.clone();
        spec.data.images.clear_places();
        spec
    }

    /// Steps of an epoch.
    pub fn steps_per_epoch(&self) -> usize {
        n_joined(self.images.split.train.len(), self.spec.train.batch)
    }

    /// Multiply-adds of one image without the auxiliary head.
    pub fn macs(&self) -> u64 {
        self.net.without_auxiliary().macs(self.images.side())
    }

    /// Probability of drop path in an epoch.
    pub fn drop_path(&self, epoch: usize) -> f64 {
        training_drop_path(self.spec.train.drop_path, epoch, self.spec.train.epochs)
    }

    /// What a step needs.
    pub fn memory(&self) -> Needed {
        let (batch, network) = (self.spec.train.batch, &self.spec.network);
        let step = self.net.memory_estimate(batch, self.images.side(), Work::Gradient);
        // Batches in the making, the program, a checkpoint.
        let bytes = step + 100 * (1 << 20) + 4 * 5 * self.net.n_parameters() as u64;
        let (channels, cells) = (network.channels, network.cells);
        Needed {
            bytes,
            what: format!("train.batch = {batch}, network.channels = {channels} or network.cells = {cells}"),
        }
    }

    fn targets<'a>(&'a self, labels: &'a [u32]) -> Targets<'a> {
        self.loss.as_ref().map_or(Targets::Labels(labels), |loss| Targets::Weighted(labels, loss))
    }
}

/// The genotype that a spec holds as text.
///
/// # Errors
/// One sentence if it cannot be read, or has an operation that no discrete network has.
pub fn genotype_of(text: &str) -> Result<Genotype, TrainError> {
    let genotype = Genotype::read(text, "network.genotype").map_err(TrainError::input)?;
    if genotype.has_noise() {
        return Err(TrainError::Input(
            "network.genotype has the operation noise, which draws new values in every pass: a network of it has no \
             fixed output, so it cannot be trained from scratch; replace it"
                .into(),
        ));
    }
    Ok(genotype)
}

/// What a network of cells as in NAS-Bench-201 cannot do.
///
/// # Errors
/// One sentence that says what is in the way.
fn check_topology(spec: &TrainSpec, genotype: &Genotype, engine: &Engine) -> Result<(), TrainError> {
    let why = match genotype.topology {
        Topology::Darts => return Ok(()),
        _ if spec.network.auxiliary => "it has no auxiliary head: network.auxiliary must be false",
        _ if spec.train.drop_path > 0.0 => "it has no drop path: train.drop_path must be 0.0",
        _ if !engine.is_cpu() => "it computes on the CPU: take --device cpu",
        _ => return Ok(()),
    };
    Err(TrainError::Input(format!("network.genotype is a cell of the topology {}, and {why}", genotype.topology)))
}

/// How the classes count: the inverse of their frequency in the images that are trained, to a power. A class that has none
/// of them counts nothing, or label smoothing would be about it alone. Only ratios count: the loss of a batch is divided by
/// the sum of its weights.
fn class_loss(spec: &TrainSpec, images: &SplitImages) -> Option<ClassLoss> {
    let (power, smoothing) = (spec.train.class_weights, spec.train.label_smoothing);
    if power == 0.0 && smoothing == 0.0 {
        return None;
    }
    let mut weights = Vec::new();
    if power > 0.0 {
        let counts = images.data.class_counts(images.split.train.clone());
        let n: usize = counts.iter().sum();
        let weight = |count: &usize| if *count == 0 { 0.0 } else { (n as f64 / *count as f64).powf(power) };
        weights = counts.iter().map(weight).collect();
    }
    Some(ClassLoss { weights, smoothing })
}
