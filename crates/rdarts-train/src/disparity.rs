//! A training from scratch for disparity made concrete: the network of three cells, its pairs, and how it is measured
//! (Zela et al. 2020, section 5.2 and appendix E, which follow AutoDispNet, Saikia et al. 2019, section 6).
//!
//! A step takes the gradient of the end-point errors at all sizes on windows that are changed at random, clips it and hands
//! it to Adam, whose learning rate falls along a cosine. The network has the deep encoder and no batch norms. With held-out
//! pairs the result is the epoch that is best on them, whole and unchanged; without, the last one. The test pairs are looked
//! at once, at the end.

mod assess;

mod model;

mod job;

pub use assess::{Assessment, ErrorSums, assess};
pub use job::{Learned, Trained};
pub use model::{DisparityAbout, DisparityModel, FORMAT, TASK};

use rdarts_data::Watch;
use rdarts_net::disparity::{DisparitySpec, default_displacement};
use rdarts_net::{Engine, Network, Work};
use rdarts_run::DisparityTrainSpec;
use rdarts_space::disparity::DisparityGenotype;

use crate::error::TrainError;
use crate::memory::Needed;
use crate::pairs::{PairSet, check_displacement};

/// A training for disparity: what does not change while it runs.
pub struct DisparityTraining {
    /// The resolved spec.
    pub spec: DisparityTrainSpec,
    /// The cells.
    pub genotype: DisparityGenotype,
    /// The pairs.
    pub pairs: PairSet,
    /// How many of them train, and how many behind those are held out.
    pub n_pairs: [usize; 2],
    /// How many test pairs are looked at.
    pub n_test: usize,
    /// The network's sizes.
    pub sizes: DisparitySpec,
    /// The network.
    pub net: Network,
    /// What computes.
    pub engine: Engine,
    fingerprint: String,
}

impl DisparityTraining {
    /// Opens the pairs and lays out the network, telling `watch` what was noticed.
    ///
    /// # Errors
    /// One sentence if the genotype cannot be read, the set of pairs is unknown or damaged, too few pairs are left, or a step
    /// would need more memory than the machine has.
    pub fn new(spec: DisparityTrainSpec, engine: Engine, watch: &dyn Watch) -> Result<Self, TrainError> {
        let (data, network, train) = (&spec.data, &spec.network, &spec.train);
        let genotype = disparity_genotype_of(&network.genotype)?;
        check_displacement(network.displacement, train.crop_width)?;
        let displacement = match network.displacement {
            0 => default_displacement(train.crop_width),
            displacement => displacement,
        };
        let stem = if network.stem == 0 { 2 * network.channels } else { network.stem };
        let sizes = DisparitySpec::training(genotype.clone(), network.channels, stem, displacement);
        let net = Network::disparity(&sizes);
        let pairs = PairSet::open(&data.pairs, data.test_pairs, watch)?;
        let n_valid = (pairs.n as f64 * data.valid_fraction).round() as usize;
        let n_train = pairs.n - n_valid;
        if n_train < train.batch || data.valid_fraction > 0.0 && n_valid == 0 {
            return Err(TrainError::Input(format!(
                "{n_train} pairs are left to train on in batches of {} and {n_valid} are held out: data.limit, \
                 data.valid_fraction and train.batch decide this",
                train.batch
            )));
        }
        let n_test = match data.test_limit {
            0 => pairs.test.n(),
            limit => limit.min(pairs.test.n()),
        };
        let tested = if n_test == 0 { String::new() } else { pairs.test.fingerprint(0..n_test)? };
        let fingerprint = format!("{} {tested}", pairs.fingerprint()?);
        let training =
            Self { n_pairs: [n_train, n_valid], n_test, sizes, net, engine, fingerprint, genotype, pairs, spec };
        training.memory().check(&training.engine)?;
        training.loader(training.spec.seed).check()?;
        Ok(training)
    }

    /// Steps of an epoch.
    pub fn steps_per_epoch(&self) -> usize {
        self.n_pairs[0].div_ceil(self.spec.train.batch)
    }

    /// Multiply-adds of a pair of the size of the windows.
    pub fn macs(&self) -> u64 {
        self.net.macs(self.window())
    }

    /// Rows and columns of the windows.
    pub fn window(&self) -> [usize; 2] {
        [self.spec.train.crop_height, self.spec.train.crop_width]
    }

    /// The spec without what may differ between two machines: the directory of the pairs.
    pub fn spec_without_places(&self) -> DisparityTrainSpec {
        let mut spec = self.spec.clone();
        spec.data.pairs.clear_places();
        spec
    }

    fn loader(&self, seed: u64) -> rdarts_data::stereo::StereoLoader {
        self.pairs.loader(0..self.n_pairs[0], self.spec.train.batch, self.window(), seed, "train")
    }

    /// What a step needs.
    pub fn memory(&self) -> Needed {
        let (batch, window) = (self.spec.train.batch, self.window());
        let mut step = self.net.memory_estimate(batch, window, Work::Gradient);
        // Whole pairs, as large as the first one; one that cannot be read is told when it is looked at.
        let [n_train, n_valid] = self.n_pairs;
        for (pairs, first, n) in [(&self.pairs.train, n_train, n_valid), (&self.pairs.test, 0, self.n_test)] {
            if let Some(Ok(size)) = (n > 0).then(|| pairs.size_of(first)) {
                let side = if self.pairs.halved { size.map(|side| side / 2) } else { size };
                let side = side.map(|side| side.next_multiple_of(self.sizes.stride()));
                step = step.max(self.net.evaluation_estimate(batch.min(n), side));
            }
        }
        // Batches in the making, the program; weights, their gradient, both moments, the best epoch, a checkpoint.
        let bytes = step + 100 * (1 << 20) + 4 * 8 * self.net.n_parameters() as u64;
        let (width, channels) = (window[1], self.spec.network.channels);
        let what = format!("train.batch = {batch}, train.crop_width = {width} or network.channels = {channels}");
        Needed { bytes, what }
    }
}

/// The genotype that a spec holds as text.
///
/// # Errors
/// One sentence if it cannot be read.
pub fn disparity_genotype_of(text: &str) -> Result<DisparityGenotype, TrainError> {
    let genotype = text.trim().parse::<DisparityGenotype>();
    genotype.map_err(|e| TrainError::Input(format!("network.genotype: {e}")))
}
