//! A search: its epochs, what the monitor did, what was found, and whether it stayed healthy.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use rdarts_monitor::{Compared, Measurement, NoiseRule, NoisyMeasurement, Rule, compared};
use rdarts_run::{Decision as Decided, DecisionKind, Event, Finished, Landscape, Method, Selected, Spectrum};
use rdarts_space::Space;
use serde::Serialize;

use super::maps::MapRow;
use super::rules::{RuleOutcome, rules};
use crate::read::{Kind, Run, State};
use crate::statistics::{Correlation, rank_correlation};
use crate::task::{Architecture, CellKind, Task};

mod asked;

mod epoch;

mod edge;

mod health;

mod returned;

pub(crate) use asked::Asked;
pub use edge::EdgeTable;
pub use epoch::EpochRow;
pub use health::Health;
pub use returned::Returned;

/// A search.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SearchTable {
    /// What a network is searched for.
    pub task: Task,
    /// Name of the search space; empty if nothing was written yet.
    pub space: String,
    /// How many architectures the space has, if a table can hold them all.
    pub n_architectures: Option<u64>,
    /// Name of the data set.
    pub data: String,
    /// Seed of all random streams.
    pub seed: u64,
    /// `darts`, `darts-es`, `darts-ada` or `rs-ws`; empty if the spec is damaged.
    pub method: String,
    /// How the gradient of the alphas was computed.
    pub order: String,
    /// The L2 factor of the weights that the search began with.
    pub l2: f64,
    /// Drop path probability of the last epoch.
    pub drop_path: f64,
    /// Number of architecture parameters.
    pub n_alphas: usize,
    /// Number of network weights.
    pub n_weights: usize,
    /// Number of images, or pairs, that train the weights.
    pub n_train: usize,
    /// Number of images, or pairs, that train the alphas.
    pub n_valid: usize,
    /// Epochs that the search was to have, those between the decisions of a selection included; 0 if the spec is damaged.
    pub n_epochs: usize,
    /// Those before a selection, in which the curvature is measured.
    #[serde(skip)]
    pub(crate) n_searched: usize,
    /// The stopping rule of the spec; `None` if that is damaged.
    pub rule: Option<Rule>,
    /// What rules and captions need besides of the spec; `None` if that is damaged.
    #[serde(skip)]
    pub(crate) asked: Option<Asked>,
    /// The epochs in the order in which they were done, those that were given up too.
    pub epochs: Vec<EpochRow>,
    /// What the monitor did.
    pub decisions: Vec<Decided>,
    /// What a selection after the search decided; none of methods without one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub selected: Vec<Selected>,
    /// What was found; `None` while the search goes on.
    pub found: Option<Finished>,
    /// The numbers of what was found, or of what the search holds now; `None` of random search before its end, which holds
    /// nothing.
    pub returned: Option<Returned>,
    /// The different genotypes, in the order in which they first came up.
    pub genotypes: Vec<GenotypeRow>,
    /// The edges of all cells.
    pub edges: Vec<EdgeTable>,
    /// Alphas of the normal cell, one list an epoch.
    pub alphas_normal: Vec<Vec<f32>>,
    /// Alphas of the reduction cell, one list an epoch.
    pub alphas_reduce: Vec<Vec<f32>>,
    /// Parameters of the edges of the normal cell, one list an epoch; none of methods without them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub betas_normal: Vec<Vec<f32>>,
    /// Parameters of the edges of the reduction cell, one list an epoch.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub betas_reduce: Vec<Vec<f32>>,
    /// Alphas of the upsampling cell, one list an epoch; none for classification.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alphas_upsample: Vec<Vec<f32>>,
    /// Whole spectra of the curvature, by epoch, of the epochs that count.
    pub spectra: Vec<Spectrum>,
    /// The loss along lines in alpha space, by epoch, of the epochs that count.
    pub landscapes: Vec<Landscape>,
    /// What discretisation costs beside the curvature.
    pub discretisation: Discretisation,
    /// Whether the search stayed healthy.
    pub health: Health,
    /// What every stopping rule would have done.
    pub rules: Vec<RuleOutcome>,
    /// Pairs as what was found sees them; none for classification.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub maps: Vec<MapRow>,
    /// What this run cannot show, one sentence each on what would show it.
    pub missing: Vec<String>,
}

