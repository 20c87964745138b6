//! Search spaces: which operations each edge of the two cell types offers.
//!
//! The built-in spaces are the paper's (Zela et al. 2020, section 3 and figure 9): S1 with two operations per
//! edge, chosen edge by edge; S2 {skip, sep 3x3}; S3 {none, skip, sep 3x3}; S4 {noise, sep 3x3}; the space of
//! 81 architectures with one node (the paper's S5, here `tiny`); and the DARTS space (Liu et al. 2019) with
//! and without `none`. Any other space can be written as TOML, see [`Space::from_toml`].
//!
//! The order of the operations on an edge is the order of the alphas. The alphas of a cell type are one flat
//! ragged vector: edge 0's, then edge 1's, and so on; [`Space::offset`] says where an edge begins.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::op::{Op, UnknownOp};
use crate::topology::{Topology, is_usual};
use rdarts_text::{did_you_mean, nearest, quote};

/// The most intermediate nodes that a cell may have.
pub const MAX_NODES: usize = 12;

/// The two kinds of cell, which have their own alphas. Some topologies have normal cells alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CellType {
    /// Keeps the resolution.
    Normal,
    /// Halves the resolution: the edges from the two inputs have stride 2.
    Reduce,
}

impl CellType {
    /// Both cell types.
    pub const ALL: [CellType; 2] = [CellType::Normal, CellType::Reduce];

    /// `normal` or `reduce`.
    pub const fn as_str(self) -> &'static str {
        match self {
            CellType::Normal => "normal",
            CellType::Reduce => "reduce",
        }
    }
}

