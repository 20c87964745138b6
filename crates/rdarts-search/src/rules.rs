//! The monitor's rules and its decision, for a spec.

use rdarts_monitor::{
    AdaRule, Decision, Growth, Measurement, Method, NoiseRule, NoisyMeasurement, Rule, decide, earliest_return,
};
use rdarts_run::{self as run, DecisionKind, Event, MonitorForm, MonitorSpec, SearchSpec};
use rdarts_train::{Next, Position, Verdict};

use crate::State;

/// The stopping rule of a spec.
pub fn rule_of(spec: &MonitorSpec) -> Rule {
    match spec.form {
        MonitorForm::Paper => {
            Rule { window: spec.window, lag: spec.window, threshold: spec.threshold, ..Rule::paper() }
        }
        MonitorForm::Released => Rule { window: spec.window, threshold: spec.growth, ..Rule::released() },
    }
}

/// The monitor's decision after an epoch, from what a state has measured so far.
pub fn decide_after(spec: &SearchSpec, state: &State, epoch: usize) -> Decision {
    let (method, rule, ada) = of(spec);
    if method == Method::EsNoise {
        return noise_rule_of(spec).decide(&noisy(spec, state), epoch, spec.search.epochs);
    }
    let measurement =
        |(epoch, value): &(usize, Option<f64>)| Measurement { epoch: *epoch, eigenvalue: value.unwrap_or(f64::NAN) };
    let history: Vec<Measurement> = state.at.history.iter().map(measurement).collect();
    decide(method, &rule, &ada, &history, epoch, spec.search.epochs, state.sgd.l2)
}

/// The stopping rule of a spec that knows the noise.
pub fn noise_rule_of(spec: &SearchSpec) -> NoiseRule {
    NoiseRule { growth: rule_of(&spec.monitor), risk: spec.monitor.risk }
}

/// What a state has measured so far, with its noise.
fn noisy(spec: &SearchSpec, state: &State) -> Vec<NoisyMeasurement> {
    let error = |epoch: usize| state.at.errors.iter().find(|(of, _)| *of == epoch).map(|(_, error)| *error);
    let measurement = |(epoch, value): &(usize, Option<f64>)| NoisyMeasurement {
        epoch: *epoch,
        eigenvalue: value.unwrap_or(f64::NAN),
        error: error(*epoch),
        batches: spec.hessian.batches,
    };
    state.at.history.iter().map(measurement).collect()
}

/// The earliest epoch that a later decision can ask for.
pub(crate) fn earliest_after(spec: &SearchSpec, state: &State) -> Option<usize> {
    let (method, rule, ada) = of(spec);
    let history: Vec<usize> = state.at.history.iter().map(|(epoch, _)| *epoch).collect();
    earliest_return(method, &rule, &ada, &history, state.sgd.l2)
}

/// Whether the eigenvalue is measured after an epoch: every so many, and after the last; not in a selection.
pub(crate) fn is_measured(spec: &SearchSpec, epoch: usize) -> bool {
    let every = spec.hessian.every;
    every > 0 && epoch < spec.search.epochs && (epoch.is_multiple_of(every) || epoch + 1 == spec.search.epochs)
}

/// What a decision of the monitor after an epoch means for the loop, with the event that tells of it.
pub(crate) fn told(decision: &Decision, at: &Position, l2: f64) -> Verdict {
    let event = |kind, return_to, growth: &Growth, l2_new| {
        Some(Event::Decision(run::Decision {
            attempt: at.attempt,
            epoch: at.epoch,
            kind,
            return_to,
            smoothed_now: growth.now,
            smoothed_before: growth.before,
            ratio: growth.ratio,
            l2_old: l2,
            l2_new,
            reason: decision.to_string(),
        }))
    };
    let (next, event) = match decision {
        Decision::Continue(_) => (Next::On, None),
        Decision::Stop { return_to, growth } => {
            (Next::Stop { epoch: *return_to }, event(DecisionKind::Stop, *return_to, growth, l2))
        }
        Decision::Rollback { return_to, new_l2, growth } => {
            (Next::Back { epoch: *return_to, l2: *new_l2 }, event(DecisionKind::Rollback, *return_to, growth, *new_l2))
        }
    };
    Verdict { next, event, reason: decision.to_string(), is_news: decision.is_news() }
}

fn of(spec: &SearchSpec) -> (Method, Rule, AdaRule) {
    let method = match spec.search.method {
        run::Method::DartsEs => Method::Es,
        run::Method::DartsAda => Method::Ada,
        run::Method::DartsEsNoise => Method::EsNoise,
        // The others do not act on it.
        _ => Method::Darts,
    };
    let ada = AdaRule { l2_factor: spec.monitor.l2_factor, l2_max: spec.monitor.l2_max };
    (method, rule_of(&spec.monitor), ada)
}
