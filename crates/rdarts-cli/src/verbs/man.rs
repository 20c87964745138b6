//! `rdarts man`: the manual pages.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap_mangen::Man;
use rdarts_data::shown;
use rdarts_run::{for_shell, write_file};
use serde_json::json;

use crate::exit::{Exit, out};

/// Write the manual pages of the program and of each of its verbs
///
/// They are made from the table that the help is made from; pages that are there are replaced.
///
/// Example:
///   rdarts man ~/.local/share/man/man1    (then `man rdarts`, `man rdarts-search`)
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// A directory, which is made if it is missing
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the verb for the program that `command` describes.
pub fn run(args: Args, command: clap::Command) -> Result<ExitCode, Exit> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    render(&command, &mut pages);
    if args.dir.exists() && !args.dir.is_dir() {
        return Err(Exit::Input(format!("`{}` is no directory, and manual pages are files of one", shown(&args.dir))));
    }
    let failed = |e| Exit::Failed(format!("cannot make the directory `{}`: {e}", shown(&args.dir)));
    std::fs::create_dir_all(&args.dir).map_err(failed)?;
    for (name, page) in &pages {
        write_file(&args.dir.join(name), page)?;
    }
    match args.json {
        true => {
            let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
            out!("{}", json!({ "dir": shown(&args.dir), "pages": names }));
        }
        false => out!("{} pages in {}; {}", pages.len(), shown(&args.dir), how_to_read(&args.dir)),
    }
    Ok(ExitCode::SUCCESS)
}

/// The names and the texts of a command's page and of those below it, in the order of the help.
fn render(command: &clap::Command, pages: &mut Vec<(String, Vec<u8>)>) {
    let page = Man::new(command.clone()).source(concat!("rdarts ", env!("CARGO_PKG_VERSION"))).manual("rdarts");
    let mut text = Vec::new();
    page.render(&mut text).expect("a vector takes all that is written");
    pages.push((page.get_filename(), text));
    command.get_subcommands().filter(|verb| !verb.is_hide_set()).for_each(|verb| render(verb, pages));
}

/// A page in a directory `man1` is found by its name, any other by its path.
fn how_to_read(dir: &Path) -> String {
    let is_section = dir.file_name().is_some_and(|name| name == "man1");
    match dir.parent().filter(|_| is_section) {
        Some(above) => format!("read them with `man -M {} rdarts`", for_shell(above)),
        None => format!("read them with `man {}`", for_shell(&dir.join("rdarts.1"))),
    }
}
