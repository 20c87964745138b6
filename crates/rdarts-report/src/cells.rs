//! The cells of a genotype as pictures, drawn by `rdarts-draw`.
//!
//! A cell for itself is placed as suits it ([`cell`]). Placing takes up to a tenth of a second, and nodes that jump from
//! epoch to epoch are hard to follow, so the cells that a run goes through are placed once and together ([`Moving`]):
//! each edge that comes up has its place, and an epoch shows some of them. For the same reason what was placed last is
//! kept: a page that follows a run shows most cells again.

use std::collections::{BTreeMap, HashMap};
use std::sync::{LazyLock, Mutex, PoisonError};

use rdarts_draw::{CellPicture, Colors, Drawing, Edge, Form, Layout, Style, Width, short_name, state_name};
use rdarts_space::Op;

use crate::task::{Architecture, CellKind};

/// One cell of an architecture, in the width of a column, with the weight of each of its operations if they are known, in the
/// order of the operations; `None` if it has no such cell, or none that can be drawn.
pub fn cell(found: &Architecture, cell: CellKind, weights: Option<&[f64]>) -> Option<Layout> {
    let picture = found.picture(cell)?;
    let weights: Option<Vec<f32>> = weights.map(|weights| weights.iter().map(|&weight| weight as f32).collect());
    // What is no weight, as in a run that diverged, has no thickness.
    let weighed = weights.and_then(|weights| picture.clone().with_weights(&weights).ok());
    placed(weighed.unwrap_or(picture))
}

/// The picture in a page that has the style of drawings.
pub fn in_page(layout: &Layout) -> String {
    rdarts_draw::svg(layout, &Style { colors: Colors::PageStyle, width: Width::Points(rdarts_draw::COLUMN_WIDTH) })
}

/// The picture as a file.
pub fn as_file(layout: &Layout) -> String {
    rdarts_draw::svg(layout, &Style::COLUMN)
}

/// A cell that changes, all its states in their places.
#[derive(Clone, Debug)]
pub struct Moving {
    /// Every operation on every edge that comes up, on top of each other.
    pub layout: Layout,
    /// Each of them in words.
    pub says: Vec<String>,
    /// For each genotype, which of them it has; none if it cannot be read, or is of another shape.
    pub shown: Vec<Vec<usize>>,
}

impl Moving {
    /// One cell of the genotypes that came up; `None` if none of them has such a cell that can be drawn.
    pub fn new<'a>(found: impl Iterator<Item = Option<&'a Architecture>>, cell: CellKind) -> Option<Moving> {
        let pictures: Vec<Option<CellPicture>> = found.map(|found| found?.picture(cell)).collect();
        let first = pictures.iter().flatten().next()?;
        let is_of_shape = |picture: &&CellPicture| (picture.nodes, &picture.concat) == (first.nodes, &first.concat);
        // Of each edge the operations that come up.
        let mut ops: BTreeMap<Place, Vec<Op>> = BTreeMap::new();
        for (place, op) in pictures.iter().flatten().filter(is_of_shape).flat_map(places) {
            let ops = ops.entry(place).or_default();
            if !ops.contains(&op) {
                ops.push(op);
            }
        }
        let edge = |(place, ops): (&Place, &Vec<Op>)| {
            // Its label has room for each of them.
            let (node, input, _) = *place;
            Edge { input, node, op: ops[0], weight: None, is_kept: true, offers: ops.clone() }
        };
        let mut layout = placed(CellPicture { edges: ops.iter().map(edge).collect(), ..first.clone() })?;
        let mut numbers: BTreeMap<(Place, Op), usize> = BTreeMap::new();
        let (mut edges, mut says) = (Vec::new(), Vec::new());
        for ((place, ops), placed) in ops.iter().zip(&layout.cells.first()?.edges) {
            for &op in ops {
                let mut placed = placed.clone();
                (placed.edge.op, placed.text) = (op, short_name(op).to_string());
                numbers.insert((*place, op), edges.len());
                says.push(format!("node {} reads {} through {op}", place.0, state_name(place.1, first.inputs)));
                edges.push(placed);
            }
        }
        layout.cells.iter_mut().for_each(|cell| cell.edges = std::mem::take(&mut edges));
        let numbers_of = |picture: &Option<CellPicture>| {
            let picture = picture.as_ref().filter(is_of_shape);
            picture.map_or(Vec::new(), |picture| places(picture).iter().map(|key| numbers[key]).collect())
        };
        let shown = pictures.iter().map(numbers_of).collect();
        let mut moving = Moving { layout, says, shown };
        moving.layout.description = moving.says_of(&moving.shown[0]);
        Some(moving)
    }

    /// The cell of one of the genotypes.
    pub fn of(&self, genotype: usize) -> Layout {
        let shown = self.shown.get(genotype).map_or(&[][..], Vec::as_slice);
        let mut layout = Layout { description: self.says_of(shown), ..self.layout.clone() };
        for cell in &mut layout.cells {
            cell.edges = shown.iter().map(|i| cell.edges[*i].clone()).collect();
        }
        layout
    }

    fn says_of(&self, shown: &[usize]) -> String {
        shown.iter().map(|i| self.says[*i].as_str()).collect::<Vec<_>>().join("; ")
    }
}

