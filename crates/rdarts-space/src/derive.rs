//! From architecture parameters to a genotype: the rule of DARTS (Liu et al. 2019, section 2.4).
//!
//! On every edge p = softmax(alpha) over all its operations, `none` included. An edge is as strong as its
//! largest p of an operation other than `none`. Every node keeps its two strongest incoming edges, the
//! strongest first, each with that operation. Ties go to the lower edge and the lower operation, as in the
//! original code. `noise` is an operation like any other (the paper's S4).
//!
//! Where nodes keep all their edges (NAS-Bench-201), each edge has the operation of its largest p, which may be `none`.

use crate::genotype::Genotype;
use crate::op::Op;
use crate::space::{CellType, Space};
use crate::topology::Topology;

/// The genotype that the alphas of both cell types stand for; they are flat and ragged, in edge order.
///
/// A NaN counts as the weakest of all. An edge that offers only `none`, which [`Space::check`] refuses, is
/// chosen only where a node has no other.
///
/// # Panics
/// If a vector of alphas does not have the length of the space's.
pub fn derive(space: &Space, alphas_normal: &[f32], alphas_reduce: &[f32]) -> Genotype {
    let [normal, reduce] = [(CellType::Normal, alphas_normal), (CellType::Reduce, alphas_reduce)]
        .map(|(cell, alphas)| derive_weighted(space, cell, alphas, &vec![1.0; space.n_edges()]));
    space.genotype(normal, reduce)
}

/// The same where edges have parameters of their own (PC-DARTS, Xu et al. 2020): an edge is as strong as the softmax of its node's
/// betas there times its largest p. Both `betas` are in edge order.
///
/// # Panics
/// If a vector does not have the length of the space's.
pub fn derive_with_edges(space: &Space, alphas: [&[f32]; 2], betas: [&[f32]; 2]) -> Genotype {
    let [normal, reduce] = CellType::ALL.map(|cell| {
        let betas = betas[cell as usize];
        assert_eq!(betas.len(), space.n_edges(), "betas of the {cell} cell of the space `{}`", space.name);
        let topology = space.topology;
        let of_node = |node: usize| softmax(&betas[topology.edge_index(node, 0)..][..node + topology.n_inputs()]);
        let edges: Vec<f64> = (0..space.nodes).flat_map(of_node).collect();
        derive_weighted(space, cell, alphas[cell as usize], &edges)
    });
    space.genotype(normal, reduce)
}

impl Space {
    /// The genotype of such cells, which give what all cells of the space give.
    pub fn genotype(&self, normal: Vec<(Op, usize)>, reduce: Vec<(Op, usize)>) -> Genotype {
        let topology = self.topology;
        let concat: Vec<usize> = match topology {
            Topology::Darts => (2..2 + self.nodes).collect(),
            Topology::NasBench201 => vec![self.nodes],
        };
        let reduce_concat = if topology.has_reduction_cells() { concat.clone() } else { Vec::new() };
        Genotype { normal, normal_concat: concat, reduce, reduce_concat, topology }
    }
}

/// `edges` has a factor for each edge.
fn derive_weighted(space: &Space, cell: CellType, alphas: &[f32], edges: &[f64]) -> Vec<(Op, usize)> {
    assert_eq!(alphas.len(), space.n_alphas(cell), "alphas of the {cell} cell of the space `{}`", space.name);
    if cell == CellType::Reduce && !space.topology.has_reduction_cells() {
        return Vec::new();
    }
    let (mut rest, topology) = (alphas, space.topology);
    let best: Vec<(f64, Op)> = space
        .cell(cell)
        .iter()
        .map(|ops| {
            let (alpha, tail) = rest.split_at(ops.len());
            rest = tail;
            strongest(ops, alpha, topology.may_choose_none())
        })
        .collect();
    (0..space.nodes)
        .flat_map(|node| {
            let mut incoming: Vec<(f64, Op, usize)> = (0..node + topology.n_inputs())
                .map(|input| {
                    let edge = topology.edge_index(node, input);
                    let (p, op) = best[edge];
                    (p * edges[edge], op, input)
                })
                .collect();
            if topology == Topology::Darts {
                // A stable sort leaves equally strong edges in edge order.
                incoming.sort_by(|a, b| b.0.total_cmp(&a.0));
            }
            incoming.into_iter().take(topology.kept(node)).map(|(_, op, input)| (op, input))
        })
        .collect()
}

