//! Charts as SVG text: scales, axes, lines, points, bands and a key, in the size of a column of a paper.
//!
//! Nothing here has a colour: shapes have classes, and `svg.css` gives them the colours of Okabe and Ito, lighter ones
//! where the reader prefers dark. Operations have the colours of their kinds, as in the cells. Series differ by dashes and marks too, never by colour alone. A chart over epochs
//! says in `data-` attributes where its horizontal axis lies, so that the page's script can move a cursor over it.

use std::fmt::Write as _;

use rdarts_draw::{KINDS, Kind, KindRow};
use rdarts_space::Op;

/// Width of every chart; as a file it is 84 mm, a column, in which the letters are those of 7.5 pt.
pub(crate) const WIDTH: f64 = 360.0;

/// The style of all shapes but those in the colors of operations.
const SHAPES: &str = include_str!("../templates/svg.css");

/// Letters as wide as this on average, in the size of labels.
const LETTER: f64 = 5.7;

/// Marks of points, which tell series from each other.
pub(crate) const N_MARKS: usize = 5;

/// What stands on an axis, and its range.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    /// What it is, with its unit.
    pub label: String,
    /// The values at its ends.
    pub range: (f64, f64),
    /// Whether equal distances are equal factors.
    pub is_log: bool,
    /// Whether only whole numbers have a tick.
    pub is_whole: bool,
    /// Whether its values are fractions that are shown as percent.
    pub is_percent: bool,
}

impl Axis {
    /// An axis that holds some values, `from` some value on if that is given; values that are not finite are left out.
    pub fn of(label: &str, values: impl IntoIterator<Item = f64>, from: Option<f64>) -> Axis {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        // What is beyond all measure would leave the range of numbers when distances are taken.
        for value in values.into_iter().chain(from).filter(|value| value.abs() < 1e150) {
            (low, high) = (low.min(value), high.max(value));
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        let margin = if high > low { 0.04 * (high - low) } else { 0.1 * high.abs().max(0.1) };
        let low = if from.is_some_and(|from| from <= low) { low } else { low - margin };
        Axis { label: label.into(), range: (low, high + margin), is_log: false, is_whole: false, is_percent: false }
    }

    /// An axis of whole numbers from the first to the last one.
    pub fn whole(label: &str, first: usize, last: usize) -> Axis {
        // A single value stands in the middle.
        let range = if first < last { (first as f64, last as f64) } else { (first as f64 - 0.5, first as f64 + 0.5) };
        Axis { label: label.into(), range, is_log: false, is_whole: true, is_percent: false }
    }

    /// A logarithmic axis that holds some positive values.
    pub fn log(label: &str, values: impl IntoIterator<Item = f64>) -> Axis {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.into_iter().filter(|value| *value > 0.0 && *value < 1e150) {
            (low, high) = (low.min(value), high.max(value));
        }
        if low > high {
            (low, high) = (0.1, 1.0);
        }
        let range = (low / 1.3, high * 1.3);
        Axis { label: label.into(), range, is_log: true, is_whole: false, is_percent: false }
    }

    /// An axis of dominant eigenvalues: those of searches that degenerate are many times those of others, which takes a
    /// logarithmic one.
    pub fn of_eigenvalues(label: &str, values: impl Iterator<Item = f64> + Clone) -> Axis {
        let (low, high) = values.clone().fold((f64::INFINITY, 0.0), |(low, high), x| (x.min(low), x.max(high)));
        if low > 0.0 && 10.0 * low < high { Axis::log(label, values) } else { Axis::of(label, values, None) }
    }

    /// The same, of fractions that are shown as percent.
    pub fn percent(mut self) -> Axis {
        self.is_percent = true;
        self
    }

    /// Where a value lies, 0 at the begin of the axis and 1 at its end.
    fn place(&self, value: f64) -> f64 {
        let map = |value: f64| if self.is_log { value.max(f64::MIN_POSITIVE).ln() } else { value };
        let (low, high) = (map(self.range.0), map(self.range.1));
        // A value far beyond an axis would leave the numbers that SVG knows.
        ((map(value) - low) / (high - low)).clamp(-1.0, 2.0)
    }

    /// The values with a tick, about so many, and their labels.
    fn ticks(&self, wanted: f64) -> Vec<(f64, String)> {
        let (low, high) = self.range;
        if self.is_log {
            return self.log_ticks();
        }
        let rough = (high - low) / wanted.max(1.0);
        let power = 10f64.powf(rough.log10().floor());
        let mut step =
            [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|step| rough <= *step).unwrap_or(rough);
        if self.is_whole {
            step = step.max(1.0).round();
        }
        let (first, last) = ((low / step - 1e-9).ceil() as i64, (high / step + 1e-9).floor() as i64);
        let scale = if self.is_percent { 100.0 } else { 1.0 };
        let places = (-(scale * step).log10().floor()).clamp(0.0, 8.0) as usize;
        let label = |value: f64| {
            let shown = scale * value;
            let text = if 1e6 <= shown.abs() { format!("{shown:.0e}") } else { format!("{shown:.places$}") };
            text.replace('-', "\u{2212}")
        };
        // No more than a chart has room for, whatever the range.
        (first..=last).take(40).map(|i| i as f64 * step).map(|value| (value, label(value))).collect()
    }

    fn log_ticks(&self) -> Vec<(f64, String)> {
        let (low, high) = self.range;
        let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
        let factors: &[f64] = if last - first <= 2 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let every = ((last - first) / 6).max(1);
        let decades = (first..=last).filter(|i| (i - first) % every == 0);
        let values = decades.flat_map(|i| factors.iter().map(move |factor| factor * 10f64.powi(i)));
        let inside = values.filter(|value| (low..=high).contains(value));
        inside.map(|value| (value, crate::number::short(value))).collect()
    }
}

/// A rectangle with two axes, which shapes are drawn into.
#[derive(Clone, Debug)]
pub(crate) struct Panel {
    /// Its left upper corner and its size.
    frame: (f64, f64, f64, f64),
    x: Axis,
    y: Axis,
    body: String,
}

impl Panel {
    /// A panel in a frame (left, top, width, height), with its axes, ticks and labels.
    pub fn new(frame: (f64, f64, f64, f64), x: Axis, y: Axis) -> Panel {
        Panel::with_ticks(frame, x, y, 52.0)
    }

