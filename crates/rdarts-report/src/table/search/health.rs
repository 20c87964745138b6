//! Whether a search stayed healthy, and what came of it in one sentence.

use rdarts_monitor::{AdaRule, Decision, Measurement, Method as Acts, Rule, decide};
use rdarts_run::{Decision as Decided, DecisionKind, Method};
use rdarts_space::Op;
use serde::Serialize;

use super::SearchTable;
use crate::number::{short, some};
use crate::task::{Architecture, CellKind};

/// Whether a search stayed healthy.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Health {
    /// Whether it did; `None` if nothing shows it.
    pub is_healthy: Option<bool>,
    /// Whether all operations of the normal cell that was found are parameterless.
    pub is_degenerate: bool,
    /// Parameterless operations among those of the normal cell.
    pub parameterless: Option<(usize, usize)>,
    /// The largest growth of the smoothed eigenvalue that the rule of the spec saw on the line that counts, and its
    /// limit.
    pub growth: Option<(f64, f64)>,
    /// The first epoch of that line at which the growth was beyond the limit.
    pub grew_after: Option<usize>,
}

impl Health {
    pub(super) fn new(table: &SearchTable) -> Health {
        let mut health = Health::default();
        if let Some(genotype) = table.genotype() {
            let n = genotype.entries(CellKind::Normal).len();
            let parameterless = genotype.n_parameterless(CellKind::Normal);
            health.parameterless = Some((parameterless, n));
            health.is_degenerate = n > 0 && parameterless == n;
        }
        let Some(rule) = table.rule else { return health };
        let mut history = Vec::new();
        let upto = table.found.as_ref().map_or(usize::MAX, |found| found.epoch);
        for row in table.kept() {
            let Some(eigenvalue) = row.eigenvalue else { continue };
            history.push(Measurement { epoch: row.epoch, eigenvalue });
            // One epoch more than there are, since the growth at the last one counts in either form.
            let n_epochs = row.epoch + 2;
            let rule = Rule { first_return: 0, ..rule };
            let decision = decide(Acts::Es, &rule, &AdaRule::released(), &history, row.epoch, n_epochs, 0.0);
            let growth = match decision {
                Decision::Stop { growth, .. } => {
                    health.grew_after.get_or_insert(row.epoch);
                    growth
                }
                Decision::Continue(rdarts_monitor::Why::Steady(growth)) => growth,
                _ => continue,
            };
            if health.growth.is_none_or(|(ratio, _)| growth.ratio > ratio) {
                health.growth = Some((growth.ratio, growth.limit));
            }
        }
        let has_grown = health.grew_after.is_some_and(|epoch| epoch <= upto);
        health.is_healthy = match (health.is_degenerate, health.growth) {
            (true, _) => Some(false),
            (false, Some(_)) => Some(!has_grown),
            (false, None) => None,
        };
        health
    }
}

impl SearchTable {
    /// What came of it, in one sentence.
    pub fn verdict(&self) -> String {
        let Some(last) = self.epochs.last() else { return "The search has not ended its first epoch.".to_string() };
        let as_of = match &self.found {
            Some(found) if !self.is_random() => format!(", as of epoch {}", found.epoch),
            _ => String::new(),
        };
        let stands = format!("The search stands at epoch {} of {}", last.epoch, self.n_epochs);
        let begin = match (self.genotype(), &self.found) {
            (None, None) if self.is_random() => format!("{stands}, and chooses an architecture at its end"),
            (None, Some(_)) => format!("The search found a genotype that cannot be read{as_of}"),
            (None, None) => format!("{stands} with a genotype that cannot be read"),
            (Some(genotype), found) if self.health.is_degenerate => {
                let begin = if found.is_some() { "The search has" } else { &format!("{stands} and has") };
                format!("{begin} degenerated: {}{as_of}", degenerate_in_words(&genotype))
            }
            (Some(genotype), Some(_)) => format!("The search found {}{as_of}", cell_in_words(&genotype)),
            (Some(genotype), None) => format!("{stands} with {}", cell_in_words(&genotype)),
        };
        let parts = [Some(begin), self.health_in_words(), Some(self.monitor_in_words())];
        format!("{}.", parts.into_iter().flatten().collect::<Vec<_>>().join("; "))
    }

