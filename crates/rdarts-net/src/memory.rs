//! How much memory a computation on the fused path needs, before it is begun.
//!
//! Counted in 32-bit floats, from the shapes alone: what the tape keeps (images, the stem, and of every cell the
//! output of each stage before its batch norm, and its own output, where its nodes lie), the weights and their gradients,
//! and of the backward pass the gradients that are alive at its most demanding cell, for which all cells share the memory.
//! Second derivatives add the gradients inside all cells, and the tangents of all that is kept. The workspace keeps buffers
//! on a shelf for the next step, so memory that one part of a step has left counts beside the next part where the sizes
//! differ; this is what makes the second-order step the largest.
//!
//! Not counted: the program itself, its threads and their windows (some ten MB), and the data set. The test
//! `tests/memory.rs` holds the estimate within a factor of 1.5 of the peak that the system reports.

use std::collections::HashSet;

use rdarts_kernels::dense::Shape;
use rdarts_kernels::spec::{CellDims, CellSpec, weights_len};
use rdarts_space::Op;

use crate::graph::{Network, Node, Source};

/// What memory is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// [`alpha_gradient`](crate::alpha_gradient), [`weight_gradient`](crate::weight_gradient) or both.
    Gradient,
    /// [`unrolled_gradient`](crate::unrolled_gradient): gradients, then an exact mixed product.
    SecondOrderStep,
    /// [`AlphaHessian`](crate::AlphaHessian) and its products.
    HessianProduct,
}

/// The kernels sum weight gradients in at most this many parts.
const PARTS: usize = 16;

/// Floats that one cell needs for `n` images.
#[derive(Clone, Copy, Debug, Default)]
struct CellFloats {
    /// Kept by a forward pass, but for the output.
    saved: usize,
    /// The output, and its gradient.
    out: usize,
    /// Gradients of s0 and s1.
    inputs: usize,
    /// Gradients of all states.
    states: usize,
    /// Those between the stages of operations that have two, of all, as second derivatives keep them, and of as many as
    /// are at once on the way back from a tangent. A plain way back lays them where the outputs of stages were.
    between: usize,
    between_at_once: usize,
    /// Partial weight gradients.
    partial: usize,
}

impl CellFloats {
    fn of(spec: &CellSpec, dims: CellDims) -> Self {
        let CellDims { n, side0, side1 } = dims;
        let px = |[h, w]: [usize; 2]| n * h * w;
        let (state, node) = (px(side1) * spec.c, px(dims.side_out(spec)) * spec.c);
        let two_stages =
            |ops: &[Op]| ops.iter().filter(|op| matches!(op, Op::SepConv3x3 | Op::SepConv5x5 | Op::SepConv7x7)).count();
        // The edges that lead to a node or one behind it from a state in front of it are on their way back together.
        let (mut n_stages, mut n_twice, mut across) = (0, 0, vec![0; spec.nodes]);
        let mut pools = HashSet::new();
        for (edge, node, state) in spec.edge_list() {
            let ops = &spec.edges[edge];
            let free = |op: &&Op| matches!(op, Op::None) || (**op == Op::SkipConnect && spec.stride(state) == 1);
            // Pools of a state are one for all edges from there.
            let mut is_counted = |op: &Op| matches!(op, Op::MaxPool3x3 | Op::AvgPool3x3) && !pools.insert((state, *op));
            n_stages += ops.iter().filter(|op| !(free(op) || is_counted(op))).count() + two_stages(ops);
            n_twice += two_stages(ops);
            across[state.saturating_sub(1)..=node].iter_mut().for_each(|n| *n += two_stages(ops));
        }
        let most = across.into_iter().max().unwrap_or(0);
        Self {
            saved: 2 * state + n_stages * node,
            out: spec.nodes * node,
            inputs: px(side0) * spec.c_prev_prev + px(side1) * spec.c_prev,
            states: 2 * state + spec.nodes * node,
            between: n_twice * node,
            between_at_once: most * node,
            partial: PARTS.min(n) * weights_len(&spec.weights()),
        }
    }
}

