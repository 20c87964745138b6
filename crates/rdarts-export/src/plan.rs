//! How the cells of a network are wired: what each one reads, and what its modules are.
//!
//! ```text
//! stem: 3x3 convolution to 3 * channels, batch norm
//! cell k reads the outputs of k - 2 and k - 1 (the stem twice at first); some of them reduce
//! head: mean over the image, linear
//! ```
//!
//! The modules of a cell are called `cells.K.preprocess0`, `cells.K.preprocess1` and `cells.K._ops.I`. An operation has
//! stride 2 in a reduction cell where it reads an input of the cell.
//!
//! With a cell of NAS-Bench-201:
//!
//! ```text
//! stem: 3x3 convolution to channels, batch norm
//! cell k reads the output of k - 1; those that reduce are residual blocks
//! head: batch norm, relu, mean over the image, linear
//! ```
//!
//! Its operations are called `cells.K.layers.E` with E the edge. Those that its output does not need are no part of the
//! network. A residual block has `cells.K.conv_a`, `cells.K.conv_b` and `cells.K.downsample`.

use std::collections::BTreeSet;

use rdarts_space::{CellType, Genotype, MAX_REDUCTIONS, Op, Topology, can_reduce_at, reductions_or_default};
use rdarts_text::nearest;

use crate::module::{Conv, Layer, Module, layer_tensors};
use crate::trained::{ExportError, Trained};

/// The largest number of cells: far beyond all that is trained, and small enough that nothing here overflows.
pub(crate) const MAX_CELLS: usize = 1000;
/// The largest number of channels and of pixels a side, for the same reason.
pub(crate) const MAX_SIZE: usize = 1 << 16;

/// The end of the name of a counter in each batch norm, of which only PyTorch's own momentum rule makes use.
pub(crate) const COUNTER: &str = ".num_batches_tracked";

/// A network as modules.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// `stem.0` and `stem.1`.
    pub stem: Vec<Layer>,
    /// The cells from first to last.
    pub cells: Vec<CellPlan>,
    /// What stands before the head, `lastact.0` and `lastact.1`: nothing behind cells of DARTS.
    pub lastact: Vec<Layer>,
    /// Channels that the head reads.
    pub c_head: usize,
}

/// One cell.
#[derive(Clone, Debug)]
pub(crate) struct CellPlan {
    /// `cells.K`.
    pub name: String,
    /// What it computes.
    pub kind: CellKind,
    /// Channels of its output.
    pub c_out: usize,
}

/// What a cell computes.
#[derive(Clone, Debug)]
pub(crate) enum CellKind {
    /// A cell of DARTS.
    Darts {
        /// What becomes of its two inputs.
        preprocess: [Module; 2],
        /// Its operations with the states that they read, two a node.
        ops: Vec<(Module, usize)>,
        /// The states that make its output.
        concat: Vec<usize>,
    },
    /// A cell of NAS-Bench-201: for each node the edges that count, with their operations and the states that they read.
    NasBench201(Vec<Vec<(usize, Module, usize)>>),
    /// A residual block of NAS-Bench-201.
    Residual {
        /// `conv_a` and `conv_b`.
        convs: [Module; 2],
        /// What is added to them: `downsample.0` and `downsample.1`.
        downsample: Vec<Layer>,
    },
}

/// The operations into each node of a cell of NAS-Bench-201 as (edge, operation, state), without those that give zero and
/// those that the output does not need. State 0 is the input of the cell, state j + 1 is node j.
pub(crate) fn needed_edges(genotype: &Genotype) -> Vec<Vec<(usize, Op, usize)>> {
    let n = genotype.n_nodes(CellType::Normal);
    let mut nodes = vec![Vec::new(); n];
    let mut is_needed = vec![false; n + 1];
    is_needed[n] = true;
    for node in (0..n).rev() {
        for &(op, input) in genotype.node(CellType::Normal, node) {
            if is_needed[node + 1] && op != Op::None {
                is_needed[input] = true;
                nodes[node].push((Topology::NasBench201.edge_index(node, input), op, input));
            }
        }
    }
    nodes
}