impl fmt::Display for CellType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A search space. Whatever builds one by hand should call [`Space::check`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Space {
    /// What the space is called in files and tables.
    pub name: String,
    /// Intermediate nodes of a cell.
    pub nodes: usize,
    /// The operations of each edge of a normal cell, in edge order.
    pub normal: Vec<Vec<Op>>,
    /// The operations of each edge of a reduction cell, in edge order; none where the topology has no such cells.
    pub reduce: Vec<Vec<Op>>,
    /// How the cells are wired.
    #[serde(skip_serializing_if = "is_usual")]
    pub topology: Topology,
}

impl Space {
    /// The built-in spaces.
    pub const NAMES: [&'static str; 8] = ["s1", "s2", "s3", "s4", "darts", "darts-no-none", "tiny", "nasbench201"];

    /// A checked space of cells as in DARTS.
    pub fn new(name: &str, nodes: usize, normal: Vec<Vec<Op>>, reduce: Vec<Vec<Op>>) -> Result<Self, SpaceFault> {
        Self::wired(name, Topology::Darts, nodes, normal, reduce)
    }

    /// A checked space.
    pub fn wired(
        name: &str,
        topology: Topology,
        nodes: usize,
        normal: Vec<Vec<Op>>,
        reduce: Vec<Vec<Op>>,
    ) -> Result<Self, SpaceFault> {
        let space = Self { name: name.to_owned(), nodes, normal, reduce, topology };
        space.check()?;
        Ok(space)
    }

    /// The built-in space called `name`.
    pub fn builtin(name: &str) -> Result<Self, SpaceError> {
        let same = |nodes, ops: &[Op]| {
            let cell = vec![ops.to_vec(); Topology::Darts.n_edges(nodes)];
            (nodes, cell.clone(), cell)
        };
        let (nodes, normal, reduce) = match name {
            "s1" => (4, S1.iter().map(|row| row.0.to_vec()).collect(), S1.iter().map(|row| row.1.to_vec()).collect()),
            "s2" => same(4, &[Op::SkipConnect, Op::SepConv3x3]),
            "s3" => same(4, &[Op::None, Op::SkipConnect, Op::SepConv3x3]),
            "s4" => same(4, &[Op::Noise, Op::SepConv3x3]),
            "darts" => same(4, &DARTS),
            "darts-no-none" => same(4, &DARTS[1..]),
            "tiny" => same(1, &[Op::SepConv3x3, Op::SkipConnect, Op::MaxPool3x3]),
            "nasbench201" => {
                let topology = Topology::NasBench201;
                let normal = vec![NAS_BENCH_201.to_vec(); topology.n_edges(3)];
                return Ok(Self { name: name.to_owned(), nodes: 3, normal, reduce: Vec::new(), topology });
            }
            _ => return Err(SpaceError::UnknownName { name: name.to_owned(), nearest: nearest(name, &Self::NAMES) }),
        };
        Ok(Self { name: name.to_owned(), nodes, normal, reduce, topology: Topology::Darts })
    }

    /// Whether every edge is there and has at least one operation other than `none`, none of them twice.
    pub fn check(&self) -> Result<(), SpaceFault> {
        if self.name.is_empty() {
            return Err(SpaceFault::NoName);
        }
        check_nodes(self.nodes)?;
        CellType::ALL.into_iter().try_for_each(|cell| check_cell(cell, self.topology, self.nodes, self.cell(cell)))
    }

    /// The types of cells that have alphas.
    pub fn cell_types(&self) -> &'static [CellType] {
        if self.topology.has_reduction_cells() { &CellType::ALL } else { &[CellType::Normal] }
    }

    /// The operations of each edge of a cell type.
    pub fn cell(&self, cell: CellType) -> &[Vec<Op>] {
        match cell {
            CellType::Normal => &self.normal,
            CellType::Reduce => &self.reduce,
        }
    }

    /// Edges of a cell.
    pub fn n_edges(&self) -> usize {
        self.topology.n_edges(self.nodes)
    }

    /// Its edges as (edge, node, input), in edge order.
    pub fn edges(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        self.topology.edges(self.nodes)
    }

    /// Decisions that make a cell out of the supernet's one by one: one for the operation of each edge, one for the inputs of
    /// each node that has more edges than it keeps.
    pub fn n_decisions(&self) -> usize {
        let topology = self.topology;
        let drops = |node: &usize| node + topology.n_inputs() > topology.kept(*node);
        self.n_edges() + (0..self.nodes).filter(drops).count()
    }

    /// Alphas of a cell type: the operations of all its edges.
    pub fn n_alphas(&self, cell: CellType) -> usize {
        self.cell(cell).iter().map(Vec::len).sum()
    }

    /// Where the alphas of `edge` begin in the flat vector of a cell type.
    pub fn offset(&self, cell: CellType, edge: usize) -> usize {
        self.cell(cell)[..edge].iter().map(Vec::len).sum()
    }
}

/// What is wrong with a space.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpaceFault {
    /// The name is empty.
    #[error("`name` is empty, but a space needs a name")]
    NoName,
    /// A cell without nodes.
    #[error("`nodes` is 0, but a cell needs at least 1 node")]
    NoNodes,
    /// More nodes than [`MAX_NODES`].
    #[error("`nodes` is {given}, but a cell has at most {MAX_NODES} nodes")]
    TooManyNodes {
        /// The number as given.
        given: String,
    },
    /// Too few or too many edges for the number of nodes.
    #[error("with `nodes = {nodes}` the {cell} cell needs {needed} edges, but it lists {given}")]
    EdgeCount {
        /// The cell type.
        cell: CellType,
        /// Nodes of the space.
        nodes: usize,
        /// Edges of a cell with that many nodes.
        needed: usize,
        /// Edges as given.
        given: usize,
    },
    /// An edge without operations.
    #[error("edge {edge} of the {cell} cell has no operation, but every edge needs at least one")]
    EmptyEdge {
        /// The cell type.
        cell: CellType,
        /// The edge.
        edge: usize,
    },
    /// An edge that can only be absent.
    #[error("edge {edge} of the {cell} cell has only `none`, but every edge needs an operation other than `none`")]
    OnlyNone {
        /// The cell type.
        cell: CellType,
        /// The edge.
        edge: usize,
    },
    /// An operation twice on one edge.
    #[error("edge {edge} of the {cell} cell lists `{op}` twice, but each operation may be on an edge once")]
    DuplicateOp {
        /// The cell type.
        cell: CellType,
        /// The edge.
        edge: usize,
        /// The operation.
        op: Op,
    },
    /// An operation of other cells.
    #[error(
        "edge {edge} of the {cell} cell lists `{op}`, but a cell of the topology {topology} may have {}",
        Op::ALL.into_iter().filter(|op| topology.holds(*op)).map(Op::as_str).collect::<Vec<_>>().join(", ")
    )]
    OtherTopology {
        /// The cell type.
        cell: CellType,
        /// The edge.
        edge: usize,
        /// The operation.
        op: Op,
        /// How the cells of the space are wired.
        topology: Topology,
    },
    /// Reduction cells where there are none.
    #[error("the topology {topology} has no reduction cells, so the table [reduce] must go")]
    NoReduction {
        /// How the cells of the space are wired.
        topology: Topology,
    },
    /// A name that is no topology's.
    #[error(
        "unknown topology {}{}, and all are {}",
        quote(name),
        did_you_mean(*nearest),
        Topology::ALL.map(Topology::as_str).join(", ")
    )]
    UnknownTopology {
        /// The name as given.
        name: String,
        /// The topology with the nearest name, where one is near.
        nearest: Option<&'static str>,
    },
    /// A name that is no operation's.
    #[error(transparent)]
    UnknownOp(#[from] UnknownOp),
    /// A key that has no meaning.
    #[error("unknown key {}{}, and the keys here are {}", quote(key), did_you_mean(*nearest), known.join(", "))]
    UnknownKey {
        /// The key as given.
        key: String,
        /// The known key that is nearest, where one is near.
        nearest: Option<&'static str>,
        /// The known keys at this place.
        known: &'static [&'static str],
    },
    /// A key that must be there.
    #[error("{key} is missing")]
    MissingKey {
        /// The key, and the table it belongs to.
        key: &'static str,
    },
    /// Both ways of giving the operations at once.
    #[error("`ops` at the top already gives every edge, so the table [{cell}] must go, or `ops` must")]
    OpsTwice {
        /// The table that is there too.
        cell: CellType,
    },
    /// A value of another type.
    #[error("`{key}` must be {expected}, not {given}")]
    WrongType {
        /// The key.
        key: &'static str,
        /// What the value should be.
        expected: &'static str,
        /// The type of the value as given.
        given: &'static str,
    },
    /// The text is no TOML.
    #[error("the text is not valid TOML: {message}")]
    Syntax {
        /// What the TOML reader says.
        message: String,
    },
}

