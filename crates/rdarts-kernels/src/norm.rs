//! Batch norm and its derivatives, as per-channel coefficients.
//!
//! For a channel of N values y with mean m, biased variance v and i = 1 / sqrt(v + eps):
//!
//! * yhat = i (y - m)
//! * jvp: yhat' = i (y' - mean(y') - yhat s), s = mean(yhat y')
//! * vjp, cotangent a of yhat: ybar = i (a - mean(a) - yhat mean(a yhat))
//! * vjp of the jvp, cotangents a of yhat and b of yhat', with q = a - s i b - mean(b yhat) i y':
//!   ybar' = i (b - mean(b) - yhat mean(b yhat)),
//!   ybar  = i (q - mean(q) - yhat (mean(yhat q) + mean(b yhat')))
//!
//! A scale and a shift (z = scale yhat + shift, discrete networks alone, first derivatives alone) are factors per channel
//! that go with p: dz/dscale = yhat, dz/dshift = 1.
//!
//! All of them are sums of tensors with one coefficient per channel, and all coefficients follow from channel
//! sums. So batch norm needs no kernel of its own: `dots` gives the sums, `blend` applies the coefficients, and
//! this file is the algebra in between, in float64.

use crate::spec::BN_EPS;

/// Mean and sum of squared deviations of a set of values per channel; sets merge (Chan et al. 1979).
#[derive(Clone, Debug)]
pub(crate) struct Moments {
    count: f64,
    mean: Vec<f64>,
    m2: Vec<f64>,
}

impl Moments {
    pub fn new(c: usize) -> Self {
        Self { count: 0.0, mean: vec![0.0; c], m2: vec![0.0; c] }
    }

    /// Adds `px` pixels, given pivot, sum (y - pivot) and sum (y - pivot)^2.
    pub fn add_pixels(&mut self, px: usize, pivot: &[f32], sum: &[f32], square: &[f32]) {
        let n = px as f64;
        let one = 1.0 / n;
        self.add(n, |c| {
            let shift = f64::from(sum[c]) * one;
            let m2 = (f64::from(square[c]) - shift * shift * n).max(0.0);
            (f64::from(pivot[c]) + shift, m2)
        });
    }

    /// Adds another set.
    pub fn merge(&mut self, other: &Self) {
        self.add(other.count, |c| (other.mean[c], other.m2[c]));
    }

    /// Adds n values of every channel, of this mean and sum of squared deviations.
    fn add(&mut self, n: f64, of: impl Fn(usize) -> (f64, f64)) {
        let total = self.count + n;
        let (share, weight) = (n / total, self.count * n / total);
        for (c, (to_mean, to_m2)) in self.mean.iter_mut().zip(&mut self.m2).enumerate() {
            let (mean, m2) = of(c);
            let delta = mean - *to_mean;
            *to_mean += delta * share;
            *to_m2 += m2 + delta * delta * weight;
        }
        self.count = total;
    }
}

/// Statistics of a batch norm, and what its jvp added.
#[derive(Clone, Debug, Default)]
pub(crate) struct Norm {
    /// N.
    pub count: f64,
    pub mean: Vec<f64>,
    pub inv: Vec<f64>,
    /// Scale and shift, of a norm that has them.
    pub factors: Option<[Vec<f64>; 2]>,
    /// Statistics that are given, or none at all: the gradient of the input does not go through them.
    pub is_fixed: bool,
}

/// Statistics of the tangent of a batch norm's input.
#[derive(Clone, Debug, Default)]
pub(crate) struct NormTangent {
    /// mean(y').
    pub mean: Vec<f64>,
    /// s = mean(yhat y').
    pub s: Vec<f64>,
}

/// Coefficients per channel of two tensors and of one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Affine {
    /// Of the tangent y' (tangent of a batch norm), unused otherwise.
    pub of_dot: Vec<f32>,
    /// Of y.
    pub of_y: Vec<f32>,
    /// Of one.
    pub shift: Vec<f32>,
}

impl NormTangent {
    /// Of an input that does not move.
    pub fn zeros(c: usize) -> Self {
        Self { mean: vec![0.0; c], s: vec![0.0; c] }
    }
}

impl Norm {
    pub fn from_moments(m: &Moments) -> Self {
        let inv = m.m2.iter().map(|m2| 1.0 / (m2 / m.count + BN_EPS).sqrt()).collect();
        Self { count: m.count, mean: m.mean.clone(), inv, ..Self::default() }
    }

