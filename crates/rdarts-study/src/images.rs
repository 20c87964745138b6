//! A portfolio on images: the searches, trainings and baselines of a classifier.

use rdarts_net::{DiscreteSpec, Engine, Network};
use rdarts_rng::Stream;
use rdarts_run::{
    BaselineTrained, Event, MemberFound, MemberTrained, PortfolioSpec, ROBUST_EVENT_FORMAT, RobustFinished, RobustSpec,
    RobustStarted, Spec, TrainFinished, checksum,
};
use rdarts_search::{Search, fit_hessian_batches};
use rdarts_space::{CellType, Genotype, Op, Space, Topology, sample, uniform};
use rdarts_train::memory::Needed;
use rdarts_train::{ImageSet, SplitImages, TrainError, Training};
use serde_json::Value;

use crate::portfolio::{RunAt, Task, largest, refuse_bounds};

/// What the images are.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Training images.
    pub n: usize,
    /// Those of them that the trainings hold out.
    pub n_valid: usize,
    /// Rows and columns of an image.
    pub side: [usize; 2],
    /// Values of a pixel.
    pub channels: usize,
    /// Classes.
    pub classes: usize,
}

impl Sizes {
    /// Those of images that are read.
    pub fn of(images: &SplitImages) -> Self {
        let train = &images.data.train;
        Self {
            n: images.split.train.len() + images.split.valid.len(),
            n_valid: images.split.valid.len(),
            side: images.side(),
            channels: train.channels,
            classes: images.data.classes.len(),
        }
    }
}

/// A portfolio: what does not change while it runs.
pub struct Portfolio {
    /// The resolved spec.
    pub spec: RobustSpec,
    /// The search space.
    pub space: Space,
    /// What computes; runs side by side have memory of their own.
    pub engine: Engine,
    /// The images, read once for all runs.
    pub images: ImageSet,
    /// What they are.
    pub sizes: Sizes,
    /// What the largest of its runs needs.
    needed: Needed,
}

impl Portfolio {
    /// Looks at all that could be wrong with any of its runs before the first one begins.
    ///
    /// # Errors
    /// One sentence if the images are too few, if a run would need more memory than the machine has, or if no cell of the
    /// space is as small as what may be chosen.
    pub fn new(spec: RobustSpec, space: Space, engine: Engine, images: ImageSet) -> Result<Self, TrainError> {
        if space.topology != Topology::Darts {
            return Err(TrainError::Input(format!(
                "a portfolio has cells of the topology {} alone, and those of the space {} are of {}: search there with `rdarts \
                 search`, and train what it finds with `rdarts train`",
                Topology::Darts,
                space.name,
                space.topology
            )));
        }
        let mut needs = Vec::new();
        for member in 0..spec.members() {
            needs.push(Search::on(spec.search_spec(member), space.clone(), engine.clone(), &images)?.memory());
        }
        let genotype = uniform(Op::SepConv3x3, space.nodes).to_string();
        let training = Training::on(spec.train_spec(&genotype, false), engine.clone(), &images);
        let training = training.map_err(|e| e.map(|text| of_training(&text)))?;
        needs.push(Needed { what: of_training(&training.memory().what), ..training.memory() });
        let sizes = Sizes::of(&training.images);
        let needed = largest(needs).expect("a training was looked at");
        let portfolio = Self { spec, space, engine, images, sizes, needed };
        portfolio.check_bounds()?;
        Ok(portfolio)
    }

    /// Lowers `hessian.batches` of a spec to what the images fill.
    ///
    /// # Errors
    /// One sentence if there are too few images for a search.
    pub fn fit_hessian_batches(spec: &mut RobustSpec, images: &ImageSet) -> Result<(), TrainError> {
        let mut search = spec.search_spec(0);
        fit_hessian_batches(&mut search, images)?;
        spec.hessian.batches = search.hessian.batches;
        Ok(())
    }

