//! A cell as data, for those who compute it elsewhere: the stages of its branches, their weights, and the batch norms, in
//! the order and at the places where the kernels here have them.

use crate::ops::StageKind;
use crate::plan::{NormKind, Placed, Plan, Summand};
use crate::spec::{CellDims, CellSpec};
use rdarts_simd::pool::Kind;

/// A cell for given sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    /// Images.
    pub n: usize,
    /// Channels of the states.
    pub c: usize,
    /// Number of nodes.
    pub nodes: usize,
    /// Rows and columns of states 0 and 1.
    pub side_in: [usize; 2],
    /// Rows and columns of the nodes.
    pub side_out: [usize; 2],
    /// The preprocess blocks of states 0 and 1.
    pub pre: [OutlineStage; 2],
    /// What leads from states to nodes, node by node.
    pub branches: Vec<OutlineBranch>,
    /// Of each batch norm what it is, and its channels.
    pub norms: Vec<(OutlineNorm, usize)>,
    /// Length of the flat weights.
    pub n_weights: usize,
    /// Number of mixing weights.
    pub n_alphas: usize,
    /// Drop-path factors of an image.
    pub n_paths: usize,
    /// Length of the running statistics.
    pub n_running: usize,
}

/// The linear map of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OutlineMap {
    /// relu, depthwise k x k, pointwise.
    Half {
        /// Rows and columns of the window.
        k: usize,
        /// Distance of its taps.
        dilation: usize,
    },
    /// relu, pointwise.
    Pointwise,
    /// relu, two pointwise products of the even and of the odd pixels, beside one another.
    Factorized,
    /// The largest of 3 x 3.
    MaxPool,
    /// The mean of 3 x 3, without padding.
    AvgPool,
    /// relu, 1x7, then 7x1 convolution.
    Seven,
}

/// A stage: the linear part between two batch norms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutlineStage {
    /// Its linear map.
    pub map: OutlineMap,
    /// Rows and columns of its input.
    pub side: [usize; 2],
    /// Step from one output to the next.
    pub stride: usize,
    /// Channels of its input.
    pub c_in: usize,
    /// Channels of its output.
    pub c_out: usize,
    /// Where its weights begin, one after the other.
    pub weights: usize,
    /// Their lengths.
    pub weight_lens: [usize; 2],
    /// The batch norm behind it, which numbers its output too: branches with the same one share the stage.
    pub norm: usize,
}

/// What a batch norm does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutlineNorm {
    /// Neither scale nor shift.
    Plain,
    /// Scale, then shift.
    Affine {
        /// Where they lie in the weights.
        at: usize,
        /// Where mean and variance lie in the running statistics.
        running: usize,
    },
    /// Changes nothing.
    Identity,
}

/// An operation of an edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutlineBranch {
    /// Its drop-path factors.
    pub path: usize,
    /// Its mixing weight.
    pub alpha: usize,
    /// Where it starts: 0 and 1, then the nodes.
    pub state: usize,
    /// The node it leads to.
    pub node: usize,
    /// What it adds there.
    pub adds: OutlineSummand,
    /// Its stages, at most two.
    pub stages: Vec<OutlineStage>,
}

/// What a branch adds to its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutlineSummand {
    /// Nothing.
    Nothing,
    /// Its state.
    State,
    /// Normal values.
    Noise,
    /// What the batch norm behind its last stage makes.
    Last,
}

impl Outline {
    /// Of a cell.
    ///
    /// # Panics
    /// If the sizes contradict the spec.
    pub fn new(spec: &CellSpec, dims: CellDims) -> Self {
        let plan = Plan::new(spec, dims);
        let branches = plan.branches.iter().map(|b| OutlineBranch {
            path: b.path,
            alpha: b.alpha,
            state: b.state,
            node: b.node,
            adds: match b.summand {
                Summand::Nothing => OutlineSummand::Nothing,
                Summand::State { .. } => OutlineSummand::State,
                Summand::Noise { .. } => OutlineSummand::Noise,
                Summand::Norm(_) => OutlineSummand::Last,
            },
            stages: b.stages.iter().map(stage).collect(),
        });
        Self {
            n: plan.n,
            c: plan.c,
            nodes: plan.nodes,
            side_in: plan.side_in,
            side_out: plan.side_out,
            pre: plan.pre.each_ref().map(stage),
            branches: branches.collect(),
            norms: plan.norms.iter().map(|(kind, c)| (norm(*kind), *c)).collect(),
            n_weights: plan.n_weights,
            n_alphas: plan.n_alphas,
            n_paths: plan.n_paths,
            n_running: plan.n_running,
        }
    }
}

fn stage(placed: &Placed) -> OutlineStage {
    let of = &placed.stage;
    let map = match of.kind {
        StageKind::Half(taps) => {
            let [k, dilation] = taps.sizes();
            OutlineMap::Half { k, dilation }
        }
        StageKind::Pointwise(_) => OutlineMap::Pointwise,
        StageKind::Factorized(_) => OutlineMap::Factorized,
        StageKind::Seven(_) => OutlineMap::Seven,
        StageKind::Pool(pooling) => match pooling.kind() {
            Kind::Max => OutlineMap::MaxPool,
            Kind::Average => OutlineMap::AvgPool,
        },
    };
    OutlineStage {
        map,
        side: [of.win.h, of.win.w],
        stride: of.stride,
        c_in: of.win.c,
        c_out: of.c_out,
        weights: placed.weights,
        weight_lens: of.weight_lens(),
        norm: placed.norm,
    }
}

fn norm(kind: NormKind) -> OutlineNorm {
    match kind {
        NormKind::Plain => OutlineNorm::Plain,
        NormKind::Affine { at, running } => OutlineNorm::Affine { at, running },
        NormKind::Identity => OutlineNorm::Identity,
    }
}

#[cfg(test)]
mod tests {
    use rdarts_space::Op;

    use super::*;

    #[test]
    fn an_outline_has_the_stages_of_the_plan() {
        let edges = vec![vec![Op::MaxPool3x3, Op::SkipConnect, Op::SepConv5x5, Op::DilConv3x3]; 5];
        let spec = CellSpec {
            nodes: 2,
            c: 8,
            c_prev_prev: 4,
            c_prev: 6,
            reduction: true,
            reduction_prev: true,
            edges,
            discrete: None,
        };
        let outline = Outline::new(&spec, CellDims { n: 2, side0: [9, 8], side1: [5, 4] });
        assert_eq!((outline.side_out, outline.norms.len()), ([3, 2], outline.norms.len()));
        assert_eq!(outline.pre.map(|stage| stage.map), [OutlineMap::Factorized, OutlineMap::Pointwise]);
        let maps: Vec<Vec<OutlineMap>> = outline
            .branches
            .iter()
            .filter(|b| (b.node, b.state) == (1, 2))
            .map(|b| b.stages.iter().map(|stage| stage.map).collect())
            .collect();
        let half = |k, dilation| OutlineMap::Half { k, dilation };
        // From a node a skip connection is no stage.
        let expected = [vec![], vec![OutlineMap::MaxPool], vec![half(5, 1), half(5, 1)], vec![half(3, 2)]];
        assert_eq!(maps.len(), 4);
        assert!(expected.iter().all(|of| maps.contains(of)), "{maps:?}");
        // All pools of a state are one stage.
        let pools = outline.branches.iter().filter(|b| b.state == 0 && b.stages.len() == 1);
        let pools: Vec<usize> =
            pools.map(|b| b.stages[0]).filter(|s| s.map == OutlineMap::MaxPool).map(|s| s.norm).collect();
        assert!(pools.len() == 2 && pools[0] == pools[1]);
    }
}
