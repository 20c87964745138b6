//! What every stopping rule would have done on the trajectory of a search, whatever its method.
//!
//! A rule is judged on the first attempt alone, which no rule has touched: up to the first time that the search went
//! back it is the search that plain DARTS would have made. What came after had another L2 factor and is the trajectory
//! of no other rule.

use rdarts_monitor::{AdaRule, Decision, Form, Measurement, Method, NoiseRule, NoisyMeasurement, Rule, decide};
use rdarts_run as run;
use serde::Serialize;

use super::search::{EpochRow, SearchTable};
use crate::number::{short, some};
use crate::task::{CellKind, Task};

/// What a rule would have done.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RuleOutcome {
    /// The rule.
    pub rule: String,
    /// Its numbers.
    pub numbers: String,
    /// Whether the run has what it reads; if not, `sentence` says what is missing.
    pub is_judged: bool,
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
    /// Skip connections of its upsampling cell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skips_upsample: Option<usize>,
    /// All that in one sentence.
    pub sentence: String,
}

/// Skip connections that end a search with DARTS+ in its paper.
const MAX_SKIPS: usize = 2;

/// What every rule would have done on the trajectory of a search: plain DARTS, DARTS-ES in both forms and, where it is
/// neither, in that of the spec, what DARTS-ADA would have done first, the rule that knows the noise, and DARTS+. Random
/// search has no trajectory.
pub fn rules(table: &SearchTable) -> Vec<RuleOutcome> {
    // No rule has a say in a selection after the search.
    let is_searched = |row: &&EpochRow| table.n_searched == 0 || row.epoch < table.n_searched;
    let first: Vec<&EpochRow> = table.epochs.iter().filter(|row| row.attempt == 0).filter(is_searched).collect();
    let Some(last) = first.last().filter(|_| !table.is_random()) else { return Vec::new() };
    let mut outcomes = vec![plain(table, last)];
    match first.iter().any(|row| row.eigenvalue.is_some()) {
        true => outcomes.extend(of_eigenvalue(table, &first)),
        false => outcomes.push(RuleOutcome {
            sentence:
                "DARTS-ES, DARTS-ADA and darts-es-noise cannot be judged: they read the dominant eigenvalue, which \
                       was not measured."
                    .to_string(),
            ..RuleOutcome::new("DARTS-ES, DARTS-ADA and darts-es-noise", String::new())
        }),
    }
    // No other task has been searched with it.
    if table.task != Task::Classification {
        return outcomes;
    }
    outcomes.push(of_skips(table, "DARTS+, the rule of the paper", MAX_SKIPS, &first));
    if let Some(asked) = table.asked.filter(|asked| asked.max_skips != MAX_SKIPS) {
        outcomes.push(of_skips(table, "DARTS+, the rule of this spec", asked.max_skips, &first));
    }
    outcomes
}

/// The rules that look at the eigenvalue.
fn of_eigenvalue(table: &SearchTable, first: &[&EpochRow]) -> Vec<RuleOutcome> {
    let mut outcomes = Vec::new();
    let es = |name: &str, rule: &Rule, first: &[&EpochRow]| stopping(table, name, rule, first);
    outcomes.push(es("DARTS-ES, the rule of the paper", &Rule::paper(), first));
    // The released code measures after every second epoch and the last, and its numbers are meant for that.
    let is_dense = first.windows(2).any(|pair| pair.iter().all(|row| row.eigenvalue.is_some()));
    let is_of_code = |row: &&&EpochRow| !is_dense || row.epoch.is_multiple_of(2) || row.epoch + 1 == table.n_searched;
    let seldom: Vec<&EpochRow> = first.iter().filter(is_of_code).copied().collect();
    outcomes.push(es("DARTS-ES, the rule of the released code", &Rule::released(), &seldom));
    if let Some(rule) = table.rule.filter(|rule| *rule != Rule::paper() && *rule != Rule::released()) {
        outcomes.push(es("DARTS-ES, the rule of this spec", &rule, first));
    }
    outcomes.push(adaptive(table, first));
    outcomes.push(of_noise(table, first));
    outcomes
}

/// The rule that knows the noise, with the numbers of the spec, since no paper has any.
fn of_noise(table: &SearchTable, rows: &[&EpochRow]) -> RuleOutcome {
    let name = "darts-es-noise, with the numbers of this spec";
    let has_noise = rows.iter().any(|row| row.eigenvalue_error.is_some());
    let (Some(rule), Some(asked), true) = (table.rule, table.asked, has_noise) else {
        return RuleOutcome {
            sentence:
                "darts-es-noise cannot be judged: it reads the standard error of the eigenvalue, which a search with \
                       `hessian.batches=8` records."
                    .to_string(),
            ..RuleOutcome::new(name, String::new())
        };
    };
    let rule = NoiseRule { growth: rule, risk: asked.risk };
    let numbers = format!(
        "{}, and only at a growth that the noise does not explain at a risk of {}",
        numbers(&rule.growth),
        percent_of(rule.risk)
    );
    let mut history = Vec::new();
    judged(table, RuleOutcome::new(name, numbers), rows, &mut |row, eigenvalue| {
        let (epoch, error) = (row.epoch, row.eigenvalue_error);
        history.push(NoisyMeasurement { epoch, eigenvalue, error, batches: asked.batches });
        rule.decide(&history, epoch, table.n_searched.max(1))
    })
}

