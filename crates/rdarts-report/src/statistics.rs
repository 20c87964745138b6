//! The few statistics that tables need, each by its textbook formula.
//!
//! Values that are not finite are left out by whoever collects them; a statistic that too few values define is `None`.

use serde::Serialize;

/// Mean and spread of some values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Number of values.
    pub n: usize,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation with n - 1 in its denominator; none of a single value.
    pub deviation: Option<f64>,
}

/// A correlation and how sure it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Correlation {
    /// Number of pairs.
    pub n: usize,
    /// Pearson's coefficient, or Spearman's.
    pub r: f64,
    /// The ends of its 95 % interval by Fisher's transformation: tanh(atanh(r) -+ 1.96 s) with s = 1 / sqrt(n - 3) for
    /// Pearson's, and s = sqrt((1 + r^2 / 2) / (n - 3)) (Bonett and Wright, 2000) for Spearman's; none of fewer than four
    /// pairs.
    pub interval: Option<(f64, f64)>,
}

impl Correlation {
    /// The coefficient with its interval.
    pub(crate) fn in_words(&self) -> String {
        let interval =
            self.interval.map_or(String::new(), |(low, high)| format!(", 95 % interval {low:.2} to {high:.2}"));
        format!("{:.2}{interval}", self.r).replace('-', "\u{2212}")
    }
}

/// Mean and spread of the finite ones of some values; `None` if there is none.
pub fn summary(values: impl IntoIterator<Item = f64>) -> Option<Summary> {
    let values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
    let n = values.len();
    if n == 0 {
        return None;
    }
    let mean = values.iter().sum::<f64>() / n as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some(Summary { n, mean, deviation: (n > 1).then(|| (squares / (n - 1) as f64).sqrt()) })
}

/// The linear correlation, Pearson's, of the finite ones of some pairs; `None` of fewer than three, or if either side is
/// constant.
pub fn correlation(pairs: impl IntoIterator<Item = (f64, f64)>) -> Option<Correlation> {
    let pairs = finite(pairs);
    let r = coefficient(&pairs)?;
    Some(with_interval(pairs.len(), r, 1.0))
}

/// The correlation of the ranks, Spearman's, of the finite ones of some pairs, equal values having the mean of their
/// ranks; `None` of fewer than three, or if either side is constant.
pub fn rank_correlation(pairs: impl IntoIterator<Item = (f64, f64)>) -> Option<Correlation> {
    let (x, y): (Vec<f64>, Vec<f64>) = finite(pairs).into_iter().unzip();
    let r = coefficient(&ranks(&x).into_iter().zip(ranks(&y)).collect::<Vec<_>>())?;
    Some(with_interval(x.len(), r, 1.0 + r * r / 2.0))
}

fn finite(pairs: impl IntoIterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    pairs.into_iter().filter(|(x, y)| x.is_finite() && y.is_finite()).collect()
}

/// The ranks of some values, counted from 1; equal ones have the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let (mut ranks, mut begin) = (vec![0.0; values.len()], 0);
    for equal in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let mean = begin as f64 + (equal.len() as f64 + 1.0) / 2.0;
        equal.iter().for_each(|&i| ranks[i] = mean);
        begin += equal.len();
    }
    ranks
}

/// Pearson's coefficient.
fn coefficient(pairs: &[(f64, f64)]) -> Option<f64> {
    let n = pairs.len();
    if n < 3 {
        return None;
    }
    let mean = |side: fn(&(f64, f64)) -> f64| pairs.iter().map(side).sum::<f64>() / n as f64;
    let (mean_x, mean_y) = (mean(|pair| pair.0), mean(|pair| pair.1));
    let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
    for (x, y) in pairs {
        xx += (x - mean_x).powi(2);
        yy += (y - mean_y).powi(2);
        xy += (x - mean_x) * (y - mean_y);
    }
    let r = (xy / (xx * yy).sqrt()).clamp(-1.0, 1.0);
    r.is_finite().then_some(r)
}

