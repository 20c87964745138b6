//! The ordinary preprocess block: relu, a product of every pixel with `[c_in][c_out]`, batch norm.

use crate::spec::WeightKind;
use crate::stage::{Dense, Factors, Image, Map, Stage};
use rdarts_simd::pointwise::{product, weight_gradient};
use rdarts_simd::window::Window;

/// See the module's page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pointwise;

pub(super) fn stage([h, w]: [usize; 2], c: usize, c_out: usize) -> Stage {
    let win = Window { images: 1, h, w, c, pad: 0 };
    Stage {
        win,
        stride: 1,
        c_out,
        kind: super::StageKind::Pointwise(Pointwise),
        names: ["op.1.weight", ""],
        norm: "op.2",
    }
}

impl Map for Pointwise {
    fn weights(&self, c_in: usize, c_out: usize) -> [Option<WeightKind>; 2] {
        [Some(WeightKind::Conv { kh: 1, kw: 1, c_in, c_out }), None]
    }
}

impl Dense for Pointwise {
    const OVERWRITES: bool = true;

    fn image(&self, one: Image<'_>, v: &[f32], w: Factors<'_>, accumulate: bool, y: &mut [f32]) {
        let Image { isa, stage, .. } = one;
        let (win, c_out) = (stage.win, stage.c_out);
        product(isa, win.h * win.w, (win.c, c_out), v, win.c, w.0, y, c_out, accumulate);
    }

    fn image_vjp(&self, one: Image<'_>, v: &[f32], w: [Factors<'_>; 2], g: &[f32], [dv, dw]: [Option<&mut [f32]>; 2]) {
        let (Image { isa, stage, .. }, [_, w_t]) = (one, w);
        let (px, c, c_out) = (stage.win.h * stage.win.w, stage.win.c, stage.c_out);
        if let Some(dw) = dw {
            weight_gradient(isa, px, (c, c_out), v, c, g, c_out, dw);
        }
        if let Some(dv) = dv {
            product(isa, px, (c_out, c), g, c_out, w_t.0, dv, c, false);
        }
    }
}
