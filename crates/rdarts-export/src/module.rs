//! What a module of the network is made of: layers, with the names and shapes of their tensors.
//!
//! ```text
//! sep_conv_KxK   relu  depthwise  1x1  norm  relu  depthwise  1x1  norm
//! dil_conv_KxK   relu  depthwise of dilation 2  1x1  norm
//! conv_7x1_1x7   relu  1x7  7x1  norm
//! nor_conv_KxK   relu  KxK  norm
//! ```
//!
//! The layer at position N of such a list is `op.N` in PyTorch, so positions are part of the names; `conv_7x1_1x7` is a
//! plain list there, whose layer N is `N`. A stride is that of the first convolution; that of `conv_7x1_1x7` is shared by its two. Every window is padded so that a side of h
//! becomes ceil(h / stride).

use rdarts_space::Op;

/// One module: an operation, or what a cell does with its inputs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Module {
    /// Layers one after the other, in a list that is called `op`.
    Layers(Vec<Layer>),
    /// Layers one after the other, where the module is the list.
    Sequential(Vec<Layer>),
    /// relu, then two 1x1 convolutions of stride 2 side by side, the second one pixel further, then a batch norm.
    FactorizedReduce {
        /// Channels read.
        c_in: usize,
        /// Channels made: half of them by each convolution.
        c_out: usize,
    },
    /// A pool of 3x3.
    Pool {
        /// Maximum or mean.
        kind: Pool,
        /// 1 or 2.
        stride: usize,
    },
    /// What is read.
    Identity,
    /// Zeros of the shape that every operation has here.
    Zero {
        /// 1 or 2.
        stride: usize,
    },
}

/// What a pool does with the pixels of its window that lie inside the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pool {
    /// The largest.
    Max,
    /// Their mean.
    Average,
}

/// One layer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Layer {
    /// max(x, 0).
    Relu,
    /// A convolution without bias.
    Conv(Conv),
    /// Batch norm of so many channels.
    Norm(usize),
    /// The mean of 2x2 pixels at every second one; of an odd side, the last windows have what lies inside.
    HalfMean,
    /// Something without tensors that only training computes.
    Other,
}

/// A convolution; pairs are rows and columns.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Conv {
    pub c_in: usize,
    pub c_out: usize,
    pub window: [usize; 2],
    pub stride: [usize; 2],
    pub pad: [usize; 2],
    pub dilation: usize,
    pub groups: usize,
}

/// The tensors of a batch norm, all with one number a channel.
pub(crate) const NORM: [&str; 4] = ["weight", "bias", "running_mean", "running_var"];

impl Module {
    /// An operation of `c` channels; `None` for one that is not a function of its input.
    pub fn of_op(op: Op, c: usize, stride: usize) -> Option<Self> {
        let k = op.window();
        Some(match op {
            Op::Noise => return None,
            Op::None => Module::Zero { stride },
            Op::MaxPool3x3 => Module::Pool { kind: Pool::Max, stride },
            Op::AvgPool3x3 => Module::Pool { kind: Pool::Average, stride },
            Op::SkipConnect if stride == 1 => Module::Identity,
            Op::SkipConnect => Module::FactorizedReduce { c_in: c, c_out: c },
            Op::SepConv3x3 | Op::SepConv5x5 | Op::SepConv7x7 => {
                Module::Layers([separable(c, k, stride, 1), separable(c, k, 1, 1)].concat())
            }
            Op::DilConv3x3 | Op::DilConv5x5 => Module::Layers(separable(c, k, stride, 2)),
            Op::Conv7x1_1x7 => Module::Sequential(vec![
                Layer::Relu,
                Layer::Conv(Conv { window: [1, k], stride: [1, stride], pad: [0, k / 2], ..Conv::pointwise(c, c) }),
                Layer::Conv(Conv { window: [k, 1], stride: [stride, 1], pad: [k / 2, 0], ..Conv::pointwise(c, c) }),
                Layer::Norm(c),
            ]),
            Op::NorConv1x1 | Op::NorConv3x3 => Module::conv_norm(c, c, k, stride),
        })
    }

    /// What makes an input of a cell the right number of channels.
    pub fn relu_conv_norm(c_in: usize, c_out: usize) -> Self {
        Self::conv_norm(c_in, c_out, 1, 1)
    }

