//! A search that goes on from what another one has computed.
//!
//! DARTS, DARTS-ES, DARTS-ADA, the rule that knows the noise, and DARTS+ make the same bits until they act. So a search with
//! one of them can take over the epochs of another up to there: the events, and the checkpoints that are kept. What comes
//! of it is, byte for byte, what it would have made alone.

use rdarts_run::{CheckpointName, EpochRecord, Event, Method, RunDir, RunView, SearchSpec, Spec, difference};
use rdarts_train::{Job, Next, TrainError};

use crate::State;
use crate::search::Search;

/// What another search has left to be taken over.
pub struct Common {
    /// Its epochs, without rollbacks before them.
    records: Vec<EpochRecord>,
    /// The last epoch that is taken over.
    pub last: usize,
    /// The epoch after which the new method acts, if it does within those of the other search.
    pub acts: Option<usize>,
}

/// Whether the method takes the steps of plain DARTS until it acts.
fn is_plain(method: Method) -> bool {
    use Method::{Darts, DartsAda, DartsEs, DartsEsNoise, DartsPlus};
    matches!(method, Darts | DartsEs | DartsAda | DartsEsNoise | DartsPlus)
}

/// What `search` has in common with the run of `other`, and can go on from.
///
/// # Errors
/// One sentence if the two do not belong together, or if nothing was kept to go on from.
pub fn common(from: &RunView, other: &Search, search: &Search) -> Result<Common, TrainError> {
    let shown = rdarts_data::shown(from.path());
    for method in [other, search].map(|search| search.spec.search.method) {
        if !is_plain(method) {
            return Err(TrainError::Input(format!(
                "a search with {method} takes steps of its own, so it shares no epochs with another method"
            )));
        }
    }
    if let Some((key, there, here)) = difference(&shared(other), &shared(search)) {
        return Err(TrainError::Input(format!(
            "{shown} was searched with {key} = {there}, not {here}: only search.method, eval.keep_checkpoints and the keys of \
             [monitor] and [method] may be others than there"
        )));
    }
    let mut records: Vec<EpochRecord> = Vec::new();
    for event in from.good_events().map_err(TrainError::input)?.0 {
        match event {
            // Behind a rollback nothing is common.
            Event::Epoch(record) if record.attempt == 0 && record.epoch == records.len() => records.push(*record),
            Event::Started(_) => {}
            _ => break,
        }
    }
    let acts = first_act(search, &records);
    let before = match acts {
        // The epoch after which it acts is made again: it judges what it has measured itself.
        Some(0) => None,
        Some(epoch) => Some(epoch - 1),
        None => records.len().checked_sub(1),
    };
    let whole = ends(from, other)?;
    let last = before.and_then(|before| whole.into_iter().filter(|epoch| *epoch <= before).max());
    match (last, acts, records.len()) {
        (Some(last), ..) => Ok(Common { records, last, acts }),
        (None, Some(epoch), _) => Err(TrainError::Input(format!(
            "{} acts after epoch {epoch}, and {shown} keeps no checkpoint of an epoch before it: with \
             eval.keep_checkpoints=true a search keeps them all",
            search.spec.search.method
        ))),
        (None, None, 0) => Err(TrainError::Input(format!("{shown} has finished no epoch yet"))),
        (None, None, _) => Err(TrainError::Input(format!("{shown} has no checkpoint of a finished epoch"))),
    }
}

impl Common {
    /// Fills the empty directory of the new search, which `rdarts_train::resume` then goes on with.
    ///
    /// # Errors
    /// If a checkpoint cannot be read, or the directory not be written.
    pub fn take_over(
        &self,
        from: &RunView,
        other: &Search,
        search: &Search,
        dir: &mut RunDir,
    ) -> Result<(), TrainError> {
        let timings = from.timings().map_err(TrainError::failed)?;
        let names = from.checkpoints().map_err(TrainError::failed)?;
        dir.append_event(&search.begin().0).map_err(TrainError::failed)?;
        for record in &self.records[..=self.last] {
            dir.append_event(&Event::Epoch(Box::new(record.clone()))).map_err(TrainError::failed)?;
            if let Some(timing) = timings.iter().find(|t| (t.attempt, t.epoch) == (0, record.epoch)) {
                dir.append_timing(timing).map_err(TrainError::failed)?;
            }
            let Some(name) = names.iter().find(|name| name.epoch == record.epoch && is_end(name, other)) else {
                continue;
            };
            let checkpoint = from.load_checkpoint(name).map_err(TrainError::failed)?;
            let mut state = State::from_checkpoint(other, &name.to_string(), checkpoint)?;
            state.at.errors = errors(&self.records[..=record.epoch]);
            if state.at.finished && record.epoch + 1 < search.spec.search.epochs {
                // The other one was stopped there.
                state.at.finished = false;
                state.at.begin_epoch(record.epoch + 1);
            }
            dir.save_checkpoint(name, state.to_checkpoint(search)).map_err(TrainError::failed)?;
        }
        Ok(())
    }
}

/// The spec without what the new search may have of its own.
fn shared(search: &Search) -> String {
    let mut spec = search.spec_without_places();
    spec.search.method = Method::Darts;
    spec.eval.keep_checkpoints = false;
    let fixed = SearchSpec::resolve(None, None, &[], &rdarts_train::KnownSets).expect("a test resolves every preset");
    (spec.monitor, spec.method) = (fixed.monitor, fixed.method);
    spec.to_toml()
}

/// The epoch after which the method of `search` acts on what was recorded.
fn first_act(search: &Search, records: &[EpochRecord]) -> Option<usize> {
    let mut state = search.blank();
    for (epoch, record) in records.iter().enumerate() {
        state.at.epoch = epoch;
        if crate::rules::is_measured(&search.spec, epoch) {
            state.at.history.push((epoch, record.eigenvalue));
        }
        state.at.errors = errors(&records[..=epoch]);
        state.extra.alphas = [&record.alphas_normal[..], &record.alphas_reduce].concat();
        if search.judge(&state).next != Next::On {
            return Some(epoch);
        }
    }
    None
}

fn errors(records: &[EpochRecord]) -> Vec<(usize, f64)> {
    records.iter().filter_map(|record| Some((record.epoch, record.eigenvalue_error?))).collect()
}

/// The epochs whose end was kept.
fn ends(from: &RunView, other: &Search) -> Result<Vec<usize>, TrainError> {
    let names = from.checkpoints().map_err(TrainError::failed)?;
    Ok(names.iter().filter(|name| is_end(name, other)).map(|name| name.epoch).collect())
}

/// Whether a checkpoint is of the end of an epoch before any rollback, which would have added steps.
fn is_end(name: &CheckpointName, other: &Search) -> bool {
    name.step.is_none() && name.sequence == ((name.epoch + 1) * other.steps_per_epoch()) as u64
}
