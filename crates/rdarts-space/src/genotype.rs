//! One architecture: the incoming operations of every node, two in the two types of cells of DARTS.
//!
//! Users know the notation of the DARTS code, which [`Genotype`] reads ([`str::parse`]) and writes
//! ([`ToString`]):
//!
//! ```text
//! Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1), ...], normal_concat=range(2, 6),
//!          reduce=[('max_pool_3x3', 1), ('sep_conv_3x3', 0), ...], reduce_concat=range(2, 6))
//! ```
//!
//! Entries 2j and 2j + 1 are the operations into node j, each with the input it reads: 0 and 1 are the cell's
//! inputs, 2 + i is node i. The cell's output is the concatenation of the listed nodes. In JSON a genotype is
//! `{"normal": [["sep_conv_3x3", 0], ...], "normal_concat": [2, 3, 4, 5], ...}`. [`Genotype::read`] takes both, and
//! the other forms in which people keep genotypes. All forms are checked alike. A network without reduction cells
//! has `reduce=None`, which is an empty list here.
//!
//! A cell of NAS-Bench-201 is written as there, node after node, each with an operation from every state before it, where
//! state 0 is the cell's input:
//!
//! ```text
//! |nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|
//! ```
//!
//! In JSON it has `"topology": "nasbench201"`, and the last state as its output.
//!
//! Not here: whether a genotype belongs to a space, which is [`crate::selection`].

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::op::{Op, UnknownOp};
use crate::space::CellType;
use crate::topology::{Topology, is_usual};
use rdarts_text::{did_you_mean, quote};

/// One architecture. Whatever builds one by hand should call [`Genotype::check`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Genotype {
    /// The operations of a normal cell with their inputs, node by node: two each in a cell of DARTS.
    pub normal: Vec<(Op, usize)>,
    /// The states that make up a normal cell's output: 2 + j for node j.
    pub normal_concat: Vec<usize>,
    /// The operations of a reduction cell with their inputs, two per node; empty where there is no reduction cell.
    pub reduce: Vec<(Op, usize)>,
    /// The states that make up a reduction cell's output.
    pub reduce_concat: Vec<usize>,
    /// How the cells are wired.
    #[serde(skip_serializing_if = "is_usual")]
    pub topology: Topology,
}

impl Genotype {
    /// A genotype whose cells concatenate all their nodes.
    pub fn new(normal: Vec<(Op, usize)>, reduce: Vec<(Op, usize)>) -> Result<Self, GenotypeFault> {
        let all_nodes = |ops: &[(Op, usize)]| (2..2 + ops.len() / 2).collect();
        let (normal_concat, reduce_concat) = (all_nodes(&normal), all_nodes(&reduce));
        let genotype = Self { normal, normal_concat, reduce, reduce_concat, topology: Topology::Darts };
        genotype.check()?;
        Ok(genotype)
    }

    /// The cell of NAS-Bench-201 with these operations, in the order of its edges.
    pub fn nas_bench_201(ops: &[Op]) -> Result<Self, GenotypeFault> {
        let topology = Topology::NasBench201;
        let nodes = topology.nodes_of(ops.len()).ok_or(GenotypeFault::PartOfNode { given: ops.len() })?;
        let normal = ops.iter().zip(topology.edges(nodes)).map(|(op, (_, _, input))| (*op, input)).collect();
        let genotype =
            Self { normal, normal_concat: vec![nodes], reduce: Vec::new(), reduce_concat: Vec::new(), topology };
        genotype.check().map(|()| genotype)
    }

    /// Whether every node has the operations that it needs, which read from states that exist before it, and every
    /// concatenated state is a node.
    pub fn check(&self) -> Result<(), GenotypeFault> {
        self.first_fault().map_or(Ok(()), |(_, fault)| Err(fault))
    }

    /// The operations of a cell type with their inputs, node by node.
    pub fn cell(&self, cell: CellType) -> &[(Op, usize)] {
        match cell {
            CellType::Normal => &self.normal,
            CellType::Reduce => &self.reduce,
        }
    }

    /// The states that make up the output of a cell type.
    pub fn concat(&self, cell: CellType) -> &[usize] {
        match cell {
            CellType::Normal => &self.normal_concat,
            CellType::Reduce => &self.reduce_concat,
        }
    }

