//! A card that is lost in the middle of an epoch: in a process of its own, since nothing computes on it afterwards.
#![cfg(feature = "gpu")]

use std::sync::atomic::AtomicBool;

use rdarts_net::Engine;
use rdarts_net::devices::lose_all;
use rdarts_run::{RunDir, SearchSpec, Spec};
use rdarts_search::{Search, open_space};
use rdarts_train::{KnownSets, Observer, Outcome, Progress, TrainError, resume, start};

#[path = "../../../tests/engine.rs"]
mod engine;

#[path = "../../../tests/skip.rs"]
mod skip;

/// Loses the card in the third step of the second epoch.
struct Losing;

impl Observer for Losing {
    fn step(&mut self, progress: &Progress) {
        if (progress.epoch, progress.step) == (1, 2) {
            lose_all();
        }
    }
}

#[test]
fn the_run_ends_with_a_sentence_and_goes_on_from_its_checkpoint() {
    if std::env::var_os("RDARTS_TEST_DEVICE").is_none() {
        return skip::skip("RDARTS_TEST_DEVICE unset", "it names the graphics card to test, such as gpu:0");
    }
    let keys = [
        "data.limit=128",
        "data.valid_limit=32",
        "network.channels=4",
        "network.cells=3",
        "search.method=\"darts\"",
        "search.epochs=2",
        "search.batch=16",
        "hessian.every=0",
        "hessian.batches=1",
        "eval.oneshot=false",
        "eval.child=false",
    ];
    let search = |engine: Engine| {
        let keys: Vec<String> = keys.iter().map(|key| key.to_string()).collect();
        let spec = SearchSpec::resolve(Some("demo"), None, &keys, &KnownSets).unwrap();
        Search::new(spec, open_space("s2").unwrap(), engine).unwrap()
    };
    let tmp = tempfile::tempdir().unwrap();
    let on_card = search(engine::engine::<f32>());
    let mut dir = RunDir::create(&tmp.path().join("run"), &on_card.spec).unwrap();
    let lost = start(&on_card, &mut dir, &mut Losing, &AtomicBool::new(false)).unwrap_err();
    let TrainError::Failed(sentence) = lost else { panic!("{lost:?}") };
    assert!(sentence.starts_with("the graphics card gpu:0 ("), "{sentence}");
    assert!(sentence.contains(") failed (it was lost, as by a reset of its driver): "), "{sentence}");
    assert!(sentence.contains("the last checkpoint is whole, and `rdarts resume` goes on from it"), "{sentence}");
    println!("{sentence}");
    // After the first epoch, on the CPU.
    let path = dir.view().path().to_path_buf();
    drop(dir);
    let mut dir = RunDir::open::<SearchSpec>(&path).unwrap();
    let outcome = resume(&search(Engine::cpu()), &mut dir, &mut (), &AtomicBool::new(false), &mut |_| {}).unwrap();
    assert!(matches!(outcome, Outcome::Finished(_)));
    let devices: Vec<String> = dir.view().timings().unwrap().into_iter().map(|timing| timing.device).collect();
    assert!(devices[0].starts_with("gpu:") && devices[1] == "cpu", "{devices:?}");
}
