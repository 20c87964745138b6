//! `rdarts predict`: the classes of pictures, by a trained network.
//!
//! A picture is read as the images of a folder are, so that one of the training gives the values that the training saw.

mod disparity;

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rayon::prelude::*;
use rdarts_data::{DataError, Picture, Shape, escaped, pictures, read_picture, shown};
use serde_json::{Value, json};

use crate::conduct::{count, set_threads};
use crate::device::OnDevice;
use crate::exit::{Exit, out, say, whole};
use crate::model_file::{self, AnyModel, ModelFile, batch_size, outputs, path_text, ranked};

/// The classes of pictures, or the disparities of two views, by a trained network
///
/// Pictures are PNG, JPEG or WebP of any size; each is cut to the square in its
/// middle and made as large as the images of the training, in colour or gray as
/// these. Of a directory all pictures are taken, at any depth, in the order of
/// their paths. One that cannot be read, or for which the model gives no finite
/// numbers, is told, the others are predicted, and the exit code is 2.
///
/// Examples:
///   rdarts predict runs/my-training cat.jpg dog.png
///   rdarts predict model.safetensors ./new-pictures --top 3
///   rdarts predict model.safetensors ./new-pictures --csv > classes.csv
///
/// A model of disparity is given the left and the right view, or a directory
/// with left/NAME and right/NAME, of any size. For each pair three files are
/// written: NAME-disparity.pfm in pixels; NAME-disparity.png, of 16 bits, times
/// 256, as KITTI has it; NAME-disparity-colour.png, dark blue far and yellow
/// near.
///
///   rdarts predict runs/my-training left.png right.png --out disparities
///   rdarts predict runs/my-training ./pairs --truth ./pairs/disp
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[arg(help = model_file::HELP)]
    model: PathBuf,
    /// Pictures, or directories of pictures; for disparity the left and the right view, or a directory of pairs
    #[arg(required = true, value_name = "PICTURE|DIR")]
    pictures: Vec<PathBuf>,
    /// Classes to show of each picture, the likeliest first
    #[arg(long, value_name = "K", default_value = "1", allow_negative_numbers = true, value_parser = |text: &str| whole(text, 1, 65_536))]
    top: u64,
    /// Threads that compute; changes the speed, never the result [default: all processors]
    #[arg(long)]
    threads: Option<usize>,
    #[command(flatten)]
    on: OnDevice,
    /// Directory that disparities are written to, made if it is not there [default: this one]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// True disparities of the left view (PFM, PNG as KITTI's or Sintel's, or bytes as those of Middlebury's older scenes, by
    /// their size), or a directory of NAME.pfm, NAME.png or NAME.pgm
    #[arg(long, value_name = "FILE|DIR")]
    truth: Option<PathBuf>,
    /// Replace disparities that are there already
    #[arg(long)]
    force: bool,
    /// Print lines of picture,rank,class,probability
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Print one JSON object, with the logits of all classes
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(args: Args) -> Result<ExitCode, Exit> {
    let engine = args.on.engine()?;
    set_threads(args.threads)?;
    let file = match AnyModel::open(&args.model)? {
        AnyModel::Disparity(file) => return disparity::run(&args, &file, &engine),
        AnyModel::Classifies(file) => file,
    };
    if args.out.is_some() || args.truth.is_some() || args.force {
        return Err(Exit::Input(
            "--out, --truth and --force are for a model of disparity, but this one classifies".into(),
        ));
    }
    let model = &file.model;
    let shape = Shape { size: file.square()?, channels: model.about.mean.len() };
    let mut failed = Vec::new();
    let paths = listed(&args.pictures, &mut failed)?;
    let n = paths.len() + failed.len();
    let mut shown = Shown::new(&args, &model.about.classes, &paths);
    let evaluator = model.evaluator(&engine);
    let batch = batch_size(model)?;
    for paths in paths.chunks(batch) {
        let read: Vec<Result<Picture, DataError>> = paths.par_iter().map(|path| read_picture(path, shape)).collect();
        let pixels = read.iter().flatten().map(|picture| &picture.pixels[..]).collect::<Vec<_>>().concat();
        let mut logits = outputs(model, &evaluator, pixels, batch)?.into_iter();
        for (path, picture) in paths.iter().zip(read) {
            match picture.map(|picture| (picture, logits.next().unwrap_or_default())) {
                Ok((_, logits)) if !logits.iter().all(|z| z.is_finite()) => {
                    failed.push(tell(path, &no_class(path)));
                }
                Ok((picture, logits)) => shown.picture(path, &picture, shape, &logits),
                Err(e) => failed.push(tell(path, &e)),
            }
        }
    }
    shown.end(&file, &failed);
    match failed.len() {
        0 => Ok(ExitCode::SUCCESS),
        1 => Err(Exit::Input(format!("1 of {} was not predicted", count(n, "picture")))),
        some => Err(Exit::Input(format!("{some} of {} were not predicted", count(n, "picture")))),
    }
}

