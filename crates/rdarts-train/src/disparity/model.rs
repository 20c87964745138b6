//! A trained network for disparity in one file: its weights under PyTorch's names, and all that is needed to use it.
//!
//! As a model that classifies ([`crate::model`]), with other contents of the JSON object.

use std::collections::BTreeMap;
use std::path::Path;

use rdarts_data::escaped;
use rdarts_data::stereo::StereoEval;
use rdarts_net::disparity::DisparitySpec;
use rdarts_net::{Alphas, Engine, Evaluator, Network, Point};
use rdarts_run::DisparityErrors;
use rdarts_space::disparity::DisparityGenotype;
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::pairs::estimate;
use crate::tensors::{self, NamedTensor, check_finite, check_held, file_of, held, parts_of, tensors_of};

/// The newest form of the file: more than that of a model that classifies, so that programs that knew no other say that they
/// are too old.
pub const FORMAT: u32 = 2;

/// The task, as the file names it.
pub const TASK: &str = tensors::DISPARITY;

/// A network that can be used.
#[derive(Clone, Debug)]
pub struct DisparityModel {
    /// What it is.
    pub about: DisparityAbout,
    /// Its sizes.
    pub sizes: DisparitySpec,
    /// Its wiring.
    pub net: Network,
    /// Its weights, flat.
    pub weights: Vec<f32>,
}

/// The JSON object of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DisparityAbout {
    /// The form of the file.
    pub format: u32,
    /// [`TASK`].
    pub task: String,
    /// Version of the program that wrote it.
    pub version: String,
    /// The cells.
    pub genotype: DisparityGenotype,
    /// Channels of the last cell of the decoder.
    pub channels: usize,
    /// Channels of the stem's first convolution.
    pub stem: usize,
    /// The largest shift of the correlation, in pixels of an eighth of the size.
    pub displacement: usize,
    /// Name of the set of pairs that it was trained on.
    pub data: String,
    /// The epoch whose weights these are.
    pub epoch: Option<usize>,
    /// End-point error on held-out pairs.
    pub valid_error: Option<f64>,
    /// Number of test pairs.
    pub n_test: Option<usize>,
    /// Errors on them.
    pub test: Option<DisparityErrors>,
    /// Errors over the pixels of them that both views show.
    pub test_visible: Option<DisparityErrors>,
}

impl DisparityAbout {
    /// The sizes of the network.
    pub fn sizes(&self) -> DisparitySpec {
        DisparitySpec::training(self.genotype.clone(), self.channels, self.stem, self.displacement)
    }
}

impl tensors::About for DisparityAbout {
    const FORMAT: u32 = FORMAT;
    const TASK: Option<&'static str> = Some(TASK);

    fn check(&self) -> Result<(), String> {
        let bad = |what: String| Err(format!("its header is damaged: {what}"));
        if let Err(e) = self.genotype.check() {
            return bad(e.to_string());
        }
        let sizes = [self.channels, self.stem, self.displacement];
        if sizes.iter().any(|size| !(1..=4096).contains(size)) {
            return bad(format!("a network of {sizes:?} channels, channels of the stem, and shifts"));
        }
        Ok(())
    }
}

impl DisparityModel {
    /// A network of these weights.
    ///
    /// # Panics
    /// If it has another number of them.
    pub fn new(about: DisparityAbout, weights: &[f32]) -> Self {
        let sizes = about.sizes();
        let net = Network::disparity(&sizes);
        assert_eq!(net.n_parameters(), weights.len(), "weights of another network");
        Self { about, sizes, net, weights: weights.to_vec() }
    }