    /// The same with a tick on the horizontal axis for about so many units of the picture.
    pub fn with_ticks(frame: (f64, f64, f64, f64), x: Axis, y: Axis, apart: f64) -> Panel {
        let (left, top, width, height) = frame;
        let mut body = String::new();
        let bottom = top + height;
        for (value, label) in y.ticks(height / 34.0) {
            let at = bottom - height * y.place(value);
            write(&mut body, format_args!("<path class=\"grid\" d=\"M{left:.1} {at:.1}h{width:.1}\"/>"));
            let right = left - 5.0;
            write(&mut body, format_args!("<text class=\"end\" x=\"{right:.1}\" y=\"{:.1}\">{label}</text>", at + 3.5));
        }
        for (value, label) in x.ticks(width / apart) {
            let at = left + width * x.place(value);
            write(&mut body, format_args!("<path class=\"axis\" d=\"M{at:.1} {bottom:.1}v4\"/>"));
            let below = bottom + 15.0;
            write(&mut body, format_args!("<text class=\"mid\" x=\"{at:.1}\" y=\"{below:.1}\">{label}</text>"));
        }
        write(&mut body, format_args!("<path class=\"axis\" d=\"M{left:.1} {bottom:.1}h{width:.1}\"/>"));
        if !x.label.is_empty() {
            let (at, below) = (left + width / 2.0, bottom + 30.0);
            let label = escape(&x.label);
            write(&mut body, format_args!("<text class=\"mid\" x=\"{at:.1}\" y=\"{below:.1}\">{label}</text>"));
        }
        if !y.label.is_empty() {
            let above = top - 8.0;
            let label = escape(&y.label);
            write(&mut body, format_args!("<text x=\"2\" y=\"{above:.1}\">{label}</text>"));
        }
        Panel { frame, x, y, body }
    }

