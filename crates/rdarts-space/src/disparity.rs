//! Cells of an encoder-decoder for disparity: spaces and architectures (AutoDispNet, Saikia et al. 2019, section 4).
//!
//! Three types of cells, each of three nodes. Normal and reduction cells read the two cells before them; an upsampling cell
//! reads four states: the two before it, the prediction before it, and a state of the encoder. Every node may read all
//! inputs and earlier nodes, so a cell has 2 + 3 + 4 = 9 or 4 + 5 + 6 = 15 edges, each with the same operations.
//!
//! A node keeps its two strongest edges, the first node of an upsampling cell four: one from each input (section 4.4).

mod names;

use std::fmt;
use std::str::FromStr;

use rdarts_text::quote;
use serde::{Deserialize, Serialize};

use crate::derive::strongest;
use crate::op::Op;

pub use names::{NAMES, is_of_disparity, named, sample};

/// Nodes of a cell.
pub const NODES: usize = 3;

/// A type of cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DisparityCell {
    /// Keeps rows and columns.
    Normal,
    /// Halves them.
    Reduce,
    /// Doubles them.
    Upsample,
}

impl DisparityCell {
    /// All types, in the order of their architecture parameters.
    pub const ALL: [Self; 3] = [Self::Normal, Self::Reduce, Self::Upsample];

    /// `normal`, `reduce` or `upsample`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Reduce => "reduce",
            Self::Upsample => "upsample",
        }
    }

    /// States that a cell reads.
    pub const fn n_inputs(self) -> usize {
        if matches!(self, Self::Upsample) { 4 } else { 2 }
    }

    /// Edges of a cell.
    pub const fn n_edges(self) -> usize {
        NODES * self.n_inputs() + NODES * (NODES - 1) / 2
    }

    /// (node, state) of every edge, node by node; a state is an input, or behind those a node.
    pub fn edges(self) -> impl Iterator<Item = (usize, usize)> {
        (0..NODES).flat_map(move |node| (0..self.n_inputs() + node).map(move |state| (node, state)))
    }

    /// How many edges a node keeps.
    pub const fn kept(self, node: usize) -> usize {
        if matches!(self, Self::Upsample) && node == 0 { 4 } else { 2 }
    }
}

impl fmt::Display for DisparityCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A search space: the operations of every edge of every cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisparitySpace {
    /// Its name.
    pub name: String,
    /// The operations of an edge, in the order of its architecture parameters.
    pub ops: Vec<Op>,
}

impl DisparitySpace {
    /// The spaces that have a name: `dispnet` is S6 of the paper (Zela et al. 2020, appendix E), `autodispnet` that of its
    /// authors.
    pub const NAMES: [&'static str; 2] = ["dispnet", "autodispnet"];

    /// A space by its name.
    pub fn builtin(name: &str) -> Option<Self> {
        let ops = match name {
            "dispnet" => vec![Op::MaxPool3x3, Op::SepConv3x3, Op::SkipConnect],
            "autodispnet" => vec![
                Op::None,
                Op::SkipConnect,
                Op::AvgPool3x3,
                Op::MaxPool3x3,
                Op::SepConv3x3,
                Op::SepConv5x5,
                Op::DilConv3x3,
                Op::DilConv5x5,
            ],
            _ => return None,
        };
        Some(Self { name: name.into(), ops })
    }

    /// The operations of each edge of a type of cell.
    pub fn edges(&self, cell: DisparityCell) -> Vec<Vec<Op>> {
        vec![self.ops.clone(); cell.n_edges()]
    }

    /// The architecture that alphas stand for, one list for each type of cell, flat in edge order. An edge is as strong as its
    /// largest softmax weight of an operation other than `none`.
    ///
    /// # Panics
    /// If there are not as many alphas as operations.
    pub fn derive(&self, alphas: [&[f32]; 3]) -> DisparityGenotype {
        let [normal, reduce, upsample] = DisparityCell::ALL.map(|cell| {
            let alphas = alphas[cell as usize];
            assert_eq!(alphas.len(), cell.n_edges() * self.ops.len(), "alphas of the {cell} cell");
            let best: Vec<(f64, Op)> =
                alphas.chunks(self.ops.len()).map(|of| strongest(&self.ops, of, false)).collect();
            let mut entries = Vec::new();
            for node in 0..NODES {
                let edges = cell.edges().zip(&best).filter(|((to, _), _)| *to == node);
                let mut incoming: Vec<_> = edges.map(|((_, state), (p, op))| (*p, *op, state)).collect();
                // The first node of an upsampling cell reads its inputs alone: all four are kept.
                incoming.sort_by(|a, b| b.0.total_cmp(&a.0));
                entries.extend(incoming.into_iter().take(cell.kept(node)).map(|(_, op, state)| (op, state)));
            }
            entries
        });
        DisparityGenotype { normal, reduce, upsample }
    }
}

/// One architecture: the operations into every node, node by node, each with the state it reads.
///
/// ```text
/// Genotype(normal=[('sep_conv_3x3', 0), ...], reduce=[...], upsample=[...])
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DisparityGenotype {
    /// Of a normal cell, six.
    pub normal: Vec<(Op, usize)>,
    /// Of a reduction cell, six.
    pub reduce: Vec<(Op, usize)>,
    /// Of an upsampling cell, eight.
    pub upsample: Vec<(Op, usize)>,
}

impl DisparityGenotype {
    /// That of the released AutoDispNet-C.
    pub fn autodispnet() -> Self {
        "Genotype(normal=[('skip_connect', 0), ('sep_conv_5x5', 1), ('sep_conv_3x3', 2), ('skip_connect', 0), \
         ('dil_conv_3x3', 2), ('dil_conv_3x3', 0)], reduce=[('sep_conv_5x5', 1), ('sep_conv_3x3', 0), \
         ('sep_conv_5x5', 2), ('skip_connect', 0), ('skip_connect', 1), ('sep_conv_5x5', 3)], \
         upsample=[('sep_conv_3x3', 3), ('dil_conv_3x3', 2), ('sep_conv_3x3', 1), ('skip_connect', 0), \
         ('sep_conv_3x3', 3), ('sep_conv_3x3', 4), ('sep_conv_3x3', 2), ('dil_conv_5x5', 4)])"
            .parse()
            .expect("a genotype that is written here")
    }

