//! SVG as text.
//!
//! Elements carry both a class and, as attributes, the colors of white paper or dark paper. In a page
//! ([`Colors::Page`]) a style sheet gives the classes their colors: those that the page sets as variables
//! (`--rdarts-ink`, `--rdarts-paper`, `--rdarts-muted`, and one for each kind of operation), else those that suit the
//! reader's light or dark scheme. A program that knows no style sheets shows the attributes. In a file of its own
//! ([`Colors::Light`], [`Colors::Dark`]) there are attributes alone, and paper.
//!
//! Every edge is a group with `data-edge`, its number, so that a script can find it.

use std::fmt::Write;

use crate::escape::{visible, xml};
use crate::font;
use crate::kind::{KINDS, Kind};
use crate::layout::{ARROW_LENGTH, COLUMN_WIDTH, CellLayout, EdgeLayout, INDEX, Layout, PAGE_WIDTH, TEXT};
use crate::path::{Path, Point, Rect};
use crate::picture::FURTHER_INPUTS;

/// How a picture is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Style {
    /// Where the colors come from.
    pub colors: Colors,
    /// How wide the picture is.
    pub width: Width,
}

/// Where colors come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colors {
    /// From the page that the picture stands in, by a style sheet in the picture.
    Page,
    /// The same for a page that has [`css()`] in a style sheet of its own.
    PageStyle,
    /// Dark lines on white paper, for files.
    Light,
    /// Light lines on dark paper, for files.
    Dark,
}

/// How wide a picture is. The drawing is made smaller where it must be, and never larger: it gets room at both sides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Width {
    /// As wide as the drawing.
    Natural,
    /// Points of print, of which an inch has 72.
    Points(f64),
    /// Pixels of a screen, of which an inch has 96.
    Pixels(f64),
}

impl Style {
    /// A column of a paper.
    pub const COLUMN: Style = Style { colors: Colors::Light, width: Width::Points(COLUMN_WIDTH) };
    /// The whole width of a page.
    pub const PAGE: Style = Style { colors: Colors::Light, width: Width::Points(PAGE_WIDTH) };
}

impl Width {
    /// The picture's width in points of print, for a drawing of a natural width.
    pub(crate) fn points(self, natural: f64) -> f64 {
        let given = match self {
            Width::Natural => natural,
            Width::Points(points) => points,
            Width::Pixels(pixels) => 0.75 * pixels,
        };
        // A width that is no width leaves the drawing as it is.
        if given.is_finite() && given > 0.0 { given } else { natural }
    }
}

/// The picture as SVG.
pub fn svg(layout: &Layout, style: &Style) -> String {
    let width = style.width.points(layout.width);
    // A drawing that is narrower stands in the middle.
    let beside = ((width - layout.width) / 2.0).max(0.0);
    let scale = (width / layout.width).min(1.0);
    let [full, height] = [layout.width + 2.0 * beside, layout.height];
    let mut pen = Pen { out: String::with_capacity(16 << 10), colors: style.colors };
    let (w, h) = (Number(width), Number(height * scale));
    let view = [Number(-beside), Number(0.0), Number(full), Number(height)];
    pen.line(format_args!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"rdarts-drawing\" role=\"img\" width=\"{w}pt\" height=\"{h}pt\" \
         viewBox=\"{} {} {} {}\" font-family=\"{}\" font-size=\"{}\">",
        view[0],
        view[1],
        view[2],
        view[3],
        font::FAMILIES,
        Number(TEXT)
    ));
    pen.line(format_args!("<title>{}</title>", xml(&layout.title)));
    pen.line(format_args!("<desc>{}</desc>", xml(&layout.description)));
    match style.colors {
        Colors::Page => pen.line(format_args!("<style>{}</style>", css())),
        Colors::PageStyle => {}
        Colors::Light | Colors::Dark => {
            let paper = pen.fill(Paint::Paper);
            let (x, w) = (Number(-beside), Number(full));
            pen.line(format_args!("<rect x=\"{x}\" y=\"0\" width=\"{w}\" height=\"{}\"{paper}/>", Number(height)));
        }
    }
    layout.cells.iter().for_each(|cell| pen.cell(cell));
    pen.out.push_str("</svg>\n");
    pen.out
}

/// The style sheet of pictures in a page.
pub fn css() -> String {
    let all: Vec<Paint> =
        [Paint::Ink, Paint::Muted, Paint::Paper].into_iter().chain(KINDS.map(|row| Paint::Kind(row.kind))).collect();
    let scheme = |color: fn(Paint) -> &'static str| -> String {
        let variable = |paint: &Paint| format!("--draw-{0}:var(--rdarts-{0},{1})", paint.name(), color(*paint));
        format!(".rdarts-drawing{{{}}}", all.iter().map(variable).collect::<Vec<_>>().join(";"))
    };
    let rules: String = all
        .iter()
        .map(|paint| {
            let name = paint.name();
            format!(
                ".rdarts-drawing .fill-{name}{{fill:var(--draw-{name})}}.rdarts-drawing \
                 .line-{name}{{stroke:var(--draw-{name})}}\n"
            )
        })
        .collect();
    format!(
        "{}\n@media(prefers-color-scheme:dark){{{}}}\n{rules}.rdarts-drawing{{max-width:100%;height:auto}}\n",
        scheme(Paint::light),
        scheme(Paint::dark)
    )
}