    /// Nodes of a cell type.
    pub fn n_nodes(&self, cell: CellType) -> usize {
        self.topology.nodes_of(self.cell(cell).len()).expect("a sound genotype has whole nodes")
    }

    /// The operations into a node, each with the state that it reads.
    pub fn node(&self, cell: CellType, node: usize) -> &[(Op, usize)] {
        &self.cell(cell)[self.topology.kept_of(node)]
    }

    /// How often a cell type uses `op`.
    pub fn n_uses(&self, cell: CellType, op: Op) -> usize {
        self.cell(cell).iter().filter(|entry| entry.0 == op).count()
    }

    /// Whether a cell uses the operation `noise`, which draws new values in every pass: then no trained network can be made
    /// of the genotype.
    pub fn has_noise(&self) -> bool {
        CellType::ALL.iter().any(|cell| self.n_uses(*cell, Op::Noise) > 0)
    }

    /// How many operations of a cell type are no convolutions: what takes over as a search degenerates. A skip
    /// connection counts where it halves the image too, although it has weights there.
    pub fn n_parameterless(&self, cell: CellType) -> usize {
        self.cell(cell).iter().filter(|entry| entry.0.is_parameterless()).count()
    }

    /// The same architecture with the two entries of every node in the order of their inputs, so that
    /// architectures can be compared whatever order they were written in.
    pub fn canonical(mut self) -> Self {
        let topology = self.topology;
        for ops in [&mut self.normal, &mut self.reduce] {
            for node in 0..topology.nodes_of(ops.len()).unwrap_or_default() {
                ops[topology.kept_of(node)].sort_by_key(|&(op, input)| (input, op));
            }
        }
        self.normal_concat.sort_unstable();
        self.reduce_concat.sort_unstable();
        self
    }

    /// The first fault and where it is.
    pub(crate) fn first_fault(&self) -> Option<(Place, GenotypeFault)> {
        let of = |cell| match self.topology {
            Topology::Darts => cell_fault(cell, self.cell(cell), self.concat(cell)),
            Topology::NasBench201 => whole_fault(cell, self.cell(cell), self.concat(cell)),
        };
        CellType::ALL.into_iter().find_map(of)
    }
}

impl fmt::Display for Genotype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.topology == Topology::NasBench201 {
            for node in 0..self.n_nodes(CellType::Normal) {
                f.write_str(if node == 0 { "|" } else { "+|" })?;
                self.node(CellType::Normal, node).iter().try_for_each(|(op, input)| write!(f, "{op}~{input}|"))?;
            }
            return Ok(());
        }
        f.write_str("Genotype(")?;
        for cell in CellType::ALL {
            let separator = if cell == CellType::Normal { "" } else { ", " };
            if self.cell(cell).is_empty() {
                write!(f, "{separator}{cell}=None, {cell}_concat=None")?;
                continue;
            }
            let entries: Vec<String> = self.cell(cell).iter().map(|(op, input)| format!("('{op}', {input})")).collect();
            write!(f, "{separator}{cell}=[{}], {cell}_concat=", entries.join(", "))?;
            let concat = self.concat(cell);
            match concat {
                [first, .., last] if concat.windows(2).all(|pair| pair[1] == pair[0] + 1) => {
                    write!(f, "range({first}, {})", last + 1)?;
                }
                [only] => write!(f, "range({only}, {})", only + 1)?,
                _ => write!(f, "{concat:?}")?,
            }
        }
        f.write_str(")")
    }
}

