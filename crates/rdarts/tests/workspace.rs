//! The rules of the workspace that a compiler does not check: which crate may use which, and which module of a crate,
//! where `unsafe` may stand, which may not ask for the time or for files or remember anything by themselves, that every dependency says why it is there,
//! and that a test skips in one way only.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[path = "../../../tests/skip.rs"]
mod skip;

/// Arrows between crates; ARCHITECTURE.md shows the same table.
const ARROWS: [(&str, &[&str]); 21] = [
    ("rdarts-text", &[]),
    ("rdarts-rng", &[]),
    ("rdarts-space", &["rdarts-rng", "rdarts-text"]),
    ("rdarts-simd", &[]),
    ("rdarts-kernels", &["rdarts-simd", "rdarts-space"]),
    ("rdarts-export", &["rdarts-kernels", "rdarts-space", "rdarts-text"]),
    ("rdarts-draw", &["rdarts-space", "rdarts-text"]),
    ("rdarts-monitor", &[]),
    ("rdarts-data", &["rdarts-rng", "rdarts-text"]),
    ("rdarts-run", &["rdarts-text"]),
    ("rdarts-table", &["rdarts-text", "rdarts-space", "rdarts-run"]),
    ("rdarts-report", &["rdarts-text", "rdarts-space", "rdarts-draw", "rdarts-monitor", "rdarts-run", "rdarts-table"]),
    ("rdarts-sweep", &["rdarts-text", "rdarts-run", "rdarts-table"]),
    ("rdarts-watch", &["rdarts-text", "rdarts-run", "rdarts-report"]),
    ("rdarts-gpu", &["rdarts-kernels"]),
    ("rdarts-net", &["rdarts-rng", "rdarts-space", "rdarts-kernels", "rdarts-gpu"]),
    ("rdarts-train", &["rdarts-rng", "rdarts-space", "rdarts-net", "rdarts-data", "rdarts-run"]),
    (
        "rdarts-search",
        &[
            "rdarts-rng",
            "rdarts-text",
            "rdarts-space",
            "rdarts-monitor",
            "rdarts-net",
            "rdarts-data",
            "rdarts-run",
            "rdarts-train",
        ],
    ),
    (
        "rdarts-study",
        &[
            "rdarts-rng",
            "rdarts-space",
            "rdarts-net",
            "rdarts-data",
            "rdarts-run",
            "rdarts-table",
            "rdarts-train",
            "rdarts-search",
        ],
    ),
    (
        "rdarts-cli",
        &[
            "rdarts-rng",
            "rdarts-space",
            "rdarts-kernels",
            "rdarts-monitor",
            "rdarts-net",
            "rdarts-data",
            "rdarts-run",
            "rdarts-train",
            "rdarts-search",
            "rdarts-study",
            "rdarts-export",
            "rdarts-draw",
            "rdarts-report",
            "rdarts-table",
            "rdarts-watch",
            "rdarts-sweep",
        ],
    ),
    (
        "rdarts",
        &[
            "rdarts-rng",
            "rdarts-space",
            "rdarts-kernels",
            "rdarts-monitor",
            "rdarts-net",
            "rdarts-data",
            "rdarts-run",
            "rdarts-train",
            "rdarts-search",
            "rdarts-study",
            "rdarts-export",
            "rdarts-draw",
            "rdarts-report",
            "rdarts-table",
            "rdarts-watch",
            "rdarts-sweep",
            "rdarts-cli",
        ],
    ),
];

/// Crates that declare their modules in the order in which they can be read: each uses only those before it.
const IN_ORDER: [&str; 18] = [
    "rdarts-text",
    "rdarts-rng",
    "rdarts-space",
    "rdarts-simd",
    "rdarts-export",
    "rdarts-draw",
    "rdarts-monitor",
    "rdarts-data",
    "rdarts-run",
    "rdarts-table",
    "rdarts-report",
    "rdarts-watch",
    "rdarts-sweep",
    "rdarts-gpu",
    "rdarts-net",
    "rdarts-train",
    "rdarts-search",
    "rdarts-study",
];

