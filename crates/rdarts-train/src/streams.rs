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

#[cfg(test)]
mod tests {
    use rdarts_net::DiscreteSpec;
    use rdarts_space::{Genotype, Op};

    use super::*;

    /// A normal cell, a reduction and another normal cell, with skip connections in both.
    fn network() -> Network {
        let normal = vec![(Op::SkipConnect, 0), (Op::SepConv3x3, 1), (Op::MaxPool3x3, 2), (Op::SkipConnect, 1)];
        let reduce = vec![(Op::SkipConnect, 0), (Op::AvgPool3x3, 1), (Op::SkipConnect, 2), (Op::DilConv3x3, 0)];
        let genotype = Genotype::new(normal, reduce).unwrap();
        Network::discrete(&DiscreteSpec {
            genotype,
            cells: 3,
            reductions: Vec::new(),
            c: 4,
            c_image: 3,
            classes: 10,
            auxiliary: false,
        })
    }

    #[test]
    fn each_operation_of_each_image_is_dropped_by_itself_but_the_identity() {
        let (net, p, n) = (network(), 0.3, 2000);
        let noise = Streams::new(5, 0).noise(&net, p, "drop-path", 7, n);
        assert_eq!(noise.len(), 3);
        let mut rows = Vec::new();
        for (cell, noise) in net.cells().zip(&noise) {
            let droppable = cell.spec.droppable();
            assert_eq!(droppable.iter().filter(|d| !**d).count(), if cell.spec.reduction { 1 } else { 2 });
            assert_eq!(noise.drop_path.len(), droppable.len() * n);
            for (row, may_drop) in noise.drop_path.chunks(n).zip(droppable) {
                if !may_drop {
                    assert!(row.iter().all(|factor| *factor == 1.0));
                    continue;
                }
                assert!(row.iter().all(|factor| *factor == 0.0 || *factor == (1.0 / 0.7) as f32));
                rows.push(row.iter().map(|factor| f64::from(u8::from(*factor == 0.0))).collect::<Vec<f64>>());
            }
        }
        // Four standard deviations of a rate, and of the rate of two being dropped together.
        let close = |share: f64, p: f64| (share / n as f64 - p).abs() < 4.0 * (p * (1.0 - p) / n as f64).sqrt();
        for (at, row) in rows.iter().enumerate() {
            assert!(close(row.iter().sum(), p), "{}", row.iter().sum::<f64>());
            let neighbours: f64 = row.windows(2).map(|pair| pair[0] * pair[1]).sum();
            assert!(close(neighbours, p * p), "images are dropped by themselves: {neighbours}");
            for other in &rows[..at] {
                let together: f64 = row.iter().zip(other).map(|(a, b)| a * b).sum();
                assert!(close(together, p * p), "paths are dropped by themselves: {together}");
            }
        }
    }

    #[test]
    fn noise_follows_from_seed_attempt_name_and_position() {
        let net = network();
        let made = |seed, attempt, name, position| Streams::new(seed, attempt).noise(&net, 0.5, name, position, 8);
        let first = made(5, 0, "drop-path", 7);
        assert_eq!(made(5, 0, "drop-path", 7), first);
        let others = [
            made(6, 0, "drop-path", 7),
            made(5, 1, "drop-path", 7),
            made(5, 0, "alpha-drop-path", 7),
            made(5, 0, "drop-path", 8),
        ];
        assert!(others.iter().all(|other| *other != first));
        assert_ne!(first[0].noise_key, first[1].noise_key);
        let without = Streams::new(5, 0).noise(&net, 0.0, "drop-path", 7, 8);
        assert!(without.iter().all(|cell| cell.drop_path.is_empty()));
    }
}