    /// relu, a convolution of k x k, batch norm.
    pub fn conv_norm(c_in: usize, c_out: usize, k: usize, stride: usize) -> Self {
        let conv = Conv::pointwise(c_in, c_out).square(k, stride, 1);
        Module::Layers(vec![Layer::Relu, Layer::Conv(conv), Layer::Norm(c_out)])
    }

    /// The names and shapes of its tensors, where the module itself is called `name`.
    pub fn tensors(&self, name: &str) -> Vec<(String, Vec<usize>)> {
        match self {
            Module::Layers(layers) => layer_tensors(&format!("{name}.op"), layers),
            Module::Sequential(layers) => layer_tensors(name, layers),
            Module::FactorizedReduce { c_in, c_out } => {
                let convs =
                    ["conv_1", "conv_2"].map(|conv| (format!("{name}.{conv}.weight"), vec![c_out / 2, *c_in, 1, 1]));
                convs.into_iter().chain(norm_tensors(&format!("{name}.bn"), *c_out)).collect()
            }
            Module::Pool { .. } | Module::Identity | Module::Zero { .. } => Vec::new(),
        }
    }
}

impl Conv {
    /// 1x1.
    pub fn pointwise(c_in: usize, c_out: usize) -> Self {
        Self { c_in, c_out, window: [1, 1], stride: [1, 1], pad: [0, 0], dilation: 1, groups: 1 }
    }

    /// The same with windows of k x k.
    pub fn square(self, k: usize, stride: usize, dilation: usize) -> Self {
        Self { window: [k; 2], stride: [stride; 2], pad: [dilation * (k - 1) / 2; 2], dilation, ..self }
    }

    /// One filter for each of its channels.
    pub fn depthwise(c: usize) -> Self {
        Self { groups: c, ..Self::pointwise(c, c) }
    }

    /// The shape of its weights.
    pub fn shape(&self) -> Vec<usize> {
        vec![self.c_out, self.c_in / self.groups, self.window[0], self.window[1]]
    }
}

/// The names and shapes of the tensors of layers that are called `prefix.0`, `prefix.1` and so on.
pub(crate) fn layer_tensors(prefix: &str, layers: &[Layer]) -> Vec<(String, Vec<usize>)> {
    let of_layer = |(i, layer): (usize, &Layer)| match layer {
        Layer::Conv(conv) => vec![(format!("{prefix}.{i}.weight"), conv.shape())],
        Layer::Norm(c) => norm_tensors(&format!("{prefix}.{i}"), *c),
        Layer::Relu | Layer::HalfMean | Layer::Other => Vec::new(),
    };
    layers.iter().enumerate().flat_map(of_layer).collect()
}

fn norm_tensors(name: &str, c: usize) -> Vec<(String, Vec<usize>)> {
    NORM.iter().map(|part| (format!("{name}.{part}"), vec![c])).collect()
}

/// relu, a convolution of each channel by itself, one that mixes the channels, batch norm.
fn separable(c: usize, k: usize, stride: usize, dilation: usize) -> Vec<Layer> {
    let depthwise = Conv::depthwise(c).square(k, stride, dilation);
    vec![Layer::Relu, Layer::Conv(depthwise), Layer::Conv(Conv::pointwise(c, c)), Layer::Norm(c)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_positions_of_layers() {
        let names = |op, stride| {
            let module = Module::of_op(op, 4, stride).unwrap();
            let weights = module.tensors("x").into_iter().filter(|(name, _)| name.ends_with(".weight"));
            weights.map(|(name, shape)| format!("{name} {shape:?}")).collect::<Vec<_>>()
        };
        assert_eq!(
            names(Op::SepConv5x5, 2),
            [
                "x.op.1.weight [4, 1, 5, 5]",
                "x.op.2.weight [4, 4, 1, 1]",
                "x.op.3.weight [4]",
                "x.op.5.weight [4, 1, 5, 5]",
                "x.op.6.weight [4, 4, 1, 1]",
                "x.op.7.weight [4]"
            ]
        );
        assert_eq!(names(Op::Conv7x1_1x7, 1), ["x.1.weight [4, 4, 1, 7]", "x.2.weight [4, 4, 7, 1]", "x.3.weight [4]"]);
        assert_eq!(
            names(Op::SkipConnect, 2),
            ["x.conv_1.weight [2, 4, 1, 1]", "x.conv_2.weight [2, 4, 1, 1]", "x.bn.weight [4]"]
        );
        assert!(names(Op::SkipConnect, 1).is_empty());
        assert_eq!(Module::of_op(Op::Noise, 4, 1), None);
    }
}
