//! How long a portfolio takes, before it begins: a plan that fits few images, or a budget of hours.
//!
//! A plan is decided once and written into the spec, so that the bits of a run do not depend on the clock.

use rdarts_data::Silent;
use rdarts_net::Engine;
use rdarts_run::{Method, RobustSpec};
use rdarts_search::{DisparitySearch, Search};
use rdarts_space::{Op, Space, uniform};
use rdarts_train::disparity::DisparityTraining;
use rdarts_train::{ImageSet, Pace, TrainError, Training, pace};

use crate::disparity::{DisparityPortfolio, plain};
use crate::images::Sizes;

/// Seconds that the parts of a plan take on a machine.
#[derive(Clone, Copy, Debug)]
pub struct Paces {
    /// A search without its curvature.
    pub search: Pace,
    /// One measurement of the curvature.
    pub curvature: f64,
    /// What a search does after its last epoch.
    pub choice: f64,
    /// A training.
    pub training: Pace,
    /// The test at the end of a training.
    pub test: f64,
}

/// Steps that make a search, a short and a whole training worth while; fewer images make more epochs of them.
const ENOUGH: [usize; 3] = [60, 60, 300];
/// As far as epochs are raised for it.
const MOST_EPOCHS: usize = 60;

/// Raises the epochs of a small plan where there are so few images that its trainings would hardly begin; true if it did.
/// The curvature is measured as often as before, since it costs as much after a short epoch as after a long one, unless
/// `keeps_every`: then the user has said how often.
pub fn fit_to_images(spec: &mut RobustSpec, sizes: Sizes, keeps_every: bool) -> bool {
    let before = spec.clone();
    let [search, training] = steps_per_epoch(spec, sizes);
    let enough = |epochs: usize, steps: usize, wanted: usize| epochs.max(wanted.div_ceil(steps).min(MOST_EPOCHS));
    spec.search.epochs = enough(spec.search.epochs, search, ENOUGH[0]);
    if !keeps_every {
        spec.hessian.every *= spec.search.epochs.div_ceil(before.search.epochs);
    }
    spec.train.short_epochs = enough(spec.train.short_epochs, training, ENOUGH[1]);
    spec.train.whole.epochs = enough(spec.train.whole.epochs, training, ENOUGH[2]);
    *spec != before
}

/// Steps of an epoch of a search and of a training.
fn steps_per_epoch(spec: &RobustSpec, sizes: Sizes) -> [usize; 2] {
    let share = |fraction: f64, batch: usize| ((sizes.n as f64 * fraction) as usize).div_ceil(batch).max(1);
    [
        share(spec.data.train_fraction, spec.search.batch),
        share(1.0 - spec.portfolio.valid_fraction, spec.train.whole.batch),
    ]
}

/// How long a portfolio is: what a budget decides.
#[derive(Clone, Copy, Debug)]
struct Lengths {
    /// Epochs of a search, of a short training and of a whole one.
    epochs: [usize; 3],
    /// Epochs between two measurements of the curvature; 0: none.
    every: usize,
}

/// What a portfolio consists of, whatever its length.
#[derive(Clone, Copy, Debug)]
struct Parts {
    /// Searches, and as many short trainings.
    members: usize,
    /// Trainings in full: the chosen one and the baselines.
    n_whole: usize,
    /// Steps of an epoch of a search and of a training.
    steps: [usize; 2],
    /// Epochs that a search has at least.
    fewest: usize,
    /// The epochs that a budget makes at most: those of the preset for the paper.
    most: [usize; 3],
}

impl Parts {
    fn of(spec: &RobustSpec, sizes: Sizes) -> Self {
        // Alphas that wait for weights learn in one epoch at least.
        let fewest = if spec.search.method.warms_up() { spec.method.warm_up + 1 } else { 2 };
        Self {
            members: spec.members(),
            n_whole: n_whole(spec.portfolio.baselines),
            steps: steps_per_epoch(spec, sizes),
            fewest: fewest.max(2),
            most: [50, 100, 600],
        }
    }