/// What is wrong with a genotype.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenotypeFault {
    /// The text does not go on as the notation wants.
    #[error("expected {expected}, found {found}")]
    Unexpected {
        /// What would be right.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// A field that has no meaning.
    #[error(
        "unknown field {}{}, and the fields are normal, normal_concat, reduce, reduce_concat, topology",
        quote(name),
        did_you_mean(*nearest)
    )]
    UnknownField {
        /// The name as given.
        name: String,
        /// The field with the nearest name, where one is near.
        nearest: Option<&'static str>,
    },
    /// A field given twice.
    #[error("the field `{name}` is given twice")]
    RepeatedField {
        /// The field.
        name: &'static str,
    },
    /// A field that must be there.
    #[error("the field `{name}` is missing")]
    MissingField {
        /// The field.
        name: &'static str,
    },
    /// A name that is no operation's.
    #[error(transparent)]
    UnknownOp(#[from] UnknownOp),
    /// A cell without operations.
    #[error("`{cell}` lists no operation, but a cell needs two for each node")]
    NoOps {
        /// The cell type.
        cell: CellType,
    },
    /// A node with one operation.
    #[error("`{cell}` lists {given} operations, but every node needs two, so the number must be even")]
    OddOps {
        /// The cell type.
        cell: CellType,
        /// Operations as given.
        given: usize,
    },
    /// An input that is not there yet when the node is computed.
    #[error(
        "`{cell}` lets node {node} read from input {input}, but when it is computed only the inputs 0 to {} exist",
        node + 1
    )]
    InputTooLate {
        /// The cell type.
        cell: CellType,
        /// The node.
        node: usize,
        /// The input as given.
        input: usize,
    },
    /// An output made of nothing.
    #[error("`{cell}_concat` is empty, but the output of a cell needs at least one node")]
    NoConcat {
        /// The cell type.
        cell: CellType,
    },
    /// A concatenated state that is no node.
    #[error("`{cell}_concat` names {state}, but the nodes of this cell are 2 to {last}")]
    AbsentConcat {
        /// The cell type.
        cell: CellType,
        /// The state as given.
        state: usize,
        /// The last node.
        last: usize,
    },
    /// A node that is concatenated twice.
    #[error("`{cell}_concat` names {state} twice")]
    RepeatedConcat {
        /// The cell type.
        cell: CellType,
        /// The state.
        state: usize,
    },
    /// A node that has another number of operations than two, where each node has a list of its own.
    #[error(
        "`{cell}` gives node {node} a list of length {given}, but every node needs two operations (a cell of NAS-Bench-201 \
         is written `|OP~0|+|OP~0|OP~1|+...`)"
    )]
    NotTwo {
        /// The cell type.
        cell: &'static str,
        /// The node.
        node: usize,
        /// Operations as given.
        given: usize,
    },
    /// A cell whose nodes keep all edges, with too few or too many operations.
    #[error(
        "a cell that keeps all edges has 1, 3, 6, 10, ... operations for 1, 2, 3, 4, ... nodes, but {given} are listed"
    )]
    PartOfNode {
        /// Operations as given.
        given: usize,
    },
    /// A node of such a cell that does not read each state once, in their order.
    #[error(
        "node {node} of a cell that keeps all edges reads the states 0 to {node} in this order, but {input} is listed at place {at}"
    )]
    OtherOrder {
        /// The node.
        node: usize,
        /// The input as given.
        input: usize,
        /// Its place in the node.
        at: usize,
    },
    /// An operation that such a cell does not have.
    #[error(
        "a cell of the topology {} has no `{op}`, it may have {}",
        Topology::NasBench201,
        Op::ALL.into_iter().filter(|op| Topology::NasBench201.holds(*op)).map(Op::as_str).collect::<Vec<_>>().join(", ")
    )]
    OtherOperation {
        /// The operation.
        op: Op,
    },
    /// An operation of such a cell in one of DARTS.
    #[error("`{op}` is an operation of the topology {} alone, not of the cells of DARTS", Topology::NasBench201)]
    OfOtherTopology {
        /// The operation.
        op: Op,
    },
    /// An output of such a cell other than its last node.
    #[error("the output of a cell that keeps all edges is its last node, `normal_concat` [{last}]")]
    NotLast {
        /// The last state.
        last: usize,
    },
    /// Reduction cells where residual blocks reduce.
    #[error("the topology {} has no reduction cells, so `reduce` must go", Topology::NasBench201)]
    NoReduction,
    /// Bytes that are no UTF-8.
    #[error("what follows is not text in UTF-8, but a genotype is text")]
    NotText,
}

/// A fault in a genotype's text and its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {fault}")]
pub struct GenotypeError {
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
    /// What is wrong there.
    pub fault: GenotypeFault,
}

/// A fault in a genotype's text, its place, and the text's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}, {error}")]
pub struct GenotypeReadError {
    /// How the text is called, usually the file's path.
    pub origin: String,
    /// What is wrong, and where.
    pub error: GenotypeError,
}

