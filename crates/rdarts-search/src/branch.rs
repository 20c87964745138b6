//! A search that goes on from what another one has computed.
//!
//! DARTS, DARTS-ES, DARTS-ADA, the rule that knows the noise, DARTS+ and DARTS-PT make the same bits until they act. So a search with
//! one of them can take over the epochs of another up to there: the events, and the checkpoints that are kept. Where the new search
//! measures the curvature in another way, on more batches say, it is measured again from the checkpoints. What comes
//! of it is, byte for byte, what it would have made alone.

use std::ops::Range;
use std::sync::atomic::AtomicBool;

use rdarts_run::{CheckpointName, EpochRecord, Event, Method, RunDir, RunView, SearchSpec, Spec, difference};
use rdarts_train::{Job, Next, TrainError};

use crate::State;
use crate::hessian::eigenvalue;
use crate::rules::is_measured;
use crate::search::Search;

/// What another search has left to be taken over.
pub struct Common {
    /// Its epochs, without rollbacks before them.
    records: Vec<EpochRecord>,
    /// Its states after some of them, with the names of their checkpoints, in order; the last one is of `last`.
    states: Vec<(CheckpointName, State)>,
    /// The last epoch that is taken over.
    pub last: usize,
    /// The epoch after which the new method acts, if it does within those of the other search.
    pub acts: Option<usize>,
    /// Checkpoints that were left out because they are damaged, one sentence each.
    pub warnings: Vec<String>,
}

/// Why no epochs can go from a run of one method to another method; `None` if they can.
pub fn refused(from: &RunView, theirs: Method, own: Method) -> Option<TrainError> {
    let plain: Vec<&str> =
        Method::ALL.iter().filter(|method| method.is_plain()).map(|method| method.as_str()).collect();
    let plain = plain.join(", ");
    let sentence = match (theirs.is_plain(), own.is_plain()) {
        (false, _) => format!(
            "{} was searched with {theirs}, which takes steps of its own, so that no other method shares its epochs: --from \
             takes runs of {plain}",
            rdarts_data::shown(from.path())
        ),
        (true, false) => format!(
            "a search with {own} takes steps of its own, so it shares no epochs with {theirs}: --from goes on with {plain}"
        ),
        (true, true) => return None,
    };
    Some(TrainError::Input(sentence))
}

