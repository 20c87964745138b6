//! A network with images for it, and whether what is exported computes what the loops of the reference do.

use std::collections::BTreeMap;

use rdarts_export::{OnnxOptions, Trained, onnx, run_onnx};
use rdarts_rng::Stream;
use rdarts_space::{Genotype, Op};

use crate::reference::{Images, Weights};

/// What single precision may cost, against the largest logit or 1.
const TOLERANCE: f64 = 1e-4;

/// A network and images for it.
pub struct Case {
    pub genotype: Genotype,
    pub cells: usize,
    pub channels: usize,
    pub classes: Vec<String>,
    pub auxiliary: bool,
    pub weights: Weights,
    pub x: Images,
}

impl Case {
    /// A network with random tensors, which the loops draw, and two random images.
    pub fn random(
        genotype: Genotype,
        cells: usize,
        channels: usize,
        c_image: usize,
        side: [usize; 2],
        stream: Stream,
    ) -> Self {
        Self::reducing_at(&[], genotype, cells, channels, c_image, side, stream)
    }

    /// One whose cells at these places reduce.
    pub fn reducing_at(
        reductions: &[usize],
        genotype: Genotype,
        cells: usize,
        channels: usize,
        c_image: usize,
        [h, w]: [usize; 2],
        mut stream: Stream,
    ) -> Self {
        let shape = [2, c_image, h, w];
        let values = (0..shape.iter().product()).map(|_| f64::from(stream.uniform() as f32)).collect();
        let classes: Vec<String> = (0..4).map(|i| format!("class {i}")).collect();
        let mut weights = Weights { tensors: BTreeMap::new(), stream: Some(stream), reductions: reductions.to_vec() };
        let x = Images { shape, values };
        weights.logits(&genotype, cells, channels, classes.len(), &x);
        Self { genotype, cells, channels, classes, auxiliary: false, weights, x }
    }

    pub fn small() -> Self {
        let text = "Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1), ('dil_conv_3x3', 2), ('max_pool_3x3', 0)], \
                    normal_concat=range(2, 4), reduce=[('avg_pool_3x3', 0), ('skip_connect', 1)], \
                    reduce_concat=range(2, 3))";
        let stream = Stream::new(1, "small", 0);
        // Cells 1 and 2 of three reduce.
        Self::random(text.parse().unwrap(), 3, 2, 1, [7, 5], stream)
    }

    /// Nodes 1 and 2 of four are of use to nobody; cells 1 and 2 of four are residual blocks.
    pub fn partly_used() -> Self {
        let text = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_1x1~1|+|avg_pool_3x3~0|skip_connect~1|nor_conv_3x3~2|+\
                    |nor_conv_1x1~0|avg_pool_3x3~1|none~2|none~3|";
        Self::random(text.parse().unwrap(), 4, 2, 1, [7, 5], Stream::new(1, "partly used", 0))
    }

    pub fn trained<'a>(&'a self, mean: &'a [f32], std: &'a [f32]) -> Trained<'a> {
        Trained {
            genotype: &self.genotype,
            cells: self.cells,
            reductions: &self.weights.reductions,
            channels: self.channels,
            c_image: self.x.shape[1],
            classes: &self.classes,
            side: [self.x.shape[2], self.x.shape[3]],
            mean,
            std,
            auxiliary: self.auxiliary,
            tensors: &self.weights.tensors,
        }
    }

    pub const MEAN: [f32; 3] = [0.4914, 0.4822, 0.4465];
    pub const STD: [f32; 3] = [0.247, 0.2435, 0.2616];

    pub fn by_onnx(&self, options: OnnxOptions) -> Vec<f64> {
        let c = self.x.shape[1];
        let bytes = onnx(&self.trained(&Self::MEAN[..c], &Self::STD[..c]), options).unwrap();
        let pixels: Vec<f32> = self.x.values.iter().map(|v| *v as f32).collect();
        let logits = run_onnx(&bytes, &pixels, self.x.shape, self.x.shape[0]).unwrap();
        let one_by_one = run_onnx(&bytes, &pixels, self.x.shape, 1).unwrap();
        assert!(one_by_one.iter().zip(&logits).all(|(a, b)| (a - b).abs() <= 1e-4 * b.abs().max(1.0)));
        assert_eq!(logits.len(), self.x.shape[0] * self.classes.len());
        logits.into_iter().map(f64::from).collect()
    }

    /// The images as the network wants them.
    pub fn normalised(&self) -> Images {
        let [_, c, h, w] = self.x.shape;
        let normalised = |(i, v): (usize, &f64)| {
            let c = i / (h * w) % c;
            (v - f64::from(Self::MEAN[c])) / f64::from(Self::STD[c])
        };
        Images { values: self.x.values.iter().enumerate().map(normalised).collect(), ..self.x }
    }

    /// Folded or not, and with or without pixels normalised inside, ONNX computes what the loops do.
    pub fn check(&self, name: &str) {
        let name = format!("{name}: {} in {} cells, {:?}", self.genotype, self.cells, self.x.shape);
        let mut loops = self.weights.loops();
        let mut logits = |x: &Images| loops.logits(&self.genotype, self.cells, self.channels, self.classes.len(), x);
        let wanted = logits(&self.x);
        for fold in [false, true] {
            close(&self.by_onnx(OnnxOptions { normalise: false, fold }), &wanted, &name);
        }
        let wanted = logits(&self.normalised());
        close(&self.by_onnx(OnnxOptions { normalise: true, fold: true }), &wanted, &name);
    }
}

/// Another operation in place of every `noise`.
pub fn without_noise(genotype: &mut Genotype, stream: &mut Stream) {
    let held: Vec<Op> = Op::ALL.into_iter().filter(|op| genotype.topology.holds(*op)).collect();
    for (op, _) in genotype.normal.iter_mut().chain(&mut genotype.reduce) {
        while *op == Op::Noise {
            *op = held[stream.below(held.len())];
        }
    }
}

/// Stops the test where numbers differ.
pub fn close(found: &[f64], wanted: &[f64], name: &str) {
    assert_eq!(found.len(), wanted.len(), "{name}");
    let scale = wanted.iter().fold(1.0f64, |m, v| m.max(v.abs()));
    let error = found.iter().zip(wanted).fold(0.0f64, |m, (a, b)| m.max((a - b).abs())) / scale;
    assert!(error < TOLERANCE, "{name}: off by {error:.1e}: {found:?}, not {wanted:?}");
}
