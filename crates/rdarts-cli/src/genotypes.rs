//! The genotype that an argument of `train`, `import` or `bench` names.

use std::path::{Path, PathBuf};

use rdarts_data::{escaped, shown};
use rdarts_run::{RunView, for_shell};
use rdarts_space::{Found, Genotype, GenotypeFault, PLAIN, PUBLISHED, named};

use crate::conduct::count;
use crate::exit::{Exit, say};

/// The names that need no file, for help texts.
pub fn names() -> String {
    let names: Vec<&str> = PUBLISHED.iter().map(|cell| cell.name).chain(PLAIN).collect();
    names.join(", ")
}

/// The genotype of a run directory, a file, the notation itself, or a name. `argument` is where it stood.
pub fn genotype(text: &str, argument: &str) -> Result<Genotype, Exit> {
    let path = Path::new(text);
    if path.is_dir() {
        return of_run(&RunView::open(path)?, path);
    }
    let (file, name) = named_in(path);
    if file.is_file() {
        let bytes = std::fs::read(&file).map_err(|e| Exit::Failed(format!("cannot read {}: {e}", shown(&file))))?;
        return of_text(&bytes, &shown(&file), name.as_deref());
    }
    if text.contains(['(', '{', '[', '|']) {
        return Genotype::read(text, argument).map_err(Exit::input);
    }
    if text.contains(std::path::MAIN_SEPARATOR) {
        return Err(Exit::Input(format!("{argument}: there is no file or run directory `{text}`")));
    }
    let none = |e| Exit::Input(format!("{argument}: {e}; nor is there a file or a run directory of this name"));
    named(text).map_err(none)
}

/// What a run has found.
pub fn of_run(view: &RunView, path: &Path) -> Result<Genotype, Exit> {
    let text = view.genotype()?.ok_or_else(|| {
        let path = for_shell(path);
        Exit::Input(format!("the run {path} has not found a genotype yet: finish it with `rdarts resume {path}`"))
    })?;
    Genotype::read(text, &shown(path.join("genotype.txt"))).map_err(Exit::input)
}

/// The file of `FILE:NAME` and the name of a genotype in it; a file that has a colon in its own name is that file.
pub fn named_in(path: &Path) -> (PathBuf, Option<String>) {
    let parts = path.to_str().filter(|_| !path.exists()).and_then(|text| text.rsplit_once(':'));
    match parts.filter(|(file, name)| !name.is_empty() && Path::new(file).is_file()) {
        Some((file, name)) => (file.into(), Some(name.to_owned())),
        None => (path.to_owned(), None),
    }
}

/// The genotype of a file: the only one, in any form, or the last of a log, which is said then; or the one that is
/// called `name` there.
pub fn of_text(bytes: &[u8], file: &str, name: Option<&str>) -> Result<Genotype, Exit> {
    let only = Genotype::read(bytes, file);
    if let (Ok(genotype), None) = (&only, name) {
        return Ok(genotype.clone());
    }
    let all = std::str::from_utf8(bytes).map(|text| Genotype::find_all(text, file)).unwrap_or_default();
    let mut names: Vec<&str> = Vec::new();
    for name in all.iter().filter_map(|found| found.name.as_deref()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if let Some(name) = name {
        let found = all.iter().rfind(|found| found.name.as_deref() == Some(name));
        let none = || Exit::Input(format!("{file} has no genotype called `{}`: {}", escaped(name), listed(&names)));
        return found.ok_or_else(none)?.genotype.clone().map_err(Exit::input);
    }
    if let [_, second, ..] = names[..] {
        return Err(Exit::Input(format!(
            "{file} has several genotypes: name one after a colon, as in {file}:{}; {}",
            escaped(second),
            listed(&names)
        )));
    }
    let Some((at, genotype)) = all.iter().enumerate().rev().find_map(|(i, f)| Some((i, f.genotype.as_ref().ok()?)))
    else {
        // The last one says more of a log than that its first line is no genotype.
        let last = all.into_iter().next_back().map(|found| found.genotype.map_err(Exit::input));
        return last.unwrap_or_else(|| only.map_err(Exit::input));
    };
    // Of a later one that is wrong only the end may be missing: that of a log whose program was stopped.
    let is_cut = |found: &Found| match &found.genotype {
        Err(e) => matches!(e.error.fault, GenotypeFault::Unexpected { .. }) && e.error.line == n_lines(bytes),
        Ok(_) => true,
    };
    if let Some(wrong) = all[at + 1..].iter().find(|found| !is_cut(found)) {
        return wrong.genotype.clone().map_err(Exit::input);
    }
    let n_whole = all.iter().filter(|found| found.genotype.is_ok()).count();
    let line = all[at].line;
    if at + 1 < all.len() {
        say!("note: the last genotype of {file} is cut short, so that of line {line} is taken");
    } else if n_whole > 1 {
        say!("note: {file} has {}; the last one, of line {line}, is taken", count(n_whole, "genotype"));
    }
    Ok(genotype.clone())
}

fn n_lines(bytes: &[u8]) -> usize {
    1 + bytes.trim_ascii_end().iter().filter(|byte| **byte == b'\n').count()
}

/// The names in a file, for a message.
fn listed(names: &[&str]) -> String {
    const SHOWN: usize = 20;
    let first: Vec<String> = names.iter().take(SHOWN).map(|name| escaped(name)).collect();
    match names.len() {
        0 => "none in it has a name".to_owned(),
        n if n > SHOWN => format!("it has {} and {} more", first.join(", "), n - SHOWN),
        _ => format!("it has {}", first.join(", ")),
    }
}
