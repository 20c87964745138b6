//! What the supernet costs: multiply-adds of convolutions and of the head, and bytes that cross the memory.
//!
//! Of the multiply-adds batch norm, pooling and weighted sums are left out, as is usual. Bytes are counted as
//! [`rdarts_kernels::traffic`] says.

use std::ops::Add;

use rdarts_kernels::backward::Want;
use rdarts_kernels::dense::Shape;
use rdarts_kernels::spec::{AuxiliarySpec, CellDims, CellSpec};
use rdarts_kernels::traffic::{self, Moving};

use self::Way::{Back, BackOfTangent, Forward, Tangent};
use crate::graph::{Module, Network, Node, Source};

impl Network {
    /// Multiply-adds of a forward pass of one image with `side` rows and columns.
    pub fn macs(&self, side: [usize; 2]) -> u64 {
        self.pass_cost(1, side, Forward).macs
    }

    /// A forward pass of `n` images.
    pub fn forward_cost(&self, n: usize, side: [usize; 2]) -> Cost {
        self.pass_cost(n, side, Forward)
    }

    /// A step of a training from scratch, of n images.
    pub fn training_cost(&self, n: usize, side: [usize; 2]) -> Cost {
        self.pass_cost(n, side, Forward) + self.pass_cost(n, side, Back { p: false, w: true, keep: false })
    }

    /// A search step: the gradient of alpha, of first or of second order (exact), then that of the weights, for `n` images
    /// each.
    pub fn step_cost(&self, n: usize, side: [usize; 2], second_order: bool) -> Cost {
        let pass = |pass| self.pass_cost(n, side, pass);
        let back = |p, w, keep| pass(Forward) + pass(Back { p, w, keep });
        let alpha = if second_order {
            // At the weights, at the moved ones, and the mixed product.
            let mixed = pass(Tangent { first: 0, w: true }) + pass(BackOfTangent { first: 0, w: true });
            back(true, true, true) + back(true, true, false) + mixed
        } else {
            back(true, false, false)
        };
        alpha + back(false, true, false)
    }

    /// What [`AlphaHessian`](crate::AlphaHessian) costs for `n` images: to begin with, and for each product.
    pub fn hessian_cost(&self, n: usize, side: [usize; 2]) -> [Cost; 2] {
        let begin = self.pass_cost(n, side, Forward) + self.pass_cost(n, side, Back { p: true, w: false, keep: true });
        [begin, self.product_cost(n, side, 0)]
    }

    /// The products of [`AlphaHessian::full`](crate::AlphaHessian::full), each counted as if all mixing weights of its first
    /// cell moved.
    pub fn full_hessian_cost(&self, n: usize, side: [usize; 2]) -> Cost {
        let of = |cell_type: usize| {
            let columns = self.edge_sizes(cell_type).iter().map(|size| size.saturating_sub(1) as u64).sum::<u64>();
            self.product_cost(n, side, cell_type).times(columns)
        };
        (0..self.n_cell_types()).filter(|at| self.has(*at)).map(of).fold(Cost::default(), Add::add)
    }

    /// A product in which the mixing weights of types of cells from `first` on move.
    fn product_cost(&self, n: usize, side: [usize; 2], first: usize) -> Cost {
        self.pass_cost(n, side, Tangent { first, w: false })
            + self.pass_cost(n, side, BackOfTangent { first, w: false })
    }

    fn pass_cost(&self, n: usize, side: [usize; 2], way: Way) -> Cost {
        if self.is_dense() {
            return self.layers_cost(n, side, way);
        }
        let values = |c: usize, [h, w]: [usize; 2]| (size_of::<f32>() * n * c * h * w) as u64;
        let (of_weights, first) = match way {
            Forward => (false, 0),
            Back { w, .. } => (w, 0),
            Tangent { w, first } | BackOfTangent { w, first } => (w, first),
        };
        let moves = self.behind(|cell_type| cell_type >= first);
        let is_behind = |source: &Source| matches!(source, Source::Node(read) if moves[*read]);
        let of = |((at, node), dims): ((usize, &Node), &CellDims)| match &node.module {
            Module::Stem(spec) => {
                let macs = (9 * spec.c_in * spec.c_out * n * side[0] * side[1]) as u64;
                let (out, images) = (values(spec.c_out, side), values(spec.c_in, side));
                match way {
                    // The convolution is written and read, the output written.
                    Forward => Cost { macs, bytes: 5 * out + images },
                    // Gradient and convolution are read for the sums, then again with the images.
                    Back { w: true, .. } => Cost { macs, bytes: 4 * out + images },
                    // The tangent of the convolution is written and overwritten; the convolution is read beside it.
                    Tangent { w: true, .. } => Cost { macs, bytes: 6 * out + images },
                    _ => Cost::default(),
                }
            }
            Module::Cell(cell) => {
                let behind = [is_behind(&node.inputs[0]), is_behind(&node.inputs[1])];
                cell_cost(&cell.spec, *dims, way, moves[at], behind)
            }
            // The convolutions and the linear layer; the state is read, or its gradient written.
            Module::Auxiliary(spec) => {
                let [narrow, wide] = AuxiliarySpec::WIDTHS;
                let of_image = 4 * spec.c_in * narrow + 4 * narrow * wide + wide * spec.classes;
                let lines = if matches!(way, Forward | Tangent { .. }) { 1 } else { 2 };
                let macs = (n * of_image) as u64 * (1 + u64::from(of_weights));
                Cost { macs, bytes: lines * values(spec.c_in, dims.side1) }
            }
            // What it does is its own affair.
            Module::Own(_) => Cost::default(),
            Module::Layer(_) => unreachable!("counted with its network"),
            // It reads its input, or writes that one's gradient.
            Module::Head(spec) => {
                let lines = if matches!(way, Forward | Tangent { .. }) { 1 } else { 2 };
                let macs = (n * spec.c_in * spec.classes) as u64 * (1 + u64::from(of_weights));
                Cost { macs, bytes: lines * values(spec.c_in, dims.side1) }
            }
        };
        let dims = self.dims(n, side);
        self.nodes().iter().enumerate().zip(&dims).map(of).fold(Cost::default(), Add::add)
    }
}

