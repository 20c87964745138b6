//! What a search learns beside the weights: the alphas and their optimiser, or what architectures drawn at random are worth.

use rdarts_net::Alphas;
use rdarts_rng::Stream;
use rdarts_run::AlphasSpec;
use rdarts_space::{Genotype, Space, derive, derive_with_edges};
use rdarts_train::TrainError;
use rdarts_train::optim::Adam;
use rdarts_train::state::{Packed, Unpacked};

use crate::projection::Projection;

/// What the samples of random search with weight sharing are worth, in their order: as many as were scored so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores {
    /// Fractions of correct images.
    pub accuracy: Vec<f32>,
    /// Mean losses.
    pub loss: Vec<f32>,
}

/// What a step of a search learns beside the weights.
pub trait Learned {
    /// As the network wants them.
    fn for_network(&self) -> Alphas;
    /// Moves the alphas along a gradient, of one type of cell after another.
    fn learn(&mut self, gradient: &[f32]);
    /// All of them.
    fn alphas(&self) -> &[f32];
}

impl Learned for Architecture {
    fn for_network(&self) -> Alphas {
        self.for_network()
    }

    fn learn(&mut self, gradient: &[f32]) {
        self.adam.step(&mut self.alphas, gradient);
    }

    fn alphas(&self) -> &[f32] {
        &self.alphas
    }
}

/// What the lists are called in a checkpoint.
const LISTS: [&str; 4] = ["alphas_normal", "alphas_reduce", "betas_normal", "betas_reduce"];

/// The architecture parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    /// Of one type of cell after another: normal, then reduction; then, with PC-DARTS, the betas of their edges. Random search with weight sharing learns none: there these
    /// are the mixing weights of the architecture that was drawn last.
    pub alphas: Vec<f32>,
    /// Their optimiser.
    pub adam: Adam,
    /// Of random search with weight sharing alone.
    pub scores: Option<Scores>,
    /// Of a search that selects after it alone.
    pub projection: Option<Projection>,
    /// How many parameters each list has.
    n_each: Vec<usize>,
}

impl Architecture {
    /// Before the first step.
    pub fn new(spec: &AlphasSpec, seed: u64, n_each: Vec<usize>) -> Self {
        let mut stream = Stream::new(seed, "alphas", 0);
        let mut this = Self::blank(spec, n_each);
        this.alphas.iter_mut().for_each(|alpha| *alpha = (spec.init_std * stream.normal()) as f32);
        this
    }

    /// Of zeros.
    pub fn blank(spec: &AlphasSpec, n_each: Vec<usize>) -> Self {
        let n = n_each.iter().sum();
        let mut adam = Adam::new(n, spec.lr, spec.l2);
        (adam.beta1, adam.beta2) = (spec.beta1, spec.beta2);
        Self { alphas: vec![0.0; n], adam, scores: None, projection: None, n_each }
    }

    /// Of zeros, for random search with weight sharing.
    pub fn sampled(spec: &AlphasSpec, n_each: Vec<usize>) -> Self {
        Self { scores: Some(Scores::default()), ..Self::blank(spec, n_each) }
    }

    /// The alphas of the normal and of the reduction cells.
    pub fn by_type(&self) -> [&[f32]; 2] {
        [self.list(0), self.list(1)]
    }

    /// Those of their edges, where a method has them.
    pub fn betas(&self) -> Option<[&[f32]; 2]> {
        (self.n_each.len() > 2).then(|| [self.list(2), self.list(3)])
    }

    fn list(&self, at: usize) -> &[f32] {
        &self.alphas[self.n_each[..at].iter().sum()..][..self.n_each[at]]
    }

    /// As the network wants them.
    pub fn for_network(&self) -> Alphas {
        (0..self.n_each.len()).map(|at| self.list(at).iter().map(|v| f64::from(*v)).collect()).collect()
    }

    /// The genotype that they stand for.
    pub fn genotype(&self, space: &Space) -> Genotype {
        let [normal, reduce] = self.by_type();
        match (&self.projection, self.betas()) {
            (Some(projection), _) => projection.genotype(space, [normal, reduce]),
            (None, Some(betas)) => derive_with_edges(space, [normal, reduce], betas),
            (None, None) => derive(space, normal, reduce),
        }
    }

    /// For a checkpoint: tensors `alphas_normal`, `alphas_reduce` (with PC-DARTS also `betas_normal`, `betas_reduce`), `adam_m`, `adam_v`, number `adam_t`; of random search with
    /// weight sharing also the number `samples_scored` and, once there are some, `sample_accuracy` and `sample_loss`; of a
    /// search that selects the list `selected`.
    pub fn pack(&self) -> Packed<'_> {
        let tensors = (0..self.n_each.len()).map(|at| (LISTS[at], self.list(at)));
        let adam = [("adam_m", &self.adam.m[..]), ("adam_v", &self.adam.v[..])];
        let mut packed = Packed::default();
        packed.tensors.extend(tensors.chain(adam));
        packed.scalars.insert("adam_t".into(), self.adam.t.into());
        if let Some(projection) = &self.projection {
            packed.scalars.insert("selected".into(), projection.pack().into());
        }
        if let Some(scores) = &self.scores {
            packed.scalars.insert("samples_scored".into(), scores.loss.len().into());
            let scores = [("sample_accuracy", &scores.accuracy[..]), ("sample_loss", &scores.loss)];
            packed.tensors.extend(scores.into_iter().filter(|(_, values)| !values.is_empty()));
        }
        packed
    }

    /// From a checkpoint.
    ///
    /// # Errors
    /// If it has other alphas.
    pub fn unpack(&mut self, file: &mut Unpacked<'_>) -> Result<(), TrainError> {
        let n = self.alphas.len();
        self.alphas.clear();
        for (name, n) in LISTS.iter().zip(&self.n_each) {
            self.alphas.extend(file.tensor(name, *n)?);
        }
        self.adam.t = file.count("adam_t")?;
        (self.adam.m, self.adam.v) = (file.tensor("adam_m", n)?.into(), file.tensor("adam_v", n)?.into());
        if let Some(projection) = &mut self.projection {
            *projection = projection.unpacked(&file.numbers("selected", projection.pack().len())?);
        }
        if let Some(scores) = &mut self.scores {
            let n = file.count("samples_scored")? as usize;
            if n > 0 {
                scores.accuracy = file.tensor("sample_accuracy", n)?;
                scores.loss = file.tensor("sample_loss", n)?;
            }
        }
        Ok(())
    }
}
