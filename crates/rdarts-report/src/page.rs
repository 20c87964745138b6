//! The page: one file of HTML that asks nothing of anyone.
//!
//! A kind of run says which sections its page has (`search`, `training`, `portfolio`, `many`, and `architectures` of
//! a table), one template sets them.
//! Every text goes through `Text`, which shows what would turn or part it, and the template escapes it. The page holds
//! one style and one script and names their digests, so that a browser runs nothing else; it loads nothing. Without the
//! script it shows the result; with it, a slider steps through the epochs by the data that the page holds as JSON.

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rdarts_text::escaped;
use sha2::{Digest, Sha256};

use crate::figure::Figure;
use crate::number::{bytes, duration};
use crate::svg;
use crate::table::{Content, Head, Report, RunTable, SpecTable, TimeTable};

mod data;

mod search;

mod training;

mod disparity_training;

mod maps;

mod portfolio;

mod many;

mod architectures;

/// The page of a report.
pub fn page(report: &Report) -> String {
    render(report, None).html
}

/// The page for a server that follows runs: it holds one more script, which may ask that server, and a word by which the
/// script tells this page from a later one.
pub fn live_page(report: &Report, script: &'static str, version: &str) -> LivePage {
    render(report, Some(Live { script, version: version.to_string() }))
}

/// A page, and the policy that it states about itself, for the header of a server's answer.
#[derive(Clone, Debug)]
pub struct LivePage {
    /// The page.
    pub html: String,
    /// Its content security policy.
    pub policy: String,
}

fn render(report: &Report, live: Option<Live>) -> LivePage {
    let style = style();
    let script = include_str!("../templates/page.js");
    let digest = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
    let mut body = match (&report.many, &report.runs[..]) {
        (Some(many), runs) => many::body(many, runs),
        (None, [run]) => of_run(run),
        (None, _) if let Some(table) = &report.architectures => architectures::body(table),
        (None, _) => Body { title: "No runs".into(), verdict: "No run was given.".into(), ..Body::default() },
    };
    match &report.architectures {
        Some(table) => architectures::add(&mut body, table),
        None => body.missing.extend(table_wanted(report)),
    }
    let (more, connect) = match &live {
        Some(live) => (format!(" {}", digest(live.script)), " connect-src 'self';"),
        None => (String::new(), ""),
    };
    let policy = format!(
        "default-src 'none'; style-src {}; script-src {}{more};{connect} img-src data:; base-uri 'none'; form-action \
         'none'",
        digest(&style),
        digest(script)
    );
    let source = match (&report.architectures, report.runs.is_empty()) {
        (None, _) if report.runs.len() > 1 => "the run directories",
        (None, _) => "the run directory",
        (Some(_), true) => "the table",
        (Some(_), false) if report.runs.len() > 1 => "the run directories and the table",
        (Some(_), false) => "the run directory and the table",
    };
    let page = Page { policy, style, script, live, version: env!("CARGO_PKG_VERSION"), source, body };
    let html = page.render().expect("rendering into a string cannot fail");
    LivePage { html, policy: page.policy }
}

/// What only a page has that follows runs.
struct Live {
    script: &'static str,
    version: String,
}

/// The one style: that of the page, of charts, of cells, and the colours of operations in the dark and in print.
fn style() -> String {
    format!(
        "{}{}{}@media(prefers-color-scheme:dark){{body .chart{{{}}}}}\n@media print{{body .chart,body \
         .rdarts-drawing{{{}}}}}\n",
        include_str!("../templates/page.css"),
        svg::style(),
        rdarts_draw::css(),
        svg::kind_colors(|row| row.dark),
        svg::kind_colors(|row| row.light)
    )
}

/// Everything on the page that is not the same on every page.
#[derive(Default)]
struct Body {
    title: Text,
    /// The directory of a run.
    name: Option<Text>,
    /// How far the run is.
    state: Option<Paragraph>,
    verdict: Paragraph,
    faults: Vec<Paragraph>,
    /// What the bar at the lower edge tells of an epoch, if there are epochs to step through.
    readouts: Vec<Readout>,
    sections: Vec<Section>,
    /// What cannot be shown.
    missing: Vec<Paragraph>,
    /// Pictures of the cells with all that they have at any epoch, of which the script shows what an epoch has.
    cells: Vec<String>,
    /// The data, as JSON that no tag can end.
    data: String,
}

#[derive(Template)]
#[template(path = "page.html")]
struct Page {
    policy: String,
    style: String,
    script: &'static str,
    live: Option<Live>,
    version: &'static str,
    /// What it is made from.
    source: &'static str,
    body: Body,
}

/// A text for people: what would turn the direction of writing or end the line is shown instead.
#[derive(Clone, Debug, Default)]
struct Text(String);

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text(escaped(text))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Text {
        Text(escaped(&text))
    }
}

