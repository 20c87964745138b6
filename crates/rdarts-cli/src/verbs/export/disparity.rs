//! `rdarts export` of a model that estimates disparity.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use rdarts_data::shown;
use rdarts_data::stereo::{Pair, StereoEval};
use rdarts_export::{Dense, DenseNode, Tensor, dense_onnx, dense_py, dense_safetensors, run_dense_onnx};
use rdarts_net::{Engine, Module, Source};
use rdarts_rng::Stream;
use rdarts_run::for_shell;
use rdarts_train::disparity::DisparityModel;
use rdarts_train::tensors::read_tensors;
use serde_json::json;

use super::{Args, PAGE, TOLERANCE, WEIGHTS, check_place, place_of, write_all};
use crate::exit::{Exit, out};
use crate::model_file::{ModelFile, path_text};

/// Makes the files, compares what they give with the model, and only then writes them.
pub fn run(args: &Args, file: &ModelFile<DisparityModel>, engine: &Engine) -> Result<ExitCode, Exit> {
    let path = place_of(args, &file.name());
    check_place(&path, &file.path, args)?;
    let model = &file.model;
    let tensors: BTreeMap<String, Tensor> = model
        .tensors()
        .into_iter()
        .map(|(name, tensor)| (name, Tensor { shape: tensor.shape, values: tensor.values }))
        .collect();
    let dense = dense_of(model, &tensors);
    let trial = Trial::new(model, engine)?;
    let (files, largest): (Vec<(PathBuf, Vec<u8>)>, f64) = match args.to.as_str() {
        "onnx" => {
            let bytes = dense_onnx(&dense).map_err(Exit::input)?;
            let largest = trial.compare_onnx(&bytes)?;
            (vec![(path.clone(), bytes)], largest)
        }
        form => {
            let weights = dense_safetensors(&dense);
            let largest = trial.compare_weights(&weights, model, engine)?;
            match form {
                "pytorch" => {
                    let page = dense_py(&dense, &model.about.genotype.to_string()).map_err(Exit::input)?;
                    (vec![(path.join(WEIGHTS), weights), (path.join(PAGE), page.into_bytes())], largest)
                }
                _ => (vec![(path.clone(), weights)], largest),
            }
        }
    };
    write_all(&files, (args.to == "pytorch").then_some(&path))?;
    let bytes: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
    if args.json {
        let files: Vec<String> = files.iter().map(|(path, _)| path_text(path)).collect();
        let whole = json!({
            "to": args.to, "path": path_text(&path), "files": files, "bytes": bytes, "pixels": true,
            "pairs_compared": trial.pairs.n, "largest_difference": largest,
        });
        out!("{whole:#}");
        return Ok(ExitCode::SUCCESS);
    }
    out!("{} ({:.1} MB)", shown(&path), bytes as f64 / 1e6);
    let (n, stride) = (trial.pairs.n, dense.stride);
    match args.to.as_str() {
        "onnx" => {
            out!(
                "Read back and carried out, it gives the disparities of the model for {n} pairs up to {largest:.1e} px."
            );
            out!(
                "Inputs `left` and `right`: floats (batch, 3, height, width), pixels from 0 to 1; both sides multiples of {stride}"
            );
            out!("Output `disparity`: floats (batch, 1, height, width), in pixels");
        }
        form => {
            out!("Read back, its weights give the disparities of the model for {n} pairs to the bit.");
            if form == "pytorch" {
                out!("{PAGE} itself was not carried out, which needs PyTorch.");
                out!("Next:");
                out!("  cd {} && python", for_shell(&path));
                out!("  >>> import model; net = model.load()");
                out!("      then model.disparity(net, left, right), with pixels from 0 to 1");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What the loader takes away from pixels from 0 to 1.
const SHIFT: f32 = 0.4;

/// The model as what is exported.
fn dense_of<'a>(model: &DisparityModel, tensors: &'a BTreeMap<String, Tensor>) -> Dense<'a> {
    let node = |node: &rdarts_net::Node| {
        let Module::Layer(layer) = &node.module else { unreachable!("a network for disparity has layers alone") };
        let read = |source: &Source| if let Source::Node(at) = *source { Some(at) } else { None };
        let inputs = node.inputs.iter().map(read).collect();
        DenseNode { layer: layer.clone(), inputs, prefix: node.prefix.clone() }
    };
    let (about, stride) = (&model.about, model.sizes.stride());
    let properties = [
        ("task", "disparity".to_owned()),
        ("genotype", about.genotype.to_string()),
        ("channels", about.channels.to_string()),
        ("stem", about.stem.to_string()),
        ("displacement", about.displacement.to_string()),
        ("stride", stride.to_string()),
        ("shift", SHIFT.to_string()),
        ("rdarts", env!("CARGO_PKG_VERSION").to_owned()),
    ];
    Dense {
        nodes: model.net.nodes().iter().map(node).collect(),
        scale: model.sizes.levels().last().map_or(1, |level| level.scale),
        stride,
        shift: SHIFT,
        properties: properties.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        tensors,
    }
}

/// Pairs by which an export is compared with the model it was made of, and the model's disparities of them.
struct Trial {
    pairs: StereoEval,
    disparity: Vec<f32>,
}

impl Trial {
    /// A black and a white pair, and two of every value, wider than high.
    fn new(model: &DisparityModel, engine: &Engine) -> Result<Self, Exit> {
        let stride = model.sizes.stride();
        let (height, width) = (stride, 2 * stride);
        let size = 3 * height * width;
        let mut stream = Stream::new(1, "export", 0);
        let mut view = |kind: usize| match kind {
            0 => vec![0; size],
            1 => vec![255; size],
            _ => (0..size).map(|_| stream.below(256) as u8).collect(),
        };
        let mut pair = |kind| Pair {
            height,
            width,
            left: view(kind),
            right: view(kind),
            disparity: vec![f32::NAN; height * width],
            visible: None,
        };
        let pairs: Vec<Pair> = (0..4).map(&mut pair).collect();
        let pairs = StereoEval::new(&pairs, stride);
        let disparity = model.estimate(&model.evaluator(engine), &pairs);
        match disparity.iter().all(|d| d.is_finite()) {
            true => Ok(Self { pairs, disparity }),
            false => Err(Exit::Failed("the disparities of the model are no finite numbers, so it is of no use".into())),
        }
    }

    /// The largest difference between the disparities of an ONNX file and those of the model, if it is small enough.
    fn compare_onnx(&self, bytes: &[u8]) -> Result<f64, Exit> {
        let StereoEval { n, height, width, views, .. } = &self.pairs;
        let area = height * width;
        let view = |first: usize| -> Vec<f32> {
            let at = |i: usize| (i / (3 * area) * area + i % area) * 6 + first + i / area % 3;
            (0..n * 3 * area).map(|i| views[at(i)] + SHIFT).collect()
        };
        let differs =
            |why: String| Exit::Failed(format!("the ONNX file is not as good as the model, so it was not kept: {why}"));
        let found = run_dense_onnx(bytes, [&view(0), &view(3)], [*n, *height, *width]).map_err(differs)?;
        let scale = self.disparity.iter().fold(1.0f64, |m, d| m.max(f64::from(*d)));
        let largest = self.largest_difference(&found).map_err(differs)?;
        match largest <= TOLERANCE * scale {
            true => Ok(largest),
            false => {
                Err(differs(format!("disparities differ by up to {largest:.1e} px, where the largest is {scale:.1e}")))
            }
        }
    }

    /// That of the weights as they are read back, which have to give the same bits.
    fn compare_weights(&self, bytes: &[u8], model: &DisparityModel, engine: &Engine) -> Result<f64, Exit> {
        let differs =
            |why: String| Exit::Failed(format!("the weights are not those of the model, so they were not kept: {why}"));
        let read = read_tensors(bytes).and_then(|tensors| DisparityModel::from_tensors(model.about.clone(), &tensors));
        let read = read.map_err(differs)?;
        let found = read.estimate(&read.evaluator(engine), &self.pairs);
        match self.largest_difference(&found).map_err(differs)? {
            0.0 => Ok(0.0),
            largest => Err(differs(format!("disparities differ by up to {largest:.1e} px"))),
        }
    }

    fn largest_difference(&self, found: &[f32]) -> Result<f64, String> {
        if found.len() != self.disparity.len() {
            return Err(format!("there are {} disparities and not {}", found.len(), self.disparity.len()));
        }
        let differences = found.iter().zip(&self.disparity).map(|(a, b)| f64::from((a - b).abs()));
        // A difference to no number is no number, and larger than all.
        Ok(differences.fold(0.0, |m, d| if d.is_nan() { f64::INFINITY } else { m.max(d) }))
    }
}
