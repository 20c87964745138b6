//! What a report says of a table of all architectures of a space, and of searches that are looked up in it: all made up.

use std::path::{Path, PathBuf};

use rdarts_report::table::Content;
use rdarts_report::table::architectures::{ArchitectureRow, ArchitecturesTable};
use rdarts_report::{Report, figures, page, read, sheets, write_figures};
use rdarts_space::Genotype;
use rdarts_table::Table;

mod samples;

use samples::{SEARCH, Search};

const TINY: Search<'static> = Search { space: "tiny", method: "darts-es", decay: 0.5, epochs: 16, done: 16, ..SEARCH };

/// A table of three seeds, whole.
fn whole(dir: &Path) -> (PathBuf, Table) {
    let file = dir.join("tiny.table");
    samples::table(&file, &[1, 2, 3], 243);
    let (table, faults) = Table::read(&file).unwrap();
    assert!(faults.is_empty());
    (file, table)
}

fn report(table: &Table, runs: &[PathBuf]) -> Report {
    Report::new(&read(runs)).with_table(table, Path::new("tiny.table"), &[])
}

fn of(report: &Report) -> &ArchitecturesTable {
    report.architectures.as_ref().unwrap()
}

fn names(report: &Report) -> Vec<String> {
    figures(report).into_iter().map(|figure| figure.name).collect()
}

#[test]
fn a_table_alone_is_a_page() {
    let dir = tempfile::tempdir().unwrap();
    let (_, table) = whole(dir.path());
    let report = report(&table, &[]);
    let of = of(&report);
    let spread = table.spread().unwrap();
    assert_eq!((of.rows.len(), of.n, of.n_seeds), (81, 81, 3));
    assert_eq!((of.median, of.not_worse), (Some(spread.median), spread.not_worse));
    assert_eq!((of.rows[0].test_error, of.rows[80].test_error), (spread.best, spread.worst));
    let is_within = |row: &ArchitectureRow| row.lowest <= row.test_error && row.test_error <= row.highest;
    assert!(of.rows.iter().all(|row| is_within(row) && row.parameterless == row.skips + row.pools));
    assert!(of.verdict().starts_with("Of 81 architectures of tiny the best has a test error of "), "{}", of.verdict());
    assert_eq!(names(&report), ["all-architectures", "parameterless"]);
    let html = page(&report);
    assert!(html.contains("<h1>Every architecture of tiny, trained on fashion-mini</h1>"));
    assert!(html.contains("Regret over the epochs is left out: searches in the space tiny"));
    let figure = &figures(&report)[0];
    assert_eq!(figure.csv.lines().count(), 82);
    for word in ["best ", "median ", "worst ", "not told apart from the best ("] {
        assert!(figure.svg.contains(word), "{word}");
    }
    // What goes with the error is what made it up.
    assert!(of.with_skips.unwrap().r > 0.3 && of.with_pools.unwrap().r > 0.1);
}

