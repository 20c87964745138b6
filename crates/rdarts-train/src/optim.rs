//! The optimisers on flat buffers: SGD for weights, Adam for the alphas of a search and the weights of networks for disparity.
//!
//! They compute what PyTorch's torch.optim does, since the paper's results rest on it. L2 is coupled: the
//! gradient that is used is g + l2 * x.
//!
//! - SGD with momentum mu, dampening 0:  b <- mu b + g (b = g at the first step),  x <- x - lr b
//! - Adam: m <- b1 m + (1 - b1) g,  v <- b2 v + (1 - b2) g^2,
//!   x <- x - lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps)
//!
//! Buffers are f32, scalars f64 and rounded once where they meet a buffer. All state is in public fields, for
//! checkpoints. Element order is fixed, so the same numbers give the same bits. Weights that lie on a card are moved there
//! (`rdarts-gpu`), in single precision; the alphas are few, and their losses and softmax are the CPU's, so their Adam is too.

use rdarts_net::{AdamStep, Held, SgdStep};

/// SGD with momentum, as DARTS trains the weights w.
#[derive(Clone, Debug, PartialEq)]
pub struct Sgd {
    /// Momentum mu; 0.9 in all of the paper's searches.
    pub momentum: f64,
    /// Coupled L2 regularisation.
    pub l2: f64,
    /// The momentum buffer b. Zeros before the first step, which gives b = g then.
    pub buffer: Held,
}

impl Sgd {
    /// The state before the first step on `n` weights.
    pub fn new(n: usize, momentum: f64, l2: f64) -> Self {
        Self { momentum, l2, buffer: vec![0.0; n].into() }
    }

    /// One step with learning rate `lr` along a gradient whose norm is clipped to `max_norm`, wherever the weights lie; returns
    /// the norm before. If that is no finite number nothing was done, or on a card nothing that can be used.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn clipped_step(&mut self, x: &mut Held, grad: &mut Held, lr: f64, max_norm: f64) -> f64 {
        let step = SgdStep { lr, momentum: self.momentum, l2: self.l2, max_norm };
        if let Some(norm) = x.sgd_on_card(&mut self.buffer, grad, step) {
            return norm;
        }
        let norm = clip_global_norm(&mut [&mut grad[..]], max_norm);
        if norm.is_finite() {
            self.step(x, grad, lr);
        }
        norm
    }

    /// One step with learning rate `lr`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn step(&mut self, x: &mut [f32], grad: &[f32], lr: f64) {
        assert_eq!(x.len(), self.buffer.len(), "SGD: weights and momentum buffer");
        assert_eq!(grad.len(), self.buffer.len(), "SGD: gradients and momentum buffer");
        let (mu, l2, lr) = (self.momentum as f32, self.l2 as f32, lr as f32);
        for ((x, &g), b) in x.iter_mut().zip(grad).zip(&mut self.buffer[..]) {
            *b = mu * *b + (g + l2 * *x);
            *x -= lr * *b;
        }
    }
}

/// Adam, as DARTS trains the alphas and AutoDispNet the weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Adam {
    /// Learning rate; 3e-4 in DARTS.
    pub lr: f64,
    /// Decay of the mean of the gradient; 0.5 in DARTS.
    pub beta1: f64,
    /// Decay of the mean of its square; 0.999 in DARTS.
    pub beta2: f64,
    /// What is added to the denominator.
    pub eps: f64,
    /// Coupled L2 regularisation; 1e-3 in DARTS.
    pub l2: f64,
    /// Steps so far.
    pub t: u64,
    /// The mean of the gradient.
    pub m: Held,
    /// The mean of its square.
    pub v: Held,
}

impl Adam {
    /// The state before the first step on `n` alphas, with the betas of DARTS, (0.5, 0.999), and eps 1e-8.
    pub fn new(n: usize, lr: f64, l2: f64) -> Self {
        Self { lr, beta1: 0.5, beta2: 0.999, eps: 1e-8, l2, t: 0, m: vec![0.0; n].into(), v: vec![0.0; n].into() }
    }

