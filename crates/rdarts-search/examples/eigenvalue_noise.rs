//! How noisy the dominant eigenvalue is, and how often a rule acts on that noise alone.
//!
//!     cargo run --release -p rdarts-search --example eigenvalue_noise -- RUN FIRST LAST FILE [MOST]
//!
//! RUN is a search with `eval.keep_checkpoints=true` whose eigenvalue is flat from epoch FIRST to LAST. At each of these
//! epochs the eigenvalue is measured on batches drawn anew, 1, 4 and 16 (MOST) of them at a time, `last` and `fixed`; FILE keeps
//! the values, so that a stopped measurement goes on. Then trajectories are put together, for `last` from a value drawn
//! at random at each epoch, for `fixed` from those of one set of batches, and the rules are asked at each epoch.

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use rdarts_monitor::{AdaRule, Decision, Measurement, Method, Rule, decide};
use rdarts_net::Engine;
use rdarts_rng::Stream;
use rdarts_run::{HessianImages, RunView, SearchSpec};
use rdarts_search::hessian::eigenvalue;
use rdarts_search::{Search, State, open_space};

/// Batches at a time, and how often they are drawn.
const DRAWS: [(usize, usize); 3] = [(1, 12), (4, 4), (16, 2)];
const TRAJECTORIES: usize = 1000;

/// (images, batches, draw, epoch).
type Key = (String, usize, usize, usize);
/// Eigenvalue and standard error.
type Value = (f64, Option<f64>);
type Values = BTreeMap<Key, Value>;
type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [run, first, last, file, most @ ..] = &args[..] else {
        return Err("usage: RUN FIRST LAST FILE [MOST]".into());
    };
    let most = most.first().map_or(Ok(16), |most| most.parse())?;
    let epochs = first.parse::<usize>()?..=last.parse::<usize>()?;
    let mut values = Values::new();
    for line in std::fs::read_to_string(file).unwrap_or_default().lines() {
        let (key, value) = serde_json::from_str(line)?;
        values.insert(key, value);
    }
    measure(Path::new(run), epochs.clone(), most, &mut values, Path::new(file))?;
    report(&values, &epochs.collect::<Vec<_>>());
    Ok(())
}

fn measure(
    run: &Path,
    epochs: RangeInclusive<usize>,
    most: usize,
    values: &mut Values,
    file: &Path,
) -> Result<(), Error> {
    let view = RunView::open(run)?;
    let spec: SearchSpec = view.spec()?;
    let mut search = Search::new(spec.clone(), open_space(&spec.space.name)?, Engine::cpu())?;
    let mut out = std::fs::OpenOptions::new().create(true).append(true).open(file)?;
    let (seed, valid, stop) = (search.spec.seed, search.images.split.valid.clone(), AtomicBool::new(false));
    // First what is quick for all epochs.
    for (n, draws) in DRAWS.into_iter().filter(|(n, _)| *n <= most) {
        for name in view.checkpoints()?.iter().filter(|n| n.step.is_none() && epochs.contains(&n.epoch)) {
            search.spec = spec.clone();
            let state = State::from_checkpoint(&search, &name.to_string(), view.load_checkpoint(name)?)?;
            let wanted = [HessianImages::Last, HessianImages::Fixed].into_iter();
            for (images, draw) in wanted.flat_map(|images| (0..draws).map(move |draw| (images, draw))) {
                let key = (images.to_string(), n, draw, name.epoch);
                if values.contains_key(&key) {
                    continue;
                }
                (search.spec.hessian.images, search.spec.hessian.batches) = (images, n);
                // Another seed draws other images; fixed ones come from another place.
                search.spec.seed = seed + 1000 * (1 + draw as u64) + n as u64;
                if images == HessianImages::Fixed {
                    search.images.split.valid.start += draw * n * search.spec.search.batch;
                }
                let found = eigenvalue(&search, &state, name.epoch, 1e-2, &stop)?.ok_or("nothing stops it")?;
                search.images.split.valid = valid.clone();
                let value = (found.dominant.value, found.error);
                writeln!(out, "{}", serde_json::to_string(&(&key, value))?)?;
                values.insert(key, value);
            }
        }
    }
    Ok(())
}

#[allow(clippy::print_stdout)]
fn report(values: &Values, epochs: &[usize]) {
    let rules = [
        ("paper, window 5", Rule::paper(), 1),
        ("window 3", Rule { window: 3, lag: 3, ..Rule::paper() }, 1),
        ("released", Rule { first_return: 0, ..Rule::released() }, 2),
    ];
    println!("images batches mean | deviation between draws, from epoch to epoch, stated | trajectories that act");
    for images in ["last", "fixed"] {
        for (n, draws) in DRAWS {
            let has = |draw, epoch: &usize| values.contains_key(&(images.to_string(), n, draw, *epoch));
            if !(0..draws).all(|draw| epochs.iter().all(|epoch| has(draw, epoch))) {
                println!("{images:>5} {n:>3} is not measured at every epoch");
                continue;
            }
            let (mut means, mut spreads, mut stated) = (Vec::new(), Vec::new(), Vec::new());
            for &epoch in epochs {
                let at: Vec<Value> = (0..draws).map(|draw| values[&(images.to_string(), n, draw, epoch)]).collect();
                let m = mean(&at.iter().map(|v| v.0).collect::<Vec<_>>());
                means.push(m);
                let squares: f64 = at.iter().map(|v| (v.0 - m).powi(2)).sum();
                spreads.push((squares / (draws - 1) as f64).sqrt() / m);
                stated.extend(at.iter().filter_map(|v| v.1.map(|error| error / m)));
            }
            let mut stream = Stream::new(1, "redrawn", n as u64);
            let trajectories: Vec<Vec<f64>> = (0..TRAJECTORIES)
                .map(|_| {
                    let fixed = stream.below(draws);
                    let mut of = |epoch: usize| {
                        let draw = if images == "fixed" { fixed } else { stream.below(draws) };
                        values[&(images.to_string(), n, draw, epoch)].0
                    };
                    epochs.iter().map(|&epoch| of(epoch)).collect()
                })
                .collect();
            let steps: Vec<f64> =
                trajectories.iter().flat_map(|t| t.windows(2).map(|w| (w[1] / w[0]).ln().powi(2))).collect();
            let acted = rules.map(|(name, rule, every)| {
                let acted = trajectories.iter().filter(|t| acts(&rule, t, every)).count();
                format!("{name} {:.1} %", 100.0 * acted as f64 / TRAJECTORIES as f64)
            });
            let stated = if stated.is_empty() { "-".into() } else { format!("{:.1} %", 100.0 * mean(&stated)) };
            println!(
                "{images:>5} {n:>3} {:.3} | {:.1} %, {:.1} %, {stated} | {}",
                mean(&means),
                100.0 * mean(&spreads),
                100.0 * mean(&steps).sqrt(),
                acted.join(", ")
            );
        }
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Whether a rule acts anywhere on a trajectory of which every so many values are measured.
fn acts(rule: &Rule, trajectory: &[f64], every: usize) -> bool {
    let history: Vec<Measurement> = trajectory
        .iter()
        .step_by(every)
        .enumerate()
        .map(|(i, &eigenvalue)| Measurement { epoch: i * every, eigenvalue })
        .collect();
    (1..=history.len()).any(|n| {
        let epoch = history[n - 1].epoch;
        let word = decide(Method::Es, rule, &AdaRule::released(), &history[..n], epoch, usize::MAX, 3e-4);
        matches!(word, Decision::Stop { .. })
    })
}
