//! DrNAS: the mixing weights of each edge are drawn from a Dirichlet distribution, whose concentrations are learned (Chen et al.,
//! "DrNAS: Dirichlet Neural Architecture Search", ICLR 2021).
//!
//! ```text
//! c = elu(alpha) + 1,   p ~ Dir(c) of each edge              the network is mixed by p
//! dL/dalpha = elu'(alpha) (dp/dc)' dL/dp + anchor dKL(Dir(c) || Dir(1))/dalpha
//! ```
//!
//! The draw moves with its concentrations ([`crate::dirichlet`]). Alphas and weights draw separately, once in a step each; all cells
//! of a type share a draw. Concentrations stay near 1 by an anchor: by default the weight decay of the alphas, which is the
//! distance of c from 1 (`alphas.l2`, 1e-3), or the divergence (`method.anchor`, with `alphas.l2` 0 then).
//!
//! Settings of the released code: no alpha steps in the first `method.warm_up` epochs (its 10; the preset has PC-DARTS' 15), rates 0.1 to 0 of the
//! weights and 6e-4 of the alphas, 36 channels and 20 cells. Left out is the second half of its search, in
//! which edges lose operations and partial channels grow wider. After an epoch the supernet is evaluated at the mean c / sum c, where its code
//! draws once more; the genotype is that of DARTS, and the curvature that of the mixture.

use rdarts_net::{Alphas, Batch, held_weight_gradient_mixed, mixing_gradient};
use rdarts_rng::Stream;
use rdarts_train::{Step, TrainError};

use crate::State;
use crate::dirichlet;
use crate::search::Search;

/// An alpha step and a weight step, each on mixing weights drawn for it.
///
/// # Errors
/// If a loss or a gradient is no number any more.
pub(crate) fn step(
    search: &Search,
    state: &mut State,
    train: Batch<'_, f32>,
    valid: Batch<'_, f32>,
    position: u64,
) -> Result<Step, TrainError> {
    let (bilevel, net, engine) = (search.bilevel(state), &search.net, &search.engine);
    let mut stream = search.streams(state.at.attempt).stream("dirichlet", position);
    let mut side_loss = None;
    if state.at.epoch >= search.spec.method.warm_up {
        let alphas = state.extra.for_network();
        let p = draw(search, &alphas, &mut stream);
        let (of_valid, p_bar) = mixing_gradient(net, engine, &state.weights, &p, valid);
        let gradient = gradient(search, &alphas, &p, &p_bar);
        side_loss = Some(bilevel.update_alphas(state, (of_valid, gradient))?.loss);
    }
    let p = draw(search, &state.extra.for_network(), &mut stream);
    let made = held_weight_gradient_mixed(net, engine, &state.weights, &p, train);
    bilevel.update_weights(state, made, side_loss)
}

/// The mixing weights of each edge, drawn.
pub fn draw(search: &Search, alphas: &Alphas, stream: &mut Stream) -> Alphas {
    // Edge after edge: a stream gives other numbers in another order.
    let stream = std::cell::RefCell::new(stream);
    alphas.map_edges(&search.net, |edge| dirichlet::draw(&concentration(edge), &mut stream.borrow_mut()))
}

/// Their means.
pub(crate) fn mean(search: &Search, state: &State) -> Alphas {
    state.extra.for_network().map_edges(&search.net, |edge| {
        let c = concentration(edge);
        let total: f64 = c.iter().sum();
        c.iter().map(|c| c / total).collect()
    })
}

/// The gradient with respect to the alphas of what was drawn, and of the anchor.
fn gradient(search: &Search, alphas: &Alphas, p: &Alphas, p_bar: &Alphas) -> Alphas {
    let anchor = search.spec.method.anchor;
    let of_edge = |alphas: &[f64], p: &[f64], p_bar: &[f64]| -> Vec<f64> {
        let c = concentration(alphas);
        let of_loss = dirichlet::gradient(&c, p, p_bar);
        let of_anchor = dirichlet::divergence(&c).1;
        // elu'(alpha) is 1 above 0 and exp(alpha), which is c, below.
        let slope = |alpha: f64| if alpha > 0.0 { 1.0 } else { alpha.exp() };
        (0..c.len()).map(|i| slope(alphas[i]) * (of_loss[i] + anchor * of_anchor[i])).collect()
    };
    let of_type = |at: usize| {
        let (mut all, mut start) = (Vec::new(), 0);
        for n in search.net.edge_sizes(at) {
            let [alphas, p, p_bar] = [alphas, p, p_bar].map(|values| &values.of(at)[start..start + n]);
            all.extend(of_edge(alphas, p, p_bar));
            start += n;
        }
        all
    };
    (0..alphas.each().len()).map(of_type).collect()
}

/// elu(alpha) + 1.
fn concentration(alphas: &[f64]) -> Vec<f64> {
    alphas.iter().map(|alpha| if *alpha > 0.0 { alpha + 1.0 } else { alpha.exp() }).collect()
}
