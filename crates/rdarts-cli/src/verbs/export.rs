//! `rdarts export`: a trained network for other programs, each file compared with the model before it is handed on.

mod disparity;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rdarts_data::{escaped, shown};
use rdarts_export::{OnnxOptions, Tensor, Trained, model_py, onnx, run_onnx, safetensors};
use rdarts_net::Engine;
use rdarts_rng::Stream;
use rdarts_run::{for_shell, write_file};
use rdarts_space::Topology;
use rdarts_train::Model;
use rdarts_train::tensors::read_tensors;
use serde_json::json;

use crate::conduct::{one_of, set_threads};
use crate::device::OnDevice;
use crate::exit::{Exit, out};
use crate::model_file::{self, AnyModel, Exported, batch_size, check_parent, is_same, outputs, path_text};

/// A trained network for other programs: ONNX, PyTorch, or safetensors
///
/// The program reads back what it has made; only if that is right there is a file.
///
///   onnx         one file for any runtime of ONNX: input `image` (batch,
///                channels, rows, columns), output `logits`; names of the classes,
///                mean and deviation are in its metadata. It is carried out, and
///                its logits are compared with those of the model
///   safetensors  the weights under the names that PyTorch gives them. They have to
///                give the logits of the model to the bit, and the metadata have
///                to say what the model says
///   pytorch      a directory with model.py, which needs PyTorch alone, and
///                weights.safetensors, which is checked like safetensors;
///                model.py is not carried out
///
/// Examples:
///   rdarts export runs/my-training --to onnx --pixels
///   rdarts export model.safetensors --to pytorch --out for-torch
///
/// Of a model of disparity the ONNX file has the inputs `left` and `right` and
/// the output `disparity`, of any size that is a multiple of `stride` in its
/// metadata; it takes pixels from 0 to 1 in any case.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[arg(help = model_file::HELP)]
    model: PathBuf,
    #[arg(long, value_name = "FORM", help = format!("What to make: {}", one_of(&FORMS)))]
    to: String,
    /// File, or directory of pytorch [default: NAME.onnx, NAME-pytorch, NAME-pytorch.safetensors in this directory]
    #[arg(long)]
    out: Option<PathBuf>,
    /// The ONNX graph takes pixels from 0 to 1 and normalises them itself; without, the caller does
    #[arg(long)]
    pixels: bool,
    /// Replace what is there already
    #[arg(long)]
    force: bool,
    /// Threads that compute [default: all processors]
    #[arg(long)]
    threads: Option<usize>,
    #[command(flatten)]
    on: OnDevice,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

const FORMS: [&str; 3] = ["onnx", "pytorch", "safetensors"];

/// The files of a directory for PyTorch.
const PAGE: &str = "model.py";
const WEIGHTS: &str = "weights.safetensors";

/// Runs the verb.
pub fn run(args: Args) -> Result<ExitCode, Exit> {
    if !FORMS.contains(&args.to.as_str()) {
        return Err(Exit::Input(format!("--to is `{}`, but must be {}", escaped(&args.to), one_of(&FORMS))));
    }
    if args.pixels && args.to != "onnx" {
        return Err(Exit::Input(format!(
            "--pixels is for --to onnx: what is made for {} normalises by itself or has no graph",
            args.to
        )));
    }
    let engine = args.on.engine()?;
    set_threads(args.threads)?;
    let file = match AnyModel::open(&args.model)? {
        AnyModel::Disparity(file) => return disparity::run(&args, &file, &engine),
        AnyModel::Classifies(file) => file,
    };
    let path = place_of(&args, &file.name());
    check_place(&path, &file.path, &args)?;
    let model = &file.model;
    let batch = batch_size(model)?;
    let tensors: BTreeMap<String, Tensor> = model
        .tensors()
        .into_iter()
        .map(|(name, tensor)| (name, Tensor { shape: tensor.shape, values: tensor.values }))
        .collect();
    let trained = trained(model, &tensors);
    let trial = Trial::new(model, &engine, batch)?;
    let (files, checked) = match args.to.as_str() {
        "onnx" => {
            let bytes = onnx(&trained, OnnxOptions { normalise: args.pixels, fold: true }).map_err(Exit::input)?;
            let checked = trial.compare_onnx(&bytes, args.pixels)?;
            (vec![(path.clone(), bytes)], checked)
        }
        form => {
            let weights = safetensors(&trained).map_err(Exit::input)?;
            let checked = trial.compare_weights(&weights, &engine)?;
            match form {
                "pytorch" => {
                    let page = model_py(&trained).map_err(Exit::input)?.into_bytes();
                    (vec![(path.join(WEIGHTS), weights), (path.join(PAGE), page)], checked)
                }
                _ => (vec![(path.clone(), weights)], checked),
            }
        }
    };
    write_all(&files, (args.to == "pytorch").then_some(&path))?;
    let bytes: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
    match args.json {
        true => {
            let files: Vec<String> = files.iter().map(|(path, _)| path_text(path)).collect();
            out!(
                "{:#}",
                json!({
                    "to": args.to, "path": path_text(&path), "files": files, "bytes": bytes, "pixels": args.pixels,
                    "images_compared": trial.n, "largest_difference": checked,
                })
            );
        }
        false => tell(model, &path, &args, bytes, &trial, checked),
    }
    Ok(ExitCode::SUCCESS)
}

