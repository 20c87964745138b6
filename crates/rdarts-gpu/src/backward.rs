//! The reverse pass of a cell on a card.

use cubecl::client::Client;
use rdarts_kernels::outline::{Outline, OutlineBranch, OutlineMap, OutlineNorm, OutlineStage, OutlineSummand};

use crate::forward::Saved;
use crate::kernels::{PART_BACK, Shape, UNITS};
use crate::launch::{Buffers, FROM_ARENA, Kernel, Numbers, Program, Row};
use crate::places::{Places, Tensor, parts_back, px, scale_of, shape_back, shape_gather, stretches};
use crate::table::or_none;

/// Which gradients are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Want {
    /// Of s0 and s1.
    pub states: [bool; 2],
    /// Of the mixing weights.
    pub p: bool,
    /// Of the weights.
    pub w: bool,
}

/// Gradients; those that were not asked for are none.
#[derive(Clone, Debug)]
pub struct Gradients {
    /// Of s0 and s1.
    pub states: [Option<Numbers>; 2],
    /// Of the mixing weights.
    pub p: Numbers,
    /// Of the weights.
    pub w: Option<Numbers>,
}

/// The gradients of a cell, given that of its nodes, (n, h, w, nodes * c). That of the weights goes `into` zeros that are there,
/// if some are.
pub fn backward(client: &Client, saved: &Saved, g: &Numbers, want: Want, into: Option<Numbers>) -> Gradients {
    let (o, input) = (&saved.outline, &saved.input);
    let b = Back::of(o, &saved.places, want, input.drop.is_some());
    let Back { program, mut n_gradients, mids, n_mids, n_partials, n_parts, .. } = b;
    debug_assert_eq!(mids, n_gradients);
    n_gradients += n_mids;
    let dummy = Numbers::empty(client, 1);
    let p_bar = Numbers::upload(client, &vec![0f32; o.n_alphas]);
    // Scales and shifts are written where there are any, other weights where they have a part.
    let w_bar = match into.filter(|_| want.w) {
        Some(into) => into,
        None if want.w || has_factors(o) => Numbers::zeros(client, o.n_weights),
        None => Numbers::empty(client, 1),
    };
    let to_input = [0, 1].map(|i| {
        let stage = &o.pre[i];
        Numbers::empty(client, if want.states[i] { o.n * px(stage.side) * stage.c_in } else { 1 })
    });
    let drop = input.drop.clone().unwrap_or_else(|| dummy.clone());
    program.run(
        client,
        &Buffers {
            input,
            arena: &saved.arena,
            coefs: &saved.coefs,
            partials: &Numbers::empty(client, n_partials),
            drop: &drop,
            output: g,
            gradients: &Numbers::empty(client, n_gradients),
            to_input: to_input.each_ref(),
            p_bar: &p_bar,
            w_bar: &w_bar,
            parts: &Numbers::empty(client, n_parts),
            dummy: &dummy,
            spare: &Numbers::empty(client, 1),
            n_images: o.n as u32,
        },
    );
    let [s0, s1] = to_input;
    let states = [want.states[0].then_some(s0), want.states[1].then_some(s1)];
    Gradients { states, p: p_bar, w: want.w.then_some(w_bar) }
}

/// How many launches the reverse pass of a cell is.
pub fn n_launches(outline: &Outline, want: Want) -> usize {
    Back::of(outline, &Places::new(outline), want, false).program.len()
}

fn has_factors(o: &Outline) -> bool {
    o.norms.iter().any(|(kind, _)| matches!(kind, OutlineNorm::Affine { .. }))
}

/// Sums of a gradient: where their parts begin, and how many they are.
type Sums = (usize, usize);

/// The launches of a reverse pass.
struct Back<'a> {
    o: &'a Outline,
    places: &'a Places,
    program: Program,
    want: Want,
    n_gradients: usize,
    /// Gradients of each state, and behind the first of two stages of each branch.
    states: Vec<usize>,
    inner: Vec<usize>,
    /// Room for what lies behind products, used again by every group.
    mids: usize,
    n_mids: usize,
    n_partials: usize,
    n_parts: usize,
    /// Sums at the last norm of each branch, at the first of two, at the preprocess blocks.
    outer_sums: Vec<Option<Sums>>,
    inner_sums: Vec<Option<Sums>>,
    pre_sums: [Option<Sums>; 2],
    reduce: Vec<Row>,
    /// What sums tell of mixing weights, scales and shifts: of the nodes, and of the preprocess blocks.
    learned: Vec<Row>,
    has_drop: bool,
}

