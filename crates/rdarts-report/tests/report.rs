//! What a report says of run directories: all of them made up, but for `samples/went-back`, which a program wrote.

use std::collections::BTreeSet;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::AnimationDecoder as _;
use rdarts_report::read::State;
use rdarts_report::table::Content;
use rdarts_report::{
    CellKind, Report, SearchTable, animation, figures, frames, page, read, rules, sheets, write_figures,
};
use rdarts_run::{Event, Landscape, LandscapeLine, RunView};
use rdarts_space::{CellType, Op};
use serde_json::Value;

mod samples;

use samples::disparity::{self, DISPARITY};
use samples::{SEARCH, Search};

fn went_back() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples/went-back")
}

fn report(paths: &[PathBuf]) -> Report {
    Report::new(&read(paths))
}

/// The report of a made-up search.
fn of_search(of: &Search<'_>) -> (tempfile::TempDir, PathBuf, Report) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    drop(samples::search(&path, of));
    let report = report(std::slice::from_ref(&path));
    (dir, path, report)
}

fn search_of(report: &Report) -> &SearchTable {
    match &report.runs[0].content {
        Content::Search(table) => table,
        other => panic!("no search: {other:?}"),
    }
}

/// The JSON that a page holds.
fn data(page: &str) -> Value {
    let begin = "<script type=\"application/json\" id=\"data\">";
    let json = page.split(begin).nth(1).unwrap().split("</script>").next().unwrap();
    serde_json::from_str(json).unwrap()
}

fn numbers(columns: &Value, name: &str) -> Vec<Option<f64>> {
    columns[name].as_array().unwrap_or_else(|| panic!("{name}")).iter().map(Value::as_f64).collect()
}

#[test]
fn the_numbers_of_a_page_are_those_of_the_log() {
    for path in [went_back(), of_search(&Search { method: "darts-ada", decay: 0.4, ..SEARCH }).0.keep().join("run")] {
        let data = data(&page(&report(std::slice::from_ref(&path))));
        let columns = &data["columns"];
        let events = RunView::open(&path).unwrap().events().unwrap();
        let records: Vec<_> =
            events.iter().filter_map(|e| if let Event::Epoch(record) = e { Some(record) } else { None }).collect();
        assert!(records.len() > 5);
        let check = |name: &str, value: &dyn Fn(&rdarts_run::EpochRecord) -> Option<f64>| {
            let expected: Vec<Option<f64>> = records.iter().map(|record| value(record)).collect();
            assert_eq!(numbers(columns, name), expected, "{name}");
        };
        check("attempt", &|r| Some(r.attempt as f64));
        check("epoch", &|r| Some(r.epoch as f64));
        check("lr", &|r| Some(r.lr));
        check("l2", &|r| Some(r.l2));
        check("drop_path", &|r| Some(r.drop_path));
        check("cutout_prob", &|r| Some(r.cutout_prob));
        check("train_loss", &|r| Some(r.train_loss));
        check("train_accuracy", &|r| Some(r.train_accuracy));
        check("alpha_loss", &|r| Some(r.alpha_loss));
        check("valid_loss", &|r| r.valid_loss);
        check("valid_accuracy", &|r| r.valid_accuracy);
        check("child_loss", &|r| r.child_loss);
        check("child_accuracy", &|r| r.child_accuracy);
        check("eigenvalue", &|r| r.eigenvalue);
        check("eigenvalue_bound", &|r| r.eigenvalue_bound);
        check("eigenvalue_error", &|r| r.eigenvalue_error);
        check("skip_connects_normal", &|r| Some(r.skip_connects_normal as f64));
        check("skip_connects_reduce", &|r| r.skip_connects_reduce.map(|n| n as f64));
        check("parameterless_normal", &|r| r.parameterless_normal.map(|n| n as f64));
        check("parameterless_reduce", &|r| r.parameterless_reduce.map(|n| n as f64));
        for (i, record) in records.iter().enumerate() {
            let genotype = columns["genotype"][i].as_u64().unwrap() as usize;
            assert_eq!(data["genotypes"][genotype], record.genotype.as_str());
            let parsed: rdarts_space::Genotype = record.genotype.parse().unwrap();
            for cell in CellType::ALL {
                let moving = &data["cells"][cell.to_string()];
                let shown = moving["shown"][genotype].as_array().unwrap().iter();
                let says: Vec<&str> =
                    shown.map(|i| moving["says"][i.as_u64().unwrap() as usize].as_str().unwrap()).collect();
                let expected = parsed.cell(cell).iter().map(|(op, _)| format!(" through {op}"));
                assert_eq!(says.len(), parsed.cell(cell).len());
                assert!(says.iter().zip(expected).all(|(says, op)| says.ends_with(&op)), "{says:?}");
            }
            for (name, alphas) in [("normal", &record.alphas_normal), ("reduce", &record.alphas_reduce)] {
                let found: Vec<f32> =
                    data["alphas"][name][i].as_array().unwrap().iter().map(|a| a.as_f64().unwrap() as f32).collect();
                assert_eq!(&found, alphas, "{name} of epoch {i}");
            }
        }
        // What the monitor recorded is what the table computes.
        for decision in events.iter().filter_map(|e| if let Event::Decision(d) = e { Some(d) } else { None }) {
            let row = records
                .iter()
                .position(|r| (r.attempt, r.epoch) == (decision.attempt, decision.epoch))
                .expect("the epoch of the decision");
            assert_eq!(numbers(columns, "smoothed")[row], Some(decision.smoothed_now));
            assert!(numbers(columns, "limit")[row].unwrap() < decision.smoothed_now);
        }
    }
}

#[test]
fn the_numbers_of_a_training_are_those_of_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("training");
    samples::training(&path, "DARTS_V2", "fashion-mini", &["boot", "coat", "bag"], 0.2);
    let html = page(&report(std::slice::from_ref(&path)));
    let data = data(&html);
    let events = RunView::open(&path).unwrap().events().unwrap();
    let epochs: Vec<_> =
        events.iter().filter_map(|e| if let Event::TrainEpoch(epoch) = e { Some(epoch) } else { None }).collect();
    assert_eq!(epochs.len(), 20);
    let check = |name: &str, value: &dyn Fn(&rdarts_run::TrainEpoch) -> Option<f64>| {
        let expected: Vec<Option<f64>> = epochs.iter().map(|epoch| value(epoch)).collect();
        assert_eq!(numbers(&data["columns"], name), expected, "{name}");
    };
    check("lr", &|e| Some(e.lr));
    check("train_loss", &|e| Some(e.train_loss));
    check("train_accuracy", &|e| Some(e.train_accuracy));
    check("valid_loss", &|e| e.valid_loss);
    check("valid_accuracy", &|e| e.valid_accuracy);
    assert_eq!(data["result"]["test_accuracy"].as_f64(), Some(0.8));
    assert_eq!(html.matches("<img src=\"data:image/png;base64,").count(), 24);
}

#[test]
fn a_page_holds_one_script_and_one_style_and_names_their_digests() {
    let html = page(&report(&[went_back()]));
    assert!(html.contains("content=\"default-src &#39;none&#39;; style-src &#39;sha256-"), "{}", &html[..600]);
    assert_eq!((html.matches("<script>").count(), html.matches("<style>").count()), (1, 1));
    for outside in ["http:", "https:", "src=\"/", "@import", " style=", " onclick", "javascript:"] {
        let found = html.replace("http://www.w3.org/2000/svg", "");
        assert!(!found.contains(outside), "{outside}");
    }
}

#[test]
fn hostile_names_are_text_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("it's \"<script>alert(1)</script>\"\n\u{202e}=1+1");
    let classes = ["<script>alert(2)</script>", "=1+1", "a\u{202e}b", "\"q\" & 'q'", "two\nlines", "@x", "-x", "+x"];
    samples::training(&path, "DARTS_V2", "folder", &classes, 0.3);
    let report = report(&[path.clone(), path.with_file_name("absent\n<b>")]);
    let one = Report { runs: report.runs[..1].to_vec(), many: None, architectures: None };
    for html in [page(&report), page(&one)] {
        assert!(!html.contains("<script>alert") && !html.contains("<b>\n") && !html.contains('\u{202e}'));
        assert!(html.contains("&lt;script&gt;alert(") || html.contains("&#60;script&#62;alert("));
    }
    for figure in figures(&one) {
        assert!(!figure.svg.contains("<script") && !figure.svg.contains('\u{202e}'), "{}", figure.name);
        assert!(figure.file().starts_with("<svg width=\""));
    }
    let texts: Vec<String> = figures(&one).into_iter().map(|figure| figure.csv).collect();
    let texts = texts.into_iter().chain([sheets(&one), sheets(&report)].concat().into_iter().map(|table| table.1));
    for csv in texts {
        assert!(!csv.contains('\u{202e}'));
        for line in csv.lines() {
            // Numbers may be negative, and are read as such.
            let cell = line.split(',').next().unwrap();
            let is_number = cell.parse::<f64>().is_ok();
            assert!(is_number || !cell.trim_start_matches('"').starts_with(['=', '+', '-', '@']), "{line}");
        }
    }
}