/// DARTS+, which looks at the skip connections of the normal cell.
fn of_skips(table: &SearchTable, name: &str, limit: usize, rows: &[&EpochRow]) -> RuleOutcome {
    let mut outcome = RuleOutcome::new(name, format!("acts at {} in the normal cell", some(limit, "skip connection")));
    outcome.is_judged = true;
    let acts = rows.iter().find(|row| row.skip_connects_normal >= limit);
    let Some(last) = acts.or(rows.last()) else { return outcome };
    (outcome.judged_to, outcome.is_whole) = (last.epoch, last.epoch + 1 >= table.n_searched);
    outcome.acts_after = acts.map(|row| row.epoch);
    if acts.is_some() || outcome.is_whole {
        outcome.take(table, last);
    }
    let skips = outcome.skips_in_words();
    outcome.sentence = match (acts, outcome.is_whole) {
        (Some(row), _) => format!(
            "{name}, would have stopped after epoch {} and returned it{skips}: {limit} {} the search.",
            row.epoch,
            if limit == 1 { "ends" } else { "end" }
        ),
        (None, true) => {
            format!("{name}, would not have stopped, and would have returned the last epoch, {}{skips}.", last.epoch)
        }
        (None, false) => {
            format!("{name}, would not have stopped up to epoch {}, where its trajectory ends.", last.epoch)
        }
    };
    outcome
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
        outcome = RuleOutcome {
            returns,
            genotype,
            skips_normal: skips,
            skips_reduce: skips,
            skips_upsample: skips,
            ..outcome
        };
    } else {
        outcome.sentence = outcome.sentence.replace("would not have stopped", "would not have gone back");
    }
    outcome
}

/// Plain DARTS, which returns the last epoch; of a method with steps of its own, that method.
fn plain(table: &SearchTable, last: &EpochRow) -> RuleOutcome {
    // Of a damaged spec the method is not known.
    let own = run::Method::ALL.iter().find(|method| method.as_str() == table.method && !method.is_plain());
    let name = match own.is_none() {
        true => "DARTS".to_string(),
        false => format!("{} without a rule", table.method),
    };
    let is_whole = last.epoch + 1 >= table.n_searched;
    let mut outcome = RuleOutcome {
        is_judged: true,
        judged_to: last.epoch,
        is_whole,
        sentence: format!(
            "{name} would have gone on to epoch {}, which this trajectory does not reach.",
            table.n_searched.saturating_sub(1)
        ),
        ..RuleOutcome::new(&name, "none".to_string())
    };
    if is_whole {
        outcome.take(table, last);
        let skips = outcome.skips_in_words();
        outcome.sentence = format!("{name} would have returned the last epoch, {}{skips}.", last.epoch);
    }
    outcome
}

fn numbers(rule: &Rule) -> String {
    let acts = match rule.form {
        Form::Paper => "earlier / now is below",
        Form::Released => "now / earlier is above",
    };
    format!(
        "mean of {}, compared with that {} measurements earlier, acts where {acts} {}",
        rule.window,
        rule.lag,
        short(rule.threshold)
    )
}

/// A round fraction as percent.
pub(crate) fn percent_of(fraction: f64) -> String {
    format!("{} %", short(100.0 * fraction))
}

fn stopping(table: &SearchTable, name: &str, rule: &Rule, rows: &[&EpochRow]) -> RuleOutcome {
    let mut history = Vec::new();
    judged(table, RuleOutcome::new(name, numbers(rule)), rows, &mut |row, eigenvalue| {
        history.push(Measurement { epoch: row.epoch, eigenvalue });
        decide(Method::Es, rule, &AdaRule::released(), &history, row.epoch, table.n_searched.max(1), row.l2)
    })
}

/// What a rule makes of one measurement after another.
fn judged(
    table: &SearchTable,
    mut outcome: RuleOutcome,
    rows: &[&EpochRow],
    decide: &mut dyn FnMut(&EpochRow, f64) -> Decision,
) -> RuleOutcome {
    let name = outcome.rule.clone();
    outcome.is_judged = true;
    for row in rows {
        let Some(eigenvalue) = row.eigenvalue else { continue };
        (outcome.judged_to, outcome.is_whole) = (row.epoch, row.epoch + 1 >= table.n_searched);
        if let Decision::Stop { return_to, growth } = decide(row, eigenvalue) {
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
            format!("{name}, would not have stopped, and would have returned the last epoch, {}{skips}.", last.epoch)
        }
        _ => {
            format!("{name}, would not have stopped up to epoch {}, where its trajectory ends.", outcome.judged_to)
        }
    };
    outcome
}

impl RuleOutcome {
    /// A rule that is not judged yet.
    fn new(rule: &str, numbers: String) -> RuleOutcome {
        RuleOutcome {
            rule: rule.to_string(),
            numbers,
            is_judged: false,
            judged_to: 0,
            is_whole: false,
            acts_after: None,
            returns: None,
            genotype: None,
            skips_normal: None,
            skips_reduce: None,
            skips_upsample: None,
            sentence: String::new(),
        }
    }

    fn take(&mut self, table: &SearchTable, row: &EpochRow) {
        self.returns = Some(row.epoch);
        let Some(found) = table.genotypes.get(row.genotype) else { return };
        self.genotype = Some(found.text.clone());
        let skips = |cell| found.genotype.as_ref().and_then(|genotype| genotype.skips(cell));
        (self.skips_normal, self.skips_reduce) = (skips(CellKind::Normal), skips(CellKind::Reduce));
        self.skips_upsample = skips(CellKind::Upsample).filter(|_| table.task == Task::Disparity);
    }

    fn skips_in_words(&self) -> String {
        self.skips_normal.map_or(String::new(), |n| format!(", with {} in its normal cell", some(n, "skip connection")))
    }
}
