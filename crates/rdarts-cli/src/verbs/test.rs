//! `rdarts test`: how good a trained network is on images with labels.

mod disparity;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use rdarts_data::{Dataset, FOLDER, Images, NAMES, Norm, Options, escaped, open_with, outline};
use rdarts_run::{DataSpec, RobustSpec, RunView, Spec, TrainSpec};
use rdarts_train::images::{data_dir, data_options};
use rdarts_train::training::{Assessment, assess};
use serde_json::json;

use crate::conduct::{one_of, set_threads};
use crate::device::OnDevice;
use crate::exit::{Exit, out, say};
use crate::model_file::{self, AnyModel, ModelFile, batch_size, in_words, path_text, shown_classes};
use crate::progress::Reading;
use crate::verbs::data::{grouped, resolve, shown_name};

/// How good a trained network is: loss, accuracy, accuracy of each class, confusion matrix; or errors of disparity
///
/// On the test part of a data set, or of a folder of your own images
/// (train/CLASS/* with test/CLASS/*, or CLASS/*, of which a fifth of each class
/// is for tests as in a training; --part all takes every image). Its classes
/// must be those of the model, in any order. Images are normalised and resized
/// as the model was trained.
///
/// Examples:
///   rdarts test runs/my-training
///       the very images that it was tested on at the end of the training
///   rdarts test model.safetensors --data cifar10
///   rdarts test model.safetensors --data ./new-photographs --part all
///
/// A model of disparity is tested on pairs with true disparities, whole ones
/// of any size: end-point error, pixels that are off by more than 1 and by more
/// than 3, and KITTI's D1, over all pixels whose disparity is known and over
/// those that both views show.
///
///   rdarts test runs/my-training --data kitti2015
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[arg(help = model_file::HELP)]
    model: PathBuf,
    /// Data set, or the path of one or of a folder of images [default: that of the training]
    #[arg(long, value_name = "NAME|DIR")]
    data: Option<String>,
    /// Directory of the data set
    #[arg(long)]
    data_dir: Option<PathBuf>,
    #[arg(long, default_value = "test", help = format!("Images to take: {}", one_of(&PARTS)))]
    part: String,
    /// Threads that compute; changes the speed, never the result [default: all processors]
    #[arg(long)]
    threads: Option<usize>,
    #[command(flatten)]
    on: OnDevice,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

const PARTS: [&str; 3] = ["test", "train", "all"];

/// Of more classes a confusion matrix does not fit a terminal; JSON has it in any case.
const MATRIX: usize = 20;

/// Runs the verb.
pub fn run(args: Args) -> Result<ExitCode, Exit> {
    if !PARTS.contains(&args.part.as_str()) {
        return Err(Exit::Input(format!("--part is `{}`, but must be {}", escaped(&args.part), one_of(&PARTS))));
    }
    let engine = args.on.engine()?;
    set_threads(args.threads)?;
    let file = match AnyModel::open(&args.model)? {
        AnyModel::Disparity(file) => return disparity::run(&args, &file, &engine),
        AnyModel::Classifies(file) => file,
    };
    let own = file.run.as_ref().filter(|_| args.data.is_none()).and_then(of_training);
    let (mut data, called) = images(&file, &args, own.as_ref().map(|(images, _)| images))?;
    let model = &file.model;
    let order = order_of(&model.about.classes, &data.classes, &called)?;
    let evaluator = model.evaluator(&engine);
    // Only the last bits of the loss depend on it.
    let batch = if let Some((_, batch)) = own { batch } else { batch_size(model)? };
    let norm = Norm::new(&model.about.mean, &model.about.std);
    let mut total: Option<Assessment> = None;
    for (part, images) in [("train", &mut data.train), ("test", &mut data.test)] {
        if args.part != "all" && args.part != part {
            continue;
        }
        for label in &mut images.labels {
            *label = order[usize::from(*label)];
        }
        let (images, n): (&Images, usize) = (images, images.n);
        if n == 0 {
            continue;
        }
        // Nobody sets it: nothing is lost by Ctrl-C.
        let stop = AtomicBool::new(false);
        let made = assess(&evaluator, (images, 0..n), batch, &norm, order.len(), &stop)?;
        total = total.into_iter().chain(made).reduce(both);
    }
    let Some(made) = total else {
        return Err(Exit::Input(format!("{called} has no image in its part `{}`", args.part)));
    };
    let is_own = own.is_some() && args.part == "test" && model.about.n_test == Some(made.n);
    let reported = model.about.test_accuracy.filter(|_| is_own);
    match args.json {
        true => print_json(&file, &made, &called, &args.part),
        false => print(&file, &made, &called, &args.part, reported),
    }
    Ok(ExitCode::SUCCESS)
}