#[test]
fn every_state_of_a_run_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let running = samples::search(&at("running"), &Search { done: 4, ..SEARCH });
    drop(samples::search(&at("stopped"), &Search { done: 4, ..SEARCH }));
    drop(samples::search(&at("begun"), &Search { done: 0, ..SEARCH }));
    drop(samples::search(&at("silent"), &Search { done: 0, ..SEARCH }));
    std::fs::write(at("silent").join("events.jsonl"), "").unwrap();
    std::fs::create_dir(at("bare")).unwrap();
    let expected = [
        ("running", State::Running, "a process seems to be at work on it"),
        ("stopped", State::Stopped, "The run was stopped before its end"),
        ("begun", State::Stopped, "The search has not ended its first epoch."),
        ("silent", State::Stopped, "before its first event was written"),
        ("bare", State::Unreadable, "is not a run directory"),
        ("absent", State::Unreadable, "there is no such directory"),
    ];
    for (name, state, sentence) in expected {
        let report = report(&[at(name)]);
        assert_eq!(report.runs[0].head.state, state, "{name}");
        let html = page(&report);
        assert!(html.contains(sentence), "{name}: {}", report.runs[0].head.faults.join("; "));
    }
    drop(running);
    // All together they are a page too.
    let paths: Vec<PathBuf> = expected.iter().map(|(name, ..)| at(name)).collect();
    let html = page(&report(&paths));
    assert!(html.contains("6 runs") && html.contains("unreadable") && html.contains("What could not be read"));
    assert!(page(&report(&[])).contains("No run was given."));
}

#[test]
fn what_is_damaged_is_told_and_the_rest_is_shown() {
    let (_dir, path, whole) = of_search(&Search { spectra: 2, landscapes: 3, ..SEARCH });
    let n = search_of(&whole).epochs.len();
    assert_eq!((n, whole.runs[0].head.faults.len()), (12, 0));
    let files =
        ["spec.toml", "space.toml", "env.json", "events.jsonl", "timings.jsonl", "spectra.jsonl", "landscapes.jsonl"];
    let kept: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(path.join(file)).unwrap()).collect();
    type Damage = fn(&[u8]) -> Vec<u8>;
    let damages: [Damage; 4] = [
        |_| b"\xff\xfe\0not this\n".to_vec(),
        |_| Vec::new(),
        |bytes| [&bytes[..bytes.len() / 2], b"\n{\"half\":"].concat(),
        |bytes| bytes.iter().map(|&b| if b"=:".contains(&b) { b'x' } else { b }).collect(),
    ];
    for (file, bytes) in files.iter().zip(&kept) {
        for (i, damage) in damages.iter().enumerate() {
            std::fs::write(path.join(file), damage(bytes)).unwrap();
            let report = report(std::slice::from_ref(&path));
            let (html, _) = (page(&report), figures(&report));
            let head = &report.runs[0].head;
            // An empty log, record of durations, of spectra or of landscapes is one of nothing.
            let may_be_empty = i == 1 && file.ends_with("jsonl");
            assert!(may_be_empty || !head.faults.is_empty(), "{file}, damage {i}");
            assert!(html.contains("What could not be read") || may_be_empty);
            assert!(head.faults.iter().all(|fault| !fault.contains('\n')), "{:?}", head.faults);
        }
        std::fs::remove_file(path.join(file)).unwrap();
        let _ = page(&report(std::slice::from_ref(&path)));
        std::fs::write(path.join(file), bytes).unwrap();
    }
    // Half of the log is half of the search.
    std::fs::write(path.join("events.jsonl"), damages[2](&kept[3])).unwrap();
    let half = report(std::slice::from_ref(&path));
    assert!((3..n).contains(&search_of(&half).epochs.len()));
    assert!(
        half.runs[0].head.faults[0].contains("this is not a record of this program"),
        "{:?}",
        half.runs[0].head.faults
    );
}

#[test]
fn damaged_trainings_and_portfolios_are_pages() {
    let dir = tempfile::tempdir().unwrap();
    let (training, portfolio) = (dir.path().join("training"), dir.path().join("portfolio"));
    samples::training(&training, "DARTS_V2", "fashion-mini", &["boot", "coat"], 0.2);
    samples::portfolio(&portfolio);
    let whole = page(&report(std::slice::from_ref(&portfolio)));
    assert!(whole.contains("Of 3 members the portfolio chose L2 0.0009") && whole.contains("\u{2605} chosen"));
    for file in ["events.jsonl", "spec.toml"] {
        for path in [&training, &portfolio] {
            let kept = std::fs::read_to_string(path.join(file)).unwrap();
            let lines: Vec<&str> = kept.split_inclusive('\n').collect();
            for i in 0..lines.len() {
                let without: String =
                    lines.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, line)| *line).collect();
                std::fs::write(path.join(file), without).unwrap();
                let report = report(std::slice::from_ref(path));
                assert!(page(&report).trim_end().ends_with("</html>") && report.to_json().starts_with('{'));
                let _ = (figures(&report), sheets(&report));
            }
            std::fs::write(path.join(file), kept).unwrap();
        }
    }
    std::fs::remove_dir_all(portfolio.join("members")).unwrap();
    let html = page(&report(std::slice::from_ref(&portfolio)));
    assert!(html.contains("since their directories below <code>members</code> are gone"));
    std::fs::write(training.join("mistakes/03.png"), "<svg onload='alert(1)'>").unwrap();
    let html = page(&report(&[training]));
    assert!(html.contains("03.png</code> is no PNG file") && !html.contains("<img"));
}

#[test]
fn no_bytes_of_a_directory_make_a_report_panic() {
    let (_dir, path, _) =
        of_search(&Search { method: "darts-ada", decay: 0.4, epochs: 8, done: 8, spectra: 2, landscapes: 3, ..SEARCH });
    let records = ["events.jsonl", "timings.jsonl", "spectra.jsonl", "landscapes.jsonl"];
    for file in records.into_iter().chain(["spec.toml", "space.toml", "env.json", "format"]) {
        let kept = std::fs::read(path.join(file)).unwrap();
        for seed in 0..60 {
            let draw = |i: u64| ((samples::noise(97 * seed + i) + 1.0) / 2.0 * (1 << 30) as f64) as usize;
            let mut bytes = kept.clone();
            for i in 0..1 + seed % 3 {
                let at = draw(3 * i) % bytes.len();
                // Letters of numbers and of JSON do more harm than any others.
                bytes[at] = b"0123456789-.e{}[]\",:nul\n\0\xff"[draw(3 * i + 1) % 26];
            }
            std::fs::write(path.join(file), bytes).unwrap();
            let report = report(std::slice::from_ref(&path));
            let _ = (page(&report), figures(&report), sheets(&report), report.to_json());
            let _ = Report::new(&read(&[path.clone(), path.clone()])).many.map(|many| many.groups.len());
        }
        std::fs::write(path.join(file), kept).unwrap();
    }
}

#[test]
fn numbers_that_no_run_has_are_a_damage() {
    let (_dir, path, _) = of_search(&Search { method: "darts-ada", decay: 0.4, ..SEARCH });
    let log = std::fs::read_to_string(path.join("events.jsonl")).unwrap();
    for key in ["epoch", "attempt", "return_to", "skip_connects_normal", "parameterless_reduce"] {
        let begin = log.rfind(&format!("\"{key}\":")).unwrap() + key.len() + 3;
        let end = begin + log[begin..].find(',').unwrap();
        let changed = format!("{}18446744073709551615{}", &log[..begin], &log[end..]);
        std::fs::write(path.join("events.jsonl"), changed).unwrap();
        let report = report(std::slice::from_ref(&path));
        let _ = (page(&report), figures(&report));
        assert!(report.runs[0].head.faults[0].contains("a number that no run has"), "{key}");
    }
    let training = path.with_file_name("training");
    samples::training(&training, "DARTS_V2", "fashion-mini", &["boot", "coat"], 0.2);
    let log = std::fs::read_to_string(training.join("events.jsonl")).unwrap();
    let changed = log.replace("[80,20]", "[18446744073709551615,18446744073709551615]");
    assert!(changed != log);
    std::fs::write(training.join("events.jsonl"), changed).unwrap();
    assert!(report(&[training]).runs[0].head.faults[0].contains("a number that no run has"));
}

