//! Batches as pure functions of (images, seed, epoch or step).
//!
//! Weights are trained by epochs: a fresh permutation of their images, the last batch as small as what is
//! left (PyTorch's `drop_last=False`). A balanced loader fills epochs of the same length with equally many images of each
//! class instead, so images of small classes come several times and images of large ones not in every epoch. Alphas are trained by draws: each step takes a fresh batch of distinct
//! images, which is what the DARTS code's `next(iter(valid_queue))` does. Streams of randomness:
//!
//! ```text
//! "order-<name>"             index = epoch            the permutation of an epoch
//! "balanced-<name>-<class>"  index = passes before    a pass through the images of a class, where classes are balanced
//! "<name>-draw"              index = step             the images of a draw
//! "augment-<name>"           index = images before    the augmentation of one image
//! ```
//!
//! A loader is used one way or the other, by epochs or by draws: used both ways it would repeat augmentations.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;
use rdarts_rng::Stream;

use crate::augment::{Augment, Draw, Record, transform};
use crate::dataset::Dataset;
use crate::error::DataError;
use crate::images::Images;
use crate::statistics::{Norm, normalize};

/// What a network is given at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Number of images.
    pub n: usize,
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
    /// Values per pixel.
    pub channels: usize,
    /// Normalized values, (n, height, width, channels); none if there is a recipe.
    pub images: Vec<f32>,
    /// How to make them of the images of the set, where a loader was asked for that.
    pub recipe: Option<Recipe>,
    /// The class of each image.
    pub labels: Vec<u32>,
}

/// How a batch is made of the bytes of its set, for whoever has these elsewhere, as on a graphics card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// What is done with each image.
    pub records: Vec<Record>,
    /// Black pixels around each before it is cropped.
    pub padding: u32,
}

/// Makes the batches of one range of a data set's training images.
#[derive(Clone, Debug)]
pub struct Loader {
    dataset: Arc<Dataset>,
    norm: Arc<Norm>,
    range: Range<usize>,
    batch_size: usize,
    seed: u64,
    name: &'static str,
    /// The images of each class by label, counted from the start of the range, if classes are balanced.
    balanced: Option<Arc<Vec<Vec<u32>>>>,
    /// Whether a last batch of one image joins the one before it.
    joined: bool,
    /// Whether batches are recipes.
    recipes: bool,
}

impl Loader {
    /// Batches of `batch_size` of the training images in `range`. `name` names the streams of randomness:
    /// "train" for the images that train weights, "valid" for those that train the architecture.
    ///
    /// # Panics
    /// If the batch size is 0, or the range is empty or not one of training images; [`split`](crate::split()) gives no such
    /// range.
    pub fn new(dataset: Arc<Dataset>, range: Range<usize>, batch_size: usize, seed: u64, name: &'static str) -> Self {
        assert!(batch_size > 0, "a batch of 0 images");
        assert!(!range.is_empty() && range.end <= dataset.train.n, "{range:?} of {} images", dataset.train.n);
        let norm = Arc::new(dataset.norm());
        Self { dataset, norm, range, batch_size, seed, name, balanced: None, joined: false, recipes: false }
    }

    /// The same, but epochs draw all classes equally often, to within one image: [`balanced_order`]. Epochs keep their
    /// length, and each image that is drawn has an augmentation of its own. A class without an image in the range has no
    /// part in it. [`Loader::draw`] stays as it is.
    pub fn balanced(self) -> Self {
        let mut images = vec![Vec::new(); self.dataset.classes.len()];
        for (i, &label) in self.dataset.train.labels[self.range.clone()].iter().enumerate() {
            images[usize::from(label)].push(index(i));
        }
        Self { balanced: Some(Arc::new(images)), ..self }
    }

    /// The same, but a last batch of one image joins the one before it: the statistics of one image say nothing.
    pub fn joined(self) -> Self {
        Self { joined: true, ..self }
    }

    /// The same, but batches say how they are made instead of being made: the same images by the same draws.
    pub fn as_recipes(self, recipes: bool) -> Self {
        Self { recipes, ..self }
    }

    /// The number of images.
    pub fn n_images(&self) -> usize {
        self.range.len()
    }

