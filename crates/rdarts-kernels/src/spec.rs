//! What a cell, a stem and a head are made of: shapes, the order of their weights, and nothing else.
//!
//! Layouts: activations are (n, h, w, c). A depthwise window is `[k * k][c]`, a pointwise product
//! `[c_in][c_out]`, a full convolution `[kh * kw * c_in][c_out]`; PyTorch's are (c, 1, k, k) and
//! (c_out, c_in, kh, kw). All weights of a cell lie in one flat slice, in the order of [`CellSpec::weights`].
//!
//! A strided operation of an image of h rows gives ceil(h / 2) rows. Batch norm (not affine inside a cell)
//! uses the statistics of the batch, biased variance, eps = [`BN_EPS`].

use rdarts_space::Op;

use crate::ops::{self, Action, Start};

/// The eps of every batch norm.
pub const BN_EPS: f64 = 1e-5;

/// The layout of one weight tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightKind {
    /// Depthwise window `[k * k][c]`; PyTorch (c, 1, k, k).
    Depthwise {
        /// Window side.
        k: usize,
        /// Channels.
        c: usize,
    },
    /// Convolution `[kh * kw * c_in][c_out]` (a pointwise product is 1 x 1); PyTorch (c_out, c_in, kh, kw).
    Conv {
        /// Window rows.
        kh: usize,
        /// Window columns.
        kw: usize,
        /// Input channels.
        c_in: usize,
        /// Output channels.
        c_out: usize,
    },
    /// Matrix `[c_in][c_out]`; PyTorch (c_out, c_in).
    Linear {
        /// Inputs.
        c_in: usize,
        /// Outputs.
        c_out: usize,
    },
    /// A bias or the scale or shift of a batch norm, `[c]`. `ones` says how it starts: 1 for a scale, else 0.
    Vector {
        /// Length.
        c: usize,
        /// Initialised to one (a batch norm's scale) instead of zero.
        ones: bool,
    },
}

impl WeightKind {
    /// Number of values.
    pub fn len(&self) -> usize {
        match *self {
            Self::Depthwise { k, c } => k * k * c,
            Self::Conv { kh, kw, c_in, c_out } => kh * kw * c_in * c_out,
            Self::Linear { c_in, c_out } => c_in * c_out,
            Self::Vector { c, .. } => c,
        }
    }

    /// Never: a weight has at least one value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shape PyTorch gives this tensor.
    pub fn torch_shape(&self) -> Vec<usize> {
        match *self {
            Self::Depthwise { k, c } => vec![c, 1, k, k],
            Self::Conv { kh, kw, c_in, c_out } => vec![c_out, c_in, kh, kw],
            Self::Linear { c_in, c_out } => vec![c_out, c_in],
            Self::Vector { c, .. } => vec![c],
        }
    }

    /// Position in PyTorch's layout of the value at position `i` of ours.
    pub fn torch_index(&self, i: usize) -> usize {
        match *self {
            Self::Depthwise { k, c } => (i % c) * k * k + i / c,
            Self::Conv { kh, kw, c_in, c_out } => {
                let (tap, ci, co) = (i / (c_in * c_out), i / c_out % c_in, i % c_out);
                (co * c_in + ci) * kh * kw + tap
            }
            Self::Linear { c_in, c_out } => (i % c_out) * c_in + i / c_out,
            Self::Vector { .. } => i,
        }
    }

    /// Inputs that one output value sums over: PyTorch's `fan_in`, which sets the range of its initial values.
    pub fn fan_in(&self) -> usize {
        match *self {
            Self::Depthwise { k, .. } => k * k,
            Self::Conv { kh, kw, c_in, .. } => kh * kw * c_in,
            Self::Linear { c_in, .. } => c_in,
            Self::Vector { .. } => 1,
        }
    }
}

/// One weight tensor inside a flat slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weight {
    /// PyTorch's name inside the module, for example `_ops.3._ops.1.op.1.weight`.
    pub name: String,
    /// Position of its first value in the flat slice.
    pub offset: usize,
    /// Its layout.
    pub kind: WeightKind,
}

/// Collects weights one after another.
fn weight_list(items: impl IntoIterator<Item = (String, WeightKind)>) -> Vec<Weight> {
    let mut offset = 0;
    items
        .into_iter()
        .map(|(name, kind)| {
            let weight = Weight { name, offset, kind };
            offset += kind.len();
            weight
        })
        .collect()
}

/// Number of values of a list of weights.
pub fn weights_len(weights: &[Weight]) -> usize {
    weights.iter().map(|w| w.kind.len()).sum()
}

/// The stem: 3x3 convolution (padding 1) and an affine batch norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StemSpec {
    /// Channels of the images.
    pub c_in: usize,
    /// Channels that leave the stem.
    pub c_out: usize,
}

