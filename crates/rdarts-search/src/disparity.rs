//! The search for disparity: the bilevel step, the curvature and the monitor on stereo pairs (Zela et al. 2020, section 5 and
//! appendix E, with the eigenvalues that were out of reach there).
//!
//! Everything but pairs, network and record is that of any search: `bilevel.rs`, [`crate::hessian`], the monitor. The alphas
//! rest for `search.warm_start` epochs (AutoDispNet, section 7.1).

mod job;

use std::sync::atomic::{AtomicBool, Ordering};

use rdarts_data::stereo::{StereoAugment, StereoBatch, StereoLoader, StereoOptions};
use rdarts_data::{DataError, Watch};
use rdarts_net::disparity::{DisparityCells, DisparitySpec, default_displacement};
use rdarts_net::{Alphas, Batch, Count, Engine, Evaluator, Network, Point, Work};
use rdarts_rng::Stream;
use rdarts_run::{AlphasSpec, DisparitySearchSpec, HessianImages, Order, PairPictures};
use rdarts_space::disparity::{DisparityCell, DisparityGenotype};
use rdarts_space::{DisparitySpace, Op};
use rdarts_text::{did_you_mean, nearest, shown};
use rdarts_train::memory::Needed;
use rdarts_train::optim::Adam;
use rdarts_train::pairs::{PairBatch, PairSet, check_displacement};
use rdarts_train::schedule::cosine_lr;
use rdarts_train::state::{Packed, Unpacked};
use rdarts_train::{Position, ShownPairs, Streams, TrainError, pair_pictures};

use crate::architecture::Learned;
use crate::batches::AsBatch;
use crate::bilevel::Bilevel;
use crate::hessian::{Curvature, MeanHessian, curvature, diagonal_of};

/// What a search for disparity found.
#[derive(Clone, Debug)]
pub struct DisparityFound {
    /// The architecture.
    pub genotype: DisparityGenotype,
    /// The epoch it is from.
    pub epoch: usize,
    /// Why the search ended.
    pub reason: String,
}

/// A search for disparity between two steps.
pub type DisparityState = rdarts_train::State<DisparityAlphas>;

/// The alphas of the three types of cells, and their optimiser.
#[derive(Clone, Debug, PartialEq)]
pub struct DisparityAlphas {
    /// Of one type after another: normal, reduction, upsampling.
    pub alphas: Vec<f32>,
    /// Their optimiser.
    pub adam: Adam,
    n_each: [usize; 3],
}

/// The names of the alphas in a checkpoint.
const TENSORS: [&str; 3] = ["alphas_normal", "alphas_reduce", "alphas_upsample"];

impl DisparityAlphas {
    fn blank(spec: &AlphasSpec, n_each: [usize; 3]) -> Self {
        let n = n_each.iter().sum();
        let mut adam = Adam::new(n, spec.lr, spec.l2);
        (adam.beta1, adam.beta2) = (spec.beta1, spec.beta2);
        Self { alphas: vec![0.0; n], adam, n_each }
    }

    fn new(spec: &AlphasSpec, seed: u64, n_each: [usize; 3]) -> Self {
        let mut stream = Stream::new(seed, "alphas", 0);
        let mut this = Self::blank(spec, n_each);
        this.alphas.iter_mut().for_each(|alpha| *alpha = (spec.init_std * stream.normal()) as f32);
        this
    }

    /// Of each type of cell.
    pub fn by_type(&self) -> [&[f32]; 3] {
        let [normal, reduce, _] = self.n_each;
        [&self.alphas[..normal], &self.alphas[normal..normal + reduce], &self.alphas[normal + reduce..]]
    }

    /// For a checkpoint: tensors `alphas_normal`, `alphas_reduce`, `alphas_upsample`, `adam_m`, `adam_v`, number `adam_t`.
    fn pack(&self) -> Packed<'_> {
        let mut packed = Packed::default();
        packed.tensors.extend(TENSORS.into_iter().zip(self.by_type()));
        packed.tensors.extend([("adam_m", &self.adam.m[..]), ("adam_v", &self.adam.v[..])]);
        packed.scalars.insert("adam_t".into(), self.adam.t.into());
        packed
    }

    fn unpack(&mut self, file: &mut Unpacked<'_>) -> Result<(), TrainError> {
        let n = self.alphas.len();
        self.alphas.clear();
        for (name, n) in TENSORS.into_iter().zip(self.n_each) {
            self.alphas.extend(file.tensor(name, n)?);
        }
        self.adam.t = file.count("adam_t")?;
        (self.adam.m, self.adam.v) = (file.tensor("adam_m", n)?.into(), file.tensor("adam_v", n)?.into());
        Ok(())
    }
}

