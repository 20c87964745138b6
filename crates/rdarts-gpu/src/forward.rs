//! The value of a cell on a card.

use cubecl::client::Client;
use rdarts_kernels::outline::{Outline, OutlineBranch, OutlineMap, OutlineNorm, OutlineStage, OutlineSummand};
use rdarts_kernels::spec::BN_EPS;

use crate::kernels::UNITS;
use crate::launch::{Buffers, FROM_ARENA, Input, Kernel, Numbers, Program, Row};
use crate::places::{Places, Tensor, px, scale_of, shape, side_out};
use crate::table::or_none;

/// What a forward pass leaves.
#[derive(Clone, Debug)]
pub struct Saved {
    pub(crate) outline: Outline,
    pub(crate) input: Input,
    pub(crate) arena: Numbers,
    pub(crate) coefs: Numbers,
    pub(crate) places: Places,
}

/// Whether the kernels here run a cell; the others have composed bodies.
pub fn fits(outline: &Outline) -> bool {
    let maps = outline.branches.iter().flat_map(|b| &b.stages).map(|stage| stage.map);
    let is_here = |map| map != OutlineMap::Seven;
    outline.branches.iter().all(|b| b.adds != OutlineSummand::Noise) && maps.into_iter().all(is_here)
}

/// The value of a cell, (n, h, w, nodes * c), and what its reverse pass needs. With `running` (means, then variances of each
/// norm that has them) in place of the batch's statistics nothing but the value may be used.
pub fn forward(client: &Client, outline: &Outline, input: Input, running: Option<&[f32]>) -> (Numbers, Saved) {
    let (o, places) = (outline, Places::new(outline));
    let arena = Numbers::empty(client, places.n_arena);
    let coefs = match running {
        None => Numbers::empty(client, places.n_coefs),
        Some(running) => given(client, o, &places, &input, running),
    };
    let (program, n_partials) = launches(o, &places, running.is_none(), input.drop.is_some());
    let (partials, dummy) = (Numbers::empty(client, n_partials), Numbers::empty(client, 1));
    let drop = input.drop.clone().unwrap_or_else(|| dummy.clone());
    program.run(
        client,
        &Buffers {
            input: &input,
            arena: &arena,
            coefs: &coefs,
            partials: &partials,
            drop: &drop,
            output: &dummy,
            gradients: &dummy,
            to_input: [&dummy; 2],
            p_bar: &dummy,
            w_bar: &dummy,
            parts: &dummy,
            dummy: &dummy,
            spare: &Numbers::empty(client, 1),
            n_images: o.n as u32,
        },
    );
    let len = o.n * px(o.side_out) * o.nodes * o.c;
    let out = Numbers { handle: arena.handle.clone().offset_end(((arena.len - len) * size_of::<f32>()) as u64), len };
    (out, Saved { outline: outline.clone(), input, arena, coefs, places })
}

/// The launches of a value, and the length of its partial sums.
fn launches(o: &Outline, places: &Places, learns: bool, has_drop: bool) -> (Program, usize) {
    let mut f = Forward { o, places, program: Program::default(), n_partials: 0, learns, has_drop };
    f.pre();
    f.branches();
    (f.program, f.n_partials)
}

/// How many launches the value of a cell is, with the statistics of its batch.
pub fn n_launches(outline: &Outline) -> usize {
    launches(outline, &Places::new(outline), true, false).0.len()
}

/// Coefficients of given statistics: scale and shift are on the card.
fn given(client: &Client, o: &Outline, places: &Places, input: &Input, running: &[f32]) -> Numbers {
    let w = input.w.download(client);
    let mut coefs = vec![0f32; places.n_coefs];
    for (at, (kind, c)) in o.norms.iter().enumerate() {
        let OutlineNorm::Affine { at: factors, running: of } = *kind else { continue };
        for ch in 0..*c {
            let (mean, variance) = (running[of + ch], running[of + c + ch]);
            let inv = (1.0 / (f64::from(variance) + BN_EPS).sqrt()) as f32;
            let (scale, shift) = (w[factors + ch], w[factors + c + ch]);
            let all = [mean, inv, scale * inv, shift - scale * inv * mean];
            for (k, value) in all.into_iter().enumerate() {
                coefs[places.coefs[at] + k * c + ch] = value;
            }
        }
    }
    Numbers::upload(client, &coefs)
}

impl Saved {
    /// Means and unbiased variances of the batch norms that have running statistics, in their order.
    ///
    /// # Panics
    /// If the card was lost.
    pub fn statistics(&self, client: &Client) -> Vec<f64> {
        let (o, coefs) = (&self.outline, self.coefs.download(client));
        let mut all = Vec::new();
        for (at, (kind, c)) in o.norms.iter().enumerate() {
            if !matches!(kind, OutlineNorm::Affine { .. }) {
                continue;
            }
            let own = &coefs[self.places.coefs[at]..][..2 * c];
            // Of the preprocess blocks the states' pixels, of all others the nodes'.
            let count = (o.n * px(if at < 2 { o.side_in } else { o.side_out })) as f64;
            all.extend(own[..*c].iter().map(|mean| f64::from(*mean)));
            all.extend(own[*c..].iter().map(|inv| {
                let variance = 1.0 / (f64::from(*inv) * f64::from(*inv)) - BN_EPS;
                variance.max(0.0) * count / (count - 1.0).max(1.0)
            }));
        }
        all
    }
}

