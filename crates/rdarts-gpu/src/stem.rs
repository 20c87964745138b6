//! The stem on a card.

use cubecl::client::Client;
use cubecl::prelude::*;
use rdarts_kernels::spec::{BN_EPS, StemSpec};

use crate::kernels::{PART, PART_BACK, PARTS, Shape, UNITS, WEIGHT_PARTS, norm, stem, weights};
use crate::launch::Numbers;
use crate::norms::{Norms, given};
use crate::table::{ROW, Table};

/// The most pixels of a tile.
const TILE: usize = 32;

/// Values that a cube keeps: 16 KiB, what every card has.
const SHARED: usize = 4096;

/// Values that a unit writes, and the most cubes that do.
const EACH: usize = 8;
const CUBES: usize = 1024;

/// A stem for given sizes.
#[derive(Clone, Copy, Debug)]
pub struct Stem {
    /// Its channels.
    pub spec: StemSpec,
    /// Images.
    pub n: usize,
    /// Their rows and columns.
    pub side: [usize; 2],
}

/// What its value leaves.
#[derive(Clone, Debug)]
pub struct StemSaved {
    stem: Stem,
    y: Numbers,
    coefs: Numbers,
}

impl Stem {
    /// Whether the kernels here compute it.
    pub fn fits(&self) -> bool {
        self.spec.c_out <= UNITS && self.tile() > 0
    }

    /// Pixels of a tile, whose windows and gradients a cube keeps beside coefficients and the sums over lanes.
    fn tile(&self) -> usize {
        let StemSpec { c_in, c_out } = self.spec;
        let fits = SHARED.saturating_sub(3 * c_out + 6 * UNITS) / (9 * c_in + c_out);
        if fits == 0 { 0 } else { TILE.min(1 << fits.ilog2()) }
    }

    fn shape(&self) -> Shape {
        let ([h, wd], StemSpec { c_in, c_out }) = (self.side, self.spec);
        Shape {
            k: 3,
            dilation: 1,
            stride: 1,
            h,
            wd,
            ho: h,
            wo: wd,
            c_in,
            c_out,
            tile: self.tile(),
            from_input: true,
            weights: true,
            input: false,
        }
    }

    fn n_px(&self) -> usize {
        self.n * self.side[0] * self.side[1]
    }

    /// The value, (n, h, w, c_out), of images (n, h, w, c_in). With `running`, means, then variances, in place of the
    /// batch's statistics nothing else may be used.
    pub fn forward(
        self,
        client: &Client,
        images: &Numbers,
        w: &Numbers,
        running: Option<&Numbers>,
    ) -> (Numbers, StemSaved) {
        let (s, n_px, c) = (self.shape(), self.n_px(), self.spec.c_out);
        let n_parts = n_px.div_ceil(self.tile()).min(PARTS);
        let (y, out) = (Numbers::empty(client, n_px * c), Numbers::empty(client, n_px * c));
        let partials = Numbers::empty(client, n_parts * PART * c);
        let coefs = match running {
            None => Numbers::empty(client, 4 * c),
            Some(running) => given(client, 4 * c, &[[0, 0, c, 9 * self.spec.c_in * c]], running, w),
        };
        let dim = CubeDim::new_1d(UNITS as u32);
        let cubes = |n: usize| CubeCount::Static(n as u32, 1, 1);
        let count = cubes(n_parts);
        stem::forward::launch(client, count, dim, images.arg(), w.arg(), y.arg(), partials.arg(), n_px as u32, s);
        stem::apply::launch(
            client,
            cubes((n_px * c).div_ceil(UNITS * EACH).min(CUBES)),
            dim,
            y.arg(),
            w.arg(),
            coefs.arg(),
            partials.arg(),
            out.arg(),
            n_px as u32,
            if running.is_some() { 0 } else { n_parts as u32 },
            BN_EPS as f32,
            s,
        );
        (out, StemSaved { stem: self, y, coefs })
    }
}

impl StemSaved {
    /// What its batch norm has learned of the batch.
    pub fn norms(&self) -> Norms {
        Norms { coefs: self.coefs.clone(), all: vec![(0, self.stem.spec.c_out, self.stem.n_px())] }
    }

    /// The gradient of the weights for the gradient g of the value, into what is there for it, if something is.
    pub fn backward(
        &self,
        client: &Client,
        images: &Numbers,
        w: &Numbers,
        g: &Numbers,
        into: Option<Numbers>,
    ) -> Numbers {
        let (s, n_px, c) = (self.stem.shape(), self.stem.n_px(), self.stem.spec.c_out);
        let len = 9 * self.stem.spec.c_in * c;
        let n_sums = n_px.div_ceil(2 * (UNITS / c)).min(PARTS);
        let n_parts = n_px.div_ceil(self.stem.tile()).min(WEIGHT_PARTS);
        let sums = Numbers::empty(client, n_sums * PART_BACK * c);
        let parts = Numbers::empty(client, n_parts * len);
        let w_bar = into.unwrap_or_else(|| Numbers::empty(client, len + 2 * c));
        let spare = Numbers::empty(client, 1);
        let none = usize::MAX;
        let mut table = Table::default();
        let product = table.add(vec![(vec![0, n_sums, 0, none, len, 0], Vec::new())]);
        let learned = table.add(vec![(vec![0, n_sums, 0, none, none, len, 0], Vec::new())]);
        let reduced = table.add(vec![(vec![0, n_parts, len, 0], Vec::new())]);
        debug_assert!(product.at == 0 && learned.at == ROW as u32);
        let table = table.upload(client);
        let dim = CubeDim::new_1d(UNITS as u32);
        let cubes = |n: usize| CubeCount::Static(n as u32, 1, 1);
        stem::sums::launch(client, cubes(n_sums), dim, g.arg(), self.y.arg(), sums.arg(), n_px as u32, c);
        stem::back_weights::launch(
            client,
            cubes(n_parts),
            dim,
            images.arg(),
            g.arg(),
            self.y.arg(),
            self.coefs.arg(),
            sums.arg(),
            w.arg(),
            table.arg(),
            parts.arg(),
            n_px as u32,
            s,
        );
        norm::learn_gradient::launch(
            client,
            cubes(1),
            dim,
            sums.arg(),
            self.coefs.arg(),
            w.arg(),
            w.arg(),
            table.arg(),
            spare.arg(),
            w_bar.arg(),
            learned.at,
            n_px as u32,
            c,
        );
        let count = cubes(len.div_ceil(UNITS));
        weights::reduce::launch(client, count, dim, parts.arg(), w_bar.arg(), table.arg(), reduced.at);
        w_bar
    }
}
