//! What the passes over a cell do, as data: which steps each takes of the images, a few at a time, and which tensors a step
//! reads and writes. `cell` and `backward` carry the steps out, `traffic` counts the bytes they move.
//!
//! A pass ends where the next one needs sums over the whole batch. [`forward`] and [`tangent`] go through the units of the
//! plan from first to last, [`Back::passes`] from last to first, in two passes each: one sends the branches of the unit before
//! through their first stages, to the gradients of the states where they start, and takes the sums of this one at the
//! gradients of the nodes it leads to, complete by then (those of skip connections later, where their state's gradient
//! begins); one goes through the second stages.

use crate::backward::Want;
use crate::plan::{Branch, NormKind, Part, Placed, Plan, Summand, Unit};
use crate::stage::Gating;

/// Steps that are taken one after the other of a few images at a time.
pub(crate) type Pass<S> = Vec<S>;

/// A tensor of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tensor {
    /// s0 or s1.
    Input(usize),
    /// Of the plan: what a batch norm takes in, a node, or noise.
    Buffer(usize),
    /// The part of a node in the gradient of the output.
    OutputGradient(usize),
    /// Of a state.
    Gradient(usize),
    /// Of s0 or s1.
    InputGradient(usize),
    /// Behind the first of two stages, where it does not take the place of the output: the gradients that are there at a time.
    Inner(usize),
    /// The tangents of s0 or s1, and of buffers.
    InputDot(usize),
    Dot(usize),
    /// The gradients of the tangents of states, and of what lies behind the first of two stages, by the branch.
    Kept(usize),
    KeptInner(usize),
}

impl Tensor {
    /// The tangent of an input or a buffer.
    fn dot(self) -> Self {
        match self {
            Self::Input(i) => Self::InputDot(i),
            Self::Buffer(buffer) => Self::Dot(buffer),
            _ => unreachable!("only values have tangents"),
        }
    }

    /// Values of an image.
    pub fn len(self, plan: &Plan) -> usize {
        let node = plan.px(2) * plan.c;
        match self {
            Self::Input(i) | Self::InputDot(i) | Self::InputGradient(i) => plan.input_len(i),
            Self::Buffer(buffer) | Self::Dot(buffer) if plan.node_of(buffer).is_none() => plan.buffer_lens[buffer],
            Self::Gradient(state) | Self::Kept(state) => plan.px(state) * plan.c,
            Self::Buffer(_) | Self::Dot(_) | Self::OutputGradient(_) | Self::Inner(_) | Self::KeptInner(_) => node,
        }
    }
}

/// What a step does with a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Use {
    Reads,
    Writes,
}

/// Takes down what a step touches.
pub(crate) type Touch<'a> = dyn FnMut(Use, Tensor) + 'a;

/// Which tensors have a tangent that is not zero.
#[derive(Clone, Debug)]
pub(crate) struct Moves {
    inputs: [bool; 2],
    buffers: Vec<bool>,
}

impl Moves {
    /// A state moves if it is given a tangent, a stage if its state or the weights do, a node if what it sums or a mixing
    /// weight does.
    pub fn new(plan: &Plan, inputs: [bool; 2], weights: bool, mixing_weight: impl Fn(usize) -> bool) -> Self {
        let mut moves = Self { inputs, buffers: vec![weights; plan.n_moving()] };
        (0..2).for_each(|i| moves.buffers[i] |= inputs[i]);
        for b in &plan.branches {
            let state = moves.buffer(plan.state_buffer(b.state));
            b.stages.iter().for_each(|placed| moves.buffers[placed.norm] |= state);
            if let Some((from, _)) = b.summand.source() {
                let moving = moves.buffer(from) || mixing_weight(b.alpha);
                moves.buffers[plan.state_buffer(2 + b.node)] |= moving;
            }
        }
        moves
    }

    /// Noise, which comes last, never does.
    pub fn buffer(&self, buffer: usize) -> bool {
        self.buffers.get(buffer).is_some_and(|moves| *moves)
    }