impl Network {
    /// A way through a network of layers: each reads its states and writes its output, or their gradients.
    fn layers_cost(&self, n: usize, [h, w]: [usize; 2], way: Way) -> Cost {
        let images = Shape { n, h, w, c: self.c_image() };
        let (shapes, bytes) = (self.layer_shapes(images), |shape: &Shape| (size_of::<f32>() * shape.len()) as u64);
        let first = if let Tangent { first, .. } | BackOfTangent { first, .. } = way { first } else { 0 };
        let moves = self.behind(|cell_type| cell_type >= first);
        let mut total = Cost::default();
        for (at, node) in self.nodes().iter().enumerate() {
            let Module::Layer(layer) = &node.module else { unreachable!("a network of layers") };
            let inputs: Vec<Shape> = node
                .inputs
                .iter()
                .map(|source| if let Source::Node(read) = source { shapes[*read] } else { images })
                .collect();
            let (macs, once) = (layer.macs(&inputs), inputs.iter().chain([&shapes[at]]).map(bytes).sum::<u64>());
            let times = match way {
                Forward => 1,
                Back { p, w, .. } => u64::from(w || (p && moves[at])) + u64::from(w),
                Tangent { w, .. } => u64::from(w || moves[at]) + u64::from(w),
                BackOfTangent { w, .. } => u64::from(moves[at]) * (1 + u64::from(w)),
            };
            total = total + Cost { macs, bytes: once }.times(times);
        }
        total
    }
}

/// What a computation costs on the fused kernels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Multiply-adds that the derivatives need: nothing that is computed again, nothing where a tangent rests or no
    /// gradient is wanted.
    pub macs: u64,
    /// Bytes that the passes move, if no cache keeps anything from one to the next.
    pub bytes: u64,
}

impl Add for Cost {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { macs: self.macs + other.macs, bytes: self.bytes + other.bytes }
    }
}

impl Cost {
    /// So many of it.
    pub fn times(self, n: u64) -> Self {
        Self { macs: n * self.macs, bytes: n * self.bytes }
    }
}

/// A way through the network.
#[derive(Clone, Copy)]
enum Way {
    Forward,
    /// To the mixing weights, to the weights, and what products will need kept.
    Back {
        p: bool,
        w: bool,
        keep: bool,
    },
    /// Along the mixing weights of types of cells from `first` on, or along all weights too.
    Tangent {
        first: usize,
        w: bool,
    },
    /// From that to the mixing weights.
    BackOfTangent {
        first: usize,
        w: bool,
    },
}