impl StemSpec {
    /// `0.weight` (convolution), `1.weight` (scale), `1.bias` (shift).
    pub fn weights(&self) -> Vec<Weight> {
        weight_list([
            ("0.weight".into(), WeightKind::Conv { kh: 3, kw: 3, c_in: self.c_in, c_out: self.c_out }),
            ("1.weight".into(), WeightKind::Vector { c: self.c_out, ones: true }),
            ("1.bias".into(), WeightKind::Vector { c: self.c_out, ones: false }),
        ])
    }
}

/// The head: the mean over all pixels, then a linear layer to the classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadSpec {
    /// Channels that enter.
    pub c_in: usize,
    /// Number of classes.
    pub classes: usize,
}

impl HeadSpec {
    /// `weight` and `bias`.
    pub fn weights(&self) -> Vec<Weight> {
        weight_list([
            ("weight".into(), WeightKind::Linear { c_in: self.c_in, c_out: self.classes }),
            ("bias".into(), WeightKind::Vector { c: self.classes, ones: false }),
        ])
    }
}

/// One cell of the supernet. Node i (of `nodes`) sums a mixed operation over the states 0..2+i: states 0 and 1
/// are the preprocessed inputs, state 2+i is node i. The output is the concatenation of all nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellSpec {
    /// Intermediate nodes.
    pub nodes: usize,
    /// Channels of every state.
    pub c: usize,
    /// Channels of s0 (the cell before the last).
    pub c_prev_prev: usize,
    /// Channels of s1 (the last cell).
    pub c_prev: usize,
    /// The edges from states 0 and 1 have stride 2.
    pub reduction: bool,
    /// The last cell was a reduction: s0 has twice the side of s1 and is preprocessed by FactorizedReduce.
    pub reduction_prev: bool,
    /// Operations of each edge, edges in the order (node 0: states 0, 1), (node 1: states 0, 1, 2), ...
    pub edges: Vec<Vec<Op>>,
}

impl CellSpec {
    /// (edge, node, state) in edge order.
    pub fn edge_list(&self) -> Vec<(usize, usize, usize)> {
        (0..self.nodes).flat_map(|i| (0..2 + i).map(move |j| (i, j))).enumerate().map(|(e, (i, j))| (e, i, j)).collect()
    }

    /// Stride of the edges that leave a state.
    pub fn stride(&self, state: usize) -> usize {
        if self.reduction && state < 2 { 2 } else { 1 }
    }

    /// Number of mixing weights p: one per operation of each edge, in edge order.
    pub fn n_alphas(&self) -> usize {
        self.edges.iter().map(Vec::len).sum()
    }

    /// Position of an edge's first mixing weight.
    pub fn alpha_offset(&self, edge: usize) -> usize {
        self.edges[..edge].iter().map(Vec::len).sum()
    }

    /// Channels of the output.
    pub fn c_out(&self) -> usize {
        self.nodes * self.c
    }

    /// All weights under their PyTorch names.
    pub fn weights(&self) -> Vec<Weight> {
        // They do not depend on the size of images.
        let side = [1; 2];
        let pre = (0..2).map(|i| (format!("preprocess{i}."), vec![ops::preprocess(self, i, side)]));
        let edges = self.edge_list().into_iter().flat_map(|(e, _, state)| {
            let start = Start { side, c: self.c, stride: self.stride(state) };
            self.edges[e].iter().enumerate().map(move |(o, op)| match ops::action(*op, start) {
                Action::Stages(stages) => (format!("_ops.{e}._ops.{o}."), stages),
                _ => (String::new(), Vec::new()),
            })
        });
        weight_list(pre.chain(edges).flat_map(|(prefix, stages)| {
            let named = stages.into_iter().flat_map(|stage| stage.names.into_iter().zip(stage.weights()));
            named.filter_map(move |(name, kind)| Some((format!("{prefix}{name}"), kind?)))
        }))
    }
}

/// Sizes of one call of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellDims {
    /// Images.
    pub n: usize,
    /// Rows and columns of s0.
    pub side0: [usize; 2],
    /// Rows and columns of s1 (half of s0's, rounded up, after a reduction).
    pub side1: [usize; 2],
}

impl CellDims {
    /// Rows and columns of the nodes and of the output.
    pub fn side_out(&self, spec: &CellSpec) -> [usize; 2] {
        if spec.reduction { self.side1.map(|s| s.div_ceil(2)) } else { self.side1 }
    }
}

/// What a call of a cell needs besides tensors: constants of the step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CellNoise {
    /// Drop path: the factor (0 or 1 / keep probability) of each edge's mixed output for each image,
    /// `[edge][image]`. Empty: no drop path.
    pub drop_path: Vec<f32>,
    /// Key of the values of the `noise` operations.
    pub noise_key: u64,
}
