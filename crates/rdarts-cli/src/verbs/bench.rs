//! `rdarts bench`: how fast this machine searches and trains.
//!
//! Random images and fresh weights: the work is the same whatever they show. Each row is the median of the steps
//! asked for, after one that warms up; peak memory is the process's resident set while the row ran, with what the
//! allocator still holds of rows before it. The eigenvalue and the full Hessian take the passes that products share with
//! them, a product alone does not. The share of the machine's peak divides the multiply-adds that the
//! derivatives need ([`Cost`]; for a first-order step two forward passes, one backward pass to alpha, one to inputs and
//! weights) by what the same threads reach in a loop of fused multiply-adds on registers, measured in the same run. The
//! share of memory divides the bytes that the passes move, if no cache keeps anything from one pass to the next, by what
//! the same threads move between caches and memory, lines that are written counted twice in both: where caches do keep
//! something it can be more than all of it. Rows of a discrete network are those of `--genotype`: a step of its training
//! (auxiliary head, drop path, gradient, clipping, SGD, running statistics) and its outputs with given statistics. On a card
//! a row also counts launches and the bytes that cross to it and back; the steps make their batches there, as runs do.

mod disparity;
mod peak;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use rdarts_net::{
    AlphaHessian, Alphas, Batch, CardImages, CellNoise, Cost, DiscreteSpec, Engine, Evaluator, Held, InnerStep,
    Network, Point, SupernetSpec, Targets, Truth, Values, Work, alpha_gradient, held_training_gradient,
    held_weight_gradient, unrolled_gradient,
};
use rdarts_rng::Stream;
use rdarts_search::hessian::largest_eigenvalue;
use rdarts_search::open_space;
use rdarts_space::{DisparitySpace, Genotype, Topology};
use rdarts_train::Streams;
use rdarts_train::memory::check_memory;
use rdarts_train::optim::{Adam, Sgd};
use serde_json::{Value, json};

use crate::conduct::{count, set_threads};
use crate::device::{OnDevice, described, launches};
use crate::exit::{Exit, out, say};
use crate::genotypes::{genotype, names};
use crate::progress::duration;
use crate::trainings::millions;

/// How fast this machine searches and trains: seconds, images per second and peak memory of each kind of step
///
/// Measures the search step of first and of second order (exact), a Hessian-vector product, the dominant eigenvalue
/// to 1e-3, the full alpha-Hessian, and of the discrete network of a genotype a step of its training and its outputs for
/// one image and for a batch. Of each it says which share of this machine's floating-point peak it reaches, and
/// which share of the bandwidth of its memory it would use if no cache helped; both are measured afterwards, on a
/// machine that should have nothing else to do. Images per second are those of a batch (of the two that a search step
/// reads) by the seconds. Memory is that of the process while a row ran: a row
/// asked for alone (--only) has none of what others have left. All rows at the default size take about a minute on two
/// cores, those of a larger space several. bench/peer in the source compares the same work with PyTorch.
#[derive(clap::Args)]
pub struct Args {
    /// What the network is for: classification, or disparity, which has the search's rows alone [default: as the space tells]
    #[arg(long, value_enum)]
    task: Option<Task>,
    /// Search space: s1, s2, s3, s4, darts, darts-no-none, tiny, nasbench201, or a TOML file [default: s2]; for disparity dispnet or
    /// autodispnet [default: dispnet]
    #[arg(long)]
    space: Option<String>,
    #[arg(long, help = genotype_help())]
    genotype: Option<String>,
    /// Channels of the first cell [default: 16]; for disparity of the last one [default: 24]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=4096))]
    channels: Option<u32>,
    /// Number of cells [default: 8]; a network for disparity has its own
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    cells: Option<u32>,
    /// Images in a batch [default: 64]; for disparity pairs [default: 4]
    #[arg(long, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    batch: Option<u32>,
    /// Rows and columns of an image [default: 32]; for disparity rows, and half of the columns [default: 64]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=4096))]
    size: Option<u32>,
    /// Threads that compute [default: all processors]
    #[arg(long)]
    threads: Option<usize>,
    #[command(flatten)]
    on: OnDevice,
    /// Times each kind of step is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    steps: u32,
    /// Measure these kinds of work only
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KIND,...")]
    only: Vec<Kind>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What networks are for.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Task {
    Classification,
    Disparity,
}

/// The sizes that were asked for, or the usual ones.
struct Sizes {
    channels: usize,
    batch: usize,
    size: usize,
}

impl Args {
    fn sizes(&self, [channels, batch, size]: [u32; 3]) -> Sizes {
        let or = |asked: Option<u32>, usual: u32| asked.unwrap_or(usual) as usize;
        Sizes { channels: or(self.channels, channels), batch: or(self.batch, batch), size: or(self.size, size) }
    }

