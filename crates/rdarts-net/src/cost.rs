//! What the supernet costs: multiply-adds of convolutions and of the head, and bytes that cross the memory.
//!
//! Of the multiply-adds batch norm, pooling and weighted sums are left out, as is usual. Bytes are counted as
//! [`rdarts_kernels::traffic`] says.

use rdarts_kernels::backward::Want;
use rdarts_kernels::spec::{CellDims, CellSpec, WeightKind};
use rdarts_kernels::traffic;

use crate::supernet::{ModuleSpec, Supernet};

impl Supernet {
    /// Multiply-adds of a forward pass of one image with `side` rows and columns.
    pub fn macs(&self, side: [usize; 2]) -> u64 {
        let px = |[h, w]: [usize; 2]| (h * w) as u64;
        let mut state = side;
        let mut total = 0;
        for module in self.modules() {
            match &module.spec {
                ModuleSpec::Stem(spec) => total += 9 * (spec.c_in * spec.c_out) as u64 * px(side),
                ModuleSpec::Head(spec) => total += (spec.c_in * spec.classes) as u64,
                ModuleSpec::Cell(spec) => {
                    let out = if spec.reduction { state.map(|s| s.div_ceil(2)) } else { state };
                    total += cell(spec, px(state), px(out));
                    state = out;
                }
            }
        }
        total
    }

    /// Bytes that a first-order search step on the fused kernels moves: two forward passes, one back to alpha, one back
    /// to the weights, for `n` images each.
    pub fn step_bytes(&self, n: usize, side: [usize; 2]) -> u64 {
        let values = |c: usize, [h, w]: [usize; 2]| (size_of::<f32>() * n * c * h * w) as u64;
        let (mut total, mut k) = (0, 0);
        // The two states before a cell.
        let mut sides = [side; 2];
        for module in self.modules() {
            match &module.spec {
                // Its convolution is written and read, the output written; back, the gradient and the convolution are
                // read twice, for the sums and with the images.
                ModuleSpec::Stem(spec) => {
                    let (out, images) = (values(spec.c_out, side), values(spec.c_in, side));
                    total += 2 * (5 * out + images) + 4 * out + images;
                }
                ModuleSpec::Cell(spec) => {
                    let dims = CellDims { n, side0: sides[0], side1: sides[1] };
                    let weights = Want { s0: true, s1: true, w: true, ..Want::default() };
                    // No alpha lies before the first cell: the gradient of the stem is wanted for its weights alone.
                    let alpha = Want { s0: k >= 2, s1: k >= 1, p: true, ..Want::default() };
                    total += 2 * traffic::forward(spec, dims);
                    total += traffic::backward(spec, dims, alpha) + traffic::backward(spec, dims, weights);
                    // Two cells, or one twice, read a state: the gradients are added, into the first.
                    let out = dims.side_out(spec);
                    total += 3 * (values(spec.c_prev_prev, sides[0]) * (1 + u64::from(k >= 2)));
                    sides = [sides[1], out];
                    k += 1;
                }
                // It reads its input twice and writes its gradient twice.
                ModuleSpec::Head(spec) => total += 6 * values(spec.c_in, sides[1]),
            }
        }
        total
    }
}

/// Every weight of a cell multiplies once for each pixel of its output.
fn cell(spec: &CellSpec, px_in: u64, px_out: u64) -> u64 {
    let per_weight = |kind: &WeightKind| match *kind {
        WeightKind::Depthwise { .. } | WeightKind::Conv { .. } => kind.len() as u64,
        WeightKind::Linear { .. } | WeightKind::Vector { .. } => 0,
    };
    let weights = spec.weights();
    let is_pre = |name: &str| name.starts_with("preprocess");
    weights.iter().map(|w| per_weight(&w.kind) * if is_pre(&w.name) { px_in } else { px_out }).sum()
}

#[cfg(test)]
mod tests {
    use rdarts_space::Space;

    use crate::supernet::{Supernet, SupernetSpec};

    #[test]
    fn a_step_moves_more_bytes_with_more_images_and_cells_and_less_in_smaller_ones() {
        let bytes = |cells, n, side| {
            let net = Supernet::new(SupernetSpec::from_space(&Space::builtin("s2").unwrap(), cells, 16, 3, 10));
            net.step_bytes(n, [side; 2])
        };
        // Where all nodes are large, every tensor grows with the batch; of small ones more are split.
        assert_eq!(bytes(8, 1024, 32), 2 * bytes(8, 512, 32));
        assert!(bytes(8, 256, 32) <= 4 * bytes(8, 64, 32));
        // 32 GMAC, and 11.5 GB.
        assert!((11e9..12e9).contains(&(bytes(8, 64, 32) as f64)), "{}", bytes(8, 64, 32));
        assert!(bytes(9, 64, 32) > bytes(8, 64, 32) && bytes(8, 64, 16) < bytes(8, 64, 32) / 2);
    }

    #[test]
    fn a_cell_of_s2_counts_its_convolutions() {
        let net = Supernet::new(SupernetSpec::from_space(&Space::builtin("s2").unwrap(), 1, 16, 3, 10));
        // One cell, a reduction (it is both a third and two thirds of the way), so 16 channels become 32: two preprocess
        // blocks of 48 channels, 14 edges of two halves, 8 of which begin with a FactorizedReduce beside them.
        let (stem, pre, head) = (9 * 3 * 48 * 1024, 2 * 48 * 32 * 1024, 4 * 32 * 10);
        let halves = 14 * 2 * (9 * 32 + 32 * 32) * 256;
        let skips = 8 * 32 * 32 * 256;
        assert_eq!(net.macs([32, 32]), (stem + pre + head + halves + skips) as u64);
    }
}
