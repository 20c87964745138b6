//! A portfolio for disparity: the searches, trainings and baselines of an encoder-decoder.
//!
//! The paper (Zela et al. 2020, section 5.2) compares searches for disparity of different L2 factors and augmentation; its
//! section 5.3 makes of such a set, for images, a method that chooses by itself. This is that method for pairs. The smaller the
//! end-point error on held-out pairs, the better.

use rdarts_data::{Silent, Watch};
use rdarts_net::disparity::{DisparityCells, DisparitySpec};
use rdarts_net::{Engine, Network};
use rdarts_rng::Stream;
use rdarts_run::{
    DISPARITY_ROBUST_EVENT_FORMAT, DisparityBaselineTrained, DisparityMemberTrained, DisparityRobustFinished,
    DisparityRobustSpec, DisparityTrainFinished, Event, MemberFound, RobustStarted, Spec, checksum,
};
use rdarts_search::DisparitySearch;
use rdarts_search::disparity::open_disparity_space;
use rdarts_space::disparity::{DisparityGenotype, named, sample};
use rdarts_space::{DisparityCell, DisparitySpace, Op};
use rdarts_train::disparity::DisparityTraining;
use rdarts_train::memory::Needed;
use rdarts_train::{Job, TrainError};
use serde_json::Value;

use crate::portfolio::{RunAt, Task, largest, refuse_bounds};

/// A portfolio for disparity: what does not change while it runs.
pub struct DisparityPortfolio {
    /// The resolved spec.
    pub spec: DisparityRobustSpec,
    /// The search space.
    pub space: DisparitySpace,
    /// What computes; runs side by side have memory of their own.
    pub engine: Engine,
    /// How many pairs train the weights and the alphas of a search, train a network, choose, and test it.
    pub n_pairs: DisparityPairs,
    /// The sizes of the trained networks; their cells alone differ.
    sizes: DisparitySpec,
    /// Of all pairs that are used.
    fingerprint: String,
    /// What the largest of its runs needs.
    needed: Needed,
}

/// How the pairs are divided.
#[derive(Clone, Copy, Debug)]
pub struct DisparityPairs {
    /// Those that train the weights of a search, and those that train its alphas.
    pub search: [usize; 2],
    /// Those that a training learns from, and those that it holds out.
    pub training: [usize; 2],
    /// Those that the results are tested on.
    pub test: usize,
}

impl DisparityPortfolio {
    /// Looks at all that could be wrong with any of its runs before the first one begins, telling `watch` what was noticed.
    ///
    /// # Errors
    /// One sentence if the space or the set is unknown or damaged, if there are too few pairs, if a run would need more memory
    /// than the machine has, or if no cells of the space are as small as what may be chosen.
    pub fn new(spec: DisparityRobustSpec, engine: Engine, watch: &dyn Watch) -> Result<Self, TrainError> {
        let space = open_disparity_space(&spec.space.name)?;
        let mut needs = Vec::new();
        let (mut search_pairs, mut searched) = ([0; 2], String::new());
        for member in 0..spec.members() {
            // What is noticed of the pairs is the same for all.
            let watch: &dyn Watch = if member == 0 { watch } else { &Silent };
            let search = DisparitySearch::new(spec.search_spec(member), engine.clone(), watch);
            let search = search.map_err(|e| e.map(|text| of_search(&text)))?;
            needs.push(Needed { what: of_search(&search.memory().what), ..search.memory() });
            (search_pairs, searched) = (search.n_pairs, search.fingerprint().to_string());
        }
        let cells = plain("all-sep-conv").to_string();
        let training = DisparityTraining::new(spec.train_spec(&cells, false), engine.clone(), &Silent);
        let training = training.map_err(|e| e.map(|text| of_training(&text)))?;
        needs.push(Needed { what: of_training(&training.memory().what), ..training.memory() });
        let n_pairs = DisparityPairs { search: search_pairs, training: training.n_pairs, test: training.n_test };
        if n_pairs.training[1] == 0 {
            return Err(TrainError::Input(format!(
                "portfolio.valid_fraction = {} holds out no pair of {}, but the choice needs some",
                spec.portfolio.valid_fraction, n_pairs.training[0]
            )));
        }
        let fingerprint = format!("{searched} {}", training.fingerprint());
        let needed = largest(needs).expect("a training was looked at");
        let sizes = training.sizes.clone();
        let portfolio = Self { spec, space, engine, n_pairs, sizes, fingerprint, needed };
        portfolio.check_bounds()?;
        Ok(portfolio)
    }

