//! An operation of one's own in a supernet: its value and its tangent in Burn's tensors; its ways back are the tape's.
//!
//! The operation is Swish with a learned slope for each channel (Ramachandran et al. 2017), behind the stem.
//!
//! `cargo run --release -p rdarts --example operation`

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rdarts::kernels::spec::WeightKind;
use rdarts::net::burn::tensor::{Tensor, activation::sigmoid};
use rdarts::net::{Engine, Module, Operation};
use rdarts::run::{Event, RunDir, SearchSpec, Spec};
use rdarts::search::{Found, Search, open_space};
use rdarts::train::{KnownSets, Observer, Outcome, start};

/// y = x s(b x), s the logistic function, b one number for each channel.
#[derive(Debug)]
struct Swish {
    channels: usize,
}

impl Swish {
    /// (c) as (1, 1, 1, c).
    fn per_channel(&self, b: Tensor<1>) -> Tensor<4> {
        b.reshape([1, 1, 1, self.channels])
    }
}

impl Operation for Swish {
    fn weights(&self) -> Vec<(String, WeightKind)> {
        vec![("slope".into(), WeightKind::Vector { c: self.channels, ones: true })]
    }

    fn value(&self, x: Tensor<4>, b: Tensor<1>) -> Tensor<4> {
        x.clone() * sigmoid(x * self.per_channel(b))
    }

    /// y' = x' s + x s (1 - s) (b x' + b' x).
    fn tangent(&self, x: Tensor<4>, x_dot: Tensor<4>, b: Tensor<1>, b_dot: Tensor<1>) -> Tensor<4> {
        let [b, b_dot] = [b, b_dot].map(|b| self.per_channel(b));
        let s = sigmoid(x.clone() * b.clone());
        let inner = b * x_dot.clone() + b_dot * x.clone();
        x_dot * s.clone() + x * s.clone() * (1.0 - s) * inner
    }
}

/// Keeps the eigenvalue of every epoch.
struct Eigenvalues(Vec<f64>);

impl Observer for Eigenvalues {
    fn event(&mut self, event: &Event) {
        if let Event::Epoch(record) = event {
            self.0.extend(record.eigenvalue);
        }
    }
}

/// What a spec has in place of the preset's values. Second order and eigenvalues need second derivatives, in which the
/// operation's tangent has its part.
const SMALL: [&str; 8] = [
    "data.limit=64",
    "data.valid_limit=32",
    "network.channels=2",
    "network.cells=3",
    "search.epochs=2",
    "search.batch=16",
    "search.order=second",
    "hessian.batches=1",
];

/// What the search found, and the dominant eigenvalue of the alpha-Hessian after each epoch.
pub fn run() -> Result<(Found, Vec<f64>), Box<dyn Error>> {
    let spec = SearchSpec::resolve(Some("demo"), None, &SMALL.map(String::from), &KnownSets)?;
    let space = open_space(&spec.space.name)?;
    let mut search = Search::new(spec, space, Engine::cpu())?;
    let Module::Stem(stem) = search.net.nodes()[0].module else { unreachable!("a supernet begins with its stem") };
    search.net = search.net.with(Arc::new(Swish { channels: stem.c_out }), 0, "own.");

    let tmp = tempfile::tempdir()?;
    let mut dir = RunDir::create(&tmp.path().join("run"), &search.spec)?;
    let mut eigenvalues = Eigenvalues(Vec::new());
    match start(&search, &mut dir, &mut eigenvalues, &AtomicBool::new(false))? {
        Outcome::Finished(found) => Ok((found, eigenvalues.0)),
        Outcome::Interrupted { .. } => unreachable!("nobody sets the flag"),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let (found, eigenvalues) = run()?;
    println!("{}", found.genotype);
    println!("{} The eigenvalues: {eigenvalues:?}", found.reason);
    Ok(())
}