/// A stage on its way back.
#[derive(Clone, Copy)]
struct Way {
    stage: OutlineStage,
    /// Its input.
    from: Tensor,
    /// The sums at its norm, and the mixing weight behind that.
    sums: Sums,
    alpha: usize,
    /// The gradient behind its norm, and the drop path it takes.
    g: usize,
    path: usize,
    /// Where the gradient of its input goes; of a preprocess block which input that is.
    to: usize,
}

/// A tensor whose product with a gradient is summed, the drop path, and where the parts go.
struct Summed {
    from: usize,
    pitch: usize,
    path: usize,
    part: usize,
}

impl<'a> Back<'a> {
    /// All of them.
    fn of(o: &'a Outline, places: &'a Places, want: Want, has_drop: bool) -> Self {
        let n = o.branches.len();
        let mut b = Back {
            o,
            places,
            program: Program::default(),
            want,
            n_gradients: 0,
            states: Vec::new(),
            inner: vec![usize::MAX; n],
            mids: 0,
            n_mids: 0,
            n_partials: 0,
            n_parts: 0,
            outer_sums: vec![None; n],
            inner_sums: vec![None; n],
            pre_sums: [None; 2],
            reduce: Vec::new(),
            learned: Vec::new(),
            has_drop,
        };
        b.all();
        b
    }

    fn take(&mut self, len: usize) -> usize {
        self.n_gradients += len;
        self.n_gradients - len
    }

    fn all(&mut self) {
        let o = self.o;
        let (n_in, n_out) = (o.n * px(o.side_in), o.n * px(o.side_out));
        self.states = (0..2 + o.nodes).map(|s| self.take(if s < 2 { n_in } else { n_out } * o.c)).collect();
        for at in 0..o.branches.len() {
            if o.branches[at].stages.len() == 2 {
                self.inner[at] = self.take(n_out * o.c);
            }
        }
        self.mids = self.n_gradients;
        for state in (2..2 + o.nodes).rev() {
            self.state(&[state]);
            self.second_stages(state - 2);
        }
        let learned = std::mem::take(&mut self.learned);
        self.program.add(Kernel::LearnGradient, 1, n_out, o.c, learned);
        let needed: Vec<usize> = (0..2).filter(|s| self.needs(*s)).collect();
        if !needed.is_empty() {
            self.state(&needed);
            self.preprocess(&needed);
        }
        let reduce = std::mem::take(&mut self.reduce);
        let longest = reduce.iter().map(|(row, _)| row[2]).max().unwrap_or(0);
        self.program.add(Kernel::Reduce, longest.div_ceil(UNITS).max(1), 0, 0, reduce);
    }

    fn needs(&self, state: usize) -> bool {
        state >= 2 || self.want.w || self.want.states[state]
    }

    fn path(&self, b: &OutlineBranch) -> usize {
        if self.has_drop { b.path } else { usize::MAX }
    }

