//! The closed set of operations that an edge can hold.
//!
//! The names are those of the DARTS code (Liu et al. 2019) and of the paper's spaces (Zela et al. 2020,
//! section 3), so that genotypes can be exchanged with other tools. What an operation computes is not said
//! here, but for the side of its window, which is part of the name.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use rdarts_text::{did_you_mean, nearest, quote};

/// An operation on an edge of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Op {
    /// No connection: the edge gives zero.
    None,
    /// Standard normal noise in the input's shape, whatever the input says (space S4).
    Noise,
    /// Maximum over a window of 3x3.
    MaxPool3x3,
    /// Mean over a window of 3x3.
    AvgPool3x3,
    /// The identity; a factorized reduction where the stride is 2.
    SkipConnect,
    /// Depthwise separable convolution 3x3, applied twice.
    SepConv3x3,
    /// Depthwise separable convolution 5x5, applied twice.
    SepConv5x5,
    /// Depthwise separable convolution 7x7, applied twice.
    SepConv7x7,
    /// Depthwise separable convolution 3x3 with dilation 2.
    DilConv3x3,
    /// Depthwise separable convolution 5x5 with dilation 2.
    DilConv5x5,
    /// A 1x7 convolution followed by a 7x1 convolution.
    Conv7x1_1x7,
    /// Relu, a convolution 1x1, batch norm (NAS-Bench-201 alone).
    NorConv1x1,
    /// Relu, a convolution 3x3, batch norm (NAS-Bench-201 alone).
    NorConv3x3,
}

impl Op {
    /// All operations, in the order that messages list them.
    pub const ALL: [Op; 13] = [
        Op::None,
        Op::Noise,
        Op::MaxPool3x3,
        Op::AvgPool3x3,
        Op::SkipConnect,
        Op::SepConv3x3,
        Op::SepConv5x5,
        Op::SepConv7x7,
        Op::DilConv3x3,
        Op::DilConv5x5,
        Op::Conv7x1_1x7,
        Op::NorConv1x1,
        Op::NorConv3x3,
    ];

    /// Those of the cells of DARTS, which the fused kernels know.
    pub const OF_DARTS: [Op; 11] = *Self::ALL.first_chunk().unwrap();

    /// The name of the operation.
    pub const fn as_str(self) -> &'static str {
        match self {
            Op::None => "none",
            Op::Noise => "noise",
            Op::MaxPool3x3 => "max_pool_3x3",
            Op::AvgPool3x3 => "avg_pool_3x3",
            Op::SkipConnect => "skip_connect",
            Op::SepConv3x3 => "sep_conv_3x3",
            Op::SepConv5x5 => "sep_conv_5x5",
            Op::SepConv7x7 => "sep_conv_7x7",
            Op::DilConv3x3 => "dil_conv_3x3",
            Op::DilConv5x5 => "dil_conv_5x5",
            Op::Conv7x1_1x7 => "conv_7x1_1x7",
            Op::NorConv1x1 => "nor_conv_1x1",
            Op::NorConv3x3 => "nor_conv_3x3",
        }
    }

    /// Side of the window that it reads of each channel; 1 where it reads the pixel alone.
    pub const fn window(self) -> usize {
        match self {
            Op::None | Op::Noise | Op::SkipConnect | Op::NorConv1x1 => 1,
            Op::MaxPool3x3 | Op::AvgPool3x3 | Op::SepConv3x3 | Op::DilConv3x3 | Op::NorConv3x3 => 3,
            Op::SepConv5x5 | Op::DilConv5x5 => 5,
            Op::SepConv7x7 | Op::Conv7x1_1x7 => 7,
        }
    }

    /// Whether it is no convolution: what the paper calls a parameterless operation.
    pub const fn is_parameterless(self) -> bool {
        matches!(self, Op::None | Op::Noise | Op::MaxPool3x3 | Op::AvgPool3x3 | Op::SkipConnect)
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Op {
    type Err = UnknownOp;

    fn from_str(name: &str) -> Result<Self, UnknownOp> {
        Op::ALL.into_iter().find(|op| op.as_str() == name).ok_or_else(|| {
            let nearest = nearest(name, &Op::ALL.map(Op::as_str)).and_then(|name| name.parse().ok());
            UnknownOp { name: name.to_owned(), nearest }
        })
    }
}

impl Serialize for Op {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Op {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A name that is no operation's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown operation {}{}, and all are {}",
    quote(name),
    did_you_mean(nearest.map(Op::as_str)),
    Op::ALL.map(Op::as_str).join(", ")
)]
pub struct UnknownOp {
    /// The name as given.
    pub name: String,
    /// The operation with the nearest name, where one is near.
    pub nearest: Option<Op>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_those_of_the_names() {
        for op in Op::ALL {
            let named = op.as_str().rsplit('x').next().and_then(|side| side.parse().ok());
            assert_eq!(op.window(), named.unwrap_or(1), "{op}");
        }
    }

    #[test]
    fn every_name_reads_back_as_its_operation_in_text_and_json() {
        for op in Op::ALL {
            assert_eq!(op.as_str().parse(), Ok(op));
            let json = serde_json::to_string(&op).unwrap();
            assert_eq!(json, format!("\"{op}\""));
            assert_eq!(serde_json::from_str::<Op>(&json).unwrap(), op);
        }
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_nearest_and_the_whole_list() {
        let error = "sep_conv3x3".parse::<Op>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown operation `sep_conv3x3`, the nearest known one is `sep_conv_3x3`, and all are none, noise, \
             max_pool_3x3, avg_pool_3x3, skip_connect, sep_conv_3x3, sep_conv_5x5, sep_conv_7x7, dil_conv_3x3, \
             dil_conv_5x5, conv_7x1_1x7, nor_conv_1x1, nor_conv_3x3"
        );
        assert!("".parse::<Op>().unwrap_err().to_string().starts_with("unknown operation ``, and all are none"));
        assert!(serde_json::from_str::<Op>("\"skip\"").unwrap_err().to_string().contains("unknown operation `skip`"));
    }
}