/// Where the export of a model of some name goes.
fn place_of(args: &Args, name: &str) -> PathBuf {
    args.out.clone().unwrap_or_else(|| {
        PathBuf::from(match args.to.as_str() {
            "onnx" => format!("{name}.onnx"),
            "pytorch" => format!("{name}-pytorch"),
            // Beside a model of that name.
            _ => format!("{name}-pytorch.safetensors"),
        })
    })
}

/// Refuses to write over what is there.
fn check_place(path: &Path, model: &Path, args: &Args) -> Result<(), Exit> {
    let taken = |what: &Path| {
        let advice = "--force replaces it, --out names another place";
        Err(Exit::Input(format!("{} is there already: {advice}", shown(what))))
    };
    let files = match args.to.as_str() {
        "pytorch" if path.exists() && !path.is_dir() => {
            return Err(Exit::Input(format!("{} is a file, but what is for PyTorch is a directory", shown(path))));
        }
        "pytorch" => vec![path.join(PAGE), path.join(WEIGHTS)],
        _ => vec![path.to_owned()],
    };
    if let Some(dir) = files.iter().find(|path| path.is_dir()) {
        let advice = if args.to == "pytorch" { "name another place" } else { "name a file in it" };
        return Err(Exit::Input(format!("{} is a directory: {advice} with --out", shown(dir))));
    }
    check_parent(path)?;
    if let Some(own) = files.iter().find(|path| is_same(path, model)) {
        return Err(Exit::Input(format!("{} is the model itself: name another place with --out", shown(own))));
    }
    match files.iter().find(|path| path.exists() && !args.force) {
        Some(there) => taken(there),
        None => Ok(()),
    }
}

/// The model as what is exported.
fn trained<'a>(model: &'a Model, tensors: &'a BTreeMap<String, Tensor>) -> Trained<'a> {
    let about = &model.about;
    Trained {
        genotype: &about.genotype,
        cells: about.cells,
        channels: about.channels,
        reductions: &about.reductions,
        c_image: about.mean.len(),
        classes: &about.classes,
        side: about.side,
        mean: &about.mean,
        std: &about.std,
        auxiliary: false,
        tensors,
    }
}

/// Images by which an export is compared with the model it was made of, and the model's logits for them.
struct Trial<'a> {
    model: &'a Model,
    n: usize,
    /// How many of them are computed at a time.
    batch: usize,
    /// (n, rows, columns, channels).
    pixels: Vec<u8>,
    logits: Vec<f64>,
}

/// What single precision and another order of sums may cost, against the largest logit or 1.
const TOLERANCE: f64 = 1e-4;

impl<'a> Trial<'a> {
    /// A black and a white image, and some of every value.
    fn new(model: &'a Model, engine: &Engine, batch: usize) -> Result<Self, Exit> {
        let [rows, columns] = model.about.side;
        let size = rows * columns * model.about.mean.len();
        let n = 6;
        let mut stream = Stream::new(1, "export", 0);
        let drawn = (2 * size..n * size).map(|_| stream.below(256) as u8);
        let pixels: Vec<u8> = [vec![0; size], vec![255; size]].concat().into_iter().chain(drawn).collect();
        let logits = outputs(model, &model.evaluator(engine), pixels.clone(), batch)?.concat();
        match logits.iter().all(|z| z.is_finite()) {
            true => Ok(Self { model, n, batch, pixels, logits }),
            false => Err(Exit::Failed("the logits of the model are no finite numbers, so it is of no use".into())),
        }
    }