    /// A panel among many small ones: a frame, a title, and ticks at the ends of its axes if it is an outer one.
    pub fn small(frame: (f64, f64, f64, f64), x: Axis, y: Axis, title: &str, is_outer: bool) -> Panel {
        let (left, top, width, height) = frame;
        let mut body = format!("<path class=\"axis\" d=\"M{left:.1} {top:.1}v{height:.1}h{width:.1}\"/>");
        let (middle, above) = (left + width / 2.0, top - 3.0);
        let title = escape(title);
        write(&mut body, format_args!("<text class=\"mid note\" x=\"{middle:.1}\" y=\"{above:.1}\">{title}</text>"));
        if is_outer {
            for (value, label) in [(y.range.0, "0"), (y.range.1, "1")] {
                let at = top + height - height * y.place(value) + 3.5;
                write(
                    &mut body,
                    format_args!("<text class=\"end\" x=\"{:.1}\" y=\"{at:.1}\">{label}</text>", left - 4.0),
                );
            }
        }
        Panel { frame, x, y, body }
    }

    /// A point of the chart.
    pub fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let (left, top, width, height) = self.frame;
        (left + width * self.x.place(x), top + height - height * self.y.place(y))
    }

    /// The largest value of its vertical axis.
    pub fn top(&self) -> f64 {
        self.y.range.1
    }

    /// A line through points, thinned to what the eye can tell apart; it has a gap where a value is not finite.
    pub fn line(&mut self, class: &str, points: &[(f64, f64)]) {
        // A line of a single point would not be seen.
        if let [only] = points {
            return self.marks(class, 0, &[*only]);
        }
        let path = self.path(points);
        if !path.is_empty() {
            write(&mut self.body, format_args!("<path class=\"line {class}\" d=\"{path}\"/>"));
        }
    }

    /// A line that the page's script may give another path, by [`Panel::path`].
    pub fn moving_line(&mut self, class: &str, path: &str) {
        write(&mut self.body, format_args!("<path data-line=\"\" class=\"line {class}\" d=\"{path}\"/>"));
    }

    /// The path of a line.
    pub fn path(&self, points: &[(f64, f64)]) -> String {
        let mut path = String::new();
        let mut is_drawn = false;
        for &(x, y) in &thinned(points, self.frame.2 as usize) {
            if !x.is_finite() || !y.is_finite() {
                is_drawn = false;
                continue;
            }
            let (x, y) = self.at(x, y);
            write(&mut path, format_args!("{}{x:.1} {y:.1}", if is_drawn { "L" } else { "M" }));
            is_drawn = true;
        }
        path
    }

    /// A line of steps: each value holds until the next one.
    pub fn steps(&mut self, class: &str, points: &[(f64, f64)]) {
        let mut corners = Vec::new();
        for (i, &(x, y)) in points.iter().enumerate() {
            if i > 0 && points[i - 1].1 != y {
                corners.push((x, points[i - 1].1));
            }
            // Of a value that stays only its begin and its end have a corner.
            if i == 0 || i + 1 == points.len() || points[i - 1].1 != y {
                corners.push((x, y));
            }
        }
        self.line(class, &corners);
    }

    /// The area between two lines (x, low, high).
    pub fn band(&mut self, class: &str, points: &[(f64, f64, f64)]) {
        let points: Vec<_> = points.iter().filter(|p| p.0.is_finite() && p.1.is_finite() && p.2.is_finite()).collect();
        if points.len() < 2 {
            return;
        }
        let mut path = String::from("M");
        let up = points.iter().map(|p| self.at(p.0, p.2));
        let down = points.iter().rev().map(|p| self.at(p.0, p.1));
        for (i, (x, y)) in up.chain(down).enumerate() {
            write(&mut path, format_args!("{}{x:.1} {y:.1}", if i > 0 { "L" } else { "" }));
        }
        write(&mut self.body, format_args!("<path class=\"band {class}\" d=\"{path}Z\"/>"));
    }

    /// A vertical bar at each point (x, low, high): how sure a value is.
    pub fn bars(&mut self, class: &str, points: &[(f64, f64, f64)]) {
        let mut path = String::new();
        for &(x, low, high) in points.iter().filter(|p| p.0.is_finite() && p.1.is_finite() && p.2.is_finite()) {
            let ((x, low), (_, high)) = (self.at(x, low), self.at(x, high));
            write(&mut path, format_args!("M{x:.1} {low:.1}V{high:.1}"));
        }
        if !path.is_empty() {
            write(&mut self.body, format_args!("<path class=\"bar {class}\" d=\"{path}\"/>"));
        }
    }

