//! The page that a run ends with.

use std::path::{Path, PathBuf};

use rdarts_data::shown;
use rdarts_report::table::Content;
use rdarts_report::{Report, page, read};
use rdarts_run::{for_shell, write_file};

use crate::exit::{Exit, out, say};

/// Its name in a run directory.
pub const PAGE: &str = "report.html";

/// The directory for TensorBoard in a run directory.
const BOARD: &str = "tensorboard";

/// Whether a run ends with its page, and whether TensorBoard can follow it.
#[derive(clap::Args)]
pub struct Pages {
    /// Do not write report.html, the page of the run, at its end
    #[arg(long)]
    no_report: bool,
    /// Write for TensorBoard while the run goes on, into its directory: `tensorboard --logdir RUN/tensorboard`
    #[arg(long)]
    tensorboard: bool,
}

impl Pages {
    /// Where a run in `dir` is written for TensorBoard, if it is.
    pub fn board_dir(&self, dir: &Path) -> Option<PathBuf> {
        self.tensorboard.then(|| dir.join(BOARD))
    }

    /// Writes the page of a finished run, and tells of it and of what other rules would have done; what fails here is a
    /// warning, as the run itself is done.
    pub fn finish(&self, dir: &Path, quiet: bool) {
        if self.no_report && quiet {
            return;
        }
        let report = Report::new(&read(&[dir.to_path_buf()]));
        if !quiet {
            tell_rules(&report);
        }
        if self.no_report {
            return;
        }
        let path = dir.join(PAGE);
        match write_page(&path, &page(&report)) {
            Ok(()) if quiet => {}
            Ok(()) => out!("Page: {}", for_shell(&path)),
            Err(e) => say!("warning: the page of the run was not written: {e}"),
        }
    }
}

/// Writes a page whole or not at all; over another page, but over nothing else.
pub fn write_page(path: &Path, page: &str) -> Result<(), Exit> {
    let begins =
        |there: Vec<u8>| there.trim_ascii_start().get(..9).is_some_and(|b| b.eq_ignore_ascii_case(b"<!doctype"));
    if path.is_file() && !std::fs::read(path).is_ok_and(|there| there.is_empty() || begins(there)) {
        return Err(Exit::Input(format!("{} is there already and is no page: name another file", shown(path))));
    }
    Ok(write_file(path, page.as_bytes())?)
}

fn tell_rules(report: &Report) {
    let [run] = &report.runs[..] else { return };
    let Content::Search(search) = &run.content else { return };
    if search.rules.is_empty() {
        return;
    }
    out!("");
    out!("What each rule would have done on this trajectory:");
    search.rules.iter().for_each(|rule| out!("  {}", rule.sentence));
}