    /// The largest difference between the logits of an ONNX file and those of the model, if it is small enough.
    fn compare_onnx(&self, bytes: &[u8], takes_pixels: bool) -> Result<f64, Exit> {
        let about = &self.model.about;
        let ([h, w], c) = (about.side, about.mean.len());
        let mut images = vec![0.0; self.pixels.len()];
        for (i, byte) in self.pixels.iter().enumerate() {
            let (image, row, column, channel) = (i / (h * w * c), i / (w * c) % h, i / c % w, i % c);
            let value = f32::from(*byte) / 255.0;
            images[((image * c + channel) * h + row) * w + column] = match takes_pixels {
                true => value,
                false => (value - about.mean[channel]) / about.std[channel],
            };
        }
        let differs =
            |why: String| Exit::Failed(format!("the ONNX file is not as good as the model, so it was not kept: {why}"));
        let found = run_onnx(bytes, &images, [self.n, c, h, w], self.batch).map_err(differs)?;
        let scale = self.logits.iter().fold(1.0f64, |m, z| m.max(z.abs()));
        let largest = self.largest_difference(found.into_iter().map(f64::from)).map_err(differs)?;
        match largest <= TOLERANCE * scale {
            true => Ok(largest),
            false => {
                Err(differs(format!("its logits differ by up to {largest:.1e}, where the largest is {scale:.1e}")))
            }
        }
    }

    /// That of the weights as they are read back, which have to give the same bits; the metadata have to be right too.
    fn compare_weights(&self, bytes: &[u8], engine: &Engine) -> Result<f64, Exit> {
        let differs =
            |why: String| Exit::Failed(format!("the weights are not those of the model, so they were not kept: {why}"));
        let read = read_tensors(bytes).and_then(|tensors| Model::from_tensors(self.model.about.clone(), &tensors));
        let model = read.map_err(differs)?;
        if Exported::of(bytes) != Exported::wanted(&self.model.about) {
            return Err(differs("the metadata say something else of the network".into()));
        }
        let found = outputs(&model, &model.evaluator(engine), self.pixels.clone(), self.batch)?.concat();
        match self.largest_difference(found.into_iter()).map_err(differs)? {
            0.0 => Ok(0.0),
            largest => Err(differs(format!("logits differ by up to {largest:.1e}"))),
        }
    }

    fn largest_difference(&self, found: impl ExactSizeIterator<Item = f64>) -> Result<f64, String> {
        if found.len() != self.logits.len() {
            return Err(format!("there are {} logits and not {}", found.len(), self.logits.len()));
        }
        let differences = found.zip(&self.logits).map(|(a, b)| (a - b).abs());
        // A difference to no number is no number, and larger than all.
        Ok(differences.fold(0.0, |m, d| if d.is_nan() { f64::INFINITY } else { m.max(d) }))
    }
}

/// Writes all files or none, into `dir` if it is named.
fn write_all(files: &[(PathBuf, Vec<u8>)], dir: Option<&PathBuf>) -> Result<(), Exit> {
    let Some(dir) = dir else {
        return Ok(files.iter().try_for_each(|(path, bytes)| write_file(path, bytes))?);
    };
    let cannot = |e: std::io::Error| Exit::Failed(format!("cannot make the directory {}: {e}", shown(dir)));
    let is_new = !dir.exists();
    if is_new {
        std::fs::create_dir(dir).map_err(cannot)?;
    }
    let written = new_dir(dir).map_err(cannot).and_then(|aside| {
        let written = place(files, &aside);
        drop(std::fs::remove_dir_all(aside));
        written
    });
    written.inspect_err(|_| {
        if is_new {
            // Only if nothing is in it.
            drop(std::fs::remove_dir(dir));
        }
    })
}

/// A directory in `dir` that was not there.
fn new_dir(dir: &Path) -> std::io::Result<PathBuf> {
    let names = (0u32..).map(|i| dir.join(format!(".unfinished-{i}")));
    for path in names {
        match std::fs::create_dir(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            made => return made.map(|()| path),
        }
    }
    Err(std::io::ErrorKind::AlreadyExists.into())
}

