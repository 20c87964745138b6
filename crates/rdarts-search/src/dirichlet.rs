//! Draws from a Dirichlet distribution, and how they move with its concentrations.
//!
//! With g_i drawn from Gamma(c_i) and x = g / sum g, x is a draw from Dir(c). Where c moves, the draw moves along: its component j
//! follows Beta(c_j, C - c_j), C = sum c, whose distribution function F is held at its value, while the others keep their
//! proportions (Jankowiak and Obermeyer, "Pathwise Derivatives Beyond the Reparameterization Trick", ICML 2018):
//!
//! ```text
//! dx_i/dc_j = r_j ([i = j] - x_i),    r_j = -dF/dc_j (x_j) / (F'(x_j) (1 - x_j))
//! ```
//!
//! F is the regularised incomplete beta function, by its continued fraction (Abramowitz and Stegun 26.5.8), whose derivative is carried
//! along with it.

use rdarts_rng::Stream;

/// A draw from Dir(c). Drawn as logarithms, so that small concentrations do not make all of it zero.
pub fn draw(concentration: &[f64], stream: &mut Stream) -> Vec<f64> {
    let logs: Vec<f64> = concentration.iter().map(|c| log_gamma_variate(*c, stream)).collect();
    let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let values: Vec<f64> = logs.iter().map(|log| (log - largest).exp()).collect();
    let sum: f64 = values.iter().sum();
    values.iter().map(|value| value / sum).collect()
}

/// The gradient with respect to c of a function whose gradient with respect to the draw x is `x_bar`.
pub fn gradient(concentration: &[f64], x: &[f64], x_bar: &[f64]) -> Vec<f64> {
    let total: f64 = concentration.iter().sum();
    let mean: f64 = x.iter().zip(x_bar).map(|(x, bar)| x * bar).sum();
    let of = |((c, x), bar): ((&f64, &f64), &f64)| rate(*x, *c, total - c) * (bar - mean);
    concentration.iter().zip(x).zip(x_bar).map(of).collect()
}

/// The divergence KL(Dir(c) || Dir(1)), and its gradient.
pub fn divergence(concentration: &[f64]) -> (f64, Vec<f64>) {
    let (total, k) = (concentration.iter().sum::<f64>(), concentration.len() as f64);
    let mut value = ln_gamma(total) - ln_gamma(k);
    let of = |c: &f64| {
        value += (c - 1.0) * (digamma(*c) - digamma(total)) - ln_gamma(*c);
        (c - 1.0) * trigamma(*c) - (total - k) * trigamma(total)
    };
    let gradient = concentration.iter().map(of).collect();
    (value, gradient)
}

/// r of the module's page for a component x ~ Beta(a, b).
fn rate(x: f64, a: f64, b: f64) -> f64 {
    // An edge of one operation has nothing to move.
    if b <= 0.0 {
        return 0.0;
    }
    let x = x.clamp(f64::MIN_POSITIVE, 1.0 - f64::EPSILON / 2.0);
    // The logarithmic derivative of x^a / B(a, b).
    let slope = x.ln() - digamma(a) + digamma(a + b);
    // The fraction converges fast in front of the mean; F(x; a, b) = 1 - F(1 - x; b, a) serves behind it.
    if x < (a + 1.0) / (a + b + 2.0) {
        let (h, h_a) = fraction(x, [a, 1.0], [b, 0.0]);
        -x / a * (h * (slope - 1.0 / a) + h_a)
    } else {
        let (h, h_a) = fraction(1.0 - x, [b, 0.0], [a, 1.0]);
        x / b * (h * slope + h_a)
    }
}

/// h in F(x; a, b) = x^a (1 - x)^b / (a B(a, b)) h, by Lentz's method, and its derivative where a and b move as their second
/// entries say.
fn fraction(x: f64, a: [f64; 2], b: [f64; 2]) -> (f64, f64) {
    const TINY: f64 = 1e-300;
    let guarded = |v: Dual| if v.0.abs() < TINY { Dual(TINY, v.1) } else { v };
    let [a, b] = [Dual(a[0], a[1]), Dual(b[0], b[1])];
    let one = Dual(1.0, 0.0);
    let sum = a.plus(b);
    let mut c = one;
    let mut d = one.over(guarded(one.minus(sum.times(Dual(x, 0.0)).over(a.plus(one)))));
    let mut h = d;
    for m in 1..2000 {
        let m = Dual(f64::from(m), 0.0);
        let twice = a.plus(m).plus(m);
        let even = m.times(b.minus(m)).times(Dual(x, 0.0)).over(twice.minus(one).times(twice));
        let odd = a.plus(m).times(sum.plus(m)).times(Dual(-x, 0.0)).over(twice.times(twice.plus(one)));
        let mut change = one;
        for term in [even, odd] {
            d = one.over(guarded(one.plus(term.times(d))));
            c = guarded(one.plus(term.over(c)));
            change = d.times(c);
            h = h.times(change);
        }
        if (change.0 - 1.0).abs() < 1e-15 && change.1.abs() < 1e-14 {
            break;
        }
    }
    (h.0, h.1)
}

