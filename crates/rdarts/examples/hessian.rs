//! The exact Hessian of a supernet's loss with respect to alpha: its spectrum, its dominant eigenvalue, and a product beside
//! a finite difference of the gradient.
//!
//! `cargo run --release -p rdarts --example hessian`

use std::error::Error;

use rdarts::net::{AlphaHessian, Alphas, Batch, Engine, Network, Point, SupernetSpec, alpha_gradient};
use rdarts::rng::Stream;
use rdarts::search::hessian::largest_eigenvalue;
use rdarts::search::lanczos::{Dominant, spectrum};
use rdarts::space::Space;
use rdarts::train::images::as_batch;

/// What is known of a Hessian.
pub struct Found {
    /// All eigenvalues, from the largest on.
    pub spectrum: Vec<f64>,
    /// The largest one by itself, with a bound of its error.
    pub dominant: Dominant,
    /// How far H v is from a finite difference, relative to its largest entry.
    pub off: f64,
}

/// The Hessian of a supernet of space S2 with fresh weights, on sixteen of the embedded images.
pub fn run() -> Result<Found, Box<dyn Error>> {
    let data = rdarts::data::open("fashion-mini", None)?;
    let space = Space::builtin("s2")?;
    let net = Network::supernet(SupernetSpec::from_space(&space, 3, 4, data.train.channels, data.classes.len()));
    let (engine, weights) = (Engine::cpu(), net.init(1));
    let mut stream = Stream::new(1, "example", 0);
    let mut normal = |n: usize| -> Vec<f64> { (0..n).map(|_| stream.normal()).collect() };
    let n = net.n_alphas().iter().sum();
    let (alphas, v) = (normal(n), normal(n));

    let images = rdarts::data::eval_batches(&data.train, 0..16, 16, &data.norm()).next().ok_or("no images")??;
    let batch = as_batch(&images, &[]);
    let point = Alphas::from_flat(&net, &alphas);
    // The plain pass is made once, here; each product after it takes a pass forward and a pass back.
    let hessian = AlphaHessian::new(Point { net: &net, engine: &engine, weights: &weights, alphas: &point }, batch);
    let full = hessian.full();
    let dominant = largest_eigenvalue(&hessian, 1e-3, &mut stream);

    // The same network in double precision, where a step may be so short that no relu has its kink on the way: with a wider
    // one a difference is far from the derivative.
    let wide = |values: &[f32]| values.iter().map(|v| f64::from(*v)).collect::<Vec<f64>>();
    let (weights, pixels) = (wide(&weights), wide(&images.images));
    let batch = Batch { images: (&pixels).into(), side: batch.side, targets: batch.targets, noise: &[] };
    let gradient = |eps: f64| {
        let moved: Vec<f64> = alphas.iter().zip(&v).map(|(a, v)| a + eps * v).collect();
        let alphas = Alphas::from_flat(&net, &moved);
        alpha_gradient(Point { net: &net, engine: &engine, weights: &weights, alphas: &alphas }, batch).1.flat()
    };
    let eps = 1e-7;
    let difference = gradient(eps).into_iter().zip(gradient(-eps)).map(|(a, b)| (a - b) / (2.0 * eps));
    let (mut off, mut largest) = (0f64, 0f64);
    for (product, difference) in hessian.apply(&v).into_iter().zip(difference) {
        off = off.max((product - difference).abs());
        largest = largest.max(difference.abs());
    }
    Ok(Found { spectrum: spectrum(full.n, &full.values), dominant, off: off / largest })
}

fn main() -> Result<(), Box<dyn Error>> {
    let Found { spectrum, dominant, off } = run()?;
    println!("The spectrum: {spectrum:.4?}");
    println!(
        "By Lanczos: {:.6}, off by {:.1e} at most ({} products)",
        dominant.value, dominant.bound, dominant.n_products
    );
    println!("H v and a finite difference are {off:.1e} apart, relative to the largest entry");
    Ok(())
}