/// Writes files in the directory `aside` and moves them where they belong when all are whole; when one cannot be moved,
/// all that was there before is there again.
fn place(files: &[(PathBuf, Vec<u8>)], aside: &Path) -> Result<(), Exit> {
    let new = |path: &Path| aside.join(path.file_name().unwrap_or_default());
    let old = |i: usize| aside.join(format!("old-{i}"));
    for (path, bytes) in files {
        write_file(&new(path), bytes)?;
    }
    for (i, (path, _)) in files.iter().enumerate() {
        let keep = if path.exists() { std::fs::rename(path, old(i)) } else { Ok(()) };
        if let Err(e) = keep.and_then(|()| std::fs::rename(new(path), path)) {
            for (j, (path, _)) in files[..=i].iter().enumerate() {
                // Nothing more can be done where this fails too.
                if old(j).exists() {
                    drop(std::fs::rename(old(j), path));
                } else if j < i {
                    drop(std::fs::remove_file(path));
                }
            }
            return Err(Exit::Failed(format!("cannot put {} in its place: {e}", shown(path))));
        }
    }
    Ok(())
}

/// The account for people.
fn tell(model: &Model, path: &Path, args: &Args, bytes: usize, trial: &Trial, checked: f64) {
    let about = &model.about;
    let ([rows, columns], c) = (about.side, about.mean.len());
    let size = match bytes {
        0..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    };
    out!("{} ({size})", shown(path));
    match args.to.as_str() {
        "onnx" => {
            let n = trial.n;
            out!("Read back and carried out, it gives the logits of the model for {n} images up to {checked:.1e}.");
        }
        form => {
            let n = trial.n;
            out!(
                "Read back, its weights give the logits of the model for {n} images to the bit; its metadata are right."
            );
            if form == "pytorch" {
                out!("{PAGE} itself was not carried out, which needs PyTorch.");
            }
        }
    }
    let list = |values: &[f32]| values.iter().map(f32::to_string).collect::<Vec<_>>().join(", ");
    let normalised = || {
        let (mean, std) = (list(&about.mean), list(&about.std));
        format!("(pixel - mean) / deviation of pixels from 0 to 1\n    mean {mean}\n    deviation {std}")
    };
    match args.to.as_str() {
        "onnx" => {
            let what = if args.pixels { "pixels from 0 to 1".into() } else { normalised() };
            out!("Output `logits`: floats (batch, {}), one for each class", about.classes.len());
            out!("Input `image`: floats (batch, {c}, {rows}, {columns}), {what}");
        }
        "pytorch" => {
            out!("Next:");
            out!("  cd {} && python", for_shell(path));
            out!("  >>> import model; net = model.load(\"{WEIGHTS}\")");
            out!("      then model.classify(net, image), with pixels from 0 to 1");
        }
        _ => {
            let whose = match about.genotype.topology {
                Topology::Darts => "NetworkCIFAR of the DARTS code",
                Topology::NasBench201 => "the networks in the code of NAS-Bench-201",
            };
            let elsewhere = match about.reductions.is_empty() {
                true => "",
                false => ", which reduces at a third and at two thirds alone, and so elsewhere than this network",
            };
            out!("The tensors have the names of {whose}{elsewhere}.");
            out!("Images are floats (batch, {c}, {rows}, {columns}), {}", normalised());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_placed_all_or_none() {
        let dir = tempfile::tempdir().unwrap();
        let tmp = dir.path();
        let aside = new_dir(tmp).unwrap();
        let other = new_dir(tmp).unwrap();
        assert_ne!(aside, other);
        let file = |name: &str, text: &str| (tmp.join(name), text.as_bytes().to_vec());
        std::fs::write(tmp.join("a"), "old").unwrap();
        let read = |name: &str| std::fs::read_to_string(tmp.join(name)).ok();
        let files = [file("a", "new"), file("b", "new"), file("none/c", "new")];
        let error = place(&files, &aside).unwrap_err().to_string();
        assert!(error.starts_with("cannot put ") && error.contains("none/c in its place: "), "{error}");
        assert_eq!((read("a").as_deref(), read("b")), (Some("old"), None));
        place(&files[..2], &other).unwrap();
        assert_eq!((read("a").as_deref(), read("b").as_deref()), (Some("new"), Some("new")));
    }
}
