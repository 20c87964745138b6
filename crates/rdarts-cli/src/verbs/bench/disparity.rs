//! The rows of a search for disparity, on pairs of noise.

use std::process::ExitCode;

use rdarts_net::disparity::DisparitySpec;
use rdarts_net::{Engine, Network, Truth};
use rdarts_rng::Stream;
use rdarts_search::disparity::open_disparity_space;
use serde_json::{Value, json};

use super::{
    Args, Images, Kind, Labels, Searched, Sizes, check_search_memory, digits, machine, peak_of, searched, table,
};
use crate::conduct::count;
use crate::exit::{Exit, out};

/// Measures what was asked for.
pub fn run(args: &Args, engine: &Engine, threads: usize) -> Result<ExitCode, Exit> {
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
    check_search_memory(args, engine, &net, n, side, "--batch, --channels or --size")?;
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
    let Searched { rows, products, columns } = searched(args, engine, &net, n, side, pairs);
    let peak = peak_of(engine, threads);
    let forward = net.forward_cost(n, side).macs as f64 / 1e9;
    if args.json {
        let results: Vec<Value> = rows.iter().map(|row| row.json(peak.as_ref())).collect();
        let machine = machine(engine, threads, peak.as_ref());
        let work = json!({
            "task": "disparity", "space": space.name, "channels": channels, "batch": n, "height": side[0],
            "width": side[1], "steps": args.steps, "alphas": net.n_alphas().iter().sum::<usize>(), "weights": net.n_parameters(),
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
    table(&rows, "pairs/s", peak.as_ref(), engine, threads);
    Ok(ExitCode::SUCCESS)
}