    fn asks(&self, kind: Kind) -> bool {
        self.only.is_empty() || self.only.contains(&kind)
    }
}

/// What can be measured.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// Search step, first order
    First,
    /// Search step, second order
    Second,
    /// Hessian-vector product
    Product,
    /// Dominant eigenvalue
    Eigenvalue,
    /// Full alpha-Hessian, once
    Hessian,
    /// Training step of the genotype's network
    Training,
    /// Its outputs for one image
    One,
    /// Its outputs for a batch
    Many,
}

/// One row.
struct Row {
    name: &'static str,
    seconds: Vec<f64>,
    images: usize,
    /// Of one of them.
    cost: Cost,
    peak_bytes: Option<u64>,
    /// Of kernels on a card, see [`launches`].
    launches: Option<Value>,
}

/// Runs the verb.
pub fn run(args: Args) -> Result<ExitCode, Exit> {
    let engine = args.on.engine()?;
    let isa = engine.kernels.isa();
    let threads = set_threads(args.threads)?;
    let is_known = |space: &String| DisparitySpace::NAMES.contains(&space.as_str());
    let told = if args.space.as_ref().is_some_and(is_known) { Task::Disparity } else { Task::Classification };
    if args.task.unwrap_or(told) == Task::Disparity {
        return disparity::run(&args, &engine, threads);
    }
    let (cells, named) = (args.cells.unwrap_or(8) as usize, args.genotype.as_deref().unwrap_or("DARTS_V2"));
    let space = open_space(args.space.as_deref().unwrap_or("s2"))?;
    let Sizes { channels, batch: n, size: side } = args.sizes([16, 64, 32]);
    let net = Network::of_space(&space, SupernetSpec::from_space(&space, cells, channels, 3, 10));
    let asked = |kind| args.asks(kind);
    check_search_memory(&args, &engine, &net, n, [side; 2], "--batch, --channels, --cells or --size")?;
    let genotype = genotype(named, "--genotype")?;
    if !engine.is_cpu() && [space.topology, genotype.topology].contains(&Topology::NasBench201) {
        return Err(Exit::input("networks of the topology nasbench201 compute on the CPU: take --device cpu"));
    }
    let forward = net.macs([side; 2]) as f64 * n as f64;
    let steps = args.steps as usize;
    let n_alphas: usize = net.n_alphas().iter().sum();
    let Searched { mut rows, products, columns } = searched(&args, &engine, &net, n, [side; 2], images(n, side));
    let discrete = Discrete::new([cells, channels, n, side], genotype, &engine);
    let own = &discrete.net.without_auxiliary();
    if asked(Kind::Training) {
        let mut training = discrete.clone();
        let cost = discrete.net.training_cost(n, [side; 2]);
        rows.push(measure(&engine, "training step", steps, n, cost, || training.step(n)));
    }
    for (kind, name, n) in [(Kind::One, "outputs of one image", 1), (Kind::Many, "outputs of a batch", n)] {
        if asked(kind) {
            let evaluator = discrete.evaluator();
            let images = &discrete.images.values[..n * side * side * 3];
            let cost = own.forward_cost(n, [side; 2]);
            rows.push(measure(&engine, name, steps, n, cost, || drop(evaluator.outputs(images, n, [side; 2]))));
        }
    }
    let peak = peak_of(&engine, threads);
    let machine = machine(&engine, threads, peak.as_ref());
    let work = json!({
        "space": space.name, "channels": channels, "cells": cells, "batch": n, "size": side,
        "steps": args.steps, "alphas": n_alphas, "forward_gmac": forward / 1e9, "lanczos_products": products,
        "hessian_products": columns, "genotype": named, "weights": own.n_parameters(),
        "weights_with_auxiliary": discrete.net.n_parameters(), "macs_of_an_image": own.macs([side; 2]),
    });
    if args.json {
        let results: Vec<Value> = rows.iter().map(|r| r.json(peak.as_ref())).collect();
        out!("{:#}", json!({ "machine": machine, "work": work, "results": results }));
        return Ok(ExitCode::SUCCESS);
    }
    out!(
        "space {}, {}, {}, batch {n}, {side}x{side}; {}, {}; forward pass {} GMAC",
        space.name,
        count(channels, "channel"),
        count(cells, "cell"),
        count(threads, "thread"),
        isa.name(),
        digits(forward / 1e9)
    );
    table(&rows, "images/s", peak.as_ref(), &engine, threads);
    if products > 0 {
        out!("The eigenvalue took {} and the passes before the first.", count(products, "product"));
    }
    if columns > 0 {
        out!(
            "The full Hessian of {n_alphas} alphas took {} and the passes before the first: the rows of an edge's operations \
             add up\nto zero, and products with alphas of reduction cells begin at the first such cell.",
            count(columns, "product")
        );
    }
    if asked(Kind::Training) || asked(Kind::One) || asked(Kind::Many) {
        out!(
            "The network of {}: {} weights{}, {} multiply-adds an image.",
            named,
            own.n_parameters(),
            match discrete.net.n_parameters() {
                with if with == own.n_parameters() => String::new(),
                with => format!(" ({with} with the auxiliary head)"),
            },
            millions(own.macs([side; 2]))
        );
    }
    if let Some(row) = rows.first().filter(|_| asked(Kind::First)) {
        let steps = IMAGES.div_ceil(n) * EPOCHS;
        let seconds = row.spread().0 * steps as f64;
        out!(
            "With these settings {EPOCHS} epochs of {IMAGES} images, as in the paper's search on CIFAR-10, {steps} steps of \
             first order,\nwould take {:.1} hours without what is measured after epochs.",
            seconds / 3600.0
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// The rows, and what the machine can do.
fn table(rows: &[Row], rate: &str, peak: Option<&peak::Peak>, engine: &Engine, threads: usize) {
    match (peak, &engine.gpu) {
        (Some(peak), _) => {
            out!(
                "this machine: {:.0} GMAC/s on registers, {:.1} GB/s to and from memory",
                peak.macs / 1e9,
                peak.bytes / 1e9
            );
        }
        (None, gpu) => out!("computed on {}", gpu.as_ref().map_or_else(String::new, |gpu| described(gpu))),
    }
    if let Some(ran) = peak.and_then(|peak| peak.threads_ran).filter(|ran| *ran < QUIET) {
        out!(
            "warning: threads waited for a processor {:.0} % of their time, as {}: times and shares are not those of the \
             machine alone",
            100.0 * (1.0 - ran),
            match std::thread::available_parallelism().map_or(threads, usize::from) {
                processors if processors < threads => format!("there are {processors} for {threads}"),
                _ => "other programs used them".into(),
            }
        );
    }
    out!("");
    out!(
        "{:<30} {:>10} {:>20} {:>11} {:>11} {:>9} {:>8} {:>8} {:>10}",
        "",
        "median s",
        "fastest to slowest",
        rate,
        "peak MB",
        "GMAC",
        "of peak",
        "GB",
        "of memory"
    );
    for row in rows {
        row.print(peak);
    }
    out!("");
    if peak.is_some() {
        out!(
            "Of peak: the multiply-adds that a row needs against the registers' rate. Of memory: the bytes that its passes move"
        );
        out!("where no cache keeps anything from one to the next, against the memory's rate.");
        out!("");
    }
    rows.iter().for_each(Row::print_launches);
}

/// The rows of a search.
struct Searched {
    rows: Vec<Row>,
    /// Hessian products that the eigenvalue took, and those of a full Hessian.
    products: usize,
    columns: usize,
}

/// Refuses what would need more memory than there is.
fn check_search_memory(
    args: &Args,
    engine: &Engine,
    net: &Network,
    n: usize,
    side: [usize; 2],
    flags: &str,
) -> Result<(), Exit> {
    let largest = if args.asks(Kind::Second) {
        Work::SecondOrderStep
    } else if args.asks(Kind::Product) || args.asks(Kind::Eigenvalue) || args.asks(Kind::Hessian) {
        Work::HessianProduct
    } else {
        Work::Gradient
    };
    check_memory(engine, net.memory_estimate(n, side, largest), flags)?;
    Ok(())
}

/// Measures those that were asked for, on batches of `n`.
fn searched(
    args: &Args,
    engine: &Engine,
    net: &Network,
    n: usize,
    side: [usize; 2],
    mut make: impl FnMut(&mut Stream) -> Images,
) -> Searched {
    let steps = args.steps as usize;
    let (mut rows, mut products, mut columns) = (Vec::new(), 0, 0);
    // Gone before the next rows, whose memory it would count as.
    if args.asks(Kind::First) || args.asks(Kind::Second) {
        let mut world = World::new(net, engine, &mut make);
        for (kind, name, second) in
            [(Kind::First, "search step, first order", false), (Kind::Second, "search step, second order", true)]
        {
            if args.asks(kind) {
                world.forget();
                rows.push(measure(engine, name, steps, n, net.step_cost(n, side, second), || world.step(second)));
            }
        }
    }
    // A new one: steps move the weights, and with them the number of products that an eigenvalue takes.
    let mut world = World::new(net, engine, make);
    let [begin, product] = net.hessian_cost(n, side);
    if args.asks(Kind::Product) {
        let (hessian, mut stream) = (world.hessian(), Stream::new(2, "bench", 0));
        let v: Vec<f64> = world.alphas.iter().map(|_| stream.normal()).collect();
        rows.push(measure(engine, "Hessian-vector product", steps, n, product, || drop(hessian.apply(&v))));
    }
    if args.asks(Kind::Eigenvalue) {
        world.forget();
        let row = measure(engine, "dominant eigenvalue to 1e-3", steps, n, Cost::default(), || {
            products = largest_eigenvalue(&world.hessian(), 1e-3, &mut Stream::new(1, "lanczos", 0)).n_products;
        });
        rows.push(Row { cost: begin + product.times(products as u64), ..row });
    }
    if args.asks(Kind::Hessian) {
        world.forget();
        let cost = begin + net.full_hessian_cost(n, side);
        rows.push(measure(engine, "full alpha-Hessian", 1, n, cost, || columns = world.hessian().full().n_products));
    }
    Searched { rows, products, columns }
}

/// What the machine can do at most. Last of all: its memory would count as the steps'. A card has other limits.
fn peak_of(engine: &Engine, threads: usize) -> Option<peak::Peak> {
    engine.is_cpu().then(|| peak::measure(&engine.kernels, threads))
}

fn machine(engine: &Engine, threads: usize, peak: Option<&peak::Peak>) -> Value {
    json!({
        "program": env!("CARGO_PKG_VERSION"), "isa": engine.kernels.isa().name(), "threads": threads,
        "device": engine.place(), "card": engine.gpu.as_ref().map(|gpu| described(gpu)),
        "threads_ran": peak.and_then(|peak| peak.threads_ran),
        "peak_gmac_per_s": peak.map(|peak| peak.macs / 1e9), "bandwidth_gb_per_s": peak.map(|peak| peak.bytes / 1e9),
    })
}

/// Threads that ran less of the time that they could were not alone.
const QUIET: f64 = 0.9;

/// The paper's search: images that train the weights, and epochs.
const IMAGES: usize = 25_000;
const EPOCHS: usize = 50;

/// Everything a search step moves.
struct World<'a> {
    net: &'a Network,
    engine: Engine,
    weights: Held,
    alphas: Vec<f32>,
    sgd: Sgd,
    adam: Adam,
    /// For the weights and for the alphas.
    train: Images,
    valid: Images,
}

/// A batch of noise, and what it should come out as.
#[derive(Clone)]
struct Images {
    values: Vec<f32>,
    side: [usize; 2],
    truth: Labels,
    /// On a card, which makes batches of bytes as in a run.
    on_card: Option<Arc<CardImages>>,
}

#[derive(Clone)]
enum Labels {
    Classes(Vec<u32>),
    Disparity(Truth),
}

impl Images {
    /// Puts images to be classified on the card, if there is one.
    fn place(&mut self, engine: &Engine) {
        if engine.is_cpu() || !matches!(self.truth, Labels::Classes(_)) {
            return;
        }
        let bytes: Vec<u8> = self.values.iter().map(|v| (128.0 + 50.0 * v) as u8).collect();
        let values = [std::array::from_fn(|byte| (byte as f32 - 128.0) / 50.0); 3];
        let images = CardImages::upload(engine, &bytes, &values, [self.side[0], self.side[1], 3]);
        self.on_card = images.map(Arc::new);
    }

    /// A batch that a card makes.
    fn made(&self) -> Option<Held> {
        let Labels::Classes(labels) = &self.truth else { return None };
        let records: Vec<[u32; 8]> = (0..).take(labels.len()).map(|i| [i, 4, 4, i % 2, 0, 0, 0, 0]).collect();
        Some(self.on_card.as_ref()?.make(&records, 4))
    }

    fn batch(&self) -> Batch<'_, f32> {
        self.batch_of(None)
    }

    fn batch_of<'a>(&'a self, made: Option<&'a Held>) -> Batch<'a, f32> {
        let targets = match &self.truth {
            Labels::Classes(labels) => Targets::Labels(labels),
            Labels::Disparity(truth) => Targets::Disparity(truth),
        };
        let images = made.map_or_else(|| (&self.values).into(), Into::into);
        Batch { images, side: self.side, targets, noise: &[] }
    }
}

/// Images to be classified.
fn images(n: usize, side: usize) -> impl FnMut(&mut Stream) -> Images {
    move |stream| {
        let values = (0..n * side * side * 3).map(|_| stream.normal() as f32).collect();
        let labels = (0..n).map(|_| stream.below(10) as u32).collect();
        Images { values, side: [side; 2], truth: Labels::Classes(labels), on_card: None }
    }
}

impl<'a> World<'a> {
    fn new(net: &'a Network, engine: &Engine, mut make: impl FnMut(&mut Stream) -> Images) -> Self {
        let mut stream = Stream::new(1, "bench", 0);
        let (mut train, mut valid) = (make(&mut stream), make(&mut stream));
        [&mut train, &mut valid].into_iter().for_each(|images| images.place(engine));
        let weights = Held::from(net.init(1));
        let n_alphas = net.n_alphas().iter().sum();
        let alphas = (0..n_alphas).map(|_| 1e-3 * stream.normal() as f32).collect();
        let sgd = Sgd::new(weights.len(), 0.9, 3e-4);
        Self { net, engine: engine.apart(), weights, alphas, sgd, adam: Adam::new(n_alphas, 3e-4, 1e-3), train, valid }
    }

    /// Frees what the row before has left.
    fn forget(&mut self) {
        self.engine = self.engine.apart();
    }

    fn network_alphas(&self) -> Alphas {
        Alphas::from_flat(self.net, &self.alphas.iter().map(|a| f64::from(*a)).collect::<Vec<_>>())
    }

    /// Alpha step, then weight step, with their optimisers, as `search` makes them.
    fn step(&mut self, second: bool) {
        const LR: f64 = 0.025;
        for held in [&mut self.weights, &mut self.sgd.buffer] {
            held.place(&self.engine, || self.net.weight_parts());
        }
        let alphas = self.network_alphas();
        let at = Point { net: self.net, engine: &self.engine, weights: &self.weights, alphas: &alphas };
        let made = [self.train.made(), self.valid.made()];
        let (train, valid) = (self.train.batch_of(made[0].as_ref()), self.valid.batch_of(made[1].as_ref()));
        let (_, gradient) = if second {
            let inner = InnerStep { xi: LR, l2: 3e-4, momentum: 0.9, buffer: Some(self.sgd.buffer.view()) };
            unrolled_gradient(at, train, valid, inner)
        } else {
            alpha_gradient(at, valid)
        };
        let gradient: Vec<f32> = gradient.flat().iter().map(|g| *g as f32).collect();
        self.adam.step(&mut self.alphas, &gradient);
        let alphas = self.network_alphas();
        let at = Point { net: self.net, engine: &self.engine, weights: &self.weights, alphas: &alphas };
        let (_, mut gradient) = held_weight_gradient(at, train);
        self.sgd.clipped_step(&mut self.weights, &mut gradient, LR, 5.0);
        give_back(&self.engine, gradient);
    }

    fn hessian(&self) -> AlphaHessian<'static> {
        let alphas = self.network_alphas();
        let at = Point { net: self.net, engine: &self.engine, weights: &self.weights, alphas: &alphas };
        AlphaHessian::new(at, self.valid.batch())
    }
}

