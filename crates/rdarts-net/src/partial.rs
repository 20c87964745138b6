//! A supernet whose mixed operations see a part of the channels (PC-DARTS: Xu et al., "Partial Channel Connections for
//! Memory-Efficient Architecture Search", ICLR 2020, sections 3.2 and 3.3).
//!
//! With x the first of `share` equal parts of the channels of a state, x' the others, alpha_e the parameters of edge e and beta those
//! of the edges into a node:
//!
//! ```text
//! y_e  = shuffle(sum_o softmax(alpha_e)_o o(x),  x')        x' through max pools of 2 x 2 where the edge has stride 2
//! node = sum_e softmax(beta)_e y_e
//! ```
//!
//! shuffle takes channels of the `share` parts in turn, so that the next mixed operation sees others. Stem, blocks in front of a cell,
//! reductions and classifier are those of [`Network::supernet`], and so are the names of the weights.
//!
//! It is a network of layers: its four types of mixing weights are those of [`CellType`], one list of operations an edge, and the
//! edges' own of both, one list of inputs a node. So all derivatives know alphas and betas alike. Slices of channels are copied,
//! one a state, since the fused cell takes whole states.

use rdarts_kernels::dense::{DepthwiseSpec, Layer, PoolSpec};
use rdarts_space::{CellType, Op};

use crate::graph::{Network, Source};
use crate::supernet::SupernetSpec;
use crate::wiring::{State, Wiring};

/// What a supernet of partial channels is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartialSpec {
    /// Its shape, as that of a supernet of all channels.
    pub supernet: SupernetSpec,
    /// One of so many channels goes through the operations.
    pub share: usize,
}

impl PartialSpec {
    /// Why there is no such network.
    ///
    /// # Errors
    /// One sentence if the channels have no such share, or an operation is not made of layers.
    pub fn check(&self) -> Result<(), String> {
        let SupernetSpec { c, normal, reduce, .. } = &self.supernet;
        if self.share == 0 || !c.is_multiple_of(self.share) {
            return Err(format!("{c} channels cannot be divided into {} equal parts", self.share));
        }
        let mut ops = normal.iter().chain(reduce).flatten();
        match ops.find(|op| matches!(op, Op::Noise | Op::Conv7x1_1x7 | Op::NorConv1x1 | Op::NorConv3x3)) {
            Some(op) => Err(format!("a supernet of partial channels has no operation {op}")),
            None => Ok(()),
        }
    }
}

/// The type of mixing weights of the edges of a cell.
pub fn edge_type(cell: CellType) -> usize {
    CellType::ALL.len() + cell as usize
}

impl Network {
    /// Wires a supernet of partial channels.
    ///
    /// # Panics
    /// If [`PartialSpec::check`] has an error, or as [`Network::supernet`].
    pub fn partial(spec: &PartialSpec) -> Self {
        spec.check().unwrap_or_else(|why| panic!("{why}"));
        let SupernetSpec { nodes, normal, reduce, c_image, .. } = &spec.supernet;
        // An input of a node is taken as it is.
        let inputs: Vec<Vec<Op>> = (0..*nodes).map(|node| vec![Op::SkipConnect; node + 2]).collect();
        let cell_types = vec![normal.clone(), reduce.clone(), inputs.clone(), inputs];
        let mut wired = Wired { spec, layers: Wiring::default() };
        let output = wired.network();
        Self::new(wired.layers.list, output, cell_types, *c_image)
    }
}

/// A state of a cell, and its parts as far as an edge has asked for them.
struct Parts {
    whole: State,
    /// For the operations.
    seen: Option<State>,
    /// For those that see it at a stride of 1 and of 2.
    passed: [Option<State>; 2],
    /// Pools have no weights: each is one for all edges.
    pools: Vec<(Op, usize, State)>,
}

/// The network as far as it is wired.
struct Wired<'a> {
    spec: &'a PartialSpec,
    layers: Wiring,
}