/// A place inside a genotype, which the text parser turns into a line and a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The list of operations as a whole.
    Ops(CellType),
    /// One entry of the list of operations.
    Entry(CellType, usize),
    /// One entry of the concatenation, or the concatenation as a whole where it has no such entry.
    Concat(CellType, usize),
}

fn cell_fault(cell: CellType, ops: &[(Op, usize)], concat: &[usize]) -> Option<(Place, GenotypeFault)> {
    if cell == CellType::Reduce && ops.is_empty() && concat.is_empty() {
        return None; // a network without reduction cells
    }
    if ops.is_empty() {
        return Some((Place::Ops(cell), GenotypeFault::NoOps { cell }));
    }
    if !ops.len().is_multiple_of(2) {
        return Some((Place::Ops(cell), GenotypeFault::OddOps { cell, given: ops.len() }));
    }
    if let Some((i, &(_, input))) = ops.iter().enumerate().find(|&(i, entry)| entry.1 >= 2 + i / 2) {
        return Some((Place::Entry(cell, i), GenotypeFault::InputTooLate { cell, node: i / 2, input }));
    }
    if let Some((i, &(op, _))) = ops.iter().enumerate().find(|(_, entry)| !Topology::Darts.holds(entry.0)) {
        return Some((Place::Entry(cell, i), GenotypeFault::OfOtherTopology { op }));
    }
    let last = ops.len() / 2 + 1;
    if concat.is_empty() {
        return Some((Place::Concat(cell, 0), GenotypeFault::NoConcat { cell }));
    }
    for (i, &state) in concat.iter().enumerate() {
        if !(2..=last).contains(&state) {
            return Some((Place::Concat(cell, i), GenotypeFault::AbsentConcat { cell, state, last }));
        }
        if concat[..i].contains(&state) {
            return Some((Place::Concat(cell, i), GenotypeFault::RepeatedConcat { cell, state }));
        }
    }
    None
}

/// Of a cell that keeps all edges.
fn whole_fault(cell: CellType, ops: &[(Op, usize)], concat: &[usize]) -> Option<(Place, GenotypeFault)> {
    let topology = Topology::NasBench201;
    if cell == CellType::Reduce {
        let is_none = ops.is_empty() && concat.is_empty();
        return (!is_none).then_some((Place::Ops(cell), GenotypeFault::NoReduction));
    }
    let Some(nodes) = topology.nodes_of(ops.len()).filter(|nodes| *nodes > 0) else {
        return Some((Place::Ops(cell), GenotypeFault::PartOfNode { given: ops.len() }));
    };
    for (edge, node, at) in topology.edges(nodes) {
        let (op, input) = ops[edge];
        if !topology.holds(op) {
            return Some((Place::Entry(cell, edge), GenotypeFault::OtherOperation { op }));
        }
        if input != at {
            return Some((Place::Entry(cell, edge), GenotypeFault::OtherOrder { node, input, at }));
        }
    }
    (concat != [nodes]).then_some((Place::Concat(cell, 0), GenotypeFault::NotLast { last: nodes }))
}

/// The fields of a genotype as read, before the check.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    normal: Vec<(Op, usize)>,
    normal_concat: Vec<usize>,
    reduce: Option<Vec<(Op, usize)>>,
    reduce_concat: Option<Vec<usize>>,
    #[serde(default)]
    topology: Topology,
}

impl TryFrom<Unchecked> for Genotype {
    type Error = GenotypeFault;