    /// None where the beginning of the verdict says it.
    fn health_in_words(&self) -> Option<String> {
        let health = &self.health;
        if health.is_degenerate {
            return None;
        }
        let upto = self.found.as_ref().map_or(usize::MAX, |found| found.epoch);
        Some(match (health.growth, health.grew_after) {
            _ if self.is_random() => "it has no alphas whose curvature could be watched".to_string(),
            (None, _) => self.too_few_in_words(),
            (Some((ratio, limit)), None) => format!(
                "it stayed healthy, since the smoothed dominant eigenvalue grew at most {}-fold (limit {})",
                short(ratio),
                short(limit)
            ),
            (Some((ratio, limit)), Some(epoch)) if epoch > upto => format!(
                "it was healthy up to there, and at epoch {epoch} the smoothed dominant eigenvalue had grown {}-fold \
                 (limit {})",
                short(ratio),
                short(limit)
            ),
            (Some((ratio, limit)), Some(epoch)) => format!(
                "it did not stay healthy, since the smoothed dominant eigenvalue outgrew its limit at epoch {epoch} \
                 (up to {}-fold, limit {})",
                short(ratio),
                short(limit)
            ),
        })
    }

    /// Why the curvature says nothing.
    fn too_few_in_words(&self) -> String {
        let measured = self.kept().filter(|row| row.eigenvalue.is_some_and(f64::is_finite)).count();
        let needed = self.rule.map(|rule| rule.first_returned() + rule.reach() + 1);
        match (measured, needed) {
            (0, _) => "its curvature was not measured, so that whether it stayed healthy is not known".to_string(),
            (n, Some(needed)) if n < needed => format!(
                "whether it stayed healthy is not known, since its curvature was measured after {} and its growth is told \
                 from {needed} on",
                some(n, "epoch")
            ),
            _ => "what was measured of its curvature does not tell whether it stayed healthy".to_string(),
        }
    }

    fn monitor_in_words(&self) -> String {
        let of_kind = |kind| self.decisions.iter().filter(move |decision| decision.kind == kind);
        let mut words = Vec::new();
        let back: Vec<&Decided> = of_kind(DecisionKind::Rollback).collect();
        if let (Some(first), Some(last)) = (back.first(), back.last()) {
            let times = if back.len() == 1 { "once".to_string() } else { format!("{} times", back.len()) };
            let from = if back.len() == 1 { "" } else { "first " };
            words.push(format!(
                "went back {times}, {from}after epoch {} to epoch {}, and raised L2 from {} to {}",
                first.epoch,
                first.return_to,
                short(first.l2_old),
                short(last.l2_new)
            ));
        }
        if let Some(stop) = of_kind(DecisionKind::Stop).next() {
            words.push(format!("stopped it after epoch {} and returned epoch {}", stop.epoch, stop.return_to));
        }
        let of_this = |method: &&Method| self.method == method.as_str();
        let has_no_say = Method::ALL.iter().find(of_this).is_some_and(|method| !method.needs_eigenvalue());
        let who = if self.method == Method::DartsPlus.as_str() { "the rule of DARTS+" } else { "the monitor" };
        match words.is_empty() {
            false => format!("{who} {}", words.join(" and ")),
            true if who != "the monitor" => "the rule of DARTS+ did not act".to_string(),
            true if has_no_say => format!("the monitor has no say in method {}", self.method),
            true => "the monitor did not act".to_string(),
        }
    }
}

/// The operations of a cell that are no convolutions, in words: all of them are.
fn degenerate_in_words(found: &Architecture) -> String {
    let n = found.entries(CellKind::Normal).len();
    let others = |count: &dyn Fn(CellKind) -> usize| -> String {
        let of = |cell: CellKind| {
            let n = found.entries(cell).len();
            (n > 0).then(|| format!(" and {} of {n} of the {} cell", count(cell), cell.in_words()))
        };
        [CellKind::Reduce, CellKind::Upsample].into_iter().filter_map(of).collect()
    };
    match found.n_uses(CellKind::Normal, Op::SkipConnect) == n {
        true => format!(
            "{n} of {n} operations of the normal cell{} are skip connections",
            others(&|cell| found.n_uses(cell, Op::SkipConnect))
        ),
        false => format!(
            "{n} of {n} operations of the normal cell{} are no convolutions",
            others(&|cell| found.n_parameterless(cell))
        ),
    }
}

/// The normal cell in a few words.
fn cell_in_words(found: &Architecture) -> String {
    let n = found.entries(CellKind::Normal).len();
    let skips = found.n_uses(CellKind::Normal, Op::SkipConnect);
    let convolutions = n - found.n_parameterless(CellKind::Normal);
    format!(
        "a normal cell of {} with {} and {}",
        some(n, "operation"),
        some(convolutions, "convolution"),
        some(skips, "skip connection")
    )
}
