//! A trained network as the user names it: its file, or the run directory of the training that made it.

use std::path::{Path, PathBuf};

use rdarts_data::{Images, Norm, Pixels, available_memory, escaped, eval_batches, shown};
use rdarts_net::{Evaluator, Work};
use rdarts_run::{DisparitySearchSpec, RunView, SearchSpec, Spec, for_shell};
use rdarts_space::Genotype;
use rdarts_train::Model;
use rdarts_train::disparity::DisparityModel;
use rdarts_train::model::About;
use rdarts_train::tensors::{form_of, header_of, read_file, read_metadata};

use crate::conduct::cells;
use crate::exit::Exit;

/// How `predict`, `test` and `export` name a model in their help.
pub const HELP: &str = "Model file, or the run directory of a training or portfolio that has finished";

/// A model and where it was found.
pub struct ModelFile<M = Model> {
    /// The network and what it reads.
    pub model: M,
    /// Its file.
    pub path: PathBuf,
    /// The training that left it there, if that is known.
    pub run: Option<RunView>,
}

/// A model of either task.
pub enum AnyModel {
    /// It classifies pictures.
    Classifies(ModelFile),
    /// It estimates disparity.
    Disparity(ModelFile<DisparityModel>),
}

impl AnyModel {
    /// Opens what the user named.
    pub fn open(path: &Path) -> Result<Self, Exit> {
        let found = ModelFile::<()>::find(path)?;
        let bytes = read_file(&found.path)?;
        // What is wrong with a header is told by whoever reads the model.
        let form = header_of(&bytes).and_then(|header| form_of(&header));
        let wrong = |e: String| Exit::Input(format!("the model file {}: {e}", shown(&found.path)));
        Ok(match form.is_ok_and(|form| form.task.is_some()) {
            true => Self::Disparity(ModelFile {
                model: DisparityModel::from_bytes(&bytes).map_err(wrong)?,
                path: found.path,
                run: found.run,
            }),
            false => Self::Classifies(ModelFile {
                model: Model::from_bytes(&bytes).map_err(wrong)?,
                path: found.path,
                run: found.run,
            }),
        })
    }
}

impl ModelFile<()> {
    /// The file that the user named, and its run.
    fn find(path: &Path) -> Result<Self, Exit> {
        if !path.is_dir() {
            let run = path.parent().map(|dir| if dir.as_os_str().is_empty() { Path::new(".") } else { dir });
            let run = run.and_then(|dir| RunView::open(dir).ok()).filter(|run| is_same(&run.model_path(), path));
            return Ok(Self { model: (), path: path.to_owned(), run });
        }
        let run = RunView::open(path)?;
        let file = run.model_path();
        if !file.exists() {
            let dir = for_shell(path);
            return Err(Exit::Input(match run.kind() {
                SearchSpec::KIND | DisparitySearchSpec::KIND => {
                    format!("{dir} is a search, which leaves an architecture and no trained network")
                }
                _ if run.is_done() => format!("{dir} has no file {}, which a training leaves", shown(file)),
                _ => format!("{dir} has no trained network yet: `rdarts resume {dir}` goes on with it"),
            }));
        }
        Ok(Self { model: (), path: file, run: Some(run) })
    }
}

impl<M> ModelFile<M> {
    /// A name for what is made of it: that of its run, else that of its file.
    pub fn name(&self) -> String {
        let dir = self.run.as_ref().and_then(|run| run.path().canonicalize().ok());
        let name = dir.as_deref().and_then(Path::file_name).or(self.path.file_stem());
        name.map_or("model".into(), |name| name.to_string_lossy().into_owned())
    }
}

impl ModelFile {
    /// Rows and columns of its images, which are squares where pictures are read for it.
    pub fn square(&self) -> Result<usize, Exit> {
        let [rows, columns] = self.model.about.side;
        let channels = self.model.about.mean.len();
        if rows != columns || ![1, 3].contains(&channels) {
            return Err(Exit::Input(format!(
                "the model reads images of {rows}x{columns} pixels with {channels} values each, but pictures are read as \
                 squares in gray or in colour"
            )));
        }
        Ok(rows)
    }
}

/// What an export of this program says of its network; nothing of what it does not say, or not so that it can be read.
#[derive(Debug, Default, PartialEq)]
pub struct Exported {
    /// The cells.
    pub genotype: Option<Genotype>,
    /// Number of cells.
    pub cells: Option<usize>,
    /// Channels of the first cell.
    pub channels: Option<usize>,
    /// The cells that reduce, where they are not those at a third and at two thirds.
    pub reductions: Option<Vec<usize>>,
    /// The names of the classes, in the order of the outputs.
    pub classes: Option<Vec<String>>,
    /// Mean of each channel of the pixels, which are 0 to 1.
    pub mean: Option<Vec<f32>>,
    /// Their standard deviation.
    pub std: Option<Vec<f32>>,
    /// Rows and columns of an image.
    pub side: Option<[usize; 2]>,
}

impl Exported {
    /// Of the bytes of a safetensors file.
    pub fn of(bytes: &[u8]) -> Self {
        let text = |key| read_metadata(bytes, key).unwrap_or_default();
        Self {
            genotype: text("genotype").parse().ok(),
            cells: text("cells").parse().ok(),
            channels: text("channels").parse().ok(),
            reductions: serde_json::from_str(&text("reductions")).ok(),
            classes: serde_json::from_str(&text("classes")).ok(),
            mean: serde_json::from_str(&text("mean")).ok(),
            std: serde_json::from_str(&text("std")).ok(),
            side: serde_json::from_str(&text("side")).ok(),
        }
    }

