//! Named tensors in a safetensors file with a JSON object in its metadata: what files of models have in common.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use rdarts_data::{escaped, shown};
use rdarts_net::Network;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::TrainError;

/// The key of the JSON object of a model.
const KEY: &str = "rdarts";

/// What PyTorch counts in each batch norm, and nothing here needs.
pub(crate) const COUNTER: &str = "num_batches_tracked";

/// A tensor in PyTorch's shape and order.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values.
    pub values: Vec<f32>,
}

/// What is read first of the JSON object of a model.
#[derive(Debug, Deserialize)]
pub struct Form {
    /// The form of the file.
    pub format: u32,
    /// What the network does; none: it classifies.
    #[serde(default)]
    pub task: Option<String>,
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

/// The bytes of a model's file.
///
/// # Errors
/// One sentence that names it.
pub fn read_file(path: &Path) -> Result<Vec<u8>, TrainError> {
    std::fs::read(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => TrainError::Input(format!("there is no model file {}", shown(path))),
        _ => TrainError::Failed(format!("cannot read the model file {}: {e}", shown(path))),
    })
}

/// The JSON object of a model.
///
/// # Errors
/// Why the bytes are none, as the end of a sentence.
pub fn header_of(bytes: &[u8]) -> Result<String, String> {
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
        return Err("it is an export of rdarts for other programs: `rdarts import` makes a model of it again".into());
    }
    Ok(about.clone())
}

/// The task of models that do not classify.
pub(crate) const DISPARITY: &str = "disparity";

/// What the JSON object of a kind of models says.
pub(crate) trait About: DeserializeOwned {
    /// The newest form of the file.
    const FORMAT: u32;
    /// The task, as files name it that do not classify.
    const TASK: Option<&'static str>;

    /// Whether a network can be made of it.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    fn check(&self) -> Result<(), String>;
}

/// What the file of a model says of itself, and its tensors.
///
/// # Errors
/// What is wrong with it, as the end of a sentence.
pub(crate) fn parts_of<A: About>(bytes: &[u8]) -> Result<(A, BTreeMap<String, NamedTensor>), String> {
    let about = header_of(bytes)?;
    let form = form_of(&about)?;
    if form.task.as_deref() != A::TASK {
        return Err(match form.task.as_deref() {
            None => "it classifies images and estimates no disparity".into(),
            Some(DISPARITY) => "it estimates disparity and knows no classes".into(),
            Some(other) => format!("it is for `{}`, which this program does not know", escaped(other)),
        });
    }
    if form.format > A::FORMAT {
        return Err(too_new(form.format, A::FORMAT));
    }
    let about: A = serde_json::from_str(&about).map_err(|e| damaged(&e))?;
    about.check()?;
    Ok((about, read_tensors(bytes)?))
}

/// Reads a model from a file.
///
/// # Errors
/// One sentence that names the file and what is wrong with it.
pub(crate) fn load<M>(path: &Path, of_bytes: impl FnOnce(&[u8]) -> Result<M, String>) -> Result<M, TrainError> {
    of_bytes(&read_file(path)?).map_err(|e| TrainError::Input(format!("the model file {}: {e}", shown(path))))
}

/// What the JSON object of a model is of.
///
/// # Errors
/// Why it is none, as the end of a sentence.
pub fn form_of(about: &str) -> Result<Form, String> {
    serde_json::from_str(about).map_err(|e| damaged(&e))
}

fn damaged(e: &serde_json::Error) -> String {
    format!("its header is damaged ({e})")
}

fn too_new(format: u32, known: u32) -> String {
    format!("it has the form {format}, and this program knows forms up to {known}: a newer rdarts reads it")
}

fn broken(e: safetensors::SafeTensorError) -> String {
    format!("it is cut short, or it is not a model that `rdarts train` writes ({e})")
}

/// The contents of a file of tensors and a JSON object.
pub(crate) fn file_of(tensors: &BTreeMap<String, NamedTensor>, about: &impl Serialize) -> Vec<u8> {
    let bytes: BTreeMap<&String, (&Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, t)| (name, (&t.shape, t.values.iter().flat_map(|v| v.to_le_bytes()).collect())))
        .collect();
    let views = bytes.iter().map(|(name, (shape, bytes))| {
        let view = TensorView::new(Dtype::F32, shape.to_vec(), bytes).expect("as many bytes as its shape says");
        (name.to_string(), view)
    });
    let about = serde_json::to_string(about).expect("texts and finite numbers are JSON");
    safetensors::serialize(views, Some(HashMap::from([(KEY.to_string(), about)]))).expect("names are unique")
}

/// The weights of a network under PyTorch's names.
pub(crate) fn tensors_of(net: &Network, weights: &[f32]) -> BTreeMap<String, NamedTensor> {
    let named = |name: &String| {
        let (values, shape) = net.read(weights, name).expect("a network has its own weights");
        (name.clone(), NamedTensor { shape, values })
    };
    net.weights().iter().map(|parameter| named(&parameter.name)).collect()
}

/// Whether all weights of a network are there, as far as names and numbers of values tell: sizes may be anything, so no
/// memory is asked for that the tensors do not fill.
pub(crate) fn check_held(net: &Network, tensors: &BTreeMap<String, NamedTensor>) -> Result<(), String> {
    net.weights().iter().try_for_each(|parameter| held(tensors, &parameter.name).map(|_| ()))?;
    let n: usize = tensors.values().map(|tensor| tensor.values.len()).sum();
    match net.n_parameters() > n {
        true => Err(format!("its tensors hold {n} values, and its network needs {}", net.n_parameters())),
        false => Ok(()),
    }
}

/// A tensor by its name.
pub(crate) fn held<'a>(tensors: &'a BTreeMap<String, NamedTensor>, name: &str) -> Result<&'a NamedTensor, String> {
    tensors.get(name).ok_or_else(|| format!("it has no tensor `{name}`, which a network of this genotype has"))
}

/// Refuses what is no finite number.
pub(crate) fn check_finite<'a>(mut tensors: impl Iterator<Item = (&'a String, &'a NamedTensor)>) -> Result<(), String> {
    match tensors.find(|(_, tensor)| !tensor.values.iter().all(|v| v.is_finite())) {
        Some((name, _)) => Err(format!("its tensor `{name}` has a value that is no finite number")),
        None => Ok(()),
    }
}
