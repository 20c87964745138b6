//! What rules and captions need of a spec, for either task.

use rdarts_monitor::Rule;
use rdarts_run::{DisparitySearchSpec, HessianMode, HessianSpec, Method, MonitorForm, MonitorSpec, SearchSpec};

/// What rules and captions need of a spec.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// The stopping rule.
    pub rule: Rule,
    /// Skip connections that end a search with DARTS+; of a search that knows no such method 0.
    pub max_skips: usize,
    /// Batches that the eigenvalue is measured on.
    pub batches: usize,
    /// The risk of the rule that knows the noise.
    pub risk: f64,
    /// Architectures that random search chooses from.
    pub samples: usize,
    /// What stands on the diagonal of the Hessian beside the curvature of the loss: the weight decay of the alphas.
    pub diagonal: f64,
    /// Whether the states of all epochs are kept.
    pub keeps_all: bool,
    /// Whether edges are decided one after another at the end, so that the last states are no mixtures of their alphas.
    pub selects: bool,
    /// Epochs between two measurements of the eigenvalue; 0: none.
    every: usize,
    /// The first epoch that may have one.
    first: usize,
}

impl Asked {
    pub(super) fn of_classification(spec: &SearchSpec) -> Asked {
        let has_alphas = spec.search.method != Method::RsWs;
        Asked {
            max_skips: spec.method.max_skips,
            samples: spec.search.samples,
            keeps_all: spec.eval.keep_checkpoints,
            selects: spec.search.method.selects(),
            every: if has_alphas { spec.hessian.every } else { 0 },
            ..Asked::new(&spec.monitor, &spec.hessian, spec.alphas.l2)
        }
    }

    pub(super) fn of_disparity(spec: &DisparitySearchSpec) -> Asked {
        Asked {
            keeps_all: spec.eval.keep_checkpoints,
            first: spec.search.warm_start,
            ..Asked::new(&spec.monitor, &spec.hessian, spec.alphas.l2)
        }
    }

    fn new(monitor: &MonitorSpec, hessian: &HessianSpec, l2_of_alphas: f64) -> Asked {
        Asked {
            rule: rule_of(monitor),
            max_skips: 0,
            batches: hessian.batches,
            risk: monitor.risk,
            samples: 0,
            diagonal: match hessian.mode {
                HessianMode::Reference => l2_of_alphas,
                HessianMode::Plain => 0.0,
            },
            keeps_all: false,
            selects: false,
            every: hessian.every,
            first: 0,
        }
    }

    /// Whether the search, of so many epochs, measures the eigenvalue after an epoch.
    pub(super) const fn is_measured(&self, epoch: usize, n_epochs: usize) -> bool {
        self.every > 0
            && (self.first <= epoch && epoch < n_epochs)
            && (epoch.is_multiple_of(self.every) || epoch + 1 == n_epochs)
    }
}

/// The stopping rule of a spec, as the search has it.
fn rule_of(monitor: &MonitorSpec) -> Rule {
    match monitor.form {
        MonitorForm::Paper => {
            Rule { window: monitor.window, lag: monitor.window, threshold: monitor.threshold, ..Rule::paper() }
        }
        MonitorForm::Released => Rule { window: monitor.window, threshold: monitor.growth, ..Rule::released() },
    }
}
