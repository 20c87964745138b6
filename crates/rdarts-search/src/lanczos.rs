//! The dominant eigenvalue of a symmetric operator v -> H v, by Lanczos with an error bound.
//!
//! After k products the operator is a k x k tridiagonal matrix T on an orthonormal basis of the Krylov space; its
//! largest eigenvalue theta never exceeds the largest eigenvalue lambda of H. How far lambda lies above follows
//! from the characteristic polynomial p of T and the off-diagonal entries beta_1 .. beta_k: for the first vector q
//! and the eigenvector x of lambda,
//!
//! beta_1 ... beta_k = |p(H) q| >= |<q, x>| p(lambda),
//!
//! and for a q drawn uniformly from the sphere |<q, x>| is below c with a probability below c sqrt(2 n / pi). So
//! the root above theta of p(y) = beta_1 ... beta_k / c bounds lambda with probability 1 - [`RISK`] at least (van
//! Dorsselaer, Hochstenbach and van der Vorst, SIAM J. Matrix Anal. Appl. 22, 2000). The residual of an eigenpair
//! of T alone would not do: it only says that some eigenvalue is near.
//!
//! The basis is orthogonalised twice against all its vectors (Parlett 1998), so at k = n the value is that of the
//! full matrix up to rounding, whose size the operator states and the bound includes. Dominant means largest, not largest in absolute value, as in the released code.

use nalgebra::{DMatrix, DVector, SymmetricEigen};
use rdarts_rng::Stream;

/// A symmetric linear map of n numbers.
pub trait SymmetricOperator {
    /// n.
    fn n(&self) -> usize;
    /// H v; `None` if it was interrupted.
    fn apply(&self, v: &[f64]) -> Option<Vec<f64>>;
    /// Relative rounding error of a product: |error| is at most this times |H| for |v| = 1.
    fn rounding(&self) -> f64 {
        f64::EPSILON * self.n() as f64
    }
}

impl SymmetricOperator for DMatrix<f64> {
    fn n(&self) -> usize {
        self.nrows()
    }
    fn apply(&self, v: &[f64]) -> Option<Vec<f64>> {
        Some((self * DVector::from_column_slice(v)).as_slice().to_vec())
    }
}

/// The largest eigenvalue and how sure it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Dominant {
    /// theta.
    pub value: f64,
    /// The largest eigenvalue lies within this distance above `value`.
    pub bound: f64,
    /// Products taken.
    pub n_products: usize,
    /// Approximate eigenvector of norm one.
    pub vector: Vec<f64>,
}

/// Probability, over the random first vector, that the largest eigenvalue lies outside its bound.
pub const RISK: f64 = 1e-4;

/// Largest eigenvalue, until its bound is at most `tolerance * |value|`; the first vector comes from `stream`.
/// A product with a value that is not finite ends it with NaN; `None` if a product was interrupted.
pub fn dominant(operator: &dyn SymmetricOperator, tolerance: f64, stream: &mut Stream) -> Option<Dominant> {
    let n = operator.n();
    let mut basis: Vec<DVector<f64>> = Vec::new();
    let (mut diagonal, mut off) = (Vec::new(), Vec::<f64>::new());
    let mut next = DVector::from_iterator(n, (0..n).map(|_| stream.normal())).normalize();
    loop {
        let product = DVector::from_vec(operator.apply(next.as_slice())?);
        if product.iter().any(|v| !v.is_finite()) {
            let bound = f64::INFINITY;
            let vector = next.as_slice().to_vec();
            return Some(Dominant { value: f64::NAN, bound, n_products: basis.len() + 1, vector });
        }
        diagonal.push(next.dot(&product));
        basis.push(next);
        let mut rest = product;
        for _ in 0..2 {
            for v in &basis {
                rest.axpy(-v.dot(&rest), v, 1.0);
            }
        }
        let beta = rest.norm();
        let k = diagonal.len();
        let mut t = DMatrix::zeros(k, k);
        for i in 0..k {
            t[(i, i)] = diagonal[i];
            if i + 1 < k {
                t[(i, i + 1)] = off[i];
                t[(i + 1, i)] = off[i];
            }
        }
        let eigen = SymmetricEigen::new(t);
        let top = eigen.eigenvalues.imax();
        let value = eigen.eigenvalues[top];
        let s = eigen.eigenvectors.column(top);
        let log_betas: f64 = off.iter().chain([&beta]).map(|b| b.ln()).sum();
        let bound = above(eigen.eigenvalues.as_slice(), value, log_betas, n);
        // The Krylov space is exhausted when nothing is left of the product but rounding.
        let scale = eigen.eigenvalues.amax();
        let exhausted = beta <= 1e-12 * scale || k == n;
        if exhausted || bound <= tolerance * value.abs() {
            let bound = if exhausted { 0.0 } else { bound } + operator.rounding() * scale;
            let mut vector = DVector::zeros(n);
            for (v, weight) in basis.iter().zip(s.iter()) {
                vector.axpy(*weight, v, 1.0);
            }
            return Some(Dominant { value, bound, n_products: k, vector: vector.as_slice().to_vec() });
        }
        off.push(beta);
        next = rest / beta;
    }
}

