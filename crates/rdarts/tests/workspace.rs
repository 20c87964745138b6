//! The rules of the workspace that a compiler does not check: which crate may use which, where `unsafe` may stand,
//! and that every dependency says why it is there.

use std::path::{Path, PathBuf};

/// Arrows between crates; ARCHITECTURE.md shows the same table.
const ARROWS: [(&str, &[&str]); 8] = [
    ("rdarts-rng", &[]),
    ("rdarts-space", &["rdarts-rng"]),
    ("rdarts-kernels", &[]),
    ("rdarts-data", &["rdarts-rng"]),
    ("rdarts-run", &[]),
    ("rdarts-net", &["rdarts-rng", "rdarts-space", "rdarts-kernels"]),
    ("rdarts-search", &["rdarts-rng", "rdarts-space", "rdarts-kernels", "rdarts-net", "rdarts-data", "rdarts-run"]),
    (
        "rdarts",
        &["rdarts-rng", "rdarts-space", "rdarts-kernels", "rdarts-net", "rdarts-data", "rdarts-run", "rdarts-search"],
    ),
];

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
fn unsafe_stands_only_in_the_simd_module() {
    let mut checked = 0;
    let mut folders = vec![root().join("crates")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("rdarts/tests/workspace.rs") {
                checked += 1;
                let in_simd = path.components().any(|c| c.as_os_str() == "simd");
                let text = read(&path);
                let code = text.lines().filter(|l| !l.trim_start().starts_with("//"));
                let has_unsafe =
                    code.flat_map(|l| l.split(|c: char| !c.is_alphanumeric() && c != '_')).any(|w| w == "unsafe");
                assert!(in_simd || !has_unsafe, "{} uses unsafe", path.display());
            }
        }
    }
    assert!(checked > 40);
}
