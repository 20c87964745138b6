//! How often the rules act where nothing happens, and how soon where something does: counted on simulated searches.
//!
//!     cargo test --release -p rdarts-monitor --test false_alarms -- --nocapture
//!
//! prints the tables. The simulator shares nothing with the rule: its numbers, its distributions and its means are its
//! own.

use rdarts_monitor::{AdaRule, Decision, Measurement, Method, NoiseRule, NoisyMeasurement, Rule, decide};

const RISK: f64 = 0.05;
/// Of each kind.
const SEARCHES: usize = 1000;
const GROWING: usize = 300;
const BATCHES: [usize; 4] = [2, 4, 8, 16];
const LENGTHS: [usize; 3] = [12, 25, 50];

/// SplitMix64.
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // Never zero, for the logarithm.
        (((z ^ (z >> 31)) >> 12) as f64 + 0.5) / (1u64 << 52) as f64
    }

    /// Standard normal, by Box and Muller.
    fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Student's t with 3 degrees, divided by its deviation.
    fn heavy(&mut self) -> f64 {
        let squares: f64 = (0..3).map(|_| self.normal().powi(2)).sum();
        self.normal() / squares.sqrt()
    }

    /// Lognormal of mean 1 with this deviation.
    fn lognormal(&mut self, deviation: f64) -> f64 {
        let variance = (deviation * deviation).ln_1p();
        (variance.sqrt() * self.normal() - variance / 2.0).exp()
    }
}

/// What the batches of an epoch do to its eigenvalue, as factors of mean 1.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Noise {
    Normal(f64),
    Lognormal(f64),
    Heavy(f64),
    /// Normal; the deviation goes from the first to the second during the search.
    Changing(f64, f64),
    /// Lognormal, likewise.
    SkewedChanging(f64, f64),
    /// The same batches at every epoch: an error that stays, and one of each epoch.
    Common(f64, f64),
    /// An error of each batch that moves from epoch to epoch, correlated by so much.
    Drifting(f64, f64),
    /// Normal, and the eigenvalue itself jumps from epoch to epoch by so much.
    Jumping(f64, f64),
}

/// A simulated search: the eigenvalue of each batch after each epoch, whose truth without noise is `truth`.
fn search(random: &mut Random, noise: Noise, truth: &[f64], m: usize) -> Vec<Vec<f64>> {
    let mut errors: Vec<f64> = (0..m).map(|_| random.normal()).collect();
    let mut batches = Vec::new();
    for (epoch, &truth) in truth.iter().enumerate() {
        let along = |from: f64, to: f64| from + (to - from) * epoch as f64 / 50.0;
        let jump = if let Noise::Jumping(_, by) = noise { 1.0 + by * random.normal() } else { 1.0 };
        let mut factor = |error: &mut f64| match noise {
            Noise::Normal(d) | Noise::Jumping(d, _) => 1.0 + d * random.normal(),
            Noise::Lognormal(d) => random.lognormal(d),
            Noise::Heavy(d) => 1.0 + d * random.heavy(),
            Noise::Changing(from, to) => 1.0 + along(from, to) * random.normal(),
            Noise::SkewedChanging(from, to) => random.lognormal(along(from, to)),
            Noise::Common(common, own) => (1.0 + common * *error) * (1.0 + own * random.normal()),
            Noise::Drifting(d, correlation) => {
                *error = correlation * *error + (1.0 - correlation * correlation).sqrt() * random.normal();
                1.0 + d * *error
            }
        };
        batches.push(errors.iter_mut().map(|error| truth * jump * factor(error)).collect());
    }
    batches
}

fn measured(batches: &[Vec<f64>]) -> Vec<NoisyMeasurement> {
    let of = |(epoch, values): (usize, &Vec<f64>)| {
        let m = values.len() as f64;
        let mean = values.iter().sum::<f64>() / m;
        let variance = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / (m - 1.0);
        NoisyMeasurement { epoch, eigenvalue: mean, error: Some((variance / m).sqrt()), batches: values.len() }
    };
    batches.iter().enumerate().map(of).collect()
}

/// The epoch after which the paper's rule stops with these numbers, and that after which ours does with the same.
///
/// What the form alone does not act on, ours does not either, as a test of its module says; so it is asked only where
/// the form acts, which saves most of the time.
fn stopped(rule: &NoiseRule, history: &[NoisyMeasurement]) -> [Option<usize>; 2] {
    let plain: Vec<Measurement> =
        history.iter().map(|m| Measurement { epoch: m.epoch, eigenvalue: m.eigenvalue }).collect();
    let (n_epochs, ada) = (history.len(), AdaRule::released());
    let stops = |decision| matches!(decision, Decision::Stop { .. });
    let mut acts = (0..n_epochs)
        .filter(|&i| stops(decide(Method::Es, &rule.growth, &ada, &plain[..=i], i, n_epochs, 3e-4)))
        .peekable();
    let paper = acts.peek().copied();
    [paper, acts.find(|&i| stops(rule.decide(&history[..=i], i, n_epochs)))]
}

