//! A portfolio: its members side by side, and why one of them was chosen.

use rdarts_run::{Chosen, DisparityErrors, DisparityRobustFinished, Event, RobustFinished, Vary};
use rdarts_space::Op;
use rdarts_text::escaped;
use serde::Serialize;

use super::disparity_training::DisparityTrainTable;
use super::search::SearchTable;
use super::training::TrainTable;
use crate::number::{percent, pixels, some};
use crate::read::{Kind, PortfolioSpecs, Run};
use crate::task::{Architecture, CellKind, Task};

/// A portfolio.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PortfolioTable {
    /// What its networks are for.
    pub task: Task,
    /// Name of the search space; empty if nothing was written yet.
    pub space: String,
    /// Name of the data set.
    pub data: String,
    /// Seed of all random streams.
    pub seed: u64,
    /// What the members differ in.
    pub vary: Option<Vary>,
    /// The members.
    pub members: Vec<MemberRow>,
    /// What was chosen, and why; `None` while nothing is.
    pub chosen: Option<Chosen>,
    /// Cells that no search found, trained like the chosen one.
    pub baselines: Vec<BaselineRow>,
    /// How good the chosen network is; `None` while it is not trained, or of disparity.
    pub result: Option<RobustFinished>,
    /// The same of one for disparity.
    pub disparity_result: Option<DisparityRobustFinished>,
    /// The whole training of the chosen network, if it was begun.
    pub training: Option<TrainTable>,
    /// The same of one for disparity.
    pub disparity_training: Option<DisparityTrainTable>,
    /// What this run cannot show, one sentence each on what would show it.
    pub missing: Vec<String>,
}

/// A member of a portfolio.
#[derive(Clone, Debug, Default, Serialize)]
pub struct MemberRow {
    /// What tells it from the others, such as "L2 0.0009".
    pub label: String,
    /// Whether it was chosen.
    pub is_chosen: bool,
    /// Why it could not be.
    pub refused: Option<String>,
    /// What it found.
    pub genotype: Option<String>,
    /// The same as data; `None` if there is none, or the text is damaged.
    pub cells: Option<Architecture>,
    /// The epoch of the search that this is from.
    pub epoch: Option<usize>,
    /// Skip connections of its normal cell.
    pub skips_normal: Option<usize>,
    /// Skip connections of its reduction cell.
    pub skips_reduce: Option<usize>,
    /// Skip connections of its upsampling cell, which networks for disparity alone have.
    pub skips_upsample: Option<usize>,
    /// Number of weights of the network made of it.
    pub n_params: Option<usize>,
    /// Multiply-adds of one image through that network.
    pub macs: Option<u64>,
    /// Accuracy of its short training on the held-out images.
    pub valid_accuracy: Option<f64>,
    /// End-point error of its short training on the held-out pairs.
    pub valid_error: Option<f64>,
    /// Its search, if that was begun.
    pub search: Option<SearchTable>,
}

/// A cell that no search found.
#[derive(Clone, Debug, Serialize)]
pub struct BaselineRow {
    /// What it is, such as "random".
    pub name: String,
    /// Number of weights.
    pub n_params: usize,
    /// Accuracy on the held-out images.
    pub valid_accuracy: Option<f64>,
    /// Accuracy on the test images; none of the two if the training diverged.
    pub test_accuracy: Option<f64>,
    /// End-point error on the held-out pairs.
    pub valid_error: Option<f64>,
    /// Errors on the test pairs.
    pub test: Option<DisparityErrors>,
}

impl MemberRow {
    /// How good its short training is: the accuracy or the end-point error.
    pub fn worth(&self) -> Option<f64> {
        self.valid_accuracy.or(self.valid_error)
    }
}

impl Task {
    /// A value that choices go by, as it is read.
    pub(crate) fn worded(self, value: f64) -> String {
        match self {
            Task::Classification => percent(value),
            Task::Disparity => pixels(value),
        }
    }
}

impl PortfolioTable {
    pub(super) fn new(run: &Run, kind: &Kind) -> PortfolioTable {
        let mut table = PortfolioTable::default();
        let Kind::Robust { task, spec, searches, chosen } = kind else { return table };
        table.task = *task;
        match spec {
            Some(PortfolioSpecs::Images(spec)) => {
                (table.space, table.data) = (spec.space.name.clone(), spec.data.images.name.clone());
                (table.seed, table.vary) = (spec.seed, Some(spec.portfolio.vary));
            }
            Some(PortfolioSpecs::Pairs(spec)) => {
                (table.space, table.data) = (spec.space.name.clone(), spec.data.pairs.name.clone());
                (table.seed, table.vary) = (spec.seed, Some(spec.portfolio.vary));
            }
            None => {}
        }
        for event in &run.events {
            table.take(event);
        }
        // A member that was never written about can still have begun.
        if let Some(last) = searches.len().checked_sub(1) {
            table.member(last);
        }
        for (i, search) in searches.iter().enumerate() {
            if let Some((run, Some(kind @ (Kind::Search { .. } | Kind::DisparitySearch { .. })))) =
                search.as_ref().map(|run| (run, &run.kind))
            {
                table.member(i).search = Some(SearchTable::new(run, kind));
            }
        }
        match chosen.as_deref().map(|run| (run, &run.kind)) {
            Some((run, Some(Kind::Train { spec, mistakes }))) => {
                table.training = Some(TrainTable::new(run, spec.as_deref(), mistakes));
            }
            Some((run, Some(Kind::DisparityTraining { spec, maps }))) => {
                table.disparity_training = Some(DisparityTrainTable::new(run, spec.as_deref(), maps));
            }
            _ => {}
        }
        if searches.iter().all(Option::is_none) && !table.members.is_empty() {
            table.missing.push(
                "The searches of the members are not shown, since their directories below `members` are gone."
                    .to_string(),
            );
        }
        if table.baselines.is_empty() && table.is_finished() {
            let sentence = "What the search gained over chance is not known: a portfolio with \
                            `portfolio.baselines=true` trains a random cell too.";
            table.missing.push(sentence.to_string());
        }
        table
    }

