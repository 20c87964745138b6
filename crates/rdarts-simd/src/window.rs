//! Images as a window: below one another, each with its border of `pad` pixels, which it shares with the next. The
//! linear kernels read nothing else forward, so neither borders nor relu nor batch norm appear in them; on the way back
//! relu is a [`Gate`]. Several images are taken at once where one is so small that calls would cost more than pixels.
//!
//! * [`fill`]: rows of the window = mode(shift + sum of coefficient * source), mode = plain, relu or gated.
//! * [`add_inside`]: destination (+)= the inside of a window, gated.

use std::ops::Range;

use super::aligned::Aligned;
use super::blend::{Source, registers};
use super::{AHEAD, Simd, in_blocks, kernel, reach};

/// The shape of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Images below one another.
    pub images: usize,
    /// Rows of an image.
    pub h: usize,
    /// Columns of an image.
    pub w: usize,
    /// Channels.
    pub c: usize,
    /// Pixels of the border.
    pub pad: usize,
}

impl Window {
    /// Pixels of a row, the border included.
    pub fn pitch(&self) -> usize {
        self.w.saturating_add(self.pad.saturating_mul(2))
    }

    /// Values; none is empty.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        // One that no memory holds is longer than any slice.
        let border = self.pad.saturating_mul(self.pitch()).saturating_mul(self.c);
        let rows = self.images.saturating_mul(self.h.saturating_add(self.pad));
        rows.saturating_mul(self.pitch()).saturating_mul(self.c).saturating_add(border)
    }

    /// Pixels inside.
    pub fn px(&self) -> usize {
        self.images.saturating_mul(self.h).saturating_mul(self.w)
    }

    /// Where the window of an image begins; it ends where the next begins, and its border below.
    pub fn image(&self, image: usize) -> usize {
        image * (self.h + self.pad) * self.pitch() * self.c
    }

    /// Position of the first image's pixel (y, x).
    pub fn at(&self, y: usize, x: usize) -> usize {
        ((y + self.pad) * self.pitch() + x + self.pad) * self.c
    }

    /// Fills the border.
    pub fn fill_border(&self, window: &mut [f32], value: f32) {
        if self.pad == 0 {
            return;
        }
        let (row, side) = (self.pitch() * self.c, self.pad * self.c);
        // From the right border of a row to the left border of the next is one stretch.
        let mut start = 0;
        for image in 0..self.images {
            for y in 0..self.h {
                let inside = self.image(image) + self.at(y, 0);
                window[start..inside].fill(value);
                start = inside + self.w * self.c;
            }
        }
        debug_assert_eq!(start + side + self.pad * row, self.len());
        window[start..self.len()].fill(value);
    }
}

/// Room for a window. It remembers its border: most windows have the shape of the one before, and nothing else is written
/// to a border.
#[derive(Default)]
pub struct Framed {
    values: Aligned,
    /// The window that the border belongs to, and the bits of its value.
    frame: Option<(Window, u32)>,
}

impl Framed {
    /// The window with its border; the inside is unspecified.
    pub fn of(&mut self, win: Window, border: f32) -> &mut [f32] {
        if self.values.len() < win.len() {
            self.values.resize(win.len());
        }
        let frame = Some((win, border.to_bits()));
        if self.frame != frame {
            win.fill_border(&mut self.values, border);
            self.frame = frame;
        }
        &mut self.values
    }

    /// The window, filled.
    pub fn fill(&mut self, isa: super::Isa, win: Window, feed: &Feed<'_>) {
        fill(isa, win, feed, 0..win.images * win.h, self.of(win, feed.border));
    }

    /// As it was left.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The same, for its inside to be filled.
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }
}

/// The parts of a range of rows of images of h rows: (image, its rows).
#[inline(always)]
pub(super) fn parts(h: usize, rows: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> {
    let mut start = rows.start;
    std::iter::from_fn(move || {
        (start < rows.end).then(|| {
            let (image, y) = (start / h, start % h);
            let n = (h - y).min(rows.end - start);
            start += n;
            (image, y..y + n)
        })
    })
}

/// Where source * coefficient + shift is positive: the gate that relu leaves.
#[derive(Clone, Copy)]
pub struct Gate<'a> {
    /// What decides, with its coefficients.
    pub source: Source<'a>,
    /// Empty: zero for every channel.
    pub shift: &'a [f32],
}

