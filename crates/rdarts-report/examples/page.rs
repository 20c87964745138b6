//! The page of some run directories, for looking at it: `cargo run -p rdarts-report --example page -- PAGE RUN...`.
//! With a directory in `FIGURES`, the figures and tables go there too.

use std::path::{Path, PathBuf};

use rdarts_report::{Report, page, read, write_figures};

fn main() -> std::io::Result<()> {
    let mut paths = std::env::args_os().skip(1).map(PathBuf::from);
    let Some(out) = paths.next() else { return Err(std::io::Error::other("name the page, then run directories")) };
    let report = Report::new(&read(&paths.collect::<Vec<_>>()));
    std::fs::write(out, page(&report))?;
    if let Some(dir) = std::env::var_os("FIGURES") {
        write_figures(&report, Path::new(&dir))?;
    }
    Ok(())
}
