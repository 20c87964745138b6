//! Which operation of which edge a genotype uses: what turns a supernet into the discrete network.

use crate::genotype::Genotype;
use crate::op::Op;
use crate::space::{CellType, Space};
use crate::topology::Topology;

/// For each edge of a cell type, the index of the chosen operation, or `None` where the edge is dropped.
pub type Selection = Vec<Option<usize>>;

/// The selections of the normal and of the reduction cell that make `genotype` out of `space`.
pub fn selection(space: &Space, genotype: &Genotype) -> Result<(Selection, Selection), Mismatch> {
    Ok((select_cell(space, genotype, CellType::Normal)?, select_cell(space, genotype, CellType::Reduce)?))
}

/// Why a genotype is not one of a space.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// Another number of nodes.
    #[error("the {cell} cell has {given} nodes, but a cell of the space `{space}` has {needed}")]
    Nodes {
        /// The cell type.
        cell: CellType,
        /// Nodes of the genotype.
        given: usize,
        /// The space's name.
        space: String,
        /// Nodes of the space.
        needed: usize,
    },
    /// Cells that are wired otherwise.
    #[error("the genotype is one of the topology {given}, but the space `{space}` has cells of the topology {needed}")]
    Topology {
        /// That of the genotype.
        given: Topology,
        /// The space's name.
        space: String,
        /// That of the space.
        needed: Topology,
    },
    /// An output of some nodes only.
    #[error("`{cell}_concat` must name every node once, because a cell of the space `{space}` outputs all its nodes")]
    Concat {
        /// The cell type.
        cell: CellType,
        /// The space's name.
        space: String,
    },
    /// Two operations on one edge.
    #[error(
        "node {node} of the {cell} cell reads from input {input} twice, but an edge of a space holds one operation"
    )]
    SameInput {
        /// The cell type.
        cell: CellType,
        /// The node.
        node: usize,
        /// The input.
        input: usize,
    },
    /// An input that no edge comes from.
    #[error("node {node} of the {cell} cell reads from input {input}, which does not exist when it is computed")]
    NoEdge {
        /// The cell type.
        cell: CellType,
        /// The node.
        node: usize,
        /// The input.
        input: usize,
    },
    /// An operation that the edge does not offer.
    #[error(
        "`{op}` from input {input} to node {node} of the {cell} cell is not in the space `{space}`, which offers {} there",
        offered.iter().map(|op| op.as_str()).collect::<Vec<_>>().join(", ")
    )]
    NotOffered {
        /// The cell type.
        cell: CellType,
        /// The node.
        node: usize,
        /// The input.
        input: usize,
        /// The operation.
        op: Op,
        /// The space's name.
        space: String,
        /// The operations of the edge.
        offered: Vec<Op>,
    },
    /// `none` as a chosen operation.
    #[error("node {node} of the {cell} cell uses `none`, which is not counted among the architectures of a space")]
    ChosenNone {
        /// The cell type.
        cell: CellType,
        /// The node.
        node: usize,
    },
    /// A space of more architectures than a number of 128 bits can tell.
    #[error("the space `{space}` has more than 2^128 architectures, too many to number them")]
    TooMany {
        /// The space's name.
        space: String,
    },
}

