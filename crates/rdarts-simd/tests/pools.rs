//! Pools against what lies under each output.

use rdarts_simd::Isa;
use rdarts_simd::blend::Source;
use rdarts_simd::pool::{Kind, Pool, forward, vjp};
use rdarts_simd::tile::{Cotangent, Filling};
use rdarts_simd::window::{Feed, Framed, Window};

const SIDES: [[usize; 2]; 9] = [[1, 1], [1, 2], [2, 1], [2, 2], [3, 3], [7, 9], [8, 6], [4, 40], [33, 5]];

/// Every pool of these sides, of one and of three images.
fn pools() -> impl Iterator<Item = (Isa, Pool)> {
    let kinds = [Kind::Max, Kind::Average];
    let shapes = SIDES.into_iter().flat_map(|[h, w]| [(1, h, w, 5), (3, h, w, 8), (1, h, w, 24), (3, h, w, 64)]);
    let all = shapes.flat_map(move |(images, h, w, c)| {
        let win = Window { images, h, w, c, pad: 1 };
        kinds.into_iter().flat_map(move |kind| [1, 2].map(|stride| Pool { kind, win, stride }))
    });
    all.flat_map(|pool| Isa::available().into_iter().map(move |isa| (isa, pool)))
}

/// Few different values, so that maxima are reached several times.
fn values(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + seed * 104_729) % 2003 % 5) as f32 - 2.0).collect()
}

/// For each output (pixel of the input, share) of what it takes.
fn taken(pool: Pool, x: &[f32]) -> Vec<Vec<(usize, f32)>> {
    let (Window { images, h, w, c, .. }, [h_out, w_out]) = (pool.win, pool.side_out());
    let mut all = Vec::new();
    for o in 0..images * h_out * w_out * c {
        let (channel, px) = (o % c, o / c);
        let (image, y, x_out) = (px / (h_out * w_out), px / w_out % h_out, px % w_out);
        let near = |o: usize, side: usize| (pool.stride * o).saturating_sub(1)..(pool.stride * o + 2).min(side);
        let under: Vec<usize> =
            near(y, h).flat_map(|y| near(x_out, w).map(move |x| ((image * h + y) * w + x) * c + channel)).collect();
        all.push(match pool.kind {
            Kind::Average => under.iter().map(|at| (*at, 1.0 / under.len() as f32)).collect(),
            Kind::Max => {
                let first = under.iter().copied().reduce(|a, b| if x[b] > x[a] { b } else { a });
                vec![(first.expect("every window has a pixel"), 1.0)]
            }
        });
    }
    all
}

fn close(a: &[f32], b: &[f32], what: &str, pool: Pool) {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).for_each(|(a, b)| assert!((a - b).abs() <= 1e-5, "{what}: {a} or {b}, {pool:?}"));
}

#[test]
fn pools_and_their_tangents_take_what_lies_under_each_output() {
    for (isa, pool) in pools() {
        let (win, [h, w]) = (pool.win, pool.side_out());
        let (x, v) = (values(win.px() * win.c, 1), values(win.px() * win.c, 2));
        let border = if pool.kind == Kind::Max { f32::NEG_INFINITY } else { 0.0 };
        let feed = Feed { border, ..Feed::plain(Source::new(&x, win.c, &[])) };
        let feed_v = Feed::plain(Source::new(&v, win.c, &[]));
        let mut at = Framed::default();
        at.fill(isa, win, &feed);
        let taken = taken(pool, &x);
        let of = |x: &[f32]| -> Vec<f32> {
            taken.iter().map(|all| all.iter().map(|(at, share)| share * x[*at]).sum()).collect()
        };
        for (at, feed, expected) in [(None, &feed, of(&x)), (Some(at.values()), &feed_v, of(&v))] {
            if pool.kind == Kind::Average && at.is_some() {
                continue;
            }
            let (mut window, mut y) = (Framed::default(), vec![f32::NAN; win.images * h * w * win.c]);
            let mut scratch = vec![f32::NAN; pool.scratch()];
            let mut shown = Vec::new();
            let v = Filling::new(isa, win, Some(feed), &mut window);
            forward(isa, pool, at, v, &mut scratch, &mut y, &mut |first, y| {
                assert_eq!(first * win.c, shown.len());
                shown.extend_from_slice(y);
            });
            close(&y, &expected, "output", pool);
            assert_eq!(y, shown);
        }
    }
}

#[test]
fn gradients_go_where_outputs_were_taken() {
    for (isa, pool) in pools() {
        let (win, [h, w]) = (pool.win, pool.side_out());
        let (x, g) = (values(win.px() * win.c, 1), values(win.images * h * w * win.c, 3));
        let border = if pool.kind == Kind::Max { f32::NEG_INFINITY } else { 0.0 };
        let feed = Feed { border, ..Feed::plain(Source::new(&x, win.c, &[])) };
        // Pixels three values further apart than they must be.
        let stride = win.c + 3;
        for accumulate in [false, true] {
            let before = values(win.px() * stride, 4);
            let mut expected = before.clone();
            if !accumulate {
                expected.chunks_mut(stride).for_each(|pixel| pixel[..win.c].fill(0.0));
            }
            for (g, taken) in g.iter().zip(taken(pool, &x)) {
                taken.iter().for_each(|(at, share)| expected[at / win.c * stride + at % win.c] += share * g);
            }
            let sources = [Source::new(&g, win.c, &[])];
            let cotangent = Cotangent { sources: &sources, shift: &[], in_place: None };
            let (mut window, mut out) = (Framed::default(), before);
            let mut scratch = vec![f32::NAN; pool.scratch()];
            let r = (pool.kind == Kind::Max).then(|| Filling::new(isa, win, Some(&feed), &mut window));
            vjp(isa, pool, r, &cotangent, &mut scratch, &mut out, stride, accumulate);
            close(&out, &expected, "gradient", pool);
        }
    }
}