#[test]
fn numbers_that_are_none_leave_gaps() {
    let (_dir, path, _) = of_search(&SEARCH);
    let log = std::fs::read_to_string(path.join("events.jsonl")).unwrap();
    let mut lines: Vec<String> = log.lines().map(str::to_string).collect();
    for (line, word) in [(4, "\"nan\""), (5, "\"inf\""), (6, "1e308"), (7, "-1e308")] {
        // An alpha too.
        lines[line] = lines[line].replace("\"alphas_normal\":[", &format!("\"alphas_normal\":[{word},"));
        let second = lines[line].find("\"alphas_normal\":[").unwrap() + 17 + word.len() + 1;
        let comma = second + lines[line][second..].find(',').unwrap();
        lines[line].replace_range(second..=comma, "");
        for key in ["train_loss", "valid_accuracy", "child_accuracy", "eigenvalue", "l2", "lr"] {
            let begin = lines[line].find(&format!("\"{key}\":")).unwrap() + key.len() + 3;
            let end = begin + lines[line][begin..].find(',').unwrap();
            lines[line].replace_range(begin..end, word);
        }
    }
    std::fs::write(path.join("events.jsonl"), lines.join("\n") + "\n").unwrap();
    let report = report(&[path]);
    assert_eq!(search_of(&report).epochs.len(), 12);
    let html = page(&report);
    for bad in ["NaN", "inf ", "M-inf"] {
        assert!(figures(&report).iter().all(|figure| !figure.svg.contains(bad)), "{bad}");
    }
    assert!(data(&html)["columns"]["train_loss"][3].is_null());
}

#[test]
fn the_rules_are_judged_on_the_first_attempt() {
    let (_dir, _, report) = of_search(&Search { method: "darts-ada", decay: 0.4, ..SEARCH });
    let table = search_of(&report);
    let first = table.decisions.first().expect("it went back");
    let outcomes = rules(table);
    let names: Vec<&str> = outcomes.iter().map(|outcome| &outcome.rule[..]).collect();
    assert_eq!(
        names,
        [
            "DARTS",
            "DARTS-ES, the rule of the paper",
            "DARTS-ES, the rule of the released code",
            "DARTS-ES, the rule of this spec",
            "DARTS-ADA, the rule of the paper",
            "darts-es-noise, with the numbers of this spec",
            "DARTS+, the rule of the paper",
        ]
    );
    let own = &outcomes[3];
    assert_eq!((own.acts_after, own.returns), (Some(first.epoch), Some(first.return_to)));
    assert_eq!(outcomes[0].returns, None, "{}", outcomes[0].sentence);
    // The same search without the rule is judged to its end.
    let (_dir, _, plain) = of_search(&Search { decay: 0.4, ..SEARCH });
    let plain = rules(search_of(&plain));
    assert_eq!((plain[3].acts_after, plain[3].returns), (own.acts_after, own.returns));
    assert_eq!((plain[0].returns, plain[0].is_whole), (Some(11), true));
    assert_eq!(plain[1].acts_after, Some(9));
    assert!(
        plain[1].sentence.starts_with(
            "DARTS-ES, the rule of the paper, would have stopped after epoch 9 and returned epoch 4, with "
        )
    );
    // The code decides at epoch 22 at the earliest.
    assert_eq!((plain[2].acts_after, plain[2].returns), (None, Some(11)));
    assert_eq!((plain[4].acts_after, plain[4].returns), (Some(9), None));
    assert_eq!(
        plain[4].sentence,
        "DARTS-ADA, the rule of the paper, would have gone back after epoch 9 to epoch 4 and raised L2 from \
         3e\u{2212}4 to 0.003."
    );
}

#[test]
fn rules_that_read_the_noise_or_the_skip_connections_are_judged_too() {
    // As in the search itself: what each of the two rules would do is what its own search does.
    let grows = Search { decay: 0.4, set: &["method.max_skips=5"], ..SEARCH };
    let outcomes = |of: &Search<'_>| rules(search_of(&of_search(of).2));
    let all = outcomes(&grows);
    let of = |name: &str| all.iter().find(|outcome| outcome.rule.starts_with(name)).unwrap_or_else(|| panic!("{name}"));
    let noise = of("darts-es-noise");
    let (_dir, _, report) = of_search(&grows);
    let rows: Vec<_> = search_of(&report).kept().collect();
    let history: Vec<rdarts_monitor::NoisyMeasurement> = rows
        .iter()
        .map(|row| rdarts_monitor::NoisyMeasurement {
            epoch: row.epoch,
            eigenvalue: row.eigenvalue.unwrap(),
            error: row.eigenvalue_error,
            batches: 4,
        })
        .collect();
    let growth = rdarts_monitor::Rule { window: 3, lag: 3, ..rdarts_monitor::Rule::paper() };
    let rule = rdarts_monitor::NoiseRule { growth, risk: 0.05 };
    let acts = (1..=12).find_map(|n| match rule.decide(&history[..n], n - 1, 12) {
        rdarts_monitor::Decision::Stop { return_to, .. } => Some((n - 1, return_to)),
        rdarts_monitor::Decision::Continue(_) | rdarts_monitor::Decision::Rollback { .. } => None,
    });
    let (after, returns) = acts.expect("it grows sixty-fold");
    assert_eq!((noise.acts_after, noise.returns), (Some(after), Some(returns)), "{}", noise.sentence);
    let first = |limit: usize| rows.iter().find(|row| row.skip_connects_normal >= limit).map(|row| row.epoch);
    for (name, limit) in [("DARTS+, the rule of the paper", 2), ("DARTS+, the rule of this spec", 5)] {
        let outcome = of(name);
        assert_eq!((outcome.acts_after, outcome.returns), (first(limit), first(limit)), "{}", outcome.sentence);
        assert!(outcome.skips_normal >= Some(limit) && outcome.sentence.contains("would have stopped after epoch"));
    }
    assert!(of("DARTS+, the rule of this spec").sentence.ends_with(" in its normal cell: 5 end the search."));
    // Where a run lacks what a rule reads, one line says so, and the page too.
    let bare = Search { set: &["hessian.batches=1"], ..SEARCH };
    let (_dir, path, _) = of_search(&bare);
    let log = std::fs::read_to_string(path.join("events.jsonl")).unwrap();
    let without = |key: &str, log: &str| -> String {
        let cut = |line: &str| match line.find(&format!("\"{key}\":")) {
            None => format!("{line}\n"),
            Some(at) => format!("{}{}\n", &line[..at], &line[at + line[at..].find(',').unwrap() + 1..]),
        };
        log.lines().map(cut).collect()
    };
    let silent = without("eigenvalue_error", &log);
    std::fs::write(path.join("events.jsonl"), &silent).unwrap();
    let report = self::report(std::slice::from_ref(&path));
    let noise =
        rules(search_of(&report)).into_iter().find(|outcome| outcome.rule.starts_with("darts-es-noise")).unwrap();
    assert!(!noise.is_judged && noise.acts_after.is_none());
    assert_eq!(
        noise.sentence,
        "darts-es-noise cannot be judged: it reads the standard error of the eigenvalue, which a search with \
         `hessian.batches=8` records."
    );
    assert!(page(&report).contains("not judged"));
    std::fs::write(path.join("events.jsonl"), without("eigenvalue", &silent)).unwrap();
    let outcomes = rules(search_of(&self::report(&[path])));
    let names: Vec<(&str, bool)> = outcomes.iter().map(|outcome| (&outcome.rule[..], outcome.is_judged)).collect();
    let expected =
        [("DARTS", true), ("DARTS-ES, DARTS-ADA and darts-es-noise", false), ("DARTS+, the rule of the paper", true)];
    assert_eq!(names, expected);
    // A method that takes steps of its own is not DARTS where no rule acts.
    let (_dir, _, own) = of_search(&Search { method: "sdarts-rs", ..SEARCH });
    assert_eq!(rules(search_of(&own))[0].rule, "sdarts-rs without a rule");
}

#[test]
fn the_caption_of_the_limit_says_whose_it_is() {
    let caption = |method: &str| {
        let (_dir, _, report) = of_search(&Search { method, ..SEARCH });
        figures(&report).into_iter().find(|figure| figure.name == "eigenvalue").unwrap().caption
    };
    assert!(caption("darts-es").contains("The rule acts where the smoothed value is above its limit, "));
    assert!(
        caption("darts-es-noise")
            .contains("or times what the noise alone explains at a risk of 5 %, where that is more")
    );
    let watches = "only watches: the limit is the one that DARTS-ES would have with the numbers of this spec";
    assert!(caption("darts").contains(watches) && caption("gdas").contains(watches));
    assert!(caption("darts-plus").contains("darts-plus looks at skip connections: the limit is the one that DARTS-ES"));
}