/// A discrete network and all that a step of its training moves.
#[derive(Clone)]
struct Discrete {
    net: Network,
    engine: Engine,
    weights: Held,
    running: Held,
    sgd: Sgd,
    images: Images,
    /// Drop-path factors of an epoch in the middle of a training.
    noise: Vec<Arc<CellNoise>>,
}

impl Discrete {
    fn new([cells, c, n, side]: [usize; 4], genotype: Genotype, engine: &Engine) -> Self {
        let auxiliary = genotype.topology == Topology::Darts;
        let net = Network::discrete(&DiscreteSpec {
            genotype,
            cells,
            reductions: Vec::new(),
            c,
            c_image: 3,
            classes: 10,
            auxiliary,
        });
        let mut stream = Stream::new(1, "bench", 0);
        let mut images = images(n, side)(&mut stream);
        images.place(engine);
        let (weights, running) = (Held::from(net.init(1)), Held::from(net.init_running()));
        let sgd = Sgd::new(weights.len(), 0.9, 3e-4);
        let noise = Streams::new(1, 0).noise(&net, 0.1, "drop-path", 0, n);
        let engine = engine.apart();
        Self { net, engine, weights, running, sgd, images, noise }
    }

    fn step(&mut self, n: usize) {
        let made = self.images.made();
        let batch = Batch { noise: &self.noise, ..self.images.batch_of(made.as_ref()) };
        assert_eq!(n, batch.targets.n());
        for held in [&mut self.weights, &mut self.sgd.buffer] {
            held.place(&self.engine, || self.net.weight_parts());
        }
        self.running.place(&self.engine, || self.net.running_parts());
        let mut made = held_training_gradient(&self.net, &self.engine, &self.weights, batch, 0.4);
        self.sgd.clipped_step(&mut self.weights, &mut made.weights, 0.025, 5.0);
        give_back(&self.engine, made.weights);
        made.statistics.lead(&mut self.running, 0.9);
    }

