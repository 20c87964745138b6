//! The alpha-Hessian after an epoch, and its dominant eigenvalue with what is known of its noise.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};

use rdarts_net::{
    AlphaHessian, Alphas, Batch, Engine, FullHessian, Held, Network, Point, Work, alpha_gradient, forward,
};
use rdarts_rng::Stream;
use rdarts_run::{AlphasSpec, HessianMode, SearchSpec};
use rdarts_train::TrainError;

use crate::State;
use crate::batches::{AsBatch, NoisyBatch};
use crate::lanczos::{Dominant, SymmetricOperator, dominant};
use crate::methods::measured;
use crate::search::Search;

/// The Hessian of the mean loss of some batches with respect to alpha.
///
/// The passes of as many batches as fit into half of the free memory are kept from one product to the next; the others
/// are made again, to the same bits.
pub struct MeanHessian<'a, B = NoisyBatch> {
    net: Cow<'a, Network>,
    engine: &'a Engine,
    weights: Cow<'a, Held>,
    alphas: Alphas,
    batches: Vec<B>,
    /// Of the first batches; at least of one.
    kept: Vec<AlphaHessian<'a>>,
    stop: &'a AtomicBool,
}

impl<'a> MeanHessian<'a> {
    /// The alpha-Hessian after `epoch`, on the images that the spec names, drop path active, as in the released code;
    /// `None` if `stop` was set meanwhile.
    ///
    /// # Errors
    /// One sentence if the images are in a file that cannot be read any more.
    pub fn after_epoch(
        search: &'a Search,
        state: &'a State,
        epoch: usize,
        stop: &'a AtomicBool,
    ) -> Result<Option<Self>, TrainError> {
        let batches = search.hessian_batches(state.at.trained_attempt, epoch)?;
        Ok(Self::of_search(search, state, batches, stop))
    }

    /// The alpha-Hessian of a search on any batches with their noise; `None` if `stop` was set meanwhile.
    pub fn of_search(
        search: &'a Search,
        state: &'a State,
        batches: Vec<NoisyBatch>,
        stop: &'a AtomicBool,
    ) -> Option<Self> {
        let (net, weights) = match measured(search, state) {
            Some((net, weights)) => (Cow::Owned(net), Cow::Owned(weights.into())),
            None => (Cow::Borrowed(&search.net), Cow::Borrowed(&state.weights)),
        };
        Self::at(net, weights, &search.engine, state.extra.for_network(), batches, stop)
    }

    /// The alpha-Hessian on any batches with their noise; `None` if `stop` was set meanwhile.
    pub fn on(
        net: &'a Network,
        engine: &'a Engine,
        state: &'a State,
        batches: Vec<NoisyBatch>,
        stop: &'a AtomicBool,
    ) -> Option<Self> {
        let (net, weights) = (Cow::Borrowed(net), Cow::Borrowed(&state.weights));
        Self::at(net, weights, engine, state.extra.for_network(), batches, stop)
    }
}

impl<'a, B: AsBatch> MeanHessian<'a, B> {
    pub(crate) fn at(
        net: Cow<'a, Network>,
        weights: Cow<'a, Held>,
        engine: &'a Engine,
        alphas: Alphas,
        batches: Vec<B>,
        stop: &'a AtomicBool,
    ) -> Option<Self> {
        let mut this = Self { net, engine, weights, alphas, batches, kept: Vec::new(), stop };
        let first = this.batches[0].as_batch();
        let each = this.net.memory_estimate(first.targets.n(), first.side, Work::HessianProduct).max(1);
        let fit = rdarts_data::available_memory().map_or(1, |free| (free / 2 / each) as usize);
        for i in 0..this.batches.len().min(fit.max(1)) {
            let hessian = this.of(i)?;
            this.kept.push(hessian);
        }
        // What was made while it was set means nothing.
        (!stop.load(Ordering::Relaxed)).then_some(this)
    }

    /// The directions in which the loss can change, see [`AlphaHessian::range`].
    pub fn range(&self) -> Vec<Vec<f64>> {
        self.kept[0].range()
    }

    /// H v of the mean loss; `None` if `stop` was set meanwhile.
    pub fn apply(&self, v: &[f64]) -> Option<Vec<f64>> {
        self.mean(|hessian| hessian.apply(v))
    }

