//! A search: its epochs, what the monitor did, what was found, and whether it stayed healthy.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use rdarts_monitor::{Compared, Measurement, NoiseRule, NoisyMeasurement, Rule, compared};
use rdarts_run::{
    Decision as Decided, DecisionKind, EpochRecord, Event, Finished, HessianMode, Landscape, Method, MonitorForm,
    SearchSpec, Spectrum,
};
use rdarts_space::{CellType, Genotype, Space, edges};
use serde::Serialize;

use super::rules::{RuleOutcome, rules};
use crate::read::{Kind, Run, State};
use crate::statistics::{Correlation, rank_correlation};

mod health;

mod returned;

pub use health::Health;
pub use returned::Returned;

/// A search.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SearchTable {
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
    /// Number of images that train the weights.
    pub n_train: usize,
    /// Number of images that train the alphas.
    pub n_valid: usize,
    /// Epochs that the search was to have; 0 if the spec is damaged.
    pub n_epochs: usize,
    /// The stopping rule of the spec; `None` if that is damaged.
    pub rule: Option<Rule>,
    /// What rules and captions need besides of the spec; `None` if that is damaged.
    #[serde(skip)]
    pub(crate) asked: Option<Asked>,
    /// The epochs in the order in which they were done, those that were given up too.
    pub epochs: Vec<EpochRow>,
    /// What the monitor did.
    pub decisions: Vec<Decided>,
    /// What was found; `None` while the search goes on.
    pub found: Option<Finished>,
    /// The numbers of what was found, or of what the search holds now; `None` of random search before its end, which holds
    /// nothing.
    pub returned: Option<Returned>,
    /// The different genotypes, in the order in which they first came up.
    pub genotypes: Vec<GenotypeRow>,
    /// The edges of both cells.
    pub edges: Vec<EdgeTable>,
    /// Alphas of the normal cell, one list an epoch.
    pub alphas_normal: Vec<Vec<f32>>,
    /// Alphas of the reduction cell, one list an epoch.
    pub alphas_reduce: Vec<Vec<f32>>,
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
    /// What this run cannot show, one sentence each on what would show it.
    pub missing: Vec<String>,
}

/// An epoch.
#[derive(Clone, Debug, Serialize)]
pub struct EpochRow {
    /// How often the search had gone back before.
    pub attempt: usize,
    /// The epoch, counted from 0.
    pub epoch: usize,
    /// Whether it belongs to the line that the search ended with, or was given up by going back.
    pub is_kept: bool,
    /// Learning rate of the weights.
    pub lr: f64,
    /// L2 factor of the weights.
    pub l2: f64,
    /// Drop path probability.
    pub drop_path: f64,
    /// Probability of Cutout.
    pub cutout_prob: f64,
    /// Mean loss of the weight steps.
    pub train_loss: f64,
    /// Fraction of the images of the weight steps that were classified correctly.
    pub train_accuracy: f64,
    /// Mean loss of the alpha steps.
    pub alpha_loss: f64,
    /// Loss of the supernet on the split of the alphas.
    pub valid_loss: Option<f64>,
    /// Its accuracy there.
    pub valid_accuracy: Option<f64>,
    /// Loss of the discretised child there.
    pub child_loss: Option<f64>,
    /// Its accuracy there.
    pub child_accuracy: Option<f64>,
    /// Dominant eigenvalue of the alpha-Hessian.
    pub eigenvalue: Option<f64>,
    /// Bound of its numerical error.
    pub eigenvalue_bound: Option<f64>,
    /// Its standard error over batches.
    pub eigenvalue_error: Option<f64>,
    /// The mean that the stopping rule compares.
    pub smoothed: Option<f64>,
    /// The smoothed eigenvalue beyond which the rule acts.
    pub limit: Option<f64>,
    /// Skip connections of the normal cell.
    pub skip_connects_normal: usize,
    /// Skip connections of the reduction cell.
    pub skip_connects_reduce: Option<usize>,
    /// Parameterless operations of the normal cell.
    pub parameterless_normal: Option<usize>,
    /// Parameterless operations of the reduction cell.
    pub parameterless_reduce: Option<usize>,
    /// Which of the genotypes the alphas stand for.
    pub genotype: usize,
}

