//! Where the files of a data set are looked for.
//!
//! The directory given, and nowhere else if one is given; else `$RDARTS_DATA`; else `rdarts` in the directory of the
//! user's data, where `fetch` puts them; else where a package of the system does. The first two may be the directory
//! itself or the parent of one with a usual name.

use std::path::{Path, PathBuf};

use crate::error::DataError;

/// The directories that a search for a data set begins with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Roots<'a> {
    /// The directory given.
    pub given: Option<&'a Path>,
    /// The one that the environment names.
    pub env: Option<&'a Path>,
    /// The user's own.
    pub user: Option<&'a Path>,
}

/// Lets `use_roots` look with the roots of this process.
pub fn with_roots<T>(given: Option<&Path>, use_roots: impl FnOnce(&Roots) -> T) -> T {
    let (env, user) = (from_env(), of_user());
    use_roots(&Roots { given, env: env.as_deref(), user: user.as_deref() })
}

/// The directory that the environment names.
pub fn from_env() -> Option<PathBuf> {
    std::env::var_os("RDARTS_DATA").filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The user's own directory of data sets: on Linux `$XDG_DATA_HOME/rdarts` or `~/.local/share/rdarts`.
pub fn of_user() -> Option<PathBuf> {
    dirs::data_dir().map(|dir| dir.join("rdarts"))
}

/// All directories to look in, the first first; `children` are the usual names, the first the one that `fetch` gives.
pub fn candidates(roots: &Roots, children: &[&str], system: Option<&Path>) -> Vec<PathBuf> {
    let with_children = |dir: &Path| -> Vec<PathBuf> {
        std::iter::once(dir.to_owned()).chain(children.iter().map(|child| dir.join(child))).collect()
    };
    if let Some(given) = roots.given {
        return with_children(given);
    }
    let env = roots.env.into_iter().flat_map(with_children);
    env.chain(roots.user.zip(children.first()).map(|(dir, child)| dir.join(child)))
        .chain(system.map(Path::to_owned))
        .collect()
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