/// The images of the training that left a model in a run, and how many it tested at a time; of a portfolio those of the
/// training of what it chose.
fn of_training(run: &RunView) -> Option<(DataSpec, usize)> {
    match run.kind() {
        RobustSpec::KIND => run.spec::<RobustSpec>().ok().map(|spec| (spec.data.images, spec.train.whole.batch)),
        _ => run.spec::<TrainSpec>().ok().map(|spec| (spec.data.images, spec.train.batch)),
    }
}

/// What a network makes of the images of two parts.
fn both(a: Assessment, b: Assessment) -> Assessment {
    let sum = |(a, b): (Vec<usize>, Vec<usize>)| a.iter().zip(b).map(|(a, b)| a + b).collect();
    let n = a.n + b.n;
    Assessment {
        n,
        loss: (a.loss * a.n as f64 + b.loss * b.n as f64) / n as f64,
        in_five: a.in_five + b.in_five,
        confusion: a.confusion.into_iter().zip(b.confusion).map(sum).collect(),
        // Their numbers would be those of two sets.
        mistakes: Vec::new(),
    }
}

/// The images to test on and what they are called; `own` are those of the training, if these are meant.
fn images(file: &ModelFile, args: &Args, own: Option<&DataSpec>) -> Result<(Dataset, String), Exit> {
    let about = &file.model.about;
    let reading = Reading::new(args.json);
    let (name, dir) = match (&args.data, own) {
        (Some(data), _) => resolve(data, args.data_dir.clone())?,
        (None, Some(spec)) => {
            let dir = args.data_dir.clone().or(data_dir(spec).map(PathBuf::from));
            (resolve(&spec.name, None)?.0, dir)
        }
        (None, None) if NAMES.contains(&about.data.as_str()) && about.data != FOLDER => {
            resolve(&about.data, args.data_dir.clone())?
        }
        (None, None) => {
            return Err(Exit::Input("say which images to test on: --data NAME or --data DIR".into()));
        }
    };
    let [rows, columns] = about.side;
    let (size, channels) = (file.square()?, about.mean.len());
    let known = outline(name)?;
    let called = shown_name(name, dir.as_deref());
    if known.side.is_some_and(|side| side < size) || known.channels.is_some_and(|known| known != channels) {
        let (side, known) = (known.side.unwrap_or(size), known.channels.unwrap_or(channels));
        return Err(Exit::Input(format!(
            "the model reads images of {rows}x{columns}x{channels}, but those of {called} are {side}x{side}x{known}"
        )));
    }
    let usual = Options { watch: &reading, ..Options::USUAL };
    let options = own.map_or(usual, |spec| data_options(spec, &reading));
    let data = open_with(name, dir.as_deref(), &Options { size, channels, ..options });
    reading.end();
    Ok((data?, called))
}

