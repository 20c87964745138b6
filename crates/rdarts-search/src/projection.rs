//! What a selection has decided of the cells so far, and how it decides: pure functions of scores.
//!
//! ```text
//! p_e = softmax(alpha_e)    of an edge that is still open
//! p_e = one-hot             of an edge whose operation is decided
//! p_e = 0                   of an edge that its node does without
//! ```
//!
//! All edges of a cell are decided first, one after another; then, of each node with more than two inputs, which two stay.

use rdarts_net::{Alphas, Network};
use rdarts_rng::Stream;
use rdarts_space::{CellType, Genotype, Op, Space, Topology, derive};

/// What is decided of the edges of the normal and of the reduction cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Projection {
    edges: [Vec<Edge>; 2],
    nodes: usize,
    topology: Topology,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Edge {
    Open,
    /// The place of its operation.
    Decided(usize),
    /// Its node does without it.
    Dropped,
}

/// What is decided next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Question {
    /// Which operation of an edge stays.
    Operation {
        /// The edge.
        edge: usize,
    },
    /// Which two inputs of a node stay.
    Inputs {
        /// The node, counted from 0.
        node: usize,
    },
}

impl Projection {
    /// Nothing is decided.
    pub fn new(space: &Space) -> Self {
        let of = |cell| vec![Edge::Open; space.cell(cell).len()];
        Self { edges: CellType::ALL.map(of), nodes: space.nodes, topology: space.topology }
    }

    /// What is decided next of a type of cell, drawn from `stream`; `None`: all is.
    pub fn question(&self, cell: CellType, stream: &mut Stream) -> Option<Question> {
        let edges = &self.edges[cell as usize];
        let open: Vec<usize> = (0..edges.len()).filter(|edge| edges[*edge] == Edge::Open).collect();
        if !open.is_empty() {
            return Some(Question::Operation { edge: open[stream.below(open.len())] });
        }
        let topology = self.topology;
        let n_inputs = |node: usize| if edges.is_empty() { 0 } else { node + topology.n_inputs() };
        // The first node of DARTS has two inputs.
        let is_open = |node: &usize| {
            n_inputs(*node) > topology.kept(*node)
                && (0..n_inputs(*node)).all(|input| edges[topology.edge_index(*node, input)] != Edge::Dropped)
        };
        let open: Vec<usize> = (0..self.nodes).filter(is_open).collect();
        (!open.is_empty()).then(|| Question::Inputs { node: open[stream.below(open.len())] })
    }

    /// Decides a question: `kept` are the places of what stays among the candidates.
    pub fn decide(&mut self, cell: CellType, question: Question, kept: &[usize]) {
        let edges = &mut self.edges[cell as usize];
        match question {
            Question::Operation { edge } => edges[edge] = Edge::Decided(kept[0]),
            Question::Inputs { node } => {
                let dropped = (0..node + self.topology.n_inputs()).filter(|input| !kept.contains(input));
                dropped.for_each(|input| edges[self.topology.edge_index(node, input)] = Edge::Dropped);
            }
        }
    }

    /// Mixing weights p with what is decided in place of them.
    pub fn mixed(&self, net: &Network, p: &Alphas) -> Alphas {
        let sizes = |at| net.edge_sizes(at);
        let of_type = |(at, p): (usize, &Vec<f64>)| self.rows(at, &sizes(at), p, 0.0, 1.0, 0.0);
        p.each().iter().enumerate().map(of_type).collect()
    }

    /// The genotype of the decided edges, and of the alphas of the others.
    pub fn genotype(&self, space: &Space, alphas: [&[f32]; 2]) -> Genotype {
        let rows = |cell: CellType| {
            let sizes: Vec<usize> = space.cell(cell).iter().map(Vec::len).collect();
            // No number is the weakest edge of all.
            self.rows(cell as usize, &sizes, alphas[cell as usize], f32::NEG_INFINITY, 0.0, f32::NAN)
        };
        let [normal, reduce] = CellType::ALL.map(rows);
        derive(space, &normal, &reduce)
    }

    /// For a checkpoint: of each edge of the normal and then of the reduction cell -1 if it is open, -2 if its node does without
    /// it, else the place of its operation.
    pub fn pack(&self) -> Vec<i64> {
        let of = |edge: &Edge| match edge {
            Edge::Open => -1,
            Edge::Dropped => -2,
            Edge::Decided(op) => *op as i64,
        };
        self.edges.iter().flatten().map(of).collect()
    }

    /// The same cells as a checkpoint has them. What is no operation of an edge makes it one that its node does without.
    pub fn unpacked(&self, packed: &[i64]) -> Self {
        let of = |v: &i64| match *v {
            -1 => Edge::Open,
            op => usize::try_from(op).map_or(Edge::Dropped, Edge::Decided),
        };
        let (normal, reduce) = packed.split_at(self.edges[0].len().min(packed.len()));
        Self { edges: [normal, reduce].map(|edges| edges.iter().map(of).collect()), ..*self }
    }

    /// The values of the edges of a type, those of decided ones in place of what they were: `off` and `on` where an operation is
    /// decided, `dropped` where there is none.
    fn rows<T: Copy>(&self, at: usize, sizes: &[usize], values: &[T], off: T, on: T, dropped: T) -> Vec<T> {
        let mut rest = values;
        let mut rows = Vec::with_capacity(values.len());
        for (edge, n) in self.edges[at].iter().zip(sizes) {
            let (own, after) = rest.split_at(*n);
            rest = after;
            match edge {
                Edge::Open => rows.extend_from_slice(own),
                Edge::Decided(op) => rows.extend((0..*n).map(|k| if k == *op { on } else { off })),
                Edge::Dropped => rows.extend(std::iter::repeat_n(dropped, *n)),
            }
        }
        rows
    }
}

