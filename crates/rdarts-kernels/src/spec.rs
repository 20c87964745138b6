//! What a cell, a stem and a head are made of: shapes, the order of their weights, and nothing else.
//!
//! Layouts: activations are (n, h, w, c). A depthwise window is `[k * k][c]`, a pointwise product
//! `[c_in][c_out]`, a full convolution `[kh * kw * c_in][c_out]`; PyTorch's are (c, 1, k, k) and
//! (c_out, c_in, kh, kw). All weights of a cell lie in one flat slice, in the order of [`CellSpec::weights`].
//!
//! A strided operation of an image of h rows gives ceil(h / 2) rows. Batch norm uses the statistics of the batch, biased
//! variance, eps = [`BN_EPS`]. Inside a cell of a supernet it has neither scale nor shift, and pools have one too; a
//! discrete cell's has both, its pools have none, and it can use given statistics in place of the batch's.

use rdarts_space::Op;

use crate::ops::{self, Action, Start};
use crate::stage::Stage;

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
pub(crate) fn weight_list(items: impl IntoIterator<Item = (String, WeightKind)>) -> Vec<Weight> {
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

/// A batch norm that has running statistics, of the mean and the variance of each channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NormPlace {
    /// PyTorch's name inside the module, for example `_ops.3.op.3`.
    pub name: String,
    /// Channels.
    pub c: usize,
}

/// Number of running values: of each norm its means, then its variances.
pub fn running_len(norms: &[NormPlace]) -> usize {
    norms.iter().map(|norm| 2 * norm.c).sum()
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

    /// Its batch norm, `1`.
    pub fn norms(&self) -> Vec<NormPlace> {
        vec![NormPlace { name: "1".into(), c: self.c_out }]
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

/// The auxiliary head of a training: relu, average pool to 2x2, 1x1 convolution to 128 channels, batch norm, relu, 2x2
/// convolution to 768, batch norm, relu, linear layer. At 8x8 pixels the windows of the pool are those of the DARTS code,
/// 5x5 at stride 3; at other sizes each covers half of the rows and columns, rounded up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuxiliarySpec {
    /// Channels that enter.
    pub c_in: usize,
    /// Number of classes.
    pub classes: usize,
}

impl AuxiliarySpec {
    /// Channels behind its two convolutions.
    pub const WIDTHS: [usize; 2] = [128, 768];

    /// `features.2.weight` (1x1 convolution), `features.3.*` (batch norm), `features.5.weight` (2x2 convolution),
    /// `features.6.*` (batch norm), `classifier.*`.
    pub fn weights(&self) -> Vec<Weight> {
        let [narrow, wide] = Self::WIDTHS;
        let conv = |k, c_in, c_out| WeightKind::Conv { kh: k, kw: k, c_in, c_out };
        let vector = |c, ones| WeightKind::Vector { c, ones };
        weight_list([
            ("features.2.weight".into(), conv(1, self.c_in, narrow)),
            ("features.3.weight".into(), vector(narrow, true)),
            ("features.3.bias".into(), vector(narrow, false)),
            ("features.5.weight".into(), conv(2, narrow, wide)),
            ("features.6.weight".into(), vector(wide, true)),
            ("features.6.bias".into(), vector(wide, false)),
            ("classifier.weight".into(), WeightKind::Linear { c_in: wide, c_out: self.classes }),
            ("classifier.bias".into(), vector(self.classes, false)),
        ])
    }

    /// Its batch norms, `features.3` and `features.6`.
    pub fn norms(&self) -> Vec<NormPlace> {
        let [narrow, wide] = Self::WIDTHS;
        vec![NormPlace { name: "features.3".into(), c: narrow }, NormPlace { name: "features.6".into(), c: wide }]
    }

    /// The two windows of the pool along the rows and along the columns.
    pub fn windows(side: [usize; 2]) -> [[std::ops::Range<usize>; 2]; 2] {
        if side == [8; 2] {
            return [(); 2].map(|()| [0..5, 3..8]);
        }
        side.map(|len| [0, 1].map(|i| i * len / 2..((i + 1) * len).div_ceil(2)))
    }
}

/// One cell. Node i (of `nodes`) sums a mixed operation over the states 0..2+i: states 0 and 1 are the preprocessed
/// inputs, state 2+i is node i. The output is the concatenation of all nodes.
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
    /// What makes it a cell of a discrete network; none in a supernet.
    pub discrete: Option<Discrete>,
}

