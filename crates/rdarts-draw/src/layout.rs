//! Where everything goes: a drawing as boxes and lines.
//!
//! Lengths are points of print at natural size, at which text has 8 of them. A label stands in the column before the
//! node that it leads to, so that a node's operations are beside it. Lines end at ports, one for each, in the order in
//! which they come.

use rdarts_space::Op;

use crate::error::DrawError;
use crate::escape::visible;
use crate::font;
use crate::kind::short_name;
use crate::path::{Path, Point, Rect};
use crate::picture::{CellPicture, Drawing, Edge, FURTHER_INPUTS};
use crate::place::{Item, Link, Places, TIGHT, place};

/// Size of all text but indices.
pub(crate) const TEXT: f64 = 8.0;
/// Size of indices: the k of c_k.
pub(crate) const INDEX: f64 = 6.0;
/// The length of the arrow that follows a line to a state.
pub const ARROW_LENGTH: f64 = 4.0;
/// A column of a paper, in points: 3.25 inches.
pub const COLUMN_WIDTH: f64 = 3.25 * 72.0;
/// The whole width of a page, in points: 6.75 inches.
pub const PAGE_WIDTH: f64 = 6.75 * 72.0;

/// What the labels say and how the cells are arranged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Form {
    /// How operations are called.
    pub labels: Labels,
    /// How several cells are arranged.
    pub arrange: Arrange,
    /// The width that the columns draw together for, as far as they can. What is still wider is made smaller as a whole.
    pub room: Option<f64>,
}

/// What a label says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labels {
    /// `sep 3×3`.
    Short,
    /// `sep 3×3 0.42`, where the edge has a weight.
    ShortWithWeight,
    /// `sep_conv_3x3`.
    Name,
    /// `sep_conv_3x3 0.42`, where the edge has a weight.
    NameWithWeight,
}

/// How several cells are arranged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrange {
    /// One above the other.
    Above,
    /// One to the left of the other.
    Beside,
}

impl Form {
    /// For a column of a paper.
    pub const COLUMN: Form = Form { labels: Labels::Short, arrange: Arrange::Above, room: Some(COLUMN_WIDTH) };
    /// For the whole width of a page.
    pub const PAGE: Form = Form { labels: Labels::Short, arrange: Arrange::Beside, room: Some(PAGE_WIDTH) };
    /// For a screen: operations by their full names.
    pub const SCREEN: Form = Form { labels: Labels::Name, arrange: Arrange::Beside, room: None };
}

/// A drawing with all its places.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// What the picture is called, not drawn.
    pub title: String,
    /// The picture in words, not drawn.
    pub description: String,
    /// How it is drawn.
    pub form: Form,
    /// How wide it is.
    pub width: f64,
    /// How high it is.
    pub height: f64,
    /// The cells.
    pub cells: Vec<CellLayout>,
}

/// A cell with all its places.
#[derive(Clone, Debug, PartialEq)]
pub struct CellLayout {
    /// What stands above it, as it fits, and where that begins on its base line.
    pub title: Option<(String, Point)>,
    /// How many inputs it has.
    pub inputs: usize,
    /// The inputs, the nodes, the output.
    pub states: Vec<Rect>,
    /// The edges.
    pub edges: Vec<EdgeLayout>,
    /// Lines from the states that make up the output.
    pub concat: Vec<(usize, Path)>,
}

/// An edge with its places.
#[derive(Clone, Debug, PartialEq)]
pub struct EdgeLayout {
    /// The edge.
    pub edge: Edge,
    /// What the label says.
    pub text: String,
    /// The label.
    pub label: Rect,
    /// From the state to the label.
    pub before: Path,
    /// From the label to the node; an arrow goes on to [`ARROW_LENGTH`] further.
    pub after: Path,
}

/// Places for everything of a drawing.
///
/// # Errors
/// If there is no cell, or one that is not sound.
pub fn layout(drawing: &Drawing, form: &Form) -> Result<Layout, DrawError> {
    if drawing.cells.is_empty() {
        return Err(DrawError::Nothing);
    }
    let mut cells = Vec::with_capacity(drawing.cells.len());
    for picture in &drawing.cells {
        picture.check()?;
        cells.push(Placed::new(picture, form.labels));
    }
    let tightness = tightness(&cells, form);
    let cells: Vec<_> = cells.iter().map(|cell| cell.laid_out(tightness)).collect();
    // Cells one above the other, or side by side at one middle height.
    let largest = |side: usize| cells.iter().map(|(_, size)| size[side]).fold(0.0, f64::max);
    let [widest, highest] = [largest(0), largest(1)];
    let mut corner = Point { x: MARGIN, y: MARGIN };
    let mut placed = Vec::with_capacity(cells.len());
    for (cell, [width, height]) in cells {
        match form.arrange {
            Arrange::Above => {
                placed.push(cell.moved(corner));
                corner.y += height + BETWEEN_CELLS;
            }
            Arrange::Beside => {
                let mut cell = cell.moved(Point { y: corner.y + (highest - height) / 2.0, ..corner });
                // Titles stand on one line.
                cell.title.iter_mut().for_each(|(_, at)| at.y = corner.y + TITLE_BASE);
                placed.push(cell);
                corner.x += width + BETWEEN_CELLS;
            }
        }
    }
    let [width, height] = match form.arrange {
        Arrange::Above => [widest + 2.0 * MARGIN, corner.y - BETWEEN_CELLS + MARGIN],
        Arrange::Beside => [corner.x - BETWEEN_CELLS + MARGIN, highest + 2.0 * MARGIN],
    };
    let (title, description) = (drawing.title.clone(), drawing.description());
    Ok(Layout { title, description, form: *form, width, height, cells: placed })
}

