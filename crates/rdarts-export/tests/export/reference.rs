//! The evaluation network of DARTS, and that of NAS-Bench-201, as plain loops in double precision, written from its definition and sharing nothing
//! with the crate: what exports are held to. It asks for each tensor by name and shape when it first needs it, so it
//! also says which tensors a network has.

use std::collections::BTreeMap;

use rdarts_export::Tensor;
use rdarts_rng::Stream;
use rdarts_space::{CellType, Genotype, Op, Topology};

/// Images: (n, c, h, w), row by row.
#[derive(Clone)]
pub struct Images {
    pub shape: [usize; 4],
    pub values: Vec<f64>,
}

/// Tensors by name; those that are not there are drawn, where a stream is.
pub struct Weights {
    pub tensors: BTreeMap<String, Tensor>,
    pub stream: Option<Stream>,
    /// The cells that reduce; none named: those at a third and at two thirds.
    pub reductions: Vec<usize>,
}

impl Weights {
    /// Loops over the tensors that are there.
    pub fn loops(&self) -> Self {
        Self { tensors: self.tensors.clone(), stream: None, reductions: self.reductions.clone() }
    }

    fn get(&mut self, name: &str, shape: &[usize]) -> Vec<f64> {
        if let Some(stream) = self.stream.as_mut().filter(|_| !self.tensors.contains_key(name)) {
            let n: usize = shape.iter().product();
            let gain = (2.0 / shape.iter().skip(1).product::<usize>() as f64).sqrt();
            let draw = |_| match name.rsplit('.').next() {
                Some("running_var") => (0.5 * stream.normal()).exp(),
                Some("weight") if shape.len() == 1 => 1.0 + 0.3 * stream.normal(),
                Some("weight") => gain * stream.normal(),
                _ => 0.2 * stream.normal(),
            };
            let values = (0..n).map(draw).map(|v| v as f32).collect();
            self.tensors.insert(name.to_owned(), Tensor { shape: shape.to_vec(), values });
        }
        let tensor = self.tensors.get(name).unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(tensor.shape, shape, "{name}");
        tensor.values.iter().map(|v| f64::from(*v)).collect()
    }

    fn norm(&mut self, name: &str, mut x: Images) -> Images {
        let [_, c, h, w] = x.shape;
        let [gamma, beta, mean, var] =
            ["weight", "bias", "running_mean", "running_var"].map(|part| self.get(&format!("{name}.{part}"), &[c]));
        for (i, v) in x.values.iter_mut().enumerate() {
            let c = i / (h * w) % c;
            *v = (*v - mean[c]) / (var[c] + 1e-5).sqrt() * gamma[c] + beta[c];
        }
        x
    }

    fn conv(&mut self, name: &str, x: &Images, c_out: usize, window: Window, groups: usize) -> Images {
        let shape = [c_out, x.shape[1] / groups, window.size[0], window.size[1]];
        let weight = self.get(&format!("{name}.weight"), &shape);
        let per_group = [shape[1], c_out / groups];
        window.over(x, c_out, |pixels, o| {
            let mut sum = 0.0;
            for i in 0..per_group[0] {
                let c = o / per_group[1] * per_group[0] + i;
                for &(tap, at) in pixels {
                    sum += weight[(o * per_group[0] + i) * window.size[0] * window.size[1] + tap] * at(c);
                }
            }
            sum
        })
    }
}

/// A sliding window; pairs are rows and columns.
#[derive(Clone, Copy)]
struct Window {
    size: [usize; 2],
    stride: [usize; 2],
    pad: [usize; 2],
    dilation: usize,
}

const POINT: Window = Window { size: [1, 1], stride: [1, 1], pad: [0, 0], dilation: 1 };

/// The number of a tap, and its pixel's value in a channel.
type Pixel<'a> = (usize, &'a dyn Fn(usize) -> f64);

