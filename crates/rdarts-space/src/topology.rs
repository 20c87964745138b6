//! How the states of a cell are connected.
//!
//! A state is an input of the cell or a node; node j may read all states before it. Edges are numbered node by node, and
//! those of a node in the order of the states. With i inputs node j has i + j edges:
//!
//! ```text
//! edges before node j = i j + j (j - 1) / 2
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::op::Op;

/// How the cells of a space are wired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Topology {
    /// Two inputs, the cells before; a node keeps two of its edges, and all nodes make the output. Some cells are
    /// reduction cells, with operations of their own (DARTS, Liu et al. 2019).
    #[default]
    #[serde(rename = "darts")]
    Darts,
    /// One input, the cell before; a node keeps all its edges, and the last node is the output. Residual blocks reduce
    /// (NAS-Bench-201, Dong and Yang 2020, section 2.1).
    #[serde(rename = "nasbench201")]
    NasBench201,
}

impl Topology {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Darts, Self::NasBench201];

    /// `darts` or `nasbench201`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Darts => "darts",
            Self::NasBench201 => "nasbench201",
        }
    }

    /// States that a cell reads.
    pub const fn n_inputs(self) -> usize {
        match self {
            Self::Darts => 2,
            Self::NasBench201 => 1,
        }
    }

    /// Edges of a cell of so many nodes.
    pub const fn n_edges(self, nodes: usize) -> usize {
        self.n_inputs() * nodes + nodes * nodes.saturating_sub(1) / 2
    }

    /// The number of the edge from `input` to `node`; the reverse of [`Topology::edges`].
    pub const fn edge_index(self, node: usize, input: usize) -> usize {
        self.n_edges(node) + input
    }

    /// The edges of a cell as (edge, node, input), in edge order.
    pub fn edges(self, nodes: usize) -> impl Iterator<Item = (usize, usize, usize)> {
        (0..nodes)
            .flat_map(move |node| (0..node + self.n_inputs()).map(move |input| (node, input)))
            .enumerate()
            .map(|(edge, (node, input))| (edge, node, input))
    }

    /// How many edges a node keeps.
    pub const fn kept(self, node: usize) -> usize {
        match self {
            Self::Darts => 2,
            Self::NasBench201 => node + 1,
        }
    }

    /// Nodes of a cell that keeps so many edges, if it is a number of whole nodes.
    pub fn nodes_of(self, kept: usize) -> Option<usize> {
        let mut left = kept;
        for node in 0.. {
            if left == 0 {
                return Some(node);
            }
            left = left.checked_sub(self.kept(node))?;
        }
        None
    }

    /// Where the edges that a node keeps lie among those of its cell.
    pub fn kept_of(self, node: usize) -> std::ops::Range<usize> {
        let before: usize = (0..node).map(|earlier| self.kept(earlier)).sum();
        before..before + self.kept(node)
    }

    /// Whether there are reduction cells with operations of their own.
    pub const fn has_reduction_cells(self) -> bool {
        matches!(self, Self::Darts)
    }

    /// Whether an edge that gives nothing may be chosen: where no edge is dropped.
    pub const fn may_choose_none(self) -> bool {
        matches!(self, Self::NasBench201)
    }

    /// Whether an edge may hold `op`.
    pub const fn holds(self, op: Op) -> bool {
        match self {
            Self::Darts => !matches!(op, Op::NorConv1x1 | Op::NorConv3x3),
            Self::NasBench201 => {
                matches!(op, Op::None | Op::SkipConnect | Op::NorConv1x1 | Op::NorConv3x3 | Op::AvgPool3x3)
            }
        }
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// For what is written only where it is not the usual.
pub(crate) fn is_usual(topology: &Topology) -> bool {
    *topology == Topology::Darts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_numbered_node_by_node() {
        let of = |topology: Topology, nodes| topology.edges(nodes).collect::<Vec<_>>();
        assert_eq!(of(Topology::Darts, 2), [(0, 0, 0), (1, 0, 1), (2, 1, 0), (3, 1, 1), (4, 1, 2)]);
        let expected = [(0, 0, 0), (1, 1, 0), (2, 1, 1), (3, 2, 0), (4, 2, 1), (5, 2, 2)];
        assert_eq!(of(Topology::NasBench201, 3), expected);
        for topology in Topology::ALL {
            for nodes in 0..=crate::MAX_NODES {
                assert_eq!(topology.edges(nodes).count(), topology.n_edges(nodes));
                assert!(topology.edges(nodes).all(|(e, node, input)| e == topology.edge_index(node, input)));
                let kept = (0..nodes).map(|node| topology.kept(node)).sum();
                assert_eq!(topology.nodes_of(kept), Some(nodes));
                assert_eq!(topology.kept_of(nodes).start, kept);
            }
        }
        assert_eq!((Topology::Darts.nodes_of(3), Topology::NasBench201.nodes_of(5)), (None, None));
    }
}
