//! Sets of stereo pairs in the verbs of `rdarts data`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use rdarts_data::stereo::{
    FOLDER, SCENES, SETS, StereoFacts, StereoOptions, StereoSet, open_with, stereo_set, stereo_sheet,
};
use rdarts_data::{escaped, shown};
use serde_json::{Value, json};

use super::info::text;
use super::{grouped, shown_name};
use crate::exit::{Exit, out};
use crate::progress::Reading;

/// What is in a set: numbers of at most `most` pairs of each part, and perhaps a sheet of so many.
pub fn info(
    name: &'static str,
    dir: Option<&Path>,
    most: usize,
    sheet: Option<(PathBuf, usize)>,
    json: bool,
) -> Result<ExitCode, Exit> {
    let begin = Instant::now();
    let reading = Reading::new(true);
    let mut data = open_with(name, dir, &StereoOptions { watch: &reading, ..StereoOptions::USUAL })?;
    data.name = shown_name(name, dir);
    let place = match stereo_set(name)? {
        Some(set) => Some(set.find(dir)?),
        None => dir.filter(|_| name == FOLDER).map(Path::to_owned),
    };
    let parts = [("training", &data.train), ("test", &data.test)];
    let facts = parts.iter().map(|(_, pairs)| StereoFacts::of(pairs, most)).collect::<Result<Vec<_>, _>>()?;
    let seconds = begin.elapsed().as_secs_f64();
    if let Some((path, n)) = &sheet {
        stereo_sheet(&data, *n, path)?;
    }
    let sheet = sheet.map(|(path, _)| path);
    let doubts: Vec<&String> = facts.iter().flat_map(|facts| &facts.doubts).collect();
    if json {
        let part = |i: usize| part_json(parts[i].1.n(), &facts[i]);
        let whole = json!({
            "name": name, "dir": place.as_deref().map(text), "seconds": seconds, "train": part(0), "test": part(1),
            "notes": doubts, "sheet": sheet.as_deref().map(text),
        });
        out!("{whole:#}");
        return Ok(ExitCode::SUCCESS);
    }
    out!(
        "{}: {} training and {} test pairs of left and right view",
        shown(&data.name),
        grouped(data.train.n()),
        grouped(data.test.n())
    );
    match &place {
        Some(dir) => out!("Files: {}", shown(dir)),
        None => out!("Rendered by the program, no files"),
    }
    let n: usize = facts.iter().map(|facts| facts.n).sum();
    let rate = n as f64 / seconds.max(1e-9);
    out!("Looked at {} pairs in {seconds:.2} s, {rate:.0} pairs/s", grouped(n));
    out!("");
    out!(
        "{:<9} {:>8} {:>8} {:>14} {:>8} {:>8}  {:<24} {:>16}",
        "part",
        "pairs",
        "read",
        "size",
        "known",
        "visible",
        "disparity (mean), pixels",
        "L-R, warped"
    );
    for ((part, pairs), facts) in parts.iter().zip(&facts) {
        if pairs.n() > 0 {
            let (disparity, match_) = (disparity(facts), photo(facts));
            out!(
                "{part:<9} {:>8} {:>8} {:>14} {:>8} {:>8}  {disparity:<24} {match_:>16}",
                grouped(pairs.n()),
                grouped(facts.n),
                sizes(facts),
                percent(facts.n_valid, facts.n_pixels),
                facts.n_visible.map_or("-".to_owned(), |(n, of)| percent(n, of)),
            );
        }
    }
    out!("");
    out!(
        "Known: pixels with ground truth. Visible: those of them that the right view shows. L-R: mean difference of the"
    );
    out!("views, of 255, at visible pixels where these are known; warped: with right x - d in place of right x.");
    doubts.iter().for_each(|doubt| out!("note {}", escaped(doubt)));
    if let Some(path) = &sheet {
        out!("Sheet of pairs: {}", shown(path));
    }
    Ok(ExitCode::SUCCESS)
}

fn percent(n: usize, of: usize) -> String {
    format!("{:.1} %", 100.0 * n as f64 / of.max(1) as f64)
}

fn sizes(facts: &StereoFacts) -> String {
    let shown = |(height, width): &(usize, usize)| format!("{height}x{width}");
    match facts.sizes.len() {
        1 => facts.sizes.keys().map(shown).collect(),
        n => format!("{n} sizes"),
    }
}

fn disparity(facts: &StereoFacts) -> String {
    match (facts.range, facts.mean) {
        (Some((low, high)), Some(mean)) => format!("{low:.2}..{high:.2} ({mean:.1})"),
        _ => "-".to_owned(),
    }
}

fn photo(facts: &StereoFacts) -> String {
    facts.photo.map_or("-".to_owned(), |(unwarped, warped)| format!("{unwarped:.2}, {warped:.2}"))
}

fn part_json(n: usize, facts: &StereoFacts) -> Value {
    let sizes: Vec<Value> = (facts.sizes.iter())
        .map(|((height, width), n)| json!({ "height": height, "width": width, "pairs": n }))
        .collect();
    let share = |n: usize, of: usize| (of > 0).then(|| n as f64 / of as f64);
    json!({
        "pairs": n, "read": facts.n, "sizes": sizes, "known": share(facts.n_valid, facts.n_pixels),
        "visible": facts.n_visible.and_then(|(n, of)| share(n, of)),
        "disparity": facts.range.zip(facts.mean).map(|((least, most), mean)| json!({ "least": least, "most": most, "mean": mean })),
        "difference": facts.photo.map(|(unwarped, warped)| json!({ "unwarped": unwarped, "warped": warped })),
    })
}

/// The stereo sets as part of the list of all sets.
pub fn print_list(dir: Option<&Path>) {
    out!("{:<21} {:>9} {:>8}  where", "stereo pairs", "training", "test");
    let usual = StereoOptions::USUAL;
    let (train, test) = (grouped(usual.n_train), grouped(usual.n_test));
    out!("{SCENES:<21} {train:>9} {test:>8}  rendered by the program: scenes with exact ground truth, of any number");
    for set in &SETS {
        let place = set.find(dir).map_or_else(|_| format!("not found: {}", set.advice), shown);
        let [train, test] = set.n;
        let number = |n: usize| if n == 0 { "-".to_owned() } else { grouped(n) };
        out!("{:<21} {:>9} {:>8}  {place}", set.name, number(train), number(test));
    }
    let any = "any";
    out!("{FOLDER:<21} {any:>9} {any:>8}  your own pairs: left/*, right/* and disp/*, named by its path");
}

/// The same for programs.
pub fn list_json(dir: Option<&Path>) -> Vec<Value> {
    let usual = StereoOptions::USUAL;
    let scenes = json!({ "name": SCENES, "train": usual.n_train, "test": usual.n_test, "builtin": true, "dir": null });
    let row = |set: &StereoSet| {
        json!({
            "name": set.name, "about": set.about, "train": set.n[0], "test": set.n[1], "builtin": false,
            "dir": set.find(dir).ok(), "looked_in": set.places(dir),
        })
    };
    std::iter::once(scenes).chain(SETS.iter().map(row)).collect()
}

/// The sentence for a stereo set that somebody wants fetched.
pub fn not_fetched(name: &str) -> Option<String> {
    if name == SCENES {
        return Some(format!("{SCENES} is rendered by the program, there is nothing to fetch"));
    }
    let set = SETS.iter().find(|set| set.name == name)?;
    Some(format!(
        "{name} is not fetched, its licence or its size forbid it: {}, and name it with --data-dir",
        set.advice
    ))
}