    /// Of a channel's given mean and variance.
    pub fn given(mean: &[f32], variance: &[f32]) -> Self {
        let inv = variance.iter().map(|v| 1.0 / (f64::from(*v) + BN_EPS).sqrt()).collect();
        Self { count: 1.0, mean: mean.iter().map(|m| f64::from(*m)).collect(), inv, factors: None, is_fixed: true }
    }

    /// What changes nothing.
    pub fn identity(c: usize) -> Self {
        Self { count: 1.0, mean: vec![0.0; c], inv: vec![1.0; c], factors: None, is_fixed: true }
    }

    /// The same with scale and shift, as they lie behind one another.
    pub fn with_factors(mut self, w: &[f32]) -> Self {
        let c = self.mean.len();
        let wide = |w: &[f32]| w.iter().map(|v| f64::from(*v)).collect();
        self.factors = Some([wide(&w[..c]), wide(&w[c..2 * c])]);
        self
    }

    /// The variance as PyTorch's running statistics take it, unbiased.
    pub fn unbiased_variance(&self) -> impl Iterator<Item = f64> + '_ {
        let correction = self.count / (self.count - 1.0).max(1.0);
        self.inv.iter().map(move |i| (1.0 / (i * i) - BN_EPS).max(0.0) * correction)
    }

    fn scale(&self, c: usize) -> f64 {
        self.factors.as_ref().map_or(1.0, |[scale, _]| scale[c])
    }

    fn shift(&self, c: usize) -> f64 {
        self.factors.as_ref().map_or(0.0, |[_, shift]| shift[c])
    }

    /// The gradients of scale and shift of p z, behind one another, from the sums of the cotangent.
    pub fn factor_gradients(&self, sums: &Sums, p: f64) -> Vec<f32> {
        let channels = 0..self.mean.len();
        let scale = channels.map(|c| (p * self.inv[c] * (sums.g_y[c] - self.mean[c] * sums.g[c])) as f32);
        scale.chain(sums.g.iter().map(|g| (p * g) as f32)).collect()
    }

    /// z as coefficients.
    pub fn affine(&self) -> Affine {
        self.scaled(1.0)
    }

    /// p * z as coefficients.
    pub fn scaled(&self, p: f64) -> Affine {
        let of_y = |c: usize| p * self.scale(c) * self.inv[c];
        let channels = 0..self.mean.len();
        Affine {
            of_dot: Vec::new(),
            of_y: channels.clone().map(|c| of_y(c) as f32).collect(),
            shift: channels.map(|c| (p * self.shift(c) - of_y(c) * self.mean[c]) as f32).collect(),
        }
    }

    /// From sum y' and sum y y' per channel.
    pub fn tangent(&self, sum_dot: &[f64], sum_y_dot: &[f64]) -> NormTangent {
        let n = self.count;
        NormTangent {
            mean: sum_dot.iter().map(|d| d / n).collect(),
            s: (0..self.mean.len()).map(|c| self.inv[c] * (sum_y_dot[c] - self.mean[c] * sum_dot[c]) / n).collect(),
        }
    }

    /// p * yhat' + p_dot * yhat as coefficients.
    pub fn tangent_affine(&self, t: &NormTangent, p: f64, p_dot: f64) -> Affine {
        debug_assert!(self.factors.is_none() && !self.is_fixed, "only a supernet's norms have tangents");
        let channels = 0..self.mean.len();
        let of_y = |c: usize| p_dot * self.inv[c] - p * self.inv[c] * self.inv[c] * t.s[c];
        Affine {
            of_dot: channels.clone().map(|c| (p * self.inv[c]) as f32).collect(),
            of_y: channels.clone().map(|c| of_y(c) as f32).collect(),
            shift: channels.map(|c| (-p * self.inv[c] * t.mean[c] - of_y(c) * self.mean[c]) as f32).collect(),
        }
    }
}

/// Channel sums of the cotangents at a batch norm's output: g goes to the value, d to the tangent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sums {
    pub g: Vec<f64>,
    pub g_y: Vec<f64>,
    /// Of d and the tangent y', in a vjp of a jvp.
    pub d_dot: Vec<f64>,
}

impl Sums {
    pub fn new(c: usize) -> Self {
        Self { g: vec![0.0; c], g_y: vec![0.0; c], d_dot: vec![0.0; c] }
    }

    /// Adds another set.
    pub fn merge(&mut self, other: &Self) {
        self.add(other, 1.0);
    }

