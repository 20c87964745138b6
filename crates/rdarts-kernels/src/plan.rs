//! A cell laid out for execution: which stages run on which state, and how images are grouped.
//!
//! Work is split into at most [`CHUNKS`] groups of consecutive images. The groups depend on the batch alone, each
//! is one task, and their sums are added in their order: the result is the same whatever the number of threads.

use std::ops::Range;

use rayon::prelude::*;

use crate::simd::Isa;
use crate::simd::window::Window;
use crate::spec::{CellDims, CellSpec, OpKind};
use crate::stage::Stage;

/// Groups of images: more balance threads better, fewer need less memory for partial weight gradients.
/// 16 gives two threads of unequal speed eight turns each.
pub(crate) const CHUNKS: usize = 16;

/// Images of each group.
pub(crate) fn chunk_images(n: usize) -> usize {
    n.div_ceil(CHUNKS)
}

/// The order in which passes go over the images: to and fro. The tensors of a batch are larger than the caches; what
/// one pass touched last, the next one finds there if it comes first. In one direction only, a cache that is a
/// little too small for a pass would miss everything. (On a busy machine, whose third level belongs to others, the
/// times are the same either way.)
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Direction {
    backwards: bool,
}

impl Direction {
    /// Turns round.
    pub fn turn(&mut self) -> Self {
        self.backwards = !self.backwards;
        *self
    }

    /// 0..n in this direction.
    pub fn images(self, n: usize) -> impl Iterator<Item = usize> {
        (0..n).map(move |i| if self.backwards { n - 1 - i } else { i })
    }

    /// f of every item in parallel, begun in this direction; the results are in the order of the items.
    pub fn map<I: IndexedParallelIterator, R: Send>(self, items: I, f: impl Fn(I::Item) -> R + Sync + Send) -> Vec<R> {
        if self.backwards {
            let mut results: Vec<R> = items.rev().map(f).collect();
            results.reverse();
            results
        } else {
            items.map(f).collect()
        }
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
}

/// What a candidate operation does.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Nothing (`none`).
    Zero,
    /// The state itself.
    Identity,
    /// Values of the key, in this buffer.
    Noise { buffer: usize },
    /// One or two stages.
    Stages(Vec<Placed>),
}

/// One candidate operation of one edge.
#[derive(Clone, Debug)]
pub(crate) struct Branch {
    pub edge: usize,
    /// Its mixing weight.
    pub alpha: usize,
    pub state: usize,
    pub node: usize,
    pub action: Action,
}

/// Branches of one node whose stages run together over all images, before the next group starts.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub node: usize,
    /// Its part of [`Plan::branches`].
    pub branches: Range<usize>,
    /// Whether it is the node's first or last.
    pub first: bool,
    pub last: bool,
}

/// Bytes of stage outputs that one group may make, unless a single branch makes more: the second half of a
/// separable convolution, the weighted sum and, on the way back, both halves find in the third cache level what the
/// pass before left there. On a shared machine with 32 MiB of it, 1, 8, 17 and 100 MiB took 26, 23.5, 22 and 22.5 ms
/// for the value of a cell of 16 channels and 8.8, 8.8, 9.1 and 9.4 ms for one of 64, so that little depends on it.
const GROUP_BYTES: usize = 8 << 20;

/// Cuts the branches, sorted by node, into groups.
fn group(branches: &[Branch], nodes: usize, n: usize) -> Vec<Group> {
    let mut groups = Vec::new();
    let mut start = 0;
    for node in 0..nodes {
        let end = start + branches[start..].iter().take_while(|b| b.node == node).count();
        let (mut from, mut bytes, mut first) = (start, 0, true);
        for (at, branch) in branches.iter().enumerate().take(end).skip(start) {
            let more = branch.placed().iter().map(|p| p.stage.len_out() * n * size_of::<f32>()).sum::<usize>();
            if bytes > 0 && bytes + more > GROUP_BYTES {
                groups.push(Group { node, branches: from..at, first, last: false });
                (from, bytes, first) = (at, 0, false);
            }
            bytes += more;
        }
        groups.push(Group { node, branches: from..end, first, last: true });
        start = end;
    }
    groups
}

