//! Which runs are copies of others, and which searches have one trajectory: what is over many runs must not count one run
//! several times.
//!
//! Two searches have one *trajectory* if their specs agree in all that is looked at before a method acts, seed included, and
//! their epochs agree to the bit as far as both have them without going back. If their whole specs agree, one of them is a
//! *copy*: the unfinished one, or the later of two. `rdarts search --from` makes trajectories with several methods, a
//! directory that was copied before its run went on makes copies.

use std::hash::{DefaultHasher, Hash, Hasher};

use rdarts_run::TrainEpoch;

use super::RunRow;
use super::rows::{Varied, bits, fingerprint};
use crate::number::listed;
use crate::read::State;
use crate::table::many::is_search;
use crate::table::{Content, RunTable};

/// A run as far as it tells whether another one is the same.
struct Trace {
    /// All that what it computes depends on until a method acts; none if the spec is damaged.
    begin: Option<String>,
    /// The method, and what only methods and measurements look at.
    method: String,
    /// What it computed, epoch by epoch or member by member, as digests.
    steps: Vec<u64>,
    /// Epochs in all.
    length: usize,
}

/// Fills `copy_of` and `trajectory` of the rows of some runs.
pub(super) fn find(runs: &[RunTable], rows: &mut [RunRow]) {
    let traces: Vec<Trace> = runs.iter().zip(rows.iter()).map(|(run, row)| Trace::new(run, row)).collect();
    let is_finished = |i: usize| rows[i].state == State::Finished;
    // Whoever goes farthest stands for the others; of equals the first one.
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|&i| (!is_finished(i), std::cmp::Reverse(traces[i].length), i));
    let mut longest: Vec<usize> = (0..rows.len()).collect();
    longest.sort_by_key(|&i| (std::cmp::Reverse(traces[i].steps.len()), i));
    let mut trajectory: Vec<usize> = (0..rows.len()).collect();
    let mut heads: Vec<usize> = Vec::new();
    for i in longest {
        match heads.iter().find(|&&head| traces[head].has_one_trajectory_with(&traces[i])) {
            Some(&head) => trajectory[i] = head,
            None => heads.push(i),
        }
    }
    let mut copy_of = vec![None; rows.len()];
    for (at, &i) in order.iter().enumerate() {
        let is_original = |&&other: &&usize| {
            copy_of[other].is_none() && trajectory[other] == trajectory[i] && traces[other].method == traces[i].method
        };
        copy_of[i] = order[..at].iter().find(is_original).copied();
    }
    for (i, row) in rows.iter_mut().enumerate() {
        (row.copy_of, row.trajectory) = (copy_of[i], trajectory[i]);
    }
}

impl Trace {
    fn new(run: &RunTable, row: &RunRow) -> Trace {
        // Where a method's steps depend on one of these, its epochs do not agree.
        let is_of_method = |key: &str| {
            ["monitor.", "method.", "hessian."].iter().any(|section| key.starts_with(section))
                || key == "data.valid_limit"
        };
        let settings = |of_method: bool| -> String {
            let kept = row.settings.iter().filter(|(key, _)| is_of_method(key) == of_method);
            kept.map(|(key, value)| format!("{key}={value};")).collect()
        };
        let names = format!("{};{};{};", row.space, row.data, row.seed);
        let known = !row.settings.is_empty();
        let (begin, method, steps, length) = match &run.content {
            Content::Search(table) => {
                let first = table.epochs.iter().enumerate().filter(|(_, epoch)| epoch.attempt == 0);
                let step = |(i, epoch): (usize, &crate::table::search::EpochRow)| {
                    let of = [&table.alphas_normal, &table.alphas_reduce, &table.alphas_upsample];
                    let alphas = of.into_iter().filter_map(|alphas| alphas.get(i)).flatten();
                    let alphas: Vec<u32> = alphas.map(|alpha| alpha.to_bits()).collect();
                    digest((epoch.train_loss.to_bits(), epoch.of_steps().map(f64::to_bits), alphas))
                };
                let varied = Varied::ALL.map(|what| bits(what.of(row)));
                let begin = format!("search;{:?};{names}{varied:?};{}", row.task, settings(false));
                let method = format!("{};{}", row.method, settings(true));
                (begin, method, first.map(step).collect(), table.epochs.len())
            }
            Content::Train(table) => {
                let genotype = table.started.as_ref().map_or("", |started| &started.genotype);
                let step = |epoch: &TrainEpoch| digest((epoch.train_loss.to_bits(), epoch.train_accuracy.to_bits()));
                let steps: Vec<u64> = table.epochs.iter().map(step).collect();
                let n = steps.len();
                (format!("train;{names}{genotype};{}", fingerprint(row, false)), String::new(), steps, n)
            }
            Content::DisparityTrain(table) => {
                let genotype = table.started.as_ref().map_or("", |started| &started.genotype);
                let steps = table.epochs.iter().map(|e| digest((e.train_loss.to_bits(), e.train_error.to_bits())));
                let (steps, strength): (Vec<u64>, _) = (steps.collect(), bits(row.augmentation));
                let n = steps.len();
                let begin = format!("disparity-training;{names}{genotype};{strength};{}", fingerprint(row, false));
                (begin, String::new(), steps, n)
            }
            Content::Robust(table) => {
                let found = table.members.iter().filter(|member| member.genotype.is_some());
                let steps: Vec<u64> = found.map(|member| digest((&member.label, &member.genotype))).collect();
                let n = steps.len();
                (format!("robust;{names}{}", fingerprint(row, false)), row.method.clone(), steps, n)
            }
            Content::Nothing => (String::new(), String::new(), Vec::new(), 0),
        };
        let known = known && !matches!(run.content, Content::Nothing);
        Trace { begin: known.then_some(begin), method, steps, length }
    }

