//! Pages of made-up runs of every kind, for looking at them and for the test in the browser:
//! `cargo run -p rdarts-report --example pages -- DIRECTORY`.

use std::path::{Path, PathBuf};

use rdarts_report::{Report, page, read};
use rdarts_space::DisparityGenotype;
use rdarts_table::Table;

#[path = "../tests/samples/mod.rs"]
mod samples;

use samples::disparity::{DISPARITY, DisparitySearch};
use samples::{SEARCH, Search};

fn main() -> std::io::Result<()> {
    let Some(out) = std::env::args_os().nth(1).map(PathBuf::from) else {
        return Err(std::io::Error::other("name a directory for the pages"));
    };
    std::fs::create_dir_all(&out)?;
    let runs = tempfile::tempdir()?;
    let at = |name: &str| runs.path().join(name);
    let write = |name: &str, paths: &[PathBuf]| {
        std::fs::write(out.join(format!("{name}.html")), page(&Report::new(&read(paths))))
    };
    let write_one = |name: &str| write(name, &[at(name)]);

    let healthy = Search { decay: 0.02, spectra: 1, landscapes: 4, epochs: 20, done: 20, ..SEARCH };
    drop(samples::search(&at("healthy"), &healthy));
    drop(samples::search(&at("degenerate"), &Search { decay: 0.9, landscapes: 20, ..SEARCH }));
    drop(samples::search(&at("ada"), &Search { method: "darts-ada", decay: 0.3, epochs: 20, done: 20, ..SEARCH }));
    drop(samples::search(&at("stopped"), &Search { done: 7, ..SEARCH }));
    drop(samples::search(&at("damaged"), &SEARCH));
    damage(&at("damaged").join("events.jsonl"))?;
    drop(samples::search(&at("empty"), &Search { done: 0, ..SEARCH }));
    drop(samples::search(&at("random"), &Search { method: "rs-ws", ..SEARCH }));
    let hostile = at("it's \"<script>alert(1)</script>\"\n\u{202e}=1+1");
    samples::training(
        &hostile,
        "DARTS_V2",
        "folder",
        &["<script>alert(2)</script>", "=1+1", "a\u{202e}b", "\"quoted\" & 'so'", "two\nlines"],
        0.2,
    );
    samples::training(&at("training"), "DARTS_V2", "fashion-mini", &CLASSES, 0.15);
    samples::portfolio(&at("portfolio"));
    for name in ["healthy", "degenerate", "ada", "stopped", "damaged", "empty", "random", "training", "portfolio"] {
        write_one(name)?;
    }
    drop(samples::disparity::search(&at("disparity"), &DISPARITY));
    let wide = DisparitySearch { space: "autodispnet", epochs: 30, done: 30, decay: 0.12, ..DISPARITY };
    drop(samples::disparity::search(&at("disparity-autodispnet"), &wide));
    drop(samples::disparity::search(&at("disparity-stopped"), &DisparitySearch { done: 5, ..DISPARITY }));
    samples::disparity::training(&at("disparity-training"), &DisparityGenotype::autodispnet(), 0.5, 1.7);
    samples::disparity::portfolio(&at("disparity-portfolio"));
    for name in ["disparity", "disparity-autodispnet", "disparity-stopped", "disparity-training", "disparity-portfolio"]
    {
        write_one(name)?;
    }
    write("disparity-many", &samples::disparity::many(&at("disparity-many")))?;
    write("hostile", &[hostile])?;
    write("nothing", &[at("there is no such run")])?;
    let running = samples::search(&at("running"), &Search { done: 5, ..SEARCH });
    write_one("running")?;
    drop(running);
    write("many", &samples::many(&at("many")))?;

    // With a table of all architectures: alone, with one search, and with many of which one is of another space.
    let file = at("tiny.table");
    samples::table(&file, &[1, 2, 3], 243);
    let (table, faults) = Table::read(&file).map_err(std::io::Error::other)?;
    let with_table = |name: &str, paths: &[PathBuf]| {
        let report = Report::new(&read(paths)).with_table(&table, &file, &faults);
        std::fs::write(out.join(format!("{name}.html")), page(&report))
    };
    with_table("table", &[])?;
    let mut paths = samples::of_tiny(&at("tiny"));
    let of_es = paths.iter().find(|path| path.to_string_lossy().contains("-es-")).cloned();
    with_table("table-search", &of_es.into_iter().collect::<Vec<_>>())?;
    paths.push(at("healthy"));
    with_table("table-many", &paths)
}

const CLASSES: [&str; 10] =
    ["T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"];

fn damage(log: &Path) -> std::io::Result<()> {
    let mut lines: Vec<String> = std::fs::read_to_string(log)?.lines().map(str::to_string).collect();
    lines[6].truncate(100);
    std::fs::write(log, lines.join("\n"))
}
