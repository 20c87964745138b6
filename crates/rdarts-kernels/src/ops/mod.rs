//! The operations of the search spaces and the two kinds of preprocess blocks, one file each.
//!
//! A file says all that is particular to its operation: of which stages it consists, under which names and in which layout
//! their weights lie, which gate they have, what they multiply, and the linear map of its own kind of stage with both
//! transposes. What an operation costs follows from that (`passes.rs`, `Map::macs`). What all stages share stands in
//! `stage.rs`, the loops in `rdarts-simd`. A new operation is a name in `rdarts_space::Op`, a file and a line
//! in [`action`] here, its values in float64 in `reference.rs`, and its body of primitives in `rdarts-net/src/composed.rs`;
//! the compiler names the last three.
//!
//! | file | operation | map of its stages |
//! |---|---|---|
//! | `none`, `noise` | zero; standard normal values | |
//! | `skip_connect` | the state itself, or at stride 2 `factorized` | |
//! | `pool` | `max_pool_3x3`, `avg_pool_3x3` | pooling |
//! | `sep_conv`, `dil_conv` | two halves; one half, dilated | `half`: depthwise, then pointwise |
//! | `conv_7x1` | `conv_7x1_1x7` | 1x7, then 7x1 convolution |
//! | `factorized` | FactorizedReduce | two products, on the even and the odd pixels |
//! | `pointwise` | the ordinary preprocess block | one product |

mod none;

pub mod noise;

mod skip_connect;

mod pool;

mod half;

mod sep_conv;

mod dil_conv;

mod conv_7x1;

mod factorized;

mod pointwise;

use crate::spec::CellSpec;
use crate::stage::{Linear, Stage};
use rdarts_simd::pool::Kind;
use rdarts_space::Op;

/// What a candidate operation does.
pub(crate) enum Action {
    /// Nothing.
    Zero,
    /// Adds the state itself.
    Identity,
    /// Adds values of the key.
    Noise,
    /// One or two stages, each with its batch norm.
    Stages(Vec<Stage>),
}

/// Where an operation starts: rows, columns and channels of the state, and its own stride.
#[derive(Clone, Copy)]
pub(crate) struct Start {
    pub side: [usize; 2],
    pub c: usize,
    pub stride: usize,
}

impl Start {
    /// Rows and columns of its output.
    fn side_out(self) -> [usize; 2] {
        self.side.map(|side| side.div_ceil(self.stride))
    }
}

/// The one place that knows which file an operation has.
pub(crate) fn action(op: Op, start: Start) -> Action {
    match op {
        Op::None => none::action(),
        Op::Noise => noise::action(),
        Op::MaxPool3x3 => pool::action(start, Kind::Max),
        Op::AvgPool3x3 => pool::action(start, Kind::Average),
        Op::SkipConnect => skip_connect::action(start),
        Op::SepConv3x3 | Op::SepConv5x5 | Op::SepConv7x7 => sep_conv::action(start, op.window()),
        Op::DilConv3x3 | Op::DilConv5x5 => dil_conv::action(start, op.window()),
        Op::Conv7x1_1x7 => conv_7x1::action(start),
        Op::NorConv1x1 | Op::NorConv3x3 => panic!("{op} is no operation of a fused cell: networks of layers have it"),
    }
}

/// The preprocess block of state 0 or 1, of an input with these sides.
pub(crate) fn preprocess(spec: &CellSpec, state: usize, side: [usize; 2]) -> Stage {
    match state {
        0 if spec.reduction_prev => factorized::stage(side, spec.c_prev_prev, spec.c),
        0 => pointwise::stage(side, spec.c_prev_prev, spec.c),
        _ => pointwise::stage(side, spec.c_prev, spec.c),
    }
}

/// Which linear map a stage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StageKind {
    Half(half::Taps),
    Pointwise(pointwise::Pointwise),
    Factorized(factorized::Factorized),
    Seven(conv_7x1::Seven),
    Pool(pool::Pooling),
}

impl StageKind {
    /// The one place that knows what they do: asked once a stage and a few images, never inside a loop over pixels.
    pub fn map(&self) -> &dyn Linear {
        match self {
            Self::Half(map) => map,
            Self::Pointwise(map) => map,
            Self::Factorized(map) => map,
            Self::Seven(map) => map,
            Self::Pool(map) => map,
        }
    }
}
