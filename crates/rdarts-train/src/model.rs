//! A trained network in one file: its weights under PyTorch's names, and all that is needed to use it.
//!
//! The file is a safetensors file. Its metadata has the key `rdarts` with a JSON object: the genotype and sizes of the
//! network, the names of the classes, the shape of the images, their mean and deviation (of pixels from 0 to 1), and what
//! the network reached. Weights and running statistics are tensors of float32 in PyTorch's shapes; those of the auxiliary
//! head, which only a training needs, are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rdarts_data::{Dataset, escaped};
use rdarts_net::{DiscreteSpec, Engine, Evaluator, Network};
use rdarts_space::{Genotype, can_reduce_at};
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::tensors::{self, COUNTER, NamedTensor, check_finite, check_held, file_of, held, parts_of, tensors_of};

/// The newest form of the file.
pub const FORMAT: u32 = 1;

/// A network that can be used.
#[derive(Clone, Debug)]
pub struct Model {
    /// What it is and what it reads.
    pub about: About,
    /// Its wiring, without an auxiliary head.
    pub net: Network,
    /// Its weights, flat.
    pub weights: Vec<f32>,
    /// Means and variances of its batch norms, in the order of [`Network::norms`].
    pub running: Vec<f32>,
}

/// The JSON object of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// The form of the file.
    pub format: u32,
    /// Version of the program that wrote it.
    pub version: String,
    /// The cells.
    pub genotype: Genotype,
    /// Number of cells.
    pub cells: usize,
    /// Channels of the first cell.
    pub channels: usize,
    /// The cells that reduce; none named, as in files from before it could be said: those at a third and at two thirds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reductions: Vec<usize>,
    /// The names of the classes, in the order of the outputs.
    pub classes: Vec<String>,
    /// Rows and columns of an image.
    pub side: [usize; 2],
    /// Mean of each channel of the pixels, which are 0 to 1; as many as an image has channels.
    pub mean: Vec<f32>,
    /// Their standard deviation.
    pub std: Vec<f32>,
    /// Name of the data set it was trained on; empty if that is not known.
    pub data: String,
    /// The epoch whose weights these are, what it reached on held-out images, and on how many test images how much.
    pub epoch: Option<usize>,
    /// Accuracy on held-out images.
    pub valid_accuracy: Option<f64>,
    /// Number of test images.
    pub n_test: Option<usize>,
    /// Accuracy on them.
    pub test_accuracy: Option<f64>,
}

impl About {
    /// The sizes of the network, without an auxiliary head.
    pub fn discrete(&self) -> DiscreteSpec {
        DiscreteSpec {
            genotype: self.genotype.clone(),
            cells: self.cells,
            reductions: self.reductions.clone(),
            c: self.channels,
            c_image: self.mean.len(),
            classes: self.classes.len(),
            auxiliary: false,
        }
    }

    /// Whether the normalization is that of a data set.
    pub fn is_normalized_as(&self, data: &Dataset) -> bool {
        self.mean == data.mean && self.std == data.std
    }
}

impl Model {
    /// A network of these weights and statistics, which may go on with those of an auxiliary head.
    pub fn new(about: About, weights: &[f32], running: &[f32]) -> Self {
        let net = Network::discrete(&about.discrete());
        let (weights, running) = (weights[..net.n_parameters()].to_vec(), running[..net.n_running()].to_vec());
        Self { about, net, weights, running }
    }

