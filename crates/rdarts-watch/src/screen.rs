//! What the terminal shows: a pure function of the tables and the size.
//!
//! Above stands a list of the runs, below it the chosen one: charts where there is room for them, and in words what the
//! monitor decided, the genotype that it stands at, and what came of it; a key leaves the whole room to the words. From 40
//! columns and 12 lines on there is something of everything; below that as much is shown as fits. Colors are the sixteen of the terminal, and nothing is told by a color alone.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Cell, Chart, Dataset, GraphType, Paragraph, Row, Table, TableState, Wrap};
use rdarts_report::number::{duration, percent, pixels, short, some};
use rdarts_report::read::State;
use rdarts_report::table::{Content, DisparityTrainTable, Head, PortfolioTable, RunTable, TrainTable};
use rdarts_report::{SearchTable, Task};
use rdarts_text::escaped;

/// What is shown of the chosen run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Charts, and words in what they leave.
    Charts,
    /// Words alone.
    Words,
}

/// Draws the runs, one of which is chosen.
pub fn draw(frame: &mut Frame<'_>, runs: &[RunTable], chosen: usize, shown: Shown) {
    let area = frame.area();
    let most = (area.height.saturating_mul(3) / 10).max(3);
    let list = u16::try_from(runs.len() + 1).map_or(most, |n| n.min(most));
    let [top, list, run, keys] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(list), Constraint::Fill(1), Constraint::Length(1)])
            .areas(area);
    frame.render_widget(Paragraph::new(summary(runs)).style(BAR), top);
    frame.render_widget(Paragraph::new(" \u{2191}\u{2193} choose   Tab charts/words   q quit").style(BAR), keys);
    let Some(table) = runs.get(chosen) else { return };
    draw_list(frame, list, runs, chosen);
    draw_run(frame, run, table, shown);
}

/// The bars above and below.
const BAR: Style = Style::new().add_modifier(Modifier::REVERSED);

/// How many runs there are, and how far.
fn summary(runs: &[RunTable]) -> String {
    if runs.is_empty() {
        return " rdarts watch: no runs yet".to_string();
    }
    let mut parts = vec![some(runs.len(), "run")];
    for state in [State::Running, State::Stopped, State::Finished, State::Unreadable] {
        match runs.iter().filter(|run| run.head.state == state).count() {
            0 => {}
            n => parts.push(format!("{n} {}", word(state))),
        }
    }
    format!(" rdarts watch: {}", parts.join(", "))
}

fn word(state: State) -> &'static str {
    match state {
        State::Finished => "finished",
        State::Running => "running",
        State::Stopped => "stopped",
        State::Unreadable => "unreadable",
    }
}

/// What the list says of a run.
#[derive(Default)]
struct Facts {
    kind: &'static str,
    /// Done, and to be done.
    epochs: (usize, usize),
    task: Task,
    /// Its accuracy, or its error in pixels.
    quality: Option<f64>,
    eigenvalue: Option<f64>,
    is_timed: bool,
}

fn facts(table: &RunTable) -> Facts {
    match &table.content {
        Content::Search(search) => Facts {
            kind: "search",
            task: search.task,
            epochs: (search.epochs.last().map_or(0, |row| row.epoch + 1), search.n_epochs),
            quality: search.epochs.last().and_then(|row| row.of_supernet()),
            eigenvalue: search.epochs.iter().rev().find_map(|row| row.eigenvalue),
            is_timed: true,
        },
        Content::Train(train) => {
            let last = train.epochs.last();
            let so_far = last.map(|epoch| epoch.valid_accuracy.unwrap_or(epoch.train_accuracy));
            Facts {
                kind: "train",
                epochs: (last.map_or(0, |epoch| epoch.epoch + 1), train.n_epochs),
                quality: train.result.as_ref().map(|result| result.test_accuracy).or(so_far),
                is_timed: true,
                ..Facts::default()
            }
        }
        Content::DisparityTrain(train) => {
            let last = train.epochs.last();
            let tested = train.result.as_ref().and_then(|result| result.test.as_ref()).map(|test| test.error);
            Facts {
                kind: "train",
                task: Task::Disparity,
                epochs: (last.map_or(0, |epoch| epoch.epoch + 1), train.n_epochs),
                quality: tested.or(last.map(|epoch| epoch.valid_error.unwrap_or(epoch.train_error))),
                is_timed: true,
                ..Facts::default()
            }
        }
        Content::Robust(robust) => Facts {
            kind: "robust",
            epochs: (robust.members.iter().filter(|member| member.genotype.is_some()).count(), robust.members.len()),
            quality: robust.result.as_ref().map(|result| result.test_accuracy),
            ..Facts::default()
        },
        Content::Nothing => Facts::default(),
    }
}

