//! Questions to a table.

use std::collections::BTreeMap;
use std::fmt::Write;

use rdarts_run::{Spec, TrainSpec};
use rdarts_space::{Genotype, Mismatch, Space, index_of};

use crate::entry::{Entry, Header, n_architectures};
use crate::error::TableError;

/// A table in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    header: Header,
    space: Space,
    spec: TrainSpec,
    /// By architecture, then by seed.
    entries: Vec<Entry>,
    /// Where the entries of each architecture begin; one more at the end.
    begins: Vec<usize>,
}

/// All trainings of an architecture.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// They, by seed; at least one.
    pub entries: &'a [Entry],
    /// Mean test error over the seeds.
    pub mean: f64,
    /// Its standard deviation, of more than one seed.
    pub deviation: Option<f64>,
}

/// How all architectures are distributed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// How many were trained with every seed.
    pub n: usize,
    /// Smallest, median and largest mean test error.
    pub best: f64,
    /// See `best`.
    pub median: f64,
    /// See `best`.
    pub worst: f64,
    /// Standard deviation between seeds of the same architecture, pooled over all; of more than one seed.
    pub between_seeds: Option<f64>,
    /// How many architectures the seeds do not tell apart from the best, itself included: their error is not larger by more
    /// than the pooled deviation explains, at a risk of 5 % for all comparisons together.
    pub not_worse: Option<usize>,
}

impl Table {
    pub(crate) fn new(header: Header, space: Space, spec: TrainSpec, mut entries: Vec<Entry>) -> Self {
        entries.sort_by_key(|e| (e.architecture, e.seed));
        let n = n_architectures(&space).expect("a table's space was counted when it was read");
        let begins = (0..=n).map(|at| entries.partition_point(|e| e.architecture < at)).collect();
        Self { header, space, spec, entries, begins }
    }

    /// An empty table.
    ///
    /// # Errors
    /// If the space has too many architectures.
    pub fn begin(
        space: Space,
        spec: &TrainSpec,
        images: String,
        seeds: Vec<u64>,
        rdarts: String,
    ) -> Result<Self, String> {
        n_architectures(&space)?;
        let spec = crate::entry::common(spec);
        let header =
            Header { table: crate::FORMAT, rdarts, space: space.to_toml(), spec: spec.to_toml(), images, seeds };
        Ok(Self::new(header, space, spec, Vec::new()))
    }

    /// Its first line.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The space.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// How architectures are trained, without genotype, seed and places of files.
    pub fn spec(&self) -> &TrainSpec {
        &self.spec
    }

    /// All entries, by architecture, then by seed.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Number of architectures of the space.
    pub fn n_architectures(&self) -> usize {
        self.begins.len() - 1
    }

    /// Trainings that are still to be done, as (architecture, seed): all architectures with the first seed first.
    pub fn missing(&self) -> Vec<(u64, u64)> {
        let all =
            self.header.seeds.iter().flat_map(|&seed| (0..self.n_architectures() as u64).map(move |at| (at, seed)));
        all.filter(|&(at, seed)| !self.has(at, seed)).collect()
    }

    /// Whether an architecture was trained with a seed.
    pub fn has(&self, architecture: u64, seed: u64) -> bool {
        self.of(architecture).is_some_and(|row| row.has(seed))
    }

