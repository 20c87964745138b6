//! Boxes and links in columns: dagre's layers, orders and heights, and what dagre does not promise.
//!
//! dagre sets boxes and the bends of long links (lanes here) into ranks and keeps them apart within a rank. A straight
//! line from bend to bend may still cut a corner, so this takes from dagre only the rank and the y of each thing. Links
//! are level through the whole width of a column, where they have their lane, and change their height only between
//! columns.

use dagre::graph::{Graph, GraphOptions};
use dagre::{EdgeLabel, LayoutOptions, NodeLabel, RankDir};

/// A box to be placed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    pub width: f64,
    pub height: f64,
    /// Whether it is to stand in the first column.
    pub is_first: bool,
}

/// A link from a box to a box further to the right.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub from: usize,
    pub to: usize,
    /// How much it wants to be short.
    pub weight: i32,
}

/// Where boxes and links are.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// The column of each box.
    pub column: Vec<usize>,
    /// The y of each box's middle.
    pub y: Vec<f64>,
    /// The lane of each link in each column between those of its ends, in order.
    pub lanes: Vec<Vec<f64>>,
    /// The y of the uppermost and the lowest thing.
    pub extent: [f64; 2],
}

/// Room between two boxes in a column.
const BETWEEN_BOXES: f64 = 5.0;
/// Room between a lane and its neighbor.
const BESIDE_LANE: f64 = 4.5;
/// A weight that outdoes the rest: the link is as short as can be.
pub(crate) const TIGHT: i32 = 64;

/// Places for boxes; links lead from lower to higher numbers, or at least in no circle. `middle` is a box that is put at
/// the middle height of its links where it stands alone.
///
/// What dagre finds depends on the order in which it is told, so it is told in several and the best is taken.
pub(crate) fn place(items: &[Item], links: &[Link], middle: usize) -> Places {
    // A large cell takes long: about the square of its links.
    let tries = (TRIES * LINKS * LINKS / links.len().max(1).pow(2)).clamp(1, TRIES);
    let mut best: Option<(Cost, Places)> = None;
    for n in 0..tries {
        let places = attempt(items, links, n);
        let upside_down = places.upside_down();
        for mut places in [places, upside_down] {
            tidy(&mut places, items, links, middle);
            let cost = Cost::of(&places, links, middle);
            if best.as_ref().is_none_or(|(least, _)| cost.sum < least.sum) {
                best = Some((cost, places));
            }
        }
        if best.as_ref().is_some_and(|(cost, _)| cost.n_crossings == 0) {
            break;
        }
    }
    best.expect("there is at least one try").1
}

/// Places by dagre, which is told of boxes and links in the `n`-th order.
fn attempt(items: &[Item], links: &[Link], n: usize) -> Places {
    let id = |i: usize| format!("{i:04}");
    // All first boxes hang on one that is not drawn.
    let source = items.len();
    let mut graph: Graph<NodeLabel, EdgeLabel> =
        Graph::with_options(GraphOptions { directed: true, multigraph: false, compound: false });
    graph.set_node(id(source), Some(NodeLabel::default()));
    for i in order(items.len(), n) {
        let Item { width, height, .. } = items[i];
        graph.set_node(id(i), Some(NodeLabel { width, height, ..NodeLabel::default() }));
    }
    let firsts = order(items.len(), n).into_iter().filter(|i| items[*i].is_first);
    let hung = firsts.map(|to| Link { from: source, to, weight: TIGHT * TIGHT });
    for link in hung.chain(order(links.len(), n).into_iter().map(|l| links[l])) {
        let label = EdgeLabel { weight: link.weight, ..EdgeLabel::default() };
        graph.set_edge(id(link.from), id(link.to), Some(label), None);
    }
    let options = LayoutOptions {
        rankdir: RankDir::LR,
        nodesep: BETWEEN_BOXES,
        edgesep: 2.0 * BESIDE_LANE - BETWEEN_BOXES,
        ranksep: RANK_SEP,
        tie_keep_first: n % 2 == 1,
        ..LayoutOptions::default()
    };
    dagre::layout(&mut graph, Some(options));

    let at = |i: usize| graph.node(&id(i)).and_then(|node| Some([node.x?, node.y?])).unwrap_or_default();
    let mut xs: Vec<f64> = (0..items.len()).map(|i| at(i)[0]).collect();
    let x_of_items = xs.clone();
    xs.sort_by(f64::total_cmp);
    xs.dedup_by(|b, a| *b - *a < RANK_SEP / 4.0);
    let column_at = |x: f64| xs.partition_point(|column| *column < x - RANK_SEP / 8.0);
    let column: Vec<usize> = x_of_items.into_iter().map(column_at).collect();
    let lanes = links.iter().map(|link| {
        let points = graph.edge(&id(link.from), &id(link.to), None).map_or(&[][..], |edge| edge.points.as_slice());
        let mut y = at(link.from)[1];
        (column[link.from] + 1..column[link.to])
            .map(|column| {
                // The bend in this column; the first and the last point are where the link meets its boxes.
                let near = points.iter().find(|point| (point.x - xs[column]).abs() < RANK_SEP / 8.0);
                y = near.map_or(y, |point| point.y);
                y
            })
            .collect()
    });
    Places { lanes: lanes.collect(), y: (0..items.len()).map(|i| at(i)[1]).collect(), column, extent: [0.0; 2] }
}

/// How many orders are tried. Over 40 random cells of the DARTS space, 1, 8, 24 and 64 leave a mean cost of 846, 696, 600 and
/// 532, for 4 ms each.
const TRIES: usize = 24;
/// Up to how many links all of them are.
const LINKS: usize = 32;