/// What `search` has in common with the run of `other`, and can go on from. `told` hears how many epochs of how many have been
/// measured again, which takes as long as measuring them did.
///
/// # Errors
/// One sentence if the two do not belong together, or if nothing was kept to go on from.
pub fn common(
    from: &RunView,
    other: &Search,
    search: &Search,
    told: &mut dyn FnMut(usize, usize),
) -> Result<Common, TrainError> {
    let shown = rdarts_data::shown(from.path());
    if let Some(refused) = refused(from, other.spec.search.method, search.spec.search.method) {
        return Err(refused);
    }
    if other.images.fingerprint != search.images.fingerprint {
        return Err(TrainError::Input(format!("{shown} was searched on other images")));
    }
    if other.space != search.space {
        return Err(TrainError::Input(format!(
            "{shown} was searched in the space {}, not in {}",
            other.space.name, search.space.name
        )));
    }
    if let Some((key, there, here)) = difference(&shared(other), &shared(search)) {
        return Err(TrainError::Input(format!(
            "{shown} was searched with {key} = {there}, not {here}: only search.method, eval.keep_checkpoints and the keys of \
             [hessian], [monitor] and [method] may be others than there"
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
    let mut warnings = Vec::new();
    let n_recorded = records.len();
    if other.spec.hessian != search.spec.hessian {
        measure_again(from, other, search, &mut records, &mut warnings, told)?;
    }
    let acts = first_act(search, &records);
    // The epoch after which it acts is made again: the search judges what it has measured itself.
    let upto = acts.unwrap_or(records.len());
    let mut states = states(from, other, search, 0..upto, &records, &mut warnings)?;
    let keeps = "with eval.keep_checkpoints=true a search keeps them all";
    let Some(last) = states.last().map(|(name, _)| name.epoch) else {
        return Err(TrainError::Input(match (acts, records.len()) {
            (Some(0), _) => {
                let method = search.spec.search.method;
                let why = match method == Method::DartsPlus {
                    true => format!(
                        ", whose normal cell has {} skip connections (method.max_skips is {})",
                        records[0].skip_connects_normal, search.spec.method.max_skips
                    ),
                    false => String::new(),
                };
                format!("{method} acts after epoch 0 already{why}, so there is nothing to take over")
            }
            (Some(epoch), _) => format!(
                "{} acts after epoch {epoch}, and {shown} has no checkpoint of an epoch before it: {keeps}",
                search.spec.search.method
            ),
            (None, 0) if n_recorded > 0 => {
                let missing = || format!("{shown} has no checkpoint of epoch 0: {keeps}");
                let why = warnings.pop().unwrap_or_else(missing);
                format!("the curvature has to be measured again from the first epoch on, but {why}")
            }
            (None, 0) => format!("{shown} has finished no epoch yet"),
            (None, _) => format!("{shown} has no checkpoint of a finished epoch: {keeps}"),
        }));
    };
    // What the new search may go back to.
    let earliest = search.earliest_return(&after(search, &records, last));
    let needed = earliest.unwrap_or(last)..=last;
    if let Some(epoch) = needed.clone().find(|epoch| states.iter().all(|(name, _)| name.epoch != *epoch)) {
        return Err(TrainError::Input(format!(
            "{} may go back to epoch {epoch}, and {shown} has no checkpoint of it: {keeps}",
            search.spec.search.method
        )));
    }
    if !search.keeps_all() {
        states.retain(|(name, _)| needed.contains(&name.epoch));
    }
    Ok(Common { records, states, last, acts, warnings })
}

impl Common {
    /// Fills the empty directory of the new search, which `rdarts_train::resume` then goes on with.
    ///
    /// # Errors
    /// If the directory cannot be written.
    pub fn take_over(&self, from: &RunView, search: &Search, dir: &mut RunDir) -> Result<(), TrainError> {
        let timings = from.timings().map_err(TrainError::failed)?;
        dir.append_event(&search.begin().0).map_err(TrainError::failed)?;
        for record in &self.records[..=self.last] {
            dir.append_event(&Event::Epoch(Box::new(record.clone()))).map_err(TrainError::failed)?;
            // An epoch that was stopped within has several.
            for timing in timings.iter().filter(|t| (t.attempt, t.epoch) == (0, record.epoch)) {
                dir.append_timing(timing).map_err(TrainError::failed)?;
            }
            for (name, state) in self.states.iter().filter(|(name, _)| name.epoch == record.epoch) {
                dir.save_checkpoint(name, state.to_checkpoint(search)).map_err(TrainError::failed)?;
            }
        }
        Ok(())
    }
}

/// The curvature after each epoch as `search` measures it, up to where it acts or where a checkpoint is not there: later
/// records are left out.
fn measure_again(
    from: &RunView,
    other: &Search,
    search: &Search,
    records: &mut Vec<EpochRecord>,
    warnings: &mut Vec<String>,
    told: &mut dyn FnMut(usize, usize),
) -> Result<(), TrainError> {
    let never = AtomicBool::new(false);
    told(0, records.len());
    for epoch in 0..records.len() {
        let mut found = None;
        if is_measured(&search.spec, epoch) {
            let states = states(from, other, search, epoch..epoch + 1, records, warnings)?;
            let Some((_, state)) = states.first() else {
                if epoch > 0 {
                    warnings.push(format!(
                        "epochs from {epoch} on are searched again: their curvature cannot be measured again without a checkpoint \
                         of epoch {epoch}"
                    ));
                }
                records.truncate(epoch);
                break;
            };
            found = eigenvalue(search, state, epoch, search.spec.hessian.tolerance, &never)?;
        }
        let record = &mut records[epoch];
        [record.eigenvalue, record.eigenvalue_bound, record.eigenvalue_error] =
            found.map_or([None; 3], |found| found.recorded());
        told(epoch + 1, records.len());
        if acts_after(search, records, epoch) {
            records.truncate(epoch + 1);
            break;
        }
    }
    Ok(())
}

/// The states of the other search after these epochs, as far as their checkpoints are there, as those of the new search.
fn states(
    from: &RunView,
    other: &Search,
    search: &Search,
    epochs: Range<usize>,
    records: &[EpochRecord],
    warnings: &mut Vec<String>,
) -> Result<Vec<(CheckpointName, State)>, TrainError> {
    // A name with more steps than its epochs have is from behind a rollback.
    let is_end = |name: &CheckpointName| {
        name.step.is_none() && name.sequence == ((name.epoch + 1) * other.steps_per_epoch()) as u64
    };
    let mut names = from.checkpoints().map_err(TrainError::failed)?;
    // After its last epoch a search that selects has begun to.
    let is_plain =
        |name: &CheckpointName| !other.spec.search.method.selects() || name.epoch + 1 < other.spec.search.epochs;
    names.retain(|name| is_end(name) && is_plain(name) && epochs.contains(&name.epoch));
    names.sort_by_key(|name| name.sequence);
    let mut states = Vec::new();
    for name in names {
        let checkpoint = match from.load_checkpoint(&name) {
            Ok(checkpoint) => checkpoint,
            // Or deleted meanwhile by a search that goes on.
            Err(e) => {
                warnings.push(e.to_string());
                continue;
            }
        };
        let mut state = State::from_checkpoint(other, &name.to_string(), checkpoint)?;
        let record = &records[name.epoch];
        if state.extra.by_type() != [&record.alphas_normal[..], &record.alphas_reduce] {
            warnings.push(format!("checkpoint `{name}` does not hold the alphas that events.jsonl has of its epoch"));
            continue;
        }
        (state.at.history, state.at.errors) =
            (history(search, &records[..=name.epoch]), errors(&records[..=name.epoch]));
        state.extra.projection = search.blank().extra.projection;
        if state.at.finished && name.epoch + 1 < search.spec.search.epochs {
            // The other one was stopped there.
            state.at.finished = false;
            state.at.begin_epoch(name.epoch + 1);
        }
        states.push((name, state));
    }
    Ok(states)
}

/// The spec without what the new search may have of its own.
fn shared(search: &Search) -> String {
    let mut spec = search.spec_without_places();
    spec.search.method = Method::Darts;
    spec.eval.keep_checkpoints = false;
    let fixed = SearchSpec::resolve(None, None, &[], &rdarts_train::KnownSets).expect("a test resolves every preset");
    (spec.hessian, spec.monitor, spec.method) = (fixed.hessian, fixed.monitor, fixed.method);
    spec.to_toml()
}

/// The epoch after which the method of `search` acts on what was recorded.
fn first_act(search: &Search, records: &[EpochRecord]) -> Option<usize> {
    (0..records.len()).find(|epoch| acts_after(search, records, *epoch))
}

fn acts_after(search: &Search, records: &[EpochRecord], epoch: usize) -> bool {
    let selects = search.spec.search.method.selects() && epoch + 1 == search.spec.search.epochs;
    selects || search.judge(&after(search, records, epoch)).next != Next::On
}

/// A state that knows what was measured up to an epoch, and the alphas after it; its weights mean nothing.
fn after(search: &Search, records: &[EpochRecord], epoch: usize) -> State {
    let mut state = search.blank();
    let upto = &records[..=epoch];
    state.at.epoch = epoch;
    (state.at.history, state.at.errors) = (history(search, upto), errors(upto));
    state.extra.alphas = [&upto[epoch].alphas_normal[..], &upto[epoch].alphas_reduce].concat();
    state
}

fn history(search: &Search, records: &[EpochRecord]) -> Vec<(usize, Option<f64>)> {
    let measured = records.iter().filter(|record| is_measured(&search.spec, record.epoch));
    measured.map(|record| (record.epoch, record.eigenvalue)).collect()
}

fn errors(records: &[EpochRecord]) -> Vec<(usize, f64)> {
    records.iter().filter_map(|record| Some((record.epoch, record.eigenvalue_error?))).collect()
}
