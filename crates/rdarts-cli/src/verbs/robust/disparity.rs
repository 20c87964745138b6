//! `rdarts robust` for networks that estimate disparity.

use std::process::ExitCode;

use rdarts_net::Engine;
use rdarts_run::{DisparityRobustSpec, Spec};
use rdarts_study::plan;
use rdarts_study::portfolio::Hands;
use rdarts_study::{DisparityPortfolio, Task};

use super::{Args, FLAGS, LENGTHS, say_plan, too_many_lengths};
use crate::disparities::{self, StereoSets};
use crate::disparity_portfolios::{announce, carry_out};
use crate::exit::Exit;
use crate::given::{flag_of, quote, reserve, set};
use crate::progress::Reading;

/// The preset of such a portfolio that says nothing.
pub const DEMO: &str = "disparity-demo";

/// Carries one out.
pub fn run(args: &Args, file: Option<(&str, &str)>, engine: Engine, threads: usize) -> Result<ExitCode, Exit> {
    let values = [
        args.space.as_deref().map(quote),
        None,
        None,
        args.vary.as_deref().map(quote),
        args.values_as_list(),
        args.seed.map(|v| v.to_string()),
        args.max_params.map(|v| v.to_string()),
        args.max_macs.map(|v| v.to_string()),
    ];
    let pairs = disparities::flags(args.data.as_deref(), args.data_dir.as_deref())?;
    let overrides = [args.overrides.clone(), pairs, set(&FLAGS, values)].concat();
    let preset = args.preset.as_deref().or(if file.is_none() { Some(DEMO) } else { None });
    let resolved = DisparityRobustSpec::resolve_text(preset, file, &overrides, &StereoSets);
    let mut spec = resolved.map_err(|e| e.of_flags(|text| flag_of(&FLAGS, &args.overrides, text)))?;
    spec.data.pairs.dir = disparities::directory(&spec.data.pairs)?;
    let name = format!("robust-{}-{}", spec.data.pairs.name, spec.seed);
    let reserved = reserve(args.out.as_deref(), &name)?;
    let path = reserved.path().to_path_buf();
    let reading = Reading::new(args.json);
    let mut portfolio = DisparityPortfolio::new(spec, engine, &reading)?;
    reading.end();
    portfolio.check_jobs(args.jobs.min(threads))?;
    fit(args, file, &overrides, &mut portfolio)?;
    let mut dir = reserved.fill(&portfolio.spec)?;
    if !args.json {
        announce(&portfolio, &path, threads);
    }
    carry_out(&portfolio, &mut dir, Hands { jobs: args.jobs, threads }, args.json, &args.pages)
}

/// Fits the epochs to the hours that are asked for.
fn fit(
    args: &Args,
    file: Option<(&str, &str)>,
    overrides: &[String],
    portfolio: &mut DisparityPortfolio,
) -> Result<(), Exit> {
    let Some(hours) = args.hours else { return Ok(()) };
    for key in LENGTHS {
        if DisparityRobustSpec::is_named(key, file, overrides)? {
            return Err(too_many_lengths(key));
        }
    }
    let keeps_every = DisparityRobustSpec::is_named("hessian.every", file, overrides)?;
    let paces = plan::measure_disparity(portfolio)?;
    let takes = plan::fit_disparity_to_budget(portfolio, &paces, 3600.0 * hours, keeps_every);
    if !args.json {
        say_plan(&paces, hours, takes, portfolio.spec.search.method);
    }
    Ok(())
}