/// How long a run that goes on at its pace still takes, in seconds.
fn time_left(head: &Head, facts: &Facts) -> Option<f64> {
    let (done, all) = facts.epochs;
    let last: Vec<f64> = head.time.rows.iter().rev().take(5).map(|row| row.seconds.iter().sum()).collect();
    let is_known = facts.is_timed && head.state == State::Running && done < all && !last.is_empty();
    is_known.then(|| (all - done) as f64 * last.iter().sum::<f64>() / last.len() as f64)
}

const NONE: &str = "\u{2013}";

fn draw_list(frame: &mut Frame<'_>, area: Rect, runs: &[RunTable], chosen: usize) {
    // What a narrow terminal leaves out first.
    let (is_wide, is_narrow) = (100 <= area.width, area.width < 70);
    let fixed = 2 + 11 + 8 + 9 + if is_narrow { 0 } else { 11 + 10 } + if is_wide { 8 } else { 0 };
    let name_width = usize::from(area.width.saturating_sub(fixed)).max(6);
    let mut widths = vec![Constraint::Fill(1), Constraint::Length(10), Constraint::Length(7), Constraint::Length(8)];
    let is_of = |task: Task| runs.iter().map(facts).any(|facts| !facts.kind.is_empty() && facts.task == task);
    let quality = match (is_of(Task::Classification), is_of(Task::Disparity)) {
        (_, false) => "accuracy",
        (false, true) => "error",
        (true, true) => "result",
    };
    let mut headers = vec!["run", "state", "epoch", quality];
    if !is_narrow {
        widths.extend([Constraint::Length(10), Constraint::Length(9)]);
        headers.extend(["eigenvalue", "time left"]);
    }
    if is_wide {
        widths.push(Constraint::Length(7));
        headers.push("kind");
    }
    let rows = runs.iter().map(|table| {
        let facts = facts(table);
        let state = format!("{}{}", word(table.head.state), if table.head.faults.is_empty() { "" } else { "!" });
        let epochs = match facts.epochs {
            (_, 0) => NONE.to_string(),
            (done, all) => format!("{done}/{all}"),
        };
        let or_none = |text: Option<String>| text.unwrap_or_else(|| NONE.to_string());
        let name = ending(&escaped(&table.head.name), name_width);
        let mut cells = vec![name, state, epochs, or_none(facts.quality.map(|value| facts.task.error(value)))];
        if !is_narrow {
            cells.push(or_none(facts.eigenvalue.map(short)));
            cells.push(or_none(time_left(&table.head, &facts).map(duration)));
        }
        if is_wide {
            cells.push(facts.kind.to_string());
        }
        Row::new(cells.into_iter().map(Cell::from)).style(color_of(table.head.state))
    });
    let list = Table::new(rows, widths)
        .header(Row::new(headers).style(Modifier::BOLD))
        .row_highlight_style(Modifier::REVERSED)
        .highlight_symbol("\u{25b8} ");
    // A fresh state scrolls from the top as far as the chosen run needs.
    frame.render_stateful_widget(list, area, &mut TableState::new().with_selected(chosen));
}

fn color_of(state: State) -> Style {
    match state {
        State::Finished => Style::new(),
        State::Running => Style::new().fg(Color::Green),
        State::Stopped => Style::new().fg(Color::Yellow),
        State::Unreadable => Style::new().fg(Color::Red),
    }
}

