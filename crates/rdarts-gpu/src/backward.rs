//! The reverse pass of a cell on a card.

use cubecl::client::Client;
use rdarts_kernels::outline::{Outline, OutlineBranch, OutlineMap, OutlineNorm, OutlineStage, OutlineSummand};

use crate::forward::Saved;
use crate::kernels::{SUM_TILE, Shape, UNITS};
use crate::launch::{Buffers, FROM_ARENA, Kernel, Numbers, Program, Row};
use crate::places::{Places, Tensor, px, scale_of, shape, side_out};
use crate::table::or_none;

/// The most parts of a weight gradient.
const PARTS: usize = 64;

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

/// The gradients of a cell, given that of its nodes, (n, h, w, nodes * c).
pub fn backward(client: &Client, saved: &Saved, g: &Numbers, want: Want) -> Gradients {
    let (o, input) = (&saved.outline, &saved.input);
    let b = Back::of(o, &saved.places, want, input.drop.is_some());
    let Back { program, mut n_gradients, mids, n_mids, n_partials, n_parts, .. } = b;
    debug_assert_eq!(mids, n_gradients);
    n_gradients += n_mids;
    let dummy = Numbers::empty(client, 1);
    let zeros = |len: usize| Numbers::upload(client, &vec![0f32; len]);
    let p_bar = zeros(o.n_alphas);
    // Scales and shifts are written where there are any, other weights where they have a part.
    let w_bar = zeros(if want.w || has_factors(o) { o.n_weights } else { 1 });
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

/// The launches of a reverse pass.
struct Back<'a> {
    o: &'a Outline,
    places: &'a Places,
    program: Program,
    want: Want,
    n_gradients: usize,
    /// Of each state, and behind the first of two stages of each branch.
    states: Vec<usize>,
    inner: Vec<usize>,
    /// Room for what lies behind products, used again by every group.
    mids: usize,
    n_mids: usize,
    n_partials: usize,
    n_parts: usize,
    reduce: Vec<Row>,
    has_drop: bool,
}

/// A stage on its way back.
#[derive(Clone, Copy)]
struct Way {
    stage: OutlineStage,
    /// Its input.
    from: Tensor,
    /// The coefficients of the gradient at its norm.
    of_norm: usize,
    /// The gradient behind its norm, and the drop path it takes.
    g: usize,
    path: usize,
    /// Where the gradient of its input goes.
    to: usize,
}

