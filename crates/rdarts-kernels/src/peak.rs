//! The floor that speed is measured against: multiply-adds a second of all threads on registers, and bytes a second
//! from memory.

use std::time::{Duration, Instant};

use rayon::prelude::*;

use crate::simd::{Isa, fma};

/// What this machine reaches.
#[derive(Clone, Copy, Debug)]
pub struct Peak {
    /// Multiply-adds a second, single precision.
    pub macs: f64,
    /// Bytes a second read from memory (a sum over 256 MiB).
    pub bytes: f64,
}

/// Measures for about a second on `threads` threads of the current pool; the best of several rounds.
pub fn measure(threads: usize) -> Peak {
    let isa = Isa::best();
    let mut macs = 0f64;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(500) {
        let round = Instant::now();
        let done: usize = (0..threads)
            .into_par_iter()
            .map(|_| {
                let (mut out, mut one, mut total) = ([1.0; 16], 0, 0);
                for _ in 0..64 {
                    fma::chains(isa, &mut out, &mut one);
                    total += one;
                }
                std::hint::black_box(out);
                total
            })
            .sum();
        macs = macs.max(done as f64 / round.elapsed().as_secs_f64());
    }
    let values = vec![1f32; 64 << 20];
    let mut bytes = 0f64;
    for _ in 0..10 {
        let round = Instant::now();
        let part = values.len() / threads;
        let sum: f32 = values
            .par_chunks(part)
            .map(|v| {
                let mut acc = [0f32; 64];
                for v in v.chunks_exact(64) {
                    acc.iter_mut().zip(v).for_each(|(a, v)| *a += v);
                }
                acc.iter().sum::<f32>()
            })
            .sum();
        std::hint::black_box(sum);
        bytes = bytes.max(4.0 * values.len() as f64 / round.elapsed().as_secs_f64());
    }
    Peak { macs, bytes }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_machine_does_more_than_a_million_of_both() {
        let peak = super::measure(1);
        assert!(peak.macs > 1e6 && peak.bytes > 1e6, "{peak:?}");
    }
}
