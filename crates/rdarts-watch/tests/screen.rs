//! The view in the terminal, on a screen in memory.

use std::path::PathBuf;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use rdarts_report::Task;
use rdarts_report::read;
use rdarts_report::table::portfolio::MemberRow;
use rdarts_report::table::{Content, PortfolioTable, RunTable};
use rdarts_watch::screen::{Shown, draw};

mod samples;

use samples::{LINES, append, search};

fn screen(runs: &[RunTable], chosen: usize, width: u16, height: u16) -> String {
    screen_of(Shown::Charts, runs, chosen, width, height)
}

fn screen_of(shown: Shown, runs: &[RunTable], chosen: usize, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, runs, chosen, shown)).unwrap();
    // A screen in memory without columns cannot be printed.
    if width == 0 { String::new() } else { terminal.backend().to_string() }
}

/// Runs in several states, with names that do not depend on where they lie.
fn runs() -> Vec<RunTable> {
    let dir = tempfile::tempdir().unwrap();
    let names = ["went-back", "running", "stopped", "not-begun", "damaged", "absent"];
    let paths = names.map(|name| dir.path().join(name));
    for (path, n_lines) in paths.iter().zip([LINES, 13, 5, 1, 9]) {
        search(path, n_lines);
    }
    std::fs::remove_file(paths[2].join("owner")).unwrap();
    append(&paths[4], "no event\n");
    let mut tables = tables(&paths);
    for (table, name) in tables.iter_mut().zip(names) {
        table.head.name = format!("runs/2026/{name}");
        let prefix = format!("{}/", dir.path().display());
        let without = |text: &String| text.replace(&prefix, "");
        table.head.faults = table.head.faults.iter().map(without).collect();
        table.head.state_sentence = without(&table.head.state_sentence);
    }
    tables
}

fn tables(paths: &[PathBuf]) -> Vec<RunTable> {
    read(paths).iter().map(RunTable::new).collect()
}

#[test]
fn the_screen_shows_the_runs_and_the_chosen_one() {
    let runs = runs();
    for (width, height) in [(40, 12), (80, 24), (160, 50)] {
        for (chosen, name) in [(0, "went-back"), (1, "running"), (4, "damaged")] {
            insta::assert_snapshot!(format!("{width}x{height}-{name}"), screen(&runs, chosen, width, height));
        }
    }
    insta::assert_snapshot!("80x24-words", screen_of(Shown::Words, &runs, 0, 80, 24));
    insta::assert_snapshot!("80x24-nothing", screen(&[], 0, 80, 24));
    let mut portfolio = runs[1].clone();
    let label = |i: usize| format!("L2 0.000{i}");
    let search = match &runs[1].content {
        Content::Search(search) => search.as_ref().clone(),
        other => panic!("{other:?}"),
    };
    let members = vec![
        MemberRow { label: label(3), valid_accuracy: Some(0.823), genotype: Some("g".into()), ..MemberRow::default() },
        MemberRow { label: label(9), search: Some(search), ..MemberRow::default() },
        MemberRow { label: label(27), ..MemberRow::default() },
    ];
    portfolio.head.verdict = "The portfolio has 3 members.".to_string();
    portfolio.content = Content::Robust(Box::new(PortfolioTable { members, ..PortfolioTable::default() }));
    insta::assert_snapshot!("80x24-portfolio", screen(&[portfolio], 0, 80, 24));
}

#[test]
fn a_search_for_disparity_shows_errors_in_pixels() {
    let runs = runs();
    let mut disparity = runs[1].clone();
    let Content::Search(table) = &mut disparity.content else { panic!("a search") };
    table.task = Task::Disparity;
    for row in &mut table.epochs {
        (row.valid_error, row.child_error) = (row.valid_accuracy.take().map(|a| 4.0 - a), Some(3.9));
        row.child_accuracy = None;
    }
    let shown = screen(std::slice::from_ref(&disparity), 0, 160, 50);
    assert!(shown.contains("End-point error") && shown.contains(" px") && shown.contains("error"), "{shown}");
    assert!(!shown.contains("ccuracy") && !shown.contains('%'), "{shown}");
    let both = screen(&[runs[0].clone(), disparity], 0, 160, 50);
    assert!(both.contains("result") && both.contains(" px") && both.contains('%'), "{both}");
}

#[test]
fn every_size_is_drawn_and_the_chosen_run_is_in_sight() {
    let runs = runs();
    for width in [0, 1, 2, 7, 20, 29, 30, 39, 40, 69, 70, 99, 100, 250] {
        for height in (0..=16).chain([24, 40]) {
            for chosen in [0, 5, usize::MAX] {
                let shown = screen(&runs, chosen, width, height);
                if 40 <= width && 12 <= height && chosen < runs.len() {
                    let name = ["went-back", "running", "stopped", "not-begun", "damaged", "absent"][chosen];
                    assert!(shown.lines().any(|line| line.contains('\u{25b8}') && line.contains(name)), "{shown}");
                }
            }
        }
    }
}

#[test]
fn nothing_in_a_run_reaches_the_terminal_as_a_command() {
    let evil = "a\u{1b}]0;b\u{7}\nc\u{202e}d\u{9b}31m";
    let mut runs = runs();
    runs.truncate(2);
    for run in &mut runs {
        run.head.name = evil.to_string();
        run.head.verdict = evil.to_string();
        run.head.state_sentence = evil.to_string();
        run.head.faults = vec![evil.to_string()];
        if let Content::Search(search) = &mut run.content {
            search.decisions.iter_mut().for_each(|decision| decision.reason = evil.to_string());
            search.genotypes.iter_mut().for_each(|genotype| genotype.text = evil.to_string());
            if let Some(found) = &mut search.found {
                found.genotype = evil.to_string();
            }
        }
    }
    let member = MemberRow { label: evil.into(), refused: Some(evil.into()), ..MemberRow::default() };
    let table = PortfolioTable { members: vec![member], ..PortfolioTable::default() };
    runs.push(RunTable { content: Content::Robust(Box::new(table)), ..runs[0].clone() });
    let escaped = "a\\u{1b}]0;b\\u{7}\\nc\\u{202e}d\\u{9b}31m";
    for chosen in 0..3 {
        let shown = screen(&runs, chosen, 160, 50);
        assert!(!shown.chars().any(|c| c != '\n' && (c.is_control() || c == '\u{202e}')), "{shown}");
        // In the list, and in every text below it.
        assert!(7 <= shown.matches(escaped).count(), "{shown}");
    }
}

#[test]
fn numbers_that_are_none_are_drawn() {
    let mut runs = runs();
    runs.truncate(2);
    if let Content::Search(search) = &mut runs[1].content {
        let values = [f64::NAN, f64::INFINITY, -1e300, 1e99, f64::MAX, 0.0];
        for (row, value) in search.epochs.iter_mut().zip(values.into_iter().cycle()) {
            (row.eigenvalue, row.smoothed, row.limit, row.valid_accuracy) =
                (Some(value), Some(value), None, Some(value));
        }
        search.n_epochs = usize::MAX;
    }
    runs[1].head.time.rows.iter_mut().for_each(|row| row.seconds.iter_mut().for_each(|s| *s = f64::NAN));
    for (width, height) in [(40, 12), (80, 24), (160, 50)] {
        assert!(screen(&runs, 1, width, height).contains("running"));
    }
}