impl Network {
    /// Bytes of memory at the peak of a computation in single precision on `batch` images of `side` rows and columns.
    pub fn memory_estimate(&self, batch: usize, side: [usize; 2], work: Work) -> u64 {
        if self.is_dense() {
            return (size_of::<f32>() * self.layer_floats(batch, side, work)) as u64;
        }
        let cells = self.cell_floats(batch, side);
        let sum = |of: fn(&CellFloats) -> usize| cells.iter().map(of).sum::<usize>();
        let stem = batch * side[0] * side[1] * self.stem().0.c_out;
        let images = batch * side[0] * side[1] * self.c_image();
        let (saved, outs, weights) = (sum(|c| c.saved), sum(|c| c.out), self.n_parameters());

        // The gradients of the output of the cell at work, of its inputs and of the cell before it, and those inside.
        let at_once = |c: &CellFloats| c.out + 2 * c.inputs + c.states;
        let behind = cells.iter().map(at_once).max().unwrap_or(0);
        let behind_tangent = cells.iter().map(|c| at_once(c) + c.between_at_once).max().unwrap_or(0);
        let partial = cells.iter().map(|c| c.partial).max().unwrap_or(0);
        let plain = images + 2 * stem + saved + outs;
        let gradient = plain + partial + 3 * weights;
        // A chain keeps the plain pass and the gradients inside all cells.
        let chain = plain + sum(|c| c.states + c.between) + 2 * weights;
        let floats = match work {
            Work::Gradient => gradient + behind,
            // The tangents of the mixed product take what the validation gradient has left.
            Work::SecondOrderStep => chain + gradient + behind_tangent + weights,
            Work::HessianProduct => chain + saved + outs + behind_tangent,
        };
        (size_of::<f32>() * floats) as u64
    }

    /// Bytes that a network of layers needs to be evaluated on `n` images, of which each state is kept until its last reader.
    pub fn evaluation_estimate(&self, n: usize, [h, w]: [usize; 2]) -> u64 {
        let images = Shape { n, h, w, c: self.c_image() };
        let sizes: Vec<usize> = self.layer_shapes(images).iter().map(Shape::len).collect();
        let mut last = vec![0; sizes.len()];
        for (at, node) in self.nodes().iter().enumerate() {
            for source in &node.inputs {
                if let Source::Node(read) = *source {
                    last[read] = at;
                }
            }
        }
        let (mut alive, mut most) = (0, 0);
        for (at, size) in sizes.iter().enumerate() {
            alive += size;
            most = most.max(alive);
            alive -= last.iter().zip(&sizes).filter(|(last, _)| **last == at).map(|(_, size)| size).sum::<usize>();
        }
        // The images as they are given and as they are read, and the output in double precision.
        (size_of::<f32>() * (2 * images.len() + most + self.n_parameters())) as u64 + 16 * (n * h * w) as u64
    }

    /// Floats of a network of layers: the states of all nodes, and on the way back the gradients that are alive at once;
    /// products keep the gradient and the tangent of every state too.
    fn layer_floats(&self, n: usize, [h, w]: [usize; 2], work: Work) -> usize {
        let images = Shape { n, h, w, c: self.c_image() };
        let sizes: Vec<usize> = self.layer_shapes(images).iter().map(Shape::len).collect();
        let states: usize = sizes.iter().sum();
        // A gradient lives from the last reader of its node to the node.
        let (mut alive, mut most, mut has) = (0, 0, vec![false; sizes.len()]);
        for (at, node) in self.nodes().iter().enumerate().rev() {
            for source in &node.inputs {
                if let Source::Node(read) = *source
                    && !std::mem::replace(&mut has[read], true)
                {
                    alive += sizes[read];
                }
            }
            most = most.max(alive + sizes[at]);
            alive -= if has[at] { sizes[at] } else { 0 };
        }
        let gradient = images.len() + states + most + 3 * self.n_parameters();
        match work {
            Work::Gradient => gradient,
            Work::HessianProduct => gradient + 2 * states,
            Work::SecondOrderStep => 2 * gradient + 2 * states,
        }
    }

    fn cell_floats(&self, n: usize, side: [usize; 2]) -> Vec<CellFloats> {
        let dims = self.dims(n, side);
        let of = |(node, dims): (&Node, &CellDims)| Some(CellFloats::of(&node.cell()?.spec, *dims));
        self.nodes().iter().zip(&dims).filter_map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_are_kept_once_for_each_state() {
        let edges = vec![vec![Op::MaxPool3x3, Op::AvgPool3x3]; 14];
        let spec = CellSpec {
            nodes: 4,
            c: 8,
            c_prev_prev: 8,
            c_prev: 8,
            reduction: false,
            reduction_prev: false,
            edges,
            discrete: None,
        };
        let tensor = 3 * 4 * 4 * 8;
        let floats = CellFloats::of(&spec, CellDims { n: 3, side0: [4; 2], side1: [4; 2] });
        // States 0 and 1, and two pools of each of the five that edges start at.
        assert_eq!(floats.saved, (2 + 2 * 5) * tensor);
    }
}
