//! A folder of figures for papers and slides: each as SVG, as PNG and with its numbers as CSV, the tables that are no
//! figures as CSV, and the epochs of a search as an animated PNG.

use std::io::{Error, Result};
use std::path::Path;

use rdarts_text::shown;

use crate::figure::{animation, figures};
use crate::sheets::sheets;
use crate::table::{Content, Report};

/// What the animated picture is called.
pub const ANIMATION: &str = "epochs.png";

/// Writes the folder, which is made if it is not there; files of the same names are overwritten.
///
/// # Errors
/// If a file cannot be written, or a figure is too large for pixels.
pub fn write_figures(report: &Report, dir: &Path) -> Result<()> {
    let failed = |path: &Path, e: Error| Error::new(e.kind(), format!("cannot write `{}`: {e}", shown(path)));
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.join(name);
        std::fs::write(&path, bytes).map_err(|e| failed(&path, e))
    };
    std::fs::create_dir_all(dir).map_err(|e| failed(dir, e))?;
    for figure in figures(report) {
        let png = figure.png().map_err(|e| failed(&dir.join(&figure.name), Error::other(e)))?;
        write(&format!("{}.svg", figure.name), figure.file().as_bytes())?;
        write(&format!("{}.png", figure.name), &png)?;
        write(&format!("{}.csv", figure.name), figure.csv.as_bytes())?;
    }
    for (name, csv) in sheets(report) {
        write(&format!("{name}.csv"), csv.as_bytes())?;
    }
    if let (None, [run]) = (&report.many, &report.runs[..])
        && let Content::Search(table) = &run.content
        && table.kept().nth(1).is_some()
    {
        write(ANIMATION, &animation(table).map_err(|e| failed(&dir.join(ANIMATION), Error::other(e)))?)?;
    }
    Ok(())
}