    /// Everything that reaches the gradients of states of the same size, then the sums of those.
    fn state(&mut self, states: &[usize]) {
        let o = self.o;
        let side = if states[0] < 2 { o.side_in } else { o.side_out };
        let mut ways = Vec::new();
        let mut pools: Vec<(OutlineStage, usize, Vec<usize>)> = Vec::new();
        for (at, b) in o.branches.iter().enumerate().filter(|(_, b)| states.contains(&b.state)) {
            let Some(&stage) = b.stages.first() else { continue };
            let (g, path) = match b.stages.len() {
                2 => (self.inner[at], usize::MAX),
                _ => (self.states[2 + b.node], self.path(b)),
            };
            if matches!(stage.map, OutlineMap::MaxPool | OutlineMap::AvgPool) {
                let term = [self.places.outer[at], g, path, self.places.buffers[stage.norm]];
                match pools.iter_mut().find(|(other, state, _)| (other.map, *state) == (stage.map, b.state)) {
                    Some((_, _, list)) => list.extend(term),
                    None => pools.push((stage, b.state, term.to_vec())),
                }
                continue;
            }
            let (sums, alpha) = match b.stages.len() {
                2 => (self.inner_sums[at], usize::MAX),
                _ => (self.outer_sums[at], b.alpha),
            };
            let sums = sums.expect("the sums at a norm are there before the way back through its stage");
            let from = self.places.state(o, b.state);
            ways.push(Way { stage, from, sums, alpha, g, path, to: self.states[b.state] });
        }
        let (windows, factorized): (Vec<Way>, Vec<Way>) =
            ways.into_iter().partition(|way| way.stage.map != OutlineMap::Factorized);
        let of = |state: usize, ways: &[Way]| ways.iter().any(|way| way.to == self.states[state]);
        // What else than windows there is comes first, and what each state begins with before it.
        let has_others = |state| of(state, &factorized) || pools.iter().any(|(_, other, _)| *other == state);
        let kinds: Vec<(usize, bool, bool)> = states.iter().map(|s| (*s, has_others(*s), of(*s, &windows))).collect();
        let (mut begun, mut rows) = (Vec::new(), Vec::new());
        for &(state, others, windowed) in kinds.iter().filter(|(_, others, windowed)| *others || !windowed) {
            rows.push(self.gathered(state, None, true, !others && !windowed));
            begun.push(state);
        }
        self.gather(side, None, rows);
        self.factorized(&factorized);
        self.pools(side, pools);
        self.windows(side, &windows, &mut begun);
        let rest = kinds.iter().filter(|(_, others, windowed)| *others && !windowed);
        let rows = rest.map(|(state, _, _)| self.gathered(*state, None, false, true)).collect();
        self.gather(side, None, rows);
        for &state in states {
            match state {
                0 | 1 => self.learn_pre(state),
                _ => self.learn_node(state - 2),
            }
        }
    }

    /// A row of a launch that gathers the gradient of a state: `branches` are gradients behind windows and weights; with
    /// `begins` its part of the output's gradient and the skip connections, with `ends` its sums.
    fn gathered(&mut self, state: usize, branches: Option<Vec<usize>>, begins: bool, ends: bool) -> Row {
        let o = self.o;
        let (from, pitch, coef) = self.places.state(o, state);
        let mut skips = Vec::new();
        if begins {
            for b in o.branches.iter().filter(|b| b.state == state && b.adds == OutlineSummand::State) {
                skips.extend([self.states[2 + b.node], b.alpha, self.path(b)]);
            }
        }
        let output = if begins && state >= 2 { (state - 2) * o.c } else { usize::MAX };
        let sums = if ends { self.sums_of(state) } else { Vec::new() };
        let tensor = (from, pitch, coef, self.states[state]);
        gather_row(tensor, !begins, branches.unwrap_or_default(), skips, (output, o.nodes * o.c), sums)
    }

    /// The sums that the norms need that end at a state, with room for their parts.
    fn sums_of(&mut self, state: usize) -> Vec<Summed> {
        let o = self.o;
        if state < 2 {
            let (part, n) = self.partial(o.n * px(o.side_in));
            self.pre_sums[state] = Some((part, n));
            return vec![Summed { from: self.places.buffers[o.pre[state].norm], pitch: o.c, path: usize::MAX, part }];
        }
        let mut all = Vec::new();
        for (at, b) in o.branches.iter().enumerate().filter(|(_, b)| b.node == state - 2) {
            let Some(((from, pitch, _), stage)) = self.places.summand(o, b) else { continue };
            // The sums of a skip connection only its mixing weight needs.
            if stage.is_none() && !self.want.p {
                continue;
            }
            let (part, n) = self.partial(o.n * px(o.side_out));
            self.outer_sums[at] = Some((part, n));
            all.push(Summed { from, pitch, path: self.path(b), part });
        }
        all
    }

    /// What the sums at a node tell; pools need it at once, and the rest can wait.
    fn learn_node(&mut self, node: usize) {
        let o = self.o;
        let mut pools = Vec::new();
        for (at, b) in o.branches.iter().enumerate().filter(|(_, b)| b.node == node) {
            let Some(((_, _, coef), stage)) = self.places.summand(o, b) else { continue };
            let Some((part, n)) = self.outer_sums[at] else { continue };
            let factors = stage.and_then(|stage| scale_of(o, stage.norm));
            let is_identity = stage.is_some_and(|stage| o.norms[stage.norm].0 == OutlineNorm::Identity);
            let is_pool = stage.is_some_and(|s| matches!(s.map, OutlineMap::MaxPool | OutlineMap::AvgPool));
            let to = if is_pool { self.places.outer[at] } else { usize::MAX };
            let row =
                (vec![part, n, or_none(coef), to, b.alpha, or_none(factors), usize::from(is_identity)], Vec::new());
            if is_pool {
                pools.push(row);
            } else if self.want.p || factors.is_some() {
                self.learned.push(row);
            }
        }
        self.program.add(Kernel::LearnGradient, 1, o.n * px(o.side_out), o.c, pools);
    }

