//! The supernet as data: which modules it has, how they are wired, and where each weight lies.
//!
//! A stem, a row of cells and a head (DARTS paper, section 2.1 and appendix A): cell k reads the outputs of
//! cells k - 1 and k - 2 (the first two the stem), the channels double at every reduction cell. All weights
//! of all modules lie in one flat buffer, module after module; the buffer itself belongs to the caller.
//! Names and shapes towards the outside are those PyTorch users of DARTS know.

use std::fmt;
use std::sync::Arc;

use rdarts_kernels::spec::{CellSpec, HeadSpec, OpKind, StemSpec, Weight, WeightKind, weights_len};
use rdarts_rng::Stream;
use rdarts_space::{Op, Space};

use crate::derivatives::{Alphas, Real};

/// What a supernet is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SupernetSpec {
    /// Number of cells.
    pub cells: usize,
    /// Channels of a state of the first cell.
    pub c: usize,
    /// Channels that leave the stem, in multiples of `c` (3 in the paper).
    pub stem_multiplier: usize,
    /// Positions of the reduction cells; see [`SupernetSpec::default_reductions`].
    pub reductions: Vec<usize>,
    /// Intermediate nodes of a cell.
    pub nodes: usize,
    /// Operations of each edge of a normal cell, in the order of [`CellSpec::edge_list`].
    pub normal: Vec<Vec<OpKind>>,
    /// Operations of each edge of a reduction cell.
    pub reduce: Vec<Vec<OpKind>>,
    /// Channels of the images.
    pub c_image: usize,
    /// Number of classes.
    pub classes: usize,
}

impl SupernetSpec {
    /// The supernet of a search space in the usual shape: `cells` cells that begin with `c` channels, a stem of
    /// 3 `c`, the reductions of [`SupernetSpec::default_reductions`].
    pub fn from_space(space: &Space, cells: usize, c: usize, c_image: usize, classes: usize) -> Self {
        let ops = |edges: &[Vec<Op>]| edges.iter().map(|e| e.iter().map(|&op| op_kind(op)).collect()).collect();
        Self {
            cells,
            c,
            stem_multiplier: 3,
            reductions: Self::default_reductions(cells),
            nodes: space.nodes,
            normal: ops(&space.normal),
            reduce: ops(&space.reduce),
            c_image,
            classes,
        }
    }

    /// A third and two thirds of the way, as in the paper; they fall together when there is one cell.
    pub fn default_reductions(cells: usize) -> Vec<usize> {
        let mut at = vec![cells / 3, 2 * cells / 3];
        at.dedup();
        at
    }
}

/// What an operation of a search space computes.
pub const fn op_kind(op: Op) -> OpKind {
    match op {
        Op::None => OpKind::None,
        Op::Noise => OpKind::Noise,
        Op::MaxPool3x3 => OpKind::MaxPool3,
        Op::AvgPool3x3 => OpKind::AvgPool3,
        Op::SkipConnect => OpKind::Skip,
        Op::SepConv3x3 => OpKind::SepConv(3),
        Op::SepConv5x5 => OpKind::SepConv(5),
        Op::SepConv7x7 => OpKind::SepConv(7),
        Op::DilConv3x3 => OpKind::DilConv(3),
        Op::DilConv5x5 => OpKind::DilConv(5),
        Op::Conv7x1_1x7 => OpKind::Conv7x1,
    }
}

/// The two kinds of cells: each has its own architecture parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellKind {
    /// Keeps the side.
    Normal,
    /// Halves the side and doubles the channels.
    Reduce,
}

/// One step of the supernet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModuleSpec {
    /// Always the first.
    Stem(StemSpec),
    /// Reads the outputs of the two modules before it (the first cell twice the stem's).
    Cell(Arc<CellSpec>),
    /// Always the last.
    Head(HeadSpec),
}

/// A module and its place in the flat buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// What it is.
    pub spec: ModuleSpec,
    /// What stands before the names of its weights: `stem.`, `cells.3.`, `classifier.`.
    pub prefix: String,
    /// Position of its first weight in the flat buffer.
    pub offset: usize,
    /// Number of its weight values.
    pub len: usize,
}

/// One weight tensor of the supernet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// PyTorch's name, for example `cells.3._ops.2._ops.1.op.1.weight`.
    pub name: String,
    /// Position of its module.
    pub module: usize,
    /// Position of its first value in the flat buffer of the whole supernet.
    pub offset: usize,
    /// Its layout.
    pub kind: WeightKind,
}

/// Why a weight could not be read or written by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParameterError {
    /// The supernet has no weight of this name.
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// The weight has another shape.
    Shape {
        /// Its name.
        name: String,
        /// The shape it has.
        expected: Vec<usize>,
        /// The shape that was given.
        given: Vec<usize>,
    },
}

