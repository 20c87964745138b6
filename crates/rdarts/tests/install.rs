//! What comes with an installed program: what it says of its build, completions, manual pages, and the page of README.md
//! for Python, whose very lines are carried out by the Python that RDARTS_PYTHON names.

use std::path::Path;
use std::process::Command;

mod common;

use common::{run, text};

#[path = "../../../tests/skip.rs"]
mod skip;

/// The verbs as the help lists them.
fn verbs(dir: &Path) -> Vec<String> {
    let help = text(&run(dir, &["--help"]).stdout);
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let verbs = list.lines().filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    let verbs: Vec<String> = verbs.filter(|verb| *verb != "help").map(String::from).collect();
    assert!(verbs.len() > 15 && verbs.contains(&"robust".to_string()), "{verbs:?}");
    verbs
}

#[test]
fn the_version_says_what_is_built_in() {
    let tmp = tempfile::tempdir().unwrap();
    let short = text(&run(tmp.path(), &["-V"]).stdout);
    assert_eq!(short, format!("rdarts {}\n", env!("CARGO_PKG_VERSION")));
    let yes = |is_in| if is_in { "yes" } else { "no" };
    let (gpu, pdf) = (yes(cfg!(feature = "gpu")), yes(cfg!(feature = "pdf")));
    let long = text(&run(tmp.path(), &["--version"]).stdout);
    assert_eq!(long, format!("{short}graphics cards (gpu): {gpu}\npictures as PDF (pdf): {pdf}\n"));
}

#[test]
fn completions_know_every_verb_in_every_shell() {
    let tmp = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let out = run(tmp.path(), &["completions", shell]);
        assert!(out.status.success() && out.stderr.is_empty(), "{shell}: {}", text(&out.stderr));
        let script = text(&out.stdout);
        let missing: Vec<String> =
            verbs(tmp.path()).into_iter().filter(|verb| !script.contains(verb.as_str())).collect();
        assert!(missing.is_empty() && script.contains("landscape"), "{shell} lacks {missing:?}");
    }
    let refused = run(tmp.path(), &["completions", "tcsh"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("possible values: bash, elvish, fish, powershell, zsh"));
}

#[cfg(target_os = "linux")]
#[test]
fn bash_completes_verbs_flags_and_shells() {
    let tmp = tempfile::tempdir().unwrap();
    std::fs::write(tmp.path().join("rdarts"), run(tmp.path(), &["completions", "bash"]).stdout).unwrap();
    for (words, expected) in [
        ("rdarts ro", "robust"),
        ("rdarts hessian --land", "--landscape"),
        ("rdarts completions fi", "fish"),
        ("rdarts table reg", "regret"),
    ] {
        let (before, last) = words.rsplit_once(' ').unwrap();
        let at = before.split(' ').count();
        let previous = before.rsplit(' ').next().unwrap();
        let script = format!(
            ". ./rdarts; COMP_WORDS=({words}); COMP_CWORD={at}; _rdarts rdarts '{last}' '{previous}'; echo \"${{COMPREPLY[@]}}\""
        );
        let out = Command::new("bash").current_dir(tmp.path()).args(["--norc", "-c", &script]).output().unwrap();
        assert_eq!((text(&out.stdout).trim(), text(&out.stderr).trim()), (expected, ""), "{words}");
    }
}

