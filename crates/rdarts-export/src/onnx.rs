//! A network as an ONNX file (opset 17, IR version 8): one input `image` (batch, channels, rows, columns), one output
//! `logits` (batch, classes), in single precision, for any number of images at once.
//!
//! A batch norm in use is an affine map of each channel, so it disappears in the convolution before it:
//!
//! ```text
//! y = gamma * (W x - mean) / sqrt(var + eps) + beta
//!   = (s W) x + (beta - s mean)                        s = gamma / sqrt(var + eps)
//! ```
//!
//! s and the bias are computed in double precision. Only the norm before the head of a network of NAS-Bench-201 stays, which
//! may have a sum before it. Nodes are called as the modules of the PyTorch network; after folding, `cells.3._ops.2.op.2` is
//! the 1x1 convolution with the batch norm `cells.3._ops.2.op.3` inside. The auxiliary head, which only training uses, is
//! left out. What a program needs beside the graph stands in the metadata: `classes`, `mean`, `std` and `side` (JSON),
//! `normalise`, `genotype`, `rdarts`.

use prost::Message;

use crate::graph::{Builder, Value, batch_of, float, int};
use crate::module::{Conv, Layer, Module, NORM, Pool};
use crate::plan::{CellKind, CellPlan};
use crate::proto::{Graph, Model, Opset, Property};
use crate::trained::{ExportError, Tensor, Trained};

/// How a network becomes an ONNX file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnnxOptions {
    /// Whether `image` has pixels in [0, 1], which the graph normalises; otherwise the caller has done that.
    pub normalise: bool,
    /// Whether batch norms are folded into the convolutions before them, which makes the file smaller and faster;
    /// otherwise they are nodes of their own with the tensors of the training.
    pub fold: bool,
}

/// What batch norms add to the variance, as PyTorch does unless told otherwise.
pub(crate) const EPS: f32 = 1e-5;

/// The bytes of the ONNX file.
pub fn onnx(trained: &Trained, options: OnnxOptions) -> Result<Vec<u8>, ExportError> {
    let plan = trained.plan()?;
    let mut writer = Writer { graph: Builder::default(), trained, fold: options.fold };
    let image = Value { name: "image".to_owned(), c: trained.c_image, side: trained.side };
    let image = if options.normalise { writer.normalised(&image) } else { image };
    let stem = writer.layers("stem", &plan.stem, &image);
    let (mut s0, mut s1) = (stem.clone(), stem);
    for cell in &plan.cells {
        (s0, s1) = (s1.clone(), writer.cell(cell, [&s0, &s1]));
    }
    let x = writer.layers("lastact", &plan.lastact, &s1);
    writer.head(&x);

    let [rows, columns] = trained.side;
    let input = batch_of("image", &[trained.c_image, rows, columns]);
    let graph = writer.graph.finish("rdarts", input, batch_of("logits", &[trained.classes.len()]));
    let mut properties = trained.properties();
    properties.insert("normalise", options.normalise.to_string());
    let model = model_of(graph, properties.into_iter());
    checked(&model)?;
    Ok(model.encode_to_vec())
}

/// The file of a graph, with its metadata.
pub(crate) fn model_of<'a>(graph: Graph, properties: impl Iterator<Item = (&'a str, String)>) -> Model {
    Model {
        ir_version: 8,
        producer_name: "rdarts".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(graph),
        opset_import: vec![Opset { domain: String::new(), version: 17 }],
        metadata_props: properties.map(|(key, value)| Property { key: key.to_owned(), value }).collect(),
    }
}

/// Refuses a file that is too large: protocol buffers count their bytes in 31 bits.
pub(crate) fn checked(model: &Model) -> Result<(), ExportError> {
    let bytes = model.encoded_len();
    match i32::try_from(bytes) {
        Ok(_) => Ok(()),
        Err(_) => Err(ExportError::TooLarge { bytes }),
    }
}

/// A graph that grows, and where its numbers come from.
struct Writer<'a> {
    graph: Builder,
    trained: &'a Trained<'a>,
    fold: bool,
}

