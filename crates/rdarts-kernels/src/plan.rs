//! A cell laid out for execution: which stages run on which state, which branches go through the passes together (a
//! [`Unit`]), and how images are grouped.
//!
//! ThreadBuffers is split into at most [`CHUNKS`] groups of consecutive images. The groups depend on the batch alone, each
//! is one task, and their sums are added in their order: the result is the same whatever the number of threads.

use std::ops::Range;

use crate::ops::{self, Action, Start};
use crate::spec::{CellDims, CellSpec};
use crate::stage::{Gating, Stage};

/// Groups of images: more balance threads better, fewer need less memory for partial weight gradients.
/// 16 gives two threads of unequal speed eight turns each.
pub(crate) const CHUNKS: usize = 16;

/// Images of each group.
pub(crate) fn chunk_images(n: usize) -> usize {
    n.div_ceil(CHUNKS)
}

/// Consecutive images of a group that go through the stages together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// The first, counted in the group.
    pub first: usize,
    pub n: usize,
}

impl Span {
    /// Values of a state up to which images are taken together: 64 KiB, a small part of the second cache level.
    const VALUES: usize = 1 << 14;

    /// Their values, `len` each.
    pub fn of(self, len: usize) -> Range<usize> {
        self.first * len..(self.first + self.n) * len
    }
}

/// A stage with its place in the cell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed {
    pub stage: Stage,
    /// Position of its weights in the cell's flat slice.
    pub weights: usize,
    /// Which batch norm follows it, and which buffer its output has.
    pub norm: usize,
    /// What that one is.
    pub kind: NormKind,
}

/// What a batch norm behind a stage does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NormKind {
    /// In a supernet: it has neither scale nor shift.
    Plain,
    /// In a discrete cell: its scale, then its shift, lie here in the cell's flat slice, mean and variance here in that
    /// of its running statistics.
    Affine { at: usize, running: usize },
    /// A discrete cell has none behind a pool.
    Identity,
}

/// What a branch adds to its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Summand {
    Nothing,
    /// Its state: of the first two the batch norm of their preprocess block.
    State {
        buffer: usize,
        norm: Option<usize>,
    },
    /// Values of the key.
    Noise {
        buffer: usize,
    },
    /// What the batch norm behind its last stage makes.
    Norm(usize),
}

impl Summand {
    /// The buffer and, if a batch norm precedes, which.
    pub fn source(self) -> Option<(usize, Option<usize>)> {
        match self {
            Self::Nothing => None,
            Self::State { buffer, norm } => Some((buffer, norm)),
            Self::Noise { buffer } => Some((buffer, None)),
            Self::Norm(norm) => Some((norm, Some(norm))),
        }
    }
}

/// One candidate operation of one edge.
#[derive(Clone, Debug)]
pub(crate) struct Branch {
    pub edge: usize,
    /// Which drop-path factors it has: those of its edge, in a discrete cell its own.
    pub path: usize,
    /// Its mixing weight.
    pub alpha: usize,
    pub state: usize,
    pub node: usize,
    pub summand: Summand,
    /// Its one or two stages; none of a simple operation.
    pub stages: Vec<Placed>,
    /// The places of the branches that its stages work for: its own alone, or those of all that pool this state, if it is
    /// the first of them; then the others work for none.
    pub serves: Vec<usize>,
}

/// A cell for given sizes.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub n: usize,
    pub c: usize,
    pub nodes: usize,
    /// Rows and columns of states 0 and 1 and of the nodes.
    pub side_in: [usize; 2],
    pub side_out: [usize; 2],
    pub pre: [Placed; 2],
    /// In order of (node, state, shape of window).
    pub branches: Vec<Branch>,
    /// In which the branches go forward; they go back in the opposite order.
    pub units: Vec<Unit>,
    pub n_norms: usize,
    /// Of each batch norm what it is, and its channels.
    pub norms: Vec<(NormKind, usize)>,
    /// Running statistics.
    pub n_running: usize,
    /// Drop-path factors of an image.
    pub n_paths: usize,
    /// Values of one image in each buffer: one per norm, one per node (empty: nodes lie in the output), then noise.
    pub buffer_lens: Vec<usize>,
    pub n_weights: usize,
    pub n_alphas: usize,
    /// Channels and sides of s0 and s1.
    pub inputs: [(usize, [usize; 2]); 2],
}

