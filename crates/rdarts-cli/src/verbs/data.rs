//! `rdarts data`: which data sets there are, what is in them, whether their files are whole, and fetching them.

mod check;
mod fetch;
mod info;
mod list;
mod stereo;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rdarts_data::{FOLDER, NAMES, entry, shown, stereo as pairs};

use crate::exit::Exit;
use crate::given::set_at;

/// Data sets: list them, look into one, check its files, fetch it
///
/// Named sets are looked for in --data-dir and nowhere else if it is given; else in $RDARTS_DATA; else in rdarts in the
/// directory of your data, where `fetch` puts them; else where packages of the system do. A path in place of a name is
/// the directory of a named set, or a folder of your own images (train/CLASS/* with test/CLASS/*, or CLASS/*), or of your
/// own stereo pairs (left/*, right/* and disp/*, or these in train/ and test/).
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    List(list::Args),
    Info(info::Args),
    Check(check::Args),
    Fetch(fetch::Args),
}

/// Runs the verb.
pub fn run(args: Args) -> Result<ExitCode, Exit> {
    match args.verb {
        Verb::List(args) => list::run(args),
        Verb::Info(args) => info::run(args),
        Verb::Check(args) => check::run(args),
        Verb::Fetch(args) => fetch::run(args),
    }
}

/// A data set as the user names it.
#[derive(clap::Args)]
struct Which {
    /// Name of a data set, or the path of its directory or of a folder of images or of stereo pairs
    #[arg(value_name = "NAME|DIR")]
    data: String,
    /// Directory of a data set that is named
    #[arg(long)]
    data_dir: Option<PathBuf>,
}

impl Which {
    /// The name and the directory.
    fn resolve(self) -> Result<(&'static str, Option<PathBuf>), Exit> {
        resolve(&self.data, self.data_dir)
    }

    /// The name and the directory of a set of stereo pairs, if it is one.
    fn stereo(&self) -> Option<(&'static str, Option<PathBuf>)> {
        let named = pairs::names().into_iter().chain([pairs::FOLDER]).find(|name| *name == self.data);
        if let Some(name) = named {
            return Some((name, self.data_dir.clone()));
        }
        let path = Path::new(&self.data);
        let is_path = self.data_dir.is_none() && !NAMES.contains(&self.data.as_str()) && path.is_dir();
        Some((pairs::recognise(path).filter(|_| is_path)?, Some(path.to_owned())))
    }
}

/// The name and the directory of a data set as the user names it: by its name, or by a path.
pub fn resolve(data: &str, data_dir: Option<PathBuf>) -> Result<(&'static str, Option<PathBuf>), Exit> {
    if let Some(name) = NAMES.iter().find(|name| **name == data) {
        return Ok((name, data_dir));
    }
    let path = Path::new(data);
    if !data.contains(std::path::MAIN_SEPARATOR) && !path.exists() {
        // The sentence for a name that is none.
        entry(data)?;
    }
    if let Some(dir) = data_dir {
        return Err(Exit::Input(format!(
            "`{data}` is a path and --data-dir is `{}`, but the data should have one place",
            shown(dir)
        )));
    }
    Ok((set_at(path)?, Some(path.to_owned())))
}

/// What a data set is called: a folder by the name of its directory.
pub fn shown_name(name: &str, dir: Option<&Path>) -> String {
    let dir = dir.filter(|_| [FOLDER, pairs::FOLDER].contains(&name)).and_then(|dir| dir.canonicalize().ok());
    dir.and_then(|dir| Some(shown(dir.file_name()?))).unwrap_or_else(|| name.to_owned())
}

/// `32x32x3`.
fn shown_shape([height, width, channels]: [usize; 3]) -> String {
    format!("{height}x{width}x{channels}")
}

/// A number with its thousands apart.
pub fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        assert_eq!([0, 12, 999, 1000, 531_131, 1_000_000].map(grouped).join(" "), "0 12 999 1,000 531,131 1,000,000");
    }
}
