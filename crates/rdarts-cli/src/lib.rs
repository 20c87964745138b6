//! The command line of `rdarts`: one file a verb (`verbs/`), what they share beside it, and here their list.
//!
//! A library, since whatever is linked into a program goes through the last passes with the level of the program's own crate,
//! and the verbs, which compute nothing, are better small than fast.

mod exit;

mod signals;

mod plot;

mod progress;

mod device;
mod disparities;

mod pages;

mod boards;

mod conduct;

mod given;

mod genotypes;

mod searches;

mod trainings;

mod disparity_trainings;

mod portfolios;

mod disparity_portfolios;

mod model_file;

mod verbs;

use clap::{CommandFactory, Parser, Subcommand};
use rdarts_net::engine::is_guarded;

use crate::device::{guarded, uses_card};
use crate::exit::{Exit, lost_output, say};
use crate::verbs::{
    bench, completions, data, devices, draw, export, hessian, import, man, predict, report, resume, robust, search,
    sweep, table, test, train, watch,
};

/// Robust differentiable architecture search.
///
/// Finds a neural network for an image task by gradient descent on a supernet (DARTS), watches the dominant
/// eigenvalue of the Hessian of the validation loss with respect to the architecture, and stops before the search
/// degenerates (darts-es) or regularises harder and goes back (darts-ada).
///
/// Start with `rdarts robust`: on embedded images, or on a folder of yours with --data DIR, a few searches, the choice of
/// the best of what they find, and its training, in some minutes. `search`, `train`, `predict`, `test` and `export` are
/// its parts and what comes after; `resume` goes on with whatever was stopped.
#[derive(Parser)]
#[command(name = "rdarts", version, long_version = BUILD, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

/// What `--version` says (`-V` says the version alone).
const BUILD: &str = match (cfg!(feature = "gpu"), cfg!(feature = "pdf")) {
    (false, false) => concat!(env!("CARGO_PKG_VERSION"), "\ngraphics cards (gpu): no\npictures as PDF (pdf): no"),
    (false, true) => concat!(env!("CARGO_PKG_VERSION"), "\ngraphics cards (gpu): no\npictures as PDF (pdf): yes"),
    (true, false) => concat!(env!("CARGO_PKG_VERSION"), "\ngraphics cards (gpu): yes\npictures as PDF (pdf): no"),
    (true, true) => concat!(env!("CARGO_PKG_VERSION"), "\ngraphics cards (gpu): yes\npictures as PDF (pdf): yes"),
};

#[derive(Subcommand)]
enum Verb {
    Robust(robust::Args),
    Search(search::Args),
    Train(train::Args),
    Resume(resume::Args),
    Hessian(hessian::Args),
    Report(report::Args),
    Watch(watch::Args),
    Draw(draw::Args),
    Table(table::Args),
    Sweep(sweep::Args),
    Bench(bench::Args),
    Devices(devices::Args),
    Data(data::Args),
    Predict(predict::Args),
    Test(test::Args),
    Export(export::Args),
    Import(import::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// Carries out what the arguments of this process ask for, and says how it ended: 0 done, 1 failed while running, 2 the input
/// was not right, 130 interrupted.
pub fn main() -> std::process::ExitCode {
    let verb = Cli::parse().verb;
    // A lost card is told in a sentence, where it is noticed; a fault of ours keeps its place.
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let of_card = ["burn", "cubecl", "wgpu", "rdarts-gpu", "rdarts-net"];
        let is_of_card = panic.location().is_some_and(|at| of_card.iter().any(|part| at.file().contains(part)));
        if !(is_guarded() || uses_card()) || !is_of_card {
            tell(panic);
        }
    }));
    let done = signals::fail_writes_beyond_the_limit().and_then(|()| {
        guarded(|| match verb {
            Verb::Robust(args) => robust::run(args),
            Verb::Search(args) => search::run(args),
            Verb::Train(args) => train::run(args),
            Verb::Resume(args) => resume::run(args),
            Verb::Hessian(args) => hessian::run(args),
            Verb::Report(args) => report::run(args),
            Verb::Watch(args) => watch::run(args),
            Verb::Draw(args) => draw::run(args),
            Verb::Table(args) => table::run(args),
            Verb::Sweep(args) => sweep::run(args),
            Verb::Bench(args) => bench::run(args),
            Verb::Devices(args) => devices::run(args),
            Verb::Data(args) => data::run(args),
            Verb::Predict(args) => predict::run(args),
            Verb::Test(args) => test::run(args),
            Verb::Export(args) => export::run(args),
            Verb::Import(args) => import::run(args),
            Verb::Completions(args) => completions::run(args, Cli::command()),
            Verb::Man(args) => man::run(args, Cli::command()),
        })
    });
    // Nobody has seen a result that could not be written.
    let done = match (done, lost_output()) {
        (Ok(_), Some(lost)) => Err(lost),
        (done, _) => done,
    };
    done.unwrap_or_else(|e: Exit| {
        say!("error: {e}");
        e.code()
    })
}
