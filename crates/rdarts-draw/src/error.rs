//! Why there is no picture.

use rdarts_space::disparity::DisparityGenotypeError;
use rdarts_space::{CellType, GenotypeFault};

/// Why something cannot be drawn.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DrawError {
    /// A genotype that was put together wrongly.
    #[error("the genotype is not sound: {0}")]
    Genotype(#[from] GenotypeFault),
    /// A genotype for disparity that was put together wrongly.
    #[error("the genotype is not sound: {0}")]
    Disparity(#[from] DisparityGenotypeError),
    /// A cell that the genotype does not have.
    #[error("the genotype has no {cell} cell")]
    NoCell {
        /// The cell type.
        cell: CellType,
    },
    /// A drawing of nothing.
    #[error("there is no cell to draw")]
    Nothing,
    /// More nodes than a picture can show.
    #[error("a cell with {given} nodes cannot be drawn, {max} are the most")]
    TooManyNodes {
        /// Nodes of the cell.
        given: usize,
        /// The most that are drawn.
        max: usize,
    },
    /// An edge between states that are not there.
    #[error("there is no edge from input {input} to node {node} in a cell of {nodes} nodes")]
    Edge {
        /// The state that it reads.
        input: usize,
        /// The node that it leads to.
        node: usize,
        /// Nodes of the cell.
        nodes: usize,
    },
    /// An output of something that is no node, or is part of it already.
    #[error("the output of a cell of {nodes} nodes cannot take in state {state}, or not once more")]
    Concat {
        /// The state.
        state: usize,
        /// Nodes of the cell.
        nodes: usize,
    },
    /// Weights for another number of edges or operations.
    #[error("the cell needs {needed} weights, but there are {given}")]
    Weights {
        /// Weights that the cell needs.
        needed: usize,
        /// Weights that were given.
        given: usize,
    },
    /// A weight that is none.
    #[error("weight {at} is {given}, but it must lie between 0 and 1")]
    Weight {
        /// Which of the weights, counted from 0.
        at: usize,
        /// The weight as given.
        given: f32,
    },
    /// A size that no picture has.
    #[error("a picture {width} pixels wide and {height} high cannot be made; up to {max} pixels in all can")]
    Size {
        /// Columns of pixels.
        width: f64,
        /// Rows of pixels.
        height: f64,
        /// The most pixels.
        max: u32,
    },
    /// What another library refused.
    #[error("the picture cannot be made: {0}")]
    Render(String),
}