/// The probability below which fewer than `count + 1` of `n` would be seen in one of twenty counts only (Clopper and
/// Pearson), by halving.
fn upper(count: usize, n: usize) -> f64 {
    let at_most = |p: f64| -> f64 {
        let mut term = n as f64 * (-p).ln_1p();
        let mut sum = term.exp();
        for k in 0..count {
            term += ((n - k) as f64 / (k + 1) as f64).ln() + p.ln() - (-p).ln_1p();
            sum += term.exp();
        }
        sum
    };
    let (mut low, mut high) = (0.0, 1.0);
    while high - low > 1e-6 {
        let middle = (low + high) / 2.0;
        if at_most(middle) > 0.05 { low = middle } else { high = middle }
    }
    high
}

fn percent(count: usize, n: usize) -> f64 {
    100.0 * count as f64 / n as f64
}

/// Searches of one kind in which three rules act: the noise's alone, without a least growth; with that of the paper;
/// the paper's own.
fn false_alarms(noise: Noise, fall: f64, window: usize, m: usize, length: usize) -> [usize; 3] {
    let form = Rule { window, lag: window, ..Rule::paper() };
    let bare = NoiseRule { growth: Rule { threshold: 1.0, ..form }, risk: RISK };
    let rule = NoiseRule { growth: form, risk: RISK };
    let truth: Vec<f64> = (0..length).map(|epoch| 0.23 * (-fall * epoch as f64).exp()).collect();
    let mut random = Random((1000 * window + 100 * m + length) as u64);
    let mut counts = [0; 3];
    for _ in 0..SEARCHES {
        let history = measured(&search(&mut random, noise, &truth, m));
        let [[_, bare], [paper, both]] = [&bare, &rule].map(|rule| stopped(rule, &history));
        let acted = [bare, both, paper];
        counts.iter_mut().zip(acted).for_each(|(count, acted)| *count += usize::from(acted.is_some()));
    }
    counts
}

#[test]
#[allow(clippy::print_stdout)]
fn false_alarms_are_no_more_than_the_risk() {
    // Noise, fall of the eigenvalue each epoch, window, whether the risk is held without a least growth too.
    let rows = [
        (Noise::Normal(0.2), 0.0, 5, true),
        (Noise::Normal(0.2), 0.0, 3, true),
        (Noise::Normal(0.2), 0.01, 5, true),
        (Noise::Lognormal(0.2), 0.0, 5, true),
        (Noise::Lognormal(0.5), 0.0, 5, true),
        (Noise::Heavy(0.2), 0.0, 5, true),
        (Noise::Heavy(0.2), 0.0, 3, true),
        (Noise::Changing(0.08, 0.4), 0.0, 5, true),
        (Noise::Changing(0.4, 0.08), 0.0, 5, true),
        (Noise::SkewedChanging(0.08, 0.4), 0.0, 5, true),
        (Noise::SkewedChanging(0.4, 0.08), 0.0, 5, true),
        (Noise::Common(0.2, 0.1), 0.0, 5, true),
        (Noise::Jumping(0.15, 0.07), 0.0, 5, false),
        (Noise::Jumping(0.15, 0.07), 0.0, 3, false),
        (Noise::Jumping(0.15, 0.15), 0.0, 5, false),
        (Noise::Jumping(0.15, 0.15), 0.0, 3, false),
        (Noise::Drifting(0.2, 0.8), 0.0, 5, false),
        (Noise::Drifting(0.4, 0.9), 0.0, 5, false),
    ];
    println!("searches of which so many in 100 act: noise alone / noise and a third / a third alone (the paper)");
    let cells = rows.iter().flat_map(|row| BATCHES.map(|m| (*row, m))).collect::<Vec<_>>();
    for (line, covered) in in_parallel(&cells, |&((noise, fall, window, is_covered), m)| {
        let mut line = format!("{noise:?}, fall {fall}, window {window}, {m:>2} batches:");
        let mut covered = Vec::new();
        for length in LENGTHS.into_iter().filter(|length| is_covered || *length == 50) {
            let counts = false_alarms(noise, fall, window, m, length);
            let [bare, with, paper] = counts.map(|count| percent(count, SEARCHES));
            line += &format!("   {length} epochs {bare:.1} / {with:.1} / {paper:.1}");
            // Jumps as large as those of our searches are covered by the least growth.
            let is_usual = matches!(noise, Noise::Jumping(_, by) if by <= 0.07);
            covered.extend(is_covered.then_some(counts[0]));
            covered.extend((is_covered || is_usual).then_some(counts[1]));
        }
        (line, covered)
    }) {
        println!("{line}");
        assert!(covered.into_iter().all(|count| upper(count, SEARCHES) <= RISK), "{line}");
    }
}

