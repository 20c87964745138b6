//! All that is random in a run, as pure functions of (seed, name, position).
//!
//! Batches, augmentation, drop-path factors and noise of step t are the same whether a run got there in one go or was
//! killed on the way. After going back the seed is another one, so that the repeated epochs see other batches.

use std::sync::Arc;

use rdarts_net::{CellNoise, Network};
use rdarts_rng::Stream;

/// The streams of a run.
#[derive(Clone, Copy, Debug)]
pub struct Streams {
    seed: u64,
}

impl Streams {
    /// Those of a spec's seed, after so many rollbacks.
    pub fn new(seed: u64, attempt: usize) -> Self {
        let seed = if attempt == 0 { seed } else { Stream::new(seed, "attempt", attempt as u64).next_u64() };
        Self { seed }
    }

    /// The seed, for those who name their streams themselves.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The stream of a name at a position.
    pub fn stream(&self, name: &str, position: u64) -> Stream {
        Stream::new(self.seed, name, position)
    }

    /// Drop-path factors, with probability `p` of zero, and noise keys of all cells for a batch of n images.
    pub fn noise(&self, net: &Network, p: f64, name: &str, position: u64, n: usize) -> Vec<Arc<CellNoise>> {
        let mut stream = self.stream(name, position);
        net.cells()
            .map(|cell| {
                let (keep, mut drop_path) = ((1.0 / (1.0 - p)) as f32, Vec::new());
                for may_drop in cell.spec.droppable().into_iter().filter(|_| p > 0.0) {
                    let mut factor = || if stream.chance(p) { 0.0 } else { keep };
                    drop_path.extend((0..n).map(|_| if may_drop { factor() } else { 1.0 }));
                }
                Arc::new(CellNoise { drop_path, noise_key: stream.next_u64() })
            })
            .collect()
    }
}