/// The `n`-th order of `len` things: as they are, then shuffled in ways that are always the same.
fn order(len: usize, n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    // The generator of Knuth's MMIX, whose upper half is good enough to shuffle.
    let mut state = n as u64 / 2;
    for i in (1..len).rev().filter(|_| n >= 2) {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        order.swap(i, (state >> 33) as usize % (i + 1));
    }
    order
}

/// How bad places are.
#[derive(Clone, Copy, Debug)]
struct Cost {
    n_crossings: usize,
    sum: f64,
}

impl Cost {
    /// Links that cross, then how much they climb and how high it all is, then boxes before `middle` that come in another
    /// order than that of their numbers.
    fn of(places: &Places, links: &[Link], middle: usize) -> Self {
        let mut segments: Vec<(usize, f64, f64)> = Vec::new();
        for (l, link) in links.iter().enumerate() {
            let heights = places.heights(link, l);
            let first = places.column[link.from];
            segments.extend(heights.windows(2).enumerate().map(|(i, pair)| (first + i, pair[0], pair[1])));
        }
        let crosses = |a: &(usize, f64, f64), b: &(usize, f64, f64)| a.0 == b.0 && (a.1 - b.1) * (a.2 - b.2) < 0.0;
        let pairs = segments.iter().enumerate().flat_map(|(i, a)| segments[..i].iter().map(move |b| (a, b)));
        let n_crossings = pairs.filter(|(a, b)| crosses(a, b)).count();
        let climb: f64 = segments.iter().map(|(_, from, to)| (to - from).abs()).sum();
        let is_turned =
            |i: usize, before: usize| places.column[i] == places.column[before] && places.y[i] < places.y[before];
        let n_turned =
            (0..middle).flat_map(|i| (0..i).map(move |before| (i, before))).filter(|&(i, b)| is_turned(i, b)).count();
        let height = places.extent[1] - places.extent[0];
        let sum = CROSSING * n_crossings as f64 + climb + height + TURNED * n_turned as f64;
        Self { n_crossings, sum }
    }
}

/// How far a link may climb to avoid a crossing.
const CROSSING: f64 = 60.0;
/// And to have two boxes in order.
const TURNED: f64 = 8.0;

/// Distance of ranks for dagre, which only has to be larger than what it rounds.
const RANK_SEP: f64 = 40.0;

/// A thing in a column.
#[derive(Clone, Copy)]
enum Thing {
    Box(usize),
    /// A link, and the how many-th of its lanes.
    Lane(usize, usize),
}

/// Puts the first boxes and `middle` at the height of their links, and then makes sure that the things of every column
/// keep their distance, moving down what does not.
fn tidy(places: &mut Places, items: &[Item], links: &[Link], middle: usize) {
    for (i, item) in items.iter().enumerate() {
        let is_alone = places.column.iter().filter(|column| **column == places.column[i]).count() == 1;
        let met = links.iter().enumerate().filter_map(|(l, link)| {
            let heights = places.heights(link, l);
            match [link.from == i && item.is_first, link.to == i && i == middle && is_alone] {
                [true, _] => Some(heights[1]),
                [_, true] => Some(heights[heights.len() - 2]),
                _ => None,
            }
        });
        let met: Vec<f64> = met.collect();
        if !met.is_empty() {
            places.y[i] = met.iter().sum::<f64>() / met.len() as f64;
        }
    }
    keep_apart(places, items, links);
}

/// Makes sure that the things of every column keep their distance, moving down what does not.
fn keep_apart(places: &mut Places, items: &[Item], links: &[Link]) {
    let columns = places.column.iter().map(|column| column + 1).max().unwrap_or(0);
    let mut things: Vec<Vec<Thing>> = vec![Vec::new(); columns];
    for i in 0..items.len() {
        things[places.column[i]].push(Thing::Box(i));
    }
    for (l, link) in links.iter().enumerate() {
        for n in 0..places.lanes[l].len() {
            things[places.column[link.from] + 1 + n].push(Thing::Lane(l, n));
        }
    }
    let half_height = |thing: &Thing| match thing {
        Thing::Box(i) => items[*i].height / 2.0,
        Thing::Lane(..) => 0.0,
    };
    let mut extent = [f64::INFINITY, f64::NEG_INFINITY];
    for mut column in things {
        column.sort_by(|a, b| places.y_of(*a).total_cmp(&places.y_of(*b)));
        let mut before: Option<(Thing, f64)> = None;
        for thing in column {
            let half = half_height(&thing);
            let mut y = places.y_of(thing);
            if let Some((above, bottom)) = before {
                let room = match (above, thing) {
                    (Thing::Box(_), Thing::Box(_)) => BETWEEN_BOXES,
                    _ => BESIDE_LANE,
                };
                y = y.max(bottom + room + half);
            }
            match thing {
                Thing::Box(i) => places.y[i] = y,
                Thing::Lane(l, n) => places.lanes[l][n] = y,
            }
            extent = [extent[0].min(y - half), extent[1].max(y + half)];
            before = Some((thing, y + half));
        }
    }
    places.extent = extent;
}

impl Places {
    fn upside_down(&self) -> Self {
        let flip = |ys: &Vec<f64>| ys.iter().map(|y| -y).collect();
        Self { column: self.column.clone(), y: flip(&self.y), lanes: self.lanes.iter().map(flip).collect(), ..*self }
    }

    /// The y of a link in every column that it passes, from its first box to its last.
    pub(crate) fn heights(&self, link: &Link, l: usize) -> Vec<f64> {
        let lanes = self.lanes[l].iter().copied();
        [self.y[link.from]].into_iter().chain(lanes).chain([self.y[link.to]]).collect()
    }

    fn y_of(&self, thing: Thing) -> f64 {
        match thing {
            Thing::Box(i) => self.y[i],
            Thing::Lane(l, n) => self.lanes[l][n],
        }
    }
}
