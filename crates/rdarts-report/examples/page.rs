//! The page of some run directories, for looking at it: `cargo run -p rdarts-report --example page -- PAGE RUN...`.
//! With a directory in `FIGURES`, the figures and tables go there too; with a table of all architectures in `TABLE`, the
//! runs are looked up in it.

use std::path::{Path, PathBuf};

use rdarts_report::{Report, page, read, write_figures};
use rdarts_table::Table;

fn main() -> std::io::Result<()> {
    let mut paths = std::env::args_os().skip(1).map(PathBuf::from);
    let Some(out) = paths.next() else { return Err(std::io::Error::other("name the page, then run directories")) };
    let mut report = Report::new(&read(&paths.collect::<Vec<_>>()));
    if let Some(file) = std::env::var_os("TABLE").map(PathBuf::from) {
        let (table, faults) = Table::read(&file).map_err(std::io::Error::other)?;
        report = report.with_table(&table, &file, &faults);
    }
    std::fs::write(out, page(&report))?;
    if let Some(dir) = std::env::var_os("FIGURES") {
        write_figures(&report, Path::new(&dir))?;
    }
    Ok(())
}