#[test]
fn verdicts_tell_healthy_from_degenerate() {
    let verdict = |of: &Search<'_>| of_search(of).2.runs[0].head.verdict.clone();
    let healthy = verdict(&Search { decay: 0.01, ..SEARCH });
    assert!(
        healthy.contains("it stayed healthy") && healthy.ends_with("the monitor has no say in method darts."),
        "{healthy}"
    );
    let begin = "The search has degenerated: 8 of 8 operations of the normal cell and 8 of 8 of the reduction cell are skip \
                 connections, as of epoch 11; ";
    for method in ["darts", "sdarts-rs", "darts-plus", "gdas"] {
        let degenerate = verdict(&Search { decay: 2.0, method, ..SEARCH });
        assert!(degenerate.starts_with(begin), "{degenerate}");
    }
    let begun = verdict(&Search { decay: 2.0, done: 11, ..SEARCH });
    assert!(begun.starts_with("The search stands at epoch 10 of 12 and has degenerated: 8 of 8 operations"), "{begun}");
    let stopped = verdict(&Search { method: "darts-es", decay: 0.4, ..SEARCH });
    assert!(stopped.contains("the monitor stopped it after epoch 5 and returned epoch 2"), "{stopped}");
    let went_back = verdict(&Search { method: "darts-ada", decay: 0.4, ..SEARCH });
    assert!(went_back.contains("the monitor went back 2 times, first after epoch 5 to epoch 2"), "{went_back}");
    let random = verdict(&Search { method: "rs-ws", ..SEARCH });
    assert!(random.contains("no alphas whose curvature"), "{random}");
}

#[test]
fn the_kept_epochs_are_the_line_that_the_search_ended_with() {
    let report = report(&[went_back()]);
    let table = search_of(&report);
    let kept: Vec<usize> = table.kept().map(|row| row.epoch).collect();
    assert_eq!(kept, [0, 1, 2, 3, 4, 5]);
    let numbers: BTreeSet<usize> = table.epochs.iter().map(|row| row.attempt).collect();
    assert_eq!(numbers.len(), table.decisions.len() + 1);
    // Each kept epoch is the last of its number.
    for row in table.kept() {
        let last = table.epochs.iter().rev().find(|other| other.epoch == row.epoch).unwrap();
        assert_eq!(last.attempt, row.attempt);
    }
}

const MEASURED: &str = "measured, at the epoch that was returned";
const DROP: &str = "drop at discretisation at the epoch that was returned";
const LAST_DROP: &str = "drop at discretisation after the last epoch";

#[test]
fn groups_of_many_runs_have_the_means_and_deviations_of_their_runs() {
    let dir = tempfile::tempdir().unwrap();
    let paths = samples::many(dir.path());
    let report = report(&paths);
    let many = report.many.as_ref().unwrap();
    assert_eq!((many.rows.len(), many.groups.len()), (96, 18));
    for group in &many.groups {
        let rows: Vec<_> = many
            .rows
            .iter()
            .filter(|row| (&row.method, &row.space, row.l2) == (&group.method, &group.space, group.l2))
            .collect();
        assert_eq!((rows.len(), group.n, group.n_finished), (4, 4, 4));
        // Random search with weight sharing has no discretised child, so no drop.
        if group.method == "rs-ws" {
            assert!(group.drop.is_none());
            continue;
        }
        let drops: Vec<f64> = rows.iter().map(|row| row.child_error.unwrap() - row.supernet_error.unwrap()).collect();
        let mean = drops.iter().sum::<f64>() / 4.0;
        let deviation = (drops.iter().map(|drop| (drop - mean).powi(2)).sum::<f64>() / 3.0).sqrt();
        let found = group.drop.unwrap();
        assert!((found.mean - mean).abs() < 1e-12 && (found.deviation.unwrap() - deviation).abs() < 1e-12);
        if group.space == "s2" {
            let best = rows.iter().map(|row| row.trained_valid_error.unwrap()).fold(f64::INFINITY, f64::min);
            assert_eq!(many.rows[group.chosen.unwrap()].trained_valid_error, Some(best));
        } else {
            assert_eq!((group.chosen, group.test_error), (None, None));
        }
    }
    let names: Vec<&str> = many.scatters.iter().map(|scatter| scatter.name).collect();
    assert_eq!(names, ["eigenvalue-test", "eigenvalue-drop"]);
    assert_eq!(many.scatters[1].correlation.unwrap().n, 60);
    // Random search with weight sharing has neither, and only searches of one space were trained.
    let pairs: Vec<(&str, &str, usize)> = many.correlations.iter().map(|row| (row.y, row.x, row.n)).collect();
    let of = |y, n| ["mean over the trajectory", "last of the trajectory", MEASURED].map(|x| (y, x, n));
    let expected = [of(LAST_DROP, 60), of(DROP, 60), of("test error after training", 20)].concat();
    assert_eq!(pairs, expected);
    assert_eq!(many.correlations[5].rank, many.scatters[1].rank);
    assert!(many.correlations.iter().all(|row| row.rank.unwrap().interval.is_some() && row.linear.is_some()));
    // The numbers behind them, of one search, by hand.
    let row = many.rows.iter().position(|row| row.is_search && row.mean_eigenvalue.is_some()).unwrap();
    let Content::Search(table) = &report.runs[row].content else { panic!("no search") };
    let eigenvalues: Vec<f64> = table.kept().map(|epoch| epoch.eigenvalue.unwrap()).collect();
    let last = table.kept().last().unwrap();
    let mean = eigenvalues.iter().sum::<f64>() / eigenvalues.len() as f64;
    assert!((many.rows[row].mean_eigenvalue.unwrap() - mean).abs() < 1e-12);
    assert_eq!(many.rows[row].last_eigenvalue, eigenvalues.last().copied());
    assert_eq!(many.rows[row].last_drop, Some(last.valid_accuracy.unwrap() - last.child_accuracy.unwrap()));
    let sheet = sheets(&report).into_iter().find(|sheet| sheet.0 == "correlations").unwrap().1;
    assert_eq!(sheet.lines().count(), 1 + 9);
    assert!(
        page(&report).contains("Spearman&#39;s rank correlation")
            || page(&report).contains("Spearman's rank correlation")
    );
    assert_eq!((many.sweeps.len(), many.sweeps[0].rows.len(), many.spaces.len()), (3, 3, 3));
    assert!(many.missing.iter().any(|line| line.contains("sweep of drop path")), "{:?}", many.missing);
    assert!(page(&report).len() < 2_000_000);
}

#[test]
fn runs_that_differ_in_more_than_their_seed_are_no_group() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let kinds = [("a", 1, 12), ("b", 2, 12), ("c", 1, 8)];
    for (name, seed, epochs) in kinds {
        drop(samples::search(&at(name), &Search { seed, epochs, done: epochs, ..SEARCH }));
    }
    drop(samples::search(&at("d"), &SEARCH));
    std::fs::write(at("d/spec.toml"), "kind = 'search'\n").unwrap();
    let report = report(&["a", "b", "c", "d"].map(at));
    let groups = &report.many.as_ref().unwrap().groups;
    let mut found: Vec<(usize, &str)> = groups.iter().map(|group| (group.n, &group.setting[..])).collect();
    found.sort_unstable();
    assert_eq!(found, [(1, "search.epochs 8"), (2, "search.epochs 12")]);
    let names: Vec<&str> = report.many.as_ref().unwrap().rows.iter().map(|row| &row.name[..]).collect();
    assert_eq!(names, ["a", "b", "c", "d"]);
    let lines = &report.many.as_ref().unwrap().trajectories[0].lines;
    assert!(lines.iter().any(|line| line.label == "darts, search.epochs 8"), "{lines:?}");
}

#[test]
fn a_search_of_600_epochs_stays_below_two_megabytes() {
    for space in ["s2", "darts"] {
        let epochs = 600;
        let of = Search { space, epochs, done: epochs, decay: 0.005, spectra: 1, landscapes: 1, ..SEARCH };
        let (_dir, _, report) = of_search(&of);
        let html = page(&report);
        assert!(html.len() < 2_000_000, "{space}: {} bytes", html.len());
        // No epoch is left out of the columns.
        assert_eq!(numbers(&data(&html)["columns"], "eigenvalue").len(), epochs);
        println!("{space}: {} bytes", html.len());
    }
}

#[test]
fn two_hundred_runs_of_fifty_epochs_are_a_page() {
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<PathBuf> = (0..200).map(|i| dir.path().join(format!("run-{i}"))).collect();
    for (i, path) in paths.iter().enumerate() {
        if let Some(space) = ["s1", "s2", "s3", "s4"].get(i) {
            drop(samples::search(path, &Search { space, epochs: 50, done: 50, decay: 0.03, ..SEARCH }));
            continue;
        }
        // Writing takes far longer than reading, so the others are copies.
        std::fs::create_dir(path).unwrap();
        for file in ["format", "spec.toml", "space.toml", "env.json", "events.jsonl", "timings.jsonl", "DONE"] {
            std::fs::copy(paths[i % 4].join(file), path.join(file)).unwrap();
        }
    }
    let begin = std::time::Instant::now();
    let html = page(&report(&paths));
    println!("{} bytes in {:.2} s", html.len(), begin.elapsed().as_secs_f64());
    assert!(html.len() < 2_000_000, "{} bytes", html.len());
}

