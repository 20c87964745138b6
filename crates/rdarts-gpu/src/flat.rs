//! Flat buffers that stay on the card: weights, what an optimiser and a batch norm keep beside them, and what is computed
//! of them as a whole.

use std::fmt;
use std::sync::Arc;

use cubecl::client::Client;
use cubecl::prelude::*;
use rdarts_kernels::spec::BN_EPS;

use crate::kernels::flat::NORM_PARTS;
use crate::kernels::{UNITS, flat};
use crate::launch::Numbers;
use crate::norms::Norms;
use crate::table::{Rows, Table};

/// Parts of a buffer begin at multiples of so many values: every card can bind a kernel there (256 bytes).
const ALIGNED: usize = 64;

/// Values that a unit takes, and the most cubes that do.
const EACH: usize = 4;
const CUBES: usize = 1024;

/// How a flat buffer of the CPU lies on the card: its parts, each begun where a kernel may be bound to it. What lies
/// between them is zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    lens: Vec<usize>,
    starts: Vec<usize>,
    len: usize,
}

impl Layout {
    /// Of parts of these lengths.
    pub fn new(lens: Vec<usize>) -> Self {
        let mut len = 0;
        let start = |n: &usize| {
            len += n.next_multiple_of(ALIGNED);
            len - n.next_multiple_of(ALIGNED)
        };
        let starts = lens.iter().map(start).collect();
        Self { lens, starts, len: len.max(ALIGNED) }
    }

    /// Values without what lies between the parts.
    pub fn n(&self) -> usize {
        self.lens.iter().sum()
    }

    /// Where a part begins on the card.
    pub fn start(&self, part: usize) -> usize {
        self.starts[part]
    }

    /// The parts of a flat buffer of the CPU, in its order, and where they begin there and here.
    fn parts(&self) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
        let mut from = 0;
        self.lens.iter().zip(&self.starts).map(move |(len, start)| {
            from += len;
            (from - len, *start, *len)
        })
    }
}

/// Numbers that stay on the card, laid out in parts.
#[derive(Clone)]
pub struct Flat {
    layout: Arc<Layout>,
    numbers: Numbers,
    client: Client,
}

impl fmt::Debug for Flat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flat").field("layout", &self.layout).field("numbers", &self.numbers).finish_non_exhaustive()
    }
}

/// A stretch to be copied: where from, where to, how many.
pub type Stretch = (usize, usize, usize);

/// A step of SGD.
#[derive(Clone, Copy, Debug)]
pub struct SgdStep {
    /// Learning rate.
    pub lr: f64,
    /// Momentum.
    pub momentum: f64,
    /// Coupled L2 regularisation.
    pub l2: f64,
    /// The largest norm of the gradient.
    pub max_norm: f64,
}

/// A step of Adam: what [`crate::kernels::flat::adam`] is told.
#[derive(Clone, Copy, Debug)]
pub struct AdamStep {
    /// Learning rate over 1 - beta1^t.
    pub rate: f32,
    /// The root of 1 - beta2^t.
    pub root: f32,
    /// Decay of the first moment, and one less it.
    pub first: [f32; 2],
    /// Decay of the second moment, and one less it.
    pub second: [f32; 2],
    /// What is added to the denominator.
    pub eps: f32,
    /// Coupled L2 regularisation.
    pub l2: f32,
    /// The largest norm of the gradient.
    pub max_norm: f32,
}

impl Flat {
    /// From the memory of the CPU.
    ///
    /// # Panics
    /// If it has not as many values as the layout.
    pub fn upload(client: &Client, layout: &Arc<Layout>, values: &[f32]) -> Self {
        assert_eq!(values.len(), layout.n(), "a flat buffer has the values of its parts");
        let mut padded = vec![0f32; layout.len];
        for (from, to, len) in layout.parts() {
            padded[to..to + len].copy_from_slice(&values[from..from + len]);
        }
        Self { layout: layout.clone(), numbers: Numbers::upload(client, &padded), client: client.clone() }
    }

    /// Zeros.
    pub fn zeros(client: &Client, layout: &Arc<Layout>) -> Self {
        let made = Self::unspecified(client, layout);
        made.numbers.fill(client, 0.0);
        made
    }

    /// Of unspecified values.
    pub(crate) fn unspecified(client: &Client, layout: &Arc<Layout>) -> Self {
        Self { layout: layout.clone(), numbers: Numbers::empty(client, layout.len), client: client.clone() }
    }