    fn has_one_trajectory_with(&self, other: &Trace) -> bool {
        let both = self.steps.iter().zip(&other.steps);
        let is_known = !self.steps.is_empty() && !other.steps.is_empty();
        self.begin.is_some()
            && self.begin == other.begin
            && (is_known || self.method == other.method)
            && both.into_iter().all(|(one, other)| one == other)
    }
}

fn digest(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// Of the rows that are no copies and of which `value` is known, one for each trajectory: the one that goes farthest.
pub(super) fn once<T>(rows: &[RunRow], value: impl Fn(&RunRow) -> Option<T>) -> Vec<(usize, T)> {
    let mut found: Vec<(usize, T)> = Vec::new();
    for (i, row) in rows.iter().enumerate().filter(|(_, row)| row.copy_of.is_none()) {
        let Some(value) = value(row) else { continue };
        match found.iter_mut().find(|(other, _)| rows[*other].trajectory == row.trajectory) {
            Some(there) if rows[there.0].n_epochs < row.n_epochs => *there = (i, value),
            Some(_) => {}
            None => found.push((i, value)),
        }
    }
    found
}

/// What is left out of what, and why, in a sentence each.
pub(super) fn in_words(rows: &[RunRow]) -> Vec<String> {
    let named = |i: usize| match rows[i].state {
        State::Finished => rows[i].name.clone(),
        _ => format!("{} (not finished)", rows[i].name),
    };
    let groups = |is_of: &dyn Fn(usize, usize) -> bool, of: &str| -> Vec<String> {
        let group = |head: usize| {
            let others: Vec<String> = (0..rows.len()).filter(|&i| i != head && is_of(i, head)).map(named).collect();
            let of = if others.len() == 1 { of.replace("share", "shares") } else { of.to_string() };
            (!others.is_empty()).then(|| format!("{} {of} {}", listed(&others, ", "), rows[head].name))
        };
        (0..rows.len()).filter_map(group).collect()
    };
    let mut sentences = Vec::new();
    let copies = groups(&|i, head| rows[i].copy_of == Some(head), "of");
    if !copies.is_empty() {
        sentences.push(format!(
            "Copies of other runs, with the same spec, seed and events as far as both go, are left out of all that follows \
             but the list of runs: {}.",
            listed(&copies, "; ")
        ));
    }
    // One of each trajectory that is no copy names the others.
    let first = |i: usize| {
        let is_of = |j: &usize| rows[*j].copy_of.is_none() && rows[*j].trajectory == rows[i].trajectory;
        (0..rows.len()).find(is_of)
    };
    let is_branch =
        |i: usize, head: usize| rows[i].copy_of.is_none() && is_search(&rows[i]) && first(i) == Some(head) && i != head;
    let shared = groups(&is_branch, "share that of");
    if !shared.is_empty() {
        sentences.push(format!(
            "Searches that have one trajectory, the same epochs until their methods act, stand in the row of each method, \
             but count once in what is over all searches together: {}.",
            listed(&shared, "; ")
        ));
    }
    sentences
}