impl Plan {
    /// # Panics
    /// If the sizes contradict the spec: both come from the program, not from a user.
    pub fn new(spec: &CellSpec, dims: CellDims) -> Self {
        let c = spec.c;
        let side_in = dims.side1;
        let expected0 = if spec.reduction_prev { dims.side0.map(|s| s.div_ceil(2)) } else { dims.side0 };
        assert_eq!(expected0, side_in, "s0 and s1 do not fit together");
        assert_eq!(spec.edges.len(), spec.edge_list().len(), "a cell of {} nodes needs other edges", spec.nodes);
        let (mut weights, mut norm, mut running) = (0, 0, 0);
        let mut lens = Vec::new();
        let mut norms = Vec::new();
        let mut place = |stage: Stage| {
            let at = weights + stage.weight_lens().iter().sum::<usize>();
            let kind = match spec.discrete {
                None => NormKind::Plain,
                Some(_) if spec.is_affine(&stage) => NormKind::Affine { at, running },
                Some(_) => NormKind::Identity,
            };
            let placed = Placed { stage, weights, norm, kind };
            let own = if matches!(kind, NormKind::Affine { .. }) { 2 * stage.c_out } else { 0 };
            (weights, running) = (at + own, running + own);
            norms.push((kind, stage.c_out));
            norm += 1;
            lens.push(stage.len_out());
            placed
        };
        let pre = [0, 1].map(|state| place(ops::preprocess(spec, state, [dims.side0, dims.side1][state])));
        let side_out = dims.side_out(spec);
        let mut branches = Vec::new();
        // Without weights a stage, whose batch norm has no parameters, is the same on every edge from a state.
        let mut shared: Vec<(usize, Placed)> = Vec::new();
        let mut noises = 0;
        for (edge, node, state) in spec.edge_list() {
            let start = Start { side: if state < 2 { side_in } else { side_out }, c, stride: spec.stride(state) };
            for (o, op) in spec.edges[edge].iter().enumerate() {
                let mut placed = |stage: Stage| {
                    let same = shared.iter().find(|(from, placed)| (*from, placed.stage) == (state, stage));
                    same.map(|(_, placed)| *placed).unwrap_or_else(|| {
                        let placed = place(stage);
                        if stage.weights() == [None; 2] {
                            shared.push((state, placed));
                        }
                        placed
                    })
                };
                let mut stages = Vec::new();
                let summand = match ops::action(*op, start) {
                    Action::Zero => Summand::Nothing,
                    // Nodes come behind all batch norms, whose number is not known yet; so does noise.
                    Action::Identity => Summand::State { buffer: state, norm: (state < 2).then_some(state) },
                    Action::Noise => {
                        noises += 1;
                        Summand::Noise { buffer: noises - 1 }
                    }
                    Action::Stages(all) => {
                        stages = all.into_iter().map(&mut placed).collect();
                        Summand::Norm(stages[stages.len() - 1].norm)
                    }
                };
                let alpha = spec.alpha_offset(edge) + o;
                let path = if spec.discrete.is_some() { alpha } else { edge };
                branches.push(Branch { edge, path, alpha, state, node, summand, stages, serves: Vec::new() });
            }
        }
        let n_norms = norm;
        // Nodes lie in the output.
        lens.extend(vec![0; spec.nodes]);
        lens.extend(vec![side_out[0] * side_out[1] * c; noises]);
        for branch in &mut branches {
            match &mut branch.summand {
                Summand::State { buffer, norm: None } => *buffer += n_norms - 2,
                Summand::Noise { buffer } => *buffer += n_norms + spec.nodes,
                _ => {}
            }
        }
        branches.sort_by_key(|b| (b.node, b.state, b.first_window_key()));
        for at in 0..branches.len() {
            // Of equal ones the first in this order goes first in every split into units, and comes back last.
            let first = (0..at).find(|first| branches[*first].shares_stage(&branches[at])).unwrap_or(at);
            branches[first].serves.push(at);
        }
        let mut plan = Self {
            n: dims.n,
            c,
            nodes: spec.nodes,
            side_in,
            side_out,
            pre,
            units: Vec::new(),
            branches,
            n_norms,
            norms,
            n_running: running,
            n_paths: spec.n_paths(),
            buffer_lens: lens,
            n_weights: weights,
            n_alphas: spec.n_alphas(),
            inputs: [(spec.c_prev_prev, dims.side0), (spec.c_prev, dims.side1)],
        };
        plan.units = plan.split(LARGE, UNIT);
        plan
    }