    fn evaluator(&self) -> Evaluator<f32> {
        let running: Vec<f64> = self.running.iter().map(|v| f64::from(*v)).collect();
        Evaluator::discrete(&self.net, &self.engine, &self.weights, &running)
    }
}

/// A gradient's memory, for the next step to take.
fn give_back(engine: &Engine, gradient: Held) {
    if engine.is_cpu() {
        engine.kernels.workspace().give_back(gradient.into_vec());
    }
}

/// A genotype by its name or from a file.
fn genotype_help() -> String {
    format!(
        "Network of the training and output rows: a genotype, a file or run directory with one, or {} [default: DARTS_V2]",
        names()
    )
}

/// Times `body`, after one run that warms up unless it is asked for once.
fn measure(
    engine: &Engine,
    name: &'static str,
    steps: usize,
    images: usize,
    cost: Cost,
    mut body: impl FnMut(),
) -> Row {
    // Writing 5 sets the peak of the resident set back to its present size (Linux).
    let can_measure = std::fs::write("/proc/self/clear_refs", "5").is_ok();
    if steps > 1 {
        let begin = Instant::now();
        body();
        let left = begin.elapsed().as_secs_f64() * steps as f64;
        if left > 10.0 {
            // The first run is the slowest.
            say!("{name}: {steps} times, at most about {}", duration(left));
        }
    }
    let seconds = (0..steps)
        .map(|_| {
            let begin = Instant::now();
            body();
            begin.elapsed().as_secs_f64()
        })
        .collect::<Vec<f64>>();
    let peak_bytes = peak_resident().filter(|_| can_measure);
    // What is measured once is too long to be done again.
    let launches = if steps > 1 { launches(engine, body) } else { None };
    let row = Row { name, seconds, images, cost, peak_bytes, launches };
    // The table comes last, as its shares do: this says what is going on.
    let of = if steps > 1 { format!(", the median of {steps}") } else { String::new() };
    say!("{name}: {} s{of}", digits(row.spread().0));
    row
}