/// How far the root of p(y) = beta_1 ... beta_k / c, p(y) = product of (y - theta_i), lies above the largest theta.
fn above(thetas: &[f64], largest: f64, log_betas: f64, n: usize) -> f64 {
    let c = RISK * (std::f64::consts::PI / (2.0 * n as f64)).sqrt();
    let goal = log_betas - c.ln();
    let log_p = |gap: f64| thetas.iter().map(|t| (largest + gap - t).ln()).sum::<f64>();
    // The largest factor is the gap itself, so p grows at least as fast as gap^k.
    let (mut low, mut high) = (0.0, (goal / thetas.len() as f64).exp());
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if log_p(middle) < goal {
            low = middle
        } else {
            high = middle
        }
        if high - low <= 1e-3 * high {
            break;
        }
    }
    high
}

/// All eigenvalues of a symmetric n x n matrix (row-major), largest first; NaN if an entry is not finite.
///
/// # Panics
/// If the length is not n * n.
pub fn spectrum(n: usize, matrix: &[f64]) -> Vec<f64> {
    assert_eq!(matrix.len(), n * n);
    if matrix.iter().any(|v| !v.is_finite()) {
        return vec![f64::NAN; n];
    }
    let mut values: Vec<f64> =
        SymmetricEigen::new(DMatrix::from_row_slice(n, n, matrix)).eigenvalues.iter().copied().collect();
    values.sort_by(|a, b| b.total_cmp(a));
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random_symmetric(n: usize, seed: u64) -> DMatrix<f64> {
        let mut s = Stream::new(seed, "test", 0);
        let a = DMatrix::from_fn(n, n, |_, _| s.normal());
        (&a + a.transpose()) * 0.5
    }

    #[test]
    fn the_largest_eigenvalue_is_within_its_bound_for_random_matrices() {
        for seed in 0..40 {
            let n = 2 + (seed as usize * 7) % 60;
            let a = random_symmetric(n, seed);
            let truth = spectrum(n, a.transpose().as_slice())[0];
            for tolerance in [1e-1, 1e-3, 1e-9] {
                let d = dominant(&a, tolerance, &mut Stream::new(seed, "lanczos", 0)).unwrap();
                assert!((d.value - truth).abs() <= d.bound + 1e-10 * truth.abs(), "{n} {tolerance}: {d:?} {truth}");
                assert!(d.value <= truth + 1e-10 * truth.abs());
                let v = DVector::from_vec(d.vector.clone());
                let quotient = v.dot(&(&a * &v));
                assert!((quotient - d.value).abs() <= 1e-9 * truth.abs(), "{quotient} {}", d.value);
            }
        }
    }

    #[test]
    #[allow(clippy::print_stdout)]
    fn the_bound_holds_on_many_matrices() {
        let mut outside = 0;
        let mut products = [0, 0, 0];
        for seed in 100..2100 {
            let n = 2 + (seed as usize * 7) % 60;
            let a = random_symmetric(n, seed);
            let truth = spectrum(n, a.as_slice())[0];
            for (i, tolerance) in [1e-1, 1e-2, 1e-3].into_iter().enumerate() {
                let d = dominant(&a, tolerance, &mut Stream::new(seed, "lanczos", 0)).unwrap();
                outside += usize::from(truth - d.value > d.bound + 1e-10 * truth.abs());
                products[i] += d.n_products;
            }
        }
        println!("mean products {:?}", products.map(|p| p as f64 / 2000.0));
        assert_eq!(outside, 0);
    }

    #[test]
    fn known_spectra_come_out() {
        // Second difference: 2 - 2 cos(pi k / (n + 1)).
        let n = 12;
        let a = DMatrix::from_fn(n, n, |i, j| match i.abs_diff(j) {
            0 => 2.0,
            1 => -1.0,
            _ => 0.0,
        });
        let truth = |k: usize| 2.0 - 2.0 * (std::f64::consts::PI * k as f64 / (n + 1) as f64).cos();
        let values = spectrum(n, a.as_slice());
        for (i, v) in values.iter().enumerate() {
            assert!((v - truth(n - i)).abs() < 1e-12);
        }
        let d = dominant(&a, 1e-12, &mut Stream::new(1, "lanczos", 0)).unwrap();
        assert!((d.value - truth(n)).abs() < 1e-12);
    }

    #[test]
    fn zero_identity_negative_and_one_by_one_matrices_end() {
        let start = || Stream::new(1, "lanczos", 0);
        assert_eq!(dominant(&DMatrix::zeros(5, 5), 1e-3, &mut start()).unwrap().value, 0.0);
        let identity = dominant(&DMatrix::identity(9, 9), 1e-3, &mut start()).unwrap();
        assert!((identity.value - 1.0).abs() < 1e-12 && identity.n_products == 1);
        let negative = dominant(&(DMatrix::identity(4, 4) * -3.0), 1e-3, &mut start()).unwrap();
        assert!((negative.value + 3.0).abs() < 1e-12);
        assert!((dominant(&DMatrix::from_element(1, 1, 7.0), 1e-3, &mut start()).unwrap().value - 7.0).abs() < 1e-12);
        assert!(dominant(&DMatrix::from_element(2, 2, f64::NAN), 1e-3, &mut start()).unwrap().value.is_nan());
    }
}
