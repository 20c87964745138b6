//! What goes through a stage tile by tile: an image into its window, and a gradient out of the batch norm behind.

use super::blend::{Source, blend};
use super::pointwise::Next;
use super::window::{Feed, Framed, Window, fill};

/// An image in a window that is filled from above, as far as it is needed: what was just filled is still in the first
/// cache level when the taps read it.
pub struct Filling<'a> {
    isa: super::Isa,
    win: Window,
    /// `None`: the window is there already.
    feed: Option<&'a Feed<'a>>,
    window: &'a mut [f32],
    filled: usize,
}

impl<'a> Filling<'a> {
    /// A window that `feed` will fill, or one that is there already.
    pub fn new(isa: super::Isa, win: Window, feed: Option<&'a Feed<'a>>, window: &'a mut Framed) -> Self {
        let window = match feed {
            Some(feed) => window.of(win, feed.border),
            None => window.values_mut(),
        };
        Self { isa, win, feed, window, filled: 0 }
    }

    /// The window, filled down to row `rows`.
    pub(super) fn down_to(&mut self, rows: usize) -> &[f32] {
        if let Some(feed) = self.feed
            && rows > self.filled
        {
            fill(self.isa, self.win, feed, self.filled..rows, self.window);
            self.filled = rows;
        }
        self.window
    }

    /// What will be filled next.
    pub(super) fn next(&self) -> Next {
        let mut next = Next::default();
        if let Some(feed) = self.feed {
            let first = self.filled * self.win.w;
            next.add_if_dense(&feed.source, first, self.win.c);
            feed.second.iter().for_each(|s| next.add_if_dense(s, first, self.win.c));
        }
        next
    }
}

/// A gradient as a sum of tensors with coefficients: what a batch norm's vjp is. Made tile by tile.
#[derive(Clone, Copy)]
pub struct Cotangent<'a> {
    /// The tensors, one pixel of the gradient from one of each.
    pub sources: &'a [Source<'a>],
    /// Empty: zero for every channel.
    pub shift: &'a [f32],
    /// Which of the sources, given without data, lies where the gradient of the input will: every pixel is read before it
    /// is overwritten. Only for halves of stride 1.
    pub in_place: Option<usize>,
}

impl Cotangent<'_> {
    /// Pixels from `first` on into `out`, dense.
    pub fn make(&self, isa: super::Isa, first: usize, px: usize, c: usize, out: &mut [f32]) {
        self.make_at(isa, &[], first, px, c, out);
    }

    /// The same, where the gradient of the input will lie at `destination`.
    pub(super) fn make_at(
        &self,
        isa: super::Isa,
        destination: &[f32],
        first: usize,
        px: usize,
        c: usize,
        out: &mut [f32],
    ) {
        // As many as the blend takes at once, so that they need no vector.
        const FEW: usize = 4;
        debug_assert!(!self.sources.is_empty(), "a gradient of nothing");
        for begin in (0..self.sources.len()).step_by(FEW) {
            let mut few = [Source::new(&[], 0, &[]); FEW];
            let n = FEW.min(self.sources.len() - begin);
            for (k, to) in few.iter_mut().enumerate().take(n) {
                let from = self.source(begin + k, destination);
                *to = Source { data: &from.data[first * from.stride..], ..from };
            }
            let shift = if begin == 0 { self.shift } else { &[] };
            blend(isa, px, c, &few[..n], shift, begin > 0, out, c);
        }
    }

    fn source<'b>(&'b self, k: usize, destination: &'b [f32]) -> Source<'b> {
        let source = self.sources[k];
        if self.in_place == Some(k) { Source { data: destination, ..source } } else { source }
    }

    /// What lies at pixel `first`.
    pub(super) fn next(&self, destination: &[f32], first: usize) -> Next {
        let mut next = Next::default();
        (0..self.sources.len()).for_each(|k| next.add(&self.source(k, destination), first));
        next
    }
}