    /// A model of named tensors.
    ///
    /// # Errors
    /// One sentence that names a tensor that is missing, has another shape, or has no place in the network.
    pub fn from_tensors(about: DisparityAbout, tensors: &BTreeMap<String, NamedTensor>) -> Result<Self, String> {
        let sizes = about.sizes();
        let net = Network::disparity(&sizes);
        check_held(&net, tensors)?;
        let mut weights = vec![0.0; net.n_parameters()];
        for parameter in net.weights() {
            let tensor = held(tensors, &parameter.name)?;
            net.write(&mut weights, &parameter.name, &tensor.values, &tensor.shape).map_err(|e| e.to_string())?;
        }
        if let Some(other) = tensors.keys().find(|name| net.weights().iter().all(|known| known.name != **name)) {
            return Err(format!("its tensor `{}` has no place in a network of this genotype", escaped(other)));
        }
        check_finite(tensors.iter())?;
        Ok(Self { about, sizes, net, weights })
    }

    /// Weights under PyTorch's names.
    pub fn tensors(&self) -> BTreeMap<String, NamedTensor> {
        tensors_of(&self.net, &self.weights)
    }

    /// What computes its outputs.
    pub fn evaluator(&self, engine: &Engine) -> Evaluator<f32> {
        evaluator(&self.net, engine, &self.weights)
    }

    /// Disparities (n, height, width) of pairs, whose views have sides that are multiples of its stride.
    pub fn estimate(&self, evaluator: &Evaluator<f32>, pairs: &StereoEval) -> Vec<f32> {
        estimate(evaluator, &self.sizes, pairs)
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

/// What computes the outputs of a network without mixing weights.
pub(super) fn evaluator(net: &Network, engine: &Engine, weights: &[f32]) -> Evaluator<f32> {
    Evaluator::supernet(Point { net, engine, weights, alphas: &Alphas::zeros(net) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> DisparityModel {
        let about = DisparityAbout {
            format: FORMAT,
            task: TASK.into(),
            version: "0".into(),
            genotype: DisparityGenotype::autodispnet(),
            channels: 2,
            stem: 3,
            displacement: 2,
            data: "stereo-scenes".into(),
            epoch: Some(3),
            valid_error: Some(0.5),
            n_test: None,
            test: None,
            test_visible: None,
        };
        let weights = Network::disparity(&about.sizes()).init(1);
        DisparityModel::new(about, &weights)
    }

    #[test]
    fn a_file_is_read_back_and_what_is_wrong_with_it_is_named() {
        let model = model();
        let bytes = model.to_bytes();
        let read = DisparityModel::from_bytes(&bytes).unwrap();
        assert_eq!((read.about, &read.weights), (model.about.clone(), &model.weights));
        let of_images = crate::Model::from_bytes(&bytes).unwrap_err();
        assert!(of_images.contains("estimates disparity"), "{of_images}");
        let wrong = |change: &dyn Fn(&mut DisparityAbout, &mut BTreeMap<String, NamedTensor>)| {
            let (mut about, mut tensors) = (model.about.clone(), model.tensors());
            change(&mut about, &mut tensors);
            DisparityModel::from_bytes(&file_of(&tensors, &about)).unwrap_err()
        };
        assert!(wrong(&|about, _| about.format = 3).contains("a newer rdarts"));
        assert!(wrong(&|about, _| about.task = "depth".into()).contains("`depth`"));
        assert!(wrong(&|about, _| about.genotype.normal[0].1 = 9).contains("state 9"));
        assert!(wrong(&|about, _| about.channels = 0).contains("header is damaged"));
        assert!(wrong(&|about, _| about.channels = 4096).contains("values, and its network needs"));
        assert!(wrong(&|_, tensors| drop(tensors.remove("stem.0.weight"))).contains("no tensor `stem.0.weight`"));
        assert!(
            wrong(&|_, tensors| tensors.values_mut().next().unwrap().values[0] = f32::NAN).contains("no finite number")
        );
        let added = wrong(&|_, tensors| {
            tensors.insert("x".into(), NamedTensor { shape: vec![1], values: vec![0.0] });
        });
        assert!(added.contains("`x` has no place"), "{added}");
        assert!(DisparityModel::from_bytes(&bytes[..bytes.len() / 2]).unwrap_err().contains("cut short"));
    }
}
