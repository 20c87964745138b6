//! `rdarts test` of a model that estimates disparity.

use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use rdarts_data::shown;
use rdarts_data::stereo::{Pairs, SCENES, StereoOptions, open_with};
use rdarts_net::Engine;
use rdarts_run::{DisparityRobustSpec, DisparityTrainSpec, RunView, Spec};
use rdarts_train::PairSet;
use rdarts_train::disparity::{Assessment, DisparityModel, assess};
use serde_json::json;

use super::Args;
use crate::conduct::count;
use crate::disparities::flags_of;
use crate::disparity_trainings::table;
use crate::exit::{Exit, out};
use crate::model_file::{ModelFile, path_text};
use crate::progress::Reading;

/// The pairs of a test.
struct Tested {
    train: Pairs,
    test: Pairs,
    /// How many of both parts are taken.
    n: [usize; 2],
    halved: bool,
    called: String,
}

/// Tests it.
pub fn run(args: &Args, file: &ModelFile<DisparityModel>, engine: &Engine) -> Result<ExitCode, Exit> {
    let reading = Reading::new(args.json);
    let own = file.run.as_ref().filter(|_| args.data.is_none()).and_then(of_training);
    let tested = match &own {
        Some(spec) => of_run(spec, args, &reading)?,
        None => named(args, file, &reading)?,
    };
    reading.end();
    let model = &file.model;
    let evaluator = model.evaluator(engine);
    let mut total = Assessment::default();
    for (part, pairs, n) in [("train", &tested.train, tested.n[0]), ("test", &tested.test, tested.n[1])] {
        if n == 0 || args.part != "all" && args.part != part {
            continue;
        }
        // Nobody sets it: nothing is lost by Ctrl-C.
        let stop = AtomicBool::new(false);
        // One pair at a time: they may be large, and a pair has work for all threads.
        let made = assess(&evaluator, &model.sizes, (pairs, 0..n, tested.halved), 1, &stop)?.unwrap_or_default();
        total.all.merge(&made.all);
        total.visible.merge(&made.visible);
        (total.n, total.n_masks) = (total.n + made.n, total.n_masks + made.n_masks);
    }
    let called = &tested.called;
    let Some(errors) = total.errors() else {
        return Err(Exit::Input(format!(
            "{called} has no pair with known disparities in its part `{}`{}",
            args.part,
            if args.part == "test" { ": say --part all if all of them are meant" } else { "" }
        )));
    };
    let visible = total.visible_errors();
    if args.json {
        let whole = json!({
            "model": path_text(&file.path), "data": called, "part": args.part, "n": total.n, "errors": errors,
            "visible": visible,
        });
        out!("{whole:#}");
        return Ok(ExitCode::SUCCESS);
    }
    let about = &model.about;
    out!("A network for disparity of {} channels, {} weights", about.channels, model.net.n_parameters());
    let part = if args.part == "all" { "all pairs".into() } else { format!("its {} part", args.part) };
    out!("{called}, {part}{}", if tested.halved { ", at half its size" } else { "" });
    out!("");
    table(&count(total.n, "pair"), &errors, visible.as_ref());
    if own.is_some() && args.part == "test" && about.n_test == Some(total.n) {
        let same = about.test.as_ref().is_some_and(|test| (test.error - errors.error).abs() < 1e-9 * errors.error);
        out!("");
        match (&about.test, same) {
            (_, true) => out!("As reported at the end of the training."),
            (Some(test), false) => out!("The training reported an end-point error of {:.3} px at its end.", test.error),
            (None, false) => {}
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn of_training(run: &RunView) -> Option<DisparityTrainSpec> {
    match run.kind() {
        DisparityTrainSpec::KIND => run.spec().ok(),
        // That of what it chose.
        DisparityRobustSpec::KIND => Some(run.spec::<DisparityRobustSpec>().ok()?.train_spec("", false)),
        _ => None,
    }
}

/// The pairs that the training tested, and those it trained on.
fn of_run(spec: &DisparityTrainSpec, args: &Args, reading: &Reading) -> Result<Tested, Exit> {
    let mut pairs = spec.data.pairs.clone();
    if let Some(dir) = &args.data_dir {
        pairs.dir = dir.display().to_string();
    }
    let called = pairs.name.clone();
    let set = PairSet::open(&pairs, spec.data.test_pairs, reading)?;
    let n_test = match spec.data.test_limit {
        0 => set.test.n(),
        limit => limit.min(set.test.n()),
    };
    Ok(Tested {
        train: (*set.train).clone(),
        test: (*set.test).clone(),
        n: [set.n, n_test],
        halved: set.halved,
        called,
    })
}

/// Those of a set that is named, or that the model names.
fn named(args: &Args, file: &ModelFile<DisparityModel>, reading: &Reading) -> Result<Tested, Exit> {
    let own = &file.model.about.data;
    let (name, dir) = match &args.data {
        Some(data) => flags_of(data, args.data_dir.as_deref())?,
        None if own == SCENES || args.data_dir.is_none() => {
            return Err(Exit::Input("say which pairs to test on: --data NAME or --data DIR".into()));
        }
        None => (own.clone(), args.data_dir.clone()),
    };
    let data = open_with(&name, dir.as_deref(), &StereoOptions { watch: reading, ..StereoOptions::USUAL })?;
    let n = [data.train.n(), data.test.n()];
    let called = match &dir {
        Some(dir) => shown(dir.file_name().map_or(dir.as_path(), std::path::Path::new)),
        None => name,
    };
    Ok(Tested { train: data.train, test: data.test, n, halved: false, called })
}