    fn try_from(raw: Unchecked) -> Result<Self, GenotypeFault> {
        let Unchecked { normal, normal_concat, reduce, reduce_concat, topology } = raw;
        let (reduce, reduce_concat) = (reduce.unwrap_or_default(), reduce_concat.unwrap_or_default());
        let genotype = Self { normal, normal_concat, reduce, reduce_concat, topology };
        genotype.check().map(|()| genotype)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Any sound genotype with up to `max_nodes` nodes per cell.
    pub(crate) fn any_genotype(max_nodes: usize) -> impl Strategy<Value = Genotype> {
        let reduce = prop_oneof![9 => any_cell(max_nodes), 1 => Just((vec![], vec![]))];
        (any_cell(max_nodes), reduce).prop_map(|((normal, normal_concat), (reduce, reduce_concat))| Genotype {
            normal,
            normal_concat,
            reduce,
            reduce_concat,
            topology: Topology::Darts,
        })
    }

    /// Any cell of NAS-Bench-201 with up to `max_nodes` nodes.
    pub(crate) fn any_whole_cell(max_nodes: usize) -> impl Strategy<Value = Genotype> {
        let held: Vec<Op> = Op::ALL.into_iter().filter(|op| Topology::NasBench201.holds(*op)).collect();
        (1..=max_nodes)
            .prop_flat_map(move |nodes| {
                prop::collection::vec(prop::sample::select(held.clone()), Topology::NasBench201.n_edges(nodes))
            })
            .prop_map(|ops| Genotype::nas_bench_201(&ops).unwrap())
    }

    fn any_cell(max_nodes: usize) -> impl Strategy<Value = (Vec<(Op, usize)>, Vec<usize>)> {
        (1..=max_nodes).prop_flat_map(|nodes| {
            let entries: Vec<_> =
                (0..2 * nodes).map(|i| (prop::sample::select(Op::OF_DARTS.to_vec()), 0..2 + i / 2)).collect();
            let states: Vec<usize> = (2..2 + nodes).collect();
            (entries, prop::sample::subsequence(states, 1..=nodes).prop_shuffle())
        })
    }

    const JSON: &str = r#"{"normal":[["sep_conv_3x3",0],["skip_connect",1],["noise",2],["none",0]],"normal_concat":[2,3],
        "reduce":[["max_pool_3x3",0],["skip_connect",1]],"reduce_concat":[2]}"#;

    #[test]
    fn json_reads_by_serde_and_by_parse() {
        let genotype: Genotype = serde_json::from_str(JSON).unwrap();
        assert_eq!(JSON.parse(), Ok(genotype.clone()));
        assert_eq!(genotype.normal[2], (Op::Noise, 2));
        assert_eq!(
            genotype.to_string(),
            "Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1), ('noise', 2), ('none', 0)], \
             normal_concat=range(2, 4), reduce=[('max_pool_3x3', 0), ('skip_connect', 1)], reduce_concat=range(2, 3))"
        );
    }

    #[test]
    fn json_is_checked_like_the_notation() {
        let rows = [
            ("[\"noise\",2]", "[\"noise\",3]", "`normal` lets node 1 read from input 3, but when it is computed only"),
            (",[\"none\",0]", "", "`normal` lists 3 operations, but every node needs two"),
            ("[2,3]", "[2,4]", "`normal_concat` names 4, but the nodes of this cell are 2 to 3"),
            ("[2,3]", "[2,2]", "`normal_concat` names 2 twice"),
            ("[2,3]", "[]", "`normal_concat` is empty, but"),
            ("noise", "noisy", "unknown operation `noisy`, the nearest known one is `noise`"),
            ("\"reduce\":", "\"reduse\":", "unknown field `reduse`"),
        ];
        for (from, to, message) in rows {
            let text = JSON.replacen(from, to, 1);
            assert_ne!(text, JSON);
            let error = text.parse::<Genotype>().unwrap_err().to_string();
            assert!(error.starts_with("line ") && error.contains(message), "{error}");
            assert!(serde_json::from_str::<Genotype>(&text).unwrap_err().to_string().contains(message));
        }
    }

    #[test]
    fn a_hand_made_genotype_is_checked() {
        let edge = |input| (Op::SkipConnect, input);
        let genotype = Genotype::new(vec![edge(0), edge(1)], vec![edge(0), edge(1), edge(2), edge(0)]).unwrap();
        assert_eq!(genotype.reduce_concat, [2, 3]);
        assert_eq!(genotype.n_uses(CellType::Reduce, Op::SkipConnect), 4);
        assert!(Genotype::new(vec![edge(0), edge(1)], vec![]).unwrap().reduce_concat.is_empty());
        let fault = Genotype::new(vec![], vec![edge(0), edge(1)]).unwrap_err();
        assert_eq!(fault.to_string(), "`normal` lists no operation, but a cell needs two for each node");
    }

