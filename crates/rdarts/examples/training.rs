//! A training from scratch: a genotype, its network, and the model that comes out, read again from its file.
//!
//! `cargo run --release -p rdarts --example training`

use std::error::Error;
use std::sync::atomic::AtomicBool;

use rdarts::net::Engine;
use rdarts::run::{RunDir, Spec, TrainSpec};
use rdarts::space::published;
use rdarts::train::training::assess;
use rdarts::train::{KnownSets, Model, Outcome, Training, start};

/// What a spec has in place of the preset's values, so that the training takes seconds.
const SMALL: [&str; 5] =
    ["network.channels=4", "network.cells=3", "data.limit=640", "train.epochs=3", "train.batch=32"];

/// The test accuracy that the training reports, and that of the model that was read from its file.
pub fn run() -> Result<(f64, f64), Box<dyn Error>> {
    // Or what a search has found.
    let genotype = published("DARTS_V2")?;
    let keys = [vec![format!("network.genotype=\"{genotype}\"")], SMALL.map(String::from).to_vec()].concat();
    let spec = TrainSpec::resolve(Some("train-demo"), None, &keys, &KnownSets)?;
    let engine = Engine::cpu();
    let training = Training::new(spec, engine.clone())?;
    let tmp = tempfile::tempdir()?;
    let mut dir = RunDir::create(&tmp.path().join("run"), &training.spec)?;
    let stop = AtomicBool::new(false);
    let Outcome::Finished(trained) = start(&training, &mut dir, &mut (), &stop)? else {
        unreachable!("nobody sets the flag");
    };

    // The file has all that is needed to use the network: its wiring, the names of the classes, the normalization.
    let model = Model::load(&dir.view().model_path())?;
    let data = rdarts::data::open(&model.about.data, None)?;
    assert!(model.about.is_normalized_as(&data));
    let (evaluator, range) = (model.evaluator(&engine), 0..data.test.n);
    let test = assess(&evaluator, (&data.test, range), 100, &data.norm(), data.classes.len(), &stop)?;
    Ok((trained.finished.test_accuracy, test.ok_or("nobody sets the flag")?.accuracy()))
}

fn main() -> Result<(), Box<dyn Error>> {
    let (reported, again) = run()?;
    println!("Test accuracy {reported:.3}; of the model that was read again {again:.3}");
    Ok(())
}