/// What something is painted with.
#[derive(Clone, Copy)]
enum Paint {
    /// Text and borders.
    Ink,
    /// What matters less.
    Muted,
    /// What is behind it all.
    Paper,
    /// The color of a kind of operation.
    Kind(Kind),
}

impl Paint {
    fn name(self) -> &'static str {
        match self {
            Paint::Ink => "ink",
            Paint::Muted => "muted",
            Paint::Paper => "paper",
            Paint::Kind(kind) => kind.row().css,
        }
    }

    fn light(self) -> &'static str {
        match self {
            Paint::Ink => "#1f2328",
            Paint::Muted => "#8c9096",
            Paint::Paper => "#ffffff",
            Paint::Kind(kind) => kind.row().light,
        }
    }

    fn dark(self) -> &'static str {
        match self {
            Paint::Ink => "#e8eaed",
            Paint::Muted => "#868c94",
            Paint::Paper => "#16191d",
            Paint::Kind(kind) => kind.row().dark,
        }
    }
}

/// How thick a line without a weight is.
const LINE: f64 = 1.1;
/// How thick lines are whose weights are 0 and 1.
const LINES: [f64; 2] = [0.5, 3.0];
/// How strongly lines and text of edges are drawn that do not belong to the architecture.
const FAINT: [f64; 2] = [0.45, 0.7];

/// What has been written, and with which colors.
struct Pen {
    out: String,
    colors: Colors,
}

impl Pen {
    fn line(&mut self, text: std::fmt::Arguments) {
        // Writing to a string cannot fail.
        let _ = self.out.write_fmt(text);
        self.out.push('\n');
    }

    fn fill(&self, paint: Paint) -> String {
        self.paint("fill", "fill", paint)
    }

    fn stroke(&self, paint: Paint) -> String {
        self.paint("stroke", "line", paint)
    }

    fn paint(&self, attribute: &str, class: &str, paint: Paint) -> String {
        match self.colors {
            Colors::Light => format!(" {attribute}=\"{}\"", paint.light()),
            Colors::Dark => format!(" {attribute}=\"{}\"", paint.dark()),
            Colors::Page | Colors::PageStyle => {
                format!(" class=\"{class}-{}\" {attribute}=\"{}\"", paint.name(), paint.light())
            }
        }
    }

    fn cell(&mut self, cell: &CellLayout) {
        if let Some((title, at)) = &cell.title {
            let ink = self.fill(Paint::Ink);
            self.line(format_args!("<text x=\"{}\" y=\"{}\"{ink}>{}</text>", Number(at.x), Number(at.y), xml(title)));
        }
        for (_, path) in &cell.concat {
            self.wire(path, Paint::Muted, LINE * 0.8, &[]);
            self.arrow(path, Paint::Muted, LINE * 0.8);
        }
        // What is faint lies below.
        let (kept, faint): (Vec<_>, Vec<_>) = cell.edges.iter().enumerate().partition(|(_, edge)| edge.edge.is_kept);
        faint.into_iter().chain(kept).for_each(|(i, edge)| self.edge(i, edge));
        let output = cell.states.len().saturating_sub(1);
        for (state, rect) in cell.states.iter().enumerate() {
            self.state(state, [cell.inputs, output], rect);
        }
    }

    fn edge(&mut self, i: usize, edge: &EdgeLayout) {
        let row = Kind::of(edge.edge.op).row();
        let paint = Paint::Kind(row.kind);
        let thick = edge.edge.weight.map_or(LINE, |weight| LINES[0] + f64::from(weight) * (LINES[1] - LINES[0]));
        let faint = FAINT.map(|faint| match edge.edge.is_kept {
            true => String::new(),
            false => format!(" opacity=\"{}\"", Number(faint)),
        });
        self.line(format_args!("<g data-edge=\"{i}\">"));
        let weight = edge.edge.weight.map_or(String::new(), |weight| format!(", weight {weight:.3}"));
        self.line(format_args!("<title>{}{weight}</title>", xml(edge.edge.op.as_str())));
        self.line(format_args!("<g{}>", faint[0]));
        self.wire(&edge.before, paint, thick, row.dash);
        self.wire(&edge.after, paint, thick, row.dash);
        self.arrow(&edge.after, paint, thick);
        let (fill, stroke) = (self.fill(paint), self.stroke(paint));
        let Rect { middle, width, height } = edge.label;
        // One box of tint and one of line: with classes, an element has one paint.
        let place = format!(
            "x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"{}\"",
            Number(edge.label.left() + 0.25),
            Number(edge.label.top() + 0.25),
            Number(width - 0.5),
            Number(height - 0.5),
            Number(3.0)
        );
        self.line(format_args!("<rect {place}{fill} fill-opacity=\".13\"/>"));
        self.line(format_args!("<rect {place}{stroke} fill=\"none\" stroke-width=\".5\"/></g>"));
        let ink = self.fill(Paint::Ink);
        let long = Number(font::width(&visible(&edge.text), TEXT));
        self.line(format_args!(
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\" textLength=\"{long}\"{}{ink}>{}</text>",
            Number(middle.x),
            Number(middle.y + BASE * TEXT),
            faint[1],
            xml(&edge.text)
        ));
        self.out.push_str("</g>\n");
    }