/// A cell for given sizes.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub isa: Isa,
    pub n: usize,
    pub c: usize,
    pub nodes: usize,
    /// The edges from states 0 and 1 have stride 2.
    pub reduction: bool,
    /// Rows and columns of states 0 and 1 and of the nodes.
    pub side_in: [usize; 2],
    pub side_out: [usize; 2],
    pub pre: [Placed; 2],
    /// In order of (node, newest state first, shape of window), so that neighbours can share a window.
    pub branches: Vec<Branch>,
    /// The order of work.
    pub groups: Vec<Group>,
    pub n_norms: usize,
    /// Values of one image in each buffer: one per norm, one per node, then noise.
    pub buffer_lens: Vec<usize>,
    pub n_weights: usize,
    pub n_alphas: usize,
    /// Channels and sides of s0 and s1.
    pub inputs: [(usize, [usize; 2]); 2],
}

impl Plan {
    /// # Panics
    /// If the sizes contradict the spec: both come from the program, not from a user.
    pub fn new(spec: &CellSpec, dims: CellDims, isa: Isa) -> Self {
        let c = spec.c;
        let side_in = dims.side1;
        let expected0 = if spec.reduction_prev { dims.side0.map(|s| s.div_ceil(2)) } else { dims.side0 };
        assert_eq!(expected0, side_in, "s0 and s1 do not fit together");
        assert_eq!(spec.edges.len(), spec.edge_list().len(), "a cell of {} nodes needs other edges", spec.nodes);
        let (mut weights, mut norm) = (0, 0);
        let mut lens = Vec::new();
        let mut place = |stage: Stage| {
            let placed = Placed { stage, weights, norm };
            weights += stage.weight_lens().iter().sum::<usize>();
            norm += 1;
            lens.push(stage.len_out());
            placed
        };
        let input = |c_in: usize, [h, w]: [usize; 2], factorized: bool| {
            if factorized {
                Stage::Factorized { win: Window { h, w, c: c_in, pad: 1 }, c_out: c }
            } else {
                Stage::Pointwise { win: Window { h, w, c: c_in, pad: 0 }, c_out: c }
            }
        };
        let pre0 = place(input(spec.c_prev_prev, dims.side0, spec.reduction_prev));
        let pre1 = place(input(spec.c_prev, dims.side1, false));
        let side_out = dims.side_out(spec);
        let mut branches = Vec::new();
        for (edge, node, state) in spec.edge_list() {
            let stride = spec.stride(state);
            let [h, w] = if state < 2 { side_in } else { side_out };
            let [h_out, w_out] = side_out;
            let pool = Window { h, w, c, pad: 1 };
            for (o, op) in spec.edges[edge].iter().enumerate() {
                let action = match *op {
                    OpKind::None => Action::Zero,
                    OpKind::Noise => Action::Noise { buffer: 0 },
                    OpKind::Skip if stride == 1 => Action::Identity,
                    OpKind::Skip => Action::Stages(vec![place(Stage::Factorized { win: pool, c_out: c })]),
                    OpKind::MaxPool3 => Action::Stages(vec![place(Stage::Max { win: pool, stride })]),
                    OpKind::AvgPool3 => Action::Stages(vec![place(Stage::Average { win: pool, stride })]),
                    OpKind::SepConv(k) => Action::Stages(vec![
                        place(Stage::half(h, w, c, k, stride, 1)),
                        place(Stage::half(h_out, w_out, c, k, 1, 1)),
                    ]),
                    OpKind::DilConv(k) => Action::Stages(vec![place(Stage::half(h, w, c, k, stride, 2))]),
                    OpKind::Conv7x1 => {
                        let win = Window { h, w, c, pad: 3 };
                        Action::Stages(vec![place(Stage::Seven { win, stride })])
                    }
                };
                branches.push(Branch { edge, alpha: spec.alpha_offset(edge) + o, state, node, action });
            }
        }
        let n_norms = norm;
        lens.extend(vec![side_out[0] * side_out[1] * c; spec.nodes]);
        for branch in &mut branches {
            if let Action::Noise { buffer } = &mut branch.action {
                *buffer = lens.len();
                lens.push(side_out[0] * side_out[1] * c);
            }
        }
        branches.sort_by_key(|b| (b.node, std::cmp::Reverse(b.state), b.first_window_key()));
        let groups = group(&branches, spec.nodes, dims.n);
        Self {
            isa,
            n: dims.n,
            c,
            nodes: spec.nodes,
            reduction: spec.reduction,
            side_in,
            side_out,
            pre: [pre0, pre1],
            branches,
            groups,
            n_norms,
            buffer_lens: lens,
            n_weights: weights,
            n_alphas: spec.n_alphas(),
            inputs: [(spec.c_prev_prev, dims.side0), (spec.c_prev, dims.side1)],
        }
    }