/// A sentence, in which what stands between backquotes is code.
#[derive(Clone, Debug, Default)]
struct Paragraph {
    pieces: Vec<(bool, Text)>,
}

impl From<&str> for Paragraph {
    fn from(text: &str) -> Paragraph {
        let parts: Vec<&str> = text.split('`').collect();
        // A backquote without its other half is one in a name.
        if parts.len().is_multiple_of(2) {
            return Paragraph { pieces: vec![(false, text.into())] };
        }
        Paragraph { pieces: parts.iter().enumerate().map(|(i, part)| (i % 2 == 1, (*part).into())).collect() }
    }
}

impl From<String> for Paragraph {
    fn from(text: String) -> Paragraph {
        text.as_str().into()
    }
}

#[derive(Clone, Debug, Default)]
struct Section {
    id: &'static str,
    title: &'static str,
    paragraphs: Vec<Paragraph>,
    figures: Vec<FigureView>,
    /// A small table beside the figures.
    aside: Option<Table>,
    tables: Vec<Table>,
    /// Texts to copy, each with what it is.
    codes: Vec<(Text, Text)>,
    pictures: Vec<Picture>,
    /// Pairs as a network for disparity sees them.
    maps: Vec<MapView>,
    /// Sentences of a list.
    lines: Vec<Paragraph>,
}

impl Section {
    fn is_empty(&self) -> bool {
        let Section { paragraphs, figures, tables, codes, pictures, maps, lines, .. } = self;
        let texts = paragraphs.is_empty() && codes.is_empty() && lines.is_empty();
        let views = figures.is_empty() && pictures.is_empty() && maps.is_empty();
        texts && views && tables.is_empty() && self.aside.is_none()
    }
}

#[derive(Clone, Debug)]
struct FigureView {
    /// Its name, by which the script finds it.
    name: String,
    title: Text,
    caption: Paragraph,
    /// SVG, whose texts are escaped.
    svg: String,
}

#[derive(Clone, Debug, Default)]
struct Table {
    caption: Text,
    headers: Vec<Text>,
    rows: Vec<Row>,
}

#[derive(Clone, Debug, Default)]
struct Row {
    is_marked: bool,
    /// The first one heads the row.
    cells: Vec<Field>,
}

#[derive(Clone, Debug, Default)]
struct Field {
    text: Text,
    is_number: bool,
    is_code: bool,
}

impl Field {
    /// Whether it is too short to be broken into lines.
    fn is_whole(&self) -> bool {
        self.is_number || self.text.0.chars().count() < 24
    }
}

/// A test picture that the network is wrong about.
#[derive(Clone, Debug)]
struct Picture {
    url: String,
    truth: Text,
    given: Text,
    probability: Text,
}

