//! The supernet of a search space: a stem, a row of cells and a head.
//!
//! Cell k reads the outputs of cells k - 1 and k - 2 (the first two the stem), the channels double at every reduction
//! cell (DARTS paper, section 2.1 and appendix A).

use std::sync::Arc;

use rdarts_kernels::spec::{CellSpec, HeadSpec, StemSpec};
use rdarts_space::{CellType, Op, Space};

use crate::graph::{CellModule, Module, Network, Source};

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
    pub normal: Vec<Vec<Op>>,
    /// Operations of each edge of a reduction cell.
    pub reduce: Vec<Vec<Op>>,
    /// Channels of the images.
    pub c_image: usize,
    /// Number of classes.
    pub classes: usize,
}

impl SupernetSpec {
    /// The supernet of a search space in the usual shape: `cells` cells that begin with `c` channels, a stem of
    /// 3 `c`, the reductions of [`SupernetSpec::default_reductions`].
    pub fn from_space(space: &Space, cells: usize, c: usize, c_image: usize, classes: usize) -> Self {
        Self {
            cells,
            c,
            stem_multiplier: 3,
            reductions: Self::default_reductions(cells),
            nodes: space.nodes,
            normal: space.normal.clone(),
            reduce: space.reduce.clone(),
            c_image,
            classes,
        }
    }

    /// A third and two thirds of the way, as in the paper; they fall together when there is one cell.
    pub fn default_reductions(cells: usize) -> Vec<usize> {
        rdarts_space::default_reductions(cells)
    }
}

impl Network {
    /// Wires a supernet; its types of cells are those of [`CellType`], in that order.
    ///
    /// # Panics
    /// If the edges do not fit the number of nodes, there is no cell, or a reduction lies behind the last cell.
    pub fn supernet(spec: SupernetSpec) -> Self {
        let n_edges = (0..spec.nodes).map(|i| 2 + i).sum::<usize>();
        assert!(spec.cells > 0 && spec.nodes > 0, "a supernet has at least one cell of at least one node");
        assert_eq!(spec.normal.len(), n_edges, "a normal cell of {} nodes has {n_edges} edges", spec.nodes);
        assert_eq!(spec.reduce.len(), n_edges, "a reduction cell of {} nodes has {n_edges} edges", spec.nodes);
        assert!(spec.reductions.iter().all(|&r| r < spec.cells), "a reduction lies behind the last cell");

        let stem = StemSpec { c_in: spec.c_image, c_out: spec.stem_multiplier * spec.c };
        let mut list = vec![(Module::Stem(stem), vec![Source::Images], "stem.".to_string())];
        let (mut c, mut c_prev_prev, mut c_prev, mut reduction_prev) = (spec.c, stem.c_out, stem.c_out, false);
        for index in 0..spec.cells {
            let reduction = spec.reductions.contains(&index);
            if reduction {
                c *= 2;
            }
            let (cell_type, edges) = match reduction {
                true => (CellType::Reduce, spec.reduce.clone()),
                false => (CellType::Normal, spec.normal.clone()),
            };
            let cell = CellSpec {
                nodes: spec.nodes,
                c,
                c_prev_prev,
                c_prev,
                reduction,
                reduction_prev,
                edges,
                discrete: None,
            };
            (c_prev_prev, c_prev, reduction_prev) = (c_prev, cell.c_out(), reduction);
            let cell = CellModule { spec: Arc::new(cell), cell_type: cell_type as usize, index };
            // Node k is the output of cell k - 1, node 0 that of the stem.
            let inputs = [index.saturating_sub(1), index].map(Source::Node).to_vec();
            list.push((Module::Cell(cell), inputs, format!("cells.{index}.")));
        }
        let head = HeadSpec { c_in: c_prev, classes: spec.classes };
        list.push((Module::Head(head), vec![Source::Node(spec.cells)], "classifier.".to_string()));
        Self::new(list, spec.cells + 1, vec![spec.normal, spec.reduce], spec.c_image)
    }
}

#[cfg(test)]
mod tests {
    use rdarts_space::Topology;

    use super::*;
    use crate::graph::ParameterError;

    fn tiny(cells: usize) -> SupernetSpec {
        let edges = vec![vec![Op::SepConv3x3, Op::SkipConnect], vec![Op::MaxPool3x3, Op::DilConv5x5]];
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
        let net = Network::supernet(tiny(3));
        let channels: Vec<_> = net
            .cells()
            .map(|c| &c.spec)
            .map(|c| (c.c_prev_prev, c.c_prev, c.c, c.reduction, c.reduction_prev))
            .collect();
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
    fn a_supernet_of_a_space_has_its_edges() {
        let spaces = Space::NAMES.map(|name| (name, Space::builtin(name).unwrap()));
        for (name, space) in spaces.into_iter().filter(|(_, space)| space.topology == Topology::Darts) {
            let net = Network::supernet(SupernetSpec::from_space(&space, 3, 4, 3, 5));
            assert_eq!(net.n_alphas(), rdarts_space::CellType::ALL.map(|cell| space.n_alphas(cell)), "{name}");
            assert!(net.cells().all(|cell| cell.spec.nodes == space.nodes));
        }
    }

    #[test]
    fn weights_tile_the_flat_buffer_and_survive_a_round_trip_through_pytorchs_layout() {
        let net = Network::supernet(tiny(4));
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
        let net = Network::supernet(tiny(4));
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