/// A genotype that came up.
#[derive(Clone, Debug, Serialize)]
pub struct GenotypeRow {
    /// In the notation of the DARTS code.
    pub text: String,
    /// The same as data; `None` if the text is damaged.
    pub genotype: Option<Architecture>,
}

/// What discretisation costs beside the curvature, over the epochs that count.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Discretisation {
    /// The epochs of which both are known.
    pub rows: Vec<DropRow>,
    /// Spearman's correlation of the two; `None` of too few epochs. Its interval takes epochs as independent, which
    /// neighbouring ones are not.
    pub rank: Option<Correlation>,
}

/// What discretisation costs after an epoch.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct DropRow {
    /// The epoch, counted from 0.
    pub epoch: usize,
    /// Dominant eigenvalue of the alpha-Hessian.
    pub eigenvalue: f64,
    /// Accuracy of the supernet minus that of its child, or error of the child minus that of the supernet.
    pub drop: f64,
}

impl SearchTable {
    pub(super) fn new(run: &Run, kind: &Kind) -> SearchTable {
        let mut table = SearchTable::default();
        table.take_spec(kind);
        let mut known = HashMap::new();
        for event in &run.events {
            match event {
                Event::Started(started) => {
                    table.space.clone_from(&started.space);
                    table.data.clone_from(&started.data);
                    table.seed = started.seed;
                    (table.n_alphas, table.n_weights) = (started.n_alphas, started.n_weights);
                    (table.n_train, table.n_valid) = (started.n_train, started.n_valid);
                }
                Event::DisparityStarted(started) => {
                    table.space.clone_from(&started.space);
                    table.data.clone_from(&started.data);
                    table.seed = started.seed;
                    (table.n_alphas, table.n_weights) = (started.n_alphas, started.n_weights);
                    (table.n_train, table.n_valid) = (started.n_train, started.n_valid);
                }
                Event::Epoch(record) => {
                    let genotype = table.number_of(&record.genotype, &mut known);
                    table.epochs.push(EpochRow::of_classification(record, genotype));
                    table.alphas_normal.push(record.alphas_normal.clone());
                    table.alphas_reduce.push(record.alphas_reduce.clone());
                    let betas = [&mut table.betas_normal, &mut table.betas_reduce];
                    for (lists, betas) in betas.into_iter().zip([&record.betas_normal, &record.betas_reduce]) {
                        lists.extend(Some(betas.clone()).filter(|betas| !betas.is_empty()));
                    }
                }
                Event::DisparityEpoch(record) => {
                    let genotype = table.number_of(&record.genotype, &mut known);
                    table.epochs.push(EpochRow::of_disparity(record, genotype));
                    table.alphas_normal.push(record.alphas_normal.clone());
                    table.alphas_reduce.push(record.alphas_reduce.clone());
                    table.alphas_upsample.push(record.alphas_upsample.clone());
                }
                Event::Decision(decision) => table.decisions.push(decision.clone()),
                Event::Selected(selected) => table.selected.push(selected.clone()),
                Event::Finished(finished) => table.found = Some(finished.clone()),
                _ => {}
            }
        }
        table.mark_kept();
        table.compare();
        table.edges = edge::tables(kind, &table);
        let mut chosen_accuracy = None;
        match kind {
            Kind::Search { space, spectra, landscapes, chosen_accuracy: chosen, .. } => {
                table.n_architectures = space.as_ref().and_then(|space| rdarts_table::n_architectures(space).ok());
                table.spectra = table.of_kept_line(spectra, |s| (s.epoch, s.attempt, !s.eigenvalues.is_empty()));
                table.landscapes = table.of_kept_line(landscapes, |l| (l.epoch, l.attempt, !l.lines.is_empty()));
                chosen_accuracy = *chosen;
            }
            Kind::DisparitySearch { maps, .. } => table.maps = MapRow::all(maps),
            _ => {}
        }
        table.discretisation = table.discretised();
        table.returned = Returned::new(&table, chosen_accuracy);
        table.health = Health::new(&table);
        table.rules = rules(&table);
        table.missing = table.what_is_missing(run);
        table
    }