    /// Adds the sums of so many times the cotangents of another set.
    pub fn add(&mut self, other: &Self, weight: f64) {
        let pairs = [(&mut self.g, &other.g), (&mut self.g_y, &other.g_y), (&mut self.d_dot, &other.d_dot)];
        for (a, b) in pairs {
            a.iter_mut().zip(b).for_each(|(a, b)| *a += weight * b);
        }
    }
}

/// The gradient at a batch norm's input as coefficients:
/// ybar = of_g * g + of_d * d + of_dot * y' + of_y * y + shift, and ybar' = dot_of_d * d + dot_of_y * y + dot_shift.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gradient {
    pub of_g: Vec<f32>,
    pub of_d: Vec<f32>,
    pub of_dot: Vec<f32>,
    pub of_y: Vec<f32>,
    pub shift: Vec<f32>,
    pub dot_of_d: Vec<f32>,
    pub dot_of_y: Vec<f32>,
    pub dot_shift: Vec<f32>,
}

/// The tangent of a batch norm's input, and the sums of the cotangent d of the tangent of its output, as if that were g.
pub(crate) type Tangent<'a> = (&'a NormTangent, &'a Sums);

/// Gradient at the input of p z (and of z' = p yhat' + p_dot yhat), for channel c taking (p, p_dot) = weight(c), from the
/// sums of the cotangents g of the value and d of the tangent.
pub(crate) fn gradient(
    norm: &Norm,
    tangent: Option<Tangent<'_>>,
    sums: &Sums,
    weight: impl Fn(usize) -> (f64, f64),
) -> Gradient {
    let mut out = Gradient::default();
    for c in 0..norm.mean.len() {
        let (p, p_dot) = weight(c);
        let p = p * norm.scale(c);
        if norm.is_fixed {
            out.of_g.push((norm.inv[c] * p) as f32);
            out.of_y.push(0.0);
            out.shift.push(0.0);
            continue;
        }
        let (n, m, i) = (norm.count, norm.mean[c], norm.inv[c]);
        // a = p g + p_dot d and b = p d are the cotangents of yhat and yhat'.
        let (d, d_y, d_dot) = match tangent {
            Some((_, d)) => (d.g[c], d.g_y[c], sums.d_dot[c]),
            None => (0.0, 0.0, 0.0),
        };
        let mean_a = (p * sums.g[c] + p_dot * d) / n;
        let mean_a_yhat = i * ((p * sums.g_y[c] + p_dot * d_y) / n - m * mean_a);
        let Some((t, _)) = tangent else {
            out.of_g.push((i * p) as f32);
            out.of_y.push((-i * i * mean_a_yhat) as f32);
            out.shift.push((i * (i * m * mean_a_yhat - mean_a)) as f32);
            continue;
        };
        let mean_b = p * d / n;
        let mean_b_yhat = i * (p * d_y / n - m * mean_b);
        let (s, mean_dot) = (t.s[c], t.mean[c]);
        let mean_b_yhat_dot = i * (p * d_dot / n - mean_dot * mean_b - s * mean_b_yhat);
        let mean_q = mean_a - s * i * mean_b - mean_b_yhat * i * mean_dot;
        let mean_yhat_q = mean_a_yhat - 2.0 * s * i * mean_b_yhat;
        let k = mean_yhat_q + mean_b_yhat_dot;
        out.of_g.push((i * p) as f32);
        out.of_d.push((i * p_dot - s * i * i * p) as f32);
        out.of_dot.push((-i * i * mean_b_yhat) as f32);
        out.of_y.push((-i * i * k) as f32);
        out.shift.push((i * (i * m * k - mean_q)) as f32);
        out.dot_of_d.push((i * p) as f32);
        out.dot_of_y.push((-i * i * mean_b_yhat) as f32);
        out.dot_shift.push((i * (i * m * mean_b_yhat - mean_b)) as f32);
    }
    out
}

/// sum g yhat, the gradient of the weight p of z = p yhat.
pub(crate) fn weight_gradient(norm: &Norm, sums: &Sums) -> f64 {
    (0..norm.mean.len()).map(|c| norm.inv[c] * (sums.g_y[c] - norm.mean[c] * sums.g[c])).sum()
}

/// sum d yhat', what the tangent adds to the gradient of p.
pub(crate) fn weight_gradient_dual(norm: &Norm, (t, d): Tangent<'_>, sums: &Sums) -> f64 {
    let of = |c: usize| {
        let i = norm.inv[c];
        let d_yhat = i * (d.g_y[c] - norm.mean[c] * d.g[c]);
        i * (sums.d_dot[c] - t.mean[c] * d.g[c] - t.s[c] * d_yhat)
    };
    (0..norm.mean.len()).map(of).sum()
}
