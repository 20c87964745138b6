//! The loop: steps, and at the end of each epoch measure, judge, save.
//!
//! Going back and going on after a crash are the same: load a checkpoint, continue. An interrupted run saves itself after
//! the step it is in; what was measured of an unfinished end of an epoch is measured again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdarts_data::Prefetch;
use rdarts_net::Engine;
use rdarts_run::{RunDir, Timing, peak_memory};

use crate::error::TrainError;
use crate::job::{Job, Length, Measuring, Next, Observer, Outcome, Progress};
use crate::retention::{earlier, kept};
use crate::state::{Position, State};

/// Batches made ahead of the run: two steps' worth, so that one slow batch does not stall it.
const AHEAD: usize = 2;

/// A long epoch is saved this often.
const SAVE_EVERY: Duration = Duration::from_secs(300);

/// Steps, and the time for more of them, that tell how long one takes.
const PACE_STEPS: u32 = 3;
const PACE_TIME: Duration = Duration::from_millis(500);

/// Starts a run in an empty run directory.
///
/// # Errors
/// If the directory cannot be written or the loss is no number any more.
pub fn start<J: Job>(
    job: &J,
    dir: &mut RunDir,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<Outcome<J::Found>, TrainError> {
    let (event, state) = job.begin();
    dir.append_event(&event).map_err(TrainError::failed)?;
    save(job, dir, &state, &state)?;
    run_from(job, dir, state, observer, stop)
}

/// Goes on where the newest good checkpoint ends; says where that is and which ones are damaged.
///
/// # Errors
/// If the run has finished, no checkpoint belongs to it, or as [`start`].
pub fn resume<J: Job>(
    job: &J,
    dir: &mut RunDir,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
    say: &mut dyn FnMut(&str),
) -> Result<Outcome<J::Found>, TrainError> {
    let recovered = dir.recover()?;
    recovered.warnings.iter().for_each(|w| say(&format!("warning: {w}")));
    match recovered.checkpoint {
        None => {
            say("The run was stopped before its first checkpoint and starts from the beginning.");
            start(job, dir, observer, stop)
        }
        Some((name, checkpoint)) => {
            let state = State::from_checkpoint(job, &name.to_string(), checkpoint)?;
            say(&going_on(&state.at, job.length().steps));
            run_from(job, dir, state, observer, stop)
        }
    }
}

/// Where a run goes on.
fn going_on(at: &Position, steps: usize) -> String {
    match at.step {
        _ if at.finished => "All its epochs are done: only its result is left to be made.".to_string(),
        0 => format!("Going on with epoch {}.", at.epoch),
        step if step < steps => format!("Going on in epoch {} after step {step} of {steps}.", at.epoch),
        _ => format!("Going on after the last step of epoch {}.", at.epoch),
    }
}

/// Seconds that parts of a run take on this machine.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// A step, its batch included.
    pub step: f64,
    /// What is measured after an epoch.
    pub measuring: f64,
}

/// Makes a few steps of a run, measures once as after its first epoch, and forgets both.
///
/// # Errors
/// If the images cannot be read, or the loss is no number any more.
pub fn pace<J: Job>(job: &J) -> Result<Pace, TrainError> {
    let (_, mut state) = job.begin();
    let (mut begin, mut n) = (Instant::now(), 0);
    'enough: loop {
        for batch in job.batches(&state.at) {
            let step = job.step(&mut state, batch.map_err(TrainError::failed)?)?;
            state.at.add(&step);
            // The first one warms up.
            if n == 0 {
                begin = Instant::now();
            } else if n >= PACE_STEPS && begin.elapsed() > PACE_TIME {
                break 'enough;
            }
            n += 1;
        }
        // An epoch of few steps, once more.
        state.at.begin_epoch(state.at.epoch);
    }
    let step = begin.elapsed().as_secs_f64() / f64::from(n);
    let begin = Instant::now();
    let (stop, mut seconds) = (AtomicBool::new(false), BTreeMap::new());
    job.measure(&state, &mut Measuring { observer: &mut (), stop: &stop, seconds: &mut seconds })?;
    Ok(Pace { step, measuring: begin.elapsed().as_secs_f64() })
}