    fn take_spec(&mut self, kind: &Kind) {
        match kind {
            Kind::Search { spec: Some(spec), space, .. } => {
                self.space.clone_from(&spec.space.name);
                self.data.clone_from(&spec.data.images.name);
                let n_decisions = space.as_ref().map_or(0, Space::n_decisions);
                (self.seed, self.n_epochs) = (spec.seed, spec.n_epochs(n_decisions));
                self.n_searched = spec.search.epochs;
                self.method = spec.search.method.to_string();
                self.order = spec.search.order.to_string();
                (self.l2, self.drop_path) = (spec.weights.l2, spec.search.drop_path);
                self.asked = Some(Asked::of_classification(spec));
            }
            Kind::DisparitySearch { spec, .. } => {
                self.task = Task::Disparity;
                let Some(spec) = spec else { return };
                self.space.clone_from(&spec.space.name);
                self.data.clone_from(&spec.data.pairs.name);
                (self.seed, self.n_epochs) = (spec.seed, spec.search.epochs);
                self.n_searched = self.n_epochs;
                self.method = spec.search.method.to_string();
                self.order = spec.search.order.to_string();
                self.l2 = spec.weights.l2;
                self.asked = Some(Asked::of_disparity(spec));
            }
            _ => {}
        }
        self.rule = self.asked.map(|asked| asked.rule);
    }

    /// Whether it is random search, whose epochs are of architectures that were drawn for one step each.
    pub fn is_random(&self) -> bool {
        self.method == Method::RsWs.as_str()
    }

    /// The last epoch of what was found, or the last one of a search that goes on. With random search it says nothing of
    /// what was found: [`SearchTable::returned`] does.
    pub fn last(&self) -> Option<&EpochRow> {
        let Some(found) = &self.found else { return self.epochs.last() };
        let is_found = |row: &&EpochRow| row.epoch == found.epoch && row.is_kept;
        self.epochs.iter().rev().find(is_found).or(self.epochs.last())
    }

    /// The genotype that was found, or that of the last epoch of a search that goes on.
    pub fn genotype(&self) -> Option<Architecture> {
        match &self.found {
            Some(found) => Architecture::read(&found.genotype),
            None if self.is_random() => None,
            None => self.genotypes.get(self.epochs.last()?.genotype)?.genotype.clone(),
        }
    }

    /// The weight of each operation of a cell after the epoch that the result is from; `None` where that is not known.
    pub fn weights_of(&self, found: &Architecture, cell: CellKind) -> Option<Vec<f64>> {
        if self.is_random() {
            return None;
        }
        let result = self.last()?;
        let row = self.epochs.iter().position(|row| std::ptr::eq(row, result))?;
        let weight = |&(node, op, input): &(usize, rdarts_space::Op, usize)| {
            let is_edge = |edge: &&EdgeTable| edge.cell == cell && edge.node == node && edge.input == input;
            let edge = self.edges.iter().find(is_edge)?;
            let op = edge.ops.iter().position(|name| name == op.as_str())?;
            Some(edge.weights[op][row])
        };
        found.entries(cell).iter().map(weight).collect()
    }

    /// The epochs of the line that the search ended with.
    pub fn kept(&self) -> impl Iterator<Item = &EpochRow> {
        self.epochs.iter().filter(|row| row.is_kept)
    }