    /// A filled column from one value to another at each of some places, of a width in units of x.
    pub fn columns(&mut self, class: &str, width: f64, points: &[(f64, f64, f64)]) {
        let mut path = String::new();
        for &(x, low, high) in points.iter().filter(|p| p.0.is_finite() && p.1.is_finite() && p.2.is_finite()) {
            let ((left, low), (right, high)) = (self.at(x - width / 2.0, low), self.at(x + width / 2.0, high));
            write(&mut path, format_args!("M{left:.1} {low:.1}H{right:.1}V{high:.1}H{left:.1}Z"));
        }
        if !path.is_empty() {
            write(&mut self.body, format_args!("<path class=\"fill {class}\" d=\"{path}\"/>"));
        }
    }

    /// A mark at each point.
    pub fn marks(&mut self, class: &str, mark: usize, points: &[(f64, f64)]) {
        let mut path = String::new();
        for &(x, y) in points.iter().filter(|p| p.0.is_finite() && p.1.is_finite()) {
            let (x, y) = self.at(x, y);
            path += &mark_path(mark, x, y);
        }
        if !path.is_empty() {
            write(&mut self.body, format_args!("<path class=\"mark {class}\" d=\"{path}\"/>"));
        }
    }

    /// A dot at each point: a line of no length with round ends, the smallest shape there is.
    pub fn dots(&mut self, class: &str, points: &[(f64, f64)]) {
        let mut path = String::new();
        for &(x, y) in points.iter().filter(|p| p.0.is_finite() && p.1.is_finite()) {
            let (x, y) = self.at(x, y);
            write(&mut path, format_args!("M{x:.1} {y:.1}h0"));
        }
        if !path.is_empty() {
            write(&mut self.body, format_args!("<path class=\"dots {class}\" d=\"{path}\"/>"));
        }
    }

    /// Dots that the page's script moves: it draws them anew for the spectrum of another epoch.
    pub fn moving_dots(&mut self, class: &str, points: &[(f64, f64)]) {
        let begin = self.body.len();
        self.dots(class, points);
        let ((left, bottom), (right, top)) =
            (self.at(self.x.range.0, self.y.range.0), self.at(self.x.range.1, self.y.range.1));
        let axes = format!(
            "<path data-moving=\"{} {} {} {}\" data-frame=\"{left:.1} {right:.1} {bottom:.1} {top:.1}\" ",
            self.x.range.0, self.x.range.1, self.y.range.0, self.y.range.1
        );
        let dots = self.body.split_off(begin);
        self.body += &dots.replacen("<path ", &axes, 1);
    }

    /// An arc above the chart from one place to another, with an arrow at its end.
    pub fn arc(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let ((x0, y0), (x1, y1)) = (self.at(from.0, from.1), self.at(to.0, to.1));
        let (_, top, ..) = self.frame;
        let (middle, above) = ((x0 + x1) / 2.0, (y0.min(y1) - 14.0 - 0.15 * (x0 - x1).abs()).max(top - 6.0));
        let head = format!("M{:.1} {:.1}L{x1:.1} {y1:.1}L{:.1} {:.1}", x1 + 1.5, y1 - 6.0, x1 + 6.0, y1 - 3.0);
        write(
            &mut self.body,
            format_args!(
                "<path class=\"line {class}\" d=\"M{x0:.1} {y0:.1}Q{middle:.1} {above:.1} {x1:.1} {y1:.1}{head}\"/>"
            ),
        );
    }

    /// A mark so many units of the picture above a point, and a word beside it.
    pub fn lifted(&mut self, class: &str, mark: usize, (x, y): (f64, f64), by: f64, beside: &str) {
        let (x, y) = self.at(x, y);
        let path = mark_path(mark, x, y - by);
        write(&mut self.body, format_args!("<path class=\"mark {class}\" d=\"{path}\"/>"));
        if !beside.is_empty() {
            let (x, y, text) = (x + 5.0, y - by + 3.0, escape(beside));
            write(&mut self.body, format_args!("<text class=\"small over\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>"));
        }
    }