impl Gate<'_> {
    /// Panics unless there are `px` pixels of c channels.
    pub fn check(&self, px: usize, c: usize) {
        self.source.check(px, c);
        assert!(self.shift.is_empty() || self.shift.len() >= c, "a gate has too few shifts");
    }

    /// Coefficients and shifts of n channels from cb on.
    #[inline(always)]
    pub(crate) unsafe fn affine<S: Simd>(&self, cb: usize, n: usize) -> (S::V, S::V) {
        // SAFETY: `check` saw at least c shifts, and cb + n is at most c.
        unsafe {
            let shift = if self.shift.is_empty() { S::zero() } else { S::get(self.shift.as_ptr().add(cb), n) };
            (self.source.coef::<S>(cb, n), shift)
        }
    }
}

/// What [`fill`] does with the combined value.
#[derive(Clone, Copy)]
pub enum Mode<'a> {
    /// Keeps it.
    Plain,
    /// max(0, value).
    Relu,
    /// Keeps it where the gate is open.
    Gate(Gate<'a>),
}

/// An image on its way into a window: mode(shift + coefficient * source (+ coefficient * second source)).
#[derive(Clone, Copy)]
pub struct Feed<'a> {
    /// The image.
    pub source: Source<'a>,
    /// What is added to it.
    pub second: Option<Source<'a>>,
    /// Empty: zero for every channel.
    pub shift: &'a [f32],
    /// What is done with the sum.
    pub mode: Mode<'a>,
    /// What surrounds the image.
    pub border: f32,
}

impl<'a> Feed<'a> {
    /// The image itself with a border of zeros.
    pub fn plain(source: Source<'a>) -> Self {
        Self { source, second: None, shift: &[], mode: Mode::Plain, border: 0.0 }
    }

    /// Where the relu of this image lets a gradient or tangent through; nothing holds it back without a relu.
    pub fn gate(&self) -> Option<Gate<'a>> {
        match self.mode {
            Mode::Plain => None,
            Mode::Relu => Some(Gate { source: self.source, shift: self.shift }),
            Mode::Gate(gate) => Some(gate),
        }
    }

    /// The whole window.
    pub fn fill(&self, isa: super::Isa, win: Window, window: &mut [f32]) {
        win.fill_border(window, self.border);
        fill(isa, win, self, 0..win.images * win.h, window);
    }
}

/// Fills rows of the inside of a window, counted over all images; the border is the caller's.
pub fn fill(isa: super::Isa, win: Window, feed: &Feed<'_>, rows: Range<usize>, window: &mut [f32]) {
    assert!(window.len() >= win.len() && rows.end <= win.images * win.h);
    assert!(feed.shift.is_empty() || feed.shift.len() >= win.c);
    for s in [feed.source].iter().chain(&feed.second) {
        s.check(win.px(), win.c);
    }
    if let Mode::Gate(gate) = &feed.mode {
        gate.check(win.px(), win.c);
    }
    fill_kernel(isa, win.c, win, feed, rows, window);
}