fn run_from<J: Job>(
    job: &J,
    dir: &mut RunDir,
    mut state: State<J::Extra>,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<Outcome<J::Found>, TrainError> {
    while !state.at.finished {
        let mut seconds = BTreeMap::new();
        if !run_steps(job, dir, &mut state, observer, stop, &mut seconds)? {
            return interrupted(job, dir, &state, &mut seconds);
        }
        let epoch = state.at.epoch;
        let begin = Instant::now();
        let mut measuring = Measuring { observer, stop, seconds: &mut seconds };
        let Some(measured) = on_device(job, || job.measure(&state, &mut measuring))? else {
            // Of what was measured only the parts that ended have their time.
            let known: f64 = seconds.iter().filter(|(part, _)| !OF_STEPS.contains(&&part[..])).map(|(_, s)| s).sum();
            seconds.insert("measuring that was stopped".into(), (begin.elapsed().as_secs_f64() - known).max(0.0));
            return interrupted(job, dir, &state, &mut seconds);
        };
        state.at.history.extend(measured.history.map(|value| (epoch, value)));
        state.at.errors.extend(measured.error.map(|error| (epoch, error)));
        on_device(job, || {
            job.keep(&mut state, &measured);
            Ok(())
        })?;
        dir.append_event(&measured.event).map_err(TrainError::failed)?;
        write_down(job, dir, &state, &mut seconds)?;
        observer.event(&measured.event);
        for (event, reason) in &measured.decided {
            dir.append_event(event).map_err(TrainError::failed)?;
            observer.event(event);
            observer.news(epoch, reason);
        }
        let verdict = job.judge(&state);
        if verdict.is_news {
            observer.news(epoch, &verdict.reason);
        }
        if let Some(event) = &verdict.event {
            dir.append_event(event).map_err(TrainError::failed)?;
            observer.event(event);
        }
        match verdict.next {
            Next::On if epoch + 1 < job.length().epochs => state.at.begin_epoch(epoch + 1),
            Next::On => state.at.finished = true,
            Next::Stop { epoch } => {
                state.at.finished = true;
                save(job, dir, &state, &state)?;
                return finish(job, dir, &state, Some((epoch, verdict.reason)), observer, stop);
            }
            Next::Back { epoch, l2 } => {
                let back = go_back(job, dir, &state, epoch, l2)?;
                // If the new file is damaged the run goes on from one before, and goes back once more.
                save(job, dir, &back, &state)?;
                state = back;
                continue;
            }
        }
        save(job, dir, &state, &state)?;
    }
    finish(job, dir, &state, None, observer, stop)
}

/// What the time of steps is of: the steps, and what they waited for meanwhile.
const OF_STEPS: [&str; 2] = ["train", "waiting for data"];

/// Writes down how long an epoch took since it was written down last; all lines of an epoch together are its time.
fn write_down<J: Job>(
    job: &J,
    dir: &mut RunDir,
    state: &State<J::Extra>,
    seconds: &mut BTreeMap<String, f64>,
) -> Result<(), TrainError> {
    let device = job.engine().map_or_else(|| "cpu".into(), Engine::place);
    let (attempt, epoch, seconds) = (state.at.attempt, state.at.epoch, std::mem::take(seconds));
    dir.append_timing(&Timing { attempt, epoch, device, seconds, peak_memory: peak_memory() })
        .map_err(TrainError::failed)
}

/// Writes down what was found, by a state that is saved already.
fn finish<J: Job>(
    job: &J,
    dir: &mut RunDir,
    state: &State<J::Extra>,
    result: Option<(usize, String)>,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<Outcome<J::Found>, TrainError> {
    let mut measuring = Measuring { observer, stop, seconds: &mut BTreeMap::new() };
    Ok(match on_device(job, || job.finish(dir, state, result, &mut measuring))? {
        Some(found) => Outcome::Finished(found),
        None => Outcome::Interrupted { epoch: state.at.epoch, step: state.at.step },
    })
}

/// The steps of the epoch that are left; false if `stop` was set.
fn run_steps<J: Job>(
    job: &J,
    dir: &mut RunDir,
    state: &mut State<J::Extra>,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
    seconds: &mut BTreeMap<String, f64>,
) -> Result<bool, TrainError> {
    let length: Length = job.length();
    state.at.trained_attempt = state.at.attempt;
    let (mut waiting, mut saved) = (0.0, Instant::now());
    let batches = on_device(job, || Ok(job.batches(&state.at)))?;
    let mut batches = Prefetch::new(batches, AHEAD).map_err(TrainError::failed)?;
    let note = |seconds: &mut BTreeMap<String, f64>, since: Instant, waiting: f64| {
        for (part, spent) in OF_STEPS.into_iter().zip([since.elapsed().as_secs_f64(), waiting]) {
            *seconds.entry(part.into()).or_default() += spent;
        }
    };
    while state.at.step < length.steps {
        let wait = Instant::now();
        let Some(batch) = batches.next() else { break };
        waiting += wait.elapsed().as_secs_f64();
        let batch = batch.flatten().map_err(TrainError::failed)?;
        let step = on_device(job, || job.step(state, batch))?;
        let at = &mut state.at;
        at.add(&step);
        observer.step(&Progress { attempt: at.attempt, epoch: at.epoch, step: at.step, length, last: step });
        if stop.load(Ordering::Relaxed) {
            note(seconds, saved, waiting);
            return Ok(false);
        }
        if saved.elapsed() > SAVE_EVERY {
            // So that a kill loses no more of the time than of the steps.
            note(seconds, saved, std::mem::take(&mut waiting));
            saved = Instant::now();
            write_down(job, dir, state, seconds)?;
            save(job, dir, state, state)?;
        }
    }
    note(seconds, saved, waiting);
    Ok(true)
}

/// Work of a job; a card that is lost or has no memory left ends the run, and its checkpoints stay as they are.
fn on_device<J: Job, T>(job: &J, work: impl FnOnce() -> Result<T, TrainError>) -> Result<T, TrainError> {
    let Some(engine) = job.engine() else { return work() };
    engine.guarded(work).unwrap_or_else(|why| {
        let place = engine.place();
        Err(TrainError::Failed(format!(
            "the graphics card {place} failed ({why}): the last checkpoint is whole, and `rdarts resume` goes on from it, \
             with --device cpu without the card; if its memory was full, a smaller batch or fewer channels need less"
        )))
    })
}

/// The state after an earlier epoch, with another L2 and another seed.
fn go_back<J: Job>(
    job: &J,
    dir: &RunDir,
    state: &State<J::Extra>,
    epoch: usize,
    l2: f64,
) -> Result<State<J::Extra>, TrainError> {
    let names = dir.view().checkpoints().map_err(TrainError::failed)?;
    let wanted = names.iter().filter(|n| n.epoch == epoch && n.step.is_none()).max_by_key(|n| n.sequence);
    let lost = |why: String| {
        TrainError::Failed(format!(
            "the run must go back to epoch {epoch}, but its checkpoint {why}: delete every checkpoint of epoch {epoch} and \
             of later ones from {}, then `rdarts resume` makes them again, to the same bits",
            rdarts_data::shown(dir.view().checkpoints_path())
        ))
    };
    let name = wanted.ok_or_else(|| lost("is gone".into()))?;
    let checkpoint = dir.view().load_checkpoint(name).map_err(|e| lost(format!("cannot be used ({e})")))?;
    let mut back = State::from_checkpoint(job, &name.to_string(), checkpoint)?;
    back.at.attempt = state.at.attempt + 1;
    back.at.total_steps = state.at.total_steps;
    back.sgd.l2 = l2;
    back.at.history.retain(|(measured, _)| *measured <= epoch);
    back.at.errors.retain(|(measured, _)| *measured <= epoch);
    Ok(back)
}

/// Saves a state, then deletes what neither it nor the state that it follows needs any more.
fn save<J: Job>(
    job: &J,
    dir: &mut RunDir,
    state: &State<J::Extra>,
    before: &State<J::Extra>,
) -> Result<(), TrainError> {
    // What lies on a card comes down for it.
    let checkpoint = on_device(job, || Ok(state.to_checkpoint(job)))?;
    dir.save_checkpoint(&state.at.name(), checkpoint).map_err(TrainError::failed)?;
    if job.keeps_all() {
        return Ok(());
    }
    let earliest = earlier(job.earliest_return(state), job.earliest_return(before));
    let stay = kept(&dir.view().checkpoints().map_err(TrainError::failed)?, earliest);
    dir.prune_checkpoints(|name| stay.contains(name)).map_err(TrainError::failed)?;
    Ok(())
}

fn interrupted<J: Job>(
    job: &J,
    dir: &mut RunDir,
    state: &State<J::Extra>,
    seconds: &mut BTreeMap<String, f64>,
) -> Result<Outcome<J::Found>, TrainError> {
    write_down(job, dir, state, seconds)?;
    save(job, dir, state, state)?;
    Ok(Outcome::Interrupted { epoch: state.at.epoch, step: state.at.step })
}
