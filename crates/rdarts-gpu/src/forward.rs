//! The value of a cell on a card.

use cubecl::client::Client;
use rdarts_kernels::outline::{Outline, OutlineBranch, OutlineMap, OutlineNorm, OutlineStage, OutlineSummand};

use crate::kernels::{PART, UNITS};
use crate::launch::{Buffers, FROM_ARENA, Input, Kernel, Numbers, Program};
use crate::norms::{Norms, given};
use crate::places::{self, Places, Tensor, parts, px, scale_of, shape, side_out};
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
    // What one buffer of a card can hold, whatever its memory is.
    if Places::new(outline).n_arena.saturating_mul(2 * size_of::<f32>()) > u32::MAX as usize {
        return false;
    }
    let is_here = |stage: &OutlineStage| stage.map != OutlineMap::Seven && places::fits(stage, false);
    outline.branches.iter().all(|b| b.adds != OutlineSummand::Noise && b.stages.iter().all(is_here))
        && outline.pre.iter().all(|stage| places::fits(stage, true))
}

/// The value of a cell, (n, h, w, nodes * c), and what its reverse pass needs. With `running` (means, then variances of each
/// norm that has them) in place of the batch's statistics nothing but the value may be used.
pub fn forward(client: &Client, outline: &Outline, input: Input, running: Option<&Numbers>) -> (Numbers, Saved) {
    let (o, places) = (outline, Places::new(outline));
    let arena = Numbers::empty(client, places.n_arena);
    let coefs = match running {
        None => Numbers::empty(client, places.n_coefs),
        Some(running) => given(client, places.n_coefs, &affine(o, &places), running, &input.w),
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

/// Of each norm with scale and shift: its coefficients, its mean among the running statistics, its channels, its scale.
fn affine(o: &Outline, places: &Places) -> Vec<[usize; 4]> {
    let of = |(at, (kind, c)): (usize, &(OutlineNorm, usize))| match *kind {
        OutlineNorm::Affine { at: factors, running } => Some([places.coefs[at], running, *c, factors]),
        _ => None,
    };
    o.norms.iter().enumerate().filter_map(of).collect()
}

/// The launches of a value, and the length of its partial sums.
fn launches(o: &Outline, places: &Places, learns: bool, has_drop: bool) -> (Program, usize) {
    let mut f = Forward {
        o,
        places,
        program: Program::default(),
        n_partials: 0,
        part_of: vec![None; o.norms.len()],
        learns,
        has_drop,
    };
    f.pre();
    f.branches();
    (f.program, f.n_partials)
}

/// How many launches the value of a cell is, with the statistics of its batch.
pub fn n_launches(outline: &Outline) -> usize {
    launches(outline, &Places::new(outline), true, false).0.len()
}

impl Saved {
    /// What its batch norms have learned of the batch, to be read when nothing waits for it.
    pub fn norms(&self) -> Norms {
        let o = &self.outline;
        let affine = |(at, (kind, c)): (usize, &(OutlineNorm, usize))| {
            // Of the preprocess blocks the states' pixels, of all others the nodes'.
            let n_px = o.n * px(if at < 2 { o.side_in } else { o.side_out });
            matches!(kind, OutlineNorm::Affine { .. }).then(|| (self.places.coefs[at], *c, n_px))
        };
        Norms { coefs: self.coefs.clone(), all: o.norms.iter().enumerate().filter_map(affine).collect() }
    }
}

/// The launches of a value.
struct Forward<'a> {
    o: &'a Outline,
    places: &'a Places,
    program: Program,
    n_partials: usize,
    /// Of each norm whose coefficients are to be made from its parts: where they begin, and how many.
    part_of: Vec<Option<(usize, usize)>>,
    /// Whether statistics are those of the batch.
    learns: bool,
    has_drop: bool,
}

/// A stage to be run.
#[derive(Clone, Copy)]
struct Work {
    stage: OutlineStage,
    from: Tensor,
    /// The norm before it, which it learns if that was not done.
    norm: Option<usize>,
    /// Which input of the cell it starts from, if it does.
    input: Option<usize>,
}

impl Work {
    fn of(stage: OutlineStage, from: Tensor) -> Self {
        Self { stage, from, norm: None, input: None }
    }
}

impl Forward<'_> {
    fn pre(&mut self) {
        let work = [0, 1].map(|i| Work { input: Some(i), ..Work::of(self.o.pre[i], (0, self.o.pre[i].c_in, None)) });
        self.stages(&work);
        // Everything begins with these two: stages learn them as they start, pools and nodes find them learned.
        let mut alone = Vec::new();
        for state in 0..2 {
            let starts = || self.o.branches.iter().filter(move |b| b.state == state).filter_map(|b| b.stages.first());
            let is_pool = |stage: &OutlineStage| matches!(stage.map, OutlineMap::MaxPool | OutlineMap::AvgPool);
            if starts().next().is_none() || starts().any(is_pool) {
                alone.push(self.o.pre[state].norm);
            }
        }
        self.learn(alone);
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
                    let (from, norm) = match at {
                        0 => (self.places.state(o, b.state), (b.state < 2).then(|| o.pre[b.state].norm)),
                        _ => {
                            let before = b.stages[0].norm;
                            ((self.places.buffers[before], o.c, self.places.coef(o, before)), Some(before))
                        }
                    };
                    work.push(Work { norm, ..Work::of(*stage, from) });
                }
                self.stages(&work);
                // What a launch has learned is there for all that come after it.
                work.iter().filter_map(|work| work.norm).for_each(|norm| self.part_of[norm] = None);
            }
            if n_there == 2 + o.nodes {
                return;
            }
            self.node(n_there - 2);
            n_there += 1;
        }
    }

    /// Stages of one or several kinds; those of a kind have the same number of pixels.
    fn stages(&mut self, work: &[Work]) {
        let mut rest: Vec<Work> = work.to_vec();
        while let Some(first) = rest.first().copied() {
            let shape_of = |work: &Work| shape(&work.stage, work.input.is_some());
            let s = shape_of(&first);
            let same = |work: &Work| work.stage.map == first.stage.map && shape_of(work) == s;
            let (now, later): (Vec<_>, Vec<_>) = rest.into_iter().partition(same);
            rest = later;
            let n_px = self.o.n * px(side_out(&first.stage));
            let cubes = parts(n_px, &s);
            let mut rows = Vec::new();
            let now_input = first.input.unwrap_or(FROM_ARENA);
            for Work { stage, from: (from, pitch, coef), norm, input } in now {
                let learned = norm.and_then(|norm| self.part_of[norm].map(|part| (norm, part)));
                let [in_part, in_n, factors] = self.learning(learned);
                let part = self.n_partials;
                self.n_partials += cubes * PART * stage.c_out;
                let dst = self.places.buffers[stage.norm];
                let mut row = vec![from, pitch, or_none(coef), in_part, in_n, factors, stage.weights, dst, part];
                row.push(or_none(input));
                rows.push((row, Vec::new()));
                if self.learns && self.o.norms[stage.norm].0 != OutlineNorm::Identity {
                    self.part_of[stage.norm] = Some((part, cubes));
                }
            }
            let (first, input) = (first.stage, now_input);
            let kernel = match first.map {
                OutlineMap::Half { .. } | OutlineMap::Pointwise => Kernel::Half { s },
                OutlineMap::Factorized => Kernel::Factorized { s, input },
                OutlineMap::MaxPool => Kernel::Pool { s, is_max: true },
                OutlineMap::AvgPool => Kernel::Pool { s, is_max: false },
                OutlineMap::Seven => unreachable!("cells with it have a composed body"),
            };
            self.program.add(kernel, cubes, n_px, s.c_out, rows);
        }
    }

    /// Where a norm's parts begin, how many they are, where its scale is.
    fn learning(&self, learned: Option<(usize, (usize, usize))>) -> [usize; 3] {
        let of = |(norm, (part, n)): (usize, (usize, usize))| [part, n, or_none(scale_of(self.o, norm))];
        learned.map_or([usize::MAX; 3], of)
    }

    /// Makes coefficients of norms, those that are not made yet, by a launch.
    fn learn(&mut self, norms: impl IntoIterator<Item = usize>) {
        let mut rows = Vec::new();
        for norm in norms {
            let Some((part, n)) = self.part_of[norm].take() else { continue };
            rows.push((vec![part, n, self.places.coefs[norm], or_none(scale_of(self.o, norm))], Vec::new()));
        }
        self.program.add(Kernel::Learn, 1, 0, self.o.c, rows);
    }

    fn node(&mut self, node: usize) {
        let (o, places) = (self.o, self.places);
        let terms: Vec<_> = o
            .branches
            .iter()
            .filter(|b| b.node == node)
            .filter_map(|b| places.summand(o, b).map(|(from, stage)| (b, from, stage.map(|stage| stage.norm))))
            .collect();
        // A cube keeps the coefficients of all, if they fit.
        let learns = self.learns && 2 * terms.len() * o.c <= TERMS;
        if !learns {
            self.learn(terms.iter().filter_map(|(_, _, norm)| *norm));
        }
        let mut list = Vec::new();
        for (b, (from, pitch, coef), norm) in &terms {
            let path = if self.has_drop { b.path } else { usize::MAX };
            list.extend([*from, *pitch, or_none(*coef), b.alpha, path]);
            let learned = norm.and_then(|norm| self.part_of[norm].take().map(|part| (norm, part)));
            list.extend(self.learning(learned));
        }
        let row = vec![terms.len(), node * o.c, o.nodes * o.c];
        let n_px = o.n * px(o.side_out);
        let cubes = (n_px * o.c).div_ceil(UNITS * EACH).min(NODE_CUBES);
        let kernel = Kernel::Node { px_of_image: px(o.side_out), terms: if learns { terms.len() } else { 0 } };
        self.program.add(kernel, cubes, n_px, o.c, vec![(row, list)]);
    }
}

/// The most values that a cube keeps for the coefficients of all that leads to a node.
const TERMS: usize = 2048;

/// Values that a unit sums at a node, and the most cubes that do.
const EACH: usize = 4;
const NODE_CUBES: usize = 256;