    /// To the memory of the CPU.
    ///
    /// # Panics
    /// If the card was lost.
    pub fn download(&self) -> Vec<f32> {
        let padded = self.numbers.download(&self.client);
        let mut values = vec![0f32; self.layout.n()];
        for (to, from, len) in self.layout.parts() {
            values[to..to + len].copy_from_slice(&padded[from..from + len]);
        }
        values
    }

    /// How it lies.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Who launches kernels on it.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// All of it.
    pub(crate) fn all(&self) -> &Numbers {
        &self.numbers
    }

    /// A part, where it lies.
    pub fn part(&self, part: usize) -> Numbers {
        let (start, len) = (self.layout.starts[part], self.layout.lens[part]);
        let bytes = |n: usize| (n * size_of::<f32>()) as u64;
        let handle = self.numbers.handle.clone();
        // A part without values is bound to as if it had one.
        let len = len.max(1).min(self.layout.len - start);
        let handle = handle.offset_start(bytes(start)).offset_end(bytes(self.numbers.len - start - len));
        Numbers { handle, len }
    }

    /// Copies stretches of another buffer.
    pub fn copy(&mut self, from: &Numbers, stretches: &[Stretch]) {
        from.copy_to(&self.client, &self.numbers, stretches);
    }

    /// Copies stretches of another flat buffer, both counted from the beginning of all.
    pub fn copy_of(&mut self, from: &Self, stretches: &[Stretch]) {
        from.numbers.copy_to(&self.client, &self.numbers, stretches);
    }

    /// The global 2-norm.
    ///
    /// # Panics
    /// If the card was lost.
    pub fn norm(&self) -> f64 {
        let (parts, n_parts) = self.squares();
        let out = Numbers::empty(&self.client, 1);
        flat::norm::launch(&self.client, one(), dim(), parts.arg(), out.arg(), n_parts as u32);
        f64::from(out.download(&self.client)[0])
    }

    fn squares(&self) -> (Numbers, usize) {
        let n_parts = self.numbers.len.div_ceil(UNITS * EACH).min(NORM_PARTS);
        let parts = Numbers::empty(&self.client, n_parts);
        let count = CubeCount::Static(n_parts as u32, 1, 1);
        flat::squares::launch(&self.client, count, dim(), self.numbers.arg(), parts.arg(), self.numbers.len as u32);
        (parts, n_parts)
    }

    /// A step of SGD on these weights; returns the norm of the gradient before clipping. If that is no finite number, the
    /// weights are none either.
    ///
    /// # Panics
    /// If the layouts differ, or the card was lost.
    pub fn sgd(&mut self, momentum: &mut Self, gradient: &Self, step: SgdStep) -> f64 {
        assert!(self.layout == momentum.layout && self.layout == gradient.layout, "SGD: three buffers of one layout");
        let (parts, n_parts) = gradient.squares();
        let (out, n) = (Numbers::empty(&self.client, 1), self.numbers.len);
        flat::sgd::launch(
            &self.client,
            cubes(n),
            dim(),
            self.numbers.arg(),
            momentum.numbers.arg(),
            gradient.numbers.arg(),
            parts.arg(),
            out.arg(),
            n as u32,
            n_parts as u32,
            step.lr as f32,
            step.momentum as f32,
            step.l2 as f32,
            step.max_norm as f32,
        );
        f64::from(out.download(&self.client)[0])
    }

    /// A step of Adam on these weights; returns the norm of the gradient before clipping. If that is no finite number, the
    /// weights are none either.
    ///
    /// # Panics
    /// If the layouts differ, or the card was lost.
    pub fn adam(&mut self, moments: [&mut Self; 2], gradient: &Self, step: AdamStep) -> f64 {
        let [m, v] = moments;
        let same = [&m.layout, &v.layout, &gradient.layout].into_iter().all(|layout| *layout == self.layout);
        assert!(same, "Adam: four buffers of one layout");
        let (parts, n_parts) = gradient.squares();
        let (out, n) = (Numbers::empty(&self.client, 1), self.numbers.len);
        flat::adam::launch(
            &self.client,
            cubes(n),
            dim(),
            self.numbers.arg(),
            m.numbers.arg(),
            v.numbers.arg(),
            gradient.numbers.arg(),
            parts.arg(),
            out.arg(),
            n as u32,
            n_parts as u32,
            step.rate,
            step.root,
            step.first[0],
            step.first[1],
            step.second[0],
            step.second[1],
            step.eps,
            step.l2,
            step.max_norm,
        );
        f64::from(out.download(&self.client)[0])
    }

