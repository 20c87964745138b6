//! Batch norms that have running statistics: what they have learned of a batch, and what they do with given ones.

use cubecl::client::Client;
use cubecl::prelude::*;
use rdarts_kernels::spec::BN_EPS;

use crate::kernels::{UNITS, flat};
use crate::launch::Numbers;
use crate::table::{Rows, Table};

/// The batch norms of a cell, or of a stem, that have running statistics.
#[derive(Clone, Debug)]
pub struct Norms {
    pub(crate) coefs: Numbers,
    /// Where the coefficients of each begin, its channels, its pixels.
    pub(crate) all: Vec<(usize, usize, usize)>,
}

impl Norms {
    /// Means and unbiased variances, norm by norm.
    ///
    /// # Panics
    /// If the card was lost.
    pub fn statistics(&self, client: &Client) -> Vec<f64> {
        let coefs = self.coefs.download(client);
        self.all.iter().flat_map(|(at, c, n_px)| statistics(&coefs[*at..], *c, *n_px)).collect()
    }
}

/// Mean and unbiased variance of each channel, from a norm's coefficients.
fn statistics(coefs: &[f32], c: usize, n_px: usize) -> Vec<f64> {
    let count = n_px as f64;
    let unbiased = |inv: &f32| {
        let variance = 1.0 / (f64::from(*inv) * f64::from(*inv)) - BN_EPS;
        variance.max(0.0) * count / (count - 1.0).max(1.0)
    };
    let means = coefs[..c].iter().map(|mean| f64::from(*mean));
    means.chain(coefs[c..2 * c].iter().map(unbiased)).collect()
}

/// Coefficients of norms with given statistics: for each where its coefficients go, where its mean is, its channels and
/// where its scale is.
pub(crate) fn given(client: &Client, n_coefs: usize, all: &[[usize; 4]], running: &Numbers, w: &Numbers) -> Numbers {
    let coefs = Numbers::empty(client, n_coefs);
    if all.is_empty() {
        return coefs;
    }
    let widest = all.iter().map(|of| of[2]).max().unwrap_or(1);
    let (table, Rows { at, n }) = Table::of(all.iter().map(|of| (of.to_vec(), Vec::new())).collect(), client);
    let count = CubeCount::Static(widest.div_ceil(UNITS) as u32, n, 1);
    let eps = BN_EPS as f32;
    flat::given::launch(
        client,
        count,
        CubeDim::new_1d(UNITS as u32),
        coefs.arg(),
        running.arg(),
        w.arg(),
        table.arg(),
        at,
        eps,
    );
    coefs
}
