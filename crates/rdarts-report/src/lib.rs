//! Run directories as tables, figures and one page.
//!
//! Data flows one way: a directory is read ([`read()`]), what it says becomes tables ([`Report`]: plain structs with
//! public fields), tables become figures (pure functions to SVG, and PNG by way of it) and one page of HTML. No figure knows a file, and no
//! page computes a number. The same tables are the JSON and the CSV files.
//!
//! ```no_run
//! let runs = rdarts_report::read(&["runs/first".into()]);
//! let report = rdarts_report::Report::new(&runs);
//! std::fs::write("report.html", rdarts_report::page(&report))?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! - [`statistics`]: mean, deviation, correlation with its interval
//! - [`number`]: numbers as text
//! - [`task`]: what a network is for, and in which words it is told
//! - [`read`](mod@read): what a run directory holds, whole or damaged
//! - [`table`]: the tables of one run and of many
//! - [`cells`]: the cells of a genotype as pictures
//! - [`figure`]: one file a figure
//! - [`sheets`](mod@sheets): the tables that are no figures, as CSV
//! - [`folder`]: all of them in a folder, with pictures for print and slides
//! - [`tensorboard`]: runs for TensorBoard
//! - [`page`](mod@page): the page
//!
//! What a user can cause, a damaged directory too, is a sentence in the tables and never an error of this crate.

pub mod statistics;

pub mod number;

pub mod task;

mod csv;

pub mod read;

pub mod table;

mod svg;

pub mod cells;

mod pixels;

pub mod figure;

pub mod sheets;

pub mod folder;

pub mod tensorboard;

pub mod page;

pub use figure::{Figure, animation, figures, frames};
pub use folder::write_figures;
pub use page::{LivePage, live_page, page};
pub use read::{Run, read};
pub use sheets::sheets;
pub use table::{Report, RuleOutcome, SearchTable, rules};
pub use task::{Architecture, CellKind, Task};
