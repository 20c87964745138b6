//! DARTS+: the search ends when its normal cell has too many skip connections (Liang et al., "DARTS+: Improved Differentiable
//! Architecture Search with Early Stopping", arXiv 1909.06035, the first of its two criteria).
//!
//! ```text
//! stop after the first epoch whose genotype has >= method.max_skips (2) skip connections in the normal cell, and return it
//! ```
//!
//! Everything else is DARTS. The paper's space has eight operations on an edge; where an edge has two or three, as in S1 to S3,
//! a cell drawn at random has three to four skip connections already, so that a search there wants a larger number.
//! The second criterion, that the order of the alphas of operations with weights rests for ten epochs, says nothing in
//! spaces with one such operation on an edge, and is left out.

use rdarts_run::{Decision, DecisionKind, Event};
use rdarts_space::{CellType, Op, Space};
use rdarts_train::{Next, Verdict};

use crate::State;
use crate::search::Search;

/// The skip connections that the normal cell of an architecture drawn at random has on average: as many edges into each node
/// as it keeps, and on each any operation that may be chosen.
pub fn expected_skips(space: &Space) -> f64 {
    let topology = space.topology;
    let share = |ops: &Vec<Op>| {
        let n = ops.iter().filter(|op| **op != Op::None || topology.may_choose_none()).count();
        let skips = ops.iter().filter(|op| **op == Op::SkipConnect).count();
        if n > 0 { skips as f64 / n as f64 } else { 0.0 }
    };
    let mut rest = &space.normal[..];
    let mut expected = 0.0;
    for node in 0..space.nodes {
        let (edges, after) = rest.split_at(node + topology.n_inputs());
        expected += topology.kept(node) as f64 * edges.iter().map(share).sum::<f64>() / edges.len() as f64;
        rest = after;
    }
    expected
}

/// The end, if there are too many skip connections.
pub(crate) fn verdict(search: &Search, state: &State) -> Option<Verdict> {
    let (epoch, l2, limit) = (state.at.epoch, state.sgd.l2, search.spec.method.max_skips);
    let skips = state.extra.genotype(&search.space).n_uses(CellType::Normal, Op::SkipConnect);
    if skips < limit {
        return None;
    }
    let has = match skips {
        1 => "1 skip connection".to_string(),
        n => format!("{n} skip connections"),
    };
    let reason = format!(
        "The search stops after epoch {epoch} and returns its architecture because the normal cell has {has}, and {limit} end a \
         search with darts-plus (method.max_skips)."
    );
    let event = Event::Decision(Decision {
        attempt: state.at.attempt,
        epoch,
        kind: DecisionKind::Stop,
        return_to: epoch,
        // No eigenvalue has a part in it.
        smoothed_now: f64::NAN,
        smoothed_before: f64::NAN,
        ratio: f64::NAN,
        l2_old: l2,
        l2_new: l2,
        reason: reason.clone(),
    });
    Some(Verdict { next: Next::Stop { epoch }, event: Some(event), reason, is_news: true })
}