    /// In a reduction cell the branches from states 0 and 1, by state and window. Their first stages run before all
    /// groups: they read four times what they write, and so share a window over all nodes (forward of a cell of 32
    /// channels and side 32: 24 ms without, 20 ms with).
    pub fn early(&self) -> Vec<&Branch> {
        let mut early: Vec<&Branch> = self.branches.iter().filter(|b| self.is_early(b)).collect();
        early.sort_by_key(|b| (b.state, b.first_window_key()));
        early
    }

    /// The branches of a group whose first stages run with it.
    pub fn late(&self, group: &Group) -> Vec<&Branch> {
        self.branches[group.branches.clone()].iter().filter(|b| !b.placed().is_empty() && !self.is_early(b)).collect()
    }

    fn is_early(&self, branch: &Branch) -> bool {
        self.reduction && branch.state < 2 && !branch.placed().is_empty()
    }

    /// The buffer of a state: what the batch norm of a preprocess block takes in, or a node.
    pub fn state_buffer(&self, state: usize) -> usize {
        if state < 2 { state } else { self.n_norms + state - 2 }
    }

    /// How many buffers, from the first on, have a tangent: all but noise.
    pub fn n_moving(&self) -> usize {
        self.n_norms + self.nodes
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

    /// Every stage, with the branch's state for first stages.
    pub fn stages(&self) -> impl Iterator<Item = &Placed> {
        let of_branches = self.branches.iter().flat_map(|b| b.placed());
        self.pre.iter().chain(of_branches)
    }

    /// Largest window of any stage.
    pub fn max_window(&self) -> usize {
        self.stages().map(|p| p.stage.window().len()).max().unwrap_or(0)
    }

    /// Largest output of any stage for one image.
    pub fn max_out(&self) -> usize {
        let states = self.px(0).max(self.px(2)) * self.c;
        self.stages().map(|p| p.stage.len_out()).max().unwrap_or(0).max(states)
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

impl Branch {
    /// Its stages, none for the simple operations.
    pub fn placed(&self) -> &[Placed] {
        match &self.action {
            Action::Stages(stages) => stages,
            _ => &[],
        }
    }

    /// The last stage, whose batch norm feeds the node.
    pub fn last(&self) -> Option<&Placed> {
        self.placed().last()
    }

    /// Whether its first stage reads the window of this other branch's.
    pub fn shares_window(&self, other: &Self) -> bool {
        self.state == other.state && self.first_window_key() == other.first_window_key()
    }

    fn first_window_key(&self) -> Option<WindowKey> {
        self.placed().first().map(|p| WindowKey::of(&p.stage))
    }
}

/// Two stages with equal keys read the same window of the same state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct WindowKey {
    pad: usize,
    relu: bool,
    max: bool,
}

impl WindowKey {
    fn of(stage: &Stage) -> Self {
        Self { pad: stage.window().pad, relu: stage.has_relu(), max: matches!(stage, Stage::Max { .. }) }
    }
}