    fn of_disparity(portfolio: &DisparityPortfolio) -> Self {
        let (spec, pairs) = (&portfolio.spec, portfolio.n_pairs);
        Self {
            members: spec.members(),
            n_whole: n_whole(spec.portfolio.baselines),
            steps: [pairs.search[0].div_ceil(spec.search.batch), pairs.training[0].div_ceil(spec.train.whole.batch)],
            fewest: (spec.search.warm_start + 1).max(2),
            most: [50, 9, 55],
        }
    }

    /// Seconds that it takes, about: rollbacks come on top, what ends early comes off.
    fn seconds(&self, lengths: &Lengths, paces: &Paces) -> f64 {
        let [search, training] = self.steps.map(|steps| steps as f64);
        let [search_epochs, short, whole] = lengths.epochs;
        let of_epoch = |steps: f64, pace: Pace| steps * pace.step + pace.measuring;
        let curvatures = search_epochs.checked_div(lengths.every).unwrap_or(0);
        let of_search =
            search_epochs as f64 * of_epoch(search, paces.search) + curvatures as f64 * paces.curvature + paces.choice;
        let of_training = |epochs: usize| epochs as f64 * of_epoch(training, paces.training) + paces.test;
        self.members as f64 * (of_search + of_training(short)) + self.n_whole as f64 * of_training(whole)
    }

    /// Lowers or raises all epochs by one factor until it takes about so many seconds, and says how many it takes then. The
    /// curvature is measured less often where it would take longer than the epochs, unless `keeps_every`.
    fn fit(&self, epochs: [&mut usize; 3], every: &mut usize, paces: &Paces, budget: f64, keeps_every: bool) -> f64 {
        let begin = Lengths { epochs: [*epochs[0], *epochs[1], *epochs[2]], every: *every };
        let of_epoch = self.steps[0] as f64 * paces.search.step + paces.search.measuring;
        let at = |factor: f64| {
            let scaled = |i: usize, least: usize| {
                let epochs = begin.epochs[i];
                ((epochs as f64 * factor) as usize).clamp(least, self.most[i].max(epochs))
            };
            let mut lengths = Lengths { epochs: [scaled(0, self.fewest), scaled(1, 1), scaled(2, 1)], ..begin };
            if !keeps_every && begin.every > 0 {
                let seldom = (paces.curvature / of_epoch).ceil().min(1e6) as usize;
                lengths.every = seldom.min(lengths.epochs[0] / FEWEST_MEASUREMENTS).max(begin.every);
            }
            lengths
        };
        // Time grows with the factor, but for a little where the curvature is measured less often: halve the interval.
        let (mut low, mut high) = (0.0, 1000.0);
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            match self.seconds(&at(middle), paces) <= budget {
                true => low = middle,
                false => high = middle,
            }
        }
        let fitted = at(low);
        epochs.into_iter().zip(fitted.epochs).for_each(|(epochs, fitted)| *epochs = fitted);
        *every = fitted.every;
        self.seconds(&fitted, paces)
    }
}

fn n_whole(baselines: bool) -> usize {
    if baselines { 4 } else { 1 }
}

/// Measurements of the curvature that a search keeps, however long they take: fewer show no growth.
const FEWEST_MEASUREMENTS: usize = 5;

/// Fits the epochs of a portfolio to so many seconds; what it takes then. No plan has fewer than two epochs of a search or one
/// of a training, or more than the presets for the paper: 50, 100 and 600.
pub fn fit_to_budget(spec: &mut RobustSpec, sizes: Sizes, paces: &Paces, budget: f64, keeps_every: bool) -> f64 {
    let parts = Parts::of(spec, sizes);
    let epochs = [&mut spec.search.epochs, &mut spec.train.short_epochs, &mut spec.train.whole.epochs];
    parts.fit(epochs, &mut spec.hessian.every, paces, budget, keeps_every)
}

