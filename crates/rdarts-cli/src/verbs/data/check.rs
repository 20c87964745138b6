//! `rdarts data check`: reads every file of a data set and names each that is bad.

use std::process::ExitCode;

use rdarts_data::stereo::stereo_check;
use rdarts_data::{FOLDER, check, check_files, entry, escaped, shown};
use serde_json::{Value, json};

use super::{Which, grouped, shown_name};
use crate::conduct::count;
use crate::exit::{Exit, out};
use crate::progress::Reading;

/// Read every file of a data set and name each that is bad; exit code 2 if one is
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What was found, whatever kind of data set it is.
struct Found {
    /// A line for each file that is right, where there are few.
    good: Vec<String>,
    problems: Vec<String>,
    n_files: usize,
    notes: Vec<String>,
    json: Value,
}

/// Runs the verb.
pub fn run(args: Args) -> Result<ExitCode, Exit> {
    let pairs = args.which.stereo();
    let is_stereo = pairs.is_some();
    let (name, dir) = pairs.map_or_else(|| args.which.resolve(), Ok)?;
    let called = shown_name(name, dir.as_deref());
    let found = if name == FOLDER || is_stereo {
        let reading = Reading::new(args.json);
        let checked = match is_stereo {
            true => stereo_check(name, dir.as_deref(), &reading),
            false => check(FOLDER, dir.as_deref(), &reading),
        };
        reading.end();
        let problems: Vec<String> = checked.problems.iter().map(ToString::to_string).collect();
        Found {
            good: Vec::new(),
            n_files: checked.n_files,
            notes: checked.left_out,
            json: json!({ "ignored": checked.n_ignored }),
            problems,
        }
    } else {
        named(name, dir.as_deref())?
    };
    let n_bad = found.problems.len();
    if args.json {
        let whole = json!({
            "name": name, "files": found.n_files, "bad": n_bad, "problems": found.problems, "notes": found.notes,
            "details": found.json,
        });
        out!("{whole:#}");
    } else {
        found.good.iter().for_each(|line| out!("ok   {}", escaped(line)));
        found.problems.iter().for_each(|line| out!("BAD  {}", escaped(line)));
        found.notes.iter().for_each(|line| out!("note {}", escaped(line)));
        out!("{called}: {} read, {n_bad} bad", count(found.n_files, "file"));
    }
    Ok(ExitCode::from(if n_bad > 0 { 2 } else { 0 }))
}

fn named(name: &str, dir: Option<&std::path::Path>) -> Result<Found, Exit> {
    let files = check_files(name, dir)?;
    let (mut good, mut problems, mut details) = (Vec::new(), Vec::new(), Vec::new());
    for file in &files {
        let path = shown(&file.path);
        match &file.images {
            Ok(0) => good.push(path.clone()),
            Ok(n) => good.push(format!("{path}: {} images", grouped(*n))),
            Err(e) => problems.push(e.to_string()),
        }
        let problem = file.images.as_ref().err().map(ToString::to_string);
        details.push(json!({ "path": path, "images": file.images.as_ref().ok(), "problem": problem }));
    }
    let entry = entry(name)?;
    let (n, published) =
        (files.iter().filter_map(|f| f.images.as_ref().ok()).sum::<usize>(), entry.n_train + entry.n_test);
    let differs = problems.is_empty() && n != published;
    let note = format!("there are {} images; the published set has {}", grouped(n), grouped(published));
    Ok(Found {
        good,
        problems,
        n_files: files.len(),
        notes: if differs { vec![note] } else { Vec::new() },
        json: json!({ "files": details, "images": n, "published_images": published }),
    })
}
