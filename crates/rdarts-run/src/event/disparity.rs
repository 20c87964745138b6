//! What happened in a search for disparity, beside decisions and its end, which are those of any search.

use serde::{Deserialize, Serialize};

/// What is searched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DisparityStarted {
    /// [`DISPARITY_EVENT_FORMAT`](super::DISPARITY_EVENT_FORMAT) of the writer.
    pub format: u32,
    /// Version of the program that started the search.
    pub rdarts: String,
    /// Name of the search space.
    pub space: String,
    /// Name of the set of pairs.
    pub data: String,
    /// Seed of all random streams.
    pub seed: u64,
    /// Number of architecture parameters.
    pub n_alphas: usize,
    /// Number of network weights.
    pub n_weights: usize,
    /// Number of pairs that train the weights.
    pub n_train: usize,
    /// Number of pairs that train the alphas.
    pub n_valid: usize,
    /// Weight steps in an epoch.
    pub steps_per_epoch: usize,
}

/// An epoch, after its last step. Errors are mean end-point errors in pixels of what the network sees.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DisparityEpoch {
    /// How often the search has gone back before this epoch.
    pub attempt: usize,
    /// The epoch, counted from 0.
    pub epoch: usize,
    /// Learning rate of the weights.
    #[serde(with = "super::number")]
    pub lr: f64,
    /// L2 factor of the weights.
    #[serde(with = "super::number")]
    pub l2: f64,
    /// Mean loss of the weight steps.
    #[serde(with = "super::number")]
    pub train_loss: f64,
    /// Mean end-point error of the weight steps.
    #[serde(with = "super::number")]
    pub train_error: f64,
    /// Mean loss of the alpha steps; absent in the epochs in which the weights alone learn.
    #[serde(with = "super::maybe_number", default)]
    pub alpha_loss: Option<f64>,
    /// Mean loss of the supernet on pairs of the alphas.
    #[serde(with = "super::maybe_number", default)]
    pub valid_loss: Option<f64>,
    /// Its end-point error.
    #[serde(with = "super::maybe_number", default)]
    pub valid_error: Option<f64>,
    /// Mean loss of the discretised child on these pairs.
    #[serde(with = "super::maybe_number", default)]
    pub child_loss: Option<f64>,
    /// Its end-point error.
    #[serde(with = "super::maybe_number", default)]
    pub child_error: Option<f64>,
    /// Dominant eigenvalue of the Hessian of the validation loss with respect to the alphas.
    #[serde(with = "super::maybe_number", default)]
    pub eigenvalue: Option<f64>,
    /// Bound of the absolute error of the eigenvalue.
    #[serde(with = "super::maybe_number", default)]
    pub eigenvalue_bound: Option<f64>,
    /// Standard error of the eigenvalue over the batches it was measured on; absent if there was only one.
    #[serde(with = "super::maybe_number", default)]
    pub eigenvalue_error: Option<f64>,
    /// Skip connections of the normal, the reduction and the upsampling cell.
    pub skip_connects: [usize; 3],
    /// Operations of these cells that are no convolutions.
    pub parameterless: [usize; 3],
    /// The genotype that the alphas stand for now.
    pub genotype: String,
    /// The alphas of the normal cell, edge after edge.
    #[serde(with = "super::numbers")]
    pub alphas_normal: Vec<f32>,
    /// The alphas of the reduction cell.
    #[serde(with = "super::numbers")]
    pub alphas_reduce: Vec<f32>,
    /// The alphas of the upsampling cell.
    #[serde(with = "super::numbers")]
    pub alphas_upsample: Vec<f32>,
}