    /// Whether it ended.
    pub fn is_finished(&self) -> bool {
        self.result.is_some() || self.disparity_result.is_some()
    }

    /// What came of it, in one sentence.
    pub fn verdict(&self) -> String {
        let n = some(self.members.len(), "member");
        let label = |i: usize| self.members.get(i).map_or(format!("member {i}"), |member| member.label.clone());
        let random = self.baselines.iter().find(|baseline| baseline.name == "random");
        match (&self.chosen, &self.result) {
            (Some(chosen), None) if self.disparity_result.is_some() => {
                let errors = |errors: &Option<DisparityErrors>| errors.as_ref().map(|errors| pixels(errors.error));
                let gain = random.and_then(|random| errors(&random.test));
                let gain = gain.map_or(String::new(), |random| format!(", where random cells are off by {random}"));
                let error = self.disparity_result.as_ref().and_then(|result| errors(&result.test));
                let error =
                    error.map_or("is trained".to_string(), |e| format!("is off by {e} on the test pairs{gain}"));
                format!("Of {n} the portfolio chose {}, whose network {error}.", label(chosen.member))
            }
            (Some(chosen), Some(result)) => {
                let gain = random
                    .and_then(|random| random.test_accuracy)
                    .map_or(String::new(), |random| format!(", where a random cell reaches {}", percent(random)));
                format!(
                    "Of {n} the portfolio chose {}, whose network classifies {} of the test images correctly{gain}.",
                    label(chosen.member),
                    percent(result.test_accuracy)
                )
            }
            (Some(chosen), None) => {
                format!("Of {n} the portfolio chose {}, whose training is not done.", label(chosen.member))
            }
            (None, _) => {
                let found = self.members.iter().filter(|member| member.genotype.is_some()).count();
                format!("The portfolio has not chosen yet: {found} of {n} have found a cell.")
            }
        }
    }

    fn take(&mut self, event: &Event) {
        match event {
            Event::RobustStarted(started) => {
                (self.space, self.data) = (started.space.clone(), started.data.clone());
                (self.seed, self.vary) = (started.seed, Some(started.vary));
                let row = |label: &String| MemberRow { label: escaped(label), ..MemberRow::default() };
                self.members = started.members.iter().map(row).collect();
            }
            Event::MemberFound(found) => {
                let cells = Architecture::read(&found.genotype);
                let skips = |cell| cells.as_ref().map(|cells| cells.n_uses(cell, Op::SkipConnect));
                let all = CellKind::ALL.map(skips);
                let is_of_disparity = matches!(cells, Some(Architecture::Disparity(_)));
                let member = self.member(found.member);
                member.label = escaped(&found.label);
                [member.skips_normal, member.skips_reduce, member.skips_upsample] = all;
                member.skips_upsample = member.skips_upsample.filter(|_| is_of_disparity);
                member.genotype = Some(found.genotype.clone());
                member.epoch = Some(found.epoch);
                (member.n_params, member.macs) = (Some(found.n_params), Some(found.macs));
                member.cells = cells;
            }
            Event::MemberTrained(trained) => {
                self.member(trained.member).valid_accuracy = Some(trained.valid_accuracy);
            }
            Event::MemberRefused(refused) => {
                let member = self.member(refused.member);
                member.label = escaped(&refused.label);
                member.refused = Some(escaped(&refused.reason));
            }
            Event::Chosen(chosen) => {
                self.member(chosen.member).is_chosen = true;
                self.chosen = Some(Chosen { reason: escaped(&chosen.reason), ..chosen.clone() });
            }
            Event::BaselineTrained(trained) => self.baselines.push(BaselineRow {
                name: escaped(&trained.name),
                n_params: trained.n_params,
                valid_accuracy: trained.valid_accuracy,
                test_accuracy: trained.test_accuracy,
                valid_error: None,
                test: None,
            }),
            Event::RobustFinished(finished) => self.result = Some(finished.clone()),
            Event::DisparityMemberTrained(trained) => {
                self.member(trained.member).valid_error = Some(trained.valid_error);
            }
            Event::DisparityBaselineTrained(trained) => self.baselines.push(BaselineRow {
                name: escaped(&trained.name),
                n_params: trained.n_params,
                valid_accuracy: None,
                test_accuracy: None,
                valid_error: trained.valid_error,
                test: trained.test.clone(),
            }),
            Event::DisparityRobustFinished(finished) => self.disparity_result = Some(finished.clone()),
            _ => {}
        }
    }

    /// The row of a member; rows that a damaged log does not begin with are made.
    fn member(&mut self, i: usize) -> &mut MemberRow {
        // A number that no portfolio has is that of a damaged log.
        let i = i.min(MOST_MEMBERS - 1);
        while self.members.len() <= i {
            let label = format!("member {}", self.members.len());
            self.members.push(MemberRow { label, ..MemberRow::default() });
        }
        &mut self.members[i]
    }
}

/// More members than anyone searches with.
const MOST_MEMBERS: usize = 1000;
