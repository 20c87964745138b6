//! The loop: alpha step, weight step, and at the end of each epoch measure, decide, save.
//!
//! Per step (DARTS, algorithm 1): alpha follows the gradient of the validation loss by Adam, first order at w or
//! second order at w' = w - xi (mu b + dL_train/dw + l2 w); then w follows that of the training loss by SGD with
//! the gradient's global norm clipped. Per epoch: the monitor looks at the dominant eigenvalue, and the loop obeys
//! its [`Decision`]. Going back (DARTS-ADA) and going on after a crash are the same: load a checkpoint, continue.
//!
//! An interrupted search saves itself after the step it is in; what was measured of an unfinished epoch end is
//! measured again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdarts_data::Prefetch;
use rdarts_net::{
    Alphas, Evaluation, InnerStep, PUBLISHED_RADIUS, Point, alpha_gradient, unrolled_gradient,
    unrolled_gradient_difference, weight_gradient,
};
use rdarts_run::{
    self as run, DecisionKind, EVENT_FORMAT, EpochRecord, Event, Finished, MonitorForm, Order, RunDir, Started, Timing,
};
use rdarts_space::{CellType, Genotype, Op};

use crate::error::SearchError;
use crate::measure::{eigenvalue, genotype, score_child, score_supernet};
use crate::monitor::{AdaRule, Decision, Measurement, Method, Rule, decide};
use crate::optim::{clip_global_norm, cosine_lr};
use crate::problem::{Problem, as_batch};
use crate::retention::{earlier, earliest_return, kept};
use crate::state::State;

/// Batches made ahead of the search: two steps' worth, so that one slow batch does not stall it.
const AHEAD: usize = 2;

/// A long epoch is saved this often.
const SAVE_EVERY: Duration = Duration::from_secs(300);

/// Told what happens, as it happens.
pub trait Observer {
    /// A step was made.
    fn step(&mut self, progress: &Progress);
    /// Something that takes longer than a step begins, for example `eigenvalue`.
    fn phase(&mut self, name: &'static str);
    /// An epoch is over and measured.
    fn epoch(&mut self, record: &EpochRecord);
    /// The monitor said something; for most epochs that the search goes on.
    fn decision(&mut self, epoch: usize, decision: &Decision);
}

/// Where the search is after a step.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Rollbacks so far.
    pub attempt: usize,
    /// Epoch, from 0, and how many there are.
    pub epoch: usize,
    /// Number of epochs.
    pub n_epochs: usize,
    /// Steps made in the epoch.
    pub step: usize,
    /// Steps of an epoch.
    pub n_steps: usize,
    /// Images of the weight step.
    pub images: usize,
    /// Loss of the weight step.
    pub train_loss: f64,
    /// Loss of the alpha step.
    pub alpha_loss: f64,
}

/// How a search ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It found an architecture.
    Finished(Found),
    /// It was asked to stop and saved itself.
    Interrupted {
        /// The epoch it is in.
        epoch: usize,
        /// Steps made in it.
        step: usize,
    },
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The architecture.
    pub genotype: Genotype,
    /// The epoch it is from.
    pub epoch: usize,
    /// Why the search ended.
    pub reason: String,
}

/// The stopping rule of a spec.
pub fn rule_of(spec: &run::MonitorSpec) -> Rule {
    match spec.form {
        MonitorForm::Paper => {
            Rule { window: spec.window, lag: spec.window, threshold: spec.threshold, ..Rule::paper() }
        }
        MonitorForm::Released => Rule { window: spec.window, threshold: spec.growth, ..Rule::released() },
    }
}

/// The method of a spec and its rules.
fn method_and_rules(spec: &run::SearchSpec) -> (Method, Rule, AdaRule) {
    let method = match spec.search.method {
        run::Method::Darts => Method::Darts,
        run::Method::DartsEs => Method::Es,
        run::Method::DartsAda => Method::Ada,
    };
    let ada = AdaRule { l2_factor: spec.monitor.l2_factor, l2_max: spec.monitor.l2_max };
    (method, rule_of(&spec.monitor), ada)
}

/// The monitor's decision for a spec and what was measured.
pub fn decide_for(problem: &Problem, history: &[Measurement], epoch: usize, l2: f64) -> Decision {
    let (method, rule, ada) = method_and_rules(&problem.spec);
    decide(method, &rule, &ada, history, epoch, problem.spec.search.epochs, l2)
}

