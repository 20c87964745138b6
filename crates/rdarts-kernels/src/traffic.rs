//! How many bytes the passes over a cell move: the floor that memory sets, as the multiply-adds set that of arithmetic.
//!
//! A pass takes a few images at a time, small enough for the second cache level, and ends where the next one needs sums
//! over the whole batch. So each tensor it touches crosses once, and twice if it is written: its lines come before they
//! go. What a third cache level keeps from one pass to the next is not taken off. Weights and sums are not counted.

use std::collections::BTreeMap;

use crate::backward::Want;
use crate::cell::term;
use crate::plan::{Action, Branch, Plan, Unit};
use crate::simd::Isa;
use crate::spec::{CellDims, CellSpec};

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
            part.branches.iter().for_each(|b| first.read_term(&plan, &plan.branches[*b]));
            first.write(Tensor::Buffer(plan.state_buffer(2 + part.node)));
        }
        let mut second = Pass::default();
        for b in branches(&plan, unit.map(|unit| &unit.first)) {
            if let Action::Noise { buffer } = b.action {
                first.write(Tensor::Buffer(buffer));
            }
            if let Some(placed) = b.placed().first() {
                first.read(Tensor::Buffer(plan.state_buffer(b.state)));
                first.write(Tensor::Buffer(placed.norm));
            }
        }
        for b in branches(&plan, unit.map(|unit| &unit.second)) {
            if let [first, placed] = b.placed() {
                second.read(Tensor::Buffer(first.norm));
                second.write(Tensor::Buffer(placed.norm));
            }
        }
        total += first.bytes(&plan) + second.bytes(&plan);
        ends = unit.map_or(Vec::new(), |unit| unit.ends.clone());
    }
    total
}

/// Bytes that [`vjp_last`](crate::backward::vjp_last) moves.
///
/// # Panics
/// If the sizes contradict the spec.
pub fn backward(spec: &CellSpec, dims: CellDims, want: Want) -> u64 {
    let plan = Plan::new(spec, dims, Isa::Portable);
    let needs = |state: usize| state >= 2 || want.w || [want.s0, want.s1][state];
    let (mut total, mut begun, mut before) = (0, vec![false; 2 + plan.nodes], None::<&Unit>);
    for unit in plan.units.iter().rev().map(Some).chain([None]) {
        let mut pass = Pass::default();
        let begin = |pass: &mut Pass, begun: &mut [bool], state: usize| {
            if state >= 2 && !std::mem::replace(&mut begun[state], true) {
                pass.read(Tensor::OutputGradient(state - 2));
            }
            pass.write(Tensor::Gradient(state));
        };
        // Through the first stages of the unit before.
        for b in branches(&plan, before.map(|unit| &unit.first)).filter(|b| needs(b.state)) {
            match b.placed() {
                [] if !matches!(b.action, Action::Identity) => continue,
                [] => {
                    pass.read(Tensor::Gradient(2 + b.node));
                    if want.p {
                        pass.read_term(&plan, b);
                    }
                }
                [first, rest @ ..] => {
                    pass.read(rest.first().map_or(Tensor::Gradient(2 + b.node), |last| Tensor::Buffer(last.norm)));
                    pass.read(Tensor::Buffer(first.norm));
                    pass.read(Tensor::Buffer(plan.state_buffer(b.state)));
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
            let is_late = matches!(b.action, Action::Identity) && needs(b.state);
            if !is_late && (want.p || !b.placed().is_empty()) {
                pass.read(Tensor::Gradient(2 + b.node));
                pass.read_term(&plan, b);
            }
            if let [first, second] = b.placed()
                && needs(b.state)
            {
                next.read(Tensor::Gradient(2 + b.node));
                // The gradient takes the place of the output.
                next.write(Tensor::Buffer(second.norm));
                next.read(Tensor::Buffer(first.norm));
            }
        }
        for state in (0..2).filter(|state| unit.is_none() && needs(*state)) {
            for pass in [&mut pass, &mut next] {
                pass.read(Tensor::Gradient(state));
                pass.read(Tensor::Buffer(state));
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
    fn read_term(&mut self, plan: &Plan, b: &Branch) {
        if let Some((buffer, _)) = term(plan, b) {
            self.read(Tensor::Buffer(buffer));
        }
    }

    fn bytes(&self, plan: &Plan) -> u64 {
        let node = plan.px(2) * plan.c;
        let values = |tensor: &Tensor| match *tensor {
            Tensor::Input(i) | Tensor::InputGradient(i) => plan.input_len(i),
            Tensor::Buffer(buffer) if plan.node_of(buffer).is_some() => node,
            Tensor::Buffer(buffer) => plan.buffer_lens[buffer],
            Tensor::Gradient(state) => plan.px(state) * plan.c,
            Tensor::OutputGradient(_) => node,
        };
        let of = |(tensor, written): (&Tensor, &bool)| values(tensor) * (1 + usize::from(*written));
        (self.0.iter().map(of).sum::<usize>() * plan.n * size_of::<f32>()) as u64
    }
}

fn branches<'a>(plan: &'a Plan, places: Option<&'a Vec<usize>>) -> impl Iterator<Item = &'a Branch> {
    places.into_iter().flatten().map(|b| &plan.branches[*b])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::OpKind::{None as Zero, SepConv, Skip};

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
        assert_eq!(backward(&spec, dims, ALPHA), lines(1 + 2 + states + 2 * 2, 3 * (6 + 8)));
        // Two halves a branch: its output, which is overwritten by the gradient between them, that, and the value between
        // them twice.
        let (spec, dims) = cell(&[SepConv(3)]);
        // That part, summed with the outputs of both.
        let sums = 1 + 2 + 2;
        let second = 1 + 2 * (2 + 1);
        let first = 2 * (1 + 1 + 1 + 2);
        assert_eq!(backward(&spec, dims, ALPHA), lines(sums + second + first + 2 * 2, 3 * (6 + 8)));
        // Without gradients of the inputs only the sums are left.
        let none = Want { s0: false, s1: false, ..ALPHA };
        assert_eq!(backward(&spec, dims, none), lines(sums, 0));
    }
}