/// Crates in which modules use each other in a circle: an operation is made of stages, and what a stage does is its
/// operation's to say.
const CIRCULAR: [&str; 1] = ["rdarts-kernels"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn crates_use_only_what_the_architecture_says() {
    let mut found: Vec<String> = std::fs::read_dir(root().join("crates"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    let mut named: Vec<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    named.sort_unstable();
    assert_eq!(found, named, "the crates of the workspace");
    for (name, allowed) in ARROWS {
        let manifest = read(&root().join("crates").join(name).join("Cargo.toml"));
        let table = manifest.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
        let used: Vec<&str> =
            table.lines().filter_map(|l| l.split([' ', '.', '=']).next()).filter(|d| d.starts_with("rdarts")).collect();
        for dependency in &used {
            assert!(allowed.contains(dependency), "{name} must not use {dependency}");
        }
        for dependency in allowed {
            assert!(used.contains(dependency), "{name} does not use {dependency} any more: take the arrow out");
        }
    }
}

/// An example in the documentation of a crate that has no doctests would never be compiled.
#[test]
fn crates_without_doctests_have_no_examples_in_their_documentation() {
    let files = sources();
    for (name, _) in ARROWS {
        if !read(&root().join("crates").join(name).join("Cargo.toml")).contains("doctest = false") {
            continue;
        }
        let src = root().join("crates").join(name).join("src");
        for path in files.iter().filter(|path| path.starts_with(&src)) {
            let text = read(path);
            let fences = text.lines().filter_map(|line| line.trim_start().strip_prefix("//"));
            let fences = fences.filter_map(|line| line[line.len().min(1)..].trim_start().strip_prefix("```"));
            for language in fences.step_by(2) {
                let is_rust = ["", "rust", "no_run", "should_panic", "compile_fail"].contains(&language);
                assert!(
                    !is_rust,
                    "{}: an example that nothing compiles, since the crate has no doctests",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn modules_of_a_crate_use_each_other_without_a_circle() {
    let files = sources();
    for (name, _) in ARROWS {
        let src = root().join("crates").join(name).join("src");
        let text = read(&src.join("lib.rs"));
        let modules = modules(&text);
        let mut left: Vec<(&str, BTreeSet<&str>)> = Vec::new();
        for (i, &module) in modules.iter().enumerate() {
            // `module.rs` and all in the folder of this name, but tests.
            let is_of = |path: &&PathBuf| {
                let Ok(path) = path.strip_prefix(&src) else { return false };
                let stems: Vec<_> = path.iter().filter_map(|part| Path::new(part).file_stem()).collect();
                stems.first().is_some_and(|first| *first == module) && !stems.iter().any(|stem| *stem == "tests")
            };
            let texts: Vec<String> = files.iter().filter(is_of).map(|path| code(path)).collect();
            let named: BTreeSet<&str> = texts.iter().flat_map(|text| names_below_crate(text)).collect();
            let used: BTreeSet<&str> =
                modules.iter().copied().filter(|other| *other != module && named.contains(other)).collect();
            for later in modules[i..].iter().filter(|later| used.contains(*later)) {
                assert!(!IN_ORDER.contains(&name), "{name}: {module} uses {later}, which comes after it");
            }
            left.push((module, used));
        }
        // Whoever uses nobody that is left is in no circle.
        while let Some(i) = left.iter().position(|(_, used)| left.iter().all(|(other, _)| !used.contains(other))) {
            left.remove(i);
        }
        let circle: BTreeSet<&str> = left.iter().map(|(module, _)| *module).collect();
        match CIRCULAR.contains(&name) {
            false => {
                assert!(circle.is_empty(), "modules of {name} use each other in a circle, or one that does: {circle:?}")
            }
            true => assert!(!circle.is_empty(), "{name} has no circle any more: take it out of the list"),
        }
    }
}

/// The modules that the top of a crate declares, but those of tests.
fn modules(top: &str) -> Vec<&str> {
    let lines: Vec<&str> = top.lines().collect();
    let is_test = |i: usize| lines[..i].iter().rev().take_while(|l| l.starts_with("#[")).any(|l| *l == "#[cfg(test)]");
    let declared =
        |line: &'_ &str| line.strip_suffix(';').is_some_and(|line| line.split(' ').rev().nth(1) == Some("mod"));
    let found = (0..lines.len()).filter(|i| declared(&lines[*i]) && !is_test(*i));
    found.filter_map(|i| lines[i].trim_end_matches(';').split(' ').next_back()).collect()
}

/// A source without its comments and the module of tests at its end.
fn code(path: &Path) -> String {
    let text = read(path);
    let lines: Vec<&str> = text.lines().collect();
    let is_tests = |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].contains("mod ") && pair[1].ends_with('{');
    let end = lines.windows(2).position(is_tests).unwrap_or(lines.len());
    lines[..end].iter().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

/// What follows `crate::` in code: one name, or the first ones of a list in braces.
fn names_below_crate(code: &str) -> Vec<&str> {
    fn word(text: &str) -> &str {
        text.trim_start().split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
    }
    let mut names = Vec::new();
    for path in code.split("crate::").skip(1) {
        let Some(list) = path.strip_prefix('{') else {
            names.push(word(path));
            continue;
        };
        names.push(word(list));
        let mut depth = 1;
        for (i, c) in list.char_indices().take_while(|(_, c)| *c != ';') {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => names.push(word(&list[i + 1..])),
                _ => {}
            }
        }
    }
    names
}

#[test]
fn every_dependency_says_why_it_is_there() {
    let manifest = read(&root().join("Cargo.toml"));
    let table = manifest.split("[workspace.dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
    let mut explained = false;
    for line in table.lines() {
        if line.starts_with('#') {
            explained = true;
        } else if line.is_empty() {
            explained = false;
        } else if !line.starts_with("rdarts") {
            assert!(explained, "`{line}` has no reason above it");
        }
    }
}

#[test]
fn the_program_alone_is_the_build_that_stands_beside_its_tests() {
    let features = |args: &[&str]| -> BTreeSet<String> {
        let mut cargo = std::process::Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        cargo.current_dir(root()).args(["tree", "--locked", "--offline", "--prefix", "none", "--format", "{p} {f}"]);
        let out = cargo.args(args).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let text = String::from_utf8(out.stdout).unwrap();
        text.lines().map(|line| line.trim_end_matches(" (*)").to_string()).collect()
    };
    let alone = features(&["--package", "rdarts", "--edges", "normal,build"]);
    let whole = features(&["--workspace", "--edges", "normal,build,dev"]);
    assert!(alone.len() > 200 && whole.len() > alone.len());
    let apart: Vec<_> = alone.difference(&whole).collect();
    assert!(
        apart.is_empty(),
        "tests ask these packages for other features, so that Burn is compiled twice: name them in Cargo.toml as once_cell \
         is: {apart:#?}"
    );
}

#[test]
fn unsafe_stands_only_in_the_loops_of_registers_and_where_kernels_are_launched() {
    let files = sources();
    assert!(files.len() > 40);
    for path in files {
        let in_loops =
            path.components().any(|c| c.as_os_str() == "rdarts-simd") || path.ends_with("rdarts-gpu/src/launch.rs");
        let text = read(&path);
        let code = text.lines().filter(|l| !l.trim_start().starts_with("//"));
        let has_unsafe = code.flat_map(|l| l.split(|c: char| !c.is_alphanumeric() && c != '_')).any(|w| w == "unsafe");
        assert!(in_loops || !has_unsafe, "{} uses unsafe", path.display());
    }
}

#[test]
fn kernels_spaces_and_the_monitor_have_no_clock_file_environment_or_network() {
    let crates = root().join("crates");
    let pure = ["rdarts-simd/src", "rdarts-kernels/src", "rdarts-space/src", "rdarts-monitor/src"]
        .map(|path| crates.join(path));
    let is_pure = |path: &Path| pure.iter().any(|p| path.starts_with(p));
    let files: Vec<PathBuf> = sources().into_iter().filter(|path| is_pure(path)).collect();
    assert!(files.len() > 40 && files.iter().any(|path| path.starts_with(&pure[2])));
    for path in files.iter().filter(|path| !path.ends_with("tests.rs")) {
        let text = read(path);
        // The tests of a file are its end.
        let code = text.split("mod tests {").next().unwrap();
        for line in code.lines().filter(|l| !l.trim_start().starts_with("//")) {
            let asked =
                ["std::time", "std::fs", "std::env", "std::net", "std::{"].into_iter().find(|m| line.contains(m));
            assert_eq!(asked, None, "{}: {line}", path.display());
        }
    }
}

#[test]
fn the_kernels_have_no_state_of_their_own() {
    let src = ["rdarts-simd", "rdarts-kernels"].map(|name| root().join("crates").join(name).join("src"));
    let is_theirs = |path: &PathBuf| src.iter().any(|src| path.starts_with(src));
    let files: Vec<PathBuf> = sources().into_iter().filter(is_theirs).collect();
    assert!(files.len() > 30);
    for path in files.iter().filter(|path| !path.ends_with("tests.rs")) {
        let code = code(path);
        assert!(!code.contains("thread_local!"), "{} has state of a thread", path.display());
        // An item ends with its value or begins it with a brace; `'static` is no item.
        let ends = code.split([';', '{', '}']);
        for item in ends.filter(|item| item.split_whitespace().any(|word| word == "static")) {
            let kept = ["mut ", "Mutex", "RwLock", "Atomic", "Once", "Lazy", "Cell"];
            let found = kept.into_iter().find(|kind| item.contains(kind));
            assert_eq!(found, None, "{}: {}", path.display(), item.trim());
        }
    }
}

#[test]
fn tests_skip_by_the_one_function_for_it() {
    for path in sources() {
        assert!(!read(&path).contains("SKIPPED"), "{} skips without `skip::skip` of tests/skip.rs", path.display());
    }
}

#[test]
fn a_skip_fails_where_the_gate_forbids_it_but_for_the_listed_reasons() {
    const CHILD: &str = "RDARTS_TEST_SKIP_REASON";
    if let Ok(reason) = std::env::var(CHILD) {
        return skip::skip(&reason, "to see what comes of it");
    }
    let skips = |reason: &str, must_run: Option<&str>| {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "a_skip_fails_where_the_gate_forbids_it_but_for_the_listed_reasons", "--nocapture"]);
        child.env(CHILD, reason).env_remove("RDARTS_NO_SKIP");
        let out = child.envs(must_run.map(|value| ("RDARTS_NO_SKIP", value))).output().unwrap();
        let (out, err, passed) =
            (String::from_utf8(out.stdout).unwrap(), String::from_utf8(out.stderr).unwrap(), out.status.success());
        assert_eq!(passed, out.contains(&format!("SKIPPED: {reason}: to see what comes of it")), "{out}{err}");
        let refusal = format!("skipped under RDARTS_NO_SKIP=1: {reason}: to see what comes of it");
        assert_eq!(!passed, err.contains(&refusal), "{out}{err}");
        passed
    };
    assert!(skips("no time", None));
    assert!(skips("no time", Some("0")));
    assert!(!skips("no time", Some("1")));
    // A listed reason counts only where it is true.
    let has_shared = root().join("../shared").exists();
    assert_eq!(skips("../shared absent", Some("1")), !has_shared);
    assert!(skips("../shared absent", None));
    #[cfg(unix)]
    assert_eq!(skips("running as root", Some("1")), std::os::unix::fs::MetadataExt::uid(&own_file()) == 0);
}

#[cfg(unix)]
fn own_file() -> std::fs::Metadata {
    // A file that this process makes belongs to its user.
    tempfile::tempfile().unwrap().metadata().unwrap()
}

/// Every source of the crates but this file.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("crates")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("rdarts/tests/workspace.rs") {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn the_readme_names_every_space_method_order_data_set_and_operation() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let operations: Vec<&str> = rdarts::space::Op::ALL.iter().map(|op| op.as_str()).collect();
    // A folder is named by its path.
    let sets: Vec<&str> = rdarts::data::NAMES.iter().copied().filter(|name| *name != rdarts::data::FOLDER).collect();
    let lists: [(&str, &[&str]); 4] = [
        ("| `--space` |", &rdarts::space::Space::NAMES),
        ("| `--order` |", rdarts::run::Order::NAMES),
        ("| `--data` |", &sets),
        ("Operations: ", &operations),
    ];
    for (begin, names) in lists {
        let at = readme.find(begin).unwrap_or_else(|| panic!("README.md has no `{begin}`"));
        let end = readme[at..].find(if begin.starts_with('|') { "\n" } else { "\n\n" }).unwrap();
        let missing: Vec<&&str> = names.iter().filter(|n| !readme[at..at + end].contains(&format!("`{n}`"))).collect();
        assert!(missing.is_empty(), "README.md does not name {missing:?} after `{begin}`");
    }
}

#[test]
fn the_readme_has_the_table_of_methods() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    for method in rdarts::run::Method::ALL {
        let line = format!("| `{method}` | {} | {} |", method.about(), method.paper());
        assert!(readme.contains(&line), "README.md lacks the line\n{line}");
    }
}

#[test]
fn the_crate_of_run_directories_names_no_data_set() {
    let src = root().join("crates/rdarts-run/src");
    let files: Vec<PathBuf> = sources().into_iter().filter(|path| path.starts_with(&src)).collect();
    assert!(files.len() > 10);
    for path in files.into_iter().filter(|path| !path.ends_with("tests.rs")) {
        let code = code(&path);
        for name in rdarts::data::NAMES.iter() {
            assert!(!code.contains(&format!("\"{name}\"")), "{} names {name}", path.display());
        }
    }
}