/// With at least three digits that count, down to a billionth.
fn digits(v: f64) -> String {
    let before_point = if v > 0.0 { v.log10().floor() as i32 + 1 } else { 1 };
    let behind = if before_point > 0 { 4 - before_point } else { 4.max(3 - before_point) };
    format!("{v:.*}", behind.clamp(0, 9) as usize)
}

/// Bytes of VmHWM.
fn peak_resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

impl Row {
    /// (median, fastest, slowest).
    fn spread(&self) -> (f64, f64, f64) {
        let mut s = self.seconds.clone();
        s.sort_by(f64::total_cmp);
        let middle = s.len() / 2;
        let median = if s.len() % 2 == 1 { s[middle] } else { 0.5 * (s[middle - 1] + s[middle]) };
        (median, s[0], s[s.len() - 1])
    }

    /// Of the multiply-adds and of the bytes that the machine could do in this time.
    fn shares(&self, peak: Option<&peak::Peak>) -> [Option<f64>; 2] {
        let seconds = self.spread().0;
        let share = |done: u64, most: f64| Some(done as f64 / seconds / most);
        peak.map_or([None; 2], |peak| [share(self.cost.macs, peak.macs), share(self.cost.bytes, peak.bytes)])
    }

    fn json(&self, peak: Option<&peak::Peak>) -> Value {
        let ((median, fastest, slowest), [of_peak, of_memory]) = (self.spread(), self.shares(peak));
        json!({
            "name": self.name, "seconds": median, "fastest": fastest, "slowest": slowest, "n": self.seconds.len(),
            "images_per_second": self.images as f64 / median, "peak_bytes": self.peak_bytes,
            "share_of_peak": of_peak, "share_of_bandwidth": of_memory,
            "gmac": self.cost.macs as f64 / 1e9, "bytes": self.cost.bytes,
            "launches": self.launches,
        })
    }