    /// Scale and shift of a preprocess block.
    fn learn_pre(&mut self, state: usize) {
        let (o, norm) = (self.o, self.o.pre[state].norm);
        let Some(factors) = scale_of(o, norm) else { return };
        let (part, n) = self.pre_sums[state].expect("a state's gradient has been summed");
        let coef = or_none(self.places.coef(o, norm));
        let row = (vec![part, n, coef, usize::MAX, usize::MAX, factors, 0], Vec::new());
        self.program.add(Kernel::LearnGradient, 1, o.n * px(o.side_in), o.c, vec![row]);
    }

    /// The second stages of the branches that lead to a node, and the sums behind the first.
    fn second_stages(&mut self, node: usize) {
        let o = self.o;
        let g = self.states[2 + node];
        let twice = |(_, b): &(usize, &OutlineBranch)| b.node == node && b.stages.len() == 2;
        let twice: Vec<_> = o.branches.iter().enumerate().filter(twice).filter(|(_, b)| self.needs(b.state)).collect();
        let mut ways = Vec::new();
        for (at, b) in &twice {
            let before = b.stages[0].norm;
            let from = (self.places.buffers[before], o.c, self.places.coef(o, before));
            let sums = self.outer_sums[*at].expect("a node's gradient has been summed");
            let (alpha, path) = (b.alpha, self.path(b));
            ways.push(Way { stage: b.stages[1], from, sums, alpha, g, path, to: self.inner[*at] });
        }
        for (s, stage, now) in self.kinds(&ways) {
            let mids = self.products(s, &now, FROM_ARENA);
            let mut rows = Vec::new();
            for (way, mid) in now.iter().zip(mids) {
                let at = self.inner.iter().position(|to| *to == way.to).expect("it is one of the branches");
                let (part, n) = self.partial(o.n * px(o.side_out));
                self.inner_sums[at] = Some((part, n));
                let before = o.branches[at].stages[0].norm;
                let sum = Summed { from: way.from.0, pitch: o.c, path: usize::MAX, part };
                let tensor = (way.from.0, way.from.1, way.from.2, way.to);
                let branches = vec![mid, way.stage.weights];
                rows.push(gather_row(tensor, false, branches, Vec::new(), (usize::MAX, 0), vec![sum]));
                if let Some(factors) = scale_of(o, before) {
                    let coef = or_none(self.places.coef(o, before));
                    self.learned.push((vec![part, n, coef, usize::MAX, usize::MAX, factors, 0], Vec::new()));
                }
            }
            self.gather(o.side_out, Some(&stage), rows);
        }
    }

    /// Through the preprocess blocks.
    fn preprocess(&mut self, states: &[usize]) {
        let way = |state: usize| {
            let stage = self.o.pre[state];
            let s = shape_back(&stage, true, self.want.w, self.want.states[state]);
            let way = Way {
                stage,
                from: (0, stage.c_in, None),
                sums: self.pre_sums[state].expect("a state's gradient has been summed"),
                alpha: usize::MAX,
                g: self.states[state],
                path: usize::MAX,
                to: state,
            };
            (s, way)
        };
        let ways: Vec<(Shape, Way)> = states.iter().map(|&state| way(state)).collect();
        match ways[..] {
            [(a, first), (b, second)] if a == b && first.stage.map == second.stage.map => {
                self.into_inputs(a, &[first, second])
            }
            _ => ways.into_iter().for_each(|(s, way)| self.into_inputs(s, &[way])),
        }
    }

    /// Preprocess blocks of one kind; of a factorized one there is only one.
    fn into_inputs(&mut self, s: Shape, ways: &[Way]) {
        let input = ways[0].to;
        let mids = self.products(s, ways, input);
        if ways[0].stage.map == OutlineMap::Factorized && s.input {
            self.pixels(s, input, false, ways, &mids);
        }
    }

    /// Room for the sums of all parts.
    fn partial(&mut self, n_px: usize) -> Sums {
        let (_, n) = stretches(n_px, self.o.c);
        let len = n * PART_BACK * self.o.c;
        self.n_partials += len;
        (self.n_partials - len, n)
    }