/// The same of a portfolio for disparity; its presets for the paper have 50, 9 and 55 epochs.
pub fn fit_disparity_to_budget(
    portfolio: &mut DisparityPortfolio,
    paces: &Paces,
    budget: f64,
    keeps_every: bool,
) -> f64 {
    let parts = Parts::of_disparity(portfolio);
    let spec = &mut portfolio.spec;
    let epochs = [&mut spec.search.epochs, &mut spec.train.short_epochs, &mut spec.train.whole.epochs];
    parts.fit(epochs, &mut spec.hessian.every, paces, budget, keeps_every)
}

/// Measures the paces of this machine by a few steps of the first search for disparity and of a training, whose cells have
/// separable convolutions alone.
///
/// # Errors
/// One sentence if a step cannot be made.
pub fn measure_disparity(portfolio: &DisparityPortfolio) -> Result<Paces, TrainError> {
    let search = |every: usize| {
        let mut spec = portfolio.spec.search_spec(0);
        spec.hessian.every = every;
        DisparitySearch::new(spec, portfolio.engine.clone(), &Silent)
    };
    let of_search = pace(&search(0)?)?;
    let mut curvature = 0.0;
    if portfolio.spec.hessian.every > 0 {
        curvature = (pace(&search(1)?)?.measuring - of_search.measuring).max(0.0);
    }
    let training = DisparityTraining::new(
        portfolio.spec.train_spec(&plain("all-sep-conv").to_string(), false),
        portfolio.engine.clone(),
        &Silent,
    )?;
    let of_training = pace(&training)?;
    let test = of_training.measuring * training.n_test as f64 / training.n_pairs[1].max(1) as f64;
    Ok(Paces { search: of_search, curvature, choice: 0.0, training: of_training, test })
}

/// Measures the paces of this machine by a few steps of the first search and of a training. The cell that is trained has
/// separable convolutions alone, the most expensive that the usual spaces have.
///
/// # Errors
/// One sentence if a step cannot be made.
pub fn measure(spec: &RobustSpec, space: &Space, engine: &Engine, images: &ImageSet) -> Result<Paces, TrainError> {
    let search = |every: usize| {
        let mut search = spec.search_spec(0);
        search.hessian.every = every;
        Search::on(search, space.clone(), engine.clone(), images)
    };
    let plain = search(0)?;
    let of_search = pace(&plain)?;
    let mut curvature = 0.0;
    if spec.hessian.every > 0 && spec.search.method != Method::RsWs {
        curvature = (pace(&search(1)?)?.measuring - of_search.measuring).max(0.0);
    }
    // A forward pass alone is about a third of a step.
    let samples = (spec.search.samples * spec.search.sample_batches) as f64;
    let choice = match spec.search.method {
        Method::RsWs => samples * of_search.step / 3.0,
        // The epochs between its decisions, and the supernet without each candidate.
        method if method.selects() => {
            let epochs = (plain.n_epochs() - plain.spec.search.epochs) as f64;
            let candidates = plain.n_alphas().iter().sum::<usize>() + 2 * (space.n_edges() - 2);
            let of_epoch = plain.steps_per_epoch() as f64 * of_search.step + of_search.measuring;
            let evaluations = usize::from(spec.eval.oneshot) + usize::from(spec.eval.child);
            epochs * of_epoch + candidates as f64 * of_search.measuring / evaluations.max(1) as f64
        }
        _ => 0.0,
    };
    let genotype = uniform(Op::SepConv3x3, space.nodes).to_string();
    let training = Training::on(spec.train_spec(&genotype, false), engine.clone(), images)?;
    let of_training = pace(&training)?;
    let (n_valid, n_test) = (training.images.split.valid.len(), training.images.data.test.n);
    let test = of_training.measuring * n_test as f64 / n_valid.max(1) as f64;
    Ok(Paces { search: of_search, curvature, choice, training: of_training, test })
}

#[cfg(test)]
mod tests {
    use rdarts_run::Spec;
    use rdarts_train::KnownSets;

    use super::*;

    const SIZES: Sizes = Sizes { n: 6000, n_valid: 600, side: [28; 2], channels: 1, classes: 10 };