#[test]
fn the_regret_of_a_search_is_that_of_what_it_held() {
    let dir = tempfile::tempdir().unwrap();
    let (_, table) = whole(dir.path());
    let path = dir.path().join("run");
    drop(samples::search(&path, &TINY));
    let report = report(&table, std::slice::from_ref(&path));
    let Content::Search(search) = &report.runs[0].content else { panic!("no search") };
    let line = &of(&report).lines[0];
    let best = table.ranked()[0].mean;
    let error = |text: &str| table.query(&text.parse::<Genotype>().unwrap()).unwrap().unwrap().mean;
    assert_eq!(line.points.len(), search.kept().count());
    for (point, row) in line.points.iter().zip(search.kept()) {
        let expected = error(&search.genotypes[row.genotype].text) - best;
        assert_eq!((point.epoch, point.regret.mean), (row.epoch, expected));
        assert_eq!(point.valid_error.map(|error| error.mean), row.valid_accuracy.map(|accuracy| 1.0 - accuracy));
    }
    let found = search.found.as_ref().unwrap();
    let stop = &search.decisions[0];
    assert_eq!(line.returned, [(found.epoch, error(&found.genotype) - best)]);
    assert_eq!(line.stops[0].0, stop.epoch);
    let least = line.least().unwrap();
    assert!(line.points.iter().all(|point| least.regret.mean <= point.regret.mean));
    let end = &of(&report).ends[0];
    assert_eq!((&end.run[..], &end.label[..], end.has_ended), ("run", "darts-es", true));
    assert_eq!(table.ranked()[end.rank - 1].architecture(), end.architecture);

    let html = page(&report);
    for id in ["figure-all-architectures", "figure-regret", "figure-parameterless", "id=\"every\""] {
        assert_eq!(html.matches(id).count(), 1, "{id}");
    }
    let regret = figures(&report).into_iter().find(|figure| figure.name == "regret").unwrap();
    // A cursor in each of both panels, which the slider moves.
    assert_eq!(regret.svg.matches("class=\"cursor\"").count(), 2);
    assert!(regret.caption.contains("it was stopped after epoch "), "{}", regret.caption);
    assert!(!html.contains("added to this command with"));
    // Without the table the page says what would show it.
    let without = page(&Report::new(&read(&[path])));
    assert!(without.contains("How far what was found is from the best of the 81 architectures of tiny"));
}

#[test]
fn many_searches_are_lines_of_their_methods() {
    let dir = tempfile::tempdir().unwrap();
    let (_, table) = whole(dir.path());
    let mut paths = samples::of_tiny(dir.path());
    for (name, space, data) in [("other", "s2", "fashion-mini"), ("data", "tiny", "digits")] {
        let path = dir.path().join(name);
        drop(samples::search(&path, &Search { space, data, ..TINY }));
        paths.push(path);
    }
    let report = report(&table, &paths);
    let of = of(&report);
    let lines: Vec<(&str, usize)> = of.lines.iter().map(|line| (&line.label[..], line.n)).collect();
    assert_eq!(
        lines,
        [
            ("darts on fashion-mini", 4),
            ("darts-es on digits", 1),
            ("darts-es on fashion-mini", 4),
            ("rs-ws on fashion-mini", 4)
        ]
    );
    assert_eq!(of.ends.len(), 13);
    let darts = &of.lines[0];
    assert!(darts.points.iter().all(|point| point.regret.n == 4 && point.regret.deviation.is_some()));
    assert!(of.lines[3].points.is_empty() && of.lines[3].returned.len() == 4);
    for sentence in [
        "Not looked up in the table, since what they found is none of its space tiny: other.",
        "The table was trained on fashion-mini, and these searched on other images: data (digits).",
        "Random search holds no architecture best before its end",
    ] {
        assert!(of.missing.iter().any(|line| line.starts_with(sentence)), "{sentence}: {:?}", of.missing);
    }
    let html = page(&report);
    assert!(html.contains("figure-regret") && html.len() < 2_000_000);
    let sheet = sheets(&report).into_iter().find(|sheet| sheet.0 == "ends").unwrap();
    assert_eq!(sheet.1.lines().count(), 14);
    assert!(report.to_json().contains("\"architectures\":{\"name\":\"tiny.table\""));

    // A few searches are lines of their own, with what they gave up.
    let path = dir.path().join("ada");
    drop(samples::search(&path, &Search { method: "darts-ada", ..TINY }));
    let few = Report::new(&read(&[path, paths[0].clone()])).with_table(&table, Path::new("t"), &[]);
    let lines = &few.architectures.as_ref().unwrap().lines;
    assert_eq!(lines.iter().map(|line| line.n).collect::<Vec<_>>(), [1, 1]);
    assert!(!lines[0].given_up.is_empty() && lines[1].given_up.is_empty());
}