    /// The full matrix of the mean loss; `None` if `stop` was set meanwhile.
    pub fn full(&self) -> Option<FullHessian> {
        let (mut asymmetry, mut n_products) = (0f64, 0);
        let values = self.mean(|hessian| {
            let full = hessian.full();
            asymmetry = asymmetry.max(full.asymmetry);
            n_products += full.n_products;
            full.values
        })?;
        Some(FullHessian { n: self.kept[0].n(), values, asymmetry, n_products })
    }

    /// Standard error of v' H v over the batches for a fixed v of norm one; `None` with one batch, for v = 0, or if `stop`
    /// was set meanwhile. It says how far the eigenvalue would move on other batches, to first order: dλ = v' dH v.
    pub fn standard_error(&self, v: &[f64]) -> Option<f64> {
        if self.batches.len() < 2 || v.iter().all(|v| *v == 0.0) {
            return None;
        }
        let mut quotients = Vec::new();
        self.mean(|hessian| {
            quotients.push(hessian.apply(v).iter().zip(v).map(|(h, v)| h * v).sum::<f64>());
            Vec::new()
        })?;
        let n = quotients.len() as f64;
        let mean = quotients.iter().sum::<f64>() / n;
        Some((quotients.iter().map(|q| (q - mean).powi(2)).sum::<f64>() / (n - 1.0) / n).sqrt())
    }

    /// The gradient of the mean loss with respect to alpha; `None` if `stop` was set meanwhile.
    pub fn gradient(&self) -> Option<Vec<f64>> {
        self.mean_at(&self.alphas, |at, batch| alpha_gradient(at, batch).1.flat())
    }

    /// The mean loss at alpha + t v; `None` if `stop` was set meanwhile.
    pub fn loss_along(&self, v: &[f64], t: f64) -> Option<f64> {
        let alphas = self.alphas.combined(1.0, &Alphas::from_flat(&self.net, v), t);
        Some(self.mean_at(&alphas, |at, batch| vec![forward(at, batch).loss])?[0])
    }

    /// The mean of something at any alphas over the batches, in their order.
    fn mean_at(&self, alphas: &Alphas, of: impl Fn(Point<Held>, Batch<f32>) -> Vec<f64>) -> Option<Vec<f64>> {
        self.mean_of(|i| {
            let at = Point { net: &self.net, engine: self.engine, weights: &*self.weights, alphas };
            Some(of(at, self.batches[i].as_batch()))
        })
    }

    /// The mean of something over the Hessians of the batches, in their order.
    fn mean(&self, mut of: impl FnMut(&AlphaHessian) -> Vec<f64>) -> Option<Vec<f64>> {
        self.mean_of(|i| match self.kept.get(i) {
            Some(hessian) => Some(of(hessian)),
            None => Some(of(&self.of(i)?)),
        })
    }

    /// The mean of something over the numbers of the batches, in their order; `None` if `stop` was set meanwhile.
    fn mean_of(&self, mut of: impl FnMut(usize) -> Option<Vec<f64>>) -> Option<Vec<f64>> {
        let mut sum: Vec<f64> = Vec::new();
        for i in 0..self.batches.len() {
            let part = of(i)?;
            if self.stop.load(Ordering::Relaxed) {
                return None;
            }
            match sum.is_empty() {
                true => sum = part,
                false => sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part),
            }
        }
        let n = self.batches.len() as f64;
        sum.iter_mut().for_each(|v| *v /= n);
        Some(sum)
    }

    /// The Hessian of one batch.
    fn of(&self, i: usize) -> Option<AlphaHessian<'a>> {
        if self.stop.load(Ordering::Relaxed) {
            return None;
        }
        let at = Point { net: &self.net, engine: self.engine, weights: &*self.weights, alphas: &self.alphas };
        Some(AlphaHessian::until(at, self.batches[i].as_batch(), self.stop))
    }
}

/// The dominant eigenvalue of the mean loss of the batches it was measured on.
#[derive(Clone, Debug, PartialEq)]
pub struct Curvature {
    /// Value, bound of the error of Lanczos, and vector, with the diagonal of the spec's mode.
    pub dominant: Dominant,
    /// Standard error over the batches, as [`MeanHessian::standard_error`] gives it.
    pub error: Option<f64>,
}

