//! The images on their way back: what there is of each group of them.

use std::ops::{Deref, Range};

use super::Context;
use crate::cell::SavedDot;
use crate::passes::{Back, BackStep, Pass, Tensor};
use crate::plan::chunk_images;
use crate::reading::Group;
use crate::workspace::Buffer;

/// Gradients inside a cell, of a group of images.
#[derive(Debug)]
pub(super) struct Inside {
    /// Of every state. Those of the nodes start as their part of the output's.
    pub states: Vec<Buffer>,
    /// Of inner batch norms, at the places of [`Tensor::Inner`]; none where they take the place of outputs.
    pub inner: Vec<Buffer>,
}

/// The buffers of a group of images.
pub(super) enum Bufs<'a> {
    Shared(&'a [Buffer]),
    /// Nobody else needs them: the gradient at an inner batch norm takes the place of the branch's output.
    Own(&'a mut [Buffer]),
}

impl Deref for Bufs<'_> {
    type Target = [Buffer];
    fn deref(&self) -> &[Buffer] {
        match self {
            Self::Shared(bufs) => bufs,
            Self::Own(bufs) => bufs,
        }
    }
}

/// A group of images on its way back.
pub(super) struct Chunk<'a> {
    pub n: usize,
    /// The first of them.
    pub first: usize,
    pub bufs: Bufs<'a>,
    /// Their part of the output.
    pub out: &'a [f32],
    /// Gradient of the output.
    pub g: &'a [f32],
    pub inside: Inside,
    /// Its parts of the gradients of s0 and s1.
    pub inputs: [Option<&'a mut [f32]>; 2],
    /// Its part of the gradient of the weights, unspecified until the first images come by.
    pub dw: Buffer,
    pub pushed: Option<PushedChunk<'a>>,
}

#[derive(Clone, Copy)]
pub(super) struct PushedChunk<'a> {
    pub tangent: Group<'a>,
    pub saved: &'a SavedDot,
    pub d: &'a Inside,
}

impl Chunk<'_> {
    pub fn value(&self) -> Group<'_> {
        Group { first: self.first, bufs: &self.bufs, out: self.out }
    }

    /// The gradient between the stages of a branch.
    pub fn between(&self, tensor: Tensor) -> &Buffer {
        match tensor {
            Tensor::Inner(place) => &self.inside.inner[place],
            Tensor::Buffer(buffer) => &self.bufs[buffer],
            _ => unreachable!("no place between stages"),
        }
    }

    pub fn between_mut(&mut self, tensor: Tensor) -> &mut Buffer {
        match (tensor, &mut self.bufs) {
            (Tensor::Inner(place), _) => &mut self.inside.inner[place],
            (Tensor::Buffer(buffer), Bufs::Own(bufs)) => &mut bufs[buffer],
            _ => unreachable!("no place between stages that may be written"),
        }
    }
}

impl<'a> PushedChunk<'a> {
    /// A few images of the tangent of a stage's output; `None`: it is zero.
    pub fn dot(&self, norm: usize, images: Range<usize>) -> Option<&'a [f32]> {
        self.saved.moves.buffer(norm).then(|| &self.tangent.bufs[norm][images])
    }
}

impl<'a> Context<'a> {
    /// The groups of images, with room for what the passes make; `states` are the gradients of s0 and s1.
    pub fn chunks(
        &self,
        back: &Back<'_>,
        passes: &[Pass<BackStep>],
        bufs: Vec<Bufs<'a>>,
        (out, g): (&'a [f32], &'a [f32]),
        states: &'a mut [Vec<f32>; 2],
    ) -> Vec<Chunk<'a>> {
        let (plan, per_chunk, workspace) = (self.plan, chunk_images(self.plan.n), self.kernels.workspace());
        let mut slots = Vec::new();
        for step in passes.iter().flatten() {
            if let BackStep::Second { to: Tensor::Inner(place), .. } = step {
                slots.resize(slots.len().max(place + 1), false);
                slots[*place] = true;
            }
        }
        // What is kept outlives the pass; all else is shared with those of other cells.
        let take = |len| if self.want.keep { workspace.buffer(len) } else { workspace.scratch(len) };
        let chunk = |index: usize, g: &'a [f32], out: &'a [f32], bufs: Bufs<'a>| {
            let (n, first) = (g.len() / plan.out_len(), index * per_chunk);
            let state = |state: usize| take(if back.needs(state) { n * plan.px(state) * plan.c } else { 0 });
            let inner = |used: bool| take(if used { n * plan.px(2) * plan.c } else { 0 });
            Chunk {
                n,
                first,
                bufs,
                out,
                g,
                inside: Inside {
                    states: (0..2 + plan.nodes).map(state).collect(),
                    inner: slots.iter().copied().map(inner).collect(),
                },
                inputs: [None, None],
                dw: workspace.scratch(if self.want.w { plan.n_weights } else { 0 }),
                pushed: self.pushed.map(|d| {
                    let out = &d.saved.out_dot[first * plan.out_len()..][..g.len()];
                    let tangent = Group { first, bufs: &d.saved.chunks[index], out };
                    PushedChunk { tangent, saved: d.saved, d: &d.kept.chunks[index] }
                }),
            }
        };
        let pieces = |all: &'a [f32]| all.chunks(per_chunk * plan.out_len());
        let all = pieces(g).zip(pieces(out)).zip(bufs).enumerate();
        let mut chunks: Vec<Chunk<'a>> = all.map(|(index, ((g, out), bufs))| chunk(index, g, out, bufs)).collect();
        for (i, state) in states.iter_mut().enumerate() {
            let pieces = state.chunks_mut(per_chunk * plan.input_len(i));
            chunks.iter_mut().zip(pieces).for_each(|(chunk, piece)| chunk.inputs[i] = Some(piece));
        }
        chunks
    }
}