/// What a way costs in a cell: whether it, and the states that it reads, lie behind mixing weights that move.
fn cell_cost(spec: &CellSpec, dims: CellDims, way: Way, moves: bool, behind: [bool; 2]) -> Cost {
    let macs = |inputs| traffic::macs(spec, dims, inputs);
    let moving = |w| Moving { inputs: if w { [true; 2] } else { behind }, w };
    // Two cells, or one twice, read a state: the gradient of s0 is added to what is there.
    let sum = |s0: bool| {
        let values = dims.n * spec.c_prev_prev * dims.side0[0] * dims.side0[1];
        if s0 { 3 * (size_of::<f32>() * values) as u64 } else { 0 }
    };
    match way {
        Forward => Cost { macs: macs([true; 2]), bytes: traffic::forward(spec, dims) },
        Back { p, w, keep } => {
            // No alpha lies before the first cell: the gradient of the stem is wanted for its weights alone.
            let [s0, s1] = if w { [true; 2] } else { behind };
            let bytes = traffic::backward(spec, dims, Want { s0, s1, p, w, keep }, None);
            let of_weights = if w { macs([true; 2]) } else { 0 };
            Cost { macs: macs([s0, s1]) + of_weights, bytes: bytes + sum(s0) }
        }
        Tangent { .. } | BackOfTangent { .. } if !moves => Cost::default(),
        Tangent { w, .. } => {
            let moving = moving(w);
            let of_weights = if w { macs([true; 2]) } else { 0 };
            Cost { macs: macs(moving.inputs) + of_weights, bytes: traffic::tangent(spec, dims, moving) }
        }
        BackOfTangent { w, .. } => {
            let [s0, s1] = behind;
            let want = Want { s0, s1, p: true, ..Want::default() };
            let bytes = traffic::backward(spec, dims, want, Some(moving(w)));
            Cost { macs: macs([s0, s1]) * (1 + u64::from(w)), bytes: bytes + sum(s0) }
        }
    }
}

#[cfg(test)]
mod tests {
    use rdarts_space::Space;

    use super::Way::{Back, Forward};
    use crate::graph::Network;
    use crate::supernet::SupernetSpec;

    #[test]
    fn a_step_moves_more_bytes_with_more_images_and_cells_and_less_in_smaller_ones() {
        let bytes = |cells, n, side| {
            let net = Network::supernet(SupernetSpec::from_space(&Space::builtin("s2").unwrap(), cells, 16, 3, 10));
            net.step_cost(n, [side; 2], false).bytes
        };
        // Where all nodes are large, every tensor grows with the batch; of small ones more are split.
        assert_eq!(bytes(8, 1024, 32), 2 * bytes(8, 512, 32));
        assert!(bytes(8, 256, 32) <= 4 * bytes(8, 64, 32));
        // As LOG.md has it.
        assert!((11e9..12e9).contains(&(bytes(8, 64, 32) as f64)), "{}", bytes(8, 64, 32));
        assert!(bytes(9, 64, 32) > bytes(8, 64, 32) && bytes(8, 64, 16) < bytes(8, 64, 32) / 2);
    }

    #[test]
    fn multiply_adds_add_up_from_those_of_the_forward_pass() {
        let net = Network::supernet(SupernetSpec::from_space(&Space::builtin("s2").unwrap(), 5, 8, 3, 10));
        let (n, side) = (4, [16; 2]);
        let forward = net.pass_cost(n, side, Forward).macs;
        let stem = (9 * 3 * 24 * 16 * 16 * n) as u64;
        // Back to all weights: as much again for the inputs, of which the images need no gradient, and for the weights.
        let weights = 2 * forward - stem;
        assert_eq!(net.pass_cost(n, side, Back { p: false, w: true, keep: false }).macs, weights);
        // A product goes both ways through what lies behind the first mixing weights, as the gradient of alpha does once.
        let alpha = net.pass_cost(n, side, Back { p: true, w: false, keep: false }).macs;
        let [begin, product] = net.hessian_cost(n, side);
        let head = (n * 10 * 4 * 32) as u64;
        assert_eq!((begin.macs, product.macs), (forward + alpha, 2 * alpha));
        assert!(alpha < forward - stem && alpha > forward / 2);
        assert_eq!(net.step_cost(n, side, false).macs, 2 * forward + alpha + weights);
        // The tangent along the weights and its way back multiply with either of weights and tangents.
        let mixed = 2 * forward - stem + 2 * alpha;
        assert_eq!(net.step_cost(n, side, true).macs, 3 * (forward + weights) + mixed);
        // 14 columns of either kind of cell, those of reduction cells from the second cell on.
        let full = net.full_hessian_cost(n, side);
        assert!(full.macs < 28 * product.macs && full.macs > 14 * product.macs + head);
        assert!(full.bytes < 28 * product.bytes && full.bytes > 14 * product.bytes);
    }

    #[test]
    fn a_cell_of_s2_counts_its_convolutions() {
        let net = Network::supernet(SupernetSpec::from_space(&Space::builtin("s2").unwrap(), 1, 16, 3, 10));
        // One cell, a reduction (it is both a third and two thirds of the way), so 16 channels become 32: two preprocess
        // blocks of 48 channels, 14 edges of two halves, 8 of which begin with a FactorizedReduce beside them.
        let (stem, pre, head) = (9 * 3 * 48 * 1024, 2 * 48 * 32 * 1024, 4 * 32 * 10);
        let halves = 14 * 2 * (9 * 32 + 32 * 32) * 256;
        let skips = 8 * 32 * 32 * 256;
        assert_eq!(net.macs([32, 32]), (stem + pre + head + halves + skips) as u64);
    }
}
