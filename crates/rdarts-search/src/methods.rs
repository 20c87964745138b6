//! Methods that share the loop of DARTS: each a file with its paper, its equation and its settings.
//!
//! What a method may have of its own is its step (`step`) and its end (`verdict`); images, batches, optimisers, measurements,
//! checkpoints and resume are those of the search. Random search with weight sharing is [`crate::random_ws`].
//!
//! | method | step | end |
//! |---|---|---|
//! | DARTS, DARTS-ES, DARTS-ADA, DARTS-ES by noise | `bilevel.rs` | the monitor's |
//! | [`sdarts`] | weights at perturbed mixing weights | |
//! | [`gdas`] | both at one operation drawn for each edge | |
//! | [`a2m`] | alphas at a flat minimum | |
//! | [`darts_minus`] | both with a skip connection more on each edge, which fades | |
//! | [`pc_darts`] | partial channels, weights of edges; at first of the weights alone | |
//! | [`drnas`] | both at mixing weights drawn for it; at first of the weights alone | |
//! | [`darts_plus`] | | at so many skip connections |
//! | [`darts_pt`] | after the search, both with what is decided | a decision every so many epochs |
//!
//! All take the gradient of the alphas and of the weights in the order of DARTS: first the alphas on a batch of the one
//! half of the images, then the weights on a batch of the other half.

use rdarts_net::{Alphas, Batch, Network};
use rdarts_run::Method;
use rdarts_train::{Next, Step, TrainError, Verdict};

use crate::State;
use crate::search::Search;

pub mod a2m;
pub mod darts_minus;
pub mod darts_plus;
pub mod darts_pt;
pub mod drnas;
pub mod gdas;
pub mod pc_darts;
pub mod sdarts;

/// One step of a method; `position` is the number of the step in the whole search. Where no alphas are learned there is no
/// `valid`.
///
/// # Errors
/// If a loss or a gradient is no number any more.
pub(crate) fn step(
    search: &Search,
    state: &mut State,
    train: Batch<'_, f32>,
    valid: Option<Batch<'_, f32>>,
    position: u64,
) -> Result<Step, TrainError> {
    let method = search.spec.search.method;
    if method.selects() {
        return darts_pt::step(search, state, train, valid);
    }
    let valid = valid.expect("all others learn alphas");
    match method {
        Method::SdartsRs | Method::SdartsAdv => sdarts::step(search, state, train, valid, position),
        Method::Gdas => gdas::step(search, state, train, valid, position),
        Method::A2m => a2m::step(search, state, train, valid),
        Method::PcDarts => pc_darts::step(search, state, train, valid),
        Method::Drnas => drnas::step(search, state, train, valid, position),
        Method::DartsMinus => darts_minus::step(search, state, train, valid),
        Method::Darts
        | Method::DartsEs
        | Method::DartsAda
        | Method::DartsEsNoise
        | Method::DartsPlus
        | Method::DartsPt
        | Method::DartsPtFixed
        | Method::RsWs => search.bilevel(state).step(state, train, valid),
    }
}

/// Whether an epoch trains the weights alone.
pub(crate) fn warms_up(search: &Search, epoch: usize) -> bool {
    search.spec.search.method.warms_up() && epoch < search.spec.method.warm_up
}

/// What a method without the monitor makes of an epoch; `None`: the monitor decides.
pub(crate) fn verdict(search: &Search, state: &State) -> Option<Verdict> {
    match search.spec.search.method {
        Method::DartsPlus => darts_plus::verdict(search, state),
        // It has decided while it measured.
        method if method.selects() => {
            Some(Verdict { next: Next::On, event: None, reason: String::new(), is_news: false })
        }
        _ => None,
    }
}

/// The mixing weights that stand for the supernet where it is not the softmax of the alphas.
pub(crate) fn evaluated(search: &Search, state: &State) -> Option<Alphas> {
    match search.spec.search.method {
        // The architecture of the last step stands for the supernet, as in the released code.
        Method::RsWs => Some(state.extra.for_network()),
        Method::Gdas => Some(gdas::likeliest(search, state)),
        Method::DartsMinus => Some(darts_minus::mixed(search, state)),
        Method::Drnas => Some(drnas::mean(search, state)),
        method if method.selects() && state.at.epoch >= search.spec.search.epochs => {
            Some(darts_pt::mixed(search, state))
        }
        _ => None,
    }
}

/// Mixing weights of the operations of the space, for the network.
pub(crate) fn for_network(search: &Search, p: Alphas) -> Alphas {
    match search.spec.search.method {
        Method::DartsMinus => darts_minus::padded(search, &p, 0.0),
        Method::PcDarts => pc_darts::with_edges(search, &p),
        _ => p,
    }
}

/// The network that the curvature is measured of, with its weights, where it is not the one that is trained.
pub(crate) fn measured(search: &Search, state: &State) -> Option<(Network, Vec<f32>)> {
    if search.spec.search.method != Method::DartsMinus {
        return None;
    }
    let ones = state.extra.by_type().map(|alphas| vec![1.0; alphas.len()]);
    let p = darts_minus::padded(search, &Alphas::from(ones), 0.0);
    let (net, _, weights) = search.net.pruned(search.engine.kernels.workspace(), &p, &state.weights);
    Some((net, weights))
}
