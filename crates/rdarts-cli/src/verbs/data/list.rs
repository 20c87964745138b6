//! `rdarts data list`: every data set, where it is looked for and whether it is there. Reads no images.

use std::path::PathBuf;
use std::process::ExitCode;

use rdarts_data::{Entry, catalog, fetch, shown};
use serde_json::{Value, json};

use super::{grouped, shown_shape, stereo};
use crate::exit::{Exit, out};

/// Every data set: its images, where it is looked for, whether it is there
#[derive(clap::Args)]
pub struct Args {
    /// Look in this directory and nowhere else
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(args: Args) -> Result<ExitCode, Exit> {
    let dir = args.data_dir.as_deref();
    let rows: Vec<(&Entry, Place)> = catalog().iter().map(|entry| (entry, Place::of(entry, &args))).collect();
    if args.json {
        let sets: Vec<Value> = rows
            .iter()
            .map(|(entry, place)| {
                json!({
                    "name": entry.name, "train": entry.n_train, "test": entry.n_test, "shape": entry.shape,
                    "classes": entry.n_classes, "builtin": matches!(place, Place::BuiltIn), "dir": place.dir(),
                    "problem": place.problem(), "looked_in": entry.places(dir),
                })
            })
            .collect();
        out!(
            "{:#}",
            json!({ "data_sets": sets, "stereo_sets": stereo::list_json(dir), "fetched_to": fetch::usual_target().ok() })
        );
        return Ok(ExitCode::SUCCESS);
    }
    out!("{:<16} {:>9} {:>8}  {:<8} {:>8}  where", "name", "training", "test", "size", "classes");
    for (entry, place) in &rows {
        let (train, test, shape) = (grouped(entry.n_train), grouped(entry.n_test), shown_shape(entry.shape));
        out!("{:<16} {train:>9} {test:>8}  {shape:<8} {:>8}  {}", entry.name, entry.n_classes, place.words(entry));
    }
    let any = "any";
    out!(
        "{:<16} {any:>9} {any:>8}  {any:<8} {any:>8}  your own images: a directory a class, named by its path",
        "folder"
    );
    out!("");
    stereo::print_list(dir);
    out!("");
    let problems: Vec<&String> = rows.iter().filter_map(|(_, place)| place.problem()).collect();
    problems.iter().for_each(|problem| out!("{problem}"));
    if !problems.is_empty() {
        out!("");
    }
    explain(&args);
    Ok(ExitCode::SUCCESS)
}

/// Where it is looked, in words.
fn explain(args: &Args) {
    if let Some(dir) = &args.data_dir {
        out!("Looked for in {} (--data-dir) only, and in the directories in it that have the usual names.", shown(dir));
        return;
    }
    let env = std::env::var_os("RDARTS_DATA").filter(|value| !value.is_empty());
    let env = env.map_or("not set".to_owned(), shown);
    out!("Looked for, the first first:");
    out!("  --data-dir DIR, and then nowhere else");
    out!("  $RDARTS_DATA: {env}");
    let placed: Vec<(&str, Vec<PathBuf>)> =
        catalog().iter().skip(1).map(|entry| (entry.name, entry.places(None))).collect();
    // Sets that are looked for in the same places share a line.
    for alike in placed.chunk_by(|a, b| a.1 == b.1) {
        let names: Vec<&str> = alike.iter().map(|(name, _)| *name).collect();
        let places: Vec<String> = alike[0].1.iter().map(shown).collect();
        out!("  {}: {}", names.join(", "), places.join(", "));
    }
    if let Ok(target) = fetch::usual_target() {
        out!("`rdarts data fetch NAME` puts a data set into a directory of {}.", shown(&target));
    }
}

/// Where a data set is.
enum Place {
    BuiltIn,
    Found(PathBuf),
    /// Nothing of it anywhere.
    Absent,
    /// Something of it that is not read.
    Other(String),
}

impl Place {
    fn of(entry: &Entry, args: &Args) -> Self {
        use rdarts_data::DataError::OtherForm;
        match entry.find(args.data_dir.as_deref()) {
            Ok(None) => Self::BuiltIn,
            Ok(Some(dir)) => Self::Found(dir),
            Err(e @ OtherForm { .. }) => Self::Other(e.to_string()),
            Err(_) => Self::Absent,
        }
    }

    fn words(&self, entry: &Entry) -> String {
        match self {
            Self::BuiltIn => "part of the program".into(),
            Self::Found(dir) => shown(dir),
            Self::Absent if fetch::source(entry.name).is_ok() => {
                format!("not found; `rdarts data fetch {}` gets it", entry.name)
            }
            Self::Absent => format!("not found; `rdarts data fetch {}` says how to get it", entry.name),
            Self::Other(_) => "in another form, see below".into(),
        }
    }

    fn dir(&self) -> Option<&PathBuf> {
        match self {
            Self::Found(dir) => Some(dir),
            _ => None,
        }
    }

    fn problem(&self) -> Option<&String> {
        match self {
            Self::Other(problem) => Some(problem),
            _ => None,
        }
    }
}