    /// Rows and columns of the windows that are trained on.
    pub fn window(&self) -> [usize; 2] {
        [self.spec.train.whole.crop_height, self.spec.train.whole.crop_width]
    }

    /// The network that is trained of a genotype.
    pub fn network(&self, genotype: &DisparityGenotype) -> Network {
        Network::disparity(&DisparitySpec { cells: DisparityCells::Chosen(genotype.clone()), ..self.sizes.clone() })
    }

    /// Refuses bounds that no cells of the space keep.
    fn check_bounds(&self) -> Result<(), TrainError> {
        if self.bounds() == [0; 2] {
            return Ok(());
        }
        let ops: Vec<Op> = self.space.ops.iter().copied().filter(|op| *op != Op::None).collect();
        let plain = plain("all-skip");
        let of = |cell: DisparityCell, op: Op| plain.cell(cell).iter().map(|(_, state)| (op, *state)).collect();
        let (mut params, mut macs) = (u64::MAX, u64::MAX);
        // A strided skip is a convolution, so each type of cell has the operation that is smallest there.
        for (normal, reduce, upsample) in
            ops.iter().flat_map(|n| ops.iter().flat_map(|r| ops.iter().map(|u| (*n, *r, *u))))
        {
            let net = self.network(&DisparityGenotype {
                normal: of(DisparityCell::Normal, normal),
                reduce: of(DisparityCell::Reduce, reduce),
                upsample: of(DisparityCell::Upsample, upsample),
            });
            params = params.min(net.n_parameters() as u64);
            macs = macs.min(net.macs(self.window()));
        }
        let cells = format!("no cells of the space {} have", self.space.name);
        let network = format!("train_network.channels = {}", self.spec.train_network.channels);
        refuse_bounds(self.bounds(), [params, macs], &cells, &network)
    }
}

impl Task for DisparityPortfolio {
    const DATA: &'static str = "pairs";

    type Short = DisparityMemberTrained;
    type Trained = DisparityTrainFinished;
    type Baseline = DisparityBaselineTrained;
    type Finished = DisparityRobustFinished;

    fn engine(&self) -> &Engine {
        &self.engine
    }

    fn needed(&self) -> &Needed {
        &self.needed
    }

    fn started(&self) -> RobustStarted {
        let spec = &self.spec;
        let mut placeless = spec.clone();
        placeless.data.pairs.clear_places();
        RobustStarted {
            format: DISPARITY_ROBUST_EVENT_FORMAT,
            rdarts: env!("CARGO_PKG_VERSION").into(),
            data: spec.data.pairs.name.clone(),
            images: checksum(self.fingerprint.as_bytes()),
            spec: checksum(placeless.to_toml().as_bytes()),
            seed: spec.seed,
            space: self.space.name.clone(),
            vary: spec.portfolio.vary,
            members: (0..spec.members()).map(|member| spec.label(member)).collect(),
        }
    }

    fn search(&self, member: usize, at: &RunAt<'_>) -> Result<bool, TrainError> {
        let search = DisparitySearch::new(self.spec.search_spec(member), at.engine.clone(), &Silent)?;
        at.carry_out(&search, &search.spec, search.spec.search.epochs * search.steps_per_epoch(), |_| Ok(()))
    }