    /// Refuses bounds that no cell of the space keeps.
    fn check_bounds(&self) -> Result<(), TrainError> {
        let PortfolioSpec { max_params, max_macs, .. } = self.spec.portfolio;
        if max_params == 0 && max_macs == 0 {
            return Ok(());
        }
        let ops = |cell: CellType| {
            let mut ops: Vec<Op> = self.space.cell(cell).iter().flatten().copied().collect();
            ops.sort_unstable();
            ops.dedup();
            ops.retain(|op| !matches!(op, Op::None | Op::Noise));
            ops
        };
        let cell = |op: Op| uniform(op, self.space.nodes).normal;
        let (mut params, mut macs) = (u64::MAX, u64::MAX);
        for normal in ops(CellType::Normal) {
            for reduce in ops(CellType::Reduce) {
                let genotype = Genotype::new(cell(normal), cell(reduce)).map_err(TrainError::failed)?;
                let net = self.network(&genotype);
                params = params.min(net.n_parameters() as u64);
                macs = macs.min(net.macs(self.sizes.side));
            }
        }
        let cells = format!("no cell of the space {} has", self.space.name);
        let size = &self.spec.train_network;
        let mut network =
            format!("train_network.channels = {} and train_network.cells = {}", size.channels, size.cells);
        if !size.reductions.is_empty() {
            network += &format!(" (train_network.reductions = {:?})", size.reductions);
        }
        refuse_bounds([max_params, max_macs], [params, macs], &cells, &network)
    }

    /// The network that is trained of a genotype, without its auxiliary head.
    pub fn network(&self, genotype: &Genotype) -> Network {
        let size = &self.spec.train_network;
        Network::discrete(&DiscreteSpec {
            genotype: genotype.clone(),
            cells: size.cells,
            reductions: size.reductions.clone(),
            c: size.channels,
            c_image: self.sizes.channels,
            classes: self.sizes.classes,
            auxiliary: false,
        })
    }
}

impl Portfolio {
    /// The spec without what may differ between two machines.
    fn placeless(&self) -> String {
        let mut spec = self.spec.clone();
        spec.data.images.clear_places();
        spec.space.name.clone_from(&self.space.name);
        spec.to_toml()
    }
}

impl Task for Portfolio {
    const DATA: &'static str = "images";

    type Short = MemberTrained;
    type Trained = TrainFinished;
    type Baseline = BaselineTrained;
    type Finished = RobustFinished;

    fn engine(&self) -> &Engine {
        &self.engine
    }

    fn needed(&self) -> &Needed {
        &self.needed
    }

    fn started(&self) -> RobustStarted {
        let spec = &self.spec;
        RobustStarted {
            format: ROBUST_EVENT_FORMAT,
            rdarts: env!("CARGO_PKG_VERSION").into(),
            data: spec.data.images.name.clone(),
            images: self.images.fingerprint().into(),
            spec: checksum(self.placeless().as_bytes()),
            seed: spec.seed,
            space: self.space.name.clone(),
            vary: spec.portfolio.vary,
            members: (0..spec.members()).map(|member| spec.label(member)).collect(),
        }
    }

    /// Reductions came later; where none is named, the rest says all.
    fn older_specs(&self) -> Vec<String> {
        let text = self.placeless();
        let older: Vec<&str> = text.split_inclusive('\n').filter(|line| *line != "reductions = []\n").collect();
        let all_named_none = older.len() + 2 == text.split_inclusive('\n').count();
        if all_named_none { vec![checksum(older.concat().as_bytes())] } else { Vec::new() }
    }

    fn search(&self, member: usize, at: &RunAt<'_>) -> Result<bool, TrainError> {
        let search = Search::on(self.spec.search_spec(member), self.space.clone(), at.engine.clone(), &self.images)?;
        let text = self.space.to_toml();
        let steps = search.n_epochs() * search.steps_per_epoch();
        at.carry_out(&search, &search.spec, steps, |dir| dir.write_space(&text))
    }

    fn training(&self, genotype: &str, short: bool, at: &RunAt<'_>) -> Result<bool, TrainError> {
        let training = Training::on(self.spec.train_spec(genotype, short), at.engine.clone(), &self.images)?;
        at.carry_out(&training, &training.spec, training.spec.train.epochs * training.steps_per_epoch(), |_| Ok(()))
    }