    /// The entries of a type of cell.
    pub fn cell(&self, cell: DisparityCell) -> &[(Op, usize)] {
        match cell {
            DisparityCell::Normal => &self.normal,
            DisparityCell::Reduce => &self.reduce,
            DisparityCell::Upsample => &self.upsample,
        }
    }

    /// (node, operation, state) of every entry of a cell.
    pub fn entries(&self, cell: DisparityCell) -> impl Iterator<Item = (usize, Op, usize)> {
        let nodes = (0..NODES).flat_map(move |node| std::iter::repeat_n(node, cell.kept(node)));
        nodes.zip(self.cell(cell)).map(|(node, (op, state))| (node, *op, *state))
    }

    /// How often a type of cell uses an operation.
    pub fn n_uses(&self, cell: DisparityCell, op: Op) -> usize {
        self.cell(cell).iter().filter(|entry| entry.0 == op).count()
    }

    /// The same architecture with the entries of every node in the order of what they read, so that architectures can be
    /// compared whatever order they were written in.
    pub fn canonical(mut self) -> Self {
        for (cell, entries) in
            DisparityCell::ALL.into_iter().zip([&mut self.normal, &mut self.reduce, &mut self.upsample])
        {
            let mut rest = &mut entries[..];
            for node in 0..NODES {
                let (of_node, others) = rest.split_at_mut(cell.kept(node).min(rest.len()));
                of_node.sort_by_key(|&(op, state)| (state, op));
                rest = others;
            }
        }
        self
    }

    /// Which entry is wrong, if any is.
    pub fn check(&self) -> Result<(), DisparityGenotypeError> {
        for cell in DisparityCell::ALL {
            let wanted: usize = (0..NODES).map(|node| cell.kept(node)).sum();
            let n = self.cell(cell).len();
            if n != wanted {
                return Err(DisparityGenotypeError::Entries { cell: cell.as_str(), n, wanted });
            }
            for (node, op, state) in self.entries(cell) {
                if state >= cell.n_inputs() + node {
                    return Err(DisparityGenotypeError::State { cell: cell.as_str(), node, op, state });
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for DisparityGenotype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |cell| {
            let entries: Vec<String> = self.cell(cell).iter().map(|(op, state)| format!("('{op}', {state})")).collect();
            format!("{cell}=[{}]", entries.join(", "))
        };
        write!(f, "Genotype({})", DisparityCell::ALL.map(list).join(", "))
    }
}

/// What is wrong with an architecture for disparity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DisparityGenotypeError {
    /// The text does not go on as the notation wants.
    #[error(
        "expected {expected} at {found}, as in Genotype(normal=[('sep_conv_3x3', 0), ...], reduce=[...], upsample=[...])"
    )]
    Syntax {
        /// What should stand there.
        expected: &'static str,
        /// What does.
        found: String,
    },
    /// An operation that there is not.
    #[error("{0}")]
    Op(String),
    /// A cell has too few entries or too many.
    #[error("the {cell} cell has {n} operations, not {wanted}")]
    Entries {
        /// Type of the cell.
        cell: &'static str,
        /// Its operations.
        n: usize,
        /// As many as it should have.
        wanted: usize,
    },
    /// A node reads a state that is not there before it.
    #[error("{op} into node {node} of the {cell} cell reads state {state}, which is not there before it")]
    State {
        /// Type of the cell.
        cell: &'static str,
        /// The node.
        node: usize,
        /// The operation.
        op: Op,
        /// What it reads.
        state: usize,
    },
}

impl FromStr for DisparityGenotype {
    type Err = DisparityGenotypeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut rest = Rest(text);
        rest.eat("Genotype(")?;
        let mut lists = Vec::new();
        for (name, end) in [("normal=[", ","), ("reduce=[", ","), ("upsample=[", ")")] {
            rest.eat(name)?;
            lists.push(rest.entries()?);
            rest.eat(end)?;
        }
        if !rest.0.trim().is_empty() {
            return Err(rest.fault("the end"));
        }
        let [normal, reduce, upsample] = lists.try_into().expect("three cells");
        let genotype = Self { normal, reduce, upsample };
        genotype.check()?;
        Ok(genotype)
    }
}

