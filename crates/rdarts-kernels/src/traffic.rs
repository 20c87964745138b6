//! What the passes over a cell cost: multiply-adds, the floor that arithmetic sets, and bytes, that of memory.
//!
//! A pass takes a few images at a time, small enough for the second cache level, and ends where the next one needs sums
//! over the whole batch. So each tensor it touches crosses once, and twice if it is written: its lines come before they
//! go. What a third cache level keeps from one pass to the next is not taken off. Weights and sums are not counted. What rests
//! or is unused in one direction only (noise, a state without branches, kept gradients in front of all that moves) is counted
//! as if it moved.

use std::collections::BTreeMap;

use crate::backward::Want;
use crate::cell::moving_buffers;
use crate::plan::{Branch, Plan, Summand, Unit};
use crate::simd::Isa;
use crate::spec::{CellDims, CellSpec};
use crate::stage::Gating;

/// Which tangents [`jvp`](crate::cell::jvp) is given beside that of p.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moving {
    /// Of s0 and s1.
    pub inputs: [bool; 2],
    /// Of w; the mixing weights rest then, and all of them move otherwise.
    pub w: bool,
}

impl Moving {
    /// Which buffers move.
    fn buffers(self, plan: &Plan) -> Vec<bool> {
        moving_buffers(plan, self.inputs, self.w, |_| !self.w)
    }
}

/// Multiply-adds of the stages through which something from these inputs, or from a node, goes: of a value all, of a
/// tangent those that move, of a gradient those whose inputs want one. Batch norm, pooling and sums are not counted.
///
/// # Panics
/// If the sizes contradict the spec.
pub fn macs(spec: &CellSpec, dims: CellDims, inputs: [bool; 2]) -> u64 {
    let plan = Plan::new(spec, dims, Isa::Portable);
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
    let plan = Plan::new(spec, dims, Isa::Portable);
    let mut total = 0;
    let mut pre = Pass::default();
    for state in 0..2 {
        pre.read(Tensor::Input(state));
        pre.write(Tensor::Buffer(state));
    }
    total += pre.bytes(&plan);
    let mut ends = plan.empty_nodes().collect::<Vec<_>>();
    for unit in plan.units.iter().map(Some).chain([None]) {
        let mut first = Pass::default();
        for part in &ends {
            part.branches.iter().for_each(|b| first.read_term(&plan.branches[*b]));
            first.write(Tensor::Buffer(plan.state_buffer(2 + part.node)));
        }
        let mut second = Pass::default();
        for b in starting(&plan, unit) {
            if let Summand::Noise { buffer } = b.summand {
                first.write(Tensor::Buffer(buffer));
            }
            if let Some(placed) = b.stages.first() {
                first.read(Tensor::Buffer(plan.state_buffer(b.state)));
                first.write(Tensor::Buffer(placed.norm));
            }
        }
        for b in branches(&plan, unit.map(|unit| &unit.second)) {
            if let [first, placed] = &b.stages[..] {
                second.read(Tensor::Buffer(first.norm));
                second.write(Tensor::Buffer(placed.norm));
            }
        }
        total += first.bytes(&plan) + second.bytes(&plan);
        ends = unit.map_or(Vec::new(), |unit| unit.ends.clone());
    }
    total
}

/// Bytes that [`jvp`](crate::cell::jvp) moves.
///
/// # Panics
/// If the sizes contradict the spec.
pub fn tangent(spec: &CellSpec, dims: CellDims, moving: Moving) -> u64 {
    let plan = Plan::new(spec, dims, Isa::Portable);
    let moves = moving.buffers(&plan);
    // What a stage reads, with its tangent; the products of output and tangent are summed.
    let stage = |pass: &mut Pass, input: usize, norm: usize| {
        pass.read(Tensor::Buffer(input));
        pass.read_dot(input, &moves);
        pass.read(Tensor::Buffer(norm));
        pass.write(Tensor::Dot(norm));
    };
    let mut pre = Pass::default();
    for state in (0..2).filter(|state| moves[*state]) {
        pre.read(Tensor::Input(state));
        if moving.inputs[state] {
            pre.read(Tensor::InputDot(state));
        }
        pre.read(Tensor::Buffer(state));
        pre.write(Tensor::Dot(state));
    }
    let mut total = pre.bytes(&plan);
    let mut ends = plan.empty_nodes().collect::<Vec<_>>();
    for unit in plan.units.iter().map(Some).chain([None]) {
        let (mut first, mut second) = (Pass::default(), Pass::default());
        for part in &ends {
            let node = plan.state_buffer(2 + part.node);
            for b in part.branches.iter().map(|b| &plan.branches[*b]).filter(|_| moves[node]) {
                first.read_term(b);
                first.read_term_dot(b, &moves);
            }
            first.write(Tensor::Dot(node));
        }
        for b in starting(&plan, unit) {
            if let Some(placed) = b.stages.first().filter(|placed| moves[placed.norm]) {
                stage(&mut first, plan.state_buffer(b.state), placed.norm);
            }
        }
        for b in branches(&plan, unit.map(|unit| &unit.second)) {
            if let [before, placed] = &b.stages[..]
                && moves[placed.norm]
            {
                stage(&mut second, before.norm, placed.norm);
            }
        }
        total += first.bytes(&plan) + second.bytes(&plan);
        ends = unit.map_or(Vec::new(), |unit| unit.ends.clone());
    }
    total
}