    /// Ways by what they are compiled for.
    fn kinds(&self, ways: &[Way]) -> Vec<(Shape, OutlineStage, Vec<Way>)> {
        let mut kinds: Vec<(Shape, OutlineStage, Vec<Way>)> = Vec::new();
        for way in ways {
            let s = shape_back(&way.stage, false, self.want.w, true);
            match kinds.iter_mut().find(|(other, stage, _)| *other == s && stage.map == way.stage.map) {
                Some((_, _, now)) => now.push(*way),
                None => kinds.push((s, way.stage, vec![*way])),
            }
        }
        kinds
    }

    /// Back through windows, each kind by itself; the first of a state begins its gradient, the last sums it.
    fn windows(&mut self, side: [usize; 2], ways: &[Way], begun: &mut Vec<usize>) {
        let kinds = self.kinds(ways);
        for (at, (s, stage, now)) in kinds.iter().enumerate() {
            let mids = self.products(*s, now, FROM_ARENA);
            let mut rows = Vec::new();
            for (state, to) in self.states.clone().into_iter().enumerate() {
                let of = |way: &Way| way.to == to;
                let branches: Vec<usize> =
                    now.iter().zip(&mids).filter(|(w, _)| of(w)).flat_map(|(w, mid)| [*mid, w.stage.weights]).collect();
                if branches.is_empty() {
                    continue;
                }
                let begins = !begun.contains(&state);
                begun.push(state);
                let ends = !kinds[at + 1..].iter().any(|(_, _, later)| later.iter().any(of));
                rows.push(self.gathered(state, Some(branches), begins, ends));
            }
            self.gather(side, Some(stage), rows);
        }
    }

    /// Launches rows that gather.
    fn gather(&mut self, side: [usize; 2], window: Option<&OutlineStage>, rows: Vec<Row>) {
        let (o, n_px) = (self.o, self.o.n * px(side));
        let (stretch, n) = stretches(n_px, o.c);
        let s = shape_gather(window, side, o.c);
        self.program.add(Kernel::Gather { s, stretch }, n, n_px, o.c, rows);
    }

    fn factorized(&mut self, ways: &[Way]) {
        for (s, _, now) in self.kinds(ways) {
            let mids = self.products(s, &now, FROM_ARENA);
            self.pixels(s, FROM_ARENA, true, &now, &mids);
        }
    }

    /// The gradient of the input of factorized reductions, given that of their outputs.
    fn pixels(&mut self, s: Shape, input: usize, is_added: bool, ways: &[Way], mids: &[usize]) {
        let mut into: Vec<(Way, Vec<usize>)> = Vec::new();
        for (way, mid) in ways.iter().zip(mids) {
            match into.iter_mut().find(|(other, _)| other.to == way.to) {
                Some((_, list)) => list.extend([*mid, way.stage.weights]),
                None => into.push((*way, vec![*mid, way.stage.weights])),
            }
        }
        let n_in = self.o.n * s.h * s.wd;
        let row = |(way, list): (Way, Vec<usize>)| {
            let (from, pitch, coef) = way.from;
            (vec![from, pitch, or_none(coef), way.to, usize::from(is_added), list.len() / 2], list)
        };
        let rows = into.into_iter().map(row).collect();
        self.program.add(Kernel::FactorizedPixels { s, input }, (n_in * s.c_in).div_ceil(UNITS), n_in, s.c_in, rows);
    }

    fn pools(&mut self, side: [usize; 2], pools: Vec<(OutlineStage, usize, Vec<usize>)>) {
        let (o, n_px) = (self.o, self.o.n * px(side));
        for is_max in [true, false] {
            let of = |map| (map == OutlineMap::MaxPool) == is_max;
            let mut rows = Vec::new();
            let mut s = None;
            for (stage, state, list) in pools.iter().filter(|(stage, _, _)| of(stage.map)) {
                let (from, pitch, coef) = self.places.state(o, *state);
                let row = vec![from, pitch, or_none(coef), self.states[*state], 1, list.len() / 4];
                rows.push((row, list.clone()));
                s = Some(shape_gather(Some(stage), side, o.c));
            }
            if let Some(s) = s {
                self.program.add(Kernel::PoolBack { s, is_max }, (n_px * o.c).div_ceil(UNITS), n_px, o.c, rows);
            }
        }
    }