/// All pictures that the user named, directories with what is in them.
fn listed(named: &[PathBuf], failed: &mut Vec<(String, String)>) -> Result<Vec<PathBuf>, Exit> {
    let mut paths = Vec::new();
    for path in named {
        if !path.is_dir() {
            paths.push(path.clone());
            continue;
        }
        let (found, problems) = pictures(path)?;
        if found.is_empty() && problems.is_empty() {
            return Err(Exit::Input(format!("there is no picture in {} (PNG, JPEG or WebP)", shown(path))));
        }
        failed.extend(problems.iter().map(|problem| tell(path, problem)));
        paths.extend(found);
    }
    Ok(paths)
}

/// What is said of a picture for which the logits are no finite numbers.
fn no_class(path: &Path) -> String {
    format!("the model gives no finite numbers for {}, so it has no class", shown(path))
}

/// Says what is wrong with a picture, and keeps it.
fn tell(path: &Path, problem: &impl Display) -> (String, String) {
    say!("{problem}");
    (path_text(path), problem.to_string())
}

/// A picture larger than this times its shorter side is for the most part outside of the square in its middle.
const LONGEST: usize = 3;

/// What is to be said of a picture that the network sees little of.
fn misfit(picture: &Picture, shape: Shape) -> Option<String> {
    let (h, w) = (picture.height, picture.width);
    let (shorter, longer) = (h.min(w), h.max(w));
    if longer > LONGEST * shorter {
        return Some(format!(
            "does not fit: of its {w}x{h} pixels only the square in the middle is seen, {:.0} % of it",
            100.0 * shorter as f64 / longer as f64
        ));
    }
    if 2 * shorter < shape.size {
        return Some(format!(
            "does not fit: it has {w}x{h} pixels, and the model was trained on images of {0}x{0}",
            shape.size
        ));
    }
    None
}

/// How results are printed.
enum Form {
    Table,
    Csv,
    Json,
}

/// What is printed, as it comes; JSON at the end.
struct Shown<'a> {
    form: Form,
    classes: &'a [String],
    top: usize,
    /// Letters of the longest path and of the longest class.
    widths: [usize; 2],
    /// Pictures in colour for a network that sees none.
    n_colour: usize,
    pictures: Vec<Value>,
    is_begun: bool,
}

impl<'a> Shown<'a> {
    fn new(args: &Args, classes: &'a [String], paths: &[PathBuf]) -> Self {
        let form = match (args.csv, args.json) {
            (true, _) => Form::Csv,
            (_, true) => Form::Json,
            _ => Form::Table,
        };
        let letters = |text: &str| text.chars().count();
        let longest = |of: &mut dyn Iterator<Item = usize>, least: &str| of.max().unwrap_or(0).max(letters(least));
        let widths = [
            longest(&mut paths.iter().map(|path| letters(&shown(path))), "picture"),
            longest(&mut classes.iter().map(|class| letters(&escaped(class))), "2nd class"),
        ];
        let top = usize::try_from(args.top).map_or(classes.len(), |top| top.min(classes.len()));
        Self { form, classes, top, widths, n_colour: 0, pictures: Vec::new(), is_begun: false }
    }