impl Learned for DisparityAlphas {
    fn for_network(&self) -> Alphas {
        Alphas::from(self.by_type().map(|v| v.iter().map(|v| f64::from(*v)).collect()))
    }

    fn learn(&mut self, gradient: &[f32]) {
        self.adam.step(&mut self.alphas, gradient);
    }

    fn alphas(&self) -> &[f32] {
        &self.alphas
    }
}

impl AsBatch for PairBatch {
    fn as_batch(&self) -> Batch<'_, f32> {
        PairBatch::as_batch(self)
    }
}

/// A search for disparity: what does not change while it runs.
pub struct DisparitySearch {
    /// The resolved spec.
    pub spec: DisparitySearchSpec,
    /// The search space.
    pub space: DisparitySpace,
    /// The network's sizes.
    pub sizes: DisparitySpec,
    /// The network.
    pub net: Network,
    /// What computes.
    pub engine: Engine,
    /// The training pairs; a search never reads the test pairs.
    pairs: PairSet,
    /// How many of them train the weights, and how many the alphas: those behind.
    pub n_pairs: [usize; 2],
    fingerprint: String,
}

impl DisparitySearch {
    /// Opens the pairs and lays out the network, telling `watch` what was noticed.
    ///
    /// # Errors
    /// One sentence if the space or the set is unknown or damaged, too few pairs are left, or the machine has too little
    /// memory.
    pub fn new(spec: DisparitySearchSpec, engine: Engine, watch: &dyn Watch) -> Result<Self, TrainError> {
        let space = open_disparity_space(&spec.space.name)?;
        let data = &spec.data;
        let pairs = PairSet::open(&data.pairs, StereoOptions::USUAL.n_test, watch)?;
        if spec.search.warm_start >= spec.search.epochs {
            return Err(TrainError::Input(format!(
                "search.warm_start is {}, but must be less than search.epochs, {}: the alphas would never learn",
                spec.search.warm_start, spec.search.epochs
            )));
        }
        check_displacement(spec.network.displacement, spec.search.crop_width)?;
        let n = pairs.n;
        let n_train = (n as f64 * data.train_fraction).round() as usize;
        let (n_valid, batch) = (n - n_train, spec.search.batch);
        if n_train < batch || n_valid < batch {
            return Err(TrainError::Input(format!(
                "{n_train} pairs train the weights and {n_valid} the alphas, which is less than a batch of {batch}: \
                 data.limit, data.train_fraction and search.batch decide this"
            )));
        }
        let displacement = match spec.network.displacement {
            0 => default_displacement(spec.search.crop_width),
            displacement => displacement,
        };
        let sizes = DisparitySpec {
            displacement,
            ..DisparitySpec::search(space.clone(), spec.network.channels, spec.search.crop_width)
        };
        debug_assert!(matches!(sizes.cells, DisparityCells::Mixed(_)));
        let net = Network::disparity(&sizes);
        let fingerprint = pairs.fingerprint()?;
        let search = Self { spec, space, sizes, net, engine, pairs, n_pairs: [n_train, n_valid], fingerprint };
        search.check_hessian_batches()?;
        search.memory().check(&search.engine)?;
        // What is too small for the windows is told before anything begins.
        for of_alphas in [false, true] {
            search.loader(of_alphas, search.spec.seed).check()?;
        }
        Ok(search)
    }

    /// Weight steps of an epoch.
    pub fn steps_per_epoch(&self) -> usize {
        self.n_pairs[0].div_ceil(self.spec.search.batch)
    }

    /// Number of alphas of each type of cell.
    pub fn n_alphas(&self) -> [usize; 3] {
        DisparityCell::ALL.map(|cell| cell.n_edges() * self.space.ops.len())
    }

    /// The architecture that a state stands for.
    pub fn genotype(&self, state: &DisparityState) -> DisparityGenotype {
        self.space.derive(state.extra.by_type())
    }

    fn spec_without_places(&self) -> DisparitySearchSpec {
        let mut spec = self.spec.clone();
        spec.data.pairs.clear_places();
        spec
    }

    fn streams(&self, attempt: usize) -> Streams {
        Streams::new(self.spec.seed, attempt)
    }

    fn lr(&self, epoch: usize) -> f64 {
        cosine_lr(self.spec.weights.lr, self.spec.weights.lr_min, epoch, self.spec.search.epochs)
    }

    fn augment(&self) -> StereoAugment {
        StereoAugment::PAPER.with_strength(self.spec.augment.strength)
    }

