//! Where the files of a data set are looked for.
//!
//! The directory given, and nowhere else if one is given; else `$RDARTS_DATA`; else where a package of the
//! system puts them. The first two may be the directory itself or the parent of one with a usual name.

use crate::error::DataError;
use std::path::{Path, PathBuf};

/// The directory that the environment names.
pub fn from_env() -> Option<PathBuf> {
    std::env::var_os("RDARTS_DATA").filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// All directories to look in, the first first.
pub fn candidates(
    dir: Option<&Path>,
    from_env: Option<&Path>,
    children: &[&str],
    system: Option<&Path>,
) -> Vec<PathBuf> {
    let system = system.filter(|_| dir.is_none()).map(Path::to_owned);
    let with_children = |dir: &Path| {
        let below: Vec<PathBuf> = children.iter().map(|child| dir.join(child)).collect();
        std::iter::once(dir.to_owned()).chain(below)
    };
    dir.or(from_env).into_iter().flat_map(with_children).chain(system).collect()
}

/// A file of a data set's directory, which must be there.
pub fn file_in(dir: &Path, file: &str) -> Result<PathBuf, DataError> {
    let path = dir.join(file);
    let missing = || DataError::MissingFile { dir: dir.to_owned(), file: file.to_owned() };
    path.is_file().then_some(path).ok_or_else(missing)
}

/// The sentence for a data set that is in none of the candidates.
pub fn absent(name: &'static str, candidates: &[PathBuf], advice: &'static str) -> DataError {
    match candidates {
        [] => DataError::NoDirectory { name, advice },
        _ => DataError::NotInstalled {
            name,
            searched: candidates.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(" or "),
            advice,
        },
    }
}

/// A form of a data set that is not the one read: where it would be, below a directory, what it is, and what to do.
pub type OtherForm = (&'static str, &'static str, &'static str);

/// The sentence for the first of `forms` that lies in or below a candidate.
pub fn other_form(name: &'static str, candidates: &[PathBuf], forms: &[OtherForm]) -> Option<DataError> {
    candidates.iter().find_map(|dir| {
        forms.iter().find(|(path, ..)| dir.join(path).is_file()).map(|&(path, form, advice)| DataError::OtherForm {
            path: dir.join(path),
            form,
            name,
            advice,
        })
    })
}