    /// w - xi (mu b + g + l2 w) of these weights; no b is zero.
    ///
    /// # Panics
    /// If the layouts differ.
    pub fn moved(&self, gradient: &Self, momentum: Option<&Self>, [xi, mu, l2]: [f64; 3]) -> Self {
        let (made, n) = (Self::unspecified(&self.client, &self.layout), self.numbers.len);
        assert_eq!(self.layout, gradient.layout, "a gradient has the layout of its weights");
        let (b, mu) = momentum.map_or((gradient, 0.0), |momentum| (momentum, mu));
        assert_eq!(self.layout, b.layout, "momentum has the layout of its weights");
        flat::moved::launch(
            &self.client,
            cubes(n),
            dim(),
            self.numbers.arg(),
            b.numbers.arg(),
            gradient.numbers.arg(),
            made.numbers.arg(),
            n as u32,
            xi as f32,
            mu as f32,
            l2 as f32,
        );
        made
    }

    /// a <- kept a + (1 - kept) v.
    ///
    /// # Panics
    /// If the layouts differ.
    pub fn average(&mut self, values: &Self, kept: f64) {
        assert_eq!(self.layout, values.layout, "an average has the layout of its values");
        let n = self.numbers.len;
        let (a, v) = (self.numbers.arg(), values.numbers.arg());
        flat::average::launch(&self.client, cubes(n), dim(), a, v, n as u32, kept as f32);
    }

    /// Running statistics of a part follow those of a batch.
    pub fn follow(&mut self, part: usize, norms: &Norms, kept: f64) {
        if norms.all.is_empty() {
            return;
        }
        let mut to = self.layout.starts[part];
        let (mut rows, mut widest) = (Vec::new(), 1);
        for (at, c, n_px) in &norms.all {
            rows.push((vec![*at, to, *c, *n_px], Vec::new()));
            to += 2 * c;
            widest = widest.max(*c);
        }
        assert_eq!(to - self.layout.starts[part], self.layout.lens[part], "every norm has left its statistics");
        let (table, Rows { at, n }) = Table::of(rows, &self.client);
        let count = CubeCount::Static(widest.div_ceil(UNITS) as u32, n, 1);
        let (running, coefs) = (self.numbers.arg(), norms.coefs.arg());
        flat::follow::launch(&self.client, count, dim(), running, coefs, table.arg(), at, kept as f32, BN_EPS as f32);
    }

    /// The same where statistics are there as values.
    pub fn follow_values(&mut self, part: usize, values: &Numbers, kept: f64) {
        let (a, n) = (self.part(part), values.len);
        assert_eq!(n, self.layout.lens[part], "every norm has left its statistics");
        flat::average::launch(&self.client, cubes(n), dim(), a.arg(), values.arg(), n as u32, kept as f32);
    }
}

impl Numbers {
    fn copy_to(&self, client: &Client, to: &Self, stretches: &[Stretch]) {
        let longest = stretches.iter().map(|(_, _, len)| *len).max().unwrap_or(0);
        if longest == 0 {
            return;
        }
        // As many as a card allows along an axis.
        const MOST: usize = 1 << 15;
        for stretches in stretches.chunks(MOST) {
            let rows = stretches.iter().map(|(from, to, len)| (vec![*from, *to, *len], Vec::new())).collect();
            let (table, Rows { at, n }) = Table::of(rows, client);
            let (across, all) = (longest.div_ceil(UNITS).min(MOST), longest.div_ceil(UNITS));
            let count = CubeCount::Static(across as u32, n, all.div_ceil(across) as u32);
            flat::copy::launch(client, count, dim(), self.arg(), to.arg(), table.arg(), at);
        }
    }
}

fn one() -> CubeCount {
    CubeCount::Static(1, 1, 1)
}

fn cubes(n: usize) -> CubeCount {
    CubeCount::Static(n.div_ceil(UNITS * EACH).clamp(1, CUBES) as u32, 1, 1)
}

fn dim() -> CubeDim {
    CubeDim::new_1d(UNITS as u32)
}

#[cfg(test)]
mod tests {
    use super::Layout;

    #[test]
    fn parts_begin_where_kernels_may_be_bound() {
        let layout = Layout::new(vec![3, 64, 0, 65]);
        assert_eq!((layout.n(), layout.len), (132, 64 + 64 + 128));
        assert_eq!(layout.parts().collect::<Vec<_>>(), [(0, 0, 3), (3, 64, 64), (67, 128, 0), (67, 128, 65)]);
    }
}