/// A value and its derivative.
#[derive(Clone, Copy)]
struct Dual(f64, f64);

impl Dual {
    fn plus(self, o: Self) -> Self {
        Self(self.0 + o.0, self.1 + o.1)
    }

    fn minus(self, o: Self) -> Self {
        Self(self.0 - o.0, self.1 - o.1)
    }

    fn times(self, o: Self) -> Self {
        Self(self.0 * o.0, self.1 * o.0 + self.0 * o.1)
    }

    fn over(self, o: Self) -> Self {
        Self(self.0 / o.0, (self.1 - self.0 / o.0 * o.1) / o.0)
    }
}

/// The logarithm of a draw from Gamma(c): Marsaglia and Tsang (2000), and below 1 their g(c) = g(c + 1) u^(1/c).
fn log_gamma_variate(c: f64, stream: &mut Stream) -> f64 {
    if c < 1.0 {
        let u = stream.uniform().max(f64::MIN_POSITIVE);
        return log_gamma_variate(c + 1.0, stream) + u.ln() / c;
    }
    let d = c - 1.0 / 3.0;
    loop {
        let x = stream.normal();
        let v = (1.0 + x / (9.0 * d).sqrt()).powi(3);
        let u = stream.uniform().max(f64::MIN_POSITIVE);
        if v > 0.0 && u.ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return (d * v).ln();
        }
    }
}

/// Functions of large arguments are their series (Abramowitz and Stegun 6.1.40, 6.3.18, 6.4.12); recurrences lead there.
const LARGE: f64 = 10.0;

fn ln_gamma(mut z: f64) -> f64 {
    let mut shift = 0.0;
    while z < LARGE {
        shift += z.ln();
        z += 1.0;
    }
    let r = 1.0 / (z * z);
    let series = (1.0 / 12.0 - r * (1.0 / 360.0 - r * (1.0 / 1260.0 - r * (1.0 / 1680.0 - r / 1188.0)))) / z;
    (z - 0.5) * z.ln() - z + 0.5 * (2.0 * std::f64::consts::PI).ln() + series - shift
}

fn digamma(mut z: f64) -> f64 {
    let mut shift = 0.0;
    while z < LARGE {
        shift += 1.0 / z;
        z += 1.0;
    }
    let r = 1.0 / (z * z);
    let series = r * (1.0 / 12.0 - r * (1.0 / 120.0 - r * (1.0 / 252.0 - r * (1.0 / 240.0 - r / 132.0))));
    z.ln() - 0.5 / z - series - shift
}

