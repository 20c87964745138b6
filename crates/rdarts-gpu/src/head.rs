//! The head on a card.

use cubecl::client::Client;
use cubecl::prelude::*;
use rdarts_kernels::spec::HeadSpec;

use crate::kernels::{UNITS, head};
use crate::launch::Numbers;

/// The most channels: a cube keeps a mean of each, in the 16 KiB that every card has.
const MOST: usize = 4096;

/// A head for given sizes.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// Its channels and classes.
    pub spec: HeadSpec,
    /// Images, and pixels of each.
    pub n: usize,
    /// See `n`.
    pub n_px: usize,
}

/// What its value leaves.
#[derive(Clone, Debug)]
pub struct HeadSaved {
    head: Head,
    means: Numbers,
}

impl Head {
    /// Whether the kernels here compute it.
    pub fn fits(&self) -> bool {
        self.spec.c_in <= MOST
    }

    /// Outputs (n, classes) of a state (n, h, w, c).
    pub fn forward(self, client: &Client, s: &Numbers, w: &Numbers) -> (Numbers, HeadSaved) {
        let HeadSpec { c_in, classes } = self.spec;
        let (means, out) = (Numbers::empty(client, self.n * c_in), Numbers::empty(client, self.n * classes));
        let (count, dim) = (CubeCount::Static(self.n as u32, 1, 1), CubeDim::new_1d(UNITS as u32));
        let n_px = self.n_px as u32;
        head::forward::launch(client, count, dim, s.arg(), w.arg(), means.arg(), out.arg(), n_px, c_in, classes);
        (out, HeadSaved { head: self, means })
    }
}

impl HeadSaved {
    /// The gradient of the state for that of the outputs.
    pub fn backward_state(&self, client: &Client, w: &Numbers, g: &Numbers) -> Numbers {
        let Head { spec: HeadSpec { c_in, classes }, n, n_px } = self.head;
        let to = Numbers::empty(client, n * n_px * c_in);
        let (count, dim) = (cubes(n * c_in), CubeDim::new_1d(UNITS as u32));
        let (images, px) = (n as u32, n_px as u32);
        head::back_state::launch(client, count, dim, g.arg(), w.arg(), to.arg(), images, px, c_in, classes);
        to
    }

    /// The gradient of the weights, into what is there for it, if something is.
    pub fn backward_weights(&self, client: &Client, g: &Numbers, into: Option<Numbers>) -> Numbers {
        let Head { spec: HeadSpec { c_in, classes }, n, .. } = self.head;
        let to = into.unwrap_or_else(|| Numbers::empty(client, (c_in + 1) * classes));
        let (count, dim) = (cubes((c_in + 1) * classes), CubeDim::new_1d(UNITS as u32));
        head::back_weights::launch(client, count, dim, g.arg(), self.means.arg(), to.arg(), n as u32, c_in, classes);
        to
    }
}

fn cubes(n: usize) -> CubeCount {
    CubeCount::Static(n.div_ceil(UNITS).max(1) as u32, 1, 1)
}
