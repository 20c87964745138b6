//! A search from Rust: a spec, a run directory, an observer of one's own, and what was found.
//!
//! `cargo run --release -p rdarts --example search`

use std::error::Error;
use std::sync::atomic::AtomicBool;

use rdarts::net::Engine;
use rdarts::run::{Event, RunDir, SearchSpec, Spec};
use rdarts::search::{Found, Search, open_space};
use rdarts::train::{KnownSets, Observer, Outcome, start};

/// What a spec has in place of the preset's values, so that the search takes a second: the keys of `--set`.
const SMALL: [&str; 6] = [
    "data.limit=160",
    "data.valid_limit=64",
    "network.channels=2",
    "network.cells=3",
    "search.epochs=3",
    "search.batch=16",
];

/// Keeps the eigenvalue of every epoch and prints a line for it.
#[derive(Default)]
struct Eigenvalues(Vec<f64>);

impl Observer for Eigenvalues {
    fn event(&mut self, event: &Event) {
        if let Event::Epoch(record) = event {
            println!("Epoch {}: training loss {:.3}, {:?}", record.epoch, record.train_loss, record.eigenvalue);
            self.0.extend(record.eigenvalue);
        }
    }
}

/// What the search found, and the dominant eigenvalue of the alpha-Hessian after each epoch.
pub fn run() -> Result<(Found, Vec<f64>), Box<dyn Error>> {
    let spec = SearchSpec::resolve(Some("demo"), None, &SMALL.map(String::from), &KnownSets)?;
    let space = open_space(&spec.space.name)?;
    let search = Search::new(spec, space, Engine::cpu())?;

    // The directory has everything: the spec, the space, the events, the checkpoints. `rdarts resume` goes on with it, and
    // so does `train::resume`.
    let tmp = tempfile::tempdir()?;
    let mut dir = RunDir::create(&tmp.path().join("run"), &search.spec)?;
    dir.write_space(&search.space.to_toml())?;
    let mut eigenvalues = Eigenvalues::default();
    // Who sets the flag, from a signal or from the observer, interrupts the search: it saves itself first.
    let stop = AtomicBool::new(false);
    match start(&search, &mut dir, &mut eigenvalues, &stop)? {
        Outcome::Finished(found) => Ok((found, eigenvalues.0)),
        Outcome::Interrupted { .. } => unreachable!("nobody sets the flag"),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let (found, eigenvalues) = run()?;
    println!("{}", found.genotype);
    println!("Of epoch {}. {} The eigenvalues: {eigenvalues:?}", found.epoch, found.reason);
    Ok(())
}