/// For each class of a data set, which class of the model it is.
fn order_of(model: &[String], data: &[String], called: &str) -> Result<Vec<u16>, Exit> {
    let beyond = |of: &[String], other: &[String]| {
        let names: Vec<String> =
            of.iter().filter(|name| !other.contains(name)).map(|name| format!("'{}'", escaped(name))).collect();
        let more = if names.len() > 3 { format!(" and {} more", names.len() - 3) } else { String::new() };
        format!("{}{more}", names.iter().take(3).cloned().collect::<Vec<_>>().join(", "))
    };
    let (missing, unknown) = (beyond(model, data), beyond(data, model));
    let numbers = match model.len() == data.len() {
        true => format!("{} classes each", model.len()),
        false => format!("{} and {} classes", data.len(), model.len()),
    };
    let what = match (missing.as_str(), unknown.as_str()) {
        ("", "") if model.len() == data.len() => {
            let place = |name| model.iter().position(|known| known == name).unwrap_or(0) as u16;
            return Ok(data.iter().map(place).collect());
        }
        ("", "") => "a name stands for several classes".to_owned(),
        (missing, "") => format!("it lacks {missing}"),
        ("", unknown) => format!("the model does not know {unknown}"),
        (missing, unknown) => format!("it lacks {missing}, and the model does not know {unknown}"),
    };
    Err(Exit::Input(format!("{called} and the model have other classes ({numbers}): {what}")))
}

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// The account for people.
fn print(file: &ModelFile, made: &Assessment, called: &str, part: &str, reported: Option<f64>) {
    let model = &file.model;
    let right: usize = (0..made.confusion.len()).map(|k| made.confusion[k][k]).sum();
    let part = if part == "all" { "all images".into() } else { format!("its {part} part") };
    out!("{}", in_words(model));
    out!("{called}, {part}: {} images", grouped(made.n));
    out!("");
    out!("loss      {:.4}", made.loss);
    let is_reported = reported.is_some_and(|reported| (reported * made.n as f64).round() == right as f64);
    let as_reported = if is_reported { ", as reported at the end of the training" } else { "" };
    out!("accuracy  {} ({} of {}){as_reported}", percent(made.accuracy()), grouped(right), grouped(made.n));
    if let Some(top5) = made.top5() {
        out!("top-5     {}", percent(top5));
    }
    if let Some(reported) = reported.filter(|_| !is_reported) {
        say!("note: the training reported an accuracy of {} at its end", percent(reported));
    }
    let names = shown_classes(model);
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max("class".len());
    let numbers = names.len().saturating_sub(1).to_string().len();
    out!("");
    out!("{:>numbers$} {:<width$} {:>9} {:>9}", "", "class", "images", "accuracy");
    for (k, (name, share)) in names.iter().zip(made.per_class()).enumerate() {
        let n: usize = made.confusion[k].iter().sum();
        out!("{k:>numbers$} {name:<width$} {:>9} {:>9}", grouped(n), share.map_or("-".into(), percent));
    }
    if names.len() > MATRIX {
        return;
    }
    out!("");
    out!("Images of the class of a row that were taken for the class of a column:");
    let largest = made.confusion.iter().flatten().max().map_or(1, |n| n.to_string().len()).max(numbers);
    let columns: Vec<String> = (0..names.len()).map(|k| format!(" {k:>largest$}")).collect();
    out!("{:>numbers$} {:<width$}{}", "", "", columns.concat());
    for (k, (name, row)) in names.iter().zip(&made.confusion).enumerate() {
        let row: Vec<String> = row.iter().map(|n| format!(" {n:>largest$}")).collect();
        out!("{k:>numbers$} {name:<width$}{}", row.concat());
    }
}

/// The account for programs.
fn print_json(file: &ModelFile, made: &Assessment, called: &str, part: &str) {
    let classes: Vec<_> = (file.model.about.classes.iter().zip(made.per_class()).zip(&made.confusion))
        .map(|((name, accuracy), row)| json!({ "name": name, "n": row.iter().sum::<usize>(), "accuracy": accuracy }))
        .collect();
    out!(
        "{:#}",
        json!({
            "model": path_text(&file.path), "data": called, "part": part, "n": made.n, "loss": made.loss,
            "accuracy": made.accuracy(), "top5": made.top5(), "classes": classes, "confusion": made.confusion,
        })
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_mapped_by_name_and_others_are_named() {
        let list = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        let order =
            |data: &[&str]| order_of(&list(&["cat", "dog", "cow"]), &list(data), "pets").map_err(|e| e.to_string());
        assert_eq!(order(&["cow", "cat", "dog"]), Ok(vec![2, 0, 1]));
        let refused = |data: &[&str]| order(data).unwrap_err();
        assert_eq!(
            refused(&["cow", "cat", "dogs"]),
            "pets and the model have other classes (3 classes each): it lacks 'dog', and the model does not know 'dogs'"
        );
        assert_eq!(refused(&["cow", "dog"]), "pets and the model have other classes (2 and 3 classes): it lacks 'cat'");
        assert_eq!(
            refused(&["a", "b", "c", "cat", "cow", "d", "dog"]),
            "pets and the model have other classes (7 and 3 classes): the model does not know 'a', 'b', 'c' and 1 more"
        );
    }
}
