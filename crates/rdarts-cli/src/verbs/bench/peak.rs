//! The floor that speed is measured against: multiply-adds a second of all threads on registers, and bytes a second
//! to and from memory, counted as `rdarts_kernels::traffic` counts them.

use std::time::{Duration, Instant};

use rayon::prelude::*;
use rdarts_kernels::traffic::triad;
use rdarts_kernels::{Kernels, multiply_adds};

/// What this machine reaches.
#[derive(Clone, Copy, Debug)]
pub struct Peak {
    /// Multiply-adds a second, single precision.
    pub macs: f64,
    /// Bytes a second between caches and memory: those of a = b + k c on tensors of 64 MiB (the triad of the STREAM
    /// benchmark). Memory that is only read moves fewer: what goes back goes beside what comes.
    pub bytes: f64,
    /// Which share of the time that they could the threads ran while they multiplied; the rest they waited for a
    /// processor, as others use these too, or there are fewer. `None` where the system does not tell.
    pub threads_ran: Option<f64>,
}

/// Both summands come; so do the lines of the sum, before they go.
const TRIAD: usize = 4;

/// How long either loop is measured.
const FOR: Duration = Duration::from_millis(500);

/// Measures for about a second on `threads` threads of the current pool: the best of many rounds on registers, the median
/// on memory, which neighbours share and which now and then has been twice as fast for a moment.
pub fn measure(kernels: &Kernels, threads: usize) -> Peak {
    let mut macs = 0f64;
    let before = times_of_threads();
    let begin = Instant::now();
    while begin.elapsed() < FOR {
        let round = Instant::now();
        let done: usize = (0..threads).into_par_iter().map(|_| multiply_adds(kernels.isa())).sum();
        macs = macs.max(done as f64 / round.elapsed().as_secs_f64());
    }
    let both = before.zip(times_of_threads());
    let [run, wait] = both.map_or([0.0; 2], |(before, after)| [0, 1].map(|k| after[k] - before[k]));
    let threads_ran = (run > 0.0).then(|| run / (run + wait));
    let [mut a, b, c] = [0f32, 1.0, 2.0].map(|v| vec![v; 16 << 20]);
    let part = a.len().div_ceil(threads);
    let mut round = |k: usize| {
        let begin = Instant::now();
        let parts = a.par_chunks_mut(part).zip(b.par_chunks(part).zip(c.par_chunks(part)));
        parts.for_each(|(a, (b, c))| triad(a, b, k as f32, c));
        let moved = TRIAD * std::mem::size_of_val(&a[..]);
        std::hint::black_box(&mut a);
        moved as f64 / begin.elapsed().as_secs_f64()
    };
    let begin = Instant::now();
    let mut rates: Vec<f64> = (0..).map(&mut round).take_while(|_| begin.elapsed() < FOR).collect();
    rates.sort_by(f64::total_cmp);
    // A machine so slow that the first took too long is measured once more.
    let bytes = if rates.is_empty() { round(0) } else { rates[rates.len() / 2] };
    Peak { macs, bytes, threads_ran }
}

/// For how many nanoseconds the threads of the pool have run, and for how many they have waited for a processor (Linux).
fn times_of_threads() -> Option<[f64; 2]> {
    let of_thread = |_: rayon::BroadcastContext<'_>| -> Option<[f64; 2]> {
        let times = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        let mut fields = times.split_whitespace().map(str::parse);
        Some([fields.next()?.ok()?, fields.next()?.ok()?])
    };
    let sum = |all: [f64; 2], one: Option<[f64; 2]>| one.map(|one| [all[0] + one[0], all[1] + one[1]]);
    rayon::broadcast(of_thread).into_iter().try_fold([0.0; 2], sum)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_machine_does_more_than_a_million_of_both() {
        let peak = super::measure(&super::Kernels::new(rdarts_kernels::Isa::best()), 1);
        assert!(peak.macs > 1e6 && peak.bytes > 1e6, "{peak:?}");
        assert!(peak.threads_ran.is_none_or(|ran| ran > 0.0 && ran <= 1.0), "{peak:?}");
    }
}
