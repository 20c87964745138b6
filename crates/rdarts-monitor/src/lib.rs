//! When to stop a search, or to regularise it harder: one pure function of numbers.
//!
//! The dominant eigenvalue of the alpha-Hessian of the validation loss grows before a search degenerates
//! (Zela et al. 2020, section 4). [`decide`] looks at the eigenvalues measured so far and says whether to go on,
//! to stop and return an earlier architecture (DARTS-ES), or to go back and continue with a larger L2
//! (DARTS-ADA). The caller does what is said; nothing here reads or writes.
//!
//! Two forms of the stopping rule exist, with i the current measurement, k the window, d the lag:
//!
//! - [`Form::Paper`] (section 4.3): with m(i) the mean of the k measurements that end at i, stop if
//!   m(i - k) / m(i) < 0.75 and return the architecture of i - k. Both windows must be full, so with k = 5 and a
//!   measurement after every epoch the first decision is at epoch 9 and returns epoch 4. The paper counts k in
//!   epochs and measures after every epoch; here k counts measurements, which is the same then.
//! - [`Form::Released`] (the paper's code, class EVLocalAvg): m(i) may average fewer than k measurements early
//!   on, but at least ceil(k / 2); stop if m(i) / m(i - d) > 1.3 and return the architecture floor(k / 2) + d
//!   measurements before i, if that is at least epoch 10; never decide at the last epoch. With k = 5, d = 4 and a
//!   measurement at every second epoch the first decision is at epoch 22, and it returns the epoch 12 earlier.
//!   Of 33 released searches this reproduces every decision.
//!
//! Not reproduced: the code ignores a trigger where round(log(max_weight_decay) / log(L2), 1) equals 1, in
//! early stopping too. In the released searches with L2 0.0243, the default of `max_weight_decay`, the rule
//! does not trigger anyway, so those data neither show nor contradict this; we never ignore a trigger of ES.
//!
//! Neither knows how noisy the eigenvalue is. A rule of ours does, [`NoiseRule`]: it acts like one of them, but only on
//! a growth that the noise of the measurements does not explain at a stated risk.
//!
//! Measurements that are not finite are left out of the means; a mean over less than half a window, or one that
//! is not positive, decides nothing, because the growth of a curvature that is not positive has no meaning.

use std::fmt;

mod student;

mod noise;

mod earliest;

#[cfg(test)]
#[path = "../../../tests/skip.rs"]
mod skip;

pub use earliest::earliest_return;
pub use noise::{NoiseRule, NoisyMeasurement};
use serde::{Deserialize, Serialize};

/// Which of the two forms of the stopping rule is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// The rule as the paper's section 4.3 states it.
    Paper,
    /// The rule as the paper's released code computes it.
    Released,
}

/// The stopping rule.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The form; it says what the other numbers mean.
    pub form: Form,
    /// Measurements in a smoothing window (k).
    pub window: usize,
    /// Measurements between the two windows that are compared.
    pub lag: usize,
    /// Paper: stop where before / now is below this. Released: stop where now / before is above this.
    pub threshold: f64,
    /// The earliest epoch that may be returned.
    pub first_return: usize,
}

impl Rule {
    /// Section 4.3 of the paper: k = 5, ratio 0.75.
    pub fn paper() -> Self {
        Self { form: Form::Paper, window: 5, lag: 5, threshold: 0.75, first_return: 0 }
    }

    /// The released code's numbers, meant for a measurement at every second epoch and at the last.
    pub fn released() -> Self {
        Self { form: Form::Released, window: 5, lag: 4, threshold: 1.3, first_return: 10 }
    }

    /// Whether the numbers make a rule.
    pub fn check(&self) -> Result<(), RuleError> {
        if self.window == 0 {
            return Err(RuleError { key: "window", right: "at least 1 measurement" });
        }
        if self.lag == 0 {
            return Err(RuleError { key: "lag", right: "at least 1 measurement" });
        }
        if !(self.threshold.is_finite() && self.threshold > 0.0) {
            return Err(RuleError { key: "threshold", right: "a positive number" });
        }
        Ok(())
    }

    /// Measurements from the one that is decided at back to the one that is returned.
    pub fn reach(&self) -> usize {
        match self.form {
            Form::Paper => self.lag,
            // The code takes a mean to belong to the middle of its window.
            Form::Released => self.lag + self.window / 2,
        }
    }

