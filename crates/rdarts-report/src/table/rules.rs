//! What every stopping rule would have done on the trajectory of a search, whatever its method.
//!
//! A rule is judged on the first attempt alone, which no rule has touched: up to the first time that the search went
//! back it is the search that plain DARTS would have made. What came after had another L2 factor and is the trajectory
//! of no other rule.

use rdarts_monitor::{AdaRule, Decision, Form, Measurement, Method, Rule, decide};
use rdarts_space::{CellType, Genotype, Op};
use serde::Serialize;

use super::search::{EpochRow, SearchTable};
use crate::number::{short, some};

/// What a rule would have done.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RuleOutcome {
    /// The rule.
    pub rule: String,
    /// Its numbers.
    pub numbers: String,
    /// The last epoch that it was judged on.
    pub judged_to: usize,
    /// Whether that is the last one of the search, so that a rule that has not acted never would.
    pub is_whole: bool,
    /// The epoch after which it would have acted; `None` if it would not, or not within what is known.
    pub acts_after: Option<usize>,
    /// The epoch whose architecture it would have returned.
    pub returns: Option<usize>,
    /// That architecture.
    pub genotype: Option<String>,
    /// Skip connections of its normal cell.
    pub skips_normal: Option<usize>,
    /// Skip connections of its reduction cell.
    pub skips_reduce: Option<usize>,
    /// All that in one sentence.
    pub sentence: String,
}

/// What every rule would have done on the trajectory of a search: plain DARTS, DARTS-ES in both forms and, where it is
/// neither, in that of the spec, and what DARTS-ADA would have done first.
pub fn rules(table: &SearchTable) -> Vec<RuleOutcome> {
    let first: Vec<&EpochRow> = table.epochs.iter().filter(|row| row.attempt == 0).collect();
    let Some(last) = first.last() else { return Vec::new() };
    let mut outcomes = vec![plain(table, last)];
    if first.iter().all(|row| row.eigenvalue.is_none()) {
        return outcomes;
    }
    let es = |name: &str, rule: &Rule, first: &[&EpochRow]| stopping(table, name, rule, first);
    outcomes.push(es("DARTS-ES, the rule of the paper", &Rule::paper(), &first));
    // The released code measures after every second epoch and the last, and its numbers are meant for that.
    let is_dense = first.windows(2).any(|pair| pair.iter().all(|row| row.eigenvalue.is_some()));
    let is_of_code = |row: &&&EpochRow| !is_dense || row.epoch.is_multiple_of(2) || row.epoch + 1 == table.n_epochs;
    let seldom: Vec<&EpochRow> = first.iter().filter(is_of_code).copied().collect();
    outcomes.push(es("DARTS-ES, the rule of the released code", &Rule::released(), &seldom));
    // With the noise its rule is another one, and the search itself says what that did.
    let own = table.rule.filter(|_| table.method != rdarts_run::Method::DartsEsNoise.as_str());
    if let Some(rule) = own.filter(|rule| *rule != Rule::paper() && *rule != Rule::released()) {
        outcomes.push(es("DARTS-ES, the rule of this spec", &rule, &first));
    }
    outcomes.push(adaptive(table, &first));
    outcomes
}

/// DARTS-ADA as the paper has it, up to what it would have done first: what would have come then is not known.
fn adaptive(table: &SearchTable, rows: &[&EpochRow]) -> RuleOutcome {
    let (rule, ada) = (Rule::paper(), AdaRule::released());
    let mut outcome = stopping(table, "DARTS-ADA, the rule of the paper", &rule, rows);
    let acts = rows.iter().find(|row| Some(row.epoch) == outcome.acts_after);
    if let (Some(row), Some(back)) = (acts, outcome.returns) {
        let (returns, genotype, skips) = (None, None, None);
        outcome.sentence = match ada.raised(row.l2) {
            Some(raised) => format!(
                "{}, would have gone back after epoch {} to epoch {back} and raised L2 from {} to {}.",
                outcome.rule,
                row.epoch,
                short(row.l2),
                short(raised)
            ),
            None => format!(
                "{}, would have acted after epoch {}, but L2 {} may not be raised further.",
                outcome.rule,
                row.epoch,
                short(row.l2)
            ),
        };
        outcome = RuleOutcome { returns, genotype, skips_normal: skips, skips_reduce: skips, ..outcome };
    }
    outcome
}

