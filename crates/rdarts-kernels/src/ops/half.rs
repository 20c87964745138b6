//! Half of a separable convolution, or a dilated one: relu, depthwise k x k, pointwise. Tile by tile in `rdarts_simd::depthwise`,
//! whose maps take directions in both weights at once.

use super::Start;
use crate::spec::WeightKind;
use crate::stage::{Call, Destination, Factors, Gradients, Input, Inputs, Linear, Map, Read, Scratch, Seen, Stage};
use rdarts_simd::depthwise::{self, Half, InputGradient, WeightGradient};
use rdarts_simd::tile::{Cotangent, Filling};
use rdarts_simd::window::Window;

/// The depthwise window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taps {
    k: usize,
    dilation: usize,
}

pub(super) fn stage(start: Start, k: usize, dilation: usize, names: [&'static str; 2], norm: &'static str) -> Stage {
    let Start { side: [h, w], c, stride } = start;
    let win = Window { images: 1, h, w, c, pad: dilation * (k - 1) / 2 };
    Stage { win, stride, c_out: c, kind: super::StageKind::Half(Taps { k, dilation }), names, norm }
}

impl Taps {
    /// Rows and columns of the window, and the distance of its taps.
    pub fn sizes(self) -> [usize; 2] {
        [self.k, self.dilation]
    }

    fn shape(self, stage: &Stage) -> Half {
        Half { win: stage.win, k: self.k, stride: stage.stride, dilation: self.dilation, c_out: stage.c_out }
    }
}

impl Map for Taps {
    fn weights(&self, c: usize, c_out: usize) -> [Option<WeightKind>; 2] {
        [Some(WeightKind::Depthwise { k: self.k, c }), Some(WeightKind::Conv { kh: 1, kw: 1, c_in: c, c_out })]
    }
}

impl Linear for Taps {
    fn forward(&self, call: Call<'_>, (of, feed): Input<'_>, w: Factors<'_>, y: &mut [f32], seen: &mut Seen<'_>) {
        let (isa, half, scratch) = (call.isa, self.shape(call.stage), call.scratch);
        Scratch::grow(&mut scratch.rows, half.scratch());
        let v = Filling::new(isa, half.win, feed, &mut scratch.windows[of as usize]);
        depthwise::forward(isa, half, v, w.0, w.1, false, &mut scratch.rows, y, seen);
    }

    fn forward_dual(
        &self,
        call: Call<'_>,
        (r, v): Inputs<'_>,
        [w, w_dot]: [Factors<'_>; 2],
        y: &mut [f32],
        seen: &mut Seen<'_>,
    ) {
        let (isa, half) = (call.isa, self.shape(call.stage));
        let Scratch { windows: [of_r, of_v], rows, .. } = call.scratch;
        Scratch::grow(rows, half.scratch());
        let r = Filling::new(isa, half.win, Some(r), of_r);
        let v = v.map(|feed| Filling::new(isa, half.win, feed, of_v));
        depthwise::forward_dual(isa, half, r, v, [w.0, w.1], [w_dot.0, w_dot.1], rows, y, seen);
    }

    fn vjp(&self, call: Call<'_>, r: Read<'_>, [w, w_t]: [Factors<'_>; 2], g: &Cotangent<'_>, to: Gradients<'_>) {
        let (isa, half) = (call.isa, self.shape(call.stage));
        let Scratch { windows: [window, _], gradients: [gradient, _], rows, .. } = call.scratch;
        Scratch::grow(rows, half.scratch());
        let input = to.input.map(|to| input_gradient(r, to));
        let weights = to.dw.map(|dw| {
            let (dw, pw) = dw.split_at_mut(call.stage.weight_lens()[0]);
            WeightGradient { r: Filling::new(isa, half.win, r.unless_ready(), window), dw, pw }
        });
        depthwise::vjp(isa, half, w.0, w_t.1, g, input, weights, rows, gradient);
    }

    fn vjp_dual(
        &self,
        call: Call<'_>,
        r: Read<'_>,
        [[w, w_t], [w_dot, w_dot_t]]: [[Factors<'_>; 2]; 2],
        g: [&Cotangent<'_>; 2],
        to: Destination<'_>,
    ) {
        let half = self.shape(call.stage);
        let Scratch { rows, gradients, .. } = call.scratch;
        Scratch::grow(rows, half.scratch());
        let (w, w_dot) = ([w.0, w_t.1], [w_dot.0, w_dot_t.1]);
        depthwise::vjp_dual(call.isa, half, w, w_dot, g, input_gradient(r, to), rows, gradients.each_mut());
    }
}

fn input_gradient<'a>(r: Read<'a>, to: Destination<'a>) -> InputGradient<'a> {
    let Destination { out, stride, accumulate, sums } = to;
    InputGradient { gate: r.feed.gate().expect("a half has a relu"), out, stride, accumulate, sums }
}