#[test]
fn frames_are_of_one_size_and_move() {
    let (_dir, _, report) = of_search(&Search { spectra: 3, ..SEARCH });
    let frames = frames(search_of(&report), 5);
    assert_eq!(frames.len(), 5, "every third of twelve, and the last");
    assert!(frames.windows(2).all(|pair| pair[0] != pair[1] && pair[0][..90] == pair[1][..90]));
    assert!(frames[0].contains("epoch 0, L2 3e\u{2212}4") && frames[4].contains("epoch 11,"));
}

#[test]
fn the_animation_has_a_frame_an_epoch_and_each_is_what_its_svg_shows() {
    let (_dir, _, report) = of_search(&Search { spectra: 3, ..SEARCH });
    let table = search_of(&report);
    let bytes = animation(table).unwrap();
    let decoder = image::codecs::png::PngDecoder::new(Cursor::new(&bytes)).unwrap();
    let decoded = decoder.apng().unwrap().into_frames().collect_frames().unwrap();
    let frames = frames(table, 60);
    assert_eq!((decoded.len(), frames.len()), (12, 12));
    for (decoded, svg) in decoded.iter().zip(&frames) {
        let whole = rdarts_draw::raster(svg, 1.79).unwrap();
        assert_eq!(decoded.buffer().dimensions(), (whole.width, whole.height));
        assert!((1199..=1201).contains(&whole.width));
        // What is put over the frame before gives the whole frame to the last pixel.
        assert!(decoded.buffer().as_raw() == &whole.rgba);
    }
    let delays: Vec<u32> = decoded.iter().map(|frame| frame.delay().numer_denom_ms().0).collect();
    assert_eq!((delays[0], delays[10], delays[11]), (180, 180, 2500));
    assert!(matches!(animation(&SearchTable::default()), Err(rdarts_draw::DrawError::Nothing)));
}

#[test]
fn an_animation_of_a_long_search_is_small() {
    let (_dir, _, report) =
        of_search(&Search { space: "darts", epochs: 200, done: 200, decay: 0.02, spectra: 1, ..SEARCH });
    let bytes = animation(search_of(&report)).unwrap();
    println!("{} bytes", bytes.len());
    assert!(bytes.len() < 3_000_000, "{} bytes", bytes.len());
}

#[test]
fn a_folder_of_figures_has_pictures_for_print_with_their_labels() {
    let (dir, _, report) = of_search(&Search { epochs: 4, done: 4, landscapes: 2, ..SEARCH });
    let folder = dir.path().join("a \n b/figures");
    write_figures(&report, &folder).unwrap();
    for figure in figures(&report) {
        let bytes = std::fs::read(folder.join(format!("{}.png", figure.name))).unwrap();
        let picture = image::load_from_memory_with_format(&bytes, image::ImageFormat::Png).unwrap().to_luma8();
        // 84 mm, or 3.25 inches of a cell, of 300 dots an inch.
        let is_cell = figure.drawing.is_some();
        assert_eq!(picture.width(), if is_cell { 975 } else { 992 }, "{}", figure.name);
        assert!(bytes.windows(13).any(|w| w == b"pHYs\0\0\x2e\x23\0\0\x2e\x23\x01"), "{}", figure.name);
        assert_eq!(picture.get_pixel(0, 0)[0], 255);
        // Without its texts the picture has less ink.
        let svg = std::fs::read_to_string(folder.join(format!("{}.svg", figure.name))).unwrap();
        let bare = svg.replace("<text ", "<text display=\"none\" ");
        let bare = rdarts_draw::raster(&bare, 3.125).unwrap();
        let ink = |values: &mut dyn Iterator<Item = u8>| values.map(|value| 255 - usize::from(value)).sum::<usize>();
        let whole = ink(&mut rdarts_draw::raster(&svg, 3.125).unwrap().rgba.chunks(4).map(|p| p[0]));
        let n_texts = svg.matches("<text ").count();
        let bare = ink(&mut bare.rgba.chunks(4).map(|p| p[0]));
        assert!(n_texts > 4 && whole > bare + 40_000 * n_texts / 2, "{}: {whole} {bare} {n_texts}", figure.name);
        assert!(folder.join(format!("{}.csv", figure.name)).exists());
    }
    assert!(folder.join("epochs.png").exists() && folder.join("rules.csv").exists());
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let err = write_figures(&report, &file.join("below")).unwrap_err().to_string();
    assert!(err.starts_with("cannot write `") && !err.contains('\n'), "{err}");
}

#[test]
fn the_tables_and_figures_of_a_search_look_as_they_did() {
    let mut report = report(&[went_back()]);
    report.runs[0].head.name = "went-back".to_string();
    let table = search_of(&report);
    insta::assert_snapshot!("verdict", report.runs[0].head.verdict);
    insta::assert_snapshot!("rules", table.rules.iter().map(|rule| rule.sentence.clone() + "\n").collect::<String>());
    insta::assert_json_snapshot!("epochs", &table.epochs[..3]);
    for figure in figures(&report).iter().filter(|figure| !figure.name.starts_with("weights")) {
        insta::assert_snapshot!(format!("{}-svg", figure.name), figure.file().replace("><", ">\n<"));
        insta::assert_snapshot!(format!("{}-csv", figure.name), figure.csv);
    }
}

/// A landscape of polynomials, so that its numbers are the same everywhere.
fn landscape(attempt: usize, epoch: usize, curvature: f64) -> Landscape {
    let distances = [-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0];
    let line = |name: &str, slope: f64, curvature: f64| LandscapeLine {
        name: name.into(),
        slope,
        curvature,
        losses: distances
            .map(|t| 1.5 + slope * t + curvature * t * t / 2.0 - curvature * t * t * t * t / 64.0)
            .to_vec(),
    };
    Landscape {
        attempt,
        epoch,
        batches: 4,
        images: "fixed".into(),
        distances: distances.to_vec(),
        lines: vec![line("dominant eigenvector", 0.125, curvature), line("random 1", -0.0625, 0.0625)],
    }
}

#[test]
fn the_loss_around_the_alphas_is_shown_with_its_parabola() {
    let (_dir, path, without) = of_search(&SEARCH);
    let missing =
        |report: &Report| search_of(report).missing.iter().filter(|line| line.contains("--landscape")).count();
    assert!(missing(&without) == 1 && figures(&without).iter().all(|figure| figure.name != "landscape"));
    let view = RunView::open(&path).unwrap();
    for (attempt, epoch, curvature) in [(0, 8, 0.5), (0, 3, 9.0), (0, 3, 0.25), (7, 5, 9.0), (0, 99, 9.0)] {
        view.add_landscape(&landscape(attempt, epoch, curvature)).unwrap();
    }
    let report = report(std::slice::from_ref(&path));
    // Of an epoch that was given up or is none of the search, nothing counts; of several of one epoch, the last one does.
    let found: Vec<(usize, f64)> =
        search_of(&report).landscapes.iter().map(|one| (one.epoch, one.lines[0].curvature)).collect();
    assert_eq!((found, missing(&report)), (vec![(3, 0.25), (8, 0.5)], 0));
    let figure = figures(&report).into_iter().find(|figure| figure.name == "landscape").unwrap();
    insta::assert_snapshot!("landscape-svg", figure.file().replace("><", ">\n<"));
    insta::assert_snapshot!("landscape-csv", figure.csv);
    insta::assert_snapshot!("landscape-caption", figure.caption);
    let moving = &data(&page(&report))["landscapes"];
    assert_eq!((moving[0]["epoch"].as_u64(), moving[1]["epoch"].as_u64()), (Some(3), Some(8)));
    assert_eq!(moving[1]["says"].as_str(), Some(&figure.caption[..]));
    // The lines of the figure are those of the last one, which the script puts others in the place of.
    let paths: Vec<&str> = moving[1]["paths"].as_array().unwrap().iter().map(|path| path.as_str().unwrap()).collect();
    assert_eq!((paths.len(), figure.svg.matches("data-line").count()), (3, 3));
    assert!(paths.iter().all(|path| figure.svg.contains(&format!(" d=\"{path}\""))), "{paths:?}");
}

