//! Random search with weight sharing (Li and Talwalkar, "Random Search and Reproducibility for Neural Architecture Search",
//! section 3.2): the baseline RS-ws of the paper's tables 3 and 6.
//!
//! Each step draws an architecture: two of all edges that lead to a node, and on each of both one of all its operations,
//! `none` and `noise` included. Its mixing weights are one there and zero elsewhere, and its loss L trains the weights:
//!
//! ```text
//! g = dL/dw, clipped; 0 for the weights of operations that were not drawn
//! b <- mu b + g + l2 w,   w <- w - lr b
//! ```
//!
//! Momentum and L2 act on all weights in every step, as in the released code, where all operations are computed and then
//! multiplied by zero. Here those that were not drawn are not computed at all, which gives the same gradient.
//!
//! After the last epoch `search.samples` architectures are drawn in the same way. Each is scored on the first
//! `search.sample_batches` batches of the images that train no weights, and the best ten different ones on all of them:
//! the best of these is the result. The better one has the higher accuracy, or else the lower loss, or else was drawn first.
//!
//! Where the released code does otherwise: its samples see other images each, augmented; here all see the same ones as
//! they are, so that they differ by their operations alone. It takes the running statistics that all architectures have
//! left in the batch norms, here each batch has its own. It makes as many steps for every data set as for CIFAR-10. Its
//! edges all have equally many operations; where they have not, architectures are not equally likely, but the edges into a
//! node are, and the operations of an edge.

use std::cmp::Ordering;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rdarts_net::{Alphas, Batch, Evaluator, held_weight_gradient_mixed};
use rdarts_rng::Stream;
use rdarts_space::{CellType, Genotype, Op, Space, Topology};
use rdarts_train::{Step, TrainError};

use crate::State;
use crate::architecture::Scores;
use crate::score::{Score, score, valid_images};
use crate::search::Search;

/// So many of the samples are scored on all images.
const FINALISTS: usize = 10;

/// Scores are saved this often, like the steps of a long epoch.
const SAVE_EVERY: Duration = Duration::from_secs(300);

/// An architecture drawn at random, as mixing weights of the normal and then of the reduction cell: the edges that each node keeps
/// have one operation of weight one, all else has weight zero.
pub fn draw(space: &Space, stream: &mut Stream) -> Vec<f32> {
    let of_cell = |cell: CellType| {
        let mut p = vec![0.0; space.n_alphas(cell)];
        for node in 0..space.nodes {
            let inputs = match space.topology {
                Topology::Darts => {
                    let first = stream.below(node + 2);
                    let second = stream.below(node + 1);
                    vec![first, second + usize::from(second >= first)]
                }
                Topology::NasBench201 => (0..=node).collect(),
            };
            for input in inputs {
                let edge = space.topology.edge_index(node, input);
                let op = stream.below(space.cell(cell)[edge].len());
                p[space.offset(cell, edge) + op] = 1.0;
            }
        }
        p
    };
    space.cell_types().iter().copied().flat_map(of_cell).collect()
}

/// The genotype that such mixing weights of the normal and of the reduction cell stand for.
///
/// # Panics
/// If they are not of this kind.
pub fn genotype(space: &Space, p: [&[f32]; 2]) -> Genotype {
    let of_cell = |cell: CellType| -> Vec<(Op, usize)> {
        let chosen = |(edge, _, input): (usize, usize, usize)| {
            let ops = &space.cell(cell)[edge];
            let p = &p[cell as usize][space.offset(cell, edge)..][..ops.len()];
            p.iter().position(|p| *p != 0.0).map(|op| (ops[op], input))
        };
        let has = space.cell_types().contains(&cell);
        space.edges().filter(|_| has).filter_map(chosen).collect()
    };
    let [normal, reduce] = CellType::ALL.map(of_cell);
    let genotype = space.genotype(normal, reduce);
    genotype.check().expect("as many edges as it keeps lead to each node");
    genotype
}

/// Draws the architecture of a step and trains its weights.
///
/// # Errors
/// If the loss or its gradient is no number any more.
pub(crate) fn step(
    search: &Search,
    state: &mut State,
    train: Batch<'_, f32>,
    position: u64,
) -> Result<Step, TrainError> {
    let mut stream = search.streams(state.at.attempt).stream("architecture", position);
    state.extra.alphas = draw(&search.space, &mut stream);
    let p = state.extra.for_network();
    let made = held_weight_gradient_mixed(&search.net, &search.engine, &state.weights, &p, train);
    search.bilevel(state).update_weights(state, made, None)
}

/// What was chosen, and the sentence for it.
pub(crate) struct Chosen {
    pub(crate) genotype: Genotype,
    pub(crate) reason: String,
}