    /// Splits the branches into units, so that a node is complete before a branch starts there.
    ///
    /// Where the nodes have more than `large` bytes, the branches that lead to one node are a unit: they go back from the
    /// same gradient. Otherwise the branches are taken state by state. All of a state of more than `large` bytes are a unit:
    /// they read the same windows of it, and more cannot be gained. Of smaller ones as many are taken as make `unit` bytes,
    /// so that a pass finds most of what the one before it has made. The split depends on shapes alone, never on threads;
    /// on it depends the rounding of gradients.
    pub fn split(&self, large: usize, unit: usize) -> Vec<Unit> {
        let by_node = self.bytes(self.px(2) * self.c) > large;
        let units = if by_node { self.nodes_apart() } else { self.states_apart(large, unit) };
        let nodes_of = |places: &[usize]| {
            let mut nodes: Vec<usize> = places.iter().map(|at| self.branches[*at].node).collect();
            nodes.sort_unstable();
            nodes.dedup();
            nodes
        };
        let into = |node, places: &[usize]| {
            let branches = places.iter().copied().filter(|at| self.branches[*at].node == node).collect();
            Part { node, branches }
        };
        // Skip connections, which have no window, before all others.
        let by_window = |mut places: Vec<usize>| {
            places.sort_by_key(|at| (self.branches[*at].state, self.branches[*at].first_window_key()));
            places
        };
        let unit = |k: usize| {
            let (nodes, all) = (nodes_of(&units[k]), units[..=k].concat());
            let later = nodes_of(&units[k + 1..].concat());
            let ends = nodes.iter().filter(|node| !later.contains(node)).map(|node| into(*node, &all)).collect();
            let parts = nodes.iter().map(|node| into(*node, &units[k])).collect();
            let second = by_window(units[k].clone());
            // Node by node, all that start at a state go through their first stages as soon as it is there.
            let first = if by_node { by_window(self.started(&units[..k])) } else { second.clone() };
            Unit { first, second, parts, ends }
        };
        (0..units.len()).map(unit).collect()
    }

    fn nodes_apart(&self) -> Vec<Vec<usize>> {
        let into = |node| (0..self.branches.len()).filter(|at| self.branches[*at].node == node).collect();
        (0..self.nodes).map(into).filter(|places: &Vec<usize>| !places.is_empty()).collect()
    }

    fn states_apart(&self, large: usize, unit: usize) -> Vec<Vec<usize>> {
        let branches = &self.branches;
        let mut order: Vec<usize> = (0..branches.len()).collect();
        order.sort_by_key(|at| branches[*at].state);
        let mut units: Vec<Vec<usize>> = Vec::new();
        let mut taken = 0;
        for at in order {
            let b = &branches[at];
            let own = if b.runs() { &b.stages[..] } else { &[] };
            let made: usize = own.iter().map(|p| self.bytes(p.stage.len_out())).sum();
            let is_large = self.bytes(self.px(b.state) * self.c) > large;
            let fits = |places: &&mut Vec<usize>| {
                let same = branches[places[0]].state == b.state;
                let room = if is_large { same } else { taken + made <= unit };
                room && places.iter().all(|other| b.state != 2 + branches[*other].node)
            };
            match units.last_mut().filter(fits) {
                Some(places) => places.push(at),
                None => {
                    units.push(vec![at]);
                    taken = 0;
                }
            }
            taken += made;
        }
        units
    }