    /// The number of batches in an epoch, the last one perhaps smaller.
    pub fn n_batches(&self) -> usize {
        match self.joined {
            true => n_joined(self.range.len(), self.batch_size),
            false => self.range.len().div_ceil(self.batch_size),
        }
    }

    /// The batches of an epoch from number `first` on; a run that goes on within an epoch begins there.
    pub fn epoch(
        &self,
        epoch: u64,
        first: usize,
        augment: Option<Augment>,
    ) -> impl Iterator<Item = Result<Batch, DataError>> + Send + 'static + use<> {
        let loader = self.clone();
        let order = match &self.balanced {
            None => epoch_order(self.seed, self.name, epoch, self.range.len()),
            Some(images) => balanced_order(self.seed, self.name, epoch, images),
        };
        let n_batches = self.n_batches();
        (first..n_batches).map(move |i| {
            let start = i * loader.batch_size;
            let end = if i + 1 == n_batches { order.len() } else { start + loader.batch_size };
            let n_before = epoch * order.len() as u64 + start as u64;
            loader.make(&order[start..end], augment, n_before)
        })
    }

    /// The batch of a step: a fresh draw of distinct images, or of all images if they are fewer than a batch.
    pub fn draw(&self, step: u64, augment: Option<Augment>) -> Result<Batch, DataError> {
        let batch_size = self.batch_size.min(self.range.len());
        let stream = format!("{}-draw", self.name);
        let indices = draw_distinct(self.seed, &stream, step, self.range.len(), batch_size);
        self.make(&indices, augment, step * batch_size as u64)
    }

    fn make(&self, indices: &[u32], augment: Option<Augment>, n_before: u64) -> Result<Batch, DataError> {
        let indices: Vec<u32> = indices.iter().map(|&i| i + self.range.start as u32).collect();
        let stream = format!("augment-{}", self.name);
        if self.recipes {
            return Ok(make_recipe(&self.dataset.train, &indices, augment.as_ref(), self.seed, &stream, n_before));
        }
        make_batch(&self.dataset.train, &indices, &self.norm, augment.as_ref(), self.seed, &stream, n_before)
    }
}

/// The number of batches of `n` images where a last one of a single image joins the one before it.
pub fn n_joined(n: usize, batch_size: usize) -> usize {
    let whole = n.div_ceil(batch_size);
    if whole > 1 && n % batch_size == 1 { whole - 1 } else { whole }
}

/// The order in which an epoch visits `n` images.
pub fn epoch_order(seed: u64, name: &str, epoch: u64, n: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..index(n)).collect();
    Stream::new(seed, &format!("order-{name}"), epoch).shuffle(&mut order);
    order
}

/// The order of an epoch in which the classes come equally often: of `images`, one list of numbers for each class, as
/// many are drawn as there are in all.
///
/// Over all epochs the draws go round the classes that have images, and those of a class go through its images in passes,
/// each in an order of its own. So in an epoch the counts of two classes differ by at most one, and at any epoch's end
/// those of two images of a class do too, counted from the beginning of the training.
pub fn balanced_order(seed: u64, name: &str, epoch: u64, images: &[Vec<u32>]) -> Vec<u32> {
    let n: u64 = images.iter().map(|of_class| of_class.len() as u64).sum();
    let there: Vec<(usize, &Vec<u32>)> = images.iter().enumerate().filter(|(_, list)| !list.is_empty()).collect();
    let n_classes = there.len() as u64;
    let mut order = Vec::with_capacity(n as usize);
    for (place, (class, images)) in (0..).zip(there) {
        // Of the first `draws` of the training, those with number place, place + n_classes, ... are of this class.
        let before = |draws: u64| (draws + n_classes - 1 - place) / n_classes;
        let (mut at, end) = (before(epoch * n), before((epoch + 1) * n));
        let stream = format!("balanced-{name}-{class}");
        let size = images.len() as u64;
        while at < end {
            let mut pass = images.clone();
            Stream::new(seed, &stream, at / size).shuffle(&mut pass);
            let from = at % size;
            let to = size.min(from + end - at);
            order.extend(&pass[from as usize..to as usize]);
            at += to - from;
        }
    }
    Stream::new(seed, &format!("order-{name}"), epoch).shuffle(&mut order);
    order
}

