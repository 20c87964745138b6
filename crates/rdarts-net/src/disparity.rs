//! The encoder-decoder for disparity: AutoDispNet (Saikia et al. 2019, sections 4 to 6), as a supernet or of one architecture.
//!
//! ```text
//! left, right ->  stem 7x7 /2, 5x5 /2  ->  reduction cell        both views alike, features at 1/8
//! features ->  correlation                                       s0 = (left, right) features, s1 = correlation
//!          ->  cells N R N R N (R)                               the encoder, to 1/32 (1/64)
//!          ->  prediction                                        of the innermost state
//!          ->  upsampling cells, a prediction each               up to 1/4
//! ```
//!
//! Blocks are convolution, leaky ReLU, and in the search a batch norm; a skip connection at stride 2 is such a block of 3x3.
//! An upsampling cell reads the two states before it through transposed convolutions, the prediction before it resampled,
//! and the encoder's state of its size. Where the released code differs from the paper's figure (what a decoder's skip
//! connection reads), the code is followed: its numbers of parameters come out. In two points it is not: predictions are
//! positive (their code predicts negative ones, with the rectifier turned), and the gradient passes through the predictions
//! that are fed on, since a loss whose gradient stops somewhere has no Hessian.

use rdarts_kernels::dense::{ConvSpec, CorrelationSpec, DepthwiseSpec, Layer, PoolSpec, TransposedSpec};
use rdarts_space::disparity::{DisparityCell, DisparityGenotype, NODES};
use rdarts_space::{DisparitySpace, Op};

use crate::graph::{Network, Source};
use crate::task::Level;
use crate::wiring::{State, Wiring, read_ones};

/// What a network for disparity is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisparitySpec {
    /// Channels of the last cell of the decoder; all others are multiples.
    pub c: usize,
    /// Channels of the stem's first convolution; its second has twice as many.
    pub stem: usize,
    /// Whether the encoder is as deep as that of the final networks, to 1/64, else to 1/32.
    pub deep: bool,
    /// The largest shift of the correlation, in pixels of an eighth of the size.
    pub displacement: usize,
    /// Whether blocks end with a batch norm.
    pub norm: bool,
    /// What its cells compute.
    pub cells: DisparityCells,
}

/// What the cells of a network compute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DisparityCells {
    /// All operations of a space, mixed.
    Mixed(DisparitySpace),
    /// Those of an architecture.
    Chosen(DisparityGenotype),
}

impl DisparitySpec {
    /// The supernet of a space, with the shallow encoder and batch norms (section 5). The correlation reaches over a quarter of
    /// the width at its scale.
    pub fn search(space: DisparitySpace, c: usize, width: usize) -> Self {
        let displacement = default_displacement(width);
        Self { c, stem: c, deep: false, displacement, norm: true, cells: DisparityCells::Mixed(space) }
    }

    /// The network of an architecture, with the deep encoder and without batch norms (section 6).
    pub fn training(genotype: DisparityGenotype, c: usize, stem: usize, displacement: usize) -> Self {
        Self { c, stem, deep: true, displacement, norm: false, cells: DisparityCells::Chosen(genotype) }
    }

    /// Images must have multiples of so many rows and columns.
    pub fn stride(&self) -> usize {
        if self.deep { 64 } else { 32 }
    }

    /// The scales of the predictions, from the coarsest to the finest, with equal weights that add up to 1.
    pub fn levels(&self) -> Vec<Level> {
        let mut scale = self.stride();
        let mut levels = Vec::new();
        while scale >= 4 {
            levels.push(scale);
            scale /= 2;
        }
        let weight = 1.0 / levels.len() as f64;
        levels.into_iter().map(|scale| Level { scale, weight }).collect()
    }

    /// Why images of these rows and columns cannot be computed, if they cannot.
    pub fn check_side(&self, [h, w]: [usize; 2]) -> Result<(), String> {
        let stride = self.stride();
        if h == 0 || w == 0 || !h.is_multiple_of(stride) || !w.is_multiple_of(stride) {
            return Err(format!("images have {w} x {h} pixels, but this network needs multiples of {stride}"));
        }
        Ok(())
    }
}

