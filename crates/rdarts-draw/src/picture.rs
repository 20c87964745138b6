//! What is drawn: cells as plain data.
//!
//! States are numbered as in a genotype: 0 and 1 are the cell's inputs, 2 + j is node j. An upsampling cell of a network
//! for disparity has two inputs more, the prediction before it and a state of the encoder, so that 4 + j is its node j.

use std::fmt::Write;

use rdarts_space::disparity::NODES;
use rdarts_space::{CellType, DisparityCell, DisparityGenotype, Genotype, Op, Space, Topology};

use crate::error::DrawError;

/// The most nodes of a cell: twice what a space may have, and still drawn within a second.
pub const MAX_DRAWN_NODES: usize = 24;

/// One picture: a few cells.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawing {
    /// What the picture is called, for those who cannot see it; not drawn.
    pub title: String,
    /// The cells, from first to last.
    pub cells: Vec<CellPicture>,
}

/// A cell.
#[derive(Clone, Debug, PartialEq)]
pub struct CellPicture {
    /// What stands above the cell; may be empty.
    pub title: String,
    /// States that the cell reads: two, or four.
    pub inputs: usize,
    /// Intermediate nodes.
    pub nodes: usize,
    /// The edges into the nodes.
    pub edges: Vec<Edge>,
    /// The states that make up the output.
    pub concat: Vec<usize>,
}

/// An edge with its operation. Several may lead from one state to one node.
#[derive(Clone, Debug, PartialEq)]
pub struct Edge {
    /// The state that it reads.
    pub input: usize,
    /// The node that it leads to.
    pub node: usize,
    /// The operation.
    pub op: Op,
    /// How much it counts, between 0 and 1: the thickness of the line.
    pub weight: Option<f32>,
    /// Whether it belongs to the architecture; others are drawn faintly.
    pub is_kept: bool,
    /// What else may come to stand here: the label has room for each, so that places do not depend on which it is.
    pub offers: Vec<Op>,
}

impl Drawing {
    /// Both cells of a genotype, or the one that it has.
    ///
    /// # Errors
    /// If the genotype is not sound, or has more than [`MAX_DRAWN_NODES`] nodes.
    pub fn of_genotype(genotype: &Genotype) -> Result<Self, DrawError> {
        genotype.check()?;
        let has_cell = |cell: &CellType| !genotype.cell(*cell).is_empty();
        let cells = CellType::ALL.into_iter().filter(has_cell);
        let cells = cells.map(|cell| CellPicture::of_genotype(genotype, cell)).collect::<Result<_, _>>()?;
        Ok(Self { title: "Genotype".to_owned(), cells })
    }

    /// The three cells of a genotype for disparity.
    ///
    /// # Errors
    /// If the genotype is not sound.
    pub fn of_disparity(genotype: &DisparityGenotype) -> Result<Self, DrawError> {
        let cells = DisparityCell::ALL.into_iter().map(|cell| CellPicture::of_disparity(genotype, cell));
        Ok(Self { title: "Genotype".to_owned(), cells: cells.collect::<Result<_, _>>()? })
    }

    /// The cells in words: what a reader of screens says.
    pub fn description(&self) -> String {
        self.cells.iter().map(CellPicture::description).collect::<Vec<_>>().join(" ")
    }
}

impl CellPicture {
    /// A cell type of a genotype.
    ///
    /// # Errors
    /// If the genotype is not sound or lacks the cell, or if it has more than [`MAX_DRAWN_NODES`] nodes.
    pub fn of_genotype(genotype: &Genotype, cell: CellType) -> Result<Self, DrawError> {
        genotype.check()?;
        if genotype.cell(cell).is_empty() {
            return Err(DrawError::NoCell { cell });
        }
        let nodes = genotype.n_nodes(cell);
        let of_node = |node: usize| genotype.node(cell, node).iter().map(move |entry| (node, *entry));
        let edge = |(node, (op, input)): (usize, (Op, usize))| Edge {
            input,
            node,
            op,
            weight: None,
            is_kept: true,
            offers: Vec::new(),
        };
        let picture = Self {
            title: title_of(genotype.topology, cell).to_owned(),
            inputs: genotype.topology.n_inputs(),
            nodes,
            edges: (0..nodes).flat_map(of_node).map(edge).collect(),
            concat: genotype.concat(cell).to_vec(),
        };
        picture.check().map(|()| picture)
    }