#[test]
fn a_landscape_that_fits_no_panel_is_told_or_cut_off() {
    let (_dir, path, _) = of_search(&SEARCH);
    let file = path.join("landscapes.jsonl");
    let good = serde_json::to_string(&landscape(0, 4, 0.5)).unwrap();
    let check = |line: &str, fault: Option<&str>, n: usize| {
        std::fs::write(&file, format!("{good}\n{line}\n")).unwrap();
        let report = report(std::slice::from_ref(&path));
        let (html, faults) = (page(&report), &report.runs[0].head.faults);
        assert_eq!((faults.len(), search_of(&report).landscapes.len()), (fault.iter().count(), n), "{faults:?}");
        assert!(fault.is_none_or(|fault| faults[0].contains(fault) && !faults[0].contains('\n')), "{faults:?}");
        assert!(figures(&report).iter().all(|figure| !figure.svg.contains("NaN") && !figure.svg.contains("inf ")));
        html
    };
    let other = serde_json::to_string(&landscape(0, 5, 0.5)).unwrap();
    assert!(check(&other, None, 2).contains("After epoch 5"));
    check(&other.replacen("-4.0,", "", 1), Some("line 2, is left out: a line has not one loss for each distance"), 1);
    check(&other.replacen("-4.0,", "4.0,", 1), Some("its distances do not rise through 0"), 1);
    check(&other.replacen("\"slope\":0.125", "\"slope\":null", 1), Some("not a record"), 0);
    check(&other.replacen("\"slope\":0.125", "\"slope\":1e308", 1), None, 2);
    check(
        &other.replacen("\"losses\":[", "\"losses\":[-1e308,1e308,", 1).replacen("[-4.0,", "[-6.0,-5.0,-4.0,", 1),
        Some("not one loss"),
        1,
    );
    let huge = other.replace("\"losses\":[", "\"losses\":[-1e308,1e308,").replacen("[-4.0,", "[-6.0,-5.0,-4.0,", 1);
    check(&huge, None, 2);
    let hostile = other.replace("\"fixed\"", "\"<script>`a` `b`\\u202e\"").replace("random 1", "=1+1");
    let html = check(&hostile, None, 2);
    assert!(!html.contains('\u{202e}') && !html.contains("<script>`"));
}

#[test]
fn the_drop_is_correlated_with_the_eigenvalue_of_its_epoch() {
    let (_dir, _, report) = of_search(&Search { decay: 0.4, ..SEARCH });
    let table = search_of(&report);
    let found = &table.discretisation;
    assert_eq!((found.rows.len(), found.rank.unwrap().n), (12, 12));
    for (row, epoch) in found.rows.iter().zip(table.kept()) {
        let drop = epoch.valid_accuracy.unwrap() - epoch.child_accuracy.unwrap();
        assert_eq!((row.epoch, row.drop, Some(row.eigenvalue)), (epoch.epoch, drop, epoch.eigenvalue));
    }
    let figure = figures(&report).into_iter().find(|figure| figure.name == "discretisation").unwrap();
    let rank = found.rank.unwrap();
    assert!(
        rank.r > 0.5 && figure.caption.contains(&format!("Spearman's rank correlation {:.2}, 95 % interval", rank.r))
    );
    assert!(figure.caption.contains("neighbouring epochs are not independent"), "{}", figure.caption);
    // Of what was given up nothing counts, and random search with weight sharing has neither.
    let (_dir, _, ada) = of_search(&Search { method: "darts-ada", decay: 0.4, ..SEARCH });
    let table = search_of(&ada);
    assert!(table.discretisation.rows.len() < table.epochs.len());
    let (_dir, _, random) = of_search(&Search { method: "rs-ws", ..SEARCH });
    assert!(figures(&random).iter().all(|figure| figure.name != "discretisation"));
}

#[test]
fn what_random_search_chose_is_not_what_its_last_step_drew() {
    let (_dir, path, report) = of_search(&Search { method: "rs-ws", ..SEARCH });
    let table = search_of(&report);
    let (last, found) = (table.epochs.last().unwrap(), table.genotype().unwrap());
    let (skips, skips_reduce) =
        (found.n_uses(CellKind::Normal, Op::SkipConnect), found.n_uses(CellKind::Reduce, Op::SkipConnect));
    assert!(
        skips != last.skip_connects_normal && Some(skips_reduce) != last.skip_connects_reduce,
        "the sample shows it"
    );
    let returned = table.returned.as_ref().unwrap();
    assert_eq!((returned.epoch, returned.skips_normal, returned.skips_reduce), (None, Some(skips), Some(skips_reduce)));
    assert_eq!(returned.valid_accuracy, Some(f64::from(samples::CHOSEN)));
    assert!(table.rules.is_empty(), "{:?}", table.rules);
    let html = page(&report);
    let row = |name: &str| {
        let rest = html.split(&format!("<th scope=\"row\">{name}</th><td class=\"whole\">")).nth(1);
        rest.unwrap_or_else(|| panic!("{name}")).split("</td>").next().unwrap().to_string()
    };
    assert_eq!(row("Accuracy with the shared weights"), "62.50 %");
    assert_eq!(row("Skip connections, normal cell"), skips.to_string());
    assert!(
        !html.contains("<th scope=\"row\">Epoch</th>") && html.contains(" architectures drawn at random after the")
    );
    assert!(html.contains("the architecture of its last step, and not what was chosen at the end"));
    // The script has no cells to put in the place of the chosen ones.
    assert!(data(&html)["cells"]["normal"].is_null());
    // Nor has the table of many runs another row.
    let other = path.with_file_name("other");
    drop(samples::search(&other, &SEARCH));
    let both = self::report(&[path.clone(), other]);
    let many = both.many.as_ref().unwrap();
    assert_eq!((many.rows[0].skips_normal, &many.rows[0].genotype), (Some(skips), &Some(found)));
    assert!((many.rows[0].supernet_error.unwrap() - 0.375).abs() < 1e-6);
    // Without the checkpoint its accuracy is not known; before its end it holds nothing.
    std::fs::remove_dir_all(path.join("checkpoints")).unwrap();
    let bare = self::report(std::slice::from_ref(&path));
    assert_eq!(search_of(&bare).returned.as_ref().unwrap().valid_accuracy, None);
    let (_dir, _, begun) = of_search(&Search { method: "rs-ws", done: 7, ..SEARCH });
    assert!(search_of(&begun).returned.is_none() && search_of(&begun).genotype().is_none());
    let verdict = &begun.runs[0].head.verdict;
    assert!(
        verdict.starts_with("The search stands at epoch 6 of 12, and chooses an architecture at its end;"),
        "{verdict}"
    );
    assert!(figures(&begun).iter().all(|figure| !figure.name.starts_with("cell")));
}

#[test]
fn a_trajectory_counts_once_and_a_copy_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let grows = Search { decay: 0.4, ..SEARCH };
    // One trajectory under three methods, of which two act; the same again stopped early, and copied; other seeds.
    for method in ["darts", "darts-es", "darts-ada", "darts-plus"] {
        drop(samples::search(&at(method), &Search { method, ..grows.clone() }));
    }
    drop(samples::search(&at("half"), &Search { done: 5, ..grows.clone() }));
    drop(samples::search(&at("none"), &Search { done: 0, ..grows.clone() }));
    drop(samples::search(&at("twin"), &grows));
    let set = &["monitor.window=4", "method.rho=0.2"];
    drop(samples::search(&at("window"), &Search { method: "darts-es", set, ..grows.clone() }));
    drop(samples::search(&at("ignored"), &Search { set, ..grows.clone() }));
    let set = &["hessian.tolerance=0.1", "data.valid_limit=77"];
    drop(samples::search(&at("measured"), &Search { set, ..grows.clone() }));
    drop(samples::search(&at("longer"), &Search { epochs: 13, ..grows.clone() }));
    for seed in [2, 3] {
        drop(samples::search(&at(&format!("seed-{seed}")), &Search { seed, ..grows.clone() }));
    }
    let names = [
        "none",
        "half",
        "darts",
        "twin",
        "darts-es",
        "darts-ada",
        "darts-plus",
        "window",
        "ignored",
        "measured",
        "longer",
        "seed-2",
        "seed-3",
    ];
    let report = report(&names.map(at));
    let many = report.many.as_ref().unwrap();
    let of = |name: &str| many.rows.iter().find(|row| row.name == name).unwrap();
    let copies: Vec<(&str, &str)> =
        many.rows.iter().filter_map(|row| Some((&row.name[..], &many.rows[row.copy_of?].name[..]))).collect();
    assert_eq!(copies, [("none", "darts"), ("half", "darts"), ("twin", "darts"), ("ignored", "darts")]);
    for name in ["darts-es", "darts-ada", "darts-plus", "window", "measured"] {
        assert_eq!(of(name).trajectory, of("darts").trajectory, "{name}");
    }
    for name in ["longer", "seed-2", "seed-3"] {
        assert_ne!(of(name).trajectory, of("darts").trajectory, "{name}");
    }
    // Each method has its row; of darts as the preset has it three seeds are left. What darts does not look at makes none.
    let n: Vec<(&str, usize)> = many.groups.iter().map(|group| (&group.method[..], group.n)).collect();
    assert_eq!(n.iter().filter(|group| group.0 == "darts").map(|group| group.1).sum::<usize>(), 5);
    assert!(many.groups.iter().all(|group| !group.setting.contains("method.")), "{:?}", many.groups);
    assert!(n.contains(&("darts", 3)) && n.contains(&("darts-es", 1)) && n.contains(&("darts-plus", 1)), "{n:?}");
    // Over all searches there are four: this trajectory, the longer search, and two seeds.
    assert_eq!(many.scatters.iter().map(|scatter| scatter.points.len()).collect::<Vec<_>>(), [4]);
    assert!(many.correlations.iter().all(|row| row.n == 4), "{:?}", many.correlations);
    assert_eq!(many.spaces[0].n, 4);
    let drawn = &many.trajectories[0].lines;
    assert!(drawn.iter().all(|line| line.values.iter().all(|value| value.n <= 3)), "{drawn:?}");
    let expected = [
        "Copies of other runs, with the same spec, seed and events as far as both go, are left out of all that follows \
         but the list of runs: none (not finished), half (not finished), twin, ignored of darts.",
        "Searches that have one trajectory, the same epochs until their methods act, stand in the row of each method, but \
         count once in what is over all searches together: darts-es, darts-ada, darts-plus, window, measured share that \
         of darts.",
    ];
    assert_eq!(many.uncounted, expected);
    let html = page(&report);
    assert!(html.contains("finished, a copy of darts") && html.contains("count once in what is over all searches"));
    // Another result of the same spec, as of another processor, is no copy.
    let log = std::fs::read_to_string(at("twin").join("events.jsonl")).unwrap();
    let begin = log.rfind("\"train_loss\":").unwrap() + 13;
    std::fs::write(at("twin").join("events.jsonl"), format!("{}1{}", &log[..begin], &log[begin + 1..])).unwrap();
    let report = self::report(&names.map(at));
    assert!(report.many.unwrap().rows[3].copy_of.is_none());
}

