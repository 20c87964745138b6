//! A portfolio as the program tells of it: opened again, carried out, and how it ended.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use rdarts_data::{escaped, shown};
use rdarts_net::Engine;
use rdarts_run::{Event, RobustSpec, RunDir, RunView, for_shell};
use rdarts_search::open_space;
use rdarts_study::portfolio::Hands;
use rdarts_study::{Audience, Portfolio, Report, Task};
use rdarts_train::{ImageSet, KnownSets, Observer, Outcome, TrainError};
use serde_json::json;

use crate::boards::Board;
use crate::conduct::{Conducted, conduct, count};
use crate::exit::{Exit, out, say};
use crate::given::data_name;
use crate::pages::Pages;
use crate::progress::{Named, Reading, Shown};
use crate::trainings::millions;

/// A portfolio that is conducted.
struct PortfolioRun<'a>(&'a Portfolio);

impl Conducted for PortfolioRun<'_> {
    type Found = Report<Portfolio>;
    const WHAT: &'static str = "portfolio";

    fn steps(&self) -> Option<usize> {
        None
    }

    fn engine(&self) -> &Engine {
        &self.0.engine
    }

    fn data_dirs(&self, dir: &RunDir) -> Result<[String; 2], Exit> {
        Ok([self.0.spec.data.images.dir.clone(), dir.view().spec::<RobustSpec>()?.data.images.dir])
    }

    fn tell(&self, path: &Path, found: &Report<Portfolio>, _: &[Event]) {
        tell(self.0, path, found);
    }

    fn as_json(&self, path: &Path, found: &Report<Portfolio>, _: &[Event]) -> serde_json::Value {
        as_json(path, found)
    }
}

/// The account of a portfolio for programs.
pub fn as_json<T: Task>(path: &Path, found: &Report<T>) -> serde_json::Value {
    let members: Vec<_> = found
        .members
        .iter()
        .map(|m| json!({ "label": m.label, "found": m.found, "short_training": m.short, "refused": m.refused }))
        .collect();
    json!({
        "directory": path.display().to_string(),
        "model": path.join("model.safetensors").display().to_string(),
        "members": members,
        "chosen": found.chosen,
        "result": found.finished,
        "test": found.test,
        "baselines": found.baselines,
    })
}

/// Shows the runs of a portfolio.
pub struct Stage {
    quiet: bool,
    /// Whether runs go side by side: then their lines carry their names.
    together: bool,
    /// Where they are written for TensorBoard, each in a directory of its own.
    boards: Option<PathBuf>,
    /// What its batches are made of.
    counting: &'static str,
}

impl Stage {
    /// That of a portfolio in a directory.
    pub fn new(path: &Path, hands: Hands, json: bool, pages: &Pages, counting: &'static str) -> Self {
        Self { quiet: json, together: hands.jobs > 1, boards: pages.board_dir(path), counting }
    }
}

impl Audience for Stage {
    fn begin(&self, name: &str, steps: usize) -> Box<dyn Observer + Send + '_> {
        let board = || self.boards.as_ref().map_or_else(Board::default, |dir| Board::create(&dir.join(plain(name))));
        if self.together {
            return Box::new(Named::new(name, self.quiet, board()));
        }
        if !self.quiet {
            say!("");
            say!("{name}");
        }
        let mut shown = Shown::new(self.quiet, Some(steps)).counting(self.counting);
        shown.write_to(board());
        Box::new(shown)
    }

    fn say(&self, text: &str) {
        if !self.quiet {
            say!("{text}");
        }
    }
}

/// A name in letters that every system knows in the names of files.
fn plain(name: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+') { c } else { '-' };
    let plain: String = name.chars().map(letter).collect();
    plain.trim_matches(['-', '.']).to_string()
}

/// The portfolio of a run as the run recorded it, with its images from `data_dir` if they are not where they were.
pub fn reopen(view: &RunView, data_dir: Option<&Path>, engine: Engine, quiet: bool) -> Result<Portfolio, Exit> {
    let mut spec: RobustSpec = view.spec_of_sets(&KnownSets)?;
    if let Some(dir) = data_dir {
        spec.data.images.dir = dir.display().to_string();
    }
    let space = match view.space()? {
        Some(text) => {
            let name = shown(view.path().join("space.toml"));
            rdarts_space::Space::from_toml(&text, &name).map_err(Exit::input)?
        }
        None => open_space(&spec.space.name)?,
    };
    let reading = Reading::new(quiet);
    let images = ImageSet::open(&spec.data.images, &reading)?;
    reading.end();
    Ok(Portfolio::new(spec, space, engine, images)?)
}

/// How a portfolio ended, whose runs have the epochs.
pub fn outcome<R>(made: Result<Option<R>, TrainError>) -> Result<Outcome<R>, TrainError> {
    Ok(made?.map_or(Outcome::Interrupted { epoch: 0, step: 0 }, Outcome::Finished))
}