/// The layers of the auxiliary head before its linear one, where it reads `c` channels.
pub(crate) fn auxiliary_features(c: usize) -> Vec<Layer> {
    let wide = Conv { window: [2, 2], ..Conv::pointwise(128, 768) };
    vec![
        Layer::Relu,
        Layer::Other, // the pool
        Layer::Conv(Conv::pointwise(c, 128)),
        Layer::Norm(128),
        Layer::Relu,
        Layer::Conv(wide),
        Layer::Norm(768),
        Layer::Relu,
    ]
}

impl Plan {
    /// The plan of a network of these sizes, with the named reductions or else those at a third and at two thirds.
    pub fn new(
        genotype: &Genotype,
        cells: usize,
        named: &[usize],
        channels: usize,
        c_image: usize,
    ) -> Result<Self, ExportError> {
        genotype.check()?;
        let has_noise = |cell: &CellType| genotype.n_uses(*cell, Op::Noise) > 0;
        if let Some(cell) = CellType::ALL.into_iter().find(has_noise) {
            return Err(ExportError::Noise { cell });
        }
        let sizes =
            [("cells", cells, MAX_CELLS), ("channels", channels, MAX_SIZE), ("image channels", c_image, MAX_SIZE)];
        for (what, given, max) in sizes {
            in_range(what, given, max)?;
        }
        if !can_reduce_at(named, cells) {
            return Err(ExportError::Reductions { given: named.to_vec(), cells, max: MAX_REDUCTIONS });
        }
        let reductions = reductions_or_default(named, cells);
        match genotype.topology {
            Topology::Darts => Self::darts(genotype, cells, &reductions, channels, c_image),
            Topology::NasBench201 => Self::nas_bench_201(genotype, cells, &reductions, channels, c_image),
        }
    }

    fn darts(
        genotype: &Genotype,
        cells: usize,
        reductions: &[usize],
        channels: usize,
        c_image: usize,
    ) -> Result<Self, ExportError> {
        // Channels of the outputs of the two cells before, and whether the last one reduced.
        let (mut c_before, mut c_last, mut reduced) = (3 * channels, 3 * channels, false);
        let (mut c, mut plans) = (channels, Vec::new());
        for k in 0..cells {
            let reduces = reductions.contains(&k) && !genotype.reduce.is_empty();
            let kind = if reduces { CellType::Reduce } else { CellType::Normal };
            c = if reduces { 2 * c } else { c };
            let module = |&(op, input): &(Op, usize)| {
                let stride = if reduces && input < 2 { 2 } else { 1 };
                function(op, c, stride, kind).map(|module| (module, input))
            };
            let preprocess0 = match reduced {
                true => Module::FactorizedReduce { c_in: c_before, c_out: c },
                false => Module::relu_conv_norm(c_before, c),
            };
            let concat = genotype.concat(kind).to_vec();
            let c_out = c * concat.len();
            let kind = CellKind::Darts {
                preprocess: [preprocess0, Module::relu_conv_norm(c_last, c)],
                ops: genotype.cell(kind).iter().map(module).collect::<Result<_, _>>()?,
                concat,
            };
            plans.push(CellPlan { name: format!("cells.{k}"), kind, c_out });
            (c_before, c_last, reduced) = (c_last, c_out, reduces);
        }
        Ok(Plan { stem: stem(c_image, 3 * channels), cells: plans, lastact: Vec::new(), c_head: c_last })
    }