    /// Back through the products of stages of one kind; where what lies behind their windows went, or, of factorized
    /// reductions, the gradient of their outputs.
    fn products(&mut self, s: Shape, ways: &[Way], input: usize) -> Vec<usize> {
        let o = self.o;
        let Some(first) = ways.first() else { return Vec::new() };
        let is_factorized = first.stage.map == OutlineMap::Factorized;
        let n_px = o.n * s.ho * s.wo;
        let len = n_px * if is_factorized { s.c_out } else { s.c_in };
        let cubes = parts_back(n_px, &s);
        let (mut rows, mut mids) = (Vec::new(), Vec::new());
        for (k, way) in ways.iter().enumerate() {
            let stage = &way.stage;
            // A preprocess block without a window writes to its input at once.
            let has_mid = is_factorized || s.k > 0;
            let mid = self.mids + if has_mid { k * len } else { 0 };
            if has_mid {
                self.n_mids = self.n_mids.max((k + 1) * len);
            }
            mids.push(mid);
            let part = self.part(cubes, s.c_in * s.c_out, stage.weights + s.k * s.k * s.c_in);
            let window = if s.k > 0 { self.part(cubes, s.k * s.k * s.c_in, stage.weights) } else { 0 };
            let (from, pitch, coef) = way.from;
            let y = self.places.buffers[stage.norm];
            let mut row = vec![from, pitch, or_none(coef), stage.weights, y, way.g, way.path, mid, part, window];
            row.push(if input == FROM_ARENA { usize::MAX } else { way.to });
            let norm = or_none(self.places.coef(o, stage.norm));
            let is_identity = usize::from(o.norms[stage.norm].0 == OutlineNorm::Identity);
            let (part, n) = way.sums;
            rows.push((row, vec![part, n, norm, way.alpha, or_none(scale_of(o, stage.norm)), is_identity]));
        }
        let kernel = if is_factorized { Kernel::FactorizedProduct { s, input } } else { Kernel::HalfProduct { s } };
        self.program.add(kernel, cubes, n_px, s.c_out, rows);
        mids
    }

    /// Room for the parts of a weight gradient, which are added up at the end.
    fn part(&mut self, n: usize, len: usize, to: usize) -> usize {
        if !self.want.w {
            return 0;
        }
        let at = self.n_parts;
        self.n_parts += n * len;
        self.reduce.push((vec![at, n, len, to], Vec::new()));
        at
    }
}

/// See [`crate::kernels::gather::gather`]; `tensor` is the state, the distance of its pixels, its coefficients, its
/// gradient.
fn gather_row(
    (from, pitch, coef, to): (usize, usize, Option<usize>, usize),
    is_added: bool,
    mut list: Vec<usize>,
    skips: Vec<usize>,
    (output, output_pitch): (usize, usize),
    sums: Vec<Summed>,
) -> Row {
    let (n_branches, n_skips, added) = (list.len() / 2, skips.len() / 3, usize::from(is_added));
    let row = vec![from, pitch, or_none(coef), to, added, n_branches, n_skips, output, output_pitch, sums.len()];
    list.extend(skips);
    list.extend(sums.into_iter().flat_map(|s| [s.from, s.pitch, s.path, s.part]));
    (row, list)
}

#[cfg(test)]
mod tests {
    use rdarts_kernels::spec::{CellDims, CellSpec};

    use super::*;
    use crate::forward;

    #[test]
    fn launches_are_as_many_whatever_the_number_of_branches_of_a_kind() {
        // The cell of a supernet of four nodes, with a skip connection and a separable convolution on every edge.
        let cell = |ops: &[rdarts_space::Op], reduction: bool| {
            let edges = vec![ops.to_vec(); 14];
            let (nodes, c, c_prev_prev, c_prev) = (4, 16, 64, 64);
            let spec =
                CellSpec { nodes, c, c_prev_prev, c_prev, reduction, reduction_prev: false, edges, discrete: None };
            Outline::new(&spec, CellDims { n: 64, side0: [32; 2], side1: [32; 2] })
        };
        use rdarts_space::Op::{SepConv3x3, SkipConnect};
        let want = |p: bool| Want { states: [true; 2], p, w: !p };
        let count = |o: &Outline| [forward::n_launches(o), n_launches(o, want(false)), n_launches(o, want(true))];
        let [one, two] = [&[SepConv3x3][..], &[SkipConnect, SepConv3x3]].map(|ops| count(&cell(ops, false)));
        assert_eq!(one, two);
        println!("normal {two:?}, reduction {:?}", count(&cell(&[SkipConnect, SepConv3x3], true)));
    }
}