    /// The branches that can start once these units, each of all that leads to one node, are through, and not before.
    fn started(&self, units: &[Vec<usize>]) -> Vec<usize> {
        let node = units.last().map(|places| self.branches[places[0]].node);
        let empty: Vec<usize> = self.empty_nodes().map(|part| part.node).collect();
        let starts = |b: &Branch| match (node, b.state.checked_sub(2)) {
            (None, None) => true,
            (None, Some(from)) => empty.contains(&from),
            (Some(node), from) => from == Some(node),
        };
        (0..self.branches.len()).filter(|at| starts(&self.branches[*at])).collect()
    }

    fn bytes(&self, values: usize) -> usize {
        values * self.n * size_of::<f32>()
    }

    /// The nodes that no branch leads to.
    pub fn empty_nodes(&self) -> impl Iterator<Item = Part> + use<'_> {
        let empty = (0..self.nodes).filter(|node| self.branches.iter().all(|b| b.node != *node));
        empty.map(|node| Part { node, branches: Vec::new() })
    }

    /// The buffer of a state: what the batch norm of a preprocess block takes in, or the number that stands for a node,
    /// which only `Group::term` and `Place::Node` know where to find.
    pub fn state_buffer(&self, state: usize) -> usize {
        if state < 2 { state } else { self.n_norms + state - 2 }
    }

    /// The node that a buffer stands for, if it does.
    pub fn node_of(&self, buffer: usize) -> Option<usize> {
        buffer.checked_sub(self.n_norms).filter(|node| *node < self.nodes)
    }

    /// Where a few images of a node begin in the output of their group, or in anything of its shape, and how far apart
    /// their pixels are.
    pub fn in_output(&self, node: usize, span: Span) -> (usize, usize) {
        (span.first * self.out_len() + node * self.c, self.nodes * self.c)
    }

    /// How many buffers, from the first on, have a tangent: all but noise.
    pub fn n_moving(&self) -> usize {
        self.n_norms + self.nodes
    }

    /// The images of a group of n. With drop path they go one by one: each has factors of its own.
    pub fn spans(&self, n: usize, drop_path: &[f32]) -> impl Iterator<Item = Span> + use<> {
        let together = if drop_path.is_empty() { (Span::VALUES / (self.px(0) * self.c)).max(1) } else { 1 };
        (0..n).step_by(together).map(move |first| Span { first, n: together.min(n - first) })
    }

    /// Pixels of a state.
    pub fn px(&self, state: usize) -> usize {
        let [h, w] = if state < 2 { self.side_in } else { self.side_out };
        h * w
    }

    /// Values of the cell's output for one image.
    pub fn out_len(&self) -> usize {
        self.px(2) * self.nodes * self.c
    }

    /// Values of s0 or s1 for one image.
    pub fn input_len(&self, i: usize) -> usize {
        let (c, [h, w]) = self.inputs[i];
        c * h * w
    }

    /// The stages of every branch: shared ones as often as there are branches.
    pub fn stages(&self) -> impl Iterator<Item = &Placed> {
        let of_branches = self.branches.iter().flat_map(|b| &b.stages);
        self.pre.iter().chain(of_branches)
    }

    /// All weights in the form that `Stage::vjp` wants.
    pub fn transpose_weights(&self, w: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; self.n_weights];
        for p in self.stages() {
            p.stage.transpose(&w[p.weights..], &mut out[p.weights..]);
        }
        out
    }
}