    /// The earliest measurement, counted from 0, that can be returned.
    pub fn first_returned(&self) -> usize {
        match self.form {
            Form::Paper => self.least() - 1,
            Form::Released => (self.least() - 1).saturating_sub(self.window / 2),
        }
    }

    /// Measurements that the earlier window must hold.
    fn least(&self) -> usize {
        match self.form {
            Form::Paper => self.window,
            Form::Released => self.window.div_ceil(2),
        }
    }

    /// The factor by which the smoothed eigenvalue must grow for the rule to act.
    pub fn growth_limit(&self) -> f64 {
        match self.form {
            Form::Paper => 1.0 / self.threshold,
            Form::Released => self.threshold,
        }
    }
}

/// How DARTS-ADA raises the L2 regularisation of the weights.
///
/// A trigger multiplies L2 by `l2_factor` as long as the product does not exceed `l2_max`; after that the search
/// runs on to its end whatever the eigenvalue does. So 3e-4 becomes 3e-3 and 3e-2 and stays there, as in the
/// released script. Algorithm 1 of the paper tests `R <= R_max` *before* it multiplies; read literally it allows
/// one more step, to 0.3, which [`AdaRule::paper_literal`] gives.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdaRule {
    /// Factor of one step (the paper's eta).
    pub l2_factor: f64,
    /// L2 never exceeds this (the paper's R_max).
    pub l2_max: f64,
}

impl AdaRule {
    /// The released script DARTS-ADA_search.sh: eta = 10, R_max = 3e-2 (appendix D.1).
    pub fn released() -> Self {
        Self { l2_factor: 10.0, l2_max: 3e-2 }
    }

    /// Algorithm 1 to the letter: a last step is taken from R = R_max = 3e-2 to 0.3.
    pub fn paper_literal() -> Self {
        Self { l2_factor: 10.0, l2_max: 3e-1 }
    }

    /// Whether the numbers make a rule.
    pub fn check(&self) -> Result<(), RuleError> {
        if !(self.l2_factor.is_finite() && self.l2_factor > 1.0) {
            return Err(RuleError { key: "l2_factor", right: "a number above 1" });
        }
        if !(self.l2_max.is_finite() && self.l2_max > 0.0) {
            return Err(RuleError { key: "l2_max", right: "a positive number" });
        }
        Ok(())
    }

    /// The L2 after one more step, or `None` where it would exceed the maximum.
    pub fn raised(&self, l2: f64) -> Option<f64> {
        let raised = l2 * self.l2_factor;
        // 3e-4 * 10 * 10 is not exactly 3e-2 in binary.
        (raised > l2 && raised <= self.l2_max * (1.0 + 1e-9)).then_some(raised)
    }
}