/// Bytes that [`vjp_last`](crate::backward::vjp_last) moves, or [`vjp`](crate::backward::vjp) where gradients are kept or
/// those of a tangent are wanted.
///
/// # Panics
/// If the sizes contradict the spec.
pub fn backward(spec: &CellSpec, dims: CellDims, want: Want, dual: Option<Moving>) -> u64 {
    let plan = Plan::new(spec, dims, Isa::Portable);
    let needs = |state: usize| state >= 2 || want.w || [want.s0, want.s1][state];
    let (is_dual, in_place) = (dual.is_some(), dual.is_none() && !want.keep);
    let moves = dual.map_or(Vec::new(), |dual| dual.buffers(&plan));
    let (mut total, mut begun, mut before) = (0, vec![false; 2 + plan.nodes], None::<&Unit>);
    for unit in plan.units.iter().rev().map(Some).chain([None]) {
        let mut pass = Pass::default();
        let begin = |pass: &mut Pass, begun: &mut [bool], state: usize| {
            if state >= 2 && !std::mem::replace(&mut begun[state], true) {
                pass.read(Tensor::OutputGradient(state - 2));
            }
            pass.write(Tensor::Gradient(state));
        };
        // The gradient of a node, and that of its tangent, which is kept.
        let at_node = |pass: &mut Pass, node: usize| {
            pass.read(Tensor::Gradient(2 + node));
            if is_dual {
                pass.read(Tensor::Kept(2 + node));
            }
        };
        let term = |pass: &mut Pass, b: &Branch| {
            pass.read_term(b);
            pass.read_term_dot(b, &moves);
        };
        // Through the first stages of the unit before.
        for b in starting(&plan, before).filter(|b| needs(b.state)) {
            match &b.stages[..] {
                [] if !matches!(b.summand, Summand::State { .. }) => continue,
                [] => {
                    at_node(&mut pass, b.node);
                    if want.p {
                        term(&mut pass, b);
                    }
                }
                [first, rest @ ..] => {
                    match rest.first() {
                        None => b.serves.iter().for_each(|at| at_node(&mut pass, plan.branches[*at].node)),
                        Some(last) if in_place => pass.read(Tensor::Buffer(last.norm)),
                        Some(last) => {
                            pass.read(Tensor::Inner(last.norm));
                            if is_dual {
                                pass.read(Tensor::KeptInner(last.norm));
                            }
                        }
                    }
                    pass.read(Tensor::Buffer(first.norm));
                    pass.read_dot(first.norm, &moves);
                    // For the gate.
                    if first.stage.map().gating() != Gating::Open {
                        pass.read(Tensor::Buffer(plan.state_buffer(b.state)));
                    }
                }
            }
            begin(&mut pass, &mut begun, b.state);
        }
        // The sums of this one, or of the preprocess blocks, and the way through the second stages, or through those.
        let mut next = Pass::default();
        for b in branches(&plan, unit.map(|unit| &unit.second)) {
            if !begun[2 + b.node] {
                begin(&mut pass, &mut begun, 2 + b.node);
            }
            let is_late = matches!(b.summand, Summand::State { .. }) && needs(b.state);
            if !is_late && (want.p || !b.stages.is_empty()) {
                at_node(&mut pass, b.node);
                term(&mut pass, b);
            }
            if let [first, second] = &b.stages[..]
                && needs(b.state)
            {
                at_node(&mut next, b.node);
                if in_place {
                    next.write(Tensor::Buffer(second.norm));
                } else {
                    next.read(Tensor::Buffer(second.norm));
                    next.write(Tensor::Inner(second.norm));
                }
                next.read(Tensor::Buffer(first.norm));
                for norm in [first.norm, second.norm] {
                    next.read_dot(norm, &moves);
                }
                if moves.get(first.norm).is_some_and(|m| *m) {
                    next.read(Tensor::KeptInner(second.norm));
                }
            }
        }
        for state in (0..2).filter(|state| unit.is_none() && needs(*state)) {
            for pass in [&mut pass, &mut next] {
                pass.read(Tensor::Gradient(state));
                pass.read(Tensor::Buffer(state));
                if is_dual {
                    pass.read(Tensor::Kept(state));
                }
                pass.read_dot(state, &moves);
            }
            next.read(Tensor::Input(state));
            if [want.s0, want.s1][state] {
                next.write(Tensor::InputGradient(state));
            }
        }
        total += pass.bytes(&plan) + next.bytes(&plan);
        before = unit;
    }
    total
}

