//! Cross entropy on logits in double precision, outside the tape, with its first and second derivative.
//!
//! L = -(1/n) sum_i log q_i[y_i],  q = softmax(z);   dL/dz = (q - onehot) / n;
//! the derivative of <dL/dz, z-dot> with respect to z is q (z-dot - <q, z-dot>) / n.

/// The loss of a batch and what its derivatives need.
#[derive(Clone, Debug)]
pub struct CrossEntropy {
    /// Mean over the batch.
    pub loss: f64,
    /// Images whose largest logit is that of their class (the first of equal ones).
    pub correct: usize,
    /// dL/dz, (n, classes).
    pub gradient: Vec<f64>,
    /// Class probabilities, (n, classes).
    q: Vec<f64>,
    classes: usize,
}

impl CrossEntropy {
    /// Of logits (n, classes) and n labels.
    ///
    /// # Panics
    /// If the sizes do not fit or a label is no class.
    pub fn new(logits: &[f64], labels: &[u32]) -> Self {
        let n = labels.len();
        let classes = logits.len() / n.max(1);
        assert!(n > 0 && classes * n == logits.len(), "{} logits for {n} labels", logits.len());
        let (mut loss, mut correct, mut q, mut gradient) = (0.0, 0, Vec::new(), Vec::new());
        for (z, &label) in logits.chunks(classes).zip(labels) {
            let label = label as usize;
            assert!(label < classes, "label {label} of {classes} classes");
            let largest = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            correct += usize::from(z.iter().position(|&z| z == largest) == Some(label));
            let total: f64 = z.iter().map(|z| (z - largest).exp()).sum();
            loss += (total.ln() + largest - z[label]) / n as f64;
            for (k, z) in z.iter().enumerate() {
                let probability = (z - largest).exp() / total;
                q.push(probability);
                gradient.push((probability - if k == label { 1.0 } else { 0.0 }) / n as f64);
            }
        }
        Self { loss, correct, gradient, q, classes }
    }

    /// For the tangent `z_dot` of the logits: the tangent of the loss and its gradient with respect to z
    /// (with respect to `z_dot` it is [`CrossEntropy::gradient`]).
    pub fn tangent(&self, z_dot: &[f64]) -> (f64, Vec<f64>) {
        assert_eq!(z_dot.len(), self.q.len(), "a tangent has the size of the logits");
        let n = (self.q.len() / self.classes) as f64;
        let loss_dot = self.gradient.iter().zip(z_dot).map(|(g, z)| g * z).sum();
        let mut z_bar = Vec::with_capacity(self.q.len());
        for (q, z_dot) in self.q.chunks(self.classes).zip(z_dot.chunks(self.classes)) {
            let mean: f64 = q.iter().zip(z_dot).map(|(q, z)| q * z).sum();
            z_bar.extend(q.iter().zip(z_dot).map(|(q, z)| q * (z - mean) / n));
        }
        (loss_dot, z_bar)
    }
}

#[cfg(test)]
mod tests {
    use rdarts_rng::Stream;

    use super::*;

    #[test]
    fn derivatives_are_those_of_finite_differences() {
        let mut s = Stream::new(4, "test", 0);
        let (z, z_dot): (Vec<f64>, Vec<f64>) = (0..12).map(|_| (2.0 * s.normal(), s.normal())).unzip();
        let labels = [1, 0, 3];
        let ce = CrossEntropy::new(&z, &labels);
        let (loss_dot, z_bar) = ce.tangent(&z_dot);
        let shifted = |h: f64, along: &dyn Fn(usize) -> f64| -> CrossEntropy {
            let z: Vec<f64> = z.iter().enumerate().map(|(i, z)| z + h * along(i)).collect();
            CrossEntropy::new(&z, &labels)
        };
        let h = 1e-5;
        let fd = (shifted(h, &|i| z_dot[i]).loss - shifted(-h, &|i| z_dot[i]).loss) / (2.0 * h);
        assert!((fd - loss_dot).abs() < 1e-9);
        for (i, z_bar) in z_bar.iter().enumerate() {
            let unit = |j: usize| if i == j { 1.0 } else { 0.0 };
            let (up, down) = (shifted(h, &unit), shifted(-h, &unit));
            assert!(((up.loss - down.loss) / (2.0 * h) - ce.gradient[i]).abs() < 1e-9);
            let second = (up.tangent(&z_dot).0 - down.tangent(&z_dot).0) / (2.0 * h);
            assert!((second - z_bar).abs() < 1e-9);
        }
    }

    #[test]
    fn accuracy_counts_the_first_of_equal_logits() {
        let ce = CrossEntropy::new(&[1.0, 1.0, 0.0, 2.0], &[1, 1]);
        assert_eq!(ce.correct, 1);
        assert_eq!(CrossEntropy::new(&[1.0, 1.0, 0.0, 2.0], &[0, 1]).correct, 2);
    }
}
