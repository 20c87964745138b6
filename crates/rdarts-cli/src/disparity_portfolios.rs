//! A portfolio for disparity as the program tells of it: opened again, announced, carried out, and how it ended.

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use rdarts_data::shown;
use rdarts_net::Engine;
use rdarts_run::{DisparityErrors, DisparityRobustSpec, Event, RunDir, RunView, for_shell};
use rdarts_study::portfolio::Hands;
use rdarts_study::{DisparityPortfolio, Report, Task};

use crate::conduct::{Conducted, conduct, count};
use crate::disparities::StereoSets;
use crate::disparity_trainings::table;
use crate::exit::{Exit, out, say};
use crate::pages::Pages;
use crate::portfolios::{Stage, as_json, member_rows, no_gain, outcome};
use crate::progress::{Reading, Shown};

/// A portfolio for disparity that is conducted.
struct DisparityPortfolioRun<'a>(&'a DisparityPortfolio);

impl Conducted for DisparityPortfolioRun<'_> {
    type Found = Report<DisparityPortfolio>;
    const WHAT: &'static str = "portfolio";
    const OF: &'static str = "pairs";

    fn steps(&self) -> Option<usize> {
        None
    }

    fn engine(&self) -> &Engine {
        &self.0.engine
    }

    fn data_dirs(&self, dir: &RunDir) -> Result<[String; 2], Exit> {
        Ok([self.0.spec.data.pairs.dir.clone(), dir.view().spec::<DisparityRobustSpec>()?.data.pairs.dir])
    }

    fn tell(&self, path: &Path, found: &Self::Found, _: &[Event]) {
        tell(self.0, path, found);
    }

    fn as_json(&self, path: &Path, found: &Self::Found, _: &[Event]) -> serde_json::Value {
        as_json(path, found)
    }
}

/// The portfolio of a run as the run recorded it, its pairs from `data_dir` if they are not where they were.
pub fn reopen(
    view: &RunView,
    data_dir: Option<&Path>,
    engine: Engine,
    quiet: bool,
) -> Result<DisparityPortfolio, Exit> {
    let mut spec: DisparityRobustSpec = view.spec_of_sets(&StereoSets)?;
    if let Some(dir) = data_dir {
        spec.data.pairs.dir = dir.display().to_string();
    }
    let reading = Reading::new(quiet);
    let portfolio = DisparityPortfolio::new(spec, engine, &reading)?;
    reading.end();
    Ok(portfolio)
}

/// Carries a portfolio out in its directory and tells how it ended.
pub fn carry_out(
    portfolio: &DisparityPortfolio,
    dir: &mut RunDir,
    hands: Hands,
    json: bool,
    pages: &Pages,
) -> Result<ExitCode, Exit> {
    let stage = Stage::new(dir.path(), hands, json, pages, DisparityPortfolioRun::OF);
    let body =
        |dir: &mut RunDir, _: &mut Shown, stop: &AtomicBool| outcome(portfolio.carry_out(dir, hands, &stage, stop));
    conduct(&DisparityPortfolioRun(portfolio), dir, hands.threads, json, pages, body)
}

/// Says what begins.
pub fn announce(portfolio: &DisparityPortfolio, path: &Path, threads: usize) {
    let (spec, pairs) = (&portfolio.spec, portfolio.n_pairs);
    let whole = if spec.portfolio.baselines { "it and three baselines" } else { "it" };
    say!(
        "{} of {} for disparity in space {} on {} (preset {}), which differ in {}; what they find is trained for {}, the best \
         of it on held-out pairs chosen, and {whole} trained for {}",
        if spec.members() == 1 { "One search".to_string() } else { count(spec.members(), "search") },
        count(spec.search.epochs, "epoch"),
        portfolio.space.name,
        spec.data.pairs.name,
        spec.preset,
        spec.portfolio.vary.in_words(),
        count(spec.train.short_epochs, "epoch"),
        count(spec.train.whole.epochs, "epoch"),
    );
    let [h, w] = portfolio.window();
    say!(
        "{} pairs train the weights of a search, {} its alphas; {} a network in windows of {w}x{h} pixels, {} are held out and \
         {} tested; networks of {} channels; {}; run directory {}",
        pairs.search[0],
        pairs.search[1],
        pairs.training[0],
        pairs.training[1],
        pairs.test,
        spec.train_network.channels,
        count(threads, "thread"),
        shown(path),
    );
}