/// A tensor of the batch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tensor {
    /// s0 or s1.
    Input(usize),
    /// Of the plan, nodes among them.
    Buffer(usize),
    /// The part of a node in the gradient of the output.
    OutputGradient(usize),
    /// Of a state.
    Gradient(usize),
    /// Of s0 or s1.
    InputGradient(usize),
    /// Behind the first of two stages, by the batch norm of the second, where it does not take the place of the output.
    Inner(usize),
    /// The tangents of s0 or s1, and of buffers.
    InputDot(usize),
    Dot(usize),
    /// The gradients of the tangents of states, and of what lies behind the first of two stages.
    Kept(usize),
    KeptInner(usize),
}

/// What a pass touches, and whether it writes it.
#[derive(Default)]
struct Pass(BTreeMap<Tensor, bool>);

impl Pass {
    fn read(&mut self, tensor: Tensor) {
        self.0.entry(tensor).or_default();
    }

    fn write(&mut self, tensor: Tensor) {
        self.0.insert(tensor, true);
    }

    /// What a branch adds to its node.
    fn read_term(&mut self, b: &Branch) {
        if let Some((buffer, _)) = b.summand.source() {
            self.read(Tensor::Buffer(buffer));
        }
    }

    /// The tangent of a buffer, if it moves.
    fn read_dot(&mut self, buffer: usize, moves: &[bool]) {
        if moves.get(buffer).is_some_and(|m| *m) {
            self.read(Tensor::Dot(buffer));
        }
    }

    fn read_term_dot(&mut self, b: &Branch, moves: &[bool]) {
        if let Some((buffer, _)) = b.summand.source() {
            self.read_dot(buffer, moves);
        }
    }

    fn bytes(&self, plan: &Plan) -> u64 {
        let node = plan.px(2) * plan.c;
        let values = |tensor: &Tensor| match *tensor {
            Tensor::Input(i) | Tensor::InputDot(i) | Tensor::InputGradient(i) => plan.input_len(i),
            Tensor::Buffer(buffer) | Tensor::Dot(buffer) if plan.node_of(buffer).is_some() => node,
            Tensor::Buffer(buffer) | Tensor::Dot(buffer) => plan.buffer_lens[buffer],
            Tensor::Inner(norm) | Tensor::KeptInner(norm) => plan.buffer_lens[norm],
            Tensor::Gradient(state) | Tensor::Kept(state) => plan.px(state) * plan.c,
            Tensor::OutputGradient(_) => node,
        };
        let of = |(tensor, written): (&Tensor, &bool)| values(tensor) * (1 + usize::from(*written));
        (self.0.iter().map(of).sum::<usize>() * plan.n * size_of::<f32>()) as u64
    }
}

/// The branches of a unit whose first stages are not those of others before them.
fn starting<'a>(plan: &'a Plan, unit: Option<&'a Unit>) -> impl Iterator<Item = &'a Branch> {
    branches(plan, unit.map(|unit| &unit.first)).filter(|b| b.runs())
}

