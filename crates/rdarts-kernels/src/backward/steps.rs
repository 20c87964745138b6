//! What each step of the way back does to a few images.

use std::ops::Range;

use super::Context;
use super::images::{Chunk, Inside, PushedChunk};
use crate::cell::{ThreadBuffers, factor};
use crate::norm::{Gradient, Sums};
use crate::passes::{BackStep, Begin, First, Tensor};
use crate::plan::{Branch, Part, Placed, Span};
use crate::reading::Reading;
use crate::stage::{Call, Cotangent, Destination, Gradients, Read, Scratch};
use crate::workspace::Buffer;
use rdarts_simd::blend::{Source, blend, dots};

/// The cotangents of what a batch norm made, and the coefficients of its vjp.
struct AtNorm<'a> {
    /// What it took in; `None`: it lies where the gradient will.
    y: Option<&'a [f32]>,
    /// Of all that reads it; one, unless branches share it.
    from: &'a [Behind<'a>],
    coef: &'a Gradient,
}

/// A tensor that is m times (p times) what a batch norm made, and its gradients.
struct Behind<'a> {
    /// Of its value.
    g: &'a [f32],
    /// Of its tangent.
    d: Option<&'a [f32]>,
    /// The drop-path factor m, times p unless the coefficients hold that, and the tangent of the latter.
    weight: f32,
    weight_dot: f32,
}

impl<'a> Behind<'a> {
    /// With p = 1, or in the coefficients.
    fn new(g: &'a [f32], d: Option<&'a [f32]>, m: f32) -> Self {
        Self { g, d, weight: m, weight_dot: 0.0 }
    }
}

/// Adds float32 sums over a few images, times the drop-path factor.
fn accumulate(target: &mut [f64], part: &[f32], m: f32) {
    target.iter_mut().zip(part).for_each(|(t, v)| *t += f64::from(m) * f64::from(*v));
}

