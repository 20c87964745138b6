//! How long a portfolio takes, before it begins: a plan that fits few images, or a budget of hours.
//!
//! A plan is decided once and written into the spec, so that the bits of a run do not depend on the clock.

use std::time::Instant;

use rdarts_net::{
    Alphas, Batch, DiscreteSpec, Engine, Network, Point, SupernetSpec, Targets, alpha_gradient, training_gradient,
    weight_gradient,
};
use rdarts_rng::Stream;
use rdarts_run::RobustSpec;
use rdarts_space::{Op, Space, uniform};
use rdarts_train::SplitImages;

/// What a plan needs to know of the images.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Training images.
    pub n: usize,
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
            side: images.side(),
            channels: train.channels,
            classes: images.data.classes.len(),
        }
    }
}

/// Seconds of the steps of a plan.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Of a search step, both halves.
    pub search: f64,
    /// Of a training step.
    pub training: f64,
}

/// Steps that make a search, a short and a whole training worth while; fewer images make more epochs of them.
const ENOUGH: [usize; 3] = [60, 60, 300];
/// As far as epochs are raised for it.
const MOST_EPOCHS: usize = 60;

/// Raises the epochs of a small plan where there are so few images that its trainings would hardly begin; true if it did.
/// The curvature is measured as often as before, since it costs as much after a short epoch as after a long one.
pub fn fit_to_images(spec: &mut RobustSpec, sizes: Sizes) -> bool {
    let before = spec.clone();
    let [search, training] = steps_per_epoch(spec, sizes);
    let enough = |epochs: usize, steps: usize, wanted: usize| epochs.max(wanted.div_ceil(steps).min(MOST_EPOCHS));
    spec.search.epochs = enough(spec.search.epochs, search, ENOUGH[0]);
    spec.hessian.every *= spec.search.epochs.div_ceil(before.search.epochs);
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

/// What is measured after epochs, as a share of their steps: eigenvalues, accuracies, tests.
const MEASURING: f64 = 1.25;

/// Seconds that a plan takes at a pace, about.
pub fn seconds(spec: &RobustSpec, sizes: Sizes, pace: Pace) -> f64 {
    let [search, training] = steps_per_epoch(spec, sizes).map(|steps| steps as f64);
    let searches = spec.members() as f64 * spec.search.epochs as f64 * search * pace.search;
    let epochs = spec.members() * spec.train.short_epochs + n_whole(spec) * spec.train.whole.epochs;
    MEASURING * (searches + epochs as f64 * training * pace.training)
}

/// Lowers or raises all epochs by one factor until the plan takes about so many seconds; what it takes then. No plan has
/// fewer than two epochs of a search or one of a training, or more than the spec's preset for the paper: 50, 100 and 600.
pub fn fit_to_budget(spec: &mut RobustSpec, sizes: Sizes, pace: Pace, budget: f64) -> f64 {
    let begin = spec.clone();
    let at = |factor: f64| {
        let mut spec = begin.clone();
        let scaled = |epochs: usize, least: usize, most: usize| {
            ((epochs as f64 * factor) as usize).clamp(least, most.max(epochs))
        };
        spec.search.epochs = scaled(spec.search.epochs, 2, 50);
        spec.train.short_epochs = scaled(spec.train.short_epochs, 1, 100);
        spec.train.whole.epochs = scaled(spec.train.whole.epochs, 1, 600);
        spec
    };
    // Time grows with the factor: halve the interval.
    let (mut low, mut high) = (0.0, 1000.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        match seconds(&at(middle), sizes, pace) <= budget {
            true => low = middle,
            false => high = middle,
        }
    }
    *spec = at(low);
    seconds(spec, sizes, pace)
}

/// Measures the pace of this machine: a step of each kind on random images, after one that warms up. The cell that is
/// trained has separable convolutions alone, the most expensive that the usual spaces have.
pub fn measure(spec: &RobustSpec, space: &Space, sizes: Sizes, engine: &Engine) -> Pace {
    let mut stream = Stream::new(1, "plan", 0);
    let mut images = |n: usize| -> (Vec<f32>, Vec<u32>) {
        let values = n * sizes.side[0] * sizes.side[1] * sizes.channels;
        let labels = (0..n).map(|_| stream.below(sizes.classes) as u32).collect();
        ((0..values).map(|_| stream.normal() as f32).collect(), labels)
    };
    let supernet = Network::supernet(SupernetSpec {
        stem_multiplier: spec.network.stem_multiplier,
        ..SupernetSpec::from_space(space, spec.network.cells, spec.network.channels, sizes.channels, sizes.classes)
    });
    let (alphas, weights) = (Alphas::zeros(&supernet), supernet.init(1));
    let (values, labels) = images(spec.search.batch);
    let batch = Batch { images: &values, side: sizes.side, targets: Targets::Labels(&labels), noise: &[] };
    let search = time(|| {
        let at = Point { net: &supernet, engine, weights: &weights, alphas: &alphas };
        drop(alpha_gradient(at, batch));
        drop(weight_gradient(at, batch));
    });
    let net = Network::discrete(&DiscreteSpec {
        genotype: uniform(Op::SepConv3x3, space.nodes),
        cells: spec.train_network.cells,
        c: spec.train_network.channels,
        c_image: sizes.channels,
        classes: sizes.classes,
        auxiliary: spec.train_network.auxiliary,
    });
    let weights = net.init(1);
    let (values, labels) = images(spec.train.whole.batch);
    let batch = Batch { images: &values, side: sizes.side, targets: Targets::Labels(&labels), noise: &[] };
    let training = time(|| drop(training_gradient(&net, engine, &weights, batch, 0.4)));
    Pace { search, training }
}

fn time(mut work: impl FnMut()) -> f64 {
    work();
    let begin = Instant::now();
    let mut n = 0;
    while n < 3 || begin.elapsed().as_secs_f64() < 0.5 {
        work();
        n += 1;
    }
    begin.elapsed().as_secs_f64() / f64::from(n)
}

#[cfg(test)]
mod tests {
    use rdarts_run::Spec;
    use rdarts_train::KnownSets;

    use super::*;

    const SIZES: Sizes = Sizes { n: 6000, side: [28; 2], channels: 1, classes: 10 };

    fn demo() -> RobustSpec {
        RobustSpec::resolve(Some("demo"), None, &[], &KnownSets).unwrap()
    }

    #[test]
    fn few_images_make_more_epochs_and_many_make_no_other() {
        let mut spec = demo();
        assert!(!fit_to_images(&mut spec, SIZES) && spec == demo());
        assert!(fit_to_images(&mut spec, Sizes { n: 300, ..SIZES }));
        let [search, training] = steps_per_epoch(&spec, Sizes { n: 300, ..SIZES });
        assert!(spec.search.epochs * search >= 60 && spec.train.whole.epochs * training >= 250);
        let times = |spec: &RobustSpec| spec.search.epochs / spec.hessian.every;
        assert!(times(&spec) <= times(&demo()) && spec.hessian.every > 1);
        assert!(spec.train.whole.epochs <= MOST_EPOCHS);
    }

    #[test]
    fn a_budget_is_kept_where_it_can_be() {
        let pace = Pace { search: 0.1, training: 0.05 };
        for budget in [600.0, 3600.0, 100_000.0] {
            let mut spec = demo();
            let made = fit_to_budget(&mut spec, SIZES, pace, budget);
            assert!(made <= budget && made == seconds(&spec, SIZES, pace), "{made} of {budget}");
            // The next larger plan would not fit, unless there is none.
            let more = Pace { search: 1.3 * pace.search, training: 1.3 * pace.training };
            let is_largest = spec.train.whole.epochs >= 600;
            assert!(is_largest || seconds(&spec, SIZES, more) > 0.9 * budget, "{made} of {budget}");
        }
        let mut spec = demo();
        assert!(fit_to_budget(&mut spec, SIZES, pace, 1.0) > 1.0);
        assert_eq!((spec.search.epochs, spec.train.short_epochs, spec.train.whole.epochs), (2, 1, 1));
    }
}
