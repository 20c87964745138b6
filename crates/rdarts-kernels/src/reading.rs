//! What a stage reads: a given tensor or a kept one, with the coefficients of the batch norm that lies between, and
//! where its tangent is. Made once per pass; [`Reading::feed`] turns it into the feed of one image or a few.

use crate::buffers::Buffer;
use crate::norm::Affine;
use crate::plan::{Branch, Placed, Plan, Span, Unit};
use crate::simd::blend::Source;
use crate::simd::window::{Feed, Mode};
use crate::stage::{Gating, Stage};

/// The tensors of a group of images, or their tangents.
#[derive(Clone, Copy)]
pub(crate) struct Group<'a> {
    /// Its first image.
    pub first: usize,
    pub bufs: &'a [Buffer],
    /// Its part of the output, where the nodes lie.
    pub out: &'a [f32],
}

impl<'a> Group<'a> {
    /// A few images of what a branch adds to its node, and the distance between pixels: a buffer or a node.
    pub fn term(&self, plan: &Plan, buffer: usize, span: Span) -> (&'a [f32], usize) {
        match plan.node_of(buffer) {
            Some(node) => {
                let (from, pitch) = plan.in_output(node, span);
                (&self.out[from..], pitch)
            }
            None => (&self.bufs[buffer][span.of(plan.px(2) * plan.c)], plan.c),
        }
    }
}

/// Where an image lies.
#[derive(Clone, Copy)]
enum Place<'a> {
    /// In a tensor of the whole batch.
    Given(&'a [f32]),
    /// In this buffer of its group.
    Kept(usize),
    /// In the output of its group, from this value on, pixels that many values apart.
    Node(usize, usize),
}

impl<'a> Place<'a> {
    /// Images of a group, `len` values of c channels each, and the distance between pixels.
    fn images<'b>(&self, group: Group<'b>, span: Span, len: usize, c: usize) -> (&'b [f32], usize)
    where
        'a: 'b,
    {
        match *self {
            Self::Given(all) => (&all[group.first * len..][span.of(len)], c),
            Self::Kept(buffer) => (&group.bufs[buffer][span.of(len)], c),
            Self::Node(from, pitch) => (&group.out[span.first * len / c * pitch + from..], pitch),
        }
    }
}

/// See the module's page.
#[derive(Clone, Copy)]
pub(crate) struct Reading<'a> {
    place: Place<'a>,
    /// Values and channels of an image.
    len: usize,
    c: usize,
    /// Of the batch norm in between, if there is one.
    affine: Option<&'a Affine>,
    relu: bool,
    border: f32,
}

impl<'a> Reading<'a> {
    /// s0 or s1, for a preprocess block.
    pub fn input(plan: &Plan, i: usize, s: &'a [f32]) -> Self {
        let (c, len) = (plan.inputs[i].0, plan.input_len(i));
        Self { place: Place::Given(s), len, c, affine: None, relu: true, border: 0.0 }
    }

    /// A state, for the first stage of a branch; `affines` are those of all batch norms.
    pub fn state(plan: &Plan, affines: &'a [Affine], state: usize, stage: &Stage) -> Self {
        Self {
            place: if state < 2 {
                Place::Kept(plan.state_buffer(state))
            } else {
                Place::Node((state - 2) * plan.c, plan.nodes * plan.c)
            },
            len: plan.px(state) * plan.c,
            c: plan.c,
            affine: (state < 2).then(|| &affines[state]),
            relu: stage.map().gating() == Gating::Relu,
            border: stage.border(),
        }
    }

    /// The output of the first stage of a branch, for its second.
    pub fn inner(plan: &Plan, affines: &'a [Affine], first: &Placed) -> Self {
        Self {
            place: Place::Kept(first.norm),
            len: first.stage.len_out(),
            c: plan.c,
            affine: Some(&affines[first.norm]),
            relu: true,
            border: 0.0,
        }
    }

