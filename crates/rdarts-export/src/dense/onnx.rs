//! A network for disparity as an ONNX file (opset 17): inputs `left` and `right` (batch, 3, height, width), pixels from 0 to 1;
//! output `disparity` (batch, 1, height, width), in pixels. Height and width are the caller's, multiples of `stride` in the
//! metadata.
//!
//! The correlation y[x][d + s] = <l[x], r[x + s]> / c is padding by d zeros on both sides, then for each shift a slice, a
//! product, and a mean over channels: operators that every runtime has.

use prost::Message;
use rdarts_kernels::dense::Layer;

use super::{Dense, DenseNode};
use crate::graph::{Builder, Value, float, int, ints, sized_by_caller};
use crate::module::Conv;
use crate::onnx::{checked, model_of};
use crate::trained::ExportError;

/// A value of the layers before the correlation has two names, those of the left and the right view.
#[derive(Clone)]
struct Named {
    names: Vec<String>,
    c: usize,
}

/// The bytes of the ONNX file.
///
/// # Errors
/// If a tensor is missing, a layer cannot be exported, or the file would be too large.
pub fn dense_onnx(dense: &Dense) -> Result<Vec<u8>, ExportError> {
    let mut writer = Writer { graph: Builder::default(), dense };
    let mut values: Vec<Named> = Vec::new();
    for (at, node) in dense.nodes.iter().enumerate() {
        let inputs: Vec<Named> = node.inputs.iter().flatten().map(|read| values[*read].clone()).collect();
        values.push(writer.node(at, node, &inputs)?);
    }
    let last = dense.nodes.last().and_then(|node| node.inputs.last().copied().flatten());
    let finest = last.map(|read| values[read].names[0].clone()).ok_or(ExportError::Layer { layer: "no output" })?;
    writer.resized("disparity", &finest, dense.scale);
    let inputs = ["left", "right"].map(|name| sized_by_caller(name, 3)).to_vec();
    let graph = writer.graph.finish_all("rdarts", inputs, sized_by_caller("disparity", 1));
    let model = model_of(graph, dense.properties.iter().map(|(key, value)| (key.as_str(), value.clone())));
    checked(&model)?;
    Ok(model.encode_to_vec())
}

struct Writer<'a> {
    graph: Builder,
    dense: &'a Dense<'a>,
}