/// Scores the samples that have no score yet and chooses one; `None` if `stop` was set meanwhile. `save` is given the state
/// when it is worth saving; what it is given last, if nothing stops it, does not depend on where it was stopped before.
///
/// # Errors
/// One sentence if the images are in a file that cannot be read any more, or if saving fails.
pub(crate) fn choose(
    search: &Search,
    state: &mut State,
    stop: &AtomicBool,
    save: &mut dyn FnMut(&State) -> Result<(), TrainError>,
) -> Result<Option<Chosen>, TrainError> {
    let n = search.spec.search.samples;
    // As many as that of the whole are the rest: the finalists are known when all samples have their scores.
    let (mut finalists, mut saved) = (Vec::new(), Instant::now());
    loop {
        let at = scores(state).loss.len();
        if at >= n && finalists.is_empty() {
            finalists = best_different(search, scores(state));
        }
        let (sample, limit) = match at.checked_sub(n) {
            None => (at, sample_images(search)),
            Some(place) if place < finalists.len() => (finalists[place], 0),
            Some(_) => break,
        };
        let p = as_alphas(search, &draw_sample(search, sample));
        let Some(score) = score_sample(search, state, &p, limit, stop)? else {
            save(state)?;
            return Ok(None);
        };
        scores_mut(state).push(score);
        if saved.elapsed() > SAVE_EVERY {
            save(state)?;
            saved = Instant::now();
        }
    }
    save(state)?;
    let scores = scores(state);
    let best = scores.ranked(n, n + finalists.len())[0];
    let reason = format!(
        "Of {n} random architectures, scored on {} images, the best {} were scored on all {} that train no weights: the \
         result gets {:.1} % of them right with the shared weights.",
        valid_images(search, sample_images(search)).len(),
        finalists.len(),
        search.images.split.valid.len(),
        100.0 * scores.accuracy[best]
    );
    let p = draw_sample(search, finalists[best - n]);
    Ok(Some(Chosen { genotype: genotype(&search.space, by_type(search, &p)), reason }))
}

/// The mixing weights of a sample of the choice at the end.
pub fn draw_sample(search: &Search, sample: usize) -> Vec<f32> {
    draw(&search.space, &mut search.streams(0).stream("sample", sample as u64))
}

/// A sample on the first so many of the images that train no weights; 0: all. `None` if `stop` was set meanwhile.
///
/// # Errors
/// One sentence if the images are in a file that cannot be read any more.
pub fn score_sample(
    search: &Search,
    state: &State,
    p: &Alphas,
    limit: usize,
    stop: &AtomicBool,
) -> Result<Option<Score>, TrainError> {
    let evaluator = Evaluator::mixed(&search.net, &search.engine, &state.weights, p);
    // The same noise for all, as they have the same images.
    score(search, valid_images(search, limit), &evaluator, stop, |i, n| {
        search.streams(0).noise(&search.net, 0.0, "noise-sample", i, n)
    })
}

/// How many images a sample is scored on.
fn sample_images(search: &Search) -> usize {
    search.spec.search.sample_batches.saturating_mul(search.spec.search.batch)
}

/// The best samples, of several that are the same architecture the first: small spaces repeat themselves.
fn best_different(search: &Search, scores: &Scores) -> Vec<usize> {
    let mut best: Vec<(usize, Vec<f32>)> = Vec::new();
    for sample in scores.ranked(0, search.spec.search.samples) {
        let p = draw_sample(search, sample);
        if best.len() < FINALISTS && best.iter().all(|(_, other)| *other != p) {
            best.push((sample, p));
        }
    }
    best.into_iter().map(|(sample, _)| sample).collect()
}

fn scores(state: &State) -> &Scores {
    state.extra.scores.as_ref().expect("a state of random search has scores")
}

fn scores_mut(state: &mut State) -> &mut Scores {
    state.extra.scores.as_mut().expect("a state of random search has scores")
}

fn by_type<'a>(search: &Search, p: &'a [f32]) -> [&'a [f32]; 2] {
    let (normal, reduce) = p.split_at(search.n_alphas()[0]);
    [normal, reduce]
}

fn as_alphas(search: &Search, p: &[f32]) -> Alphas {
    Alphas::from(by_type(search, p).map(|p| p.iter().map(|p| f64::from(*p)).collect()))
}

impl Scores {
    fn push(&mut self, score: Score) {
        self.accuracy.push(score.accuracy as f32);
        self.loss.push(score.loss as f32);
    }

