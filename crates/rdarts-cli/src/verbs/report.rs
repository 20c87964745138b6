//! `rdarts report`: the page of one run or of many.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rdarts_data::shown;
use rdarts_report::{Report, page, read, tensorboard, write_figures};
use rdarts_run::{RunError, RunView, for_shell};
use rdarts_table::Table;

use crate::exit::{Exit, out, say};
use crate::pages::{PAGE, write_page};

/// One page that shows what runs did and why they can be trusted, and their figures for papers
///
/// Of one run the page says what came of it, with its cells, curves and decisions, the
/// epochs to step through, and how to make the same run again. Of several it compares
/// methods, spaces and data sets. It is one file that needs no network. With a table of
/// all architectures of a space it shows how they are spread, where searches ended
/// among them, and how far each was from the best at every epoch.
///
/// Examples:
///   rdarts report runs/s2-fashion-mini-darts-ada-1
///   rdarts report runs/* --out comparison.html
///   rdarts report runs/s2-fashion-mini-darts-ada-1 --figures figures
///   rdarts report runs/tiny-* --table tiny-fashion-mini.table
///   rdarts report tiny-fashion-mini.table
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Run directories: searches, trainings, portfolios, finished or not; or a table of `rdarts table build`
    #[arg(required_unless_present = "table", value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// A table of all architectures of a space, made by `rdarts table build`, in which the runs are looked up
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// The page [default: report.html in the directory of a single run, else here]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// A directory for every figure as SVG and PNG in the width of a column, its numbers as CSV, and the epochs of a search
    /// as an animated PNG
    #[arg(long, value_name = "DIR")]
    figures: Option<PathBuf>,
    /// A directory for TensorBoard: scalars, histograms of the alphas and cells of every run
    #[arg(long, value_name = "DIR")]
    tensorboard: Option<PathBuf>,
    /// Print the tables behind the page as one JSON object, and write no page unless --out says where
    #[arg(long)]
    json: bool,
}

impl Args {
    /// The report of the runs of a sweep.
    pub fn of_sweep(
        runs: Vec<PathBuf>,
        out: PathBuf,
        figures: Option<PathBuf>,
        tensorboard: Option<PathBuf>,
        json: bool,
    ) -> Self {
        // Programs want no page unless they ask for one.
        Self { runs, table: None, out: Some(out).filter(|_| !json), figures, tensorboard, json }
    }
}

/// Runs the verb.
pub fn run(args: Args) -> Result<ExitCode, Exit> {
    if let Some(none) = args.runs.iter().find(|run| !run.exists()) {
        return Err(Exit::Input(format!("there is no run directory {}", shown(none))));
    }
    // A directory that is named twice is one run.
    let mut met = BTreeSet::new();
    let mut is_new = |run: &&PathBuf| met.insert(run.canonicalize().unwrap_or_else(|_| (*run).clone()));
    let named: Vec<PathBuf> = args.runs.iter().filter(&mut is_new).cloned().collect();
    let (mut tables, paths): (Vec<PathBuf>, Vec<PathBuf>) = named.into_iter().partition(|path| is_table(path));
    tables.extend(args.table.iter().filter(&mut is_new).cloned());
    let table = match &tables[..] {
        [] => None,
        [file] => Some((file, Table::read(file)?)),
        [one, other, ..] => {
            return Err(Exit::Input(format!(
                "a report has room for one table, and {} and {} are two",
                shown(one),
                shown(other)
            )));
        }
    };
    let refused = |path: &PathBuf| match RunView::open(path) {
        Err(e @ RunError::NotARun { .. }) => Some(e),
        _ => None,
    };
    let mut refused: Vec<RunError> = paths.iter().filter_map(refused).collect();
    if !paths.is_empty() && refused.len() == paths.len() {
        return Err(refused.swap_remove(0).into());
    }
    let runs = read(&paths);
    let mut report = Report::new(&runs);
    if let Some((file, (table, faults))) = &table {
        report = report.with_table(table, file, faults);
    }
    let failed = |dir: &Path, e: std::io::Error| Exit::Failed(format!("cannot write into {}: {e}", shown(dir)));
    if let Some(dir) = &args.tensorboard {
        tensorboard::export(&runs, dir).map_err(|e| failed(dir, e))?;
    }
    if let Some(dir) = &args.figures {
        write_figures(&report, dir).map_err(|e| Exit::Failed(e.to_string()))?;
    }
    let path = match (&args.out, &paths[..]) {
        (Some(path), _) => path.clone(),
        (None, [run]) if run.is_dir() => run.join(PAGE),
        _ => PathBuf::from(PAGE),
    };
    if args.json {
        out!("{}", report.to_json());
        if args.out.is_none() {
            return Ok(ExitCode::SUCCESS);
        }
    }
    if path.is_dir() {
        return Err(Exit::Input(format!("--out is the directory {}, but must be a file", shown(&path))));
    }
    write_page(&path, &page(&report))?;
    for run in &report.runs {
        for fault in &run.head.faults {
            say!("warning: {}: {fault}", run.head.name);
        }
    }
    if let Some(table) = &report.architectures {
        for fault in &table.faults {
            say!("warning: {}: {fault}", table.name);
        }
    }
    if !args.json {
        if let [run] = &report.runs[..] {
            out!("{}", run.head.verdict);
        }
        if let Some(table) = &report.architectures {
            out!("{}", table.verdict());
        }
        out!("Page: {}", for_shell(&path));
        if let Some(dir) = &args.figures {
            out!("Figures: {}", for_shell(dir));
        }
        if let Some(dir) = &args.tensorboard {
            out!("TensorBoard: tensorboard --logdir {}", for_shell(dir));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether something that is named like a run is a table of architectures: a file, and not one of another kind.
fn is_table(path: &Path) -> bool {
    path.is_file() && (path.extension().is_some_and(|ending| ending == "table") || Table::read(path).is_ok())
}