#[test]
fn a_training_that_was_copied_counts_once() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    drop(samples::search(&at("search"), &SEARCH));
    let genotype = std::fs::read_to_string(at("search").join("genotype.txt")).unwrap_or_default();
    let genotype = match genotype.trim() {
        "" => search_of(&report(&[at("search")])).genotype().unwrap().to_string(),
        text => text.to_string(),
    };
    for (name, error) in [("a", 0.1), ("b", 0.1), ("c", 0.4)] {
        samples::training(&at(name), &genotype, "fashion-mini", &["boot", "coat"], error);
    }
    let report = report(&["search", "a", "b", "c"].map(at));
    let many = report.many.unwrap();
    assert_eq!((many.rows[2].copy_of, many.rows[3].copy_of), (Some(1), None));
    assert!((many.rows[0].test_error.unwrap() - 0.25).abs() < 1e-9, "{:?}", many.rows[0].test_error);
}

#[test]
fn ten_methods_are_ten_lines() {
    let dir = tempfile::tempdir().unwrap();
    let methods = [
        "a2m",
        "darts",
        "darts-ada",
        "darts-es",
        "darts-es-noise",
        "darts-minus",
        "darts-plus",
        "gdas",
        "sdarts-adv",
        "sdarts-rs",
    ];
    let paths: Vec<PathBuf> = methods.iter().map(|method| dir.path().join(method)).collect();
    for (i, (path, method)) in paths.iter().zip(methods).enumerate() {
        let set: &[&str] = &["search.order=first"];
        drop(samples::search(path, &Search { method, seed: i as u64, set, decay: 0.05, ..SEARCH }));
    }
    let report = report(&paths);
    let figure = figures(&report).into_iter().find(|figure| figure.name == "trajectories-1").unwrap();
    let drawn: Vec<&str> =
        figure.svg.split("<path class=\"line ").skip(1).map(|s| s.split('"').next().unwrap()).collect();
    // Once in the key and once in the panel.
    let different: BTreeSet<&str> = drawn.iter().copied().collect();
    assert_eq!((drawn.len(), different.len()), (20, 10), "{drawn:?}");
    let style = include_str!("../templates/svg.css");
    for class in different.iter().flat_map(|classes| classes.split(' ')) {
        let is_known = style.contains(&format!(".line.{class}")) || style.contains(&format!(".chart .{class}{{"));
        assert!(is_known, "{class} has no style");
    }
}

#[test]
fn an_epoch_that_was_stopped_within_has_the_time_of_all_its_parts() {
    let (_dir, path, whole) = of_search(&SEARCH);
    let file = path.join("timings.jsonl");
    let text = std::fs::read_to_string(&file).unwrap();
    let fourth = text.lines().nth(3).unwrap();
    let of: Value = serde_json::from_str(fourth).unwrap();
    // The steps before a stop, in a line of their own before the others of that epoch.
    let before = r#"{"attempt":0,"epoch":3,"device":"cpu","seconds":{"train":100.0,"waiting for data":1.0}}"#;
    std::fs::write(&file, text.replace(fourth, &format!("{before}\n{fourth}"))).unwrap();
    let resumed = report(std::slice::from_ref(&path));
    let (one, other) = (&whole.runs[0].head.time, &resumed.runs[0].head.time);
    assert_eq!((one.rows.len(), other.rows.len(), other.rows[3].epoch), (12, 12, 3));
    assert!((other.total - one.total - 100.0).abs() < 1e-9, "{} {}", other.total, one.total);
    let train = other.parts.iter().position(|part| part == "train").unwrap();
    let own = of["seconds"]["train"].as_f64().unwrap() - of["seconds"]["waiting for data"].as_f64().unwrap();
    assert!((other.rows[3].seconds[train] - own - 99.0).abs() < 1e-9);
    assert!(page(&resumed).contains("over all starts"));
}

#[test]
fn a_search_for_disparity_has_three_cells_errors_in_pixels_and_its_pairs() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    drop(disparity::search(&path, &DISPARITY));
    let report = Report::new(&read(std::slice::from_ref(&path)));
    let [run] = &report.runs[..] else { panic!("one run") };
    assert!(run.head.faults.is_empty(), "{:?}", run.head.faults);
    let Content::Search(table) = &run.content else { panic!("a search") };
    let log = std::fs::read_to_string(path.join("events.jsonl")).unwrap();
    let epochs: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|event: &serde_json::Value| event["event"] == "disparity_epoch")
        .collect();
    // The numbers of the tables are those of the log.
    for (row, epoch) in table.epochs.iter().zip(&epochs) {
        assert_eq!(row.valid_error, epoch["valid_error"].as_f64());
        assert_eq!((row.valid_accuracy, row.train_accuracy), (None, None));
        assert_eq!(row.drop(), Some(epoch["child_error"].as_f64().unwrap() - epoch["valid_error"].as_f64().unwrap()));
        assert_eq!(row.skip_connects_upsample, epoch["skip_connects"][2].as_u64().map(|n| n as usize));
    }
    let edges = |cell| table.edges.iter().filter(|edge| edge.cell == cell).count();
    assert_eq!(CellKind::ALL.map(edges), [9, 9, 15]);
    // The weight of an operation is the softmax over its edge: of the last edge of the upsampling cell, after epoch 3.
    let alphas: Vec<f64> =
        epochs[3]["alphas_upsample"].as_array().unwrap()[42..].iter().map(|a| a.as_f64().unwrap()).collect();
    let sum: f64 = alphas.iter().map(|a| a.exp()).sum();
    let last = table.edges.last().unwrap();
    assert_eq!((last.cell, last.node, last.input), (CellKind::Upsample, 2, 5));
    for (weights, alpha) in last.weights.iter().zip(&alphas) {
        assert!((weights[3] - alpha.exp() / sum).abs() < 1e-6);
    }
    // The alphas rest in the first epoch.
    assert!(table.epochs[0].alpha_loss.is_nan() && table.epochs[1].alpha_loss.is_finite());
    let named: Vec<String> = figures(&report).into_iter().map(|figure| figure.name).collect();
    for name in ["cell-normal", "cell-reduce", "cell-upsample", "error", "loss", "eigenvalue", "weights-upsample"] {
        assert!(named.iter().any(|found| found == name), "{name} is not among {named:?}");
    }
    assert!(!named.iter().any(|name| name == "accuracy"));
    let html = page(&report);
    let words = html.split("<script").next().unwrap();
    for wrong in ["accuracy", "Accuracy", " images", "DARTS+"] {
        assert!(!words.contains(wrong), "{wrong}: {}", &words[words.find(wrong).unwrap() - 80..][..200]);
    }
    for right in ["Upsampling cell", "End-point error", "scene 256", "pairs train the weights", "predicted disparity"] {
        assert!(words.contains(right), "{right}");
    }
    assert_eq!(words.matches("<img src=\"data:image/png;base64,").count(), 16);
    assert!(rules(table).iter().all(|rule| rule.skips_upsample.is_some() || !rule.is_judged || rule.returns.is_none()));
    // In every format.
    let out = dir.path().join("figures");
    write_figures(&report, &out).unwrap();
    let csv = std::fs::read_to_string(out.join("operations.csv")).unwrap();
    assert!(csv.lines().next().unwrap().ends_with("parameterless upsample,skips upsample"), "{csv}");
    assert!(std::fs::read(out.join("cell-upsample.png")).unwrap().starts_with(b"\x89PNG"));
    assert!(out.join("epochs.png").exists());
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
    assert_eq!(json["runs"][0]["content"]["task"], "disparity");
    assert!(json["runs"][0]["content"]["epochs"][0]["valid_error"].is_f64());
}