/// Branches that go through the passes together, by their places, those that read the same window behind one another.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    /// Those that go through their first stages.
    pub first: Vec<usize>,
    /// Those that go through their second stages, if they have two, and count for their nodes from then on.
    pub second: Vec<usize>,
    /// The same, node by node.
    pub parts: Vec<Part>,
    /// The nodes that are complete with this unit, and all branches that lead there.
    pub ends: Vec<Part>,
}

/// Branches that lead to one node.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub node: usize,
    pub branches: Vec<usize>,
}

/// A state of more bytes does not stay in the second cache levels (1 MiB a core, of two cores) from one pass to the next.
const LARGE: usize = 2 << 20;

/// What the stages of a unit may leave, in bytes: one sep_conv of a state of [`LARGE`] bytes. See LOG.md for other sizes.
const UNIT: usize = 4 << 20;

impl Branch {
    /// Whether the first stage of both is one and the same.
    fn shares_stage(&self, other: &Self) -> bool {
        matches!((&self.stages[..], &other.stages[..]), ([a, ..], [b, ..]) if a.norm == b.norm)
    }

    /// Whether its stages go with it, not with another that has the same.
    pub fn runs(&self) -> bool {
        !self.serves.is_empty()
    }

    /// Whether the batch norm behind its last stage is that of other branches too.
    pub fn is_shared(&self) -> bool {
        self.serves.len() != 1
    }

    /// Whether its first stage reads the window of this other branch's.
    pub fn shares_window(&self, other: &Self) -> bool {
        self.state == other.state && self.first_window_key() == other.first_window_key()
    }