#[test]
fn the_members_of_a_portfolio_and_its_choice_are_looked_up() {
    let dir = tempfile::tempdir().unwrap();
    let (_, table) = whole(dir.path());
    let path = dir.path().join("portfolio");
    samples::portfolio(&path);
    let report = report(&table, &[path]);
    // Its space is another, and each member says so.
    assert!(of(&report).ends.is_empty() && of(&report).lines.is_empty());
    let line = of(&report).missing.iter().find(|line| line.starts_with("Not looked up")).unwrap();
    assert!(line.contains("portfolio, L2 0.0003; portfolio, L2 0.0009; portfolio, L2 0.0027."), "{line}");
    assert!(page(&report).contains("figure-all-architectures"));
}

#[test]
fn what_is_not_done_or_damaged_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("half.table");
    let run = dir.path().join("run");
    drop(samples::search(&run, &TINY));
    // All with the first seed, twenty with the second.
    samples::table(&file, &[1, 2], 101);
    let (table, _) = Table::read(&file).unwrap();
    let half = report(&table, std::slice::from_ref(&run));
    assert_eq!(of(&half).rows.len(), 20);
    assert!(
        of(&half).verdict().starts_with(
            "Of 20 of the 81 architectures of tiny, those that were trained with every seed so far, the best has"
        ),
        "{}",
        of(&half).verdict()
    );
    assert!(of(&half).missing[0].starts_with("61 of 81 architectures have not been trained with every seed yet"));
    let _ = (page(&half), figures(&half));
    // One alone is a page too.
    samples::table(&file, &[1, 2], 82);
    let one = report(&Table::read(&file).unwrap().0, std::slice::from_ref(&run));
    assert_eq!(names(&one).iter().filter(|name| *name == "parameterless").count(), 0);
    assert!(page(&one).contains("Every architecture of tiny"));
    // Where none of what a search held is trained, the reason is that the table is not whole, and not that searches are
    // missing.
    samples::table(&file, &[1], 81);
    let all = Table::read(&file).unwrap().0;
    let Content::Search(search) = &one.runs[0].content else { panic!("no search") };
    let number = |text: &str| all.query(&text.parse::<Genotype>().unwrap()).unwrap().unwrap().architecture();
    let held: Vec<u64> = search.genotypes.iter().map(|row| number(&row.text)).collect();
    let text = std::fs::read_to_string(&file).unwrap();
    let is_kept = |line: &&str| {
        let of: serde_json::Value = serde_json::from_str(line).unwrap();
        of["architecture"].as_u64().is_none_or(|architecture| !held.contains(&architecture))
    };
    let kept: Vec<&str> = text.lines().filter(is_kept).collect();
    std::fs::write(&file, kept.join("\n") + "\n").unwrap();
    let others = report(&Table::read(&file).unwrap().0, std::slice::from_ref(&run));
    let says = |begin: &str| of(&others).missing.iter().any(|line| line.starts_with(begin));
    assert!(of(&others).rows.len() > 20 && of(&others).lines.is_empty());
    let why = "Regret over the epochs is left out, since the table has all trainings of none of the architectures that";
    assert!(says(why) && !says("Regret over the epochs is left out: searches"), "{:?}", of(&others).missing);
    // Of nothing there is no figure.
    samples::table(&file, &[1, 2], 40);
    let (table, _) = Table::read(&file).unwrap();
    let none = report(&table, &[]);
    assert_eq!(names(&none), [""; 0]);
    assert_eq!(of(&none).verdict(), "None of the 81 architectures of tiny has been trained with every seed yet.");
    assert!(page(&none).contains("not whole yet: 81 of 81 architectures are missing"));
    // With one seed nothing is said of how sure the order is.
    samples::table(&file, &[1], 81);
    let single = report(&Table::read(&file).unwrap().0, &[]);
    assert!(of(&single).verdict().contains("with one seed nothing can be said of how sure their order is"));
    assert!(of(&single).missing.iter().any(|line| line.contains("--seeds")), "{:?}", of(&single).missing);
    // A damaged line.
    let text = std::fs::read_to_string(&file).unwrap().replacen("\"seed\":1,", "\"seed\":2,", 1);
    let (table, faults) = Table::parse(&text).unwrap();
    let damaged = Report::new(&[]).with_table(&table, &file, &faults);
    let told = &of(&damaged).faults;
    assert_eq!(told[..], ["Line 2 was changed or damaged: its checksum does not fit; it is left out.".to_string()]);
    assert!(page(&damaged).contains("What could not be read"));
}

