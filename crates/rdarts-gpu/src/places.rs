//! Where the tensors and coefficients of a cell lie.

use rdarts_kernels::outline::{Outline, OutlineBranch, OutlineMap, OutlineNorm, OutlineStage, OutlineSummand};

use crate::kernels::Shape;

/// Values that a cube keeps: 16 KiB, what every card has.
const SHARED: usize = 4096;

/// The most pixels of a tile.
const TILE: usize = 64;

/// A tensor: where, the distance of its pixels, its norm's coefficients.
pub(crate) type Tensor = (usize, usize, Option<usize>);

/// Where everything lies.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// Of the outputs of stages in the arena, behind the nodes.
    pub buffers: Vec<usize>,
    /// Of the coefficients of norms.
    pub coefs: Vec<usize>,
    /// Of those of gradients: at the last norm of a branch, at the first of two, at the preprocess blocks.
    pub outer: Vec<usize>,
    pub inner: Vec<usize>,
    pub pre: [usize; 2],
    pub n_arena: usize,
    pub n_coefs: usize,
}

impl Places {
    pub fn new(o: &Outline) -> Self {
        let mut n_arena = o.n * px(o.side_out) * o.nodes * o.c;
        let mut buffers = vec![usize::MAX; o.norms.len()];
        for stage in o.pre.iter().chain(o.branches.iter().flat_map(|b| &b.stages)) {
            if buffers[stage.norm] == usize::MAX {
                buffers[stage.norm] = n_arena;
                n_arena += o.n * px(side_out(stage)) * stage.c_out;
            }
        }
        let mut n_coefs = 0;
        let mut take = |len: usize| {
            n_coefs += len;
            n_coefs - len
        };
        let coefs = o.norms.iter().map(|(_, c)| take(4 * c)).collect();
        let outer = o.branches.iter().map(|_| take(3 * o.c)).collect();
        let inner = o.branches.iter().map(|_| take(3 * o.c)).collect();
        let pre = [take(3 * o.c), take(3 * o.c)];
        Self { buffers, coefs, outer, inner, pre, n_arena, n_coefs }
    }

    /// A norm's coefficients, unless it changes nothing.
    pub fn coef(&self, o: &Outline, norm: usize) -> Option<usize> {
        (o.norms[norm].0 != OutlineNorm::Identity).then_some(self.coefs[norm])
    }

    /// A state.
    pub fn state(&self, o: &Outline, state: usize) -> Tensor {
        match state {
            0 | 1 => (self.buffers[state], o.c, Some(self.coefs[state])),
            _ => ((state - 2) * o.c, o.nodes * o.c, None),
        }
    }

    /// What a branch adds to its node, the same way, and the stage that makes it.
    pub fn summand<'a>(&self, o: &Outline, b: &'a OutlineBranch) -> Option<(Tensor, Option<&'a OutlineStage>)> {
        match b.adds {
            OutlineSummand::Nothing => None,
            OutlineSummand::State => Some((self.state(o, b.state), None)),
            OutlineSummand::Last => {
                let stage = b.stages.last()?;
                Some(((self.buffers[stage.norm], o.c, self.coef(o, stage.norm)), Some(stage)))
            }
            OutlineSummand::Noise => unreachable!("cells with noise have a composed body"),
        }
    }
}

pub(crate) fn px([h, w]: [usize; 2]) -> usize {
    h * w
}

pub(crate) fn side_out(stage: &OutlineStage) -> [usize; 2] {
    stage.side.map(|side| side.div_ceil(stage.stride))
}

pub(crate) fn scale_of(o: &Outline, norm: usize) -> Option<usize> {
    match o.norms[norm].0 {
        OutlineNorm::Affine { at, .. } => Some(at),
        _ => None,
    }
}

/// What a stage is compiled for.
pub(crate) fn shape(stage: &OutlineStage, from_input: bool) -> Shape {
    let (k, dilation) = match stage.map {
        OutlineMap::Half { k, dilation } => (k, dilation),
        _ => (0, 1),
    };
    let copies = if stage.map == OutlineMap::Factorized { 2 } else { 1 };
    let fits = SHARED / (copies * stage.c_in + stage.c_out);
    let tile = if fits >= 1 { TILE.min(1 << fits.ilog2()) } else { 1 };
    Shape { k, dilation, c_in: stage.c_in, c_out: stage.c_out, tile, from_input, weights: false, input: false }
}