impl Curvature {
    /// Eigenvalue, bound and standard error as an epoch records them: what is no number is not there.
    pub(crate) fn recorded(&self) -> [Option<f64>; 3] {
        [Some(self.dominant.value), Some(self.dominant.bound), self.error].map(|v| v.filter(|v| v.is_finite()))
    }
}

/// Dominant eigenvalue after `epoch` with its bound, to the given relative tolerance, and its noise; `None` if `stop`
/// was set meanwhile.
///
/// # Errors
/// One sentence if the images are in a file that cannot be read any more.
pub fn eigenvalue(
    search: &Search,
    state: &State,
    epoch: usize,
    tolerance: f64,
    stop: &AtomicBool,
) -> Result<Option<Curvature>, TrainError> {
    let Some(hessian) = MeanHessian::after_epoch(search, state, epoch, stop)? else { return Ok(None) };
    Ok(curvature(&hessian, diagonal(&search.spec), tolerance, &mut start(search, state, epoch)))
}

/// Where Lanczos starts after an epoch.
fn start(search: &Search, state: &State, epoch: usize) -> Stream {
    search.streams(state.at.trained_attempt).stream("lanczos", epoch as u64)
}

/// The eigenvector, of norm one, of the dominant eigenvalue that [`eigenvalue`] finds; `None` if it was stopped.
pub(crate) fn dominant_direction(
    search: &Search,
    state: &State,
    epoch: usize,
    hessian: &MeanHessian,
) -> Option<Vec<f64>> {
    let found = curvature(hessian, 0.0, search.spec.hessian.tolerance, &mut start(search, state, epoch))?;
    Some(found.dominant.vector)
}

/// Dominant eigenvalue of a mean Hessian with something added to its diagonal, and its noise; `None` if it was stopped.
pub fn curvature<B: AsBatch>(
    hessian: &MeanHessian<'_, B>,
    diagonal: f64,
    tolerance: f64,
    stream: &mut Stream,
) -> Option<Curvature> {
    let operator = InRange { apply: &|v| hessian.apply(v), n: hessian.kept[0].n(), basis: hessian.range() };
    let mut dominant = operator.largest(tolerance, stream)?;
    let error = hessian.standard_error(&dominant.vector);
    if hessian.stop.load(Ordering::Relaxed) {
        return None;
    }
    dominant.value += diagonal;
    Some(Curvature { dominant, error })
}

/// What the mode of the spec adds to the diagonal: the weight decay of the alphas in `reference`, as in the
/// released code, nothing in `plain`.
pub fn diagonal(spec: &SearchSpec) -> f64 {
    diagonal_of(spec.hessian.mode, &spec.alphas)
}

/// The same for a kind of search of its own.
pub(crate) fn diagonal_of(mode: HessianMode, alphas: &AlphasSpec) -> f64 {
    match mode {
        HessianMode::Reference => alphas.l2,
        HessianMode::Plain => 0.0,
    }
}

/// Allowance for rounding in the bound, relative to the largest eigenvalue in absolute value. It is an observation with
/// a margin of 25, not a derivation: on the 24 random supernets of `tests/all/lanczos.rs`, Lanczos run to the end and the
/// full matrix, both from single-precision products, differ by up to 4e-7.
pub const ROUNDING: f64 = 1e-5;

/// The largest eigenvalue of an alpha-Hessian, by Lanczos among the directions in which the loss can change
/// ([`AlphaHessian::range`]). Along the others it is zero, which is the largest where all those are negative.
pub fn largest_eigenvalue(hessian: &AlphaHessian, tolerance: f64, stream: &mut Stream) -> Dominant {
    let operator = InRange { apply: &|v| Some(hessian.apply(v)), n: hessian.n(), basis: hessian.range() };
    operator.largest(tolerance, stream).expect("nothing interrupts it")
}

/// An alpha-Hessian in the coordinates of its range.
struct InRange<'a> {
    apply: &'a dyn Fn(&[f64]) -> Option<Vec<f64>>,
    /// Alphas.
    n: usize,
    /// Orthonormal.
    basis: Vec<Vec<f64>>,
}