impl fmt::Display for ParameterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { name } => write!(f, "the supernet has no weight named `{name}`"),
            Self::Shape { name, expected, given } => {
                write!(f, "the weight `{name}` has the shape {expected:?}, not {given:?}")
            }
        }
    }
}

impl std::error::Error for ParameterError {}

/// The wiring of a supernet and the places of its weights.
#[derive(Clone, Debug)]
pub struct Supernet {
    spec: SupernetSpec,
    modules: Vec<Module>,
    parameters: Vec<Parameter>,
    n_parameters: usize,
}

impl Supernet {
    /// Wires the modules.
    ///
    /// # Panics
    /// If the edges do not fit the number of nodes, there is no cell, or a reduction lies behind the last cell.
    pub fn new(spec: SupernetSpec) -> Self {
        let n_edges = (0..spec.nodes).map(|i| 2 + i).sum::<usize>();
        assert!(spec.cells > 0 && spec.nodes > 0, "a supernet has at least one cell of at least one node");
        assert_eq!(spec.normal.len(), n_edges, "a normal cell of {} nodes has {n_edges} edges", spec.nodes);
        assert_eq!(spec.reduce.len(), n_edges, "a reduction cell of {} nodes has {n_edges} edges", spec.nodes);
        assert!(spec.reductions.iter().all(|&r| r < spec.cells), "a reduction lies behind the last cell");

        let stem = StemSpec { c_in: spec.c_image, c_out: spec.stem_multiplier * spec.c };
        let mut list = vec![(ModuleSpec::Stem(stem), "stem.".to_string(), stem.weights())];
        let (mut c, mut c_prev_prev, mut c_prev, mut reduction_prev) = (spec.c, stem.c_out, stem.c_out, false);
        for i in 0..spec.cells {
            let reduction = spec.reductions.contains(&i);
            if reduction {
                c *= 2;
            }
            let edges = if reduction { spec.reduce.clone() } else { spec.normal.clone() };
            let cell = CellSpec { nodes: spec.nodes, c, c_prev_prev, c_prev, reduction, reduction_prev, edges };
            (c_prev_prev, c_prev, reduction_prev) = (c_prev, cell.c_out(), reduction);
            let weights = cell.weights();
            list.push((ModuleSpec::Cell(Arc::new(cell)), format!("cells.{i}."), weights));
        }
        let head = HeadSpec { c_in: c_prev, classes: spec.classes };
        list.push((ModuleSpec::Head(head), "classifier.".to_string(), head.weights()));

        let (mut modules, mut parameters, mut offset) = (Vec::new(), Vec::new(), 0);
        for (at, (module, prefix, weights)) in list.into_iter().enumerate() {
            let len = weights_len(&weights);
            parameters.extend(weights.into_iter().map(|Weight { name, offset: within, kind }| Parameter {
                name: format!("{prefix}{name}"),
                module: at,
                offset: offset + within,
                kind,
            }));
            modules.push(Module { spec: module, prefix, offset, len });
            offset += len;
        }
        Self { spec, modules, parameters, n_parameters: offset }
    }

    /// What it was made from.
    pub fn spec(&self) -> &SupernetSpec {
        &self.spec
    }

    /// Stem, cells, head.
    pub fn modules(&self) -> &[Module] {
        &self.modules
    }

    /// The specs of the cells.
    pub fn cells(&self) -> impl Iterator<Item = &Arc<CellSpec>> {
        self.modules.iter().filter_map(|m| if let ModuleSpec::Cell(cell) = &m.spec { Some(cell) } else { None })
    }

