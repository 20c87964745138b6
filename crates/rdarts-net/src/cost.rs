//! Arithmetic of the supernet: multiply-adds of convolutions and of the head, for one image.
//!
//! Batch norm, pooling and weighted sums are left out, as is usual.

use rdarts_kernels::spec::{CellSpec, WeightKind};

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
