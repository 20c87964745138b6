//! Networks for disparity, which are lists of layers, for other programs.
//!
//! A [`Dense`] network is data: its layers in the order in which they can be computed, what each reads, and tensors under
//! PyTorch's names. [`dense_onnx`] and [`dense_py`] walk through the same list. Left and right view go through the layers
//! before the correlation one after the other; the output is the finest prediction at full size.

mod onnx;

mod page;

mod run;

use std::collections::BTreeMap;

use rdarts_kernels::dense::Layer;

use crate::trained::{ExportError, Tensor};

pub use onnx::dense_onnx;
pub use page::dense_py;
pub use run::run_dense_onnx;

/// A layer of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct DenseNode {
    /// What it computes.
    pub layer: Layer,
    /// The layers that it reads, by their places in the list; none: the views.
    pub inputs: Vec<Option<usize>>,
    /// What stands before the names of its tensors, with a dot at its end.
    pub prefix: String,
}

/// A trained network for disparity: everything that an export needs.
#[derive(Clone, Debug)]
pub struct Dense<'a> {
    /// Its layers; the last one gives all predictions, the finest last.
    pub nodes: Vec<DenseNode>,
    /// Pixels of the views to a pixel of the finest prediction, along an axis.
    pub scale: usize,
    /// Both sides of the views must be multiples of it.
    pub stride: usize,
    /// What is taken away from pixels from 0 to 1.
    pub shift: f32,
    /// What stands in the metadata of every file.
    pub properties: BTreeMap<String, String>,
    /// Weights under PyTorch's names.
    pub tensors: &'a BTreeMap<String, Tensor>,
}

impl Dense<'_> {
    /// The names of a layer's tensors, each with the tensor.
    fn tensors_of(&self, node: &DenseNode) -> Result<Vec<(String, &Tensor)>, ExportError> {
        let of = |weight: rdarts_kernels::spec::Weight| {
            let name = format!("{}{}", node.prefix, weight.name);
            let missing = ExportError::Missing { name: name.clone(), wanted: Vec::new() };
            self.tensors.get(&name).map(|tensor| (name, tensor)).ok_or(missing)
        };
        node.layer.weights().into_iter().map(of).collect()
    }
}

/// The bytes of a safetensors file of the weights, with the properties and `format` = `pt` in its metadata.
pub fn dense_safetensors(dense: &Dense) -> Vec<u8> {
    let mut metadata = dense.properties.clone();
    metadata.insert("format".to_owned(), "pt".to_owned());
    crate::safetensors::file(metadata, BTreeMap::new(), dense.tensors.iter())
}