/// What a cell of a discrete network has in place of a supernet's: batch norms with scale and shift behind its
/// convolutions and none behind its pools, mixing weights that are constants, drop path of every operation by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discrete {
    /// PyTorch's number of each operation, its place in the genotype, in the order of the mixing weights.
    pub order: Vec<usize>,
    /// The nodes that make up the output, in this order. The passes over a cell leave all of them in one tensor; who calls
    /// them takes these out.
    pub concat: Vec<usize>,
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
        self.c * self.discrete.as_ref().map_or(self.nodes, |discrete| discrete.concat.len())
    }

    /// Channels of all nodes side by side, which is what the passes over a cell write and read.
    pub fn c_nodes(&self) -> usize {
        self.nodes * self.c
    }

    /// The nodes of the output, in their order, if that is not all of them as they stand.
    pub fn concat(&self) -> Option<&[usize]> {
        let concat = &self.discrete.as_ref()?.concat;
        (!concat.iter().copied().eq(0..self.nodes)).then_some(concat)
    }

    /// Number of drop-path factors of an image: one for each edge, or, of a discrete cell, for each operation.
    pub fn n_paths(&self) -> usize {
        if self.discrete.is_some() { self.n_alphas() } else { self.edges.len() }
    }

    /// Of each drop-path factor, whether drop path may make it zero: not where a discrete cell has the identity.
    pub fn droppable(&self) -> Vec<bool> {
        if self.discrete.is_none() {
            return vec![true; self.edges.len()];
        }
        let of_edge = |(e, _, state): (usize, usize, usize)| {
            let stride = self.stride(state);
            self.edges[e].iter().map(move |op| !(*op == Op::SkipConnect && stride == 1))
        };
        self.edge_list().into_iter().flat_map(of_edge).collect()
    }

    /// All weights under their PyTorch names.
    pub fn weights(&self) -> Vec<Weight> {
        weight_list(self.stages().into_iter().flat_map(|(prefix, stage)| {
            let named = stage.names.into_iter().zip(stage.weights());
            let weights = named.filter_map(|(name, kind)| Some((name.to_string(), kind?)));
            let norm = |(name, ones)| (format!("{}.{name}", stage.norm), WeightKind::Vector { c: stage.c_out, ones });
            let norms = [("weight", true), ("bias", false)].into_iter().filter(|_| self.is_affine(&stage)).map(norm);
            weights.chain(norms).map(|(name, kind)| (format!("{prefix}{name}"), kind)).collect::<Vec<_>>()
        }))
    }

    /// The batch norms of a discrete cell, in the order of its weights.
    pub fn norms(&self) -> Vec<NormPlace> {
        let stages = self.stages().into_iter().filter(|(_, stage)| self.is_affine(stage));
        stages.map(|(prefix, stage)| NormPlace { name: format!("{prefix}{}", stage.norm), c: stage.c_out }).collect()
    }

    /// Whether the batch norm behind a stage has scale and shift.
    pub(crate) fn is_affine(&self, stage: &Stage) -> bool {
        self.discrete.is_some() && stage.weights() != [None; 2]
    }

    /// All stages with what stands before the names of their weights; they do not depend on the size of images.
    fn stages(&self) -> Vec<(String, Stage)> {
        let side = [1; 2];
        let mut all: Vec<_> = (0..2).map(|i| (format!("preprocess{i}."), ops::preprocess(self, i, side))).collect();
        for (e, _, state) in self.edge_list() {
            let start = Start { side, c: self.c, stride: self.stride(state) };
            for (o, op) in self.edges[e].iter().enumerate() {
                let Action::Stages(stages) = ops::action(*op, start) else { continue };
                let prefix = match &self.discrete {
                    Some(discrete) => format!("_ops.{}.", discrete.order[self.alpha_offset(e) + o]),
                    None => format!("_ops.{e}._ops.{o}."),
                };
                all.extend(stages.into_iter().map(|stage| (prefix.clone(), stage)));
            }
        }
        all
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
    /// Drop path: the factor (0 or 1 / keep probability) of each edge's mixed output, or of each operation of a discrete
    /// cell, for each image, `[edge or operation][image]`. Empty: no drop path.
    pub drop_path: Vec<f32>,
    /// Key of the values of the `noise` operations.
    pub noise_key: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Drop path leaves the identity alone, as the DARTS code does, and nothing else: where a skip connection halves the
    /// image it is a factorized reduction, which is dropped like any operation, and so are pools.
    #[test]
    fn the_identity_alone_of_a_discrete_cell_is_not_dropped() {
        use Op::{AvgPool3x3, MaxPool3x3, SepConv3x3, SkipConnect};
        let edges = vec![
            vec![SkipConnect, MaxPool3x3],
            vec![SepConv3x3],
            vec![AvgPool3x3],
            vec![SkipConnect],
            vec![SkipConnect, AvgPool3x3],
        ];
        let discrete = Discrete { order: (0..7).collect(), concat: vec![0, 1] };
        let cell = |reduction, discrete| CellSpec {
            nodes: 2,
            c: 4,
            c_prev_prev: 4,
            c_prev: 4,
            reduction,
            reduction_prev: false,
            edges: edges.clone(),
            discrete,
        };
        let normal = [false, true, true, true, false, false, true];
        assert_eq!(cell(false, Some(discrete.clone())).droppable(), normal);
        // Only the last edge leaves a node, and has stride 1.
        let reduce = [true, true, true, true, true, false, true];
        assert_eq!(cell(true, Some(discrete)).droppable(), reduce);
        // A supernet drops whole edges, whatever is on them.
        assert_eq!(cell(false, None).droppable(), [true; 5]);
    }
}