    /// A type of cell of a genotype for disparity.
    ///
    /// # Errors
    /// If the genotype is not sound.
    pub fn of_disparity(genotype: &DisparityGenotype, cell: DisparityCell) -> Result<Self, DrawError> {
        genotype.check()?;
        let edge = |(node, op, input)| Edge { input, node, op, weight: None, is_kept: true, offers: Vec::new() };
        let title = match cell {
            DisparityCell::Normal => title(CellType::Normal),
            DisparityCell::Reduce => title(CellType::Reduce),
            DisparityCell::Upsample => "Upsampling cell",
        };
        let inputs = cell.n_inputs();
        let (edges, concat) = (genotype.entries(cell).map(edge).collect(), (inputs..inputs + NODES).collect());
        let picture = Self { title: title.to_owned(), inputs, nodes: NODES, edges, concat };
        picture.check().map(|()| picture)
    }

    /// A cell type of a supernet: every edge with its strongest operation, other than `none` where edges are dropped, and
    /// the edges that DARTS would keep (Liu et al. 2019, section 2.4) drawn strongly. `weights` are softmax(alpha), flat and ragged like the
    /// alphas. Whatever the weights, everything has the same place.
    ///
    /// # Errors
    /// If a weight does not lie between 0 and 1, or if there are too few or too many.
    pub fn of_supernet(space: &Space, cell: CellType, weights: &[f32]) -> Result<Self, DrawError> {
        if weights.len() != space.n_alphas(cell) {
            return Err(DrawError::Weights { needed: space.n_alphas(cell), given: weights.len() });
        }
        check_weights(weights)?;
        let mut drawn: Vec<Edge> = Vec::with_capacity(space.n_edges());
        for (edge, node, input) in space.edges() {
            let ops = &space.cell(cell)[edge];
            let weights = &weights[space.offset(cell, edge)..][..ops.len()];
            let mut strongest: Option<(Op, f32)> = None;
            let may_be = |op: Op| op != Op::None || space.topology.may_choose_none();
            for (&op, &weight) in ops.iter().zip(weights).filter(|(op, _)| may_be(**op)) {
                if strongest.is_none_or(|(_, most)| weight > most) {
                    strongest = Some((op, weight));
                }
            }
            let (op, weight) = strongest.unwrap_or((Op::None, 0.0));
            drawn.push(Edge { input, node, op, weight: Some(weight), is_kept: false, offers: ops.clone() });
        }
        for incoming in drawn.chunk_by_mut(|a, b| a.node == b.node) {
            let mut order: Vec<usize> = (0..incoming.len()).collect();
            // A stable sort leaves equally strong edges in their order, as the derivation does.
            order.sort_by(|&a, &b| incoming[b].weight.unwrap_or(0.0).total_cmp(&incoming[a].weight.unwrap_or(0.0)));
            let kept = space.topology.kept(incoming[0].node);
            order.into_iter().take(kept).for_each(|i| incoming[i].is_kept = true);
        }
        let (topology, inputs) = (space.topology, space.topology.n_inputs());
        let concat = space.genotype(Vec::new(), Vec::new()).normal_concat;
        let title = title_of(topology, cell).to_owned();
        let picture = Self { title, inputs, nodes: space.nodes, edges: drawn, concat };
        picture.check().map(|()| picture)
    }

