//! What the passes over a cell cost: multiply-adds, the floor that arithmetic sets, and bytes, that of memory.
//!
//! The bytes are those of the steps that `passes.rs` lists, the same that are carried out. A pass takes a few images at a
//! time, small enough for the second cache level. So each tensor it touches crosses once, and twice if it is written: its
//! lines come before they go. What a third cache level keeps from one pass to the next is not taken off. Weights and sums are
//! not counted. What rests or is unused in one direction only (noise, kept gradients in front of all that moves) is counted
//! as if it moved.

use std::collections::BTreeSet;

use crate::backward::Want;
use crate::passes::{self, Back, Moves, Pass, Touch, Use};
use crate::plan::Plan;
use crate::spec::{CellDims, CellSpec};

/// Which tangents [`jvp`](crate::cell::jvp) is given beside that of p.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moving {
    /// Of s0 and s1.
    pub inputs: [bool; 2],
    /// Of w; the mixing weights rest then, and all of them move otherwise.
    pub w: bool,
}

impl Moving {
    fn tensors(self, plan: &Plan) -> Moves {
        Moves::new(plan, self.inputs, self.w, |_| !self.w)
    }
}

/// Multiply-adds of the stages through which something from these inputs, or from a node, goes: of a value all, of a
/// tangent those that move, of a gradient those whose inputs want one. Batch norm, pooling and sums are not counted.
///
/// # Panics
/// If the sizes contradict the spec.
pub fn macs(spec: &CellSpec, dims: CellDims, inputs: [bool; 2]) -> u64 {
    let plan = Plan::new(spec, dims);
    let from = |state: usize| state >= 2 || inputs[state];
    let pre = (0..2).filter(|state| from(*state)).map(|state| &plan.pre[state]);
    let stages = plan.branches.iter().filter(|b| from(b.state)).flat_map(|b| &b.stages);
    (pre.chain(stages).map(|placed| placed.stage.macs()).sum::<usize>() * plan.n) as u64
}

/// Bytes that [`forward`](crate::cell::forward) moves.
///
/// # Panics
/// If the sizes contradict the spec.
pub fn forward(spec: &CellSpec, dims: CellDims) -> u64 {
    let plan = Plan::new(spec, dims);
    bytes(&plan, &passes::forward(&plan), |step, touch| step.touches(&plan, touch))
}

/// Bytes that [`jvp`](crate::cell::jvp) moves.
///
/// # Panics
/// If the sizes contradict the spec.
pub fn tangent(spec: &CellSpec, dims: CellDims, moving: Moving) -> u64 {
    let plan = Plan::new(spec, dims);
    let moves = moving.tensors(&plan);
    bytes(&plan, &passes::tangent(&plan, &moves), |step, touch| step.touches_dot(&plan, &moves, touch))
}

/// Bytes that [`vjp_last`](crate::backward::vjp_last) moves, or [`vjp`](crate::backward::vjp) where gradients are kept or
/// those of a tangent are wanted.
///
/// # Panics
/// If the sizes contradict the spec.
pub fn backward(spec: &CellSpec, dims: CellDims, want: Want, of_tangent: Option<Moving>) -> u64 {
    let plan = Plan::new(spec, dims);
    let moves = of_tangent.map(|moving| moving.tensors(&plan));
    let back = Back { plan: &plan, want, in_place: moves.is_none() && !want.keep, moves: moves.as_ref() };
    bytes(&plan, &back.passes(), |step, touch| back.touches(step, touch))
}