    /// One step along a gradient whose norm is clipped to `max_norm`, wherever the weights lie; returns the norm before. If that
    /// is no finite number nothing was done, or on a card nothing that can be used.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn clipped_step(&mut self, x: &mut Held, grad: &mut Held, max_norm: f64) -> f64 {
        let step = AdamStep { max_norm: max_norm as f32, ..self.next() };
        if let Some(norm) = x.adam_on_card([&mut self.m, &mut self.v], grad, step) {
            self.t += 1;
            return norm;
        }
        let norm = clip_global_norm(&mut [&mut grad[..]], max_norm);
        if norm.is_finite() {
            self.step(x, grad);
        }
        norm
    }

    /// One step.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn step(&mut self, x: &mut [f32], grad: &[f32]) {
        assert_eq!(x.len(), self.m.len(), "Adam: parameters and first moment");
        assert_eq!(grad.len(), self.m.len(), "Adam: gradients and first moment");
        assert_eq!(self.v.len(), self.m.len(), "Adam: second and first moment");
        let AdamStep { rate, root, first: [b1, c1], second: [b2, c2], eps, l2, .. } = self.next();
        self.t += 1;
        for (((x, &g), m), v) in x.iter_mut().zip(grad).zip(&mut self.m[..]).zip(&mut self.v[..]) {
            let g = g + l2 * *x;
            *m = b1 * *m + c1 * g;
            *v = b2 * *v + c2 * g * g;
            *x -= rate * (*m / (v.sqrt() / root + eps));
        }
    }

    /// The step that comes next, along a gradient of any norm.
    fn next(&self) -> AdamStep {
        // A power with a real exponent has no limit on t.
        let t = (self.t + 1) as f64;
        // 1 - beta2 is rounded from f64: in f32 the subtraction would lose 4 of its 7 digits.
        let decay = |beta: f64| [beta as f32, (1.0 - beta) as f32];
        AdamStep {
            rate: (self.lr / (1.0 - self.beta1.powf(t))) as f32,
            root: (1.0 - self.beta2.powf(t)).sqrt() as f32,
            first: decay(self.beta1),
            second: decay(self.beta2),
            eps: self.eps as f32,
            l2: self.l2 as f32,
            max_norm: f32::INFINITY,
        }
    }
}

/// Scales the gradients in all of `grads` so that their common 2-norm is at most `max_norm`, and returns the norm
/// before; like torch.nn.utils.clip_grad_norm_, the factor is max_norm / (norm + 1e-6) where that is below 1.
///
/// The norm is summed in f64, slice by slice in their order. A norm that is infinite or not a number is returned
/// and nothing is scaled, where PyTorch would turn the gradients into zeros and NaN: the caller decides.
pub fn clip_global_norm(grads: &mut [&mut [f32]], max_norm: f64) -> f64 {
    let norm = grads.iter().map(|grad| sum_of_squares(grad)).sum::<f64>().sqrt();
    let factor = max_norm / (norm + 1e-6);
    if norm.is_finite() && factor < 1.0 {
        let factor = factor as f32;
        for grad in grads.iter_mut() {
            grad.iter_mut().for_each(|g| *g *= factor);
        }
    }
    norm
}