    /// The same cell with a weight for each edge.
    ///
    /// # Errors
    /// If a weight does not lie between 0 and 1, or if there is not one for every edge.
    pub fn with_weights(mut self, weights: &[f32]) -> Result<Self, DrawError> {
        if weights.len() != self.edges.len() {
            return Err(DrawError::Weights { needed: self.edges.len(), given: weights.len() });
        }
        check_weights(weights)?;
        self.edges.iter_mut().zip(weights).for_each(|(edge, weight)| edge.weight = Some(*weight));
        Ok(self)
    }

    /// Whether all states that are named exist.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check(&self) -> Result<(), DrawError> {
        let nodes = self.nodes;
        if nodes > MAX_DRAWN_NODES {
            return Err(DrawError::TooManyNodes { given: nodes, max: MAX_DRAWN_NODES });
        }
        // More edges than such a cell of two inputs has.
        if self.edges.len() > MAX_DRAWN_NODES * (MAX_DRAWN_NODES + 3) / 2 {
            return Err(DrawError::TooManyNodes { given: self.edges.len() / 2, max: MAX_DRAWN_NODES });
        }
        if let Some(edge) = self.edges.iter().find(|edge| edge.node >= nodes || edge.input >= self.inputs + edge.node) {
            return Err(DrawError::Edge { input: edge.input, node: edge.node, nodes });
        }
        let all = self.inputs..self.inputs + nodes;
        let is_node = |i: usize, state: usize| all.contains(&state) && !self.concat[..i].contains(&state);
        if let Some((_, &state)) = self.concat.iter().enumerate().find(|&(i, &state)| !is_node(i, state)) {
            return Err(DrawError::Concat { state, nodes });
        }
        for (at, given) in self.edges.iter().enumerate().filter_map(|(at, edge)| Some((at, edge.weight?))) {
            check_weight(at, given)?;
        }
        Ok(())
    }

    /// The cell in words.
    fn description(&self) -> String {
        let mut text = match self.title.as_str() {
            "" => String::new(),
            title => format!("{title}: "),
        };
        for node in 0..self.nodes {
            let reads = self.edges.iter().filter(|edge| edge.node == node && edge.is_kept).map(|edge| {
                let weight = edge.weight.map_or(String::new(), |weight| format!(" with weight {weight:.2}"));
                format!("{} through {}{weight}", state_name(edge.input, self.inputs), edge.op)
            });
            let reads: Vec<String> = reads.collect();
            // Writing to a string cannot fail.
            let _ = match reads.is_empty() {
                true => write!(text, "node {node} reads nothing; "),
                false => write!(text, "node {node} reads {}; ", reads.join(" and ")),
            };
        }
        let outputs: Vec<String> = self.concat.iter().map(|state| state_name(*state, self.inputs)).collect();
        text.push_str(&format!("the output is made of {}.", outputs.join(", ")));
        text
    }
}

/// What a state of a cell with so many inputs is called in plain text.
pub fn state_name(state: usize, inputs: usize) -> String {
    match state {
        0 if inputs == 1 => "c_{k-1}".to_owned(),
        0 => "c_{k-2}".to_owned(),
        1 if inputs > 1 => "c_{k-1}".to_owned(),
        state if state >= inputs => format!("node {}", state - inputs),
        state => FURTHER_INPUTS[(state - 2).min(1)].to_owned(),
    }
}

/// What an upsampling cell reads beside the two cells before it.
pub(crate) const FURTHER_INPUTS: [&str; 2] = ["prediction", "encoder"];

fn title_of(topology: Topology, cell: CellType) -> &'static str {
    if topology.has_reduction_cells() { title(cell) } else { "Cell" }
}

fn title(cell: CellType) -> &'static str {
    match cell {
        CellType::Normal => "Normal cell",
        CellType::Reduce => "Reduction cell",
    }
}

fn check_weights(weights: &[f32]) -> Result<(), DrawError> {
    weights.iter().enumerate().try_for_each(|(at, &given)| check_weight(at, given))
}

fn check_weight(at: usize, given: f32) -> Result<(), DrawError> {
    if (0.0..=1.0).contains(&given) { Ok(()) } else { Err(DrawError::Weight { at, given }) }
}
