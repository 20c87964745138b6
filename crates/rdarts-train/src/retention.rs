//! Which checkpoints stay: a pure function of their names and of the earliest epoch that may still be asked for.

use std::collections::BTreeMap;

use rdarts_run::CheckpointName;

/// The earlier of two, where `None` is never: what must stay while the newest checkpoint, or the one before it, may be
/// what the run goes on from.
pub fn earlier(a: Option<usize>, b: Option<usize>) -> Option<usize> {
    a.into_iter().chain(b).min()
}

/// Of the checkpoints there are, those that must stay: the newest two, so that a damaged one costs one epoch; of the end
/// of every epoch from `earliest` on the newest two, since the same epoch has several after a rollback; and the newest
/// from before that, from which a damaged one of these can be made again.
pub fn kept(checkpoints: &[CheckpointName], earliest: Option<usize>) -> Vec<CheckpointName> {
    let mut names: Vec<&CheckpointName> = checkpoints.iter().collect();
    names.sort_by_key(|name| std::cmp::Reverse(name.sequence));
    let mut seen: BTreeMap<usize, usize> = BTreeMap::new();
    let (mut stay, mut has_spare) = (Vec::new(), false);
    for (i, name) in names.into_iter().enumerate() {
        let is_wanted = name.step.is_none() && earliest.is_some_and(|earliest| name.epoch >= earliest);
        let of_epoch = seen.entry(name.epoch).or_default();
        *of_epoch += usize::from(is_wanted);
        let is_before = |earliest| name.epoch < earliest || (name.epoch == earliest && name.step.is_some());
        let is_spare = !has_spare && earliest.is_some_and(is_before);
        has_spare |= is_spare;
        if i < 2 || is_spare || (is_wanted && *of_epoch <= 2) {
            stay.push(name.clone());
        }
    }
    stay
}