    /// The numbers from `first` up to before `end`, the best first.
    fn ranked(&self, first: usize, end: usize) -> Vec<usize> {
        let compare = |a: &usize, b: &usize| -> Ordering {
            let by_accuracy = self.accuracy[*b].total_cmp(&self.accuracy[*a]);
            by_accuracy.then(self.loss[*a].total_cmp(&self.loss[*b]))
        };
        let mut numbers: Vec<usize> = (first..end).collect();
        numbers.sort_by(compare);
        numbers
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rdarts_net::Engine;
    use rdarts_run::{SearchSpec, Spec};
    use rdarts_train::{Job, KnownSets};

    use super::*;

    #[test]
    fn an_architecture_has_as_many_edges_into_each_node_as_it_keeps_and_any_operation() {
        for name in Space::NAMES {
            let space = Space::builtin(name).unwrap();
            let n_normal = space.n_alphas(CellType::Normal);
            let mut seen = vec![0; n_normal + space.n_alphas(CellType::Reduce)];
            let mut stream = Stream::new(1, "test", 0);
            for _ in 0..2000 {
                let p = draw(&space, &mut stream);
                assert!(p.iter().all(|p| *p == 0.0 || *p == 1.0));
                seen.iter_mut().zip(&p).for_each(|(n, p)| *n += *p as usize);
                let found = genotype(&space, [&p[..n_normal], &p[n_normal..]]);
                for &cell in space.cell_types() {
                    assert_eq!(found.n_nodes(cell), space.nodes);
                    for node in 0..space.nodes {
                        let states = found.node(cell, node).iter().map(|(_, state)| *state);
                        assert!(states.clone().is_sorted_by(|a, b| a < b));
                        assert!(states.max().unwrap() < node + space.topology.n_inputs());
                    }
                }
                rdarts_space::selection(&space, &found).unwrap();
            }
            // With i inputs an edge into node j is drawn with probability kept / (j + i), each of its k operations with 1 / k of that.
            for &cell in space.cell_types() {
                for (edge, node, _) in space.edges() {
                    let (k, start) =
                        (space.cell(cell)[edge].len(), cell as usize * n_normal + space.offset(cell, edge));
                    let p = space.topology.kept(node) as f64 / ((node + space.topology.n_inputs()) * k) as f64;
                    let six_sigmas = 6.0 * (2000.0 * p * (1.0 - p)).sqrt();
                    for n in &seen[start..start + k] {
                        assert!((*n as f64 - 2000.0 * p).abs() <= six_sigmas, "{name}: {n} of {}", 2000.0 * p);
                    }
                }
            }
        }
    }

    #[test]
    fn the_weights_of_operations_that_were_not_drawn_follow_momentum_and_l2_alone() {
        let small = "preset = 'demo'\n[data]\nlimit = 96\n[network]\nchannels = 2\ncells = 3\n[search]\nbatch = 16\n\
                     method = 'rs-ws'\n";
        let spec = SearchSpec::resolve_text(None, Some(("test", small)), &[], &KnownSets).unwrap();
        let search = Search::new(spec, Space::builtin("s2").unwrap(), Engine::cpu()).unwrap();
        let mut state = search.begin().1;
        let (lr, l2, mu) = (search.lr(0) as f32, search.spec.weights.l2 as f32, search.spec.weights.momentum as f32);
        let mut drawn = BTreeSet::new();
        for batch in search.batches(&state.at).take(2) {
            let before = state.clone();
            let made = search.step(&mut state, batch.unwrap()).unwrap();
            assert!(made.side_loss.is_none() && made.loss.is_finite());
            state.at.add(&made);
            drawn.insert(state.extra.alphas.iter().map(|p| *p as u8).collect::<Vec<_>>());
            let p = as_alphas(&search, &state.extra.alphas);
            let sizes = [search.net.edge_sizes(0), search.net.edge_sizes(1)];
            let (mut n_left_out, mut n_trained) = (0, 0);
            for weight in search.net.weights() {
                // `cells.1._ops.3._ops.0.op.1.weight`: operation 0 of edge 3.
                let parts: Vec<&str> = weight.name.split('.').collect();
                let is_left_out = parts.get(2) == Some(&"_ops") && {
                    let number = |i: usize| parts[i].parse::<usize>().unwrap();
                    let cell = search.net.cells().nth(number(1)).unwrap().cell_type;
                    let start: usize = sizes[cell][..number(3)].iter().sum();
                    p.of(cell)[start + number(5)] == 0.0
                };
                for i in weight.offset..weight.offset + weight.kind.len() {
                    let (w, b) = (before.weights[i], before.sgd.buffer[i]);
                    let alone = mu * b + (0.0 + l2 * w);
                    match is_left_out {
                        true => assert_eq!((state.sgd.buffer[i], state.weights[i]), (alone, w - lr * alone)),
                        false => n_trained += usize::from(state.sgd.buffer[i] != alone),
                    }
                    n_left_out += usize::from(is_left_out);
                }
            }
            assert!(n_left_out > 500 && n_trained > 500, "{n_left_out} and {n_trained} show too little");
        }
        assert_eq!(drawn.len(), 2, "each step draws its own");
    }
}
