//! Where the tensors and coefficients of a cell lie.

use rdarts_kernels::outline::{Outline, OutlineBranch, OutlineMap, OutlineNorm, OutlineStage, OutlineSummand};

use crate::kernels::{PARTS, Shape, UNITS, WEIGHT_PARTS};

/// Values that a cube keeps: 16 KiB, what every card has.
const SHARED: usize = 4096;

/// Of these what sums over lanes take, at most.
const LANES: usize = 6 * UNITS;

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
    /// Of those of gradients at the last norm of each branch; of pools alone they lie in memory.
    pub outer: Vec<usize>,
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
        Self { buffers, coefs, outer, n_arena, n_coefs }
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

/// A window and where it is.
fn sized(stage: &OutlineStage) -> Shape {
    let (k, dilation) = match stage.map {
        OutlineMap::Half { k, dilation } => (k, dilation),
        _ => (0, 1),
    };
    let ([h, wd], [ho, wo]) = (stage.side, side_out(stage));
    let stride = stage.stride;
    let (c_in, c_out) = (stage.c_in, stage.c_out);
    Shape { k, dilation, stride, h, wd, ho, wo, c_in, c_out, tile: 1, from_input: false, weights: false, input: false }
}

/// Pixels of a tile that keeps `values` of each, beside `fixed` others.
fn tile(values: usize, fixed: usize) -> usize {
    let fits = SHARED.saturating_sub(LANES + fixed) / values;
    if fits >= 1 { TILE.min(1 << fits.ilog2()) } else { 1 }
}

/// What the value of a stage is compiled for.
pub(crate) fn shape(stage: &OutlineStage, from_input: bool) -> Shape {
    let copies = if stage.map == OutlineMap::Factorized { 2 } else { 1 };
    let fixed = if from_input { 2 } else { 2 * stage.c_in };
    Shape { tile: tile(copies * stage.c_in, fixed), from_input, ..sized(stage) }
}

/// What its way back is compiled for.
pub(crate) fn shape_back(stage: &OutlineStage, from_input: bool, weights: bool, input: bool) -> Shape {
    let copies = if stage.map == OutlineMap::Factorized { 2 } else { 1 };
    let values = stage.c_out + if weights { copies * stage.c_in } else { 0 };
    Shape { tile: tile(values, 3 * stage.c_out), from_input, weights, input, ..sized(stage) }
}

/// What the gradient of a state is gathered with, through the windows behind it or through none.
pub(crate) fn shape_gather(window: Option<&OutlineStage>, [h, wd]: [usize; 2], c: usize) -> Shape {
    let none = Shape {
        k: 0,
        dilation: 1,
        stride: 1,
        h,
        wd,
        ho: h,
        wo: wd,
        c_in: c,
        c_out: c,
        tile: 1,
        from_input: false,
        weights: false,
        input: false,
    };
    window.map_or(none, sized)
}

/// Whether a tile of one pixel fits, and a channel for each unit: what the kernels need.
pub(crate) fn fits(stage: &OutlineStage, from_input: bool) -> bool {
    let copies = if stage.map == OutlineMap::Factorized { 2 } else { 1 };
    let forward = copies * stage.c_in + if from_input { 2 } else { 2 * stage.c_in };
    let back = 4 * stage.c_out + copies * stage.c_in;
    stage.c_out <= UNITS && forward.max(back) + LANES <= SHARED
}

/// Cubes that sum moments of a stage, each in one part.
pub(crate) fn parts(n_px: usize, s: &Shape) -> usize {
    n_px.div_ceil(s.tile).min(PARTS)
}

/// Cubes that sum weight gradients, or that need not.
pub(crate) fn parts_back(n_px: usize, s: &Shape) -> usize {
    n_px.div_ceil(s.tile).min(if s.weights { WEIGHT_PARTS } else { 2 * WEIGHT_PARTS })
}

/// Pixels of each of the parts that sums of a gradient are taken in, and how many parts.
pub(crate) fn stretches(n_px: usize, c: usize) -> (usize, usize) {
    let lanes = (UNITS / c).max(1);
    let stretch = n_px.div_ceil(PARTS).max(2 * lanes).min(n_px.max(1));
    (stretch, n_px.div_ceil(stretch))
}