/// The launches of a value.
struct Forward<'a> {
    o: &'a Outline,
    places: &'a Places,
    program: Program,
    n_partials: usize,
    /// Whether statistics are those of the batch.
    learns: bool,
    has_drop: bool,
}

impl Forward<'_> {
    fn pre(&mut self) {
        let mut learned = Vec::new();
        for i in 0..2 {
            let stage = self.o.pre[i];
            self.stages(&[(stage, (0, stage.c_in, None))], i, &mut learned);
        }
        self.learn(self.o.n * px(self.o.side_in), learned);
    }

    fn branches(&mut self) {
        let o = self.o;
        let mut is_run = vec![false; o.norms.len()];
        let (mut n_there, mut started) = (2, 0);
        loop {
            let fresh: Vec<&OutlineBranch> =
                o.branches.iter().filter(|b| (started..n_there).contains(&b.state)).collect();
            started = n_there;
            for at in 0..2 {
                let mut work = Vec::new();
                for b in &fresh {
                    let Some(stage) = b.stages.get(at).filter(|stage| !is_run[stage.norm]) else { continue };
                    is_run[stage.norm] = true;
                    let from = match at {
                        0 => self.places.state(o, b.state),
                        _ => {
                            let before = b.stages[0].norm;
                            (self.places.buffers[before], o.c, self.places.coef(o, before))
                        }
                    };
                    work.push((*stage, from));
                }
                let mut learned = Vec::new();
                self.stages(&work, FROM_ARENA, &mut learned);
                self.learn(o.n * px(o.side_out), learned);
            }
            if n_there == 2 + o.nodes {
                return;
            }
            self.node(n_there - 2);
            n_there += 1;
        }
    }

    /// Stages of one or several kinds, all of the same number of pixels.
    fn stages(&mut self, work: &[(OutlineStage, Tensor)], input: usize, learned: &mut Vec<Row>) {
        let mut rest: Vec<_> = work.to_vec();
        while let Some((first, _)) = rest.first().copied() {
            let s = shape(&first, input != FROM_ARENA);
            let same = |stage: &OutlineStage| stage.map == first.map && shape(stage, input != FROM_ARENA) == s;
            let (now, later): (Vec<_>, Vec<_>) = rest.into_iter().partition(|(stage, _)| same(stage));
            rest = later;
            let n_px = self.o.n * px(side_out(&first));
            let tiles = n_px.div_ceil(s.tile);
            let mut rows = Vec::new();
            for (stage, (from, pitch, coef)) in now {
                let ([h, w], [ho, wo]) = (stage.side, side_out(&stage));
                let part = self.n_partials;
                self.n_partials += tiles * 2 * stage.c_out;
                let dst = self.places.buffers[stage.norm];
                let row = vec![from, pitch, or_none(coef), h, w, stage.stride, ho, wo, stage.weights, dst, part];
                rows.push((row, Vec::new()));
                if self.o.norms[stage.norm].0 != OutlineNorm::Identity {
                    let to = self.places.coefs[stage.norm];
                    learned.push((vec![part, tiles, to, or_none(scale_of(self.o, stage.norm)), s.tile], Vec::new()));
                }
            }
            let kernel = match first.map {
                OutlineMap::Half { .. } | OutlineMap::Pointwise => Kernel::Half { s, input },
                OutlineMap::Factorized => Kernel::Factorized { s, input },
                OutlineMap::MaxPool => Kernel::Pool { s, is_max: true },
                OutlineMap::AvgPool => Kernel::Pool { s, is_max: false },
                OutlineMap::Seven => unreachable!("cells with it have a composed body"),
            };
            self.program.add(kernel, tiles, n_px, s.c_out, rows);
        }
    }

    fn learn(&mut self, n_px: usize, learned: Vec<Row>) {
        if self.learns {
            self.program.add(Kernel::Learn, 1, n_px, self.o.c, learned);
        }
    }

    fn node(&mut self, node: usize) {
        let (o, places) = (self.o, self.places);
        let mut list = Vec::new();
        for b in o.branches.iter().filter(|b| b.node == node) {
            let Some(((from, pitch, coef), _)) = places.summand(o, b) else { continue };
            let path = if self.has_drop { b.path } else { usize::MAX };
            list.extend([from, pitch, or_none(coef), b.alpha, path]);
        }
        let row = vec![list.len() / 5, node * o.c, o.nodes * o.c];
        let n_px = o.n * px(o.side_out);
        let cubes = (n_px * o.c).div_ceil(UNITS);
        self.program.add(Kernel::Node { px_of_image: px(o.side_out) }, cubes, n_px, o.c, vec![(row, list)]);
    }
}
