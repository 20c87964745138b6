//! Mixing weights p = softmax(alpha) per edge, and the chain rules from p back to alpha.
//!
//! The softmax stays outside the tape, in double precision. Its Jacobian J = diag(p) - p p^T is symmetric, so
//! one product serves tangents and cotangents. All slices lie flat in edge order; edges may have different
//! numbers of operations (space S1), `sizes` holds them.

use std::ops::Range;

use crate::graph::Network;
use crate::values::Alphas;

/// p = softmax(alpha) of each edge.
pub fn softmax(alpha: &[f64], sizes: &[usize]) -> Vec<f64> {
    let mut p = alpha.to_vec();
    for edge in ranges(sizes, alpha.len()) {
        let p = &mut p[edge];
        let largest = p.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        p.iter_mut().for_each(|v| *v = (*v - largest).exp());
        let total: f64 = p.iter().sum();
        p.iter_mut().for_each(|v| *v /= total);
    }
    p
}

/// J v = p (v - <p, v>) of each edge: the tangent of p in the direction v, or the gradient with respect to alpha
/// from the gradient v with respect to p.
pub fn jacobian(p: &[f64], v: &[f64], sizes: &[usize]) -> Vec<f64> {
    let mut out = vec![0.0; p.len()];
    for edge in ranges(sizes, p.len()) {
        let mean = dot(&p[edge.clone()], &v[edge.clone()]);
        for i in edge {
            out[i] = p[i] * (v[i] - mean);
        }
    }
    out
}

/// The gradient with respect to alpha of `<p_bar, p(alpha)> + <p_dot_bar, p_dot(alpha)>`, where
/// p_dot = J(alpha) v: what a reverse pass over a dual program hands back for its stacked mixing weights.
///
/// With m = <p, v>: p_dot_i = p_i (v_i - m), so the second term adds q_k (v_k - m) - v_k <q, p> to the gradient
/// with respect to p_k (q = p_dot_bar), and J takes the sum to alpha.
pub fn dual_vjp(p: &[f64], v: &[f64], p_bar: &[f64], p_dot_bar: &[f64], sizes: &[usize]) -> Vec<f64> {
    let mut total = p_bar.to_vec();
    for edge in ranges(sizes, p.len()) {
        let m = dot(&p[edge.clone()], &v[edge.clone()]);
        let s = dot(&p[edge.clone()], &p_dot_bar[edge.clone()]);
        for i in edge {
            total[i] += p_dot_bar[i] * (v[i] - m) - v[i] * s;
        }
    }
    jacobian(p, &total, sizes)
}

fn ranges(sizes: &[usize], len: usize) -> impl Iterator<Item = Range<usize>> + '_ {
    assert_eq!(sizes.iter().sum::<usize>(), len, "edges of {sizes:?} operations do not fit {len} values");
    sizes.iter().scan(0, |start, &n| {
        *start += n;
        Some(*start - n..*start)
    })
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

impl Alphas {
    /// Zeros for a network.
    pub fn zeros(net: &Network) -> Self {
        net.n_alphas().into_iter().map(|n| vec![0.0; n]).collect()
    }

    /// The inverse of [`Alphas::flat`].
    pub fn from_flat(net: &Network, flat: &[f64]) -> Self {
        let n_each = net.n_alphas();
        assert_eq!(flat.len(), n_each.iter().sum::<usize>(), "the network has {n_each:?} architecture parameters");
        let mut rest = flat;
        let mut next = |n| {
            let (part, after) = rest.split_at(n);
            rest = after;
            part.to_vec()
        };
        n_each.into_iter().map(&mut next).collect()
    }

    /// Each edge's values made into others, not necessarily as many.
    pub fn map_edges(&self, net: &Network, of: impl Fn(&[f64]) -> Vec<f64>) -> Self {
        let of_type = |(at, values): (usize, &Vec<f64>)| {
            ranges(&net.edge_sizes(at), values.len()).flat_map(|range| of(&values[range])).collect()
        };
        self.each().iter().enumerate().map(of_type).collect()
    }

    /// p = softmax(alpha) of every edge.
    pub fn softmax(&self, net: &Network) -> Self {
        self.each().iter().enumerate().map(|(at, alpha)| softmax(alpha, &net.edge_sizes(at))).collect()
    }

    /// With `self` as mixing weights p: the softmax's Jacobian times `v`.
    pub fn jacobian(&self, net: &Network, v: &Self) -> Self {
        self.each().iter().enumerate().map(|(at, p)| jacobian(p, v.of(at), &net.edge_sizes(at))).collect()
    }
}

#[cfg(test)]
mod tests {
    use rdarts_rng::Stream;

    use super::*;

    const SIZES: [usize; 4] = [3, 1, 4, 2];

    fn draw(s: &mut Stream) -> Vec<f64> {
        (0..10).map(|_| s.normal()).collect()
    }

    /// Central difference of f at alpha, coordinate by coordinate.
    fn difference(alpha: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
        let at = |i: usize, h: f64| {
            let mut a = alpha.to_vec();
            a[i] += h;
            f(&a)
        };
        (0..alpha.len()).map(|i| (at(i, 1e-5) - at(i, -1e-5)) / 2e-5).collect()
    }

    fn assert_close(a: &[f64], b: &[f64]) {
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-8), "{a:?}\n{b:?}");
        assert!(a.iter().any(|a| a.abs() > 1e-3), "a comparison of zeros");
    }

    #[test]
    fn every_edge_sums_to_one_and_large_values_do_not_overflow() {
        let p = softmax(&[1000.0, 999.0, -1000.0, 5.0, 0.0, 0.0, 0.0, 0.0, 1.0, 2.0], &SIZES);
        assert!((p[0] - 1.0 / (1.0 + (-1f64).exp())).abs() < 1e-15);
        assert_eq!((p[2], p[3], p[4]), (0.0, 1.0, 0.25));
        assert!((p[8] + p[9] - 1.0).abs() < 1e-15);
    }

    #[test]
    fn the_jacobian_is_that_of_finite_differences() {
        let mut s = Stream::new(1, "test", 0);
        let (alpha, g) = (draw(&mut s), draw(&mut s));
        let fd = difference(&alpha, |a| dot(&softmax(a, &SIZES), &g));
        assert_close(&jacobian(&softmax(&alpha, &SIZES), &g, &SIZES), &fd);
    }

    #[test]
    fn the_second_order_chain_rule_is_that_of_finite_differences() {
        let mut s = Stream::new(2, "test", 0);
        let [alpha, v, p_bar, p_dot_bar] = [0; 4].map(|_| draw(&mut s));
        let fd = difference(&alpha, |a| {
            let p = softmax(a, &SIZES);
            dot(&p, &p_bar) + dot(&jacobian(&p, &v, &SIZES), &p_dot_bar)
        });
        assert_close(&dual_vjp(&softmax(&alpha, &SIZES), &v, &p_bar, &p_dot_bar, &SIZES), &fd);
    }
}