    /// The place of a genotype among the different ones, to which it is added where it is new.
    fn number_of(&mut self, text: &str, known: &mut HashMap<String, usize>) -> usize {
        let n = self.genotypes.len();
        match known.entry(text.to_string()) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                self.genotypes.push(GenotypeRow { genotype: Architecture::read(text), text: text.to_string() });
                *entry.insert(n)
            }
        }
    }

    /// Marks the epochs that no later one took the place of.
    fn mark_kept(&mut self) {
        // A search that went back and was stopped at once has given up what it went back from.
        let last = match self.decisions.last() {
            Some(d)
                if d.kind == DecisionKind::Rollback && self.epochs.last().is_some_and(|e| e.attempt == d.attempt) =>
            {
                d.return_to
            }
            _ => usize::MAX,
        };
        let mut next = last.saturating_add(1);
        for row in self.epochs.iter_mut().rev() {
            row.is_kept = row.epoch < next;
            next = next.min(row.epoch);
        }
    }

    /// What the rule compared after each epoch.
    fn compare(&mut self) {
        let Some(asked) = self.asked else { return };
        // The method whose limit depends on the noise of what it compares.
        let is_noisy = self.method == Method::DartsEsNoise.as_str();
        let (mut history, mut with_noise): (Vec<Measurement>, Vec<NoisyMeasurement>) = Default::default();
        let mut attempt = 0;
        for row in &mut self.epochs {
            if row.attempt != attempt {
                attempt = row.attempt;
                history.retain(|measured| measured.epoch < row.epoch);
            }
            if let Some(eigenvalue) =
                row.eigenvalue.or(asked.is_measured(row.epoch, self.n_searched).then_some(f64::NAN))
            {
                history.push(Measurement { epoch: row.epoch, eigenvalue });
                Compared { smoothed: row.smoothed, limit: row.limit } = compared(&asked.rule, &history);
                if is_noisy {
                    let (epoch, error, batches) = (row.epoch, row.eigenvalue_error, asked.batches);
                    with_noise.push(NoisyMeasurement { epoch, eigenvalue, error, batches });
                    let rule = NoiseRule { growth: asked.rule, risk: asked.risk };
                    let Compared { smoothed, limit } = rule.compared(&with_noise, self.n_searched);
                    // A limit beyond all numbers is none that can be drawn.
                    (row.smoothed, row.limit) = (smoothed, limit.filter(|limit| *limit < f64::MAX / 2.0));
                }
            }
        }
    }

    /// The last of some measurements of each epoch that counts; of each are told its epoch, its attempt and whether it
    /// holds anything.
    fn of_kept_line<T: Clone>(&self, measured: &[T], of: impl Fn(&T) -> (usize, usize, bool)) -> Vec<T> {
        let last_of = |row: &EpochRow| {
            measured.iter().rev().find(|measured| of(measured) == (row.epoch, row.attempt, true)).cloned()
        };
        self.kept().filter_map(last_of).collect()
    }

    fn discretised(&self) -> Discretisation {
        let row = |row: &EpochRow| {
            let drop = row.drop()?;
            let eigenvalue = row.eigenvalue?;
            (drop.is_finite() && eigenvalue.is_finite()).then_some(DropRow { epoch: row.epoch, eigenvalue, drop })
        };
        let rows: Vec<DropRow> = self.kept().filter_map(row).collect();
        Discretisation { rank: rank_correlation(rows.iter().map(|row| (row.eigenvalue, row.drop))), rows }
    }

    fn what_is_missing(&self, run: &Run) -> Vec<String> {
        let mut missing = Vec::new();
        if self.epochs.is_empty() {
            return missing;
        }
        let has = |value: fn(&EpochRow) -> Option<f64>| self.epochs.iter().any(|row| value(row).is_some());
        let (has_alphas, is_disparity) = (!self.is_random(), self.task == Task::Disparity);
        let what = if is_disparity { "error" } else { "accuracy" };
        if !has(|row| row.eigenvalue) && has_alphas {
            missing.push("The dominant eigenvalue was not measured: a search with `hessian.every=1` does.".to_string());
        }
        if !has(EpochRow::of_supernet) {
            missing.push(format!("The {what} of the supernet was not taken: a search with `eval.oneshot=true` does."));
        }
        if !has(EpochRow::of_child) && has_alphas {
            missing.push(format!(
                "The {what} of the discretised child was not taken: a search with `eval.child=true` does."
            ));
        }
        // What is computed of a search for classification alone, from the states that it keeps.
        let is_kept = self.asked.is_none_or(|asked| asked.keeps_all || !asked.selects);
        if self.spectra.is_empty() && has_alphas && is_kept && !is_disparity {
            let first = if self.asked.is_some_and(|asked| asked.keeps_all) {
                ""
            } else {
                ", of a search with `eval.keep_checkpoints=true`,"
            };
            missing.push(format!(
                "Whole spectra were not computed: `rdarts hessian {} --full --epochs all`{first} does.",
                rdarts_run::for_shell(&run.path)
            ));
        }
        if self.landscapes.is_empty() && has_alphas && is_kept && !is_disparity {
            missing.push(format!(
                "The validation loss around the alphas was not computed: `rdarts hessian {} --landscape` does.",
                rdarts_run::for_shell(&run.path)
            ));
        }
        if self.edges.is_empty() {
            missing.push("The weights of the edges are left out, since the search space was not recorded.".to_string());
        }
        if run.timings.is_empty() {
            missing.push("How long it took was not recorded.".to_string());
        }
        if is_disparity && self.found.is_some() && self.maps.is_empty() {
            missing
                .push("Pictures of pairs were not kept: a search that ends with this version keeps them.".to_string());
        }
        if run.state == State::Finished {
            missing.push(
                "How good the found network is: `rdarts train` of this directory's genotype shows it.".to_string(),
            );
        }
        missing
    }
}
