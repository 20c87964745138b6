//! An ONNX graph while it grows: values with their shapes, nodes, constants.
//!
//! A node is called as the value that it makes. What has been made once under a name is not made again, so that all who
//! need the relu of a value share it. In the end only those nodes and constants stay from which the output follows.

use std::collections::{BTreeMap, BTreeSet};

use crate::module::Conv;
use crate::proto::{self, Attribute, Dimension, Extent, Node, TensorData, ValueInfo};

/// A value of shape (batch, c, rows, columns).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Value {
    /// What it is called.
    pub name: String,
    /// Channels.
    pub c: usize,
    /// Rows and columns.
    pub side: [usize; 2],
}

/// A graph that grows.
#[derive(Default)]
pub(crate) struct Builder {
    nodes: Vec<Node>,
    made: BTreeSet<String>,
    constants: BTreeMap<String, TensorData>,
}

impl Builder {
    /// The node of the operator `op_type` that makes `output`, unless there is one.
    pub fn node(&mut self, op_type: &str, output: &str, inputs: &[&str], attributes: Vec<Attribute>) {
        if self.made.insert(output.to_owned()) {
            self.nodes.push(Node {
                input: inputs.iter().map(|name| name.to_string()).collect(),
                output: vec![output.to_owned()],
                name: output.to_owned(),
                op_type: op_type.to_owned(),
                attribute: attributes,
            });
        }
    }

    /// A constant in single precision.
    pub fn floats(&mut self, name: &str, shape: &[usize], values: impl Iterator<Item = f64>) {
        let raw_data = values.flat_map(|v| (v as f32).to_le_bytes()).collect();
        self.constant(name, shape, proto::TYPE_FLOAT, raw_data);
    }

    /// A constant list of whole numbers, called by what it holds: `[0, 2]`.
    pub fn indices(&mut self, values: &[usize]) -> String {
        let name = format!("{values:?}");
        let raw_data = values.iter().flat_map(|v| (*v as i64).to_le_bytes()).collect();
        self.constant(&name, &[values.len()], proto::TYPE_INT64, raw_data);
        name
    }

    /// A constant list of one whole number, called by it.
    pub fn whole(&mut self, value: i64) -> String {
        let name = format!("[{value}]");
        self.constant(&name, &[1], proto::TYPE_INT64, value.to_le_bytes().to_vec());
        name
    }

    /// `x` resampled bilinearly, pixels as squares, by the factors that the constant `scales` holds.
    pub fn resize(&mut self, output: &str, x: &str, scales: &str) {
        let attributes = vec![text("mode", "linear"), text("coordinate_transformation_mode", "half_pixel")];
        // The second input is for another mode.
        self.node("Resize", output, &[x, "", scales], attributes);
    }

    fn constant(&mut self, name: &str, shape: &[usize], data_type: i32, raw_data: Vec<u8>) {
        let dims = shape.iter().map(|n| *n as i64).collect();
        self.constants.insert(name.to_owned(), TensorData { dims, data_type, name: name.to_owned(), raw_data });
    }

    /// max(x, 0).
    pub fn relu(&mut self, x: &Value) -> Value {
        let name = format!("{}.relu", x.name);
        self.node("Relu", &name, &[&x.name], vec![]);
        Value { name, ..x.clone() }
    }

    /// A convolution called `name`, whose constants `name.weight` and, if it has one, `name.bias` are there.
    pub fn conv(&mut self, name: &str, x: &Value, conv: &Conv, has_bias: bool) -> Value {
        let [weight, bias] = ["weight", "bias"].map(|part| format!("{name}.{part}"));
        let inputs = [x.name.as_str(), &weight, &bias];
        self.conv_of(name, conv, &inputs[..if has_bias { 3 } else { 2 }]);
        // Windows are padded such that the stride alone decides.
        let side = [0, 1].map(|i| x.side[i].div_ceil(conv.stride[i]));
        Value { name: name.to_owned(), c: conv.c_out, side }
    }

