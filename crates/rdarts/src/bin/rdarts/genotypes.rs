//! The genotype that an argument of `train`, `import` or `bench` names.

use std::path::Path;

use rdarts::data::shown;
use rdarts::run::{RunView, for_shell};
use rdarts::space::{Genotype, PLAIN, PUBLISHED, named};

use crate::exit::Exit;

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
    if path.is_file() {
        let bytes = std::fs::read(path).map_err(|e| Exit::Failed(format!("cannot read {}: {e}", shown(path))))?;
        return Genotype::read(bytes, &shown(path)).map_err(Exit::input);
    }
    if text.contains(['(', '{', '[']) {
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