fn softmax(values: &[f32]) -> Vec<f64> {
    let max = values.iter().fold(f64::NEG_INFINITY, |max, &v| max.max(f64::from(v)));
    let exponentials: Vec<f64> = values.iter().map(|&v| (f64::from(v) - max).exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials.into_iter().map(|e| e / sum).collect()
}

/// The largest softmax weight of an edge, other than that of `none` unless it may be chosen, and its operation.
pub(crate) fn strongest(ops: &[Op], alpha: &[f32], may_be_none: bool) -> (f64, Op) {
    let max = alpha.iter().fold(f64::NEG_INFINITY, |max, &a| max.max(f64::from(a)));
    let weights: Vec<f64> =
        alpha.iter().map(|&a| if f64::from(a) == max { 1.0 } else { (f64::from(a) - max).exp() }).collect();
    let sum: f64 = weights.iter().filter(|weight| !weight.is_nan()).sum();
    let mut best: Option<(f64, Op)> = None;
    for (&op, weight) in ops.iter().zip(weights) {
        // Below every softmax weight, but above an edge of only `none`.
        let p = if weight.is_nan() { -1.0 } else { weight / sum };
        if (may_be_none || op != Op::None) && best.is_none_or(|(best_p, _)| p > best_p) {
            best = Some((p, op));
        }
    }
    best.unwrap_or((f64::NEG_INFINITY, Op::None))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two nodes, the given operations on all five edges.
    fn space(ops: &[Op]) -> Space {
        Space::new("test", 2, vec![ops.to_vec(); 5], vec![ops.to_vec(); 5]).unwrap()
    }

    fn normal(space: &Space, alphas: &[f32]) -> Vec<(Op, usize)> {
        derive(space, alphas, &vec![0.0; space.n_alphas(CellType::Reduce)]).normal
    }

    #[test]
    fn each_node_keeps_its_two_strongest_edges_strongest_first() {
        let s = space(&[Op::SkipConnect, Op::SepConv3x3]);
        let alphas = [0.0, 0.1, 0.5, 0.0, /* node 1 */ 0.0, 0.2, 0.1, 0.0, 0.0, 0.3];
        let expected = [(Op::SkipConnect, 1), (Op::SepConv3x3, 0), (Op::SepConv3x3, 2), (Op::SepConv3x3, 0)];
        assert_eq!(normal(&s, &alphas), expected);
        let genotype = derive(&s, &alphas, &alphas);
        assert_eq!(genotype.reduce, expected);
        assert_eq!(genotype.normal_concat, [2, 3]);
        assert_eq!(genotype.check(), Ok(()));
    }

    #[test]
    fn where_all_edges_are_kept_each_has_its_largest_operation() {
        let space = Space::builtin("nasbench201").unwrap();
        let mut alphas = [0.0; 30];
        for (edge, op) in [3, 1, 0, 2, 4].into_iter().enumerate() {
            alphas[5 * edge + op] = 0.5;
        }
        let found = derive(&space, &alphas, &[]);
        // The last edge ties, and the first operation wins.
        let expected = "|nor_conv_3x3~0|+|skip_connect~0|none~1|+|nor_conv_1x1~0|avg_pool_3x3~1|none~2|";
        assert_eq!((found.to_string().as_str(), found.check()), (expected, Ok(())));
    }

    #[test]
    fn the_weight_of_an_edge_can_make_a_weaker_operation_win() {
        let s = space(&[Op::SkipConnect, Op::SepConv3x3]);
        // Node 1: edge 2 has the largest alpha and the smallest beta.
        let alphas = [0.0, 0.1, 0.5, 0.0, /* node 1 */ 0.0, 3.0, 0.1, 0.0, 0.0, 0.3];
        let betas = [0.0, 0.0, -2.0, 0.5, 0.0];
        let found = derive_with_edges(&s, [&alphas, &alphas], [&betas, &[0.0; 5]]);
        let node_0 = [(Op::SkipConnect, 1), (Op::SepConv3x3, 0)];
        // softmax(-2, 0.5, 0) = 0.049, 0.593, 0.359 times 0.953, 0.525, 0.574.
        assert_eq!(found.normal, [node_0[0], node_0[1], (Op::SkipConnect, 1), (Op::SepConv3x3, 2)]);
        // Equal betas change nothing.
        assert_eq!(found.reduce, derive(&s, &alphas, &alphas).reduce);
    }

    #[test]
    fn none_is_never_chosen_but_weakens_its_edge() {
        let s = space(&[Op::None, Op::SkipConnect, Op::SepConv3x3]);
        let mut alphas = [0.0; 15];
        // Edge 3 (node 1, input 1) has the largest alpha of all, but `none` takes most of its softmax.
        alphas[9..12].copy_from_slice(&[9.0, 5.0, 0.0]);
        alphas[14] = 0.1;
        let expected = [(Op::SkipConnect, 0), (Op::SkipConnect, 1), (Op::SepConv3x3, 2), (Op::SkipConnect, 0)];
        assert_eq!(normal(&s, &alphas), expected);
    }

    #[test]
    fn ties_go_to_the_lower_edge_and_operation() {
        let s = space(&[Op::Noise, Op::SepConv3x3]);
        assert_eq!(normal(&s, &[0.25; 10]), [(Op::Noise, 0), (Op::Noise, 1), (Op::Noise, 0), (Op::Noise, 1)]);
    }

    #[test]
    fn ragged_edges_are_compared_by_their_softmax() {
        let edges = vec![vec![Op::SkipConnect], vec![Op::Noise, Op::SepConv3x3]];
        let s = Space::new("ragged", 1, edges.clone(), edges).unwrap();
        // The lone operation has weight 1, whatever its alpha.
        assert_eq!(normal(&s, &[-50.0, 3.0, 2.0]), [(Op::SkipConnect, 0), (Op::Noise, 1)]);
    }

    #[test]
    fn extreme_alphas_still_give_a_sound_genotype() {
        let s = space(&[Op::SkipConnect, Op::SepConv3x3]);
        let expected = [(Op::SepConv3x3, 0), (Op::SkipConnect, 1), (Op::SepConv3x3, 2), (Op::SkipConnect, 1)];
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        assert_eq!(normal(&s, &[-3e38, 3e38, 0.5, 0.0, nan, nan, 1.0, 0.0, -inf, inf]), expected);
        assert_eq!(derive(&s, &[nan; 10], &[-inf; 10]).check(), Ok(()));
    }

    #[test]
    fn an_edge_of_only_none_is_chosen_where_nothing_else_is() {
        let mut s = space(&[Op::SkipConnect]);
        s.normal[2] = vec![Op::None];
        assert_eq!(normal(&s, &[0.0; 5])[2..], [(Op::SkipConnect, 1), (Op::SkipConnect, 2)]);
        s.normal[3] = vec![Op::None];
        assert_eq!(normal(&s, &[0.0; 5])[2..], [(Op::SkipConnect, 2), (Op::None, 0)]);
    }
}