    /// A convolution of values by their names: what it reads, its weights, and its bias if it has one.
    pub fn conv_of(&mut self, name: &str, conv: &Conv, inputs: &[&str]) {
        let [rows, columns] = conv.pad;
        let attributes = vec![
            ints("kernel_shape", &conv.window),
            ints("strides", &conv.stride),
            ints("pads", &[rows, columns, rows, columns]),
            ints("dilations", &[conv.dilation; 2]),
            int("group", conv.groups),
        ];
        self.node("Conv", name, inputs, attributes);
    }

    /// A pool of 3x3, of the maximum or the mean of what lies inside.
    pub fn pool_of(&mut self, name: &str, x: &str, is_max: bool, stride: usize) {
        let mut attributes = vec![ints("kernel_shape", &[3; 2]), ints("strides", &[stride; 2]), ints("pads", &[1; 4])];
        if !is_max {
            attributes.push(int("count_include_pad", 0));
        }
        self.node(if is_max { "MaxPool" } else { "AveragePool" }, name, &[x], attributes);
    }

    /// The mean of 2x2 pixels at every second one. Of an odd side the last window is padded, not rounded up, which not all
    /// runtimes do alike.
    pub fn half_mean(&mut self, name: &str, x: &Value) -> Value {
        let [rows, columns] = x.side.map(|side| side % 2);
        let attributes = vec![
            ints("kernel_shape", &[2; 2]),
            ints("strides", &[2; 2]),
            ints("pads", &[0, 0, rows, columns]),
            int("count_include_pad", 0),
        ];
        self.node("AveragePool", name, &[&x.name], attributes);
        Value { name: name.to_owned(), c: x.c, side: x.side.map(|side| side.div_ceil(2)) }
    }

    /// The sum of one or more values; of more than two, sums of the first ones are called `name.1`, `name.2` and so on.
    pub fn sum(&mut self, name: &str, terms: &[Value]) -> Value {
        let names: Vec<&str> = terms.iter().map(|term| term.name.as_str()).collect();
        Value { name: self.sum_of(name, &names), ..terms[0].clone() }
    }

    /// The same of values by their names.
    pub fn sum_of(&mut self, name: &str, terms: &[&str]) -> String {
        let mut sum = terms[0].to_owned();
        for (i, term) in terms.iter().enumerate().skip(1) {
            let output = if i + 1 == terms.len() { name.to_owned() } else { format!("{name}.{i}") };
            self.node("Add", &output, &[&sum, term], vec![]);
            sum = output;
        }
        sum
    }

    /// `x` from pixel (1, 1) on, for something that then reads every second pixel: where a side is odd, zeros follow it,
    /// so that there is a last one to read.
    pub fn shifted(&mut self, x: &Value) -> Value {
        let [name, padded] = ["shifted", "padded"].map(|what| format!("{}.{what}", x.name));
        let ends = x.side.map(|side| side + side % 2);
        let read = match ends == x.side {
            true => x.name.clone(),
            false => {
                let pads = self.indices(&[0, 0, 0, 0, 0, 0, ends[0] - x.side[0], ends[1] - x.side[1]]);
                self.node("Pad", &padded, &[&x.name, &pads], vec![]);
                padded
            }
        };
        let [starts, ends_name, axes] = [self.indices(&[1, 1]), self.indices(&ends), self.indices(&[2, 3])];
        self.node("Slice", &name, &[&read, &starts, &ends_name, &axes], vec![]);
        Value { name, c: x.c, side: ends.map(|end| end - 1) }
    }

    /// Zeros of the shape that every second pixel of `x` has, or that `x` has.
    pub fn zeros(&mut self, name: &str, x: &Value, stride: usize) -> Value {
        let side = x.side.map(|side| side.div_ceil(stride));
        let mut read = x.name.clone();
        if stride > 1 {
            let lists: [&[usize]; 4] = [&[0, 0], &x.side, &[2, 3], &[stride; 2]];
            let [starts, ends, axes, steps] = lists.map(|list| self.indices(list));
            let every = format!("{}.every_{stride}", x.name);
            self.node("Slice", &every, &[&read, &starts, &ends, &axes, &steps], vec![]);
            read = every;
        }
        self.floats("zero", &[], [0.0].into_iter());
        self.node("Mul", name, &[&read, "zero"], vec![]);
        Value { name: name.to_owned(), c: x.c, side }
    }