impl Layout {
    /// The same places for a drawing of another moment: other operations and weights on the same edges, below the same
    /// titles of cells. `None` where the edges are others, or a label has no room.
    pub fn showing(&self, drawing: &Drawing) -> Option<Layout> {
        let mut layout = self.clone();
        if layout.cells.len() != drawing.cells.len() {
            return None;
        }
        for (cell, picture) in layout.cells.iter_mut().zip(&drawing.cells) {
            let concat = cell.concat.iter().map(|(state, _)| *state);
            if cell.edges.len() != picture.edges.len() || !concat.eq(picture.concat.iter().copied()) {
                return None;
            }
            for (placed, edge) in cell.edges.iter_mut().zip(&picture.edges) {
                let text = label_text(edge.op, edge.weight, self.form.labels);
                let has_room = font::width(&text, TEXT) + 2.0 * PADDING <= placed.label.width + 1e-9;
                if (edge.input, edge.node) != (placed.edge.input, placed.edge.node) || !has_room {
                    return None;
                }
                (placed.edge, placed.text) = (edge.clone(), text);
            }
        }
        (layout.title, layout.description) = (drawing.title.clone(), drawing.description());
        Some(layout)
    }
}

impl CellLayout {
    fn moved(self, by: Point) -> Self {
        let rect = |rect: Rect| Rect { middle: rect.middle.moved(by), ..rect };
        let edge = |edge: EdgeLayout| EdgeLayout {
            label: rect(edge.label),
            before: edge.before.moved(by),
            after: edge.after.moved(by),
            ..edge
        };
        Self {
            title: self.title.map(|(text, at)| (text, at.moved(by))),
            inputs: self.inputs,
            states: self.states.into_iter().map(rect).collect(),
            edges: self.edges.into_iter().map(edge).collect(),
            concat: self.concat.into_iter().map(|(state, path)| (state, path.moved(by))).collect(),
        }
    }
}

/// Around the picture.
const MARGIN: f64 = 3.0;
/// Between two cells.
const BETWEEN_CELLS: f64 = 16.0;
/// Between a title and its cell.
const BELOW_TITLE: f64 = 5.0;
/// From the top of a cell to the base line of its title.
const TITLE_BASE: f64 = 0.75 * TEXT;
/// Between a label's text and its border.
const PADDING: f64 = 3.0;
/// How high a label is.
const LABEL_HEIGHT: f64 = 11.5;
/// The smallest side of a state.
const STATE: f64 = 14.0;
/// Between two ports of a state.
const PORT: f64 = 5.0;
/// Between the outermost port and the corner.
const BESIDE_PORTS: f64 = 3.0;
/// The narrowest and the widest room between two columns.
const GAP: [f64; 2] = [10.0, 26.0];
/// How far from a column a line begins to bend, so that a steep one keeps clear of the boxes beside it.
const LEVEL: f64 = 1.5;
/// How much of such a room is left at least where there is little.
const TIGHTEST: f64 = 0.55;
/// How much wider such a room gets for each point that a line climbs in it.
const CLIMB: f64 = 0.22;
/// The room a title has at least, so that it is not cut above a small cell.
const TITLE_ROOM: f64 = 220.0;

/// What a label says.
fn label_text(op: Op, weight: Option<f32>, labels: Labels) -> String {
    let name = match labels {
        Labels::Short | Labels::ShortWithWeight => short_name(op),
        Labels::Name | Labels::NameWithWeight => op.as_str(),
    };
    match weight {
        Some(weight) if matches!(labels, Labels::ShortWithWeight | Labels::NameWithWeight) => {
            format!("{name} {weight:.2}")
        }
        _ => name.to_owned(),
    }
}