impl InRange<'_> {
    fn largest(&self, tolerance: f64, stream: &mut Stream) -> Option<Dominant> {
        let zero = Dominant { value: 0.0, bound: 0.0, n_products: 0, vector: vec![0.0; self.n] };
        if self.basis.is_empty() {
            return Some(zero);
        }
        let found = dominant(self, tolerance, stream)?;
        if found.value < 0.0 {
            let bound = (found.value + found.bound).max(0.0);
            return Some(Dominant { bound, n_products: found.n_products, ..zero });
        }
        Some(Dominant { vector: self.expand(&found.vector), ..found })
    }

    fn expand(&self, coordinates: &[f64]) -> Vec<f64> {
        let mut v = vec![0.0; self.n];
        for (b, x) in self.basis.iter().zip(coordinates) {
            v.iter_mut().zip(b).for_each(|(v, b)| *v += x * b);
        }
        v
    }
}

impl SymmetricOperator for InRange<'_> {
    fn n(&self) -> usize {
        self.basis.len()
    }
    fn apply(&self, v: &[f64]) -> Option<Vec<f64>> {
        let product = (self.apply)(&self.expand(v))?;
        Some(self.basis.iter().map(|b| b.iter().zip(&product).map(|(b, p)| b * p).sum()).collect())
    }
    fn rounding(&self) -> f64 {
        ROUNDING
    }
}

#[cfg(test)]
mod tests {
    use rdarts_run::{HessianImages, Spec};
    use rdarts_train::{Job, KnownSets};

    use super::*;
    use crate::score::score_supernet;
    use crate::search::open_space;

    fn search(sets: &[&str]) -> Search {
        let small = [
            "preset=demo",
            "space.name=tiny",
            "data.limit=160",
            "network.channels=2",
            "network.cells=3",
            "search.batch=16",
            "search.drop_path=0.3",
            "hessian.batches=1",
            "hessian.images=last",
        ];
        let sets: Vec<String> = small.iter().chain(sets).map(|set| set.to_string()).collect();
        let spec = SearchSpec::resolve(None, None, &sets, &KnownSets).unwrap();
        Search::new(spec, open_space("tiny").unwrap(), Engine::cpu()).unwrap()
    }

    fn full(hessian: &MeanHessian) -> Vec<f64> {
        hessian.full().unwrap().values
    }

    #[test]
    fn the_hessian_of_several_batches_is_the_mean_of_theirs_and_its_noise_their_standard_error() {
        for images in ["last", "fixed"] {
            let search = search(&["hessian.batches=4", &format!("hessian.images={images}")]);
            let (state, stop) = (search.begin().1, AtomicBool::new(false));
            let mean = MeanHessian::after_epoch(&search, &state, 3, &stop).unwrap().unwrap();
            let parts: Vec<Vec<f64>> = search
                .hessian_batches(0, 3)
                .unwrap()
                .into_iter()
                .map(|batch| full(&MeanHessian::on(&search.net, &search.engine, &state, vec![batch], &stop).unwrap()))
                .collect();
            let (n, matrix) = (search.n_alphas().iter().sum::<usize>(), full(&mean));
            assert_eq!((parts.len(), matrix.len()), (4, n * n));
            let scale = matrix.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
            for (i, value) in matrix.iter().enumerate() {
                let by_hand = parts.iter().map(|part| part[i]).sum::<f64>() / 4.0;
                assert!((value - by_hand).abs() <= 1e-12 * scale);
            }
            // Lanczos finds what the full matrix has, and the noise is that of v' H v from batch to batch.
            let found = curvature(&mean, diagonal(&search.spec), 1e-9, &mut Stream::new(1, "lanczos", 0)).unwrap();
            let truth = crate::lanczos::spectrum(n, &matrix)[0] + diagonal(&search.spec);
            assert!((found.dominant.value - truth).abs() <= found.dominant.bound + 1e-5 * truth.abs());
            let v = &found.dominant.vector;
            let quotient = |part: &Vec<f64>| -> f64 {
                (0..n).map(|i| v[i] * (0..n).map(|j| part[i * n + j] * v[j]).sum::<f64>()).sum()
            };
            let q: Vec<f64> = parts.iter().map(quotient).collect();
            let m = q.iter().sum::<f64>() / 4.0;
            let error = (q.iter().map(|q| (q - m).powi(2)).sum::<f64>() / 3.0).sqrt() / 2.0;
            assert!((found.error.unwrap() / error - 1.0).abs() < 1e-3, "{images}: {:?} {error}", found.error);
        }
        let single = search(&[]);
        let (state, stop) = (single.begin().1, AtomicBool::new(false));
        assert_eq!(eigenvalue(&single, &state, 0, 1e-3, &stop).unwrap().unwrap().error, None);
    }