/// A number of a rule that makes no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleError {
    /// The key of the number.
    pub key: &'static str,
    /// What it should be.
    pub right: &'static str,
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` of the stopping rule must be {}", self.key, self.right)
    }
}

impl std::error::Error for RuleError {}

/// What a search does when the rule acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Nothing: plain DARTS.
    Darts,
    /// Stops and returns an earlier architecture: DARTS-ES.
    Es,
    /// Goes back to that epoch and continues with a larger L2: DARTS-ADA.
    Ada,
    /// Stops and returns an earlier architecture if the noise does not explain the growth: what
    /// [`NoiseRule::decide`] says. [`decide`], which knows no noise, says [`Why::NoiseUnknown`].
    EsNoise,
}

/// The dominant eigenvalue after an epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measurement {
    /// The epoch, counted from 0.
    pub epoch: usize,
    /// The largest eigenvalue of the alpha-Hessian after it.
    pub eigenvalue: f64,
}

/// The smoothed eigenvalue at two times.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Growth {
    /// The epoch whose window ends before.
    pub before_epoch: usize,
    /// The smoothed eigenvalue then.
    pub before: f64,
    /// The smoothed eigenvalue now.
    pub now: f64,
    /// `now / before`.
    pub ratio: f64,
    /// The ratio beyond which the rule acts.
    pub limit: f64,
}

/// Why a search goes on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Plain DARTS is never stopped.
    PlainDarts,
    /// The eigenvalue was not measured after this epoch.
    NotMeasured,
    /// The eigenvalue of this epoch is infinite or not a number.
    NotFinite,
    /// There are too few measurements for both windows, or the epoch to return would be too early.
    TooEarly,
    /// The released rule never decides at the last epoch.
    LastEpoch,
    /// A smoothed eigenvalue is not positive, or less than half of its window is finite, or their ratio is not.
    NoSmoothedValue,
    /// The rule asks for the noise of the eigenvalue, and too few measurements of a window, or not the last one, have a
    /// standard error over at least two batches.
    NoiseUnknown,
    /// The eigenvalue grows less than the rule allows.
    Steady(Growth),
    /// The rule acts, but L2 is as large as it may become.
    L2AtMaximum {
        /// The growth.
        growth: Growth,
        /// The L2 that stays.
        l2: f64,
    },
}

/// What to do after an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Go on.
    Continue(Why),
    /// End the search with the architecture of `return_to`.
    Stop {
        /// The epoch whose architecture is the result.
        return_to: usize,
        /// The growth that is the reason.
        growth: Growth,
    },
    /// Load the state after `return_to` and go on from there with `new_l2`. The caller also forgets every
    /// measurement after `return_to`.
    Rollback {
        /// The epoch to go back to.
        return_to: usize,
        /// The L2 from then on.
        new_l2: f64,
        /// The growth that is the reason.
        growth: Growth,
    },
}

/// What to do after `epoch` of `n_epochs`.
///
/// `history` holds the measurements so far in the order of their epochs; it decides only if its last one is of
/// `epoch`. `ada` and `current_l2` matter to [`Method::Ada`] only.
pub fn decide(
    method: Method,
    rule: &Rule,
    ada: &AdaRule,
    history: &[Measurement],
    epoch: usize,
    n_epochs: usize,
    current_l2: f64,
) -> Decision {
    match method {
        Method::Darts => return Decision::Continue(Why::PlainDarts),
        Method::EsNoise => return Decision::Continue(Why::NoiseUnknown),
        Method::Es | Method::Ada => {}
    }
    let (return_to, growth) = match judged(rule, history, epoch, n_epochs) {
        Ok(Judged { return_to, growth, acts: true, .. }) => (return_to, growth),
        Ok(judged) => return Decision::Continue(Why::Steady(judged.growth)),
        Err(why) => return Decision::Continue(why),
    };
    match method {
        Method::Darts | Method::Es | Method::EsNoise => Decision::Stop { return_to, growth },
        Method::Ada => match ada.raised(current_l2) {
            Some(new_l2) => Decision::Rollback { return_to, new_l2, growth },
            None => Decision::Continue(Why::L2AtMaximum { growth, l2: current_l2 }),
        },
    }
}

/// What a rule compares at a measurement.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Compared {
    /// The smoothed eigenvalue; `None` where its window is too short or gives no value.
    pub smoothed: Option<f64>,
    /// The smoothed eigenvalue beyond which the rule acts; `None` where there is no earlier window.
    pub limit: Option<f64>,
}

/// What the rule compares at the last measurement of a history, whether it may decide there or not.
pub fn compared(rule: &Rule, history: &[Measurement]) -> Compared {
    let at = |i: usize| if i + 1 < rule.least() { None } else { smoothed(history, i, rule.window) };
    let Some(i) = history.len().checked_sub(1) else { return Compared::default() };
    let before = i.checked_sub(rule.lag).and_then(at);
    Compared { smoothed: at(i), limit: before.map(|before| before * rule.growth_limit()) }
}

impl Decision {
    /// Whether it changes the search, or would if it could.
    pub fn is_news(&self) -> bool {
        !matches!(self, Decision::Continue(why) if !matches!(why, Why::L2AtMaximum { .. }))
    }
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { before_epoch, before, now, ratio, limit } = self;
        write!(
            f,
            "{ratio:.3} times its smoothed value at epoch {before_epoch} ({before:.4} to {now:.4}, limit {limit:.3})"
        )
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Decision::Continue(why) => write!(f, "The search goes on {why}."),
            Decision::Stop { return_to, growth } => write!(
                f,
                "The search stops and returns the architecture of epoch {return_to} because the dominant eigenvalue \
                 has grown to {growth}."
            ),
            Decision::Rollback { return_to, new_l2, growth } => write!(
                f,
                "The search goes back to epoch {return_to} and continues with L2 {new_l2:.3e} because the dominant \
                 eigenvalue has grown to {growth}."
            ),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::PlainDarts => f.write_str("because plain DARTS never stops early"),
            Why::NotMeasured => f.write_str("because the eigenvalue was not measured after this epoch"),
            Why::NotFinite => f.write_str("because the eigenvalue of this epoch is not a finite number"),
            Why::TooEarly => f.write_str("because it is too early to judge the eigenvalue"),
            Why::LastEpoch => f.write_str("because the rule does not decide at the last epoch"),
            Why::NoSmoothedValue => f.write_str("because the smoothed eigenvalue is not a positive number"),
            Why::NoiseUnknown => f.write_str("because the noise of the eigenvalue is not known"),
            Why::Steady(growth) => write!(f, "because the dominant eigenvalue is {growth}"),
            Why::L2AtMaximum { growth, l2 } => write!(
                f,
                "although the dominant eigenvalue has grown to {growth}, because L2 {l2:.3e} may not be raised further"
            ),
        }
    }
}

/// What a rule finds where it may decide.
struct Judged {
    /// The epoch to return if it acts.
    return_to: usize,
    growth: Growth,
    acts: bool,
    /// The measurement with which the earlier window ends.
    before: usize,
}

/// The growth after `epoch`, and whether the rule acts on it, else why it cannot decide.
fn judged(rule: &Rule, history: &[Measurement], epoch: usize, n_epochs: usize) -> Result<Judged, Why> {
    let i = match history {
        [.., last] if last.epoch == epoch => history.len() - 1,
        _ => return Err(Why::NotMeasured),
    };
    if !history[i].eigenvalue.is_finite() {
        return Err(Why::NotFinite);
    }
    if rule.form == Form::Released && epoch + 1 >= n_epochs {
        return Err(Why::LastEpoch);
    }
    let before = i.checked_sub(rule.lag).ok_or(Why::TooEarly)?;
    let return_idx = i.checked_sub(rule.reach()).ok_or(Why::TooEarly)?;
    // The window that ends earlier is the shorter one.
    if before + 1 < rule.least() || history[return_idx].epoch < rule.first_return {
        return Err(Why::TooEarly);
    }
    let now = smoothed(history, i, rule.window).ok_or(Why::NoSmoothedValue)?;
    let previous = smoothed(history, before, rule.window).ok_or(Why::NoSmoothedValue)?;
    let growth = Growth {
        before_epoch: history[before].epoch,
        before: previous,
        now,
        ratio: now / previous,
        limit: rule.growth_limit(),
    };
    if !growth.ratio.is_finite() {
        // No file could hold it.
        return Err(Why::NoSmoothedValue);
    }
    let acts = match rule.form {
        Form::Paper => previous / now < rule.threshold,
        Form::Released => now / previous > rule.threshold,
    };
    Ok(Judged { return_to: history[return_idx].epoch, growth, acts, before })
}

/// The mean of the finite ones among the last `window` measurements that end at `end`, if it is positive and at
/// least half of them are finite.
fn smoothed(history: &[Measurement], end: usize, window: usize) -> Option<f64> {
    let places = &history[(end + 1).saturating_sub(window)..=end];
    let finite = || places.iter().map(|m| m.eigenvalue).filter(|value| value.is_finite());
    let n = finite().count();
    if n == 0 || n < places.len().div_ceil(2) {
        return None;
    }
    let mean = finite().sum::<f64>() / n as f64;
    (mean.is_finite() && mean > 0.0).then_some(mean)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// Measurements after every `every`-th epoch.
    fn measured(every: usize, values: &[f64]) -> Vec<Measurement> {
        values.iter().enumerate().map(|(i, &eigenvalue)| Measurement { epoch: i * every, eigenvalue }).collect()
    }

    /// The first decision other than to go on when the measurements arrive one by one.
    fn first_act(method: Method, rule: &Rule, history: &[Measurement], n_epochs: usize, l2: f64) -> Option<Decision> {
        (1..=history.len()).find_map(|n| {
            let epoch = history[n - 1].epoch;
            let decision = decide(method, rule, &AdaRule::released(), &history[..n], epoch, n_epochs, l2);
            (!matches!(decision, Decision::Continue(_))).then_some(decision)
        })
    }

    fn last(rule: &Rule, history: &[Measurement], n_epochs: usize) -> Decision {
        let epoch = history[history.len() - 1].epoch;
        decide(Method::Es, rule, &AdaRule::released(), history, epoch, n_epochs, 3e-4)
    }

    #[test]
    fn the_paper_rule_decides_first_when_both_windows_are_full() {
        // The mean is 1 up to epoch 4 and 1.4 at epoch 9, and 1 / 1.4 < 0.75.
        let values = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 3.0];
        let history = measured(1, &values);
        match first_act(Method::Es, &Rule::paper(), &history, 50, 3e-4) {
            Some(Decision::Stop { return_to: 4, growth }) => {
                assert_eq!((growth.before_epoch, growth.before), (4, 1.0));
                assert!((growth.now - 1.4).abs() < 1e-12 && (growth.ratio - 1.4).abs() < 1e-12);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(last(&Rule::paper(), &history[..9], 50), Decision::Continue(Why::TooEarly));
        // The same growth is seen at the last epoch too.
        assert!(matches!(last(&Rule::paper(), &history, 10), Decision::Stop { return_to: 4, .. }));
    }

    #[test]
    fn the_paper_rule_needs_a_ratio_strictly_below_three_quarters() {
        let history = |end| measured(1, &[3.0, 3.0, 3.0, 3.0, 3.0, 4.0, 4.0, 4.0, 4.0, end]);
        assert!(matches!(last(&Rule::paper(), &history(4.0), 50), Decision::Continue(Why::Steady(_))));
        assert!(matches!(last(&Rule::paper(), &history(4.1), 50), Decision::Stop { return_to: 4, .. }));
    }

    #[test]
    fn the_released_rule_decides_first_at_epoch_22_and_returns_twelve_epochs_earlier() {
        let growing: Vec<f64> = (0..25).map(|i| 1.2f64.powi(i)).collect();
        let history = measured(2, &growing);
        match first_act(Method::Es, &Rule::released(), &history, 50, 3e-4) {
            Some(Decision::Stop { return_to: 10, growth }) => {
                assert_eq!(growth.before_epoch, 14);
                assert!((growth.ratio - 1.2f64.powi(4)).abs() < 1e-12);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(last(&Rule::released(), &history[..11], 50), Decision::Continue(Why::TooEarly));
        assert_eq!(last(&Rule::released(), &history[..12], 23), Decision::Continue(Why::LastEpoch));
    }

    #[test]
    fn the_released_rule_averages_fewer_measurements_early_on() {
        let rule = Rule { first_return: 0, ..Rule::released() };
        let history = measured(2, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 100.0]);
        assert_eq!(last(&rule, &history[..6], 50), Decision::Continue(Why::TooEarly));
        match last(&rule, &history, 50) {
            Decision::Stop { return_to: 0, growth } => {
                assert_eq!((growth.before_epoch, growth.before), (4, 2.0));
                assert!((growth.now - 118.0 / 5.0).abs() < 1e-12);
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn ada_raises_l2_to_its_maximum_and_then_runs_to_the_end() {
        let history = measured(1, &[1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0]);
        let act = |ada: &AdaRule, l2| decide(Method::Ada, &Rule::paper(), ada, &history, 9, 50, l2);
        let mut l2 = 3e-4;
        let mut seen = vec![l2];
        while let Decision::Rollback { return_to, new_l2, .. } = act(&AdaRule::released(), l2) {
            assert_eq!(return_to, 4);
            l2 = new_l2;
            seen.push(l2);
        }
        assert_eq!(seen.len(), 3, "{seen:?}");
        assert!((l2 - 3e-2).abs() < 1e-12);
        let end = act(&AdaRule::released(), l2);
        assert!(matches!(end, Decision::Continue(Why::L2AtMaximum { .. })));
        assert_eq!(
            end.to_string(),
            "The search goes on although the dominant eigenvalue has grown to 2.000 times its smoothed value at epoch 4 \
             (1.0000 to 2.0000, limit 1.333), because L2 3.000e-2 may not be raised further."
        );
        assert!(matches!(act(&AdaRule::paper_literal(), l2), Decision::Rollback { new_l2, .. } if new_l2 > 0.29));
        assert!(matches!(act(&AdaRule::paper_literal(), 0.3), Decision::Continue(Why::L2AtMaximum { .. })));
        // A product of zero is no raise, and would roll back for ever.
        assert!(matches!(act(&AdaRule::released(), 0.0), Decision::Continue(Why::L2AtMaximum { .. })));
    }

    #[test]
    fn a_rolled_back_history_is_judged_anew() {
        let mut history = measured(1, &[1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0]);
        history.truncate(5);
        assert_eq!(last(&Rule::paper(), &history, 50), Decision::Continue(Why::TooEarly));
        history.extend((5..10).map(|epoch| Measurement { epoch, eigenvalue: 1.1 }));
        assert!(matches!(last(&Rule::paper(), &history, 50), Decision::Continue(Why::Steady(_))));
    }

    #[test]
    fn plain_darts_and_epochs_without_measurement_go_on() {
        let history = measured(2, &[1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11]);
        let ada = AdaRule::released();
        let run =
            |method, history: &[Measurement], epoch| decide(method, &Rule::released(), &ada, history, epoch, 50, 3e-4);
        assert_eq!(run(Method::Darts, &history, 22), Decision::Continue(Why::PlainDarts));
        assert!(matches!(run(Method::Es, &history, 22), Decision::Stop { .. }));
        assert_eq!(run(Method::Es, &history, 23), Decision::Continue(Why::NotMeasured));
        assert_eq!(run(Method::Es, &[], 0), Decision::Continue(Why::NotMeasured));
    }

    #[test]
    fn values_that_are_not_finite_or_not_positive_never_trigger() {
        let base = [1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0];
        let with = |changes: &[(usize, f64)]| {
            let mut values = base;
            changes.iter().for_each(|&(i, value)| values[i] = value);
            last(&Rule::paper(), &measured(1, &values), 50)
        };
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        assert_eq!(with(&[(9, nan)]), Decision::Continue(Why::NotFinite));
        assert_eq!(with(&[(9, inf)]), Decision::Continue(Why::NotFinite));
        // Two of five are left out, three are too many.
        assert!(matches!(with(&[(1, nan), (2, inf)]), Decision::Stop { growth, .. } if growth.ratio == 2.0));
        assert_eq!(with(&[(1, nan), (2, inf), (3, -inf)]), Decision::Continue(Why::NoSmoothedValue));
        assert_eq!(with(&[(0, -4.0)]), Decision::Continue(Why::NoSmoothedValue));
        assert_eq!(with(&[(9, -100.0)]), Decision::Continue(Why::NoSmoothedValue));
        assert_eq!(with(&[(5, f64::MAX), (6, f64::MAX)]), Decision::Continue(Why::NoSmoothedValue));
        // A single negative value is smoothed like any other.
        assert!(matches!(with(&[(0, -1.0)]), Decision::Stop { growth, .. } if (growth.before - 0.6).abs() < 1e-12));
    }

    #[test]
    fn rules_that_are_none_are_refused_and_do_not_panic() {
        assert_eq!((Rule::paper().check(), Rule::released().check()), (Ok(()), Ok(())));
        assert_eq!((AdaRule::released().check(), AdaRule::paper_literal().check()), (Ok(()), Ok(())));
        let rows = [
            (Rule { window: 0, ..Rule::paper() }, "`window` of the stopping rule must be at least 1 measurement"),
            (Rule { lag: 0, ..Rule::paper() }, "`lag` of the stopping rule must be at least 1 measurement"),
            (Rule { threshold: 0.0, ..Rule::paper() }, "`threshold` of the stopping rule must be a positive number"),
            (
                Rule { threshold: f64::NAN, ..Rule::released() },
                "`threshold` of the stopping rule must be a positive number",
            ),
        ];
        let history = measured(1, &[1.0; 30]);
        for (rule, message) in rows {
            assert_eq!(rule.check().unwrap_err().to_string(), message);
            assert!(matches!(last(&rule, &history, 50), Decision::Continue(_) | Decision::Stop { .. }));
        }
        let ada = AdaRule { l2_factor: 1.0, l2_max: 1.0 };
        assert_eq!(ada.check().unwrap_err().to_string(), "`l2_factor` of the stopping rule must be a number above 1");
        assert_eq!(ada.raised(0.1), None);
        assert!(AdaRule { l2_max: f64::NAN, ..AdaRule::released() }.check().is_err());
    }

    #[test]
    fn what_is_compared_is_what_decides() {
        let values = [1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0];
        let history = measured(1, &values);
        let rule = Rule::paper();
        assert_eq!(compared(&rule, &[]), Compared::default());
        assert_eq!(compared(&rule, &history[..4]), Compared::default());
        assert_eq!(compared(&rule, &history[..5]), Compared { smoothed: Some(1.0), limit: None });
        let last = compared(&rule, &history);
        assert_eq!(last.smoothed, Some(2.0));
        assert!((last.limit.unwrap() - 4.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn decisions_say_why_in_one_sentence() {
        let history = measured(1, &[1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0]);
        assert_eq!(
            last(&Rule::paper(), &history, 50).to_string(),
            "The search stops and returns the architecture of epoch 4 because the dominant eigenvalue has grown to \
             2.000 times its smoothed value at epoch 4 (1.0000 to 2.0000, limit 1.333)."
        );
        assert_eq!(
            decide(Method::Ada, &Rule::paper(), &AdaRule::released(), &history, 9, 50, 3e-4).to_string(),
            "The search goes back to epoch 4 and continues with L2 3.000e-3 because the dominant eigenvalue has grown \
             to 2.000 times its smoothed value at epoch 4 (1.0000 to 2.0000, limit 1.333)."
        );
        assert_eq!(
            last(&Rule::paper(), &measured(1, &[1.0; 12]), 50).to_string(),
            "The search goes on because the dominant eigenvalue is 1.000 times its smoothed value at epoch 6 (1.0000 \
             to 1.0000, limit 1.333)."
        );
        let json = serde_json::to_string(&last(&Rule::paper(), &history, 50)).unwrap();
        assert_eq!(serde_json::from_str::<Decision>(&json).unwrap(), last(&Rule::paper(), &history, 50));
    }

    #[derive(Deserialize)]
    struct ReleasedRun {
        l2: f64,
        seed: u64,
        epochs: Vec<usize>,
        eigenvalue: Vec<f64>,
        stop: Option<ReleasedStop>,
    }

    #[derive(Deserialize)]
    struct ReleasedStop {
        decided_at: usize,
        return_to: usize,
        growth: f64,
    }

    /// The released searches, where they are on this machine: `RDARTS_RELEASED`, else beside the workspace.
    fn released_runs() -> Vec<ReleasedRun> {
        let default = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
        let directory = std::env::var_os("RDARTS_RELEASED").map_or(default, PathBuf::from);
        let Ok(entries) = std::fs::read_dir(&directory) else {
            return Vec::new();
        };
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("released-eigenvalues-") && name.ends_with(".json")
        });
        paths.sort();
        paths
            .iter()
            .flat_map(|path| serde_json::from_slice::<Vec<ReleasedRun>>(&std::fs::read(path).unwrap()).unwrap())
            .collect()
    }

    #[test]
    fn the_released_rule_reproduces_every_released_decision() {
        let runs = released_runs();
        if runs.is_empty() {
            assert!(
                std::env::var_os("RDARTS_RELEASED").is_none(),
                "RDARTS_RELEASED holds no released-eigenvalues-*.json"
            );
            return crate::skip::skip("../shared absent", "no released-eigenvalues-*.json");
        }
        for run in &runs {
            let history: Vec<Measurement> = std::iter::zip(&run.epochs, &run.eigenvalue)
                .map(|(&epoch, &eigenvalue)| Measurement { epoch, eigenvalue })
                .collect();
            let n_epochs = run.epochs[run.epochs.len() - 1] + 1;
            let act = first_act(Method::Es, &Rule::released(), &history, n_epochs, run.l2);
            match (&run.stop, act) {
                (None, None) => {}
                (Some(stop), Some(Decision::Stop { return_to, growth })) => {
                    assert_eq!((return_to, return_to + 12), (stop.return_to, stop.decided_at));
                    // The file has the eigenvalues to 5 decimals, the growth from all of theirs to 6 decimals.
                    let rounding = growth.ratio * (5e-6 / growth.now + 5e-6 / growth.before) + 5e-7;
                    assert!((growth.ratio - stop.growth).abs() <= rounding, "{growth}, released {}", stop.growth);
                }
                (_, act) => panic!("L2 {}, seed {}: {act:?}", run.l2, run.seed),
            }
        }
        println!("{} released searches, {} stopped", runs.len(), runs.iter().filter(|run| run.stop.is_some()).count());
    }
}