/// A genotype that came up.
#[derive(Clone, Debug, Serialize)]
pub struct GenotypeRow {
    /// In the notation of the DARTS code.
    pub text: String,
    /// The same as data; `None` if the text is damaged.
    pub genotype: Option<Genotype>,
}

/// An edge of a cell, and the weight of each of its operations over the epochs.
#[derive(Clone, Debug, Serialize)]
pub struct EdgeTable {
    /// The cell type.
    pub cell: CellType,
    /// The node that it leads to, counted from 0.
    pub node: usize,
    /// What it reads: 0 and 1 are the inputs of the cell, 2 + i is node i.
    pub input: usize,
    /// Its operations.
    pub ops: Vec<String>,
    /// For each operation its softmax weight after each epoch; with method `rs-ws` its mixing weight.
    pub weights: Vec<Vec<f64>>,
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
    /// Accuracy of the supernet minus that of its child.
    pub drop: f64,
}

/// What rules and captions need of a spec.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// Skip connections that end a search with DARTS+.
    pub max_skips: usize,
    /// Batches that the eigenvalue is measured on.
    pub batches: usize,
    /// The risk of the rule that knows the noise.
    pub risk: f64,
    /// Architectures that random search chooses from.
    pub samples: usize,
    /// What stands on the diagonal of the Hessian beside the curvature of the loss: the weight decay of the alphas.
    pub diagonal: f64,
}