impl Writer<'_> {
    fn node(&mut self, at: usize, node: &DenseNode, inputs: &[Named]) -> Result<Named, ExportError> {
        let sides = ["left", "right"];
        let first = || inputs[0].clone();
        // The channels that a layer makes.
        let c = match &node.layer {
            Layer::Views => 3,
            Layer::Conv(spec) => spec.c_out,
            Layer::Transposed(spec) => spec.c_out,
            Layer::Correlation(spec) => 2 * spec.displacement + 1,
            Layer::Concat => inputs.iter().map(|x| x.c).sum(),
            Layer::Outputs => 1,
            _ => first().c,
        };
        match &node.layer {
            Layer::Views => {
                self.graph.floats("shift", &[], [f64::from(self.dense.shift)].into_iter());
                let names = sides.map(|side| {
                    let name = format!("{side}.shifted");
                    self.graph.node("Sub", &name, &[side, "shift"], vec![]);
                    name
                });
                return Ok(Named { names: names.to_vec(), c });
            }
            Layer::View(right) => return Ok(Named { names: vec![first().names[usize::from(*right)].clone()], c }),
            // What is read of it is read elsewhere.
            Layer::Outputs => return Ok(Named { names: Vec::new(), c }),
            Layer::Norm => return Err(ExportError::Layer { layer: "a batch norm by the statistics of a batch" }),
            Layer::Scale(_) | Layer::Channels { .. } | Layer::Shuffle(_) | Layer::Shift | Layer::Mean => {
                return Err(ExportError::Layer { layer: "a layer of a supernet of partial channels" });
            }
            Layer::Linear(_) => return Err(ExportError::Layer { layer: "a linear layer" }),
            Layer::Pool(spec) if spec.k != 3 => return Err(ExportError::Layer { layer: "a pool of 2x2" }),
            Layer::Mix { .. } => return Err(ExportError::Layer { layer: "a mixture of operations" }),
            _ => {}
        }
        for (name, tensor) in self.dense.tensors_of(node)? {
            self.graph.floats(&name, &tensor.shape, tensor.values.iter().map(|v| f64::from(*v)));
        }
        let of_view = |side: usize| -> Vec<String> { inputs.iter().map(|x| x.names[side].clone()).collect() };
        let n_views = inputs.iter().map(|x| x.names.len()).min().unwrap_or(1);
        let mut names = Vec::new();
        for (side, suffix) in sides.iter().enumerate().take(n_views) {
            let suffix = if n_views == 1 { String::new() } else { format!(".{suffix}") };
            let name = format!("{at}.{}{}", node.prefix.trim_end_matches('.'), suffix);
            names.push(self.layer(&name, node, &of_view(side), inputs[0].c));
        }
        Ok(Named { names, c })
    }

    /// What a layer called `name` makes of values; the name of that.
    fn layer(&mut self, name: &str, node: &DenseNode, xs: &[String], c_in: usize) -> String {
        let x = &xs[0];
        let weights = |part: &str| format!("{}{part}", node.prefix);
        match &node.layer {
            Layer::Conv(spec) => {
                let conv = Conv::pointwise(spec.c_in, spec.c_out).square(spec.k, spec.stride, spec.dilation);
                self.graph.conv_of(name, &conv, &[x, &weights("weight"), &weights("bias")]);
            }
            Layer::Depthwise(spec) => {
                let conv = Conv::depthwise(spec.c).square(spec.k, spec.stride, spec.dilation);
                self.graph.conv_of(name, &conv, &[x, &weights("weight")]);
            }
            Layer::Transposed(_) => {
                let attributes = vec![ints("kernel_shape", &[4; 2]), ints("strides", &[2; 2]), ints("pads", &[1; 4])];
                let inputs = [x.as_str(), &weights("weight"), &weights("bias")];
                self.graph.node("ConvTranspose", name, &inputs, attributes);
            }
            Layer::LeakyRelu => self.graph.node("LeakyRelu", name, &[x], vec![float("alpha", 0.1)]),
            Layer::Relu => self.graph.node("Relu", name, &[x], vec![]),
            Layer::Pool(spec) => self.graph.pool_of(name, x, spec.max, spec.stride),
            Layer::Correlation(spec) => self.correlation(name, x, &xs[1], spec.displacement),
            Layer::Upsample => self.resized(name, x, 2),
            Layer::Concat => {
                let values: Vec<Value> =
                    xs.iter().map(|name| Value { name: name.clone(), c: c_in, side: [0; 2] }).collect();
                self.graph.concat(name, &values);
            }
            Layer::Sum => {
                let terms: Vec<&str> = xs.iter().map(String::as_str).collect();
                return self.graph.sum_of(name, &terms);
            }
            Layer::Zero => {
                self.graph.floats("zero", &[], [0.0].into_iter());
                self.graph.node("Mul", name, &[x, "zero"], vec![]);
            }
            Layer::Views | Layer::View(_) | Layer::Outputs | Layer::Norm | Layer::Mix { .. } => {
                unreachable!("no operator of its own")
            }
            Layer::Scale(_)
            | Layer::Channels { .. }
            | Layer::Shuffle(_)
            | Layer::Shift
            | Layer::Mean
            | Layer::Linear(_) => {
                unreachable!("no network for disparity has it")
            }
        }
        name.to_owned()
    }

    fn correlation(&mut self, name: &str, left: &str, right: &str, d: usize) {
        let padded = format!("{name}.padded");
        let pads = self.graph.indices(&[0, 0, 0, d, 0, 0, 0, d]);
        self.graph.node("Pad", &padded, &[right, &pads], vec![]);
        let axis = self.graph.indices(&[3]);
        let shifts: Vec<Value> = (0..=2 * d)
            .map(|k| {
                let [slice, product, mean] = ["slice", "product", "mean"].map(|what| format!("{name}.{what}_{k}"));
                let start = self.graph.indices(&[k]);
                // Counted from the end: the width is the caller's.
                let end = if k == 2 * d { i64::MAX } else { k as i64 - 2 * d as i64 };
                let end = self.graph.whole(end);
                self.graph.node("Slice", &slice, &[&padded, &start, &end, &axis], vec![]);
                self.graph.node("Mul", &product, &[left, &slice], vec![]);
                self.graph.node("ReduceMean", &mean, &[&product], vec![ints("axes", &[1]), int("keepdims", 1)]);
                Value { name: mean, c: 1, side: [0; 2] }
            })
            .collect();
        self.graph.concat(name, &shifts);
    }

    /// Bilinear, pixels as squares.
    fn resized(&mut self, name: &str, x: &str, scale: usize) {
        let scales = format!("times_{scale}");
        self.graph.floats(&scales, &[4], [1.0, 1.0, scale as f64, scale as f64].into_iter());
        self.graph.resize(name, x, &scales);
    }
}