    /// A text so many units of the picture from a point; `class` may be `end` or `mid`.
    pub fn text(&mut self, class: &str, (x, y): (f64, f64), (right, down): (f64, f64), text: &str) {
        let (x, y) = self.at(x, y);
        let (x, y, text) = (x + right, y + down, escape(text));
        write(&mut self.body, format_args!("<text class=\"over {class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>"));
    }

    /// A vertical line over the whole height.
    pub fn vertical(&mut self, class: &str, x: f64) {
        let (_, top, _, height) = self.frame;
        let (x, _) = self.at(x, 0.0);
        write(&mut self.body, format_args!("<path class=\"line {class}\" d=\"M{x:.1} {top:.1}v{height:.1}\"/>"));
    }

    /// A line at the value of an epoch, or one that the page's script moves there, if that is not given.
    pub fn cursor_at(&mut self, column: &str, value: Option<usize>) {
        match value {
            Some(value) => self.vertical("c0 d2", value as f64),
            None => self.cursor(column),
        }
    }

    /// A line that the page's script moves along the horizontal axis: it stands at the value of `column` of an epoch.
    pub fn cursor(&mut self, column: &str) {
        let (left, top, width, height) = self.frame;
        let (low, high) = self.x.range;
        write(
            &mut self.body,
            format_args!(
                "<path class=\"cursor\" data-column=\"{column}\" data-from=\"{low}\" data-to=\"{high}\" \
                 data-left=\"{left:.1}\" data-width=\"{width:.1}\" d=\"M{left:.1} {top:.1}v{height:.1}\"/>"
            ),
        );
    }
}

/// A series in the key of a chart.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// What it is.
    pub label: String,
    /// Class of its shape.
    pub class: String,
    /// How it is drawn.
    pub shape: Shape,
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// A line.
    Line,
    /// Marks of this number.
    Mark(usize),
    /// An area.
    Fill,
}

/// The key of a chart: its text and its height.
pub(crate) fn key(entries: &[Entry], top: f64) -> (String, f64) {
    let mut out = String::new();
    let (mut x, mut y) = (2.0, top + 9.0);
    for entry in entries {
        let width = 22.0 + LETTER * entry.label.chars().count() as f64 + 14.0;
        if x > 2.0 && WIDTH < x + width - 14.0 {
            (x, y) = (2.0, y + 15.0);
        }
        let (class, middle) = (&entry.class, y - 3.5);
        match entry.shape {
            Shape::Line => {
                write(&mut out, format_args!("<path class=\"line {class}\" d=\"M{x:.1} {middle:.1}h18\"/>"));
            }
            Shape::Mark(mark) => {
                let path = mark_path(mark, x + 9.0, middle);
                write(&mut out, format_args!("<path class=\"mark {class}\" d=\"{path}\"/>"));
            }
            Shape::Fill => {
                let top = middle - 4.0;
                write(&mut out, format_args!("<path class=\"fill {class}\" d=\"M{x:.1} {top:.1}h18v8h-18Z\"/>"));
            }
        }
        let label = escape(&entry.label);
        write(&mut out, format_args!("<text x=\"{:.1}\" y=\"{y:.1}\">{label}</text>", x + 22.0));
        x += width;
    }
    (out, if entries.is_empty() { 0.0 } else { y + 8.0 - top })
}

/// A whole chart: a picture with a name and a description for those who do not see it.
pub(crate) fn chart(name: &str, title: &str, description: &str, height: f64, key: &str, panels: &[Panel]) -> String {
    let body: String = panels.iter().map(|panel| panel.body.as_str()).collect();
    picture(name, title, description, (WIDTH, height), &format!("{key}{body}"))
}

/// A picture of any shapes.
pub(crate) fn picture(name: &str, title: &str, description: &str, size: (f64, f64), body: &str) -> String {
    let (title, description, (width, height)) = (escape(title), escape(description), size);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" \
         aria-labelledby=\"{name}-title {name}-description\"><title id=\"{name}-title\">{title}</title>\
         <desc id=\"{name}-description\">{description}</desc>{body}</svg>"
    )
}