/// `k` distinct numbers of 0..n in random order: the first k places of a Fisher-Yates shuffle, without the rest.
///
/// # Panics
/// If k is more than n.
pub fn draw_distinct(seed: u64, stream: &str, step: u64, n: usize, k: usize) -> Vec<u32> {
    assert!(k <= n, "{k} distinct numbers of {n}");
    let mut stream = Stream::new(seed, stream, step);
    // Only the places that differ from the identity are kept.
    let mut moved: HashMap<u32, u32> = HashMap::with_capacity(2 * k);
    let mut drawn = Vec::with_capacity(k);
    for i in 0..k {
        let (here, there) = (index(i), index(i + stream.below(n - i)));
        let value_here = moved.get(&here).copied().unwrap_or(here);
        drawn.push(moved.insert(there, value_here).unwrap_or(there));
    }
    drawn
}

/// The batch of the images `indices`, normalized and augmented; image i of the batch takes its draws from
/// number `draw_base + i` of the stream `stream`. An error comes only from images in a file.
///
/// # Panics
/// If an index is not below the number of images, or the channels of `norm` and `images` differ.
pub fn make_batch(
    images: &Images,
    indices: &[u32],
    norm: &Norm,
    augment: Option<&Augment>,
    seed: u64,
    stream: &str,
    draw_base: u64,
) -> Result<Batch, DataError> {
    let Images { height, width, channels, .. } = *images;
    assert_eq!(norm.channels(), channels, "channels of the normalization and of the images");
    let size = height * width * channels;
    let mut out = vec![0.0; indices.len() * size];
    // Each image has draws of its own, so that it does not matter who makes it.
    let made = indices.par_iter().zip(out.par_chunks_exact_mut(size)).enumerate().map(|(i, (&of, out))| {
        let raw = &*images.image(of as usize)?;
        match augment {
            None => normalize(raw, norm, out),
            Some(augment) => {
                let draw = Draw::new(augment, height, width, seed, stream, draw_base.wrapping_add(i as u64));
                transform(raw, width, norm, augment, draw, out);
            }
        }
        Ok(())
    });
    // In their order: of several errors the first image's is told.
    made.collect::<Vec<Result<(), DataError>>>().into_iter().collect::<Result<(), DataError>>()?;
    let labels = indices.iter().map(|&i| u32::from(images.labels[i as usize])).collect();
    Ok(Batch { n: indices.len(), height, width, channels, images: out, recipe: None, labels })
}

/// The same batch, not yet made.
fn make_recipe(
    images: &Images,
    indices: &[u32],
    augment: Option<&Augment>,
    seed: u64,
    stream: &str,
    draw_base: u64,
) -> Batch {
    let Images { height, width, channels, .. } = *images;
    let record = |(i, of): (usize, &u32)| match augment {
        None => Draw::NONE.record(*of, &Augment::NONE, height, width),
        Some(augment) => Draw::new(augment, height, width, seed, stream, draw_base.wrapping_add(i as u64))
            .record(*of, augment, height, width),
    };
    let padding = augment.map_or(0, |augment| index(augment.crop_padding));
    let recipe = Recipe { records: indices.iter().enumerate().map(record).collect(), padding };
    let labels = indices.iter().map(|&i| u32::from(images.labels[i as usize])).collect();
    Batch { n: indices.len(), height, width, channels, images: Vec::new(), recipe: Some(recipe), labels }
}

/// Batches for evaluation: in order, without augmentation, the last one as small as what is left.
///
/// # Panics
/// If the batch size is 0, or when the range leaves the images.
pub fn eval_batches<'a>(
    images: &'a Images,
    range: Range<usize>,
    batch_size: usize,
    norm: &'a Norm,
) -> impl Iterator<Item = Result<Batch, DataError>> + Send + 'a {
    let end = range.end;
    range.step_by(batch_size).map(move |start| {
        let indices: Vec<u32> = (index(start)..index(end.min(start.saturating_add(batch_size)))).collect();
        make_batch(images, &indices, norm, None, 0, "", 0)
    })
}