/// A pair as a network for disparity sees it.
#[derive(Clone, Debug)]
struct MapView {
    caption: Paragraph,
    /// Of each picture its data URL, what it is, and that in more words.
    pictures: Vec<(String, &'static str, Text)>,
}

/// A number that the bar shows of an epoch.
#[derive(Clone, Debug)]
struct Readout {
    label: &'static str,
    column: &'static str,
    format: &'static str,
}

fn of_run(run: &RunTable) -> Body {
    let figures = crate::figure::of_run(run);
    match &run.content {
        Content::Search(table) => search::body(&run.head, table, &figures),
        Content::Train(table) => training::body(&run.head, table, &figures),
        Content::DisparityTrain(table) => disparity_training::body(&run.head, table, &figures),
        Content::Robust(table) => portfolio::body(&run.head, table, &figures),
        Content::Nothing => Body { title: "A directory that is no run".into(), ..begin(&run.head) },
    }
}

/// What a table of all architectures would show, if some run is in a space that is small enough for one.
fn table_wanted(report: &Report) -> Option<Paragraph> {
    let (space, n) = report.runs.iter().find_map(|run| match &run.content {
        Content::Search(table) if !table.epochs.is_empty() => Some((&table.space, table.n_architectures?)),
        _ => None,
    })?;
    Some(
        format!(
            "How far what was found is from the best of the {n} architectures of {space}: a table of them all (`rdarts \
             table build`), added to this command with `--table`, shows it."
        )
        .into(),
    )
}

/// How long a run took, and how much memory.
fn took(time: &TimeTable) -> Option<Paragraph> {
    let memory = time.peak_memory.map_or_else(String::new, |peak| format!(", and {} of memory at most", bytes(peak)));
    (time.total > 0.0)
        .then(|| format!("Its epochs took {}, over all starts of the run{memory}.", duration(time.total)).into())
}

/// The section on that of a training.
fn time(head: &Head, figures: &[Figure]) -> Section {
    Section {
        id: "time",
        title: "Time and memory",
        paragraphs: took(&head.time).into_iter().collect(),
        figures: chosen(figures, &["time"]),
        ..Section::default()
    }
}

/// What the page of every kind of run begins with.
fn begin(head: &Head) -> Body {
    Body {
        name: Some(head.name.as_str().into()),
        state: Some(head.state_sentence.as_str().into()),
        verdict: head.verdict.as_str().into(),
        faults: head.faults.iter().map(|fault| fault.as_str().into()).collect(),
        ..Body::default()
    }
}

/// Figures by their names, in the order of these.
fn chosen(figures: &[Figure], names: &[&str]) -> Vec<FigureView> {
    let of_name = |name: &&str| figures.iter().find(|figure| figure.name == *name);
    names.iter().filter_map(of_name).map(view).collect()
}

fn view(figure: &Figure) -> FigureView {
    FigureView {
        name: figure.name.clone(),
        title: figure.title.as_str().into(),
        caption: figure.caption.as_str().into(),
        svg: figure.svg.clone(),
    }
}

fn words(text: impl Into<Text>) -> Field {
    Field { text: text.into(), ..Field::default() }
}

fn number(text: Option<String>) -> Field {
    Field { text: text.unwrap_or_else(|| "\u{2013}".to_string()).into(), is_number: true, is_code: false }
}

fn code(text: impl Into<Text>) -> Field {
    Field { text: text.into(), is_number: false, is_code: true }
}

/// The sections that every kind of run ends with: its spec, and how to make it again.
fn end(head: &Head) -> Vec<Section> {
    let mut sections = Vec::new();
    let mut again = Section { id: "again", title: "The same run again", ..Section::default() };
    if let Some(command) = &head.again {
        again.codes.push(("Command".into(), command.as_str().into()));
        again.paragraphs.push(
            "The spec holds every value that can change the result. The same program makes the same bits of it, on any \
             number of threads; another instruction set may differ in the last ones."
                .into(),
        );
    }
    let mut rows = Vec::new();
    let mut fact =
        |name: &str, value: &str| rows.push(Row { is_marked: false, cells: vec![words(name), words(value)] });
    if let Some(version) = &head.rdarts {
        fact("Begun by", &format!("rdarts {version}"));
    }
    if let Some(machine) = &head.machine {
        fact("Processor", &machine.cpu);
        fact("System", &format!("{} on {}", machine.os, machine.arch));
        fact("Threads", &machine.threads.to_string());
        fact("Instruction set", &machine.isa);
    }
    if !rows.is_empty() {
        again.tables.push(Table {
            caption: "Where it last ran".into(),
            headers: vec!["Fact".into(), "Value".into()],
            rows,
        });
    }
    if !again.is_empty() {
        sections.push(again);
    }
    if let Some(spec) = &head.spec {
        let n = spec.rows.iter().filter(|row| row.preset.is_some()).count();
        let about = match spec.is_compared {
            true => format!(
                "{n} of {} values differ from the preset `{}`, by the user's choice or for the data set; they are \
                 marked.",
                spec.rows.len(),
                spec.preset
            ),
            false => format!(
                "The preset `{}` is not known to this program, so nothing is marked that differs from it.",
                spec.preset
            ),
        };
        sections.push(Section {
            id: "spec",
            title: "The whole spec",
            paragraphs: vec![about.into()],
            tables: spec_tables(spec),
            ..Section::default()
        });
    }
    sections
}

/// One table a section of the spec.
fn spec_tables(spec: &SpecTable) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    for row in &spec.rows {
        let (section, key) = row.key.split_once('.').unwrap_or(("", &row.key));
        let caption = if section.is_empty() { "The whole".to_string() } else { format!("[{section}]") };
        if tables.last().is_none_or(|table| table.caption.0 != caption) {
            let headers = vec!["Key".into(), "Value".into(), "Preset".into()];
            tables.push(Table { caption: caption.into(), headers, rows: Vec::new() });
        }
        let preset = row.preset.as_ref().map_or(String::new(), |preset| format!("\u{2260} {preset}"));
        let cells = vec![code(key), code(row.value.as_str()), code(preset)];
        if let Some(table) = tables.last_mut() {
            table.rows.push(Row { is_marked: row.preset.is_some(), cells });
        }
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> Vec<(bool, String)> {
        Paragraph::from(text).pieces.into_iter().map(|(is_code, text)| (is_code, text.0)).collect()
    }

    #[test]
    fn what_stands_between_backquotes_is_code() {
        assert_eq!(
            pieces("run `a b` now"),
            [(false, "run ".to_string()), (true, "a b".to_string()), (false, " now".to_string())]
        );
        assert_eq!(pieces("a ` b\u{202e}"), [(false, "a ` b\\u{202e}".to_string())]);
    }

    #[test]
    fn the_style_and_the_script_load_nothing() {
        for text in [&style(), include_str!("../templates/page.js")] {
            for word in ["http", "url(", "@import", "fetch", "XMLHttp", "innerHTML", "</"] {
                assert!(!text.contains(word), "{word}");
            }
        }
    }
}
