//! The page of some run directories, for looking at it: `cargo run -p rdarts-report --example page -- PAGE RUN...`.
//! With a directory in `FIGURES`, the figures and tables go there too.

use std::path::{Path, PathBuf};

use rdarts_report::{Report, figures, page, read, sheets};

fn main() -> std::io::Result<()> {
    let mut paths = std::env::args_os().skip(1).map(PathBuf::from);
    let Some(out) = paths.next() else { return Err(std::io::Error::other("name the page, then run directories")) };
    let report = Report::new(&read(&paths.collect::<Vec<_>>()));
    std::fs::write(out, page(&report))?;
    if let Some(dir) = std::env::var_os("FIGURES") {
        let dir = Path::new(&dir);
        std::fs::create_dir_all(dir)?;
        for figure in figures(&report) {
            std::fs::write(dir.join(format!("{}.svg", figure.name)), figure.file())?;
            std::fs::write(dir.join(format!("{}.csv", figure.name)), figure.csv)?;
        }
        for (name, csv) in sheets(&report) {
            std::fs::write(dir.join(format!("{name}.csv")), csv)?;
        }
    }
    Ok(())
}
