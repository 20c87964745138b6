//! What a search learns beside the weights: the alphas and their optimiser, or what architectures drawn at random are worth.

use rdarts_net::Alphas;
use rdarts_rng::Stream;
use rdarts_run::AlphasSpec;
use rdarts_space::{Genotype, Space, derive};
use rdarts_train::TrainError;
use rdarts_train::optim::Adam;
use rdarts_train::state::{Packed, Unpacked};

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

/// The architecture parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    /// Of one type of cell after another: normal, then reduction. Random search with weight sharing learns none: there these
    /// are the mixing weights of the architecture that was drawn last.
    pub alphas: Vec<f32>,
    /// Their optimiser.
    pub adam: Adam,
    /// Of random search with weight sharing alone.
    pub scores: Option<Scores>,
    /// How many alphas each type has.
    n_each: [usize; 2],
}

impl Architecture {
    /// Before the first step.
    pub fn new(spec: &AlphasSpec, seed: u64, n_each: [usize; 2]) -> Self {
        let mut stream = Stream::new(seed, "alphas", 0);
        let mut this = Self::blank(spec, n_each);
        this.alphas.iter_mut().for_each(|alpha| *alpha = (spec.init_std * stream.normal()) as f32);
        this
    }

    /// Of zeros.
    pub fn blank(spec: &AlphasSpec, n_each: [usize; 2]) -> Self {
        let n = n_each.iter().sum();
        let mut adam = Adam::new(n, spec.lr, spec.l2);
        (adam.beta1, adam.beta2) = (spec.beta1, spec.beta2);
        Self { alphas: vec![0.0; n], adam, scores: None, n_each }
    }

    /// Of zeros, for random search with weight sharing.
    pub fn sampled(spec: &AlphasSpec, n_each: [usize; 2]) -> Self {
        Self { scores: Some(Scores::default()), ..Self::blank(spec, n_each) }
    }

    /// The alphas of the normal and of the reduction cells.
    pub fn by_type(&self) -> [&[f32]; 2] {
        let (normal, reduce) = self.alphas.split_at(self.n_each[0]);
        [normal, reduce]
    }

    /// As the network wants them.
    pub fn for_network(&self) -> Alphas {
        Alphas::from(self.by_type().map(|v| v.iter().map(|v| f64::from(*v)).collect()))
    }

    /// The genotype that they stand for.
    pub fn genotype(&self, space: &Space) -> Genotype {
        let [normal, reduce] = self.by_type();
        derive(space, normal, reduce)
    }

    /// For a checkpoint: tensors `alphas_normal`, `alphas_reduce`, `adam_m`, `adam_v`, number `adam_t`; of random search with
    /// weight sharing also the number `samples_scored` and, once there are some, `sample_accuracy` and `sample_loss`.
    pub fn pack(&self) -> Packed<'_> {
        let [normal, reduce] = self.by_type();
        let tensors = [("alphas_normal", normal), ("alphas_reduce", reduce)];
        let adam = [("adam_m", &self.adam.m[..]), ("adam_v", &self.adam.v)];
        let mut packed = Packed::default();
        packed.tensors.extend(tensors.into_iter().chain(adam));
        packed.scalars.insert("adam_t".into(), self.adam.t.into());
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
        self.alphas = file.tensor("alphas_normal", self.n_each[0])?;
        self.alphas.extend(file.tensor("alphas_reduce", self.n_each[1])?);
        self.adam.t = file.count("adam_t")?;
        (self.adam.m, self.adam.v) = (file.tensor("adam_m", n)?, file.tensor("adam_v", n)?);
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