fn index(i: usize) -> u32 {
    u32::try_from(i).expect("a data set holds fewer than 2^32 images")
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    const AUGMENT: Augment = Augment { crop_padding: 1, flip: true, cutout_length: 2, cutout_prob: 0.5 };

    #[test]
    fn the_number_of_threads_changes_no_batch() {
        let data = dataset(50);
        let batch = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let indices: Vec<u32> = (0..50).rev().collect();
            pool.install(|| make_batch(&data.train, &indices, &data.norm(), Some(&AUGMENT), 7, "augment-t", 3).unwrap())
        };
        let one = batch(1);
        assert!([2, 3, 8].into_iter().all(|threads| batch(threads) == one));
    }

    /// Colour images whose values are all functions of their number.
    pub(crate) fn dataset(n: usize) -> Arc<Dataset> {
        let images = Images {
            n,
            height: 5,
            width: 4,
            channels: 3,
            pixels: (0..n * 60).map(|i| (i / 60 * 7 + i % 60 * 4) as u8).collect::<Vec<u8>>().into(),
            labels: (0..n).map(|i| i as u16).collect(),
        };
        Arc::new(Dataset::new("test", &["a"], images.clone(), images).unwrap())
    }

    #[test]
    fn an_epoch_visits_every_image_of_its_range_once_and_keeps_the_last_batch() {
        let loader = Loader::new(dataset(30), 10..27, 5, 1, "train");
        assert_eq!((loader.n_images(), loader.n_batches()), (17, 4));
        let batches: Vec<Batch> = loader.epoch(3, 0, Some(AUGMENT)).map(Result::unwrap).collect();
        assert_eq!(batches.iter().map(|batch| batch.n).collect::<Vec<_>>(), [5, 5, 5, 2]);
        let mut labels: Vec<u32> = batches.iter().flat_map(|batch| batch.labels.clone()).collect();
        assert_ne!(labels, (10..27).collect::<Vec<_>>());
        labels.sort_unstable();
        assert_eq!(labels, (10..27).collect::<Vec<_>>());
    }

    #[test]
    fn a_last_batch_of_one_image_joins_the_one_before_it() {
        for (n, sizes) in [(16, &[5, 5, 6][..]), (17, &[5, 5, 5, 2]), (15, &[5, 5, 5]), (6, &[6]), (1, &[1])] {
            let loader = Loader::new(dataset(30), 0..n, 5, 1, "train").joined();
            let batches: Vec<Batch> = loader.epoch(0, 0, None).map(Result::unwrap).collect();
            assert_eq!(batches.iter().map(|batch| batch.n).collect::<Vec<_>>(), sizes, "{n} images");
            assert_eq!((loader.n_batches(), n_joined(n, 5)), (sizes.len(), sizes.len()));
            let last: Vec<Batch> = loader.epoch(0, sizes.len() - 1, None).map(Result::unwrap).collect();
            assert_eq!(last, batches[sizes.len() - 1..]);
        }
    }

    #[test]
    fn epochs_seeds_names_and_steps_differ_and_repeat() {
        let order = |seed, name, epoch| epoch_order(seed, name, epoch, 50);
        let base = order(1, "train", 0);
        assert_eq!(base, order(1, "train", 0));
        assert!([order(2, "train", 0), order(1, "valid", 0), order(1, "train", 1)].iter().all(|other| *other != base));

        let loader = Loader::new(dataset(50), 0..50, 8, 1, "valid");
        assert_eq!(loader.draw(4, Some(AUGMENT)), loader.draw(4, Some(AUGMENT)));
        assert_ne!(loader.draw(4, Some(AUGMENT)).unwrap().labels, loader.draw(5, Some(AUGMENT)).unwrap().labels);
    }

    /// What a recorded run has seen must be seen again: these numbers may change only with the format of checkpoints.
    #[test]
    fn the_images_of_a_search_are_those_they_have_always_been() {
        assert_eq!(epoch_order(1, "train", 0, 12), [8, 11, 4, 3, 2, 9, 6, 10, 5, 1, 7, 0]);
        assert_eq!(epoch_order(7, "valid", 3, 12), [3, 11, 8, 2, 5, 7, 0, 10, 4, 1, 9, 6]);
        assert_eq!(draw_distinct(1, "valid-draw", 5, 1000, 6), [805, 274, 441, 206, 497, 800]);
        let bits = |batches: &mut dyn Iterator<Item = Result<Batch, DataError>>| {
            batches.fold(0u64, |sum, batch| {
                let batch = batch.unwrap();
                let words = batch.labels.iter().copied().chain(batch.images.iter().map(|value| value.to_bits()));
                words.fold(sum, |sum, word| (sum ^ u64::from(word)).wrapping_mul(0x0100_0000_01b3))
            })
        };
        let split = dataset(30).split(0.6, None, 5).unwrap();
        let weights = Loader::new(dataset(30), split.train, 5, 1, "train");
        let alphas = Loader::new(dataset(30), split.valid, 5, 1, "valid");
        assert_eq!(bits(&mut weights.epoch(2, 0, Some(AUGMENT))), 2298263540426869808);
        assert_eq!(bits(&mut (0..3).map(|step| alphas.draw(step, Some(AUGMENT)))), 8866256875099744422);
    }

    #[test]
    fn an_epoch_that_goes_on_in_the_middle_gives_the_same_batches() {
        let loader = Loader::new(dataset(30), 0..17, 5, 1, "train");
        let whole: Vec<Batch> = loader.epoch(2, 0, Some(AUGMENT)).map(Result::unwrap).collect();
        let rest: Vec<Batch> = loader.epoch(2, 2, Some(AUGMENT)).map(Result::unwrap).collect();
        assert_eq!(whole[2..], rest);
    }

    #[test]
    fn the_same_image_is_augmented_anew_in_every_epoch() {
        let loader = Loader::new(dataset(8), 0..1, 1, 1, "train");
        let images: HashSet<Vec<u32>> = (0..40)
            .flat_map(|epoch| loader.epoch(epoch, 0, Some(AUGMENT)))
            .map(|batch| batch.unwrap().images.iter().map(|x| x.to_bits()).collect())
            .collect();
        assert!(images.len() > 15, "{}", images.len());
    }

    #[test]
    fn a_recipe_makes_the_same_batch() {
        let data = dataset(30);
        let augment = Augment { crop_padding: 2, flip: true, cutout_length: 3, cutout_prob: 0.5 };
        let table = data.norm().table().to_vec();
        // As the documentation of a record says it.
        let by_recipe = |batch: &Batch| -> Vec<f32> {
            let recipe = batch.recipe.as_ref().unwrap();
            let pad = recipe.padding as usize;
            let mut out = Vec::new();
            for record in &recipe.records {
                let [of, crop_y, crop_x, flip, top, bottom, left, right] = record.map(|v| v as usize);
                let raw = data.train.image(of).unwrap();
                for (y, x, c) in (0..60).map(|i| (i / 12, i / 3 % 4, i % 3)) {
                    let row = (y + crop_y).checked_sub(pad).filter(|row| *row < 5);
                    let column = (crop_x + if flip == 1 { 3 - x } else { x }).checked_sub(pad).filter(|x| *x < 4);
                    let byte = row.zip(column).map_or(0, |(row, column)| raw[(row * 4 + column) * 3 + c]);
                    let is_cut = (top..bottom).contains(&y) && (left..right).contains(&x);
                    out.push(if is_cut { 0.0 } else { table[c][usize::from(byte)] });
                }
            }
            out
        };
        let loader = Loader::new(data.clone(), 5..30, 8, 3, "train").joined();
        let recipes = loader.clone().as_recipes(true);
        let mut n_cut = 0;
        for augment in [Some(augment), None] {
            let made: Vec<Batch> = loader.epoch(2, 0, augment).map(Result::unwrap).collect();
            let told: Vec<Batch> = recipes.epoch(2, 0, augment).map(Result::unwrap).collect();
            assert_eq!(made.len(), told.len());
            for (made, told) in made.iter().zip(&told) {
                assert_eq!((&by_recipe(told), &told.labels), (&made.images, &made.labels));
                n_cut += told.recipe.iter().flat_map(|r| &r.records).filter(|record| record[5] > record[4]).count();
            }
        }
        assert!((5..20).contains(&n_cut), "{n_cut} of 25 images");
        assert_eq!(by_recipe(&recipes.draw(7, Some(augment)).unwrap()), loader.draw(7, Some(augment)).unwrap().images);
    }

    /// Seven images of the first class, two of the second, none of the third and one of the last.
    fn uneven() -> Arc<Dataset> {
        let mut data = Arc::unwrap_or_clone(dataset(30));
        data.classes = ["a", "b", "c", "d"].map(String::from).to_vec();
        data.train.labels = vec![0; 30];
        data.train.labels[10..20].copy_from_slice(&[0, 1, 0, 0, 3, 0, 1, 0, 0, 0]);
        Arc::new(data)
    }

    #[test]
    fn images_of_a_range_are_counted_by_class() {
        assert_eq!(uneven().class_counts(10..20), [7, 2, 0, 1]);
        assert_eq!(uneven().class_counts(0..30), [27, 2, 0, 1]);
        assert_eq!(uneven().class_counts(4..4), [0; 4]);
    }

    #[test]
    fn a_balanced_epoch_has_its_length_and_equally_many_images_of_each_class() {
        let (plain, balanced) =
            (Loader::new(uneven(), 10..20, 4, 1, "train"), Loader::new(uneven(), 10..20, 4, 1, "train").balanced());
        assert_eq!((balanced.n_images(), balanced.n_batches()), (plain.n_images(), plain.n_batches()));
        let mut all = [0; 4];
        for epoch in 0..6 {
            let batches: Vec<Batch> = balanced.epoch(epoch, 0, Some(AUGMENT)).map(Result::unwrap).collect();
            assert_eq!(batches.iter().map(|batch| batch.n).collect::<Vec<_>>(), [4, 4, 2]);
            let mut counts = [0; 4];
            batches.iter().flat_map(|batch| &batch.labels).for_each(|&label| counts[label as usize] += 1);
            assert_eq!(counts[2], 0);
            assert!([0, 1, 3].into_iter().all(|class| (3..=4).contains(&counts[class])), "{counts:?}");
            (0..4).for_each(|class| all[class] += counts[class]);
            // Begun within the epoch, and begun again.
            let rest: Vec<Batch> = balanced.epoch(epoch, 1, Some(AUGMENT)).map(Result::unwrap).collect();
            assert_eq!(batches[1..], rest);
        }
        // No class has the odd image every time.
        assert_eq!(all, [20, 20, 0, 20]);
        // An image that comes twice in an epoch is augmented anew: the only one of the last class.
        let images: HashSet<Vec<u32>> = (0..6)
            .flat_map(|epoch| balanced.epoch(epoch, 0, Some(AUGMENT)))
            .flat_map(|batch| {
                let batch = batch.unwrap();
                let of_class = |i: &usize| batch.labels[*i] == 3;
                let bits = |i: usize| batch.images[60 * i..60 * (i + 1)].iter().map(|x| x.to_bits()).collect();
                (0..batch.n).filter(of_class).map(bits).collect::<Vec<_>>()
            })
            .collect();
        assert!(images.len() > 8, "{}", images.len());
    }

    #[test]
    fn balanced_orders_repeat_and_depend_on_seed_name_and_epoch() {
        let classes = [(0..20).collect(), (20..23).collect::<Vec<u32>>()];
        let order = |seed, name, epoch| balanced_order(seed, name, epoch, &classes);
        let base = order(1, "train", 0);
        assert_eq!(base, order(1, "train", 0));
        assert!([order(2, "train", 0), order(1, "valid", 0), order(1, "train", 1)].iter().all(|other| *other != base));
        assert_eq!(balanced_order(1, "train", 0, &[]), [0; 0]);
        // Of classes of one size, and of a single class, each image comes once, as without balance.
        for even in [vec![vec![3, 1], vec![0, 2]], vec![vec![], vec![2, 0, 1, 3]]] {
            for epoch in 0..5 {
                let mut order = balanced_order(1, "train", epoch, &even);
                order.sort_unstable();
                assert_eq!(order, [0, 1, 2, 3]);
            }
        }
    }

    #[test]
    fn draws_are_uniform_over_the_images_and_stay_in_range() {
        let loader = Loader::new(dataset(40), 10..30, 5, 1, "valid");
        let mut counts = [0; 40];
        for step in 0..2000 {
            loader.draw(step, None).unwrap().labels.iter().for_each(|&label| counts[label as usize] += 1);
        }
        assert!(counts[..10].iter().chain(&counts[30..]).all(|&n| n == 0));
        assert!(counts[10..30].iter().all(|&n| (400..600).contains(&n)), "{counts:?}");
        assert_eq!(Loader::new(dataset(40), 10..13, 5, 1, "valid").draw(0, None).unwrap().n, 3);
    }

    #[test]
    fn evaluation_goes_through_the_range_in_order_and_changes_nothing() {
        let data = dataset(20);
        let norm = data.norm();
        let batches: Vec<Batch> = eval_batches(&data.test, 3..14, 4, &norm).map(Result::unwrap).collect();
        assert_eq!(batches.iter().map(|batch| batch.n).collect::<Vec<_>>(), [4, 4, 3]);
        assert_eq!(
            batches.iter().flat_map(|batch| batch.labels.clone()).collect::<Vec<_>>(),
            (3..14).collect::<Vec<_>>()
        );
        let mut plain = vec![0.0; 60];
        normalize(&data.test.image(8).unwrap(), &norm, &mut plain);
        assert_eq!(batches[1].images[60..120], plain);
        assert_eq!(eval_batches(&data.test, 5..5, 4, &norm).count(), 0);
    }

    #[test]
    fn a_batch_is_made_of_its_images_one_by_one() {
        let data = dataset(20);
        let norm = data.norm();
        let make = |indices: &[u32], base| {
            make_batch(&data.train, indices, &norm, Some(&AUGMENT), 1, "augment-train", base).unwrap()
        };
        let both = make(&[7, 3], 100);
        let first = make(&[7], 100);
        let second = make(&[3], 101);
        assert_eq!((both.n, both.height, both.width, both.channels), (2, 5, 4, 3));
        assert_eq!(both.images, [first.images, second.images].concat());
        assert_eq!(both.labels, [7, 3]);
    }

    proptest! {
        #[test]
        fn balanced_epochs_are_fair_to_classes_and_to_images(
            sizes in proptest::collection::vec(0usize..12, 0..6), epochs in 1u64..8,
        ) {
            let mut next = 0..;
            let classes: Vec<Vec<u32>> = sizes.iter().map(|&n| next.by_ref().take(n).collect()).collect();
            let n: usize = sizes.iter().sum();
            let spread = |counts: &[usize]| counts.iter().max().unwrap_or(&0) - counts.iter().min().unwrap_or(&0);
            let mut of_images = vec![0; n];
            for epoch in 0..epochs {
                let order = balanced_order(1, "train", epoch, &classes);
                prop_assert_eq!(order.len(), n);
                order.iter().for_each(|&i| of_images[i as usize] += 1);
                let count = |images: &Vec<u32>| order.iter().filter(|i| images.contains(i)).count();
                let counts: Vec<usize> = classes.iter().filter(|images| !images.is_empty()).map(count).collect();
                prop_assert!(spread(&counts) <= 1, "{:?}", counts);
                for images in &classes {
                    let counts: Vec<usize> = images.iter().map(|&i| of_images[i as usize]).collect();
                    prop_assert!(spread(&counts) <= 1, "{:?}", counts);
                }
            }
        }

        #[test]
        fn drawn_numbers_are_distinct_and_in_range(n in 1usize..300, share in 0.0f64..=1.0, step in any::<u64>()) {
            let k = (share * n as f64) as usize;
            let drawn = draw_distinct(1, "valid-draw", step, n, k);
            prop_assert_eq!(drawn.len(), k);
            prop_assert!(drawn.iter().all(|&i| (i as usize) < n));
            prop_assert_eq!(drawn.iter().collect::<HashSet<_>>().len(), k);
        }
    }
}