    /// Every weight tensor, in the order of the flat buffer.
    pub fn weights(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Length of the flat buffer.
    pub fn n_parameters(&self) -> usize {
        self.n_parameters
    }

    /// Number of operations of each edge of a kind of cell: how its architecture parameters are divided.
    pub fn edge_sizes(&self, kind: CellKind) -> Vec<usize> {
        let edges = match kind {
            CellKind::Normal => &self.spec.normal,
            CellKind::Reduce => &self.spec.reduce,
        };
        edges.iter().map(Vec::len).collect()
    }

    /// Number of architecture parameters of (normal, reduction) cells.
    pub fn n_alphas(&self) -> [usize; 2] {
        [CellKind::Normal, CellKind::Reduce].map(|kind| self.edge_sizes(kind).iter().sum())
    }

    /// The supernet without the operations whose mixing weight is exactly zero, the mixing weights and the weights
    /// that remain. An edge may be left without operations. The order stays, the numbers in the names change.
    pub fn pruned<R: Real>(&self, p: &Alphas, weights: &[R]) -> (Self, Alphas, Vec<R>) {
        assert_eq!([p.normal.len(), p.reduce.len()], self.n_alphas(), "the mixing weights do not fit the supernet");
        assert_eq!(weights.len(), self.n_parameters, "the flat weights do not fit the supernet");
        let prune = |edges: &[Vec<OpKind>], p: &[f64]| -> Vec<Vec<OpKind>> {
            let mut p = p.iter();
            edges
                .iter()
                .map(|ops| ops.iter().copied().zip(&mut p).filter(|(_, p)| **p != 0.0).map(|o| o.0).collect())
                .collect()
        };
        let spec = SupernetSpec {
            normal: prune(&self.spec.normal, &p.normal),
            reduce: prune(&self.spec.reduce, &p.reduce),
            ..self.spec.clone()
        };
        let net = Self::new(spec);
        let dropped = [CellKind::Normal, CellKind::Reduce].map(|kind| self.zero_prefixes(kind, p.of(kind)));
        let mut kept = R::take(net.n_parameters);
        let mut at = 0;
        for parameter in &self.parameters {
            let module = &self.modules[parameter.module];
            let name = &parameter.name[module.prefix.len()..];
            let is_dropped = match &module.spec {
                ModuleSpec::Cell(cell) => dropped[usize::from(cell.reduction)].iter().any(|d| name.starts_with(d)),
                _ => false,
            };
            if !is_dropped {
                let len = parameter.kind.len();
                kept[at..at + len].copy_from_slice(&weights[parameter.offset..parameter.offset + len]);
                at += len;
            }
        }
        assert_eq!(at, kept.len(), "a pruned supernet has the weights of its operations");
        let nonzero = |p: &[f64]| p.iter().copied().filter(|p| *p != 0.0).collect();
        (net, Alphas { normal: nonzero(&p.normal), reduce: nonzero(&p.reduce) }, kept)
    }

    /// What stands before the names of the weights of operations with mixing weight zero, inside a cell.
    fn zero_prefixes(&self, kind: CellKind, p: &[f64]) -> Vec<String> {
        let sizes = self.edge_sizes(kind);
        let ops = sizes.iter().enumerate().flat_map(|(edge, n)| (0..*n).map(move |o| format!("_ops.{edge}._ops.{o}.")));
        ops.zip(p).filter(|(_, p)| **p == 0.0).map(|(prefix, _)| prefix).collect()
    }

    /// Fresh weights with PyTorch's default distribution: uniform in +-1/sqrt(fan_in) for convolutions and the
    /// linear layer (its bias too), one and zero for the scale and shift of the stem's batch norm.
    pub fn init(&self, seed: u64) -> Vec<f32> {
        let mut flat = vec![0.0; self.n_parameters];
        for (i, p) in self.parameters.iter().enumerate() {
            let fan_in = match (p.kind, &self.modules[p.module].spec) {
                (WeightKind::Vector { .. }, ModuleSpec::Head(head)) => Some(head.c_in),
                (WeightKind::Vector { .. }, _) => None,
                (kind, _) => Some(kind.fan_in()),
            };
            let values = &mut flat[p.offset..p.offset + p.kind.len()];
            match fan_in {
                Some(fan_in) => {
                    let bound = 1.0 / (fan_in as f64).sqrt();
                    let mut stream = Stream::new(seed, "init", i as u64);
                    values.fill_with(|| (bound * (2.0 * stream.uniform() - 1.0)) as f32);
                }
                None => values.fill(if matches!(p.kind, WeightKind::Vector { ones: true, .. }) { 1.0 } else { 0.0 }),
            }
        }
        flat
    }

    /// A weight out of a flat buffer: its values in PyTorch's order and its PyTorch shape.
    pub fn read<R: Real>(&self, flat: &[R], name: &str) -> Result<(Vec<R>, Vec<usize>), ParameterError> {
        let p = self.find(name)?;
        let mut values = vec![R::from_f64(0.0); p.kind.len()];
        for (i, value) in flat[p.offset..p.offset + p.kind.len()].iter().enumerate() {
            values[p.kind.torch_index(i)] = *value;
        }
        Ok((values, p.kind.torch_shape()))
    }

    /// Puts a weight given in PyTorch's order and shape into a flat buffer.
    pub fn write<R: Real>(
        &self,
        flat: &mut [R],
        name: &str,
        values: &[R],
        shape: &[usize],
    ) -> Result<(), ParameterError> {
        let p = self.find(name)?;
        let expected = p.kind.torch_shape();
        if expected != shape || values.len() != p.kind.len() {
            return Err(ParameterError::Shape { name: name.into(), expected, given: shape.into() });
        }
        for (i, slot) in flat[p.offset..p.offset + p.kind.len()].iter_mut().enumerate() {
            *slot = values[p.kind.torch_index(i)];
        }
        Ok(())
    }

    fn find(&self, name: &str) -> Result<&Parameter, ParameterError> {
        let unknown = || ParameterError::Unknown { name: name.into() };
        self.parameters.iter().find(|p| p.name == name).ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny(cells: usize) -> SupernetSpec {
        let edges = vec![vec![OpKind::SepConv(3), OpKind::Skip], vec![OpKind::MaxPool3, OpKind::DilConv(5)]];
        SupernetSpec {
            cells,
            c: 4,
            stem_multiplier: 3,
            reductions: SupernetSpec::default_reductions(cells),
            nodes: 1,
            normal: edges.clone(),
            reduce: edges,
            c_image: 3,
            classes: 5,
        }
    }

    #[test]
    fn channels_double_at_reductions_and_names_are_pytorchs() {
        let net = Supernet::new(tiny(3));
        let channels: Vec<_> =
            net.cells().map(|c| (c.c_prev_prev, c.c_prev, c.c, c.reduction, c.reduction_prev)).collect();
        assert_eq!(channels, [(12, 12, 4, false, false), (12, 4, 8, true, false), (4, 8, 16, true, true)]);
        let names: Vec<_> = net.weights().iter().map(|p| p.name.as_str()).collect();
        for name in [
            "stem.0.weight",
            "stem.1.bias",
            "cells.0.preprocess0.op.1.weight",
            "cells.2.preprocess0.conv_2.weight",
            "cells.1._ops.0._ops.1.conv_1.weight",
            "cells.0._ops.1._ops.1.op.2.weight",
            "classifier.weight",
            "classifier.bias",
        ] {
            assert!(names.contains(&name), "{name} is missing in {names:?}");
        }
        assert_eq!(SupernetSpec::default_reductions(1), [0]);
        assert_eq!(SupernetSpec::default_reductions(8), [2, 5]);
    }

    #[test]
    fn a_supernet_of_a_space_has_its_edges_and_the_windows_of_the_names() {
        for name in Space::NAMES {
            let space = Space::builtin(name).unwrap();
            let net = Supernet::new(SupernetSpec::from_space(&space, 3, 4, 3, 5));
            assert_eq!(net.n_alphas(), rdarts_space::CellType::ALL.map(|cell| space.n_alphas(cell)), "{name}");
            assert_eq!(net.spec().nodes, space.nodes);
        }
        for op in Op::ALL {
            let window = op.as_str().rsplit('_').next().and_then(|s| s.split('x').next()?.parse::<usize>().ok());
            match op_kind(op) {
                OpKind::SepConv(k) => assert!(op.as_str().starts_with("sep_conv") && window == Some(k), "{op}"),
                OpKind::DilConv(k) => assert!(op.as_str().starts_with("dil_conv") && window == Some(k), "{op}"),
                OpKind::MaxPool3 => assert_eq!(op, Op::MaxPool3x3),
                OpKind::AvgPool3 => assert_eq!(op, Op::AvgPool3x3),
                OpKind::Skip => assert_eq!(op, Op::SkipConnect),
                OpKind::Conv7x1 => assert_eq!(op, Op::Conv7x1_1x7),
                OpKind::None => assert_eq!(op, Op::None),
                OpKind::Noise => assert_eq!(op, Op::Noise),
            }
        }
    }

    #[test]
    fn weights_tile_the_flat_buffer_and_survive_a_round_trip_through_pytorchs_layout() {
        let net = Supernet::new(tiny(4));
        let flat: Vec<f64> = (0..net.n_parameters()).map(|i| i as f64).collect();
        let mut copy = vec![-1.0; flat.len()];
        for p in net.weights() {
            let (values, shape) = net.read(&flat, &p.name).unwrap();
            net.write(&mut copy, &p.name, &values, &shape).unwrap();
        }
        assert_eq!(flat, copy);
        assert!(matches!(net.read(&flat, "stem.9"), Err(ParameterError::Unknown { .. })));
        let wrong = net.write(&mut copy, "classifier.bias", &[0.0; 4], &[4]);
        assert!(matches!(wrong, Err(ParameterError::Shape { .. })));
    }

    #[test]
    fn fresh_weights_fill_the_range_of_pytorchs_default() {
        let net = Supernet::new(tiny(4));
        let flat = net.init(1);
        assert_eq!(flat, net.init(1));
        assert_ne!(flat, net.init(2));
        for p in net.weights() {
            let values = &flat[p.offset..p.offset + p.kind.len()];
            match p.name.as_str() {
                "stem.1.weight" => assert!(values.iter().all(|&v| v == 1.0)),
                "stem.1.bias" => assert!(values.iter().all(|&v| v == 0.0)),
                name => {
                    let fan_in = if name == "classifier.bias" { 16 } else { p.kind.fan_in() };
                    let bound = 1.0 / (fan_in as f32).sqrt();
                    let largest = values.iter().fold(0f32, |m, v| m.max(v.abs()));
                    assert!(largest <= bound && largest > 0.2 * bound, "{name}: {largest} of {bound}");
                }
            }
        }
    }
}