/// Of all passes: every tensor that one touches, once, and twice if it writes it.
fn bytes<S>(plan: &Plan, passes: &[Pass<S>], touches: impl Fn(&S, &mut Touch<'_>)) -> u64 {
    let of_pass = |pass: &Pass<S>| {
        let mut all = BTreeSet::new();
        pass.iter()
            .for_each(|step| touches(step, &mut |how, tensor| all.extend([(tensor, Use::Reads), (tensor, how)])));
        all.into_iter().map(|(tensor, _)| tensor.len(plan)).sum::<usize>()
    };
    (passes.iter().map(of_pass).sum::<usize>() * plan.n * size_of::<f32>()) as u64
}

/// a = b + k c, the triad of the STREAM benchmark: what memory moves at most, for whoever holds a clock beside it. Here,
/// since it must be compiled with all passes wherever it is called from.
#[inline(never)]
pub fn triad(a: &mut [f32], b: &[f32], k: f32, c: &[f32]) {
    a.iter_mut().zip(b.iter().zip(c)).for_each(|(a, (b, c))| *a = b + k * c);
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdarts_space::Op::{
        AvgPool3x3, Conv7x1_1x7, DilConv3x3, DilConv5x5, MaxPool3x3, Noise, None as Zero, SepConv3x3, SepConv5x5,
        SepConv7x7, SkipConnect,
    };

    fn cell(ops: &[rdarts_space::Op]) -> (CellSpec, CellDims) {
        let edges = vec![ops.to_vec(); 2];
        let spec = CellSpec {
            nodes: 1,
            c: 4,
            c_prev_prev: 6,
            c_prev: 8,
            reduction: false,
            reduction_prev: false,
            edges,
            discrete: None,
        };
        (spec, CellDims { n: 2, side0: [3; 2], side1: [3; 2] })
    }

    /// In bytes per pixel of two images: tensors of 4, 6 or 8 channels.
    fn lines(tensors: usize, inputs: usize) -> u64 {
        (2 * 9 * 4 * (4 * tensors + inputs)) as u64
    }

    const ALPHA: Want = Want { s0: true, s1: true, p: true, w: false, keep: false };

    #[test]
    fn tensors_are_counted_once_a_pass_and_twice_where_they_are_written() {
        // Both states are written; then the node of nothing.
        let (spec, dims) = cell(&[Zero]);
        assert_eq!(forward(&spec, dims), lines(2 * 2 + 2, 6 + 8));
        // Both states are read again.
        let (spec, dims) = cell(&[SkipConnect]);
        assert_eq!(forward(&spec, dims), lines(2 * 2 + 2 + 2, 6 + 8));
        // Of either branch the first half reads a state and writes, the second reads that and writes, the node reads.
        let (spec, dims) = cell(&[SepConv3x3]);
        assert_eq!(forward(&spec, dims), lines(2 * 2 + 2 * (1 + 2 + 1 + 2 + 1) + 2, 6 + 8));
    }

    #[test]
    fn a_gradient_reads_what_the_value_wrote() {
        // The node's part of the gradient is taken; the gradients of both states are written, summed with the states, for the
        // skip connections too, and sent on to the inputs.
        let (spec, dims) = cell(&[SkipConnect]);
        let states = 1 + 2 * 2 + 2;
        assert_eq!(backward(&spec, dims, ALPHA, None), lines(1 + 2 + states + 2 * 2, 3 * (6 + 8)));
        // Two halves a branch: its output, which is overwritten by the gradient between them, that, and the value between
        // them twice.
        let (spec, dims) = cell(&[SepConv3x3]);
        // That part, summed with the outputs of both.
        let sums = 1 + 2 + 2;
        let second = 1 + 2 * (2 + 1);
        let first = 2 * (1 + 1 + 1 + 2);
        assert_eq!(backward(&spec, dims, ALPHA, None), lines(sums + second + first + 2 * 2, 3 * (6 + 8)));
        // Without gradients of the inputs only the sums are left.
        let none = Want { s0: false, s1: false, ..ALPHA };
        assert_eq!(backward(&spec, dims, none, None), lines(sums, 0));
    }

    #[test]
    fn a_pool_of_a_state_is_counted_once() {
        // Two nodes; states 0 and 1 have an edge to either, and each pool reads its state and writes.
        let (spec, dims) = cell(&[MaxPool3x3]);
        let two = CellSpec { nodes: 2, edges: vec![vec![MaxPool3x3]; 5], ..spec };
        // The states; their pools; the first node's sum with the pool of that; the second's.
        assert_eq!(forward(&two, dims), lines(2 * 2 + 2 * (1 + 2) + (2 + 2 + 2) + (3 + 2), 6 + 8));
        // The second node's gradient begins as its part of the output's and is summed with the pool of the first node.
        // Back through that: its output, the gradient there, its input, whose gradient begins; with the sums of both nodes
        // with two pools. Back through these: outputs, inputs, the gradients of both nodes, those of the states, which
        // are summed; once more those and the states.
        let [second, first, states] = [1 + 2 + 1, 1 + 1 + 1 + (1 + 2) + 2, 2 + 2 + 2 + 2 * 2];
        assert_eq!(backward(&two, dims, ALPHA, None), lines(second + first + states + 2 * 2, 3 * (6 + 8)));
    }

    #[test]
    fn a_tangent_reads_the_value_beside_itself() {
        let moving = Moving { inputs: [true; 2], w: false };
        // States and their tangents, which are written; then the node reads all of them.
        let (spec, dims) = cell(&[SkipConnect]);
        assert_eq!(tangent(&spec, dims, moving), lines(2 * 3 + 2 * 2 + 2, 2 * (6 + 8)));
        // A stage reads its input and output, and writes the tangent of that.
        let (spec, dims) = cell(&[SepConv3x3]);
        let stage = 2 + 1 + 2;
        assert_eq!(tangent(&spec, dims, moving), lines(2 * 3 + 2 * (2 * stage + 2) + 2, 2 * (6 + 8)));
        // Where the inputs rest only the node moves, as its weights do.
        let still = Moving { inputs: [false; 2], w: false };
        assert_eq!(tangent(&spec, dims, still), lines(2 + 2, 0));
    }

    #[test]
    fn a_gradient_of_a_tangent_reads_both_gradients_and_both_values() {
        let moving = Moving { inputs: [true; 2], w: false };
        let (spec, dims) = cell(&[SepConv3x3]);
        let sums = 1 + 2 + 1 + 2 * 2;
        // Both gradients of the node; of a branch its output and what lies between with their tangents, the kept gradient
        // there, and the one that is written.
        let second = 2 + 2 * (2 + 2 + 1 + 2);
        // Of a branch both gradients between the stages, value and tangent there, and the state, whose gradient is written.
        let first = 2 * (2 + 2 + 1 + 2);
        // Gradients and values of both states, after they were made and once more.
        let states = 2 * (1 + 1) + 2 * 4;
        assert_eq!(backward(&spec, dims, ALPHA, Some(moving)), lines(sums + second + first + states, 3 * (6 + 8)));
    }

    #[test]
    fn kept_gradients_lie_apart_and_moving_weights_move_everything() {
        let (spec, dims) = cell(&[SepConv3x3]);
        let keep = Want { keep: true, ..ALPHA };
        // The gradient between two stages is written beside the output of the second, which is read.
        assert_eq!(backward(&spec, dims, keep, None) - backward(&spec, dims, ALPHA, None), lines(2, 0));
        // All that has weights moves without inputs that do: only their tangents are not read.
        let [all, still] = [[true; 2], [false; 2]].map(|inputs| tangent(&spec, dims, Moving { inputs, w: true }));
        assert_eq!(all - still, lines(0, 6 + 8));
        // Of two branches to the first node and three to the second, one starts at the first node and always moves.
        let two = CellSpec { nodes: 2, edges: vec![vec![SepConv3x3]; 5], ..spec };
        let moving = |inputs| tangent(&two, dims, Moving { inputs, w: false });
        let of_branch = 2 * (2 + 1 + 2) + 1;
        // A state that moves adds itself and its tangent, and the tangents of two branches, which read it together.
        assert_eq!(moving([true; 2]) - moving([false, true]), lines(3 + 2 * of_branch - 2, 2 * 6));
        // Each node sums its outputs, of which the last moves: it reads the tangent of the first node as that is written.
        assert_eq!(moving([false; 2]), lines(2 * 2 + 5 + of_branch - 1, 0));
    }

    #[test]
    fn the_totals_of_a_few_cells_are_known() {
        let darts = [Zero, MaxPool3x3, AvgPool3x3, SkipConnect, SepConv3x3, SepConv5x5, DilConv3x3, DilConv5x5];
        let every = [&[Zero, Noise], &darts[1..6], &[SepConv7x7, DilConv3x3, DilConv5x5, Conv7x1_1x7]].concat();
        let cases = [
            (
                vec![SkipConnect, SepConv3x3],
                false,
                false,
                [8_137_920, 13_695_360, 13_695_360, 9_576_000, 10_543_680, 9_576_000, 19_037_760],
            ),
            (every, true, false, [9_616_320, 15_146_880, 15_146_880, 8_715_840, 9_441_600, 8_473_920, 17_317_440]),
            (
                darts.to_vec(),
                false,
                true,
                [23_516_640, 39_721_920, 39_721_920, 21_628_320, 23_563_680, 21_628_320, 43_454_880],
            ),
        ];
        for (ops, reduction, reduction_prev, totals) in cases {
            let edges = vec![ops; 9];
            let spec = CellSpec {
                nodes: 3,
                c: 16,
                c_prev_prev: 6,
                c_prev: 5,
                reduction,
                reduction_prev,
                edges,
                discrete: None,
            };
            let side0 = if reduction_prev { [15, 12] } else { [8, 6] };
            let dims = CellDims { n: 35, side0, side1: [8, 6] };
            let moving = |w| Moving { inputs: [true; 2], w };
            let found = [
                forward(&spec, dims),
                tangent(&spec, dims, moving(false)),
                tangent(&spec, dims, moving(true)),
                backward(&spec, dims, ALPHA, None),
                backward(&spec, dims, Want { keep: true, ..ALPHA }, None),
                backward(&spec, dims, Want { p: false, w: true, ..ALPHA }, None),
                backward(&spec, dims, ALPHA, Some(moving(false))),
            ];
            assert_eq!(found, totals);
        }
    }

    #[test]
    fn multiply_adds_are_those_of_the_weights() {
        let (spec, dims) = cell(&[SkipConnect, SepConv3x3]);
        let (pre, branch) = (4 * (6 + 8), 2 * (9 * 4 + 4 * 4));
        assert_eq!(macs(&spec, dims, [true, true]), (2 * 9 * (pre + 2 * branch)) as u64);
        assert_eq!(macs(&spec, dims, [false, true]), (2 * 9 * (4 * 8 + branch)) as u64);
        assert_eq!(macs(&spec, dims, [false, false]), 0);
        // The first of two convolutions at stride 2 runs over all three rows, the second over two; both over two columns.
        let (spec, dims) = cell(&[Conv7x1_1x7]);
        let reduction = CellSpec { reduction: true, ..spec };
        assert_eq!(macs(&reduction, dims, [true, true]), (2 * (9 * pre + 2 * 7 * 16 * (3 * 2 + 2 * 2))) as u64);
    }
}