/// How much of the room between columns there is: all, or less where the form gives too little for that.
fn tightness(cells: &[Placed], form: &Form) -> f64 {
    let Some(room) = form.room else { return 1.0 };
    let fits = |room: f64, cells: &[Placed]| {
        let [fixed, between] = [0, 1].map(|part| cells.iter().map(|cell| cell.widths()[part]).sum::<f64>());
        if fixed + between <= room { 1.0 } else { ((room - fixed) / between).clamp(TIGHTEST, 1.0) }
    };
    let room = room - 2.0 * MARGIN;
    match form.arrange {
        Arrange::Above => cells.chunks(1).map(|cell| fits(room, cell)).fold(1.0, f64::min),
        Arrange::Beside => fits(room - BETWEEN_CELLS * (cells.len() - 1) as f64, cells),
    }
}

/// A cell whose heights are known, but not yet how close its columns are.
struct Placed<'a> {
    picture: &'a CellPicture,
    labels: Labels,
    /// Boxes: the states, with the output as the last of them, then the labels.
    items: Vec<Item>,
    /// Two for each edge, to and from its label, then those to the output.
    links: Vec<Link>,
    places: Places,
    /// How wide the columns are, and how much room is between each and the next, without arrows.
    columns: Vec<[f64; 2]>,
    /// Room for arrows after each column.
    arrows: Vec<f64>,
    /// How far from the middle of its boxes a link begins and ends.
    ports: Vec<[f64; 2]>,
}

impl<'a> Placed<'a> {
    fn new(picture: &'a CellPicture, labels: Labels) -> Self {
        let output = picture.inputs + picture.nodes;
        let n_incoming = |state: usize| match state {
            state if state == output => picture.concat.len(),
            state => picture.edges.iter().filter(|edge| picture.inputs + edge.node == state).count(),
        };
        let n_outgoing = |state: usize| picture.edges.iter().filter(|edge| edge.input == state).count();
        let indexed = font::width("c", TEXT) + font::width("k−2", INDEX) + 2.0 * PADDING;
        let input_width = |state: usize| match state {
            0 | 1 => indexed,
            state => font::width(FURTHER_INPUTS[(state - 2).min(1)], TEXT) + 2.0 * PADDING,
        };
        let state = |state| {
            // Lines without weights are thin and may begin closer to each other.
            let n_outgoing =
                n_outgoing(state) / if picture.edges.iter().any(|edge| edge.weight.is_some()) { 1 } else { 2 };
            let ports = n_incoming(state).max(n_outgoing);
            Item {
                width: if state < picture.inputs { input_width(state) } else { STATE },
                height: STATE.max(PORT * ports.saturating_sub(1) as f64 + 2.0 * BESIDE_PORTS),
                is_first: state < picture.inputs,
            }
        };
        let mut items: Vec<Item> = (0..=output).map(state).collect();
        let mut links = Vec::with_capacity(2 * picture.edges.len() + picture.concat.len());
        for edge in &picture.edges {
            let may_be = edge.offers.iter().copied().chain([edge.op]);
            let widths = may_be.map(|op| font::width(&label_text(op, edge.weight, labels), TEXT));
            let label = items.len();
            links.push(Link { from: edge.input, to: label, weight: 1 });
            links.push(Link { from: label, to: picture.inputs + edge.node, weight: TIGHT });
            let width = widths.fold(0.0, f64::max) + 2.0 * PADDING;
            items.push(Item { width, height: LABEL_HEIGHT, is_first: false });
        }
        links.extend(picture.concat.iter().map(|state| Link { from: *state, to: output, weight: 1 }));
        let places = place(&items, &links, output);
        let (columns, arrows) = columns(&items, &links, &places, output);
        let ports = ports(&items, &links, &places, output);
        Self { picture, labels, items, links, places, columns, arrows, ports }
    }

    /// How much of the width is always so, and how much is room between columns.
    fn widths(&self) -> [f64; 2] {
        let [boxes, between] = [0, 1].map(|part| self.columns.iter().map(|column| column[part]).sum::<f64>());
        [boxes + self.arrows.iter().sum::<f64>(), between]
    }