    #[test]
    fn noise_is_found_in_either_cell() {
        let cell = |op| vec![(Op::SkipConnect, 0), (op, 1)];
        let (plain, noisy) = (|| cell(Op::SepConv3x3), || cell(Op::Noise));
        assert!(Genotype::new(noisy(), plain()).unwrap().has_noise());
        assert!(Genotype::new(plain(), noisy()).unwrap().has_noise());
        assert!(Genotype::new(noisy(), vec![]).unwrap().has_noise());
        assert!(!Genotype::new(plain(), plain()).unwrap().has_noise());
        assert!(!Genotype::new(plain(), vec![]).unwrap().has_noise());
    }

    #[test]
    fn the_canonical_form_forgets_the_order_within_a_node_only() {
        let text = "Genotype(normal=[('noise', 1), ('none', 0)], normal_concat=[2], \
                    reduce=[('noise', 0), ('none', 1), ('noise', 2), ('none', 1)], reduce_concat=[3, 2])";
        let genotype = text.parse::<Genotype>().unwrap().canonical();
        assert_eq!(genotype.normal, [(Op::None, 0), (Op::Noise, 1)]);
        assert_eq!(genotype.reduce, [(Op::Noise, 0), (Op::None, 1), (Op::None, 1), (Op::Noise, 2)]);
        assert_eq!(genotype.reduce_concat, [2, 3]);
    }

    #[test]
    fn a_cell_of_nas_bench_201_is_written_as_there() {
        let text = "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_1x1~1|none~2|";
        let genotype: Genotype = text.parse().unwrap();
        assert_eq!(genotype.to_string(), text);
        assert_eq!((genotype.n_nodes(CellType::Normal), genotype.n_nodes(CellType::Reduce)), (3, 0));
        assert_eq!(genotype.node(CellType::Normal, 1), [(Op::NorConv3x3, 0), (Op::AvgPool3x3, 1)]);
        assert_eq!((genotype.normal_concat.as_slice(), genotype.n_parameterless(CellType::Normal)), (&[3][..], 3));
        assert_eq!(genotype.clone().canonical(), genotype);
        let json = serde_json::to_string(&genotype).unwrap();
        assert!(json.ends_with("\"topology\":\"nasbench201\"}"), "{json}");
        assert_eq!(json.parse(), Ok(genotype.clone()));
        let rows = [
            ("|none~0|+|none~0|", "line 1, column 1: a cell that keeps all edges has 1, 3, 6, 10, ... operations for"),
            (
                "|none~1|",
                "line 1, column 2: node 0 of a cell that keeps all edges reads the states 0 to 0 in this order, but 1",
            ),
            (
                "|noise~0|",
                "line 1, column 2: a cell of the topology nasbench201 has no `noise`, it may have none, avg_pool_3x3",
            ),
            ("|nose~0|", "line 1, column 2: unknown operation `nose`, the nearest known one is `none`"),
            ("|none-0|", "line 1, column 2: expected an operation and its input, such as `skip_connect~0`"),
            ("|none~0", "line 1, column 8: expected `|`, found the end of the text"),
            ("|none~0|+", "line 1, column 10: expected `|`, found the end of the text"),
            ("|none~0| )", "line 1, column 10: expected nothing more after the genotype, found `)`"),
        ];
        for (text, message) in rows {
            let error = text.parse::<Genotype>().unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
        let other = json.replace("\"normal_concat\":[3]", "\"normal_concat\":[2]");
        assert!(other.parse::<Genotype>().unwrap_err().to_string().contains("is its last node, `normal_concat` [3]"));
        let darts = JSON.replace("noise", "nor_conv_3x3");
        let message = darts.parse::<Genotype>().unwrap_err().to_string();
        assert!(message.contains("`nor_conv_3x3` is an operation of the topology nasbench201 alone"), "{message}");
    }

    proptest! {
        #[test]
        fn cells_of_nas_bench_201_read_back(genotype in any_whole_cell(5)) {
            prop_assert_eq!(genotype.to_string().parse(), Ok(genotype.clone()));
            prop_assert_eq!(serde_json::to_string(&genotype).unwrap().parse(), Ok(genotype));
        }

        #[test]
        fn the_notation_and_json_read_back_what_was_written(genotype in any_genotype(6)) {
            prop_assert_eq!(genotype.check(), Ok(()));
            prop_assert_eq!(genotype.to_string().parse(), Ok(genotype.clone()));
            let json = serde_json::to_string(&genotype).unwrap();
            prop_assert_eq!(serde_json::from_str::<Genotype>(&json).unwrap(), genotype);
        }
    }
}