    fn tensor(&self, tensor: Tensor) -> bool {
        match tensor {
            Tensor::Input(i) => self.inputs[i],
            Tensor::Buffer(buffer) => self.buffer(buffer),
            _ => false,
        }
    }
}

/// A step of the way forward, of values or of tangents.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Sums up a node.
    Node(Part),
    /// Draws the values of an edge.
    Noise { edge: usize, buffer: usize },
    /// Takes a tensor through a stage, and sums up what the batch norm behind it needs.
    Stage(StageStep),
}

/// See [`Step::Stage`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct StageStep {
    pub placed: Placed,
    pub from: Tensor,
    /// Whether the stage before it has left the window filled.
    pub ready: bool,
}

/// The passes of the value.
pub(crate) fn forward(plan: &Plan) -> Vec<Pass<Step>> {
    let pre = |j: usize| Step::Stage(StageStep { placed: plan.pre[j], from: Tensor::Input(j), ready: false });
    let mut passes = vec![(0..2).map(pre).collect()];
    // The sum of a node is written in the first pass after its last unit, in front of what reads it, image by image.
    let mut nodes: Pass<Step> = plan.empty_nodes().map(Step::Node).collect();
    for unit in &plan.units {
        let mut first = nodes;
        first.extend(branches(plan, &unit.first).filter_map(|b| match b.summand {
            Summand::Noise { buffer } => Some(Step::Noise { edge: b.edge, buffer }),
            _ => None,
        }));
        first.extend(first_stages(plan, unit));
        passes.push(first);
        passes.push(second_stages(plan, unit).collect());
        nodes = unit.ends.iter().cloned().map(Step::Node).collect();
    }
    passes.push(nodes);
    passes.retain(|pass| !pass.is_empty());
    passes
}

/// Those of the tangent: the stages whose output moves, and all nodes, as those that rest are zero.
pub(crate) fn tangent(plan: &Plan, moves: &Moves) -> Vec<Pass<Step>> {
    let mut passes = forward(plan);
    for pass in &mut passes {
        pass.retain(|step| match step {
            Step::Node(_) => true,
            Step::Noise { .. } => false,
            Step::Stage(step) => moves.buffer(step.placed.norm),
        });
    }
    passes.retain(|pass| !pass.is_empty());
    passes
}

/// The stages of a pass, with their places in it.
pub(crate) fn stages(pass: &Pass<Step>) -> impl Iterator<Item = (usize, &StageStep)> {
    pass.iter().enumerate().filter_map(|(at, step)| match step {
        Step::Stage(step) => Some((at, step)),
        _ => None,
    })
}

fn branches<'a>(plan: &'a Plan, places: &'a [usize]) -> impl Iterator<Item = &'a Branch> {
    places.iter().map(|at| &plan.branches[*at])
}

fn first_stages<'a>(plan: &'a Plan, unit: &'a Unit) -> impl Iterator<Item = Step> + 'a {
    let mut before: Option<&'a Branch> = None;
    branches(plan, &unit.first).filter(|b| b.runs() && !b.stages.is_empty()).map(move |b| {
        let ready = before.replace(b).is_some_and(|before| b.shares_window(before));
        Step::Stage(StageStep { placed: b.stages[0], from: Tensor::Buffer(plan.state_buffer(b.state)), ready })
    })
}

fn second_stages<'a>(plan: &'a Plan, unit: &'a Unit) -> impl Iterator<Item = Step> + 'a {
    branches(plan, &unit.second).filter_map(|b| match b.stages[..] {
        [first, placed] => Some(Step::Stage(StageStep { placed, from: Tensor::Buffer(first.norm), ready: false })),
        _ => None,
    })
}

impl Step {
    /// Whose sums it takes: those of a stage's output.
    pub fn channels(&self) -> usize {
        if let Self::Stage(step) = self { step.placed.stage.c_out } else { 0 }
    }