/// A quarter of the width at an eighth of the size.
pub fn default_displacement(width: usize) -> usize {
    (width / 8 / 4).max(1)
}

impl Network {
    /// Wires a network for disparity. Its types of cells are those of [`DisparityCell`], in that order; one of an architecture
    /// has no mixing weights.
    pub fn disparity(spec: &DisparitySpec) -> Self {
        let cell_types = match &spec.cells {
            DisparityCells::Mixed(space) => DisparityCell::ALL.map(|cell| space.edges(cell)).to_vec(),
            DisparityCells::Chosen(_) => vec![Vec::new(); 3],
        };
        let mut wired = Wired { spec, layers: Wiring::default(), n_cells: 0 };
        let output = wired.network();
        let (list, output) = read_ones(wired.layers.list, output);
        Self::new(list, output, cell_types, 6)
    }
}

/// The network as far as it is wired.
struct Wired<'a> {
    spec: &'a DisparitySpec,
    layers: Wiring,
    n_cells: usize,
}

impl Wired<'_> {
    fn network(&mut self) -> usize {
        let spec = self.spec;
        let views = self.add(Layer::Views, &[State { at: Source::Images, c: 6 }], 3, "views");
        let half = self.block(views, spec.stem, 7, 2, "stem.0");
        let quarter = self.block(half, 2 * spec.stem, 5, 2, "stem.1");
        let mut c = 2 * spec.c;
        let features = self.encoder_cell([quarter, quarter], c, true, false);
        let [left, right] = [false, true].map(|side| self.add(Layer::View(side), &[features], features.c, "view"));
        let quarter = self.add(Layer::View(false), &[quarter], quarter.c, "view");
        let both = self.concat(&[left, right]);
        let shifts = 2 * spec.displacement + 1;
        let correlation = Layer::Correlation(CorrelationSpec { displacement: spec.displacement });
        let correlation = self.add(correlation, &[left, right], shifts, "correlation");
        let correlation = self.add(Layer::Relu, &[correlation], shifts, "correlation");

        // Of every size in front of the innermost what the decoder will read.
        let (mut skips, mut before, mut is_reduced) = (vec![quarter, left], [both, correlation], false);
        for reduction in [false, true, false, true, false, true].into_iter().take(if spec.deep { 6 } else { 5 }) {
            c *= if reduction { 2 } else { 1 };
            let state = self.encoder_cell(before, c, reduction, is_reduced);
            if reduction {
                skips.push(state);
            }
            (before, is_reduced) = ([before[1], state], reduction);
        }
        // The innermost size is no skip connection's.
        skips.pop();
        let bottleneck = before[1];
        let mut predictions = vec![self.prediction(bottleneck, "predictions.0")];
        let (mut before, mut is_first) = ([bottleneck; 2], true);
        while let Some(skip) = skips.pop() {
            c /= 2;
            let last = predictions[predictions.len() - 1];
            let state = self.upsampling_cell(before, last, skip, c, is_first);
            let prefix = format!("predictions.{}", predictions.len());
            predictions.push(self.prediction(state, &prefix));
            (before, is_first) = ([before[1], state], false);
        }
        let output = self.add(Layer::Outputs, &predictions, 1, "outputs");
        let Source::Node(output) = output.at else { unreachable!("a layer is a node") };
        output
    }

    fn add(&mut self, layer: Layer, inputs: &[State], c: usize, prefix: &str) -> State {
        self.layers.add(layer, inputs, c, &format!("{prefix}."))
    }

    fn concat(&mut self, states: &[State]) -> State {
        self.add(Layer::Concat, states, states.iter().map(|state| state.c).sum(), "concat")
    }

    fn convolution(&mut self, x: State, c: usize, k: usize, stride: usize, prefix: &str) -> State {
        let spec = ConvSpec { c_in: x.c, c_out: c, k, stride, dilation: 1, bias: true };
        self.add(Layer::Conv(spec), &[x], c, prefix)
    }

    /// What follows a convolution.
    fn activated(&mut self, x: State, prefix: &str) -> State {
        let x = self.add(Layer::LeakyRelu, &[x], x.c, prefix);
        if self.spec.norm { self.add(Layer::Norm, &[x], x.c, prefix) } else { x }
    }

    fn block(&mut self, x: State, c: usize, k: usize, stride: usize, prefix: &str) -> State {
        let x = self.convolution(x, c, k, stride, prefix);
        self.activated(x, prefix)
    }

    /// Half of a separable convolution.
    fn separable(&mut self, x: State, k: usize, stride: usize, dilation: usize, prefix: &str) -> State {
        let spec = DepthwiseSpec { c: x.c, k, stride, dilation };
        let x = self.add(Layer::Depthwise(spec), &[x], x.c, &format!("{prefix}.depthwise"));
        self.block(x, x.c, 1, 1, &format!("{prefix}.pointwise"))
    }

    /// A cell of the encoder; `is_reduced` says that the state before the last is twice as large as the last.
    fn encoder_cell(&mut self, [s0, s1]: [State; 2], c: usize, reduction: bool, is_reduced: bool) -> State {
        let prefix = self.next_cell();
        let s0 = match is_reduced {
            true => self.block(s0, c, 3, 2, &format!("{prefix}.preprocess.0")),
            false => self.block(s0, c, 1, 1, &format!("{prefix}.preprocess.0")),
        };
        let s1 = self.block(s1, c, 1, 1, &format!("{prefix}.preprocess.1"));
        let cell = if reduction { DisparityCell::Reduce } else { DisparityCell::Normal };
        self.cell(cell, &[s0, s1], &prefix)
    }

    /// A cell of the decoder; the first one's two states are one.
    fn upsampling_cell(&mut self, [s0, s1]: [State; 2], last: State, skip: State, c: usize, is_first: bool) -> State {
        let prefix = self.next_cell();
        let s0 = match is_first {
            true => self.block(s0, c, 1, 1, &format!("{prefix}.preprocess.0")),
            false => self.twice(s0, c, &format!("{prefix}.preprocess.0")),
        };
        let s1 = self.block(s1, c, 1, 1, &format!("{prefix}.preprocess.1"));
        let last = self.add(Layer::Upsample, &[last], 1, &format!("{prefix}.resample"));
        let last = self.block(last, c, 1, 1, &format!("{prefix}.preprocess.2"));
        let skip = self.block(skip, c, 1, 1, &format!("{prefix}.preprocess.3"));
        let [s0, s1] = [(s0, 0), (s1, 1)].map(|(state, i)| self.twice(state, c, &format!("{prefix}.upsample.{i}")));
        self.cell(DisparityCell::Upsample, &[s0, s1, last, skip], &prefix)
    }

    /// A block of a transposed convolution.
    fn twice(&mut self, x: State, c: usize, prefix: &str) -> State {
        let x = self.add(Layer::Transposed(TransposedSpec { c_in: x.c, c_out: c }), &[x], c, prefix);
        self.activated(x, prefix)
    }

    fn next_cell(&mut self) -> String {
        self.n_cells += 1;
        format!("cells.{}", self.n_cells - 1)
    }

    fn prediction(&mut self, x: State, prefix: &str) -> State {
        let x = self.convolution(x, 1, 3, 1, prefix);
        self.add(Layer::Relu, &[x], 1, prefix)
    }

    /// Nodes of a cell from its preprocessed states, side by side.
    fn cell(&mut self, cell: DisparityCell, inputs: &[State], prefix: &str) -> State {
        let mut states = inputs.to_vec();
        let mut pools = Vec::new();
        for node in 0..NODES {
            let made = match &self.spec.cells {
                DisparityCells::Mixed(space) => {
                    let ops = space.ops.clone();
                    let edges = cell.edges().enumerate().filter(|(_, (to, _))| *to == node);
                    let mut terms = Vec::new();
                    for (edge, (_, state)) in edges {
                        for (i, op) in ops.iter().enumerate() {
                            let prefix = format!("{prefix}._ops.{edge}._ops.{i}");
                            let made = self.operation(cell, *op, &states, state, &mut pools, &prefix);
                            terms.extend(made.map(|made| (made, edge * ops.len() + i)));
                        }
                    }
                    let (states, alphas): (Vec<State>, Vec<usize>) = terms.into_iter().unzip();
                    let mix = Layer::Mix { cell_type: cell as usize, alphas };
                    self.add(mix, &states, states[0].c, &format!("{prefix}.node.{node}"))
                }
                DisparityCells::Chosen(genotype) => {
                    let entries: Vec<_> =
                        genotype.entries(cell).enumerate().filter(|(_, entry)| entry.0 == node).collect();
                    let mut terms = Vec::new();
                    for (i, (_, op, state)) in entries {
                        let prefix = format!("{prefix}._ops.{i}");
                        terms.extend(self.operation(cell, op, &states, state, &mut pools, &prefix));
                    }
                    // A node of `none` alone is zero.
                    match terms.is_empty() {
                        true => {
                            let like = self.like_output(cell, states[0], &mut pools, prefix);
                            self.add(Layer::Zero, &[like], states[0].c, &format!("{prefix}.node.{node}"))
                        }
                        false => self.add(Layer::Sum, &terms, terms[0].c, &format!("{prefix}.node.{node}")),
                    }
                }
            };
            states.push(made);
        }
        self.concat(&states[inputs.len()..])
    }

    /// A state of the size of the cell's nodes.
    fn like_output(
        &mut self,
        cell: DisparityCell,
        x: State,
        pools: &mut Vec<(usize, Op, State)>,
        prefix: &str,
    ) -> State {
        match cell {
            DisparityCell::Reduce => self.pool(Op::MaxPool3x3, x, 2, 0, pools, prefix),
            _ => x,
        }
    }

    /// An operation on a state of a cell; none if it gives zero.
    fn operation(
        &mut self,
        cell: DisparityCell,
        op: Op,
        states: &[State],
        state: usize,
        pools: &mut Vec<(usize, Op, State)>,
        prefix: &str,
    ) -> Option<State> {
        let stride = if cell == DisparityCell::Reduce && state < cell.n_inputs() { 2 } else { 1 };
        let x = states[state];
        Some(match op {
            Op::None => return None,
            Op::SkipConnect if stride == 1 => x,
            Op::SkipConnect => self.block(x, x.c, 3, 2, prefix),
            Op::MaxPool3x3 | Op::AvgPool3x3 => self.pool(op, x, stride, state, pools, prefix),
            Op::SepConv3x3 | Op::SepConv5x5 => {
                let x = self.separable(x, op.window(), stride, 1, &format!("{prefix}.0"));
                self.separable(x, op.window(), 1, 1, &format!("{prefix}.1"))
            }
            Op::DilConv3x3 | Op::DilConv5x5 => self.separable(x, op.window(), stride, 2, &format!("{prefix}.0")),
            Op::Noise | Op::SepConv7x7 | Op::Conv7x1_1x7 | Op::NorConv1x1 | Op::NorConv3x3 => {
                unreachable!("no space for disparity has {op}")
            }
        })
    }

    /// A pool has no weights: that of a state is one for all edges.
    fn pool(
        &mut self,
        op: Op,
        x: State,
        stride: usize,
        state: usize,
        pools: &mut Vec<(usize, Op, State)>,
        prefix: &str,
    ) -> State {
        if let Some((.., made)) = pools.iter().find(|(of, kind, _)| (*of, *kind) == (state, op)) {
            return *made;
        }
        let made = self.add(Layer::Pool(PoolSpec { max: op == Op::MaxPool3x3, stride, k: 3 }), &[x], x.c, prefix);
        pools.push((state, op, made));
        made
    }
}

#[cfg(test)]
mod tests;