    /// Images of a group.
    pub fn feed<'b>(&'b self, group: Group<'b>, span: Span) -> Feed<'b> {
        let (coef, shift): (&[f32], &[f32]) = self.affine.map_or((&[], &[]), |a| (&a.of_y, &a.shift));
        let (data, stride) = self.place.images(group, span, self.len, self.c);
        Feed {
            source: Source::new(data, stride, coef),
            second: None,
            shift,
            mode: if self.relu { Mode::Relu } else { Mode::Plain },
            border: self.border,
        }
    }
}

/// A reading and its tangent.
#[derive(Clone, Copy)]
pub(crate) struct DotReading<'a> {
    pub value: Reading<'a>,
    /// `None`: nothing moves.
    place: Option<Place<'a>>,
    /// Of the tangent of the batch norm in between.
    affine: Option<&'a Affine>,
}

impl<'a> DotReading<'a> {
    /// As [`Reading::input`].
    pub fn input(plan: &Plan, i: usize, s: &'a [f32], s_dot: Option<&'a [f32]>) -> Self {
        Self { value: Reading::input(plan, i, s), place: s_dot.map(Place::Given), affine: None }
    }

    /// As [`Reading::state`]; `dots` are the tangents of the norms of states 0 and 1.
    pub fn state(plan: &Plan, affines: &'a [Affine], dots: &'a [Affine], state: usize, stage: &Stage) -> Self {
        let value = Reading::state(plan, affines, state, stage);
        Self { value, place: Some(value.place), affine: dots.get(state) }
    }

    /// As [`Reading::inner`]; `dot` is the tangent of its norm.
    pub fn inner(plan: &Plan, affines: &'a [Affine], dot: &'a Affine, first: &Placed) -> Self {
        let value = Reading::inner(plan, affines, first);
        Self { value, place: Some(value.place), affine: Some(dot) }
    }

    /// The tangent of images of a group, given that and its tangents: where relu lets it through.
    pub fn feed<'b>(&'b self, group: Group<'b>, dots: Group<'b>, span: Span) -> Option<Feed<'b>> {
        let place = self.place?;
        let value = self.value.feed(group, span);
        let (data, stride) = place.images(dots, span, self.value.len, self.value.c);
        let (coef, shift): (&[f32], &[f32]) = self.affine.map_or((&[], &[]), |a| (&a.of_dot, &a.shift));
        Some(Feed {
            source: Source::new(data, stride, coef),
            second: self.affine.map(|a| Source { coef: &a.of_y, ..value.source }),
            shift,
            mode: value.gate().map_or(Mode::Plain, Mode::Gate),
            border: 0.0,
        })
    }
}

/// A stage in a pass: what it reads, and whether the stage before it has left the window filled.
#[derive(Clone, Copy)]
pub(crate) struct Step<'a, R> {
    pub placed: &'a Placed,
    pub reading: R,
    pub ready: bool,
}

/// The first stages of a unit.
pub(crate) fn first_stages<'p, R>(plan: &'p Plan, unit: &Unit, reading: impl Fn(&Branch) -> R) -> Vec<Step<'p, R>> {
    let with_stages = |b: &&Branch| b.runs() && !b.stages.is_empty();
    let branches: Vec<&'p Branch> = unit.first.iter().map(|b| &plan.branches[*b]).filter(with_stages).collect();
    let step = |(at, b): (usize, &&'p Branch)| Step {
        placed: &b.stages[0],
        reading: reading(b),
        ready: at > 0 && b.shares_window(branches[at - 1]),
    };
    branches.iter().enumerate().map(step).collect()
}

/// The second stages of a unit.
pub(crate) fn second_stages<'p, R>(plan: &'p Plan, unit: &Unit, reading: impl Fn(&Placed) -> R) -> Vec<Step<'p, R>> {
    let twice = unit.second.iter().filter_map(|b| match &plan.branches[*b].stages[..] {
        [first, second] => Some((first, second)),
        _ => None,
    });
    twice.map(|(first, placed)| Step { placed, reading: reading(first), ready: false }).collect()
}
