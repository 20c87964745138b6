//! A trained network in one file: its weights under PyTorch's names, and all that is needed to use it.
//!
//! The file is a safetensors file. Its metadata has the key `rdarts` with a JSON object: the genotype and sizes of the
//! network, the names of the classes, the shape of the images, their mean and deviation (of pixels from 0 to 1), and what
//! the network reached. Weights and running statistics are tensors of float32 in PyTorch's shapes; those of the auxiliary
//! head, which only a training needs, are left out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use rdarts_data::{Dataset, escaped, shown};
use rdarts_net::{DiscreteSpec, Engine, Evaluator, Network};
use rdarts_space::Genotype;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use crate::error::TrainError;

/// The newest form of the file.
pub const FORMAT: u32 = 1;
/// The key of its JSON object.
const KEY: &str = "rdarts";
/// What PyTorch counts in each batch norm, and nothing here needs.
const COUNTER: &str = "num_batches_tracked";

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

/// A tensor in PyTorch's shape and order.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values.
    pub values: Vec<f32>,
}

impl About {
    /// The sizes of the network, without an auxiliary head.
    pub fn discrete(&self) -> DiscreteSpec {
        DiscreteSpec {
            genotype: self.genotype.clone(),
            cells: self.cells,
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
        let missing = |name: &str| format!("it has no tensor `{name}`, which a network of this genotype has");
        if let Some(absent) = net.weights().iter().find(|parameter| !tensors.contains_key(&parameter.name)) {
            return Err(missing(&absent.name));
        }
        // Sizes may be anything, so no memory is asked for that the tensors do not fill.
        let held: usize = tensors.values().map(|tensor| tensor.values.len()).sum();
        if net.n_parameters() > held {
            return Err(format!("its tensors hold {held} values, and its network needs {}", net.n_parameters()));
        }
        let (mut weights, mut running) = (vec![0.0; net.n_parameters()], net.init_running());
        let mut used = BTreeSet::new();
        for parameter in net.weights() {
            let tensor = tensors.get(&parameter.name).ok_or_else(|| missing(&parameter.name))?;
            net.write(&mut weights, &parameter.name, &tensor.values, &tensor.shape).map_err(|e| e.to_string())?;
            used.insert(parameter.name.clone());
        }
        for norm in net.norms() {
            for (part, what) in ["running_mean", "running_var"].into_iter().enumerate() {
                let name = format!("{}.{what}", norm.name);
                let tensor = tensors.get(&name).ok_or_else(|| missing(&name))?;
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
        let finite = |tensor: &NamedTensor| tensor.values.iter().all(|v| v.is_finite());
        if let Some((name, _)) = tensors.iter().find(|(name, tensor)| counts(name) && !finite(tensor)) {
            return Err(format!("its tensor `{name}` has a value that is no finite number"));
        }
        let is_negative = |tensor: &NamedTensor| tensor.values.iter().any(|v| *v < 0.0);
        if let Some((name, _)) = tensors.iter().find(|(name, t)| name.ends_with(".running_var") && is_negative(t)) {
            return Err(format!("its tensor `{name}` has a variance below 0"));
        }
        Ok(Self { about, net, weights, running })
    }

    /// Weights and running statistics under PyTorch's names.
    pub fn tensors(&self) -> BTreeMap<String, NamedTensor> {
        let mut out = BTreeMap::new();
        for parameter in self.net.weights() {
            let (values, shape) = self.net.read(&self.weights, &parameter.name).expect("a network has its own weights");
            out.insert(parameter.name.clone(), NamedTensor { shape, values });
        }
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
        let bytes: BTreeMap<String, (Vec<usize>, Vec<u8>)> = self
            .tensors()
            .into_iter()
            .map(|(name, t)| (name, (t.shape, t.values.iter().flat_map(|v| v.to_le_bytes()).collect())))
            .collect();
        let views = bytes.iter().map(|(name, (shape, bytes))| {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes).expect("as many bytes as its shape says");
            (name.clone(), view)
        });
        let about = serde_json::to_string(&self.about).expect("texts and finite numbers are JSON");
        safetensors::serialize(views, Some(HashMap::from([(KEY.to_string(), about)]))).expect("names are unique")
    }

    /// Reads a model from a file.
    ///
    /// # Errors
    /// One sentence that names the file and what is wrong with it.
    pub fn load(path: &Path) -> Result<Self, TrainError> {
        let bytes = std::fs::read(path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => TrainError::Input(format!("there is no model file {}", shown(path))),
            _ => TrainError::Failed(format!("cannot read the model file {}: {e}", shown(path))),
        })?;
        Self::from_bytes(&bytes).map_err(|e| TrainError::Input(format!("the model file {}: {e}", shown(path))))
    }

    /// Reads a model.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        // A model may begin with the bytes of a pickle: they are digits of the length of its header too.
        let is_of_pytorch = bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"\x80\x02");
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| match is_of_pytorch {
            true => "it is a checkpoint of PyTorch: `rdarts import` makes a model of it".to_string(),
            false => broken(e),
        })?;
        let about = header
            .metadata()
            .as_ref()
            .and_then(|metadata| metadata.get(KEY))
            .ok_or("it has no header of rdarts: it may be another program's, which `rdarts import` reads")?;
        if !about.starts_with('{') {
            return Err(
                "it is an export of rdarts for other programs: `rdarts import` makes a model of it again".into()
            );
        }
        let form: Form = serde_json::from_str(about).map_err(|e| format!("its header is damaged ({e})"))?;
        if form.format > FORMAT {
            return Err(format!(
                "it has the form {}, and this program knows forms up to {FORMAT}: a newer rdarts reads it",
                form.format
            ));
        }
        let about: About = serde_json::from_str(about).map_err(|e| format!("its header is damaged ({e})"))?;
        about.check()?;
        Self::from_tensors(about, &read_tensors(bytes)?)
    }
}

/// The tensors of a safetensors file of whatever program, but the counters of batch norms.
///
/// # Errors
/// What is wrong with it, as the end of a sentence.
pub fn read_tensors(bytes: &[u8]) -> Result<BTreeMap<String, NamedTensor>, String> {
    let mut tensors = BTreeMap::new();
    for (name, view) in SafeTensors::deserialize(bytes).map_err(broken)?.iter() {
        if name.ends_with(COUNTER) {
            continue;
        }
        if view.dtype() != Dtype::F32 {
            return Err(format!("its tensor `{name}` is not of 32-bit floats"));
        }
        let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        tensors.insert(name.to_string(), NamedTensor { shape: view.shape().to_vec(), values });
    }
    Ok(tensors)
}

/// A text of the metadata of a safetensors file.
pub fn read_metadata(bytes: &[u8], key: &str) -> Option<String> {
    let (_, header) = SafeTensors::read_metadata(bytes).ok()?;
    header.metadata().as_ref()?.get(key).cloned()
}

fn broken(e: safetensors::SafeTensorError) -> String {
    format!("it is cut short, or it is not a model that `rdarts train` writes ({e})")
}

/// What is read first of a header.
#[derive(Deserialize)]
struct Form {
    format: u32,
}

impl About {
    /// Whether a network can be made of it.
    fn check(&self) -> Result<(), String> {
        let bad = |what: String| Err(format!("its header is damaged: {what}"));
        if self.genotype.has_noise() {
            return bad("its genotype has the operation noise, of which no trained network can be".into());
        }
        if !(1..=1000).contains(&self.cells) || !(1..=4096).contains(&self.channels) {
            return bad(format!("a network of {} cells and {} channels", self.cells, self.channels));
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