    fn state(&mut self, state: usize, [inputs, output]: [usize; 2], rect: &Rect) {
        let Rect { middle, width, height } = *rect;
        let (paper, ink) = (self.fill(Paint::Paper), self.stroke(Paint::Ink));
        let place = format!(
            "x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"{}\"",
            Number(rect.left() + 0.4),
            Number(rect.top() + 0.4),
            Number(width - 0.8),
            Number(height - 0.8),
            Number(if state < inputs || state == output { 2.0 } else { width.min(height) / 2.0 - 0.4 })
        );
        self.line(format_args!("<rect {place}{paper}/>"));
        self.line(format_args!("<rect {place}{ink} fill=\"none\" stroke-width=\".8\"/>"));
        let fill = self.fill(Paint::Ink);
        let place = format!("x=\"{}\" y=\"{}\"", Number(middle.x), Number(middle.y + BASE * TEXT));
        let index = match state {
            0 if inputs > 1 => "k−2",
            // The last of the two cells before, or the only one.
            _ if state < 2 && state < inputs => "k−1",
            state if state == output => "k",
            state => {
                let (name, long) = match state.checked_sub(inputs) {
                    Some(node) => (node.to_string(), String::new()),
                    None => {
                        let name = FURTHER_INPUTS[(state - 2).min(1)];
                        // Fonts of pages may be wider.
                        (name.to_owned(), format!(" textLength=\"{}\"", Number(font::width(name, TEXT))))
                    }
                };
                return self.line(format_args!("<text {place} text-anchor=\"middle\"{long}{fill}>{name}</text>"));
            }
        };
        let (down, size) = (Number(1.6), Number(INDEX));
        self.line(format_args!(
            "<text {place} text-anchor=\"middle\"{fill}>c<tspan dy=\"{down}\" font-size=\"{size}\">{index}</tspan></text>"
        ));
    }

    fn wire(&mut self, path: &Path, paint: Paint, thick: f64, dash: &[f64]) {
        let dash = match dash {
            [] => String::new(),
            dash => {
                let unit = (thick / LINE).max(1.0);
                let lengths: Vec<String> = dash.iter().map(|length| Number(unit * length).to_string()).collect();
                format!(" stroke-dasharray=\"{}\"", lengths.join(" "))
            }
        };
        let stroke = self.stroke(paint);
        self.line(format_args!(
            "<path d=\"{}\"{stroke} fill=\"none\" stroke-width=\"{}\"{dash}/>",
            path_data(path),
            Number(thick)
        ));
    }

    fn arrow(&mut self, path: &Path, paint: Paint, thick: f64) {
        let Some(Point { x, y }) = path.knots.last().copied() else { return };
        let half = 1.5 + 0.5 * thick;
        let fill = self.fill(paint);
        self.line(format_args!(
            "<path d=\"M{} {}l{} {}l{} {}z\"{fill}/>",
            Number(x),
            Number(y - half),
            Number(ARROW_LENGTH),
            Number(half),
            Number(-ARROW_LENGTH),
            Number(half)
        ));
    }
}

/// From the middle of a line of text to its base, in sizes: half the height of a capital.
const BASE: f64 = 0.35;

fn path_data(path: &Path) -> String {
    let mut data = String::new();
    let Some(first) = path.knots.first() else { return data };
    // Writing to a string cannot fail.
    let _ = write!(data, "M{} {}", Number(first.x), Number(first.y));
    for pair in path.knots.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        let _ = if a.y == b.y {
            write!(data, "H{}", Number(b.x))
        } else {
            let [c, d] = Path::bend(a, b);
            let [cx, cy, dx, dy] = [c.x, c.y, d.x, d.y].map(Number);
            write!(data, "C{cx} {cy} {dx} {dy} {} {}", Number(b.x), Number(b.y))
        };
    }
    data
}

/// A number with at most two digits behind the point.
#[derive(Clone, Copy)]
struct Number(f64);

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = format!("{:.2}", self.0);
        let text = text.trim_end_matches('0').trim_end_matches('.');
        f.write_str(if text == "-0" { "0" } else { text })
    }
}
