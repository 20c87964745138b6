//! What holds for every drawing.

use rdarts_draw::path::{Path, Point, Rect};
use rdarts_draw::{ARROW_LENGTH, Colors, Drawing, Form, Layout, Style, Width, layout, short_name, svg};

/// Room that lines keep from what they have nothing to do with.
const CLEAR: f64 = 1.49;

/// The layout of a drawing, after a look at all that must hold.
pub fn check(drawing: &Drawing, form: &Form) -> Layout {
    let layout = layout(drawing, form).unwrap();
    let boxes: Vec<&Rect> = layout
        .cells
        .iter()
        .flat_map(|cell| cell.states.iter().chain(cell.edges.iter().map(|edge| &edge.label)))
        .collect();
    for (i, a) in boxes.iter().enumerate() {
        assert!(boxes[..i].iter().all(|b| !a.overlaps(b)), "boxes overlap: {drawing:?}");
        let corners = [Point { x: a.left(), y: a.top() }, Point { x: a.right(), y: a.bottom() }];
        assert!(corners.iter().all(|corner| inside(&layout, *corner)), "a box is outside: {drawing:?}");
    }
    for (cell, picture) in layout.cells.iter().zip(&drawing.cells) {
        let output = cell.states.len() - 1;
        assert_eq!((cell.edges.len(), cell.concat.len()), (picture.edges.len(), picture.concat.len()));
        for (placed, edge) in cell.edges.iter().zip(&picture.edges) {
            assert_eq!(&placed.edge, edge);
            assert!(placed.text.starts_with(short_name(edge.op)) || placed.text.starts_with(edge.op.as_str()));
            let [from, to] = [&cell.states[edge.input], &cell.states[picture.inputs + edge.node]];
            clear(&layout, &placed.before, from, &placed.label, 0.0);
            clear(&layout, &placed.after, &placed.label, to, ARROW_LENGTH);
        }
        for ((state, path), named) in cell.concat.iter().zip(&picture.concat) {
            assert_eq!(state, named);
            clear(&layout, path, &cell.states[*state], &cell.states[output], ARROW_LENGTH);
        }
        if let Some((_, at)) = &cell.title {
            let own = cell.states.iter().chain(cell.edges.iter().map(|edge| &edge.label));
            assert!(own.map(Rect::top).all(|top| at.y < top) && inside(&layout, *at), "the title is among the boxes");
        }
    }
    let text = svg(&layout, &Style { colors: Colors::Page, width: Width::Natural });
    let n_edges: usize = drawing.cells.iter().map(|cell| cell.edges.len()).sum();
    // An upsampling cell writes out the names of two of its inputs.
    let n_named: usize = drawing.cells.iter().map(|cell| cell.inputs.saturating_sub(2)).sum();
    assert_eq!(text.matches(" textLength=").count(), n_edges + n_named, "one label for each edge");
    assert_eq!(text.matches("data-edge=").count(), n_edges);
    layout
}

fn boxes_of(layout: &Layout) -> impl Iterator<Item = &Rect> {
    layout.cells.iter().flat_map(|cell| cell.states.iter().chain(cell.edges.iter().map(|edge| &edge.label)))
}

fn inside(layout: &Layout, p: Point) -> bool {
    (0.0..=layout.width).contains(&p.x) && (0.0..=layout.height).contains(&p.y)
}

/// A line begins at the right side of a box, ends `short` of the left side of another, and keeps clear of all others.
fn clear(layout: &Layout, path: &Path, from: &Rect, to: &Rect, short: f64) {
    let points = path.sampled(24);
    let (first, last) = (points[0], points[points.len() - 1]);
    assert!((first.x - from.right()).abs() < 1e-6 && (first.y - from.middle.y).abs() <= from.height / 2.0);
    assert!((last.x + short - to.left()).abs() < 1e-6 && (last.y - to.middle.y).abs() <= to.height / 2.0);
    for other in boxes_of(layout) {
        let is_end = other == from || other == to;
        let margin = if is_end { -1e-6 } else { CLEAR };
        assert!(points.iter().all(|point| !other.holds(*point, margin)), "a line goes through {other:?}");
    }
    assert!(points.iter().all(|point| inside(layout, *point)), "a line is outside");
}