    /// Branches with equal keys read the same window of their state.
    fn first_window_key(&self) -> Option<(usize, Gating)> {
        self.stages.first().map(|p| (p.stage.win.pad, p.stage.map().gating()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdarts_space::Op;
    use rdarts_space::Op::{
        AvgPool3x3, DilConv5x5, MaxPool3x3, Noise, None as Zero, SepConv3x3, SepConv5x5, SkipConnect,
    };

    fn plan(ops: &[Op], c: usize, side: usize, n: usize, reduction: bool) -> Plan {
        let edges = vec![ops.to_vec(); 14];
        let spec = CellSpec {
            nodes: 4,
            c,
            c_prev_prev: c,
            c_prev: c,
            reduction,
            reduction_prev: false,
            edges,
            discrete: None,
        };
        Plan::new(&spec, CellDims { n, side0: [side; 2], side1: [side; 2] })
    }

    fn sizes(plan: &Plan) -> Vec<[usize; 2]> {
        plan.units.iter().map(|unit| [unit.first.len(), unit.second.len()]).collect()
    }

    #[test]
    fn units_are_nodes_or_states_where_these_are_large_and_edges_where_they_are_not() {
        let s2 = [SkipConnect, SepConv3x3];
        // States 0 and 1 have edges to 4 nodes, the others to 3, 2 and 1; 2 to 5 edges lead to a node.
        assert_eq!(sizes(&plan(&s2, 16, 32, 64, false)), [[16, 4], [6, 6], [4, 8], [2, 10]]);
        let darts = [Zero, MaxPool3x3, AvgPool3x3, SkipConnect, SepConv3x3];
        assert_eq!(sizes(&plan(&darts, 16, 32, 64, false)), [[40, 10], [15, 15], [10, 20], [5, 25]]);
        // States 0 and 1 are large, nodes are not.
        assert_eq!(sizes(&plan(&s2, 32, 32, 64, true))[..2], [[8, 8], [8, 8]]);
        // 2 MiB a state: a sep_conv_3x3 is 4 MiB, and what costs nothing comes along.
        let small = sizes(&plan(&s2, 32, 16, 64, false));
        assert_eq!(small.iter().map(|[_, n]| n).sum::<usize>(), 28);
        assert!(small.iter().all(|[first, second]| first == second && *second <= 3));
    }

    #[test]
    fn a_pool_of_a_state_is_one_for_all_its_edges() {
        for reduction in [false, true] {
            let plan = plan(&[MaxPool3x3, SepConv3x3, AvgPool3x3], 16, 32, 64, reduction);
            // Of the five states that edges start at each has two pools, of 14 edges each has two halves.
            assert_eq!(plan.n_norms, 2 + 5 * 2 + 14 * 2);
            let mut served: Vec<usize> = plan.branches.iter().flat_map(|b| b.serves.clone()).collect();
            served.sort_unstable();
            assert!(served.into_iter().eq(0..plan.branches.len()));
            for (at, b) in plan.branches.iter().enumerate().filter(|(_, b)| b.serves.len() > 1) {
                assert_eq!(b.serves[0], at);
                for other in b.serves.iter().map(|at| &plan.branches[*at]) {
                    assert_eq!((other.state, other.stages[0].norm), (b.state, b.stages[0].norm));
                }
            }
        }
    }

    #[test]
    fn every_branch_has_its_turn_after_what_it_needs() {
        let kinds: [&[Op]; 5] = [
            &[SkipConnect, SepConv3x3],
            &[Zero, Noise],
            &[Zero, DilConv5x5, SkipConnect, MaxPool3x3],
            &[SepConv5x5, AvgPool3x3],
            &[MaxPool3x3, AvgPool3x3],
        ];
        for (ops, reduction) in kinds.iter().flat_map(|ops| [(ops, false), (ops, true)]) {
            for (c, side, n) in [(8, 4, 2), (16, 16, 64), (16, 32, 64), (32, 16, 64)] {
                let mut plan = plan(ops, c, side, n, reduction);
                for (large, unit) in [(0, 0), (LARGE, UNIT), (usize::MAX, 0), (usize::MAX, usize::MAX)] {
                    plan.units = plan.split(large, unit);
                    check(&plan);
                }
            }
        }
    }

    fn check(plan: &Plan) {
        let sorted = |places: &mut Vec<usize>| places.sort_unstable();
        let all: Vec<usize> = (0..plan.branches.len()).collect();
        for stage in [|unit: &Unit| unit.first.clone(), |unit: &Unit| unit.second.clone()] {
            let mut places: Vec<usize> = plan.units.iter().flat_map(stage).collect();
            sorted(&mut places);
            assert_eq!(places, all);
        }
        let mut complete: Vec<bool> = vec![false; plan.nodes];
        plan.empty_nodes().for_each(|part| complete[part.node] = true);
        let mut started = vec![false; plan.branches.len()];
        for unit in &plan.units {
            let mut in_parts: Vec<usize> = unit.parts.iter().flat_map(|part| part.branches.clone()).collect();
            let mut second = unit.second.clone();
            sorted(&mut in_parts);
            sorted(&mut second);
            assert_eq!(in_parts, second);
            assert!(unit.parts.iter().all(|part| part.branches.iter().all(|b| plan.branches[*b].node == part.node)));
            for pair in unit.first.windows(2) {
                let [a, b] = [0, 1].map(|k| &plan.branches[pair[k]]);
                let staged = !a.stages.is_empty() && a.state == b.state;
                assert!(!staged || !b.stages.is_empty(), "a skip connection behind a stage of its state");
            }
            for at in &unit.first {
                let b = &plan.branches[*at];
                assert!(b.state < 2 || complete[b.state - 2], "a branch starts at a node that is not complete");
                started[*at] = true;
            }
            // No branch starts before the one that its stages go with.
            for at in &unit.first {
                assert!(plan.branches.iter().all(|b| !b.serves.contains(at) || started[b.serves[0]]));
            }
            assert!(
                unit.second.iter().all(|at| started[*at]),
                "a branch goes through its second stage before its first"
            );
            for end in &unit.ends {
                assert!(!std::mem::replace(&mut complete[end.node], true), "a node is complete once");
                let into = plan.branches.iter().filter(|b| b.node == end.node).count();
                assert_eq!(end.branches.len(), into);
            }
        }
        assert!(complete.into_iter().all(|complete| complete));
    }
}
