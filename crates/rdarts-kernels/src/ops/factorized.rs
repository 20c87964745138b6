//! FactorizedReduce: relu, then two products of the even pixels (2 y, 2 x) and of the odd ones (2 y + 1, 2 x + 1), whose
//! outputs lie beside one another; batch norm.

use crate::spec::WeightKind;
use crate::stage::{Dense, Factors, Image, Map, Stage};
use rdarts_simd::pointwise::{product, weight_gradient};
use rdarts_simd::window::Window;

/// See the module's page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Factorized;

pub(super) fn stage([h, w]: [usize; 2], c: usize, c_out: usize) -> Stage {
    // Beyond the last odd row or column lies the border.
    let win = Window { images: 1, h, w, c, pad: 1 };
    let names = ["conv_1.weight", "conv_2.weight"];
    Stage { win, stride: 2, c_out, kind: super::StageKind::Factorized(Factorized), names, norm: "bn" }
}

/// Where the even and the odd pixels of a row of the output begin.
fn pixels(win: Window, row: usize) -> [usize; 2] {
    [win.at(2 * row, 0), win.at(2 * row + 1, 1)]
}

impl Map for Factorized {
    fn weights(&self, c_in: usize, c_out: usize) -> [Option<WeightKind>; 2] {
        [c_out / 2, c_out - c_out / 2].map(|c_out| Some(WeightKind::Conv { kh: 1, kw: 1, c_in, c_out }))
    }
}

impl Dense for Factorized {
    fn image(&self, one: Image<'_>, v: &[f32], w: Factors<'_>, accumulate: bool, y: &mut [f32]) {
        let Image { isa, stage, .. } = one;
        let ([h_out, w_out], c, c_out) = (stage.side_out(), stage.win.c, stage.c_out);
        let first = c_out / 2;
        for row in 0..h_out {
            let y = &mut y[row * w_out * c_out..];
            let [even, odd] = pixels(stage.win, row).map(|at| &v[at..]);
            product(isa, w_out, (c, first), even, 2 * c, w.0, y, c_out, accumulate);
            product(isa, w_out, (c, c_out - first), odd, 2 * c, w.1, &mut y[first..], c_out, accumulate);
        }
    }

    fn image_vjp(&self, one: Image<'_>, v: &[f32], w: [Factors<'_>; 2], g: &[f32], [dv, dw]: [Option<&mut [f32]>; 2]) {
        let (Image { isa, stage, .. }, [_, w_t]) = (one, w);
        let ([h_out, w_out], c, c_out) = (stage.side_out(), stage.win.c, stage.c_out);
        let (first, second) = (c_out / 2, c_out - c_out / 2);
        if let Some(dw) = dw {
            let (da, db) = dw.split_at_mut(stage.weight_lens()[0]);
            for row in 0..h_out {
                let g = &g[row * w_out * c_out..];
                let [even, odd] = pixels(stage.win, row).map(|at| &v[at..]);
                weight_gradient(isa, w_out, (c, first), even, 2 * c, g, c_out, da);
                weight_gradient(isa, w_out, (c, second), odd, 2 * c, &g[first..], c_out, db);
            }
        }
        if let Some(dv) = dv {
            for row in 0..h_out {
                let g = &g[row * w_out * c_out..];
                let [even, odd] = pixels(stage.win, row);
                product(isa, w_out, (first, c), g, c_out, w_t.0, &mut dv[even..], 2 * c, false);
                product(isa, w_out, (second, c), &g[first..], c_out, w_t.1, &mut dv[odd..], 2 * c, false);
            }
        }
    }
}