    #[test]
    fn passes_that_are_made_again_give_the_bits_of_those_that_were_kept() {
        let search = search(&["hessian.batches=3"]);
        let (state, stop) = (search.begin().1, AtomicBool::new(false));
        let mut hessian = MeanHessian::after_epoch(&search, &state, 0, &stop).unwrap().unwrap();
        assert_eq!(hessian.kept.len(), 3, "these fit into any memory");
        let v: Vec<f64> = (0..hessian.kept[0].n()).map(|i| (i as f64).sin()).collect();
        let kept = (hessian.apply(&v).unwrap(), hessian.standard_error(&v).unwrap());
        hessian.kept.truncate(1);
        assert_eq!((hessian.apply(&v).unwrap(), hessian.standard_error(&v).unwrap()), kept);
    }

    #[test]
    fn fixed_images_are_the_same_after_every_epoch_and_attempt_and_the_last_ones_are_not() {
        let of = |images: HessianImages, attempt, epoch| {
            let search = search(&["hessian.batches=2", "search.drop_path=0", &format!("hessian.images={images}")]);
            let batches = search.hessian_batches(attempt, epoch).unwrap();
            batches.into_iter().map(|(images, _)| images.images).collect::<Vec<_>>()
        };
        assert_eq!(of(HessianImages::Fixed, 0, 0), of(HessianImages::Fixed, 2, 7));
        assert_ne!(of(HessianImages::Last, 0, 0), of(HessianImages::Last, 0, 1));
        // The last of several is the one that one alone would be.
        let one = search(&[]).hessian_batches(0, 4).unwrap();
        let two = search(&["hessian.batches=2"]).hessian_batches(0, 4).unwrap();
        assert_eq!(one[0].0.images, two[1].0.images);
        assert_eq!(one[0].1[0].drop_path, two[1].1[0].drop_path);
    }

    #[test]
    fn more_batches_than_there_are_are_refused() {
        let refused = |sets: &[&str]| {
            let mut search = search(&[]);
            let mut spec = search.spec.clone();
            spec.hessian.batches = sets[0].parse().unwrap();
            spec.hessian.images = if sets[1] == "last" { HessianImages::Last } else { HessianImages::Fixed };
            search.measure_on(spec.hessian).unwrap_err().to_string()
        };
        assert_eq!(
            refused(&["6", "last"]),
            "hessian.batches is 6, but an epoch has only 5 batches of 16 images: lower it or search.batch"
        );
        assert_eq!(
            refused(&["6", "fixed"]),
            "hessian.batches is 6, but the images that train the alphas fill only 5 batches of 16 images: lower it or \
             search.batch"
        );
    }

    #[test]
    fn a_presets_number_of_batches_gives_way_to_few_images() {
        for (images, n) in [(HessianImages::Last, 5), (HessianImages::Fixed, 5)] {
            let mut spec = search(&[]).spec;
            (spec.hessian.batches, spec.hessian.images) = (6, images);
            let space = || open_space("tiny").unwrap();
            let fitted = Search::fitted(spec.clone(), space(), Engine::cpu(), &rdarts_data::Silent).unwrap();
            assert_eq!(fitted.spec.hessian.batches, n);
            assert_eq!(fitted.hessian_batches(0, 0).unwrap().len(), n);
            assert!(Search::new(spec, space(), Engine::cpu()).is_err());
        }
    }

    #[test]
    fn a_set_flag_ends_a_measurement() {
        let search = search(&["hessian.batches=2"]);
        let (state, stop) = (search.begin().1, AtomicBool::new(false));
        let hessian = MeanHessian::after_epoch(&search, &state, 0, &stop).unwrap().unwrap();
        stop.store(true, Ordering::Relaxed);
        assert_eq!(hessian.apply(&vec![0.0; hessian.kept[0].n()]), None);
        assert!(curvature(&hessian, 0.0, 1e-3, &mut Stream::new(1, "lanczos", 0)).is_none());
        assert!(eigenvalue(&search, &state, 0, 1e-3, &stop).unwrap().is_none());
        assert_eq!(score_supernet(&search, &state, 0, &stop).unwrap(), None);
    }
}