fn select_cell(space: &Space, genotype: &Genotype, cell: CellType) -> Result<Selection, Mismatch> {
    let (topology, nodes) = (space.topology, space.nodes);
    if genotype.topology != topology {
        let space = space.name.clone();
        return Err(Mismatch::Topology { given: genotype.topology, space, needed: topology });
    }
    if !space.cell_types().contains(&cell) {
        return Ok(Selection::new());
    }
    if topology.nodes_of(genotype.cell(cell).len()) != Some(nodes) {
        let space_name = space.name.clone();
        return Err(Mismatch::Nodes { cell, given: genotype.n_nodes(cell), space: space_name, needed: nodes });
    }
    let mut concat = genotype.concat(cell).to_vec();
    concat.sort_unstable();
    if topology == Topology::Darts && !concat.into_iter().eq(2..2 + nodes) {
        return Err(Mismatch::Concat { cell, space: space.name.clone() });
    }
    let mut selection = vec![None; space.n_edges()];
    let entries = (0..nodes).flat_map(|node| genotype.node(cell, node).iter().map(move |entry| (node, *entry)));
    for (node, (op, input)) in entries {
        if input >= topology.n_inputs() + node {
            return Err(Mismatch::NoEdge { cell, node, input });
        }
        let edge = topology.edge_index(node, input);
        let offered = &space.cell(cell)[edge];
        let op_idx = offered.iter().position(|&o| o == op).ok_or_else(|| Mismatch::NotOffered {
            cell,
            node,
            input,
            op,
            space: space.name.clone(),
            offered: offered.clone(),
        })?;
        if selection[edge].replace(op_idx).is_some() {
            return Err(Mismatch::SameInput { cell, node, input });
        }
    }
    Ok(selection)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny(normal: [(Op, usize); 2]) -> Genotype {
        Genotype::new(normal.to_vec(), vec![(Op::MaxPool3x3, 1), (Op::SkipConnect, 0)]).unwrap()
    }

    #[test]
    fn chosen_operations_are_found_on_their_edges() {
        let genotype = tiny([(Op::SepConv3x3, 0), (Op::MaxPool3x3, 1)]);
        let space = Space::builtin("tiny").unwrap();
        assert_eq!(selection(&space, &genotype), Ok((vec![Some(0), Some(2)], vec![Some(1), Some(2)])));

        let text = "Genotype(normal=[('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 2), ('none', 0)], \
            normal_concat=[3, 2], reduce=[('none', 1), ('none', 0), ('none', 1), ('none', 0)], reduce_concat=[2, 3])";
        let s3 = Space { nodes: 2, normal: vec![Space::builtin("s3").unwrap().normal[0].clone(); 5], ..space };
        let s3 = Space { reduce: s3.normal.clone(), ..s3 };
        let (normal, reduce) = selection(&s3, &text.parse().unwrap()).unwrap();
        assert_eq!(normal, [Some(1), Some(2), Some(0), None, Some(1)]);
        assert_eq!(reduce, [Some(0), Some(0), Some(0), Some(0), None]);
    }

    #[test]
    fn a_cell_that_keeps_all_edges_has_an_operation_on_each() {
        let space = Space::builtin("nasbench201").unwrap();
        let text = "|none~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_1x1~1|none~2|";
        let expected: Vec<_> = [0, 3, 4, 1, 2, 0].map(Some).to_vec();
        assert_eq!(selection(&space, &text.parse().unwrap()), Ok((expected, vec![])));
        let rows = [
            (
                Space::builtin("tiny").unwrap(),
                text,
                "the genotype is one of the topology nasbench201, but the space `tiny` has",
            ),
            (space.clone(), "|none~0|", "the normal cell has 1 nodes, but a cell of the space `nasbench201` has 3"),
        ];
        for (space, text, message) in rows {
            let error = selection(&space, &text.parse().unwrap()).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }

    #[test]
    fn a_genotype_of_another_space_is_refused() {
        let space = Space::builtin("tiny").unwrap();
        let fits = tiny([(Op::SepConv3x3, 0), (Op::MaxPool3x3, 1)]);
        let rows = [
            (
                tiny([(Op::Noise, 0), (Op::MaxPool3x3, 1)]),
                "`noise` from input 0 to node 0 of the normal cell is not in the space `tiny`, which offers sep_conv_3x3, \
                 skip_connect, max_pool_3x3 there",
            ),
            (
                tiny([(Op::SkipConnect, 1), (Op::MaxPool3x3, 1)]),
                "node 0 of the normal cell reads from input 1 twice, but an edge of a space holds one operation",
            ),
            (
                Genotype { normal_concat: vec![2, 2], ..fits.clone() },
                "`normal_concat` must name every node once, because a cell of the space `tiny` outputs all its nodes",
            ),
            (
                Genotype { reduce: vec![(Op::SkipConnect, 1); 4], ..fits.clone() },
                "the reduce cell has 2 nodes, but a cell of the space `tiny` has 1",
            ),
            (
                Genotype { reduce: vec![(Op::SkipConnect, 2); 2], ..fits },
                "node 0 of the reduce cell reads from input 2, which does not exist when it is computed",
            ),
        ];
        for (genotype, message) in rows {
            assert_eq!(selection(&space, &genotype).unwrap_err().to_string(), message);
        }
    }
}
