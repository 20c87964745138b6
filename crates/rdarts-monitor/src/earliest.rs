//! Which epochs a decision may still ask for: a pure function of the rule and the history.
//!
//! DARTS-ADA goes back by a fixed number of measurements, its *reach*: after measurement i to measurement i - reach.
//! That shortens the history, so the next decision may ask for one still further back. With h measurements in the
//! history the next decision is at measurement h (counted from 0) or later and goes back to h - reach at the earliest;
//! h - reach + 1 measurements are left then, and the decision after it goes back to h - reach - (reach - 1) at the
//! earliest. So with r raises of L2 to come, the earliest measurement that can be asked for is
//!
//! h - reach - (r - 1) (reach - 1),
//!
//! but never one that the rule itself cannot return.

use crate::{AdaRule, Method, Rule};

/// The earliest epoch that a decision after any number of further epochs can ask for, `history` being the measured
/// epochs so far; `None` if no decision can ask for any.
pub fn earliest_return(method: Method, rule: &Rule, ada: &AdaRule, history: &[usize], l2: f64) -> Option<usize> {
    if method != Method::Ada {
        return None;
    }
    // The newest checkpoint may be damaged: then the search goes on from one that knows one measurement less.
    let mut earliest = history.len().saturating_sub(rule.reach() + 1);
    let mut l2 = ada.raised(l2)?;
    while let Some(raised) = ada.raised(l2).filter(|_| earliest > rule.first_returned()) {
        earliest = earliest.saturating_sub(rule.reach() - 1);
        l2 = raised;
    }
    let measured = history.get(earliest.max(rule.first_returned()));
    Some(measured.copied().or(history.last().map(|last| last + 1)).unwrap_or(0))
}