/// In f64 and in a fixed order: eight running sums, which the compiler can keep in vector registers.
fn sum_of_squares(values: &[f32]) -> f64 {
    let mut sums = [0.0f64; 8];
    let (chunks, rest) = values.as_chunks::<8>();
    for chunk in chunks {
        for (sum, &value) in sums.iter_mut().zip(chunk) {
            *sum += f64::from(value) * f64::from(value);
        }
    }
    for (sum, &value) in sums.iter_mut().zip(rest) {
        *sum += f64::from(value) * f64::from(value);
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::cosine_lr;

    const N: usize = 7;

    /// A smooth made-up gradient that depends on the step and the element, over several magnitudes.
    fn gradient(step: usize) -> Vec<f64> {
        (0..N).map(|i| ((1 + step) as f64 * 0.7 + i as f64 * 1.3).sin() * 10f64.powi(i as i32 - 4)).collect()
    }

    fn narrow(values: &[f64]) -> Vec<f32> {
        values.iter().map(|&value| value as f32).collect()
    }

    fn start() -> Vec<f64> {
        (0..N).map(|i| 0.3 - 0.1 * i as f64).collect()
    }

    fn check_near(x: &[f32], expected: &[f64], tolerance: f64) {
        for (&x, &expected) in x.iter().zip(expected) {
            assert!((f64::from(x) - expected).abs() <= tolerance * expected.abs().max(0.1), "{x} {expected}");
        }
    }

    #[test]
    fn ten_steps_of_sgd_follow_the_formula() {
        let mut x = narrow(&start());
        let mut sgd = Sgd::new(N, 0.9, 0.03);
        // The closed form of b after t steps is the sum over s <= t of 0.9^(t - s) (g_s + l2 x_s).
        let mut exact = start();
        let mut used: Vec<Vec<f64>> = Vec::new();
        for t in 0..10 {
            let lr = cosine_lr(0.025, 0.001, t, 10);
            let g = gradient(t);
            sgd.step(&mut x, &narrow(&g), lr);
            used.push(g.iter().zip(&exact).map(|(g, x)| g + 0.03 * x).collect());
            for i in 0..N {
                let b: f64 = used.iter().enumerate().map(|(s, u)| 0.9f64.powi((t - s) as i32) * u[i]).sum();
                exact[i] -= lr * b;
            }
            check_near(&x, &exact, 2e-6);
        }
        assert!(exact.iter().zip(start()).all(|(x, start)| (x - start).abs() > 1e-4));
    }

    #[test]
    fn ten_steps_of_adam_follow_the_formula() {
        let mut x = narrow(&start());
        let mut adam = Adam::new(N, 0.02, 1e-3);
        let mut exact = start();
        let mut used: Vec<Vec<f64>> = Vec::new();
        for t in 1..=10 {
            let g = gradient(t);
            adam.step(&mut x, &narrow(&g));
            used.push(g.iter().zip(&exact).map(|(g, x)| g + 1e-3 * x).collect());
            for i in 0..N {
                // The moments in closed form, each divided by the sum of its weights.
                let moment = |beta: f64, power: i32| {
                    let sum: f64 = (1..=t).map(|s| beta.powi((t - s) as i32) * used[s - 1][i].powi(power)).sum();
                    (1.0 - beta) * sum / (1.0 - beta.powi(t as i32))
                };
                exact[i] -= 0.02 * moment(0.5, 1) / (moment(0.999, 2).sqrt() + 1e-8);
            }
            check_near(&x, &exact, 1e-5);
        }
        assert_eq!(adam.t, 10);
    }

    #[test]
    fn the_first_step_of_adam_has_the_size_of_the_learning_rate() {
        let mut adam = Adam::new(3, 3e-4, 0.0);
        let mut x = [0.0f32; 3];
        adam.step(&mut x, &[5.0, -1e-3, 0.0]);
        check_near(&x, &[-3e-4, 3e-4 * 1e-3 / (1e-3 + 1e-8), 0.0], 1e-8);
    }

    #[test]
    fn a_copied_state_goes_on_with_the_same_bits() {
        let (mut x, mut alpha) = (narrow(&start()), narrow(&start()));
        let (mut sgd, mut adam) = (Sgd::new(N, 0.9, 3e-4), Adam::new(N, 3e-4, 1e-3));
        for t in 0..3 {
            sgd.step(&mut x, &narrow(&gradient(t)), 0.025);
            adam.step(&mut alpha, &narrow(&gradient(t)));
        }
        let (mut x2, mut alpha2) = (x.clone(), alpha.clone());
        let mut sgd2 = Sgd { buffer: sgd.buffer.clone(), ..Sgd::new(0, 0.9, 3e-4) };
        let mut adam2 = Adam { t: adam.t, m: adam.m.clone(), v: adam.v.clone(), ..Adam::new(0, 3e-4, 1e-3) };
        let g = narrow(&gradient(3));
        sgd.step(&mut x, &g, 0.025);
        sgd2.step(&mut x2, &g, 0.025);
        adam.step(&mut alpha, &g);
        adam2.step(&mut alpha2, &g);
        assert_eq!((&x, &alpha, &sgd, &adam), (&x2, &alpha2, &sgd2, &adam2));
    }

    #[test]
    fn clipping_scales_all_slices_by_one_factor() {
        let (mut a, mut b) = ([3.0f32, 0.0], [4.0f32]);
        assert_eq!(clip_global_norm(&mut [&mut a, &mut b], 1.0), 5.0);
        check_near(&[a[0], a[1], b[0]], &[3.0 / 5.000001, 0.0, 4.0 / 5.000001], 1e-7);
        // Just below the bound: max / (norm + 1e-6) is above 1, so nothing changes.
        let mut c = [3.0f32, 4.0];
        assert_eq!(clip_global_norm(&mut [&mut c], 5.00001), 5.0);
        assert_eq!(c, [3.0, 4.0]);
        // At the bound the 1e-6 makes the factor a little less than 1, as in PyTorch.
        clip_global_norm(&mut [&mut c], 5.0);
        assert!(c[0] < 3.0 && c[0] > 2.999_99);
        assert_eq!(clip_global_norm(&mut [], 5.0), 0.0);
        // Every element counts, also those after the last full eight: 1 + 4 + ... + 21^2 = 3311.
        let mut long: Vec<f32> = (1..=21).map(|i| i as f32).collect();
        let (head, tail) = long.split_at_mut(8);
        assert_eq!(clip_global_norm(&mut [head, tail], 1e3), 3311f64.sqrt());
    }

    #[test]
    fn a_norm_that_is_not_finite_is_reported_and_nothing_is_scaled() {
        let mut grad = [1.0f32, f32::INFINITY];
        assert_eq!(clip_global_norm(&mut [&mut grad], 1.0), f64::INFINITY);
        assert_eq!(grad, [1.0, f32::INFINITY]);
        assert!(clip_global_norm(&mut [&mut [f32::NAN]], 1.0).is_nan());
        // The sum of squares is taken in f64, where it does not overflow.
        let mut large = [3e38f32, 3e38];
        assert!(clip_global_norm(&mut [&mut large], 5.0).is_finite());
        check_near(&large, &[5.0 / 2f64.sqrt(), 5.0 / 2f64.sqrt()], 1e-6);
    }
}