    /// The channels of all values one after the other.
    pub fn concat(&mut self, name: &str, values: &[Value]) -> Value {
        let names: Vec<&str> = values.iter().map(|value| value.name.as_str()).collect();
        self.node("Concat", name, &names, vec![int("axis", 1)]);
        Value { name: name.to_owned(), c: values.iter().map(|value| value.c).sum(), side: values[0].side }
    }

    /// The graph from `input` to `output`, without what `output` does not need.
    pub fn finish(self, name: &str, input: ValueInfo, output: ValueInfo) -> proto::Graph {
        self.finish_all(name, vec![input], output)
    }

    /// The same from several inputs.
    pub fn finish_all(self, name: &str, input: Vec<ValueInfo>, output: ValueInfo) -> proto::Graph {
        let mut needed = BTreeSet::from([output.name.clone()]);
        let mut node: Vec<Node> = Vec::new();
        for of in self.nodes.into_iter().rev() {
            if of.output.iter().any(|value| needed.contains(value)) {
                needed.extend(of.input.iter().cloned());
                node.push(of);
            }
        }
        node.reverse();
        let initializer = self.constants.into_values().filter(|constant| needed.contains(&constant.name)).collect();
        proto::Graph { node, name: name.to_owned(), initializer, input, output: vec![output] }
    }
}

/// A whole number as an attribute.
pub(crate) fn int(name: &str, value: usize) -> Attribute {
    Attribute { name: name.to_owned(), i: Some(value as i64), kind: proto::KIND_INT, ..Attribute::default() }
}

/// Whole numbers as an attribute.
pub(crate) fn ints(name: &str, values: &[usize]) -> Attribute {
    let ints = values.iter().map(|v| *v as i64).collect();
    Attribute { name: name.to_owned(), ints, kind: proto::KIND_INTS, ..Attribute::default() }
}

/// A number as an attribute.
pub(crate) fn float(name: &str, value: f32) -> Attribute {
    Attribute { name: name.to_owned(), f: Some(value), kind: proto::KIND_FLOAT, ..Attribute::default() }
}

/// A text as an attribute.
fn text(name: &str, value: &str) -> Attribute {
    Attribute {
        name: name.to_owned(),
        s: Some(value.as_bytes().to_vec()),
        kind: proto::KIND_TEXT,
        ..Attribute::default()
    }
}

/// A tensor of single precision of (batch, c, height, width), where all but c are the caller's to choose.
pub(crate) fn sized_by_caller(name: &str, c: usize) -> ValueInfo {
    let free = |name: &str| Dimension { extent: Some(Extent::Name(name.to_owned())) };
    let channels = Dimension { extent: Some(Extent::Value(c as i64)) };
    typed(name, vec![free("batch"), channels, free("height"), free("width")])
}

/// A tensor of single precision whose first extent is the caller's to choose.
pub(crate) fn batch_of(name: &str, extents: &[usize]) -> ValueInfo {
    let batch = Dimension { extent: Some(Extent::Name("batch".to_owned())) };
    let rest = extents.iter().map(|n| Dimension { extent: Some(Extent::Value(*n as i64)) });
    typed(name, std::iter::once(batch).chain(rest).collect())
}

fn typed(name: &str, dim: Vec<Dimension>) -> ValueInfo {
    let shape = proto::Shape { dim };
    let tensor = proto::TensorType { elem_type: proto::TYPE_FLOAT, shape: Some(shape) };
    ValueInfo { name: name.to_owned(), r#type: Some(proto::Type { tensor: Some(tensor) }) }
}
