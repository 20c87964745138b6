//! Classification: cross entropy on logits, with its first and second derivative.
//!
//! ```text
//! L = -(1/n) sum_i log q_i[y_i],  q = softmax(z);   dL/dz = (q - onehot) / n;
//! the derivative of <dL/dz, z-dot> with respect to z is q (z-dot - <q, z-dot>) / n.
//! ```
//!
//! With weights u of the classes and labels smoothed by e ([`ClassLoss`]) image i has the targets
//! t_k = (1 - e) u[y_i] [k = y_i] + u_k e / K, and L = -(1 / sum_i u[y_i]) sum_i sum_k t_k log q_k, as PyTorch's
//! `cross_entropy(weight, label_smoothing)`; then dL/dz = (T q - t) / sum_i u[y_i] with T = sum_k t_k.

use super::{Count, Loss};

/// How classes count, and how sure labels are.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassLoss {
    /// The weight of each class; empty: 1 each.
    pub weights: Vec<f64>,
    /// The share of a label that goes to all classes alike, in [0, 1).
    pub smoothing: f64,
}

/// The cross entropy of a batch.
#[derive(Clone, Debug)]
pub struct CrossEntropy {
    loss: f64,
    /// Images whose largest logit is that of their class (the first of equal ones).
    correct: usize,
    /// dL/dz, (n, classes).
    gradient: Vec<f64>,
    /// Class probabilities, (n, classes).
    q: Vec<f64>,
    /// T over the sum of the images' weights, of each image.
    scale: Vec<f64>,
    classes: usize,
}

impl CrossEntropy {
    /// Of logits (n, classes) and n labels.
    ///
    /// # Panics
    /// If the sizes do not fit or a label is no class.
    pub fn new(logits: &[f64], labels: &[u32]) -> Self {
        Self::weighted(logits, labels, &ClassLoss { weights: Vec::new(), smoothing: 0.0 })
    }

    /// The same with weights of classes and smoothed labels.
    ///
    /// # Panics
    /// As [`CrossEntropy::new`], or if there are weights of other classes.
    pub fn weighted(logits: &[f64], labels: &[u32], shape: &ClassLoss) -> Self {
        let n = labels.len();
        let classes = logits.len() / n.max(1);
        assert!(n > 0 && classes * n == logits.len(), "{} logits for {n} labels", logits.len());
        let ClassLoss { weights, smoothing } = shape;
        assert!(weights.is_empty() || weights.len() == classes, "{} weights of {classes} classes", weights.len());
        let weight = |k: usize| weights.get(k).copied().unwrap_or(1.0);
        let total_weight: f64 = labels.iter().map(|label| weight(*label as usize)).sum();
        let of_all: f64 = (0..classes).map(|k| weight(k) * smoothing / classes as f64).sum();
        let (mut loss, mut correct, mut q, mut gradient) = (0.0, 0, Vec::new(), Vec::new());
        let mut scale = Vec::with_capacity(n);
        for (z, &label) in logits.chunks(classes).zip(labels) {
            let label = label as usize;
            assert!(label < classes, "label {label} of {classes} classes");
            let largest = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            correct += usize::from(z.iter().position(|&z| z == largest) == Some(label));
            let total: f64 = z.iter().map(|z| (z - largest).exp()).sum();
            let own = (1.0 - smoothing) * weight(label);
            loss += own * (total.ln() + largest - z[label]) / total_weight;
            for (k, z) in z.iter().enumerate() {
                let probability = (z - largest).exp() / total;
                let even = smoothing * weight(k) / classes as f64;
                if even > 0.0 {
                    loss += even * (total.ln() + largest - z) / total_weight;
                }
                q.push(probability);
                let target = even + if k == label { own } else { 0.0 };
                gradient.push(((own + of_all) * probability - target) / total_weight);
            }
            scale.push((own + of_all) / total_weight);
        }
        Self { loss, correct, gradient, q, scale, classes }
    }
}

impl Loss for CrossEntropy {
    fn value(&self) -> f64 {
        self.loss
    }

    fn count(&self) -> Count {
        Count { total: self.correct as f64, n: self.q.len() / self.classes }
    }

