//! The floor that speed is measured against: multiply-adds a second of all threads on registers, and bytes a second
//! to and from memory, counted as `traffic.rs` counts them.

use std::time::{Duration, Instant};

use rayon::prelude::*;

use crate::simd::{Isa, fma};

/// What this machine reaches.
#[derive(Clone, Copy, Debug)]
pub struct Peak {
    /// Multiply-adds a second, single precision.
    pub macs: f64,
    /// Bytes a second between caches and memory: those of a = b + k c on tensors of 64 MiB (the triad of the STREAM
    /// benchmark). Memory that is only read moves fewer: what goes back goes beside what comes.
    pub bytes: f64,
    /// Which share of the time the threads ran while they multiplied: less than all of it where others use the
    /// processors too, or where there are fewer of these. `None` where the system does not tell.
    pub threads_ran: Option<f64>,
}

/// Both summands come; so do the lines of the sum, before they go.
const TRIAD: usize = 4;

/// Rounds of the triad.
const ROUNDS: usize = 15;

/// Measures for about a second on `threads` threads of the current pool: the best of many rounds on registers, the median
/// on memory, which neighbours share and which now and then has been twice as fast for a moment.
pub fn measure(threads: usize) -> Peak {
    let isa = Isa::best();
    let mut macs = 0f64;
    let (begin, ran) = (Instant::now(), processor_seconds());
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
    let wanted = threads as f64 * begin.elapsed().as_secs_f64();
    let threads_ran = ran.zip(processor_seconds()).map(|(before, after)| (after - before) / wanted);
    let [mut a, b, c] = [0f32, 1.0, 2.0].map(|v| vec![v; 16 << 20]);
    let part = a.len().div_ceil(threads);
    let round = |k: usize| {
        let begin = Instant::now();
        let parts = a.par_chunks_mut(part).zip(b.par_chunks(part).zip(c.par_chunks(part)));
        parts.for_each(|(a, (b, c))| a.iter_mut().zip(b.iter().zip(c)).for_each(|(a, (b, c))| *a = b + k as f32 * c));
        let moved = TRIAD * std::mem::size_of_val(&a[..]);
        std::hint::black_box(&mut a);
        moved as f64 / begin.elapsed().as_secs_f64()
    };
    let mut rates: Vec<f64> = (0..ROUNDS).map(round).collect();
    rates.sort_by(f64::total_cmp);
    Peak { macs, bytes: rates[ROUNDS / 2], threads_ran }
}

/// What this process has had of the processors, in seconds (Linux: hundredths, fields 14 and 15 of its `stat`).
fn processor_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is a name in brackets that may have any character.
    let fields = stat.rsplit_once(')')?.1.split_whitespace();
    let ticks: Vec<f64> = fields.skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    (ticks.len() == 2).then(|| (ticks[0] + ticks[1]) / 100.0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_machine_does_more_than_a_million_of_both() {
        let peak = super::measure(1);
        assert!(peak.macs > 1e6 && peak.bytes > 1e6, "{peak:?}");
        // A hundredth of a second at either end is rounded.
        assert!(peak.threads_ran.is_none_or(|ran| (0.0..1.1).contains(&ran)), "{peak:?}");
    }
}