impl<'a> Writer<'a> {
    /// (x - mean) / std. It cannot be folded into the stem, whose border is zeros after it.
    fn normalised(&mut self, x: &Value) -> Value {
        let shape = [x.c, 1, 1];
        let trained = self.trained;
        for (name, values) in [("mean", trained.mean), ("std", trained.std)] {
            self.graph.floats(name, &shape, values.iter().map(|v| f64::from(*v)));
        }
        self.graph.node("Sub", "image.centred", &[&x.name, "mean"], vec![]);
        self.graph.node("Div", "image.normalised", &["image.centred", "std"], vec![]);
        Value { name: "image.normalised".to_owned(), ..x.clone() }
    }

    /// The output of a cell; that before the last one is what only cells of DARTS read.
    fn cell(&mut self, cell: &CellPlan, [before, last]: [&Value; 2]) -> Value {
        let name = &cell.name;
        match &cell.kind {
            CellKind::Darts { preprocess, ops, concat } => {
                let mut states: Vec<Value> = [before, last]
                    .into_iter()
                    .zip(preprocess)
                    .enumerate()
                    .map(|(i, (input, module))| self.module(&format!("{name}.preprocess{i}"), module, input))
                    .collect();
                for (node, pair) in ops.chunks(2).enumerate() {
                    // Zeros add nothing, so they are made only where nothing else is.
                    let is_zero = |(module, _): &&(Module, usize)| matches!(module, Module::Zero { .. });
                    let n_zeros = pair.iter().filter(is_zero).count();
                    let mut terms = Vec::new();
                    for (i, (module, input)) in pair.iter().enumerate() {
                        let is_needed = !matches!(module, Module::Zero { .. }) || n_zeros == pair.len() && i == 0;
                        if is_needed {
                            terms.push(self.module(&format!("{name}._ops.{}", 2 * node + i), module, &states[*input]));
                        }
                    }
                    states.push(self.graph.sum(&format!("{name}.node_{node}"), &terms));
                }
                let nodes: Vec<Value> = concat.iter().map(|state| states[*state].clone()).collect();
                self.graph.concat(name, &nodes)
            }
            CellKind::NasBench201(nodes) => {
                let mut states = vec![last.clone()];
                for (node, edges) in nodes.iter().enumerate() {
                    let node = format!("{name}.node_{node}");
                    let module = |(edge, module, input): &(usize, Module, usize)| {
                        self.module(&format!("{name}.layers.{edge}"), module, &states[*input])
                    };
                    let terms: Vec<Value> = edges.iter().map(module).collect();
                    states.push(match terms.is_empty() {
                        true => self.graph.zeros(&node, last, 1),
                        false => self.graph.sum(&node, &terms),
                    });
                }
                states.swap_remove(nodes.len())
            }
            CellKind::Residual { convs: [a, b], downsample } => {
                let x = self.module(&format!("{name}.conv_a"), a, last);
                let x = self.module(&format!("{name}.conv_b"), b, &x);
                let straight = self.layers(&format!("{name}.downsample"), downsample, last);
                self.graph.sum(name, &[straight, x])
            }
        }
    }

    /// What a module called `name` makes of `x`.
    fn module(&mut self, name: &str, module: &Module, x: &Value) -> Value {
        match module {
            Module::Layers(layers) => self.layers(&format!("{name}.op"), layers, x),
            Module::Sequential(layers) => self.layers(name, layers, x),
            Module::Identity => x.clone(),
            Module::Zero { stride } => self.graph.zeros(name, x, *stride),
            Module::Pool { kind, stride } => {
                self.graph.pool_of(name, &x.name, *kind == Pool::Max, *stride);
                Value { name: name.to_owned(), c: x.c, side: x.side.map(|side| side.div_ceil(*stride)) }
            }
            Module::FactorizedReduce { c_in, c_out } => {
                let x = self.graph.relu(x);
                let shifted = self.graph.shifted(&x);
                let conv = Conv { stride: [2, 2], ..Conv::pointwise(*c_in, c_out / 2) };
                let norm = format!("{name}.bn");
                let halves: Vec<Value> = [(1, &x, 0), (2, &shifted, c_out / 2)]
                    .into_iter()
                    .map(|(i, read, first)| {
                        self.conv(&format!("{name}.conv_{i}"), &conv, read, self.fold.then_some((norm.as_str(), first)))
                    })
                    .collect();
                if self.fold {
                    return self.graph.concat(name, &halves);
                }
                let both = self.graph.concat(&format!("{name}.both"), &halves);
                self.norm(&norm, &both)
            }
        }
    }