/// A coefficient with its interval; the variance of its transform is so many times that of Pearson's.
fn with_interval(n: usize, r: f64, variance: f64) -> Correlation {
    // The 97.5 % point of the normal distribution.
    let half = 1.959_963_985 * variance.sqrt() / ((n as f64) - 3.0).sqrt();
    let interval = (n > 3).then(|| ((r.atanh() - half).tanh(), (r.atanh() + half).tanh()));
    Correlation { n, r, interval }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_deviation_are_those_of_the_textbook() {
        // Squares of the distances from 5: 9, 1, 1, 1, 0, 0, 4, 16, in all 32; 32 / 7.
        let found = summary([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]).unwrap();
        assert_eq!((found.n, found.mean), (8, 5.0));
        assert!((found.deviation.unwrap() - (32.0f64 / 7.0).sqrt()).abs() < 1e-15);
        assert_eq!(summary([3.0, f64::NAN]), Some(Summary { n: 1, mean: 3.0, deviation: None }));
        assert_eq!(summary([f64::INFINITY]), None);
    }

    #[test]
    fn correlation_and_interval_are_those_of_the_textbook() {
        // Sums of products of the distances from the means 3 and 4: xy 8, xx 10, yy 10.
        let pairs = [(1.0, 2.0), (2.0, 4.0), (3.0, 3.0), (4.0, 5.0), (5.0, 6.0)];
        let found = correlation(pairs).unwrap();
        assert_eq!(found.n, 5);
        assert!((found.r - 0.9).abs() < 1e-12, "{}", found.r);
        // atanh(r) = ln((1 + r) / (1 - r)) / 2 and tanh(z) = (e^2z - 1) / (e^2z + 1), written out.
        let z = 0.5 * (1.9f64 / 0.1).ln();
        let tanh = |z: f64| ((2.0 * z).exp() - 1.0) / ((2.0 * z).exp() + 1.0);
        let (low, high) = found.interval.unwrap();
        let half = 1.959_963_985 / 2f64.sqrt();
        assert!((low - tanh(z - half)).abs() < 1e-9 && (high - tanh(z + half)).abs() < 1e-9, "{low} {high}");
    }

    #[test]
    fn a_rank_correlation_is_that_of_the_textbook() {
        // Without equal values 1 - 6 sum d^2 / (n (n^2 - 1)): ranks 1 to 5 against 2, 1, 4, 3, 5, so 1 - 24 / 120. How
        // far values are apart does not count.
        let pairs = [(-3.0, 0.2), (0.0, 0.1), (1.0, 7.0), (1.5, 6.9), (1e9, 1e12), (f64::NAN, 1.0)];
        let found = rank_correlation(pairs).unwrap();
        assert!(found.n == 5 && (found.r - 0.8).abs() < 1e-12, "{found:?}");
        let (low, high) = found.interval.unwrap();
        let half = 1.959_963_985 * (1.32f64 / 2.0).sqrt();
        assert!((low.atanh() - (0.8f64.atanh() - half)).abs() < 1e-9, "{low}");
        assert!((high.atanh() - (0.8f64.atanh() + half)).abs() < 1e-9, "{high}");
        assert_eq!(found.in_words(), "0.80, 95 % interval \u{2212}0.46 to 0.99");
        // Equal values share their ranks: 1, 2.5, 2.5, 4 against 1 to 4, whose coefficient is 4.5 / sqrt(4.5 * 5).
        assert_eq!(ranks(&[0.5, 2.0, 2.0, 9.0]), [1.0, 2.5, 2.5, 4.0]);
        assert_eq!(ranks(&[0.0, -0.0, -1.0]), [2.5, 2.5, 1.0]);
        let tied = rank_correlation([(1.0, 1.0), (2.0, 2.0), (2.0, 3.0), (3.0, 4.0)]).unwrap();
        assert!((tied.r - 4.5 / 22.5f64.sqrt()).abs() < 1e-12, "{tied:?}");
        assert_eq!(rank_correlation([(1.0, 2.0), (1.0, 1.0), (1.0, 3.0)]), None);
        assert_eq!(rank_correlation([(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]).map(|found| found.r), Some(-1.0));
    }

    #[test]
    fn what_too_few_pairs_define_is_none() {
        assert_eq!(correlation([(1.0, 2.0), (2.0, 1.0)]), None);
        assert_eq!(correlation([(1.0, 2.0), (1.0, 1.0), (1.0, 3.0)]), None);
        let line = correlation([(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]).unwrap();
        assert_eq!((line.r, line.interval), (1.0, None));
        let line = correlation([(1.0, 1.0), (2.0, 2.0), (3.0, 3.0), (4.0, 4.0)]).unwrap();
        assert_eq!(line.interval, Some((1.0, 1.0)));
    }
}
