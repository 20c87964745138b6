//! What a stage reads: a given tensor or a kept one, with the coefficients of the batch norm that lies between, and
//! where its tangent is. Made once per pass; [`Reading::feed`] turns it into the feed of one image or a few.

use crate::norm::Affine;
use crate::passes::{StageStep, Tensor};
use crate::plan::{Plan, Span};
use crate::stage::{Gating, Stage};
use crate::workspace::Buffer;
use rdarts_simd::blend::Source;
use rdarts_simd::window::{Feed, Mode};

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
    /// What a stage reads: s0 or s1, of which `given` tells, or a buffer; `affines` are those of all batch norms.
    pub fn new(plan: &Plan, given: [&'a [f32]; 2], affines: &'a [Affine], from: Tensor, stage: &Stage) -> Self {
        let (place, affine) = match from {
            Tensor::Input(i) => (Place::Given(given[i]), None),
            Tensor::Buffer(buffer) => match plan.node_of(buffer) {
                Some(node) => (Place::Node(node * plan.c, plan.nodes * plan.c), None),
                None => (Place::Kept(buffer), Some(&affines[buffer])),
            },
            _ => unreachable!("stages read values"),
        };
        let (c, relu) = (stage.win.c, stage.map().gating() == Gating::Relu);
        Self { place, len: stage.win.px() * c, c, affine, relu, border: stage.border() }
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
    /// As [`Reading::new`]; beside the given tensors stand their tangents, beside the affines those of the tangents.
    pub fn new(
        plan: &Plan,
        given: [(&'a [f32], Option<&'a [f32]>); 2],
        [affines, dots]: [&'a [Affine]; 2],
        from: Tensor,
        stage: &Stage,
    ) -> Self {
        let value = Reading::new(plan, given.map(|(s, _)| s), affines, from, stage);
        let place = match from {
            Tensor::Input(i) => given[i].1.map(Place::Given),
            _ => Some(value.place),
        };
        let affine = match from {
            Tensor::Buffer(buffer) => dots.get(buffer),
            _ => None,
        };
        Self { value, place, affine }
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

/// A stage in a pass, and what it reads.
#[derive(Clone, Copy)]
pub(crate) struct Staged<'a, R> {
    pub step: &'a StageStep,
    pub reading: R,
}

impl<R> Staged<'_, R> {
    /// Of its output.
    pub fn channels(&self) -> usize {
        self.step.placed.stage.c_out
    }
}