    fn bilevel(&self, epoch: usize) -> Bilevel<'_> {
        Bilevel {
            net: &self.net,
            engine: &self.engine,
            order: self.spec.search.order,
            lr: self.lr(epoch),
            clip: self.spec.weights.clip,
        }
    }

    fn loader(&self, of_alphas: bool, seed: u64) -> StereoLoader {
        let [n_train, n_valid] = self.n_pairs;
        let (range, name) = if of_alphas { (n_train..n_train + n_valid, "valid") } else { (0..n_train, "train") };
        let crop = [self.spec.search.crop_height, self.spec.search.crop_width];
        self.pairs.loader(range, self.spec.search.batch, crop, seed, name)
    }

    fn batch(&self, made: StereoBatch) -> PairBatch {
        PairBatch::new(made, self.sizes.levels())
    }

    /// What is left of an epoch: pairs of each weight step and, unless the weights learn alone, of the alpha step.
    fn step_batches(&self, at: &Position) -> impl Iterator<Item = Result<StepPairs, DataError>> + Send + 'static {
        let (epoch, seed, augment) = (at.epoch, self.streams(at.attempt).seed(), self.augment());
        let (weights, alphas) = (self.loader(false, seed), self.loader(true, seed));
        let learns = epoch >= self.spec.search.warm_start;
        let start = (epoch * self.steps_per_epoch() + at.step) as u64;
        weights
            .epoch(epoch as u64, at.step, Some(augment))
            .zip(start..)
            .map(move |(train, step)| Ok((train?, learns.then(|| alphas.draw(step, Some(augment))).transpose()?)))
    }

    /// How many batches the curvature can be measured on at most.
    fn check_hessian_batches(&self) -> Result<(), TrainError> {
        let (n, batch) = (self.spec.hessian.batches, self.spec.search.batch);
        let (most, what) = match self.spec.hessian.images {
            HessianImages::Last => (self.steps_per_epoch(), "an epoch has"),
            HessianImages::Fixed => (self.n_pairs[1] / batch, "the pairs that train the alphas fill"),
        };
        if n <= most || self.spec.hessian.every == 0 {
            return Ok(());
        }
        Err(TrainError::Input(format!(
            "hessian.batches is {n}, but {what} only {most} of {batch} pairs: lower it or search.batch"
        )))
    }

    /// The batches that the curvature after an epoch is measured on: the last of the epoch, or the same after every epoch,
    /// windows at places of their own without further augmentation.
    fn hessian_batches(&self, attempt: usize, epoch: usize) -> Result<Vec<PairBatch>, TrainError> {
        let n = self.spec.hessian.batches as u64;
        let (seed, steps, augment) = match self.spec.hessian.images {
            HessianImages::Last => {
                let end = ((epoch + 1) * self.steps_per_epoch()) as u64;
                (self.streams(attempt).seed(), end - n..end, Some(self.augment()))
            }
            HessianImages::Fixed => (Stream::new(self.spec.seed, "hessian-pairs", 0).next_u64(), 0..n, None),
        };
        let loader = self.loader(true, seed);
        let made: Result<Vec<StereoBatch>, DataError> = steps.map(|step| loader.draw(step, augment)).collect();
        Ok(made?.into_iter().map(|made| self.batch(made)).collect())
    }

    /// Dominant eigenvalue after an epoch; `None` if `stop` was set meanwhile.
    fn eigenvalue(
        &self,
        state: &DisparityState,
        epoch: usize,
        stop: &AtomicBool,
    ) -> Result<Option<Curvature>, TrainError> {
        let batches = self.hessian_batches(state.at.trained_attempt, epoch)?;
        let (net, weights) = (std::borrow::Cow::Borrowed(&self.net), std::borrow::Cow::Borrowed(&state.weights));
        let alphas = state.extra.for_network();
        let Some(hessian) = MeanHessian::at(net, weights, &self.engine, alphas, batches, stop) else { return Ok(None) };
        let mut stream = self.streams(state.at.trained_attempt).stream("lanczos", epoch as u64);
        let spec = &self.spec;
        Ok(curvature(&hessian, diagonal_of(spec.hessian.mode, &spec.alphas), spec.hessian.tolerance, &mut stream))
    }

    /// Loss and end-point error on windows of the first pairs of the alphas' half, the same after every epoch; `None` if `stop`
    /// was set meanwhile.
    fn score(&self, evaluator: &Evaluator<f32>, stop: &AtomicBool) -> Result<Option<[f64; 2]>, TrainError> {
        let (batch, n_valid) = (self.spec.search.batch, self.n_pairs[1]);
        let n = match self.spec.data.valid_limit {
            0 => n_valid,
            limit => limit.min(n_valid),
        };
        let seed = Stream::new(self.spec.seed, "evaluated-pairs", 0).next_u64();
        let loader = self.loader(true, seed);
        let (mut loss, mut count, mut seen) = (0.0, Count::default(), 0);
        for made in loader.epoch(0, 0, None).take(n.div_ceil(batch)) {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let pairs = self.batch(made?);
            let evaluation = evaluator.evaluate(pairs.as_batch());
            loss += evaluation.loss * pairs.n() as f64;
            count += evaluation.count;
            seen += pairs.n();
        }
        Ok(Some([loss / seen as f64, count.mean()]))
    }

    fn score_supernet(&self, state: &DisparityState, stop: &AtomicBool) -> Result<Option<[f64; 2]>, TrainError> {
        let alphas = state.extra.for_network();
        let at = Point { net: &self.net, engine: &self.engine, weights: &state.weights[..], alphas: &alphas };
        self.score(&Evaluator::supernet(at), stop)
    }

    /// Pairs of the alphas' split as the supernet sees them; `None` if `stop` was set meanwhile.
    fn pictures(&self, state: &DisparityState, stop: &AtomicBool) -> Result<Option<Vec<PairPictures>>, TrainError> {
        let alphas = state.extra.for_network();
        let at = Point { net: &self.net, engine: &self.engine, weights: &state.weights[..], alphas: &alphas };
        let ([n_train, n_valid], search) = (self.n_pairs, &self.spec.search);
        let of = ShownPairs {
            pairs: &self.pairs.train,
            range: n_train..n_train + n_valid,
            halved: self.pairs.halved,
            // As many as there is memory for.
            most_pixels: search.batch * search.crop_height * search.crop_width,
            window: [search.crop_height, search.crop_width],
        };
        pair_pictures(&of, &self.sizes, &Evaluator::supernet(at), stop)
    }

    /// The discretised child with the supernet's weights.
    fn score_child(&self, state: &DisparityState, stop: &AtomicBool) -> Result<Option<[f64; 2]>, TrainError> {
        let p = self.chosen(&self.genotype(state));
        self.score(&Evaluator::mixed(&self.net, &self.engine, &state.weights, &p), stop)
    }

    /// Mixing weights that take only what an architecture has.
    fn chosen(&self, genotype: &DisparityGenotype) -> Alphas {
        let of = |cell: DisparityCell| -> Vec<f64> {
            let entries: Vec<(usize, Op, usize)> = genotype.entries(cell).collect();
            let edges = cell.edges().flat_map(|(node, state)| {
                let entry = entries.iter().find(|entry| (entry.0, entry.2) == (node, state));
                let op = entry.map(|entry| entry.1);
                self.space.ops.iter().map(move |of| f64::from(u8::from(Some(*of) == op)))
            });
            edges.collect()
        };
        DisparityCell::ALL.into_iter().map(of).collect()
    }

    /// What a step and a measurement of the curvature need.
    pub fn memory(&self) -> Needed {
        let (spec, side) = (&self.spec, [self.spec.search.crop_height, self.spec.search.crop_width]);
        let mut works = vec![Work::Gradient];
        works.extend((spec.search.order != Order::First).then_some(Work::SecondOrderStep));
        works.extend((spec.hessian.every > 0).then_some(Work::HessianProduct));
        let estimate = |work| self.net.memory_estimate(spec.search.batch, side, work);
        let most = works.into_iter().map(estimate).max().unwrap_or(0);
        let bytes = most + 100 * (1 << 20) + 16 * self.net.n_parameters() as u64;
        let what = format!(
            "search.batch = {}, search.crop_width = {} or network.channels = {}",
            spec.search.batch, side[1], spec.network.channels
        );
        Needed { bytes, what }
    }
}

/// Pairs of one weight step and of one alpha step.
type StepPairs = (StereoBatch, Option<StereoBatch>);

/// A space for disparity by its name.
///
/// # Errors
/// One sentence with the nearest name.
pub fn open_disparity_space(name: &str) -> Result<DisparitySpace, TrainError> {
    DisparitySpace::builtin(name).ok_or_else(|| {
        let hint = did_you_mean(nearest(name, &DisparitySpace::NAMES));
        let names = DisparitySpace::NAMES.join(" and ");
        TrainError::Input(format!("space.name is '{}'{hint}; the spaces for disparity are {names}", shown(name)))
    })
}