    /// A model of named tensors; those of an auxiliary head, and counters, are passed over.
    ///
    /// # Errors
    /// One sentence that names a tensor that is missing, has another shape, or has no place in the network.
    pub fn from_tensors(about: About, tensors: &BTreeMap<String, NamedTensor>) -> Result<Self, String> {
        let net = Network::discrete(&about.discrete());
        check_held(&net, tensors)?;
        let (mut weights, mut running) = (vec![0.0; net.n_parameters()], net.init_running());
        let mut used = BTreeSet::new();
        for parameter in net.weights() {
            let tensor = held(tensors, &parameter.name)?;
            net.write(&mut weights, &parameter.name, &tensor.values, &tensor.shape).map_err(|e| e.to_string())?;
            used.insert(parameter.name.clone());
        }
        for norm in net.norms() {
            for (part, what) in ["running_mean", "running_var"].into_iter().enumerate() {
                let name = format!("{}.{what}", norm.name);
                let tensor = held(tensors, &name)?;
                if tensor.values.len() != norm.c {
                    return Err(format!("its tensor `{name}` has {} values, not {}", tensor.values.len(), norm.c));
                }
                running[norm.offset + part * norm.c..][..norm.c].copy_from_slice(&tensor.values);
                used.insert(name);
            }
        }
        let counts = |name: &str| !name.ends_with(COUNTER) && !name.starts_with("auxiliary_head.");
        if let Some(other) = tensors.keys().find(|name| counts(name) && !used.contains(*name)) {
            return Err(format!("its tensor `{}` has no place in a network of this genotype", escaped(other)));
        }
        check_finite(tensors.iter().filter(|(name, _)| counts(name)))?;
        let is_negative = |tensor: &NamedTensor| tensor.values.iter().any(|v| *v < 0.0);
        if let Some((name, _)) = tensors.iter().find(|(name, t)| name.ends_with(".running_var") && is_negative(t)) {
            return Err(format!("its tensor `{name}` has a variance below 0"));
        }
        Ok(Self { about, net, weights, running })
    }

    /// Weights and running statistics under PyTorch's names.
    pub fn tensors(&self) -> BTreeMap<String, NamedTensor> {
        let mut out = tensors_of(&self.net, &self.weights);
        for norm in self.net.norms() {
            let (mean, variance) = self.running[norm.offset..][..2 * norm.c].split_at(norm.c);
            for (values, what) in [(mean, "running_mean"), (variance, "running_var")] {
                let tensor = NamedTensor { shape: vec![norm.c], values: values.to_vec() };
                out.insert(format!("{}.{what}", norm.name), tensor);
            }
        }
        out
    }

    /// What computes its outputs.
    pub fn evaluator(&self, engine: &Engine) -> Evaluator<f32> {
        let running: Vec<f64> = self.running.iter().map(|v| f64::from(*v)).collect();
        Evaluator::discrete(&self.net, engine, &self.weights, &running)
    }

    /// The file's contents.
    pub fn to_bytes(&self) -> Vec<u8> {
        file_of(&self.tensors(), &self.about)
    }

    /// Reads a model from a file.
    ///
    /// # Errors
    /// One sentence that names the file and what is wrong with it.
    pub fn load(path: &Path) -> Result<Self, TrainError> {
        tensors::load(path, Self::from_bytes)
    }

    /// Reads a model.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let (about, tensors) = parts_of(bytes)?;
        Self::from_tensors(about, &tensors)
    }
}

impl tensors::About for About {
    const FORMAT: u32 = FORMAT;
    const TASK: Option<&'static str> = None;

    fn check(&self) -> Result<(), String> {
        let bad = |what: String| Err(format!("its header is damaged: {what}"));
        if self.genotype.has_noise() {
            return bad("its genotype has the operation noise, of which no trained network can be".into());
        }
        if !(1..=1000).contains(&self.cells) || !(1..=4096).contains(&self.channels) {
            return bad(format!("a network of {} cells and {} channels", self.cells, self.channels));
        }
        if !can_reduce_at(&self.reductions, self.cells) {
            return bad(format!("a network of {} cells that reduces at {:?}", self.cells, self.reductions));
        }
        if self.classes.is_empty() || self.side.iter().any(|s| !(1..=16384).contains(s)) {
            return bad(format!("{} classes, images of {:?} pixels", self.classes.len(), self.side));
        }
        let n = self.mean.len();
        if n == 0 || n != self.std.len() || self.std.iter().any(|s| !(s.is_finite() && *s > 0.0)) {
            return bad("its means and deviations are not one each for every channel".into());
        }
        Ok(())
    }
}