/// Plain DARTS, which returns the last epoch.
fn plain(table: &SearchTable, last: &EpochRow) -> RuleOutcome {
    let is_whole = last.epoch + 1 >= table.n_epochs;
    let mut outcome = RuleOutcome {
        rule: "DARTS".to_string(),
        numbers: "none".to_string(),
        judged_to: last.epoch,
        is_whole,
        acts_after: None,
        returns: None,
        genotype: None,
        skips_normal: None,
        skips_reduce: None,
        sentence: format!(
            "DARTS would have gone on to epoch {}, which this trajectory does not reach.",
            table.n_epochs.saturating_sub(1)
        ),
    };
    if is_whole {
        outcome.take(table, last);
        let skips = outcome.skips_in_words();
        outcome.sentence = format!("DARTS would have returned the last epoch, {}{skips}.", last.epoch);
    }
    outcome
}

fn stopping(table: &SearchTable, name: &str, rule: &Rule, rows: &[&EpochRow]) -> RuleOutcome {
    let numbers = match rule.form {
        Form::Paper => format!(
            "mean of {}, compared with that {} measurements earlier, acts where earlier / now is below {}",
            rule.window,
            rule.lag,
            short(rule.threshold)
        ),
        Form::Released => format!(
            "mean of {}, compared with that {} measurements earlier, acts where now / earlier is above {}",
            rule.window,
            rule.lag,
            short(rule.threshold)
        ),
    };
    let mut outcome = RuleOutcome {
        rule: name.to_string(),
        numbers,
        judged_to: 0,
        is_whole: false,
        acts_after: None,
        returns: None,
        genotype: None,
        skips_normal: None,
        skips_reduce: None,
        sentence: String::new(),
    };
    let mut history = Vec::new();
    for row in rows {
        let Some(eigenvalue) = row.eigenvalue else { continue };
        history.push(Measurement { epoch: row.epoch, eigenvalue });
        (outcome.judged_to, outcome.is_whole) = (row.epoch, row.epoch + 1 >= table.n_epochs);
        let decision =
            decide(Method::Es, rule, &AdaRule::released(), &history, row.epoch, table.n_epochs.max(1), row.l2);
        if let Decision::Stop { return_to, growth } = decision {
            outcome.acts_after = Some(row.epoch);
            if let Some(returned) = rows.iter().find(|row| row.epoch == return_to) {
                outcome.take(table, returned);
            }
            outcome.sentence = format!(
                "{name}, would have stopped after epoch {} and returned epoch {return_to}{}: the smoothed eigenvalue \
                 had grown {}-fold (limit {}).",
                row.epoch,
                outcome.skips_in_words(),
                short(growth.ratio),
                short(growth.limit)
            );
            return outcome;
        }
    }
    outcome.sentence = match (outcome.is_whole, rows.last()) {
        (true, Some(last)) => {
            outcome.take(table, last);
            let skips = outcome.skips_in_words();
            format!("{name}, would not have stopped and returned the last epoch, {}{skips}.", last.epoch)
        }
        _ => {
            format!("{name}, would not have stopped up to epoch {}, where its trajectory ends.", outcome.judged_to)
        }
    };
    outcome
}

impl RuleOutcome {
    fn take(&mut self, table: &SearchTable, row: &EpochRow) {
        self.returns = Some(row.epoch);
        let Some(found) = table.genotypes.get(row.genotype) else { return };
        self.genotype = Some(found.text.clone());
        let skips = |genotype: &Genotype, cell| genotype.n_uses(cell, Op::SkipConnect);
        self.skips_normal = found.genotype.as_ref().map(|genotype| skips(genotype, CellType::Normal));
        self.skips_reduce = found.genotype.as_ref().map(|genotype| skips(genotype, CellType::Reduce));
    }

    fn skips_in_words(&self) -> String {
        self.skips_normal.map_or(String::new(), |n| format!(", with {} in its normal cell", some(n, "skip connection")))
    }
}