/// A picture as a file: with its style, and as wide as a column, or as two if it is wider than that.
pub(crate) fn standalone(svg: &str) -> String {
    let size = |text: &str| text.parse::<f64>().unwrap_or(WIDTH);
    let mut view = svg.split("viewBox=\"0 0 ").nth(1).unwrap_or_default().split(['"', ' ']);
    let (width, height) = (size(view.next().unwrap_or_default()), size(view.next().unwrap_or_default()));
    let mm = 84.0 / WIDTH;
    let begin = format!("<svg width=\"{:.1}mm\" height=\"{:.1}mm\" ", mm * width, mm * height);
    let styled = svg.replacen("<svg ", &begin, 1);
    let style =
        format!("<style>{}</style><rect class=\"paper\" width=\"100%\" height=\"100%\"/><title", resolved_style());
    styled.replacen("<title", &style, 1) + "\n"
}

/// The style of charts.
pub(crate) fn style() -> String {
    let rule = |row: &KindRow| {
        let name = row.css;
        let dash: Vec<String> = row.dash.iter().map(ToString::to_string).collect();
        let dash = match dash.is_empty() {
            true => String::new(),
            false => format!(".chart .op-{name}{{stroke-dasharray:{}}}\n", dash.join(" ")),
        };
        format!(".chart .line.op-{name}{{stroke:var(--rdarts-{name})}}\n{dash}")
    };
    let rules: String = KINDS.iter().map(rule).collect();
    // The dashes of `svg.css`, which tell operations of a kind from each other, come after those of the kind.
    format!(".chart{{{}}}\n{rules}{SHAPES}", kind_colors(|row| row.light))
}

/// The colours of kinds of operations as variables of CSS.
pub(crate) fn kind_colors(color: fn(&KindRow) -> &'static str) -> String {
    KINDS.iter().map(|row| format!("--rdarts-{}:{};", row.css, color(row))).collect()
}

/// The classes of an operation's line: that of its kind, and a pattern of dashes among its kind.
pub(crate) fn op_class(op: Op) -> String {
    let kind = Kind::of(op).row().css;
    let dash = match op {
        Op::SepConv5x5 | Op::DilConv5x5 | Op::AvgPool3x3 | Op::NorConv3x3 => " d1",
        Op::SepConv7x7 | Op::NorConv1x1 => " d2",
        _ => "",
    };
    format!("op-{kind}{dash}")
}

/// The style with its variables put in: programs other than browsers know none.
fn resolved_style() -> String {
    let whole = style();
    let mut style = whole.clone();
    for definition in whole.split(['{', ';', '}']) {
        if let Some((name, value)) = definition.split_once(':').filter(|(name, _)| name.starts_with("--")) {
            style = style.replace(&format!("{definition};"), "").replace(&format!("var({name})"), value);
        }
    }
    style
}