/// The end of a name, which tells it from others, in at most so many columns.
fn ending(name: &str, width: usize) -> String {
    if Span::raw(name).width() <= width {
        return name.to_string();
    }
    let mut kept: Vec<char> = Vec::new();
    let mut left = width.saturating_sub(1);
    for letter in name.chars().rev() {
        let columns = Span::raw(letter.to_string()).width();
        if left < columns {
            break;
        }
        left -= columns;
        kept.push(letter);
    }
    kept.push('\u{2026}');
    kept.into_iter().rev().collect()
}

/// The chosen run: charts and words side by side, above one another, or what there is room for.
fn draw_run(frame: &mut Frame<'_>, area: Rect, table: &RunTable, shown: Shown) {
    let plots = if shown == Shown::Charts { plots(&table.content) } else { Vec::new() };
    let words = Paragraph::new(words(table)).wrap(Wrap { trim: true });
    let (width, height) = (area.width, area.height);
    if plots.is_empty() || height < 7 || width < 30 {
        return frame.render_widget(words, area);
    }
    let is_beside = 100 <= width;
    let n_plots = if 70 <= width && !is_beside || 14 <= height { plots.len() } else { 1 };
    let (charts, text) = if is_beside {
        let [charts, _, text] =
            Layout::horizontal([Constraint::Fill(3), Constraint::Length(2), Constraint::Fill(2)]).areas(area);
        (charts, text)
    } else {
        // Two lines of words at least, and no more than half for the charts where there are many.
        let charts = (height - 2).min((height / 2 + 1).max(6));
        let [charts, text] = Layout::vertical([Constraint::Length(charts), Constraint::Fill(1)]).areas(area);
        (charts, text)
    };
    let shares = vec![Constraint::Fill(1); n_plots];
    let places = match is_beside || width < 70 {
        true => Layout::vertical(shares).split(charts),
        false => Layout::horizontal(shares).spacing(2).split(charts),
    };
    // One scale of epochs for all of them.
    let points = plots.iter().flat_map(|plot| &plot.curves).flat_map(|curve| &curve.points);
    let last = points.map(|(epoch, _)| *epoch).fold(1.0, f64::max);
    plots.iter().zip(places.iter()).for_each(|(plot, place)| draw_plot(frame, *place, plot, last));
    frame.render_widget(words, text);
}

/// A chart over the epochs.
struct Plot {
    title: &'static str,
    /// In the order of their explanation.
    curves: Vec<Curve>,
    format: fn(f64) -> String,
}

/// One kind of marks in it.
struct Curve {
    name: &'static str,
    /// The mark of each point; `None`: a line through them.
    mark: Option<char>,
    color: Color,
    points: Vec<(f64, f64)>,
}

type Points<'a> = &'a mut dyn Iterator<Item = (usize, Option<f64>)>;

fn line(name: &'static str, color: Color, points: Points<'_>) -> Curve {
    Curve { name, mark: None, color, points: known(points) }
}

fn dots(name: &'static str, mark: char, color: Color, points: Points<'_>) -> Curve {
    Curve { name, mark: Some(mark), color, points: known(points) }
}

/// The mark of a decision.
const DECISION: char = '*';

/// Numbers beyond this are no places on a chart.
const MOST: f64 = 1e100;

fn known(points: Points<'_>) -> Vec<(f64, f64)> {
    points.filter_map(|(epoch, value)| Some((epoch as f64, value.filter(|v| v.abs() < MOST)?))).collect()
}

/// The charts of a run, the one that matters most first.
fn plots(content: &Content) -> Vec<Plot> {
    let mut plots = match content {
        Content::Search(table) => plots_of_search(table),
        Content::Train(table) => plots_of_training(table),
        Content::DisparityTrain(table) => plots_of_disparity(table),
        Content::Robust(table) => table.training.as_ref().map_or(Vec::new(), plots_of_training),
        Content::Nothing => Vec::new(),
    };
    plots.iter_mut().for_each(|plot| plot.curves.retain(|curve| !curve.points.is_empty()));
    plots.retain(|plot| !plot.curves.is_empty());
    plots
}

