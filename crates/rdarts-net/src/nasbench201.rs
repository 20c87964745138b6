//! The network of NAS-Bench-201 (Dong and Yang, ICLR 2020, section 2.1), as a supernet or of one architecture.
//!
//! ```text
//! stem: convolution 3x3, norm                                     c channels
//! cells,  residual block,  cells,  residual block,  cells         c,  2 c at half the size,  4 c at a quarter
//! norm, relu, mean over the image, classifier
//! ```
//!
//! With h_0 the input of a cell, o the operations and alpha_ij the parameters of the edge from state i to state j:
//!
//! ```text
//! h_j = sum over i < j of sum_o softmax(alpha_ij)_o o(h_i)        and the last h is the output
//! ```
//!
//! All cells share their alphas. `nor_conv` is relu, convolution, norm; `avg_pool_3x3` has no norm, and `none` gives zero. In a
//! residual block two of relu, convolution 3x3, norm, the first of stride 2, are added to the mean of 2x2 pixels behind a
//! convolution 1x1. Norms inside the supernet's cells have no scale and no shift. Names are those of the authors' code.

use rdarts_kernels::dense::{Layer, PoolSpec};
use rdarts_space::{CellType, Genotype, Op, Space, Topology};

use crate::graph::Network;
use crate::supernet::SupernetSpec;
use crate::wiring::{State, Wiring, read_ones};

/// What a cell computes on its edges.
#[derive(Clone, Copy, Debug)]
pub enum Edges<'a> {
    /// All operations of the space, mixed.
    Mixed(&'a Space),
    /// One operation each.
    Chosen(&'a Genotype),
}

/// What a network of NAS-Bench-201 is made of.
#[derive(Clone, Copy, Debug)]
pub struct NasBench201Spec<'a> {
    /// The operations of its cells.
    pub edges: Edges<'a>,
    /// Number of cells, the residual blocks included: 17 in the benchmark.
    pub cells: usize,
    /// Which of them are residual blocks, counted from 0: those at a third and at two thirds in the benchmark.
    pub reductions: &'a [usize],
    /// Channels of the first cells: 16 in the benchmark.
    pub c: usize,
    /// Channels of the images.
    pub c_image: usize,
    /// Number of classes.
    pub classes: usize,
}

impl Network {
    /// The supernet of a space, whichever way its cells are wired; one of NAS-Bench-201 takes of `spec` only what it has.
    ///
    /// # Panics
    /// As [`Network::supernet`] and [`Network::nas_bench_201`].
    pub fn of_space(space: &Space, spec: SupernetSpec) -> Self {
        match space.topology {
            Topology::Darts => Self::supernet(spec),
            Topology::NasBench201 => {
                let SupernetSpec { cells, ref reductions, c, c_image, classes, .. } = spec;
                let edges = Edges::Mixed(space);
                Self::nas_bench_201(&NasBench201Spec { edges, cells, reductions, c, c_image, classes })
            }
        }
    }

    /// Wires a network of NAS-Bench-201. Its types of cells are those of [`CellType`], the second without any mixing weights;
    /// one of an architecture has no mixing weights and has running statistics.
    ///
    /// # Panics
    /// If there is no cell or no channel, a residual block lies behind the last cell, or space or genotype have cells of another
    /// topology.
    pub fn nas_bench_201(spec: &NasBench201Spec<'_>) -> Self {
        assert!(spec.cells > 0 && spec.c > 0, "a network has at least one cell and one channel");
        assert!(spec.reductions.iter().all(|&at| at < spec.cells), "a residual block lies behind the last cell");
        let topology = match spec.edges {
            Edges::Mixed(space) => space.topology,
            Edges::Chosen(genotype) => genotype.topology,
        };
        assert_eq!(topology, Topology::NasBench201, "the cells are wired as in NAS-Bench-201");
        let mut wired = Wired { spec, layers: Wiring::default() };
        let output = wired.network();
        let (list, output) = read_ones(wired.layers.list, output);
        match spec.edges {
            Edges::Mixed(space) => Self::new(list, output, vec![space.normal.clone(), Vec::new()], spec.c_image),
            Edges::Chosen(_) => Self::of_discrete_layers(list, output, vec![Vec::new(); 2], spec.c_image),
        }
    }
}

/// The network as far as it is wired.
struct Wired<'a> {
    spec: &'a NasBench201Spec<'a>,
    layers: Wiring,
}

