//! Cross-entropy of logits, mean over the batch, with all its derivatives in float64.
//!
//! With q = softmax(z), y one-hot and n images:
//!
//! * L = -1/n sum_i log q_i[y_i], gradient (q - y) / n
//! * along z': L' = 1/n sum_i <q_i - y_i, z'_i>; its gradient in z is q (z' - <q, z'>) / n, in z' again (q - y) / n.

/// Loss, its gradient, and how many images have their label's logit on top.
#[derive(Clone, Debug)]
pub struct CrossEntropy {
    /// Mean over the batch.
    pub loss: f64,
    /// (n, classes).
    pub gradient: Vec<f64>,
    /// Images whose largest logit is their label's (ties to the first class, as argmax).
    pub correct: usize,
}

/// Cross-entropy of (n, classes) logits.
///
/// # Panics
/// If a label is no class or the lengths do not fit.
pub fn cross_entropy(logits: &[f64], labels: &[u32]) -> CrossEntropy {
    let n = labels.len();
    let classes = logits.len() / n;
    let mut out = CrossEntropy { loss: 0.0, gradient: Vec::with_capacity(logits.len()), correct: 0 };
    for (z, label) in logits.chunks(classes).zip(labels) {
        let label = *label as usize;
        let max = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = z.iter().map(|v| (v - max).exp()).sum();
        out.loss += (sum.ln() + max - z[label]) / n as f64;
        out.gradient.extend(z.iter().enumerate().map(|(k, v)| {
            let target = if k == label { 1.0 } else { 0.0 };
            ((v - max).exp() / sum - target) / n as f64
        }));
        let top = (0..classes).fold(0, |best, k| if z[k] > z[best] { k } else { best });
        out.correct += usize::from(top == label);
    }
    out
}

/// L' along z', and its gradient in z; the gradient in z' is that of [`cross_entropy`].
pub fn cross_entropy_jvp(logits: &[f64], labels: &[u32], logits_dot: &[f64]) -> (f64, Vec<f64>) {
    let n = labels.len();
    let classes = logits.len() / n;
    let first = cross_entropy(logits, labels);
    let value = first.gradient.iter().zip(logits_dot).map(|(g, d)| g * d).sum();
    let mut gradient = Vec::with_capacity(logits.len());
    for (i, (g, d)) in first.gradient.chunks(classes).zip(logits_dot.chunks(classes)).enumerate() {
        // q / n is the gradient with the label's one put back.
        let q = |k: usize| g[k] + if k == labels[i] as usize { 1.0 / n as f64 } else { 0.0 };
        let mean: f64 = (0..classes).map(|k| q(k) * d[k]).sum::<f64>() * n as f64;
        gradient.extend((0..classes).map(|k| q(k) * (d[k] - mean)));
    }
    (value, gradient)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivatives_agree_with_central_differences() {
        let z = [0.3, -1.2, 2.0, 0.0, 0.5, -0.7];
        let labels = [2, 0];
        let d = [0.9, -0.4, 0.2, 1.1, -0.6, 0.3];
        let moved = |e: f64, k: usize| {
            let mut z = z;
            z[k] += e;
            z
        };
        let at = cross_entropy(&z, &labels);
        let (value, gradient) = cross_entropy_jvp(&z, &labels, &d);
        assert_eq!(at.correct, 1);
        let along: Vec<f64> = z.iter().zip(d).map(|(z, d)| z + 1e-5 * d).collect();
        let back: Vec<f64> = z.iter().zip(d).map(|(z, d)| z - 1e-5 * d).collect();
        let slope = (cross_entropy(&along, &labels).loss - cross_entropy(&back, &labels).loss) / 2e-5;
        assert!((slope - value).abs() < 1e-9, "{slope} {value}");
        for k in 0..6 {
            let loss = |e| cross_entropy(&moved(e, k), &labels).loss;
            let slope = (loss(1e-5) - loss(-1e-5)) / 2e-5;
            assert!((slope - at.gradient[k]).abs() < 1e-9, "{k}: {slope}");
            let tangent = |e| cross_entropy_jvp(&moved(e, k), &labels, &d).0;
            let slope = (tangent(1e-5) - tangent(-1e-5)) / 2e-5;
            assert!((slope - gradient[k]).abs() < 1e-8, "{k}: {slope} {}", gradient[k]);
        }
    }

    #[test]
    fn large_logits_stay_finite_and_equal_logits_give_log_of_classes() {
        let at = cross_entropy(&[1e4, -1e4, 0.0], &[1]);
        assert!((at.loss - 2e4).abs() < 1e-9);
        assert!((cross_entropy(&[0.5; 8], &[3, 1]).loss - 4f64.ln()).abs() < 1e-12);
    }
}