    fn print(&self, peak: Option<&peak::Peak>) {
        let (median, fastest, slowest) = self.spread();
        let [gmac, gb] = [self.cost.macs, self.cost.bytes].map(|v| v as f64 / 1e9);
        let [of_peak, of_memory] = self.shares(peak).map(|s| s.map_or("-".into(), |s| format!("{:.0} %", 100.0 * s)));
        out!(
            "{:<30} {:>10} {:>20} {:>11.0} {:>11} {:>9} {of_peak:>8} {:>8} {of_memory:>10}",
            self.name,
            digits(median),
            format!("{} to {}", digits(fastest), digits(slowest)),
            self.images as f64 / median,
            self.peak_bytes.map_or("-".into(), |b| format!("{:.0}", b as f64 / 1e6)),
            digits(gmac),
            digits(gb),
        );
    }

    /// How many kernels it launched on a card, and which of them took most of its time.
    fn print_launches(&self) {
        let Some(all) = &self.launches else { return };
        let time = |of: &Value| of["seconds"].as_f64().map_or(String::new(), |s| format!(", {:.2} ms", 1e3 * s));
        let crossing = |way: &str| all[way].as_u64().unwrap_or(0) as f64 / 1e3;
        out!(
            "{}: {} launches{} by the card's clock; {:.1} kB go up to the card and {:.1} kB come down",
            self.name,
            all["all"],
            time(all),
            crossing("bytes_up"),
            crossing("bytes_down")
        );
        let mut kernels: Vec<(&String, &Value)> = all["kernels"].as_object().into_iter().flatten().collect();
        let weight = |of: &Value| (of["seconds"].as_f64().unwrap_or(0.0), of["n"].as_u64());
        kernels.sort_by(|a, b| weight(b.1).partial_cmp(&weight(a.1)).unwrap_or(std::cmp::Ordering::Equal));
        for (name, of) in kernels.iter().take(KERNELS) {
            out!("  {:>5} {name}{}", of["n"].as_u64().unwrap_or(0), time(of));
        }
    }
}

/// The kernels that are named.
const KERNELS: usize = 12;

#[cfg(test)]
mod tests {
    use super::digits;

    #[test]
    fn at_least_three_digits_count() {
        for (v, shown) in [
            (0.0, "0.000"),
            (0.000_123_4, "0.000123"),
            (0.0123, "0.0123"),
            (0.574, "0.5740"),
            (8.079, "8.079"),
            (31.35, "31.35"),
            (1234.5, "1234"),
            (43210.0, "43210"),
        ] {
            assert_eq!(digits(v), shown);
        }
    }
}