    /// The heads of the columns, above the first picture.
    fn begin(&mut self) {
        if std::mem::replace(&mut self.is_begun, true) {
            return;
        }
        match self.form {
            Form::Table => {
                let nth = |rank: usize| match rank {
                    0 => "class".to_string(),
                    1 => "2nd class".into(),
                    2 => "3rd class".into(),
                    _ => format!("{}th class", rank + 1),
                };
                let columns = (0..self.top).map(|rank| (nth(rank), "probability".into()));
                self.row("picture", columns);
            }
            Form::Csv => out!("picture,rank,class,probability"),
            Form::Json => {}
        }
    }

    fn row(&self, picture: &str, columns: impl Iterator<Item = (String, String)>) {
        let [path, class] = self.widths;
        let columns: Vec<String> = columns.map(|(name, value)| format!("  {name:<class$}  {value:>11}")).collect();
        out!("{picture:<path$}{}", columns.concat());
    }

    fn picture(&mut self, path: &Path, picture: &Picture, shape: Shape, logits: &[f64]) {
        self.begin();
        let note = misfit(picture, shape);
        if let Some(note) = &note {
            say!("note: {} {note}", shown(path));
        }
        self.n_colour += usize::from(shape.channels == 1 && !picture.is_gray);
        let ranked = ranked(logits);
        let likely = ranked.iter().take(self.top).map(|(k, p)| (&self.classes[*k], *p));
        match self.form {
            Form::Table => {
                let columns = likely.map(|(class, p)| (escaped(class), format!("{:.1} %", 100.0 * p)));
                self.row(&shown(path), columns);
            }
            Form::Csv => {
                for (rank, (class, p)) in likely.enumerate() {
                    out!("{},{},{},{p}", field(&path_text(path)), rank + 1, field(class));
                }
            }
            Form::Json => {
                let classes: Vec<Value> =
                    likely.map(|(class, p)| json!({ "class": class, "probability": p })).collect();
                let whole = json!({ "picture": path_text(path), "classes": classes, "logits": logits, "note": note });
                self.pictures.push(whole);
            }
        }
    }

    fn end(self, file: &ModelFile, failed: &[(String, String)]) {
        if self.n_colour > 0 {
            let pictures = count(self.n_colour, "picture");
            say!("note: the model was trained on gray images and does not see the colour of {pictures}");
        }
        if let Form::Json = self.form {
            let failed: Vec<Value> =
                failed.iter().map(|(picture, why)| json!({ "picture": picture, "problem": why })).collect();
            out!(
                "{:#}",
                json!({
                    "model": path_text(&file.path), "classes": self.classes, "pictures": self.pictures, "failed": failed,
                })
            );
        }
    }
}

/// A field of a line of comma-separated values (RFC 4180).
fn field(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_with_commas_and_quotes_are_quoted() {
        assert_eq!(field("a b/c.png"), "a b/c.png");
        assert_eq!(field("a,\"b\"\n"), "\"a,\"\"b\"\"\n\"");
    }

    #[test]
    fn pictures_of_which_little_is_seen_do_not_fit() {
        let shape = Shape { size: 32, channels: 3 };
        let note = |height, width| misfit(&Picture { pixels: Vec::new(), height, width, is_gray: false }, shape);
        for (height, width) in [(32, 32), (16, 16), (300, 900), (16, 48), (5000, 4000)] {
            assert_eq!(note(height, width), None);
        }
        assert_eq!(
            note(15, 20).unwrap(),
            "does not fit: it has 20x15 pixels, and the model was trained on images of 32x32"
        );
        assert_eq!(
            note(1000, 100).unwrap(),
            "does not fit: of its 100x1000 pixels only the square in the middle is seen, 10 % of it"
        );
    }
}