#[test]
fn hostile_names_of_tables_and_runs_are_text() {
    let dir = tempfile::tempdir().unwrap();
    let (_, table) = whole(dir.path());
    let hostile = "it's \"<script>alert(1)</script>\"\n\u{202e}=1+1";
    let path = dir.path().join(hostile);
    drop(samples::search(&path, &TINY));
    let plain = dir.path().join("plain");
    drop(samples::search(&plain, &TINY));
    let report = Report::new(&read(&[path, plain])).with_table(&table, Path::new(hostile), &[]);
    for figure in figures(&report) {
        assert!(!figure.svg.contains("<script>alert") && !figure.svg.contains('\u{202e}'), "{}", figure.name);
        assert!(!figure.csv.contains('\u{202e}'), "{}", figure.name);
    }
    let html = page(&report);
    assert!(!html.contains("<script>alert") && !html.contains('\u{202e}'));
}

#[test]
fn ten_thousand_architectures_are_small_figures() {
    let row = |i: usize| {
        let error = 0.05 + 0.4 * (i as f64 / 1e4).powi(3);
        ArchitectureRow {
            architecture: i as u64,
            test_error: error,
            deviation: Some(0.01),
            lowest: error - 0.01,
            highest: error + 0.01,
            skips: i * 7 % 9,
            pools: i * 5 % 9,
            parameterless: i * 7 % 9 + i * 5 % 9,
            ..ArchitectureRow::default()
        }
    };
    let table = ArchitecturesTable {
        space: "large".into(),
        n: 10_000,
        n_seeds: 3,
        rows: (0..10_000).map(row).collect(),
        median: Some(0.1),
        between_seeds: Some(0.01),
        not_worse: Some(300),
        ..ArchitecturesTable::default()
    };
    let report = Report { runs: Vec::new(), many: None, architectures: Some(table) };
    for figure in figures(&report) {
        println!("{}: {} bytes", figure.name, figure.svg.len());
        assert!(figure.svg.len() < 60_000, "{}: {} bytes", figure.name, figure.svg.len());
    }
    assert!(page(&report).len() < 200_000, "{}", page(&report).len());
}

#[test]
fn a_folder_holds_the_figures_of_a_table() {
    let dir = tempfile::tempdir().unwrap();
    let (_, table) = whole(dir.path());
    let path = dir.path().join("run");
    drop(samples::search(&path, &Search { epochs: 6, done: 6, ..TINY }));
    let folder = dir.path().join("figures");
    write_figures(&report(&table, &[path]), &folder).unwrap();
    for name in ["all-architectures", "regret", "parameterless"] {
        for ending in ["svg", "png", "csv"] {
            assert!(folder.join(format!("{name}.{ending}")).metadata().unwrap().len() > 100, "{name}.{ending}");
        }
    }
    assert!(folder.join("ends.csv").exists() && folder.join("epochs.png").exists());
}

#[test]
fn the_figures_of_a_table_look_as_they_did() {
    let dir = tempfile::tempdir().unwrap();
    let (_, table) = whole(dir.path());
    let path = dir.path().join("run");
    drop(samples::search(&path, &TINY));
    let report = report(&table, &[path]);
    insta::assert_snapshot!("table-verdict", of(&report).verdict());
    for figure in figures(&report) {
        if ["all-architectures", "regret", "parameterless"].contains(&&figure.name[..]) {
            insta::assert_snapshot!(format!("{}-caption", figure.name), figure.caption);
            insta::assert_snapshot!(format!("{}-svg", figure.name), figure.svg.replace("><", ">\n<"));
            let head: String = figure.csv.split_inclusive('\n').take(25).collect();
            insta::assert_snapshot!(format!("{}-csv", figure.name), head);
        }
    }
}