/// Why there is no such space.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpaceError {
    /// No built-in space has this name.
    #[error(
        "unknown search space {}{}, and the built-in ones are {}",
        quote(name),
        did_you_mean(*nearest),
        Space::NAMES.join(", ")
    )]
    UnknownName {
        /// The name as given.
        name: String,
        /// The built-in space with the nearest name, where one is near.
        nearest: Option<&'static str>,
    },
    /// A file's text is not a space.
    #[error("{file}:{line}: {fault}")]
    InFile {
        /// The file, as the caller calls it.
        file: String,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong there.
        fault: SpaceFault,
    },
}

/// The bounds on the number of nodes.
pub(crate) fn check_nodes(nodes: usize) -> Result<(), SpaceFault> {
    match nodes {
        0 => Err(SpaceFault::NoNodes),
        1..=MAX_NODES => Ok(()),
        _ => Err(SpaceFault::TooManyNodes { given: nodes.to_string() }),
    }
}

/// The rules for the edges of one cell type.
pub(crate) fn check_cell(
    cell: CellType,
    topology: Topology,
    nodes: usize,
    edges: &[Vec<Op>],
) -> Result<(), SpaceFault> {
    if cell == CellType::Reduce && !topology.has_reduction_cells() {
        return if edges.is_empty() { Ok(()) } else { Err(SpaceFault::NoReduction { topology }) };
    }
    let needed = topology.n_edges(nodes);
    if edges.len() != needed {
        return Err(SpaceFault::EdgeCount { cell, nodes, needed, given: edges.len() });
    }
    for (edge, ops) in edges.iter().enumerate() {
        if ops.is_empty() {
            return Err(SpaceFault::EmptyEdge { cell, edge });
        }
        if let Some((_, &op)) = ops.iter().enumerate().find(|&(i, op)| ops[..i].contains(op)) {
            return Err(SpaceFault::DuplicateOp { cell, edge, op });
        }
        if ops.iter().all(|&op| op == Op::None) {
            return Err(SpaceFault::OnlyNone { cell, edge });
        }
        if let Some(&op) = ops.iter().find(|op| !topology.holds(**op)) {
            return Err(SpaceFault::OtherTopology { cell, edge, op, topology });
        }
    }
    Ok(())
}

