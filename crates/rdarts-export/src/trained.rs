//! A trained network as data, and what can be wrong with one.
//!
//! Tensors have the names of a PyTorch `state_dict`: `stem.0.weight`, `cells.3._ops.2.op.1.weight`,
//! `cells.3.preprocess0.conv_1.weight`, `classifier.bias`. `_ops.I` is the I-th entry of the genotype's list. Batch norms
//! have `weight`, `bias`, `running_mean` and `running_var`; `num_batches_tracked` may be there or not. With a cell of
//! NAS-Bench-201 the names are those of its authors: `cells.3.layers.E.op.1.weight` with E the edge,
//! `cells.5.conv_a.op.1.weight` of a residual block, `lastact.0.weight`. An operation that the output of its cell does not
//! need has no tensors.

use std::collections::BTreeMap;

use rdarts_space::{CellType, Genotype, GenotypeFault, Topology};
use rdarts_text::{did_you_mean, quote};

/// A trained discrete network: everything that an export needs.
#[derive(Clone, Copy, Debug)]
pub struct Trained<'a> {
    /// The architecture of the cells.
    pub genotype: &'a Genotype,
    /// Number of cells.
    pub cells: usize,
    /// The cells that reduce, in their order and counted from 0, where the genotype has a reduction cell; in the topology of
    /// NAS-Bench-201 they are residual blocks. None named: those at a third and at two thirds.
    pub reductions: &'a [usize],
    /// Channels of an operation in the first cell; the stem has three times as many (as many, in the topology of
    /// NAS-Bench-201), cells that reduce double them.
    pub channels: usize,
    /// Channels of an image: 1 or 3 mostly.
    pub c_image: usize,
    /// Names of the classes, in the order of the logits.
    pub classes: &'a [String],
    /// Rows and columns of an image.
    pub side: [usize; 2],
    /// What is taken away from each channel of pixels in [0, 1].
    pub mean: &'a [f32],
    /// What each channel is divided by afterwards.
    pub std: &'a [f32],
    /// Whether the tensors of an auxiliary head are there, which only training uses.
    pub auxiliary: bool,
    /// Weights and running statistics under PyTorch's names.
    pub tensors: &'a BTreeMap<String, Tensor>,
}

impl Trained<'_> {
    /// What stands in the metadata of every file: texts, lists as JSON.
    pub(crate) fn properties(&self) -> BTreeMap<&'static str, String> {
        let json = |list: serde_json::Result<String>| list.expect("numbers and texts are always JSON");
        let mut all = BTreeMap::from([
            ("auxiliary", self.auxiliary.to_string()),
            ("cells", self.cells.to_string()),
            ("channels", self.channels.to_string()),
            ("classes", json(serde_json::to_string(self.classes))),
            ("genotype", self.genotype.to_string()),
            ("mean", json(serde_json::to_string(self.mean))),
            ("rdarts", env!("CARGO_PKG_VERSION").to_owned()),
            ("side", json(serde_json::to_string(&self.side))),
            ("std", json(serde_json::to_string(self.std))),
        ]);
        if !self.reductions.is_empty() {
            all.insert("reductions", json(serde_json::to_string(self.reductions)));
        }
        all
    }
}

/// An array of numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Extents, outermost first; empty for a single number.
    pub shape: Vec<usize>,
    /// Values, row by row.
    pub values: Vec<f32>,
}

/// Why a network cannot be exported.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ExportError {
    /// A genotype that was put together wrongly.
    #[error("the genotype is not sound: {0}")]
    Genotype(#[from] GenotypeFault),
    /// An auxiliary head where there is none.
    #[error("a network with cells of the topology {topology} has no auxiliary head, but it is said to have one")]
    Auxiliary {
        /// How its cells are wired.
        topology: Topology,
    },
    /// An operation that is not a function of the image.
    #[error(
        "the {cell} cell uses `noise`, which draws new numbers for every image and so cannot be exported; a genotype \
         without it can"
    )]
    Noise {
        /// The cell type that uses it.
        cell: CellType,
    },
    /// A number that makes no network.
    #[error("the number of {what} is {given}, but it must lie between 1 and {max}")]
    Size {
        /// What is counted.
        what: &'static str,
        /// The number as given.
        given: usize,
        /// The largest that is taken.
        max: usize,
    },
    /// Cells that cannot reduce.
    #[error(
        "the cells that reduce are {given:?}, but they must be at most {max} different ones of {cells}, counted from 0, in \
         their order"
    )]
    Reductions {
        /// The cells as given.
        given: Vec<usize>,
        /// Number of cells.
        cells: usize,
        /// The most that may reduce.
        max: usize,
    },
    /// Numbers for another number of channels.
    #[error(
        "`{field}` has length {given}, but it needs one number for each channel of an image, and there are {wanted}"
    )]
    Normalisation {
        /// `mean` or `std`.
        field: &'static str,
        /// Its length.
        given: usize,
        /// Channels of an image.
        wanted: usize,
    },
    /// A number by which pixels cannot be normalised.
    #[error("`{field}` holds {given}, but {rule}")]
    Pixel {
        /// `mean` or `std`.
        field: &'static str,
        /// The number.
        given: f32,
        /// What would be right.
        rule: &'static str,
    },
    /// A tensor that is not there.
    #[error("the tensor `{name}` is missing; this network needs it with the shape {wanted:?}")]
    Missing {
        /// Its name.
        name: String,
        /// The shape that it must have.
        wanted: Vec<usize>,
    },
    /// A tensor of another shape.
    #[error("the tensor `{name}` has the shape {given:?}, but this network needs {wanted:?}")]
    Shape {
        /// Its name.
        name: String,
        /// Its shape.
        given: Vec<usize>,
        /// The shape that it must have.
        wanted: Vec<usize>,
    },
    /// A tensor with more or fewer values than its shape says.
    #[error("the tensor `{name}` holds {given} values, but its shape {shape:?} asks for {wanted}")]
    Values {
        /// Its name.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
        /// The number of its values.
        given: usize,
        /// The number that the shape asks for.
        wanted: usize,
    },
    /// A tensor that belongs nowhere.
    #[error("the tensor {} belongs to no part of this network{}", quote(name), did_you_mean(nearest.as_deref()))]
    Unexpected {
        /// Its name.
        name: String,
        /// The tensor with the nearest name, where one is near.
        nearest: Option<String>,
    },
    /// A tensor with a value that no network can use.
    #[error("the tensor `{name}` holds {given}, but {rule}")]
    Value {
        /// Its name.
        name: String,
        /// The value.
        given: f32,
        /// What would be right.
        rule: &'static str,
    },
    /// A layer that only a search has.
    #[error("the network has {layer}, which cannot be exported")]
    Layer {
        /// What it is.
        layer: &'static str,
    },
    /// A file larger than its format can be.
    #[error("the file would have {bytes} bytes, but an ONNX file cannot have more than 2147483647")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
}
