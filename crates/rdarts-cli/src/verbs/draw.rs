//! `rdarts draw`: a genotype as a picture.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rdarts_data::{escaped, shown};
use rdarts_draw::{Arrange, Colors, Drawing, Form, Labels, Style, dot, layout, png, svg};
use rdarts_report::{Architecture, CellKind};
use rdarts_run::{RunView, for_shell, write_file};
use serde_json::json;

use crate::conduct::one_of;
use crate::exit::{Exit, out};
use crate::genotypes::{genotype, names};
use crate::verbs::train::disparity;

/// The cells of a genotype as a picture; of one for disparity there are three
///
/// The kind of file follows from its name: SVG, PNG, DOT, and PDF if the program was
/// built with the feature pdf.
///
/// Examples:
///   rdarts draw DARTS_V2
///   rdarts draw runs/s2-fashion-mini-darts-ada-1 --out cells.png --width page
///   rdarts draw AutoDispNet --cell upsample
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[arg(help = format!("A genotype, a run directory, a file, or one of {}, {}", names(), disparity::names()))]
    genotype: String,
    /// The picture: a name that ends in .svg, .png, .dot or .pdf
    #[arg(long, value_name = "FILE", default_value = "cells.svg")]
    out: PathBuf,
    #[arg(long, default_value = "column", help = format!("How wide: {}", one_of(&WIDTHS)))]
    width: String,
    #[arg(long, default_value = "all", help = format!("Which cells: {}", one_of(&CELLS)))]
    cell: String,
    /// Light lines on dark paper
    #[arg(long)]
    dark: bool,
    /// Operations by their full names
    #[arg(long)]
    names: bool,
    /// Replaces a file that is there
    #[arg(long)]
    force: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Of a column of a paper, and of its page.
const WIDTHS: [&str; 2] = ["column", "page"];
const CELLS: [&str; 4] = ["all", "normal", "reduce", "upsample"];

/// Pixels of a picture in print: 300 an inch, where SVG has 96.
const PRINT: f64 = 300.0 / 96.0;

/// Runs the verb.
pub fn run(args: Args) -> Result<ExitCode, Exit> {
    let kind = kind_of(&args.out)?;
    if !WIDTHS.contains(&args.width.as_str()) {
        return Err(Exit::Input(format!("--width is `{}`, but must be {}", escaped(&args.width), one_of(&WIDTHS))));
    }
    // What it was called when there were two.
    let wanted = if args.cell == "both" { "all" } else { args.cell.as_str() };
    if !CELLS.contains(&wanted) {
        return Err(Exit::Input(format!("--cell is `{}`, but must be {}", escaped(&args.cell), one_of(&CELLS))));
    }
    let found = architecture(&args.genotype)?;
    if args.out.exists() && !args.force {
        return Err(Exit::Input(format!("{} is there already: --force replaces it", shown(&args.out))));
    }
    let mut drawing = match &found {
        Architecture::Classification(genotype) => Drawing::of_genotype(genotype).map_err(Exit::input)?,
        Architecture::Disparity(genotype) => Drawing::of_disparity(genotype).map_err(Exit::input)?,
    };
    if wanted != "all" {
        // A genotype without a cell of some type has no picture of it.
        let mut cells = CellKind::ALL.into_iter().filter(|cell| !found.entries(*cell).is_empty());
        let Some(at) = cells.position(|cell| cell.as_str() == wanted) else {
            return Err(Exit::Input(format!("this genotype has no cell of the type {wanted}")));
        };
        drawing.cells = vec![drawing.cells.swap_remove(at)];
    }
    let (form, style) = match args.width.as_str() {
        "page" => (Form { arrange: Arrange::Beside, ..Form::PAGE }, Style::PAGE),
        _ => (Form::COLUMN, Style::COLUMN),
    };
    let form = if args.names { Form { labels: Labels::Name, ..form } } else { form };
    let style = if args.dark { Style { colors: Colors::Dark, ..style } } else { style };
    let bytes = match kind {
        "dot" => dot(&drawing).into_bytes(),
        _ => {
            let layout = layout(&drawing, &form).map_err(Exit::input)?;
            match kind {
                "svg" => svg(&layout, &style).into_bytes(),
                "png" => png(&layout, &style, PRINT).map_err(Exit::input)?,
                _ => as_pdf(&layout, &style)?,
            }
        }
    };
    write_file(&args.out, &bytes)?;
    match args.json {
        true => out!("{}", json!({ "path": args.out.display().to_string(), "genotype": found.to_string() })),
        false => out!("Picture: {}", for_shell(&args.out)),
    }
    Ok(ExitCode::SUCCESS)
}

/// The genotype of either task that an argument names.
fn architecture(text: &str) -> Result<Architecture, Exit> {
    let path = Path::new(text);
    if path.is_dir() {
        let view = RunView::open(path)?;
        if let Some(given) = disparity::of_run(&view, path)? {
            return Ok(given.genotype()?.into());
        }
    }
    let held = path.is_file().then(|| std::fs::read_to_string(path).ok()).flatten();
    let origin = if held.is_some() { shown(path) } else { "GENOTYPE".to_string() };
    let written = held.as_deref().unwrap_or(text);
    // A log of both kinds of searches there is not.
    match disparity::is_text(written) {
        true => Ok(disparity::of_text(written, &origin)?.into()),
        false => Ok(genotype(text, "GENOTYPE")?.into()),
    }
}

/// What the name of a file says that it is.
fn kind_of(path: &Path) -> Result<&'static str, Exit> {
    let kinds: &[&str] = if cfg!(feature = "pdf") { &["svg", "png", "dot", "pdf"] } else { &["svg", "png", "dot"] };
    let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_lowercase();
    if ending == "pdf" && !cfg!(feature = "pdf") {
        return Err(Exit::Input(
            "PDF is not in this program: `cargo build --release --features pdf` builds it with it; SVG and PNG are"
                .into(),
        ));
    }
    let known = kinds.iter().find(|kind| **kind == ending);
    known.copied().ok_or_else(|| {
        let endings: Vec<String> = kinds.iter().map(|kind| format!(".{kind}")).collect();
        let endings: Vec<&str> = endings.iter().map(String::as_str).collect();
        Exit::Input(format!("--out is {}, but its name must end in {}", shown(path), one_of(&endings)))
    })
}

#[cfg(feature = "pdf")]
fn as_pdf(layout: &rdarts_draw::Layout, style: &Style) -> Result<Vec<u8>, Exit> {
    rdarts_draw::pdf(layout, style).map_err(Exit::input)
}

#[cfg(not(feature = "pdf"))]
fn as_pdf(_: &rdarts_draw::Layout, _: &Style) -> Result<Vec<u8>, Exit> {
    unreachable!("the name of the file was looked at before")
}