/// What a function makes of each, in their order.
fn in_parallel<T: Sync, R: Send>(items: &[T], of: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let n = std::thread::available_parallelism().map_or(1, usize::from).min(items.len());
    // Neighbours take about as long, so each thread has every n-th.
    let mut parts: Vec<std::vec::IntoIter<R>> = std::thread::scope(|scope| {
        let start = |k| {
            let of = &of;
            scope.spawn(move || items.iter().skip(k).step_by(n).map(of).collect::<Vec<R>>())
        };
        let threads: Vec<_> = (0..n).map(start).collect();
        threads.into_iter().map(|thread| thread.join().expect("no count panics").into_iter()).collect()
    });
    (0..items.len()).filter_map(|i| parts[i % n].next()).collect()
}

/// What a rule does in searches whose eigenvalue grows from epoch 20 on: acts before it, acts after it, and the epochs
/// from the first to the latter, in the mean.
#[derive(Default)]
struct Power {
    early: usize,
    found: usize,
    delay: usize,
}

impl Power {
    fn count(&mut self, acted: Option<usize>) {
        match acted {
            Some(epoch) if epoch < ONSET => self.early += 1,
            Some(epoch) => {
                self.found += 1;
                self.delay += epoch - ONSET;
            }
            None => {}
        }
    }

    fn shown(&self) -> String {
        let delay = self.delay as f64 / self.found.max(1) as f64;
        format!("{:5.1} {:5.1} {delay:4.1}", percent(self.early, GROWING), percent(self.found, GROWING))
    }
}

/// The first epoch of a growth.
const ONSET: usize = 20;

/// Our rule and the paper's in searches whose eigenvalue grows to so much within `over` epochs.
fn power(noise: Noise, window: usize, growth: f64, over: usize, m: usize) -> [Power; 2] {
    let form = Rule { window, lag: window, ..Rule::paper() };
    let rule = NoiseRule { growth: form, risk: RISK };
    let along = |epoch: usize| ((epoch + 1).saturating_sub(ONSET) as f64 / over as f64).min(1.0);
    let truth: Vec<f64> = (0..50).map(|epoch| 0.23 * (1.0 + (growth - 1.0) * along(epoch))).collect();
    let mut random = Random((10 * m + over) as u64);
    let mut both = [Power::default(), Power::default()];
    for _ in 0..GROWING {
        let history = measured(&search(&mut random, noise, &truth, m));
        let [paper, ours] = stopped(&rule, &history);
        both[0].count(ours);
        both[1].count(paper);
    }
    both
}

#[test]
#[allow(clippy::print_stdout)]
fn growth_is_found() {
    println!("50 epochs, growth from epoch {ONSET} on: acts before it, acts after it, in 100; mean delay in epochs");
    let kinds = [(Noise::Normal(0.15), 5), (Noise::Jumping(0.15, 0.07), 5), (Noise::Jumping(0.15, 0.07), 3)];
    let mut cells = Vec::new();
    for (noise, window) in kinds {
        for (over, growth) in [(1, 1.5), (1, 2.0), (1, 3.0), (10, 1.5), (10, 2.0), (10, 3.0)] {
            cells.extend(BATCHES.map(|m| (noise, window, growth, over, m)));
        }
    }
    let found = in_parallel(&cells, |&(noise, window, growth, over, m)| power(noise, window, growth, over, m));
    for ((noise, window, growth, over, m), [ours, paper]) in cells.into_iter().zip(found) {
        let line = format!(
            "{noise:?}, window {window}, {m:>2} batches, {growth}x within {over:>2}: ours {}   paper {}",
            ours.shown(),
            paper.shown()
        );
        println!("{line}");
        // What the rule is for: with four batches or more it finds what matters as surely as the paper's, a little
        // later.
        if window == 5 && m >= 4 && (growth >= 2.0 || over == 1) {
            assert!(100 * ours.found >= 90 * GROWING, "{line}");
            assert!(100 * ours.found >= 97 * paper.found, "{line}");
            let [ours, paper] = [&ours, &paper].map(|power| power.delay as f64 / power.found as f64);
            assert!(ours <= paper + 3.5, "{line}");
        }
    }
}
