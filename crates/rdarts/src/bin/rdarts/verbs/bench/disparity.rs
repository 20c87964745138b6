//! The rows of a search for disparity, on pairs of noise.

use std::process::ExitCode;

use rdarts::net::disparity::DisparitySpec;
use rdarts::net::{Cost, Engine, Network, Truth, Work};
use rdarts::rng::Stream;
use rdarts::search::disparity::open_disparity_space;
use rdarts::search::hessian::largest_eigenvalue;
use rdarts::train::memory::check_memory;
use serde_json::{Value, json};

use super::{Args, Images, Kind, Labels, Sizes, World, digits, measure, peak, table};
use crate::conduct::count;
use crate::exit::{Exit, out};

/// Measures what was asked for.
pub fn run(args: &Args, engine: &Engine, threads: usize) -> Result<ExitCode, Exit> {
    if !engine.is_cpu() {
        return Err(Exit::Input("bench measures a search for disparity on the CPU alone; leave --device out".into()));
    }
    for (is_given, flag) in [(args.genotype.is_some(), "--genotype"), (args.cells.is_some(), "--cells")] {
        if is_given {
            return Err(Exit::Input(format!(
                "{flag} is of classification: --task disparity measures the search's network, whose cells are fixed"
            )));
        }
    }
    if let Some(kind) = args.only.iter().find(|kind| matches!(kind, Kind::Training | Kind::One | Kind::Many)) {
        let kind = clap::ValueEnum::to_possible_value(kind).map_or(String::new(), |v| v.get_name().to_string());
        return Err(Exit::Input(format!("--task disparity has no row {kind}; it has those of the search")));
    }
    let space = open_disparity_space(args.space.as_deref().unwrap_or("dispnet"))?;
    let Sizes { channels, batch: n, size } = args.sizes([24, 4, 64]);
    let side = [size, 2 * size];
    let spec = DisparitySpec::search(space.clone(), channels, side[1]);
    spec.check_side(side).map_err(|why| Exit::Input(format!("--size {size}: {why}")))?;
    let net = Network::disparity(&spec);
    let largest = if args.asks(Kind::Second) {
        Work::SecondOrderStep
    } else if args.asks(Kind::Product) || args.asks(Kind::Eigenvalue) || args.asks(Kind::Hessian) {
        Work::HessianProduct
    } else {
        Work::Gradient
    };
    let needed = net.memory_estimate(n, side, largest);
    check_memory(engine, needed, "--batch, --channels or --size")?;
    let pairs = |stream: &mut Stream| Images {
        values: (0..n * side[0] * side[1] * 6).map(|_| stream.uniform() as f32 - 0.4).collect(),
        side,
        truth: Labels::Disparity(Truth {
            side,
            disparity: (0..n * side[0] * side[1]).map(|_| 16.0 * stream.uniform() as f32).collect(),
            levels: spec.levels(),
        }),
        on_card: None,
    };
    let (steps, n_alphas) = (args.steps as usize, net.n_alphas().iter().sum::<usize>());
    let (mut rows, mut products, mut columns) = (Vec::new(), 0, 0);
    let mut world = World::new(&net, engine, pairs);
    for (kind, name, second) in
        [(Kind::First, "search step, first order", false), (Kind::Second, "search step, second order", true)]
    {
        if args.asks(kind) {
            world.forget();
            rows.push(measure(engine, name, steps, n, net.step_cost(n, side, second), || world.step(second)));
        }
    }
    let mut world = World::new(&net, engine, pairs);
    let [begin, product] = net.hessian_cost(n, side);
    if args.asks(Kind::Product) {
        let (hessian, mut stream) = (world.hessian(), Stream::new(2, "bench", 0));
        let v: Vec<f64> = (0..n_alphas).map(|_| stream.normal()).collect();
        rows.push(measure(engine, "Hessian-vector product", steps, n, product, || drop(hessian.apply(&v))));
    }
    if args.asks(Kind::Eigenvalue) {
        world.forget();
        let mut row = measure(engine, "dominant eigenvalue to 1e-3", steps, n, Cost::default(), || {
            products = largest_eigenvalue(&world.hessian(), 1e-3, &mut Stream::new(1, "lanczos", 0)).n_products;
        });
        row.cost = begin + product.times(products as u64);
        rows.push(row);
    }
    if args.asks(Kind::Hessian) {
        world.forget();
        let cost = begin + net.full_hessian_cost(n, side);
        rows.push(measure(engine, "full alpha-Hessian", 1, n, cost, || columns = world.hessian().full().n_products));
    }
    let peak = peak::measure(&engine.kernels, threads);
    let forward = net.forward_cost(n, side).macs as f64 / 1e9;
    if args.json {
        let results: Vec<Value> = rows.iter().map(|row| row.json(Some(&peak))).collect();
        let machine = json!({
            "program": env!("CARGO_PKG_VERSION"), "isa": engine.kernels.isa().name(), "threads": threads,
            "device": engine.place(), "threads_ran": peak.threads_ran, "peak_gmac_per_s": peak.macs / 1e9,
            "bandwidth_gb_per_s": peak.bytes / 1e9,
        });
        let work = json!({
            "task": "disparity", "space": space.name, "channels": channels, "batch": n, "height": side[0],
            "width": side[1], "steps": args.steps, "alphas": n_alphas, "weights": net.n_parameters(),
            "forward_gmac": forward, "lanczos_products": products, "hessian_products": columns,
        });
        out!("{:#}", json!({ "machine": machine, "work": work, "results": results }));
        return Ok(ExitCode::SUCCESS);
    }
    out!(
        "disparity, space {}, {}, {n} pairs of {}x{}; {}, {}; forward pass {} GMAC",
        space.name,
        count(channels, "channel"),
        side[1],
        side[0],
        count(threads, "thread"),
        engine.kernels.isa().name(),
        digits(forward)
    );
    table(&rows, "pairs/s", Some(&peak), engine, threads);
    Ok(ExitCode::SUCCESS)
}