impl Wired<'_> {
    fn network(&mut self) -> usize {
        let SupernetSpec { cells, c, stem_multiplier, reductions, c_image, classes, .. } = &self.spec.supernet;
        let images = State { at: Source::Images, c: *c_image };
        let stem = self.layers.convolution(images, stem_multiplier * c, 3, 1, "stem.0.");
        let stem = self.layers.scaled_norm(stem, "stem.1.");
        let (mut before, mut c, mut is_reduced) = ([stem; 2], *c, false);
        for index in 0..*cells {
            let reduction = reductions.contains(&index);
            c *= if reduction { 2 } else { 1 };
            let state = self.cell(before, c, reduction, is_reduced, &format!("cells.{index}."));
            (before, is_reduced) = ([before[1], state], reduction);
        }
        self.layers.classifier(before[1], *classes)
    }

    /// Relu, a product of each pixel, norm.
    fn block(&mut self, x: State, c: usize, prefix: &str) -> State {
        let x = self.layers.add(Layer::Relu, &[x], x.c, prefix);
        let x = self.layers.convolution(x, c, 1, 1, &format!("{prefix}op.1."));
        self.layers.add(Layer::Norm, &[x], c, prefix)
    }

    /// Relu, products of the even and of the odd pixels side by side, norm.
    fn factorized(&mut self, x: State, c: usize, prefix: &str) -> State {
        let x = self.layers.add(Layer::Relu, &[x], x.c, prefix);
        let even = self.layers.convolution(x, c / 2, 1, 2, &format!("{prefix}conv_1."));
        let odd = self.layers.add(Layer::Shift, &[x], x.c, prefix);
        let odd = self.layers.convolution(odd, c - c / 2, 1, 2, &format!("{prefix}conv_2."));
        let x = self.layers.add(Layer::Concat, &[even, odd], c, prefix);
        self.layers.add(Layer::Norm, &[x], c, prefix)
    }

    /// Relu, a window of each channel, a product of each pixel, norm; the names count the modules of PyTorch's sequence.
    fn separable(&mut self, x: State, k: usize, [stride, dilation]: [usize; 2], first: usize, prefix: &str) -> State {
        let x = self.layers.add(Layer::Relu, &[x], x.c, prefix);
        let window = DepthwiseSpec { c: x.c, k, stride, dilation };
        let x = self.layers.add(Layer::Depthwise(window), &[x], x.c, &format!("{prefix}op.{}.", first + 1));
        let x = self.layers.convolution(x, x.c, 1, 1, &format!("{prefix}op.{}.", first + 2));
        self.layers.add(Layer::Norm, &[x], x.c, prefix)
    }

    /// A cell; `is_reduced` says that the state before the last is twice as large as the last.
    fn cell(&mut self, [s0, s1]: [State; 2], c: usize, reduction: bool, is_reduced: bool, prefix: &str) -> State {
        let name = format!("{prefix}preprocess0.");
        let s0 = if is_reduced { self.factorized(s0, c, &name) } else { self.block(s0, c, &name) };
        let s1 = self.block(s1, c, &format!("{prefix}preprocess1."));
        let cell = if reduction { CellType::Reduce } else { CellType::Normal };
        let all = match cell {
            CellType::Normal => &self.spec.supernet.normal,
            CellType::Reduce => &self.spec.supernet.reduce,
        };
        let whole = |whole| Parts { whole, seen: None, passed: [None; 2], pools: Vec::new() };
        let mut states = vec![whole(s0), whole(s1)];
        let (mut edge, mut alpha) = (0, 0);
        for _ in 0..self.spec.supernet.nodes {
            let mut made = Vec::new();
            let first = edge;
            for (input, parts) in states.iter_mut().enumerate() {
                let stride = if reduction && input < 2 { 2 } else { 1 };
                let name = format!("{prefix}_ops.{edge}.");
                made.push(self.mixed(parts, &all[edge], (cell, alpha), stride, &name));
                alpha += all[edge].len();
                edge += 1;
            }
            // Betas lie in the order of the edges.
            let mix = Layer::Mix { cell_type: edge_type(cell), alphas: (first..edge).collect() };
            states.push(whole(self.layers.add(mix, &made, c, prefix)));
        }
        let nodes: Vec<State> = states[2..].iter().map(|parts| parts.whole).collect();
        self.layers.add(Layer::Concat, &nodes, nodes.len() * c, prefix)
    }

    /// The mixed operation of an edge, whose first mixing weight is `alpha`.
    fn mixed(
        &mut self,
        parts: &mut Parts,
        ops: &[Op],
        (cell, alpha): (CellType, usize),
        stride: usize,
        prefix: &str,
    ) -> State {
        let (whole, share) = (parts.whole, self.spec.share);
        let (mut terms, mut alphas) = (Vec::new(), Vec::new());
        let first = whole.c / share;
        // Of one part there is nothing to take.
        let seen = match parts.seen {
            Some(seen) => seen,
            None if share == 1 => whole,
            None => self.layers.add(Layer::Channels { first: 0, len: first }, &[whole], first, prefix),
        };
        parts.seen = Some(seen);
        for (i, op) in ops.iter().enumerate() {
            let made = self.operation(*op, seen, stride, &mut parts.pools, &format!("{prefix}_ops.{i}."));
            if let Some(made) = made {
                terms.push(made);
                alphas.push(alpha + i);
            }
        }
        let mix = Layer::Mix { cell_type: cell as usize, alphas };
        let mixed = self.layers.add(mix, &terms, first, prefix);
        if share == 1 {
            return mixed;
        }
        let passed = match parts.passed[stride - 1] {
            Some(passed) => passed,
            None => {
                let rest = Layer::Channels { first, len: whole.c - first };
                let rest = self.layers.add(rest, &[whole], whole.c - first, prefix);
                match stride {
                    1 => rest,
                    _ => self.layers.add(Layer::Pool(PoolSpec { max: true, stride: 2, k: 2 }), &[rest], rest.c, prefix),
                }
            }
        };
        parts.passed[stride - 1] = Some(passed);
        let both = self.layers.add(Layer::Concat, &[mixed, passed], whole.c, prefix);
        self.layers.add(Layer::Shuffle(share), &[both], whole.c, prefix)
    }

    /// An operation; none if it gives zero.
    fn operation(
        &mut self,
        op: Op,
        x: State,
        stride: usize,
        pools: &mut Vec<(Op, usize, State)>,
        prefix: &str,
    ) -> Option<State> {
        let (k, name) = (op.window(), prefix);
        Some(match op {
            Op::None => return None,
            Op::SkipConnect if stride == 1 => x,
            Op::SkipConnect => self.factorized(x, x.c, name),
            Op::MaxPool3x3 | Op::AvgPool3x3 => {
                if let Some((.., made)) = pools.iter().find(|(kind, at, _)| (*kind, *at) == (op, stride)) {
                    return Some(*made);
                }
                let spec = PoolSpec { max: op == Op::MaxPool3x3, stride, k };
                let pooled = self.layers.add(Layer::Pool(spec), &[x], x.c, name);
                let made = self.layers.add(Layer::Norm, &[pooled], x.c, name);
                pools.push((op, stride, made));
                made
            }
            Op::SepConv3x3 | Op::SepConv5x5 | Op::SepConv7x7 => {
                let x = self.separable(x, k, [stride, 1], 0, name);
                self.separable(x, k, [1, 1], 4, name)
            }
            Op::DilConv3x3 | Op::DilConv5x5 => self.separable(x, k, [stride, 2], 0, name),
            Op::Noise | Op::Conv7x1_1x7 | Op::NorConv1x1 | Op::NorConv3x3 => unreachable!("checked before"),
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