    fn gradient(&self) -> &[f64] {
        &self.gradient
    }

    fn tangent(&self, z_dot: &[f64]) -> (f64, Vec<f64>) {
        assert_eq!(z_dot.len(), self.q.len(), "a tangent has the size of the logits");
        let loss_dot = self.gradient.iter().zip(z_dot).map(|(g, z)| g * z).sum();
        let mut z_bar = Vec::with_capacity(self.q.len());
        for ((q, z_dot), scale) in self.q.chunks(self.classes).zip(z_dot.chunks(self.classes)).zip(&self.scale) {
            let mean: f64 = q.iter().zip(z_dot).map(|(q, z)| q * z).sum();
            z_bar.extend(q.iter().zip(z_dot).map(|(q, z)| q * (z - mean) * scale));
        }
        (loss_dot, z_bar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two images of three classes.
    const Z: [f64; 6] = [0.3, -1.2, 2.0, 0.0, 0.5, -0.7];
    const LABELS: [u32; 2] = [2, 0];

    fn shaped(weights: &[f64], smoothing: f64) -> ClassLoss {
        ClassLoss { weights: weights.to_vec(), smoothing }
    }

    #[test]
    fn derivatives_agree_with_central_differences() {
        for shape in [shaped(&[], 0.0), shaped(&[0.5, 3.0, 1.25], 0.2)] {
            let d = [0.9, -0.4, 0.2, 1.1, -0.6, 0.3];
            let at = CrossEntropy::weighted(&Z, &LABELS, &shape);
            let (loss_dot, z_bar) = at.tangent(&d);
            assert_eq!(at.correct, 1);
            let shifted = |h: f64, along: &[f64]| {
                let z: Vec<f64> = Z.iter().zip(along).map(|(z, a)| z + h * a).collect();
                CrossEntropy::weighted(&z, &LABELS, &shape)
            };
            let h = 1e-5;
            let slope = (shifted(h, &d).loss - shifted(-h, &d).loss) / (2.0 * h);
            assert!((slope - loss_dot).abs() < 1e-9, "{slope} {loss_dot}");
            for k in 0..6 {
                let mut unit = [0.0; 6];
                unit[k] = 1.0;
                let (up, down) = (shifted(h, &unit), shifted(-h, &unit));
                assert!(((up.loss - down.loss) / (2.0 * h) - at.gradient[k]).abs() < 1e-9);
                assert!(((up.tangent(&d).0 - down.tangent(&d).0) / (2.0 * h) - z_bar[k]).abs() < 1e-8);
            }
        }
    }

    /// Of PyTorch 2.15: with z the logits above in double precision, y the labels, u the weights and e the smoothing,
    /// `F.cross_entropy(z, y, weight=u, label_smoothing=e).item()`.
    #[test]
    fn weights_and_smoothing_give_the_loss_of_pytorch() {
        let weights = [0.5, 3.0, 1.25];
        for (weights, smoothing, expected) in [
            (&[][..], 0.1, 0.758791305159922),
            (&weights, 0.0, 0.4714541364997228),
            (&weights, 0.2, 0.9952973053528928),
        ] {
            let loss = CrossEntropy::weighted(&Z, &LABELS, &shaped(weights, smoothing)).loss;
            assert!((loss - expected).abs() < 1e-12, "weights {weights:?}, smoothing {smoothing}: {loss}");
        }
    }

    #[test]
    fn large_logits_stay_finite_and_equal_logits_give_the_log_of_their_number() {
        assert!((CrossEntropy::new(&[1e4, -1e4, 0.0], &[1]).loss - 2e4).abs() < 1e-9);
        assert!((CrossEntropy::new(&[0.5; 8], &[3, 1]).loss - 4f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn of_equal_logits_the_first_counts() {
        assert_eq!(CrossEntropy::new(&[1.0, 1.0, 0.0, 2.0], &[1, 1]).correct, 1);
        assert_eq!(CrossEntropy::new(&[1.0, 1.0, 0.0, 2.0], &[0, 1]).correct, 2);
    }
}