    /// The trainings of an architecture by its number; none if there are none yet.
    pub fn of(&self, architecture: u64) -> Option<Row<'_>> {
        let at = usize::try_from(architecture).ok().filter(|at| *at < self.n_architectures())?;
        let entries = &self.entries[self.begins[at]..self.begins[at + 1]];
        (!entries.is_empty()).then(|| Row::of(entries))
    }

    /// The trainings of an architecture; none if there are none yet.
    ///
    /// # Errors
    /// If it is not in the space.
    pub fn query(&self, genotype: &Genotype) -> Result<Option<Row<'_>>, Mismatch> {
        Ok(self.of(index_of(&self.space, genotype)? as u64))
    }

    /// All architectures that were trained, by number.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        (0..self.n_architectures() as u64).filter_map(|at| self.of(at))
    }

    /// The rows that were trained with every seed, the best first; among equal ones that with the smaller number.
    pub fn ranked(&self) -> Vec<Row<'_>> {
        let mut all: Vec<Row<'_>> = self.rows().filter(|row| self.is_whole(row)).collect();
        all.sort_by(|a, b| a.mean.total_cmp(&b.mean).then(a.architecture().cmp(&b.architecture())));
        all
    }

    /// Whether a row was trained with every seed.
    pub fn is_whole(&self, row: &Row<'_>) -> bool {
        self.header.seeds.iter().all(|seed| row.has(*seed))
    }

    /// How the architectures that were trained with every seed are distributed; none without any.
    pub fn spread(&self) -> Option<Spread> {
        let ranked = self.ranked();
        let (best, worst) = (ranked.first()?, ranked.last()?);
        let n = ranked.len();
        let median = if n % 2 == 1 { ranked[n / 2].mean } else { 0.5 * (ranked[n / 2 - 1].mean + ranked[n / 2].mean) };
        let variances: Option<Vec<f64>> = ranked.iter().map(|row| row.deviation.map(|d| d * d)).collect();
        let pooled = variances.map(|all| (all.iter().sum::<f64>() / n as f64).sqrt());
        let not_worse = pooled.map(|deviation| {
            let seeds = self.header.seeds.len() as f64;
            let limit = critical(n.saturating_sub(1), n as f64 * (seeds - 1.0)) * deviation * (2.0 / seeds).sqrt();
            ranked.iter().filter(|row| row.mean - best.mean <= limit).count()
        });
        Some(Spread { n, best: best.mean, median, worst: worst.mean, between_seeds: pooled, not_worse })
    }

    /// Where a training is none of this table: the first key that differs, its value here and there.
    pub fn differs_in(&self, spec: &TrainSpec) -> Option<(String, String, String)> {
        // The text of the header may be from before some keys were there.
        let [own, other] = [&self.spec, spec].map(|spec| crate::entry::common(spec).to_toml());
        rdarts_run::difference(&own, &other)
    }

    /// Takes over the entries of another table that this one lacks; how many they were.
    ///
    /// # Errors
    /// If the two are of another space or training, or of other images.
    pub fn merge(&mut self, other: &Table) -> Result<usize, TableError> {
        if self.space != other.space {
            let (a, b) = (&self.space.name, &other.space.name);
            let how = if a == b { ", with other operations" } else { "" };
            return Err(TableError::Differ(format!("one is of the space `{a}`, the other of `{b}`{how}")));
        }
        if let Some((key, a, b)) = self.differs_in(&other.spec) {
            return Err(TableError::Differ(format!("their trainings differ in {key}: {a} and {b}")));
        }
        if self.header.images != other.header.images {
            return Err(TableError::Differ("their images differ, although their specs agree".into()));
        }
        let mut all: BTreeMap<(u64, u64), Entry> =
            self.entries.drain(..).map(|e| ((e.architecture, e.seed), e)).collect();
        let before = all.len();
        for entry in &other.entries {
            all.entry((entry.architecture, entry.seed)).or_insert_with(|| entry.clone());
        }
        let added = all.len() - before;
        let mut header = self.header.clone();
        for seed in &other.header.seeds {
            if !header.seeds.contains(seed) {
                header.seeds.push(*seed);
            }
        }
        *self = Self::new(header, self.space.clone(), self.spec.clone(), all.into_values().collect());
        Ok(added)
    }

    /// As CSV: a line for each training.
    pub fn to_csv(&self) -> String {
        let mut out = String::from(
            "architecture,genotype,seed,weights,multiply_adds,epoch,train_loss,train_accuracy,valid_accuracy,\
             test_accuracy,test_loss,seconds,by\n",
        );
        let number = |v: Option<f64>| v.map_or_else(String::new, |v| v.to_string());
        for e in &self.entries {
            let _ = writeln!(
                out,
                "{},\"{}\",{},{},{},{},{},{},{},{},{},{},\"{}\"",
                e.architecture,
                e.genotype.replace('"', "\"\""),
                e.seed,
                e.n_params,
                e.macs,
                e.epoch,
                number(e.train_loss),
                number(e.train_accuracy),
                number(e.valid_accuracy),
                e.test_accuracy,
                number(e.test_loss),
                e.seconds,
                e.by.replace('"', "\"\""),
            );
        }
        out
    }
}

impl<'a> Row<'a> {
    fn of(entries: &'a [Entry]) -> Self {
        let n = entries.len() as f64;
        let mean = entries.iter().map(Entry::test_error).sum::<f64>() / n;
        let squares: f64 = entries.iter().map(|e| (e.test_error() - mean).powi(2)).sum();
        Self { entries, mean, deviation: (entries.len() > 1).then(|| (squares / (n - 1.0)).sqrt()) }
    }

    fn has(&self, seed: u64) -> bool {
        self.entries.iter().any(|e| e.seed == seed)
    }

    /// Its number.
    pub fn architecture(&self) -> u64 {
        self.entries[0].architecture
    }

    /// Itself, as text.
    pub fn genotype(&self) -> &'a str {
        &self.entries[0].genotype
    }
}

/// Student's t that is exceeded, by chance, in one of `n` comparisons with a risk of 5 % for all of them together
/// (Bonferroni): by the normal quantile and the first terms of its expansion in 1 / degrees (Abramowitz and Stegun, 26.7.5).
fn critical(n: usize, degrees: f64) -> f64 {
    let z = normal_quantile(0.05 / n.max(1) as f64);
    let terms = [
        z,
        (z.powi(3) + z) / 4.0,
        (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0,
        (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0,
    ];
    terms.iter().rev().fold(0.0, |sum, term| sum / degrees + term)
}

/// What a standard normal number exceeds with probability p, at most a half (Abramowitz and Stegun, 26.2.23; off by at most
/// 4.5e-4).
fn normal_quantile(p: f64) -> f64 {
    let t = (-2.0 * p.ln()).sqrt();
    let above = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let below = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    t - above / below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (p, z) in [(0.05, 1.6449), (0.001, 3.0902), (0.05 / 80.0, 3.2272)] {
            assert!((normal_quantile(p) - z).abs() < 1e-3, "{p} {}", normal_quantile(p));
        }
        // Student's t: 5 % with 10 and 30 degrees, 0.1 % with 60.
        for (n, degrees, t) in [(1, 10.0, 1.8125), (1, 30.0, 1.6973), (50, 60.0, 3.2317)] {
            assert!((critical(n, degrees) - t).abs() < 2e-2, "{n} {degrees} {}", critical(n, degrees));
        }
    }
}