fn plots_of_search(table: &SearchTable) -> Vec<Plot> {
    let kept = || table.kept();
    let mut given_up = table.epochs.iter().filter(|row| !row.is_kept).map(|row| (row.epoch, row.eigenvalue));
    let mut decisions = table.decisions.iter().map(|d| (d.epoch, Some(d.smoothed_now).filter(|v| v.is_finite())));
    let curvature = vec![
        dots("", '\u{2022}', Color::Blue, &mut kept().map(|row| (row.epoch, row.eigenvalue))),
        line("mean", Color::Cyan, &mut kept().map(|row| (row.epoch, row.smoothed))),
        dots("limit", '-', Color::Red, &mut kept().map(|row| (row.epoch, row.limit))),
        dots("decision", DECISION, Color::Yellow, &mut decisions),
        dots("given up", '\u{d7}', Color::DarkGray, &mut given_up),
    ];
    let quality = vec![
        line("supernet", Color::Cyan, &mut kept().map(|row| (row.epoch, row.of_supernet()))),
        dots("child", '\u{2022}', Color::Magenta, &mut kept().map(|row| (row.epoch, row.of_child()))),
    ];
    let (title, format): (_, fn(f64) -> String) = match table.task {
        Task::Classification => ("Accuracy", percent),
        Task::Disparity => ("End-point error", pixels),
    };
    vec![Plot { title: "Eigenvalue", curves: curvature, format: short }, Plot { title, curves: quality, format }]
}

fn plots_of_training(table: &TrainTable) -> Vec<Plot> {
    let epochs = || table.epochs.iter();
    let accuracy = vec![
        line("held out", Color::Cyan, &mut epochs().map(|e| (e.epoch, e.valid_accuracy))),
        dots("training", '\u{2022}', Color::Magenta, &mut epochs().map(|e| (e.epoch, Some(e.train_accuracy)))),
    ];
    let loss = vec![
        line("held out", Color::Cyan, &mut epochs().map(|e| (e.epoch, e.valid_loss))),
        dots("training", '\u{2022}', Color::Magenta, &mut epochs().map(|e| (e.epoch, Some(e.train_loss)))),
    ];
    vec![
        Plot { title: "Accuracy", curves: accuracy, format: percent },
        Plot { title: "Loss", curves: loss, format: short },
    ]
}

fn plots_of_disparity(table: &DisparityTrainTable) -> Vec<Plot> {
    let epochs = || table.epochs.iter();
    let error = vec![
        line("held out", Color::Cyan, &mut epochs().map(|e| (e.epoch, e.valid_error))),
        dots("training", '\u{2022}', Color::Magenta, &mut epochs().map(|e| (e.epoch, Some(e.train_error)))),
    ];
    let loss = vec![dots("training", '\u{2022}', Color::Magenta, &mut epochs().map(|e| (e.epoch, Some(e.train_loss))))];
    vec![
        Plot { title: "End-point error", curves: error, format: pixels },
        Plot { title: "Loss", curves: loss, format: short },
    ]
}