    /// The cell in its own coordinates, and how wide and high it is.
    fn laid_out(&self, tightness: f64) -> (CellLayout, [f64; 2]) {
        let picture = self.picture;
        let output = picture.inputs + picture.nodes;
        let mut right = 0.0;
        let mut columns: Vec<Column> = Vec::with_capacity(self.columns.len());
        let mut x = 0.0;
        for (&[width, between], arrow) in self.columns.iter().zip(&self.arrows) {
            right = x + width;
            columns.push(Column { left: x, right });
            x = right + tightness * between + arrow;
        }
        let shown = visible(&picture.title);
        let title = font::fit(&shown, TEXT, right.max(TITLE_ROOM));
        let up = self.places.extent[0] - if title.is_empty() { 0.0 } else { TEXT + BELOW_TITLE };
        let rect = |i: usize| Rect {
            middle: Point { x: columns[self.places.column[i]].middle(), y: self.places.y[i] - up },
            width: self.items[i].width,
            height: self.items[i].height,
        };
        let path = |l: usize| self.path(l, &columns, rect, up);
        let edges = picture.edges.iter().enumerate().map(|(i, edge)| EdgeLayout {
            edge: edge.clone(),
            text: label_text(edge.op, edge.weight, self.labels),
            label: rect(output + 1 + i),
            before: path(2 * i),
            after: path(2 * i + 1),
        });
        let concat = picture.concat.iter().enumerate().map(|(i, state)| (*state, path(2 * picture.edges.len() + i)));
        let size = [right.max(font::width(&title, TEXT)), self.places.extent[1] - up];
        let cell = CellLayout {
            title: (!title.is_empty()).then_some((title, Point { x: 0.0, y: TITLE_BASE })),
            inputs: picture.inputs,
            states: (0..=output).map(rect).collect(),
            edges: edges.collect(),
            concat: concat.collect(),
        };
        (cell, size)
    }

    /// The line of a link: level in columns, bending between them; an arrow's length short of a state.
    fn path(&self, l: usize, columns: &[Column], rect: impl Fn(usize) -> Rect, up: f64) -> Path {
        let link = self.links[l];
        let (from, to) = (rect(link.from), rect(link.to));
        let arrow = if link.to <= self.picture.inputs + self.picture.nodes { ARROW_LENGTH } else { 0.0 };
        let (first, last) = (self.places.column[link.from], self.places.column[link.to]);
        let [start, end] = [from.middle.y + self.ports[l][0], to.middle.y + self.ports[l][1]];
        let mut through =
            vec![Point { x: from.right(), y: start }, Point { x: columns[first].right + LEVEL, y: start }];
        for (column, lane) in (first + 1..last).zip(&self.places.lanes[l]) {
            through.push(Point { x: columns[column].left - LEVEL, y: lane - up });
            through.push(Point { x: columns[column].right + LEVEL, y: lane - up });
        }
        through.push(Point { x: columns[last].left - LEVEL.max(arrow), y: end });
        through.push(Point { x: to.left() - arrow, y: end });
        Path::new(through)
    }
}

/// Where a column begins and ends.
#[derive(Clone, Copy, Debug)]
struct Column {
    left: f64,
    right: f64,
}

impl Column {
    fn middle(&self) -> f64 {
        (self.left + self.right) / 2.0
    }
}

/// How wide columns are and what room is after each: as wide as the widest box, with room for what climbs; and the room
/// for arrows.
fn columns(items: &[Item], links: &[Link], places: &Places, output: usize) -> (Vec<[f64; 2]>, Vec<f64>) {
    let n = places.column.iter().map(|column| column + 1).max().unwrap_or(0);
    let (mut widths, mut climbs, mut arrows) = (vec![0.0f64; n], vec![0.0f64; n], vec![0.0f64; n]);
    for (item, &column) in items.iter().zip(&places.column) {
        widths[column] = widths[column].max(item.width);
    }
    for (l, link) in links.iter().enumerate() {
        let heights = places.heights(link, l);
        for (i, pair) in heights.windows(2).enumerate() {
            let before = places.column[link.from] + i;
            climbs[before] = climbs[before].max((pair[1] - pair[0]).abs());
        }
        if link.to <= output {
            arrows[places.column[link.to] - 1] = ARROW_LENGTH;
        }
    }
    let room = |column: usize| if column + 1 < n { (GAP[0] + CLIMB * climbs[column]).min(GAP[1]) } else { 0.0 };
    let columns = widths.into_iter().enumerate().map(|(column, width)| [width, room(column)]);
    (columns.collect(), arrows)
}

/// How far from the middle of its boxes a link begins and ends.
fn ports(items: &[Item], links: &[Link], places: &Places, output: usize) -> Vec<[f64; 2]> {
    let mut ports = vec![[0.0; 2]; links.len()];
    for (state, item) in items.iter().enumerate().take(output + 1) {
        for side in 0..2 {
            let mut met: Vec<(f64, usize)> = Vec::new();
            for (l, link) in links.iter().enumerate().filter(|(_, link)| [link.from, link.to][side] == state) {
                let heights = places.heights(link, l);
                // Where it is one column further.
                met.push((if side == 0 { heights[1] } else { heights[heights.len() - 2] }, l));
            }
            met.sort_by(|a, b| a.0.total_cmp(&b.0));
            let room = item.height - 2.0 * BESIDE_PORTS;
            let step = PORT.min(room / met.len().saturating_sub(1).max(1) as f64);
            for (i, (_, l)) in met.iter().enumerate() {
                ports[*l][side] = step * (i as f64 - (met.len() - 1) as f64 / 2.0);
            }
        }
    }
    ports
}