#[test]
fn a_training_for_disparity_shows_its_errors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    disparity::training(&path, &rdarts_space::DisparityGenotype::autodispnet(), 0.5, 1.75);
    let report = Report::new(&read(std::slice::from_ref(&path)));
    let head = &report.runs[0].head;
    assert!(head.faults.is_empty(), "{:?}", head.faults);
    assert_eq!(
        head.verdict,
        "The network of 1\u{2009}402\u{2009}117 weights is off by 1.75 px on average (1.40 px where both views show the pixel) and \
         by more than 3 px in 8.75 % of the pixels of 128 test pairs, with the weights of epoch 19."
    );
    // The genotype differs from that of any preset, which has none.
    assert!(head.spec.as_ref().unwrap().is_compared);
    let html = page(&report);
    let words = html.split("<script").next().unwrap();
    for wrong in ["accuracy", "Accuracy", " images"] {
        assert!(!words.contains(wrong), "{wrong}");
    }
    for right in ["Off by &#62; 3 px", "Seen by both views", "held-out pairs", "true disparity", "1.75 px"] {
        assert!(words.contains(right), "{right}");
    }
    std::fs::write(path.join("maps/01-truth.png"), "GIF").unwrap();
    let report = Report::new(&read(&[path]));
    assert!(report.runs[0].head.faults[0].contains("01-truth.png"), "{:?}", report.runs[0].head.faults);
}

#[test]
fn a_portfolio_for_disparity_shows_its_members_errors_and_pairs() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    disparity::portfolio(&path);
    let report = Report::new(&read(std::slice::from_ref(&path)));
    let head = &report.runs[0].head;
    assert!(head.faults.is_empty(), "{:?}", head.faults);
    assert_eq!(
        head.verdict,
        "Of 2 members the portfolio chose augmentation 2.0, whose network is off by 3.25 px on the test pairs, where random \
         cells are off by 3.50 px."
    );
    assert_eq!(head.again.as_deref(), Some(&format!("rdarts robust {}/spec.toml", path.display())[..]));
    let html = page(&report);
    let words = html.split("<script").next().unwrap();
    for wrong in ["accuracy", "Accuracy", " images"] {
        assert!(!words.contains(wrong), "{wrong}");
    }
    // A member, the baselines, the search and the training of what was chosen.
    for right in [
        "Portfolio for disparity in dispnet on stereo-scenes, seed 1",
        "3.88 px",
        "Skips, upsampling",
        "End-point error of the members on held-out pairs",
        "5.25 px",
        "all-sep-conv",
        "true disparity",
        "Its training",
    ] {
        assert!(words.contains(right), "{right}");
    }
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
    let content = &json["runs"][0]["content"];
    assert_eq!((&content["task"], &content["members"][1]["valid_error"]), (&"disparity".into(), &3.875.into()));
    assert_eq!(content["disparity_result"]["test"]["error"], 3.25);
    // Among other runs it has its errors in pixels.
    let other = dir.path().join("other");
    disparity::training(&other, &rdarts_space::DisparityGenotype::autodispnet(), 0.5, 1.75);
    let both: serde_json::Value = serde_json::from_str(&Report::new(&read(&[path.clone(), other])).to_json()).unwrap();
    let row = &both["many"]["rows"][0];
    assert_eq!((&row["method"], &row["test_error"]), (&"r-darts(augment)".into(), &3.25.into()));
    // A log that is cut shows what is there.
    let log = std::fs::read_to_string(path.join("events.jsonl")).unwrap();
    let cut: String = log.lines().take(4).map(|line| format!("{line}\n")).collect();
    std::fs::write(path.join("events.jsonl"), cut).unwrap();
    let report = Report::new(&read(&[path]));
    assert!(
        report.runs[0].head.verdict.contains("2 of 2 members have found a cell"),
        "{}",
        report.runs[0].head.verdict
    );
    assert!(page(&report).contains("4.12 px") || page(&report).contains("4.13 px"));
}

#[test]
fn searches_for_disparity_are_compared_by_l2_and_augmentation() {
    let dir = tempfile::tempdir().unwrap();
    let mut paths = disparity::many(dir.path());
    let report = Report::new(&read(&paths));
    let many = report.many.as_ref().unwrap();
    assert_eq!(many.groups.len(), 4);
    for group in &many.groups {
        assert_eq!((group.n, group.setting.as_str()), (2, ""), "{group:?}");
        // Of both seeds, by the training of what they found.
        let (i, error) = (
            usize::from(group.l2 == Some(81e-4)) * 2 + usize::from(group.augmentation == Some(2.0)),
            group.test_error.unwrap(),
        );
        assert!((error.mean - (3.0 - 0.4 * i as f64 + 0.15)).abs() < 1e-9, "{group:?}");
    }
    let whats: Vec<(&str, usize)> = many.sweeps.iter().map(|sweep| (sweep.what, sweep.rows.len())).collect();
    assert_eq!(whats, [("L2", 2), ("L2", 2), ("augmentation", 2), ("augmentation", 2)]);
    assert!(many.sweeps[2].label.contains("L2 "), "{}", many.sweeps[2].label);
    let html = page(&report);
    let words = html.split("<script").next().unwrap();
    assert!(words.contains("Augmentation") && words.contains(" px") && !words.contains("Drop path"));
    // With a search for classification beside them nothing is mixed.
    let other = dir.path().join("images");
    drop(samples::search(&other, &SEARCH));
    paths.push(other);
    let report = Report::new(&read(&paths));
    let many = report.many.as_ref().unwrap();
    assert!(many.correlations.iter().all(|row| row.n <= 8), "{:?}", many.correlations);
    assert!(page(&report).contains("Drop path"));
}

#[test]
fn a_selection_shows_its_decisions_and_what_they_leave_of_the_edges() {
    let set = &["method.selection_epochs=2"];
    let selected = Search { method: "darts-pt", space: "s2", epochs: 4, done: 4, set, ..SEARCH };
    let (_dir, path, report) = of_search(&selected);
    let table = search_of(&report);
    // 14 edges and 3 nodes of each cell, two epochs between two turns.
    assert_eq!((table.selected.len(), table.n_epochs, table.epochs.len()), (34, 4 + 16 * 2, 4 + 16 * 2));
    let edge = |cell: CellKind, node: usize, input: usize| {
        table.edges.iter().find(|e| (e.cell, e.node, e.input) == (cell, node, input)).unwrap()
    };
    for cell in [CellKind::Normal, CellKind::Reduce] {
        // The first edge is decided after epoch 3, which it has no part in.
        let first = edge(cell, 0, 0);
        assert!(first.weights[1][3] < 1.0 && first.weights[1][3] > 0.0);
        assert!(first.weights[1][4..].iter().all(|w| *w == 1.0) && first.weights[0][4..].iter().all(|w| *w == 0.0));
        // The third one after epoch 7, and its node does without it from its decision after epoch 3 + 14 * 2 on.
        let third = edge(cell, 1, 0);
        assert!(third.weights[1][6] < 1.0 && third.weights[1][7..31].iter().all(|w| *w == 1.0));
        assert!(third.weights.iter().all(|op| op[31..].iter().all(|w| *w == 0.0)));
        assert!(edge(cell, 1, 2).weights[1][31..].iter().all(|w| *w == 1.0));
    }
    // Rules are judged on the search alone.
    assert!(table.rules.iter().all(|rule| rule.judged_to <= 3), "{:?}", table.rules);
    assert!(table.rules[0].sentence.starts_with("DARTS would have returned the last epoch, 3"), "{:?}", table.rules[0]);
    let html = page(&report);
    for text in
        ["What the selection decided", "0 to node 0", "inputs of node 3", "skip_connect 80.00 %, sep_conv_3x3 70.00 %"]
    {
        assert!(html.contains(text), "{text}");
    }
    // A decision on a candidate that is not there is damage.
    let events = path.join("events.jsonl");
    let text = std::fs::read_to_string(&events).unwrap().replacen("\"kept\":[1]", "\"kept\":[2]", 1);
    std::fs::write(&events, text).unwrap();
    let report = self::report(&[path]);
    assert_eq!(search_of(&report).selected.len(), 0);
}