fn branches<'a>(plan: &'a Plan, places: Option<&'a Vec<usize>>) -> impl Iterator<Item = &'a Branch> {
    places.into_iter().flatten().map(|b| &plan.branches[*b])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::OpKind::{Conv7x1, MaxPool3, None as Zero, SepConv, Skip};

    fn cell(ops: &[crate::spec::OpKind]) -> (CellSpec, CellDims) {
        let edges = vec![ops.to_vec(); 2];
        let spec =
            CellSpec { nodes: 1, c: 4, c_prev_prev: 6, c_prev: 8, reduction: false, reduction_prev: false, edges };
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
        let (spec, dims) = cell(&[Skip]);
        assert_eq!(forward(&spec, dims), lines(2 * 2 + 2 + 2, 6 + 8));
        // Of either branch the first half reads a state and writes, the second reads that and writes, the node reads.
        let (spec, dims) = cell(&[SepConv(3)]);
        assert_eq!(forward(&spec, dims), lines(2 * 2 + 2 * (1 + 2 + 1 + 2 + 1) + 2, 6 + 8));
    }

    #[test]
    fn a_gradient_reads_what_the_value_wrote() {
        // The node's part of the gradient is taken; the gradients of both states are written, summed with the states, for the
        // skip connections too, and sent on to the inputs.
        let (spec, dims) = cell(&[Skip]);
        let states = 1 + 2 * 2 + 2;
        assert_eq!(backward(&spec, dims, ALPHA, None), lines(1 + 2 + states + 2 * 2, 3 * (6 + 8)));
        // Two halves a branch: its output, which is overwritten by the gradient between them, that, and the value between
        // them twice.
        let (spec, dims) = cell(&[SepConv(3)]);
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
        let (spec, dims) = cell(&[MaxPool3]);
        let two = CellSpec { nodes: 2, edges: vec![vec![MaxPool3]; 5], ..spec };
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
        let (spec, dims) = cell(&[Skip]);
        assert_eq!(tangent(&spec, dims, moving), lines(2 * 3 + 2 * 2 + 2, 2 * (6 + 8)));
        // A stage reads its input and output, and writes the tangent of that.
        let (spec, dims) = cell(&[SepConv(3)]);
        let stage = 2 + 1 + 2;
        assert_eq!(tangent(&spec, dims, moving), lines(2 * 3 + 2 * (2 * stage + 2) + 2, 2 * (6 + 8)));
        // Where the inputs rest only the node moves, as its weights do.
        let still = Moving { inputs: [false; 2], w: false };
        assert_eq!(tangent(&spec, dims, still), lines(2 + 2, 0));
    }

    #[test]
    fn a_gradient_of_a_tangent_reads_both_gradients_and_both_values() {
        let moving = Moving { inputs: [true; 2], w: false };
        let (spec, dims) = cell(&[SepConv(3)]);
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
        let (spec, dims) = cell(&[SepConv(3)]);
        let keep = Want { keep: true, ..ALPHA };
        // The gradient between two stages is written beside the output of the second, which is read.
        assert_eq!(backward(&spec, dims, keep, None) - backward(&spec, dims, ALPHA, None), lines(2, 0));
        // All that has weights moves without inputs that do: only their tangents are not read.
        let [all, still] = [[true; 2], [false; 2]].map(|inputs| tangent(&spec, dims, Moving { inputs, w: true }));
        assert_eq!(all - still, lines(0, 6 + 8));
        // Of two branches to the first node and three to the second, one starts at the first node and always moves.
        let two = CellSpec { nodes: 2, edges: vec![vec![SepConv(3)]; 5], ..spec };
        let moving = |inputs| tangent(&two, dims, Moving { inputs, w: false });
        let of_branch = 2 * (2 + 1 + 2) + 1;
        // A state that moves adds itself and its tangent, and the tangents of two branches, which read it together.
        assert_eq!(moving([true; 2]) - moving([false, true]), lines(3 + 2 * of_branch - 2, 2 * 6));
        // Each node sums its outputs, of which the last moves: it reads the tangent of the first node as that is written.
        assert_eq!(moving([false; 2]), lines(2 * 2 + 5 + of_branch - 1, 0));
    }

    #[test]
    fn multiply_adds_are_those_of_the_weights() {
        let (spec, dims) = cell(&[Skip, SepConv(3)]);
        let (pre, branch) = (4 * (6 + 8), 2 * (9 * 4 + 4 * 4));
        assert_eq!(macs(&spec, dims, [true, true]), (2 * 9 * (pre + 2 * branch)) as u64);
        assert_eq!(macs(&spec, dims, [false, true]), (2 * 9 * (4 * 8 + branch)) as u64);
        assert_eq!(macs(&spec, dims, [false, false]), 0);
        // The first of two convolutions at stride 2 runs over all three rows, the second over two; both over two columns.
        let (spec, dims) = cell(&[Conv7x1]);
        let reduction = CellSpec { reduction: true, ..spec };
        assert_eq!(macs(&reduction, dims, [true, true]), (2 * (9 * pre + 2 * 7 * 16 * (3 * 2 + 2 * 2))) as u64);
    }
}
