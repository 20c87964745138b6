//! How long a portfolio takes, before it begins: a plan that fits few images, or a budget of hours.
//!
//! A plan is decided once and written into the spec, so that the bits of a run do not depend on the clock.

use rdarts_net::Engine;
use rdarts_run::{Method, RobustSpec};
use rdarts_search::Search;
use rdarts_space::{Op, Space, uniform};
use rdarts_train::{ImageSet, Pace, SplitImages, TrainError, Training, pace};

/// What a plan needs to know of the images.
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

/// Trainings in full: the chosen one and the baselines.
fn n_whole(spec: &RobustSpec) -> usize {
    if spec.portfolio.baselines { 4 } else { 1 }
}

/// Seconds that a plan takes, about: rollbacks come on top, what ends early comes off.
pub fn seconds(spec: &RobustSpec, sizes: Sizes, paces: &Paces) -> f64 {
    let [search, training] = steps_per_epoch(spec, sizes).map(|steps| steps as f64);
    let of_epoch = |steps: f64, pace: Pace| steps * pace.step + pace.measuring;
    let curvatures = spec.search.epochs.checked_div(spec.hessian.every).unwrap_or(0);
    let of_search =
        spec.search.epochs as f64 * of_epoch(search, paces.search) + curvatures as f64 * paces.curvature + paces.choice;
    let of_training = |epochs: usize| epochs as f64 * of_epoch(training, paces.training) + paces.test;
    let members = spec.members() as f64;
    members * (of_search + of_training(spec.train.short_epochs))
        + n_whole(spec) as f64 * of_training(spec.train.whole.epochs)
}

/// Measurements of the curvature that a search keeps, however long they take: fewer show no growth.
const FEWEST_MEASUREMENTS: usize = 5;

/// Lowers or raises all epochs by one factor until the plan takes about so many seconds; what it takes then. No plan has
/// fewer than two epochs of a search or one of a training, or more than the presets for the paper: 50, 100 and 600. The
/// curvature is measured less often where it would take longer than the epochs, unless `keeps_every`.
pub fn fit_to_budget(spec: &mut RobustSpec, sizes: Sizes, paces: &Paces, budget: f64, keeps_every: bool) -> f64 {
    let begin = spec.clone();
    let [steps, _] = steps_per_epoch(spec, sizes);
    let of_epoch = steps as f64 * paces.search.step + paces.search.measuring;
    let at = |factor: f64| {
        let mut spec = begin.clone();
        let scaled = |epochs: usize, least: usize, most: usize| {
            ((epochs as f64 * factor) as usize).clamp(least, most.max(epochs))
        };
        // Alphas that wait for weights learn in one epoch at least.
        let fewest = if spec.search.method.warms_up() { spec.method.warm_up + 1 } else { 2 };
        spec.search.epochs = scaled(spec.search.epochs, fewest.max(2), 50);
        spec.train.short_epochs = scaled(spec.train.short_epochs, 1, 100);
        spec.train.whole.epochs = scaled(spec.train.whole.epochs, 1, 600);
        if !keeps_every && spec.hessian.every > 0 {
            let seldom = (paces.curvature / of_epoch).ceil().min(1e6) as usize;
            spec.hessian.every = seldom.min(spec.search.epochs / FEWEST_MEASUREMENTS).max(begin.hessian.every);
        }
        spec
    };
    // Time grows with the factor, but for a little where the curvature is measured less often: halve the interval.
    let (mut low, mut high) = (0.0, 1000.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        match seconds(&at(middle), sizes, paces) <= budget {
            true => low = middle,
            false => high = middle,
        }
    }
    *spec = at(low);
    seconds(spec, sizes, paces)
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
        assert!((seconds(&demo(), SIZES, &paces(7.0)) - searches - trainings).abs() < 1e-9);
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
            assert!(is_largest || seconds(&more, SIZES, &paces(3.0)) > budget, "{made} of {budget}");
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