impl Window {
    /// The outputs of `f`, which gets the pixels inside the image and the channel to make.
    fn over(&self, x: &Images, c_out: usize, f: impl Fn(&[Pixel], usize) -> f64) -> Images {
        let [n, c_in, h, w] = x.shape;
        let out = [0, 1]
            .map(|i| (x.shape[2 + i] + 2 * self.pad[i] - self.dilation * (self.size[i] - 1) - 1) / self.stride[i] + 1);
        let mut values = Vec::new();
        for image in 0..n {
            for o in 0..c_out {
                for row in 0..out[0] {
                    for column in 0..out[1] {
                        let mut inside = Vec::new();
                        for tap in 0..self.size[0] * self.size[1] {
                            let (a, b) = (tap / self.size[1], tap % self.size[1]);
                            let i = (row * self.stride[0] + a * self.dilation).wrapping_sub(self.pad[0]);
                            let j = (column * self.stride[1] + b * self.dilation).wrapping_sub(self.pad[1]);
                            if i < h && j < w {
                                inside.push((tap, (i, j)));
                            }
                        }
                        let readers: Vec<_> = inside
                            .iter()
                            .map(|&(tap, (i, j))| (tap, move |c: usize| x.values[((image * c_in + c) * h + i) * w + j]))
                            .collect();
                        let pixels: Vec<Pixel> =
                            readers.iter().map(|(tap, at)| (*tap, at as &dyn Fn(usize) -> f64)).collect();
                        values.push(f(&pixels, o));
                    }
                }
            }
        }
        Images { shape: [n, c_out, out[0], out[1]], values }
    }
}

fn sum(a: &Images, b: &Images) -> Images {
    assert_eq!(a.shape, b.shape);
    Images { shape: a.shape, values: a.values.iter().zip(&b.values).map(|(a, b)| a + b).collect() }
}

/// The mean of the pixels (2 i, 2 j), (2 i, 2 j + 1), (2 i + 1, 2 j) and (2 i + 1, 2 j + 1), as many as there are.
fn half_mean(x: &Images) -> Images {
    let [n, c, h, w] = x.shape;
    let out = [h.div_ceil(2), w.div_ceil(2)];
    let mut values = Vec::new();
    for plane in x.values.chunks(h * w) {
        for i in 0..out[0] {
            for j in 0..out[1] {
                let (rows, columns) = (2 * i..h.min(2 * i + 2), 2 * j..w.min(2 * j + 2));
                let count = rows.len() * columns.len();
                let sum: f64 = rows.map(|i| plane[i * w..][columns.clone()].iter().sum::<f64>()).sum();
                values.push(sum / count as f64);
            }
        }
    }
    Images { shape: [n, c, out[0], out[1]], values }
}

fn relu(x: &Images) -> Images {
    Images { shape: x.shape, values: x.values.iter().map(|v| v.max(0.0)).collect() }
}

/// Pixels (offset + 2 i, offset + 2 j); zeros where there is none, so that both offsets give equally many.
fn every_second(x: &Images, offset: usize) -> Images {
    let [n, c, h, w] = x.shape;
    let out = [h.div_ceil(2), w.div_ceil(2)];
    let mut values = Vec::new();
    for plane in 0..n * c {
        for i in 0..out[0] {
            for j in 0..out[1] {
                let (i, j) = (offset + 2 * i, offset + 2 * j);
                values.push(if i < h && j < w { x.values[(plane * h + i) * w + j] } else { 0.0 });
            }
        }
    }
    Images { shape: [n, c, out[0], out[1]], values }
}

/// The channels of images one after the other.
fn concat(parts: &[Images]) -> Images {
    let [n, _, h, w] = parts[0].shape;
    let c = parts.iter().map(|part| part.shape[1]).sum();
    let mut values = Vec::new();
    for image in 0..n {
        for part in parts {
            let length = part.shape[1] * h * w;
            values.extend(&part.values[image * length..(image + 1) * length]);
        }
    }
    Images { shape: [n, c, h, w], values }
}

impl Weights {
    fn factorized_reduce(&mut self, name: &str, x: &Images, c: usize) -> Images {
        let x = relu(x);
        let parts = [0, 1].map(|offset| {
            self.conv(&format!("{name}.conv_{}", offset + 1), &every_second(&x, offset), c / 2, POINT, 1)
        });
        self.norm(&format!("{name}.bn"), concat(&parts))
    }

    fn relu_conv_norm(&mut self, name: &str, x: &Images, c: usize) -> Images {
        self.nor_conv(name, x, c, 1, 1)
    }

    fn nor_conv(&mut self, name: &str, x: &Images, c: usize, k: usize, stride: usize) -> Images {
        let window = Window { size: [k; 2], stride: [stride; 2], pad: [k / 2; 2], dilation: 1 };
        let y = self.conv(&format!("{name}.op.1"), &relu(x), c, window, 1);
        self.norm(&format!("{name}.op.2"), y)
    }