    /// What layers called `prefix.0`, `prefix.1` and so on make of `x`.
    fn layers(&mut self, prefix: &str, layers: &[Layer], x: &Value) -> Value {
        let mut x = x.clone();
        for (i, layer) in layers.iter().enumerate() {
            let name = format!("{prefix}.{i}");
            let after = format!("{prefix}.{}", i + 1);
            let is_before_norm = matches!(layers.get(i + 1), Some(Layer::Norm(_)));
            x = match layer {
                Layer::Relu => self.graph.relu(&x),
                Layer::Conv(conv) => {
                    self.conv(&name, conv, &x, (self.fold && is_before_norm).then_some((after.as_str(), 0)))
                }
                Layer::Norm(_) if self.fold && i > 0 => x, // it stands behind a convolution, which has it inside
                Layer::Norm(_) => self.norm(&name, &x),
                Layer::HalfMean => self.graph.half_mean(&name, &x),
                Layer::Other => x,
            };
        }
        x
    }

    /// A convolution, with the part of the batch norm behind it that begins at a channel, where one is folded in.
    fn conv(&mut self, name: &str, conv: &Conv, x: &Value, norm: Option<(&str, usize)>) -> Value {
        let weight = self.tensor(&format!("{name}.weight"));
        let per_channel = weight.values.len() / conv.c_out;
        let affine = norm.map(|(norm, first)| self.affine(norm, first, conv.c_out));
        let scaled = weight
            .values
            .iter()
            .enumerate()
            .map(|(i, w)| f64::from(*w) * affine.as_ref().map_or(1.0, |(scale, _)| scale[i / per_channel]));
        self.graph.floats(&format!("{name}.weight"), &weight.shape, scaled);
        if let Some((_, bias)) = &affine {
            self.graph.floats(&format!("{name}.bias"), &[conv.c_out], bias.iter().copied());
        }
        self.graph.conv(name, x, conv, affine.is_some())
    }

    /// Scale and bias of the `n` channels of a batch norm that begin at `first`.
    fn affine(&self, norm: &str, first: usize, n: usize) -> (Vec<f64>, Vec<f64>) {
        let [gamma, beta, mean, var] =
            NORM.map(|part| &self.tensor(&format!("{norm}.{part}")).values[first..first + n]);
        let of = |c: usize| {
            let scale = f64::from(gamma[c]) / (f64::from(var[c]) + f64::from(EPS)).sqrt();
            (scale, f64::from(beta[c]) - scale * f64::from(mean[c]))
        };
        (0..n).map(of).unzip()
    }

    /// A batch norm as a node of its own.
    fn norm(&mut self, name: &str, x: &Value) -> Value {
        let parts = NORM.map(|part| format!("{name}.{part}"));
        for part in &parts {
            let values = &self.tensor(part).values;
            self.graph.floats(part, &[values.len()], values.iter().map(|v| f64::from(*v)));
        }
        let [gamma, beta, mean, var] = parts.each_ref().map(String::as_str);
        let attributes = vec![float("epsilon", EPS)];
        self.graph.node("BatchNormalization", name, &[&x.name, gamma, beta, mean, var], attributes);
        Value { name: name.to_owned(), ..x.clone() }
    }

    /// Mean over the image, linear.
    fn head(&mut self, x: &Value) {
        let [weight, bias] = ["classifier.weight", "classifier.bias"];
        for name in [weight, bias] {
            let tensor = self.tensor(name);
            self.graph.floats(name, &tensor.shape, tensor.values.iter().map(|v| f64::from(*v)));
        }
        self.graph.node("GlobalAveragePool", "mean_pixel", &[&x.name], vec![]);
        self.graph.node("Flatten", "features", &["mean_pixel"], vec![int("axis", 1)]);
        self.graph.node("Gemm", "logits", &["features", weight, bias], vec![int("transB", 1)]);
    }

    /// A tensor of the network; the plan has seen that it is there.
    fn tensor(&self, name: &str) -> &'a Tensor {
        self.trained.tensors.get(name).unwrap_or_else(|| panic!("the plan has looked for {name}"))
    }
}