impl Wired<'_> {
    fn network(&mut self) -> usize {
        let spec = self.spec;
        let images = State { at: crate::graph::Source::Images, c: spec.c_image };
        let stem = self.layers.convolution(images, spec.c, 3, 1, "stem.0.");
        let mut x = self.layers.scaled_norm(stem, "stem.1.");
        for index in 0..spec.cells {
            let prefix = format!("cells.{index}.");
            x = match spec.reductions.contains(&index) {
                true => self.residual(x, 2 * x.c, &prefix),
                false => self.cell(x, &prefix),
            };
        }
        let x = self.layers.scaled_norm(x, "lastact.0.");
        let x = self.layers.add(Layer::Relu, &[x], x.c, "lastact.1.");
        self.layers.classifier(x, spec.classes)
    }

    /// Relu, convolution, norm.
    fn conv(&mut self, x: State, c: usize, [k, stride]: [usize; 2], is_scaled: bool, prefix: &str) -> State {
        let x = self.layers.add(Layer::Relu, &[x], x.c, &format!("{prefix}op.0."));
        let x = self.layers.convolution(x, c, k, stride, &format!("{prefix}op.1."));
        let prefix = format!("{prefix}op.2.");
        if is_scaled { self.layers.scaled_norm(x, &prefix) } else { self.layers.add(Layer::Norm, &[x], c, &prefix) }
    }

    /// Half the size, `c` channels.
    fn residual(&mut self, x: State, c: usize, prefix: &str) -> State {
        let a = self.conv(x, c, [3, 2], true, &format!("{prefix}conv_a."));
        let b = self.conv(a, c, [3, 1], true, &format!("{prefix}conv_b."));
        let pool = Layer::Pool(PoolSpec { max: false, stride: 2, k: 2 });
        let mean = self.layers.add(pool, &[x], x.c, &format!("{prefix}downsample.0."));
        let straight = self.layers.convolution(mean, c, 1, 1, &format!("{prefix}downsample.1."));
        self.layers.add(Layer::Sum, &[straight, b], c, prefix)
    }

    fn cell(&mut self, x: State, prefix: &str) -> State {
        let (mut states, mut pools) = (vec![x], Vec::new());
        let nodes = match self.spec.edges {
            Edges::Mixed(space) => space.nodes,
            Edges::Chosen(genotype) => genotype.n_nodes(CellType::Normal),
        };
        for node in 0..nodes {
            let (mut terms, mut alphas) = (Vec::new(), Vec::new());
            for (input, &state) in states.iter().enumerate() {
                let edge = Topology::NasBench201.edge_index(node, input);
                match self.spec.edges {
                    Edges::Mixed(space) => {
                        for (i, op) in space.normal[edge].iter().enumerate() {
                            let prefix = format!("{prefix}edges.{}<-{input}.{i}.", node + 1);
                            if let Some(made) = self.operation(*op, (input, state), &mut pools, false, &prefix) {
                                terms.push(made);
                                alphas.push(space.offset(CellType::Normal, edge) + i);
                            }
                        }
                    }
                    Edges::Chosen(genotype) => {
                        let prefix = format!("{prefix}layers.{edge}.");
                        let op = genotype.normal[edge].0;
                        terms.extend(self.operation(op, (input, state), &mut pools, true, &prefix));
                    }
                }
            }
            let prefix = format!("{prefix}nodes.{}.", node + 1);
            states.push(match self.spec.edges {
                Edges::Mixed(_) => {
                    self.layers.add(Layer::Mix { cell_type: CellType::Normal as usize, alphas }, &terms, x.c, &prefix)
                }
                // A node of `none` alone.
                Edges::Chosen(_) if terms.is_empty() => self.layers.add(Layer::Zero, &[x], x.c, &prefix),
                Edges::Chosen(_) => self.layers.add(Layer::Sum, &terms, x.c, &prefix),
            });
        }
        states[nodes]
    }

    /// An operation on the state `at` of a cell; none if it gives zero.
    fn operation(
        &mut self,
        op: Op,
        (at, x): (usize, State),
        pools: &mut Vec<(usize, State)>,
        is_scaled: bool,
        prefix: &str,
    ) -> Option<State> {
        Some(match op {
            Op::None => return None,
            Op::SkipConnect => x,
            Op::NorConv1x1 | Op::NorConv3x3 => self.conv(x, x.c, [op.window(), 1], is_scaled, prefix),
            // A pool has no weights: that of a state is one for all edges.
            Op::AvgPool3x3 => match pools.iter().find(|(of, _)| *of == at) {
                Some((_, made)) => *made,
                None => {
                    let pool = Layer::Pool(PoolSpec { max: false, stride: 1, k: 3 });
                    let made = self.layers.add(pool, &[x], x.c, prefix);
                    pools.push((at, made));
                    made
                }
            },
            _ => unreachable!("no cell of NAS-Bench-201 has {op}"),
        })
    }
}

#[cfg(test)]
mod tests;
