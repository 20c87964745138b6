//! `max_pool_3x3` and `avg_pool_3x3`: padding 1, then batch norm. The padding is never chosen and not counted.
//!
//! A pool has no weights and no relu; the gate of a maximum is its place. All edges from a state share it
//! (`plan.rs`).

use super::{Action, Start};
use crate::spec::WeightKind;
use crate::stage::{
    Call, Destination, Factors, Gating, Gradients, Input, Inputs, Linear, Map, Of, Read, Scratch, Seen, Stage,
};
use rdarts_simd::pool::{self, Kind, Pool};
use rdarts_simd::tile::{Cotangent, Filling};
use rdarts_simd::window::Window;

/// See the module's page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pooling(Kind);

pub(super) fn action(start: Start, kind: Kind) -> Action {
    Action::Stages(vec![stage(start, kind)])
}

pub(crate) fn stage(start: Start, kind: Kind) -> Stage {
    let Start { side: [h, w], c, stride } = start;
    let win = Window { images: 1, h, w, c, pad: 1 };
    Stage { win, stride, c_out: c, kind: super::StageKind::Pool(Pooling(kind)), names: [""; 2], norm: "" }
}

impl Pooling {
    /// Which of the two it is.
    pub fn kind(self) -> Kind {
        self.0
    }

    fn shape(self, stage: &Stage) -> Pool {
        Pool { kind: self.0, win: stage.win, stride: stage.stride }
    }
}

impl Map for Pooling {
    fn gating(&self) -> Gating {
        match self.0 {
            Kind::Max => Gating::Maximum,
            Kind::Average => Gating::Open,
        }
    }

    fn weights(&self, _: usize, _: usize) -> [Option<WeightKind>; 2] {
        [None, None]
    }
}

impl Linear for Pooling {
    fn forward(&self, call: Call<'_>, (of, feed): Input<'_>, _: Factors<'_>, y: &mut [f32], seen: &mut Seen<'_>) {
        let pool = self.shape(call.stage);
        let Scratch { windows: [of_value, of_tangent], rows, .. } = call.scratch;
        Scratch::grow(rows, pool.scratch());
        // Nobody may have filled the value's window yet, unless it is asked for.
        let (at, v) = match of {
            Of::Value => (None, of_value),
            Of::Tangent => ((pool.kind == Kind::Max).then(|| of_value.values()), of_tangent),
        };
        let v = Filling::new(call.isa, pool.win, feed, v);
        pool::forward(call.isa, pool, at, v, rows, y, seen);
    }

    fn forward_dual(&self, _: Call<'_>, _: Inputs<'_>, _: [Factors<'_>; 2], _: &mut [f32], _: &mut Seen<'_>) {
        unreachable!("pooling has no weights that could move");
    }

    fn vjp(&self, call: Call<'_>, r: Read<'_>, _: [Factors<'_>; 2], g: &Cotangent<'_>, to: Gradients<'_>) {
        let Some(Destination { out, stride, accumulate, sums }) = to.input else { return };
        debug_assert!(sums.is_none(), "only a half takes sums");
        let pool = self.shape(call.stage);
        let Scratch { windows: [window, _], rows, .. } = call.scratch;
        Scratch::grow(rows, pool.scratch());
        let r = (pool.kind == Kind::Max).then(|| Filling::new(call.isa, pool.win, r.unless_ready(), window));
        pool::vjp(call.isa, pool, r, g, rows, out, stride, accumulate);
    }

    fn vjp_dual(
        &self,
        call: Call<'_>,
        r: Read<'_>,
        [w, _]: [[Factors<'_>; 2]; 2],
        [g, _]: [&Cotangent<'_>; 2],
        to: Destination<'_>,
    ) {
        self.vjp(call, r, w, g, Gradients { input: Some(to), dw: None });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdarts_simd::Isa;
    use rdarts_simd::blend::Source;
    use rdarts_simd::window::Feed;

    #[test]
    fn the_tangent_of_a_stage_needs_no_window_of_the_value_unless_it_is_a_maximum() {
        let stage = stage(Start { side: [4; 2], c: 8, stride: 1 }, Kind::Average).of_images(3);
        let win = stage.win;
        let x: Vec<f32> = (0..win.px() * win.c).map(|i| (i % 7) as f32).collect();
        let feed = Feed::plain(Source::new(&x, win.c, &[]));
        let of_value = |of| {
            let mut y = vec![0.0; stage.len_out()];
            let call = Call { isa: Isa::best(), stage: &stage, scratch: &mut Scratch::default() };
            stage.map().forward(call, (of, Some(&feed)), Factors(&[], &[]), &mut y, &mut |_, _| {});
            y
        };
        assert_eq!(of_value(Of::Tangent), of_value(Of::Value));
    }
}