/// The fields of a space as read, before the check.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    name: String,
    nodes: usize,
    normal: Vec<Vec<Op>>,
    reduce: Vec<Vec<Op>>,
    #[serde(default)]
    topology: Topology,
}

impl TryFrom<Unchecked> for Space {
    type Error = SpaceFault;

    fn try_from(raw: Unchecked) -> Result<Self, SpaceFault> {
        let Unchecked { name, nodes, normal, reduce, topology } = raw;
        let space = Self { name, nodes, normal, reduce, topology };
        space.check().map(|()| space)
    }
}

/// The DARTS space's operations, in the order of its alphas.
const DARTS: [Op; 8] = [
    Op::None,
    Op::MaxPool3x3,
    Op::AvgPool3x3,
    Op::SkipConnect,
    Op::SepConv3x3,
    Op::SepConv5x5,
    Op::DilConv3x3,
    Op::DilConv5x5,
];

/// The operations of NAS-Bench-201, in the order of its alphas.
const NAS_BENCH_201: [Op; 5] = [Op::None, Op::SkipConnect, Op::NorConv1x1, Op::NorConv3x3, Op::AvgPool3x3];

/// S1 edge by edge (paper figure 9): the operations of the normal cell and of the reduction cell.
const S1: [([Op; 2], [Op; 2]); 14] = [
    ([Op::SkipConnect, Op::DilConv3x3], [Op::MaxPool3x3, Op::AvgPool3x3]),
    ([Op::SkipConnect, Op::DilConv5x5], [Op::MaxPool3x3, Op::DilConv3x3]),
    ([Op::SkipConnect, Op::DilConv5x5], [Op::MaxPool3x3, Op::AvgPool3x3]),
    ([Op::SkipConnect, Op::SepConv3x3], [Op::MaxPool3x3, Op::AvgPool3x3]),
    ([Op::SkipConnect, Op::DilConv3x3], [Op::SkipConnect, Op::DilConv5x5]),
    ([Op::MaxPool3x3, Op::SkipConnect], [Op::MaxPool3x3, Op::AvgPool3x3]),
    ([Op::SkipConnect, Op::SepConv3x3], [Op::MaxPool3x3, Op::SepConv3x3]),
    ([Op::SkipConnect, Op::SepConv3x3], [Op::SkipConnect, Op::DilConv3x3]),
    ([Op::SkipConnect, Op::DilConv3x3], [Op::SkipConnect, Op::DilConv5x5]),
    ([Op::SkipConnect, Op::SepConv3x3], [Op::MaxPool3x3, Op::AvgPool3x3]),
    ([Op::MaxPool3x3, Op::SkipConnect], [Op::MaxPool3x3, Op::AvgPool3x3]),
    ([Op::SkipConnect, Op::DilConv3x3], [Op::SkipConnect, Op::DilConv5x5]),
    ([Op::DilConv3x3, Op::DilConv5x5], [Op::SkipConnect, Op::DilConv5x5]),
    ([Op::DilConv3x3, Op::DilConv5x5], [Op::SkipConnect, Op::DilConv5x5]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s1_is_the_table_of_the_paper() {
        let normal = "skip_connect dil_conv_3x3, skip_connect dil_conv_5x5, skip_connect dil_conv_5x5, \
             skip_connect sep_conv_3x3, skip_connect dil_conv_3x3, max_pool_3x3 skip_connect, \
             skip_connect sep_conv_3x3, skip_connect sep_conv_3x3, skip_connect dil_conv_3x3, \
             skip_connect sep_conv_3x3, max_pool_3x3 skip_connect, skip_connect dil_conv_3x3, \
             dil_conv_3x3 dil_conv_5x5, dil_conv_3x3 dil_conv_5x5";
        let reduce = "max_pool_3x3 avg_pool_3x3, max_pool_3x3 dil_conv_3x3, max_pool_3x3 avg_pool_3x3, \
             max_pool_3x3 avg_pool_3x3, skip_connect dil_conv_5x5, max_pool_3x3 avg_pool_3x3, \
             max_pool_3x3 sep_conv_3x3, skip_connect dil_conv_3x3, skip_connect dil_conv_5x5, \
             max_pool_3x3 avg_pool_3x3, max_pool_3x3 avg_pool_3x3, skip_connect dil_conv_5x5, \
             skip_connect dil_conv_5x5, skip_connect dil_conv_5x5";
        let table = |text: &str| -> Vec<Vec<Op>> {
            text.split(", ").map(|edge| edge.split(' ').map(|op| op.parse().unwrap()).collect()).collect()
        };
        let s1 = Space::builtin("s1").unwrap();
        assert_eq!(s1.normal, table(normal));
        assert_eq!(s1.reduce, table(reduce));
        assert_eq!((s1.nodes, s1.n_alphas(CellType::Normal), s1.n_alphas(CellType::Reduce)), (4, 28, 28));
    }

    #[test]
    fn every_built_in_space_is_sound_and_has_the_known_size() {
        let sizes = [28, 28, 42, 28, 112, 98, 6, 30];
        for (name, size) in Space::NAMES.into_iter().zip(sizes) {
            let space = Space::builtin(name).unwrap();
            assert_eq!(space.check(), Ok(()));
            assert_eq!(space.name, name);
            assert!(space.cell_types().iter().all(|cell| space.n_alphas(*cell) == size), "{name}");
        }
        let ops = |name| Space::builtin(name).unwrap().normal[0].iter().map(|op| op.as_str()).collect::<Vec<_>>();
        assert_eq!(ops("s3"), ["none", "skip_connect", "sep_conv_3x3"]);
        assert_eq!(ops("s4"), ["noise", "sep_conv_3x3"]);
        assert_eq!(ops("tiny"), ["sep_conv_3x3", "skip_connect", "max_pool_3x3"]);
        assert_eq!(ops("darts").join(" "), format!("none {}", ops("darts-no-none").join(" ")));
    }

    #[test]
    fn offsets_follow_ragged_edges() {
        let mut space = Space::builtin("tiny").unwrap();
        space.normal = vec![vec![Op::SkipConnect], vec![Op::None, Op::Noise]];
        assert_eq!([0, 1, 2].map(|edge| space.offset(CellType::Normal, edge)), [0, 1, 3]);
        assert_eq!(space.offset(CellType::Reduce, 1), 3);
    }

    #[test]
    fn an_unknown_space_is_refused_with_the_nearest_name() {
        let message = Space::builtin("dart").unwrap_err().to_string();
        assert_eq!(
            message,
            "unknown search space `dart`, the nearest known one is `darts`, and the built-in ones are s1, s2, s3, s4, \
             darts, darts-no-none, tiny, nasbench201"
        );
    }

    #[test]
    fn json_of_an_unsound_space_is_refused() {
        let space = Space::builtin("tiny").unwrap();
        let json = serde_json::to_string(&space).unwrap();
        assert_eq!(serde_json::from_str::<Space>(&json).unwrap(), space);
        let error = serde_json::from_str::<Space>(&json.replace("\"nodes\":1", "\"nodes\":2")).unwrap_err();
        assert!(
            error.to_string().contains("with `nodes = 2` the normal cell needs 5 edges, but it lists 2"),
            "{error}"
        );
    }
}
