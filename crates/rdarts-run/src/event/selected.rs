//! What a selection after a search has decided: one line a decision, after that of its epoch.

use serde::{Deserialize, Serialize};

/// A decision on the operation of an edge, or on the inputs of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selected {
    /// How often the search had gone back before.
    pub attempt: usize,
    /// The epoch after which it was decided.
    pub epoch: usize,
    /// The type of the cells, `normal` or `reduce`.
    pub cell: String,
    /// The node that the edge leads to, or whose inputs these are, counted from 0.
    pub node: usize,
    /// The input that the edge comes from, counted like those of a genotype; absent of a decision on the inputs.
    #[serde(default)]
    pub input: Option<usize>,
    /// What one of was left out: the operations of the edge, or the inputs of the node.
    pub candidates: Vec<String>,
    /// Mean loss of the supernet without each of them, on the split of the alphas.
    #[serde(with = "super::doubles")]
    pub loss: Vec<f64>,
    /// Fraction of that split that it classifies correctly without each of them.
    #[serde(with = "super::doubles")]
    pub accuracy: Vec<f64>,
    /// The places of what stays among the candidates: of one operation, or of two inputs.
    pub kept: Vec<usize>,
    /// What was decided, with its numbers, in one sentence.
    pub reason: String,
}
