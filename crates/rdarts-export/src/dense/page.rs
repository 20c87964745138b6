//! A page of Python that builds a network for disparity in PyTorch from the list of its layers, and loads its weights strictly:
//! `model.py` beside this file with its `@NAMES@` filled in.

use rdarts_kernels::dense::Layer;

use super::{Dense, DenseNode};
use crate::model_py::filled;
use crate::trained::ExportError;

const TEMPLATE: &str = include_str!("model.py");

/// The text of the page; `genotype` is what it says of the cells.
///
/// # Errors
/// If a tensor is missing, or a layer cannot be exported.
pub fn dense_py(dense: &Dense, genotype: &str) -> Result<String, ExportError> {
    let mut layers = Vec::new();
    for node in &dense.nodes {
        dense.tensors_of(node)?;
        let (kind, numbers) = layer(node)?;
        let list = |numbers: &[i64]| format!("{numbers:?}");
        let reads: Vec<i64> = node.inputs.iter().map(|read| read.map_or(-1, |read| read as i64)).collect();
        let name = node.prefix.trim_end_matches('.');
        layers.push(format!("    (\"{kind}\", {}, \"{name}\", {}),", list(&reads), list(&numbers)));
    }
    let title =
        format!("A network that estimates disparity, which rdarts {} found and trained.", env!("CARGO_PKG_VERSION"));
    Ok(filled(
        TEMPLATE,
        &[
            ("@TITLE@", title),
            ("@GENOTYPE@", genotype.to_owned()),
            ("@STRIDE@", dense.stride.to_string()),
            ("@SCALE@", dense.scale.to_string()),
            ("@SHIFT@", format!("{:?}", dense.shift)),
            ("@LAYERS@", layers.join("\n")),
        ],
    ))
}

/// What the page calls a layer, and its numbers.
fn layer(node: &DenseNode) -> Result<(&'static str, Vec<i64>), ExportError> {
    let whole = |numbers: &[usize]| numbers.iter().map(|n| *n as i64).collect::<Vec<i64>>();
    Ok(match &node.layer {
        Layer::Views => ("views", vec![]),
        Layer::View(right) => ("view", vec![i64::from(*right)]),
        Layer::Conv(s) => ("conv", whole(&[s.c_in, s.c_out, s.k, s.stride, s.dilation, 1, usize::from(s.bias)])),
        Layer::Depthwise(s) => ("conv", whole(&[s.c, s.c, s.k, s.stride, s.dilation, s.c, 0])),
        Layer::Transposed(s) => ("transposed", whole(&[s.c_in, s.c_out])),
        Layer::LeakyRelu => ("leaky_relu", vec![]),
        Layer::Relu => ("relu", vec![]),
        Layer::Pool(s) if s.k != 3 => return Err(ExportError::Layer { layer: "a pool of 2x2" }),
        Layer::Pool(s) if s.max => ("max_pool", whole(&[s.stride])),
        Layer::Pool(s) => ("average_pool", whole(&[s.stride])),
        Layer::Correlation(s) => ("correlation", whole(&[s.displacement])),
        Layer::Upsample => ("upsample", vec![]),
        Layer::Concat => ("concat", vec![]),
        Layer::Sum => ("sum", vec![]),
        Layer::Zero => ("zero", vec![]),
        Layer::Outputs => ("outputs", vec![]),
        Layer::Norm => return Err(ExportError::Layer { layer: "a batch norm by the statistics of a batch" }),
        Layer::Scale(_) | Layer::Channels { .. } | Layer::Shuffle(_) | Layer::Shift | Layer::Mean => {
            return Err(ExportError::Layer { layer: "a layer of a supernet of partial channels" });
        }
        Layer::Linear(_) => return Err(ExportError::Layer { layer: "a linear layer" }),
        Layer::Mix { .. } => return Err(ExportError::Layer { layer: "a mixture of operations" }),
    })
}