    /// What an export of a model should say.
    pub fn wanted(about: &About) -> Self {
        Self {
            genotype: Some(about.genotype.clone()),
            cells: Some(about.cells),
            channels: Some(about.channels),
            reductions: Some(about.reductions.clone()).filter(|reductions| !reductions.is_empty()),
            classes: Some(about.classes.clone()),
            mean: Some(about.mean.clone()),
            std: Some(about.std.clone()),
            side: Some(about.side),
        }
    }
}

/// Whether two paths are one file.
pub fn is_same(a: &Path, b: &Path) -> bool {
    a.canonicalize().ok().zip(b.canonicalize().ok()).is_some_and(|(a, b)| a == b)
}

/// Refuses to write into a directory that is not there, before there is anything to write.
pub fn check_parent(path: &Path) -> Result<(), Exit> {
    match path.parent().filter(|dir| !dir.as_os_str().is_empty() && !dir.is_dir()) {
        Some(dir) => {
            Err(Exit::Input(format!("{} cannot be written: there is no directory {}", shown(path), shown(dir))))
        }
        None => Ok(()),
    }
}

/// A path as it is in results: itself if it is text.
pub fn path_text(path: &Path) -> String {
    path.to_str().map_or_else(|| shown(path), str::to_owned)
}

/// Names of classes as they can be printed for people; programs are given the names themselves.
pub fn shown_classes(model: &Model) -> Vec<String> {
    model.about.classes.iter().map(|name| escaped(name)).collect()
}

/// `5 cells, 8 channels at first, 12,345 weights, for images of 28x28x1 in 10 classes`.
pub fn in_words(model: &Model) -> String {
    let about = &model.about;
    let [rows, columns] = about.side;
    format!(
        "{}, {} channels at first, {} weights; images of {rows}x{columns}x{} in {} classes",
        cells(about.cells, &about.reductions),
        about.channels,
        model.net.n_parameters(),
        about.mean.len(),
        about.classes.len()
    )
}

/// Images that are evaluated at a time, at most: enough for all threads.
const BATCH: usize = 64;

/// How many images are evaluated at a time; results do not depend on it.
pub fn batch_size(model: &Model) -> Result<usize, Exit> {
    let needed = |batch| model.net.memory_estimate(batch, model.about.side, Work::Gradient);
    let Some(free) = available_memory() else { return Ok(BATCH) };
    let fitting = [BATCH, 16, 4, 1].into_iter().find(|batch| needed(*batch) <= free / 2);
    match fitting {
        Some(batch) => Ok(batch),
        None if needed(1) <= free => Ok(1),
        None => {
            let ([rows, columns], needed, free) = (model.about.side, gib(needed(1)), gib(free));
            Err(Exit::Input(format!(
                "one image of {rows}x{columns} pixels in this model needs about {needed:.1} GiB of memory and this process \
                 has {free:.1} GiB free"
            )))
        }
    }
}

/// Bytes in the unit of messages.
pub fn gib(bytes: u64) -> f64 {
    bytes as f64 / (1u64 << 30) as f64
}

/// The logits of raw images (n, rows, columns, channels), image by image, of which so many are evaluated at a time.
pub fn outputs(
    model: &Model,
    evaluator: &Evaluator<f32>,
    pixels: Vec<u8>,
    batch: usize,
) -> Result<Vec<Vec<f64>>, Exit> {
    let about = &model.about;
    let ([height, width], channels) = (about.side, about.mean.len());
    let n = pixels.len() / (height * width * channels);
    let images = Images { n, height, width, channels, pixels: Pixels::Memory(pixels), labels: vec![0; n] };
    let norm = Norm::new(&about.mean, &about.std);
    let mut all = Vec::with_capacity(n);
    for batch in eval_batches(&images, 0..n, batch, &norm) {
        let batch = batch?;
        let outputs = evaluator.outputs(&batch.images, batch.n, about.side);
        all.extend(outputs.chunks(about.classes.len()).map(<[f64]>::to_vec));
    }
    Ok(all)
}

/// The classes from the likeliest to the least likely, each with its probability.
pub fn ranked(logits: &[f64]) -> Vec<(usize, f64)> {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = logits.iter().map(|z| (z - max).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let mut ranked: Vec<(usize, f64)> = weights.into_iter().map(|w| w / sum).enumerate().collect();
    // By the logits, which still differ where probabilities are zero; the first of equal ones first.
    ranked.sort_by(|a, b| logits[b.0].total_cmp(&logits[a.0]));
    ranked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_those_of_the_softmax_whatever_the_logits() {
        assert_eq!(ranked(&[0.0, 0.0]), [(0, 0.5), (1, 0.5)]);
        let made = ranked(&[1.0, 3f64.ln() + 1.0, -2000.0, -1000.0]);
        assert_eq!(made.iter().map(|(k, _)| *k).collect::<Vec<_>>(), [1, 0, 3, 2]);
        assert!((made[0].1 - 0.75).abs() < 1e-12 && (made[1].1 - 0.25).abs() < 1e-12);
        assert_eq!((made[2].1, made[3].1), (0.0, 0.0));
    }
}