    /// What a pass of values reads and writes here.
    pub fn touches(&self, plan: &Plan, touch: &mut Touch<'_>) {
        match self {
            Self::Node(part) => {
                let terms = branches(plan, &part.branches).filter_map(|b| b.summand.source());
                terms.for_each(|(buffer, _)| touch(Use::Reads, Tensor::Buffer(buffer)));
                touch(Use::Writes, Tensor::Buffer(plan.state_buffer(2 + part.node)));
            }
            Self::Noise { buffer, .. } => touch(Use::Writes, Tensor::Buffer(*buffer)),
            Self::Stage(StageStep { placed, from, .. }) => {
                touch(Use::Reads, *from);
                touch(Use::Writes, Tensor::Buffer(placed.norm));
            }
        }
    }

    /// What one of tangents does: it reads the value beside its tangent, and the output of a stage, whose products with its
    /// tangent are summed.
    pub fn touches_dot(&self, plan: &Plan, moves: &Moves, touch: &mut Touch<'_>) {
        // A node that rests is zero.
        let rests = matches!(self, Self::Node(part) if !moves.buffer(plan.state_buffer(2 + part.node)));
        self.touches(plan, &mut |how, tensor| match how {
            Use::Reads if rests => {}
            Use::Reads => reads_with_dot(moves, tensor, touch),
            Use::Writes => {
                if matches!(self, Self::Stage(_)) {
                    touch(Use::Reads, tensor);
                }
                touch(Use::Writes, tensor.dot());
            }
        });
    }
}

/// A tensor and, if it moves, its tangent.
fn reads_with_dot(moves: &Moves, tensor: Tensor, touch: &mut Touch<'_>) {
    touch(Use::Reads, tensor);
    if moves.tensor(tensor) {
        touch(Use::Reads, tensor.dot());
    }
}

/// A step of the way back.
#[derive(Clone, Debug)]
pub(crate) enum BackStep {
    /// Takes the sums of these branches at the gradient of their node.
    Sums(Part),
    /// Takes in what reaches a state's gradient without a stage.
    Begin(Begin),
    /// Sends a branch through its first stage, to the gradient of its state.
    First(First),
    /// Sends a branch from the gradient of its node through the second of its stages, and takes the sums there.
    Second { at: usize, to: Tensor },
    /// Clears the gradient of a state that nothing reaches.
    Clear { state: usize },
    /// Takes the sums at state 0 or 1.
    StateSums { state: usize },
    /// Goes through the preprocess block of state 0 or 1.
    Input { state: usize },
}

impl BackStep {
    /// How many sums over the batch it takes.
    pub fn n_sums(&self) -> usize {
        match self {
            Self::Sums(part) => part.branches.len(),
            Self::Second { .. } | Self::StateSums { .. } => 1,
            _ => 0,
        }
    }
}

/// See [`BackStep::Begin`].
#[derive(Clone, Debug)]
pub(crate) struct Begin {
    pub state: usize,
    /// Whether nothing is there yet: then that of a node starts as its part of the output's.
    pub is_new: bool,
    /// The skip connections, by their places in the plan.
    pub identities: Vec<usize>,
}

/// See [`BackStep::First`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct First {
    /// Its place in the plan.
    pub at: usize,
    /// Where the gradient behind its first stage is, if it has two; otherwise it comes from nodes.
    pub between: Option<Tensor>,
    /// Whether it adds to what is there.
    pub accumulate: bool,
    /// Whether it reads the same window as the one before it (`Read::ready`).
    pub ready: bool,
}

/// The way back through a cell: which gradients are wanted, whether those between two stages take the place of outputs, and
/// what moves, if it is that of a value with its tangent.
#[derive(Clone, Copy)]
pub(crate) struct Back<'a> {
    pub plan: &'a Plan,
    pub want: Want,
    pub in_place: bool,
    pub moves: Option<&'a Moves>,
}

/// The gradients between two stages that are there at a time.
struct Between {
    /// By the branch, and which places of [`Tensor::Inner`] are taken.
    places: Vec<usize>,
    taken: Vec<bool>,
}