    fn demo() -> RobustSpec {
        RobustSpec::resolve(Some("demo"), None, &[], &KnownSets).unwrap()
    }

    #[test]
    fn few_images_make_more_epochs_and_many_make_no_other() {
        let mut spec = demo();
        assert!(!fit_to_images(&mut spec, SIZES, false) && spec == demo());
        assert!(fit_to_images(&mut spec, Sizes { n: 300, ..SIZES }, false));
        let [search, training] = steps_per_epoch(&spec, Sizes { n: 300, ..SIZES });
        assert!(spec.search.epochs * search >= 60 && spec.train.whole.epochs * training >= 250);
        let times = |spec: &RobustSpec| spec.search.epochs / spec.hessian.every;
        assert!(times(&spec) <= times(&demo()) && spec.hessian.every > 1);
        assert!(spec.train.whole.epochs <= MOST_EPOCHS);
    }

    fn seconds_at(spec: &RobustSpec, curvature: f64) -> f64 {
        let epochs = [spec.search.epochs, spec.train.short_epochs, spec.train.whole.epochs];
        Parts::of(spec, SIZES).seconds(&Lengths { epochs, every: spec.hessian.every }, &paces(curvature))
    }

    /// A step of a search takes 0.1 s, one of a training 0.05 s.
    fn paces(curvature: f64) -> Paces {
        let pace = |step: f64| Pace { step, measuring: 1.0 };
        Paces { search: pace(0.1), curvature, choice: 0.0, training: pace(0.05), test: 2.0 }
    }

    #[test]
    fn the_seconds_of_a_plan_are_those_of_its_parts() {
        // 3 searches of 5 epochs of 47 steps and 1 measurement, and the curvature after each epoch; 3 short trainings of 2
        // epochs of 85 steps, 4 whole ones of 6, each with a test.
        let searches = 3.0 * 5.0 * (47.0 * 0.1 + 1.0 + 7.0);
        let trainings = (3.0 * 2.0 + 4.0 * 6.0) * (85.0 * 0.05 + 1.0) + 7.0 * 2.0;
        assert!((seconds_at(&demo(), 7.0) - searches - trainings).abs() < 1e-9);
    }

    #[test]
    fn a_budget_is_kept_where_it_can_be() {
        for budget in [600.0, 3600.0, 100_000.0] {
            let mut spec = demo();
            let made = fit_to_budget(&mut spec, SIZES, &paces(3.0), budget, false);
            assert!(made <= budget, "{made} of {budget}");
            assert_eq!(spec.hessian.every, 1, "the curvature takes less time than an epoch");
            // The next larger plan would not fit, unless there is none.
            let mut more = spec.clone();
            more.search.epochs += 1 + more.search.epochs / 10;
            more.train.short_epochs += 1 + more.train.short_epochs / 10;
            more.train.whole.epochs += 1 + more.train.whole.epochs / 10;
            let is_largest = spec.train.whole.epochs >= 600;
            assert!(is_largest || seconds_at(&more, 3.0) > budget, "{made} of {budget}");
        }
        let mut spec = demo();
        assert!(fit_to_budget(&mut spec, SIZES, &paces(3.0), 1.0, false) > 1.0);
        assert_eq!((spec.search.epochs, spec.train.short_epochs, spec.train.whole.epochs), (2, 1, 1));
    }

    #[test]
    fn a_curvature_that_takes_long_is_measured_less_often_but_not_too_seldom() {
        let few = Sizes { n: 260, ..SIZES };
        let mut spec = demo();
        fit_to_budget(&mut spec, few, &paces(20.0), 3600.0, false);
        assert!(spec.hessian.every > 1 && spec.search.epochs / spec.hessian.every >= FEWEST_MEASUREMENTS, "{spec:?}");
        let mut spec = demo();
        fit_to_budget(&mut spec, few, &paces(20.0), 3600.0, true);
        assert_eq!(spec.hessian.every, 1);
    }
}
