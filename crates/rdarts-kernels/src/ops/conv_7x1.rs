//! `conv_7x1_1x7`: relu, 1x7 convolution (stride along the row), 7x1 convolution (stride down), batch norm.
//!
//! Seven pixels of c channels are 7 c consecutive values of a window, so each row of the first convolution is one product;
//! the second takes one for each tap.

use super::{Action, Start};
use crate::spec::WeightKind;
use crate::stage::{Dense, Factors, Image, Map, Scratch, Stage};
use rdarts_simd::Isa;
use rdarts_simd::pointwise::{product, weight_gradient};
use rdarts_simd::window::Window;

/// See the module's page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seven;

pub(super) fn action(start: Start) -> Action {
    let Start { side: [h, w], c, stride } = start;
    let win = Window { images: 1, h, w, c, pad: 3 };
    // The published code has its layers without a module around them, so there is no `op` in their names.
    let names = ["1.weight", "2.weight"];
    Action::Stages(vec![Stage { win, stride, c_out: c, kind: super::StageKind::Seven(Seven), names, norm: "3" }])
}

/// The 1x7 convolution of every row into u, which has three rows of zeros above and below.
fn rows_of_seven(isa: Isa, stage: &Stage, v: &[f32], w: &[f32], u: &mut [f32]) {
    let (win, c, [_, w_out]) = (stage.win, stage.win.c, stage.side_out());
    let row_len = w_out * c;
    u[..3 * row_len].fill(0.0);
    u[(win.h + 3) * row_len..(win.h + 6) * row_len].fill(0.0);
    for row in 0..win.h {
        let from = &v[win.at(row, 0) - 3 * c..];
        product(isa, w_out, (7 * c, c), from, stage.stride * c, w, &mut u[(row + 3) * row_len..], c, false);
    }
}

impl Map for Seven {
    fn weights(&self, c: usize, _: usize) -> [Option<WeightKind>; 2] {
        [(1, 7), (7, 1)].map(|(kh, kw)| Some(WeightKind::Conv { kh, kw, c_in: c, c_out: c }))
    }

    /// The first convolution has all rows of the input.
    fn macs(&self, stage: &Stage) -> usize {
        let ([h, w], [a, b]) = (stage.side_out(), stage.weight_lens());
        (a * stage.win.h + b * h) * w
    }
}

impl Dense for Seven {
    fn image(&self, one: Image<'_>, v: &[f32], w: Factors<'_>, accumulate: bool, y: &mut [f32]) {
        let Image { isa, stage, room: u } = one;
        let ([h_out, w_out], win, c) = (stage.side_out(), stage.win, stage.win.c);
        Scratch::grow(u, (win.h + 6) * w_out * c);
        rows_of_seven(isa, stage, v, w.0, u);
        for row in 0..h_out {
            let y = &mut y[row * w_out * c..];
            for tap in 0..7 {
                let u = &u[(row * stage.stride + tap) * w_out * c..];
                let w = &w.1[tap * c * c..];
                product(isa, w_out, (c, c), u, c, w, y, c, accumulate || tap > 0);
            }
        }
    }

    fn image_vjp(&self, one: Image<'_>, v: &[f32], w: [Factors<'_>; 2], g: &[f32], [dv, dw]: [Option<&mut [f32]>; 2]) {
        let (Image { isa, stage, room }, [w, w_t]) = (one, w);
        let ([h_out, w_out], win, c, stride) = (stage.side_out(), stage.win, stage.win.c, stage.stride);
        let len = (win.h + 6) * w_out * c;
        Scratch::grow(room, 2 * len);
        let (u, du) = room.split_at_mut(len);
        du[..len].fill(0.0);
        for row in 0..h_out {
            let g = &g[row * w_out * c..];
            for tap in 0..7 {
                let du = &mut du[(row * stride + tap) * w_out * c..];
                product(isa, w_out, (c, c), g, c, &w_t.1[tap * c * c..], du, c, true);
            }
        }
        if let Some(dw) = dw {
            rows_of_seven(isa, stage, v, w.0, u);
            let (da, db) = dw.split_at_mut(stage.weight_lens()[0]);
            for row in 0..h_out {
                let g = &g[row * w_out * c..];
                for tap in 0..7 {
                    let u = &u[(row * stride + tap) * w_out * c..];
                    weight_gradient(isa, w_out, (c, c), u, c, g, c, &mut db[tap * c * c..]);
                }
            }
            for row in 0..win.h {
                let from = &v[win.at(row, 0) - 3 * c..];
                let du = &du[(row + 3) * w_out * c..];
                weight_gradient(isa, w_out, (7 * c, c), from, stride * c, du, c, da);
            }
        }
        if let Some(dv) = dv {
            for row in 0..win.h {
                let du = &du[(row + 3) * w_out * c..];
                // Tap by tap: the windows of neighbours overlap.
                for tap in 0..7 {
                    let to = win.at(row, 0) - 3 * c + tap * c;
                    product(isa, w_out, (c, c), du, c, &w_t.0[tap * c * c..], &mut dv[to..], stride * c, true);
                }
            }
        }
    }

    fn moving<'a>(&self, w: Factors<'a>, w_dot: Factors<'a>) -> Vec<Factors<'a>> {
        vec![Factors(w_dot.0, w.1), Factors(w.0, w_dot.1)]
    }
}