impl<'a> Back<'a> {
    /// All of them.
    fn of(o: &'a Outline, places: &'a Places, want: Want, has_drop: bool) -> Self {
        let mut b = Back {
            o,
            places,
            program: Program::default(),
            want,
            n_gradients: 0,
            states: Vec::new(),
            inner: vec![usize::MAX; o.branches.len()],
            mids: 0,
            n_mids: 0,
            n_partials: 0,
            n_parts: 0,
            reduce: Vec::new(),
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
            self.first_stages(&[state]);
            self.at_node(state - 2);
        }
        let needed: Vec<usize> = (0..2).filter(|s| self.want.w || self.want.states[*s]).collect();
        if !needed.is_empty() {
            self.first_stages(&needed);
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

    /// Everything that reaches the gradients of states of the same size.
    fn first_stages(&mut self, states: &[usize]) {
        let o = self.o;
        let side = if states[0] < 2 { o.side_in } else { o.side_out };
        let n_px = o.n * px(side);
        let mut rows = Vec::new();
        for &state in states {
            let from = if state < 2 { usize::MAX } else { (state - 2) * o.c };
            let mut list = Vec::new();
            for b in o.branches.iter().filter(|b| b.state == state && b.adds == OutlineSummand::State) {
                list.extend([self.states[2 + b.node], b.alpha, self.path(b)]);
            }
            rows.push((vec![list.len() / 3, self.states[state], from, o.nodes * o.c], list));
        }
        let cubes = (n_px * o.c).div_ceil(UNITS);
        self.program.add(Kernel::Begin { px_of_image: px(side) }, cubes, n_px, o.c, rows);
        let mut ways = Vec::new();
        let mut pools: Vec<(OutlineStage, usize, Vec<usize>)> = Vec::new();
        for (at, b) in o.branches.iter().enumerate().filter(|(_, b)| states.contains(&b.state)) {
            let Some(&stage) = b.stages.first() else { continue };
            let (g, path, of_norm) = match b.stages.len() {
                2 => (self.inner[at], usize::MAX, self.places.inner[at]),
                _ => (self.states[2 + b.node], self.path(b), self.places.outer[at]),
            };
            if matches!(stage.map, OutlineMap::MaxPool | OutlineMap::AvgPool) {
                let term = [of_norm, g, o.c, path, self.places.buffers[stage.norm]];
                match pools.iter_mut().find(|(other, state, _)| (other.map, *state) == (stage.map, b.state)) {
                    Some((_, _, list)) => list.extend(term),
                    None => pools.push((stage, b.state, term.to_vec())),
                }
                continue;
            }
            let from = self.places.state(o, b.state);
            ways.push(Way { stage, from, of_norm, g, path, to: self.states[b.state] });
        }
        self.stages(&ways, FROM_ARENA, true);
        for is_max in [true, false] {
            let of = |map| (map == OutlineMap::MaxPool) == is_max;
            let mut rows = Vec::new();
            for (stage, state, list) in pools.iter().filter(|(stage, _, _)| of(stage.map)) {
                let (from, pitch, coef) = self.places.state(o, *state);
                let ([h, w], [ho, wo]) = (stage.side, side_out(stage));
                let to = self.states[*state];
                let row = vec![from, pitch, or_none(coef), h, w, stage.stride, ho, wo, to, 1, list.len() / 5];
                rows.push((row, list.clone()));
            }
            let s = Shape { k: 3, dilation: 1, c_in: o.c, c_out: o.c, tile: 1, ..shape(&o.pre[0], false) };
            self.program.add(Kernel::PoolBack { s, is_max }, cubes, n_px, o.c, rows);
        }
    }

    /// The sums at a node, and the second stages of the branches that lead there.
    fn at_node(&mut self, node: usize) {
        let o = self.o;
        let (side, n_px) = (o.side_out, o.n * px(o.side_out));
        let g = self.states[2 + node];
        let into = || o.branches.iter().enumerate().filter(move |(_, b)| b.node == node);
        let (mut sums, mut learned) = (Vec::new(), Vec::new());
        for (at, b) in into() {
            let Some(((from, pitch, coef), stage)) = self.places.summand(o, b) else { continue };
            // The sums of a skip connection only its mixing weight needs.
            if stage.is_none() && !self.want.p {
                continue;
            }
            let (part, tiles) = self.partial(n_px);
            sums.push((vec![g, o.c, from, pitch, self.path(b), part], Vec::new()));
            let to = stage.map(|_| self.places.outer[at]);
            let factors = stage.and_then(|stage| scale_of(o, stage.norm));
            let is_identity = stage.is_some_and(|stage| o.norms[stage.norm].0 == OutlineNorm::Identity);
            let row =
                vec![part, tiles, or_none(coef), or_none(to), b.alpha, or_none(factors), usize::from(is_identity)];
            learned.push((row, Vec::new()));
        }
        self.program.add(Kernel::Sums { px_of_image: px(side) }, n_px.div_ceil(SUM_TILE), n_px, o.c, sums);
        self.program.add(Kernel::LearnGradient, 1, n_px, o.c, learned);

        let (mut ways, mut sums, mut learned) = (Vec::new(), Vec::new(), Vec::new());
        let twice: Vec<_> = into().filter(|(_, b)| b.stages.len() == 2 && self.needs(b.state)).collect();
        for (at, b) in twice {
            let before = b.stages[0].norm;
            let from = (self.places.buffers[before], o.c, self.places.coef(o, before));
            let (of_norm, to) = (self.places.outer[at], self.inner[at]);
            ways.push(Way { stage: b.stages[1], from, of_norm, g, path: self.path(b), to });
            let (part, tiles) = self.partial(n_px);
            sums.push((vec![to, o.c, from.0, o.c, usize::MAX, part], Vec::new()));
            let factors = scale_of(o, before);
            let row = vec![part, tiles, or_none(from.2), self.places.inner[at], usize::MAX, or_none(factors), 0];
            learned.push((row, Vec::new()));
        }
        self.stages(&ways, FROM_ARENA, false);
        self.program.add(Kernel::Sums { px_of_image: px(side) }, n_px.div_ceil(SUM_TILE), n_px, o.c, sums);
        self.program.add(Kernel::LearnGradient, 1, n_px, o.c, learned);
    }

    /// Through the preprocess blocks.
    fn preprocess(&mut self, states: &[usize]) {
        let o = self.o;
        let n_px = o.n * px(o.side_in);
        let (mut sums, mut learned) = (Vec::new(), Vec::new());
        for &state in states {
            let norm = o.pre[state].norm;
            let (part, tiles) = self.partial(n_px);
            sums.push((vec![self.states[state], o.c, self.places.buffers[norm], o.c, usize::MAX, part], Vec::new()));
            let (coef, factors) = (self.places.coef(o, norm), scale_of(o, norm));
            let row = vec![part, tiles, or_none(coef), self.places.pre[state], usize::MAX, or_none(factors), 0];
            learned.push((row, Vec::new()));
        }
        self.program.add(Kernel::Sums { px_of_image: px(o.side_in) }, n_px.div_ceil(SUM_TILE), n_px, o.c, sums);
        self.program.add(Kernel::LearnGradient, 1, n_px, o.c, learned);
        for &state in states {
            let stage = o.pre[state];
            let way = Way {
                stage,
                from: (0, stage.c_in, None),
                of_norm: self.places.pre[state],
                g: self.states[state],
                path: usize::MAX,
                to: 0,
            };
            self.stages(&[way], state, false);
        }
    }

    /// Room for the sums of all tiles.
    fn partial(&mut self, n_px: usize) -> (usize, usize) {
        let tiles = n_px.div_ceil(SUM_TILE);
        self.n_partials += tiles * 2 * self.o.c;
        (self.n_partials - tiles * 2 * self.o.c, tiles)
    }

    /// Stages of one or several kinds on their way back; ways with the same destination add up there.
    fn stages(&mut self, ways: &[Way], input: usize, is_added: bool) {
        let o = self.o;
        let mut rest: Vec<Way> = ways.to_vec();
        let from_input = input != FROM_ARENA;
        let wants_input = if from_input { self.want.states[input] } else { true };
        while let Some(first) = rest.first().copied() {
            let shape_of =
                |stage: &OutlineStage| Shape { weights: self.want.w, input: wants_input, ..shape(stage, from_input) };
            let s = shape_of(&first.stage);
            let same = |way: &Way| way.stage.map == first.stage.map && shape_of(&way.stage) == s;
            let (now, later): (Vec<Way>, Vec<Way>) = rest.into_iter().partition(same);
            rest = later;
            let is_factorized = first.stage.map == OutlineMap::Factorized;
            let n_px = o.n * px(side_out(&first.stage));
            // Behind a product lie its input channels; behind two of them their output is sent on as it is.
            let len = n_px * if is_factorized { s.c_out } else { s.c_in };
            let cubes = n_px.div_ceil(s.tile).min(PARTS);
            let (mut products, mut windows) = (Vec::new(), Vec::new());
            let mut into: Vec<(Way, Vec<usize>)> = Vec::new();
            for (k, way) in now.iter().enumerate() {
                let stage = &way.stage;
                let ([h, w], [ho, wo]) = (stage.side, side_out(stage));
                let mid = self.mids + k * len;
                self.n_mids = self.n_mids.max((k + 1) * len);
                let (from, pitch, coef) = way.from;
                let sides = [h, w, stage.stride, ho, wo];
                let product = s.c_in * s.c_out;
                let part = self.part(cubes, product, stage.weights + s.k * s.k * s.c_in);
                let mut row = vec![from, pitch, or_none(coef)];
                row.extend(sides);
                row.extend([
                    stage.weights,
                    self.places.buffers[stage.norm],
                    part,
                    way.of_norm,
                    way.g,
                    s.c_out,
                    way.path,
                ]);
                products.push((row, vec![mid]));
                if self.want.w && s.k > 0 {
                    let stretch = n_px.div_ceil(PARTS).max(1);
                    let n_stretches = n_px.div_ceil(stretch);
                    let part = self.part(n_stretches, s.k * s.k * s.c_in, stage.weights);
                    let mut row = vec![from, pitch, or_none(coef)];
                    row.extend(sides);
                    row.extend([mid, stretch, part]);
                    windows.push((row, Vec::new()));
                }
                match into.iter_mut().find(|(other, _)| other.to == way.to) {
                    Some((_, list)) => list.extend([mid, stage.weights]),
                    None => into.push((*way, vec![mid, stage.weights])),
                }
            }
            let kernel =
                if is_factorized { Kernel::FactorizedProduct { s, input } } else { Kernel::HalfProduct { s, input } };
            self.program.add(kernel, cubes, n_px, s.c_out, products);
            if wants_input {
                let n_in = o.n * px(first.stage.side);
                let mut rows = Vec::new();
                for (way, list) in into {
                    let ([h, w], [ho, wo], (from, pitch, coef)) = (way.stage.side, side_out(&way.stage), way.from);
                    let n = list.len() / 2;
                    let added = usize::from(is_added);
                    let row = vec![from, pitch, or_none(coef), h, w, way.stage.stride, ho, wo, way.to, added, n];
                    rows.push((row, list));
                }
                let kernel =
                    if is_factorized { Kernel::FactorizedPixels { s, input } } else { Kernel::HalfWindow { s, input } };
                self.program.add(kernel, (n_in * s.c_in).div_ceil(UNITS), n_in, s.c_in, rows);
            }
            let stretches = n_px.div_ceil(n_px.div_ceil(PARTS).max(1));
            self.program.add(Kernel::WindowWeights { s }, stretches, n_px, s.c_in, windows);
        }
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