kernel!(fn fill_kernel = fill_body(win: Window, feed: &Feed<'_>, rows: Range<usize>, window: &mut [f32]));

#[inline(always)]
unsafe fn fill_body<S: Simd>(win: Window, feed: &Feed<'_>, rows: Range<usize>, window: &mut [f32]) {
    // SAFETY: `fill` checked that every source holds all pixels and the window its full length; n stays within the c
    // channels of a pixel.
    unsafe {
        for (image, rows) in parts(win.h, rows) {
            let out = window.as_mut_ptr().add(win.image(image));
            let first = image * win.h;
            match registers::<S>(win.c) {
                1 => fill_pixels::<S, 1>(win, feed, first, rows, out),
                2 => fill_pixels::<S, 2>(win, feed, first, rows, out),
                4 => fill_pixels::<S, 4>(win, feed, first, rows, out),
                _ => {
                    // Row by row, so that a row is in the first cache level when its next channels come.
                    for y in rows {
                        for cb in (0..win.c).step_by(S::L) {
                            fill_registers::<S, 1>(win, feed, (first, y), cb, S::L.min(win.c - cb), out);
                        }
                    }
                }
            }
        }
    }
}

/// [`fill`] for pixels of R registers.
#[inline(always)]
unsafe fn fill_pixels<S: Simd, const R: usize>(
    win: Window,
    feed: &Feed<'_>,
    first: usize,
    rows: Range<usize>,
    out: *mut f32,
) {
    for y in rows {
        // SAFETY: as `fill_body`.
        unsafe { fill_registers::<S, R>(win, feed, (first, y), 0, S::L, out) }
    }
}

/// R registers of every pixel of row y of an image whose first row is `first`, from channel cb on; n: channels in a
/// register.
#[inline(always)]
unsafe fn fill_registers<S: Simd, const R: usize>(
    win: Window,
    feed: &Feed<'_>,
    (first, y): (usize, usize),
    cb: usize,
    n: usize,
    out: *mut f32,
) {
    // SAFETY: as `fill_body`.
    unsafe {
        let (c, w) = (win.c, win.w);
        let out = out.add(win.at(y, 0) + cb);
        let at = |s: &Source<'_>| (s.data.as_ptr().add((first + y) * w * s.stride + cb), s.stride);
        let (from, stride) = at(&feed.source);
        let mut base = [S::zero(); R];
        let mut coef = [S::zero(); R];
        for r in 0..R {
            coef[r] = feed.source.coef::<S>(cb + r * S::L, n);
            if !feed.shift.is_empty() {
                base[r] = S::get(feed.shift.as_ptr().add(cb + r * S::L), n);
            }
        }
        let more = feed.second.as_ref().map(|s| {
            let mut coef = [S::zero(); R];
            for (r, coef) in coef.iter_mut().enumerate() {
                *coef = s.coef::<S>(cb + r * S::L, n);
            }
            let (from, stride) = at(s);
            (from, stride, coef)
        });
        let gate = if let Mode::Gate(g) = &feed.mode {
            let mut affine = [(S::zero(), S::zero()); R];
            for (r, affine) in affine.iter_mut().enumerate() {
                *affine = g.affine::<S>(cb + r * S::L, n);
            }
            let (from, stride) = at(&g.source);
            Some((from, stride, affine))
        } else {
            None
        };
        let relu = matches!(feed.mode, Mode::Relu);
        let one = Row { from, stride, coef, base, out, c, w, n };
        // Dense pixels of whole registers: all distances are constants.
        let d = R * S::L;
        let dense = (n, c, stride) == (S::L, d, d)
            && more.is_none_or(|(_, stride, _)| stride == d)
            && gate.is_none_or(|(_, stride, _)| stride == d);
        if dense {
            Row { stride: d, c: d, n: S::L, ..one }.fill_as::<S>(
                more.map(|(from, _, coef)| (from, d, coef)),
                gate.map(|(from, _, affine)| (from, d, affine)),
                relu,
            )
        } else {
            one.fill_as::<S>(more, gate, relu)
        }
    }
}

/// A row of an image on its way into a window, R registers of every pixel.
struct Row<V, const R: usize> {
    from: *const f32,
    stride: usize,
    coef: [V; R],
    base: [V; R],
    out: *mut f32,
    c: usize,
    w: usize,
    n: usize,
}

impl<V: Copy, const R: usize> Row<V, R> {
    /// Fills it with what there is.
    ///
    /// # Safety
    /// As `fill_body`.
    #[inline(always)]
    #[allow(clippy::type_complexity)]
    unsafe fn fill_as<S: Simd<V = V>>(
        self,
        more: Option<(*const f32, usize, [V; R])>,
        gate: Option<(*const f32, usize, [(V, V); R])>,
        relu: bool,
    ) {
        // SAFETY: as the caller promises.
        unsafe {
            match (more.is_some(), gate.is_some(), relu) {
                (false, false, false) => self.fill::<S, false, false, false>(None, None),
                (false, false, true) => self.fill::<S, false, true, false>(None, None),
                (true, false, false) => self.fill::<S, true, false, false>(more, None),
                (true, false, true) => self.fill::<S, true, true, false>(more, None),
                (false, true, _) => self.fill::<S, false, false, true>(None, gate),
                (true, true, _) => self.fill::<S, true, false, true>(more, gate),
            }
        }
    }

    /// MORE: a second source is added; RELU: then relu; GATED: then the gate.
    ///
    /// # Safety
    /// As `fill_body`.
    #[inline(always)]
    #[allow(clippy::type_complexity)]
    unsafe fn fill<S: Simd<V = V>, const MORE: bool, const RELU: bool, const GATED: bool>(
        self,
        more: Option<(*const f32, usize, [V; R])>,
        gate: Option<(*const f32, usize, [(V, V); R])>,
    ) {
        // SAFETY: as the caller promises.
        unsafe {
            let Self { from, stride, coef, base, out, c, w, n } = self;
            let nothing = (from, stride, coef);
            let (more_from, more_stride, more_coef) = more.unwrap_or(nothing);
            let (gate_from, gate_stride, affine) = gate.unwrap_or((from, stride, [(S::zero(), S::zero()); R]));
            in_blocks!([4, 1], w, x, B => {
                for j in 0..B {
                    for r in 0..R {
                        let (x, at) = (x + j, r * S::L);
                        S::prefetch(from.wrapping_add(x * stride + at + AHEAD));
                        let mut v = S::fma(S::get(from.add(x * stride + at), n), coef[r], base[r]);
                        if MORE {
                            v = S::fma(S::get(more_from.add(x * more_stride + at), n), more_coef[r], v);
                        }
                        if RELU {
                            v = S::max(v, S::zero());
                        }
                        if GATED {
                            let y = S::get(gate_from.add(x * gate_stride + at), n);
                            v = S::gate(S::fma(y, affine[r].0, affine[r].1), v);
                        }
                        S::put(out.add(x * c + at), v, n);
                    }
                }
            });
        }
    }
}

/// destination (+)= the inside of `window`, only where the gate is open.
pub fn add_inside(
    isa: super::Isa,
    win: Window,
    window: &[f32],
    gate: Option<Gate<'_>>,
    destination: &mut [f32],
    stride: usize,
    accumulate: bool,
) {
    assert!(window.len() >= win.len());
    assert!(stride >= win.c && destination.len() >= reach(win.px(), stride, win.c));
    if let Some(gate) = &gate {
        gate.check(win.px(), win.c);
    }
    add_inside_kernel(isa, win.c, win, window, gate, destination, stride, accumulate);
}

kernel!(fn add_inside_kernel = add_inside_body(win: Window, window: &[f32], gate: Option<Gate<'_>>, destination: &mut [f32], stride: usize, accumulate: bool));

#[inline(always)]
unsafe fn add_inside_body<S: Simd>(
    win: Window,
    window: &[f32],
    gate: Option<Gate<'_>>,
    destination: &mut [f32],
    stride: usize,
    accumulate: bool,
) {
    // SAFETY: `add_inside` checked the lengths; n stays within the c channels of a pixel.
    unsafe {
        for y in 0..win.images * win.h {
            let inside = win.image(y / win.h) + win.at(y % win.h, 0);
            for cb in (0..win.c).step_by(S::L) {
                let n = S::L.min(win.c - cb);
                let from = window.as_ptr().add(inside + cb);
                let to = destination.as_mut_ptr().add(y * win.w * stride + cb);
                let gate = gate.as_ref().map(|g| {
                    let from = g.source.data.as_ptr().add(y * win.w * g.source.stride + cb);
                    (from, g.source.stride, g.affine::<S>(cb, n))
                });
                for x in 0..win.w {
                    let mut v = S::get(from.add(x * win.c), n);
                    if let Some((from, stride, (coef, shift))) = &gate {
                        S::prefetch(from.wrapping_add(x * stride + AHEAD));
                        v = S::gate(S::fma(S::get(from.add(x * stride), n), *coef, *shift), v);
                    }
                    let to = to.add(x * stride);
                    S::prefetch(to.wrapping_add(AHEAD));
                    S::put(to, if accumulate { S::add(v, S::get(to, n)) } else { v }, n);
                }
            }
        }
    }
}