#[test]
fn every_verb_has_a_manual_page() {
    let tmp = tempfile::tempdir().unwrap();
    let out = run(tmp.path(), &["man", "share/man/man1"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert!(text(&out.stdout).contains("`man -M share/man rdarts`"), "{}", text(&out.stdout));
    let dir = tmp.path().join("share/man/man1");
    let page = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let whole = page("rdarts.1");
    for verb in verbs(tmp.path()) {
        let own = page(&format!("rdarts-{verb}.1"));
        // A hyphen is escaped in the language of these pages.
        assert!(own.contains(&format!("rdarts\\-{verb}")) || own.contains(&format!("rdarts {verb}")), "{verb}: {own}");
        assert!(whole.contains(&format!("rdarts\\-{verb}(1)")), "rdarts.1 does not lead to {verb}");
    }
    assert!(page("rdarts-hessian.1").contains("landscape") && page("rdarts-table-regret.1").contains("RUN"));
    // Again over what is there, as an update does.
    let json: serde_json::Value =
        serde_json::from_slice(&run(tmp.path(), &["man", "share/man/man1", "--json"]).stdout).unwrap();
    let names: Vec<&str> = json["pages"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(names.len(), std::fs::read_dir(&dir).unwrap().count());
    std::fs::write(tmp.path().join("file"), "").unwrap();
    let refused = run(tmp.path(), &["man", "file"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).starts_with("error: `file` is no directory"));

    if Command::new("groff").arg("--version").output().is_err() {
        return skip::skip("no groff", "nothing here reads manual pages");
    }
    for name in names {
        let out = Command::new("groff")
            .args(["-man", "-Tutf8", "-ww", "-Kutf8", "-P-cbou"])
            .arg(dir.join(name))
            .output()
            .unwrap();
        assert!(out.status.success() && out.stderr.is_empty(), "{name}: {}", text(&out.stderr));
        assert!(text(&out.stdout).contains("SYNOPSIS"), "{name}");
    }
}

/// The commands and the blocks of Python below a heading of README.md.
fn section(heading: &str) -> (Vec<String>, Vec<String>) {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md")).unwrap();
    let body =
        readme.split(&format!("\n## {heading}\n")).nth(1).unwrap_or_else(|| panic!("README.md has no {heading}"));
    let body = body.split("\n## ").next().unwrap();
    let commands = body.lines().filter_map(|line| line.strip_prefix("    rdarts ")).map(String::from).collect();
    let blocks =
        body.split("```python\n").skip(1).map(|block| block.split("```").next().unwrap().to_string()).collect();
    (commands, blocks)
}

#[test]
fn the_lines_for_python_in_the_readme_run_as_they_stand() {
    let (commands, blocks) = section("From Python");
    assert_eq!((commands.len(), blocks.len()), (3, 2), "{commands:?} {blocks:?}");
    let Some(python) = std::env::var_os("RDARTS_PYTHON") else {
        return skip::skip("RDARTS_PYTHON unset", "no Python with pandas and torch is named");
    };
    let tmp = tempfile::tempdir().unwrap();
    for command in &commands {
        // The commands as they stand too, made small.
        let mut words: Vec<&str> = command.split_whitespace().collect();
        let small =
            "--channels 2 --cells 3 --no-report --set search.batch=16 --set data.limit=128 --set data.valid_limit=32";
        let small_train = "--channels 2 --cells 3 --no-report --set train.batch=16 --set data.limit=128";
        match words[0] {
            "search" => words.extend(small.split(' ').skip(4).chain(["--set", "network.channels=2", "--epochs", "3"])),
            "train" => words.extend(small_train.split(' ').chain(["--epochs", "1"])),
            _ => {}
        }
        let out = run(tmp.path(), &words);
        assert!(out.status.success(), "{words:?}: {}", text(&out.stderr));
    }
    let printed: Vec<String> = blocks
        .iter()
        .map(|block| {
            let out =
                Command::new(&python).current_dir(tmp.path()).args(["-W", "error", "-c", block]).output().unwrap();
            assert!(out.status.success(), "{block}\n{}", text(&out.stderr));
            text(&out.stdout)
        })
        .collect();
    // One row an epoch, with the numbers of the events.
    let events = std::fs::read_to_string(tmp.path().join("runs/search/events.jsonl")).unwrap();
    let events: Vec<serde_json::Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = events.iter().rfind(|event| event["event"] == "epoch").unwrap();
    assert_eq!(last["epoch"], 2);
    for word in ["train_loss", "valid_accuracy", "eigenvalue"] {
        let digits: String = last[word].to_string().chars().take(5).collect();
        assert!(printed[0].contains(word) && printed[0].contains(&digits), "{word} {digits}: {}", printed[0]);
    }
    // Ten classes of eight images, each class by its name.
    assert!(printed[1].contains("[8, 10]") && printed[1].contains("Ankle boot"), "{}", printed[1]);
}