    fn training(&self, genotype: &str, short: bool, at: &RunAt<'_>) -> Result<bool, TrainError> {
        let training = DisparityTraining::new(self.spec.train_spec(genotype, short), at.engine.clone(), &Silent)?;
        at.carry_out(&training, &training.spec, training.spec.train.epochs * training.steps_per_epoch(), |_| Ok(()))
    }

    fn size(&self, genotype: &str) -> Option<(usize, u64)> {
        let net = self.network(&genotype.parse().ok()?);
        Some((net.n_parameters(), net.macs(self.window())))
    }

    fn untrainable(&self, _: &str) -> Option<String> {
        None
    }

    fn bounds(&self) -> [u64; 2] {
        [self.spec.portfolio.max_params, self.spec.portfolio.max_macs]
    }

    fn as_json(&self, genotype: &str) -> Option<Value> {
        serde_json::to_value(genotype.parse::<DisparityGenotype>().ok()?).ok()
    }

    fn baselines(&self) -> Vec<(&'static str, String)> {
        if !self.spec.portfolio.baselines {
            return Vec::new();
        }
        let random = sample(&self.space, &mut Stream::new(self.spec.seed, "random baseline", 0));
        let plain = |name: &'static str| (name, plain(name).to_string());
        vec![("random", random.to_string()), plain("all-skip"), plain("all-sep-conv")]
    }

    fn trained(&self, event: &Event) -> Option<DisparityTrainFinished> {
        if let Event::DisparityTrainFinished(finished) = event { Some(finished.clone()) } else { None }
    }

    fn short(&self, member: usize, trained: &DisparityTrainFinished) -> Option<DisparityMemberTrained> {
        Some(DisparityMemberTrained { member, valid_error: trained.valid_error?, epoch: trained.epoch })
    }

    fn rank(&self, short: &DisparityMemberTrained) -> f64 {
        // Where no disparity is known there is nothing to go by.
        if short.valid_error.is_nan() { f64::NEG_INFINITY } else { -short.valid_error }
    }

    fn choice(&self, label: &str, n: usize, short: &DisparityMemberTrained) -> String {
        let error = format!("end-point error {:.3} px", short.valid_error);
        match n {
            1 => format!("Chosen: {label}, the only one that may be ({error} on the held-out pairs)."),
            n => format!("Chosen: {label}, the best of {n} on the held-out pairs ({error})."),
        }
    }

    fn baseline(
        &self,
        name: &str,
        genotype: &str,
        n_params: usize,
        trained: Option<&DisparityTrainFinished>,
    ) -> DisparityBaselineTrained {
        DisparityBaselineTrained {
            name: name.into(),
            genotype: genotype.into(),
            n_params,
            valid_error: trained.and_then(|trained| trained.valid_error),
            test: trained.and_then(|trained| trained.test.clone()),
        }
    }

    fn finished(&self, chosen: &MemberFound, trained: &DisparityTrainFinished) -> Option<DisparityRobustFinished> {
        Some(DisparityRobustFinished {
            member: chosen.member,
            genotype: chosen.genotype.clone(),
            n_params: chosen.n_params,
            macs: chosen.macs,
            valid_error: trained.valid_error?,
            test: trained.test.clone(),
            reason: trained.reason.clone(),
        })
    }

    fn reason<'t>(&self, trained: &'t DisparityTrainFinished) -> &'t str {
        &trained.reason
    }
}

/// Cells that have a name and no number.
pub(crate) fn plain(name: &str) -> DisparityGenotype {
    named(name).expect("a name that is written here")
}

/// The keys of a search as they are called in a portfolio; most are called the same.
fn of_search(text: &str) -> String {
    text.replace("data.limit", "data.search_limit")
}

/// The keys of a training as they are called in a portfolio.
fn of_training(text: &str) -> String {
    text.replace("data.valid_fraction", "portfolio.valid_fraction").replace("network.", "train_network.")
}