/// Starts a search in an empty run directory.
///
/// # Errors
/// If the directory cannot be written or the loss is no number any more.
pub fn start(
    problem: &Problem,
    dir: &mut RunDir,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<Outcome, SearchError> {
    let state = State::new(problem);
    dir.append_event(&started(problem)).map_err(SearchError::failed)?;
    save(problem, dir, &state)?;
    run_from(problem, dir, state, observer, stop)
}

/// Goes on where the newest good checkpoint ends; says where that is and which ones are damaged.
///
/// # Errors
/// If the run has finished, no checkpoint belongs to it, or as [`start`].
pub fn resume(
    problem: &Problem,
    dir: &mut RunDir,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
    say: &mut dyn FnMut(&str),
) -> Result<Outcome, SearchError> {
    let recovered = dir.recover()?;
    recovered.warnings.iter().for_each(|w| say(&format!("warning: {w}")));
    match recovered.checkpoint {
        None => {
            say("The search was stopped before its first checkpoint and starts from the beginning.");
            start(problem, dir, observer, stop)
        }
        Some((name, checkpoint)) => {
            let state = State::from_checkpoint(problem, &name.to_string(), checkpoint)?;
            let at = &state.at;
            say(&format!("Going on in epoch {} after step {} of {}.", at.epoch, at.step, problem.steps_per_epoch()));
            run_from(problem, dir, state, observer, stop)
        }
    }
}

fn started(problem: &Problem) -> Event {
    Event::Started(Started {
        format: EVENT_FORMAT,
        rdarts: env!("CARGO_PKG_VERSION").into(),
        space: problem.space.name.clone(),
        data: problem.spec.data.name.clone(),
        seed: problem.spec.seed,
        n_alphas: problem.n_alphas().iter().sum(),
        n_weights: problem.net.n_parameters(),
        n_train: problem.split.train.len(),
        n_valid: problem.split.valid.len(),
        steps_per_epoch: problem.steps_per_epoch(),
    })
}

fn run_from(
    problem: &Problem,
    dir: &mut RunDir,
    mut state: State,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<Outcome, SearchError> {
    let n_epochs = problem.spec.search.epochs;
    while !state.at.finished {
        let mut seconds = BTreeMap::new();
        if !train_epoch(problem, dir, &mut state, observer, stop, &mut seconds)? {
            return interrupted(problem, dir, &state);
        }
        let epoch = state.at.epoch;
        let Some(record) = measure_epoch(problem, &state, observer, stop, &mut seconds)? else {
            return interrupted(problem, dir, &state);
        };
        if is_measured(&problem.spec, epoch) {
            state.at.history.push((epoch, record.eigenvalue));
        }
        check_state(&state, &record)?;
        dir.append_event(&Event::Epoch(Box::new(record.clone()))).map_err(SearchError::failed)?;
        dir.append_timing(&Timing { attempt: state.at.attempt, epoch, seconds }).map_err(SearchError::failed)?;
        observer.epoch(&record);
        let decision = decide_for(problem, &state.measurements(), epoch, state.sgd.l2);
        observer.decision(epoch, &decision);
        match decision {
            Decision::Continue(_) => next_epoch(&mut state, n_epochs),
            Decision::Stop { return_to, ref growth } => {
                dir.append_event(&decided(
                    &state,
                    epoch,
                    DecisionKind::Stop,
                    return_to,
                    growth,
                    state.sgd.l2,
                    &decision,
                ))
                .map_err(SearchError::failed)?;
                state.at.finished = true;
                save(problem, dir, &state)?;
                return finish(problem, dir, &state, return_to, decision.to_string());
            }
            Decision::Rollback { return_to, new_l2, ref growth } => {
                dir.append_event(&decided(&state, epoch, DecisionKind::Rollback, return_to, growth, new_l2, &decision))
                    .map_err(SearchError::failed)?;
                let back = go_back(problem, dir, &state, return_to, new_l2)?;
                save_after(problem, dir, &back, &state)?;
                state = back;
                continue;
            }
        }
        save(problem, dir, &state)?;
    }
    let last = state.at.epoch;
    // A search that was stopped after its monitor had stopped it only has to write down its end.
    let events = dir.view().events().map_err(SearchError::failed)?;
    if let Some(Event::Decision(d)) = events.last()
        && d.kind == DecisionKind::Stop
    {
        return finish(problem, dir, &state, d.return_to, d.reason.clone());
    }
    let all = if n_epochs == 1 { "The only epoch is".into() } else { format!("All {n_epochs} epochs are") };
    finish(problem, dir, &state, last, format!("{all} done."))
}

fn next_epoch(state: &mut State, n_epochs: usize) {
    if state.at.epoch + 1 == n_epochs {
        state.at.finished = true;
    } else {
        state.begin_epoch(state.at.epoch + 1);
    }
}

/// The state after `return_to`, with another L2 and another seed.
fn go_back(
    problem: &Problem,
    dir: &RunDir,
    state: &State,
    return_to: usize,
    new_l2: f64,
) -> Result<State, SearchError> {
    let names = dir.view().checkpoints().map_err(SearchError::failed)?;
    let wanted = names.iter().filter(|n| n.epoch == return_to && n.step.is_none()).max_by_key(|n| n.sequence);
    let lost = |why: String| {
        SearchError::Failed(format!(
            "the search must go back to epoch {return_to}, but its checkpoint {why}: delete every checkpoint of epoch \
             {return_to} and of later ones from {}, then `rdarts resume` makes them again, to the same bits",
            rdarts_data::shown(dir.view().checkpoints_path())
        ))
    };
    let name = wanted.ok_or_else(|| lost("is gone".into()))?;
    let checkpoint = dir.view().load_checkpoint(name).map_err(|e| lost(format!("cannot be used ({e})")))?;
    let mut back = State::from_checkpoint(problem, &name.to_string(), checkpoint)?;
    back.at.attempt = state.at.attempt + 1;
    back.at.total_steps = state.at.total_steps;
    back.sgd.l2 = new_l2;
    back.at.history.retain(|(epoch, _)| *epoch <= return_to);
    Ok(back)
}

fn decided(
    state: &State,
    epoch: usize,
    kind: DecisionKind,
    return_to: usize,
    growth: &crate::monitor::Growth,
    l2_new: f64,
    decision: &Decision,
) -> Event {
    Event::Decision(run::Decision {
        attempt: state.at.attempt,
        epoch,
        kind,
        return_to,
        smoothed_now: growth.now,
        smoothed_before: growth.before,
        ratio: growth.ratio,
        l2_old: state.sgd.l2,
        l2_new,
        reason: decision.to_string(),
    })
}

/// The steps of the epoch that are left; false if `stop` was set.
fn train_epoch(
    problem: &Problem,
    dir: &mut RunDir,
    state: &mut State,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
    seconds: &mut BTreeMap<String, f64>,
) -> Result<bool, SearchError> {
    let (spec, n_steps, attempt, epoch) = (&problem.spec, problem.steps_per_epoch(), state.at.attempt, state.at.epoch);
    let lr = cosine_lr(spec.weights.lr, spec.weights.lr_min, epoch, spec.search.epochs);
    state.at.trained_attempt = attempt;
    let begin = Instant::now();
    let (mut waiting, mut saved) = (0.0, Instant::now());
    let mut batches =
        Prefetch::new(problem.batches(attempt, epoch, state.at.step), AHEAD).map_err(SearchError::failed)?;
    while state.at.step < n_steps {
        let wait = Instant::now();
        let Some(batch) = batches.next() else { break };
        waiting += wait.elapsed().as_secs_f64();
        let (train, valid) = batch.flatten().map_err(SearchError::failed)?;
        let position = (epoch * n_steps + state.at.step) as u64;
        let train_noise = problem.noise(attempt, Some(epoch), "noise-train", position, train.n);
        let valid_noise = problem.noise(attempt, Some(epoch), "noise-valid", position, valid.n);
        let (train_batch, valid_batch) = (as_batch(&train, &train_noise), as_batch(&valid, &valid_noise));

        let alphas = state.network_alphas(problem);
        let at = Point { net: &problem.net, device: &problem.device, weights: &state.weights, alphas: &alphas };
        let inner =
            InnerStep { xi: lr, l2: state.sgd.l2, momentum: state.sgd.momentum, buffer: Some(&state.sgd.buffer[..]) };
        let (valid_loss, gradient): (Evaluation, Alphas) = match spec.search.order {
            Order::First => alpha_gradient(at, valid_batch),
            Order::Second => unrolled_gradient(at, train_batch, valid_batch, inner),
            Order::SecondFd => unrolled_gradient_difference(at, train_batch, valid_batch, inner, PUBLISHED_RADIUS),
        };
        let gradient: Vec<f32> = gradient.flat().iter().map(|g| *g as f32).collect();
        check_finite(valid_loss.loss, "validation", epoch, state.at.step, &gradient)?;
        state.adam.step(&mut state.alphas, &gradient);

        let alphas = state.network_alphas(problem);
        let at = Point { net: &problem.net, device: &problem.device, weights: &state.weights, alphas: &alphas };
        let (train_loss, mut gradient) = weight_gradient(at, train_batch);
        let norm = clip_global_norm(&mut [&mut gradient], spec.weights.clip);
        check_finite(train_loss.loss + norm, "training", epoch, state.at.step, &[])?;
        state.sgd.step(&mut state.weights, &gradient, lr);
        rdarts_kernels::buffers::give_back(gradient);

        let sums = &mut state.at;
        sums.alpha_loss += valid_loss.loss;
        sums.train_loss += train_loss.loss * train.n as f64;
        sums.train_correct += train_loss.count.total as usize;
        sums.train_seen += train.n;
        sums.step += 1;
        sums.total_steps += 1;
        observer.step(&Progress {
            attempt,
            epoch,
            n_epochs: spec.search.epochs,
            step: state.at.step,
            n_steps,
            images: train.n,
            train_loss: train_loss.loss,
            alpha_loss: valid_loss.loss,
        });
        if stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        if saved.elapsed() > SAVE_EVERY {
            save(problem, dir, state)?;
            saved = Instant::now();
        }
    }
    seconds.insert("train".into(), begin.elapsed().as_secs_f64());
    seconds.insert("waiting for data".into(), waiting);
    Ok(true)
}

/// Stops a search whose loss is no number: the checkpoint before is the last good state.
fn check_finite(loss: f64, which: &str, epoch: usize, step: usize, gradient: &[f32]) -> Result<(), SearchError> {
    if loss.is_finite() && gradient.iter().all(|g| g.is_finite()) { Ok(()) } else { Err(diverged(which, epoch, step)) }
}

/// A spec that makes the loss grow without bounds is one that the user can mend.
fn diverged(which: &str, epoch: usize, step: usize) -> SearchError {
    SearchError::Input(format!(
        "the {which} loss or its gradient is not a finite number any more at epoch {epoch}, step {step}: the search has \
         diverged; the checkpoint before it is kept, lower weights.lr or alphas.lr or tighten weights.clip and start again"
    ))
}

/// The record of an epoch whose steps are done; `None` if `stop` was set meanwhile.
fn measure_epoch(
    problem: &Problem,
    state: &State,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
    seconds: &mut BTreeMap<String, f64>,
) -> Result<Option<EpochRecord>, SearchError> {
    let (spec, epoch, n_epochs) = (&problem.spec, state.at.epoch, problem.spec.search.epochs);
    let mut timed = |name: &str, begin: Instant| {
        seconds.insert(name.into(), begin.elapsed().as_secs_f64());
    };
    let mut found = None;
    if is_measured(spec, epoch) {
        observer.phase("eigenvalue");
        let begin = Instant::now();
        found = eigenvalue(problem, state, epoch, spec.hessian.tolerance, stop)?;
        timed("eigenvalue", begin);
    }
    let mut oneshot = None;
    if spec.eval.oneshot {
        observer.phase("accuracy of the supernet");
        let begin = Instant::now();
        oneshot = score_supernet(problem, state, epoch, stop)?;
        timed("supernet accuracy", begin);
    }
    let mut child = None;
    if spec.eval.child {
        observer.phase("accuracy of its child");
        let begin = Instant::now();
        child = score_child(problem, state, epoch, stop)?;
        timed("child accuracy", begin);
    }
    if stop.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let genotype = genotype(problem, state);
    let (normal, reduce) = state.alphas.split_at(problem.n_alphas()[0]);
    let at = &state.at;
    Ok(Some(EpochRecord {
        attempt: at.attempt,
        epoch,
        lr: cosine_lr(spec.weights.lr, spec.weights.lr_min, epoch, n_epochs),
        l2: state.sgd.l2,
        drop_path: problem.drop_path(epoch),
        cutout_prob: if spec.augment.cutout_length > 0 { problem.cutout(epoch) } else { 0.0 },
        train_loss: at.train_loss / at.train_seen as f64,
        train_accuracy: at.train_correct as f64 / at.train_seen as f64,
        alpha_loss: at.alpha_loss / at.step as f64,
        valid_loss: oneshot.map(|s| s.loss),
        valid_accuracy: oneshot.map(|s| s.accuracy),
        child_loss: child.map(|s| s.loss),
        child_accuracy: child.map(|s| s.accuracy),
        eigenvalue: found.as_ref().map(|c| c.dominant.value).filter(|v| v.is_finite()),
        eigenvalue_bound: found.as_ref().map(|c| c.dominant.bound).filter(|v| v.is_finite()),
        eigenvalue_error: found.as_ref().and_then(|c| c.error).filter(|v| v.is_finite()),
        skip_connects_normal: genotype.n_uses(CellType::Normal, Op::SkipConnect),
        skip_connects_reduce: Some(genotype.n_uses(CellType::Reduce, Op::SkipConnect)),
        parameterless_normal: Some(genotype.n_parameterless(CellType::Normal)),
        parameterless_reduce: Some(genotype.n_parameterless(CellType::Reduce)),
        genotype: genotype.to_string(),
        alphas_normal: normal.to_vec(),
        alphas_reduce: reduce.to_vec(),
    }))
}

/// Whether the eigenvalue is measured after an epoch: every so many, and after the last.
fn is_measured(spec: &run::SearchSpec, epoch: usize) -> bool {
    let every = spec.hessian.every;
    every > 0 && (epoch.is_multiple_of(every) || epoch + 1 == spec.search.epochs)
}

/// Saves, then deletes what is not needed any more.
fn save(problem: &Problem, dir: &mut RunDir, state: &State) -> Result<(), SearchError> {
    save_after(problem, dir, state, state)
}

/// Saves a state that follows another one by a rollback: if its file is damaged the search goes on from a file before,
/// and goes back once more.
fn save_after(problem: &Problem, dir: &mut RunDir, state: &State, before: &State) -> Result<(), SearchError> {
    dir.save_checkpoint(&state.name(), state.to_checkpoint(problem)).map_err(SearchError::failed)?;
    if problem.spec.eval.keep_checkpoints {
        return Ok(());
    }
    let (method, rule, ada) = method_and_rules(&problem.spec);
    let earliest_of = |state: &State| {
        let history: Vec<usize> = state.at.history.iter().map(|(epoch, _)| *epoch).collect();
        earliest_return(method, &rule, &ada, &history, state.sgd.l2)
    };
    let earliest = earlier(earliest_of(state), earliest_of(before));
    let stay = kept(&dir.view().checkpoints().map_err(SearchError::failed)?, earliest);
    dir.prune_checkpoints(|name| stay.contains(name)).map_err(SearchError::failed)?;
    Ok(())
}

/// Stops a search whose state or measurements are no numbers any more, before it is saved over the last good one.
fn check_state(state: &State, record: &EpochRecord) -> Result<(), SearchError> {
    let losses = [Some(record.train_loss), Some(record.alpha_loss), record.valid_loss, record.child_loss];
    let is_finite = losses.iter().flatten().all(|l| l.is_finite())
        && state.weights.iter().chain(&state.alphas).all(|v| v.is_finite());
    if is_finite { Ok(()) } else { Err(diverged("validation", record.epoch, state.at.step)) }
}

fn interrupted(problem: &Problem, dir: &mut RunDir, state: &State) -> Result<Outcome, SearchError> {
    save(problem, dir, state)?;
    Ok(Outcome::Interrupted { epoch: state.at.epoch, step: state.at.step })
}

/// Writes down what was found: the genotype of the record of `epoch` in this lineage.
fn finish(
    problem: &Problem,
    dir: &mut RunDir,
    state: &State,
    epoch: usize,
    reason: String,
) -> Result<Outcome, SearchError> {
    let events = dir.view().events().map_err(SearchError::failed)?;
    let record = events.iter().rev().find_map(|e| match e {
        Event::Epoch(record) if record.epoch == epoch => Some(record),
        _ => None,
    });
    let record = record.ok_or_else(|| SearchError::Failed(format!("the events of epoch {epoch} are gone")))?;
    let genotype = rdarts_space::derive(&problem.space, &record.alphas_normal, &record.alphas_reduce);
    let json = serde_json::to_value(&genotype).expect("a genotype is JSON");
    dir.write_genotype(&genotype.to_string(), &json).map_err(SearchError::failed)?;
    let finished =
        Finished { reason: reason.clone(), attempt: state.at.attempt, epoch, genotype: genotype.to_string() };
    dir.append_event(&Event::Finished(finished)).map_err(SearchError::failed)?;
    dir.mark_done(&reason).map_err(SearchError::failed)?;
    Ok(Outcome::Finished(Found { genotype, epoch, reason }))
}