impl SearchTable {
    pub(super) fn new(run: &Run, kind: &Kind) -> SearchTable {
        let mut table = SearchTable::default();
        let Kind::Search { spec, space, spectra, landscapes, chosen_accuracy } = kind else { return table };
        let spec = spec.as_deref();
        if let Some(spec) = spec {
            table.space.clone_from(&spec.space.name);
            table.data.clone_from(&spec.data.images.name);
            table.seed = spec.seed;
            table.method = spec.search.method.to_string();
            table.order = spec.search.order.to_string();
            (table.l2, table.drop_path) = (spec.weights.l2, spec.search.drop_path);
            table.n_epochs = spec.search.epochs;
            table.rule = Some(rule_of(spec));
            table.asked = Some(Asked::new(spec));
        }
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
                Event::Epoch(record) => table.push(record, &mut known),
                Event::Decision(decision) => table.decisions.push(decision.clone()),
                Event::Finished(finished) => table.found = Some(finished.clone()),
                _ => {}
            }
        }
        table.mark_kept();
        table.compare(spec);
        if let Some(space) = space {
            table.n_architectures = rdarts_table::n_architectures(space).ok();
            table.edges = edge_tables(space, &table);
        }
        table.spectra = table.of_kept_line(spectra, |s| (s.epoch, s.attempt, !s.eigenvalues.is_empty()));
        table.landscapes = table.of_kept_line(landscapes, |l| (l.epoch, l.attempt, !l.lines.is_empty()));
        table.discretisation = table.discretised();
        table.returned = Returned::new(&table, *chosen_accuracy);
        table.health = Health::new(&table);
        table.rules = rules(&table);
        table.missing = table.what_is_missing(run, spec);
        table
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
    pub fn genotype(&self) -> Option<Genotype> {
        match &self.found {
            Some(found) => found.genotype.parse().ok(),
            None if self.is_random() => None,
            None => self.genotypes.get(self.epochs.last()?.genotype)?.genotype.clone(),
        }
    }

    /// The weight of each operation of a cell after the epoch that the result is from; `None` where that is not known.
    pub fn weights_of(&self, genotype: &Genotype, cell: CellType) -> Option<Vec<f64>> {
        if self.is_random() {
            return None;
        }
        let result = self.last()?;
        let row = self.epochs.iter().position(|row| std::ptr::eq(row, result))?;
        let weight = |(i, (op, input)): (usize, &(rdarts_space::Op, usize))| {
            let is_edge = |edge: &&EdgeTable| edge.cell == cell && edge.node == i / 2 && edge.input == *input;
            let edge = self.edges.iter().find(is_edge)?;
            let op = edge.ops.iter().position(|name| name == op.as_str())?;
            Some(edge.weights[op][row])
        };
        genotype.cell(cell).iter().enumerate().map(weight).collect()
    }

    /// The epochs of the line that the search ended with.
    pub fn kept(&self) -> impl Iterator<Item = &EpochRow> {
        self.epochs.iter().filter(|row| row.is_kept)
    }

    fn push(&mut self, record: &EpochRecord, known: &mut HashMap<String, usize>) {
        let n = self.genotypes.len();
        let genotype = match known.entry(record.genotype.clone()) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                let text = record.genotype.clone();
                self.genotypes.push(GenotypeRow { genotype: text.parse().ok(), text });
                *entry.insert(n)
            }
        };
        self.epochs.push(EpochRow {
            attempt: record.attempt,
            epoch: record.epoch,
            is_kept: false,
            lr: record.lr,
            l2: record.l2,
            drop_path: record.drop_path,
            cutout_prob: record.cutout_prob,
            train_loss: record.train_loss,
            train_accuracy: record.train_accuracy,
            alpha_loss: record.alpha_loss,
            valid_loss: record.valid_loss,
            valid_accuracy: record.valid_accuracy,
            child_loss: record.child_loss,
            child_accuracy: record.child_accuracy,
            eigenvalue: record.eigenvalue,
            eigenvalue_bound: record.eigenvalue_bound,
            eigenvalue_error: record.eigenvalue_error,
            smoothed: None,
            limit: None,
            skip_connects_normal: record.skip_connects_normal,
            skip_connects_reduce: record.skip_connects_reduce,
            parameterless_normal: record.parameterless_normal,
            parameterless_reduce: record.parameterless_reduce,
            genotype,
        });
        self.alphas_normal.push(record.alphas_normal.clone());
        self.alphas_reduce.push(record.alphas_reduce.clone());
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
    fn compare(&mut self, spec: Option<&SearchSpec>) {
        let Some(rule) = self.rule else { return };
        // The method whose limit depends on the noise of what it compares.
        let noisy = spec.filter(|spec| spec.search.method == Method::DartsEsNoise);
        let (mut history, mut with_noise): (Vec<Measurement>, Vec<NoisyMeasurement>) = Default::default();
        let mut attempt = 0;
        for row in &mut self.epochs {
            if row.attempt != attempt {
                attempt = row.attempt;
                history.retain(|measured| measured.epoch < row.epoch);
            }
            let is_measured = spec.is_some_and(|spec| is_measured(spec, row.epoch));
            if let Some(eigenvalue) = row.eigenvalue.or(is_measured.then_some(f64::NAN)) {
                history.push(Measurement { epoch: row.epoch, eigenvalue });
                Compared { smoothed: row.smoothed, limit: row.limit } = compared(&rule, &history);
                if let Some(spec) = noisy {
                    let (epoch, error, batches) = (row.epoch, row.eigenvalue_error, spec.hessian.batches);
                    with_noise.push(NoisyMeasurement { epoch, eigenvalue, error, batches });
                    let rule = NoiseRule { growth: rule, risk: spec.monitor.risk };
                    let Compared { smoothed, limit } = rule.compared(&with_noise, spec.search.epochs);
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
            let drop = row.valid_accuracy? - row.child_accuracy?;
            let eigenvalue = row.eigenvalue?;
            (drop.is_finite() && eigenvalue.is_finite()).then_some(DropRow { epoch: row.epoch, eigenvalue, drop })
        };
        let rows: Vec<DropRow> = self.kept().filter_map(row).collect();
        Discretisation { rank: rank_correlation(rows.iter().map(|row| (row.eigenvalue, row.drop))), rows }
    }

    fn what_is_missing(&self, run: &Run, spec: Option<&SearchSpec>) -> Vec<String> {
        let mut missing = Vec::new();
        if self.epochs.is_empty() {
            return missing;
        }
        let has = |value: fn(&EpochRow) -> Option<f64>| self.epochs.iter().any(|row| value(row).is_some());
        let has_alphas = !self.is_random();
        if !has(|row| row.eigenvalue) && has_alphas {
            missing.push("The dominant eigenvalue was not measured: a search with `hessian.every=1` does.".to_string());
        }
        if !has(|row| row.valid_accuracy) {
            missing.push(
                "The accuracy of the supernet was not taken: a search with `eval.oneshot=true` does.".to_string(),
            );
        }
        if !has(|row| row.child_accuracy) && has_alphas {
            missing.push(
                "The accuracy of the discretised child was not taken: a search with `eval.child=true` does."
                    .to_string(),
            );
        }
        if self.spectra.is_empty() && has_alphas {
            let keeps = spec.is_some_and(|spec| spec.eval.keep_checkpoints);
            let first = if keeps { "" } else { ", of a search with `eval.keep_checkpoints=true`," };
            missing.push(format!(
                "Whole spectra were not computed: `rdarts hessian {} --full --epochs all`{first} does.",
                rdarts_run::for_shell(&run.path)
            ));
        }
        if self.landscapes.is_empty() && has_alphas {
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
        if run.state == State::Finished {
            missing.push(
                "How good the found network is: `rdarts train` of this directory's genotype shows it.".to_string(),
            );
        }
        missing
    }
}

impl Asked {
    fn new(spec: &SearchSpec) -> Asked {
        Asked {
            max_skips: spec.method.max_skips,
            batches: spec.hessian.batches,
            risk: spec.monitor.risk,
            samples: spec.search.samples,
            diagonal: match spec.hessian.mode {
                HessianMode::Reference => spec.alphas.l2,
                HessianMode::Plain => 0.0,
            },
        }
    }
}

/// The stopping rule of a spec, as the search has it.
fn rule_of(spec: &SearchSpec) -> Rule {
    let monitor = &spec.monitor;
    match monitor.form {
        MonitorForm::Paper => {
            Rule { window: monitor.window, lag: monitor.window, threshold: monitor.threshold, ..Rule::paper() }
        }
        MonitorForm::Released => Rule { window: monitor.window, threshold: monitor.growth, ..Rule::released() },
    }
}

/// Whether a search measures the eigenvalue after an epoch.
fn is_measured(spec: &SearchSpec, epoch: usize) -> bool {
    let every = spec.hessian.every;
    let has_alphas = spec.search.method != Method::RsWs;
    has_alphas && every > 0 && (epoch.is_multiple_of(every) || epoch + 1 == spec.search.epochs)
}

fn edge_tables(space: &Space, table: &SearchTable) -> Vec<EdgeTable> {
    // The mixing weights of random search are weights already.
    let is_mixed = !table.is_random();
    let mut tables = Vec::new();
    for cell in CellType::ALL {
        let alphas = match cell {
            CellType::Normal => &table.alphas_normal,
            CellType::Reduce => &table.alphas_reduce,
        };
        // Of another length they belong to another space, and a network without reduction cells has none.
        if alphas.is_empty() || alphas.iter().any(|row| row.len() != space.n_alphas(cell)) {
            continue;
        }
        for (edge, node, input) in edges(space.nodes) {
            let (ops, offset) = (&space.cell(cell)[edge], space.offset(cell, edge));
            let mut weights = vec![Vec::with_capacity(alphas.len()); ops.len()];
            for row in alphas {
                let alphas = &row[offset..offset + ops.len()];
                let p = if is_mixed { softmax(alphas) } else { alphas.iter().map(|&a| f64::from(a)).collect() };
                weights.iter_mut().zip(p).for_each(|(weights, p)| weights.push(p));
            }
            tables.push(EdgeTable { cell, node, input, ops: ops.iter().map(ToString::to_string).collect(), weights });
        }
    }
    tables
}

fn softmax(alphas: &[f32]) -> Vec<f64> {
    let max = alphas.iter().fold(f64::NEG_INFINITY, |max, &a| max.max(f64::from(a)));
    let exponentials: Vec<f64> = alphas.iter().map(|&a| (f64::from(a) - max).exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials.iter().map(|e| e / sum).collect()
}