impl Back<'_> {
    /// Whether the gradient of a state is needed.
    pub fn needs(&self, state: usize) -> bool {
        state >= 2 || self.want.w || [self.want.s0, self.want.s1][state]
    }

    /// Whether a gradient goes through the second stage of a branch.
    fn is_inner(&self, b: &Branch) -> bool {
        b.stages.len() == 2 && self.needs(b.state)
    }

    /// Whether the sums of a branch wait until its state's gradient begins, as state and gradient of the node are read then
    /// anyway: those of a skip connection only its mixing weight needs, all others a batch norm.
    fn is_late(&self, b: &Branch) -> bool {
        matches!(b.summand, Summand::State { .. }) && self.needs(b.state)
    }

    /// Without gradients of p, only batch norms need sums.
    fn is_summed(&self, b: &Branch) -> bool {
        self.want.p || b.stages.last().is_some_and(|placed| placed.kind != NormKind::Identity)
    }

    pub fn passes(&self) -> Vec<Pass<BackStep>> {
        let plan = self.plan;
        let mut passes = Vec::new();
        let mut begun = vec![false; 2 + plan.nodes];
        let mut between = Between { places: (0..plan.branches.len()).collect(), taken: Vec::new() };
        let mut before: &[usize] = &[];
        for unit in plan.units.iter().rev() {
            let (late, mut pass) = self.first_stages(before, &mut begun, &mut between);
            let nodes = unit.parts.iter().map(|part| 2 + part.node);
            let new = nodes.filter(|state| !std::mem::replace(&mut begun[*state], true));
            let begins = new.map(|state| BackStep::Begin(Begin { state, is_new: true, identities: Vec::new() }));
            let stages = pass.iter().position(|step| matches!(step, BackStep::First(_))).unwrap_or(pass.len());
            pass.splice(stages..stages, begins);
            let early = |at: &usize| !self.is_late(&plan.branches[*at]) && self.is_summed(&plan.branches[*at]);
            let early = |part: &Part| Part { branches: part.branches.iter().copied().filter(early).collect(), ..*part };
            pass.extend(unit.parts.iter().map(early).map(BackStep::Sums));
            passes.push(late.into_iter().chain(pass).collect());
            let twice = unit.second.iter().copied().filter(|at| self.is_inner(&plan.branches[*at]));
            passes.push(twice.map(|at| BackStep::Second { at, to: self.take(at, &mut between) }).collect());
            before = &unit.first;
        }
        // The gradients of states 0 and 1 are complete then.
        let (late, pass) = self.first_stages(before, &mut begun, &mut between);
        let needed = || (0..2).filter(|state| self.needs(*state));
        let clear = needed().filter(|state| !begun[*state]).map(|state| BackStep::Clear { state });
        let sums = needed().map(|state| BackStep::StateSums { state });
        passes.push(late.into_iter().chain(pass).chain(clear).chain(sums).collect());
        passes.push(needed().map(|state| BackStep::Input { state }).collect());
        passes.retain(|pass: &Pass<BackStep>| !pass.is_empty());
        passes
    }

    /// The late sums of these branches; then the beginning of the gradients where they start, and their way there.
    fn first_stages(
        &self,
        places: &[usize],
        begun: &mut [bool],
        between: &mut Between,
    ) -> (Pass<BackStep>, Pass<BackStep>) {
        let (mut late, mut begins, mut stages) = (Vec::new(), Vec::<Begin>::new(), Vec::<First>::new());
        for at in places.iter().copied() {
            let b = &self.plan.branches[at];
            let identity = matches!(b.summand, Summand::State { .. });
            let goes_back = b.runs() && (identity || !b.stages.is_empty());
            if !goes_back || !self.needs(b.state) {
                continue;
            }
            // A stage can write the first part itself, but for a node, which starts as its part of the output's. SkipConnect
            // connections come before the stages of their state (`Plan::split`), as they do here.
            let is_new = !std::mem::replace(&mut begun[b.state], true);
            if identity || (is_new && b.state >= 2) {
                match begins.iter_mut().find(|begin| begin.state == b.state) {
                    Some(begin) => begin.identities.extend(identity.then_some(at)),
                    None => {
                        let identities = identity.then_some(at).into_iter().collect();
                        begins.push(Begin { state: b.state, is_new, identities });
                    }
                }
            }
            if !identity {
                let ready = stages.last().is_some_and(|last| b.shares_window(&self.plan.branches[last.at]));
                let accumulate = !is_new || b.state >= 2;
                stages.push(First { at, between: self.leave(at, between), accumulate, ready });
            }
        }
        let identities = begins.iter().flat_map(|begin| begin.identities.iter().copied());
        let part = |at: usize| Part { node: self.plan.branches[at].node, branches: vec![at] };
        late.extend(identities.filter(|_| self.want.p).map(|at| BackStep::Sums(part(at))));
        let begins = begins.into_iter().map(BackStep::Begin);
        (late, begins.chain(stages.into_iter().map(BackStep::First)).collect())
    }

    /// Where the gradient between the stages of a branch goes: where the output of the second lies if nobody needs that
    /// again, to its own place if it is kept, else to one that is free until it has gone through the first.
    fn take(&self, at: usize, between: &mut Between) -> Tensor {
        if !self.in_place && !self.want.keep {
            let place = between.taken.iter().position(|taken| !taken).unwrap_or(between.taken.len());
            between.taken.resize(between.taken.len().max(place + 1), false);
            between.taken[place] = true;
            between.places[at] = place;
        }
        self.between(at, between)
    }

    /// Where it is; its place is free from this pass on.
    fn leave(&self, at: usize, between: &mut Between) -> Option<Tensor> {
        let tensor = self.is_inner(&self.plan.branches[at]).then(|| self.between(at, between));
        if let Some(Tensor::Inner(place)) = tensor.filter(|_| !self.want.keep) {
            between.taken[place] = false;
        }
        tensor
    }

    fn between(&self, at: usize, between: &Between) -> Tensor {
        match self.plan.branches[at].stages[..] {
            [_, last] if self.in_place => Tensor::Buffer(last.norm),
            _ => Tensor::Inner(between.places[at]),
        }
    }

    /// What a step reads and writes.
    pub fn touches(&self, step: &BackStep, touch: &mut Touch<'_>) {
        let Self { plan, moves, .. } = *self;
        // A value with its tangent, and a gradient with that of the tangent, which is kept.
        let value = |touch: &mut Touch<'_>, buffer: usize| match moves {
            Some(moves) => reads_with_dot(moves, Tensor::Buffer(buffer), touch),
            None => touch(Use::Reads, Tensor::Buffer(buffer)),
        };
        let gradient = |touch: &mut Touch<'_>, state: usize| {
            touch(Use::Reads, Tensor::Gradient(state));
            if moves.is_some() {
                touch(Use::Reads, Tensor::Kept(state));
            }
        };
        match step {
            BackStep::Sums(part) => {
                for b in branches(plan, &part.branches) {
                    gradient(touch, 2 + part.node);
                    b.summand.source().into_iter().for_each(|(buffer, _)| value(touch, buffer));
                }
            }
            BackStep::Begin(Begin { state, is_new, identities }) => {
                if *is_new && *state >= 2 {
                    touch(Use::Reads, Tensor::OutputGradient(state - 2));
                }
                branches(plan, identities).for_each(|b| gradient(touch, 2 + b.node));
                touch(Use::Writes, Tensor::Gradient(*state));
            }
            BackStep::First(First { at, between, .. }) => {
                let b = &plan.branches[*at];
                match between {
                    None => branches(plan, &b.serves).for_each(|b| gradient(touch, 2 + b.node)),
                    Some(tensor) => {
                        touch(Use::Reads, *tensor);
                        if moves.is_some() {
                            touch(Use::Reads, Tensor::KeptInner(*at));
                        }
                    }
                }
                value(touch, b.stages[0].norm);
                if b.stages[0].stage.map().gating() != Gating::Open {
                    touch(Use::Reads, Tensor::Buffer(plan.state_buffer(b.state)));
                }
                touch(Use::Writes, Tensor::Gradient(b.state));
            }
            BackStep::Second { at, to } => {
                let b = &plan.branches[*at];
                gradient(touch, 2 + b.node);
                b.stages.iter().for_each(|placed| value(touch, placed.norm));
                if moves.is_some_and(|moves| moves.buffer(b.stages[0].norm)) {
                    touch(Use::Reads, Tensor::KeptInner(*at));
                }
                touch(Use::Writes, *to);
            }
            BackStep::Clear { state } => touch(Use::Writes, Tensor::Gradient(*state)),
            BackStep::StateSums { state } => {
                gradient(touch, *state);
                value(touch, *state);
            }
            BackStep::Input { state } => {
                gradient(touch, *state);
                value(touch, *state);
                touch(Use::Reads, Tensor::Input(*state));
                if [self.want.s0, self.want.s1][*state] {
                    touch(Use::Writes, Tensor::InputGradient(*state));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::spec::{CellDims, CellSpec};
    use rdarts_space::Op;
    use rdarts_space::Op::{AvgPool3x3, DilConv5x5, MaxPool3x3, Noise, None as Zero, SepConv3x3, SkipConnect};

    /// Panics if a step reads what none before it has written and nobody has given.
    fn follow<S>(passes: &[Pass<S>], given: &[Tensor], touches: impl Fn(&S, &mut Touch<'_>)) -> BTreeSet<Tensor> {
        let mut there: BTreeSet<Tensor> = given.iter().copied().collect();
        for step in passes.iter().flatten() {
            let (mut reads, mut writes) = (Vec::new(), Vec::new());
            touches(step, &mut |how, tensor| if how == Use::Reads { &mut reads } else { &mut writes }.push(tensor));
            assert!(reads.iter().all(|tensor| there.contains(tensor)), "{reads:?} of {there:?}");
            there.extend(writes);
        }
        there
    }

    #[test]
    fn a_step_reads_what_was_written_before() {
        let kinds: [&[Op]; 4] = [
            &[SkipConnect, SepConv3x3],
            &[Zero, Noise],
            &[Zero, DilConv5x5, Noise, MaxPool3x3],
            &[MaxPool3x3, AvgPool3x3, SkipConnect],
        ];
        for (ops, reduction) in kinds.iter().flat_map(|ops| [(ops, false), (ops, true)]) {
            let mut edges = vec![ops.to_vec(); 9];
            edges[3].clear();
            let spec = CellSpec {
                nodes: 3,
                c: 8,
                c_prev_prev: 8,
                c_prev: 8,
                reduction,
                reduction_prev: false,
                edges,
                discrete: None,
            };
            let dims = CellDims { n: 2, side0: [8; 2], side1: [8; 2] };
            let mut plan = Plan::new(&spec, dims);
            for (large, unit) in [(0, 0), (usize::MAX, 0), (usize::MAX, usize::MAX)] {
                plan.units = plan.split(large, unit);
                let inputs = [0, 1].map(Tensor::Input);
                let values = follow(&forward(&plan), &inputs, |step, touch| step.touches(&plan, touch));
                assert!((0..plan.n_moving()).all(|buffer| values.contains(&Tensor::Buffer(buffer))));
                let moves = Moves::new(&plan, [true, false], false, |_| true);
                let given: Vec<Tensor> = values.iter().copied().chain([Tensor::InputDot(0)]).collect();
                let dots =
                    follow(&tangent(&plan, &moves), &given, |step, touch| step.touches_dot(&plan, &moves, touch));
                for k in 0..8 {
                    let want = Want { s0: k & 1 > 0, s1: k & 2 > 0, p: k & 4 > 0, w: false, keep: false };
                    let of = |want, in_place, moves| Back { plan: &plan, want, in_place, moves };
                    let kept = (0..2 + plan.nodes).map(Tensor::Kept);
                    let inner = (0..plan.branches.len()).map(Tensor::KeptInner);
                    let given: Vec<Tensor> =
                        (0..plan.nodes).map(Tensor::OutputGradient).chain(kept).chain(inner).collect();
                    let given = [given, dots.iter().copied().collect()].concat();
                    for back in [
                        of(want, true, None),
                        of(Want { keep: true, ..want }, false, None),
                        of(want, false, Some(&moves)),
                    ] {
                        let there = follow(&back.passes(), &given, |step, touch| back.touches(step, touch));
                        let wanted = [want.s0, want.s1];
                        assert_eq!(wanted, [0, 1].map(|i| there.contains(&Tensor::InputGradient(i))));
                    }
                }
            }
        }
    }
}