impl Question {
    /// The candidates: the operations of the edge, or the inputs of the node.
    pub fn candidates(self, ops: &[Vec<Op>]) -> Vec<String> {
        match self {
            Self::Operation { edge } => ops[edge].iter().map(ToString::to_string).collect(),
            Self::Inputs { node } => (0..node + 2).map(|input| input.to_string()).collect(),
        }
    }

    /// Mixing weights of one type of cell without a candidate; the others stay as they are.
    pub fn without(self, candidate: usize, sizes: &[usize], p: &[f64]) -> Vec<f64> {
        let start = |edge: usize| sizes[..edge].iter().sum::<usize>();
        let range = match self {
            Self::Operation { edge } => start(edge) + candidate..start(edge) + candidate + 1,
            Self::Inputs { node } => {
                let edge = Topology::Darts.edge_index(node, candidate);
                start(edge)..start(edge + 1)
            }
        };
        let mut p = p.to_vec();
        p[range].fill(0.0);
        p
    }

    /// The places of the candidates that stay: those without which the supernet is worst.
    pub fn kept(self, accuracy: &[f64], loss: &[f64]) -> Vec<usize> {
        let n = if matches!(self, Self::Operation { .. }) { 1 } else { 2 };
        let mut order: Vec<usize> = (0..accuracy.len()).collect();
        order.sort_by(|&a, &b| accuracy[a].total_cmp(&accuracy[b]).then(loss[b].total_cmp(&loss[a])));
        order.truncate(n);
        order.sort_unstable();
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(question: Question, accuracy: &[f64]) -> Vec<usize> {
        question.kept(accuracy, &vec![1.0; accuracy.len()])
    }

    #[test]
    fn what_is_missed_most_stays() {
        let (edge, node) = (Question::Operation { edge: 0 }, Question::Inputs { node: 2 });
        assert_eq!(kept(edge, &[0.5, 0.25, 0.75]), [1]);
        assert_eq!(kept(node, &[0.5, 0.25, 0.75, 0.4]), [1, 3]);
        // Of equals the first, unless the loss tells them apart.
        assert_eq!(kept(edge, &[0.5, 0.25, 0.25]), [1]);
        assert_eq!(kept(node, &[0.5, 0.25, 0.5, 0.5]), [0, 1]);
        assert_eq!(edge.kept(&[0.5, 0.25, 0.25], &[1.0, 1.0, 1.5]), [2]);
    }

    #[test]
    fn a_selection_ends_with_an_architecture_of_what_was_missed_most() {
        // How much each operation of each edge is missed, and each edge as a whole, drawn at random.
        let space = Space::builtin("darts").unwrap();
        for seed in 0..20 {
            let mut stream = Stream::new(seed, "test", 0);
            let worth: Vec<Vec<f64>> =
                space.normal.iter().map(|ops| ops.iter().map(|_| stream.uniform()).collect()).collect();
            let whole: Vec<f64> = worth.iter().map(|_| stream.uniform()).collect();
            let mut projection = Projection::new(&space);
            let (mut n, mut n_inputs) = (0, 0);
            while let Some(question) = projection.question(CellType::Normal, &mut stream) {
                let missed: Vec<f64> = match question {
                    Question::Operation { edge } => worth[edge].clone(),
                    Question::Inputs { node } => {
                        (0..node + 2).map(|input| whole[Topology::Darts.edge_index(node, input)]).collect()
                    }
                };
                n_inputs += usize::from(matches!(question, Question::Inputs { .. }));
                assert!(n_inputs == 0 || n >= 14, "operations come first");
                let without: Vec<f64> = missed.iter().map(|missed| 1.0 - missed).collect();
                projection.decide(CellType::Normal, question, &kept(question, &without));
                assert_eq!(Projection::new(&space).unpacked(&projection.pack()), projection);
                n += 1;
            }
            assert_eq!((n, n_inputs), (space.n_decisions(), 3));
            let zeros = vec![0.0; space.n_alphas(CellType::Normal)];
            let found = projection.genotype(&space, [&zeros, &zeros]);
            for node in 0..space.nodes {
                let mut inputs: Vec<usize> = (0..node + 2).collect();
                inputs.sort_by(|a, b| {
                    whole[Topology::Darts.edge_index(node, *b)].total_cmp(&whole[Topology::Darts.edge_index(node, *a)])
                });
                let mut inputs = if node == 0 { vec![0, 1] } else { inputs[..2].to_vec() };
                inputs.sort_unstable();
                for input in inputs {
                    let worth = &worth[Topology::Darts.edge_index(node, input)];
                    let best = (0..8).max_by(|a, b| worth[*a].total_cmp(&worth[*b])).unwrap();
                    let pair = &found.normal[2 * node..2 * node + 2];
                    let (op, _) =
                        pair.iter().find(|(_, from)| *from == input).expect("the inputs that were missed most");
                    // Of an edge whose `none` is missed most, a genotype cannot say so.
                    assert!(best == 0 || *op == space.normal[0][best], "{found:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_left_out_is_one_operation_or_one_edge() {
        let (sizes, p) = ([2, 3, 1, 2, 2], [0.1, 0.9, 0.2, 0.3, 0.5, 1.0, 0.4, 0.6, 0.7, 0.3]);
        let without = Question::Operation { edge: 1 }.without(2, &sizes, &p);
        assert_eq!(without, [0.1, 0.9, 0.2, 0.3, 0.0, 1.0, 0.4, 0.6, 0.7, 0.3]);
        let without = Question::Inputs { node: 1 }.without(1, &sizes, &p);
        assert_eq!(without, [0.1, 0.9, 0.2, 0.3, 0.5, 1.0, 0.0, 0.0, 0.7, 0.3]);
    }
}
