//! The head: logits = mean over pixels, then a linear layer. Small, so plain loops over float64 sums.
//!
//! It is linear in the input and in the weights, so value and tangent are one function: [`apply`] with the
//! weights, and with their tangent, whose products are added.

use rayon::prelude::*;

use crate::Kernels;
use crate::spec::HeadSpec;
use rdarts_simd::blend::dots;

/// Mean over the px pixels of each image: (n, c) of (n, px, c).
pub fn pool(kernels: &Kernels, n: usize, c: usize, x: &[f32]) -> Vec<f32> {
    let image = x.len() / n;
    let mut means = vec![0f32; n * c];
    means.par_chunks_mut(c).zip(x.par_chunks(image)).for_each(|(mean, x)| {
        dots(kernels.isa(), image / c, c, (x, c), &[], mean);
        mean.iter_mut().for_each(|m| *m /= (image / c) as f32);
    });
    means
}

/// `logits[i][k] (+)= sum_c mean[i][c] w[c][k] + with_bias * bias[k]`.
pub fn apply(spec: &HeadSpec, means: &[f32], w: &[f32], with_bias: bool, accumulate: bool, logits: &mut [f32]) {
    let (matrix, bias) = w.split_at(spec.c_in * spec.classes);
    for (row, mean) in logits.chunks_mut(spec.classes).zip(means.chunks(spec.c_in)) {
        for (k, out) in row.iter_mut().enumerate() {
            let mut sum = if with_bias { f64::from(bias[k]) } else { 0.0 };
            for (c, m) in mean.iter().enumerate() {
                sum += f64::from(*m) * f64::from(matrix[c * spec.classes + k]);
            }
            *out = if accumulate { *out + sum as f32 } else { sum as f32 };
        }
    }
}

/// Gradient of the weights for the gradient g of the logits.
pub fn weight_gradient(spec: &HeadSpec, means: &[f32], g: &[f32]) -> Vec<f32> {
    let mut dw = vec![0f64; spec.c_in * spec.classes + spec.classes];
    let (matrix, bias) = dw.split_at_mut(spec.c_in * spec.classes);
    for (g, mean) in g.chunks(spec.classes).zip(means.chunks(spec.c_in)) {
        for (k, g) in g.iter().enumerate() {
            bias[k] += f64::from(*g);
            for (c, m) in mean.iter().enumerate() {
                matrix[c * spec.classes + k] += f64::from(*m) * f64::from(*g);
            }
        }
    }
    dw.iter().map(|v| *v as f32).collect()
}

/// Gradient of the means, (n, c): W g.
pub(crate) fn mean_gradient(spec: &HeadSpec, w: &[f32], g: &[f32]) -> Vec<f32> {
    let row = |g: &[f32], ch: usize| -> f64 {
        (0..spec.classes).map(|k| f64::from(w[ch * spec.classes + k]) * f64::from(g[k])).sum()
    };
    g.chunks(spec.classes).flat_map(|g| (0..spec.c_in).map(move |ch| row(g, ch) as f32)).collect()
}

/// Gradient of the input, (n, px, c): each pixel takes its share of W' g (plus W_dot' d for the vjp of the jvp).
pub fn input_gradient(kernels: &Kernels, spec: &HeadSpec, px: usize, terms: &[(&[f32], &[f32])]) -> Vec<f32> {
    let (c, n) = (spec.c_in, terms[0].1.len() / spec.classes);
    let mut out = kernels.workspace().take_gradient(n * px * c);
    out.par_chunks_mut(px * c).enumerate().for_each(|(i, image)| {
        let mut share = vec![0f32; c];
        for (ch, share) in share.iter_mut().enumerate() {
            let mut sum = 0.0;
            for (w, g) in terms {
                for k in 0..spec.classes {
                    sum += f64::from(w[ch * spec.classes + k]) * f64::from(g[i * spec.classes + k]);
                }
            }
            *share = (sum / px as f64) as f32;
        }
        image.chunks_mut(c).for_each(|pixel| pixel.copy_from_slice(&share));
    });
    out
}