/// What is still to be read.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn fault(&self, expected: &'static str) -> DisparityGenotypeError {
        let found: String = self.0.trim_start().chars().take(20).collect();
        let found = if found.is_empty() { "the end".into() } else { quote(&found) };
        DisparityGenotypeError::Syntax { expected, found }
    }

    fn eat(&mut self, word: &'static str) -> Result<(), DisparityGenotypeError> {
        self.0 = self.0.trim_start().strip_prefix(word).ok_or_else(|| self.fault(word))?;
        Ok(())
    }

    /// Up to a character, which is eaten.
    fn until(&mut self, end: char, expected: &'static str) -> Result<&'a str, DisparityGenotypeError> {
        let (before, rest) = self.0.split_once(end).ok_or_else(|| self.fault(expected))?;
        self.0 = rest;
        Ok(before)
    }

    /// `('op', state), ...]`.
    fn entries(&mut self) -> Result<Vec<(Op, usize)>, DisparityGenotypeError> {
        let mut entries = Vec::new();
        while self.eat("]").is_err() {
            if !entries.is_empty() {
                self.eat(",")?;
            }
            self.eat("('")?;
            let name = self.until('\'', "the name of an operation")?;
            let op = name.parse::<Op>().map_err(|e| DisparityGenotypeError::Op(e.to_string()))?;
            self.eat(",")?;
            let fault = self.fault("the number of a state");
            let state = self.until(')', "the number of a state")?.trim().parse().map_err(|_| fault)?;
            entries.push((op, state));
        }
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_counted_as_in_the_paper_and_the_first_node_of_an_upsampling_cell_keeps_four() {
        assert_eq!(DisparityCell::ALL.map(DisparityCell::n_edges), [9, 9, 15]);
        let space = DisparitySpace::builtin("dispnet").unwrap();
        let alphas = DisparityCell::ALL
            .map(|cell| (0..cell.n_edges() * 3).map(|i| (i as f32 * 1.7).sin()).collect::<Vec<f32>>());
        let genotype = space.derive([&alphas[0], &alphas[1], &alphas[2]]);
        genotype.check().unwrap();
        let mut first: Vec<usize> = genotype.upsample[..4].iter().map(|entry| entry.1).collect();
        first.sort_unstable();
        assert_eq!(first, [0, 1, 2, 3]);
        // Of node 2 of the normal cell, edges 5 to 8, the two with the largest share of their three.
        let share = |edge: usize| {
            let of = &alphas[0][3 * edge..3 * edge + 3];
            let sum: f32 = of.iter().map(|a| a.exp()).sum();
            of.iter().map(|a| a.exp() / sum).fold(0.0, f32::max)
        };
        let mut by_share: Vec<usize> = (5..9).collect();
        by_share.sort_by(|a, b| share(*b).total_cmp(&share(*a)));
        let kept: Vec<usize> = genotype.normal[4..].iter().map(|entry| entry.1 + 5).collect();
        assert_eq!(kept, by_share[..2]);
    }

    #[test]
    fn the_notation_is_read_back_and_faults_are_named() {
        let genotype = DisparityGenotype::autodispnet();
        assert_eq!(genotype.to_string().parse(), Ok(genotype.clone()));
        assert_eq!(genotype.n_uses(DisparityCell::Reduce, Op::SkipConnect), 2);
        let mut swapped = genotype.clone();
        swapped.upsample[..4].reverse();
        swapped.normal.swap(2, 3);
        assert_ne!(swapped, genotype);
        assert_eq!(swapped.canonical(), genotype.clone().canonical());
        let mut other = genotype.clone();
        other.normal.swap(1, 2);
        assert_ne!(other.canonical(), genotype.clone().canonical());
        let fault = |text: &str| text.parse::<DisparityGenotype>().unwrap_err().to_string();
        let text = genotype.to_string();
        assert!(fault(&text.replace("sep_conv_5x5', 3", "sep_conv_5x6', 3")).contains("sep_conv_5x6"));
        assert!(fault(&text.replace("('dil_conv_5x5', 4)", "('dil_conv_5x5', 7)")).contains("state 7"));
        assert!(fault(&text.replace(", ('dil_conv_5x5', 4)", "")).contains("7 operations, not 8"));
        assert!(fault(&text.replace("upsample", "up")).contains("upsample=["));
        assert!(fault("").contains("the end"));
        assert!(fault(&format!("{text} x")).contains("expected the end"));
        assert!(fault(&text.replace("', 0)", "', a)")).contains("number of a state"));
    }
}