    fn half(&mut self, name: &str, first: usize, x: &Images, k: usize, stride: usize, dilation: usize) -> Images {
        let c = x.shape[1];
        let window = Window { size: [k; 2], stride: [stride; 2], pad: [dilation * (k - 1) / 2; 2], dilation };
        let y = self.conv(&format!("{name}.op.{first}"), &relu(x), c, window, c);
        let y = self.conv(&format!("{name}.op.{}", first + 1), &y, c, POINT, 1);
        self.norm(&format!("{name}.op.{}", first + 2), y)
    }

    fn op(&mut self, name: &str, op: Op, x: &Images, stride: usize) -> Images {
        let (k, c) = (op.window(), x.shape[1]);
        let pool = Window { size: [3, 3], stride: [stride; 2], pad: [1, 1], dilation: 1 };
        match op {
            Op::None => {
                let y = if stride == 2 { every_second(x, 0) } else { x.clone() };
                Images { values: vec![0.0; y.values.len()], ..y }
            }
            Op::Noise => panic!("noise has no value"),
            Op::NorConv1x1 | Op::NorConv3x3 => self.nor_conv(name, x, c, k, stride),
            Op::SkipConnect if stride == 1 => x.clone(),
            Op::SkipConnect => self.factorized_reduce(name, x, c),
            Op::MaxPool3x3 => {
                pool.over(x, c, |pixels, c| pixels.iter().map(|(_, at)| at(c)).fold(f64::NEG_INFINITY, f64::max))
            }
            Op::AvgPool3x3 => {
                pool.over(x, c, |pixels, c| pixels.iter().map(|(_, at)| at(c)).sum::<f64>() / pixels.len() as f64)
            }
            Op::SepConv3x3 | Op::SepConv5x5 | Op::SepConv7x7 => {
                let y = self.half(name, 1, x, k, stride, 1);
                self.half(name, 5, &y, k, 1, 1)
            }
            Op::DilConv3x3 | Op::DilConv5x5 => self.half(name, 1, x, k, stride, 2),
            Op::Conv7x1_1x7 => {
                let row = Window { size: [1, 7], stride: [1, stride], pad: [0, 3], dilation: 1 };
                let column = Window { size: [7, 1], stride: [stride, 1], pad: [3, 0], dilation: 1 };
                // The published code has no module around these layers.
                let y = self.conv(&format!("{name}.1"), &relu(x), c, row, 1);
                let y = self.conv(&format!("{name}.2"), &y, c, column, 1);
                self.norm(&format!("{name}.3"), y)
            }
        }
    }

    fn reduces(&self, k: usize, cells: usize) -> bool {
        match self.reductions.is_empty() {
            true => k == cells / 3 || k == 2 * cells / 3,
            false => self.reductions.contains(&k),
        }
    }

    /// The outputs of all cells.
    fn outputs(&mut self, genotype: &Genotype, cells: usize, channels: usize, x: &Images) -> Vec<Images> {
        let window = Window { size: [3, 3], stride: [1, 1], pad: [1, 1], dilation: 1 };
        let y = self.conv("stem.0", x, 3 * channels, window, 1);
        let stem = self.norm("stem.1", y);
        let (mut s0, mut s1, mut c, mut reduced) = (stem.clone(), stem, channels, false);
        let mut outputs = Vec::new();
        for k in 0..cells {
            let reduces = self.reduces(k, cells) && !genotype.reduce.is_empty();
            let kind = if reduces { CellType::Reduce } else { CellType::Normal };
            c *= if reduces { 2 } else { 1 };
            let name = format!("cells.{k}.preprocess0");
            let a = if reduced { self.factorized_reduce(&name, &s0, c) } else { self.relu_conv_norm(&name, &s0, c) };
            let mut states = vec![a, self.relu_conv_norm(&format!("cells.{k}.preprocess1"), &s1, c)];
            for (node, pair) in genotype.cell(kind).chunks(2).enumerate() {
                let [a, b] = [0, 1].map(|i| {
                    let (op, input) = pair[i];
                    let stride = if reduces && input < 2 { 2 } else { 1 };
                    self.op(&format!("cells.{k}._ops.{}", 2 * node + i), op, &states[input], stride)
                });
                states.push(sum(&a, &b));
            }
            let nodes: Vec<Images> = genotype.concat(kind).iter().map(|state| states[*state].clone()).collect();
            (s0, s1, reduced) = (s1, concat(&nodes), reduces);
            outputs.push(s1.clone());
        }
        outputs
    }