    fn size(&self, genotype: &str) -> Option<(usize, u64)> {
        let net = self.network(&genotype.parse().ok()?);
        Some((net.n_parameters(), net.macs(self.sizes.side)))
    }

    fn untrainable(&self, genotype: &str) -> Option<String> {
        let has_noise = genotype.parse::<Genotype>().is_ok_and(|genotype| genotype.has_noise());
        has_noise.then(|| "its cell has the operation noise, which cannot be trained from scratch".into())
    }

    fn bounds(&self) -> [u64; 2] {
        [self.spec.portfolio.max_params, self.spec.portfolio.max_macs]
    }

    fn as_json(&self, genotype: &str) -> Option<Value> {
        serde_json::to_value(genotype.parse::<Genotype>().ok()?).ok()
    }

    fn baselines(&self) -> Vec<(&'static str, String)> {
        if !self.spec.portfolio.baselines {
            return Vec::new();
        }
        let mut stream = Stream::new(self.spec.seed, "random baseline", 0);
        let mut random = sample(&self.space, &mut stream);
        // Noise cannot be trained from scratch; most draws of other spaces have none.
        while random.has_noise() {
            random = sample(&self.space, &mut stream);
        }
        let nodes = self.space.nodes;
        vec![
            ("random", random.to_string()),
            ("all-skip", uniform(Op::SkipConnect, nodes).to_string()),
            ("all-sep-conv", uniform(Op::SepConv3x3, nodes).to_string()),
        ]
    }

    fn trained(&self, event: &Event) -> Option<TrainFinished> {
        if let Event::TrainFinished(finished) = event { Some(finished.clone()) } else { None }
    }

    fn short(&self, member: usize, trained: &TrainFinished) -> Option<MemberTrained> {
        Some(MemberTrained { member, valid_accuracy: trained.valid_accuracy?, epoch: trained.epoch })
    }

    fn rank(&self, short: &MemberTrained) -> f64 {
        short.valid_accuracy
    }

    fn choice(&self, label: &str, n: usize, short: &MemberTrained) -> String {
        let percent = 100.0 * short.valid_accuracy;
        match n {
            1 => format!("Chosen: {label}, the only one that may be ({percent:.2} % of the held-out images)."),
            n => format!("Chosen: {label}, the best of {n} on the held-out images ({percent:.2} %)."),
        }
    }

    fn baseline(
        &self,
        name: &str,
        genotype: &str,
        n_params: usize,
        trained: Option<&TrainFinished>,
    ) -> BaselineTrained {
        BaselineTrained {
            name: name.into(),
            genotype: genotype.into(),
            n_params,
            valid_accuracy: trained.and_then(|trained| trained.valid_accuracy),
            test_accuracy: trained.map(|trained| trained.test_accuracy),
        }
    }

    fn finished(&self, chosen: &MemberFound, trained: &TrainFinished) -> Option<RobustFinished> {
        Some(RobustFinished {
            member: chosen.member,
            genotype: chosen.genotype.clone(),
            n_params: chosen.n_params,
            macs: chosen.macs,
            valid_accuracy: trained.valid_accuracy?,
            test_accuracy: trained.test_accuracy,
            reason: trained.reason.clone(),
        })
    }

    fn reason<'t>(&self, trained: &'t TrainFinished) -> &'t str {
        &trained.reason
    }
}

/// The keys of a training as they are called in a portfolio.
fn of_training(text: &str) -> String {
    text.replace("data.valid_fraction", "portfolio.valid_fraction")
        .replace("[augment]", "[train_augment]")
        .replace("network.", "train_network.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_training_are_named_as_the_portfolio_has_them() {
        assert_eq!(
            of_training("data.valid_fraction, section [augment], network.channels = 8 or network.cells = 3"),
            "portfolio.valid_fraction, section [train_augment], train_network.channels = 8 or train_network.cells = 3"
        );
    }
}