/// Adds the gradients of tangents to the sources of a cotangent, those that count.
fn add_tangents<'a>(
    sources: &mut Vec<Source<'a>>,
    c: usize,
    from: &[Behind<'a>],
    coef: &'a [f32],
    weight: impl Fn(&Behind<'_>) -> f32,
) {
    if coef.iter().any(|v| *v != 0.0) {
        let source = |b: &Behind<'a>| b.d.map(|data| Source { data, stride: c, coef, factor: weight(b) });
        sources.extend(from.iter().filter(|b| weight(b) != 0.0).filter_map(source));
    }
}

impl Context<'_> {
    /// Takes a step of a few images, and adds to its sums.
    pub fn step(
        &self,
        chunk: &mut Chunk<'_>,
        step: &BackStep,
        known: &[Gradient],
        span: Span,
        work: &mut ThreadBuffers,
        sums: &mut [Sums],
    ) {
        match step {
            BackStep::Sums(part) => self.node_sums(chunk, part, span, work, sums),
            BackStep::Begin(begin) => self.begin(chunk, begin, span),
            BackStep::First(first) => self.first(chunk, first, known, span, work),
            BackStep::Second { at, to } => self.second(chunk, (*at, *to), known, span, work, &mut sums[0]),
            BackStep::Clear { state } => {
                chunk.inside.states[*state][span.of(self.plan.px(*state) * self.plan.c)].fill(0.0);
            }
            BackStep::StateSums { state } => self.state_sums(chunk, *state, span, work, &mut sums[0]),
            BackStep::Input { state } => self.preprocess(chunk, *state, known, span, work),
        }
    }

    /// Adds a few images to the sums of every branch of a part.
    fn node_sums(&self, chunk: &Chunk<'_>, part: &Part, span: Span, work: &mut ThreadBuffers, sums: &mut [Sums]) {
        let (plan, isa, c, px) = (self.plan, self.kernels.isa(), self.plan.c, self.plan.px(2));
        let (node, branches) = (part.node, part.branches.iter().map(|b| &plan.branches[*b]));
        let images = span.of(px * c);
        // (branch, buffer of what it adds to the node, drop-path factor) of those that add something.
        let used: Vec<(usize, usize, f32)> = branches
            .enumerate()
            .filter_map(|(k, b)| {
                let m = factor(&self.noise.drop_path, plan.n, b.path, chunk.first + span.first);
                b.summand.source().map(|(buffer, _)| (k, buffer, m))
            })
            .collect();
        if used.is_empty() {
            return;
        }
        work.sums.resize((1 + part.branches.len()) * c, 0.0);
        let ys: Vec<(&[f32], usize)> = used.iter().map(|(_, b, _)| chunk.value().term(plan, *b, span)).collect();
        dots(isa, span.n * px, c, (&chunk.inside.states[2 + node][images.clone()], c), &ys, &mut work.sums);
        for (j, (k, _, m)) in used.iter().enumerate() {
            accumulate(&mut sums[*k].g, &work.sums[..c], *m);
            accumulate(&mut sums[*k].g_y, &work.sums[(1 + j) * c..][..c], *m);
        }
        let Some(pushed) = chunk.pushed else { return };
        let moving: Vec<_> = used.into_iter().filter(|(_, b, _)| pushed.saved.moves.buffer(*b)).collect();
        if !moving.is_empty() {
            let y_dots: Vec<(&[f32], usize)> =
                moving.iter().map(|(_, b, _)| pushed.tangent.term(plan, *b, span)).collect();
            dots(isa, span.n * px, c, (&pushed.d.states[2 + node][images], c), &y_dots, &mut work.sums);
            for (j, (k, _, m)) in moving.into_iter().enumerate() {
                accumulate(&mut sums[k].d_dot, &work.sums[(1 + j) * c..][..c], m);
            }
        }
    }

    /// Sums up what the gradient of a state takes in without a stage: its part of the output's gradient, if it is a node
    /// and new, and those of the nodes that skip connections lead to, weighted.
    fn begin(&self, chunk: &mut Chunk<'_>, begin: &Begin, span: Span) {
        let (plan, c, px) = (self.plan, self.plan.c, self.plan.px(begin.state));
        let images = span.of(px * c);
        // A node's state comes after those it sums.
        let (states, nodes) = chunk.inside.states.split_at_mut(begin.state + 1);
        let mut sources = Vec::with_capacity(1 + 2 * begin.identities.len());
        if begin.is_new && begin.state >= 2 {
            let (from, pitch) = plan.in_output(begin.state - 2, span);
            sources.push(Source::new(&chunk.g[from..], pitch, &[]));
        }
        for b in begin.identities.iter().map(|at| &plan.branches[*at]) {
            let (p, p_dot) = self.weights_of(b);
            let m = factor(&self.noise.drop_path, plan.n, b.path, chunk.first + span.first);
            let weighted = |data, weight: f64| Source { data, stride: c, coef: &[], factor: m * weight as f32 };
            sources.push(weighted(&nodes[1 + b.node - begin.state][images.clone()], p));
            if let Some(pushed) = chunk.pushed.filter(|_| p_dot != 0.0) {
                sources.push(weighted(&pushed.d.states[2 + b.node][images.clone()], p_dot));
            }
        }
        let to = &mut states[begin.state][images];
        blend(self.kernels.isa(), span.n * px, c, &sources, &[], !begin.is_new, to, c);
    }

    /// From the gradient behind the first stage of a branch, or from those of nodes, to the gradient of its state.
    fn first(&self, chunk: &mut Chunk<'_>, first: &First, known: &[Gradient], span: Span, work: &mut ThreadBuffers) {
        let (plan, c) = (self.plan, self.plan.c);
        let First { at, between, accumulate, ready } = *first;
        let b = &plan.branches[at];
        let (placed, images) = (&b.stages[0], span.of(plan.px(2) * c));
        let mut to = std::mem::take(&mut chunk.inside.states[b.state]);
        let mut dw = std::mem::take(&mut chunk.dw);
        let out = &mut to[span.of(plan.px(b.state) * c)];
        let destination = Destination { out, stride: c, accumulate, sums: None };
        let from: Vec<Behind<'_>> = match between {
            Some(tensor) => {
                let d = chunk.pushed.map(|pushed| &pushed.d.inner[at][images.clone()]);
                vec![Behind::new(&chunk.between(tensor)[images.clone()], d, 1.0)]
            }
            None => b.serves.iter().map(|at| self.at_node(chunk, &plan.branches[*at], span)).collect(),
        };
        let y = Some(&chunk.bufs[placed.norm][images]);
        let at_norm = AtNorm { y, from: &from, coef: &known[placed.norm] };
        let reading = self.reading(Tensor::Buffer(plan.state_buffer(b.state)), placed);
        let r = Read { feed: reading.feed(chunk.value(), span), ready };
        self.stage_vjp(chunk, placed, span, r, &at_norm, Some(destination), &mut dw, &mut work.scratch);
        (chunk.inside.states[b.state], chunk.dw) = (to, dw);
    }

    /// What a stage has read.
    fn reading(&self, from: Tensor, placed: &Placed) -> Reading<'_> {
        Reading::new(self.plan, [self.input.s0, self.input.s1], &self.affines, from, &placed.stage)
    }

    /// A few images of the gradients of the node that a branch leads to.
    fn at_node<'c>(&self, chunk: &'c Chunk<'_>, b: &Branch, span: Span) -> Behind<'c> {
        let images = span.of(self.plan.px(2) * self.plan.c);
        let m = factor(&self.noise.drop_path, self.plan.n, b.path, chunk.first + span.first);
        let g = &chunk.inside.states[2 + b.node][images.clone()];
        let own = Behind::new(g, chunk.pushed.map(|pushed| &pushed.d.states[2 + b.node][images]), m);
        if !b.is_shared() {
            return own;
        }
        let (p, p_dot) = self.weights_of(b);
        Behind { weight: m * p as f32, weight_dot: m * p_dot as f32, ..own }
    }

    /// From a node's gradient through the second stage of a branch to the batch norm behind its first, with the sums of
    /// that one.
    fn second(
        &self,
        chunk: &mut Chunk<'_>,
        (at, place): (usize, Tensor),
        known: &[Gradient],
        span: Span,
        work: &mut ThreadBuffers,
        sums: &mut Sums,
    ) {
        let (plan, c, px) = (self.plan, self.plan.c, self.plan.px(2));
        let b = &plan.branches[at];
        let [first, second] = &b.stages[..] else { return };
        let images = span.of(px * c);
        let ThreadBuffers { scratch, sums: both, .. } = work;
        both.clear();
        both.resize(2 * c, 0.0);
        let mut to = std::mem::take(chunk.between_mut(place));
        let mut dw = std::mem::take(&mut chunk.dw);
        let destination =
            Destination { out: &mut to[images.clone()], stride: c, accumulate: false, sums: Some(&mut both[..]) };
        let reading = self.reading(Tensor::Buffer(first.norm), second);
        let at_norm = AtNorm {
            y: matches!(place, Tensor::Inner(_)).then(|| &chunk.bufs[second.norm][images.clone()]),
            from: &[self.at_node(chunk, b, span)],
            coef: &known[second.norm],
        };
        let r = Read { feed: reading.feed(chunk.value(), span), ready: false };
        self.stage_vjp(chunk, second, span, r, &at_norm, Some(destination), &mut dw, scratch);
        *chunk.between_mut(place) = to;
        chunk.dw = dw;
        accumulate(&mut sums.g, &both[..c], 1.0);
        accumulate(&mut sums.g_y, &both[c..], 1.0);
        self.add_d_dot(chunk.pushed, first.norm, |d| &d.inner[at], images, both, sums);
    }

    /// Adds sum d y' of a few images of a state or an inner batch norm.
    fn add_d_dot(
        &self,
        pushed: Option<PushedChunk<'_>>,
        norm: usize,
        d: impl Fn(&Inside) -> &Buffer,
        images: Range<usize>,
        both: &mut Vec<f32>,
        sums: &mut Sums,
    ) {
        let c = self.plan.c;
        if let Some(pushed) = pushed
            && let Some(dot) = pushed.dot(norm, images.clone())
        {
            both.resize(2 * c, 0.0);
            dots(self.kernels.isa(), images.len() / c, c, (&d(pushed.d)[images], c), &[(dot, c)], both);
            accumulate(&mut sums.d_dot, &both[c..], 1.0);
        }
    }

    /// Transposes a stage and the batch norm behind it, for a few images.
    #[allow(clippy::too_many_arguments)]
    fn stage_vjp(
        &self,
        chunk: &Chunk<'_>,
        placed: &Placed,
        span: Span,
        r: Read<'_>,
        behind: &AtNorm<'_>,
        to: Option<Destination<'_>>,
        dw: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let (isa, stage, at) = (self.kernels.isa(), placed.stage.of_images(span.n), placed.weights);
        let c = stage.c_out;
        let images = span.of(placed.stage.len_out());
        let AtNorm { y, from, coef } = *behind;
        let (w, w_t) = (stage.factors(&self.input.w[at..]), stage.factors(&self.w_t[at..]));
        let n_weights: usize = stage.weight_lens().iter().sum();
        let mut dw = (self.want.w && n_weights > 0).then(|| &mut dw[at..at + n_weights]);
        if let Some(dw) = dw.as_mut().filter(|_| span.first == 0) {
            // Here, where they stay in the caches until they are added to, and every thread those of its groups.
            dw.fill(0.0);
        }
        let (in_place, y) = (y.is_none().then_some(from.len()), y.unwrap_or_default());
        let mut sources = Vec::with_capacity(3 * from.len() + 2);
        sources.extend(from.iter().map(|b| Source { data: b.g, stride: c, coef: &coef.of_g, factor: b.weight }));
        sources.push(Source::new(y, c, &coef.of_y));
        add_tangents(&mut sources, c, from, &coef.of_d, |b| b.weight);
        add_tangents(&mut sources, c, from, &coef.of_g, |b| b.weight_dot);
        if let Some(dot) = chunk.pushed.and_then(|pushed| pushed.dot(placed.norm, images)) {
            sources.push(Source::new(dot, c, &coef.of_dot));
        }
        let g = Cotangent { sources: &sources, shift: &coef.shift, in_place };
        let call = Call { isa, stage: &stage, scratch };
        let weights_move = self.w_dot_t.as_ref().zip(self.pushed.and_then(|d| d.tangent.w));
        let ((w_dot_t, w_dot), to) = match (weights_move, to) {
            (Some(moving), Some(to)) => (moving, to),
            (_, to) => return stage.map().vjp(call, r, [w, w_t], &g, Gradients { input: to, dw }),
        };
        let mut sources = Vec::with_capacity(from.len() + 1);
        add_tangents(&mut sources, c, from, &coef.dot_of_d, |b| b.weight);
        sources.push(Source::new(y, c, &coef.dot_of_y));
        let g_dot = Cotangent { sources: &sources, shift: &coef.dot_shift, in_place: None };
        let (w_dot, w_dot_t) = (stage.factors(&w_dot[at..]), stage.factors(&w_dot_t[at..]));
        stage.map().vjp_dual(call, r, [[w, w_t], [w_dot, w_dot_t]], [&g, &g_dot], to);
    }

    /// Adds a few images to the sums of a preprocess block.
    fn state_sums(&self, chunk: &Chunk<'_>, state: usize, span: Span, work: &mut ThreadBuffers, sums: &mut Sums) {
        let (isa, c, px) = (self.kernels.isa(), self.plan.c, self.plan.px(state));
        let images = span.of(px * c);
        let y = (&chunk.value().bufs[state][images.clone()], c);
        work.sums.resize(2 * c, 0.0);
        dots(isa, span.n * px, c, (&chunk.inside.states[state][images.clone()], c), &[y], &mut work.sums);
        accumulate(&mut sums.g, &work.sums[..c], 1.0);
        accumulate(&mut sums.g_y, &work.sums[c..2 * c], 1.0);
        self.add_d_dot(chunk.pushed, state, |d| &d.states[state], images, &mut work.sums, sums);
    }

    /// Through a preprocess block into its part of the gradient of s0 or s1.
    fn preprocess(
        &self,
        chunk: &mut Chunk<'_>,
        state: usize,
        known: &[Gradient],
        span: Span,
        work: &mut ThreadBuffers,
    ) {
        let plan = self.plan;
        let (placed, range) = (&plan.pre[state], span.of(plan.px(state) * plan.c));
        let mut dw = std::mem::take(&mut chunk.dw);
        let mut part = chunk.inputs[state].take();
        let d = chunk.pushed.map(|pushed| &pushed.d.states[state][range.clone()]);
        let at_norm = AtNorm {
            y: Some(&chunk.bufs[placed.norm][range.clone()]),
            from: &[Behind::new(&chunk.inside.states[state][range], d, 1.0)],
            coef: &known[placed.norm],
        };
        let reading = self.reading(Tensor::Input(state), placed);
        let to = part.as_deref_mut().map(|all| {
            let out = &mut all[span.of(plan.input_len(state))];
            Destination { out, stride: plan.inputs[state].0, accumulate: false, sums: None }
        });
        let r = Read { feed: reading.feed(chunk.value(), span), ready: false };
        self.stage_vjp(chunk, placed, span, r, &at_norm, to, &mut dw, &mut work.scratch);
        (chunk.dw, chunk.inputs[state]) = (dw, part);
    }
}