    fn nas_bench_201(
        genotype: &Genotype,
        cells: usize,
        reductions: &[usize],
        channels: usize,
        c_image: usize,
    ) -> Result<Self, ExportError> {
        let needed = needed_edges(genotype);
        let (mut c, mut plans) = (channels, Vec::new());
        for k in 0..cells {
            let kind = if reductions.contains(&k) {
                let c_in = c;
                c *= 2;
                CellKind::Residual {
                    convs: [Module::conv_norm(c_in, c, 3, 2), Module::conv_norm(c, c, 3, 1)],
                    downsample: vec![Layer::HalfMean, Layer::Conv(Conv::pointwise(c_in, c))],
                }
            } else {
                let module = |&(edge, op, input): &(usize, Op, usize)| {
                    function(op, c, 1, CellType::Normal).map(|module| (edge, module, input))
                };
                let nodes = needed.iter().map(|node| node.iter().map(module).collect());
                CellKind::NasBench201(nodes.collect::<Result<_, _>>()?)
            };
            plans.push(CellPlan { name: format!("cells.{k}"), kind, c_out: c });
        }
        let lastact = vec![Layer::Norm(c), Layer::Relu];
        Ok(Plan { stem: stem(c_image, channels), cells: plans, lastact, c_head: c })
    }

    /// Channels that the auxiliary head reads, after the cell at two thirds.
    pub fn c_auxiliary(&self) -> usize {
        self.cells[2 * self.cells.len() / 3].c_out
    }

    /// The names and shapes of all tensors but those of the auxiliary head and of the counters.
    pub fn tensors(&self, classes: usize) -> Vec<(String, Vec<usize>)> {
        let mut all = layer_tensors("stem", &self.stem);
        for cell in &self.cells {
            all.extend(cell.tensors());
        }
        all.extend(layer_tensors("lastact", &self.lastact));
        all.extend(linear("classifier", self.c_head, classes));
        all
    }

    /// Those of the auxiliary head. What its linear layer reads depends on the size of the images, of which the names
    /// say nothing: `c_linear`.
    pub fn auxiliary_tensors(&self, c_linear: usize, classes: usize) -> Vec<(String, Vec<usize>)> {
        let mut all = layer_tensors("auxiliary_head.features", &auxiliary_features(self.c_auxiliary()));
        all.extend(linear("auxiliary_head.classifier", c_linear, classes));
        all
    }
}

impl CellPlan {
    fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let name = &self.name;
        let mut all = Vec::new();
        match &self.kind {
            CellKind::Darts { preprocess, ops, .. } => {
                for (i, module) in preprocess.iter().enumerate() {
                    all.extend(module.tensors(&format!("{name}.preprocess{i}")));
                }
                for (i, (module, _)) in ops.iter().enumerate() {
                    all.extend(module.tensors(&format!("{name}._ops.{i}")));
                }
            }
            CellKind::NasBench201(nodes) => {
                for (edge, module, _) in nodes.iter().flatten() {
                    all.extend(module.tensors(&format!("{name}.layers.{edge}")));
                }
            }
            CellKind::Residual { convs: [a, b], downsample } => {
                all.extend(a.tensors(&format!("{name}.conv_a")));
                all.extend(b.tensors(&format!("{name}.conv_b")));
                all.extend(layer_tensors(&format!("{name}.downsample"), downsample));
            }
        }
        all
    }
}