/// Carries a portfolio out in its directory and tells how it ended.
pub fn carry_out(
    portfolio: &Portfolio,
    dir: &mut RunDir,
    hands: Hands,
    json: bool,
    pages: &Pages,
) -> Result<ExitCode, Exit> {
    let stage = Stage::new(dir.path(), hands, json, pages, PortfolioRun::OF);
    let body = |dir: &mut RunDir, _: &mut Shown, stop: &AtomicBool| -> Result<Outcome<Report<Portfolio>>, TrainError> {
        if dir.view().space()?.is_none() {
            dir.write_space(&portfolio.space.to_toml())?;
        }
        outcome(portfolio.carry_out(dir, hands, &stage, stop))
    };
    conduct(&PortfolioRun(portfolio), dir, hands.threads, json, pages, body)
}

/// Wilson's interval of 95 % for a share of n.
fn interval(share: f64, n: usize) -> [f64; 2] {
    let (n, z) = (n as f64, 1.96f64);
    let centre = (share + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let half = z / (1.0 + z * z / n) * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    [(centre - half).max(0.0), (centre + half).min(1.0)]
}

/// The members of a portfolio, a line each; `worth` says how good a short training is.
pub fn member_rows<T: Task>(report: &Report<T>, worth: impl Fn(&T::Short) -> String) {
    out!("{:<20} {:>6} {:>10} {:>14} {:>10}", "member", "epoch", "weights", "multiply-adds", "held out");
    for (place, member) in report.members.iter().enumerate() {
        let mark = match &member.refused {
            Some(why) => format!("  not chosen: {why}"),
            None if place == report.chosen.member => "  chosen".into(),
            None => String::new(),
        };
        let [epoch, weights, macs] = match &member.found {
            Some(found) => [found.epoch.to_string(), found.n_params.to_string(), millions(found.macs)],
            None => ["-"; 3].map(String::from),
        };
        let held_out = member.short.as_ref().map_or("-".into(), &worth);
        out!("{:<20} {epoch:>6} {weights:>10} {macs:>14} {held_out:>10}{mark}", escaped(&member.label));
    }
}

/// What the search has not been worth, if some cells that no search found are as good; `data` are images or pairs.
pub fn no_gain(as_good: &[&str], data: &str, path: &Path) {
    if !as_good.is_empty() {
        out!(
            "On these {data} the search has gained nothing over {}, whose models are in {} too.",
            as_good.join(" and "),
            for_shell(&path.join("members"))
        );
    }
}

/// The account for people.
fn tell(portfolio: &Portfolio, path: &Path, report: &Report<Portfolio>) {
    let (spec, finished) = (&portfolio.spec, &report.finished);
    let percent = |v: f64| format!("{:.2} %", 100.0 * v);
    out!("");
    out!(
        "{} on {} in space {}, each of what they found trained for {}:",
        count(report.members.len(), "search"),
        data_name(&spec.data.images),
        portfolio.space.name,
        count(spec.train.short_epochs, "epoch")
    );
    out!("");
    member_rows(report, |short| percent(short.valid_accuracy));
    out!("");
    out!("{}", report.chosen.reason);
    out!("{}", finished.genotype);
    out!("");
    out!(
        "Trained for up to {}, each kept as it was in its best epoch on the held-out images (the chosen one in epoch {}), and \
         tested on {} images:",
        count(spec.train.whole.epochs, "epoch"),
        report.test.epoch,
        report.test.n_test
    );
    out!("");
    out!("{:<20} {:>10} {:>10} {:>10}", "cell", "weights", "held out", "test");
    let row = |name: &str, n: usize, accuracies: [Option<f64>; 2]| {
        let [valid, test] = accuracies.map(|accuracy| accuracy.map_or("diverged".into(), percent));
        out!("{name:<20} {n:>10} {valid:>10} {test:>10}");
    };
    row("chosen", finished.n_params, [finished.valid_accuracy, finished.test_accuracy].map(Some));
    for b in &report.baselines {
        row(&b.name, b.n_params, [b.valid_accuracy, b.test_accuracy]);
    }
    let [low, high] = interval(finished.test_accuracy, report.test.n_test).map(|v| 100.0 * v);
    out!("");
    out!(
        "On {} test images the accuracy of the chosen one lies between {low:.1} and {high:.1} % (95 %); one seed each says \
         little of small differences.",
        report.test.n_test
    );
    out!("The searches have learned their alphas on half of the images, the held-out ones too: compare by the test.");
    let as_good: Vec<&str> = report
        .baselines
        .iter()
        .filter(|b| b.test_accuracy.is_some_and(|accuracy| accuracy >= finished.test_accuracy))
        .map(|b| b.name.as_str())
        .collect();
    no_gain(&as_good, "images", path);
    let path = for_shell(path);
    out!("");
    out!("Run directory: {path} (model.safetensors is the trained network, genotype.txt its cell;");
    out!("members/ has every search and training as a run of its own, with its model)");
    out!("Next:");
    out!("  rdarts predict {path} PICTURE...");
    out!("      classes of pictures of yours");
    out!("  rdarts test {path}");
    out!("      which classes are taken for which");
    out!("  rdarts export {path} --to onnx");
    out!("      a file for other programs");
    out!("  rdarts train {path} --epochs {}", 5 * spec.train.whole.epochs);
    out!("      the same cell from new weights, for longer (classes of unequal size: --set train.class_weights=1)");
}