/// Text inside of elements and attributes; what would turn or part it is shown instead.
pub(crate) fn escape(text: &str) -> String {
    let text = rdarts_text::escaped(text);
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

/// Writing to a string cannot fail.
pub(crate) fn write(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

fn mark_path(mark: usize, x: f64, y: f64) -> String {
    match mark % N_MARKS {
        0 => format!("M{:.1} {y:.1}a2.8 2.8 0 1 0 5.6 0a2.8 2.8 0 1 0 -5.6 0Z", x - 2.8),
        1 => format!("M{:.1} {:.1}h5v5h-5Z", x - 2.5, y - 2.5),
        2 => format!("M{x:.1} {:.1}l3.4 5.8h-6.8Z", y - 3.6),
        3 => format!("M{x:.1} {:.1}l3.5 3.5l-3.5 3.5l-3.5 -3.5Z", y - 3.5),
        _ => format!("M{:.1} {:.1}h6.8l-3.4 5.8Z", x - 3.4, y - 2.2),
    }
}

/// At most about `most` points of a line: of each stretch its lowest and its highest one, so that no peak is lost.
fn thinned(points: &[(f64, f64)], most: usize) -> Vec<(f64, f64)> {
    let most = most.max(8);
    if points.len() <= most {
        return points.to_vec();
    }
    let stretch = (2 * points.len()).div_ceil(most);
    let mut kept = Vec::new();
    for stretch in points.chunks(stretch) {
        let at = |i: usize| stretch[i].1;
        let low = (0..stretch.len()).min_by(|&a, &b| at(a).total_cmp(&at(b))).unwrap_or(0);
        let high = (0..stretch.len()).max_by(|&a, &b| at(a).total_cmp(&at(b))).unwrap_or(0);
        kept.push(stretch[low.min(high)]);
        if low != high {
            kept.push(stretch[low.max(high)]);
        }
    }
    if let (Some(first), Some(last)) = (points.first(), points.last()) {
        kept[0] = *first;
        kept.push(*last);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis, wanted: f64) -> Vec<String> {
        axis.ticks(wanted).into_iter().map(|tick| tick.1).collect()
    }

    #[test]
    fn ticks_are_round_numbers_inside_of_the_axis() {
        assert_eq!(labels(&Axis::whole("", 0, 49), 5.0), ["0", "10", "20", "30", "40"]);
        assert_eq!(labels(&Axis::whole("", 0, 2), 5.0), ["0", "1", "2"]);
        assert_eq!(labels(&Axis::whole("", 3, 3), 5.0), ["3"]);
        let shares = Axis::of("", [0.2, 0.8], Some(0.0)).percent();
        assert_eq!(labels(&shares, 4.0), ["0", "50"]);
        assert_eq!(
            labels(&Axis::log("", [3e-4, 3e-2]), 4.0),
            ["1e\u{2212}3", "0.01"].map(|s| s.replace("1e\u{2212}3", "0.001"))
        );
        assert_eq!(labels(&Axis::of("", [-1e100, 1e100, 1e300], None), 4.0).len(), 3);
    }

    #[test]
    fn an_axis_of_nothing_is_still_an_axis() {
        for axis in [Axis::of("", [f64::NAN], None), Axis::log("", [0.0, -1.0]), Axis::of("", [3.0], None)] {
            assert!(axis.range.0 < axis.range.1 && !axis.ticks(5.0).is_empty(), "{axis:?}");
        }
    }

    #[test]
    fn a_file_needs_no_variables_of_style() {
        let svg = standalone(&picture("x", "t", "d", (360.0, 200.0), ""));
        assert!(svg.starts_with("<svg width=\"84.0mm\" height=\"46.7mm\" xmlns="), "{}", &svg[..80]);
        assert!(!svg.contains("var(") && !svg.contains("--") && svg.contains(".chart .line.c4"), "{svg}");
        assert!(svg.contains(&format!(".chart .line.op-sep{{stroke:{}}}", KINDS[0].light)), "{svg}");
    }

    #[test]
    fn no_two_operations_look_alike() {
        let style = style();
        let looks: std::collections::BTreeSet<String> = Op::ALL.into_iter().map(op_class).collect();
        assert_eq!(looks.len(), Op::ALL.len());
        for class in looks.iter().flat_map(|look| look.split(' ')) {
            assert!(style.contains(&format!(".{class}{{")), "{class}");
        }
    }

    #[test]
    fn a_thinned_line_keeps_its_ends_and_its_peak() {
        let points: Vec<(f64, f64)> = (0..1000).map(|i| (f64::from(i), if i == 777 { 9.0 } else { 0.5 })).collect();
        let kept = thinned(&points, 100);
        assert!(kept.len() <= 102, "{}", kept.len());
        assert!(kept.contains(&points[777]) && kept[0] == points[0] && kept.last() == points.last());
        assert!(kept.windows(2).all(|pair| pair[0].0 <= pair[1].0));
        assert_eq!(thinned(&points[..5], 100), points[..5]);
    }

    #[test]
    fn names_are_text_in_every_place() {
        let hostile = "</title><script>alert(1)</script>\"'&\u{202e}\n";
        let (text, _) = key(&[Entry { label: hostile.into(), class: "c0".into(), shape: Shape::Line }], 0.0);
        let panel = Panel::new((40.0, 20.0, 300.0, 100.0), Axis::whole(hostile, 0, 3), Axis::of(hostile, [1.0], None));
        let svg = chart("x", hostile, hostile, 150.0, &text, &[panel]);
        assert!(!svg.contains("<script") && !svg.contains('\u{202e}') && !svg.contains('\n'), "{svg}");
        assert_eq!(svg.matches("</title>").count(), 1);
    }
}