impl Trained<'_> {
    /// The plan of this network, if all of it is sound: sizes, normalisation, and every tensor.
    pub(crate) fn plan(&self) -> Result<Plan, ExportError> {
        let plan = Plan::new(self.genotype, self.cells, self.reductions, self.channels, self.c_image)?;
        if self.auxiliary && self.genotype.topology != Topology::Darts {
            return Err(ExportError::Auxiliary { topology: self.genotype.topology });
        }
        for (what, given) in [("classes", self.classes.len()), ("rows", self.side[0]), ("columns", self.side[1])] {
            in_range(what, given, MAX_SIZE)?;
        }
        for (field, numbers) in [("mean", self.mean), ("std", self.std)] {
            if numbers.len() != self.c_image {
                return Err(ExportError::Normalisation { field, given: numbers.len(), wanted: self.c_image });
            }
            let rule = if field == "std" { "pixels are divided by it, so it must be above 0" } else { FINITE };
            let is_right = |v: f32| v.is_finite() && (field == "mean" || v > 0.0);
            if let Some(&given) = numbers.iter().find(|v| !is_right(**v)) {
                return Err(ExportError::Pixel { field, given, rule });
            }
        }
        let wanted = self.expected(&plan);
        wanted.iter().try_for_each(|(name, shape)| self.check_tensor(name, shape))?;
        let known: BTreeSet<&str> = wanted.iter().map(|(name, _)| name.as_str()).collect();
        for name in self.tensors.keys() {
            let norm = name.strip_suffix(COUNTER).map(|norm| format!("{norm}.running_mean"));
            if norm.is_some_and(|norm| known.contains(norm.as_str())) {
                self.check_tensor(name, &[])?;
            } else if !known.contains(name.as_str()) {
                let known: Vec<&str> = known.iter().copied().collect();
                let nearest = nearest(name, &known).map(str::to_owned);
                return Err(ExportError::Unexpected { name: name.clone(), nearest });
            }
        }
        Ok(plan)
    }

    /// The names and shapes of all tensors but the counters.
    pub(crate) fn expected(&self, plan: &Plan) -> Vec<(String, Vec<usize>)> {
        let mut all = plan.tensors(self.classes.len());
        if self.auxiliary {
            // 768 for each place that is left of the image; one place is what images of 32x32 pixels leave.
            let given = self.tensors.get("auxiliary_head.classifier.weight").and_then(|tensor| tensor.shape.get(1));
            let c_linear = given.copied().filter(|c| *c > 0 && c.is_multiple_of(768)).unwrap_or(768);
            all.extend(plan.auxiliary_tensors(c_linear, self.classes.len()));
        }
        all
    }

    fn check_tensor(&self, name: &str, wanted: &[usize]) -> Result<(), ExportError> {
        let name = name.to_owned();
        let Some(tensor) = self.tensors.get(&name) else {
            return Err(ExportError::Missing { name, wanted: wanted.to_vec() });
        };
        if tensor.shape != wanted {
            return Err(ExportError::Shape { name, given: tensor.shape.clone(), wanted: wanted.to_vec() });
        }
        // A shape that overflows holds more values than any tensor has.
        let n = wanted.iter().try_fold(1usize, |n, side| n.checked_mul(*side)).unwrap_or(usize::MAX);
        if tensor.values.len() != n {
            return Err(ExportError::Values { name, shape: wanted.to_vec(), given: tensor.values.len(), wanted: n });
        }
        if let Some(&given) = tensor.values.iter().find(|v| !v.is_finite()) {
            return Err(ExportError::Value { name, given, rule: FINITE });
        }
        match tensor.values.iter().find(|v| **v < 0.0) {
            Some(&given) if name.ends_with(".running_var") => {
                Err(ExportError::Value { name, given, rule: "a variance is never below 0" })
            }
            _ => Ok(()),
        }
    }
}

const FINITE: &str = "it must be a finite number";

fn in_range(what: &'static str, given: usize, max: usize) -> Result<(), ExportError> {
    if (1..=max).contains(&given) { Ok(()) } else { Err(ExportError::Size { what, given, max }) }
}

/// The stem of a network: `stem.0` and `stem.1`.
fn stem(c_image: usize, c: usize) -> Vec<Layer> {
    vec![Layer::Conv(Conv::pointwise(c_image, c).square(3, 1, 1)), Layer::Norm(c)]
}

/// An operation of a cell of this type, if it is a function of what it reads.
fn function(op: Op, c: usize, stride: usize, cell: CellType) -> Result<Module, ExportError> {
    Module::of_op(op, c, stride).ok_or(ExportError::Noise { cell })
}

fn linear(name: &str, c_in: usize, c_out: usize) -> [(String, Vec<usize>); 2] {
    [(format!("{name}.weight"), vec![c_out, c_in]), (format!("{name}.bias"), vec![c_out])]
}