    /// A state of a cell of NAS-Bench-201, which is computed once: `known` has those that are.
    fn state(&mut self, name: &str, genotype: &Genotype, at: usize, known: &mut Vec<Option<Images>>) -> Images {
        if let Some(images) = &known[at] {
            return images.clone();
        }
        let input = known[0].clone().expect("state 0 is given");
        let mut total = Images { values: vec![0.0; input.values.len()], ..input };
        // at (at - 1) / 2 edges lead to the states before.
        let first = at * (at - 1) / 2;
        for from in 0..at {
            let op = genotype.normal[first + from].0;
            // What reads no state needs none.
            if op != Op::None {
                let x = self.state(name, genotype, from, known);
                total = sum(&total, &self.op(&format!("{name}.layers.{}", first + from), op, &x, 1));
            }
        }
        known[at] = Some(total.clone());
        total
    }

    /// What the head of a network of NAS-Bench-201 reads.
    fn nas_bench_201(&mut self, genotype: &Genotype, cells: usize, channels: usize, x: &Images) -> Images {
        let window = Window { size: [3, 3], stride: [1, 1], pad: [1, 1], dilation: 1 };
        let y = self.conv("stem.0", x, channels, window, 1);
        let mut x = self.norm("stem.1", y);
        for k in 0..cells {
            let (name, c) = (format!("cells.{k}"), 2 * x.shape[1]);
            x = if self.reduces(k, cells) {
                let y = self.nor_conv(&format!("{name}.conv_a"), &x, c, 3, 2);
                let y = self.nor_conv(&format!("{name}.conv_b"), &y, c, 3, 1);
                sum(&y, &self.conv(&format!("{name}.downsample.1"), &half_mean(&x), c, POINT, 1))
            } else {
                let last = genotype.normal_concat[0];
                let mut known = vec![None; last + 1];
                known[0] = Some(x);
                self.state(&name, genotype, last, &mut known)
            };
        }
        relu(&self.norm("lastact.0", x))
    }

    /// The logits of images, image by image.
    pub fn logits(
        &mut self,
        genotype: &Genotype,
        cells: usize,
        channels: usize,
        classes: usize,
        x: &Images,
    ) -> Vec<f64> {
        let last = match genotype.topology {
            Topology::Darts => self.outputs(genotype, cells, channels, x).swap_remove(cells - 1),
            Topology::NasBench201 => self.nas_bench_201(genotype, cells, channels, x),
        };
        let [n, c, h, w] = last.shape;
        let mean = last.values.chunks(h * w).map(|plane| plane.iter().sum::<f64>() / (h * w) as f64).collect();
        self.linear("classifier", &Images { shape: [n, c, 1, 1], values: mean }, classes)
    }

    /// Those of the auxiliary head in use, image by image: on what the cell at two thirds makes of images of 32x32 pixels.
    pub fn auxiliary_logits(
        &mut self,
        genotype: &Genotype,
        cells: usize,
        channels: usize,
        classes: usize,
        x: &Images,
    ) -> Vec<f64> {
        let x = relu(&self.outputs(genotype, cells, channels, x)[2 * cells / 3]);
        let pool = Window { size: [5, 5], stride: [3, 3], pad: [0, 0], dilation: 1 };
        let x = pool.over(&x, x.shape[1], |pixels, c| pixels.iter().map(|(_, at)| at(c)).sum::<f64>() / 25.0);
        let y = self.conv("auxiliary_head.features.2", &x, 128, POINT, 1);
        let y = relu(&self.norm("auxiliary_head.features.3", y));
        let y = self.conv("auxiliary_head.features.5", &y, 768, Window { size: [2, 2], ..POINT }, 1);
        let y = relu(&self.norm("auxiliary_head.features.6", y));
        self.linear("auxiliary_head.classifier", &y, classes)
    }

    /// A linear layer on all values of each image.
    fn linear(&mut self, name: &str, x: &Images, classes: usize) -> Vec<f64> {
        let [n, c, h, w] = x.shape;
        assert_eq!([h, w], [1, 1], "{name}");
        let weight = self.get(&format!("{name}.weight"), &[classes, c]);
        let bias = self.get(&format!("{name}.bias"), &[classes]);
        let logit = |image: usize, class: usize| {
            bias[class] + (0..c).map(|i| weight[class * c + i] * x.values[image * c + i]).sum::<f64>()
        };
        (0..n).flat_map(|image| (0..classes).map(move |class| (image, class))).map(|(i, k)| logit(i, k)).collect()
    }
}