fn draw_plot(frame: &mut Frame<'_>, area: Rect, plot: &Plot, last: f64) {
    let mut title = vec![Span::styled(plot.title, Modifier::BOLD)];
    for curve in &plot.curves {
        title.push(format!(" {}", curve.mark.unwrap_or('\u{2500}')).fg(curve.color));
        // What the title names already needs no name.
        if !curve.name.is_empty() {
            title.push(format!(" {}", curve.name).into());
        }
    }
    let points = || plot.curves.iter().flat_map(|curve| &curve.points);
    let (low, high) =
        points().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &(_, y)| (low.min(y), high.max(y)));
    // A curve that is level lies in the middle.
    let margin = if low < high { 0.05 * (high - low) } else { low.abs().max(1.0) };
    let (low, high) = (low - margin, high + margin);
    // What is drawn later hides what was there: decisions hide other marks, and these hide lines.
    let mut in_order: Vec<&Curve> = plot.curves.iter().rev().collect();
    in_order.sort_by_key(|curve| (curve.mark.is_some(), curve.mark == Some(DECISION)));
    let curves = in_order.into_iter().map(|curve| {
        let (marker, kind) = match curve.mark {
            Some(mark) => (Marker::Custom(mark), GraphType::Scatter),
            None => (Marker::Braille, GraphType::Line),
        };
        Dataset::default().marker(marker).graph_type(kind).style(curve.color).data(&curve.points)
    });
    let quiet = Style::new().fg(Color::DarkGray);
    let x = Axis::default().bounds([0.0, last]).labels(["0".to_string(), format!("epoch {last}")]).style(quiet);
    let y = Axis::default().bounds([low, high]).labels([(plot.format)(low), (plot.format)(high)]).style(quiet);
    let chart = Chart::new(curves.collect()).block(Block::new().title(Line::from(title))).x_axis(x).y_axis(y);
    frame.render_widget(chart.legend_position(None), area);
}

/// What there is to say of a run, what matters most first.
fn words(table: &RunTable) -> Vec<Line<'static>> {
    let mut lines: Vec<Line<'static>> = Vec::new();
    lines.extend(table.head.faults.iter().map(|fault| Line::from(escaped(fault)).fg(Color::Red)));
    let verdict = Line::from(escaped(&table.head.verdict));
    match &table.content {
        Content::Search(search) => {
            let mut decisions = search.decisions.iter().rev().map(|decision| about("Monitor", &decision.reason));
            lines.extend(decisions.next());
            let now = search.epochs.last().and_then(|row| search.genotypes.get(row.genotype)).map(|row| &row.text);
            let found = search.found.as_ref().map(|found| &found.genotype);
            lines.extend(found.or(now).map(|genotype| about("Genotype", genotype)));
            lines.push(verdict);
            lines.extend(decisions);
        }
        Content::Train(train) => {
            lines.push(verdict);
            lines.extend(train.started.iter().map(|started| about("Genotype", &started.genotype)));
        }
        Content::DisparityTrain(train) => {
            lines.push(verdict);
            lines.extend(train.started.iter().map(|started| about("Genotype", &started.genotype)));
        }
        Content::Robust(robust) => {
            lines.push(verdict);
            lines.extend(words_of_members(robust));
        }
        Content::Nothing => lines.push(verdict),
    }
    if table.head.state != State::Finished {
        lines.push(escaped(&table.head.state_sentence).into());
    }
    lines
}

fn words_of_members(robust: &PortfolioTable) -> impl Iterator<Item = Line<'static>> {
    let chosen = robust.chosen.iter().map(|chosen| about("Choice", &chosen.reason));
    let members = robust.members.iter().map(|member| {
        let state = match (&member.refused, member.worth(), &member.search) {
            (Some(refused), ..) => refused.clone(),
            (None, Some(error), _) if robust.task == Task::Disparity => {
                format!("{} on the held-out pairs", pixels(error))
            }
            (None, Some(accuracy), _) => format!("{} of the held-out images", percent(accuracy)),
            (None, None, Some(search)) => search.verdict(),
            (None, None, None) => "not begun".to_string(),
        };
        about(&member.label, &state)
    });
    chosen.chain(members)
}

/// A text and what it is.
fn about(what: &str, text: &str) -> Line<'static> {
    Line::from(vec![Span::styled(format!("{}: ", escaped(what)), Modifier::BOLD), Span::raw(escaped(text))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_show_their_end() {
        assert_eq!(ending("runs/first", 10), "runs/first");
        assert_eq!(ending("runs/first", 9), "\u{2026}ns/first");
        // Letters of two columns are not cut in half.
        assert_eq!(ending("\u{732b}\u{732b}\u{732b}", 4), "\u{2026}\u{732b}");
        assert_eq!(ending("ab", 0), "\u{2026}");
    }
}