/// An edge: its node, its input, and how many edges between these two come before it.
type Place = (usize, usize, usize);

/// The edges of a cell, each with its operation.
fn places(picture: &CellPicture) -> Vec<(Place, Op)> {
    let place = |(i, edge): (usize, &Edge)| {
        let is_beside = |other: &&Edge| (other.node, other.input) == (edge.node, edge.input);
        ((edge.node, edge.input, picture.edges[..i].iter().filter(is_beside).count()), edge.op)
    };
    picture.edges.iter().enumerate().map(place).collect()
}

/// A page and a paper have the title beside the picture, so it is not drawn.
fn placed(mut picture: CellPicture) -> Option<Layout> {
    let title = std::mem::take(&mut picture.title);
    let drawing = Drawing { title, cells: vec![picture] };
    // Places do not depend on weights.
    let mut key = drawing.clone();
    key.cells[0].edges.iter_mut().for_each(|edge| edge.weight = None);
    let key = format!("{key:?}");
    let known = || PLACED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(layout) = known().get(&key) {
        return layout.showing(&drawing);
    }
    let layout = rdarts_draw::layout(&drawing, &Form::COLUMN).ok()?;
    let mut known = known();
    if known.len() >= MOST_PLACED {
        known.clear();
    }
    known.insert(key, layout.clone());
    Some(layout)
}

/// As many cells are remembered, some 2 MB.
const MOST_PLACED: usize = 200;

/// Cells without their weights, and where they go.
static PLACED: LazyLock<Mutex<HashMap<String, Layout>>> = LazyLock::new(Mutex::default);

#[cfg(test)]
mod tests {
    use super::*;

    fn genotypes() -> [Architecture; 2] {
        ["DARTS_V1", "DARTS_V2"].map(|name| rdarts_space::named(name).unwrap().into())
    }

    #[test]
    fn every_moment_of_a_moving_cell_has_the_edges_of_its_genotype_in_the_same_places() {
        let genotypes = genotypes();
        for cell in [CellKind::Normal, CellKind::Reduce] {
            let all = [Some(&genotypes[0]), None, Some(&genotypes[1])];
            let moving = Moving::new(all.into_iter(), cell).unwrap();
            assert_eq!((moving.shown.len(), moving.shown[1].len()), (3, 0));
            for (i, genotype) in [(0, &genotypes[0]), (2, &genotypes[1])] {
                let layout = moving.of(i);
                let edges = layout.cells[0].edges.iter();
                let found: Vec<_> = edges.map(|placed| (placed.edge.node, placed.edge.op, placed.edge.input)).collect();
                assert_eq!(found, genotype.entries(cell));
                assert!(layout.cells[0].edges.iter().enumerate().all(|(i, placed)| placed.edge.node == i / 2));
                assert!(layout.cells[0].edges.iter().all(|placed| placed.text == short_name(placed.edge.op)));
                assert_eq!(
                    (&layout.cells[0].states, layout.width),
                    (&moving.layout.cells[0].states, moving.layout.width)
                );
                assert_eq!(layout.description.matches(" through ").count(), genotype.entries(cell).len());
            }
            assert_ne!(moving.of(0).description, moving.of(2).description);
        }
    }

    #[test]
    fn edges_of_the_same_place_are_not_laid_over_each_other() {
        let text = "Genotype(normal=[('skip_connect', 0), ('skip_connect', 0)], normal_concat=[2])";
        let twice = Architecture::read(text).unwrap();
        let moving = Moving::new([Some(&twice)].into_iter(), CellKind::Normal).unwrap();
        let edges = &moving.of(0).cells[0].edges;
        assert!(edges.len() == 2 && edges[0].label != edges[1].label);
    }

    #[test]
    fn weights_that_are_none_leave_a_picture_without_them() {
        let [genotype, _] = genotypes();
        let n = genotype.entries(CellKind::Normal).len();
        let weight =
            |weights: &[f64]| cell(&genotype, CellKind::Normal, Some(weights)).unwrap().cells[0].edges[0].edge.weight;
        assert_eq!(weight(&vec![0.25; n]), Some(0.25));
        assert_eq!((weight(&vec![f64::NAN; n]), weight(&[0.5])), (None, None));
    }
}