/// The account for people.
fn tell(portfolio: &DisparityPortfolio, path: &Path, report: &Report<DisparityPortfolio>) {
    let (spec, finished) = (&portfolio.spec, &report.finished);
    let pixels = |error: f64| format!("{error:.3} px");
    out!("");
    out!(
        "{} for disparity on {} in space {}, each of what they found trained for {}:",
        count(report.members.len(), "search"),
        spec.data.pairs.name,
        portfolio.space.name,
        count(spec.train.short_epochs, "epoch")
    );
    out!("");
    member_rows(report, |short| pixels(short.valid_error));
    out!("");
    out!("{}", report.chosen.reason);
    out!("{}", finished.genotype);
    out!("");
    out!(
        "Trained for up to {}, each kept as it was in its best epoch on the held-out pairs (the chosen one in epoch {}); \
         end-point errors:",
        count(spec.train.whole.epochs, "epoch"),
        report.test.epoch
    );
    out!("");
    out!("{:<20} {:>10} {:>11} {:>11} {:>8} {:>8}", "cells", "weights", "held out", "test", "> 1 px", "> 3 px");
    let row = |name: &str, n: usize, valid: Option<f64>, test: Option<&DisparityErrors>| {
        let lost = if valid.is_some() { "-" } else { "diverged" };
        let valid = valid.map_or(lost.into(), pixels);
        let share = |share: Option<f64>| share.map_or("-".into(), |share| format!("{:.1} %", 100.0 * share));
        let error = test.map_or(lost.into(), |errors| pixels(errors.error));
        let [bad1, bad3] = [test.map(|errors| errors.bad1), test.map(|errors| errors.bad3)].map(share);
        out!("{name:<20} {n:>10} {valid:>11} {error:>11} {bad1:>8} {bad3:>8}");
    };
    row("chosen", finished.n_params, Some(finished.valid_error), finished.test.as_ref());
    for b in &report.baselines {
        row(&b.name, b.n_params, b.valid_error, b.test.as_ref());
    }
    out!("");
    match &report.test.test {
        Some(test) => {
            table(&format!("chosen, {}", count(report.test.n_test, "pair")), test, report.test.test_visible.as_ref());
        }
        None => out!("There are no test pairs whose disparity is known."),
    }
    out!("");
    out!("One seed each says little of small differences.");
    let error = |errors: &Option<DisparityErrors>| errors.as_ref().map(|errors| errors.error);
    let own = error(&finished.test);
    let as_good: Vec<&str> = report
        .baselines
        .iter()
        .filter(|b| error(&b.test).zip(own).is_some_and(|(theirs, own)| theirs <= own))
        .map(|b| b.name.as_str())
        .collect();
    no_gain(&as_good, "pairs", path);
    let path = for_shell(path);
    out!("");
    out!("Run directory: {path} (model.safetensors is the trained network, genotype.txt its cells;");
    out!("members/ has every search and training as a run of its own, with its model)");
    out!("Next:");
    out!("  rdarts predict {path} LEFT RIGHT");
    out!("      the disparity between two views of yours");
    out!("  rdarts test {path}");
    out!("      how far it is off on the test pairs");
    out!("  rdarts export {path} --to onnx");
    out!("      a file for other programs");
    out!("  rdarts train {path} --epochs {}", 5 * spec.train.whole.epochs);
    out!("      the same cells from new weights, for longer");
}