fn trigamma(mut z: f64) -> f64 {
    let mut shift = 0.0;
    while z < LARGE {
        shift += 1.0 / (z * z);
        z += 1.0;
    }
    let r = 1.0 / (z * z);
    let series = r * (1.0 / 6.0 - r * (1.0 / 30.0 - r * (1.0 / 42.0 - r * (1.0 / 30.0 - r * 5.0 / 66.0))));
    1.0 / z + 0.5 * r + series / z + shift
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64, within: f64) {
        assert!((found - expected).abs() <= within * expected.abs().max(1e-300), "{found} for {expected}");
    }

    #[test]
    fn special_functions_have_their_known_values() {
        const EULER: f64 = 0.577_215_664_901_532_9;
        let pi = std::f64::consts::PI;
        close(ln_gamma(0.5), 0.5 * pi.ln(), 1e-13);
        close(ln_gamma(6.0), 120f64.ln(), 1e-13);
        close(digamma(1.0), -EULER, 1e-13);
        close(digamma(0.5), -EULER - 2.0 * 2f64.ln(), 1e-13);
        close(trigamma(1.0), pi * pi / 6.0, 1e-13);
        close(trigamma(0.5), pi * pi / 2.0, 1e-13);
        for z in [0.003, 0.7, 4.0, 30.0] {
            let h = 1e-5 * z;
            close(digamma(z), (ln_gamma(z + h) - ln_gamma(z - h)) / (2.0 * h), 1e-7);
            close(trigamma(z), (digamma(z + h) - digamma(z - h)) / (2.0 * h), 1e-7);
        }
    }

    /// F(x; a, b) by its power series.
    fn series(x: f64, a: f64, b: f64) -> f64 {
        let (mut term, mut sum) = (1.0, 0.0);
        for n in 0..20_000 {
            let n = f64::from(n);
            sum += term / (a + n);
            term *= (n + 1.0 - b) / (n + 1.0) * x;
        }
        (a * x.ln() + ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b)).exp() * sum
    }

    #[test]
    fn a_component_moves_so_that_its_distribution_function_stays() {
        for (a, b) in [(1.0, 1.0), (0.05, 3.0), (0.7, 6.2), (4.0, 2.5), (2.0, 0.3), (6.0, 8.0)] {
            for x in [1e-4, 0.02, 0.3, 0.55, 0.9, 0.97] {
                let h = 1e-5 * a;
                // F(x; a, b) = 1 - F(1 - x; b, a), so that a tail is no difference of large numbers.
                let by_a = match x > 0.5 {
                    true => (series(1.0 - x, b, a - h) - series(1.0 - x, b, a + h)) / (2.0 * h),
                    false => (series(x, a + h, b) - series(x, a - h, b)) / (2.0 * h),
                };
                let density =
                    ((a - 1.0) * x.ln() + (b - 1.0) * (1.0 - x).ln() + ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b))
                        .exp();
                let expected = -by_a / density / (1.0 - x);
                close(rate(x, a, b), expected, 1e-4);
            }
        }
        // Uniform: F(x; a, 1) = x^a, so x moves by -x ln x / a.
        for x in [1e-200, 1e-9, 0.2, 0.6, 1.0 - 1e-9] {
            close(rate(x, 1.0, 1.0), -x * x.ln() / (1.0 - x), 1e-6);
        }
        assert!(rate(0.0, 0.01, 4.0).is_finite() && rate(1.0, 0.01, 4.0).is_finite());
        assert_eq!(rate(1.0, 2.0, 0.0), 0.0);
        // torch._dirichlet_grad, PyTorch 1.13, whose approximations are good to some 1e-3.
        let (x, c) = ([0.2, 0.3, 0.5], [0.7, 1.3, 2.2]);
        for ((x, c), expected) in x.iter().zip(c).zip([0.3525, 0.2873, 0.2715]) {
            close(rate(*x, c, 4.2 - c), expected, 3e-3);
        }
    }

    #[test]
    fn draws_have_the_moments_of_the_distribution_and_gradients_those_of_its_mean() {
        let c = [0.4, 1.0, 2.5, 0.1];
        let (total, n) = (c.iter().sum::<f64>(), 40_000);
        let mut stream = Stream::new(3, "test", 0);
        let (mut mean, mut square) = ([0.0; 4], [0.0; 4]);
        // Of f = x_2^2 + x_0, whose mean is known as a function of c.
        let mut slope = [0.0; 4];
        for _ in 0..n {
            let x = draw(&c, &mut stream);
            assert!((x.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            for i in 0..4 {
                mean[i] += x[i] / f64::from(n);
                square[i] += x[i] * x[i] / f64::from(n);
            }
            let g = gradient(&c, &x, &[1.0, 0.0, 2.0 * x[2], 0.0]);
            (0..4).for_each(|i| slope[i] += g[i] / f64::from(n));
        }
        for i in 0..4 {
            assert!((mean[i] - c[i] / total).abs() < 0.01, "{mean:?}");
            assert!((square[i] - c[i] * (c[i] + 1.0) / (total * (total + 1.0))).abs() < 0.01, "{square:?}");
        }
        let of = |c: &[f64]| {
            let total: f64 = c.iter().sum();
            c[2] * (c[2] + 1.0) / (total * (total + 1.0)) + c[0] / total
        };
        for i in 0..4 {
            let mut moved = c;
            moved[i] += 1e-5;
            let expected = (of(&moved) - of(&c)) / 1e-5;
            assert!((slope[i] - expected).abs() < 0.01, "{i}: {} for {expected}", slope[i]);
        }
        let of_tiny = draw(&[1e-3; 5], &mut stream);
        assert!(of_tiny.iter().all(|x| x.is_finite()));
    }

    #[test]
    fn the_divergence_is_zero_at_the_uniform_distribution_and_its_gradient_a_slope() {
        let (value, gradient) = divergence(&[1.0; 5]);
        assert!(value.abs() < 1e-12 && gradient.iter().all(|g| g.abs() < 1e-12));
        let c = [0.4, 1.0, 2.5, 0.1];
        let (value, gradient) = divergence(&c);
        assert!(value > 0.0);
        for i in 0..4 {
            let mut moved = [c; 2];
            (moved[0][i], moved[1][i]) = (c[i] + 1e-6, c[i] - 1e-6);
            close(gradient[i], (divergence(&moved[0]).0 - divergence(&moved[1]).0) / 2e-6, 1e-6);
        }
    }
}
